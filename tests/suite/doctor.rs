//! `strongroom doctor`: each thing that can be wrong is broken once, and is found.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use serde_json::Value;
use strongroom::crypto::Identity;

use crate::support::cli::{Ended, run};
use crate::support::service::program;
use crate::support::sql::{postgres, sqlite};
use crate::support::{Admin, Backend, Deployment, Service, on_both};

on_both!(
    a_sound_deployment_has_no_problem_and_nothing_changes,
    doctor_finds_what_is_wrong_with_the_database,
    doctor_looks_beside_a_running_service,
);

pub fn doctor_on(config: &Path, more: &[&str], variables: &[(&str, &str)]) -> Ended {
    let mut command = program();
    // Where nothing listens.
    command.env("STRONGROOM_STATUS_LISTEN", "127.0.0.1:1");
    for (name, value) in variables {
        command.env(name, value);
    }
    command
        .args(["--output", "json", "doctor", "--config"])
        .arg(config)
        .args(more);
    run(command, b"")
}

fn doctor(deployment: &Deployment, more: &[&str]) -> Value {
    doctor_on(&deployment.config(), more, &[]).json()
}

/// The findings of one check at one level.
fn findings(answer: &Value, check: &str, level: &str) -> Vec<String> {
    let all = answer["findings"].as_array().expect("findings");
    all.iter()
        .filter(|it| it["check"] == check && it["level"] == level)
        .map(|it| it["finding"].as_str().expect("a text").to_owned())
        .collect()
}

/// Makes sure that a check says this, with advice if it is not fine.
#[track_caller]
pub fn finds(answer: &Value, check: &str, level: &str, words: &str) {
    let found = findings(answer, check, level);
    assert!(
        found.iter().any(|finding| finding.contains(words)),
        "{level} of {check} with {words:?} in {answer:#}"
    );
}

fn statement(backend: &Backend, deployment: &Deployment, sql: &str) {
    match backend {
        Backend::Sqlite => sqlite(&deployment.home().join("data/strongroom.db"), sql),
        Backend::Postgres(_) => postgres(
            &fs::read_to_string(deployment.home().join("database-url")).expect("a URL"),
            sql,
        ),
    }
}

/// Every file of the data directory with its content.
fn content(directory: &Path) -> Vec<(String, Vec<u8>)> {
    let mut found = Vec::new();
    for entry in fs::read_dir(directory).expect("the directory") {
        let path = entry.expect("a file").path();
        if path.is_dir() {
            found.extend(content(&path));
        } else {
            found.push((path.display().to_string(), fs::read(&path).expect("a file")));
        }
    }
    found.sort();
    found
}

fn a_sound_deployment_has_no_problem_and_nothing_changes(backend: Backend) {
    let deployment = Deployment::new(&backend, "node-a");
    let data = deployment.home().join("data");
    let before = content(&data);
    let ended = doctor_on(&deployment.config(), &[], &[]);
    let answer = ended.json();
    assert_eq!(ended.code, 0, "{answer:#}");
    assert_eq!(answer["problems"], 0);
    for check in [
        "settings",
        "production",
        "data",
        "identity",
        "providers",
        "schema",
        "root-key",
        "recipients",
    ] {
        assert!(
            !findings(&answer, check, "ok").is_empty(),
            "{check} in {answer:#}"
        );
    }
    finds(&answer, "audit-log", "ok", "fits the checkpoint");
    finds(&answer, "operators", "warning", "only one operator");
    finds(&answer, "service", "skipped", "does not run");
    if matches!(backend, Backend::Postgres(_)) {
        finds(&answer, "standbys", "warning", "promises 1 and 7");
        finds(&answer, "clock", "ok", "agrees");
    }
    // It has to run when the caller says so.
    let online = doctor_on(&deployment.config(), &["--online"], &[]);
    assert_eq!(online.code, 1);
    finds(&online.json(), "service", "problem", "nothing answers");
    let offline = doctor(&deployment, &["--offline"]);
    assert!(
        findings(&offline, "root-key", "ok").is_empty(),
        "{offline:#}"
    );
    assert_eq!(content(&data), before, "doctor changes nothing");
    // For people.
    let mut command = program();
    command
        .args(["doctor", "--config"])
        .arg(deployment.config());
    let said = run(command, b"").ok().stdout;
    assert!(said.contains("WARNING  operators"), "{said}");
    assert!(said.contains("→ enrol a second one"), "{said}");
    assert!(!said.contains("AGE-SECRET"), "{said}");
}

