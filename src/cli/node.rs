//! One running node: a vault, its listeners, and an orderly end.

mod certificate;

use std::net::SocketAddr;
use std::sync::Arc;

use tokio::net::TcpListener;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::watch;

use super::error::CliError;
use crate::http::server::{Limits, Server, Transport as Listening};
use crate::http::status::{self, Metrics, Readiness};
use crate::http::{ApiState, api_router, pages, surround};
use crate::jobs::{DailyCheck, Verifier, mailer};
use crate::mail::{Sender, Transport};
use crate::vault::Vault;
use certificate::{Certificate, CertificateState, Listener};
pub use certificate::{ServerIdentity, server_names};

/// What a node listens on.
pub struct Node {
    /// The open deployment.
    pub vault: Arc<Vault>,
    /// The API.
    pub api: TcpListener,
    /// The pages for clients.
    pub pages: Option<PagesListener>,
    /// Health, readiness, metrics.
    pub status: TcpListener,
    /// The API's certificate.
    pub identity: ServerIdentity,
    /// What the API's listener allows.
    pub limits: Limits,
    /// The metrics of this process.
    pub metrics: Metrics,
    /// What verifies values at their providers.
    pub verifier: Verifier,
    /// Whose mails are sent and where to; none when they wait.
    pub mail: Option<(Sender, Transport)>,
    /// Whether active credentials are verified once a day.
    pub daily: bool,
}

/// The listener of the pages.
pub struct PagesListener {
    /// Bound.
    pub listener: TcpListener,
    /// Its certificate.
    pub identity: ServerIdentity,
    /// Its public address, if that is configured.
    pub origin: Option<String>,
}

struct NodeReadiness {
    vault: Arc<Vault>,
    certificate: CertificateState,
    pages: Option<CertificateState>,
}

impl Readiness for NodeReadiness {
    fn parts(&self) -> Vec<status::Part> {
        let parts = self.vault.readiness().into_iter();
        let mut parts: Vec<_> = parts
            .map(|part| status::Part {
                name: part.name,
                ready: part.ready,
                detail: part.detail,
            })
            .collect();
        // The old certificate goes on to be shown, so that the node does its work.
        parts.push(status::Part {
            name: "server-certificate",
            ready: true,
            detail: self.certificate.detail(),
        });
        if let Some(certificate) = &self.pages {
            parts.push(status::Part {
                name: "pages-certificate",
                ready: true,
                detail: certificate.detail(),
            });
        }
        parts
    }
}

