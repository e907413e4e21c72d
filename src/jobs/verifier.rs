//! Works through verifications that are due: takes them, asks the providers, hands back what came.

use std::sync::Arc;
use std::time::Duration;

use metrics::{counter, gauge, histogram};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::clock::{Clock, Sleep};
use crate::model::RunOutcome;
use crate::providers::{Outbound, Outcome, ProbePolicy, Surroundings, verify};
use crate::random::Random;
use crate::vault::{ClaimedRun, Vault};

/// How often it is looked whether something is due that nobody told of: on another node, or because its
/// time has come.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// How many runs are taken in one transaction.
const MOST_AT_ONCE: usize = 64;
/// How often it is measured how much there is to do.
const MEASURE_EVERY: Duration = Duration::from_secs(5);

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
        let mut measured: Option<Instant> = None;
        loop {
            tokio::select! {
                _ = stopping.wait_for(|stop| *stop) => break,
                () = self.vault.work_arrived() => {}
                Some(_) = running.join_next() => {}
                () = tokio::time::sleep(LOOK_EVERY) => {}
            }
            while running.try_join_next().is_some() {}
            if measured.is_none_or(|at| at.elapsed() >= MEASURE_EVERY) {
                self.measure().await;
                measured = Some(Instant::now());
            }
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

    async fn measure(&self) {
        match self.vault.runs_to_do().await {
            Ok(runs) => {
                gauge!("strongroom_verifications_due").set(runs.due as f64);
                gauge!("strongroom_verifications_running").set(runs.running as f64);
                gauge!("strongroom_verification_oldest_due_seconds").set(runs.oldest_secs as f64);
            }
            Err(error) => tracing::debug!(%error, "verifications cannot be counted now"),
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
        let begun = Instant::now();
        let (verdict, ()) = tokio::join!(asking, writing);
        let outcome = verdict.outcome;
        let provider = kind.as_str();
        histogram!("strongroom_verification_duration_seconds", "provider" => provider)
            .record(begun.elapsed());
        counter!("strongroom_verifications_total",
            "provider" => provider, "outcome" => word(&outcome))
        .increment(1);
        match vault.finish_run(run, verdict).await {
            Ok(()) => tracing::debug!(?outcome, "a verification is over"),
            Err(error) => tracing::warn!(%error, "a verification could not be finished"),
        }
    }
}

const fn word(outcome: &Outcome) -> &'static str {
    match outcome {
        Outcome::Verified => RunOutcome::Verified.as_str(),
        Outcome::Failed(_) => RunOutcome::Failed.as_str(),
        Outcome::Undecided { .. } => RunOutcome::Undecided.as_str(),
        Outcome::ByOperator => RunOutcome::ByOperator.as_str(),
    }
}
