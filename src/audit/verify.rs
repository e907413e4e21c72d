//! The offline verifier: reads an export once, and says what it proves to somebody who has the
//! public key and perhaps checkpoints that were kept elsewhere.
//!
//! It holds one line, two edges of the tree, the checkpoints that are still ahead, and the intents
//! without an outcome; never the log.
//!
//! How it names the place of a change: a record's bytes are compared with the leaf hash that was
//! stored beside them, which names the record exactly. If the leaf was changed along with it, the
//! next checkpoint does not fit, and the place is known as the range since the last one that did.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, BufRead};

use super::checkpoint::{Checkpoint, Origin, key_name};
use super::export::{Line, Reader, StoredRecord};
use super::kind::Kind;
use super::merkle::{Frontier, Hash, leaf_hash};
use super::note::VerifierKey;
use super::record::{ABORTED, Detail, ParsedRecord, SENT};
use super::report::{Finding, Report, Source, Warning};
use crate::model::Timestamp;

/// The longest time in seconds, from its first to its last record, that the unsigned end of a
/// healthy log may span. A node signs once a second; the rest is for a slow disk.
pub const MAX_UNSIGNED_SECS: i64 = 10;

/// Verifies the export `input` with the public `keys` of the deployment (more than one after the
/// key was changed) and the notes in `kept`, which come from elsewhere: a worker, another node, a
/// backup, the auditor's own.
///
/// # Errors
/// Reading failed. Whatever is wrong with the content is in the report.
pub fn verify(input: impl BufRead, keys: &[VerifierKey], kept: &[String]) -> io::Result<Report> {
    let mut reader = Reader::new(input);
    let mut run = Run::new(keys);
    match reader.next_line()? {
        Some(Ok(Line::Header { origin, vkey })) => run.header(origin, vkey.as_deref()),
        _ => {
            run.report.find(Finding::NotAnExport);
            return Ok(run.report);
        }
    }
    for (index, note) in kept.iter().enumerate() {
        run.announce(note, Source::Kept(index + 1));
    }
    run.reach();
    while let Some(line) = reader.next_line()? {
        let number = reader.line_number();
        if run.ended {
            run.report.find(Finding::AfterEnd { line: number });
            continue;
        }
        match line {
            Ok(Line::Record(record)) => run.record(number, &record),
            Ok(Line::Checkpoint(note)) => run.checkpoint(number, &note),
            Ok(Line::End(end)) => run.end(end),
            Ok(Line::Header { .. }) | Err(_) => {
                run.report.find(Finding::LineMalformed { line: number });
            }
        }
    }
    Ok(run.finish())
}

struct Run<'a> {
    keys: &'a [VerifierKey],
    report: Report,
    tree: Trees,
    /// The sequence number that comes next.
    next: u64,
    /// Signed checkpoints that cover more records than were read yet, by size and order.
    ahead: BTreeMap<(u64, usize), (Hash, Source)>,
    announced: usize,
    /// The size of the last checkpoint line.
    grown: Option<u64>,
    /// Size and root that were signed last, to see two roots of one size.
    claimed: Option<(u64, Hash)>,
    /// A checkpoint did not fit; from there on none is expected to.
    diverged: bool,
    /// Every record so far was read, so that it makes sense to look for intents.
    complete: bool,
    /// Intents without an outcome yet.
    open: BTreeSet<u64>,
    last_at: Option<Timestamp>,
    newest_at: Option<Timestamp>,
    unsigned_since: Option<Timestamp>,
    ended: bool,
}

impl<'a> Run<'a> {
    fn new(keys: &'a [VerifierKey]) -> Self {
        Self {
            keys,
            report: Report::default(),
            tree: Trees::default(),
            next: 0,
            ahead: BTreeMap::new(),
            announced: 0,
            grown: None,
            claimed: None,
            diverged: false,
            complete: true,
            open: BTreeSet::new(),
            last_at: None,
            newest_at: None,
            unsigned_since: None,
            ended: false,
        }
    }

    fn header(&mut self, origin: Origin, vkey: Option<&str>) {
        let name = key_name(&origin.deployment);
        if !self.keys.iter().any(|key| key.name() == name) {
            let source_of = Source::Header;
            self.report.find(Finding::ForeignOrigin { source_of });
        }
        if vkey.is_some_and(|text| !self.keys.iter().any(|key| key.to_string() == text)) {
            self.report.find(Finding::HeaderKey);
        }
        self.report.origin = Some(origin);
    }

