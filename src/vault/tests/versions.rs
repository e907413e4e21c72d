//! Versions, who holds them, and which roles may read them.

use crate::model::VersionState;
use crate::vault::testing::{Deployment, slug};
use crate::vault::{CredentialPatch, Reason, Retire, VaultError};

fn because() -> Reason {
    Reason {
        reason: "test".parse().unwrap(),
    }
}

#[tokio::test]
async fn a_held_version_is_retired_only_by_an_override_with_a_reason() {
    let it = Deployment::new().await;
    let vault = &it.vault;
    let server = it.enrol("worker", "production", &["m365-sync"]).await;
    let id = it.active("mail", "one").await;
    it.release(&server, id, None).await.unwrap();
    it.version(id, "two", true).await;

    let holds = vault.credential_holds(&it.operator, id).await.unwrap();
    assert_eq!(holds.len(), 1);
    assert!(holds[0].version == 1 && holds[0].live && !holds[0].in_use);
    let revision = it.revision(id).await;
    let refused = vault.retire_version(&it.operator, id, 1, revision, Retire::default());
    assert!(matches!(refused.await, Err(VaultError::Conflict(_))));
    let silent = Retire {
        reason: None,
        override_holds: true,
    };
    let refused = vault.retire_version(&it.operator, id, 1, revision, silent);
    assert!(matches!(refused.await, Err(VaultError::Invalid(_))));
    let view = vault.credential(&it.operator, id).await.unwrap();
    assert_eq!(view.revision, revision, "a refusal changes nothing");

    let how = Retire {
        reason: Some("leaked".parse().unwrap()),
        override_holds: true,
    };
    let retired = vault.retire_version(&it.operator, id, 1, revision, how);
    let view = retired.await.unwrap();
    assert_eq!(view.versions[1].state, VersionState::Retired);
    let again = vault.retire_version(&it.operator, id, 1, view.revision, Retire::default());
    assert!(matches!(again.await, Err(VaultError::Conflict(_))));
}

#[tokio::test]
async fn a_report_moves_the_hold_and_needs_a_receipt() {
    let it = Deployment::new().await;
    let vault = &it.vault;
    let server = it.enrol("worker", "production", &["m365-sync"]).await;
    let id = it.active("mail", "one").await;
    it.version(id, "two", true).await;
    it.release(&server, id, Some(1)).await.unwrap();
    let caller = it.call(&server).await;
    let refused = vault.report_in_use(&caller, Some(id), 2).await;
    assert!(matches!(refused, Err(VaultError::NotFound)));

    it.release(&server, id, None).await.unwrap();
    let held = async || {
        let holds = vault.workload_holds(&it.operator, server.view.id).await;
        let holds = holds.unwrap().into_iter();
        // A set: ids made within one millisecond are in no order.
        holds
            .map(|hold| hold.version)
            .collect::<std::collections::BTreeSet<_>>()
    };
    assert_eq!(held().await, [1, 2].into());
    vault.report_in_use(&caller, Some(id), 2).await.unwrap();
    assert_eq!(held().await, [2].into());
    let revision = it.revision(id).await;
    let retired = vault.retire_version(&it.operator, id, 1, revision, Retire::default());
    retired.await.unwrap();
    let receipts = vault
        .receipts(&it.operator, None, Some(id), "", 10)
        .await
        .unwrap();
    assert_eq!(receipts.items.len(), 2);
    let one = vault
        .receipts(&it.operator, None, Some(id), "", 1)
        .await
        .unwrap();
    let next = one.next.unwrap();
    let two = vault
        .receipts(&it.operator, None, Some(id), &next, 1)
        .await
        .unwrap();
    assert_ne!(one.items[0].version, two.items[0].version);
}

