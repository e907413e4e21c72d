//! The routes of the API over a real deployment, called without a socket.

use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::http::{HeaderMap, Method, Request, StatusCode, header};
use http_body_util::BodyExt as _;
use rustls_pki_types::CertificateDer;
use serde_json::{Value, json};
use tower::ServiceExt as _;

use super::support::CANARY;
use crate::http::server::Connection;
use crate::http::{ApiState, api_router, surround};
use crate::identity::assertion_key::{AssertionKey, make_assertion};
use crate::model::{KeyId, PrincipalId};
use crate::pki::P256Key;
use crate::random::SystemRandom;
use crate::vault::testing::Deployment;
use crate::vault::{NewKey, NewVersion};

/// A deployment's API, and a connection with the operator's certificate.
struct Api {
    deployment: Deployment,
    router: Router,
    connection: Arc<Connection>,
}

struct Answer {
    status: StatusCode,
    headers: HeaderMap,
    body: Vec<u8>,
}

impl Answer {
    fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap()
    }

    fn header(&self, name: header::HeaderName) -> &str {
        self.headers[name].to_str().unwrap()
    }
}

fn connection(certificate: Option<&str>) -> Arc<Connection> {
    let der = certificate.map(|pem| {
        let der = crate::identity::pem::read_one(pem, "CERTIFICATE").unwrap();
        CertificateDer::from(der.to_vec())
    });
    let certificates: Vec<_> = der.into_iter().collect();
    let peer = "192.0.2.1:7".parse().unwrap();
    Arc::new(Connection::new(peer, certificates.into()))
}

impl Api {
    async fn new() -> Self {
        let deployment = Deployment::new().await;
        let vault = &deployment.vault;
        let (router, _) = api_router(ApiState::new(Arc::clone(vault)));
        let router = surround(
            router,
            Arc::clone(vault.clock()),
            Arc::clone(vault.random()),
        );
        let connection = connection(Some(deployment.operator_certificate()));
        Self {
            deployment,
            router,
            connection,
        }
    }

    async fn send(&self, connection: &Arc<Connection>, mut request: Request<Body>) -> Answer {
        request.extensions_mut().insert(Arc::clone(connection));
        let response = self.router.clone().oneshot(request).await.unwrap();
        let (parts, body) = response.into_parts();
        Answer {
            status: parts.status,
            headers: parts.headers,
            body: body.collect().await.unwrap().to_bytes().to_vec(),
        }
    }

    /// A call of the operator.
    async fn call(
        &self,
        method: Method,
        path: &str,
        headers: &[(&str, &str)],
        body: Option<Value>,
    ) -> Answer {
        let mut request = Request::builder()
            .method(method)
            .uri(format!("/api/v1{path}"));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        if body.is_some() {
            request = request.header("content-type", "application/json");
        }
        let body = body.map_or_else(Body::empty, |body| Body::from(body.to_string()));
        self.send(&self.connection, request.body(body).unwrap())
            .await
    }

    async fn get(&self, path: &str) -> Answer {
        self.call(Method::GET, path, &[], None).await
    }

    async fn post(&self, path: &str, body: Value) -> Answer {
        self.call(Method::POST, path, &[], Some(body)).await
    }
}

/// Whether the document says of an operation that it needs no authentication.
fn is_public(operation: &Value) -> bool {
    operation["security"] == json!([{}])
}

