//! The one writer of a node's audit log, and of everything that has to be one commit with it.
//!
//! Requests queue up while a commit is under way; when it returns, all of them go into the next
//! transaction together (group commit), so the cost of making a record durable is shared:
//!
//! ```text
//! read policy generation -> spend assertions, releases and their receipts -> changes
//!   -> append records, move the head -> checkpoint when due -> COMMIT -> answer everybody
//! ```
//!
//! Releases come before changes: they were decided before any of them, so the log never shows a
//! release behind the revocation that forbids it, and a version is not retired under a release.
//!
//! Nobody is answered before the commit. If it fails, nobody was told anything but "not
//! available", and the head is read again before anything else is signed.

mod batch;
mod denials;
mod head;
mod lease;
mod pile;
mod recent;
mod waiting;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwap;
use futures_util::future::BoxFuture;
use tokio::sync::{mpsc, oneshot, watch};

use super::error::VaultError;
use super::memory::Memory;
use super::open::OnFatal;
use crate::audit::{Detail, Kind, Signer, Subject};
use crate::clock::Clock;
use crate::model::{
    AuthorityId, CredentialId, KeyId, PrincipalId, RequestId, Timestamp, VersionId, WorkloadId,
};
use crate::store::{Database, SpentAssertion, StoreError, Tx};

pub(super) use head::{Log, open_log};
pub use lease::LeaseError;

/// The most requests that share one transaction.
const MOST_PER_BATCH: usize = 512;
/// How many requests may wait before more are answered "not available".
const QUEUE: usize = 8192;
/// How often the writer looks for work that nobody waits for.
const TICK: Duration = Duration::from_millis(200);

/// A record to be written; the writer gives it its time and its place.
#[derive(Clone, Debug)]
pub(super) struct Draft {
    pub kind: Kind,
    pub request: Option<RequestId>,
    pub actor: Option<PrincipalId>,
    pub key: Option<KeyId>,
    pub subjects: Vec<Subject>,
    pub detail: BTreeMap<&'static str, Detail>,
}

/// One version that is about to be released.
#[derive(Clone, Copy, Debug)]
pub(super) struct Item {
    pub credential: CredentialId,
    pub version: VersionId,
    pub number: i64,
}

/// The intent to release versions to a workload.
pub(super) struct Intent {
    pub workload: WorkloadId,
    pub key: KeyId,
    /// The authority that vouched for the caller, if one did: a list of it may revoke them.
    pub authority: Option<AuthorityId>,
    pub request: RequestId,
    pub items: Vec<Item>,
    pub assertion: Option<SpentAssertion>,
    /// The policy generation at which the release was decided.
    pub generation: i64,
}

/// What a durable intent is known by.
#[derive(Clone, Debug)]
pub(super) struct Recorded {
    /// Sequence numbers of its records in this node's log.
    pub seqs: Vec<i64>,
}

/// Why nothing was recorded.
#[derive(Debug)]
pub(super) enum Refusal {
    /// The policy moved since the decision: decide again.
    Moved,
    /// The assertion was used before.
    Replayed,
    /// The log or the database cannot take it now.
    Unavailable(&'static str),
}

/// What a change of the registry or of credentials did.
pub(super) struct Changed<T> {
    pub value: T,
    /// The records that belong to it.
    pub records: Vec<Draft>,
    /// What nodes have to forget; empty when nothing that a release rests on has changed.
    pub subjects: Vec<String>,
}

/// An assertion to be spent, and what is recorded when it was spent before.
pub(super) struct Presented {
    pub assertion: SpentAssertion,
    pub replayed: Draft,
}

/// Who asked for a change, as of when it was allowed.
#[derive(Clone, Copy)]
pub(super) struct Author {
    pub principal: PrincipalId,
    pub key: KeyId,
    /// The authority that vouched for them, if one did.
    pub authority: Option<AuthorityId>,
    /// The policy generation at which they were looked up.
    pub generation: i64,
}

pub(super) type AnyChange =
    Box<dyn for<'a> FnOnce(&'a mut Tx) -> BoxFuture<'a, Result<Changed<()>, VaultError>> + Send>;

