//! Enrolment: a one-time token, made by an operator, with which a host or a person gets a first
//! certificate for a key that nobody else has seen.
//!
//! The token is shown once; only its SHA-256 is stored. It is looked up before anything of the
//! request is read any further, and used up in the transaction that registers the key. So whatever
//! is wrong with the request, nothing has changed, and of several who have the token one wins.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::digest::{SHA256, digest};
use serde::{Deserialize, Deserializer, Serialize};
use utoipa::ToSchema;
use zeroize::Zeroizing;

use super::Vault;
use super::caller::Caller;
use super::error::VaultError;
use super::holder::{Holder, holder, known_holder};
use super::issue::IssuedClient;
use super::principal_keys::{blank_key, key_record, key_taken};
use super::recorder::{Changed, Draft};
use crate::audit::{Detail, Kind};
use crate::identity::public_key::PublicKey;
use crate::identity::spiffe::{SpiffeId, TrustDomain};
use crate::model::{
    EnrolmentTokenId, KeyForm, KeyId, Permission, PrincipalId, PrincipalKind, RequestId, Timestamp,
};
use crate::pki;
use crate::secret::{Secret, SecretKey};
use crate::store::{EnrolmentTokenRow, Tx};

/// What a token begins with, so that people and scanners for leaked secrets know it.
pub const TOKEN_PREFIX: &str = "srenrol_";
/// How long what became of a token can be listed after its end: ninety days. The audit log keeps it
/// for good.
pub(super) const TOKEN_KEPT_SECS: i64 = 90 * 24 * 60 * 60;
/// The longest text that is taken for a token.
const MOST_TOKEN_BYTES: usize = 256;

/// How long the certificates live that enrolment and renewal give, in hours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CertificateLifetimes {
    /// Those of workloads: 1 to 2160.
    pub workload_hours: u16,
    /// Those of operators: 1 to 2160.
    pub operator_hours: u16,
}

impl Default for CertificateLifetimes {
    /// A week for servers, thirty days for people.
    fn default() -> Self {
        Self {
            workload_hours: 168,
            operator_hours: 720,
        }
    }
}

impl CertificateLifetimes {
    /// The lifetime of a new certificate of this principal, in seconds.
    pub(super) fn secs(self, principal: PrincipalId) -> i64 {
        let hours = match principal.kind() {
            PrincipalKind::Workload => self.workload_hours,
            PrincipalKind::Operator => self.operator_hours,
        };
        i64::from(hours.clamp(1, 2160)) * 60 * 60
    }
}

/// The token that is to be made.
#[derive(Default, Deserialize, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewEnrolmentToken {
    /// For how many minutes it can be used: 1 to 10080 (a week), 60 when left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(minimum = 1, maximum = 10080, default = 60)]
    pub lifetime_minutes: Option<i64>,
}

/// A token that was just made. Nobody can have its text again.
pub struct IssuedEnrolmentToken {
    /// Its id.
    pub id: EnrolmentTokenId,
    /// The token.
    pub token: Secret,
    /// From when on it cannot be used.
    pub expires_at: Timestamp,
    /// Whom it is for.
    pub principal: PrincipalId,
}

/// A token without its text.
#[derive(Clone, Serialize, Deserialize, ToSchema)]
#[schema(as = EnrolmentToken)]
pub struct EnrolmentTokenView {
    /// Its id.
    pub id: EnrolmentTokenId,
    /// When it was made.
    pub created_at: Timestamp,
    /// From when on it cannot be used.
    pub expires_at: Timestamp,
    /// When it was used.
    pub used_at: Option<Timestamp>,
    /// When it was revoked, by hand or because a newer one was made.
    pub revoked_at: Option<Timestamp>,
}

impl From<EnrolmentTokenRow> for EnrolmentTokenView {
    fn from(row: EnrolmentTokenRow) -> Self {
        Self {
            id: row.id,
            created_at: row.created_at,
            expires_at: row.expires_at,
            used_at: row.used_at,
            revoked_at: row.revoked_at,
        }
    }
}

/// The text of a token as it was received, read straight into memory that is wiped.
pub struct TokenText(pub Secret);

