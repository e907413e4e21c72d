//! Revocations that were made after the backup that was restored: what they took away, whom they keep
//! out until an operator confirms them, and doing them again.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use utoipa::ToSchema;

use super::caller::Caller;
use super::error::VaultError;
use super::{AuthorityPatch, OperatorPatch, PrincipalState, Reason, Retire, Vault, WorkloadPatch};
use crate::audit::{Kind, Subject};
use crate::identity::revocation_list::RevocationList;
use crate::model::{
    AuthorityId, CredentialId, KeyId, OperatorId, OperatorRole, PrincipalId, RoleId, Timestamp,
    VersionState, WorkloadId,
};
use crate::store::{PendingRevocationRow, StoreError, Tx};

/// A revocation that was made after the backup.
#[derive(Clone, Serialize, Deserialize, ToSchema)]
pub struct RevocationSince {
    /// When it was made.
    pub at: Timestamp,
    /// What was done, as the audit log says it.
    pub kind: String,
    /// To what: ids.
    pub subjects: Vec<String>,
    /// What else the audit log says of it, such as a time or a role.
    pub detail: Map<String, Value>,
    /// Whether confirming does it again; otherwise it has to be looked at and done by hand.
    pub automatic: bool,
    /// What came of it when it was confirmed: `done`, `already` (it was so), `not-there` (what it was
    /// about came after the backup) or `by-hand`.
    pub outcome: Option<String>,
}

impl From<&PendingRevocationRow> for RevocationSince {
    fn from(row: &PendingRevocationRow) -> Self {
        let again = Again::of(row);
        Self {
            at: row.at,
            kind: row.kind.clone(),
            subjects: row.subjects.split_whitespace().map(str::to_owned).collect(),
            detail: serde_json::from_str(&row.detail).unwrap_or_default(),
            automatic: again.is_some_and(|again| !matches!(again, Again::Lists(..))),
            outcome: row.outcome.clone(),
        }
    }
}

pub(super) fn is_pending(row: &PendingRevocationRow) -> bool {
    row.settled_at.is_none()
}

/// The ids of what a revocation was about.
pub(super) fn subjects_of(row: &PendingRevocationRow) -> Vec<Subject> {
    let texts = row.subjects.split_whitespace();
    texts.filter_map(|text| text.parse().ok()).collect()
}

/// What a revocation took away.
enum Again {
    Key(KeyId, PrincipalId),
    Principal(PrincipalId),
    OperatorRole(OperatorId, OperatorRole),
    /// The roles that were left.
    WorkloadRoles(WorkloadId, Vec<RoleId>),
    Authority(AuthorityId),
    AuthorityTimes(AuthorityId, AuthorityPatch),
    /// A revocation list was imported: its digest. Only somebody who has the list can do it again.
    Lists(AuthorityId, String),
    Role(CredentialId, RoleId),
    Version(CredentialId, i64, VersionState),
}

impl Again {
    fn of(row: &PendingRevocationRow) -> Option<Self> {
        let kind: Kind = row.kind.parse().ok()?;
        let detail: Map<String, Value> = serde_json::from_str(&row.detail).ok()?;
        let word = |name: &str| detail.get(name).and_then(Value::as_str);
        let time = |name: &str| word(name).and_then(|text| text.parse::<Timestamp>().ok());
        let principal = |subject: &Subject| match subject {
            Subject::Workload(id) => Some(PrincipalId::Workload(*id)),
            Subject::Operator(id) => Some(PrincipalId::Operator(*id)),
            _ => None,
        };
        Some(match (kind, subjects_of(row).as_slice()) {
            (Kind::KeyRevoked, [Subject::Key(key), of, ..]) => Self::Key(*key, principal(of)?),
            (Kind::WorkloadDisabled | Kind::OperatorDisabled, [of, ..]) => {
                Self::Principal(principal(of)?)
            }
            (Kind::OperatorChanged, [Subject::Operator(id), ..]) => {
                Self::OperatorRole(*id, word("role")?.parse().ok()?)
            }
            (Kind::WorkloadChanged, [Subject::Workload(id), roles @ ..]) if !roles.is_empty() => {
                let role = |subject: &Subject| match subject {
                    Subject::Role(id) => Some(*id),
                    _ => None,
                };
                Self::WorkloadRoles(*id, roles.iter().filter_map(role).collect())
            }
            (Kind::AuthorityRemoved, [Subject::Authority(id), ..]) => Self::Authority(*id),
            (Kind::AuthorityChanged, [Subject::Authority(id), ..]) => {
                let patch = AuthorityPatch {
                    accept_from: time("accept_from"),
                    accept_until: time("accept_until"),
                    presented_from: None,
                };
                patch.accept_from.or(patch.accept_until)?;
                Self::AuthorityTimes(*id, patch)
            }
            (Kind::RevocationListImported, [Subject::Authority(id), ..]) => {
                Self::Lists(*id, word("list")?.to_owned())
            }
            (Kind::CredentialRoleRemoved, [Subject::Credential(id), Subject::Role(role), ..]) => {
                Self::Role(*id, *role)
            }
            (Kind::VersionRetired | Kind::VersionRejected, [Subject::Numbered(id, number), ..]) => {
                let to = match kind {
                    Kind::VersionRetired => VersionState::Retired,
                    _ => VersionState::Rejected,
                };
                Self::Version(*id, i64::try_from(*number).ok()?, to)
            }
            _ => return None,
        })
    }
}

