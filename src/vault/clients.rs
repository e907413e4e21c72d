//! Clients and their contacts.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::caller::Caller;
use super::erase::live_client;
use super::error::VaultError;
use super::recorder::Changed;
use super::{Vault, same_revision};
use crate::audit::{Detail, Kind};
use crate::model::{ClientId, ContactId, DisplayName, EmailAddress, Permission, Slug, Timestamp};
use crate::store::{ClientRow, ContactRole, ContactRow, Page, StoreError};

/// A client to be added.
#[derive(Deserialize, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewClient {
    /// The name that people read.
    pub name: DisplayName,
    /// The short name that programs use.
    pub slug: Slug,
}

/// What to change of a client.
#[derive(Deserialize, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ClientPatch {
    /// The new name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<DisplayName>,
    /// The new short name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub slug: Option<Slug>,
}

/// A client.
#[derive(Clone, Serialize, Deserialize, ToSchema)]
#[schema(as = Client)]
pub struct ClientView {
    /// Its id.
    pub id: ClientId,
    /// The name that people read.
    pub name: DisplayName,
    /// The short name that programs use.
    pub slug: Slug,
    /// When it was added.
    pub created_at: Timestamp,
    /// Counts its changes; the ETag.
    pub revision: i64,
    /// Its contacts; left out in lists.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub contacts: Option<Vec<ContactView>>,
}

/// A contact to be added.
#[derive(Deserialize, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewContact {
    /// The person's name.
    pub name: DisplayName,
    /// Their e-mail address.
    pub email: EmailAddress,
    /// What they are asked about.
    pub role: ContactRole,
}

/// What to change of a contact.
#[derive(Deserialize, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ContactPatch {
    /// The new name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<DisplayName>,
    /// The new address.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub email: Option<EmailAddress>,
    /// What they are asked about from now on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub role: Option<ContactRole>,
}

/// A person at a client.
#[derive(Clone, Serialize, Deserialize, ToSchema)]
#[schema(as = Contact)]
pub struct ContactView {
    /// Its id.
    pub id: ContactId,
    /// The client.
    pub client: ClientId,
    /// The person's name.
    pub name: DisplayName,
    /// Their e-mail address.
    pub email: EmailAddress,
    /// What they are asked about.
    pub role: ContactRole,
    /// When they were added.
    pub created_at: Timestamp,
    /// Counts the changes; the ETag.
    pub revision: i64,
}

impl From<ClientRow> for ClientView {
    fn from(row: ClientRow) -> Self {
        let ClientRow {
            id,
            name,
            slug,
            created_at,
            revision,
            ..
        } = row;
        Self {
            id,
            name,
            slug,
            created_at,
            revision,
            contacts: None,
        }
    }
}

impl From<ContactRow> for ContactView {
    fn from(row: ContactRow) -> Self {
        let ContactRow {
            id,
            client_id: client,
            name,
            email,
            role,
            created_at,
            revision,
        } = row;
        Self {
            id,
            client,
            name,
            email,
            role,
            created_at,
            revision,
        }
    }
}

fn address_taken(error: StoreError) -> VaultError {
    match error {
        StoreError::Taken => VaultError::Conflict(
            "another contact of this client has this address: change that one, or use it",
        ),
        other => other.into(),
    }
}

fn slug_taken(error: StoreError) -> VaultError {
    match error {
        StoreError::Taken => VaultError::Conflict("another client has this slug: choose another"),
        other => other.into(),
    }
}

/// How many contacts of a client are shown with it.
const SHOWN_CONTACTS: i64 = 500;

impl Vault {
    /// Adds a client.
    ///
    /// # Errors
    /// The slug is taken; see [`VaultError`].
    pub async fn create_client(
        &self,
        caller: &Caller,
        new: NewClient,
    ) -> Result<ClientView, VaultError> {
        let now = self.clock.now();
        let id = ClientId::generate(now, self.random.as_ref())?;
        let record = caller.draft(Kind::ClientCreated).about([id.into()]);
        self.change(caller, Permission::WriteClients, move |tx| {
            Box::pin(async move {
                let row = ClientRow {
                    id,
                    slug: new.slug,
                    name: new.name,
                    created_at: now,
                    revision: 1,
                    mac: Vec::new(),
                };
                let row = tx.insert_client(row).await.map_err(slug_taken)?;
                let mut value = ClientView::from(row);
                value.contacts = Some(Vec::new());
                Ok(Changed {
                    value,
                    records: vec![record],
                    subjects: Vec::new(),
                })
            })
        })
        .await
    }

    /// A client with its contacts.
    ///
    /// # Errors
    /// It is not there; see [`VaultError`].
    pub async fn client(&self, caller: &Caller, id: ClientId) -> Result<ClientView, VaultError> {
        self.authorise(caller, Permission::ReadMetadata).await?;
        let mut tx = self.db.read().await?;
        let row = tx.client(id).await?.ok_or(VaultError::NotFound)?;
        let contacts = tx.contacts(id, "", SHOWN_CONTACTS).await?;
        let mut view = ClientView::from(row);
        view.contacts = Some(contacts.items.into_iter().map(ContactView::from).collect());
        Ok(view)
    }

    /// A page of clients.
    ///
    /// # Errors
    /// See [`VaultError`].
    pub async fn clients(
        &self,
        caller: &Caller,
        after: &str,
        limit: i64,
    ) -> Result<Page<ClientView>, VaultError> {
        self.authorise(caller, Permission::ReadMetadata).await?;
        Ok(self
            .db
            .read()
            .await?
            .clients(after, limit)
            .await?
            .map(ClientView::from))
    }

