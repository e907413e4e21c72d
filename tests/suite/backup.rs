//! Backups: taken while the service goes on, checked without it, and of no use when they are not
//! whole.

use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use strongroom::crypto::{AgeWriter, Identity, Recipient};

use crate::support::cli::{Ended, cli, cli_json, run};
use crate::support::service::program;
use crate::support::{Admin, Backend, Deployment, Service, on_both, sql};

on_both!(a_backup_is_consistent_whole_and_signed);
on_both!(bad_backups_are_refused_with_a_clear_error);
on_both!(a_drill_opens_everything_and_finds_what_does_not_open);

/// The audit key that `init` printed.
pub fn audit_key(deployment: &Deployment) -> String {
    let line = deployment
        .report
        .lines()
        .find(|line| line.contains("audit key"));
    let key = line.and_then(|line| line.split_whitespace().last());
    key.expect("the audit key").to_owned()
}

/// A backup of a running service, in `home`.
#[track_caller]
pub fn take(service: &Service, name: &str, recipient: &str) -> PathBuf {
    let file = service.home().join(name);
    let out = file.display().to_string();
    let arguments = ["backup", "create", "--out", &out, "--recipient", recipient];
    cli_json(service, "operator", &arguments);
    file
}

pub fn verify(backup: &Path, identity: &Path, key: &str) -> Ended {
    let mut command = program();
    command.args(["--output", "json", "backup", "verify"]);
    command.arg(backup).arg("--identity").arg(identity);
    command.args(["--audit-key", key]);
    run(command, b"")
}

fn rows(report: &Value, table: &str) -> u64 {
    let sections = report["manifest"]["sections"].as_array().expect("sections");
    let section = sections.iter().find(|section| section["name"] == table);
    section
        .and_then(|section| section["rows"].as_u64())
        .expect("a section")
}

fn a_backup_is_consistent_whole_and_signed(backend: Backend) {
    let deployment = Deployment::new(&backend, "main");
    let service = Service::serve(&deployment.config());
    let admin = Admin::of(&service);
    admin.role("m365-sync");
    admin.environment("production");
    admin.client("acme");
    for n in 0..20 {
        admin.credential("acme", "production", &["m365-sync"], &format!("canary-{n}"));
    }
    let (identity, recipient) = deployment.recovery();

    // Writes go on while it is taken.
    let stop = std::sync::atomic::AtomicBool::new(false);
    let file = std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut n = 0;
            while !stop.load(std::sync::atomic::Ordering::Relaxed) {
                admin.credential("acme", "production", &["m365-sync"], &format!("later-{n}"));
                n += 1;
            }
        });
        let file = take(&service, "one.backup", &recipient);
        stop.store(true, std::sync::atomic::Ordering::Relaxed);
        file
    });
    use std::os::unix::fs::PermissionsExt;
    let mode = std::fs::metadata(&file)
        .expect("the file")
        .permissions()
        .mode();
    assert_eq!(mode & 0o777, 0o600);
    let report = verify(&file, &identity, &audit_key(&deployment))
        .ok()
        .json();
    // What is one commit is there together: a credential and its grant, a version and its wrap.
    let credentials = rows(&report, "credentials");
    assert!(credentials >= 20, "{credentials}");
    assert_eq!(rows(&report, "credential_roles"), credentials);
    let versions = rows(&report, "credential_versions");
    assert!(
        (credentials - 1..=credentials).contains(&versions),
        "{versions}"
    );
    assert_eq!(rows(&report, "dek_wraps"), versions);
    assert_eq!(rows(&report, "file:root.1.age"), 1);
    assert!(report["logs"][0]["records"].as_u64().expect("records") > 40);
    let sections = report["manifest"]["sections"].to_string();
    assert!(!sections.contains("spent_assertions"), "{sections}");

    // Nothing of it can be read without the identity, and what is in the log says so.
    let bytes = std::fs::read(&file).expect("the file");
    let contains = |text: &str| bytes.windows(text.len()).any(|it| it == text.as_bytes());
    assert!(!contains("acme") && !contains("canary-1"));
    let kinds: Vec<Value> = admin
        .audit("")
        .into_iter()
        .map(|it| it["kind"].clone())
        .collect();
    for kind in ["backup.started", "backup.finished"] {
        assert!(kinds.contains(&json!(kind)), "{kind}");
    }
    let listed = admin.list("/backups");
    assert_eq!(listed.len(), 1);
    assert_eq!(listed[0]["size"], bytes.len());

    // Only tech-ops takes one, and to nobody it is not taken.
    let answer = admin.send("POST", "/backups", &json!({})).expect(422);
    assert!(
        answer.text().contains("backup.recipients"),
        "{}",
        answer.text()
    );
    let answer = admin.send("POST", "/backups", &json!({"recipients": ["age1nonsense"]}));
    assert!(answer.expect(422).text().contains("recipients[0]"));
    let worker = admin.workload("sync-1", "production", &["m365-sync"]);
    let request =
        crate::support::Request::post("/api/v1/backups", &json!({"recipients": [recipient]}));
    worker.client(&service).send(&request).expect(404);
}

