//! `deployment`: its state after a restore, and the end of the freeze.

use clap::{Args, Subcommand};
use reqwest::Method;
use serde_json::{Value, json};

use super::{
    Session,
    error::CliError,
    table::{Column, at},
};

/// What can be done with the deployment.
#[derive(Subcommand, Debug)]
pub enum Command {
    /// Show whether values are released, and what was revoked since the backup that was restored
    Show,
    /// Release values again after a restore
    Thaw(Thaw),
}

/// How.
#[derive(Args, Debug)]
pub struct Thaw {
    /// The deployment's id, so that nobody does this by mistake
    #[arg(long, value_name = "DEPLOYMENT")]
    confirm: String,
    /// Do the revocations again that were made after the backup
    #[arg(long)]
    confirm_revocations: bool,
}

const COLUMNS: &[Column] = &[
    at("Deployment", "/id"),
    at("Frozen since", "/frozen_since"),
    at("Restored", "/restored_at"),
    at("State of", "/taken_at"),
    at("Lost records", "/lost_records"),
];

const REVOCATIONS: &[Column] = &[
    at("At", "/at"),
    at("Revocation", "/kind"),
    at("Of", "/subjects"),
    at("Automatic", "/automatic"),
    at("Outcome", "/outcome"),
];

/// Runs one of the commands.
///
/// # Errors
/// As [`super::api::Api`].
pub async fn run(command: Command, session: &mut Session) -> Result<(), CliError> {
    let current = session.api.get(&["deployment"], &[]).await?;
    let view = match command {
        Command::Show => current,
        Command::Thaw(Thaw {
            confirm,
            confirm_revocations,
        }) => {
            let body = json!({"confirm": confirm, "confirm_revocations": confirm_revocations});
            let thawed = session
                .api
                .change_known(Method::POST, &current, &["deployment", "thaw"], &body)
                .await;
            if thawed.is_err() {
                show_revocations(session, &current)?;
            }
            thawed?
        }
    };
    session.out.one(&view, COLUMNS)?;
    show_revocations(session, &view)
}

fn show_revocations(session: &mut Session, view: &Value) -> Result<(), CliError> {
    let rows = view["revocations"]
        .as_array()
        .filter(|rows| !rows.is_empty());
    match rows {
        Some(rows) if session.out.is_table() => {
            session.out.line("")?;
            session.out.table(rows, REVOCATIONS)
        }
        _ => Ok(()),
    }
}
