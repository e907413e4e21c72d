//! The lock that keeps two processes from one data directory.

use std::fs::{File, OpenOptions};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use rustix::fs::{FlockOperation, flock};

use super::error::CliError;

/// Held for as long as a process works on a data directory.
#[must_use = "the lock ends when this is dropped"]
pub struct DataLock(#[expect(dead_code, reason = "held, not read")] File);

impl DataLock {
    /// Takes the lock of `directory`.
    ///
    /// # Errors
    /// Another process has it, or the directory cannot be written.
    pub fn take(directory: &Path) -> Result<Self, CliError> {
        let lock = Self::take_for_restore(directory)?;
        // Only now: a restore that is under way holds the lock.
        if directory.join(super::restore::UNFINISHED).exists() {
            return Err(CliError::local(format!(
                "a restore into {} was not finished: run the same `strongroom restore` again",
                directory.display()
            )));
        }
        Ok(lock)
    }

    /// The same for a restore, which may go on where another one was ended.
    ///
    /// # Errors
    /// As [`Self::take`].
    pub fn take_for_restore(directory: &Path) -> Result<Self, CliError> {
        let path = directory.join("lock");
        let file = OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .mode(0o600)
            .open(&path)
            .map_err(|error| CliError::local(format!("cannot open {}: {error}", path.display())))?;
        flock(&file, FlockOperation::NonBlockingLockExclusive).map_err(|_| {
            CliError::local(format!(
                "another process works on {}: stop it first",
                directory.display()
            ))
        })?;
        Ok(Self(file))
    }
}

/// Makes a directory for this process alone.
///
/// # Errors
/// It cannot be made.
pub fn private_directory(path: &Path) -> Result<(), CliError> {
    use std::os::unix::fs::DirBuilderExt;
    std::fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(path)
        .map_err(|error| CliError::local(format!("cannot make {}: {error}", path.display())))
}
