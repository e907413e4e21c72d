//! The export of one log: a text file of JSON lines that can be written and read as a stream.
//!
//! ```text
//! {"v":1,"deployment":"prod-01…","node":"node-a","epoch":1,"vkey":"strongroom-prod-01…+…+…"}
//! {"seq":0,"leaf":"<base64 of the stored leaf hash>","record":"{\"at\":…,\"v\":1}"}
//! {"seq":1,"leaf":"…","record":"…"}
//! {"checkpoint":"strongroom/prod-01…/node-a/1\n2\n<root>\nat …\n\n— strongroom-prod-01… …\n"}
//! {"seq":2,"leaf":"…","record":"…"}
//! {"end":3}
//! ```
//!
//! A checkpoint of size n stands right after record n-1. A record's bytes are a JSON string, so
//! that the file can be searched for an id; a record that is not UTF-8, which only tampering
//! makes, comes as `"record64"` in base64, so that the exact bytes survive. Each line has one form
//! only. The `vkey` of the header is a hint: a verifier uses the key that the auditor brought.

use std::io::{self, BufRead, Read, Write};

use base64::{Engine, engine::general_purpose::STANDARD};
use serde::{Deserialize, Serialize};

use super::checkpoint::Origin;
use super::merkle::Hash;
use super::note::VerifierKey;
use crate::model::Slug;

/// The version of the format.
pub const VERSION: u32 = 1;

/// The longest line that is read: a record of which every byte needs an escape, and some more.
pub const MAX_LINE_BYTES: usize = 7 * super::MAX_RECORD_BYTES;

/// A record as it is stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredRecord {
    /// Its place in the log, from 0.
    pub seq: u64,
    /// The leaf hash that was stored beside it.
    pub leaf: Hash,
    /// Its bytes.
    pub record: Vec<u8>,
}

/// A line of an export.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Line {
    /// The first line.
    Header {
        /// Which log it says it is.
        origin: Origin,
        /// The key that it says signed the log; a hint, never trusted.
        vkey: Option<String>,
    },
    /// A record.
    Record(StoredRecord),
    /// A signed note, after the last record that it covers.
    Checkpoint(String),
    /// The last line: how many records there are.
    End(u64),
}

