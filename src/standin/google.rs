//! Google: tokens by an assertion of a service account, People, Calendar.

use std::sync::Arc;

use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::{HeaderMap, Response, Uri};
use serde_json::json;

use super::Shared;
use super::answers::{Place, google_api_error, google_error, json_of};
use super::entra::{origin, pairs};
use super::jwt::{Assertion, rsa_public_key};
use super::tokens::{Audience, Issued};
use super::world::{ServiceAccount, World};
use crate::model::Timestamp;

/// How long a token lives, in seconds.
const LIFETIME_SECS: i64 = 3599;
/// What an assertion is for. Old clients of Google's write the address that they send it to.
const AUDIENCE: &str = "https://oauth2.googleapis.com/token";

/// A refusal: status, error, description.
type Refusal = (u16, &'static str, &'static str);

pub(super) async fn token(
    State(shared): State<Arc<Shared>>,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
) -> Response<Body> {
    let now = shared.clock.now();
    let mut world = shared.world();
    if let Some(answer) = world.called(Place::GoogleToken) {
        return shared.forced(answer);
    }
    let form = pairs(&String::from_utf8_lossy(&body));
    let get = |name: &str| form.get(name).map_or("", String::as_str);
    if get("grant_type") != "urn:ietf:params:oauth:grant-type:jwt-bearer" {
        return google_error(400, "unsupported_grant_type", "Invalid grant_type");
    }
    let issued = match grant(&world, get("assertion"), &origin(&uri, &headers), now) {
        Ok(issued) => issued,
        Err((status, error, description)) => return google_error(status, error, description),
    };
    let token = format!("ya29.{}", shared.new_token(&json!({})));
    world.tokens.add(token.clone(), issued, now);
    json_of(
        200,
        &json!({"access_token": token, "expires_in": LIFETIME_SECS, "token_type": "Bearer"}),
    )
}

fn grant(world: &World, assertion: &str, origin: &str, now: Timestamp) -> Result<Issued, Refusal> {
    let assertion = Assertion::parse(assertion).ok_or((400, "invalid_request", "Bad Request"))?;
    let claim = |name| Assertion::text(&assertion.claims, name);
    let account = world
        .service_accounts
        .iter()
        .find(|it| it.email == claim("iss"))
        .ok_or((400, "invalid_grant", "Invalid grant: account not found"))?;
    if account.deleted {
        return Err((401, "deleted_client", "The OAuth client was deleted."));
    }
    if account.disabled {
        return Err((401, "disabled_client", "The OAuth client was disabled."));
    }
    check_signature(account, &assertion)?;
    let short = assertion.time("exp").zip(assertion.time("iat"));
    let short = short.is_some_and(|(exp, iat)| {
        exp > now.secs() && exp - iat <= 3600 && (iat - now.secs()).abs() <= 300
    });
    let audience = claim("aud");
    if !short || (audience != AUDIENCE && audience != format!("{origin}/token")) {
        return Err((
            400,
            "invalid_grant",
            "Invalid JWT: Token must be a short-lived token (60 minutes) and in a reasonable \
             timeframe. Check your iat and exp values in the JWT claim.",
        ));
    }
    let scopes: Vec<&str> = claim("scope").split_whitespace().collect();
    if scopes.is_empty() || scopes.iter().any(|it| !it.starts_with("https://")) {
        return Err((
            400,
            "invalid_scope",
            "Invalid OAuth scope or ID token audience provided.",
        ));
    }
    let user = claim("sub");
    if !user.is_empty() {
        if !user.contains('@') {
            return Err((400, "invalid_grant", "Not a valid email"));
        }
        if !account.users.iter().any(|it| it.eq_ignore_ascii_case(user)) {
            return Err((400, "invalid_grant", "Invalid email or User ID"));
        }
        if account.delegated_wrongly {
            return Err((
                401,
                "unauthorized_client",
                "Client is unauthorized to retrieve access tokens using this method, or client not \
                 authorized for any of the scopes requested.",
            ));
        }
        if account.delegated_scopes.is_empty() {
            return Err((
                401,
                "unauthorized_client",
                "Unauthorized client or scope in request.",
            ));
        }
        let named = |scope: &&str| account.delegated_scopes.iter().any(|it| it == scope);
        if !scopes.iter().all(named) {
            return Err((403, "access_denied", "Requested client not authorized."));
        }
    }
    Ok(Issued {
        audience: Audience::Google,
        owner: account.email.clone(),
        subject: user.to_owned(),
        roles: scopes.into_iter().map(str::to_owned).collect(),
        expires: now.plus_secs(LIFETIME_SECS),
    })
}

fn check_signature(account: &ServiceAccount, assertion: &Assertion<'_>) -> Result<(), Refusal> {
    let kid = Assertion::text(&assertion.header, "kid");
    let signed = account
        .keys
        .iter()
        .filter(|key| key.id == kid && !key.disabled)
        .filter_map(|key| rsa_public_key(&key.public_key))
        .any(|key| assertion.is_signed_by(&key));
    match signed && Assertion::text(&assertion.header, "alg") == "RS256" {
        true => Ok(()),
        false => Err((400, "invalid_grant", "Invalid JWT Signature.")),
    }
}

pub(super) async fn connections(
    State(shared): State<Arc<Shared>>,
    headers: HeaderMap,
) -> Response<Body> {
    let scope = "https://www.googleapis.com/auth/contacts";
    let empty = json!({"totalItems": 0});
    read(&shared, &headers, Place::People, "people", scope, &empty)
}

pub(super) async fn calendars(
    State(shared): State<Arc<Shared>>,
    headers: HeaderMap,
) -> Response<Body> {
    let scope = "https://www.googleapis.com/auth/calendar";
    let empty = json!({"kind": "calendar#calendarList", "items": []});
    read(
        &shared,
        &headers,
        Place::Calendar,
        "calendar",
        scope,
        &empty,
    )
}

fn read(
    shared: &Shared,
    headers: &HeaderMap,
    place: Place,
    api: &str,
    scope: &str,
    empty: &serde_json::Value,
) -> Response<Body> {
    let mut world = shared.world();
    if let Some(answer) = world.called(place) {
        return shared.forced(answer);
    }
    let Some(issued) = world
        .tokens
        .of(headers, Audience::Google, shared.clock.now())
    else {
        return google_api_error(401, "UNAUTHENTICATED", "authError");
    };
    let account = world
        .service_accounts
        .iter()
        .find(|it| it.email == issued.owner);
    if account.is_some_and(|it| it.disabled_apis.iter().any(|it| it == api)) {
        return google_api_error(403, "PERMISSION_DENIED", "SERVICE_DISABLED");
    }
    if !issued.roles.iter().any(|it| it == scope) {
        return google_api_error(403, "PERMISSION_DENIED", "ACCESS_TOKEN_SCOPE_INSUFFICIENT");
    }
    json_of(200, empty)
}
