use std::collections::BTreeMap;

use super::log::{Log, check, keys, origin};
use crate::audit::export::{StoredRecord, checkpoint_line, end_line, header_line};
use crate::audit::record::{ABORTED, SENT};
use crate::audit::*;
use crate::model::Timestamp;

/// Twelve records, signed after 4, 8 and 12.
fn sample() -> Log {
    Log::new(12, &[4, 8, 12])
}

/// The line of a record in [`sample`]: header first, a checkpoint after each fourth.
fn line_of(seq: u64) -> u64 {
    seq + 2 + seq / 4
}

/// Whether a finding leads to the changed line, or the changed record.
fn leads_to(finding: &Finding, line: u64, seq: u64) -> bool {
    match *finding {
        Finding::RecordEdited { seq: at } | Finding::RecordMalformed { seq: at } => at == seq,
        Finding::RangeEdited { from, to, .. } => (from..to).contains(&seq),
        Finding::RecordsMissing { first, last, .. } => (first..=last).contains(&seq),
        Finding::TailCut { from, size, .. } => (from..size).contains(&seq),
        Finding::LineMalformed { line: at }
        | Finding::CheckpointNotGrowing { line: at, .. }
        | Finding::CheckpointOutOfPlace { line: at, .. }
        | Finding::RecordOutOfPlace { line: at, .. }
        | Finding::AfterEnd { line: at } => at.abs_diff(line) <= 1,
        Finding::CheckpointRefused { source_of, .. } | Finding::ForeignOrigin { source_of } => {
            matches!(source_of, Source::Line(at) if at == line)
        }
        Finding::NotAnExport | Finding::HeaderKey => line == 1,
        _ => false,
    }
}

/// The sequence number of a changed line's record, or of the record before it.
fn seq_near(line: u64) -> u64 {
    (0..12).rev().find(|seq| line_of(*seq) <= line).unwrap_or(0)
}

fn names(report: &Report, line: u64) -> bool {
    let seq = seq_near(line);
    report
        .findings
        .iter()
        .any(|finding| leads_to(finding, line, seq))
}

#[test]
fn a_good_export_is_proven() {
    let log = sample();
    let report = check(&log.export(), &[]);
    assert!(report.is_ok(), "{report}");
    assert_eq!((report.records, report.signed), (12, 12));
    assert_eq!(report.root, Some(log.tree.root()));
    assert_eq!(report.checkpoints.export, 3);
    assert_eq!(report.origin, Some(origin()));
    assert_eq!(report.warnings, []);
    let releases = report.releases;
    assert_eq!((releases.intents, releases.versions), (3, 3));
    assert_eq!(
        (releases.sent, releases.aborted, releases.open),
        (2, 0, 1),
        "{report}"
    );
    assert_eq!(releases.denied, 3);
    assert_eq!(report.kinds[&Kind::ReleaseIntent], 3);

    let json = serde_json::to_value(&report).unwrap();
    assert_eq!(json["root"], hex::encode(log.tree.root()));
    assert_eq!(json["kinds"]["release.denied"], 3);
    assert_eq!(json["findings"], serde_json::json!([]));
    assert!(report.to_string().starts_with("OK: strongroom/dev-"));
}

#[test]
fn checkpoints_kept_elsewhere_count_as_well() {
    let mut log = sample();
    let kept: Vec<String> = [0, 3, 4, 10, 12]
        .map(|size| Log::new(size, &[]).note())
        .to_vec();
    let report = check(&log.export(), &kept);
    assert!(report.is_ok(), "{report}");
    assert_eq!((report.checkpoints.export, report.checkpoints.kept), (3, 5));
    log.checkpoints.clear();
    let report = check(&log.export(), &kept);
    assert!(report.is_ok(), "{report}");
    assert_eq!((report.signed, report.checkpoints.kept), (12, 5));
}

