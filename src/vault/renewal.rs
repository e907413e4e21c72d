//! Renewal: another certificate for the same key, in good time before the old one ends.
//!
//! It rests on the old certificate alone, shown on this very connection: nobody else's key, and no
//! assertion, gets one.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::Vault;
use super::caller::Caller;
use super::enrolment::Enrolled;
use super::error::VaultError;
use super::issue::has_room;
use super::recorder::Changed;
use crate::audit::{Detail, Kind, Subject};
use crate::model::{KeyForm, Principal};

/// A request for another certificate.
#[derive(Deserialize, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Renew {
    /// A certificate signing request in PEM, with the key of the certificate that is renewed. It may
    /// name the SPIFFE ID of that, and nothing else.
    pub csr: String,
}

impl Vault {
    /// Issues another certificate for the key that the caller's certificate is for. The old one stays
    /// good until its end, as the answer may be lost.
    ///
    /// # Errors
    /// [`VaultError::NotRenewable`] unless the caller showed a certificate of the service's own
    /// authority. A request with another key or another name, or for a key that has as many
    /// certificates as one may have, is refused and changes nothing.
    pub async fn renew(&self, caller: &Caller, renew: Renew) -> Result<Enrolled, VaultError> {
        self.spend(caller).await?;
        let principal = caller.principal.id();
        let id = caller.principal.key();
        // The key is the one that the connection's certificate has: a key with an issued certificate
        // signs no assertions.
        let mut tx = self.db.read().await?;
        let row = tx.key(id).await?;
        let row = row.ok_or(VaultError::Unauthenticated)?;
        if row.form != KeyForm::IssuedCertificate {
            let none = Vec::<Subject>::new();
            self.deny(caller, Kind::AccessDenied, none, "renewal")
                .await?;
            return Err(VaultError::NotRenewable);
        }
        let key = self.read_own_csr(&renew.csr, principal)?;
        if row.spki_sha256.as_deref() != Some(key.sha256().0.as_slice()) {
            return Err(VaultError::invalid(
                "csr",
                "has another key than the certificate of this connection: a renewal keeps the key; \
                 for a new key, enrol with a new token",
            ));
        }
        let now = self.clock.now();
        // Looked at again in the transaction; what is refused costs no signature.
        has_room(&mut tx, &row, now).await?;
        drop(tx);
        let lifetime = self.lifetimes.secs(principal);
        let issued = self
            .issue_client_certificate(principal, &key, lifetime, now)
            .await?;
        let name = match &caller.principal {
            Principal::Workload { name, .. } => name.to_string(),
            Principal::Operator { name, .. } => name.to_string(),
        };
        let enrolled = self.enrolled(principal, name, id, &issued, now).await?;
        let subjects: [Subject; 2] = [id.into(), principal.into()];
        let record = caller
            .draft(Kind::KeyRenewed)
            .about(subjects)
            .with("not_after", Detail::Time(issued.certificate.not_after));
        self.change_if(
            caller,
            move |tx| {
                Box::pin(async move {
                    let row = tx.key(id).await?;
                    let live = row.filter(|row| row.expires_at.is_none_or(|end| now < end));
                    let mut row = live.ok_or(VaultError::Unauthenticated)?;
                    if !issued.renew(tx, &mut row).await? {
                        return Err(VaultError::Unauthenticated);
                    }
                    Ok(Changed {
                        value: (),
                        records: vec![record],
                        subjects: vec![id.to_string(), principal.to_string()],
                    })
                })
            },
            |_| Ok(()),
        )
        .await?;
        Ok(enrolled)
    }
}
