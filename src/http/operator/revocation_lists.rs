//! Revocation lists, and what anybody needs to check Strongroom's certificates: served without
//! authentication, because they say nothing that a certificate does not.

use axum::Json;
use axum::extract::State;
use axum::http::header::CONTENT_TYPE;
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse as _, Response};

use super::problems::{CreateProblems, PublicProblems, RemovalProblems};
use crate::http::authenticate::{ApiState, Proven};
use crate::http::extract::{StrictJson, StrictPath};
use crate::http::problem::Answer;
use crate::identity::revocation_list::MAX_LIST_BYTES;
use crate::model::AuthorityId;
use crate::vault::{NewRevocationList, RevocationListView};

/// How long the body of an import may be: base64 with its line ends as they stand in JSON, and a
/// little for the rest.
const IMPORT_LIMIT: usize = MAX_LIST_BYTES / 2 * 3 + 4096;

fn public(media_type: &'static str, content: impl Into<axum::body::Body>) -> Response {
    let mut response = Response::new(content.into());
    let media_type = HeaderValue::from_static(media_type);
    response.headers_mut().insert(CONTENT_TYPE, media_type);
    response.into_response()
}

/// The certificates that clients trust to know this server
///
/// Those of Strongroom's own authorities that are accepted now, newest first, in PEM. Fetch it over
/// a connection that is trusted already, and keep it in place of the one before.
#[utoipa::path(
    get, path = "/authorities/trust-bundle", tag = "authorities", security(()),
    responses(
        (status = 200, description = "The certificates in PEM", body = String,
         content_type = "application/pem-certificate-chain"),
        PublicProblems,
    )
)]
pub async fn read_trust_bundle(State(state): State<ApiState>) -> Answer<Response> {
    let pem = state.vault().trust_bundle_pem().await?;
    Ok(public("application/pem-certificate-chain", pem))
}

/// The revocation list of one of Strongroom's own authorities
///
/// RFC 5280, version 2, DER. It is good for a day and made anew when a certificate was revoked, or
/// half of that time is over.
#[utoipa::path(
    get, path = "/authorities/{authority}/crl", tag = "authorities", security(()),
    params(("authority" = AuthorityId, Path)),
    responses(
        (status = 200, description = "The list", body = Vec<u8>,
         content_type = "application/pkix-crl"),
        PublicProblems,
    )
)]
pub async fn read_revocation_list(
    State(state): State<ApiState>,
    StrictPath(id): StrictPath<AuthorityId>,
) -> Answer<Response> {
    let list = state.vault().own_revocation_list(id).await?;
    Ok(public("application/pkix-crl", list))
}

/// Import a revocation list of a foreign authority
///
/// It takes effect at the next request on every node, also on open connections, and takes the place
/// of the list before. Of a divided list each part, by its distribution point, is imported by
/// itself. From the first list on, certificates of the authority are accepted only if a list that has
/// not ended is about them. A list that is refused changes nothing.
#[utoipa::path(
    put, path = "/authorities/{authority}/crl", tag = "authorities",
    params(("authority" = AuthorityId, Path)), request_body = NewRevocationList,
    responses(
        (status = 200, description = "The list as it is stored", body = RevocationListView),
        CreateProblems,
    )
)]
pub async fn import_revocation_list(
    State(state): State<ApiState>,
    Proven(caller): Proven,
    StrictPath(id): StrictPath<AuthorityId>,
    StrictJson(new): StrictJson<NewRevocationList, IMPORT_LIMIT>,
) -> Answer<Json<RevocationListView>> {
    let vault = state.vault();
    let list = vault.import_revocation_list(&caller, id, new).await?;
    Ok(Json(list))
}

/// Give up the revocation lists of a foreign authority
///
/// From then on its certificates are accepted unchecked, until a list is imported again.
#[utoipa::path(
    delete, path = "/authorities/{authority}/crl", tag = "authorities",
    params(("authority" = AuthorityId, Path)),
    responses((status = 204, description = "No list is kept any more"), RemovalProblems)
)]
pub async fn remove_revocation_lists(
    State(state): State<ApiState>,
    Proven(caller): Proven,
    StrictPath(id): StrictPath<AuthorityId>,
) -> Answer<StatusCode> {
    state.vault().remove_revocation_lists(&caller, id).await?;
    Ok(StatusCode::NO_CONTENT)
}
