//! Opening a deployment: root key, service keys, registry and audit log.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU8};
use std::time::Duration;

use tokio::sync::watch;

use super::beginning::{begin, known_checkpoint};
use super::correspondence::Correspondence;
use super::enrolment::CertificateLifetimes;
use super::identifiers::Identifiers;
use super::memory::Memory;
use super::outbox::Outbox;
use super::recipients::is_for_passphrase;
use super::recorder::{Draft, LeaseError, Log, Parts, Recorder, open_log};
use super::scrub::SCRUBS;
use super::watch::watch_database;
use super::{BackupSettings, Vault, VaultError};
use crate::audit::{Kind, Origin, Signer, StatementSigner};
use crate::clock::Clock;
use crate::crypto::{
    ExpectedRoot, Identity, IntakeKey, KeyRef, Keyring, KeyringLimits, MacKey, RootError,
    RootFileForm, RootKey, ServiceKeyName, open_root_file, read_root_file, replace_root_file,
    root_file_name,
};
use crate::model::Slug;
use crate::random::Random;
use crate::secret::SecretKey;
use crate::store::tag::Tagger;
use crate::store::{Database, RootKeyRow, ServiceKeyRow, StoreError};

/// What it takes to open a deployment.
pub struct Open {
    /// The database, without the key for its tags yet.
    pub database: Database,
    /// Where root key files and the newest checkpoint lie; none for a node that keeps nothing.
    pub data: Option<PathBuf>,
    /// The deployment that the configuration names, if it does.
    pub deployment: Option<String>,
    /// This node's name.
    pub node: Slug,
    /// What opens the root key.
    pub identities: Vec<Identity>,
    /// Where clients reach the API; named in what the own authority issues.
    pub url: Option<String>,
    /// How much may be kept in memory, in bytes; all of it sealed.
    pub cache_bytes: u64,
    /// How contacts of clients are reached.
    pub correspondence: Correspondence,
    /// How backups are taken.
    pub backups: BackupSettings,
    /// How long the certificates live that enrolment and renewal give.
    pub lifetimes: CertificateLifetimes,
    /// Whether a database that is older than what is known of it is to be used.
    pub accept_rollback: bool,
    /// The clock.
    pub clock: Arc<dyn Clock>,
    /// The source of randomness.
    pub random: Arc<dyn Random>,
    /// Called when going on would lie about what is durable, with the reason: has to end the process.
    pub on_fatal: OnFatal,
}

/// Ends the process; the text says why.
pub type OnFatal = Arc<dyn Fn(&'static str) + Send + Sync>;

/// Why a deployment cannot be opened. Nothing was changed.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The database has no deployment in it.
    #[error("the database is empty: run `strongroom init` first")]
    NotInitialised,
    /// The configuration names another deployment.
    #[error("the database belongs to another deployment than the configuration names")]
    OtherDeployment,
    /// The root key does not open, or is another deployment's.
    #[error(transparent)]
    Root(#[from] RootError),
    /// A service key does not open.
    #[error("the service key {0} does not open: it was altered, or belongs to another root key")]
    ServiceKey(&'static str),
    /// The audit log cannot be opened.
    #[error(transparent)]
    Audit(#[from] LeaseError),
    /// The database is older than the newest checkpoint on this machine.
    #[error(
        "the database is older than the newest audit checkpoint on this machine ({known} records \
         are known, {found} are there): it was put back to an earlier state. Use the newer \
         database; if it is lost for ever, restore a backup, or start with --accept-rollback"
    )]
    RolledBack {
        /// Records that the checkpoint vouches for.
        known: u64,
        /// Records in the database.
        found: u64,
    },
    /// The checkpoint on this machine and the one in the database contradict each other.
    #[error(
        "the audit log in the database is not the one whose checkpoint lies on this machine: one of \
         them was altered"
    )]
    Contradicts,
    /// The newest checkpoint is there and cannot be read.
    #[error(
        "the newest audit checkpoint on this machine cannot be read ({0}): without it nobody knows \
         whether the database was put back. Mend the file or who may read it"
    )]
    Unreadable(std::io::ErrorKind),
    /// A name in the database has not the form that the service writes.
    #[error("the name of the deployment or node is damaged")]
    Damaged,
    /// The database said no.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The first record could not be written.
    #[error(transparent)]
    Vault(#[from] VaultError),
}

/// Registry rows are tagged under this.
pub(super) struct RegistryMac(pub(super) MacKey);

impl Tagger for RegistryMac {
    fn tag(&self, message: &[u8]) -> [u8; 32] {
        self.0.tag("registry-row", &[message])
    }

    fn verify(&self, message: &[u8], tag: &[u8]) -> bool {
        self.0.verify("registry-row", &[message], tag)
    }
}

impl Vault {
    /// The files that hold the root key on this machine, by name.
    pub(super) fn root_files(&self) -> Result<Vec<(String, Vec<u8>)>, VaultError> {
        let Some(data) = &self.data else {
            return Ok(Vec::new());
        };
        let keys = data.join("keys");
        let generation = self.keyring.root().generation();
        let mut files = Vec::new();
        for form in [RootFileForm::Recipients, RootFileForm::Passphrase] {
            match read_root_file(&keys, generation, form) {
                Ok(content) => files.push((root_file_name(generation, form), content)),
                Err(RootError::NotFound) => {}
                Err(_) => return Err(VaultError::Unavailable("root key file")),
            }
        }
        Ok(files)
    }

