//! Tokens by client credentials (RFC 6749 section 4.4), for one resource each.

use reqwest::{Method, Url};
use serde::Deserialize;
use serde_json::json;

use super::app::{App, Certificate, Proof};
use super::refusal::{self, Asked};
use crate::model::Timestamp;
use crate::providers::hint::Hint;
use crate::providers::hosts::Endpoint;
use crate::providers::outbound::{Body, Call, form};
use crate::providers::probe::{Asking, Cause, Reading};
use crate::providers::signing::{jwt, uuid};
use crate::providers::verification::ProviderCode;
use crate::random::Random;
use crate::secret::Secret;

/// For how long an assertion is good: Microsoft asks for 5 to 10 minutes ("Microsoft identity platform
/// application authentication certificate credentials").
const ASSERTION_LIFETIME_SECS: i64 = 600;
/// How far an assertion begins in the past, for clocks that are behind.
const BACKDATE_SECS: i64 = 60;

/// What is read of a token reply. Borrowed, so that the token is copied once.
#[derive(Deserialize)]
struct TokenReply<'a> {
    #[serde(borrow)]
    access_token: std::borrow::Cow<'a, str>,
}

/// Asks for a token for Graph or Exchange.
pub(super) async fn request(
    around: Asking<'_>,
    app: &App<'_>,
    resource: Endpoint,
) -> Reading<Secret> {
    let hosts = around.outbound.hosts();
    let url = hosts.url(Endpoint::Login, &[app.tenant, "oauth2", "v2.0", "token"]);
    let Some(body) = body(
        app,
        hosts.scope(resource),
        &url,
        around.now(),
        around.random,
    ) else {
        return Reading::Refused(Cause::of(Hint::OurRequest));
    };
    let call = Call {
        method: Method::POST,
        url,
        bearer: None,
        headers: &[],
        body: Body::Form(body),
    };
    let reply = match around.call(call).await {
        Ok(reply) => reply,
        Err(error) => return Reading::unanswered(error),
    };
    if reply.status != 200 {
        let asked = match app.proof {
            Proof::Secret(_) => Asked::BySecret,
            Proof::Certificate(_) => Asked::ByCertificate,
        };
        return refusal::read(&reply, asked, around.now());
    }
    match serde_json::from_slice::<TokenReply<'_>>(reply.body()) {
        Ok(token) => Reading::Good(Secret::new(token.access_token.as_bytes().to_vec())),
        Err(_) => Reading::Later(
            Cause {
                hint: Hint::ProviderUnavailable,
                code: Some(ProviderCode::Status(200)),
                correlation: reply.correlation(),
            },
            None,
        ),
    }
}

fn body(
    app: &App<'_>,
    scope: &str,
    url: &Url,
    now: Timestamp,
    random: &dyn Random,
) -> Option<Secret> {
    let common = [
        ("client_id", app.client_id.as_bytes()),
        ("grant_type", b"client_credentials"),
        ("scope", scope.as_bytes()),
    ];
    Some(match &app.proof {
        Proof::Secret(secret) => {
            form(&[&common[..], &[("client_secret", secret.expose_secret())]].concat())
        }
        Proof::Certificate(certificate) => {
            let assertion = assertion(certificate, app.client_id, url, now, random)?;
            let by = [
                (
                    "client_assertion_type",
                    b"urn:ietf:params:oauth:client-assertion-type:jwt-bearer".as_slice(),
                ),
                ("client_assertion", assertion.expose_secret()),
            ];
            form(&[&common[..], &by].concat())
        }
    })
}

/// `private_key_jwt` as Microsoft wants it: PS256 and the certificate's thumbprint.
fn assertion(
    certificate: &Certificate,
    client_id: &str,
    url: &Url,
    now: Timestamp,
    random: &dyn Random,
) -> Option<Secret> {
    let header = json!({"typ": "JWT", "x5t#S256": certificate.thumbprint});
    let claims = json!({
        "aud": url.as_str(),
        "iss": client_id,
        "sub": client_id,
        "jti": uuid(random).ok()?,
        "iat": now.secs(),
        "nbf": now.secs() - BACKDATE_SECS,
        "exp": now.secs() + ASSERTION_LIFETIME_SECS - BACKDATE_SECS,
    });
    jwt(certificate.signer.as_ref(), header, &claims).ok()
}
