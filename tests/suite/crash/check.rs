//! After a kill: everything that was acknowledged is there, the log is whole, and every release is in
//! it.

use std::collections::BTreeSet;

use serde_json::Value;

use super::load::{Known, Resource, Targets};
use crate::audit::{export, public_key, records, verify};
use crate::support::http::Connection;
use crate::support::tour::{at_rest, is_shown};
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

/// Without what every release changes, and what sending a mail does.
fn settled(shown: Value) -> Value {
    let mut shown = at_rest(shown);
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

/// A check that finds nothing proves nothing unless it finds what is lost.
#[test]
fn the_checks_after_a_kill_find_what_is_lost() {
    use crate::support::Backend;
    use std::panic::{AssertUnwindSafe, catch_unwind};

    let service = Service::dev(&Backend::Sqlite);
    let admin = Admin::of(&service);
    admin.client("acme");
    let targets = Targets {
        renewed: admin.credential("acme", "production", &["google-sync"], "first"),
        stable: admin.credential("acme", "production", &["m365-sync"], "stays"),
    };
    let role = format!("/api/v1/roles/{}", admin.role("there"));
    let shown = admin.client.get(&role).expect(200);
    let mut nothing = Known::default();
    nothing
        .resources
        .insert(role.clone(), Resource::Shown(shown.clone()));
    everything(&service, &targets, &mut nothing);

    let another = if role.ends_with('0') { '1' } else { '0' };
    let gone = format!("{}{another}", &role[..role.len() - 1]);
    let mut other = shown.clone();
    other.body = shown.text().replace("there", "elsewhere").into_bytes();
    let lost: [fn(&mut Known); 3] = [
        |known| known.releases.extend(["req_lost".to_owned()]),
        |known| {
            known
                .changes
                .extend([("req_lost".to_owned(), "POST /roles")])
        },
        |known| known.versions.extend([9]),
    ];
    let mut all: Vec<Known> = lost
        .into_iter()
        .map(|lose| {
            let mut known = Known::default();
            lose(&mut known);
            known
        })
        .collect();
    for (path, resource) in [
        (&gone, Resource::Shown(shown.clone())),
        (&gone, Resource::Changed(shown)),
        (&role, Resource::Shown(other.clone())),
        (&role, Resource::Changed(other)),
    ] {
        let mut known = Known::default();
        known.resources.insert(path.clone(), resource);
        all.push(known);
    }
    for (n, mut known) in all.into_iter().enumerate() {
        let checked = catch_unwind(AssertUnwindSafe(|| {
            everything(&service, &targets, &mut known);
        }));
        assert!(checked.is_err(), "what was lost in case {n} was not missed");
    }
}
