//! Reading certificates: the facts that enrolment needs, and the rules for a SPIFFE leaf.

use rustls_pki_types::{CertificateDer, pem::PemObject as _};
use webpki::EndEntityCert;
use x509_parser::extensions::{GeneralName, ParsedExtension};
use x509_parser::oid_registry::OID_X509_EXT_BASIC_CONSTRAINTS;
use x509_parser::prelude::{FromDer as _, X509Certificate};

use super::pem::{self, PemError};
use super::proof::{Reason, SpkiHash};
use super::spiffe::SpiffeId;
use crate::model::Timestamp;

/// Most certificates that a client may send, its own included.
pub const MAX_CHAIN: usize = 4;
/// Most bytes of one certificate.
pub const MAX_CERTIFICATE_BYTES: usize = 16 * 1024;

/// The certificate cannot be registered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum CertificateError {
    /// The PEM file is not one certificate.
    #[error(transparent)]
    Pem(#[from] PemError),
    /// It does not parse, or is longer than 16 KiB.
    #[error("is not an X.509 certificate that can be used here")]
    Malformed,
    /// It is not an authority's.
    #[error("is not the certificate of an authority (basic constraints and key usage)")]
    NotAnAuthority,
}

/// What enrolment has to know of a certificate.
#[derive(Clone, Debug)]
pub struct CertificateFacts {
    /// The certificate.
    pub der: CertificateDer<'static>,
    /// Its key.
    pub spki: SpkiHash,
    /// The first second at which it is valid.
    pub not_before: Timestamp,
    /// The last second at which it is valid.
    pub not_after: Timestamp,
}

impl CertificateFacts {
    /// A client's certificate that is to be pinned, from a PEM file with one block. Only its key will
    /// count, so that a self-signed certificate that calls itself an authority's is welcome too.
    ///
    /// # Errors
    /// See [`CertificateError`].
    pub fn of_client(text: &str) -> Result<Self, CertificateError> {
        let der = CertificateDer::from(pem::read_one(text, "CERTIFICATE")?.to_vec());
        let leaf = Leaf::parse(&der).map_err(|_| CertificateError::Malformed)?;
        Ok(leaf.facts(der.clone()))
    }

    /// An authority's certificate, from a PEM file with one block.
    ///
    /// # Errors
    /// See [`CertificateError`].
    pub fn of_authority(text: &str) -> Result<Self, CertificateError> {
        let der = CertificateDer::from(pem::read_one(text, "CERTIFICATE")?.to_vec());
        Self::of_authority_der(&der)
    }

    /// An authority's certificate in DER.
    ///
    /// A certificate that is not an authority's must never become a trust anchor: an anchor keeps
    /// only the name and the key, so that whatever the key signs would be believed
    /// (CVE-2024-2048, CVE-2025-6037).
    ///
    /// # Errors
    /// See [`CertificateError`].
    pub fn of_authority_der(der: &CertificateDer<'_>) -> Result<Self, CertificateError> {
        let leaf = Leaf::parse(der).map_err(|_| CertificateError::Malformed)?;
        let may_sign = match leaf.x509.key_usage() {
            Ok(Some(usage)) => usage.value.key_cert_sign(),
            Ok(None) => true,
            Err(_) => return Err(CertificateError::Malformed),
        };
        if !may_sign
            || !leaf
                .is_authority()
                .map_err(|_| CertificateError::Malformed)?
        {
            return Err(CertificateError::NotAnAuthority);
        }
        Ok(leaf.facts(der.clone().into_owned()))
    }
}

/// What the holder of a client certificate has to know of it.
#[derive(Clone, Debug)]
pub struct ClientLeaf {
    /// The first second at which it is valid.
    pub not_before: Timestamp,
    /// The last second at which it is valid.
    pub not_after: Timestamp,
    /// The SPIFFE ID, if it is an X.509-SVID.
    pub spiffe_id: Option<SpiffeId>,
}

impl ClientLeaf {
    /// The first certificate of a PEM file with a chain; `None` if it cannot be read.
    pub fn read(chain: &[u8]) -> Option<Self> {
        let der = CertificateDer::pem_slice_iter(chain).next()?.ok()?;
        let leaf = Leaf::parse(&der).ok()?;
        Some(Self {
            not_before: leaf.not_before(),
            not_after: leaf.not_after(),
            spiffe_id: leaf.spiffe_id().ok(),
        })
    }
}

/// The last second of a certificate's validity, if it can be read.
pub fn certificate_end(der: &CertificateDer<'_>) -> Option<Timestamp> {
    Leaf::parse(der).ok().map(|leaf| leaf.not_after())
}

/// The common name of a certificate's subject, if it has exactly one that can be read.
pub fn subject_common_name(der: &CertificateDer<'_>) -> Option<String> {
    let (_, certificate) = x509_parser::parse_x509_certificate(der).ok()?;
    let mut names = certificate.subject().iter_common_name();
    let name = names.next()?.as_str().ok()?.to_owned();
    names.next().is_none().then_some(name)
}

