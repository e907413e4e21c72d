//! Roles and environments: what servers are for, and where they run.

use axum::Json;
use axum::extract::State;
use axum::response::Response;

use super::problems::{ChangeProblems, CreateProblems, ReadProblems};
use super::{List, created, place, single};
use crate::http::authenticate::{ApiState, Proven};
use crate::http::extract::{IfMatch, Page, StrictJson, StrictPath};
use crate::http::problem::Answer;
use crate::model::{EnvironmentId, RoleId};
use crate::vault::{EnvironmentView, NewName, RoleView};

/// List roles
#[utoipa::path(
    get, path = "/roles", tag = "roles", params(Page),
    responses((status = 200, description = "A page of roles", body = List<RoleView>), ReadProblems)
)]
pub async fn list_roles(
    State(state): State<ApiState>,
    Proven(caller): Proven,
    page: Page,
) -> Answer<Json<List<RoleView>>> {
    let (after, limit) = place(&page)?;
    let page = state.vault().roles(&caller, &after, limit).await?;
    Ok(Json(page.into()))
}

/// Add a role
#[utoipa::path(
    post, path = "/roles", tag = "roles", request_body = NewName,
    responses(
        (status = 201, description = "The new role", body = RoleView,
         headers(("Location" = String), ("ETag" = String))),
        CreateProblems,
    )
)]
pub async fn create_role(
    State(state): State<ApiState>,
    Proven(caller): Proven,
    StrictJson(new): StrictJson<NewName>,
) -> Answer<Response> {
    let role = state.vault().create_role(&caller, new).await?;
    let path = format!("/roles/{}", role.id);
    Ok(created(&path, single(role.revision, role)))
}

/// Read a role
#[utoipa::path(
    get, path = "/roles/{role}", tag = "roles", params(("role" = RoleId, Path)),
    responses(
        (status = 200, description = "The role", body = RoleView, headers(("ETag" = String))),
        ReadProblems,
    )
)]
pub async fn read_role(
    State(state): State<ApiState>,
    Proven(caller): Proven,
    StrictPath(id): StrictPath<RoleId>,
) -> Answer<Response> {
    let role = state.vault().role(&caller, id).await?;
    Ok(single(role.revision, role))
}

/// Rename a role
///
/// Nothing sealed changes: keys are bound to ids.
#[utoipa::path(
    patch, path = "/roles/{role}", tag = "roles",
    params(("role" = RoleId, Path), IfMatch), request_body = NewName,
    responses(
        (status = 200, description = "The role as it is now", body = RoleView,
         headers(("ETag" = String))),
        ChangeProblems,
    )
)]
pub async fn rename_role(
    State(state): State<ApiState>,
    Proven(caller): Proven,
    StrictPath(id): StrictPath<RoleId>,
    IfMatch(revision): IfMatch,
    StrictJson(new): StrictJson<NewName>,
) -> Answer<Response> {
    let vault = state.vault();
    let role = vault.rename_role(&caller, id, revision, new).await?;
    Ok(single(role.revision, role))
}

/// List environments
#[utoipa::path(
    get, path = "/environments", tag = "environments", params(Page),
    responses((status = 200, description = "A page of environments", body = List<EnvironmentView>), ReadProblems)
)]
pub async fn list_environments(
    State(state): State<ApiState>,
    Proven(caller): Proven,
    page: Page,
) -> Answer<Json<List<EnvironmentView>>> {
    let (after, limit) = place(&page)?;
    let page = state.vault().environments(&caller, &after, limit).await?;
    Ok(Json(page.into()))
}

/// Add an environment
#[utoipa::path(
    post, path = "/environments", tag = "environments", request_body = NewName,
    responses(
        (status = 201, description = "The new environment", body = EnvironmentView,
         headers(("Location" = String), ("ETag" = String))),
        CreateProblems,
    )
)]
pub async fn create_environment(
    State(state): State<ApiState>,
    Proven(caller): Proven,
    StrictJson(new): StrictJson<NewName>,
) -> Answer<Response> {
    let environment = state.vault().create_environment(&caller, new).await?;
    let path = format!("/environments/{}", environment.id);
    Ok(created(&path, single(environment.revision, environment)))
}

/// Read an environment
#[utoipa::path(
    get, path = "/environments/{environment}", tag = "environments", params(("environment" = EnvironmentId, Path)),
    responses(
        (status = 200, description = "The environment", body = EnvironmentView, headers(("ETag" = String))),
        ReadProblems,
    )
)]
pub async fn read_environment(
    State(state): State<ApiState>,
    Proven(caller): Proven,
    StrictPath(id): StrictPath<EnvironmentId>,
) -> Answer<Response> {
    let environment = state.vault().environment(&caller, id).await?;
    Ok(single(environment.revision, environment))
}

/// Rename an environment
///
/// Nothing sealed changes: keys are bound to ids.
#[utoipa::path(
    patch, path = "/environments/{environment}", tag = "environments",
    params(("environment" = EnvironmentId, Path), IfMatch), request_body = NewName,
    responses(
        (status = 200, description = "The environment as it is now", body = EnvironmentView,
         headers(("ETag" = String))),
        ChangeProblems,
    )
)]
pub async fn rename_environment(
    State(state): State<ApiState>,
    Proven(caller): Proven,
    StrictPath(id): StrictPath<EnvironmentId>,
    IfMatch(revision): IfMatch,
    StrictJson(new): StrictJson<NewName>,
) -> Answer<Response> {
    let vault = state.vault();
    let environment = vault.rename_environment(&caller, id, revision, new).await?;
    Ok(single(environment.revision, environment))
}