/// Who must not come in although the registry of the backup knows them.
#[derive(Default)]
pub(super) struct Barred {
    /// Ids of keys and principals that were revoked, disabled or given less to do.
    holders: BTreeSet<String>,
    /// Foreign authorities that were removed, or whose lists are not those that were imported. Own
    /// ones are not among them: a certificate of theirs is good for nothing without its key in the
    /// registry.
    shut: BTreeSet<AuthorityId>,
    /// From when and until when others are accepted.
    times: BTreeMap<AuthorityId, (Option<Timestamp>, Option<Timestamp>)>,
    /// Everybody: it is not known who was revoked.
    everybody: bool,
}

impl Barred {
    /// Nobody comes in.
    pub fn everybody() -> Self {
        Self {
            everybody: true,
            ..Self::default()
        }
    }

    /// Whom these revocations keep out.
    pub async fn by(
        tx: &mut Tx,
        revocations: &[PendingRevocationRow],
        restored_at: Option<Timestamp>,
    ) -> Result<Self, StoreError> {
        let mut barred = Self::default();
        for row in revocations.iter().filter(|row| is_pending(row)) {
            let Some(again) = Again::of(row) else {
                continue;
            };
            // Only what still is to be done keeps somebody out.
            match &again {
                Again::Key(key, _) => {
                    barred.holders.insert(key.to_string());
                }
                Again::Principal(id) => {
                    barred.holders.insert(id.to_string());
                }
                Again::OperatorRole(id, _) => {
                    if again.is_settled(tx, restored_at).await?.is_none() {
                        barred.holders.insert(id.to_string());
                    }
                }
                Again::Authority(id) => {
                    barred.shut.insert(*id);
                }
                Again::AuthorityTimes(id, patch) => {
                    let times = barred.times.entry(*id).or_default();
                    times.0 = patch.accept_from.or(times.0);
                    times.1 = patch.accept_until.or(times.1);
                }
                Again::Lists(id, _) => {
                    if again.is_settled(tx, restored_at).await?.is_none() {
                        barred.shut.insert(*id);
                    }
                }
                // Nothing is released while they wait.
                Again::WorkloadRoles(..) | Again::Role(..) | Again::Version(..) => {}
            }
        }
        let named = barred.shut.iter().chain(barred.times.keys());
        for id in named.copied().collect::<BTreeSet<_>>() {
            if tx.authority(id).await?.is_some_and(|row| row.is_own()) {
                barred.shut.remove(&id);
                barred.times.remove(&id);
            }
        }
        Ok(barred)
    }

    /// Whether this holder of this key, known by the word of this authority, is kept out.
    pub fn keeps_out(
        &self,
        principal: PrincipalId,
        key: KeyId,
        authority: Option<AuthorityId>,
        now: Timestamp,
    ) -> bool {
        let closed = |id: &AuthorityId| {
            let (from, until) = self.times.get(id).copied().unwrap_or_default();
            self.shut.contains(id)
                || from.is_some_and(|from| now < from)
                || until.is_some_and(|until| until <= now)
        };
        self.everybody
            || (!self.holders.is_empty()
                && (self.holders.contains(&principal.to_string())
                    || self.holders.contains(&key.to_string())))
            || authority.as_ref().is_some_and(closed)
    }
}

