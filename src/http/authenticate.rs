//! From a request to its caller, for every route of the API.

use std::sync::Arc;

use axum::extract::{FromRequestParts, Request, State};
use axum::http::StatusCode;
use axum::http::header::AUTHORIZATION;
use axum::http::request::Parts;
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};

use super::limits::FailureLimit;
use super::problem::{FieldError, Problem};
use super::registry::VaultRegistry;
use super::request_id::RequestContext;
use super::server::Connection;
use crate::identity::mtls::{VerifiedPeer, verify_peer};
use crate::identity::{AuthenticateError, Authenticated, Proof, Reason, authenticate};
use crate::model::RequestId;
use crate::store::SpentAssertion;
use crate::vault::{Caller, Vault, VaultError, Vouched, forget_assertion_at};

/// What the routes of the API share.
#[derive(Clone)]
pub struct ApiState(Arc<Shared>);

struct Shared {
    vault: Arc<Vault>,
    failures: FailureLimit,
}

impl ApiState {
    /// The state of an API over a vault.
    pub fn new(vault: Arc<Vault>) -> Self {
        Self(Arc::new(Shared {
            vault,
            failures: FailureLimit::default(),
        }))
    }

    /// The vault.
    pub fn vault(&self) -> &Arc<Vault> {
        &self.0.vault
    }

    async fn authenticate(&self, parts: &Parts) -> Result<Caller, Refused> {
        let defect = || Refused::Vault(VaultError::Internal("a request without a connection"));
        let connection = parts
            .extensions
            .get::<Arc<Connection>>()
            .ok_or_else(defect)?;
        let context = parts
            .extensions
            .get::<Arc<RequestContext>>()
            .ok_or_else(defect)?;
        let vault = &self.0.vault;
        let now = vault.clock().now();
        let peer = match connection.certificates().is_empty() {
            true => None,
            false => Some(self.peer(connection).await?),
        };
        let registry = VaultRegistry(vault);
        let bearer = bearer(parts)?;
        let audience = vault.deployment();
        let proven = authenticate(&registry, peer.as_deref(), bearer, audience, now).await;
        let Authenticated { principal, proofs } = proven.map_err(|error| match error {
            AuthenticateError::Unauthenticated(refused) => Refused::Reason(refused.reason()),
            AuthenticateError::Registry(_) => Refused::Vault(VaultError::Unavailable("registry")),
        })?;
        let mut assertion = None;
        let mut authority = None;
        for proof in proofs {
            match proof {
                Proof::Pinned { .. } => {}
                Proof::Spiffe(spiffe) => {
                    authority = Some(Vouched {
                        authority: spiffe.authority,
                        revision: spiffe.authority_revision,
                        chain: Arc::clone(connection.certificates()),
                    });
                }
                Proof::Assertion(proof) => {
                    if !vault.accepts_assertions_of(proof.issued_at).await? {
                        return Err(Refused::Reason(Reason::AssertionBeforeRestore));
                    }
                    assertion = Some(SpentAssertion {
                        jti: proof.jti.0,
                        forget_at: forget_assertion_at(proof.expires_at),
                    });
                }
            }
        }
        let caller = vault
            .identify(principal.key(), authority, assertion, context.id())
            .await?;
        context.set_principal(caller.principal.id());
        connection.proven();
        Ok(caller)
    }

    /// What the connection's certificate proves. Worked out at the first request of a connection, and
    /// again when the authorities or the time have moved past it.
    async fn peer(&self, connection: &Connection) -> Result<Arc<VerifiedPeer>, Refused> {
        let authorities = self.0.vault.authorities().await?;
        let trust = &authorities.trust;
        let now = self.0.vault.clock().now();
        if let Some(peer) = connection.kept::<VerifiedPeer>()
            && peer.is_current(trust, now)
        {
            return Ok(peer);
        }
        let peer = verify_peer(connection.certificates(), trust, now).map_err(Refused::Reason)?;
        let peer = Arc::new(peer);
        connection.keep(Arc::clone(&peer));
        Ok(peer)
    }
}

/// The token of the one `Authorization` header, if there is any.
fn bearer(parts: &Parts) -> Result<Option<&str>, Refused> {
    let mut headers = parts.headers.get_all(AUTHORIZATION).iter();
    let Some(header) = headers.next() else {
        return Ok(None);
    };
    let token = header.to_str().ok().and_then(|text| text.split_once(' '));
    match (token, headers.next()) {
        (Some((scheme, token)), None) if scheme.eq_ignore_ascii_case("bearer") => Ok(Some(token)),
        _ => Err(Refused::Reason(Reason::NothingPresented)),
    }
}

