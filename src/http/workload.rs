//! What workers call: who am I, release, in use.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::pin::Pin;
use std::task::{Context, Poll};

use axum::Json;
use axum::body::{Body, Bytes, HttpBody};
use axum::extract::State;
use axum::http::header::{ALLOW, CONTENT_TYPE, ETAG, IF_NONE_MATCH, VARY};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode};
use axum::response::{IntoResponse, Response};
use futures_util::{Stream, StreamExt as _, TryStreamExt as _};
use hyper::body::{Frame, SizeHint};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::accept;
use super::authenticate::{ApiState, Authentic, Proven};
use super::extract::{StrictJson, StrictPath, StrictQuery};
use super::operator::problems::{CreateProblems, ReadProblems, ReleaseProblems};
use super::problem::{Answer, Problem};
use super::request_id::READS_WITHIN;
use crate::model::{
    ClientId, CredentialId, CredentialKind, KeyId, OperatorRole, Principal, PrincipalId,
    PrincipalKind, Timestamp, VersionState,
};
use crate::vault::{
    BundleAnswer, BundleFilter, Caller, ClientRef, Delivery, Form, InUse, ReleaseAnswer, VaultError,
};

// The vault writes entries without these two types, so that a value is in memory once.

/// One released credential.
#[derive(ToSchema)]
#[expect(dead_code, reason = "only its schema is used")]
pub struct ReleasedCredential {
    /// Its id.
    id: CredentialId,
    /// The company whose it is.
    client: ClientRef,
    /// What people call it.
    label: String,
    /// What system it opens.
    kind: CredentialKind,
    /// The environment that it belongs to.
    environment: String,
    /// The first of the caller's roles, by name, that may read it.
    role: String,
    /// The version's number.
    version: i64,
    /// Where the version stands: `active` or `previous`.
    state: VersionState,
    /// When it expires, if anybody said.
    #[schema(required)]
    expires_at: Option<Timestamp>,
    /// `expired` or `compromised`; left out when there is nothing to say.
    flags: Option<Vec<String>>,
    /// The values, as the kind of the credential has them.
    fields: BTreeMap<String, String>,
}

/// Everything that the caller may have.
#[derive(ToSchema)]
#[expect(dead_code, reason = "only its schema is used")]
pub struct ReleasedBundle {
    /// One entry per credential.
    credentials: Vec<ReleasedCredential>,
    /// Credentials that could not be opened: keep the old values and call somebody.
    failed: Vec<CredentialId>,
}

/// The same JSON document as a binary age file (c2sp.org/age).
#[derive(ToSchema)]
#[schema(value_type = String, format = Binary)]
#[expect(dead_code, reason = "only its schema is used")]
pub struct AgeFile(Vec<u8>);

/// The newest checkpoint of the audit log, in every release.
pub const CHECKPOINT_HEADER: HeaderName = HeaderName::from_static("strongroom-checkpoint");

/// Who the caller is, as the registry knows them.
#[derive(Serialize, Deserialize, ToSchema)]
pub struct Whoami {
    /// The id of the workload or operator.
    #[schema(value_type = String)]
    pub id: String,
    /// Which of the two it is.
    pub kind: PrincipalKind,
    /// The name.
    pub name: String,
    /// The environment of a workload.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub environment: Option<String>,
    /// The roles of a workload, by name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub roles: Option<Vec<String>>,
    /// The age recipient of a workload, to whom releases can be encrypted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub age_recipient: Option<String>,
    /// The role of an operator.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub role: Option<OperatorRole>,
    /// The key that was proven.
    pub key: KeyId,
    /// What the caller may do.
    pub permissions: Vec<String>,
}

/// Who the caller is
#[utoipa::path(
    get, path = "/whoami", tag = "workload",
    responses((status = 200, description = "The caller", body = Whoami), ReadProblems)
)]
pub async fn whoami(Proven(caller): Proven) -> Answer<Json<Whoami>> {
    let id: PrincipalId = caller.principal.id();
    let (id, kind, key) = (id.to_string(), id.kind(), caller.principal.key());
    Ok(Json(match caller.principal {
        Principal::Workload {
            name,
            environment_name,
            roles,
            age_recipient,
            ..
        } => Whoami {
            id,
            kind,
            name: name.to_string(),
            environment: Some(environment_name.to_string()),
            roles: Some(roles.iter().map(|role| role.name.to_string()).collect()),
            age_recipient: age_recipient.map(|text| text.to_string()),
            role: None,
            key,
            permissions: vec!["release".to_owned()],
        },
        Principal::Operator { name, role, .. } => Whoami {
            id,
            kind,
            name: name.to_string(),
            environment: None,
            roles: None,
            age_recipient: None,
            role: Some(role),
            key,
            permissions: role
                .permissions()
                .iter()
                .map(|it| it.as_str().to_owned())
                .collect(),
        },
    }))
}

