//! Verification of stored values at their provider: asking for a run, taking it, telling its stages,
//! and what follows from its end.
//!
//! ```text
//! run is due -> claimed, with its audit record durable -> value opened -> the provider is asked
//!   -> each stage recorded -> what follows, in one transaction that checks the claim
//! ```
//!
//! The rows of runs decide nothing: what follows is found out from the tagged rows of the version.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::Vault;
use super::caller::Caller;
use super::credentials::touch_credential;
use super::error::VaultError;
use super::recorder::{Changed, Draft};
use super::release::SealedParts;
use super::tasks::{close_task_about, open_task};
use super::versions::numbered;
use crate::audit::{Detail, Kind, Subject};
use crate::model::{
    CredentialId, CredentialKind, ExpirySource, Permission, Precision, RunCause, RunOutcome,
    RunState, SubmissionId, TaskKind, Timestamp, Verification, VerificationId, VersionId,
    VersionState,
};
use crate::providers::{
    Fields, Hint, Outcome, Stage, StageOutcome, StageReport, Step, Surface, Verdict, words,
};
use crate::random::Random;
use crate::store::{ClaimOfRun, CredentialRow, Tx, VerificationRow, VersionRow};

/// How long a claim is good, in seconds: longer than a verification may take. A node that starts again
/// takes up its own at once.
const CLAIM_SECS: i64 = 120;
/// How often an undecided run is tried before it is given up.
const MOST_TRIES: i64 = 8;

/// One stage of a run, as it is stored and shown.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[schema(as = VerificationStage)]
pub struct StageView {
    /// Which stage.
    pub stage: Stage,
    /// Through which of the provider's interfaces, where there are two.
    pub surface: Option<Surface>,
    /// What came of it.
    pub outcome: StageOutcome,
    /// When its first call began.
    pub started_at: Timestamp,
    /// How long it took, waiting between attempts included, in milliseconds.
    pub millis: u64,
    /// How many calls it took.
    pub attempts: u32,
    /// Why, as a stable word.
    pub hint: Option<Hint>,
    /// Why and what to do, in words.
    #[serde(default)]
    pub says: Option<String>,
    /// What the provider called the error.
    pub code: Option<String>,
    /// Ids by which the provider's support finds the last call.
    pub correlation: Vec<String>,
}

impl From<&StageReport> for StageView {
    fn from(report: &StageReport) -> Self {
        let ids = &report.correlation;
        let ids = [&ids.trace_id, &ids.correlation_id, &ids.request_id];
        Self {
            stage: report.stage,
            surface: report.surface,
            outcome: report.outcome,
            started_at: report.started_at,
            millis: report.millis,
            attempts: report.attempts,
            hint: report.hint,
            says: report.hint.map(|hint| words::hint(hint).to_owned()),
            code: report.code.as_ref().map(ToString::to_string),
            correlation: ids
                .into_iter()
                .flatten()
                .map(|id| id.as_str().to_owned())
                .collect(),
        }
    }
}

/// A run of a verification.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[schema(as = Verification)]
pub struct VerificationView {
    /// Its id.
    pub id: VerificationId,
    /// The credential.
    pub credential: CredentialId,
    /// The number of the version.
    pub version: i64,
    /// The submission that it is about, if it is about one.
    pub submission: Option<SubmissionId>,
    /// Why it runs.
    pub cause: RunCause,
    /// Where it stands.
    pub state: RunState,
    /// When it is tried next, or was.
    pub due_at: Timestamp,
    /// How often it was tried.
    pub tries: i64,
    /// When it was last begun.
    pub started_at: Option<Timestamp>,
    /// When it was over.
    pub finished_at: Option<Timestamp>,
    /// What it came to; of the last attempt while it is not over.
    pub outcome: Option<RunOutcome>,
    /// Why, as a stable word.
    pub hint: Option<Hint>,
    /// Why and what to do, in words.
    pub says: Option<String>,
    /// The step of the set-up guide to do again.
    pub step: Option<Step>,
    /// The stages of the last attempt, as they come.
    pub stages: Vec<StageView>,
    /// When it was asked for.
    pub created_at: Timestamp,
}

