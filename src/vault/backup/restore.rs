//! Writing a backup into an empty database, in one transaction: whatever ends the process before the
//! commit, the database has no deployment in it, and afterwards it has all of it.
//!
//! What is restored is frozen, begins new audit logs, and refuses assertions from before.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader};

use super::format::{BackupError, Frame, Reader, TableHead};
use super::inspect::{InspectError, InspectedBackup};
use crate::audit::{Checkpoint, Kind, ParsedRecord, Subject};
use crate::crypto::{Identity, Plugins, Recipient, RecipientError, RootError, RootKey, decrypting};
use crate::model::{ClientId, Timestamp};
use crate::store::{
    Database, DeploymentStateRow, PendingRevocationRow, RootRecipientRow, StoreError, Table, Tx,
    Value,
};
use crate::vault::deployment::{REVOKING, assertions_from};
use crate::vault::{VaultError, erase_again};

/// How many rows are written at once.
const ROWS: usize = 256;

/// What a restore has to know besides the backup.
pub struct Restore<'a> {
    /// What opens the backup.
    pub identities: &'a [Identity],
    /// What opens the root key on this machine; it gets access if it has none.
    pub machine: &'a [Identity],
    /// The age plugins that recipients of the root key may need.
    pub plugins: &'a Plugins,
    /// What the surviving logs say happened since.
    pub since: &'a Since,
    /// How many known records are not in the backup.
    pub lost: u64,
    /// Now.
    pub now: Timestamp,
}

