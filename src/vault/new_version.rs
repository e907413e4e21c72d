//! Sealing a value as a new version: its keys, wraps, fingerprints and identifiers.

use std::sync::Arc;

use super::Vault;
use super::credentials::touch_credential;
use super::error::{FieldError, VaultError};
use super::recorder::Draft;
use super::versions::numbered;
use crate::audit::{Kind, Subject};
use crate::crypto::{Kek, KekRef, Keyring, PayloadRef};
use crate::model::{
    CredentialId, CredentialKind, ExpirySource, KekId, Precision, RoleId, Timestamp, Verification,
    VersionId, VersionState,
};
use crate::providers::{self, Fields};
use crate::random::Random;
use crate::secret::{Secret, SecretKey};
use crate::store::{CredentialRow, FingerprintRow, KekRow, Tx, VersionRow, WrapRow};

/// Opens the newest KEK of a role and environment, making the first one when there is none.
async fn newest_kek(
    tx: &mut Tx,
    credential: &CredentialRow,
    role: RoleId,
    keyring: &Keyring,
    random: &dyn Random,
    now: Timestamp,
) -> Result<(Arc<Kek>, Option<Draft>), VaultError> {
    let environment = credential.environment_id;
    let (row, made) = match tx.newest_kek(role, environment).await? {
        Some(row) => (row, None),
        None => {
            let id = KekId::generate(now, random)?;
            let reference = KekRef {
                id,
                generation: 1,
                environment,
                role,
            };
            let row = KekRow {
                id,
                role_id: role,
                environment_id: environment,
                generation: 1,
                root_generation: i64::from(keyring.root().generation()),
                wrapped: keyring.create_kek(reference, random)?,
                created_at: now,
            };
            tx.insert_kek(&row).await?;
            let subjects: [Subject; 3] = [id.into(), role.into(), environment.into()];
            (row, Some(Draft::of(Kind::KekCreated).about(subjects)))
        }
    };
    let generation = u32::try_from(row.generation).unwrap_or(0);
    let reference = KekRef {
        id: row.id,
        generation,
        environment,
        role,
    };
    let open = keyring.kek(reference, now, || {
        Ok::<_, std::convert::Infallible>(&row.wrapped)
    });
    let kek = open.map_err(|_| VaultError::Internal("a KEK could not be opened"))?;
    Ok((kek, made))
}

/// Wraps the DEK of every live version of a credential for one more role. Returns the records of
/// keys that had to be made.
pub(super) async fn rewrap_for(
    tx: &mut Tx,
    credential: &CredentialRow,
    role: RoleId,
    keyring: &Keyring,
    random: &dyn Random,
    now: Timestamp,
) -> Result<Vec<Draft>, VaultError> {
    let (kek, made) = newest_kek(tx, credential, role, keyring, random, now).await?;
    for version in tx.versions(credential.id).await? {
        let Some(old) = tx.wraps(version.id).await?.into_iter().next() else {
            continue;
        };
        let number = u64::try_from(version.number).unwrap_or(0);
        let row = tx
            .kek(old.kek_id)
            .await?
            .ok_or(VaultError::Internal("a KEK is missing"))?;
        let reference = KekRef {
            id: row.id,
            generation: u32::try_from(row.generation).unwrap_or(0),
            environment: credential.environment_id,
            role: old.role_id,
        };
        let open = keyring.kek(reference, now, || {
            Ok::<_, std::convert::Infallible>(&row.wrapped)
        });
        let open = open.map_err(|_| VaultError::Internal("a KEK could not be opened"))?;
        let dek = keyring.unwrap_dek(&open, credential.id, number, &old.wrapped)?;
        let wrapped = keyring.wrap_dek(&kek, credential.id, number, &dek, random)?;
        let kek_id = kek.reference().id;
        tx.insert_wrap(&WrapRow {
            version_id: version.id,
            role_id: role,
            kek_id,
            wrapped,
        })
        .await?;
    }
    Ok(made.into_iter().collect())
}

/// A value that is about to become a version.
pub(super) struct NewValue {
    pub id: VersionId,
    identifiers: Vec<u8>,
    fingerprints: Vec<FingerprintRow>,
    plaintext: Secret,
    dek: SecretKey,
    expiry: Option<(Timestamp, Precision)>,
    now: Timestamp,
}

