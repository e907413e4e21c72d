//! How many calls of one address may fail.
//!
//! Only failed and unauthenticated calls are counted, and only they are refused: a fleet behind one
//! address, one member of which has a bad key, goes on working. So the order for a caller of this
//! module is: prove the call first; if that fails, count it with [`FailureLimit::failed`], and
//! answer 429 in place of 401 when [`FailureLimit::allowed`] said no.

use std::{
    collections::HashMap,
    hash::{BuildHasher, RandomState},
    net::{IpAddr, Ipv6Addr},
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

const SHARDS: usize = 16;
/// Sixteen shards of this many addresses: 65,536 in all, a few megabytes at the very most.
const ADDRESSES_PER_SHARD: usize = 4096;

/// A limit of failed calls per address (for IPv6 per /64 network, of which anybody has one).
///
/// Each address may fail `burst` times at once and regains one failure per `period` (the generic
/// cell rate algorithm of ITU-T I.371). At most 65,536 addresses are remembered; beyond that the one
/// among a few that has least to lose is forgotten.
pub struct FailureLimit {
    period: Duration,
    burst: u32,
    started: Instant,
    hasher: RandomState,
    shards: [Mutex<Shard>; SHARDS],
}

#[derive(Default)]
struct Shard {
    /// For each address the time, since the start, at which all its failures are forgotten.
    forgotten_at: HashMap<IpAddr, Duration>,
    shrunk_at: Duration,
}

impl Default for FailureLimit {
    /// Sixty failures at once, then one a second.
    fn default() -> Self {
        Self::new(60, Duration::from_secs(1))
    }
}

impl FailureLimit {
    /// A limit of `burst` failures at once and one more per `period`.
    pub fn new(burst: u32, period: Duration) -> Self {
        Self {
            period,
            burst: burst.max(1),
            started: Instant::now(),
            hasher: RandomState::new(),
            shards: Default::default(),
        }
    }

    /// Counts one failed or unauthenticated call of `address`.
    pub fn failed(&self, address: IpAddr) {
        self.failed_at(address, self.started.elapsed());
    }

    /// Whether `address` has failures left. Costs it nothing to ask.
    pub fn allowed(&self, address: IpAddr) -> bool {
        self.allowed_at(address, self.started.elapsed())
    }

    /// How many addresses are remembered.
    pub fn len(&self) -> usize {
        (0..SHARDS)
            .map(|n| lock(&self.shards[n]).forgotten_at.len())
            .sum()
    }

    /// Whether no address is remembered.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn failed_at(&self, address: IpAddr, now: Duration) {
        let key = network(address);
        let mut shard = self.shard(&key);
        shard.shrink(now, self.period * self.burst);
        let full = shard.forgotten_at.len() >= ADDRESSES_PER_SHARD;
        if full && !shard.forgotten_at.contains_key(&key) {
            // A map's order is random enough that nobody can choose who is forgotten.
            let least = shard
                .forgotten_at
                .iter()
                .take(8)
                .min_by_key(|(_, at)| **at)
                .map(|(address, _)| *address);
            if let Some(least) = least {
                shard.forgotten_at.remove(&least);
            }
        }
        let at = shard.forgotten_at.entry(key).or_insert(now);
        // Never further ahead than the burst, so that a flood ends when it ends.
        *at = ((*at).max(now) + self.period).min(now + self.period * self.burst);
    }

    fn allowed_at(&self, address: IpAddr, now: Duration) -> bool {
        let key = network(address);
        let at = self.shard(&key).forgotten_at.get(&key).copied();
        at.is_none_or(|at| at.saturating_sub(now) + self.period <= self.period * self.burst)
    }

    fn shard(&self, key: &IpAddr) -> MutexGuard<'_, Shard> {
        lock(&self.shards[self.hasher.hash_one(key) as usize % SHARDS])
    }
}

impl Shard {
    /// Once in a while drops what is forgotten anyway and gives the memory back.
    fn shrink(&mut self, now: Duration, every: Duration) {
        if now.saturating_sub(self.shrunk_at) >= every {
            self.shrunk_at = now;
            self.forgotten_at.retain(|_, at| *at > now);
            self.forgotten_at.shrink_to_fit();
        }
    }
}

/// A panic while the lock was held cannot have left a half-made entry: both are plain values.
fn lock(shard: &Mutex<Shard>) -> MutexGuard<'_, Shard> {
    shard.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The address that failures and connections count for: of IPv6 the network of one site, /64.
pub(super) fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => {
            let mut octets = [0; 16];
            octets[..8].copy_from_slice(&address.octets()[..8]);
            IpAddr::V6(Ipv6Addr::from(octets))
        }
        v4 => v4,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn secs(secs: u64) -> Duration {
        Duration::from_secs(secs)
    }

    #[test]
    fn an_address_fails_in_a_burst_and_then_slowly() {
        let limit = FailureLimit::new(3, secs(10));
        let address = "192.0.2.1".parse().unwrap();
        let other = "192.0.2.2".parse().unwrap();
        for _ in 0..3 {
            assert!(limit.allowed_at(address, secs(0)));
            limit.failed_at(address, secs(0));
        }
        assert!(!limit.allowed_at(address, secs(0)));
        assert!(!limit.allowed_at(address, secs(9)));
        assert!(limit.allowed_at(address, secs(10)));
        assert!(limit.allowed_at(other, secs(0)));
        // A flood does not reach into the future.
        for _ in 0..1000 {
            limit.failed_at(address, secs(10));
        }
        assert!(!limit.allowed_at(address, secs(19)));
        assert!(limit.allowed_at(address, secs(20)));
    }

    #[test]
    fn ipv6_counts_by_network_and_a_mapped_address_is_its_ipv4() {
        let limit = FailureLimit::new(1, secs(10));
        limit.failed_at("2001:db8::1".parse().unwrap(), secs(0));
        assert!(!limit.allowed_at("2001:db8::ffff:2".parse().unwrap(), secs(0)));
        assert!(limit.allowed_at("2001:db8:0:1::1".parse().unwrap(), secs(0)));
        limit.failed_at("::ffff:192.0.2.1".parse().unwrap(), secs(0));
        assert!(!limit.allowed_at("192.0.2.1".parse().unwrap(), secs(0)));
    }

    #[test]
    fn memory_is_bounded_and_given_back() {
        let limit = FailureLimit::new(2, secs(10));
        for n in 0..100_000_u32 {
            limit.failed_at(IpAddr::V4((0x0a00_0000 + n).into()), secs(1));
        }
        assert!(limit.len() <= SHARDS * ADDRESSES_PER_SHARD);
        for n in 0..1000_u32 {
            limit.failed_at(IpAddr::V4((0x0b00_0000 + n).into()), secs(60));
        }
        assert!(limit.len() <= 1000, "{}", limit.len());
    }
}
