//! Known vulnerabilities of how other servers treat authorities and certificates, tried on this one
//! over real sockets. The numbers are those of the project's list.

use rustls::HandshakeKind;
use serde_json::json;

use crate::attacks::{refused, resuming};
use crate::support::ca::{Ca, Leaf, import, register, workload};
use crate::support::{Admin, Backend, Client, Request, Service, id_of, on_both, until};

on_both!(
    row_01_cve_2024_2048_trusted_leaf_is_no_authority,
    row_02_cve_2025_6037_the_name_in_a_pinned_certificate_says_nothing,
    row_04_cve_2022_41316_lists_count_from_the_first_request_after_a_start,
    row_06_cve_2025_68121_nothing_is_resumed,
    row_07_lists_of_one_authority_say_nothing_of_another,
    row_08_rustsec_2026_0049_each_distribution_point_may_revoke,
    row_09_rustsec_2026_0104_a_malformed_list_stops_nothing,
    row_10_rustsec_2026_0098_an_authority_below_speaks_for_no_other_domain,
    row_31_cve_2022_40186_one_name_in_two_trust_domains_is_two,
);

const RELEASE: &str = "/api/v1/release";
const WHOAMI: &str = "/api/v1/whoami";

fn leaf<'a>(spiffe_id: &str, serial: u8) -> Leaf<'a> {
    Leaf {
        serial,
        spiffe_id: spiffe_id.to_owned(),
        common_name: "",
        distribution_points: &[],
        lifetime: 3600,
    }
}

/// Registers a workload and pins a certificate for it.
fn pinned(admin: &Admin, name: &str, certificate: &str) -> String {
    let body = json!({"name": name, "environment": "production", "roles": ["m365-sync"]});
    let id = id_of(&admin.create("/workloads", &body));
    admin.create(
        &format!("/workloads/{id}/keys"),
        &json!({"certificate": certificate}),
    );
    id
}

fn name_of(client: &Client) -> String {
    let me = client.get(WHOAMI).expect(200).json();
    me["name"].as_str().expect("a name").to_owned()
}

/// CVE-2024-2048: a pinned certificate was matched by its serial number, and trusted as an authority.
fn row_01_cve_2024_2048_trusted_leaf_is_no_authority(backend: Backend) {
    let service = Service::dev(&backend);
    let admin = Admin::of(&service);
    let ca = Ca::new("pinned.example");
    let key = rcgen::KeyPair::generate().expect("a key");
    let same = leaf("spiffe://pinned.example/w", 9);
    let certificate = ca.issue_for(&same, &key);
    pinned(&admin, "pinned", &certificate);
    let client = service.client_with(&certificate, &key.serialize_pem());
    assert_eq!(name_of(&client), "pinned");
    // Serial number, subject, issuer and SPIFFE id are the same; the key is another.
    let twin = ca.issue(&same);
    service
        .client_with(&twin.certificate, &twin.key)
        .get(RELEASE)
        .expect(401);
    // What the pinned key signs, shown with the pinned certificate as its chain.
    for id in ["spiffe://pinned.example/w", "spiffe://pinned.example/admin"] {
        let child = ca.signed_by_leaf(&key, &leaf(id, 10));
        let chain = format!("{}{certificate}", child.certificate);
        service
            .client_with(&chain, &child.key)
            .get(RELEASE)
            .expect(401);
        service
            .client_with(&child.certificate, &child.key)
            .get(RELEASE)
            .expect(401);
    }
    // A leaf cannot be registered as an authority at all.
    let new = json!({"name": "leaf", "certificate": certificate, "trust_domain": "pinned.example"});
    assert_eq!(
        admin.send("POST", "/authorities", &new).problem(422),
        "invalid"
    );
    assert_eq!(name_of(&client), "pinned");
    refused(6);
}

