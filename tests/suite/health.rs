//! What an orchestrator sees: health, readiness, metrics, an orderly end, and a process that shows
//! nothing of itself.

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::os::unix::fs::MetadataExt as _;
use std::os::unix::process::CommandExt as _;
use std::process::{Command, Stdio};

use rustix::process::Signal;

use crate::support::service::PROGRAM;
use crate::support::{Admin, Backend, Request, Service, on_both, pause, until};

on_both!(
    health_readiness_and_metrics,
    a_stop_finishes_what_is_under_way,
    promise_5_no_core_file,
);

/// The account that owns nothing.
const NOBODY: u32 = 65_534;

fn health_readiness_and_metrics(backend: Backend) {
    let service = Service::dev(&backend);
    assert_eq!(service.status("/healthz").expect(200).text(), "ok\n");
    let ready = service.status("/readyz").expect(200).json();
    assert_eq!(ready["ready"], true);
    let parts = ready["parts"].as_array().expect("parts");
    assert!(parts.len() >= 2, "{ready}");
    assert!(parts.iter().all(|part| part["ready"] == true), "{ready}");

    service.client("worker").get("/api/v1/release").expect(200);
    service.anonymous().get("/api/v1/release").expect(401);
    let metrics = service.status("/metrics").expect(200).text();
    for name in ["strongroom_unauthenticated_total", "strongroom_database_up"] {
        assert!(metrics.contains(name), "{name} is missing in\n{metrics}");
    }
    // The status listener shows nothing of the API, and the API nothing of it.
    service.status("/api/v1/release").expect(404);
    service.client("worker").get("/metrics").expect(404);
}

/// A bundle larger than what fits into the buffers of a connection, half read when the stop comes.
fn a_stop_finishes_what_is_under_way(backend: Backend) {
    let mut service = Service::dev(&backend);
    let admin = Admin::of(&service);
    admin.client("large");
    for n in 0..40 {
        let value = format!("{n:04}{}", "x".repeat(60_000));
        admin.credential("large", "production", &["m365-sync"], &value);
    }
    let worker = service.client("worker");
    let mut connection = worker.connect();
    connection
        .start(&Request::get("/api/v1/release"))
        .expect("a request");
    let (status, headers) = connection.receive_head().expect("its head");
    assert_eq!(status, 200);
    service.signal(Signal::TERM);
    until("no new connection is taken", 10, || {
        worker.try_send(&Request::get("/api/v1/whoami")).err()
    });
    pause(300);
    let body = connection
        .receive_body(status, &headers)
        .expect("all of it");
    let bundle: serde_json::Value = serde_json::from_slice(&body).expect("a whole document");
    assert_eq!(bundle["credentials"].as_array().expect("a list").len(), 41);
    let ended = until("its end", 40, || service.poll());
    assert!(ended.success(), "{ended}");
    assert!(service.last_stderr().contains("stopped"));
}

fn promise_5_no_core_file(backend: Backend) {
    let service = Service::dev(&backend);
    let proc = format!("/proc/{}", service.pid());
    let limits = fs::read_to_string(format!("{proc}/limits")).expect("limits");
    let core = limits
        .lines()
        .find(|line| line.starts_with("Max core file size"));
    let words: Vec<&str> = core.expect("a line").split_whitespace().collect();
    assert_eq!(words[4..6], ["0", "0"], "soft and hard limit");
    let status = fs::read_to_string(format!("{proc}/status")).expect("status");
    assert!(status.contains("NoNewPrivs:\t1"), "{status}");
    let listening = fs::read_to_string(format!("{proc}/cmdline")).expect("arguments");
    assert!(!listening.contains("postgres://"), "no URL with a password");
}

/// The kernel gives the files under /proc/PID to root when the process is not dumpable, and to its
/// own user when it is; so it has to run as somebody else than root to be seen.
#[test]
fn promise_5_not_dumpable() {
    let root = tempfile::tempdir().expect("a directory");
    let mut command = if rustix::process::getuid().is_root() {
        // The program may lie where nobody else can reach it.
        let program = root.path().join("strongroom");
        fs::copy(PROGRAM, &program).expect("a copy");
        std::os::unix::fs::chown(root.path(), Some(NOBODY), Some(NOBODY)).expect("a gift");
        let mut command = Command::new(program);
        command.uid(NOBODY).gid(NOBODY);
        command
    } else {
        Command::new(PROGRAM)
    };
    command.env_clear().current_dir(root.path()).arg("dev");
    command.args([
        "--listen",
        "127.0.0.1:0",
        "--pages-listen",
        "127.0.0.1:0",
        "--status-listen",
        "127.0.0.1:0",
    ]);
    let started = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn();
    let mut child = started.expect("the program");
    let mut lines = BufReader::new(child.stdout.take().expect("its output")).lines();
    let serves = lines.any(|line| line.is_ok_and(|line| line.contains("Strongroom is running")));
    let owner = fs::metadata(format!("/proc/{}/environ", child.id())).map(|file| file.uid());
    child.kill().expect("a kill");
    child.wait().expect("its end");
    assert!(serves, "it did not start");
    assert_eq!(owner.expect("the process"), 0);
}
