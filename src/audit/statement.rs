//! Signed statements that are no checkpoints: the manifest of a backup, the certificate of an
//! erasure. A C2SP signed note by the deployment's audit key, whose first line says what it is:
//!
//! ```text
//! strongroom-backup-manifest/1
//! {"deployment":"prod-01…", …}                          one line of JSON
//!
//! — strongroom-prod-01… 5nKd…
//! ```
//!
//! The first line of a checkpoint begins with `strongroom/`, so neither can pass for the other.

use super::checkpoint::key_name;
use super::note::{self, NoteError, NoteSigner, VerifierKey};
use crate::model::Slug;

/// What a statement is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// What a backup consists of.
    BackupManifest,
    /// What was destroyed of a client.
    ErasureCertificate,
}

impl Purpose {
    /// The first line, without the newline.
    const fn line(self) -> &'static str {
        match self {
            Self::BackupManifest => "strongroom-backup-manifest/1",
            Self::ErasureCertificate => "strongroom-erasure-certificate/1",
        }
    }
}

/// The longest statement that is read.
pub const MAX_STATEMENT_BYTES: usize = 16 * 1024 * 1024;

/// Signs statements. Holds a secret, so it has no text form.
pub struct StatementSigner(NoteSigner);

impl StatementSigner {
    /// The signer of `deployment`, from its 32-byte Ed25519 seed.
    ///
    /// # Errors
    /// The library refused the seed; it refuses none of the right length today.
    pub fn from_seed(deployment: &Slug, seed: &[u8; 32]) -> Result<Self, NoteError> {
        let key = NoteSigner::from_seed(key_name(deployment), seed);
        key.map(Self).ok_or(NoteError::BadSignature)
    }

    /// The public key.
    pub fn verifier(&self) -> &VerifierKey {
        self.0.verifier()
    }

    /// The note of this statement; `json` is one line.
    pub fn sign(&self, purpose: Purpose, json: &str) -> String {
        self.0.sign(&format!("{}\n{json}\n", purpose.line()))
    }
}

/// The JSON of a statement that at least one of `keys` signed for this purpose.
///
/// # Errors
/// It is not a signed note of one of the keys, or one for another purpose.
pub fn open<'a>(
    note: &'a str,
    purpose: Purpose,
    keys: &[VerifierKey],
) -> Result<&'a str, NoteError> {
    let text = note::open_up_to(note, keys, MAX_STATEMENT_BYTES)?;
    let json = text
        .strip_prefix(purpose.line())
        .and_then(|rest| rest.strip_prefix('\n')?.strip_suffix('\n'))
        .filter(|json| !json.contains('\n'));
    json.ok_or(NoteError::OtherPurpose)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::audit::Checkpoint;

    #[test]
    fn a_statement_is_good_for_its_purpose_only() {
        let deployment: Slug = "prod-01kaqz3m8v7d6k2n4p9r5s1t0x".parse().unwrap();
        let signer = StatementSigner::from_seed(&deployment, &[7; 32]).unwrap();
        let keys = [signer.verifier().clone()];
        let note = signer.sign(Purpose::BackupManifest, "{\"a\":1}");
        assert_eq!(open(&note, Purpose::BackupManifest, &keys), Ok("{\"a\":1}"));
        let other = open(&note, Purpose::ErasureCertificate, &keys);
        assert_eq!(other, Err(NoteError::OtherPurpose));
        assert_eq!(Checkpoint::open(&note, &keys), Err(NoteError::NoCheckpoint));
        let edited = note.replace("1}", "2}");
        let edited = open(&edited, Purpose::BackupManifest, &keys);
        assert_eq!(edited, Err(NoteError::BadSignature));
        let stranger = StatementSigner::from_seed(&deployment, &[8; 32]).unwrap();
        let stranger = [stranger.verifier().clone()];
        let foreign = open(&note, Purpose::BackupManifest, &stranger);
        assert_eq!(foreign, Err(NoteError::UnknownKey));
    }
}
