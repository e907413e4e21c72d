//! Rolling the own authority: a new one beside the old one, each accepted for its own time.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::Vault;
use super::authorities::{AuthorityView, accept_until_fits, own_end};
use super::caller::Caller;
use super::error::VaultError;
use super::memory::EVERYTHING;
use super::operators::another_tech_ops_remains;
use super::own_authority::issuing;
use super::recorder::Changed;
use crate::audit::{Detail, Kind, Subject};
use crate::crypto::ServiceKeyName;
use crate::identity::certificate::CertificateFacts;
use crate::model::{AuthorityId, Permission, ServiceKeyId, Slug, Timestamp};
use crate::pki;
use crate::store::{AuthorityOrigin, AuthorityRow, ServiceKeyRow, StoreError, Tx};

/// How long the listener goes on to show the old authority: a week, in which every client that asks
/// at least once learns the new one.
const PRESENT_AFTER: i64 = 7 * 24 * 60 * 60;

/// How to roll the own authority.
#[derive(Default, Deserialize, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct AuthorityRoll {
    /// A name for the new authority; `strongroom-` and its generation when left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<Slug>,
    /// Until when certificates of the old one are accepted; when left out, until the last of them
    /// ends and the listener shows the new one. Never beyond the old one's own end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub accept_old_until: Option<Timestamp>,
    /// From when on the listener shows a certificate of the new one; a week from now when left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub present_from: Option<Timestamp>,
}

impl Vault {
    /// Makes a new own authority, which issues from now on. The old one stays accepted until its
    /// time is over.
    ///
    /// # Errors
    /// A time does not fit, the name is taken, nobody would be left to administer, or another roll
    /// came in between; see [`VaultError`].
    pub async fn roll_authority(
        &self,
        caller: &Caller,
        roll: AuthorityRoll,
    ) -> Result<AuthorityView, VaultError> {
        self.authorise_quietly(caller, Permission::WritePrincipals)
            .await?;
        let now = self.clock.now();
        let present_from = roll.present_from.unwrap_or(now.plus_secs(PRESENT_AFTER));
        let (row, key) = self.new_own_authority(roll.name, present_from, now).await?;
        let id = row.id;
        let record = caller.draft(Kind::AuthorityRolled);
        let made = caller.draft(Kind::ServiceKeyCreated).about([key.id.into()]);
        let accept_old_until = roll.accept_old_until;
        self.change(caller, Permission::WritePrincipals, move |tx| {
            Box::pin(async move {
                let mut subjects: Vec<Subject> = vec![id.into()];
                let all = tx.trusted_authorities().await?;
                if let (Some(until), Some(old)) = (accept_old_until, issuing(&all)) {
                    accept_until_fits("accept_old_until", old, until)?;
                }
                for old in all {
                    if old.is_own() {
                        let old_id = old.id;
                        let until = until_of_old(tx, &old, accept_old_until, present_from).await?;
                        if end(tx, old, until).await? {
                            subjects.push(old_id.into());
                        }
                    }
                }
                let generation = key.generation;
                tx.insert_service_key(&key)
                    .await
                    .map_err(|error| match error {
                        StoreError::Taken => VaultError::Conflict(
                            "the authority was rolled at the same moment: look at it first",
                        ),
                        other => other.into(),
                    })?;
                let row = tx.insert_authority(row).await.map_err(name_taken)?;
                another_tech_ops_remains(tx, now).await?;
                let record = record
                    .about(subjects)
                    .with("generation", Detail::Number(generation));
                Ok(Changed {
                    value: AuthorityView::new(row, &[], None)?,
                    records: vec![record, made],
                    subjects: vec![EVERYTHING.to_owned()],
                })
            })
        })
        .await
    }

    /// A new own authority of the next generation and its sealed key, not stored yet.
    async fn new_own_authority(
        &self,
        name: Option<Slug>,
        present_from: Timestamp,
        now: Timestamp,
    ) -> Result<(AuthorityRow, ServiceKeyRow), VaultError> {
        let random = self.random.as_ref();
        let failed = || VaultError::Internal("making the authority failed");
        let service = ServiceKeyName::Authority;
        let keys = self.db.read().await?.service_keys().await?;
        let newest = keys.iter().filter(|row| row.name == service.as_str());
        let newest = newest.map(|row| row.generation).max().unwrap_or(0);
        let generation = u32::try_from(newest + 1).map_err(|_| failed())?;
        let common_name = format!("{} {generation}", self.deployment);
        let new = pki::create_authority_named(&common_name, now, random).map_err(|_| failed())?;
        let facts = CertificateFacts::of_authority_der(&new.certificate).map_err(|_| failed())?;
        if present_from > own_end(&facts) {
            return Err(VaultError::invalid(
                "present_from",
                "lies behind the new authority's end",
            ));
        }
        let wrapped =
            self.keyring
                .seal_service_key(service, generation, new.key.expose_secret(), random)?;
        let key = ServiceKeyRow {
            id: ServiceKeyId::generate(now, random)?,
            name: service.as_str().to_owned(),
            generation: i64::from(generation),
            root_generation: i64::from(self.keyring.root().generation()),
            wrapped,
            created_at: now,
        };
        let name = match name {
            Some(name) => name,
            None => format!("strongroom-{generation}")
                .parse()
                .map_err(|_| failed())?,
        };
        let row = AuthorityRow {
            id: AuthorityId::generate(now, random)?,
            name,
            trust_domain: self.deployment.clone(),
            certificate: new.certificate.to_vec(),
            origin: AuthorityOrigin::Own,
            accept_from: facts.not_before,
            accept_until: Some(own_end(&facts)),
            key_generation: Some(i64::from(generation)),
            presented_from: Some(present_from),
            lists_since: None,
            removed_at: None,
            created_at: now,
            revision: 1,
            mac: Vec::new(),
        };
        Ok((row, key))
    }
}

fn name_taken(error: StoreError) -> VaultError {
    match error {
        StoreError::Taken => {
            VaultError::Conflict("another authority has this name: choose another")
        }
        other => other.into(),
    }
}

/// Until when an old authority is accepted after the roll.
async fn until_of_old(
    tx: &mut Tx,
    old: &AuthorityRow,
    wanted: Option<Timestamp>,
    present_from: Timestamp,
) -> Result<Timestamp, VaultError> {
    if let Some(wanted) = wanted {
        return Ok(wanted);
    }
    let last = tx.last_end_of(old.id).await?;
    // The last second of a certificate belongs to its validity.
    let last = last.map_or(present_from, |last| last.plus_secs(1));
    Ok(last.max(present_from))
}

/// Ends an old authority at `until` if it would be accepted for longer. Whether it was changed.
async fn end(tx: &mut Tx, mut old: AuthorityRow, until: Timestamp) -> Result<bool, VaultError> {
    if old.accept_until.is_some_and(|before| before <= until) {
        return Ok(false);
    }
    // One that would end before it began is over.
    let until = until.max(old.accept_from.plus_secs(1));
    accept_until_fits("accept_old_until", &old, until)?;
    let revision = old.revision;
    old.accept_until = Some(until);
    old.revision += 1;
    match tx.update_authority(&mut old, revision).await? {
        true => Ok(true),
        false => Err(VaultError::Changed),
    }
}
