//! The audit log: listed by who, what and when, exported, and verified without the server.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use base64::{Engine, engine::general_purpose::STANDARD};
use serde_json::{Value, json};

use strongroom::audit::Origin;

use crate::support::cli::{Ended, cli, run};
use crate::support::proof::Signer;
use crate::support::service::program;
use crate::support::{Admin, Backend, Request, Service, id_of, on_both, pause, text};

on_both!(
    records_by_actor_subject_kind_and_time,
    promise_10_an_edited_log_is_found_offline,
);

/// Exports a service's log into `NAME` and gives the file.
#[track_caller]
pub fn export(service: &Service, name: &str) -> PathBuf {
    let file = service.home().join(name);
    cli(
        service,
        "operator",
        &["audit", "export", file.to_str().expect("a path")],
    )
    .ok();
    file
}

/// The public key of a service's log, in a file.
#[track_caller]
pub fn public_key(service: &Service) -> PathBuf {
    let file = service.home().join("audit.vkey");
    let key = cli(service, "operator", &["audit", "public-key"])
        .ok()
        .stdout;
    fs::write(&file, key).expect("a file");
    file
}

/// `audit verify`, which needs no server.
pub fn verify(export: &Path, key: &Path, kept: &[&Path]) -> Ended {
    let mut command = program();
    command
        .args(["--output", "json", "audit", "verify"])
        .arg(export);
    command.arg("--public-key").arg(key);
    for checkpoint in kept {
        command.arg("--checkpoint").arg(checkpoint);
    }
    run(command, b"")
}

/// The records of an export, in their order.
#[track_caller]
pub fn records(export: &Path) -> Vec<Value> {
    let text = fs::read_to_string(export).expect("an export");
    let lines = text
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).expect("JSON"));
    lines
        .filter_map(|line| serde_json::from_str(line.get("record")?.as_str()?).ok())
        .collect()
}

fn records_by_actor_subject_kind_and_time(backend: Backend) {
    let service = Service::dev(&backend);
    let admin = Admin::of(&service);
    let operator = id_of(&admin.get("/whoami"));
    admin.client("acme");
    let id = admin.credential("acme", "production", &["m365-sync"], "lent");
    let other = admin.credential("acme", "production", &["google-sync"], "lent");
    let worker = service.client("worker");
    let worker_id = id_of(&worker.get("/api/v1/whoami").expect(200).json());
    worker.get(&format!("/api/v1/release/{id}")).expect(200);
    pause(5);
    let middle = admin.audit(&format!("subject={id}"));
    let middle = text(&middle[0], "/at").to_owned();
    pause(5);
    worker.get(&format!("/api/v1/release/{other}")).expect(404);

    let kinds = |query: &str| -> Vec<String> {
        let records = admin.audit(query);
        records
            .iter()
            .map(|record| text(record, "/kind").to_owned())
            .collect()
    };
    let about = kinds(&format!("subject={id}"));
    for kind in ["credential.created", "version.added", "release.intent"] {
        assert!(
            about.iter().any(|known| known == kind),
            "{kind} in {about:?}"
        );
    }
    assert!(
        !about.iter().any(|kind| kind == "release.denied"),
        "{about:?}"
    );
    let by_worker: BTreeSet<String> = kinds(&format!("actor={worker_id}")).into_iter().collect();
    assert!(by_worker.contains("release.intent") && by_worker.contains("release.denied"));
    assert!(!by_worker.contains("credential.created"), "{by_worker:?}");
    let by_operator = kinds(&format!("actor={operator}"));
    assert!(by_operator.iter().any(|kind| kind == "client.created"));
    assert!(
        !by_operator.iter().any(|kind| kind.starts_with("release.")),
        "{by_operator:?}"
    );
    let denials = admin.audit("kind=release.denied");
    assert_eq!(denials.len(), 1);
    assert_eq!(denials[0]["actor"], worker_id);
    assert_eq!(denials[0]["subjects"], json!([other]));
    assert_eq!(denials[0]["node"], "main");
    assert!(text(&denials[0], "/key").starts_with("pkey_"));
    assert!(text(&denials[0], "/request").starts_with("req_"));
    // Newest first; since is included, until is not.
    let all = admin.audit("");
    let times: Vec<&str> = all.iter().map(|record| text(record, "/at")).collect();
    assert!(times.is_sorted_by(|a, b| a >= b), "{times:?}");
    let since = admin.audit(&format!("since={middle}"));
    let until = admin.audit(&format!("until={middle}"));
    assert!(
        since
            .iter()
            .all(|record| text(record, "/at") >= middle.as_str())
    );
    assert!(
        until
            .iter()
            .all(|record| text(record, "/at") < middle.as_str())
    );
    assert!(
        since
            .iter()
            .any(|record| record["kind"] == "release.denied")
    );
    assert!(until.iter().any(|record| record["kind"] == "version.added"));
    // Cursors: pages of one give the same as one page of all.
    let mut paged = Vec::new();
    let mut cursor = String::new();
    loop {
        let page = admin.get(&format!("/audit?subject={id}&limit=1{cursor}"));
        paged.extend(page["items"].as_array().expect("items").clone());
        match page["next"].as_str() {
            Some(next) => cursor = format!("&cursor={next}"),
            None => break,
        }
    }
    assert_eq!(paged, admin.audit(&format!("subject={id}")));
    // No record holds a name, an address or a value.
    let everything = Value::from(all).to_string();
    for word in [
        "acme",
        "Ada Example",
        "ada@",
        "lent",
        "demo-worker",
        "mail sync",
    ] {
        assert!(!everything.contains(word), "{word}");
    }
    let answer = worker.get("/api/v1/audit");
    assert_eq!(answer.problem(404), "not-found");
}

