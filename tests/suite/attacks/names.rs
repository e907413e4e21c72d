//! Paths and names that could mean something else: rows 24 to 30.

use serde_json::json;

use super::{Stranger, refused};
use crate::support::proof::{Mesh, self_signed};
use crate::support::{Admin, Backend, Request, Service, id_of, text};

/// Ways to write a name so that one part of a program takes it for another.
fn guises(name: &str) -> Vec<String> {
    let mut title = name.to_owned();
    title[..1].make_ascii_uppercase();
    let wide: String = name
        .chars()
        .map(|c| match c {
            '!'..='~' => char::from_u32(u32::from(c) + 0xfee0).unwrap_or(c),
            other => other,
        })
        .collect();
    vec![
        name.to_uppercase(),
        title,
        format!(" {name}"),
        format!("{name} "),
        format!("{name}\t"),
        format!("{name}\n"),
        format!("{name}\0"),
        format!("{name}."),
        format!("{name}/"),
        format!("/{name}"),
        format!("./{name}"),
        format!("../{name}"),
        format!("x/../{name}"),
        format!("{name}/.."),
        format!("{name};x"),
        format!("{name}#"),
        format!("{name}?"),
        format!("{name}%00"),
        format!("{name}*"),
        format!("{name}'--"),
        format!("\"{name}\""),
        name.replace('o', "\u{43e}"),
        name.replace('o', "\u{ba}"),
        name.replace('s', "\u{17f}"),
        name.replace('i', "\u{131}"),
        format!("{name}\u{200b}"),
        format!("\u{feff}{name}"),
        format!("{name}\u{301}"),
        wide,
        "*".into(),
        "+".into(),
        "..".into(),
        ".".into(),
        "%".into(),
        "a/../b".into(),
        "a//b".into(),
        String::new(),
    ]
    .into_iter()
    .filter(|guise| guise != name)
    .collect()
}

/// A text as a segment of a path: every byte but letters and digits in percent form.
fn escaped(text: &str) -> String {
    text.bytes().fold(String::new(), |all, byte| {
        if byte.is_ascii_alphanumeric() {
            all + &char::from(byte).to_string()
        } else {
            all + &format!("%{byte:02X}")
        }
    })
}

#[test]
fn row_24_cve_2026_3605_another_way_to_write_a_path() {
    let service = Service::dev(&Backend::Sqlite);
    let admin = Admin::of(&service);
    admin.client("acme");
    let id = admin.credential("acme", "production", &["m365-sync"], "Kanarienvogel");
    let theirs = admin.credential("acme", "production", &["google-sync"], "fremd");
    let (worker, other) = (service.client("worker"), service.client("other"));
    let exact = format!("/api/v1/release/{id}");
    worker.get(&exact).expect(200);
    other.get(&exact).expect(404);
    let mut paths: Vec<String> = guises(&id)
        .iter()
        .map(|guise| format!("/api/v1/release/{}", escaped(guise)))
        .collect();
    for path in [
        format!("/api/v1/release/{id}/"),
        format!("/api/v1/release//{id}"),
        format!("/api/v1//release/{id}"),
        format!("//api/v1/release/{id}"),
        format!("/api/v1/release/./{id}"),
        format!("/api/v1/release/%2e/{id}"),
        format!("/api/v1/release/{theirs}/../{id}"),
        format!("/api/v1/release/{theirs}/%2e%2e/{id}"),
        format!("/api/v1/release/{theirs}%2f..%2f{id}"),
        format!("/api/v1/release/{theirs}%5c..%5c{id}"),
        format!("/api/v1/release/{theirs}%252f..%252f{id}"),
        format!("/api/v1/whoami/../release/{id}"),
        format!("/api/v1/openapi.json/../release/{id}"),
        format!("/api/v1/openapi.json;/release/{id}"),
        format!("/api/v1/release;x=1/{id}"),
        format!("/api/v1/release/{id};x=1"),
        format!("/api/v1/release/{id}%3bx"),
        format!("/api/v1/release/{id}%00"),
        format!("/api/v1/release/{id}%0a"),
        format!("/api/v1/release/{id}.json"),
        format!("/API/V1/RELEASE/{id}"),
        format!("/api/v1/Release/{id}"),
        format!("/api/v1/%72elease/{id}"),
        format!("/api/v1/release%2f{id}"),
        format!("/api%2fv1%2frelease%2f{id}"),
        format!("/api/v1/release/{id}/in-use/.."),
        format!("/v1/release/{id}"),
        format!("/api/v2/release/{id}"),
        format!("https://localhost/api/v1/release/{id}/"),
    ] {
        paths.push(path);
    }
    let mut stranger = Stranger::new(&service);
    for path in &paths {
        // Whoever may have it gets nothing under another name, or a broken request.
        for client in [&worker, &other] {
            if let Ok(answer) = client.try_send(&Request::get(path)) {
                assert!(
                    answer.status == 404 || answer.status == 400,
                    "{path}: {}",
                    answer.status
                );
                assert!(!answer.text().contains("Kanarienvogel"), "{path}");
            }
        }
        let answer = stranger.send(&Request::get(path)).status;
        assert!(matches!(answer, 401 | 404 | 400), "{path}: {answer}");
    }
    // A letter in percent form is that letter, for the decision as for the route.
    let spelt = exact.replace("cred", "%63re%64");
    worker.get(&spelt).expect(200);
    other.get(&spelt).expect(404);
    let absolute = format!("https://elsewhere.example{exact}");
    worker.get(&absolute).expect(200);
    other.get(&absolute).expect(404);
    refused(paths.len() * 3 + 2);
}

