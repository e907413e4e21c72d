//! The vault as the registry that identity checks ask.

use std::sync::Arc;

use futures_util::future::BoxFuture;

use crate::identity::public_key::PublicKey;
use crate::identity::{
    Lookup, RegisteredCertificate, RegisteredKey, Registry, RegistryError, SpiffeProof, SpkiHash,
};
use crate::model::{KeyForm, KeyId, Principal};
use crate::vault::{KeyName, ResolvedKey, Vault};

/// Asks the vault anew for every request.
pub(super) struct VaultRegistry<'a>(pub &'a Vault);

impl VaultRegistry<'_> {
    async fn find(&self, name: KeyName) -> Result<Lookup<Arc<ResolvedKey>>, RegistryError> {
        let found = self.0.find_key(&name).await.map_err(|_| RegistryError)?;
        let now = self.0.clock().now();
        Ok(match found {
            None => Lookup::Unknown,
            Some(found) if found.key.expires_at.is_some_and(|at| at <= now) => Lookup::Revoked,
            Some(found) if found.principal.is_none() => Lookup::Revoked,
            Some(found) => Lookup::Live(found),
        })
    }

    async fn certificate(
        &self,
        name: KeyName,
    ) -> Result<Lookup<RegisteredCertificate>, RegistryError> {
        Ok(match self.find(name).await? {
            Lookup::Unknown => Lookup::Unknown,
            Lookup::Revoked => Lookup::Revoked,
            Lookup::Live(found) => match found.principal.clone() {
                None => Lookup::Revoked,
                Some(principal) => Lookup::Live(RegisteredCertificate {
                    form: found.key.form,
                    spiffe_id: found
                        .key
                        .spiffe_id
                        .as_deref()
                        .and_then(|id| id.parse().ok()),
                    principal,
                }),
            },
        })
    }
}

impl Registry for VaultRegistry<'_> {
    fn certificate_by_spki(
        &self,
        spki: SpkiHash,
    ) -> BoxFuture<'_, Result<Lookup<RegisteredCertificate>, RegistryError>> {
        Box::pin(self.certificate(KeyName::Spki(spki.0)))
    }

    fn certificate_by_spiffe<'a>(
        &'a self,
        proof: &'a SpiffeProof,
    ) -> BoxFuture<'a, Result<Lookup<RegisteredCertificate>, RegistryError>> {
        Box::pin(self.certificate(KeyName::Spiffe(proof.spiffe_id.as_str().to_owned())))
    }

    fn assertion_key(
        &self,
        key: KeyId,
    ) -> BoxFuture<'_, Result<Lookup<(RegisteredKey, Principal)>, RegistryError>> {
        Box::pin(async move {
            let found = match self.find(KeyName::Id(key)).await? {
                Lookup::Unknown => return Ok(Lookup::Unknown),
                Lookup::Revoked => return Ok(Lookup::Revoked),
                Lookup::Live(found) => found,
            };
            // A key that opens TLS connections signs no assertions.
            if !matches!(found.key.form, KeyForm::Ed25519 | KeyForm::P256) {
                return Ok(Lookup::Unknown);
            }
            let der = found.key.public_key.as_deref().unwrap_or_default();
            let public_key = PublicKey::from_spki_der(der).map_err(|_| RegistryError)?;
            let Some(principal) = found.principal.clone() else {
                return Ok(Lookup::Revoked);
            };
            let key = RegisteredKey {
                id: key,
                owner: found.key.principal_id,
                public_key,
            };
            Ok(Lookup::Live((key, principal)))
        })
    }
}
