//! Certificate authorities: Strongroom's own, which issues, and foreign ones that are trusted.

use rustls_pki_types::CertificateDer;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::caller::Caller;
use super::error::VaultError;
use super::memory::EVERYTHING;
use super::operators::another_tech_ops_remains;
use super::own_authority::issuing;
use super::recorder::Changed;
use super::revocation_lists::RevocationListView;
use super::{Vault, same_revision};
use crate::audit::{Detail, Kind};
use crate::identity::certificate::CertificateFacts;
use crate::identity::spiffe::TrustDomain;
use crate::model::{AuthorityId, Permission, Slug, Timestamp};
use crate::store::{AuthorityOrigin, AuthorityRow, Page, RevocationListRow, StoreError, Tx};

/// A foreign authority to be trusted for its own trust domain.
#[derive(Deserialize, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewAuthority {
    /// A name for it.
    pub name: Slug,
    /// Its certificate in PEM.
    pub certificate: String,
    /// The one SPIFFE trust domain that it may vouch for.
    pub trust_domain: String,
}

/// A certificate authority.
#[derive(Clone, Serialize, Deserialize, ToSchema)]
#[schema(as = Authority)]
pub struct AuthorityView {
    /// Its id.
    pub id: AuthorityId,
    /// Its name.
    pub name: Slug,
    /// The one SPIFFE trust domain that it may vouch for.
    pub trust_domain: String,
    /// SHA-256 of its SubjectPublicKeyInfo, hexadecimal.
    pub fingerprint: String,
    /// The first second of its certificate's validity.
    pub not_before: Timestamp,
    /// The last second of its certificate's validity.
    pub not_after: Timestamp,
    /// From when on its certificates are accepted.
    pub accept_from: Timestamp,
    /// Until when (exclusive) they are accepted.
    pub accept_until: Option<Timestamp>,
    /// Whether it is Strongroom's own.
    pub own: bool,
    /// Of an own one: from when on the listener shows a certificate of it.
    pub presented_from: Option<Timestamp>,
    /// When somebody was last let in on its word, by any node, within a minute.
    pub last_used_at: Option<Timestamp>,
    /// Of a foreign one: its revocation lists. With one or more of them, a certificate is accepted
    /// only if a list that has not ended is about it.
    pub revocation_lists: Vec<RevocationListView>,
    /// When it was removed.
    pub removed_at: Option<Timestamp>,
    /// When it was added.
    pub created_at: Timestamp,
    /// Counts its changes; the ETag.
    pub revision: i64,
}

impl AuthorityView {
    /// What is shown of an authority.
    pub(super) fn new(
        row: AuthorityRow,
        lists: &[RevocationListRow],
        last_used_at: Option<Timestamp>,
    ) -> Result<Self, VaultError> {
        let facts = facts(&row)?;
        let lists = lists.iter().filter(|list| list.authority_id == row.id);
        Ok(Self {
            own: row.is_own(),
            id: row.id,
            name: row.name,
            trust_domain: row.trust_domain,
            fingerprint: hex::encode(facts.spki.0),
            not_before: facts.not_before,
            not_after: facts.not_after,
            accept_from: row.accept_from,
            accept_until: row.accept_until,
            presented_from: row.presented_from,
            last_used_at,
            revocation_lists: lists.map(RevocationListView::from).collect(),
            removed_at: row.removed_at,
            created_at: row.created_at,
            revision: row.revision,
        })
    }
}

fn facts(row: &AuthorityRow) -> Result<CertificateFacts, VaultError> {
    let der = CertificateDer::from(row.certificate.clone());
    CertificateFacts::of_authority_der(&der)
        .map_err(|_| VaultError::Internal("an authority's certificate is damaged"))
}

/// The first moment at which an authority's own certificate is not valid any more.
pub(super) fn own_end(facts: &CertificateFacts) -> Timestamp {
    facts.not_after.plus_secs(1)
}

/// Refuses an end of acceptance that is beyond the authority's own.
pub(super) fn accept_until_fits(
    field: &'static str,
    row: &AuthorityRow,
    until: Timestamp,
) -> Result<(), VaultError> {
    if until > own_end(&facts(row)?) {
        return Err(VaultError::invalid(
            field,
            "lies behind the end of the authority's own certificate",
        ));
    }
    Ok(())
}

/// What is to be changed; what is left out stays.
#[derive(Default, Deserialize, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct AuthorityPatch {
    /// From when on its certificates are accepted; not before its own certificate is valid.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub accept_from: Option<Timestamp>,
    /// Until when (exclusive) its certificates are accepted; not beyond its own certificate.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub accept_until: Option<Timestamp>,
    /// From when on the listener shows a certificate of it; own authorities only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub presented_from: Option<Timestamp>,
}

