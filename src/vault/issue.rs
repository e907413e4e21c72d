//! Issuing client certificates from Strongroom's own authority: the one place where it is done.
//!
//! Signing takes no transaction; what was signed becomes valid only by the registry's row, which
//! [`IssuedClient::register`] writes inside the transaction of its cause. A certificate whose
//! transaction did not commit opens nothing.

use super::Vault;
use super::error::VaultError;
use super::holder::holder;
use super::principal_keys::key_taken;
use crate::identity::public_key::PublicKey;
use crate::identity::spiffe::SpiffeId;
use crate::model::{AuthorityId, KeyForm, PrincipalId, Timestamp};
use crate::pki::{IssuedCertificate, Issuer};
use crate::random::Random;
use crate::store::{AuthorityRow, IssuedRow, KeyRow, RevocationReason, Tx};

/// How many certificates that have not ended one key may have. A renewal leaves the one before good,
/// because its answer may be lost; without a bound, whoever has one key could fill the registry and
/// the revocation list with it.
pub(super) const MOST_CERTIFICATES: i64 = 16;

/// An authority that is opened to issue.
pub(super) struct IssuingAuthority<'a> {
    /// Its id.
    pub id: AuthorityId,
    /// Until when (exclusive) what it issues is accepted.
    pub accept_until: Option<Timestamp>,
    /// Its certificate and key.
    pub issuer: &'a Issuer,
}

/// A client certificate that was signed, and whose it is.
pub(super) struct IssuedClient {
    /// The authority that signed it.
    pub authority: AuthorityId,
    /// Whom it names.
    pub spiffe_id: SpiffeId,
    /// The certificate.
    pub certificate: IssuedCertificate,
    /// The authority's certificate in PEM.
    pub chain: String,
    /// When it was signed.
    now: Timestamp,
}

impl IssuingAuthority<'_> {
    /// Signs a certificate for a principal's key, until `now + lifetime_secs`, the end of the
    /// authority or the end of its acceptance, whichever comes first.
    ///
    /// # Errors
    /// [`VaultError::Conflict`] when the authority has ended; signing failed.
    pub(super) fn issue(
        &self,
        principal: PrincipalId,
        key: &PublicKey,
        lifetime_secs: i64,
        now: Timestamp,
        random: &dyn Random,
    ) -> Result<IssuedClient, VaultError> {
        let spiffe_id = SpiffeId::of_principal(self.issuer.trust_domain(), principal);
        // The last second at which a certificate of it is accepted.
        let own_end = self.issuer.not_after();
        let last = self.accept_until.map(|until| until.plus_secs(-1));
        let last = last.map_or(own_end, |last| last.min(own_end));
        let left = last.secs() - now.plus_secs(1).secs();
        if left <= 0 {
            return Err(VaultError::Conflict(
                "Strongroom's own authority has ended, so that nothing can be issued: an operator \
                 has to roll it (`strongroom authority roll`)",
            ));
        }
        let lifetime_secs = lifetime_secs.min(left);
        let certificate = self
            .issuer
            .issue_client(key, &spiffe_id, lifetime_secs, now, random)
            .map_err(|_| VaultError::Internal("issuing a certificate failed"))?;
        Ok(IssuedClient {
            authority: self.id,
            spiffe_id,
            certificate,
            chain: self.issuer.certificate_pem(),
            now,
        })
    }
}

impl IssuedClient {
    /// Registers the key of the certificate as `row`, which says whose it is, and records the
    /// certificate.
    ///
    /// # Errors
    /// The key was ever registered; else as for [`IssuedClient::record`].
    pub(super) async fn register(
        &self,
        tx: &mut Tx,
        mut row: KeyRow,
    ) -> Result<KeyRow, VaultError> {
        row.form = KeyForm::IssuedCertificate;
        row.spki_sha256 = Some(self.certificate.spki.0.to_vec());
        row.authority_id = Some(self.authority);
        row.spiffe_id = Some(self.spiffe_id.as_str().to_owned());
        row.expires_at = Some(self.certificate.not_after);
        let row = tx.insert_key(row).await.map_err(key_taken)?;
        self.record(tx, &row).await?;
        Ok(row)
    }

    /// Registers that the key of `row`, which has a certificate, has this one as well. The key works
    /// until the last of them ends: the answer with the new one may have been lost.
    ///
    /// # Errors
    /// The key has as many certificates as one may have; else as for [`IssuedClient::record`].
    pub(super) async fn renew(&self, tx: &mut Tx, row: &mut KeyRow) -> Result<bool, VaultError> {
        has_room(tx, row, self.now).await?;
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
    /// [`VaultError::Conflict`] when the authority was removed, or its end was brought forward, since
    /// it signed.
    pub(super) async fn record(&self, tx: &mut Tx, key: &KeyRow) -> Result<(), VaultError> {
        let authority = tx.authority(self.authority).await?;
        if !authority.is_some_and(|row| self.is_covered_by(&row)) {
            return Err(VaultError::Conflict(
                "Strongroom's own authority was changed at this moment: ask again",
            ));
        }
        // Whoever is disabled is given certificates on hold.
        let held = holder(tx, key.principal_id).await?;
        let held = held.and_then(|holder| holder.disabled_at);
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
        .await?;
        Ok(())
    }

    /// Whether the authority, as it is now, is accepted for as long as the certificate says.
    fn is_covered_by(&self, authority: &AuthorityRow) -> bool {
        let end = self.certificate.not_after.plus_secs(1);
        authority.is_own()
            && authority.accepted_at(self.now)
            && authority.accept_until.is_none_or(|until| end <= until)
    }
}

/// Refuses another certificate for a key that has as many as one may have.
///
/// # Errors
/// [`VaultError::Conflict`] when it has; the database is not available.
pub(super) async fn has_room(tx: &mut Tx, key: &KeyRow, now: Timestamp) -> Result<(), VaultError> {
    match tx.live_issued_of(key.id, now).await? < MOST_CERTIFICATES {
        true => Ok(()),
        false => Err(VaultError::Conflict(
            "this key has 16 certificates that have not ended: use the newest, wait until one ends, \
             or enrol again with a new key",
        )),
    }
}

impl Vault {
    /// Signs a certificate for a principal's key with the deployment's own authority, until
    /// `now + lifetime_secs` or the end of the authority. It counts once [`IssuedClient::register`] is
    /// committed.
    ///
    /// # Errors
    /// The own authority has ended or cannot be opened, or signing failed; see [`VaultError`].
    pub(super) async fn issue_client_certificate(
        &self,
        principal: PrincipalId,
        key: &PublicKey,
        lifetime_secs: i64,
        now: Timestamp,
    ) -> Result<IssuedClient, VaultError> {
        let (row, issuer) = self.own_issuer().await?;
        let authority = IssuingAuthority {
            id: row.id,
            accept_until: row.accept_until,
            issuer: &issuer,
        };
        authority.issue(principal, key, lifetime_secs, now, self.random.as_ref())
    }
}
