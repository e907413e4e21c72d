//! A bundle of more credentials than one audit record may name.

use serde_json::{Value, json};

use crate::audit::{export, public_key, records, verify};
use crate::support::http::Connection;
use crate::support::{Admin, Backend, Request, Service, on_both, pause};

on_both!(a_large_bundle_is_whole_and_recorded);

/// How many credentials: far more than the 512 versions that one intent may name.
/// `STRONGROOM_TEST_CREDENTIALS` asks for another number.
fn count() -> usize {
    let wanted = std::env::var("STRONGROOM_TEST_CREDENTIALS").ok();
    wanted.map_or(2000, |count| count.parse().expect("a number"))
}

const THREADS: usize = 4;

fn a_large_bundle_is_whole_and_recorded(backend: Backend) {
    let credentials = count();
    let service = Service::dev_with(&backend, &["--log", "warn"]);
    let admin = Admin::of(&service);
    admin.client("large");
    store_many(&service, credentials);
    let before = service.resident();
    let bundle: Value = service
        .client("worker")
        .get("/api/v1/release")
        .expect(200)
        .json();
    let growth = service.resident().saturating_sub(before);
    eprintln!(
        "{credentials} credentials: the service grew by {growth} KiB to {} KiB",
        before + growth
    );
    assert!(growth < 32 * 1024, "{growth} KiB");
    let ids: Vec<&str> = bundle["credentials"]
        .as_array()
        .expect("a list")
        .iter()
        .map(|entry| entry["id"].as_str().expect("an id"))
        .collect();
    assert_eq!(ids.len(), credentials + 1);
    assert!(ids.is_sorted());
    assert_eq!(bundle["failed"], serde_json::json!([]));

    pause(1200); // The head is signed at least once a second.
    let log = export(&service, "large.ndjson");
    verify(&log, &public_key(&service), &[]).ok();
    let named: usize = records(&log)
        .iter()
        .filter(|record| record["kind"] == "release.intent")
        .filter_map(|record| record["subjects"].as_array().map(Vec::len))
        .sum();
    // `dev` was asked for one release when it was ready, or for none.
    assert!(
        (credentials + 1..=credentials + 3).contains(&named),
        "{named} versions in intents"
    );
}

/// Stores so many credentials of the client `large`.
pub fn store_many(service: &Service, credentials: usize) {
    std::thread::scope(|scope| {
        for thread in 0..THREADS {
            scope.spawn(move || {
                // Connections that are kept: a handshake costs more than what is written. The service
                // ends each after ten minutes.
                for part in (0..credentials).collect::<Vec<_>>().chunks(5000) {
                    let mut connection = service.client("operator").connect();
                    for &n in part.iter().filter(|&n| n % THREADS == thread) {
                        store(&mut connection, n);
                    }
                }
            });
        }
    });
}

/// Stores credential number `n`.
fn store(connection: &mut Connection, n: usize) {
    let body = json!({"client": "large", "label": format!("number {n}"), "kind": "generic",
                      "environment": "production", "roles": ["m365-sync"]});
    let id = created(connection, "/api/v1/credentials", &body)["id"].clone();
    let versions = format!(
        "/api/v1/credentials/{}/versions",
        id.as_str().expect("an id")
    );
    let value = format!("{n} {}", "v".repeat(1000));
    let body = json!({"fields": {"value": value}, "activate": {"reason": "suite"}});
    created(connection, &versions, &body);
}

fn created(connection: &mut Connection, path: &str, body: &Value) -> Value {
    let answer = connection.send(&Request::post(path, body));
    answer.expect("an answer").expect(201).json()
}
