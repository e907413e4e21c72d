//! What stands in a link, and what clients hand in by it: nowhere but where it belongs, and gone when it
//! was refused.

use std::fs;
use std::path::Path;

use serde_json::{Value, json};

use super::marks::{self, Search};
use super::{look_into_files, memory, nothing_in_memory, places};
use crate::audit::export;
use crate::intake_pages::{SECRET, browser, form, path_of, post, settled};
use crate::support::sql::{postgres_each, sqlite_blobs};
use crate::support::{Admin, Backend, Service, id_of, on_both, text, until};
use crate::verification::force;

on_both!(promise_5_links_codes_and_what_clients_hand_in_stay_where_they_belong);

fn service(backend: &Backend) -> Service {
    let more = [
        "--log",
        "trace",
        "--settle-seconds",
        "0",
        "--stand-in-control",
        "127.0.0.1:0",
    ];
    Service::dev_with(backend, &more)
}

fn invite(admin: &Admin, label: &str, more: &Value) -> Value {
    let mut body = json!({"contact": "ada@example-realty.example", "no_mail": true, "new": {
        "client": "example-realty", "label": label, "kind": "microsoft365",
        "environment": "production", "roles": ["m365-sync"]}});
    for (name, value) in more.as_object().expect("fields") {
        body[name] = value.clone();
    }
    admin.create("/invites", &body)
}

fn token_of(path: &str) -> &str {
    path.strip_prefix("/i/").expect("a link")
}

/// The token of the link in the mail that was written last.
fn mailed_token(service: &Service) -> String {
    until("the mail", 30, || {
        let folder = fs::read_dir(service.home().join("strongroom-dev/mail")).ok()?;
        let mails = folder.flatten().map(|entry| entry.path());
        mails
            .filter_map(|path| fs::read_to_string(path).ok())
            .find_map(|mail| {
                let mail = mail.replace("=\r\n", "").replace("=\n", "");
                let (_, rest) = mail.split_once("/i/")?;
                rest.get(..43).map(str::to_owned)
            })
    })
}

fn promise_5_links_codes_and_what_clients_hand_in_stay_where_they_belong(backend: Backend) {
    let mut service = service(&backend);
    let admin = Admin::of(&service);
    let client = browser(&service);
    admin.client(places::NAME);
    let invited = invite(&admin, "handed in", &json!({}));
    let link = path_of(&service, &invited).to_owned();
    let coded = invite(&admin, "coded", &json!({"code": true}));
    let code = text(&coded, "/code").to_owned();
    let coded_link = path_of(&service, &coded).to_owned();
    invite(&admin, "mailed", &json!({"no_mail": false}));
    let mailed = mailed_token(&service);

    // Refused for its form, refused by the provider, refused for the code, taken.
    let mut seen = Vec::new();
    for body in [
        form(&marks::text(1)).replace("2028-11-20", "2020-11-20"),
        form(&marks::guid(2)),
        format!("{}&unknown={}", form(&marks::text(3)), marks::text(4)),
        form(&marks::text(5)) + "&client_secret=" + &marks::text(6),
    ] {
        let answer = post(&client, &link, &body);
        assert!((400..500).contains(&answer.status), "{}", answer.status);
        seen.push(answer.text());
    }
    post(&client, &link, &form(&marks::text(7))).expect(303);
    seen.push(settled(&client, &link));
    let with_code = |code: &str| format!("{}&code={code}", form(&marks::text(8)));
    seen.push(post(&client, &coded_link, &with_code("AAAAAAAA")).text());
    post(&client, &coded_link, &with_code(&code)).expect(303);
    seen.push(settled(&client, &coded_link));
    client.get(&format!("/i/{mailed}")).expect(200);
    post(&client, &link, &form(SECRET)).expect(303);
    seen.push(settled(&client, &link));
    assert!(seen.last().is_some_and(|page| page.contains("It works")));

    let values = Search::new();
    for page in &seen {
        values.none_in("a page", page.as_bytes());
    }
    let (first, second) = (token_of(&link), token_of(&coded_link));
    let tokens = Search::of(&[first, second, &mailed]);
    let handed_in = Search::of(&[SECRET]);
    let code = Search::exactly(&code);
    if memory::may_look(service.pid()) {
        drop(client);
        // Not the links: the block that is hashed last stays on a stack, which is not hidden.
        nothing_in_memory(&service, &values, "what was handed in");
    }
    let nowhere = |place: &str, bytes: &[u8]| {
        for search in [&values, &tokens, &handed_in, &code] {
            search.none_in(place, bytes);
        }
    };
    nowhere("the metrics", &service.status("/metrics").expect(200).body);
    let log = fs::read(export(&service, "intake.ndjson")).expect("the export");
    assert!(log.len() > 2_000);
    nowhere("the audit log", &log);
    for list in ["/invites", "/submissions?all=true", "/tasks?all=true"] {
        let shown = Value::Array(admin.list(list)).to_string();
        nowhere(list, shown.as_bytes());
    }
    let output = service.all_output();
    assert!(output.len() > 2_000, "it logged");
    nowhere("what it logged", &output);
    let mut looked_at = 0;
    let mut everywhere = |directory: &Path| {
        for search in [&values, &tokens, &handed_in, &code] {
            looked_at += look_into_files(directory, search);
        }
    };
    everywhere(&service.data());
    if let Backend::Postgres(server) = &backend {
        let url = fs::read_to_string(service.home().join("database-url")).expect("a URL");
        postgres_each(&url, &["CHECKPOINT"]);
        everywhere(server.directory());
    }
    service.stop();
    everywhere(&service.data());
    assert!(looked_at > 0, "nothing of the database was found");
    nowhere("what it logged", &service.all_output());
}

#[test]
fn a_value_that_was_refused_is_gone_from_the_file() {
    let service = service(&Backend::Sqlite);
    let admin = Admin::of(&service);
    let client = browser(&service);
    let invited = invite(&admin, "handed in", &json!({}));
    let link = path_of(&service, &invited);
    let file = service.data().join("strongroom.db");
    let sealed = || {
        let mut all = sqlite_blobs(&file, "SELECT payload FROM credential_versions");
        all.extend(sqlite_blobs(&file, "SELECT wrapped FROM dek_wraps"));
        all
    };
    let before = sealed();
    // The provider says nothing for a while, so that the value can be seen.
    force(&service, "token", 50, &json!({"throttled": 3600}));
    post(&client, link, &form(&marks::text(9))).expect(303);
    let submission = until("the submission", 30, || {
        let found = admin.list("/submissions?all=true");
        found.first().map(id_of)
    });
    let new: Vec<Vec<u8>> = sealed()
        .into_iter()
        .filter(|it| !before.contains(it))
        .collect();
    assert_eq!(new.len(), 2, "a value and its wrapped key");
    let stands = |bytes: &[u8]| {
        // The end of a blob: ciphertext and tag, which occur nowhere else.
        let needle = memchr::memmem::Finder::new(&bytes[bytes.len() - 40..]).into_owned();
        let names = ["strongroom.db", "strongroom.db-wal"];
        names.iter().any(|name| {
            let content = fs::read(service.data().join(name)).unwrap_or_default();
            needle.find(&content).is_some()
        })
    };
    assert!(
        new.iter().all(|it| stands(it)),
        "the test would not find it"
    );
    let why = json!({"reason": "it was refused"});
    let close = format!("/submissions/{submission}/close");
    admin.send("POST", &close, &why).expect(200);
    until("the end of it in the file", 30, || {
        let gone = !new.iter().any(|it| stands(it));
        gone.then_some(())
    });
}
