//! What lies in `deploy/`: the program under the unit's limits, and files that say what is true.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::support::ca::{Ca, import, register};
use crate::support::cli::run;
use crate::support::sql::sqlite;
use crate::support::{Admin, Backend, Deployment, Service, id_of, on_both, until};

on_both!(the_service_runs_under_the_limits_of_its_unit);

fn file(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(name)
}

fn text(name: &str) -> String {
    fs::read_to_string(file(name)).expect("a file of the repository")
}

/// `systemd-analyze`, which `scripts/test` installs where it can.
fn systemd_analyze() -> bool {
    let there = Command::new("systemd-analyze")
        .arg("--version")
        .output()
        .is_ok();
    if !there {
        eprintln!("skipped: systemd-analyze is not installed, so the units were not judged");
    }
    there
}

#[test]
fn the_units_are_judged_safe() {
    if !systemd_analyze() {
        return;
    }
    for unit in [
        "deploy/strongroom.service",
        "deploy/strongroom-renew.service",
    ] {
        let mut analyze = Command::new("systemd-analyze");
        // In tenths: an exposure of at most 1.5.
        analyze.args(["security", "--offline=yes", "--threshold=15", "--no-pager"]);
        analyze.arg(file(unit));
        let judged = run(analyze, b"");
        assert_eq!(judged.code, 0, "{unit}\n{}{}", judged.stdout, judged.stderr);
    }
}

/// What starts a program under the limits of the unit; `None` where that is not possible.
fn under(unit: &Path) -> Option<Vec<String>> {
    if !systemd_analyze() {
        return None;
    }
    if !rustix::process::geteuid().is_root() {
        eprintln!("skipped: only root can make the namespaces that systemd would make");
        return None;
    }
    let python = std::env::var("STRONGROOM_TEST_PYTHON").unwrap_or_else(|_| "python3".to_owned());
    let script = file("tests/python/under_unit.py");
    Some(vec![
        python,
        script.display().to_string(),
        unit.display().to_string(),
    ])
}

/// Runs the part of the script that tries what is forbidden.
fn probe(unit: &Path) -> Option<Vec<String>> {
    let under = under(unit)?;
    let home = tempfile::tempdir().expect("a directory");
    fs::create_dir(home.path().join("data")).expect("a directory");
    fs::write(home.path().join("identity"), "x").expect("a file");
    let mut command = Command::new(&under[0]);
    command.args(&under[1..]).arg(home.path()).arg("--probe");
    let answer = run(command, b"").ok().json();
    let list = answer["went_through"].as_array().expect("a list");
    Some(
        list.iter()
            .map(|name| name.as_str().expect("a name").to_owned())
            .collect(),
    )
}

#[test]
fn the_limits_hold_and_the_probe_can_tell() {
    let unit = file("deploy/strongroom.service");
    let Some(went_through) = probe(&unit) else {
        return;
    };
    assert_eq!(went_through, Vec::<String>::new());
    // Without some of its lines the same things go through, or the probe would prove nothing.
    let root = tempfile::tempdir().expect("a directory");
    let lax = root.path().join("lax.service");
    let lines = text("deploy/strongroom.service");
    let dropped = [
        "MemoryDenyWriteExecute",
        "RestrictAddressFamilies",
        "ProtectSystem",
        "SystemCall",
    ];
    let lines: Vec<&str> = lines
        .lines()
        .filter(|line| !dropped.iter().any(|name| line.starts_with(name)))
        .collect();
    fs::write(&lax, lines.join("\n")).expect("a unit");
    let went_through = probe(&lax).expect("it was possible before");
    for name in ["map writable and executable memory", "AF_NETLINK"] {
        assert!(
            went_through.iter().any(|it| it == name),
            "{name} in {went_through:?}"
        );
    }
    // A setting that nobody knows how to apply is noticed.
    let new = root.path().join("new.service");
    let more = format!(
        "{}\n[Service]\nPrivateFuture=yes\n",
        text("deploy/strongroom.service")
    );
    fs::write(&new, more).expect("a unit");
    let under = under(&new).expect("it was possible before");
    let mut command = Command::new(&under[0]);
    command.args(&under[1..]).arg("--not-applied");
    let said = run(command, b"");
    assert!(said.stderr.contains("PrivateFuture"), "{said:?}");
}

fn the_service_runs_under_the_limits_of_its_unit(backend: Backend) {
    let Some(mut under) = under(&file("deploy/strongroom.service")) else {
        return;
    };
    let deployment = Deployment::new(&backend, "node-a");
    // As the unit's head says: the identity comes as a credential.
    let settings: Vec<String> = deployment
        .settings()
        .lines()
        .map(|line| match line.split_once(" = ") {
            Some(("identity_file", _)) => "credential = \"root-identity\"".to_owned(),
            _ => line.to_owned(),
        })
        .collect();
    fs::write(deployment.config(), settings.join("\n")).expect("the settings");
    under.push(deployment.home().display().to_string());
    let mut service = Service::serve_under(&deployment.config(), under);
    let status = fs::read_to_string(format!("/proc/{}/status", service.pid())).expect("its status");
    let line = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name));
        line.expect("a line").trim().to_owned()
    };
    assert_eq!(line("NoNewPrivs:"), "1");
    assert_eq!(line("Seccomp:"), "2", "filters are on");
    assert_eq!(line("CapBnd:").trim_start_matches('0'), "", "no capability");
    assert_eq!(line("Uid:").split_whitespace().next(), Some("64007"));

    let admin = Admin::of(&service);
    admin.role("sync");
    admin.environment("production");
    admin.client("acme");
    let credential = admin.credential("acme", "production", &["sync"], "lent");
    let worker = admin.workload("sync-1", "production", &["sync"]);
    let path = format!("/api/v1/release/{credential}");
    let released = worker.client(&service).get(&path).expect(200).json();
    assert_eq!(released["fields"]["value"], "lent");
    service.restart();
    let again = worker.client(&service).get(&path).expect(200).json();
    assert_eq!(again["fields"]["value"], "lent");
}

