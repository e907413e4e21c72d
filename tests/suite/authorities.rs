//! Authorities: revocation lists of our own and of others, and rolling the own one.

use std::fs;
use std::path::Path;
use std::process::Command;

use serde_json::{Value, json};

use crate::production::{Cluster, furnish};
use crate::support::ca::{Ca, import, register, workload};
use crate::support::cli::{cli, cli_json};
use crate::support::proof::now;
use crate::support::{Admin, Backend, Request, Response, Service, id_of, on_both, text, until};

on_both!(
    the_own_list_is_signed_and_holds_what_is_revoked,
    a_foreign_list_takes_effect_on_open_connections,
    a_list_that_is_refused_changes_nothing,
    a_list_that_ended_closes_its_authority_until_the_next,
    the_parts_of_a_divided_list_are_kept_side_by_side,
);

const RELEASE: &str = "/api/v1/release";

/// What `openssl` says, and whether it went well.
fn openssl(arguments: &[&str], directory: &Path) -> (bool, String) {
    let mut command = Command::new("openssl");
    let output = command.args(arguments).current_dir(directory).output();
    let output = output.expect("openssl");
    let mut said = String::from_utf8_lossy(&output.stdout).into_owned();
    said.push_str(&String::from_utf8_lossy(&output.stderr));
    (output.status.success(), said)
}

/// The id of the own authority that issues.
pub fn own(admin: &Admin) -> String {
    let all = admin.list("/authorities");
    let own = all.iter().rfind(|it| it["own"] == true);
    id_of(own.expect("an own authority"))
}

/// The number in a list as OpenSSL shows it.
fn number(directory: &Path) -> u64 {
    let (good, said) = openssl(
        &[
            "crl",
            "-inform",
            "DER",
            "-in",
            "own.crl",
            "-noout",
            "-crlnumber",
        ],
        directory,
    );
    assert!(good, "{said}");
    let text = said
        .trim()
        .trim_start_matches("crlNumber=")
        .trim_start_matches("0x");
    u64::from_str_radix(text, 16).expect("a number")
}

