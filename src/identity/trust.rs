//! The configured authorities: each bound to one trust domain, with its own time of acceptance and
//! its own revocation lists.

use rustls_pki_types::{CertificateDer, CertificateRevocationListDer, TrustAnchor, UnixTime};
use webpki::{
    CertRevocationList, ExpirationPolicy, KeyUsage, OwnedCertRevocationList, RevocationCheckDepth,
    RevocationOptionsBuilder, UnknownStatusPolicy,
};
use x509_parser::prelude::FromDer as _;
use x509_parser::revocation_list::CertificateRevocationList;

use super::certificate::{CertificateFacts, Leaf};
use super::proof::{Reason, SpkiHash};
use super::spiffe::TrustDomain;
use crate::model::{AuthorityId, Timestamp};

/// An authority as it is configured.
#[derive(Clone, Debug)]
pub struct Authority {
    /// Its id.
    pub id: AuthorityId,
    /// Counts the changes of what is said here; a proof names it.
    pub revision: i64,
    /// The only trust domain whose names it may give.
    pub trust_domain: TrustDomain,
    /// Its certificate.
    pub certificate: CertificateDer<'static>,
    /// From when certificates of it are accepted; `None`: as soon as its own dates allow.
    pub accept_from: Option<Timestamp>,
    /// Until when (exclusive) they are accepted; `None`: as long as its own dates allow.
    pub accept_until: Option<Timestamp>,
    /// Its revocation lists. With one or more of them, every certificate of a chain must be
    /// covered by one that is not past its next update.
    pub crls: Vec<CertificateRevocationListDer<'static>>,
    /// Whether its certificates are accepted with a revocation list only, so that none at all
    /// means that nothing of it is accepted.
    pub needs_crl: bool,
}

/// The configuration of authorities cannot be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum TrustError {
    /// The certificate does not parse, or is not an authority's.
    #[error("the certificate of {0} is not an authority's")]
    NotAnAuthority(AuthorityId),
    /// A revocation list does not parse.
    #[error("a revocation list of {0} does not parse")]
    RevocationList(AuthorityId),
    /// Two authorities share a key, so that a chain would not say which of them it ends in.
    #[error("{0} has the same key as another authority")]
    SameKey(AuthorityId),
}

struct Anchor {
    authority: Authority,
    spki: SpkiHash,
    trust_anchor: TrustAnchor<'static>,
    not_before: Timestamp,
    not_after: Timestamp,
    crls: Vec<CertRevocationList<'static>>,
}

/// All authorities at one moment of configuration. It does not change: a new configuration is a new
/// store with a higher generation.
pub struct TrustStore {
    generation: u64,
    anchors: Vec<Anchor>,
    /// Every moment at which some answer may change, sorted.
    boundaries: Vec<Timestamp>,
}

/// The chain is good: it ends in this authority.
pub(crate) struct Trusted<'a> {
    pub(crate) authority: &'a Authority,
}

impl TrustStore {
    /// Builds the store. `generation` tells a connection that its peer must be verified again.
    ///
    /// An expired authority or revocation list is no error here, because the service has to start:
    /// what depends on it is refused.
    ///
    /// # Errors
    /// See [`TrustError`]. The store in use is then kept.
    pub fn new(generation: u64, authorities: Vec<Authority>) -> Result<Self, TrustError> {
        let mut anchors: Vec<Anchor> = Vec::with_capacity(authorities.len());
        let mut boundaries = Vec::new();
        for authority in authorities {
            let id = authority.id;
            let facts = CertificateFacts::of_authority_der(&authority.certificate)
                .map_err(|_| TrustError::NotAnAuthority(id))?;
            if anchors.iter().any(|other| other.spki == facts.spki) {
                return Err(TrustError::SameKey(id));
            }
            let trust_anchor = webpki::anchor_from_trusted_cert(&authority.certificate)
                .map_err(|_| TrustError::NotAnAuthority(id))?
                .to_owned();
            let mut crls = Vec::with_capacity(authority.crls.len());
            for der in &authority.crls {
                let owned = OwnedCertRevocationList::from_der(der)
                    .map_err(|_| TrustError::RevocationList(id))?;
                let Ok(([], list)) = CertificateRevocationList::from_der(der) else {
                    return Err(TrustError::RevocationList(id));
                };
                boundaries.extend(
                    list.next_update()
                        .map(|at| Timestamp::from_secs(at.timestamp())),
                );
                crls.push(CertRevocationList::from(owned));
            }
            boundaries.extend(authority.accept_from);
            boundaries.extend(authority.accept_until);
            boundaries.push(facts.not_before);
            boundaries.push(facts.not_after.plus_secs(1));
            anchors.push(Anchor {
                spki: facts.spki,
                trust_anchor,
                not_before: facts.not_before,
                not_after: facts.not_after,
                crls,
                authority,
            });
        }
        boundaries.sort_unstable();
        Ok(Self {
            generation,
            anchors,
            boundaries,
        })
    }

