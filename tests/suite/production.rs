//! `init` and `serve`: a deployment as in production, what it refuses, and two nodes of one.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::time::{Duration, Instant};

use serde_json::json;

use crate::identity::race;
use crate::support::cli::{cli_json, run};
use crate::support::deployment::refused;
use crate::support::proof::{Signer, request, save};
use crate::support::service::program;
use crate::support::{Admin, Backend, Deployment, Request, Service, id_of, on_both, text, until};

on_both!(
    init_and_serve,
    recover_lets_an_operator_in,
    serve_refuses_and_says_why
);

fn mode(path: &Path) -> u32 {
    fs::metadata(path)
        .expect("it is there")
        .permissions()
        .mode()
        & 0o777
}

/// A role, an environment, a client and a credential with the value `lent`.
pub fn furnish(admin: &Admin) -> String {
    admin.role("sync");
    admin.environment("production");
    admin.client("acme");
    admin.credential("acme", "production", &["sync"], "lent")
}

fn init_and_serve(backend: Backend) {
    let deployment = Deployment::new(&backend, "node-a");
    let settings = deployment.settings();
    let id = settings
        .lines()
        .find_map(|line| line.strip_prefix("deployment = "));
    let id = id.expect("an id").trim_matches('"');
    assert!(id.starts_with("prod-"), "{id}");
    for said in [
        id,
        "recovery",
        "audit key",
        "tech-ops",
        "serve --config",
        "ca.pem",
    ] {
        assert!(
            deployment.report.contains(said),
            "{said} in\n{}",
            deployment.report
        );
    }
    let home = deployment.home();
    assert_eq!(mode(&home.join("identity")), 0o600);
    assert_eq!(mode(&home.join("data")), 0o700);
    assert_eq!(mode(&deployment.config()), 0o600);
    let root = fs::read(home.join("data/keys/root.1.age")).expect("the root key");
    let recipients = root.windows(10).filter(|at| at == b"\n-> X25519").count();
    assert_eq!(recipients, 2, "the machine's and the recovery one");

    let mut service = Service::serve(&deployment.config());
    let admin = Admin::of(&service);
    let me = admin.get("/whoami");
    assert_eq!(me["role"], "tech-ops");
    assert_eq!(me["name"], "Ada Example");
    let credential = furnish(&admin);
    let worker = admin.workload("sync-1", "production", &["sync"]);
    let path = format!("/api/v1/release/{credential}");
    let released = worker.client(&service).get(&path).expect(200).json();
    assert_eq!(released["fields"]["value"], "lent");
    // Keys are known by generation, and none of them comes out.
    let keys = admin.get("/keys");
    assert_eq!(keys["root"]["generation"], 1);
    assert_eq!(keys["keks"].as_array().expect("KEKs").len(), 1);
    // The last operator of tech-ops stays.
    let resource = format!("/operators/{}", id_of(&me));
    let disable = format!("{resource}/disable");
    let answer = admin.change("POST", &resource, &disable, &json!({}));
    assert_eq!(answer.problem(409), "conflict");

    service.restart();
    let again = worker.client(&service).get(&path).expect(200).json();
    assert_eq!(again["fields"]["value"], "lent");
    let log = service.last_stderr();
    assert!(
        !log.contains("lent") && !log.contains("AGE-SECRET"),
        "{log}"
    );

    // A deployment is made once: neither its places nor its database are taken twice.
    let mut second = program();
    let (config, csr) = (deployment.config(), home.join("operator.csr"));
    second
        .args(["init", "--operator", "Eve", "--operator-csr"])
        .arg(&csr);
    second.arg("--identity-file").arg(home.join("identity"));
    second
        .arg("--config")
        .arg(&config)
        .arg("--data")
        .arg(home.join("more"));
    assert!(refused(second).contains("exists"));
    let mut second = program();
    second
        .args(["init", "--operator", "Eve", "--operator-csr"])
        .arg(&csr);
    second.arg("--identity-file").arg(home.join("identity"));
    second
        .arg("--config")
        .arg(home.join("more").join("b.toml"))
        .arg("--data")
        .arg(home.join("data"));
    assert!(refused(second).contains("not empty"));
}

