//! A database that was put back to an earlier state under a running node, and a clock that was.

use crate::audit::{Origin, Signer};
use crate::clock::MockClock;
use crate::model::{Permission, PrincipalId, Timestamp};
use crate::vault::recorder::open_log;
use crate::vault::testing::{Deployment, slug};
use crate::vault::{Form, NewName, VaultError};

/// The counter says which of what is remembered may still be used. One that goes back must not make a
/// node believe that it knows the newest.
#[tokio::test]
async fn a_policy_counter_that_goes_back_keeps_no_revoked_key_alive() {
    let it = Deployment::new().await;
    let server = it.enrol("worker", "production", &["m365-sync"]).await;
    let id = it.active("mail", "s").await;
    it.release(&server, id, None).await.unwrap();
    let let_in = it.call(&server).await;

    it.forge("UPDATE policy_generation SET generation = generation - 2")
        .await;
    let owner = PrincipalId::Workload(server.view.id);
    let operator = it.identify(it.operator_key()).await.unwrap();
    let revoked = it.vault.revoke_key(&operator, owner, server.key.id);
    revoked.await.unwrap();

    let refused = it
        .vault
        .release(let_in, Some(id), None, None, Form::Json)
        .await;
    assert!(matches!(refused.err(), Some(VaultError::Unauthenticated)));
    let refused = it.identify(server.key.id).await;
    assert!(matches!(refused, Err(VaultError::Unauthenticated)));
}

/// As after a failover that lost commits: the node must not go on from the shorter log.
#[tokio::test]
async fn a_log_that_lost_durable_records_ends_the_process() {
    let it = Deployment::new().await;
    it.forge(
        "CREATE TABLE earlier (size, frontier, checkpoint, signed_size);
         INSERT INTO earlier SELECT size, frontier, checkpoint, signed_size FROM audit_logs",
    )
    .await;
    it.client("lost", "Lost").await;
    assert!(it.fatal().is_empty());
    it.forge(
        "DELETE FROM audit_records WHERE seq >= (SELECT size FROM earlier);
         DELETE FROM audit_checkpoints WHERE size > (SELECT size FROM earlier);
         UPDATE audit_logs SET (size, frontier, checkpoint, signed_size)
             = (SELECT size, frontier, checkpoint, signed_size FROM earlier)",
    )
    .await;
    let attempt = || {
        let name = NewName {
            name: slug("after-the-loss"),
        };
        it.vault.create_role(&it.operator, name)
    };
    assert!(matches!(attempt().await, Err(VaultError::Unavailable(_))));
    for _ in 0..100 {
        if !it.fatal().is_empty() {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    assert_eq!(it.fatal()[0], "the audit log lost durable records");
    // Where the process does not end at once, it still acknowledges nothing.
    assert!(matches!(attempt().await, Err(VaultError::Unavailable(_))));
}

/// A node whose writer is gone would look alive and record nothing.
#[tokio::test]
async fn a_writer_that_panics_ends_the_process() {
    let it = Deployment::new().await;
    let permission = Permission::WritePrincipals;
    let changed = it.vault.change::<(), _>(&it.operator, permission, |_| {
        Box::pin(async { panic!("as a defect would") })
    });
    let refused = changed.await;
    assert!(
        matches!(refused, Err(VaultError::Unavailable(_))),
        "{refused:?}"
    );
    for _ in 0..100 {
        if !it.fatal().is_empty() {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    assert_eq!(it.fatal(), ["the writer of the audit log panicked"]);
}

/// The lock of the data directory keeps other processes out of an embedded database. What a killed
/// one left of its lease must not keep the next one out, whatever the clock says now.
#[tokio::test]
async fn a_lease_from_the_future_does_not_keep_an_embedded_log_closed() {
    let it = Deployment::new().await;
    it.vault.close().await;
    it.forge("UPDATE audit_logs SET holder = 'killed', lease_until = 9000000000000000")
        .await;
    let origin = Origin {
        deployment: slug("dev-x"),
        node: slug("node-a"),
        epoch: 0,
    };
    let signer = Signer::from_seed(origin, &[7; 32]).unwrap();
    let clock = MockClock::at(Timestamp::from_secs(1_000));
    let database = it.database().await;
    let log = open_log(&database, &signer, "node-a", "next", 0, &clock).await;
    assert_eq!(
        log.ok().and_then(|log| log.row.holder).as_deref(),
        Some("next")
    );
}