/// Which of the caller's credentials.
#[derive(Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct ReleaseQuery {
    /// Of this client.
    client: Option<ClientId>,
    /// Of this kind.
    kind: Option<CredentialKind>,
    /// This one alone.
    credential: Option<CredentialId>,
}

/// Every active credential of the caller's roles and environment
///
/// Streamed as one JSON document with `credentials` and `failed`. If anything goes wrong in the
/// middle, the connection is cut: a document that ends is complete. With `Accept: application/age`
/// the same document comes as a binary age file for the recipient registered for the workload.
#[utoipa::path(
    get, path = "/release", tag = "workload", params(ReleaseQuery),
    responses(
        (status = 200, description = "The values, with a weak ETag and the newest checkpoint",
         content((ReleasedBundle = "application/json"), (AgeFile = "application/age")),
         headers(("ETag" = String), ("Strongroom-Checkpoint" = String))),
        (status = 304, description = "Nothing new: nothing was released"),
        ReleaseProblems,
    )
)]
pub async fn release_bundle(
    State(state): State<ApiState>,
    method: Method,
    headers: HeaderMap,
    Authentic(caller): Authentic,
    query: Answer<StrictQuery<ReleaseQuery>>,
) -> Answer<Response> {
    let (caller, form, query) = match readable(&state, caller, &method, &headers, query).await? {
        Readable::Wanted(caller, form, StrictQuery(query)) => (caller, form, query),
        Readable::Head(refused) => return Ok(refused),
    };
    let ReleaseQuery {
        client,
        kind,
        credential,
    } = query;
    let filter = BundleFilter {
        client,
        kind,
        credential,
    };
    let vault = state.vault();
    let known = if_none_match(&headers);
    let answer = vault
        .release_bundle(caller, &filter, known.as_deref(), form)
        .await?;
    let bundle = match answer {
        BundleAnswer::Unchanged { etag } => return Ok(unchanged(&state, &etag)),
        BundleAnswer::Values(bundle) => bundle,
    };
    let etag = bundle.etag.clone();
    let body = Body::from_stream(in_time(bundle.into_stream().map_ok(Bytes::from)));
    Ok(released(&state, &etag, form, body))
}

/// The pieces of an answer, cut off when one fails or is not there in time: who reads it must not wait
/// for as long as a database stands still. How long the reader takes does not count.
fn in_time(
    pieces: impl Stream<Item = Result<Bytes, VaultError>>,
) -> impl Stream<Item = Result<Bytes, std::io::Error>> {
    async_stream::stream! {
        let mut pieces = std::pin::pin!(pieces);
        loop {
            let late = VaultError::Unavailable("database");
            let piece = tokio::time::timeout(READS_WITHIN, pieces.next()).await;
            match piece.unwrap_or(Some(Err(late))) {
                None => return,
                Some(Ok(piece)) => yield Ok(piece),
                Some(Err(error)) => {
                    tracing::warn!(%error, "a release was cut off in the middle");
                    yield Err(std::io::Error::other("the release was cut off"));
                    return;
                }
            }
        }
    }
}

/// The version that is wanted.
#[derive(Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct VersionQuery {
    /// The number of an active or previous version; the active one when left out.
    version: Option<i64>,
}

/// One credential: its active version, or a previous one by number
///
/// With `Accept: application/age` it comes as a binary age file for the recipient registered for the
/// workload.
#[utoipa::path(
    get, path = "/release/{credential}", tag = "workload",
    params(("credential" = CredentialId, Path), VersionQuery),
    responses(
        (status = 200, description = "The entry, with a weak ETag and the newest checkpoint",
         content((ReleasedCredential = "application/json"), (AgeFile = "application/age")),
         headers(("ETag" = String), ("Strongroom-Checkpoint" = String))),
        (status = 304, description = "Nothing new: nothing was released"),
        ReleaseProblems,
    )
)]
pub async fn release_one(
    State(state): State<ApiState>,
    method: Method,
    headers: HeaderMap,
    Authentic(caller): Authentic,
    path: Answer<StrictPath<String>>,
    query: Answer<StrictQuery<VersionQuery>>,
) -> Answer<Response> {
    let (caller, form, query) = match readable(&state, caller, &method, &headers, query).await? {
        Readable::Wanted(caller, form, StrictQuery(query)) => (caller, form, query),
        Readable::Head(refused) => return Ok(refused),
    };
    // What cannot be an id, or not even a text, is not there, like everything else that is not there.
    let credential = path.ok().and_then(|StrictPath(id)| id.parse().ok());
    let vault = state.vault();
    let known = if_none_match(&headers);
    let answer = vault
        .release(caller, credential, query.version, known.as_deref(), form)
        .await?;
    Ok(match answer {
        ReleaseAnswer::Unchanged { etag } => unchanged(&state, &etag),
        ReleaseAnswer::Value {
            body,
            etag,
            delivery,
        } => {
            let body = Bytes::from(body.into_bytes());
            released(
                &state,
                &etag,
                form,
                Body::new(Delivered {
                    body: Some(body),
                    delivery,
                }),
            )
        }
    })
}