/// Why a restore failed. The database is as it was.
#[derive(Debug, thiserror::Error)]
pub enum RestoreError {
    /// The backup cannot be used.
    #[error(transparent)]
    Inspect(#[from] InspectError),
    /// The database holds a deployment.
    #[error("the database holds a deployment already: a backup is only restored into an empty one")]
    NotEmpty,
    /// A recipient of the root key cannot be used.
    #[error(
        "the root key cannot be encrypted to this machine as well, because of another recipient: {0}"
    )]
    Recipient(#[from] RecipientError),
    /// The root key cannot be encrypted.
    #[error(transparent)]
    Root(#[from] RootError),
    /// The database said no.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// An erasure could not be done again.
    #[error(transparent)]
    Vault(#[from] VaultError),
}

impl From<BackupError> for RestoreError {
    fn from(error: BackupError) -> Self {
        Self::Inspect(error.into())
    }
}

/// What was done since the backup, from logs and certificates that survived.
#[derive(Default)]
pub struct Since {
    /// Revocations, by log and place.
    pub revocations: Vec<PendingRevocationRow>,
    /// Clients that were erased, with their certificates where those survived.
    pub erased: BTreeMap<ClientId, String>,
    /// Checkpoints that are known.
    pub checkpoints: Vec<Checkpoint>,
}

impl Since {
    /// Looks at one record of a surviving log.
    pub fn record(&mut self, node: &str, epoch: i64, seq: u64, record: &ParsedRecord) {
        let subjects: Vec<String> = record.subjects.iter().map(ToString::to_string).collect();
        let subjects = subjects.join(" ");
        let again = match record.kind {
            Kind::WorkloadEnabled => Kind::WorkloadDisabled,
            Kind::OperatorEnabled => Kind::OperatorDisabled,
            Kind::ClientErased => {
                if let Some(Subject::Client(id)) = record.subjects.first() {
                    self.erased.entry(*id).or_default();
                }
                return;
            }
            kind if REVOKING.contains(&kind) => {
                self.revocations.push(PendingRevocationRow {
                    node: node.to_owned(),
                    epoch,
                    seq: i64::try_from(seq).unwrap_or(i64::MAX),
                    at: record.at,
                    kind: kind.as_str().to_owned(),
                    subjects,
                    settled_at: None,
                    outcome: None,
                    mac: Vec::new(),
                });
                return;
            }
            _ => return,
        };
        // What was enabled again later is not revoked.
        self.revocations
            .retain(|row| row.kind != again.as_str() || row.subjects != subjects);
    }
}

/// What was restored.
pub struct Restored {
    /// How many rows of each table.
    pub rows: u64,
    /// Clients that were erased again.
    pub erased: usize,
    /// Whether this machine was given access to the root key.
    pub machine_added: bool,
}

/// Restores the backup `input`, which was inspected before, into `database`.
///
/// # Errors
/// See [`RestoreError`].
pub async fn restore_backup(
    database: &Database,
    input: impl BufRead,
    inspected: &InspectedBackup,
    how: &Restore<'_>,
) -> Result<Restored, RestoreError> {
    let opened = decrypting(input, how.identities).map_err(BackupError::from)?;
    let mut reader = Reader::new(BufReader::new(opened))?;
    let mut tx = database.write().await?;
    if tx.deployment().await?.is_some() {
        return Err(RestoreError::NotEmpty);
    }
    let other = || InspectError::OtherSchema(inspected.manifest.program.clone());
    if tx.schema().await? != inspected.manifest.schema {
        return Err(other().into());
    }
    let tables = tx.tables().await?;
    let mut missing: BTreeMap<&str, &Table> = tables
        .iter()
        .map(|table| (table.name.as_str(), table))
        .collect();
    let mut written = 0;
    loop {
        match reader.next()?.ok_or(BackupError::Broken)? {
            Frame::Table(head) => {
                let table = missing.remove(head.table.as_str()).ok_or_else(other)?;
                if table.columns != head.columns {
                    return Err(other().into());
                }
                let mut rows = Vec::with_capacity(ROWS);
                while let Some(mut row) = reader.next_row()? {
                    give_up_lease(&head, &mut row)?;
                    rows.push(row);
                    if rows.len() == ROWS {
                        tx.insert_rows(table, &rows).await?;
                        written += rows.len() as u64;
                        rows.clear();
                    }
                }
                tx.insert_rows(table, &rows).await?;
                written += rows.len() as u64;
            }
            Frame::File(..) | Frame::Row(_) => {}
            Frame::Manifest(note, sections) => {
                // The same file as was inspected: nothing was put in its place since.
                let whole = super::manifest::digest_of(&note) == inspected.digest
                    && sections == inspected.manifest.sections;
                if !whole || !missing.is_empty() {
                    return Err(BackupError::Broken.into());
                }
                break;
            }
        }
    }
    tx.use_tagger(inspected.registry.clone());
    begin_anew(&mut tx, inspected, how).await?;
    let machine_added = admit_machine(&mut tx, inspected, how).await?;
    let mut erased = 0;
    for (id, certificate) in &how.since.erased {
        let certificate = certificate.clone();
        erased += usize::from(erase_again(&mut tx, *id, certificate, how.now).await?);
    }
    tx.commit().await?;
    Ok(Restored {
        rows: written,
        erased,
        machine_added,
    })
}

/// Nobody writes the logs that came with the backup any more.
fn give_up_lease(head: &TableHead, row: &mut [Value]) -> Result<(), BackupError> {
    if head.table == "audit_logs" {
        row[head.place("holder")?] = Value::Null;
        row[head.place("lease_until")?] = Value::Integer(0);
    }
    Ok(())
}

/// Writes the state: frozen, with logs that begin anew, and the revocations to be confirmed.
async fn begin_anew(
    tx: &mut Tx,
    inspected: &InspectedBackup,
    how: &Restore<'_>,
) -> Result<(), RestoreError> {
    let heads = inspected.heads.iter().map(|(head, _)| head.origin.epoch);
    let known = how.since.checkpoints.iter().map(|known| known.origin.epoch);
    let newest = heads.chain(known).max().unwrap_or(0);
    let newest = i64::try_from(newest).unwrap_or(i64::MAX - 1);
    // By the clock, so that two restores of one backup never give two logs one name.
    let epoch = how.now.secs().max(newest + 1);
    tx.delete_deployment_state().await?;
    tx.insert_deployment_state(DeploymentStateRow {
        epoch,
        assertions_not_before: assertions_from(how.now),
        frozen_since: Some(how.now),
        restored_at: Some(how.now),
        taken_at: Some(inspected.manifest.taken_at),
        manifest: Some(inspected.digest.to_vec()),
        lost_records: i64::try_from(how.lost).unwrap_or(i64::MAX),
        revision: 1,
        mac: Vec::new(),
    })
    .await?;
    for row in &how.since.revocations {
        tx.insert_pending_revocation(row.clone()).await?;
    }
    Ok(())
}

/// Lets this machine's identity open the root key, if it cannot yet.
async fn admit_machine(
    tx: &mut Tx,
    inspected: &InspectedBackup,
    how: &Restore<'_>,
) -> Result<bool, RestoreError> {
    let root = &inspected.root;
    let files = inspected
        .files
        .iter()
        .map(|(_, content)| content.as_slice());
    let mut held = std::iter::once(root.wrapped.as_slice()).chain(files);
    if held.any(|file| RootKey::decrypt(file, how.machine).is_ok()) {
        return Ok(false);
    }
    let mut rows = tx.root_recipients().await?;
    let mut new = Vec::new();
    for recipient in how.machine.iter().filter_map(Identity::recipient) {
        let text = recipient.to_text().ok_or(RootError::PassphraseNotAlone)?;
        if !rows.iter().any(|row| row.recipient == text) {
            let row = RootRecipientRow {
                recipient: text,
                added_at: how.now,
                mac: Vec::new(),
            };
            rows.push(row.clone());
            new.push(row);
        }
    }
    if new.is_empty() {
        return Err(RootError::NotOpened.into());
    }
    let recipients: Result<Vec<Recipient>, _> = rows
        .iter()
        .map(|row| Recipient::parse_with(&row.recipient, how.plugins))
        .collect();
    let wrapped = inspected.keyring.root().encrypt_to(&recipients?)?;
    let generation = i64::from(root.generation);
    tx.replace_root_key(generation, &root.wrapped, &wrapped)
        .await?;
    for row in new {
        tx.insert_root_recipient(row).await?;
    }
    Ok(true)
}
