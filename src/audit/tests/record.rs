use std::collections::BTreeMap;

use proptest::prelude::*;

use crate::audit::record::{ABORTED, SENT, Word};
use crate::audit::*;
use crate::model::{CredentialId, KeyId, RequestId, Timestamp, VersionId, WorkloadId};

const ULID: &str = "01kaqz3m8v7d6k2n4p9r5s1t0x";

fn full() -> Record {
    Record {
        at: Timestamp::from_micros(1_763_887_000_000_001),
        kind: Kind::ReleaseOutcome,
        request: Some(RequestId::from_bytes([1; 16])),
        actor: Some(crate::model::PrincipalId::Workload(WorkloadId::from_bytes(
            [2; 16],
        ))),
        key: Some(KeyId::from_bytes([3; 16])),
        subjects: vec![
            CredentialId::from_bytes([4; 16]).into(),
            Subject::Numbered(CredentialId::from_bytes([4; 16]), 3),
            VersionId::from_bytes([5; 16]).into(),
        ],
        detail: BTreeMap::from([
            ("word", Detail::Word("tech-ops")),
            ("number", Detail::Number(-7)),
            ("time", Detail::Time(Timestamp::from_micros(1_500_000))),
            ("digest", Detail::Digest([0xab; 32])),
            ("id", Detail::Id(KeyId::from_bytes([6; 16]).into())),
            ("words", Detail::Words(vec!["name", "slug"])),
            ("numbers", Detail::Numbers(vec![3, 1])),
            ("ids", Detail::Ids(vec![KeyId::from_bytes([6; 16]).into()])),
            (SENT, Detail::Seqs([5, 3, 4, 9].into_iter().collect())),
            (ABORTED, Detail::Seqs(SeqRanges::default())),
        ]),
    }
}

#[test]
fn a_record_has_one_form_and_comes_back() {
    let bytes = full().to_bytes().unwrap();
    let text = std::str::from_utf8(&bytes).unwrap();
    let digest = "ab".repeat(32);
    let (w, k, r) = (
        WorkloadId::from_bytes([2; 16]),
        KeyId::from_bytes([3; 16]),
        RequestId::from_bytes([1; 16]),
    );
    let (c, v, k6) = (
        CredentialId::from_bytes([4; 16]),
        VersionId::from_bytes([5; 16]),
        KeyId::from_bytes([6; 16]),
    );
    let expected = format!(
        r#"{{"actor":"{w}","at":1763887000000001,"detail":{{"digest":"sha256:{digest}","id":"{k6}","ids":["{k6}"],"number":-7,"numbers":[3,1],"sent":[[3,5],[9,9]],"time":"1970-01-01T00:00:01.500000Z","word":"tech-ops","words":["name","slug"]}},"key":"{k}","kind":"release.outcome","request":"{r}","subjects":["{c}","{c}#3","{v}"],"v":1}}"#
    );
    assert_eq!(text, expected);
    let parsed = ParsedRecord::parse(&bytes).unwrap();
    assert_eq!(parsed.to_bytes().unwrap(), bytes);
    assert_eq!(parsed.subjects, full().subjects);
    assert!(
        matches!(parsed.detail.get("word"), Some(Detail::Word(word)) if word.text() == "tech-ops")
    );
    assert!(matches!(parsed.detail.get("sent"), Some(Detail::Seqs(seqs)) if seqs.count() == 4));
    assert!(!parsed.detail.contains_key("aborted"));
}

