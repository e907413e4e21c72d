//! The revocation list of an own authority, for whoever else checks its certificates, such as a
//! proxy in front of something.
//!
//! Strongroom itself does not consult it: each request asks the registry, which knows more and at
//! once, and a list that could not be made must not shut anybody out. It is made anew when it is
//! asked for and something was revoked since, or half of its life is over.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use subtle::ConstantTimeEq as _;

use super::Vault;
use super::error::VaultError;
use super::recorder::{Changed, Draft};
use super::revocation_lists::RevocationListView;
use crate::audit::{Detail, Kind};
use crate::model::{AuthorityId, Timestamp};
use crate::pki::{Issuer, ListContent, RevokedCertificate};
use crate::store::{IssuedRow, OwnListRow, RevocationReason, Tx};

/// How long a list is good, in seconds: a day.
const LIFETIME: i64 = 24 * 60 * 60;
/// How far a list begins in the past, for clocks that are behind.
const BACKDATE: i64 = 60;

/// A list that is served, and the policy generation at which it was looked at.
struct ServedList {
    generation: i64,
    row: Arc<OwnListRow>,
}

/// SHA-256 over what a list says.
fn digest(revoked: &[IssuedRow]) -> Vec<u8> {
    let mut context = ring::digest::Context::new(&ring::digest::SHA256);
    for row in revoked {
        let since = row.revoked_at.map_or(0, Timestamp::micros);
        let length = u32::try_from(row.serial.len()).unwrap_or(u32::MAX);
        context.update(&length.to_be_bytes());
        context.update(&row.serial);
        context.update(&since.to_be_bytes());
        context.update(row.reason.map_or("", RevocationReason::as_str).as_bytes());
        context.update(b"\n");
    }
    context.finish().as_ref().to_vec()
}

/// Whether a list is to be replaced although nothing was revoked.
fn is_old(row: &OwnListRow, now: Timestamp) -> bool {
    now >= row.this_update.plus_secs(LIFETIME / 2) || now < row.this_update
}

impl From<&OwnListRow> for RevocationListView {
    fn from(row: &OwnListRow) -> Self {
        Self {
            number: format!("{:x}", row.number),
            this_update: row.this_update,
            next_update: row.next_update,
            entries: row.entries,
            distribution_points: Vec::new(),
            imported_at: None,
        }
    }
}

type Served = BTreeMap<AuthorityId, ServedList>;

/// The lists that this node served last.
#[derive(Default)]
pub(super) struct ServedLists(Mutex<Served>);

impl ServedLists {
    fn all(&self) -> MutexGuard<'_, Served> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Vault {
    /// The revocation list of an own authority, in DER. Anybody may have it.
    ///
    /// # Errors
    /// There is no such own authority; a new list is due and cannot be made.
    pub async fn own_revocation_list(&self, id: AuthorityId) -> Result<Vec<u8>, VaultError> {
        // Read before the rest, so that what is kept is never said to be newer than it is.
        let generation = self.memory.generation();
        let now = self.clock.now();
        let authorities = self.authorities().await?;
        let row = authorities.rows.iter().find(|row| row.id == id);
        let row = row.filter(|row| row.is_own()).ok_or(VaultError::NotFound)?;
        if let Some(served) = self.own_lists.all().get(&id)
            && served.generation == generation
            && !is_old(&served.row, now)
        {
            return Ok(served.row.list.clone());
        }
        let mut tx = self.db.read().await?;
        let revoked = tx.revoked_of(id, now).await?;
        let current = tx.own_list(id).await?;
        let keys = tx.service_keys().await?;
        drop(tx);
        let unchanged = current.filter(|list| list.digest.ct_eq(&digest(&revoked)).into());
        let list = match unchanged {
            Some(list) if !is_old(&list, now) => list,
            unchanged => {
                let issuer = self.open_authority(row, &keys)?;
                match (self.make_list(id, issuer, now).await, unchanged) {
                    (Ok(list), _) => list,
                    // It says the same as a new one would, and is good for some time.
                    (Err(_), Some(list)) if now < list.next_update => list,
                    (Err(error), _) => return Err(error),
                }
            }
        };
        let bytes = list.list.clone();
        let row = Arc::new(list);
        self.own_lists
            .all()
            .insert(id, ServedList { generation, row });
        Ok(bytes)
    }

    async fn make_list(
        &self,
        id: AuthorityId,
        issuer: Issuer,
        now: Timestamp,
    ) -> Result<OwnListRow, VaultError> {
        self.change_by_itself(move |tx| {
            Box::pin(async move {
                let (value, records) = replace(tx, id, &issuer, now).await?;
                Ok(Changed {
                    value,
                    records,
                    subjects: Vec::new(),
                })
            })
        })
        .await
    }
}

/// Makes the next list, unless another request or node just did.
async fn replace(
    tx: &mut Tx,
    id: AuthorityId,
    issuer: &Issuer,
    now: Timestamp,
) -> Result<(OwnListRow, Vec<Draft>), VaultError> {
    let revoked = tx.revoked_of(id, now).await?;
    let current = tx.own_list(id).await?;
    let digest = digest(&revoked);
    if let Some(list) = &current
        && bool::from(list.digest.ct_eq(&digest))
        && !is_old(list, now)
    {
        return Ok((list.clone(), Vec::new()));
    }
    // The time in seconds, so that numbers go up even if the row was lost.
    let last = current.map_or(0, |list| list.number);
    let number = last.saturating_add(1).max(now.secs());
    let this_update = Timestamp::from_secs(now.secs()).plus_secs(-BACKDATE);
    let next_update = this_update.plus_secs(BACKDATE + LIFETIME);
    let entries: Vec<RevokedCertificate> = revoked
        .iter()
        .map(|row| RevokedCertificate {
            serial: row.serial.clone(),
            since: row.revoked_at.unwrap_or(now),
            on_hold: row.reason == Some(RevocationReason::Hold),
        })
        .collect();
    let list = issuer
        .sign_revocation_list(&ListContent {
            number: u64::try_from(number).unwrap_or(0),
            this_update,
            next_update,
            revoked: &entries,
        })
        .map_err(|_| VaultError::Internal("the revocation list could not be signed"))?;
    let entries = i64::try_from(entries.len()).unwrap_or(i64::MAX);
    let row = OwnListRow {
        authority_id: id,
        number,
        this_update,
        next_update,
        entries,
        digest,
        list,
        mac: Vec::new(),
    };
    if !tx.put_own_list(row.clone()).await? {
        return Err(VaultError::Unavailable("another list was just made"));
    }
    let record = Draft::of(Kind::RevocationListIssued)
        .about([id.into()])
        .with("entries", Detail::Number(entries));
    Ok((row, vec![record]))
}
