//! The state of the deployment as a whole: after a restore nothing is released until an operator
//! has looked at what was revoked since the backup, and has said that it may go on.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::Vault;
use super::caller::Caller;
use super::error::VaultError;
use super::memory::EVERYTHING;
use super::recorder::{Changed, Draft};
use super::revoked_since::{Barred, RevocationSince, is_pending, subjects_of};
use crate::audit::{Detail, Kind, Subject};
use crate::model::{AuthorityId, CredentialId, Permission, Principal, Timestamp};
use crate::store::{DeploymentStateRow, PendingRevocationRow, StoreError, Tx};

/// The deployment.
#[derive(Clone, Serialize, Deserialize, ToSchema)]
#[schema(as = Deployment)]
pub struct DeploymentView {
    /// Its id.
    pub id: String,
    /// Since when nothing is released; null when values are released.
    pub frozen_since: Option<Timestamp>,
    /// When it was last restored from a backup.
    pub restored_at: Option<Timestamp>,
    /// The moment whose state was restored.
    pub taken_at: Option<Timestamp>,
    /// Audit records that are known to have existed after that backup, and are lost.
    pub lost_records: i64,
    /// Revocations made after the backup. Those without an outcome wait to be confirmed.
    pub revocations: Vec<RevocationSince>,
    /// Counts its changes; the ETag.
    pub revision: i64,
}

/// How the freeze ends.
#[derive(Default, Deserialize, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Thaw {
    /// The deployment's id, so that nobody does this by mistake.
    pub confirm: String,
    /// Do the pending revocations again, and release values.
    #[serde(default)]
    pub confirm_revocations: bool,
}

/// From when on assertions are good after a restore at `now`: an honest signer's clock may have been
/// ahead by the leeway.
pub(super) fn assertions_from(now: Timestamp) -> Timestamp {
    now.plus_secs(crate::identity::assertion::LEEWAY_SECS + 1)
}

/// The state, and who must not come in although the registry of the backup knows them.
pub(super) struct State {
    pub row: DeploymentStateRow,
    barred: Barred,
}

impl State {
    async fn read(tx: &mut Tx) -> Result<Self, StoreError> {
        let row = tx.deployment_state().await?;
        let revocations = tx.revocations_since_backup().await?;
        // Without a state that the service wrote, nothing is released, no assertion is good, and who
        // was revoked is not known.
        let Some(row) = row else {
            tracing::error!("the deployment's state is missing or was altered: nobody is let in");
            let row = DeploymentStateRow {
                frozen_since: Some(Timestamp::from_micros(0)),
                assertions_not_before: Timestamp::from_micros(i64::MAX),
                ..DeploymentStateRow::new()
            };
            let barred = Barred::everybody();
            return Ok(Self { row, barred });
        };
        let barred = match all_are_there(&row, &revocations) {
            true => Barred::by(tx, &revocations, row.restored_at).await?,
            false => {
                tracing::error!(
                    "revocations that wait to be confirmed are missing or were altered: nobody is \
                     let in"
                );
                Barred::everybody()
            }
        };
        Ok(Self { row, barred })
    }
}

/// Whether as many revocations wait to be confirmed as the state says.
fn all_are_there(row: &DeploymentStateRow, revocations: &[PendingRevocationRow]) -> bool {
    let waiting = revocations.iter().filter(|row| is_pending(row)).count();
    i64::try_from(waiting).is_ok_and(|waiting| waiting == row.pending_revocations)
}

impl Vault {
    /// The state, as of the present policy generation.
    pub(super) async fn state(&self) -> Result<Arc<State>, VaultError> {
        if let Some(state) = self.memory.state() {
            return Ok(state);
        }
        Box::pin(self.read_state()).await
    }

    async fn read_state(&self) -> Result<Arc<State>, VaultError> {
        let generation = self.memory.generation();
        let mut tx = self.db.read().await?;
        let state = Arc::new(State::read(&mut tx).await?);
        self.memory.keep_state(generation, &state);
        Ok(state)
    }