/// Nobody can sign in any more; whoever can open the root key lets one operator in.
fn recover_lets_an_operator_in(backend: Backend) {
    let deployment = Deployment::new(&backend, "main");
    let home = deployment.home();
    let (key, request) = request();
    fs::write(home.join("again.csr"), request).expect("a request");
    let recover = |name: &str| {
        let mut command = program();
        command
            .arg("recover")
            .arg("--config")
            .arg(deployment.config())
            .args(["--operator", name, "--operator-csr"])
            .arg(home.join("again.csr"))
            .arg("--certificate-out")
            .arg(home.join("again.pem"));
        command
    };
    let mut service = Service::serve(&deployment.config());
    let said = refused(recover("Ada Again"));
    assert!(said.contains("another process works on"), "{said}");
    service.stop();
    let said = refused(recover("Ada Example"));
    assert!(said.contains("another name"), "{said}");
    assert!(!home.join("again.pem").exists());
    let identity = fs::read(home.join("identity")).expect("the identity");
    let (other, _) = strongroom::crypto::Identity::generate();
    fs::write(home.join("identity"), other.expose_secret()).expect("another identity");
    let said = refused(recover("Ada Again"));
    assert!(said.contains("opens the root key"), "{said}");
    fs::write(home.join("identity"), identity).expect("the right one");

    let done = run(recover("Ada Again"), b"").ok();
    assert!(
        done.stdout.contains("operator.recovered"),
        "{}",
        done.stdout
    );
    service.start();
    let certificate = fs::read_to_string(home.join("again.pem")).expect("a certificate");
    let again = Admin {
        client: service.client_with(&certificate, &key),
    };
    let me = again.get("/whoami");
    assert_eq!(me["role"], "tech-ops");
    let records = again.audit("kind=operator.recovered");
    assert_eq!(records.len(), 1);
    assert_eq!(text(&records[0], "/subjects/0"), id_of(&me));
    // The lost one goes.
    let lost = Admin::of(&service);
    let resource = format!("/operators/{}", id_of(&lost.get("/whoami")));
    let disable = format!("{resource}/disable");
    again
        .change("POST", &resource, &disable, &json!({}))
        .expect(200);
    lost.client.get("/api/v1/whoami").expect(401);
}

fn serve_refuses_and_says_why(backend: Backend) {
    let deployment = Deployment::new(&backend, "main");
    let home = deployment.home();
    let settings = deployment.settings();
    let with = |name: &str, text: &str| {
        let path = home.join(name);
        fs::write(&path, text).expect("settings");
        path
    };
    let refusal = |config: &Path, words: &[&str]| {
        let said = deployment.refusal(config, &[]);
        for word in words {
            assert!(said.contains(word), "{word} in: {said}");
        }
    };

    // A key that nobody knows, a variable that nobody knows.
    let unknown = settings.replace("[api]", "[api]\nlissten = \"x\"");
    refusal(
        &with("unknown.toml", &unknown),
        &["lissten", "no such setting"],
    );
    let said = deployment.refusal(&deployment.config(), &[("STRONGROOM_DATABSE_URL", "x")]);
    assert!(said.contains("STRONGROOM_DATABSE_URL"), "{said}");
    // Somebody else in the place of the providers.
    let elsewhere = "[providers]\nstand_in = \"https://stand-in.example\"";
    let elsewhere = settings.replace("[providers]", elsewhere);
    refusal(
        &with("elsewhere.toml", &elsewhere),
        &["stand_in", "loopback"],
    );
    // A deployment that was made for trying out.
    let id = settings
        .lines()
        .find(|line| line.starts_with("deployment = "))
        .expect("an id");
    let dev = settings.replace(id, &id.replace("prod-", "dev-"));
    refusal(&with("dev.toml", &dev), &["dev-", "strongroom init"]);
    // Another deployment's id.
    let other = format!("deployment = \"prod-{}\"", "0".repeat(26));
    refusal(
        &with("other.toml", &settings.replace(id, &other)),
        &["another deployment"],
    );
    // Another machine's identity.
    let (identity, _) = strongroom::crypto::Identity::generate();
    let wrong = home.join("wrong-identity");
    strongroom::crypto::Identity::write_file(&wrong, &identity).expect("an identity");
    let name = home.join("identity").display().to_string();
    let wrong = settings.replace(&name, &wrong.display().to_string());
    refusal(&with("wrong.toml", &wrong), &["root key"]);
    // An identity inside the data directory.
    let inside = home.join("data/identity");
    fs::copy(home.join("identity"), &inside).expect("a copy");
    let text = settings.replace(&name, &inside.display().to_string());
    refusal(&with("inside.toml", &text), &["inside the data directory"]);
    fs::remove_file(inside).expect("it is there");
    // An identity that everybody can read.
    fs::set_permissions(home.join("identity"), fs::Permissions::from_mode(0o644)).expect("it");
    refusal(&deployment.config(), &["identity"]);
    fs::set_permissions(home.join("identity"), fs::Permissions::from_mode(0o600)).expect("it");
    // A second process on the same data, and then one alone.
    let service = Service::serve(&deployment.config());
    refusal(&deployment.config(), &["another process"]);
    drop(service);
    // A schema that a newer version wrote.
    newer_schema(&backend, &deployment);
    refusal(&deployment.config(), &["newer version"]);
}

