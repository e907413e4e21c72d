//! What changed lately, so that a decision is taken again only when something that it rests on has
//! changed since. Otherwise a long import of credentials would keep every worker from its release.

use std::collections::VecDeque;

use crate::vault::memory::EVERYTHING;

/// The changes of the last policy generations.
pub(super) struct Recent {
    /// The newest generation that was looked at.
    latest: i64,
    /// Everything that changed after this generation is in `changes`.
    complete_from: i64,
    changes: VecDeque<(i64, Vec<String>)>,
}

/// How many generations are kept; an older decision is taken again.
const MOST: usize = 512;

impl Recent {
    /// Nothing is known of changes before `generation`.
    pub fn new(generation: i64) -> Self {
        Self {
            latest: generation,
            complete_from: generation,
            changes: VecDeque::new(),
        }
    }

    /// The newest generation that was looked at.
    pub fn latest(&self) -> i64 {
        self.latest
    }

    /// Up to `generation`, these subjects changed; `None` when it is not known which.
    pub fn note(&mut self, generation: i64, subjects: Option<Vec<String>>) {
        self.latest = generation;
        let Some(subjects) = subjects else {
            self.changes.clear();
            self.complete_from = generation;
            return;
        };
        self.changes.push_back((generation, subjects));
        if self.changes.len() > MOST
            && let Some((generation, _)) = self.changes.pop_front()
        {
            self.complete_from = generation;
        }
    }

    /// Whether a decision of the generation `decided_at` still stands: nothing that it rests on, and
    /// nothing that everything rests on, has changed since.
    pub fn stands(&self, decided_at: i64, rests_on: impl Fn(&str) -> bool) -> bool {
        if decided_at == self.latest {
            return true;
        }
        // Too long ago to know, or from before the counter went back.
        if decided_at < self.complete_from || decided_at > self.latest {
            return false;
        }
        let since = self
            .changes
            .iter()
            .filter(|(generation, _)| *generation > decided_at);
        !since
            .flat_map(|(_, subjects)| subjects)
            .any(|subject| subject == EVERYTHING || rests_on(subject))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn subjects(names: &[&str]) -> Option<Vec<String>> {
        Some(names.iter().map(|name| (*name).to_owned()).collect())
    }

    #[test]
    fn only_what_a_decision_rests_on_moves_it() {
        let mut recent = Recent::new(10);
        recent.note(11, subjects(&["a"]));
        recent.note(12, subjects(&["b", "c"]));
        assert!(recent.stands(12, |_| true));
        assert!(recent.stands(10, |subject| subject == "d"));
        assert!(!recent.stands(10, |subject| subject == "a"));
        assert!(recent.stands(11, |subject| subject == "a"));
        assert!(!recent.stands(11, |subject| subject == "c"));
        assert!(!recent.stands(9, |_| false));
    }

    #[test]
    fn a_change_of_everything_and_an_unknown_change_move_every_decision() {
        let mut recent = Recent::new(1);
        recent.note(2, subjects(&[EVERYTHING]));
        assert!(!recent.stands(1, |_| false));
        recent.note(5, None);
        assert!(!recent.stands(2, |_| false));
        assert!(recent.stands(5, |_| true));
    }

    #[test]
    fn what_is_not_remembered_moves() {
        let mut recent = Recent::new(0);
        for generation in 1..=600 {
            recent.note(generation, subjects(&["a"]));
        }
        assert!(!recent.stands(1, |_| false));
        assert!(recent.stands(300, |_| false));
    }
}