    /// Changes a client that still has the revision `expected`.
    ///
    /// # Errors
    /// It is not there, was erased, has changed, or the slug is taken; see [`VaultError`].
    pub async fn change_client(
        &self,
        caller: &Caller,
        id: ClientId,
        expected: i64,
        patch: ClientPatch,
    ) -> Result<ClientView, VaultError> {
        let record = caller.draft(Kind::ClientChanged).about([id.into()]);
        self.change(caller, Permission::WriteClients, move |tx| {
            Box::pin(async move {
                let mut row = live_client(tx, id).await?;
                same_revision(row.revision, expected)?;
                row.name = patch.name.unwrap_or(row.name);
                row.slug = patch.slug.unwrap_or(row.slug);
                row.revision += 1;
                if !tx
                    .update_client(&mut row, expected)
                    .await
                    .map_err(slug_taken)?
                {
                    return Err(VaultError::Changed);
                }
                let record = record.with("revision", Detail::Number(row.revision));
                let subjects = vec![id.to_string()];
                Ok(Changed {
                    value: row.into(),
                    records: vec![record],
                    subjects,
                })
            })
        })
        .await
    }

    /// Adds a contact to a client.
    ///
    /// # Errors
    /// The client is not there, or was erased; see [`VaultError`].
    pub async fn add_contact(
        &self,
        caller: &Caller,
        client: ClientId,
        new: NewContact,
    ) -> Result<ContactView, VaultError> {
        let now = self.clock.now();
        let id = ContactId::generate(now, self.random.as_ref())?;
        let record = caller
            .draft(Kind::ContactAdded)
            .about([id.into(), client.into()]);
        self.change(caller, Permission::WriteClients, move |tx| {
            Box::pin(async move {
                live_client(tx, client).await?;
                let row = ContactRow {
                    id,
                    client_id: client,
                    name: new.name,
                    email: new.email,
                    role: new.role,
                    created_at: now,
                    revision: 1,
                };
                tx.insert_contact(&row).await.map_err(address_taken)?;
                Ok(Changed {
                    value: row.into(),
                    records: vec![record],
                    subjects: Vec::new(),
                })
            })
        })
        .await
    }

    /// A page of the contacts of a client.
    ///
    /// # Errors
    /// The client is not there; see [`VaultError`].
    pub async fn contacts(
        &self,
        caller: &Caller,
        client: ClientId,
        after: &str,
        limit: i64,
    ) -> Result<Page<ContactView>, VaultError> {
        self.authorise(caller, Permission::ReadMetadata).await?;
        let mut tx = self.db.read().await?;
        tx.client(client).await?.ok_or(VaultError::NotFound)?;
        Ok(tx
            .contacts(client, after, limit)
            .await?
            .map(ContactView::from))
    }

    /// One contact of a client.
    ///
    /// # Errors
    /// It is not there; see [`VaultError`].
    pub async fn contact(
        &self,
        caller: &Caller,
        client: ClientId,
        id: ContactId,
    ) -> Result<ContactView, VaultError> {
        self.authorise(caller, Permission::ReadMetadata).await?;
        let row = self.db.read().await?.contact(client, id).await?;
        row.map(ContactView::from).ok_or(VaultError::NotFound)
    }

    /// Changes a contact that still has the revision `expected`.
    ///
    /// # Errors
    /// It is not there or has changed; see [`VaultError`].
    pub async fn change_contact(
        &self,
        caller: &Caller,
        client: ClientId,
        id: ContactId,
        expected: i64,
        patch: ContactPatch,
    ) -> Result<ContactView, VaultError> {
        let record = caller
            .draft(Kind::ContactChanged)
            .about([id.into(), client.into()]);
        self.change(caller, Permission::WriteClients, move |tx| {
            Box::pin(async move {
                let mut row = tx.contact(client, id).await?.ok_or(VaultError::NotFound)?;
                same_revision(row.revision, expected)?;
                row.name = patch.name.unwrap_or(row.name);
                row.email = patch.email.unwrap_or(row.email);
                row.role = patch.role.unwrap_or(row.role);
                row.revision += 1;
                let written = tx.update_contact(&row, expected).await;
                if !written.map_err(address_taken)? {
                    return Err(VaultError::Changed);
                }
                Ok(Changed {
                    value: row.into(),
                    records: vec![record],
                    subjects: Vec::new(),
                })
            })
        })
        .await
    }

    /// Removes a contact that still has the revision `expected`.
    ///
    /// # Errors
    /// It is not there or has changed; see [`VaultError`].
    pub async fn remove_contact(
        &self,
        caller: &Caller,
        client: ClientId,
        id: ContactId,
        expected: Option<i64>,
    ) -> Result<(), VaultError> {
        let record = caller
            .draft(Kind::ContactRemoved)
            .about([id.into(), client.into()]);
        self.change(caller, Permission::WriteClients, move |tx| {
            Box::pin(async move {
                let row = tx.contact(client, id).await?.ok_or(VaultError::NotFound)?;
                same_revision(row.revision, expected.unwrap_or(row.revision))?;
                if !tx.delete_contact(id, client, row.revision).await? {
                    return Err(VaultError::Changed);
                }
                Ok(Changed {
                    value: (),
                    records: vec![record],
                    subjects: Vec::new(),
                })
            })
        })
        .await
    }
}
