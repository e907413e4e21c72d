//! The people of a client.

use serde_json::json;

use crate::vault::testing::Deployment;
use crate::vault::{ContactView, VaultError};

#[tokio::test]
async fn an_address_names_one_contact_of_a_client() {
    let it = Deployment::new().await;
    let mine = it.vault.clients(&it.operator, "", 10).await.unwrap().items[0].id;
    let other = it.client("other", "Other").await.id;
    let add = async |client, email: &str| -> Result<ContactView, VaultError> {
        let new = json!({"name": "Ada", "email": email, "role": "owner"});
        let new = serde_json::from_value(new).unwrap();
        it.vault.add_contact(&it.operator, client, new).await
    };
    add(mine, "ada@example.org").await.unwrap();
    // Ids of one millisecond have no order.
    it.clock.advance(1);
    let second = add(mine, "bea@example.org").await.unwrap();
    // The same person may look after two clients.
    add(other, "ada@example.org").await.unwrap();
    let again = add(mine, "ada@example.org").await;
    assert!(matches!(again, Err(VaultError::Conflict(why)) if why.contains("this address")));
    let patch = serde_json::from_value(json!({"email": "ada@example.org"})).unwrap();
    let changed = it
        .vault
        .change_contact(&it.operator, mine, second.id, second.revision, patch)
        .await;
    assert!(matches!(changed, Err(VaultError::Conflict(_))));
    let contacts = it.vault.contacts(&it.operator, mine, "", 10).await.unwrap();
    let emails: Vec<&str> = contacts.items.iter().map(|it| it.email.as_str()).collect();
    assert_eq!(emails, ["ada@example.org", "bea@example.org"]);
}
