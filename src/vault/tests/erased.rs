//! A client that was erased stays so: nothing can be added to it or changed.

use serde_json::json;

use crate::audit::{Purpose, statement};
use crate::model::{BackupId, ClientId, Timestamp};
use crate::store::BackupRow;
use crate::vault::testing::{Deployment, slug};
use crate::vault::{
    ClientPatch, CredentialPatch, Erase, Erasure, ErasureCertificate, NewContact, NewCredential,
    NewVersion, Reason, VaultError,
};

async fn erase(it: &Deployment, id: ClientId, slug: &str) -> Erasure {
    let revision = it.vault.client(&it.operator, id).await.unwrap().revision;
    let erase = Erase {
        confirm: slug.to_owned(),
        override_reason: None,
    };
    let erased = it.vault.erase_client(&it.operator, id, revision, erase);
    erased.await.unwrap()
}

fn refused<T>(outcome: Result<T, VaultError>) {
    match outcome {
        Err(VaultError::Conflict(why)) => assert!(why.contains("erased"), "{why}"),
        Err(other) => panic!("{other}"),
        Ok(_) => panic!("an erased client was used"),
    }
}

#[tokio::test]
async fn nothing_is_added_to_an_erased_client() {
    let it = Deployment::new().await;
    let credential = it.credential("mail", &["m365-sync"]).await;
    it.version(credential.id, "s", false).await;
    let client = credential.client.id;
    erase(&it, client, "example-realty").await;
    let (vault, operator) = (&it.vault, &it.operator);

    let contact: NewContact =
        serde_json::from_value(json!({"name": "Ada", "email": "ada@example.org", "role": "owner"}))
            .unwrap();
    refused(vault.add_contact(operator, client, contact).await);
    let revision = vault.client(operator, client).await.unwrap().revision;
    let patch = ClientPatch {
        name: Some("Back Again".parse().unwrap()),
        slug: None,
    };
    refused(vault.change_client(operator, client, revision, patch).await);
    let new: NewCredential = serde_json::from_value(json!({
        "client": client.to_string(), "label": "again", "kind": "generic",
        "environment": "production", "roles": ["m365-sync"],
    }))
    .unwrap();
    refused(vault.create_credential(operator, new).await);
    let id = credential.id;
    let new: NewVersion = serde_json::from_value(json!({"fields": {"password": "x"}})).unwrap();
    refused(vault.add_version(operator, id, new).await);
    let role = slug("other");
    refused(vault.add_credential_role(operator, id, None, role).await);
    let revision = it.revision(id).await;
    let patch = CredentialPatch {
        label: "again".parse().unwrap(),
    };
    refused(vault.change_credential(operator, id, revision, patch).await);
    let reason = Reason {
        reason: "why".parse().unwrap(),
    };
    let activated = vault.activate_version(operator, id, 1, revision, reason);
    refused(activated.await);

    let left = vault.client(operator, client).await.unwrap();
    assert_eq!(left.name.as_str(), "erased");
    assert!(left.contacts.unwrap().is_empty());
    let versions = vault.credential(operator, id).await.unwrap().versions;
    assert_eq!(versions.len(), 1);
    // The others go on.
    it.client("other-realty", "Other Realty").await;
}

/// What is not known is said: backups of a life that was lost, and those that should be gone by now.
#[tokio::test]
async fn the_certificate_knows_of_a_restore_and_of_backups_that_should_be_gone() {
    let it = Deployment::new().await;
    let taken_at = Timestamp::from_secs(1_700_000_000);
    let now = it.vault.clock().now();
    let backup = |byte, keep_until| BackupRow {
        id: BackupId::from_bytes([byte; 16]),
        taken_at,
        recipients: "age1".to_owned(),
        keep_until,
        finished_at: None,
        size: None,
        sha256: None,
        mac: Vec::new(),
    };
    let mut tx = it.vault.db.write().await.unwrap();
    for row in [
        backup(1, Some(now.plus_secs(-1))),
        backup(2, Some(now.plus_secs(1))),
        backup(3, None),
    ] {
        tx.insert_backup(row).await.unwrap();
    }
    tx.commit().await.unwrap();
    let read = |erasure: &Erasure| {
        let key = it.vault.audit_key().clone();
        let json = statement::open(&erasure.certificate, Purpose::ErasureCertificate, &[key]);
        serde_json::from_str::<ErasureCertificate>(json.unwrap()).unwrap()
    };
    let knows = |certificate: &ErasureCertificate| {
        let mut limits = certificate.limits.iter();
        limits.any(|limit| limit.contains("was restored at"))
    };
    let client = it.client("first", "First").await.id;
    let certificate = read(&erase(&it, client, "first").await);
    let overdue: Vec<bool> = certificate.backups.iter().map(|it| it.overdue).collect();
    assert_eq!(overdue, [true, false, false]);
    assert!(!knows(&certificate));

    let mut tx = it.vault.db.write().await.unwrap();
    let mut state = tx.deployment_state().await.unwrap().unwrap();
    (state.taken_at, state.restored_at) = (Some(taken_at), Some(now));
    assert!(tx.update_deployment_state(&mut state, 1).await.unwrap());
    tx.commit().await.unwrap();
    let client = it.client("second", "Second").await.id;
    let certificate = read(&erase(&it, client, "second").await);
    assert!(knows(&certificate), "{:?}", certificate.limits);
}
