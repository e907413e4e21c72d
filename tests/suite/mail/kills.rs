//! kill -9 while mails are on their way: each arrives once, or somebody is told that nobody knows, and
//! then it arrives at most twice as one.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use serde_json::json;

use super::{Post, invite};
use crate::crash::seed::Numbers;
use crate::support::figures::note;
use crate::support::{Admin, Backend, on_both, text, until};

on_both!(promise_8_each_mail_arrives_once_or_is_said_to_be_unknown);

/// Of the kills; named when a check fails.
const SEED: u64 = 20_261_125;
const MAILS: usize = 30;
/// How many mails have arrived when the service is killed, about.
const KILLS: [u64; 4] = [2, 9, 16, 23];

fn promise_8_each_mail_arrives_once_or_is_said_to_be_unknown(backend: Backend) {
    let (post, mut service) = Post::new(backend, &[]);
    // Long enough that a kill finds some in the server's hands.
    post.server.behave(&json!({"slow": 0.1}));
    let admin = Admin::of(&service);
    let invited: Vec<String> = (0..MAILS)
        .map(|n| text(&invite(&admin, &format!("access {n}")), "/mail").to_owned())
        .collect();
    let mut random = Numbers(SEED);
    for kill in KILLS {
        let (count, delay) = (kill + random.below(4), random.below(150_000));
        eprintln!("seed {SEED}: killed {delay} µs after {count} have arrived");
        let end = Instant::now() + Duration::from_secs(30);
        while arrivals(&post).len() < usize::try_from(count).expect("a count") {
            assert!(Instant::now() < end, "mails do not go out");
            std::thread::sleep(Duration::from_millis(2));
        }
        std::thread::sleep(Duration::from_micros(delay));
        service.kill();
        service.start();
        // Those of which nobody knows would wait for minutes.
        post.meanwhile("due_at = 1");
    }
    let admin = Admin::of(&service);
    let mails = until("the rest", 60, || {
        post.meanwhile("due_at = 1");
        let mails = admin.list("/mails");
        let ended = mails.iter().all(|mail| !mail["ended_at"].is_null());
        ended.then_some(mails)
    });
    let arrived = arrivals(&post);
    let (mut twice, mut unknown) = (0, 0);
    assert_eq!(mails.len(), MAILS);
    for mail in &mails {
        let id = text(mail, "/id");
        assert!(invited.iter().any(|it| it == id));
        let copies = arrived.get(&format!("<{id}@company.example>"));
        let copies = copies.map_or(&[][..], Vec::as_slice);
        assert!(copies.iter().all(|raw| raw == &copies[0]), "{mail:#}");
        let least = match mail["unknowns"].as_i64().expect("a count") {
            0 => 1..=1,
            1 => 1..=2,
            // Both times a kill came when it was about to be handed over.
            _ => 0..=2,
        };
        assert!(
            least.contains(&copies.len()),
            "{} came: {mail:#}",
            copies.len()
        );
        if mail["unknowns"] != 0 {
            unknown += 1;
            let records = admin.audit(&format!("subject={id}&kind=mail.unknown"));
            assert!(!records.is_empty(), "{mail:#}");
        }
        twice += usize::from(copies.len() == 2);
        assert!(
            ["sent", "unknown"].contains(&text(mail, "/state")),
            "{mail:#}"
        );
    }
    assert!(unknown > 0, "no kill came while a mail was handed over");
    assert!(admin.list("/tasks").is_empty());
    note(
        "mails sent while the service was killed again and again",
        MAILS,
    );
    note("mails of which a kill left nobody knowing", unknown);
    note("mails that a kill had delivered twice, as one", twice);
}

/// What has arrived, by Message-ID.
fn arrivals(post: &Post) -> BTreeMap<String, Vec<String>> {
    let mut all: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for message in post.server.messages() {
        let id = text(&message, "/headers/message-id").to_owned();
        all.entry(id)
            .or_default()
            .push(text(&message, "/raw").to_owned());
    }
    all
}
