//! Following a verification at the provider, stage by stage.

use std::time::Duration;

use clap::Args;
use reqwest::Method;
use serde_json::Value;

use super::{
    Session,
    client::id_of,
    error::CliError,
    table::{Column, at},
};
use crate::model::CredentialId;

/// How often the server is asked what is new.
const ASK_EVERY: Duration = Duration::from_millis(500);
/// How often at most: one verification is bounded by a minute.
const MOST_ASKED: u32 = 240;

/// Which version.
#[derive(Args, Debug)]
pub struct Verify {
    /// Id of the credential
    #[arg(required_unless_present = "client")]
    credential: Option<CredentialId>,
    /// The only credential of this client (slug or id) instead
    #[arg(long, conflicts_with = "credential")]
    client: Option<String>,
    /// Number of the version; the active one when left out
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    version: Option<u32>,
    /// Do not wait for its end
    #[arg(long)]
    no_wait: bool,
}

/// What is shown of a run in a list.
pub const COLUMNS: &[Column] = &[
    at("Id", "/id"),
    at("Version", "/version"),
    at("Cause", "/cause"),
    at("State", "/state"),
    at("Outcome", "/outcome"),
    at("Hint", "/hint"),
    at("Tries", "/tries"),
    at("Asked for", "/created_at"),
    at("Finished", "/finished_at"),
];

const STAGES: &[Column] = &[
    at("Stage", "/stage"),
    at("Through", "/surface"),
    at("Outcome", "/outcome"),
    at("Calls", "/attempts"),
    at("ms", "/millis"),
    at("Code", "/code"),
    at("Says", "/says"),
];

/// Has a version verified and follows it.
///
/// # Errors
/// As [`super::api::Api`], or it does not work: then the text says why.
pub async fn run(arguments: Verify, session: &mut Session) -> Result<(), CliError> {
    let credential = match (arguments.credential, arguments.client) {
        (Some(id), _) => id.to_string(),
        (None, client) => only_one_of(session, client).await?,
    };
    let number = match arguments.version {
        Some(number) => number.to_string(),
        None => active_of(session, &credential).await?,
    };
    let path = [
        "credentials",
        credential.as_str(),
        "versions",
        number.as_str(),
        "verify",
    ];
    let begun = session.api.bare(Method::POST, &path).await?;
    if arguments.no_wait {
        return session.out.one(&begun, COLUMNS);
    }
    let id = id_of(&begun)?;
    for _ in 0..MOST_ASKED {
        let run = session.api.get(&["verifications", &id], &[]).await?;
        // Due again after an attempt: the provider says later, which can be hours.
        let waits = run["state"] == "due" && !run["outcome"].is_null();
        if run["state"] == "done" || waits {
            print(session, &run)?;
            return judged(&run);
        }
        tokio::time::sleep(ASK_EVERY).await;
    }
    Err(CliError::local(format!(
        "it takes longer than expected: look again with `credential verifications {credential}`"
    )))
}

async fn only_one_of(session: &Session, client: Option<String>) -> Result<String, CliError> {
    let query = [("client", client)];
    let found = session.api.list(&["credentials"], &query, Some(2)).await?;
    match found.as_slice() {
        [one] => id_of(one),
        [] => Err(CliError::local("this client has no credential")),
        _ => Err(CliError::local(
            "this client has several credentials: name one by its id",
        )),
    }
}

async fn active_of(session: &Session, credential: &str) -> Result<String, CliError> {
    let credential = session.api.get(&["credentials", credential], &[]).await?;
    let versions = credential["versions"].as_array();
    let mut versions = versions.into_iter().flatten();
    let active = versions.find(|version| version["state"] == "active");
    let active = active.map(|version| version["number"].to_string());
    active.ok_or_else(|| {
        CliError::local("this credential has no active version: name one with --version")
    })
}

/// Prints a run with its stages.
///
/// # Errors
/// Standard output cannot be written.
pub fn print(session: &mut Session, run: &Value) -> Result<(), CliError> {
    if session.out.is_table()
        && let Some(stages) = run["stages"].as_array().filter(|it| !it.is_empty())
    {
        session.out.table(stages, STAGES)?;
        session.out.line("")?;
    }
    session.out.one(run, COLUMNS)
}

fn judged(run: &Value) -> Result<(), CliError> {
    if run["outcome"] == "verified" {
        return Ok(());
    }
    let outcome = run["outcome"].as_str().unwrap_or("not known");
    let says = run["says"].as_str().unwrap_or_default();
    Err(CliError::local(format!("{outcome}. {says}")))
}