impl From<VerificationRow> for VerificationView {
    fn from(row: VerificationRow) -> Self {
        let hint: Option<Hint> = row.hint.as_deref().and_then(|hint| hint.parse().ok());
        Self {
            id: row.id,
            credential: row.credential_id,
            version: row.version_number,
            submission: row.submission_id,
            cause: row.cause,
            state: row.state,
            due_at: row.due_at,
            tries: row.tries,
            started_at: row.started_at,
            finished_at: row.finished_at,
            outcome: row.outcome,
            hint,
            says: hint.map(|hint| words::hint(hint).to_owned()),
            step: hint.map(Hint::step),
            stages: serde_json::from_str(&row.stages).unwrap_or_default(),
            created_at: row.created_at,
        }
    }
}

/// A run that this node has taken, with the opened value.
pub struct ClaimedRun {
    row: VerificationRow,
    claim: String,
    stages: Vec<StageView>,
    /// What is verified.
    pub kind: CredentialKind,
    fields: Option<Fields>,
    /// From when on nothing is new any more: the value was taken in, or the run asked for, then.
    pub new_since: Option<Timestamp>,
    /// When it ends, as it was declared.
    pub declared_expiry: Option<Timestamp>,
}

impl ClaimedRun {
    /// The value, once.
    pub const fn take_fields(&mut self) -> Option<Fields> {
        self.fields.take()
    }
}

/// What a run is to be about.
pub(super) struct NewRun<'a> {
    pub version: &'a VersionRow,
    pub submission: Option<SubmissionId>,
    pub cause: RunCause,
}

/// Adds a run that is due now, or makes the one that waits due now.
pub(super) async fn due_run(
    tx: &mut Tx,
    new: NewRun<'_>,
    now: Timestamp,
    random: &dyn Random,
) -> Result<VerificationRow, VaultError> {
    let newest = tx.newest_verification_of(new.version.id).await?;
    match newest {
        Some(row) if row.state == RunState::Running => return Ok(row),
        Some(row) if row.state == RunState::Due => {
            tx.hasten_verification(row.id, now).await?;
            let row = tx.verification(row.id).await?;
            return row.ok_or(VaultError::Internal("a run vanished"));
        }
        _ => {}
    }
    let row = VerificationRow {
        id: VerificationId::generate(now, random)?,
        credential_id: new.version.credential_id,
        version_id: new.version.id,
        version_number: new.version.number,
        submission_id: new.submission,
        cause: new.cause,
        state: RunState::Due,
        due_at: now,
        tries: 0,
        claim: None,
        claimed_by: None,
        claim_until: None,
        started_at: None,
        finished_at: None,
        outcome: None,
        hint: None,
        stages: "[]".to_owned(),
        created_at: now,
    };
    tx.insert_verification(&row).await?;
    Ok(row)
}

/// Whether a provider can be asked about this kind at all.
pub(super) const fn can_be_asked(kind: CredentialKind) -> bool {
    !matches!(kind, CredentialKind::Generic)
}

const fn has_value(state: VersionState) -> bool {
    matches!(
        state,
        VersionState::Pending | VersionState::Active | VersionState::Previous
    )
}