/// What was taken away is not there any more, or never was in this database.
type Settled = Option<&'static str>;

const ALREADY: Settled = Some("already");
const NOT_THERE: Settled = Some("not-there");

fn already(is_so: bool) -> Settled {
    if is_so { ALREADY } else { None }
}

impl Again {
    /// Whether nothing is left to be done, and why.
    async fn is_settled(
        &self,
        tx: &mut Tx,
        restored_at: Option<Timestamp>,
    ) -> Result<Settled, StoreError> {
        Ok(match self {
            Self::Key(key, of) => {
                let row = tx.key(*key).await?.filter(|row| row.principal_id == *of);
                row.map_or(NOT_THERE, |row| already(row.revoked_at.is_some()))
            }
            Self::Principal(PrincipalId::Workload(id)) => {
                let row = tx.workload(*id).await?;
                row.map_or(NOT_THERE, |row| already(row.disabled_at.is_some()))
            }
            Self::Principal(PrincipalId::Operator(id)) => {
                let row = tx.operator(*id).await?;
                row.map_or(NOT_THERE, |row| already(row.disabled_at.is_some()))
            }
            Self::OperatorRole(id, role) => tx.operator(*id).await?.map_or(NOT_THERE, |row| {
                let left = role.permissions();
                let nothing_more = row.role.permissions().iter().all(|it| left.contains(it));
                already(nothing_more || row.disabled_at.is_some())
            }),
            Self::WorkloadRoles(id, left) => match tx.workload(*id).await? {
                None => NOT_THERE,
                Some(row) => {
                    let roles = tx.workload_roles(*id).await?;
                    let nothing_more = roles.iter().all(|role| left.contains(role));
                    already(nothing_more || row.disabled_at.is_some())
                }
            },
            Self::Authority(id) => {
                let row = tx.authority(*id).await?;
                row.map_or(NOT_THERE, |row| already(row.removed_at.is_some()))
            }
            Self::AuthorityTimes(id, patch) => tx.authority(*id).await?.map_or(NOT_THERE, |row| {
                let from = patch.accept_from.is_none_or(|it| it == row.accept_from);
                let until = patch.accept_until;
                let until = until.is_none_or(|it| Some(it) == row.accept_until);
                already((from && until) || row.removed_at.is_some())
            }),
            Self::Lists(id, digest) => match tx.authority(*id).await? {
                None => NOT_THERE,
                Some(row) if row.removed_at.is_some() => ALREADY,
                Some(_) => {
                    let lists = tx.revocation_lists_of(*id).await?;
                    let is_it = |der: &Vec<u8>| {
                        let list = RevocationList::from_der(der.clone());
                        list.is_ok_and(|list| {
                            format!("sha256:{}", hex::encode(list.sha256())) == *digest
                        })
                    };
                    let newer = |at: Timestamp| restored_at.is_some_and(|since| at >= since);
                    // The list itself, or newer ones in the place of all.
                    already(
                        lists.iter().any(|row| is_it(&row.list))
                            || (!lists.is_empty()
                                && lists.iter().all(|row| newer(row.imported_at))),
                    )
                }
            },
            Self::Role(credential, role) => match tx.credential(*credential).await? {
                None => NOT_THERE,
                Some(_) => {
                    let readers = tx.credential_roles(*credential).await?;
                    let versions = tx.versions(*credential).await?;
                    let ended =
                        |state| matches!(state, VersionState::Retired | VersionState::Rejected);
                    let nothing_left = versions.iter().all(|version| ended(version.state));
                    already(!readers.contains(role) || nothing_left)
                }
            },
            Self::Version(id, number, _) => {
                tx.version(*id, *number).await?.map_or(NOT_THERE, |row| {
                    let ended = [VersionState::Retired, VersionState::Rejected];
                    already(ended.contains(&row.state))
                })
            }
        })
    }
}

