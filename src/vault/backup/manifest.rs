//! What a backup says of itself, signed with the deployment's audit key.

use ring::digest::{SHA256, digest};
use serde::{Deserialize, Serialize};

use super::format::{BackupError, Section, VERSION};
use crate::audit::{NoteError, Purpose, VerifierKey, statement};
use crate::model::{BackupId, Timestamp};

/// The manifest.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    /// The version of the form.
    pub format: u32,
    /// The version of the program that took it.
    pub program: String,
    /// The migrations that made the schema.
    pub schema: Vec<i64>,
    /// The deployment.
    pub deployment: String,
    /// The backup's own id.
    pub id: BackupId,
    /// The moment whose state it holds.
    pub taken_at: Timestamp,
    /// The kind of database that it was taken from.
    pub database: String,
    /// Until when it is meant to be kept.
    pub keep_until: Option<Timestamp>,
    /// How many clients had been erased.
    pub erasures: u64,
    /// The newest checkpoint of each audit log.
    pub checkpoints: Vec<String>,
    /// Its parts, in their order.
    pub sections: Vec<Section>,
}

impl Manifest {
    /// Reads a note that one of `keys` signed, and compares it with the parts that were read.
    ///
    /// # Errors
    /// It is not signed by them, or lists something else.
    pub fn open(
        note: &str,
        keys: &[VerifierKey],
        deployment: &str,
        read: &[Section],
    ) -> Result<Self, BackupError> {
        let json = statement::open(note, Purpose::BackupManifest, keys);
        let json = json.map_err(BackupError::Manifest)?;
        let manifest: Self =
            serde_json::from_str(json).map_err(|_| BackupError::Damaged("the manifest"))?;
        if manifest.format != VERSION || manifest.deployment != deployment {
            return Err(BackupError::Manifest(NoteError::OtherPurpose));
        }
        if manifest.sections != read {
            return Err(BackupError::Damaged("a part is not what the manifest says"));
        }
        Ok(manifest)
    }

    /// How many rows there are in all tables.
    pub fn all_rows(&self) -> u64 {
        let tables = self.sections.iter();
        let tables = tables.filter(|section| !section.name.starts_with("file:"));
        tables.map(|section| section.rows).sum()
    }

    /// The rows of a table.
    pub fn rows(&self, table: &str) -> u64 {
        let section = self.sections.iter().find(|section| section.name == table);
        section.map_or(0, |section| section.rows)
    }
}

/// What a backup is known by: SHA-256 of its manifest's note.
pub fn digest_of(note: &str) -> [u8; 32] {
    let mut hash = [0; 32];
    hash.copy_from_slice(digest(&SHA256, note.as_bytes()).as_ref());
    hash
}
