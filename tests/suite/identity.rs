//! Who is calling: bad proofs, good proofs, and proofs that stop being good.

use std::sync::Barrier;
use std::time::{Duration, Instant};

use serde_json::json;

use crate::support::proof::{Mesh, Signer, now, self_signed};
use crate::support::{Admin, Backend, Client, Request, Response, Service, id_of, on_both, until};

on_both!(
    bad_proofs_get_one_uniform_401,
    good_proofs_of_every_form,
    an_assertion_is_good_for_one_request,
    promise_3_revocation_reaches_open_connections,
);

fn bad_proofs_get_one_uniform_401(backend: Backend) {
    let service = Service::dev(&backend);
    let admin = Admin::of(&service);
    let signer = Signer::worker(&service);
    let anonymous = service.anonymous();
    let target = "/api/v1/release";
    let model = anonymous.get(target);
    assert_eq!(model.problem(401), "unauthenticated");

    // A mesh whose authority is registered, and one whose authority is not.
    let known = Mesh::new("mesh.example");
    let foreign = Mesh::new("foreign.example");
    let new = json!({"name": "mesh", "certificate": known.certificate(),
                     "trust_domain": "mesh.example"});
    let authority = id_of(&admin.create("/authorities", &new));
    let body = json!({"name": "meshed", "environment": "production", "roles": ["m365-sync"]});
    let workload = id_of(&admin.create("/workloads", &body));
    let id = known.spiffe_id("sync/1");
    let key = json!({"spiffe_id": id, "authority": authority});
    admin.create(&format!("/workloads/{workload}/keys"), &key);
    let good = known.leaf("sync/1");
    let good = service.client_with(&good.certificate, &good.key);
    good.get(target).expect(200);

    let mut answers: Vec<(&str, Response)> = Vec::new();
    let mut shown = |what, pair: crate::support::proof::Pair| {
        let client = service.client_with(&pair.certificate, &pair.key);
        answers.push((what, client.get(target)));
    };
    shown("a foreign authority", foreign.leaf("sync/1"));
    let lookalike = Mesh::new("mesh.example");
    shown(
        "another authority of the same name",
        lookalike.leaf("sync/1"),
    );
    shown("a name that is not registered", known.leaf("sync/2"));
    shown(
        "an expired certificate",
        known.issue(&id, now() - 7200, 3600),
    );
    shown("one of tomorrow", known.issue(&id, now() + 86_400, 3600));
    shown("a certificate that its own key signed", self_signed());

    let token = |what, token: String| (what, anonymous.send(&Request::get(target).bearer(&token)));
    let shift = |by: i64| {
        signer.with_claims(|claims| {
            for name in ["iat", "nbf", "exp"] {
                claims[name] = (claims[name].as_i64().expect("a time") + by).into();
            }
        })
    };
    let spent = signer.assertion();
    anonymous
        .send(&Request::get(target).bearer(&spent))
        .expect(200);
    let other = id_of(
        &service
            .client("other")
            .get("/api/v1/whoami")
            .expect(200)
            .json(),
    );
    answers.extend([
        token("a spent one", spent),
        token(
            "another audience",
            signer.with_claims(|it| it["aud"] = "prod-x".into()),
        ),
        token(
            "a list of audiences",
            signer.with_claims(|it| it["aud"] = json!([it["aud"]])),
        ),
        token("an expired one", shift(-1000)),
        token("one of the future", shift(1000)),
        token(
            "a long-lived one",
            signer.with_claims(|it| it["exp"] = (now() + 3600).into()),
        ),
        token("no jti", signer.with_claims(|it| it["jti"] = json!(null))),
        token(
            "a short jti",
            signer.with_claims(|it| it["jti"] = "short".into()),
        ),
        token(
            "another subject",
            signer.with_claims(|it| it["sub"] = other.as_str().into()),
        ),
        token(
            "another issuer",
            signer.with_claims(|it| {
                it["iss"] = other.as_str().into();
                it["sub"] = other.as_str().into();
            }),
        ),
        token("a forged one", signer.forger().assertion()),
        token(
            "an unknown kid",
            signer.with_header(|it| {
                it["kid"] = format!("pkey_{}", "0".repeat(26)).into();
            }),
        ),
        token("no kid", signer.with_header(|it| it["kid"] = json!(null))),
        token(
            "another typ",
            signer.with_header(|it| it["typ"] = "JWT".into()),
        ),
        token(
            "one more header",
            signer.with_header(|it| it["jku"] = "https://x.example".into()),
        ),
        token("HS256 with the public key", signer.confused()),
        token("alg none", signer.without_signature()),
        token("no token", "nonsense".to_owned()),
        token("an empty token", String::new()),
    ]);
    let basic = Request::get(target).header("authorization", "Basic eDp5");
    answers.push(("another scheme", anonymous.send(&basic)));
    let twice = Request::get(target)
        .bearer(&signer.assertion())
        .bearer(&signer.assertion());
    answers.push(("two assertions", anonymous.send(&twice)));
    let differ = Request::get(target).bearer(&signer.assertion());
    answers.push((
        "certificate and assertion of two",
        service.client("other").send(&differ),
    ));
    let stranger = self_signed();
    let stranger = service.client_with(&stranger.certificate, &stranger.key);
    answers.push((
        "a good assertion beside a bad certificate",
        stranger.send(&Request::get(target).bearer(&signer.assertion())),
    ));
    for (what, answer) in &answers {
        assert_eq!(answer.comparable(), model.comparable(), "{what}");
    }
    // Both of one principal are fine, and the worker still gets in: nobody was locked out.
    let both = Request::get(target).bearer(&signer.assertion());
    service.client("worker").send(&both).expect(200);
    assert!(
        admin.audit("kind=assertion.replayed").len() == 1,
        "one replay is recorded"
    );
    // Many failures get 429 for those who fail, and for nobody else at that address.
    let flooded = until("429", 20, || {
        let answer = anonymous.get(target);
        (answer.status != 401).then_some(answer)
    });
    assert_eq!(flooded.problem(429), "too-many-requests");
    service.client("worker").get(target).expect(200);
}

