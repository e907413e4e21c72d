//! `keys recipient`: who can open the root key. Works on the data directory, under its lock.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use serde_json::{Value, json};

use super::attendant::plugins;
use super::node::runtime;
use super::serve::read_identities;
use super::stopped::open_stopped;
use super::table::{Column, Output, at};
use super::{Environment, error::CliError};
use crate::config::Config;
use crate::crypto::{Identity, Plugins, Recipient};
use crate::vault::{RecipientChange, RecipientTools};

/// What `--force` has to be given, so that nobody types it by habit.
const LOCK_OUT: &str = "lock this machine out";

/// What can be done.
#[derive(Subcommand, Debug)]
pub enum Command {
    /// List the recipients
    List(Settings),
    /// Let somebody else open the root key as well
    Add(AddArguments),
    /// Encrypt the root key to one recipient less
    #[command(
        after_help = "Whoever had the identity may have kept the root key, or an old copy of its file. \
        Removing the\nrecipient protects what is copied from now on and nothing else: if the identity \
        is in wrong hands,\nthe root key itself has to be replaced, and every value be taken for known."
    )]
    Remove(RemoveArguments),
}

/// Whose recipients.
#[derive(Args, Debug)]
pub struct Settings {
    /// The settings of the deployment (TOML)
    #[arg(long, value_name = "FILE")]
    pub config: PathBuf,
}

/// Whom to add.
#[derive(Args, Debug)]
pub struct AddArguments {
    /// The recipient: age1…, or age1NAME1… of an allowed plugin
    pub recipient: String,
    #[command(flatten)]
    pub settings: Settings,
}

/// Whom to remove.
#[derive(Args, Debug)]
pub struct RemoveArguments {
    /// The recipient, as the list shows it
    pub recipient: String,
    #[command(flatten)]
    pub settings: Settings,
    /// Also when this machine can then not open the root key: `lock this machine out`
    #[arg(long, value_name = "WORDS")]
    pub force: Option<String>,
}

const COLUMNS: &[Column] = &[
    at("Recipient", "/recipient"),
    at("This machine", "/this_machine"),
    at("Added", "/added_at"),
];

/// Runs one of the commands.
///
/// # Errors
/// The service runs, the settings are refused, or the change is.
pub fn run(command: &Command, environment: &Environment, out: &mut Output) -> Result<(), CliError> {
    let settings = match command {
        Command::List(settings) => settings,
        Command::Add(arguments) => &arguments.settings,
        Command::Remove(arguments) => &arguments.settings,
    };
    let pairs = environment
        .iter()
        .map(|(name, value)| (name.clone(), value.clone()));
    let config = Config::load(Some(&settings.config), pairs)
        .map_err(|error| CliError::local(error.to_string()))?;
    let plugins = plugins(&config.plugins, environment);
    let change = change(command, &plugins)?;
    // Twice, because opening the deployment takes them.
    let opening = read_identities(&config.root, &plugins, environment)?;
    let checking = read_identities(&config.root, &plugins, environment)?;
    runtime()?.block_on(work(config, opening, &checking, &plugins, change, out))
}

fn change(command: &Command, plugins: &Plugins) -> Result<Option<RecipientChange>, CliError> {
    match command {
        Command::List(_) => Ok(None),
        Command::Add(arguments) => {
            let recipient = Recipient::parse_with(&arguments.recipient, plugins)
                .map_err(|error| CliError::local(format!("the recipient: {error}")))?;
            Ok(Some(RecipientChange::Add(recipient)))
        }
        Command::Remove(arguments) => {
            if arguments
                .force
                .as_ref()
                .is_some_and(|words| words != LOCK_OUT)
            {
                return Err(CliError::local(format!(
                    "--force takes these words and no others: {LOCK_OUT}"
                )));
            }
            Ok(Some(RecipientChange::Remove {
                recipient: arguments.recipient.clone(),
                lock_out: arguments.force.is_some(),
            }))
        }
    }
}

async fn work(
    config: Config,
    opening: Vec<Identity>,
    checking: &[Identity],
    plugins: &Plugins,
    change: Option<RecipientChange>,
    out: &mut Output,
) -> Result<(), CliError> {
    let local = |error: &dyn std::fmt::Display| CliError::local(error.to_string());
    let (vault, _lock) = open_stopped(&config, opening).await?;
    let removes = matches!(change, Some(RecipientChange::Remove { .. }));
    let changed = match change {
        None => Ok(()),
        Some(change) => {
            let keys = config.data.join("keys");
            let tools = RecipientTools {
                identities: checking,
                plugins,
                keys: &keys,
            };
            vault.change_root_recipients(change, &tools).await
        }
    };
    let list = vault.root_recipients(checking).await;
    vault.close().await;
    changed.map_err(|error| local(&error))?;
    let list = list.map_err(|error| local(&error))?;
    let items: Vec<Value> = list.iter().map(|item| json!(item)).collect();
    if out.is_table() {
        out.table(&items, COLUMNS)?;
        if removes {
            out.line("")?;
            out.line(
                "Whoever had that identity may have kept the root key, and old copies of its file \
                 and of the\ndatabase still open with it.",
            )?;
        }
        return Ok(());
    }
    out.one(&json!({ "recipients": items }), COLUMNS)
}
