//! The program as a client.

use std::io::Write as _;
use std::process::Stdio;

use serde_json::Value;

use super::service::{Service, program};

/// How a command ended.
#[derive(Debug)]
pub struct Ended {
    pub code: i32,
    pub stdout: String,
    pub stderr: String,
}

impl Ended {
    /// The same, after making sure that it went well.
    #[track_caller]
    pub fn ok(self) -> Self {
        assert_eq!(self.code, 0, "{}", self.stderr);
        self
    }

    #[track_caller]
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.stdout).expect("JSON on standard output")
    }
}

/// Runs a command as `who`, whose certificate is `WHO.pem`, with nothing on standard input.
pub fn cli(service: &Service, who: &str, arguments: &[&str]) -> Ended {
    cli_with_input(service, who, arguments, b"")
}

/// The same, answered as JSON.
#[track_caller]
pub fn cli_json(service: &Service, who: &str, arguments: &[&str]) -> Value {
    let mut all = vec!["--output", "json"];
    all.extend(arguments);
    cli(service, who, &all).ok().json()
}

/// The same with something on standard input.
pub fn cli_with_input(service: &Service, who: &str, arguments: &[&str], input: &[u8]) -> Ended {
    let mut command = program();
    command
        .current_dir(service.home())
        .env("STRONGROOM_URL", service.url())
        .env("STRONGROOM_CA", service.file("ca.pem"))
        .env("STRONGROOM_CERT", service.file(&format!("{who}.pem")))
        .env("STRONGROOM_KEY", service.file(&format!("{who}.key")))
        .args(arguments);
    run(command, input)
}

/// Runs any command.
pub fn run(mut command: std::process::Command, input: &[u8]) -> Ended {
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the command");
    // A command that reads nothing closes the pipe, which is its right.
    let _ = child.stdin.take().expect("its input").write_all(input);
    let output = child.wait_with_output().expect("its output");
    Ended {
        code: output.status.code().unwrap_or(-1),
        stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
    }
}
