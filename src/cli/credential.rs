//! `credential`: what clients lend, without its values.

use clap::{Args, Subcommand};
use reqwest::Method;
use serde_json::{Value, json};

use super::{
    Session,
    error::CliError,
    table::{Column, at, by, show},
    verification, version,
};
use crate::model::{CredentialId, CredentialKind, DisplayName, Slug};

/// What can be done with credentials.
#[derive(Subcommand, Debug)]
pub enum Command {
    /// List credentials, filtered
    List(ListArguments),
    /// Show one credential with its versions
    Show {
        /// Id of the credential
        credential: CredentialId,
    },
    /// Add a credential; its first value comes with `credential version add`
    Add {
        /// Slug or id of the client
        #[arg(long)]
        client: String,
        /// What it is for, in words
        #[arg(long)]
        label: DisplayName,
        /// microsoft365, google-workspace or generic
        #[arg(long)]
        kind: CredentialKind,
        /// Where it is used
        #[arg(long)]
        environment: Slug,
        /// Which servers get it; may be repeated
        #[arg(long = "role", required = true, value_name = "ROLE")]
        roles: Vec<Slug>,
    },
    /// Give a credential another label
    Rename {
        /// Id of the credential
        credential: CredentialId,
        /// The new label
        label: DisplayName,
    },
    /// Which roles may read a credential
    #[command(subcommand)]
    Role(RoleCommand),
    /// The values of a credential
    #[command(subcommand)]
    Version(version::Command),
    /// Have a stored version checked at its provider, and follow its stages
    Verify(verification::Verify),
    /// List the newest verifications of a credential
    Verifications {
        /// Id of the credential
        credential: CredentialId,
    },
    /// Which workloads hold which version
    Holds {
        /// Id of the credential
        credential: CredentialId,
    },
}

/// What to list.
#[derive(Args, Debug)]
pub struct ListArguments {
    /// Only of this client (slug or id)
    #[arg(long)]
    client: Option<String>,
    /// Only of this environment
    #[arg(long)]
    environment: Option<Slug>,
    /// Only those this role may read
    #[arg(long)]
    role: Option<Slug>,
    /// Only of this kind: microsoft365, google-workspace or generic
    #[arg(long)]
    kind: Option<CredentialKind>,
    /// Only those that expire before this date or time
    #[arg(long, value_name = "DATE", value_parser = version::moment)]
    expires_before: Option<String>,
    /// At most this many items; all when left out
    #[arg(long, value_name = "N")]
    limit: Option<usize>,
}

/// Which roles may read a credential.
#[derive(Subcommand, Debug)]
pub enum RoleCommand {
    /// Let a role read it
    Add {
        /// Id of the credential
        credential: CredentialId,
        /// Name of the role
        role: Slug,
    },
    /// Take it away from a role
    Remove {
        /// Id of the credential
        credential: CredentialId,
        /// Name of the role
        role: Slug,
    },
}

/// The active version of a credential.
fn active(credential: &Value) -> Option<&Value> {
    credential["versions"]
        .as_array()?
        .iter()
        .find(|version| version["state"] == "active")
}

const LIST_COLUMNS: &[Column] = &[
    at("Id", "/id"),
    at("Client", "/client/slug"),
    at("Label", "/label"),
    at("Kind", "/kind"),
    at("Environment", "/environment"),
    at("Roles", "/roles"),
    by("Active", |credential| {
        active(credential).map_or_else(|| "-".into(), |version| show(&version["number"]))
    }),
    by("Expires", |credential| {
        active(credential).map_or_else(|| "-".into(), version::expiry)
    }),
    at("Flags", "/flags"),
];

const COLUMNS: &[Column] = &[
    at("Id", "/id"),
    at("Client", "/client/name"),
    at("Label", "/label"),
    at("Kind", "/kind"),
    at("Environment", "/environment"),
    at("Roles", "/roles"),
    at("Flags", "/flags"),
    at("Created", "/created_at"),
];

/// What is shown of a hold.
pub const HOLD_COLUMNS: &[Column] = &[
    at("Workload", "/workload/name"),
    at("Credential", "/credential"),
    at("Version", "/version"),
    at("Since", "/since"),
    at("First release", "/first_at"),
    at("Last release", "/last_at"),
    at("In use", "/in_use"),
    at("Live", "/live"),
];

/// Runs one of the commands.
///
/// # Errors
/// As [`super::api::Api`].
pub async fn run(command: Command, session: &mut Session) -> Result<(), CliError> {
    match command {
        Command::List(arguments) => {
            let query = [
                ("client", arguments.client),
                (
                    "environment",
                    arguments.environment.map(|name| name.to_string()),
                ),
                ("role", arguments.role.map(|name| name.to_string())),
                ("kind", arguments.kind.map(|kind| kind.to_string())),
                ("expires_before", arguments.expires_before),
            ];
            let items = session
                .api
                .list(&["credentials"], &query, arguments.limit)
                .await?;
            session.out.list(&items, LIST_COLUMNS)
        }
        Command::Show { credential } => {
            let credential = credential.to_string();
            let credential = session.api.get(&["credentials", &credential], &[]).await?;
            print(session, &credential)
        }
        Command::Add {
            client,
            label,
            kind,
            environment,
            roles,
        } => {
            let body = json!({"client": client, "label": label, "kind": kind,
                              "environment": environment, "roles": roles});
            let credential = session.api.post(&["credentials"], &body).await?;
            print(session, &credential)
        }
        Command::Rename { credential, label } => {
            let credential = credential.to_string();
            let path = ["credentials", credential.as_str()];
            let body = json!({"label": label});
            let credential = session
                .api
                .change(Method::PATCH, &path, &path, &body)
                .await?;
            print(session, &credential)
        }
        Command::Role(command) => {
            let (method, credential, role) = match command {
                RoleCommand::Add { credential, role } => (Method::PUT, credential, role),
                RoleCommand::Remove { credential, role } => (Method::DELETE, credential, role),
            };
            let credential = credential.to_string();
            let path = ["credentials", credential.as_str(), "roles", role.as_str()];
            let credential = session.api.bare(method, &path).await?;
            print(session, &credential)
        }
        Command::Version(command) => version::run(command, session).await,
        Command::Verify(arguments) => verification::run(arguments, session).await,
        Command::Verifications { credential } => {
            let credential = credential.to_string();
            let path = ["credentials", credential.as_str(), "verifications"];
            let runs = session.api.list(&path, &[], None).await?;
            session.out.list(&runs, verification::COLUMNS)
        }
        Command::Holds { credential } => {
            let credential = credential.to_string();
            let path = ["credentials", credential.as_str(), "holds"];
            let holds = session.api.list(&path, &[], None).await?;
            session.out.list(&holds, HOLD_COLUMNS)
        }
    }
}

/// Prints a credential and its versions.
///
/// # Errors
/// Standard output cannot be written.
pub fn print(session: &mut Session, credential: &Value) -> Result<(), CliError> {
    session.out.one(credential, COLUMNS)?;
    let versions = credential["versions"]
        .as_array()
        .filter(|list| !list.is_empty());
    if let Some(versions) = versions
        && session.out.is_table()
    {
        session.out.line("")?;
        session.out.table(versions, version::COLUMNS)?;
    }
    Ok(())
}
