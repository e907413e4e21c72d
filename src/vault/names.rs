//! Roles and environments.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::caller::Caller;
use super::error::VaultError;
use super::memory::EVERYTHING;
use super::recorder::Changed;
use super::{Vault, same_revision};
use crate::audit::Kind;
use crate::model::{EnvironmentId, Permission, RoleId, Slug, Timestamp};
use crate::store::{EnvironmentRow, Page, RoleRow, StoreError, Tx};

/// A role or environment to be added, or its new name.
#[derive(Deserialize, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewName {
    /// The name.
    pub name: Slug,
}

/// What servers are for.
#[derive(Clone, Serialize, Deserialize, ToSchema)]
#[schema(as = Role)]
pub struct RoleView {
    /// Its id, which is what sealed keys are bound to.
    pub id: RoleId,
    /// Its name.
    pub name: Slug,
    /// When it was added.
    pub created_at: Timestamp,
    /// Counts its changes; the ETag.
    pub revision: i64,
}

/// Where servers run.
#[derive(Clone, Serialize, Deserialize, ToSchema)]
#[schema(as = Environment)]
pub struct EnvironmentView {
    /// Its id, which is what sealed keys are bound to.
    pub id: EnvironmentId,
    /// Its name.
    pub name: Slug,
    /// When it was added.
    pub created_at: Timestamp,
    /// Counts its changes; the ETag.
    pub revision: i64,
}

impl From<RoleRow> for RoleView {
    fn from(row: RoleRow) -> Self {
        let RoleRow {
            id,
            name,
            created_at,
            revision,
            ..
        } = row;
        Self {
            id,
            name,
            created_at,
            revision,
        }
    }
}

impl From<EnvironmentRow> for EnvironmentView {
    fn from(row: EnvironmentRow) -> Self {
        let EnvironmentRow {
            id,
            name,
            created_at,
            revision,
            ..
        } = row;
        Self {
            id,
            name,
            created_at,
            revision,
        }
    }
}

fn name_taken(error: StoreError) -> VaultError {
    match error {
        StoreError::Taken => VaultError::Conflict("the name is in use: choose another"),
        other => other.into(),
    }
}

/// The role with a name that a request gave in `field`.
pub(super) async fn role_named(
    tx: &mut Tx,
    name: &Slug,
    field: &'static str,
) -> Result<RoleRow, VaultError> {
    let row = tx.role_by_name(name).await?;
    row.ok_or_else(|| {
        VaultError::invalid(
            field,
            "names a role that does not exist: add it with `role add`",
        )
    })
}

/// The environment with a name that a request gave.
pub(super) async fn environment_named(
    tx: &mut Tx,
    name: &Slug,
) -> Result<EnvironmentRow, VaultError> {
    let row = tx.environment_by_name(name).await?;
    row.ok_or_else(|| {
        VaultError::invalid(
            "environment",
            "names an environment that does not exist: add it with `environment add`",
        )
    })
}

impl Vault {
    /// Adds a role.
    ///
    /// # Errors
    /// The name is taken; see [`VaultError`].
    pub async fn create_role(&self, caller: &Caller, new: NewName) -> Result<RoleView, VaultError> {
        let now = self.clock.now();
        let id = RoleId::generate(now, self.random.as_ref())?;
        let record = caller.draft(Kind::RoleCreated).about([id.into()]);
        self.change(caller, Permission::WriteCredentials, move |tx| {
            Box::pin(async move {
                let row = RoleRow {
                    id,
                    name: new.name,
                    created_at: now,
                    revision: 1,
                    mac: Vec::new(),
                };
                let row = tx.insert_role(row).await.map_err(name_taken)?;
                Ok(Changed {
                    value: row.into(),
                    records: vec![record],
                    subjects: Vec::new(),
                })
            })
        })
        .await
    }

    /// A page of roles.
    ///
    /// # Errors
    /// See [`VaultError`].
    pub async fn roles(
        &self,
        caller: &Caller,
        after: &str,
        limit: i64,
    ) -> Result<Page<RoleView>, VaultError> {
        self.authorise(caller, Permission::ReadMetadata).await?;
        Ok(self
            .db
            .read()
            .await?
            .roles(after, limit)
            .await?
            .map(RoleView::from))
    }

