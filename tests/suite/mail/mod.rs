//! Mail over a real mail server: what clients are written, what a server can do wrong, and what a crash
//! leaves.

mod faults;
mod kills;

use std::fs;
use std::sync::Arc;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde_json::{Value, json};
use strongroom::clock::{Clock as _, SystemClock};
use strongroom::random::SystemRandom;
use strongroom::standin::{StandIn, World};

use crate::audit::export;
use crate::support::cli::{cli_json, run};
use crate::support::http::{Client, Tls};
use crate::support::service::program;
use crate::support::smtp::{MailServer, PASSWORD, USER};
use crate::support::{
    Admin, Backend, Deployment, Request, Service, id_of, items, on_both, sql, text, until,
};

on_both!(a_client_is_invited_told_and_thanked_in_one_thread);

/// What links begin with.
const PAGES: &str = "https://intake.example";

/// A deployment that mails by a server, with a client and a contact.
struct Post {
    server: MailServer,
    deployment: Deployment,
    backend: Backend,
    client: String,
}

impl Post {
    /// Makes one; `more` are further settings.
    fn new(backend: Backend, more: &[(&str, &str)]) -> (Self, Service) {
        let server = MailServer::start();
        let deployment = Deployment::new(&backend, "node-a");
        let mut settings = deployment.settings();
        let pages = format!("listen = \"127.0.0.1:0\"\nurl = \"{PAGES}\"\n");
        let mail = server.settings(deployment.home());
        let sections = [("[mail]\n", mail.as_str()), ("[pages]\n", pages.as_str())];
        for (section, lines) in sections.iter().chain(more) {
            assert!(settings.contains(section), "{section}");
            settings = settings.replacen(section, &format!("{section}{lines}"), 1);
        }
        fs::write(deployment.config(), settings).expect("the settings");
        let service = Service::serve(&deployment.config());
        let admin = Admin::of(&service);
        admin.role("m365-sync");
        admin.environment("production");
        let client = admin.client("acme");
        let ada = json!({"name": "Ada Müller", "email": "ada@client.example", "role": "technical"});
        admin.create(&format!("/clients/{client}/contacts"), &ada);
        let post = Self {
            server,
            deployment,
            backend,
            client,
        };
        (post, service)
    }

    /// Lets time go by for the outbox: `change` is what it changes of its rows.
    fn meanwhile(&self, change: &str) {
        let change = format!("UPDATE mails SET {change} WHERE due_at IS NOT NULL");
        let home = self.deployment.home();
        match &self.backend {
            Backend::Sqlite => sql::sqlite(&home.join("data/strongroom.db"), &change),
            Backend::Postgres(_) => {
                let url = fs::read_to_string(home.join("database-url")).expect("a URL");
                sql::postgres(&url, &change);
            }
        }
    }
}

/// Waits until each mail stands so that nothing goes on by itself.
fn settled(admin: &Admin) -> Vec<Value> {
    until("the mails", 60, || {
        let mails = admin.list("/mails");
        let moving = |mail: &Value| match text(mail, "/state") {
            "claimed" | "sending" => true,
            "due" => mail["tries"] == 0,
            _ => false,
        };
        (!mails.iter().any(moving)).then_some(mails)
    })
}

fn invite(admin: &Admin, label: &str) -> Value {
    let new = json!({"client": "acme", "label": label, "kind": "microsoft365",
        "environment": "production", "roles": ["m365-sync"]});
    admin.create(
        "/invites",
        &json!({"new": new, "contact": "ada@client.example"}),
    )
}

/// The path of the link in a message.
fn path_in(message: &Value) -> String {
    let words = text(message, "/parts/text~1plain");
    let link = words.split_once(PAGES).expect("a link").1;
    let path: String = link.split_whitespace().next().expect("a path").to_owned();
    assert!(path.starts_with("/i/"), "{path}");
    path
}