/// CVE-2025-6037: whoever held a pinned key could put another's name into a certificate.
fn row_02_cve_2025_6037_the_name_in_a_pinned_certificate_says_nothing(backend: Backend) {
    let service = Service::dev(&backend);
    let admin = Admin::of(&service);
    let ca = Ca::new("pinned.example");
    let (mine, theirs) = (
        rcgen::KeyPair::generate().expect("a key"),
        rcgen::KeyPair::generate().expect("a key"),
    );
    let certificate = ca.issue_for(&leaf("spiffe://pinned.example/mine", 1), &mine);
    pinned(&admin, "mine", &certificate);
    let other = ca.issue_for(&leaf("spiffe://pinned.example/theirs", 2), &theirs);
    let theirs = pinned(&admin, "theirs", &other);
    let operator = admin.get("/whoami")["id"]
        .as_str()
        .expect("an id")
        .to_owned();
    let deployment = admin.list("/authorities")[0]["trust_domain"]
        .as_str()
        .expect("it")
        .to_owned();
    for id in [
        "spiffe://pinned.example/theirs".to_owned(),
        format!("spiffe://{deployment}/workload/{theirs}"),
        format!("spiffe://{deployment}/operator/{operator}"),
    ] {
        let forged = ca.issue_for(
            &Leaf {
                common_name: "theirs",
                ..leaf(&id, 2)
            },
            &mine,
        );
        let client = service.client_with(&forged, &mine.serialize_pem());
        // The key says who it is, whatever stands beside it.
        assert_eq!(name_of(&client), "mine");
        assert_eq!(client.get("/api/v1/operators").problem(404), "not-found");
    }
    refused(6);
}

/// CVE-2022-41316: a revocation list was not loaded until somebody touched it.
fn row_04_cve_2022_41316_lists_count_from_the_first_request_after_a_start(backend: Backend) {
    let mut service = Service::dev(&backend);
    let admin = Admin::of(&service);
    let ca = Ca::new("mesh.example");
    let authority = register(&admin, "mesh", &ca);
    workload(&admin, "meshed", &ca, &authority, "w");
    let (revoked, good) = (ca.leaf("w", 3), ca.leaf("w", 4));
    import(&admin, &authority, &ca.crl(1, &[3], 3600)).expect(200);
    let key_gone = admin.workload("key-gone", "production", &["m365-sync"]);
    let key = format!("/workloads/{}/keys/{}", key_gone.id, key_gone.key_id);
    admin.send("DELETE", &key, &json!({}));
    for pair in [&revoked, &key_gone.pair] {
        for kill in [false, true] {
            match kill {
                true => service.kill(),
                false => service.stop(),
            }
            service.start();
            // Nothing else was asked of this process before.
            let client = service.client_with(&pair.certificate, &pair.key);
            assert_eq!(client.get(RELEASE).problem(401), "unauthenticated");
        }
    }
    service
        .client_with(&good.certificate, &good.key)
        .get(RELEASE)
        .expect(200);
    refused(4);
}

/// One request on a connection of its own: the status, and how the handshake was.
fn ask(client: &Client) -> (u16, Option<HandshakeKind>, u32) {
    let mut connection = client.connect();
    let answer = connection.send(&Request::get(RELEASE)).expect("an answer");
    let session = connection.session();
    let tickets = session.tls13_tickets_received();
    (answer.status, session.handshake_kind(), tickets)
}

/// CVE-2025-68121: a resumed session kept the certificate that was verified before the authorities
/// changed.
fn row_06_cve_2025_68121_nothing_is_resumed(backend: Backend) {
    let service = Service::dev(&backend);
    let admin = Admin::of(&service);
    let ca = Ca::new("mesh.example");
    let authority = register(&admin, "mesh", &ca);
    workload(&admin, "meshed", &ca, &authority, "w");
    let pair = ca.leaf("w", 3);
    let client = resuming(service.client_with(&pair.certificate, &pair.key));
    let full = |status: u16| (status, Some(HandshakeKind::Full), 0);
    for _ in 0..3 {
        assert_eq!(ask(&client), full(200));
    }
    import(&admin, &authority, &ca.crl(1, &[3], 3600)).expect(200);
    assert_eq!(ask(&client), full(401));
    import(&admin, &authority, &ca.crl(2, &[], 3600)).expect(200);
    assert_eq!(ask(&client), full(200));
    // After the listener's certificate was read anew, too.
    let reads = || {
        let log = service.last_stderr();
        log.matches("the server's certificate was read anew")
            .count()
    };
    let before = reads();
    service.signal(rustix::process::Signal::HUP);
    until("another certificate", 20, || {
        (reads() > before).then_some(())
    });
    assert_eq!(ask(&client), full(200));
    admin
        .send("DELETE", &format!("/authorities/{authority}"), &json!({}))
        .expect(200);
    assert_eq!(ask(&client), full(401));
    refused(2);
}

