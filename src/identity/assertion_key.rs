//! The signer's side of assertions, and ring as the cryptography behind the JWT library.

use std::sync::Once;

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use jsonwebtoken::crypto::{CryptoProvider, JwtSigner, JwtVerifier, KeyUtils};
use jsonwebtoken::errors::{Error, ErrorKind};
use jsonwebtoken::signature::{Error as SignatureError, Signer, Verifier};
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header};
use ring::signature::{
    self, ECDSA_P256_SHA256_FIXED, ECDSA_P256_SHA256_FIXED_SIGNING, ED25519, EcdsaKeyPair,
    Ed25519KeyPair, KeyPair as _, UnparsedPublicKey,
};
use serde::Serialize;

use super::assertion::{MAX_LIFETIME_SECS, TYPE};
use super::pem::{self, PemError};
use super::public_key::PublicKey;
use crate::model::{KeyId, PrincipalId, Timestamp};
use crate::random::{Random, RandomError, ring_random};

static PROVIDER: CryptoProvider = CryptoProvider {
    signer_factory: signer,
    verifier_factory: verifier,
    // JWKs are never read or written.
    key_utils: KeyUtils::new_unimplemented(),
};

/// Makes ring the cryptography of the JWT library in this process: EdDSA and ES256, nothing else.
/// May be called any number of times.
pub fn install_jwt_provider() {
    static ONCE: Once = Once::new();
    // The only error is that a provider is installed already, and nothing else here does that.
    ONCE.call_once(|| {
        let _ = PROVIDER.install_default();
    });
}

struct RingVerifier {
    algorithm: Algorithm,
    key: Vec<u8>,
}

impl Verifier<Vec<u8>> for RingVerifier {
    fn verify(&self, message: &[u8], signature: &Vec<u8>) -> Result<(), SignatureError> {
        let algorithm: &dyn signature::VerificationAlgorithm = match self.algorithm {
            Algorithm::EdDSA => &ED25519,
            Algorithm::ES256 => &ECDSA_P256_SHA256_FIXED,
            _ => return Err(SignatureError::new()),
        };
        UnparsedPublicKey::new(algorithm, &self.key)
            .verify(message, signature)
            .map_err(|_| SignatureError::new())
    }
}

impl JwtVerifier for RingVerifier {
    fn algorithm(&self) -> Algorithm {
        self.algorithm
    }
}

fn verifier(algorithm: &Algorithm, key: &DecodingKey) -> Result<Box<dyn JwtVerifier>, Error> {
    if !matches!(algorithm, Algorithm::EdDSA | Algorithm::ES256)
        || !key.family().algorithms().contains(algorithm)
    {
        return Err(ErrorKind::InvalidAlgorithm.into());
    }
    Ok(Box::new(RingVerifier {
        algorithm: *algorithm,
        key: key.try_get_as_bytes()?.to_vec(),
    }))
}

enum RingSigner {
    Ed25519(Box<Ed25519KeyPair>),
    P256(Box<EcdsaKeyPair>),
}

impl Signer<Vec<u8>> for RingSigner {
    fn try_sign(&self, message: &[u8]) -> Result<Vec<u8>, SignatureError> {
        match self {
            Self::Ed25519(pair) => Ok(pair.sign(message).as_ref().to_vec()),
            Self::P256(pair) => pair
                .sign(&ring_random(), message)
                .map(|signature| signature.as_ref().to_vec())
                .map_err(|_| SignatureError::new()),
        }
    }
}

impl JwtSigner for RingSigner {
    fn algorithm(&self) -> Algorithm {
        match self {
            Self::Ed25519(_) => Algorithm::EdDSA,
            Self::P256(_) => Algorithm::ES256,
        }
    }
}

fn signer(algorithm: &Algorithm, key: &EncodingKey) -> Result<Box<dyn JwtSigner>, Error> {
    let signer = match algorithm {
        Algorithm::EdDSA => ed25519(key.as_bytes()),
        Algorithm::ES256 => p256(key.as_bytes()),
        _ => None,
    };
    match signer {
        Some(signer) => Ok(Box::new(signer)),
        None => Err(ErrorKind::InvalidKeyFormat.into()),
    }
}

fn ed25519(pkcs8: &[u8]) -> Option<RingSigner> {
    // Version 1 has no public key beside the private one, so that there is nothing to compare.
    Ed25519KeyPair::from_pkcs8_maybe_unchecked(pkcs8)
        .ok()
        .map(|pair| RingSigner::Ed25519(Box::new(pair)))
}

fn p256(pkcs8: &[u8]) -> Option<RingSigner> {
    EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, pkcs8, &ring_random())
        .ok()
        .map(|pair| RingSigner::P256(Box::new(pair)))
}

/// The private key cannot be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum AssertionKeyError {
    /// Not one PEM block with an unencrypted PKCS#8 key.
    #[error(transparent)]
    Pem(#[from] PemError),
    /// A key of another algorithm, or a damaged one.
    #[error("must be an Ed25519 or P-256 private key in PKCS#8")]
    Algorithm,
}

/// An assertion cannot be made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum MakeAssertionError {
    /// The lifetime is not between 1 and 300 seconds.
    #[error("the lifetime must be between 1 and 300 seconds")]
    Lifetime,
    /// The source of randomness failed.
    #[error(transparent)]
    Random(#[from] RandomError),
    /// The signature could not be made.
    #[error("the assertion could not be signed")]
    Signature,
}

