//! Erasing a client: what could open its values is destroyed, with the values and everything that
//! names people, and a signed certificate says so, and what it cannot say.

use std::collections::{BTreeMap, btree_map::Entry};

use ring::digest::{SHA256, digest};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::caller::Caller;
use super::error::VaultError;
use super::holds::holders_of;
use super::recorder::Changed;
use super::{Vault, same_revision};
use crate::audit::{Detail, Kind, Purpose};
use crate::model::{
    BackupId, ClientId, CredentialId, DisplayName, KekId, Permission, PrincipalId, Timestamp,
    VersionId, VersionState,
};
use crate::store::{
    ClientRow, CredentialFilter, CredentialRow, DeploymentStateRow, ErasureRow, StoreError, Tx,
    VersionRow,
};

/// That a client is to be erased.
#[derive(Deserialize, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Erase {
    /// The client's short name, so that nobody does this by mistake.
    pub confirm: String,
    /// Why it is done although live workloads hold active versions.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub override_reason: Option<DisplayName>,
}

/// A client that was erased.
#[derive(Clone, Serialize, Deserialize, ToSchema)]
pub struct Erasure {
    /// Its id, which the audit log goes on to name.
    pub client: ClientId,
    /// When.
    pub erased_at: Timestamp,
    /// The certificate: a signed note, to be checked with the public audit key. Empty where only a
    /// surviving audit log said that the client had been erased.
    pub certificate: String,
}

/// What the certificate says.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ErasureCertificate {
    /// The deployment.
    pub deployment: String,
    /// The client.
    pub client: ClientId,
    /// When it was erased.
    pub erased_at: Timestamp,
    /// By whom.
    pub by: String,
    /// Why it was done although live workloads held active versions.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub override_reason: Option<String>,
    /// What was destroyed of each credential.
    pub credentials: Vec<ErasedCredential>,
    /// How much of the rest was destroyed.
    pub destroyed: BTreeMap<String, u64>,
    /// The keys that wrapped what opened the values; they go on for other clients.
    pub keks: Vec<ErasedKek>,
    /// Backups that were taken before, and still hold the wrapped keys and sealed values.
    pub backups: Vec<BackupBefore>,
    /// What this certificate does not promise.
    pub limits: Vec<String>,
}

/// A credential of an erased client.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ErasedCredential {
    /// Its id.
    pub id: CredentialId,
    /// Its versions.
    pub versions: Vec<ErasedVersion>,
}

/// A version of an erased client.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ErasedVersion {
    /// Its id.
    pub id: VersionId,
    /// Its number.
    pub number: i64,
    /// SHA-256 of the sealed value that was destroyed now; null if it was gone before.
    pub sealed_sha256: Option<String>,
}

/// A key that wrapped DEKs of the client.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ErasedKek {
    /// Its id.
    pub id: String,
    /// Its generation.
    pub generation: i64,
}

/// A backup that was taken before the erasure.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BackupBefore {
    /// Its id.
    pub id: BackupId,
    /// The moment whose state it holds.
    pub taken_at: Timestamp,
    /// Who can open it.
    pub recipients: String,
    /// Until when it is kept; null when nobody said.
    pub keep_until: Option<Timestamp>,
    /// That this date had passed when the client was erased: it should be destroyed, and the service
    /// does not know whether it is.
    #[serde(default)]
    pub overdue: bool,
}

/// What no certificate of a running service can promise.
fn limits(shared: bool, state: Option<&DeploymentStateRow>) -> Vec<String> {
    let backups = "Whoever has one of the listed backups and an identity of its recipients and of \
                   the root key can open the values in it until that backup is destroyed.";
    let copies = "Copies made by other means (disk snapshots, file backups of the database, \
                  replicas) are not known to the service.";
    let database = match shared {
        false => {
            "The bytes are overwritten in the database file, and its write-ahead log is cut as \
                  soon as no reader stands in the way, within minutes as a rule; a disk may keep \
                  older blocks of its own."
        }
        true => {
            "PostgreSQL keeps deleted rows in its files until VACUUM, and in archived \
                 write-ahead logs for as long as those are kept."
        }
    };
    let worker = "What workloads fetched before is theirs to delete.";
    let stays = "Ids, version numbers, states, times and the records of the audit log stay: they \
                 hold no name, address or value.";
    let mut limits: Vec<String> = [backups, copies, database, worker, stays]
        .map(str::to_owned)
        .into();
    let restored = state.and_then(|state| Some((state.taken_at?, state.restored_at?)));
    if let Some((taken_at, restored_at)) = restored {
        limits.push(format!(
            "The deployment was restored at {restored_at} from a backup of {taken_at}: backups that \
             were taken between these moments are not known to it, and not listed."
        ));
    }
    limits
}

/// What was found and destroyed.
struct Gone {
    credentials: Vec<ErasedCredential>,
    destroyed: BTreeMap<String, u64>,
    keks: Vec<ErasedKek>,
}

