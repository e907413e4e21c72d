//! Checkpoints that a worker remembers: a log that went another way is refused.

use std::fs;
use std::path::Path;
use std::process::Command;

use crate::audit::{export, public_key, verify};
use crate::support::cli::run;
use crate::support::{Admin, Backend, Request, Service, until};
use crate::worker::{demonstration, worker};

/// Writes records until the newest checkpoint covers them.
fn records(service: &Service, names: &[&str]) {
    let worker = service.client("worker");
    let checkpoint = || {
        let answer = worker.send(&Request::get("/api/v1/release")).expect(200);
        answer
            .header("strongroom-checkpoint")
            .expect("one")
            .to_owned()
    };
    let before = checkpoint();
    for name in names {
        Admin::of(service).role(name);
    }
    until("a newer checkpoint", 40, || {
        (checkpoint() != before).then_some(())
    });
}

fn copy(from: &Path, to: &Path) {
    let mut command = Command::new("cp");
    let status = command.arg("-a").arg(from).arg(to).status().expect("cp");
    assert!(status.success());
}

/// All files of a directory with their content.
fn content(directory: &Path) -> Vec<(String, Vec<u8>)> {
    let mut files: Vec<_> = fs::read_dir(directory)
        .expect("a directory")
        .map(|entry| {
            let entry = entry.expect("a file");
            let name = entry.file_name().into_string().expect("a name");
            (name, fs::read(entry.path()).expect("a file"))
        })
        .collect();
    files.sort();
    files
}

#[test]
fn promise_10_a_worker_refuses_a_log_that_went_another_way() {
    let mut service = Service::dev(&Backend::Sqlite);
    demonstration(&service);
    let into = service.home().join("credentials");
    let fetch = |service: &Service| {
        let mut command = worker(service);
        command.arg("fetch").arg("--dir").arg(&into);
        run(command, b"")
    };
    fetch(&service).ok();
    records(&service, &["one", "two"]);
    fetch(&service).ok();
    // A restart is a continuation.
    service.stop();
    let (home, kept) = (service.file(""), service.home().join("kept"));
    copy(&home, &kept);
    service.start();
    records(&service, &["three", "four", "five"]);
    fetch(&service).ok();
    let before = content(&into);

    // The older state comes back and goes on differently.
    service.stop();
    fs::rename(&home, service.home().join("true")).expect("a directory");
    fs::rename(&kept, &home).expect("a directory");
    service.start();
    for names in [
        &["other-three"][..],
        &["four", "five", "six", "seven", "eight", "nine"],
    ] {
        records(&service, names);
        let ended = fetch(&service);
        assert_eq!(ended.code, 1, "{}", ended.stderr);
        assert!(
            ended.stderr.contains("not the one that was seen before"),
            "{}",
            ended.stderr
        );
    }
    let mut after = content(&into);
    after.retain(|(name, _)| !name.contains(".conflict-"));
    assert_eq!(after, before, "nothing was written");
    // exec is told the same, and does not start anything.
    let started = service.home().join("started");
    let mut command = worker(&service);
    command
        .arg("exec")
        .arg("--checkpoints")
        .arg(into.join(".strongroom-checkpoint"));
    command
        .args([
            "--env",
            "X=example-realty/mail sync.client_secret",
            "--",
            "touch",
        ])
        .arg(&started);
    let ended = run(command, b"");
    assert_eq!(ended.code, 1, "{}", ended.stderr);
    assert!(!started.exists());

    // What the worker kept convicts the other log, and fits the true one.
    let key = public_key(&service);
    let memory = into.join(".strongroom-checkpoint");
    let forged = export(&service, "forged.ndjson");
    let ended = verify(&forged, &key, &[&memory]);
    assert_eq!(ended.code, 1, "{}", ended.stdout);
    verify(&forged, &key, &[]).ok();
    service.stop();
    fs::rename(&home, service.home().join("forged")).expect("a directory");
    fs::rename(service.home().join("true"), &home).expect("a directory");
    service.start();
    verify(&export(&service, "true.ndjson"), &key, &[&memory]).ok();
    fetch(&service).ok();
}
