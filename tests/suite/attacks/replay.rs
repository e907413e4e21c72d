//! One assertion used again: row 37, and a certificate beside it: row 5.

use serde_json::json;

use super::{Stranger, refused};
use crate::identity::race;
use crate::production::Cluster;
use crate::support::proof::Signer;
use crate::support::{Admin, Backend, Request, Response, Service, id_of, on_both};

on_both!(row_37_cve_2025_6014_a_spent_assertion_in_every_guise);

fn row_37_cve_2025_6014_a_spent_assertion_in_every_guise(backend: Backend) {
    let service = Service::dev(&backend);
    let signer = Signer::worker(&service);
    let mut stranger = Stranger::new(&service);
    let model = stranger.send(&Request::get("/api/v1/whoami"));
    let missing = format!("/api/v1/release/cred_{}", "0".repeat(26));
    let targets = [
        "/api/v1/whoami",
        "/api/v1/release",
        "/api/v1/clients",
        "/api/v1/release/%FF",
        &missing,
    ];
    type Guise = fn(&str) -> String;
    let headers: [(&str, Guise); 8] = [
        ("as it was", |it| format!("Bearer {it}")),
        ("in small letters", |it| format!("bearer {it}")),
        ("in capitals", |it| format!("BEARER {it}")),
        ("with spaces behind", |it| format!("Bearer {it}  ")),
        ("with two spaces", |it| format!("Bearer  {it}")),
        ("with a tab", |it| format!("Bearer\t{it}")),
        ("with padding", |it| format!("Bearer {it}==")),
        ("with a dot", |it| format!("Bearer {it}.")),
    ];
    let mut count = 0;
    for first in targets {
        let token = signer.assertion();
        let answer = stranger.present(&token, first);
        assert_ne!(answer.status, 401, "{first}: {}", answer.text());
        for again in targets {
            for (what, header) in headers {
                let request = Request::get(again).header("authorization", &header(&token));
                let answer = stranger.send(&request);
                assert_eq!(
                    answer.comparable(),
                    model.comparable(),
                    "{first}, then {again}, {what}"
                );
                count += 1;
            }
        }
    }
    // Whatever the answer was, the assertion is spent: a HEAD, a refused header, query or body.
    let release = "/api/v1/release";
    let refusals: [(&str, u16, Request); 7] = [
        ("a HEAD", 405, Request::new("HEAD", release)),
        (
            "no JSON",
            406,
            Request::get(release).header("accept", "text/csv"),
        ),
        ("a query", 400, Request::get("/api/v1/release?x=1")),
        ("a path", 404, Request::get("/api/v1/release/%FF")),
        (
            "half a path",
            404,
            Request::get("/api/v1/release/%C3%28?version=1"),
        ),
        (
            "no body",
            415,
            Request::new("POST", &format!("{missing}/in-use")),
        ),
        (
            "not theirs",
            404,
            Request::post("/api/v1/clients", &json!({"name": "N", "slug": "n"})),
        ),
    ];
    for (what, status, request) in refusals {
        let token = signer.assertion();
        let request = request.bearer(&token);
        let answer = send_any(&mut stranger, &service, what, &request);
        assert_eq!(answer, status, "{what}");
        let answer = stranger.present(&token, "/api/v1/whoami");
        assert_eq!(answer.comparable(), model.comparable(), "after {what}");
        count += 1;
    }
    // Many replays count like any other failure, and shut out nobody who has something new.
    let token = signer.assertion();
    let anonymous = service.anonymous();
    let mut connection = anonymous.connect();
    let replay = Request::get("/api/v1/whoami").bearer(&token);
    let statuses: Vec<u16> = (0..80)
        .map(|_| connection.send(&replay).expect("an answer").status)
        .collect();
    assert_eq!(statuses[0], 200);
    assert!(statuses[1..].iter().all(|it| *it == 401 || *it == 429));
    assert!(statuses.contains(&429), "{statuses:?}");
    let fresh = Request::get("/api/v1/whoami").bearer(&signer.assertion());
    connection.send(&fresh).expect("an answer").expect(200);
    let fresh = Request::get(release).bearer(&signer.assertion());
    connection.send(&fresh).expect("an answer").expect(200);
    refused(count + 79);
}

/// A HEAD has no body, whatever its length says.
fn send_any(stranger: &mut Stranger, service: &Service, what: &str, request: &Request) -> u16 {
    if what != "a HEAD" {
        return stranger.send(request).status;
    }
    let mut connection = service.anonymous().connect();
    connection.start(request).expect("it is sent");
    let (status, headers) = connection.receive_head().expect("a head");
    let allow = headers.iter().find(|(name, _)| name == "allow");
    assert_eq!(allow.map(|(_, methods)| methods.as_str()), Some("GET"));
    status
}

