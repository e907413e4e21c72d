//! `audit verify`: checks an exported log without the server.

use std::fs::File;
use std::io::BufReader;
use std::path::{Path, PathBuf};

use clap::Args;

use super::error::CliError;
use super::table::{Format, Output};
use crate::audit::{VerifierKey, verify};

/// What to check against what.
#[derive(Args, Debug)]
pub struct Arguments {
    /// The exported log
    pub export: PathBuf,
    /// The public key: the key line itself, or a file with it
    #[arg(long, value_name = "KEY|FILE")]
    pub public_key: String,
    /// A checkpoint kept elsewhere, which the log must contain; may be repeated
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
    let mut kept = Vec::new();
    for path in &arguments.checkpoints {
        kept.push(read(path)?);
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
