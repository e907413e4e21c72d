//! Workloads: registered servers, what they are for and where they run.

use ring::digest::{SHA256, digest};
use serde::{Deserialize, Deserializer, Serialize};
use utoipa::ToSchema;

use super::caller::Caller;
use super::error::VaultError;
use super::names::{environment_named, role_named};
use super::principal_keys::KeyView;
use super::recorder::Changed;
use super::{Vault, same_revision};
use crate::audit::{Detail, Kind};
use crate::crypto::Recipient;
use crate::model::{Permission, PrincipalId, RoleId, Slug, Timestamp, WorkloadId, words};
use crate::store::{Page, StoreError, Tx, WorkloadRow};

words! {
    /// Whether a principal may do anything at all.
    PrincipalState {
        /// It may do what it is entitled to.
        Enabled = "enabled",
        /// It is treated as unknown.
        Disabled = "disabled",
    }
}

/// A workload to be enrolled. Its keys are registered after that.
#[derive(Deserialize, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewWorkload {
    /// Its name.
    pub name: Slug,
    /// The environment that it runs in.
    pub environment: Slug,
    /// What it is for.
    pub roles: Vec<Slug>,
    /// An age X25519 recipient (`age1…`): releases are then also given encrypted to it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub age_recipient: Option<String>,
}

/// What to change of a workload. Its environment never changes: enrol another one.
#[derive(Deserialize, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct WorkloadPatch {
    /// The new name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<Slug>,
    /// All the roles that it has from now on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub roles: Option<Vec<Slug>>,
    /// The new age recipient; `null` takes it away.
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        deserialize_with = "given"
    )]
    #[schema(value_type = Option<String>)]
    pub age_recipient: Option<Option<String>>,
}

/// A field that is there, even if it is `null`.
fn given<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Option<String>>, D::Error> {
    Option::deserialize(from).map(Some)
}

/// A registered server.
#[derive(Clone, Serialize, Deserialize, ToSchema)]
#[schema(as = Workload)]
pub struct WorkloadView {
    /// Its id.
    pub id: WorkloadId,
    /// Its name.
    pub name: Slug,
    /// The environment that it runs in.
    pub environment: Slug,
    /// What it is for, by name.
    pub roles: Vec<Slug>,
    /// The age recipient to whom releases can be encrypted.
    pub age_recipient: Option<String>,
    /// Whether it may do anything at all.
    pub state: PrincipalState,
    /// When it was enrolled.
    pub created_at: Timestamp,
    /// Counts its changes; the ETag.
    pub revision: i64,
    /// Its keys, revoked ones included.
    pub keys: Vec<KeyView>,
}

/// A workload with everything that may be shown of it.
pub(super) async fn workload_view(
    tx: &mut Tx,
    row: WorkloadRow,
) -> Result<WorkloadView, VaultError> {
    let environment = tx.environment(row.environment_id).await?;
    let environment = environment.ok_or(VaultError::Internal("an environment is missing"))?;
    let mut roles = Vec::new();
    for role in tx.workload_roles(row.id).await? {
        if let Some(role) = tx.role(role).await? {
            roles.push(role.name);
        }
    }
    roles.sort_unstable();
    let keys = tx.keys_of(PrincipalId::Workload(row.id)).await?;
    Ok(WorkloadView {
        id: row.id,
        name: row.name,
        environment: environment.name,
        roles,
        age_recipient: row.age_recipient,
        state: state_of(row.disabled_at),
        created_at: row.created_at,
        revision: row.revision,
        keys: keys.into_iter().map(KeyView::from).collect(),
    })
}

pub(super) fn state_of(disabled_at: Option<Timestamp>) -> PrincipalState {
    if disabled_at.is_some() {
        PrincipalState::Disabled
    } else {
        PrincipalState::Enabled
    }
}

fn name_taken(error: StoreError) -> VaultError {
    match error {
        StoreError::Taken => VaultError::Conflict("another workload has this name: choose another"),
        other => other.into(),
    }
}

/// An age recipient that somebody gave, if it is one that this service can encrypt to by itself.
fn checked_recipient(text: &str) -> Result<(), VaultError> {
    match Recipient::parse(text) {
        Ok(recipient) if recipient.is_x25519() => Ok(()),
        _ => Err(VaultError::invalid(
            "age_recipient",
            "must be an age X25519 recipient (age1 and 58 characters); those of plugins, SSH keys \
             and other schemes are not taken. `age-keygen -y` prints it",
        )),
    }
}

/// What the log says of a recipient: which one, without its text.
fn recipient_detail(recipient: Option<&str>) -> Detail {
    match recipient {
        None => Detail::Word("none"),
        Some(text) => {
            let mut sha256 = [0; 32];
            sha256.copy_from_slice(digest(&SHA256, text.as_bytes()).as_ref());
            Detail::Digest(sha256)
        }
    }
}

async fn role_ids(tx: &mut Tx, names: &[Slug]) -> Result<Vec<RoleId>, VaultError> {
    if names.is_empty() || names.len() > 32 {
        return Err(VaultError::invalid("roles", "must name 1 to 32 roles"));
    }
    let mut ids = Vec::with_capacity(names.len());
    for name in names {
        let role = role_named(tx, name, "roles").await?;
        if ids.contains(&role.id) {
            return Err(VaultError::invalid("roles", "names a role twice"));
        }
        ids.push(role.id);
    }
    Ok(ids)
}

