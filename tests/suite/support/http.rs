//! A small HTTP/1.1 client over TLS that hides nothing: what is sent and when a connection is opened
//! is the story's decision, and a broken answer is seen as broken.

use std::io::{self, Read, Write};
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use rustls::client::Resumption;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};
use serde_json::Value;

/// Longer than any answer may take, short enough to fail a test instead of hanging it.
const PATIENCE: Duration = Duration::from_secs(40);

/// The client's side of TLS: whom it trusts, and the certificate it shows.
#[derive(Clone)]
pub struct Tls(Arc<ClientConfig>);

impl Tls {
    /// Trusts the authorities in `ca` (PEM) and shows nothing.
    pub fn anonymous(ca: &str) -> Self {
        Self::new(ca, None)
    }

    /// Shows this certificate chain, whose key is this one (both PEM).
    pub fn with_certificate(ca: &str, chain: &str, key: &str) -> Self {
        Self::new(ca, Some((chain, key)))
    }

    /// The same from files.
    pub fn from_files(ca: &Path, chain: &Path, key: &Path) -> Self {
        let read = |path: &Path| std::fs::read_to_string(path).expect("a PEM file");
        Self::new(&read(ca), Some((&read(chain), &read(key))))
    }

    fn new(ca: &str, identity: Option<(&str, &str)>) -> Self {
        let mut roots = RootCertStore::empty();
        for certificate in CertificateDer::pem_slice_iter(ca.as_bytes()) {
            roots.add(certificate.expect("PEM")).expect("an authority");
        }
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("protocol versions")
            .with_root_certificates(roots);
        let mut config = match identity {
            None => builder.with_no_client_auth(),
            Some((chain, key)) => {
                let chain = CertificateDer::pem_slice_iter(chain.as_bytes());
                let chain = chain.collect::<Result<_, _>>().expect("PEM");
                let key = PrivateKeyDer::from_pem_slice(key.as_bytes()).expect("a key");
                // Whatever it is, it is shown: to refuse it is the server's part.
                let key = rustls::crypto::ring::sign::any_supported_type(&key);
                let pair = CertifiedKey::new(chain, key.expect("a key of a known kind"));
                builder.with_client_cert_resolver(Arc::new(SingleCertAndKey::from(pair)))
            }
        };
        config.resumption = Resumption::disabled();
        Self(Arc::new(config))
    }

    /// The same, changed by `change`.
    pub fn changed(&self, change: impl FnOnce(&mut ClientConfig)) -> Self {
        let mut config = ClientConfig::clone(&self.0);
        change(&mut config);
        Self(Arc::new(config))
    }
}

/// A request before it is sent.
#[derive(Clone, Debug)]
pub struct Request {
    method: String,
    target: String,
    headers: Vec<(String, String)>,
    body: Option<Vec<u8>>,
}

impl Request {
    pub fn new(method: &str, target: &str) -> Self {
        Self {
            method: method.to_owned(),
            target: target.to_owned(),
            headers: Vec::new(),
            body: None,
        }
    }

    pub fn get(target: &str) -> Self {
        Self::new("GET", target)
    }

    pub fn post(target: &str, body: &Value) -> Self {
        Self::new("POST", target).json(body)
    }

    pub fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    pub fn bearer(self, token: &str) -> Self {
        self.header("authorization", &format!("Bearer {token}"))
    }

    pub fn if_match(self, resource: &Value) -> Self {
        let revision = resource["revision"].as_i64().expect("a revision");
        self.header("if-match", &format!("\"{revision}\""))
    }

    pub fn json(self, body: &Value) -> Self {
        self.header("content-type", "application/json")
            .bytes(body.to_string().into_bytes())
    }

    pub fn bytes(mut self, body: Vec<u8>) -> Self {
        self.body = Some(body);
        self
    }

    pub fn to_bytes(&self) -> Vec<u8> {
        let mut out = format!(
            "{} {} HTTP/1.1\r\nhost: localhost\r\n",
            self.method, self.target
        );
        for (name, value) in &self.headers {
            out.push_str(&format!("{name}: {value}\r\n"));
        }
        if let Some(body) = &self.body {
            out.push_str(&format!("content-length: {}\r\n", body.len()));
        }
        out.push_str("\r\n");
        let mut out = out.into_bytes();
        out.extend(self.body.iter().flatten());
        out
    }
}

/// A whole answer.
#[derive(Clone, Debug)]
pub struct Response {
    pub status: u16,
    /// Names in lower case, in the order in which they came.
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
}

impl Response {
    pub fn header(&self, name: &str) -> Option<&str> {
        let mut found = self.headers.iter().filter(|(known, _)| known == name);
        found.next().map(|(_, value)| value.as_str())
    }

    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    #[track_caller]
    pub fn json(&self) -> Value {
        match serde_json::from_slice(&self.body) {
            Ok(value) => value,
            Err(_) => panic!("{}: not JSON: {}", self.status, self.text()),
        }
    }

