//! `dev`: everything at once, on loopback, for trying out.

mod banner;
mod demonstration;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use clap::Args;

use super::data_lock::{DataLock, private_directory};
use super::node::{Node, PagesListener, ServerIdentity, bind, on_fatal, runtime, server_names};
use super::serve::open_database;
use super::{Environment, error::CliError};
use crate::clock::{Clock, SystemClock};
use crate::config::Database as DatabaseConfig;
use crate::crypto::Identity;
use crate::http::server::Limits;
use crate::http::status::Metrics;
use crate::jobs::Verifier;
use crate::mail::{Sender, Transport};
use crate::model::Slug;
use crate::providers::{Cloud, Hosts, Outbound, ProbePolicy};
use crate::random::{Random, SystemRandom};
use crate::secret::Secret;
use crate::standin::{StandIn, World};
use crate::store::{Database, sqlite_path};
use crate::telemetry;
use crate::vault::{
    BackupSettings, CertificateLifetimes, Correspondence, Initialise, Open, Vault, initialise,
};

/// Where and what.
#[derive(Args, Debug)]
pub struct Arguments {
    /// Where everything is kept
    #[arg(long, value_name = "DIR", default_value = "strongroom-dev")]
    pub dir: PathBuf,
    /// Address of the API; loopback only
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:8200")]
    pub listen: SocketAddr,
    /// Address of the pages that clients see; loopback only
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:8201")]
    pub pages_listen: SocketAddr,
    /// Address of health and metrics; loopback only
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:8202")]
    pub status_listen: SocketAddr,
    /// Address of the stand-in that answers for the providers; loopback only
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:0")]
    pub stand_in_listen: SocketAddr,
    /// Address from which the stand-in's world can be changed, without TLS; loopback only
    #[arg(long, value_name = "ADDRESS")]
    pub stand_in_control: Option<SocketAddr>,
    /// For how many seconds a refusal may be because what was made is new
    #[arg(long, value_name = "SECONDS", default_value = "30")]
    pub settle_seconds: u16,
    /// File that holds a PostgreSQL URL; embedded database when left out
    #[arg(long, value_name = "FILE")]
    pub database_url_file: Option<PathBuf>,
    /// What to log, such as info or strongroom=debug
    #[arg(long, value_name = "FILTER", default_value = "info")]
    pub log: String,
}

/// Where things lie in the directory.
struct Layout {
    data: PathBuf,
    identity: PathBuf,
}

impl Layout {
    fn of(directory: &Path) -> Self {
        Self {
            data: directory.join("data"),
            identity: directory.join("root.identity"),
        }
    }
}

/// Starts it and runs until it is stopped.
///
/// # Errors
/// It cannot start.
pub fn run(arguments: &Arguments, _: &Environment) -> Result<(), CliError> {
    for (address, option) in [
        (arguments.listen, "--listen"),
        (arguments.pages_listen, "--pages-listen"),
        (arguments.status_listen, "--status-listen"),
    ] {
        if !address.ip().is_loopback() {
            return Err(CliError::local(format!(
                "dev listens on loopback only, and {option} {address} is not: for other machines, \
                 make a deployment with `strongroom init` and run `strongroom serve`"
            )));
        }
    }
    telemetry::init(telemetry::LogFormat::Text, &arguments.log)
        .map_err(|error| CliError::local(error.to_string()))?;
    runtime()?.block_on(start(arguments))
}

async fn start(arguments: &Arguments) -> Result<(), CliError> {
    let layout = Layout::of(&arguments.dir);
    private_directory(&layout.data.join("keys"))?;
    let _lock = DataLock::take(&layout.data)?;
    let api = bind(arguments.listen, "--listen").await?;
    let pages = bind(arguments.pages_listen, "--pages-listen").await?;
    let status = bind(arguments.status_listen, "--status-listen").await?;
    let metrics = Metrics::install().map_err(|error| CliError::local(error.to_string()))?;
    let database = match &arguments.database_url_file {
        None => DatabaseConfig::Sqlite(sqlite_path(&layout.data)),
        Some(file) => {
            DatabaseConfig::Postgres(Secret::new(std::fs::read(file).map_err(|error| {
                CliError::local(format!("cannot read {}: {error}", file.display()))
            })?))
        }
    };
    let database = open_database(&database, true).await?;
    let pages_url = format!("https://{}", api_address(&pages, arguments.pages_listen));
    let (vault, fresh) = open_or_make(&layout, database, &pages_url).await?;
    // Written last, so its absence says that the set-up was interrupted.
    let complete = arguments.dir.join("worker.json").exists();
    let url = format!("https://{}", api_address(&api, arguments.listen));
    if fresh {
        demonstration::set_up(&vault, &arguments.dir, &url).await?;
    } else if !complete {
        return Err(CliError::local(format!(
            "the first start was interrupted before everything was set up: remove {} (and the \
             PostgreSQL database, if there is one) and start again",
            arguments.dir.display()
        )));
    } else {
        demonstration::write_profile(&arguments.dir, &url)?;
    }
    let stand_in = start_stand_in(arguments).await?;
    let verifier = verifier(&vault, &stand_in, arguments.settle_seconds)?;
    let stand_in_url = (stand_in.url(), stand_in.control());
    let status_address = status.local_addr().unwrap_or(arguments.status_listen);
    let directory = arguments.dir.clone();
    let identity = ServerIdentity::Own(server_names(arguments.listen, None));
    let pages = PagesListener {
        listener: pages,
        identity: ServerIdentity::Own(server_names(arguments.pages_listen, None)),
        // No browser should remember rules for this name.
        origin: None,
    };
    let node = Node {
        vault,
        api,
        pages: Some(pages),
        status,
        identity,
        limits: Limits::default(),
        metrics,
        verifier,
        mail: Some((
            mail_sender()?,
            Transport::Folder(arguments.dir.join("mail")),
        )),
        daily: true,
    };
    node.run(move || {
        tracing::info!(%url, "serving");
        banner::print(
            &directory,
            &url,
            &pages_url,
            status_address,
            &stand_in_url,
            fresh,
        );
    })
    .await
}