impl Vault {
    /// Has a stored version verified at its provider, as soon as possible.
    ///
    /// # Errors
    /// It is not there, has no value any more, or is of a kind that nobody can be asked about; see
    /// [`VaultError`].
    pub async fn verify_version(
        &self,
        caller: &Caller,
        id: CredentialId,
        number: i64,
    ) -> Result<VerificationView, VaultError> {
        let now = self.clock.now();
        let random = self.random.clone();
        let view = self
            .change(caller, Permission::WriteCredentials, move |tx| {
                Box::pin(async move {
                    let credential = tx.credential(id).await?.ok_or(VaultError::NotFound)?;
                    let version = tx.version(id, number).await?.ok_or(VaultError::NotFound)?;
                    if !has_value(version.state) {
                        return Err(VaultError::Conflict(
                            "this version is at its end: its value is destroyed",
                        ));
                    }
                    if !can_be_asked(credential.kind) {
                        return Err(VaultError::Conflict(
                            "no provider can be asked about this kind: activate the version by \
                             hand, with a reason",
                        ));
                    }
                    let submission = tx.open_submission_of(version.id).await?;
                    let new = NewRun {
                        version: &version,
                        submission: submission.map(|row| row.id),
                        cause: RunCause::Operator,
                    };
                    let row = due_run(tx, new, now, random.as_ref()).await?;
                    Ok(Changed {
                        value: VerificationView::from(row),
                        records: Vec::new(),
                        subjects: Vec::new(),
                    })
                })
            })
            .await?;
        self.work.notify_one();
        Ok(view)
    }

    /// The newest runs of a credential, newest first.
    ///
    /// # Errors
    /// It is not there; see [`VaultError`].
    pub async fn verifications(
        &self,
        caller: &Caller,
        id: CredentialId,
    ) -> Result<Vec<VerificationView>, VaultError> {
        self.authorise(caller, Permission::ReadMetadata).await?;
        let mut tx = self.db.read().await?;
        tx.credential(id).await?.ok_or(VaultError::NotFound)?;
        let rows = tx.verifications_of(id).await?;
        Ok(rows.into_iter().map(VerificationView::from).collect())
    }

    /// One run.
    ///
    /// # Errors
    /// It is not there; see [`VaultError`].
    pub async fn verification(
        &self,
        caller: &Caller,
        id: VerificationId,
    ) -> Result<VerificationView, VaultError> {
        self.authorise(caller, Permission::ReadMetadata).await?;
        let row = self.db.read().await?.verification(id).await?;
        row.map(VerificationView::from).ok_or(VaultError::NotFound)
    }

    /// Ends when there may be something to verify; not before the last such end was noticed.
    pub async fn work_arrived(&self) {
        self.work.notified().await;
    }

    /// Gives back the runs that an earlier process of this node had taken, or this one at its end.
    ///
    /// # Errors
    /// The database is not available.
    pub async fn give_back_runs(&self) -> Result<u64, VaultError> {
        let mut tx = self.db.write().await?;
        let given = tx.release_claims_of(&self.node).await?;
        tx.commit().await?;
        Ok(given)
    }

    /// Takes at most `most` runs that are due, and opens their values. None while the deployment is
    /// frozen.
    ///
    /// # Errors
    /// The database is not available, or it cannot be recorded: then nothing is opened.
    pub async fn claim_runs(&self, most: i64) -> Result<Vec<ClaimedRun>, VaultError> {
        let now = self.clock.now();
        let mut tx = self.db.read().await?;
        let due = tx.claimable_verifications(now, most).await?;
        drop(tx);
        if due.is_empty() || self.state().await?.row.frozen_since.is_some() {
            return Ok(Vec::new());
        }
        let mut bytes = [0; 16];
        self.random.fill(&mut bytes)?;
        let (claim, node) = (hex::encode(bytes), self.node.clone());
        let by = claim.clone();
        let taken: Vec<VerificationRow> = self
            .change_by_itself(move |tx| {
                Box::pin(async move {
                    let (mut taken, mut records) = (Vec::new(), Vec::new());
                    for row in due {
                        let claim = ClaimOfRun {
                            claim: &by,
                            node: &node,
                            now,
                            until: now.plus_secs(CLAIM_SECS),
                        };
                        if !tx.claim_verification(row.id, claim).await? {
                            continue;
                        }
                        let draft = Draft::of(Kind::VerificationStarted);
                        let draft = draft.about(subjects(&row));
                        records.push(draft.with("cause", Detail::Word(row.cause.as_str())));
                        taken.push(VerificationRow {
                            tries: row.tries + 1,
                            ..row
                        });
                    }
                    Ok(Changed {
                        value: taken,
                        records,
                        subjects: Vec::new(),
                    })
                })
            })
            .await?;
        let mut runs = Vec::with_capacity(taken.len());
        for row in taken {
            match Box::pin(self.open_run(&row)).await {
                Ok(Some((kind, fields, version))) => runs.push(ClaimedRun {
                    new_since: match row.cause {
                        RunCause::Submission => Some(row.created_at),
                        RunCause::Operator => Some(version.created_at),
                        RunCause::Daily => None,
                    },
                    declared_expiry: version
                        .expires_at
                        .filter(|_| version.expires_source == Some(ExpirySource::Declared)),
                    row,
                    claim: claim.clone(),
                    stages: Vec::new(),
                    kind,
                    fields: Some(fields),
                }),
                Ok(None) | Err(VaultError::Internal(_)) => self.abandon(row, &claim).await?,
                // It is taken up again when the claim is over.
                Err(error) => tracing::warn!(%error, run = %row.id, "a run has to wait"),
            }
        }
        Ok(runs)
    }