impl Vault {
    /// Does one revocation again, and says what came of it.
    ///
    /// # Errors
    /// A rule forbids it, or it can only be done by hand and was not: the deployment stays frozen.
    pub(super) async fn revoke_again(
        &self,
        caller: &Caller,
        row: &PendingRevocationRow,
        restored_at: Option<Timestamp>,
    ) -> Result<&'static str, VaultError> {
        let Some(again) = Again::of(row) else {
            return Ok("by-hand");
        };
        let mut tx = self.db.read().await?;
        let settled = again.is_settled(&mut tx, restored_at).await?;
        drop(tx);
        if let Some(settled) = settled {
            return Ok(settled);
        }
        match self.take_away(caller, again).await {
            Ok(()) => Ok("done"),
            // Gone between the look and the act.
            Err(VaultError::NotFound) => Ok("not-there"),
            Err(other) => Err(other),
        }
    }

    async fn take_away(&self, caller: &Caller, again: Again) -> Result<(), VaultError> {
        let gone = VaultError::NotFound;
        match again {
            Again::Key(key, of) => self.revoke_key(caller, of, key).await.map(drop),
            Again::Principal(PrincipalId::Workload(id)) => self.disable_workload(caller, id).await,
            Again::Principal(PrincipalId::Operator(id)) => {
                let row = self.db.read().await?.operator(id).await?;
                let revision = row.ok_or(gone)?.revision;
                let state = PrincipalState::Disabled;
                let disabled = self.set_operator_state(caller, id, revision, state);
                disabled.await.map(drop)
            }
            Again::OperatorRole(id, role) => {
                let row = self.db.read().await?.operator(id).await?;
                let revision = row.ok_or(gone)?.revision;
                let patch = OperatorPatch {
                    name: None,
                    role: Some(role),
                };
                let changed = self.change_operator(caller, id, revision, patch);
                changed.await.map(drop)
            }
            Again::WorkloadRoles(id, left) => self.narrow_workload(caller, id, &left).await,
            Again::Authority(id) => self.remove_authority(caller, id, None).await.map(drop),
            Again::AuthorityTimes(id, patch) => {
                let row = self.db.read().await?.authority(id).await?;
                let revision = row.ok_or(gone)?.revision;
                let changed = self.change_authority(caller, id, revision, patch);
                changed.await.map(drop)
            }
            Again::Lists(..) => Err(VaultError::Conflict(
                "a revocation list that was imported after the backup is not in it: import the \
                 authority's newest lists, or remove the authority, first",
            )),
            Again::Role(credential, role) => {
                let row = self.db.read().await?.role(role).await?;
                let role = row.ok_or(gone)?.name;
                let removed = self.remove_credential_role(caller, credential, None, role);
                removed.await.map(drop)
            }
            Again::Version(id, number, to) => {
                let row = self.db.read().await?.credential(id).await?;
                let revision = row.ok_or(gone)?.revision;
                let reason = "revoked before the restore".parse();
                let reason = reason.map_err(|_| VaultError::Internal("a reason"))?;
                match to {
                    VersionState::Rejected => {
                        let reason = Reason { reason };
                        let ended = self.reject_version(caller, id, number, revision, reason);
                        ended.await.map(drop)
                    }
                    _ => {
                        let how = Retire {
                            reason: Some(reason),
                            override_holds: true,
                        };
                        let ended = self.retire_version(caller, id, number, revision, how);
                        ended.await.map(drop)
                    }
                }
            }
        }
    }

    async fn disable_workload(&self, caller: &Caller, id: WorkloadId) -> Result<(), VaultError> {
        let row = self.db.read().await?.workload(id).await?;
        let revision = row.ok_or(VaultError::NotFound)?.revision;
        let state = PrincipalState::Disabled;
        let disabled = self.set_workload_state(caller, id, revision, state);
        disabled.await.map(drop)
    }

    /// Leaves a workload none but these of its roles, and disables it if none is left.
    async fn narrow_workload(
        &self,
        caller: &Caller,
        id: WorkloadId,
        left: &[RoleId],
    ) -> Result<(), VaultError> {
        let mut tx = self.db.read().await?;
        let row = tx.workload(id).await?.ok_or(VaultError::NotFound)?;
        let mut names = Vec::new();
        for role in tx.workload_roles(id).await? {
            if let (true, Some(role)) = (left.contains(&role), tx.role(role).await?) {
                names.push(role.name);
            }
        }
        drop(tx);
        if names.is_empty() {
            return self.disable_workload(caller, id).await;
        }
        let patch = WorkloadPatch {
            name: None,
            roles: Some(names),
            age_recipient: None,
        };
        let changed = self.change_workload(caller, id, row.revision, patch);
        changed.await.map(drop)
    }
}
