//! Public keys that may be registered for assertions: Ed25519 (RFC 8410) and P-256 (RFC 5480).

use std::fmt;

use ring::signature;
use x509_parser::prelude::FromDer as _;

use super::pem::{self, PemError};
use super::proof::SpkiHash;
use crate::model::KeyForm;

/// SubjectPublicKeyInfo of Ed25519 up to the 32 bytes of the key. DER leaves no other spelling.
const ED25519_PREFIX: [u8; 12] = [
    0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00,
];
/// SubjectPublicKeyInfo of P-256 with an uncompressed point, up to the 65 bytes of the point.
const P256_PREFIX: [u8; 26] = [
    0x30, 0x59, 0x30, 0x13, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, 0x06, 0x08, 0x2a,
    0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07, 0x03, 0x42, 0x00,
];

/// Encodings of Ed25519 points of small order, the sign bit masked off. A signature that verifies
/// under such a key can be made by anybody.
const SMALL_ORDER: [[u8; 32]; 7] = {
    let mut points = [[0xff_u8; 32]; 7];
    points[0] = [0; 32];
    points[1] = [0; 32];
    points[1][0] = 1;
    points[2] = [
        0x26, 0xe8, 0x95, 0x8f, 0xc2, 0xb2, 0x27, 0xb0, 0x45, 0xc3, 0xf4, 0x89, 0xf2, 0xef, 0x98,
        0xf0, 0xd5, 0xdf, 0xac, 0x05, 0xd3, 0xc6, 0x33, 0x39, 0xb1, 0x38, 0x02, 0x88, 0x6d, 0x53,
        0xfc, 0x05,
    ];
    points[3] = [
        0xc7, 0x17, 0x6a, 0x70, 0x3d, 0x4d, 0xd8, 0x4f, 0xba, 0x3c, 0x0b, 0x76, 0x0d, 0x10, 0x67,
        0x0f, 0x2a, 0x20, 0x53, 0xfa, 0x2c, 0x39, 0xcc, 0xc6, 0x4e, 0xc7, 0xfd, 0x77, 0x92, 0xac,
        0x03, 0x7a,
    ];
    points[4][0] = 0xec;
    points[4][31] = 0x7f;
    points[5][0] = 0xed;
    points[5][31] = 0x7f;
    points[6][0] = 0xee;
    points[6][31] = 0x7f;
    points
};

/// The key cannot be registered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PublicKeyError {
    /// The PEM file is not one block of the right kind.
    #[error(transparent)]
    Pem(#[from] PemError),
    /// Not a SubjectPublicKeyInfo.
    #[error("is not a public key in the SubjectPublicKeyInfo form")]
    Malformed,
    /// An RSA key.
    #[error("RSA keys are not accepted; use Ed25519 or P-256")]
    Rsa,
    /// An elliptic curve key of another curve, or with its point compressed.
    #[error("must be on the curve P-256 with an uncompressed point, or an Ed25519 key")]
    Curve,
    /// Any other algorithm.
    #[error("the algorithm is not accepted; use Ed25519 or P-256")]
    Algorithm,
    /// A key with which anybody can sign.
    #[error("the key is a point of small order and protects nothing")]
    Weak,
}

/// A public key with the one algorithm that it is used with.
#[derive(Clone, PartialEq, Eq)]
pub struct PublicKey {
    form: KeyForm,
    spki_der: Vec<u8>,
    raw_start: usize,
}

impl PublicKey {
    /// Reads a PEM file with one `PUBLIC KEY` block.
    ///
    /// # Errors
    /// See [`PublicKeyError`].
    pub fn from_pem(text: &str) -> Result<Self, PublicKeyError> {
        Self::from_spki_der(&pem::read_one(text, "PUBLIC KEY")?)
    }

    /// Reads a SubjectPublicKeyInfo in DER.
    ///
    /// # Errors
    /// See [`PublicKeyError`].
    pub fn from_spki_der(der: &[u8]) -> Result<Self, PublicKeyError> {
        let (form, raw_start) = if der.len() == 44 && der.starts_with(&ED25519_PREFIX) {
            let mut point = [0; 32];
            point.copy_from_slice(&der[12..]);
            point[31] &= 0x7f;
            if SMALL_ORDER.contains(&point) {
                return Err(PublicKeyError::Weak);
            }
            (KeyForm::Ed25519, ED25519_PREFIX.len())
        } else if der.len() == 91 && der.starts_with(&P256_PREFIX) && der[26] == 4 {
            (KeyForm::P256, P256_PREFIX.len())
        } else {
            return Err(refusal(der));
        };
        Ok(Self {
            form,
            spki_der: der.to_vec(),
            raw_start,
        })
    }

    /// An Ed25519 key from its 32 bytes.
    ///
    /// # Errors
    /// A point of small order.
    pub fn from_ed25519(raw: &[u8; 32]) -> Result<Self, PublicKeyError> {
        Self::from_spki_der(&[ED25519_PREFIX.as_slice(), raw].concat())
    }

    /// A P-256 key from its uncompressed point.
    ///
    /// # Errors
    /// The point is not 65 bytes that begin with 4.
    pub fn from_p256(point: &[u8]) -> Result<Self, PublicKeyError> {
        Self::from_spki_der(&[P256_PREFIX.as_slice(), point].concat())
    }

