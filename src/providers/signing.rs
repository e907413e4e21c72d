//! Signing JWTs that a provider takes instead of a secret.

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use ring::rsa::KeyPair;
use ring::signature::{KeyPair as _, RSA_PKCS1_SHA256, RSA_PSS_SHA256, RsaEncoding};
use rustls_pki_types::PrivateKeyDer;
use rustls_pki_types::pem::PemObject;
use serde_json::Value;

use crate::random::{Random, RandomError, ring_random};
use crate::secret::Secret;

/// Nothing was signed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the signature could not be made")]
pub struct SigningError;

/// The private key cannot be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("must be an unencrypted RSA private key of 2048 to 4096 bits in PEM form")]
pub struct KeyError;

/// Who holds a private key and signs with it. The key may lie elsewhere.
pub trait Signer: Send + Sync {
    /// The algorithm as a JWT names it (RFC 7518 section 3.1).
    fn algorithm(&self) -> &'static str;

    /// The signature of `message`.
    ///
    /// # Errors
    /// It could not be made.
    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, SigningError>;
}

/// How an RSA signature is padded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Padding {
    /// PSS: `PS256`, which Microsoft asks for.
    Pss,
    /// PKCS #1 v1.5: `RS256`, which Google asks for.
    Pkcs1,
}

/// An RSA key in memory.
pub struct RsaSigner {
    pair: KeyPair,
    padding: Padding,
}

impl RsaSigner {
    /// Reads a PEM file: PKCS#8 (`PRIVATE KEY`) or PKCS#1 (`RSA PRIVATE KEY`).
    ///
    /// # Errors
    /// It is neither, or too short or long, or encrypted.
    pub fn from_pem(pem: &[u8], padding: Padding) -> Result<Self, KeyError> {
        let pair = match PrivateKeyDer::from_pem_slice(pem).map_err(|_| KeyError)? {
            PrivateKeyDer::Pkcs8(der) => KeyPair::from_pkcs8(der.secret_pkcs8_der()),
            PrivateKeyDer::Pkcs1(der) => KeyPair::from_der(der.secret_pkcs1_der()),
            _ => return Err(KeyError),
        };
        Ok(Self {
            pair: pair.map_err(|_| KeyError)?,
            padding,
        })
    }

    /// The public key as `RSAPublicKey` (RFC 8017 appendix A.1.1), as it stands in a certificate.
    pub fn public_key(&self) -> &[u8] {
        self.pair.public_key().as_ref()
    }
}

impl Signer for RsaSigner {
    fn algorithm(&self) -> &'static str {
        match self.padding {
            Padding::Pss => "PS256",
            Padding::Pkcs1 => "RS256",
        }
    }

    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, SigningError> {
        let padding: &'static dyn RsaEncoding = match self.padding {
            Padding::Pss => &RSA_PSS_SHA256,
            Padding::Pkcs1 => &RSA_PKCS1_SHA256,
        };
        let mut signature = vec![0; self.pair.public().modulus_len()];
        self.pair
            .sign(padding, &ring_random(), message, &mut signature)
            .map_err(|_| SigningError)?;
        Ok(signature)
    }
}

/// A signed JWT in compact form (RFC 7515 section 7.1). `header` gets the signer's `alg`.
///
/// # Errors
/// The signature could not be made.
pub fn jwt(signer: &dyn Signer, mut header: Value, claims: &Value) -> Result<Secret, SigningError> {
    header["alg"] = signer.algorithm().into();
    let mut text = URL_SAFE_NO_PAD.encode(header.to_string());
    text.push('.');
    URL_SAFE_NO_PAD.encode_string(claims.to_string(), &mut text);
    let signature = signer.sign(text.as_bytes())?;
    text.push('.');
    URL_SAFE_NO_PAD.encode_string(signature, &mut text);
    Ok(Secret::new(text.into_bytes()))
}

/// A random UUID, version 4 (RFC 9562 section 5.4): what providers take as `jti` and as the id of a
/// call.
///
/// # Errors
/// The source of randomness failed.
pub fn uuid(random: &dyn Random) -> Result<String, RandomError> {
    let mut bytes = [0_u8; 16];
    random.fill(&mut bytes)?;
    bytes[6] = (bytes[6] & 0x0f) | 0x40;
    bytes[8] = (bytes[8] & 0x3f) | 0x80;
    let text = hex::encode(bytes);
    Ok(format!(
        "{}-{}-{}-{}-{}",
        &text[..8],
        &text[8..12],
        &text[12..16],
        &text[16..20],
        &text[20..]
    ))
}
