//! Enrolment and renewal through the API: a one-time token gives one certificate, and that the next
//! one for the same key.

use std::fs;
use std::path::Path;
use std::sync::Barrier;

use serde_json::{Value, json};
use strongroom::pki::P256Key;

use crate::audit::export;
use crate::support::proof::{Mesh, Pair, Signer, request, request_with, self_signed};
use crate::support::sql::postgres_dump;
use crate::support::{
    Admin, Backend, Client, Deployment, Request, Response, Service, id_of, items, on_both, text,
};

on_both!(
    a_token_gives_one_certificate,
    a_refused_request_leaves_the_token_as_it_was,
    of_sixteen_with_one_token_one_wins,
    a_rebuilt_host_ends_its_old_key,
    a_renewal_keeps_the_key_and_the_name,
    renewals_of_one_key_end_at_sixteen,
    operators_enrol_in_the_same_way,
    a_token_is_nowhere_but_in_its_answer,
);

/// A workload without a key.
#[track_caller]
fn new_workload(admin: &Admin, name: &str) -> String {
    let body = json!({"name": name, "environment": "production", "roles": ["m365-sync"]});
    id_of(&admin.create("/workloads", &body))
}

#[track_caller]
fn token(admin: &Admin, owner: &str) -> Value {
    admin.create(&format!("{owner}/enrolment-tokens"), &json!({}))
}

fn enrol(client: &Client, token: &Value, csr: &str) -> Response {
    let token = token.get("token").unwrap_or(token);
    let body = json!({"token": token, "csr": csr});
    client.send(&Request::post("/api/v1/enrol", &body))
}

fn renew(client: &Client, csr: &str) -> Response {
    client.send(&Request::post("/api/v1/renew", &json!({"csr": csr})))
}

/// The certificate that an answer holds, with its key.
fn pair(answer: &Value, key: &str) -> Pair {
    Pair {
        certificate: text(answer, "/certificate").to_owned() + text(answer, "/chain"),
        key: key.to_owned(),
    }
}

/// Enrols a principal, whose API path this is, with a new key.
#[track_caller]
fn enrolled(service: &Service, admin: &Admin, owner: &str) -> (Value, Pair, String) {
    let (key, csr) = request();
    let token = token(admin, owner);
    let answer = enrol(&service.anonymous(), &token, &csr).expect(201).json();
    let pair = pair(&answer, &key);
    (answer, pair, csr)
}

fn client(service: &Service, pair: &Pair) -> Client {
    service.client_with(&pair.certificate, &pair.key)
}

/// A request for a certificate with this alternative name.
fn request_for(uri: &str) -> String {
    let mut params = rcgen::CertificateParams::default();
    params.distinguished_name = rcgen::DistinguishedName::new();
    params.subject_alt_names = vec![rcgen::SanType::URI(uri.try_into().expect("a URI"))];
    let key = rcgen::KeyPair::generate().expect("a key");
    let request = params.serialize_request(&key).expect("a request");
    request.pem().expect("PEM")
}

/// The keys of a principal that are not revoked.
#[track_caller]
fn live_keys(admin: &Admin, owner: &str) -> Vec<String> {
    let keys = admin.get(&format!("{owner}/keys"));
    let live = items(&keys)
        .iter()
        .filter(|key| key["revoked_at"].is_null());
    live.map(id_of).collect()
}

