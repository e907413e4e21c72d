//! Rolling the own authority: two at once, each for its own time, and what clients see of it.

use serde_json::{Value, json};

use crate::authorities::own;
use crate::support::cli::{cli, cli_json};
use crate::support::http::Tls;
use crate::support::proof::{now, request, request_with, save};
use crate::support::{Admin, Backend, Client, Request, Service, id_of, on_both, text, until};

on_both!(
    after_a_roll_both_authorities_are_accepted_each_for_its_time,
    after_a_roll_an_old_certificate_is_renewed_by_the_new_authority,
    a_roll_never_shuts_the_last_operator_out,
);

const RELEASE: &str = "/api/v1/release";

fn at(seconds: i64) -> Value {
    json!(strongroom::model::Timestamp::from_secs(seconds))
}

/// The certificates of a bundle, each as a file of its own.
fn certificates(bundle: &str) -> Vec<String> {
    let parts = bundle.split_inclusive("-----END CERTIFICATE-----\n");
    parts.map(str::to_owned).collect()
}

fn bundle(service: &Service, ca: &str) -> Vec<String> {
    let anonymous = Client::new(service.address(), Tls::anonymous(ca));
    let answer = anonymous
        .get("/api/v1/authorities/trust-bundle")
        .expect(200);
    let kind = answer.header("content-type");
    assert_eq!(kind, Some("application/pem-certificate-chain"));
    certificates(&answer.text())
}

/// Whether a client that trusts this certificate alone gets through the handshake.
fn knows(service: &Service, ca: &str) -> bool {
    let anonymous = Client::new(service.address(), Tls::anonymous(ca));
    let answer = anonymous.try_send(&Request::get("/api/v1/openapi.json"));
    answer.is_ok_and(|answer| answer.status == 200)
}

/// A new key of the first operator, whose certificate comes from the newest authority.
fn renew_operator(service: &Service, admin: &Admin, ca: &str) -> Admin {
    let me = id_of(&admin.get("/whoami"));
    let (key, csr) = request();
    let registered = admin.create(&format!("/operators/{me}/keys"), &json!({"csr": csr}));
    let certificate = text(&registered, "/certificate").to_owned();
    save(service, "renewed", &certificate, &key);
    let tls = Tls::with_certificate(ca, &certificate, &key);
    Admin {
        client: Client::new(service.address(), tls),
    }
}

