//! What is destroyed is gone, from the files as well; and the certificate says what it cannot say.

use std::path::Path;

use serde_json::{Value, json};

use crate::backup::{audit_key, take};
use crate::support::cli::{cli, cli_json};
use crate::support::{Admin, Backend, Deployment, Service, items, on_both, sql, text};

on_both!(an_erased_client_is_gone_and_the_certificate_is_honest);

/// The sealed value and the wrapped DEKs of the versions in a SQLite file.
fn sealed(data: &Path) -> Vec<Vec<u8>> {
    let file = data.join("strongroom.db");
    let mut all = sql::sqlite_blobs(&file, "SELECT payload FROM credential_versions");
    all.extend(sql::sqlite_blobs(&file, "SELECT wrapped FROM dek_wraps"));
    all
}

/// Whether the database file or its write-ahead log holds these bytes anywhere.
fn found(data: &Path, bytes: &[u8]) -> bool {
    // The end of a blob: ciphertext and tag, which occur nowhere else.
    let needle = &bytes[bytes.len() - 40..];
    ["strongroom.db", "strongroom.db-wal"].iter().any(|name| {
        let content = std::fs::read(data.join(name)).unwrap_or_default();
        content.windows(needle.len()).any(|it| it == needle)
    })
}

#[test]
fn retiring_a_version_destroys_its_wrapped_keys_in_the_file_too() {
    let service = Service::dev(&Backend::Sqlite);
    let admin = Admin::of(&service);
    admin.client("acme");
    let id = admin.credential("acme", "production", &["m365-sync", "google-sync"], "lent");
    let path = format!("/credentials/{id}");
    let data = service.data();
    let before = sealed(&data);
    admin.version(&id, "the next");
    let after = sealed(&data);
    let next: Vec<&Vec<u8>> = after.iter().filter(|it| !before.contains(it)).collect();
    assert_eq!(next.len(), 3, "a value and two wrapped keys");
    // The demonstration's own are in `before` as well; what goes is what is not there afterwards.
    admin.act(&id, 1, "retire", &json!({})).expect(200);
    let kept = sealed(&data);
    let gone: Vec<&Vec<u8>> = before.iter().filter(|it| !kept.contains(it)).collect();
    assert_eq!(gone.len(), 3);
    for blob in gone {
        assert!(!found(&data, blob), "it still stands in a file");
    }
    for blob in next {
        assert!(found(&data, blob), "the test would not find it");
    }
    let retired = admin.get(&path);
    let versions = retired["versions"].as_array().expect("versions");
    assert!(versions.iter().any(|it| it["state"] == "retired"));
}

fn an_erased_client_is_gone_and_the_certificate_is_honest(backend: Backend) {
    let deployment = Deployment::new(&backend, "main");
    let service = Service::serve(&deployment.config());
    let admin = Admin::of(&service);
    admin.role("m365-sync");
    admin.environment("production");
    let client = admin.client("acme");
    let contact = json!({"name": "Ada Canary", "email": "ada@canary.example", "role": "owner"});
    admin.create(&format!("/clients/{client}/contacts"), &contact);
    let id = admin.credential("acme", "production", &["m365-sync"], "lent");
    admin.version(&id, "lent again");
    admin.client("other");
    let stays = admin.credential("other", "production", &["m365-sync"], "stays");
    let worker = admin.workload("sync-1", "production", &["m365-sync"]);
    let path = format!("/api/v1/release/{id}");
    worker.client(&service).get(&path).expect(200);
    take(&service, "before.backup", &deployment.recovery().1);
    let data = deployment.home().join("data");
    let blobs = match backend {
        Backend::Sqlite => sealed(&data),
        Backend::Postgres(_) => Vec::new(),
    };

    // Not by mistake, and not while a workload runs on it, unless somebody says why.
    let erase = |arguments: &[&str]| {
        let mut all = vec!["client", "erase", "acme"];
        all.extend(arguments);
        cli(&service, "operator", &all)
    };
    assert_eq!(erase(&["--confirm", "other"]).code, 2);
    let held = erase(&["--confirm", "acme"]);
    assert_eq!(held.code, 2);
    assert!(held.stderr.contains("Live workloads"), "{}", held.stderr);
    worker.client(&service).get(&path).expect(200);
    let file = service.home().join("certificate");
    let out = file.display().to_string();
    let reason = [
        "--override-reason",
        "the contract has ended",
        "--certificate-out",
        &out,
    ];
    erase(&[&["--confirm", "acme"][..], &reason].concat()).ok();

    // Signed, and honest about the backup.
    let note = std::fs::read_to_string(&file).expect("the certificate");
    let key = audit_key(&deployment).parse().expect("a key");
    let purpose = strongroom::audit::Purpose::ErasureCertificate;
    let json = strongroom::audit::statement::open(&note, purpose, &[key]).expect("signed");
    let certificate: Value = serde_json::from_str(json).expect("JSON");
    assert_eq!(certificate["client"], *client);
    let versions = certificate["credentials"][0]["versions"].as_array();
    assert_eq!(versions.expect("versions").len(), 2);
    assert_eq!(certificate["destroyed"]["wraps"], 2);
    assert_eq!(certificate["destroyed"]["contacts"], 1);
    assert_eq!(certificate["backups"].as_array().expect("backups").len(), 1);
    assert_eq!(certificate["backups"][0]["keep_until"], Value::Null);
    assert_eq!(certificate["backups"][0]["overdue"], false);
    assert_eq!(certificate["override_reason"], "the contract has ended");
    assert_eq!(certificate["keks"][0]["generation"], 1);
    assert!(!certificate["limits"].as_array().expect("limits").is_empty());
    let again = cli_json(&service, "operator", &["client", "erasure", &client]);
    assert_eq!(text(&again, "/certificate"), note);

    // Gone everywhere but in the log, which has ids only.
    worker.client(&service).get(&path).expect(404);
    worker
        .client(&service)
        .get(&format!("/api/v1/release/{stays}"))
        .expect(200);
    let view = admin.get(&format!("/clients/{client}"));
    assert_eq!(text(&view, "/name"), "erased");
    assert!(view["contacts"].as_array().expect("contacts").is_empty());
    let holds = admin.get(&format!("/credentials/{id}/holds"));
    assert!(items(&holds).is_empty());
    let record = admin
        .audit(&format!("subject={client}&kind=client.erased"))
        .remove(0);
    assert_eq!(record["detail"]["wraps"], 2);
    assert_eq!(record["detail"]["holds_overridden"], 1);
    let twice = admin.get(&format!("/clients/{client}"));
    let slug = text(&twice, "/slug").to_owned();
    let resource = format!("/clients/{client}");
    let body = json!({"confirm": slug});
    admin
        .change("POST", &resource, &format!("{resource}/erase"), &body)
        .expect(409);

    if let Backend::Sqlite = backend {
        let left = sealed(&data);
        let gone: Vec<&Vec<u8>> = blobs.iter().filter(|it| !left.contains(it)).collect();
        assert_eq!(gone.len(), 4, "two values, two wrapped keys");
        for blob in gone {
            assert!(!found(&data, blob), "it still stands in a file");
        }
        for name in ["strongroom.db", "strongroom.db-wal"] {
            let content = std::fs::read(data.join(name)).unwrap_or_default();
            let canary = b"canary.example";
            assert!(
                !content.windows(canary.len()).any(|it| it == canary),
                "{name}"
            );
        }
    }
}
