//! Taking what was destroyed out of the database's files as well.

use std::sync::atomic::Ordering;

use super::Vault;
use super::error::VaultError;

/// How often the files are scrubbed in the background after something was destroyed: a caller may
/// have hung up before its change was committed, and one minute later it is.
pub(super) const SCRUBS: u8 = 2;

impl Vault {
    /// Carries out a change that destroys something, and scrubs the database's files. If a reader
    /// stands in the way of that, or the caller hangs up, it is done within a minute or two.
    ///
    /// # Errors
    /// Those of the change.
    pub(super) async fn destroying<T>(
        &self,
        change: impl Future<Output = Result<T, VaultError>>,
    ) -> Result<T, VaultError> {
        self.scrubs_due.store(SCRUBS, Ordering::Release);
        let done = change.await?;
        let db = self.db.clone();
        // In a task of its own: it changes a setting of the one connection that writes, and must come
        // to its end.
        let _ = tokio::spawn(async move { db.scrub().await }).await;
        Ok(done)
    }

    /// Scrubs the files if something was destroyed since the last time.
    pub(super) async fn scrub_if_due(&self) {
        let due = self.scrubs_due.load(Ordering::Acquire);
        if due > 0 && self.db.scrub().await {
            // Unless more was destroyed meanwhile.
            let _ =
                self.scrubs_due
                    .compare_exchange(due, due - 1, Ordering::AcqRel, Ordering::Acquire);
        }
    }
}
