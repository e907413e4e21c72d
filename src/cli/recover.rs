//! `recover`: a new operator of tech-ops, for when nobody can sign in any more.

use std::io::Write;
use std::path::PathBuf;

use clap::Args;

use super::attendant::plugins;
use super::init::{OperatorKey, broken_key, first_key, read_operator_key};
use super::node::runtime;
use super::serve::{load_production, read_identities};
use super::stopped::open_stopped;
use super::{Environment, error::CliError, files::NewFile};
use crate::clock::{Clock as _, SystemClock};
use crate::model::DisplayName;
use crate::vault::Bootstrapped;

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
    let plugins = plugins(&config.plugins, environment);
    let identities = read_identities(&config.root, &plugins, environment)?;
    let name = arguments.operator.clone();
    let done = runtime()?.block_on(async {
        let (vault, _lock) = open_stopped(&config, identities).await?;
        let done = vault.recover_operator(name, first_key(&key)).await;
        vault.close().await;
        done.map_err(|error| CliError::local(error.to_string()))
    })?;
    report(arguments, &done)
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
