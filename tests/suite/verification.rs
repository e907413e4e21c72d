//! Stored credentials are verified at their provider, here the stand-in that `dev` starts.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};

use serde_json::{Value, json};

use crate::support::{Admin, Backend, Service, id_of, on_both, text, until};

on_both!(
    a_stored_credential_is_verified_stage_by_stage,
    what_does_not_work_is_told_and_an_outage_is_not_blamed,
    an_active_one_that_fails_is_one_task_until_it_works,
    a_verification_is_taken_up_again_after_a_kill,
);

/// `dev` with a stand-in whose world can be changed.
fn service(backend: &Backend) -> Service {
    let more = ["--stand-in-control", "127.0.0.1:0", "--settle-seconds", "0"];
    Service::dev_with(backend, &more)
}

pub(crate) fn control(service: &Service) -> SocketAddr {
    let out = service.stdout();
    let address = out.split_once("(changed at http://").expect("a control");
    let address = address.1.split_once('/').expect("a path").0;
    address.parse().expect("an address")
}

/// Lets a place of the stand-in answer so for the next calls.
pub(crate) fn force(service: &Service, at: &str, times: u32, answer: &Value) {
    let body = json!({"at": at, "times": times, "answer": answer}).to_string();
    let mut socket = TcpStream::connect(control(service)).expect("the control");
    write!(
        socket,
        "POST /forced HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\
         content-length: {}\r\n\r\n{body}",
        body.len()
    )
    .expect("a request");
    let mut answer = String::new();
    socket.read_to_string(&mut answer).expect("an answer");
    assert!(answer.starts_with("HTTP/1.1 204"), "{answer}");
}

/// The demonstration's credential.
fn demonstrated(admin: &Admin) -> String {
    let found = admin.list("/credentials?client=example-realty");
    id_of(&found[0])
}

fn verify(admin: &Admin, credential: &str, number: i64) -> String {
    let path = format!("/credentials/{credential}/versions/{number}/verify");
    id_of(&admin.create(&path, &json!({})))
}

/// A run when an attempt of it is over.
fn attempted(admin: &Admin, run: &str) -> Value {
    until("the verification", 60, || {
        let run = admin.get(&format!("/verifications/{run}"));
        let over = run["state"] == "done" || (run["state"] == "due" && !run["outcome"].is_null());
        over.then_some(run)
    })
}

/// A pending version for an application of the demonstration.
fn version(admin: &Admin, credential: &str, client: &str, secret: &str) -> i64 {
    let body = json!({"fields": {
        "tenant_id": "11111111-2222-4333-8444-555555555555", "client_id": client,
        "client_secret": secret, "test_mailbox": "sync-test@example-realty.example"}});
    let made = admin.create(&format!("/credentials/{credential}/versions"), &body);
    made["number"].as_i64().expect("a number")
}

fn a_stored_credential_is_verified_stage_by_stage(backend: Backend) {
    let service = service(&backend);
    let admin = Admin::of(&service);
    let credential = demonstrated(&admin);
    let run = attempted(&admin, &verify(&admin, &credential, 1));
    assert_eq!(run["outcome"], "verified", "{run:#}");
    let stages = run["stages"].as_array().expect("stages");
    let names: Vec<&str> = stages.iter().map(|it| text(it, "/stage")).collect();
    for stage in ["shape", "tenant", "token", "contacts", "calendar", "expiry"] {
        assert!(names.contains(&stage), "{stage}: {names:?}");
    }
    let shown = admin.get(&format!("/credentials/{credential}"));
    assert_eq!(shown["versions"][0]["verification"], "provider");
    assert_eq!(shown["versions"][0]["expires_source"], "provider");
    // Each stage has its record, behind that of the beginning.
    let records = admin.audit(&format!("subject={credential}"));
    assert!(!records.is_empty());
    let records = admin.audit(&format!("subject={}", text(&run, "/id")));
    let kinds: Vec<&str> = records.iter().map(|it| text(it, "/kind")).collect();
    assert_eq!(kinds.first(), Some(&"verification.finished"), "{kinds:?}");
    assert_eq!(kinds.last(), Some(&"verification.started"), "{kinds:?}");
    let told = kinds.iter().filter(|it| **it == "verification.stage");
    assert_eq!(told.count(), stages.len());
    let listed = admin.list(&format!("/credentials/{credential}/verifications"));
    assert_eq!(listed.len(), 1);
    until("the figures", 30, || {
        let metrics = service.status("/metrics").expect(200).text();
        let lines = [
            "strongroom_verifications_total{provider=\"microsoft365\",outcome=\"verified\"} 1",
            "strongroom_verification_duration_seconds_count{provider=\"microsoft365\"} 1",
            "strongroom_verifications_due 0",
            "strongroom_verifications_running 0",
        ];
        let there = |line: &&str| metrics.lines().any(|it| it == *line);
        lines.iter().all(there).then_some(())
    });
    // Nobody can be asked about a generic one.
    admin.client("acme");
    let generic = admin.credential("acme", "production", &["m365-sync"], "x");
    let path = format!("/credentials/{generic}/versions/1/verify");
    admin.send("POST", &path, &json!({})).expect(409);
}

