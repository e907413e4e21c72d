//! Restores: complete, frozen until somebody looked, and never half.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::{Value, json};
use strongroom::pki::Ed25519Key;
use strongroom::random::SystemRandom;

use crate::audit::{export, public_key, records, verify};
use crate::backup::{audit_key, take};
use crate::doctor::{doctor_on, finds};
use crate::support::api::{Worker, value_of};
use crate::support::cli::{Ended, cli, cli_json, run};
use crate::support::proof::Signer;
use crate::support::service::program;
use crate::support::{
    Admin, Backend, Deployment, Request, Service, id_of, on_both, pause, sql, text,
};

on_both!(
    promise_7_a_restore_is_complete_frozen_and_knows_what_was_revoked,
    an_older_database_is_refused_unless_that_is_accepted,
    a_restore_is_whole_or_not_there_wherever_it_is_killed,
);

#[test]
fn promise_7_a_backup_goes_from_sqlite_to_postgresql_and_back() {
    let Some(postgres) = Backend::postgres() else {
        return;
    };
    let stage = Stage::new(&Backend::Sqlite);
    let there = stage.deployment.new_machine(&postgres, "there");
    stage.restore(&there, &["--accept-older"]).ok();
    // What was restored can be planned with at once.
    let settings = std::fs::read_to_string(&there).expect("the settings");
    let file = settings
        .lines()
        .find_map(|line| line.strip_prefix("url_file = "));
    let url = std::fs::read_to_string(file.expect("a file").trim_matches('"')).expect("the URL");
    sql::postgres(
        url.trim(),
        "DO $$ BEGIN ASSERT (SELECT count(DISTINCT tablename) = 2 FROM pg_stats WHERE schemaname = \
         'public' AND tablename IN ('credentials', 'credential_versions')); END $$",
    );
    let service = Service::serve(&there);
    thaw(&service);
    stage.releases(&service);
    let (_, recipient) = stage.deployment.recovery();
    let again = take(&service, "again.backup", &recipient);
    drop(service);
    let back = stage.deployment.new_machine(&Backend::Sqlite, "back");
    restore(&again, &back, &stage.deployment.recovery().0, &[]).ok();
    let service = Service::serve(&back);
    thaw(&service);
    stage.releases(&service);
}

/// `strongroom restore`.
pub fn restore(backup: &Path, config: &Path, identity: &Path, more: &[&str]) -> Ended {
    let mut command = program();
    command.args(["--output", "json", "restore"]).arg(backup);
    command.arg("--config").arg(config);
    command.arg("--backup-identity").arg(identity).args(more);
    run(command, b"")
}

/// Ends the freeze as the operator.
#[track_caller]
pub fn thaw(service: &Service) {
    let id = cli_json(service, "operator", &["deployment", "show"]);
    let id = text(&id, "/id").to_owned();
    let arguments = [
        "deployment",
        "thaw",
        "--confirm-revocations",
        "--confirm",
        &id,
    ];
    cli(service, "operator", &arguments).ok();
}

/// A deployment with a backup of it; it does not run any more.
struct Stage {
    deployment: Deployment,
    backup: PathBuf,
    credential: String,
    worker: Worker,
}

impl Stage {
    fn new(backend: &Backend) -> Self {
        let (stage, mut service) = Self::running(backend);
        service.stop();
        stage
    }

    fn running(backend: &Backend) -> (Self, Service) {
        let deployment = Deployment::new(backend, "main");
        let service = Service::serve(&deployment.config());
        let admin = Admin::of(&service);
        admin.role("m365-sync");
        admin.environment("production");
        admin.client("acme");
        let credential = admin.credential("acme", "production", &["m365-sync"], "lent once");
        let worker = admin.workload("sync-1", "production", &["m365-sync"]);
        let backup = take(&service, "the.backup", &deployment.recovery().1);
        let stage = Self {
            deployment,
            backup,
            credential,
            worker,
        };
        (stage, service)
    }

