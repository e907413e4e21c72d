//! A stand-in for the providers: one local TLS server that behaves as Microsoft Entra ID, Exchange Web
//! Services, Microsoft Graph and Google's token, People and Calendar interfaces do, as far as
//! verification asks them.
//!
//! Tests start it, because the real ones are never called from there; no command does. Of `dev` only the
//! demonstration credential comes from here ([`demonstration`]). Each answer follows from what is
//! registered in its [`World`], or is the [`Forced`] one. It holds made-up values only, so that nothing
//! in it is kept like a secret.

mod answers;
mod control;
pub mod demonstration;
mod entra;
mod exchange;
mod google;
mod graph;
mod jwt;
mod pace;
#[cfg(test)]
mod tests;
mod tokens;
mod world;

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard};

use arc_swap::ArcSwap;
use axum::Router;
use axum::routing::{get, post};
use rustls::ServerConfig;
use tokio::net::TcpListener;
use tokio::sync::watch;

pub use answers::{Answer, Forced, Place};
use pace::Pace;
pub use world::{
    AppSecret, Application, EwsSwitch, GoogleKey, Mailbox, MailboxState, Sent, ServiceAccount,
    Tenant, World,
};

use crate::clock::Clock;
use crate::http::server::{Limits, Server, Transport};
use crate::identity::spiffe::TrustDomain;
use crate::pki::{Issuer, P256Key, PkiError, ServerName, create_authority, tls_key};
use crate::random::Random;

/// How long the stand-in's certificate lives.
const LIFETIME_SECS: i64 = 365 * 86_400;

/// The stand-in cannot start.
#[derive(Debug, thiserror::Error)]
pub enum StandInError {
    /// It would be reachable from elsewhere.
    #[error("the stand-in listens on loopback only")]
    NotLoopback,
    /// Its certificate cannot be made.
    #[error(transparent)]
    Pki(#[from] PkiError),
    /// TLS cannot be set up.
    #[error("TLS cannot be set up")]
    Tls,
    /// It cannot listen.
    #[error("cannot listen: {0}")]
    Listen(#[from] std::io::Error),
}

/// What the parts of the stand-in share.
struct Shared {
    world: Mutex<World>,
    pace: Pace,
    clock: Arc<dyn Clock>,
    random: Arc<dyn Random>,
}

impl Shared {
    fn world(&self) -> MutexGuard<'_, World> {
        // A test that panicked inside left a world that is as good as before.
        self.world
            .lock()
            .unwrap_or_else(|broken| broken.into_inner())
    }
}

/// A stand-in that runs until it is dropped.
pub struct StandIn {
    shared: Arc<Shared>,
    address: SocketAddr,
    control: Option<SocketAddr>,
    ca_pem: String,
    _stop: watch::Sender<bool>,
}

impl StandIn {
    /// Starts on `listen`, which must be on loopback; port 0 takes a free one. With `control`, a second
    /// listener without TLS lets a test in another process change the world.
    ///
    /// # Errors
    /// See [`StandInError`].
    pub async fn start(
        world: World,
        listen: SocketAddr,
        control: Option<SocketAddr>,
        clock: Arc<dyn Clock>,
        random: Arc<dyn Random>,
    ) -> Result<Self, StandInError> {
        let addresses = [Some(listen), control];
        if addresses.iter().flatten().any(|it| !it.ip().is_loopback()) {
            return Err(StandInError::NotLoopback);
        }
        let (config, ca_pem) = certificate(listen.ip(), clock.as_ref(), random.as_ref())?;
        let shared = Arc::new(Shared {
            world: Mutex::new(world),
            pace: Pace::default(),
            clock,
            random,
        });
        let (stop, stopping) = watch::channel(false);
        let limits = Limits {
            connections: 4096,
            ..Limits::default()
        };
        let listener = TcpListener::bind(listen).await?;
        let address = listener.local_addr()?;
        let server = Server {
            listener,
            transport: Transport::Tls(Arc::new(ArcSwap::from_pointee(config))),
            router: router(Arc::clone(&shared)),
            limits,
        };
        tokio::spawn(server.run(stopping.clone()));
        let control = match control {
            None => None,
            Some(listen) => {
                let listener = TcpListener::bind(listen).await?;
                let address = listener.local_addr()?;
                let server = Server {
                    listener,
                    transport: Transport::Plain,
                    router: control::router(Arc::clone(&shared)),
                    limits,
                };
                tokio::spawn(server.run(stopping));
                Some(address)
            }
        };
        Ok(Self {
            shared,
            address,
            control,
            ca_pem,
            _stop: stop,
        })
    }