#[tokio::test]
async fn every_route_asks_who_is_calling_before_anything_else() {
    let api = Api::new().await;
    let nobody = connection(None);
    let (_, document) = api_router(ApiState::new(Arc::clone(&api.deployment.vault)));
    let document = serde_json::to_value(&document).unwrap();
    let mut routes = 0;
    let mut public = Vec::new();
    let mut bodies = std::collections::BTreeSet::new();
    for (path, item) in document["paths"].as_object().unwrap() {
        // Ids that cannot be ids, and a body that is none: neither is looked at.
        let path: String = path.replace('{', "x").replace('}', "");
        for (method, operation) in item.as_object().unwrap() {
            if is_public(operation) {
                public.push(operation["operationId"].as_str().unwrap().to_owned());
                continue;
            }
            let method = Method::from_bytes(method.to_uppercase().as_bytes()).unwrap();
            let request = Request::builder().method(&method).uri(&path);
            let answer = api
                .send(&nobody, request.body(Body::from("{")).unwrap())
                .await;
            routes += 1;
            // After 60 failures of one address the answer is 429: as little as 401.
            let refused = [StatusCode::UNAUTHORIZED, StatusCode::TOO_MANY_REQUESTS];
            assert!(
                refused.contains(&answer.status),
                "{method} {path} {}",
                answer.status
            );
            let mut body = answer.json();
            body["request_id"] = json!(null);
            bodies.insert(body.to_string());
        }
    }
    assert!(routes > 50, "{routes}");
    public.sort();
    // Enrolment asks for a token in its body instead.
    assert_eq!(
        public,
        ["enrol", "read_revocation_list", "read_trust_bundle"]
    );
    assert!(bodies.len() <= 2, "{bodies:?}");
    let request = Request::builder().uri("/api/v1/openapi.json");
    let answer = api
        .send(&nobody, request.body(Body::empty()).unwrap())
        .await;
    assert_eq!(answer.json(), document);
}

#[tokio::test]
async fn the_document_is_the_committed_one_and_whole() {
    let api = Api::new().await;
    let (_, document) = api_router(ApiState::new(Arc::clone(&api.deployment.vault)));
    let text = document.to_pretty_json().unwrap() + "\n";
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/openapi.json");
    if std::env::var_os("STRONGROOM_UPDATE").is_some() {
        std::fs::write(path, &text).unwrap();
    }
    let committed = std::fs::read_to_string(path).unwrap_or_default();
    assert!(
        text == committed,
        "docs/openapi.json is not what the code says: run the test with STRONGROOM_UPDATE=1 and \
         look at the difference"
    );

    let document: Value = serde_json::from_str(&text).unwrap();
    for part in text.split("\"$ref\": \"").skip(1) {
        let reference = part.split('"').next().unwrap().trim_start_matches('#');
        assert!(document.pointer(reference).is_some(), "{reference}");
    }
    let mut ids = std::collections::BTreeSet::new();
    for (path, item) in document["paths"].as_object().unwrap() {
        for (method, operation) in item.as_object().unwrap() {
            let id = operation["operationId"].as_str().unwrap();
            assert!(ids.insert(id.to_owned()), "{id} twice");
            let summary = operation["summary"].as_str().unwrap_or_default();
            assert!(
                !summary.is_empty() && !summary.ends_with('.'),
                "{method} {path}"
            );
            let parameters = operation["parameters"].as_array();
            let named = |name: &str| {
                parameters.is_some_and(|list| list.iter().any(|it| it["name"] == name))
            };
            for name in path.split('{').skip(1) {
                let name = name.split('}').next().unwrap();
                assert!(named(name), "{method} {path}: {name}");
            }
            for parameter in parameters.into_iter().flatten() {
                let place = parameter["in"].as_str().unwrap();
                let in_path =
                    path.contains(&format!("{{{}}}", parameter["name"].as_str().unwrap()));
                assert_eq!(place == "path", in_path, "{method} {path} {parameter}");
            }
            let guarded = operation["responses"]["401"].is_object();
            let asks = !is_public(operation) || id == "enrol";
            assert_eq!(guarded, asks, "{method} {path}");
        }
    }
}