    /// The value of a run, if its version still has one.
    async fn open_run(
        &self,
        row: &VerificationRow,
    ) -> Result<Option<(CredentialKind, Fields, VersionRow)>, VaultError> {
        let mut tx = self.db.read().await?;
        let credential = tx.credential(row.credential_id).await?;
        let version = tx.version(row.credential_id, row.version_number).await?;
        let (Some(credential), Some(version)) = (credential, version) else {
            return Ok(None);
        };
        drop(tx);
        if version.id != row.version_id || !has_value(version.state) {
            return Ok(None);
        }
        let fields = self.open_stored(&credential, &version).await?;
        Ok(fields.map(|fields| (credential.kind, fields, version)))
    }

    /// The fields of a stored version; `None` once its value is destroyed.
    pub(super) async fn open_stored(
        &self,
        credential: &CredentialRow,
        version: &VersionRow,
    ) -> Result<Option<Fields>, VaultError> {
        let mut tx = self.db.read().await?;
        let payload = tx.payload(version.id).await?;
        let wraps = tx.wraps(version.id).await?;
        drop(tx);
        let (Some(payload), Some(wrap)) = (payload, wraps.first()) else {
            return Ok(None);
        };
        let parts = SealedParts {
            credential,
            version,
            payload: &payload,
            wrap: Some((wrap.kek_id, &wrap.wrapped)),
            role: wrap.role_id,
        };
        let value = self.open_value(&parts).await?;
        let fields = serde_json::from_slice(value.expose_secret())
            .map_err(|_| VaultError::Internal("a value is not what is sealed here"))?;
        Ok(Some(fields))
    }

    async fn abandon(&self, mut row: VerificationRow, claim: &str) -> Result<(), VaultError> {
        let now = self.clock.now();
        row.state = RunState::Done;
        row.outcome = Some(RunOutcome::Abandoned);
        row.finished_at = Some(now);
        let claim = claim.to_owned();
        self.change_by_itself(move |tx| {
            Box::pin(async move {
                let mut records = Vec::new();
                if tx.end_attempt(&row, &claim).await? {
                    records.push(finished(&row));
                }
                Ok(Changed {
                    value: (),
                    records,
                    subjects: Vec::new(),
                })
            })
        })
        .await
    }

    /// Records what came of a stage; `false` when somebody else has taken the run over.
    ///
    /// # Errors
    /// It cannot be recorded.
    pub async fn record_stage(
        &self,
        run: &mut ClaimedRun,
        report: &StageReport,
    ) -> Result<bool, VaultError> {
        run.stages.push(report.into());
        let stages = serde_json::to_string(&run.stages)
            .map_err(|_| VaultError::Internal("a stage cannot be written"))?;
        let mut draft = Draft::of(Kind::VerificationStage)
            .about(subjects(&run.row))
            .with("stage", Detail::Word(report.stage.as_str()))
            .with("outcome", Detail::Word(report.outcome.as_str()));
        if let Some(surface) = report.surface {
            draft = draft.with("surface", Detail::Word(surface.as_str()));
        }
        if let Some(hint) = report.hint {
            draft = draft.with("hint", Detail::Word(hint.as_str()));
        }
        let (id, claim) = (run.row.id, run.claim.clone());
        self.change_by_itself(move |tx| {
            Box::pin(async move {
                let ours = tx.write_stages(id, &claim, &stages).await?;
                Ok(Changed {
                    value: ours,
                    records: if ours { vec![draft] } else { Vec::new() },
                    subjects: Vec::new(),
                })
            })
        })
        .await
    }

