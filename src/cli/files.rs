//! Files that are there whole or not at all.

use std::{
    fs::{File, OpenOptions},
    io::{self, Write},
    os::unix::fs::{OpenOptionsExt, PermissionsExt},
    path::{Path, PathBuf},
    sync::atomic::{AtomicU32, Ordering},
};

use super::error::CliError;

/// What the names of unfinished files begin with.
pub const UNFINISHED: &str = ".strongroom-unfinished-";

/// A file that gets its name only when it is finished; dropped before that, it is removed.
pub struct NewFile {
    file: File,
    unfinished: PathBuf,
    target: PathBuf,
    renamed: bool,
}

impl NewFile {
    /// Begins a file that shall be called `target`, with exactly the permissions `mode`.
    ///
    /// # Errors
    /// The directory cannot be written.
    pub fn create(target: &Path, mode: u32) -> Result<Self, CliError> {
        static COUNTER: AtomicU32 = AtomicU32::new(0);
        let number = COUNTER.fetch_add(1, Ordering::Relaxed);
        let unfinished =
            directory_of(target).join(format!("{UNFINISHED}{}-{number}", std::process::id()));
        let fail = |error| failure(&unfinished, &error);
        // create_new never follows a link that somebody else has put there.
        let file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(mode)
            .open(&unfinished)
            .map_err(fail)?;
        let new = Self {
            file,
            unfinished: unfinished.clone(),
            target: target.to_owned(),
            renamed: false,
        };
        let permissions = std::fs::Permissions::from_mode(mode);
        new.file.set_permissions(permissions).map_err(fail)?;
        Ok(new)
    }

    /// Makes the content durable; the name comes later.
    ///
    /// # Errors
    /// The disk did not take it.
    pub fn sync(&self) -> Result<(), CliError> {
        self.file
            .sync_all()
            .map_err(|error| failure(&self.unfinished, &error))
    }

    /// Gives it its name, in place of what had it. Call [`Self::sync`] before, and
    /// [`sync_directory`] after.
    ///
    /// # Errors
    /// The directory cannot be written.
    pub fn rename(mut self) -> Result<(), CliError> {
        std::fs::rename(&self.unfinished, &self.target)
            .map_err(|error| failure(&self.target, &error))?;
        self.renamed = true;
        Ok(())
    }

    /// All three steps for a single file.
    ///
    /// # Errors
    /// The disk or directory did not take it.
    pub fn finish(self) -> Result<(), CliError> {
        let directory = directory_of(&self.target).to_owned();
        self.sync()?;
        self.rename()?;
        sync_directory(&directory)
    }
}

impl Write for NewFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.file.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

impl Drop for NewFile {
    fn drop(&mut self) {
        if !self.renamed {
            let _ = std::fs::remove_file(&self.unfinished);
        }
    }
}

/// A finished but unnamed file with this content, for its owner only.
///
/// # Errors
/// The directory or disk did not take it.
pub fn unfinished(target: &Path, content: &[u8]) -> Result<NewFile, CliError> {
    let mut file = NewFile::create(target, 0o600)?;
    file.write_all(content)
        .map_err(|error| failure(target, &error))?;
    Ok(file)
}

/// Removes what processes that are gone left unfinished in a directory: it can hold secrets. What
/// cannot be removed stays.
pub fn remove_leftovers(directory: &Path) {
    for entry in std::fs::read_dir(directory).into_iter().flatten().flatten() {
        let name = entry.file_name();
        let process = name
            .to_str()
            .and_then(|name| name.strip_prefix(UNFINISHED)?.split_once('-'))
            .and_then(|(process, _)| process.parse::<u32>().ok());
        if process.is_some_and(|id| !Path::new("/proc").join(id.to_string()).exists()) {
            let _ = std::fs::remove_file(entry.path());
        }
    }
}

/// Makes names in a directory durable.
///
/// # Errors
/// The disk did not take it.
pub fn sync_directory(directory: &Path) -> Result<(), CliError> {
    File::open(directory)
        .and_then(|directory| directory.sync_all())
        .map_err(|error| failure(directory, &error))
}

/// An error that names the file.
pub fn failure(path: &Path, error: &io::Error) -> CliError {
    CliError::local(format!("cannot write {}: {error}", path.display()))
}

/// The directory that a name stands in.
pub fn directory_of(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    }
}
