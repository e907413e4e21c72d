//! Verifiers that take one entry for another, and texts that could be statements: row 48.

use std::fs;

use serde_json::{Value, json};

use super::refused;
use crate::audit::{export, public_key, verify};
use crate::support::proof::Signer;
use crate::support::{Admin, Backend, Request, Service, id_of, on_both};

on_both!(row_48_cve_2023_0620_names_that_look_like_statements);

#[test]
fn row_48_cve_2026_22703_a_record_counts_only_in_its_own_place() {
    let service = Service::dev(&Backend::Sqlite);
    let admin = Admin::of(&service);
    for n in 0..12 {
        admin.role(&format!("r-{n}"));
    }
    let key = public_key(&service);
    let good = export(&service, "good.ndjson");
    verify(&good, &key, &[]).ok();
    let lines: Vec<Value> = fs::read_to_string(&good)
        .expect("an export")
        .lines()
        .map(|line| serde_json::from_str(line).expect("JSON"))
        .collect();
    let records: Vec<usize> = (0..lines.len())
        .filter(|at| lines[*at]["seq"].is_number())
        .collect();
    let (one, two) = (records[3], records[5]);
    let fields: Vec<String> = lines[one]
        .as_object()
        .expect("a record")
        .keys()
        .filter(|name| *name != "seq")
        .cloned()
        .collect();
    assert!(!fields.is_empty());
    let mut forged: Vec<(String, Vec<Value>)> = Vec::new();
    // Every field of one entry in the place of another's, each alone and all together.
    for field in &fields {
        if lines[one][field] != lines[two][field] {
            let mut changed = lines.clone();
            changed[one][field] = lines[two][field].clone();
            forged.push((format!("the {field} of another"), changed));
        }
        for wrong in [
            json!(null),
            json!(""),
            json!("AAAA"),
            json!(7),
            json!([]),
            json!({}),
        ] {
            let mut changed = lines.clone();
            changed[one][field] = wrong.clone();
            forged.push((format!("the {field} is {wrong}"), changed));
        }
    }
    let mut changed = lines.clone();
    for field in &fields {
        changed[one][field] = lines[two][field].clone();
    }
    forged.push(("all of another".into(), changed));
    let mut changed = lines.clone();
    changed.swap(one, two);
    forged.push(("two exchanged".into(), changed));
    for seq in [
        json!(-1),
        json!("3"),
        json!(1e3),
        json!(u64::MAX),
        json!(null),
    ] {
        let mut changed = lines.clone();
        changed[one]["seq"] = seq.clone();
        forged.push((format!("the number {seq}"), changed));
    }
    let count = forged.len();
    for (n, (what, changed)) in forged.into_iter().enumerate() {
        let file = service.home().join(format!("forged-{n}.ndjson"));
        let all: String = changed.iter().map(|line| format!("{line}\n")).collect();
        fs::write(&file, all).expect("a file");
        let ended = verify(&file, &key, &[]);
        assert_eq!(ended.code, 1, "{what}: {}", ended.stdout);
        assert!(
            !ended.stderr.contains("panicked"),
            "{what}: {}",
            ended.stderr
        );
    }
    refused(count);
}

fn row_48_cve_2023_0620_names_that_look_like_statements(backend: Backend) {
    let service = Service::dev(&backend);
    let admin = Admin::of(&service);
    let texts = [
        "'; DROP TABLE clients; --",
        "\" OR 1=1 --",
        "x'); DELETE FROM workloads; --",
        "$1",
        "?1",
        "%",
        "_",
        "\\",
        "\\'; --",
        "{}",
        "NULL",
        "Robert\u{2019}); DROP TABLE operators; --",
    ];
    let before = admin.list("/workloads").len();
    let mut count = 0;
    for (n, name) in texts.iter().enumerate() {
        // As a name it is a name.
        let body = json!({"name": name, "slug": format!("s-{n}")});
        let id = id_of(&admin.create("/clients", &body));
        assert_eq!(admin.get(&format!("/clients/{id}"))["name"], *name);
        let body = json!({"name": name, "email": "ada@example.com", "role": "owner"});
        admin.create(&format!("/clients/{id}/contacts"), &body);
        // As a filter, a cursor or an id it is nothing.
        let escaped: String = name.bytes().map(|byte| format!("%{byte:02X}")).collect();
        for path in [
            format!("/audit?actor={escaped}"),
            format!("/audit?subject={escaped}"),
            format!("/audit?kind={escaped}"),
            format!("/clients?cursor={escaped}"),
            format!("/receipts?workload={escaped}"),
            format!("/credentials?client={escaped}"),
            format!("/credentials?environment={escaped}"),
            format!("/clients/{escaped}"),
            format!("/workloads/{escaped}"),
            format!("/roles/{escaped}"),
            format!("/release/{escaped}"),
        ] {
            let answer = admin.client.get(&format!("/api/v1{path}"));
            let empty = answer.status == 200 && answer.json()["items"] == json!([]);
            assert!(
                empty || (400..500).contains(&answer.status),
                "{path}: {} {}",
                answer.status,
                answer.text()
            );
            count += 1;
        }
    }
    assert_eq!(admin.list("/clients").len(), texts.len() + 1);
    assert_eq!(admin.list("/workloads").len(), before);
    // Nor does a token's claim get anywhere as one.
    let signer = Signer::worker(&service);
    let token = signer.with_claims(|it| it["jti"] = "x');DELETE/**/FROM/**/workloads;--".into());
    let whoami = Request::get("/api/v1/whoami").bearer(&token);
    service.anonymous().send(&whoami).expect(200);
    service.anonymous().send(&whoami).expect(401);
    assert_eq!(admin.list("/workloads").len(), before);
    refused(count);
}
