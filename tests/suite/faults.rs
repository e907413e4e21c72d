//! A database that is locked, full or gone: 503, nothing released, not ready, and everything goes on
//! by itself when the database is back.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::Command;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::json;

use crate::audit::{export, public_key, records, verify};
use crate::support::figures::note;
use crate::support::http::Response;
use crate::support::shim::{Disk, Fault};
use crate::support::sql::{postgres_each, while_sqlite_is_locked};
use crate::support::{Admin, Backend, Request, Service, pause, until};

/// Asks until an answer is 503, and checks that one.
fn until_refused(service: &Service, seconds: u64) -> Response {
    let worker = service.client("worker");
    let refused = until("a refusal", seconds, || {
        let answer = worker.try_send(&Request::get("/api/v1/release")).ok()?;
        (answer.status == 503).then_some(answer)
    });
    assert!(
        refused.problem(503).ends_with("unavailable"),
        "{}",
        refused.text()
    );
    assert!(!refused.text().contains("demonstration~secret"));
    refused
}

/// Everything works again without a restart, and the log is whole.
fn recovers(service: &Service, seconds: u64) {
    let worker = service.client("worker");
    until("a release", seconds, || {
        let answer = worker.try_send(&Request::get("/api/v1/release")).ok()?;
        (answer.status == 200).then_some(())
    });
    until("readiness", seconds, || service.is_ready().then_some(()));
    pause(1200); // The head is signed at least once a second.
    let log = export(service, "after-the-fault.ndjson");
    verify(&log, &public_key(service), &[]).ok();
}

#[test]
fn a_locked_database_is_waited_for_and_then_refused() {
    let service = Service::dev(&Backend::Sqlite);
    service.client("worker").get("/api/v1/release").expect(200);
    let database = service.data().join("strongroom.db");
    while_sqlite_is_locked(&database, || {
        let refused = until_refused(&service, 20);
        assert_eq!(refused.header("retry-after"), Some("1"));
        assert_eq!(service.parts_not_ready(), ["audit"]);
        // What releases nothing and writes nothing goes on.
        service.client("worker").get("/api/v1/whoami").expect(200);
    });
    recovers(&service, 20);
}

/// A file system of a few MiB, gone when it is dropped.
struct SmallDisk(tempfile::TempDir);

impl SmallDisk {
    fn new(mib: u32) -> Option<Self> {
        let directory = tempfile::tempdir().expect("a directory");
        let mounted = Command::new("mount")
            .args(["-t", "tmpfs", "-o", &format!("size={mib}m"), "tmpfs"])
            .arg(directory.path())
            .output();
        mounted
            .is_ok_and(|output| output.status.success())
            .then_some(Self(directory))
    }

    fn fill(&self) {
        // In ever smaller pieces, until not a page is left.
        let mut file = fs::File::create(self.0.path().join("filler")).expect("a file");
        for size in [1 << 16, 1 << 12, 1] {
            let piece = vec![0_u8; size];
            while std::io::Write::write(&mut file, &piece).is_ok_and(|written| written == size) {}
        }
    }

    fn empty(&self) {
        fs::remove_file(self.0.path().join("filler")).expect("the filler");
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(self.0.path()).output();
    }
}

#[test]
fn a_full_disk_refuses_and_recovers() {
    let Some(disk) = SmallDisk::new(16) else {
        eprintln!("SKIPPED: a small file system can be mounted only as root");
        note("faults skipped for want of permission", 1);
        return;
    };
    let home: &Path = disk.0.path();
    let service = Service::dev_in(&Backend::Sqlite, home, &[]);
    service.client("worker").get("/api/v1/release").expect(200);
    disk.fill();
    until_refused(&service, 30);
    until("that it says so", 10, || {
        service
            .parts_not_ready()
            .contains(&"audit".to_owned())
            .then_some(())
    });
    disk.empty();
    recovers(&service, 20);
}

