//! What follows when a verification is over: another attempt, who vouches for the version, its real end,
//! a task.

use std::time::Duration;

use super::correspondence::Pen;
use super::credentials::touch_credential;
use super::error::VaultError;
use super::recorder::Changed;
use super::tasks::{close_task_about, open_task};
use crate::model::{
    ExpirySource, Precision, RunOutcome, RunState, TaskKind, Timestamp, Verification, VersionState,
};
use crate::providers::{Outcome, Verdict};
use crate::store::{Tx, VerificationRow, VersionRow};

/// How often an undecided run is tried before it is given up.
const MOST_TRIES: i64 = 8;

/// What came of a run, for whatever follows from it.
pub(super) struct EndOfRun<'a> {
    pub row: &'a VerificationRow,
    pub verdict: &'a Verdict,
    /// When it ended, and what follows for the contact.
    pub pen: Pen<'a>,
}

/// Writes into the row of a run what it came to, and whether it is tried again.
pub(super) fn judge(row: &mut VerificationRow, outcome: Outcome, now: Timestamp) {
    row.state = RunState::Done;
    row.finished_at = Some(now);
    let (outcome, hint) = match outcome {
        Outcome::Verified => (RunOutcome::Verified, None),
        Outcome::Failed(hint) => (RunOutcome::Failed, Some(hint)),
        Outcome::ByOperator => (RunOutcome::ByOperator, None),
        Outcome::Undecided { hint, retry_after } => {
            if row.tries < MOST_TRIES {
                row.state = RunState::Due;
                row.finished_at = None;
                row.due_at = now.plus_secs(wait_secs(row.tries, retry_after));
            }
            (RunOutcome::Undecided, Some(hint))
        }
    };
    row.outcome = Some(outcome);
    row.hint = hint.map(|hint| hint.as_str().to_owned());
}

/// How long until the next attempt: as long as the provider asks, and longer each time.
fn wait_secs(tries: i64, retry_after: Duration) -> i64 {
    let asked = i64::try_from(retry_after.as_secs()).unwrap_or(3600);
    let backoff = 15_i64 << tries.clamp(0, 8);
    asked.max(backoff).clamp(10, 6 * 3600)
}

/// What follows for a stored version that no submission is about: who vouches for it, its real end, and
/// a task when an active one does not work. Its state does not change: that is for an operator.
pub(super) async fn follow(
    tx: &mut Tx,
    end: &EndOfRun<'_>,
    mut version: VersionRow,
    changed: &mut Changed<()>,
) -> Result<(), VaultError> {
    let credential = version.credential_id;
    match end.row.outcome {
        Some(RunOutcome::Verified) => {
            // That another version works says nothing about the one that is in use.
            if version.state == VersionState::Active {
                let kind = TaskKind::CredentialFailed;
                let closed = close_task_about(tx, kind, credential.into(), end.pen.now);
                changed.records.extend(closed.await?);
            }
            if learn(&mut version, end.verdict) {
                let state = version.state;
                touch_credential(tx, credential, None, |_| ()).await?;
                if !tx.update_version(&mut version, state).await? {
                    return Err(VaultError::Changed);
                }
                changed.subjects.push(credential.to_string());
            }
        }
        Some(RunOutcome::Failed) if version.state == VersionState::Active => {
            let (kind, about) = (TaskKind::CredentialFailed, credential.into());
            let note = end.row.hint.as_deref();
            let opened = open_task(
                tx,
                kind,
                about,
                Some(credential),
                note,
                end.pen.now,
                end.pen.random,
            );
            changed.records.extend(opened.await?);
        }
        _ => {}
    }
    Ok(())
}

/// Takes over what a verification that went well says of a version; `false` when nothing is new.
pub(super) fn learn(version: &mut VersionRow, verdict: &Verdict) -> bool {
    let before = (
        version.verification,
        version.expires_at,
        version.expires_source,
    );
    version.verification = Verification::Provider;
    if let Some(at) = verdict.expires_at {
        version.expires_at = Some(at);
        version.expires_precision = Some(Precision::Second);
        version.expires_source = Some(ExpirySource::Provider);
    }
    before
        != (
            version.verification,
            version.expires_at,
            version.expires_source,
        )
}
