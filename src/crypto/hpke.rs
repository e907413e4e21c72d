//! What a browser seals to the service: HPKE (RFC 9180), base mode, DHKEM(P-256, HKDF-SHA256),
//! HKDF-SHA256, AES-256-GCM.
//!
//! These are the algorithms that WebCrypto has in every browser; its side of this file is
//! `http/pages/assets/seal.mjs`. One message for each encapsulated key: the form is sealed once and
//! opened once.
//!
//! ```text
//! sealed form = enc (65 bytes, an uncompressed point) || ciphertext || tag (16 bytes)
//! info        = length-prefixed fields: what it is, deployment, invite, version of the form
//! ```

use ::hpke::{
    Deserializable, Kem, OpModeR, Serializable, aead::AesGcm256, kdf::HkdfSha256,
    kem::DhP256HkdfSha256, setup_receiver,
};

use super::seal::OpenError;
use crate::secret::{Secret, SecretKey};

/// The first field of every `info`.
const SCHEME: &[u8] = b"strongroom-intake-v1";

/// Bytes of an uncompressed point of P-256 (SEC 1, 2.3.3).
pub const POINT: usize = 65;

/// What sealing adds: the encapsulated key and the tag of AES-256-GCM.
pub const FORM_OVERHEAD: usize = POINT + 16;

/// The key pair to which clients seal what they hand in. A secret: no `Debug`, no `Clone`.
pub struct IntakeKey {
    private: <DhP256HkdfSha256 as Kem>::PrivateKey,
    public: [u8; POINT],
}

impl IntakeKey {
    /// The pair that belongs to the service key `intake` (`DeriveKeyPair`, RFC 9180 section 7.1.3).
    pub fn derive(seed: &SecretKey) -> Self {
        let (private, public) = DhP256HkdfSha256::derive_keypair(seed.expose_secret());
        let mut bytes = [0; POINT];
        bytes.copy_from_slice(&public.to_bytes());
        Self {
            private,
            public: bytes,
        }
    }

    /// The public key, as an uncompressed point.
    pub fn public(&self) -> &[u8; POINT] {
        &self.public
    }

    /// Opens a sealed form. `info` and `aad` must be what it was sealed with.
    ///
    /// # Errors
    /// It was sealed to another key or for another place, or was changed, or is no sealed form.
    pub fn open(&self, info: &[u8], aad: &[u8], sealed: &[u8]) -> Result<Secret, OpenError> {
        let (enc, ciphertext) = sealed.split_at_checked(POINT).ok_or(OpenError)?;
        let enc = <DhP256HkdfSha256 as Kem>::EncappedKey::from_bytes(enc).map_err(|_| OpenError)?;
        let mut context = setup_receiver::<AesGcm256, HkdfSha256, DhP256HkdfSha256>(
            &OpModeR::Base,
            &self.private,
            &enc,
            info,
        )
        .map_err(|_| OpenError)?;
        context
            .open(ciphertext, aad)
            .map(Secret::new)
            .map_err(|_| OpenError)
    }
}

/// The encapsulated key of a sealed form, which a link accepts once. `None` if it is too short for
/// one. Points have one accepted encoding, so that a form cannot come again under another.
pub fn encapsulated_key(sealed: &[u8]) -> Option<&[u8; POINT]> {
    sealed.first_chunk()
}

/// What a form is bound to: `invite` is the invite's id as text. Each field is preceded by its length
/// as two bytes, big endian, so that no two places have the same bytes.
pub fn intake_info(deployment: &str, invite: &str, form_version: u32) -> Vec<u8> {
    let mut info = Vec::with_capacity(128);
    let version = form_version.to_be_bytes();
    for field in [SCHEME, deployment.as_bytes(), invite.as_bytes(), &version] {
        // Ids and the scheme are far below 64 KiB.
        let length = u16::try_from(field.len()).unwrap_or(u16::MAX);
        info.extend_from_slice(&length.to_be_bytes());
        info.extend_from_slice(field);
    }
    info
}
