//! The service calls out: whoever answers there leads it nowhere else, learns nothing that is not for
//! them, and takes neither its memory nor its time.

use std::convert::Infallible;
use std::net::TcpListener;
use std::sync::Mutex;
use std::time::Duration;

use axum::Router;
use axum::body::{Body as Answered, Bytes};
use axum::extract::Request;
use axum::response::{IntoResponse as _, Response};
use futures_util::stream;
use reqwest::Method;

use super::*;
use crate::providers::outbound::{Body, Call, Unanswered};
use crate::secret::Secret;
use crate::standin::{Answer, Forced, Place, impostor};

/// Notices who connects.
struct Trap(TcpListener);

impl Trap {
    fn new() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        Self(listener)
    }

    fn at(&self) -> std::net::SocketAddr {
        self.0.local_addr().unwrap()
    }

    async fn nobody_came(&self) {
        tokio::time::sleep(Duration::from_millis(50)).await;
        let came = self.0.accept().map(|_| ()).map_err(|error| error.kind());
        assert_eq!(came, Err(std::io::ErrorKind::WouldBlock), "it was called");
    }
}

#[tokio::test]
async fn row_42_a_redirect_leads_nowhere() {
    let bench = Bench::new().await;
    let trap = Trap::new();
    let mut tried = 0;
    for at in [Place::Discovery, Place::Token, Place::Graph, Place::Ews] {
        for status in [301, 302, 303, 307, 308] {
            for scheme in ["http", "https"] {
                let location = format!("{scheme}://{}/latest/meta-data", trap.at());
                let headers = vec![("location".to_owned(), location)];
                bench.set(|world| {
                    world.forced.push(Forced {
                        at,
                        times: 100,
                        answer: Answer::Raw(status, headers, String::new()),
                    });
                });
                let (verdict, _) = bench.verify(&by_secret(), &ProbePolicy::default()).await;
                let blamed = matches!(verdict.outcome, Outcome::Failed(_));
                assert!(!blamed, "{at:?} {status}: {:?}", verdict.outcome);
                tried += 1;
            }
        }
    }
    assert_eq!(tried, 40);
    trap.nobody_came().await;
}

/// One call to somebody who answers so.
async fn call_to(
    router: Router,
    bearer: Option<&Secret>,
    body: Body,
    within: Duration,
) -> Result<(u16, Vec<u8>), Unanswered> {
    let (address, ca, _stop) = impostor(router, &SystemClock, &SystemRandom::new()).await;
    let hosts = Hosts::stand_in(Cloud::Global, &format!("https://{address}")).unwrap();
    let outbound = Outbound::new(hosts, Some(ca.as_bytes())).unwrap();
    let call = Call {
        method: Method::POST,
        url: outbound.hosts().url(Endpoint::Graph, &["v1.0"]),
        bearer,
        headers: &[],
        body,
    };
    let reply = outbound.call(call, within).await?;
    Ok((reply.status, reply.body().to_vec()))
}

/// Asks for nothing, with enough time on a loaded machine.
async fn ask(router: Router) -> Result<Vec<u8>, Unanswered> {
    let answered = call_to(router, None, Body::None, Duration::from_secs(20)).await?;
    Ok(answered.1)
}

#[tokio::test]
async fn row_42_cve_2026_4525_nothing_goes_out_but_what_is_for_them() {
    let seen: Arc<Mutex<Vec<(String, String)>>> = Arc::default();
    let told = Arc::clone(&seen);
    let router = Router::new().fallback(async move |request: Request| {
        let headers = request.headers().iter();
        let mut seen = told.lock().unwrap();
        seen.extend(
            headers
                .map(|(name, value)| (name.to_string(), value.to_str().unwrap_or("?").to_owned())),
        );
    });
    let token = Secret::new(b"token-of-the-provider".to_vec());
    let body = Body::Json(Secret::new(b"{}".to_vec()));
    let answered = call_to(router, Some(&token), body, Duration::from_secs(20)).await;
    assert_eq!(answered.unwrap().0, 200);
    let seen = seen.lock().unwrap().clone();
    let known = [
        "accept",
        "accept-encoding",
        "authorization",
        "content-length",
        "content-type",
        "host",
        "user-agent",
    ];
    for (name, _) in &seen {
        assert!(known.contains(&name.as_str()), "{seen:?}");
    }
    let value = |name: &str| {
        let found = seen.iter().find(|(it, _)| it == name);
        found.map(|(_, value)| value.as_str())
    };
    assert_eq!(value("authorization"), Some("Bearer token-of-the-provider"));
    assert_eq!(value("accept-encoding"), Some("identity"));
    assert!(value("user-agent").unwrap().starts_with("strongroom/"));
}

#[tokio::test]
async fn row_42_an_answer_without_end_is_read_up_to_a_limit() {
    let endless = || {
        let piece = Bytes::from(vec![b' '; 16 * 1024]);
        let pieces = stream::repeat_with(move || Ok::<_, Infallible>(piece.clone()));
        Response::new(Answered::from_stream(pieces))
    };
    let router = Router::new().fallback(async move || endless());
    assert_eq!(ask(router).await, Err(Unanswered::TooLarge));
    // The largest that is read, and one byte more.
    for (size, fits) in [(256 * 1024, true), (256 * 1024 + 1, false)] {
        let router = Router::new().fallback(async move || vec![b'x'; size].into_response());
        assert_eq!(ask(router).await.is_ok(), fits, "{size}");
    }
}

#[tokio::test]
async fn row_42_nothing_is_unpacked() {
    // What `printf '[]' | gzip -n` makes.
    let packed = hex::decode("1f8b08000000000000038b8e050029bb4c0d02000000").unwrap();
    for encoding in ["gzip", "deflate", "br", "zstd"] {
        let body = packed.clone();
        let router = Router::new()
            .fallback(async move || ([("content-encoding", encoding)], body).into_response());
        assert_eq!(ask(router).await.as_ref(), Ok(&packed), "{encoding}");
    }
}

#[tokio::test]
async fn row_42_an_answer_in_drops_takes_no_longer_than_there_is_time() {
    let drops = || {
        let drops = stream::unfold((), |()| async {
            tokio::time::sleep(Duration::from_millis(20)).await;
            Some((Ok::<_, Infallible>(Bytes::from_static(b" ")), ()))
        });
        Response::new(Answered::from_stream(drops))
    };
    let router = Router::new().fallback(async move || drops());
    let answered = call_to(router, None, Body::None, Duration::from_secs(1)).await;
    assert_eq!(answered, Err(Unanswered::TimedOut));
}
