//! Whatever a mail server does wrong, nothing is lost, nothing goes out without TLS, and the operator
//! sees it.

use serde_json::{Value, json};

use super::{Post, settled};
use crate::support::cli::cli_json;
use crate::support::{Admin, Backend, Service, id_of, items, on_both, text, until};

on_both!(
    nothing_is_lost_and_the_operator_sees_it,
    nothing_is_sent_without_tls_or_sign_in,
);

/// What a server does to a mail, and where the mail stands then.
const FAULTS: &[(&str, &str, &str, &str, &str)] = &[
    ("rcpt-later", "rcpt", "450 4.2.1 later", "due", "recipient"),
    ("begin-later", "begin", "451 4.3.0 later", "due", "message"),
    (
        "message-later",
        "message",
        "452 4.3.1 full",
        "due",
        "message",
    ),
    (
        "rcpt-never",
        "rcpt",
        "550 5.1.1 nobody",
        "failed",
        "recipient",
    ),
    ("begin-never", "begin", "554 5.5.1 no", "failed", "message"),
    (
        "message-never",
        "message",
        "554 5.7.1 spam",
        "failed",
        "message",
    ),
    ("cut", "message", "cut", "unknown", "broken-off"),
    ("lost", "message", "lost", "unknown", "broken-off"),
    ("lost-again", "message", "lost", "unknown", "broken-off"),
];

fn address(name: &str) -> String {
    format!("{name}@client.example")
}

fn mail_to(admin: &Admin, name: &str) -> String {
    id_of(&admin.create("/mails", &json!({"to": address(name)})))
}

/// The mail to an address.
fn of<'a>(mails: &'a [Value], name: &str) -> &'a Value {
    let mail = mails.iter().find(|mail| mail["address"] == address(name));
    mail.unwrap_or_else(|| panic!("no mail to {name}"))
}

fn nothing_is_lost_and_the_operator_sees_it(backend: Backend) {
    let (post, mut service) = Post::new(backend, &[]);
    let behave = |which: &[&str]| {
        let mut to = json!({"silent@client.example": {"message": "silent"}});
        for (name, step, answer, ..) in FAULTS {
            if which.is_empty() || which.contains(name) {
                to[address(name)] = json!({*step: answer});
            }
        }
        post.server.behave(&json!({"to": to}));
    };
    behave(&[]);
    let admin = Admin::of(&service);
    for (name, ..) in FAULTS {
        mail_to(&admin, name);
    }
    mail_to(&admin, "good");
    let mails = settled(&admin);
    for (name, _, _, state, fault) in FAULTS {
        let mail = of(&mails, name);
        assert_eq!(text(mail, "/state"), *state, "{mail:#}");
        assert_eq!(text(mail, "/fault"), *fault, "{mail:#}");
        assert_eq!(mail["tries"], 1);
        // It is tried again unless it was refused for good.
        assert_eq!(mail["due_at"].is_null(), *state == "failed", "{mail:#}");
        assert_eq!(mail["ended_at"].is_null(), *state != "failed", "{mail:#}");
        let arrived = post.server.messages_to(&address(name)).len();
        assert_eq!(arrived, usize::from(name.starts_with("lost")), "{name}");
    }
    assert_eq!(of(&mails, "good")["state"], "sent");
    let unknown = cli_json(
        &service,
        "operator",
        &["mail", "list", "--state", "unknown"],
    );
    assert_eq!(items(&unknown).len(), 3, "{unknown}");
    given_up(&admin, &mails, 3);

    // The server took one and says nothing, when the service ends.
    let silent = mail_to(&admin, "silent");
    until("a message that is not answered", 30, || {
        (!post.server.messages_to(&address("silent")).is_empty()).then_some(())
    });
    assert_eq!(admin.get(&format!("/mails/{silent}"))["state"], "sending");
    service.kill();
    service.start();
    let admin = Admin::of(&service);
    let mail = of(&settled(&admin), "silent").clone();
    assert_eq!(
        (text(&mail, "/state"), text(&mail, "/fault")),
        ("unknown", "interrupted")
    );

    // The server is mended, but for one; the waits are over.
    post.server
        .behave(&json!({"to": {address("lost-again"): {"message": "lost"}}}));
    post.meanwhile("due_at = 1");
    let all = until("what waited", 60, || {
        let mails = settled(&admin);
        let waits = mails.iter().any(|mail| !mail["due_at"].is_null());
        (!waits).then_some(mails)
    });
    for (name, _, _, state, _) in FAULTS.iter().chain(&[("silent", "", "", "unknown", "")]) {
        let mail = of(&all, name);
        let wanted = match (*name, *state) {
            (_, "failed") => "failed",
            ("lost-again", _) => "unknown",
            _ => "sent",
        };
        assert_eq!(text(mail, "/state"), wanted, "{mail:#}");
        let arrived = post.server.messages_to(&address(name));
        let twice = ["lost", "lost-again", "silent"].contains(name);
        let count = if wanted == "failed" {
            0
        } else {
            1 + usize::from(twice)
        };
        assert_eq!(arrived.len(), count, "{name}");
        // A mail program can tell that both are one: they are the same to the byte.
        for message in &arrived {
            let id = format!("<{}@company.example>", id_of(mail));
            assert_eq!(text(message, "/headers/message-id"), id);
            assert_eq!(message["raw"], arrived[0]["raw"]);
        }
    }
    let records = admin.audit(&format!("subject={}", id_of(of(&all, "lost-again"))));
    let unknown = records.iter().filter(|it| it["kind"] == "mail.unknown");
    assert_eq!(unknown.count(), 2, "{records:#?}");

    // What nobody takes for days is given up, and somebody is told.
    post.server
        .behave(&json!({"to": {address("slow"): {"rcpt": "450 4.2.1 later"}}}));
    let slow = mail_to(&admin, "slow");
    settled(&admin);
    post.meanwhile("due_at = 1, created_at = 1");
    let slow = until("the end of it", 30, || {
        let mail = admin.get(&format!("/mails/{slow}"));
        (mail["state"] == "failed").then_some(mail)
    });
    assert_eq!(slow["fault"], "too-old");
    given_up(&admin, &admin.list("/mails"), 4);
    metrics_tell(&service);
}

