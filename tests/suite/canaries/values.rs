//! Twenty values of each field of each kind, stored, refused and released in every way there is.

use std::fs;
use std::io::Read as _;
use std::process::Command;

use serde_json::{Value, json};

use super::marks::{Search, guid, lower, text};
use crate::support::proof::Signer;
use crate::support::{Admin, Request, Service, id_of};

/// How many of each field.
const EACH: usize = 20;

/// Gives numbers to canaries.
#[derive(Default)]
pub struct Numbers(usize);

impl Numbers {
    pub fn next(&mut self) -> usize {
        self.0 += 1;
        self.0
    }

    pub fn text(&mut self) -> String {
        text(self.next())
    }

    pub fn lower(&mut self) -> String {
        lower(self.next())
    }

    pub fn guid(&mut self) -> String {
        guid(self.next())
    }

    /// How many there were.
    pub fn count(&self) -> usize {
        self.0
    }
}

/// The kinds with all their fields, each a canary.
fn all_kinds(numbers: &mut Numbers, round: usize) -> Vec<(&'static str, Value)> {
    let pem = |label: &str, text: String| {
        format!("-----BEGIN {label}-----\n{text}\n-----END {label}-----\n")
    };
    let google = json!({
        "type": "service_account", "project_id": numbers.lower(), "private_key_id": numbers.text(),
        "private_key": pem("PRIVATE KEY", numbers.text()),
        "client_email": format!("{}@b.iam.gserviceaccount.com", numbers.lower()),
        "token_uri": "https://oauth2.googleapis.com/token",
    });
    // What JSON has to escape, and what does not fit into one frame.
    let odd = format!("\"\\\n\t\u{1f511} {} \u{7f}", numbers.text());
    let long = match round {
        0 => numbers.text().repeat(2000),
        _ => numbers.text(),
    };
    vec![
        (
            "microsoft365",
            json!({"tenant_id": numbers.guid(), "client_id": numbers.guid(),
                "client_secret": numbers.text(), "service_account": numbers.text(),
                "service_account_password": numbers.text(),
                "test_mailbox": format!("{}@canary.example", numbers.lower())}),
        ),
        (
            "microsoft365",
            json!({"tenant_id": format!("{}.onmicrosoft.com", numbers.lower()),
                "client_id": numbers.guid(),
                "certificate": pem("CERTIFICATE", numbers.text()),
                "certificate_private_key": pem("PRIVATE KEY", numbers.text())}),
        ),
        (
            "google-workspace",
            json!({"service_account_key": google.to_string(),
                "delegated_user": format!("{}@canary.example", numbers.lower())}),
        ),
        (
            "generic",
            json!({"value": numbers.text(), "odd": odd, "long": long}),
        ),
    ]
}

/// Fields that break a rule, so that nothing is stored, with as many canaries.
fn refused(fields: &Value, numbers: &mut Numbers) -> Vec<Value> {
    let mut none = fields.clone();
    none["tenant_id"] = json!(numbers.text());
    none["service_account_key"] = json!(numbers.text());
    none["UPPER"] = json!(numbers.text());
    let mut wrong = fields.clone();
    for (_, value) in wrong.as_object_mut().expect("fields") {
        *value = json!({numbers.text(): [numbers.text(), 1, null]});
    }
    vec![none, wrong, json!([numbers.text()]), json!(numbers.text())]
}

