//! `keys`: the generations of the service's own keys, never the keys.

use clap::Subcommand;
use serde_json::Value;

use super::{
    Session,
    error::CliError,
    table::{Column, at},
};

/// What can be done with keys.
#[derive(Subcommand, Debug)]
pub enum Command {
    /// List the root, key-encryption and service keys by generation
    List,
    /// Who can open the root key; with the service stopped, on its machine
    #[command(
        subcommand,
        after_help = "Example:\n  strongroom keys recipient add age1… --config /etc/strongroom/strongroom.toml"
    )]
    Recipient(super::recipient::Command),
}

const ROOT_COLUMNS: &[Column] = &[
    at("Root generation", "/generation"),
    at("Check value", "/check"),
];

const KEK_COLUMNS: &[Column] = &[
    at("Key-encryption key", "/id"),
    at("Role", "/role"),
    at("Environment", "/environment"),
    at("Generation", "/generation"),
    at("State", "/state"),
    at("Created", "/created_at"),
];

const SERVICE_COLUMNS: &[Column] = &[
    at("Service key", "/id"),
    at("Name", "/name"),
    at("Generation", "/generation"),
    at("Created", "/created_at"),
];

/// Runs one of the commands.
///
/// # Errors
/// As [`super::api::Api`].
pub async fn run(command: Command, session: &mut Session) -> Result<(), CliError> {
    let Command::List = command else {
        return Err(CliError::local("this command does not call the API"));
    };
    let keys = session.api.get(&["keys"], &[]).await?;
    // In JSON this prints all three parts as they came.
    session.out.one(
        keys.get("root")
            .filter(|_| session.out.is_table())
            .unwrap_or(&keys),
        ROOT_COLUMNS,
    )?;
    if session.out.is_table() {
        for (part, columns) in [("keks", KEK_COLUMNS), ("service", SERVICE_COLUMNS)] {
            session.out.line("")?;
            let rows = keys[part].as_array().map_or(&[] as &[Value], Vec::as_slice);
            session.out.table(rows, columns)?;
        }
    }
    Ok(())
}