#[tokio::test]
async fn a_resource_is_created_read_changed_and_guarded_by_its_revision() {
    let api = Api::new().await;
    let made = api
        .post("/clients", json!({"name": "Acme Ltd", "slug": "acme"}))
        .await;
    assert_eq!(made.status, StatusCode::CREATED);
    assert_eq!(made.header(header::ETAG), "\"1\"");
    let client = made.json();
    let path = format!("/clients/{}", client["id"].as_str().unwrap());
    assert_eq!(made.header(header::LOCATION), format!("/api/v1{path}"));
    let read = api.get(&path).await;
    assert_eq!((read.header(header::ETAG), read.json()), ("\"1\"", client));

    let patch = || Some(json!({"name": "Acme & Co"}));
    for (headers, status) in [
        (&[][..], 428),
        (&[("if-match", "1")], 400),
        (&[("if-match", "*")], 400),
        (&[("if-match", "\"7\"")], 412),
        (&[("if-match", "\"1\"")], 200),
        (&[("if-match", "\"1\"")], 412),
    ] {
        let answer = api.call(Method::PATCH, &path, headers, patch()).await;
        assert_eq!(answer.status, status, "{headers:?}");
    }
    let read = api.get(&path).await;
    assert_eq!(read.header(header::ETAG), "\"2\"");
    assert_eq!(read.json()["name"], "Acme & Co");

    let contact = json!({"name": "A", "email": "a@example.com", "role": "owner"});
    let contact = api.post(&format!("{path}/contacts"), contact).await;
    assert_eq!(contact.status, StatusCode::CREATED);
    let contact = contact.header(header::LOCATION).replace("/api/v1", "");
    assert_eq!(api.get(&contact).await.status, StatusCode::OK);
    for (headers, status) in [
        (&[("if-match", "x")][..], 400),
        (&[("if-match", "\"2\"")], 412),
        (&[], 204),
        (&[], 404),
    ] {
        let answer = api.call(Method::DELETE, &contact, headers, None).await;
        assert_eq!(answer.status, status, "{headers:?}");
    }
    let again = api
        .post("/clients", json!({"name": "Acme", "slug": "acme"}))
        .await;
    assert_eq!(again.status, StatusCode::CONFLICT);
}

#[tokio::test]
async fn lists_go_page_by_page_to_their_end() {
    let api = Api::new().await;
    for number in 0..6 {
        let name = format!("role-{number}");
        let made = api.post("/roles", json!({"name": name})).await;
        assert_eq!(made.status, StatusCode::CREATED);
    }
    for (path, count) in [("/roles", 8), ("/audit", usize::MAX)] {
        let mut seen = Vec::new();
        let mut next = Some(String::new());
        while let Some(cursor) = next {
            let cursor = match cursor.as_str() {
                "" => String::new(),
                cursor => format!("&cursor={cursor}"),
            };
            let page = api.get(&format!("{path}?limit=3{cursor}")).await;
            assert_eq!(page.status, StatusCode::OK);
            let page = page.json();
            let items = page["items"].as_array().unwrap();
            assert!(items.len() <= 3);
            seen.extend(items.iter().map(Value::to_string));
            next = page["next"].as_str().map(str::to_owned);
        }
        let all = seen.len();
        seen.sort();
        seen.dedup();
        assert_eq!(seen.len(), all, "{path}: an item twice");
        assert!(
            all == count || (count == usize::MAX && all > 20),
            "{path}: {all}"
        );
    }
    // Not base64url, or no text in it.
    for cursor in ["*", "%00", "_w", "AA"] {
        for path in ["/roles", "/clients", "/audit", "/receipts"] {
            let answer = api.get(&format!("{path}?cursor={cursor}")).await;
            assert_eq!(answer.status, StatusCode::BAD_REQUEST, "{path} {cursor}");
        }
    }
    let answer = api.get("/audit?cursor=eHl6").await;
    assert!(answer.status.is_client_error());
    for query in ["limit=0", "limit=501", "x=1", "limit=1&limit=2"] {
        let answer = api.get(&format!("/roles?{query}")).await;
        assert_eq!(answer.status, StatusCode::BAD_REQUEST, "{query}");
    }
}

