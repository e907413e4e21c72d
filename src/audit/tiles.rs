//! Subtrees that are kept, so that a proof about a long log does not read all of it.
//!
//! Of every 256 leaves, of every 65,536 and so on the root is stored when the last of them is
//! appended (C2SP tlog-tiles keeps the same ones). A hash of a proof is the root of some range of
//! leaves; put together from the largest subtrees that fit, it takes at most 255 of each level at
//! either edge, however long the log is.
//!
//! ```text
//! level 2                       ┌───────────── 65,536 ─────────────┐
//! level 1  ┌─256─┐┌─256─┐ … 255 └──────────────────────────────────┘ ┌─256─┐ …
//! level 0                                                                    ▪▪▪▪ … leaves
//! ```

use std::ops::Range;

use super::merkle::{Frontier, Hash};

/// The binary logarithm of how many subtrees of one level make one of the next.
const HEIGHT: u32 = 8;

/// The root of one complete subtree of `256^level` leaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tile {
    /// 1 for 256 leaves, 2 for 65,536, and so on.
    pub level: u32,
    /// How many subtrees of this level stand before it.
    pub index: u64,
    /// Its root.
    pub hash: Hash,
}

/// Neighbouring subtrees of one level.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Run {
    /// 0 for the leaves themselves, else as in [`Tile`].
    pub level: u32,
    /// The index of the first.
    pub first: u64,
    /// How many.
    pub count: u64,
}

impl Frontier {
    /// Appends a leaf and hands over every subtree that is to be kept and is complete by it.
    pub fn push_keeping(&mut self, leaf: Hash, mut keep: impl FnMut(Tile)) {
        let size = self.size() + 1;
        self.push_subtree(0, leaf, |height, hash| {
            if height.is_multiple_of(HEIGHT) {
                keep(Tile {
                    level: height / HEIGHT,
                    index: (size >> height) - 1,
                    hash,
                });
            }
        });
    }
}

/// What to read for the proof that a log of `from` leaves is the beginning of the same log at `to`
/// leaves: for each hash of the proof (RFC 6962 section 2.1.2), in their order, the subtrees that it
/// is made from by [`join`]. Nothing has to be read for equal sizes and for the empty log.
pub fn consistency_plan(from: u64, to: u64) -> Vec<Vec<Run>> {
    let mut ranges = Vec::new();
    if from > 0 && from < to {
        let (mut start, mut end, mut complete) = (0, to, true);
        while from != end {
            let middle = start + (1 << (end - start - 1).ilog2());
            if from <= middle {
                ranges.push(middle..end);
                end = middle;
            } else {
                ranges.push(start..middle);
                start = middle;
                complete = false;
            }
        }
        if !complete {
            ranges.push(start..end);
        }
    }
    ranges.into_iter().rev().map(runs).collect()
}

/// The largest subtrees that a range of leaves consists of. Its start is a multiple of a power of two
/// that is not below its length, as in every range of a proof.
fn runs(range: Range<u64>) -> Vec<Run> {
    let size = |level: u32| 1_u64.checked_shl(HEIGHT * level);
    let mut runs = Vec::new();
    let mut at = range.start;
    while at < range.end {
        let rest = range.end - at;
        let fits =
            |level: &u32| size(*level).is_some_and(|size| size <= rest && at.is_multiple_of(size));
        let level = (1..).take_while(fits).last().unwrap_or(0);
        let size = size(level).unwrap_or(1);
        let count = rest / size;
        runs.push(Run {
            level,
            first: at / size,
            count,
        });
        at += count * size;
    }
    runs
}

/// The root of the range that consists of these subtrees: level and root of each, in their order.
/// `None` if they cannot stand in this order.
pub fn join(subtrees: impl IntoIterator<Item = (u32, Hash)>) -> Option<Hash> {
    let mut range = Frontier::new();
    for (level, root) in subtrees {
        let height = HEIGHT.checked_mul(level)?;
        let size = 1_u64.checked_shl(height)?;
        if !range.size().is_multiple_of(size) {
            return None;
        }
        range.push_subtree(height, root, |_, _| ());
    }
    (range.size() > 0).then(|| range.root())
}
