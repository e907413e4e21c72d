//! Values on their way into a program.

use std::{
    fs::File,
    io::{Seek, Write},
    os::fd::{AsRawFd, OwnedFd},
};

use rustix::fs::{MemfdFlags, Mode, SealFlags, fchmod, fcntl_add_seals, memfd_create};

use crate::cli::{error::CliError, release::mapping::Resolved};

/// The value of a variable.
///
/// # Errors
/// An environment cannot carry it.
pub fn text<'a>(resolved: &'a Resolved<'_>) -> Result<&'a str, CliError> {
    if resolved.value.contains('\0') {
        return Err(resolved.refuse("holds a NUL, which no environment can carry; use --file"));
    }
    Ok(&resolved.value)
}

/// Files that exist only in memory, for as long as somebody has them open. The program inherits
/// them open and finds each under a path of its own descriptors.
pub struct Files(Vec<(String, OwnedFd)>);

impl Files {
    /// Writes each value into a file that nobody can change any more.
    ///
    /// # Errors
    /// The system said no.
    pub fn make(resolved: &[Resolved<'_>]) -> Result<Self, CliError> {
        let mut files = Vec::new();
        for one in resolved {
            let name = &one.mapping.name;
            let file = file_of(&one.value).map_err(|error| {
                CliError::local(format!("{name}: no file in memory can be made: {error}"))
            })?;
            files.push((name.clone(), file));
        }
        Ok(Self(files))
    }

    /// Each variable with the path that the program reads.
    pub fn paths(&self) -> impl Iterator<Item = (&str, String)> {
        self.0
            .iter()
            .map(|(name, file)| (&**name, format!("/proc/self/fd/{}", file.as_raw_fd())))
    }
}

fn file_of(value: &str) -> std::io::Result<OwnedFd> {
    // Without CLOEXEC: it is for the program.
    let descriptor = memfd_create("strongroom", MemfdFlags::ALLOW_SEALING)?;
    fchmod(&descriptor, Mode::RUSR)?;
    let mut file = File::from(descriptor);
    file.write_all(value.as_bytes())?;
    file.rewind()?;
    let seals = SealFlags::WRITE | SealFlags::GROW | SealFlags::SHRINK | SealFlags::SEAL;
    fcntl_add_seals(&file, seals)?;
    Ok(file.into())
}