impl AuthorityPatch {
    fn apply(self, row: &mut AuthorityRow) -> Result<(), VaultError> {
        let facts = facts(row)?;
        if let Some(from) = self.accept_from {
            if from < facts.not_before {
                return Err(VaultError::invalid(
                    "accept_from",
                    "lies before the authority's own certificate is valid",
                ));
            }
            row.accept_from = from;
        }
        if let Some(until) = self.accept_until {
            accept_until_fits("accept_until", row, until)?;
            row.accept_until = Some(until);
        }
        if row
            .accept_until
            .is_some_and(|until| until <= row.accept_from)
        {
            return Err(VaultError::invalid(
                "accept_until",
                "must lie behind accept_from",
            ));
        }
        if let Some(from) = self.presented_from {
            if !row.is_own() {
                return Err(VaultError::invalid(
                    "presented_from",
                    "goes with Strongroom's own authorities only",
                ));
            }
            row.presented_from = Some(from);
        }
        Ok(())
    }
}

impl Vault {
    /// Trusts a foreign authority for one trust domain.
    ///
    /// # Errors
    /// The certificate is no authority's, the trust domain is malformed or this deployment's own, or
    /// name or key are registered; see [`VaultError`].
    pub async fn add_authority(
        &self,
        caller: &Caller,
        new: NewAuthority,
    ) -> Result<AuthorityView, VaultError> {
        self.authorise_quietly(caller, Permission::WritePrincipals)
            .await?;
        let now = self.clock.now();
        let facts = CertificateFacts::of_authority(&new.certificate)
            .map_err(|error| VaultError::invalid("certificate", error.to_string()))?;
        if facts.not_after <= now {
            return Err(VaultError::invalid("certificate", "has expired"));
        }
        let trust_domain: TrustDomain = new.trust_domain.parse().map_err(|_| {
            VaultError::invalid(
                "trust_domain",
                "must be a SPIFFE trust domain such as example.org",
            )
        })?;
        if trust_domain.as_str() == self.deployment {
            return Err(VaultError::invalid(
                "trust_domain",
                "is this deployment's own: only its own authority vouches for it",
            ));
        }
        let id = AuthorityId::generate(now, self.random.as_ref())?;
        let record = caller.draft(Kind::AuthorityAdded).about([id.into()]);
        let row = AuthorityRow {
            id,
            name: new.name,
            trust_domain: trust_domain.as_str().to_owned(),
            certificate: facts.der.to_vec(),
            origin: AuthorityOrigin::Foreign,
            accept_from: facts.not_before,
            accept_until: Some(own_end(&facts)),
            key_generation: None,
            presented_from: None,
            lists_since: None,
            removed_at: None,
            created_at: now,
            revision: 1,
            mac: Vec::new(),
        };
        self.change(caller, Permission::WritePrincipals, move |tx| {
            Box::pin(async move {
                let others = tx.trusted_authorities().await?;
                let same_key = |row: &AuthorityRow| {
                    let der = CertificateDer::from(row.certificate.as_slice());
                    let other = CertificateFacts::of_authority_der(&der);
                    other.is_ok_and(|other| other.spki == facts.spki)
                };
                if others.iter().any(same_key) {
                    return Err(VaultError::Conflict(
                        "an authority with this key is registered",
                    ));
                }
                let row = tx
                    .insert_authority(row)
                    .await
                    .map_err(|error| match error {
                        StoreError::Taken => {
                            VaultError::Conflict("another authority has this name: choose another")
                        }
                        other => other.into(),
                    })?;
                let subjects = vec![EVERYTHING.to_owned()];
                Ok(Changed {
                    value: AuthorityView::new(row, &[], None)?,
                    records: vec![record],
                    subjects,
                })
            })
        })
        .await
    }

    /// A page of authorities, removed ones included.
    ///
    /// # Errors
    /// See [`VaultError`].
    pub async fn list_authorities(
        &self,
        caller: &Caller,
        after: &str,
        limit: i64,
    ) -> Result<Page<AuthorityView>, VaultError> {
        self.authorise(caller, Permission::ReadMetadata).await?;
        let mut tx = self.db.read().await?;
        let page = tx.authorities(after, limit).await?;
        let uses = self.uses.newest(&mut tx).await?;
        let mut items = Vec::with_capacity(page.items.len());
        for row in page.items {
            let last_used_at = uses.get(&row.id).copied();
            items.push(authority_view(&mut tx, row, last_used_at).await?);
        }
        Ok(Page {
            items,
            next: page.next,
        })
    }

    /// One authority.
    ///
    /// # Errors
    /// It is not there; see [`VaultError`].
    pub async fn authority(
        &self,
        caller: &Caller,
        id: AuthorityId,
    ) -> Result<AuthorityView, VaultError> {
        self.authorise(caller, Permission::ReadMetadata).await?;
        let mut tx = self.db.read().await?;
        let row = tx.authority(id).await?.ok_or(VaultError::NotFound)?;
        let last_used_at = self.uses.newest(&mut tx).await?.remove(&id);
        authority_view(&mut tx, row, last_used_at).await
    }