#[test]
fn row_25_cve_2026_63131_a_slash_at_the_end() {
    let service = Service::dev(&Backend::Sqlite);
    let admin = Admin::of(&service);
    let (worker, operator) = (service.client("worker"), service.client("operator"));
    let lists = [
        "/clients",
        "/credentials",
        "/workloads",
        "/operators",
        "/roles",
        "/environments",
        "/authorities",
        "/receipts",
        "/audit",
        "/keys",
        "/release",
        "/whoami",
        "/openapi.json",
    ];
    for list in lists {
        for ending in ["/", "//", "/.", "/..", "/?", "/%2f", "/*"] {
            let path = format!("/api/v1{list}{ending}");
            for client in [&worker, &operator] {
                let status = client.get(&path).status;
                assert_eq!(status, 404, "{path}");
            }
        }
    }
    // A deny stays a deny with it: a support person's audit log, a worker's clients.
    let pair = self_signed();
    let body = json!({"name": "Support", "role": "support"});
    let id = id_of(&admin.create("/operators", &body));
    let key = json!({"certificate": pair.certificate});
    admin.create(&format!("/operators/{id}/keys"), &key);
    let support = service.client_with(&pair.certificate, &pair.key);
    assert_eq!(support.get("/api/v1/audit").problem(403), "forbidden");
    for path in ["/api/v1/audit/", "/api/v1/audit//", "/api/v1/audit/?"] {
        assert_eq!(support.get(path).problem(404), "not-found", "{path}");
    }
    refused(lists.len() * 14 + 4);
}

#[test]
fn row_26_cve_2026_89322_one_canonical_form_of_a_name() {
    let service = Service::dev(&Backend::Sqlite);
    let admin = Admin::of(&service);
    admin.client("acme");
    let id = admin.credential("acme", "production", &["m365-sync"], "lent");
    let mut count = 0;
    for guise in guises("production") {
        let answer = admin.send("POST", "/environments", &json!({"name": guise}));
        assert_eq!(answer.status, 422, "{guise:?}");
        let body = json!({"name": "w", "environment": guise, "roles": ["m365-sync"]});
        let answer = admin.send("POST", "/workloads", &body);
        assert!(
            matches!(answer.status, 404 | 409 | 422),
            "{guise:?}: {}",
            answer.status
        );
        if !guise.is_empty() {
            let path = format!("/api/v1/environments/{}", escaped(&guise));
            assert_eq!(admin.client.get(&path).status, 404, "{guise:?}");
        }
        count += 3;
    }
    for guise in guises("m365-sync") {
        let answer = admin.send("POST", "/roles", &json!({"name": guise}));
        assert_eq!(answer.status, 422, "{guise:?}");
        let target = format!("/credentials/{id}/roles/{}", escaped(&guise));
        let answer = admin.change("DELETE", &format!("/credentials/{id}"), &target, &json!({}));
        assert!(
            matches!(answer.status, 404 | 405 | 409 | 422),
            "{guise:?}: {}",
            answer.status
        );
        count += 2;
    }
    let still = admin.get(&format!("/credentials/{id}"));
    assert_eq!(still["roles"], json!(["m365-sync"]));
    refused(count);
}

