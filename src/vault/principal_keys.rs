//! Keys of workloads and operators: registering, issuing from a signing request, revoking.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::Vault;
use super::caller::Caller;
use super::error::VaultError;
use super::holder::known_holder;
use super::operators::another_tech_ops_remains;
use super::recorder::{Changed, Draft};
use crate::audit::{Detail, Kind, Subject};
use crate::identity::certificate::CertificateFacts;
use crate::identity::public_key::PublicKey;
use crate::identity::spiffe::SpiffeId;
use crate::model::{AuthorityId, KeyForm, KeyId, Permission, PrincipalId, Timestamp};
use crate::pki;
use crate::store::{AuthorityOrigin, KeyRow, StoreError, Tx};

/// A key to be registered: exactly one of the first four.
#[derive(Default, Deserialize, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewKey {
    /// A client certificate in PEM. Only its key counts: it is pinned by the SHA-256 of its
    /// SubjectPublicKeyInfo.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub certificate: Option<String>,
    /// A public key in PEM, Ed25519 or P-256, for signed assertions.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub public_key: Option<String>,
    /// A certificate signing request in PEM, for which Strongroom's own authority issues a
    /// certificate. Every name that it asks for is ignored.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub csr: Option<String>,
    /// A SPIFFE ID in certificates of a registered authority.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub spiffe_id: Option<String>,
    /// The authority that vouches for the SPIFFE ID.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub authority: Option<AuthorityId>,
    /// How many days an issued certificate is valid: 1 to 825, 90 when left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lifetime_days: Option<i64>,
}

/// A registered key.
#[derive(Clone, Serialize, Deserialize, ToSchema)]
#[schema(as = Key)]
pub struct KeyView {
    /// Its id; the `kid` of assertions.
    pub id: KeyId,
    /// How it proves itself.
    pub form: KeyForm,
    /// When it was registered.
    pub created_at: Timestamp,
    /// From when on it is not accepted; a pinned certificate's own end is checked besides.
    pub expires_at: Option<Timestamp>,
    /// When it was revoked.
    pub revoked_at: Option<Timestamp>,
    /// SHA-256 of the SubjectPublicKeyInfo, hexadecimal.
    pub fingerprint: Option<String>,
    /// The SPIFFE ID that it stands for.
    pub spiffe_id: Option<String>,
    /// The issued certificate in PEM, in the answer to its request alone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub certificate: Option<String>,
    /// The issuing authority's certificate in PEM, beside the issued one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub chain: Option<String>,
}

impl From<KeyRow> for KeyView {
    fn from(row: KeyRow) -> Self {
        Self {
            id: row.id,
            form: row.form,
            created_at: row.created_at,
            expires_at: row.expires_at,
            revoked_at: row.revoked_at,
            fingerprint: row.spki_sha256.map(hex::encode),
            spiffe_id: row.spiffe_id,
            certificate: None,
            chain: None,
        }
    }
}

const DAY: i64 = 24 * 60 * 60;

/// What was asked to be registered, parsed.
enum Parsed {
    Certificate(Box<CertificateFacts>),
    PublicKey(PublicKey),
    Request(PublicKey, i64),
    Spiffe(SpiffeId, AuthorityId),
}