fn good_proofs_of_every_form(backend: Backend) {
    let service = Service::dev(&backend);
    let admin = Admin::of(&service);
    let body = json!({"name": "many-keys", "environment": "production", "roles": ["m365-sync"]});
    let workload = id_of(&admin.create("/workloads", &body));
    let keys = format!("/workloads/{workload}/keys");
    let name_of = |client: &Client| client.get("/api/v1/whoami").expect(200).json()["name"].clone();

    // A pinned certificate, self-signed: known by its key.
    let pinned = self_signed();
    let key = admin.create(&keys, &json!({"certificate": pinned.certificate}));
    assert_eq!(key["form"], "pinned-certificate");
    let client = service.client_with(&pinned.certificate, &pinned.key);
    assert_eq!(name_of(&client), "many-keys");
    // A public key belongs to one principal ever.
    let other = admin.workload("other-one", "production", &["m365-sync"]);
    let theirs = format!("/workloads/{}/keys", other.id);
    let taken = admin.send("POST", &theirs, &json!({"certificate": pinned.certificate}));
    assert_eq!(taken.problem(409), "conflict");
    let revoke = format!("{keys}/{}", id_of(&key));
    admin.send("DELETE", &revoke, &json!({}));
    client.get("/api/v1/whoami").expect(401);
    let again = admin.send("POST", &theirs, &json!({"certificate": pinned.certificate}));
    assert_eq!(again.problem(409), "conflict");

    // An issued certificate.
    assert_eq!(name_of(&other.client(&service)), "other-one");

    // Two authorities valid at once, as when one is rolled over.
    let domain = "roll.example";
    let (old, new) = (Mesh::new(domain), Mesh::new(domain));
    for (name, mesh, path) in [("old", &old, "w/old"), ("new", &new, "w/new")] {
        let body = json!({"name": name, "certificate": mesh.certificate(), "trust_domain": domain});
        let authority = admin.create("/authorities", &body);
        assert_eq!(authority["own"], false);
        let key = json!({"spiffe_id": mesh.spiffe_id(path), "authority": id_of(&authority)});
        admin.create(&keys, &key);
        let leaf = mesh.leaf(path);
        assert_eq!(
            name_of(&service.client_with(&leaf.certificate, &leaf.key)),
            "many-keys"
        );
    }
    // An ES256 assertion, by the program itself.
    let (private, _) = crate::support::proof::request();
    let public = strongroom::identity::assertion_key::AssertionKey::from_pem(&private);
    let public = public.expect("a key").public_key().to_pem();
    let key = admin.create(&keys, &json!({"public_key": public}));
    assert_eq!(key["form"], "p256");
    let file = service.file("es256.key");
    std::fs::write(&file, private).expect("a key");
    let audience = Signer::worker(&service).audience;
    let mut command = crate::support::service::program();
    command
        .args(["assertion", "--url", &service.url(), "--jwt-key"])
        .arg(&file)
        .args([
            "--kid",
            &id_of(&key),
            "--id",
            &workload,
            "--audience",
            &audience,
        ]);
    let token = crate::support::cli::run(command, b"").ok().stdout;
    let request = Request::get("/api/v1/whoami").bearer(token.trim());
    let answer = service.anonymous().send(&request).expect(200).json();
    assert_eq!(answer["name"], "many-keys");
}

