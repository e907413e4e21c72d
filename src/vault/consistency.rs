//! Proofs that a log only grew between two sizes.

use std::collections::BTreeMap;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::Vault;
use super::caller::Caller;
use super::error::VaultError;
use crate::audit::tiles::{consistency_plan, join};
use crate::audit::{Hash, Origin};
use crate::store::AuditLogRow;

/// That a log of `from` records is the beginning of the same log at `to` records.
#[derive(Clone, Serialize, Deserialize, ToSchema)]
pub struct Consistency {
    /// The log, as the first line of its checkpoints names it.
    pub log: String,
    /// The earlier size.
    pub from: u64,
    /// The later size.
    pub to: u64,
    /// The hashes of the proof (RFC 6962, section 2.1.2), base64. None for equal sizes and for the
    /// empty log.
    pub proof: Vec<String>,
}

const DAMAGED: VaultError = VaultError::Internal("part of an audit log's tree is missing");

impl Vault {
    /// Proves that the log `origin` only grew between two sizes. For whoever keeps checkpoints: it
    /// shows hashes and nothing that was hashed. Logs of earlier beginnings and of other nodes of the
    /// deployment are answered for as well.
    ///
    /// # Errors
    /// There is no such log, or it never had these sizes; see [`VaultError`].
    pub async fn audit_consistency(
        &self,
        caller: &Caller,
        origin: &Origin,
        from: u64,
        to: u64,
    ) -> Result<Consistency, VaultError> {
        self.spend(caller).await?;
        let mut tx = self.db.read().await?;
        let log = match i64::try_from(origin.epoch) {
            Ok(epoch) if origin.deployment.as_str() == self.deployment => {
                tx.audit_log_at(origin.node.as_str(), epoch).await?
            }
            _ => None,
        };
        let AuditLogRow {
            node, epoch, size, ..
        } = log.ok_or(VaultError::NotFound)?;
        if from > to {
            return Err(VaultError::invalid("from", "must not be above to"));
        }
        if i64::try_from(to).map_or(true, |to| to > size) {
            let rule = "is more than the log has: it was cut off, or is another one";
            return Err(VaultError::invalid("to", rule));
        }
        let mut proof = Vec::new();
        for runs in consistency_plan(from, to) {
            let mut subtrees: Vec<(u32, Hash)> = Vec::new();
            for run in runs {
                let (first, count) = (signed(run.first)?, signed(run.count)?);
                let hashes = match run.level {
                    0 => tx.audit_leaves(&node, epoch, first, count).await?,
                    level => tx.audit_tiles(&node, epoch, level, first, count).await?,
                };
                // By their place, so that one that is missing is noticed.
                let hashes: BTreeMap<i64, Vec<u8>> = hashes.into_iter().collect();
                for index in first..first + count {
                    let hash = hashes.get(&index).and_then(|hash| hash[..].try_into().ok());
                    subtrees.push((run.level, hash.ok_or(DAMAGED)?));
                }
            }
            let hash = join(subtrees).ok_or(DAMAGED)?;
            proof.push(STANDARD.encode(hash));
        }
        Ok(Consistency {
            log: origin.to_string(),
            from,
            to,
            proof,
        })
    }
}

fn signed(number: u64) -> Result<i64, VaultError> {
    i64::try_from(number).map_err(|_| DAMAGED)
}
