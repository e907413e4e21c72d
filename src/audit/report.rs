//! What an export proves, in words for a person and in fields for a program.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Serialize, Serializer};

use super::checkpoint::Origin;
use super::kind::Kind;
use super::merkle::Hash;
use super::note::NoteError;

/// Where a checkpoint, or a statement about the log, comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Source {
    /// The first line of the export.
    Header,
    /// A line of the export, from 1.
    Line(u64),
    /// One of the checkpoints that were kept elsewhere, from 1, in the order given.
    Kept(usize),
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Header => f.write_str("the header"),
            Self::Line(line) => write!(f, "the checkpoint in line {line}"),
            Self::Kept(number) => write!(f, "kept checkpoint {number}"),
        }
    }
}

impl Serialize for NoteError {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(match self {
            Self::Malformed => "malformed",
            Self::UnknownKey => "unknown-key",
            Self::BadSignature => "bad-signature",
            Self::SignedTwice => "signed-twice",
            Self::NoCheckpoint => "no-checkpoint",
            Self::OtherPurpose => "other-purpose",
        })
    }
}

/// A reason why the export does not prove the log. Each says where to look.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, thiserror::Error)]
#[serde(tag = "code", rename_all = "kebab-case")]
pub enum Finding {
    /// The first line is not the header of a known version; nothing else was read.
    #[error("the first line is not the header of an audit export of version 1")]
    NotAnExport,
    /// The header names a key that is not among those that the auditor brought.
    #[error("the header names another key than the one that was given")]
    HeaderKey,
    /// A line is not written as an export writes it.
    #[error("line {line}: not a line of an audit export, or cut off")]
    LineMalformed {
        /// The line.
        line: u64,
    },
    /// A record's bytes do not give its stored leaf hash.
    #[error("record {seq} was edited: its bytes disagree with the leaf hash stored beside it")]
    RecordEdited {
        /// The record.
        seq: u64,
    },
    /// A record's leaf hash is right, but its bytes are no record.
    #[error("record {seq}: not an audit record in canonical form")]
    RecordMalformed {
        /// The record.
        seq: u64,
    },
    /// The tree fits a checkpoint of `from` records (or begins there), and not this one of `to`.
    #[error(
        "records {from} to before {to}: at least one of them was edited, exchanged, dropped or \
         added; {source_of} does not fit them, and everything before record {from} does fit"
    )]
    RangeEdited {
        /// The first record that may be changed.
        from: u64,
        /// The first record that is not covered by the checkpoint.
        to: u64,
        /// The checkpoint that does not fit.
        #[serde(rename = "source")]
        source_of: Source,
    },
    /// Records are not there.
    #[error("line {line}: records {first} to {last} are missing")]
    RecordsMissing {
        /// The line of the record after them.
        line: u64,
        /// The first that is missing.
        first: u64,
        /// The last that is missing.
        last: u64,
    },
    /// A record comes again, or after a later one.
    #[error("line {line}: record {seq} comes again or out of order")]
    RecordOutOfPlace {
        /// The line.
        line: u64,
        /// The record.
        seq: u64,
    },
    /// A checkpoint is not one that the given key signed.
    #[error("{source_of}: {reason}")]
    CheckpointRefused {
        /// The checkpoint.
        #[serde(rename = "source")]
        source_of: Source,
        /// What is wrong with it.
        reason: NoteError,
    },
    /// The log that is named there is not the one that the key or the header is for.
    #[error("{source_of} is of another log")]
    ForeignOrigin {
        /// Where it is named.
        #[serde(rename = "source")]
        source_of: Source,
    },
    /// A checkpoint covers no more records than the one before it.
    #[error("line {line}: a checkpoint of {size} records after one of at least as many")]
    CheckpointNotGrowing {
        /// The line.
        line: u64,
        /// What it covers.
        size: u64,
    },
    /// A checkpoint does not stand behind the last record that it covers.
    #[error("line {line}: a checkpoint of {size} records does not stand behind record {size} - 1")]
    CheckpointOutOfPlace {
        /// The line.
        line: u64,
        /// What it covers.
        size: u64,
    },
    /// Two signed checkpoints of one size have different roots: two histories were signed.
    #[error("two histories were signed: {source_of} and another one of {size} records disagree")]
    SplitView {
        /// The size of both.
        size: u64,
        /// The later of the two that was read.
        #[serde(rename = "source")]
        source_of: Source,
    },
    /// A checkpoint covers records that the export does not have.
    #[error(
        "the tail is cut, or a record after the first {from} was dropped: {source_of} covers {size} \
         records, the export ends after {records}"
    )]
    TailCut {
        /// How many records, from the first, the largest fitting checkpoint covers.
        from: u64,
        /// What the checkpoint covers.
        size: u64,
        /// What is there.
        records: u64,
        /// The checkpoint.
        #[serde(rename = "source")]
        source_of: Source,
    },
    /// No checkpoint fits, so that nothing at all is proven.
    #[error(
        "nothing is signed: no checkpoint by the given key covers any of the {records} records"
    )]
    NothingSigned {
        /// What is there.
        records: u64,
    },
    /// The records behind the last checkpoint span more time than a healthy log leaves unsigned.
    #[error(
        "the last {records} records, over {seconds} s, are not signed: checkpoints were taken \
         away, or none were made"
    )]
    UnsignedTail {
        /// How many are not covered.
        records: u64,
        /// From the first to the last of them, in whole seconds.
        seconds: i64,
    },
    /// The last line is missing.
    #[error(
        "the file is truncated: the last line, which says how many records there are, is missing"
    )]
    Truncated,
    /// The last line counts other than what is there.
    #[error("the last line says {end} records, but there are {records}")]
    EndDisagrees {
        /// What the last line says.
        end: u64,
        /// What is there.
        records: u64,
    },
    /// Something follows the last line.
    #[error("line {line}: comes after the last line")]
    AfterEnd {
        /// The line.
        line: u64,
    },
    /// An outcome without ranges, or for what is no earlier intent that is still open.
    #[error("record {seq}: an outcome that fits no earlier intents")]
    OutcomeWithoutIntent {
        /// The record of the outcome.
        seq: u64,
    },
}

