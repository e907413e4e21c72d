//! A drill: a backup is restored into a scratch database and opened down to the values, to know that
//! it could be, before it has to be.

use std::io::{self, BufRead};
use std::path::Path;
use std::sync::Arc;

use serde::Serialize;

use super::format::BackupError;
use super::inspect::{InspectError, InspectedBackup, inspect_backup};
use super::restore::{Restore, RestoreError, restore_backup};
use super::since::Since;
use super::verify::verify_backup;
use crate::audit::VerifierKey;
use crate::clock::Clock;
use crate::crypto::{Identity, KekRef, Keyring, PayloadRef, Plugins, ServiceKeyName};
use crate::model::{BackupId, Timestamp};
use crate::store::{BoundWrapRow, Database, KekRow, OpenError, StoreError, sqlite_path};

/// What to try, and how.
pub struct Drill<'a> {
    /// What opens the backup and the root key in it.
    pub identities: &'a [Identity],
    /// The public audit key, if it is at hand; otherwise the one in the backup is used.
    pub audit_key: Option<&'a VerifierKey>,
    /// How many values are opened.
    pub sample: u64,
    /// Chooses which.
    pub seed: u64,
    /// An empty directory for the scratch database.
    pub directory: &'a Path,
    /// The clock.
    pub clock: &'a dyn Clock,
}

