//! "Not there" and "not allowed" are one answer, made by the same calls of the database and the same
//! writes (promise 2).

use std::collections::BTreeMap;

use super::postgres;
use crate::model::{CredentialId, Timestamp};
use crate::random::{Random as _, SystemRandom};
use crate::store::{Database, SpentAssertion};
use crate::vault::testing::{Deployment, Server};
use crate::vault::{BundleFilter, Form, VaultError};

#[tokio::test]
async fn promise_2_the_same_steps_on_sqlite() {
    same_steps(Deployment::new().await).await;
}

#[tokio::test]
async fn promise_2_the_same_steps_on_postgres() {
    if std::env::var("STRONGROOM_TEST_WITHOUT_POSTGRES").is_ok_and(|value| value == "1") {
        eprintln!("skipped: nothing was tried on PostgreSQL");
        return;
    }
    let server = postgres::Postgres::start().expect("a server");
    let url = server.create_database("same_steps").expect("a database");
    let database = Database::open_postgres(&url).await.unwrap();
    let it = Deployment::on(Some(database)).await;
    same_steps(it).await;
}

/// What is asked for.
#[derive(Clone, Copy, Debug)]
enum Call {
    Release(Option<CredentialId>, Option<i64>),
    InUse(Option<CredentialId>),
    Bundle(CredentialId),
}

/// How many records the log has.
async fn size(it: &Deployment) -> i64 {
    let mut tx = it.vault.db.read().await.unwrap();
    tx.audit_log("node-a").await.unwrap().unwrap().size
}

/// The calls of the store that a request makes, from the decision to the answer, and how many
/// records it left. What the node does meanwhile for itself is no part of it: the same is asked
/// several times, and what came most often counts.
async fn steps(
    it: &Deployment,
    server: &Server,
    call: Call,
    assertion: bool,
) -> (Vec<&'static str>, i64) {
    const TIMES: usize = 9;
    let mut seen: BTreeMap<Vec<&'static str>, usize> = BTreeMap::new();
    let before = size(it).await;
    for _ in 0..TIMES {
        let mut caller = it.call(server).await;
        if assertion {
            let mut jti = [0; 32];
            SystemRandom::new().fill(&mut jti).unwrap();
            let forget_at = Timestamp::from_secs(1_900_000_000);
            caller.assertion = Some(SpentAssertion { jti, forget_at });
        }
        let journal = it.vault.db.journal();
        journal.take();
        match call {
            Call::Release(id, number) => {
                let answer = it.vault.release(caller, id, number, None, Form::Json).await;
                assert!(matches!(answer, Err(VaultError::NotFound)), "{call:?}");
            }
            Call::InUse(id) => {
                let answer = it.vault.report_in_use(&caller, id, 1).await;
                assert!(matches!(answer, Err(VaultError::NotFound)), "{call:?}");
            }
            Call::Bundle(id) => {
                let filter = BundleFilter {
                    credential: Some(id),
                    ..BundleFilter::default()
                };
                let answer = it
                    .vault
                    .release_bundle(caller, &filter, None, Form::Json)
                    .await;
                assert!(answer.is_ok(), "{call:?}");
            }
        }
        *seen.entry(journal.take()).or_default() += 1;
    }
    let most = seen.into_iter().max_by_key(|(_, count)| *count).unwrap();
    (most.0, size(it).await - before)
}

async fn same_steps(it: Deployment) {
    let owner = it.enrol("owner", "production", &["m365-sync"]).await;
    let remembered = it.active("remembered", "s").await;
    it.release(&owner, remembered, None).await.unwrap();
    let stored = it.active("stored", "s").await;
    let empty = it.credential("empty", &["m365-sync"]).await.id;
    let retired = it.active("two", "one").await;
    it.version(retired, "two", true).await;
    let nowhere: CredentialId = "cred_01kaqz3m8v7d6k2n4p9r5s1t0x".parse().unwrap();
    let targets = [
        ("nowhere", Some(nowhere)),
        ("no id", None),
        ("in memory", Some(remembered)),
        ("in the database", Some(stored)),
        ("without a version", Some(empty)),
        ("with two versions", Some(retired)),
    ];
    for (environment, role) in [("production", "other"), ("staging", "m365-sync")] {
        for assertion in [false, true] {
            let mut model: BTreeMap<&str, (Vec<&'static str>, i64)> = BTreeMap::new();
            for (at, (what, target)) in targets.into_iter().enumerate() {
                // Each from a workload of its own, so that no limit of refusals is reached.
                let name = format!("{environment}-{role}-{assertion}-{at}");
                let stranger = it.enrol(&name, environment, &[role]).await;
                let calls = [
                    ("release", Call::Release(target, None)),
                    ("version 1", Call::Release(target, Some(1))),
                    ("version 99", Call::Release(target, Some(99))),
                    ("in use", Call::InUse(target)),
                ];
                for (kind, call) in calls {
                    let found = steps(&it, &stranger, call, assertion).await;
                    assert!(found.0.len() > 3, "{found:?}");
                    let model = model.entry(kind).or_insert_with(|| found.clone());
                    assert_eq!(&found, model, "{kind}, {what}, assertion: {assertion}");
                }
            }
        }
    }
    // A filter of a bundle. How its intents end is recorded later, so records are not counted here.
    let stranger = it.enrol("stranger", "production", &["other"]).await;
    let (model, _) = steps(&it, &stranger, Call::Bundle(nowhere), false).await;
    for (what, target) in targets {
        let Some(id) = target else { continue };
        let (found, _) = steps(&it, &stranger, Call::Bundle(id), false).await;
        assert_eq!(found, model, "a bundle of {what}");
    }
    it.vault.close().await;
}
