//! Receipts: who was given which version, first and last.

use axum::Json;
use axum::extract::State;
use serde::Deserialize;

use super::problems::ReadProblems;
use super::{List, place};
use crate::http::authenticate::{ApiState, Proven};
use crate::http::extract::{Page, Paged};
use crate::http::problem::Answer;
use crate::model::{CredentialId, WorkloadId};
use crate::vault::ReceiptView;

/// Which receipts to list; absent means any.
#[derive(Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct ReceiptQuery {
    /// Of this server.
    workload: Option<WorkloadId>,
    /// For this credential.
    credential: Option<CredentialId>,
}

/// List receipts
#[utoipa::path(
    get, path = "/receipts", tag = "receipts", params(ReceiptQuery, Page),
    responses((status = 200, description = "A page of receipts", body = List<ReceiptView>), ReadProblems)
)]
pub async fn list_receipts(
    State(state): State<ApiState>,
    Proven(caller): Proven,
    Paged { page, filter }: Paged<ReceiptQuery>,
) -> Answer<Json<List<ReceiptView>>> {
    let (after, limit) = place(&page)?;
    let (
        vault,
        ReceiptQuery {
            workload,
            credential,
        },
    ) = (state.vault(), filter);
    let page = vault.receipts(&caller, workload, credential, &after, limit);
    Ok(Json(page.await?.into()))
}