#[test]
fn no_changed_byte_passes_and_its_place_is_named() {
    let lines = sample().lines();
    for index in 0..lines.len() {
        for position in 0..lines[index].len() {
            for flip in [1, 0x20, 0x80] {
                let mut changed = lines.clone();
                changed[index][position] ^= flip;
                let report = check(&changed.concat(), &[]);
                let number = index as u64 + 1;
                let what = format!("line {number} byte {position} flip {flip}: {report}");
                assert!(!report.is_ok(), "{what}");
                // The header and the end speak of the whole log.
                if index != 0 && index != lines.len() - 1 {
                    assert!(names(&report, number), "{what}");
                }
            }
        }
    }
}

#[test]
fn no_dropped_record_passes() {
    let lines = sample().lines();
    for index in 0..lines.len() {
        let mut changed = lines.clone();
        changed.remove(index);
        let report = check(&changed.concat(), &[]);
        let number = index as u64 + 1;
        if lines[index].starts_with(b"{\"checkpoint") {
            // A checkpoint may go: a later one, or one kept elsewhere, says all that it said.
            assert!(report.is_ok(), "{report}");
            let last = number == line_of(11) + 1;
            assert_eq!(report.signed, if last { 8 } else { 12 });
            let unsigned = Warning::Unsigned { records: 4 };
            assert_eq!(report.warnings.contains(&unsigned), last);
        } else {
            assert!(!report.is_ok(), "line {number}");
            let end = number == lines.len() as u64;
            assert!(
                names(&report, number) || (end && report.findings == [Finding::Truncated]),
                "line {number}: {report}"
            );
        }
    }
}

#[test]
fn no_doubled_line_passes() {
    let lines = sample().lines();
    for index in 0..lines.len() {
        let mut changed = lines.clone();
        changed.insert(index, lines[index].clone());
        let report = check(&changed.concat(), &[]);
        assert!(names(&report, index as u64 + 1), "line {index}: {report}");
    }
}

#[test]
fn no_exchanged_lines_pass() {
    let lines = sample().lines();
    for first in 0..lines.len() {
        for second in first + 1..lines.len() {
            let mut changed = lines.clone();
            changed.swap(first, second);
            let report = check(&changed.concat(), &[]);
            assert!(!report.is_ok(), "{first} {second}");
            if first > 0 {
                assert!(
                    names(&report, first as u64 + 1) || names(&report, second as u64 + 1),
                    "{first} {second}: {report}"
                );
            }
        }
    }
}

#[test]
fn no_truncated_file_passes() {
    let export = sample().export();
    for end in 0..export.len() {
        let report = check(&export[..end], &[]);
        assert!(!report.is_ok(), "{end}");
        if report.origin.is_some() {
            assert!(report.findings.contains(&Finding::Truncated), "{end}");
        }
    }
}

/// Puts another record in the place of `seq`, with its leaf, as one does who can write the table.
fn rewrite(log: &mut Log, seq: usize) {
    let other = Log::record(3, 999).to_bytes().unwrap();
    log.records[seq].leaf = leaf_hash(&other);
    log.records[seq].record = other;
}

fn renumber(log: &mut Log) {
    for (seq, record) in (0..).zip(&mut log.records) {
        record.seq = seq;
    }
}

/// The records of which at least one was changed. A dropped record leaves one too few for the last
/// checkpoint, which is then a cut tail; here it is looked at only if no other range is given.
fn range(report: &Report) -> Option<(u64, u64)> {
    let mut ranges = report.findings.iter().filter_map(|finding| match finding {
        Finding::RangeEdited { from, to, .. } => Some((*from, *to)),
        _ => None,
    });
    let first = ranges.next();
    assert_eq!(ranges.next(), None, "one range only: {report}");
    first.or_else(|| {
        report.findings.iter().find_map(|finding| match finding {
            Finding::TailCut { from, size, .. } => Some((*from, *size)),
            _ => None,
        })
    })
}

