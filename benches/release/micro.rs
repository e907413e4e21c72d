//! The parts of a release by themselves: one thread, no network, the service's own functions.

use std::{
    collections::BTreeMap,
    hint::black_box,
    path::Path,
    process,
    time::{Duration, Instant},
};

use strongroom::{
    audit::{Kind, Record, leaf_hash},
    clock::{Clock as _, SystemClock},
    crypto::{KekRef, Keyring, KeyringLimits, PayloadRef, RootKey},
    model::{
        CredentialId, EnvironmentId, KekId, KeyId, PrincipalId, RequestId, RoleId, VersionId,
        WorkloadId,
    },
    random::SystemRandom,
    secret::{Secret, SecretKey},
    store::{AuditLogRow, Database, NewAuditRow},
};

use crate::process::processor_time;

/// How many records one durable commit has here.
const BATCH: i64 = 32;

/// How many commits are measured.
const COMMITS: i64 = 1_000;

/// About as long as a Microsoft 365 credential.
const VALUE_BYTES: usize = 300;

/// A table of the parts, in Markdown.
///
/// # Errors
/// A part does not work.
pub async fn table(directory: &Path) -> Result<String, String> {
    let clock = SystemClock;
    let random = SystemRandom::new();
    let now = clock.now();
    let failed = |what: &'static str| move || format!("{what} failed");

    // As a release opens a value: the DEK from its wrap, then the payload with it.
    let kek = KekRef {
        id: plain(KekId::generate(now, &random))?,
        generation: 1,
        environment: plain(EnvironmentId::generate(now, &random))?,
        role: plain(RoleId::generate(now, &random))?,
    };
    let credential = plain(CredentialId::generate(now, &random))?;
    let payload = PayloadRef {
        environment: kek.environment,
        credential,
        version: 1,
        version_id: plain(VersionId::generate(now, &random))?,
    };
    let root = plain(RootKey::generate("dev-bench", 1, &random))?;
    let keyring = Keyring::new(root, KeyringLimits::default());
    let wrapped_kek = plain(keyring.create_kek(kek, &random))?;
    let kek = keyring
        .kek(kek, now, || Ok::<_, std::convert::Infallible>(wrapped_kek))
        .map_err(|_| failed("opening a KEK")())?;
    let dek = plain(SecretKey::generate(&random))?;
    let wrapped = plain(keyring.wrap_dek(&kek, credential, 1, &dek, &random))?;
    let value = Secret::new(vec![b'x'; VALUE_BYTES]);
    let sealed = plain(keyring.seal_payload(&dek, payload, &value, &random))?;
    let open = per_call(10_000, || {
        let dek = keyring.unwrap_dek(&kek, credential, 1, &wrapped).ok()?;
        keyring.open_payload(&dek, payload, &sealed).ok()
    })
    .ok_or_else(failed("opening a value"))?;

    let record = Record {
        at: now,
        kind: Kind::ReleaseIntent,
        request: Some(plain(RequestId::generate(now, &random))?),
        actor: Some(PrincipalId::Workload(plain(WorkloadId::generate(
            now, &random,
        ))?)),
        key: Some(plain(KeyId::generate(now, &random))?),
        subjects: vec![credential.into()],
        detail: BTreeMap::new(),
    };
    let render = per_call(100_000, || {
        let bytes = record.to_bytes().ok()?;
        Some(leaf_hash(&bytes))
    })
    .ok_or_else(failed("rendering a record"))?;

    let bytes = plain(record.to_bytes())?;
    let commit = commits(directory, &record, &bytes).await?;
    Ok(format!(
        "| one thread, no network | µs |\n|---|--:|\n\
         | open a value of {VALUE_BYTES} bytes: its DEK, then itself (CV1 twice) | {} |\n\
         | render an audit record of {} bytes and hash it | {} |\n\
         | durable SQLite commit of {BATCH} records, one record's share: elapsed | {} |\n\
         | the same: processor time | {} |\n",
        microseconds(open),
        bytes.len(),
        microseconds(render),
        microseconds(commit.elapsed),
        microseconds(commit.processor),
    ))
}

/// What one record costs.
struct Share {
    elapsed: Duration,
    processor: Duration,
}

/// What it takes for a record to be durable in SQLite when [`BATCH`] of them share a commit.
async fn commits(directory: &Path, record: &Record, bytes: &[u8]) -> Result<Share, String> {
    let database = Database::open_sqlite(&directory.join("micro.db"), true)
        .await
        .map_err(|error| error.to_string())?;
    let mut head = AuditLogRow {
        node: "bench".into(),
        epoch: 1,
        size: 0,
        frontier: vec![0; 640],
        checkpoint: "-".into(),
        signed_size: 0,
        holder: Some("bench".into()),
        lease_until: record.at,
    };
    let mut first = plain(database.write().await)?;
    plain(first.insert_audit_log(&head).await)?;
    plain(first.commit().await)?;
    let used = processor_time(process::id());
    let begin = Instant::now();
    for _ in 0..COMMITS {
        let old_size = head.size;
        head.size += BATCH;
        let rows: Vec<NewAuditRow> = (old_size..head.size)
            .map(|seq| NewAuditRow {
                seq,
                at: record.at,
                kind: "release.intent",
                actor: record.actor.as_ref().map(ToString::to_string),
                subject: record.subjects.first().map(ToString::to_string),
                leaf: leaf_hash(bytes),
                record: bytes.to_vec(),
            })
            .collect();
        let mut tx = plain(database.write().await)?;
        plain(tx.append_audit_records(&head, old_size, &rows).await)?
            .map_err(|error| error.to_string())?;
        plain(tx.commit().await)?;
    }
    let elapsed = begin.elapsed();
    let used = processor_time(process::id()).saturating_sub(used);
    database.close().await;
    let records = (COMMITS * BATCH) as f64;
    Ok(Share {
        elapsed: elapsed.div_f64(records),
        processor: used.div_f64(records),
    })
}

/// The mean time of a call, the first tenth left out; nothing when one failed.
fn per_call<T>(calls: u32, mut call: impl FnMut() -> Option<T>) -> Option<Duration> {
    for _ in 0..calls / 10 {
        black_box(call()?);
    }
    let begin = Instant::now();
    for _ in 0..calls {
        black_box(call()?);
    }
    Some(begin.elapsed() / calls)
}

fn microseconds(time: Duration) -> String {
    format!("{:.2}", time.as_secs_f64() * 1e6)
}

fn plain<T, E: std::fmt::Display>(result: Result<T, E>) -> Result<T, String> {
    result.map_err(|error| error.to_string())
}