    fn restore(&self, config: &Path, more: &[&str]) -> Ended {
        restore(&self.backup, config, &self.deployment.recovery().0, more)
    }

    fn path(&self) -> String {
        format!("/api/v1/release/{}", self.credential)
    }

    #[track_caller]
    fn releases(&self, service: &Service) {
        let worker = self.worker.client(service);
        let entry = worker.get(&self.path()).expect(200).json();
        assert_eq!(value_of(&entry), "lent once");
    }
}

fn promise_7_a_restore_is_complete_frozen_and_knows_what_was_revoked(backend: Backend) {
    let deployment = Deployment::new(&backend, "main");
    let mut service = Service::serve(&deployment.config());
    let admin = Admin::of(&service);
    admin.role("m365-sync");
    admin.role("other-role");
    admin.environment("production");
    let roles = ["m365-sync", "other-role"];
    admin.client("acme");
    let kept = admin.credential("acme", "production", &roles, "lent once");
    let narrowed = admin.credential("acme", "production", &roles, "for one role only");
    let gone = admin.client("gone");
    let erased = admin.credential("gone", "production", &roles, "to be erased");
    let worker = admin.workload("sync-1", "production", &["m365-sync"]);
    let stolen = admin.workload("sync-2", "production", &["m365-sync"]);
    let disabled = admin.workload("sync-3", "production", &["m365-sync"]);
    let back = admin.workload("sync-4", "production", &["m365-sync"]);
    let key = Ed25519Key::generate(&SystemRandom::new()).expect("a key");
    let registered = admin.create(
        &format!("/workloads/{}/keys", worker.id),
        &json!({"public_key": key.public_key().to_pem()}),
    );
    let audience = text(&admin.get("/deployment"), "/id").to_owned();
    let signer = Signer::with_key(&key.to_pem(), &worker.id, &id_of(&registered), &audience);
    let (identity, recipient) = deployment.recovery();
    let backup = take(&service, "the.backup", &recipient);

    // What happens after the backup.
    let path = |id: &str| format!("/api/v1/release/{id}");
    let assertion = signer.assertion();
    let with_assertion = || Request::get(&path(&kept)).bearer(&assertion);
    service.anonymous().send(&with_assertion()).expect(200);
    let unused = signer.assertion();
    let key_path = format!("/workloads/{}/keys/{}", stolen.id, stolen.key_id);
    admin.send("DELETE", &key_path, &json!({})).expect(200);
    let state = |worker: &Worker, verb: &str| {
        let resource = format!("/workloads/{}", worker.id);
        let target = format!("{resource}/{verb}");
        admin
            .change("POST", &resource, &target, &json!({}))
            .expect(200);
    };
    state(&disabled, "disable");
    state(&back, "disable");
    state(&back, "enable");
    let grant = format!("/credentials/{narrowed}/roles/m365-sync");
    admin.send("DELETE", &grant, &json!({})).expect(200);
    let arguments = ["client", "erase", "gone", "--confirm", "gone"];
    cli(&service, "operator", &arguments).ok();
    pause(1200); // The head is signed at least once a second.
    let log = export(&service, "log.ndjson");
    service.stop();

    // A new machine with nothing but settings, the backup, and one recovery identity.
    let config = deployment.new_machine(&backend, "new");
    let log = log.display().to_string();
    let with_log = ["--log", &log];
    let ended = restore(&backup, &config, &identity, &with_log);
    assert_eq!(ended.code, 1);
    assert!(ended.stderr.contains("--accept-older"), "{}", ended.stderr);
    assert!(
        !config.with_file_name("data").exists(),
        "it wrote something"
    );
    // What two exports both have counts once.
    let accepted = ["--log", &log, "--log", &log, "--accept-older"];
    let report = restore(&backup, &config, &identity, &accepted).ok().json();
    assert_eq!(report["machine_added"], true);
    assert_eq!(report["erased_again"], 1);
    assert_eq!(report["revocations_to_confirm"], 3);
    let again = restore(&backup, &config, &identity, &accepted);
    assert_eq!(again.code, 1, "a second restore over the first");

    let seen = doctor_on(&config, &[], &[]).json();
    finds(&seen, "deployment", "warning", "nothing is released");

    // Frozen: nothing is released, everything else works, and nobody revoked comes in.
    let mut service = Service::serve(&config);
    let admin = Admin::of(&service);
    let answer = worker.client(&service).get(&path(&kept)).expect(503);
    assert_eq!(
        text(&answer.json(), "/type"),
        "urn:strongroom:problem:frozen"
    );
    worker.client(&service).get("/api/v1/release").expect(503);
    worker.client(&service).get(&path("nonsense")).expect(503);
    stolen.client(&service).get("/api/v1/whoami").expect(401);
    disabled.client(&service).get("/api/v1/whoami").expect(401);
    back.client(&service).get("/api/v1/whoami").expect(200);
    service.anonymous().send(&with_assertion()).expect(401);
    let not_used = Request::get("/api/v1/whoami").bearer(&unused);
    service.anonymous().send(&not_used).expect(401);
    let view = admin.get("/deployment");
    let kinds: BTreeSet<&str> = view["revocations"]
        .as_array()
        .expect("revocations")
        .iter()
        .map(|it| text(it, "/kind"))
        .collect();
    let expected = [
        "credential.role-removed",
        "key.revoked",
        "workload.disabled",
    ];
    assert_eq!(kinds, BTreeSet::from(expected));

    // It ends only with the deployment's id and the revocations confirmed.
    let thaw = |body: Value| admin.change("POST", "/deployment", "/deployment/thaw", &body);
    thaw(json!({"confirm": "yes", "confirm_revocations": true})).expect(422);
    thaw(json!({"confirm": audience})).expect(409);
    worker.client(&service).get(&path(&kept)).expect(503);
    let arguments = [
        "deployment",
        "thaw",
        "--confirm",
        &audience,
        "--confirm-revocations",
    ];
    let thawed = cli_json(&service, "operator", &arguments);
    let outcomes: BTreeSet<&str> = thawed["revocations"]
        .as_array()
        .expect("revocations")
        .iter()
        .map(|it| text(it, "/outcome"))
        .collect();
    assert_eq!(outcomes, BTreeSet::from(["done"]));
    let entry = worker.client(&service).get(&path(&kept)).expect(200).json();
    assert_eq!(value_of(&entry), "lent once");
    for lost in [&narrowed, &erased] {
        worker.client(&service).get(&path(lost)).expect(404);
    }
    stolen.client(&service).get("/api/v1/whoami").expect(401);
    let erased = admin.get(&format!("/clients/{gone}"));
    assert_eq!(text(&erased, "/name"), "erased");

    // The log begins anew and says where the old one ended; both verify.
    pause(1200);
    let key = public_key(&service);
    let newest = export(&service, "new.ndjson");
    verify(&newest, &key, &[]).ok();
    let first = records(&newest).remove(0);
    assert_eq!(first["kind"], "deployment.restored");
    assert_eq!(first["detail"]["before_epoch"], 0);
    assert!(first["detail"]["lost_records"].as_i64().expect("a number") > 5);
    let old = service.home().join("old.ndjson");
    let arguments = [
        "audit",
        "export",
        "--epoch",
        "0",
        old.to_str().expect("a path"),
    ];
    cli(&service, "operator", &arguments).ok();
    let before = records(&old);
    assert!(first["detail"]["before_size"].as_u64().expect("a size") <= before.len() as u64);
    let kinds: Vec<Value> = records(&newest)
        .iter()
        .map(|it| it["kind"].clone())
        .collect();
    for kind in [
        "deployment.thawed",
        "deployment.revocation-confirmed",
        "key.revoked",
    ] {
        assert!(kinds.contains(&json!(kind)), "{kind}");
    }
    // The machine that was let open the root key stands right behind it.
    let admitted = &records(&newest)[1];
    assert_eq!(admitted["kind"], "root.recipient-added");
    assert_eq!(admitted["detail"]["generation"], 1);
    // It starts again as any other deployment does.
    service.restart();
    worker.client(&service).get(&path(&kept)).expect(200);

    // A later backup, restored with the same log: what was confirmed is not asked for again.
    let later = take(&service, "later.backup", &recipient);
    drop(service);
    let config = deployment.new_machine(&backend, "newer");
    let report = restore(&later, &config, &identity, &accepted).ok().json();
    assert_eq!(report["revocations_to_confirm"], 0);
    assert_eq!(report["erased_again"], 0);
}

