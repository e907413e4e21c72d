//! Who is calling: from a proven key to a principal, looked up anew on every request.

use std::sync::Arc;

use rustls_pki_types::CertificateDer;

use super::Vault;
use super::error::VaultError;
use super::memory::Authorities;
use super::trust::trust_store;
use crate::audit::{Kind, Subject};
use crate::identity::mtls::verify_peer;
use crate::model::{
    AuthorityId, EnvironmentId, KeyId, Permission, Principal, PrincipalId, RequestId, RoleRef,
    Timestamp, WorkloadId,
};
use crate::policy;
use crate::store::{KeyRow, OperatorRow, SpentAssertion, Tx};

/// How a registered key is looked up.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum KeyName {
    /// By its id: the `kid` of an assertion.
    Id(KeyId),
    /// By the SHA-256 of its SubjectPublicKeyInfo.
    Spki([u8; 32]),
    /// By the SPIFFE ID that it stands for.
    Spiffe(String),
}

/// A registered key, and who holds it if the key and they are live.
#[derive(Debug)]
pub struct ResolvedKey {
    /// The key.
    pub key: KeyRow,
    /// Its holder; `None` when the key is revoked or its holder disabled or gone.
    pub principal: Option<Principal>,
}

/// The authority that a proof rests on, as it was when the chain was checked.
#[derive(Clone, Debug)]
pub struct Vouched {
    /// The authority.
    pub authority: AuthorityId,
    /// Its revision: each change of it, and each new revocation list, counts it up.
    pub revision: i64,
    /// The chain, the leaf first: it is checked again when the authority was changed since.
    pub chain: Arc<[CertificateDer<'static>]>,
}

/// One authenticated request.
#[derive(Clone)]
pub struct Caller {
    /// Who it is, as of `generation`.
    pub principal: Principal,
    /// The request.
    pub request: RequestId,
    /// The authority whose word the proof rests on, if it does.
    pub(super) authority: Option<Vouched>,
    /// The assertion that this request spends.
    pub(super) assertion: Option<SpentAssertion>,
    /// The policy generation of `principal`.
    pub(super) generation: i64,
}

impl Caller {
    /// The authority whose word the proof rests on, if it does.
    pub(super) fn authority_id(&self) -> Option<AuthorityId> {
        self.authority.as_ref().map(|vouched| vouched.authority)
    }

    /// The workload, or a denial that looks like "not there": only workloads get values.
    pub(super) fn workload(&self) -> Result<(WorkloadId, EnvironmentId, &[RoleRef]), VaultError> {
        match &self.principal {
            Principal::Workload {
                id,
                environment,
                roles,
                ..
            } => Ok((*id, *environment, roles)),
            Principal::Operator { .. } => Err(VaultError::NotFound),
        }
    }

    /// The name of the workload's environment.
    pub(super) fn environment_name(&self) -> Result<&str, VaultError> {
        match &self.principal {
            Principal::Workload {
                environment_name, ..
            } => Ok(environment_name.as_str()),
            Principal::Operator { .. } => Err(VaultError::NotFound),
        }
    }
}

impl Vault {
    /// The authorities that client certificates may come from now.
    ///
    /// # Errors
    /// The database is not available.
    pub async fn authorities(&self) -> Result<Arc<Authorities>, VaultError> {
        self.confirm_memory().await?;
        if let Some(authorities) = self.memory.authorities() {
            return Ok(authorities);
        }
        Box::pin(self.read_authorities()).await
    }

    async fn read_authorities(&self) -> Result<Arc<Authorities>, VaultError> {
        let generation = self.memory.generation();
        let mut tx = self.db.read().await?;
        let rows = tx.trusted_authorities().await?;
        let mut lists = Vec::new();
        for row in rows.iter().filter(|row| row.lists_since.is_some()) {
            lists.extend(tx.revocation_lists_of(row.id).await?);
        }
        let trust = trust_store(generation, &rows, &lists)?;
        let authorities = Arc::new(Authorities {
            generation,
            trust,
            rows,
            lists,
        });
        self.memory.keep_authorities(generation, &authorities);
        self.lists.measure(&authorities, self.clock.now());
        Ok(authorities)
    }

    /// Looks up a registered key and its holder.
    ///
    /// # Errors
    /// The database is not available.
    pub async fn find_key(&self, name: &KeyName) -> Result<Option<Arc<ResolvedKey>>, VaultError> {
        self.confirm_memory().await?;
        if let Some(resolved) = self.memory.key(name) {
            return Ok(Some(resolved));
        }
        // Boxed, like every way that is seldom taken: it would make the future of each request
        // several times as large, and that is moved, and wiped, for each request.
        Box::pin(self.read_key(name)).await
    }

    async fn read_key(&self, name: &KeyName) -> Result<Option<Arc<ResolvedKey>>, VaultError> {
        let generation = self.memory.generation();
        let mut tx = self.db.read().await?;
        let key = match name {
            KeyName::Id(id) => tx.key(*id).await?,
            KeyName::Spki(spki) => tx.key_by_spki(spki).await?,
            KeyName::Spiffe(id) => tx.key_by_spiffe(id).await?,
        };
        let Some(key) = key else { return Ok(None) };
        let principal = match key.revoked_at {
            Some(_) => None,
            None => load_principal(&mut tx, &key).await?,
        };
        let resolved = Arc::new(ResolvedKey { key, principal });
        self.memory.keep_key(generation, name, &resolved);
        Ok(Some(resolved))
    }

