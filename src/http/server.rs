//! Accepting connections: TLS, limits, time-outs, and stopping without breaking anybody off.
//!
//! A loop of our own, because the peer's certificate must reach the handlers, no client may hold up
//! another by not finishing its handshake, and the TLS configuration changes while connections are
//! open.

mod connection;
mod gate;
mod newcomers;

pub use connection::Connection;

use std::{io, net::SocketAddr, sync::Arc, time::Duration};

use arc_swap::ArcSwap;
use axum::Router;
use rustls::ServerConfig;
use tokio::{
    net::{TcpListener, TcpStream},
    sync::{Semaphore, watch},
};

use connection::Setup;
use gate::Gate;
use newcomers::Newcomers;

/// A TLS configuration that may be replaced at any time. New connections use the newest one; open
/// connections keep theirs.
pub type TlsSource = Arc<ArcSwap<ServerConfig>>;

/// What connections run over.
#[derive(Clone)]
pub enum Transport {
    /// TLS; the ALPN protocol chooses HTTP/1.1 or HTTP/2.
    Tls(TlsSource),
    /// Plain TCP with HTTP/1.1, for the status listener.
    Plain,
}

/// What a listener allows.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// How many connections may be open at once; more wait in the operating system's queue. Of one
    /// address no more than a quarter of them that have not proven who they are; more are closed.
    pub connections: usize,
    /// How many steps of TLS handshakes may be waiting for a processor at once. A client that does
    /// not answer holds none of them.
    pub handshake_steps: usize,
    /// How long a handshake may take.
    pub handshake_timeout: Duration,
    /// How long after the handshake the first request's headers may take.
    pub first_request_timeout: Duration,
    /// How long each later request's headers may take on HTTP/1.1; as hyper counts from the end of
    /// the answer before, also how long such a connection may be idle.
    pub header_timeout: Duration,
    /// After how long a connection is ended, once its requests are answered. A few seconds to a
    /// tenth less for most, so that a fleet that came together does not come together again.
    pub connection_age: Duration,
    /// How long requests in flight may take to end, at the end of a connection or of the service.
    pub drain_timeout: Duration,
    /// How many header lines a request may have on HTTP/1.1.
    pub headers: usize,
    /// How many bytes the headers of a request may have. At least 8192.
    pub header_bytes: usize,
    /// How many requests may be under way at once on one HTTP/2 connection.
    pub streams: u32,
    /// How often an HTTP/2 peer is asked whether it is still there.
    pub ping_interval: Duration,
    /// How long it may take to say so.
    pub ping_timeout: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: 16_384,
            handshake_steps: 4,
            handshake_timeout: Duration::from_secs(10),
            first_request_timeout: Duration::from_secs(10),
            header_timeout: Duration::from_secs(60),
            connection_age: Duration::from_secs(600),
            drain_timeout: Duration::from_secs(30),
            headers: 64,
            header_bytes: 16 * 1024,
            streams: 64,
            ping_interval: Duration::from_secs(20),
            ping_timeout: Duration::from_secs(10),
        }
    }
}

/// One listener with what it serves.
pub struct Server {
    /// Bound and listening.
    pub listener: TcpListener,
    /// TLS or not.
    pub transport: Transport,
    /// What is served; already surrounded (see [`super::surround`]).
    pub router: Router,
    /// What is allowed.
    pub limits: Limits,
}

impl Server {
    /// Serves until `stop` becomes true or its sender is gone; then takes no more connections, lets
    /// requests in flight end, and returns when the last connection is closed, or when the drain
    /// time is over.
    pub async fn run(self, mut stop: watch::Receiver<bool>) {
        let Self {
            listener,
            transport,
            router,
            limits,
        } = self;
        let most = limits.connections.clamp(1, u32::MAX as usize);
        let places = Arc::new(Semaphore::new(most));
        // On a listener that asks nobody for a proof nobody can give one.
        let newcomers = matches!(transport, Transport::Tls(_)).then(|| Newcomers::new(most));
        let setup = Arc::new(Setup::new(
            transport,
            router,
            limits,
            Gate::new(limits.handshake_steps),
        ));
        let mut backoff = Backoff::default();
        let mut count: u64 = 0;
        loop {
            let accepted = tokio::select! {
                biased;
                () = stopped(&mut stop) => break,
                accepted = accept(&listener, &places) => accepted,
            };
            let (place, stream, peer) = match accepted {
                Ok(accepted) => accepted,
                Err(error) => {
                    let pause = backoff.after(&error);
                    if !pause.is_zero() {
                        tokio::select! {
                            () = stopped(&mut stop) => break,
                            () = tokio::time::sleep(pause) => {}
                        }
                    }
                    continue;
                }
            };
            backoff = Backoff::default();
            let newcomer = newcomers.as_ref().map(|it| it.admit(peer.ip()));
            if let Some(None) = newcomer {
                metrics::counter!("strongroom_connections_refused_total").increment(1);
                continue;
            }
            count = count.wrapping_add(1);
            let newcomer = newcomer.flatten();
            let serving = Arc::clone(&setup).serve(stream, peer, newcomer, count, stop.clone());
            tokio::spawn(async move {
                serving.await;
                drop(place);
            });
        }
        // Nobody else is let in while the rest is waited for.
        drop(listener);
        let all = places.acquire_many(u32::try_from(most).unwrap_or(u32::MAX));
        // Each connection keeps the drain time by itself; the second is for their tasks to end.
        let deadline = limits.drain_timeout + Duration::from_secs(1);
        if tokio::time::timeout(deadline, all).await.is_err() {
            tracing::warn!("connections were still open at the end of the drain time");
        }
    }
}

/// Ends when the service is to stop.
async fn stopped(stop: &mut watch::Receiver<bool>) {
    // An error means that nobody is left who could say so, which says so as well.
    let _ = stop.wait_for(|stop| *stop).await;
}

async fn accept(
    listener: &TcpListener,
    places: &Arc<Semaphore>,
) -> io::Result<(tokio::sync::OwnedSemaphorePermit, TcpStream, SocketAddr)> {
    let place = Arc::clone(places)
        .acquire_owned()
        .await
        .map_err(io::Error::other)?;
    let (stream, peer) = listener.accept().await?;
    Ok((place, stream, peer))
}

/// How long to pause after an error of accept: not at all when it was the peer's, longer and longer
/// when we have no descriptors or memory left, because trying at once would keep a core busy.
#[derive(Default)]
struct Backoff(Duration);

impl Backoff {
    fn after(&mut self, error: &io::Error) -> Duration {
        if matches!(
            error.kind(),
            io::ErrorKind::ConnectionAborted
                | io::ErrorKind::ConnectionReset
                | io::ErrorKind::ConnectionRefused
                | io::ErrorKind::Interrupted
        ) {
            return Duration::ZERO;
        }
        if self.0.is_zero() {
            tracing::error!(kind = ?error.kind(), code = error.raw_os_error(), "connections cannot be accepted");
        }
        self.0 = (self.0 * 2).clamp(Duration::from_millis(20), Duration::from_secs(1));
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn accept_errors_pause_longer_and_longer_unless_they_are_the_peers() {
        let mut backoff = Backoff::default();
        assert!(
            backoff
                .after(&io::ErrorKind::ConnectionAborted.into())
                .is_zero()
        );
        // EMFILE: the process has no descriptors left.
        let full = io::Error::from_raw_os_error(24);
        let first = backoff.after(&full);
        assert!(first > Duration::ZERO);
        assert!(backoff.after(&full) > first);
        for _ in 0..20 {
            assert!(backoff.after(&full) <= Duration::from_secs(1));
        }
    }
}
