//! `fetch`: a worker gets its credentials.
//!
//! Into a directory, a fetch is all or nothing up to the last step: every file is written and
//! made durable under another name first, and named only when the whole answer has come.

use std::{
    collections::BTreeSet,
    fs::File,
    io::Write,
    os::unix::fs::DirBuilderExt,
    path::{Path, PathBuf},
};

use base64::{Engine, engine::general_purpose::STANDARD};
use clap::Args;
use rustix::fs::{FlockOperation, flock};
use serde_json::Value;

use super::{
    Session,
    error::{CliError, printable},
    files::{NewFile, UNFINISHED, failure, sync_directory},
    wiping::{WipingBuffer, WipingJson},
};
use crate::model::{CredentialId, CredentialKind, Slug};

/// The file that keeps the newest checkpoint beside the credentials.
pub const CHECKPOINT_FILE: &str = ".strongroom-checkpoint";

/// What to fetch, and where to.
#[derive(Args, Debug)]
pub struct Arguments {
    /// Only this credential; all of the caller's when left out
    #[arg(long, value_name = "ID", conflicts_with_all = ["client", "kind"])]
    credential: Option<CredentialId>,
    /// A previous version of it
    #[arg(long = "version", value_name = "N", id = "version_number", requires = "credential",
          value_parser = clap::value_parser!(u32).range(1..))]
    version: Option<u32>,
    /// Only of this client (slug or id)
    #[arg(long)]
    client: Option<String>,
    /// Only of this kind: microsoft365, google-workspace or generic
    #[arg(long)]
    kind: Option<CredentialKind>,
    /// Write one file for each credential here, instead of printing
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
}

/// One credential of a release.
struct Entry {
    client: Slug,
    id: CredentialId,
    whole: WipingJson,
}

/// A release that came whole.
struct Release {
    entries: Vec<Entry>,
    /// Ids of the credentials that the server could not open.
    failed: Vec<String>,
}

impl Entry {
    fn from_json(whole: Value) -> Result<Self, CliError> {
        let whole = WipingJson(whole);
        let text = |pointer| whole.0.pointer(pointer).and_then(Value::as_str);
        // The two become a file name, so they must be what they claim to be.
        let client = text("/client/slug").and_then(|slug| slug.parse().ok());
        let id = text("/id").and_then(|id| id.parse().ok());
        match (client, id) {
            (Some(client), Some(id)) if whole.0["fields"].is_object() => {
                Ok(Self { client, id, whole })
            }
            _ => Err(unusable()),
        }
    }

    fn file_name(&self) -> String {
        format!("{}.{}.json", self.client, self.id)
    }
}

fn unusable() -> CliError {
    CliError::local("the answer is not a whole release; nothing was written")
}

/// Parses an answer. Only a document that ends properly and has both its lists is a release.
fn parse(bytes: &WipingBuffer, single: bool) -> Result<Release, CliError> {
    // serde_json's message could quote the answer.
    let mut document =
        WipingJson(serde_json::from_slice(bytes.expose_secret()).map_err(|_| unusable())?);
    if single {
        let entry = Entry::from_json(document.0.take())?;
        return Ok(Release {
            entries: vec![entry],
            failed: Vec::new(),
        });
    }
    let (Some(Value::Array(credentials)), Some(Value::Array(failed))) = (
        document.0.get_mut("credentials").map(Value::take),
        document.0.get_mut("failed").map(Value::take),
    ) else {
        return Err(unusable());
    };
    let id_of_failed = |entry: &Value| {
        [entry, &entry["id"], &entry["credential"]]
            .into_iter()
            .find_map(Value::as_str)
            .map_or_else(|| "(no id)".to_owned(), printable)
    };
    Ok(Release {
        failed: failed.iter().map(id_of_failed).collect(),
        entries: credentials
            .into_iter()
            .map(Entry::from_json)
            .collect::<Result<_, _>>()?,
    })
}