fn the_own_list_is_signed_and_holds_what_is_revoked(backend: Backend) {
    let mut service = Service::dev(&backend);
    let admin = Admin::of(&service);
    let own = own(&admin);
    let home = service.home().to_owned();
    let target = format!("/api/v1/authorities/{own}/crl");
    // Nobody has to say who they are to get it.
    let fetch = |service: &Service| {
        let answer = service.anonymous().get(&target).expect(200);
        assert_eq!(answer.header("content-type"), Some("application/pkix-crl"));
        assert_eq!(answer.header("cache-control"), Some("no-store"));
        fs::write(home.join("own.crl"), &answer.body).expect("a file");
        answer.body
    };
    fs::write(home.join("ca.pem"), service.ca()).expect("a file");
    let leaf = |name: &str, worker: &crate::support::api::Worker| {
        fs::write(home.join(name), &worker.pair.certificate).expect("a file");
    };
    let (one, two) = (
        admin.workload("one", "production", &["m365-sync"]),
        admin.workload("two", "production", &["m365-sync"]),
    );
    leaf("one.pem", &one);
    leaf("two.pem", &two);
    let verify = |name: &str| {
        let arguments = [
            "verify",
            "-CAfile",
            "ca.pem",
            "-crl_check",
            "-CRLfile",
            "own.pem",
            name,
        ];
        openssl(&arguments, &home)
    };
    let to_pem = || {
        let convert = ["crl", "-inform", "DER", "-in", "own.crl", "-out", "own.pem"];
        let (good, said) = openssl(&convert, &home);
        assert!(good, "{said}");
    };

    let empty = fetch(&service);
    to_pem();
    let check = [
        "crl", "-inform", "DER", "-in", "own.crl", "-noout", "-CAfile", "ca.pem",
    ];
    let (good, said) = openssl(&check, &home);
    assert!(good && said.contains("verify OK"), "{said}");
    for name in ["one.pem", "two.pem"] {
        let (good, said) = verify(name);
        assert!(good, "{said}");
    }
    // While nothing is revoked it is the same list.
    admin.role("another");
    assert_eq!(fetch(&service), empty);
    let first = number(&home);

    // A revoked key is in the next answer, and the number went up.
    let key = format!("/workloads/{}/keys/{}", one.id, one.key_id);
    admin.send("DELETE", &key, &json!({}));
    fetch(&service);
    to_pem();
    let second = number(&home);
    assert!(second > first, "{first} {second}");
    let (good, said) = verify("one.pem");
    assert!(!good && said.contains("revoked"), "{said}");
    assert!(verify("two.pem").0);

    // Who is disabled is on hold, and may come back.
    let resource = format!("/workloads/{}", two.id);
    let switch = |verb: &str| {
        let target = format!("{resource}/{verb}");
        admin
            .change("POST", &resource, &target, &json!({}))
            .expect(200);
    };
    switch("disable");
    fetch(&service);
    to_pem();
    let (_, said) = openssl(&["crl", "-in", "own.pem", "-noout", "-text"], &home);
    assert!(said.contains("Certificate Hold"), "{said}");
    assert!(!verify("two.pem").0);
    switch("enable");
    let last = fetch(&service);
    to_pem();
    assert!(verify("two.pem").0);
    assert!(!verify("one.pem").0);

    // It is not made anew by a restart, and each making is in the audit log.
    service.restart();
    let admin = Admin::of(&service);
    assert_eq!(fetch(&service), last);
    assert_eq!(admin.audit("kind=authority.crl-issued").len(), 4);
    // What is not an own authority has none.
    let ca = Ca::new("mesh.example");
    let foreign = register(&admin, "mesh", &ca);
    let nothing = format!("auth_{}", "0".repeat(26));
    for id in [foreign.as_str(), nothing.as_str(), "nonsense"] {
        let answer = service
            .anonymous()
            .get(&format!("/api/v1/authorities/{id}/crl"));
        assert_eq!(answer.problem(404), "not-found");
    }
}

fn a_foreign_list_takes_effect_on_open_connections(backend: Backend) {
    let service = Service::dev(&backend);
    let admin = Admin::of(&service);
    let ca = Ca::new("mesh.example");
    let authority = register(&admin, "mesh", &ca);
    let mut connections = Vec::new();
    for (serial, path) in [(3, "w/3"), (4, "w/4")] {
        let name = path.replace('/', "-");
        workload(&admin, &name, &ca, &authority, path);
        let leaf = ca.leaf(path, serial);
        let client = service.client_with(&leaf.certificate, &leaf.key);
        let mut connection = client.connect();
        connection
            .send(&Request::get(RELEASE))
            .expect("an answer")
            .expect(200);
        connections.push(connection);
    }
    let mut worker = service.client("worker").connect();
    worker
        .send(&Request::get(RELEASE))
        .expect("an answer")
        .expect(200);
    let mut ask = |at: usize| {
        let answer: Response = connections[at]
            .send(&Request::get(RELEASE))
            .expect("an answer");
        answer.status
    };

    // By the command line, from PEM.
    let file = service.home().join("mesh.crl");
    let pem = pem(&ca.crl(1, &[3], 3600));
    fs::write(&file, pem).expect("a file");
    let file = file.display().to_string();
    let import_it = ["authority", "crl", "import", "mesh", "--file", &file];
    let imported = cli_json(&service, "operator", &import_it);
    assert_eq!(imported["entries"], 1);
    assert_eq!(imported["number"], "1");
    assert_eq!(ask(0), 401);
    assert_eq!(ask(1), 200);
    // The same list again, as a timer brings it: nothing happens.
    cli(&service, "operator", &import_it).ok();
    assert_eq!(admin.audit("kind=authority.crl-imported").len(), 1);
    // The next list, without the serial number, in DER.
    fs::write(service.home().join("mesh.crl"), ca.crl(2, &[4], 3600)).expect("a file");
    cli(&service, "operator", &import_it).ok();
    assert_eq!(ask(0), 200);
    assert_eq!(ask(1), 401);
    let shown = cli(&service, "operator", &["authority", "crl", "show", "mesh"]).ok();
    assert!(shown.stdout.contains("CRL NUMBER"), "{}", shown.stdout);
    let list = &admin.get(&format!("/authorities/{authority}"))["revocation_lists"][0];
    assert_eq!(list["number"], "2");
    let metrics = || service.status("/metrics").text();
    assert!(
        metrics().contains("strongroom_authority_last_used_timestamp_seconds{authority=\"auth_")
    );
    let used = admin.get(&format!("/authorities/{authority}"));
    assert!(used["last_used_at"].is_string(), "{used}");

    // Giving the lists up is an operator's decision and recorded.
    cli(
        &service,
        "operator",
        &["authority", "crl", "remove", "mesh"],
    )
    .ok();
    assert_eq!(ask(1), 200);
    assert_eq!(admin.audit("kind=authority.crl-removed").len(), 1);
    // A removed authority is over for its open connections, too, and for nobody else.
    cli(&service, "operator", &["authority", "remove", "mesh"]).ok();
    assert_eq!(ask(0), 401);
    assert_eq!(ask(1), 401);
    worker
        .send(&Request::get(RELEASE))
        .expect("an answer")
        .expect(200);
}