fn parse(new: &NewKey, now: Timestamp) -> Result<Parsed, VaultError> {
    let one_of = "give exactly one of certificate, public_key, csr and spiffe_id";
    if new.lifetime_days.is_some() && new.csr.is_none() {
        return Err(VaultError::invalid("lifetime_days", "goes with csr only"));
    }
    if new.authority.is_some() && new.spiffe_id.is_none() {
        return Err(VaultError::invalid("authority", "goes with spiffe_id only"));
    }
    match (&new.certificate, &new.public_key, &new.csr, &new.spiffe_id) {
        (Some(pem), None, None, None) => {
            let facts = CertificateFacts::of_client(pem)
                .map_err(|error| VaultError::invalid("certificate", error.to_string()))?;
            if facts.not_after <= now {
                return Err(VaultError::invalid(
                    "certificate",
                    "has expired: make a new one",
                ));
            }
            Ok(Parsed::Certificate(Box::new(facts)))
        }
        (None, Some(pem), None, None) => Ok(Parsed::PublicKey(
            PublicKey::from_pem(pem)
                .map_err(|error| VaultError::invalid("public_key", error.to_string()))?,
        )),
        (None, None, Some(pem), None) => {
            let days = new.lifetime_days.unwrap_or(90);
            if !(1..=825).contains(&days) {
                return Err(VaultError::invalid("lifetime_days", "must be 1 to 825"));
            }
            let key = pki::read_request(pem)
                .map_err(|error| VaultError::invalid("csr", error.to_string()))?;
            Ok(Parsed::Request(key, days * DAY))
        }
        (None, None, None, Some(id)) => {
            let id: SpiffeId = id
                .parse()
                .map_err(|_| VaultError::invalid("spiffe_id", "is not a SPIFFE ID"))?;
            let authority = new.authority.ok_or_else(|| {
                VaultError::invalid(
                    "authority",
                    "is required with spiffe_id: see authority list",
                )
            })?;
            Ok(Parsed::Spiffe(id, authority))
        }
        _ => Err(VaultError::invalid("(body)", one_of)),
    }
}

pub(super) fn key_taken(error: StoreError) -> VaultError {
    match error {
        StoreError::Taken => VaultError::Conflict(
            "this key or SPIFFE ID is registered, or was: a key belongs to one principal for ever. \
             Make a new key",
        ),
        other => other.into(),
    }
}

/// A row for a principal's key with nothing said of the key yet.
pub(super) fn blank_key(
    id: KeyId,
    principal_id: PrincipalId,
    form: KeyForm,
    now: Timestamp,
) -> KeyRow {
    KeyRow {
        id,
        principal_id,
        form,
        spki_sha256: None,
        public_key: None,
        authority_id: None,
        spiffe_id: None,
        expires_at: None,
        created_at: now,
        revoked_at: None,
        mac: Vec::new(),
    }
}

/// The record of a registered key.
pub(super) fn key_record(draft: Draft, row: &KeyRow) -> Draft {
    let subjects: [Subject; 2] = [row.id.into(), row.principal_id.into()];
    draft
        .about(subjects)
        .with("form", Detail::Word(row.form.as_str()))
}

impl Vault {
    /// Registers a key of a workload or operator, or issues a certificate for one.
    ///
    /// # Errors
    /// The principal is not there, the key cannot be used, or it was ever registered; see
    /// [`VaultError`].
    pub async fn register_key(
        &self,
        caller: &Caller,
        principal: PrincipalId,
        new: NewKey,
    ) -> Result<KeyView, VaultError> {
        self.authorise_quietly(caller, Permission::WritePrincipals)
            .await?;
        let now = self.clock.now();
        let id = KeyId::generate(now, self.random.as_ref())?;
        let mut row = blank_key(id, principal, KeyForm::Ed25519, now);
        let mut issued = None;
        match parse(&new, now)? {
            Parsed::Certificate(facts) => {
                row.form = KeyForm::PinnedCertificate;
                row.spki_sha256 = Some(facts.spki.0.to_vec());
                row.expires_at = Some(facts.not_after);
            }
            Parsed::PublicKey(key) => {
                row.form = key.form();
                row.spki_sha256 = Some(key.sha256().0.to_vec());
                row.public_key = Some(key.spki_der().to_vec());
            }
            Parsed::Request(key, lifetime) => {
                row.form = KeyForm::IssuedCertificate;
                issued = Some(
                    self.issue_client_certificate(principal, &key, lifetime, now)
                        .await?,
                );
            }
            Parsed::Spiffe(spiffe_id, authority) => {
                row.form = KeyForm::Spiffe;
                row.authority_id = Some(authority);
                row.spiffe_id = Some(spiffe_id.as_str().to_owned());
            }
        }
        let record = key_record(caller.draft(Kind::KeyRegistered), &row);
        self.change(caller, Permission::WritePrincipals, move |tx| {
            Box::pin(async move {
                known_holder(tx, principal).await?;
                if row.form == KeyForm::Spiffe {
                    check_spiffe_authority(tx, &row).await?;
                }
                let row = match &issued {
                    Some(issued) => issued.register(tx, row).await?,
                    None => tx.insert_key(row).await.map_err(key_taken)?,
                };
                let mut value = KeyView::from(row);
                if let Some(issued) = issued {
                    value.certificate = Some(issued.certificate.pem);
                    value.chain = Some(issued.chain);
                }
                let subjects = vec![id.to_string(), principal.to_string()];
                Ok(Changed {
                    value,
                    records: vec![record],
                    subjects,
                })
            })
        })
        .await
    }