    /// The same on a free port of 127.0.0.1, without a second listener.
    ///
    /// # Errors
    /// See [`StandInError`].
    pub async fn start_anywhere(
        world: World,
        clock: Arc<dyn Clock>,
        random: Arc<dyn Random>,
    ) -> Result<Self, StandInError> {
        let anywhere = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        Self::start(world, anywhere, None, clock, random).await
    }

    /// Its origin: `https://` and address.
    pub fn url(&self) -> String {
        format!("https://{}", self.address)
    }

    /// Where it is controlled from, if it is.
    pub const fn control(&self) -> Option<SocketAddr> {
        self.control
    }

    /// The authority of its certificate, in PEM. Made anew at each start.
    pub fn ca_pem(&self) -> &str {
        &self.ca_pem
    }

    /// Looks at the world, or changes it.
    pub fn change<T>(&self, change: impl FnOnce(&mut World) -> T) -> T {
        change(&mut self.shared.world())
    }
}

/// A certificate of an authority of its own, for the address and `localhost`.
fn certificate(
    address: IpAddr,
    clock: &dyn Clock,
    random: &dyn Random,
) -> Result<(ServerConfig, String), StandInError> {
    let domain: TrustDomain = "stand-in.invalid".parse().map_err(|_| StandInError::Tls)?;
    let authority = create_authority(&domain, clock.now(), random)?;
    let issuer = Issuer::open(authority.certificate, authority.key, domain)?;
    let key = P256Key::generate()?;
    let names = [
        ServerName::Dns("localhost".to_owned()),
        ServerName::Ip(address),
    ];
    let issued =
        issuer.issue_server(key.public_key(), &names, LIFETIME_SECS, clock.now(), random)?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13, &rustls::version::TLS12])
        .map_err(|_| StandInError::Tls)?
        .with_no_client_auth()
        .with_single_cert(vec![issued.der], tls_key(key.pkcs8()))
        .map_err(|_| StandInError::Tls)?;
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok((config, issuer.certificate_pem()))
}

/// Somebody who answers in a provider's place, as they like: where, and the authority of the
/// certificate. Ends when the last of the three is dropped.
#[cfg(test)]
pub(crate) async fn impostor(
    router: Router,
    clock: &dyn Clock,
    random: &dyn Random,
) -> (SocketAddr, String, watch::Sender<bool>) {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let address = listener.local_addr().unwrap();
    let (config, ca_pem) = certificate(address.ip(), clock, random).unwrap();
    let (stop, stopping) = watch::channel(false);
    let server = Server {
        listener,
        transport: Transport::Tls(Arc::new(ArcSwap::from_pointee(config))),
        router,
        limits: Limits::default(),
    };
    tokio::spawn(server.run(stopping));
    (address, ca_pem, stop)
}

/// Every provider's routes: none of them is in another's way, so that one origin does for all.
fn router(shared: Arc<Shared>) -> Router {
    Router::new()
        .route(
            "/{tenant}/v2.0/.well-known/openid-configuration",
            get(entra::discover),
        )
        .route("/{tenant}/oauth2/v2.0/token", post(entra::token))
        .route("/EWS/Exchange.asmx", post(exchange::serve))
        .route("/v1.0/users/{user}/contacts", get(graph::contacts))
        .route("/v1.0/users/{user}/calendar/events", get(graph::events))
        .route("/v1.0/users/{user}/sendMail", post(graph::send))
        .route("/v1.0/applications", get(graph::applications))
        .route("/token", post(google::token))
        .route("/v1/people/me/connections", get(google::connections))
        .route("/calendar/v3/users/me/calendarList", get(google::calendars))
        .layer(axum::middleware::from_fn_with_state(
            Arc::clone(&shared),
            pace::keep,
        ))
        .with_state(shared)
}
