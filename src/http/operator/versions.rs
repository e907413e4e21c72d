//! Versions of a credential: what goes in, and what becomes of it. No value ever comes out here.

use axum::Json;
use axum::extract::State;
use axum::response::Response;

use super::problems::{ChangeProblems, CreateProblems, ReadProblems};
use super::{created, single};
use crate::http::authenticate::{ApiState, Proven};
use crate::http::extract::{IfMatch, StrictJson, StrictPath};
use crate::http::problem::{Answer, Problem};
use crate::model::CredentialId;
use crate::vault::{CredentialView, NewVersion, Reason, Retire, VersionView};

/// Seal a value as a new version
///
/// It is `pending` unless it is activated at once. The version in effect so far becomes `previous`
/// only when the new one is activated.
#[utoipa::path(
    post, path = "/credentials/{credential}/versions", tag = "credentials",
    params(("credential" = CredentialId, Path)), request_body = NewVersion,
    responses(
        (status = 201, description = "The new version, without its value", body = VersionView,
         headers(("Location" = String))),
        CreateProblems,
    )
)]
pub async fn add_version(
    State(state): State<ApiState>,
    Proven(caller): Proven,
    StrictPath(id): StrictPath<CredentialId>,
    StrictJson(new): StrictJson<NewVersion>,
) -> Answer<Response> {
    let version = state.vault().add_version(&caller, id, new).await?;
    let path = format!("/credentials/{id}/versions/{}", version.number);
    Ok(created(&path, Json(version)))
}

/// Read a version, without its value
#[utoipa::path(
    get, path = "/credentials/{credential}/versions/{number}", tag = "credentials",
    params(("credential" = CredentialId, Path), ("number" = i64, Path, minimum = 1)),
    responses((status = 200, description = "The version", body = VersionView), ReadProblems)
)]
pub async fn read_version(
    State(state): State<ApiState>,
    Proven(caller): Proven,
    StrictPath((id, number)): StrictPath<(CredentialId, i64)>,
) -> Answer<Json<VersionView>> {
    let credential = state.vault().credential(&caller, id).await?;
    let mut versions = credential.versions.into_iter();
    let version = versions.find(|version| version.number == number);
    version.map(Json).ok_or_else(Problem::not_found)
}

/// Activate a version by hand
///
/// The one that was active becomes `previous` and can still be released by number.
#[utoipa::path(
    post, path = "/credentials/{credential}/versions/{number}/activate", tag = "credentials",
    params(("credential" = CredentialId, Path), ("number" = i64, Path, minimum = 1), IfMatch),
    request_body = Reason,
    responses(
        (status = 200, description = "The credential as it is now", body = CredentialView,
         headers(("ETag" = String))),
        ChangeProblems,
    )
)]
pub async fn activate_version(
    State(state): State<ApiState>,
    Proven(caller): Proven,
    StrictPath((id, number)): StrictPath<(CredentialId, i64)>,
    IfMatch(revision): IfMatch,
    StrictJson(how): StrictJson<Reason>,
) -> Answer<Response> {
    let vault = state.vault();
    let changed = vault.activate_version(&caller, id, number, revision, how);
    let credential = changed.await?;
    Ok(single(credential.revision, credential))
}

/// Reject a pending version
///
/// Its value and what could open it are destroyed.
#[utoipa::path(
    post, path = "/credentials/{credential}/versions/{number}/reject", tag = "credentials",
    params(("credential" = CredentialId, Path), ("number" = i64, Path, minimum = 1), IfMatch),
    request_body = Reason,
    responses(
        (status = 200, description = "The credential as it is now", body = CredentialView,
         headers(("ETag" = String))),
        ChangeProblems,
    )
)]
pub async fn reject_version(
    State(state): State<ApiState>,
    Proven(caller): Proven,
    StrictPath((id, number)): StrictPath<(CredentialId, i64)>,
    IfMatch(revision): IfMatch,
    StrictJson(how): StrictJson<Reason>,
) -> Answer<Response> {
    let vault = state.vault();
    let changed = vault.reject_version(&caller, id, number, revision, how);
    let credential = changed.await?;
    Ok(single(credential.revision, credential))
}

/// Retire a version
///
/// Its value and what could open it are destroyed. Refused while a live workload holds it, unless
/// that is overridden with a reason.
#[utoipa::path(
    post, path = "/credentials/{credential}/versions/{number}/retire", tag = "credentials",
    params(("credential" = CredentialId, Path), ("number" = i64, Path, minimum = 1), IfMatch),
    request_body = Retire,
    responses(
        (status = 200, description = "The credential as it is now", body = CredentialView,
         headers(("ETag" = String))),
        ChangeProblems,
    )
)]
pub async fn retire_version(
    State(state): State<ApiState>,
    Proven(caller): Proven,
    StrictPath((id, number)): StrictPath<(CredentialId, i64)>,
    IfMatch(revision): IfMatch,
    StrictJson(how): StrictJson<Retire>,
) -> Answer<Response> {
    let vault = state.vault();
    let changed = vault.retire_version(&caller, id, number, revision, how);
    let credential = changed.await?;
    Ok(single(credential.revision, credential))
}
