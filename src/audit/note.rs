//! C2SP signed notes: a text, and under a blank line one signature a line, by named Ed25519 keys.
//!
//! ```text
//! the text, any number of lines, each ended by a newline
//!
//! — key-name base64(4 bytes of key id, then the 64 bytes of the signature)
//! ```
//!
//! A public key travels as a "vkey": `key-name+key id in hex+base64(0x01, then the 32 bytes)`.

use std::{fmt, str::FromStr};

use base64::{Engine, engine::general_purpose::STANDARD};
use ring::digest::{SHA256, digest};
use ring::signature::{ED25519, Ed25519KeyPair, KeyPair, UnparsedPublicKey};

/// The longest note that is read; a checkpoint has a few hundred bytes.
pub const MAX_NOTE_BYTES: usize = 16_384;

/// What every signature line begins with: an em dash and a space.
const DASH: &str = "\u{2014} ";

/// The signature type of Ed25519 in key ids and vkeys.
const ED25519_TYPE: u8 = 1;

/// Why a note proves nothing. Never holds any of its text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoteError {
    /// Not the form of a signed note.
    #[error("not a signed note")]
    Malformed,
    /// None of the signatures is by a key that was given.
    #[error("not signed by the key that was given")]
    UnknownKey,
    /// A signature that names a given key is not one of that key.
    #[error("the signature does not fit the text")]
    BadSignature,
    /// A given key signed twice.
    #[error("two signatures by one key")]
    SignedTwice,
    /// The note is in order, but its text is no checkpoint.
    #[error("signed, but not a checkpoint")]
    NoCheckpoint,
    /// The note is in order, but it states something else than was expected.
    #[error("signed, but for another purpose")]
    OtherPurpose,
}

/// The text is no vkey of an Ed25519 key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("must be a line name+id+key of an Ed25519 key, as GET /api/v1/audit/key gives it")]
pub struct VerifierKeyError;

fn key_id(name: &str, public: &[u8; 32]) -> [u8; 4] {
    let mut text = name.as_bytes().to_vec();
    text.extend([b'\n', ED25519_TYPE]);
    text.extend(public);
    let hash = digest(&SHA256, &text);
    let mut id = [0; 4];
    id.copy_from_slice(&hash.as_ref()[..4]);
    id
}

fn is_key_name(name: &str) -> bool {
    !name.is_empty()
        && !name
            .chars()
            .any(|c| c.is_whitespace() || c.is_control() || c == '+')
}

/// A public key with its name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VerifierKey {
    name: String,
    id: [u8; 4],
    public: [u8; 32],
}

impl VerifierKey {
    /// The name under which the key signs.
    pub fn name(&self) -> &str {
        &self.name
    }
}

impl fmt::Display for VerifierKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut key = vec![ED25519_TYPE];
        key.extend(self.public);
        let (id, key) = (hex::encode(self.id), STANDARD.encode(key));
        write!(f, "{}+{id}+{key}", self.name)
    }
}

impl FromStr for VerifierKey {
    type Err = VerifierKeyError;

    fn from_str(text: &str) -> Result<Self, VerifierKeyError> {
        let read = || {
            let mut parts = text.splitn(3, '+');
            let (name, _id, key) = (parts.next()?, parts.next()?, parts.next()?);
            let key = STANDARD.decode(key).ok()?;
            let (&[ED25519_TYPE], public) = key.split_first_chunk()? else {
                return None;
            };
            let public = public.try_into().ok()?;
            let key = Self {
                name: name.to_owned(),
                id: key_id(name, &public),
                public,
            };
            // Also compares the id, and refuses other spellings of the same key.
            (is_key_name(name) && key.to_string() == text).then_some(key)
        };
        read().ok_or(VerifierKeyError)
    }
}

/// A key that signs notes under a name. Holds a secret, so it has no text form.
pub struct NoteSigner {
    key: Ed25519KeyPair,
    verifier: VerifierKey,
}

impl NoteSigner {
    /// The key pair of the 32-byte Ed25519 seed (RFC 8032 section 5.1.5), under `name`, which has
    /// no spaces and no plus sign. `None` if the name or the seed cannot be used.
    pub(super) fn from_seed(name: String, seed: &[u8; 32]) -> Option<Self> {
        let key = Ed25519KeyPair::from_seed_unchecked(seed).ok()?;
        let public = key.public_key().as_ref().try_into().ok()?;
        is_key_name(&name).then_some(Self {
            key,
            verifier: VerifierKey {
                id: key_id(&name, &public),
                name,
                public,
            },
        })
    }

    /// The public half.
    pub fn verifier(&self) -> &VerifierKey {
        &self.verifier
    }

    /// The note of this text, which ends with a newline.
    pub(super) fn sign(&self, text: &str) -> String {
        let mut signature = self.verifier.id.to_vec();
        signature.extend(self.key.sign(text.as_bytes()).as_ref());
        let (name, signature) = (&self.verifier.name, STANDARD.encode(signature));
        format!("{text}\n{DASH}{name} {signature}\n")
    }
}

/// The text of a note that at least one of `keys` signed. Signatures by keys that are not given
/// are ignored, as C2SP asks; each by a given key must fit.
///
/// # Errors
/// See [`NoteError`]; never that the text means something else.
pub fn open<'a>(note: &'a str, keys: &[VerifierKey]) -> Result<&'a str, NoteError> {
    open_up_to(note, keys, MAX_NOTE_BYTES)
}

/// The same for a note of at most `longest` bytes.
///
/// # Errors
/// As [`open`].
pub fn open_up_to<'a>(
    note: &'a str,
    keys: &[VerifierKey],
    longest: usize,
) -> Result<&'a str, NoteError> {
    let plain = |c: char| c == '\n' || !c.is_control();
    if note.len() > longest || !note.chars().all(plain) {
        return Err(NoteError::Malformed);
    }
    let split = note.rfind("\n\n").ok_or(NoteError::Malformed)?;
    let (text, signatures) = (&note[..=split], &note[split + 2..]);
    let signatures = signatures.strip_suffix('\n').ok_or(NoteError::Malformed)?;
    let mut signed = vec![false; keys.len()];
    for line in signatures.split('\n') {
        let (name, id, signature) = signature_line(line).ok_or(NoteError::Malformed)?;
        let known = |key: &VerifierKey| key.name == name && key.id == id;
        let Some(index) = keys.iter().position(known) else {
            continue;
        };
        if signed[index] {
            return Err(NoteError::SignedTwice);
        }
        UnparsedPublicKey::new(&ED25519, keys[index].public)
            .verify(text.as_bytes(), &signature)
            .map_err(|_| NoteError::BadSignature)?;
        signed[index] = true;
    }
    if signed.contains(&true) {
        Ok(text)
    } else {
        Err(NoteError::UnknownKey)
    }
}

fn signature_line(line: &str) -> Option<(&str, [u8; 4], Vec<u8>)> {
    let (name, signature) = line.strip_prefix(DASH)?.split_once(' ')?;
    let bytes = STANDARD.decode(signature).ok()?;
    let (id, signature) = bytes.split_first_chunk()?;
    (is_key_name(name) && !signature.is_empty()).then(|| (name, *id, signature.to_vec()))
}
