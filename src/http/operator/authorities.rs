//! Certificate authorities whose client certificates are accepted.

use axum::Json;
use axum::extract::State;
use axum::response::Response;

use super::problems::{ChangeProblems, CreateProblems, ReadProblems, RemovalProblems};
use super::{List, created, place, single};
use crate::http::authenticate::{ApiState, Proven};
use crate::http::extract::{IfMatch, OptionalIfMatch, Page, StrictJson, StrictPath};
use crate::http::problem::Answer;
use crate::model::AuthorityId;
use crate::vault::{AuthorityPatch, AuthorityRoll, AuthorityView, NewAuthority};

/// List authorities, removed ones included
#[utoipa::path(
    get, path = "/authorities", tag = "authorities", params(Page),
    responses(
        (status = 200, description = "A page of authorities", body = List<AuthorityView>),
        ReadProblems,
    )
)]
pub async fn list_authorities(
    State(state): State<ApiState>,
    Proven(caller): Proven,
    page: Page,
) -> Answer<Json<List<AuthorityView>>> {
    let (after, limit) = place(&page)?;
    let vault = state.vault();
    let page = vault.list_authorities(&caller, &after, limit).await?;
    Ok(Json(page.into()))
}

/// Trust a foreign authority for one trust domain
#[utoipa::path(
    post, path = "/authorities", tag = "authorities", request_body = NewAuthority,
    responses(
        (status = 201, description = "The new authority", body = AuthorityView,
         headers(("Location" = String), ("ETag" = String))),
        CreateProblems,
    )
)]
pub async fn add_authority(
    State(state): State<ApiState>,
    Proven(caller): Proven,
    StrictJson(new): StrictJson<NewAuthority>,
) -> Answer<Response> {
    let authority = state.vault().add_authority(&caller, new).await?;
    let path = format!("/authorities/{}", authority.id);
    Ok(created(&path, single(authority.revision, authority)))
}

/// Read an authority
#[utoipa::path(
    get, path = "/authorities/{authority}", tag = "authorities",
    params(("authority" = AuthorityId, Path)),
    responses(
        (status = 200, description = "The authority", body = AuthorityView,
         headers(("ETag" = String))),
        ReadProblems,
    )
)]
pub async fn read_authority(
    State(state): State<ApiState>,
    Proven(caller): Proven,
    StrictPath(id): StrictPath<AuthorityId>,
) -> Answer<Response> {
    let authority = state.vault().authority(&caller, id).await?;
    Ok(single(authority.revision, authority))
}

/// Change the times at which an authority is accepted or shown
///
/// It takes effect at the next request on every node, also on an open connection.
#[utoipa::path(
    patch, path = "/authorities/{authority}", tag = "authorities",
    params(("authority" = AuthorityId, Path), IfMatch), request_body = AuthorityPatch,
    responses(
        (status = 200, description = "The authority as it is now", body = AuthorityView,
         headers(("ETag" = String))),
        ChangeProblems,
    )
)]
pub async fn change_authority(
    State(state): State<ApiState>,
    Proven(caller): Proven,
    StrictPath(id): StrictPath<AuthorityId>,
    IfMatch(revision): IfMatch,
    StrictJson(patch): StrictJson<AuthorityPatch>,
) -> Answer<Response> {
    let vault = state.vault();
    let authority = vault.change_authority(&caller, id, revision, patch).await?;
    Ok(single(authority.revision, authority))
}

/// Roll the own authority: make a new one, which issues from now on
///
/// The old one stays accepted until its time is over, and the listener goes on to show a certificate
/// of it until `present_from`, so that clients can learn the new one from the trust bundle.
#[utoipa::path(
    post, path = "/authorities/roll", tag = "authorities", request_body = AuthorityRoll,
    responses(
        (status = 201, description = "The new authority", body = AuthorityView,
         headers(("Location" = String), ("ETag" = String))),
        CreateProblems,
    )
)]
pub async fn roll_authority(
    State(state): State<ApiState>,
    Proven(caller): Proven,
    StrictJson(roll): StrictJson<AuthorityRoll>,
) -> Answer<Response> {
    let authority = state.vault().roll_authority(&caller, roll).await?;
    let path = format!("/authorities/{}", authority.id);
    Ok(created(&path, single(authority.revision, authority)))
}

/// Stop trusting an authority
///
/// A foreign one, or an own one that was rolled. It takes effect at the next request on every node,
/// also on an open connection. The record stays.
#[utoipa::path(
    delete, path = "/authorities/{authority}", tag = "authorities",
    params(("authority" = AuthorityId, Path), OptionalIfMatch),
    responses(
        (status = 200, description = "The removed authority", body = AuthorityView,
         headers(("ETag" = String))),
        RemovalProblems,
    )
)]
pub async fn remove_authority(
    State(state): State<ApiState>,
    Proven(caller): Proven,
    StrictPath(id): StrictPath<AuthorityId>,
    OptionalIfMatch(revision): OptionalIfMatch,
) -> Answer<Response> {
    let vault = state.vault();
    let authority = vault.remove_authority(&caller, id, revision).await?;
    Ok(single(authority.revision, authority))
}