impl Vault {
    /// Erases a client that still has the revision `expected`.
    ///
    /// # Errors
    /// It is not there, has changed, or a live workload holds an active version; see
    /// [`VaultError`].
    pub async fn erase_client(
        &self,
        caller: &Caller,
        id: ClientId,
        expected: i64,
        erase: Erase,
    ) -> Result<Erasure, VaultError> {
        let now = self.clock.now();
        let (statements, deployment) = (self.statements.clone(), self.deployment.clone());
        let shared = self.db.is_shared();
        let record = caller.draft(Kind::ClientErased).about([id.into()]);
        let by: PrincipalId = caller.principal.id();
        let change = self.change(caller, Permission::OperateDeployment, move |tx| {
            Box::pin(async move {
                let client = tx.client(id).await?.ok_or(VaultError::NotFound)?;
                same_revision(client.revision, expected)?;
                if tx.erasure(id).await?.is_some() {
                    return Err(VaultError::Conflict("this client was erased already"));
                }
                if erase.confirm != client.slug.as_str() {
                    let rule = "must be the client's short name";
                    return Err(VaultError::invalid("confirm", rule));
                }
                let held = is_held(tx, id).await?;
                if held && erase.override_reason.is_none() {
                    return Err(VaultError::Conflict(
                        "live workloads still hold active versions of this client: see its \
                             credentials' holds, or give override_reason",
                    ));
                }
                let gone = destroy(tx, client, now).await?;
                let destroyed = gone.destroyed.clone();
                let certificate = ErasureCertificate {
                    deployment,
                    client: id,
                    erased_at: now,
                    by: by.to_string(),
                    override_reason: erase
                        .override_reason
                        .filter(|_| held)
                        .map(|reason| reason.as_str().to_owned()),
                    credentials: gone.credentials,
                    destroyed: gone.destroyed,
                    keks: gone.keks,
                    backups: backups_before(tx, now).await?,
                    limits: limits(shared, tx.deployment_state().await?.as_ref()),
                };
                let json = serde_json::to_string(&certificate)
                    .map_err(|_| VaultError::Internal("a certificate cannot be written"))?;
                let note = statements.sign(Purpose::ErasureCertificate, &json);
                let mut record = record
                    .with("holds_overridden", Detail::Number(i64::from(held)))
                    .with("certificate", Detail::Digest(sha256(note.as_bytes())));
                for (name, word) in [("wraps", "wraps"), ("values", "values")] {
                    let count = destroyed.get(name).copied().unwrap_or(0);
                    let count = i64::try_from(count).unwrap_or(i64::MAX);
                    record = record.with(word, Detail::Number(count));
                }
                tx.insert_erasure(ErasureRow {
                    client_id: id,
                    erased_at: now,
                    certificate: note.clone(),
                    mac: Vec::new(),
                })
                .await?;
                let mut subjects = vec![id.to_string()];
                subjects.extend(certificate.credentials.iter().map(|it| it.id.to_string()));
                Ok(Changed {
                    value: Erasure {
                        client: id,
                        erased_at: now,
                        certificate: note,
                    },
                    records: vec![record],
                    subjects,
                })
            })
        });
        self.destroying(change).await
    }

    /// The certificate of a client that was erased.
    ///
    /// # Errors
    /// It was not erased; see [`VaultError`].
    pub async fn erasure(&self, caller: &Caller, id: ClientId) -> Result<Erasure, VaultError> {
        self.authorise(caller, Permission::ReadMetadata).await?;
        let row = self.db.read().await?.erasure(id).await?;
        let row = row.ok_or(VaultError::NotFound)?;
        Ok(Erasure {
            client: row.client_id,
            erased_at: row.erased_at,
            certificate: row.certificate,
        })
    }
}

/// Erases a client again in a database that was restored from before its erasure. `false` when it is
/// not there, or was erased.
pub(super) async fn erase_again(
    tx: &mut Tx,
    id: ClientId,
    certificate: String,
    now: Timestamp,
) -> Result<bool, VaultError> {
    if tx.erasure(id).await?.is_some() {
        return Ok(false);
    }
    let found = tx.client(id).await?;
    let there = found.is_some();
    if let Some(client) = found {
        destroy(tx, client, now).await?;
    }
    tx.insert_erasure(ErasureRow {
        client_id: id,
        erased_at: now,
        certificate,
        mac: Vec::new(),
    })
    .await?;
    Ok(there)
}

/// A client to which something is added, or of which something is changed: it must not be erased.
///
/// # Errors
/// It is not there, or was erased; see [`VaultError`].
pub(super) async fn live_client(tx: &mut Tx, id: ClientId) -> Result<ClientRow, VaultError> {
    let row = tx.client(id).await?.ok_or(VaultError::NotFound)?;
    match tx.erasure(id).await? {
        None => Ok(row),
        Some(_) => Err(VaultError::Conflict(
            "this client was erased: nothing of it can be changed or added. Add a new client",
        )),
    }
}

