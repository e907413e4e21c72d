//! What was done after a backup, from the logs, checkpoints and certificates that survived: in which
//! order they are given, or how often, makes no difference.

use std::collections::BTreeMap;

use crate::audit::{Checkpoint, Kind, ParsedRecord, Subject};
use crate::model::{ClientId, Timestamp};
use crate::store::PendingRevocationRow;

/// Kinds of records that may take something away from somebody.
const REVOKING: &[Kind] = &[
    Kind::KeyRevoked,
    Kind::WorkloadDisabled,
    Kind::WorkloadChanged,
    Kind::OperatorDisabled,
    Kind::OperatorChanged,
    Kind::AuthorityRemoved,
    Kind::AuthorityChanged,
    Kind::AuthorityRolled,
    Kind::RevocationListImported,
    Kind::CredentialRoleRemoved,
    Kind::VersionRetired,
    Kind::VersionRejected,
    Kind::RootRecipientRemoved,
];

/// How far the clocks of two nodes may be apart and one of the two still be ready, twice, in seconds.
/// Of two records that are closer than that in different logs nobody knows which came first.
const CLOCKS_APART: i64 = 10;

/// The place of a record: node, epoch and number.
type Place = (String, i64, i64);

/// What a record is about: the kind that takes it away, and the things concerned.
type Matter<'a> = (Kind, &'a [Subject]);

/// What is known beyond a backup.
#[derive(Default)]
pub struct Since {
    /// Records that take something away or give it back, by their places, so that what two exports
    /// both have counts once.
    records: BTreeMap<Place, Noted>,
    /// Clients that were erased, with their certificates where those survived.
    pub erased: BTreeMap<ClientId, String>,
    /// Checkpoints that are known.
    pub checkpoints: Vec<Checkpoint>,
}

struct Noted {
    at: Timestamp,
    kind: Kind,
    subjects: Vec<Subject>,
    detail: String,
}

impl Noted {
    /// What it is about.
    fn matter(&self) -> Matter<'_> {
        let (kind, named) = match self.kind {
            Kind::WorkloadEnabled => (Kind::WorkloadDisabled, 1),
            Kind::OperatorEnabled => (Kind::OperatorDisabled, 1),
            Kind::CredentialRoleAdded => (Kind::CredentialRoleRemoved, 2),
            Kind::RevocationListsRemoved => (Kind::RevocationListImported, 1),
            // The roles that follow are what it was changed to.
            kind @ (Kind::WorkloadChanged | Kind::OperatorChanged) => (kind, 1),
            kind => (kind, usize::MAX),
        };
        (kind, &self.subjects[..named.min(self.subjects.len())])
    }

    /// Whether it leaves nothing of what was recorded before about the same.
    fn settles(&self) -> bool {
        match self.kind {
            Kind::WorkloadEnabled
            | Kind::OperatorEnabled
            | Kind::CredentialRoleAdded
            | Kind::RevocationListsRemoved
            | Kind::OperatorChanged => true,
            // One without roles changed something else.
            Kind::WorkloadChanged => self.subjects.len() > 1,
            _ => false,
        }
    }
}

/// Whether the record at one place is surely older than the one at another.
fn is_before(old: (&Place, Timestamp), new: (&Place, Timestamp)) -> bool {
    let ((place, at), (later, later_at)) = (old, new);
    match (&place.0, place.1) == (&later.0, later.1) {
        true => place.2 < later.2,
        false => at.plus_secs(CLOCKS_APART) < later_at,
    }
}

impl Since {
    /// Looks at one record of a surviving log.
    pub fn record(&mut self, node: &str, epoch: i64, seq: u64, record: &ParsedRecord) {
        if let (Kind::ClientErased, Some(Subject::Client(id))) =
            (record.kind, record.subjects.first())
        {
            self.erased.entry(*id).or_default();
        }
        let noted = Noted {
            at: record.at,
            kind: record.kind,
            subjects: record.subjects.clone(),
            detail: record.detail_text(),
        };
        if REVOKING.contains(&record.kind) || noted.settles() {
            let seq = i64::try_from(seq).unwrap_or(i64::MAX);
            self.records.insert((node.to_owned(), epoch, seq), noted);
        }
    }