/// Checks the sizes of what a client sent, before anything is parsed.
///
/// # Errors
/// [`Reason::CertificateSize`].
pub(crate) fn check_sizes<'a>(
    chain: impl ExactSizeIterator<Item = &'a CertificateDer<'a>>,
) -> Result<(), Reason> {
    let count = chain.len();
    let mut chain = chain;
    if count == 0 || count > MAX_CHAIN || chain.any(|der| der.len() > MAX_CERTIFICATE_BYTES) {
        return Err(Reason::CertificateSize);
    }
    Ok(())
}

/// A certificate that two parsers agree on. webpki's is the one that the handshake's signature is
/// checked with; x509-parser's is the one that tells errors apart. webpki passes silently over
/// alternative names that it cannot read.
pub(crate) struct Leaf<'a> {
    pub(crate) webpki: EndEntityCert<'a>,
    x509: X509Certificate<'a>,
    pub(crate) spki: SpkiHash,
}

impl<'a> Leaf<'a> {
    pub(crate) fn parse(der: &'a CertificateDer<'a>) -> Result<Self, Reason> {
        if der.len() > MAX_CERTIFICATE_BYTES {
            return Err(Reason::CertificateSize);
        }
        let Ok(([], x509)) = X509Certificate::from_der(der) else {
            return Err(Reason::CertificateMalformed);
        };
        let webpki = EndEntityCert::try_from(der).map_err(|_| Reason::CertificateMalformed)?;
        let spki = webpki.subject_public_key_info();
        if spki.as_ref() != x509.public_key().raw {
            return Err(Reason::CertificateMalformed);
        }
        let spki = SpkiHash::of(spki.as_ref());
        Ok(Self { webpki, x509, spki })
    }

    pub(crate) fn not_before(&self) -> Timestamp {
        Timestamp::from_secs(self.x509.validity().not_before.timestamp())
    }

    pub(crate) fn not_after(&self) -> Timestamp {
        Timestamp::from_secs(self.x509.validity().not_after.timestamp())
    }

    pub(crate) fn serial(&self) -> &[u8] {
        self.x509.raw_serial()
    }

    pub(crate) fn check_dates(&self, now: Timestamp) -> Result<(), Reason> {
        if now < self.not_before() {
            return Err(Reason::CertificateNotYetValid);
        }
        // The last second belongs to the validity (RFC 5280, 4.1.2.5).
        if now.secs() > self.not_after().secs() {
            return Err(Reason::CertificateExpired);
        }
        Ok(())
    }

    fn facts(&self, der: CertificateDer<'static>) -> CertificateFacts {
        CertificateFacts {
            der,
            spki: self.spki,
            not_before: self.not_before(),
            not_after: self.not_after(),
        }
    }

    /// `cA` of the basic constraints. x509-parser's own accessor takes an extension that it cannot
    /// parse for an absent one.
    fn is_authority(&self) -> Result<bool, Reason> {
        let extension = self
            .x509
            .get_extension_unique(&OID_X509_EXT_BASIC_CONSTRAINTS)
            .map_err(|_| Reason::CertificateMalformed)?;
        match extension.map(|extension| extension.parsed_extension()) {
            None => Ok(false),
            Some(ParsedExtension::BasicConstraints(constraints)) => Ok(constraints.ca),
            Some(_) => Err(Reason::CertificateMalformed),
        }
    }

    /// The SPIFFE ID, if the leaf keeps the rules of X.509-SVID (sections 2 to 5).
    ///
    /// The specification asks issuers to set serverAuth beside clientAuth. A verifier of clients
    /// has no need of it, so that only clientAuth is asked for here.
    pub(crate) fn spiffe_id(&self) -> Result<SpiffeId, Reason> {
        if self.is_authority()? {
            return Err(Reason::CertificateUsage);
        }
        let usage = self
            .x509
            .key_usage()
            .map_err(|_| Reason::CertificateMalformed)?;
        let good = usage.is_some_and(|usage| {
            usage.critical
                && usage.value.digital_signature()
                && !usage.value.key_cert_sign()
                && !usage.value.crl_sign()
        });
        let extended = self
            .x509
            .extended_key_usage()
            .map_err(|_| Reason::CertificateMalformed)?;
        if !good || extended.is_some_and(|extended| !extended.value.client_auth) {
            return Err(Reason::CertificateUsage);
        }
        let names = self
            .x509
            .subject_alternative_name()
            .map_err(|_| Reason::CertificateNames)?
            .ok_or(Reason::CertificateNames)?;
        let mut uris = Vec::with_capacity(1);
        for name in &names.value.general_names {
            match name {
                GeneralName::URI(uri) => uris.push(*uri),
                GeneralName::Invalid(..) => return Err(Reason::CertificateNames),
                _ => {}
            }
        }
        let [uri] = uris.as_slice() else {
            return Err(Reason::CertificateNames);
        };
        uri.parse().map_err(|_| Reason::SpiffeIdMalformed)
    }
}