impl<'de> Deserialize<'de> for TokenText {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Text;
        impl serde::de::Visitor<'_> for Text {
            type Value = TokenText;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("a string")
            }

            fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<TokenText, E> {
                Ok(TokenText(Secret::new(text.as_bytes().to_vec())))
            }

            fn visit_string<E: serde::de::Error>(self, text: String) -> Result<TokenText, E> {
                Ok(TokenText(Secret::new(text.into_bytes())))
            }
        }
        deserializer.deserialize_string(Text)
    }
}

/// A request for a first certificate.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Enrol {
    /// The one-time token.
    #[schema(value_type = String)]
    pub token: TokenText,
    /// A certificate signing request in PEM. It may name the SPIFFE ID that the token is for, and
    /// nothing else.
    pub csr: String,
}

/// A principal by its id and name.
#[derive(Clone, Serialize, Deserialize, ToSchema)]
pub struct PrincipalRef {
    /// Workload or operator.
    pub kind: PrincipalKind,
    /// The id.
    #[schema(value_type = String)]
    pub id: String,
    /// The name.
    pub name: String,
}

/// A key by its id.
#[derive(Clone, Serialize, Deserialize, ToSchema)]
pub struct KeyRef {
    /// The id.
    pub id: KeyId,
}

/// What enrolment and renewal give.
#[derive(Clone, Serialize, Deserialize, ToSchema)]
pub struct Enrolled {
    /// Whose certificate it is.
    pub principal: PrincipalRef,
    /// The key that it is for.
    pub key: KeyRef,
    /// The certificate in PEM.
    pub certificate: String,
    /// The certificate of the authority that issued it, in PEM.
    pub chain: String,
    /// The certificates of the service's own authorities in PEM: what to trust the server by, unless
    /// it shows a certificate of another authority.
    pub ca: String,
    /// The SPIFFE ID in the certificate.
    pub spiffe_id: String,
    /// The last second at which the certificate is valid.
    pub not_after: Timestamp,
    /// When to renew it: after two thirds of its life.
    pub renew_after: Timestamp,
    /// The deployment's id: the audience of assertions.
    pub audience: String,
}

fn token_hash(token: &[u8]) -> [u8; 32] {
    let mut hash = [0; 32];
    hash.copy_from_slice(digest(&SHA256, token).as_ref());
    hash
}

/// The open token with this hash and the name of its holder. For everything else one and the same
/// answer; why not is for the log, and only who knows the token can cause that line.
async fn open_token(
    tx: &mut Tx,
    hash: &[u8; 32],
    now: Timestamp,
) -> Result<(EnrolmentTokenRow, String), VaultError> {
    let row = tx.enrolment_token_by_hash(hash).await?;
    let row = row.ok_or(VaultError::Unauthenticated)?;
    match holder(tx, row.principal_id)
        .await?
        .filter(Holder::is_enabled)
    {
        Some(holder) if row.is_open(now) => Ok((row, holder.name)),
        _ => {
            tracing::warn!(
                token = %row.id, principal = %row.principal_id,
                used = row.used_at.is_some(), revoked = row.revoked_at.is_some(),
                "an enrolment token that is not good any more was presented: if its holder did not \
                 do that, it was stolen"
            );
            Err(VaultError::Unauthenticated)
        }
    }
}

/// Revokes the open tokens of a principal, with a record of each.
async fn revoke_open(
    tx: &mut Tx,
    principal: PrincipalId,
    now: Timestamp,
    record: &Draft,
) -> Result<Vec<Draft>, VaultError> {
    let mut records = Vec::new();
    for mut row in tx.enrolment_tokens_of(principal).await? {
        if row.is_open(now) {
            row.revoked_at = Some(now);
            if tx.close_enrolment_token(&mut row).await? {
                let record = record.clone().about([row.id.into(), principal.into()]);
                records.push(record);
            }
        }
    }
    Ok(records)
}

