//! Releases encrypted to the age recipient that is registered for a workload.

use std::io::Read as _;

use serde_json::{Value, json};

use crate::support::cli::{cli, cli_json};
use crate::support::{Admin, Backend, Client, Request, Response, Service, id_of, on_both, text};

on_both!(
    a_release_is_encrypted_to_the_registered_recipient,
    a_recipient_is_registered_changed_and_taken_away,
    a_recipient_of_another_scheme_is_refused,
);

/// The worker's end: a key that only it holds.
struct Reader(age::x25519::Identity);

impl Reader {
    fn new() -> Self {
        Self(age::x25519::Identity::generate())
    }

    fn recipient(&self) -> String {
        self.0.to_public().to_string()
    }

    fn open(&self, file: &[u8]) -> Result<Value, String> {
        let decryptor = age::Decryptor::new(file).map_err(|error| error.to_string())?;
        let identities = std::iter::once(&self.0 as &dyn age::Identity);
        let reader = decryptor.decrypt(identities);
        let mut plaintext = Vec::new();
        let mut reader = reader.map_err(|error| error.to_string())?;
        let read = reader.read_to_end(&mut plaintext);
        read.map_err(|error| error.to_string())?;
        serde_json::from_slice(&plaintext).map_err(|error| error.to_string())
    }
}

const AGE: &str = "application/age";

fn ask(client: &Client, path: &str, accept: &str) -> Response {
    client.send(&Request::get(path).header("accept", accept))
}

/// A worker of the role `m365-sync` with this recipient.
fn enrol(service: &Service, admin: &Admin, reader: &Reader) -> (String, Client) {
    let worker = admin.workload("sealed", "production", &["m365-sync"]);
    let path = format!("/workloads/{}", worker.id);
    let body = json!({"age_recipient": reader.recipient()});
    let changed = admin.change("PATCH", &path, &path, &body).expect(200);
    assert_eq!(changed.json()["age_recipient"], reader.recipient());
    (worker.id.clone(), worker.client(service))
}

fn a_release_is_encrypted_to_the_registered_recipient(backend: Backend) {
    let service = Service::dev(&backend);
    let admin = Admin::of(&service);
    admin.client("acme");
    // More than one chunk of an age file, and more than one page of a bundle.
    let value = "v".repeat(1000);
    let mut ids: Vec<String> = (0..140)
        .map(|_| admin.credential("acme", "production", &["m365-sync"], &value))
        .collect();
    ids.sort();
    let reader = Reader::new();
    let (_, client) = enrol(&service, &admin, &reader);

    let one = format!("/api/v1/release/{}", ids[0]);
    let plain = ask(&client, &one, "application/json").expect(200);
    let sealed = ask(&client, &one, AGE).expect(200);
    assert_eq!(plain.header("content-type"), Some("application/json"));
    assert_eq!(sealed.header("content-type"), Some(AGE));
    for answer in [&plain, &sealed] {
        assert_eq!(answer.header("vary"), Some("Accept"));
        assert_eq!(answer.header("cache-control"), Some("no-store"));
        assert!(answer.header("strongroom-checkpoint").is_some());
    }
    assert!(sealed.body.starts_with(b"age-encryption.org/v1\n"));
    assert!(
        !sealed
            .body
            .windows(20)
            .any(|part| part == &value.as_bytes()[..20])
    );
    assert_eq!(reader.open(&sealed.body), Ok(plain.json()));
    assert!(Reader::new().open(&sealed.body).is_err());
    // Each file has a key of its own.
    assert_ne!(ask(&client, &one, AGE).expect(200).body, sealed.body);

    let plain_bundle = ask(&client, "/api/v1/release", "*/*").expect(200);
    let sealed_bundle = ask(&client, "/api/v1/release", AGE).expect(200);
    let opened = reader.open(&sealed_bundle.body).expect("the bundle");
    assert_eq!(opened, plain_bundle.json());
    assert!(opened["credentials"].as_array().expect("a list").len() >= 140);
    // Whatever was broken off does not open.
    let body = &sealed_bundle.body;
    for length in [body.len() - 1, body.len() - 100, 70_000, 65_000, 300] {
        assert!(reader.open(&body[..length]).is_err(), "{length}");
    }

    // Whoever holds the one form does not hold the other.
    for (path, plain, sealed) in [
        (one.as_str(), &plain, &sealed),
        ("/api/v1/release", &plain_bundle, &sealed_bundle),
    ] {
        let conditional = |accept: &str, etag: &Response| {
            let etag = etag.header("etag").expect("an ETag");
            let request = Request::get(path).header("accept", accept);
            client.send(&request.header("if-none-match", etag)).status
        };
        assert!(sealed.header("etag").expect("an ETag").starts_with("W/\""));
        assert_eq!(conditional(AGE, sealed), 304);
        assert_eq!(conditional("application/json", plain), 304);
        assert_eq!(conditional(AGE, plain), 200);
        assert_eq!(conditional("application/json", sealed), 200);
    }

    for (accept, form) in [
        ("application/age, application/json", "application/json"),
        ("application/age, application/json;q=0.5", AGE),
        ("application/json;q=0, */*", AGE),
        ("application/*", "application/json"),
    ] {
        let answer = ask(&client, &one, accept).expect(200);
        assert_eq!(answer.header("content-type"), Some(form), "{accept}");
    }
    assert_eq!(
        ask(&client, &one, "text/csv").problem(406),
        "not-acceptable"
    );

    // Another worker has no recipient, and what is not there looks as ever.
    let other = service.client("worker");
    for path in [one.as_str(), "/api/v1/release"] {
        assert_eq!(ask(&other, path, AGE).problem(406), "not-acceptable");
        let answer = ask(&other, path, "application/age, application/json;q=0.1");
        let answer = answer.expect(200);
        assert_eq!(answer.header("content-type"), Some("application/json"));
    }
    let nothing = "/api/v1/release/cred_00000000000000000000000000";
    assert_eq!(ask(&client, nothing, AGE).problem(404), "not-found");
    assert_eq!(ask(&other, nothing, AGE).problem(406), "not-acceptable");
}

