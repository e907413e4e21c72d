//! Certificate authorities: Strongroom's own, which issues, and foreign ones that are trusted.

use rustls_pki_types::CertificateDer;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::caller::Caller;
use super::error::VaultError;
use super::memory::EVERYTHING;
use super::operators::another_tech_ops_remains;
use super::recorder::Changed;
use super::{Vault, same_revision};
use crate::audit::Kind;
use crate::crypto::ServiceKeyName;
use crate::identity::certificate::CertificateFacts;
use crate::identity::pem;
use crate::identity::spiffe::TrustDomain;
use crate::model::{AuthorityId, Permission, Slug, Timestamp};
use crate::pki::Issuer;
use crate::store::{AuthorityOrigin, AuthorityRow, Page, StoreError};

/// A foreign authority to be trusted for its own trust domain.
#[derive(Deserialize, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewAuthority {
    /// A name for it.
    pub name: Slug,
    /// Its certificate in PEM.
    pub certificate: String,
    /// The one SPIFFE trust domain that it may vouch for.
    pub trust_domain: String,
}

/// A certificate authority.
#[derive(Clone, Serialize, Deserialize, ToSchema)]
#[schema(as = Authority)]
pub struct AuthorityView {
    /// Its id.
    pub id: AuthorityId,
    /// Its name.
    pub name: Slug,
    /// The one SPIFFE trust domain that it may vouch for.
    pub trust_domain: String,
    /// SHA-256 of its SubjectPublicKeyInfo, hexadecimal.
    pub fingerprint: String,
    /// The first second of its certificate's validity.
    pub not_before: Timestamp,
    /// The last second of its certificate's validity.
    pub not_after: Timestamp,
    /// Whether it is Strongroom's own.
    pub own: bool,
    /// When it was removed.
    pub removed_at: Option<Timestamp>,
    /// When it was added.
    pub created_at: Timestamp,
    /// Counts its changes; the ETag.
    pub revision: i64,
}

fn view(row: AuthorityRow) -> Result<AuthorityView, VaultError> {
    let der = CertificateDer::from(row.certificate);
    let facts = CertificateFacts::of_authority_der(&der)
        .map_err(|_| VaultError::Internal("an authority's certificate is damaged"))?;
    Ok(AuthorityView {
        id: row.id,
        name: row.name,
        trust_domain: row.trust_domain,
        fingerprint: hex::encode(facts.spki.0),
        not_before: facts.not_before,
        not_after: facts.not_after,
        own: row.origin == AuthorityOrigin::Own,
        removed_at: row.removed_at,
        created_at: row.created_at,
        revision: row.revision,
    })
}

impl Vault {
    /// Trusts a foreign authority for one trust domain.
    ///
    /// # Errors
    /// The certificate is no authority's, the trust domain is malformed or this deployment's own, or
    /// name or key are registered; see [`VaultError`].
    pub async fn add_authority(
        &self,
        caller: &Caller,
        new: NewAuthority,
    ) -> Result<AuthorityView, VaultError> {
        self.authorise_quietly(caller, Permission::WritePrincipals)
            .await?;
        let now = self.clock.now();
        let facts = CertificateFacts::of_authority(&new.certificate)
            .map_err(|error| VaultError::invalid("certificate", error.to_string()))?;
        if facts.not_after <= now {
            return Err(VaultError::invalid("certificate", "has expired"));
        }
        let trust_domain: TrustDomain = new.trust_domain.parse().map_err(|_| {
            VaultError::invalid(
                "trust_domain",
                "must be a SPIFFE trust domain such as example.org",
            )
        })?;
        if trust_domain.as_str() == self.deployment {
            return Err(VaultError::invalid(
                "trust_domain",
                "is this deployment's own: only its own authority vouches for it",
            ));
        }
        let id = AuthorityId::generate(now, self.random.as_ref())?;
        let record = caller.draft(Kind::AuthorityAdded).about([id.into()]);
        let row = AuthorityRow {
            id,
            name: new.name,
            trust_domain: trust_domain.as_str().to_owned(),
            certificate: facts.der.to_vec(),
            origin: AuthorityOrigin::Foreign,
            accept_from: facts.not_before,
            accept_until: Some(facts.not_after.plus_secs(1)),
            key_generation: None,
            presented_from: None,
            lists_since: None,
            removed_at: None,
            created_at: now,
            revision: 1,
            mac: Vec::new(),
        };
        self.change(caller, Permission::WritePrincipals, move |tx| {
            Box::pin(async move {
                let others = tx.authorities("", 1000).await?.items;
                let same_key = |row: &AuthorityRow| {
                    let der = CertificateDer::from(row.certificate.as_slice());
                    let other = CertificateFacts::of_authority_der(&der);
                    row.removed_at.is_none() && other.is_ok_and(|other| other.spki == facts.spki)
                };
                if others.iter().any(same_key) {
                    return Err(VaultError::Conflict(
                        "an authority with this key is registered",
                    ));
                }
                let row = tx
                    .insert_authority(row)
                    .await
                    .map_err(|error| match error {
                        StoreError::Taken => {
                            VaultError::Conflict("another authority has this name: choose another")
                        }
                        other => other.into(),
                    })?;
                let subjects = vec![EVERYTHING.to_owned()];
                Ok(Changed {
                    value: view(row)?,
                    records: vec![record],
                    subjects,
                })
            })
        })
        .await
    }

