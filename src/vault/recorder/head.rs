//! The head of this node's log: where it stands in the database, and its tree in memory.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use super::lease::{LEASE_SECS, LeaseError};
use crate::audit::{Frontier, Signer};
use crate::clock::Clock;
use crate::model::Timestamp;
use crate::store::{AuditLogRow, CheckpointRow, Database, StoreError};

/// The log as the writer holds it.
#[derive(Clone)]
pub(in crate::vault) struct Log {
    pub row: AuditLogRow,
    pub frontier: Frontier,
}

/// A checkpoint as it goes into a header.
pub(super) fn encode(note: &str) -> String {
    STANDARD.encode(note)
}

/// Opens the log of `node` in the signer's epoch for the process `holder`, beginning it if there is
/// none, and takes its lease. A log of fewer than `at_least` records, which the process knows to be
/// durable, is not opened: appending to it would sign a second history.
///
/// # Errors
/// Another process holds it, it lost records, or the database is not available.
pub(in crate::vault) async fn open_log(
    db: &Database,
    signer: &Signer,
    node: &str,
    holder: &str,
    at_least: i64,
    clock: &dyn Clock,
) -> Result<Log, LeaseError> {
    let now = shared_now(db, clock).await?;
    let until = now.plus_secs(LEASE_SECS);
    // Where the database is one process's own, the lock of the data directory has kept others out,
    // and what is left of a lease is a crashed process's, whatever its clock said.
    let free_before = match db.is_shared() {
        true => now,
        false => Timestamp::from_micros(i64::MAX),
    };
    let epoch = i64::try_from(signer.origin().epoch).unwrap_or(i64::MAX);
    let mut tx = db.write().await?;
    let newest = tx.audit_log(node).await?;
    if let Some(row) = newest.as_ref().filter(|row| row.epoch > epoch) {
        // Another process of this name began anew.
        return Err(LeaseError::Held {
            until: row.lease_until,
        });
    }
    if newest.as_ref().is_none_or(|row| row.epoch < epoch) {
        // Whoever may still append to the log before it has to end first.
        if let Some(row) = newest
            && !tx
                .lease_audit_log(node, row.epoch, holder, free_before, until)
                .await?
        {
            return Err(LeaseError::Held {
                until: row.lease_until,
            });
        }
        let frontier = Frontier::new();
        tx.insert_audit_log(&AuditLogRow {
            node: node.to_owned(),
            epoch,
            size: 0,
            checkpoint: signer.sign(&frontier, now),
            frontier: frontier.to_bytes(),
            signed_size: 0,
            holder: None,
            lease_until: now,
        })
        .await?;
    }
    let Some(row) = tx.audit_log(node).await? else {
        return Err(LeaseError::Damaged);
    };
    if row.size < at_least {
        return Err(LeaseError::Lost {
            known: at_least,
            found: row.size,
        });
    }
    if !tx
        .lease_audit_log(node, row.epoch, holder, free_before, until)
        .await?
    {
        return Err(LeaseError::Held {
            until: row.lease_until,
        });
    }
    let mut log = from_row(AuditLogRow {
        holder: Some(holder.to_owned()),
        lease_until: until,
        ..row
    })?;
    // What a crash left unsigned is signed before anything is appended, so that however long the
    // service was down, no record stays unsigned for longer than it ran.
    if log.row.size > log.row.signed_size {
        let now = clock.now();
        let note = signer.sign(&log.frontier, now);
        log.row.checkpoint.clone_from(&note);
        log.row.signed_size = log.row.size;
        let checkpoint = CheckpointRow {
            size: log.row.size,
            at: now,
            note,
        };
        tx.insert_checkpoint(node, log.row.epoch, &checkpoint)
            .await?;
        let size = log.row.size;
        if tx.append_audit_records(&log.row, size, &[]).await?.is_err() {
            return Err(LeaseError::Damaged);
        }
    }
    tx.commit().await?;
    Ok(log)
}

/// Checks that tree and size of a stored head belong together.
pub(super) fn from_row(row: AuditLogRow) -> Result<Log, LeaseError> {
    let frontier = Frontier::from_bytes(&row.frontier).map_err(|_| LeaseError::Damaged)?;
    if i64::try_from(frontier.size()) != Ok(row.size) {
        return Err(LeaseError::Damaged);
    }
    Ok(Log { row, frontier })
}

/// The time that leases are measured by: the database's where nodes share one.
pub(super) async fn shared_now(db: &Database, clock: &dyn Clock) -> Result<Timestamp, StoreError> {
    Ok(db.shared_now().await?.unwrap_or_else(|| clock.now()))
}
