//! `restore`: a backup into an empty database, with the service stopped.
//!
//! The database is written in one transaction, so whatever ends the process, it holds the whole
//! deployment or none. A file says that a restore was begun; while it is there, nothing else works
//! on the data directory, and the same command goes on where it was.

use std::fs;
use std::io::{BufReader, Write};
use std::path::{Path, PathBuf};

use clap::Args;
use serde_json::json;

use super::attendant::plugins;
use super::audit_verify::read_key;
use super::backup::{open_backup, read_identity_files};
use super::data_lock::{DataLock, private_directory};
use super::files::{NewFile, sync_directory};
use super::node::runtime;
use super::serve::{open_database, read_identities};
use super::table::Output;
use super::{Environment, error::CliError};
use crate::audit::export::{Line, Reader};
use crate::audit::{Checkpoint, ParsedRecord, Purpose, VerifierKey, statement, verify};
use crate::clock::{Clock as _, SystemClock};
use crate::config::{Config, Database as DatabaseConfig};
use crate::crypto::{RootFileForm, read_root_file, replace_root_file};
use crate::model::Timestamp;
use crate::store::Database;
use crate::vault::{
    ErasureCertificate, InspectedBackup, Restore, RestoreError, Restored, Since, inspect_backup,
    restore_backup, restored_before,
};

/// What to restore, and what is known besides.
#[derive(Args, Debug)]
pub struct Arguments {
    /// The backup
    pub backup: PathBuf,
    /// The settings (TOML) of the node to be
    #[arg(long, value_name = "FILE")]
    pub config: PathBuf,
    /// age identity file that opens the backup, such as a recovery identity; may be repeated
    #[arg(long = "backup-identity", value_name = "FILE", required = true)]
    pub identities: Vec<PathBuf>,
    /// The deployment's public audit key, if it is at hand: the key line itself, or a file with it
    #[arg(long, value_name = "KEY|FILE")]
    pub audit_key: Option<String>,
    /// Restore although records are known that are newer than the backup
    #[arg(long)]
    pub accept_older: bool,
    /// A checkpoint that was kept elsewhere; may be repeated
    #[arg(long = "checkpoint", value_name = "FILE")]
    pub checkpoints: Vec<PathBuf>,
    /// A newer export of an audit log that survived: erasures in it are done again, and revocations
    /// are listed for an operator to confirm; may be repeated
    #[arg(long = "log", value_name = "FILE")]
    pub logs: Vec<PathBuf>,
    /// A certificate of an erasure, which is done again; may be repeated
    #[arg(long = "erasures", value_name = "FILE")]
    pub erasures: Vec<PathBuf>,
}

/// Restores.
///
/// # Errors
/// The backup cannot be used, something is there already, or a step failed.
pub fn run(
    arguments: &Arguments,
    environment: &Environment,
    out: &mut Output,
) -> Result<(), CliError> {
    let pairs = environment
        .iter()
        .map(|(name, value)| (name.clone(), value.clone()));
    let config = Config::load(Some(&arguments.config), pairs).map_err(|error| local(&error))?;
    let plugins = plugins(&config.plugins, environment);
    let machine = read_identities(&config.root, &plugins, environment)?;
    let identities = read_identity_files(&arguments.identities)?;
    // Everything is looked at before anything is written.
    let inspected = inspect_backup(open_backup(&arguments.backup)?, &identities, &machine)
        .map_err(|error| local(&error))?;
    if inspected.manifest.deployment != config.deployment {
        return Err(CliError::local(format!(
            "the backup is of the deployment {}, and the settings name another",
            inspected.manifest.deployment
        )));
    }
    if let Some(given) = &arguments.audit_key
        && read_key(given, "--audit-key")? != inspected.audit_key
    {
        return Err(CliError::local(
            "the backup was signed with another key than --audit-key",
        ));
    }
    let since = read_since(arguments, &inspected, &config.data)?;
    let lost = inspected.lost(&since.checkpoints);
    if !lost.is_empty() && !arguments.accept_older {
        let lost: Vec<String> = lost
            .iter()
            .map(|(log, count)| format!("{count} of {log}"))
            .collect();
        return Err(CliError::local(format!(
            "the backup is older than what is known: {} audit records came after it. Look for a \
             newer backup; if there is none, say --accept-older, and give surviving logs with --log",
            lost.join(", ")
        )));
    }
    let how = Restore {
        identities: &identities,
        machine: &machine,
        plugins: &plugins,
        lost: lost.iter().map(|(_, count)| count).sum(),
        since: &since,
        now: SystemClock.now(),
    };
    let restored = runtime()?.block_on(restore(arguments, &config, &inspected, &how))?;
    report(&inspected, &restored, &config, out)
}