fn a_token_gives_one_certificate(backend: Backend) {
    let service = Service::dev(&backend);
    let admin = Admin::of(&service);
    let nobody = service.anonymous();
    let model = nobody.get("/api/v1/whoami");
    assert_eq!(model.problem(401), "unauthenticated");
    let id = new_workload(&admin, "sync-9");
    let owner = format!("/workloads/{id}");
    let tokens = format!("{owner}/enrolment-tokens");

    let first = token(&admin, &owner);
    assert!(text(&first, "/token").starts_with("srenrol_"));
    assert_eq!(first["principal"], id.as_str());
    // A newer token ends the one before.
    let second = token(&admin, &owner);
    let (key, csr) = request();
    let uniform = |answer: &Response, what: &str| {
        assert_eq!(answer.comparable(), model.comparable(), "{what}");
    };
    uniform(&enrol(&nobody, &first, &csr), "an older one");
    let answer = enrol(&nobody, &second, &csr).expect(201);
    assert_eq!(answer.header("cache-control"), Some("no-store"));
    let answer = answer.json();
    assert_eq!(answer["principal"]["kind"], "workload");
    assert_eq!(answer["principal"]["id"], id.as_str());
    assert_eq!(answer["principal"]["name"], "sync-9");
    let deployment = text(&answer, "/audience");
    let spiffe_id = format!("spiffe://{deployment}/workload/{id}");
    assert_eq!(answer["spiffe_id"], spiffe_id.as_str());
    assert!(service.ca().contains(text(&answer, "/ca").trim()));
    assert!(text(&answer, "/renew_after") < text(&answer, "/not_after"));
    let worker = client(&service, &pair(&answer, &key));
    let me = worker.get("/api/v1/whoami").expect(200).json();
    assert_eq!(me["name"], "sync-9");
    assert_eq!(me["key"], answer["key"]["id"]);
    worker.get("/api/v1/release").expect(200);

    // Whatever is not a good token is nobody, and the answer does not say why.
    uniform(&enrol(&nobody, &second, &csr), "a used one");
    uniform(
        &enrol(&nobody, &second, &request().1),
        "a used one, another key",
    );
    let revoked = token(&admin, &owner);
    let revoke = format!("{tokens}/{}", id_of(&revoked));
    let shown = admin.send("DELETE", &revoke, &json!({})).expect(200).json();
    assert!(shown["revoked_at"].is_string() && shown.get("token").is_none());
    uniform(&enrol(&nobody, &revoked, &request().1), "a revoked one");
    let again = admin.send("DELETE", &revoke, &json!({}));
    assert_eq!(again.problem(409), "conflict");
    let long = "x".repeat(10_000);
    for unknown in ["", "srenrol_", "srenrol_AAAA", &long] {
        uniform(&enrol(&nobody, &json!(unknown), &csr), "an unknown one");
    }
    let open = token(&admin, &owner);
    let disable = format!("{owner}/disable");
    admin
        .change("POST", &owner, &disable, &json!({}))
        .expect(200);
    uniform(&enrol(&nobody, &open, &request().1), "somebody disabled");

    let all = admin.list(&tokens);
    let used: Vec<&Value> = all.iter().filter(|it| it["used_at"].is_string()).collect();
    assert_eq!(all.len(), 4);
    assert_eq!(used.len(), 1);
    assert_eq!(id_of(used[0]), id_of(&second));
    assert!(all.iter().all(|it| it.get("token").is_none()), "{all:?}");
    let records = admin.audit(&format!("subject={}", id_of(&second)));
    let kinds: Vec<&str> = records.iter().map(|it| text(it, "/kind")).collect();
    assert_eq!(kinds, ["enrolment-token.used", "enrolment-token.issued"]);
    assert_eq!(text(&records[0], "/actor"), id);
}

