//! Microsoft Entra ID: discovery, and tokens by client credentials.

use std::collections::HashMap;
use std::sync::Arc;

use axum::body::{Body, Bytes};
use axum::extract::{Path, State};
use axum::http::{HeaderMap, Response, Uri, header};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde_json::json;

use super::Shared;
use super::answers::{Place, json_of};
use super::jwt::{Assertion, Certificate};
use super::tokens::{Audience, Issued};
use super::world::{Application, Tenant};
use crate::model::Timestamp;

/// How long a token lives, in seconds.
const LIFETIME_SECS: i64 = 3599;

pub(super) async fn discover(
    State(shared): State<Arc<Shared>>,
    Path(tenant): Path<String>,
    uri: Uri,
    headers: HeaderMap,
) -> Response<Body> {
    let mut world = shared.world();
    if let Some(answer) = world.called(Place::Discovery) {
        return shared.forced(answer);
    }
    match find(&world.tenants, &tenant) {
        Err(number) => shared.aadsts(number, ""),
        Ok(found) => {
            let base = origin(&uri, &headers);
            let id = &found.id;
            json_of(
                200,
                &json!({
                    "token_endpoint": format!("{base}/{tenant}/oauth2/v2.0/token"),
                    "token_endpoint_auth_methods_supported":
                        ["client_secret_post", "private_key_jwt", "client_secret_basic"],
                    "jwks_uri": format!("{base}/{tenant}/discovery/v2.0/keys"),
                    "response_modes_supported": ["query", "fragment", "form_post"],
                    "subject_types_supported": ["pairwise"],
                    "id_token_signing_alg_values_supported": ["RS256"],
                    "response_types_supported": ["code", "id_token", "code id_token", "token"],
                    "scopes_supported": ["openid", "profile", "email", "offline_access"],
                    "issuer": format!("https://login.microsoftonline.com/{id}/v2.0"),
                    "authorization_endpoint": format!("{base}/{tenant}/oauth2/v2.0/authorize"),
                    "device_authorization_endpoint": format!("{base}/{tenant}/oauth2/v2.0/devicecode"),
                    "tenant_region_scope": "EU",
                    "cloud_instance_name": "microsoftonline.com",
                }),
            )
        }
    }
}

pub(super) async fn token(
    State(shared): State<Arc<Shared>>,
    Path(tenant): Path<String>,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
) -> Response<Body> {
    let now = shared.clock.now();
    let mut world = shared.world();
    if let Some(answer) = world.called(Place::Token) {
        return shared.forced(answer);
    }
    let form = Form::read(&headers, &body);
    let endpoint = format!("{}/{tenant}/oauth2/v2.0/token", origin(&uri, &headers));
    let issued = match grant(&world.tenants, &tenant, &endpoint, &form, now) {
        Ok(issued) => issued,
        // The real one has been seen to repeat what was sent.
        Err(number) => return shared.aadsts(number, form.get("client_assertion")),
    };
    let audience = match issued.audience {
        Audience::Graph => "https://graph.microsoft.com",
        _ => "https://outlook.office365.com/",
    };
    let by_secret = form.get("client_assertion").is_empty();
    let mut claims = json!({
        "aud": audience,
        "iss": format!("https://sts.windows.net/{}/", issued.owner),
        "iat": now.secs(),
        "nbf": now.secs(),
        "exp": issued.expires.secs(),
        "appid": issued.subject,
        "appidacr": if by_secret { "1" } else { "2" },
        "tid": issued.owner,
        "ver": "1.0",
    });
    if !issued.roles.is_empty() {
        claims["roles"] = issued.roles.clone().into();
    }
    let token = shared.new_token(&claims);
    world.tokens.add(token.clone(), issued, now);
    json_of(
        200,
        &json!({
            "token_type": "Bearer",
            "expires_in": LIFETIME_SECS,
            "ext_expires_in": LIFETIME_SECS,
            "access_token": token,
        }),
    )
}

/// The fields of a form, with what HTTP Basic says on top (RFC 6749 section 2.3.1).
struct Form(HashMap<String, String>);

impl Form {
    fn read(headers: &HeaderMap, body: &[u8]) -> Self {
        let mut fields = pairs(&String::from_utf8_lossy(body));
        let basic = headers
            .get(header::AUTHORIZATION)
            .and_then(|value| value.to_str().ok()?.strip_prefix("Basic "))
            .and_then(|text| STANDARD.decode(text).ok())
            .and_then(|bytes| String::from_utf8(bytes).ok());
        if let Some((id, secret)) = basic.as_deref().and_then(|text| text.split_once(':')) {
            fields.extend(pairs(&format!("client_id={id}&client_secret={secret}")));
        }
        Self(fields)
    }