/// A checkpoint that cannot be read may be the one that says that the database was put back.
#[test]
fn a_checkpoint_that_cannot_be_read_stops_the_start() {
    let stage = Stage::new(&Backend::Sqlite);
    let place = stage.deployment.home().join("data").join("checkpoint.main");
    let kept = std::fs::read(&place).expect("a checkpoint");
    std::fs::write(&place, [0xff, 0xfe]).expect("the checkpoint");
    let refused = stage.deployment.refusal(&stage.deployment.config(), &[]);
    assert!(refused.contains("cannot be read"), "{refused}");
    std::fs::write(&place, kept).expect("the checkpoint");
    let service = Service::serve(&stage.deployment.config());
    stage.releases(&service);
}

fn an_older_database_is_refused_unless_that_is_accepted(backend: Backend) {
    let (stage, mut service) = Stage::running(&backend);
    // The checkpoint outside the database goes on; the database goes back.
    pause(1200);
    service.stop();
    let data = stage.deployment.home().join("data");
    let newest = std::fs::read(data.join("checkpoint.main")).expect("a checkpoint");
    let config = stage.deployment.new_machine(&backend, "back");
    stage.restore(&config, &[]).ok();
    let mut service = Service::serve(&config);
    thaw(&service);
    pause(1200);
    service.stop();
    let place = config.with_file_name("data").join("checkpoint.main");
    let mine = std::fs::read(&place).expect("a checkpoint");
    std::fs::write(&place, newest).expect("the checkpoint");
    let refused = stage.deployment.refusal(&config, &[]);
    assert!(
        refused.contains("older than the newest audit checkpoint"),
        "{refused}"
    );
    assert!(refused.contains("--accept-rollback"), "{refused}");

    let service = Service::serve_with(&config, &["--accept-rollback"]);
    stage.worker.client(&service).get(&stage.path()).expect(503);
    pause(1200);
    let newest = export(&service, "log.ndjson");
    verify(&newest, &public_key(&service), &[]).ok();
    let first = records(&newest).remove(0);
    assert_eq!(first["kind"], "deployment.rollback-accepted");
    assert!(first["detail"]["lost_records"].as_i64().expect("a number") > 0);
    thaw(&service);
    stage.releases(&service);
    drop(service);
    // What it knows now fits; that of the log before is part of the database.
    std::fs::write(&place, mine).expect("the checkpoint");
    let service = Service::serve(&config);
    stage.releases(&service);
}

