//! What was proven, what the registry says to it, and why not.

use std::fmt;

use futures_util::future::BoxFuture;

use super::public_key::PublicKey;
use super::spiffe::{SpiffeId, TrustDomain};
use crate::model::{AuthorityId, KeyForm, KeyId, Principal, PrincipalId, Timestamp};

macro_rules! hashes {
    ($($(#[$doc:meta])* $name:ident;)+) => {$(
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(pub [u8; 32]);

        /// 64 lower-case hexadecimal digits.
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&hex::encode(self.0))
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(self, f)
            }
        }
    )+};
}

hashes! {
    /// SHA-256 of the DER of a SubjectPublicKeyInfo (RFC 5280, 4.1.2.7): the name of a public key.
    SpkiHash;
    /// SHA-256 over issuer and `jti` of an assertion, each preceded by its length.
    JtiHash;
}

impl SpkiHash {
    /// The hash of a SubjectPublicKeyInfo in DER.
    pub fn of(spki_der: &[u8]) -> Self {
        let digest = ring::digest::digest(&ring::digest::SHA256, spki_der);
        let mut hash = [0; 32];
        hash.copy_from_slice(digest.as_ref());
        Self(hash)
    }
}

/// One thing that a caller has proven.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Proof {
    /// Possession of the key of a pinned certificate.
    Pinned {
        /// That key.
        spki: SpkiHash,
    },
    /// A SPIFFE ID in a certificate of a configured authority.
    Spiffe(SpiffeProof),
    /// A signed assertion.
    Assertion(AssertionProof),
}

/// A verified X.509-SVID: chain, dates, revocation and leaf rules all held.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SpiffeProof {
    /// The authority that the chain ends in.
    pub authority: AuthorityId,
    /// The revision of that authority that the chain was checked against.
    pub authority_revision: i64,
    /// The trust domain of that authority, which is also that of the id.
    pub trust_domain: TrustDomain,
    /// The one URI name of the leaf.
    pub spiffe_id: SpiffeId,
    /// The leaf's key.
    pub spki: SpkiHash,
    /// The leaf's serial number, big endian, as encoded.
    pub serial: Vec<u8>,
    /// The last second at which the leaf is valid.
    pub not_after: Timestamp,
}

/// A verified assertion. It is good for one request: its `jti` must be spent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AssertionProof {
    /// The key that signed it.
    pub key: KeyId,
    /// The owner of the key, which is also issuer and subject.
    pub principal: PrincipalId,
    /// What to remember, so that it cannot be used again.
    pub jti: JtiHash,
    /// The `iat` claim.
    pub issued_at: Timestamp,
    /// The `exp` claim, without leeway.
    pub expires_at: Timestamp,
}

/// What the registry knows about something that was looked up.
#[derive(Clone, Debug)]
pub enum Lookup<T> {
    /// Nothing, or a row that the service did not write.
    Unknown,
    /// It was revoked, or its owner is disabled. Nothing else may be tried in its place.
    Revoked,
    /// It is registered and usable.
    Live(T),
}

/// A registered client certificate key or SPIFFE ID.
#[derive(Clone, Debug)]
pub struct RegisteredCertificate {
    /// How it proves itself.
    pub form: KeyForm,
    /// The SPIFFE ID that it was registered or issued with.
    pub spiffe_id: Option<SpiffeId>,
    /// Its owner; [`Principal::key`] is this registration.
    pub principal: Principal,
}

/// A registered public key for assertions.
#[derive(Clone, Debug)]
pub struct RegisteredKey {
    /// Its id: the `kid` of its assertions.
    pub id: KeyId,
    /// Who it belongs to.
    pub owner: PrincipalId,
    /// The key, which fixes the one algorithm it is used with.
    pub public_key: PublicKey,
}

/// The registry could not be asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the registry of principals is not available")]
pub struct RegistryError;

/// The registry of principals and their keys. Nothing is remembered between requests on this side:
/// every request asks anew.
pub trait Registry: Send + Sync {
    /// The client certificate key with this hash: pinned, issued, or (so that it is refused for
    /// TLS) one that was registered for assertions.
    fn certificate_by_spki(
        &self,
        spki: SpkiHash,
    ) -> BoxFuture<'_, Result<Lookup<RegisteredCertificate>, RegistryError>>;

