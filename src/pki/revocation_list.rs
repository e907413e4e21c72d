//! The revocation list of an own authority (RFC 5280, section 5; version 2).

use rcgen::{
    CertificateRevocationListParams, KeyIdMethod, RevocationReason, RevokedCertParams, SerialNumber,
};
use time::OffsetDateTime;

use super::authority::{Issuer, PkiError};
use crate::model::Timestamp;

/// A certificate to be listed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RevokedCertificate {
    /// Its serial number, big endian.
    pub serial: Vec<u8>,
    /// Since when it is revoked.
    pub since: Timestamp,
    /// Whether it may become good again (reason certificateHold, RFC 5280, 5.3.1).
    pub on_hold: bool,
}

/// What a list says.
pub struct ListContent<'a> {
    /// Its number: higher than that of every list before it (RFC 5280, 5.2.3).
    pub number: u64,
    /// When it is made.
    pub this_update: Timestamp,
    /// By when the next one will be there.
    pub next_update: Timestamp,
    /// What is revoked.
    pub revoked: &'a [RevokedCertificate],
}

impl Issuer {
    /// Signs a complete revocation list, in DER.
    ///
    /// # Errors
    /// A time is out of range, or signing failed.
    pub fn sign_revocation_list(&self, content: &ListContent<'_>) -> Result<Vec<u8>, PkiError> {
        let moment = |at: Timestamp| {
            OffsetDateTime::from_unix_timestamp(at.secs()).map_err(|_| PkiError::Lifetime)
        };
        let mut revoked_certs = Vec::with_capacity(content.revoked.len());
        for certificate in content.revoked {
            revoked_certs.push(RevokedCertParams {
                serial_number: SerialNumber::from_slice(&certificate.serial),
                revocation_time: moment(certificate.since)?,
                // Why a key was revoked is not known here; the reason is left out then.
                reason_code: certificate
                    .on_hold
                    .then_some(RevocationReason::CertificateHold),
                invalidity_date: None,
            });
        }
        let params = CertificateRevocationListParams {
            this_update: moment(content.this_update)?,
            next_update: moment(content.next_update)?,
            crl_number: SerialNumber::from(content.number),
            issuing_distribution_point: None,
            revoked_certs,
            // As in the authorities' own certificates, which have rcgen's default.
            key_identifier_method: KeyIdMethod::Sha256,
        };
        let list = params
            .signed_by(self.inner())
            .map_err(|_| PkiError::Signature)?;
        Ok(list.der().to_vec())
    }
}
