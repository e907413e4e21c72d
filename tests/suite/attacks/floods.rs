//! More than anybody sends: row 47. Each flood comes before any authentication; it has to end in a
//! refusal or a closed connection, memory stays bounded, and others are served meanwhile.

use std::io::Write as _;
use std::net::TcpStream;
use std::time::Duration;

use super::{fresh_address, refused};
use crate::support::http::{Connection, Tls, connect_from};
use crate::support::{Backend, Request, Service};

/// How much a flood may cost at its height, in KiB. What a connection may hold is far below that;
/// what the flood sends is far above.
const MOST_GROWTH: u64 = 32 * 1024;

/// Watches the memory of a service and that it serves others.
struct Watch<'a> {
    service: &'a Service,
    before: u64,
}

impl<'a> Watch<'a> {
    fn new(service: &'a Service) -> Self {
        service.client("worker").get("/api/v1/release").expect(200);
        let before = service.resident();
        Self { service, before }
    }

    /// Looks at the height of a flood.
    #[track_caller]
    fn look(&self, what: &str) {
        let grown = self.service.resident().saturating_sub(self.before);
        assert!(grown < MOST_GROWTH, "{what}: grown by {grown} KiB");
        self.service
            .client("worker")
            .get("/api/v1/release")
            .expect(200);
    }
}

const HEADERS: u8 = 1;
const PRIORITY: u8 = 2;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const GOAWAY: u8 = 7;
const WINDOW_UPDATE: u8 = 8;
const CONTINUATION: u8 = 9;
const DATA: u8 = 0;
const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;

/// A frame of HTTP/2 (RFC 9113, 4.1).
fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len())
        .expect("a length")
        .to_be_bytes();
    let mut frame = length[1..].to_vec();
    frame.extend([kind, flags]);
    frame.extend(stream.to_be_bytes());
    frame.extend(payload);
    frame
}

/// The header block of a request, by the static table and literals without indexing (RFC 7541).
fn block(method: u8, path: &str) -> Vec<u8> {
    let mut block = vec![method, 0x87, 0x04];
    block.push(u8::try_from(path.len()).expect("a short path"));
    block.extend(path.as_bytes());
    block.extend([0x01, 9]);
    block.extend(b"localhost");
    block
}
const GET: u8 = 0x82;
const POST: u8 = 0x83;

/// A connection that speaks HTTP/2 frame by frame.
struct H2(Connection);

/// How a flood ended.
#[derive(Debug, PartialEq, Eq)]
enum End {
    /// The server ended the connection.
    Closed,
    /// It took everything, or stopped reading.
    Open,
}