    /// When an authority was last used, before a change of it that answers with that.
    async fn last_used_at(
        &self,
        caller: &Caller,
        id: AuthorityId,
    ) -> Result<Option<Timestamp>, VaultError> {
        self.authorise_quietly(caller, Permission::WritePrincipals)
            .await?;
        let mut tx = self.db.read().await?;
        Ok(self.uses.newest(&mut tx).await?.remove(&id))
    }

    /// Changes the times at which an authority that still has the revision `expected` is accepted,
    /// or shown by the listener. It takes effect at the next request on every node.
    ///
    /// # Errors
    /// It is not there, was removed or has changed; a time does not fit, or nobody would be left to
    /// administer; see [`VaultError`].
    pub async fn change_authority(
        &self,
        caller: &Caller,
        id: AuthorityId,
        expected: i64,
        patch: AuthorityPatch,
    ) -> Result<AuthorityView, VaultError> {
        let last_used_at = self.last_used_at(caller, id).await?;
        let now = self.clock.now();
        let mut record = caller.draft(Kind::AuthorityChanged).about([id.into()]);
        let times = [
            ("accept_from", patch.accept_from),
            ("accept_until", patch.accept_until),
            ("presented_from", patch.presented_from),
        ];
        for (name, time) in times {
            if let Some(time) = time {
                record = record.with(name, Detail::Time(time));
            }
        }
        self.change(caller, Permission::WritePrincipals, move |tx| {
            Box::pin(async move {
                let mut row = tx.authority(id).await?.ok_or(VaultError::NotFound)?;
                same_revision(row.revision, expected)?;
                if row.removed_at.is_some() {
                    return Err(VaultError::Conflict("this authority was removed"));
                }
                patch.apply(&mut row)?;
                issues_still(tx, &row, now).await?;
                row.revision += 1;
                if !tx.update_authority(&mut row, expected).await? {
                    return Err(VaultError::Changed);
                }
                another_tech_ops_remains(tx, now).await?;
                Ok(Changed {
                    value: authority_view(tx, row, last_used_at).await?,
                    records: vec![record],
                    subjects: vec![EVERYTHING.to_owned()],
                })
            })
        })
        .await
    }

    /// Stops trusting an authority, a foreign one or an own one that was rolled. It takes effect at
    /// the next request on every node.
    ///
    /// # Errors
    /// It is not there, is the own one that issues, was removed, or nobody would be left to
    /// administer; see [`VaultError`].
    pub async fn remove_authority(
        &self,
        caller: &Caller,
        id: AuthorityId,
        expected: Option<i64>,
    ) -> Result<AuthorityView, VaultError> {
        let last_used_at = self.last_used_at(caller, id).await?;
        let now = self.clock.now();
        let record = caller.draft(Kind::AuthorityRemoved).about([id.into()]);
        self.change(caller, Permission::WritePrincipals, move |tx| {
            Box::pin(async move {
                let mut row = tx.authority(id).await?.ok_or(VaultError::NotFound)?;
                let revision = row.revision;
                same_revision(revision, expected.unwrap_or(revision))?;
                let trusted = tx.trusted_authorities().await?;
                if issuing(&trusted).is_some_and(|issuing| issuing.id == id) {
                    return Err(VaultError::Conflict(
                        "this is Strongroom's own authority, which issues certificates: roll it \
                         first",
                    ));
                }
                if row.removed_at.is_some() {
                    return Err(VaultError::Conflict("this authority was removed already"));
                }
                row.removed_at = Some(now);
                row.revision += 1;
                if !tx.update_authority(&mut row, revision).await? {
                    return Err(VaultError::Changed);
                }
                another_tech_ops_remains(tx, now).await?;
                Ok(Changed {
                    value: authority_view(tx, row, last_used_at).await?,
                    records: vec![record],
                    subjects: vec![EVERYTHING.to_owned()],
                })
            })
        })
        .await
    }
}

/// What is shown of an authority, with its lists.
async fn authority_view(
    tx: &mut Tx,
    row: AuthorityRow,
    last_used_at: Option<Timestamp>,
) -> Result<AuthorityView, VaultError> {
    let lists = match row.lists_since {
        Some(_) => tx.revocation_lists_of(row.id).await?,
        None => Vec::new(),
    };
    AuthorityView::new(row, &lists, last_used_at)
}

/// Refuses to end the own authority that issues: what it issues has to be accepted.
async fn issues_still(tx: &mut Tx, row: &AuthorityRow, now: Timestamp) -> Result<(), VaultError> {
    let trusted = tx.trusted_authorities().await?;
    let issues = issuing(&trusted).is_some_and(|issuing| issuing.id == row.id);
    if issues && !row.accepted_at(now) {
        return Err(VaultError::Conflict(
            "this is Strongroom's own authority, which issues certificates: roll it first",
        ));
    }
    Ok(())
}