impl Vault {
    /// Makes a one-time token for a workload or operator. Earlier ones that were not used end.
    ///
    /// # Errors
    /// The principal is not there or disabled, or the lifetime out of bounds; see [`VaultError`].
    pub async fn issue_enrolment_token(
        &self,
        caller: &Caller,
        principal: PrincipalId,
        new: NewEnrolmentToken,
    ) -> Result<IssuedEnrolmentToken, VaultError> {
        self.authorise_quietly(caller, Permission::WritePrincipals)
            .await?;
        let minutes = new.lifetime_minutes.unwrap_or(60);
        if !(1..=10_080).contains(&minutes) {
            return Err(VaultError::invalid(
                "lifetime_minutes",
                "must be 1 to 10080",
            ));
        }
        let now = self.clock.now();
        let id = EnrolmentTokenId::generate(now, self.random.as_ref())?;
        let random = SecretKey::generate(self.random.as_ref())?;
        let mut text = Zeroizing::new(String::with_capacity(TOKEN_PREFIX.len() + 44));
        text.push_str(TOKEN_PREFIX);
        URL_SAFE_NO_PAD.encode_string(random.expose_secret(), &mut text);
        let token = Secret::new(text.as_bytes().to_vec());
        let expires_at = now.plus_secs(minutes * 60);
        let row = EnrolmentTokenRow {
            id,
            principal_id: principal,
            token_sha256: token_hash(token.expose_secret()).to_vec(),
            created_at: now,
            expires_at,
            used_at: None,
            revoked_at: None,
            mac: Vec::new(),
        };
        let revoked = caller.draft(Kind::EnrolmentTokenRevoked);
        let issued = caller
            .draft(Kind::EnrolmentTokenIssued)
            .about([id.into(), principal.into()])
            .with("expires_at", Detail::Time(expires_at));
        self.change(caller, Permission::WritePrincipals, move |tx| {
            Box::pin(async move {
                if !known_holder(tx, principal).await?.is_enabled() {
                    return Err(VaultError::Conflict(
                        "the holder is disabled: enable them first",
                    ));
                }
                let mut records = revoke_open(tx, principal, now, &revoked).await?;
                records.push(issued);
                tx.insert_enrolment_token(row).await?;
                Ok(Changed {
                    value: (),
                    records,
                    subjects: Vec::new(),
                })
            })
        })
        .await?;
        Ok(IssuedEnrolmentToken {
            id,
            token,
            expires_at,
            principal,
        })
    }

    /// The tokens of a workload or operator, without their texts, oldest first.
    ///
    /// # Errors
    /// The principal is not there; see [`VaultError`].
    pub async fn enrolment_tokens(
        &self,
        caller: &Caller,
        principal: PrincipalId,
    ) -> Result<Vec<EnrolmentTokenView>, VaultError> {
        self.authorise(caller, Permission::ReadMetadata).await?;
        let mut tx = self.db.read().await?;
        known_holder(&mut tx, principal).await?;
        let rows = tx.enrolment_tokens_of(principal).await?;
        Ok(rows.into_iter().map(EnrolmentTokenView::from).collect())
    }

    /// Revokes a token that was not used.
    ///
    /// # Errors
    /// It is not there or not this principal's, or was used or revoked; see [`VaultError`].
    pub async fn revoke_enrolment_token(
        &self,
        caller: &Caller,
        principal: PrincipalId,
        id: EnrolmentTokenId,
    ) -> Result<EnrolmentTokenView, VaultError> {
        let now = self.clock.now();
        let record = caller
            .draft(Kind::EnrolmentTokenRevoked)
            .about([id.into(), principal.into()]);
        self.change(caller, Permission::WritePrincipals, move |tx| {
            Box::pin(async move {
                let rows = tx.enrolment_tokens_of(principal).await?;
                let row = rows.into_iter().find(|row| row.id == id);
                let mut row = row.ok_or(VaultError::NotFound)?;
                if row.used_at.is_some() {
                    return Err(VaultError::Conflict(
                        "this token was used: revoke the key that it gave",
                    ));
                }
                row.revoked_at = row.revoked_at.or(Some(now));
                if !tx.close_enrolment_token(&mut row).await? {
                    return Err(VaultError::Conflict("this token is revoked already"));
                }
                Ok(Changed {
                    value: row.into(),
                    records: vec![record],
                    subjects: Vec::new(),
                })
            })
        })
        .await
    }

