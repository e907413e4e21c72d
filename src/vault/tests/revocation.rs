//! Promise 3: who is revoked gets nothing from the next release on.

use std::sync::Arc;

use crate::model::PrincipalId;
use crate::vault::testing::{Deployment, slug};
use crate::vault::{AuditQuery, Form, PrincipalState, VaultError, WorkloadPatch};

#[tokio::test]
async fn a_revoked_key_is_refused_also_to_a_request_that_was_let_in_before() {
    let it = Deployment::new().await;
    let server = it.enrol("worker", "production", &["m365-sync"]).await;
    let id = it.active("mail", "s").await;
    it.release(&server, id, None).await.unwrap();
    let let_in = it.call(&server).await;
    let owner = PrincipalId::Workload(server.view.id);
    let revoked = it.vault.revoke_key(&it.operator, owner, server.key.id);
    revoked.await.unwrap();
    let refused = it
        .vault
        .release(let_in, Some(id), None, None, Form::Json)
        .await;
    assert!(matches!(refused.err(), Some(VaultError::Unauthenticated)));
    let refused = it.identify(server.key.id).await;
    assert!(matches!(refused, Err(VaultError::Unauthenticated)));
}

#[tokio::test]
async fn a_disabled_workload_or_one_without_the_role_gets_nothing() {
    let it = Deployment::new().await;
    let vault = &it.vault;
    let server = it.enrol("worker", "production", &["m365-sync"]).await;
    let id = it.active("mail", "s").await;
    it.release(&server, id, None).await.unwrap();

    let let_in = it.call(&server).await;
    let to = PrincipalState::Disabled;
    let workload = server.view.id;
    vault
        .set_workload_state(&it.operator, workload, 1, to)
        .await
        .unwrap();
    let refused = vault
        .release(let_in, Some(id), None, None, Form::Json)
        .await;
    assert!(matches!(refused.err(), Some(VaultError::Unauthenticated)));
    let to = PrincipalState::Enabled;
    vault
        .set_workload_state(&it.operator, workload, 2, to)
        .await
        .unwrap();
    it.release(&server, id, None).await.unwrap();

    let let_in = it.call(&server).await;
    let patch = WorkloadPatch {
        name: None,
        roles: Some(vec![slug("other")]),
        age_recipient: None,
    };
    vault
        .change_workload(&it.operator, workload, 3, patch)
        .await
        .unwrap();
    let refused = vault
        .release(let_in, Some(id), None, None, Form::Json)
        .await;
    assert!(matches!(refused.err(), Some(VaultError::NotFound)));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_log_never_shows_a_release_after_the_revocation_that_forbids_it() {
    let it = Arc::new(Deployment::new().await);
    let id = it.active("mail", "s").await;
    for round in 0..6 {
        let name = format!("worker-{round}");
        let server = Arc::new(it.enrol(&name, "production", &["m365-sync"]).await);
        // One for certain: on a busy machine none of the others may come before the revocation.
        assert!(it.release(&server, id, None).await.is_ok());
        let releases: Vec<_> = (0..40)
            .map(|_| {
                let (it, server) = (Arc::clone(&it), Arc::clone(&server));
                tokio::spawn(async move { while it.release(&server, id, None).await.is_ok() {} })
            })
            .collect();
        tokio::time::sleep(std::time::Duration::from_millis(30)).await;
        let owner = PrincipalId::Workload(server.view.id);
        let revoked = it.vault.revoke_key(&it.operator, owner, server.key.id);
        revoked.await.unwrap();
        for release in releases {
            release.await.unwrap();
        }
        let query = |kind: &str, actor: Option<String>, subject: Option<String>| AuditQuery {
            kind: Some(kind.to_owned()),
            actor,
            subject,
            ..AuditQuery::default()
        };
        let newest = async |query: AuditQuery| {
            let page = it.vault.audit_entries(&it.operator, &query, "", 1).await;
            page.unwrap().items.first().map(|entry| entry.seq)
        };
        let key = Some(server.key.id.to_string());
        let revoked = newest(query("key.revoked", None, key)).await.unwrap();
        let actor = Some(server.view.id.to_string());
        let released = newest(query("release.intent", actor, None)).await;
        assert!(
            released.is_some_and(|seq| seq < revoked),
            "{released:?} {revoked}"
        );
    }
}
