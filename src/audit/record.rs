//! One audit record: what may be in it, its canonical bytes, and the strict way back.
//!
//! The bytes are what is hashed into the log's tree, so there is exactly one form for each
//! record: JSON without spaces or escapes, keys sorted, integers only, and whatever is absent or
//! empty left out.
//!
//! ```json
//! {"actor":"wkld_…","at":1763887000000000,"detail":{"sent":[[17,17],[20,24]]},"key":"pkey_…","kind":"release.outcome","request":"req_…","subjects":["cred_…#3"],"v":1}
//! ```
//!
//! Promise 5 holds by construction: a [`Record`] that is about to be written can only hold ids,
//! words that stand in the source code, numbers, times and digests. There is no place for a name,
//! an address, a value or received text.

use std::{borrow::Borrow, collections::BTreeMap};

use serde::ser::{SerializeMap, SerializeSeq};
use serde::{Serialize, Serializer};
use serde_json::Value;

use super::kind::Kind;
use super::subject::Subject;
use crate::model::{KeyId, PrincipalId, RequestId, Timestamp};

/// The longest record in bytes: an entry of a log of tiles has a 16-bit length (C2SP tlog-tiles),
/// so that a log can be published in that form without a change of its leaves.
pub const MAX_RECORD_BYTES: usize = 65_535;

/// The most versions that one [`Kind::ReleaseIntent`] may name.
pub const MAX_INTENT_VERSIONS: usize = 512;

/// Detail of a [`Kind::ReleaseOutcome`]: the intents whose answer was sent in full.
pub const SENT: &str = "sent";

/// Detail of a [`Kind::ReleaseOutcome`]: the intents whose answer broke off. What they name still
/// counts as received, because nobody knows how much of it arrived.
pub const ABORTED: &str = "aborted";

/// The first microsecond of the year 10000, which RFC 3339 cannot write.
const END_OF_TIME: i64 = 253_402_300_800_000_000;

/// Why a record has no bytes, or bytes are no record. Never holds any of the text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RecordError {
    /// The bytes would be, or are, more than [`MAX_RECORD_BYTES`].
    #[error("an audit record may have at most 65535 bytes")]
    TooLarge,
    /// A fixed word or a key of the details is not 1 to 64 characters of `a-z 0-9 _ . -`, or looks
    /// like an id.
    #[error("a fixed word has 1 to 64 characters of a-z 0-9 _ . - and is no id")]
    Word,
    /// A time lies outside the years 1970 to 9999.
    #[error("a time must lie in the years 1970 to 9999")]
    Time,
    /// The bytes are not a record of this version, or not in its one canonical form.
    #[error("not an audit record in canonical form")]
    Malformed,
}

mod sealed {
    pub trait Sealed {}
    impl Sealed for &'static str {}
    impl Sealed for super::ParsedWord {}
}

/// A fixed word: text of the source code, or a word read back from a record. Sealed, so that no
/// other text can become one.
pub trait Word: sealed::Sealed + Ord {
    /// The word.
    fn text(&self) -> &str;
}

impl Word for &'static str {
    fn text(&self) -> &str {
        self
    }
}

/// A word read back from a record; only the parser makes one.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ParsedWord(Box<str>);

impl Word for ParsedWord {
    fn text(&self) -> &str {
        &self.0
    }
}

impl Borrow<str> for ParsedWord {
    fn borrow(&self) -> &str {
        &self.0
    }
}

/// Whether `text` may stand as a word: never mistaken for an id, a time or a digest.
fn is_word(text: &str) -> bool {
    (1..=64).contains(&text.len())
        && text
            .bytes()
            .all(|c| matches!(c, b'a'..=b'z' | b'0'..=b'9' | b'_' | b'.' | b'-'))
        && text.parse::<Subject>().is_err()
}

/// Sequence numbers as ranges: sorted, without overlap, neighbours joined.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SeqRanges(Vec<(u64, u64)>);

impl SeqRanges {
    /// First and last number of each range, both included.
    pub fn ranges(&self) -> &[(u64, u64)] {
        &self.0
    }

    /// How many numbers there are, saturating.
    pub fn count(&self) -> u64 {
        let length = |(first, last): &(u64, u64)| (last - first).saturating_add(1);
        self.0.iter().map(length).fold(0, u64::saturating_add)
    }
}

impl FromIterator<u64> for SeqRanges {
    fn from_iter<I: IntoIterator<Item = u64>>(numbers: I) -> Self {
        let mut numbers: Vec<u64> = numbers.into_iter().collect();
        numbers.sort_unstable();
        let mut ranges: Vec<(u64, u64)> = Vec::new();
        for number in numbers {
            match ranges.last_mut() {
                Some((_, last)) if number <= last.saturating_add(1) => *last = number,
                _ => ranges.push((number, number)),
            }
        }
        Self(ranges)
    }
}