fn what_does_not_work_is_told_and_an_outage_is_not_blamed(backend: Backend) {
    let service = service(&backend);
    let admin = Admin::of(&service);
    let credential = demonstrated(&admin);
    // A pending one that fails changes nothing but its own history.
    let app = "66666666-7777-4888-9999-aaaaaaaaaa03";
    let expired = version(&admin, &credential, app, "demo~expired.made-up-0003");
    let run = attempted(&admin, &verify(&admin, &credential, expired));
    assert_eq!(run["outcome"], "failed", "{run:#}");
    assert_eq!(run["hint"], "secret-expired");
    assert_eq!(run["step"], "make-secret");
    assert!(admin.list("/tasks").is_empty());
    // The provider is out of order: nobody says that the secret is wrong, and it is tried again.
    force(&service, "token", 20, &json!({"throttled": 3600}));
    let run = attempted(&admin, &verify(&admin, &credential, 1));
    assert_eq!(run["outcome"], "undecided", "{run:#}");
    assert_eq!(run["state"], "due");
    assert!(admin.list("/tasks").is_empty());
}

fn an_active_one_that_fails_is_one_task_until_it_works(backend: Backend) {
    let service = service(&backend);
    let admin = Admin::of(&service);
    let credential = demonstrated(&admin);
    let app = "66666666-7777-4888-9999-aaaaaaaaaa03";
    let expired = version(&admin, &credential, app, "demo~expired.made-up-0003");
    let why = json!({"reason": "to see it fail"});
    admin
        .act(&credential, expired, "activate", &why)
        .expect(200);
    for _ in 0..2 {
        let run = attempted(&admin, &verify(&admin, &credential, expired));
        assert_eq!(run["outcome"], "failed", "{run:#}");
        let tasks = admin.list("/tasks");
        assert_eq!(tasks.len(), 1, "{tasks:#?}");
        assert_eq!(tasks[0]["kind"], "credential-failed");
        assert_eq!(text(&tasks[0], "/subject"), credential);
    }
    admin.act(&credential, 1, "activate", &why).expect(200);
    let run = attempted(&admin, &verify(&admin, &credential, 1));
    assert_eq!(run["outcome"], "verified", "{run:#}");
    assert!(admin.list("/tasks").is_empty());
}

fn a_verification_is_taken_up_again_after_a_kill(backend: Backend) {
    let mut service = service(&backend);
    let admin = Admin::of(&service);
    let credential = demonstrated(&admin);
    // Long enough to be killed in the middle.
    force(&service, "token", 5, &json!({"throttled": 20}));
    let run = verify(&admin, &credential, 1);
    until("its beginning", 30, || {
        let run = admin.get(&format!("/verifications/{run}"));
        let begun = run["state"] == "running" && run["stages"].as_array()?.len() > 1;
        begun.then_some(())
    });
    // Meanwhile another version of the same credential waits: never two at once.
    let app = "66666666-7777-4888-9999-aaaaaaaaaaaa";
    let second = version(
        &admin,
        &credential,
        app,
        "demonstration~secret~opens~nothing",
    );
    let other = verify(&admin, &credential, second);
    for _ in 0..10 {
        std::thread::sleep(std::time::Duration::from_millis(150));
        let waiting = admin.get(&format!("/verifications/{other}"));
        assert_eq!(waiting["state"], "due", "{waiting:#}");
    }
    service.kill();
    service.start();
    let admin = Admin::of(&service);
    let first = attempted(&admin, &run);
    assert_eq!(first["outcome"], "verified", "{first:#}");
    assert_eq!(first["tries"], 2);
    assert_eq!(attempted(&admin, &other)["outcome"], "verified");
}
