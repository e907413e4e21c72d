//! Looking into the audit logs: who did what to what and when, the newest signed head, an export.

use std::sync::Arc;

use futures_util::Stream;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::Vault;
use super::caller::Caller;
use super::error::VaultError;
use crate::audit::export::{checkpoint_line, end_line, header_line, record_line};
use crate::audit::{Origin, ParsedRecord, Subject};
use crate::model::{KeyId, Permission, PrincipalId, RequestId, Timestamp};
use crate::store::{AuditFilter, AuditLogRow, AuditRow, Page};

/// Which records to list; absent means any.
#[derive(Clone, Debug, Default, Deserialize, Serialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct AuditQuery {
    /// Who acted: the id of a workload or operator.
    pub actor: Option<String>,
    /// What it was about: any id.
    pub subject: Option<String>,
    /// The kind of record, such as `release.intent`.
    pub kind: Option<String>,
    /// Not before this moment.
    pub since: Option<Timestamp>,
    /// Before this moment.
    pub until: Option<Timestamp>,
}

/// One record.
#[derive(Clone, Serialize, Deserialize, ToSchema)]
pub struct AuditEntry {
    /// The node that wrote it.
    pub node: String,
    /// Which beginning of the node's log.
    pub epoch: i64,
    /// Its place in that log.
    pub seq: i64,
    /// When.
    pub at: Timestamp,
    /// What happened.
    pub kind: String,
    /// Who caused it.
    #[schema(value_type = Option<String>)]
    pub actor: Option<String>,
    /// The key by which they were known.
    pub key: Option<KeyId>,
    /// What it happened to.
    pub subjects: Vec<String>,
    /// The request that caused it.
    pub request: Option<RequestId>,
    /// What else belongs to it.
    #[schema(value_type = Object)]
    pub detail: serde_json::Value,
}

fn entry(row: &AuditRow) -> Result<AuditEntry, VaultError> {
    let damaged = VaultError::Internal("an audit record is damaged: run audit verify");
    let record = ParsedRecord::parse(&row.record).map_err(|_| damaged)?;
    Ok(AuditEntry {
        node: row.node.clone(),
        epoch: row.epoch,
        seq: row.seq,
        at: record.at,
        kind: record.kind.as_str().to_owned(),
        actor: record.actor.map(|actor| actor.to_string()),
        key: record.key,
        subjects: record.subjects.iter().map(ToString::to_string).collect(),
        request: record.request,
        // The detail of a parsed record is JSON already.
        detail: serde_json::from_slice::<serde_json::Value>(&row.record)
            .ok()
            .and_then(|mut record| record.get_mut("detail").map(serde_json::Value::take))
            .unwrap_or_else(|| serde_json::json!({})),
    })
}

/// Whether a record is about the subject: an id names its numbered versions too.
fn is_about(row: &AuditRow, subject: &Subject) -> bool {
    ParsedRecord::parse(&row.record).is_ok_and(|record| {
        record.subjects.iter().any(|other| {
            other == subject
                || matches!((other, subject), (Subject::Numbered(id, _), Subject::Credential(wanted)) if id == wanted)
        })
    })
}

/// The most records that one page looks through: a page can be short, or even empty, and still have
/// another behind it.
const MOST_LOOKED_AT: usize = 5000;

impl Vault {
    /// A page of audit records of all nodes, newest first.
    ///
    /// # Errors
    /// A filter is malformed; see [`VaultError`].
    pub async fn audit_entries(
        &self,
        caller: &Caller,
        query: &AuditQuery,
        cursor: &str,
        limit: i64,
    ) -> Result<Page<AuditEntry>, VaultError> {
        self.authorise(caller, Permission::ReadAudit).await?;
        let id = |_| VaultError::invalid("actor", "must be the id of a workload or operator");
        if let Some(actor) = &query.actor {
            actor.parse::<PrincipalId>().map_err(id)?;
        }
        let subject = match &query.subject {
            None => None,
            Some(text) => Some(text.parse::<Subject>().map_err(|_| {
                VaultError::invalid("subject", "must be an id, such as cred_… or wkld_…")
            })?),
        };
        if let Some(kind) = &query.kind {
            kind.parse::<crate::audit::Kind>().map_err(|_| {
                VaultError::invalid("kind", "must be a kind of record, such as release.intent")
            })?;
        }
        // Rows are found by the id alone, numbered versions by their credential's.
        let column = subject.map(|subject| match subject {
            Subject::Numbered(id, _) => id.to_string(),
            other => other.to_string(),
        });
        let filter = AuditFilter {
            actor: query.actor.clone(),
            subject: column,
            kind: query.kind.clone(),
            since: query.since,
            until: query.until,
        };
        let mut before = read_cursor(cursor)?;
        let wanted = usize::try_from(limit).unwrap_or(0);
        let mut items = Vec::new();
        let mut looked_at = 0;
        let mut tx = self.db.read().await?;
        loop {
            let rows = tx.find_audit_records(&filter, before.clone(), 501).await?;
            let more = rows.len() > 500;
            for (at, row) in rows.into_iter().take(500) {
                looked_at += 1;
                before = Some((at, row.node.clone(), row.epoch, row.seq));
                if subject.is_none_or(|subject| is_about(&row, &subject)) {
                    items.push(entry(&row)?);
                }
                if items.len() == wanted {
                    return Ok(Page {
                        items,
                        next: before.map(write_cursor),
                    });
                }
            }
            if !more {
                return Ok(Page { items, next: None });
            }
            if looked_at >= MOST_LOOKED_AT {
                return Ok(Page {
                    items,
                    next: before.map(write_cursor),
                });
            }
        }
    }

