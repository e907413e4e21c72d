//! Workloads, operators and their keys.

use crate::identity::pem::write_one;
use crate::identity::spiffe::TrustDomain;
use crate::model::{OperatorRole, PrincipalId};
use crate::pki::{P256Key, create_authority};
use crate::vault::testing::{Deployment, slug};
use crate::vault::{
    NewAuthority, NewKey, NewOperator, NewWorkload, OperatorPatch, PrincipalState, VaultError,
};

fn operator_id(it: &Deployment) -> crate::model::OperatorId {
    match it.operator.principal.id() {
        PrincipalId::Operator(id) => id,
        PrincipalId::Workload(_) => unreachable!("the operator is one"),
    }
}

#[tokio::test]
async fn the_last_tech_ops_operator_stays_one() {
    let it = Deployment::new().await;
    let vault = &it.vault;
    let id = operator_id(&it);
    let demote = || OperatorPatch {
        name: None,
        role: Some(OperatorRole::Auditor),
    };
    let refused = vault.change_operator(&it.operator, id, 1, demote()).await;
    assert!(matches!(refused, Err(VaultError::Conflict(_))));
    let to = PrincipalState::Disabled;
    let refused = vault.set_operator_state(&it.operator, id, 1, to).await;
    assert!(matches!(refused, Err(VaultError::Conflict(_))));
    let key = it.operator_key();
    let refused = vault
        .revoke_key(&it.operator, PrincipalId::Operator(id), key)
        .await;
    assert!(matches!(refused, Err(VaultError::Conflict(_))));
    it.identify(key).await.unwrap();

    // A second one counts as soon as they have a key.
    let new = NewOperator {
        name: "Second".parse().unwrap(),
        role: OperatorRole::TechOps,
    };
    let second = vault.enrol_operator(&it.operator, new).await.unwrap();
    let operator = it.identify(key).await.unwrap();
    let refused = vault.change_operator(&operator, id, 1, demote()).await;
    assert!(matches!(refused, Err(VaultError::Conflict(_))));
    let key = NewKey {
        public_key: Some(P256Key::generate().unwrap().public_key().to_pem()),
        ..NewKey::default()
    };
    let owner = PrincipalId::Operator(second.id);
    vault.register_key(&operator, owner, key).await.unwrap();
    vault
        .change_operator(&operator, id, 1, demote())
        .await
        .unwrap();
    // From now on the first may read and not write.
    let operator = it.identify(it.operator_key()).await.unwrap();
    let new = NewWorkload {
        name: slug("w"),
        environment: slug("production"),
        roles: vec![slug("other")],
        age_recipient: None,
    };
    let refused = vault.enrol_workload(&operator, new).await;
    assert!(matches!(refused, Err(VaultError::Forbidden(_))));
    vault.workloads(&operator, "", 10).await.unwrap();
}

/// Somebody whose only key is a name that a foreign authority vouches for.
#[tokio::test]
async fn the_authority_of_the_last_tech_ops_operator_stays() {
    let it = Deployment::new().await;
    let vault = &it.vault;
    let domain: TrustDomain = "mesh.example".parse().unwrap();
    let made = create_authority(&domain, vault.clock().now(), vault.random().as_ref()).unwrap();
    let new = NewAuthority {
        name: slug("mesh"),
        certificate: write_one(&made.certificate, "CERTIFICATE").to_string(),
        trust_domain: "mesh.example".to_owned(),
    };
    let mesh = vault.add_authority(&it.operator, new).await.unwrap().id;
    let new = NewOperator {
        name: "Second".parse().unwrap(),
        role: OperatorRole::TechOps,
    };
    let second = vault.enrol_operator(&it.operator, new).await.unwrap();
    let key = NewKey {
        spiffe_id: Some("spiffe://mesh.example/second".to_owned()),
        authority: Some(mesh),
        ..NewKey::default()
    };
    let owner = PrincipalId::Operator(second.id);
    let key = vault.register_key(&it.operator, owner, key).await.unwrap();
    let first = PrincipalId::Operator(operator_id(&it));
    vault
        .revoke_key(&it.operator, first, it.operator_key())
        .await
        .unwrap();

    let second = it.identify(key.id).await.unwrap();
    let refused = vault.remove_authority(&second, mesh, None).await;
    assert!(matches!(refused, Err(VaultError::Conflict(_))));
    it.identify(key.id).await.unwrap();
}

#[tokio::test]
async fn a_key_belongs_to_one_principal_for_ever() {
    let it = Deployment::new().await;
    let vault = &it.vault;
    let (one, two) = (
        it.enrol("one", "production", &["other"]).await,
        it.enrol("two", "production", &["other"]).await,
    );
    let owner = PrincipalId::Workload(one.view.id);
    let pair = P256Key::generate().unwrap();
    let forms = || {
        [
            NewKey {
                public_key: Some(pair.public_key().to_pem()),
                ..NewKey::default()
            },
            NewKey {
                csr: Some(pair.request_pem().unwrap()),
                ..NewKey::default()
            },
        ]
    };
    let [first, _] = forms();
    let key = vault
        .register_key(&it.operator, owner, first)
        .await
        .unwrap();
    for round in 0..2 {
        let owners = [two.view.id, one.view.id].map(PrincipalId::Workload);
        for owner in owners.into_iter().chain([it.operator.principal.id()]) {
            for form in forms() {
                let refused = vault.register_key(&it.operator, owner, form).await;
                assert!(
                    matches!(refused, Err(VaultError::Conflict(_))),
                    "{round} {owner}"
                );
            }
        }
        if round == 0 {
            vault.revoke_key(&it.operator, owner, key.id).await.unwrap();
        }
    }
    // A key of another is not there.
    let other = PrincipalId::Workload(two.view.id);
    let refused = vault.revoke_key(&it.operator, other, one.key.id).await;
    assert!(matches!(refused, Err(VaultError::NotFound)));
}

#[tokio::test]
async fn a_workload_sees_nothing_of_the_admin_operations() {
    let it = Deployment::new().await;
    let server = it.enrol("one", "production", &["other"]).await;
    let caller = it.call(&server).await;
    let vault = &it.vault;
    assert!(matches!(
        vault.clients(&caller, "", 1).await,
        Err(VaultError::NotFound)
    ));
    assert!(matches!(
        vault.key_inventory(&caller).await,
        Err(VaultError::NotFound)
    ));
    let refused = vault.audit_checkpoint(&caller, (None, None)).await;
    assert!(matches!(refused, Err(VaultError::NotFound)));
    // What it needs to check the checkpoints that it is given.
    vault.audit_public_key(&caller).await.unwrap();
    let denied = it.audit().await;
    let denied = denied.iter().filter(|(kind, _)| kind == "access.denied");
    assert_eq!(denied.count(), 3);
}