/// One detail of a record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Detail<W = &'static str> {
    /// A fixed word.
    Word(W),
    /// A number.
    Number(i64),
    /// A time; written as RFC 3339.
    Time(Timestamp),
    /// A SHA-256; written as `sha256:` and 64 hexadecimal digits.
    Digest([u8; 32]),
    /// An id, maybe with a version's number.
    Id(Subject),
    /// Fixed words. An empty list is the same as none, as for every list.
    Words(Vec<W>),
    /// Numbers.
    Numbers(Vec<i64>),
    /// Ids.
    Ids(Vec<Subject>),
    /// Sequence numbers of this log; written as pairs of first and last.
    Seqs(SeqRanges),
}

impl<W: Word> Detail<W> {
    fn is_empty(&self) -> bool {
        match self {
            Self::Words(list) => list.is_empty(),
            Self::Numbers(list) => list.is_empty(),
            Self::Ids(list) => list.is_empty(),
            Self::Seqs(ranges) => ranges.0.is_empty(),
            Self::Word(_) | Self::Number(_) | Self::Time(_) | Self::Digest(_) | Self::Id(_) => {
                false
            }
        }
    }

    fn check(&self) -> Result<(), RecordError> {
        match self {
            Self::Word(word) => check_word(word),
            Self::Words(words) => words.iter().try_for_each(check_word),
            Self::Time(time) => check_time(*time),
            _ => Ok(()),
        }
    }
}

impl<W: Word> Serialize for Detail<W> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Word(word) => serializer.serialize_str(word.text()),
            Self::Number(number) => serializer.serialize_i64(*number),
            Self::Time(time) => time.serialize(serializer),
            Self::Digest(digest) => {
                serializer.collect_str(&format_args!("sha256:{}", hex::encode(digest)))
            }
            Self::Id(id) => id.serialize(serializer),
            Self::Words(words) => {
                let mut list = serializer.serialize_seq(Some(words.len()))?;
                for word in words {
                    list.serialize_element(word.text())?;
                }
                list.end()
            }
            Self::Numbers(numbers) => numbers.serialize(serializer),
            Self::Ids(ids) => ids.serialize(serializer),
            Self::Seqs(ranges) => ranges.0.serialize(serializer),
        }
    }
}

/// A record. Writers make a plain `Record`; [`ParsedRecord::parse`] gives the same shape back with
/// owned words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record<W: Word = &'static str> {
    /// When it was recorded.
    pub at: Timestamp,
    /// What happened.
    pub kind: Kind,
    /// The request that caused it.
    pub request: Option<RequestId>,
    /// Who caused it.
    pub actor: Option<PrincipalId>,
    /// The key by which the actor was known.
    pub key: Option<KeyId>,
    /// What it happened to, in an order that the kind gives a meaning to.
    pub subjects: Vec<Subject>,
    /// What else belongs to it.
    pub detail: BTreeMap<W, Detail<W>>,
}

/// A record read back.
pub type ParsedRecord = Record<ParsedWord>;

fn check_word<W: Word>(word: &W) -> Result<(), RecordError> {
    if is_word(word.text()) {
        Ok(())
    } else {
        Err(RecordError::Word)
    }
}

fn check_time(time: Timestamp) -> Result<(), RecordError> {
    if (0..END_OF_TIME).contains(&time.micros()) {
        Ok(())
    } else {
        Err(RecordError::Time)
    }
}

impl<W: Word> Record<W> {
    /// The canonical bytes: what is stored and hashed.
    ///
    /// # Errors
    /// A word or time is not one that a record may hold, or the record is too large.
    pub fn to_bytes(&self) -> Result<Vec<u8>, RecordError> {
        check_time(self.at)?;
        for (name, detail) in &self.detail {
            check_word(name)?;
            detail.check()?;
        }
        let bytes = serde_json::to_vec(&Canonical(self)).map_err(|_| RecordError::Malformed)?;
        if bytes.len() > MAX_RECORD_BYTES {
            return Err(RecordError::TooLarge);
        }
        Ok(bytes)
    }
}

/// Writes the fields in the order of their names.
struct Canonical<'a, W: Word>(&'a Record<W>);

impl<W: Word> Serialize for Canonical<'_, W> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let record = self.0;
        let mut map = serializer.serialize_map(None)?;
        if let Some(actor) = &record.actor {
            map.serialize_entry("actor", actor)?;
        }
        map.serialize_entry("at", &record.at.micros())?;
        if record.detail.values().any(|detail| !detail.is_empty()) {
            map.serialize_entry("detail", &Details(&record.detail))?;
        }
        if let Some(key) = &record.key {
            map.serialize_entry("key", key)?;
        }
        map.serialize_entry("kind", &record.kind)?;
        if let Some(request) = &record.request {
            map.serialize_entry("request", request)?;
        }
        if !record.subjects.is_empty() {
            map.serialize_entry("subjects", &record.subjects)?;
        }
        map.serialize_entry("v", &1)?;
        map.end()
    }
}

struct Details<'a, W: Word>(&'a BTreeMap<W, Detail<W>>);

