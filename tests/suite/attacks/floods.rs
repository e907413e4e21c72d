//! More than anybody sends: row 47. Each flood comes before any authentication; it has to end in a
//! refusal or a closed connection, memory stays bounded, and others are served meanwhile.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::time::Duration;

use super::{by_the_peer, fresh_address, refused};
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

/// Longer than the service lets anything wait that is not finished: ten seconds for a first request,
/// thirty for the answer to its own PING.
const LONGEST: Duration = Duration::from_secs(45);

/// A connection that speaks HTTP/2 frame by frame.
struct H2 {
    connection: Connection,
    /// What came and is not a whole frame yet.
    bytes: Vec<u8>,
    /// The kinds of the frames that came, with their streams.
    frames: Vec<(u8, u32)>,
}

/// How a flood ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    /// The server ended the connection.
    Closed,
    /// It took everything.
    Taken,
}

impl H2 {
    fn open(service: &Service) -> Self {
        let tls = Tls::anonymous(&service.ca());
        let tls = tls.changed(|config| config.alpn_protocols = vec![b"h2".to_vec()]);
        let connection = Connection::open_from(fresh_address(), service.address(), &tls);
        let mut connection = connection.expect("a connection");
        connection.patience(LONGEST).expect("a patience");
        connection
            .write(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")
            .expect("a preface");
        connection
            .write(&frame(SETTINGS, 0, 0, &[]))
            .expect("settings");
        Self {
            connection,
            bytes: Vec::new(),
            frames: Vec::new(),
        }
    }

    /// Sends all of it in pieces until the server ends the connection. One that reads no more has to
    /// end it soon.
    #[track_caller]
    fn pour(&mut self, pieces: impl Iterator<Item = Vec<u8>>) -> End {
        let mut pile = Vec::new();
        for piece in pieces {
            pile.extend(piece);
            if pile.len() > 32 * 1024 {
                if self.write(&pile) == End::Closed {
                    return End::Closed;
                }
                pile.clear();
            }
        }
        self.write(&pile)
    }

    #[track_caller]
    fn write(&mut self, bytes: &[u8]) -> End {
        match self.connection.write(bytes) {
            Ok(()) => End::Taken,
            Err(error) if by_the_peer(&error) => End::Closed,
            Err(error) => panic!("it neither reads nor ends the connection: {error}"),
        }
    }

    /// Reads until there is what is looked for, or the end, which is told from silence.
    #[track_caller]
    fn read_until(&mut self, what: &str, found: impl Fn(&[(u8, u32)]) -> bool) -> End {
        while !found(&self.frames) {
            match self.connection.read_some() {
                Ok(piece) if piece.is_empty() => return End::Closed,
                Ok(piece) => self.bytes.extend(piece),
                Err(error) if by_the_peer(&error) => return End::Closed,
                Err(error) => panic!("{what}: {error} after {} frames", self.frames.len()),
            }
            let mut at = 0;
            while let Some(&[a, b, c, kind, _, d, e, f, g]) = self.bytes.get(at..at + 9) {
                let length = u32::from_be_bytes([0, a, b, c]);
                let end = at + 9 + usize::try_from(length).expect("a length");
                if self.bytes.len() < end {
                    break;
                }
                self.frames.push((kind, u32::from_be_bytes([d, e, f, g])));
                at = end;
            }
            self.bytes.drain(..at);
        }
        End::Taken
    }

    /// Fails unless the server ended the connection, or says that it does.
    #[track_caller]
    fn is_refused(&mut self, what: &str, end: End) {
        if end == End::Taken {
            self.read_until(what, |frames| {
                frames.iter().any(|(kind, _)| *kind == GOAWAY)
            });
        }
    }

    /// How many frames of a kind came for one stream.
    fn count(&self, kind: u8, stream: u32) -> usize {
        self.frames
            .iter()
            .filter(|it| **it == (kind, stream))
            .count()
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
    h2.is_refused("rapid reset", end);
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
        h2.is_refused("continuation", end);
        refused(1);
    }
}

#[test]
fn row_47_rustsec_2026_0258_h2_empty_data_and_control_frames() {
    let service = Service::dev(&Backend::Sqlite);
    let watch = Watch::new(&service);
    let post = block(POST, "/api/v1/roles");
    let open = frame(HEADERS, END_HEADERS, 1, &post);
    let settings: Vec<u8> = [0, 4, 0, 0, 255, 255].repeat(100);
    // What costs the sender as much as the server may be taken: it has to change nothing.
    let floods: [(&str, Vec<u8>, bool); 7] = [
        ("empty DATA", frame(DATA, 0, 1, &[]), true),
        ("padded DATA", frame(DATA, 8, 1, &[255; 256]), true),
        ("PING", frame(PING, 0, 0, &[0; 8]), false),
        ("SETTINGS", frame(SETTINGS, 0, 0, &settings), false),
        ("PRIORITY", frame(PRIORITY, 0, 3, &[0, 0, 0, 1, 1]), false),
        (
            "WINDOW_UPDATE",
            frame(WINDOW_UPDATE, 0, 0, &1_u32.to_be_bytes()),
            false,
        ),
        ("an unknown frame", frame(0xfa, 0, 0, &[0; 64]), false),
    ];
    for (what, flood, must_end) in &floods {
        let mut h2 = H2::open(&service);
        let count = (48 * 1024 * 1024 / flood.len()).min(300_000);
        // Nothing is read meanwhile, so answers pile up at the server if it lets them.
        let end = h2.pour(std::iter::once(open.clone()).chain((0..count).map(|_| flood.clone())));
        watch.look(what);
        if *must_end {
            h2.is_refused(what, end);
        } else if end == End::Taken {
            // One answer to the request, at most one to each frame, and the next request is served.
            let get = block(GET, "/api/v1/whoami");
            let next = frame(HEADERS, END_STREAM | END_HEADERS, 5, &get);
            assert_eq!(h2.write(&next), End::Taken, "{what}");
            let end = h2.read_until(what, |frames| frames.contains(&(HEADERS, 5)));
            assert_eq!(end, End::Taken, "{what}: no answer");
            assert_eq!(h2.count(HEADERS, 1), 1, "{what}");
            assert!(h2.frames.len() < count + 20, "{what}: {}", h2.frames.len());
        }
        refused(1);
    }
}

#[test]
fn row_47_h2_more_streams_and_windows_than_allowed() {
    let service = Service::dev(&Backend::Sqlite);
    let watch = Watch::new(&service);
    // Requests whose bodies never come: at most 64 are under way, the others are refused.
    let mut h2 = H2::open(&service);
    let post = block(POST, "/api/v1/roles");
    let end = h2.pour(streams(20_000).map(|stream| frame(HEADERS, END_HEADERS, stream, &post)));
    watch.look("streams");
    h2.is_refused("streams", end);
    refused(1);
    // Answers that are never taken: the window is shut.
    let mut h2 = H2::open(&service);
    let shut = frame(SETTINGS, 0, 0, &[0, 4, 0, 0, 0, 0]);
    let get = block(GET, "/api/v1/openapi.json");
    let end = h2.pour(std::iter::once(shut).chain(
        streams(20_000).map(|stream| frame(HEADERS, END_STREAM | END_HEADERS, stream, &get)),
    ));
    watch.look("a shut window");
    h2.is_refused("a shut window", end);
    refused(1);
    // Many connections with as many requests as are allowed, whose bodies never come either.
    let many: Vec<H2> = (0..40)
        .map(|_| {
            let mut h2 = H2::open(&service);
            let end = h2.pour(streams(64).map(|stream| frame(HEADERS, END_HEADERS, stream, &post)));
            assert_eq!(end, End::Taken);
            h2
        })
        .collect();
    watch.look("many connections");
    for mut h2 in many {
        // Each is answered without its body, which nobody waits for.
        let each = |frames: &[(u8, u32)]| streams(64).all(|it| frames.contains(&(HEADERS, it)));
        assert_eq!(h2.read_until("many connections", each), End::Taken);
        refused(1);
    }
    // A table of headers that grows with each request (HPACK bomb), and a header named a thousand
    // times by one byte.
    let mut h2 = H2::open(&service);
    let mut bomb = block(GET, "/api/v1/whoami");
    bomb.extend([0x40, 1, b'x', 0x7f, 0xa1, 0x1e]);
    bomb.extend([b'y'; 4000]);
    bomb.extend(std::iter::repeat_n(0xbe, 8000));
    let end = h2.pour((0..200).map(|n| frame(HEADERS, END_STREAM | END_HEADERS, 2 * n + 1, &bomb)));
    watch.look("a bomb of headers");
    h2.is_refused("a bomb of headers", end);
    refused(1);
}

#[test]
fn row_47_cve_2025_6203_bodies_headers_and_depth() {
    let service = Service::dev(&Backend::Sqlite);
    let watch = Watch::new(&service);
    let anonymous = service.anonymous();
    let flood = |what: &str, head: String, piece: &[u8], pieces: usize| {
        let mut connection =
            Connection::open_from(fresh_address(), service.address(), &anonymous.tls)
                .expect("a connection");
        connection.patience(LONGEST).expect("a patience");
        let mut result = connection.write(head.as_bytes());
        for _ in 0..pieces {
            if result.is_err() {
                break;
            }
            result = connection.write(piece);
        }
        watch.look(what);
        match result.and_then(|()| connection.receive()) {
            Ok(answer) => {
                let status = answer.status;
                assert!((400..500).contains(&status), "{what}: {status}");
            }
            Err(error) => assert!(by_the_peer(&error), "{what}: {error}"),
        }
        refused(1);
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
    // The same depth by somebody who is known is a 400 and no more.
    let operator = service.client("operator");
    for body in [deep.clone(), deep_objects] {
        let request =
            Request::new("POST", "/api/v1/roles").header("content-type", "application/json");
        let answer = operator.send(&request.bytes(body.into_bytes()));
        assert_eq!(answer.problem(400), "malformed");
        refused(1);
    }
    let wide = format!("{{\"name\":[{}\"x\"]}}", "\"x\",".repeat(60_000));
    let request = Request::new("POST", "/api/v1/roles").header("content-type", "application/json");
    let status = operator.send(&request.bytes(wide.into_bytes())).status;
    assert!(matches!(status, 413 | 422), "{status}");
    watch.look("the end");
    refused(1);
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
    for mut socket in silent {
        socket.set_read_timeout(Some(LONGEST)).expect("a time-out");
        let ended = socket.read_to_end(&mut Vec::new());
        let ended = ended.map_or_else(|error| by_the_peer(&error), |_| true);
        assert!(ended, "a silent connection was kept");
        refused(1);
    }
    for mut connection in slow {
        connection.patience(LONGEST).expect("a patience");
        match connection.receive() {
            Ok(answer) => assert!((400..500).contains(&answer.status), "{}", answer.status),
            Err(error) => assert!(by_the_peer(&error), "a slow connection was kept: {error}"),
        }
        refused(1);
    }
    watch.look("the end");
}