/// Fetches.
///
/// # Errors
/// As [`super::api::Api`]; the answer is not whole; a file cannot be written; or some credentials
/// could not be opened by the server, after the others were written.
pub async fn run(arguments: Arguments, session: &mut Session) -> Result<(), CliError> {
    let id = arguments.credential.map(|id| id.to_string());
    let path: Vec<&str> = std::iter::once("release").chain(id.as_deref()).collect();
    let query = [
        (
            "version",
            arguments.version.map(|number| number.to_string()),
        ),
        ("client", arguments.client.clone()),
        ("kind", arguments.kind.map(|kind| kind.to_string())),
    ];
    let (bytes, checkpoint) = session.api.release(&path, &query).await?;
    let release = parse(&bytes, id.is_some())?;
    match &arguments.dir {
        None => {
            session.out.bytes(bytes.expose_secret())?;
            if !bytes.expose_secret().ends_with(b"\n") {
                session.out.bytes(b"\n")?;
            }
        }
        Some(directory) => {
            let written = write_directory(directory, &release, checkpoint.as_deref())?;
            eprintln!(
                "wrote {} to {}",
                count(release.entries.len()),
                directory.display()
            );
            let everything = query.iter().all(|(_, value)| value.is_none()) && id.is_none();
            if everything {
                for name in written.others {
                    eprintln!(
                        "note: {name} is from an earlier fetch and was not released now; \
                         delete it when nothing uses it"
                    );
                }
            }
        }
    }
    if release.failed.is_empty() {
        return Ok(());
    }
    let kept = if arguments.dir.is_some() {
        ", their files were left as they were"
    } else {
        ""
    };
    Err(CliError::local(format!(
        "the server could not open {}: {}{kept}; tell the operators",
        count(release.failed.len()),
        release.failed.join(", ")
    )))
}

fn count(number: usize) -> String {
    if number == 1 {
        "1 credential".to_owned()
    } else {
        format!("{number} credentials")
    }
}

/// What a fetch found in its directory.
struct Written {
    /// Files of credentials that this release neither had nor failed to open.
    others: Vec<String>,
}

/// Writes a release into `directory`, which is made if it does not exist.
fn write_directory(
    directory: &Path,
    release: &Release,
    checkpoint: Option<&str>,
) -> Result<Written, CliError> {
    let checkpoint = checkpoint
        .map(|text| STANDARD.decode(text))
        .transpose()
        .map_err(|_| {
            CliError::local("the checkpoint that came is not base64; nothing was written")
        })?;
    std::fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(directory)
        .map_err(|error| failure(directory, &error))?;
    // One fetch at a time, or an older answer could overwrite a newer one.
    let lock = File::open(directory).map_err(|error| failure(directory, &error))?;
    flock(&lock, FlockOperation::LockExclusive)
        .map_err(|error| failure(directory, &error.into()))?;
    // What an earlier fetch left unfinished, because it was killed, holds secrets too.
    for name in names(directory)?
        .iter()
        .filter(|name| name.starts_with(UNFINISHED))
    {
        let path = directory.join(name);
        std::fs::remove_file(&path).map_err(|error| failure(&path, &error))?;
    }

    let mut files = Vec::new();
    for entry in &release.entries {
        let mut content = WipingBuffer::with_capacity(16 * 1024);
        serde_json::to_writer(&mut content, &entry.whole.0).map_err(|_| unusable())?;
        content.extend(b"\n");
        files.push(unfinished(
            &directory.join(entry.file_name()),
            content.expose_secret(),
        )?);
    }
    if let Some(checkpoint) = checkpoint {
        files.push(unfinished(&directory.join(CHECKPOINT_FILE), &checkpoint)?);
    }
    files.iter().try_for_each(NewFile::sync)?;
    files.into_iter().try_for_each(NewFile::rename)?;

    let others = forget_old_names(directory, release)?;
    sync_directory(directory)?;
    Ok(Written { others })
}

fn unfinished(target: &Path, content: &[u8]) -> Result<NewFile, CliError> {
    let mut file = NewFile::create(target, 0o600)?;
    file.write_all(content)
        .map_err(|error| failure(target, &error))?;
    Ok(file)
}

/// Removes the file of a credential under its client's earlier slug, so that no reader finds two,
/// and returns the names of files that this release says nothing about.
fn forget_old_names(directory: &Path, release: &Release) -> Result<Vec<String>, CliError> {
    let current: BTreeSet<String> = release.entries.iter().map(Entry::file_name).collect();
    let mut others = Vec::new();
    for name in names(directory)? {
        let Some(id) = credential_of(&name).filter(|_| !current.contains(&name)) else {
            continue;
        };
        if release.entries.iter().any(|entry| entry.id == id) {
            let path = directory.join(&name);
            std::fs::remove_file(&path).map_err(|error| failure(&path, &error))?;
        } else if !release.failed.contains(&id.to_string()) {
            others.push(name);
        }
    }
    others.sort();
    Ok(others)
}

/// The credential of a file that a fetch has written; `None` for every other name.
fn credential_of(name: &str) -> Option<CredentialId> {
    let (slug, id) = name.strip_suffix(".json")?.split_once('.')?;
    slug.parse::<Slug>().ok()?;
    id.parse().ok()
}

fn names(directory: &Path) -> Result<Vec<String>, CliError> {
    std::fs::read_dir(directory)
        .and_then(|entries| {
            entries
                .map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned()))
                .collect()
        })
        .map_err(|error| failure(directory, &error))
}

#[cfg(test)]
mod tests;