    fn get(&self, name: &str) -> &str {
        self.0.get(name).map_or("", String::as_str)
    }
}

/// The pairs of `application/x-www-form-urlencoded`.
pub(super) fn pairs(text: &str) -> HashMap<String, String> {
    reqwest::Url::parse(&format!("http://form/?{text}"))
        .map(|url| url.query_pairs().into_owned().collect())
        .unwrap_or_default()
}

/// How the client reaches this server: HTTP/2 has it in the address, HTTP/1.1 in a header.
pub(super) fn origin(uri: &Uri, headers: &HeaderMap) -> String {
    let header = headers.get(header::HOST).and_then(|it| it.to_str().ok());
    let host = uri.authority().map(|it| it.as_str()).or(header);
    format!("https://{}", host.unwrap_or("localhost"))
}

fn find<'a>(tenants: &'a [Tenant], name: &str) -> Result<&'a Tenant, u32> {
    let is = |text: &String| text.eq_ignore_ascii_case(name);
    let found = tenants
        .iter()
        .find(|it| is(&it.id) || it.domains.iter().any(is));
    match found {
        Some(tenant) if tenant.other_cloud => Err(90_038),
        Some(tenant) => Ok(tenant),
        None if name.contains(['.', '-']) => Err(90_002),
        None => Err(900_023),
    }
}

/// Decides like the real one: the directory, the application, its proof, then the resource.
fn grant(
    tenants: &[Tenant],
    tenant: &str,
    endpoint: &str,
    form: &Form,
    now: Timestamp,
) -> Result<Issued, u32> {
    let tenant = find(tenants, tenant)?;
    let audience = match form.get("scope") {
        "https://graph.microsoft.com/.default" => Audience::Graph,
        "https://outlook.office365.com/.default" => Audience::Exchange,
        scope if scope.contains(' ') => return Err(28_002),
        scope if scope.ends_with("/.default") => return Err(500_011),
        _ => return Err(1_002_012),
    };
    let id = form.get("client_id");
    let application = tenant.application(id).ok_or(700_016_u32)?;
    if application.disabled {
        return Err(7_000_112);
    }
    if application.public {
        return Err(700_025);
    }
    match (form.get("client_assertion"), form.get("client_secret")) {
        ("", "") => return Err(7_000_216),
        ("", secret) => check_secret(application, secret, now)?,
        (assertion, _) => check_assertion(application, tenant, assertion, endpoint, now)?,
    }
    if tenant.blocked {
        return Err(53_003);
    }
    if audience == Audience::Exchange && tenant.without_exchange {
        return Err(500_011);
    }
    let roles = match audience {
        Audience::Graph => &application.graph_roles,
        _ => &application.exchange_roles,
    };
    Ok(Issued {
        audience,
        owner: tenant.id.clone(),
        subject: application.id.clone(),
        roles: roles.clone(),
        expires: now.plus_secs(LIFETIME_SECS),
    })
}

fn check_secret(application: &Application, given: &str, now: Timestamp) -> Result<(), u32> {
    let usable = |it: &&super::AppSecret| it.usable_from.is_none_or(|from| from <= now);
    let known = application.secrets.iter().filter(usable);
    match known.into_iter().find(|it| it.value == given) {
        None => Err(7_000_215),
        Some(secret) if secret.expires_at <= now => Err(7_000_222),
        Some(_) => Ok(()),
    }
}

fn check_assertion(
    application: &Application,
    tenant: &Tenant,
    assertion: &str,
    endpoint: &str,
    now: Timestamp,
) -> Result<(), u32> {
    let assertion = Assertion::parse(assertion).ok_or(50_012_u32)?;
    let certificates = application.certificates.iter();
    let certificate = certificates
        .filter_map(|pem| Certificate::parse(pem))
        .find(|it| assertion.names(it))
        .ok_or(700_027_u32)?;
    if certificate.not_after < now || !assertion.is_signed_by(&certificate.public_key) {
        return Err(700_027);
    }
    let claim = |name| Assertion::text(&assertion.claims, name);
    if claim("iss") != claim("sub") || !claim("sub").eq_ignore_ascii_case(&application.id) {
        return Err(50_048);
    }
    // The real one takes the issuer of the directory as well.
    let issuer = format!("https://login.microsoftonline.com/{}/v2.0", tenant.id);
    if claim("aud") != endpoint && claim("aud") != issuer {
        return Err(50_012);
    }
    let begin = assertion.time("nbf").or_else(|| assertion.time("iat"));
    let in_time = begin.is_some_and(|begin| begin <= now.secs() + 300)
        && assertion.time("exp").is_some_and(|end| end > now.secs());
    match in_time && !claim("jti").is_empty() {
        true => Ok(()),
        false => Err(500_133),
    }
}
