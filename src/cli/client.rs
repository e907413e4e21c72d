//! `client`: the companies whose credentials are held.

use clap::{Args, Subcommand};
use reqwest::Method;
use serde_json::{Value, json};

use super::{
    Session,
    error::CliError,
    table::{Column, at, by},
};
use crate::model::{ClientId, DisplayName, Slug};

/// What can be done with clients.
#[derive(Subcommand, Debug)]
pub enum Command {
    /// List all clients
    List(ListArguments),
    /// Show one client with its contacts
    Show {
        /// Slug or id
        client: String,
    },
    /// Add a client
    Add {
        /// Name for people
        #[arg(long)]
        name: DisplayName,
        /// Short name for file names and addresses: lower-case letters, digits, hyphens
        #[arg(long)]
        slug: Slug,
    },
    /// Change a client's name or slug
    Change {
        /// Slug or id
        client: String,
        #[command(flatten)]
        change: Change,
    },
}

/// What to change.
#[derive(Args, Debug)]
#[group(id = "changes", required = true, multiple = true)]
pub struct Change {
    /// New name for people
    #[arg(long)]
    name: Option<DisplayName>,
    /// New short name
    #[arg(long)]
    slug: Option<Slug>,
}

/// How much of a list to read.
#[derive(Args, Debug)]
pub struct ListArguments {
    /// At most this many items; all when left out
    #[arg(long, value_name = "N")]
    pub limit: Option<usize>,
}

const COLUMNS: &[Column] = &[
    at("Id", "/id"),
    at("Slug", "/slug"),
    at("Name", "/name"),
    by("Contacts", |client| {
        client["contacts"]
            .as_array()
            .map_or(0, Vec::len)
            .to_string()
    }),
    at("Created", "/created_at"),
];

/// Runs one of the commands.
///
/// # Errors
/// As [`super::api::Api`].
pub async fn run(command: Command, session: &mut Session) -> Result<(), CliError> {
    match command {
        Command::List(ListArguments { limit }) => {
            let clients = session.api.list(&["clients"], &[], limit).await?;
            session.out.list(&clients, COLUMNS)
        }
        Command::Show { client } => {
            let client = find(session, &client).await?;
            session.out.one(&client, COLUMNS)?;
            let contacts = client["contacts"]
                .as_array()
                .filter(|list| !list.is_empty());
            if let Some(contacts) = contacts
                && session.out.is_table()
            {
                session.out.line("")?;
                session.out.table(contacts, super::contact::COLUMNS)?;
            }
            Ok(())
        }
        Command::Add { name, slug } => {
            let body = json!({"name": name, "slug": slug});
            let client = session.api.post(&["clients"], &body).await?;
            session.out.one(&client, COLUMNS)
        }
        Command::Change { client, change } => {
            let current = find(session, &client).await?;
            let id = id_of(&current)?;
            let body = super::members([
                ("name", change.name.map(|n| json!(n))),
                ("slug", change.slug.map(|s| json!(s))),
            ]);
            let client = session
                .api
                .change_known(Method::PATCH, &current, &["clients", &id], &body)
                .await?;
            session.out.one(&client, COLUMNS)
        }
    }
}

/// The client with this slug or id.
///
/// # Errors
/// As [`super::api::Api`], or there is none.
pub async fn find(session: &Session, client: &str) -> Result<Value, CliError> {
    if client.parse::<ClientId>().is_ok() {
        session.api.get(&["clients", client], &[]).await
    } else {
        session.api.find(&["clients"], "slug", client).await
    }
}

/// The id that the server gave.
///
/// # Errors
/// The answer has none.
pub fn id_of(item: &Value) -> Result<String, CliError> {
    item["id"]
        .as_str()
        .map(str::to_owned)
        .ok_or_else(|| CliError::local("the answer has no id"))
}
