//! Revocation lists of foreign authorities: imported, shown, given up; and the warning before one
//! ends.
//!
//! From its first list on, an authority's certificates are accepted only with a list that is not
//! past its next update: whatever becomes of the rows, there is no way back to "not checked" but the
//! operator's ([`Vault::remove_revocation_lists`]).

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use rustls_pki_types::CertificateDer;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::Vault;
use super::caller::Caller;
use super::error::VaultError;
use super::memory::Authorities;
use super::recorder::{Changed, Draft};
use crate::audit::{Detail, Kind};
use crate::identity::revocation_list::{ListError, RevocationList};
use crate::model::{AuthorityId, Permission, Timestamp};
use crate::store::{AuthorityOrigin, AuthorityRow, RevocationListRow, Tx};

/// A revocation list to be imported.
#[derive(Deserialize, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewRevocationList {
    /// The list (RFC 5280, version 2) in PEM, or its DER in base64; at most 1 MiB of DER.
    pub crl: String,
}

/// A revocation list.
#[derive(Clone, Serialize, Deserialize, ToSchema)]
#[schema(as = RevocationList)]
pub struct RevocationListView {
    /// Its CRL number, hexadecimal.
    pub number: String,
    /// When it was made.
    pub this_update: Timestamp,
    /// From when on it is good for nothing more: a newer one has to be there before.
    pub next_update: Timestamp,
    /// How many certificates it revokes.
    pub entries: i64,
    /// The addresses of the distribution point that it is about; none when it is complete.
    pub distribution_points: Vec<String>,
    /// When it was imported; null for a list of Strongroom's own.
    pub imported_at: Option<Timestamp>,
}

impl From<&RevocationListRow> for RevocationListView {
    fn from(row: &RevocationListRow) -> Self {
        let points = match row.scope.is_empty() {
            true => Vec::new(),
            // It was read before it was stored.
            false => RevocationList::from_der(row.list.clone())
                .map(|list| list.distribution_points)
                .unwrap_or_default(),
        };
        Self {
            number: number_text(&row.number),
            this_update: row.this_update,
            next_update: row.next_update,
            entries: row.entries,
            distribution_points: points,
            imported_at: Some(row.imported_at),
        }
    }
}

/// A number as it is commonly shown: hexadecimal without leading zeros.
pub(super) fn number_text(bytes: &[u8]) -> String {
    let text = hex::encode(bytes);
    let text = text.trim_start_matches('0');
    if text.is_empty() { "0" } else { text }.to_owned()
}

fn refused(error: ListError) -> VaultError {
    VaultError::invalid("crl", error.to_string())
}

/// A foreign authority that is trusted now.
fn foreign(row: Option<AuthorityRow>) -> Result<AuthorityRow, VaultError> {
    let row = row.ok_or(VaultError::NotFound)?;
    if row.origin == AuthorityOrigin::Own {
        return Err(VaultError::Conflict(
            "this is Strongroom's own authority: it makes its list itself",
        ));
    }
    if row.removed_at.is_some() {
        return Err(VaultError::Conflict("this authority was removed"));
    }
    Ok(row)
}

/// Refuses a list that is older than the one in its place: whoever brings it may want to bring back
/// a certificate that was revoked since.
fn not_older(list: &RevocationList, stored: Option<&RevocationListRow>) -> Result<(), VaultError> {
    let Some(stored) = stored else { return Ok(()) };
    let older = list.number.as_slice() < stored.number.as_slice()
        || list.this_update < stored.this_update
        || (list.number.as_slice() == stored.number.as_slice() && list.der != stored.list);
    if older {
        return Err(VaultError::invalid(
            "crl",
            "is older than the list that is stored, or another one with the same number: import \
             the newest list of the authority",
        ));
    }
    Ok(())
}

impl Vault {
    /// Imports a revocation list of a foreign authority. It takes effect at the next request on every
    /// node, also on open connections. A list that is refused changes nothing: the one before stays.
    ///
    /// # Errors
    /// The authority is not there or Strongroom's own; the list is malformed, another authority's,
    /// expired, or older than the stored one; see [`VaultError`].
    pub async fn import_revocation_list(
        &self,
        caller: &Caller,
        id: AuthorityId,
        new: NewRevocationList,
    ) -> Result<RevocationListView, VaultError> {
        self.authorise_quietly(caller, Permission::WritePrincipals)
            .await?;
        let now = self.clock.now();
        let mut tx = self.db.read().await?;
        let row = foreign(tx.authority(id).await?)?;
        drop(tx);
        let list = RevocationList::from_text(&new.crl).map_err(refused)?;
        let certificate = CertificateDer::from(row.certificate);
        list.check(&certificate, now).map_err(refused)?;
        let record = caller.draft(Kind::RevocationListImported);
        self.change(caller, Permission::WritePrincipals, move |tx| {
            Box::pin(async move { keep(tx, id, list, record, now).await })
        })
        .await
    }

    /// Gives up the revocation lists of a foreign authority: from then on its certificates are
    /// accepted unchecked, until a list is imported again.
    ///
    /// # Errors
    /// The authority is not there, or has no list; see [`VaultError`].
    pub async fn remove_revocation_lists(
        &self,
        caller: &Caller,
        id: AuthorityId,
    ) -> Result<(), VaultError> {
        let record = caller
            .draft(Kind::RevocationListsRemoved)
            .about([id.into()]);
        self.change(caller, Permission::WritePrincipals, move |tx| {
            Box::pin(async move {
                let mut row = foreign(tx.authority(id).await?)?;
                let revision = row.revision;
                if row.lists_since.take().is_none() {
                    return Err(VaultError::Conflict(
                        "no revocation list was imported for this authority",
                    ));
                }
                tx.delete_revocation_lists(id).await?;
                row.revision += 1;
                if !tx.update_authority(&mut row, revision).await? {
                    return Err(VaultError::Changed);
                }
                Ok(Changed {
                    value: (),
                    records: vec![record],
                    subjects: vec![id.to_string()],
                })
            })
        })
        .await
    }

