//! After a kill: everything that was acknowledged is there, the log is whole, and every release is in
//! it.

use std::collections::BTreeSet;

use serde_json::Value;

use super::load::{Known, Resource, Targets};
use crate::audit::{export, public_key, records, verify};
use crate::support::http::Connection;
use crate::support::tour::is_shown;
use crate::support::{Admin, Request, Response, Service, id_of, pause};

/// Fails unless all of it holds.
pub fn everything(service: &Service, targets: &Targets, known: &mut Known) {
    for (path, resource) in &known.resources {
        let mut open = service.client("operator").connect();
        check_resource(&mut open, path, resource);
    }
    if known.resources.len() > 200 {
        // Looked at often enough.
        known.resources.clear();
    }
    versions(service, &targets.renewed, &known.versions);
    whole_bundle(service);

    pause(1200); // The head is signed at least once a second.
    let export = export(service, "log.ndjson");
    verify(&export, &public_key(service), &[]).ok();
    let records = records(&export);
    recorded(&records, known);
    receipts(service, &records);
}

fn check_resource(open: &mut Connection, path: &str, resource: &Resource) {
    let now = open.send(&Request::get(path)).expect("an answer");
    let text = now.text();
    match resource {
        Resource::Shown(before) => {
            assert_eq!(now.status, before.status, "{path}: {text}");
            if before.status == 200 {
                assert_eq!(settled(now.json()), settled(before.json()), "{path}");
            }
        }
        Resource::Changed(answer) => {
            let answered = answer.text();
            assert!(
                is_shown(answer, &now),
                "{path}: {answered} was acknowledged, now there is {text}"
            );
        }
        Resource::Doubtful(before) => {
            assert!(matches!(now.status, 200 | 404), "{path}: {text}");
            let revision = |it: &Response| it.json()["revision"].as_i64();
            if let Some(before) = before.as_ref().filter(|before| before.status == 200)
                && now.status == 200
            {
                assert!(revision(&now) >= revision(before), "{path}: {text}");
            }
        }
    }
}

/// Without what every release changes.
fn settled(mut shown: Value) -> Value {
    for item in shown["items"].as_array_mut().into_iter().flatten() {
        item["last_at"] = Value::Null;
    }
    shown
}

/// Of the credential that is renewed all the time: value, wraps and state of a version are one commit.
fn versions(service: &Service, renewed: &str, acknowledged: &BTreeSet<i64>) {
    let credential = Admin::of(service).get(&format!("/credentials/{renewed}"));
    let versions = credential["versions"].as_array().expect("versions");
    let number = |version: &Value| version["number"].as_i64().expect("a number");
    let numbers: BTreeSet<i64> = versions.iter().map(number).collect();
    assert!(
        acknowledged.is_subset(&numbers),
        "{acknowledged:?} in {numbers:?}"
    );
    let active = versions
        .iter()
        .filter(|version| version["state"] == "active");
    assert_eq!(active.count(), 1);
    let path = format!("/api/v1/release/{renewed}");
    let entry = service.client("other").get(&path).expect(200).json();
    assert_eq!(id_of(&entry), renewed);
}

/// Everything that can be released opens.
fn whole_bundle(service: &Service) {
    let bundle = service.client("worker").get("/api/v1/release").expect(200);
    assert_eq!(items_of(&bundle.json(), "failed"), 0, "{}", bundle.text());
    assert!(items_of(&bundle.json(), "credentials") > 0);
}

fn items_of(bundle: &Value, name: &str) -> usize {
    bundle[name].as_array().expect("a list").len()
}

/// Each release has its intent, each change a record.
fn recorded(records: &[Value], known: &Known) {
    let request = |record: &Value| record["request"].as_str().map(str::to_owned);
    let intents: BTreeSet<String> = records
        .iter()
        .filter(|record| record["kind"] == "release.intent")
        .filter_map(request)
        .collect();
    for id in &known.releases {
        assert!(intents.contains(id), "{id} was released without a record");
    }
    let all: BTreeSet<String> = records.iter().filter_map(request).collect();
    for (id, operation) in &known.changes {
        assert!(all.contains(id), "{operation}, {id}, has no record");
    }
}

/// The receipts say what the log says: who was given which version.
fn receipts(service: &Service, records: &[Value]) {
    let mut logged = BTreeSet::new();
    for record in records.iter().filter(|it| it["kind"] == "release.intent") {
        let workload = record["actor"].as_str().expect("an actor");
        for subject in record["subjects"].as_array().expect("subjects") {
            let subject = subject.as_str().expect("a subject");
            if subject.contains('#') {
                logged.insert(format!("{workload} {subject}"));
            }
        }
    }
    let receipts = Admin::of(service).list("/receipts");
    let kept: BTreeSet<String> = receipts
        .iter()
        .map(|receipt| {
            let id = |name: &str| receipt[name].as_str().expect("an id").to_owned();
            let version = &receipt["version"];
            format!("{} {}#{version}", id("workload"), id("credential"))
        })
        .collect();
    assert_eq!(kept, logged);
}
