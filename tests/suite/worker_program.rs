//! A program that `exec` started: signals, exit codes, and where its values are not.

use std::fs;
use std::io::{BufRead, BufReader};
use std::os::unix::fs::PermissionsExt as _;
use std::process::{Child, Stdio};

use rustix::process::{Pid, Signal};

use crate::support::cli::run;
use crate::support::service::PROGRAM;
use crate::support::{Backend, Service, until};
use crate::worker::{demonstration, worker};

const SECRET: &str = "demonstration~secret~opens~nothing";

/// Starts `exec` with a shell that runs `script`, and waits for its first line.
fn start(service: &Service, id: &str, script: &str) -> (Child, String) {
    let mut child = worker(service)
        .args([
            "exec",
            "--env",
            &format!("APP_SECRET={id}.client_secret"),
            "--",
        ])
        .args(["sh", "-c", script])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .expect("the command");
    let mut line = String::new();
    let stdout = child.stdout.take().expect("its output");
    BufReader::new(stdout).read_line(&mut line).expect("a line");
    (child, line.trim().to_owned())
}

fn pid(number: u32) -> Pid {
    Pid::from_raw(i32::try_from(number).expect("a pid")).expect("a pid")
}

fn is_stopped(number: u32) -> bool {
    let stat = fs::read_to_string(format!("/proc/{number}/stat")).expect("its state");
    stat.rsplit_once(") ")
        .is_some_and(|(_, rest)| rest.starts_with('T'))
}

fn end(mut child: Child) -> i32 {
    let status = until("the end of exec", 40, || {
        child.try_wait().expect("the process")
    });
    status.code().expect("a code of its own")
}

#[test]
fn signals_go_in_and_the_exit_code_comes_out() {
    let service = Service::dev(&Backend::Sqlite);
    let id = demonstration(&service);
    let signals = [
        ("TERM", Signal::TERM),
        ("INT", Signal::INT),
        ("HUP", Signal::HUP),
        ("QUIT", Signal::QUIT),
        ("USR1", Signal::USR1),
        ("USR2", Signal::USR2),
        ("WINCH", Signal::WINCH),
        ("CONT", Signal::CONT),
        ("TSTP", Signal::TSTP),
    ];
    for (name, signal) in signals {
        // A shell runs a trap when `wait` is interrupted.
        let script = format!("trap 'exit 42' {name}; sleep 60 & echo $!; wait");
        let (child, sleeping) = start(&service, &id, &script);
        rustix::process::kill_process(pid(child.id()), signal).expect("the signal");
        if signal == Signal::TSTP {
            // It stops as well, as its shell expects, until it is told to go on.
            let stopped = || is_stopped(child.id()).then_some(());
            until("exec is stopped", 40, stopped);
            rustix::process::kill_process(pid(child.id()), Signal::CONT).expect("the signal");
        }
        assert_eq!(end(child), 42, "{name}");
        let sleeping = pid(sleeping.parse().expect("a number"));
        let _ = rustix::process::kill_process(sleeping, Signal::KILL);
    }
    let code = |arguments: &[&str]| {
        let mut command = worker(&service);
        command.args([
            "exec",
            "--no-in-use",
            "--env",
            &format!("APP_SECRET={id}.client_secret"),
        ]);
        let ended = run(
            {
                command.arg("--").args(arguments);
                command
            },
            b"",
        );
        assert!(!ended.stderr.contains(SECRET));
        ended.code
    };
    let plain = service.home().join("plain");
    fs::write(&plain, "not a program").expect("a file");
    fs::set_permissions(&plain, fs::Permissions::from_mode(0o644)).expect("a mode");
    assert_eq!(code(&["true"]), 0);
    assert_eq!(code(&["sh", "-c", "exit 7"]), 7);
    assert_eq!(code(&["sh", "-c", "kill -KILL $$"]), 128 + 9);
    assert_eq!(code(&["sh", "-c", "kill -TERM $$"]), 128 + 15);
    assert_eq!(code(&["there-is-no-such-program"]), 127);
    assert_eq!(code(&[plain.to_str().expect("a path")]), 126);
}

#[test]
fn what_is_ignored_stays_ignored_in_the_program() {
    let service = Service::dev(&Backend::Sqlite);
    let id = demonstration(&service);
    let of_worker = worker(&service);
    let mut command = std::process::Command::new("sh");
    command
        .env_clear()
        .envs(
            of_worker
                .get_envs()
                .filter_map(|(name, value)| Some((name, value?))),
        )
        .args([
            "-c",
            "trap '' HUP; exec \"$@\"",
            "sh",
            PROGRAM,
            "exec",
            "--no-in-use",
        ])
        .args(["--env", &format!("APP_SECRET={id}.client_secret"), "--"])
        .args(["sh", "-c", "kill -HUP $$; grep SigIgn /proc/self/status"]);
    let ended = run(command, b"").ok();
    let mask = ended.stdout.trim().strip_prefix("SigIgn:\t");
    let mask = u64::from_str_radix(mask.expect("a mask"), 16).expect("a number");
    // One bit each, from the lowest: HUP was ignored, PIPE only by this program itself.
    let bit = |signal: Signal| mask >> (signal.as_raw() - 1) & 1;
    assert_eq!((bit(Signal::HUP), bit(Signal::PIPE)), (1, 0), "{mask:x}");
}

#[test]
fn the_program_ends_when_exec_is_killed() {
    let service = Service::dev(&Backend::Sqlite);
    let id = demonstration(&service);
    let told = service.home().join("told");
    let script = format!(
        "trap 'touch {}; exit' TERM; sleep 60 & echo $!; wait; kill $!",
        told.display()
    );
    let (mut child, sleeping) = start(&service, &id, &script);
    child.kill().expect("a kill");
    child.wait().expect("its end");
    until("the program was told", 40, || told.exists().then_some(()));
    let sleeping = pid(sleeping.parse().expect("a number"));
    let _ = rustix::process::kill_process(sleeping, Signal::KILL);
}

#[test]
fn a_value_is_in_the_programs_environment_and_nowhere_else() {
    let service = Service::dev(&Backend::Sqlite);
    let id = demonstration(&service);
    let (child, line) = start(&service, &id, "echo $$; exec sleep 60");
    let of_exec = child.id();
    let holds = |path: String| {
        // Of a protected process, only root reads the environment.
        let bytes = fs::read(path).unwrap_or_default();
        bytes
            .windows(SECRET.len())
            .any(|window| window == SECRET.as_bytes())
    };
    // Also shows that the search finds what is there; not before `sleep` has begun.
    let given = || holds(format!("/proc/{line}/environ")).then_some(());
    until("the value in the program's environment", 40, given);
    for file in ["cmdline", "environ"] {
        assert!(!holds(format!("/proc/{of_exec}/{file}")), "{file} of exec");
    }
    assert!(
        !holds(format!("/proc/{line}/cmdline")),
        "arguments of the program"
    );
    rustix::process::kill_process(pid(of_exec), Signal::TERM).expect("the signal");
    assert_eq!(end(child), 128 + 15);
}
