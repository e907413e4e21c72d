//! The deployment's own keys, as far as they can be shown.

use axum::Json;
use axum::extract::State;

use super::problems::ReadProblems;
use crate::http::authenticate::{ApiState, Proven};
use crate::http::problem::Answer;
use crate::vault::KeyInventory;

/// List root key, KEKs and service keys
///
/// Generations, dates and check values; never a key.
#[utoipa::path(
    get, path = "/keys", tag = "keys",
    responses((status = 200, description = "The inventory", body = KeyInventory), ReadProblems)
)]
pub async fn read_keys(
    State(state): State<ApiState>,
    Proven(caller): Proven,
) -> Answer<Json<KeyInventory>> {
    Ok(Json(state.vault().key_inventory(&caller).await?))
}
