//! Contacts: the people at a client.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;

use super::problems::{ChangeProblems, CreateProblems, ReadProblems, RemovalProblems};
use super::{List, created, place, single};
use crate::http::authenticate::{ApiState, Proven};
use crate::http::extract::{IfMatch, OptionalIfMatch, Page, StrictJson, StrictPath};
use crate::http::problem::Answer;
use crate::model::{ClientId, ContactId};
use crate::vault::{ContactPatch, ContactView, NewContact};

/// List the contacts of a client
#[utoipa::path(
    get, path = "/clients/{client}/contacts", tag = "clients",
    params(("client" = ClientId, Path), Page),
    responses((status = 200, description = "A page of contacts", body = List<ContactView>), ReadProblems)
)]
pub async fn list_contacts(
    State(state): State<ApiState>,
    Proven(caller): Proven,
    StrictPath(client): StrictPath<ClientId>,
    page: Page,
) -> Answer<Json<List<ContactView>>> {
    let (after, limit) = place(&page)?;
    let vault = state.vault();
    let page = vault.contacts(&caller, client, &after, limit).await?;
    Ok(Json(page.into()))
}

/// Add a contact to a client
#[utoipa::path(
    post, path = "/clients/{client}/contacts", tag = "clients",
    params(("client" = ClientId, Path)), request_body = NewContact,
    responses(
        (status = 201, description = "The new contact", body = ContactView,
         headers(("Location" = String), ("ETag" = String))),
        CreateProblems,
    )
)]
pub async fn create_contact(
    State(state): State<ApiState>,
    Proven(caller): Proven,
    StrictPath(client): StrictPath<ClientId>,
    StrictJson(new): StrictJson<NewContact>,
) -> Answer<Response> {
    let contact = state.vault().add_contact(&caller, client, new).await?;
    let path = format!("/clients/{client}/contacts/{}", contact.id);
    Ok(created(&path, single(contact.revision, contact)))
}

/// Read a contact
#[utoipa::path(
    get, path = "/clients/{client}/contacts/{contact}", tag = "clients",
    params(("client" = ClientId, Path), ("contact" = ContactId, Path)),
    responses(
        (status = 200, description = "The contact", body = ContactView, headers(("ETag" = String))),
        ReadProblems,
    )
)]
pub async fn read_contact(
    State(state): State<ApiState>,
    Proven(caller): Proven,
    StrictPath((client, id)): StrictPath<(ClientId, ContactId)>,
) -> Answer<Response> {
    let contact = state.vault().contact(&caller, client, id).await?;
    Ok(single(contact.revision, contact))
}

/// Change a contact
#[utoipa::path(
    patch, path = "/clients/{client}/contacts/{contact}", tag = "clients",
    params(("client" = ClientId, Path), ("contact" = ContactId, Path), IfMatch),
    request_body = ContactPatch,
    responses(
        (status = 200, description = "The contact as it is now", body = ContactView,
         headers(("ETag" = String))),
        ChangeProblems,
    )
)]
pub async fn change_contact(
    State(state): State<ApiState>,
    Proven(caller): Proven,
    StrictPath((client, id)): StrictPath<(ClientId, ContactId)>,
    IfMatch(revision): IfMatch,
    StrictJson(patch): StrictJson<ContactPatch>,
) -> Answer<Response> {
    let vault = state.vault();
    let changed = vault.change_contact(&caller, client, id, revision, patch);
    let contact = changed.await?;
    Ok(single(contact.revision, contact))
}

/// Remove a contact
#[utoipa::path(
    delete, path = "/clients/{client}/contacts/{contact}", tag = "clients",
    params(("client" = ClientId, Path), ("contact" = ContactId, Path), OptionalIfMatch),
    responses((status = 204, description = "Removed"), RemovalProblems)
)]
pub async fn remove_contact(
    State(state): State<ApiState>,
    Proven(caller): Proven,
    StrictPath((client, id)): StrictPath<(ClientId, ContactId)>,
    OptionalIfMatch(revision): OptionalIfMatch,
) -> Answer<StatusCode> {
    let vault = state.vault();
    vault.remove_contact(&caller, client, id, revision).await?;
    Ok(StatusCode::NO_CONTENT)
}