/// The providers, made up.
async fn start_stand_in(arguments: &Arguments) -> Result<StandIn, CliError> {
    let clock = SystemClock;
    let world = World::demonstration(clock.now());
    let (listen, control) = (arguments.stand_in_listen, arguments.stand_in_control);
    StandIn::start(
        world,
        listen,
        control,
        Arc::new(clock),
        Arc::new(SystemRandom::new()),
    )
    .await
    .map_err(|error| CliError::local(error.to_string()))
}

/// What verifies values at the stand-in: the real providers are never asked from here.
fn verifier(vault: &Arc<Vault>, stand_in: &StandIn, settle: u16) -> Result<Verifier, CliError> {
    let hosts = Hosts::stand_in(Cloud::Global, &stand_in.url());
    let hosts = hosts.map_err(|error| CliError::local(error.to_string()))?;
    let outbound = Outbound::new(hosts, Some(stand_in.ca_pem().as_bytes()));
    let outbound = outbound.map_err(|error| CliError::local(error.to_string()))?;
    Ok(Verifier {
        vault: Arc::clone(vault),
        outbound: Arc::new(outbound),
        policy: ProbePolicy {
            sending: true,
            ..ProbePolicy::default()
        },
        settle_secs: i64::from(settle),
        at_once: 1000,
        clock: Arc::new(SystemClock),
        sleep: Arc::new(SystemClock),
        random: Arc::new(SystemRandom::new()),
    })
}

fn api_address(listener: &tokio::net::TcpListener, wanted: SocketAddr) -> SocketAddr {
    listener.local_addr().unwrap_or(wanted)
}

/// Opens the deployment in the directory, making it at the first start.
async fn open_or_make(
    layout: &Layout,
    database: Database,
    pages_url: &str,
) -> Result<(Arc<Vault>, bool), CliError> {
    let local = |error: &dyn std::fmt::Display| CliError::local(error.to_string());
    let clock = SystemClock;
    let random = SystemRandom::new();
    let made = {
        let mut tx = database.read().await.map_err(|error| local(&error))?;
        tx.deployment()
            .await
            .map_err(|error| local(&error))?
            .is_some()
    };
    if !made {
        let deployment = new_deployment_id("dev", &clock, &random)?;
        let (text, recipient) = Identity::generate();
        if !layout.identity.exists() {
            Identity::write_file(&layout.identity, &text).map_err(|error| local(&error))?;
        } else {
            return Err(CliError::local(format!(
                "{} is there but the database is empty: an earlier start was interrupted, or the \
                 database was removed. Remove the directory and start again",
                layout.identity.display()
            )));
        }
        initialise(&Initialise {
            database: &database,
            data: &layout.data,
            deployment: &deployment,
            recipients: &[recipient],
            passphrase: None,
            clock: &clock,
            random: &random,
        })
        .await
        .map_err(|error| local(&error))?;
    }
    let identities = Identity::read_file(&layout.identity, None)
        .map_err(|error| CliError::local(format!("{}: {error}", layout.identity.display())))?;
    let vault = Vault::open(Open {
        database,
        data: Some(layout.data.clone()),
        deployment: None,
        node: node_name()?,
        identities,
        url: None,
        cache_bytes: 32 * 1024 * 1024,
        correspondence: Correspondence {
            pages_url: Some(pages_url.to_owned()),
            sends: true,
        },
        backups: BackupSettings::default(),
        lifetimes: CertificateLifetimes::default(),
        accept_rollback: false,
        clock: Arc::new(clock),
        random: Arc::new(random),
        on_fatal: Arc::new(on_fatal),
    })
    .await
    .map_err(|error| local(&error))?;
    if !vault.deployment().starts_with("dev-") {
        return Err(CliError::local(
            "the database holds a deployment that was not made by dev: run it with `strongroom serve`",
        ));
    }
    Ok((vault, !made))
}

/// Whose mails lie in the folder.
fn mail_sender() -> Result<Sender, CliError> {
    "Strongroom on trial <access@strongroom.example>"
        .parse()
        .map_err(|_| CliError::local("mails have no sender"))
}

fn node_name() -> Result<Slug, CliError> {
    "main"
        .parse()
        .map_err(|_| CliError::local("the node has no name"))
}

/// A new deployment id: `dev-` or `prod-` and a ULID.
///
/// # Errors
/// There is no randomness.
pub fn new_deployment_id(
    prefix: &str,
    clock: &dyn Clock,
    random: &dyn Random,
) -> Result<String, CliError> {
    let id = crate::model::RequestId::generate(clock.now(), random)
        .map_err(|error| CliError::local(error.to_string()))?;
    let ulid = id.to_string();
    let ulid = ulid.rsplit('_').next().unwrap_or_default();
    Ok(format!("{prefix}-{ulid}"))
}
