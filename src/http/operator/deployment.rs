//! The deployment as a whole.

use axum::extract::State;
use axum::response::Response;

use super::problems::{ChangeProblems, ReadProblems};
use super::single;
use crate::http::authenticate::{ApiState, Proven};
use crate::http::extract::{IfMatch, StrictJson};
use crate::http::problem::Answer;
use crate::vault::{DeploymentView, Thaw};

/// Read the state of the deployment
///
/// Whether values are released, and what was revoked after the backup that was restored.
#[utoipa::path(
    get, path = "/deployment", tag = "deployment",
    responses(
        (status = 200, description = "The deployment", body = DeploymentView,
         headers(("ETag" = String))),
        ReadProblems,
    )
)]
pub async fn read_deployment(
    State(state): State<ApiState>,
    Proven(caller): Proven,
) -> Answer<Response> {
    let view = state.vault().deployment_view(&caller).await?;
    Ok(single(view.revision, view))
}

/// Release values again after a restore
///
/// Revocations that were made after the backup are done again first, if they are confirmed; without
/// that it is refused while there are any.
#[utoipa::path(
    post, path = "/deployment/thaw", tag = "deployment", params(IfMatch), request_body = Thaw,
    responses(
        (status = 200, description = "The deployment as it is now", body = DeploymentView,
         headers(("ETag" = String))),
        ChangeProblems,
    )
)]
pub async fn thaw_deployment(
    State(state): State<ApiState>,
    Proven(caller): Proven,
    IfMatch(revision): IfMatch,
    StrictJson(thaw): StrictJson<Thaw>,
) -> Answer<Response> {
    let view = state.vault().thaw(&caller, revision, thaw).await?;
    Ok(single(view.revision, view))
}
