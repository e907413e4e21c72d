//! What becomes of what a client handed in: activated, refused, or left for an operator.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::Vault;
use super::caller::Caller;
use super::correspondence::Pen;
use super::credentials::touch_credential;
use super::error::VaultError;
use super::forward::end_as_succeeded;
use super::recorder::{Changed, Draft};
use super::tasks::{close_task_about, open_task};
use super::verification_view::VerificationView;
use super::verified::{EndOfRun, learn};
use super::verify::{can_be_asked, newest_run};
use super::versions::{Reason, activate, end, numbered};
use crate::audit::{Detail, Kind, Subject};
use crate::model::{
    CredentialId, InviteId, Permission, RunOutcome, RunState, Sealing, SubmissionId,
    SubmissionState, TaskKind, Timestamp, VersionState,
};
use crate::providers::{Hint, Step, words};
use crate::store::{Page, SubmissionRow, Tx, VersionRow};

/// A submission, without its value.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[schema(as = Submission)]
pub struct SubmissionView {
    /// Its id.
    pub id: SubmissionId,
    /// The invitation by which it came.
    pub invite: InviteId,
    /// The credential.
    pub credential: CredentialId,
    /// The number of the version that it became.
    pub version: i64,
    /// Counts the attempts by this invitation.
    pub number: i64,
    /// When it came.
    pub received_at: Timestamp,
    /// How it was protected on its way.
    pub sealing: Sealing,
    /// Where it stands.
    pub state: SubmissionState,
    /// Why, as a stable word.
    pub hint: Option<Hint>,
    /// Why and what to do, in words.
    pub says: Option<String>,
    /// The step of the set-up guide to do again.
    pub step: Option<Step>,
    /// That the same value can be checked again once the step is done, without handing it in anew.
    pub can_check_again: bool,
    /// When nothing more could become of it.
    pub finished_at: Option<Timestamp>,
    /// Its newest verification, with its stages.
    pub verification: Option<VerificationView>,
}

/// Which submissions to list.
#[derive(Clone, Copy, Debug, Default, Deserialize, Serialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct SubmissionQuery {
    /// Those of which nothing more can become too.
    #[serde(default)]
    pub all: bool,
}

/// A submission with its newest run.
pub(super) async fn submission_view(
    tx: &mut Tx,
    row: SubmissionRow,
) -> Result<SubmissionView, VaultError> {
    let hint: Option<Hint> = row.hint.as_deref().and_then(|hint| hint.parse().ok());
    let open = row.is_open();
    Ok(SubmissionView {
        verification: newest_run(tx, row.version_id).await?,
        id: row.id,
        invite: row.invite_id,
        credential: row.credential_id,
        version: row.version_number,
        number: row.number,
        received_at: row.received_at,
        sealing: row.sealing,
        state: row.state,
        hint,
        says: hint.map(|hint| words::hint(hint).to_owned()),
        step: hint.map(Hint::step),
        can_check_again: open && row.state == SubmissionState::Failed,
        finished_at: row.finished_at,
    })
}

/// Whether a hint says that the value itself is wrong, so that no set-up step can mend it.
const fn condemns(hint: Hint) -> bool {
    matches!(
        hint,
        Hint::SecretIdPasted
            | Hint::ShapeInvalid
            | Hint::CertificateKeyUnusable
            | Hint::CertificateKeyMismatch
            | Hint::CertificateExpired
            | Hint::CertificateRejected
            | Hint::WrongSecret
            | Hint::SecretExpired
            | Hint::UnknownTenant
            | Hint::MalformedTenant
            | Hint::OtherCloud
            | Hint::KeyFileUnusable
            | Hint::TokenUriNotGoogle
            | Hint::KeyRejected
    )
}

