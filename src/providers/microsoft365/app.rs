//! An app registration as the client handed it in.

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use ring::digest::{SHA256, digest};
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;

use crate::model::{EmailAddress, Timestamp};
use crate::providers::Fields;
use crate::providers::hint::Hint;
use crate::providers::signing::{Padding, RsaSigner, Signer};
use crate::secret::Secret;

/// What the application proves itself by.
pub(super) enum Proof<'a> {
    /// A client secret.
    Secret(&'a Secret),
    /// A certificate, whose key signs.
    Certificate(Certificate),
}

/// A certificate and who signs for it.
pub(super) struct Certificate {
    /// base64url of the SHA-256 of the certificate, without padding (RFC 7515 section 4.1.8).
    pub thumbprint: String,
    /// The last second at which it is valid.
    pub not_after: Timestamp,
    pub signer: Box<dyn Signer>,
}

/// An app registration.
pub(super) struct App<'a> {
    /// A GUID or a domain.
    pub tenant: &'a str,
    /// A GUID.
    pub client_id: &'a str,
    pub proof: Proof<'a>,
    pub test_mailbox: Option<EmailAddress>,
}

impl<'a> App<'a> {
    /// Reads fields that keep the rules of the kind.
    ///
    /// # Errors
    /// What is wrong with the certificate or its key.
    pub(super) fn from_fields(fields: &'a Fields, now: Timestamp) -> Result<Self, Hint> {
        let text = |name| fields.text(name).ok_or(Hint::ShapeInvalid);
        let proof = match fields.get("client_secret") {
            Some(secret) => Proof::Secret(secret),
            None => Proof::Certificate(Certificate::new(
                text("certificate")?,
                text("certificate_private_key")?,
                now,
            )?),
        };
        Ok(Self {
            tenant: text("tenant_id")?,
            client_id: text("client_id")?,
            proof,
            test_mailbox: fields
                .text("test_mailbox")
                .and_then(|address| address.parse().ok()),
        })
    }
}

impl Certificate {
    fn new(certificate: &str, key: &str, now: Timestamp) -> Result<Self, Hint> {
        let der = CertificateDer::from_pem_slice(certificate.as_bytes())
            .map_err(|_| Hint::ShapeInvalid)?;
        let (_, parsed) =
            x509_parser::parse_x509_certificate(&der).map_err(|_| Hint::ShapeInvalid)?;
        let signer = RsaSigner::from_pem(key.as_bytes(), Padding::Pss)
            .map_err(|_| Hint::CertificateKeyUnusable)?;
        if parsed.public_key().subject_public_key.data.as_ref() != signer.public_key() {
            return Err(Hint::CertificateKeyMismatch);
        }
        let not_after = Timestamp::from_secs(parsed.validity().not_after.timestamp());
        if not_after < now {
            return Err(Hint::CertificateExpired);
        }
        Ok(Self {
            thumbprint: URL_SAFE_NO_PAD.encode(digest(&SHA256, &der)),
            not_after,
            signer: Box::new(signer),
        })
    }
}