/// Sends one assertion `count` times at once and gives how many were let in.
pub fn race(clients: &[Client], token: &str, target: &str, count: usize) -> usize {
    let barrier = Barrier::new(count);
    let request = Request::get(target).bearer(token);
    std::thread::scope(|scope| {
        let tries: Vec<_> = (0..count)
            .map(|n| {
                let client = &clients[n % clients.len()];
                let (barrier, request) = (&barrier, &request);
                scope.spawn(move || {
                    let mut connection = client.connect();
                    barrier.wait();
                    connection.send(request).expect("an answer").status
                })
            })
            .collect();
        let statuses = tries.into_iter().map(|it| it.join().expect("a thread"));
        statuses
            .map(|status| {
                assert!(status == 200 || status == 401 || status == 429, "{status}");
                usize::from(status == 200)
            })
            .sum()
    })
}

fn an_assertion_is_good_for_one_request(backend: Backend) {
    let mut service = Service::dev(&backend);
    let signer = Signer::worker(&service);
    for target in ["/api/v1/release", "/api/v1/whoami"] {
        let clients = [service.anonymous()];
        assert_eq!(
            race(&clients, &signer.assertion(), target, 64),
            1,
            "{target}"
        );
    }
    // A 404 and a 304 spend it as well.
    let anonymous = service.anonymous();
    let token = signer.assertion();
    let missing = format!("/api/v1/release/cred_{}", "0".repeat(26));
    anonymous
        .send(&Request::get(&missing).bearer(&token))
        .expect(404);
    let answer = anonymous.send(&Request::get("/api/v1/whoami").bearer(&token));
    assert!(answer.status == 401 || answer.status == 429);
    let etag = anonymous.send(&Request::get("/api/v1/release").bearer(&signer.assertion()));
    let etag = etag.expect(200).header("etag").expect("an ETag").to_owned();
    let token = signer.assertion();
    let again = Request::get("/api/v1/release")
        .bearer(&token)
        .header("if-none-match", &etag);
    anonymous.send(&again).expect(304);
    let answer = anonymous.send(&again);
    assert!(answer.status == 401 || answer.status == 429);
    // Spent is spent, also after a crash.
    let token = signer.assertion();
    let request = Request::get("/api/v1/release").bearer(&token);
    anonymous.send(&request).expect(200);
    service.kill();
    service.start();
    service.anonymous().send(&request).expect(401);
}

/// Revocation takes effect at the next release, also on a connection that is open; and within a
/// second for answers that release nothing.
fn promise_3_revocation_reaches_open_connections(backend: Backend) {
    let service = Service::dev(&backend);
    let admin = Admin::of(&service);
    let release = Request::get("/api/v1/release");
    let whoami = Request::get("/api/v1/whoami");
    let gone = |client: &Client, revoke: &dyn Fn()| {
        let mut connection = client.connect();
        let first = connection.send(&release).expect("an answer").expect(200);
        let etag = first.header("etag").expect("an ETag").to_owned();
        let unchanged = release.clone().header("if-none-match", &etag);
        connection.send(&whoami).expect("an answer").expect(200);
        connection.send(&unchanged).expect("an answer").expect(304);
        revoke();
        let revoked = Instant::now();
        connection.send(&release).expect("an answer").expect(401);
        for request in [&whoami, &unchanged] {
            let late = until("the end of what releases nothing", 5, || {
                let status = connection.send(request).expect("an answer").status;
                (status == 401).then(|| revoked.elapsed())
            });
            assert!(late < Duration::from_secs(1), "{late:?}");
        }
        // A new connection gets nothing either.
        client.get("/api/v1/release").expect(401);
    };

    let worker = admin.workload("revoked", "production", &["m365-sync"]);
    let key = format!("/workloads/{}/keys/{}", worker.id, worker.key_id);
    gone(&worker.client(&service), &|| {
        let answer = admin.send("DELETE", &key, &json!({}));
        assert!(answer.status < 300, "{}", answer.text());
    });

    let worker = admin.workload("disabled", "production", &["m365-sync"]);
    let resource = format!("/workloads/{}", worker.id);
    let client = worker.client(&service);
    gone(&client, &|| {
        let disable = format!("{resource}/disable");
        admin
            .change("POST", &resource, &disable, &json!({}))
            .expect(200);
    });
    let enable = format!("{resource}/enable");
    admin
        .change("POST", &resource, &enable, &json!({}))
        .expect(200);
    client.get("/api/v1/release").expect(200);

    let mesh = Mesh::new("mesh.example");
    let body = json!({"name": "mesh", "certificate": mesh.certificate(),
                      "trust_domain": "mesh.example"});
    let authority = id_of(&admin.create("/authorities", &body));
    let body = json!({"name": "meshed", "environment": "production", "roles": ["m365-sync"]});
    let workload = id_of(&admin.create("/workloads", &body));
    let key = json!({"spiffe_id": mesh.spiffe_id("w"), "authority": authority});
    admin.create(&format!("/workloads/{workload}/keys"), &key);
    let leaf = mesh.leaf("w");
    gone(&service.client_with(&leaf.certificate, &leaf.key), &|| {
        let answer = admin.send("DELETE", &format!("/authorities/{authority}"), &json!({}));
        assert!(answer.status < 300, "{}", answer.text());
    });
}
