//! Which certificates are recorded, and what becomes of them.

use crate::clock::Clock as _;
use crate::model::{KeyId, PrincipalId, Timestamp};
use crate::store::{IssuedRow, RevocationReason};
use crate::vault::PrincipalState;
use crate::vault::testing::{Deployment, Server};

async fn revoked(it: &Deployment) -> Vec<IssuedRow> {
    let own = it.vault.authorities().await.unwrap().rows[0].id;
    let now = it.vault.clock().now();
    let mut tx = it.vault.db.read().await.unwrap();
    tx.revoked_of(own, now).await.unwrap()
}

async fn switch(it: &Deployment, server: &Server, state: PrincipalState) {
    let (vault, id) = (&it.vault, server.view.id);
    let now = vault.workload(&it.operator, id).await.unwrap();
    vault
        .set_workload_state(&it.operator, id, now.revision, state)
        .await
        .unwrap();
}

#[tokio::test]
async fn a_revoked_key_takes_its_certificates_and_a_disabled_holder_holds_theirs() {
    let it = Deployment::new().await;
    let (one, two) = (
        it.enrol("one", "production", &["m365-sync"]).await,
        it.enrol("two", "production", &["m365-sync"]).await,
    );
    assert!(revoked(&it).await.is_empty());
    let keys = |rows: Vec<IssuedRow>| rows.iter().map(|row| row.key_id).collect::<Vec<KeyId>>();

    switch(&it, &one, PrincipalState::Disabled).await;
    let held = revoked(&it).await;
    assert_eq!(held[0].reason, Some(RevocationReason::Hold));
    assert_eq!(keys(held), [one.key.id]);
    switch(&it, &one, PrincipalState::Enabled).await;
    assert!(revoked(&it).await.is_empty());

    // A revoked key stays revoked whatever becomes of its holder.
    let owner = PrincipalId::Workload(two.view.id);
    it.vault
        .revoke_key(&it.operator, owner, two.key.id)
        .await
        .unwrap();
    switch(&it, &two, PrincipalState::Disabled).await;
    switch(&it, &two, PrincipalState::Enabled).await;
    let rows = revoked(&it).await;
    assert_eq!(rows[0].reason, Some(RevocationReason::KeyRevoked));
    assert_eq!(keys(rows), [two.key.id]);

    // A key that is revoked while its holder is disabled does not come back with them.
    switch(&it, &one, PrincipalState::Disabled).await;
    let owner = PrincipalId::Workload(one.view.id);
    it.vault
        .revoke_key(&it.operator, owner, one.key.id)
        .await
        .unwrap();
    switch(&it, &one, PrincipalState::Enabled).await;
    assert_eq!(revoked(&it).await.len(), 2);
    // What a stranger writes into the table shuts nobody out elsewhere, and is noticed.
    let three = it.enrol("three", "production", &["m365-sync"]).await;
    it.forge(&format!(
        "UPDATE issued_certificates SET revoked_at = not_before, reason = 'hold'
         WHERE key_id = '{}'",
        three.key.id
    ))
    .await;
    assert_eq!(revoked(&it).await.len(), 2);
    for _ in 0..100 {
        let alarms = it.audit().await.into_iter();
        let mut alarms = alarms.filter(|(kind, _)| kind == "registry.refused");
        if alarms.next().is_some() {
            return;
        }
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    panic!("no alarm");
}

/// However many ended at once, none is left behind for the next time.
#[tokio::test]
async fn what_has_ended_is_forgotten_to_the_last() {
    let it = Deployment::new().await;
    let server = it.enrol("one", "production", &["m365-sync"]).await;
    let long_ago = it.clock.now().plus_secs(-31 * 86_400).micros();
    it.forge(&format!(
        "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 2500)
         INSERT INTO issued_certificates
         SELECT authority_id, CAST('made up ' || i AS BLOB), principal_id, key_id, {long_ago},
            {long_ago}, NULL, NULL, mac
         FROM n, (SELECT * FROM issued_certificates LIMIT 1)"
    ))
    .await;
    it.vault.tidy().await;
    let mut tx = it.vault.db.read().await.unwrap();
    let ever = Timestamp::from_secs(0);
    for key in [it.operator_key(), server.key.id] {
        assert_eq!(tx.live_issued_of(key, ever).await.unwrap(), 1);
    }
}
