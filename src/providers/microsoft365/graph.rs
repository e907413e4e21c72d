//! Probes through Microsoft Graph, and the end of a secret as Graph knows it.

use reqwest::header::HeaderName;
use reqwest::{Method, Url};
use serde::Deserialize;
use serde_json::json;

use crate::model::{EmailAddress, Timestamp};
use crate::providers::hint::Hint;
use crate::providers::hosts::Endpoint;
use crate::providers::outbound::{Body, Call, Reply};
use crate::providers::probe::{Asking, Cause, Reading};
use crate::providers::signing::uuid;
use crate::providers::verification::{CorrelationId, ProviderCode};
use crate::secret::Secret;

/// Reads at most one id of a list of a user's: `["contacts"]` or `["calendar", "events"]`.
pub(super) async fn find(
    around: Asking<'_>,
    token: &Secret,
    mailbox: &EmailAddress,
    list: &[&str],
) -> Reading<()> {
    let path = [&["v1.0", "users", mailbox.as_str()], list].concat();
    let mut url = around.outbound.hosts().url(Endpoint::Graph, &path);
    url.query_pairs_mut()
        .append_pair("$top", "1")
        .append_pair("$select", "id");
    match call(around, token, Method::GET, url, Body::None).await {
        Ok(reply) if reply.status == 200 => Reading::Good(()),
        Ok(reply) => refusal(&reply, around.now()),
        Err(reading) => reading,
    }
}

/// Sends a message from the mailbox to itself. 202 says that it was accepted, not delivered.
pub(super) async fn send(
    around: Asking<'_>,
    token: &Secret,
    mailbox: &EmailAddress,
    subject: &str,
    text: &str,
) -> Reading<()> {
    let path = ["v1.0", "users", mailbox.as_str(), "sendMail"];
    let url = around.outbound.hosts().url(Endpoint::Graph, &path);
    let message = json!({
        "message": {
            "subject": subject,
            "body": {"contentType": "Text", "content": text},
            "toRecipients": [{"emailAddress": {"address": mailbox.as_str()}}],
        },
        "saveToSentItems": false,
    });
    let body = Body::Json(Secret::new(message.to_string().into_bytes()));
    match call(around, token, Method::POST, url, body).await {
        Ok(reply) if reply.status == 202 => Reading::Good(()),
        Ok(reply) => refusal(&reply, around.now()),
        Err(reading) => reading,
    }
}

/// One of an application's secrets, as Graph lists them (resource type `passwordCredential`).
#[derive(Deserialize)]
struct PasswordCredential {
    /// The first three characters.
    #[serde(default)]
    hint: Option<String>,
    #[serde(rename = "endDateTime", default)]
    end: Option<Timestamp>,
}

#[derive(Deserialize)]
struct Application {
    #[serde(rename = "passwordCredentials", default)]
    secrets: Vec<PasswordCredential>,
}

#[derive(Deserialize)]
struct Applications {
    value: Vec<Application>,
}

/// When the secret ends: the earliest end to come among those that begin with the same three
/// characters, for nobody can tell them apart. Refused with [`Hint::ExpiryNotReadable`] if none of them
/// fits, or reading them was not consented to, which nobody is asked for.
pub(super) async fn secret_end(
    around: Asking<'_>,
    token: &Secret,
    client_id: &str,
    secret: &Secret,
) -> Reading<Timestamp> {
    let hosts = around.outbound.hosts();
    let mut url = hosts.url(Endpoint::Graph, &["v1.0", "applications"]);
    // The id is a GUID, so it cannot leave the quotes.
    url.query_pairs_mut()
        .append_pair("$filter", &format!("appId eq '{client_id}'"))
        .append_pair("$select", "id,appId,passwordCredentials");
    let reply = match call(around, token, Method::GET, url, Body::None).await {
        Ok(reply) => reply,
        Err(reading) => return reading,
    };
    let cause = |hint| Cause {
        hint,
        code: Some(ProviderCode::Status(reply.status)),
        correlation: reply.correlation(),
    };
    if reply.status != 200 {
        return match refusal(&reply, around.now()) {
            Reading::Refused(cause) => Reading::Refused(Cause {
                hint: match cause.hint {
                    Hint::PermissionMissing => Hint::ExpiryNotReadable,
                    // What is said of mailboxes says nothing here.
                    hint if hint.is_for_client() => Hint::Unknown,
                    hint => hint,
                },
                ..cause
            }),
            reading => reading,
        };
    }
    let Ok(found) = serde_json::from_slice::<Applications>(reply.body()) else {
        return Reading::Later(cause(Hint::ProviderUnavailable), None);
    };
    let secrets = found.value.iter().flat_map(|it| &it.secrets);
    match earliest(secrets, secret, around.now()) {
        Some(end) => Reading::Good(end),
        None => Reading::Refused(cause(Hint::ExpiryNotReadable)),
    }
}

