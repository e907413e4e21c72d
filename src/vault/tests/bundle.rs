//! What a node remembers for bundles: it saves reads, and never shows.

use std::collections::BTreeMap;

use serde_json::Value;

use super::swapped::bundle;
use crate::vault::ClientPatch;
use crate::vault::testing::{Deployment, Server, slug};

/// Id and value of each credential of a bundle.
async fn values(it: &Deployment, server: &Server) -> BTreeMap<String, String> {
    let bundle = bundle(it, server).await;
    assert_eq!(bundle["failed"], serde_json::json!([]));
    let entries = bundle["credentials"].as_array().unwrap();
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let found: BTreeMap<_, _> = entries
        .iter()
        .map(|entry| (text(&entry["id"]), text(&entry["fields"]["password"])))
        .collect();
    assert_eq!(found.len(), entries.len());
    assert!(entries.is_sorted_by_key(|entry| text(&entry["id"])));
    found
}

#[tokio::test]
async fn each_change_is_in_the_next_bundle() {
    let it = Deployment::new().await;
    let (vault, operator) = (&it.vault, &it.operator);
    let one = it.enrol("one", "production", &["m365-sync"]).await;
    let both = it
        .enrol("both", "production", &["other", "m365-sync"])
        .await;
    let mut expected = BTreeMap::new();
    // More than one page, so that values are opened on several threads.
    for n in 0..150 {
        let id = it.active(&format!("mail {n}"), &format!("value {n}")).await;
        expected.insert(id.to_string(), format!("value {n}"));
    }
    for _ in 0..2 {
        assert_eq!(values(&it, &one).await, expected);
        assert_eq!(values(&it, &both).await, expected);
    }
    // Added.
    let id = it.active("late", "first").await;
    expected.insert(id.to_string(), "first".to_owned());
    assert_eq!(values(&it, &one).await, expected);
    // Replaced.
    it.version(id, "second", true).await;
    expected.insert(id.to_string(), "second".to_owned());
    assert_eq!(values(&it, &one).await, expected);
    assert_eq!(values(&it, &both).await, expected);
    // Taken from one role and given to another: also what was remembered for one of them alone.
    let add = vault.add_credential_role(operator, id, None, slug("other"));
    add.await.unwrap();
    assert_eq!(values(&it, &both).await, expected);
    let remove = vault.remove_credential_role(operator, id, None, slug("m365-sync"));
    remove.await.unwrap();
    assert_eq!(values(&it, &both).await, expected);
    expected.remove(&id.to_string());
    assert_eq!(values(&it, &one).await, expected);
    // A single release after a bundle, and the other way round.
    let single = it.release(&both, id, None).await.unwrap();
    assert_eq!(single["role"], "other");
    assert_eq!(values(&it, &one).await, expected);
    // The client's new name.
    let client = vault
        .clients(operator, "", 1)
        .await
        .unwrap()
        .items
        .remove(0);
    let patch = ClientPatch {
        name: Some("Renamed".parse().unwrap()),
        slug: None,
    };
    let renamed = vault.change_client(operator, client.id, client.revision, patch);
    renamed.await.unwrap();
    let after = bundle(&it, &one).await;
    let entries = after["credentials"].as_array().unwrap();
    assert!(
        entries
            .iter()
            .all(|entry| entry["client"]["name"] == "Renamed")
    );
}

/// Two roles remember the same credential, each with its own wrap.
#[tokio::test]
async fn what_is_remembered_for_one_role_opens_for_another() {
    let it = Deployment::new().await;
    let one = it.enrol("one", "production", &["m365-sync"]).await;
    let two = it.enrol("two", "production", &["other"]).await;
    let id = it.credential("both", &["m365-sync", "other"]).await.id;
    it.version(id, "s", true).await;
    let only = BTreeMap::from([(id.to_string(), "s".to_owned())]);
    for server in [&one, &two, &one, &two] {
        assert_eq!(values(&it, server).await, only);
    }
    for (server, role) in [(&one, "m365-sync"), (&two, "other")] {
        assert_eq!(it.release(server, id, None).await.unwrap()["role"], role);
        assert_eq!(bundle(&it, server).await["credentials"][0]["role"], role);
    }
}

/// What did not open is not remembered: a database that was put right is read again.
#[tokio::test]
async fn what_does_not_open_is_read_again() {
    let it = Deployment::new().await;
    let one = it.enrol("one", "production", &["m365-sync"]).await;
    let (a, b) = (
        it.active("a", "value-a").await,
        it.active("b", "value-b").await,
    );
    let of = |id| format!("WHERE credential_id = '{id}'");
    it.forge(&format!(
        "CREATE TABLE kept AS SELECT payload FROM credential_versions {};
         UPDATE credential_versions SET payload = zeroblob(length(payload)) {}",
        of(a),
        of(a)
    ))
    .await;
    let broken = bundle(&it, &one).await;
    assert_eq!(broken["failed"], serde_json::json!([a]));
    assert_eq!(broken["credentials"][0]["id"], b.to_string());
    it.forge(&format!(
        "UPDATE credential_versions SET payload = (SELECT payload FROM kept) {}",
        of(a)
    ))
    .await;
    assert_eq!(values(&it, &one).await.len(), 2);
}
