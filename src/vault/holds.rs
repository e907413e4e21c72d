//! Who was given which version, and which one each workload runs on.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::Vault;
use super::caller::Caller;
use super::error::VaultError;
use super::recorder::Changed;
use crate::audit::{Kind, Subject};
use crate::model::{CredentialId, Permission, Principal, Slug, Timestamp, WorkloadId};
use crate::store::{Page, ReceiptRow, Tx};

/// Which version a workload says it runs on.
#[derive(Clone, Copy, Deserialize, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct InUse {
    /// The version's number.
    pub version: i64,
}

/// First and last delivery of a version to a workload.
#[derive(Clone, Serialize, Deserialize, ToSchema)]
#[schema(as = Receipt)]
pub struct ReceiptView {
    /// The server.
    pub workload: WorkloadId,
    /// The credential.
    pub credential: CredentialId,
    /// The version's number.
    pub version: i64,
    /// First delivery.
    pub first_at: Timestamp,
    /// Last delivery.
    pub last_at: Timestamp,
    /// When the workload last said that it runs on this version.
    pub in_use_at: Option<Timestamp>,
}

/// The server of a hold.
#[derive(Clone, Serialize, Deserialize, ToSchema)]
pub struct WorkloadRef {
    /// Its id.
    pub id: WorkloadId,
    /// Its name.
    pub name: Slug,
}

/// That a workload holds a version: the one of its newest `in-use`, or, if it never reported, every
/// one that it fetched.
#[derive(Clone, Serialize, Deserialize, ToSchema)]
pub struct Hold {
    /// The server.
    pub workload: WorkloadRef,
    /// The credential.
    pub credential: CredentialId,
    /// The version's number.
    pub version: i64,
    /// Since when: the report, or else the first delivery.
    pub since: Timestamp,
    /// First delivery.
    pub first_at: Timestamp,
    /// Last delivery.
    pub last_at: Timestamp,
    /// Whether the workload reported it.
    pub in_use: bool,
    /// Whether the workload is enabled: holds of disabled ones do not count.
    pub live: bool,
}

impl From<ReceiptRow> for ReceiptView {
    fn from(row: ReceiptRow) -> Self {
        Self {
            workload: row.workload_id,
            credential: row.credential_id,
            version: row.number,
            first_at: row.first_at,
            last_at: row.last_at,
            in_use_at: row.in_use_at,
        }
    }
}

/// Of the receipts of one workload for one credential, those that are holds.
fn holds_among(receipts: Vec<ReceiptRow>) -> Vec<ReceiptRow> {
    let newest = receipts
        .iter()
        .filter_map(|row| row.in_use_at.map(|at| (at, row.number)))
        .max();
    match newest {
        Some((_, number)) => receipts
            .into_iter()
            .filter(|row| row.number == number)
            .collect(),
        None => receipts,
    }
}

/// Every receipt of a workload or credential.
async fn all_receipts(
    tx: &mut Tx,
    workload: Option<WorkloadId>,
    credential: Option<CredentialId>,
) -> Result<Vec<ReceiptRow>, VaultError> {
    let mut all = Vec::new();
    let mut after = String::new();
    loop {
        let page = tx.receipts(workload, credential, &after, 1000).await?;
        all.extend(page.items);
        match page.next {
            Some(next) => after = next,
            None => return Ok(all),
        }
    }
}

async fn holds(
    tx: &mut Tx,
    workload: Option<WorkloadId>,
    credential: Option<CredentialId>,
) -> Result<Vec<Hold>, VaultError> {
    let mut groups: BTreeMap<(WorkloadId, CredentialId), Vec<ReceiptRow>> = BTreeMap::new();
    for row in all_receipts(tx, workload, credential).await? {
        groups
            .entry((row.workload_id, row.credential_id))
            .or_default()
            .push(row);
    }
    let mut holds = Vec::new();
    for ((workload, credential), receipts) in groups {
        let Some(server) = tx.workload(workload).await? else {
            continue;
        };
        for row in holds_among(receipts) {
            holds.push(Hold {
                workload: WorkloadRef {
                    id: workload,
                    name: server.name.clone(),
                },
                credential,
                version: row.number,
                since: row.in_use_at.unwrap_or(row.first_at),
                first_at: row.first_at,
                last_at: row.last_at,
                in_use: row.in_use_at.is_some(),
                live: server.disabled_at.is_none(),
            });
        }
    }
    Ok(holds)
}

/// The live workloads that hold a version.
pub(super) async fn holders_of(
    tx: &mut Tx,
    credential: CredentialId,
    number: i64,
) -> Result<Vec<Hold>, VaultError> {
    let mut holds = holds(tx, None, Some(credential)).await?;
    holds.retain(|hold| hold.version == number && hold.live);
    Ok(holds)
}

