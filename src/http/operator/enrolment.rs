//! One-time tokens for enrolment: the same for workloads and operators.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse as _, Response};
use serde::Serialize;
use utoipa::ToSchema;

use super::problems::{ActionProblems, CreateProblems, ReadProblems};
use super::{List, whole};
use crate::http::authenticate::{ApiState, Proven};
use crate::http::extract::{StrictJson, StrictPath};
use crate::http::problem::{Answer, Problem};
use crate::model::{EnrolmentTokenId, OperatorId, PrincipalId, Timestamp, WorkloadId};
use crate::vault::{Caller, EnrolmentTokenView, NewEnrolmentToken};

/// A token that was just made. Its text is in no other answer.
#[derive(Serialize, ToSchema)]
#[schema(as = IssuedEnrolmentToken)]
pub struct Issued<'a> {
    /// Its id.
    id: EnrolmentTokenId,
    /// The token: give it to whoever enrols, over a way that nobody else reads.
    token: &'a str,
    /// From when on it cannot be used.
    expires_at: Timestamp,
    /// The id of the workload or operator whom it is for.
    #[schema(value_type = String)]
    principal: PrincipalId,
}

async fn issue(
    state: ApiState,
    caller: Caller,
    principal: PrincipalId,
    new: NewEnrolmentToken,
) -> Answer<Response> {
    let vault = state.vault();
    let issued = vault.issue_enrolment_token(&caller, principal, new).await?;
    let token = std::str::from_utf8(issued.token.expose_secret());
    let body = Issued {
        id: issued.id,
        token: token.map_err(|_| Problem::internal())?,
        expires_at: issued.expires_at,
        principal,
    };
    Ok((StatusCode::CREATED, Json(body)).into_response())
}

async fn list(
    state: ApiState,
    caller: Caller,
    principal: PrincipalId,
) -> Answer<Json<List<EnrolmentTokenView>>> {
    let tokens = state.vault().enrolment_tokens(&caller, principal).await?;
    Ok(Json(whole(tokens)))
}

async fn revoke(
    state: ApiState,
    caller: Caller,
    principal: PrincipalId,
    id: EnrolmentTokenId,
) -> Answer<Json<EnrolmentTokenView>> {
    let vault = state.vault();
    let token = vault.revoke_enrolment_token(&caller, principal, id).await?;
    Ok(Json(token))
}

/// List the enrolment tokens of a workload
///
/// Used, revoked and expired ones too, for ninety days after their end. Never the tokens themselves.
#[utoipa::path(
    get, path = "/workloads/{workload}/enrolment-tokens", tag = "workloads",
    params(("workload" = WorkloadId, Path)),
    responses((status = 200, description = "All tokens", body = List<EnrolmentTokenView>), ReadProblems)
)]
pub async fn list_workload_tokens(
    State(state): State<ApiState>,
    Proven(caller): Proven,
    StrictPath(owner): StrictPath<WorkloadId>,
) -> Answer<Json<List<EnrolmentTokenView>>> {
    list(state, caller, PrincipalId::Workload(owner)).await
}

/// Make a one-time enrolment token for a workload
///
/// Earlier ones of the same workload that were not used end.
#[utoipa::path(
    post, path = "/workloads/{workload}/enrolment-tokens", tag = "workloads",
    params(("workload" = WorkloadId, Path)), request_body = NewEnrolmentToken,
    responses(
        (status = 201, description = "The token, this once", body = Issued),
        CreateProblems,
    )
)]
pub async fn issue_workload_token(
    State(state): State<ApiState>,
    Proven(caller): Proven,
    StrictPath(owner): StrictPath<WorkloadId>,
    StrictJson(new): StrictJson<NewEnrolmentToken>,
) -> Answer<Response> {
    issue(state, caller, PrincipalId::Workload(owner), new).await
}

/// Revoke an enrolment token of a workload that was not used
#[utoipa::path(
    delete, path = "/workloads/{workload}/enrolment-tokens/{token}", tag = "workloads",
    params(("workload" = WorkloadId, Path), ("token" = EnrolmentTokenId, Path)),
    responses((status = 200, description = "The revoked token", body = EnrolmentTokenView), ActionProblems)
)]
pub async fn revoke_workload_token(
    State(state): State<ApiState>,
    Proven(caller): Proven,
    StrictPath((owner, id)): StrictPath<(WorkloadId, EnrolmentTokenId)>,
) -> Answer<Json<EnrolmentTokenView>> {
    revoke(state, caller, PrincipalId::Workload(owner), id).await
}

/// List the enrolment tokens of an operator
///
/// Used, revoked and expired ones too, for ninety days after their end. Never the tokens themselves.
#[utoipa::path(
    get, path = "/operators/{operator}/enrolment-tokens", tag = "operators",
    params(("operator" = OperatorId, Path)),
    responses((status = 200, description = "All tokens", body = List<EnrolmentTokenView>), ReadProblems)
)]
pub async fn list_operator_tokens(
    State(state): State<ApiState>,
    Proven(caller): Proven,
    StrictPath(owner): StrictPath<OperatorId>,
) -> Answer<Json<List<EnrolmentTokenView>>> {
    list(state, caller, PrincipalId::Operator(owner)).await
}

/// Make a one-time enrolment token for an operator
///
/// Earlier ones of the same operator that were not used end.
#[utoipa::path(
    post, path = "/operators/{operator}/enrolment-tokens", tag = "operators",
    params(("operator" = OperatorId, Path)), request_body = NewEnrolmentToken,
    responses(
        (status = 201, description = "The token, this once", body = Issued),
        CreateProblems,
    )
)]
pub async fn issue_operator_token(
    State(state): State<ApiState>,
    Proven(caller): Proven,
    StrictPath(owner): StrictPath<OperatorId>,
    StrictJson(new): StrictJson<NewEnrolmentToken>,
) -> Answer<Response> {
    issue(state, caller, PrincipalId::Operator(owner), new).await
}

/// Revoke an enrolment token of an operator that was not used
#[utoipa::path(
    delete, path = "/operators/{operator}/enrolment-tokens/{token}", tag = "operators",
    params(("operator" = OperatorId, Path), ("token" = EnrolmentTokenId, Path)),
    responses((status = 200, description = "The revoked token", body = EnrolmentTokenView), ActionProblems)
)]
pub async fn revoke_operator_token(
    State(state): State<ApiState>,
    Proven(caller): Proven,
    StrictPath((owner, id)): StrictPath<(OperatorId, EnrolmentTokenId)>,
) -> Answer<Json<EnrolmentTokenView>> {
    revoke(state, caller, PrincipalId::Operator(owner), id).await
}
