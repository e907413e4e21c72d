//! Strongroom's own authority: which one issues, which one the listener shows, what clients trust.
//!
//! After a roll there are two or more ([decision 6](../../docs/decisions)): the newest issues, each
//! is accepted for its own time, and the listener goes on to show the old one until clients could
//! learn the new one.

use rustls_pki_types::CertificateDer;

use super::{Vault, VaultError};
use crate::crypto::ServiceKeyName;
use crate::identity::pem;
use crate::identity::spiffe::TrustDomain;
use crate::model::{AuthorityId, Timestamp};
use crate::pki::Issuer;
use crate::store::{AuthorityRow, ServiceKeyRow};

/// The own authority that issues, of those that are trusted: the newest.
pub(super) fn issuing(trusted: &[AuthorityRow]) -> Option<&AuthorityRow> {
    let own = trusted.iter().filter(|row| row.is_own());
    own.max_by_key(|row| row.key_generation)
}

/// The own authority of which the listener shows a certificate: the newest that is to be shown by
/// now, as long as it is accepted; else the one that issues.
fn presented(rows: &[AuthorityRow], now: Timestamp) -> Option<&AuthorityRow> {
    let due = |row: &&AuthorityRow| row.presented_from.is_none_or(|from| from <= now);
    let shown = rows
        .iter()
        .filter(|row| row.is_own() && row.accepted_at(now))
        .filter(due)
        .max_by_key(|row| row.key_generation);
    shown.or_else(|| issuing(rows))
}

impl Vault {
    /// The own authority that issues client certificates, opened.
    pub(super) async fn own_issuer(&self) -> Result<(AuthorityRow, Issuer), VaultError> {
        let mut tx = self.db.read().await?;
        let rows = tx.trusted_authorities().await?;
        let own = issuing(&rows).ok_or(VaultError::Internal("the own authority is missing"))?;
        let keys = tx.service_keys().await?;
        Ok((own.clone(), self.open_authority(own, &keys)?))
    }

    /// The own authority of which the listener shows a certificate, opened.
    pub(super) async fn presented_issuer(&self) -> Result<Issuer, VaultError> {
        let mut tx = self.db.read().await?;
        let rows = tx.trusted_authorities().await?;
        let own = presented(&rows, self.clock.now())
            .ok_or(VaultError::Internal("the own authority is missing"))?;
        let keys = tx.service_keys().await?;
        self.open_authority(own, &keys)
    }

    /// The id of the authority that [`Vault::issue_server_certificate`] would use now.
    ///
    /// # Errors
    /// The database is not available.
    pub async fn presented_authority(&self) -> Result<Option<AuthorityId>, VaultError> {
        let authorities = self.authorities().await?;
        Ok(presented(&authorities.rows, self.clock.now()).map(|row| row.id))
    }

    /// Opens an own authority with its private key.
    pub(super) fn open_authority(
        &self,
        own: &AuthorityRow,
        keys: &[ServiceKeyRow],
    ) -> Result<Issuer, VaultError> {
        let name = ServiceKeyName::Authority;
        let key = keys
            .iter()
            .find(|row| row.name == name.as_str() && Some(row.generation) == own.key_generation);
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
        let certificate = CertificateDer::from(own.certificate.clone());
        let issuer = Issuer::open(certificate, key, trust_domain)
            .map_err(|_| VaultError::Internal("the own authority cannot be opened"))?;
        let list_url = self.url.as_ref();
        let list_url = list_url.map(|url| format!("{url}/api/v1/authorities/{}/crl", own.id));
        Ok(issuer.with_list_url(list_url))
    }

    /// The certificates of the own authorities that are accepted now, newest first, in PEM: what
    /// clients trust to know this server, whichever of them it shows.
    ///
    /// # Errors
    /// The database is not available.
    pub async fn trust_bundle_pem(&self) -> Result<String, VaultError> {
        let authorities = self.authorities().await?;
        let now = self.clock.now();
        let mut own: Vec<&AuthorityRow> = authorities
            .rows
            .iter()
            .filter(|row| row.is_own() && row.accepted_at(now))
            .collect();
        own.sort_by_key(|row| std::cmp::Reverse(row.key_generation));
        if own.is_empty() {
            return Err(VaultError::Internal("no own authority is accepted now"));
        }
        let pem =
            |row: &&AuthorityRow| String::clone(&pem::write_one(&row.certificate, "CERTIFICATE"));
        Ok(own.iter().map(pem).collect())
    }
}
