//! Tokens by an assertion of the service account (RFC 7523), for one scope each, so that the one that is
//! missing can be named.

use reqwest::Method;
use serde::Deserialize;
use serde_json::json;

use super::TOKEN_URI;
use super::account::Account;
use crate::model::Timestamp;
use crate::providers::hint::Hint;
use crate::providers::hosts::Endpoint;
use crate::providers::outbound::{Body, Call, Reply, form};
use crate::providers::probe::{Asking, Cause, Reading};
use crate::providers::signing::jwt;
use crate::providers::verification::ProviderCode;
use crate::secret::Secret;

/// For how long an assertion is good; Google allows an hour.
const ASSERTION_LIFETIME_SECS: i64 = 600;

#[derive(Deserialize)]
struct TokenReply<'a> {
    #[serde(borrow)]
    access_token: std::borrow::Cow<'a, str>,
}

/// Asks for a token for one scope.
pub(super) async fn request(around: Asking<'_>, account: &Account, scope: &str) -> Reading<Secret> {
    let now = around.now();
    let header = json!({"typ": "JWT", "kid": account.key_id});
    let claims = json!({
        "iss": account.email,
        "sub": account.user.as_str(),
        "scope": scope,
        // Whatever address it is sent to.
        "aud": TOKEN_URI,
        "iat": now.secs(),
        "exp": now.secs() + ASSERTION_LIFETIME_SECS,
    });
    let Ok(assertion) = jwt(account.signer.as_ref(), header, &claims) else {
        return Reading::Refused(Cause::of(Hint::OurRequest));
    };
    let body = form(&[
        ("grant_type", b"urn:ietf:params:oauth:grant-type:jwt-bearer"),
        ("assertion", assertion.expose_secret()),
    ]);
    let call = Call {
        method: Method::POST,
        url: around
            .outbound
            .hosts()
            .url(Endpoint::GoogleToken, &["token"]),
        bearer: None,
        headers: &[],
        body: Body::Form(body),
    };
    let reply = match around.call(call).await {
        Ok(reply) => reply,
        Err(error) => return Reading::unanswered(error),
    };
    if reply.status != 200 {
        return refusal(&reply, now);
    }
    match serde_json::from_slice::<TokenReply<'_>>(reply.body()) {
        Ok(token) => Reading::Good(Secret::new(token.access_token.as_bytes().to_vec())),
        Err(_) => Reading::Later(cause(&reply, Hint::ProviderUnavailable, ""), None),
    }
}

fn cause(reply: &Reply, hint: Hint, error: &str) -> Cause {
    Cause {
        hint,
        code: ProviderCode::word(error).or(Some(ProviderCode::Status(reply.status))),
        correlation: reply.correlation(),
    }
}

/// The body of a refusal.
#[derive(Deserialize, Default)]
#[serde(default)]
struct Refusal {
    error: String,
    error_description: String,
}

/// The word decides. Google writes several things under one word, and only the description, which its
/// pages list ("Using OAuth 2.0 for server to server applications", error codes), tells them apart: it
/// chooses the hint.
fn refusal(reply: &Reply, now: Timestamp) -> Reading<Secret> {
    if let Some(trouble) = Reading::trouble(reply, now) {
        return trouble;
    }
    let refusal: Refusal = serde_json::from_slice(reply.body()).unwrap_or_default();
    let says = |text| refusal.error_description.contains(text);
    let hint = match refusal.error.as_str() {
        "unauthorized_client" if says("using this method") => Hint::DelegationWrongId,
        "unauthorized_client" => Hint::DelegationMissing,
        "access_denied" => Hint::ScopeMissing,
        "admin_policy_enforced" | "org_internal" => Hint::PolicyBlocked,
        "invalid_grant" if says("Not a valid email") || says("Invalid email or User ID") => {
            Hint::DelegatedUserMissing
        }
        "invalid_grant" if says("short-lived token") => Hint::OurClock,
        "invalid_grant" | "invalid_client" => Hint::KeyRejected,
        "disabled_client" => Hint::ClientDisabled,
        "deleted_client" => Hint::ClientDeleted,
        "invalid_scope" | "invalid_request" | "unsupported_grant_type" => Hint::OurRequest,
        _ => Hint::Unknown,
    };
    Reading::Refused(cause(reply, hint, &refusal.error))
}
