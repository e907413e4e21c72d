//! Assertions: rows 11 to 13 and 15 to 23.

use std::io::Write as _;
use std::net::TcpListener;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};

use super::jwt_matrix::{Arsenal, Attack, CLAIMS, other_spellings, try_all};
use super::{Stranger, refused};
use crate::support::proof::Signer;
use crate::support::{Admin, Backend, Request, Service, id_of, pause};

/// Runs the attacks that `fill` makes against a service of their own.
fn attack(fill: impl FnOnce(&mut Arsenal<'_>)) {
    let service = Service::dev(&Backend::Sqlite);
    let signer = Signer::worker(&service);
    let mut arsenal = Arsenal::new(&signer);
    fill(&mut arsenal);
    try_all(&service, &signer, &arsenal.attacks);
}

#[test]
fn row_11_cve_2024_5798_audience_missing_or_foreign() {
    attack(|arsenal| {
        let ours = arsenal.signer.audience.clone();
        arsenal.claims("no audience", |it| {
            it.as_object_mut().expect("claims").remove("aud");
        });
        let foreign = [
            json!(""),
            json!(null),
            json!(0),
            json!(true),
            json!([]),
            json!([ours]),
            json!({"aud": ours}),
            json!("prod-x"),
            json!(ours.to_uppercase()),
            json!(format!("{ours} ")),
            json!(format!(" {ours}")),
            json!(format!("{ours}/")),
            json!(ours[..ours.len() - 1]),
            json!("*"),
        ];
        for aud in foreign {
            arsenal.claims(format!("audience {aud}"), |it| it["aud"] = aud);
        }
    });
}

#[test]
fn row_12_cve_2026_25537_wrongly_typed_times() {
    attack(|arsenal| {
        let wrong = [
            json!(null),
            json!(true),
            json!("x"),
            json!([]),
            json!({}),
            json!(-1),
            json!(1e18),
            json!(1.5),
        ];
        for name in ["exp", "nbf", "iat"] {
            for value in &wrong {
                arsenal.claims(format!("{name} is {value}"), |it| it[name] = value.clone());
            }
            arsenal.claims(format!("{name} in quotes"), |it| {
                it[name] = it[name].to_string().into();
            });
            arsenal.claims_text(format!("{name} too long for any type"), |it| {
                let good: Value = serde_json::from_str(&it).expect("claims");
                let (from, to) = (good[name].to_string(), "9".repeat(400));
                it.replacen(
                    &format!("\"{name}\":{from}"),
                    &format!("\"{name}\":{to}"),
                    1,
                )
            });
        }
    });
}

#[test]
fn row_13_cve_2026_19194_claims_in_other_letters() {
    attack(|arsenal| {
        for name in CLAIMS {
            let value = arsenal.signer.claims()[name].clone();
            for (what, spelled) in other_spellings(name) {
                arsenal.claims_text(format!("{name} {what}"), |it| {
                    it.replacen(&format!("\"{name}\""), &format!("\"{spelled}\""), 1)
                });
                // The right claim is bad, the one in other letters would be good.
                arsenal.claims_text(format!("{name} bad, and good {what}"), |it| {
                    let mut bad: Value = serde_json::from_str(&it).expect("claims");
                    bad[name] = "x".into();
                    let bad = bad.to_string();
                    format!("{},\"{spelled}\":{value}}}", &bad[..bad.len() - 1])
                });
            }
        }
    });
}

#[test]
fn row_15_rfc_8725_alg_none_in_every_case() {
    attack(|arsenal| {
        for mask in 0..16_u8 {
            let letters = "none".chars().enumerate().map(|(at, letter)| {
                if mask >> at & 1 == 1 {
                    letter.to_ascii_uppercase()
                } else {
                    letter
                }
            });
            let alg: String = letters.collect();
            // With the good signature, and with none at all.
            arsenal.header(format!("alg {alg}"), |it| it["alg"] = alg.as_str().into());
            let claims = arsenal.signer.claims();
            let mut header = arsenal.signer.header();
            header["alg"] = alg.as_str().into();
            let message = crate::support::proof::unsigned(&header, &claims);
            arsenal.add(format!("alg {alg}, bare"), format!("{message}."), &claims);
        }
        for alg in [
            json!(""),
            json!(null),
            json!([]),
            json!(["EdDSA"]),
            json!({}),
            json!(0),
        ] {
            arsenal.header(format!("alg {alg}"), |it| it["alg"] = alg);
        }
    });
}

#[test]
fn row_16_cve_2025_30204_a_megabyte_of_dots() {
    let service = Service::dev(&Backend::Sqlite);
    let anonymous = service.anonymous();
    let mut tries = 0;
    let before = service.resident();
    for round in 0..8 {
        for length in [7_000, 8 * 1024, 15_000, 64 * 1024, 1024 * 1024] {
            let mut stranger = anonymous.connect();
            let token = ".".repeat(length);
            let head = format!(
                "GET /api/v1/whoami HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {token}\r\n\r\n"
            );
            // A server that has seen enough closes before all of it is written.
            let _ = stranger.write(head.as_bytes());
            if let Ok(answer) = stranger.receive() {
                assert!(
                    (400..500).contains(&answer.status),
                    "{round}, {length}: {}",
                    answer.status
                );
                assert!(!answer.text().contains("...."), "the dots come back");
            }
            tries += 1;
        }
    }
    // Forty tokens of up to a megabyte, of which nothing stays.
    let grown = service.resident().saturating_sub(before);
    assert!(grown < 24 * 1024, "grown by {grown} KiB");
    service.client("worker").get("/api/v1/whoami").expect(200);
    refused(tries);
}

#[test]
fn row_17_cve_2024_51744_forged_and_expired_is_no_more_than_forged() {
    let service = Service::dev(&Backend::Sqlite);
    let signer = Signer::worker(&service);
    let forger = signer.forger();
    let mut stranger = Stranger::new(&service);
    let shift = |signer: &Signer| {
        signer.with_claims(|it| {
            for name in ["iat", "nbf", "exp"] {
                it[name] = (it[name].as_i64().expect("a time") - 4000).into();
            }
            it["jti"] = "Kanarienvogel-of-a-claim".into();
        })
    };
    let counted = |reason: &str| {
        let metrics = service.status("/metrics").text();
        let line = format!("strongroom_unauthenticated_total{{reason=\"{reason}\"}} ");
        let found = metrics.lines().find_map(|it| it.strip_prefix(&line));
        found.map_or(0, |count| count.parse::<u64>().expect("a count"))
    };
    let forged = stranger.present(&forger.assertion(), "/api/v1/whoami");
    assert_eq!(counted("assertion-signature"), 1);
    let both = stranger.present(&shift(&forger), "/api/v1/whoami");
    // The reason is the signature: nothing that a forged token says is a fact.
    assert_eq!(counted("assertion-signature"), 2);
    assert_eq!(counted("assertion-expired"), 0);
    let expired = stranger.present(&shift(&signer), "/api/v1/whoami");
    assert_eq!(counted("assertion-expired"), 1);
    assert_eq!(forged.comparable(), both.comparable());
    assert_eq!(forged.comparable(), expired.comparable());
    assert_eq!(forged.problem(401), "unauthenticated");
    let log = String::from_utf8_lossy(&service.all_output()).into_owned();
    assert!(!log.contains("Kanarienvogel"), "a claim in the log");
    refused(3);
}

#[test]
fn row_18_cve_2016_9122_json_serialisation() {
    let service = Service::dev(&Backend::Sqlite);
    let signer = Signer::worker(&service);
    let mut attacks = Vec::new();
    let forged = signer.forger();
    for outer in [&signer, &forged] {
        let claims = signer.claims();
        let good = signer.sign(&signer.header(), &claims);
        let bad = outer.sign(&outer.header(), &claims);
        let (good, bad): (Vec<&str>, Vec<&str>) =
            (good.split('.').collect(), bad.split('.').collect());
        let one = json!({"protected": good[0], "signature": good[2]});
        let two = json!({"protected": bad[0], "signature": bad[2]});
        for body in [
            json!({"payload": good[1], "signatures": [one, two]}),
            json!({"payload": good[1], "signatures": [two, one]}),
            json!({"payload": good[1], "signatures": [one]}),
            json!({"payload": good[1], "signatures": []}),
            json!({"payload": good[1], "protected": good[0], "signature": good[2]}),
            json!({"payload": good[1], "header": {"alg": "EdDSA"}, "signature": good[2]}),
        ] {
            for token in [body.to_string(), URL_SAFE_NO_PAD.encode(body.to_string())] {
                attacks.push(Attack {
                    what: body.to_string(),
                    token,
                    jti: claims["jti"].as_str().map(str::to_owned),
                });
            }
        }
    }
    try_all(&service, &signer, &attacks);
}

#[test]
fn row_19_cve_2023_51774_five_parts() {
    attack(|arsenal| {
        for parts in [4_usize, 5, 6, 7, 100] {
            arsenal.token(format!("{parts} parts"), |it| {
                it + &".AAAA".repeat(parts - 3)
            });
        }
        // As JWE (RFC 7516): the claims in clear where the ciphertext belongs, and the token within.
        let claims = arsenal.signer.claims();
        for (alg, enc) in [
            ("dir", "A256GCM"),
            ("A256KW", "A128CBC-HS256"),
            ("PBES2-HS256+A128KW", "A256GCM"),
        ] {
            let header = json!({"alg": alg, "enc": enc, "kid": arsenal.signer.kid,
                                "typ": "strongroom-auth+jwt", "cty": "JWT", "p2c": 1, "p2s": "AAAA"});
            let b64 = |text: String| URL_SAFE_NO_PAD.encode(text);
            let (header, inner) = (b64(header.to_string()), b64(claims.to_string()));
            let jwe = format!("{header}..AAAAAAAAAAAAAAAA.{inner}.AAAAAAAAAAAAAAAAAAAAAA");
            arsenal.add(format!("a JWE of {alg}"), jwe, &claims);
            let nested = b64(arsenal.signer.sign(&arsenal.signer.header(), &claims));
            let jwe = format!("{header}.AAAA.AAAAAAAAAAAAAAAA.{nested}.AAAAAAAAAAAAAAAAAAAAAA");
            arsenal.add(format!("a JWE of {alg} around"), jwe, &claims);
        }
    });
}

#[test]
fn row_20_audience_injection() {
    let service = Service::dev(&Backend::Sqlite);
    let signer = Signer::worker(&service);
    let mut arsenal = Arsenal::new(&signer);
    let (ours, url) = (signer.audience.clone(), service.url());
    for aud in [
        json!([ours, "https://other.example"]),
        json!(["https://other.example", ours]),
        json!([ours, ours]),
        json!(url),
        json!(format!("{url}/")),
        json!(format!("{url}/api/v1/release")),
        json!("https://localhost"),
        json!(format!("https://other.example {ours}")),
    ] {
        arsenal.claims(format!("audience {aud}"), |it| it["aud"] = aud);
    }
    try_all(&service, &signer, &arsenal.attacks);
}

#[test]
fn row_21_cve_2026_5052_no_address_in_a_token_is_called() {
    let service = Service::dev(&Backend::Sqlite);
    let signer = Signer::worker(&service);
    let trap = TcpListener::bind("127.0.0.1:0").expect("a listener");
    trap.set_nonblocking(true).expect("a mode");
    let at = trap.local_addr().expect("an address");
    let mut arsenal = Arsenal::new(&signer);
    for scheme in ["http", "https"] {
        for host in [at.to_string(), format!("localhost:{}", at.port())] {
            let url = format!("{scheme}://{host}/keys.json");
            for name in ["jku", "x5u", "jwks_uri", "iss", "kid", "jwk"] {
                arsenal.header(format!("{name} {url}"), |it| it[name] = url.as_str().into());
                arsenal.claims(format!("claim {name} {url}"), |it| {
                    it[name] = url.as_str().into();
                });
            }
        }
    }
    try_all(&service, &signer, &arsenal.attacks);
    // The admin API takes no address to fetch from either.
    let admin = Admin::of(&service);
    let url = format!("http://{at}/");
    for body in [
        json!({"jwks_uri": url}),
        json!({"jku": url}),
        json!({"public_key": url}),
        json!({"certificate": url}),
    ] {
        let keys = format!("/workloads/{}/keys", signer.id);
        assert_eq!(admin.send("POST", &keys, &body).status, 422, "{body}");
    }
    pause(300);
    let called = trap.accept().map(|_| ()).map_err(|error| error.kind());
    assert_eq!(called, Err(std::io::ErrorKind::WouldBlock), "it was called");
}

#[test]
fn row_22_cve_2020_16250_one_subject_of_two_issuers() {
    let service = Service::dev(&Backend::Sqlite);
    let admin = Admin::of(&service);
    let worker = Signer::worker(&service);
    // A second workload of the same name but for one letter, with a key of its own.
    let body = json!({"name": "demo-worker-2", "environment": "production",
                      "roles": ["google-sync"]});
    let other = id_of(&admin.create("/workloads", &body));
    let random = strongroom::random::SystemRandom::new();
    let key = strongroom::pki::Ed25519Key::generate(&random).expect("a key");
    let public = json!({"public_key": key.public_key().to_pem()});
    let kid = id_of(&admin.create(&format!("/workloads/{other}/keys"), &public));
    let second = Signer::with_key(&key.to_pem(), &other, &kid, &worker.audience);
    let mut attacks = Vec::new();
    for (signer, victim) in [(&second, &worker), (&worker, &second)] {
        let mut arsenal = Arsenal::new(signer);
        for names in [&["sub"][..], &["iss"], &["iss", "sub"]] {
            arsenal.claims(format!("{names:?} of the other"), |it| {
                for name in names {
                    it[*name] = victim.id.as_str().into();
                }
            });
        }
        arsenal.header("the other's kid", |it| {
            it["kid"] = victim.kid.as_str().into()
        });
        for mut attack in arsenal.attacks {
            // Whose jti it would have been is not the point here.
            attack.jti = None;
            attacks.push(attack);
        }
    }
    try_all(&service, &worker, &attacks);
    // And one jti of two issuers is two assertions.
    let mut stranger = Stranger::new(&service);
    for signer in [&worker, &second] {
        let token = signer.with_claims(|it| it["jti"] = "one-and-the-same-jti".into());
        let answer = stranger
            .present(&token, "/api/v1/whoami")
            .expect(200)
            .json();
        assert_eq!(answer["id"], signer.id);
    }
}

#[test]
fn row_23_cve_2025_49827_nothing_of_the_request_says_who_vouches() {
    let service = Service::dev(&Backend::Sqlite);
    let signer = Signer::worker(&service);
    let certificate = service.read("operator.pem");
    let escaped = certificate.replace('\n', "%0A").replace(' ', "%20");
    let flat = certificate.replace('\n', "");
    let operator = service.client("operator").get("/api/v1/whoami").expect(200);
    let operator = operator.json()["id"].as_str().expect("an id").to_owned();
    let headers = [
        ("x-forwarded-for", "127.0.0.1".to_owned()),
        ("x-forwarded-host", "localhost".to_owned()),
        ("x-forwarded-client-cert", format!("Cert=\"{escaped}\"")),
        ("x-client-cert", escaped.clone()),
        ("x-ssl-client-cert", flat),
        ("x-ssl-client-verify", "SUCCESS".to_owned()),
        ("client-cert", ":MA==:".to_owned()),
        ("forwarded", "for=127.0.0.1;host=localhost".to_owned()),
        ("x-real-ip", "127.0.0.1".to_owned()),
        ("x-remote-user", operator.clone()),
        ("x-original-url", "/api/v1/openapi.json".to_owned()),
        ("x-rewrite-url", "/api/v1/openapi.json".to_owned()),
        ("x-http-method-override", "GET".to_owned()),
        ("cookie", format!("session={operator}")),
        ("x-vault-token", operator.clone()),
        ("x-api-key", operator),
    ];
    let mut stranger = Stranger::new(&service);
    let model = stranger.send(&Request::get("/api/v1/clients"));
    let mut count = 0;
    for (name, value) in &headers {
        let answer = stranger.send(&Request::get("/api/v1/clients").header(name, value));
        assert_eq!(answer.comparable(), model.comparable(), "{name}");
        // Neither do they make more of somebody who is known.
        let with = Request::get("/api/v1/clients").header(name, value);
        let answer = stranger.send(&with.bearer(&signer.assertion()));
        assert_eq!(answer.problem(404), "not-found", "{name}");
        count += 2;
    }
    // The audience is the deployment's id, whatever Host says.
    for host in ["other.example", "localhost:1", &signer.audience] {
        let mut raw = service.anonymous().connect();
        let token = signer.with_claims(|it| it["aud"] = host.into());
        let expected = if host == signer.audience { 200 } else { 401 };
        let head = format!(
            "GET /api/v1/whoami HTTP/1.1\r\nhost: {host}\r\nauthorization: Bearer {token}\r\n\r\n"
        );
        raw.write(head.as_bytes()).expect("a head");
        assert_eq!(raw.receive().expect("an answer").status, expected, "{host}");
        count += 1;
    }
    // A forwarded address does not take the failures away from the real one.
    let anonymous = service.anonymous();
    let mut raw = anonymous.connect();
    let mut statuses = Vec::new();
    for n in 0..80 {
        let from = format!("198.51.100.{n}");
        let request = Request::get("/api/v1/whoami").header("x-forwarded-for", &from);
        statuses.push(raw.send(&request).expect("an answer").status);
    }
    assert!(statuses.contains(&429), "{statuses:?}");
    // The PROXY protocol of load balancers is not spoken: it is no beginning of TLS.
    let mut socket = std::net::TcpStream::connect(service.address()).expect("a connection");
    let timeout = Some(Duration::from_secs(15));
    socket.set_read_timeout(timeout).expect("a time-out");
    let line = b"PROXY TCP4 198.51.100.1 198.51.100.2 1 443\r\n";
    socket.write_all(line).expect("a line");
    let mut answer = Vec::new();
    let _ = std::io::Read::read_to_end(&mut socket, &mut answer);
    assert!(
        answer.first().is_none_or(|first| *first == 0x15),
        "no alert"
    );
    refused(count + 1);
}
