//! Promise 4: somebody who can only write the database gains nothing by it.

use std::fs;

use serde_json::json;

use crate::support::{Admin, Backend, Service, on_both, sql};

on_both!(promise_4_what_was_swapped_or_forged_does_not_open);

/// Runs statements behind the service's back.
pub fn execute(backend: &Backend, service: &Service, statements: &str) {
    match backend {
        Backend::Sqlite => sql::sqlite(&service.data().join("strongroom.db"), statements),
        Backend::Postgres(_) => {
            let url = fs::read_to_string(service.home().join("database-url")).expect("a URL");
            for statement in statements.split(';').filter(|it| !it.trim().is_empty()) {
                sql::postgres(&url, statement);
            }
        }
    }
}

fn promise_4_what_was_swapped_or_forged_does_not_open(backend: Backend) {
    let mut service = Service::dev(&backend);
    let admin = Admin::of(&service);
    admin.client("acme");
    let one = admin.credential("acme", "production", &["m365-sync"], "value one");
    let two = admin.credential("acme", "production", &["m365-sync"], "value two");
    let fine = admin.credential("acme", "production", &["m365-sync"], "value three");
    let theirs = admin.credential("acme", "production", &["google-sync"], "value four");
    let demo = admin.list("/roles");
    let role = |name: &str| {
        let role = demo
            .iter()
            .find(|role| role["name"] == name)
            .expect("a role");
        role["id"].as_str().expect("an id").to_owned()
    };
    let (ours, other) = (role("m365-sync"), role("google-sync"));
    let worker_id = service
        .client("worker")
        .get("/api/v1/whoami")
        .expect(200)
        .json()["id"]
        .clone();
    let worker_id = worker_id.as_str().expect("an id").to_owned();

    // Payload and wraps of two credentials exchanged: neither opens, the rest goes on.
    service.stop();
    let version =
        |id: &str| format!("(SELECT id FROM credential_versions WHERE credential_id = '{id}')");
    execute(&backend, &service, &format!(
        "CREATE TABLE swap AS SELECT credential_id, payload FROM credential_versions;
         UPDATE credential_versions SET payload = (SELECT payload FROM swap WHERE credential_id = '{two}')
           WHERE credential_id = '{one}';
         UPDATE credential_versions SET payload = (SELECT payload FROM swap WHERE credential_id = '{one}')
           WHERE credential_id = '{two}';
         DROP TABLE swap"
    ));
    service.start();
    let worker = service.client("worker");
    let bundle = worker.get("/api/v1/release").expect(200).json();
    let failed = bundle["failed"].to_string();
    assert!(failed.contains(&one) && failed.contains(&two), "{failed}");
    let released = bundle["credentials"].to_string();
    assert!(
        released.contains("value three") && !released.contains("value one"),
        "{released}"
    );
    assert!(!released.contains("value two"));
    for id in [&one, &two] {
        let answer = worker.get(&format!("/api/v1/release/{id}"));
        assert_eq!(answer.problem(500), "internal");
    }
    let metrics = service.status("/metrics").text();
    let alarm = metrics
        .lines()
        .find(|line| line.starts_with("strongroom_unopenable_total"));
    assert!(alarm.is_some_and(|line| !line.ends_with(" 0")), "{metrics}");
    // The worker's tool keeps what it can use and says that something is wrong.
    let directory = service.home().join("fetched");
    let to = directory.to_str().expect("a path");
    let fetched = crate::support::cli::cli(&service, "worker", &["fetch", "--dir", to]);
    assert_eq!(fetched.code, 1, "{}", fetched.stderr);
    assert!(directory.join(format!("acme.{fine}.json")).exists());
    assert!(!directory.join(format!("acme.{one}.json")).exists());

    // A grant of a role, written by nobody: for the workload, and for the credential.
    service.stop();
    execute(
        &backend,
        &service,
        &format!(
            "INSERT INTO workload_roles (workload_id, role_id, mac)
           SELECT '{worker_id}', '{other}', mac FROM workload_roles WHERE role_id = '{other}';
         INSERT INTO credential_roles (credential_id, role_id, mac)
           SELECT '{theirs}', '{ours}', mac FROM credential_roles WHERE credential_id = '{theirs}';
         INSERT INTO dek_wraps (version_id, role_id, kek_id, wrapped)
           SELECT version_id, '{ours}', kek_id, wrapped FROM dek_wraps WHERE version_id = {}",
            version(&theirs)
        ),
    );
    service.start();
    let worker = service.client("worker");
    let whoami = worker.get("/api/v1/whoami").expect(200).json();
    assert_eq!(
        whoami["roles"],
        json!(["m365-sync"]),
        "the forged grant is absent"
    );
    worker.get(&format!("/api/v1/release/{theirs}")).expect(404);
    let metrics = service.status("/metrics").text();
    assert!(
        metrics.contains("strongroom_registry_rows_refused_total"),
        "{metrics}"
    );
    let refused = Admin::of(&service).audit("kind=registry.refused");
    assert!(!refused.is_empty(), "the alarm is in the audit log");
    // A workload that was disabled and is enabled behind the service's back.
    let admin = Admin::of(&service);
    let resource = format!("/workloads/{worker_id}");
    admin
        .change(
            "POST",
            &resource,
            &format!("{resource}/disable"),
            &json!({}),
        )
        .expect(200);
    service.stop();
    execute(
        &backend,
        &service,
        &format!("UPDATE workloads SET disabled_at = NULL WHERE id = '{worker_id}'"),
    );
    service.start();
    service.client("worker").get("/api/v1/whoami").expect(401);
}
