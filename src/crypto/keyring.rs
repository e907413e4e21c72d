//! The keys that are open in memory: the root key, and the KEKs that have been needed lately.
//!
//! Everything that seals or opens below the root key goes through here, so that deployment,
//! binding and wrapping key are always put together the same way.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::aad::Binding;
use super::root::{RootKey, Subkey};
use super::seal::{KeyRef, OpenError, SealError, open, open_key, seal};
use super::service_key::ServiceKeyName;
use crate::model::{CredentialId, EnvironmentId, KekId, RoleId, Timestamp, VersionId};
use crate::random::Random;
use crate::secret::{Secret, SecretKey};

/// Which KEK. All of it comes from the KEK's row, and all of it is bound.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KekRef {
    /// The KEK's own id.
    pub id: KekId,
    /// Counted up by each change of the KEK of this role and environment.
    pub generation: u32,
    /// The environment that it is for.
    pub environment: EnvironmentId,
    /// The role that it is for.
    pub role: RoleId,
}

impl KekRef {
    fn key_ref(self) -> KeyRef {
        KeyRef {
            version: self.generation,
            id: self.id.to_bytes(),
        }
    }
}

/// An open KEK. A secret: no `Debug`, no `Clone`; shared through an [`Arc`].
pub struct Kek {
    reference: KekRef,
    key: SecretKey,
}

impl Kek {
    /// Which KEK it is.
    pub fn reference(&self) -> KekRef {
        self.reference
    }
}

/// Which value: the place that a payload is bound to, and the version whose DEK seals it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PayloadRef {
    /// Environment of the credential.
    pub environment: EnvironmentId,
    /// Credential.
    pub credential: CredentialId,
    /// The version's number within its credential.
    pub version: u64,
    /// The version's id.
    pub version_id: VersionId,
}

/// How many KEKs stay open, and how long.
#[derive(Clone, Copy, Debug)]
pub struct KeyringLimits {
    /// The most KEKs that stay open; the one not used for longest goes first.
    pub keks: usize,
    /// A KEK that was not used for so many seconds is forgotten.
    pub idle_secs: i64,
}

impl Default for KeyringLimits {
    /// 1024 KEKs, 15 minutes.
    fn default() -> Self {
        Self {
            keks: 1024,
            idle_secs: 15 * 60,
        }
    }
}