fn bad_backups_are_refused_with_a_clear_error(backend: Backend) {
    let deployment = Deployment::new(&backend, "main");
    let service = Service::serve(&deployment.config());
    let (identity, recipient) = deployment.recovery();
    let good = take(&service, "good.backup", &recipient);
    let bytes = std::fs::read(&good).expect("the backup");
    let key = audit_key(&deployment);
    verify(&good, &identity, &key).ok();
    let recipient = Recipient::parse(&recipient).expect("a recipient");
    let sealed = |content: &[u8]| {
        let mut stream = AgeWriter::begin(&recipient).expect("a stream");
        let mut file = stream.write(content).expect("a piece");
        file.extend(stream.finish(b"").expect("an end"));
        file
    };
    let mut flipped = bytes.clone();
    let middle = flipped.len() / 2;
    flipped[middle] ^= 1;
    let newer = sealed(b"strongroom-backup/2 prod-01kaqz3m8v7d6k2n4p9r5s1t0x\n");
    let bad: [(&str, Vec<u8>, &str); 7] = [
        ("empty", Vec::new(), "ends too early"),
        (
            "half",
            bytes[..bytes.len() / 2].to_vec(),
            "cut off or damaged",
        ),
        (
            "without its end",
            bytes[..bytes.len() - 1].to_vec(),
            "cut off or damaged",
        ),
        ("changed", flipped, "cut off or damaged"),
        (
            "something else",
            b"PK\x03\x04 an archive".to_vec(),
            "not a file that is encrypted with age",
        ),
        (
            "encrypted notes",
            sealed(b"dear diary\n"),
            "not a backup of Strongroom",
        ),
        ("newer", newer, "newer version of strongroom"),
    ];
    for (name, content, says) in bad {
        let file = service.home().join("bad.backup");
        std::fs::write(&file, content).expect("a file");
        let ended = verify(&file, &identity, &key);
        assert_eq!(ended.code, 1, "{name}");
        assert!(ended.stderr.contains(says), "{name}: {}", ended.stderr);
    }
    // Another deployment's, and another's identity.
    let other = Deployment::new(&Backend::Sqlite, "main");
    let ended = verify(&good, &identity, &audit_key(&other));
    assert!(
        ended.stderr.contains("not signed by the key"),
        "{}",
        ended.stderr
    );
    let ended = verify(&good, &other.recovery().0, &key);
    assert!(
        ended.stderr.contains("no given identity"),
        "{}",
        ended.stderr
    );
    // A backup that cannot be written leaves nothing.
    let nowhere = service.home().join("no-such-directory/x");
    let out = nowhere.display().to_string();
    let recipient = recipient.to_text().expect("a recipient");
    let arguments = ["backup", "create", "--out", &out, "--recipient", &recipient];
    assert_eq!(cli(&service, "operator", &arguments).code, 1);
}

fn drill(backup: &Path, identity: &Path, more: &[&str]) -> Ended {
    let mut command = program();
    command.args(["--output", "json", "backup", "drill"]);
    command
        .arg(backup)
        .arg("--identity")
        .arg(identity)
        .args(more);
    run(command, b"")
}

fn a_drill_opens_everything_and_finds_what_does_not_open(backend: Backend) {
    let deployment = Deployment::new(&backend, "main");
    let mut service = Service::serve(&deployment.config());
    let admin = Admin::of(&service);
    let roles = ["m365-sync", "google-sync"].map(|name| {
        admin.role(name);
        name
    });
    admin.environment("production");
    admin.client("acme");
    for n in 0..8 {
        let id = admin.credential("acme", "production", &roles, &format!("lent {n}"));
        admin.version(&id, "the next");
    }
    let (identity, recipient) = deployment.recovery();
    let good = take(&service, "good.backup", &recipient);
    let scratch = service.home().join("scratch");
    std::fs::create_dir(&scratch).expect("a directory");
    let at = scratch.display().to_string();
    let key = audit_key(&deployment);
    let report = drill(&good, &identity, &["--scratch", &at, "--audit-key", &key]);
    let report = report.ok().json();
    assert_eq!(report["wraps"], 32);
    assert_eq!(report["values"], 16);
    assert_eq!(report["values_sealed"], 16);
    assert_eq!(report["keks"], 2);
    assert_eq!(report["logs"], 1);
    assert_eq!(report["findings"], json!([]));
    let left = std::fs::read_dir(&scratch).expect("the directory").count();
    assert_eq!(left, 0, "the scratch database is still there");
    // A sample is as large as it was asked for, and the same for one seed.
    let report = drill(&good, &identity, &["--sample", "5", "--seed", "7"])
        .ok()
        .json();
    assert_eq!((&report["values"], &report["seed"]), (&json!(5), &json!(7)));

    // What somebody put into the database is in the backup, and found.
    service.stop();
    let forged = "UPDATE dek_wraps SET wrapped = 
        (SELECT wrapped FROM dek_wraps ORDER BY version_id DESC, role_id DESC LIMIT 1)
        WHERE version_id = (SELECT MIN(version_id) FROM dek_wraps);";
    match &backend {
        Backend::Sqlite => sql::sqlite(&deployment.home().join("data/strongroom.db"), forged),
        Backend::Postgres(_) => {
            let url = std::fs::read_to_string(deployment.home().join("database-url"));
            sql::postgres(url.expect("the URL").trim(), forged);
        }
    }
    service.start();
    let bad = take(&service, "bad.backup", &recipient);
    let ended = drill(&bad, &identity, &[]);
    assert_eq!(ended.code, 1);
    assert!(
        ended.stdout.contains("a wrapped key of cred_"),
        "{}",
        ended.stdout
    );
    let (other, _) = Identity::generate();
    let file = service.home().join("other");
    Identity::write_file(&file, &other).expect("a file");
    assert!(
        drill(&good, &file, &[])
            .stderr
            .contains("no given identity")
    );
}