/// The metrics that a text names.
fn metrics_in(text: &str) -> BTreeSet<String> {
    text.split(|c: char| !c.is_ascii_lowercase() && !c.is_ascii_digit() && c != '_')
        .filter(|word| word.starts_with("strongroom_"))
        .map(str::to_owned)
        .collect()
}

#[test]
fn every_metric_of_an_alert_is_exported() {
    let service = Service::dev(&Backend::Sqlite);
    // One event for each counter that has labels.
    service.client("worker").get("/api/v1/release").expect(200);
    service.anonymous().get("/api/v1/release").expect(401);
    let admin = Admin::of(&service);
    let worker = service.client("worker");
    worker
        .get("/api/v1/release/cred_01kaqz3m8v7d6k2n4p9r5s1t0x")
        .expect(404);
    admin.role("altered");
    admin.create("/mails", &serde_json::json!({"to": "ada@example.com"}));
    let demonstrated = id_of(&admin.list("/credentials?client=example-realty")[0]);
    let verify = format!("/credentials/{demonstrated}/versions/1/verify");
    admin.create(&verify, &serde_json::json!({}));
    let database = service.data().join("strongroom.db");
    sqlite(
        &database,
        "UPDATE roles SET name = 'other-name' WHERE name = 'altered'",
    );
    service.client("operator").get("/api/v1/roles").expect(200);
    let mesh = Ca::new("mesh.example");
    let authority = register(&admin, "mesh", &mesh);
    import(&admin, &authority, &mesh.crl(1, &[], 3600)).expect(200);
    let metrics = || service.status("/metrics").expect(200).text();
    let exported = until("a look at the revocation lists", 30, || {
        let exported = metrics_in(&metrics());
        let later = [
            "strongroom_revocation_list_remaining_seconds",
            "strongroom_mails_total",
            "strongroom_mails_waiting",
            "strongroom_verifications_total",
        ];
        let seen = later.iter().all(|name| exported.contains(*name));
        seen.then_some(exported)
    });
    let named = metrics_in(&text("deploy/prometheus/alerts.yaml"));
    assert!(named.len() >= 8, "{named:?}");
    for name in &named {
        assert!(
            exported.contains(name),
            "{name} is not exported: {exported:?}"
        );
    }
    // And what the manual calls an alarm has an alert.
    for line in text("docs/architecture.md")
        .lines()
        .filter(|line| line.contains("**Alarm**"))
    {
        for name in metrics_in(line) {
            assert!(named.contains(&name), "{name} is an alarm without an alert");
        }
    }
}

#[test]
fn the_manifests_are_well_formed_and_render() {
    let python = std::env::var("STRONGROOM_TEST_PYTHON").unwrap_or_else(|_| "python3".to_owned());
    let load = "import sys, yaml\nfor path in sys.argv[1:]:\n    \
                assert all(yaml.safe_load_all(open(path))), path";
    let interpreters = [python, "/usr/bin/python3".to_owned()];
    let with_yaml = interpreters.iter().find(|python| {
        let tried = Command::new(python).args(["-c", "import yaml"]).output();
        tried.is_ok_and(|tried| tried.status.success())
    });
    match with_yaml {
        None => eprintln!("skipped: no Python with PyYAML, so the YAML was not parsed"),
        Some(python) => {
            let mut command = Command::new(python);
            command.args(["-c", load]);
            command
                .arg(file("deploy/compose.yaml"))
                .arg(file("deploy/prometheus/alerts.yaml"));
            for entry in fs::read_dir(file("deploy/kubernetes")).expect("manifests") {
                let path = entry.expect("a file").path();
                if path.extension().is_some_and(|end| end == "yaml") {
                    command.arg(path);
                }
            }
            run(command, b"").ok();
        }
    }
    let mut kustomize = Command::new("kubectl");
    kustomize.arg("kustomize").arg(file("deploy/kubernetes"));
    if Command::new("kubectl")
        .arg("version")
        .arg("--client")
        .output()
        .is_ok()
    {
        let rendered = run(kustomize, b"").ok().stdout;
        for kind in [
            "StatefulSet",
            "Service",
            "NetworkPolicy",
            "PodDisruptionBudget",
            "ConfigMap",
        ] {
            assert!(rendered.contains(&format!("kind: {kind}")), "{kind}");
        }
        for word in [
            "runAsNonRoot: true",
            "readOnlyRootFilesystem: true",
            "drop:",
            "path: /readyz",
        ] {
            assert!(rendered.contains(word), "{word}");
        }
    }
    // The settings that the nodes get are settings.
    let settings = text("deploy/kubernetes/settings.toml");
    let root = tempfile::tempdir().expect("a directory");
    let url = root.path().join("database-url");
    fs::write(&url, "postgres://strongroom@localhost/strongroom").expect("a file");
    let settings = settings.replace(
        "/run/credentials/strongroom/database-url",
        &url.display().to_string(),
    );
    let path = root.path().join("settings.toml");
    fs::write(&path, settings).expect("a file");
    let credentials = [(
        "CREDENTIALS_DIRECTORY".into(),
        "/run/credentials/strongroom".into(),
    )];
    let config = strongroom::config::Config::load(Some(&path), credentials);
    if let Err(error) = config {
        panic!("{error}");
    }
}
