//! `task`: what an operator has to look at.

use clap::Subcommand;
use serde_json::json;

use super::{
    Session,
    error::CliError,
    table::{Column, at},
};
use crate::model::TaskId;

/// What can be done with tasks.
#[derive(Subcommand, Debug)]
pub enum Command {
    /// List open tasks, oldest first
    List {
        /// Those that are done too
        #[arg(long)]
        all: bool,
        /// At most this many items; all when left out
        #[arg(long, value_name = "N")]
        limit: Option<usize>,
    },
    /// Close a task
    Close {
        /// Id of the task
        task: TaskId,
        /// Why, in words
        #[arg(long, value_name = "TEXT")]
        reason: String,
    },
}

const COLUMNS: &[Column] = &[
    at("Id", "/id"),
    at("Kind", "/kind"),
    at("About", "/subject"),
    at("Credential", "/credential"),
    at("Note", "/note"),
    at("Opened", "/opened_at"),
    at("Closed", "/closed_at"),
];

/// Runs one of the commands.
///
/// # Errors
/// As [`super::api::Api`].
pub async fn run(command: Command, session: &mut Session) -> Result<(), CliError> {
    match command {
        Command::List { all, limit } => {
            let query = [("all", all.then(|| "true".to_owned()))];
            let tasks = session.api.list(&["tasks"], &query, limit).await?;
            session.out.list(&tasks, COLUMNS)
        }
        Command::Close { task, reason } => {
            let task = task.to_string();
            let body = json!({"reason": reason});
            let task = session.api.post(&["tasks", &task, "close"], &body).await?;
            session.out.one(&task, COLUMNS)
        }
    }
}
