//! `authority`: whose client certificates are accepted.

use std::path::PathBuf;

use clap::Subcommand;
use reqwest::Method;
use serde_json::json;

use super::{
    Session,
    client::ListArguments,
    error::CliError,
    principal_key::public_pem,
    table::{Column, at},
};
use crate::model::{AuthorityId, DisplayName};

/// What can be done with authorities.
#[derive(Subcommand, Debug)]
pub enum Command {
    /// List all authorities
    List(ListArguments),
    /// Accept certificates of one more authority
    Add {
        /// Name for people
        #[arg(long)]
        name: DisplayName,
        /// Its certificate (PEM)
        #[arg(long, value_name = "FILE")]
        certificate: PathBuf,
        /// The one SPIFFE trust domain it may speak for
        #[arg(long, value_name = "DOMAIN")]
        trust_domain: String,
    },
    /// Accept no certificate of an authority any more
    Remove {
        /// Its id (auth_…)
        authority: AuthorityId,
    },
}

const COLUMNS: &[Column] = &[
    at("Id", "/id"),
    at("Name", "/name"),
    at("Trust domain", "/trust_domain"),
    at("Own", "/own"),
    at("Not before", "/not_before"),
    at("Not after", "/not_after"),
    at("Fingerprint", "/fingerprint"),
];

/// Runs one of the commands.
///
/// # Errors
/// As [`super::api::Api`], or a file cannot be read.
pub async fn run(command: Command, session: &mut Session) -> Result<(), CliError> {
    match command {
        Command::List(ListArguments { limit }) => {
            let authorities = session.api.list(&["authorities"], &[], limit).await?;
            session.out.list(&authorities, COLUMNS)
        }
        Command::Add {
            name,
            certificate,
            trust_domain,
        } => {
            let body = json!({"name": name, "certificate": public_pem(&certificate)?,
                              "trust_domain": trust_domain});
            let authority = session.api.post(&["authorities"], &body).await?;
            session.out.one(&authority, COLUMNS)
        }
        Command::Remove { authority } => {
            let authority = authority.to_string();
            let path = ["authorities", authority.as_str()];
            let answer = session.api.bare(Method::DELETE, &path).await?;
            session.out.done(&answer, &format!("removed {authority}"))
        }
    }
}