#[test]
fn row_37_sixty_four_replays_at_once_on_two_nodes() {
    let Some(backend) = Backend::postgres() else {
        return;
    };
    let cluster = Cluster::new(&backend);
    let admin = Admin::of(&cluster.first);
    admin.role("sync");
    admin.environment("production");
    let worker = admin.workload("sync-1", "production", &["sync"]);
    let random = strongroom::random::SystemRandom::new();
    let key = strongroom::pki::Ed25519Key::generate(&random).expect("a key");
    let public = json!({"public_key": key.public_key().to_pem()});
    let kid = id_of(&admin.create(&format!("/workloads/{}/keys", worker.id), &public));
    let settings = std::fs::read_to_string(cluster.first.home().join("strongroom.toml"));
    let audience = settings.expect("the settings");
    let audience = audience
        .lines()
        .find_map(|line| line.strip_prefix("deployment = "));
    let audience = audience.expect("an id").trim_matches('"').to_owned();
    let signer = Signer::with_key(&key.to_pem(), &worker.id, &kid, &audience);
    let clients = [cluster.first.anonymous(), cluster.second.anonymous()];
    let targets = ["/api/v1/release", "/api/v1/whoami", "/api/v1/release/%FF"];
    for target in targets {
        let won = match target {
            // Nothing is there, which the winner is told; the others are nobody.
            "/api/v1/release/%FF" => lost(&clients, &signer.assertion(), target, 64),
            _ => race(&clients, &signer.assertion(), target, 64),
        };
        assert_eq!(won, 1, "{target}");
    }
    refused(63 * targets.len());
}

/// Sends one assertion `count` times at once and gives how many were answered as a known caller.
fn lost(clients: &[crate::support::Client], token: &str, target: &str, count: usize) -> usize {
    let barrier = std::sync::Barrier::new(count);
    let request = Request::get(target).bearer(token);
    std::thread::scope(|scope| {
        let tries: Vec<_> = (0..count)
            .map(|n| {
                let (client, barrier, request) = (&clients[n % clients.len()], &barrier, &request);
                scope.spawn(move || {
                    let mut connection = client.connect();
                    barrier.wait();
                    connection.send(request).expect("an answer").status
                })
            })
            .collect();
        let statuses = tries.into_iter().map(|it| it.join().expect("a thread"));
        statuses.filter(|it| *it != 401 && *it != 429).count()
    })
}

#[test]
fn row_05_cve_2026_39388_one_proof_does_not_carry_another() {
    let service = Service::dev(&Backend::Sqlite);
    let signer = Signer::worker(&service);
    let (worker, other) = (service.client("worker"), service.client("other"));
    let operator = service.client("operator");
    let name = |answer: Response| answer.expect(200).json()["name"].clone();
    let whoami = Request::get("/api/v1/whoami");
    // Three connections in turn: what was worked out for one is not another's.
    let mut connections = [worker.connect(), other.connect(), operator.connect()];
    let names: Vec<_> = connections
        .iter_mut()
        .map(|it| name(it.send(&whoami).expect("an answer")))
        .collect();
    for _ in 0..3 {
        for (connection, expected) in connections.iter_mut().zip(&names) {
            let answer = connection.send(&whoami).expect("an answer");
            assert_eq!(name(answer), *expected);
        }
    }
    // The assertion of one on the connection of another is neither's, and nobody's from then on is
    // what the connection proves by itself.
    for (at, connection) in connections.iter_mut().enumerate().skip(1) {
        let both = whoami.clone().bearer(&signer.assertion());
        let answer = connection.send(&both).expect("an answer");
        assert_eq!(answer.problem(401), "unauthenticated");
        let answer = connection.send(&whoami).expect("an answer");
        assert_eq!(name(answer), names[at]);
    }
    // There is nothing to renew: no answer gives out anything that could be shown in place of a proof.
    for connection in &mut connections {
        let answer = connection.send(&whoami).expect("an answer");
        assert!(answer.header("set-cookie").is_none() && answer.header("authorization").is_none());
    }
    for target in [
        "/api/v1/login",
        "/api/v1/session",
        "/api/v1/auth/token/renew-self",
    ] {
        assert_eq!(operator.get(target).status, 404, "{target}");
    }
    refused(5);
}