    /// The revocations that still stand, in the order in which they were made.
    pub fn revocations(&self) -> Vec<PendingRevocationRow> {
        let mut settling: BTreeMap<Matter<'_>, Vec<(&Place, Timestamp)>> = BTreeMap::new();
        for (place, noted) in self.records.iter().filter(|(_, noted)| noted.settles()) {
            let of = settling.entry(noted.matter()).or_default();
            of.push((place, noted.at));
        }
        let stands = |place: &Place, noted: &Noted| {
            let later = settling.get(&noted.matter());
            !later.is_some_and(|later| {
                let mut later = later.iter();
                later.any(|later| is_before((place, noted.at), *later))
            })
        };
        let revoking = self
            .records
            .iter()
            .filter(|(place, noted)| REVOKING.contains(&noted.kind) && stands(place, noted));
        let mut rows: Vec<PendingRevocationRow> = revoking
            .map(|((node, epoch, seq), noted)| {
                let subjects: Vec<String> = noted.subjects.iter().map(Subject::to_string).collect();
                PendingRevocationRow {
                    node: node.clone(),
                    epoch: *epoch,
                    seq: *seq,
                    at: noted.at,
                    kind: noted.kind.as_str().to_owned(),
                    subjects: subjects.join(" "),
                    detail: noted.detail.clone(),
                    settled_at: None,
                    outcome: None,
                    mac: Vec::new(),
                }
            })
            .collect();
        rows.sort_by(|a, b| {
            let place = |row: &PendingRevocationRow| (row.node.clone(), row.epoch, row.seq);
            (a.at, place(a)).cmp(&(b.at, place(b)))
        });
        rows
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{CredentialId, OperatorId, RoleId, WorkloadId};

    fn record(at: i64, kind: Kind, subjects: &[Subject]) -> ParsedRecord {
        ParsedRecord {
            at: Timestamp::from_secs(at),
            kind,
            request: None,
            actor: None,
            key: None,
            subjects: subjects.to_vec(),
            detail: BTreeMap::new(),
        }
    }

    fn workload(byte: u8) -> Subject {
        WorkloadId::from_bytes([byte; 16]).into()
    }

    /// Kinds and seconds of what stands after these records, whatever the order in which they are
    /// read.
    fn standing(records: &[(&str, u64, ParsedRecord)]) -> Vec<(String, i64)> {
        let read = |order: &mut dyn Iterator<Item = &(&str, u64, ParsedRecord)>| {
            let mut since = Since::default();
            for (node, seq, record) in order {
                since.record(node, 0, *seq, record);
            }
            let rows = since.revocations().into_iter();
            rows.map(|row| (row.kind, row.at.secs()))
                .collect::<Vec<_>>()
        };
        let forth = read(&mut records.iter());
        assert_eq!(forth, read(&mut records.iter().rev()));
        assert_eq!(forth, read(&mut records.iter().chain(records)));
        forth
    }

    #[test]
    fn an_older_enabling_never_cancels_a_later_revocation() {
        let disabled = |at| record(at, Kind::WorkloadDisabled, &[workload(1)]);
        let enabled = |at| record(at, Kind::WorkloadEnabled, &[workload(1)]);
        let left = standing(&[
            ("a", 1, disabled(100)),
            ("b", 1, enabled(200)),
            ("a", 2, disabled(300)),
        ]);
        assert_eq!(left, [("workload.disabled".to_owned(), 300)]);
        let left = standing(&[("a", 1, disabled(100)), ("b", 1, enabled(200))]);
        assert!(left.is_empty());
        // Another's says nothing of this one.
        let other = record(200, Kind::WorkloadEnabled, &[workload(2)]);
        assert_eq!(
            standing(&[("a", 1, disabled(100)), ("b", 1, other)]).len(),
            1
        );
    }

    #[test]
    fn within_a_log_its_order_counts_and_between_logs_clocks_may_be_apart() {
        let disabled = |at| record(at, Kind::WorkloadDisabled, &[workload(1)]);
        let enabled = |at| record(at, Kind::WorkloadEnabled, &[workload(1)]);
        assert!(standing(&[("a", 1, disabled(100)), ("a", 2, enabled(100))]).is_empty());
        assert_eq!(
            standing(&[("a", 2, disabled(100)), ("a", 1, enabled(100))]).len(),
            1
        );
        // Who knows which came first: somebody has to look.
        assert_eq!(
            standing(&[("a", 1, disabled(100)), ("b", 2, enabled(105))]).len(),
            1
        );
    }

    #[test]
    fn what_was_given_back_or_changed_again_is_not_listed() {
        let role = RoleId::from_bytes([1; 16]).into();
        let credential = CredentialId::from_bytes([2; 16]).into();
        let operator: Subject = OperatorId::from_bytes([3; 16]).into();
        let left = standing(&[
            (
                "a",
                1,
                record(100, Kind::CredentialRoleRemoved, &[credential, role]),
            ),
            (
                "a",
                2,
                record(101, Kind::CredentialRoleAdded, &[credential, role]),
            ),
            ("a", 3, record(102, Kind::OperatorChanged, &[operator])),
            ("a", 4, record(103, Kind::OperatorChanged, &[operator])),
            (
                "a",
                5,
                record(104, Kind::WorkloadChanged, &[workload(1), role]),
            ),
            // A new name, say: the roles before it stand.
            ("a", 6, record(105, Kind::WorkloadChanged, &[workload(1)])),
        ]);
        let left: Vec<i64> = left.into_iter().map(|(_, at)| at).collect();
        assert_eq!(left, [103, 104, 105]);
    }

    #[test]
    fn every_kind_that_takes_something_away_is_listed() {
        for (seq, kind) in REVOKING.iter().enumerate() {
            let left = standing(&[("a", seq as u64, record(100, *kind, &[workload(1)]))]);
            assert_eq!(left, [(kind.as_str().to_owned(), 100)]);
        }
    }
}