#[tokio::test]
async fn a_credential_goes_its_way_and_no_answer_shows_its_value() {
    let api = Api::new().await;
    let new = json!({"client": "example-realty", "label": "feed", "kind": "generic",
                     "environment": "production", "roles": ["m365-sync"]});
    let made = api.post("/credentials", new).await;
    assert_eq!(made.status, StatusCode::CREATED);
    let id = made.json()["id"].as_str().unwrap().to_owned();
    let path = format!("/credentials/{id}");
    let version = json!({"fields": {"password": CANARY}, "expires_at": "2028-11-20"});
    let version = api.post(&format!("{path}/versions"), version).await;
    assert_eq!(version.status, StatusCode::CREATED);
    let location = version.header(header::LOCATION);
    assert_eq!(location, format!("/api/v1{path}/versions/1"));
    let read = api.get(&location.replace("/api/v1", "")).await;
    assert_eq!(read.json(), version.json());

    let reason = || Some(json!({"reason": "by hand"}));
    let activate = format!("{path}/versions/1/activate");
    let refused = api.call(Method::POST, &activate, &[], reason()).await;
    assert_eq!(refused.status, StatusCode::PRECONDITION_REQUIRED);
    let active = api
        .call(Method::POST, &activate, &[("if-match", "\"2\"")], reason())
        .await;
    assert_eq!(active.status, StatusCode::OK);
    assert_eq!(active.header(header::ETAG), "\"3\"");
    let role = format!("{path}/roles/other");
    let given = api.call(Method::PUT, &role, &[], None).await;
    assert_eq!(given.json()["roles"], json!(["m365-sync", "other"]));
    let stale = [("if-match", "\"3\"")];
    let taken = api.call(Method::DELETE, &role, &stale, None).await;
    assert_eq!(taken.status, StatusCode::PRECONDITION_FAILED);
    let retire = format!("{path}/versions/1/retire");
    let headers = [("if-match", "\"4\"")];
    let retired = api
        .call(Method::POST, &retire, &headers, Some(json!({})))
        .await;
    assert_eq!(retired.json()["versions"][0]["state"], "retired");

    for path in [
        "/credentials?client=example-realty&expires_before=2030-01-01T00:00:00Z",
        &path,
        &format!("{path}/holds"),
        "/receipts",
        "/keys",
        "/audit",
        "/audit/export",
        "/whoami",
    ] {
        let answer = api.get(path).await;
        assert_eq!(answer.status, StatusCode::OK, "{path}");
        let text = String::from_utf8(answer.body).unwrap();
        assert!(!text.contains(CANARY), "{path}");
    }
    // A value in a wrong place comes back in no error either.
    let wrong = json!({"fields": {"password": CANARY, "": CANARY}, "expires_at": CANARY});
    let wrong = api.post(&format!("{path}/versions"), wrong).await;
    assert_eq!(wrong.status, StatusCode::UNPROCESSABLE_ENTITY);
    assert!(!String::from_utf8(wrong.body).unwrap().contains(CANARY));
}

#[tokio::test]
async fn what_proves_the_log_elsewhere_can_be_taken_away() {
    let api = Api::new().await;
    let key = api.get("/audit/key").await;
    assert_eq!(
        key.header(header::CONTENT_TYPE),
        "text/plain; charset=utf-8"
    );
    let key = String::from_utf8(key.body).unwrap();
    assert_eq!(key.trim_end(), api.deployment.vault.audit_key().to_string());
    let note = api.get("/audit/checkpoint?node=node-a").await;
    assert!(
        String::from_utf8(note.body)
            .unwrap()
            .contains("\n\n\u{2014} ")
    );
    let export = api.get("/audit/export").await;
    let media = export.header(header::CONTENT_TYPE);
    assert_eq!(media, "application/x-ndjson");
    let lines = String::from_utf8(export.body).unwrap();
    assert!(lines.lines().count() > 15);
    for line in lines.lines() {
        let _: Value = serde_json::from_str(line).unwrap();
    }
    for path in [
        "/audit/export?node=nowhere",
        "/audit/checkpoint?node=nowhere",
    ] {
        assert_eq!(api.get(path).await.status, StatusCode::NOT_FOUND);
    }
    let answer = api.get("/audit/export?node=%00").await;
    assert_eq!(answer.status, StatusCode::BAD_REQUEST);
}

