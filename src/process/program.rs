//! What a program gets that is started from here: what this process was given itself, and its end
//! when this process ends.
//!
//! Beside `memory.rs`, the only file of the project that may contain `unsafe`: what happens in a new
//! process before it becomes another program cannot be said without.
#![allow(unsafe_code)]

use std::{io, os::unix::process::CommandExt as _, process::Command};

use rustix::io::Errno;
use rustix::process::{Resource, Signal};

use super::INHERITED;

/// Prepares `command`: its program gets back the umask and the limit of core files that this
/// process was started with, and SIGTERM when the calling thread ends (prctl(2),
/// `PR_SET_PDEATHSIG`), however it does. The other protections end with the program's start: see
/// [`harden_to_start_programs`](super::harden_to_start_programs).
///
/// To be called by the thread that starts it, which must live as long as the process.
pub fn hand_over(command: &mut Command) {
    let inherited = INHERITED.get().copied();
    let parent = rustix::process::getpid();
    let before = move || -> io::Result<()> {
        if let Some(inherited) = inherited {
            rustix::process::umask(inherited.umask);
            rustix::process::setrlimit(Resource::Core, inherited.core)?;
        }
        rustix::process::set_parent_process_death_signal(Some(Signal::TERM))?;
        // The parent may have ended before it was asked for.
        if rustix::process::getppid() != Some(parent) {
            return Err(Errno::SRCH.into());
        }
        Ok(())
    };
    // SAFETY: between fork and exec only these system calls are made; they take no lock and
    // allocate nothing, and what they need was copied into the closure before.
    unsafe { command.pre_exec(before) };
}