#[test]
fn row_27_cve_2026_105820_names_that_climb() {
    let service = Service::dev(&Backend::Sqlite);
    let admin = Admin::of(&service);
    let mut count = 0;
    for name in [
        "a/b", "../a", "a/..", "..", ".", "/", "a\\b", "a:b", "a\0b", "a|b", "a,b",
    ] {
        for (path, body) in [
            ("/roles", json!({"name": name})),
            ("/environments", json!({"name": name})),
            ("/clients", json!({"name": "N", "slug": name})),
            (
                "/workloads",
                json!({"name": name, "environment": "production", "roles": ["m365-sync"]}),
            ),
        ] {
            let answer = admin.send("POST", path, &body);
            assert_eq!(answer.problem(422), "invalid", "{path} {name:?}");
            count += 1;
        }
    }
    // Roles and environments whose names run together are four things: each has its own key.
    for name in ["a", "a-b", "b", "b-c"] {
        admin.role(name);
        admin.environment(name);
    }
    admin.client("acme");
    let one = admin.credential("acme", "a", &["b-c"], "one");
    let two = admin.credential("acme", "a-b", &["b"], "two");
    for (environment, role, own, foreign) in [("a", "b-c", &one, &two), ("a-b", "b", &two, &one)] {
        let worker = admin.workload(&format!("w-{environment}"), environment, &[role]);
        let worker = worker.client(&service);
        worker.get(&format!("/api/v1/release/{own}")).expect(200);
        worker
            .get(&format!("/api/v1/release/{foreign}"))
            .expect(404);
        count += 1;
    }
    refused(count);
}

#[test]
fn row_28_cve_2025_5999_a_role_that_is_normalised_into_another() {
    let service = Service::dev(&Backend::Sqlite);
    let admin = Admin::of(&service);
    let body = json!({"name": "Climber", "role": "support"});
    let id = id_of(&admin.create("/operators", &body));
    let path = format!("/operators/{id}");
    let mut roles = guises("tech-ops");
    roles.extend(
        [
            "root", "ROOT", " root", "admin", "TechOps", "tech_ops", "techops", "0",
        ]
        .map(str::to_owned),
    );
    for role in &roles {
        let answer = admin.send("POST", "/operators", &json!({"name": "N", "role": role}));
        assert_eq!(answer.problem(422), "invalid", "{role:?}");
        let answer = admin.change("PATCH", &path, &path, &json!({"role": role}));
        assert_eq!(answer.problem(422), "invalid", "{role:?}");
    }
    for role in [
        json!(0),
        json!(["tech-ops"]),
        json!({"tech-ops": true}),
        json!(true),
    ] {
        let answer = admin.change("PATCH", &path, &path, &json!({"role": role}));
        assert_eq!(answer.problem(422), "invalid", "{role}");
    }
    assert_eq!(admin.get(&path)["role"], "support");
    refused(roles.len() * 2 + 4);
}