fn a_refused_request_leaves_the_token_as_it_was(backend: Backend) {
    let service = Service::dev(&backend);
    let admin = Admin::of(&service);
    let nobody = service.anonymous();
    let id = new_workload(&admin, "sync-9");
    let other = admin.workload("sync-8", "production", &["m365-sync"]);
    let owner = format!("/workloads/{id}");
    let tokens = format!("{owner}/enrolment-tokens");
    for minutes in [json!(0), json!(-1), json!(10_081), json!(1.5), json!("60")] {
        let body = json!({"lifetime_minutes": minutes});
        let problem = admin.send("POST", &tokens, &body).expect(422).json();
        assert_eq!(problem["errors"][0]["field"], "lifetime_minutes");
    }
    let token = token(&admin, &owner);
    let deployment = Signer::worker(&service).audience;
    let records = admin.audit("").len();
    let foreign = format!("spiffe://{deployment}/workload/{}", other.id);
    let operator = format!("spiffe://{deployment}/operator/{id}");
    let whole = request().1;
    for (what, csr) in [
        ("nothing", String::new()),
        ("no PEM", "Kanarienvogel".to_owned()),
        ("half of one", whole[..whole.len() / 2].to_owned()),
        ("two", format!("{whole}{whole}")),
        ("a certificate", self_signed().certificate),
        ("the name of another workload", request_for(&foreign)),
        ("the name of an operator", request_for(&operator)),
        (
            "a name of another domain",
            request_for("spiffe://mesh.example/sync/1"),
        ),
        ("a name of the web", request_for("https://localhost")),
    ] {
        let answer = enrol(&nobody, &token, &csr).expect(422);
        assert_eq!(answer.json()["errors"][0]["field"], "csr", "{what}");
        assert!(!answer.text().contains("Kanarienvogel"), "{what}");
    }
    // A key that is somebody's, and one that was.
    let theirs = P256Key::generate().expect("a key");
    let csr = theirs.request_pem().expect("a request");
    let keys = format!("/workloads/{}/keys", other.id);
    let key = json!({"public_key": theirs.public_key().to_pem()});
    let key = id_of(&admin.create(&keys, &key));
    assert_eq!(enrol(&nobody, &token, &csr).problem(409), "conflict");
    let revoke = format!("{keys}/{key}");
    admin.send("DELETE", &revoke, &json!({})).expect(200);
    assert_eq!(enrol(&nobody, &token, &csr).problem(409), "conflict");
    // An address with many refused requests is not a flood of guesses; all the more may follow.
    assert!(live_keys(&admin, &owner).is_empty());
    assert_eq!(admin.audit("").len(), records + 2, "the other's key alone");
    let own = request_for(&format!("spiffe://{deployment}/workload/{id}"));
    let answer = enrol(&nobody, &token, &own).expect(201).json();
    assert_eq!(live_keys(&admin, &owner), [text(&answer, "/key/id")]);
}

/// How many of sixteen at once are let in; each has a key of its own.
fn race(clients: &[Client], token: &Value) -> usize {
    let barrier = Barrier::new(16);
    std::thread::scope(|scope| {
        let tries: Vec<_> = (0..16)
            .map(|n| {
                let client = &clients[n % clients.len()];
                let body = json!({"token": token["token"], "csr": request().1});
                let post = Request::post("/api/v1/enrol", &body);
                let barrier = &barrier;
                scope.spawn(move || {
                    let mut connection = client.connect();
                    barrier.wait();
                    connection.send(&post).expect("an answer").status
                })
            })
            .collect();
        let statuses = tries.into_iter().map(|it| it.join().expect("a thread"));
        let won = statuses.filter(|status| {
            assert!([201, 401, 429].contains(status), "{status}");
            *status == 201
        });
        won.count()
    })
}

fn of_sixteen_with_one_token_one_wins(backend: Backend) {
    let deployment = Deployment::new(&backend, "node-a");
    let a = Service::serve(&deployment.config());
    let admin = Admin::of(&a);
    admin.role("m365-sync");
    admin.environment("production");
    let owner = format!("/workloads/{}", new_workload(&admin, "sync-9"));
    // Two nodes where the database can have two.
    let b = match backend {
        Backend::Sqlite => None,
        Backend::Postgres(_) => Some(Service::serve(&deployment.second_node("node-b"))),
    };
    let nodes = std::iter::once(&a).chain(&b);
    let clients: Vec<Client> = nodes.map(Service::anonymous).collect();
    for round in 1..=3 {
        assert_eq!(race(&clients, &token(&admin, &owner)), 1, "round {round}");
        assert_eq!(live_keys(&admin, &owner).len(), 1, "round {round}");
    }
    assert_eq!(admin.audit("kind=enrolment-token.used").len(), 3);
}

