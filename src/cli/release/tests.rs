use std::sync::atomic::{AtomicUsize, Ordering};

use axum::{
    Json, Router,
    body::{Body, Bytes},
    http::{HeaderMap, StatusCode},
    response::{IntoResponse, Response},
    routing::get,
};
use clap::Parser;
use serde_json::json;

use super::{testing::FakeLog, *};
use crate::{
    cli::{table::Format, testing::Fake},
    clock::MockClock,
};

const ID: &str = "cred_01kaqz3m8v7d6k2n4p9r5s1t0a";

#[derive(Parser)]
struct Flags {
    #[command(flatten)]
    release: ReleaseArguments,
}

/// What the server does at each request, in this order.
#[derive(Clone, Copy, Debug)]
enum Then {
    Releases,
    Answers(u16),
    BreaksOff,
}

async fn server(script: &'static [Then]) -> Session {
    let log = FakeLog::new("main");
    let (header, asked) = (log.header(), Arc::new(AtomicUsize::new(0)));
    let answer = get(move |headers: HeaderMap| async move {
        let then = script[asked.fetch_add(1, Ordering::SeqCst)];
        let head = [
            ("strongroom-checkpoint", header),
            ("etag", "W/\"one\"".to_owned()),
        ];
        match then {
            Then::Releases if headers.contains_key("if-none-match") => {
                (StatusCode::NOT_MODIFIED, head).into_response()
            }
            Then::Releases => {
                let entry = json!({"id": ID, "client": {"slug": "example"}, "version": 1,
                                   "fields": {"value": "hunter2"}});
                let document = json!({"credentials": [entry], "failed": []});
                (head, Json(document)).into_response()
            }
            Then::Answers(status) => StatusCode::from_u16(status).unwrap().into_response(),
            Then::BreaksOff => {
                let pieces = [
                    Ok(Bytes::from_static(b"{\"credentials\":[")),
                    Err(std::io::Error::other("gone")),
                ];
                Response::new(Body::from_stream(futures_util::stream::iter(pieces)))
            }
        }
    });
    let router = Router::new()
        .route("/api/v1/release", answer)
        .merge(log.routes());
    Fake::start(router).await.session(Format::Table).0
}

struct Place {
    directory: tempfile::TempDir,
    clock: MockClock,
}

impl Place {
    fn new() -> Self {
        Self {
            directory: tempfile::tempdir().unwrap(),
            clock: MockClock::at(Timestamp::from_secs(1_800_000_000)),
        }
    }

    fn copy(&self) -> PathBuf {
        self.directory.path().join("copy")
    }

    /// Asks as `exec` does, and keeps what came.
    async fn obtain(&self, session: &Session) -> Result<Origin, CliError> {
        let path = |name| self.directory.path().join(name).display().to_string();
        let flags = [
            "x".to_owned(),
            "--cache".to_owned(),
            path("copy"),
            "--cache-identity".to_owned(),
            path("identity"),
            "--cache-ask-after=1h".to_owned(),
            "--cache-never-after=10h".to_owned(),
        ];
        let arguments = Flags::try_parse_from(flags).ok().unwrap().release;
        let ask = Ask::All {
            client: None,
            kind: None,
        };
        let nothing = Environment::new();
        let mut pipeline = Pipeline::begin(ask, &arguments, None, session, &nothing)?;
        let reply = pipeline
            .obtain(&session.api, None, true, &self.clock)
            .await?;
        let Reply::Obtained(obtained) = reply else {
            return Err(unusable());
        };
        let value = &obtained.document.entries[0].whole.0["fields"]["value"];
        assert_eq!(value, "hunter2");
        pipeline.keep(&obtained, self.clock.now())?;
        Ok(obtained.origin)
    }
}

const HOUR: i64 = 3600;

#[tokio::test]
async fn a_copy_stands_in_between_its_two_limits() {
    let session = server(&[
        Then::Releases,
        Then::Answers(503),
        Then::Releases,
        Then::Answers(502),
        Then::Answers(503),
        Then::Releases,
    ])
    .await;
    let place = Place::new();
    let is_copy = |origin: &Origin, asked: bool| matches!(origin, Origin::Copy { outage, .. } if outage.is_some() == asked);
    let first = place.obtain(&session).await.unwrap();
    assert!(matches!(first, Origin::Server));
    place.clock.advance(HOUR - 1);
    assert!(is_copy(&place.obtain(&session).await.unwrap(), false));
    place.clock.advance(1);
    assert!(is_copy(&place.obtain(&session).await.unwrap(), true));
    // The server confirms it, which makes it new.
    let confirmed = place.obtain(&session).await.unwrap();
    assert!(matches!(confirmed, Origin::Confirmed));
    place.clock.advance(10 * HOUR - 1);
    assert!(is_copy(&place.obtain(&session).await.unwrap(), true));
    place.clock.advance(1);
    let error = place.obtain(&session).await.err().unwrap();
    assert!(error.to_string().contains("not used any more"), "{error}");
    assert_eq!(error.exit_code(), 1);
    place.obtain(&session).await.unwrap();
}

#[tokio::test]
async fn a_no_is_no_outage() {
    for (status, stays) in [
        (400, true),
        (401, false),
        (403, true),
        (404, false),
        (429, true),
    ] {
        let script: &'static [Then] = Box::leak(Box::new([Then::Releases, Then::Answers(status)]));
        let session = server(script).await;
        let place = Place::new();
        place.obtain(&session).await.unwrap();
        place.clock.advance(HOUR);
        let error = place.obtain(&session).await.err().unwrap();
        assert_eq!(error.exit_code(), 2, "{status}");
        assert_eq!(place.copy().exists(), stays, "{status}");
    }
}

#[tokio::test]
async fn an_answer_that_breaks_off_is_asked_for_again() {
    let session = server(&[
        Then::BreaksOff,
        Then::Releases,
        Then::BreaksOff,
        Then::BreaksOff,
        Then::BreaksOff,
        Then::Answers(401),
        Then::Releases,
    ])
    .await;
    let place = Place::new();
    place.obtain(&session).await.unwrap();
    // Twice is no outage: it can be that the caller may not have the rest.
    place.clock.advance(HOUR);
    let error = place.obtain(&session).await.err().unwrap();
    assert!(matches!(error, CliError::BrokenOff(_)), "{error}");
    let error = place.obtain(&session).await.err().unwrap();
    assert_eq!(error.exit_code(), 2);
    assert!(!place.copy().exists());
    // A copy that was changed is replaced when the server can be asked.
    std::fs::write(place.copy(), "nonsense").unwrap();
    let origin = place.obtain(&session).await.unwrap();
    assert!(matches!(origin, Origin::Server));
}

#[tokio::test]
async fn nobody_there_is_an_outage_and_a_stranger_is_none() {
    let session = server(&[Then::Releases]).await;
    let place = Place::new();
    place.obtain(&session).await.unwrap();
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let nowhere = format!(
        "https://localhost:{}",
        listener.local_addr().unwrap().port()
    );
    drop(listener);
    let gone = crate::cli::testing::session_at(&nowhere);
    let error = gone.api.get(&["whoami"], &[]).await.err().unwrap();
    assert!(error.is_outage(), "{error}");
    // The same place, but not the server's authority.
    let stranger = crate::cli::testing::session_at(&session.api.origin());
    let error = stranger.api.get(&["whoami"], &[]).await.err().unwrap();
    assert!(!error.is_outage(), "{error}");
}