    /// [`KeyForm::Ed25519`] or [`KeyForm::P256`].
    pub const fn form(&self) -> KeyForm {
        self.form
    }

    /// The key without its wrapping: 32 bytes, or the uncompressed point of 65.
    pub fn raw(&self) -> &[u8] {
        &self.spki_der[self.raw_start..]
    }

    /// The SubjectPublicKeyInfo in DER.
    pub fn spki_der(&self) -> &[u8] {
        &self.spki_der
    }

    /// The key's name: SHA-256 of [`Self::spki_der`].
    pub fn sha256(&self) -> SpkiHash {
        SpkiHash::of(&self.spki_der)
    }

    /// The key as a PEM file.
    pub fn to_pem(&self) -> String {
        String::clone(&pem::write_one(&self.spki_der, "PUBLIC KEY"))
    }

    /// Whether `signature` over `message` is this key's. For P-256 it is the one of ECDSA with
    /// SHA-256 in ASN.1, as certificates and requests carry it.
    pub(crate) fn verify_asn1(&self, message: &[u8], signature: &[u8]) -> bool {
        let algorithm: &dyn signature::VerificationAlgorithm = if self.form == KeyForm::Ed25519 {
            &signature::ED25519
        } else {
            &signature::ECDSA_P256_SHA256_ASN1
        };
        signature::UnparsedPublicKey::new(algorithm, self.raw())
            .verify(message, signature)
            .is_ok()
    }
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.form.as_str(), self.sha256())
    }
}

/// Says what a refused key is, for whoever sent it.
fn refusal(der: &[u8]) -> PublicKeyError {
    let Ok(([], spki)) = x509_parser::x509::SubjectPublicKeyInfo::from_der(der) else {
        return PublicKeyError::Malformed;
    };
    match spki.algorithm.algorithm.to_id_string().as_str() {
        "1.2.840.113549.1.1.1" | "1.2.840.113549.1.1.7" | "1.2.840.113549.1.1.10" => {
            PublicKeyError::Rsa
        }
        "1.2.840.10045.2.1" => PublicKeyError::Curve,
        "1.3.101.112" => PublicKeyError::Malformed,
        _ => PublicKeyError::Algorithm,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::identity::testing::{openssl, openssl_public_pem};

    #[test]
    fn keys_of_openssl_are_read_and_written_back() {
        for (algorithm, form, length) in [
            (&["ed25519"][..], KeyForm::Ed25519, 32),
            (
                &["EC", "-pkeyopt", "ec_paramgen_curve:P-256"],
                KeyForm::P256,
                65,
            ),
        ] {
            let (_, pem) = openssl_public_pem(algorithm);
            let key = PublicKey::from_pem(&pem).unwrap();
            assert_eq!(key.form(), form);
            assert_eq!(key.raw().len(), length);
            assert_eq!(key.to_pem(), pem);
        }
    }

    #[test]
    fn other_keys_are_refused_with_what_they_are() {
        for (algorithm, error) in [
            (
                &["RSA", "-pkeyopt", "rsa_keygen_bits:2048"][..],
                PublicKeyError::Rsa,
            ),
            (
                &["EC", "-pkeyopt", "ec_paramgen_curve:P-384"],
                PublicKeyError::Curve,
            ),
            (
                &["EC", "-pkeyopt", "ec_paramgen_curve:secp256k1"],
                PublicKeyError::Curve,
            ),
            (&["ed448"], PublicKeyError::Algorithm),
            (&["x25519"], PublicKeyError::Algorithm),
        ] {
            let (private, public) = openssl_public_pem(algorithm);
            assert_eq!(PublicKey::from_pem(&public), Err(error), "{algorithm:?}");
            assert_eq!(
                PublicKey::from_pem(&private),
                Err(PublicKeyError::Pem(PemError::PrivateKey))
            );
            assert_eq!(
                PublicKey::from_pem(&format!("{public}{public}")),
                Err(PublicKeyError::Pem(PemError::Several))
            );
        }
        assert_eq!(
            PublicKey::from_spki_der(&[]),
            Err(PublicKeyError::Malformed)
        );
    }

    #[test]
    fn a_compressed_point_is_refused() {
        let (private, _) = openssl_public_pem(&["EC", "-pkeyopt", "ec_paramgen_curve:P-256"]);
        let compressed = openssl(
            &["pkey", "-pubout", "-ec_conv_form", "compressed"],
            private.as_bytes(),
        );
        assert_eq!(
            PublicKey::from_pem(&String::from_utf8(compressed).unwrap()),
            Err(PublicKeyError::Curve)
        );
    }

    #[test]
    fn a_key_with_which_anybody_can_sign_is_refused() {
        let mut identity = [0_u8; 32];
        identity[0] = 1;
        // R is the neutral element and S is zero: a signature made without any private key.
        let mut forged = [0_u8; 64];
        forged[0] = 1;
        let naive = signature::UnparsedPublicKey::new(&signature::ED25519, identity);
        assert!(
            naive.verify(b"whatever", &forged).is_ok(),
            "why the list exists"
        );
        for point in SMALL_ORDER {
            for sign in [0, 0x80] {
                let mut point = point;
                point[31] |= sign;
                assert_eq!(PublicKey::from_ed25519(&point), Err(PublicKeyError::Weak));
            }
        }
    }
}
