//! The same verdicts by the verifier in another language: `python3`, or the interpreter that
//! `STRONGROOM_TEST_PYTHON` names, with the package `cryptography`.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::log::{Log, check, keys};
use crate::audit::*;

struct Second {
    folder: tempfile::TempDir,
    program: PathBuf,
    interpreter: OsString,
}

impl Second {
    fn new() -> Self {
        let program = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/python/audit_verify.py");
        let interpreter = std::env::var_os("STRONGROOM_TEST_PYTHON");
        let interpreter = interpreter.unwrap_or_else(|| "python3".into());
        let probe = Command::new(&interpreter)
            .args(["-c", "import cryptography"])
            .output();
        assert!(
            probe.is_ok_and(|output| output.status.success()),
            "this test needs python3 with the package `cryptography`, see {}; \
             STRONGROOM_TEST_PYTHON can name another interpreter",
            program.display()
        );
        Self {
            folder: tempfile::tempdir().unwrap(),
            program,
            interpreter,
        }
    }

    /// Both verifiers must say the same, finding for finding.
    fn compare(&self, what: &str, export: &[u8], kept: &[String]) -> Report {
        let report = check(export, kept);
        let path = self.folder.path().join("export.ndjson");
        std::fs::write(&path, export).unwrap();
        let mut command = Command::new(&self.interpreter);
        command.arg(&self.program).arg(&path);
        command.arg(keys()[0].to_string());
        for (index, note) in kept.iter().enumerate() {
            let path = self.folder.path().join(format!("{index}.note"));
            std::fs::write(&path, note).unwrap();
            command.arg("--checkpoint").arg(path);
        }
        let output = command.output().unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(errors.is_empty(), "{what}: {errors}");
        let mut lines = text.lines();
        let verdict = lines.next().unwrap();
        let theirs: Vec<serde_json::Value> = lines
            .map(|line| serde_json::from_str(line).unwrap())
            .collect();
        let ours = serde_json::to_value(&report.findings).unwrap();
        assert_eq!(serde_json::Value::Array(theirs), ours, "{what}: {report}");
        assert_eq!(verdict.starts_with("OK: "), report.is_ok(), "{what}");
        assert_eq!(output.status.code(), Some(i32::from(!report.is_ok())));
        if report.is_ok() {
            let (records, signed) = (report.records, report.signed);
            let root = hex::encode(report.root.unwrap());
            let expected = format!("OK: {records} records, {signed} signed root {root}");
            assert_eq!(verdict, expected);
        }
        report
    }
}

#[test]
fn a_second_implementation_comes_to_the_same_verdicts() {
    let second = Second::new();
    let log = Log::new(7, &[3, 7]);
    let notes: Vec<String> = [0, 5, 7].map(|size| Log::new(size, &[]).note()).to_vec();
    assert!(second.compare("good", &log.export(), &[]).is_ok());
    assert!(second.compare("good", &log.export(), &notes).is_ok());
    assert!(
        second
            .compare("large", &Log::new(700, &[1, 64, 699]).export(), &[])
            .is_ok()
    );

    let lines = log.lines();
    for index in 0..lines.len() {
        // One byte early, in the middle and late in the line.
        for part in 1..4 {
            let mut changed = lines.clone();
            let position = changed[index].len() * part / 4;
            changed[index][position] ^= 1;
            let what = format!("flip in line {index}, part {part}");
            assert!(!second.compare(&what, &changed.concat(), &[]).is_ok());
        }
        let mut changed = lines.clone();
        changed.remove(index);
        second.compare(&format!("drop {index}"), &changed.concat(), &notes);
        changed = lines.clone();
        changed.insert(index, lines[index].clone());
        second.compare(&format!("double {index}"), &changed.concat(), &[]);
        changed = lines.clone();
        changed.truncate(index);
        second.compare(&format!("cut at {index}"), &changed.concat(), &[]);
        if index > 0 {
            changed = lines.clone();
            changed.swap(index - 1, index);
            second.compare(&format!("swap {index}"), &changed.concat(), &[]);
        }
    }
}

#[test]
fn a_second_implementation_sees_the_same_rewritten_logs() {
    let second = Second::new();
    let log = Log::new(7, &[3, 7]);
    let mut edited = log.clone();
    edited.records[4].record = Log::record(3, 9).to_bytes().unwrap();
    second.compare("record edited", &edited.export(), &[]);
    edited.records[4].leaf = leaf_hash(&edited.records[4].record);
    let report = second.compare("leaf edited as well", &edited.export(), &[]);
    assert!(!report.is_ok());
    edited.tree = Frontier::new();
    edited
        .records
        .iter()
        .for_each(|record| edited.tree.push(record.leaf));
    edited.checkpoints.truncate(1);
    edited.sign();
    let report = second.compare("signed again", &edited.export(), &[]);
    assert!(report.is_ok(), "the holder of the key can, but:");
    let report = second.compare("split view", &edited.export(), &[log.note()]);
    assert!(!report.is_ok());

    let mut cut = log.clone();
    cut.records.truncate(5);
    assert!(!second.compare("tail cut", &cut.export(), &[]).is_ok());
    cut.checkpoints.pop();
    let report = second.compare("tail cut, kept", &cut.export(), &[log.note()]);
    assert!(!report.is_ok());
    cut.checkpoints.clear();
    assert!(!second.compare("unsigned", &cut.export(), &[]).is_ok());

    let mut binary = log.clone();
    binary.records[2].record = b"\xff\xfe".to_vec();
    assert!(!second.compare("not text", &binary.export(), &[]).is_ok());
    let mut strange = Log::new(2, &[]);
    for text in [
        r#"{"at":0,"kind":"service.started","name":"x","v":1}"#,
        r#"{"at":0,"detail":{"a":"it@example.com"},"kind":"service.started","v":1}"#,
        r#"{"at":0,"detail":{"a":[[1,2],[3,4]]},"kind":"service.started","v":1}"#,
        r#"{"at":0,"detail":{"sent":1},"kind":"release.outcome","v":1}"#,
        r#"{"at": 0,"kind":"service.started","v":1}"#,
        "[]",
    ] {
        let (seq, leaf) = (strange.tree.size(), leaf_hash(text.as_bytes()));
        strange.tree.push(leaf);
        strange.records.push(export::StoredRecord {
            seq,
            leaf,
            record: text.into(),
        });
    }
    strange.sign();
    assert!(!second.compare("no records", &strange.export(), &[]).is_ok());
}