fn local(error: &dyn std::fmt::Display) -> CliError {
    CliError::local(error.to_string())
}

fn read(path: &Path) -> Result<String, CliError> {
    fs::read_to_string(path)
        .map_err(|error| CliError::local(format!("cannot read {}: {error}", path.display())))
}

/// What checkpoints, logs and certificates that survived say.
fn read_since(
    arguments: &Arguments,
    inspected: &InspectedBackup,
    data: &Path,
) -> Result<Since, CliError> {
    let keys = std::slice::from_ref(&inspected.audit_key);
    let mut since = Since::default();
    for path in &arguments.checkpoints {
        let known = Checkpoint::open(&read(path)?, keys)
            .map_err(|error| CliError::local(format!("{}: {error}", path.display())))?;
        since.checkpoints.push(known);
    }
    for path in kept_checkpoints(data)? {
        // What lies in an old data directory and is of another deployment says nothing here.
        since
            .checkpoints
            .extend(Checkpoint::open(&read(&path)?, keys).ok());
    }
    for path in &arguments.logs {
        read_log(path, inspected, keys, &mut since)?;
    }
    for path in &arguments.erasures {
        let note = read(path)?;
        let json = statement::open(&note, Purpose::ErasureCertificate, keys)
            .map_err(|error| CliError::local(format!("{}: {error}", path.display())))?;
        let certificate: ErasureCertificate = serde_json::from_str(json)
            .map_err(|_| CliError::local(format!("{}: not a certificate", path.display())))?;
        since.erased.insert(certificate.client, note);
    }
    Ok(since)
}

/// The checkpoint files in a data directory that is left over.
fn kept_checkpoints(data: &Path) -> Result<Vec<PathBuf>, CliError> {
    let failed =
        |error: std::io::Error| CliError::local(format!("cannot read {}: {error}", data.display()));
    let entries = match fs::read_dir(data) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(failed(error)),
    };
    let mut paths = Vec::new();
    for entry in entries {
        paths.push(entry.map_err(failed)?.path());
    }
    paths.retain(|path| {
        let name = path.file_name().and_then(|name| name.to_str());
        name.and_then(|name| name.strip_prefix("checkpoint."))
            .is_some_and(|node| node.parse::<crate::model::Slug>().is_ok())
    });
    paths.sort();
    Ok(paths)
}

/// Reads what a surviving log says happened after the backup.
fn read_log(
    path: &Path,
    inspected: &InspectedBackup,
    keys: &[VerifierKey],
    since: &mut Since,
) -> Result<(), CliError> {
    let failed =
        |what: &dyn std::fmt::Display| CliError::local(format!("{}: {what}", path.display()));
    let open = || {
        fs::File::open(path)
            .map(BufReader::new)
            .map_err(|error| failed(&error))
    };
    let mut reader = Reader::new(open()?);
    let first = reader.next_line().map_err(|error| failed(&error))?;
    let Some(Ok(Line::Header { origin, .. })) = first else {
        return Err(failed(&"not an audit export"));
    };
    let head = inspected
        .heads
        .iter()
        .find(|(head, _)| head.origin == origin);
    let report = verify(open()?, keys, &[]).map_err(|error| failed(&error))?;
    if !report.is_ok() {
        return Err(failed(&format!(
            "the log is not what was signed:\n{report}"
        )));
    }
    let from = head.map_or(0, |(_, size)| *size);
    let epoch = i64::try_from(origin.epoch).map_err(|error| failed(&error))?;
    while let Some(line) = reader.next_line().map_err(|error| failed(&error))? {
        match line {
            Ok(Line::Record(stored)) if stored.seq >= from => {
                if let Ok(record) = ParsedRecord::parse(&stored.record) {
                    since.record(origin.node.as_str(), epoch, stored.seq, &record);
                }
            }
            Ok(Line::Checkpoint(note)) => {
                since.checkpoints.extend(Checkpoint::open(&note, keys).ok());
            }
            _ => {}
        }
    }
    Ok(())
}

/// The file that says that a restore was begun.
pub const UNFINISHED: &str = "restore-unfinished";

