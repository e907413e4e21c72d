//! How many connections of one address have not proven who they are.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::http::limits::network;

/// Gives every address a share of the places, until somebody there has proven who they are. Otherwise
/// one machine that knows nobody could hold all of them and shut the fleet out. Connections that
/// were authenticated once do not count, so a fleet behind one address has all the places that it
/// needs; its share only limits how many can be on their way in at once.
pub(super) struct Newcomers {
    share: usize,
    /// By network; as many entries as there are connections at the most.
    counts: Mutex<HashMap<IpAddr, usize>>,
}

/// The place of a connection that has not proven who it is. Given back when it is dropped.
pub(super) struct Newcomer {
    newcomers: Arc<Newcomers>,
    network: IpAddr,
}

impl Newcomers {
    /// Of so many places a quarter for each address, and some in any case.
    pub(super) fn new(places: usize) -> Arc<Self> {
        Arc::new(Self {
            share: (places / 4).max(16),
            counts: Mutex::default(),
        })
    }

    /// A place for one more connection from this address, if it has not used up its share.
    pub(super) fn admit(self: &Arc<Self>, address: IpAddr) -> Option<Newcomer> {
        let network = network(address);
        let mut counts = self.counts();
        let count = counts.entry(network).or_default();
        if *count >= self.share {
            return None;
        }
        *count += 1;
        Some(Newcomer {
            newcomers: Arc::clone(self),
            network,
        })
    }

    /// A panic while the lock was held cannot have left a half-made entry.
    fn counts(&self) -> MutexGuard<'_, HashMap<IpAddr, usize>> {
        self.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Newcomer {
    fn drop(&mut self) {
        let mut counts = self.newcomers.counts();
        if let Some(count) = counts.get_mut(&self.network) {
            *count -= 1;
            if *count == 0 {
                counts.remove(&self.network);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_has_a_share_and_gets_it_back() {
        let newcomers = Newcomers::new(80);
        let (one, two) = ("192.0.2.1".parse().unwrap(), "192.0.2.2".parse().unwrap());
        let mut places: Vec<_> = (0..20)
            .map(|_| newcomers.admit(one).expect("a place"))
            .collect();
        assert!(newcomers.admit(one).is_none());
        let other = newcomers.admit(two);
        assert!(other.is_some());
        places.pop();
        assert!(newcomers.admit(one).is_some());
        drop((places, other));
        assert!(newcomers.counts().is_empty());
        // An IPv6 network is one address.
        let _places: Vec<_> = (0..20)
            .map(|n| newcomers.admit(format!("2001:db8::{n}").parse().unwrap()))
            .collect();
        assert!(newcomers.admit("2001:db8::ffff".parse().unwrap()).is_none());
    }
}
