//! The deployment itself, and the keys at the top: root generations and service keys.
//!
//! These rows have no tag: they are read before the key that makes tags is open, and each is
//! authenticated by its sealing.

use super::error::StoreError;
use super::tx::{Tx, on};
use crate::model::{ServiceKeyId, Timestamp};

/// The one row that names the deployment.
#[derive(Clone, Debug, sqlx::FromRow)]
#[expect(missing_docs, reason = "the columns of the table")]
pub struct DeploymentRow {
    pub deployment_id: String,
    pub created_at: Timestamp,
}

/// A generation of the root key, age-encrypted to its recipients.
#[derive(Clone, sqlx::FromRow)]
#[expect(missing_docs, reason = "the columns of the table")]
pub struct RootKeyRow {
    pub generation: i64,
    pub check_value: Vec<u8>,
    pub wrapped: Vec<u8>,
    pub created_at: Timestamp,
}

/// A key of the service itself, sealed under the root.
#[derive(Clone, sqlx::FromRow)]
#[expect(missing_docs, reason = "the columns of the table")]
pub struct ServiceKeyRow {
    pub id: ServiceKeyId,
    pub name: String,
    pub generation: i64,
    pub root_generation: i64,
    pub wrapped: Vec<u8>,
    pub created_at: Timestamp,
}

impl Tx {
    /// Names the deployment, once, and starts the policy counter.
    ///
    /// # Errors
    /// [`StoreError::Taken`] when it has a name.
    pub async fn insert_deployment(&mut self, row: &DeploymentRow) -> Result<(), StoreError> {
        const SQL: &str =
            "INSERT INTO deployment (only_row, deployment_id, created_at) VALUES (1, $1, $2)";
        const COUNTER: &str = "INSERT INTO policy_generation (only_row, generation) VALUES (1, 1)";
        on!(self, conn => {
            sqlx::query::<Db>(SQL).bind(row.deployment_id.clone()).bind(row.created_at)
                .execute(&mut *conn).await?;
            sqlx::query::<Db>(COUNTER).execute(&mut *conn).await?;
        });
        Ok(())
    }

    /// The deployment's name; `None` in a database that was never initialised.
    ///
    /// # Errors
    /// The database is not available.
    pub async fn deployment(&mut self) -> Result<Option<DeploymentRow>, StoreError> {
        const SQL: &str = "SELECT deployment_id, created_at FROM deployment";
        Ok(on!(self, conn => sqlx::query_as::<Db, _>(SQL).fetch_optional(conn).await?))
    }

    /// Adds a generation of the root key.
    ///
    /// # Errors
    /// [`StoreError::Taken`] when the generation exists.
    pub async fn insert_root_key(&mut self, row: &RootKeyRow) -> Result<(), StoreError> {
        const SQL: &str = "INSERT INTO root_keys (generation, check_value, wrapped, created_at)
            VALUES ($1, $2, $3, $4)";
        on!(self, conn => {
            sqlx::query::<Db>(SQL).bind(row.generation).bind(row.check_value.clone())
                .bind(row.wrapped.clone()).bind(row.created_at).execute(conn).await?;
        });
        Ok(())
    }

    /// Every generation of the root key, newest first.
    ///
    /// # Errors
    /// The database is not available.
    pub async fn root_keys(&mut self) -> Result<Vec<RootKeyRow>, StoreError> {
        const SQL: &str = "SELECT * FROM root_keys ORDER BY generation DESC";
        Ok(on!(self, conn => sqlx::query_as::<Db, _>(SQL).fetch_all(conn).await?))
    }

    /// Adds a service key.
    ///
    /// # Errors
    /// [`StoreError::Taken`] when this name has this generation.
    pub async fn insert_service_key(&mut self, row: &ServiceKeyRow) -> Result<(), StoreError> {
        const SQL: &str =
            "INSERT INTO service_keys (id, name, generation, root_generation, wrapped, created_at)
            VALUES ($1, $2, $3, $4, $5, $6)";
        on!(self, conn => {
            sqlx::query::<Db>(SQL).bind(row.id).bind(row.name.clone()).bind(row.generation)
                .bind(row.root_generation).bind(row.wrapped.clone()).bind(row.created_at)
                .execute(conn).await?;
        });
        Ok(())
    }

    /// Every service key, by name and newest generation first.
    ///
    /// # Errors
    /// The database is not available.
    pub async fn service_keys(&mut self) -> Result<Vec<ServiceKeyRow>, StoreError> {
        const SQL: &str = "SELECT * FROM service_keys ORDER BY name, generation DESC";
        Ok(on!(self, conn => sqlx::query_as::<Db, _>(SQL).fetch_all(conn).await?))
    }
}
