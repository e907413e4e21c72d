//! Versions of a credential: taking a value in, and what becomes of it. How it is sealed is in
//! `new_version.rs`.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::Vault;
use super::caller::Caller;
use super::credentials::{CredentialView, credential_view, touch_credential};
use super::error::VaultError;
use super::holds::holders_of;
use super::new_version::{check_value, insert_pending};
use super::recorder::Changed;
use crate::audit::{Detail, Kind, Subject};
use crate::model::{
    CredentialId, DisplayName, ExpirySource, Permission, Precision, Timestamp, Verification,
    VersionId, VersionState,
};
use crate::providers::Fields;
use crate::store::{Tx, VersionRow};

/// A value to be sealed as a new version.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewVersion {
    /// The fields that the credential's kind has.
    pub fields: Fields,
    /// When the value expires: a date, which means 00:00 UTC of it, or a time.
    #[serde(default)]
    pub expires_at: Option<String>,
    /// Activate it at once, unverified.
    #[serde(default)]
    pub activate: Option<Reason>,
}

/// Why an operator does something by hand.
#[derive(Clone, Deserialize, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Reason {
    /// For whoever looks at it later.
    pub reason: DisplayName,
}

/// How a version is retired.
#[derive(Clone, Default, Deserialize, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Retire {
    /// Why; needed to override holds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<DisplayName>,
    /// Retire it although a live workload still holds it.
    #[serde(default)]
    pub override_holds: bool,
}

/// One value of a credential, without the value.
#[derive(Clone, Serialize, Deserialize, ToSchema)]
#[schema(as = Version)]
pub struct VersionView {
    /// Its id.
    pub id: VersionId,
    /// Its number within the credential.
    pub number: i64,
    /// Where it stands.
    pub state: VersionState,
    /// Who vouches that it works.
    pub verification: Verification,
    /// When it expires, if anybody said.
    pub expires_at: Option<Timestamp>,
    /// How exactly that is known.
    pub expires_precision: Option<Precision>,
    /// Who said so.
    pub expires_source: Option<ExpirySource>,
    /// That nobody said when it expires: it will fail on a day that nobody knows.
    pub no_expiry: bool,
    /// Since when it counts as known to others.
    pub compromised_at: Option<Timestamp>,
    /// When it was taken in.
    pub created_at: Timestamp,
    /// When its state last changed.
    pub state_changed_at: Timestamp,
    /// Why an operator put it into its state.
    pub reason: Option<String>,
}

impl From<VersionRow> for VersionView {
    fn from(row: VersionRow) -> Self {
        Self {
            id: row.id,
            number: row.number,
            state: row.state,
            verification: row.verification,
            no_expiry: row.expires_at.is_none(),
            expires_at: row.expires_at,
            expires_precision: row.expires_precision,
            expires_source: row.expires_source,
            compromised_at: row.compromised_at,
            created_at: row.created_at,
            state_changed_at: row.state_changed_at,
            reason: row.reason,
        }
    }
}

/// Makes a pending or previous version the active one; the one that was becomes `previous`.
pub(super) async fn activate(
    tx: &mut Tx,
    credential: CredentialId,
    number: i64,
    reason: Option<&DisplayName>,
    now: Timestamp,
) -> Result<(), VaultError> {
    let mut version = tx
        .version(credential, number)
        .await?
        .ok_or(VaultError::NotFound)?;
    let from = version.state;
    if from
        .change_to(VersionState::Active, version.compromised_at.is_some())
        .is_err()
    {
        return Err(VaultError::Conflict(match from {
            VersionState::Active => "this version is the active one already",
            VersionState::Previous => {
                "this version is compromised and cannot become active again: add a new version"
            }
            _ => "this version is at its end and cannot become active: add a new version",
        }));
    }
    // First out with the old one: there is never more than one active version.
    if let Some(mut old) = tx.active_version(credential).await? {
        old.state = VersionState::Previous;
        old.state_changed_at = now;
        if !tx.update_version(&mut old, VersionState::Active).await? {
            return Err(VaultError::Changed);
        }
    }
    version.state = VersionState::Active;
    version.state_changed_at = now;
    if version.verification == Verification::None {
        version.verification = Verification::Operator;
    }
    version.reason = reason.map(|reason| reason.as_str().to_owned());
    if !tx.update_version(&mut version, from).await? {
        return Err(VaultError::Changed);
    }
    Ok(())
}

pub(super) fn numbered(credential: CredentialId, number: i64) -> Subject {
    Subject::Numbered(credential, u64::try_from(number).unwrap_or(0))
}

impl Vault {
    /// Seals a value as a new version of a credential. It is `pending` unless it is to be activated
    /// at once.
    ///
    /// # Errors
    /// The credential is not there, or the fields are not what its kind has; see [`VaultError`].
    pub async fn add_version(
        &self,
        caller: &Caller,
        id: CredentialId,
        new: NewVersion,
    ) -> Result<VersionView, VaultError> {
        self.authorise_quietly(caller, Permission::WriteCredentials)
            .await?;
        let now = self.clock.now();
        let credential = self.db.read().await?.credential(id).await?;
        let credential = credential.ok_or(VaultError::NotFound)?;
        let expiry = check_value(credential.kind, &new.fields, new.expires_at.as_deref())?;
        let value = self.seal_later(&credential, &new.fields, expiry, now)?;
        let (keyring, random) = (self.keyring.clone(), self.random.clone());
        let added = caller.draft(Kind::VersionAdded);
        let activated = caller.draft(Kind::VersionActivated);
        self.change(caller, Permission::WriteCredentials, move |tx| {
            Box::pin(async move {
                let version_id = value.id;
                let inserted = insert_pending(tx, id, value, added, &keyring, random.as_ref());
                let (row, mut records) = inserted.await?;
                let number = row.number;
                let mut subjects = Vec::new();
                if let Some(Reason { reason }) = &new.activate {
                    activate(tx, id, number, Some(reason), now).await?;
                    records.push(activated.about([numbered(id, number), version_id.into()]));
                    subjects.push(id.to_string());
                }
                let row = tx.version(id, number).await?;
                let value = row
                    .ok_or(VaultError::Internal("a version vanished"))?
                    .into();
                Ok(Changed {
                    value,
                    records,
                    subjects,
                })
            })
        })
        .await
    }