    /// Ends a run, or this attempt of it, with everything that follows. Nothing follows when somebody
    /// else has taken it over, or the version changed its place meanwhile.
    ///
    /// # Errors
    /// It cannot be recorded.
    pub async fn finish_run(&self, run: ClaimedRun, verdict: Verdict) -> Result<(), VaultError> {
        let now = self.clock.now();
        let random = self.random.clone();
        let ClaimedRun { mut row, claim, .. } = run;
        judge(&mut row, verdict.outcome, now);
        let change = self.change_by_itself(move |tx| {
            Box::pin(async move {
                let mut changed = Changed {
                    value: (),
                    records: Vec::new(),
                    subjects: Vec::new(),
                };
                if !tx.end_attempt(&row, &claim).await? {
                    return Ok(changed);
                }
                changed.records.push(finished(&row));
                let version = tx.version(row.credential_id, row.version_number).await?;
                let version = version.filter(|it| it.id == row.version_id && has_value(it.state));
                let Some(version) = version else {
                    return Ok(changed);
                };
                let end = EndOfRun {
                    row: &row,
                    verdict: &verdict,
                    now,
                    random: random.as_ref(),
                };
                match tx.open_submission_of(version.id).await? {
                    Some(submission) => {
                        super::submissions::settle(tx, &end, version, submission, &mut changed)
                            .await?;
                    }
                    None => follow(tx, &end, version, &mut changed).await?,
                }
                Ok(changed)
            })
        });
        self.destroying(change).await
    }
}

/// What came of a run, for whatever follows from it.
pub(super) struct EndOfRun<'a> {
    pub row: &'a VerificationRow,
    pub verdict: &'a Verdict,
    pub now: Timestamp,
    pub random: &'a dyn Random,
}

/// Writes into the row of a run what it came to, and whether it is tried again.
fn judge(row: &mut VerificationRow, outcome: Outcome, now: Timestamp) {
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
async fn follow(
    tx: &mut Tx,
    end: &EndOfRun<'_>,
    mut version: VersionRow,
    changed: &mut Changed<()>,
) -> Result<(), VaultError> {
    let credential = version.credential_id;
    match end.row.outcome {
        Some(RunOutcome::Verified) => {
            let closed =
                close_task_about(tx, TaskKind::CredentialFailed, credential.into(), end.now);
            changed.records.extend(closed.await?);
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
            let opened = open_task(tx, kind, about, Some(credential), note, end.now, end.random);
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

fn subjects(row: &VerificationRow) -> Vec<Subject> {
    let mut subjects = vec![
        row.id.into(),
        numbered(row.credential_id, row.version_number),
        row.version_id.into(),
    ];
    subjects.extend(row.submission_id.map(Subject::from));
    subjects
}

fn finished(row: &VerificationRow) -> Draft {
    let mut draft = Draft::of(Kind::VerificationFinished).about(subjects(row));
    if let Some(outcome) = row.outcome {
        draft = draft.with("outcome", Detail::Word(outcome.as_str()));
    }
    let hint: Option<Hint> = row.hint.as_deref().and_then(|hint| hint.parse().ok());
    if let Some(hint) = hint {
        draft = draft.with("hint", Detail::Word(hint.as_str()));
    }
    if row.state == RunState::Due {
        draft = draft.with("again_at", Detail::Time(row.due_at));
    }
    draft
}

/// The newest run of a version.
pub(super) async fn newest_run(
    tx: &mut Tx,
    version: VersionId,
) -> Result<Option<VerificationView>, VaultError> {
    let row = tx.newest_verification_of(version).await?;
    Ok(row.map(VerificationView::from))
}
