//! `client`: the companies whose credentials are held.

use std::io::Write;
use std::path::PathBuf;

use clap::{Args, Subcommand};
use reqwest::Method;
use serde_json::{Value, json};

use super::{
    Session,
    error::CliError,
    files::NewFile,
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
    /// Destroy everything that is kept of a client; prints the signed certificate
    Erase(Erase),
    /// Print the certificate of a client that was erased
    Erasure {
        /// Id
        client: ClientId,
    },
}

/// Whom to erase.
#[derive(Args, Debug)]
pub struct Erase {
    /// Slug or id
    client: String,
    /// The slug once more: this cannot be undone
    #[arg(long, value_name = "SLUG")]
    confirm: String,
    /// Why it is done although live workloads still hold active versions
    #[arg(long, value_name = "TEXT")]
    override_reason: Option<DisplayName>,
    /// Where to write the certificate; to standard output when left out
    #[arg(long, value_name = "FILE")]
    certificate_out: Option<PathBuf>,
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
        Command::Erase(arguments) => erase(arguments, session).await,
        Command::Erasure { client } => {
            let path = ["clients", &client.to_string(), "erasure"];
            let erasure = session.api.get(&path, &[]).await?;
            certificate(session, &erasure)
        }
    }
}

async fn erase(arguments: Erase, session: &mut Session) -> Result<(), CliError> {
    let current = find(session, &arguments.client).await?;
    let id = id_of(&current)?;
    let body = super::members([
        ("confirm", Some(json!(arguments.confirm))),
        (
            "override_reason",
            arguments.override_reason.map(|it| json!(it)),
        ),
    ]);
    // Made before, so that the only copy of the certificate is not lost for want of a directory.
    let file = arguments.certificate_out.as_deref();
    let file = file.map(|path| NewFile::create(path, 0o600)).transpose()?;
    let erasure = session
        .api
        .change_known(Method::POST, &current, &["clients", &id, "erase"], &body)
        .await?;
    match file {
        Some(mut file) => {
            let note = erasure["certificate"].as_str().unwrap_or_default();
            file.write_all(note.as_bytes())
                .map_err(|error| CliError::local(format!("cannot write: {error}")))?;
            file.finish()?;
            let sentence =
                format!("Erased {id}. The same certificate: strongroom client erasure {id}");
            session.out.done(&erasure, &sentence)
        }
        None => certificate(session, &erasure),
    }
}

fn certificate(session: &mut Session, erasure: &Value) -> Result<(), CliError> {
    match session.out.is_table() {
        true => session.out.bytes(
            erasure["certificate"]
                .as_str()
                .unwrap_or_default()
                .as_bytes(),
        ),
        false => session.out.done(erasure, ""),
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
