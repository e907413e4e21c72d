//! One transaction of the writer.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use super::denials::Denials;
use super::head::{self, Log};
use super::lease::{LEASE_SECS, LeaseError, RENEW_SECS};
use super::pile::{Pile, outcome_draft, record_intent, refused_row, replayed, tile_row};
use super::recent::Recent;
use super::waiting::{Answers, Waiting};
use super::{
    AnyChange, Author, ChangeReply, Changed, Draft, Intent, Job, Parts, Refusal, Shared, minute,
    unavailable,
};
use crate::audit::{Detail, Kind};
use crate::model::{CredentialId, PrincipalId, Timestamp, WorkloadId};
use crate::store::{AuditLogRow, CheckpointRow, Receipt, SpentAssertion, StoreError, TileRow, Tx};
use crate::vault::error::VaultError;
use crate::vault::memory::EVERYTHING;

/// An unsigned tail is at most this old, in seconds, when there is something new to sign.
const SIGN_AFTER_MICROS: i64 = 800_000;
/// So many unsigned records are signed at once.
const SIGN_AFTER_RECORDS: i64 = 4096;

pub(super) struct Writer {
    parts: Parts,
    shared: Arc<Shared>,
    /// `None` while it is not known where the log stands.
    log: Option<Log>,
    last_signed_at: Timestamp,
    last_renewed_at: Timestamp,
    last_minute: i64,
    last_time: Timestamp,
    /// The size that the log has if the commit under way happens.
    committing: Option<i64>,
    /// The same of a commit whose outcome is not known, and what was gathered in it: an intent has
    /// one outcome, so it must not be written twice.
    in_doubt: Option<(i64, Gathered)>,
    recent: Recent,
    denials: Denials,
    /// How many records are known to be durable.
    durable: i64,
    /// The size of the newest checkpoint that lies outside the database.
    outside: Arc<Mutex<i64>>,
}

/// What is recorded besides what somebody waits for.
struct Gathered {
    /// How earlier intents ended.
    outcomes: Vec<(i64, bool)>,
    /// Rows that were refused: table and ids.
    refused: Vec<(&'static str, String)>,
    /// Answers that released nothing, by workload.
    unchanged: BTreeMap<WorkloadId, i64>,
    /// Refusals that were too many to be recorded one by one.
    counted: BTreeMap<(PrincipalId, Kind), i64>,
}

impl Writer {
    pub fn new(mut parts: Parts, shared: Arc<Shared>) -> Self {
        let log = Some(parts.log.clone());
        parts.log.row.frontier.clear();
        let now = parts.clock.now();
        let generation = parts.memory.generation();
        let durable = parts.log.row.size;
        Self {
            parts,
            shared,
            log,
            last_signed_at: Timestamp::from_micros(0),
            last_renewed_at: now,
            last_minute: minute(now),
            last_time: Timestamp::from_micros(0),
            committing: None,
            in_doubt: None,
            recent: Recent::new(generation),
            denials: Denials::default(),
            durable,
            outside: Arc::default(),
        }
    }

    /// Whether there is something to write that nobody waits for.
    pub fn has_idle_work(&self) -> bool {
        let now = self.parts.clock.now();
        let Some(log) = &self.log else { return true };
        self.shared.has_outcomes()
            || self.parts.db.refusals().are_waiting()
            || log.row.size > log.row.signed_size
            || minute(now) != self.last_minute
            || (self.parts.db.is_shared() && now > self.last_renewed_at.plus_secs(RENEW_SECS))
    }

    /// Writes one batch and answers everybody in it.
    pub async fn write(&mut self, jobs: Vec<Job>) {
        self.write_and_sign(jobs, Vec::new(), false).await;
    }

    /// Writes the last record, signs the head and gives the log up.
    pub async fn finish(&mut self) {
        let stopped = Draft {
            kind: Kind::ServiceStopped,
            request: None,
            actor: None,
            key: None,
            subjects: Vec::new(),
            detail: BTreeMap::new(),
        };
        self.write_and_sign(Vec::new(), vec![stopped], true).await;
        if let Some(log) = &self.log
            && let Some(holder) = &log.row.holder
            && let Ok(mut tx) = self.parts.db.write().await
            && tx.release_audit_log(&log.row.node, holder).await.is_ok()
        {
            let _ = tx.commit().await;
        }
    }