#[test]
fn doctor_finds_what_is_wrong_with_settings_and_files() {
    let deployment = Deployment::new(&Backend::Sqlite, "node-a");
    let home = deployment.home();
    let settings = deployment.settings();
    let write = |text: &str| fs::write(deployment.config(), text).expect("the settings");
    let mode = |path: &Path, mode: u32| {
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).expect("its mode");
    };

    // Settings that cannot be read.
    write(&settings.replace("[api]", "[api]\nlissten = \"x\""));
    finds(&doctor(&deployment, &[]), "settings", "problem", "lissten");
    write("deployment = [");
    finds(
        &doctor(&deployment, &[]),
        "settings",
        "problem",
        "not valid TOML",
    );
    write(&settings);
    let variable = [("STRONGROOM_DATABSE_URL", "x")];
    let answer = doctor_on(&deployment.config(), &[], &variable);
    assert_eq!(answer.code, 1);
    assert!(
        answer.stderr.contains("STRONGROOM_DATABSE_URL"),
        "{}",
        answer.stderr
    );
    // Or that others can write.
    mode(&deployment.config(), 0o666);
    finds(
        &doctor(&deployment, &[]),
        "settings",
        "problem",
        "can be written",
    );
    mode(&deployment.config(), 0o600);

    // What production refuses.
    let id = settings
        .lines()
        .find(|line| line.starts_with("deployment = "))
        .expect("an id");
    write(&settings.replace(id, &id.replace("prod-", "dev-")));
    finds(&doctor(&deployment, &[]), "production", "problem", "dev-");
    write(&settings.replace(id, &format!("deployment = \"prod-{}\"", "0".repeat(26))));
    finds(
        &doctor(&deployment, &[]),
        "deployment",
        "problem",
        "another deployment",
    );

    // Who answers for the providers.
    let with = |line: &str| settings.replace("[providers]", &format!("[providers]\n{line}"));
    write(&with("stand_in = \"https://127.0.0.1:1\""));
    finds(
        &doctor(&deployment, &[]),
        "providers",
        "warning",
        "stand-in",
    );
    write(&with("ca_file = \"identity\""));
    finds(&doctor(&deployment, &[]), "providers", "problem", "PEM");
    write(&with("stand_in = \"https://stand-in.example\""));
    finds(&doctor(&deployment, &[]), "settings", "problem", "loopback");
    write(&settings);

    // The data directory.
    let data = home.join("data");
    mode(&data, 0o750);
    finds(
        &doctor(&deployment, &[]),
        "data",
        "problem",
        "open to its group",
    );
    mode(&data, 0o700);
    if rustix::process::geteuid().is_root() {
        let file = data.join("checkpoint.node-a");
        std::os::unix::fs::chown(&file, Some(65_534), None).expect("an owner");
        finds(
            &doctor(&deployment, &[]),
            "data",
            "problem",
            "belong to another user",
        );
        std::os::unix::fs::chown(&file, Some(0), None).expect("an owner");
    }
    fs::rename(&data, home.join("away")).expect("a rename");
    finds(&doctor(&deployment, &[]), "data", "problem", "is not there");
    finds(
        &doctor(&deployment, &[]),
        "database",
        "problem",
        "cannot be opened",
    );
    fs::rename(home.join("away"), &data).expect("a rename");
    fs::write(data.join("forgotten.pem"), "-----BEGIN PRIVATE KEY-----").expect("a file");
    finds(
        &doctor(&deployment, &[]),
        "production",
        "problem",
        "private key in clear",
    );
    fs::remove_file(data.join("forgotten.pem")).expect("it is there");

    // The identity.
    let identity = home.join("identity");
    mode(&identity, 0o644);
    finds(
        &doctor(&deployment, &[]),
        "identity",
        "problem",
        "chmod 600",
    );
    mode(&identity, 0o600);
    fs::rename(&identity, home.join("identity-away")).expect("a rename");
    finds(
        &doctor(&deployment, &[]),
        "identity",
        "problem",
        "cannot be opened",
    );
    let (text, _) = Identity::generate();
    Identity::write_file(&identity, &text).expect("another identity");
    finds(
        &doctor(&deployment, &[]),
        "root-key",
        "problem",
        "no given identity",
    );
    fs::rename(home.join("identity-away"), &identity).expect("a rename");
    let inside = data.join("identity");
    fs::copy(&identity, &inside).expect("a copy");
    let name = identity.display().to_string();
    write(&settings.replace(&name, &inside.display().to_string()));
    finds(
        &doctor(&deployment, &[]),
        "production",
        "problem",
        "inside the data directory",
    );
    fs::remove_file(&inside).expect("it is there");
    write(&settings);
    assert_eq!(
        doctor(&deployment, &[])["problems"],
        0,
        "everything is mended"
    );
}

