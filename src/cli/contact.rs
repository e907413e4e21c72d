//! `contact`: the people at a client.

use clap::{Args, Subcommand, ValueEnum};
use reqwest::Method;
use serde_json::{Value, json};

use super::{
    Session,
    client::{find, id_of},
    error::CliError,
    table::{Column, at},
};
use crate::model::{ContactId, DisplayName, EmailAddress};

/// What can be done with contacts.
#[derive(Subcommand, Debug)]
pub enum Command {
    /// List the contacts of a client
    List {
        /// Slug or id of the client
        client: String,
    },
    /// Add a contact to a client
    Add {
        /// Slug or id of the client
        client: String,
        /// Name for people
        #[arg(long)]
        name: DisplayName,
        /// Where warnings go
        #[arg(long)]
        email: EmailAddress,
        /// What the person is there for
        #[arg(long)]
        role: ContactRole,
    },
    /// Change a contact
    Change {
        /// Slug or id of the client
        client: String,
        /// Id of the contact
        contact: ContactId,
        #[command(flatten)]
        change: Change,
    },
    /// Remove a contact
    Remove {
        /// Slug or id of the client
        client: String,
        /// Id of the contact
        contact: ContactId,
    },
}

/// What to change.
#[derive(Args, Debug)]
#[group(id = "changes", required = true, multiple = true)]
pub struct Change {
    /// New name
    #[arg(long)]
    name: Option<DisplayName>,
    /// New address
    #[arg(long)]
    email: Option<EmailAddress>,
    /// New role
    #[arg(long)]
    role: Option<ContactRole>,
}

/// What a contact is there for.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub enum ContactRole {
    /// Answers for the integration.
    Owner,
    /// Renews credentials.
    Technical,
    /// Is told of incidents.
    Security,
}

impl ContactRole {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Owner => "owner",
            Self::Technical => "technical",
            Self::Security => "security",
        }
    }
}

/// What is shown of a contact.
pub const COLUMNS: &[Column] = &[
    at("Id", "/id"),
    at("Name", "/name"),
    at("Email", "/email"),
    at("Role", "/role"),
    at("Created", "/created_at"),
];

/// Runs one of the commands.
///
/// # Errors
/// As [`super::api::Api`].
pub async fn run(command: Command, session: &mut Session) -> Result<(), CliError> {
    match command {
        Command::List { client } => {
            let client = id_of(&find(session, &client).await?)?;
            let path = ["clients", client.as_str(), "contacts"];
            let contacts = session.api.list(&path, &[], None).await?;
            session.out.list(&contacts, COLUMNS)
        }
        Command::Add {
            client,
            name,
            email,
            role,
        } => {
            let client = id_of(&find(session, &client).await?)?;
            let body = json!({"name": name, "email": email, "role": role.as_str()});
            let contact = session
                .api
                .post(&["clients", &client, "contacts"], &body)
                .await?;
            session.out.one(&contact, COLUMNS)
        }
        Command::Change {
            client,
            contact,
            change,
        } => {
            let client = id_of(&find(session, &client).await?)?;
            let contact = contact.to_string();
            let list = ["clients", client.as_str(), "contacts"];
            let current = session.api.find(&list, "id", &contact).await?;
            let body = super::members([
                ("name", change.name.map(|name| json!(name))),
                ("email", change.email.map(|email| json!(email))),
                ("role", change.role.map(|role| json!(role.as_str()))),
            ]);
            let path = ["clients", client.as_str(), "contacts", contact.as_str()];
            let contact: Value = session
                .api
                .change_known(Method::PATCH, &current, &path, &body)
                .await?;
            session.out.one(&contact, COLUMNS)
        }
        Command::Remove { client, contact } => {
            let client = id_of(&find(session, &client).await?)?;
            let contact = contact.to_string();
            let path = ["clients", client.as_str(), "contacts", contact.as_str()];
            let answer = session.api.bare(Method::DELETE, &path).await?;
            session.out.done(&answer, &format!("removed {contact}"))
        }
    }
}
