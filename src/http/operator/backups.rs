//! Backups: taking one, and which were taken.

use axum::Json;
use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::HeaderValue;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use futures_util::TryStreamExt;

use super::problems::{CreateProblems, ReadProblems};
use super::{List, created, place};
use crate::http::authenticate::{ApiState, Proven};
use crate::http::extract::{Page, StrictJson, StrictPath};
use crate::http::problem::Answer;
use crate::model::BackupId;
use crate::vault::{BackupView, NewBackup};

/// List the backups that were taken, oldest first
#[utoipa::path(
    get, path = "/backups", tag = "backups", params(Page),
    responses((status = 200, description = "A page of backups", body = List<BackupView>), ReadProblems)
)]
pub async fn list_backups(
    State(state): State<ApiState>,
    Proven(caller): Proven,
    page: Page,
) -> Answer<Json<List<BackupView>>> {
    let (after, limit) = place(&page)?;
    let page = state.vault().backups(&caller, &after, limit).await?;
    Ok(Json(page.into()))
}

/// Take a backup
///
/// The answer is the file, encrypted with age. If anything goes wrong in the middle, the connection
/// is cut. `Location` is where its size and SHA-256 can be read once it is complete.
#[utoipa::path(
    post, path = "/backups", tag = "backups", request_body = NewBackup,
    responses(
        (status = 201, description = "The file", content_type = "application/age",
         body = Vec<u8>, headers(("Location" = String))),
        CreateProblems,
    )
)]
pub async fn take_backup(
    State(state): State<ApiState>,
    Proven(caller): Proven,
    StrictJson(new): StrictJson<NewBackup>,
) -> Answer<Response> {
    let (id, pieces) = state.vault().take_backup(&caller, new).await?;
    let pieces = pieces.map_ok(Bytes::from).map_err(|error| {
        tracing::warn!(%error, "a backup was cut off in the middle");
        std::io::Error::other("the backup was cut off")
    });
    let mut response = created(
        &format!("/backups/{id}"),
        Body::from_stream(pieces).into_response(),
    );
    let age = HeaderValue::from_static("application/age");
    response.headers_mut().insert(CONTENT_TYPE, age);
    Ok(response)
}

/// Read what is known of a backup
#[utoipa::path(
    get, path = "/backups/{backup}", tag = "backups", params(("backup" = BackupId, Path)),
    responses((status = 200, description = "The backup", body = BackupView), ReadProblems)
)]
pub async fn read_backup(
    State(state): State<ApiState>,
    Proven(caller): Proven,
    StrictPath(id): StrictPath<BackupId>,
) -> Answer<Json<BackupView>> {
    Ok(Json(state.vault().backup(&caller, id).await?))
}
