//! Microsoft Graph, as far as a probe goes.

use std::sync::Arc;

use axum::body::{Body, Bytes};
use axum::extract::{Path, RawQuery, State};
use axum::http::{HeaderMap, Response};
use serde_json::{Value, json};

use super::Shared;
use super::answers::{Place, json_of, text};
use super::entra::pairs;
use super::tokens::{Audience, Issued};
use super::world::{MailboxState, Sent, World};

pub(super) async fn contacts(
    State(shared): State<Arc<Shared>>,
    Path(user): Path<String>,
    headers: HeaderMap,
) -> Response<Body> {
    list(
        &shared,
        &user,
        &headers,
        &["Contacts.Read", "Contacts.ReadWrite"],
    )
}

pub(super) async fn events(
    State(shared): State<Arc<Shared>>,
    Path(user): Path<String>,
    headers: HeaderMap,
) -> Response<Body> {
    list(
        &shared,
        &user,
        &headers,
        &["Calendars.Read", "Calendars.ReadWrite"],
    )
}

fn list(shared: &Shared, user: &str, headers: &HeaderMap, roles: &[&str]) -> Response<Body> {
    let mut world = shared.world();
    match enter(shared, &mut world, headers, user, roles) {
        Ok(_) => json_of(200, &json!({"@odata.context": "$metadata", "value": []})),
        Err(refusal) => *refusal,
    }
}

pub(super) async fn send(
    State(shared): State<Arc<Shared>>,
    Path(user): Path<String>,
    headers: HeaderMap,
    body: Bytes,
) -> Response<Body> {
    let mut world = shared.world();
    if let Err(refusal) = enter(&shared, &mut world, &headers, &user, &["Mail.Send"]) {
        return *refusal;
    }
    let Ok(message) = serde_json::from_slice::<Value>(&body) else {
        return shared.graph_error(400, "BadRequest");
    };
    let word = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let message = &message["message"];
    world.sent.push(Sent {
        by: "graph".to_owned(),
        from: user,
        to: word(&message["toRecipients"][0]["emailAddress"]["address"]),
        subject: word(&message["subject"]),
    });
    text(202, "text/plain", String::new())
}

/// Lets a call in, or says why not: token, permission, mailbox.
fn enter(
    shared: &Shared,
    world: &mut World,
    headers: &HeaderMap,
    user: &str,
    roles: &[&str],
) -> Result<Issued, Box<Response<Body>>> {
    let issued = identify(shared, world, headers)?;
    let refuse = |status, code| Err(Box::new(shared.graph_error(status, code)));
    let Some(tenant) = world.tenant(&issued.owner) else {
        return refuse(401, "InvalidAuthenticationToken");
    };
    let granted = tenant
        .application(&issued.subject)
        .is_some_and(|it| it.granted_in_exchange);
    if !granted && !issued.roles.iter().any(|it| roles.contains(&it.as_str())) {
        return refuse(403, "ErrorAccessDenied");
    }
    match tenant.mailbox(user).map(|it| it.state) {
        Some(MailboxState::Licensed | MailboxState::Kiosk) => Ok(issued),
        Some(MailboxState::OutOfScope) => refuse(403, "ErrorAccessDenied"),
        Some(MailboxState::OnPremises) => refuse(404, "MailboxNotEnabledForRESTAPI"),
        Some(MailboxState::WithoutMailbox) => refuse(404, "ResourceNotFound"),
        None => refuse(404, "ErrorInvalidUser"),
    }
}

fn identify(
    shared: &Shared,
    world: &mut World,
    headers: &HeaderMap,
) -> Result<Issued, Box<Response<Body>>> {
    if let Some(answer) = world.called(Place::Graph) {
        return Err(Box::new(shared.forced(answer)));
    }
    world
        .tokens
        .of(headers, Audience::Graph, shared.clock.now())
        .ok_or_else(|| Box::new(shared.graph_error(401, "InvalidAuthenticationToken")))
}

pub(super) async fn applications(
    State(shared): State<Arc<Shared>>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
) -> Response<Body> {
    let mut world = shared.world();
    let issued = match identify(&shared, &mut world, &headers) {
        Ok(issued) => issued,
        Err(refusal) => return *refusal,
    };
    let may = [
        "Application.Read.All",
        "Application.ReadWrite.All",
        "Application.ReadWrite.OwnedBy",
    ];
    if !issued.roles.iter().any(|it| may.contains(&it.as_str())) {
        return shared.graph_error(403, "Authorization_RequestDenied");
    }
    let query = pairs(&query.unwrap_or_default());
    let wanted = query
        .get("$filter")
        .and_then(|filter| filter.strip_prefix("appId eq '")?.strip_suffix('\''));
    let Some(wanted) = wanted else {
        return shared.graph_error(400, "BadRequest");
    };
    let application = world
        .tenant(&issued.owner)
        .and_then(|tenant| tenant.application(wanted));
    let found: Vec<Value> = application
        .into_iter()
        .map(|application| {
            let secrets: Vec<Value> = application
                .secrets
                .iter()
                .map(|secret| {
                    json!({
                        "keyId": shared.id(),
                        "displayName": "a secret",
                        "hint": secret.value.chars().take(3).collect::<String>(),
                        "endDateTime": secret.expires_at.to_string(),
                        "secretText": null,
                    })
                })
                .collect();
            json!({
                "id": shared.id(),
                "appId": application.id,
                "displayName": "an application",
                "passwordCredentials": secrets,
            })
        })
        .collect();
    json_of(200, &json!({"@odata.context": "$metadata", "value": found}))
}
