//! Checkpoints: the signed head of one log, as C2SP tlog-checkpoint in a signed note.
//!
//! ```text
//! strongroom/prod-01…/node-a/1                          which log: deployment, node, epoch
//! 4711                                                  how many records it has
//! CsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=          root of its tree, base64
//! at 2025-11-23T08:40:00Z                               when it was signed (extension line)
//!
//! — strongroom-prod-01… 5nKd…                           the deployment's signature
//! ```

use std::{fmt, str::FromStr};

use base64::{Engine, engine::general_purpose::STANDARD};
use serde::{Serialize, Serializer};

use super::merkle::{Frontier, Hash};
use super::note::{self, NoteError, NoteSigner, VerifierKey};
use crate::model::{Slug, Timestamp};

/// Which log: one node of one deployment, since one beginning. A log is never continued under
/// another origin, and two logs never share one.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Origin {
    /// The deployment's id.
    pub deployment: Slug,
    /// The node's id.
    pub node: Slug,
    /// Counts the beginnings of the node's log.
    pub epoch: u64,
}

/// The text is not the origin of a log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("must be strongroom/<deployment>/<node>/<epoch>")]
pub struct OriginError;

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            deployment,
            node,
            epoch,
        } = self;
        write!(f, "strongroom/{deployment}/{node}/{epoch}")
    }
}

impl FromStr for Origin {
    type Err = OriginError;

    fn from_str(text: &str) -> Result<Self, OriginError> {
        let read = || {
            let mut parts = text.strip_prefix("strongroom/")?.split('/');
            let origin = Self {
                deployment: parts.next()?.parse().ok()?,
                node: parts.next()?.parse().ok()?,
                epoch: decimal(parts.next()?)?,
            };
            parts.next().is_none().then_some(origin)
        };
        read().ok_or(OriginError)
    }
}

impl Serialize for Origin {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// A number in its one decimal form.
fn decimal(text: &str) -> Option<u64> {
    let number: u64 = text.parse().ok()?;
    (number.to_string() == text).then_some(number)
}

/// The name of a deployment's audit key.
pub fn key_name(deployment: &Slug) -> String {
    format!("strongroom-{deployment}")
}

/// The head of a log, as somebody signed it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Checkpoint {
    /// Which log.
    pub origin: Origin,
    /// How many records it had.
    pub size: u64,
    /// The root of their tree.
    pub root: Hash,
    /// When it was signed, if it says so.
    pub at: Option<Timestamp>,
}

impl Checkpoint {
    /// The text that is signed.
    fn text(&self) -> String {
        let (origin, size) = (&self.origin, self.size);
        let mut text = format!("{origin}\n{size}\n{}\n", STANDARD.encode(self.root));
        if let Some(at) = self.at {
            text.push_str(&format!("at {at}\n"));
        }
        text
    }

    /// Reads a note without looking at who signed it: for what the database holds, where it is
    /// compared with one that was verified, or only named.
    pub fn read_unverified(note: &str) -> Option<Self> {
        let split = note.rfind("\n\n")?;
        read(&note[..=split])
    }

    /// Reads a note that at least one of `keys` signed.
    ///
    /// # Errors
    /// The note does not have the form of one, no given key signed it, a signature of a given key
    /// does not fit, or its text is no checkpoint of a Strongroom log.
    pub fn open(note: &str, keys: &[VerifierKey]) -> Result<Self, NoteError> {
        let text = note::open(note, keys)?;
        read(text).ok_or(NoteError::NoCheckpoint)
    }
}

fn read(text: &str) -> Option<Checkpoint> {
    let mut lines = text.strip_suffix('\n')?.split('\n');
    let mut checkpoint = Checkpoint {
        origin: lines.next()?.parse().ok()?,
        size: decimal(lines.next()?)?,
        root: STANDARD.decode(lines.next()?).ok()?.try_into().ok()?,
        at: None,
    };
    // Extension lines that a later version may add are signed, but mean nothing here.
    for line in lines {
        if line.is_empty() {
            return None;
        }
        if let Some(at) = line.strip_prefix("at ") {
            let parsed: Timestamp = at.parse().ok()?;
            if checkpoint.at.is_some() || parsed.to_string() != at {
                return None;
            }
            checkpoint.at = Some(parsed);
        }
    }
    Some(checkpoint)
}

/// Signs the heads of one log and of no other. Holds a secret, so it has no text form.
pub struct Signer {
    origin: Origin,
    key: NoteSigner,
}

impl Signer {
    /// The signer of the log `origin`, from the deployment's 32-byte Ed25519 seed.
    ///
    /// # Errors
    /// The library refused the seed; it refuses none of the right length today.
    pub fn from_seed(origin: Origin, seed: &[u8; 32]) -> Result<Self, NoteError> {
        let key = NoteSigner::from_seed(key_name(&origin.deployment), seed);
        let key = key.ok_or(NoteError::BadSignature)?;
        Ok(Self { origin, key })
    }

    /// The log that it signs for.
    pub fn origin(&self) -> &Origin {
        &self.origin
    }

    /// The public key, which auditors keep.
    pub fn verifier(&self) -> &VerifierKey {
        self.key.verifier()
    }

    /// The checkpoint of the tree as it stands, as the text of a note. The caller makes sure that
    /// the records are durable first: a log must never sign two different histories.
    pub fn sign(&self, tree: &Frontier, at: Timestamp) -> String {
        let checkpoint = Checkpoint {
            origin: self.origin.clone(),
            size: tree.size(),
            root: tree.root(),
            at: Some(at),
        };
        self.key.sign(&checkpoint.text())
    }
}
