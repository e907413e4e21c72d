//! Promise 4, rows of the registry: what the service did not write is treated as absent, with an
//! alarm. Each test edits the database with plain SQL and starts the service anew.

use crate::clock::Clock as _;
use crate::vault::testing::{Deployment, slug};
use crate::vault::{CredentialQuery, Form, VaultError};

#[tokio::test]
async fn a_workload_moved_to_another_environment_is_nobody() {
    let it = Deployment::new().await;
    let server = it.enrol("worker", "staging", &["m365-sync"]).await;
    let id = it.active("mail", "s").await;
    it.forge(&format!(
        "UPDATE workloads SET environment_id =
            (SELECT id FROM environments WHERE name = 'production') WHERE id = '{}'",
        server.view.id
    ))
    .await;
    let it = it.restart().await;
    let refused = it.release(&server, id, None).await;
    assert!(
        matches!(refused, Err(VaultError::Unauthenticated)),
        "{refused:?}"
    );
    let workloads = it.vault.workloads(&it.operator, "", 10).await.unwrap();
    assert!(workloads.items.is_empty());
    it.refused(&server.view.id.to_string()).await;
}

#[tokio::test]
async fn a_key_moved_to_another_principal_is_nobodys() {
    let it = Deployment::new().await;
    let one = it.enrol("one", "production", &["m365-sync"]).await;
    let two = it.enrol("two", "staging", &["other"]).await;
    it.forge(&format!(
        "UPDATE principal_keys SET principal_id = '{}' WHERE id = '{}'",
        one.view.id, two.key.id
    ))
    .await;
    let it = it.restart().await;
    let refused = it.identify(two.key.id).await;
    assert!(matches!(refused, Err(VaultError::Unauthenticated)));
    it.identify(one.key.id).await.unwrap();
    it.refused(&two.key.id.to_string()).await;
}

#[tokio::test]
async fn a_revocation_that_was_edited_away_does_not_bring_the_key_back() {
    let it = Deployment::new().await;
    let server = it.enrol("one", "production", &["m365-sync"]).await;
    let owner = crate::model::PrincipalId::Workload(server.view.id);
    let revoked = it.vault.revoke_key(&it.operator, owner, server.key.id);
    revoked.await.unwrap();
    let sql = format!(
        "UPDATE principal_keys SET revoked_at = NULL WHERE id = '{}'",
        server.key.id
    );
    it.forge(&sql).await;
    let it = it.restart().await;
    let refused = it.identify(server.key.id).await;
    assert!(matches!(refused, Err(VaultError::Unauthenticated)));
    it.refused(&server.key.id.to_string()).await;
}

#[tokio::test]
async fn an_added_role_grant_gives_nothing() {
    let it = Deployment::new().await;
    let server = it.enrol("worker", "production", &["other"]).await;
    let id = it.active("mail", "s").await;
    // To the credential, with a tag of another grant; and to the workload, with one made up.
    it.forge(&format!(
        "INSERT INTO credential_roles SELECT '{id}', id,
            (SELECT mac FROM credential_roles WHERE credential_id = '{id}')
         FROM roles WHERE name = 'other'"
    ))
    .await;
    it.forge(&format!(
        "INSERT INTO workload_roles SELECT '{}', id, zeroblob(32)
         FROM roles WHERE name = 'm365-sync'",
        server.view.id
    ))
    .await;
    let it = it.restart().await;
    let refused = it.release(&server, id, None).await;
    assert!(matches!(refused, Err(VaultError::NotFound)), "{refused:?}");
    let view = it.vault.credential(&it.operator, id).await.unwrap();
    assert_eq!(view.roles.len(), 1);
    // Nor does a list by role have it.
    for (role, found) in [("other", 0), ("m365-sync", 1)] {
        let query = CredentialQuery {
            role: Some(slug(role)),
            ..CredentialQuery::default()
        };
        let list = it.vault.credentials(&it.operator, &query, "", 10).await;
        assert_eq!(list.unwrap().items.len(), found, "{role}");
    }
    let view = it
        .vault
        .workload(&it.operator, server.view.id)
        .await
        .unwrap();
    assert_eq!(view.roles.len(), 1);
    it.refused(&id.to_string()).await;
    it.refused(&server.view.id.to_string()).await;
}

