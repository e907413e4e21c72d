//! Clients and their contacts.

use super::error::StoreError;
use super::stored::Stored;
use super::tag::{Fields, Tagged};
use super::tx::{Page, Tx, on, one};
use crate::model::{ClientId, ContactId, DisplayName, EmailAddress, Slug, Timestamp, words};

/// A client as stored.
#[derive(Clone, Debug, sqlx::FromRow)]
#[expect(missing_docs, reason = "the columns of the table")]
pub struct ClientRow {
    pub id: ClientId,
    pub slug: Slug,
    pub name: DisplayName,
    pub created_at: Timestamp,
    pub revision: i64,
    pub mac: Vec<u8>,
}

impl Tagged for ClientRow {
    const TABLE: &'static str = "clients";

    fn fields(&self, fields: &mut Fields) {
        fields
            .text(self.id)
            .text(&self.slug)
            .text(&self.name)
            .time(self.created_at)
            .int(self.revision);
    }

    fn mac(&self) -> &[u8] {
        &self.mac
    }

    fn set_mac(&mut self, mac: Vec<u8>) {
        self.mac = mac;
    }

    fn name(&self) -> String {
        self.id.to_string()
    }
}

words! {
    /// What a contact is asked about.
    ContactRole {
        /// Decides, and is warned first.
        Owner = "owner",
        /// Carries the change out.
        Technical = "technical",
        /// Is told of incidents.
        Security = "security",
    }
}

/// A person at a client, as stored.
#[derive(Clone, Debug, sqlx::FromRow)]
#[expect(missing_docs, reason = "the columns of the table")]
pub struct ContactRow {
    pub id: ContactId,
    pub client_id: ClientId,
    pub name: DisplayName,
    pub email: EmailAddress,
    pub role: ContactRole,
    pub created_at: Timestamp,
    pub revision: i64,
}

impl Tx {
    /// Adds a client.
    ///
    /// # Errors
    /// [`StoreError::Taken`] when another client has the slug.
    pub async fn insert_client(&mut self, mut row: ClientRow) -> Result<ClientRow, StoreError> {
        const SQL: &str = "INSERT INTO clients (id, slug, name, created_at, revision, mac)
            VALUES ($1, $2, $3, $4, $5, $6)";
        self.tag(&mut row);
        on!(self, conn => {
            sqlx::query::<Db>(SQL).bind(row.id).bind(row.slug.clone()).bind(row.name.clone())
                .bind(row.created_at).bind(row.revision).bind(row.mac.clone())
                .execute(conn).await?;
        });
        Ok(row)
    }

    /// Writes name and slug if the row still has `expected` as its revision; `false` if not.
    ///
    /// # Errors
    /// [`StoreError::Taken`] when another client has the slug.
    pub async fn update_client(
        &mut self,
        row: &mut ClientRow,
        expected: i64,
    ) -> Result<bool, StoreError> {
        const SQL: &str = "UPDATE clients SET slug = $1, name = $2, revision = $3, mac = $4
            WHERE id = $5 AND revision = $6";
        self.tag(row);
        let rows = on!(self, conn => {
            sqlx::query::<Db>(SQL).bind(row.slug.clone()).bind(row.name.clone())
                .bind(row.revision).bind(row.mac.clone()).bind(row.id).bind(expected)
                .execute(conn).await?.rows_affected()
        });
        Ok(one(rows))
    }

    /// The client with this id.
    ///
    /// # Errors
    /// The database is not available.
    pub async fn client(&mut self, id: ClientId) -> Result<Option<ClientRow>, StoreError> {
        const SQL: &str = "SELECT * FROM clients WHERE id = $1";
        let row: Option<Stored<ClientRow>> =
            on!(self, conn => sqlx::query_as::<Db, _>(SQL).bind(id).fetch_optional(conn).await?);
        Ok(row.and_then(|row| self.stored(row)))
    }

    /// The client with this slug.
    ///
    /// # Errors
    /// The database is not available.
    pub async fn client_by_slug(&mut self, slug: &Slug) -> Result<Option<ClientRow>, StoreError> {
        const SQL: &str = "SELECT * FROM clients WHERE slug = $1";
        let row: Option<Stored<ClientRow>> = on!(self, conn => {
            sqlx::query_as::<Db, _>(SQL).bind(slug.clone()).fetch_optional(conn).await?
        });
        Ok(row.and_then(|row| self.stored(row)))
    }