    async fn write_and_sign(&mut self, jobs: Vec<Job>, drafts: Vec<Draft>, sign: bool) {
        if self.log.is_none()
            && let Err(error) = self.reopen().await
        {
            return self.failed(Waiting::sort(jobs), error).await;
        }
        let gathered = self.gather(sign);
        let mut waiting = Waiting::sort(jobs);
        match self
            .transaction(&mut waiting, drafts, &gathered, sign)
            .await
        {
            Ok(mut answers) => {
                self.shared.set_writable(true);
                self.shared.count(std::mem::take(&mut answers.counted));
                answers.send();
            }
            Err(error) => {
                match self.committing.take() {
                    Some(size) => self.in_doubt = Some((size, gathered)),
                    None => self.put_back(gathered),
                }
                self.failed(waiting, error).await;
            }
        }
    }

    /// Takes what is to be recorded and nobody waits for.
    fn gather(&mut self, sign: bool) -> Gathered {
        let now = self.parts.clock.now();
        let minute_is_over = minute(now) != self.last_minute;
        if minute_is_over {
            self.denials.shrink(now);
        }
        Gathered {
            outcomes: self.shared.take_outcomes(),
            refused: self.parts.db.refusals().take(),
            unchanged: match minute_is_over || sign {
                true => self.shared.take_unchanged(),
                false => BTreeMap::new(),
            },
            counted: match minute_is_over || sign {
                true => self.shared.take_counted(),
                false => BTreeMap::new(),
            },
        }
    }

    /// Keeps for the next batch what this one did not record.
    fn put_back(&self, gathered: Gathered) {
        self.shared.put_outcomes_back(gathered.outcomes);
        self.parts.db.refusals().put_back(gathered.refused);
        self.shared.put_unchanged_back(gathered.unchanged);
        self.shared.count(gathered.counted);
    }

    /// Answers everybody after a failure. What the database holds now is not known, so it is read
    /// before the next batch.
    async fn failed(&mut self, waiting: Waiting, error: StoreError) {
        let why = unavailable(&error);
        tracing::error!(reason = why, "the audit log could not be written");
        metrics::counter!("strongroom_audit_failures_total").increment(1);
        self.shared.set_writable(false);
        self.log = None;
        waiting.fail(why);
        if matches!(error, StoreError::Disk) {
            (self.parts.on_fatal)("a write failed on the disk");
        }
        // Do not spin against a database that is down.
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }

    async fn transaction(
        &mut self,
        waiting: &mut Waiting,
        drafts: Vec<Draft>,
        gathered: &Gathered,
        sign: bool,
    ) -> Result<Answers, StoreError> {
        let Some(log) = self.log.clone() else {
            return Err(StoreError::Unavailable("audit log"));
        };
        let now = self.parts.clock.now();
        let at = now.max(self.last_time);
        let mut answers = Answers::default();
        let mut pile = Pile {
            rows: Vec::new(),
            tiles: Vec::new(),
            receipts: Vec::new(),
            log,
            at,
            intents: 0,
        };
        let old_size = pile.log.row.size;
        let mut tx = self.parts.db.write().await?;

        // Changes of several nodes happen one after the other: each sees what the others did, so
        // that two of them cannot both leave "another one" in place.
        // What is decided from memory keeps such changes out until it is recorded, so that a version
        // is not retired on one node under a release that another node records.
        let asked = Instant::now();
        match waiting.changes.is_empty() {
            false => tx.lock_policy().await?,
            true if !waiting.intents.is_empty() => tx.hold_policy().await?,
            true => {}
        }
        let generation = self.catch_up(&mut tx).await?;
        self.parts.memory.confirm(asked);
        let mut subjects = Vec::new();
        for draft in drafts {
            pile.push(draft)?;
        }
        self.spend(&mut tx, waiting, generation, &mut pile, &mut answers)
            .await?;
        let mut receipts: Vec<Receipt> = std::mem::take(&mut pile.receipts);
        // In one order on every node, so that two of them cannot wait for each other's rows.
        receipts.sort_unstable_by_key(|receipt| (receipt.workload, receipt.version));
        receipts.dedup_by_key(|receipt| (receipt.workload, receipt.version));
        tx.record_receipts(&receipts).await?;
        for (run, author, reply) in waiting.changes.drain(..) {
            if author.is_some_and(|author| moved(&author, &self.recent, &subjects)) {
                answers.changes.push((reply, ChangeReply::Moved(run)));
                continue;
            }
            let outcome = one_change(&mut tx, run).await?;
            let outcome = match outcome {
                Ok(changed) => {
                    for draft in changed.records {
                        pile.push(draft)?;
                    }
                    subjects.extend(changed.subjects);
                    ChangeReply::Done
                }
                Err(error) => ChangeReply::Refused(error),
            };
            answers.changes.push((reply, outcome));
        }
        // Those of this batch's own reads are recorded with the next.
        for (table, row) in &gathered.refused {
            pile.push(refused_row(table, row))?;
        }
        if let Some(draft) = outcome_draft(&gathered.outcomes) {
            pile.push(draft)?;
        }
        for (workload, count) in &gathered.unchanged {
            pile.push(Draft {
                actor: Some(PrincipalId::Workload(*workload)),
                detail: BTreeMap::from([("count", Detail::Number(*count))]),
                ..Draft::of(Kind::ReleaseUnchanged)
            })?;
        }
        for ((actor, kind), count) in &gathered.counted {
            pile.push(Draft {
                actor: Some(*actor),
                detail: BTreeMap::from([
                    ("count", Detail::Number(*count)),
                    ("reason", Detail::Word("too-many")),
                ]),
                ..Draft::of(*kind)
            })?;
        }

        let mut forget = None;
        if !subjects.is_empty() {
            subjects.sort_unstable();
            subjects.dedup();
            let bumped = tx.bump_policy(&subjects).await?;
            // Another node may have changed something since this transaction looked.
            let changed = match bumped == generation + 1 {
                true => Some(subjects),
                false => tx.policy_changes_since(generation).await?,
            };
            forget = Some((changed, bumped));
        }
        let checkpoint = self.sign_if_due(&mut pile, now, sign);
        let renewed = now.micros() - self.last_renewed_at.micros();
        let renew = !(0..RENEW_SECS * 1_000_000).contains(&renewed);
        if renew {
            let shared = head::shared_now(&self.parts.db, self.parts.clock.as_ref()).await?;
            pile.log.row.lease_until = shared.plus_secs(LEASE_SECS);
        }
        pile.log.row.frontier = pile.log.frontier.to_bytes();
        if tx
            .append_audit_records(&pile.log.row, old_size, &pile.rows)
            .await?
            .is_err()
        {
            return Err(StoreError::Unavailable("audit lease"));
        }
        let AuditLogRow { node, epoch, .. } = &pile.log.row;
        let tiles: Vec<TileRow> = pile.tiles.iter().map(tile_row).collect();
        tx.keep_audit_tiles(node, *epoch, &tiles).await?;
        if let Some(row) = &checkpoint {
            tx.insert_checkpoint(&pile.log.row.node, pile.log.row.epoch, row)
                .await?;
        }
        self.committing = Some(pile.log.row.size);
        tx.commit().await?;
        self.committing = None;

        metrics::counter!("strongroom_audit_commits_total").increment(1);
        metrics::counter!("strongroom_audit_intents_total").increment(pile.intents);
        metrics::counter!("strongroom_audit_records_total").increment(pile.rows.len() as u64);
        if let Some((subjects, generation)) = forget {
            self.parts.memory.forget(subjects.as_deref(), generation);
            self.recent.note(generation, subjects);
        }
        if renew {
            self.last_renewed_at = now;
        }
        if let Some(row) = checkpoint {
            self.last_signed_at = now;
            self.shared
                .checkpoint
                .store(Arc::new(head::encode(&row.note)));
            self.keep_outside(row.size, row.note);
        }
        self.last_minute = minute(now);
        self.last_time = at;
        self.durable = pile.log.row.size;
        self.log = Some(pile.log);
        Ok(answers)
    }

