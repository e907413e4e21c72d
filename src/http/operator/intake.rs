//! Invitations, what came by them, and the tasks that follow.

use axum::Json;
use axum::extract::State;
use axum::response::Response;
use serde::Serialize;
use utoipa::ToSchema;

use super::problems::{ActionProblems, CreateProblems, ReadProblems};
use super::{List, created, place};
use crate::http::authenticate::{ApiState, Proven};
use crate::http::extract::{Page, Paged, StrictJson, StrictPath};
use crate::http::problem::{Answer, Problem};
use crate::model::{InviteId, SubmissionId, TaskId};
use crate::secret::Secret;
use crate::vault::{
    InviteQuery, InviteView, NewInvite, Reason, SubmissionQuery, SubmissionView, TaskQuery,
    TaskView,
};

/// An invitation that was just made. The link and the code are in no other answer.
#[derive(Serialize, ToSchema)]
#[schema(as = IssuedInvite)]
pub struct Issued {
    /// The invitation.
    #[serde(flatten)]
    invite: InviteView,
    /// The link, where no mail carries it; without `pages.url` in the settings only its path.
    link: Option<String>,
    /// The second code: give it to the contact by another channel than the link.
    code: Option<String>,
}

fn text(secret: &Secret) -> Answer<String> {
    let text = std::str::from_utf8(secret.expose_secret());
    text.map(str::to_owned).map_err(|_| Problem::internal())
}

/// Invite a contact to hand in a credential
///
/// For a credential that is there, or one that is added with its first invitation. Earlier open
/// invitations for the same credential end.
#[utoipa::path(
    post, path = "/invites", tag = "intake", request_body = NewInvite,
    responses(
        (status = 201, description = "The invitation, with its link this once", body = Issued,
         headers(("Location" = String))),
        CreateProblems,
    )
)]
pub async fn create_invite(
    State(state): State<ApiState>,
    Proven(caller): Proven,
    StrictJson(new): StrictJson<NewInvite>,
) -> Answer<Response> {
    let issued = state.vault().invite(&caller, new).await?;
    let link = issued.token.as_ref().map(|token| text(token.secret()));
    let link = link.transpose()?;
    let link = link.map(|token| format!("{}/i/{token}", state.vault().pages_url()));
    let body = Issued {
        link,
        code: issued.code.as_ref().map(text).transpose()?,
        invite: issued.invite,
    };
    Ok(created(&format!("/invites/{}", body.invite.id), Json(body)))
}

/// List invitations
#[utoipa::path(
    get, path = "/invites", tag = "intake", params(InviteQuery, Page),
    responses((status = 200, description = "A page", body = List<InviteView>), ReadProblems)
)]
pub async fn list_invites(
    State(state): State<ApiState>,
    Proven(caller): Proven,
    Paged { page, filter }: Paged<InviteQuery>,
) -> Answer<Json<List<InviteView>>> {
    let (after, limit) = place(&page)?;
    let page = state
        .vault()
        .invites(&caller, filter, &after, limit)
        .await?;
    Ok(Json(page.into()))
}

/// Read an invitation
#[utoipa::path(
    get, path = "/invites/{invite}", tag = "intake", params(("invite" = InviteId, Path)),
    responses((status = 200, description = "The invitation", body = InviteView), ReadProblems)
)]
pub async fn read_invite(
    State(state): State<ApiState>,
    Proven(caller): Proven,
    StrictPath(id): StrictPath<InviteId>,
) -> Answer<Json<InviteView>> {
    Ok(Json(state.vault().invite_view(&caller, id).await?))
}

/// Revoke an invitation
///
/// Its link is good for nothing any more. What was handed in by it stays.
#[utoipa::path(
    post, path = "/invites/{invite}/revoke", tag = "intake", params(("invite" = InviteId, Path)),
    responses((status = 200, description = "The invitation as it is now", body = InviteView), ActionProblems)
)]
pub async fn revoke_invite(
    State(state): State<ApiState>,
    Proven(caller): Proven,
    StrictPath(id): StrictPath<InviteId>,
) -> Answer<Json<InviteView>> {
    Ok(Json(state.vault().revoke_invite(&caller, id).await?))
}

