//! `environment`: where servers run.

use super::{Session, error::CliError, named};

/// Runs one of the commands.
///
/// # Errors
/// As [`super::api::Api`].
pub async fn run(command: named::Command, session: &mut Session) -> Result<(), CliError> {
    named::run("environments", command, session).await
}
