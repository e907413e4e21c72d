//! What `role` and `environment` share: things that are only a name.

use clap::Subcommand;
use reqwest::Method;
use serde_json::json;

use super::{
    Session,
    client::{ListArguments, id_of},
    error::CliError,
    table::{Column, at},
};
use crate::model::Slug;

/// What can be done with them.
#[derive(Subcommand, Debug)]
pub enum Command {
    /// List all of them
    List(ListArguments),
    /// Add one
    Add {
        /// Its name: lower-case letters, digits, hyphens
        name: Slug,
    },
    /// Give one another name; nothing else changes
    Rename {
        /// Name or id
        name: String,
        /// The new name
        new_name: Slug,
    },
}

const COLUMNS: &[Column] = &[
    at("Id", "/id"),
    at("Name", "/name"),
    at("Created", "/created_at"),
];

/// Runs one of the commands on `collection`.
///
/// # Errors
/// As [`super::api::Api`].
pub async fn run(
    collection: &'static str,
    command: Command,
    session: &mut Session,
) -> Result<(), CliError> {
    match command {
        Command::List(ListArguments { limit }) => {
            let items = session.api.list(&[collection], &[], limit).await?;
            session.out.list(&items, COLUMNS)
        }
        Command::Add { name } => {
            let item = session
                .api
                .post(&[collection], &json!({"name": name}))
                .await?;
            session.out.one(&item, COLUMNS)
        }
        Command::Rename { name, new_name } => {
            let current = session.api.find(&[collection], "name", &name).await?;
            let id = id_of(&current)?;
            let body = json!({"name": new_name});
            let item = session
                .api
                .change_known(Method::PATCH, &current, &[collection, &id], &body)
                .await?;
            session.out.one(&item, COLUMNS)
        }
    }
}
