//! One page of a bundle: its sealed values from memory or the database, and their opening.

use std::collections::HashMap;
use std::sync::Arc;

use tokio::task::JoinHandle;
use tracing::Instrument as _;

use crate::crypto::Kek;
use crate::model::{CredentialId, KekId, Principal, RoleId, RoleRef};
use crate::secret::Secret;
use crate::store::{BundleEntry, SealedRow};
use crate::vault::Vault;
use crate::vault::caller::Caller;
use crate::vault::decrypt::SealedParts;
use crate::vault::error::VaultError;
use crate::vault::memory::SealedCredential;

/// A page, opened.
#[derive(Default)]
pub(super) struct Opened {
    /// The entries with commas between them, plain.
    pub entries: Vec<u8>,
    /// Those that did not open.
    pub failed: Vec<CredentialId>,
}

/// A page that another thread opens.
pub(super) struct OpeningPage(JoinHandle<Result<Opened, VaultError>>);

impl OpeningPage {
    /// The page, as soon as it is open.
    pub(super) async fn opened(self) -> Result<Opened, VaultError> {
        let lost = |_| VaultError::Internal("a page was not opened");
        self.0.await.map_err(lost)?
    }
}

type Keks = HashMap<(KekId, RoleId), Result<Arc<Kek>, VaultError>>;

/// What is needed to open values of one page, away from the request.
struct Opener {
    vault: Arc<Vault>,
    roles: Arc<[RoleRef]>,
    environment: String,
    keks: Keks,
}

/// One value to be opened for a role; `None` if its sealed record is incomplete.
type Task = (CredentialId, RoleId, Option<Arc<SealedCredential>>);

impl Vault {
    /// Opens the values of a page on another thread, so that one page is opened while another is sent.
    /// If something changed since the policy generation `decided_at`, what is missing may have been
    /// taken away.
    pub(super) async fn open_page(
        self: &Arc<Self>,
        caller: &Caller,
        page: &[(BundleEntry, RoleId)],
        decided_at: i64,
    ) -> Result<OpeningPage, VaultError> {
        let Principal::Workload { roles, .. } = &caller.principal else {
            return Err(VaultError::NotFound);
        };
        if page
            .iter()
            .any(|(_, role)| roles.iter().all(|known| known.id != *role))
        {
            return Err(VaultError::Unauthenticated);
        }
        let tasks = self.sealed_page(caller, page).await?;
        // Looked at after reading, so that what was taken away in between is noticed.
        let moved = self.memory.generation() != decided_at;
        if moved && tasks.iter().any(|(_, _, sealed)| sealed.is_none()) {
            // Access may have been taken away, or the version replaced: start again.
            return Err(VaultError::Unavailable("changed while it was released"));
        }
        let opener = Opener {
            vault: Arc::clone(self),
            roles: Arc::clone(roles),
            environment: caller.environment_name()?.to_owned(),
            keks: self.keks_of(&tasks).await,
        };
        let opening = async move { opener.open(&tasks) }.in_current_span();
        Ok(OpeningPage(tokio::spawn(opening)))
    }