/// The same in the middle of a load, on a disk that anybody may fill.
#[test]
fn a_disk_that_fills_up_under_a_load() {
    let home = tempfile::tempdir().expect("a directory");
    let mut service = Service::dev_stopped(&Backend::Sqlite, home.path(), &[]);
    let disk = Disk::below(&mut service);
    service.start();
    let (released, refused) = under_load(&service, |count| {
        for call in [1, 5, 12] {
            let before = count();
            until("releases", 30, || (count() > before + 20).then_some(()));
            disk.fails(Fault::Full, call);
            until_refused(&service, 20);
            until("that it says so", 10, || {
                (!service.is_ready()).then_some(())
            });
            disk.works();
            note("faults of a disk", 1);
        }
        let before = count();
        until("releases", 30, || (count() > before + 20).then_some(()));
    });
    assert!(refused > 0);
    recovers(&service, 20);
    all_recorded(&service, &released);
}

/// Longer than an answer may take: five seconds for a connection to the database, ten for the rest.
const LONGEST: Duration = Duration::from_secs(17);

/// Four workers who ask without a pause while `meanwhile` happens, which is told how many releases
/// there were: an answer is a release or a refusal, and none is late. Gives the request ids of the
/// releases that came whole, and how many were refused.
fn under_load(
    service: &Service,
    meanwhile: impl FnOnce(&dyn Fn() -> usize),
) -> (BTreeSet<String>, u64) {
    let released = Mutex::new(BTreeSet::new());
    let refused = AtomicU64::new(0);
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                let worker = service.client("worker");
                let mut connection = worker.connect();
                while !stop.load(Ordering::Relaxed) {
                    let begun = Instant::now();
                    let answer = connection.send(&Request::get("/api/v1/release"));
                    let took = begun.elapsed();
                    assert!(took < LONGEST, "an answer took {took:?}");
                    let Ok(answer) = answer else {
                        // A bundle whose rows cannot be read any more is cut off, never ended.
                        connection = worker.connect();
                        continue;
                    };
                    match answer.status {
                        200 => {
                            let id = answer.header("strongroom-request-id").expect("its id");
                            released.lock().expect("no panic").insert(id.to_owned());
                        }
                        503 => {
                            refused.fetch_add(1, Ordering::Relaxed);
                        }
                        other => panic!("{other} is neither a release nor a refusal"),
                    }
                }
            });
        }
        let end = EndOfLoad(&stop);
        meanwhile(&|| released.lock().expect("no panic").len());
        drop(end);
    });
    let released = released.into_inner().expect("no panic");
    (released, refused.into_inner())
}

/// Ends the load also when what happens meanwhile panics: the scope waits for its threads.
struct EndOfLoad<'a>(&'a AtomicBool);

impl Drop for EndOfLoad<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Every release that came whole is in the log that [`recovers`] exported.
fn all_recorded(service: &Service, released: &BTreeSet<String>) {
    let records = records(&service.home().join("after-the-fault.ndjson"));
    let intents: BTreeSet<&str> = records
        .iter()
        .filter(|record| record["kind"] == "release.intent")
        .filter_map(|record| record["request"].as_str())
        .collect();
    for request in released {
        assert!(
            intents.contains(request.as_str()),
            "{request} was released without a record"
        );
    }
}

#[test]
fn postgresql_restarted_in_the_middle_of_a_load() {
    let Some((backend, server)) = Backend::postgres_of_its_own() else {
        return;
    };
    let service = Service::dev(&backend);
    let (released, refused) = under_load(&service, |count| {
        pause(500);
        server.halt().expect("a stop");
        until("that it says so", 20, || {
            (!service.is_ready()).then_some(())
        });
        until_refused(&service, 20);
        let before = count();
        server.resume().expect("a start");
        until("releases", 30, || (count() > before + 20).then_some(()));
    });
    assert!(refused > 0);
    recovers(&service, 20);
    all_recorded(&service, &released);
}

