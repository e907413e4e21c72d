//! `mail`: what was sent to whom, what waits, and whether mail arrives at all.

use clap::Subcommand;
use serde_json::json;

use super::{
    Session,
    error::CliError,
    table::{Column, at},
};
use crate::model::{ClientId, EmailAddress, MailId, MailState};

/// What can be done with mails.
#[derive(Subcommand, Debug)]
pub enum Command {
    /// List mails, oldest first, filtered
    List {
        /// Only those that stand here: due, claimed, sending, sent, unknown, failed or withdrawn
        #[arg(long, value_name = "STATE")]
        state: Option<MailState>,
        /// Only about this client
        #[arg(long, value_name = "ID")]
        client: Option<ClientId>,
        /// At most this many items; all when left out
        #[arg(long, value_name = "N")]
        limit: Option<usize>,
    },
    /// Show what became of a mail
    Show {
        /// The mail
        mail: MailId,
    },
    /// Have a mail sent that says nothing, to try whether mail arrives
    Test {
        /// Where to
        #[arg(long, value_name = "ADDRESS")]
        to: EmailAddress,
    },
}

const COLUMNS: &[Column] = &[
    at("Id", "/id"),
    at("Written", "/created_at"),
    at("About", "/kind"),
    at("To", "/address"),
    at("State", "/state"),
    at("Tries", "/tries"),
    at("Fault", "/fault"),
    at("Next try", "/due_at"),
    at("Ended", "/ended_at"),
];

/// Runs one of the commands.
///
/// # Errors
/// As [`super::api::Api`].
pub async fn run(command: Command, session: &mut Session) -> Result<(), CliError> {
    match command {
        Command::List {
            state,
            client,
            limit,
        } => {
            let query = [
                ("state", state.map(|it| it.to_string())),
                ("client", client.map(|it| it.to_string())),
            ];
            let mails = session.api.list(&["mails"], &query, limit).await?;
            session.out.list(&mails, COLUMNS)
        }
        Command::Show { mail } => {
            let id = mail.to_string();
            let mail = session.api.get(&["mails", &id], &[]).await?;
            session.out.one(&mail, COLUMNS)
        }
        Command::Test { to } => {
            let body = json!({ "to": to });
            let mail = session.api.post(&["mails"], &body).await?;
            session.out.one(&mail, COLUMNS)
        }
    }
}
