//! Credentials: whose they are, where they belong, which roles may read them.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::caller::Caller;
use super::erase::live_client;
use super::error::VaultError;
use super::names::{environment_named, role_named};
use super::new_version::rewrap_for;
use super::recorder::{Changed, Draft};
use super::versions::VersionView;
use super::{Vault, same_revision};
use crate::audit::{Detail, Kind};
use crate::model::{
    ClientId, CredentialId, CredentialKind, DisplayName, Permission, Slug, Timestamp, VersionState,
};
use crate::store::{CredentialFilter, CredentialRow, Page, StoreError, Tx};

/// A credential to be added. Its value comes with its first version.
#[derive(Deserialize, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewCredential {
    /// The client, by id or short name.
    pub client: String,
    /// What people call it.
    pub label: DisplayName,
    /// What system it opens.
    pub kind: CredentialKind,
    /// The environment that it belongs to.
    pub environment: Slug,
    /// The roles that may read it.
    pub roles: Vec<Slug>,
}

/// What to change of a credential.
#[derive(Deserialize, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct CredentialPatch {
    /// What people call it from now on.
    pub label: DisplayName,
}

/// The client of a credential.
#[derive(Clone, Serialize, Deserialize, ToSchema)]
pub struct ClientRef {
    /// Its id.
    pub id: ClientId,
    /// The name that people read.
    pub name: DisplayName,
    /// The short name that programs use.
    pub slug: Slug,
}

/// A credential, without any value.
#[derive(Clone, Serialize, Deserialize, ToSchema)]
#[schema(as = Credential)]
pub struct CredentialView {
    /// Its id.
    pub id: CredentialId,
    /// The company whose it is.
    pub client: ClientRef,
    /// What people call it.
    pub label: DisplayName,
    /// What system it opens.
    pub kind: CredentialKind,
    /// The environment that it belongs to.
    pub environment: Slug,
    /// The roles that may read it, by name.
    pub roles: Vec<Slug>,
    /// When it was added.
    pub created_at: Timestamp,
    /// Counts its changes, those of its versions and roles included; the ETag.
    pub revision: i64,
    /// Its versions, newest first.
    pub versions: Vec<VersionView>,
    /// What somebody should look at: `no-active-version`, `no-expiry`, `expired`, `compromised`.
    pub flags: Vec<String>,
}

/// Which credentials to list; absent means any.
#[derive(Clone, Debug, Default, Deserialize, Serialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct CredentialQuery {
    /// Of this client, by id or short name.
    pub client: Option<String>,
    /// In this environment.
    pub environment: Option<Slug>,
    /// Readable by this role.
    pub role: Option<Slug>,
    /// Of this kind.
    pub kind: Option<CredentialKind>,
    /// Whose active version expires before this moment.
    pub expires_before: Option<Timestamp>,
}

impl CredentialQuery {
    /// Whether roles and versions are as was asked for. The database looks for them without knowing
    /// which of their rows the service wrote; in what is shown, only those count.
    fn fits(&self, view: &CredentialView) -> bool {
        let expires = |before: Timestamp| {
            let mut versions = view.versions.iter();
            let active = versions.find(|version| version.state == VersionState::Active);
            active.is_some_and(|active| active.expires_at.is_some_and(|at| at < before))
        };
        self.role
            .as_ref()
            .is_none_or(|role| view.roles.contains(role))
            && self.expires_before.is_none_or(expires)
    }
}

/// The client that a request named by id or short name.
async fn client_named(tx: &mut Tx, text: &str) -> Result<Option<ClientRef>, VaultError> {
    let row = match (text.parse::<ClientId>(), text.parse::<Slug>()) {
        (Ok(id), _) => tx.client(id).await?,
        (_, Ok(slug)) => tx.client_by_slug(&slug).await?,
        _ => None,
    };
    Ok(row.map(|row| ClientRef {
        id: row.id,
        name: row.name,
        slug: row.slug,
    }))
}

/// A credential with everything that may be shown of it.
pub(super) async fn credential_view(
    tx: &mut Tx,
    row: CredentialRow,
    now: Timestamp,
) -> Result<CredentialView, VaultError> {
    let damaged = VaultError::Internal("a credential refers to something that is not there");
    let client = tx.client(row.client_id).await?;
    let environment = tx.environment(row.environment_id).await?;
    let (Some(client), Some(environment)) = (client, environment) else {
        return Err(damaged);
    };
    let mut roles = Vec::new();
    for role in tx.credential_roles(row.id).await? {
        if let Some(role) = tx.role(role).await? {
            roles.push(role.name);
        }
    }
    roles.sort_unstable();
    let versions: Vec<VersionView> = tx
        .versions(row.id)
        .await?
        .into_iter()
        .map(VersionView::from)
        .collect();
    let mut flags = Vec::new();
    match versions
        .iter()
        .find(|version| version.state == VersionState::Active)
    {
        None => flags.push("no-active-version".to_owned()),
        Some(active) => {
            match active.expires_at {
                None => flags.push("no-expiry".to_owned()),
                Some(expires_at) if expires_at <= now => flags.push("expired".to_owned()),
                Some(_) => {}
            }
            if active.compromised_at.is_some() {
                flags.push("compromised".to_owned());
            }
        }
    }
    Ok(CredentialView {
        id: row.id,
        client: ClientRef {
            id: client.id,
            name: client.name,
            slug: client.slug,
        },
        label: row.label,
        kind: row.kind,
        environment: environment.name,
        roles,
        created_at: row.created_at,
        revision: row.revision,
        versions,
        flags,
    })
}