/// Something to look at that does not speak against the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, thiserror::Error)]
#[serde(tag = "code", rename_all = "kebab-case")]
pub enum Warning {
    /// A record is older than the one before it: the node's clock was set back.
    #[error("record {seq} is older than the one before it")]
    TimeBackwards {
        /// The record.
        seq: u64,
    },
    /// Records behind the last checkpoint; an edit of these cannot be seen yet.
    #[error("the last {records} records are not signed yet, and prove nothing")]
    Unsigned {
        /// How many.
        records: u64,
    },
}

/// What was released, by the records.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Releases {
    /// Intents: answers that were about to be sent.
    pub intents: u64,
    /// Versions that the intents name, counted each time.
    pub versions: u64,
    /// Intents whose answer was sent in full.
    pub sent: u64,
    /// Intents whose answer broke off.
    pub aborted: u64,
    /// Intents without an outcome; they count as received.
    pub open: u64,
    /// Requests of known workloads that were denied.
    pub denied: u64,
}

/// Which checkpoints fit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Checkpoints {
    /// Checkpoints of the export that fit its records.
    pub export: u64,
    /// Checkpoints kept elsewhere that fit its records.
    pub kept: u64,
}

/// The verdict, and what it rests on.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Report {
    /// The log, as the header names it.
    pub origin: Option<Origin>,
    /// How many record lines there are.
    pub records: u64,
    /// How many of them, from the first, the largest fitting checkpoint covers.
    pub signed: u64,
    /// The root of the tree of all of them, in hexadecimal; nothing if it cannot be known.
    #[serde(serialize_with = "hexadecimal")]
    pub root: Option<Hash>,
    /// Which checkpoints fit.
    pub checkpoints: Checkpoints,
    /// What was released.
    pub releases: Releases,
    /// Records by kind.
    pub kinds: BTreeMap<Kind, u64>,
    /// Why the export does not prove the log; the first [`MAX_LISTED`].
    pub findings: Vec<Finding>,
    /// What else to look at; the first [`MAX_LISTED`].
    pub warnings: Vec<Warning>,
    /// How many findings and warnings are not listed.
    pub left_out: u64,
}

/// How many findings, and how many warnings, a report lists.
pub const MAX_LISTED: usize = 200;

fn hexadecimal<S: Serializer>(root: &Option<Hash>, serializer: S) -> Result<S::Ok, S::Error> {
    root.map(hex::encode).serialize(serializer)
}

impl Report {
    /// Whether nothing speaks against the log.
    pub fn is_ok(&self) -> bool {
        self.findings.is_empty()
    }

    pub(super) fn find(&mut self, finding: Finding) {
        if self.findings.len() < MAX_LISTED {
            self.findings.push(finding);
        } else {
            self.left_out += 1;
        }
    }

    pub(super) fn warn(&mut self, warning: Warning) {
        if self.warnings.len() < MAX_LISTED {
            self.warnings.push(warning);
        } else {
            self.left_out += 1;
        }
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let verdict = if self.is_ok() { "OK" } else { "NOT PROVEN" };
        match &self.origin {
            Some(origin) => writeln!(f, "{verdict}: {origin}")?,
            None => writeln!(f, "{verdict}")?,
        }
        let Checkpoints { export, kept } = self.checkpoints;
        writeln!(
            f,
            "{} records, the first {} covered by signed checkpoints ({export} of the export and \
             {kept} kept elsewhere fit)",
            self.records, self.signed
        )?;
        if let Some(root) = self.root {
            writeln!(f, "root {}", hex::encode(root))?;
        }
        let releases = self.releases;
        writeln!(
            f,
            "releases: {} intents naming {} versions; {} sent, {} broken off, {} without an \
             outcome (these count as received); {} denied",
            releases.intents,
            releases.versions,
            releases.sent,
            releases.aborted,
            releases.open,
            releases.denied
        )?;
        for finding in &self.findings {
            writeln!(f, "finding: {finding}")?;
        }
        for warning in &self.warnings {
            writeln!(f, "warning: {warning}")?;
        }
        if self.left_out > 0 {
            writeln!(f, "and {} more", self.left_out)?;
        }
        Ok(())
    }
}