/// List what clients handed in
///
/// Those of which something may still become; with `all`, the others too.
#[utoipa::path(
    get, path = "/submissions", tag = "intake", params(SubmissionQuery, Page),
    responses((status = 200, description = "A page", body = List<SubmissionView>), ReadProblems)
)]
pub async fn list_submissions(
    State(state): State<ApiState>,
    Proven(caller): Proven,
    Paged { page, filter }: Paged<SubmissionQuery>,
) -> Answer<Json<List<SubmissionView>>> {
    let (after, limit) = place(&page)?;
    let vault = state.vault();
    let page = vault.submissions(&caller, filter, &after, limit).await?;
    Ok(Json(page.into()))
}

/// Read a submission with its newest verification
#[utoipa::path(
    get, path = "/submissions/{submission}", tag = "intake",
    params(("submission" = SubmissionId, Path)),
    responses((status = 200, description = "The submission", body = SubmissionView), ReadProblems)
)]
pub async fn read_submission(
    State(state): State<ApiState>,
    Proven(caller): Proven,
    StrictPath(id): StrictPath<SubmissionId>,
) -> Answer<Json<SubmissionView>> {
    Ok(Json(state.vault().submission(&caller, id).await?))
}

/// Verify a submission again
///
/// One that waits for an operator goes on waiting, whatever comes of it.
#[utoipa::path(
    post, path = "/submissions/{submission}/verify", tag = "intake",
    params(("submission" = SubmissionId, Path)),
    responses((status = 200, description = "The submission", body = SubmissionView), ActionProblems)
)]
pub async fn verify_submission(
    State(state): State<ApiState>,
    Proven(caller): Proven,
    StrictPath(id): StrictPath<SubmissionId>,
) -> Answer<Json<SubmissionView>> {
    Ok(Json(state.vault().verify_submission(&caller, id).await?))
}

/// Activate a submission by hand
#[utoipa::path(
    post, path = "/submissions/{submission}/activate", tag = "intake",
    params(("submission" = SubmissionId, Path)), request_body = Reason,
    responses((status = 200, description = "The submission", body = SubmissionView), CreateProblems)
)]
pub async fn activate_submission(
    State(state): State<ApiState>,
    Proven(caller): Proven,
    StrictPath(id): StrictPath<SubmissionId>,
    StrictJson(why): StrictJson<Reason>,
) -> Answer<Json<SubmissionView>> {
    let vault = state.vault();
    Ok(Json(vault.activate_submission(&caller, id, why).await?))
}

/// Close a submission
///
/// Its value is destroyed. The invitation stays as it is.
#[utoipa::path(
    post, path = "/submissions/{submission}/close", tag = "intake",
    params(("submission" = SubmissionId, Path)), request_body = Reason,
    responses((status = 200, description = "The submission", body = SubmissionView), CreateProblems)
)]
pub async fn close_submission(
    State(state): State<ApiState>,
    Proven(caller): Proven,
    StrictPath(id): StrictPath<SubmissionId>,
    StrictJson(why): StrictJson<Reason>,
) -> Answer<Json<SubmissionView>> {
    let vault = state.vault();
    Ok(Json(vault.close_submission(&caller, id, why).await?))
}

/// List tasks
///
/// The open ones; with `all`, those that are done too.
#[utoipa::path(
    get, path = "/tasks", tag = "tasks", params(TaskQuery, Page),
    responses((status = 200, description = "A page", body = List<TaskView>), ReadProblems)
)]
pub async fn list_tasks(
    State(state): State<ApiState>,
    Proven(caller): Proven,
    Paged { page, filter }: Paged<TaskQuery>,
) -> Answer<Json<List<TaskView>>> {
    let (after, limit) = place(&page)?;
    let page = state.vault().tasks(&caller, filter, &after, limit).await?;
    Ok(Json(page.into()))
}

/// Close a task
#[utoipa::path(
    post, path = "/tasks/{task}/close", tag = "tasks", params(("task" = TaskId, Path)),
    request_body = Reason,
    responses((status = 200, description = "The task as it is now", body = TaskView), CreateProblems)
)]
pub async fn close_task(
    State(state): State<ApiState>,
    Proven(caller): Proven,
    StrictPath(id): StrictPath<TaskId>,
    StrictJson(why): StrictJson<Reason>,
) -> Answer<Json<TaskView>> {
    Ok(Json(state.vault().close_task(&caller, id, why).await?))
}