/// Loads a credential of a client that was not erased for a change, and counts the change.
pub(super) async fn touch_credential(
    tx: &mut Tx,
    id: CredentialId,
    expected: Option<i64>,
    edit: impl FnOnce(&mut CredentialRow),
) -> Result<CredentialRow, VaultError> {
    let mut row = tx.credential(id).await?.ok_or(VaultError::NotFound)?;
    let revision = row.revision;
    if let Some(expected) = expected {
        same_revision(revision, expected)?;
    }
    live_client(tx, row.client_id).await?;
    edit(&mut row);
    row.revision += 1;
    if !tx.update_credential(&mut row, revision).await? {
        return Err(VaultError::Changed);
    }
    Ok(row)
}

/// Adds a credential without a value. Returns it with its record.
pub(super) async fn insert_new(
    tx: &mut Tx,
    id: CredentialId,
    new: NewCredential,
    record: Draft,
    now: Timestamp,
) -> Result<(CredentialRow, Draft), VaultError> {
    if new.roles.is_empty() || new.roles.len() > 32 {
        return Err(VaultError::invalid("roles", "must name 1 to 32 roles"));
    }
    let client = client_named(tx, &new.client).await?.ok_or_else(|| {
        VaultError::invalid(
            "client",
            "names a client that does not exist: add it with `client add`",
        )
    })?;
    live_client(tx, client.id).await?;
    let environment = environment_named(tx, &new.environment).await?;
    let row = CredentialRow {
        id,
        client_id: client.id,
        label: new.label,
        kind: new.kind,
        environment_id: environment.id,
        created_at: now,
        revision: 1,
        mac: Vec::new(),
    };
    let row = tx.insert_credential(row).await?;
    let mut record = record
        .about([id.into(), client.id.into(), environment.id.into()])
        .with("kind", Detail::Word(row.kind.as_str()));
    for name in &new.roles {
        let role = role_named(tx, name, "roles").await?;
        tx.insert_credential_role(id, role.id)
            .await
            .map_err(|error| match error {
                StoreError::Taken => VaultError::invalid("roles", "names a role twice"),
                other => other.into(),
            })?;
        record.subjects.push(role.id.into());
    }
    Ok((row, record))
}

impl Vault {
    /// Adds a credential without a value.
    ///
    /// # Errors
    /// Client, environment or a role does not exist; see [`VaultError`].
    pub async fn create_credential(
        &self,
        caller: &Caller,
        new: NewCredential,
    ) -> Result<CredentialView, VaultError> {
        if new.roles.is_empty() || new.roles.len() > 32 {
            return Err(VaultError::invalid("roles", "must name 1 to 32 roles"));
        }
        let now = self.clock.now();
        let id = CredentialId::generate(now, self.random.as_ref())?;
        let record = caller.draft(Kind::CredentialCreated);
        self.change(caller, Permission::WriteCredentials, move |tx| {
            Box::pin(async move {
                let (row, record) = insert_new(tx, id, new, record, now).await?;
                let value = credential_view(tx, row, now).await?;
                // Nothing can be released yet, so no node has to forget anything.
                Ok(Changed {
                    value,
                    records: vec![record],
                    subjects: Vec::new(),
                })
            })
        })
        .await
    }

    /// A credential with its versions, without any value.
    ///
    /// # Errors
    /// It is not there; see [`VaultError`].
    pub async fn credential(
        &self,
        caller: &Caller,
        id: CredentialId,
    ) -> Result<CredentialView, VaultError> {
        self.authorise(caller, Permission::ReadMetadata).await?;
        let mut tx = self.db.read().await?;
        let row = tx.credential(id).await?.ok_or(VaultError::NotFound)?;
        credential_view(&mut tx, row, self.clock.now()).await
    }

