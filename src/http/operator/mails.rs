//! Mails: what was sent to whom and what waits; never what it says.

use axum::Json;
use axum::extract::State;
use axum::response::Response;
use serde::Deserialize;

use super::problems::{CreateProblems, ReadProblems};
use super::{List, created, place};
use crate::http::authenticate::{ApiState, Proven};
use crate::http::extract::{Page, Paged, StrictJson, StrictPath};
use crate::http::problem::Answer;
use crate::model::{ClientId, MailId, MailState};
use crate::vault::{MailView, NewTestMail};

/// Which mails to list; absent means any.
#[derive(Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct MailQuery {
    /// That stand here.
    state: Option<MailState>,
    /// About this client.
    client: Option<ClientId>,
}

/// List mails, oldest first
#[utoipa::path(
    get, path = "/mails", tag = "mails", params(MailQuery, Page),
    responses((status = 200, description = "A page of mails", body = List<MailView>), ReadProblems)
)]
pub async fn list_mails(
    State(state): State<ApiState>,
    Proven(caller): Proven,
    Paged { page, filter }: Paged<MailQuery>,
) -> Answer<Json<List<MailView>>> {
    let (after, limit) = place(&page)?;
    let mails = state
        .vault()
        .mails(&caller, filter.state, filter.client, &after, limit);
    Ok(Json(mails.await?.into()))
}

/// Have a mail sent that tries whether mail arrives
///
/// The answer is given before it is sent: read it again to see what came of it.
#[utoipa::path(
    post, path = "/mails", tag = "mails", request_body = NewTestMail,
    responses(
        (status = 201, description = "The mail", body = MailView, headers(("Location" = String))),
        CreateProblems,
    )
)]
pub async fn test_mail(
    State(state): State<ApiState>,
    Proven(caller): Proven,
    StrictJson(new): StrictJson<NewTestMail>,
) -> Answer<Response> {
    let mail = state.vault().test_mail(&caller, new).await?;
    Ok(created(&format!("/mails/{}", mail.id), Json(mail)))
}

/// Read what became of a mail
#[utoipa::path(
    get, path = "/mails/{mail}", tag = "mails", params(("mail" = MailId, Path)),
    responses((status = 200, description = "The mail", body = MailView), ReadProblems)
)]
pub async fn read_mail(
    State(state): State<ApiState>,
    Proven(caller): Proven,
    StrictPath(id): StrictPath<MailId>,
) -> Answer<Json<MailView>> {
    Ok(Json(state.vault().mail(&caller, id).await?))
}
