//! Credentials: whose they are, where they belong, who may read them and who does.

use axum::Json;
use axum::extract::State;
use axum::response::Response;

use super::problems::{ChangeProblems, CreateProblems, ReadProblems, RemovalProblems};
use super::{List, created, place, single, whole};
use crate::http::authenticate::{ApiState, Proven};
use crate::http::extract::{IfMatch, OptionalIfMatch, Page, Paged, StrictJson, StrictPath};
use crate::http::problem::Answer;
use crate::model::{CredentialId, Slug};
use crate::vault::{CredentialPatch, CredentialQuery, CredentialView, Hold, NewCredential};

/// List credentials
#[utoipa::path(
    get, path = "/credentials", tag = "credentials", params(CredentialQuery, Page),
    responses(
        (status = 200, description = "A page of credentials, without any value",
         body = List<CredentialView>),
        ReadProblems,
    )
)]
pub async fn list_credentials(
    State(state): State<ApiState>,
    Proven(caller): Proven,
    Paged { page, filter }: Paged<CredentialQuery>,
) -> Answer<Json<List<CredentialView>>> {
    let (after, limit) = place(&page)?;
    let vault = state.vault();
    let page = vault.credentials(&caller, &filter, &after, limit).await?;
    Ok(Json(page.into()))
}

/// Add a credential
///
/// Its value comes with its first version.
#[utoipa::path(
    post, path = "/credentials", tag = "credentials", request_body = NewCredential,
    responses(
        (status = 201, description = "The new credential", body = CredentialView,
         headers(("Location" = String), ("ETag" = String))),
        CreateProblems,
    )
)]
pub async fn create_credential(
    State(state): State<ApiState>,
    Proven(caller): Proven,
    StrictJson(new): StrictJson<NewCredential>,
) -> Answer<Response> {
    let credential = state.vault().create_credential(&caller, new).await?;
    let path = format!("/credentials/{}", credential.id);
    Ok(created(&path, single(credential.revision, credential)))
}

/// Read a credential with its versions, without any value
#[utoipa::path(
    get, path = "/credentials/{credential}", tag = "credentials",
    params(("credential" = CredentialId, Path)),
    responses(
        (status = 200, description = "The credential", body = CredentialView,
         headers(("ETag" = String))),
        ReadProblems,
    )
)]
pub async fn read_credential(
    State(state): State<ApiState>,
    Proven(caller): Proven,
    StrictPath(id): StrictPath<CredentialId>,
) -> Answer<Response> {
    let credential = state.vault().credential(&caller, id).await?;
    Ok(single(credential.revision, credential))
}

/// Rename a credential
#[utoipa::path(
    patch, path = "/credentials/{credential}", tag = "credentials",
    params(("credential" = CredentialId, Path), IfMatch), request_body = CredentialPatch,
    responses(
        (status = 200, description = "The credential as it is now", body = CredentialView,
         headers(("ETag" = String))),
        ChangeProblems,
    )
)]
pub async fn change_credential(
    State(state): State<ApiState>,
    Proven(caller): Proven,
    StrictPath(id): StrictPath<CredentialId>,
    IfMatch(revision): IfMatch,
    StrictJson(patch): StrictJson<CredentialPatch>,
) -> Answer<Response> {
    let vault = state.vault();
    let changed = vault.change_credential(&caller, id, revision, patch);
    let credential = changed.await?;
    Ok(single(credential.revision, credential))
}

/// Let a role read a credential
///
/// The key of every version that has a value is wrapped for the role.
#[utoipa::path(
    put, path = "/credentials/{credential}/roles/{role}", tag = "credentials",
    params(("credential" = CredentialId, Path), ("role" = Slug, Path), OptionalIfMatch),
    responses(
        (status = 200, description = "The credential as it is now", body = CredentialView,
         headers(("ETag" = String))),
        RemovalProblems,
    )
)]
pub async fn add_credential_role(
    State(state): State<ApiState>,
    Proven(caller): Proven,
    StrictPath((id, role)): StrictPath<(CredentialId, Slug)>,
    OptionalIfMatch(revision): OptionalIfMatch,
) -> Answer<Response> {
    let vault = state.vault();
    let changed = vault.add_credential_role(&caller, id, revision, role);
    let credential = changed.await?;
    Ok(single(credential.revision, credential))
}

/// Take a role's access to a credential away
///
/// What was wrapped for the role is deleted. The only role stays: without it nothing could open the
/// value.
#[utoipa::path(
    delete, path = "/credentials/{credential}/roles/{role}", tag = "credentials",
    params(("credential" = CredentialId, Path), ("role" = Slug, Path), OptionalIfMatch),
    responses(
        (status = 200, description = "The credential as it is now", body = CredentialView,
         headers(("ETag" = String))),
        RemovalProblems,
    )
)]
pub async fn remove_credential_role(
    State(state): State<ApiState>,
    Proven(caller): Proven,
    StrictPath((id, role)): StrictPath<(CredentialId, Slug)>,
    OptionalIfMatch(revision): OptionalIfMatch,
) -> Answer<Response> {
    let vault = state.vault();
    let changed = vault.remove_credential_role(&caller, id, revision, role);
    let credential = changed.await?;
    Ok(single(credential.revision, credential))
}

/// List who holds which version of a credential
#[utoipa::path(
    get, path = "/credentials/{credential}/holds", tag = "credentials",
    params(("credential" = CredentialId, Path)),
    responses((status = 200, description = "All holds", body = List<Hold>), ReadProblems)
)]
pub async fn list_credential_holds(
    State(state): State<ApiState>,
    Proven(caller): Proven,
    StrictPath(id): StrictPath<CredentialId>,
) -> Answer<Json<List<Hold>>> {
    let holds = state.vault().credential_holds(&caller, id).await?;
    Ok(Json(whole(holds)))
}