    /// A page of credentials.
    ///
    /// # Errors
    /// See [`VaultError`].
    pub async fn credentials(
        &self,
        caller: &Caller,
        query: &CredentialQuery,
        after: &str,
        limit: i64,
    ) -> Result<Page<CredentialView>, VaultError> {
        self.authorise(caller, Permission::ReadMetadata).await?;
        let mut tx = self.db.read().await?;
        let mut filter = CredentialFilter {
            kind: query.kind,
            expires_before: query.expires_before,
            ..CredentialFilter::default()
        };
        let nothing = || {
            Ok(Page {
                items: Vec::new(),
                next: None,
            })
        };
        if let Some(client) = &query.client {
            let Some(client) = client_named(&mut tx, client).await? else {
                return nothing();
            };
            filter.client = Some(client.id);
        }
        if let Some(environment) = &query.environment {
            let row = tx.environment_by_name(environment).await?;
            let Some(row) = row else { return nothing() };
            filter.environment = Some(row.id);
        }
        if let Some(role) = &query.role {
            let Some(role) = tx.role_by_name(role).await? else {
                return nothing();
            };
            filter.role = Some(role.id);
        }
        let page = tx.credentials(&filter, after, limit).await?;
        let now = self.clock.now();
        let mut items = Vec::with_capacity(page.items.len());
        for row in page.items {
            let view = credential_view(&mut tx, row, now).await?;
            if query.fits(&view) {
                items.push(view);
            }
        }
        Ok(Page {
            items,
            next: page.next,
        })
    }

    /// Renames a credential that still has the revision `expected`.
    ///
    /// # Errors
    /// It is not there or has changed; see [`VaultError`].
    pub async fn change_credential(
        &self,
        caller: &Caller,
        id: CredentialId,
        expected: i64,
        patch: CredentialPatch,
    ) -> Result<CredentialView, VaultError> {
        let now = self.clock.now();
        let record = caller.draft(Kind::CredentialChanged).about([id.into()]);
        self.change(caller, Permission::WriteCredentials, move |tx| {
            Box::pin(async move {
                let edit = |row: &mut CredentialRow| row.label = patch.label;
                let row = touch_credential(tx, id, Some(expected), edit).await?;
                let value = credential_view(tx, row, now).await?;
                Ok(Changed {
                    value,
                    records: vec![record],
                    subjects: vec![id.to_string()],
                })
            })
        })
        .await
    }

    /// Lets a role read a credential: every live version's DEK is wrapped for it.
    ///
    /// # Errors
    /// Credential or role is not there, or the role may read it already; see [`VaultError`].
    pub async fn add_credential_role(
        &self,
        caller: &Caller,
        id: CredentialId,
        expected: Option<i64>,
        role: Slug,
    ) -> Result<CredentialView, VaultError> {
        let now = self.clock.now();
        let record = caller.draft(Kind::CredentialRoleAdded);
        let (keyring, random) = (self.keyring.clone(), self.random.clone());
        self.change(caller, Permission::WriteCredentials, move |tx| {
            Box::pin(async move {
                let role = role_named(tx, &role, "role").await?;
                let row = touch_credential(tx, id, expected, |_| ()).await?;
                let old = tx.credential_roles(id).await?;
                if old.contains(&role.id) {
                    return Err(VaultError::Conflict(
                        "the role may read this credential already",
                    ));
                }
                tx.insert_credential_role(id, role.id).await?;
                let mut records = vec![record.about([id.into(), role.id.into()])];
                let made = rewrap_for(tx, &row, role.id, &keyring, random.as_ref(), now).await?;
                records.extend(made);
                let value = credential_view(tx, row, now).await?;
                Ok(Changed {
                    value,
                    records,
                    subjects: vec![id.to_string()],
                })
            })
        })
        .await
    }

    /// Takes a role's access to a credential away, and its wrapped DEKs with it.
    ///
    /// # Errors
    /// Credential or role is not there, the role has no access, or it is the only one; see
    /// [`VaultError`].
    pub async fn remove_credential_role(
        &self,
        caller: &Caller,
        id: CredentialId,
        expected: Option<i64>,
        role: Slug,
    ) -> Result<CredentialView, VaultError> {
        let now = self.clock.now();
        let record = caller.draft(Kind::CredentialRoleRemoved);
        let change = self.change(caller, Permission::WriteCredentials, move |tx| {
            Box::pin(async move {
                let role = role_named(tx, &role, "role").await?;
                let row = touch_credential(tx, id, expected, |_| ()).await?;
                let old = tx.credential_roles(id).await?;
                if old.as_slice() == [role.id] {
                    return Err(VaultError::Conflict(
                        "it is the only role that can open this credential: without a wrapped key \
                         the value would be lost. Add another role first, or retire its versions",
                    ));
                }
                if !tx.delete_credential_role(id, role.id).await? {
                    return Err(VaultError::Conflict(
                        "the role has no access to this credential",
                    ));
                }
                tx.delete_role_wraps(id, role.id).await?;
                let record = record.about([id.into(), role.id.into()]);
                let value = credential_view(tx, row, now).await?;
                Ok(Changed {
                    value,
                    records: vec![record],
                    subjects: vec![id.to_string()],
                })
            })
        });
        self.destroying(change).await
    }
}