/// A principal's own private key. It is overwritten when dropped (ring's copy, made for each
/// signature, is not).
pub struct AssertionKey {
    algorithm: Algorithm,
    key: EncodingKey,
    public_key: PublicKey,
}

impl AssertionKey {
    /// Reads an unencrypted PKCS#8 private key in PEM: Ed25519 in version 1 (as OpenSSL writes it)
    /// or 2, or P-256.
    ///
    /// # Errors
    /// See [`AssertionKeyError`].
    pub fn from_pem(text: &str) -> Result<Self, AssertionKeyError> {
        let der = pem::read_one(text, "PRIVATE KEY")?;
        let signer = ed25519(&der)
            .or_else(|| p256(&der))
            .ok_or(AssertionKeyError::Algorithm)?;
        let (key, public_key) = match &signer {
            RingSigner::Ed25519(pair) => {
                let mut raw = [0; 32];
                raw.copy_from_slice(pair.public_key().as_ref());
                (
                    EncodingKey::from_ed_der(&der),
                    PublicKey::from_ed25519(&raw),
                )
            }
            RingSigner::P256(pair) => (
                EncodingKey::from_ec_der(&der),
                PublicKey::from_p256(pair.public_key().as_ref()),
            ),
        };
        Ok(Self {
            algorithm: signer.algorithm(),
            key,
            public_key: public_key.map_err(|_| AssertionKeyError::Algorithm)?,
        })
    }

    /// The public half, as it is registered.
    pub const fn public_key(&self) -> &PublicKey {
        &self.public_key
    }
}

#[derive(Serialize)]
struct Claims<'a> {
    iss: &'a str,
    sub: &'a str,
    aud: &'a str,
    iat: i64,
    nbf: i64,
    exp: i64,
    jti: &'a str,
}

/// Signs an assertion of `principal` for the deployment `audience`, good once and for
/// `lifetime_secs` seconds from `now`.
///
/// # Errors
/// See [`MakeAssertionError`].
pub fn make_assertion(
    key: &AssertionKey,
    kid: KeyId,
    principal: PrincipalId,
    audience: &str,
    now: Timestamp,
    random: &dyn Random,
    lifetime_secs: i64,
) -> Result<String, MakeAssertionError> {
    install_jwt_provider();
    if !(1..=MAX_LIFETIME_SECS).contains(&lifetime_secs) {
        return Err(MakeAssertionError::Lifetime);
    }
    let mut jti = [0_u8; 18];
    random.fill(&mut jti)?;
    let mut header = Header::new(key.algorithm);
    header.typ = Some(TYPE.to_owned());
    header.kid = Some(kid.to_string());
    let principal = principal.to_string();
    let claims = Claims {
        iss: &principal,
        sub: &principal,
        aud: audience,
        iat: now.secs(),
        nbf: now.secs(),
        exp: now.secs() + lifetime_secs,
        jti: &URL_SAFE_NO_PAD.encode(jti),
    };
    jsonwebtoken::encode(&header, &claims, &key.key).map_err(|_| MakeAssertionError::Signature)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::identity::testing::{openssl, openssl_public_pem};
    use crate::model::KeyForm;

    #[test]
    fn version_two_is_read_and_a_key_of_openssl_too() {
        let document = Ed25519KeyPair::generate_pkcs8(&ring_random()).unwrap();
        assert!(document.as_ref().len() > 48, "with the public key");
        let text = pem::write_one(document.as_ref(), "PRIVATE KEY");
        let key = AssertionKey::from_pem(&text).unwrap();
        assert_eq!(key.public_key().form(), KeyForm::Ed25519);
        for algorithm in [
            &["ed25519"][..],
            &["EC", "-pkeyopt", "ec_paramgen_curve:P-256"],
        ] {
            let (private, public) = openssl_public_pem(algorithm);
            let key = AssertionKey::from_pem(&private).unwrap();
            assert_eq!(key.public_key().to_pem(), public);
        }
    }

    #[test]
    fn other_private_keys_are_refused_with_what_to_do() {
        let (private, public) = openssl_public_pem(&["EC", "-pkeyopt", "ec_paramgen_curve:P-256"]);
        let refused = |text: &[u8]| {
            let text = std::str::from_utf8(text).unwrap();
            AssertionKey::from_pem(text).err().unwrap()
        };
        let old = openssl(&["ec"], private.as_bytes());
        let form = AssertionKeyError::Pem(PemError::PrivateKeyForm);
        assert_eq!(refused(&old), form);
        let locked = ["pkcs8", "-topk8", "-passout", "pass:x"];
        assert_eq!(refused(&openssl(&locked, private.as_bytes())), form);
        let kind = AssertionKeyError::Pem(PemError::Kind("PRIVATE KEY"));
        assert_eq!(refused(public.as_bytes()), kind);
        let two = format!("{private}{private}");
        assert_eq!(
            refused(two.as_bytes()),
            AssertionKeyError::Pem(PemError::Several)
        );
        for other in [
            &["RSA", "-pkeyopt", "rsa_keygen_bits:2048"][..],
            &["EC", "-pkeyopt", "ec_paramgen_curve:P-384"],
            &["x25519"],
        ] {
            let (private, _) = openssl_public_pem(other);
            assert_eq!(refused(private.as_bytes()), AssertionKeyError::Algorithm);
        }
    }
}