    /// The request of whoever proved to hold a key, as the registry knows them now. `authority` is
    /// the one whose word the proof rests on, if it does.
    ///
    /// # Errors
    /// [`VaultError::Unauthenticated`] when nobody holds the key, or no longer.
    pub async fn identify(
        &self,
        key: KeyId,
        authority: Option<Vouched>,
        assertion: Option<SpentAssertion>,
        request: RequestId,
    ) -> Result<Caller, VaultError> {
        // Read before the look-up: if something changes in between, the older number makes the
        // decision be taken again, never the other way round.
        let generation = self.memory.generation();
        let authority = match authority {
            Some(authority) => Some(self.still_vouches(authority).await?),
            None => None,
        };
        let resolved = self.find_key(&KeyName::Id(key)).await?;
        let resolved = resolved.ok_or(VaultError::Unauthenticated)?;
        let expired = |at: Timestamp| at <= self.clock.now();
        if resolved.key.expires_at.is_some_and(expired) {
            return Err(VaultError::Unauthenticated);
        }
        let principal = resolved
            .principal
            .clone()
            .ok_or(VaultError::Unauthenticated)?;
        let vouching = authority.as_ref().map(|vouched| vouched.authority);
        if self.is_barred(&principal, vouching).await? {
            return Err(VaultError::Unauthenticated);
        }
        if let Some(authority) = &authority {
            self.uses.note(authority.authority, self.clock.now());
        }
        Ok(Caller {
            principal,
            request,
            authority,
            assertion,
            generation,
        })
    }

    /// Looks whether an authority's word still counts. If it was changed since the chain was checked,
    /// as by a list that may revoke the caller's certificate, the chain is checked again.
    async fn still_vouches(&self, vouched: Vouched) -> Result<Vouched, VaultError> {
        let authorities = self.authorities().await?;
        let now = self.clock.now();
        let mut rows = authorities.rows.iter();
        let row = rows.find(|row| row.id == vouched.authority);
        let row = row.ok_or(VaultError::Unauthenticated)?;
        if !row.accepted_at(now) {
            return Err(VaultError::Unauthenticated);
        }
        if row.revision == vouched.revision {
            return Ok(vouched);
        }
        let peer = verify_peer(&vouched.chain, &authorities.trust, now);
        let proof = peer.and_then(|peer| peer.spiffe);
        let proof = proof.map_err(|_| VaultError::Unauthenticated)?;
        if proof.authority != vouched.authority {
            return Err(VaultError::Unauthenticated);
        }
        Ok(Vouched {
            revision: proof.authority_revision,
            ..vouched
        })
    }

    /// Looks the caller up again, after something changed.
    pub(super) async fn identify_again(&self, caller: &Caller) -> Result<Caller, VaultError> {
        let Caller {
            principal,
            authority,
            assertion,
            request,
            ..
        } = caller;
        self.identify(principal.key(), authority.clone(), *assertion, *request)
            .await
    }

    /// Refuses an operator who may not do this, and records that; spends the request's assertion.
    pub(super) async fn authorise(
        &self,
        caller: &Caller,
        permission: Permission,
    ) -> Result<(), VaultError> {
        self.authorise_quietly(caller, permission).await?;
        self.spend(caller).await
    }

    /// The same without spending the assertion, for what is looked up before a change.
    pub(super) async fn authorise_quietly(
        &self,
        caller: &Caller,
        permission: Permission,
    ) -> Result<(), VaultError> {
        if policy::may_operate(&caller.principal, permission) {
            return Ok(());
        }
        let subjects = Vec::<Subject>::new();
        self.deny(caller, Kind::AccessDenied, subjects, permission.as_str())
            .await?;
        Err(match caller.principal {
            Principal::Operator { .. } => VaultError::Forbidden(permission),
            // A workload learns nothing of the admin API.
            Principal::Workload { .. } => VaultError::NotFound,
        })
    }
}

/// Who holds a key; `None` when they are disabled or gone.
async fn load_principal(tx: &mut Tx, key: &KeyRow) -> Result<Option<Principal>, VaultError> {
    match key.principal_id {
        PrincipalId::Workload(id) => {
            let Some(workload) = tx.workload(id).await? else {
                return Ok(None);
            };
            if workload.disabled_at.is_some() {
                return Ok(None);
            }
            let Some(environment) = tx.environment(workload.environment_id).await? else {
                return Ok(None);
            };
            let mut roles = Vec::new();
            for role in tx.workload_roles(id).await? {
                if let Some(role) = tx.role(role).await? {
                    roles.push(RoleRef {
                        name: role.name,
                        id: role.id,
                    });
                }
            }
            roles.sort_unstable();
            Ok(Some(Principal::Workload {
                id,
                name: workload.name,
                environment: environment.id,
                environment_name: environment.name,
                roles: roles.into(),
                age_recipient: workload.age_recipient.map(Into::into),
                key: key.id,
            }))
        }
        PrincipalId::Operator(id) => {
            let Some(operator) = tx.operator(id).await? else {
                return Ok(None);
            };
            if operator.disabled_at.is_some() {
                return Ok(None);
            }
            let OperatorRow { name, role, .. } = operator;
            Ok(Some(Principal::Operator {
                id,
                name,
                role,
                key: key.id,
            }))
        }
    }
}