/// A self-signed server certificate for `name`, valid over these days from now.
fn certificate(home: &Path, name: &str, days: std::ops::Range<i64>) -> (String, String) {
    let key = rcgen::KeyPair::generate().expect("a key");
    let mut params = rcgen::CertificateParams::new(vec![name.to_owned()]).expect("a name");
    let now = strongroom::clock::Clock::now(&strongroom::clock::SystemClock);
    let at = |days: i64| {
        let seconds = now.secs() + days * 86_400;
        let date = strongroom::model::Timestamp::from_secs(seconds).to_string();
        let part = |range: std::ops::Range<usize>| date[range].parse::<i32>().expect("a number");
        rcgen::date_time_ymd(part(0..4), part(5..7) as u8, part(8..10) as u8)
    };
    (params.not_before, params.not_after) = (at(days.start), at(days.end));
    let certificate = params.self_signed(&key).expect("a certificate");
    let (pem, file) = (home.join("api.pem"), home.join("api.key"));
    fs::write(&pem, certificate.pem()).expect("a file");
    fs::write(&file, key.serialize_pem()).expect("a file");
    fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).expect("its mode");
    (pem.display().to_string(), file.display().to_string())
}

#[test]
fn doctor_finds_what_is_wrong_with_the_certificate() {
    let deployment = Deployment::new(&Backend::Sqlite, "node-a");
    let home = deployment.home();
    let (pem, key) = certificate(home, "vault.example.com", -2..400);
    let look = |url: &str| {
        let variables = [
            ("STRONGROOM_API_CERTIFICATE", pem.as_str()),
            ("STRONGROOM_API_KEY", key.as_str()),
            ("STRONGROOM_API_URL", url),
        ];
        doctor_on(&deployment.config(), &["--offline"], &variables).json()
    };
    let url = "https://vault.example.com:8200";
    assert_eq!(look(url)["problems"], 0, "{:#}", look(url));
    finds(&look(url), "certificate", "ok", "valid for");
    finds(
        &look("https://other.example.com"),
        "certificate",
        "problem",
        "not for other",
    );
    certificate(home, "vault.example.com", -30..-3);
    finds(&look(url), "certificate", "problem", "has expired");
    certificate(home, "vault.example.com", -30..9);
    finds(&look(url), "certificate", "warning", "ends in");
    certificate(home, "vault.example.com", 3..30);
    finds(&look(url), "certificate", "problem", "not valid yet");
    let other = rcgen::KeyPair::generate().expect("a key").serialize_pem();
    fs::write(&key, other).expect("another key");
    finds(
        &look(url),
        "certificate",
        "problem",
        "do not belong together",
    );
    fs::write(&key, "nothing").expect("no key");
    finds(&look(url), "certificate", "problem", "no private key");
    fs::write(&pem, "nothing").expect("no certificate");
    finds(&look(url), "certificate", "problem", "no certificate");
}