/// OpenBao's documentation: lists that are looked up by the serial number alone.
fn row_07_lists_of_one_authority_say_nothing_of_another(backend: Backend) {
    let service = Service::dev(&backend);
    let admin = Admin::of(&service);
    let (one, two) = (Ca::new("one.example"), Ca::new("two.example"));
    let ids = [register(&admin, "one", &one), register(&admin, "two", &two)];
    workload(&admin, "of-one", &one, &ids[0], "w");
    workload(&admin, "of-two", &two, &ids[1], "w");
    let clients = [&one, &two].map(|ca| {
        let pair = ca.leaf("w", 77);
        service.client_with(&pair.certificate, &pair.key)
    });
    for client in &clients {
        client.get(RELEASE).expect(200);
    }
    import(&admin, &ids[0], &one.crl(1, &[77], 3600)).expect(200);
    clients[0].get(RELEASE).expect(401);
    clients[1].get(RELEASE).expect(200);
    // Nor can one bring the list of the other.
    assert_eq!(
        import(&admin, &ids[1], &one.crl(1, &[77], 3600)).problem(422),
        "invalid"
    );
    clients[1].get(RELEASE).expect(200);
    import(&admin, &ids[1], &two.crl(1, &[77], 3600)).expect(200);
    import(&admin, &ids[0], &one.crl(2, &[], 3600)).expect(200);
    clients[0].get(RELEASE).expect(200);
    clients[1].get(RELEASE).expect(401);
    refused(3);
}

/// RUSTSEC-2026-0049: of several distribution points only the first was considered.
fn row_08_rustsec_2026_0049_each_distribution_point_may_revoke(backend: Backend) {
    let service = Service::dev(&backend);
    let admin = Admin::of(&service);
    let ca = Ca::new("mesh.example");
    let authority = register(&admin, "mesh", &ca);
    workload(&admin, "meshed", &ca, &authority, "w");
    let (a, b) = ("http://crl.example/a", "http://crl.example/b");
    let with = |serial: u8, points: &'static [&'static str]| {
        let id = "spiffe://mesh.example/w";
        let pair = ca.issue(&Leaf {
            distribution_points: points,
            ..leaf(id, serial)
        });
        service.client_with(&pair.certificate, &pair.key)
    };
    const AB: &[&str] = &["http://crl.example/a", "http://crl.example/b"];
    const BA: &[&str] = &["http://crl.example/b", "http://crl.example/a"];
    // Only the second point of a certificate has a list.
    import(&admin, &authority, &ca.crl_part(1, &[3], b)).expect(200);
    with(4, AB).get(RELEASE).expect(200);
    with(3, AB).get(RELEASE).expect(401);
    with(3, BA).get(RELEASE).expect(401);
    // Both have: whichever of them revokes counts, in whatever order they are named or stored.
    import(&admin, &authority, &ca.crl_part(1, &[5], a)).expect(200);
    for points in [AB, BA] {
        with(4, points).get(RELEASE).expect(200);
        with(3, points).get(RELEASE).expect(401);
        with(5, points).get(RELEASE).expect(401);
    }
    refused(6);
}

/// RUSTSEC-2026-0104: a list made the parser panic before its signature was looked at.
fn row_09_rustsec_2026_0104_a_malformed_list_stops_nothing(backend: Backend) {
    let mut service = Service::dev(&backend);
    let admin = Admin::of(&service);
    let ca = Ca::new("mesh.example");
    let authority = register(&admin, "mesh", &ca);
    workload(&admin, "meshed", &ca, &authority, "w");
    let pair = ca.leaf("w", 4);
    let client = service.client_with(&pair.certificate, &pair.key);
    let whole = ca.crl_part(3, &[3, 9], "http://crl.example/a");
    let mut tried = 0;
    // Ends everywhere, and a changed byte in every place where a length or a tag may stand.
    for end in (0..whole.len()).step_by(5) {
        assert_eq!(import(&admin, &authority, &whole[..end]).status, 422);
        tried += 1;
    }
    for at in (0..whole.len()).step_by(3) {
        for value in [0x00, 0x80, 0xff] {
            let mut broken = whole.clone();
            if broken[at] != value {
                broken[at] = value;
                assert_eq!(import(&admin, &authority, &broken).status, 422, "{at}");
                tried += 1;
            }
        }
    }
    assert!(tried > 200, "{tried}");
    assert!(service.poll().is_none(), "the process lives");
    let log = service.last_stderr();
    assert!(!log.contains("panic"), "{log}");
    // Nothing of all that was kept: the certificate is still not checked against any list.
    client.get(RELEASE).expect(200);
    let view = admin.get(&format!("/authorities/{authority}"));
    assert_eq!(view["revocation_lists"], json!([]));
    refused(tried);
}