impl Node {
    /// Serves until the process is told to stop; `ready` is called once both listeners serve.
    ///
    /// # Errors
    /// The certificate cannot be used.
    pub async fn run(self, ready: impl FnOnce()) -> Result<(), CliError> {
        let Self {
            vault,
            api,
            pages,
            status,
            identity,
            limits,
            metrics,
            verifier,
            mail,
            daily,
        } = self;
        // Before anything says that the service is ready: whoever sees that may stop it.
        let mut signals = Signals::listen()?;
        let load = |listener, identity| Certificate::load(Arc::clone(&vault), listener, identity);
        let mut certificates = vec![load(Listener::Api, identity).await?];
        let pages = match pages {
            None => None,
            Some(it) => {
                certificates.push(load(Listener::Pages, it.identity).await?);
                Some((it.listener, it.origin))
            }
        };
        let (stop, stopping) = watch::channel(false);

        let clock = Arc::clone(vault.clock());
        let random = Arc::clone(vault.random());
        let (router, _) = api_router(ApiState::new(Arc::clone(&vault)));
        let api = Server {
            listener: api,
            transport: Listening::Tls(certificates[0].source()),
            router: surround(router, Arc::clone(&clock), Arc::clone(&random)),
            limits,
        };
        let pages = pages.map(|(listener, origin)| Server {
            listener,
            transport: Listening::Tls(certificates[1].source()),
            router: pages::router(
                Arc::<Vault>::clone(&vault),
                origin,
                Arc::clone(&clock),
                Arc::clone(&random),
            ),
            limits,
        });
        let readiness = Arc::new(NodeReadiness {
            vault: Arc::clone(&vault),
            certificate: certificates[0].state(),
            pages: certificates.get(1).map(Certificate::state),
        });
        let status = Server {
            listener: status,
            transport: Listening::Plain,
            router: surround(status::router(readiness, metrics.clone()), clock, random),
            limits: Limits {
                connections: 64,
                ..Limits::default()
            },
        };
        let upkeep = tokio::spawn(metrics.upkeep());
        let api = tokio::spawn(api.run(stopping.clone()));
        let pages = pages.map(|pages| tokio::spawn(pages.run(stopping.clone())));
        let status = tokio::spawn(status.run(stopping.clone()));
        let daily = daily.then(|| {
            let vault = Arc::clone(&vault);
            tokio::spawn(DailyCheck { vault }.run(stopping.clone()))
        });
        let verifier = tokio::spawn(verifier.run(stopping.clone()));
        let mailer = tokio::spawn(mailer::run(Arc::clone(&vault), mail, stopping));
        ready();

        signals.wait_for_end(&mut certificates).await;
        tracing::info!("stopping: requests under way are finished first");
        let _ = stop.send(true);
        let _ = api.await;
        if let Some(pages) = pages {
            let _ = pages.await;
        }
        let _ = status.await;
        let _ = verifier.await;
        let _ = mailer.await;
        if let Some(daily) = daily {
            let _ = daily.await;
        }
        upkeep.abort();
        vault.close().await;
        tracing::info!("stopped");
        Ok(())
    }
}

/// What the process is told from outside.
struct Signals {
    terminate: Signal,
    interrupt: Signal,
    reload: Signal,
}

impl Signals {
    fn listen() -> Result<Self, CliError> {
        let listen =
            |kind| signal(kind).map_err(|error| CliError::local(format!("signals: {error}")));
        Ok(Self {
            terminate: listen(SignalKind::terminate())?,
            interrupt: listen(SignalKind::interrupt())?,
            reload: listen(SignalKind::hangup())?,
        })
    }

    /// Waits for SIGTERM or SIGINT, and meanwhile keeps the listeners' certificates the right ones:
    /// they are read anew on SIGHUP, when their files or the own authority changed, and every day.
    async fn wait_for_end(&mut self, certificates: &mut [Certificate]) {
        let mut look = tokio::time::interval(certificate::LOOK_EVERY);
        look.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                _ = self.terminate.recv() => return,
                _ = self.interrupt.recv() => return,
                _ = self.reload.recv() => for certificate in certificates.iter_mut() {
                    certificate.renew().await;
                },
                _ = look.tick() => for certificate in certificates.iter_mut() {
                    certificate.renew_if_changed().await;
                },
            }
        }
    }
}

/// Binds a listener, or says in words why it cannot be bound.
///
/// # Errors
/// The address is taken or not this machine's.
pub async fn bind(address: SocketAddr, option: &str) -> Result<TcpListener, CliError> {
    TcpListener::bind(address).await.map_err(|error| {
        CliError::local(match error.kind() {
            std::io::ErrorKind::AddrInUse => format!(
                "{address} is in use by another process: stop it, or choose another address with {option}"
            ),
            _ => format!("cannot listen on {address}: {error}"),
        })
    })
}

/// Ends the process when going on would lie: a write failed on the medium, and a retry would pretend
/// that it had not, or what was durable is gone. The next start looks at what is really there.
pub fn on_fatal(why: &'static str) {
    tracing::error!(
        why,
        "the process ends, so that nothing is acknowledged that is not durable"
    );
    std::process::exit(1);
}

/// The runtime of the service.
///
/// # Errors
/// The system gives no threads.
pub fn runtime() -> Result<tokio::runtime::Runtime, CliError> {
    tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(|error| CliError::local(format!("cannot start: {error}")))
}