/// Checks fields and date against what the kind asks for; every broken rule at once.
pub(super) fn check_value(
    kind: CredentialKind,
    fields: &Fields,
    expires_at: Option<&str>,
) -> Result<Option<(Timestamp, Precision)>, VaultError> {
    let problems = providers::check(kind, fields);
    let mut errors: Vec<FieldError> = problems
        .into_iter()
        .map(|problem| FieldError {
            field: match problem.field.is_empty() {
                true => "fields".into(),
                false => format!("fields.{}", problem.field).into(),
            },
            rule: problem.rule.into(),
        })
        .collect();
    let expiry = match expires_at.map(Timestamp::parse_with_precision) {
        None => None,
        Some(Ok(expiry)) => Some(expiry),
        Some(Err(error)) => {
            let rule = error.to_string().into();
            errors.push(FieldError {
                field: "expires_at".into(),
                rule,
            });
            None
        }
    };
    match errors.is_empty() {
        true => Ok(expiry),
        false => Err(VaultError::Invalid(errors)),
    }
}

/// Seals a value as the next version of a credential, pending, wrapped for each role that may read it.
/// Returns it with the records that belong to it.
pub(super) async fn insert_pending(
    tx: &mut Tx,
    id: CredentialId,
    value: NewValue,
    added: Draft,
    keyring: &Keyring,
    random: &dyn Random,
) -> Result<(VersionRow, Vec<Draft>), VaultError> {
    let NewValue {
        id: version_id,
        identifiers,
        fingerprints,
        plaintext,
        dek,
        expiry,
        now,
    } = value;
    let credential = touch_credential(tx, id, None, |_| ()).await?;
    let number = tx.newest_version_number(id).await? + 1;
    let version = u64::try_from(number).unwrap_or(0);
    let payload = PayloadRef {
        environment: credential.environment_id,
        credential: id,
        version,
        version_id,
    };
    let sealed = keyring.seal_payload(&dek, payload, &plaintext, random)?;
    let row = VersionRow {
        id: version_id,
        credential_id: id,
        number,
        state: VersionState::Pending,
        verification: Verification::None,
        expires_at: expiry.map(|(at, _)| at),
        expires_precision: expiry.map(|(_, precision)| precision),
        expires_source: expiry.map(|_| ExpirySource::Declared),
        compromised_at: None,
        created_at: now,
        state_changed_at: now,
        reason: None,
        mac: Vec::new(),
    };
    let row = tx.insert_version(row, &sealed, &identifiers).await?;
    tx.insert_fingerprints(&fingerprints).await?;
    let mut records = vec![added.about([numbered(id, number), version_id.into()])];
    for role in tx.credential_roles(id).await? {
        let (kek, made) = newest_kek(tx, &credential, role, keyring, random, now).await?;
        records.extend(made);
        let wrapped = keyring.wrap_dek(&kek, id, version, &dek, random)?;
        let kek_id = kek.reference().id;
        tx.insert_wrap(&WrapRow {
            version_id,
            role_id: role,
            kek_id,
            wrapped,
        })
        .await?;
    }
    Ok((row, records))
}

impl Vault {
    /// Everything of a new version that is made before the change, whose transaction others wait for.
    pub(super) fn seal_later(
        &self,
        credential: &CredentialRow,
        fields: &Fields,
        expiry: Option<(Timestamp, Precision)>,
        now: Timestamp,
    ) -> Result<NewValue, VaultError> {
        let id = VersionId::generate(now, self.random.as_ref())?;
        let found = providers::identifiers(credential.kind, fields);
        let random = self.random.as_ref();
        Ok(NewValue {
            id,
            identifiers: self.identifiers.seal(credential.id, id, &found, random)?,
            fingerprints: self.fingerprints(credential, id, fields),
            plaintext: fields.to_canonical_json(),
            dek: SecretKey::generate(self.random.as_ref())?,
            expiry,
            now,
        })
    }

    /// Keyed fingerprints of the secret fields: the same value gives the same fingerprint in every
    /// credential of this deployment, and none without its key.
    fn fingerprints(
        &self,
        credential: &CredentialRow,
        version_id: VersionId,
        fields: &Fields,
    ) -> Vec<FingerprintRow> {
        let secret = |name: &&str| providers::is_secret(credential.kind, name);
        let names = fields.names().filter(secret);
        names
            .filter_map(|name| {
                let value = fields.get(name)?.expose_secret();
                let fingerprint = self.fingerprint_mac.tag("value", &[value]).to_vec();
                Some(FingerprintRow {
                    version_id,
                    field: name.to_owned(),
                    fingerprint,
                })
            })
            .collect()
    }
}
