//! Private keys: made, written as PEM, handed to TLS. None of them can be printed or cloned.

use rcgen::{
    CertificateParams, DistinguishedName, PKCS_ECDSA_P256_SHA256, PublicKeyData, SigningKey,
};
use ring::signature::{ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair as _};
use rustls_pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use zeroize::{Zeroize as _, Zeroizing};

use super::PkiError;
use crate::identity::pem;
use crate::identity::public_key::PublicKey;
use crate::random::{Random, ring_random};
use crate::secret::{Secret, SecretKey};

/// PKCS#8 version 1 (RFC 5958 without the public key) of an Ed25519 key, up to its 32 bytes: the form
/// that every OpenSSL reads.
const ED25519_PKCS8_V1: [u8; 16] = [
    0x30, 0x2e, 0x02, 0x01, 0x00, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x04, 0x22, 0x04, 0x20,
];

/// A P-256 private key for certificates.
pub struct P256Key {
    pkcs8: Secret,
    pair: EcdsaKeyPair,
    public_key: PublicKey,
}

impl P256Key {
    /// A new key. Its randomness is the operating system's, through ring.
    ///
    /// # Errors
    /// The source of randomness failed.
    pub fn generate() -> Result<Self, PkiError> {
        let document =
            EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING, &ring_random())
                .map_err(|_| PkiError::Signature)?;
        Self::from_pkcs8(Secret::new(document.as_ref().to_vec()))
    }

    /// A key from its PKCS#8 DER.
    ///
    /// # Errors
    /// It is not a P-256 key in PKCS#8.
    pub fn from_pkcs8(pkcs8: Secret) -> Result<Self, PkiError> {
        let pair = EcdsaKeyPair::from_pkcs8(
            &ECDSA_P256_SHA256_ASN1_SIGNING,
            pkcs8.expose_secret(),
            &ring_random(),
        )
        .map_err(|_| PkiError::Key)?;
        let public_key =
            PublicKey::from_p256(pair.public_key().as_ref()).map_err(|_| PkiError::Key)?;
        Ok(Self {
            pkcs8,
            pair,
            public_key,
        })
    }

    /// The public half.
    pub const fn public_key(&self) -> &PublicKey {
        &self.public_key
    }

    /// The key as PKCS#8 DER.
    pub const fn pkcs8(&self) -> &Secret {
        &self.pkcs8
    }

    /// The key as PKCS#8, given away.
    pub fn into_pkcs8(self) -> Secret {
        self.pkcs8
    }

    /// The key as a PKCS#8 PEM file.
    pub fn to_pem(&self) -> Zeroizing<String> {
        pem::write_one(self.pkcs8.expose_secret(), "PRIVATE KEY")
    }

    /// A certificate signing request (RFC 2986) in PEM that asks for nothing but a certificate for
    /// this key: the names are the issuer's business.
    ///
    /// # Errors
    /// The request could not be signed.
    pub fn request_pem(&self) -> Result<String, PkiError> {
        let mut params = CertificateParams::default();
        params.distinguished_name = DistinguishedName::new();
        let request = params
            .serialize_request(self)
            .map_err(|_| PkiError::Signature)?;
        request.pem().map_err(|_| PkiError::Signature)
    }
}

impl PublicKeyData for P256Key {
    fn der_bytes(&self) -> &[u8] {
        self.public_key.raw()
    }

    fn algorithm(&self) -> &'static rcgen::SignatureAlgorithm {
        &PKCS_ECDSA_P256_SHA256
    }
}

impl SigningKey for P256Key {
    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, rcgen::Error> {
        self.pair
            .sign(&ring_random(), message)
            .map(|signature| signature.as_ref().to_vec())
            .map_err(|_| rcgen::Error::RingUnspecified)
    }
}

/// An Ed25519 private key for assertions.
pub struct Ed25519Key {
    seed: SecretKey,
    public_key: PublicKey,
}

impl Ed25519Key {
    /// A new key.
    ///
    /// # Errors
    /// The source of randomness failed.
    pub fn generate(random: &dyn Random) -> Result<Self, PkiError> {
        let seed = SecretKey::generate(random)?;
        let pair =
            Ed25519KeyPair::from_seed_unchecked(seed.expose_secret()).map_err(|_| PkiError::Key)?;
        let mut raw = [0; 32];
        raw.copy_from_slice(pair.public_key().as_ref());
        let public_key = PublicKey::from_ed25519(&raw).map_err(|_| PkiError::Key)?;
        Ok(Self { seed, public_key })
    }

    /// The public half.
    pub const fn public_key(&self) -> &PublicKey {
        &self.public_key
    }

    /// The key as a PKCS#8 version 1 PEM file, which OpenSSL reads.
    pub fn to_pem(&self) -> Zeroizing<String> {
        let mut der = [0_u8; 48];
        der[..16].copy_from_slice(&ED25519_PKCS8_V1);
        der[16..].copy_from_slice(self.seed.expose_secret());
        let text = pem::write_one(&der, "PRIVATE KEY");
        der.zeroize();
        text
    }
}

/// A private key in PKCS#8 DER as TLS takes it. The copy belongs to the TLS configuration and is not
/// overwritten when that is dropped.
pub fn tls_key(pkcs8: &Secret) -> PrivateKeyDer<'static> {
    PrivatePkcs8KeyDer::from(pkcs8.expose_secret().to_vec()).into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::identity::assertion_key::AssertionKey;
    use crate::identity::testing::openssl;
    use crate::random::SystemRandom;

    #[test]
    fn openssl_reads_the_keys_and_agrees_on_the_public_half() {
        let ed25519 = Ed25519Key::generate(&SystemRandom::new()).unwrap();
        let p256 = P256Key::generate().unwrap();
        for (private, public) in [
            (ed25519.to_pem(), ed25519.public_key()),
            (p256.to_pem(), p256.public_key()),
        ] {
            let read = openssl(&["pkey", "-pubout"], private.as_bytes());
            assert_eq!(String::from_utf8(read).unwrap(), public.to_pem());
            let key = AssertionKey::from_pem(&private).unwrap();
            assert_eq!(key.public_key(), public);
        }
    }

    #[test]
    fn openssl_accepts_the_request() {
        let key = P256Key::generate().unwrap();
        let read = openssl(
            &["req", "-verify", "-noout", "-pubkey"],
            key.request_pem().unwrap().as_bytes(),
        );
        assert_eq!(String::from_utf8(read).unwrap(), key.public_key().to_pem());
    }
}