/// As many kills as CI has time for.
const KILLS: u32 = 10;

fn a_restore_is_whole_or_not_there_wherever_it_is_killed(backend: Backend) {
    kill_rounds(&backend, 1, KILLS);
}

/// As many rounds as `STRONGROOM_SOAK_ROUNDS` says, at moments that follow from `STRONGROOM_SEED`.
#[test]
#[ignore = "takes a second or two for each round; scripts/soak runs it"]
fn soak_restore_kill_rounds() {
    let number = |name: &str, otherwise: u64| {
        let text = std::env::var(name).ok();
        text.map_or(otherwise, |text| text.parse().expect("a whole number"))
    };
    let seed = number("STRONGROOM_SEED", 1);
    let rounds = number("STRONGROOM_SOAK_ROUNDS", 50);
    let rounds = u32::try_from(rounds).expect("a small number");
    eprintln!("seed {seed}, {rounds} kills of a restore on each database");
    kill_rounds(&Backend::Sqlite, seed, rounds);
    if let Some(backend) = Backend::postgres() {
        kill_rounds(&backend, seed, rounds);
    }
}

fn kill_rounds(backend: &Backend, seed: u64, rounds: u32) {
    let stage = Stage::new(&Backend::Sqlite);
    let identity = stage.deployment.recovery().0;
    // Moments within the time that a whole one takes here, now.
    let before = std::time::Instant::now();
    stage
        .restore(&stage.deployment.new_machine(backend, "whole"), &[])
        .ok();
    let whole = u64::try_from(before.elapsed().as_micros()).expect("a short time");
    // A linear congruential generator (Knuth's MMIX): the same seed, the same moments of it.
    let mut state = seed;
    let (mut killed, mut begun) = (0, 0);
    // A few more, should none of them have met one that had begun.
    for round in 0..rounds * 3 {
        if round >= rounds && begun > 0 {
            break;
        }
        let config = stage
            .deployment
            .new_machine(backend, &format!("round-{round}"));
        for _ in 0..3 {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            let micros = (state >> 33) % whole;
            let mut command = program();
            command
                .arg("restore")
                .arg(&stage.backup)
                .arg("--config")
                .arg(&config);
            command.arg("--backup-identity").arg(&identity);
            let null = std::process::Stdio::null;
            let child = command.stdout(null()).stderr(null()).spawn();
            let mut child = child.expect("the program");
            std::thread::sleep(Duration::from_micros(micros));
            let _ = child.kill();
            killed += u32::from(!child.wait().expect("its end").success());
            let data = config.with_file_name("data");
            if data.join("restore-unfinished").exists() {
                begun += 1;
                let refused = stage.deployment.refusal(&config, &[]);
                assert!(refused.contains("was not finished"), "{refused}");
            }
        }
        // The same command goes on, unless the last one came to its end.
        let ended = stage.restore(&config, &[]);
        assert!(
            ended.code == 0 || ended.stderr.contains("only restored"),
            "round {round}: {}",
            ended.stderr
        );
        let service = Service::serve(&config);
        stage.worker.client(&service).get(&stage.path()).expect(503);
        thaw(&service);
        stage.releases(&service);
    }
    eprintln!("{killed} restores killed, {begun} of them between their first and their last step");
    assert!(killed > rounds, "{killed} in {rounds} rounds");
    assert!(begun > 0, "none of them had begun to write");
}