    /// Whether an assertion that was issued at `issued_at` can be accepted: those from before a
    /// restore cannot, because what was spent since the backup is not known.
    ///
    /// # Errors
    /// The database is not available.
    pub async fn accepts_assertions_of(&self, issued_at: Timestamp) -> Result<bool, VaultError> {
        Ok(issued_at >= self.state().await?.row.assertions_not_before)
    }

    /// Whether a key, its holder or the authority that vouches for it was revoked after the backup
    /// that was restored: they stay out while that waits to be confirmed, or a stolen key could
    /// confirm itself.
    pub(super) async fn is_barred(
        &self,
        principal: &Principal,
        authority: Option<AuthorityId>,
    ) -> Result<bool, VaultError> {
        let (state, now) = (self.state().await?, self.clock.now());
        let (id, key) = (principal.id(), principal.key());
        Ok(state.barred.keeps_out(id, key, authority, now))
    }

    /// Refuses a release while the deployment is frozen, whatever was asked for, and records that.
    pub(super) async fn check_frozen(
        &self,
        caller: &Caller,
        credential: Option<CredentialId>,
    ) -> Result<(), VaultError> {
        if self.state().await?.row.frozen_since.is_none() {
            return Ok(());
        }
        let subjects = credential.map(Subject::from).into_iter().collect();
        Box::pin(self.deny(caller, Kind::ReleaseDenied, subjects, "frozen")).await?;
        Err(VaultError::Frozen)
    }

    /// The deployment.
    ///
    /// # Errors
    /// See [`VaultError`].
    pub async fn deployment_view(&self, caller: &Caller) -> Result<DeploymentView, VaultError> {
        self.authorise(caller, Permission::ReadMetadata).await?;
        let mut tx = self.db.read().await?;
        let state = tx.deployment_state().await?;
        let pending = tx.revocations_since_backup().await?;
        let state = state.ok_or(VaultError::Internal("the deployment's state is missing"))?;
        Ok(self.show_state(&state, &pending))
    }

    fn show_state(
        &self,
        state: &DeploymentStateRow,
        pending: &[PendingRevocationRow],
    ) -> DeploymentView {
        DeploymentView {
            id: self.deployment.clone(),
            frozen_since: state.frozen_since,
            restored_at: state.restored_at,
            taken_at: state.taken_at,
            lost_records: state.lost_records,
            revocations: pending.iter().map(RevocationSince::from).collect(),
            revision: state.revision,
        }
    }

    /// Ends the freeze. Each pending revocation is done again first, one by one, as the caller's own
    /// act; if that is interrupted, it goes on where it was.
    ///
    /// # Errors
    /// It is not frozen, revocations were not confirmed, or a rule forbids one of them: it stays
    /// frozen then, and those before that one are done; see [`VaultError`].
    pub async fn thaw(
        &self,
        caller: &Caller,
        expected: i64,
        thaw: Thaw,
    ) -> Result<DeploymentView, VaultError> {
        self.authorise(caller, Permission::OperateDeployment)
            .await?;
        // The assertion is spent, and what follows is one request.
        let caller = &Caller {
            assertion: None,
            ..caller.clone()
        };
        if thaw.confirm != self.deployment {
            return Err(VaultError::invalid(
                "confirm",
                "must be the deployment's id",
            ));
        }
        let mut tx = self.db.read().await?;
        let state = tx.deployment_state().await?;
        let pending = tx.revocations_since_backup().await?;
        drop(tx);
        let state = state.ok_or(VaultError::Internal("the deployment's state is missing"))?;
        super::same_revision(state.revision, expected)?;
        if state.frozen_since.is_none() {
            return Err(VaultError::Conflict("the deployment is not frozen"));
        }
        let pending: Vec<_> = pending.into_iter().filter(is_pending).collect();
        if !pending.is_empty() && !thaw.confirm_revocations {
            return Err(VaultError::Conflict(
                "revocations that were made after the backup wait to be confirmed: look at the \
                 revocations of the deployment, then confirm them",
            ));
        }
        let mut revision = expected;
        for row in pending {
            let outcome = self.revoke_again(caller, &row, state.restored_at).await?;
            revision = self
                .settle_revocation(caller, row, outcome, revision)
                .await?;
        }
        self.end_freeze(caller, revision).await
    }