fn after_a_roll_both_authorities_are_accepted_each_for_its_time(backend: Backend) {
    let mut service = Service::dev(&backend);
    let admin = Admin::of(&service);
    let old_id = own(&admin);
    let old_ca = service.ca();
    let old_worker = admin.workload("old", "production", &["m365-sync"]);
    let mut old_open = old_worker.client(&service).connect();
    let mut ask_old = || {
        old_open
            .send(&Request::get(RELEASE))
            .expect("an answer")
            .status
    };
    assert_eq!(ask_old(), 200);
    assert_eq!(bundle(&service, &old_ca).len(), 1);

    let rolled = cli_json(&service, "operator", &["authority", "roll"]);
    assert_eq!(rolled["own"], true);
    assert_eq!(rolled["name"], "strongroom-2");
    let new_id = id_of(&rolled);
    assert_ne!(new_id, old_id);
    let record = &admin.audit("kind=authority.rolled")[0];
    assert_eq!(record["subjects"], json!([new_id, old_id]));

    // What is issued now comes from the new one, and both are accepted.
    let new_worker = admin.workload("new", "production", &["m365-sync"]);
    let issuer = |pem: &str| {
        let der = strongroom::identity::pem::read_one(pem, "CERTIFICATE").expect("PEM");
        let der = der.windows(2).filter(|it| it == b" 2").count();
        der > 0
    };
    assert!(!issuer(&old_worker.pair.certificate) && issuer(&new_worker.pair.certificate));
    new_worker.client(&service).get(RELEASE).expect(200);
    old_worker.client(&service).get(RELEASE).expect(200);
    // The old one is accepted until the last of its certificates ends, the first operator's.
    let old = admin.get(&format!("/authorities/{old_id}"));
    let until_then: strongroom::model::Timestamp =
        text(&old, "/accept_until").parse().expect("a time");
    let days = (until_then.secs() - now()) / 86_400;
    assert!((364..=366).contains(&days), "{days}");
    assert!(old["last_used_at"].is_string());

    // Clients learn the new one over a connection that they trust; until then the old one is shown.
    let both = bundle(&service, &old_ca);
    assert_eq!(both.len(), 2);
    let new_ca = both
        .iter()
        .find(|pem| pem.trim() != old_ca.trim())
        .expect("the new one");
    assert!(knows(&service, &old_ca) && !knows(&service, new_ca));
    let printed = cli(&service, "operator", &["authority", "trust-bundle"])
        .ok()
        .stdout;
    assert_eq!(certificates(&printed), both);
    let lists = [&old_id, &new_id].map(|id| {
        let list = service
            .anonymous()
            .get(&format!("/api/v1/authorities/{id}/crl"));
        list.expect(200).body
    });
    assert_ne!(lists[0], lists[1]);

    // From its time on the new one is shown, and open connections go on.
    let change = [
        "authority",
        "change",
        "strongroom-2",
        "--presented-from",
        "2020-01-01",
    ];
    cli(&service, "operator", &change).ok();
    until("the new certificate", 30, || {
        knows(&service, new_ca).then_some(())
    });
    assert!(!knows(&service, &old_ca));
    assert_eq!(ask_old(), 200);
    let all = both.concat();
    let operator = |name: &str| {
        let file = |end: &str| service.read(&format!("{name}.{end}"));
        let tls = Tls::with_certificate(&all, &file("pem"), &file("key"));
        Admin {
            client: Client::new(service.address(), tls),
        }
    };
    let admin = renew_operator(&service, &operator("operator"), &all);

    // The old one cannot be ended by the way of removing the one that issues.
    let issuing = format!("/authorities/{new_id}");
    assert_eq!(
        admin.send("DELETE", &issuing, &json!({})).problem(409),
        "conflict"
    );
    let end = json!({"accept_until": at(now() - 5)});
    assert_eq!(
        admin.change("PATCH", &issuing, &issuing, &end).problem(409),
        "conflict"
    );
    // Its time passes: nobody of it is let in, on open connections either; the new one goes on.
    let path = format!("/authorities/{old_id}");
    let mut new_open = Client {
        tls: Tls::with_certificate(&all, &new_worker.pair.certificate, &new_worker.pair.key),
        ..new_worker.client(&service)
    }
    .connect();
    new_open
        .send(&Request::get(RELEASE))
        .expect("an answer")
        .expect(200);
    assert_eq!(ask_old(), 200);
    let end = json!({"accept_until": at(now() + 5)});
    admin.change("PATCH", &path, &path, &end).expect(200);
    until("the end of the old authority", 30, || {
        (ask_old() == 401).then_some(())
    });
    new_open
        .send(&Request::get(RELEASE))
        .expect("an answer")
        .expect(200);
    assert_eq!(bundle(&service, &all).len(), 1);
    // It may come back, and be removed for good.
    let back = json!({"accept_until": at(now() + 3600)});
    admin.change("PATCH", &path, &path, &back).expect(200);
    assert_eq!(ask_old(), 200);
    admin.send("DELETE", &path, &json!({})).expect(200);
    assert_eq!(ask_old(), 401);
    new_open
        .send(&Request::get(RELEASE))
        .expect("an answer")
        .expect(200);

    service.restart();
    let tls = Tls::with_certificate(new_ca, &new_worker.pair.certificate, &new_worker.pair.key);
    Client::new(service.address(), tls).get(RELEASE).expect(200);
    let tls = Tls::with_certificate(new_ca, &old_worker.pair.certificate, &old_worker.pair.key);
    Client::new(service.address(), tls).get(RELEASE).expect(401);
}

