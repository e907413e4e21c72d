//! The daily check of active credentials: looks every minute for those whose time has come.

use std::sync::Arc;
use std::time::Duration;

use metrics::gauge;
use tokio::sync::watch;

use crate::vault::Vault;

/// How often it is looked. What may be made due in a minute is counted in the database.
const LOOK_EVERY: Duration = Duration::from_secs(60);

/// Makes daily checks due; the verifier takes them.
pub struct DailyCheck {
    /// The deployment.
    pub vault: Arc<Vault>,
}

impl DailyCheck {
    /// Works until it is told to stop.
    pub async fn run(self, mut stopping: watch::Receiver<bool>) {
        loop {
            tokio::select! {
                _ = stopping.wait_for(|stop| *stop) => return,
                () = self.look() => {}
            }
            tokio::select! {
                _ = stopping.wait_for(|stop| *stop) => return,
                () = tokio::time::sleep(LOOK_EVERY) => {}
            }
        }
    }

    async fn look(&self) {
        match self.vault.make_daily_checks().await {
            Ok(checks) => {
                gauge!("strongroom_daily_checks_waiting").set(checks.waiting as f64);
                let now = self.vault.clock().now().secs();
                gauge!("strongroom_daily_checks_timestamp_seconds").set(now as f64);
                if checks.made > 0 {
                    tracing::debug!(made = checks.made, waiting = checks.waiting, "daily checks");
                }
            }
            Err(error) => tracing::warn!(%error, "daily checks have to wait"),
        }
    }
}
