//! One connection, from its first byte to its last.

use std::{
    any::Any,
    convert::Infallible,
    net::{IpAddr, SocketAddr},
    pin::pin,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use arc_swap::ArcSwapOption;
use axum::{Router, body::Body, http::Request, response::Response};
use hyper::{body::Incoming, service::service_fn};
use hyper_util::{
    rt::{TokioExecutor, TokioIo, TokioTimer},
    server::conn::auto,
};
use rustls::pki_types::CertificateDer;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
    sync::watch,
    time::Instant,
};
use tokio_rustls::TlsAcceptor;
use tower::Service as _;

use super::{Limits, Transport, gate::Gate, newcomers::Newcomer, stopped};

type Anything = Arc<dyn Any + Send + Sync>;

/// What is known of a connection. Each request on it has it as the extension `Arc<Connection>`.
pub struct Connection {
    peer: SocketAddr,
    certificates: Arc<[CertificateDer<'static>]>,
    requests: AtomicU64,
    kept: ArcSwapOption<Anything>,
    newcomer: ArcSwapOption<Newcomer>,
}

impl Connection {
    /// A connection from `peer`, which showed these certificates (its own first) and proved to hold
    /// the key of the first.
    pub fn new(peer: SocketAddr, certificates: Arc<[CertificateDer<'static>]>) -> Self {
        Self {
            peer: SocketAddr::new(peer.ip().to_canonical(), peer.port()),
            certificates,
            requests: AtomicU64::new(0),
            kept: ArcSwapOption::empty(),
            newcomer: ArcSwapOption::empty(),
        }
    }

    /// The same, with its place among those who have not proven who they are.
    fn with_newcomer(self, newcomer: Option<Newcomer>) -> Self {
        self.newcomer.store(newcomer.map(Arc::new));
        self
    }

    /// Somebody on this connection has proven who they are: it is not a stranger's any more.
    pub fn proven(&self) {
        if self.newcomer.load().is_some() {
            self.newcomer.store(None);
        }
    }

    /// The address that the connection comes from. Headers have no say in it.
    pub fn peer(&self) -> SocketAddr {
        self.peer
    }

    /// The peer's address without the port.
    pub fn peer_ip(&self) -> IpAddr {
        self.peer.ip()
    }

    /// The certificates that the peer showed, its own first; none if it showed none. The handshake
    /// proved possession of the first one's key and nothing more.
    pub fn certificates(&self) -> &Arc<[CertificateDer<'static>]> {
        &self.certificates
    }

    /// Keeps what was worked out about this connection, for its next requests. One value at a time;
    /// the newer takes the place of the older.
    pub fn keep<T: Any + Send + Sync>(&self, value: Arc<T>) {
        self.kept.store(Some(Arc::new(value)));
    }

    /// What was kept last, if it is of this type.
    pub fn kept<T: Any + Send + Sync>(&self) -> Option<Arc<T>> {
        let kept = self.kept.load();
        Anything::clone(kept.as_ref()?).downcast().ok()
    }
}

/// What all connections of a listener share.
pub(super) struct Setup {
    transport: Transport,
    router: Router,
    limits: Limits,
    gate: Gate,
    http1: auto::Builder<TokioExecutor>,
    http2: auto::Builder<TokioExecutor>,
}

impl Setup {
    pub(super) fn new(transport: Transport, router: Router, limits: Limits, gate: Gate) -> Self {
        let mut builder = auto::Builder::new(TokioExecutor::new());
        builder
            .http1()
            .timer(TokioTimer::new())
            .header_read_timeout(limits.header_timeout)
            .max_headers(limits.headers)
            // hyper's own minimum, below which it panics.
            .max_buf_size(limits.header_bytes.max(8192));
        builder
            .http2()
            .timer(TokioTimer::new())
            .max_concurrent_streams(limits.streams)
            .max_header_list_size(u32::try_from(limits.header_bytes).unwrap_or(u32::MAX))
            .initial_stream_window_size(64 * 1024)
            .initial_connection_window_size(512 * 1024)
            .max_send_buf_size(64 * 1024)
            .max_pending_accept_reset_streams(16)
            .max_local_error_reset_streams(64)
            .keep_alive_interval(limits.ping_interval)
            .keep_alive_timeout(limits.ping_timeout);
        Self {
            transport,
            router,
            limits,
            gate,
            // Which one is known from the handshake. Guessing from the first bytes would wait for
            // them without a time-out.
            http1: builder.clone().http1_only(),
            http2: builder.http2_only(),
        }
    }