fn a_rebuilt_host_ends_its_old_key(backend: Backend) {
    let service = Service::dev(&backend);
    let admin = Admin::of(&service);
    let owner = format!("/workloads/{}", new_workload(&admin, "sync-9"));
    // A key for assertions of the same workload is none of the authority's business.
    let assertions = P256Key::generate().expect("a key").public_key().to_pem();
    let assertions = admin.create(&format!("{owner}/keys"), &json!({"public_key": assertions}));
    let (_, before, _) = enrolled(&service, &admin, &owner);
    let release = Request::get("/api/v1/release");
    let mut open = client(&service, &before).connect();
    assert_eq!(open.send(&release).expect("an answer").status, 200);

    let (answer, after, _) = enrolled(&service, &admin, &owner);
    // The old host's certificate is within its dates, and refused on a connection that was open.
    let refused = open.send(&release).map(|answer| answer.status);
    assert!(refused.is_err() || refused.is_ok_and(|status| status == 401));
    client(&service, &before).get("/api/v1/release").expect(401);
    client(&service, &before).get("/api/v1/whoami").expect(401);
    let renewal = renew(&client(&service, &before), &request().1);
    assert_eq!(renewal.problem(401), "unauthenticated");
    client(&service, &after).get("/api/v1/release").expect(200);
    let mut live = live_keys(&admin, &owner);
    live.sort();
    let mut expected = [id_of(&assertions), text(&answer, "/key/id").to_owned()];
    expected.sort();
    assert_eq!(live, expected);
    // The key that came by an operator's hand is one of the authority's, too.
    let worker = admin.workload("sync-8", "production", &["m365-sync"]);
    worker.client(&service).get("/api/v1/release").expect(200);
    enrolled(&service, &admin, &format!("/workloads/{}", worker.id));
    worker.client(&service).get("/api/v1/release").expect(401);
    // And nobody else's went.
    client(&service, &after).get("/api/v1/release").expect(200);
    service.client("worker").get("/api/v1/release").expect(200);
}

fn renewals_of_one_key_end_at_sixteen(backend: Backend) {
    let service = Service::dev(&backend);
    let admin = Admin::of(&service);
    let owner = format!("/workloads/{}", new_workload(&admin, "sync-9"));
    let (_, first, csr) = enrolled(&service, &admin, &owner);
    let worker = client(&service, &first);
    for _ in 1..16 {
        renew(&worker, &csr).expect(201);
    }
    let refused = renew(&worker, &csr);
    assert_eq!(refused.problem(409), "conflict");
    assert!(refused.text().contains("16"), "{}", refused.text());
    assert_eq!(admin.audit("kind=key.renewed").len(), 15);
    worker.get("/api/v1/release").expect(200);
    // All of them are on the list together, and leave it together.
    let authority = id_of(&admin.list("/authorities")[0]);
    let entries = |state: &str| {
        let change = format!("{owner}/{state}");
        admin
            .change("POST", &owner, &change, &json!({}))
            .expect(200);
        let path = format!("/api/v1/authorities/{authority}/crl");
        let list = service.anonymous().get(&path).expect(200).body;
        strongroom::identity::revocation_list::RevocationList::from_der(list)
            .expect("a list")
            .entries
    };
    assert_eq!(entries("disable"), 16);
    assert_eq!(entries("enable"), 0);
}

