//! How long it takes to have a large deployment back.

use std::time::Instant;

use crate::backup::take;
use crate::large_bundle::store_many;
use crate::restore::{restore, thaw};
use crate::support::cli::run;
use crate::support::service::program;
use crate::support::{Admin, Backend, Deployment, Service};

/// `STRONGROOM_TEST_CREDENTIALS` credentials, 100,000 if it does not say.
#[test]
#[ignore = "stores 100,000 credentials; scripts/soak runs it"]
fn soak_restore_time() {
    let wanted = std::env::var("STRONGROOM_TEST_CREDENTIALS").ok();
    let count = wanted.map_or(100_000, |count| count.parse().expect("a number"));
    measure("SQLite", &Backend::Sqlite, count);
    if let Some(backend) = Backend::postgres() {
        measure("PostgreSQL", &backend, count);
    }
}

/// Runs a step and gives the seconds that it took.
fn timed<T>(step: impl FnOnce() -> T) -> (T, f64) {
    let begun = Instant::now();
    let done = step();
    (done, begun.elapsed().as_secs_f64())
}

fn measure(database: &str, backend: &Backend, count: usize) {
    let deployment = Deployment::new(backend, "main");
    let mut service = Service::serve(&deployment.config());
    let admin = Admin::of(&service);
    admin.role("m365-sync");
    admin.environment("production");
    admin.client("large");
    let worker = admin.workload("sync-1", "production", &["m365-sync"]);
    let ((), stored) = timed(|| store_many(&service, count));
    let (identity, recipient) = deployment.recovery();
    let (backup, taken) = timed(|| take(&service, "large.backup", &recipient));
    service.stop();
    let size = std::fs::metadata(&backup).expect("the backup").len();

    let config = deployment.new_machine(backend, "new");
    let accept = ["--accept-older"];
    let (ended, restored) = timed(|| restore(&backup, &config, &identity, &accept));
    let rows = ended.ok().json()["rows"].clone();
    // What counts is when the first worker has its credentials again.
    let (service, started) = timed(|| {
        let service = Service::serve(&config);
        thaw(&service);
        service
    });
    let (bundle, released) = timed(|| worker.client(&service).get("/api/v1/release").expect(200));
    let bundle = bundle.json();
    let credentials = bundle["credentials"].as_array().expect("credentials");
    assert_eq!(credentials.len(), count);
    assert_eq!(bundle["failed"], serde_json::json!([]));

    let mut command = program();
    command.args(["--output", "json", "backup", "drill"]);
    command.arg(&backup).arg("--identity").arg(&identity);
    let (ended, drilled) = timed(|| run(command, b""));
    let report = ended.ok().json();
    assert_eq!(report["wraps"], count);
    eprintln!(
        "{database}: {count} credentials, {rows} rows, backup of {:.1} MiB; seconds: stored \
         {stored:.1}, backup {taken:.1}, restore {restored:.1}, started and thawed {started:.1}, \
         all released {released:.1}, drill {drilled:.1}",
        size as f64 / f64::from(1 << 20),
    );
}
