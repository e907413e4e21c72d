//! The load: connections that each send the same request again as soon as it was answered.
//!
//! Everything that can be done before a measurement is: the request's bytes are ready, the answers
//! are looked at only so far as to know that they are the expected ones.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicU8, Ordering},
    },
    time::{Duration, Instant},
};

use rustls::{ClientConfig, pki_types::ServerName};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    task::JoinSet,
};
use tokio_rustls::{TlsConnector, client::TlsStream};

use crate::answer::{Head, value_of};

/// Where to send to, and as whom.
#[derive(Clone)]
pub struct Peer {
    /// The server's address.
    pub address: SocketAddr,
    /// The name in its certificate.
    pub name: ServerName<'static>,
    /// Whom to trust, and the client certificate.
    pub tls: Arc<ClientConfig>,
}

/// A request and what it is answered by.
#[derive(Clone)]
pub struct Exchange {
    /// The request's bytes.
    pub request: Arc<[u8]>,
    /// The status of each answer.
    pub status: u16,
    /// The body of each answer.
    pub body: Arc<[u8]>,
}

/// One whole answer.
pub struct Answer {
    /// The status code.
    pub status: u16,
    /// Header lines as they came, with the status line.
    pub lines: Vec<Vec<u8>>,
    /// The body, joined.
    pub body: Vec<u8>,
}

impl Answer {
    /// The first header of this name (given in lower case), if it is text.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.lines
            .iter()
            .find_map(|line| value_of(line, name.as_bytes()))
            .and_then(|value| std::str::from_utf8(value).ok())
    }
}

/// What a measurement saw.
pub struct Seen {
    /// Answers within the measured time.
    pub answers: usize,
    /// Answers altogether, with those before and after it.
    pub all_answers: usize,
    /// The measured time.
    pub time: Duration,
    /// From the request's first byte sent to the answer's last byte read, in order.
    pub latencies: Vec<Duration>,
}

impl Seen {
    /// The latency that this share of the answers did not exceed.
    pub fn quantile(&self, share: f64) -> Duration {
        let last = self.latencies.len().saturating_sub(1);
        // An index into a list in memory, from a share between 0 and 1.
        let index = (last as f64 * share).round() as usize;
        self.latencies.get(index).copied().unwrap_or_default()
    }
}

/// The bytes of a GET request.
pub fn get(peer: &Peer, path: &str, more_headers: &str) -> Arc<[u8]> {
    let host = peer.name.to_str();
    let port = peer.address.port();
    format!(
        "GET {path} HTTP/1.1\r\nhost: {host}:{port}\r\nuser-agent: release-bench\r\n\
         accept: application/json\r\n{more_headers}\r\n"
    )
    .into_bytes()
    .into()
}

/// Sends one request on a connection of its own.
///
/// # Errors
/// There is no connection or no answer.
pub async fn once(peer: &Peer, request: &[u8]) -> Result<Answer, String> {
    let mut connection = Connection::open(peer).await?;
    let (head, end) = connection.exchange(request).await?;
    let received = &connection.received[..end];
    let lines = received[..head.length]
        .split(|byte| *byte == b'\n')
        .map(|line| line.trim_ascii_end().to_vec())
        .collect();
    Ok(Answer {
        status: head.status,
        lines,
        body: head.content(received)?,
    })
}

const WARMING: u8 = 0;
const MEASURING: u8 = 1;
const STOPPING: u8 = 2;

/// Keeps `connections` busy; calls `edge` at the beginning and at the end of the measured time.
///
/// # Errors
/// A connection breaks, or an answer is not the expected one.
pub async fn run(
    peer: &Peer,
    exchange: &Exchange,
    connections: usize,
    warm_up: Duration,
    measure: Duration,
    mut edge: impl FnMut(),
) -> Result<Seen, String> {
    let phase = Arc::new(AtomicU8::new(WARMING));
    let mut open = Vec::with_capacity(connections);
    for _ in 0..connections {
        open.push(Connection::open(peer).await?);
    }
    let mut tasks = JoinSet::new();
    for connection in open {
        tasks.spawn(drive(connection, exchange.clone(), Arc::clone(&phase)));
    }
    tokio::time::sleep(warm_up).await;
    phase.store(MEASURING, Ordering::Relaxed);
    edge();
    let begin = Instant::now();
    tokio::time::sleep(measure).await;
    phase.store(STOPPING, Ordering::Relaxed);
    let time = begin.elapsed();
    edge();
    let mut latencies = Vec::new();
    let mut all_answers = 0;
    while let Some(done) = tasks.join_next().await {
        let (all, measured) = done.map_err(|_| "a connection's task panicked")??;
        all_answers += all;
        latencies.extend(measured);
    }
    latencies.sort_unstable();
    Ok(Seen {
        answers: latencies.len(),
        all_answers,
        time,
        latencies,
    })
}

async fn drive(
    mut connection: Connection,
    exchange: Exchange,
    phase: Arc<AtomicU8>,
) -> Result<(usize, Vec<Duration>), String> {
    let mut latencies = Vec::with_capacity(1 << 16);
    let mut all = 0;
    while phase.load(Ordering::Relaxed) != STOPPING {
        let begin = Instant::now();
        let (head, end) = connection.exchange(&exchange.request).await?;
        let latency = begin.elapsed();
        if head.status != exchange.status {
            return Err(format!("an answer with status {}", head.status));
        }
        if head.is_sized() && connection.received[head.length..end] != *exchange.body {
            return Err("an answer with another body".into());
        }
        all += 1;
        if phase.load(Ordering::Relaxed) == MEASURING {
            latencies.push(latency);
        }
    }
    Ok((all, latencies))
}

/// An open connection.
pub struct Connection {
    stream: TlsStream<TcpStream>,
    /// The answer that was read last.
    pub received: Vec<u8>,
}

impl Connection {
    /// Opens one.
    ///
    /// # Errors
    /// There is none.
    pub async fn open(peer: &Peer) -> Result<Self, String> {
        let stream = TcpStream::connect(peer.address)
            .await
            .map_err(|error| format!("no connection: {error}"))?;
        stream
            .set_nodelay(true)
            .map_err(|error| format!("no TCP_NODELAY: {error}"))?;
        let stream = TlsConnector::from(Arc::clone(&peer.tls))
            .connect(peer.name.clone(), stream)
            .await
            .map_err(|error| format!("no TLS connection: {error}"))?;
        Ok(Self {
            stream,
            received: Vec::with_capacity(16 * 1024),
        })
    }

    /// Sends and reads until the answer's end. The answer stays in `received`.
    ///
    /// # Errors
    /// The connection broke, or what came is no answer.
    pub async fn exchange(&mut self, request: &[u8]) -> Result<(Head, usize), String> {
        let lost = |error| format!("a connection broke: {error}");
        self.stream.write_all(request).await.map_err(lost)?;
        self.stream.flush().await.map_err(lost)?;
        self.received.clear();
        let mut head = None;
        loop {
            if self
                .stream
                .read_buf(&mut self.received)
                .await
                .map_err(lost)?
                == 0
            {
                return Err("a connection was closed".into());
            }
            if head.is_none() {
                head = Head::parse(&self.received)?;
            }
            let Some(head) = head else { continue };
            match head.end(&self.received)? {
                Some(end) if end == self.received.len() => return Ok((head, end)),
                Some(_) => return Err("more was sent than was asked for".into()),
                None => {}
            }
        }
    }
}
