//! The audit log as pure data: what a record is, how records become a Merkle tree, how its head is
//! signed, and how anybody proves afterwards that nothing was edited, dropped or reordered.
//!
//! Each node writes one log. No SQL, no HTTP and no clock here: a writer elsewhere stores what
//! these types make.
//!
//! ```text
//!  Record ──to_bytes──▶ bytes ──leaf_hash──▶ leaf ──push──▶ Frontier ──sign──▶ checkpoint (note)
//!  (ids, words,         stored as they        stored        stored; the        once a second, in the
//!   numbers, times,     are hashed            beside        start reads        database, beside it,
//!   digests only)                             the record    only this          and with every worker
//!
//!  bytes, leaves and checkpoints ──export──▶ file ──verify, with a public key──▶ Report
//! ```
//!
//! What the pieces are made of: [`record`], [`kind`] and [`subject`] draw the bytes of a record, [`merkle`]
//! the tree (RFC 6962), [`tiles`] what is kept of it for proofs, [`note`] and [`checkpoint`] the
//! signed head (C2SP signed-note and tlog-checkpoint), [`statement`] other things that the same key
//! signs, [`export`] the file. [`verify()`] reads such a file and says in a [`report`]
//! what it proves. `tests/python/audit_verify.py` does the same in another language.
//!
//! What the verifier cannot see by itself: records cut off behind the newest checkpoint that it is
//! given. That is why checkpoints are also kept elsewhere (by workers, other nodes, backups,
//! auditors) and handed to it.

pub mod checkpoint;
pub mod export;
pub mod kind;
pub mod merkle;
pub mod note;
pub mod record;
pub mod report;
pub mod statement;
pub mod subject;
pub mod tiles;
pub mod verify;

#[cfg(test)]
mod tests;

pub use checkpoint::{Checkpoint, Origin, Signer};
pub use kind::Kind;
pub use merkle::{Frontier, Hash, leaf_hash};
pub use note::{NoteError, VerifierKey};
pub use record::{
    ABORTED, Detail, MAX_INTENT_VERSIONS, MAX_RECORD_BYTES, ParsedRecord, Record, RecordError,
    SENT, SeqRanges,
};
pub use report::{Finding, Report, Source, Warning};
pub use statement::{Purpose, StatementSigner};
pub use subject::Subject;
pub use verify::verify;