    /// Clients after the id `after`, in the order of their ids.
    ///
    /// # Errors
    /// [`StoreError::Taken`] when another contact of the client has the address.
    pub async fn clients(
        &mut self,
        after: &str,
        limit: i64,
    ) -> Result<Page<ClientRow>, StoreError> {
        const SQL: &str = "SELECT * FROM clients WHERE id > $1 ORDER BY id LIMIT $2";
        let rows: Vec<Stored<ClientRow>> = on!(self, conn => {
            sqlx::query_as::<Db, _>(SQL).bind(after.to_owned()).bind(limit + 1).fetch_all(conn).await?
        });
        Ok(self.page(rows, limit))
    }

    /// Adds a contact.
    ///
    /// # Errors
    /// [`StoreError::Missing`] when there is no such client.
    pub async fn insert_contact(&mut self, row: &ContactRow) -> Result<(), StoreError> {
        const SQL: &str =
            "INSERT INTO contacts (id, client_id, name, email, role, created_at, revision)
            VALUES ($1, $2, $3, $4, $5, $6, $7)";
        on!(self, conn => {
            sqlx::query::<Db>(SQL).bind(row.id).bind(row.client_id).bind(row.name.clone())
                .bind(row.email.clone()).bind(row.role).bind(row.created_at).bind(row.revision)
                .execute(conn).await?;
        });
        Ok(())
    }

    /// Writes name, address and role if the row still has `expected` as its revision.
    ///
    /// # Errors
    /// [`StoreError::Taken`] when another contact of the client has the address.
    pub async fn update_contact(
        &mut self,
        row: &ContactRow,
        expected: i64,
    ) -> Result<bool, StoreError> {
        const SQL: &str = "UPDATE contacts SET name = $1, email = $2, role = $3, revision = $4
            WHERE id = $5 AND client_id = $6 AND revision = $7";
        let rows = on!(self, conn => {
            sqlx::query::<Db>(SQL).bind(row.name.clone()).bind(row.email.clone()).bind(row.role)
                .bind(row.revision).bind(row.id).bind(row.client_id).bind(expected)
                .execute(conn).await?.rows_affected()
        });
        Ok(one(rows))
    }

    /// Removes a contact if the row still has `expected` as its revision.
    ///
    /// # Errors
    /// The database is not available.
    pub async fn delete_contact(
        &mut self,
        id: ContactId,
        client: ClientId,
        expected: i64,
    ) -> Result<bool, StoreError> {
        const SQL: &str = "DELETE FROM contacts WHERE id = $1 AND client_id = $2 AND revision = $3";
        let rows = on!(self, conn => {
            sqlx::query::<Db>(SQL).bind(id).bind(client).bind(expected)
                .execute(conn).await?.rows_affected()
        });
        Ok(one(rows))
    }

    /// The contact with this id at this client.
    ///
    /// # Errors
    /// The database is not available.
    pub async fn contact(
        &mut self,
        client: ClientId,
        id: ContactId,
    ) -> Result<Option<ContactRow>, StoreError> {
        const SQL: &str = "SELECT * FROM contacts WHERE id = $1 AND client_id = $2";
        Ok(on!(self, conn => {
            sqlx::query_as::<Db, _>(SQL).bind(id).bind(client).fetch_optional(conn).await?
        }))
    }

    /// Contacts of a client after the id `after`, in the order of their ids.
    ///
    /// # Errors
    /// The database is not available.
    pub async fn contacts(
        &mut self,
        client: ClientId,
        after: &str,
        limit: i64,
    ) -> Result<Page<ContactRow>, StoreError> {
        const SQL: &str =
            "SELECT * FROM contacts WHERE client_id = $1 AND id > $2 ORDER BY id LIMIT $3";
        let rows: Vec<ContactRow> = on!(self, conn => {
            sqlx::query_as::<Db, _>(SQL).bind(client).bind(after.to_owned()).bind(limit + 1)
                .fetch_all(conn).await?
        });
        Ok(Page::cut(rows, limit, |row| row.id.to_string()))
    }
}
