//! What a client's certificate proves, beyond the possession of its key, which the handshake has
//! shown ([`super::client_cert`]).
//!
//! It is checked at the first request of a connection and again whenever
//! [`VerifiedPeer::is_current`] says no: the configuration has changed, or the clock has passed a
//! moment at which the answer may be another. What the registry says is asked on every request and
//! is no part of this.

use rustls_pki_types::CertificateDer;

use super::certificate::{Leaf, check_sizes};
use super::proof::{Reason, SpiffeProof, SpkiHash};
use super::trust::TrustStore;
use crate::model::Timestamp;

/// A certificate whose key the peer holds and whose dates are good, and what it may stand for.
#[derive(Clone, Debug)]
pub struct VerifiedPeer {
    /// The key. If it is registered as pinned or issued, it says who this is; chain and names are
    /// then not asked for the identity.
    pub spki: SpkiHash,
    /// The SPIFFE ID with its authority, or why there is none.
    pub spiffe: Result<SpiffeProof, Reason>,
    /// The first moment at which the answer may be another one.
    pub valid_until: Timestamp,
    verified_at: Timestamp,
    generation: u64,
}

impl VerifiedPeer {
    /// Whether this still holds. A clock that was set back counts as a change.
    pub fn is_current(&self, trust: &TrustStore, now: Timestamp) -> bool {
        self.generation == trust.generation() && self.verified_at <= now && now < self.valid_until
    }
}

/// Checks a client's certificate chain, the leaf first.
///
/// The dates of the leaf count whether it is pinned or not. A leaf whose chain is not trusted is
/// still a candidate for a pinned key, which is found by its SPKI hash and nothing else.
///
/// # Errors
/// Nothing of the chain can be used: sizes, encoding or the leaf's dates.
pub fn verify_peer(
    chain: &[CertificateDer<'_>],
    trust: &TrustStore,
    now: Timestamp,
) -> Result<VerifiedPeer, Reason> {
    check_sizes(chain.iter())?;
    let [first, intermediates @ ..] = chain else {
        return Err(Reason::CertificateSize);
    };
    let leaf = Leaf::parse(first)?;
    leaf.check_dates(now)?;
    let mut valid_until = leaf.not_after().plus_secs(1);
    if let Some(boundary) = trust.next_boundary(now) {
        valid_until = valid_until.min(boundary);
    }
    for der in intermediates {
        // One that does not parse cannot be part of a path, whatever the time.
        if let Ok(intermediate) = Leaf::parse(der) {
            for boundary in [
                intermediate.not_before(),
                intermediate.not_after().plus_secs(1),
            ] {
                if boundary > now {
                    valid_until = valid_until.min(boundary);
                }
            }
        }
    }
    Ok(VerifiedPeer {
        spki: leaf.spki,
        spiffe: spiffe_proof(&leaf, intermediates, trust, now),
        valid_until,
        verified_at: now,
        generation: trust.generation(),
    })
}

fn spiffe_proof(
    leaf: &Leaf<'_>,
    intermediates: &[CertificateDer<'_>],
    trust: &TrustStore,
    now: Timestamp,
) -> Result<SpiffeProof, Reason> {
    let spiffe_id = leaf.spiffe_id()?;
    let trust_domain = spiffe_id.trust_domain();
    let trusted = trust.verify_chain(leaf, intermediates, &trust_domain, now)?;
    Ok(SpiffeProof {
        authority: trusted.authority.id,
        authority_revision: trusted.authority.revision,
        trust_domain,
        spiffe_id,
        spki: leaf.spki,
        serial: leaf.serial().to_vec(),
        not_after: leaf.not_after(),
    })
}

#[cfg(test)]
mod tests;