    /// Makes the node forget what others changed, and returns the policy generation.
    async fn catch_up(&mut self, tx: &mut Tx) -> Result<i64, StoreError> {
        let generation = tx.policy_generation().await?;
        let known = self.recent.latest();
        if generation < known {
            // The database lost commits or was tampered with: nothing remembered can be trusted.
            tracing::error!("the policy generation went back: everything remembered is forgotten");
            metrics::counter!("strongroom_policy_went_back_total").increment(1);
            self.parts.memory.start_again(generation);
            self.recent = Recent::new(generation);
        } else if generation > known {
            let subjects = tx.policy_changes_since(known).await?;
            self.parts.memory.forget(subjects.as_deref(), generation);
            self.recent.note(generation, subjects);
        }
        Ok(generation)
    }

    /// Spends the assertions of those whose decision still stands, and records what they cause.
    async fn spend(
        &mut self,
        tx: &mut Tx,
        waiting: &mut Waiting,
        generation: i64,
        pile: &mut Pile,
        answers: &mut Answers,
    ) -> Result<(), StoreError> {
        let mut assertions: Vec<SpentAssertion> = Vec::new();
        for (intent, _) in &waiting.intents {
            if self.stands(intent) {
                assertions.extend(intent.assertion);
            }
        }
        for note in &waiting.notes {
            if note
                .generation
                .is_none_or(|decided_at| decided_at == generation)
            {
                assertions.extend(note.assertion.as_ref().map(|it| it.assertion));
            }
        }
        let fresh = match assertions.is_empty() {
            true => Vec::new(),
            false => tx.spend_assertions(&assertions).await?,
        };
        let mut fresh = fresh.into_iter();
        let mut is_fresh = |presented: bool| !presented || fresh.next().unwrap_or(false);
        for (intent, reply) in waiting.intents.drain(..) {
            let answer = if !self.stands(&intent) {
                Err(Refusal::Moved)
            } else if !is_fresh(intent.assertion.is_some()) {
                let replayed = replayed(PrincipalId::Workload(intent.workload), &intent);
                self.refusal(replayed, pile, answers)?;
                Err(Refusal::Replayed)
            } else {
                Ok(record_intent(intent, pile)?)
            };
            answers.intents.push((reply, answer));
        }
        for note in waiting.notes.drain(..) {
            let moved = note
                .generation
                .is_some_and(|decided_at| decided_at != generation);
            let answer = if moved {
                Err(Refusal::Moved)
            } else if !is_fresh(note.assertion.is_some()) {
                if let Some(presented) = note.assertion {
                    self.refusal(presented.replayed, pile, answers)?;
                }
                Err(Refusal::Replayed)
            } else {
                for draft in note.drafts {
                    self.refusal(draft, pile, answers)?;
                }
                Ok(())
            };
            answers.notes.push((note.reply, answer));
        }
        Ok(())
    }

    /// Records a refusal, or counts it when there are too many of this principal. It takes the same
    /// commit in either case.
    fn refusal(
        &mut self,
        draft: Draft,
        pile: &mut Pile,
        answers: &mut Answers,
    ) -> Result<(), StoreError> {
        match self.denials.is_too_many(&draft, pile.at) {
            Some(what) => *answers.counted.entry(what).or_default() += 1,
            None => {
                pile.push(draft)?;
            }
        }
        Ok(())
    }

    /// Whether what an intent rests on is still as it was when it was decided.
    fn stands(&self, intent: &Intent) -> bool {
        match intent.generation.cmp(&self.recent.latest()) {
            std::cmp::Ordering::Equal => return true,
            // Decided by what a counter that went back once said.
            std::cmp::Ordering::Greater => return false,
            std::cmp::Ordering::Less => {}
        }
        let (workload, key) = (intent.workload.to_string(), intent.key.to_string());
        let authority = intent.authority.map(|id| id.to_string());
        self.recent.stands(intent.generation, |subject| {
            subject == workload
                || subject == key
                || Some(subject) == authority.as_deref()
                || subject.parse().is_ok_and(|id: CredentialId| {
                    intent.items.iter().any(|item| item.credential == id)
                })
        })
    }

