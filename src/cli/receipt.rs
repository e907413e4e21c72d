//! `receipt`: which workload got which version, first and last.

use clap::Subcommand;

use super::{
    Session,
    error::CliError,
    table::{Column, at},
};
use crate::model::{CredentialId, WorkloadId};

/// What can be done with receipts.
#[derive(Subcommand, Debug)]
pub enum Command {
    /// List receipts, filtered
    List {
        /// Only of this workload
        #[arg(long, value_name = "ID")]
        workload: Option<WorkloadId>,
        /// Only of this credential
        #[arg(long, value_name = "ID")]
        credential: Option<CredentialId>,
        /// At most this many items; all when left out
        #[arg(long, value_name = "N")]
        limit: Option<usize>,
    },
}

const COLUMNS: &[Column] = &[
    at("Workload", "/workload"),
    at("Credential", "/credential"),
    at("Version", "/version"),
    at("First release", "/first_at"),
    at("Last release", "/last_at"),
    at("In use since", "/in_use_at"),
];

/// Runs one of the commands.
///
/// # Errors
/// As [`super::api::Api`].
pub async fn run(command: Command, session: &mut Session) -> Result<(), CliError> {
    let Command::List {
        workload,
        credential,
        limit,
    } = command;
    let query = [
        ("workload", workload.map(|id| id.to_string())),
        ("credential", credential.map(|id| id.to_string())),
    ];
    let receipts = session.api.list(&["receipts"], &query, limit).await?;
    session.out.list(&receipts, COLUMNS)
}