    pub(super) async fn serve(
        self: Arc<Self>,
        stream: TcpStream,
        peer: SocketAddr,
        newcomer: Option<Newcomer>,
        number: u64,
        stop: watch::Receiver<bool>,
    ) {
        // Answers are small and whole; waiting to fill a packet would only delay them.
        let _ = stream.set_nodelay(true);
        let tls = match &self.transport {
            Transport::Plain => {
                let connection = Connection::new(peer, Arc::new([]));
                return self.converse(stream, connection, false, number, stop).await;
            }
            Transport::Tls(source) => TlsAcceptor::from(source.load_full()),
        };
        let shaking = self.gate.run(tls.accept(stream));
        let mut stopping = stop.clone();
        let shaken = tokio::select! {
            shaken = tokio::time::timeout(self.limits.handshake_timeout, shaking) => shaken,
            // Whoever has not finished the handshake has no request in flight.
            () = stopped(&mut stopping) => return,
        };
        let outcome = match &shaken {
            Ok(Ok(_)) => "done",
            Ok(Err(_)) => "failed",
            Err(_) => "timed-out",
        };
        metrics::counter!("strongroom_tls_handshakes_total", "outcome" => outcome).increment(1);
        // Not logged: what failed is the peer's to see, and anybody could fill the log with it.
        let Ok(Ok(stream)) = shaken else { return };
        let (_, session) = stream.get_ref();
        let http2 = session.alpn_protocol() == Some(b"h2");
        let certificates = session
            .peer_certificates()
            .unwrap_or_default()
            .iter()
            .cloned()
            .map(CertificateDer::into_owned)
            .collect();
        let connection = Connection::new(peer, certificates).with_newcomer(newcomer);
        self.converse(stream, connection, http2, number, stop).await;
    }

    async fn converse<I>(
        &self,
        stream: I,
        connection: Connection,
        http2: bool,
        number: u64,
        mut stop: watch::Receiver<bool>,
    ) where
        I: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    {
        let _open = Open::new();
        let connection = Arc::new(connection);
        let service = {
            let connection = Arc::clone(&connection);
            let router = self.router.clone();
            service_fn(move |request| answer(router.clone(), Arc::clone(&connection), request))
        };
        let builder = if http2 { &self.http2 } else { &self.http1 };
        let mut conversation = pin!(builder.serve_connection(TokioIo::new(stream), service));

        let begun = Instant::now();
        let mut first_request = pin!(tokio::time::sleep_until(
            begun + self.limits.first_request_timeout
        ));
        let mut spoken = false;
        let mut end = pin!(tokio::time::sleep_until(
            begun + age(self.limits.connection_age, number)
        ));
        let mut ending = false;
        loop {
            tokio::select! {
                // An error is the peer's, or a request that was broken off: logged where it was.
                _ = conversation.as_mut() => break,
                () = stopped(&mut stop), if !ending => {}
                () = first_request.as_mut(), if !spoken => {
                    if connection.requests.load(Ordering::Relaxed) == 0 {
                        break;
                    }
                    spoken = true;
                    continue;
                }
                () = end.as_mut() => if ending { break },
            }
            // The service stops, or the connection is old: no more requests, and a last term.
            ending = true;
            conversation.as_mut().graceful_shutdown();
            end.as_mut()
                .reset(Instant::now() + self.limits.drain_timeout);
        }
    }
}

async fn answer(
    mut router: Router,
    connection: Arc<Connection>,
    request: Request<Incoming>,
) -> Result<Response, Infallible> {
    connection.requests.fetch_add(1, Ordering::Relaxed);
    let mut request = request.map(Body::new);
    request.extensions_mut().insert(connection);
    router.call(request).await
}

/// Counts a connection for as long as it lives, however it ends.
struct Open(metrics::Gauge);

impl Open {
    fn new() -> Self {
        let open = metrics::gauge!("strongroom_connections");
        open.increment(1);
        Self(open)
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.0.decrement(1);
    }
}

/// Connection number `number`'s share of the age: between nine tenths and all of it, spread evenly.
/// The step is the golden ratio's part of 2^64, which never clusters.
fn age(most: Duration, number: u64) -> Duration {
    let part = number.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32;
    most - (most / 10).mul_f64(part as f64 / 4_294_967_296.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_kept_comes_back_as_what_it_is() {
        let connection = Connection::new("[::ffff:192.0.2.1]:7".parse().unwrap(), Arc::new([]));
        assert_eq!(connection.peer_ip(), "192.0.2.1".parse::<IpAddr>().unwrap());
        assert!(connection.kept::<u32>().is_none());
        connection.keep(Arc::new(7_u32));
        assert_eq!(connection.kept::<u32>().as_deref(), Some(&7));
        assert!(connection.kept::<u64>().is_none());
        connection.keep(Arc::new(8_u64));
        assert!(connection.kept::<u32>().is_none());
    }

    #[test]
    fn ages_are_spread_over_the_last_tenth() {
        let most = Duration::from_secs(600);
        let ages: Vec<_> = (0..1000).map(|number| age(most, number)).collect();
        assert!(ages.iter().all(|age| *age <= most && *age >= most / 10 * 9));
        let early = ages.iter().filter(|age| **age < most / 100 * 95).count();
        assert!((400..600).contains(&early), "{early}");
    }
}
