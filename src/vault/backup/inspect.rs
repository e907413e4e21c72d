//! Reading a backup for a restore: that it is whole, that its own audit key signed for it, and that
//! the root key in it opens. Nothing is written.

use std::io::{BufRead, BufReader};

use super::format::{BackupError, Frame, Reader, TableHead};
use super::manifest::{self, Manifest};
use crate::audit::{Checkpoint, StatementSigner, VerifierKey};
use crate::crypto::{
    ExpectedRoot, Identity, Keyring, KeyringLimits, MacKey, RootError, RootKey, ServiceKeyName,
    decrypting,
};
use crate::store::{Database, Value};
use crate::vault::open::RegistryMac;

/// Why a backup cannot be restored. Nothing was changed.
#[derive(Debug, thiserror::Error)]
pub enum InspectError {
    /// It cannot be read.
    #[error(transparent)]
    Backup(#[from] BackupError),
    /// The root key in it does not open.
    #[error("the root key in the backup: {0}")]
    Root(#[from] RootError),
    /// A service key in it does not open under that root key.
    #[error("a service key in the backup does not open")]
    ServiceKey,
    /// It was made under another schema.
    #[error(
        "the backup was made by strongroom {0}, whose database has another form: use that version"
    )]
    OtherSchema(String),
}

/// A backup that can be restored.
pub struct InspectedBackup {
    /// What it says of itself.
    pub manifest: Manifest,
    /// SHA-256 of the manifest's note.
    pub digest: [u8; 32],
    /// The newest checkpoint of each audit log, with the log's size.
    pub heads: Vec<(Checkpoint, u64)>,
    /// The notes of these checkpoints, in the same order.
    pub notes: Vec<String>,
    /// The files of the root key: name and bytes.
    pub files: Vec<(String, Vec<u8>)>,
    /// The key that signed the manifest and the audit logs.
    pub audit_key: VerifierKey,
    /// The root key's row: generation, check value, and its age file.
    pub(super) root: RootRow,
    pub(super) keyring: Keyring,
    pub(super) registry: std::sync::Arc<RegistryMac>,
}

pub(super) struct RootRow {
    pub generation: u32,
    pub check: [u8; 16],
    pub wrapped: Vec<u8>,
}

impl InspectedBackup {
    /// The database with the key that checks rows which this deployment wrote.
    pub fn open_registry(&self, database: &Database) -> Database {
        database.clone().with_tagger(self.registry.clone())
    }

    /// How many records of each log are known by `checkpoints` and are not in the backup.
    pub fn lost(&self, checkpoints: &[Checkpoint]) -> Vec<(String, u64)> {
        let mut lost: std::collections::BTreeMap<String, u64> = std::collections::BTreeMap::new();
        for known in checkpoints {
            let head = self
                .heads
                .iter()
                .find(|(head, _)| head.origin == known.origin);
            let missing = known.size.saturating_sub(head.map_or(0, |(_, size)| *size));
            if missing > 0 {
                let entry = lost.entry(known.origin.to_string()).or_default();
                *entry = missing.max(*entry);
            }
        }
        lost.into_iter().collect()
    }
}

/// The columns of one table that are of interest, while it is read.
struct Places(Vec<usize>);

impl Places {
    fn of(head: &TableHead, names: &[&str]) -> Result<Self, BackupError> {
        let places: Result<_, _> = names.iter().map(|name| head.place(name)).collect();
        places.map(Self)
    }

    fn number(&self, row: &[Value], at: usize) -> Result<u64, BackupError> {
        let number = row[self.0[at]]
            .integer()
            .and_then(|it| u64::try_from(it).ok());
        number.ok_or(BackupError::Damaged("a number"))
    }

    fn text(&self, row: &[Value], at: usize) -> Result<String, BackupError> {
        let text = row[self.0[at]].text().map(str::to_owned);
        text.ok_or(BackupError::Damaged("a text"))
    }

    fn bytes(&self, row: &[Value], at: usize) -> Result<Vec<u8>, BackupError> {
        let bytes = row[self.0[at]].bytes().map(<[u8]>::to_vec);
        bytes.ok_or(BackupError::Damaged("bytes"))
    }
}

