use std::collections::HashMap;

use proptest::prelude::*;

use crate::audit::merkle::{Frontier, Hash, consistency_proof, leaf_hash, root_of};
use crate::audit::tiles::{Run, consistency_plan, join};

/// A log as it is stored: its leaves, and the subtrees that were kept while it grew.
struct Stored {
    leaves: Vec<Hash>,
    tiles: HashMap<(u32, u64), Hash>,
}

impl Stored {
    fn new(size: u64) -> Self {
        let leaves: Vec<Hash> = (0..size).map(|n| leaf_hash(&n.to_be_bytes())).collect();
        let mut tiles = HashMap::new();
        let mut frontier = Frontier::new();
        for leaf in &leaves {
            frontier.push_keeping(*leaf, |tile| {
                assert!(tiles.insert((tile.level, tile.index), tile.hash).is_none());
            });
        }
        assert_eq!(frontier.root(), root_of(&leaves));
        Self { leaves, tiles }
    }

    fn read(&self, run: Run) -> impl Iterator<Item = (u32, Hash)> {
        (run.first..run.first + run.count).map(move |index| {
            let hash = match run.level {
                0 => self.leaves[usize::try_from(index).unwrap()],
                level => self.tiles[&(level, index)],
            };
            (run.level, hash)
        })
    }

    fn proof(&self, from: u64, to: u64) -> Vec<Hash> {
        let plan = consistency_plan(from, to);
        let hash = |runs: Vec<Run>| join(runs.into_iter().flat_map(|run| self.read(run)));
        plan.into_iter().map(|runs| hash(runs).unwrap()).collect()
    }

    /// The same from nothing but the leaves.
    fn naive(&self, from: u64, to: u64) -> Vec<Hash> {
        let leaves = &self.leaves[..usize::try_from(to).unwrap()];
        consistency_proof(leaves, usize::try_from(from).unwrap()).unwrap()
    }
}

#[test]
fn the_subtrees_that_are_kept_are_those_of_256_and_65536_leaves() {
    let stored = Stored::new(131_072 + 511);
    let of = |level| stored.tiles.keys().filter(|key| key.0 == level).count();
    assert_eq!((of(1), of(2)), (513, 2));
    assert_eq!(stored.tiles.len(), 515);
    assert_eq!(stored.tiles[&(1, 3)], root_of(&stored.leaves[768..1024]));
    assert_eq!(
        stored.tiles[&(2, 1)],
        root_of(&stored.leaves[65_536..131_072])
    );
    // At the edges of subtrees of each size.
    let edges = [
        1, 2, 255, 256, 257, 511, 512, 65_535, 65_536, 65_537, 131_072, 131_583,
    ];
    for to in edges {
        for from in edges.into_iter().filter(|from| *from <= to) {
            assert_eq!(
                stored.proof(from, to),
                stored.naive(from, to),
                "{from} {to}"
            );
        }
    }
    assert!(stored.proof(0, 1000).is_empty());
    assert!(stored.proof(1000, 1000).is_empty());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn a_proof_from_kept_subtrees_is_the_naive_one(to in 1_u64..5000, from: u64) {
        let stored = Stored::new(to);
        for from in [1 + from % to, 1 + from % 600 % to] {
            prop_assert_eq!(stored.proof(from, to), stored.naive(from, to));
        }
    }

    #[test]
    fn a_proof_about_a_long_log_reads_little_of_it(to in 1_u64..1 << 62, from: u64) {
        let plan = consistency_plan(1 + from % to, to);
        let runs: Vec<Run> = plan.into_iter().flatten().collect();
        for level in 0..8 {
            let read: u64 = runs.iter().filter(|run| run.level == level).map(|run| run.count).sum();
            prop_assert!(read <= 3 * 255, "{read} of level {level}");
        }
        prop_assert!(runs.len() <= 128);
    }
}

#[test]
fn subtrees_in_an_order_that_no_range_has_are_not_joined() {
    let hash = [0; 32];
    assert_eq!(join([]), None);
    assert_eq!(join([(0, hash), (1, hash)]), None);
    assert_eq!(join([(8, hash)]), None);
    assert_eq!(join([(u32::MAX, hash)]), None);
    assert!(join([(1, hash), (0, hash)]).is_some());
}
