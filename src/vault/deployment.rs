//! The state of the deployment as a whole: after a restore nothing is released until an operator
//! has looked at what was revoked since the backup, and has said that it may go on.

use std::collections::BTreeSet;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::caller::Caller;
use super::error::VaultError;
use super::memory::EVERYTHING;
use super::recorder::{Changed, Draft};
use super::{PrincipalState, Reason, Retire, Vault};
use crate::audit::{Detail, Kind, Subject};
use crate::model::{CredentialId, Permission, PrincipalId, RoleId, Timestamp};
use crate::store::{DeploymentStateRow, PendingRevocationRow};

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

/// A revocation that was made after the backup.
#[derive(Clone, Serialize, Deserialize, ToSchema)]
pub struct RevocationSince {
    /// When it was made.
    pub at: Timestamp,
    /// What was done, as the audit log says it.
    pub kind: String,
    /// To what: ids.
    pub subjects: Vec<String>,
    /// Whether confirming does it again; otherwise it has to be looked at and done by hand.
    pub automatic: bool,
    /// What came of it when it was confirmed: `done`, `not-there` (it came after the backup),
    /// `not-possible` (it is so already, or a rule forbids it) or `by-hand`.
    pub outcome: Option<String>,
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

/// Kinds of records that take something away from somebody.
pub(super) const REVOKING: &[Kind] = &[
    Kind::KeyRevoked,
    Kind::WorkloadDisabled,
    Kind::WorkloadChanged,
    Kind::OperatorDisabled,
    Kind::OperatorChanged,
    Kind::AuthorityRemoved,
    Kind::CredentialRoleRemoved,
    Kind::VersionRetired,
    Kind::VersionRejected,
];

/// What a pending revocation can be done with again.
enum Again {
    Key(crate::model::KeyId, PrincipalId),
    Principal(PrincipalId),
    Authority(crate::model::AuthorityId),
    Role(CredentialId, RoleId),
    Version(CredentialId, i64, bool),
}

impl Again {
    fn of(row: &PendingRevocationRow) -> Option<Self> {
        let kind: Kind = row.kind.parse().ok()?;
        let subjects: Vec<Subject> = row
            .subjects
            .split_whitespace()
            .filter_map(|text| text.parse().ok())
            .collect();
        let principal = |subject: &Subject| match subject {
            Subject::Workload(id) => Some(PrincipalId::Workload(*id)),
            Subject::Operator(id) => Some(PrincipalId::Operator(*id)),
            _ => None,
        };
        Some(match (kind, subjects.as_slice()) {
            (Kind::KeyRevoked, [Subject::Key(key), of, ..]) => Self::Key(*key, principal(of)?),
            (Kind::WorkloadDisabled | Kind::OperatorDisabled, [of, ..]) => {
                Self::Principal(principal(of)?)
            }
            (Kind::AuthorityRemoved, [Subject::Authority(id), ..]) => Self::Authority(*id),
            (Kind::CredentialRoleRemoved, [Subject::Credential(id), Subject::Role(role), ..]) => {
                Self::Role(*id, *role)
            }
            (Kind::VersionRetired | Kind::VersionRejected, [Subject::Numbered(id, number), ..]) => {
                Self::Version(
                    *id,
                    i64::try_from(*number).ok()?,
                    kind == Kind::VersionRetired,
                )
            }
            _ => return None,
        })
    }
}

impl From<&PendingRevocationRow> for RevocationSince {
    fn from(row: &PendingRevocationRow) -> Self {
        Self {
            at: row.at,
            kind: row.kind.clone(),
            subjects: row.subjects.split_whitespace().map(str::to_owned).collect(),
            automatic: Again::of(row).is_some(),
            outcome: row.outcome.clone(),
        }
    }
}

fn is_pending(row: &PendingRevocationRow) -> bool {
    row.settled_at.is_none()
}

/// The state, and who must not come in although the registry of the backup knows them.
pub(super) struct State {
    pub row: DeploymentStateRow,
    /// Ids of keys and principals that were revoked or disabled after the backup.
    barred: BTreeSet<String>,
}

impl State {
    fn new(row: Option<DeploymentStateRow>, revocations: &[PendingRevocationRow]) -> Self {
        // Without a state that the service wrote, nothing is released and no assertion is good.
        let row = row.unwrap_or_else(|| DeploymentStateRow {
            frozen_since: Some(Timestamp::from_micros(0)),
            assertions_not_before: Timestamp::from_micros(i64::MAX),
            ..DeploymentStateRow::new()
        });
        let barred = revocations.iter().filter(|row| is_pending(row));
        let barred = barred.filter_map(|row| match Again::of(row)? {
            Again::Key(key, _) => Some(key.to_string()),
            Again::Principal(id) => Some(id.to_string()),
            _ => None,
        });
        Self {
            barred: barred.collect(),
            row,
        }
    }
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
        let row = tx.deployment_state().await?;
        let revocations = tx.revocations_since_backup().await?;
        let state = Arc::new(State::new(row, &revocations));
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