    /// The generation that this store was built with.
    pub const fn generation(&self) -> u64 {
        self.generation
    }

    /// The authorities, in the order in which they are tried.
    pub fn authorities(&self) -> impl Iterator<Item = &Authority> {
        self.anchors.iter().map(|anchor| &anchor.authority)
    }

    /// The next moment after `now` at which an authority or a revocation list begins or ends.
    pub(crate) fn next_boundary(&self, now: Timestamp) -> Option<Timestamp> {
        let after = self.boundaries.partition_point(|at| *at <= now);
        self.boundaries.get(after).copied()
    }

    /// The authority of `domain` that the chain ends in. Each authority is tried alone, so that the
    /// answer is bound to one, and only its own revocation lists are heard.
    pub(crate) fn verify_chain(
        &self,
        leaf: &Leaf<'_>,
        intermediates: &[CertificateDer<'_>],
        domain: &TrustDomain,
        now: Timestamp,
    ) -> Result<Trusted<'_>, Reason> {
        let mut reason = Reason::ChainUntrusted;
        for anchor in &self.anchors {
            match anchor.verify_chain(leaf, intermediates, now) {
                Ok(()) if anchor.authority.trust_domain == *domain => {
                    return Ok(Trusted {
                        authority: &anchor.authority,
                    });
                }
                Ok(()) => reason = Reason::TrustDomain,
                Err(Reason::ChainUntrusted) => {}
                Err(other) => reason = other,
            }
        }
        Err(reason)
    }
}

impl Anchor {
    fn verify_chain(
        &self,
        leaf: &Leaf<'_>,
        intermediates: &[CertificateDer<'_>],
        now: Timestamp,
    ) -> Result<(), Reason> {
        // webpki does not look at the dates of a trust anchor.
        let accepted = self.not_before <= now
            && now.secs() <= self.not_after.secs()
            && self.authority.accept_from.is_none_or(|from| from <= now)
            && self.authority.accept_until.is_none_or(|until| now < until);
        if !accepted {
            return Err(Reason::ChainUntrusted);
        }
        if self.crls.is_empty() && self.authority.needs_crl {
            return Err(Reason::RevocationUnknown);
        }
        let crls: Vec<_> = self.crls.iter().collect();
        self.verify_with(leaf, intermediates, &crls, UnknownStatusPolicy::Deny, now)?;
        // webpki asks only the first list that speaks for a certificate. Where a certificate names
        // several distribution points, any of their lists may revoke it.
        if crls.len() > 1 {
            for list in crls {
                let alone = self.verify_with(
                    leaf,
                    intermediates,
                    &[list],
                    UnknownStatusPolicy::Allow,
                    now,
                );
                alone?;
            }
        }
        Ok(())
    }

    fn verify_with(
        &self,
        leaf: &Leaf<'_>,
        intermediates: &[CertificateDer<'_>],
        crls: &[&CertRevocationList<'_>],
        unknown: UnknownStatusPolicy,
        now: Timestamp,
    ) -> Result<(), Reason> {
        // No list, no options: `new` refuses only an empty slice.
        let revocation = RevocationOptionsBuilder::new(crls).ok().map(|options| {
            options
                .with_depth(RevocationCheckDepth::Chain)
                .with_status_policy(unknown)
                .with_expiration_policy(ExpirationPolicy::Enforce)
                .build()
        });
        let seconds = u64::try_from(now.secs()).unwrap_or(0);
        leaf.webpki
            .verify_for_usage(
                webpki::ALL_VERIFICATION_ALGS,
                std::slice::from_ref(&self.trust_anchor),
                intermediates,
                UnixTime::since_unix_epoch(std::time::Duration::from_secs(seconds)),
                KeyUsage::client_auth(),
                revocation,
                None,
            )
            .map(|_| ())
            .map_err(|error| match error {
                webpki::Error::CertRevoked => Reason::CertificateRevoked,
                webpki::Error::UnknownRevocationStatus => Reason::RevocationUnknown,
                webpki::Error::CrlExpired { .. } => Reason::RevocationListExpired,
                webpki::Error::CertExpired { .. } => Reason::CertificateExpired,
                webpki::Error::CertNotValidYet { .. } => Reason::CertificateNotYetValid,
                webpki::Error::CaUsedAsEndEntity | webpki::Error::RequiredEkuNotFoundContext(_) => {
                    Reason::CertificateUsage
                }
                _ => Reason::ChainUntrusted,
            })
    }
}
