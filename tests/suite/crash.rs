//! kill -9 in the middle of everything: what was acknowledged is there, and what was released is in
//! the audit log.

use std::collections::BTreeSet;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};

use serde_json::{Value, json};

use crate::audit::{export, public_key, records, verify};
use crate::support::http::Connection;
use crate::support::{Admin, Backend, Request, Service, id_of, on_both, pause};

on_both!(promise_1_and_7_survive_kill_9);

/// The moments of the kills, in milliseconds after the load began.
const ROUNDS: [u64; 4] = [150, 420, 275, 610];

/// What was acknowledged before a kill.
#[derive(Default)]
struct Acknowledged {
    /// Request ids of releases whose answer came whole.
    releases: Vec<String>,
    /// Roles that were created, as they were answered.
    roles: Vec<Value>,
    /// How many calls were answered that nothing can be done now.
    unavailable: u64,
    /// Version numbers of the credential that is renewed all the time.
    versions: BTreeSet<i64>,
}

fn promise_1_and_7_survive_kill_9(backend: Backend) {
    kill_rounds(&backend, &ROUNDS);
}

/// As many rounds as `STRONGROOM_SOAK_ROUNDS` says, at moments that follow from `STRONGROOM_SEED`.
#[test]
#[ignore = "takes a second or two for each round; scripts/soak runs it"]
fn soak_kills() {
    let number = |name: &str, otherwise: u64| {
        let text = std::env::var(name).ok();
        text.map_or(otherwise, |text| text.parse().expect("a whole number"))
    };
    let (seed, rounds) = (
        number("STRONGROOM_SEED", 1),
        number("STRONGROOM_SOAK_ROUNDS", 50),
    );
    eprintln!("seed {seed}, {rounds} rounds on each database");
    // A linear congruential generator (Knuth's MMIX): the same seed, the same moments.
    let mut state = seed;
    let moments: Vec<u64> = (0..rounds)
        .map(|_| {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            50 + (state >> 33) % 700
        })
        .collect();
    kill_rounds(&Backend::Sqlite, &moments);
    if let Some(backend) = Backend::postgres() {
        kill_rounds(&backend, &moments);
    }
}

fn kill_rounds(backend: &Backend, moments: &[u64]) {
    let mut service = Service::dev(backend);
    let admin = Admin::of(&service);
    admin.client("acme");
    let renewed = admin.credential("acme", "production", &["google-sync"], "first");
    let stable = admin.credential("acme", "production", &["m365-sync"], "stays");
    let known = Mutex::new(Acknowledged::default());
    for (round, millis) in moments.iter().copied().enumerate() {
        let targets = Targets {
            renewed: &renewed,
            stable: &stable,
        };
        load(&service, &targets, round, &known, |service| {
            pause(millis);
            // The threads of the load see their connections break.
            let pid = rustix::process::Pid::from_raw(i32::try_from(service.pid()).expect("a pid"));
            let kill = rustix::process::Signal::KILL;
            rustix::process::kill_process(pid.expect("a pid"), kill).expect("a kill");
        });
        service.kill();
        service.start();
        check(&service, &renewed, &known.lock().expect("no panic"));
    }
    let known = known.into_inner().expect("no panic");
    assert!(
        known.releases.len() > 20,
        "{} releases",
        known.releases.len()
    );
    eprintln!(
        "{} releases and {} roles acknowledged, {} calls answered 503",
        known.releases.len(),
        known.roles.len(),
        known.unavailable
    );
    assert!(known.roles.len() > 4, "{} roles", known.roles.len());
}

/// What the load releases: one that is renewed all the time, and one that stays.
struct Targets<'a> {
    renewed: &'a str,
    stable: &'a str,
}

