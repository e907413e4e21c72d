//! Every route for every kind of caller: rows 32, 33 and 38. The routes come from the API's own
//! document, so a new one has to be placed in this table.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::operations::Needs::{Entitled, Nothing, Permission, Proof, Workload};
use super::operations::{Call, Stage, operations};
use super::{Stranger, refused};
use crate::support::proof::self_signed;
use crate::support::{Backend, Client, Request, Service, on_both, text};

on_both!(row_33_cve_2026_45808_every_route_for_every_caller);

/// Somebody who calls, and what they may.
struct Caller {
    what: &'static str,
    client: Client,
    id: Option<String>,
    known: bool,
    workload: bool,
    entitled: bool,
    permissions: &'static [&'static str],
}

impl Caller {
    /// The status that this caller has to get.
    fn expected(&self, call: &Call) -> u16 {
        match call.needs {
            Nothing => call.good,
            _ if !self.known => 401,
            Proof => call.good,
            Workload if self.workload => call.good,
            Entitled if self.entitled => call.good,
            Permission(wanted) if self.permissions.contains(&wanted) => call.good,
            // An operator is told what is missing; a workload learns nothing.
            Permission(_) if !self.workload => 403,
            _ => 404,
        }
    }
}

/// The matrix of `docs/architecture.md`.
const ROLES: [(&str, &[&str]); 4] = [
    (
        "tech-ops",
        &[
            "read-metadata",
            "write-clients",
            "write-credentials",
            "write-principals",
            "operate-deployment",
            "read-audit",
        ],
    ),
    ("account-manager", &["read-metadata", "write-clients"]),
    ("support", &["read-metadata"]),
    ("auditor", &["read-metadata", "read-audit"]),
];

fn callers(service: &Service, stage: &Stage) -> Vec<Caller> {
    let nobody = |what, client| Caller {
        what,
        client,
        id: None,
        known: false,
        workload: false,
        entitled: false,
        permissions: &[],
    };
    let mut all = Vec::new();
    for (role, permissions) in ROLES {
        let (id, pair, _) = stage.operator(role);
        let client = service.client_with(&pair.certificate, &pair.key);
        all.push(Caller {
            what: role,
            client,
            id: Some(id),
            known: true,
            workload: false,
            entitled: false,
            permissions,
        });
        let (id, pair, _) = stage.operator(role);
        stage.disabled(&format!("/operators/{id}"));
        let client = service.client_with(&pair.certificate, &pair.key);
        all.push(nobody("a disabled operator", client));
    }
    stage.admin.environment("staging");
    for (what, environment, role, entitled) in [
        ("the right workload", "production", "m365-sync", true),
        (
            "a workload of another role",
            "production",
            "google-sync",
            false,
        ),
        (
            "a workload of another environment",
            "staging",
            "m365-sync",
            false,
        ),
    ] {
        let worker = stage.admin.workload(&stage.name(), environment, &[role]);
        let client = worker.client(service);
        if entitled {
            client
                .get(&format!("/api/v1/release/{}", stage.credential))
                .expect(200);
        }
        all.push(Caller {
            what,
            client,
            id: Some(worker.id),
            known: true,
            workload: true,
            entitled,
            permissions: &[],
        });
    }
    let worker = stage.workload();
    stage.disabled(&format!("/workloads/{}", worker.id));
    all.push(nobody("a disabled workload", worker.client(service)));
    let worker = stage.workload();
    let key = format!("/workloads/{}/keys/{}", worker.id, worker.key_id);
    stage.admin.send("DELETE", &key, &json!({})).expect(200);
    all.push(nobody("a revoked key", worker.client(service)));
    all
}

fn row_33_cve_2026_45808_every_route_for_every_caller(backend: Backend) {
    let service = Service::dev(&backend);
    let stage = Stage::new(&service);
    let operations = operations(&service);
    let callers = callers(&service, &stage);
    let mut denied = 0;
    for operation in &operations {
        for caller in &callers {
            let call = stage.call(operation);
            let mut as_caller = Stranger::with(&service, caller.client.tls.clone());
            let answer = as_caller.send(&call.request);
            let expected = caller.expected(&call);
            assert_eq!(
                answer.status,
                expected,
                "{operation} by {}: {}",
                caller.what,
                answer.text()
            );
            denied += usize::from(expected >= 400);
        }
    }
    // What was refused left nothing behind but the record of it.
    for caller in callers.iter().filter(|it| it.permissions.len() < 3) {
        let Some(id) = &caller.id else { continue };
        let kinds: BTreeSet<String> = stage
            .admin
            .audit(&format!("actor={id}"))
            .iter()
            .map(|record| text(record, "/kind").to_owned())
            .collect();
        for kind in &kinds {
            let denial = kind == "access.denied" || kind == "release.denied";
            let own = caller.workload && (kind.starts_with("release.") || kind == "version.in-use");
            let clients = caller.permissions.contains(&"write-clients")
                && (kind.starts_with("client.") || kind.starts_with("contact."));
            assert!(denial || own || clients, "{} did {kind}", caller.what);
        }
        assert!(kinds.iter().any(|it| it.ends_with(".denied")), "{kinds:?}");
    }
    refused(denied);
}

