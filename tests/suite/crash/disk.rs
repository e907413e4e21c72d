//! A disk that fails in the middle of a load: what cannot be made durable is neither acknowledged nor
//! released, and the process ends instead of trying again, which would pretend that nothing happened.

use std::fs;
use std::process::Command;
use std::sync::Mutex;

use super::load::{self, Known, Targets};
use super::seed::Plan;
use super::{SEED, check};
use crate::support::figures::note;
use crate::support::shim::{Disk, Fault};
use crate::support::{Admin, Backend, Request, Service, until};

/// A deployment that is not killed but fails by itself, again and again, from the `n`th call on.
fn fails_again_and_again(fault: Fault, calls: &[i32]) {
    let home = tempfile::tempdir().expect("a directory");
    let mut service = Service::dev_stopped(&Backend::Sqlite, home.path(), &[]);
    let disk = Disk::below(&mut service);
    service.start();
    let admin = Admin::of(&service);
    admin.client("acme");
    let targets = Targets {
        renewed: admin.credential("acme", "production", &["google-sync"], "first"),
        stable: admin.credential("acme", "production", &["m365-sync"], "stays"),
    };
    let known = Mutex::new(Known::default());
    for (round, call) in calls.iter().enumerate() {
        let plan = Plan::new(SEED, round);
        let name = format!("round-{round}");
        load::until_killed(&service, &targets, &name, &plan, &known, |service| {
            disk.fails(fault, *call);
            until("its end", 20, || has_ended(service.pid()).then_some(()));
        });
        // Its first thread may have ended before the others.
        let status = until("its end", 20, || service.poll());
        assert_eq!(status.code(), Some(1), "{fault:?}, {call}");
        let log = service.last_stderr();
        assert!(log.contains("a write failed on the disk"), "{log}");
        service.kill();
        disk.works();
        service.start();
        check::everything(&service, &targets, &mut known.lock().expect("no panic"));
        note("faults of a disk", 1);
    }
}

/// It is a zombie until somebody asks how it ended.
fn has_ended(pid: u32) -> bool {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let state = stat.rsplit(')').next().unwrap_or_default();
    state.trim_start().starts_with('Z') || state.is_empty()
}

#[test]
fn promise_1_an_fsync_that_fails_ends_the_process() {
    fails_again_and_again(Fault::Sync, &[1, 2, 5]);
}

#[test]
fn promise_7_a_write_that_fails_ends_the_process() {
    fails_again_and_again(Fault::Write, &[1, 7, 30]);
}

/// From the first moment on nothing is durable any more, so nothing may be released.
#[test]
fn promise_1_nothing_is_released_that_cannot_be_recorded() {
    let home = tempfile::tempdir().expect("a directory");
    let mut service = Service::dev_stopped(&Backend::Sqlite, home.path(), &[]);
    let disk = Disk::below(&mut service);
    service.start();
    let worker = service.client("worker");
    let mut open = worker.connect();
    let release = Request::get("/api/v1/release");
    open.send(&release).expect("an answer").expect(200);
    disk.fails(Fault::Sync, 1);
    // Either a refusal, or the end of the process comes first.
    if let Ok(answer) = open.send(&release) {
        assert_eq!(answer.problem(503), "unavailable");
    }
    until("its end", 20, || service.poll());
    assert!(disk.hits() > 0);
}

#[test]
fn a_disk_that_cannot_be_read_gives_no_value() {
    let home = tempfile::tempdir().expect("a directory");
    let mut service = Service::dev_stopped(&Backend::Sqlite, home.path(), &[]);
    let disk = Disk::below(&mut service);
    service.start();
    let admin = Admin::of(&service);
    admin.client("acme");
    let id = admin.credential("acme", "production", &["m365-sync"], "never seen");
    let path = format!("/api/v1/release/{id}");
    // A new process remembers nothing.
    service.restart();
    disk.fails(Fault::Read, 1);
    let answered = service.client("worker").try_send(&Request::get(&path));
    if let Ok(answer) = answered {
        assert!(answer.status >= 500, "{}", answer.text());
        assert!(!answer.text().contains("never seen"));
    }
    assert!(disk.hits() > 0);
    disk.works();
    if service.poll().is_some() {
        service.kill();
        service.start();
    }
    until("a release", 20, || {
        let answer = service.client("worker").try_send(&Request::get(&path));
        let answer = answer.ok().filter(|answer| answer.status == 200)?;
        assert_eq!(answer.json()["fields"]["value"], "never seen");
        Some(())
    });
}

/// A file system that can only be read: the start says so, and nothing is changed.
#[test]
fn a_start_on_a_file_system_that_is_read_only() {
    let home = tempfile::tempdir().expect("a directory");
    let mut service = Service::dev_stopped(&Backend::Sqlite, home.path(), &[]);
    service.start();
    let role = Admin::of(&service).role("kept");
    service.stop();
    let data = service.data();
    let mount = |arguments: &[&str]| {
        let output = Command::new("mount").args(arguments).arg(&data).output();
        output.is_ok_and(|output| output.status.success())
    };
    let source = data.display().to_string();
    if !mount(&["--bind", &source]) {
        eprintln!("SKIPPED: a directory can be mounted only as root");
        note("faults skipped for want of permission", 1);
        return;
    }
    let refused = mount(&["-o", "remount,bind,ro"]).then(|| service.try_start());
    service.kill();
    let unmounted = Command::new("umount").arg("-l").arg(&data).output();
    assert!(unmounted.is_ok_and(|output| output.status.success()));
    let said = refused.expect("a mount").expect_err("a refusal");
    assert!(said.contains("it ended with exit status: 1"), "{said}");
    service.start();
    let there = Admin::of(&service).get(&format!("/roles/{role}"));
    assert_eq!(there["name"], "kept");
}