fn doctor_finds_what_is_wrong_with_the_database(backend: Backend) {
    let deployment = Deployment::new(&backend, "node-a");
    let home = deployment.home();
    // A credential whose date has passed, and one without a date.
    let mut service = Service::serve(&deployment.config());
    let admin = Admin::of(&service);
    admin.role("sync");
    admin.environment("production");
    admin.client("acme");
    admin.credential("acme", "production", &["sync"], "lent");
    service.stop();
    let answer = doctor(&deployment, &[]);
    assert_eq!(answer["problems"], 0, "{answer:#}");
    finds(&answer, "expiry", "ok", "1 active credentials");
    let set = |expiry: &str| {
        let sql = format!("UPDATE credential_versions SET expires_at = {expiry}");
        statement(&backend, &deployment, &sql);
        doctor(&deployment, &[])
    };
    finds(
        &set("1"),
        "expiry",
        "warning",
        "1 active credentials have expired",
    );
    finds(
        &set("NULL"),
        "expiry",
        "warning",
        "1 of 1 active credentials have no date",
    );

    // The root key's file of before a change of recipients, as another node has it.
    let file = home.join("data/keys/root.1.age");
    let before = fs::read(&file).expect("the file");
    let (_, recipient) = Identity::generate();
    let recipient = recipient.to_text().expect("a recipient");
    let keys = |arguments: &[&str]| {
        let mut command = program();
        command.args(["keys", "recipient"]).args(arguments);
        command.arg("--config").arg(deployment.config());
        run(command, b"").ok();
    };
    keys(&["add", &recipient]);
    let after = fs::read(&file).expect("the file");
    fs::write(&file, before).expect("the older file");
    finds(
        &doctor(&deployment, &[]),
        "root-key",
        "warning",
        "recipients changed",
    );
    fs::write(&file, after).expect("the newer file");
    // Somebody who writes the database.
    statement(
        &backend,
        &deployment,
        "UPDATE roles SET name = 'other' WHERE name = 'sync'",
    );
    statement(
        &backend,
        &deployment,
        "UPDATE operators SET role = 'auditor'",
    );
    let answer = doctor(&deployment, &[]);
    finds(&answer, "registry", "problem", "operators");
    finds(&answer, "operators", "problem", "no operator");
    statement(
        &backend,
        &deployment,
        "UPDATE operators SET role = 'tech-ops'",
    );
    statement(
        &backend,
        &deployment,
        &format!("DELETE FROM root_recipients WHERE recipient = '{recipient}'"),
    );
    finds(
        &doctor(&deployment, &[]),
        "recipients",
        "problem",
        "altered",
    );
    statement(&backend, &deployment, "DELETE FROM root_recipients");
    finds(
        &doctor(&deployment, &[]),
        "recipients",
        "warning",
        "passphrase alone",
    );

    // A log that was cut, and one that is not this machine's.
    let note = home.join("data/checkpoint.node-a");
    let text = fs::read_to_string(&note).expect("the checkpoint");
    fs::write(&note, text.replace("strongroom/", "strongrooms/")).expect("another checkpoint");
    finds(&doctor(&deployment, &[]), "audit-log", "problem", "altered");
    fs::remove_file(&note).expect("it is there");
    finds(
        &doctor(&deployment, &[]),
        "audit-log",
        "warning",
        "no checkpoint",
    );
    fs::write(&note, text).expect("the checkpoint");
    statement(&backend, &deployment, "UPDATE audit_logs SET size = 3");
    finds(
        &doctor(&deployment, &[]),
        "audit-log",
        "problem",
        "put back",
    );

    // Schemas.
    let newest = "(SELECT max(version) FROM _sqlx_migrations)";
    statement(
        &backend,
        &deployment,
        &format!("UPDATE _sqlx_migrations SET version = 9999 WHERE version = {newest}"),
    );
    finds(
        &doctor(&deployment, &[]),
        "schema",
        "problem",
        "newer version",
    );
    statement(
        &backend,
        &deployment,
        "DELETE FROM _sqlx_migrations WHERE version = 9999",
    );
    finds(&doctor(&deployment, &[]), "schema", "warning", "behind");
    let checksum = match backend {
        Backend::Sqlite => "x'00'",
        Backend::Postgres(_) => "'\\x00'",
    };
    statement(
        &backend,
        &deployment,
        &format!("UPDATE _sqlx_migrations SET checksum = {checksum}"),
    );
    finds(
        &doctor(&deployment, &[]),
        "schema",
        "problem",
        "not one that this program made",
    );
    statement(&backend, &deployment, "DROP TABLE _sqlx_migrations");
    finds(&doctor(&deployment, &[]), "schema", "problem", "empty");
}

fn doctor_looks_beside_a_running_service(backend: Backend) {
    let deployment = Deployment::new(&backend, "node-a");
    let service = Service::serve(&deployment.config());
    let status = service.status_address().to_string();
    let variables = [("STRONGROOM_STATUS_LISTEN", status.as_str())];
    let ended = doctor_on(&deployment.config(), &["--online"], &variables);
    let answer = ended.json();
    assert_eq!(ended.code, 0, "{answer:#}");
    finds(&answer, "service", "ok", "ready");
    finds(&answer, "audit-log", "ok", "fits");
    finds(&answer, "backups", "warning", "no backup was ever");
    let (_, recipient) = Identity::generate();
    let recipient = recipient.to_text().expect("a recipient");
    crate::backup::take(&service, "taken.backup", &recipient);
    let answer = doctor_on(&deployment.config(), &["--online"], &variables).json();
    finds(&answer, "backups", "ok", "0 days old");
    // It took no lock and no lease: the service goes on writing.
    Admin::of(&service).role("sync");
    assert!(service.is_ready());
    // Something else behind the port.
    let address = service.address().to_string();
    let variables = [("STRONGROOM_STATUS_LISTEN", address.as_str())];
    let answer = doctor_on(&deployment.config(), &["--online"], &variables).json();
    assert!(
        !findings(&answer, "service", "problem").is_empty(),
        "{answer:#}"
    );
}
