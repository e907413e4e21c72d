use std::sync::{
    Arc, Mutex,
    atomic::{AtomicU32, Ordering},
};

use axum::{
    Extension, Json, Router,
    extract::{Query as QueryOf, Request},
    http::{HeaderMap, StatusCode},
    response::{IntoResponse, Redirect},
    routing::{get, patch},
};
use serde_json::json;

use super::*;
use crate::cli::{
    table::Format,
    testing::{Certified, Fake},
};

#[tokio::test]
async fn a_certificate_is_shown_in_the_handshake() {
    let whoami = get(
        |Extension(certified): Extension<Certified>, headers: HeaderMap| async move {
            assert!(!headers.contains_key("authorization"));
            Json(json!({"id": "wkld_x", "certified": certified.0}))
        },
    );
    let fake = Fake::start(Router::new().route("/api/v1/whoami", whoami)).await;
    let (session, _) = fake.session(Format::Json);
    let answer = session.api.get(&["whoami"], &[]).await.unwrap();
    assert_eq!(answer["certified"], true);
}

#[tokio::test]
async fn each_request_carries_a_fresh_assertion() {
    let seen = Arc::new(Mutex::new(Vec::new()));
    let list = {
        let seen = Arc::clone(&seen);
        get(
            move |headers: HeaderMap,
                  Extension(certified): Extension<Certified>,
                  QueryOf(query): QueryOf<Vec<(String, String)>>| async move {
                assert!(!certified.0);
                seen.lock()
                    .unwrap()
                    .push(headers["authorization"].to_str().unwrap().to_owned());
                let first = !query.iter().any(|(name, _)| name == "cursor");
                Json(json!({"items": [{"id": if first { 1 } else { 2 }}],
                        "next": first.then_some("more")}))
            },
        )
    };
    let fake = Fake::start(Router::new().route("/api/v1/clients", list)).await;
    let (session, _) = fake.session_with_tokens();
    let items = session.api.list(&["clients"], &[], None).await.unwrap();
    assert_eq!(items, [json!({"id": 1}), json!({"id": 2})]);
    assert_eq!(*seen.lock().unwrap(), ["Bearer token-0", "Bearer token-1"]);
}

#[tokio::test]
async fn a_list_stops_at_its_limit_and_at_a_cursor_that_stands_still() {
    let calls = Arc::new(AtomicU32::new(0));
    let list = {
        let calls = Arc::clone(&calls);
        get(move || async move {
            calls.fetch_add(1, Ordering::SeqCst);
            Json(json!({"items": [1, 2], "next": "same"}))
        })
    };
    let fake = Fake::start(Router::new().route("/api/v1/audit", list)).await;
    let (session, _) = fake.session(Format::Json);
    assert_eq!(
        session
            .api
            .list(&["audit"], &[], Some(1))
            .await
            .unwrap()
            .len(),
        1
    );
    assert_eq!(calls.load(Ordering::SeqCst), 1);
    session.api.list(&["audit"], &[], None).await.unwrap_err();
    assert_eq!(calls.load(Ordering::SeqCst), 3);
}

#[tokio::test]
async fn a_change_is_sent_on_the_condition_of_the_revision_that_was_read() {
    let client = get(|| async { Json(json!({"id": "clnt_x", "revision": 7})) }).merge(patch(
        |request: Request| async move {
            assert_eq!(request.headers()["if-match"], "\"7\"");
            assert_eq!(request.headers()["content-type"], "application/json");
            StatusCode::PRECONDITION_FAILED
        },
    ));
    let fake = Fake::start(Router::new().route("/api/v1/clients/clnt_x", client)).await;
    let (session, _) = fake.session(Format::Json);
    let path = ["clients", "clnt_x"];
    let error = session
        .api
        .change(Method::PATCH, &path, &path, &json!({"name": "x"}))
        .await;
    let mut text = Vec::new();
    error.unwrap_err().report(&mut text);
    let text = String::from_utf8(text).unwrap();
    assert!(
        text.contains("(412)") && text.contains("in between"),
        "{text}"
    );
}

#[tokio::test]
async fn a_problem_document_is_understood_and_a_redirect_not_followed() {
    let problem = get(|| async {
        let body = json!({"type": "urn:strongroom:problem:forbidden", "title": "Forbidden", "status": 403,
                          "detail": "your role may not", "request_id": "req_x",
                          "errors": [{"field": "a", "rule": "b"}]});
        let kind = [("content-type", "application/problem+json")];
        (StatusCode::FORBIDDEN, kind, body.to_string()).into_response()
    });
    let router = Router::new()
        .route("/api/v1/keys", problem)
        .route(
            "/api/v1/roles",
            get(|| async { Redirect::temporary("/api/v1/elsewhere") }),
        )
        .route("/api/v1/elsewhere", get(|| async { Json(json!({})) }));
    let fake = Fake::start(router).await;
    let (session, _) = fake.session(Format::Json);
    let CliError::Refused(problem) = session.api.get(&["keys"], &[]).await.unwrap_err() else {
        panic!("not refused")
    };
    assert_eq!(
        (problem.status, problem.detail.as_str()),
        (403, "your role may not")
    );
    assert_eq!(
        (problem.request_id.as_str(), problem.errors.len()),
        ("req_x", 1)
    );
    let CliError::Refused(problem) = session.api.get(&["roles"], &[]).await.unwrap_err() else {
        panic!("the redirect was followed")
    };
    assert_eq!(problem.status, 307);
}

#[tokio::test]
async fn a_server_of_another_authority_is_refused() {
    let fake = Fake::start(Router::new()).await;
    let other = Fake::start(Router::new()).await;
    let (session, _) = other.session(Format::Json);
    let base = Url::parse(fake.url()).unwrap();
    let api = Api {
        base,
        ..session.api
    };
    let error = api.get(&["whoami"], &[]).await.unwrap_err();
    assert_eq!(error.exit_code(), 1);
    assert!(error.to_string().contains("certificate"), "{error}");
}

#[tokio::test]
async fn an_id_cannot_leave_its_place_in_the_path() {
    let fake =
        Fake::start(Router::new().fallback(|request: Request| async move {
            Json(json!({"path": request.uri().path()}))
        }))
        .await;
    let (session, _) = fake.session(Format::Json);
    let answer = session
        .api
        .get(&["clients", "a/../b?c#d"], &[])
        .await
        .unwrap();
    assert_eq!(answer["path"], "/api/v1/clients/a%2F..%2Fb%3Fc%23d");
}
