//! The main story: a value goes in, its server gets it, nobody else does.

use serde_json::json;

use crate::model::CredentialId;
use crate::vault::testing::Deployment;
use crate::vault::{ClientPatch, Form, NewName, ReleaseAnswer, Retire, VaultError};

#[tokio::test]
async fn a_server_gets_what_it_is_entitled_to_in_the_documented_form() {
    let it = Deployment::new().await;
    let server = it.enrol("worker-1", "production", &["m365-sync"]).await;
    let new = json!({
        "client": "example-realty", "label": "mail sync", "kind": "microsoft365",
        "environment": "production", "roles": ["m365-sync", "other"],
    });
    let new = serde_json::from_value(new).unwrap();
    let credential = it.vault.create_credential(&it.operator, new).await.unwrap();
    assert_eq!(credential.flags, ["no-active-version"]);
    let fields = json!({
        "tenant_id": "8eaef023-2b34-4da1-9baa-8bc8c9d6a490",
        "client_id": "aebc6443-996d-45c2-90f0-388ff96faa56",
        "client_secret": "Kanarienvogel-7Q",
    });
    let version =
        json!({"fields": fields, "expires_at": "2028-11-20", "activate": {"reason": "first"}});
    let version = serde_json::from_value(version).unwrap();
    let added = it.vault.add_version(&it.operator, credential.id, version);
    assert_eq!(added.await.unwrap().number, 1);

    let caller = it.call(&server).await;
    let answer = it
        .vault
        .release(caller, Some(credential.id), None, None, Form::Json);
    let ReleaseAnswer::Value { body, etag, .. } = answer.await.unwrap() else {
        panic!("a value");
    };
    let text = String::from_utf8(body.expose_secret().to_vec()).unwrap();
    // The order of the fields is part of the form.
    let expected = format!(
        concat!(
            r#"{{"id":"{}","client":{{"id":"{}","name":"Example Realty","slug":"example-realty"}},"#,
            r#""label":"mail sync","kind":"microsoft365","environment":"production","#,
            r#""role":"m365-sync","version":1,"state":"active","expires_at":"2028-11-20T00:00:00Z","#,
            r#""fields":{{"client_id":"aebc6443-996d-45c2-90f0-388ff96faa56","#,
            r#""client_secret":"Kanarienvogel-7Q","tenant_id":"8eaef023-2b34-4da1-9baa-8bc8c9d6a490"}}}}"#,
        ),
        credential.id, credential.client.id
    );
    assert_eq!(text, expected);

    let caller = it.call(&server).await;
    let again = it
        .vault
        .release(caller, Some(credential.id), None, Some(&etag), Form::Json);
    assert!(matches!(
        again.await.unwrap(),
        ReleaseAnswer::Unchanged { .. }
    ));
    let kinds = it.audit().await;
    let intents = kinds.iter().filter(|(kind, _)| kind == "release.intent");
    assert_eq!(intents.count(), 1);
    assert!(!format!("{kinds:?}").contains("Kanarienvogel"));
}

#[tokio::test]
async fn another_role_or_environment_gets_what_is_not_there() {
    let it = Deployment::new().await;
    let id = it.active("mail", "s").await;
    let pending = it.credential("pending", &["m365-sync"]).await.id;
    it.version(pending, "s", false).await;
    let strangers = [
        it.enrol("other-role", "production", &["other"]).await,
        it.enrol("other-place", "staging", &["m365-sync"]).await,
    ];
    let nowhere: CredentialId = "cred_01kaqz3m8v7d6k2n4p9r5s1t0x".parse().unwrap();
    for stranger in &strangers {
        for wanted in [id, nowhere] {
            let refused = it.release(stranger, wanted, None).await;
            assert!(matches!(refused, Err(VaultError::NotFound)), "{refused:?}");
        }
    }
    let server = it.enrol("worker", "production", &["m365-sync"]).await;
    it.release(&server, id, None).await.unwrap();
    let refused = it.release(&server, pending, None).await;
    assert!(matches!(refused, Err(VaultError::NotFound)));
    let operator = it
        .vault
        .release(it.operator.clone(), Some(id), None, None, Form::Json);
    assert!(matches!(operator.await, Err(VaultError::NotFound)));
    let denied = it.audit().await;
    let denied = denied.iter().filter(|(kind, _)| kind == "release.denied");
    assert_eq!(denied.count(), 6);
}

#[tokio::test]
async fn a_previous_version_is_released_by_number_until_it_is_retired() {
    let it = Deployment::new().await;
    let server = it.enrol("worker", "production", &["m365-sync"]).await;
    let id = it.active("mail", "one").await;
    it.version(id, "two", true).await;
    let value = it.release(&server, id, None).await.unwrap();
    assert_eq!(
        (&value["version"], &value["state"]),
        (&json!(2), &json!("active"))
    );
    assert_eq!(value["fields"]["password"], "two");
    let value = it.release(&server, id, Some(1)).await.unwrap();
    assert_eq!(
        (&value["version"], &value["state"]),
        (&json!(1), &json!("previous"))
    );
    assert_eq!(value["fields"]["password"], "one");
    for number in [0, 3, -1, i64::MAX] {
        let refused = it.release(&server, id, Some(number)).await;
        assert!(matches!(refused, Err(VaultError::NotFound)), "{number}");
    }
    let how = Retire {
        reason: Some("test".parse().unwrap()),
        override_holds: true,
    };
    let revision = it.revision(id).await;
    let retired = it.vault.retire_version(&it.operator, id, 1, revision, how);
    retired.await.unwrap();
    let refused = it.release(&server, id, Some(1)).await;
    assert!(matches!(refused, Err(VaultError::NotFound)));
}

#[tokio::test]
async fn renaming_changes_names_only() {
    let it = Deployment::new().await;
    let server = it.enrol("worker", "production", &["m365-sync"]).await;
    let id = it.active("mail", "s").await;
    it.release(&server, id, None).await.unwrap();
    let vault = &it.vault;
    let roles = vault.roles(&it.operator, "", 10).await.unwrap().items;
    let role = roles
        .into_iter()
        .find(|role| role.name.as_str() == "m365-sync");
    let role = role.unwrap();
    let new = NewName {
        name: "mailing".parse().unwrap(),
    };
    vault
        .rename_role(&it.operator, role.id, 1, new)
        .await
        .unwrap();
    let operator = it.identify(it.operator_key()).await.unwrap();
    let client = vault
        .clients(&operator, "", 10)
        .await
        .unwrap()
        .items
        .remove(0);
    let patch = ClientPatch {
        name: Some("Example & Co".parse().unwrap()),
        slug: None,
    };
    vault
        .change_client(&operator, client.id, 1, patch)
        .await
        .unwrap();
    let value = it.release(&server, id, None).await.unwrap();
    assert_eq!(value["role"], "mailing");
    assert_eq!(value["client"]["name"], "Example & Co");
}
