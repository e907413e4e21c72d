//! A look at a deployment that changes nothing: for `strongroom doctor`, while the service runs or
//! not. It takes no lease, so it sees a log that may be growing.

use std::path::Path;
use std::sync::Arc;

use super::beginning::{compare, known_checkpoint};
use super::open::{OpenError, RegistryMac, open_root, open_service_key, origin_of};
use super::recipients::list_fits;
use crate::audit::Signer;
use crate::crypto::{
    Identity, Keyring, KeyringLimits, MacKey, RootFileForm, ServiceKeyName, read_root_file,
};
use crate::identity::certificate::CertificateFacts;
use crate::model::{OperatorRole, Slug, Timestamp};
use crate::store::{AuthorityOrigin, Database, StoreError, Tx};

/// What it takes to look.
pub struct Inspect<'a> {
    /// The database, opened for reading.
    pub database: Database,
    /// The data directory.
    pub data: &'a Path,
    /// The deployment that the settings name.
    pub deployment: &'a str,
    /// This node's name.
    pub node: &'a Slug,
    /// What opens the root key.
    pub identities: &'a [Identity],
}

/// What was seen.
pub struct Inspected {
    /// Whether the root key's file is what the database holds; `None` without a file.
    pub root_file_is_current: Option<bool>,
    /// How many recipients the root key has; none with a passphrase alone.
    pub recipients: usize,
    /// Whether the list of recipients fits the root key.
    pub recipients_fit: bool,
    /// How the log compares with the checkpoint on this machine; `None` without a checkpoint.
    pub log: Option<Result<u64, OpenError>>,
    /// Whether values are released: not after a restore until an operator says so.
    pub frozen: bool,
    /// Operators of tech-ops who are not disabled.
    pub tech_ops: usize,
    /// Authorities that are accepted.
    pub authorities: Vec<AuthorityFacts>,
    /// Credentials with an active version, those of them without a date of expiry, and those whose
    /// date has passed.
    pub active: i64,
    /// Those of them without a date of expiry.
    pub without_expiry: i64,
    /// Those of them whose date has passed.
    pub expired: i64,
    /// The moment whose state the newest backup holds that was taken to its end.
    pub newest_backup: Option<Timestamp>,
    /// Rows that the service did not write.
    pub refused: Vec<(&'static str, String)>,
}

/// An authority that is accepted.
pub struct AuthorityFacts {
    /// Its name.
    pub name: Slug,
    /// Whether it is Strongroom's own.
    pub own: bool,
    /// Until when it is accepted.
    pub until: Timestamp,
    /// When the first of its revocation lists ends, if it has any.
    pub list_until: Option<Timestamp>,
}

/// Looks at a deployment.
///
/// # Errors
/// The deployment is another, its root key or service keys do not open, or the database is not
/// available.
pub async fn inspect(what: Inspect<'_>, now: Timestamp) -> Result<Inspected, OpenError> {
    let Inspect {
        database,
        data,
        deployment,
        node,
        identities,
    } = what;
    let mut tx = database.read().await?;
    let row = tx.deployment().await?.ok_or(OpenError::NotInitialised)?;
    if row.deployment_id != deployment {
        return Err(OpenError::OtherDeployment);
    }
    let root_row = tx.root_keys().await?.into_iter().next();
    let root_row = root_row.ok_or(OpenError::NotInitialised)?;
    let service_rows = tx.service_keys().await?;
    drop(tx);
    let root = open_root(&root_row, deployment, Some(data), identities)?;
    let generation = root.generation();
    let keyring = Keyring::new(root, KeyringLimits::default());
    let key = |name| open_service_key(&keyring, &service_rows, name);
    let registry = RegistryMac(MacKey::new(&key(ServiceKeyName::RegistryMac)?));
    for name in [ServiceKeyName::EtagMac, ServiceKeyName::FingerprintMac] {
        key(name)?;
    }
    let seed = key(ServiceKeyName::AuditSigning)?;
    let database = database.with_tagger(Arc::new(registry));

    let signer = Signer::from_seed(origin_of(deployment, node, 0)?, seed.expose_secret())
        .map_err(|_| OpenError::ServiceKey("audit-signing"))?;
    // Before the database, which may only be newer.
    let file = data.join(format!("checkpoint.{node}"));
    let known = known_checkpoint(&file, signer.origin(), signer.verifier());
    let mut tx = database.read().await?;
    let log = match (known, tx.audit_log(node.as_str()).await?) {
        (Err(error), _) => Some(Err(error)),
        (Ok(Some(known)), Some(log)) => {
            let compared = compare(&mut tx, node, &known).await;
            Some(compared.map(|()| u64::try_from(log.size).unwrap_or(0)))
        }
        _ => None,
    };
    let recipients = tx.root_recipients().await?;
    let file = read_root_file(&data.join("keys"), generation, RootFileForm::Recipients);
    let inspected = Inspected {
        root_file_is_current: file.ok().map(|file| file == root_row.wrapped),
        recipients: recipients.len(),
        recipients_fit: list_fits(&recipients, &root_row.wrapped),
        log,
        frozen: tx
            .deployment_state()
            .await?
            .is_none_or(|state| state.frozen_since.is_some()),
        tech_ops: tech_ops(&mut tx).await?,
        authorities: authorities(&mut tx, now).await?,
        active: tx.count_active_versions().await?,
        without_expiry: tx.count_active_versions_without_expiry().await?,
        expired: tx.count_active_versions_until(now).await?,
        newest_backup: newest_backup(&mut tx).await?,
        refused: Vec::new(),
    };
    drop(tx);
    Ok(Inspected {
        refused: database.refusals().take(),
        ..inspected
    })
}

/// How many rows are read at once.
const PAGE: i64 = 500;

async fn tech_ops(tx: &mut Tx) -> Result<usize, StoreError> {
    let (mut count, mut after) = (0, String::new());
    loop {
        let page = tx.operators(&after, PAGE).await?;
        let counts = page
            .items
            .iter()
            .filter(|row| row.role == OperatorRole::TechOps && row.disabled_at.is_none());
        count += counts.count();
        match page.next {
            Some(next) => after = next,
            None => return Ok(count),
        }
    }
}

async fn newest_backup(tx: &mut Tx) -> Result<Option<Timestamp>, StoreError> {
    let (mut newest, mut after) = (None, String::new());
    loop {
        let page = tx.backups(&after, PAGE).await?;
        let finished = page.items.iter().filter(|row| row.finished_at.is_some());
        newest = newest.max(finished.map(|row| row.taken_at).max());
        match page.next {
            Some(next) => after = next,
            None => return Ok(newest),
        }
    }
}

async fn authorities(tx: &mut Tx, now: Timestamp) -> Result<Vec<AuthorityFacts>, OpenError> {
    let mut found = Vec::new();
    let mut after = String::new();
    loop {
        let page = tx.authorities(&after, PAGE).await?;
        for row in page.items {
            if row.removed_at.is_some() || row.accept_until.is_some_and(|until| until <= now) {
                continue;
            }
            let der = row.certificate.clone().into();
            let ends = CertificateFacts::of_authority_der(&der).map(|facts| facts.not_after);
            let ends = ends.map_err(|_| OpenError::Damaged)?;
            let lists = tx.revocation_lists_of(row.id).await?;
            found.push(AuthorityFacts {
                name: row.name,
                own: row.origin == AuthorityOrigin::Own,
                until: row.accept_until.map_or(ends, |until| until.min(ends)),
                list_until: lists.iter().map(|list| list.next_update).min(),
            });
        }
        match page.next {
            Some(next) => after = next,
            None => return Ok(found),
        }
    }
}