    /// Gives whoever has an open token a certificate for a new key. Every key of theirs that had a
    /// certificate of the service's own authority before is revoked: a host that was rebuilt has one
    /// key, and the one that was stolen opens nothing any more.
    ///
    /// # Errors
    /// [`VaultError::Unauthenticated`] for every token that is not good now. A request or key that is
    /// refused leaves the token as it was.
    pub async fn enrol(&self, enrol: Enrol, request: RequestId) -> Result<Enrolled, VaultError> {
        let Enrol { token, csr } = enrol;
        let TokenText(token) = token;
        if token.len() > MOST_TOKEN_BYTES {
            return Err(VaultError::Unauthenticated);
        }
        let hash = token_hash(token.expose_secret());
        let now = self.clock.now();
        let mut tx = self.db.read().await?;
        let (row, name) = open_token(&mut tx, &hash, now).await?;
        let principal = row.principal_id;
        let key = self.read_own_csr(&csr, principal)?;
        if tx.key_by_spki(&key.sha256().0).await?.is_some() {
            return Err(key_taken(crate::store::StoreError::Taken));
        }
        drop(tx);

        let lifetime = self.lifetimes.secs(principal);
        let issued = self
            .issue_client_certificate(principal, &key, lifetime, now)
            .await?;
        let key_id = KeyId::generate(now, self.random.as_ref())?;
        let enrolled = self.enrolled(principal, name, key_id, &issued, now).await?;
        let draft = move |kind| Draft {
            request: Some(request),
            actor: Some(principal),
            ..Draft::of(kind)
        };
        self.change_by_itself(move |tx| {
            Box::pin(async move {
                let (mut token, _) = open_token(tx, &hash, now).await?;
                token.used_at = Some(now);
                if token.principal_id != principal || !tx.close_enrolment_token(&mut token).await? {
                    return Err(VaultError::Unauthenticated);
                }
                let used = draft(Kind::EnrolmentTokenUsed);
                let mut records = vec![used.about([token.id.into(), principal.into()])];
                let mut subjects = vec![principal.to_string(), key_id.to_string()];
                for mut old in tx.keys_of(principal).await? {
                    if old.form == KeyForm::IssuedCertificate
                        && old.revoked_at.is_none()
                        && tx.revoke_key(&mut old, now).await?
                    {
                        let revoked = draft(Kind::KeyRevoked);
                        records.push(revoked.about([old.id.into(), principal.into()]));
                        subjects.push(old.id.to_string());
                    }
                }
                let blank = blank_key(key_id, principal, KeyForm::IssuedCertificate, now);
                let row = issued.register(tx, blank).await?;
                records.push(key_record(draft(Kind::KeyRegistered), &row));
                Ok(Changed {
                    value: (),
                    records,
                    subjects,
                })
            })
        })
        .await?;
        Ok(enrolled)
    }

    /// The key of a signing request that asks for nothing but the principal's own name.
    pub(super) fn read_own_csr(
        &self,
        csr: &str,
        principal: PrincipalId,
    ) -> Result<PublicKey, VaultError> {
        let domain: TrustDomain = self
            .deployment
            .parse()
            .map_err(|_| VaultError::Internal("the deployment's id is no trust domain"))?;
        let own = SpiffeId::of_principal(&domain, principal);
        pki::read_own_request(csr, &own)
            .map_err(|error| VaultError::invalid("csr", error.to_string()))
    }

    /// What is answered with a new certificate.
    pub(super) async fn enrolled(
        &self,
        principal: PrincipalId,
        name: String,
        key: KeyId,
        issued: &IssuedClient,
        now: Timestamp,
    ) -> Result<Enrolled, VaultError> {
        let not_after = issued.certificate.not_after;
        let life = not_after.secs() - now.secs();
        Ok(Enrolled {
            principal: PrincipalRef {
                kind: principal.kind(),
                id: principal.to_string(),
                name,
            },
            key: KeyRef { id: key },
            certificate: issued.certificate.pem.clone(),
            chain: issued.chain.clone(),
            ca: self.trust_bundle_pem().await?,
            spiffe_id: issued.spiffe_id.as_str().to_owned(),
            not_after,
            renew_after: Timestamp::from_secs(now.secs() + life - life / 3),
            audience: self.deployment.clone(),
        })
    }
}
