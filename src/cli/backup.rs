//! `backup`: takes the whole deployment away, encrypted, and checks what was taken.

use std::fs::File;
use std::io::{self, BufReader, Write};
use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use ring::digest::{Context, SHA256};
use serde_json::json;

use super::{
    Session,
    audit_verify::read_key,
    client::ListArguments,
    error::CliError,
    files::NewFile,
    table::{Column, Format, Output, at},
};
use crate::clock::SystemClock;
use crate::crypto::Identity;
use crate::model::BackupId;
use crate::random::{Random as _, SystemRandom};
use crate::vault::{BackupReport, Drill, drill_backup, verify_backup};

/// What can be done with backups.
#[derive(Subcommand, Debug)]
pub enum Command {
    /// Take a backup of the running deployment into one file
    Create(Create),
    /// List the backups that were taken
    List(ListArguments),
    /// Check a backup, without any server or database
    Verify(Verify),
    /// Restore a backup into a scratch database, open what is in it, and throw it away
    Drill(DrillArguments),
}

/// What to try.
#[derive(Args, Debug)]
pub struct DrillArguments {
    /// The backup
    pub backup: PathBuf,
    /// age identity file that opens the backup and the root key in it; may be repeated
    #[arg(long = "identity", value_name = "FILE", required = true)]
    pub identities: Vec<PathBuf>,
    /// The deployment's public audit key, if it is at hand: the key line itself, or a file with it
    #[arg(long, value_name = "KEY|FILE")]
    pub audit_key: Option<String>,
    /// How many values to open; every wrapped key is opened anyway
    #[arg(long, value_name = "N", default_value_t = 1000)]
    pub sample: u64,
    /// Chooses the sample; another one each time when left out
    #[arg(long, value_name = "NUMBER")]
    pub seed: Option<u64>,
    /// Where to make the scratch directory
    #[arg(long, value_name = "DIR")]
    pub scratch: Option<PathBuf>,
}

/// What to take.
#[derive(Args, Debug)]
pub struct Create {
    /// Where to write it
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
    /// Who can open it (age1…); may be repeated; the server's settings when left out
    #[arg(long = "recipient", value_name = "RECIPIENT")]
    recipients: Vec<String>,
}

/// What to check.
#[derive(Args, Debug)]
pub struct Verify {
    /// The backup
    pub backup: PathBuf,
    /// age identity file that opens it; may be repeated
    #[arg(long = "identity", value_name = "FILE", required = true)]
    pub identities: Vec<PathBuf>,
    /// The deployment's public audit key: the key line itself, or a file with it
    #[arg(long, value_name = "KEY|FILE")]
    pub audit_key: String,
}

const COLUMNS: &[Column] = &[
    at("Id", "/id"),
    at("Taken", "/taken_at"),
    at("Finished", "/finished_at"),
    at("Bytes", "/size"),
    at("Keep until", "/keep_until"),
    at("SHA-256", "/sha256"),
    at("Recipients", "/recipients"),
];

/// Runs one of the commands that ask the server.
///
/// # Errors
/// As [`super::api::Api`], or a file cannot be written.
pub async fn run(command: Command, session: &mut Session) -> Result<(), CliError> {
    match command {
        Command::Create(arguments) => create(arguments, session).await,
        Command::List(ListArguments { limit }) => {
            let backups = session.api.list(&["backups"], &[], limit).await?;
            session.out.list(&backups, COLUMNS)
        }
        // Needs no server: it is run before a connection is made.
        Command::Verify(_) | Command::Drill(_) => Ok(()),
    }
}

/// Writes and adds up.
struct Hashing<'a> {
    out: &'a mut NewFile,
    hash: Context,
}

impl Write for Hashing<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.out.write(bytes)?;
        self.hash.update(&bytes[..written]);
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

async fn create(arguments: Create, session: &mut Session) -> Result<(), CliError> {
    // Only a whole backup gets the name.
    let mut new = NewFile::create(&arguments.out, 0o600)?;
    let mut out = Hashing {
        out: &mut new,
        hash: Context::new(&SHA256),
    };
    let body = match arguments.recipients.is_empty() {
        true => json!({}),
        false => json!({"recipients": arguments.recipients}),
    };
    let api = &session.api;
    let (bytes, location) = api
        .download_made(&["backups"], &body, "application/age", &mut out)
        .await?;
    let sha256 = hex::encode(out.hash.finish());
    let id = location
        .as_deref()
        .and_then(|place| place.rsplit('/').next());
    let id: BackupId = id
        .and_then(|id| id.parse().ok())
        .ok_or_else(|| CliError::local("the answer does not say which backup it is"))?;
    // The server knows the whole file's digest; what was cut off on the way has another.
    let backup = api.get(&["backups", &id.to_string()], &[]).await?;
    if backup["sha256"] != sha256 {
        return Err(CliError::local(format!(
            "what arrived of the backup is not what was sent ({bytes} bytes): nothing was kept, \
             try again"
        )));
    }
    new.finish()?;
    session.out.one(&backup, COLUMNS)
}