fn a_renewal_keeps_the_key_and_the_name(backend: Backend) {
    let service = Service::dev(&backend);
    let admin = Admin::of(&service);
    let id = new_workload(&admin, "sync-9");
    let owner = format!("/workloads/{id}");
    let (first, before, csr) = enrolled(&service, &admin, &owner);
    let old = client(&service, &before);
    let next = renew(&old, &csr).expect(201).json();
    assert_eq!(next["key"], first["key"]);
    assert_eq!(next["spiffe_id"], first["spiffe_id"]);
    assert_eq!(next["principal"], first["principal"]);
    assert_ne!(next["certificate"], first["certificate"]);
    let after = pair(&next, &before.key);
    let new = client(&service, &after);
    // The answer could have been lost, so the old one stays good until its end.
    for client in [&old, &new] {
        client.get("/api/v1/release").expect(200);
    }
    assert_eq!(live_keys(&admin, &owner), [text(&first, "/key/id")]);
    assert_eq!(admin.audit("kind=key.renewed").len(), 1);

    // With another key, or for another workload.
    let keys = admin.get(&format!("{owner}/keys"));
    let other = admin.workload("sync-8", "production", &["m365-sync"]);
    let deployment = text(&first, "/audience");
    let foreign = format!("spiffe://{deployment}/workload/{}", other.id);
    for (what, csr) in [
        ("another key", request().1),
        ("another name", request_for(&foreign)),
        ("none", "Kanarienvogel".to_owned()),
    ] {
        let answer = renew(&new, &csr).expect(422);
        assert_eq!(answer.json()["errors"][0]["field"], "csr", "{what}");
        assert!(!answer.text().contains("Kanarienvogel"), "{what}");
    }
    // Somebody else with this one's request, whose key is not theirs.
    renew(&other.client(&service), &csr).expect(422);
    assert_eq!(
        renew(&service.anonymous(), &csr).problem(401),
        "unauthenticated"
    );

    // Whoever proves themselves otherwise has nothing to renew.
    let signer = Signer::worker(&service);
    let assertion = Request::post("/api/v1/renew", &json!({"csr": csr}));
    let assertion = assertion.bearer(&signer.assertion());
    let answer = service.anonymous().send(&assertion);
    assert_eq!(answer.problem(403), "forbidden");
    assert!(
        answer.text().contains("client certificate"),
        "{}",
        answer.text()
    );
    let pinned = self_signed();
    let mesh = Mesh::new("mesh.example");
    let authority = json!({"name": "mesh", "certificate": mesh.certificate(),
                           "trust_domain": "mesh.example"});
    let authority = id_of(&admin.create("/authorities", &authority));
    let leaf = mesh.leaf("sync/1");
    let theirs = format!("/workloads/{}/keys", other.id);
    admin.create(&theirs, &json!({"certificate": pinned.certificate}));
    let meshed = json!({"spiffe_id": mesh.spiffe_id("sync/1"), "authority": authority});
    admin.create(&theirs, &meshed);
    for pair in [&pinned, &leaf] {
        let answer = renew(&client(&service, pair), &request_with(&pair.key));
        assert_eq!(answer.problem(403), "forbidden");
    }
    assert_eq!(admin.get(&format!("{owner}/keys")), keys, "nothing changed");
    assert_eq!(admin.audit("kind=key.renewed").len(), 1);

    // Revoked, it renews nothing more.
    let revoke = format!("{owner}/keys/{}", text(&first, "/key/id"));
    admin.send("DELETE", &revoke, &json!({})).expect(200);
    for client in [&old, &new] {
        assert_eq!(renew(client, &csr).problem(401), "unauthenticated");
    }
}

