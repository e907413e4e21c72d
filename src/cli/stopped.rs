//! A deployment opened by a command while its service is stopped.

use std::sync::Arc;

use super::data_lock::DataLock;
use super::error::CliError;
use super::node::on_fatal;
use super::serve::open_database;
use crate::clock::SystemClock;
use crate::config::Config;
use crate::crypto::Identity;
use crate::random::SystemRandom;
use crate::vault::{BackupSettings, CertificateLifetimes, Correspondence, Open, Vault};

/// Opens the deployment under the lock of its data directory.
///
/// # Errors
/// The service runs, or something does not open.
pub async fn open_stopped(
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
        url: config.api.url.clone(),
        cache_bytes: 1024 * 1024,
        correspondence: Correspondence::default(),
        backups: BackupSettings::default(),
        lifetimes: CertificateLifetimes::default(),
        accept_rollback: false,
        clock: Arc::new(SystemClock),
        random: Arc::new(SystemRandom::new()),
        on_fatal: Arc::new(on_fatal),
    })
    .await
    .map_err(|error| CliError::local(error.to_string()))?;
    Ok((vault, lock))
}
