//! Workloads, operators and their keys.

use super::error::StoreError;
use super::stored::Stored;
use super::tag::{Fields, Tagged};
use super::tx::{Page, Tx, on, one};
use crate::model::{
    AuthorityId, DisplayName, EnvironmentId, KeyForm, KeyId, OperatorId, OperatorRole, PrincipalId,
    RoleId, Slug, Timestamp, WorkloadId,
};

/// A registered server as stored.
#[derive(Clone, Debug, sqlx::FromRow)]
#[expect(missing_docs, reason = "the columns of the table")]
pub struct WorkloadRow {
    pub id: WorkloadId,
    pub name: Slug,
    pub environment_id: EnvironmentId,
    pub age_recipient: Option<String>,
    pub disabled_at: Option<Timestamp>,
    pub created_at: Timestamp,
    pub revision: i64,
    pub mac: Vec<u8>,
}

impl Tagged for WorkloadRow {
    const TABLE: &'static str = "workloads";

    fn fields(&self, fields: &mut Fields) {
        fields
            .text(self.id)
            .text(&self.name)
            .text(self.environment_id)
            .opt_text(self.age_recipient.as_deref())
            .opt_time(self.disabled_at)
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

/// A role of a workload.
#[derive(Clone, Debug, sqlx::FromRow)]
struct WorkloadRoleRow {
    workload_id: WorkloadId,
    role_id: RoleId,
    mac: Vec<u8>,
}

impl Tagged for WorkloadRoleRow {
    const TABLE: &'static str = "workload_roles";

    fn fields(&self, fields: &mut Fields) {
        fields.text(self.workload_id).text(self.role_id);
    }

    fn mac(&self) -> &[u8] {
        &self.mac
    }

    fn set_mac(&mut self, mac: Vec<u8>) {
        self.mac = mac;
    }

    fn name(&self) -> String {
        format!("{} {}", self.workload_id, self.role_id)
    }
}

/// A person of the vendor as stored.
#[derive(Clone, Debug, sqlx::FromRow)]
#[expect(missing_docs, reason = "the columns of the table")]
pub struct OperatorRow {
    pub id: OperatorId,
    pub name: DisplayName,
    pub role: OperatorRole,
    pub disabled_at: Option<Timestamp>,
    pub created_at: Timestamp,
    pub revision: i64,
    pub mac: Vec<u8>,
}

impl Tagged for OperatorRow {
    const TABLE: &'static str = "operators";

    fn fields(&self, fields: &mut Fields) {
        fields
            .text(self.id)
            .text(&self.name)
            .text(self.role)
            .opt_time(self.disabled_at)
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

/// A key of a workload or operator as stored.
#[derive(Clone, Debug, sqlx::FromRow)]
#[expect(missing_docs, reason = "the columns of the table")]
pub struct KeyRow {
    pub id: KeyId,
    pub principal_id: PrincipalId,
    pub form: KeyForm,
    pub spki_sha256: Option<Vec<u8>>,
    pub public_key: Option<Vec<u8>>,
    pub authority_id: Option<AuthorityId>,
    pub spiffe_id: Option<String>,
    pub expires_at: Option<Timestamp>,
    pub created_at: Timestamp,
    pub revoked_at: Option<Timestamp>,
    pub mac: Vec<u8>,
}

impl Tagged for KeyRow {
    const TABLE: &'static str = "principal_keys";

    fn fields(&self, fields: &mut Fields) {
        fields
            .text(self.id)
            .text(self.principal_id)
            .text(self.form)
            .opt_bytes(self.spki_sha256.as_deref())
            .opt_bytes(self.public_key.as_deref())
            .opt_text(self.authority_id)
            .opt_text(self.spiffe_id.as_deref())
            .opt_time(self.expires_at)
            .time(self.created_at)
            .opt_time(self.revoked_at);
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

impl Tx {
    /// Adds a workload.
    ///
    /// # Errors
    /// [`StoreError::Taken`] when the name is in use.
    pub async fn insert_workload(
        &mut self,
        mut row: WorkloadRow,
    ) -> Result<WorkloadRow, StoreError> {
        const SQL: &str = "INSERT INTO workloads
                (id, name, environment_id, age_recipient, disabled_at, created_at, revision, mac)
            VALUES ($1, $2, $3, $4, $5, $6, $7, $8)";
        self.tag(&mut row);
        on!(self, conn => {
            sqlx::query::<Db>(SQL).bind(row.id).bind(row.name.clone()).bind(row.environment_id)
                .bind(row.age_recipient.clone()).bind(row.disabled_at).bind(row.created_at).bind(row.revision)
                .bind(row.mac.clone()).execute(conn).await?;
        });
        Ok(row)
    }

    /// Writes name, recipient and state if the row still has `expected` as its revision.
    ///
    /// # Errors
    /// [`StoreError::Taken`] when the name is in use.
    pub async fn update_workload(
        &mut self,
        row: &mut WorkloadRow,
        expected: i64,
    ) -> Result<bool, StoreError> {
        const SQL: &str = "UPDATE workloads
            SET name = $1, age_recipient = $2, disabled_at = $3, revision = $4, mac = $5
            WHERE id = $6 AND revision = $7";
        self.tag(row);
        let rows = on!(self, conn => {
            sqlx::query::<Db>(SQL).bind(row.name.clone()).bind(row.age_recipient.clone())
                .bind(row.disabled_at)
                .bind(row.revision).bind(row.mac.clone()).bind(row.id).bind(expected)
                .execute(conn).await?.rows_affected()
        });
        Ok(one(rows))
    }

    /// The workload with this id.
    ///
    /// # Errors
    /// The database is not available.
    pub async fn workload(&mut self, id: WorkloadId) -> Result<Option<WorkloadRow>, StoreError> {
        const SQL: &str = "SELECT * FROM workloads WHERE id = $1";
        let row: Option<Stored<WorkloadRow>> =
            on!(self, conn => sqlx::query_as::<Db, _>(SQL).bind(id).fetch_optional(conn).await?);
        Ok(row.and_then(|row| self.stored(row)))
    }

    /// Workloads after the id `after`, in the order of their ids.
    ///
    /// # Errors
    /// The database is not available.
    pub async fn workloads(
        &mut self,
        after: &str,
        limit: i64,
    ) -> Result<Page<WorkloadRow>, StoreError> {
        const SQL: &str = "SELECT * FROM workloads WHERE id > $1 ORDER BY id LIMIT $2";
        let rows: Vec<Stored<WorkloadRow>> = on!(self, conn => {
            sqlx::query_as::<Db, _>(SQL).bind(after.to_owned()).bind(limit + 1)
                .fetch_all(conn).await?
        });
        Ok(self.page(rows, limit))
    }

    /// The roles of a workload.
    ///
    /// # Errors
    /// The database is not available.
    pub async fn workload_roles(&mut self, id: WorkloadId) -> Result<Vec<RoleId>, StoreError> {
        const SQL: &str = "SELECT * FROM workload_roles WHERE workload_id = $1";
        let rows: Vec<Stored<WorkloadRoleRow>> =
            on!(self, conn => sqlx::query_as::<Db, _>(SQL).bind(id).fetch_all(conn).await?);
        let mut roles: Vec<RoleId> = self
            .checked_all(rows)
            .into_iter()
            .map(|row| row.role_id)
            .collect();
        roles.sort_unstable();
        Ok(roles)
    }

    /// Gives a workload exactly these roles.
    ///
    /// # Errors
    /// [`StoreError::Missing`] when a role is not there.
    pub async fn set_workload_roles(
        &mut self,
        workload_id: WorkloadId,
        roles: &[RoleId],
    ) -> Result<(), StoreError> {
        const DELETE: &str = "DELETE FROM workload_roles WHERE workload_id = $1";
        const INSERT: &str =
            "INSERT INTO workload_roles (workload_id, role_id, mac) VALUES ($1, $2, $3)";
        on!(self, conn => {
            sqlx::query::<Db>(DELETE).bind(workload_id).execute(conn).await?;
        });
        for role_id in roles {
            let mut row = WorkloadRoleRow {
                workload_id,
                role_id: *role_id,
                mac: Vec::new(),
            };
            self.tag(&mut row);
            on!(self, conn => {
                sqlx::query::<Db>(INSERT).bind(workload_id).bind(*role_id).bind(row.mac)
                    .execute(conn).await?;
            });
        }
        Ok(())
    }

    /// Adds an operator.
    ///
    /// # Errors
    /// [`StoreError::Taken`] when the name is in use.
    pub async fn insert_operator(
        &mut self,
        mut row: OperatorRow,
    ) -> Result<OperatorRow, StoreError> {
        const SQL: &str = "INSERT INTO operators
                (id, name, role, disabled_at, created_at, revision, mac)
            VALUES ($1, $2, $3, $4, $5, $6, $7)";
        self.tag(&mut row);
        on!(self, conn => {
            sqlx::query::<Db>(SQL).bind(row.id).bind(row.name.clone()).bind(row.role)
                .bind(row.disabled_at).bind(row.created_at).bind(row.revision)
                .bind(row.mac.clone()).execute(conn).await?;
        });
        Ok(row)
    }

    /// Writes name, role and state if the row still has `expected` as its revision.
    ///
    /// # Errors
    /// [`StoreError::Taken`] when the name is in use.
    pub async fn update_operator(
        &mut self,
        row: &mut OperatorRow,
        expected: i64,
    ) -> Result<bool, StoreError> {
        const SQL: &str = "UPDATE operators
            SET name = $1, role = $2, disabled_at = $3, revision = $4, mac = $5
            WHERE id = $6 AND revision = $7";
        self.tag(row);
        let rows = on!(self, conn => {
            sqlx::query::<Db>(SQL).bind(row.name.clone()).bind(row.role).bind(row.disabled_at)
                .bind(row.revision).bind(row.mac.clone()).bind(row.id).bind(expected)
                .execute(conn).await?.rows_affected()
        });
        Ok(one(rows))
    }

    /// The operator with this id.
    ///
    /// # Errors
    /// The database is not available.
    pub async fn operator(&mut self, id: OperatorId) -> Result<Option<OperatorRow>, StoreError> {
        const SQL: &str = "SELECT * FROM operators WHERE id = $1";
        let row: Option<Stored<OperatorRow>> =
            on!(self, conn => sqlx::query_as::<Db, _>(SQL).bind(id).fetch_optional(conn).await?);
        Ok(row.and_then(|row| self.stored(row)))
    }

    /// Operators after the id `after`, in the order of their ids.
    ///
    /// # Errors
    /// The database is not available.
    pub async fn operators(
        &mut self,
        after: &str,
        limit: i64,
    ) -> Result<Page<OperatorRow>, StoreError> {
        const SQL: &str = "SELECT * FROM operators WHERE id > $1 ORDER BY id LIMIT $2";
        let rows: Vec<Stored<OperatorRow>> = on!(self, conn => {
            sqlx::query_as::<Db, _>(SQL).bind(after.to_owned()).bind(limit + 1)
                .fetch_all(conn).await?
        });
        Ok(self.page(rows, limit))
    }

    /// Registers a key.
    ///
    /// # Errors
    /// [`StoreError::Taken`] when the public key, or the SPIFFE ID within its authority, was ever
    /// registered.
    pub async fn insert_key(&mut self, mut row: KeyRow) -> Result<KeyRow, StoreError> {
        const SQL: &str = "INSERT INTO principal_keys (id, principal_id, form, spki_sha256,
                public_key, authority_id, spiffe_id, expires_at, created_at, revoked_at, mac)
            VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)";
        self.tag(&mut row);
        on!(self, conn => {
            sqlx::query::<Db>(SQL).bind(row.id).bind(row.principal_id).bind(row.form)
                .bind(row.spki_sha256.clone()).bind(row.public_key.clone())
                .bind(row.authority_id).bind(row.spiffe_id.clone()).bind(row.expires_at)
                .bind(row.created_at).bind(row.revoked_at).bind(row.mac.clone())
                .execute(conn).await?;
        });
        Ok(row)
    }

    /// Revokes a key, and with it the certificates issued for it; `false` when it was revoked
    /// before.
    ///
    /// # Errors
    /// The database is not available.
    pub async fn revoke_key(
        &mut self,
        row: &mut KeyRow,
        at: Timestamp,
    ) -> Result<bool, StoreError> {
        const SQL: &str = "UPDATE principal_keys SET revoked_at = $1, mac = $2
            WHERE id = $3 AND revoked_at IS NULL";
        row.revoked_at = Some(at);
        self.tag(row);
        let rows = on!(self, conn => {
            sqlx::query::<Db>(SQL).bind(row.revoked_at).bind(row.mac.clone()).bind(row.id)
                .execute(conn).await?.rows_affected()
        });
        if one(rows) {
            self.revoke_issued(row.id, at).await?;
        }
        Ok(one(rows))
    }

    /// Writes the end of a key that has a new certificate, and the authority of that; `false` when the
    /// key was revoked.
    ///
    /// # Errors
    /// The database is not available.
    pub async fn renew_key(&mut self, row: &mut KeyRow) -> Result<bool, StoreError> {
        const SQL: &str = "UPDATE principal_keys
            SET authority_id = $1, expires_at = $2, mac = $3
            WHERE id = $4 AND revoked_at IS NULL";
        self.tag(row);
        let rows = on!(self, conn => {
            sqlx::query::<Db>(SQL).bind(row.authority_id).bind(row.expires_at)
                .bind(row.mac.clone()).bind(row.id).execute(conn).await?.rows_affected()
        });
        Ok(one(rows))
    }

    /// The keys of a principal, revoked ones included, oldest first.
    ///
    /// # Errors
    /// The database is not available.
    pub async fn keys_of(&mut self, principal: PrincipalId) -> Result<Vec<KeyRow>, StoreError> {
        const SQL: &str = "SELECT * FROM principal_keys WHERE principal_id = $1 ORDER BY id";
        let rows: Vec<Stored<KeyRow>> = on!(self, conn => {
            sqlx::query_as::<Db, _>(SQL).bind(principal).fetch_all(conn).await?
        });
        Ok(self.checked_all(rows))
    }

    /// The key with this id.
    ///
    /// # Errors
    /// The database is not available.
    pub async fn key(&mut self, id: KeyId) -> Result<Option<KeyRow>, StoreError> {
        const SQL: &str = "SELECT * FROM principal_keys WHERE id = $1";
        let row: Option<Stored<KeyRow>> =
            on!(self, conn => sqlx::query_as::<Db, _>(SQL).bind(id).fetch_optional(conn).await?);
        Ok(row.and_then(|row| self.stored(row)))
    }

    /// The key whose SubjectPublicKeyInfo has this SHA-256.
    ///
    /// # Errors
    /// The database is not available.
    pub async fn key_by_spki(&mut self, sha256: &[u8; 32]) -> Result<Option<KeyRow>, StoreError> {
        const SQL: &str = "SELECT * FROM principal_keys WHERE spki_sha256 = $1";
        let row: Option<Stored<KeyRow>> = on!(self, conn => {
            sqlx::query_as::<Db, _>(SQL).bind(sha256.to_vec()).fetch_optional(conn).await?
        });
        Ok(row.and_then(|row| self.stored(row)))
    }

    /// The live key that stands for a SPIFFE ID. The id names its trust domain, so that the key is
    /// found whichever of the domain's authorities vouched for it.
    ///
    /// # Errors
    /// The database is not available.
    pub async fn key_by_spiffe(&mut self, spiffe_id: &str) -> Result<Option<KeyRow>, StoreError> {
        const SQL: &str = "SELECT * FROM principal_keys
            WHERE form = 'spiffe' AND spiffe_id = $1 AND revoked_at IS NULL";
        let row: Option<Stored<KeyRow>> = on!(self, conn => {
            sqlx::query_as::<Db, _>(SQL).bind(spiffe_id.to_owned()).fetch_optional(conn).await?
        });
        Ok(row.and_then(|row| self.stored(row)))
    }
}