/// Stores and releases; gives the ids. No answer but a worker's holds a value, and that holds all.
pub fn store_and_release(service: &Service, search: &Search, numbers: &mut Numbers) -> Vec<String> {
    let admin = Admin::of(service);
    admin.client("canary");
    let worker = service.client("worker");
    let mut ids = Vec::new();
    for round in 0..EACH {
        let mut open = admin.client.connect();
        for (kind, fields) in all_kinds(numbers, round) {
            let body = json!({"client": "canary", "label": kind, "kind": kind,
                              "environment": "production", "roles": ["m365-sync"]});
            let created = open.send(&Request::post("/api/v1/credentials", &body));
            let id = id_of(&created.expect("an answer").expect(201).json());
            let versions = format!("/api/v1/credentials/{id}/versions");
            if round < 2 {
                for fields in refused(&fields, numbers) {
                    let body = json!({"fields": fields});
                    let answer = open
                        .send(&Request::post(&versions, &body))
                        .expect("an answer");
                    search.none_in("a refusal", answer.expect(422).text().as_bytes());
                }
            }
            let body = json!({"fields": fields, "expires_at": "2031-01-01",
                              "activate": {"reason": "canary"}});
            let answer = open
                .send(&Request::post(&versions, &body))
                .expect("an answer");
            search.none_in("what was stored", &answer.expect(201).body);
            let shown = open.send(&Request::get(&format!("/api/v1/credentials/{id}")));
            search.none_in(
                "what operators see",
                &shown.expect("an answer").expect(200).body,
            );
            let denied = open.send(&Request::get(&format!("/api/v1/release/{id}")));
            search.none_in("a denial", &denied.expect("an answer").expect(404).body);
            let entry = worker.get(&format!("/api/v1/release/{id}")).expect(200);
            assert_eq!(entry.json()["fields"], fields, "the worker gets all");
            search.none_in("the head", format!("{:?}", entry.headers).as_bytes());
            ids.push(id);
        }
    }
    release_in_every_way(service, search, &ids);
    ids
}

/// With an assertion, over HTTP/2, encrypted, as a bundle that is read, and as one that is not.
fn release_in_every_way(service: &Service, search: &Search, ids: &[String]) {
    let signer = Signer::worker(service);
    let one = format!("/api/v1/release/{}", ids[0]);
    for target in [one.as_str(), "/api/v1/release"] {
        let request = Request::get(target).bearer(&signer.assertion());
        let answer = service.anonymous().send(&request).expect(200);
        assert!(search.is_in(&answer.body));
    }
    let admin = Admin::of(service);
    let worker = admin.workload("sealed", "production", &["m365-sync"]);
    let reader = age::x25519::Identity::generate();
    let body = json!({"age_recipient": reader.to_public().to_string()});
    let path = format!("/workloads/{}", worker.id);
    admin.change("PATCH", &path, &path, &body).expect(200);
    for target in [one.as_str(), "/api/v1/release"] {
        let request = Request::get(target).header("accept", "application/age");
        let answer = worker.client(service).send(&request).expect(200);
        search.none_in("an encrypted release", &answer.body);
        let decryptor = age::Decryptor::new(answer.body.as_slice()).expect("a file");
        let identities = std::iter::once(&reader as &dyn age::Identity);
        let mut plain = Vec::new();
        let mut opened = decryptor.decrypt(identities).expect("the reader's");
        opened.read_to_end(&mut plain).expect("the plaintext");
        assert!(search.is_in(&plain));
    }
    for _ in 0..3 {
        // Broken off by the client, in the middle of what is being sent.
        let mut broken = service.client("worker").connect();
        broken
            .start(&Request::get("/api/v1/release"))
            .expect("a request");
        broken.receive_head().expect("its head");
    }
    over_http_2(service, search, &ids[0]);
}

fn over_http_2(service: &Service, search: &Search, id: &str) {
    let body = json!({"fields": {"value": text(0)}}).to_string();
    let file = service.home().join("over-http-2.json");
    fs::write(&file, body).expect("a file");
    let curl = |who: &str, path: &str, more: &[&str]| {
        let output = Command::new("curl")
            .args([
                "--silent",
                "--http2",
                "--write-out",
                "\n%{http_version} %{response_code}",
            ])
            .args(["--header", &format!("x-canary: {}", text(0))])
            .arg("--cacert")
            .arg(service.file("ca.pem"))
            .arg("--cert")
            .arg(service.file(&format!("{who}.pem")))
            .arg("--key")
            .arg(service.file(&format!("{who}.key")))
            .args(more)
            .arg(format!("{}/api/v1{path}", service.url()))
            .output()
            .expect("curl");
        assert!(output.status.success(), "{output:?}");
        String::from_utf8_lossy(&output.stdout).into_owned()
    };
    for path in ["/release", &format!("/release/{id}")] {
        let said = curl("worker", path, &[]);
        assert!(said.ends_with("\n2 200"), "{said}");
        assert!(search.is_in(said.as_bytes()));
    }
    let data = format!("@{}", file.display());
    let json = [
        "--header",
        "content-type: application/json",
        "--data-binary",
        &data,
    ];
    let said = curl("operator", &format!("/credentials/{id}/versions"), &json);
    assert!(said.ends_with("\n2 422"), "{said}");
    search.none_in("a refusal over HTTP/2", said.as_bytes());
}
