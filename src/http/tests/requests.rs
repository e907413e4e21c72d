//! Requests: what is refused, how, and that nothing received comes back.

use std::sync::Arc;

use axum::{body::Body, http::Request};
use http_body_util::BodyExt as _;
use tower::ServiceExt as _;

use super::support::{CANARY, Reply, Running, request, router, start};
use crate::http::{
    problem::{Problem, ProblemCode},
    server::Limits,
    status::{self, Metrics, Part, Readiness},
    surround,
};

const JSON: &str = "content-type: application/json";

/// Checks what holds for every answer with an error, and reads it.
fn problem(reply: &Reply, code: ProblemCode) -> Problem {
    assert!(!reply.head.contains(CANARY), "{}", reply.head);
    assert!(!reply.body.contains(CANARY), "{}", reply.body);
    assert_eq!(reply.status, code.status().as_u16(), "{}", reply.body);
    assert_eq!(
        reply.header("content-type"),
        Some("application/problem+json")
    );
    assert_common(reply);
    let problem: Problem = serde_json::from_str(&reply.body).unwrap();
    assert_eq!(problem.code(), Some(code));
    assert_eq!(problem.status, reply.status);
    assert_eq!(
        problem.request_id.as_ref().unwrap().to_string(),
        reply.header("strongroom-request-id").unwrap()
    );
    problem
}

fn assert_common(reply: &Reply) {
    assert_eq!(reply.header("cache-control"), Some("no-store"));
    assert_eq!(reply.header("x-content-type-options"), Some("nosniff"));
    assert!(
        reply
            .header("strongroom-request-id")
            .unwrap()
            .starts_with("req_")
    );
    assert_eq!(reply.header("server"), None);
}

async fn running() -> Running {
    start(Limits::default()).await
}

#[tokio::test]
async fn good_answers_have_the_common_headers() {
    let running = running().await;
    let reply = running.ask(&request("GET /who", &[], "")).await;
    assert_eq!(reply.status, 200);
    assert_common(&reply);
    assert!(
        reply
            .body
            .contains(reply.header("strongroom-request-id").unwrap())
    );
    let reply = running.ask(&request("HEAD /who", &[], "")).await;
    assert_eq!(reply.status, 200);
    assert_common(&reply);
}

#[tokio::test]
async fn unknown_paths_and_methods_get_the_same_answers_everywhere() {
    let running = running().await;
    for path in [
        CANARY,
        "",
        "who/",
        "who/..",
        "%77ho",
        "/who",
        "who%2f",
        "who;a",
        "clients/x",
        "*",
    ] {
        let reply = running
            .ask(&request(&format!("GET /{path}"), &[], ""))
            .await;
        problem(&reply, ProblemCode::NotFound);
    }
    let reply = running
        .ask(&request(&format!("GET /clients/{CANARY}"), &[], ""))
        .await;
    problem(&reply, ProblemCode::NotFound);
    let reply = running.ask(&request("POST /who", &[], "{}")).await;
    problem(&reply, ProblemCode::MethodNotAllowed);
    assert_eq!(reply.header("allow"), Some("GET,HEAD"));
    for method in ["TRACE", "OPTIONS", "BREW"] {
        let reply = running
            .ask(&request(&format!("{method} /deposit"), &[], ""))
            .await;
        problem(&reply, ProblemCode::MethodNotAllowed);
        assert_eq!(reply.header("allow"), Some("POST"));
    }
}

#[tokio::test]
async fn a_panic_is_a_500_that_says_nothing() {
    let running = running().await;
    let reply = running.ask(&request("GET /explode", &[], "")).await;
    problem(&reply, ProblemCode::Internal);
    let reply = running.ask(&request("GET /who", &[], "")).await;
    assert_eq!(reply.status, 200);
}

#[tokio::test]
async fn oversize_headers_are_refused() {
    let running = running().await;
    let long = format!("x-long: {}", "a".repeat(40_000));
    let reply = running.ask(&request("GET /who", &[&long], "")).await;
    assert_eq!(reply.status, 431);
    let lines: Vec<String> = (0..100).map(|n| format!("x-{n}: 1")).collect();
    let lines: Vec<&str> = lines.iter().map(String::as_str).collect();
    let reply = running.ask(&request("GET /who", &lines, "")).await;
    assert_eq!(reply.status, 431);
}

