//! When a round kills: all of it follows from the seed and the number of the round.

use crate::support::tour::STEPS;

/// The moment of a kill.
#[derive(Debug)]
pub struct Plan {
    /// The step of the tour that is under way: sent, and not answered.
    pub step: usize,
    /// How long after it was sent, in microseconds.
    pub delay_us: u64,
    /// Or in front of which call that writes.
    pub call: i32,
    /// Whether half of that is written.
    pub tears: bool,
    /// How long after the next start it is killed once more, in milliseconds.
    pub again_ms: Option<u64>,
}

impl Plan {
    /// The plan of a round.
    pub fn new(seed: u64, round: usize) -> Self {
        let mut random = Numbers(seed ^ (round as u64).wrapping_mul(0xd134_2543_de82_ef95));
        // Each step once, in an order of the seed's own, then all of them once more.
        let mut order: Vec<usize> = (0..STEPS.len()).collect();
        let mut shuffle = Numbers(seed);
        for last in (1..order.len()).rev() {
            let other = usize::try_from(shuffle.below(last as u64 + 1)).expect("an index");
            order.swap(last, other);
        }
        Self {
            step: order[round % order.len()],
            delay_us: random.below(6000),
            call: i32::try_from(1 + random.below(40)).expect("a small number"),
            tears: random.below(2) == 0,
            again_ms: (random.below(4) == 0).then(|| 20 + random.below(400)),
        }
    }

    /// The same step, but sooner: the answer had come before.
    pub fn sooner(self) -> Self {
        Self {
            delay_us: self.delay_us / 8,
            call: (self.call / 8).max(1),
            again_ms: None,
            ..self
        }
    }
}

/// `SplitMix64` (Steele, Lea and Flood 2014): the same seed, the same numbers.
pub struct Numbers(pub u64);

impl Numbers {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// One that is less than `end`.
    pub fn below(&mut self, end: u64) -> u64 {
        self.next() % end
    }
}