/// The identities in several files.
///
/// # Errors
/// A file cannot be used.
pub fn read_identity_files(files: &[PathBuf]) -> Result<Vec<Identity>, CliError> {
    let mut identities = Vec::new();
    for file in files {
        let read = Identity::read_file(file, None)
            .map_err(|error| CliError::local(format!("{}: {error}", file.display())))?;
        identities.extend(read);
    }
    Ok(identities)
}

/// Opens a backup to be read.
///
/// # Errors
/// It cannot be opened.
pub fn open_backup(path: &Path) -> Result<BufReader<File>, CliError> {
    let file = File::open(path)
        .map_err(|error| CliError::local(format!("cannot read {}: {error}", path.display())))?;
    Ok(BufReader::with_capacity(256 * 1024, file))
}

/// Checks a backup, prints what was found, and fails if anything is wrong with it.
///
/// # Errors
/// The backup is not in order, or a file cannot be read.
pub fn verify(arguments: &Verify, format: Format, out: &mut Output) -> Result<(), CliError> {
    let key = read_key(&arguments.audit_key, "--audit-key")?;
    let identities = read_identity_files(&arguments.identities)?;
    let input = open_backup(&arguments.backup)?;
    let report = verify_backup(input, &identities, &[key])
        .map_err(|error| CliError::local(error.to_string()))?;
    show(&report, format, out)?;
    match report.is_ok() {
        true => Ok(()),
        false => Err(CliError::local(
            "an audit log in the backup is not what was signed: see the findings above",
        )),
    }
}

fn show(report: &BackupReport, format: Format, out: &mut Output) -> Result<(), CliError> {
    let value =
        serde_json::to_value(report).map_err(|_| CliError::local("the report cannot be shown"))?;
    if format == Format::Json {
        return out.line(&format!("{value:#}"));
    }
    let manifest = &value["manifest"];
    out.one(
        manifest,
        &[
            at("Backup", "/id"),
            at("Deployment", "/deployment"),
            at("Taken", "/taken_at"),
            at("From", "/database"),
            at("Program", "/program"),
            at("Keep until", "/keep_until"),
        ],
    )?;
    out.line("")?;
    let sections = manifest["sections"].as_array();
    let columns = [
        at("Part", "/name"),
        at("Rows", "/rows"),
        at("SHA-256", "/sha256"),
    ];
    out.table(sections.map_or(&[], Vec::as_slice), &columns)?;
    for log in &report.logs {
        out.line("")?;
        out.line(log.to_string().trim_end())?;
    }
    Ok(())
}

/// A directory for this process alone, which goes when it is dropped.
struct Scratch(PathBuf);

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// Restores a backup into a scratch database, opens what is in it, prints what was found, and fails
/// if anything is off.
///
/// # Errors
/// Something is off, or a file cannot be read or written.
pub fn drill(arguments: &DrillArguments, format: Format, out: &mut Output) -> Result<(), CliError> {
    let local = |error: &dyn std::fmt::Display| CliError::local(error.to_string());
    let identities = read_identity_files(&arguments.identities)?;
    let key = arguments.audit_key.as_deref();
    let key = key.map(|key| read_key(key, "--audit-key")).transpose()?;
    let random = SystemRandom::new();
    let mut bytes = [0; 8];
    random.fill(&mut bytes).map_err(|error| local(&error))?;
    let fresh = u64::from_le_bytes(bytes);
    let parent = arguments.scratch.clone().unwrap_or_else(std::env::temp_dir);
    let scratch = Scratch(parent.join(format!("strongroom-drill-{fresh:016x}")));
    super::data_lock::private_directory(&scratch.0)?;
    let what = Drill {
        identities: &identities,
        audit_key: key.as_ref(),
        sample: arguments.sample,
        seed: arguments.seed.unwrap_or(fresh),
        directory: &scratch.0,
        clock: &SystemClock,
    };
    let open =
        || open_backup(&arguments.backup).map_err(|error| std::io::Error::other(error.to_string()));
    let report = super::node::runtime()?
        .block_on(drill_backup(open, &what))
        .map_err(|error| local(&error))?;
    drop(scratch);
    let value =
        serde_json::to_value(&report).map_err(|_| CliError::local("the report cannot be shown"))?;
    if format == Format::Json {
        out.line(&format!("{value:#}"))?;
    } else {
        let columns = [
            at("Backup", "/backup"),
            at("Deployment", "/deployment"),
            at("Taken", "/taken_at"),
            at("Seed", "/seed"),
            at("Sections", "/sections"),
            at("Rows", "/rows"),
            at("Audit logs", "/logs"),
            at("Service keys opened", "/service_keys"),
            at("Key-encryption keys opened", "/keks"),
            at("Wrapped keys opened", "/wraps"),
            at("Values opened", "/values"),
            at("Values sealed", "/values_sealed"),
            at("Seconds to read", "/seconds/inspect"),
            at("Seconds to verify", "/seconds/verify"),
            at("Seconds to restore", "/seconds/restore"),
            at("Seconds to open", "/seconds/open"),
            at("Findings", "/findings"),
        ];
        out.one(&value, &columns)?;
    }
    match report.is_ok() {
        true => Ok(()),
        false => Err(CliError::local(
            "the backup is not sound: see the findings above",
        )),
    }
}