#[tokio::test]
async fn oversize_bodies_are_refused_announced_or_not() {
    let running = running().await;
    let long = format!(r#"{{"name":"{}","count":1}}"#, "a".repeat(300_000));
    let reply = running.ask(&request("POST /deposit", &[JSON], &long)).await;
    problem(&reply, ProblemCode::TooLarge);
    // Only announced: the answer comes without the body.
    let announced = request("POST /deposit", &[JSON, "content-length: 99999999"], "");
    problem(&running.ask(&announced).await, ProblemCode::TooLarge);
    let mut chunked = request("POST /deposit", &[JSON, "transfer-encoding: chunked"], "");
    for _ in 0..40 {
        chunked.push_str(&format!("2710\r\n{}\r\n", " ".repeat(10_000)));
    }
    chunked.push_str("0\r\n\r\n");
    problem(&running.ask(&chunked).await, ProblemCode::TooLarge);
}

#[tokio::test]
async fn bodies_are_read_strictly_and_never_quoted() {
    let running = running().await;
    let good = request("POST /deposit", &[JSON], r#"{"name":"abc","count":7}"#);
    assert_eq!(running.ask(&good).await.body, "3 7");

    let deep = format!("{}{}", "[".repeat(200), "]".repeat(200));
    let c = CANARY;
    for body in [
        deep,
        format!(r#"{{"name":"{c}"#),
        c.to_owned(),
        format!(r#"{{"name":"a","name":"{c}","count":1}}"#),
    ] {
        let reply = running.ask(&request("POST /deposit", &[JSON], &body)).await;
        problem(&reply, ProblemCode::Malformed);
    }
    for (body, field) in [
        (format!(r#"{{"name":"a","count":1,"{c}":1}}"#), "(body)"),
        (format!(r#"{{"name":"a","count":"{c}"}}"#), "count"),
        (format!(r#"{{"name":["{c}"],"count":1}}"#), "name"),
        (r#"{"name":"a"}"#.to_owned(), "count"),
        (format!(r#"["{c}"]"#), "(body)"),
    ] {
        let reply = running.ask(&request("POST /deposit", &[JSON], &body)).await;
        let problem = problem(&reply, ProblemCode::Invalid);
        assert_eq!(problem.errors.len(), 1);
        assert_eq!(problem.errors[0].field, field);
    }
    let media_type = format!("content-type: text/{c}");
    for headers in [
        &[] as &[&str],
        &[&media_type],
        &[JSON, "content-encoding: gzip"],
    ] {
        let reply = running.ask(&request("POST /deposit", headers, "{}")).await;
        problem(&reply, ProblemCode::UnsupportedMediaType);
    }
}

#[tokio::test]
async fn pages_and_revisions_are_read_strictly() {
    let running = running().await;
    for (query, expected) in [
        ("", "100 None"),
        ("?limit=500&cursor=aB-_9", "500 Some(\"aB-_9\")"),
    ] {
        let reply = running
            .ask(&request(&format!("GET /page{query}"), &[], ""))
            .await;
        assert_eq!(reply.body, expected);
    }
    for query in [
        "limit=0",
        "limit=501",
        "limit=-1",
        "limit=1e2",
        "limit=",
        "limit=1&limit=2",
        "cursor=",
        "cursor=%00",
        "more=1",
        "limit=Kanarienvogel-7Q",
        "Kanarienvogel-7Q=1",
        "LIMIT=1",
    ] {
        let reply = running
            .ask(&request(&format!("GET /page?{query}"), &[], ""))
            .await;
        let problem = problem(&reply, ProblemCode::Malformed);
        assert_eq!(problem.errors.len(), 1, "{query}");
    }
    let change = |headers: &[&str]| request("POST /change", headers, "");
    assert_eq!(running.ask(&change(&["if-match: \"12\""])).await.body, "12");
    problem(
        &running.ask(&change(&[])).await,
        ProblemCode::PreconditionRequired,
    );
    for value in ["*", "W/\"1\"", "\"1\", \"2\"", "1", "\"Kanarienvogel-7Q\""] {
        let reply = running.ask(&change(&[&format!("if-match: {value}")])).await;
        problem(&reply, ProblemCode::Malformed);
    }
    let reply = running
        .ask(&change(&["if-match: \"1\"", "if-match: \"2\""]))
        .await;
    problem(&reply, ProblemCode::Malformed);
}

struct Parts(bool);

impl Readiness for Parts {
    fn parts(&self) -> Vec<Part> {
        vec![
            Part {
                name: "store",
                ready: true,
                detail: "open",
            },
            Part {
                name: "audit",
                ready: self.0,
                detail: "no-writer",
            },
        ]
    }
}

#[tokio::test]
async fn status_says_what_is_not_ready_and_counts_requests() {
    let metrics = Metrics::install().unwrap();
    let again = Metrics::install().unwrap();
    let ask = async |router: axum::Router, path: &str| {
        let request = Request::get(path).body(Body::empty()).unwrap();
        let response = router.oneshot(request).await.unwrap();
        let status = response.status().as_u16();
        let body = response.into_body().collect().await.unwrap().to_bytes();
        (status, String::from_utf8(body.to_vec()).unwrap())
    };
    let status = |ready| {
        surround(
            status::router(Arc::new(Parts(ready)), metrics.clone()),
            Arc::new(crate::clock::SystemClock),
            Arc::new(crate::random::SystemRandom::new()),
        )
    };
    assert_eq!(ask(status(true), "/healthz").await, (200, "ok\n".into()));
    let (code, body) = ask(status(true), "/readyz").await;
    assert_eq!(code, 200, "{body}");
    let (code, body) = ask(status(false), "/readyz").await;
    assert_eq!(code, 503);
    assert_eq!(
        body,
        r#"{"ready":false,"parts":[{"name":"store","ready":true,"detail":"open"},{"name":"audit","ready":false,"detail":"no-writer"}]}"#
    );

    let app = router();
    assert_eq!(ask(app.clone(), &format!("/{CANARY}")).await.0, 404);
    assert_eq!(ask(app.clone(), &format!("/clients/{CANARY}")).await.0, 404);
    let (code, text) = ask(status(true), "/metrics").await;
    assert_eq!((code, text == again.render()), (200, false));
    assert!(!text.contains(CANARY));
    assert!(
        text.contains(
            r#"strongroom_http_requests_total{route="/clients/{id}",method="GET",status="404"}"#
        ),
        "{text}"
    );
    assert!(text.contains("strongroom_http_request_duration_seconds_bucket"));
}
