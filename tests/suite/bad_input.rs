//! Bad input gets a 4xx that says what to do, repeats nothing that was sent, and changes nothing.

use serde_json::{Value, json};

use crate::support::{Admin, Backend, Request, Response, Service, on_both, text};

on_both!(
    promise_12_bad_input_changes_nothing,
    limits_before_and_after_authentication
);

/// Stands in everything that is sent and must stand in nothing that comes back.
const CANARY: &str = "Kanarienvogel";

/// What could have been changed, as it is now.
fn everything(admin: &Admin) -> Vec<Value> {
    let lists = [
        "/clients",
        "/credentials",
        "/workloads",
        "/operators",
        "/roles",
        "/environments",
        "/authorities",
        "/receipts",
        "/mails",
    ];
    let mut all: Vec<Value> = lists.iter().map(|path| admin.list(path).into()).collect();
    // Whoever asks is let in by an authority, which notes the time of that.
    for authority in all.iter_mut().filter_map(Value::as_array_mut).flatten() {
        if authority.get("last_used_at").is_some() {
            authority["last_used_at"] = Value::Null;
        }
    }
    all.push(admin.get("/keys"));
    all
}

fn promise_12_bad_input_changes_nothing(backend: Backend) {
    let service = Service::dev(&backend);
    let admin = Admin::of(&service);
    let client = admin.client("acme");
    let credential = admin.credential("acme", "production", &["m365-sync"], "lent");
    let worker = admin.workload("w", "production", &["m365-sync"]);
    let before = everything(&admin);
    let c = |n: u32| format!("{CANARY}-{n}");

    let post = |path: &str, body: &Value| Request::post(&format!("/api/v1{path}"), body);
    let get = |path: &str| Request::get(&format!("/api/v1{path}"));
    let raw = |path: &str, body: &str| {
        Request::new("POST", &format!("/api/v1{path}"))
            .header("content-type", "application/json")
            .bytes(body.as_bytes().to_vec())
    };
    let named = |name: &str| post("/roles", &json!({"name": name}));
    let versions = format!("/credentials/{credential}/versions");
    let keys = format!("/workloads/{}/keys", worker.id);
    let tokens = format!("/workloads/{}/enrolment-tokens", worker.id);
    let deep = format!("{}\"{}\"{}", "[".repeat(200), c(1), "]".repeat(200));
    let patch = |revision: &str, body: &Value| {
        Request::new("PATCH", &format!("/api/v1/clients/{client}"))
            .header("if-match", revision)
            .json(body)
    };
    let good = json!({"name": c(2)});
    let new_client =
        |name: &str, slug: &str| post("/clients", &json!({"name": name, "slug": slug}));
    let new_credential = |change: &dyn Fn(&mut Value)| {
        let mut body = json!({"client": "acme", "label": "l", "kind": "generic",
                              "environment": "production", "roles": ["m365-sync"]});
        change(&mut body);
        post("/credentials", &body)
    };
    let cases: Vec<(&str, &[u16], Request)> = vec![
        // Shape.
        (
            "an unknown field",
            &[422],
            post("/roles", &json!({"name": "x", c(3): c(4)})),
        ),
        (
            "a missing field",
            &[422],
            post("/clients", &json!({"name": c(5)})),
        ),
        (
            "a number for a text",
            &[422],
            post("/roles", &json!({"name": 7})),
        ),
        (
            "a text for a list",
            &[422],
            new_credential(&|it| it["roles"] = c(6).into()),
        ),
        (
            "a list for an object",
            &[422],
            post("/roles", &json!([c(7)])),
        ),
        (
            "an unknown kind",
            &[422],
            new_credential(&|it| it["kind"] = c(8).into()),
        ),
        (
            "a name given twice",
            &[400, 422],
            raw("/roles", r#"{"name":"a","name":"Kanarienvogel"}"#),
        ),
        (
            "no JSON",
            &[400],
            raw("/roles", &format!("{{\"name\":\"{}", c(9))),
        ),
        (
            "more than one",
            &[400],
            raw("/roles", &format!("{{\"name\":\"x\"}}{}", c(10))),
        ),
        (
            "too deep",
            &[400],
            raw("/roles", &format!("{{\"name\":{deep}}}")),
        ),
        (
            "no UTF-8",
            &[400],
            Request::new("POST", "/api/v1/roles")
                .header("content-type", "application/json")
                .bytes(b"{\"name\":\"\xff\xfe\"}".to_vec()),
        ),
        ("nothing", &[400, 422], raw("/roles", "")),
        (
            "another media type",
            &[415],
            Request::new("POST", "/api/v1/roles")
                .header("content-type", &format!("text/{CANARY}"))
                .bytes(b"{}".to_vec()),
        ),
        (
            "no media type",
            &[415],
            Request::new("POST", "/api/v1/roles").bytes(b"{}".to_vec()),
        ),
        (
            "a content coding",
            &[415],
            raw("/roles", "{}").header("content-encoding", CANARY),
        ),
        // Names that are not in their one form.
        ("capitals", &[422], named(&CANARY.to_uppercase())),
        ("a leading space", &[422], named(" prod")),
        ("a trailing space", &[422], named("prod ")),
        ("letters that look alike", &[422], named("pr\u{43e}d")),
        ("composed letters", &[422], named("caf\u{e9}")),
        ("a zero byte", &[422], named("prod\u{0}")),
        ("an empty name", &[422], named("")),
        ("a long name", &[422], named(&"a".repeat(65))),
        (
            "a very long name",
            &[422],
            new_client(&"n".repeat(121), "n"),
        ),
        ("letters in two pieces", &[422], new_client("e\u{301}", "n")),
        ("an invisible letter", &[422], new_client("a\u{200b}b", "n")),
        ("a line break", &[422], new_client("a\r\nBcc: x", "n")),
        (
            "an address of two lines",
            &[422],
            post(
                &format!("/clients/{client}/contacts"),
                &json!({"name": "n", "email": format!("a@b.example\r\n{}", c(12)), "role": "owner"}),
            ),
        ),
        // What is referred to and not there.
        (
            "an unknown role",
            &[422, 409, 404],
            new_credential(&|it| it["roles"] = json!(["kanarienvogel"])),
        ),
        (
            "no role",
            &[422],
            new_credential(&|it| it["roles"] = json!([])),
        ),
        (
            "a role twice",
            &[422],
            new_credential(&|it| it["roles"] = json!(["m365-sync", "m365-sync"])),
        ),
        (
            "an unknown environment",
            &[422, 409, 404],
            new_credential(&|it| it["environment"] = "kanarienvogel".into()),
        ),
        (
            "an unknown client",
            &[422, 409, 404],
            new_credential(&|it| it["client"] = "kanarienvogel".into()),
        ),
        // Values.
        ("no field", &[422], post(&versions, &json!({"fields": {}}))),
        (
            "a field that is no text",
            &[422],
            post(&versions, &json!({"fields": {"a": 1}})),
        ),
        (
            "a field of a bad name",
            &[422],
            post(&versions, &json!({"fields": {c(13): c(14)}})),
        ),
        (
            "too many fields",
            &[422],
            post(
                &versions,
                &json!({"fields":
            (0..40).map(|n| (format!("f{n}"), json!(c(15)))).collect::<serde_json::Map<_, _>>()}),
            ),
        ),
        (
            "no date",
            &[422],
            post(
                &versions,
                &json!({"fields": {"a": c(16)}, "expires_at": c(17)}),
            ),
        ),
        (
            "a day that is none",
            &[422],
            post(
                &versions,
                &json!({"fields": {"a": "b"}, "expires_at": "2031-02-30"}),
            ),
        ),
        (
            "no reason",
            &[422],
            post(&versions, &json!({"fields": {"a": "b"}, "activate": {}})),
        ),
        // Keys.
        ("no key", &[422], post(&keys, &json!({}))),
        (
            "two keys",
            &[422],
            post(&keys, &json!({"public_key": c(18), "csr": c(18)})),
        ),
        (
            "no PEM",
            &[422],
            post(&keys, &json!({"certificate": c(19)})),
        ),
        (
            "a private key",
            &[422],
            post(&keys, &json!({"public_key": worker.pair.key})),
        ),
        // Enrolment.
        (
            "a lifetime that is none",
            &[422],
            post(&tokens, &json!({"lifetime_minutes": c(21)})),
        ),
        (
            "a lifetime without an end",
            &[422],
            post(&tokens, &json!({"lifetime_minutes": u64::MAX})),
        ),
        (
            "a token of its own",
            &[422],
            post(&tokens, &json!({"token": c(22)})),
        ),
        (
            "a token for a key",
            &[405],
            post(&format!("{keys}/enrolment-tokens"), &json!({})),
        ),
        ("no token", &[422], post("/enrol", &json!({"csr": c(23)}))),
        (
            "a token that is a list",
            &[422],
            post("/enrol", &json!({"token": [c(24)], "csr": c(24)})),
        ),
        (
            "a name to go with a token",
            &[422],
            post(
                "/enrol",
                &json!({"token": c(25), "csr": c(25), "name": c(25)}),
            ),
        ),
        ("a renewal of nothing", &[422], post("/renew", &json!({}))),
        (
            "a renewal that is no request",
            &[422],
            post("/renew", &json!({"csr": c(26)})),
        ),
        // Revisions.
        (
            "no If-Match",
            &[428],
            Request::new("PATCH", &format!("/api/v1/clients/{client}")).json(&good),
        ),
        ("a stale If-Match", &[412], patch("\"999\"", &good)),
        ("any If-Match", &[400], patch("*", &good)),
        ("a weak If-Match", &[400], patch("W/\"1\"", &good)),
        ("no revision", &[400], patch(&c(20), &good)),
        // Paths and queries.
        (
            "an unknown parameter",
            &[400],
            get(&format!("/clients?{CANARY}=1")),
        ),
        ("a limit of zero", &[400], get("/clients?limit=0")),
        ("a large limit", &[400], get("/clients?limit=501")),
        (
            "a limit that is no number",
            &[400],
            get(&format!("/clients?limit={CANARY}")),
        ),
        (
            "a cursor of its own",
            &[400, 422],
            get(&format!("/clients?cursor={CANARY}")),
        ),
        ("a parameter twice", &[400], get("/clients?limit=1&limit=2")),
        ("an unknown id", &[404], get(&format!("/clients/{CANARY}"))),
        ("an unknown path", &[404], get(&format!("/{CANARY}"))),
        (
            "an unknown method",
            &[405],
            Request::new("DELETE", "/api/v1/whoami"),
        ),
        (
            "an actor that is none",
            &[400, 422],
            get(&format!("/audit?actor={CANARY}")),
        ),
        (
            "a kind that is none",
            &[400, 422],
            get(&format!("/audit?kind={CANARY}")),
        ),
        (
            "a time that is none",
            &[400, 422],
            get(&format!("/audit?since={CANARY}")),
        ),
        // State.
        ("a name that is taken", &[409], new_client("n", "acme")),
    ];
    for (what, allowed, request) in &cases {
        let answer = admin.client.send(request);
        assert!(
            allowed.contains(&answer.status),
            "{what}: {} {}",
            answer.status,
            answer.text()
        );
        check_problem(what, &answer);
        assert_eq!(everything(&admin), before, "{what} changed something");
    }
    // A worker's queries and headers.
    let worker = worker.client(&service);
    // A body that says that it is too large is refused before it comes.
    let mut connection = admin.client.connect();
    let head = format!(
        "POST /api/v1/roles HTTP/1.1\r\nhost: {CANARY}\r\ncontent-type: application/json\r\n\
         content-length: 300000\r\n\r\n\"{CANARY}"
    );
    connection.write(head.as_bytes()).expect("a head");
    let answer = connection.receive().expect("an answer");
    assert_eq!(answer.status, 413);
    check_problem("too large", &answer);
    let release = format!("/api/v1/release/{credential}");
    for (what, status, request) in [
        (
            "a version that is no number",
            400,
            Request::get(&format!("{release}?version={CANARY}")),
        ),
        (
            "a filter that is no id",
            400,
            Request::get(&format!("/api/v1/release?client={CANARY}")),
        ),
        (
            "a filter that is unknown",
            400,
            Request::get(&format!("/api/v1/release?{CANARY}=1")),
        ),
        (
            "another representation",
            406,
            Request::get(&release).header("accept", "text/csv"),
        ),
        ("a HEAD", 405, Request::new("HEAD", &release)),
        (
            "in use without a body",
            415,
            Request::new("POST", &format!("{release}/in-use")),
        ),
        (
            "in use of nothing",
            422,
            Request::post(&format!("{release}/in-use"), &json!({})),
        ),
    ] {
        let answer = if what == "a HEAD" {
            // Its answer has no body.
            let mut connection = worker.connect();
            connection.start(&request).expect("it is sent");
            let (status, headers) = connection.receive_head().expect("a head");
            Response {
                status,
                headers,
                body: Vec::new(),
            }
        } else {
            worker.send(&request)
        };
        assert_eq!(answer.status, status, "{what}: {}", answer.text());
        if !answer.body.is_empty() {
            check_problem(what, &answer);
        }
    }
    assert_eq!(everything(&admin), before);
    // And the log of all of this holds none of it either.
    let log = String::from_utf8_lossy(&service.all_output()).to_lowercase();
    assert!(!log.contains("kanarienvogel"), "received text in the log");
    let records = Value::from(admin.audit("")).to_string().to_lowercase();
    assert!(
        !records.contains("kanarienvogel"),
        "received text in the audit log"
    );
}

#[track_caller]
fn check_problem(what: &str, answer: &Response) {
    let said = answer.text();
    assert!(
        !said.to_lowercase().contains("kanarienvogel"),
        "{what}: {said}"
    );
    let headers = format!("{:?}", answer.headers).to_lowercase();
    assert!(!headers.contains("kanarienvogel"), "{what}: {headers}");
    let code = answer.problem(answer.status);
    assert!(!code.is_empty());
    let problem = answer.json();
    assert_eq!(problem["status"], answer.status);
    assert!(text(&problem, "/detail").len() > 10, "{what}: {said}");
    assert!(text(&problem, "/request_id").starts_with("req_"));
    if answer.status == 422 {
        let errors = problem["errors"].as_array().expect("the fields");
        assert!(!errors.is_empty(), "{what}: {said}");
        for error in errors {
            assert!(
                error["field"].is_string() && !text(error, "/rule").is_empty(),
                "{said}"
            );
        }
    }
}

fn limits_before_and_after_authentication(backend: Backend) {
    let service = Service::dev(&backend);
    let anonymous = service.anonymous();
    // Nobody's body is read before it is known who sends it.
    let mut connection = anonymous.connect();
    let head = "POST /api/v1/roles HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n\
                content-length: 100000000\r\n\r\n";
    connection.write(head.as_bytes()).expect("a head");
    assert_eq!(connection.receive().expect("an answer").status, 401);
    // Headers: their number, their length, the length of the target.
    let many = (0..100).fold(Request::get("/api/v1/whoami"), |request, n| {
        request.header(&format!("x-{n}"), CANARY)
    });
    let long = Request::get("/api/v1/whoami").header("x-long", &CANARY.repeat(4000));
    let target = Request::get(&format!("/api/v1/{}", CANARY.repeat(4000)));
    for (what, request) in [("many", many), ("long", long), ("target", target)] {
        // Cut off or refused, and never repeated.
        if let Ok(answer) = anonymous.try_send(&request) {
            assert!(
                (400..500).contains(&answer.status),
                "{what}: {}",
                answer.status
            );
            assert!(!answer.text().contains(CANARY), "{what}");
        }
    }
    // What is not HTTP ends the connection.
    let mut connection = anonymous.connect();
    connection
        .write(b"\x16\x03\x01 nonsense\r\n\r\n")
        .expect("bytes");
    if let Ok(answer) = connection.receive() {
        assert!((400..500).contains(&answer.status));
    }
    // And what is not TLS at all.
    let mut socket = std::net::TcpStream::connect(service.address()).expect("a connection");
    std::io::Write::write_all(&mut socket, b"GET / HTTP/1.1\r\n\r\n").expect("bytes");
    let mut answer = Vec::new();
    let _ = std::io::Read::read_to_end(&mut socket, &mut answer);
    assert!(!answer.starts_with(b"HTTP/"), "an answer in the clear");
    // Many connections that say nothing keep nobody else out.
    let idle: Vec<_> = (0..200)
        .map(|_| std::net::TcpStream::connect(service.address()).expect("a connection"))
        .collect();
    service.client("worker").get("/api/v1/release").expect(200);
    drop(idle);
    assert!(service.is_ready());
}