enum Refused {
    Reason(Reason),
    Vault(VaultError),
}

impl From<VaultError> for Refused {
    fn from(error: VaultError) -> Self {
        Self::Vault(error)
    }
}

/// The authenticated caller of a request. A handler that has this argument cannot be reached by
/// anybody else.
pub struct Authentic(pub Caller);

impl FromRequestParts<ApiState> for Authentic {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &ApiState) -> Result<Self, Problem> {
        let reason = match state.authenticate(parts).await {
            Ok(caller) => return Ok(Self(caller)),
            Err(Refused::Reason(reason)) => reason.as_str(),
            Err(Refused::Vault(VaultError::Unauthenticated)) => "not-registered-now",
            Err(Refused::Vault(error)) => return Err(error.into()),
        };
        metrics::counter!("strongroom_unauthenticated_total", "reason" => reason).increment(1);
        Err(Problem::unauthenticated())
    }
}

/// Counts every 401 against the address that it is sent to, whoever decided it: a proof that failed,
/// and an assertion that turns out to be spent only when it is written down. Only failed calls
/// count, so a fleet behind one address is not shut out.
pub(super) async fn count_failures(
    State(state): State<ApiState>,
    request: Request,
    next: Next,
) -> Response {
    let connection = request.extensions().get::<Arc<Connection>>().cloned();
    let response = next.run(request).await;
    if response.status() == StatusCode::UNAUTHORIZED
        && let Some(connection) = connection
    {
        let allowed = state.0.failures.allowed(connection.peer_ip());
        state.0.failures.failed(connection.peer_ip());
        if !allowed {
            return Problem::too_many_requests().into_response();
        }
    }
    response
}

/// The authenticated caller of a request whose assertion, if it came with one, is spent already.
///
/// For every route but the releases, which spend it in the commit of their own record: whatever is
/// answered after this, a refused body or header included, the assertion is good for nothing more.
pub struct Proven(pub Caller);

impl FromRequestParts<ApiState> for Proven {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &ApiState) -> Result<Self, Problem> {
        let Authentic(caller) = Authentic::from_request_parts(parts, state).await?;
        Ok(Self(state.vault().acknowledge(caller).await?))
    }
}

/// A request that proves nothing yet.
pub struct Unproven(pub RequestId);

impl FromRequestParts<ApiState> for Unproven {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &ApiState) -> Result<Self, Problem> {
        let context = parts.extensions.get::<Arc<RequestContext>>();
        let context = context.ok_or_else(Problem::internal)?;
        Ok(Self(context.id()))
    }
}

impl From<VaultError> for Problem {
    fn from(error: VaultError) -> Self {
        match error {
            VaultError::Unauthenticated => Self::unauthenticated(),
            VaultError::Forbidden(permission) => Self::forbidden(format!(
                "This needs the permission {permission}, which your role does not include."
            )),
            VaultError::NotFound => Self::not_found(),
            VaultError::Invalid(errors) => Self::invalid(
                errors
                    .into_iter()
                    .map(|error| FieldError::new(error.field, error.rule))
                    .collect(),
            ),
            VaultError::Conflict(detail) => Self::conflict(sentence(detail)),
            VaultError::NoRecipient => Self::not_acceptable(super::accept::NO_RECIPIENT),
            VaultError::NotRenewable => Self::forbidden(
                "Renew over a connection with the client certificate that this service's own \
                 authority issued. With an assertion, a pinned certificate or one of another \
                 authority there is nothing to renew.",
            ),
            VaultError::Changed => Self::precondition_failed(),
            VaultError::Frozen => Self::frozen(),
            VaultError::Unavailable(what) => {
                tracing::warn!(part = what, "answered that the service is not available");
                Self::unavailable()
            }
            VaultError::Internal(what) => {
                tracing::error!(part = what, "internal error");
                Self::internal()
            }
        }
    }
}

/// A text as a sentence.
fn sentence(text: &str) -> String {
    let mut characters = text.chars();
    match characters.next() {
        Some(first) => format!("{}{}.", first.to_uppercase(), characters.as_str()),
        None => String::new(),
    }
}
