//! `serve`: production.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use clap::Args;
use zeroize::Zeroizing;

use super::attendant::plugins;
use super::data_lock::{DataLock, private_directory};
use super::node::{Node, PagesListener, ServerIdentity, bind, on_fatal, runtime, server_names};
use super::{Environment, error::CliError};
use crate::clock::SystemClock;
use crate::config::{
    BackupConfig, CertificatesConfig, Config, Database as DatabaseConfig, LogFormat, RootSource,
};
use crate::crypto::{Identity, Plugins, Recipient};
use crate::http::server::Limits;
use crate::http::status::Metrics;
use crate::jobs::Verifier;
use crate::random::SystemRandom;
use crate::secret::Secret;
use crate::store::Database;
use crate::telemetry;
use crate::vault::{BackupSettings, CertificateLifetimes, Correspondence, Open, Vault};

/// Which settings.
#[derive(Args, Debug)]
pub struct Arguments {
    /// The settings (TOML); STRONGROOM_* variables go on top of it
    #[arg(long, value_name = "FILE")]
    pub config: PathBuf,
    /// Use a database that was put back to an earlier state, although newer records are known: its
    /// log ends, a new one begins, and nothing is released until `deployment thaw`
    #[arg(long)]
    pub accept_rollback: bool,
}

/// Starts the service and runs until it is stopped.
///
/// # Errors
/// The settings are refused, or it cannot start.
pub fn run(arguments: &Arguments, environment: &Environment) -> Result<(), CliError> {
    let config = load_production(&arguments.config, environment)?;
    let format = match config.log.format {
        LogFormat::Text => telemetry::LogFormat::Text,
        LogFormat::Json => telemetry::LogFormat::Json,
    };
    telemetry::init(format, &config.log.filter)
        .map_err(|error| CliError::local(error.to_string()))?;
    let plugins = plugins(&config.plugins, environment);
    let identities = read_identities(&config.root, &plugins, environment)?;
    runtime()?.block_on(serve(config, identities, arguments.accept_rollback))
}

/// Reads the settings of a production node.
///
/// # Errors
/// They cannot be read, or production refuses them; the text says why.
pub fn load_production(path: &Path, environment: &Environment) -> Result<Config, CliError> {
    let pairs = environment
        .iter()
        .map(|(name, value)| (name.clone(), value.clone()));
    let config =
        Config::load(Some(path), pairs).map_err(|error| CliError::local(error.to_string()))?;
    config
        .check_production()
        .map_err(|error| CliError::local(error.to_string()))?;
    Ok(config)
}

/// What the settings say of certificates, as the vault takes it.
fn lifetimes(config: &CertificatesConfig) -> CertificateLifetimes {
    CertificateLifetimes {
        workload_hours: config.workload_hours,
        operator_hours: config.operator_hours,
    }
}

