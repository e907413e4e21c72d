//! Keys of principals: the same for workloads and operators.

use axum::Json;
use axum::extract::State;
use axum::response::Response;

use super::problems::{ActionProblems, CreateProblems, ReadProblems};
use super::{List, created, whole};
use crate::http::authenticate::{ApiState, Proven};
use crate::http::extract::{StrictJson, StrictPath};
use crate::http::problem::{Answer, Problem};
use crate::model::{KeyId, OperatorId, PrincipalId, WorkloadId};
use crate::vault::{Caller, KeyView, NewKey};

async fn list(state: ApiState, caller: Caller, owner: PrincipalId) -> Answer<Json<List<KeyView>>> {
    let keys = state.vault().keys_of(&caller, owner).await?;
    Ok(Json(whole(keys)))
}

async fn read(
    state: ApiState,
    caller: Caller,
    owner: PrincipalId,
    id: KeyId,
) -> Answer<Json<KeyView>> {
    let keys = state.vault().keys_of(&caller, owner).await?;
    let key = keys.into_iter().find(|key| key.id == id);
    key.map(Json).ok_or_else(Problem::not_found)
}

async fn register(
    state: ApiState,
    caller: Caller,
    owner: PrincipalId,
    new: NewKey,
) -> Answer<Response> {
    let key = state.vault().register_key(&caller, owner, new).await?;
    let collection = match owner {
        PrincipalId::Workload(_) => "workloads",
        PrincipalId::Operator(_) => "operators",
    };
    let path = format!("/{collection}/{owner}/keys/{}", key.id);
    Ok(created(&path, Json(key)))
}

async fn revoke(
    state: ApiState,
    caller: Caller,
    owner: PrincipalId,
    id: KeyId,
) -> Answer<Json<KeyView>> {
    let key = state.vault().revoke_key(&caller, owner, id).await?;
    Ok(Json(key))
}

/// List the keys of a workload, revoked ones included
#[utoipa::path(
    get, path = "/workloads/{workload}/keys", tag = "workloads", params(("workload" = WorkloadId, Path)),
    responses((status = 200, description = "All keys", body = List<KeyView>), ReadProblems)
)]
pub async fn list_workload_keys(
    State(state): State<ApiState>,
    Proven(caller): Proven,
    StrictPath(owner): StrictPath<WorkloadId>,
) -> Answer<Json<List<KeyView>>> {
    list(state, caller, PrincipalId::Workload(owner)).await
}

/// Register a key of a workload, or have a certificate issued
///
/// Exactly one of `certificate`, `public_key`, `csr`, and `spiffe_id` with `authority`. A key belongs
/// to one principal for ever.
#[utoipa::path(
    post, path = "/workloads/{workload}/keys", tag = "workloads", params(("workload" = WorkloadId, Path)),
    request_body = NewKey,
    responses(
        (status = 201, description = "The new key, with the certificate if one was issued",
         body = KeyView, headers(("Location" = String))),
        CreateProblems,
    )
)]
pub async fn register_workload_key(
    State(state): State<ApiState>,
    Proven(caller): Proven,
    StrictPath(owner): StrictPath<WorkloadId>,
    StrictJson(new): StrictJson<NewKey>,
) -> Answer<Response> {
    register(state, caller, PrincipalId::Workload(owner), new).await
}

/// Read a key of a workload
#[utoipa::path(
    get, path = "/workloads/{workload}/keys/{key}", tag = "workloads",
    params(("workload" = WorkloadId, Path), ("key" = KeyId, Path)),
    responses((status = 200, description = "The key", body = KeyView), ReadProblems)
)]
pub async fn read_workload_key(
    State(state): State<ApiState>,
    Proven(caller): Proven,
    StrictPath((owner, id)): StrictPath<(WorkloadId, KeyId)>,
) -> Answer<Json<KeyView>> {
    read(state, caller, PrincipalId::Workload(owner), id).await
}

/// Revoke a key of a workload
///
/// It takes effect at the next request on every node, also on an open connection.
#[utoipa::path(
    delete, path = "/workloads/{workload}/keys/{key}", tag = "workloads",
    params(("workload" = WorkloadId, Path), ("key" = KeyId, Path)),
    responses((status = 200, description = "The revoked key", body = KeyView), ActionProblems)
)]
pub async fn revoke_workload_key(
    State(state): State<ApiState>,
    Proven(caller): Proven,
    StrictPath((owner, id)): StrictPath<(WorkloadId, KeyId)>,
) -> Answer<Json<KeyView>> {
    revoke(state, caller, PrincipalId::Workload(owner), id).await
}

/// List the keys of an operator, revoked ones included
#[utoipa::path(
    get, path = "/operators/{operator}/keys", tag = "operators", params(("operator" = OperatorId, Path)),
    responses((status = 200, description = "All keys", body = List<KeyView>), ReadProblems)
)]
pub async fn list_operator_keys(
    State(state): State<ApiState>,
    Proven(caller): Proven,
    StrictPath(owner): StrictPath<OperatorId>,
) -> Answer<Json<List<KeyView>>> {
    list(state, caller, PrincipalId::Operator(owner)).await
}

/// Register a key of an operator, or have a certificate issued
///
/// Exactly one of `certificate`, `public_key`, `csr`, and `spiffe_id` with `authority`. A key belongs
/// to one principal for ever.
#[utoipa::path(
    post, path = "/operators/{operator}/keys", tag = "operators", params(("operator" = OperatorId, Path)),
    request_body = NewKey,
    responses(
        (status = 201, description = "The new key, with the certificate if one was issued",
         body = KeyView, headers(("Location" = String))),
        CreateProblems,
    )
)]
pub async fn register_operator_key(
    State(state): State<ApiState>,
    Proven(caller): Proven,
    StrictPath(owner): StrictPath<OperatorId>,
    StrictJson(new): StrictJson<NewKey>,
) -> Answer<Response> {
    register(state, caller, PrincipalId::Operator(owner), new).await
}

/// Read a key of an operator
#[utoipa::path(
    get, path = "/operators/{operator}/keys/{key}", tag = "operators",
    params(("operator" = OperatorId, Path), ("key" = KeyId, Path)),
    responses((status = 200, description = "The key", body = KeyView), ReadProblems)
)]
pub async fn read_operator_key(
    State(state): State<ApiState>,
    Proven(caller): Proven,
    StrictPath((owner, id)): StrictPath<(OperatorId, KeyId)>,
) -> Answer<Json<KeyView>> {
    read(state, caller, PrincipalId::Operator(owner), id).await
}

/// Revoke a key of an operator
///
/// It takes effect at the next request on every node, also on an open connection.
#[utoipa::path(
    delete, path = "/operators/{operator}/keys/{key}", tag = "operators",
    params(("operator" = OperatorId, Path), ("key" = KeyId, Path)),
    responses((status = 200, description = "The revoked key", body = KeyView), ActionProblems)
)]
pub async fn revoke_operator_key(
    State(state): State<ApiState>,
    Proven(caller): Proven,
    StrictPath((owner, id)): StrictPath<(OperatorId, KeyId)>,
) -> Answer<Json<KeyView>> {
    revoke(state, caller, PrincipalId::Operator(owner), id).await
}
