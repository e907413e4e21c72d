//! Probes through Google's People and Calendar APIs.

use reqwest::Method;
use serde::Deserialize;

use crate::model::Timestamp;
use crate::providers::hint::Hint;
use crate::providers::hosts::Endpoint;
use crate::providers::outbound::{Body, Call, Reply};
use crate::providers::probe::{Asking, Cause, Reading};
use crate::providers::verification::ProviderCode;
use crate::secret::Secret;

/// Reads at most one contact.
pub(super) async fn contacts(around: Asking<'_>, token: &Secret) -> Reading<()> {
    let path = ["v1", "people", "me", "connections"];
    let query = [("personFields", "names"), ("pageSize", "1")];
    read(around, token, Endpoint::GooglePeople, &path, &query).await
}

/// Reads at most one calendar's entry in the list.
pub(super) async fn calendars(around: Asking<'_>, token: &Secret) -> Reading<()> {
    let path = ["calendar", "v3", "users", "me", "calendarList"];
    let query = [("maxResults", "1")];
    read(around, token, Endpoint::GoogleCalendar, &path, &query).await
}

async fn read(
    around: Asking<'_>,
    token: &Secret,
    endpoint: Endpoint,
    path: &[&str],
    query: &[(&str, &str)],
) -> Reading<()> {
    let mut url = around.outbound.hosts().url(endpoint, path);
    url.query_pairs_mut().extend_pairs(query);
    let call = Call {
        method: Method::GET,
        url,
        bearer: Some(token),
        headers: &[],
        body: Body::None,
    };
    match around.call(call).await {
        Ok(reply) if reply.status == 200 => Reading::Good(()),
        Ok(reply) => refusal(&reply, around.now()),
        Err(error) => Reading::unanswered(error),
    }
}

/// The body of an error (google.aip.dev/193), of which only words are read.
#[derive(Deserialize, Default)]
#[serde(default)]
struct ApiError {
    status: String,
    errors: Vec<Reason>,
    details: Vec<Reason>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Reason {
    reason: String,
}

#[derive(Deserialize)]
struct ErrorBody {
    error: ApiError,
}

fn refusal(reply: &Reply, now: Timestamp) -> Reading<()> {
    if let Some(trouble) = Reading::trouble(reply, now) {
        return trouble;
    }
    let error = serde_json::from_slice::<ErrorBody>(reply.body())
        .map(|body| body.error)
        .unwrap_or_default();
    let reasons = || {
        error
            .details
            .iter()
            .chain(&error.errors)
            .map(|it| it.reason.as_str())
    };
    let is = |words: &[&str]| reasons().any(|it| words.contains(&it));
    let code = reasons()
        .find_map(ProviderCode::word)
        .or_else(|| ProviderCode::word(&error.status))
        .unwrap_or(ProviderCode::Status(reply.status));
    let cause = |hint| Cause {
        hint,
        code: Some(code),
        correlation: reply.correlation(),
    };
    if is(&[
        "rateLimitExceeded",
        "userRateLimitExceeded",
        "quotaExceeded",
        "RATE_LIMIT_EXCEEDED",
    ]) {
        return Reading::Later(cause(Hint::Throttled), reply.retry_after(now));
    }
    let hint = match reply.status {
        401 => Hint::TokenRejected,
        403 if is(&["SERVICE_DISABLED", "accessNotConfigured"]) => Hint::ApiDisabled,
        403 if is(&["ACCESS_TOKEN_SCOPE_INSUFFICIENT", "insufficientPermissions"]) => {
            Hint::ScopeMissing
        }
        403 => Hint::PolicyBlocked,
        400 => Hint::OurRequest,
        _ => Hint::Unknown,
    };
    Reading::Refused(cause(hint))
}