    /// Reads a note; what is not a checkpoint of this log becomes a finding.
    fn open_note(&mut self, note: &str, source_of: Source) -> Option<Checkpoint> {
        match Checkpoint::open(note, self.keys) {
            Err(reason) => {
                let finding = Finding::CheckpointRefused { source_of, reason };
                self.report.find(finding);
                None
            }
            Ok(checkpoint) if Some(&checkpoint.origin) != self.report.origin.as_ref() => {
                self.report.find(Finding::ForeignOrigin { source_of });
                None
            }
            Ok(checkpoint) => Some(checkpoint),
        }
    }

    fn announce(&mut self, note: &str, source: Source) {
        if let Some(checkpoint) = self.open_note(note, source) {
            self.put_ahead(&checkpoint, source);
        }
    }

    fn put_ahead(&mut self, checkpoint: &Checkpoint, source: Source) {
        let place = (checkpoint.size, self.announced);
        self.ahead.insert(place, (checkpoint.root, source));
        self.announced += 1;
    }

    /// Judges the checkpoints whose size has been reached.
    fn reach(&mut self) {
        while let Some(entry) = self.ahead.first_entry() {
            let size = entry.key().0;
            if size > self.next {
                return;
            }
            let (root, source) = entry.remove();
            self.judge(size, root, source);
            if let Source::Line(line) = source
                && !self.diverged
            {
                self.report
                    .find(Finding::CheckpointOutOfPlace { line, size });
            }
        }
    }

    /// Notes that this root was signed for this size.
    fn claim(&mut self, size: u64, root: Hash, source_of: Source) {
        match self.claimed {
            Some((other, signed)) if other == size && signed != root => {
                self.report.find(Finding::SplitView { size, source_of });
            }
            _ => self.claimed = Some((size, root)),
        }
    }

    /// Compares a checkpoint with the records so far, of which there are `size`.
    fn judge(&mut self, size: u64, root: Hash, source_of: Source) {
        self.claim(size, root, source_of);
        if self.tree.broken {
            return;
        }
        if self.tree.fits(&root) {
            match source_of {
                Source::Kept(_) => self.report.checkpoints.kept += 1,
                Source::Header | Source::Line(_) => self.report.checkpoints.export += 1,
            }
            self.report.signed = size;
            self.unsigned_since = None;
        } else if !self.diverged {
            self.diverged = true;
            self.report.find(Finding::RangeEdited {
                from: self.report.signed,
                to: size,
                source_of,
            });
        }
    }

    fn checkpoint(&mut self, line: u64, note: &str) {
        let source = Source::Line(line);
        let Some(checkpoint) = self.open_note(note, source) else {
            return;
        };
        let size = checkpoint.size;
        if self.grown.is_some_and(|grown| size <= grown) {
            self.report
                .find(Finding::CheckpointNotGrowing { line, size });
            self.claim(size, checkpoint.root, source);
            return;
        }
        self.grown = Some(size);
        if size == self.next {
            self.judge(size, checkpoint.root, source);
        } else if size > self.next {
            self.put_ahead(&checkpoint, source);
        } else {
            self.report
                .find(Finding::CheckpointOutOfPlace { line, size });
        }
    }

    fn record(&mut self, line: u64, stored: &StoredRecord) {
        let seq = stored.seq;
        self.report.records += 1;
        if seq < self.next {
            self.report.find(Finding::RecordOutOfPlace { line, seq });
            return;
        }
        if seq > self.next {
            self.report.find(Finding::RecordsMissing {
                line,
                first: self.next,
                last: seq - 1,
            });
            self.tree.broken = true;
            self.complete = false;
        }
        self.next = seq.saturating_add(1);
        let computed = leaf_hash(&stored.record);
        self.tree.push(stored.leaf, computed);
        let parsed = ParsedRecord::parse(&stored.record);
        if computed != stored.leaf {
            self.report.find(Finding::RecordEdited { seq });
            self.complete = false;
        } else if parsed.is_err() {
            self.report.find(Finding::RecordMalformed { seq });
            self.complete = false;
        }
        if let Ok(record) = parsed {
            self.look_at(seq, &record);
        }
        self.reach();
    }

