//! What a node remembers between requests, all of it sealed or public, bounded in bytes, and only
//! usable for the policy generation at which it was read.

use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use arc_swap::ArcSwapOption;
use quick_cache::{Weighter, sync::Cache};

use super::caller::{KeyName, ResolvedKey};
use super::deployment::State;
use crate::identity::trust::TrustStore;
use crate::model::{
    ClientId, CredentialId, EnvironmentId, KekId, KeyId, PrincipalId, RoleId, VersionId,
};
use crate::store::{
    AuthorityRow, BundleEntry, ClientRow, CredentialRow, KekRow, RevocationListRow, VersionRow,
};

/// Everything that a release of a credential's active version needs, still sealed.
pub(super) struct SealedCredential {
    pub credential: CredentialRow,
    pub client: Arc<ClientRow>,
    /// The roles that may read it, from grants with a right tag.
    pub readers: Vec<RoleId>,
    pub version: VersionRow,
    pub payload: Vec<u8>,
    pub wraps: Vec<(RoleId, KekId, Vec<u8>)>,
    /// Whether readers and wraps are all that there are, or only those of the roles for which it was
    /// read as part of a bundle.
    pub complete: bool,
}

impl SealedCredential {
    /// The wrap for a role that may read it.
    pub fn wrap_for(&self, role: RoleId) -> Option<(KekId, &[u8])> {
        if !self.readers.contains(&role) {
            return None;
        }
        let wrap = self.wraps.iter().find(|wrap| wrap.0 == role)?;
        Some((wrap.1, &wrap.2))
    }

    /// The same, with what another reading knows of other roles.
    fn joined(&self, other: &Self) -> Self {
        let mut joined = Self {
            credential: self.credential.clone(),
            client: Arc::clone(&self.client),
            readers: self.readers.clone(),
            version: self.version.clone(),
            payload: self.payload.clone(),
            wraps: self.wraps.clone(),
            complete: false,
        };
        for role in &other.readers {
            if !joined.readers.contains(role) {
                joined.readers.push(*role);
            }
        }
        for wrap in &other.wraps {
            if joined.wraps.iter().all(|known| known.0 != wrap.0) {
                joined.wraps.push(wrap.clone());
            }
        }
        joined
    }

    /// Where it belongs and which roles may read it.
    pub fn access(&self) -> (EnvironmentId, Vec<RoleId>) {
        (self.credential.environment_id, self.readers.clone())
    }
}

/// Bytes that an entry is reckoned to take, its share of the tables included.
#[derive(Clone)]
struct Bytes;

impl Weighter<CredentialId, Arc<SealedCredential>> for Bytes {
    fn weight(&self, _: &CredentialId, value: &Arc<SealedCredential>) -> u64 {
        let wraps: usize = value.wraps.iter().map(|(_, _, blob)| blob.len() + 64).sum();
        (value.payload.len() + wraps + value.readers.len() * 16 + 768) as u64
    }
}

/// What one role may get in one environment, in the order of credential ids.
type List = Arc<[BundleEntry]>;

/// Bytes that a list is reckoned to take.
#[derive(Clone)]
struct ListBytes;

impl Weighter<(EnvironmentId, RoleId), List> for ListBytes {
    fn weight(&self, _: &(EnvironmentId, RoleId), value: &List) -> u64 {
        (size_of_val::<[BundleEntry]>(value) + 128) as u64
    }
}

/// The caches of one node.
pub(super) struct Memory {
    generation: AtomicI64,
    /// Held while something is forgotten, and while something that was just read is kept: so nothing
    /// read before a change can be kept after it.
    gate: Mutex<()>,
    credentials: Cache<CredentialId, Arc<SealedCredential>, Bytes>,
    lists: Cache<(EnvironmentId, RoleId), List, ListBytes>,
    clients: Cache<ClientId, Arc<ClientRow>>,
    keks: Cache<KekId, Arc<KekRow>>,
    keys: Cache<KeyName, Arc<ResolvedKey>>,
    authorities: ArcSwapOption<Authorities>,
    state: ArcSwapOption<State>,
    /// When the database was last asked whether all this still holds.
    confirmed: Mutex<Instant>,
}

