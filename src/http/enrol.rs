//! A first certificate for a one-time token, and the next one for the one before.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;

use super::authenticate::{ApiState, Proven, Unproven};
use super::extract::StrictJson;
use super::operator::problems::{CreateProblems, EnrolProblems};
use super::problem::Answer;
use crate::vault::{Enrol, Enrolled, Renew, VaultError};

/// Get a first certificate with a one-time token
///
/// The caller makes a key of its own and sends a signing request for it. The token is used up only if
/// a certificate is issued; every key of the same principal that had a certificate of this service
/// stops working then.
#[utoipa::path(
    post, path = "/enrol", tag = "enrolment", request_body = Enrol, security(()),
    responses((status = 201, description = "The certificate", body = Enrolled), EnrolProblems)
)]
pub async fn enrol(
    State(state): State<ApiState>,
    Unproven(request): Unproven,
    StrictJson(enrol): StrictJson<Enrol>,
) -> Answer<(StatusCode, Json<Enrolled>)> {
    let enrolled = state.vault().enrol(enrol, request).await;
    let enrolled = enrolled.inspect_err(|error| {
        if matches!(error, VaultError::Unauthenticated) {
            metrics::counter!("strongroom_unauthenticated_total", "reason" => "enrolment-token")
                .increment(1);
        }
    })?;
    Ok((StatusCode::CREATED, Json(enrolled)))
}

/// Get the next certificate for the same key
///
/// Over a connection with the client certificate that is renewed, which this service's own authority
/// issued; an assertion is not enough. The old certificate stays good until its end.
#[utoipa::path(
    post, path = "/renew", tag = "enrolment", request_body = Renew,
    responses((status = 201, description = "The certificate", body = Enrolled), CreateProblems)
)]
pub async fn renew(
    State(state): State<ApiState>,
    Proven(caller): Proven,
    StrictJson(renew): StrictJson<Renew>,
) -> Answer<(StatusCode, Json<Enrolled>)> {
    let enrolled = state.vault().renew(&caller, renew).await?;
    Ok((StatusCode::CREATED, Json(enrolled)))
}
