//! Proofs that an audit log only grew, as a worker asks for them that keeps checkpoints.

use base64::{Engine, engine::general_purpose::STANDARD};
use serde_json::Value;

use strongroom::audit::merkle::{Hash, consistency_proof, root_of, verify_consistency};
use strongroom::audit::{Checkpoint, Origin, VerifierKey};

use crate::audit::export;
use crate::support::http::Connection;
use crate::support::{Admin, Backend, Request, Service, on_both, pause};
use crate::tampering::execute;

on_both!(
    a_worker_proves_that_the_log_only_grew,
    a_proof_is_refused_for_what_never_was,
);

fn path(log: &impl std::fmt::Display, from: u64, to: u64) -> String {
    format!("/api/v1/audit/consistency?log={log}&from={from}&to={to}")
}

fn hashes(answer: &Value) -> Vec<Hash> {
    let list = answer["proof"].as_array().expect("a list");
    list.iter()
        .map(|hash| {
            let hash = STANDARD.decode(hash.as_str().expect("a text"));
            hash.expect("base64").try_into().expect("32 bytes")
        })
        .collect()
}

/// Makes records, one for each release, and gives the checkpoints that came with them.
fn releases(
    connection: &mut Connection,
    id: &str,
    count: usize,
    key: &VerifierKey,
) -> Vec<Checkpoint> {
    let mut seen: Vec<Checkpoint> = Vec::new();
    for _ in 0..count {
        let request = Request::get(&format!("/api/v1/release/{id}"));
        let answer = connection.send(&request).expect("an answer").expect(200);
        let header = answer
            .header("strongroom-checkpoint")
            .expect("a checkpoint");
        let note = String::from_utf8(STANDARD.decode(header).expect("base64")).expect("text");
        let checkpoint = Checkpoint::open(&note, std::slice::from_ref(key)).expect("ours");
        if seen.last() != Some(&checkpoint) {
            seen.push(checkpoint);
        }
    }
    seen
}

/// The leaf hashes of a log, from its export.
fn leaves(service: &Service, name: &str) -> Vec<Hash> {
    let text = std::fs::read_to_string(export(service, name)).expect("an export");
    text.lines()
        .map(|line| serde_json::from_str::<Value>(line).expect("JSON"))
        .filter_map(|line| {
            let record = line.get("record")?.as_str()?.to_owned();
            Some(strongroom::audit::leaf_hash(record.as_bytes()))
        })
        .collect()
}