    /// How the revocation lists are, in words.
    pub(super) fn revocation_lists_detail(&self) -> &'static str {
        match self.lists.worst() {
            ListsState::Good => "ok",
            ListsState::Ending => "a revocation list ends soon: import the next one",
            ListsState::Ended => "a revocation list has ended: whoever it is about is refused",
        }
    }

    /// Measures how long the revocation lists are still good, and warns in the log when the end of
    /// one is near.
    pub(super) async fn watch_revocation_lists(&self) -> Result<(), VaultError> {
        let authorities = self.authorities().await?;
        for (id, left, state) in self.lists.measure(&authorities, self.clock.now()) {
            match state {
                ListsState::Good => {}
                ListsState::Ending => tracing::warn!(authority = %id, seconds = left,
                    "a revocation list ends soon: import the next one, or everybody of this \
                     authority is refused"),
                ListsState::Ended => tracing::error!(authority = %id,
                    "a revocation list has ended: certificates that it is about are refused until \
                     the next one is imported"),
            }
        }
        Ok(())
    }
}

/// How the revocation lists of foreign authorities are, the worst last.
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum ListsState {
    #[default]
    Good,
    Ending,
    Ended,
}

/// How the revocation lists were when they were last measured.
#[derive(Default)]
pub(super) struct ListsWatch(Mutex<BTreeMap<AuthorityId, ListsState>>);

impl ListsWatch {
    fn all(&self) -> MutexGuard<'_, BTreeMap<AuthorityId, ListsState>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn worst(&self) -> ListsState {
        self.all().values().copied().max().unwrap_or_default()
    }

    /// Says how long the lists of each authority are still good, as a metric and as the answer, in
    /// seconds.
    pub(super) fn measure(
        &self,
        authorities: &Authorities,
        now: Timestamp,
    ) -> Vec<(AuthorityId, i64, ListsState)> {
        let gauge = |id: AuthorityId| {
            let label = id.to_string();
            metrics::gauge!("strongroom_revocation_list_remaining_seconds", "authority" => label)
        };
        let mut measured = Vec::new();
        let with_lists = authorities.rows.iter();
        for row in with_lists.filter(|row| row.lists_since.is_some()) {
            let lists = authorities.lists.iter();
            let lists = lists.filter(|list| list.authority_id == row.id);
            let first = lists.min_by_key(|list| list.next_update);
            let left = first.map_or(0, |list| list.next_update.secs() - now.secs());
            let life = first.map_or(0, |list| list.next_update.secs() - list.this_update.secs());
            let state = match left {
                ..=0 => ListsState::Ended,
                // A quarter of its life is left, or a day of a long one.
                _ if left < (life / 4).min(86_400) => ListsState::Ending,
                _ => ListsState::Good,
            };
            gauge(row.id).set(left as f64);
            measured.push((row.id, left, state));
        }
        let states = measured.iter().map(|(id, _, state)| (*id, *state));
        let before = std::mem::replace(&mut *self.all(), states.collect());
        for id in before.keys() {
            // It has no list any more, so that none can end: what was measured last would stay.
            if measured.iter().all(|(measured, ..)| measured != id) {
                gauge(*id).set(f64::INFINITY);
            }
        }
        measured
    }
}

/// Stores a list that was checked, in the transaction of its record.
async fn keep(
    tx: &mut Tx,
    id: AuthorityId,
    list: RevocationList,
    record: Draft,
    now: Timestamp,
) -> Result<Changed<RevocationListView>, VaultError> {
    let mut row = foreign(tx.authority(id).await?)?;
    let stored = tx.revocation_lists_of(id).await?;
    let stored = stored.iter().find(|stored| stored.scope == list.scope);
    not_older(&list, stored)?;
    if let Some(stored) = stored
        && stored.list == list.der
    {
        // Whoever brings the same list again, as a timer does, changes nothing.
        return Ok(Changed {
            value: RevocationListView::from(stored),
            records: Vec::new(),
            subjects: Vec::new(),
        });
    }
    let entries = i64::try_from(list.entries).unwrap_or(i64::MAX);
    let record = record
        .about([id.into()])
        .with("entries", Detail::Number(entries))
        .with("list", Detail::Digest(list.sha256()));
    let kept = tx
        .put_revocation_list(RevocationListRow {
            authority_id: id,
            scope: list.scope,
            number: list.number.to_vec(),
            this_update: list.this_update,
            next_update: list.next_update,
            entries,
            imported_at: now,
            list: list.der,
            mac: Vec::new(),
        })
        .await?;
    // Counted for each list: proofs that were checked against the one before are checked again.
    let revision = row.revision;
    row.lists_since.get_or_insert(now);
    row.revision += 1;
    if !tx.update_authority(&mut row, revision).await? {
        return Err(VaultError::Changed);
    }
    Ok(Changed {
        value: RevocationListView::from(&kept),
        records: vec![record],
        subjects: vec![id.to_string()],
    })
}