fn sha256(bytes: &[u8]) -> [u8; 32] {
    let mut hash = [0; 32];
    hash.copy_from_slice(digest(&SHA256, bytes).as_ref());
    hash
}

/// Every credential of a client.
async fn credentials_of(tx: &mut Tx, client: ClientId) -> Result<Vec<CredentialRow>, StoreError> {
    let filter = CredentialFilter {
        client: Some(client),
        ..CredentialFilter::default()
    };
    let (mut all, mut after) = (Vec::new(), String::new());
    loop {
        let page = tx.credentials(&filter, &after, 500).await?;
        all.extend(page.items);
        match page.next {
            Some(next) => after = next,
            None => return Ok(all),
        }
    }
}

/// Whether a live workload holds an active version of a client.
async fn is_held(tx: &mut Tx, client: ClientId) -> Result<bool, VaultError> {
    for credential in credentials_of(tx, client).await? {
        if let Some(active) = tx.active_version(credential.id).await?
            && !holders_of(tx, credential.id, active.number)
                .await?
                .is_empty()
        {
            return Ok(true);
        }
    }
    Ok(false)
}

async fn backups_before(tx: &mut Tx, now: Timestamp) -> Result<Vec<BackupBefore>, StoreError> {
    let (mut all, mut after) = (Vec::new(), String::new());
    loop {
        let page = tx.backups(&after, 500).await?;
        all.extend(page.items.into_iter().map(|row| BackupBefore {
            id: row.id,
            taken_at: row.taken_at,
            recipients: row.recipients,
            overdue: row.keep_until.is_some_and(|until| until <= now),
            keep_until: row.keep_until,
        }));
        match page.next {
            Some(next) => after = next,
            None => return Ok(all),
        }
    }
}

/// Destroys everything of a client but ids, numbers, states and times.
async fn destroy(tx: &mut Tx, mut client: ClientRow, now: Timestamp) -> Result<Gone, VaultError> {
    let internal = |_| VaultError::Internal("the name of an erased client");
    let erased: DisplayName = "erased".parse().map_err(internal)?;
    let mut credentials = Vec::new();
    let mut keks: BTreeMap<KekId, i64> = BTreeMap::new();
    for mut credential in credentials_of(tx, client.id).await? {
        let mut versions = Vec::new();
        for version in tx.versions(credential.id).await? {
            for wrap in tx.wraps(version.id).await? {
                if let Entry::Vacant(entry) = keks.entry(wrap.kek_id) {
                    let kek = tx.kek(wrap.kek_id).await?;
                    entry.insert(kek.map_or(0, |kek| kek.generation));
                }
            }
            let sealed = tx.payload(version.id).await?;
            versions.push(ErasedVersion {
                id: version.id,
                number: version.number,
                sealed_sha256: sealed.map(|sealed| hex::encode(sha256(&sealed))),
            });
            end_version(tx, version, now).await?;
        }
        let revision = credential.revision;
        credential.label = erased.clone();
        credential.revision += 1;
        if !tx.update_credential(&mut credential, revision).await? {
            return Err(VaultError::Changed);
        }
        credentials.push(ErasedCredential {
            id: credential.id,
            versions,
        });
    }
    let counts = tx.destroy_of_client(client.id).await?;
    let revision = client.revision;
    client.name = erased;
    let id = client.id.to_string();
    let slug = id.split_once('_').map_or(id.as_str(), |(_, ulid)| ulid);
    client.slug = format!("erased-{slug}").parse().map_err(internal)?;
    client.revision += 1;
    if !tx.update_client(&mut client, revision).await? {
        return Err(VaultError::Changed);
    }
    let destroyed = [
        ("wraps", counts.wraps),
        ("values", counts.payloads),
        ("fingerprints", counts.fingerprints),
        ("contacts", counts.contacts),
        ("receipts", counts.receipts),
        ("tasks", counts.tasks),
        ("verifications", counts.verifications),
        ("submissions", counts.submissions),
        ("invites", counts.invites),
        ("mails", counts.mails),
    ];
    let destroyed = destroyed.map(|(name, count)| (name.to_owned(), count));
    Ok(Gone {
        credentials,
        destroyed: destroyed.into(),
        keks: keks
            .into_iter()
            .map(|(id, generation)| ErasedKek {
                id: id.to_string(),
                generation,
            })
            .collect(),
    })
}

/// Retires a version that is not at its end, and forgets why people did what they did with it.
async fn end_version(
    tx: &mut Tx,
    mut version: VersionRow,
    now: Timestamp,
) -> Result<(), VaultError> {
    let from = version.state;
    if !matches!(from, VersionState::Retired | VersionState::Rejected) {
        version.state = VersionState::Retired;
        version.state_changed_at = now;
    }
    version.reason = None;
    match tx.update_version(&mut version, from).await? {
        true => Ok(()),
        false => Err(VaultError::Changed),
    }
}
