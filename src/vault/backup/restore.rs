//! Writing a backup into an empty database, in one transaction: whatever ends the process before the
//! commit, the database has no deployment in it, and afterwards it has all of it.
//!
//! What is restored is frozen, begins new audit logs, and refuses assertions from before.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufRead, BufReader};

use subtle::ConstantTimeEq as _;

use super::format::{BackupError, Frame, Reader, TableHead};
use super::inspect::{InspectError, InspectedBackup};
use super::since::Since;
use crate::crypto::{Identity, Plugins, Recipient, RecipientError, RootError, RootKey, decrypting};
use crate::model::Timestamp;
use crate::store::{
    Database, DeploymentStateRow, PendingRevocationRow, RootRecipientRow, StoreError, Table, Tx,
    Value,
};
use crate::vault::deployment::assertions_from;
use crate::vault::recipients::list_fits;
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
    /// The list of recipients is not what the root key is encrypted to.
    #[error(
        "the list of recipients in the backup does not fit the root key: it was altered, so that \
         this machine cannot be added to it. Restore with an identity for the machine that opens \
         the root key already"
    )]
    RecipientsAltered,
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

/// What was restored.
pub struct Restored {
    /// How many rows, of all tables.
    pub rows: u64,
    /// Clients that were erased again.
    pub erased: usize,
    /// How many revocations wait to be confirmed.
    pub waiting: i64,
    /// Whether this machine was given access to the root key.
    pub machine_added: bool,
}

/// What the restore of this very backup wrote into `database`, if its transaction was committed and
/// only the files are missing.
///
/// # Errors
/// The database is not available.
pub async fn restored_before(
    database: &Database,
    inspected: &InspectedBackup,
    since: &Since,
) -> Result<Option<Restored>, StoreError> {
    let mut tx = inspected.open_registry(database).read().await?;
    let state = tx.deployment_state().await?;
    let is_it = |state: &DeploymentStateRow| {
        let manifest = state.manifest.as_deref();
        manifest.is_some_and(|manifest| manifest.ct_eq(&inspected.digest).into())
    };
    let Some(state) = state.filter(is_it) else {
        return Ok(None);
    };
    let mut erased = 0;
    for id in since.erased.keys() {
        let then = tx.erasure(*id).await?;
        let then = then.is_some_and(|row| Some(row.erased_at) == state.restored_at);
        erased += usize::from(then && tx.client(*id).await?.is_some());
    }
    let recipients = tx.root_recipients().await?;
    Ok(Some(Restored {
        rows: inspected.manifest.all_rows(),
        erased,
        waiting: state.pending_revocations,
        machine_added: recipients
            .iter()
            .any(|row| Some(row.added_at) == state.restored_at),
    }))
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
                let same = super::manifest::digest_of(&note).ct_eq(&inspected.digest);
                let whole = bool::from(same) && sections == inspected.manifest.sections;
                if !whole || !missing.is_empty() {
                    return Err(BackupError::Broken.into());
                }
                break;
            }
        }
    }
    tx.use_tagger(inspected.registry.clone());
    let waiting = begin_anew(&mut tx, inspected, how).await?;
    let machine_added = admit_machine(&mut tx, inspected, how).await?;
    let mut erased = 0;
    for (id, certificate) in &how.since.erased {
        let certificate = certificate.clone();
        erased += usize::from(erase_again(&mut tx, *id, certificate, how.now).await?);
    }
    tx.gather_statistics().await?;
    tx.commit().await?;
    Ok(Restored {
        rows: written,
        erased,
        waiting,
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

/// Writes the state: frozen, with logs that begin anew, and the revocations to be confirmed. Says how
/// many those are.
async fn begin_anew(
    tx: &mut Tx,
    inspected: &InspectedBackup,
    how: &Restore<'_>,
) -> Result<i64, RestoreError> {
    let heads = inspected.heads.iter().map(|(head, _)| head.origin.epoch);
    let known = how.since.checkpoints.iter().map(|known| known.origin.epoch);
    let newest = heads.chain(known).max().unwrap_or(0);
    let newest = i64::try_from(newest).unwrap_or(i64::MAX - 1);
    // By the clock, so that two restores of one backup never give two logs one name.
    let epoch = how.now.secs().max(newest + 1);
    let pending_revocations = list_revocations(tx, how.since).await?;
    tx.delete_deployment_state().await?;
    tx.insert_deployment_state(DeploymentStateRow {
        epoch,
        assertions_not_before: assertions_from(how.now),
        frozen_since: Some(how.now),
        restored_at: Some(how.now),
        taken_at: Some(inspected.manifest.taken_at),
        manifest: Some(inspected.digest.to_vec()),
        lost_records: i64::try_from(how.lost).unwrap_or(i64::MAX),
        pending_revocations,
        revision: 1,
        mac: Vec::new(),
    })
    .await?;
    Ok(pending_revocations)
}

/// Adds the revocations since the backup to those that came with it: one that an earlier restore
/// listed has the same place, and maybe was confirmed. Says how many wait.
async fn list_revocations(tx: &mut Tx, since: &Since) -> Result<i64, RestoreError> {
    let place = |row: &PendingRevocationRow| (row.node.clone(), row.epoch, row.seq);
    let mut rows = tx.revocations_since_backup().await?;
    let known: BTreeSet<_> = rows.iter().map(place).collect();
    for row in since.revocations() {
        if !known.contains(&place(&row)) {
            // What has its place was not written by the service.
            tx.delete_pending_revocation(&row.node, row.epoch, row.seq)
                .await?;
            tx.insert_pending_revocation(row.clone()).await?;
            rows.push(row);
        }
    }
    let waiting = rows.iter().filter(|row| row.settled_at.is_none()).count();
    Ok(i64::try_from(waiting).unwrap_or(i64::MAX))
}

/// Lets this machine's identity open the root key, if it cannot yet. The first log after the restore
/// records it (`vault/beginning.rs`).
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
    if !list_fits(&rows, &root.wrapped) {
        return Err(RestoreError::RecipientsAltered);
    }
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