    /// The sealed values of a page, as the caller may see them now. Only the versions that were
    /// recorded: one that became active since is the next bundle's.
    async fn sealed_page(
        &self,
        caller: &Caller,
        page: &[(BundleEntry, RoleId)],
    ) -> Result<Vec<Task>, VaultError> {
        self.confirm_memory().await?;
        let (_, environment, roles) = caller.workload()?;
        let known = |(entry, role): &(BundleEntry, RoleId)| {
            let (id, version) = (entry.credential, entry.version);
            let sealed = self.memory.credential_for(id, version, environment, *role);
            (id, *role, sealed)
        };
        let mut tasks: Vec<Task> = page.iter().map(known).collect();
        let missing = |tasks: &[Task], role: RoleId| {
            let mut missing = tasks
                .iter()
                .filter(|task| task.1 == role && task.2.is_none())
                .map(|task| task.0);
            let first = missing.next()?;
            Some((first, missing.next_back().unwrap_or(first)))
        };
        for role in roles {
            let Some((first, last)) = missing(&tasks, role.id) else {
                continue;
            };
            let generation = self.memory.generation();
            let mut tx = self.db.read().await?;
            let rows = tx.sealed_rows(environment, role.id, first, last).await?;
            drop(tx);
            let rows: Vec<Arc<SealedCredential>> = rows
                .into_iter()
                .map(|row| Arc::new(self.sealed_for(generation, role.id, row)))
                .collect();
            self.memory.keep_for_role(generation, &rows);
            let rows: HashMap<CredentialId, Arc<SealedCredential>> = rows
                .into_iter()
                .map(|row| (row.credential.id, row))
                .collect();
            for (task, (entry, _)) in tasks.iter_mut().zip(page) {
                if task.1 == role.id && task.2.is_none() {
                    task.2 = rows
                        .get(&task.0)
                        .filter(|row| row.version.id == entry.version)
                        .map(Arc::clone);
                }
            }
        }
        Ok(tasks)
    }

    fn sealed_for(&self, generation: i64, role: RoleId, row: SealedRow) -> SealedCredential {
        let mut row = row;
        // They were checked, and nobody looks at them again.
        row.credential.mac = Vec::new();
        row.version.mac = Vec::new();
        let client = self.memory.client(row.client.id).unwrap_or_else(|| {
            let client = Arc::new(row.client);
            self.memory.keep_client(generation, &client);
            client
        });
        SealedCredential {
            credential: row.credential,
            client,
            readers: vec![role],
            version: row.version,
            payload: row.payload,
            wraps: vec![(role, row.kek_id, row.wrapped)],
            complete: false,
        }
    }

    /// The KEKs of a page: mostly one.
    async fn keks_of(&self, tasks: &[Task]) -> Keks {
        let mut keks = Keks::new();
        for (_, role, sealed) in tasks {
            if let Some(sealed) = sealed
                && let Some((id, _)) = sealed.wrap_for(*role)
                && !keks.contains_key(&(id, *role))
            {
                let kek = self.kek(id, &sealed.credential, *role).await;
                keks.insert((id, *role), kek);
            }
        }
        keks
    }
}

impl Opener {
    /// Opens values one after the other. A value that does not open is named; anything else ends it.
    fn open(&self, tasks: &[Task]) -> Result<Opened, VaultError> {
        let mut opened = Opened {
            entries: Vec::with_capacity(tasks.len() * 1024),
            failed: Vec::new(),
        };
        for (id, role, sealed) in tasks {
            match self.open_one(*role, sealed.as_deref()) {
                Ok(entry) => {
                    if !opened.entries.is_empty() {
                        opened.entries.push(b',');
                    }
                    opened.entries.extend_from_slice(entry.expose_secret());
                }
                Err(VaultError::Internal(_)) => opened.failed.push(*id),
                Err(error) => return Err(error),
            }
        }
        Ok(opened)
    }

    fn open_one(
        &self,
        role: RoleId,
        sealed: Option<&SealedCredential>,
    ) -> Result<Secret, VaultError> {
        let sealed = sealed.ok_or(VaultError::Internal("a sealed record is incomplete"))?;
        let known = self.roles.iter().find(|known| known.id == role);
        let named = known.ok_or(VaultError::Unauthenticated)?;
        let wrap = sealed.wrap_for(role);
        let parts = SealedParts {
            credential: &sealed.credential,
            version: &sealed.version,
            payload: &sealed.payload,
            wrap,
            role,
        };
        let missing = Err(VaultError::Internal("no wrapped key for this role"));
        let kek = wrap.and_then(|(id, _)| self.keks.get(&(id, role)));
        let kek = kek.unwrap_or(&missing).as_deref();
        let fields = self.vault.open_with(kek, &parts)?;
        Ok(self.vault.entry(
            &sealed.credential,
            &sealed.client,
            &sealed.version,
            named,
            &self.environment,
            &fields,
        ))
    }
}
