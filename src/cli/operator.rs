//! `operator`: the people of the vendor.

use clap::{Args, Subcommand};
use reqwest::Method;
use serde_json::json;

use super::{
    Session,
    client::{ListArguments, id_of},
    enrolment_token::{self, TokenArguments, TokenCommand},
    error::CliError,
    principal_key::{self, KeyArguments, KeyCommand, find},
    table::{Column, at},
};
use crate::model::{DisplayName, OperatorRole};

const OPERATORS: &str = "operators";

/// What can be done with operators.
#[derive(Subcommand, Debug)]
pub enum Command {
    /// Register a person and, at once or later, their key
    Enrol {
        /// Their name
        #[arg(long)]
        name: DisplayName,
        /// tech-ops, account-manager, support or auditor
        #[arg(long)]
        role: OperatorRole,
        #[command(flatten)]
        key: KeyArguments,
        #[command(flatten)]
        token: TokenArguments,
    },
    /// List all operators
    List(ListArguments),
    /// Show one operator with their keys
    Show {
        /// Name or id
        operator: String,
    },
    /// Change an operator's name or role
    Change {
        /// Name or id
        operator: String,
        #[command(flatten)]
        change: Change,
    },
    /// Shut an operator out, at once
    Disable {
        /// Name or id
        operator: String,
    },
    /// Let a disabled operator in again
    Enable {
        /// Name or id
        operator: String,
    },
    /// The keys of an operator
    #[command(subcommand)]
    Key(KeyCommand),
    /// Make a one-time token for `strongroom enrol`
    Token(TokenCommand),
}

/// What to change.
#[derive(Args, Debug)]
#[group(id = "changes", required = true, multiple = true)]
pub struct Change {
    /// New name
    #[arg(long)]
    name: Option<DisplayName>,
    /// New role
    #[arg(long)]
    role: Option<OperatorRole>,
}

const COLUMNS: &[Column] = &[
    at("Id", "/id"),
    at("Name", "/name"),
    at("Role", "/role"),
    at("State", "/state"),
    at("Created", "/created_at"),
];

/// Runs one of the commands.
///
/// # Errors
/// As [`super::api::Api`], or a file cannot be read.
pub async fn run(command: Command, session: &mut Session) -> Result<(), CliError> {
    match command {
        Command::Enrol {
            name,
            role,
            key,
            token,
        } => {
            let body = json!({"name": name, "role": role});
            let enrolled = principal_key::enrol(session, OPERATORS, &body, &key).await?;
            enrolment_token::beside(session, OPERATORS, enrolled, &token, COLUMNS).await
        }
        Command::List(ListArguments { limit }) => {
            let operators = session.api.list(&[OPERATORS], &[], limit).await?;
            session.out.list(&operators, COLUMNS)
        }
        Command::Show { operator } => {
            let operator = find(session, OPERATORS, &operator).await?;
            principal_key::print(session, &operator, COLUMNS)
        }
        Command::Change { operator, change } => {
            let current = find(session, OPERATORS, &operator).await?;
            let id = id_of(&current)?;
            let body = super::members([
                ("name", change.name.map(|name| json!(name))),
                ("role", change.role.map(|role| json!(role))),
            ]);
            let operator = session
                .api
                .change_known(Method::PATCH, &current, &[OPERATORS, &id], &body)
                .await?;
            principal_key::print(session, &operator, COLUMNS)
        }
        Command::Disable { operator } => {
            let operator = principal_key::switch(session, OPERATORS, &operator, "disable").await?;
            session.out.one(&operator, COLUMNS)
        }
        Command::Enable { operator } => {
            let operator = principal_key::switch(session, OPERATORS, &operator, "enable").await?;
            session.out.one(&operator, COLUMNS)
        }
        Command::Key(command) => principal_key::run(OPERATORS, command, session).await,
        Command::Token(command) => enrolment_token::run(OPERATORS, command, session).await,
    }
}