impl<W: Word> Serialize for Details<'_, W> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let held = self.0.iter().filter(|(_, detail)| !detail.is_empty());
        serializer.collect_map(held.map(|(name, detail)| (name.text(), detail)))
    }
}

impl ParsedRecord {
    /// The details as they stand in the record: a JSON object.
    pub fn detail_text(&self) -> String {
        // Ids, words, numbers, times and digests can always be written.
        serde_json::to_string(&Details(&self.detail)).unwrap_or_default()
    }

    /// Reads a record's bytes. Whatever this accepts gives the very same bytes back.
    ///
    /// # Errors
    /// [`RecordError::TooLarge`], or [`RecordError::Malformed`] for anything that is not a record
    /// of this version in canonical form: unknown or doubled fields, spaces, another order.
    pub fn parse(bytes: &[u8]) -> Result<Self, RecordError> {
        if bytes.len() > MAX_RECORD_BYTES {
            return Err(RecordError::TooLarge);
        }
        let value: Value = serde_json::from_slice(bytes).map_err(|_| RecordError::Malformed)?;
        let record = read_record(value).ok_or(RecordError::Malformed)?;
        // serde_json is lenient about spaces, escapes, order and doubled keys; one comparison
        // with what would have been written refuses them all.
        match record.to_bytes() {
            Ok(again) if again == bytes => Ok(record),
            _ => Err(RecordError::Malformed),
        }
    }
}

fn read_record(value: Value) -> Option<ParsedRecord> {
    let Value::Object(fields) = value else {
        return None;
    };
    let (mut at, mut kind, mut version) = (None, None, None);
    let (mut request, mut actor, mut key) = (None, None, None);
    let (mut subjects, mut detail) = (Vec::new(), BTreeMap::new());
    for (name, value) in fields {
        match name.as_str() {
            "actor" => actor = Some(value.as_str()?.parse().ok()?),
            "at" => at = Some(Timestamp::from_micros(value.as_i64()?)),
            "detail" => {
                let Value::Object(entries) = value else {
                    return None;
                };
                for (name, value) in entries {
                    detail.insert(read_word(&name)?, read_detail(&value)?);
                }
            }
            "key" => key = Some(value.as_str()?.parse().ok()?),
            "kind" => kind = Some(value.as_str()?.parse().ok()?),
            "request" => request = Some(value.as_str()?.parse().ok()?),
            "subjects" => subjects = read_list(value.as_array()?, read_subject)?,
            "v" => version = Some(value.as_i64()?),
            _ => return None,
        }
    }
    (version? == 1).then_some(())?;
    Some(Record {
        at: at?,
        kind: kind?,
        request,
        actor,
        key,
        subjects,
        detail,
    })
}

fn read_list<T>(list: &[Value], read: impl Fn(&Value) -> Option<T>) -> Option<Vec<T>> {
    list.iter().map(read).collect()
}

fn read_subject(value: &Value) -> Option<Subject> {
    value.as_str()?.parse().ok()
}

fn read_word(text: &str) -> Option<ParsedWord> {
    is_word(text).then(|| ParsedWord(text.into()))
}

fn read_text(text: &str) -> Option<Detail<ParsedWord>> {
    if let Ok(id) = text.parse() {
        return Some(Detail::Id(id));
    }
    if let Some(word) = read_word(text) {
        return Some(Detail::Word(word));
    }
    if let Some(digits) = text.strip_prefix("sha256:") {
        let mut digest = [0; 32];
        hex::decode_to_slice(digits, &mut digest).ok()?;
        return Some(Detail::Digest(digest));
    }
    text.parse().ok().map(Detail::Time)
}

/// Which kind of detail a JSON value is; the forms never overlap. A list of nothing is never
/// written, so that it needs no kind.
fn read_detail(value: &Value) -> Option<Detail<ParsedWord>> {
    match value {
        Value::String(text) => read_text(text),
        Value::Number(number) => number.as_i64().map(Detail::Number),
        Value::Array(list) => match list.first()? {
            Value::Number(_) => read_list(list, Value::as_i64).map(Detail::Numbers),
            Value::Array(_) => read_ranges(list).map(Detail::Seqs),
            first if read_subject(first).is_some() => {
                read_list(list, read_subject).map(Detail::Ids)
            }
            _ => read_list(list, |value| read_word(value.as_str()?)).map(Detail::Words),
        },
        _ => None,
    }
}

fn read_ranges(list: &[Value]) -> Option<SeqRanges> {
    let ranges = read_list(list, |pair| match pair.as_array()?.as_slice() {
        [first, last] => Some((first.as_u64()?, last.as_u64()?)),
        _ => None,
    })?;
    let joined = |pair: &[(u64, u64)]| pair[1].0 <= pair[0].1.saturating_add(1);
    let canonical =
        ranges.iter().all(|(first, last)| first <= last) && !ranges.windows(2).any(joined);
    canonical.then_some(SeqRanges(ranges))
}
