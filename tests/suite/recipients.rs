//! Who can open the root key: recovery identities that come and go, and age plugins.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;
use strongroom::crypto::{Identity, RootKey};

use crate::support::cli::{Ended, run};
use crate::support::deployment::refused;
use crate::support::service::program;
use crate::support::sql::{postgres, sqlite};
use crate::support::{Admin, Backend, Deployment, Service, items, on_both};

on_both!(
    recovery_identities_come_and_go,
    the_list_of_recipients_cannot_be_altered,
    a_plugin_opens_the_root_key,
);

/// `keys recipient …` on the deployment's settings.
fn recipient(deployment: &Deployment, arguments: &[&str]) -> Ended {
    let mut command = program();
    command.args(["--output", "json", "keys", "recipient"]);
    command
        .args(arguments)
        .arg("--config")
        .arg(deployment.config());
    run(command, b"")
}

fn list(deployment: &Deployment) -> Vec<Value> {
    let answer = recipient(deployment, &["list"]).ok().json();
    answer["recipients"].as_array().expect("a list").clone()
}

fn root_file(deployment: &Deployment) -> PathBuf {
    deployment.home().join("data/keys/root.1.age")
}

fn opens(file: &Path, identity: &[Identity]) -> bool {
    RootKey::decrypt(&fs::read(file).expect("the file"), identity).is_ok()
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

fn recovery_identities_come_and_go(backend: Backend) {
    let deployment = Deployment::new(&backend, "node-a");
    let file = root_file(&deployment);
    let first = list(&deployment);
    assert_eq!(first.len(), 2, "the machine's and the recovery one");
    let own = first.iter().find(|item| item["this_machine"] == true);
    let own = own.expect("this machine")["recipient"]
        .as_str()
        .expect("it")
        .to_owned();
    let other = first.iter().find(|item| item["this_machine"] == false);
    let other = other.expect("the recovery one")["recipient"]
        .as_str()
        .expect("it")
        .to_owned();

    let (text, new) = Identity::generate();
    let identity = Identity::parse_list(&text).expect("an identity");
    let new = new.to_text().expect("a recipient");
    assert!(!opens(&file, &identity));
    let old_file = fs::read(&file).expect("the file");
    recipient(&deployment, &["add", &new]).ok();
    assert!(opens(&file, &identity), "the new identity opens the file");
    assert_eq!(list(&deployment).len(), 3);
    assert!(
        recipient(&deployment, &["add", &new])
            .stderr
            .contains("already")
    );
    for wrong in [
        "age1",
        "nobody",
        "ssh-ed25519 AAAA",
        "age1../x1qqq",
        "AGE-SECRET-KEY-1",
    ] {
        let said = recipient(&deployment, &["add", wrong]);
        assert_eq!(said.code, 1);
        assert!(!said.stderr.contains("AGE-SECRET"), "{}", said.stderr);
    }

    // A crash between the file and the row, or another node's change: the row is what counts.
    fs::write(&file, old_file).expect("the older file");
    let mut service = Service::serve(&deployment.config());
    assert!(opens(&file, &identity), "the start renewed the file");
    // Not while the service runs.
    let said = recipient(&deployment, &["list"]);
    assert!(said.stderr.contains("another process"), "{}", said.stderr);
    let admin = Admin::of(&service);
    let records = admin.get("/audit?kind=root.recipient-added");
    assert_eq!(items(&records).len(), 1, "{records}");
    assert!(
        !records.to_string().contains(&new),
        "the log holds no recipient"
    );
    service.stop();

    // Removing: never the machine's own, never the last.
    let said = recipient(&deployment, &["remove", &own]);
    assert!(
        said.stderr.contains("lock this machine out"),
        "{}",
        said.stderr
    );
    let said = recipient(&deployment, &["remove", &own, "--force", "yes"]);
    assert!(said.stderr.contains("no others"), "{}", said.stderr);
    assert_eq!(list(&deployment).len(), 3, "nothing was changed");
    recipient(&deployment, &["remove", &new]).ok();
    assert!(!opens(&file, &identity));
    assert!(
        recipient(&deployment, &["remove", &new])
            .stderr
            .contains("no recipient")
    );
    let mut command = program();
    command.args(["keys", "recipient", "remove", &other]);
    command.arg("--config").arg(deployment.config());
    let said = run(command, b"").ok().stdout;
    assert!(said.contains("may have kept the root key"), "{said}");
    let said = recipient(
        &deployment,
        &["remove", &own, "--force", "lock this machine out"],
    );
    assert!(said.stderr.contains("last recipient"), "{}", said.stderr);
    // Locked out on purpose, the other identity still opens it.
    recipient(&deployment, &["add", &new]).ok();
    recipient(
        &deployment,
        &["remove", &own, "--force", "lock this machine out"],
    )
    .ok();
    assert!(opens(&file, &identity));
    let said = deployment.refusal(&deployment.config(), &[]);
    assert!(
        said.contains("no given identity opens the root key"),
        "{said}"
    );
}

fn the_list_of_recipients_cannot_be_altered(backend: Backend) {
    let deployment = Deployment::new(&backend, "node-a");
    let file = root_file(&deployment);
    // Somebody who can write the database would like to be encrypted to at the next change.
    let (text, eve) = Identity::generate();
    let eve_identity = Identity::parse_list(&text).expect("an identity");
    let eve = eve.to_text().expect("a recipient");
    let (_, new) = Identity::generate();
    let new = new.to_text().expect("a recipient");
    let mac = match backend {
        Backend::Sqlite => "zeroblob(32)",
        Backend::Postgres(_) => "decode(repeat('00', 32), 'hex')",
    };
    let insert = format!(
        "INSERT INTO root_recipients (recipient, added_at, mac) VALUES ('{eve}', 1, {mac})"
    );
    statement(&backend, &deployment, &insert);
    assert_eq!(list(&deployment).len(), 2, "the row is treated as absent");
    recipient(&deployment, &["add", &new]).ok();
    assert!(!opens(&file, &eve_identity));
    // Or that somebody else is forgotten.
    statement(
        &backend,
        &deployment,
        &format!("DELETE FROM root_recipients WHERE recipient = '{new}'"),
    );
    let (_, another) = Identity::generate();
    let another = another.to_text().expect("a recipient");
    let said = recipient(&deployment, &["add", &another]);
    assert!(said.stderr.contains("altered"), "{}", said.stderr);
}

/// A directory with a plugin that works, and the identity file that it made.
fn toy(home: &Path) -> PathBuf {
    let directory = home.join("plugins");
    fs::create_dir(&directory).expect("a directory");
    let program = directory.join("age-plugin-toy");
    fs::write(&program, include_str!("../python/age_plugin_toy.py")).expect("the plugin");
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).expect("its mode");
    let made = Command::new(&program).args(["--generate", "toy"]).output();
    let made = made.expect("Python");
    assert!(made.status.success(), "{made:?}");
    let identity = home.join("toy-identity");
    fs::write(&identity, made.stdout).expect("the identity");
    fs::set_permissions(&identity, fs::Permissions::from_mode(0o600)).expect("its mode");
    fs::write(directory.join("TRACE"), "").expect("a trace");
    directory
}

