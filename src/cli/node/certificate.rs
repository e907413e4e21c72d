//! The certificates of the listeners, and keeping them the right ones while connections are open.

use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use arc_swap::ArcSwap;
use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use zeroize::Zeroizing;

use crate::cli::error::CliError;
use crate::http::server::TlsSource;
use crate::identity::certificate::certificate_end;
use crate::identity::client_cert::{PossessionVerifier, public_config, server_config};
use crate::model::AuthorityId;
use crate::pki::ServerName;
use crate::vault::Vault;

/// How often it is looked whether another certificate should be shown.
pub const LOOK_EVERY: Duration = Duration::from_secs(5);

/// Whose certificate it is.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Listener {
    /// The API, which lets clients show a certificate.
    Api,
    /// The pages, which do not ask for one: browsers would ask their users.
    Pages,
}

impl Listener {
    /// Whether the configured certificate is shown.
    fn current(self) -> metrics::Gauge {
        match self {
            Self::Api => metrics::gauge!("strongroom_server_certificate_current"),
            Self::Pages => {
                metrics::gauge!("strongroom_server_certificate_current", "listener" => "pages")
            }
        }
    }

    /// When the one that is shown ends.
    fn not_after(self) -> metrics::Gauge {
        match self {
            Self::Api => {
                metrics::gauge!("strongroom_server_certificate_not_after_timestamp_seconds")
            }
            Self::Pages => metrics::gauge!(
                "strongroom_server_certificate_not_after_timestamp_seconds",
                "listener" => "pages"
            ),
        }
    }
}

/// Where the certificate of a listener comes from.
pub enum ServerIdentity {
    /// From two files: the chain and the key.
    Files(PathBuf, PathBuf),
    /// From the deployment's own authority, for these names, made anew at each start.
    Own(Vec<ServerName>),
}

/// What decides which certificate is shown: when it is another, so is the certificate.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Cause {
    /// SHA-256 of the two files; nothing while one of them cannot be read.
    Files(Option<[u8; 32]>),
    /// The own authority and the day.
    Own(Option<AuthorityId>, i64),
}

/// Whether the certificate that is shown is the configured one.
#[derive(Clone)]
pub struct CertificateState(Arc<AtomicBool>, Listener);

impl CertificateState {
    /// How it is, in words.
    pub fn detail(&self) -> &'static str {
        match self.0.load(Ordering::Acquire) {
            true => "ok",
            false => "the certificate files changed and cannot be used: the old one is shown",
        }
    }

    fn set(&self, current: bool) {
        self.0.store(current, Ordering::Release);
        let gauge = self.1.current();
        gauge.set(f64::from(u8::from(current)));
    }
}

/// The listener's certificate.
pub struct Certificate {
    vault: Arc<Vault>,
    listener: Listener,
    identity: ServerIdentity,
    source: TlsSource,
    state: CertificateState,
    /// The cause of the newest try, whether or not it went well.
    tried: Cause,
}

impl Certificate {
    /// Reads or makes the certificate.
    ///
    /// # Errors
    /// It cannot be used.
    pub async fn load(
        vault: Arc<Vault>,
        listener: Listener,
        identity: ServerIdentity,
    ) -> Result<Self, CliError> {
        // Read before the certificate: if it changes in between, it is read once more.
        let tried = cause(&vault, &identity).await;
        let config = tls_config(&vault, listener, &identity).await?;
        let state = CertificateState(Arc::new(AtomicBool::new(true)), listener);
        state.set(true);
        Ok(Self {
            vault,
            listener,
            identity,
            source: Arc::new(ArcSwap::new(config)),
            state,
            tried,
        })
    }

    /// What the listener takes its configuration from. New connections use the newest; open ones go on
    /// with theirs.
    pub fn source(&self) -> TlsSource {
        Arc::clone(&self.source)
    }

    /// Whether the newest try went well.
    pub fn state(&self) -> CertificateState {
        self.state.clone()
    }

    /// Reads or makes the certificate anew if what decides about it is another than at the last try. A
    /// pair of files that cannot be used is tried again when it changes, not before.
    pub async fn renew_if_changed(&mut self) {
        match cause(&self.vault, &self.identity).await {
            // The database cannot be asked: nothing is known to have changed.
            Cause::Own(None, _) => {}
            cause if cause != self.tried => self.renew().await,
            _ => {}
        }
    }

    /// Reads or makes the certificate anew. The old one stays if that does not go well.
    pub async fn renew(&mut self) {
        self.tried = cause(&self.vault, &self.identity).await;
        match tls_config(&self.vault, self.listener, &self.identity).await {
            Ok(config) => {
                self.source.store(config);
                self.state.set(true);
                tracing::info!("the server's certificate was read anew");
            }
            Err(error) => {
                self.state.set(false);
                tracing::error!(%error, "the old server certificate stays in use");
            }
        }
    }
}

async fn cause(vault: &Vault, identity: &ServerIdentity) -> Cause {
    match identity {
        ServerIdentity::Files(chain, key) => Cause::Files(digest(chain, key)),
        ServerIdentity::Own(_) => {
            let authority = vault.presented_authority().await.ok().flatten();
            Cause::Own(authority, vault.clock().now().secs() / 86_400)
        }
    }
}

/// SHA-256 over both files.
fn digest(chain: &Path, key: &Path) -> Option<[u8; 32]> {
    let mut context = ring::digest::Context::new(&ring::digest::SHA256);
    for path in [chain, key] {
        let content = Zeroizing::new(std::fs::read(path).ok()?);
        context.update(&u64::try_from(content.len()).ok()?.to_be_bytes());
        context.update(&content);
    }
    context.finish().as_ref().try_into().ok()
}

async fn tls_config(
    vault: &Vault,
    listener: Listener,
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
    let end = chain.first().and_then(certificate_end);
    let config = match listener {
        Listener::Api => server_config(chain, key, PossessionVerifier::new()),
        Listener::Pages => public_config(chain, key),
    };
    let config = config.map_err(|error| {
        CliError::local(format!(
            "the server's certificate and key cannot be used: {error}"
        ))
    })?;
    if let Some(end) = end {
        listener.not_after().set(end.secs() as f64);
    }
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