#[test]
fn a_record_edited_with_its_leaf_is_found_between_two_checkpoints() {
    for seq in 0..12 {
        let mut log = sample();
        rewrite(&mut log, seq);
        let report = check(&log.export(), &[]);
        let from = seq as u64 / 4 * 4;
        assert_eq!(range(&report), Some((from, from + 4)), "{seq}: {report}");
        // A checkpoint from elsewhere makes the range smaller.
        let kept: Vec<String> = (0..12).map(|size| Log::new(size, &[]).note()).collect();
        let report = check(&log.export(), &kept);
        assert_eq!(range(&report), Some((seq as u64, seq as u64 + 1)));
    }
}

#[test]
fn an_edited_leaf_alone_names_the_record_only() {
    let mut log = sample();
    log.records[5].leaf[0] ^= 1;
    let report = check(&log.export(), &[]);
    assert_eq!(report.findings, [Finding::RecordEdited { seq: 5 }]);
    assert_eq!(report.signed, 12);
    let mut log = sample();
    log.records[5].record = b"\xff".to_vec();
    let report = check(&log.export(), &[]);
    assert_eq!(report.findings, [Finding::RecordEdited { seq: 5 }]);
}

#[test]
fn records_dropped_added_or_exchanged_with_new_numbers_are_found() {
    for seq in 0..11 {
        let expected = Some((seq as u64 / 4 * 4, seq as u64 / 4 * 4 + 4));
        let mut dropped = sample();
        dropped.records.remove(seq);
        renumber(&mut dropped);
        assert_eq!(range(&check(&dropped.export(), &[])), expected);

        let mut added = sample();
        added.records.insert(seq, added.records[seq].clone());
        renumber(&mut added);
        // The copy is the first record that stands where another one stood.
        let from = (seq as u64 + 1) / 4 * 4;
        let report = check(&added.export(), &[]);
        assert_eq!(range(&report), Some((from, from + 4)), "{seq}: {report}");

        let mut exchanged = sample();
        exchanged.records.swap(seq, seq + 1);
        renumber(&mut exchanged);
        assert_eq!(range(&check(&exchanged.export(), &[])), expected);
    }
}

#[test]
fn a_cut_tail_shows_against_any_later_checkpoint() {
    let mut cut = sample();
    cut.records.truncate(8);
    // The checkpoint of the cut records still lies in the table.
    let size_and_records = (12, 8);
    let report = check(&cut.export(), &[]);
    let tail = |report: &Report| {
        report.findings.iter().find_map(|finding| match finding {
            Finding::TailCut { size, records, .. } => Some((*size, *records)),
            _ => None,
        })
    };
    assert_eq!(tail(&report), Some(size_and_records), "{report}");
    // It was taken away as well: only one that was kept elsewhere tells.
    cut.checkpoints.pop();
    assert!(check(&cut.export(), &[]).is_ok());
    let report = check(&cut.export(), &[sample().note()]);
    assert_eq!(
        report.findings,
        [Finding::TailCut {
            from: 8,
            size: 12,
            records: 8,
            source_of: Source::Kept(1)
        }]
    );
    // And if other records were put in its place, under the true key:
    for _ in 8..12 {
        cut.push(&Log::record(3, 999));
    }
    let mut forged = Log::default();
    for record in &cut.records {
        forged.tree.push(record.leaf);
        forged.records.push(record.clone());
    }
    renumber(&mut forged);
    forged.sign();
    let report = check(&forged.export(), &[sample().note()]);
    assert!(report.findings.contains(&Finding::SplitView {
        size: 12,
        source_of: Source::Line(14)
    }));
    assert!(range(&report).is_some());
}

