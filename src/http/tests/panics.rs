//! A handler that panics with a value in its hands, in a process of its own that logs as the program
//! does: neither the answers nor what the process prints hold the value.

use std::process::{Command, Stdio};
use std::sync::Arc;

use axum::{Router, body::Body, extract::Path, http::Request, routing::post};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use http_body_util::BodyExt as _;
use tower::ServiceExt as _;

use super::support::CANARY;
use crate::{
    clock::MockClock,
    http::{extract::StrictJson, surround},
    model::Timestamp,
    random::SystemRandom,
    telemetry::{self, LogFormat},
    vault::NewVersion,
};

/// Ways to panic whose message holds what was being handled, or may.
const WAYS: [&str; 7] = [
    "message", "unwrap", "slice", "index", "blocking", "spawned", "assert",
];

/// Says to the inner process which format its log has, or `none`.
const FORMAT: &str = "STRONGROOM_TEST_PANICS";

async fn explode(Path(way): Path<String>, StrictJson(new): StrictJson<NewVersion>) -> String {
    let secret = new.fields.get("value").unwrap();
    let text = std::str::from_utf8(secret.expose_secret())
        .unwrap()
        .to_owned();
    match way.as_str() {
        "message" => panic!("{text}"),
        "unwrap" => text.parse::<u8>().map_err(|_| text).unwrap().to_string(),
        // The standard library repeats the text in its message.
        "slice" => text[text.len() + 1..].to_owned(),
        "index" => usize::from(text.as_bytes()[text.len()]).to_string(),
        "blocking" => tokio::task::spawn_blocking(move || panic!("{text}"))
            .await
            .unwrap(),
        "spawned" => tokio::spawn(async move { panic!("{text}") }).await.unwrap(),
        "assert" => {
            assert_eq!(text, "another");
            text
        }
        _ => "there is no such way".to_owned(),
    }
}

#[test]
#[ignore = "the process that the test below starts"]
fn inner_process() {
    let Ok(format) = std::env::var(FORMAT) else {
        return;
    };
    telemetry::hide_what_panics_say();
    if format != "none" {
        telemetry::init(format.parse::<LogFormat>().unwrap(), "trace").unwrap();
    }
    let router = Router::new().route("/explode/{way}", post(explode));
    let clock = Arc::new(MockClock::at(Timestamp::from_secs(1_800_000_000)));
    let router = surround(router, clock, Arc::new(SystemRandom::new()));
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        for way in WAYS {
            let body = format!(r#"{{"fields":{{"value":"{CANARY}"}}}}"#);
            let request = Request::post(format!("/explode/{way}"))
                .header("content-type", "application/json")
                .body(Body::from(body))
                .unwrap();
            let answer = router.clone().oneshot(request).await.unwrap();
            println!("{way}: {} {:?}", answer.status(), answer.headers());
            let body = answer.into_body().collect().await.unwrap().to_bytes();
            println!("{}", String::from_utf8_lossy(&body));
        }
    });
}

#[test]
fn a_panic_with_a_value_in_hand_shows_nothing_of_it() {
    for format in ["text", "json", "none"] {
        let mut inner = Command::new(std::env::current_exe().unwrap());
        inner.args(["--exact", "http::tests::panics::inner_process"]);
        inner.args(["--ignored", "--nocapture", "--test-threads=1"]);
        inner.env(FORMAT, format).env("RUST_BACKTRACE", "full");
        let output = inner.stdin(Stdio::null()).output().unwrap();
        let said = [output.stdout, output.stderr].concat();
        let said = String::from_utf8(said).unwrap();
        assert!(output.status.success(), "{said}");
        let count = |text: &str| said.matches(text).count();
        assert_eq!(count("500 Internal Server Error"), WAYS.len(), "{said}");
        // A task that panics takes the handler with it, so that there are two.
        assert_eq!(
            count("a part of the program panicked"),
            WAYS.len() + 2,
            "{said}"
        );
        for hidden in [CANARY.to_owned(), STANDARD.encode(CANARY)] {
            assert!(!said.contains(&hidden), "{said}");
        }
        assert!(!said.contains(&CANARY[..8]), "{said}");
    }
}
