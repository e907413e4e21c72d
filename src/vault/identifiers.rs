//! What says whose a value is, kept apart from the value: tenant, application, delegated user, test
//! address. The page of a renewal shows it, and a new value is compared with it, without a DEK being
//! opened: see docs/decisions/0007-identifiers-apart-from-the-value.md.

use std::collections::BTreeMap;

use super::Vault;
use super::error::VaultError;
use crate::crypto::{Binding, KeyRef, SealError, open, seal};
use crate::model::{CredentialId, VersionId};
use crate::providers;
use crate::random::Random;
use crate::secret::{Secret, SecretKey};
use crate::store::CredentialRow;

/// Seals the identifiers of versions, and opens them.
pub(super) struct Identifiers {
    deployment: String,
    key: SecretKey,
    key_ref: KeyRef,
}

impl Identifiers {
    /// With the service key `identifiers`.
    pub fn new(deployment: &str, (key, key_ref): (SecretKey, KeyRef)) -> Self {
        Self {
            deployment: deployment.to_owned(),
            key,
            key_ref,
        }
    }

    /// Seals the identifiers of a version.
    pub fn seal(
        &self,
        credential: CredentialId,
        version: VersionId,
        found: &[(&'static str, String)],
        random: &dyn Random,
    ) -> Result<Vec<u8>, SealError> {
        let map: BTreeMap<&str, &str> = found.iter().map(|(name, text)| (*name, &**text)).collect();
        // A map of texts can always be written.
        let text = Secret::new(serde_json::to_vec(&map).unwrap_or_default());
        let binding = self.binding(credential, version);
        seal(
            &self.key,
            self.key_ref,
            &binding,
            text.expose_secret(),
            random,
        )
    }

    /// Opens them; nothing when they are not those of this version.
    fn open(
        &self,
        credential: CredentialId,
        version: VersionId,
        sealed: &[u8],
    ) -> Option<Vec<(String, String)>> {
        let binding = self.binding(credential, version);
        let text = open(&self.key, self.key_ref, &binding, sealed).ok()?;
        let map: BTreeMap<String, String> = serde_json::from_slice(text.expose_secret()).ok()?;
        Some(map.into_iter().collect())
    }

    fn binding(&self, credential: CredentialId, version: VersionId) -> Binding<'_> {
        Binding::Identifiers {
            deployment: &self.deployment,
            credential,
            version,
        }
    }
}

/// What is known of the owner of a credential's active version.
pub(super) enum Owner {
    /// There is no active version: whoever hands in the first is the owner.
    Nobody,
    /// What the active version says.
    Known(Vec<(String, String)>),
    /// It was taken or altered: nobody can say that a new value is the same owner's.
    Unreadable,
}

impl Owner {
    /// Whether a new value with these identifiers may take the place of the active one by itself.
    pub fn may_be(&self, found: &[(&'static str, String)]) -> bool {
        match self {
            Self::Nobody => true,
            Self::Known(known) => providers::is_same_owner(known, found),
            Self::Unreadable => false,
        }
    }

    /// What a page may show of it.
    pub fn shown(self) -> Vec<(String, String)> {
        match self {
            Self::Known(known) => known,
            Self::Nobody | Self::Unreadable => Vec::new(),
        }
    }
}

impl Vault {
    /// What is known of the owner of the active version. Opens no value.
    pub(super) async fn owner_of_active(
        &self,
        credential: &CredentialRow,
    ) -> Result<Owner, VaultError> {
        let mut tx = self.db.read().await?;
        let Some(version) = tx.active_version(credential.id).await? else {
            return Ok(Owner::Nobody);
        };
        let sealed = tx.identifiers(version.id).await?;
        drop(tx);
        let opened = sealed.and_then(|it| self.identifiers.open(credential.id, version.id, &it));
        Ok(match opened {
            Some(known) => Owner::Known(known),
            None => {
                metrics::counter!("strongroom_unopenable_total").increment(1);
                tracing::error!(
                    credential = %credential.id, version = version.number,
                    "the identifiers of a credential could not be opened: they were altered, or put in \
                     another's place"
                );
                Owner::Unreadable
            }
        })
    }
}