#[test]
fn two_histories_in_kept_checkpoints_are_a_split_view() {
    let mut other = sample();
    rewrite(&mut other, 2);
    other.tree = Frontier::new();
    other
        .records
        .iter()
        .for_each(|record| other.tree.push(record.leaf));
    let report = check(&sample().export(), &[sample().note(), other.note()]);
    assert!(report.findings.contains(&Finding::SplitView {
        size: 12,
        source_of: Source::Kept(2)
    }));
    // Also beyond the end.
    let report = check(
        &Log::new(4, &[4]).export(),
        &[sample().note(), other.note()],
    );
    assert!(report.findings.contains(&Finding::SplitView {
        size: 12,
        source_of: Source::Kept(2)
    }));
}

#[test]
fn taking_the_checkpoints_away_does_not_hide_an_edit() {
    let slow = |checkpoints: &[u64]| {
        let mut log = Log::default();
        for seq in 0..12 {
            log.push(&Log::record(seq, 30_000_000 * i64::try_from(seq).unwrap()));
            if checkpoints.contains(&(seq + 1)) {
                log.sign();
            }
        }
        log
    };
    assert!(check(&slow(&[4, 11]).export(), &[]).is_ok());
    let mut log = slow(&[4]);
    let record = Log::record(3, 30_000_000 * 9).to_bytes().unwrap();
    log.records[9].leaf = leaf_hash(&record);
    log.records[9].record = record;
    let report = check(&log.export(), &[]);
    assert!(report.findings.contains(&Finding::UnsignedTail {
        records: 8,
        seconds: 210
    }));
    let report = check(&slow(&[]).export(), &[]);
    assert_eq!(report.findings, [Finding::NothingSigned { records: 12 }]);
    let empty = [header_line(&origin(), None), end_line(0)].concat();
    let report = check(&empty, &[]);
    assert_eq!(report.findings, [Finding::NothingSigned { records: 0 }]);
}

#[test]
fn other_keys_and_other_logs_are_refused() {
    let log = sample();
    let stranger = Signer::from_seed(origin(), &[8; 32]).unwrap();
    // The auditor brought another key of the same name.
    let report = verify(&log.export()[..], &[stranger.verifier().clone()], &[]).unwrap();
    assert_eq!(report.findings[0], Finding::HeaderKey);
    assert_eq!(
        report.findings[1],
        Finding::CheckpointRefused {
            source_of: Source::Line(6),
            reason: NoteError::UnknownKey
        }
    );
    assert!(
        report
            .findings
            .contains(&Finding::NothingSigned { records: 12 })
    );
    // After a change of keys the auditor brings both.
    let both = [stranger.verifier().clone(), keys().remove(0)];
    assert!(verify(&log.export()[..], &both, &[]).unwrap().is_ok());
    // A checkpoint of the same deployment's other node, or of an earlier beginning.
    for text in [
        "strongroom/dev-01kaqz3m8v7d6k2n4p9r5s1t0x/node-b/1",
        "strongroom/dev-01kaqz3m8v7d6k2n4p9r5s1t0x/node-a/2",
    ] {
        let other = Signer::from_seed(text.parse().unwrap(), &super::log::SEED).unwrap();
        let note = other.sign(&log.tree, Timestamp::from_secs(5));
        let report = check(&log.export(), std::slice::from_ref(&note));
        let source_of = Source::Kept(1);
        assert_eq!(report.findings, [Finding::ForeignOrigin { source_of }]);
        // The export says that it is of that other log, with this log's checkpoints.
        let mut lines = log.lines();
        lines[0] = header_line(other.origin(), None);
        let report = check(&lines.concat(), &[note]);
        assert!(report.findings.contains(&Finding::ForeignOrigin {
            source_of: Source::Line(6)
        }));
    }
    let elsewhere: Origin = "strongroom/dev-other/node-a/1".parse().unwrap();
    let mut lines = log.lines();
    lines[0] = header_line(&elsewhere, None);
    assert_eq!(
        check(&lines.concat(), &[]).findings[0],
        Finding::ForeignOrigin {
            source_of: Source::Header
        }
    );
    let report = check(&log.export(), &["rubbish".to_owned()]);
    assert_eq!(
        report.findings,
        [Finding::CheckpointRefused {
            source_of: Source::Kept(1),
            reason: NoteError::Malformed
        }]
    );
}

