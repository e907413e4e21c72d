//! Opening one value: KEK, DEK, payload. Who calls this has recorded it first: see `release.rs`,
//! `bundle.rs` and `verify.rs`.

use std::sync::Arc;

use super::Vault;
use super::error::VaultError;
use crate::crypto::{Kek, KekRef, PayloadRef};
use crate::model::{KekId, RoleId};
use crate::secret::Secret;
use crate::store::{CredentialRow, KekRow, VersionRow};

/// What is needed to open one value.
pub(super) struct SealedParts<'a> {
    pub credential: &'a CredentialRow,
    pub version: &'a VersionRow,
    pub payload: &'a [u8],
    pub wrap: Option<(KekId, &'a [u8])>,
    pub role: RoleId,
}

impl Vault {
    /// Opens a value: KEK, DEK, payload. A row that does not open is an alarm.
    pub(super) async fn open_value(&self, sealed: &SealedParts<'_>) -> Result<Secret, VaultError> {
        let kek = match sealed.wrap {
            Some((kek, _)) => self.kek(kek, sealed.credential, sealed.role).await,
            None => Err(VaultError::Internal("no wrapped key for this role")),
        };
        self.open_with(kek.as_deref(), sealed)
    }

    /// The same with the KEK at hand, or the reason why it is not.
    pub(super) fn open_with(
        &self,
        kek: Result<&Kek, &VaultError>,
        sealed: &SealedParts<'_>,
    ) -> Result<Secret, VaultError> {
        let opened = match kek {
            Ok(kek) => self.try_open_value(kek, sealed),
            Err(VaultError::Internal(what)) => Err(VaultError::Internal(what)),
            Err(VaultError::Unavailable(what)) => Err(VaultError::Unavailable(what)),
            Err(_) => Err(VaultError::Internal("a KEK could not be opened")),
        };
        if let Err(VaultError::Internal(_)) = &opened {
            self.memory.drop_credential(sealed.credential.id);
            metrics::counter!("strongroom_unopenable_total").increment(1);
            tracing::error!(
                credential = %sealed.credential.id, version = sealed.version.number,
                "a sealed credential could not be opened: it was altered, or put in another's place"
            );
        }
        opened
    }

    fn try_open_value(&self, kek: &Kek, sealed: &SealedParts<'_>) -> Result<Secret, VaultError> {
        let (_, wrapped) = sealed
            .wrap
            .ok_or(VaultError::Internal("no wrapped key for this role"))?;
        let number = u64::try_from(sealed.version.number).unwrap_or(0);
        let dek = self
            .keyring
            .unwrap_dek(kek, sealed.credential.id, number, wrapped)?;
        let payload = PayloadRef {
            environment: sealed.credential.environment_id,
            credential: sealed.credential.id,
            version: number,
            version_id: sealed.version.id,
        };
        Ok(self.keyring.open_payload(&dek, payload, sealed.payload)?)
    }

    /// The KEK with this id, opened when it is first needed. What it is bound to comes from the
    /// credential and the role, not from the KEK's own row.
    pub(super) async fn kek(
        &self,
        id: KekId,
        credential: &CredentialRow,
        role: RoleId,
    ) -> Result<Arc<Kek>, VaultError> {
        let row = match self.memory.kek(id) {
            Some(row) => row,
            None => Box::pin(self.read_kek(id)).await?,
        };
        let reference = KekRef {
            id,
            generation: u32::try_from(row.generation).unwrap_or(0),
            environment: credential.environment_id,
            role,
        };
        let now = self.clock.now();
        self.keyring
            .kek(reference, now, || {
                Ok::<_, std::convert::Infallible>(&row.wrapped)
            })
            .map_err(|_| VaultError::Internal("a KEK could not be opened"))
    }

    async fn read_kek(&self, id: KekId) -> Result<Arc<KekRow>, VaultError> {
        let generation = self.memory.generation();
        let row = self.db.read().await?.kek(id).await?;
        let row = Arc::new(row.ok_or(VaultError::Internal("a KEK is missing"))?);
        self.memory.keep_kek(generation, &row);
        Ok(row)
    }
}
