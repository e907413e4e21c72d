//! `audit verify`: checks an exported log without the server.

use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};

use clap::Args;

use super::error::CliError;
use super::release::checkpoints::notes_in;
use super::table::{Format, Output};
use crate::audit::{Origin, VerifierKey, verify};

/// What to check against what.
#[derive(Args, Debug)]
pub struct Arguments {
    /// The exported log
    pub export: PathBuf,
    /// The public key: the key line itself, or a file with it
    #[arg(long, value_name = "KEY|FILE")]
    pub public_key: String,
    /// A checkpoint kept elsewhere, which the log must contain: a note, or the file in which a
    /// worker remembers them; may be repeated
    #[arg(long = "checkpoint", value_name = "FILE")]
    pub checkpoints: Vec<PathBuf>,
}

fn read(path: &Path) -> Result<String, CliError> {
    std::fs::read_to_string(path)
        .map_err(|error| CliError::local(format!("cannot read {}: {error}", path.display())))
}

/// The public audit key of the option called `option`: the key line itself, or a file with it.
///
/// # Errors
/// It is neither.
pub fn read_key(given: &str, option: &str) -> Result<VerifierKey, CliError> {
    match given.parse() {
        Ok(key) => Ok(key),
        Err(_) => read(Path::new(given))?.trim().parse().map_err(|_| {
            CliError::local(format!(
                "{option} is neither a key line nor a file with one; `strongroom audit \
                 public-key` prints it"
            ))
        }),
    }
}

/// Checks the log, prints the report, and fails if anything is wrong with the log.
///
/// # Errors
/// The log is not what was signed, or a file cannot be read.
pub fn run(arguments: &Arguments, format: Format, out: &mut Output) -> Result<(), CliError> {
    let key = read_key(&arguments.public_key, "--public-key")?;
    let origin = origin_of(&arguments.export);
    let mut kept = Vec::new();
    for path in &arguments.checkpoints {
        let text = read(path)?;
        match notes_in(&text, |line| Some(line) == origin.as_deref()) {
            None => kept.push(text),
            Some(notes) if notes.is_empty() => {
                return Err(CliError::local(format!(
                    "{} has no checkpoint of this log",
                    path.display()
                )));
            }
            Some(notes) => kept.extend(notes),
        }
    }
    let export = File::open(&arguments.export).map_err(|error| {
        CliError::local(format!(
            "cannot read {}: {error}",
            arguments.export.display()
        ))
    })?;
    let report = verify(BufReader::new(export), &[key], &kept)
        .map_err(|error| CliError::local(format!("the export cannot be read: {error}")))?;
    let text = match format {
        Format::Json => serde_json::to_string_pretty(&report)
            .map_err(|_| CliError::local("the report cannot be shown"))?,
        Format::Table => report.to_string(),
    };
    out.bytes(text.trim_end().as_bytes())?;
    out.bytes(b"\n")?;
    if report.is_ok() {
        Ok(())
    } else {
        Err(CliError::local(
            "the log is not what was signed: see the findings above",
        ))
    }
}

/// Which log an export is of, by its first line; nothing if it does not say, which the verifier will
/// then say itself.
fn origin_of(export: &Path) -> Option<String> {
    let mut line = String::new();
    let file = BufReader::new(File::open(export).ok()?);
    file.take(64 * 1024).read_line(&mut line).ok()?;
    let header: serde_json::Value = serde_json::from_str(&line).ok()?;
    let origin = Origin {
        deployment: header["deployment"].as_str()?.parse().ok()?,
        node: header["node"].as_str()?.parse().ok()?,
        epoch: header["epoch"].as_u64()?,
    };
    Some(origin.to_string())
}
