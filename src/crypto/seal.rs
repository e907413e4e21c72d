//! The one sealing function, scheme CV1 version 1 suite 1.
//!
//! ```text
//! offset  bytes
//!  0       2    "CV"
//!  2       1    version = 1
//!  3       1    suite = 1: HKDF-SHA256 and AES-256-GCM
//!  4       1    kind: 1 KEK, 2 DEK, 3 payload, 4 backup, 5 service,
//!                6 mail, 7 identifiers
//!  5       1    flags = 0
//!  6       4    version of the wrapping key, big endian
//! 10      16    id of the wrapping key
//! 26      32    salt, fresh for each call
//! 58      32    commitment to the wrapping key
//! 90       n    ciphertext
//! 90 + n  16    tag
//!
//! PRK        = HKDF-Extract(salt, wrapping key)                    RFC 5869 section 2.2
//! key        = HKDF-Expand(PRK, header[0..6] | "DERIVEKEY", 32)    RFC 5869 section 2.3
//! commitment = HKDF-Expand(PRK, header[0..6] | "COMMITKEY", 32)
//! nonce      = HKDF-Expand(PRK, header[0..6] | "NONCE", 12)
//! ciphertext | tag = AES-256-GCM(key, nonce, header[0..90] | binding, plaintext)
//! ```
//!
//! Each call has a key of its own, so that there is no count of messages to keep under 2^32
//! (NIST SP 800-38D section 8.3) and no nonce that a caller could repeat. AES-GCM alone opens one
//! ciphertext under two keys if somebody builds it so; the commitment rules that out.
//!
//! A payload is padded so that its length says little: ISO/IEC 7816-4 (one byte 0x80, then zeros)
//! to 32, 64, 128 or 256 bytes, above that to a multiple of 256.

use ring::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, Tag, UnboundKey};
use ring::hkdf;
use subtle::ConstantTimeEq;
use zeroize::{Zeroize, Zeroizing};

use super::aad::{Binding, Kind};
use crate::model::VersionId;
use crate::random::{Random, RandomError};
use crate::secret::{Secret, SecretKey};

/// What every blob begins with.
const MAGIC: &[u8; 2] = b"CV";
/// The version of the blob's form.
const VERSION: u8 = 1;
/// HKDF-SHA256 with AES-256-GCM and a key commitment.
const SUITE: u8 = 1;
/// No flag has a meaning yet.
const FLAGS: u8 = 0;

const PREFIX_LEN: usize = 6;
const SALT_AT: usize = 26;
const COMMITMENT_AT: usize = 58;
const HEADER_LEN: usize = 90;
const KEY_LEN: usize = 32;
const SALT_LEN: usize = COMMITMENT_AT - SALT_AT;
const COMMITMENT_LEN: usize = HEADER_LEN - COMMITMENT_AT;
const TAG_LEN: usize = 16;

const KEY_LABEL: &[u8] = b"DERIVEKEY";
const COMMITMENT_LABEL: &[u8] = b"COMMITKEY";
const NONCE_LABEL: &[u8] = b"NONCE";

/// How many bytes a blob is longer than its (padded) plaintext.
pub const OVERHEAD: usize = HEADER_LEN + TAG_LEN;

/// The longest plaintext that is sealed, in bytes. Far more than any credential needs; a limit so
/// that nobody can make the service hold more.
pub const MAX_PLAINTEXT: usize = 1 << 20;

/// The first byte of padding (ISO/IEC 7816-4).
const PADDING_MARKER: u8 = 0x80;

/// How much of the stack is overwritten after each call: more than the key schedule and digest
/// states that ring leaves there.
const STACK_RESIDUE: usize = 8192;

/// Which key a blob is sealed under. It stands in the header in clear, and opening asks for exactly
/// the expected one, so that a wrong key is noticed before it is used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct KeyRef {
    /// Generation of the key; 0 where a key has none.
    pub version: u32,
    /// Id or check value of the key.
    pub id: [u8; 16],
}

impl KeyRef {
    /// The DEK of a version. A DEK lives as long as its version, so it has the version's id and no
    /// generation.
    pub fn dek_of(version: VersionId) -> Self {
        Self {
            version: 0,
            id: version.to_bytes(),
        }
    }
}

