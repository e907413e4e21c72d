//! Verification of stored values at their provider: asking for a run, taking it, telling its stages,
//! and what follows from its end.
//!
//! ```text
//! run is due -> claimed, with its audit record durable -> value opened -> the provider is asked
//!   -> each stage recorded -> what follows, in one transaction that checks the claim
//! ```
//!
//! The rows of runs decide nothing: what follows is found out from the tagged rows of the version.

use super::Vault;
use super::caller::Caller;
use super::correspondence::Pen;
use super::decrypt::SealedParts;
use super::error::VaultError;
use super::recorder::{Changed, Draft};
use super::verification_view::{StageView, VerificationView};
use super::verified::{EndOfRun, follow, judge};
use super::versions::numbered;
use crate::audit::{Detail, Kind, Subject};
use crate::model::{
    CredentialId, CredentialKind, ExpirySource, Permission, RunCause, RunOutcome, RunState,
    SubmissionId, Timestamp, VerificationId, VersionId, VersionState,
};
use crate::providers::{Fields, Hint, StageReport, Verdict};
use crate::random::Random;
use crate::store::{ClaimOfRun, CredentialRow, Tx, VerificationRow, VersionRow};

/// How long a claim is good, in seconds: longer than a verification may take. A node that starts again
/// takes up its own at once.
const CLAIM_SECS: i64 = 120;

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
    /// The credential.
    pub const fn credential(&self) -> CredentialId {
        self.row.credential_id
    }

    /// The value, once.
    pub const fn take_fields(&mut self) -> Option<Fields> {
        self.fields.take()
    }
}

/// How much there is to verify, in the whole deployment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RunsToDo {
    /// Runs that somebody could take.
    pub due: i64,
    /// Runs under way.
    pub running: i64,
    /// For how many seconds the oldest of those that are due has been.
    pub oldest_secs: i64,
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
    add_run(tx, new, now, now, random).await
}

/// Adds a run of a version that has no open one.
pub(super) async fn add_run(
    tx: &mut Tx,
    new: NewRun<'_>,
    now: Timestamp,
    due_at: Timestamp,
    random: &dyn Random,
) -> Result<VerificationRow, VaultError> {
    let row = VerificationRow {
        id: VerificationId::generate(now, random)?,
        credential_id: new.version.credential_id,
        version_id: new.version.id,
        version_number: new.version.number,
        submission_id: new.submission,
        cause: new.cause,
        state: RunState::Due,
        due_at,
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

    /// How much there is to verify.
    ///
    /// # Errors
    /// The database is not available.
    pub async fn runs_to_do(&self) -> Result<RunsToDo, VaultError> {
        let now = self.clock.now();
        let mut runs = RunsToDo::default();
        for (state, count, oldest) in self.db.read().await?.open_verifications(now).await? {
            match state {
                RunState::Due => {
                    runs.due = count;
                    runs.oldest_secs = now.secs() - oldest.secs();
                }
                RunState::Running => runs.running = count,
                RunState::Done => {}
            }
        }
        Ok(runs)
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
        let outbox = self.outbox.clone();
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
                    pen: Pen {
                        outbox: &outbox,
                        now,
                        random: random.as_ref(),
                    },
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
