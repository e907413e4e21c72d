//! What can be said of the deployment's own keys without opening one.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::Vault;
use super::caller::Caller;
use super::error::VaultError;
use crate::model::{KekId, Permission, ServiceKeyId, Slug, Timestamp};

/// The deployment's keys.
#[derive(Clone, Serialize, Deserialize, ToSchema)]
pub struct KeyInventory {
    /// The root key.
    pub root: RootView,
    /// The KEKs.
    pub keks: Vec<KekView>,
    /// The keys of the service itself.
    pub service: Vec<ServiceKeyView>,
}

/// The root key.
#[derive(Clone, Serialize, Deserialize, ToSchema)]
#[schema(as = RootKey)]
pub struct RootView {
    /// Its generation.
    pub generation: i64,
    /// Its check value, hexadecimal: the same on every node that opened the right one.
    pub check: String,
    /// When it was made.
    pub created_at: Timestamp,
}

/// A key-encryption key.
#[derive(Clone, Serialize, Deserialize, ToSchema)]
#[schema(as = Kek)]
pub struct KekView {
    /// Its id.
    pub id: KekId,
    /// The role that it serves.
    pub role: Slug,
    /// The environment that it serves.
    pub environment: Slug,
    /// Its generation.
    pub generation: i64,
    /// `active` is the one that wraps; `deactivated` ones only open.
    pub state: String,
    /// When it was made.
    pub created_at: Timestamp,
}

/// A key of the service itself.
#[derive(Clone, Serialize, Deserialize, ToSchema)]
#[schema(as = ServiceKey)]
pub struct ServiceKeyView {
    /// Its id.
    pub id: ServiceKeyId,
    /// What it is for.
    pub name: String,
    /// Its generation.
    pub generation: i64,
    /// When it was made.
    pub created_at: Timestamp,
}

impl Vault {
    /// Lists the deployment's keys.
    ///
    /// # Errors
    /// See [`VaultError`].
    pub async fn key_inventory(&self, caller: &Caller) -> Result<KeyInventory, VaultError> {
        self.authorise(caller, Permission::ReadMetadata).await?;
        let mut tx = self.db.read().await?;
        let root = tx.root_keys().await?.into_iter().next();
        let root = root.ok_or(VaultError::Internal("the root key's row is missing"))?;
        let rows = tx.keks().await?;
        let mut keks = Vec::with_capacity(rows.len());
        for row in &rows {
            let role = tx.role(row.role_id).await?;
            let environment = tx.environment(row.environment_id).await?;
            let (Some(role), Some(environment)) = (role, environment) else {
                continue;
            };
            let newer = |other: &&crate::store::KekRow| {
                other.role_id == row.role_id
                    && other.environment_id == row.environment_id
                    && other.generation > row.generation
            };
            let state = if rows.iter().any(|other| newer(&other)) {
                "deactivated"
            } else {
                "active"
            };
            keks.push(KekView {
                id: row.id,
                role: role.name,
                environment: environment.name,
                generation: row.generation,
                state: state.to_owned(),
                created_at: row.created_at,
            });
        }
        let service = tx.service_keys().await?.into_iter();
        let service = service.map(|row| ServiceKeyView {
            id: row.id,
            name: row.name,
            generation: row.generation,
            created_at: row.created_at,
        });
        Ok(KeyInventory {
            root: RootView {
                generation: root.generation,
                check: hex::encode(root.check_value),
                created_at: root.created_at,
            },
            keks,
            service: service.collect(),
        })
    }
}
