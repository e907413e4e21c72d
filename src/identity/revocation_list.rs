//! Reading certificate revocation lists (RFC 5280, section 5) before they are kept.
//!
//! Two parsers must agree that a list can be used: x509-parser's tells errors apart, webpki's is the
//! one that chains are checked with. Nothing of a list is believed before its signature.

use rustls_pki_types::CertificateDer;
use webpki::OwnedCertRevocationList;
use x509_parser::extensions::{DistributionPointName, GeneralName, ParsedExtension};
use x509_parser::oid_registry::OID_X509_EXT_ISSUER_DISTRIBUTION_POINT;
use x509_parser::prelude::{FromDer as _, X509Certificate};
use x509_parser::revocation_list::CertificateRevocationList;

use super::pem::{self, PemError};
use crate::model::Timestamp;

/// The longest list that is read: 1 MiB of DER.
pub const MAX_LIST_BYTES: usize = 1024 * 1024;
/// How many octets a list's number may have (RFC 5280, 5.2.3).
const NUMBER_BYTES: usize = 20;
/// How far in the future a list may begin, in seconds, for clocks that differ.
const AHEAD_SECS: i64 = 300;

/// A revocation list is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ListError {
    /// The PEM file is not one list.
    #[error(transparent)]
    Pem(#[from] PemError),
    /// Neither PEM nor base64.
    #[error("must be one X509 CRL in PEM, or its DER in base64")]
    Encoding,
    /// Longer than 1 MiB.
    #[error("is longer than 1 MiB")]
    Size,
    /// One of the two parsers cannot read it.
    #[error(
        "is not a revocation list that can be used here: version 2, complete (no delta), direct, \
         with nextUpdate and without critical extensions that are not known"
    )]
    Malformed,
    /// It has no number.
    #[error("has no CRL number of at most 20 octets (RFC 5280, 5.2.3)")]
    Number,
    /// It names another issuer than the authority.
    #[error(
        "was issued by another authority: each authority that signs certificates is registered by \
         itself, intermediate ones too"
    )]
    Issuer,
    /// The authority's certificate does not allow it to sign lists.
    #[error("the authority's certificate does not allow it to sign revocation lists (cRLSign)")]
    NoListSigner,
    /// The signature is not the authority's.
    #[error("is not signed by this authority")]
    Signature,
    /// Its next update is over.
    #[error("has expired: its nextUpdate has passed")]
    Expired,
    /// It begins in the future.
    #[error("is not valid yet: its thisUpdate lies in the future")]
    NotYetValid,
}

/// A revocation list whose form was checked, and what it says of itself.
#[derive(Clone, Debug)]
pub struct RevocationList {
    /// The list.
    pub der: Vec<u8>,
    /// Its number: 20 octets, big endian, so that numbers are ordered like their bytes.
    pub number: [u8; NUMBER_BYTES],
    /// When it was made.
    pub this_update: Timestamp,
    /// The first moment at which it is good for nothing more.
    pub next_update: Timestamp,
    /// How many certificates it revokes.
    pub entries: usize,
    /// Which part of the certificates it is about: empty for all of them, else the SHA-256 of its
    /// issuing distribution point (RFC 5280, 5.2.5), hexadecimal.
    pub scope: String,
    /// The addresses in its issuing distribution point.
    pub distribution_points: Vec<String>,
}

impl RevocationList {
    /// Reads a list from PEM, or from DER in base64.
    ///
    /// # Errors
    /// See [`ListError`]; the signature is checked by [`RevocationList::check`].
    pub fn from_text(text: &str) -> Result<Self, ListError> {
        use base64::{Engine as _, engine::general_purpose::STANDARD};
        // Base64 is a third longer, and its lines end.
        const LONGEST: usize = MAX_LIST_BYTES / 2 * 3;
        if text.len() > LONGEST {
            return Err(ListError::Size);
        }
        if text.contains("-----BEGIN ") {
            let der = pem::read_one_within(text, "X509 CRL", LONGEST)?;
            return Self::from_der(der.to_vec());
        }
        let packed: Vec<u8> = text
            .bytes()
            .filter(|byte| !byte.is_ascii_whitespace())
            .collect();
        let der = STANDARD.decode(packed).map_err(|_| ListError::Encoding)?;
        Self::from_der(der)
    }