impl Vault {
    /// Notes that the calling workload now runs on a version.
    ///
    /// # Errors
    /// [`VaultError::NotFound`] when it was never given that version; see [`VaultError`].
    pub async fn report_in_use(
        &self,
        caller: &Caller,
        credential: Option<CredentialId>,
        number: i64,
    ) -> Result<(), VaultError> {
        let Principal::Workload { id: workload, .. } = caller.principal else {
            self.deny(caller, Kind::ReleaseDenied, Vec::new(), "not-a-workload")
                .await?;
            return Err(VaultError::NotFound);
        };
        let subject = |id| Subject::Numbered(id, u64::try_from(number).unwrap_or(0));
        let record = caller
            .draft(Kind::VersionInUse)
            .about(credential.map(subject));
        let now = self.clock.now();
        let noted = self
            .change_by_workload(caller, move |tx| {
                Box::pin(async move {
                    // What cannot be an id takes the same steps as what is not there.
                    let credential = credential.unwrap_or(CredentialId::from_bytes([0; 16]));
                    if !tx.mark_in_use(workload, credential, number, now).await? {
                        return Err(VaultError::NotFound);
                    }
                    Ok(Changed {
                        value: (),
                        records: vec![record],
                        subjects: Vec::new(),
                    })
                })
            })
            .await;
        if matches!(noted, Err(VaultError::NotFound)) {
            let mut refused = caller.clone();
            // The assertion was spent with the attempt.
            refused.assertion = None;
            let subjects = credential.map(subject).into_iter().collect();
            self.deny(&refused, Kind::ReleaseDenied, subjects, "no-receipt")
                .await?;
        }
        noted
    }

    /// A page of receipts.
    ///
    /// # Errors
    /// See [`VaultError`].
    pub async fn receipts(
        &self,
        caller: &Caller,
        workload: Option<WorkloadId>,
        credential: Option<CredentialId>,
        after: &str,
        limit: i64,
    ) -> Result<Page<ReceiptView>, VaultError> {
        self.authorise(caller, Permission::ReadMetadata).await?;
        let page = self
            .db
            .read()
            .await?
            .receipts(workload, credential, after, limit)
            .await?;
        Ok(page.map(ReceiptView::from))
    }

    /// Who holds which version of a credential.
    ///
    /// # Errors
    /// It is not there; see [`VaultError`].
    pub async fn credential_holds(
        &self,
        caller: &Caller,
        id: CredentialId,
    ) -> Result<Vec<Hold>, VaultError> {
        self.authorise(caller, Permission::ReadMetadata).await?;
        let mut tx = self.db.read().await?;
        tx.credential(id).await?.ok_or(VaultError::NotFound)?;
        holds(&mut tx, None, Some(id)).await
    }

    /// Which versions a workload holds.
    ///
    /// # Errors
    /// It is not there; see [`VaultError`].
    pub async fn workload_holds(
        &self,
        caller: &Caller,
        id: WorkloadId,
    ) -> Result<Vec<Hold>, VaultError> {
        self.authorise(caller, Permission::ReadMetadata).await?;
        let mut tx = self.db.read().await?;
        tx.workload(id).await?.ok_or(VaultError::NotFound)?;
        holds(&mut tx, Some(id), None).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::VersionId;

    fn receipt(number: i64, in_use_at: Option<i64>) -> ReceiptRow {
        ReceiptRow {
            workload_id: WorkloadId::from_bytes([1; 16]),
            version_id: VersionId::from_bytes([u8::try_from(number).unwrap(); 16]),
            credential_id: CredentialId::from_bytes([2; 16]),
            number,
            first_at: Timestamp::from_secs(number),
            last_at: Timestamp::from_secs(number),
            in_use_at: in_use_at.map(Timestamp::from_secs),
        }
    }

    fn held(receipts: Vec<ReceiptRow>) -> Vec<i64> {
        holds_among(receipts).iter().map(|row| row.number).collect()
    }

    #[test]
    fn the_newest_report_is_the_hold_and_without_one_everything_fetched_is() {
        assert_eq!(held(vec![receipt(1, None), receipt(2, None)]), [1, 2]);
        assert_eq!(held(vec![receipt(1, Some(10)), receipt(2, None)]), [1]);
        assert_eq!(held(vec![receipt(1, Some(10)), receipt(2, Some(20))]), [2]);
        // Back to the old one.
        assert_eq!(held(vec![receipt(1, Some(30)), receipt(2, Some(20))]), [1]);
    }
}