fn a_plugin_opens_the_root_key(backend: Backend) {
    let root = tempfile::tempdir().expect("a directory");
    let home = root.path();
    let plugins = toy(home);
    let key = strongroom::pki::P256Key::generate().expect("a key");
    fs::write(home.join("operator.csr"), key.request_pem().expect("a CSR")).expect("a file");
    fs::write(home.join("operator.key"), key.to_pem().as_bytes()).expect("a file");
    let url = backend.url_file(home);
    let init = |more: &[&str]| {
        let mut command = program();
        command.args(["init", "--operator", "Ada Example", "--operator-csr"]);
        command.arg(home.join("operator.csr"));
        command.arg("--config").arg(home.join("strongroom.toml"));
        command.arg("--data").arg(home.join("data"));
        command
            .arg("--identity-file")
            .arg(home.join("toy-identity"));
        command.arg("--plugin-directory").arg(&plugins);
        if let Some(url) = &url {
            command.arg("--database-url-file").arg(url);
        }
        command.args(more);
        command
    };
    let trace = || fs::read_to_string(plugins.join("TRACE")).expect("the trace");
    // Not allowed: nothing is started, nothing is made.
    for more in [&[][..], &["--plugin", "other"], &["--plugin", "../toy"]] {
        let said = refused(init(more));
        assert!(said.contains("plugin"), "{said}");
        assert_eq!(trace(), "", "something was started");
    }
    run(init(&["--plugin", "toy"]), b"").ok();
    let config = home.join("strongroom.toml");
    let mut service = Service::serve(&config);
    let me = Admin::of(&service).get("/whoami");
    assert_eq!(me["name"], "Ada Example");
    service.stop();
    assert!(trace().contains("identity-v1"), "{}", trace());

    // A recovery identity of the plugin, and one without.
    let made = Command::new(plugins.join("age-plugin-toy"))
        .args(["--generate", "toy"])
        .output();
    let text = String::from_utf8(made.expect("Python").stdout).expect("text");
    let recovery = text
        .lines()
        .next()
        .expect("a line")
        .rsplit(' ')
        .next()
        .expect("a recipient");
    let mut add = program();
    add.args(["--output", "json", "keys", "recipient", "add", recovery]);
    add.arg("--config").arg(&config);
    let answer = run(add, b"").ok().json();
    assert_eq!(answer["recipients"].as_array().expect("a list").len(), 2);

    // The plugin is taken off the list: it is not started any more.
    let before = trace();
    let settings = fs::read_to_string(&config).expect("the settings");
    fs::write(
        &config,
        settings.replace("plugins = [\"toy\"]", "plugins = []"),
    )
    .expect("them");
    let mut serve = program();
    serve.arg("serve").arg("--config").arg(&config);
    let said = refused(serve);
    assert!(said.contains("not allowed"), "{said}");
    assert_eq!(trace(), before);
}
