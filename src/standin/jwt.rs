//! Checking assertions as the providers do, with the registered public key.

use base64::{
    Engine as _,
    engine::general_purpose::{URL_SAFE, URL_SAFE_NO_PAD},
};
use ring::digest::{SHA1_FOR_LEGACY_USE_ONLY, SHA256, digest};
use ring::signature::{RSA_PKCS1_2048_8192_SHA256, RSA_PSS_2048_8192_SHA256, UnparsedPublicKey};
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;
use serde_json::Value;
use x509_parser::prelude::FromDer;
use x509_parser::x509::SubjectPublicKeyInfo;

use crate::model::Timestamp;

/// An assertion in its parts.
pub(super) struct Assertion<'a> {
    signed: &'a str,
    signature: Vec<u8>,
    pub header: Value,
    pub claims: Value,
}

impl<'a> Assertion<'a> {
    /// Takes a compact JWT apart.
    pub(super) fn parse(text: &'a str) -> Option<Self> {
        let (signed, signature) = text.rsplit_once('.')?;
        let (header, claims) = signed.split_once('.')?;
        // Old clients of Google's pad, and Google takes it.
        let decode = |part: &str| URL_SAFE_NO_PAD.decode(part.trim_end_matches('=')).ok();
        let json = |part: &str| serde_json::from_slice(&decode(part)?).ok();
        Some(Self {
            signed,
            signature: decode(signature)?,
            header: json(header)?,
            claims: json(claims)?,
        })
    }

    /// A claim or header member that is text.
    pub(super) fn text<'v>(of: &'v Value, name: &str) -> &'v str {
        of[name].as_str().unwrap_or_default()
    }

    /// A time among the claims, in seconds; some clients write fractions.
    pub(super) fn time(&self, name: &str) -> Option<i64> {
        self.claims[name].as_f64().map(|seconds| seconds as i64)
    }

    /// Whether an RSA key (`RSAPublicKey`) made the signature, by the algorithm of the header.
    pub(super) fn is_signed_by(&self, rsa_public_key: &[u8]) -> bool {
        let message = self.signed.as_bytes();
        match Self::text(&self.header, "alg") {
            "PS256" => UnparsedPublicKey::new(&RSA_PSS_2048_8192_SHA256, rsa_public_key)
                .verify(message, &self.signature)
                .is_ok(),
            "RS256" => UnparsedPublicKey::new(&RSA_PKCS1_2048_8192_SHA256, rsa_public_key)
                .verify(message, &self.signature)
                .is_ok(),
            _ => false,
        }
    }

    /// Whether the header names this certificate, by SHA-256 (with or without padding) or SHA-1.
    pub(super) fn names(&self, certificate: &Certificate) -> bool {
        let decode = |name| {
            let text = Self::text(&self.header, name);
            URL_SAFE_NO_PAD
                .decode(text)
                .or_else(|_| URL_SAFE.decode(text))
                .unwrap_or_default()
        };
        decode("x5t#S256") == certificate.sha256 || decode("x5t") == certificate.sha1
    }
}

/// A registered certificate.
pub(super) struct Certificate {
    sha256: Vec<u8>,
    sha1: Vec<u8>,
    pub public_key: Vec<u8>,
    pub not_after: Timestamp,
}

impl Certificate {
    /// Reads a PEM file.
    pub(super) fn parse(pem: &str) -> Option<Self> {
        let der = CertificateDer::from_pem_slice(pem.as_bytes()).ok()?;
        let (_, parsed) = x509_parser::parse_x509_certificate(&der).ok()?;
        Some(Self {
            sha256: digest(&SHA256, &der).as_ref().to_vec(),
            sha1: digest(&SHA1_FOR_LEGACY_USE_ONLY, &der).as_ref().to_vec(),
            public_key: parsed.public_key().subject_public_key.data.to_vec(),
            not_after: Timestamp::from_secs(parsed.validity().not_after.timestamp()),
        })
    }
}

/// The `RSAPublicKey` in a PEM file `PUBLIC KEY`.
pub(super) fn rsa_public_key(pem: &str) -> Option<Vec<u8>> {
    let der = rustls_pki_types::SubjectPublicKeyInfoDer::from_pem_slice(pem.as_bytes()).ok()?;
    let (_, info) = SubjectPublicKeyInfo::from_der(&der).ok()?;
    Some(info.subject_public_key.data.to_vec())
}
