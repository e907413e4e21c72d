//! Who is calling: what was proven, by which key.
//!
//! A caller proves itself with a client certificate ([`mtls`]), with a signed assertion
//! ([`assertion`]), or with both, which must then name the same principal. The certificate and
//! assertion code is pure: it is given bytes, configuration and the time, and gives back a
//! [`Proof`]. Only [`authenticate`] asks the [`Registry`], which the store's side implements.
//!
//! Outwardly every refusal is one and the same answer. [`Reason`] exists for metrics and logs.

pub mod assertion;
pub mod assertion_key;
pub mod certificate;
pub mod client_cert;
pub mod mtls;
pub mod pem;
mod proof;
pub mod public_key;
pub mod revocation_list;
pub mod spiffe;
pub mod trust;

#[cfg(test)]
mod test_tls;
#[cfg(test)]
pub(crate) mod testing;

pub use assertion_key::install_jwt_provider;
pub use proof::{
    AssertionProof, JtiHash, Lookup, Proof, Reason, RegisteredCertificate, RegisteredKey, Registry,
    RegistryError, SpiffeProof, SpkiHash, Unauthenticated,
};

use crate::model::{KeyForm, Principal, Timestamp};
use mtls::VerifiedPeer;

/// A caller whose identity is proven and registered.
#[derive(Debug)]
pub struct Authenticated {
    /// Who it is, as the registry knows them now.
    pub principal: Principal,
    /// Everything that was proven: a certificate, an assertion, or both.
    pub proofs: Vec<Proof>,
}

impl Authenticated {
    /// The assertion, whose `jti` has to be spent durably before anything is answered.
    pub fn assertion(&self) -> Option<&AssertionProof> {
        self.proofs.iter().find_map(|proof| match proof {
            Proof::Assertion(assertion) => Some(assertion),
            Proof::Pinned { .. } | Proof::Spiffe(_) => None,
        })
    }
}

/// Why nobody was authenticated.
#[derive(Debug, thiserror::Error)]
pub enum AuthenticateError {
    /// The caller is not who it would have to be: the uniform 401.
    #[error(transparent)]
    Unauthenticated(#[from] Unauthenticated),
    /// The registry could not be asked: 503.
    #[error(transparent)]
    Registry(#[from] RegistryError),
}

impl From<Reason> for AuthenticateError {
    fn from(reason: Reason) -> Self {
        Self::Unauthenticated(Unauthenticated::from(reason))
    }
}

/// Makes a principal of what a request carries.
///
/// `peer` is the certificate of the connection after [`mtls::verify_peer`]: if that refused it, the
/// request must be refused too, even if it carries a good assertion. `bearer` is the token of the
/// `Authorization` header; `audience` the deployment id.
///
/// A certificate wins by its key before its chain: a pinned or issued key is looked up first, and
/// a SPIFFE ID only when the key itself is unknown. A key that was revoked is refused even if
/// its certificate also chains to a configured authority.
///
/// # Errors
/// [`AuthenticateError::Unauthenticated`] unless everything presented is good and names one
/// principal; [`AuthenticateError::Registry`] when the registry cannot be asked.
pub async fn authenticate(
    registry: &dyn Registry,
    peer: Option<&VerifiedPeer>,
    bearer: Option<&str>,
    audience: &str,
    now: Timestamp,
) -> Result<Authenticated, AuthenticateError> {
    let mut proofs = Vec::with_capacity(2);
    let mut by_certificate = None;
    if let Some(peer) = peer {
        let (proof, principal) = registered_certificate(registry, peer).await?;
        proofs.push(proof);
        by_certificate = Some(principal);
    }
    let mut by_assertion = None;
    if let Some(token) = bearer {
        let (proof, principal) = registered_assertion(registry, token, audience, now).await?;
        proofs.push(Proof::Assertion(proof));
        by_assertion = Some(principal);
    }
    let principal = match (by_certificate, by_assertion) {
        (Some(certificate), Some(assertion)) if certificate.id() == assertion.id() => certificate,
        (Some(_), Some(_)) => return Err(Reason::PrincipalsDiffer.into()),
        (Some(principal), None) | (None, Some(principal)) => principal,
        (None, None) => return Err(Reason::NothingPresented.into()),
    };
    Ok(Authenticated { principal, proofs })
}

async fn registered_certificate(
    registry: &dyn Registry,
    peer: &VerifiedPeer,
) -> Result<(Proof, Principal), AuthenticateError> {
    match registry.certificate_by_spki(peer.spki).await? {
        Lookup::Live(found) => match found.form {
            KeyForm::PinnedCertificate => Ok((Proof::Pinned { spki: peer.spki }, found.principal)),
            // An issued certificate is valid only together with the chain and the name that
            // it was issued with.
            KeyForm::IssuedCertificate => {
                let spiffe = peer.spiffe.clone()?;
                if found.spiffe_id.as_ref() != Some(&spiffe.spiffe_id) {
                    return Err(Reason::NotRegistered.into());
                }
                Ok((Proof::Spiffe(spiffe), found.principal))
            }
            // A key has one use: what signs assertions does not open TLS connections.
            KeyForm::Spiffe | KeyForm::Ed25519 | KeyForm::P256 => {
                Err(Reason::KeyOfOtherForm.into())
            }
        },
        Lookup::Revoked => Err(Reason::KeyRevoked.into()),
        Lookup::Unknown => {
            let spiffe = peer.spiffe.clone()?;
            match registry.certificate_by_spiffe(&spiffe).await? {
                Lookup::Live(found) if found.form == KeyForm::Spiffe => {
                    Ok((Proof::Spiffe(spiffe), found.principal))
                }
                Lookup::Live(_) => Err(Reason::KeyOfOtherForm.into()),
                Lookup::Revoked => Err(Reason::KeyRevoked.into()),
                Lookup::Unknown => Err(Reason::NotRegistered.into()),
            }
        }
    }
}

async fn registered_assertion(
    registry: &dyn Registry,
    token: &str,
    audience: &str,
    now: Timestamp,
) -> Result<(AssertionProof, Principal), AuthenticateError> {
    let kid = assertion::parse_unverified_header(token)?;
    let (key, principal) = match registry.assertion_key(kid).await? {
        Lookup::Live(found) => found,
        // The same work as for a known key, so that the time does not say which keys exist.
        Lookup::Unknown => {
            assertion::verify_in_vain(token);
            return Err(Reason::NotRegistered.into());
        }
        Lookup::Revoked => {
            assertion::verify_in_vain(token);
            return Err(Reason::KeyRevoked.into());
        }
    };
    let proof = assertion::verify(token, &key, audience, now)?;
    if principal.id() != key.owner {
        return Err(Reason::PrincipalsDiffer.into());
    }
    Ok((proof, principal))
}

#[cfg(test)]
mod tests;
