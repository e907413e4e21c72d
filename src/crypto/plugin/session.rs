//! One run of a plugin: a process, and stanzas over its standard input and output.

use std::ffi::OsString;
use std::io::{self, BufRead, BufReader, Read, Take, Write};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::mpsc;
use std::thread::JoinHandle;
use std::time::Duration;

use age_core::format::{Stanza, is_arbitrary_string};
use base64::Engine;
use base64::prelude::BASE64_STANDARD_NO_PAD as BASE64;
use rustix::process::{Pid, Signal, kill_process_group};
use zeroize::Zeroizing;

/// The most bytes that a plugin may say in one run.
const MOST: u64 = 1024 * 1024;

/// Characters of base64 on a full line (c2sp.org/age).
const LINE: usize = 64;

/// A plugin that runs. It is ended, with all that it started, when this is dropped.
pub(super) struct Session {
    child: Child,
    input: ChildStdin,
    output: BufReader<Take<ChildStdout>>,
    watch: Option<(mpsc::Sender<()>, JoinHandle<()>)>,
}

impl Session {
    /// Starts `program` with nothing but `environment`; it is ended after `limit`.
    pub(super) fn start(
        program: &Path,
        machine: &str,
        environment: &[(OsString, OsString)],
        limit: Duration,
    ) -> io::Result<Self> {
        let mut child = Command::new(program)
            .arg(format!("--age-plugin={machine}"))
            .env_clear()
            .envs(environment.iter().map(|(name, value)| (name, value)))
            .current_dir("/")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            // Nobody knows what it writes there: it could be the file key.
            .stderr(Stdio::null())
            // A group of its own, so that what it starts can be ended with it.
            .process_group(0)
            .spawn()?;
        let (Some(input), Some(output)) = (child.stdin.take(), child.stdout.take()) else {
            return Err(io::ErrorKind::BrokenPipe.into());
        };
        let group = Pid::from_child(&child);
        let (done, dismissed) = mpsc::channel();
        // The process is only waited for after this thread has ended, so its id is still its own.
        let watch = std::thread::spawn(move || {
            if dismissed.recv_timeout(limit) == Err(mpsc::RecvTimeoutError::Timeout) {
                let _ = kill_process_group(group, Signal::KILL);
            }
        });
        Ok(Self {
            child,
            input,
            output: BufReader::new(output.take(MOST)),
            watch: Some((done, watch)),
        })
    }

    /// Sends one stanza.
    pub(super) fn send(&mut self, tag: &str, arguments: &[&str], body: &[u8]) -> io::Result<()> {
        let mut text = Zeroizing::new(format!("-> {tag}"));
        for argument in arguments {
            text.push(' ');
            text.push_str(argument);
        }
        text.push('\n');
        let encoded = Zeroizing::new(BASE64.encode(body));
        let mut rest = encoded.as_str();
        // The last line is the one that is not full; it may be empty.
        while rest.len() >= LINE {
            let (line, more) = rest.split_at(LINE);
            text.push_str(line);
            text.push('\n');
            rest = more;
        }
        text.push_str(rest);
        text.push('\n');
        self.input.write_all(text.as_bytes())?;
        self.input.flush()
    }

    /// Answers a command.
    pub(super) fn reply(&mut self, tag: &str, body: &[u8]) -> io::Result<()> {
        self.send(tag, &[], body)
    }

    /// Waits for one stanza.
    pub(super) fn receive(&mut self) -> io::Result<Stanza> {
        let invalid = || io::Error::from(io::ErrorKind::InvalidData);
        let head = self.line()?;
        let mut words = head.strip_prefix("-> ").ok_or_else(invalid)?.split(' ');
        let tag = words.next().unwrap_or_default().to_owned();
        let args: Vec<String> = words.map(str::to_owned).collect();
        if !is_arbitrary_string(&tag) || !args.iter().all(is_arbitrary_string) {
            return Err(invalid());
        }
        let mut encoded = Zeroizing::new(String::new());
        loop {
            let line = self.line()?;
            if line.len() > LINE {
                return Err(invalid());
            }
            encoded.push_str(&line);
            if line.len() < LINE {
                break;
            }
        }
        let body = BASE64.decode(encoded.as_bytes()).map_err(|_| invalid())?;
        Ok(Stanza { tag, args, body })
    }

    fn line(&mut self) -> io::Result<Zeroizing<String>> {
        let mut line = Zeroizing::new(String::new());
        self.output.read_line(&mut line)?;
        if line.pop() != Some('\n') {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        Ok(line)
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        if let Some((done, watch)) = self.watch.take() {
            let _ = done.send(());
            let _ = watch.join();
        }
        // It has said what it had to say, or will not.
        let _ = kill_process_group(Pid::from_child(&self.child), Signal::KILL);
        let _ = self.child.wait();
    }
}