pub(super) enum Job {
    Intent(Intent, oneshot::Sender<Result<Recorded, Refusal>>),
    /// Records that are not a release, and the assertion of the request that caused them.
    Note {
        drafts: Vec<Draft>,
        assertion: Option<Presented>,
        generation: Option<i64>,
        reply: oneshot::Sender<Result<(), Refusal>>,
    },
    Change {
        run: AnyChange,
        /// `None` for what the service does itself.
        author: Option<Author>,
        reply: oneshot::Sender<ChangeReply>,
    },
}

/// How a change ended.
pub(super) enum ChangeReply {
    Done,
    Refused(VaultError),
    /// Not tried: the policy moved since the caller was looked up. The change comes back.
    Moved(AnyChange),
    Unavailable(&'static str),
}

/// What the writer tells the rest of the node.
pub(super) struct Shared {
    /// The newest checkpoint, base64 of the note, ready for a header.
    pub checkpoint: ArcSwap<String>,
    /// Whether the last batch could be written.
    pub writable: AtomicBool,
    /// Intents that ended since the last batch: sequence number and whether the answer was sent.
    outcomes: Mutex<Vec<(i64, bool)>>,
    /// Answers that released nothing, by workload.
    unchanged: Mutex<BTreeMap<WorkloadId, i64>>,
    /// Refusals that were too many to be recorded one by one.
    counted: Mutex<BTreeMap<(PrincipalId, Kind), i64>>,
}

/// The way to the writer.
#[derive(Clone)]
pub(super) struct Recorder {
    jobs: mpsc::Sender<Job>,
    pub shared: Arc<Shared>,
    stop: watch::Sender<bool>,
    stopped: watch::Receiver<bool>,
}

/// What the writer needs.
pub(super) struct Parts {
    pub db: Database,
    pub memory: Arc<Memory>,
    pub clock: Arc<dyn Clock>,
    pub signer: Signer,
    pub log: Log,
    /// Where the newest checkpoint is kept outside the database.
    pub checkpoint_file: Option<std::path::PathBuf>,
    /// Ends the process.
    pub on_fatal: OnFatal,
}

impl Recorder {
    /// Starts the writer.
    pub fn start(parts: Parts) -> Self {
        let (jobs, queue) = mpsc::channel(QUEUE);
        let (stop, stopping) = watch::channel(false);
        let (done, stopped) = watch::channel(false);
        let shared = Arc::new(Shared {
            checkpoint: ArcSwap::from_pointee(head::encode(&parts.log.row.checkpoint)),
            writable: AtomicBool::new(true),
            outcomes: Mutex::default(),
            unchanged: Mutex::default(),
            counted: Mutex::default(),
        });
        let on_fatal = Arc::clone(&parts.on_fatal);
        let writer = batch::Writer::new(parts, Arc::clone(&shared));
        let writing = tokio::spawn(run(writer, queue, stopping));
        tokio::spawn(async move {
            if writing.await.is_err_and(|error| error.is_panic()) {
                // A service that looks alive and records nothing is worse than one that is gone.
                on_fatal("the writer of the audit log panicked");
            }
            let _ = done.send(true);
        });
        Self {
            jobs,
            shared,
            stop,
            stopped,
        }
    }

    /// Makes an intent durable.
    pub async fn intent(&self, intent: Intent) -> Result<Recorded, Refusal> {
        self.ask(|reply| Job::Intent(intent, reply)).await?
    }

    /// Makes records durable, and spends the assertion of the request that caused them.
    pub async fn note(
        &self,
        drafts: Vec<Draft>,
        assertion: Option<Presented>,
        generation: Option<i64>,
    ) -> Result<(), Refusal> {
        self.ask(|reply| Job::Note {
            drafts,
            assertion,
            generation,
            reply,
        })
        .await?
    }

    /// Runs a change in the writer's transaction, with its records in the same commit.
    pub async fn change(&self, run: AnyChange, author: Option<Author>) -> ChangeReply {
        match self.ask(|reply| Job::Change { run, author, reply }).await {
            Ok(reply) => reply,
            Err(_) => ChangeReply::Unavailable("audit log"),
        }
    }

    /// Says how the answer to an intent ended. Nobody waits for that to be durable: an intent
    /// without an outcome counts as received.
    pub fn outcome(&self, recorded: &Recorded, sent: bool) {
        let mut outcomes = self
            .shared
            .outcomes
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        outcomes.extend(recorded.seqs.iter().map(|seq| (*seq, sent)));
    }

