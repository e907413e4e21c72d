//! Works through verifications that are due: takes them, asks the providers, hands back what came.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;

use crate::clock::{Clock, Sleep};
use crate::providers::{Outbound, ProbePolicy, Surroundings, verify};
use crate::random::Random;
use crate::vault::{ClaimedRun, Vault};

/// How often it is looked whether something is due that nobody told of: on another node, or because its
/// time has come.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// How many runs are taken in one transaction.
const MOST_AT_ONCE: usize = 64;

/// What verifications are done with.
#[derive(Clone)]
pub struct Verifier {
    /// The deployment.
    pub vault: Arc<Vault>,
    /// Who calls the providers; its own bounds spare them.
    pub outbound: Arc<Outbound>,
    /// What the operator allows and asks for.
    pub policy: ProbePolicy,
    /// For how many seconds after something is new a refusal may be for that reason alone.
    pub settle_secs: i64,
    /// How many verifications may be under way at once.
    pub at_once: usize,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// Waiting.
    pub sleep: Arc<dyn Sleep>,
    /// Randomness.
    pub random: Arc<dyn Random>,
}

impl Verifier {
    /// Works until it is told to stop; what is under way then is given back.
    pub async fn run(self, mut stopping: watch::Receiver<bool>) {
        // Of a process of this node that was killed.
        if let Err(error) = self.vault.give_back_runs().await {
            tracing::warn!(%error, "verifications that were under way wait for their claims to end");
        }
        let mut running = JoinSet::new();
        loop {
            tokio::select! {
                _ = stopping.wait_for(|stop| *stop) => break,
                () = self.vault.work_arrived() => {}
                Some(_) = running.join_next() => {}
                () = tokio::time::sleep(LOOK_EVERY) => {}
            }
            while running.try_join_next().is_some() {}
            let free = self.at_once.saturating_sub(running.len()).min(MOST_AT_ONCE);
            if free == 0 {
                continue;
            }
            match self
                .vault
                .claim_runs(i64::try_from(free).unwrap_or(1))
                .await
            {
                Ok(runs) => {
                    for run in runs {
                        running.spawn(self.clone().one(run));
                    }
                }
                Err(error) => tracing::debug!(%error, "no verification can be taken now"),
            }
        }
        running.shutdown().await;
        if let Err(error) = self.vault.give_back_runs().await {
            tracing::warn!(%error, "verifications under way could not be given back");
        }
    }

    async fn one(self, run: ClaimedRun) {
        let mut run = run;
        let mut policy = self.policy.clone();
        policy.declared_expiry = run.declared_expiry;
        policy.settles_at = run.new_since.map(|at| at.plus_secs(self.settle_secs));
        let kind = run.kind;
        // The value goes out of the run, so that its stages can be written meanwhile.
        let Some(fields) = run.take_fields() else {
            return;
        };
        let (told, mut stages) = mpsc::unbounded_channel();
        let mut report = move |stage| {
            let _ = told.send(stage);
        };
        let around = Surroundings {
            outbound: &self.outbound,
            clock: self.clock.as_ref(),
            sleep: self.sleep.as_ref(),
            random: self.random.as_ref(),
        };
        let asking = async {
            let verdict = verify(kind, &fields, &policy, around, &mut report).await;
            drop(report);
            verdict
        };
        let vault = &self.vault;
        let writing = async {
            while let Some(stage) = stages.recv().await {
                match vault.record_stage(&mut run, &stage).await {
                    Ok(true) => {}
                    Ok(false) => break,
                    Err(error) => tracing::warn!(%error, "a stage could not be recorded"),
                }
            }
        };
        let (verdict, ()) = tokio::join!(asking, writing);
        let outcome = verdict.outcome;
        match vault.finish_run(run, verdict).await {
            Ok(()) => tracing::debug!(?outcome, "a verification is over"),
            Err(error) => tracing::warn!(%error, "a verification could not be finished"),
        }
    }
}
