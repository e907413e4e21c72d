//! `submission`: what clients handed in, and what becomes of it.

use std::time::Duration;

use clap::{Args, Subcommand};
use reqwest::Method;
use serde_json::{Value, json};

use super::{
    Session,
    error::CliError,
    table::{Column, at},
    verification,
};
use crate::model::SubmissionId;

/// What can be done with submissions.
#[derive(Subcommand, Debug)]
pub enum Command {
    /// List submissions of which something may still become, oldest first
    List {
        /// The others too
        #[arg(long)]
        all: bool,
        /// At most this many items; all when left out
        #[arg(long, value_name = "N")]
        limit: Option<usize>,
    },
    /// Show a submission with its newest verification
    Show(Which),
    /// Follow the stages of its verification until something comes of it
    Watch(Which),
    /// Have it verified again
    Verify(Which),
    /// Make it the active version by hand
    Activate(Decision),
    /// End it; its value is destroyed
    Close(Decision),
}

/// One submission.
#[derive(Args, Debug)]
pub struct Which {
    /// Id of the submission
    submission: SubmissionId,
}

/// A decision, which needs a reason.
#[derive(Args, Debug)]
pub struct Decision {
    /// Id of the submission
    submission: SubmissionId,
    /// Why, in words
    #[arg(long, value_name = "TEXT")]
    reason: String,
}

const COLUMNS: &[Column] = &[
    at("Id", "/id"),
    at("Credential", "/credential"),
    at("Version", "/version"),
    at("Attempt", "/number"),
    at("State", "/state"),
    at("Hint", "/hint"),
    at("Sealed by", "/sealing"),
    at("Received", "/received_at"),
    at("Finished", "/finished_at"),
];

/// Runs one of the commands.
///
/// # Errors
/// As [`super::api::Api`].
pub async fn run(command: Command, session: &mut Session) -> Result<(), CliError> {
    match command {
        Command::List { all, limit } => {
            let query = [("all", all.then(|| "true".to_owned()))];
            let items = session.api.list(&["submissions"], &query, limit).await?;
            session.out.list(&items, COLUMNS)
        }
        Command::Show(which) => {
            let id = which.submission.to_string();
            let submission = session.api.get(&["submissions", &id], &[]).await?;
            print(session, &submission)
        }
        Command::Watch(which) => watch(session, &which.submission.to_string()).await,
        Command::Verify(which) => {
            let id = which.submission.to_string();
            let path = ["submissions", id.as_str(), "verify"];
            let submission = session.api.bare(Method::POST, &path).await?;
            print(session, &submission)
        }
        Command::Activate(decision) => decide(session, &decision, "activate").await,
        Command::Close(decision) => decide(session, &decision, "close").await,
    }
}

async fn decide(session: &mut Session, decision: &Decision, verb: &str) -> Result<(), CliError> {
    let id = decision.submission.to_string();
    let body = json!({"reason": decision.reason});
    let path = ["submissions", id.as_str(), verb];
    let submission = session.api.post(&path, &body).await?;
    print(session, &submission)
}

/// Prints each stage when it comes, and the submission when something came of it.
async fn watch(session: &mut Session, id: &str) -> Result<(), CliError> {
    let mut told = (Value::Null, 0);
    loop {
        let submission = session.api.get(&["submissions", id], &[]).await?;
        let run = &submission["verification"];
        let begun = (run["id"].clone(), run["started_at"].clone());
        if told.0 != json!([begun.0, begun.1]) {
            told = (json!([begun.0, begun.1]), 0);
        }
        let stages = run["stages"].as_array().map_or(&[][..], Vec::as_slice);
        if session.out.is_table() {
            for stage in stages.iter().skip(told.1) {
                let word = |name: &str| stage[name].as_str().unwrap_or("").to_owned();
                let line = format!(
                    "{:<12} {:<6} {:<10} {}",
                    word("stage"),
                    word("surface"),
                    word("outcome"),
                    word("says")
                );
                session.out.line(line.trim_end())?;
            }
        }
        told.1 = stages.len();
        if submission["state"] != "verifying" {
            return print(session, &submission);
        }
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
}

fn print(session: &mut Session, submission: &Value) -> Result<(), CliError> {
    session.out.one(submission, COLUMNS)?;
    if session.out.is_table() && !submission["verification"].is_null() {
        session.out.line("")?;
        verification::print(session, &submission["verification"])?;
    }
    Ok(())
}
