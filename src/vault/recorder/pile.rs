//! The records and receipts of a batch, as they pile up.

use std::collections::BTreeMap;

use super::head::Log;
use super::{Draft, Intent, Item, Recorded};
use crate::audit::record::{ABORTED, SENT};
use crate::audit::tiles::Tile;
use crate::audit::{self, Detail, Kind, Record, SeqRanges, Subject};
use crate::model::{PrincipalId, Timestamp};
use crate::store::{NewAuditRow, Receipt, StoreError, TileRow};

/// The records and receipts of a batch as they pile up.
pub(super) struct Pile {
    pub rows: Vec<NewAuditRow>,
    /// Subtrees of the log's tree that these records complete.
    pub tiles: Vec<Tile>,
    /// One pair of workload and version may be there several times.
    pub receipts: Vec<Receipt>,
    pub log: Log,
    pub at: Timestamp,
    pub intents: u64,
}

impl Pile {
    /// Appends a record and returns its sequence number.
    pub(super) fn push(&mut self, draft: Draft) -> Result<i64, StoreError> {
        let subject = match draft.subjects.as_slice() {
            // An intent for many versions is found by looking into it.
            [_, _, ..] if draft.kind == Kind::ReleaseIntent => None,
            // One row can be found by one subject: changes put the main one first. A numbered
            // version is found by its credential.
            [Subject::Numbered(id, _), ..] => Some(id.to_string()),
            [first, ..] => Some(first.to_string()),
            [] => None,
        };
        let actor = draft.actor.map(|actor| actor.to_string());
        let kind = draft.kind.as_str();
        let record = Record {
            at: self.at,
            kind: draft.kind,
            request: draft.request,
            actor: draft.actor,
            key: draft.key,
            subjects: draft.subjects,
            detail: draft.detail,
        };
        let record = record.to_bytes().map_err(|_| StoreError::Defect)?;
        let leaf = audit::leaf_hash(&record);
        let seq = self.log.row.size;
        let tiles = &mut self.tiles;
        self.log
            .frontier
            .push_keeping(leaf, |tile| tiles.push(tile));
        self.log.row.size += 1;
        self.rows.push(NewAuditRow {
            seq,
            at: self.at,
            kind,
            actor,
            subject,
            leaf,
            record,
        });
        Ok(seq)
    }
}

impl Draft {
    /// A record of a kind with nothing else in it yet.
    pub(in crate::vault) fn of(kind: Kind) -> Self {
        Self {
            kind,
            request: None,
            actor: None,
            key: None,
            subjects: Vec::new(),
            detail: BTreeMap::new(),
        }
    }
}

pub(super) fn record_intent(intent: Intent, pile: &mut Pile) -> Result<Recorded, StoreError> {
    let mut seqs = Vec::new();
    // A request that releases nothing is a record as well.
    let nothing: &[Item] = &[];
    let nothing = intent.items.is_empty().then_some(nothing);
    for items in intent
        .items
        .chunks(audit::MAX_INTENT_VERSIONS)
        .chain(nothing)
    {
        let numbered = |item: &Item| {
            Subject::Numbered(item.credential, u64::try_from(item.number).unwrap_or(0))
        };
        seqs.push(pile.push(Draft {
            request: Some(intent.request),
            actor: Some(PrincipalId::Workload(intent.workload)),
            key: Some(intent.key),
            subjects: items.iter().map(numbered).collect(),
            ..Draft::of(Kind::ReleaseIntent)
        })?);
        pile.intents += 1;
        for item in items {
            pile.receipts.push(Receipt {
                workload: intent.workload,
                version: item.version,
                credential: item.credential,
                number: item.number,
                at: pile.at,
            });
        }
    }
    Ok(Recorded { seqs })
}

pub(super) fn replayed(actor: PrincipalId, intent: &Intent) -> Draft {
    Draft {
        request: Some(intent.request),
        actor: Some(actor),
        key: Some(intent.key),
        ..Draft::of(Kind::AssertionReplayed)
    }
}

pub(super) fn refused_row(table: &'static str, row: &str) -> Draft {
    let detail = BTreeMap::from([("table", Detail::Word(table))]);
    // Whoever forged the row may have chosen its id; only what is one gets into the record.
    let subjects = row.split(' ').filter_map(|id| id.parse().ok()).collect();
    Draft {
        subjects,
        detail,
        ..Draft::of(Kind::RegistryRefused)
    }
}

/// How the intents of earlier batches ended.
pub(super) fn outcome_draft(outcomes: &[(i64, bool)]) -> Option<Draft> {
    if outcomes.is_empty() {
        return None;
    }
    let ranges = |wanted: bool| -> SeqRanges {
        let seqs = outcomes.iter().filter(|(_, sent)| *sent == wanted);
        seqs.map(|(seq, _)| u64::try_from(*seq).unwrap_or(0))
            .collect()
    };
    let mut detail = BTreeMap::new();
    for (name, wanted) in [(SENT, true), (ABORTED, false)] {
        let ranges = ranges(wanted);
        if ranges.count() > 0 {
            detail.insert(name, Detail::Seqs(ranges));
        }
    }
    Some(Draft {
        detail,
        ..Draft::of(Kind::ReleaseOutcome)
    })
}

pub(super) fn tile_row(tile: &Tile) -> TileRow {
    TileRow {
        level: i64::from(tile.level),
        // The size of a log is a number of the database, so this is one as well.
        idx: i64::try_from(tile.index).unwrap_or(i64::MAX),
        hash: tile.hash,
    }
}
