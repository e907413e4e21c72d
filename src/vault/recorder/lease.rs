//! Why a process may not append to a log.

use crate::model::Timestamp;
use crate::store::StoreError;

/// How long a lease lasts without being renewed, in seconds. It is what a node that was killed has to
/// wait for at its next start, where nodes share a database.
pub(super) const LEASE_SECS: i64 = 6;
/// How often a writer renews, busy or idle, in seconds.
pub(super) const RENEW_SECS: i64 = 2;

/// The log of this node cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum LeaseError {
    /// Another process writes it.
    #[error(
        "another process is writing the audit log of this node (its lease ends at {until}): \
         stop it, or give this node another name in the configuration"
    )]
    Held {
        /// When its lease ends unless it is renewed.
        until: Timestamp,
    },
    /// Records that were durable are gone.
    #[error(
        "the audit log lost records ({known} were durable, {found} are there): the database was put \
         back to an earlier state"
    )]
    Lost {
        /// Records that this process saw committed.
        known: i64,
        /// Records in the database.
        found: i64,
    },
    /// Head and tree do not belong together.
    #[error("the head of the audit log is damaged: restore a backup")]
    Damaged,
    /// The database said no.
    #[error(transparent)]
    Store(#[from] StoreError),
}