#[test]
fn row_38_cve_2025_4656_no_route_without_authentication() {
    let service = Service::dev(&Backend::Sqlite);
    let stage = Stage::new(&service);
    let mut stranger = Stranger::new(&service);
    let foreign = self_signed();
    let foreign = service.client_with(&foreign.certificate, &foreign.key);
    let mut unknown = Stranger::with(&service, foreign.tls);
    let mut count = 0;
    for operation in operations(&service) {
        let call = stage.call(&operation);
        if call.needs == Nothing {
            continue;
        }
        for who in [&mut stranger, &mut unknown] {
            let answer = who.send(&call.request);
            assert_eq!(answer.problem(401), "unauthenticated", "{operation}");
            count += 1;
        }
        // The call itself is good: the next one proves that it was not spoilt by another fault.
        let answer = match call.needs {
            Entitled | Workload => service.client("worker").send(&call.request),
            _ => stage.admin.client.send(&call.request),
        };
        if operation != "POST /release/{credential}/in-use" {
            assert_eq!(answer.status, call.good, "{operation}: {}", answer.text());
        }
    }
    refused(count);
}

#[test]
fn row_32_cve_2023_24999_a_handle_works_under_its_own_owner_only() {
    let service = Service::dev(&Backend::Sqlite);
    let stage = Stage::new(&service);
    let admin = &stage.admin;
    let (one, two) = (stage.workload(), stage.workload());
    let (operator, _, operator_key) = stage.operator("support");
    let contact = stage.contact();
    let contact = contact.rsplit('/').next().expect("an id").to_owned();
    let (client, versions, empty) = (stage.client(), stage.versions(true), stage.empty());
    let empty_id = empty.rsplit('/').next().expect("an id").to_owned();
    let body = json!({"reason": "r"});
    let cases: Vec<(&str, String, Value)> = vec![
        (
            "DELETE",
            format!("/workloads/{}/keys/{}", one.id, two.key_id),
            json!({}),
        ),
        (
            "GET",
            format!("/workloads/{}/keys/{}", one.id, two.key_id),
            json!({}),
        ),
        (
            "DELETE",
            format!("/workloads/{}/keys/{operator_key}", one.id),
            json!({}),
        ),
        (
            "DELETE",
            format!("/operators/{operator}/keys/{}", one.key_id),
            json!({}),
        ),
        (
            "GET",
            format!("/operators/{operator}/keys/{}", one.key_id),
            json!({}),
        ),
        ("GET", format!("/operators/{}", one.id), json!({})),
        ("GET", format!("/workloads/{operator}"), json!({})),
        (
            "DELETE",
            format!("/clients/{client}/contacts/{contact}"),
            json!({}),
        ),
        (
            "GET",
            format!("/clients/{client}/contacts/{contact}"),
            json!({}),
        ),
        ("GET", format!("{empty}/versions/1"), json!({})),
        ("GET", format!("{versions}/versions/3"), json!({})),
        ("GET", format!("{versions}/versions/-1"), json!({})),
        (
            "GET",
            format!("{versions}/versions/99999999999999999999"),
            json!({}),
        ),
        ("GET", format!("/release/{empty_id}"), json!({})),
    ];
    let before = (
        admin.list("/workloads"),
        admin.list("/operators"),
        admin.list("/clients"),
    );
    for (method, path, body) in &cases {
        let answer = match *method {
            "GET" => admin.client.get(&format!("/api/v1{path}")),
            _ => admin.send(method, path, body),
        };
        assert_eq!(answer.problem(404), "not-found", "{method} {path}");
    }
    for verb in ["activate", "reject", "retire"] {
        let answer = admin.change("POST", &empty, &format!("{empty}/versions/1/{verb}"), &body);
        assert_eq!(answer.problem(404), "not-found", "{verb}");
    }
    assert_eq!(
        before,
        (
            admin.list("/workloads"),
            admin.list("/operators"),
            admin.list("/clients")
        )
    );
    // The keys that were named under somebody else still open the door.
    for worker in [&one, &two] {
        worker.client(&service).get("/api/v1/whoami").expect(200);
    }
    // A receipt is its workload's: nobody else reports on it.
    let path = format!("/api/v1/release/{}", stage.credential);
    one.client(&service).get(&path).expect(200);
    let in_use = Request::post(&format!("{path}/in-use"), &json!({"version": 1}));
    two.client(&service).send(&in_use).expect(404);
    one.client(&service).send(&in_use).expect(204);
    refused(cases.len() + 4);
}