/// RUSTSEC-2026-0098 and -0099: name constraints on URIs were ignored, wildcards let through.
fn row_10_rustsec_2026_0098_an_authority_below_speaks_for_no_other_domain(backend: Backend) {
    let service = Service::dev(&backend);
    let admin = Admin::of(&service);
    let (one, two) = (Ca::new("one.example"), Ca::new("two.example"));
    let ids = [register(&admin, "one", &one), register(&admin, "two", &two)];
    workload(&admin, "of-one", &one, &ids[0], "w");
    workload(&admin, "of-two", &two, &ids[1], "w");
    let shows = |below: &Ca, id: &str| {
        let pair = below.issue(&leaf(id, 5));
        let chain = format!("{}{}", pair.certificate, below.certificate);
        service.client_with(&chain, &pair.key).get(RELEASE).status
    };
    let (of_one, of_two) = ("spiffe://one.example/w", "spiffe://two.example/w");
    // An unconstrained one below speaks for the domain of its root and no other.
    let below = one.below("below", None);
    assert_eq!(shows(&below, of_one), 200);
    assert_eq!(shows(&below, of_two), 401);
    // One that is constrained to another domain, by host or by its subdomains, speaks for none.
    for constraint in ["two.example", ".two.example", ".example", "one.example"] {
        let below = one.below("constrained", Some(constraint));
        assert_eq!(shows(&below, of_two), 401, "{constraint}");
        // Constraints on URIs are refused altogether, so that none can be passed over.
        assert_eq!(shows(&below, of_one), 401, "{constraint}");
    }
    // Names that only look like one of the domain.
    for id in [
        "spiffe://one.example@two.example/w",
        "spiffe://two.example:443/w",
        "spiffe://*.example/w",
        "spiffe://TWO.example/w",
        "spiffe://two.example/w#one",
    ] {
        assert_eq!(shows(&below, id), 401, "{id}");
    }
    refused(14);
}

/// CVE-2022-40186: metadata of one entity leaked to another of the same name.
fn row_31_cve_2022_40186_one_name_in_two_trust_domains_is_two(backend: Backend) {
    let service = Service::dev(&backend);
    let admin = Admin::of(&service);
    let (one, two) = (Ca::new("one.example"), Ca::new("two.example"));
    let ids = [register(&admin, "one", &one), register(&admin, "two", &two)];
    workload(&admin, "of-one", &one, &ids[0], "same/name");
    let body = json!({"name": "of-two", "environment": "production", "roles": ["another"]});
    admin.role("another");
    let other = id_of(&admin.create("/workloads", &body));
    let key = json!({"spiffe_id": "spiffe://two.example/same/name", "authority": ids[1]});
    admin.create(&format!("/workloads/{other}/keys"), &key);
    let clients = [&one, &two].map(|ca| {
        let pair = ca.leaf("same/name", 1);
        service.client_with(&pair.certificate, &pair.key)
    });
    // In both orders, so that nothing remembered of one answers for the other.
    for order in [[0, 1], [1, 0]] {
        for at in order {
            let name = ["of-one", "of-two"][at];
            assert_eq!(name_of(&clients[at]), name);
            let all = clients[at].get(RELEASE).expect(200).json();
            let count = all["credentials"].as_array().expect("credentials").len();
            assert_eq!(count > 0, at == 0, "{name} {count}");
        }
    }
    // The key of one domain cannot be registered under the authority of the other.
    let crossed = json!({"spiffe_id": "spiffe://one.example/x", "authority": ids[1]});
    let answer = admin.send("POST", &format!("/workloads/{other}/keys"), &crossed);
    assert_eq!(answer.problem(422), "invalid");
    let request = Request::get(WHOAMI);
    let mut connection = clients[0].connect();
    admin.send("DELETE", &format!("/authorities/{}", ids[1]), &json!({}));
    connection.send(&request).expect("an answer").expect(200);
    clients[1].get(WHOAMI).expect(401);
    refused(2);
}