fn promise_10_an_edited_log_is_found_offline(backend: Backend) {
    let service = Service::dev(&backend);
    let admin = Admin::of(&service);
    let worker = service.client("worker");
    let mut kept = Vec::new();
    for n in 0..6 {
        let answer = worker.get("/api/v1/release").expect(200);
        let note = answer
            .header("strongroom-checkpoint")
            .expect("a checkpoint");
        let note = STANDARD.decode(note).expect("base64");
        let file = service.home().join(format!("kept.{n}"));
        fs::write(&file, &note).expect("a file");
        kept.push(file);
        admin.role(&format!("role-{n}"));
        pause(400);
    }
    let key = public_key(&service);
    let good = export(&service, "log.ndjson");
    let kept: Vec<&Path> = kept.iter().map(PathBuf::as_path).collect();
    let report = verify(&good, &key, &kept).ok().json();
    let lines: Vec<String> = fs::read_to_string(&good)
        .expect("it")
        .lines()
        .map(str::to_owned)
        .collect();
    let count = records(&good).len();
    assert!(count > 20, "{report}");
    let checkpoints = lines
        .iter()
        .filter(|line| line.starts_with("{\"checkpoint\""))
        .count();
    assert!(checkpoints >= 2, "{checkpoints}");

    // Under another key, though it has the same name, nothing is signed.
    let deployment = Signer::worker(&service).audience;
    let origin = Origin {
        deployment: deployment.parse().expect("a deployment id"),
        node: "main".parse().expect("a name"),
        epoch: 0,
    };
    let forger = strongroom::audit::Signer::from_seed(origin, &[7; 32]).expect("a signer");
    let forged_key = service.home().join("forged.vkey");
    fs::write(&forged_key, forger.verifier().to_string()).expect("a file");
    let ended = verify(&good, &forged_key, &[]);
    assert_eq!(ended.code, 1, "{}", ended.stdout);
    let tampered = |name: &str, change: &dyn Fn(&mut Vec<String>)| {
        let mut lines = lines.clone();
        change(&mut lines);
        let file = service.home().join(name);
        fs::write(&file, lines.join("\n") + "\n").expect("a file");
        let ended = verify(&file, &key, &kept);
        assert_eq!(ended.code, 1, "{name}: {}", ended.stdout);
        ended.stdout
    };
    let place = |seq: usize| {
        let start = format!("{{\"seq\":{seq},");
        lines
            .iter()
            .position(|line| line.starts_with(&start))
            .expect("a record")
    };
    // One that was edited is named.
    let seq = count / 2;
    let said = tampered("edited", &|lines| {
        let line = &mut lines[place(seq)];
        *line = line.replace("\\\"at\\\":", "\\\"at\\\":1");
    });
    let named = json!({"code": "record-edited", "seq": seq});
    let report: Value = serde_json::from_str(&said).expect("a report");
    let findings = report["findings"].as_array().expect("findings");
    assert!(findings.contains(&named), "{said}");
    // Edited with its leaf hash made to fit: the range between two checkpoints is named.
    let said = tampered("forged", &|lines| {
        let mut line: Value = serde_json::from_str(&lines[place(seq)]).expect("JSON");
        let record = text(&line, "/record").replace("\"at\":", "\"at\":1");
        let leaf = strongroom::audit::leaf_hash(record.as_bytes());
        line["leaf"] = STANDARD.encode(leaf).into();
        let record = serde_json::to_string(&record).expect("JSON");
        let leaf = text(&line, "/leaf").to_owned();
        lines[place(seq)] = format!("{{\"seq\":{seq},\"leaf\":\"{leaf}\",\"record\":{record}}}");
    });
    assert!(
        said.contains("range-edited") || said.contains("record-malformed"),
        "{said}"
    );
    // Dropped, exchanged, cut.
    tampered("dropped", &|lines| drop(lines.remove(place(seq))));
    tampered("exchanged", &|lines| lines.swap(place(seq), place(seq + 1)));
    let cut = tampered("cut", &|lines| {
        let end = place(3);
        lines.truncate(end);
        lines.push("{\"end\":3}".to_owned());
    });
    assert!(!cut.is_empty());
    // A tail that is cut cleanly is found by a checkpoint that was kept elsewhere, and only by it.
    let first = lines
        .iter()
        .position(|line| line.starts_with("{\"checkpoint\""))
        .expect("one");
    let covered = lines[..first]
        .iter()
        .filter(|line| line.starts_with("{\"seq\""))
        .count();
    let mut short = lines[..=first].to_vec();
    short.push(format!("{{\"end\":{covered}}}"));
    let file = service.home().join("short");
    fs::write(&file, short.join("\n") + "\n").expect("a file");
    verify(&file, &key, &[]).ok();
    let ended = verify(&file, &key, &kept[5..]);
    assert_eq!(ended.code, 1, "{}", ended.stdout);
    // A truthful export of later fits everything that was kept before.
    service
        .client("worker")
        .send(&Request::get("/api/v1/release"))
        .expect(200);
    pause(1200);
    verify(&export(&service, "later.ndjson"), &key, &kept).ok();
}
