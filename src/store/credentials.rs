//! Credentials and which roles may read them.

use super::error::StoreError;
use super::stored::Stored;
use super::tag::{Fields, Tagged};
use super::tx::{Page, Tx, on, one};
use crate::model::{
    ClientId, CredentialId, CredentialKind, DisplayName, EnvironmentId, RoleId, Timestamp,
};

/// A credential as stored.
#[derive(Clone, Debug, sqlx::FromRow)]
#[expect(missing_docs, reason = "the columns of the table")]
pub struct CredentialRow {
    pub id: CredentialId,
    pub client_id: ClientId,
    pub label: DisplayName,
    pub kind: CredentialKind,
    pub environment_id: EnvironmentId,
    pub created_at: Timestamp,
    pub revision: i64,
    pub mac: Vec<u8>,
}

impl Tagged for CredentialRow {
    const TABLE: &'static str = "credentials";

    fn fields(&self, fields: &mut Fields) {
        fields
            .text(self.id)
            .text(self.client_id)
            .text(&self.label)
            .text(self.kind)
            .text(self.environment_id)
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

/// That a role may read a credential.
#[derive(Clone, Debug, sqlx::FromRow)]
pub(super) struct CredentialRoleRow {
    credential_id: CredentialId,
    pub(super) role_id: RoleId,
    mac: Vec<u8>,
}

impl Tagged for CredentialRoleRow {
    const TABLE: &'static str = "credential_roles";

    fn fields(&self, fields: &mut Fields) {
        fields.text(self.credential_id).text(self.role_id);
    }

    fn mac(&self) -> &[u8] {
        &self.mac
    }

    fn set_mac(&mut self, mac: Vec<u8>) {
        self.mac = mac;
    }

    fn name(&self) -> String {
        format!("{} {}", self.credential_id, self.role_id)
    }
}

/// Which credentials to list; absent means any.
#[derive(Clone, Debug, Default)]
pub struct CredentialFilter {
    /// Of this client.
    pub client: Option<ClientId>,
    /// In this environment.
    pub environment: Option<EnvironmentId>,
    /// Readable by this role.
    pub role: Option<RoleId>,
    /// Of this kind.
    pub kind: Option<CredentialKind>,
    /// Whose active version expires before this moment.
    pub expires_before: Option<Timestamp>,
}

impl Tx {
    /// Whether the tag of a grant fits.
    pub(super) fn role_grant_is_ours(
        &self,
        credential_id: CredentialId,
        role_id: RoleId,
        mac: Vec<u8>,
    ) -> bool {
        self.checked(CredentialRoleRow {
            credential_id,
            role_id,
            mac,
        })
        .is_some()
    }

    /// Adds a credential.
    ///
    /// # Errors
    /// [`StoreError::Missing`] when its client or environment is not there.
    pub async fn insert_credential(
        &mut self,
        mut row: CredentialRow,
    ) -> Result<CredentialRow, StoreError> {
        const SQL: &str = "INSERT INTO credentials
                (id, client_id, label, kind, environment_id, created_at, revision, mac)
            VALUES ($1, $2, $3, $4, $5, $6, $7, $8)";
        self.tag(&mut row);
        on!(self, conn => {
            sqlx::query::<Db>(SQL).bind(row.id).bind(row.client_id).bind(row.label.clone())
                .bind(row.kind).bind(row.environment_id).bind(row.created_at).bind(row.revision)
                .bind(row.mac.clone()).execute(conn).await?;
        });
        Ok(row)
    }

    /// Writes the label if the row still has `expected` as its revision. Also called with nothing
    /// but a new revision when versions or roles of the credential change.
    ///
    /// # Errors
    /// The database is not available.
    pub async fn update_credential(
        &mut self,
        row: &mut CredentialRow,
        expected: i64,
    ) -> Result<bool, StoreError> {
        const SQL: &str = "UPDATE credentials SET label = $1, revision = $2, mac = $3
            WHERE id = $4 AND revision = $5";
        self.tag(row);
        let rows = on!(self, conn => {
            sqlx::query::<Db>(SQL).bind(row.label.clone()).bind(row.revision).bind(row.mac.clone())
                .bind(row.id).bind(expected).execute(conn).await?.rows_affected()
        });
        Ok(one(rows))
    }

    /// The credential with this id.
    ///
    /// # Errors
    /// The database is not available.
    pub async fn credential(
        &mut self,
        id: CredentialId,
    ) -> Result<Option<CredentialRow>, StoreError> {
        const SQL: &str = "SELECT * FROM credentials WHERE id = $1";
        let row: Option<Stored<CredentialRow>> =
            on!(self, conn => sqlx::query_as::<Db, _>(SQL).bind(id).fetch_optional(conn).await?);
        Ok(row.and_then(|row| self.stored(row)))
    }

    /// Credentials after the id `after`, in the order of their ids.
    ///
    /// # Errors
    /// The database is not available.
    pub async fn credentials(
        &mut self,
        filter: &CredentialFilter,
        after: &str,
        limit: i64,
    ) -> Result<Page<CredentialRow>, StoreError> {
        const SQL: &str = "SELECT c.* FROM credentials c
            WHERE c.id > $1
              AND ($2 IS NULL OR c.client_id = $2)
              AND ($3 IS NULL OR c.environment_id = $3)
              AND ($4 IS NULL OR c.kind = $4)
              AND ($5 IS NULL OR EXISTS (SELECT 1 FROM credential_roles r
                    WHERE r.credential_id = c.id AND r.role_id = $5))
              AND ($6 IS NULL OR EXISTS (SELECT 1 FROM credential_versions v
                    WHERE v.credential_id = c.id AND v.state = 'active' AND v.expires_at < $6))
            ORDER BY c.id LIMIT $7";
        let rows: Vec<Stored<CredentialRow>> = on!(self, conn => {
            sqlx::query_as::<Db, _>(SQL).bind(after.to_owned()).bind(filter.client)
                .bind(filter.environment).bind(filter.kind).bind(filter.role)
                .bind(filter.expires_before).bind(limit + 1).fetch_all(conn).await?
        });
        Ok(self.page(rows, limit))
    }

    /// Lets a role read a credential.
    ///
    /// # Errors
    /// [`StoreError::Taken`] when it may already.
    pub async fn insert_credential_role(
        &mut self,
        credential_id: CredentialId,
        role_id: RoleId,
    ) -> Result<(), StoreError> {
        const SQL: &str =
            "INSERT INTO credential_roles (credential_id, role_id, mac) VALUES ($1, $2, $3)";
        let mut row = CredentialRoleRow {
            credential_id,
            role_id,
            mac: Vec::new(),
        };
        self.tag(&mut row);
        on!(self, conn => {
            sqlx::query::<Db>(SQL).bind(credential_id).bind(role_id).bind(row.mac)
                .execute(conn).await?;
        });
        Ok(())
    }

    /// Takes a role's access to a credential away; `false` when it had none.
    ///
    /// # Errors
    /// The database is not available.
    pub async fn delete_credential_role(
        &mut self,
        credential_id: CredentialId,
        role_id: RoleId,
    ) -> Result<bool, StoreError> {
        const SQL: &str = "DELETE FROM credential_roles WHERE credential_id = $1 AND role_id = $2";
        let rows = on!(self, conn => {
            sqlx::query::<Db>(SQL).bind(credential_id).bind(role_id)
                .execute(conn).await?.rows_affected()
        });
        Ok(one(rows))
    }

    /// The roles that may read a credential.
    ///
    /// # Errors
    /// The database is not available.
    pub async fn credential_roles(
        &mut self,
        credential_id: CredentialId,
    ) -> Result<Vec<RoleId>, StoreError> {
        const SQL: &str = "SELECT * FROM credential_roles WHERE credential_id = $1";
        let rows: Vec<Stored<CredentialRoleRow>> = on!(self, conn => {
            sqlx::query_as::<Db, _>(SQL).bind(credential_id).fetch_all(conn).await?
        });
        let mut roles: Vec<RoleId> = self
            .checked_all(rows)
            .into_iter()
            .map(|row| row.role_id)
            .collect();
        roles.sort_unstable();
        Ok(roles)
    }
}