#[tokio::test]
async fn what_cannot_be_an_id_is_not_there() {
    let api = Api::new().await;
    for path in [
        "/clients/x",
        "/clients/cred_01kaqz3m8v7d6k2n4p9r5s1t0x",
        "/clients/clnt_01kaqz3m8v7d6k2n4p9r5s1t0x",
        "/credentials/%00",
        "/credentials/cred_01kaqz3m8v7d6k2n4p9r5s1t0x/versions/x",
        "/workloads/wkld_01kaqz3m8v7d6k2n4p9r5s1t0x/keys",
        "/operators/x/keys/y",
        "/authorities/%ff",
        "/nowhere",
    ] {
        let answer = api.get(path).await;
        assert_eq!(answer.status, StatusCode::NOT_FOUND, "{path}");
        assert_eq!(answer.json()["type"], "urn:strongroom:problem:not-found");
    }
}

/// A server that signs assertions.
struct Signer {
    key: AssertionKey,
    id: KeyId,
    principal: PrincipalId,
}

impl Signer {
    async fn new(api: &Api) -> Self {
        let it = &api.deployment;
        let server = it.enrol("signer", "production", &["m365-sync"]).await;
        let pair = P256Key::generate().unwrap();
        let new = NewKey {
            public_key: Some(pair.public_key().to_pem()),
            ..NewKey::default()
        };
        let principal = PrincipalId::Workload(server.view.id);
        let key = it.vault.register_key(&it.operator, principal, new).await;
        Self {
            key: AssertionKey::from_pem(&pair.to_pem()).unwrap(),
            id: key.unwrap().id,
            principal,
        }
    }

    fn token(&self, api: &Api) -> String {
        let vault = &api.deployment.vault;
        let (now, random) = (vault.clock().now(), SystemRandom::new());
        let audience = vault.deployment();
        let token = make_assertion(
            &self.key,
            self.id,
            self.principal,
            audience,
            now,
            &random,
            60,
        );
        format!("Bearer {}", token.unwrap())
    }
}

#[tokio::test]
async fn an_assertion_is_spent_by_its_first_request_however_that_ends() {
    let api = Api::new().await;
    let signer = Signer::new(&api).await;
    let id = api.deployment.active("feed", "s").await;
    let nobody = connection(None);
    for (method, path, status) in [
        ("GET", "/whoami".to_owned(), 200),
        ("GET", "/release".to_owned(), 200),
        ("GET", "/release?x=1".to_owned(), 400),
        ("HEAD", "/release".to_owned(), 405),
        ("GET", format!("/release/{id}"), 200),
        ("GET", format!("/release/{id}?version=x"), 400),
        ("GET", "/release/nothing".to_owned(), 404),
        ("POST", format!("/release/{id}/in-use"), 415),
        ("GET", "/clients".to_owned(), 404),
        ("GET", "/clients/x".to_owned(), 404),
        ("POST", "/clients".to_owned(), 415),
        ("PATCH", "/roles/x".to_owned(), 404),
    ] {
        let token = signer.token(&api);
        for expected in [status, 401] {
            let request = Request::builder()
                .method(method)
                .uri(format!("/api/v1{path}"))
                .header("authorization", &token);
            let answer = api
                .send(&nobody, request.body(Body::empty()).unwrap())
                .await;
            assert_eq!(answer.status, expected, "{method} {path}");
        }
    }
    let query = crate::vault::AuditQuery {
        kind: Some("assertion.replayed".to_owned()),
        actor: Some(signer.principal.to_string()),
        ..Default::default()
    };
    let vault = &api.deployment.vault;
    let replays = vault.audit_entries(&api.deployment.operator, &query, "", 100);
    assert_eq!(replays.await.unwrap().items.len(), 12);
}

/// The value that goes in is never shown by a type that a handler could answer with.
#[test]
fn a_new_version_cannot_be_serialised() {
    trait Silent<A> {
        fn check() {}
    }
    impl<T> Silent<()> for T {}
    struct Serialisable;
    impl<T: serde::Serialize> Silent<Serialisable> for T {}
    // Ambiguous, and so no program, if the type had Serialize.
    let _ = <NewVersion as Silent<_>>::check;
}