/// What follows for a submission from the end of a run, in the transaction of that end.
pub(super) async fn settle(
    tx: &mut Tx,
    run: &EndOfRun<'_>,
    version: VersionRow,
    mut row: SubmissionRow,
    changed: &mut Changed<()>,
) -> Result<(), VaultError> {
    let hint = run.row.hint.clone();
    match run.row.outcome {
        Some(RunOutcome::Verified) if row.state == SubmissionState::Waiting => {
            // It works; whether it is what was wanted is for the operator to say.
            vouch(tx, run, version).await?;
            return Ok(());
        }
        Some(RunOutcome::Verified) => {
            let number = version.number;
            vouch(tx, run, version).await?;
            activate(tx, row.credential_id, number, None, run.pen.now).await?;
            let record = Draft::of(Kind::VersionActivated);
            succeed(tx, &mut row, record, run.pen, changed).await?;
            return Ok(());
        }
        Some(RunOutcome::Failed) => {
            row.state = SubmissionState::Failed;
            let said: Option<Hint> = hint.as_deref().and_then(|hint| hint.parse().ok());
            if let Some(said) = said {
                run.pen.failed(tx, &row, said).await?;
            }
            if said.is_some_and(condemns) && version.state == VersionState::Pending {
                row.finished_at = Some(run.pen.now);
                shred(tx, &row, version, run.pen.now, changed).await?;
            }
        }
        Some(RunOutcome::Undecided) if run.row.state == RunState::Due => {}
        Some(RunOutcome::Undecided) => {
            row.state = SubmissionState::Undecided;
            let (kind, about) = (TaskKind::SubmissionUndecided, row.id.into());
            let note = hint.as_deref();
            let of = Some(row.credential_id);
            let opened = open_task(tx, kind, about, of, note, run.pen.now, run.pen.random);
            changed.records.extend(opened.await?);
        }
        _ => {
            row.state = SubmissionState::Waiting;
            let (kind, about) = (TaskKind::SubmissionWaiting, row.id.into());
            let of = Some(row.credential_id);
            let opened = open_task(tx, kind, about, of, None, run.pen.now, run.pen.random);
            changed.records.extend(opened.await?);
        }
    }
    row.hint = hint;
    write(tx, &mut row).await
}

async fn vouch(tx: &mut Tx, run: &EndOfRun<'_>, mut version: VersionRow) -> Result<(), VaultError> {
    touch_credential(tx, version.credential_id, None, |_| ()).await?;
    let state = version.state;
    if learn(&mut version, run.verdict) && !tx.update_version(&mut version, state).await? {
        return Err(VaultError::Changed);
    }
    Ok(())
}

/// What follows when the version of a submission has become the active one: the invitation has done its
/// work, other submissions for the credential have lost, and nobody has to look any more.
async fn succeed(
    tx: &mut Tx,
    row: &mut SubmissionRow,
    activated: Draft,
    pen: Pen<'_>,
    changed: &mut Changed<()>,
) -> Result<(), VaultError> {
    let (credential, now) = (row.credential_id, pen.now);
    let about = [numbered(credential, row.version_number), row.id.into()];
    changed.records.push(activated.about(about));
    changed.subjects.push(credential.to_string());
    row.state = SubmissionState::Verified;
    row.hint = None;
    row.finished_at = Some(now);
    write(tx, row).await?;
    nobody_has_to_look(tx, row.id, now, changed).await?;
    let failed = close_task_about(tx, TaskKind::CredentialFailed, credential.into(), now).await?;
    changed.records.extend(failed);
    supersede_open(tx, credential, now, changed).await?;
    if let Some(version) = tx.version(credential, row.version_number).await? {
        pen.verified(tx, row, &version).await?;
    }
    end_as_succeeded(tx, credential, row.invite_id, now).await
}

/// Closes what asked an operator to look at a submission.
async fn nobody_has_to_look(
    tx: &mut Tx,
    id: SubmissionId,
    now: Timestamp,
    changed: &mut Changed<()>,
) -> Result<(), VaultError> {
    for kind in [TaskKind::SubmissionWaiting, TaskKind::SubmissionUndecided] {
        let closed = close_task_about(tx, kind, id.into(), now).await?;
        changed.records.extend(closed);
    }
    Ok(())
}

