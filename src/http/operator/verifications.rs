//! Verifications of stored values at their providers.

use axum::Json;
use axum::extract::State;
use axum::response::Response;

use super::problems::{ActionProblems, ReadProblems};
use super::{List, created, whole};
use crate::http::authenticate::{ApiState, Proven};
use crate::http::extract::StrictPath;
use crate::http::problem::Answer;
use crate::model::{CredentialId, VerificationId};
use crate::vault::VerificationView;

/// Verify a version at its provider
///
/// It is begun as soon as possible; follow it by its address. One that is under way for the same
/// version is given back instead of another.
#[utoipa::path(
    post, path = "/credentials/{credential}/versions/{number}/verify", tag = "credentials",
    params(("credential" = CredentialId, Path), ("number" = i64, Path, minimum = 1)),
    responses(
        (status = 201, description = "The verification", body = VerificationView,
         headers(("Location" = String))),
        ActionProblems,
    )
)]
pub async fn verify_version(
    State(state): State<ApiState>,
    Proven(caller): Proven,
    StrictPath((id, number)): StrictPath<(CredentialId, i64)>,
) -> Answer<Response> {
    let run = state.vault().verify_version(&caller, id, number).await?;
    Ok(created(&format!("/verifications/{}", run.id), Json(run)))
}

/// List the newest verifications of a credential
///
/// The newest twenty, newest first, with their stages.
#[utoipa::path(
    get, path = "/credentials/{credential}/verifications", tag = "credentials",
    params(("credential" = CredentialId, Path)),
    responses(
        (status = 200, description = "The verifications", body = List<VerificationView>),
        ReadProblems,
    )
)]
pub async fn list_verifications(
    State(state): State<ApiState>,
    Proven(caller): Proven,
    StrictPath(id): StrictPath<CredentialId>,
) -> Answer<Json<List<VerificationView>>> {
    let runs = state.vault().verifications(&caller, id).await?;
    Ok(Json(whole(runs)))
}

/// Read a verification
///
/// Its stages appear as they come.
#[utoipa::path(
    get, path = "/verifications/{verification}", tag = "credentials",
    params(("verification" = VerificationId, Path)),
    responses((status = 200, description = "The verification", body = VerificationView), ReadProblems)
)]
pub async fn read_verification(
    State(state): State<ApiState>,
    Proven(caller): Proven,
    StrictPath(id): StrictPath<VerificationId>,
) -> Answer<Json<VerificationView>> {
    Ok(Json(state.vault().verification(&caller, id).await?))
}