    fn sign_if_due(&self, pile: &mut Pile, now: Timestamp, sign: bool) -> Option<CheckpointRow> {
        let unsigned = pile.log.row.size - pile.log.row.signed_size;
        let age = now.micros() - self.last_signed_at.micros();
        // A clock that was set back must not stop the signing.
        let due = sign || !(0..SIGN_AFTER_MICROS).contains(&age) || unsigned >= SIGN_AFTER_RECORDS;
        if unsigned == 0 || !due {
            return None;
        }
        let note = self.parts.signer.sign(&pile.log.frontier, pile.at);
        pile.log.row.checkpoint.clone_from(&note);
        pile.log.row.signed_size = pile.log.row.size;
        Some(CheckpointRow {
            size: pile.log.row.size,
            at: pile.at,
            note,
        })
    }

    /// Reads where the log stands, after a failure.
    async fn reopen(&mut self) -> Result<(), StoreError> {
        let AuditLogRow { node, holder, .. } = &self.parts.log.row;
        let holder = holder.clone().unwrap_or_default();
        let clock = self.parts.clock.as_ref();
        let opened = head::open_log(
            &self.parts.db,
            &self.parts.signer,
            node,
            &holder,
            self.durable,
            clock,
        );
        let log = match opened.await {
            Ok(log) => log,
            Err(LeaseError::Held { .. }) => return Err(StoreError::Unavailable("audit lease")),
            Err(LeaseError::Lost { known, found }) => {
                // What was acknowledged is gone. Going on would sign another history over the same
                // numbers, and hide that by a newer checkpoint.
                tracing::error!(known, found, "the audit log lost durable records");
                (self.parts.on_fatal)("the audit log lost durable records");
                return Err(StoreError::Corrupt);
            }
            Err(LeaseError::Damaged) => return Err(StoreError::Corrupt),
            Err(LeaseError::Store(error)) => return Err(error),
        };
        if let Some((size, gathered)) = self.in_doubt.take()
            && log.row.size < size
        {
            self.put_back(gathered);
        }
        self.shared
            .checkpoint
            .store(Arc::new(head::encode(&log.row.checkpoint)));
        self.durable = log.row.size;
        self.log = Some(log);
        Ok(())
    }

    /// Keeps the newest checkpoint outside the database, so that a database put back to an earlier
    /// state is noticed. It may lag behind; it is never ahead of what is durable.
    fn keep_outside(&self, size: i64, note: String) {
        let Some(path) = self.parts.checkpoint_file.clone() else {
            return;
        };
        let outside = Arc::clone(&self.outside);
        tokio::task::spawn_blocking(move || {
            // A slow disk must not let an older one replace a newer.
            let mut newest = outside.lock().unwrap_or_else(PoisonError::into_inner);
            if *newest >= size {
                return;
            }
            let temporary = path.with_extension("new");
            let written = std::fs::write(&temporary, note)
                .and_then(|()| std::fs::File::open(&temporary)?.sync_all())
                .and_then(|()| std::fs::rename(&temporary, &path));
            match written {
                Ok(()) => *newest = size,
                Err(error) => {
                    tracing::warn!(kind = %error.kind(), "the checkpoint file could not be written");
                }
            }
        });
    }
}

/// Whether a change has to be allowed anew: something about its author has changed since they were
/// looked up, or a change before it in the same batch is about them.
fn moved(author: &Author, recent: &Recent, subjects: &[String]) -> bool {
    let (principal, key) = (author.principal.to_string(), author.key.to_string());
    let authority = author.authority.map(|id| id.to_string());
    let about = |subject: &str| {
        subject == principal || subject == key || Some(subject) == authority.as_deref()
    };
    !recent.stands(author.generation, about)
        || subjects
            .iter()
            .any(|subject| subject == EVERYTHING || about(subject))
}

/// Runs one change within a savepoint: a change that is refused leaves nothing behind, and the
/// others in the batch go on. The outer error is one of the whole transaction.
async fn one_change(
    tx: &mut Tx,
    run: AnyChange,
) -> Result<Result<Changed<()>, VaultError>, StoreError> {
    tx.savepoint().await?;
    match run(tx).await {
        Ok(changed) => {
            tx.release_savepoint().await?;
            Ok(Ok(changed))
        }
        Err(VaultError::Unavailable("disk")) => Err(StoreError::Disk),
        Err(error) => {
            tx.roll_back_to_savepoint().await?;
            Ok(Err(error))
        }
    }
}
