//! Operators: the vendor's people. None of them ever gets a value.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::caller::Caller;
use super::error::VaultError;
use super::principal_keys::KeyView;
use super::recorder::Changed;
use super::workloads::{PrincipalState, state_of};
use super::{Vault, same_revision};
use crate::audit::{Detail, Kind};
use crate::model::{DisplayName, OperatorId, OperatorRole, Permission, PrincipalId, Timestamp};
use crate::store::{KeyRow, OperatorRow, Page, StoreError, Tx};

/// An operator to be enrolled. Their keys are registered after that.
#[derive(Deserialize, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewOperator {
    /// The person's name.
    pub name: DisplayName,
    /// What they are for.
    pub role: OperatorRole,
}

/// What to change of an operator.
#[derive(Deserialize, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct OperatorPatch {
    /// The new name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<DisplayName>,
    /// What they are for from now on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub role: Option<OperatorRole>,
}

/// A person of the vendor.
#[derive(Clone, Serialize, Deserialize, ToSchema)]
#[schema(as = Operator)]
pub struct OperatorView {
    /// Their id.
    pub id: OperatorId,
    /// Their name.
    pub name: DisplayName,
    /// What they are for.
    pub role: OperatorRole,
    /// Whether they may do anything at all.
    pub state: PrincipalState,
    /// When they were enrolled.
    pub created_at: Timestamp,
    /// Counts the changes; the ETag.
    pub revision: i64,
    /// Their keys, revoked ones included.
    pub keys: Vec<KeyView>,
}

/// An operator with everything that may be shown of them.
pub(super) async fn operator_view(
    tx: &mut Tx,
    row: OperatorRow,
) -> Result<OperatorView, VaultError> {
    let keys = tx.keys_of(PrincipalId::Operator(row.id)).await?;
    Ok(OperatorView {
        id: row.id,
        name: row.name,
        role: row.role,
        state: state_of(row.disabled_at),
        created_at: row.created_at,
        revision: row.revision,
        keys: keys.into_iter().map(KeyView::from).collect(),
    })
}

/// Refuses a change after which nobody could administer the deployment any more: at least one
/// enabled tech-ops operator has to have a key that works.
pub(super) async fn another_tech_ops_remains(
    tx: &mut Tx,
    now: Timestamp,
) -> Result<(), VaultError> {
    let mut after = String::new();
    loop {
        let page = tx.operators(&after, 500).await?;
        for row in page.items {
            if row.role != OperatorRole::TechOps || row.disabled_at.is_some() {
                continue;
            }
            let keys = tx.keys_of(PrincipalId::Operator(row.id)).await?;
            for key in keys {
                if works(tx, &key, now).await? {
                    return Ok(());
                }
            }
        }
        match page.next {
            Some(next) => after = next,
            None => {
                return Err(VaultError::Conflict(
                    "this is the last tech-ops operator with a working key: enrol another first",
                ));
            }
        }
    }
}

/// Whether a key is accepted now: not revoked, not expired, and vouched for by an authority that is
/// still trusted, if it needs one.
async fn works(tx: &mut Tx, key: &KeyRow, now: Timestamp) -> Result<bool, VaultError> {
    if key.revoked_at.is_some() || key.expires_at.is_some_and(|at| at <= now) {
        return Ok(false);
    }
    let Some(authority) = key.authority_id else {
        return Ok(true);
    };
    let authority = tx.authority(authority).await?;
    Ok(authority.is_some_and(|authority| authority.accepted_at(now)))
}

pub(super) fn name_taken(error: StoreError) -> VaultError {
    match error {
        StoreError::Taken => VaultError::Conflict(
            "an operator has this name already, even if disabled: choose another name",
        ),
        other => other.into(),
    }
}

impl Vault {
    /// Enrols an operator.
    ///
    /// # Errors
    /// The name is taken; see [`VaultError`].
    pub async fn enrol_operator(
        &self,
        caller: &Caller,
        new: NewOperator,
    ) -> Result<OperatorView, VaultError> {
        let now = self.clock.now();
        let id = OperatorId::generate(now, self.random.as_ref())?;
        let record = caller.draft(Kind::OperatorEnrolled).about([id.into()]);
        self.change(caller, Permission::WritePrincipals, move |tx| {
            Box::pin(async move {
                let row = OperatorRow {
                    id,
                    name: new.name,
                    role: new.role,
                    disabled_at: None,
                    created_at: now,
                    revision: 1,
                    mac: Vec::new(),
                };
                let row = tx.insert_operator(row).await.map_err(name_taken)?;
                let record = record.with("role", Detail::Word(row.role.as_str()));
                let value = operator_view(tx, row).await?;
                Ok(Changed {
                    value,
                    records: vec![record],
                    subjects: vec![id.to_string()],
                })
            })
        })
        .await
    }