    /// The answer itself, after making sure of its status.
    #[track_caller]
    pub fn expect(self, status: u16) -> Self {
        let text = || self.text().chars().take(1000).collect::<String>();
        assert_eq!(self.status, status, "{}", text());
        self
    }

    /// The code of the problem, after making sure of the status and the media type.
    #[track_caller]
    pub fn problem(&self, status: u16) -> String {
        assert_eq!(self.status, status, "{}", self.text());
        assert_eq!(
            self.header("content-type"),
            Some("application/problem+json")
        );
        let kind = self.json()["type"].as_str().expect("a type").to_owned();
        let code = kind.strip_prefix("urn:strongroom:problem:");
        code.expect("a type of ours").to_owned()
    }

    /// Everything that must not differ between two answers that are "the same": not the date and not
    /// the request's id.
    pub fn comparable(&self) -> (u16, Vec<(String, String)>, Value) {
        let mut headers = self.headers.clone();
        headers.retain(|(name, _)| name != "date" && name != "strongroom-request-id");
        headers.retain(|(name, _)| name != "x-request-id" && name != "request-id");
        headers.sort();
        let mut body =
            serde_json::from_slice(&self.body).unwrap_or_else(|_| Value::String(self.text()));
        if let Some(body) = body.as_object_mut() {
            body.remove("request_id");
        }
        (self.status, headers, body)
    }
}

/// One open connection.
pub struct Connection {
    stream: StreamOwned<ClientConnection, TcpStream>,
    buffer: Vec<u8>,
}

impl Connection {
    pub fn open(address: SocketAddr, tls: &Tls) -> io::Result<Self> {
        let socket = TcpStream::connect_timeout(&address, Duration::from_secs(10))?;
        Self::over(socket, address, tls)
    }

    /// The same from an address of the caller's choice: all of 127.0.0.0/8 is this machine.
    pub fn open_from(source: IpAddr, address: SocketAddr, tls: &Tls) -> io::Result<Self> {
        Self::over(connect_from(source, address)?, address, tls)
    }

    fn over(socket: TcpStream, address: SocketAddr, tls: &Tls) -> io::Result<Self> {
        socket.set_read_timeout(Some(PATIENCE))?;
        socket.set_write_timeout(Some(PATIENCE))?;
        socket.set_nodelay(true)?;
        let name = ServerName::from(address.ip());
        let session = ClientConnection::new(Arc::clone(&tls.0), name).map_err(io::Error::other)?;
        Ok(Self {
            stream: StreamOwned::new(session, socket),
            buffer: Vec::new(),
        })
    }

    /// Sends and waits for the whole answer; an answer that is cut off is an error.
    pub fn send(&mut self, request: &Request) -> io::Result<Response> {
        self.write(&request.to_bytes())?;
        self.receive()
    }

    /// Sends without waiting.
    pub fn start(&mut self, request: &Request) -> io::Result<()> {
        self.write(&request.to_bytes())
    }

