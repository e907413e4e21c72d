//! Workloads: registered servers.

use axum::Json;
use axum::extract::State;
use axum::response::Response;

use super::problems::{ChangeProblems, ConditionalProblems, CreateProblems, ReadProblems};
use super::{List, created, place, single, whole};
use crate::http::authenticate::{ApiState, Proven};
use crate::http::extract::{IfMatch, Page, StrictJson, StrictPath};
use crate::http::problem::Answer;
use crate::model::WorkloadId;
use crate::vault::{Hold, NewWorkload, PrincipalState, WorkloadPatch, WorkloadView};

/// List workloads
#[utoipa::path(
    get, path = "/workloads", tag = "workloads", params(Page),
    responses((status = 200, description = "A page of workloads", body = List<WorkloadView>), ReadProblems)
)]
pub async fn list_workloads(
    State(state): State<ApiState>,
    Proven(caller): Proven,
    page: Page,
) -> Answer<Json<List<WorkloadView>>> {
    let (after, limit) = place(&page)?;
    let page = state.vault().workloads(&caller, &after, limit).await?;
    Ok(Json(page.into()))
}

/// Enrol a workload
///
/// It can do nothing until a key is registered for it.
#[utoipa::path(
    post, path = "/workloads", tag = "workloads", request_body = NewWorkload,
    responses(
        (status = 201, description = "The new workload", body = WorkloadView,
         headers(("Location" = String), ("ETag" = String))),
        CreateProblems,
    )
)]
pub async fn enrol_workload(
    State(state): State<ApiState>,
    Proven(caller): Proven,
    StrictJson(new): StrictJson<NewWorkload>,
) -> Answer<Response> {
    let workload = state.vault().enrol_workload(&caller, new).await?;
    let path = format!("/workloads/{}", workload.id);
    Ok(created(&path, single(workload.revision, workload)))
}

/// Read a workload with its keys
#[utoipa::path(
    get, path = "/workloads/{workload}", tag = "workloads", params(("workload" = WorkloadId, Path)),
    responses(
        (status = 200, description = "The workload", body = WorkloadView, headers(("ETag" = String))),
        ReadProblems,
    )
)]
pub async fn read_workload(
    State(state): State<ApiState>,
    Proven(caller): Proven,
    StrictPath(id): StrictPath<WorkloadId>,
) -> Answer<Response> {
    let workload = state.vault().workload(&caller, id).await?;
    Ok(single(workload.revision, workload))
}

/// Change the name, the roles or the age recipient of a workload
#[utoipa::path(
    patch, path = "/workloads/{workload}", tag = "workloads",
    params(("workload" = WorkloadId, Path), IfMatch), request_body = WorkloadPatch,
    responses(
        (status = 200, description = "The workload as it is now", body = WorkloadView,
         headers(("ETag" = String))),
        ChangeProblems,
    )
)]
pub async fn change_workload(
    State(state): State<ApiState>,
    Proven(caller): Proven,
    StrictPath(id): StrictPath<WorkloadId>,
    IfMatch(revision): IfMatch,
    StrictJson(patch): StrictJson<WorkloadPatch>,
) -> Answer<Response> {
    let vault = state.vault();
    let workload = vault.change_workload(&caller, id, revision, patch).await?;
    Ok(single(workload.revision, workload))
}

/// Disable a workload
///
/// From the next request on it is treated as unknown, on every node.
#[utoipa::path(
    post, path = "/workloads/{workload}/disable", tag = "workloads",
    params(("workload" = WorkloadId, Path), IfMatch),
    responses(
        (status = 200, description = "The workload as it is now", body = WorkloadView,
         headers(("ETag" = String))),
        ConditionalProblems,
    )
)]
pub async fn disable_workload(
    State(state): State<ApiState>,
    Proven(caller): Proven,
    StrictPath(id): StrictPath<WorkloadId>,
    IfMatch(revision): IfMatch,
) -> Answer<Response> {
    let (vault, to) = (state.vault(), PrincipalState::Disabled);
    let workload = vault.set_workload_state(&caller, id, revision, to).await?;
    Ok(single(workload.revision, workload))
}

/// Enable a workload
///
/// Its keys that are not revoked work again.
#[utoipa::path(
    post, path = "/workloads/{workload}/enable", tag = "workloads",
    params(("workload" = WorkloadId, Path), IfMatch),
    responses(
        (status = 200, description = "The workload as it is now", body = WorkloadView,
         headers(("ETag" = String))),
        ConditionalProblems,
    )
)]
pub async fn enable_workload(
    State(state): State<ApiState>,
    Proven(caller): Proven,
    StrictPath(id): StrictPath<WorkloadId>,
    IfMatch(revision): IfMatch,
) -> Answer<Response> {
    let (vault, to) = (state.vault(), PrincipalState::Enabled);
    let workload = vault.set_workload_state(&caller, id, revision, to).await?;
    Ok(single(workload.revision, workload))
}

/// List which versions a workload holds
///
/// The one of its newest report of each credential; if it never reported, every version it fetched.
#[utoipa::path(
    get, path = "/workloads/{workload}/holds", tag = "workloads",
    params(("workload" = WorkloadId, Path)),
    responses((status = 200, description = "All holds", body = List<Hold>), ReadProblems)
)]
pub async fn list_workload_holds(
    State(state): State<ApiState>,
    Proven(caller): Proven,
    StrictPath(id): StrictPath<WorkloadId>,
) -> Answer<Json<List<Hold>>> {
    let holds = state.vault().workload_holds(&caller, id).await?;
    Ok(Json(whole(holds)))
}