async fn serve(
    config: Config,
    identities: Vec<Identity>,
    accept_rollback: bool,
) -> Result<(), CliError> {
    // What cannot be used is said at the start, not at the first verification.
    let outbound = config.providers.outbound();
    let outbound = outbound.map_err(|error| CliError::local(error.to_string()))?;
    if outbound.hosts().is_stand_in() {
        tracing::warn!("a stand-in answers for the providers: no verification here means anything");
    }
    let mail = config.mail.transport();
    let mail = mail.map_err(|error| CliError::local(error.to_string()))?;
    private_directory(&config.data)?;
    let _lock = DataLock::take(&config.data)?;
    let metrics = Metrics::install().map_err(|error| CliError::local(error.to_string()))?;
    let api = bind(config.api.listen, "api.listen").await?;
    let pages_url = config.pages.as_ref().and_then(|pages| pages.url.clone());
    let pages = match config.pages {
        None => None,
        Some(pages) => Some(PagesListener {
            listener: bind(pages.listen, "pages.listen").await?,
            identity: match pages.certificate {
                Some((chain, key)) => ServerIdentity::Files(chain, key),
                None => ServerIdentity::Own(server_names(pages.listen, pages.url.as_deref())),
            },
            origin: pages.url,
        }),
    };
    let status = bind(config.status.listen, "status.listen").await?;
    let database = open_database(&config.database, false).await?;
    let vault = Vault::open(Open {
        database,
        data: Some(config.data.clone()),
        deployment: Some(config.deployment.clone()),
        node: config.node.clone(),
        identities,
        url: config.api.url.clone(),
        cache_bytes: config.limits.cache_mib as u64 * 1024 * 1024,
        correspondence: Correspondence {
            pages_url,
            sends: mail.is_some(),
        },
        backups: backup_settings(&config.backup),
        lifetimes: lifetimes(&config.certificates),
        accept_rollback,
        clock: Arc::new(SystemClock),
        random: Arc::new(SystemRandom::new()),
        on_fatal: Arc::new(on_fatal),
    })
    .await
    .map_err(|error| CliError::local(error.to_string()))?;
    let identity = match config.api.certificate {
        Some((chain, key)) => ServerIdentity::Files(chain, key),
        None => ServerIdentity::Own(server_names(config.api.listen, config.api.url.as_deref())),
    };
    let limits = Limits {
        connections: config.limits.connections,
        ..Limits::default()
    };
    // Where they are bound, which with port 0 is not what the settings say.
    let listen = api.local_addr().unwrap_or(config.api.listen);
    let status_listen = status.local_addr().unwrap_or(config.status.listen);
    let deployment = config.deployment;
    let pages_listen = pages.as_ref().and_then(|it| it.listener.local_addr().ok());
    let ready = move || {
        let pages = pages_listen.map(tracing::field::display);
        tracing::info!(%listen, pages, status = %status_listen, %deployment, "serving");
    };
    let verifier = Verifier {
        vault: Arc::clone(&vault),
        outbound: Arc::new(outbound),
        policy: config.verification.policy(),
        settle_secs: i64::from(config.verification.settle_seconds),
        at_once: config.verification.at_once,
        clock: Arc::new(SystemClock),
        sleep: Arc::new(SystemClock),
        random: Arc::new(SystemRandom::new()),
    };
    Node {
        vault,
        api,
        pages,
        status,
        identity,
        limits,
        metrics,
        verifier,
        mail,
        daily: config.verification.daily,
    }
    .run(ready)
    .await
}

/// How backups are taken; the recipients were read once already.
fn backup_settings(config: &BackupConfig) -> BackupSettings {
    let recipients = config.recipients.iter();
    BackupSettings {
        recipients: recipients
            .filter_map(|it| Recipient::parse(it).ok())
            .collect(),
        keep_days: config.keep_days,
    }
}

/// Opens the configured database.
///
/// # Errors
/// It cannot be opened; the text says why.
pub async fn open_database(database: &DatabaseConfig, create: bool) -> Result<Database, CliError> {
    let opened = match database {
        DatabaseConfig::Sqlite(path) => Database::open_sqlite(path, create).await,
        DatabaseConfig::Postgres(url) => {
            let url = std::str::from_utf8(url.expose_secret())
                .map_err(|_| CliError::local("the database URL is not text"))?;
            Database::open_postgres(url.trim()).await
        }
    };
    opened.map_err(|error| CliError::local(error.to_string()))
}

/// Reads what opens the root key.
///
/// # Errors
/// It is not there, or others can read it.
pub fn read_identities(
    root: &RootSource,
    plugins: &Plugins,
    environment: &Environment,
) -> Result<Vec<Identity>, CliError> {
    let credentials = environment.get(std::ffi::OsStr::new("CREDENTIALS_DIRECTORY"));
    let credentials = credentials.map(Path::new);
    match root {
        RootSource::IdentityFile(path) | RootSource::Credential(path) => {
            Identity::read_file_with(path, credentials, plugins)
                .map_err(|error| CliError::local(format!("{}: {error}", path.display())))
        }
        RootSource::Passphrase => {
            let passphrase = ask_passphrase("Passphrase of the root key: ")?;
            let identity = Identity::passphrase(&passphrase)
                .map_err(|error| CliError::local(error.to_string()))?;
            Ok(vec![identity])
        }
    }
}

/// Asks on the terminal, without showing what is typed.
///
/// # Errors
/// There is no terminal.
pub fn ask_passphrase(prompt: &str) -> Result<Secret, CliError> {
    let typed = rpassword::prompt_password(prompt).map_err(|_| {
        CliError::local("a passphrase can only be given on a terminal: start it from one, or use an identity file")
    })?;
    let typed = Zeroizing::new(typed);
    Ok(Secret::new(typed.as_bytes().to_vec()))
}