/// A drill could not be carried out.
#[derive(Debug, thiserror::Error)]
pub enum DrillError {
    /// The backup cannot be used.
    #[error(transparent)]
    Inspect(#[from] InspectError),
    /// It cannot be restored.
    #[error(transparent)]
    Restore(#[from] RestoreError),
    /// The scratch database cannot be made.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// The scratch database said no.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl From<BackupError> for DrillError {
    fn from(error: BackupError) -> Self {
        Self::Inspect(error.into())
    }
}

impl From<io::Error> for DrillError {
    fn from(error: io::Error) -> Self {
        BackupError::from(error).into()
    }
}

/// Seconds that each step took.
#[derive(Debug, Default, Serialize)]
pub struct Seconds {
    /// Reading the backup and its manifest.
    pub inspect: f64,
    /// Verifying the audit logs.
    pub verify: f64,
    /// Writing the database.
    pub restore: f64,
    /// Opening keys and values.
    pub open: f64,
}

/// What a drill found.
#[derive(Debug, Serialize)]
pub struct DrillReport {
    /// The backup.
    pub backup: BackupId,
    /// The deployment.
    pub deployment: String,
    /// The moment whose state it holds.
    pub taken_at: Timestamp,
    /// What chose the sample.
    pub seed: u64,
    /// Parts whose digest was compared.
    pub sections: usize,
    /// Rows that were restored.
    pub rows: u64,
    /// Audit logs that were verified.
    pub logs: usize,
    /// Service keys that opened.
    pub service_keys: u64,
    /// KEKs that opened.
    pub keks: u64,
    /// Wrapped DEKs that opened: all of them.
    pub wraps: u64,
    /// Values that opened.
    pub values: u64,
    /// Sealed values that there are.
    pub values_sealed: u64,
    /// How long it took.
    pub seconds: Seconds,
    /// What is off; nothing in a sound backup.
    pub findings: Vec<String>,
}

impl DrillReport {
    /// Whether nothing is off.
    pub fn is_ok(&self) -> bool {
        self.findings.is_empty()
    }

    /// At most a hundred are listed.
    fn find(&mut self, finding: String) {
        if self.findings.len() < 100 {
            self.findings.push(finding);
        }
    }
}

/// Runs `step` and says how many seconds it took.
macro_rules! timed {
    ($clock:expr, $seconds:expr, $step:expr) => {{
        let begun = $clock.now();
        let done = $step;
        let micros = $clock.now().micros() - begun.micros();
        $seconds =
            std::time::Duration::from_micros(u64::try_from(micros).unwrap_or(0)).as_secs_f64();
        done
    }};
}

/// Carries out a drill. `open` opens the backup, which is read three times.
///
/// # Errors
/// It cannot be carried out; what is off with what could be read is in the report.
pub async fn drill_backup<R: BufRead>(
    open: impl Fn() -> io::Result<R>,
    drill: &Drill<'_>,
) -> Result<DrillReport, DrillError> {
    let mut seconds = Seconds::default();
    let inspected = timed!(
        drill.clock,
        seconds.inspect,
        inspect_backup(open()?, drill.identities, &[])?
    );
    let key = drill.audit_key.unwrap_or(&inspected.audit_key);
    let verified = timed!(
        drill.clock,
        seconds.verify,
        verify_backup(open()?, drill.identities, std::slice::from_ref(key))?
    );
    let database = Database::open_sqlite(&sqlite_path(drill.directory), true).await?;
    let (plugins, since) = (Plugins::none(), Since::default());
    let how = Restore {
        identities: drill.identities,
        machine: drill.identities,
        plugins: &plugins,
        since: &since,
        lost: 0,
        now: drill.clock.now(),
    };
    let restored = timed!(
        drill.clock,
        seconds.restore,
        restore_backup(&database, open()?, &inspected, &how).await?
    );
    let manifest = &inspected.manifest;
    let mut report = DrillReport {
        backup: manifest.id,
        deployment: manifest.deployment.clone(),
        taken_at: manifest.taken_at,
        seed: drill.seed,
        sections: manifest.sections.len(),
        rows: restored.rows,
        logs: verified.logs.len(),
        service_keys: 0,
        keks: 0,
        wraps: 0,
        values: 0,
        values_sealed: 0,
        seconds,
        findings: Vec::new(),
    };
    for log in verified.logs.iter().filter(|log| !log.is_ok()) {
        report.find(format!("an audit log is not what was signed: {log}"));
    }
    let database = inspected.open_registry(&database);
    let begun = drill.clock.now();
    compare_counts(&database, &inspected, &mut report).await?;
    open_keys(&database, &inspected.keyring, &mut report).await?;
    open_values(&database, &inspected.keyring, drill, &mut report).await?;
    let micros = drill.clock.now().micros() - begun.micros();
    report.seconds.open =
        std::time::Duration::from_micros(u64::try_from(micros).unwrap_or(0)).as_secs_f64();
    database.close().await;
    Ok(report)
}

/// Compares the rows of each table with the manifest. Two tables begin anew with a restore.
async fn compare_counts(
    database: &Database,
    inspected: &InspectedBackup,
    report: &mut DrillReport,
) -> Result<(), StoreError> {
    const ANEW: &[&str] = &["deployment_state"];
    let mut tx = database.read().await?;
    for table in tx.tables().await? {
        let expected = inspected.manifest.rows(&table.name);
        let found = tx.count_rows(&table).await?;
        if found != expected && !ANEW.contains(&table.name.as_str()) {
            let name = &table.name;
            report.find(format!(
                "{name}: {expected} rows in the manifest, {found} restored"
            ));
        }
    }
    Ok(())
}

async fn open_keys(
    database: &Database,
    keyring: &Keyring,
    report: &mut DrillReport,
) -> Result<(), StoreError> {
    let mut tx = database.read().await?;
    for row in tx.service_keys().await? {
        let name: Result<ServiceKeyName, _> = row.name.parse();
        let generation = u32::try_from(row.generation);
        let opened = match (name, generation) {
            (Ok(name), Ok(generation)) => keyring
                .open_service_bytes(name, generation, &row.wrapped)
                .is_ok(),
            _ => false,
        };
        match opened {
            true => report.service_keys += 1,
            false => report.find(format!("the service key {} does not open", row.id)),
        }
    }
    for row in tx.keks().await? {
        match kek_opens(keyring, &row) {
            true => report.keks += 1,
            false => report.find(format!("the key-encryption key {} does not open", row.id)),
        }
    }
    Ok(())
}

/// No KEK is forgotten for being idle in a drill.
const NOW: Timestamp = Timestamp::from_micros(0);

fn reference(row: &KekRow) -> KekRef {
    KekRef {
        id: row.id,
        generation: u32::try_from(row.generation).unwrap_or(0),
        environment: row.environment_id,
        role: row.role_id,
    }
}

fn kek_opens(keyring: &Keyring, row: &KekRow) -> bool {
    let fetch = || Ok::<_, std::convert::Infallible>(&row.wrapped);
    keyring.kek(reference(row), NOW, fetch).is_ok()
}

/// Opens every wrapped DEK, and the values of some versions, chosen by the seed.
async fn open_values(
    database: &Database,
    keyring: &Keyring,
    drill: &Drill<'_>,
    report: &mut DrillReport,
) -> Result<(), StoreError> {
    let mut tx = database.read().await?;
    let keks = tx.keks().await?;
    let keks: std::collections::BTreeMap<_, _> = keks
        .iter()
        .map(|row| (row.id, Arc::new(row.clone())))
        .collect();
    report.values_sealed = tx.count_sealed_values().await?;
    // Selection sampling (Knuth, The Art of Computer Programming, 3.4.2, algorithm S): each version
    // that is left is chosen with the chance that is needed.
    let (mut left, mut wanted) = (report.values_sealed, drill.sample);
    let mut numbers = drill.seed;
    let mut after = None;
    let mut last = None;
    loop {
        let page = tx.bound_wraps_after(after, 500).await?;
        let Some(end) = page.last() else { break };
        after = Some((end.version_id, end.role_id));
        for row in page {
            let first_of_version = last != Some(row.version_id);
            last = Some(row.version_id);
            let dek = keks.get(&row.kek_id).and_then(|kek| {
                // What the blob is bound to is taken from the version it is for.
                let bound = KekRef {
                    environment: row.environment_id,
                    role: row.role_id,
                    ..reference(kek)
                };
                let fetch = || Ok::<_, std::convert::Infallible>(&kek.wrapped);
                let kek = keyring.kek(bound, NOW, fetch).ok()?;
                let number = u64::try_from(row.number).ok()?;
                keyring
                    .unwrap_dek(&kek, row.credential_id, number, &row.wrapped)
                    .ok()
            });
            let chosen = first_of_version && {
                let chosen = left > 0 && next(&mut numbers) % left < wanted;
                left = left.saturating_sub(1);
                chosen
            };
            let name = || format!("{}#{}", row.credential_id, row.number);
            let Some(dek) = dek else {
                report.find(format!("a wrapped key of {} does not open", name()));
                continue;
            };
            report.wraps += 1;
            if chosen {
                wanted -= 1;
                let sealed = tx.payload(row.version_id).await?;
                let opened =
                    sealed.and_then(|sealed| keyring.open_payload(&dek, place(&row), &sealed).ok());
                match opened {
                    Some(_) => report.values += 1,
                    None => report.find(format!("the value of {} does not open", name())),
                }
            }
        }
    }
    let due = drill.sample.min(report.values_sealed);
    if report.values < due && report.is_ok() {
        let opened = report.values;
        report.find(format!(
            "{due} values were to be opened, and only {opened} have a wrapped key"
        ));
    }
    Ok(())
}

fn place(row: &BoundWrapRow) -> PayloadRef {
    PayloadRef {
        environment: row.environment_id,
        credential: row.credential_id,
        version: u64::try_from(row.number).unwrap_or(0),
        version_id: row.version_id,
    }
}

/// SplitMix64 (Steele, Lea, Flood, 2014): enough to choose a sample that can be chosen again.
fn next(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mut mixed = *state;
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}