/// Nothing was sealed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SealError {
    /// The plaintext is longer than [`MAX_PLAINTEXT`].
    #[error("the value is too long to be sealed")]
    TooLong,
    /// There was no salt, or the cipher failed.
    #[error("the value could not be sealed")]
    Failed,
}

impl From<RandomError> for SealError {
    fn from(_: RandomError) -> Self {
        Self::Failed
    }
}

/// The blob does not open. Why is not said: damaged, moved here from elsewhere, sealed under
/// another key and not a blob at all are one and the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the sealed value does not open")]
pub struct OpenError;

/// Seals `plaintext` under `key` at the place that `binding` names.
///
/// # Errors
/// The plaintext is too long, or the source of randomness failed.
pub fn seal(
    key: &SecretKey,
    key_ref: KeyRef,
    binding: &Binding<'_>,
    plaintext: &[u8],
    random: &dyn Random,
) -> Result<Vec<u8>, SealError> {
    if plaintext.len() > MAX_PLAINTEXT {
        return Err(SealError::TooLong);
    }
    let kind = binding.kind();
    let padded_len = match kind {
        Kind::Payload => padded_len(plaintext.len()),
        _ => plaintext.len(),
    };

    // One buffer of the final size: the plaintext is copied into it once and encrypted in place.
    let mut blob = Vec::with_capacity(HEADER_LEN + padded_len + TAG_LEN);
    blob.extend_from_slice(&prefix(kind));
    blob.extend_from_slice(&key_ref.version.to_be_bytes());
    blob.extend_from_slice(&key_ref.id);
    blob.resize(HEADER_LEN, 0);
    random.fill(&mut blob[SALT_AT..COMMITMENT_AT])?;
    blob.extend_from_slice(plaintext);
    if kind == Kind::Payload {
        blob.push(PADDING_MARKER);
        blob.resize(HEADER_LEN + padded_len, 0);
    }

    let sealed = encrypt_in_place(key, &mut blob, &binding.to_aad());
    zeroize::zeroize_stack::<STACK_RESIDUE>();
    match sealed {
        Some(tag) => {
            blob.extend_from_slice(tag.as_ref());
            Ok(blob)
        }
        None => {
            blob.zeroize();
            Err(SealError::Failed)
        }
    }
}

/// Opens `blob`, which must be of the kind that `binding` has, sealed under `key` with exactly this
/// `key_ref` and at exactly this place.
///
/// # Errors
/// [`OpenError`], whatever the reason.
pub fn open(
    key: &SecretKey,
    key_ref: KeyRef,
    binding: &Binding<'_>,
    blob: &[u8],
) -> Result<Secret, OpenError> {
    let header = expected_header(blob, binding.kind(), key_ref).ok_or(OpenError)?;
    let mut buffer = Zeroizing::new(blob[HEADER_LEN..].to_vec());
    let opened = decrypt_in_place(key, header, &binding.to_aad(), &mut buffer);
    zeroize::zeroize_stack::<STACK_RESIDUE>();
    let mut len = opened.ok_or(OpenError)?;
    if binding.kind() == Kind::Payload {
        len = unpadded_len(&buffer[..len]).ok_or(OpenError)?;
    }
    buffer.truncate(len);
    Ok(Secret::new(std::mem::take(&mut *buffer)))
}

/// Opens a blob that holds a 32-byte key.
///
/// # Errors
/// As [`open`]; also when what it holds has another length.
pub fn open_key(
    key: &SecretKey,
    key_ref: KeyRef,
    binding: &Binding<'_>,
    blob: &[u8],
) -> Result<SecretKey, OpenError> {
    let opened = open(key, key_ref, binding, blob)?;
    SecretKey::from_slice(opened.expose_secret()).ok_or(OpenError)
}

/// The first six bytes of a blob: everything that decides how the rest is read.
const fn prefix(kind: Kind) -> [u8; PREFIX_LEN] {
    [MAGIC[0], MAGIC[1], VERSION, SUITE, kind as u8, FLAGS]
}

