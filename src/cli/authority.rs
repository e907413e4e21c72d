//! `authority`: whose client certificates are accepted.

use std::path::{Path, PathBuf};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use clap::{Args, Subcommand};
use reqwest::Method;
use serde_json::{Value, json};

use super::{
    Session,
    authenticator::read_file,
    client::{ListArguments, id_of},
    error::CliError,
    principal_key::public_pem,
    table::{Column, at},
};
use crate::model::{DisplayName, Slug, Timestamp};

const AUTHORITIES: &str = "authorities";

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
    /// Show one authority with its revocation lists
    Show {
        /// Name or id
        authority: String,
    },
    /// Change from when or until when certificates of an authority are accepted
    Change {
        /// Name or id
        authority: String,
        #[command(flatten)]
        change: Change,
    },
    /// Make a new authority of Strongroom's own, which issues from now on, beside the old one
    Roll {
        /// Name for the new one
        #[arg(long)]
        name: Option<Slug>,
        /// Accept the old one until then; without it, until its last certificate ends
        #[arg(long, value_name = "DATE")]
        accept_old_until: Option<Timestamp>,
        /// Show a certificate of the new one to clients from then on; without it, in seven days
        #[arg(long, value_name = "DATE")]
        present_from: Option<Timestamp>,
    },
    /// Accept no certificate of an authority any more
    Remove {
        /// Name or id
        authority: String,
    },
    /// Print the certificates that clients trust to know this server (PEM)
    TrustBundle,
    /// Revocation lists
    #[command(subcommand)]
    Crl(CrlCommand),
}

/// What to change.
#[derive(Args, Debug)]
#[group(id = "changes", required = true, multiple = true)]
pub struct Change {
    /// Accept its certificates from then on
    #[arg(long, value_name = "DATE")]
    accept_from: Option<Timestamp>,
    /// Accept its certificates until then
    #[arg(long, value_name = "DATE")]
    accept_until: Option<Timestamp>,
    /// Show a certificate of it to clients from then on (own ones only)
    #[arg(long, value_name = "DATE")]
    presented_from: Option<Timestamp>,
}

/// What can be done with revocation lists.
#[derive(Subcommand, Debug)]
pub enum CrlCommand {
    /// Import the newest list of a foreign authority
    ///
    /// From its first list on, its certificates are accepted only with a list that has not ended: import
    /// the next one in time. The list must be signed by this very authority. Where an intermediate
    /// authority signs certificates, register that one, too, and import its list.
    Import {
        /// Name or id
        authority: String,
        /// The list, PEM or DER
        #[arg(long, value_name = "FILE")]
        file: PathBuf,
    },
    /// Show the lists of an authority
    Show {
        /// Name or id
        authority: String,
    },
    /// Give up the lists of a foreign authority; its certificates are not checked any more then
    Remove {
        /// Name or id
        authority: String,
    },
}

const COLUMNS: &[Column] = &[
    at("Id", "/id"),
    at("Name", "/name"),
    at("Trust domain", "/trust_domain"),
    at("Own", "/own"),
    at("Not before", "/not_before"),
    at("Not after", "/not_after"),
    at("Accepted from", "/accept_from"),
    at("Accepted until", "/accept_until"),
    at("Last used", "/last_used_at"),
    at("Fingerprint", "/fingerprint"),
];

const LIST_COLUMNS: &[Column] = &[
    at("CRL number", "/number"),
    at("Made", "/this_update"),
    at("Ends", "/next_update"),
    at("Revoked", "/entries"),
    at("Distribution points", "/distribution_points"),
    at("Imported", "/imported_at"),
];

async fn find(session: &Session, authority: &str) -> Result<Value, CliError> {
    session.api.find(&[AUTHORITIES], "name", authority).await
}

/// A list as it is sent: PEM as it is, DER in base64.
fn list_text(path: &Path) -> Result<String, CliError> {
    let content = read_file(path)?;
    Ok(match std::str::from_utf8(&content) {
        Ok(text) if text.contains("-----BEGIN ") => text.to_owned(),
        _ => STANDARD.encode(&*content),
    })
}

/// Runs one of the commands.
///
/// # Errors
/// As [`super::api::Api`], or a file cannot be read.
pub async fn run(command: Command, session: &mut Session) -> Result<(), CliError> {
    match command {
        Command::List(ListArguments { limit }) => {
            let authorities = session.api.list(&[AUTHORITIES], &[], limit).await?;
            session.out.list(&authorities, COLUMNS)
        }
        Command::Add {
            name,
            certificate,
            trust_domain,
        } => {
            let body = json!({"name": name, "certificate": public_pem(&certificate)?,
                              "trust_domain": trust_domain});
            let authority = session.api.post(&[AUTHORITIES], &body).await?;
            session.out.one(&authority, COLUMNS)
        }
        Command::Show { authority } => {
            let authority = find(session, &authority).await?;
            session.out.one(&authority, COLUMNS)
        }
        Command::Change { authority, change } => {
            let current = find(session, &authority).await?;
            let id = id_of(&current)?;
            let body = super::members([
                ("accept_from", change.accept_from.map(|at| json!(at))),
                ("accept_until", change.accept_until.map(|at| json!(at))),
                ("presented_from", change.presented_from.map(|at| json!(at))),
            ]);
            let path = [AUTHORITIES, &id];
            let changed = session
                .api
                .change_known(Method::PATCH, &current, &path, &body);
            let authority = changed.await?;
            session.out.one(&authority, COLUMNS)
        }
        Command::Roll {
            name,
            accept_old_until,
            present_from,
        } => {
            let body = super::members([
                ("name", name.map(|name| json!(name))),
                ("accept_old_until", accept_old_until.map(|at| json!(at))),
                ("present_from", present_from.map(|at| json!(at))),
            ]);
            let authority = session.api.post(&[AUTHORITIES, "roll"], &body).await?;
            session.out.one(&authority, COLUMNS)
        }
        Command::Remove { authority } => {
            let id = id_of(&find(session, &authority).await?)?;
            let answer = session
                .api
                .bare(Method::DELETE, &[AUTHORITIES, &id])
                .await?;
            session.out.done(&answer, &format!("removed {id}"))
        }
        Command::TrustBundle => {
            let mut pem = Vec::new();
            let path = [AUTHORITIES, "trust-bundle"];
            let media_type = "application/pem-certificate-chain";
            let download = session.api.download(&path, &[], media_type, &mut pem);
            download.await?;
            session.out.bytes(&pem)
        }
        Command::Crl(command) => crl(command, session).await,
    }
}

async fn crl(command: CrlCommand, session: &mut Session) -> Result<(), CliError> {
    match command {
        CrlCommand::Import { authority, file } => {
            let id = id_of(&find(session, &authority).await?)?;
            let body = json!({"crl": list_text(&file)?});
            let path = [AUTHORITIES, &id, "crl"];
            let list = session.api.put(&path, &body).await?;
            session.out.one(&list, LIST_COLUMNS)
        }
        CrlCommand::Show { authority } => {
            let authority = find(session, &authority).await?;
            let lists = authority["revocation_lists"].as_array();
            session
                .out
                .list(lists.map_or(&[], Vec::as_slice), LIST_COLUMNS)
        }
        CrlCommand::Remove { authority } => {
            let id = id_of(&find(session, &authority).await?)?;
            let path = [AUTHORITIES, &id, "crl"];
            let answer = session.api.bare(Method::DELETE, &path).await?;
            session
                .out
                .done(&answer, &format!("gave up the revocation lists of {id}"))
        }
    }
}