fn a_roll_never_shuts_the_last_operator_out(backend: Backend) {
    let service = Service::dev(&backend);
    let admin = Admin::of(&service);
    let before = admin.list("/authorities");
    // The only operator's certificate is of the old one.
    let now_over = json!({"accept_old_until": at(now() - 1)});
    let refused = admin.send("POST", "/authorities/roll", &now_over);
    assert_eq!(refused.problem(409), "conflict");
    for (field, body) in [
        (
            "accept_old_until",
            json!({"accept_old_until": "2099-01-01"}),
        ),
        ("present_from", json!({"present_from": "2099-01-01"})),
    ] {
        let refused = admin.send("POST", "/authorities/roll", &body);
        assert_eq!(refused.problem(422), "invalid");
        assert_eq!(refused.json()["errors"][0]["field"], field);
    }
    let taken = json!({"name": before[0]["name"]});
    assert_eq!(
        admin.send("POST", "/authorities/roll", &taken).problem(409),
        "conflict"
    );
    let after = admin.list("/authorities");
    assert_eq!(after.len(), 1);
    assert_eq!(after[0]["revision"], before[0]["revision"]);
    let keys = admin.get("/keys");
    let service_keys = keys["service"].as_array().expect("the service's keys");
    let authority = service_keys.iter().filter(|it| it["name"] == "authority");
    assert_eq!(authority.count(), 1, "{keys}");

    // Times have to fit.
    let path = format!("/authorities/{}", own(&admin));
    for (field, body) in [
        ("accept_until", json!({"accept_until": "2099-01-01"})),
        ("accept_from", json!({"accept_from": "2020-01-01"})),
    ] {
        let refused = admin.change("PATCH", &path, &path, &body);
        assert_eq!(refused.problem(422), "invalid");
        assert_eq!(refused.json()["errors"][0]["field"], field);
    }
    // Two rolls at once: one of them, or one after the other, and always two keys that fit.
    std::thread::scope(|scope| {
        let tries: Vec<_> = ["left", "right"]
            .map(|name| {
                let admin = &admin;
                let body = json!({"name": name});
                scope.spawn(move || admin.send("POST", "/authorities/roll", &body).status)
            })
            .into_iter()
            .map(|it| it.join().expect("a thread"))
            .collect();
        assert!(tries.contains(&201), "{tries:?}");
        assert!(tries.iter().all(|it| [201, 409].contains(it)), "{tries:?}");
    });
    let worker = admin.workload("after", "production", &["m365-sync"]);
    worker.client(&service).get(RELEASE).expect(200);
}

fn after_a_roll_an_old_certificate_is_renewed_by_the_new_authority(backend: Backend) {
    let service = Service::dev(&backend);
    let admin = Admin::of(&service);
    let worker = admin.workload("sync-9", "production", &["m365-sync"]);
    let old_id = own(&admin);
    cli(&service, "operator", &["authority", "roll"]).ok();
    let bundle = bundle(&service, &service.ca());
    // The listener shows a certificate of the new one when the old one is gone.
    let all = bundle.concat();
    let client = |certificate: &str| {
        let tls = Tls::with_certificate(&all, certificate, &worker.pair.key);
        Client::new(service.address(), tls)
    };
    let old = client(&worker.pair.certificate);

    let csr = request_with(&worker.pair.key);
    let body = json!({"csr": csr});
    let renewed = old.send(&Request::post("/api/v1/renew", &body)).expect(201);
    let renewed = renewed.json();
    // The answer brings both authorities, so that the host knows the new one before it is shown.
    assert_eq!(certificates(text(&renewed, "/ca")), bundle);
    let chain = text(&renewed, "/chain");
    assert_ne!(chain.trim(), service.ca().trim());
    assert!(bundle.iter().any(|it| it.trim() == chain.trim()));
    let new = client(text(&renewed, "/certificate"));
    // The answer could have been lost: the certificate of the old authority stays good as well, and
    // can be renewed again.
    for client in [&new, &old] {
        client.get(RELEASE).expect(200);
    }
    old.send(&Request::post("/api/v1/renew", &body)).expect(201);
    new.send(&Request::post("/api/v1/renew", &body)).expect(201);

    // Without the old authority, what it issued is worth nothing, and the rest goes on.
    let admin = renew_operator(&service, &admin, &all);
    let path = format!("/authorities/{old_id}");
    admin.send("DELETE", &path, &json!({})).expect(200);
    old.get(RELEASE).expect(401);
    new.get(RELEASE).expect(200);
}