fn operators_enrol_in_the_same_way(backend: Backend) {
    let service = Service::dev(&backend);
    let admin = Admin::of(&service);
    let body = json!({"name": "Grace Example", "role": "account-manager"});
    let id = id_of(&admin.create("/operators", &body));
    let owner = format!("/operators/{id}");
    let (answer, pair, csr) = enrolled(&service, &admin, &owner);
    assert_eq!(answer["principal"]["kind"], "operator");
    let deployment = text(&answer, "/audience");
    let spiffe_id = format!("spiffe://{deployment}/operator/{id}");
    assert_eq!(answer["spiffe_id"], spiffe_id.as_str());
    let grace = Admin {
        client: client(&service, &pair),
    };
    assert_eq!(grace.get("/whoami")["role"], "account-manager");
    let next = renew(&grace.client, &csr).expect(201).json();
    assert_eq!(next["key"], answer["key"]);
    // Only tech-ops lets somebody in, neither a workload nor themselves.
    let workload = new_workload(&admin, "sync-9");
    let of_workload = format!("/workloads/{workload}");
    let elsewhere = format!("/workloads/{}", new_workload(&admin, "sync-8"));
    for owner in [&owner, &of_workload] {
        let path = format!("{owner}/enrolment-tokens");
        let refused = grace.send("POST", &path, &json!({}));
        assert_eq!(refused.problem(403), "forbidden");
        let token = id_of(&token(&admin, owner));
        let refused = grace.send("DELETE", &format!("{path}/{token}"), &json!({}));
        assert_eq!(refused.problem(403), "forbidden");
        // Of another owner it is not there.
        let path = format!("{elsewhere}/enrolment-tokens/{token}");
        assert_eq!(
            admin.send("DELETE", &path, &json!({})).problem(404),
            "not-found"
        );
    }
    let worker = service.client("worker");
    let path = format!("/api/v1{of_workload}/enrolment-tokens");
    assert_eq!(
        worker.send(&Request::post(&path, &json!({}))).problem(404),
        "not-found"
    );
    // The last of tech-ops gets a new key without shutting themselves out.
    let me = format!("/operators/{}", id_of(&admin.get("/whoami")));
    let (_, pair, _) = enrolled(&service, &admin, &me);
    admin.client.get("/api/v1/whoami").expect(401);
    let again = Admin {
        client: client(&service, &pair),
    };
    again.role("after");
}

fn a_token_is_nowhere_but_in_its_answer(backend: Backend) {
    let service = Service::dev_with(&backend, &["--log", "strongroom=trace,debug"]);
    let admin = Admin::of(&service);
    let owner = format!("/workloads/{}", new_workload(&admin, "sync-9"));
    let nobody = service.anonymous();
    let token = token(&admin, &owner);
    let random = text(&token, "/token").strip_prefix("srenrol_");
    let random = random.expect("a token").to_owned();
    let mut answers = enrol(&nobody, &token, "none").expect(422).text();
    answers += &enrol(&nobody, &token, &request().1).expect(201).text();
    answers += &enrol(&nobody, &token, &request().1).expect(401).text();
    answers += &admin.get(&format!("{owner}/enrolment-tokens")).to_string();
    assert!(!answers.contains(&random), "a later answer");

    let has = |bytes: &[u8]| {
        bytes
            .windows(random.len())
            .any(|at| at == random.as_bytes())
    };
    assert!(has(token.to_string().as_bytes()), "the search finds it");
    let log = fs::read(export(&service, "tokens.ndjson")).expect("the export");
    assert!(!has(&log), "the audit log");
    let output = service.all_output();
    assert!(!output.is_empty() && !has(&output), "what was logged");
    let database = match &backend {
        Backend::Sqlite => all_files(&service.data()),
        Backend::Postgres(_) => {
            let url = fs::read_to_string(service.home().join("database-url"));
            postgres_dump(&url.expect("a URL")).into_bytes()
        }
    };
    let id = id_of(&token);
    let mut places = database.windows(id.len());
    assert!(
        places.any(|at| at == id.as_bytes()),
        "the database was looked into"
    );
    assert!(!has(&database), "the database");
}

fn all_files(directory: &Path) -> Vec<u8> {
    let entries = fs::read_dir(directory).expect("a directory");
    let paths = entries.map(|entry| entry.expect("a file").path());
    let files = paths.filter(|path| path.is_file());
    files
        .flat_map(|path| fs::read(path).expect("a file"))
        .collect()
}
