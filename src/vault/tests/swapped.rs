//! Promise 4, sealed values: one that was put in another's place does not open, and the rest of a
//! bundle goes on.

use futures_util::TryStreamExt;

use crate::vault::testing::{Deployment, Server};
use crate::vault::{BundleAnswer, BundleFilter, Form, VaultError};

pub(super) async fn bundle(it: &Deployment, server: &Server) -> serde_json::Value {
    let caller = it.call(server).await;
    let filter = BundleFilter::default();
    let answer = it
        .vault
        .release_bundle(caller, &filter, None, Form::Json)
        .await
        .unwrap();
    let BundleAnswer::Values(bundle) = answer else {
        panic!("values");
    };
    let pieces: Vec<Vec<u8>> = bundle.into_stream().try_collect().await.unwrap();
    serde_json::from_slice(&pieces.concat()).unwrap()
}

fn ids(list: &serde_json::Value) -> Vec<String> {
    let id = |item: &serde_json::Value| {
        let id = item.get("id").unwrap_or(item);
        id.as_str().unwrap().to_owned()
    };
    let mut ids: Vec<String> = list.as_array().unwrap().iter().map(id).collect();
    ids.sort();
    ids
}

/// Three credentials; the column of the first two is swapped by `table`, `key` and `column`.
async fn swap(table: &str, key: &str, column: &str) {
    let it = Deployment::new().await;
    let server = it.enrol("worker", "production", &["m365-sync"]).await;
    let (a, b, c) = (
        it.active("a", "value-a").await,
        it.active("b", "value-b").await,
        it.active("c", "value-c").await,
    );
    let whole = bundle(&it, &server).await;
    assert_eq!(ids(&whole["credentials"]).len(), 3);
    assert!(ids(&whole["failed"]).is_empty());
    let row = |id| format!("(SELECT id FROM credential_versions WHERE credential_id = '{id}')");
    it.forge(&format!(
        "CREATE TEMP TABLE kept AS SELECT {column} AS x FROM {table} WHERE {key} = {a};
         UPDATE {table} SET {column} = (SELECT {column} FROM {table} WHERE {key} = {b})
             WHERE {key} = {a};
         UPDATE {table} SET {column} = (SELECT x FROM kept) WHERE {key} = {b};",
        a = row(a),
        b = row(b),
    ))
    .await;
    let it = it.restart().await;
    for id in [a, b] {
        let refused = it.release(&server, id, None).await;
        assert!(
            matches!(refused, Err(VaultError::Internal(_))),
            "{refused:?}"
        );
    }
    let value = it.release(&server, c, None).await.unwrap();
    assert_eq!(value["fields"]["password"], "value-c");
    let rest = bundle(&it, &server).await;
    assert_eq!(ids(&rest["credentials"]), [c.to_string()]);
    let mut failed = [a.to_string(), b.to_string()];
    failed.sort();
    assert_eq!(ids(&rest["failed"]), failed);
    assert!(!rest.to_string().contains("value-a"));
}

#[tokio::test]
async fn payloads_in_each_others_place_do_not_open() {
    swap("credential_versions", "id", "payload").await;
}

#[tokio::test]
async fn wraps_in_each_others_place_do_not_open() {
    swap("dek_wraps", "version_id", "wrapped").await;
}

#[tokio::test]
async fn a_wrap_of_another_role_does_not_open() {
    let it = Deployment::new().await;
    let one = it.enrol("one", "production", &["m365-sync"]).await;
    let two = it.enrol("two", "production", &["other"]).await;
    let id = it.credential("both", &["m365-sync", "other"]).await.id;
    it.version(id, "s", true).await;
    // The other role's wrapped key, and then its KEK's id as well.
    for columns in [&["wrapped"][..], &["wrapped", "kek_id"]] {
        for column in columns {
            it.forge(&format!(
                "UPDATE dek_wraps SET {column} = (SELECT w.{column} FROM dek_wraps w
                     JOIN roles r ON r.id = w.role_id WHERE r.name = 'm365-sync')
                 WHERE role_id = (SELECT id FROM roles WHERE name = 'other')"
            ))
            .await;
        }
        let refused = it.release(&two, id, None).await;
        assert!(
            matches!(refused, Err(VaultError::Internal(_))),
            "{refused:?}"
        );
        it.release(&one, id, None).await.unwrap();
    }
}

#[tokio::test]
async fn versions_of_one_credential_in_each_others_place_do_not_open() {
    let it = Deployment::new().await;
    let server = it.enrol("worker", "production", &["m365-sync"]).await;
    let id = it.active("mail", "leaked").await;
    it.version(id, "new", true).await;
    // The old value with everything that opens it, in the row of the new version.
    for (table, key, column) in [
        ("credential_versions", "id", "payload"),
        ("dek_wraps", "version_id", "wrapped"),
    ] {
        let row = |number| {
            format!(
                "(SELECT id FROM credential_versions
                  WHERE credential_id = '{id}' AND number = {number})"
            )
        };
        let (old, new) = (row(1), row(2));
        it.forge(&format!(
            "UPDATE {table} SET {column} = (SELECT {column} FROM {table} WHERE {key} = {old})
             WHERE {key} = {new}"
        ))
        .await;
    }
    let it = it.restart().await;
    let refused = it.release(&server, id, None).await;
    assert!(
        matches!(refused, Err(VaultError::Internal(_))),
        "{refused:?}"
    );
}