/// The header of `blob`, if it is one of this version and suite, of this kind, without flags, under
/// this key, and of a length that can be. No key is at hand here, so nothing secret can be touched
/// for a blob that is refused.
fn expected_header(blob: &[u8], kind: Kind, key_ref: KeyRef) -> Option<&[u8; HEADER_LEN]> {
    let (header, rest) = blob.split_first_chunk::<HEADER_LEN>()?;
    let longest = padded_len(MAX_PLAINTEXT) + TAG_LEN;
    let well_formed = header[..PREFIX_LEN] == prefix(kind)
        && header[PREFIX_LEN..10] == key_ref.version.to_be_bytes()
        && header[10..SALT_AT] == key_ref.id
        && (TAG_LEN..=longest).contains(&rest.len());
    well_formed.then_some(header)
}

/// The keys of one call, from the wrapping key and the blob's salt.
struct Derived {
    prk: hkdf::Prk,
    prefix: [u8; PREFIX_LEN],
}

/// A length that HKDF-Expand is asked for.
struct Length(usize);

impl hkdf::KeyType for Length {
    fn len(&self) -> usize {
        self.0
    }
}

impl Derived {
    fn new(key: &SecretKey, header: &[u8; HEADER_LEN]) -> Self {
        let salt: [u8; SALT_LEN] = part(header, SALT_AT);
        let prk = hkdf::Salt::new(hkdf::HKDF_SHA256, &salt).extract(key.expose_secret());
        Self {
            prk,
            prefix: part(header, 0),
        }
    }

    fn expand(&self, label: &[u8], out: &mut [u8]) -> Option<()> {
        self.prk
            .expand(&[&self.prefix, label], Length(out.len()))
            .ok()?
            .fill(out)
            .ok()
    }

    fn commitment(&self) -> Option<[u8; COMMITMENT_LEN]> {
        let mut commitment = [0; COMMITMENT_LEN];
        self.expand(COMMITMENT_LABEL, &mut commitment)?;
        Some(commitment)
    }

    fn cipher(&self) -> Option<(LessSafeKey, Nonce)> {
        let mut key = Zeroizing::new([0; KEY_LEN]);
        self.expand(KEY_LABEL, key.as_mut())?;
        let mut nonce = [0; NONCE_LEN];
        self.expand(NONCE_LABEL, &mut nonce)?;
        let key = LessSafeKey::new(UnboundKey::new(&AES_256_GCM, key.as_ref()).ok()?);
        // This key and nonce both come from the salt and seal exactly one message.
        Some((key, Nonce::assume_unique_for_key(nonce)))
    }
}

/// Fills in the commitment of the header at the start of `blob` and encrypts what follows it.
///
/// A function of its own, so that its stack lies below the caller's and can be overwritten.
#[inline(never)]
fn encrypt_in_place(key: &SecretKey, blob: &mut [u8], binding: &[u8]) -> Option<Tag> {
    let (header, plaintext) = blob.split_first_chunk_mut::<HEADER_LEN>()?;
    let derived = Derived::new(key, header);
    header[COMMITMENT_AT..].copy_from_slice(&derived.commitment()?);
    let (cipher, nonce) = derived.cipher()?;
    let aad = [header.as_slice(), binding].concat();
    cipher
        .seal_in_place_separate_tag(nonce, Aad::from(aad), plaintext)
        .ok()
}

/// Checks the commitment, then decrypts `buffer` (ciphertext and tag). Says how many bytes of
/// plaintext stand at its start. `None` means that nothing in `buffer` may be used.
#[inline(never)]
fn decrypt_in_place(
    key: &SecretKey,
    header: &[u8; HEADER_LEN],
    binding: &[u8],
    buffer: &mut [u8],
) -> Option<usize> {
    let derived = Derived::new(key, header);
    if !bool::from(
        derived
            .commitment()?
            .as_slice()
            .ct_eq(&header[COMMITMENT_AT..]),
    ) {
        return None;
    }
    let (cipher, nonce) = derived.cipher()?;
    let aad = [header.as_slice(), binding].concat();
    let plaintext = cipher.open_in_place(nonce, Aad::from(aad), buffer).ok()?;
    Some(plaintext.len())
}

/// The `N` bytes of `header` from `at` on.
fn part<const N: usize>(header: &[u8; HEADER_LEN], at: usize) -> [u8; N] {
    let mut part = [0; N];
    part.copy_from_slice(&header[at..at + N]);
    part
}

/// The length of a plaintext of `len` bytes with its padding: at least one byte more.
const fn padded_len(len: usize) -> usize {
    match len + 1 {
        ..=32 => 32,
        33..=64 => 64,
        65..=128 => 128,
        more => more.next_multiple_of(256),
    }
}

