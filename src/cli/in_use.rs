//! `in-use`: a worker says which version it now runs on.

use clap::Args;
use serde_json::json;

use super::{Session, error::CliError};
use crate::model::CredentialId;

/// Which version it is.
#[derive(Args, Debug)]
pub struct Arguments {
    /// Id of the credential
    #[arg(long, value_name = "ID")]
    credential: CredentialId,
    /// Number of the version that is now used
    #[arg(long = "version", value_name = "N", id = "version_number",
          value_parser = clap::value_parser!(u32).range(1..))]
    version: u32,
}

/// Tells the server.
///
/// # Errors
/// As [`super::api::Api`].
pub async fn run(arguments: Arguments, session: &mut Session) -> Result<(), CliError> {
    let credential = arguments.credential.to_string();
    let body = json!({"version": arguments.version});
    let path = ["release", credential.as_str(), "in-use"];
    let answer = session.api.post(&path, &body).await?;
    let sentence = format!("{credential} version {} is in use", arguments.version);
    session.out.done(&answer, &sentence)
}