    /// A page of authorities, removed ones included.
    ///
    /// # Errors
    /// See [`VaultError`].
    pub async fn list_authorities(
        &self,
        caller: &Caller,
        after: &str,
        limit: i64,
    ) -> Result<Page<AuthorityView>, VaultError> {
        self.authorise(caller, Permission::ReadMetadata).await?;
        let page = self.db.read().await?.authorities(after, limit).await?;
        let items: Result<Vec<AuthorityView>, VaultError> =
            page.items.into_iter().map(view).collect();
        Ok(Page {
            items: items?,
            next: page.next,
        })
    }

    /// One authority.
    ///
    /// # Errors
    /// It is not there; see [`VaultError`].
    pub async fn authority(
        &self,
        caller: &Caller,
        id: AuthorityId,
    ) -> Result<AuthorityView, VaultError> {
        self.authorise(caller, Permission::ReadMetadata).await?;
        let row = self.db.read().await?.authority(id).await?;
        view(row.ok_or(VaultError::NotFound)?)
    }

    /// Stops trusting a foreign authority. It takes effect at the next request on every node.
    ///
    /// # Errors
    /// It is not there, is Strongroom's own, was removed, or nobody would be left to administer; see [`VaultError`].
    pub async fn remove_authority(
        &self,
        caller: &Caller,
        id: AuthorityId,
        expected: Option<i64>,
    ) -> Result<AuthorityView, VaultError> {
        let now = self.clock.now();
        let record = caller.draft(Kind::AuthorityRemoved).about([id.into()]);
        self.change(caller, Permission::WritePrincipals, move |tx| {
            Box::pin(async move {
                let mut row = tx.authority(id).await?.ok_or(VaultError::NotFound)?;
                let revision = row.revision;
                same_revision(revision, expected.unwrap_or(revision))?;
                if row.origin == AuthorityOrigin::Own {
                    return Err(VaultError::Conflict(
                        "this is Strongroom's own authority: it cannot be removed",
                    ));
                }
                if row.removed_at.is_some() {
                    return Err(VaultError::Conflict("this authority was removed already"));
                }
                row.removed_at = Some(now);
                row.revision += 1;
                if !tx.update_authority(&mut row, revision).await? {
                    return Err(VaultError::Changed);
                }
                another_tech_ops_remains(tx, now).await?;
                let subjects = vec![EVERYTHING.to_owned()];
                Ok(Changed {
                    value: view(row)?,
                    records: vec![record],
                    subjects,
                })
            })
        })
        .await
    }

    /// The certificates of the service's own authorities that are not removed, in PEM.
    pub(super) async fn own_authorities_pem(&self) -> Result<String, VaultError> {
        let authorities = self.authorities().await?;
        let own = authorities.rows.iter();
        let own = own.filter(|row| row.origin == AuthorityOrigin::Own);
        Ok(own
            .map(|row| String::clone(&pem::write_one(&row.certificate, "CERTIFICATE")))
            .collect())
    }

    /// Strongroom's own authority, opened to issue one certificate.
    pub(super) async fn own_issuer(&self) -> Result<(AuthorityId, Issuer), VaultError> {
        let mut tx = self.db.read().await?;
        let own = tx.authorities("", 1000).await?.items.into_iter();
        let own = own.filter(|row| row.origin == AuthorityOrigin::Own && row.removed_at.is_none());
        let own = own.max_by_key(|row| row.created_at);
        let own = own.ok_or(VaultError::Internal("the own authority is missing"))?;
        let name = ServiceKeyName::Authority;
        let keys = tx.service_keys().await?;
        let key = keys.iter().find(|row| row.name == name.as_str());
        let key = key.ok_or(VaultError::Internal("the own authority's key is missing"))?;
        let generation = u32::try_from(key.generation)
            .map_err(|_| VaultError::Internal("a service key is damaged"))?;
        let key = self
            .keyring
            .open_service_bytes(name, generation, &key.wrapped)?;
        let trust_domain: TrustDomain = own
            .trust_domain
            .parse()
            .map_err(|_| VaultError::Internal("the own trust domain is damaged"))?;
        let issuer = Issuer::open(CertificateDer::from(own.certificate), key, trust_domain)
            .map_err(|_| VaultError::Internal("the own authority cannot be opened"))?;
        Ok((own.id, issuer))
    }
}