impl Vault {
    /// Enrols a workload.
    ///
    /// # Errors
    /// The name is taken, environment or a role does not exist, or the recipient is none; see [`VaultError`].
    pub async fn enrol_workload(
        &self,
        caller: &Caller,
        new: NewWorkload,
    ) -> Result<WorkloadView, VaultError> {
        let now = self.clock.now();
        let id = WorkloadId::generate(now, self.random.as_ref())?;
        let record = caller.draft(Kind::WorkloadEnrolled);
        self.change(caller, Permission::WritePrincipals, move |tx| {
            Box::pin(async move {
                let environment = environment_named(tx, &new.environment).await?;
                let roles = role_ids(tx, &new.roles).await?;
                if let Some(recipient) = &new.age_recipient {
                    checked_recipient(recipient)?;
                }
                let row = WorkloadRow {
                    id,
                    name: new.name,
                    environment_id: environment.id,
                    age_recipient: new.age_recipient,
                    disabled_at: None,
                    created_at: now,
                    revision: 1,
                    mac: Vec::new(),
                };
                let row = tx.insert_workload(row).await.map_err(name_taken)?;
                tx.set_workload_roles(id, &roles).await?;
                let mut record = record.about([id.into(), environment.id.into()]);
                if let Some(recipient) = &row.age_recipient {
                    record = record.with("age_recipient", recipient_detail(Some(recipient)));
                }
                record
                    .subjects
                    .extend(roles.into_iter().map(crate::audit::Subject::from));
                let value = workload_view(tx, row).await?;
                Ok(Changed {
                    value,
                    records: vec![record],
                    subjects: vec![id.to_string()],
                })
            })
        })
        .await
    }

    /// A workload with its keys.
    ///
    /// # Errors
    /// It is not there; see [`VaultError`].
    pub async fn workload(
        &self,
        caller: &Caller,
        id: WorkloadId,
    ) -> Result<WorkloadView, VaultError> {
        self.authorise(caller, Permission::ReadMetadata).await?;
        let mut tx = self.db.read().await?;
        let row = tx.workload(id).await?.ok_or(VaultError::NotFound)?;
        workload_view(&mut tx, row).await
    }

    /// A page of workloads.
    ///
    /// # Errors
    /// See [`VaultError`].
    pub async fn workloads(
        &self,
        caller: &Caller,
        after: &str,
        limit: i64,
    ) -> Result<Page<WorkloadView>, VaultError> {
        self.authorise(caller, Permission::ReadMetadata).await?;
        let mut tx = self.db.read().await?;
        let page = tx.workloads(after, limit).await?;
        let mut items = Vec::with_capacity(page.items.len());
        for row in page.items {
            items.push(workload_view(&mut tx, row).await?);
        }
        Ok(Page {
            items,
            next: page.next,
        })
    }

    /// Changes a workload that still has the revision `expected`.
    ///
    /// # Errors
    /// It is not there or has changed, the name is taken, or a role does not exist; see
    /// [`VaultError`].
    pub async fn change_workload(
        &self,
        caller: &Caller,
        id: WorkloadId,
        expected: i64,
        patch: WorkloadPatch,
    ) -> Result<WorkloadView, VaultError> {
        let record = caller.draft(Kind::WorkloadChanged).about([id.into()]);
        self.change(caller, Permission::WritePrincipals, move |tx| {
            Box::pin(async move {
                let mut row = tx.workload(id).await?.ok_or(VaultError::NotFound)?;
                same_revision(row.revision, expected)?;
                row.name = patch.name.unwrap_or(row.name);
                row.revision += 1;
                let mut record = record;
                if let Some(recipient) = patch.age_recipient {
                    if let Some(recipient) = &recipient {
                        checked_recipient(recipient)?;
                    }
                    if recipient != row.age_recipient {
                        let detail = recipient_detail(recipient.as_deref());
                        record = record.with("age_recipient", detail);
                    }
                    row.age_recipient = recipient;
                }
                if !tx
                    .update_workload(&mut row, expected)
                    .await
                    .map_err(name_taken)?
                {
                    return Err(VaultError::Changed);
                }
                if let Some(names) = &patch.roles {
                    let roles = role_ids(tx, names).await?;
                    tx.set_workload_roles(id, &roles).await?;
                    record
                        .subjects
                        .extend(roles.into_iter().map(crate::audit::Subject::from));
                }
                let value = workload_view(tx, row).await?;
                Ok(Changed {
                    value,
                    records: vec![record],
                    subjects: vec![id.to_string()],
                })
            })
        })
        .await
    }

    /// Disables or enables a workload that still has the revision `expected`.
    ///
    /// # Errors
    /// It is not there, has changed, or is in that state already; see [`VaultError`].
    pub async fn set_workload_state(
        &self,
        caller: &Caller,
        id: WorkloadId,
        expected: i64,
        state: PrincipalState,
    ) -> Result<WorkloadView, VaultError> {
        let now = self.clock.now();
        let (kind, disabled_at) = match state {
            PrincipalState::Enabled => (Kind::WorkloadEnabled, None),
            PrincipalState::Disabled => (Kind::WorkloadDisabled, Some(now)),
        };
        let record = caller.draft(kind).about([id.into()]);
        self.change(caller, Permission::WritePrincipals, move |tx| {
            Box::pin(async move {
                let mut row = tx.workload(id).await?.ok_or(VaultError::NotFound)?;
                same_revision(row.revision, expected)?;
                if state_of(row.disabled_at) == state {
                    return Err(VaultError::Conflict(
                        "the workload is in this state already",
                    ));
                }
                row.disabled_at = disabled_at;
                row.revision += 1;
                if !tx.update_workload(&mut row, expected).await? {
                    return Err(VaultError::Changed);
                }
                // Who is disabled may come back: their certificates are on hold, not revoked.
                tx.hold_issued(PrincipalId::Workload(id), disabled_at, now)
                    .await?;
                let value = workload_view(tx, row).await?;
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
