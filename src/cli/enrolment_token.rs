//! One-time tokens: what `workload` and `operator` share. They are shown once, to be carried to
//! whoever enrols.

use clap::{Args, Subcommand};
use reqwest::Method;
use serde_json::{Value, json};

use super::{
    Session,
    authenticator::read_file,
    client::id_of,
    error::CliError,
    principal_key::{self, find},
    table::{Column, at},
    trust::{Fingerprint, authorities},
};
use crate::model::EnrolmentTokenId;

/// A token beside what is enrolled.
#[derive(Args, Debug)]
#[command(next_help_heading = "Key")]
pub struct TokenArguments {
    /// Make a one-time token, with which the key is made where it is used
    #[arg(long, conflicts_with_all = ["certificate", "public_key", "csr", "spiffe_id"])]
    pub token: bool,
    /// For how many minutes the token can be used: 1 to 10080
    #[arg(long, value_name = "MINUTES", requires = "token", default_value = "60",
          value_parser = clap::value_parser!(u16).range(1..=10080))]
    pub token_minutes: u16,
}

/// Makes, lists and revokes tokens.
#[derive(Args, Debug)]
#[command(args_conflicts_with_subcommands = true, subcommand_negates_reqs = true)]
pub struct TokenCommand {
    /// Name or id of the owner
    #[arg(required = true)]
    owner: Option<String>,
    /// For how many minutes it can be used: 1 to 10080
    #[arg(long, value_name = "MINUTES", default_value = "60",
          value_parser = clap::value_parser!(u16).range(1..=10080))]
    token_minutes: u16,
    #[command(subcommand)]
    action: Option<TokenAction>,
}

/// What else can be done with tokens.
#[derive(Subcommand, Debug)]
enum TokenAction {
    /// List what became of the tokens of an owner
    List {
        /// Name or id of the owner
        owner: String,
    },
    /// Revoke a token that was not used
    Revoke {
        /// Name or id of the owner
        owner: String,
        /// Id of the token (enrt_…)
        token: EnrolmentTokenId,
    },
}

const COLUMNS: &[Column] = &[
    at("Token", "/id"),
    at("Created", "/created_at"),
    at("Expires", "/expires_at"),
    at("Used", "/used_at"),
    at("Revoked", "/revoked_at"),
];

/// Runs `token` or one of its commands.
///
/// # Errors
/// As [`super::api::Api`].
pub async fn run(
    collection: &'static str,
    command: TokenCommand,
    session: &mut Session,
) -> Result<(), CliError> {
    match (command.action, command.owner) {
        (Some(TokenAction::List { owner }), _) => {
            let id = id_of(&find(session, collection, &owner).await?)?;
            let path = [collection, id.as_str(), "enrolment-tokens"];
            let tokens = session.api.get(&path, &[]).await?;
            let tokens = tokens["items"].as_array().cloned().unwrap_or_default();
            session.out.list(&tokens, COLUMNS)
        }
        (Some(TokenAction::Revoke { owner, token }), _) => {
            let id = id_of(&find(session, collection, &owner).await?)?;
            let token = token.to_string();
            let path = [collection, id.as_str(), "enrolment-tokens", token.as_str()];
            let answer = session.api.bare(Method::DELETE, &path).await?;
            session.out.done(&answer, &format!("revoked {token}"))
        }
        (None, Some(owner)) => {
            let id = id_of(&find(session, collection, &owner).await?)?;
            let token = issue(session, collection, &id, command.token_minutes).await?;
            match session.out.is_table() {
                true => print(session, &token),
                false => session.out.done(&token, ""),
            }
        }
        (None, None) => Err(CliError::local("name the owner")),
    }
}

/// Prints who was just enrolled, with a token for them if one was asked for.
///
/// # Errors
/// As [`super::api::Api`]. When only the token failed, the text says that the principal exists.
pub async fn beside(
    session: &mut Session,
    collection: &str,
    mut enrolled: Value,
    arguments: &TokenArguments,
    columns: &[Column],
) -> Result<(), CliError> {
    if arguments.token {
        let id = id_of(&enrolled)?;
        let token = issue(session, collection, &id, arguments.token_minutes).await;
        enrolled["enrolment_token"] = token.inspect_err(|_| {
            eprintln!(
                "note: {id} was enrolled, but has no token yet; the reason follows. \
                 Make one with `token {id}`."
            );
        })?;
    }
    principal_key::print(session, &enrolled, columns)?;
    if arguments.token && session.out.is_table() {
        session.out.line("")?;
        print(session, &enrolled["enrolment_token"])?;
    }
    Ok(())
}

/// Makes a token, and says beside it by what the new host can know the server.
async fn issue(
    session: &Session,
    collection: &str,
    id: &str,
    minutes: u16,
) -> Result<Value, CliError> {
    let path = [collection, id, "enrolment-tokens"];
    let body = json!({"lifetime_minutes": minutes});
    let mut token = session.api.post(&path, &body).await?;
    let known_by = match &session.files.ca {
        Some(path) => authorities(&read_file(path)?)?,
        None => Vec::new(),
    };
    let known_by = known_by.iter();
    let known_by = known_by.map(|authority| Fingerprint::of(authority).to_string());
    token["ca_fingerprints"] = known_by.collect();
    Ok(token)
}

/// Prints a token for people, with the command that uses it.
fn print(session: &mut Session, token: &Value) -> Result<(), CliError> {
    let text = |name: &str| token[name].as_str().unwrap_or_default().to_owned();
    let mut known_by = String::new();
    for fingerprint in token["ca_fingerprints"].as_array().into_iter().flatten() {
        known_by.push_str(" --ca-fingerprint ");
        known_by.push_str(fingerprint.as_str().unwrap_or_default());
    }
    let lines = format!(
        "token {}, good once, until {}; it is not shown again:\n\n  {}\n\n\
         Where the key shall be, run this and paste the token:\n\n  \
         strongroom enrol --url {}{known_by} --token-file - --dir DIR",
        text("id"),
        text("expires_at"),
        text("token"),
        session.api.origin(),
    );
    session.out.line(&lines)
}
