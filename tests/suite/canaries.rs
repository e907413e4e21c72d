//! Promise 5: values that were stored, released or sent where they do not belong are in no log, error,
//! metric, audit record, database or argument list.

use std::fs;

use base64::Engine;
use base64::engine::general_purpose::{STANDARD_NO_PAD, URL_SAFE_NO_PAD};
use serde_json::json;

use crate::audit::export;
use crate::support::sql::postgres_dump;
use crate::support::{Admin, Backend, Request, Service, id_of, on_both};

on_both!(promise_5_a_value_stays_where_it_belongs);

/// Twenty values that occur nowhere else.
fn canaries() -> Vec<String> {
    (0..20)
        .map(|n| format!("Canary{n:02}x7Qz9Kp4Vw{}", n * 7919 + 13))
        .collect()
}

/// Which of the canaries are in `bytes`: as they are, in base64 or in hexadecimal.
fn found(bytes: &[u8], canaries: &[String]) -> Vec<String> {
    let has = |needle: &[u8]| {
        !needle.is_empty() && bytes.windows(needle.len()).any(|window| window == needle)
    };
    let is_there = |canary: &&String| forms(canary).iter().any(|form| has(form.as_bytes()));
    canaries.iter().filter(is_there).cloned().collect()
}

/// The forms in which a value can hide in a larger text.
fn forms(canary: &str) -> Vec<String> {
    let mut forms = vec![
        canary.to_owned(),
        hex::encode(canary),
        hex::encode_upper(canary),
    ];
    // What base64 makes of a value depends on how many bytes stand before it; its ends depend on what
    // is beside them, so they are left out.
    for before in 0..3 {
        let text = format!("{}{canary}", &"..."[..before]);
        for encoded in [STANDARD_NO_PAD.encode(&text), URL_SAFE_NO_PAD.encode(&text)] {
            forms.push(encoded[4..encoded.len() - 4].to_owned());
        }
    }
    forms
}

/// A search that finds nothing proves nothing unless it finds what is there.
#[test]
fn the_search_finds_every_form() {
    let canaries = canaries();
    for canary in &canaries {
        let one = std::slice::from_ref(canary);
        for before in ["", "a", "ab", "abc", "abcd"] {
            let text = format!("{before}{canary}{before}z");
            let texts = [
                text.clone(),
                STANDARD_NO_PAD.encode(&text),
                URL_SAFE_NO_PAD.encode(&text),
                hex::encode(&text),
                hex::encode_upper(&text),
            ];
            for text in texts {
                assert_eq!(found(text.as_bytes(), &canaries), one, "{text}");
            }
        }
    }
    assert!(found(b"nothing of the kind", &canaries).is_empty());
}

fn promise_5_a_value_stays_where_it_belongs(backend: Backend) {
    let mut service = Service::dev_with(&backend, &["--log", "strongroom=trace,debug"]);
    let canaries = canaries();
    let mut errors: Vec<u8> = Vec::new();
    store_and_release(&service, &canaries[..8]);
    send_where_it_does_not_belong(&service, &canaries[8..], &mut errors);

    assert!(
        found(&errors, &canaries).is_empty(),
        "an error body holds {:?}",
        found(&errors, &canaries)
    );
    let metrics = service.status("/metrics").expect(200).text();
    assert!(
        found(metrics.as_bytes(), &canaries).is_empty(),
        "the metrics"
    );
    let log = fs::read(export(&service, "canaries.ndjson")).expect("the export");
    assert!(found(&log, &canaries).is_empty(), "the audit log");
    let arguments = fs::read(format!("/proc/{}/cmdline", service.pid())).expect("arguments");
    assert!(found(&arguments, &canaries).is_empty(), "the arguments");
    assert!(
        found(&service.all_output(), &canaries).is_empty(),
        "what it logged"
    );
    match &backend {
        Backend::Sqlite => assert!(
            look_into_files(&service, &canaries) > 100_000,
            "the database was looked into"
        ),
        Backend::Postgres(server) => {
            let url = fs::read_to_string(service.home().join("database-url")).expect("a URL");
            let rows = postgres_dump(&url);
            assert!(rows.len() > 10_000, "the database was looked into");
            assert!(found(rows.as_bytes(), &canaries).is_empty(), "the database");
            let log = server.log();
            assert!(found(log.as_bytes(), &canaries).is_empty(), "its log");
        }
    }
    // An orderly end writes what was still in memory.
    service.stop();
    look_into_files(&service, &canaries);
    let output = service.all_output();
    assert!(found(&output, &canaries).is_empty(), "what it logged");
    for key in ["PRIVATE KEY-----", "AGE-SECRET-KEY-", "postgres://"] {
        let mut places = output.windows(key.len());
        assert!(!places.any(|at| at == key.as_bytes()), "{key} in the log");
    }
}

/// Looks into every file of the data directory and gives the number of bytes.
fn look_into_files(service: &Service, canaries: &[String]) -> usize {
    let mut looked_at = 0;
    for file in fs::read_dir(service.data()).expect("the data") {
        let path = file.expect("a file").path();
        if path.is_file() {
            let bytes = fs::read(&path).expect("a file");
            looked_at += bytes.len();
            assert!(found(&bytes, canaries).is_empty(), "{}", path.display());
        }
    }
    looked_at
}