    /// Reads a list in DER.
    ///
    /// # Errors
    /// See [`ListError`].
    pub fn from_der(der: Vec<u8>) -> Result<Self, ListError> {
        if der.is_empty() {
            return Err(ListError::Encoding);
        }
        if der.len() > MAX_LIST_BYTES {
            return Err(ListError::Size);
        }
        OwnedCertRevocationList::from_der(&der).map_err(|_| ListError::Malformed)?;
        let Ok(([], list)) = CertificateRevocationList::from_der(&der) else {
            return Err(ListError::Malformed);
        };
        let bytes = list.crl_number().ok_or(ListError::Number)?.to_bytes_be();
        let mut number = [0; NUMBER_BYTES];
        let start = NUMBER_BYTES
            .checked_sub(bytes.len())
            .ok_or(ListError::Number)?;
        number[start..].copy_from_slice(&bytes);
        let next_update = list.next_update().ok_or(ListError::Malformed)?;
        let (scope, distribution_points) = scope(&list)?;
        Ok(Self {
            number,
            this_update: Timestamp::from_secs(list.last_update().timestamp()),
            next_update: Timestamp::from_secs(next_update.timestamp()),
            entries: list.iter_revoked_certificates().count(),
            scope,
            distribution_points,
            der,
        })
    }

    /// SHA-256 of its DER, to be recorded.
    pub fn sha256(&self) -> [u8; 32] {
        sha256(&self.der)
    }

    /// Checks that the list is this authority's and good now.
    ///
    /// # Errors
    /// See [`ListError`].
    pub fn check(&self, authority: &CertificateDer<'_>, now: Timestamp) -> Result<(), ListError> {
        let Ok(([], list)) = CertificateRevocationList::from_der(&self.der) else {
            return Err(ListError::Malformed);
        };
        let Ok(([], certificate)) = X509Certificate::from_der(authority) else {
            return Err(ListError::Issuer);
        };
        if list.issuer().as_raw() != certificate.subject().as_raw() {
            return Err(ListError::Issuer);
        }
        let may_sign = match certificate.key_usage() {
            Ok(usage) => usage.is_none_or(|usage| usage.value.crl_sign()),
            Err(_) => false,
        };
        if !may_sign {
            return Err(ListError::NoListSigner);
        }
        list.verify_signature(certificate.public_key())
            .map_err(|_| ListError::Signature)?;
        if self.next_update <= now {
            return Err(ListError::Expired);
        }
        if self.this_update > now.plus_secs(AHEAD_SECS) {
            return Err(ListError::NotYetValid);
        }
        Ok(())
    }
}

/// The part of the certificates that a list is about, and the addresses that name it.
fn scope(list: &CertificateRevocationList<'_>) -> Result<(String, Vec<String>), ListError> {
    let mut found = list
        .extensions()
        .iter()
        .filter(|extension| extension.oid == OID_X509_EXT_ISSUER_DISTRIBUTION_POINT);
    let Some(extension) = found.next() else {
        return Ok((String::new(), Vec::new()));
    };
    let ParsedExtension::IssuingDistributionPoint(point) = extension.parsed_extension() else {
        return Err(ListError::Malformed);
    };
    if found.next().is_some() {
        return Err(ListError::Malformed);
    }
    let mut addresses = Vec::new();
    if let Some(DistributionPointName::FullName(names)) = &point.distribution_point {
        for name in names {
            if let GeneralName::URI(uri) = name {
                addresses.push((*uri).to_owned());
            }
        }
    }
    Ok((hex::encode(sha256(extension.value)), addresses))
}

fn sha256(bytes: &[u8]) -> [u8; 32] {
    let digest = ring::digest::digest(&ring::digest::SHA256, bytes);
    let mut hash = [0; 32];
    hash.copy_from_slice(digest.as_ref());
    hash
}

#[cfg(test)]
mod tests;