fn pem(der: &[u8]) -> String {
    strongroom::identity::pem::write_one(der, "X509 CRL").to_string()
}

fn a_list_that_is_refused_changes_nothing(backend: Backend) {
    let service = Service::dev(&backend);
    let admin = Admin::of(&service);
    let ca = Ca::new("mesh.example");
    let authority = register(&admin, "mesh", &ca);
    workload(&admin, "meshed", &ca, &authority, "w");
    let (good, revoked) = (ca.leaf("w", 4), ca.leaf("w", 3));
    let good = service.client_with(&good.certificate, &good.key);
    let revoked = service.client_with(&revoked.certificate, &revoked.key);
    import(&admin, &authority, &ca.crl(7, &[3], 3600)).expect(200);
    let state = admin.get(&format!("/authorities/{authority}"));
    let holds = || {
        good.get(RELEASE).expect(200);
        assert_eq!(revoked.get(RELEASE).problem(401), "unauthenticated");
        let mut after = admin.get(&format!("/authorities/{authority}"));
        after["last_used_at"] = state["last_used_at"].clone();
        assert_eq!(after, state);
    };
    holds();

    let lookalike = Ca::new("mesh.example");
    let other = Ca::new("other.example");
    let mut broken = ca.crl(9, &[], 3600);
    let last = broken.len() - 1;
    broken[last] ^= 1;
    let cut = &ca.crl(9, &[], 3600)[..100];
    let later = ca.crl_of(9, &[], now() + 3600, 3600, None);
    let before = ca.crl_of(9, &[], now() - 7200, 3600, None);
    for (list, rule) in [
        (b"no list".as_slice(), "is not a revocation list"),
        (cut, "is not a revocation list"),
        (&broken, "is not signed by this authority"),
        (
            &lookalike.crl(9, &[], 3600),
            "is not signed by this authority",
        ),
        (&other.crl(9, &[], 3600), "was issued by another authority"),
        (&before, "has expired"),
        (&later, "is not valid yet"),
        (&ca.crl(6, &[], 3600), "is older"),
        (&ca.crl(7, &[], 3600), "is older"),
        (&vec![0x30; 1024 * 1024 + 1], "is longer than 1 MiB"),
    ] {
        let answer = import(&admin, &authority, list);
        assert_eq!(answer.problem(422), "invalid");
        let error = answer.json()["errors"][0].clone();
        assert_eq!(error["field"], "crl");
        let said = text(&error, "/rule");
        assert!(said.contains(rule), "{rule} in {error}");
        holds();
    }
    let path = format!("/authorities/{authority}/crl");
    let certificate = json!({"crl": ca.certificate});
    assert_eq!(
        admin.send("PUT", &path, &certificate).problem(422),
        "invalid"
    );
    // Refused by the length that it says it has, before it comes: whoever goes on to send it may
    // find the connection closed.
    let mut connection = admin.client.connect();
    let head = format!(
        "PUT /api/v1{path} HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n\
         content-length: {}\r\n\r\n{{",
        2 * 1024 * 1024
    );
    connection.write(head.as_bytes()).expect("a head");
    let answer = connection.receive().expect("an answer");
    assert_eq!(answer.problem(413), "too-large");
    // The own authority makes its own; a workload and a stranger may not bring any.
    let list = ca.crl(9, &[], 3600);
    let own = own(&admin);
    assert_eq!(import(&admin, &own, &list).problem(409), "conflict");
    let worker = Admin {
        client: service.client("worker"),
    };
    assert_eq!(import(&worker, &authority, &list).problem(404), "not-found");
    let stranger = Admin {
        client: service.anonymous(),
    };
    assert_eq!(
        import(&stranger, &authority, &list).problem(401),
        "unauthenticated"
    );
    holds();
}

