//! The program that was started: signals go in, its exit code comes out.

use std::{
    future::poll_fn,
    io,
    os::unix::process::ExitStatusExt,
    process::{Command, ExitStatus},
    task::Poll,
};

use rustix::process::{Pid, Signal, getpid, kill_process};
use tokio::signal::unix::{Signal as Stream, SignalKind, signal};

use crate::{cli::error::CliError, process::hand_over};

/// Exit code when the program is there but cannot be run, as in a shell (POSIX, 2.8.2).
const CANNOT_RUN: u8 = 126;
/// Exit code when the program is not there.
const NOT_FOUND: u8 = 127;

/// What is passed on.
const PASSED_ON: [Signal; 9] = [
    Signal::TERM,
    Signal::INT,
    Signal::HUP,
    Signal::QUIT,
    Signal::USR1,
    Signal::USR2,
    Signal::WINCH,
    Signal::CONT,
    Signal::TSTP,
];
/// What a terminal sends to every process in its foreground, the program included.
const FROM_TERMINALS: [Signal; 4] = [Signal::INT, Signal::QUIT, Signal::WINCH, Signal::TSTP];

/// A running program.
pub struct Child {
    inner: std::process::Child,
    ended: Stream,
    signals: Vec<(Signal, Stream)>,
}

fn listen(signal_number: Signal) -> io::Result<Stream> {
    signal(SignalKind::from_raw(signal_number.as_raw()))
}

/// The signals that this process ignores, one bit each (proc(5), `SigIgn`).
fn ignored() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok())
        .unwrap_or(0)
}

impl Child {
    /// Starts the program. The command is dropped, and its environment with it.
    ///
    /// # Errors
    /// The system said no.
    pub fn spawn(mut command: Command) -> io::Result<Self> {
        let ended = listen(Signal::CHILD)?;
        // Before the start, so that none is lost. One that is ignored, as under nohup, stays ignored
        // here, because a program inherits that and nothing else.
        let ignored = ignored();
        let signals = PASSED_ON
            .into_iter()
            .filter(|number| ignored >> (number.as_raw() - 1) & 1 == 0)
            .map(|number| Ok((number, listen(number)?)))
            .collect::<io::Result<_>>()?;
        hand_over(&mut command);
        let inner = command.spawn()?;
        drop(command);
        Ok(Self {
            inner,
            ended,
            signals,
        })
    }

    /// Waits for its end and passes signals on in the meantime. Returns the exit code, 128 and the
    /// number for a signal.
    ///
    /// # Errors
    /// The system does not know the program any more.
    pub async fn wait(&mut self) -> Result<u8, CliError> {
        loop {
            let status = self.inner.try_wait().map_err(|error| {
                CliError::local(format!("cannot wait for the program: {error}"))
            })?;
            if let Some(status) = status {
                return Ok(code_of(status));
            }
            let Some(number) = self.next().await else {
                continue;
            };
            let to_all = FROM_TERMINALS.contains(&number) && is_in_foreground();
            if !to_all {
                // It was not waited for yet, so that the number is still its own.
                let _ = kill_process(Pid::from_child(&self.inner), number);
            }
            if number == Signal::TSTP {
                let _ = kill_process(getpid(), Signal::STOP);
            }
        }
    }

    /// The next signal to pass on; none when the program may have ended.
    async fn next(&mut self) -> Option<Signal> {
        poll_fn(|context| {
            if self.ended.poll_recv(context).is_ready() {
                return Poll::Ready(None);
            }
            for (number, stream) in &mut self.signals {
                if stream.poll_recv(context).is_ready() {
                    return Poll::Ready(Some(*number));
                }
            }
            Poll::Pending
        })
        .await
    }
}

fn code_of(status: ExitStatus) -> u8 {
    let code = status
        .code()
        .or_else(|| status.signal().map(|number| 128 + number));
    code.and_then(|code| u8::try_from(code).ok()).unwrap_or(255)
}

/// Whether this process belongs to the group that its terminal sends signals to (proc(5), `stat`:
/// the group is the third field after the name, the terminal's the sixth).
fn is_in_foreground() -> bool {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let fields = stat.rsplit_once(") ").map(|(_, fields)| fields);
    let fields: Vec<&str> = fields.unwrap_or_default().split(' ').collect();
    matches!(fields.as_slice(), [_, _, group, _, _, of_terminal, ..] if group == of_terminal)
}

/// Why a program did not start, with the exit code that a shell has for it.
pub fn cannot_run(name: &str, error: &io::Error) -> CliError {
    let code = match error.kind() {
        io::ErrorKind::NotFound => NOT_FOUND,
        _ => CANNOT_RUN,
    };
    CliError::Failed(code, format!("cannot run {name}: {error}"))
}
