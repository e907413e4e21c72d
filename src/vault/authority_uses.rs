//! When each authority's word was last used to let somebody in: what says that an old one may go.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::Vault;
use crate::model::{AuthorityId, Timestamp};
use crate::store::{StoreError, Tx};

/// What this node has seen since it started.
#[derive(Default)]
pub(super) struct AuthorityUses(Mutex<BTreeMap<AuthorityId, Use>>);

struct Use {
    at: Timestamp,
    written: bool,
}

impl AuthorityUses {
    fn all(&self) -> MutexGuard<'_, BTreeMap<AuthorityId, Use>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes a use, to the second.
    pub fn note(&self, authority: AuthorityId, now: Timestamp) {
        let at = Timestamp::from_secs(now.secs());
        let mut all = self.all();
        if all.get(&authority).is_some_and(|last| last.at >= at) {
            return;
        }
        all.insert(authority, Use { at, written: false });
        let label = authority.to_string();
        metrics::gauge!("strongroom_authority_last_used_timestamp_seconds", "authority" => label)
            .set(at.secs() as f64);
    }

    /// The newest use of each authority, here or as another node wrote it down.
    pub async fn newest(
        &self,
        tx: &mut Tx,
    ) -> Result<BTreeMap<AuthorityId, Timestamp>, StoreError> {
        let mut newest: BTreeMap<_, _> = tx.authority_uses().await?.into_iter().collect();
        for (authority, seen) in self.all().iter() {
            let at = newest.entry(*authority).or_insert(seen.at);
            *at = seen.at.max(*at);
        }
        Ok(newest)
    }

    fn unwritten(&self) -> Vec<(AuthorityId, Timestamp)> {
        let all = self.all();
        let unwritten = all.iter().filter(|(_, seen)| !seen.written);
        unwritten.map(|(id, seen)| (*id, seen.at)).collect()
    }

    fn wrote(&self, uses: &[(AuthorityId, Timestamp)]) {
        let mut all = self.all();
        for (id, at) in uses {
            if let Some(seen) = all.get_mut(id).filter(|seen| seen.at == *at) {
                seen.written = true;
            }
        }
    }
}

impl Vault {
    /// Writes down what was seen, once a minute: a use is no reason to write at each request.
    pub(super) async fn write_authority_uses(&self) -> Result<(), StoreError> {
        let uses = self.uses.unwritten();
        if uses.is_empty() {
            return Ok(());
        }
        let mut tx = self.db.write().await?;
        for (authority, at) in &uses {
            tx.note_authority_use(*authority, &self.node, *at).await?;
        }
        tx.commit().await?;
        self.uses.wrote(&uses);
        Ok(())
    }
}