/// The lines as they look in the file. The order of the fields is the order of declaration.
#[derive(Serialize, Deserialize)]
#[serde(untagged)]
enum Form {
    Header(HeaderForm),
    Record(RecordForm),
    Checkpoint(CheckpointForm),
    End(EndForm),
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct HeaderForm {
    v: u32,
    deployment: Slug,
    node: Slug,
    epoch: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    vkey: Option<String>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct RecordForm {
    seq: u64,
    leaf: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    record: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    record64: Option<String>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct CheckpointForm {
    checkpoint: String,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct EndForm {
    end: u64,
}

fn to_line(form: &impl Serialize) -> Vec<u8> {
    // Writing numbers and strings to memory cannot fail; an empty line is refused by every reader.
    let mut line = serde_json::to_vec(form).unwrap_or_default();
    line.push(b'\n');
    line
}

/// The first line, with its newline.
pub fn header_line(origin: &Origin, key: Option<&VerifierKey>) -> Vec<u8> {
    to_line(&HeaderForm {
        v: VERSION,
        deployment: origin.deployment.clone(),
        node: origin.node.clone(),
        epoch: origin.epoch,
        vkey: key.map(ToString::to_string),
    })
}

/// A record's line, with its newline. Takes the bytes as they are stored, whatever they are.
pub fn record_line(seq: u64, leaf: &Hash, record: &[u8]) -> Vec<u8> {
    let (text, base64) = match std::str::from_utf8(record) {
        Ok(text) => (Some(text.to_owned()), None),
        Err(_) => (None, Some(STANDARD.encode(record))),
    };
    to_line(&RecordForm {
        seq,
        leaf: STANDARD.encode(leaf),
        record: text,
        record64: base64,
    })
}

/// A checkpoint's line, with its newline.
pub fn checkpoint_line(note: &str) -> Vec<u8> {
    to_line(&CheckpointForm {
        checkpoint: note.to_owned(),
    })
}

/// The last line, with its newline: `end` records were written.
pub fn end_line(end: u64) -> Vec<u8> {
    to_line(&EndForm { end })
}

/// The lines of an export in their order, as a stream: `records` by rising sequence number,
/// `checkpoints` as (size, note) by rising size, each moved to its place. Checkpoints beyond the
/// last record come before the last line, so that a cut tail shows. Ends after the first error,
/// without the last line.
pub fn lines<E>(
    origin: &Origin,
    key: Option<&VerifierKey>,
    records: impl IntoIterator<Item = Result<StoredRecord, E>>,
    checkpoints: impl IntoIterator<Item = Result<(u64, String), E>>,
) -> impl Iterator<Item = Result<Vec<u8>, E>> {
    let mut first = Some(header_line(origin, key));
    let mut records = records.into_iter().fuse();
    let mut checkpoints = checkpoints.into_iter().peekable();
    let (mut waiting, mut next, mut written, mut done) = (None, 0, 0, false);
    std::iter::from_fn(move || {
        if done {
            return None;
        }
        if let Some(line) = first.take() {
            return Some(Ok(line));
        }
        if waiting.is_none() {
            match records.next().transpose() {
                Ok(record) => waiting = record,
                Err(error) => {
                    done = true;
                    return Some(Err(error));
                }
            }
        }
        let due = |checkpoint: &Result<(u64, String), E>| match checkpoint {
            Ok((size, _)) => *size <= next || waiting.is_none(),
            Err(_) => true,
        };
        if let Some(checkpoint) = checkpoints.next_if(due) {
            done = checkpoint.is_err();
            return Some(checkpoint.map(|(_, note)| checkpoint_line(&note)));
        }
        if let Some(StoredRecord { seq, leaf, record }) = waiting.take() {
            next = seq.saturating_add(1);
            written += 1;
            return Some(Ok(record_line(seq, &leaf, &record)));
        }
        done = true;
        Some(Ok(end_line(written)))
    })
}

/// Writes an export, see [`lines`].
///
/// # Errors
/// Reading or writing failed; what was written has then no last line.
pub fn write_to(
    out: &mut impl Write,
    origin: &Origin,
    key: Option<&VerifierKey>,
    records: impl IntoIterator<Item = io::Result<StoredRecord>>,
    checkpoints: impl IntoIterator<Item = io::Result<(u64, String)>>,
) -> io::Result<()> {
    for line in lines(origin, key, records, checkpoints) {
        out.write_all(&line?)?;
    }
    out.flush()
}

/// A line that is not in the one form of any.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a line of an audit export")]
pub struct LineError;

/// Reads one line, without its newline.
///
/// # Errors
/// It is none, or not written as this module writes it.
pub fn parse_line(line: &[u8]) -> Result<Line, LineError> {
    let form: Form = serde_json::from_slice(line).map_err(|_| LineError)?;
    let again = to_line(&form);
    if again.strip_suffix(b"\n") != Some(line) {
        return Err(LineError);
    }
    match form {
        Form::Header(header) if header.v == VERSION => Ok(Line::Header {
            origin: Origin {
                deployment: header.deployment,
                node: header.node,
                epoch: header.epoch,
            },
            vkey: header.vkey,
        }),
        Form::Header(_) => Err(LineError),
        Form::Record(form) => {
            let leaf = STANDARD.decode(&form.leaf).map_err(|_| LineError)?;
            let record = match (form.record, form.record64) {
                (Some(text), None) => text.into_bytes(),
                (None, Some(base64)) => {
                    let bytes = STANDARD.decode(base64).map_err(|_| LineError)?;
                    if std::str::from_utf8(&bytes).is_ok() {
                        return Err(LineError);
                    }
                    bytes
                }
                _ => return Err(LineError),
            };
            Ok(Line::Record(StoredRecord {
                seq: form.seq,
                leaf: leaf.try_into().map_err(|_| LineError)?,
                record,
            }))
        }
        Form::Checkpoint(form) => Ok(Line::Checkpoint(form.checkpoint)),
        Form::End(form) => Ok(Line::End(form.end)),
    }
}

/// Reads an export line by line, never holding more than one.
pub struct Reader<R> {
    input: R,
    number: u64,
}

impl<R: BufRead> Reader<R> {
    /// A reader from the beginning of an export.
    pub fn new(input: R) -> Self {
        Self { input, number: 0 }
    }

    /// The number, from 1, of the line that was read last.
    pub fn line_number(&self) -> u64 {
        self.number
    }

    /// The next line; nothing at the end of the input. After a line that could not be read, the
    /// next call goes on with the one after it.
    ///
    /// # Errors
    /// Reading failed.
    pub fn next_line(&mut self) -> io::Result<Option<Result<Line, LineError>>> {
        let mut line = Vec::new();
        let limit = MAX_LINE_BYTES as u64 + 1;
        Read::take(&mut self.input, limit).read_until(b'\n', &mut line)?;
        if line.is_empty() {
            return Ok(None);
        }
        self.number += 1;
        if line.pop_if(|byte| *byte == b'\n').is_some() {
            return Ok(Some(parse_line(&line)));
        }
        // Too long, or the file broke off: nothing in the format ends without a newline.
        self.input.skip_until(b'\n')?;
        Ok(Some(Err(LineError)))
    }
}