    /// Opens a deployment and starts its background work.
    ///
    /// # Errors
    /// See [`OpenError`].
    pub async fn open(open: Open) -> Result<Arc<Self>, OpenError> {
        let Open {
            database,
            data,
            deployment,
            node,
            identities,
            url,
            cache_bytes,
            correspondence,
            backups,
            lifetimes,
            accept_rollback,
            clock,
            random,
            ..
        } = open;
        let mut tx = database.read().await?;
        let row = tx.deployment().await?.ok_or(OpenError::NotInitialised)?;
        if deployment.is_some_and(|expected| expected != row.deployment_id) {
            return Err(OpenError::OtherDeployment);
        }
        let deployment = row.deployment_id;
        let root_row = tx
            .root_keys()
            .await?
            .into_iter()
            .next()
            .ok_or(OpenError::NotInitialised)?;
        let service_rows = tx.service_keys().await?;
        let generation = tx.policy_generation().await?;
        drop(tx);

        let root = open_root(&root_row, &deployment, data.as_deref(), &identities)?;
        if let Some(data) = &data {
            refresh_root_file(data, &root, &root_row, &identities);
        }
        drop(identities);
        let keyring = Arc::new(Keyring::new(root, KeyringLimits::default()));
        let key = |name| open_service_key(&keyring, &service_rows, name);
        let registry = RegistryMac(MacKey::new(&key(ServiceKeyName::RegistryMac)?));
        let etag_mac = MacKey::new(&key(ServiceKeyName::EtagMac)?);
        let fingerprint_mac = MacKey::new(&key(ServiceKeyName::FingerprintMac)?);
        let intake_key = IntakeKey::derive(&key(ServiceKeyName::Intake)?);
        let seed = key(ServiceKeyName::AuditSigning)?;
        let sealing = |name| open_sealing_key(&keyring, &service_rows, name);
        let (mail_key, mail_ref) = sealing(ServiceKeyName::Mail)?;
        let outbox = Outbox::new(&deployment, mail_key, mail_ref, correspondence);
        let identifiers = Identifiers::new(&deployment, sealing(ServiceKeyName::Identifiers)?);
        let database = database.with_tagger(Arc::new(registry));

        let origin = origin_of(&deployment, &node, 0)?;
        let checkpoint_file = data.as_ref();
        let checkpoint_file = checkpoint_file.map(|data| data.join(format!("checkpoint.{node}")));
        let signer = |epoch: i64| {
            Signer::from_seed(origin_of(&deployment, &node, epoch)?, seed.expose_secret())
                .map_err(|_| OpenError::ServiceKey("audit-signing"))
        };
        let audit_key = signer(0)?.verifier().clone();
        // Read before the database, which can only be newer.
        let known = match &checkpoint_file {
            Some(path) => known_checkpoint(path, &origin, &audit_key)?,
            None => None,
        };
        let begin = begin(
            &database,
            &node,
            known.as_ref(),
            accept_rollback,
            clock.now(),
        )
        .await?;
        let signer = signer(begin.epoch)?;
        let statements = StatementSigner::from_seed(&origin.deployment, seed.expose_secret())
            .map_err(|_| OpenError::ServiceKey("audit-signing"))?;
        let holder = {
            let mut bytes = [0; 16];
            random.fill(&mut bytes).map_err(VaultError::from)?;
            hex::encode(bytes)
        };
        let log = take_log(&database, &signer, node.as_str(), &holder, clock.as_ref()).await?;
        let is_new = log.row.size == 0;

        let memory = Arc::new(Memory::new(cache_bytes, generation));
        let recorder = Recorder::start(Parts {
            db: database.clone(),
            memory: Arc::clone(&memory),
            clock: Arc::clone(&clock),
            signer,
            log,
            checkpoint_file,
            on_fatal: Arc::clone(&open.on_fatal),
        });
        let (stopping, stop) = watch::channel(false);
        let vault = Arc::new(Self {
            db: database,
            keyring,
            etag_mac,
            fingerprint_mac,
            intake_key,
            identifiers,
            outbox: Arc::new(outbox),
            memory,
            recorder,
            clock,
            random,
            deployment,
            node: node.as_str().to_owned(),
            url,
            uses: super::authority_uses::AuthorityUses::default(),
            own_lists: super::own_list::ServedLists::default(),
            lists: super::revocation_lists::ListsWatch::default(),
            audit_key,
            statements: Arc::new(statements),
            data,
            backups,
            backing_up: Arc::default(),
            lifetimes,
            reachable: AtomicBool::new(true),
            skew: AtomicI64::new(0),
            confirming: tokio::sync::Mutex::new(()),
            // A crash may have come between a change and its scrub.
            scrubs_due: AtomicU8::new(SCRUBS),
            work: tokio::sync::Notify::new(),
            on_fatal: open.on_fatal,
            stopping,
        });
        let mut started = Vec::new();
        if is_new {
            started.extend(begin.first_records());
        }
        started.push(Draft::of(Kind::ServiceStarted));
        match begin.rolled_back {
            Some(lost) => vault.freeze_after_rollback(lost, started).await?,
            None => super::settle(vault.recorder.note(started, None, None).await)?,
        }
        vault.watch_once().await;
        vault.watch_revocation_lists().await?;
        tokio::spawn(watch_database(Arc::downgrade(&vault), stop));
        Ok(vault)
    }
}