/// Writes down a migration that this version does not know.
fn newer_schema(backend: &Backend, deployment: &Deployment) {
    let values = "(9999, 'from the future', ";
    let sql = "INSERT INTO _sqlx_migrations \
               (version, description, installed_on, success, checksum, execution_time) VALUES ";
    match backend {
        Backend::Sqlite => crate::support::sql::sqlite(
            &deployment.home().join("data/strongroom.db"),
            &format!("{sql}{values}CURRENT_TIMESTAMP, 1, x'00', 1)"),
        ),
        Backend::Postgres(_) => crate::support::sql::postgres(
            &fs::read_to_string(deployment.home().join("database-url")).expect("a URL"),
            &format!("{sql}{values}now(), true, '\\x00', 1)"),
        ),
    }
}

/// Two nodes over one PostgreSQL.
pub struct Cluster {
    /// Dropped last: the nodes run in its directory.
    pub first: Service,
    pub second: Service,
    _deployment: Deployment,
}

impl Cluster {
    pub fn new(backend: &Backend) -> Self {
        let deployment = Deployment::new(backend, "node-a");
        let second = deployment.second_node("node-b");
        Self {
            first: Service::serve(&deployment.config()),
            second: Service::serve(&second),
            _deployment: deployment,
        }
    }
}

#[test]
fn promise_3_on_two_nodes() {
    let Some(backend) = Backend::postgres() else {
        return;
    };
    let cluster = Cluster::new(&backend);
    let (first, second) = (Admin::of(&cluster.first), Admin::of(&cluster.second));
    let credential = furnish(&first);
    let release = Request::get(&format!("/api/v1/release/{credential}"));
    let worker = first.workload("sync-1", "production", &["sync"]);
    // What one node wrote the other releases, and both remember it.
    for service in [&cluster.first, &cluster.second] {
        let answer = worker.client(service).send(&release).expect(200);
        assert_eq!(answer.json()["fields"]["value"], "lent");
    }
    // A new version on one node is the next release of the other.
    second.version(&credential, "renewed");
    let answer = worker.client(&cluster.first).send(&release).expect(200);
    assert_eq!(answer.json()["fields"]["value"], "renewed");

    // Revoked on one node, gone on the other: at its next release, on an open connection.
    let mut connection = worker.client(&cluster.second).connect();
    connection.send(&release).expect("an answer").expect(200);
    let key = format!("/workloads/{}/keys/{}", worker.id, worker.key_id);
    let answer = first.send("DELETE", &key, &json!({}));
    assert!(answer.status < 300, "{}", answer.text());
    connection.send(&release).expect("an answer").expect(401);
    let mut quiet = worker.client(&cluster.second).connect();
    let revoked = Instant::now();
    until("the end of whoami", 5, || {
        let answer = quiet
            .send(&Request::get("/api/v1/whoami"))
            .expect("an answer");
        (answer.status == 401).then_some(())
    });
    assert!(revoked.elapsed() < Duration::from_secs(1));

    // A role that is taken from the workload, a credential that is taken from the role.
    let worker = first.workload("sync-2", "production", &["sync"]);
    let mut connection = worker.client(&cluster.second).connect();
    connection.send(&release).expect("an answer").expect(200);
    first.role("nothing");
    let path = format!("/workloads/{}", worker.id);
    first
        .change("PATCH", &path, &path, &json!({"roles": ["nothing"]}))
        .expect(200);
    connection.send(&release).expect("an answer").expect(404);
    // And a workload that is disabled.
    first
        .change("PATCH", &path, &path, &json!({"roles": ["sync"]}))
        .expect(200);
    // What is given, other than what is taken, may take a moment to be known everywhere.
    until("the role on the other node", 2, || {
        let answer = connection.send(&release).expect("an answer");
        (answer.status == 200).then_some(())
    });
    second
        .change("POST", &path, &format!("{path}/disable"), &json!({}))
        .expect(200);
    worker.client(&cluster.first).send(&release).expect(401);
    connection.send(&release).expect("an answer").expect(401);
    // Each node has a log of its own, and either node can show both.
    let records = first.audit("kind=release.intent");
    for node in ["node-a", "node-b"] {
        assert!(
            records.iter().any(|record| record["node"] == node),
            "{node}"
        );
        let note = second
            .client
            .get(&format!("/api/v1/audit/checkpoint?node={node}"));
        assert!(note.expect(200).text().contains(node));
    }
}

