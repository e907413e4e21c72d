//! The watch over the database: whether it answers, what other nodes changed, and what has to be forgotten
//! from time to time.

use std::sync::Weak;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use tokio::sync::watch;

use super::Vault;
use super::enrolment::TOKEN_KEPT_SECS;
use crate::store::StoreError;

/// How often the node looks whether another one changed something: promise 3 allows a second for
/// answers that release nothing.
const WATCH_EVERY: Duration = Duration::from_millis(250);

/// How long an issued certificate is remembered after its end, in seconds: thirty days.
const ISSUED_KEPT: i64 = 30 * 24 * 60 * 60;

impl Vault {
    /// One look at the database: whether it answers, what others changed, whose clock is off.
    pub(super) async fn watch_once(&self) {
        let looked = async {
            let before = self.clock.now();
            let shared = self.db.shared_now().await?;
            let after = self.clock.now();
            self.forget_what_changed().await?;
            Ok::<_, StoreError>(shared.map(|shared| {
                let here = i64::midpoint(before.micros(), after.micros());
                here - shared.micros()
            }))
        };
        let looked = tokio::time::timeout(Duration::from_secs(6), looked).await;
        match looked {
            Ok(Ok(skew)) => {
                if !self.reachable.swap(true, Ordering::AcqRel) {
                    tracing::info!("the database answers again");
                }
                self.skew.store(skew.unwrap_or(0), Ordering::Release);
            }
            _ => {
                if self.reachable.swap(false, Ordering::AcqRel) {
                    tracing::error!("the database does not answer");
                }
            }
        }
        metrics::gauge!("strongroom_database_up")
            .set(f64::from(u8::from(self.reachable.load(Ordering::Acquire))));
    }

    /// Forgets what other nodes have changed.
    async fn forget_what_changed(&self) -> Result<(), StoreError> {
        let asked = Instant::now();
        let mut tx = self.db.read().await?;
        let generation = tx.policy_generation().await?;
        let known = self.memory.generation();
        if generation > known {
            let subjects = tx.policy_changes_since(known).await?;
            self.memory.forget(subjects.as_deref(), generation);
        }
        self.memory.confirm(asked);
        Ok(())
    }

    /// Makes sure that what is remembered was true within the last second. The watch of the database
    /// sees to that as long as the database answers; when it does not, nobody is answered from
    /// memory, or a revocation made on another node would not reach this one.
    pub(super) async fn confirm_memory(&self) -> Result<(), StoreError> {
        if !self.db.is_shared() || self.memory.is_confirmed() {
            return Ok(());
        }
        // One asks for all who wait.
        let _asking = self.confirming.lock().await;
        if self.memory.is_confirmed() {
            return Ok(());
        }
        self.forget_what_changed().await
    }

    /// What has to be forgotten from time to time.
    pub(super) async fn tidy(&self) {
        let now = self.clock.now();
        self.keyring.forget_idle(now);
        if let Err(error) = self.watch_revocation_lists().await {
            tracing::warn!(%error, "the revocation lists could not be looked at");
        }
        self.scrub_if_due().await;
        let tidied = async {
            self.write_authority_uses().await?;
            let now = self.db.shared_now().await?.unwrap_or(now);
            // In transactions of its own size, so that releases get in between, until none is left.
            loop {
                let mut tx = self.db.write().await?;
                let tokens_end = now.plus_secs(-TOKEN_KEPT_SECS);
                let more = [
                    tx.forget_assertions(now).await?,
                    tx.forget_enrolment_tokens(tokens_end).await?,
                    tx.forget_issued(now.plus_secs(-ISSUED_KEPT)).await?,
                ];
                let generation = tx.policy_generation().await?;
                tx.prune_policy_changes(generation - 10_000).await?;
                tx.commit().await?;
                if !more.contains(&true) {
                    return Ok::<_, StoreError>(());
                }
            }
        };
        match tidied.await {
            Ok(()) => {}
            Err(StoreError::Disk) => (self.on_fatal)("a write failed on the disk"),
            Err(error) => {
                tracing::warn!(%error, "what is over could not be forgotten; it is tried again");
            }
        }
    }
}

pub(super) async fn watch_database(vault: Weak<Vault>, mut stop: watch::Receiver<bool>) {
    let mut rounds = 0_u32;
    loop {
        tokio::select! {
            () = tokio::time::sleep(WATCH_EVERY) => {}
            _ = stop.wait_for(|stop| *stop) => return,
        }
        let Some(vault) = vault.upgrade() else { return };
        vault.watch_once().await;
        rounds += 1;
        if rounds.is_multiple_of(240) {
            vault.tidy().await;
        }
    }
}
