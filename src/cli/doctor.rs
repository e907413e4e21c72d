//! `doctor`: what is wrong with a configuration or a deployment, in words. Changes nothing and takes
//! no lock, so it can run beside the service. It has to see what the service sees: run it as the
//! service's user, with the same variables and credentials.

mod deployment;
mod files;
mod finding;
mod host;
mod mail;
mod service;

use std::path::PathBuf;

use clap::Args;

use super::attendant::plugins;
use super::node::runtime;
use super::table::Output;
use super::{Environment, error::CliError};
use crate::clock::{Clock, SystemClock};
use crate::config::Config;
use finding::Findings;

/// What to look at.
#[derive(Args, Debug)]
pub struct Arguments {
    /// The settings of the deployment (TOML)
    #[arg(long, value_name = "FILE")]
    pub config: PathBuf,
    /// Look at this machine's files and settings only: no database, no service
    #[arg(long, conflicts_with = "online")]
    pub offline: bool,
    /// The service has to run, too
    #[arg(long)]
    pub online: bool,
}

/// Looks at everything and says what it found.
///
/// # Errors
/// At least one finding is a problem.
pub fn run(
    arguments: &Arguments,
    environment: &Environment,
    out: &mut Output,
) -> Result<(), CliError> {
    let now = SystemClock.now();
    let mut findings = Findings::default();
    let pairs = environment
        .iter()
        .map(|(name, value)| (name.clone(), value.clone()));
    match Config::load(Some(&arguments.config), pairs) {
        Err(error) => findings.problem(
            "settings",
            error.to_string(),
            "correct it: serve refuses it",
        ),
        Ok(config) => {
            findings.ok("settings", "every setting is known and in its range");
            files::settings(&arguments.config, &config, &mut findings);
            files::data(&config, &mut findings);
            files::certificate(&config, now, &mut findings);
            files::providers(&config, &mut findings);
            mail::settings(&config, &mut findings);
            host::check(&config, &mut findings);
            let plugins = plugins(&config.plugins, environment);
            let identities = files::identities(&config, &plugins, environment, &mut findings);
            if !arguments.offline {
                runtime()?.block_on(async {
                    deployment::check(&config, identities, now, &mut findings).await;
                    service::check(&config, arguments.online, &mut findings).await;
                    mail::check(&config, &mut findings).await;
                });
            }
        }
    }
    findings.report(out)
}