/// Four workers, two who write, until their connections break.
fn load(
    service: &Service,
    targets: &Targets<'_>,
    round: usize,
    known: &Mutex<Acknowledged>,
    end: impl FnOnce(&Service),
) {
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        for n in 0..4 {
            let stop = &stop;
            scope.spawn(move || {
                let (who, target) = match n {
                    0 => ("other", format!("/api/v1/release/{}", targets.renewed)),
                    1 => ("worker", format!("/api/v1/release/{}", targets.stable)),
                    _ => ("worker", "/api/v1/release".to_owned()),
                };
                let worker = service.client(who);
                repeat_with(stop, worker.connect(), |connection| {
                    let answer = connection.send(&Request::get(&target)).ok()?;
                    if answer.status == 503 {
                        // What is renewed without a pause may be in no state to be decided on.
                        known.lock().expect("no panic").unavailable += 1;
                        return Some(());
                    }
                    assert_eq!(answer.status, 200, "{}", answer.text());
                    let request = answer.header("strongroom-request-id").expect("its id");
                    let mut known = known.lock().expect("no panic");
                    known.releases.push(request.to_owned());
                    Some(())
                });
            });
        }
        scope.spawn(|| {
            let admin = Admin::of(service);
            let mut count = 0;
            repeat_with(&stop, admin.client.connect(), |connection| {
                count += 1;
                let name = json!({"name": format!("role-{round}-{count}")});
                let answer = connection
                    .send(&Request::post("/api/v1/roles", &name))
                    .ok()?;
                if answer.status != 503 {
                    let role = answer.expect(201).json();
                    known.lock().expect("no panic").roles.push(role);
                }
                Some(())
            });
        });
        scope.spawn(|| {
            let admin = Admin::of(service);
            let path = format!("/api/v1/credentials/{}/versions", targets.renewed);
            repeat_with(&stop, admin.client.connect(), |connection| {
                let body = json!({"fields": {"value": "next"}, "activate": {"reason": "load"}});
                let answer = connection.send(&Request::post(&path, &body)).ok()?;
                if answer.status != 503 {
                    let number = answer.expect(201).json()["number"].as_i64();
                    let mut known = known.lock().expect("no panic");
                    known.versions.insert(number.expect("a number"));
                }
                Some(())
            });
        });
        end(service);
        stop.store(true, Ordering::Relaxed);
    });
}

/// Goes on until the connection breaks or it is told to stop.
fn repeat_with(
    stop: &AtomicBool,
    mut connection: Connection,
    mut step: impl FnMut(&mut Connection) -> Option<()>,
) {
    while !stop.load(Ordering::Relaxed) && step(&mut connection).is_some() {}
}

/// Everything that was acknowledged is there, the log is whole, and every release is in it.
fn check(service: &Service, renewed: &str, known: &Acknowledged) {
    let admin = Admin::of(service);
    let roles = admin.list("/roles");
    for role in &known.roles {
        assert!(roles.contains(role), "{role} was acknowledged and is gone");
    }
    let credential = admin.get(&format!("/credentials/{renewed}"));
    let versions = credential["versions"].as_array().expect("versions");
    let numbers: BTreeSet<i64> = versions
        .iter()
        .map(|version| version["number"].as_i64().expect("a number"))
        .collect();
    assert!(
        known.versions.is_subset(&numbers),
        "{:?} in {numbers:?}",
        known.versions
    );
    let active = versions
        .iter()
        .filter(|version| version["state"] == "active")
        .count();
    assert_eq!(active, 1);
    // The newest one opens: value, wraps and state are one commit.
    let path = format!("/api/v1/release/{renewed}");
    let entry = service.client("other").get(&path).expect(200).json();
    assert_eq!(id_of(&entry), renewed);

    pause(1200); // The head is signed at least once a second.
    let export = export(service, "log.ndjson");
    verify(&export, &public_key(service), &[]).ok();
    let records = records(&export);
    let intents: BTreeSet<&str> = records
        .iter()
        .filter(|record| record["kind"] == "release.intent")
        .filter_map(|record| record["request"].as_str().or(record["req"].as_str()))
        .collect();
    for request in &known.releases {
        assert!(
            intents.contains(request.as_str()),
            "{request} was released without a record"
        );
    }
}