fn a_recipient_is_registered_changed_and_taken_away(backend: Backend) {
    let service = Service::dev(&backend);
    let admin = Admin::of(&service);
    admin.client("acme");
    let id = admin.credential("acme", "production", &["m365-sync"], "lent");
    let path = format!("/api/v1/release/{id}");
    let (first, second) = (Reader::new(), Reader::new());
    let (worker, client) = enrol(&service, &admin, &first);
    let whoami = client.get("/api/v1/whoami").expect(200).json();
    assert_eq!(whoami["age_recipient"], first.recipient());
    let before = ask(&client, &path, AGE).expect(200);

    // On a connection that is open, from the next release on.
    let mut connection = client.connect();
    let request = Request::get(&path).header("accept", AGE);
    let answer = connection.send(&request).expect("an answer").expect(200);
    first.open(&answer.body).expect("the entry");
    let recipient = second.recipient();
    let change = [
        "workload",
        "change",
        "sealed",
        "--age-recipient",
        &recipient,
    ];
    let shown = cli_json(&service, "operator", &change);
    assert_eq!(shown["age_recipient"], recipient);
    let etag = before.header("etag").expect("an ETag");
    let conditional = request.clone().header("if-none-match", etag);
    let answer = connection
        .send(&conditional)
        .expect("an answer")
        .expect(200);
    assert!(first.open(&answer.body).is_err());
    second.open(&answer.body).expect("the entry");

    // A change of something else leaves it alone.
    let resource = format!("/workloads/{worker}");
    let renamed = admin.change("PATCH", &resource, &resource, &json!({"name": "renamed"}));
    assert_eq!(renamed.expect(200).json()["age_recipient"], recipient);
    cli(
        &service,
        "operator",
        &["workload", "change", "renamed", "--no-age-recipient"],
    )
    .ok();
    assert_eq!(admin.get(&resource)["age_recipient"], Value::Null);
    let answer = connection.send(&request).expect("an answer");
    assert_eq!(answer.problem(406), "not-acceptable");
    client.get(&path).expect(200);

    // The log says when, and which by its digest, but not the text.
    let records = admin.audit(&format!("subject={worker}&kind=workload.changed"));
    let details: Vec<&Value> = records
        .iter()
        .map(|record| &record["detail"]["age_recipient"])
        .collect();
    assert_eq!(details.len(), 4);
    assert_eq!(details[0], "none");
    assert_eq!(details[1], &Value::Null);
    let digests = [
        text(&records[2], "/detail/age_recipient"),
        text(&records[3], "/detail/age_recipient"),
    ];
    assert!(digests.iter().all(|digest| digest.starts_with("sha256:")));
    assert_ne!(digests[0], digests[1]);
    assert!(!Value::from(records.clone()).to_string().contains("age1"));

    // At enrolment as well.
    let arguments = [
        "workload",
        "enrol",
        "--name",
        "born-with",
        "--environment",
        "production",
        "--role",
        "m365-sync",
        "--age-recipient",
        &recipient,
    ];
    let enrolled = cli_json(&service, "operator", &arguments);
    assert_eq!(enrolled["age_recipient"], recipient);
    let id = id_of(&enrolled);
    assert_eq!(
        admin.get(&format!("/workloads/{id}"))["age_recipient"],
        recipient
    );
}

fn a_recipient_of_another_scheme_is_refused(backend: Backend) {
    let service = Service::dev(&backend);
    let admin = Admin::of(&service);
    let reader = Reader::new();
    let (worker, _) = enrol(&service, &admin, &reader);
    let resource = format!("/workloads/{worker}");
    let good = reader.recipient();
    let upper = good.to_uppercase();
    let cut = &good[..good.len() - 1];
    for wrong in [
        "",
        "age1",
        cut,
        &upper,
        "age1yubikey1qwt50d05nh5vutpdzmlg5wn80xq5negm4uj9ghv0snvdd3yysf5yw3rhl3t",
        "age1pq1qwt50d05nh5vutpdzmlg5wn80xq5negm4uj9ghv0snvdd3yysf5yw3rhl3t",
        "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIHsKLqeplhpW+uObz5dvMgjz1OxfM/XXUB+VHtZ6isGN",
        "AGE-SECRET-KEY-1QQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQ",
    ] {
        let body = json!({"age_recipient": wrong});
        let answer = admin.change("PATCH", &resource, &resource, &body);
        assert_eq!(answer.problem(422), "invalid", "{wrong}");
        let problem = answer.json();
        assert_eq!(problem["errors"][0]["field"], "age_recipient");
        assert!(text(&problem, "/errors/0/rule").contains("X25519"));
        assert!(
            wrong.len() < 5 || !answer.text().contains(wrong),
            "{}",
            answer.text()
        );
        let new = json!({"name": "another", "environment": "production",
                         "roles": ["m365-sync"], "age_recipient": wrong});
        assert_eq!(
            admin.send("POST", "/workloads", &new).problem(422),
            "invalid"
        );
    }
    let answer = admin.change("PATCH", &resource, &resource, &json!({"age_recipient": 7}));
    assert_eq!(answer.problem(422), "invalid");
    assert_eq!(admin.get(&resource)["age_recipient"], good);
    let names = admin.list("/workloads");
    assert!(names.iter().all(|workload| workload["name"] != "another"));
}
