//! Clients: the companies whose credentials are held.

use axum::Json;
use axum::extract::State;
use axum::response::Response;

use super::problems::{ChangeProblems, CreateProblems, ReadProblems};
use super::{List, created, place, single};
use crate::http::authenticate::{ApiState, Proven};
use crate::http::extract::{IfMatch, Page, StrictJson, StrictPath};
use crate::http::problem::Answer;
use crate::model::ClientId;
use crate::vault::{ClientPatch, ClientView, Erase, Erasure, NewClient};

/// List clients
///
/// In the order in which they were added, without their contacts.
#[utoipa::path(
    get, path = "/clients", tag = "clients", params(Page),
    responses((status = 200, description = "A page of clients", body = List<ClientView>), ReadProblems)
)]
pub async fn list_clients(
    State(state): State<ApiState>,
    Proven(caller): Proven,
    page: Page,
) -> Answer<Json<List<ClientView>>> {
    let (after, limit) = place(&page)?;
    let page = state.vault().clients(&caller, &after, limit).await?;
    Ok(Json(page.into()))
}

/// Add a client
#[utoipa::path(
    post, path = "/clients", tag = "clients", request_body = NewClient,
    responses(
        (status = 201, description = "The new client", body = ClientView,
         headers(("Location" = String), ("ETag" = String))),
        CreateProblems,
    )
)]
pub async fn create_client(
    State(state): State<ApiState>,
    Proven(caller): Proven,
    StrictJson(new): StrictJson<NewClient>,
) -> Answer<Response> {
    let client = state.vault().create_client(&caller, new).await?;
    let path = format!("/clients/{}", client.id);
    Ok(created(&path, single(client.revision, client)))
}

/// Read a client with its contacts
#[utoipa::path(
    get, path = "/clients/{client}", tag = "clients", params(("client" = ClientId, Path)),
    responses(
        (status = 200, description = "The client", body = ClientView, headers(("ETag" = String))),
        ReadProblems,
    )
)]
pub async fn read_client(
    State(state): State<ApiState>,
    Proven(caller): Proven,
    StrictPath(id): StrictPath<ClientId>,
) -> Answer<Response> {
    let client = state.vault().client(&caller, id).await?;
    Ok(single(client.revision, client))
}

/// Change a client's name or short name
#[utoipa::path(
    patch, path = "/clients/{client}", tag = "clients",
    params(("client" = ClientId, Path), IfMatch), request_body = ClientPatch,
    responses(
        (status = 200, description = "The client as it is now", body = ClientView,
         headers(("ETag" = String))),
        ChangeProblems,
    )
)]
pub async fn change_client(
    State(state): State<ApiState>,
    Proven(caller): Proven,
    StrictPath(id): StrictPath<ClientId>,
    IfMatch(revision): IfMatch,
    StrictJson(patch): StrictJson<ClientPatch>,
) -> Answer<Response> {
    let vault = state.vault();
    let client = vault.change_client(&caller, id, revision, patch).await?;
    Ok(single(client.revision, client))
}

/// Erase a client
///
/// Destroys what could open its values, the values, fingerprints, contacts and names. Ids stay, so
/// that the audit log goes on to mean something. This cannot be undone.
#[utoipa::path(
    post, path = "/clients/{client}/erase", tag = "clients",
    params(("client" = ClientId, Path), IfMatch), request_body = Erase,
    responses((status = 200, description = "The certificate", body = Erasure), ChangeProblems)
)]
pub async fn erase_client(
    State(state): State<ApiState>,
    Proven(caller): Proven,
    StrictPath(id): StrictPath<ClientId>,
    IfMatch(revision): IfMatch,
    StrictJson(erase): StrictJson<Erase>,
) -> Answer<Json<Erasure>> {
    let vault = state.vault();
    Ok(Json(
        vault.erase_client(&caller, id, revision, erase).await?,
    ))
}

/// Read the certificate of a client that was erased
#[utoipa::path(
    get, path = "/clients/{client}/erasure", tag = "clients", params(("client" = ClientId, Path)),
    responses((status = 200, description = "The certificate", body = Erasure), ReadProblems)
)]
pub async fn read_erasure(
    State(state): State<ApiState>,
    Proven(caller): Proven,
    StrictPath(id): StrictPath<ClientId>,
) -> Answer<Json<Erasure>> {
    Ok(Json(state.vault().erasure(&caller, id).await?))
}
