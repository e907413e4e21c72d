//! Which log a node writes when it starts: the one it wrote before, or a new one after a restore or
//! after a database that was put back to an earlier state. A log never signs two histories, so one
//! that lost its end is not continued: another is begun, and its first record says where the last
//! one ended.

use std::path::Path;

use super::open::OpenError;
use super::recipients::recipient_record;
use super::recorder::Draft;
use crate::audit::{Checkpoint, Detail, Kind, Origin, VerifierKey};
use crate::model::{Slug, Timestamp};
use crate::store::{AuditLogRow, Database, DeploymentStateRow, Tx};

/// How a node's log begins or goes on.
pub(super) struct Begin {
    /// The epoch to write.
    pub epoch: i64,
    /// How many known records are not there, if that was accepted.
    pub rolled_back: Option<i64>,
    state: Option<DeploymentStateRow>,
    /// What a restore did that is not in any log yet.
    unrecorded: Vec<Draft>,
    /// The last checkpoint of the node's log before it.
    before: Option<Checkpoint>,
}

/// The newest checkpoint that was kept outside the database.
///
/// # Errors
/// It is there and cannot be read, or is not one of this node's logs.
pub(super) fn known_checkpoint(
    path: &Path,
    origin: &Origin,
    key: &VerifierKey,
) -> Result<Option<Checkpoint>, OpenError> {
    let note = match std::fs::read_to_string(path) {
        Ok(note) => note,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        // It may be the one that says that the database was put back.
        Err(error) => return Err(OpenError::Unreadable(error.kind())),
    };
    let known = Checkpoint::open(&note, std::slice::from_ref(key));
    let known = known.map_err(|_| OpenError::Contradicts)?;
    match known.origin.deployment == origin.deployment && known.origin.node == origin.node {
        true => Ok(Some(known)),
        false => Err(OpenError::Contradicts),
    }
}

/// Compares what is known with what is there, and decides which log is written.
///
/// # Errors
/// The database is older than what is known, and that was not accepted; or the two contradict.
pub(super) async fn begin(
    database: &Database,
    node: &Slug,
    known: Option<&Checkpoint>,
    accept_rollback: bool,
    now: Timestamp,
) -> Result<Begin, OpenError> {
    let mut tx = database.read().await?;
    let state = tx.deployment_state().await?;
    let log = tx.audit_log(node.as_str()).await?;
    let present = log.as_ref().map_or(0, |log| log.epoch);
    let wanted = state.as_ref().map_or(0, |state| state.epoch);
    let mut begin = Begin {
        epoch: present.max(wanted),
        rolled_back: None,
        unrecorded: unrecorded(&mut tx, state.as_ref()).await?,
        state,
        before: None,
    };
    if let Some(known) = known {
        match compare(&mut tx, node, known).await {
            Ok(()) => {}
            Err(OpenError::RolledBack { known: size, found }) if accept_rollback => {
                // By the clock, so that no log that may have existed has this number.
                let known_epoch = i64::try_from(known.origin.epoch).unwrap_or(0);
                begin.epoch = now.secs().max(known_epoch + 1).max(begin.epoch + 1);
                begin.rolled_back = Some(i64::try_from(size - found).unwrap_or(i64::MAX));
                begin.before = Some(known.clone());
            }
            Err(error) => return Err(error),
        }
    }
    if begin.before.is_none() {
        begin.before = last_before(&mut tx, node, begin.epoch).await?;
    }
    Ok(begin)
}

/// What the last restore did that no log tells of: whom it let open the root key. The first node to
/// begin a log after it records that.
async fn unrecorded(
    tx: &mut Tx,
    state: Option<&DeploymentStateRow>,
) -> Result<Vec<Draft>, OpenError> {
    let Some((epoch, at)) = state.and_then(|state| Some((state.epoch, state.restored_at?))) else {
        return Ok(Vec::new());
    };
    let logs = tx.audit_logs().await?;
    if logs.iter().any(|log| log.epoch >= epoch && log.size > 0) {
        return Ok(Vec::new());
    }
    let root = tx.root_keys().await?.into_iter().next();
    let generation = root.map_or(0, |root| root.generation);
    let rows = tx.root_recipients().await?.into_iter();
    let added = rows.filter(|row| row.added_at == at);
    Ok(added
        .map(|row| recipient_record(Kind::RootRecipientAdded, generation, &row.recipient))
        .collect())
}