/// Reads a backup to its end. `identities` open the backup, and they or `more` its root key.
///
/// # Errors
/// See [`InspectError`].
pub fn inspect_backup(
    input: impl BufRead,
    identities: &[Identity],
    more: &[Identity],
) -> Result<InspectedBackup, InspectError> {
    let opened = decrypting(input, identities).map_err(BackupError::from)?;
    let mut reader = Reader::new(BufReader::new(opened))?;
    let deployment = reader.deployment().to_owned();
    let (mut logs, mut roots, mut services) = (Vec::new(), Vec::new(), Vec::new());
    let mut files = Vec::new();
    let (note, sections) = loop {
        match reader.next()?.ok_or(BackupError::Broken)? {
            Frame::Table(head) if head.table == "audit_logs" => {
                let places = Places::of(&head, &["checkpoint", "size"])?;
                while let Some(row) = reader.next_row()? {
                    logs.push((places.text(&row, 0)?, places.number(&row, 1)?));
                }
            }
            Frame::Table(head) if head.table == "root_keys" => {
                let places = Places::of(&head, &["generation", "check_value", "wrapped"])?;
                while let Some(row) = reader.next_row()? {
                    let generation = places.number(&row, 0)?;
                    let check = places.bytes(&row, 1)?;
                    roots.push((generation, check, places.bytes(&row, 2)?));
                }
            }
            Frame::Table(head) if head.table == "service_keys" => {
                let places = Places::of(&head, &["name", "generation", "wrapped"])?;
                while let Some(row) = reader.next_row()? {
                    let (name, generation) = (places.text(&row, 0)?, places.number(&row, 1)?);
                    services.push((generation, name, places.bytes(&row, 2)?));
                }
            }
            Frame::File(name, content) => files.push((name, content)),
            Frame::Manifest(note, sections) => break (note, sections),
            Frame::Table(_) | Frame::Row(_) => {}
        }
    };
    // The newest generations.
    let root = roots.into_iter().max_by_key(|(generation, ..)| *generation);
    let (generation, check, wrapped) = root.ok_or(BackupError::Damaged("no root key"))?;
    let damaged = |_| BackupError::Damaged("the root key's row");
    let root = RootRow {
        generation: u32::try_from(generation).map_err(|_| BackupError::Damaged("a generation"))?,
        check: check
            .try_into()
            .map_err(|_| BackupError::Damaged("a check value"))?,
        wrapped,
    };
    let expected = ExpectedRoot {
        deployment: &deployment,
        generation: root.generation,
        check: root.check,
    };
    let key = open_root(&root.wrapped, &files, &expected, &[more, identities])?;
    let keyring = Keyring::new(key, KeyringLimits::default());
    let service = |name: ServiceKeyName| {
        let newest = services
            .iter()
            .filter(|(_, it, _)| it == name.as_str())
            .max();
        let (generation, _, wrapped) = newest.ok_or(InspectError::ServiceKey)?;
        let generation = u32::try_from(*generation).map_err(|_| InspectError::ServiceKey)?;
        keyring
            .open_service_key(name, generation, wrapped)
            .map_err(|_| InspectError::ServiceKey)
    };
    let seed = service(ServiceKeyName::AuditSigning)?;
    let name = deployment.parse().map_err(damaged)?;
    let signer = StatementSigner::from_seed(&name, seed.expose_secret());
    let audit_key = signer
        .map_err(|_| InspectError::ServiceKey)?
        .verifier()
        .clone();
    let registry = MacKey::new(&service(ServiceKeyName::RegistryMac)?);

    let keys = std::slice::from_ref(&audit_key);
    let manifest = Manifest::open(&note, keys, &deployment, &sections)?;
    if manifest.schema != Database::known_schema() {
        return Err(InspectError::OtherSchema(manifest.program));
    }
    let mut heads = Vec::new();
    for (note, size) in &logs {
        let head = Checkpoint::open(note, keys).map_err(BackupError::Manifest)?;
        heads.push((head, *size));
    }
    Ok(InspectedBackup {
        manifest,
        digest: manifest::digest_of(&note),
        heads,
        notes: logs.into_iter().map(|(note, _)| note).collect(),
        files,
        audit_key,
        root,
        keyring,
        registry: std::sync::Arc::new(RegistryMac(registry)),
    })
}

/// Opens the root key from its row, or else from one of its files (a passphrase has one of its own).
fn open_root(
    wrapped: &[u8],
    files: &[(String, Vec<u8>)],
    expected: &ExpectedRoot<'_>,
    identities: &[&[Identity]],
) -> Result<RootKey, RootError> {
    for identities in identities {
        let files = files.iter().map(|(_, content)| content.as_slice());
        for file in std::iter::once(wrapped).chain(files) {
            match RootKey::decrypt(file, identities) {
                Ok(root) => {
                    root.verify(expected)?;
                    return Ok(root);
                }
                Err(RootError::NotOpened) => {}
                Err(error) => return Err(error),
            }
        }
    }
    Err(RootError::NotOpened)
}