    /// What a record says, apart from its place.
    fn look_at(&mut self, seq: u64, record: &ParsedRecord) {
        if self.last_at.is_some_and(|last| record.at < last) {
            self.report.warn(Warning::TimeBackwards { seq });
        }
        self.last_at = Some(record.at);
        self.newest_at = self.newest_at.max(self.last_at);
        self.unsigned_since.get_or_insert(record.at);
        *self.report.kinds.entry(record.kind).or_default() += 1;
        match record.kind {
            Kind::ReleaseIntent => {
                self.report.releases.intents += 1;
                self.report.releases.versions += record.subjects.len() as u64;
                self.open.insert(seq);
            }
            Kind::ReleaseOutcome => {
                let fits = self.outcome(record).is_some();
                if !fits && self.complete {
                    self.report.find(Finding::OutcomeWithoutIntent { seq });
                }
            }
            Kind::ReleaseDenied => self.report.releases.denied += 1,
            _ => {}
        }
    }

    /// Closes the intents that an outcome names; nothing unless each is open.
    fn outcome(&mut self, record: &ParsedRecord) -> Option<()> {
        let mut any = false;
        for name in [SENT, ABORTED] {
            let Some(detail) = record.detail.get(name) else {
                continue;
            };
            let Detail::Seqs(seqs) = detail else {
                return None;
            };
            any = true;
            for (first, last) in seqs.ranges() {
                let closed: Vec<u64> = self.open.range(first..=last).copied().collect();
                let count = closed.len() as u64;
                for seq in &closed {
                    self.open.remove(seq);
                }
                if name == SENT {
                    self.report.releases.sent += count;
                } else {
                    self.report.releases.aborted += count;
                }
                if count.checked_sub(1) != Some(last - first) {
                    return None;
                }
            }
        }
        any.then_some(())
    }

    fn end(&mut self, end: u64) {
        self.ended = true;
        let records = self.report.records;
        if end != records {
            self.report.find(Finding::EndDisagrees { end, records });
        }
    }

    fn finish(mut self) -> Report {
        if !self.ended {
            self.report.find(Finding::Truncated);
        }
        let records = self.report.records;
        for ((size, _), (root, source_of)) in std::mem::take(&mut self.ahead) {
            self.claim(size, root, source_of);
            self.report.find(Finding::TailCut {
                from: self.report.signed,
                size,
                records: self.next,
                source_of,
            });
        }
        let fitting = self.report.checkpoints.export + self.report.checkpoints.kept;
        if !self.tree.broken && !self.diverged {
            let unsigned = self.next - self.report.signed;
            let span = |since: Timestamp| {
                let newest = self.newest_at.unwrap_or(since).micros();
                newest.saturating_sub(since.micros()) / 1_000_000
            };
            let seconds = self.unsigned_since.map_or(0, span);
            if fitting == 0 {
                self.report.find(Finding::NothingSigned { records });
            } else if seconds > MAX_UNSIGNED_SECS {
                self.report.find(Finding::UnsignedTail {
                    records: unsigned,
                    seconds,
                });
            } else if unsigned > 0 {
                self.report.warn(Warning::Unsigned { records: unsigned });
            }
        }
        self.report.releases.open = self.open.len() as u64;
        if !self.tree.broken {
            self.report.root = Some(self.tree.stored.root());
        }
        self.report
    }
}

/// The tree of the stored leaf hashes and, where they differ, that of the hashes computed from the
/// records: an edit of only one of the two leaves the other fitting the checkpoints.
#[derive(Default)]
struct Trees {
    stored: Frontier,
    computed: Option<Frontier>,
    /// A record is missing, so that no later root can be computed.
    broken: bool,
}

impl Trees {
    fn push(&mut self, stored: Hash, computed: Hash) {
        if self.computed.is_none() && stored != computed {
            self.computed = Some(self.stored.clone());
        }
        if let Some(tree) = &mut self.computed {
            tree.push(computed);
        }
        self.stored.push(stored);
    }

    /// Whether either tree has this root; both go on from the one that has.
    fn fits(&mut self, root: &Hash) -> bool {
        if self.stored.root() == *root {
            self.computed = None;
            return true;
        }
        match self.computed.take_if(|tree| tree.root() == *root) {
            Some(tree) => {
                self.stored = tree;
                true
            }
            None => false,
        }
    }
}
