//! `audit`: the record of who did what. Reading it needs an auditor's or tech-ops key.

use std::{io::Write, path::PathBuf};

use clap::{Args, Subcommand};

use super::{
    Session, audit_verify,
    error::CliError,
    files::NewFile,
    table::{Column, at},
    version::moment,
};
use crate::model::Slug;

/// What can be done with the audit log.
#[derive(Subcommand, Debug)]
pub enum Command {
    /// List records, filtered
    List(ListArguments),
    /// Write a node's whole log into a file, for `audit verify`
    Export {
        /// Where to; - for standard output
        file: PathBuf,
        /// Name of the node
        #[arg(long)]
        node: Option<Slug>,
        /// Which beginning of its log, such as one from before a restore; the newest when left out
        #[arg(long, value_name = "NUMBER")]
        epoch: Option<i64>,
    },
    /// Print the newest signed checkpoint
    Checkpoint {
        /// Name of the node
        #[arg(long)]
        node: Option<Slug>,
        /// Which beginning of its log, such as one from before a restore; the newest when left out
        #[arg(long, value_name = "NUMBER")]
        epoch: Option<i64>,
    },
    /// Print the public key that checkpoints are verified with
    PublicKey,
    /// Check an exported log, offline
    Verify(audit_verify::Arguments),
}

/// What to list.
#[derive(Args, Debug)]
pub struct ListArguments {
    /// Only what this principal did
    #[arg(long, value_name = "ID")]
    actor: Option<String>,
    /// Only what concerns this id
    #[arg(long, value_name = "ID")]
    subject: Option<String>,
    /// Only records of this kind, such as release.intent
    #[arg(long)]
    kind: Option<String>,
    /// Only from this date or time on
    #[arg(long, value_name = "DATE", value_parser = moment)]
    since: Option<String>,
    /// Only before this date or time
    #[arg(long, value_name = "DATE", value_parser = moment)]
    until: Option<String>,
    /// At most this many records; all when left out
    #[arg(long, value_name = "N")]
    limit: Option<usize>,
}

const COLUMNS: &[Column] = &[
    at("Node", "/node"),
    at("Epoch", "/epoch"),
    at("Seq", "/seq"),
    at("At", "/at"),
    at("Kind", "/kind"),
    at("Actor", "/actor"),
    at("Subjects", "/subjects"),
];

/// Runs one of the commands that ask the server.
///
/// # Errors
/// As [`super::api::Api`], or a file cannot be written.
pub async fn run(command: Command, session: &mut Session) -> Result<(), CliError> {
    match command {
        Command::List(arguments) => {
            let query = [
                ("actor", arguments.actor),
                ("subject", arguments.subject),
                ("kind", arguments.kind),
                ("since", arguments.since),
                ("until", arguments.until),
            ];
            let records = session
                .api
                .list(&["audit"], &query, arguments.limit)
                .await?;
            session.out.list(&records, COLUMNS)
        }
        Command::Export { file, node, epoch } => {
            let query = [
                ("node", node.map(|node| node.to_string())),
                ("epoch", epoch.map(|epoch| epoch.to_string())),
            ];
            let path = ["audit", "export"];
            let accept = "application/x-ndjson";
            if file.as_os_str() == "-" {
                let mut stdout = std::io::stdout().lock();
                session
                    .api
                    .download(&path, &query, accept, &mut stdout)
                    .await?;
                return stdout
                    .flush()
                    .map_err(|error| CliError::local(format!("cannot write: {error}")));
            }
            // Only a whole export gets the name: half a log looks like one that was cut.
            let mut new = NewFile::create(&file, 0o600)?;
            let bytes = session
                .api
                .download(&path, &query, accept, &mut new)
                .await?;
            new.finish()?;
            eprintln!("wrote {bytes} bytes to {}", file.display());
            Ok(())
        }
        Command::Checkpoint { node, epoch } => {
            let query = [
                ("node", node.map(|node| node.to_string())),
                ("epoch", epoch.map(|epoch| epoch.to_string())),
            ];
            let note = session
                .api
                .get_text(&["audit", "checkpoint"], &query)
                .await?;
            session.out.bytes(note.as_bytes())
        }
        Command::PublicKey => {
            let key = session.api.get_text(&["audit", "key"], &[]).await?;
            session.out.line(key.trim_end())
        }
        // Needs no server: it is run before a connection is made.
        Command::Verify(_) => Ok(()),
    }
}