/// The last checkpoint of the node's newest log with records that is not of `epoch`.
async fn last_before(
    tx: &mut Tx,
    node: &Slug,
    epoch: i64,
) -> Result<Option<Checkpoint>, OpenError> {
    let logs = tx.audit_logs().await?.into_iter();
    let mine = logs.filter(|log| log.node == node.as_str() && log.epoch != epoch && log.size > 0);
    let last = mine.max_by_key(|log| log.epoch);
    Ok(last.and_then(|log| Checkpoint::read_unverified(&log.checkpoint)))
}

/// Compares the log in the database with a checkpoint that was kept outside of it.
///
/// # Errors
/// The log is shorter than the checkpoint says, or another; or the database is not available.
pub(super) async fn compare(tx: &mut Tx, node: &Slug, known: &Checkpoint) -> Result<(), OpenError> {
    let epoch = i64::try_from(known.origin.epoch).map_err(|_| OpenError::Contradicts)?;
    let log = tx.audit_log_at(node.as_str(), epoch).await?;
    let found = log
        .as_ref()
        .map_or(0, |log| u64::try_from(log.size).unwrap_or(0));
    if known.size > found {
        return Err(OpenError::RolledBack {
            known: known.size,
            found,
        });
    }
    let Some(AuditLogRow { node, epoch, .. }) = log else {
        return Ok(());
    };
    let size = i64::try_from(known.size).unwrap_or(i64::MAX);
    let stored = tx.checkpoints(&node, epoch, size - 1, 1).await?;
    let same = |note: &str| {
        Checkpoint::read_unverified(note)
            .is_some_and(|stored| stored.size == known.size && stored.root == known.root)
    };
    match stored.first() {
        Some(row) if same(&row.note) => Ok(()),
        _ if known.size == 0 => Ok(()),
        _ => Err(OpenError::Contradicts),
    }
}

impl Begin {
    /// The first records of a new log; none where a node begins for the first time.
    pub fn first_records(&self) -> Vec<Draft> {
        let first = self.first_record().into_iter();
        first.chain(self.unrecorded.iter().cloned()).collect()
    }

    fn first_record(&self) -> Option<Draft> {
        let state = self
            .state
            .as_ref()
            .filter(|state| state.epoch == self.epoch);
        let mut draft = match (self.rolled_back, state) {
            (Some(lost), _) => {
                Draft::of(Kind::RollbackAccepted).with("lost_records", Detail::Number(lost))
            }
            (None, Some(state)) => {
                let mut draft = Draft::of(Kind::DeploymentRestored);
                let moments = [
                    ("restored_at", state.restored_at),
                    ("taken_at", state.taken_at),
                ];
                for (name, at) in moments {
                    if let Some(at) = at {
                        draft = draft.with(name, Detail::Time(at));
                    }
                }
                let manifest = state.manifest.as_deref().and_then(|it| it.try_into().ok());
                if let Some(manifest) = manifest {
                    draft = draft.with("manifest", Detail::Digest(manifest));
                }
                // Above 0: somebody said that an older backup is to be used.
                draft.with("lost_records", Detail::Number(state.lost_records))
            }
            (None, None) => return None,
        };
        if let Some(before) = &self.before {
            let number = |number: u64| Detail::Number(i64::try_from(number).unwrap_or(i64::MAX));
            draft = draft
                .with("before_epoch", number(before.origin.epoch))
                .with("before_size", number(before.size))
                .with("before_root", Detail::Digest(before.root));
        }
        // A first log of the first epoch follows nothing.
        (self.epoch > 0).then_some(draft)
    }
}