/// A KEK is not to be had.
#[derive(Debug, thiserror::Error)]
pub enum KekError<E> {
    /// The caller's own closure gave no blob.
    #[error("the wrapped key cannot be read")]
    Fetch(#[source] E),
    /// The blob is not the wrapped KEK that it should be.
    #[error(transparent)]
    Open(#[from] OpenError),
}

struct Entry {
    kek: Arc<Kek>,
    used_at: Timestamp,
}

/// The open root key and the open KEKs of one deployment.
pub struct Keyring {
    root: RootKey,
    wrap: SecretKey,
    limits: KeyringLimits,
    keks: Mutex<HashMap<KekId, Entry>>,
}

impl Keyring {
    /// A keyring below `root`, which the caller has verified, with no KEK open.
    pub fn new(root: RootKey, limits: KeyringLimits) -> Self {
        let wrap = root.derive(Subkey::Wrap);
        Self {
            root,
            wrap,
            limits,
            keks: Mutex::new(HashMap::new()),
        }
    }

    /// The root key.
    pub fn root(&self) -> &RootKey {
        &self.root
    }

    // ---- KEKs ----

    /// Makes a new KEK and gives it wrapped. It is not opened yet.
    ///
    /// # Errors
    /// The source of randomness failed.
    pub fn create_kek(&self, kek: KekRef, random: &dyn Random) -> Result<Vec<u8>, SealError> {
        let key = SecretKey::generate(random)?;
        self.wrap_kek(kek, &key, random)
    }

    /// The KEK, from memory, or else opened from the blob that `fetch` gives. `fetch` is called
    /// without the lock of the keyring.
    ///
    /// # Errors
    /// `fetch` failed, or its blob does not open, or the KEK with this id is known under another
    /// generation, environment or role: then somebody has changed the row.
    pub fn kek<B: AsRef<[u8]>, E>(
        &self,
        kek: KekRef,
        now: Timestamp,
        fetch: impl FnOnce() -> Result<B, E>,
    ) -> Result<Arc<Kek>, KekError<E>> {
        if let Some(open) = self.open_kek(kek, now)? {
            return Ok(open);
        }
        let blob = fetch().map_err(KekError::Fetch)?;
        let key = open_key(
            &self.wrap,
            self.root.key_ref(),
            &self.kek_binding(kek),
            blob.as_ref(),
        )?;
        let opened = Arc::new(Kek {
            reference: kek,
            key,
        });
        self.keep(Arc::clone(&opened), now);
        Ok(opened)
    }

    /// The KEK if it is open in memory.
    ///
    /// # Errors
    /// It is, but under another generation, environment or role. Answering from memory must not
    /// skip what opening the blob would have refused.
    pub fn open_kek(&self, kek: KekRef, now: Timestamp) -> Result<Option<Arc<Kek>>, OpenError> {
        let mut keks = self.keks();
        let Some(entry) = keks.get_mut(&kek.id) else {
            return Ok(None);
        };
        if self.is_idle(entry, now) {
            keks.remove(&kek.id);
            return Ok(None);
        }
        if entry.kek.reference != kek {
            return Err(OpenError);
        }
        entry.used_at = entry.used_at.max(now);
        Ok(Some(Arc::clone(&entry.kek)))
    }

    /// Forgets one KEK. Requests that hold it at this moment finish with it.
    pub fn forget(&self, kek: KekId) {
        self.keks().remove(&kek);
    }

    /// Forgets every KEK that has been idle for too long. To be called now and then, so that an
    /// idle service holds no KEK.
    pub fn forget_idle(&self, now: Timestamp) {
        self.keks().retain(|_, entry| !self.is_idle(entry, now));
    }

    /// How many KEKs are open.
    pub fn open_keks(&self) -> usize {
        self.keks().len()
    }

    /// The same KEK wrapped under the root key of `next`, for a change of the root key.
    ///
    /// # Errors
    /// The blob does not open here.
    pub fn rewrap_kek(
        &self,
        kek: KekRef,
        blob: &[u8],
        next: &Keyring,
        random: &dyn Random,
    ) -> Result<Vec<u8>, RewrapError> {
        let key = open_key(
            &self.wrap,
            self.root.key_ref(),
            &self.kek_binding(kek),
            blob,
        )?;
        Ok(next.wrap_kek(kek, &key, random)?)
    }

    // ---- DEKs ----

    /// Wraps a version's DEK for the role of `kek`.
    ///
    /// # Errors
    /// The source of randomness failed.
    pub fn wrap_dek(
        &self,
        kek: &Kek,
        credential: CredentialId,
        version: u64,
        dek: &SecretKey,
        random: &dyn Random,
    ) -> Result<Vec<u8>, SealError> {
        let binding = self.dek_binding(kek.reference, credential, version);
        seal(
            &kek.key,
            kek.reference.key_ref(),
            &binding,
            dek.expose_secret(),
            random,
        )
    }

    /// Opens a version's DEK as it was wrapped for the role of `kek`.
    ///
    /// # Errors
    /// It is not this credential's, version's, role's, environment's, KEK's or deployment's.
    pub fn unwrap_dek(
        &self,
        kek: &Kek,
        credential: CredentialId,
        version: u64,
        blob: &[u8],
    ) -> Result<SecretKey, OpenError> {
        let binding = self.dek_binding(kek.reference, credential, version);
        open_key(&kek.key, kek.reference.key_ref(), &binding, blob)
    }

    // ---- payloads ----

    /// Seals a value under its version's DEK, padded.
    ///
    /// # Errors
    /// The value is too long, or the source of randomness failed.
    pub fn seal_payload(
        &self,
        dek: &SecretKey,
        payload: PayloadRef,
        plaintext: &Secret,
        random: &dyn Random,
    ) -> Result<Vec<u8>, SealError> {
        let key_ref = KeyRef::dek_of(payload.version_id);
        let plaintext = plaintext.expose_secret();
        seal(
            dek,
            key_ref,
            &self.payload_binding(payload),
            plaintext,
            random,
        )
    }

    /// Opens a value.
    ///
    /// # Errors
    /// It is not this credential's, version's, environment's or deployment's, or was changed.
    pub fn open_payload(
        &self,
        dek: &SecretKey,
        payload: PayloadRef,
        blob: &[u8],
    ) -> Result<Secret, OpenError> {
        open(
            dek,
            KeyRef::dek_of(payload.version_id),
            &self.payload_binding(payload),
            blob,
        )
    }

    // ---- service keys ----

    /// Makes a new service key of 32 random bytes and gives it open and wrapped. `generation` is
    /// that of the key's row, here as in every function below.
    ///
    /// # Errors
    /// The source of randomness failed.
    pub fn create_service_key(
        &self,
        name: ServiceKeyName,
        generation: u32,
        random: &dyn Random,
    ) -> Result<(SecretKey, Vec<u8>), SealError> {
        let key = SecretKey::generate(random)?;
        let blob = self.seal_service_key(name, generation, key.expose_secret(), random)?;
        Ok((key, blob))
    }

    /// Wraps a service key that has a form of its own, such as the authority's PKCS#8.
    ///
    /// # Errors
    /// It is too long, or the source of randomness failed.
    pub fn seal_service_key(
        &self,
        name: ServiceKeyName,
        generation: u32,
        key: &[u8],
        random: &dyn Random,
    ) -> Result<Vec<u8>, SealError> {
        seal(
            &self.wrap,
            self.root.key_ref(),
            &self.service_binding(name, generation),
            key,
            random,
        )
    }

    /// Opens a service key of 32 bytes.
    ///
    /// # Errors
    /// It is not the service key of this name, of this generation, of this deployment, under this
    /// root key.
    pub fn open_service_key(
        &self,
        name: ServiceKeyName,
        generation: u32,
        blob: &[u8],
    ) -> Result<SecretKey, OpenError> {
        open_key(
            &self.wrap,
            self.root.key_ref(),
            &self.service_binding(name, generation),
            blob,
        )
    }

    /// Opens a service key of any length.
    ///
    /// # Errors
    /// As [`Keyring::open_service_key`], but for the length.
    pub fn open_service_bytes(
        &self,
        name: ServiceKeyName,
        generation: u32,
        blob: &[u8],
    ) -> Result<Secret, OpenError> {
        open(
            &self.wrap,
            self.root.key_ref(),
            &self.service_binding(name, generation),
            blob,
        )
    }

    /// The same service key wrapped under the root key of `next`, for a change of the root key. It
    /// keeps its generation.
    ///
    /// # Errors
    /// The blob does not open here.
    pub fn rewrap_service_key(
        &self,
        name: ServiceKeyName,
        generation: u32,
        blob: &[u8],
        next: &Keyring,
        random: &dyn Random,
    ) -> Result<Vec<u8>, RewrapError> {
        let key = self.open_service_bytes(name, generation, blob)?;
        Ok(next.seal_service_key(name, generation, key.expose_secret(), random)?)
    }

    // ---- how all of them are bound ----

    fn wrap_kek(
        &self,
        kek: KekRef,
        key: &SecretKey,
        random: &dyn Random,
    ) -> Result<Vec<u8>, SealError> {
        let binding = self.kek_binding(kek);
        seal(
            &self.wrap,
            self.root.key_ref(),
            &binding,
            key.expose_secret(),
            random,
        )
    }

    fn kek_binding(&self, kek: KekRef) -> Binding<'_> {
        let KekRef {
            id,
            generation,
            environment,
            role,
        } = kek;
        Binding::Kek {
            deployment: self.root.deployment(),
            environment,
            role,
            kek: id,
            generation,
        }
    }

    fn dek_binding(&self, kek: KekRef, credential: CredentialId, version: u64) -> Binding<'_> {
        Binding::Dek {
            deployment: self.root.deployment(),
            environment: kek.environment,
            role: kek.role,
            credential,
            version,
            kek_generation: kek.generation,
        }
    }