    /// Activates a version by hand. The one that was active becomes `previous`.
    ///
    /// # Errors
    /// It is not there, the credential has changed, or its state does not allow it; see
    /// [`VaultError`].
    pub async fn activate_version(
        &self,
        caller: &Caller,
        id: CredentialId,
        number: i64,
        expected: i64,
        reason: Reason,
    ) -> Result<CredentialView, VaultError> {
        let now = self.clock.now();
        let record = caller
            .draft(Kind::VersionActivated)
            .about([numbered(id, number)]);
        self.change(caller, Permission::WriteCredentials, move |tx| {
            Box::pin(async move {
                let row = touch_credential(tx, id, Some(expected), |_| ()).await?;
                activate(tx, id, number, Some(&reason.reason), now).await?;
                let value = credential_view(tx, row, now).await?;
                Ok(Changed {
                    value,
                    records: vec![record],
                    subjects: vec![id.to_string()],
                })
            })
        })
        .await
    }

    /// Rejects a pending version and destroys its DEK.
    ///
    /// # Errors
    /// It is not there, the credential has changed, or it is not pending; see [`VaultError`].
    pub async fn reject_version(
        &self,
        caller: &Caller,
        id: CredentialId,
        number: i64,
        expected: i64,
        reason: Reason,
    ) -> Result<CredentialView, VaultError> {
        let now = self.clock.now();
        let record = caller
            .draft(Kind::VersionRejected)
            .about([numbered(id, number)]);
        let change = self.change(caller, Permission::WriteCredentials, move |tx| {
            Box::pin(async move {
                let row = touch_credential(tx, id, Some(expected), |_| ()).await?;
                let version = tx.version(id, number).await?.ok_or(VaultError::NotFound)?;
                end(
                    tx,
                    version,
                    VersionState::Rejected,
                    Some(reason.reason),
                    now,
                )
                .await?;
                let value = credential_view(tx, row, now).await?;
                Ok(Changed {
                    value,
                    records: vec![record],
                    subjects: vec![id.to_string()],
                })
            })
        });
        self.destroying(change).await
    }

    /// Retires a version: its wrapped DEKs are destroyed, the record stays. Refused while a live
    /// workload holds it, unless an operator overrides that with a reason.
    ///
    /// # Errors
    /// It is not there, the credential has changed, it is held, or at its end; see [`VaultError`].
    pub async fn retire_version(
        &self,
        caller: &Caller,
        id: CredentialId,
        number: i64,
        expected: i64,
        how: Retire,
    ) -> Result<CredentialView, VaultError> {
        if how.override_holds && how.reason.is_none() {
            let rule = "is required when holds are overridden: say why";
            return Err(VaultError::invalid("reason", rule));
        }
        let now = self.clock.now();
        let record = caller
            .draft(Kind::VersionRetired)
            .about([numbered(id, number)]);
        let change = self.change(caller, Permission::WriteCredentials, move |tx| {
            Box::pin(async move {
                let row = touch_credential(tx, id, Some(expected), |_| ()).await?;
                let version = tx.version(id, number).await?.ok_or(VaultError::NotFound)?;
                let held = !holders_of(tx, id, number).await?.is_empty();
                if held && !how.override_holds {
                    return Err(VaultError::Conflict(
                        "a live workload still holds this version: see its holds, wait until each \
                         reports another version in use, or override with a reason",
                    ));
                }
                let overridden = i64::from(held);
                end(tx, version, VersionState::Retired, how.reason, now).await?;
                let record = record.with("holds_overridden", Detail::Number(overridden));
                let value = credential_view(tx, row, now).await?;
                Ok(Changed {
                    value,
                    records: vec![record],
                    subjects: vec![id.to_string()],
                })
            })
        });
        self.destroying(change).await
    }
}

/// Brings a version to an end state and destroys what could open it.
pub(super) async fn end(
    tx: &mut Tx,
    mut version: VersionRow,
    to: VersionState,
    reason: Option<DisplayName>,
    now: Timestamp,
) -> Result<(), VaultError> {
    let from = version.state;
    if from
        .change_to(to, version.compromised_at.is_some())
        .is_err()
    {
        return Err(VaultError::Conflict(match to {
            VersionState::Rejected => "only a pending version can be rejected",
            _ => "this version is at its end already",
        }));
    }
    version.state = to;
    version.state_changed_at = now;
    if let Some(reason) = reason {
        version.reason = Some(reason.as_str().to_owned());
    }
    if !tx.update_version(&mut version, from).await? {
        return Err(VaultError::Changed);
    }
    tx.delete_wraps(version.id).await?;
    tx.delete_payload(version.id).await?;
    Ok(())
}