/// How long what a node remembers may be used without asking: a revocation on another node takes
/// effect within one second (promise 3).
const CONFIRMED_FOR: Duration = Duration::from_millis(900);

/// The authorities that client certificates may come from, as of one policy generation.
pub struct Authorities {
    /// The generation they were read at.
    pub generation: i64,
    /// Those that are not removed.
    pub rows: Vec<AuthorityRow>,
    /// The revocation lists of the foreign ones among them.
    pub lists: Vec<RevocationListRow>,
    /// Both, made ready for checking chains.
    pub trust: TrustStore,
}

/// Whether a subject is a principal or one of their keys.
fn is_of_principal(subject: &str) -> bool {
    subject.parse::<KeyId>().is_ok() || subject.parse::<PrincipalId>().is_ok()
}

/// A subject that stands for everything.
pub(super) const EVERYTHING: &str = "*";

impl Memory {
    pub fn new(bytes: u64, generation: i64) -> Self {
        // Lists take few bytes for each credential: a quarter is enough for those of all values that
        // fit beside them.
        let lists = bytes / 4;
        let bytes = bytes - lists;
        let entries = usize::try_from(bytes / 1024).unwrap_or(1024).max(16);
        Self {
            generation: AtomicI64::new(generation),
            gate: Mutex::new(()),
            credentials: Cache::with_weighter(entries, bytes, Bytes),
            lists: Cache::with_weighter(64, lists, ListBytes),
            clients: Cache::new(4096),
            keks: Cache::new(1024),
            keys: Cache::new(8192),
            authorities: ArcSwapOption::empty(),
            state: ArcSwapOption::empty(),
            confirmed: Mutex::new(Instant::now()),
        }
    }

    /// What is remembered holds as of `asked`, when the database was asked.
    pub fn confirm(&self, asked: Instant) {
        let mut confirmed = self
            .confirmed
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        *confirmed = asked.max(*confirmed);
    }

    /// Whether the database was asked so recently that what is remembered may be used.
    pub fn is_confirmed(&self) -> bool {
        let confirmed = self
            .confirmed
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        confirmed.elapsed() < CONFIRMED_FOR
    }

    pub fn generation(&self) -> i64 {
        self.generation.load(Ordering::Acquire)
    }

    /// Forgets what changed up to `generation`: `subjects`, or everything.
    pub fn forget(&self, subjects: Option<&[String]>, generation: i64) {
        let _gate = self.gate.lock().unwrap_or_else(PoisonError::into_inner);
        if generation <= self.generation() {
            return;
        }
        // Whatever changed may have put something into a list or taken it out.
        self.lists.clear();
        let everything = match subjects {
            None => true,
            Some(subjects) => subjects.iter().any(|subject| subject == EVERYTHING),
        };
        if everything {
            self.credentials.clear();
            self.clients.clear();
            self.keks.clear();
            self.forget_registry();
        } else {
            let mut registry = false;
            let mut principals = false;
            for subject in subjects.unwrap_or_default() {
                if let Ok(id) = subject.parse::<CredentialId>() {
                    self.credentials.remove(&id);
                } else if let Ok(id) = subject.parse::<ClientId>() {
                    // Entries of its credentials hold the name too.
                    self.clients.remove(&id);
                    self.credentials.retain(|_, value| value.client.id != id);
                } else if let Ok(id) = subject.parse::<KekId>() {
                    self.keks.remove(&id);
                } else if is_of_principal(subject) {
                    principals = true;
                } else {
                    registry = true;
                }
            }
            if registry {
                self.forget_registry();
            } else if principals {
                // A fleet renews its certificates all the time: the authorities, whose lists take
                // long to read, do not change by that.
                self.keys.clear();
                self.state.store(None);
            }
        }
        self.generation.store(generation, Ordering::Release);
    }

    /// Forgets everything and goes on from `generation`, which may be lower than the one before.
    pub fn start_again(&self, generation: i64) {
        let _gate = self.gate.lock().unwrap_or_else(PoisonError::into_inner);
        self.lists.clear();
        self.credentials.clear();
        self.clients.clear();
        self.keks.clear();
        self.forget_registry();
        self.generation.store(generation, Ordering::Release);
    }