/// The worker now runs on a version
#[utoipa::path(
    post, path = "/release/{credential}/in-use", tag = "workload",
    params(("credential" = CredentialId, Path)), request_body = InUse,
    responses(
        (status = 204, description = "Noted; 404 if the caller was never given that version"),
        CreateProblems,
    )
)]
pub async fn in_use(
    State(state): State<ApiState>,
    Proven(caller): Proven,
    StrictPath(credential): StrictPath<String>,
    StrictJson(body): StrictJson<InUse>,
) -> Answer<StatusCode> {
    let credential = credential.parse::<CredentialId>().ok();
    state
        .vault()
        .report_in_use(&caller, credential, body.version)
        .await?;
    Ok(StatusCode::NO_CONTENT)
}

/// What a release was asked for.
enum Readable<T> {
    Wanted(Caller, Form, T),
    /// A release has effects, so a HEAD, which would have to do all of it and show nothing, is
    /// refused.
    Head(Response),
}

/// What a release was asked for, or the reason why it cannot be answered. A release spends its
/// assertion together with its record; a request that never gets that far spends it here.
async fn readable<T>(
    state: &ApiState,
    caller: Caller,
    method: &Method,
    headers: &HeaderMap,
    query: Answer<T>,
) -> Answer<Readable<T>> {
    if method == Method::HEAD {
        state.vault().acknowledge(caller).await?;
        let mut refused = Problem::method_not_allowed().into_response();
        // RFC 9110, 15.5.6: a 405 says what is allowed.
        let allowed = HeaderValue::from_static("GET");
        refused.headers_mut().insert(ALLOW, allowed);
        return Ok(Readable::Head(refused));
    }
    let form = accept::preferred(headers, caller.age_recipient().is_some());
    let form = form.ok_or_else(|| Problem::not_acceptable(accept::NO_RECIPIENT));
    match form.and_then(|form| Ok((form, query?))) {
        Ok((form, query)) => Ok(Readable::Wanted(caller, form, query)),
        Err(problem) => {
            state.vault().acknowledge(caller).await?;
            Err(problem)
        }
    }
}

/// All entity tags of `If-None-Match`; several lines are one list (RFC 9110, 5.3).
fn if_none_match(headers: &HeaderMap) -> Option<Cow<'_, str>> {
    let mut lines = headers
        .get_all(IF_NONE_MATCH)
        .iter()
        .filter_map(|line| line.to_str().ok());
    let first = lines.next()?;
    Some(lines.fold(Cow::Borrowed(first), |all, line| {
        Cow::Owned(format!("{all},{line}"))
    }))
}

fn unchanged(state: &ApiState, etag: &str) -> Response {
    (StatusCode::NOT_MODIFIED, release_headers(state, etag)).into_response()
}

fn released(state: &ApiState, etag: &str, form: Form, body: Body) -> Response {
    let mut response = (StatusCode::OK, release_headers(state, etag), body).into_response();
    let media_type = HeaderValue::from_static(match form {
        Form::Json => accept::JSON,
        Form::Age => accept::AGE,
    });
    response.headers_mut().insert(CONTENT_TYPE, media_type);
    response
}

fn release_headers(state: &ApiState, etag: &str) -> HeaderMap {
    let mut headers = HeaderMap::with_capacity(8);
    headers.insert(VARY, HeaderValue::from_static("Accept"));
    // Both are base64 and quotes, so they are always valid in a header.
    if let Ok(etag) = HeaderValue::from_str(etag) {
        headers.insert(ETAG, etag);
    }
    if let Ok(checkpoint) = HeaderValue::from_str(&state.vault().checkpoint()) {
        headers.insert(CHECKPOINT_HEADER, checkpoint);
    }
    headers
}

/// The body of a single release: one piece. When the connection has taken it, it counts as sent.
struct Delivered {
    body: Option<Bytes>,
    delivery: Delivery,
}

impl HttpBody for Delivered {
    type Data = Bytes;
    type Error = std::convert::Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        let body = self.body.take();
        if body.is_some() {
            self.delivery.sent();
        }
        Poll::Ready(body.map(|body| Ok(Frame::data(body))))
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_none()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.body.as_ref().map_or(0, |body| body.len() as u64))
    }
}