    /// Notes what came of a revocation; the answer is the state's new revision.
    async fn settle_revocation(
        &self,
        caller: &Caller,
        mut row: PendingRevocationRow,
        outcome: &'static str,
        expected: i64,
    ) -> Result<i64, VaultError> {
        row.settled_at = Some(self.clock.now());
        row.outcome = Some(outcome.to_owned());
        let record = caller
            .draft(Kind::RevocationConfirmed)
            .about(subjects_of(&row))
            .with("outcome", Detail::Word(outcome))
            .with("epoch", Detail::Number(row.epoch))
            .with("seq", Detail::Number(row.seq));
        self.change(caller, Permission::OperateDeployment, move |tx| {
            Box::pin(async move {
                let state = tx.deployment_state().await?;
                let mut state = state.ok_or(VaultError::NotFound)?;
                super::same_revision(state.revision, expected)?;
                state.pending_revocations -= 1;
                state.revision += 1;
                let settled = tx.settle_pending_revocation(&mut row).await?;
                if !settled || !tx.update_deployment_state(&mut state, expected).await? {
                    return Err(VaultError::Changed);
                }
                Ok(Changed {
                    value: state.revision,
                    records: vec![record],
                    subjects: vec![EVERYTHING.to_owned()],
                })
            })
        })
        .await
    }

    /// Writes the first records of a new log and, with them, releases nothing until an operator has
    /// looked at a database that was put back to an earlier
    /// state: what was revoked since is valid in it again.
    pub(super) async fn freeze_after_rollback(
        &self,
        lost: i64,
        records: Vec<Draft>,
    ) -> Result<(), VaultError> {
        let now = self.clock.now();
        self.change_by_itself(move |tx| {
            Box::pin(async move {
                let state = tx.deployment_state().await?;
                // Without a state nothing is released anyway.
                if let Some(mut state) = state {
                    let expected = state.revision;
                    state.frozen_since = Some(now);
                    state.assertions_not_before = assertions_from(now);
                    state.lost_records = lost;
                    state.revision += 1;
                    tx.update_deployment_state(&mut state, expected).await?;
                }
                Ok(Changed {
                    value: (),
                    records,
                    subjects: vec![EVERYTHING.to_owned()],
                })
            })
        })
        .await
    }

    async fn end_freeze(
        &self,
        caller: &Caller,
        expected: i64,
    ) -> Result<DeploymentView, VaultError> {
        let record = caller.draft(Kind::DeploymentThawed);
        let (state, revocations) = self
            .change(caller, Permission::OperateDeployment, move |tx| {
                Box::pin(async move {
                    let state = tx.deployment_state().await?;
                    let mut state = state.ok_or(VaultError::NotFound)?;
                    super::same_revision(state.revision, expected)?;
                    let revocations = tx.revocations_since_backup().await?;
                    if revocations.iter().any(is_pending) {
                        return Err(VaultError::Changed);
                    }
                    if !all_are_there(&state, &revocations) {
                        return Err(VaultError::Conflict(
                            "revocations that waited to be confirmed are missing from the \
                             database: restore the backup again",
                        ));
                    }
                    state.frozen_since = None;
                    state.revision += 1;
                    if !tx.update_deployment_state(&mut state, expected).await? {
                        return Err(VaultError::Changed);
                    }
                    Ok(Changed {
                        value: (state, revocations),
                        records: vec![record],
                        subjects: vec![EVERYTHING.to_owned()],
                    })
                })
            })
            .await?;
        Ok(self.show_state(&state, &revocations))
    }
}