/// Opens the log of this node, waiting out the lease of a process that was killed.
async fn take_log(
    database: &Database,
    signer: &Signer,
    node: &str,
    holder: &str,
    clock: &dyn Clock,
) -> Result<Log, LeaseError> {
    const ATTEMPTS: u32 = 40;
    for attempt in 0.. {
        match open_log(database, signer, node, holder, 0, clock).await {
            Err(LeaseError::Held { until }) if attempt < ATTEMPTS => {
                if attempt == 0 {
                    tracing::info!(%until, "waiting for the lease of the audit log to end");
                }
                tokio::time::sleep(Duration::from_millis(250)).await;
            }
            outcome => return outcome,
        }
    }
    Err(LeaseError::Damaged)
}

/// Which log a node writes.
pub(super) fn origin_of(deployment: &str, node: &Slug, epoch: i64) -> Result<Origin, OpenError> {
    Ok(Origin {
        deployment: deployment.parse().map_err(|_| OpenError::Damaged)?,
        node: node.clone(),
        epoch: u64::try_from(epoch).map_err(|_| OpenError::Damaged)?,
    })
}

/// Opens the root key from its file on this machine, or else from its row.
pub(super) fn open_root(
    row: &RootKeyRow,
    deployment: &str,
    data: Option<&std::path::Path>,
    identities: &[Identity],
) -> Result<RootKey, OpenError> {
    let generation = u32::try_from(row.generation).map_err(|_| OpenError::Damaged)?;
    let check = row
        .check_value
        .as_slice()
        .try_into()
        .map_err(|_| OpenError::Damaged)?;
    let expected = ExpectedRoot {
        deployment,
        generation,
        check,
    };
    if let Some(data) = data {
        let keys = data.join("keys");
        for form in [RootFileForm::Recipients, RootFileForm::Passphrase] {
            match open_root_file(&keys, form, &expected, identities) {
                Ok(root) => return Ok(root),
                Err(RootError::NotFound | RootError::NotOpened) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }
    let root = RootKey::decrypt(&row.wrapped, identities)?;
    root.verify(&expected)?;
    Ok(root)
}

/// Writes the root key's file anew when the row was encrypted to others since: on another node, or
/// before a crash. The row is what counts, if it opens.
fn refresh_root_file(
    data: &std::path::Path,
    root: &RootKey,
    row: &RootKeyRow,
    identities: &[Identity],
) {
    let (keys, generation) = (data.join("keys"), root.generation());
    let form = match is_for_passphrase(&row.wrapped) {
        true => RootFileForm::Passphrase,
        false => RootFileForm::Recipients,
    };
    match read_root_file(&keys, generation, form) {
        Ok(file) if file != row.wrapped => {}
        _ => return,
    }
    let expected = ExpectedRoot {
        deployment: root.deployment(),
        generation,
        check: root.check_value(),
    };
    let opened = RootKey::decrypt(&row.wrapped, identities).and_then(|root| root.verify(&expected));
    match opened.and_then(|()| replace_root_file(&keys, generation, form, &row.wrapped)) {
        Ok(()) => tracing::info!("the recipients of the root key changed: its file was renewed"),
        Err(error) => tracing::warn!(
            %error,
            "the root key in the database differs from its file on this machine and was not taken over"
        ),
    }
}

/// A service key that seals, with what its blobs call it.
fn open_sealing_key(
    keyring: &Keyring,
    rows: &[ServiceKeyRow],
    name: ServiceKeyName,
) -> Result<(SecretKey, KeyRef), OpenError> {
    let key = open_service_key(keyring, rows, name)?;
    let row = rows.iter().find(|row| row.name == name.as_str());
    let row = row.ok_or(OpenError::ServiceKey(name.as_str()))?;
    let key_ref = KeyRef {
        version: u32::try_from(row.generation).map_err(|_| OpenError::Damaged)?,
        id: row.id.to_bytes(),
    };
    Ok((key, key_ref))
}

pub(super) fn open_service_key(
    keyring: &Keyring,
    rows: &[ServiceKeyRow],
    name: ServiceKeyName,
) -> Result<SecretKey, OpenError> {
    // Newest generation first.
    let row = rows.iter().find(|row| row.name == name.as_str());
    let opened = row.and_then(|row| {
        let generation = u32::try_from(row.generation).ok()?;
        keyring
            .open_service_key(name, generation, &row.wrapped)
            .ok()
    });
    opened.ok_or(OpenError::ServiceKey(name.as_str()))
}