/// Every secret field of every kind, released alone and in a bundle; the answer has it, which also
/// shows that the search finds what is there.
fn store_and_release(service: &Service, canaries: &[String]) {
    let admin = Admin::of(service);
    admin.client("canary");
    let google = json!({
        "type": "service_account", "client_email": "a@b.iam.gserviceaccount.com",
        "private_key": format!("-----BEGIN PRIVATE KEY-----\n{}\n", canaries[4]),
        "token_uri": "https://oauth2.googleapis.com/token",
    });
    let ids = json!({
        "tenant_id": "11111111-2222-4333-8444-555555555555",
        "client_id": "66666666-7777-4888-9999-aaaaaaaaaaaa",
    });
    let with = |more: serde_json::Value| {
        let mut fields = ids.clone();
        let fields_of = fields.as_object_mut().expect("an object");
        fields_of.extend(more.as_object().expect("an object").clone());
        fields
    };
    let versions = [
        (
            "microsoft365",
            with(json!({"client_secret": canaries[0],
            "service_account": canaries[3], "service_account_password": canaries[1]})),
        ),
        (
            "microsoft365",
            with(json!({
            "certificate": "-----BEGIN CERTIFICATE-----\nAA\n-----END CERTIFICATE-----\n",
            "certificate_private_key": format!("-----BEGIN PRIVATE KEY-----\n{}\n", canaries[2])})),
        ),
        (
            "google-workspace",
            json!({"service_account_key": google.to_string(),
            "delegated_user": "a@b.example"}),
        ),
        (
            "generic",
            json!({"one": canaries[5], "two": canaries[6], "three": canaries[7]}),
        ),
    ];
    let worker = service.client("worker");
    for (kind, fields) in versions {
        let body = json!({"client": "canary", "label": kind, "kind": kind,
                          "environment": "production", "roles": ["m365-sync"]});
        let id = id_of(&admin.create("/credentials", &body));
        let body = json!({"fields": fields, "expires_at": "2031-01-01",
                          "activate": {"reason": "canary"}});
        let answer = admin.send("POST", &format!("/credentials/{id}/versions"), &body);
        assert!(found(answer.expect(201).text().as_bytes(), canaries).is_empty());
        let entry = worker
            .get(&format!("/api/v1/release/{id}"))
            .expect(200)
            .text();
        assert!(
            !found(entry.as_bytes(), canaries).is_empty(),
            "the worker gets it"
        );
        let shown = admin.get(&format!("/credentials/{id}")).to_string();
        assert!(
            found(shown.as_bytes(), canaries).is_empty(),
            "no operator sees it"
        );
    }
    let bundle = worker.get("/api/v1/release").expect(200).text();
    assert_eq!(found(bundle.as_bytes(), canaries), canaries);
}

/// Values in wrong places: paths, queries, headers, tokens, and bodies that are refused.
fn send_where_it_does_not_belong(service: &Service, canaries: &[String], errors: &mut Vec<u8>) {
    let admin = Admin::of(service);
    let operator = service.client("operator");
    let worker = service.client("worker");
    let anonymous = service.anonymous();
    let credential = admin.empty_credential("canary", "production", &["m365-sync"]);
    let versions = format!("/api/v1/credentials/{credential}/versions");
    let c = |n: usize| canaries[n].as_str();
    let mut broken = json!({"fields": {"value": c(0)}}).to_string();
    broken.truncate(broken.len() - 1);
    let post = |body: serde_json::Value| Request::post(&versions, &body);
    let raw = Request::new("POST", &versions)
        .header("content-type", "application/json")
        .bytes(broken.into_bytes());
    let stale = post(json!({"label": c(11)})).header("if-match", c(11));
    let answers = [
        (400, operator.send(&raw)),
        (
            422,
            operator.send(&post(json!({"fields": {"value": ""}, c(1): true}))),
        ),
        (422, operator.send(&post(json!({"fields": {c(2): "x"}})))),
        (422, operator.send(&post(json!({"fields": c(3)})))),
        (
            422,
            operator.send(&post(json!({"fields": {"value": "x"}, "expires_at": c(4)}))),
        ),
        (
            422,
            operator.send(&Request::post("/api/v1/roles", &json!({"name": c(5)}))),
        ),
        // A filter that names nothing finds nothing.
        (
            200,
            operator.get(&format!("/api/v1/credentials?client={}", c(6))),
        ),
        (
            400,
            operator.get(&format!("/api/v1/credentials?{}=1", c(7))),
        ),
        (404, worker.get(&format!("/api/v1/release/{}", c(8)))),
        (404, operator.get(&format!("/api/v1/{}", c(8)))),
        (
            401,
            anonymous.send(&Request::get("/api/v1/whoami").bearer(c(9))),
        ),
        // A header that nobody knows is no reason to refuse.
        (
            200,
            operator.send(&Request::get("/api/v1/whoami").header("x-anything", c(10))),
        ),
        (422, operator.send(&stale)),
    ];
    for (status, answer) in answers {
        let answer = answer.expect(status);
        errors.extend_from_slice(answer.text().as_bytes());
        errors.extend_from_slice(format!("{:?}", answer.headers).as_bytes());
    }
}