    fn payload_binding(&self, payload: PayloadRef) -> Binding<'_> {
        let PayloadRef {
            environment,
            credential,
            version,
            ..
        } = payload;
        Binding::Payload {
            deployment: self.root.deployment(),
            environment,
            credential,
            version,
        }
    }

    fn service_binding(&self, name: ServiceKeyName, generation: u32) -> Binding<'_> {
        Binding::Service {
            deployment: self.root.deployment(),
            name,
            generation,
        }
    }

    // ---- what is open ----

    fn keep(&self, kek: Arc<Kek>, now: Timestamp) {
        let mut keks = self.keks();
        let id = kek.reference.id;
        while keks.len() >= self.limits.keks.max(1) && !keks.contains_key(&id) {
            let oldest = keks
                .iter()
                .min_by_key(|(_, entry)| entry.used_at)
                .map(|(id, _)| *id);
            let Some(oldest) = oldest else { break };
            keks.remove(&oldest);
        }
        keks.insert(id, Entry { kek, used_at: now });
    }

    fn is_idle(&self, entry: &Entry, now: Timestamp) -> bool {
        entry.used_at.plus_secs(self.limits.idle_secs) < now
    }

    fn keks(&self) -> MutexGuard<'_, HashMap<KekId, Entry>> {
        // A panic elsewhere leaves no half-made entry: every change is one insert or remove.
        self.keks.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A wrapped key was not moved under another root key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum RewrapError {
    /// It does not open under the present one.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// It could not be sealed under the next one.
    #[error(transparent)]
    Seal(#[from] SealError),
}

#[cfg(test)]
mod tests;
