//! One file for each credential, in a directory.
//!
//! All or nothing up to the last step: every file is written and made durable under another name
//! first, and named only when the whole answer has come.

use std::{collections::BTreeSet, os::unix::fs::DirBuilderExt, path::Path};

use crate::{
    cli::{
        error::CliError,
        files::{NewFile, UNFINISHED, failure, sync_directory, unfinished},
        release::document::{Document, Entry, unusable},
        wiping::WipingBuffer,
    },
    model::{CredentialId, Slug},
};

/// Makes a directory that only its owner may look into, if it is not there.
///
/// # Errors
/// The system said no.
pub fn create(directory: &Path) -> Result<(), CliError> {
    std::fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(directory)
        .map_err(|error| failure(directory, &error))
}

/// What was written, and what lies there besides.
pub struct Written {
    /// The files of this release with their content.
    pub files: Vec<(String, WipingBuffer)>,
    /// Files of credentials that this release neither had nor failed to open.
    pub others: Vec<String>,
}

/// Writes a release into `directory`, which nobody else writes into at the same time.
///
/// # Errors
/// A file cannot be written.
pub fn write(directory: &Path, release: &Document) -> Result<Written, CliError> {
    // What an earlier fetch left unfinished, because it was killed, holds secrets too.
    for name in names(directory)?
        .iter()
        .filter(|name| name.starts_with(UNFINISHED))
    {
        let path = directory.join(name);
        std::fs::remove_file(&path).map_err(|error| failure(&path, &error))?;
    }
    let mut contents = Vec::new();
    for entry in &release.entries {
        let mut content = WipingBuffer::with_capacity(16 * 1024);
        serde_json::to_writer(&mut content, &entry.whole.0).map_err(|_| unusable())?;
        content.extend(b"\n");
        contents.push((entry.file_name(), content));
    }
    let mut files = Vec::new();
    for (name, content) in &contents {
        files.push(unfinished(&directory.join(name), content.expose_secret())?);
    }
    files.iter().try_for_each(NewFile::sync)?;
    files.into_iter().try_for_each(NewFile::rename)?;

    let others = forget_old_names(directory, release)?;
    sync_directory(directory)?;
    Ok(Written {
        files: contents,
        others,
    })
}

/// Removes the file of a credential under its client's earlier slug, so that no reader finds two,
/// and returns the names of files that this release says nothing about.
fn forget_old_names(directory: &Path, release: &Document) -> Result<Vec<String>, CliError> {
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

/// The names in a directory.
///
/// # Errors
/// It cannot be read.
pub fn names(directory: &Path) -> Result<Vec<String>, CliError> {
    std::fs::read_dir(directory)
        .and_then(|entries| {
            entries
                .map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned()))
                .collect()
        })
        .map_err(|error| failure(directory, &error))
}
