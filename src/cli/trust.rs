//! By what a server is known: authorities in a file, or, before there is such a file, the SHA-256 of
//! one authority's certificate.

use std::sync::{Arc, Mutex, PoisonError};

use ring::digest::{SHA256, digest};
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::CryptoProvider;
use rustls::{CertificateError, DigitallySignedStruct, RootCertStore, SignatureScheme};
use rustls_pki_types::{CertificateDer, ServerName, UnixTime, pem::PemObject};
use subtle::ConstantTimeEq as _;

use super::error::CliError;
use crate::identity::certificate::CertificateFacts;

/// The SHA-256 of a certificate in DER, as `openssl x509 -fingerprint -sha256` shows it too.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fingerprint([u8; 32]);

impl Fingerprint {
    /// That of this certificate.
    pub fn of(certificate: &[u8]) -> Self {
        let mut hash = [0; 32];
        hash.copy_from_slice(digest(&SHA256, certificate).as_ref());
        Self(hash)
    }
}

impl std::fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&hex::encode(self.0))
    }
}

impl std::str::FromStr for Fingerprint {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let digits = text.replace(':', "").to_ascii_lowercase();
        let mut hash = [0; 32];
        hex::decode_to_slice(digits, &mut hash)
            .map(|()| Self(hash))
            .map_err(|_| "must be a SHA-256: 64 hexadecimal digits, with or without colons")
    }
}

/// The certificates of a PEM file of authorities.
///
/// # Errors
/// It is no PEM, or holds none.
pub fn authorities(pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, CliError> {
    let all: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
    let all = all.map_err(|_| CliError::local("--ca is not a PEM file of certificates"))?;
    if all.is_empty() {
        return Err(CliError::local("--ca holds no certificate"));
    }
    Ok(all)
}

/// How a server proves itself.
pub enum Trust<'a> {
    /// By one of these authorities (PEM), and no other.
    Authorities(&'a [u8]),
    /// By an authority whose certificate it sends along and that is one of these.
    Fingerprints(Arc<ByFingerprint>),
}

/// Trusts an authority by the SHA-256 of its certificate, and remembers that certificate.
#[derive(Debug)]
pub struct ByFingerprint {
    wanted: Vec<Fingerprint>,
    provider: Arc<CryptoProvider>,
    found: Mutex<Option<CertificateDer<'static>>>,
}

impl ByFingerprint {
    /// Trusts these.
    pub fn new(wanted: Vec<Fingerprint>) -> Self {
        Self {
            wanted,
            provider: Arc::new(rustls::crypto::ring::default_provider()),
            found: Mutex::new(None),
        }
    }

    /// The certificate of the authority that a server was known by.
    pub fn found(&self) -> Option<CertificateDer<'static>> {
        let found = self.found.lock().unwrap_or_else(PoisonError::into_inner);
        found.clone()
    }

    fn is_wanted(&self, certificate: &CertificateDer<'_>) -> bool {
        let is = Fingerprint::of(certificate);
        let mut wanted = self.wanted.iter();
        wanted.any(|wanted| bool::from(wanted.0.ct_eq(&is.0)))
    }
}

impl ServerCertVerifier for ByFingerprint {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let unknown = || rustls::Error::InvalidCertificate(CertificateError::UnknownIssuer);
        let mut sent = intermediates.iter();
        let authority = sent.find(|it| self.is_wanted(it)).ok_or_else(unknown)?;
        // What is no authority must not become one by being trusted.
        CertificateFacts::of_authority_der(authority).map_err(|_| unknown())?;
        let authority = authority.clone().into_owned();
        let mut roots = RootCertStore::empty();
        roots.add(authority.clone()).map_err(|_| unknown())?;
        let verifier = WebPkiServerVerifier::builder_with_provider(
            Arc::new(roots),
            Arc::clone(&self.provider),
        )
        .build()
        .map_err(|_| unknown())?;
        let verified = verifier.verify_server_cert(
            end_entity,
            intermediates,
            server_name,
            ocsp_response,
            now,
        )?;
        let mut found = self.found.lock().unwrap_or_else(PoisonError::into_inner);
        *found = Some(authority);
        Ok(verified)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        rustls::crypto::verify_tls12_signature(message, certificate, signature, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        rustls::crypto::verify_tls13_signature(message, certificate, signature, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider
            .signature_verification_algorithms
            .supported_schemes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fingerprint_is_read_as_tools_write_it() {
        let is = Fingerprint::of(b"abc");
        let plain = is.to_string();
        assert!(plain.starts_with("ba7816bf") && plain.len() == 64);
        let pairs: Vec<&str> = (0..32).map(|at| &plain[2 * at..2 * at + 2]).collect();
        let colons = pairs.join(":").to_uppercase();
        for text in [plain.as_str(), colons.as_str()] {
            assert_eq!(text.parse(), Ok(is));
        }
        for text in [
            "",
            "ba78",
            &plain[1..],
            &format!("{plain}00"),
            &"z".repeat(64),
        ] {
            assert!(text.parse::<Fingerprint>().is_err(), "{text}");
        }
    }
}
