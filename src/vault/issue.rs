//! Issuing client certificates from Strongroom's own authority: the one place where it is done.
//!
//! Signing takes no transaction; what was signed becomes valid only by the registry's row, which
//! [`IssuedClient::register`] writes inside the transaction of its cause. A certificate whose
//! transaction did not commit opens nothing.

use super::Vault;
use super::caller::own_spiffe_id;
use super::error::VaultError;
use crate::identity::public_key::PublicKey;
use crate::identity::spiffe::SpiffeId;
use crate::model::{AuthorityId, KeyForm, PrincipalId, Timestamp};
use crate::pki::{IssuedCertificate, Issuer};
use crate::random::Random;
use crate::store::{IssuedRow, KeyRow, RevocationReason, StoreError, Tx};

/// An authority that is opened to issue.
pub(super) struct IssuingAuthority<'a> {
    /// Its id.
    pub id: AuthorityId,
    /// Its certificate and key.
    pub issuer: &'a Issuer,
    /// The deployment, which is its trust domain.
    pub deployment: &'a str,
}

/// A client certificate that was signed, and whose it is.
pub(super) struct IssuedClient {
    /// The authority that signed it.
    pub authority: AuthorityId,
    /// Whom it names.
    pub spiffe_id: String,
    /// The certificate.
    pub certificate: IssuedCertificate,
    /// The authority's certificate in PEM.
    pub chain: String,
}

impl IssuingAuthority<'_> {
    /// Signs a certificate for a principal's key, until `now + lifetime_secs` or the end of the
    /// authority, whichever comes first.
    ///
    /// # Errors
    /// The authority has ended; signing failed.
    pub(super) fn issue(
        &self,
        principal: PrincipalId,
        key: &PublicKey,
        lifetime_secs: i64,
        now: Timestamp,
        random: &dyn Random,
    ) -> Result<IssuedClient, VaultError> {
        let spiffe_id = own_spiffe_id(self.deployment, principal);
        let parsed: SpiffeId = spiffe_id
            .parse()
            .map_err(|_| VaultError::Internal("the own SPIFFE ID is malformed"))?;
        let left = self.issuer.not_after().secs() - now.plus_secs(1).secs();
        let lifetime_secs = lifetime_secs.min(left);
        let certificate = self
            .issuer
            .issue_client(key, &parsed, lifetime_secs, now, random)
            .map_err(|_| VaultError::Internal("issuing a certificate failed"))?;
        Ok(IssuedClient {
            authority: self.id,
            spiffe_id,
            certificate,
            chain: self.issuer.certificate_pem(),
        })
    }
}

impl IssuedClient {
    /// Registers the key of the certificate as `row`, which says whose it is, and records the
    /// certificate.
    ///
    /// # Errors
    /// [`StoreError::Taken`] when the key was ever registered.
    pub(super) async fn register(
        &self,
        tx: &mut Tx,
        mut row: KeyRow,
    ) -> Result<KeyRow, StoreError> {
        row.form = KeyForm::IssuedCertificate;
        row.spki_sha256 = Some(self.certificate.spki.0.to_vec());
        row.authority_id = Some(self.authority);
        row.spiffe_id = Some(self.spiffe_id.clone());
        row.expires_at = Some(self.certificate.not_after);
        let row = tx.insert_key(row).await?;
        self.record(tx, &row).await?;
        Ok(row)
    }

    /// Registers that the key of `row`, which has a certificate, has this one as well. The key works
    /// until the last of them ends: the answer with the new one may have been lost.
    ///
    /// # Errors
    /// The database is not available.
    pub(super) async fn renew(&self, tx: &mut Tx, row: &mut KeyRow) -> Result<bool, StoreError> {
        row.authority_id = Some(self.authority);
        row.expires_at = row.expires_at.max(Some(self.certificate.not_after));
        let renewed = tx.renew_key(row).await?;
        if renewed {
            self.record(tx, row).await?;
        }
        Ok(renewed)
    }

    /// Records the certificate for the authority's revocation list. Every transaction that lets an
    /// issued certificate out does this, a renewal too.
    ///
    /// # Errors
    /// The database is not available.
    pub(super) async fn record(&self, tx: &mut Tx, key: &KeyRow) -> Result<(), StoreError> {
        // Whoever is disabled is given certificates on hold.
        let held = match key.principal_id {
            PrincipalId::Workload(id) => tx.workload(id).await?.and_then(|row| row.disabled_at),
            PrincipalId::Operator(id) => tx.operator(id).await?.and_then(|row| row.disabled_at),
        };
        tx.insert_issued(IssuedRow {
            authority_id: self.authority,
            serial: self.certificate.serial.clone(),
            principal_id: key.principal_id,
            key_id: key.id,
            not_before: self.certificate.not_before,
            not_after: self.certificate.not_after,
            revoked_at: held,
            reason: held.map(|_| RevocationReason::Hold),
            mac: Vec::new(),
        })
        .await
    }
}

impl Vault {
    /// Signs a certificate for a principal's key with the deployment's own authority, until
    /// `now + lifetime_secs` or the end of the authority. It counts once [`IssuedClient::register`] is committed.
    ///
    /// # Errors
    /// The own authority cannot be opened, or signing failed; see [`VaultError`].
    pub(super) async fn issue_client_certificate(
        &self,
        principal: PrincipalId,
        key: &PublicKey,
        lifetime_secs: i64,
        now: Timestamp,
    ) -> Result<IssuedClient, VaultError> {
        let (id, issuer) = self.own_issuer().await?;
        let authority = IssuingAuthority {
            id,
            issuer: &issuer,
            deployment: &self.deployment,
        };
        authority.issue(principal, key, lifetime_secs, now, self.random.as_ref())
    }
}