fn a_worker_proves_that_the_log_only_grew(backend: Backend) {
    let mut service = Service::dev(&backend);
    let admin = Admin::of(&service);
    admin.client("acme");
    let id = admin.credential("acme", "production", &["m365-sync"], "lent");
    let worker = service.client("worker");
    let key = worker.get("/api/v1/audit/key").expect(200).text();
    let key: VerifierKey = key.trim().parse().expect("a key");
    let mut seen = releases(&mut worker.connect(), &id, 400, &key);
    service.restart();
    let worker = service.client("worker");
    let mut connection = worker.connect();
    seen.extend(releases(&mut connection, &id, 400, &key));
    pause(1200); // The head is signed at least once a second.
    seen.extend(releases(&mut connection, &id, 1, &key));
    seen.dedup();
    let origin = seen[0].origin.clone();
    assert!(seen.len() >= 3, "{seen:?}");
    let mut ask = |log: &Origin, from: u64, to: u64| {
        let request = Request::get(&path(log, from, to));
        let answer = connection.send(&request).expect("an answer").expect(200);
        let answer = answer.json();
        assert_eq!(answer["log"], log.to_string());
        assert_eq!((&answer["from"], &answer["to"]), (&from.into(), &to.into()));
        assert_eq!(answer.as_object().expect("an object").len(), 4);
        hashes(&answer)
    };

    // Between the checkpoints that it was given, from what it holds alone.
    for (at, from) in seen.iter().enumerate() {
        for to in &seen[at..] {
            assert_eq!(from.origin, origin);
            let proof = ask(&origin, from.size, to.size);
            let verified = verify_consistency(from.size, to.size, &from.root, &to.root, &proof);
            assert_eq!(verified, Ok(()), "{} {}", from.size, to.size);
            let other = strongroom::audit::leaf_hash(b"other");
            let forged = verify_consistency(from.size, to.size, &other, &to.root, &proof);
            assert!(forged.is_err());
        }
    }

    // The same as from all the leaves, at the edges of what is kept.
    let leaves = leaves(&service, "log.ndjson");
    let size = leaves.len() as u64;
    assert!(size > 800, "{size}");
    let at = |size: u64| usize::try_from(size).expect("a size");
    let sizes = [
        1,
        2,
        3,
        255,
        256,
        257,
        511,
        512,
        513,
        700,
        768,
        size - 1,
        size,
    ];
    for to in sizes {
        for from in sizes.into_iter().filter(|from| *from <= to) {
            let proof = ask(&origin, from, to);
            let naive = consistency_proof(&leaves[..at(to)], at(from));
            assert_eq!(Some(proof), naive, "{from} {to}");
        }
        assert!(ask(&origin, 0, to).is_empty());
    }
    let newest = seen.last().expect("a checkpoint");
    assert_eq!(newest.root, root_of(&leaves[..at(newest.size)]));

    // A log of an earlier beginning and of another node of the deployment.
    for table in [
        (
            "audit_logs",
            "size, frontier, checkpoint, signed_size, holder, lease_until",
        ),
        (
            "audit_records",
            "seq, at, kind, actor, subject, leaf, record",
        ),
        ("audit_tiles", "level, idx, hash"),
    ] {
        let (table, columns) = table;
        let copy = format!(
            "INSERT INTO {table} (node, epoch, {columns}) SELECT 'other', 7, {columns} FROM {table}"
        );
        execute(&backend, &service, &copy);
    }
    let other = Origin {
        node: "other".parse().expect("a name"),
        epoch: 7,
        ..origin.clone()
    };
    for to in [300, 512, 700] {
        assert_eq!(ask(&other, 200, to), ask(&origin, 200, to));
    }
    // A tree with a hole proves nothing.
    execute(
        &backend,
        &service,
        "DELETE FROM audit_tiles WHERE node = 'other' AND idx = 1",
    );
    let answer = worker.get(&path(&other, 200, 700));
    assert_eq!(answer.problem(500), "internal");
}

fn a_proof_is_refused_for_what_never_was(backend: Backend) {
    let service = Service::dev(&backend);
    let admin = Admin::of(&service);
    admin.client("acme");
    let id = admin.credential("acme", "production", &["m365-sync"], "lent");
    let worker = service.client("worker");
    let key = worker.get("/api/v1/audit/key").expect(200).text();
    let key: VerifierKey = key.trim().parse().expect("a key");
    let seen = releases(&mut worker.connect(), &id, 1, &key);
    let log = &seen[0].origin;
    let good = path(log, 1, 2);
    worker.get(&good).expect(200);
    service.client("operator").get(&good).expect(200);
    service.client("other").get(&good).expect(200);
    let refused = service.anonymous().get(&good).problem(401);
    assert_eq!(refused, "unauthenticated");

    let unknown = |change: &dyn Fn(&mut Origin)| {
        let mut origin = log.clone();
        change(&mut origin);
        let answer = worker.get(&path(&origin, 1, 2));
        assert_eq!(answer.problem(404), "not-found", "{origin}");
    };
    unknown(&|origin| origin.node = "nobody".parse().expect("a name"));
    unknown(&|origin| origin.deployment = "dev-other".parse().expect("a name"));
    unknown(&|origin| origin.epoch += 1);
    unknown(&|origin| origin.epoch = u64::MAX);
    for (query, status, field) in [
        (path(log, 2, 1), 422, "from"),
        (path(log, 1, 1_000_000), 422, "to"),
        (path(log, 1, u64::MAX), 422, "to"),
        (path(log, u64::MAX, u64::MAX), 422, "to"),
        (path(&"strongroom/x", 1, 2), 422, "log"),
        (path(log, 1, 2).replace("from=1", "from=-1"), 400, "from"),
        (path(log, 1, 2).replace("&to=2", ""), 400, "to"),
        (format!("{good}&more=1"), 400, "(query)"),
    ] {
        let answer = worker.get(&query);
        let code = if status == 422 {
            "invalid"
        } else {
            "malformed"
        };
        assert_eq!(answer.problem(status), code, "{query}");
        assert_eq!(answer.json()["errors"][0]["field"], field, "{query}");
    }
}