#[tokio::test]
async fn a_version_put_into_another_state_is_not_released() {
    let it = Deployment::new().await;
    let server = it.enrol("worker", "production", &["m365-sync"]).await;
    let id = it.credential("mail", &["m365-sync"]).await.id;
    let pending = it.version(id, "s", false).await;
    let sql = format!(
        "UPDATE credential_versions SET state = 'active', expires_at = created_at WHERE id = '{}'",
        pending.id
    );
    it.forge(&sql).await;
    let it = it.restart().await;
    let query = CredentialQuery {
        expires_before: Some(it.clock.now().plus_secs(1)),
        ..CredentialQuery::default()
    };
    let list = it.vault.credentials(&it.operator, &query, "", 10).await;
    assert!(list.unwrap().items.is_empty());
    for number in [None, Some(1)] {
        let refused = it.release(&server, id, number).await;
        assert!(matches!(refused, Err(VaultError::NotFound)), "{refused:?}");
    }
    let view = it.vault.credential(&it.operator, id).await.unwrap();
    assert!(view.versions.is_empty());
    it.refused(&pending.id.to_string()).await;
}

#[tokio::test]
async fn an_operator_with_an_edited_role_is_nobody() {
    let it = Deployment::new().await;
    let new = serde_json::json!({"name": "Auditor", "role": "auditor"});
    let new = serde_json::from_value(new).unwrap();
    let auditor = it.vault.enrol_operator(&it.operator, new).await.unwrap();
    let key = crate::pki::P256Key::generate().unwrap();
    let key = serde_json::json!({"public_key": key.public_key().to_pem()});
    let key = serde_json::from_value(key).unwrap();
    let owner = crate::model::PrincipalId::Operator(auditor.id);
    let key = it
        .vault
        .register_key(&it.operator, owner, key)
        .await
        .unwrap();
    let sql = format!(
        "UPDATE operators SET role = 'tech-ops' WHERE id = '{}'",
        auditor.id
    );
    it.forge(&sql).await;
    let it = it.restart().await;
    let refused = it.identify(key.id).await;
    assert!(matches!(refused, Err(VaultError::Unauthenticated)));
    it.refused(&auditor.id.to_string()).await;
}

/// Values that the service would never have written, and cannot even read.
#[tokio::test]
async fn a_row_that_cannot_be_understood_spoils_no_other() {
    let it = Deployment::new().await;
    let server = it.enrol("worker", "production", &["m365-sync"]).await;
    let other = it.enrol("other", "production", &["m365-sync"]).await;
    let (good, bad) = (it.active("good", "s").await, it.active("bad", "s").await);
    let worse = it.active("worse", "s").await;
    it.client("broken", "Broken").await;
    it.forge(&format!(
        "UPDATE credentials SET kind = 'nonsense' WHERE id = '{bad}';
         UPDATE credential_versions SET state_changed_at = state_changed_at,
             verification = '../..' WHERE credential_id = '{worse}';
         UPDATE workloads SET name = 'NOT A NAME' WHERE id = '{}';
         UPDATE clients SET slug = '' WHERE slug = 'broken';
         INSERT INTO authorities SELECT 'auth_nonsense', 'x', trust_domain, certificate, 'mine',
             accept_from, accept_until, key_generation, presented_from, lists_since, removed_at,
             created_at, revision, mac FROM authorities",
        other.view.id
    ))
    .await;
    let it = it.restart().await;
    it.release(&server, good, None).await.unwrap();
    for id in [bad, worse] {
        let refused = it.release(&server, id, None).await;
        assert!(matches!(refused, Err(VaultError::NotFound)), "{refused:?}");
    }
    let refused = it.identify(other.key.id).await;
    assert!(matches!(refused, Err(VaultError::Unauthenticated)));

    let (vault, operator) = (&it.vault, &it.operator);
    assert_eq!(vault.authorities().await.unwrap().rows.len(), 1);
    assert_eq!(
        vault.workloads(operator, "", 10).await.unwrap().items.len(),
        1
    );
    assert_eq!(
        vault.clients(operator, "", 10).await.unwrap().items.len(),
        1
    );
    // A page that holds such a row alone still leads to the next. Which of the two clients comes
    // first is chance: ids of one millisecond are in no order.
    let first = vault.clients(operator, "", 1).await.unwrap();
    let after = first.next.expect("two rows are there");
    let second = vault.clients(operator, &after, 1).await.unwrap();
    assert_eq!(first.items.len() + second.items.len(), 1);
    assert!(second.next.is_none());
    let filter = crate::vault::BundleFilter::default();
    let caller = it.call(&server).await;
    let bundle = vault
        .release_bundle(caller, &filter, None, Form::Json)
        .await
        .unwrap();
    let crate::vault::BundleAnswer::Values(bundle) = bundle else {
        panic!("values");
    };
    let pieces: Vec<_> = futures_util::StreamExt::collect(bundle.into_stream()).await;
    let text: Vec<u8> = pieces.into_iter().flat_map(Result::unwrap).collect();
    let answer: serde_json::Value = serde_json::from_slice(&text).unwrap();
    let entries = answer["credentials"].as_array().unwrap();
    assert_eq!(entries.len(), 1);
    assert_eq!(entries[0]["id"], good.to_string());
    it.refused(&bad.to_string()).await;
    it.refused(&other.view.id.to_string()).await;
}
