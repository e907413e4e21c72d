//! One running node: a vault, its listeners, and an orderly end.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;

use super::error::CliError;
use crate::http::server::{Limits, Server, Transport};
use crate::http::status::{self, Metrics, Readiness};
use crate::http::{ApiState, api_router, surround};
use crate::identity::client_cert::{PossessionVerifier, server_config};
use crate::pki::ServerName;
use crate::vault::Vault;

/// Where the certificate of the API's listener comes from.
pub enum ServerIdentity {
    /// From two files: the chain and the key.
    Files(PathBuf, PathBuf),
    /// From the deployment's own authority, for these names, made anew at each start.
    Own(Vec<ServerName>),
}

/// What a node listens on.
pub struct Node {
    /// The open deployment.
    pub vault: Arc<Vault>,
    /// The API.
    pub api: TcpListener,
    /// Health, readiness, metrics.
    pub status: TcpListener,
    /// The API's certificate.
    pub identity: ServerIdentity,
    /// What the API's listener allows.
    pub limits: Limits,
    /// The metrics of this process.
    pub metrics: Metrics,
}

struct VaultReadiness(Arc<Vault>);

impl Readiness for VaultReadiness {
    fn parts(&self) -> Vec<status::Part> {
        let parts = self.0.readiness().into_iter();
        parts
            .map(|part| status::Part {
                name: part.name,
                ready: part.ready,
                detail: if part.ready { "ok" } else { part.detail },
            })
            .collect()
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
            status,
            identity,
            limits,
            metrics,
        } = self;
        let tls = Arc::new(ArcSwap::new(tls_config(&vault, &identity).await?));
        let (stop, stopping) = watch::channel(false);

        let clock = Arc::clone(vault.clock());
        let random = Arc::clone(vault.random());
        let (router, _) = api_router(ApiState::new(Arc::clone(&vault)));
        let api = Server {
            listener: api,
            transport: Transport::Tls(Arc::clone(&tls)),
            router: surround(router, Arc::clone(&clock), Arc::clone(&random)),
            limits,
        };
        let readiness = Arc::new(VaultReadiness(Arc::clone(&vault)));
        let status = Server {
            listener: status,
            transport: Transport::Plain,
            router: surround(status::router(readiness, metrics.clone()), clock, random),
            limits: Limits {
                connections: 64,
                ..Limits::default()
            },
        };
        let upkeep = tokio::spawn(metrics.upkeep());
        let api = tokio::spawn(api.run(stopping.clone()));
        let status = tokio::spawn(status.run(stopping));
        ready();

        let waited = wait_for_end(&vault, &identity, &tls).await;
        tracing::info!("stopping: requests under way are finished first");
        let _ = stop.send(true);
        let _ = api.await;
        let _ = status.await;
        upkeep.abort();
        vault.close().await;
        tracing::info!("stopped");
        waited
    }
}

/// Waits for SIGTERM or SIGINT. SIGHUP reads the certificate anew, and so does every day.
async fn wait_for_end(
    vault: &Arc<Vault>,
    identity: &ServerIdentity,
    tls: &ArcSwap<ServerConfig>,
) -> Result<(), CliError> {
    let listen = |kind| signal(kind).map_err(|error| CliError::local(format!("signals: {error}")));
    let mut terminate = listen(SignalKind::terminate())?;
    let mut interrupt = listen(SignalKind::interrupt())?;
    let mut reload = listen(SignalKind::hangup())?;
    let mut daily = tokio::time::interval(Duration::from_secs(24 * 60 * 60));
    daily.tick().await;
    loop {
        tokio::select! {
            _ = terminate.recv() => return Ok(()),
            _ = interrupt.recv() => return Ok(()),
            _ = reload.recv() => {}
            _ = daily.tick() => {}
        }
        match tls_config(vault, identity).await {
            Ok(config) => {
                tls.store(config);
                tracing::info!("the server's certificate was read anew");
            }
            Err(error) => tracing::error!(%error, "the old server certificate stays in use"),
        }
    }
}

async fn tls_config(
    vault: &Vault,
    identity: &ServerIdentity,
) -> Result<Arc<ServerConfig>, CliError> {
    let (chain, key) = match identity {
        ServerIdentity::Files(chain, key) => {
            let unusable = |path: &PathBuf| {
                CliError::local(format!(
                    "{} cannot be used as PEM: check its content",
                    path.display()
                ))
            };
            let certificates: Result<Vec<CertificateDer<'static>>, _> =
                CertificateDer::pem_file_iter(chain)
                    .map_err(|_| unusable(chain))?
                    .collect();
            let key = PrivateKeyDer::from_pem_file(key).map_err(|_| unusable(key))?;
            (certificates.map_err(|_| unusable(chain))?, key)
        }
        ServerIdentity::Own(names) => {
            let issued = vault.issue_server_certificate(names).await;
            let issued = issued.map_err(|error| CliError::local(error.to_string()))?;
            (issued.chain, issued.key)
        }
    };
    let config = server_config(chain, key, PossessionVerifier::new());
    let config = config.map_err(|error| {
        CliError::local(format!(
            "the server's certificate and key cannot be used: {error}"
        ))
    })?;
    Ok(Arc::new(config))
}

/// The names that a listener's own certificate is for.
pub fn server_names(listen: SocketAddr, url: Option<&str>) -> Vec<ServerName> {
    let mut names = vec![ServerName::Dns("localhost".to_owned())];
    let ip = listen.ip();
    if ip.is_unspecified() {
        names.push(ServerName::Ip(IpAddr::from([127, 0, 0, 1])));
    } else {
        names.push(ServerName::Ip(ip));
    }
    let host = url
        .and_then(|url| url.strip_prefix("https://"))
        .map(|rest| {
            let host = rest.rsplit_once(':').map_or(rest, |(host, _)| host);
            host.trim_start_matches('[')
                .trim_end_matches(']')
                .to_owned()
        });
    if let Some(host) = host {
        let name = match host.parse::<IpAddr>() {
            Ok(ip) => ServerName::Ip(ip),
            Err(_) => ServerName::Dns(host),
        };
        if !names.contains(&name) {
            names.push(name);
        }
    }
    names
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