#[test]
fn one_assertion_on_two_nodes_is_good_once() {
    let Some(backend) = Backend::postgres() else {
        return;
    };
    let cluster = Cluster::new(&backend);
    let admin = Admin::of(&cluster.first);
    furnish(&admin);
    let worker = admin.workload("sync-1", "production", &["sync"]);
    let random = strongroom::random::SystemRandom::new();
    let key = strongroom::pki::Ed25519Key::generate(&random).expect("a key");
    let body = json!({"public_key": key.public_key().to_pem()});
    let kid = id_of(&admin.create(&format!("/workloads/{}/keys", worker.id), &body));
    let audience = cluster._deployment.settings();
    let audience = audience
        .lines()
        .find_map(|line| line.strip_prefix("deployment = "));
    let profile = json!({"id": worker.id, "kid": kid, "url": cluster.first.url(),
                         "audience": audience.expect("an id").trim_matches('"')});
    let first = &cluster.first;
    fs::write(first.file("worker.json"), profile.to_string()).expect("a profile");
    fs::write(first.file("worker.jwt.key"), key.to_pem().as_bytes()).expect("a key");
    let signer = Signer::worker(first);
    let clients = [cluster.first.anonymous(), cluster.second.anonymous()];
    for target in [
        "/api/v1/release",
        "/api/v1/whoami",
        "/api/v1/release",
        "/api/v1/whoami",
    ] {
        assert_eq!(
            race(&clients, &signer.assertion(), target, 24),
            1,
            "{target}"
        );
    }
}

/// A node that was killed comes back under its own name; a second process under that name does not
/// get the log.
#[test]
fn one_name_is_one_node() {
    let Some(backend) = Backend::postgres() else {
        return;
    };
    let deployment = Deployment::new(&backend, "node-a");
    let mut service = Service::serve(&deployment.config());
    let twin = deployment.second_node("node-a");
    let said = deployment.refusal(&twin, &[]);
    assert!(
        said.contains("another process is writing the audit log"),
        "{said}"
    );
    Admin::of(&service).get("/whoami");
    service.kill();
    service.start();
    Admin::of(&service).get("/whoami");
}