fn a_client_is_invited_told_and_thanked_in_one_thread(backend: Backend) {
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let world = World::demonstration(SystemClock.now());
    let (clock, random) = (Arc::new(SystemClock), Arc::new(SystemRandom::new()));
    let stand_in = runtime.block_on(StandIn::start_anywhere(world, clock, random));
    let stand_in = stand_in.expect("the stand-in");
    let authority = tempfile::NamedTempFile::new().expect("a file");
    fs::write(authority.path(), stand_in.ca_pem()).expect("a file");
    let providers = format!(
        "stand_in = \"{}\"\nca_file = \"{}\"\n",
        stand_in.url(),
        authority.path().display()
    );
    let (post, mut service) = Post::new(
        backend,
        &[
            ("[providers]\n", &providers),
            ("[verification]\n", "settle_seconds = 0\n"),
            ("[log]\n", "filter = \"trace\"\n"),
        ],
    );
    let admin = Admin::of(&service);
    // `doctor` asks the same server.
    let mut doctor = program();
    doctor
        .arg("doctor")
        .arg("--config")
        .arg(post.deployment.config());
    let said = run(doctor, b"").stdout;
    assert!(said.contains("takes our sign-in"), "{said}");

    let invited = invite(&admin, "calendar & mail");
    assert!(invited.get("link").is_none_or(Value::is_null), "{invited}");
    let arrived = |count: usize| {
        until("a mail", 60, || {
            let messages = post.server.messages();
            (messages.len() >= count).then_some(messages)
        })
    };
    let first = arrived(1).remove(0);
    let id = format!("<{}@company.example>", text(&invited, "/mail"));
    assert_eq!(text(&first, "/headers/message-id"), id);
    assert!(first["headers"].get("in-reply-to").is_none());
    assert!(text(&first, "/headers/subject").contains("calendar & mail"));
    let path = path_in(&first);
    let html = text(&first, "/parts/text~1html");
    assert!(html.contains(&format!("href=\"{PAGES}{path}\"")), "{html}");

    // The link is the page's, where a value is wrong first and right afterwards.
    let browser = Client::new(service.pages(), Tls::anonymous(&service.ca()));
    let hand_in = |secret: &str| {
        let form = format!(
            "tenant_id=11111111-2222-4333-8444-555555555555&client_secret={secret}&certificate=\
             &client_id=66666666-7777-4888-9999-aaaaaaaaaaaa&certificate_private_key=\
             &test_mailbox=sync-test%40example-realty.example&expires_at=2028-11-20"
        );
        let form = Request::new("POST", &path)
            .header("content-type", "application/x-www-form-urlencoded")
            .header("sec-fetch-site", "same-origin")
            .bytes(form.into_bytes());
        browser.send(&form).expect(303);
    };
    browser.get(&path).expect(200);
    hand_in("demonstration~secret~made~up~and~wrong");
    let failed = arrived(2).remove(1);
    let words = text(&failed, "/parts/text~1plain");
    assert!(words.contains("Attempt: 1"), "{words}");
    hand_in("demonstration~secret~opens~nothing");
    let thanks = arrived(3).remove(2);
    let words = text(&thanks, "/parts/text~1plain");
    assert!(words.contains("what you handed in works"), "{words}");

    for (n, message) in post.server.messages().iter().enumerate() {
        assert_eq!(message["wrong"], json!([]), "{message:#}");
        assert_eq!(message["from"], USER);
        assert_eq!(message["to"], json!(["ada@client.example"]));
        assert_eq!(
            text(message, "/headers/from"),
            format!("Example Sync <{USER}>")
        );
        assert_eq!(
            text(message, "/headers/to"),
            "Ada Müller <ada@client.example>"
        );
        assert_eq!(text(message, "/headers/auto-submitted"), "auto-generated");
        let parts: Vec<&String> = message["parts"]
            .as_object()
            .expect("parts")
            .keys()
            .collect();
        assert_eq!(parts, ["text/html", "text/plain"]);
        if n > 0 {
            assert_eq!(text(message, "/headers/in-reply-to"), id);
            assert_eq!(text(message, "/headers/references"), id);
            assert!(
                !text(message, "/raw").contains("/i/"),
                "only one holds the link"
            );
        }
    }
    let listed = settled(&admin);
    let kinds: Vec<&str> = listed.iter().map(|mail| text(mail, "/kind")).collect();
    assert_eq!(kinds, ["invite", "failed", "verified"]);
    let shown = cli_json(&service, "operator", &["mail", "list"]);
    assert_eq!(items(&shown).len(), 3, "{shown}");
    for mail in &listed {
        assert_eq!(mail["state"], "sent");
        assert_eq!(text(mail, "/client"), post.client);
        let records = admin.audit(&format!("subject={}", id_of(mail)));
        assert!(
            records.iter().any(|it| it["kind"] == "mail.sent"),
            "{records:#?}"
        );
    }

    // Neither link, password nor words stay anywhere.
    let signed_in = STANDARD.encode(format!("\0{USER}\0{PASSWORD}"));
    let secrets = [&path[3..], PASSWORD, &signed_in, "what you handed in works"];
    let log = fs::read(export(&service, "exported.ndjson")).expect("the export");
    none_in("the audit log", &log, &secrets);
    let metrics = service.status("/metrics").text();
    none_in("the metrics", metrics.as_bytes(), &secrets);
    let home = post.deployment.home();
    if let Backend::Postgres(_) = &post.backend {
        let url = fs::read_to_string(home.join("database-url")).expect("a URL");
        let dump = sql::postgres_dump(&url);
        assert!(dump.contains("ada@client.example"));
        none_in("the database", dump.as_bytes(), &secrets);
        let hex = secrets.map(hex::encode);
        none_in(
            "the database",
            dump.as_bytes(),
            &hex.each_ref().map(String::as_str),
        );
    }
    service.stop();
    for file in fs::read_dir(home.join("data")).expect("files").flatten() {
        let bytes = fs::read(file.path()).unwrap_or_default();
        none_in(&file.path().display().to_string(), &bytes, &secrets);
    }
    let output = service.all_output();
    let debugged = memchr::memmem::find(&output, b"DEBUG request");
    assert!(debugged.is_some(), "it logged everything");
    none_in("the log", &output, &secrets);
}

#[track_caller]
fn none_in(place: &str, bytes: &[u8], secrets: &[&str]) {
    for secret in secrets {
        let found = memchr::memmem::find(bytes, secret.as_bytes());
        assert!(found.is_none(), "{secret} is in {place}");
    }
}