/// The length without padding; `None` unless the padding is the one that [`seal`] makes. Runs on
/// what has been authenticated, so that its time tells nobody anything.
fn unpadded_len(padded: &[u8]) -> Option<usize> {
    let marker = padded.iter().rposition(|byte| *byte != 0)?;
    (padded[marker] == PADDING_MARKER && padded_len(marker) == padded.len()).then_some(marker)
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY_REF: KeyRef = KeyRef {
        version: 1,
        id: [2; 16],
    };
    const SERVICE: Binding<'static> = Binding::Service {
        deployment: "dev-x",
        name: crate::crypto::ServiceKeyName::Intake,
        generation: 1,
    };
    const BACKUP: Binding<'static> = Binding::Backup {
        deployment: "dev-x",
        manifest: "mani_1",
    };

    fn key() -> SecretKey {
        SecretKey::filled_by(|key| key.fill(7))
    }

    /// A blob that is right in everything but what `change` does to the commitment before the
    /// header is authenticated: what somebody who knows the key could build.
    fn built(binding: &Binding<'_>, padded: &[u8], change: impl FnOnce(&mut [u8])) -> Vec<u8> {
        let mut header = [0; HEADER_LEN];
        header[..PREFIX_LEN].copy_from_slice(&prefix(binding.kind()));
        header[PREFIX_LEN..10].copy_from_slice(&KEY_REF.version.to_be_bytes());
        header[10..SALT_AT].copy_from_slice(&KEY_REF.id);
        let derived = Derived::new(&key(), &header);
        header[COMMITMENT_AT..].copy_from_slice(&derived.commitment().unwrap());
        change(&mut header[COMMITMENT_AT..]);
        let (cipher, nonce) = derived.cipher().unwrap();
        let aad = [header.as_slice(), &binding.to_aad()].concat();
        let mut text = padded.to_vec();
        cipher
            .seal_in_place_append_tag(nonce, Aad::from(aad), &mut text)
            .unwrap();
        [header.as_slice(), &text].concat()
    }

    #[test]
    fn a_wrong_commitment_is_refused_although_everything_else_is_authentic() {
        let right = built(&SERVICE, b"value", |_| ());
        assert!(open(&key(), KEY_REF, &SERVICE, &right).is_ok());
        for bit in 0..COMMITMENT_LEN * 8 {
            let blob = built(&SERVICE, b"value", |part| part[bit / 8] ^= 1 << (bit % 8));
            assert_eq!(
                open(&key(), KEY_REF, &SERVICE, &blob).err(),
                Some(OpenError)
            );
        }
    }

    #[test]
    fn padding_that_seal_does_not_make_is_refused_although_it_is_authentic() {
        let place = Binding::Payload {
            deployment: "dev-x",
            environment: crate::model::EnvironmentId::from_bytes([1; 16]),
            credential: crate::model::CredentialId::from_bytes([2; 16]),
            version: 1,
        };
        let opens =
            |padded: &[u8]| open(&key(), KEY_REF, &place, &built(&place, padded, |_| ())).is_ok();
        let with = |value: &[u8], marker: u8, len: usize| {
            let mut padded = [value, &[marker]].concat();
            padded.resize(len, 0);
            padded
        };
        assert!(opens(&with(b"value", 0x80, 32)));
        for wrong in [
            vec![],
            vec![0; 32],
            with(b"value", 0x81, 32),
            with(b"value", 0x80, 31),
            with(b"value", 0x80, 64),
            with(&[1; 64], 0x80, 65),
            with(&[1; 200], 0x80, 512),
        ] {
            assert!(!opens(&wrong));
        }
    }

    #[test]
    fn a_header_is_judged_without_a_key() {
        let blob = built(&BACKUP, b"value", |_| ());
        assert!(expected_header(&blob, Kind::Backup, KEY_REF).is_some());
        assert!(expected_header(&blob, Kind::Service, KEY_REF).is_none());
        for at in 0..SALT_AT {
            let mut changed = blob.clone();
            changed[at] ^= 1;
            assert!(
                expected_header(&changed, Kind::Backup, KEY_REF).is_none(),
                "byte {at}"
            );
        }
    }
}
