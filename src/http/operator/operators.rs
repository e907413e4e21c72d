//! Operators: the vendor's people. None of them ever gets a value.

use axum::Json;
use axum::extract::State;
use axum::response::Response;

use super::problems::{ChangeProblems, ConditionalProblems, CreateProblems, ReadProblems};
use super::{List, created, place, single};
use crate::http::authenticate::{ApiState, Proven};
use crate::http::extract::{IfMatch, Page, StrictJson, StrictPath};
use crate::http::problem::Answer;
use crate::model::OperatorId;
use crate::vault::{NewOperator, OperatorPatch, OperatorView, PrincipalState};

/// List operators
#[utoipa::path(
    get, path = "/operators", tag = "operators", params(Page),
    responses((status = 200, description = "A page of operators", body = List<OperatorView>), ReadProblems)
)]
pub async fn list_operators(
    State(state): State<ApiState>,
    Proven(caller): Proven,
    page: Page,
) -> Answer<Json<List<OperatorView>>> {
    let (after, limit) = place(&page)?;
    let page = state.vault().operators(&caller, &after, limit).await?;
    Ok(Json(page.into()))
}

/// Enrol an operator
///
/// They can do nothing until a key is registered for them.
#[utoipa::path(
    post, path = "/operators", tag = "operators", request_body = NewOperator,
    responses(
        (status = 201, description = "The new operator", body = OperatorView,
         headers(("Location" = String), ("ETag" = String))),
        CreateProblems,
    )
)]
pub async fn enrol_operator(
    State(state): State<ApiState>,
    Proven(caller): Proven,
    StrictJson(new): StrictJson<NewOperator>,
) -> Answer<Response> {
    let operator = state.vault().enrol_operator(&caller, new).await?;
    let path = format!("/operators/{}", operator.id);
    Ok(created(&path, single(operator.revision, operator)))
}

/// Read an operator with its keys
#[utoipa::path(
    get, path = "/operators/{operator}", tag = "operators", params(("operator" = OperatorId, Path)),
    responses(
        (status = 200, description = "The operator", body = OperatorView, headers(("ETag" = String))),
        ReadProblems,
    )
)]
pub async fn read_operator(
    State(state): State<ApiState>,
    Proven(caller): Proven,
    StrictPath(id): StrictPath<OperatorId>,
) -> Answer<Response> {
    let operator = state.vault().operator(&caller, id).await?;
    Ok(single(operator.revision, operator))
}

/// Change the name or the role of an operator
///
/// The last tech-ops operator with a working key stays one.
#[utoipa::path(
    patch, path = "/operators/{operator}", tag = "operators",
    params(("operator" = OperatorId, Path), IfMatch), request_body = OperatorPatch,
    responses(
        (status = 200, description = "The operator as it is now", body = OperatorView,
         headers(("ETag" = String))),
        ChangeProblems,
    )
)]
pub async fn change_operator(
    State(state): State<ApiState>,
    Proven(caller): Proven,
    StrictPath(id): StrictPath<OperatorId>,
    IfMatch(revision): IfMatch,
    StrictJson(patch): StrictJson<OperatorPatch>,
) -> Answer<Response> {
    let vault = state.vault();
    let operator = vault.change_operator(&caller, id, revision, patch).await?;
    Ok(single(operator.revision, operator))
}

/// Disable an operator
///
/// From the next request on it is treated as unknown, on every node.
#[utoipa::path(
    post, path = "/operators/{operator}/disable", tag = "operators",
    params(("operator" = OperatorId, Path), IfMatch),
    responses(
        (status = 200, description = "The operator as it is now", body = OperatorView,
         headers(("ETag" = String))),
        ConditionalProblems,
    )
)]
pub async fn disable_operator(
    State(state): State<ApiState>,
    Proven(caller): Proven,
    StrictPath(id): StrictPath<OperatorId>,
    IfMatch(revision): IfMatch,
) -> Answer<Response> {
    let (vault, to) = (state.vault(), PrincipalState::Disabled);
    let operator = vault.set_operator_state(&caller, id, revision, to).await?;
    Ok(single(operator.revision, operator))
}

/// Enable an operator
///
/// Its keys that are not revoked work again.
#[utoipa::path(
    post, path = "/operators/{operator}/enable", tag = "operators",
    params(("operator" = OperatorId, Path), IfMatch),
    responses(
        (status = 200, description = "The operator as it is now", body = OperatorView,
         headers(("ETag" = String))),
        ConditionalProblems,
    )
)]
pub async fn enable_operator(
    State(state): State<ApiState>,
    Proven(caller): Proven,
    StrictPath(id): StrictPath<OperatorId>,
    IfMatch(revision): IfMatch,
) -> Answer<Response> {
    let (vault, to) = (state.vault(), PrincipalState::Enabled);
    let operator = vault.set_operator_state(&caller, id, revision, to).await?;
    Ok(single(operator.revision, operator))
}