    /// Counts an answer that released nothing.
    pub fn unchanged(&self, workload: WorkloadId) {
        let mut unchanged = self
            .shared
            .unchanged
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        *unchanged.entry(workload).or_default() += 1;
    }

    /// Writes what is left, signs the head, and gives the log up.
    pub async fn stop(&self) {
        let _ = self.stop.send(true);
        let mut stopped = self.stopped.clone();
        let _ = stopped.wait_for(|stopped| *stopped).await;
    }

    async fn ask<T>(&self, job: impl FnOnce(oneshot::Sender<T>) -> Job) -> Result<T, Refusal> {
        let (reply, answer) = oneshot::channel();
        self.jobs
            .try_send(job(reply))
            .map_err(|_| Refusal::Unavailable("audit queue"))?;
        answer.await.map_err(|_| Refusal::Unavailable("audit log"))
    }
}

async fn run(
    mut writer: batch::Writer,
    mut queue: mpsc::Receiver<Job>,
    mut stopping: watch::Receiver<bool>,
) {
    let mut tick = tokio::time::interval(TICK);
    tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut jobs = Vec::with_capacity(MOST_PER_BATCH);
    loop {
        let stop = tokio::select! {
            biased;
            received = queue.recv_many(&mut jobs, MOST_PER_BATCH) => received == 0,
            _ = stopping.wait_for(|stop| *stop) => true,
            _ = tick.tick() => false,
        };
        if stop {
            queue.close();
            while queue.recv_many(&mut jobs, MOST_PER_BATCH).await > 0 {
                writer.write(std::mem::take(&mut jobs)).await;
            }
            writer.finish().await;
            return;
        }
        if jobs.is_empty() && !writer.has_idle_work() {
            continue;
        }
        writer
            .write(std::mem::replace(&mut jobs, Vec::with_capacity(64)))
            .await;
    }
}

impl Shared {
    /// Takes at most so many that one record can hold them even if no two are neighbours.
    fn take_outcomes(&self) -> Vec<(i64, bool)> {
        const MOST: usize = 1500;
        let mut outcomes = self.outcomes.lock().unwrap_or_else(PoisonError::into_inner);
        let taken = outcomes.len().min(MOST);
        let rest = outcomes.split_off(taken);
        std::mem::replace(&mut outcomes, rest)
    }

    fn put_outcomes_back(&self, outcomes: Vec<(i64, bool)>) {
        self.outcomes
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .extend(outcomes);
    }

    fn put_unchanged_back(&self, counts: BTreeMap<WorkloadId, i64>) {
        let mut unchanged = self
            .unchanged
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        for (workload, count) in counts {
            *unchanged.entry(workload).or_default() += count;
        }
    }

    fn take_unchanged(&self) -> BTreeMap<WorkloadId, i64> {
        std::mem::take(
            &mut self
                .unchanged
                .lock()
                .unwrap_or_else(PoisonError::into_inner),
        )
    }

    /// Counts refusals that were not recorded one by one.
    fn count(&self, counts: BTreeMap<(PrincipalId, Kind), i64>) {
        let mut counted = self.counted.lock().unwrap_or_else(PoisonError::into_inner);
        for (what, count) in counts {
            *counted.entry(what).or_default() += count;
        }
    }

    fn take_counted(&self) -> BTreeMap<(PrincipalId, Kind), i64> {
        std::mem::take(&mut self.counted.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn has_outcomes(&self) -> bool {
        !self
            .outcomes
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .is_empty()
    }

    fn set_writable(&self, writable: bool) {
        self.writable.store(writable, Ordering::Release);
        metrics::gauge!("strongroom_audit_writable").set(f64::from(u8::from(writable)));
    }
}

fn unavailable(error: &StoreError) -> &'static str {
    match error {
        StoreError::Unavailable(what) => what,
        StoreError::Disk => "disk",
        StoreError::Taken | StoreError::Missing | StoreError::Corrupt | StoreError::Defect => {
            "audit log"
        }
    }
}

/// When `unchanged` answers are summarised: at the end of each minute.
fn minute(now: Timestamp) -> i64 {
    now.secs().div_euclid(60)
}