#[test]
fn a_checkpoint_may_not_shrink() {
    let log = sample();
    let mut lines = log.lines();
    let at = lines.len() - 1;
    lines.insert(at, checkpoint_line(&log.checkpoints[0].1));
    assert_eq!(
        check(&lines.concat(), &[]).findings,
        [Finding::CheckpointNotGrowing {
            line: at as u64 + 1,
            size: 4
        }]
    );
}

#[test]
fn what_is_signed_but_no_record_is_named() {
    let mut log = Log::new(2, &[]);
    let record = br#"{"at":0,"kind":"service.started","name":"x","v":1}"#.to_vec();
    let leaf = leaf_hash(&record);
    log.tree.push(leaf);
    log.records.push(StoredRecord {
        seq: 2,
        leaf,
        record,
    });
    log.sign();
    assert_eq!(
        check(&log.export(), &[]).findings,
        [Finding::RecordMalformed { seq: 2 }]
    );
}

#[test]
fn outcomes_refer_to_earlier_open_intents() {
    let outcome = |detail: BTreeMap<&'static str, Detail>| Record {
        kind: Kind::ReleaseOutcome,
        detail,
        ..Log::record(3, 2_000_000)
    };
    let seqs = |seqs: &[u64]| Detail::Seqs(seqs.iter().copied().collect());
    let check_after = |records: &[Record]| {
        // Intents at 0 and 4.
        let mut log = Log::new(5, &[]);
        records.iter().for_each(|record| log.push(record));
        log.sign();
        check(&log.export(), &[])
    };
    let report = check_after(&[outcome(BTreeMap::from([
        (SENT, seqs(&[0])),
        (ABORTED, seqs(&[4])),
    ]))]);
    assert!(report.is_ok(), "{report}");
    let releases = report.releases;
    assert_eq!((releases.sent, releases.aborted, releases.open), (1, 1, 0));
    for bad in [
        vec![outcome(BTreeMap::new())],
        vec![outcome(BTreeMap::from([(SENT, Detail::Number(0))]))],
        vec![outcome(BTreeMap::from([(SENT, seqs(&[1]))]))],
        vec![outcome(BTreeMap::from([(SENT, seqs(&[0, 1]))]))],
        vec![outcome(BTreeMap::from([(SENT, seqs(&[8]))]))],
        vec![outcome(BTreeMap::from([(SENT, seqs(&[u64::MAX]))]))],
        vec![outcome(BTreeMap::from([
            (SENT, seqs(&[0])),
            (ABORTED, seqs(&[0])),
        ]))],
    ] {
        let report = check_after(&bad);
        assert_eq!(
            report.findings,
            [Finding::OutcomeWithoutIntent { seq: 5 }],
            "{report}"
        );
    }
    let once = outcome(BTreeMap::from([(SENT, seqs(&[0]))]));
    assert_eq!(
        check_after(&[once.clone(), once]).findings,
        [Finding::OutcomeWithoutIntent { seq: 6 }]
    );
}

#[test]
fn a_clock_that_went_back_is_a_warning_only() {
    let mut log = Log::new(3, &[]);
    log.push(&Log::record(3, 5));
    log.sign();
    let report = check(&log.export(), &[]);
    assert!(report.is_ok());
    assert_eq!(report.warnings, [Warning::TimeBackwards { seq: 3 }]);
}

#[test]
fn a_report_stays_small() {
    let mut log = Log::new(600, &[600]);
    log.records
        .iter_mut()
        .for_each(|record| record.leaf[0] ^= 1);
    let report = check(&log.export(), &[]);
    assert_eq!(report.findings.len(), report::MAX_LISTED);
    assert_eq!(report.left_out, 400);
}
