//! KEKs, and the DEKs of versions wrapped under them. Each blob is authenticated by its sealing, so
//! these rows have no tag.

use super::error::StoreError;
use super::tx::{Tx, on};
use crate::model::{EnvironmentId, KekId, RoleId, Timestamp, VersionId};

/// A KEK of one role, environment and generation, sealed under the root.
#[derive(Clone, sqlx::FromRow)]
#[expect(missing_docs, reason = "the columns of the table")]
pub struct KekRow {
    pub id: KekId,
    pub role_id: RoleId,
    pub environment_id: EnvironmentId,
    pub generation: i64,
    pub root_generation: i64,
    pub wrapped: Vec<u8>,
    pub created_at: Timestamp,
}

/// A DEK wrapped for one role, and the KEK that opens it.
#[derive(Clone, sqlx::FromRow)]
#[expect(missing_docs, reason = "the columns of the table")]
pub struct WrapRow {
    pub version_id: VersionId,
    pub role_id: RoleId,
    pub kek_id: KekId,
    pub wrapped: Vec<u8>,
}

/// A wrapped DEK with what it is bound to.
#[derive(Clone, sqlx::FromRow)]
#[expect(missing_docs, reason = "named like the columns they come from")]
pub struct BoundWrapRow {
    pub version_id: VersionId,
    pub role_id: RoleId,
    pub kek_id: KekId,
    pub wrapped: Vec<u8>,
    pub number: i64,
    pub credential_id: crate::model::CredentialId,
    pub environment_id: EnvironmentId,
}

impl Tx {
    /// Wrapped DEKs of all versions behind a version and role, in the order of both.
    ///
    /// # Errors
    /// The database is not available.
    pub async fn bound_wraps_after(
        &mut self,
        after: Option<(VersionId, RoleId)>,
        limit: i64,
    ) -> Result<Vec<BoundWrapRow>, StoreError> {
        const SQL: &str = "SELECT w.version_id, w.role_id, w.kek_id, w.wrapped, v.number,
                v.credential_id, c.environment_id
            FROM dek_wraps AS w JOIN credential_versions AS v ON v.id = w.version_id
            JOIN credentials AS c ON c.id = v.credential_id
            WHERE (w.version_id, w.role_id) > ($1, $2)
            ORDER BY w.version_id, w.role_id LIMIT $3";
        let (version, role) = match after {
            Some((version, role)) => (version.to_string(), role.to_string()),
            None => (String::new(), String::new()),
        };
        Ok(on!(self, conn => {
            sqlx::query_as::<Db, _>(SQL).bind(version).bind(role).bind(limit)
                .fetch_all(conn).await?
        }))
    }

    /// Adds a KEK.
    ///
    /// # Errors
    /// [`StoreError::Taken`] when role, environment and generation have one.
    pub async fn insert_kek(&mut self, row: &KekRow) -> Result<(), StoreError> {
        const SQL: &str = "INSERT INTO keks
                (id, role_id, environment_id, generation, root_generation, wrapped, created_at)
            VALUES ($1, $2, $3, $4, $5, $6, $7)";
        on!(self, conn => {
            sqlx::query::<Db>(SQL).bind(row.id).bind(row.role_id).bind(row.environment_id)
                .bind(row.generation).bind(row.root_generation).bind(row.wrapped.clone())
                .bind(row.created_at).execute(conn).await?;
        });
        Ok(())
    }

    /// The newest KEK of a role and environment.
    ///
    /// # Errors
    /// The database is not available.
    pub async fn newest_kek(
        &mut self,
        role: RoleId,
        environment: EnvironmentId,
    ) -> Result<Option<KekRow>, StoreError> {
        const SQL: &str = "SELECT * FROM keks WHERE role_id = $1 AND environment_id = $2
            ORDER BY generation DESC LIMIT 1";
        Ok(on!(self, conn => {
            sqlx::query_as::<Db, _>(SQL).bind(role).bind(environment).fetch_optional(conn).await?
        }))
    }

    /// The KEK with this id.
    ///
    /// # Errors
    /// The database is not available.
    pub async fn kek(&mut self, id: KekId) -> Result<Option<KekRow>, StoreError> {
        const SQL: &str = "SELECT * FROM keks WHERE id = $1";
        Ok(on!(self, conn => {
            sqlx::query_as::<Db, _>(SQL).bind(id).fetch_optional(conn).await?
        }))
    }

    /// Every KEK, in the order of their ids.
    ///
    /// # Errors
    /// The database is not available.
    pub async fn keks(&mut self) -> Result<Vec<KekRow>, StoreError> {
        const SQL: &str = "SELECT * FROM keks ORDER BY id";
        Ok(on!(self, conn => sqlx::query_as::<Db, _>(SQL).fetch_all(conn).await?))
    }

    /// Adds a wrapped DEK.
    ///
    /// # Errors
    /// [`StoreError::Taken`] when the role has one for this version.
    pub async fn insert_wrap(&mut self, row: &WrapRow) -> Result<(), StoreError> {
        const SQL: &str = "INSERT INTO dek_wraps (version_id, role_id, kek_id, wrapped)
            VALUES ($1, $2, $3, $4)";
        on!(self, conn => {
            sqlx::query::<Db>(SQL).bind(row.version_id).bind(row.role_id).bind(row.kek_id)
                .bind(row.wrapped.clone()).execute(conn).await?;
        });
        Ok(())
    }

    /// The wrapped DEKs of a version.
    ///
    /// # Errors
    /// The database is not available.
    pub async fn wraps(&mut self, version: VersionId) -> Result<Vec<WrapRow>, StoreError> {
        const SQL: &str = "SELECT * FROM dek_wraps WHERE version_id = $1 ORDER BY role_id";
        Ok(on!(self, conn => {
            sqlx::query_as::<Db, _>(SQL).bind(version).fetch_all(conn).await?
        }))
    }

    /// Deletes the wraps of one role for every version of a credential.
    ///
    /// # Errors
    /// The database is not available.
    pub async fn delete_role_wraps(
        &mut self,
        credential: crate::model::CredentialId,
        role: RoleId,
    ) -> Result<u64, StoreError> {
        const SQL: &str = "DELETE FROM dek_wraps WHERE role_id = $1 AND version_id IN
            (SELECT id FROM credential_versions WHERE credential_id = $2)";
        Ok(on!(self, conn => {
            sqlx::query::<Db>(SQL).bind(role).bind(credential).execute(conn).await?.rows_affected()
        }))
    }

    /// Destroys every wrapped DEK of a version: after that nobody can open its payload.
    ///
    /// # Errors
    /// The database is not available.
    pub async fn delete_wraps(&mut self, version: VersionId) -> Result<u64, StoreError> {
        const SQL: &str = "DELETE FROM dek_wraps WHERE version_id = $1";
        Ok(on!(self, conn => {
            sqlx::query::<Db>(SQL).bind(version).execute(conn).await?.rows_affected()
        }))
    }
}