/// There is a task for each mail that failed, and no other.
fn given_up(admin: &Admin, mails: &[Value], count: usize) {
    let mut tasks: Vec<String> = Vec::new();
    for task in admin.list("/tasks") {
        assert_eq!(task["kind"], "mail-failed", "{task:#}");
        tasks.push(text(&task, "/subject").to_owned());
    }
    let failed = mails.iter().filter(|mail| mail["state"] == "failed");
    let mut failed: Vec<String> = failed.map(id_of).collect();
    tasks.sort();
    failed.sort();
    assert_eq!(tasks, failed);
    assert_eq!(failed.len(), count);
}

fn metrics_tell(service: &Service) {
    let metrics = service.status("/metrics").text();
    for outcome in ["sent", "later", "failed", "unknown"] {
        let line = format!("strongroom_mails_total{{outcome=\"{outcome}\"}}");
        assert!(metrics.contains(&line), "{line}");
    }
}

fn nothing_is_sent_without_tls_or_sign_in(backend: Backend) {
    let (post, service) = Post::new(backend, &[]);
    let admin = Admin::of(&service);
    let wrong = [
        ("no-tls", json!({"starttls": false}), "tls"),
        ("certificate", json!({"certificate": "other"}), "tls"),
        ("password", json!({"password": "another"}), "sign-in"),
    ];
    for (name, control, fault) in &wrong {
        post.server.behave(control);
        let mail = mail_to(&admin, name);
        let mail = until("an attempt", 30, || {
            let mail = admin.get(&format!("/mails/{mail}"));
            (mail["state"] == "due" && mail["tries"] == 1).then_some(mail)
        });
        assert_eq!(text(&mail, "/fault"), *fault, "{mail:#}");
    }
    assert!(post.server.messages().is_empty());
    post.server.behave(&json!({}));
    post.meanwhile("due_at = 1");
    until("all of them", 60, || {
        let mails = admin.list("/mails");
        mails
            .iter()
            .all(|mail| mail["state"] == "sent")
            .then_some(())
    });
    assert_eq!(post.server.messages().len(), wrong.len());
    // What somebody says before TLS is not taken for what the server says afterwards; and the older way
    // to sign in does as well.
    let other = json!({"ahead": true, "without": ["PLAIN"]});
    post.server.behave(&other);
    let mail = mail_to(&admin, "ahead");
    until("one more", 30, || {
        let mail = admin.get(&format!("/mails/{mail}"));
        assert!(mail["fault"].is_null(), "{mail:#}");
        (mail["state"] == "sent").then_some(())
    });
    // Without TLS, even a server that would have taken a password was only greeted.
    let heard = post.server.heard_without_tls();
    assert!(heard.contains("STARTTLS"), "{heard}");
    for line in heard.lines() {
        assert!(["EHLO [127.0.0.1]", "STARTTLS"].contains(&line), "{line}");
    }
}