/// Ends every open submission for a credential, and destroys their values: a newer one took their place.
pub(super) async fn supersede_open(
    tx: &mut Tx,
    credential: CredentialId,
    now: Timestamp,
    changed: &mut Changed<()>,
) -> Result<(), VaultError> {
    for mut old in tx.open_submissions_for(credential).await? {
        old.state = SubmissionState::Superseded;
        finish_without(tx, &mut old, now, changed).await?;
    }
    Ok(())
}

/// Ends a submission of which nothing becomes, with its value, its run and its tasks.
async fn finish_without(
    tx: &mut Tx,
    row: &mut SubmissionRow,
    now: Timestamp,
    changed: &mut Changed<()>,
) -> Result<(), VaultError> {
    row.finished_at = Some(now);
    write(tx, row).await?;
    tx.abandon_verification(row.version_id, now).await?;
    nobody_has_to_look(tx, row.id, now, changed).await?;
    let version = tx.version(row.credential_id, row.version_number).await?;
    if let Some(version) = version
        && version.id == row.version_id
        && version.state == VersionState::Pending
    {
        shred(tx, row, version, now, changed).await?;
    }
    Ok(())
}

/// Rejects the version of a submission: its value and what could open it are destroyed.
async fn shred(
    tx: &mut Tx,
    row: &SubmissionRow,
    version: VersionRow,
    now: Timestamp,
    changed: &mut Changed<()>,
) -> Result<(), VaultError> {
    touch_credential(tx, row.credential_id, None, |_| ()).await?;
    end(tx, version, VersionState::Rejected, None, now).await?;
    let about: [Subject; 2] = [
        numbered(row.credential_id, row.version_number),
        row.id.into(),
    ];
    let record = Draft::of(Kind::VersionRejected).about(about);
    changed.records.push(record);
    changed.subjects.push(row.credential_id.to_string());
    Ok(())
}

pub(super) async fn write(tx: &mut Tx, row: &mut SubmissionRow) -> Result<(), VaultError> {
    match tx.update_submission(row).await? {
        true => Ok(()),
        false => Err(VaultError::Changed),
    }
}

impl Vault {
    /// A page of submissions, oldest first.
    ///
    /// # Errors
    /// See [`VaultError`].
    pub async fn submissions(
        &self,
        caller: &Caller,
        query: SubmissionQuery,
        after: &str,
        limit: i64,
    ) -> Result<Page<SubmissionView>, VaultError> {
        self.authorise(caller, Permission::ReadMetadata).await?;
        let mut tx = self.db.read().await?;
        let page = tx.submissions(!query.all, after, limit).await?;
        let mut items = Vec::with_capacity(page.items.len());
        for row in page.items {
            items.push(submission_view(&mut tx, row).await?);
        }
        Ok(Page {
            items,
            next: page.next,
        })
    }

    /// One submission with its newest verification.
    ///
    /// # Errors
    /// It is not there; see [`VaultError`].
    pub async fn submission(
        &self,
        caller: &Caller,
        id: SubmissionId,
    ) -> Result<SubmissionView, VaultError> {
        self.authorise(caller, Permission::ReadMetadata).await?;
        let mut tx = self.db.read().await?;
        let row = tx.submission(id).await?.ok_or(VaultError::NotFound)?;
        submission_view(&mut tx, row).await
    }

    /// Has a submission that is open verified again. One that waits for an operator goes on waiting.
    ///
    /// # Errors
    /// It is not there, over, or of a kind that nobody can be asked about; see [`VaultError`].
    pub async fn verify_submission(
        &self,
        caller: &Caller,
        id: SubmissionId,
    ) -> Result<SubmissionView, VaultError> {
        self.authorise_quietly(caller, Permission::WriteCredentials)
            .await?;
        let row = still_open(&mut self.db.read().await?, id).await?;
        let run = self.verify_version(caller, row.credential_id, row.version_number);
        run.await?;
        let mut tx = self.db.read().await?;
        let row = tx.submission(id).await?.ok_or(VaultError::NotFound)?;
        submission_view(&mut tx, row).await
    }