#[test]
fn row_29_ghsa_59w7_v8rr_pr4p_wildcards_in_names() {
    let service = Service::dev(&Backend::Sqlite);
    let admin = Admin::of(&service);
    let mut count = 0;
    for name in [
        "*",
        "+",
        "/",
        "**",
        "a*",
        "?",
        "[a-z]",
        "a/../b",
        "{{identity}}",
        "${role}",
        "%",
    ] {
        let body = json!({"name": name, "environment": "production", "roles": ["m365-sync"]});
        assert_eq!(
            admin.send("POST", "/workloads", &body).problem(422),
            "invalid",
            "{name}"
        );
        let body = json!({"name": "w", "environment": "production", "roles": [name]});
        let status = admin.send("POST", "/workloads", &body).status;
        assert!(matches!(status, 404 | 409 | 422), "{name}: {status}");
        count += 2;
    }
    // Names in certificates are compared whole, and patterns are none.
    let mesh = Mesh::new("mesh.example");
    let body =
        json!({"name": "mesh", "certificate": mesh.certificate(), "trust_domain": "mesh.example"});
    let authority = id_of(&admin.create("/authorities", &body));
    let body = json!({"name": "meshed", "environment": "production", "roles": ["m365-sync"]});
    let keys = format!(
        "/workloads/{}/keys",
        id_of(&admin.create("/workloads", &body))
    );
    for path in [
        "*", "a/*", "a/../b", "a//b", "a/", ".", "a/./b", "a%2fb", "a b", "a+b", "",
    ] {
        let id = format!("spiffe://mesh.example/{path}");
        let answer = admin.send(
            "POST",
            &keys,
            &json!({"spiffe_id": id, "authority": authority}),
        );
        assert_eq!(answer.problem(422), "invalid", "{id}");
        count += 1;
    }
    let id = mesh.spiffe_id("sync/1");
    admin.create(&keys, &json!({"spiffe_id": id, "authority": authority}));
    for (path, status) in [
        ("sync/1", 200),
        ("sync/11", 401),
        ("sync", 401),
        ("SYNC/1", 401),
        ("sync/1/1", 401),
    ] {
        let leaf = mesh.leaf(path);
        let client = service.client_with(&leaf.certificate, &leaf.key);
        client.get("/api/v1/whoami").expect(status);
        count += usize::from(status == 401);
    }
    refused(count);
}

#[test]
fn row_30_cve_2021_43998_each_key_and_each_role_by_itself() {
    let service = Service::dev(&Backend::Sqlite);
    let admin = Admin::of(&service);
    admin.client("acme");
    let first = admin.credential("acme", "production", &["m365-sync"], "one");
    let second = admin.credential("acme", "production", &["google-sync"], "two");
    // Two keys of one workload: each stands and falls by itself.
    let worker = admin.workload("two-keys", "production", &["m365-sync", "google-sync"]);
    let pinned = self_signed();
    let keys = format!("/workloads/{}/keys", worker.id);
    let key = id_of(&admin.create(&keys, &json!({"certificate": pinned.certificate})));
    let issued = worker.client(&service);
    let pinned = service.client_with(&pinned.certificate, &pinned.key);
    for (client, key) in [(&issued, &worker.key_id), (&pinned, &key)] {
        let whoami = client.get("/api/v1/whoami").expect(200).json();
        assert_eq!(text(&whoami, "/key"), key);
        for id in [&first, &second] {
            client.get(&format!("/api/v1/release/{id}")).expect(200);
        }
    }
    // The second role goes, the first stays, whichever key asks.
    let path = format!("/workloads/{}", worker.id);
    let answer = admin.change("PATCH", &path, &path, &json!({"roles": ["m365-sync"]}));
    answer.expect(200);
    for client in [&issued, &pinned] {
        client.get(&format!("/api/v1/release/{first}")).expect(200);
        client.get(&format!("/api/v1/release/{second}")).expect(404);
    }
    // The first goes, the second is there.
    let answer = admin.change("PATCH", &path, &path, &json!({"roles": ["google-sync"]}));
    answer.expect(200);
    for client in [&issued, &pinned] {
        client.get(&format!("/api/v1/release/{first}")).expect(404);
        client.get(&format!("/api/v1/release/{second}")).expect(200);
    }
    admin
        .send("DELETE", &format!("{keys}/{}", worker.key_id), &json!({}))
        .expect(200);
    issued.get("/api/v1/whoami").expect(401);
    pinned.get("/api/v1/whoami").expect(200);
    refused(5);
}