    /// Whether a key or its holder was revoked after the backup that was restored: they stay out
    /// while that waits to be confirmed, or a stolen key could confirm itself.
    pub(super) async fn is_barred(
        &self,
        principal: PrincipalId,
        key: crate::model::KeyId,
    ) -> Result<bool, VaultError> {
        let state = self.state().await?;
        Ok(!state.barred.is_empty()
            && (state.barred.contains(&principal.to_string())
                || state.barred.contains(&key.to_string())))
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
    /// It is not frozen, revocations were not confirmed, or one cannot be done; see [`VaultError`].
    pub async fn thaw(
        &self,
        caller: &Caller,
        expected: i64,
        thaw: Thaw,
    ) -> Result<DeploymentView, VaultError> {
        self.authorise(caller, Permission::OperateDeployment)
            .await?;
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
        for row in pending {
            let outcome = self.revoke_again(caller, &row).await?;
            self.settle_revocation(caller, row, outcome).await?;
        }
        self.end_freeze(caller, expected).await
    }

    /// Does one revocation again, and says what came of it.
    async fn revoke_again(
        &self,
        caller: &Caller,
        row: &PendingRevocationRow,
    ) -> Result<&'static str, VaultError> {
        let Some(again) = Again::of(row) else {
            return Ok("by-hand");
        };
        let reason = || "revoked before the restore".parse().ok();
        let done = match again {
            Again::Key(key, principal) => self.revoke_key(caller, principal, key).await.map(drop),
            Again::Principal(PrincipalId::Workload(id)) => {
                match self.workload_revision(id).await? {
                    Some(revision) => self
                        .set_workload_state(caller, id, revision, PrincipalState::Disabled)
                        .await
                        .map(drop),
                    None => Err(VaultError::NotFound),
                }
            }
            Again::Principal(PrincipalId::Operator(id)) => {
                match self.operator_revision(id).await? {
                    Some(revision) => self
                        .set_operator_state(caller, id, revision, PrincipalState::Disabled)
                        .await
                        .map(drop),
                    None => Err(VaultError::NotFound),
                }
            }
            Again::Authority(id) => self.remove_authority(caller, id, None).await.map(drop),
            Again::Role(credential, role) => {
                let role = self.db.read().await?.role(role).await?;
                match role {
                    Some(role) => self
                        .remove_credential_role(caller, credential, None, role.name)
                        .await
                        .map(drop),
                    None => Err(VaultError::NotFound),
                }
            }
            Again::Version(id, number, retired) => {
                let revision = self.db.read().await?.credential(id).await?;
                match (revision.map(|row| row.revision), retired, reason()) {
                    (Some(revision), true, reason) => {
                        let how = Retire {
                            reason,
                            override_holds: true,
                        };
                        self.retire_version(caller, id, number, revision, how)
                            .await
                            .map(drop)
                    }
                    (Some(revision), false, Some(reason)) => self
                        .reject_version(caller, id, number, revision, Reason { reason })
                        .await
                        .map(drop),
                    _ => Err(VaultError::NotFound),
                }
            }
        };
        match done {
            Ok(()) => Ok("done"),
            // What came after the backup does not exist here.
            Err(VaultError::NotFound) => Ok("not-there"),
            // It is in that state already, or a rule such as "the last tech-ops" forbids it.
            Err(VaultError::Conflict(_)) => Ok("not-possible"),
            Err(other) => Err(other),
        }
    }

    async fn workload_revision(
        &self,
        id: crate::model::WorkloadId,
    ) -> Result<Option<i64>, VaultError> {
        Ok(self
            .db
            .read()
            .await?
            .workload(id)
            .await?
            .map(|row| row.revision))
    }

    async fn operator_revision(
        &self,
        id: crate::model::OperatorId,
    ) -> Result<Option<i64>, VaultError> {
        Ok(self
            .db
            .read()
            .await?
            .operator(id)
            .await?
            .map(|row| row.revision))
    }

    async fn settle_revocation(
        &self,
        caller: &Caller,
        mut row: PendingRevocationRow,
        outcome: &'static str,
    ) -> Result<(), VaultError> {
        row.settled_at = Some(self.clock.now());
        row.outcome = Some(outcome.to_owned());
        let subjects: Vec<Subject> = row
            .subjects
            .split_whitespace()
            .filter_map(|text| text.parse().ok())
            .collect();
        let record = caller
            .draft(Kind::RevocationConfirmed)
            .about(subjects)
            .with("outcome", Detail::Word(outcome))
            .with("epoch", Detail::Number(row.epoch))
            .with("seq", Detail::Number(row.seq));
        self.change(caller, Permission::OperateDeployment, move |tx| {
            Box::pin(async move {
                tx.settle_pending_revocation(&mut row).await?;
                Ok(Changed {
                    value: (),
                    records: vec![record],
                    subjects: Vec::new(),
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
