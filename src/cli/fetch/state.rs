//! What the last complete fetch into a place left there, so that the next one can ask whether
//! anything is new.

use std::{
    collections::BTreeMap,
    io::Write,
    path::{Path, PathBuf},
};

use ring::digest::{SHA256, digest};
use serde::{Deserialize, Serialize};

use crate::cli::{error::CliError, files::NewFile};

/// What the name of the file begins with, beside what was fetched.
pub const STATE_FILE: &str = ".strongroom-fetch";

/// What was fetched, and how it was written.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub struct What {
    /// The server.
    pub server: String,
    /// What was asked for.
    pub query: String,
    /// Digest of the form in which it is written.
    pub form: String,
}

/// The file.
#[derive(Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct State {
    version: u32,
    what: What,
    etag: String,
    /// SHA-256 of each file that was written, by its path.
    files: BTreeMap<PathBuf, String>,
}

/// SHA-256 in hexadecimal.
pub fn hash(bytes: &[u8]) -> String {
    hex::encode(digest(&SHA256, bytes))
}

/// The ETag of what lies there, if it is what the last fetch wrote, to the byte. Anything odd only
/// means that everything is fetched anew.
pub fn etag_of(path: &Path, what: &What) -> Option<String> {
    let state: State = serde_json::from_slice(&std::fs::read(path).ok()?).ok()?;
    let is_same = |(path, expected): (&PathBuf, &String)| {
        let is_file = std::fs::symlink_metadata(path).is_ok_and(|it| it.is_file());
        let content = std::fs::read(path).map(zeroize::Zeroizing::new);
        is_file && content.is_ok_and(|content| hash(&content) == *expected)
    };
    let untouched = state.version == 1 && state.what == *what && state.files.iter().all(is_same);
    untouched.then_some(state.etag)
}

/// Remembers a complete fetch.
///
/// # Errors
/// The disk or directory did not take it.
pub fn remember(
    path: &Path,
    what: What,
    etag: &str,
    files: BTreeMap<PathBuf, String>,
) -> Result<(), CliError> {
    let state = State {
        version: 1,
        what,
        etag: etag.to_owned(),
        files,
    };
    let mut file = NewFile::create(path, 0o600)?;
    serde_json::to_writer_pretty(&mut file, &state)
        .map_err(|error| CliError::local(format!("cannot write: {error}")))?;
    let _ = writeln!(file);
    file.finish()
}