/// A server that became a standby, or whose operator stopped writes.
#[test]
fn postgresql_that_is_read_only() {
    let Some((backend, _server)) = Backend::postgres_of_its_own() else {
        return;
    };
    let service = Service::dev(&backend);
    let url = fs::read_to_string(service.home().join("database-url")).expect("a URL");
    let switch = |to: &str| {
        let switch = format!("ALTER SYSTEM SET default_transaction_read_only = {to}");
        let mine = "SET default_transaction_read_only = off";
        postgres_each(&url, &[mine, &switch, "SELECT pg_reload_conf()"]);
    };
    service.client("worker").get("/api/v1/release").expect(200);
    switch("on");
    until_refused(&service, 20);
    until("that it says so", 10, || {
        (!service.is_ready()).then_some(())
    });
    let admin = Admin::of(&service);
    let role = json!({"name": "not-now"});
    let answer = admin.send("POST", "/roles", &role);
    assert_eq!(answer.problem(503), "unavailable");
    switch("off");
    recovers(&service, 20);
    assert!(
        admin
            .list("/roles")
            .iter()
            .all(|role| role["name"] != "not-now")
    );
}

/// Every process of the server stands still: connections are open, and nothing answers on them.
#[test]
fn postgresql_that_stands_still() {
    let Some((backend, server)) = Backend::postgres_of_its_own() else {
        return;
    };
    let service = Service::dev(&backend);
    service.client("worker").get("/api/v1/release").expect(200);
    let main = server.main_process().expect("it runs");
    let still = Still::new(main);
    until_refused(&service, 40);
    until("that it says so", 15, || {
        (!service.is_ready()).then_some(())
    });
    // It lives: nothing must kill it for this.
    assert_eq!(service.status("/healthz").status, 200);
    // Another node may have revoked the caller meanwhile, so nobody is known from memory either.
    let answer = service.client("worker").get("/api/v1/whoami");
    assert_eq!(answer.problem(503), "unavailable");
    drop(still);
    recovers(&service, 30);
}

/// It stops in the middle of statements and commits: whoever waits for one is answered all the same.
#[test]
fn postgresql_that_stands_still_under_a_load() {
    let Some((backend, server)) = Backend::postgres_of_its_own() else {
        return;
    };
    let service = Service::dev(&backend);
    let (released, refused) = under_load(&service, |count| {
        until("releases", 20, || (count() > 20).then_some(()));
        let still = Still::new(server.main_process().expect("it runs"));
        until("that it says so", 25, || {
            (!service.is_ready()).then_some(())
        });
        pause(15_000);
        let before = count();
        drop(still);
        until("releases", 30, || (count() > before + 20).then_some(()));
    });
    assert!(refused > 0);
    recovers(&service, 20);
    all_recorded(&service, &released);
}

/// Processes that stand still until this is dropped: one and its children.
struct Still(Vec<Pid>);

impl Still {
    fn new(main: u32) -> Self {
        let mut family = vec![main];
        for entry in fs::read_dir("/proc").expect("proc").flatten() {
            let name = entry.file_name();
            let pid = name.to_str().and_then(|name| name.parse::<u32>().ok());
            let stat = fs::read_to_string(entry.path().join("stat")).unwrap_or_default();
            let parent = stat.rsplit(')').next();
            let parent = parent.and_then(|rest| rest.split_whitespace().nth(1)?.parse().ok());
            family.extend(pid.filter(|_| parent == Some(main)));
        }
        let family: Vec<Pid> = family
            .into_iter()
            .filter_map(|pid| Pid::from_raw(i32::try_from(pid).ok()?))
            .collect();
        for pid in &family {
            let _ = kill_process(*pid, Signal::STOP);
        }
        Self(family)
    }
}

impl Drop for Still {
    fn drop(&mut self) {
        for pid in &self.0 {
            let _ = kill_process(*pid, Signal::CONT);
        }
    }
}