fn a_list_that_ended_closes_its_authority_until_the_next(backend: Backend) {
    let mut service = Service::dev(&backend);
    let admin = Admin::of(&service);
    let ca = Ca::new("mesh.example");
    let authority = register(&admin, "mesh", &ca);
    workload(&admin, "meshed", &ca, &authority, "w");
    let leaf = ca.leaf("w", 4);
    let mut connection = service.client_with(&leaf.certificate, &leaf.key).connect();
    let mut ask = || {
        connection
            .send(&Request::get(RELEASE))
            .expect("an answer")
            .status
    };
    assert_eq!(ask(), 200);
    import(&admin, &authority, &ca.crl(1, &[], 6)).expect(200);
    assert_eq!(ask(), 200);
    until("the end of the list", 20, || (ask() == 401).then_some(()));
    // Others go on, and the node is ready: it says what is missing.
    service.client("worker").get(RELEASE).expect(200);
    assert!(service.is_ready());
    service.restart();
    let parts: Value = service.status("/readyz").json();
    let parts = parts["parts"].as_array().expect("parts").clone();
    let lists = parts.iter().find(|it| it["name"] == "revocation-lists");
    let detail = text(lists.expect("the part"), "/detail");
    assert!(detail.contains("has ended"), "{detail}");
    assert!(
        service
            .last_stderr()
            .contains("a revocation list has ended")
    );
    let metrics = service.status("/metrics").text();
    let remaining = "strongroom_revocation_list_remaining_seconds{";
    assert!(metrics.contains(remaining), "{metrics}");
    let client = service.client_with(&leaf.certificate, &leaf.key);
    client.get(RELEASE).expect(401);
    import(&Admin::of(&service), &authority, &ca.crl(2, &[], 3600)).expect(200);
    client.get(RELEASE).expect(200);
}

