//! `workload`: the registered servers.

use clap::{Args, Subcommand};
use reqwest::Method;
use serde_json::{Value, json};

use super::{
    Session,
    client::{ListArguments, id_of},
    credential::HOLD_COLUMNS,
    enrolment_token::{self, TokenArguments, TokenCommand},
    error::CliError,
    principal_key::{self, KeyArguments, KeyCommand, find},
    table::{Column, at},
};
use crate::model::Slug;

const WORKLOADS: &str = "workloads";

/// What can be done with workloads.
#[derive(Subcommand, Debug)]
pub enum Command {
    /// Register a server and, at once or later, its key
    Enrol {
        /// Its name
        #[arg(long)]
        name: Slug,
        /// Where it runs
        #[arg(long)]
        environment: Slug,
        /// What it is for; may be repeated
        #[arg(long = "role", required = true, value_name = "ROLE")]
        roles: Vec<Slug>,
        /// Age recipient (age1…) to whom releases can be encrypted
        #[arg(long, value_name = "RECIPIENT")]
        age_recipient: Option<String>,
        #[command(flatten)]
        key: KeyArguments,
        #[command(flatten)]
        token: TokenArguments,
    },
    /// List all workloads
    List(ListArguments),
    /// Show one workload with its keys
    Show {
        /// Name or id
        workload: String,
    },
    /// Change a workload's name, roles or age recipient
    Change {
        /// Name or id
        workload: String,
        #[command(flatten)]
        change: Change,
    },
    /// Stop releasing to a workload, at once
    Disable {
        /// Name or id
        workload: String,
    },
    /// Release to a disabled workload again
    Enable {
        /// Name or id
        workload: String,
    },
    /// The keys of a workload
    #[command(subcommand)]
    Key(KeyCommand),
    /// Make a one-time token for `strongroom enrol`
    Token(TokenCommand),
    /// Which versions a workload holds
    Holds {
        /// Name or id
        workload: String,
    },
}

/// What to change.
#[derive(Args, Debug)]
#[group(id = "changes", required = true, multiple = true)]
pub struct Change {
    /// New name
    #[arg(long)]
    name: Option<Slug>,
    /// All its roles from now on; may be repeated
    #[arg(long = "role", value_name = "ROLE")]
    roles: Vec<Slug>,
    /// New age recipient (age1…) to whom releases can be encrypted
    #[arg(long, value_name = "RECIPIENT")]
    age_recipient: Option<String>,
    /// No longer give encrypted releases
    #[arg(long, conflicts_with = "age_recipient")]
    no_age_recipient: bool,
}

const COLUMNS: &[Column] = &[
    at("Id", "/id"),
    at("Name", "/name"),
    at("Environment", "/environment"),
    at("Roles", "/roles"),
    at("State", "/state"),
    at("Age recipient", "/age_recipient"),
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
            environment,
            roles,
            age_recipient,
            key,
            token,
        } => {
            let body = super::members([
                ("name", Some(json!(name))),
                ("environment", Some(json!(environment))),
                ("roles", Some(json!(roles))),
                ("age_recipient", age_recipient.map(|it| json!(it))),
            ]);
            let enrolled = principal_key::enrol(session, WORKLOADS, &body, &key).await?;
            enrolment_token::beside(session, WORKLOADS, enrolled, &token, COLUMNS).await
        }
        Command::List(ListArguments { limit }) => {
            let workloads = session.api.list(&[WORKLOADS], &[], limit).await?;
            session.out.list(&workloads, COLUMNS)
        }
        Command::Show { workload } => {
            let workload = find(session, WORKLOADS, &workload).await?;
            principal_key::print(session, &workload, COLUMNS)
        }
        Command::Change { workload, change } => {
            let current = find(session, WORKLOADS, &workload).await?;
            let id = id_of(&current)?;
            let roles = (!change.roles.is_empty()).then(|| json!(change.roles));
            let age_recipient = match change.no_age_recipient {
                true => Some(Value::Null),
                false => change.age_recipient.map(|it| json!(it)),
            };
            let body = super::members([
                ("name", change.name.map(|name| json!(name))),
                ("roles", roles),
                ("age_recipient", age_recipient),
            ]);
            let workload = session
                .api
                .change_known(Method::PATCH, &current, &[WORKLOADS, &id], &body)
                .await?;
            principal_key::print(session, &workload, COLUMNS)
        }
        Command::Disable { workload } => {
            let workload = principal_key::switch(session, WORKLOADS, &workload, "disable").await?;
            session.out.one(&workload, COLUMNS)
        }
        Command::Enable { workload } => {
            let workload = principal_key::switch(session, WORKLOADS, &workload, "enable").await?;
            session.out.one(&workload, COLUMNS)
        }
        Command::Key(command) => principal_key::run(WORKLOADS, command, session).await,
        Command::Token(command) => enrolment_token::run(WORKLOADS, command, session).await,
        Command::Holds { workload } => {
            let id = id_of(&find(session, WORKLOADS, &workload).await?)?;
            let holds = session
                .api
                .list(&[WORKLOADS, &id, "holds"], &[], None)
                .await?;
            session.out.list(&holds, HOLD_COLUMNS)
        }
    }
}