#[test]
fn a_restore_into_what_is_there_is_refused() {
    let stage = Stage::new(&Backend::Sqlite);
    // Where the deployment itself is.
    let ended = stage.restore(&stage.deployment.config(), &["--accept-older"]);
    assert_eq!(ended.code, 1);
    assert!(ended.stderr.contains("exists"), "{}", ended.stderr);
    let mut service = Service::serve(&stage.deployment.config());
    stage.releases(&service);
    service.stop();
    // Settings of another deployment.
    let other = Deployment::new(&Backend::Sqlite, "main");
    let config = other.new_machine(&Backend::Sqlite, "x");
    let ended = stage.restore(&config, &[]);
    assert!(ended.stderr.contains("name another"), "{}", ended.stderr);
    // A cut-off backup leaves nothing behind.
    let config = stage.deployment.new_machine(&Backend::Sqlite, "y");
    let bytes = std::fs::read(&stage.backup).expect("the backup");
    let half = stage.deployment.home().join("half.backup");
    std::fs::write(&half, &bytes[..bytes.len() / 2]).expect("a file");
    let ended = restore(&half, &config, &stage.deployment.recovery().0, &[]);
    assert!(
        ended.stderr.contains("cut off or damaged"),
        "{}",
        ended.stderr
    );
    assert!(!config.with_file_name("data").exists());
    // Another's audit key.
    let key = audit_key(&other);
    let ended = stage.restore(&config, &["--audit-key", &key]);
    assert!(ended.stderr.contains("another key"), "{}", ended.stderr);
    assert!(!config.with_file_name("data").exists());
    stage
        .restore(&config, &["--audit-key", &audit_key(&stage.deployment)])
        .ok();
}
