//! What the process asks of the kernel before it touches a secret.
//!
//! Four things: no core file and no tracing by others of the same user, no core file by limit
//! either, no new privileges through a set-user-id program, and new files readable by their owner
//! only. See prctl(2), setrlimit(2) and umask(2).

mod program;

use std::sync::OnceLock;

use rustix::fs::Mode;
use rustix::process::{DumpableBehavior, Resource, Rlimit};

pub use self::program::hand_over;

/// The file mode bits that no new file of this process gets: everything for group and others.
const UMASK: u32 = 0o077;

/// The kernel did not grant a protection, or it cannot be read back.
#[derive(Debug, thiserror::Error)]
#[error("cannot protect the process: {step}")]
pub struct HardeningError {
    step: &'static str,
    source: Option<std::io::Error>,
}

impl HardeningError {
    fn caused(step: &'static str) -> impl FnOnce(rustix::io::Errno) -> Self {
        move |errno| Self {
            step,
            source: Some(errno.into()),
        }
    }
}

/// The protections as the kernel reports them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Hardening {
    /// The process may be traced, and its memory read, by other processes of the same user.
    pub dumpable: bool,
    /// A core file may be written.
    pub core_files: bool,
    /// A set-user-id program started from here would gain privileges.
    pub new_privileges: bool,
    /// The file mode bits that new files do not get.
    pub umask: u32,
}

impl Hardening {
    /// Whether every protection of [`harden`] holds.
    pub fn is_complete(self) -> bool {
        !self.dumpable && !self.core_files && !self.new_privileges && self.umask & UMASK == UMASK
    }
}

/// What this process was started with, before anything was changed.
#[derive(Clone, Copy, Debug)]
struct Inherited {
    umask: Mode,
    core: Rlimit,
}

static INHERITED: OnceLock<Inherited> = OnceLock::new();

/// Asks for what belongs to this process alone, and ends with it: no tracing, no core files, and
/// new files for their owner only. A program that is started with [`hand_over`] gets back what was
/// there before, and may gain privileges as it always could (sudo).
///
/// To be called first, as [`harden`].
///
/// # Errors
/// The kernel refused one, or reports afterwards that it does not hold.
pub fn harden_to_start_programs() -> Result<(), HardeningError> {
    rustix::process::set_dumpable_behavior(DumpableBehavior::NotDumpable)
        .map_err(HardeningError::caused("PR_SET_DUMPABLE was refused"))?;
    let core = rustix::process::getrlimit(Resource::Core);
    // The upper limit stays, or it could not be given back.
    let nothing = Rlimit {
        current: Some(0),
        maximum: core.maximum,
    };
    rustix::process::setrlimit(Resource::Core, nothing)
        .map_err(HardeningError::caused("RLIMIT_CORE was refused"))?;
    let umask = rustix::process::umask(Mode::from_raw_mode(UMASK));
    let _ = INHERITED.set(Inherited { umask, core });
    let now = check()?;
    let no_core_now = rustix::process::getrlimit(Resource::Core).current == Some(0);
    if !now.dumpable && no_core_now && now.umask & UMASK == UMASK {
        Ok(())
    } else {
        Err(HardeningError {
            step: "a protection that was granted does not hold",
            source: None,
        })
    }
}

/// Asks for every protection and reads them back.
///
/// To be called first, while the process has one thread: "no new privileges" belongs to the calling
/// thread and to those it starts later.
///
/// A program that is started from here inherits all but the first, which the kernel resets when it
/// executes something else.
///
/// # Errors
/// The kernel refused one, or reports afterwards that it does not hold.
pub fn harden() -> Result<(), HardeningError> {
    rustix::process::set_dumpable_behavior(DumpableBehavior::NotDumpable)
        .map_err(HardeningError::caused("PR_SET_DUMPABLE was refused"))?;
    let nothing = Rlimit {
        current: Some(0),
        maximum: Some(0),
    };
    rustix::process::setrlimit(Resource::Core, nothing)
        .map_err(HardeningError::caused("RLIMIT_CORE was refused"))?;
    rustix::thread::set_no_new_privs(true)
        .map_err(HardeningError::caused("PR_SET_NO_NEW_PRIVS was refused"))?;
    rustix::process::umask(Mode::from_raw_mode(UMASK));

    if check()?.is_complete() {
        Ok(())
    } else {
        Err(HardeningError {
            step: "a protection that was granted does not hold",
            source: None,
        })
    }
}

/// Reads the protections back from the kernel; changes nothing.
///
/// # Errors
/// The kernel does not answer, or `/proc` is not mounted.
pub fn check() -> Result<Hardening, HardeningError> {
    let dumpable = rustix::process::dumpable_behavior()
        .map_err(HardeningError::caused("PR_GET_DUMPABLE was refused"))?;
    let core = rustix::process::getrlimit(Resource::Core);
    let no_new_privileges = rustix::thread::no_new_privs()
        .map_err(HardeningError::caused("PR_GET_NO_NEW_PRIVS was refused"))?;
    Ok(Hardening {
        dumpable: dumpable != DumpableBehavior::NotDumpable,
        core_files: core.current != Some(0) || core.maximum != Some(0),
        new_privileges: !no_new_privileges,
        umask: read_umask()?,
    })
}

/// The umask from proc(5). The system call can only set it and say what it was, and another thread
/// could create a file in between.
fn read_umask() -> Result<u32, HardeningError> {
    let status = std::fs::read_to_string("/proc/self/status").map_err(|source| HardeningError {
        step: "/proc/self/status cannot be read",
        source: Some(source),
    })?;
    status
        .lines()
        .find_map(|line| line.strip_prefix("Umask:"))
        .and_then(|octal| u32::from_str_radix(octal.trim(), 8).ok())
        .ok_or(HardeningError {
            step: "/proc/self/status has no umask",
            source: None,
        })
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    /// Hardening cannot be undone, so it happens in a process of its own: this test runs the next
    /// one, alone.
    #[test]
    fn a_hardened_process_reads_back_as_hardened() {
        let output = std::process::Command::new(std::env::current_exe().unwrap())
            .args([
                "--exact",
                "process::tests::harden_this_process",
                "--ignored",
            ])
            .args(["--test-threads", "1"])
            .output()
            .unwrap();
        let text = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success(), "{text}");
        assert!(text.contains("1 passed"), "{text}");
    }

    #[test]
    #[ignore = "changes its whole process; the test above runs it in a new one"]
    fn harden_this_process() {
        let before = check().unwrap();
        assert!(before.dumpable);
        assert!(!before.is_complete());

        harden().unwrap();

        let expected = Hardening {
            dumpable: false,
            core_files: false,
            new_privileges: false,
            umask: 0o077,
        };
        assert_eq!(check().unwrap(), expected);
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("new");
        std::fs::write(&path, b"").unwrap();
        assert_eq!(
            std::fs::metadata(&path).unwrap().permissions().mode() & 0o777,
            0o600
        );
        harden().unwrap();
    }

    #[test]
    fn one_missing_protection_is_enough_to_be_incomplete() {
        let all = Hardening {
            dumpable: false,
            core_files: false,
            new_privileges: false,
            umask: 0o077,
        };
        assert!(all.is_complete());
        assert!(
            Hardening {
                umask: 0o177,
                ..all
            }
            .is_complete()
        );
        for missing in [
            Hardening {
                dumpable: true,
                ..all
            },
            Hardening {
                core_files: true,
                ..all
            },
            Hardening {
                new_privileges: true,
                ..all
            },
            Hardening {
                umask: 0o022,
                ..all
            },
        ] {
            assert!(!missing.is_complete(), "{missing:?}");
        }
    }
}