    /// Revokes a key. It takes effect at the next request on every node.
    ///
    /// # Errors
    /// It is not there or not this principal's, is revoked already, or is the last key of the last
    /// tech-ops operator; see [`VaultError`].
    pub async fn revoke_key(
        &self,
        caller: &Caller,
        principal: PrincipalId,
        id: KeyId,
    ) -> Result<KeyView, VaultError> {
        let now = self.clock.now();
        let subjects: [Subject; 2] = [id.into(), principal.into()];
        let record = caller.draft(Kind::KeyRevoked).about(subjects);
        self.change(caller, Permission::WritePrincipals, move |tx| {
            Box::pin(async move {
                let row = tx
                    .key(id)
                    .await?
                    .filter(|row| row.principal_id == principal);
                let mut row = row.ok_or(VaultError::NotFound)?;
                if row.revoked_at.is_some() || !tx.revoke_key(&mut row, now).await? {
                    return Err(VaultError::Conflict("this key is revoked already"));
                }
                if let PrincipalId::Operator(_) = principal {
                    another_tech_ops_remains(tx, now).await?;
                }
                let subjects = vec![id.to_string(), principal.to_string()];
                Ok(Changed {
                    value: row.into(),
                    records: vec![record],
                    subjects,
                })
            })
        })
        .await
    }

    /// The keys of a principal, revoked ones included.
    ///
    /// # Errors
    /// The principal is not there; see [`VaultError`].
    pub async fn keys_of(
        &self,
        caller: &Caller,
        principal: PrincipalId,
    ) -> Result<Vec<KeyView>, VaultError> {
        self.authorise(caller, Permission::ReadMetadata).await?;
        let mut tx = self.db.read().await?;
        known_holder(&mut tx, principal).await?;
        let keys = tx.keys_of(principal).await?;
        Ok(keys.into_iter().map(KeyView::from).collect())
    }
}

/// A SPIFFE ID can be registered under a foreign authority of its own trust domain only.
async fn check_spiffe_authority(tx: &mut Tx, row: &KeyRow) -> Result<(), VaultError> {
    let authority = match row.authority_id {
        Some(id) => tx.authority(id).await?,
        None => None,
    };
    let authority = authority
        .filter(|row| row.removed_at.is_none())
        .ok_or_else(|| {
            VaultError::invalid("authority", "names an authority that does not exist")
        })?;
    if authority.origin == AuthorityOrigin::Own {
        return Err(VaultError::invalid(
            "authority",
            "is Strongroom's own: hand in a certificate signing request (csr) instead",
        ));
    }
    let prefix = format!("spiffe://{}/", authority.trust_domain);
    let fits = row
        .spiffe_id
        .as_ref()
        .is_some_and(|id| id.starts_with(&prefix));
    if fits {
        Ok(())
    } else {
        Err(VaultError::invalid(
            "spiffe_id",
            "is not of the authority's trust domain",
        ))
    }
}