    /// Activates what was handed in by hand, with a reason.
    ///
    /// # Errors
    /// It is not there or over; see [`VaultError`].
    pub async fn activate_submission(
        &self,
        caller: &Caller,
        id: SubmissionId,
        why: Reason,
    ) -> Result<SubmissionView, VaultError> {
        let now = self.clock.now();
        let record = caller.draft(Kind::VersionActivated);
        let (outbox, random) = (self.outbox.clone(), self.random.clone());
        let change = self.change(caller, Permission::WriteCredentials, move |tx| {
            Box::pin(async move {
                let mut row = still_open(tx, id).await?;
                touch_credential(tx, row.credential_id, None, |_| ()).await?;
                let (credential, number) = (row.credential_id, row.version_number);
                activate(tx, credential, number, Some(&why.reason), now).await?;
                tx.abandon_verification(row.version_id, now).await?;
                let mut changed = nothing();
                let pen = Pen {
                    outbox: &outbox,
                    now,
                    random: random.as_ref(),
                };
                succeed(tx, &mut row, record, pen, &mut changed).await?;
                let view = submission_view(tx, row).await?;
                Ok(Changed {
                    value: view,
                    records: changed.records,
                    subjects: changed.subjects,
                })
            })
        });
        self.destroying(change).await
    }

    /// Ends a submission: its value is destroyed. The invitation stays as it is.
    ///
    /// # Errors
    /// It is not there or over; see [`VaultError`].
    pub async fn close_submission(
        &self,
        caller: &Caller,
        id: SubmissionId,
        why: Reason,
    ) -> Result<SubmissionView, VaultError> {
        let now = self.clock.now();
        let record = caller.draft(Kind::SubmissionClosed);
        let change = self.change(caller, Permission::WriteCredentials, move |tx| {
            Box::pin(async move {
                let mut row = still_open(tx, id).await?;
                let mut changed = nothing();
                let about = [
                    row.id.into(),
                    numbered(row.credential_id, row.version_number),
                ];
                let record = record.about(about);
                changed
                    .records
                    .push(record.with("was", Detail::Word(row.state.as_str())));
                row.state = SubmissionState::Closed;
                finish_without(tx, &mut row, now, &mut changed).await?;
                // The version says why, as for one that is rejected by hand.
                let version = tx.version(row.credential_id, row.version_number).await?;
                if let Some(mut version) = version {
                    let state = version.state;
                    version.reason = Some(why.reason.as_str().to_owned());
                    tx.update_version(&mut version, state).await?;
                }
                let view = submission_view(tx, row).await?;
                Ok(Changed {
                    value: view,
                    records: changed.records,
                    subjects: changed.subjects,
                })
            })
        });
        self.destroying(change).await
    }
}

pub(super) const fn nothing() -> Changed<()> {
    Changed {
        value: (),
        records: Vec::new(),
        subjects: Vec::new(),
    }
}

/// A submission of which something may still become.
async fn still_open(tx: &mut Tx, id: SubmissionId) -> Result<SubmissionRow, VaultError> {
    let row = tx.submission(id).await?.ok_or(VaultError::NotFound)?;
    match row.is_open() {
        true => Ok(row),
        false => Err(VaultError::Conflict(
            "nothing more can become of this submission: invite the contact again",
        )),
    }
}

/// Where a new submission begins: with its verification, or with an operator.
pub(super) fn first_state(asked: crate::model::CredentialKind, same: bool) -> SubmissionState {
    match can_be_asked(asked) && same {
        true => SubmissionState::Verifying,
        false => SubmissionState::Waiting,
    }
}