async fn restore(
    arguments: &Arguments,
    config: &Config,
    inspected: &InspectedBackup,
    how: &Restore<'_>,
) -> Result<Restored, CliError> {
    let keys = config.data.join("keys");
    private_directory(&keys)?;
    // Before a deployment lies where the service would refuse to start.
    config.check_production().map_err(|error| local(&error))?;
    let _lock = DataLock::take_for_restore(&config.data)?;
    let marker = config.data.join(UNFINISHED);
    let digest = hex::encode(inspected.digest);
    let begun = fs::read_to_string(&marker).ok();
    if begun.as_ref().is_some_and(|begun| begun.trim() != digest) {
        return Err(CliError::local(format!(
            "a restore of another backup into {} was not finished: restore that one, or empty the \
             data directory and the database",
            config.data.display()
        )));
    }
    if begun.is_none() {
        if let DatabaseConfig::Sqlite(path) = &config.database
            && path.exists()
        {
            return Err(CliError::local(format!(
                "{} exists: a backup is only restored where there is no database; move it away",
                path.display()
            )));
        }
        let mut file = NewFile::create(&marker, 0o600)?;
        writeln!(file, "{digest}").map_err(|error| local(&error))?;
        file.finish()?;
    }
    let database = open_database(&config.database, true).await?;
    let written = restore_backup(&database, open_backup(&arguments.backup)?, inspected, how).await;
    let before = match (&written, &begun) {
        (Err(RestoreError::NotEmpty), Some(_)) => restored_before(&database, inspected, how.since)
            .await
            .map_err(|error| local(&error))?,
        _ => None,
    };
    let restored = match (written, before) {
        (Ok(restored), _) | (_, Some(restored)) => restored,
        (Err(error), None) => {
            database.close().await;
            // Whose ever that is, nothing of it was written here.
            if matches!(error, RestoreError::NotEmpty) {
                let _ = fs::remove_file(&marker);
            }
            return Err(local(&error));
        }
    };
    finish(&database, &keys, inspected).await?;
    database.close().await;
    move_checkpoints_away(&config.data, how.now)?;
    fs::remove_file(&marker).map_err(|error| local(&error))?;
    sync_directory(&config.data)?;
    Ok(restored)
}

/// Writes the files of the root key, as the row is encrypted now.
async fn finish(
    database: &Database,
    keys: &Path,
    inspected: &InspectedBackup,
) -> Result<(), CliError> {
    let mut tx = database.read().await.map_err(|error| local(&error))?;
    let rows = tx.root_keys().await.map_err(|error| local(&error))?;
    drop(tx);
    let row = rows.into_iter().next();
    let row = row.ok_or_else(|| CliError::local("the root key's row is missing"))?;
    let generation = u32::try_from(row.generation).unwrap_or(0);
    for form in [RootFileForm::Recipients, RootFileForm::Passphrase] {
        let name = crate::crypto::root_file_name(generation, form);
        let in_backup = inspected.files.iter().find(|(file, _)| *file == name);
        let Some((_, content)) = in_backup else {
            continue;
        };
        let content = match form {
            // The row may have been encrypted to this machine as well.
            RootFileForm::Recipients => &row.wrapped,
            RootFileForm::Passphrase => content,
        };
        let there = read_root_file(keys, generation, form);
        if !there.is_ok_and(|there| there == *content) {
            replace_root_file(keys, generation, form, content).map_err(|error| local(&error))?;
        }
    }
    Ok(())
}

/// Checkpoints of the logs from before the restore are kept under another name.
fn move_checkpoints_away(data: &Path, now: Timestamp) -> Result<(), CliError> {
    for path in kept_checkpoints(data)? {
        let mut name = path.clone().into_os_string();
        name.push(format!(".before-{}", now.secs()));
        fs::rename(&path, &name).map_err(|error| local(&error))?;
    }
    Ok(())
}

fn report(
    inspected: &InspectedBackup,
    restored: &Restored,
    config: &Config,
    out: &mut Output,
) -> Result<(), CliError> {
    let manifest = &inspected.manifest;
    let value = json!({
        "deployment": manifest.deployment,
        "backup": manifest.id,
        "taken_at": manifest.taken_at,
        "rows": restored.rows,
        "erased_again": restored.erased,
        "machine_added": restored.machine_added,
        "revocations_to_confirm": restored.waiting,
        "audit_key": inspected.audit_key.to_string(),
    });
    let added = match restored.machine_added {
        true => "This machine's identity was given access to the root key.\n",
        false => "",
    };
    let sentence = format!(
        "Restored the deployment {} as it was at {}. Nothing is released yet.\n{added}\
         Revocations since the backup to be confirmed: {}\n\n\
         Next:\n  strongroom serve --config …      with the settings in use, data in {}\n  \
         strongroom deployment show       look at what was revoked since\n  \
         strongroom deployment thaw --confirm {}",
        manifest.deployment,
        manifest.taken_at,
        restored.waiting,
        config.data.display(),
        manifest.deployment,
    );
    out.done(&value, &sentence)
}
