//! What a node remembers between requests, all of it sealed or public, bounded in bytes, and only
//! usable for the policy generation at which it was read.

use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use arc_swap::ArcSwapOption;
use quick_cache::{Weighter, sync::Cache};

use super::caller::{KeyName, ResolvedKey};
use crate::model::{ClientId, CredentialId, EnvironmentId, KekId, RoleId};
use crate::store::{AuthorityRow, ClientRow, CredentialRow, KekRow, VersionRow};

/// Everything that a release of a credential's active version needs, still sealed.
pub(super) struct SealedCredential {
    pub credential: CredentialRow,
    pub client: Arc<ClientRow>,
    /// The roles that may read it, from grants with a right tag.
    pub readers: Vec<RoleId>,
    pub version: VersionRow,
    pub payload: Vec<u8>,
    pub wraps: Vec<(RoleId, KekId, Vec<u8>)>,
}

impl SealedCredential {
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

/// The caches of one node.
pub(super) struct Memory {
    generation: AtomicI64,
    /// Held while something is forgotten, and while something that was just read is kept: so nothing
    /// read before a change can be kept after it.
    gate: Mutex<()>,
    credentials: Cache<CredentialId, Arc<SealedCredential>, Bytes>,
    clients: Cache<ClientId, Arc<ClientRow>>,
    keks: Cache<KekId, Arc<KekRow>>,
    keys: Cache<KeyName, Arc<ResolvedKey>>,
    authorities: ArcSwapOption<Authorities>,
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
}

/// A subject that stands for everything.
pub(super) const EVERYTHING: &str = "*";

impl Memory {
    pub fn new(bytes: u64, generation: i64) -> Self {
        let entries = usize::try_from(bytes / 1024).unwrap_or(1024).max(16);
        Self {
            generation: AtomicI64::new(generation),
            gate: Mutex::new(()),
            credentials: Cache::with_weighter(entries, bytes, Bytes),
            clients: Cache::new(4096),
            keks: Cache::new(1024),
            keys: Cache::new(8192),
            authorities: ArcSwapOption::empty(),
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
            for subject in subjects.unwrap_or_default() {
                if let Ok(id) = subject.parse::<CredentialId>() {
                    self.credentials.remove(&id);
                } else if let Ok(id) = subject.parse::<ClientId>() {
                    // Entries of its credentials hold the name too.
                    self.clients.remove(&id);
                    self.credentials.retain(|_, value| value.client.id != id);
                } else if let Ok(id) = subject.parse::<KekId>() {
                    self.keks.remove(&id);
                } else {
                    registry = true;
                }
            }
            if registry {
                self.forget_registry();
            }
        }
        self.generation.store(generation, Ordering::Release);
    }

    /// Forgets everything and goes on from `generation`, which may be lower than the one before.
    pub fn start_again(&self, generation: i64) {
        let _gate = self.gate.lock().unwrap_or_else(PoisonError::into_inner);
        self.credentials.clear();
        self.clients.clear();
        self.keks.clear();
        self.forget_registry();
        self.generation.store(generation, Ordering::Release);
    }

    fn forget_registry(&self) {
        self.keys.clear();
        self.authorities.store(None);
    }

    /// Runs `keep` unless something was forgotten since `generation`.
    fn keep_if(&self, generation: i64, keep: impl FnOnce()) {
        let _gate = self.gate.lock().unwrap_or_else(PoisonError::into_inner);
        if self.generation() == generation {
            keep();
        }
    }

    pub fn credential(&self, id: CredentialId) -> Option<Arc<SealedCredential>> {
        self.credentials.get(&id)
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