    /// The principal that is registered for a SPIFFE ID of an authority's trust domain.
    fn certificate_by_spiffe<'a>(
        &'a self,
        proof: &'a SpiffeProof,
    ) -> BoxFuture<'a, Result<Lookup<RegisteredCertificate>, RegistryError>>;

    /// The assertion key with this id, and its owner.
    fn assertion_key(
        &self,
        key: KeyId,
    ) -> BoxFuture<'_, Result<Lookup<(RegisteredKey, Principal)>, RegistryError>>;
}

/// The caller is not authenticated. The text is the same whatever the reason.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("authentication failed")]
pub struct Unauthenticated {
    reason: Reason,
}

impl Unauthenticated {
    /// Why, for metrics and logs; never for the caller.
    pub const fn reason(self) -> Reason {
        self.reason
    }
}

impl From<Reason> for Unauthenticated {
    fn from(reason: Reason) -> Self {
        Self { reason }
    }
}

macro_rules! reasons {
    ($($(#[$doc:meta])* $name:ident = $word:literal,)+) => {
        /// Why a caller was refused: fixed words for metrics and logs, never part of an answer.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, thiserror::Error)]
        pub enum Reason {
            $($(#[$doc])* #[error($word)] $name,)+
        }

        impl Reason {
            /// The reason as one fixed word.
            pub const fn as_str(self) -> &'static str {
                match self {
                    $(Self::$name => $word,)+
                }
            }
        }
    };
}

reasons! {
    /// Neither a certificate nor an assertion.
    NothingPresented = "nothing-presented",
    /// Certificate and assertion, or key and owner, name different principals.
    PrincipalsDiffer = "principals-differ",
    /// The key or name is not registered.
    NotRegistered = "not-registered",
    /// The key is revoked or its owner disabled.
    KeyRevoked = "key-revoked",
    /// The key is registered for another use.
    KeyOfOtherForm = "key-of-other-form",
    /// No certificate, more than four, or one above 16 KiB.
    CertificateSize = "certificate-size",
    /// The certificate does not parse.
    CertificateMalformed = "certificate-malformed",
    /// The certificate's last day is over.
    CertificateExpired = "certificate-expired",
    /// The certificate is not valid yet.
    CertificateNotYetValid = "certificate-not-yet-valid",
    /// No chain to a configured authority.
    ChainUntrusted = "chain-untrusted",
    /// A certificate of the chain is revoked.
    CertificateRevoked = "certificate-revoked",
    /// A revocation list is configured and says nothing of a certificate of the chain.
    RevocationUnknown = "revocation-unknown",
    /// The revocation list is past its next update.
    RevocationListExpired = "revocation-list-expired",
    /// Key usage, extended key usage or basic constraints do not fit a client.
    CertificateUsage = "certificate-usage",
    /// Not exactly one URI name, or a name that does not parse.
    CertificateNames = "certificate-names",
    /// The URI name is not a SPIFFE ID of a workload.
    SpiffeIdMalformed = "spiffe-id-malformed",
    /// The SPIFFE ID is of another trust domain than the authority.
    TrustDomain = "trust-domain",
    /// The assertion is above 8 KiB.
    AssertionSize = "assertion-size",
    /// Not three base64url parts, or a part that is no JSON object of the expected form.
    AssertionMalformed = "assertion-malformed",
    /// A header with more, fewer or other members than `alg`, `kid` and `typ`.
    AssertionHeader = "assertion-header",
    /// The header's `typ` is another.
    AssertionType = "assertion-type",
    /// The header's `alg` is not the one of the key.
    AssertionAlgorithm = "assertion-algorithm",
    /// The signature is not the key's.
    AssertionSignature = "assertion-signature",
    /// Claims are missing, doubled, unknown or of a wrong type.
    AssertionClaims = "assertion-claims",
    /// Issuer or subject is not the key's owner.
    AssertionOwner = "assertion-owner",
    /// The audience is not this deployment.
    AssertionAudience = "assertion-audience",
    /// The assertion's time is over.
    AssertionExpired = "assertion-expired",
    /// It was issued before the deployment was restored, and may have been used since the backup.
    AssertionBeforeRestore = "assertion-before-restore",
    /// The assertion's time has not begun, or it is from the future.
    AssertionNotYetValid = "assertion-not-yet-valid",
    /// The assertion lives longer than 300 seconds, or not at all.
    AssertionLifetime = "assertion-lifetime",
    /// The `jti` is too short, too long or of other characters.
    AssertionIdentifier = "assertion-identifier",
}
