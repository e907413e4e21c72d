//! Refusals of one principal fill neither the log nor the disk.

use crate::model::CredentialId;
use crate::vault::testing::Deployment;
use crate::vault::{AuditQuery, VaultError};

#[tokio::test]
async fn a_flood_of_refusals_is_counted() {
    let it = Deployment::new().await;
    let server = it.enrol("worker", "production", &["m365-sync"]).await;
    let nowhere: CredentialId = "cred_01kaqz3m8v7d6k2n4p9r5s1t0x".parse().unwrap();
    let denied = async || {
        let kinds = it.audit().await;
        let denied = kinds.iter().filter(|(kind, _)| kind == "release.denied");
        denied.count()
    };
    for _ in 0..150 {
        let refused = it.release(&server, nowhere, None).await;
        assert!(matches!(refused, Err(VaultError::NotFound)), "{refused:?}");
    }
    assert_eq!(denied().await, 120);
    // Somebody else's refusals are recorded.
    let other = it.enrol("other", "production", &["m365-sync"]).await;
    let refused = it.release(&other, nowhere, None).await;
    assert!(matches!(refused, Err(VaultError::NotFound)));
    assert_eq!(denied().await, 121);
    // With the minute comes one record of the other thirty; it has no credential to name.
    it.clock.advance(61);
    for _ in 0..200 {
        if denied().await == 122 {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    let query = AuditQuery::default();
    let page = it.vault.audit_entries(&it.operator, &query, "", 500).await;
    let entries = page.unwrap().items;
    let counted: Vec<_> = entries
        .iter()
        .filter(|entry| entry.kind == "release.denied" && entry.detail["reason"] == "too-many")
        .collect();
    assert_eq!(counted.len(), 1);
    assert_eq!(counted[0].detail["count"], 30);
    assert_eq!(counted[0].actor, Some(server.view.id.to_string()));
    assert!(counted[0].subjects.is_empty());
    // And those who stopped are heard again.
    let refused = it.release(&server, nowhere, None).await;
    assert!(matches!(refused, Err(VaultError::NotFound)));
    assert_eq!(denied().await, 123);
}
