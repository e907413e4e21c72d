//! One fetch at a time into one place, or an older answer could overwrite a newer one, and an older
//! checkpoint look like a log that was cut.

use std::{collections::BTreeMap, fs::File, os::unix::fs::MetadataExt, path::Path};

use rustix::fs::{FlockOperation, flock};

use crate::cli::{error::CliError, files::failure};

/// Directories that nobody else works in for as long as this lives.
pub struct Locks {
    _directories: Vec<File>,
}

impl Locks {
    /// Waits for all of them. Always in the same order, so that two that want the same ones do not
    /// wait for each other.
    ///
    /// # Errors
    /// A directory is not there or cannot be read.
    pub fn take<'a>(directories: impl IntoIterator<Item = &'a Path>) -> Result<Self, CliError> {
        let mut open = BTreeMap::new();
        for path in directories {
            let fail = |error: std::io::Error| failure(path, &error);
            let directory = File::open(path).map_err(fail)?;
            let metadata = directory.metadata().map_err(fail)?;
            // One directory under two names is still one.
            open.insert((metadata.dev(), metadata.ino()), (directory, path));
        }
        let mut held = Vec::new();
        for (directory, path) in open.into_values() {
            flock(&directory, FlockOperation::LockExclusive)
                .map_err(|error| failure(path, &error.into()))?;
            held.push(directory);
        }
        Ok(Self { _directories: held })
    }
}