    fn forget_registry(&self) {
        self.keys.clear();
        self.authorities.store(None);
        self.state.store(None);
    }

    /// Runs `keep` unless something was forgotten since `generation`.
    fn keep_if(&self, generation: i64, keep: impl FnOnce()) {
        let _gate = self.gate.lock().unwrap_or_else(PoisonError::into_inner);
        if self.generation() == generation {
            keep();
        }
    }

    pub fn state(&self) -> Option<Arc<State>> {
        self.state.load_full()
    }

    pub fn keep_state(&self, generation: i64, value: &Arc<State>) {
        self.keep_if(generation, || self.state.store(Some(Arc::clone(value))));
    }

    pub fn credential(&self, id: CredentialId) -> Option<Arc<SealedCredential>> {
        self.credentials.get(&id).filter(|value| value.complete)
    }

    /// The same for one role alone, if it belongs to that environment and that version is the active
    /// one.
    pub fn credential_for(
        &self,
        id: CredentialId,
        version: VersionId,
        environment: EnvironmentId,
        role: RoleId,
    ) -> Option<Arc<SealedCredential>> {
        let value = self.credentials.get(&id)?;
        let fits = value.version.id == version
            && value.credential.environment_id == environment
            && value.wrap_for(role).is_some();
        fits.then_some(value)
    }

    /// Forgets a credential that did not open, so that it is read anew.
    pub fn drop_credential(&self, id: CredentialId) {
        self.credentials.remove(&id);
    }

    /// Keeps what was read of credentials for one role, beside what is known for others.
    pub fn keep_for_role(&self, generation: i64, values: &[Arc<SealedCredential>]) {
        self.keep_if(generation, || {
            for value in values {
                let id = value.credential.id;
                match self.credentials.get(&id) {
                    Some(known) if known.complete => {}
                    Some(known) if known.version.id == value.version.id => {
                        let joined = Arc::new(value.joined(&known));
                        self.credentials.insert(id, joined);
                    }
                    _ => self.credentials.insert(id, Arc::clone(value)),
                }
            }
        });
    }

    /// What a role may get in an environment.
    pub fn list(&self, environment: EnvironmentId, role: RoleId) -> Option<List> {
        self.lists.get(&(environment, role))
    }

    pub fn keep_list(
        &self,
        generation: i64,
        environment: EnvironmentId,
        role: RoleId,
        list: &List,
    ) {
        self.keep_if(generation, || {
            self.lists.insert((environment, role), Arc::clone(list));
        });
    }

    pub fn keep_credential(&self, generation: i64, value: &Arc<SealedCredential>) {
        self.keep_if(generation, || {
            self.credentials
                .insert(value.credential.id, Arc::clone(value));
        });
    }

    pub fn client(&self, id: ClientId) -> Option<Arc<ClientRow>> {
        self.clients.get(&id)
    }

    pub fn keep_client(&self, generation: i64, value: &Arc<ClientRow>) {
        self.keep_if(generation, || {
            self.clients.insert(value.id, Arc::clone(value))
        });
    }

    pub fn kek(&self, id: KekId) -> Option<Arc<KekRow>> {
        self.keks.get(&id)
    }

    pub fn keep_kek(&self, generation: i64, value: &Arc<KekRow>) {
        self.keep_if(generation, || self.keks.insert(value.id, Arc::clone(value)));
    }

    pub fn key(&self, name: &KeyName) -> Option<Arc<ResolvedKey>> {
        self.keys.get(name)
    }

    pub fn keep_key(&self, generation: i64, name: &KeyName, value: &Arc<ResolvedKey>) {
        self.keep_if(generation, || {
            self.keys.insert(name.clone(), Arc::clone(value))
        });
    }

    pub fn authorities(&self) -> Option<Arc<Authorities>> {
        self.authorities.load_full()
    }

    pub fn keep_authorities(&self, generation: i64, value: &Arc<Authorities>) {
        self.keep_if(generation, || {
            self.authorities.store(Some(Arc::clone(value)))
        });
    }
}