    /// Sends bytes as they are.
    pub fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.stream.write_all(bytes)?;
        self.stream.flush()
    }

    /// Whatever comes next, as it is; nothing at the end.
    pub fn read_some(&mut self) -> io::Result<Vec<u8>> {
        let mut piece = vec![0; 16 * 1024];
        let read = self.stream.read(&mut piece)?;
        piece.truncate(read);
        Ok(piece)
    }

    /// How long to wait for each piece, in place of what is usual.
    pub fn patience(&mut self, patience: Duration) -> io::Result<()> {
        self.stream.sock.set_read_timeout(Some(patience))?;
        self.stream.sock.set_write_timeout(Some(patience))
    }

    /// The TLS session.
    pub fn session(&self) -> &ClientConnection {
        &self.stream.conn
    }

    /// Waits for the status line and headers, then for the rest.
    pub fn receive(&mut self) -> io::Result<Response> {
        let (status, headers) = self.receive_head()?;
        let body = self.receive_body(status, &headers)?;
        Ok(Response {
            status,
            headers,
            body,
        })
    }

    pub fn receive_head(&mut self) -> io::Result<(u16, Vec<(String, String)>)> {
        let end = loop {
            if let Some(at) = find(&self.buffer, b"\r\n\r\n") {
                break at;
            }
            self.more()?;
        };
        let head: Vec<u8> = self.buffer.drain(..end + 4).collect();
        let head = String::from_utf8_lossy(&head[..end]).into_owned();
        let mut lines = head.split("\r\n");
        let status = lines.next().and_then(|line| line.split(' ').nth(1));
        let status = status.and_then(|status| status.parse().ok());
        let headers = lines
            .filter_map(|line| line.split_once(':'))
            .map(|(name, value)| (name.to_ascii_lowercase(), value.trim().to_owned()))
            .collect();
        Ok((status.ok_or_else(|| broken("no status"))?, headers))
    }

    pub fn receive_body(
        &mut self,
        status: u16,
        headers: &[(String, String)],
    ) -> io::Result<Vec<u8>> {
        let header = |wanted: &str| {
            let mut found = headers.iter().filter(|(name, _)| name == wanted);
            found.next().map(|(_, value)| value.as_str())
        };
        if status == 304 || status == 204 {
            return Ok(Vec::new());
        }
        if header("transfer-encoding") == Some("chunked") {
            return self.receive_chunks();
        }
        let length = header("content-length").and_then(|length| length.parse().ok());
        let length: usize = length.ok_or_else(|| broken("no length"))?;
        self.take(length)
    }

    fn receive_chunks(&mut self) -> io::Result<Vec<u8>> {
        let mut body = Vec::new();
        loop {
            let end = loop {
                if let Some(at) = find(&self.buffer, b"\r\n") {
                    break at;
                }
                self.more()?;
            };
            let line = String::from_utf8_lossy(&self.buffer[..end]).into_owned();
            self.buffer.drain(..end + 2);
            let size = usize::from_str_radix(line.trim(), 16).map_err(|_| broken("chunk"))?;
            let piece = self.take(size + 2)?;
            if size == 0 {
                return Ok(body);
            }
            body.extend_from_slice(&piece[..size]);
        }
    }

    fn take(&mut self, count: usize) -> io::Result<Vec<u8>> {
        while self.buffer.len() < count {
            self.more()?;
        }
        Ok(self.buffer.drain(..count).collect())
    }

    fn more(&mut self) -> io::Result<()> {
        let mut piece = [0; 16 * 1024];
        match self.stream.read(&mut piece)? {
            0 => Err(broken("the connection ended")),
            read => {
                self.buffer.extend_from_slice(&piece[..read]);
                Ok(())
            }
        }
    }
}

/// A TCP connection from this address.
pub fn connect_from(source: IpAddr, address: SocketAddr) -> io::Result<TcpStream> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let socket = runtime.block_on(async {
        let socket = tokio::net::TcpSocket::new_v4()?;
        socket.bind(SocketAddr::new(source, 0))?;
        socket.connect(address).await?.into_std()
    })?;
    socket.set_nonblocking(false)?;
    Ok(socket)
}

fn broken(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::UnexpectedEof, what.to_owned())
}

fn find(haystack: &[u8], needle: &[u8]) -> Option<usize> {
    haystack.windows(needle.len()).position(|at| at == needle)
}

/// A caller: an address and an identity. Each call opens a connection of its own, unless
/// [`connect`](Self::connect) gave one that is kept.
#[derive(Clone)]
pub struct Client {
    pub address: SocketAddr,
    pub tls: Tls,
}

impl Client {
    pub fn new(address: SocketAddr, tls: Tls) -> Self {
        Self { address, tls }
    }

    /// An open connection that is kept.
    #[track_caller]
    pub fn connect(&self) -> Connection {
        Connection::open(self.address, &self.tls).expect("a connection")
    }

    /// One call, which may fail to get an answer.
    pub fn try_send(&self, request: &Request) -> io::Result<Response> {
        Connection::open(self.address, &self.tls)?.send(request)
    }

    /// One call.
    #[track_caller]
    pub fn send(&self, request: &Request) -> Response {
        match self.try_send(request) {
            Ok(response) => response,
            Err(error) => panic!("{} {}: {error}", request.method, request.target),
        }
    }

    #[track_caller]
    pub fn get(&self, target: &str) -> Response {
        self.send(&Request::get(target))
    }
}

/// One call without TLS, for the status listener.
pub fn plain_get(address: SocketAddr, target: &str) -> io::Result<Response> {
    let mut socket = TcpStream::connect_timeout(&address, Duration::from_secs(10))?;
    socket.set_read_timeout(Some(PATIENCE))?;
    write!(
        socket,
        "GET {target} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n"
    )?;
    let mut all = Vec::new();
    socket.read_to_end(&mut all)?;
    let end = find(&all, b"\r\n\r\n").ok_or_else(|| broken("no head"))?;
    let head = String::from_utf8_lossy(&all[..end]).into_owned();
    let status = head
        .split(' ')
        .nth(1)
        .and_then(|status| status.parse().ok());
    Ok(Response {
        status: status.ok_or_else(|| broken("no status"))?,
        headers: Vec::new(),
        body: all.split_off(end + 4),
    })
}