#[test]
fn absent_fields_are_left_out() {
    let record = Record {
        at: Timestamp::from_micros(0),
        kind: Kind::ServiceStarted,
        request: None,
        actor: None,
        key: None,
        subjects: Vec::new(),
        detail: BTreeMap::from([("words", Detail::Words(Vec::new()))]),
    };
    let bytes = record.to_bytes().unwrap();
    assert_eq!(bytes, br#"{"at":0,"kind":"service.started","v":1}"#);
    assert!(ParsedRecord::parse(&bytes).unwrap().detail.is_empty());
}

#[test]
fn anything_but_the_canonical_form_is_refused() {
    for text in [
        "",
        "null",
        "[]",
        r#"{"at":0,"kind":"service.started"}"#,
        r#"{"at":0,"kind":"service.started","v":2}"#,
        r#"{"at":0,"kind":"service.started","v":1} "#,
        r#" {"at":0,"kind":"service.started","v":1}"#,
        r#"{"at": 0,"kind":"service.started","v":1}"#,
        r#"{"kind":"service.started","at":0,"v":1}"#,
        r#"{"at":0,"at":0,"kind":"service.started","v":1}"#,
        r#"{"at":0,"kind":"service.\u0073tarted","v":1}"#,
        r#"{"at":0,"kind":"service.unknown","v":1}"#,
        r#"{"at":0.0,"kind":"service.started","v":1}"#,
        r#"{"at":-1,"kind":"service.started","v":1}"#,
        r#"{"at":0,"kind":"service.started","name":"x","v":1}"#,
        r#"{"at":0,"detail":{},"kind":"service.started","v":1}"#,
        r#"{"at":0,"detail":{"a":[]},"kind":"service.started","v":1}"#,
        r#"{"at":0,"detail":{"a":1.5},"kind":"service.started","v":1}"#,
        r#"{"at":0,"detail":{"a":null},"kind":"service.started","v":1}"#,
        r#"{"at":0,"detail":{"a":true},"kind":"service.started","v":1}"#,
        r#"{"at":0,"detail":{"a":{}},"kind":"service.started","v":1}"#,
        r#"{"at":0,"detail":{"a":"Example Realty"},"kind":"service.started","v":1}"#,
        r#"{"at":0,"detail":{"a":"it@example.com"},"kind":"service.started","v":1}"#,
        r#"{"at":0,"detail":{"a":"sha256:AB"},"kind":"service.started","v":1}"#,
        r#"{"at":0,"detail":{"a":[1,"b"]},"kind":"service.started","v":1}"#,
        r#"{"at":0,"detail":{"a":[[2,1]]},"kind":"service.started","v":1}"#,
        r#"{"at":0,"detail":{"a":[[1,2],[3,4]]},"kind":"service.started","v":1}"#,
        r#"{"at":0,"detail":{"a":[[1,2,3]]},"kind":"service.started","v":1}"#,
        r#"{"at":0,"detail":{"A":1},"kind":"service.started","v":1}"#,
        r#"{"at":0,"kind":"service.started","subjects":[],"v":1}"#,
        r#"{"at":0,"kind":"service.started","subjects":["x"],"v":1}"#,
        r#"{"actor":"pkey_01kaqz3m8v7d6k2n4p9r5s1t0x","at":0,"kind":"service.started","v":1}"#,
    ] {
        assert_eq!(
            ParsedRecord::parse(text.as_bytes()),
            Err(RecordError::Malformed),
            "{text}"
        );
    }
}

#[test]
fn no_name_address_or_value_fits_into_a_detail() {
    for word in [
        "",
        "Example",
        "it@example.com",
        "a b",
        "a\"b",
        "é",
        "https://x",
        "cred_01kaqz3m8v7d6k2n4p9r5s1t0x",
    ] {
        let mut record = full();
        record.detail.insert("reason", Detail::Word(word));
        assert_eq!(record.to_bytes(), Err(RecordError::Word), "{word}");
        let mut record = full();
        record.detail.insert("reason", Detail::Words(vec![word]));
        assert_eq!(record.to_bytes(), Err(RecordError::Word), "{word}");
        let mut record = full();
        record.detail.insert(word, Detail::Number(1));
        assert_eq!(record.to_bytes(), Err(RecordError::Word), "{word}");
    }
    let mut record = full();
    record.at = Timestamp::from_micros(-1);
    assert_eq!(record.to_bytes(), Err(RecordError::Time));
    record.at = Timestamp::from_micros(i64::MAX);
    assert_eq!(record.to_bytes(), Err(RecordError::Time));
}

#[test]
fn the_largest_intent_fits() {
    let mut record = full();
    record.kind = Kind::ReleaseIntent;
    record.detail.clear();
    record.subjects = (0..MAX_INTENT_VERSIONS)
        .map(|_| Subject::Numbered(CredentialId::from_bytes([255; 16]), u64::MAX))
        .collect();
    let bytes = record.to_bytes().unwrap();
    assert!(bytes.len() < MAX_RECORD_BYTES / 2, "{}", bytes.len());
    assert_eq!(
        ParsedRecord::parse(&bytes).unwrap().subjects,
        record.subjects
    );
    record.subjects = vec![record.subjects[0]; 2_000];
    assert_eq!(record.to_bytes(), Err(RecordError::TooLarge));
    assert_eq!(
        ParsedRecord::parse(&[b' '; MAX_RECORD_BYTES + 1]),
        Err(RecordError::TooLarge)
    );
}

#[test]
fn every_kind_and_subject_has_its_text() {
    let texts: std::collections::BTreeSet<&str> = Kind::ALL.iter().map(|it| it.as_str()).collect();
    assert_eq!(texts.len(), Kind::ALL.len(), "two kinds share a text");
    for kind in Kind::ALL {
        assert_eq!(kind.as_str().parse::<Kind>(), Ok(*kind));
    }
    for prefix in [
        "clnt", "cont", "cred", "vers", "role", "envt", "wkld", "oper", "pkey", "auth", "kek",
        "skey", "req", "enrt",
    ] {
        let text = format!("{prefix}_{ULID}");
        assert_eq!(text.parse::<Subject>().unwrap().to_string(), text);
    }
    for text in [
        format!("cred_{ULID}#"),
        format!("cred_{ULID}#+1"),
        format!("cred_{ULID}#01"),
        format!("cred_{ULID}#1#1"),
        format!("role_{ULID}#1"),
        format!("nope_{ULID}"),
        ULID.to_owned(),
    ] {
        assert!(text.parse::<Subject>().is_err(), "{text}");
    }
}

proptest! {
    #[test]
    fn what_parses_gives_the_same_bytes(position in 0_usize..400, byte: u8) {
        let mut bytes = full().to_bytes().unwrap();
        let position = position % bytes.len();
        bytes[position] = byte;
        if let Ok(parsed) = ParsedRecord::parse(&bytes) {
            prop_assert_eq!(parsed.to_bytes().unwrap(), bytes);
        }
    }

    #[test]
    fn ranges_hold_what_was_put_in(numbers in prop::collection::btree_set(0_u64..60, 0..40)) {
        let ranges: SeqRanges = numbers.iter().copied().collect();
        let held: Vec<u64> = ranges.ranges().iter().flat_map(|(a, b)| *a..=*b).collect();
        prop_assert_eq!(held, numbers.iter().copied().collect::<Vec<_>>());
        prop_assert_eq!(ranges.count(), numbers.len() as u64);
    }
}
