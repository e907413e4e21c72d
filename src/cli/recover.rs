//! `recover`: a new operator of tech-ops, for when nobody can sign in any more.

use std::io::Write;
use std::path::PathBuf;
use std::sync::Arc;

use clap::Args;

use super::data_lock::DataLock;
use super::init::{OperatorKey, broken_key, first_key, read_operator_key};
use super::node::{on_fatal, runtime};
use super::serve::{load_production, open_database, read_identities};
use super::{Environment, error::CliError, files::NewFile};
use crate::clock::{Clock as _, SystemClock};
use crate::config::Config;
use crate::crypto::Identity;
use crate::model::DisplayName;
use crate::random::SystemRandom;
use crate::vault::{Bootstrapped, Open, Vault};

/// Who is to be let in.
#[derive(Args, Debug)]
pub struct Arguments {
    /// The settings (TOML) of the stopped node; what opens its root key is read as at a start
    #[arg(long, value_name = "FILE")]
    config: PathBuf,
    /// Name of the new operator, who gets the role tech-ops
    #[arg(long, value_name = "NAME")]
    operator: DisplayName,
    #[command(flatten)]
    operator_key: OperatorKey,
    /// Where to write the certificate that is issued for a signing request; must not exist
    #[arg(long, value_name = "FILE", default_value = "operator.pem")]
    certificate_out: PathBuf,
}

/// Enrols the operator.
///
/// # Errors
/// The settings are refused, the service runs, the root key does not open, or the key cannot be used.
pub fn run(arguments: &Arguments, environment: &Environment) -> Result<(), CliError> {
    let config = load_production(&arguments.config, environment)?;
    let key = read_operator_key(&arguments.operator_key)?;
    first_key(&key)
        .check(SystemClock.now())
        .map_err(|error| broken_key(&error))?;
    let asks_for_certificate = arguments.operator_key.operator_csr.is_some();
    if asks_for_certificate && arguments.certificate_out.exists() {
        return Err(CliError::local(format!(
            "{} exists: choose another place with --certificate-out",
            arguments.certificate_out.display()
        )));
    }
    let identities = read_identities(&config.root, environment)?;
    let name = arguments.operator.clone();
    let done = runtime()?.block_on(async {
        let (vault, _lock) = open(&config, identities).await?;
        let done = vault.recover_operator(name, first_key(&key)).await;
        vault.close().await;
        done.map_err(|error| CliError::local(error.to_string()))
    })?;
    report(arguments, &done)
}

async fn open(
    config: &Config,
    identities: Vec<Identity>,
) -> Result<(Arc<Vault>, DataLock), CliError> {
    let lock = DataLock::take(&config.data)?;
    let database = open_database(&config.database, false).await?;
    let vault = Vault::open(Open {
        database,
        data: Some(config.data.clone()),
        deployment: Some(config.deployment.clone()),
        node: config.node.clone(),
        identities,
        cache_bytes: 1024 * 1024,
        clock: Arc::new(SystemClock),
        random: Arc::new(SystemRandom::new()),
        on_fatal: Arc::new(on_fatal),
    })
    .await
    .map_err(|error| CliError::local(error.to_string()))?;
    Ok((vault, lock))
}

fn report(arguments: &Arguments, done: &Bootstrapped) -> Result<(), CliError> {
    let failed = |error: std::io::Error| CliError::local(format!("cannot write: {error}"));
    let mut certificate = String::new();
    if let Some(pem) = &done.certificate {
        let mut file = NewFile::create(&arguments.certificate_out, 0o644)?;
        file.write_all(pem.as_bytes()).map_err(failed)?;
        file.finish()?;
        certificate = format!(
            "Their certificate: {}\n",
            arguments.certificate_out.display()
        );
    }
    let text = format!(
        "Enrolled {operator}, role tech-ops, key {key}; the audit log says operator.recovered.\n\
         {certificate}\n\
         Next:\n  strongroom serve --config {config}\n  \
         strongroom operator list           and disable whoever lost their key:\n  \
         strongroom operator disable NAME\n",
        operator = done.operator,
        key = done.key,
        config = arguments.config.display(),
    );
    std::io::stdout().write_all(text.as_bytes()).map_err(failed)
}