/// An operator who signs assertions instead of showing a certificate, by the command line's own
/// profile.
#[test]
fn an_operator_by_public_key() {
    let deployment = Deployment::new(&Backend::Sqlite, "main");
    let service = Service::serve(&deployment.config());
    let random = strongroom::random::SystemRandom::new();
    let key = strongroom::pki::Ed25519Key::generate(&random).expect("a key");
    save(
        &service,
        "auditor",
        &key.public_key().to_pem(),
        &key.to_pem(),
    );
    let public = service.file("auditor.pem").display().to_string();
    let enrolled = cli_json(
        &service,
        "operator",
        &[
            "operator",
            "enrol",
            "--name",
            "Di Example",
            "--role",
            "auditor",
            "--public-key",
            &public,
        ],
    );
    let kid = text(&enrolled, "/keys/0/id").to_owned();
    let settings = deployment.settings();
    let audience = settings
        .lines()
        .find_map(|line| line.strip_prefix("deployment = "));
    let auditor = |arguments: &[&str]| {
        let mut command = program();
        command
            .env("STRONGROOM_URL", service.url())
            .env("STRONGROOM_CA", service.file("ca.pem"))
            .env("STRONGROOM_JWT_KEY", service.file("auditor.key"))
            .env("STRONGROOM_KID", &kid)
            .env("STRONGROOM_ID", id_of(&enrolled))
            .env(
                "STRONGROOM_AUDIENCE",
                audience.expect("an id").trim_matches('"'),
            )
            .args(arguments);
        run(command, b"")
    };
    assert!(
        auditor(&["audit", "list"])
            .ok()
            .stdout
            .contains("service.started")
    );
    assert_eq!(
        auditor(&["role", "add", "x"]).code,
        2,
        "an auditor changes nothing"
    );
    assert_eq!(
        auditor(&["fetch"]).code,
        2,
        "nobody who is a person gets a value"
    );
}

/// What `init` is given wrong is said before anything is made, and nothing that exists is replaced.
#[test]
fn init_refuses_before_it_makes_anything() {
    let home = tempfile::tempdir().expect("a directory");
    let at = |name: &str| home.path().join(name);
    let init = |key: &str| {
        let mut command = program();
        command
            .arg("init")
            .arg("--config")
            .arg(at("strongroom.toml"))
            .arg("--data")
            .arg(at("data"))
            .arg("--identity-file")
            .arg(at("identity"))
            .args(["--operator", "Ada Example", "--operator-csr"])
            .arg(at(key));
        command
    };
    std::fs::write(at("wrong.csr"), "not a request").expect("a file");
    let said = refused(init("wrong.csr"));
    assert!(said.contains("operator's key cannot be used"), "{said}");
    assert!(!at("data").exists() && !at("identity").exists() && !at("strongroom.toml").exists());

    let key = strongroom::pki::P256Key::generate().expect("a key");
    std::fs::write(at("good.csr"), key.request_pem().expect("a CSR")).expect("a file");
    std::fs::write(at("ca.pem"), "another deployment's").expect("a file");
    let said = refused(init("good.csr"));
    assert!(said.contains("ca.pem exists"), "{said}");
    assert!(!at("data").exists());
    assert_eq!(
        std::fs::read_to_string(at("ca.pem")).expect("it"),
        "another deployment's"
    );

    std::fs::remove_file(at("ca.pem")).expect("it");
    let made = init("good.csr").output().expect("the program");
    assert!(
        made.status.success(),
        "{}",
        String::from_utf8_lossy(&made.stderr)
    );
    assert!(at("operator.pem").exists() && at("ca.pem").exists());
}

/// A version must not be retired on one node while another node records that it was released.
#[test]
fn a_change_waits_for_what_another_node_is_recording() {
    let Some(backend) = Backend::postgres() else {
        return;
    };
    let cluster = Cluster::new(&backend);
    let home = cluster._deployment.home();
    let url = fs::read_to_string(home.join("database-url")).expect("its URL");
    let open = async || {
        let opened = strongroom::store::Database::open_postgres(&url).await;
        opened.expect("the database")
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    runtime.expect("a runtime").block_on(async {
        let database = open().await;
        let mut releasing = [
            database.write().await.expect("a transaction"),
            database.write().await.expect("another"),
        ];
        for tx in &mut releasing {
            tx.hold_policy()
                .await
                .expect("releases do not wait for each other");
        }
        let mut changing = database.write().await.expect("a third");
        let mut lock = std::pin::pin!(changing.lock_policy());
        let waited = tokio::time::timeout(Duration::from_millis(300), &mut lock).await;
        assert!(waited.is_err(), "it had to wait");
        for tx in releasing {
            tx.commit().await.expect("recorded");
        }
        lock.await.expect("now it may go on");
    });
}
