//! `intake`: asking clients for credentials by a link.

use clap::{Args, Subcommand};
use reqwest::Method;
use serde_json::json;

use super::{
    Session,
    error::CliError,
    members,
    table::{Column, at},
};
use crate::model::{CredentialId, CredentialKind, DisplayName, InviteId, Slug};

/// What can be done with invitations.
#[derive(Subcommand, Debug)]
pub enum Command {
    /// Invite a contact to hand in a credential
    Invite(Invite),
    /// List invitations, oldest first
    List {
        /// Only for this credential
        #[arg(long, value_name = "ID")]
        credential: Option<CredentialId>,
        /// At most this many items; all when left out
        #[arg(long, value_name = "N")]
        limit: Option<usize>,
    },
    /// Show an invitation
    Show {
        /// Id of the invitation
        invite: InviteId,
    },
    /// End an invitation: its link is good for nothing any more
    Revoke {
        /// Id of the invitation
        invite: InviteId,
    },
}

/// For what, and whom.
#[derive(Args, Debug)]
pub struct Invite {
    /// The credential whose next value is asked for
    #[arg(long, value_name = "ID", conflicts_with_all = ["client", "kind", "label", "environment", "roles"])]
    credential: Option<CredentialId>,
    /// Slug or id of the client, for a new credential
    #[arg(long, required_unless_present = "credential", requires_all = ["kind", "label", "environment", "roles"])]
    client: Option<String>,
    /// microsoft365, google-workspace or generic
    #[arg(long)]
    kind: Option<CredentialKind>,
    /// What it is for, in words
    #[arg(long)]
    label: Option<DisplayName>,
    /// Where it is used
    #[arg(long)]
    environment: Option<Slug>,
    /// Which servers get it; may be repeated
    #[arg(long = "role", value_name = "ROLE")]
    roles: Vec<Slug>,
    /// A contact of the client, by e-mail address or id
    #[arg(long, value_name = "ADDRESS")]
    contact: String,
    /// For how many hours the link is good: 1 to 2160
    #[arg(long, value_name = "HOURS", default_value = "336",
          value_parser = clap::value_parser!(u16).range(1..=2160))]
    lifetime_hours: u16,
    /// Ask for a second code, to be told the contact by another channel
    #[arg(long)]
    code: bool,
    /// The language of pages and mails
    #[arg(long, value_name = "TAG", default_value = "en")]
    locale: String,
    /// Print the link once instead of mailing it
    #[arg(long)]
    no_mail: bool,
}

const COLUMNS: &[Column] = &[
    at("Id", "/id"),
    at("Credential", "/credential"),
    at("Contact", "/contact"),
    at("State", "/state"),
    at("Second code", "/needs_code"),
    at("Attempts", "/attempts"),
    at("Mail", "/mail"),
    at("Answer", "/answer"),
    at("Created", "/created_at"),
    at("Expires", "/expires_at"),
    at("Ended", "/ended_at"),
];

/// Runs one of the commands.
///
/// # Errors
/// As [`super::api::Api`].
pub async fn run(command: Command, session: &mut Session) -> Result<(), CliError> {
    match command {
        Command::Invite(arguments) => invite(arguments, session).await,
        Command::List { credential, limit } => {
            let query = [("credential", credential.map(|id| id.to_string()))];
            let items = session.api.list(&["invites"], &query, limit).await?;
            session.out.list(&items, COLUMNS)
        }
        Command::Show { invite } => {
            let id = invite.to_string();
            let invite = session.api.get(&["invites", &id], &[]).await?;
            session.out.one(&invite, COLUMNS)
        }
        Command::Revoke { invite } => {
            let id = invite.to_string();
            let path = ["invites", id.as_str(), "revoke"];
            let invite = session.api.bare(Method::POST, &path).await?;
            session.out.one(&invite, COLUMNS)
        }
    }
}

async fn invite(arguments: Invite, session: &mut Session) -> Result<(), CliError> {
    let new = arguments.client.map(|client| {
        json!({"client": client, "label": arguments.label, "kind": arguments.kind,
               "environment": arguments.environment, "roles": arguments.roles})
    });
    let body = members([
        ("credential", arguments.credential.map(|id| json!(id))),
        ("new", new),
        ("contact", Some(json!(arguments.contact))),
        ("lifetime_hours", Some(json!(arguments.lifetime_hours))),
        ("code", Some(json!(arguments.code))),
        ("locale", Some(json!(arguments.locale))),
        ("no_mail", Some(json!(arguments.no_mail))),
    ]);
    let invite = session.api.post(&["invites"], &body).await?;
    session.out.one(&invite, COLUMNS)?;
    if session.out.is_table() {
        if let Some(link) = invite["link"].as_str() {
            let what = match link.starts_with('/') {
                true => {
                    "The link's path; `pages.url` is not set, so put the address of the pages in front"
                }
                false => "The link",
            };
            session
                .out
                .line(&format!("\n{what}. It is not shown again:\n\n  {link}"))?;
        }
        if let Some(mail) = invite["mail"].as_str() {
            session.out.line(&format!(
                "\nThe link is mailed to the contact. Whether it was sent: strongroom mail show {mail}"
            ))?;
        }
        if let Some(code) = invite["code"].as_str() {
            session.out.line(&format!(
                "\nThe second code; tell it the contact by another channel than the link:\n\n  {code}"
            ))?;
        }
    }
    Ok(())
}