#[tokio::test]
async fn holds_of_a_disabled_workload_do_not_count() {
    let it = Deployment::new().await;
    let vault = &it.vault;
    let server = it.enrol("worker", "production", &["m365-sync"]).await;
    let id = it.active("mail", "one").await;
    it.release(&server, id, None).await.unwrap();
    let to = crate::vault::PrincipalState::Disabled;
    let disabled = vault.set_workload_state(&it.operator, server.view.id, 1, to);
    disabled.await.unwrap();
    let revision = it.revision(id).await;
    let retired = vault.retire_version(&it.operator, id, 1, revision, Retire::default());
    let view = retired.await.unwrap();
    assert_eq!(view.flags, ["no-active-version"]);
}

#[tokio::test]
async fn giving_a_role_access_wraps_every_live_version_and_taking_it_away_unwraps_them() {
    let it = Deployment::new().await;
    let vault = &it.vault;
    let one = it.enrol("one", "production", &["m365-sync"]).await;
    let two = it.enrol("two", "production", &["other"]).await;
    let id = it.active("mail", "old").await;
    it.version(id, "new", true).await;
    it.release(&one, id, None).await.unwrap();
    assert!(it.release(&two, id, None).await.is_err());

    let role = || slug("other");
    let view = vault
        .add_credential_role(&it.operator, id, None, role())
        .await
        .unwrap();
    assert_eq!(view.roles, [slug("m365-sync"), slug("other")]);
    let again = vault
        .add_credential_role(&it.operator, id, None, role())
        .await;
    assert!(matches!(again, Err(VaultError::Conflict(_))));
    for (number, value) in [(1, "old"), (2, "new")] {
        let released = it.release(&two, id, Some(number)).await.unwrap();
        assert_eq!(released["fields"]["password"], value);
        assert_eq!(released["role"], "other");
    }
    // A later version is wrapped for both.
    it.version(id, "newest", true).await;
    for server in [&one, &two] {
        let released = it.release(server, id, None).await.unwrap();
        assert_eq!(released["fields"]["password"], "newest");
    }

    let first = slug("m365-sync");
    vault
        .remove_credential_role(&it.operator, id, None, first)
        .await
        .unwrap();
    assert!(matches!(
        it.release(&one, id, None).await,
        Err(VaultError::NotFound)
    ));
    it.release(&two, id, None).await.unwrap();
    let last = vault
        .remove_credential_role(&it.operator, id, None, role())
        .await;
    assert!(matches!(last, Err(VaultError::Conflict(_))));
    it.release(&two, id, None).await.unwrap();
}

#[tokio::test]
async fn a_change_of_another_revision_is_refused() {
    let it = Deployment::new().await;
    let vault = &it.vault;
    let id = it.active("mail", "one").await;
    it.version(id, "two", false).await;
    let (stale, new) = (it.revision(id).await - 1, it.revision(id).await + 1);
    for revision in [stale, new] {
        let patch = CredentialPatch {
            label: "x".parse().unwrap(),
        };
        let refused = vault
            .change_credential(&it.operator, id, revision, patch)
            .await;
        assert!(matches!(refused, Err(VaultError::Changed)));
        let refused = vault
            .activate_version(&it.operator, id, 2, revision, because())
            .await;
        assert!(matches!(refused, Err(VaultError::Changed)));
        let refused = vault
            .reject_version(&it.operator, id, 2, revision, because())
            .await;
        assert!(matches!(refused, Err(VaultError::Changed)));
        let how = Retire::default();
        let refused = vault
            .retire_version(&it.operator, id, 1, revision, how)
            .await;
        assert!(matches!(refused, Err(VaultError::Changed)));
        let role = slug("other");
        let refused = vault
            .add_credential_role(&it.operator, id, Some(revision), role)
            .await;
        assert!(matches!(refused, Err(VaultError::Changed)));
    }
    let revision = it.revision(id).await;
    let rejected = vault
        .reject_version(&it.operator, id, 2, revision, because())
        .await;
    let view = rejected.unwrap();
    let refused = vault.activate_version(&it.operator, id, 2, view.revision, because());
    assert!(matches!(refused.await, Err(VaultError::Conflict(_))));
}
