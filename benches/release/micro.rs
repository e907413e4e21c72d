//! The parts of a release by themselves: one thread, no network, the service's own functions.

use std::{
    collections::BTreeMap,
    path::Path,
    process,
    time::{Duration, Instant},
};

use strongroom::{
    audit::{Kind, Record, leaf_hash},
    clock::{Clock as _, SystemClock},
    model::{CredentialId, KeyId, PrincipalId, RequestId, WorkloadId},
    random::SystemRandom,
    store::{AuditLogRow, Database, NewAuditRow},
};

use crate::open::{self, VALUE_BYTES, per_call, plain};
use crate::process::processor_time;

/// How many records one durable commit has here.
const BATCH: i64 = 32;

/// How many commits are measured.
const COMMITS: i64 = 1_000;

/// A table of the parts, in Markdown.
///
/// # Errors
/// A part does not work.
pub async fn table(directory: &Path) -> Result<String, String> {
    let clock = SystemClock;
    let random = SystemRandom::new();
    let now = clock.now();
    let failed = |what: &'static str| move || format!("{what} failed");

    let open = open::value()?;
    let credential = plain(CredentialId::generate(now, &random))?;
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

fn microseconds(time: Duration) -> String {
    format!("{:.2}", time.as_secs_f64() * 1e6)
}