fn the_parts_of_a_divided_list_are_kept_side_by_side(backend: Backend) {
    let service = Service::dev(&backend);
    let admin = Admin::of(&service);
    let ca = Ca::new("mesh.example");
    let authority = register(&admin, "mesh", &ca);
    workload(&admin, "meshed", &ca, &authority, "w");
    let (a, b) = ("http://crl.example/a", "http://crl.example/b");
    let leaf = |serial: u8, points: &[&str]| {
        let pair = ca.issue(&crate::support::ca::Leaf {
            serial,
            spiffe_id: "spiffe://mesh.example/w".to_owned(),
            common_name: "",
            distribution_points: points,
            lifetime: 3600,
        });
        service.client_with(&pair.certificate, &pair.key)
    };
    import(&admin, &authority, &ca.crl_part(1, &[3], a)).expect(200);
    leaf(4, &[a]).get(RELEASE).expect(200);
    leaf(3, &[a]).get(RELEASE).expect(401);
    // Nothing is known of the other part yet.
    leaf(4, &[b]).get(RELEASE).expect(401);
    import(&admin, &authority, &ca.crl_part(1, &[5], b)).expect(200);
    leaf(4, &[b]).get(RELEASE).expect(200);
    leaf(5, &[b]).get(RELEASE).expect(401);
    let lists = admin.get(&format!("/authorities/{authority}"));
    let lists = lists["revocation_lists"].as_array().expect("lists").clone();
    let points: Vec<_> = lists
        .iter()
        .map(|it| text(it, "/distribution_points/0"))
        .collect();
    assert!(
        points.len() == 2 && points.contains(&a) && points.contains(&b),
        "{points:?}"
    );
}

/// What an authority was told on one node counts at the next release of the other, on connections
/// that are open, and for nobody else.
#[test]
fn promise_3_of_authorities_on_the_other_node() {
    let Some(backend) = Backend::postgres() else {
        return;
    };
    let cluster = Cluster::new(&backend);
    let (admin, other) = (Admin::of(&cluster.first), &cluster.second);
    let credential = furnish(&admin);
    let release = Request::get(&format!("/api/v1/release/{credential}"));
    let ca = Ca::new("mesh.example");
    let authority = register(&admin, "mesh", &ca);
    let body = json!({"name": "meshed", "environment": "production", "roles": ["sync"]});
    let workload = id_of(&admin.create("/workloads", &body));
    let key = json!({"spiffe_id": "spiffe://mesh.example/w", "authority": authority});
    admin.create(&format!("/workloads/{workload}/keys"), &key);
    let own = admin.workload("own", "production", &["sync"]);
    let mut connections = [3, 4].map(|serial| {
        let leaf = ca.leaf("w", serial);
        let client = other.client_with(&leaf.certificate, &leaf.key);
        client.connect()
    });
    let mut unaffected = own.client(other).connect();
    let mut expect = |revoked: u16, good: u16| {
        let [first, second] = &mut connections;
        for (connection, status) in [(first, revoked), (second, good), (&mut unaffected, 200)] {
            let answer = connection.send(&release).expect("an answer");
            assert_eq!(answer.status, status, "{}", answer.text());
        }
    };
    until("the key on the other node", 5, || {
        let leaf = ca.leaf("w", 5);
        let client = other.client_with(&leaf.certificate, &leaf.key);
        (client.send(&release).status == 200).then_some(())
    });
    expect(200, 200);
    import(&admin, &authority, &ca.crl(1, &[3], 3600)).expect(200);
    expect(401, 200);
    import(&admin, &authority, &ca.crl(2, &[3, 4], 3600)).expect(200);
    expect(401, 401);
    // What is given, other than what is taken, may take a moment to be known everywhere.
    import(&admin, &authority, &ca.crl(3, &[3], 3600)).expect(200);
    until("the next list on the other node", 5, || {
        let leaf = ca.leaf("w", 4);
        let client = other.client_with(&leaf.certificate, &leaf.key);
        (client.send(&release).status == 200).then_some(())
    });
    expect(401, 200);
    let path = format!("/authorities/{authority}");
    let end = json!({"accept_until": strongroom::model::Timestamp::from_secs(now())});
    admin.change("PATCH", &path, &path, &end).expect(200);
    expect(401, 401);
    let end = json!({"accept_until": strongroom::model::Timestamp::from_secs(now() + 3600)});
    admin.change("PATCH", &path, &path, &end).expect(200);
    until("the authority's time on the other node", 5, || {
        let leaf = ca.leaf("w", 4);
        let client = other.client_with(&leaf.certificate, &leaf.key);
        (client.send(&release).status == 200).then_some(())
    });
    expect(401, 200);
    admin.send("DELETE", &path, &json!({})).expect(200);
    expect(401, 401);
}
