//! How many refusals of one principal are recorded one by one.

use std::collections::HashMap;

use super::Draft;
use crate::audit::Kind;
use crate::model::{PrincipalId, Timestamp};

/// So many refusals of one principal are recorded at once.
pub(super) const BURST: i64 = 120;
/// After that, one in this time; the others of a minute are one record with their number. Otherwise
/// anybody with a key, or with one assertion that was used, could fill the disk.
const PERIOD_MICROS: i64 = 1_000_000;

/// Who was refused how often lately. As many entries as there are principals at the most.
#[derive(Default)]
pub(super) struct Denials {
    /// The moment from which on nothing of a principal counts any more.
    forgotten_at: HashMap<PrincipalId, Timestamp>,
}

impl Denials {
    /// Whether `draft` is to be counted instead of recorded, and then under what.
    pub(super) fn is_too_many(
        &mut self,
        draft: &Draft,
        now: Timestamp,
    ) -> Option<(PrincipalId, Kind)> {
        let bounded = matches!(
            draft.kind,
            Kind::ReleaseDenied | Kind::AccessDenied | Kind::AssertionReplayed
        );
        let actor = draft.actor.filter(|_| bounded)?;
        let at = self.forgotten_at.entry(actor).or_insert(now);
        let since = (*at).max(now).micros();
        if since - now.micros() >= BURST * PERIOD_MICROS {
            return Some((actor, draft.kind));
        }
        *at = Timestamp::from_micros(since + PERIOD_MICROS);
        None
    }

    /// Drops what does not count any more.
    pub(super) fn shrink(&mut self, now: Timestamp) {
        self.forgotten_at.retain(|_, at| *at > now);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::WorkloadId;

    fn draft(kind: Kind, workload: u8) -> Draft {
        Draft {
            actor: Some(PrincipalId::Workload(WorkloadId::from_bytes(
                [workload; 16],
            ))),
            ..Draft::of(kind)
        }
    }

    #[test]
    fn a_flood_of_one_principal_is_counted_and_ends_when_it_ends() {
        let mut denials = Denials::default();
        let now = Timestamp::from_secs(1000);
        let denied = draft(Kind::ReleaseDenied, 1);
        for _ in 0..BURST {
            assert_eq!(denials.is_too_many(&denied, now), None);
        }
        let counted = denials.is_too_many(&denied, now);
        assert_eq!(
            counted,
            denied.actor.map(|actor| (actor, Kind::ReleaseDenied))
        );
        // Other principals and other records are not held up.
        let other = draft(Kind::ReleaseDenied, 2);
        assert_eq!(denials.is_too_many(&other, now), None);
        let change = draft(Kind::VersionInUse, 1);
        assert_eq!(denials.is_too_many(&change, now), None);
        // Replays are of the same flood.
        let replayed = draft(Kind::AssertionReplayed, 1);
        assert!(denials.is_too_many(&replayed, now).is_some());
        // One more each second, however much came before.
        for _ in 0..1000 {
            denials.is_too_many(&denied, now);
        }
        let later = now.plus_secs(1);
        assert_eq!(denials.is_too_many(&denied, later), None);
        assert!(denials.is_too_many(&denied, later).is_some());
        denials.shrink(now.plus_secs(BURST + 1));
        assert!(denials.forgotten_at.is_empty());
    }
}
