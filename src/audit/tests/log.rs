//! A small log for tests.

use std::collections::BTreeMap;

use crate::audit::export::{self, StoredRecord};
use crate::audit::record::SENT;
use crate::audit::*;
use crate::model::{CredentialId, Timestamp};

pub const SEED: [u8; 32] = [7; 32];

pub fn origin() -> Origin {
    "strongroom/dev-01kaqz3m8v7d6k2n4p9r5s1t0x/node-a/1"
        .parse()
        .unwrap()
}

pub fn signer() -> Signer {
    Signer::from_seed(origin(), &SEED).unwrap()
}

pub fn keys() -> Vec<VerifierKey> {
    vec![signer().verifier().clone()]
}

/// A log in memory.
#[derive(Clone, Default)]
pub struct Log {
    pub records: Vec<StoredRecord>,
    pub checkpoints: Vec<(u64, String)>,
    pub tree: Frontier,
}

impl Log {
    pub fn record(seq: u64, at: i64) -> Record {
        let (kind, detail) = match seq % 4 {
            0 => (Kind::ReleaseIntent, BTreeMap::new()),
            1 if seq > 4 => (
                Kind::ReleaseOutcome,
                BTreeMap::from([(SENT, Detail::Seqs([seq - 5].into_iter().collect()))]),
            ),
            2 => (Kind::ReleaseDenied, BTreeMap::new()),
            _ => (Kind::ClientCreated, BTreeMap::new()),
        };
        Record {
            at: Timestamp::from_micros(at),
            kind,
            request: None,
            actor: None,
            key: None,
            subjects: vec![Subject::Numbered(CredentialId::from_bytes([9; 16]), seq)],
            detail,
        }
    }

    /// A log of `size` records with checkpoints at these sizes.
    pub fn new(size: u64, checkpoints: &[u64]) -> Self {
        let mut log = Self::default();
        for seq in 0..size {
            log.push(&Self::record(seq, 1_000_000 + i64::try_from(seq).unwrap()));
            if checkpoints.contains(&(seq + 1)) {
                log.sign();
            }
        }
        log
    }

    pub fn push(&mut self, record: &Record) {
        let record = record.to_bytes().unwrap();
        let (seq, leaf) = (self.tree.size(), leaf_hash(&record));
        self.records.push(StoredRecord { seq, leaf, record });
        self.tree.push(leaf);
    }

    pub fn note(&self) -> String {
        signer().sign(&self.tree, Timestamp::from_secs(5))
    }

    pub fn sign(&mut self) {
        let entry = (self.tree.size(), self.note());
        self.checkpoints.push(entry);
    }

    pub fn export(&self) -> Vec<u8> {
        let mut out = Vec::new();
        export::write_to(
            &mut out,
            &origin(),
            Some(&keys()[0]),
            self.records.iter().cloned().map(Ok),
            self.checkpoints.iter().cloned().map(Ok),
        )
        .unwrap();
        out
    }

    /// The lines of the export, each with its newline.
    pub fn lines(&self) -> Vec<Vec<u8>> {
        let export = self.export();
        let lines = export.split_inclusive(|byte| *byte == b'\n');
        lines.map(<[u8]>::to_vec).collect()
    }
}

pub fn check(export: &[u8], kept: &[String]) -> Report {
    verify(export, &keys(), kept).unwrap()
}