    /// One role.
    ///
    /// # Errors
    /// It is not there; see [`VaultError`].
    pub async fn role(&self, caller: &Caller, id: RoleId) -> Result<RoleView, VaultError> {
        self.authorise(caller, Permission::ReadMetadata).await?;
        let row = self.db.read().await?.role(id).await?;
        row.map(RoleView::from).ok_or(VaultError::NotFound)
    }

    /// Renames a role that still has the revision `expected`. Nothing sealed changes.
    ///
    /// # Errors
    /// It is not there, has changed, or the name is taken; see [`VaultError`].
    pub async fn rename_role(
        &self,
        caller: &Caller,
        id: RoleId,
        expected: i64,
        new: NewName,
    ) -> Result<RoleView, VaultError> {
        let record = caller.draft(Kind::RoleChanged).about([id.into()]);
        self.change(caller, Permission::WriteCredentials, move |tx| {
            Box::pin(async move {
                let mut row = tx.role(id).await?.ok_or(VaultError::NotFound)?;
                same_revision(row.revision, expected)?;
                row.name = new.name;
                row.revision += 1;
                if !tx
                    .update_role(&mut row, expected)
                    .await
                    .map_err(name_taken)?
                {
                    return Err(VaultError::Changed);
                }
                // The order of a workload's roles is by name, so every principal may differ.
                let subjects = vec![EVERYTHING.to_owned()];
                Ok(Changed {
                    value: row.into(),
                    records: vec![record],
                    subjects,
                })
            })
        })
        .await
    }

    /// Adds an environment.
    ///
    /// # Errors
    /// The name is taken; see [`VaultError`].
    pub async fn create_environment(
        &self,
        caller: &Caller,
        new: NewName,
    ) -> Result<EnvironmentView, VaultError> {
        let now = self.clock.now();
        let id = EnvironmentId::generate(now, self.random.as_ref())?;
        let record = caller.draft(Kind::EnvironmentCreated).about([id.into()]);
        self.change(caller, Permission::WriteCredentials, move |tx| {
            Box::pin(async move {
                let name = new.name;
                let row = EnvironmentRow {
                    id,
                    name,
                    created_at: now,
                    revision: 1,
                    mac: Vec::new(),
                };
                let row = tx.insert_environment(row).await.map_err(name_taken)?;
                Ok(Changed {
                    value: row.into(),
                    records: vec![record],
                    subjects: Vec::new(),
                })
            })
        })
        .await
    }

    /// A page of environments.
    ///
    /// # Errors
    /// See [`VaultError`].
    pub async fn environments(
        &self,
        caller: &Caller,
        after: &str,
        limit: i64,
    ) -> Result<Page<EnvironmentView>, VaultError> {
        self.authorise(caller, Permission::ReadMetadata).await?;
        Ok(self
            .db
            .read()
            .await?
            .environments(after, limit)
            .await?
            .map(EnvironmentView::from))
    }

    /// One environment.
    ///
    /// # Errors
    /// It is not there; see [`VaultError`].
    pub async fn environment(
        &self,
        caller: &Caller,
        id: EnvironmentId,
    ) -> Result<EnvironmentView, VaultError> {
        self.authorise(caller, Permission::ReadMetadata).await?;
        let row = self.db.read().await?.environment(id).await?;
        row.map(EnvironmentView::from).ok_or(VaultError::NotFound)
    }

    /// Renames an environment that still has the revision `expected`. Nothing sealed changes.
    ///
    /// # Errors
    /// It is not there, has changed, or the name is taken; see [`VaultError`].
    pub async fn rename_environment(
        &self,
        caller: &Caller,
        id: EnvironmentId,
        expected: i64,
        new: NewName,
    ) -> Result<EnvironmentView, VaultError> {
        let record = caller.draft(Kind::EnvironmentChanged).about([id.into()]);
        self.change(caller, Permission::WriteCredentials, move |tx| {
            Box::pin(async move {
                let mut row = tx.environment(id).await?.ok_or(VaultError::NotFound)?;
                same_revision(row.revision, expected)?;
                row.name = new.name;
                row.revision += 1;
                if !tx
                    .update_environment(&mut row, expected)
                    .await
                    .map_err(name_taken)?
                {
                    return Err(VaultError::Changed);
                }
                let subjects = vec![EVERYTHING.to_owned()];
                Ok(Changed {
                    value: row.into(),
                    records: vec![record],
                    subjects,
                })
            })
        })
        .await
    }
}
