//! How the API client proves who is calling.

use std::path::Path;

use reqwest::header::HeaderValue;
use ring::digest::{SHA256, digest};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject};
use x509_parser::prelude::{FromDer, GeneralName, X509Certificate};
use zeroize::Zeroizing;

use super::error::CliError;
use crate::{
    clock::{Clock, SystemClock},
    identity::assertion_key::{AssertionKey, make_assertion},
    model::{KeyId, PrincipalId},
    random::SystemRandom,
    secret::Secret,
};

/// A certificate chain and its private key, for the TLS handshake.
pub type TlsIdentity = (Vec<CertificateDer<'static>>, PrivateKeyDer<'static>);

/// One way to prove who is calling.
pub trait Authenticator: Send + Sync {
    /// What to present in the TLS handshake, if anything.
    ///
    /// # Errors
    /// The files cannot be read or are not what they should be.
    fn tls_identity(&self) -> Result<Option<TlsIdentity>, CliError>;

    /// The `Authorization` header of the next request, if any. Called once for each request,
    /// because an assertion is good for one.
    ///
    /// # Errors
    /// No assertion can be made.
    fn authorization(&self) -> Result<Option<HeaderValue>, CliError>;

    /// Who is calling, as this side knows it: the id of the principal, the SPIFFE id of the
    /// certificate, or the hash of its key. Stays the same when a certificate is renewed.
    ///
    /// # Errors
    /// The certificate cannot be read.
    fn caller(&self) -> Result<String, CliError>;
}

/// Proof by client certificate.
pub struct MutualTls {
    certificates: Zeroizing<Vec<u8>>,
    key: Secret,
}

impl MutualTls {
    /// From a PEM file with the certificate chain, leaf first, and one with the private key.
    ///
    /// # Errors
    /// A file cannot be read.
    pub fn from_files(certificate: &Path, key: &Path) -> Result<Self, CliError> {
        Ok(Self {
            certificates: Zeroizing::new(read_file(certificate)?),
            key: Secret::new(read_file(key)?),
        })
    }
}

impl Authenticator for MutualTls {
    fn tls_identity(&self) -> Result<Option<TlsIdentity>, CliError> {
        let chain = CertificateDer::pem_slice_iter(&self.certificates)
            .collect::<Result<Vec<_>, _>>()
            .ok()
            .filter(|chain| !chain.is_empty())
            .ok_or_else(|| {
                CliError::local("the client certificate is not PEM; --cert takes a PEM file")
            })?;
        let key = PrivateKeyDer::from_pem_slice(self.key.expose_secret()).map_err(|_| {
            CliError::local("the client key is no PEM private key; --key takes a PEM file")
        })?;
        Ok(Some((chain, key)))
    }

    fn authorization(&self) -> Result<Option<HeaderValue>, CliError> {
        Ok(None)
    }

    fn caller(&self) -> Result<String, CliError> {
        let chain = self.tls_identity()?.map(|(chain, _)| chain);
        chain
            .and_then(|chain| subject_of(chain.first()?))
            .ok_or_else(|| CliError::local("the client certificate cannot be read"))
    }
}

/// The SPIFFE id of a certificate, or the hash of its key.
fn subject_of(certificate: &CertificateDer<'_>) -> Option<String> {
    let (_, parsed) = X509Certificate::from_der(certificate).ok()?;
    let names = parsed.subject_alternative_name().ok().flatten();
    let names = names.map(|names| names.value.general_names.as_slice());
    let spiffe = names
        .unwrap_or_default()
        .iter()
        .find_map(|name| match name {
            GeneralName::URI(uri) => Some((*uri).to_owned()),
            _ => None,
        });
    let key = || hex::encode(digest(&SHA256, parsed.public_key().raw));
    Some(spiffe.unwrap_or_else(|| format!("sha256:{}", key())))
}

/// No proof: what is sent says itself who it is from.
pub struct Nobody;

impl Authenticator for Nobody {
    fn tls_identity(&self) -> Result<Option<TlsIdentity>, CliError> {
        Ok(None)
    }

    fn authorization(&self) -> Result<Option<HeaderValue>, CliError> {
        Ok(None)
    }

    fn caller(&self) -> Result<String, CliError> {
        Ok("nobody".to_owned())
    }
}

/// Makes a fresh assertion each time it is called.
pub type TokenMaker = Box<dyn Fn() -> Result<Secret, CliError> + Send + Sync>;

/// Proof by signed assertion, a new one for each request.
pub struct SignedAssertion {
    /// Makes them.
    pub maker: TokenMaker,
    /// The id of the principal.
    pub caller: String,
}

impl Authenticator for SignedAssertion {
    fn tls_identity(&self) -> Result<Option<TlsIdentity>, CliError> {
        Ok(None)
    }

    fn authorization(&self) -> Result<Option<HeaderValue>, CliError> {
        let token = (self.maker)()?;
        let mut header = Zeroizing::new(Vec::with_capacity(7 + token.len()));
        header.extend_from_slice(b"Bearer ");
        header.extend_from_slice(token.expose_secret());
        let mut value = HeaderValue::from_bytes(&header)
            .map_err(|_| CliError::local("the assertion is not a header value"))?;
        value.set_sensitive(true);
        Ok(Some(value))
    }

    fn caller(&self) -> Result<String, CliError> {
        Ok(self.caller.clone())
    }
}

/// What an assertion is made from.
pub struct AssertionSettings {
    /// The private key, PEM (PKCS#8).
    pub key: Secret,
    /// Which registered key it is.
    pub kid: KeyId,
    /// Who is calling: `iss` and `sub`.
    pub id: PrincipalId,
    /// The deployment's id: `aud`.
    pub audience: String,
}

/// The maker of assertions for `settings`.
///
/// # Errors
/// The key cannot be used.
pub fn token_maker(settings: AssertionSettings) -> Result<TokenMaker, CliError> {
    let AssertionSettings {
        key,
        kid,
        id,
        audience,
    } = settings;
    let unusable = |error: &dyn std::fmt::Display| {
        CliError::local(format!("the key for assertions cannot be used: it {error}"))
    };
    let text = std::str::from_utf8(key.expose_secret())
        .map_err(|_| CliError::local("the key for assertions is not a PEM file"))?;
    let key = AssertionKey::from_pem(text).map_err(|error| unusable(&error))?;
    let random = SystemRandom::new();
    Ok(Box::new(move || {
        let now = SystemClock.now();
        let token = make_assertion(&key, kid, id, &audience, now, &random, LIFETIME_SECS)
            .map_err(|error| CliError::local(error.to_string()))?;
        Ok(Secret::new(token.into_bytes()))
    }))
}

/// How long an assertion is good: long enough for a slow connection and clocks a little apart.
const LIFETIME_SECS: i64 = 60;

/// A small file, whole.
///
/// # Errors
/// It cannot be read.
pub fn read_file(path: &Path) -> Result<Vec<u8>, CliError> {
    std::fs::read(path)
        .map_err(|error| CliError::local(format!("cannot read {}: {error}", path.display())))
}
