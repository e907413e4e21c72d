//! An audit log that stands in for the server's in tests, and can be told to lie.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
};

use axum::{Json, Router, extract::Query, http::StatusCode, response::IntoResponse, routing::get};
use base64::{Engine, engine::general_purpose::STANDARD};
use serde_json::json;

use crate::{
    audit::{Frontier, Hash, Signer, leaf_hash, merkle::consistency_proof},
    model::Timestamp,
};

/// A log of any number of records, whose content is up to the test.
#[derive(Clone)]
pub struct FakeLog(Arc<Mutex<Vec<Hash>>>, Arc<Signer>);

impl FakeLog {
    /// A log of the node `node`, with one record.
    pub fn new(node: &str) -> Self {
        Self::signed_with(node, 1)
    }

    /// The same under another key.
    pub fn signed_with(node: &str, seed: u8) -> Self {
        let origin = format!("strongroom/dev-test/{node}/0").parse().unwrap();
        let signer = Signer::from_seed(origin, &[seed; 32]).unwrap();
        let log = Self(Arc::default(), Arc::new(signer));
        log.append(&["first"]);
        log
    }

    /// A log with the same records so far that will go another way.
    pub fn fork(&self) -> Self {
        let leaves = self.0.lock().unwrap().clone();
        Self(Arc::new(Mutex::new(leaves)), Arc::clone(&self.1))
    }

    /// Writes records.
    pub fn append(&self, records: &[&str]) {
        let leaves = records.iter().map(|record| leaf_hash(record.as_bytes()));
        self.0.lock().unwrap().extend(leaves);
    }

    /// The line of its public key.
    pub fn key(&self) -> String {
        self.1.verifier().to_string()
    }

    /// The newest checkpoint, as a note.
    pub fn note(&self) -> String {
        let mut tree = Frontier::new();
        for leaf in self.0.lock().unwrap().iter() {
            tree.push(*leaf);
        }
        self.1.sign(&tree, Timestamp::from_secs(1_700_000_000))
    }

    /// The same as the header of an answer.
    pub fn header(&self) -> String {
        STANDARD.encode(self.note())
    }

    /// Its key and its proofs.
    pub fn routes(&self) -> Router {
        let (log, key) = (self.clone(), self.key());
        let proof = move |Query(query): Query<BTreeMap<String, String>>| async move {
            let leaves = log.0.lock().unwrap();
            let (from, to): (usize, usize) =
                (query["from"].parse().unwrap(), query["to"].parse().unwrap());
            if query["log"] != log.1.origin().to_string() || to > leaves.len() {
                return StatusCode::NOT_FOUND.into_response();
            }
            let proof = consistency_proof(&leaves[..to], from).unwrap();
            let proof: Vec<String> = proof.iter().map(|hash| STANDARD.encode(hash)).collect();
            Json(json!({"log": query["log"], "from": from, "to": to, "proof": proof}))
                .into_response()
        };
        Router::new()
            .route(
                "/api/v1/audit/key",
                get(move || async move { format!("{key}\n") }),
            )
            .route("/api/v1/audit/consistency", get(proof))
    }
}