fn earliest<'a>(
    secrets: impl Iterator<Item = &'a PasswordCredential>,
    secret: &Secret,
    now: Timestamp,
) -> Option<Timestamp> {
    let begins =
        |hint: &str| !hint.is_empty() && secret.expose_secret().starts_with(hint.as_bytes());
    secrets
        .filter(|it| it.hint.as_deref().is_some_and(begins))
        .filter_map(|it| it.end)
        .filter(|end| *end > now)
        .min()
}

async fn call<T>(
    around: Asking<'_>,
    token: &Secret,
    method: Method,
    url: Url,
    body: Body,
) -> Result<Reply, Reading<T>> {
    let id = uuid(around.random).unwrap_or_default();
    let headers = [(HeaderName::from_static("client-request-id"), id.as_str())];
    let call = Call {
        method,
        url,
        bearer: Some(token),
        headers: &headers,
        body,
    };
    around.call(call).await.map_err(Reading::unanswered)
}

/// The body of an error. The inner error is spelt in two ways. The message is never read.
#[derive(Deserialize, Default)]
#[serde(default)]
struct GraphError {
    code: String,
    #[serde(rename = "innerError", alias = "innererror")]
    inner: InnerError,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct InnerError {
    #[serde(rename = "request-id")]
    request_id: String,
    #[serde(rename = "client-request-id")]
    client_request_id: String,
}

#[derive(Deserialize)]
struct ErrorBody {
    error: GraphError,
}

/// Reads an answer that is not the one that was hoped for ("Microsoft Graph error responses": branch
/// on the code, never on the message).
fn refusal<T>(reply: &Reply, now: Timestamp) -> Reading<T> {
    if let Some(trouble) = Reading::trouble(reply, now) {
        return trouble;
    }
    let error = serde_json::from_slice::<ErrorBody>(reply.body())
        .map(|body| body.error)
        .unwrap_or_default();
    let mut correlation = reply.correlation();
    if let Some(id) = CorrelationId::new(&error.inner.request_id) {
        correlation.request_id = Some(id);
    }
    if let Some(id) = CorrelationId::new(&error.inner.client_request_id) {
        correlation.correlation_id = Some(id);
    }
    let hint = match (reply.status, error.code.as_str()) {
        (401, _) => Hint::TokenRejected,
        (_, "ErrorAccessDenied" | "Authorization_RequestDenied") => Hint::PermissionMissing,
        (_, "ResourceNotFound" | "ErrorInvalidUser" | "Request_ResourceNotFound") => {
            Hint::MailboxMissing
        }
        (_, "MailboxNotEnabledForRESTAPI" | "extensionError") => Hint::MailboxOnPremises,
        (403, _) => Hint::PolicyBlocked,
        (400, _) => Hint::OurRequest,
        _ => Hint::Unknown,
    };
    let code = ProviderCode::word(&error.code).unwrap_or(ProviderCode::Status(reply.status));
    Reading::Refused(Cause {
        hint,
        code: Some(code),
        correlation,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_end_is_that_of_the_secret_that_begins_alike() {
        let now: Timestamp = "2026-11-22T00:00:00Z".parse().unwrap();
        let listed: Vec<PasswordCredential> = serde_json::from_str(
            r#"[{"hint":"abc","endDateTime":"2025-01-01T00:00:00Z"},
                {"hint":"abc","endDateTime":"2028-01-01T00:00:00Z"},
                {"hint":"abc","endDateTime":"2027-06-01T00:00:00Z"},
                {"hint":"xyz","endDateTime":"2027-01-01T00:00:00Z"},
                {"hint":"","endDateTime":"2026-12-01T00:00:00Z"},
                {"hint":null,"endDateTime":"2026-12-01T00:00:00Z"},
                {"endDateTime":null}]"#,
        )
        .unwrap();
        let end = |secret: &str| {
            earliest(listed.iter(), &Secret::new(secret.into()), now).map(|end| end.to_string())
        };
        assert_eq!(end("abcdef").as_deref(), Some("2027-06-01T00:00:00Z"));
        assert_eq!(end("xyzdef").as_deref(), Some("2027-01-01T00:00:00Z"));
        assert_eq!(end("other"), None);
    }
}