    /// The newest signed head of a node's log.
    ///
    /// # Errors
    /// There is no such node; see [`VaultError`].
    pub async fn audit_checkpoint(
        &self,
        caller: &Caller,
        which: (Option<&str>, Option<i64>),
    ) -> Result<String, VaultError> {
        self.authorise(caller, Permission::ReadAudit).await?;
        Ok(self.log_of(which).await?.checkpoint)
    }

    /// The head of a node's log: of the node that answers, and of its newest beginning, unless it is
    /// said which.
    async fn log_of(
        &self,
        (node, epoch): (Option<&str>, Option<i64>),
    ) -> Result<AuditLogRow, VaultError> {
        let node = node.unwrap_or(&self.node);
        let mut tx = self.db.read().await?;
        let log = match epoch {
            Some(epoch) => tx.audit_log_at(node, epoch).await?,
            None => tx.audit_log(node).await?,
        };
        log.ok_or(VaultError::NotFound)
    }

    /// The lines of an export of a node's log, up to its size now.
    ///
    /// # Errors
    /// There is no such node; see [`VaultError`].
    pub async fn audit_export(
        self: &Arc<Self>,
        caller: &Caller,
        which: (Option<&str>, Option<i64>),
    ) -> Result<impl Stream<Item = Result<Vec<u8>, VaultError>> + Send + use<>, VaultError> {
        self.authorise(caller, Permission::ReadAudit).await?;
        let log = self.log_of(which).await?;
        let vault = Arc::clone(self);
        let origin = Origin {
            deployment: parsed(&vault.deployment)?,
            node: parsed(&log.node)?,
            epoch: u64::try_from(log.epoch).unwrap_or(0),
        };
        Ok(async_stream::try_stream! {
            yield header_line(&origin, Some(&vault.audit_key));
            let AuditLogRow { node, epoch, size, .. } = log;
            let mut from = 0;
            let mut signed = 0;
            while from < size {
                let mut tx = vault.db.read().await?;
                let rows = tx.audit_records(&node, epoch, from, 1000.min(size - from)).await?;
                let until = rows.last().map_or(size, |row| row.seq + 1);
                let notes = tx.checkpoints(&node, epoch, signed, 1000).await?;
                drop(tx);
                let mut notes = notes.into_iter().filter(|note| note.size <= until).peekable();
                let mut piece = Vec::new();
                for row in rows {
                    while let Some(note) = notes.next_if(|note| note.size <= row.seq) {
                        signed = note.size;
                        piece.extend(checkpoint_line(&note.note));
                    }
                    let leaf = row.leaf.as_slice().try_into();
                    let leaf = leaf.map_err(|_| VaultError::Internal("an audit leaf is damaged"))?;
                    let seq = u64::try_from(row.seq).unwrap_or(0);
                    piece.extend(record_line(seq, &leaf, &row.record));
                }
                for note in notes {
                    signed = note.size;
                    piece.extend(checkpoint_line(&note.note));
                }
                from = until;
                yield piece;
            }
            yield end_line(u64::try_from(size).unwrap_or(0));
        })
    }

    /// The public key of the audit logs: for everybody who is known, because every worker keeps
    /// checkpoints and checks them.
    ///
    /// # Errors
    /// See [`VaultError`].
    pub async fn audit_public_key(&self, caller: &Caller) -> Result<String, VaultError> {
        self.spend(caller).await?;
        Ok(self.audit_key.to_string())
    }
}

fn parsed(text: &str) -> Result<crate::model::Slug, VaultError> {
    text.parse()
        .map_err(|_| VaultError::Internal("the name of a log is damaged"))
}

type Place = (Timestamp, String, i64, i64);

fn write_cursor((at, node, epoch, seq): Place) -> String {
    format!("{} {node} {epoch} {seq}", at.micros())
}

fn read_cursor(cursor: &str) -> Result<Option<Place>, VaultError> {
    if cursor.is_empty() {
        return Ok(None);
    }
    let read = || {
        let mut parts = cursor.split(' ');
        let at = Timestamp::from_micros(parts.next()?.parse().ok()?);
        let node = parts.next()?.to_owned();
        let epoch = parts.next()?.parse().ok()?;
        let seq = parts.next()?.parse().ok()?;
        parts.next().is_none().then_some((at, node, epoch, seq))
    };
    let place = read();
    let wrong = || VaultError::invalid("cursor", "is not one that a list gave: start without it");
    place.map(Some).ok_or_else(wrong)
}