impl H2 {
    fn open(service: &Service) -> Self {
        let tls = Tls::anonymous(&service.ca());
        let tls = tls.changed(|config| config.alpn_protocols = vec![b"h2".to_vec()]);
        let connection = Connection::open_from(fresh_address(), service.address(), &tls);
        let mut this = Self(connection.expect("a connection"));
        this.0.patience(Duration::from_secs(5)).expect("a patience");
        this.0
            .write(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")
            .expect("a preface");
        this.0.write(&frame(SETTINGS, 0, 0, &[])).expect("settings");
        this
    }

    /// Sends all of it in pieces until the server ends the connection, or reads no more.
    fn pour(&mut self, pieces: impl Iterator<Item = Vec<u8>>) -> End {
        let mut pile = Vec::new();
        for piece in pieces {
            pile.extend(piece);
            if pile.len() > 32 * 1024 {
                match self.0.write(&pile) {
                    Ok(()) => pile.clear(),
                    Err(error) => return Self::end(&error),
                }
            }
        }
        match self.0.write(&pile) {
            Ok(()) => End::Open,
            Err(error) => Self::end(&error),
        }
    }

    fn end(error: &std::io::Error) -> End {
        match error.kind() {
            std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut => End::Open,
            _ => End::Closed,
        }
    }

    /// The kinds of the frames that come, with their streams, until nothing comes any more.
    fn answers(&mut self) -> Vec<(u8, u32)> {
        let mut bytes = Vec::new();
        let mut frames = Vec::new();
        while let Ok(piece) = self.0.read_some() {
            if piece.is_empty() {
                break;
            }
            bytes.extend(piece);
            while bytes.len() >= 9 {
                let length = usize::from(bytes[0]) << 16
                    | usize::from(bytes[1]) << 8
                    | usize::from(bytes[2]);
                if bytes.len() < 9 + length {
                    break;
                }
                let stream = u32::from_be_bytes([bytes[5], bytes[6], bytes[7], bytes[8]]);
                frames.push((bytes[3], stream));
                bytes.drain(..9 + length);
            }
            if frames.iter().any(|(kind, _)| *kind == GOAWAY) {
                break;
            }
        }
        frames
    }
}

/// Odd numbers: the streams of a client.
fn streams(count: u32) -> impl Iterator<Item = u32> {
    (0..count).map(|n| 2 * n + 1)
}

#[test]
fn row_47_h2_rapid_reset() {
    let service = Service::dev(&Backend::Sqlite);
    let watch = Watch::new(&service);
    let mut h2 = H2::open(&service);
    let get = block(GET, "/api/v1/release");
    // CVE-2023-44487: a request, and at once its end, without waiting for anything.
    let end = h2.pour(streams(200_000).map(|stream| {
        let mut both = frame(HEADERS, END_STREAM | END_HEADERS, stream, &get);
        both.extend(frame(RST_STREAM, 0, stream, &8_u32.to_be_bytes()));
        both
    }));
    watch.look("rapid reset");
    let answers = h2.answers();
    let refused_it = end == End::Closed || answers.iter().any(|(kind, _)| *kind == GOAWAY);
    assert!(refused_it, "{end:?}, {} frames", answers.len());
    refused(1);
}

#[test]
fn row_47_h2_continuation_without_end() {
    let service = Service::dev(&Backend::Sqlite);
    let watch = Watch::new(&service);
    for filler in [Vec::new(), vec![0x40; 8], vec![0; 16 * 1024]] {
        let mut h2 = H2::open(&service);
        // CVE-2024-27316 and its kin: a header block that never ends.
        let first = frame(HEADERS, END_STREAM, 1, &block(GET, "/api/v1/release"));
        // A literal header of one letter and this value, over and over.
        let mut piece = Vec::new();
        if !filler.is_empty() {
            piece.extend([0x00, 1, b'x', 4]);
            piece.extend(b"yyyy");
            piece = piece.repeat(filler.len() / 8);
        }
        let more = frame(CONTINUATION, 0, 1, &piece);
        let count = (64 * 1024 * 1024 / more.len()).min(400_000);
        let end = h2.pour(std::iter::once(first).chain((0..count).map(|_| more.clone())));
        watch.look("continuation");
        let answers = h2.answers();
        let refused_it = end == End::Closed || answers.iter().any(|(kind, _)| *kind == GOAWAY);
        assert!(refused_it, "{}: {end:?}, {answers:?}", piece.len());
    }
    refused(3);
}

#[test]
fn row_47_rustsec_2026_0258_h2_empty_data_and_control_frames() {
    let service = Service::dev(&Backend::Sqlite);
    let watch = Watch::new(&service);
    let post = block(POST, "/api/v1/roles");
    let open = frame(HEADERS, END_HEADERS, 1, &post);
    let settings: Vec<u8> = [0, 4, 0, 0, 255, 255].repeat(100);
    let floods: Vec<(&str, Vec<u8>)> = vec![
        ("empty DATA", frame(DATA, 0, 1, &[])),
        ("padded DATA", frame(DATA, 8, 1, &[255; 256])),
        ("PING", frame(PING, 0, 0, &[0; 8])),
        ("SETTINGS", frame(SETTINGS, 0, 0, &settings)),
        ("PRIORITY", frame(PRIORITY, 0, 3, &[0, 0, 0, 1, 1])),
        (
            "WINDOW_UPDATE",
            frame(WINDOW_UPDATE, 0, 0, &1_u32.to_be_bytes()),
        ),
        ("an unknown frame", frame(0xfa, 0, 0, &[0; 64])),
    ];
    for (what, flood) in &floods {
        let mut h2 = H2::open(&service);
        let count = (48 * 1024 * 1024 / flood.len()).min(300_000);
        // Nothing is read meanwhile, so answers pile up at the server if it lets them.
        h2.pour(std::iter::once(open.clone()).chain((0..count).map(|_| flood.clone())));
        watch.look(what);
    }
    refused(floods.len());
}

#[test]
fn row_47_h2_more_streams_and_windows_than_allowed() {
    let service = Service::dev(&Backend::Sqlite);
    let watch = Watch::new(&service);
    // Requests whose bodies never come: at most 64 are under way, the others are refused.
    let mut h2 = H2::open(&service);
    let post = block(POST, "/api/v1/roles");
    h2.pour(streams(20_000).map(|stream| frame(HEADERS, END_HEADERS, stream, &post)));
    watch.look("streams");
    drop(h2);
    // Answers that are never taken: the window is shut.
    let mut h2 = H2::open(&service);
    let shut = frame(SETTINGS, 0, 0, &[0, 4, 0, 0, 0, 0]);
    let get = block(GET, "/api/v1/openapi.json");
    h2.pour(std::iter::once(shut).chain(
        streams(20_000).map(|stream| frame(HEADERS, END_STREAM | END_HEADERS, stream, &get)),
    ));
    watch.look("a shut window");
    // Many connections that do the same.
    let many: Vec<H2> = (0..40)
        .map(|_| {
            let mut h2 = H2::open(&service);
            h2.pour(streams(64).map(|stream| frame(HEADERS, END_HEADERS, stream, &post)));
            h2
        })
        .collect();
    watch.look("many connections");
    drop(many);
    // A table of headers that grows with each request (HPACK bomb), and a header named a thousand
    // times by one byte.
    let mut h2 = H2::open(&service);
    let mut bomb = block(GET, "/api/v1/whoami");
    bomb.extend([0x40, 1, b'x', 0x7f, 0xa1, 0x1e]);
    bomb.extend([b'y'; 4000]);
    bomb.extend(std::iter::repeat_n(0xbe, 8000));
    let end = h2.pour((0..200).map(|n| frame(HEADERS, END_STREAM | END_HEADERS, 2 * n + 1, &bomb)));
    watch.look("a bomb of headers");
    let answers = h2.answers();
    assert!(end == End::Closed || !answers.is_empty());
    refused(43);
}

#[test]
fn row_47_cve_2025_6203_bodies_headers_and_depth() {
    let service = Service::dev(&Backend::Sqlite);
    let watch = Watch::new(&service);
    let anonymous = service.anonymous();
    let mut count = 0;
    let mut flood = |what: &str, head: String, piece: &[u8], pieces: usize| {
        let mut connection =
            Connection::open_from(fresh_address(), service.address(), &anonymous.tls)
                .expect("a connection");
        connection
            .patience(Duration::from_secs(5))
            .expect("a patience");
        let mut result = connection.write(head.as_bytes());
        for _ in 0..pieces {
            if result.is_err() {
                break;
            }
            result = connection.write(piece);
        }
        watch.look(what);
        if let Ok(answer) = connection.receive() {
            assert!(
                (400..500).contains(&answer.status),
                "{what}: {}",
                answer.status
            );
        }
        count += 1;
    };
    let post = |more: &str| {
        format!(
            "POST /api/v1/roles HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n{more}"
        )
    };
    let deep = "[".repeat(64 * 1024);
    let deep_objects = "{\"a\":".repeat(16 * 1024);
    flood(
        "a deep body",
        post("content-length: 1000000000\r\n\r\n"),
        deep.as_bytes(),
        500,
    );
    flood(
        "deep objects",
        post("content-length: 1000000000\r\n\r\n"),
        deep_objects.as_bytes(),
        500,
    );
    flood(
        "chunks",
        post("transfer-encoding: chunked\r\n\r\n"),
        b"1\r\nx\r\n",
        100_000,
    );
    let extended = format!("1;{}\r\nx\r\n", "e".repeat(8000));
    flood(
        "chunk extensions",
        post("transfer-encoding: chunked\r\n\r\n"),
        extended.as_bytes(),
        2000,
    );
    flood(
        "headers without end",
        post(""),
        b"x-y: zzzzzzzzzzzzzzzzzzzzzzzzzzzzzz\r\n",
        100_000,
    );
    flood("one header without end", post("x-y: "), &[b'z'; 8192], 4000);
    flood(
        "a target without end",
        "GET /".to_owned(),
        &[b'z'; 8192],
        4000,
    );
    flood("a method without end", String::new(), &[b'Z'; 8192], 4000);
    flood("empty lines", String::new(), &b"\r\n".repeat(4096), 2000);
    // Two lengths, or a length and chunks: no two readers may see two requests.
    for both in [
        "content-length: 4\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\nGET /api/v1/whoami HTTP/1.1\r\nhost: x\r\n\r\n",
        "content-length: 4\r\ncontent-length: 5\r\n\r\nnullx",
        "content-length: +4\r\n\r\nnull",
        "content-length: 0x4\r\n\r\nnull",
        "transfer-encoding: chunked, identity\r\n\r\n0\r\n\r\n",
        "transfer-encoding: xchunked\r\n\r\n0\r\n\r\n",
    ] {
        flood("two readings", post(both), b"", 0);
    }
    // The same depth by somebody who is known is a 400 and no more.
    let operator = service.client("operator");
    for body in [deep.clone(), deep_objects] {
        let request =
            Request::new("POST", "/api/v1/roles").header("content-type", "application/json");
        let answer = operator.send(&request.bytes(body.into_bytes()));
        assert_eq!(answer.problem(400), "malformed");
    }
    let wide = format!("{{\"name\":[{}\"x\"]}}", "\"x\",".repeat(60_000));
    let request = Request::new("POST", "/api/v1/roles").header("content-type", "application/json");
    let status = operator.send(&request.bytes(wide.into_bytes())).status;
    assert!(matches!(status, 413 | 422), "{status}");
    watch.look("the end");
    refused(count + 3);
}

#[test]
fn row_47_slow_and_silent_connections() {
    let service = Service::dev(&Backend::Sqlite);
    let watch = Watch::new(&service);
    // Nothing, half a record, half a handshake, and a head that comes letter by letter.
    let mut silent: Vec<TcpStream> = Vec::new();
    for n in 0..400 {
        let mut socket = connect_from(fresh_address(), service.address()).expect("a connection");
        let bytes: &[u8] = match n % 4 {
            0 => b"",
            1 => b"\x16",
            2 => b"\x16\x03\x01\x40\x00\x01\x00\x3f\xfc\x03\x03",
            _ => b"\x16\x03\x01\x00\x05\x01\x00\x00\x01\x03",
        };
        let _ = socket.write_all(bytes);
        silent.push(socket);
    }
    let tls = Tls::anonymous(&service.ca());
    let mut slow: Vec<Connection> = (0..50)
        .map(|_| {
            Connection::open_from(fresh_address(), service.address(), &tls).expect("a connection")
        })
        .collect();
    let head = b"GET /api/v1/whoami HTTP/1.1\r\nx: y";
    for letter in head {
        for connection in &mut slow {
            let _ = connection.write(&[*letter]);
        }
    }
    watch.look("slow connections");
    // Whoever does not finish is left: ten seconds for the handshake, and for the first request.
    let (mut open, mut closed) = (silent.len(), 0);
    for mut socket in silent {
        let patience = Some(Duration::from_secs(30));
        socket.set_read_timeout(patience).expect("a time-out");
        let mut rest = Vec::new();
        let ended = match std::io::Read::read_to_end(&mut socket, &mut rest) {
            Ok(_) => true,
            Err(error) => error.kind() == std::io::ErrorKind::ConnectionReset,
        };
        open -= usize::from(ended);
    }
    assert_eq!(open, 0, "silent connections were kept");
    for connection in &mut slow {
        connection
            .patience(Duration::from_secs(30))
            .expect("a patience");
        closed += usize::from(!matches!(connection.receive(), Ok(answer) if answer.status < 400));
    }
    assert_eq!(closed, 50);
    watch.look("the end");
    refused(450);
}