    /// An operator with their keys.
    ///
    /// # Errors
    /// They are not there; see [`VaultError`].
    pub async fn operator(
        &self,
        caller: &Caller,
        id: OperatorId,
    ) -> Result<OperatorView, VaultError> {
        self.authorise(caller, Permission::ReadMetadata).await?;
        let mut tx = self.db.read().await?;
        let row = tx.operator(id).await?.ok_or(VaultError::NotFound)?;
        operator_view(&mut tx, row).await
    }

    /// A page of operators.
    ///
    /// # Errors
    /// See [`VaultError`].
    pub async fn operators(
        &self,
        caller: &Caller,
        after: &str,
        limit: i64,
    ) -> Result<Page<OperatorView>, VaultError> {
        self.authorise(caller, Permission::ReadMetadata).await?;
        let mut tx = self.db.read().await?;
        let page = tx.operators(after, limit).await?;
        let mut items = Vec::with_capacity(page.items.len());
        for row in page.items {
            items.push(operator_view(&mut tx, row).await?);
        }
        Ok(Page {
            items,
            next: page.next,
        })
    }

    /// Changes an operator who still has the revision `expected`.
    ///
    /// # Errors
    /// They are not there or have changed, the name is taken, or nobody would be left to administer;
    /// see [`VaultError`].
    pub async fn change_operator(
        &self,
        caller: &Caller,
        id: OperatorId,
        expected: i64,
        patch: OperatorPatch,
    ) -> Result<OperatorView, VaultError> {
        let now = self.clock.now();
        let record = caller.draft(Kind::OperatorChanged).about([id.into()]);
        self.change(caller, Permission::WritePrincipals, move |tx| {
            Box::pin(async move {
                let mut row = tx.operator(id).await?.ok_or(VaultError::NotFound)?;
                same_revision(row.revision, expected)?;
                row.name = patch.name.unwrap_or(row.name);
                row.role = patch.role.unwrap_or(row.role);
                row.revision += 1;
                if !tx
                    .update_operator(&mut row, expected)
                    .await
                    .map_err(name_taken)?
                {
                    return Err(VaultError::Changed);
                }
                another_tech_ops_remains(tx, now).await?;
                let record = record.with("role", Detail::Word(row.role.as_str()));
                let value = operator_view(tx, row).await?;
                Ok(Changed {
                    value,
                    records: vec![record],
                    subjects: vec![id.to_string()],
                })
            })
        })
        .await
    }

    /// Disables or enables an operator who still has the revision `expected`.
    ///
    /// # Errors
    /// They are not there, have changed, are in that state already, or nobody would be left to
    /// administer; see [`VaultError`].
    pub async fn set_operator_state(
        &self,
        caller: &Caller,
        id: OperatorId,
        expected: i64,
        state: PrincipalState,
    ) -> Result<OperatorView, VaultError> {
        let now = self.clock.now();
        let (kind, disabled_at) = match state {
            PrincipalState::Enabled => (Kind::OperatorEnabled, None),
            PrincipalState::Disabled => (Kind::OperatorDisabled, Some(now)),
        };
        let record = caller.draft(kind).about([id.into()]);
        self.change(caller, Permission::WritePrincipals, move |tx| {
            Box::pin(async move {
                let mut row = tx.operator(id).await?.ok_or(VaultError::NotFound)?;
                same_revision(row.revision, expected)?;
                if state_of(row.disabled_at) == state {
                    return Err(VaultError::Conflict(
                        "the operator is in this state already",
                    ));
                }
                row.disabled_at = disabled_at;
                row.revision += 1;
                if !tx.update_operator(&mut row, expected).await? {
                    return Err(VaultError::Changed);
                }
                // Who is disabled may come back: their certificates are on hold, not revoked.
                tx.hold_issued(PrincipalId::Operator(id), disabled_at, now)
                    .await?;
                another_tech_ops_remains(tx, now).await?;
                let value = operator_view(tx, row).await?;
                Ok(Changed {
                    value,
                    records: vec![record],
                    subjects: vec![id.to_string()],
                })
            })
        })
        .await
    }
}
