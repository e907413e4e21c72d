//! After a restore: whom the revocations since the backup keep out, and how the freeze ends.

use serde_json::{Value, json};

use crate::audit::{Kind, Subject};
use crate::model::{
    AuthorityId, KeyId, OperatorId, OperatorRole, PrincipalId, RequestId, Timestamp,
};
use crate::pki::P256Key;
use crate::random::SystemRandom;
use crate::store::{
    AuthorityOrigin, AuthorityRow, PendingRevocationRow, RevocationListRow, SpentAssertion,
};
use crate::vault::revoked_since::Barred;
use crate::vault::testing::{Deployment, slug};
use crate::vault::{Caller, DeploymentView, NewKey, NewOperator, PrincipalState, Thaw, VaultError};

const RESTORED: Timestamp = Timestamp::from_secs(1_700_000_000);

fn pending(seq: i64, kind: Kind, subjects: &[Subject], detail: Value) -> PendingRevocationRow {
    let subjects: Vec<String> = subjects.iter().map(Subject::to_string).collect();
    PendingRevocationRow {
        node: "node-a".to_owned(),
        epoch: 0,
        seq,
        at: Timestamp::from_secs(1_600_000_000 + seq),
        kind: kind.as_str().to_owned(),
        subjects: subjects.join(" "),
        detail: detail.to_string(),
        settled_at: None,
        outcome: None,
        mac: Vec::new(),
    }
}

/// The deployment as a restore leaves it, with these revocations to be confirmed.
async fn restored(it: Deployment, rows: Vec<PendingRevocationRow>) -> Deployment {
    let mut tx = it.vault.db.write().await.unwrap();
    let mut state = tx.deployment_state().await.unwrap().unwrap();
    state.frozen_since = Some(RESTORED);
    state.restored_at = Some(RESTORED);
    state.pending_revocations = i64::try_from(rows.len()).unwrap();
    assert!(tx.update_deployment_state(&mut state, 1).await.unwrap());
    for row in rows {
        tx.insert_pending_revocation(row).await.unwrap();
    }
    tx.commit().await.unwrap();
    it.restart().await
}

async fn view(it: &Deployment) -> DeploymentView {
    it.vault.deployment_view(&it.operator).await.unwrap()
}

async fn thaw(it: &Deployment, caller: &Caller) -> Result<DeploymentView, VaultError> {
    let thaw = Thaw {
        confirm: it.vault.deployment().to_owned(),
        confirm_revocations: true,
    };
    let revision = view(it).await.revision;
    it.vault.thaw(caller, revision, thaw).await
}

fn is_stranger<T>(outcome: &Result<T, VaultError>) -> bool {
    matches!(outcome, Err(VaultError::Unauthenticated))
}

async fn second_operator(it: &Deployment) -> (OperatorId, KeyId) {
    let new = NewOperator {
        name: "Second".parse().unwrap(),
        role: OperatorRole::TechOps,
    };
    let id = it.vault.enrol_operator(&it.operator, new).await.unwrap().id;
    let key = NewKey {
        public_key: Some(P256Key::generate().unwrap().public_key().to_pem()),
        ..NewKey::default()
    };
    let owner = PrincipalId::Operator(id);
    let key = it.vault.register_key(&it.operator, owner, key).await;
    (id, key.unwrap().id)
}

#[tokio::test]
async fn a_demoted_operator_stays_out_until_the_demotion_is_confirmed() {
    let it = Deployment::new().await;
    let (id, key) = second_operator(&it).await;
    let role = json!({"role": "auditor"});
    let row = pending(1, Kind::OperatorChanged, &[id.into()], role);
    let it = restored(it, vec![row]).await;
    assert!(is_stranger(&it.identify(key).await));
    let thawed = thaw(&it, &it.operator).await.unwrap();
    assert_eq!(thawed.frozen_since, None);
    assert_eq!(thawed.revocations[0].outcome.as_deref(), Some("done"));
    it.identify(key).await.unwrap();
    let now = it.vault.operator(&it.operator, id).await.unwrap();
    assert_eq!(now.role, OperatorRole::Auditor);
}

#[tokio::test]
async fn who_got_more_to_do_after_the_backup_is_not_kept_out_and_gets_nothing() {
    let it = Deployment::new().await;
    let (id, key) = second_operator(&it).await;
    let patch = crate::vault::OperatorPatch {
        name: None,
        role: Some(OperatorRole::Support),
    };
    let changed = it.vault.change_operator(&it.operator, id, 1, patch).await;
    changed.unwrap();
    let role = json!({"role": "tech-ops"});
    let row = pending(1, Kind::OperatorChanged, &[id.into()], role);
    let it = restored(it, vec![row]).await;
    it.identify(key).await.unwrap();
    let thawed = thaw(&it, &it.operator).await.unwrap();
    assert_eq!(thawed.revocations[0].outcome.as_deref(), Some("already"));
    let now = it.vault.operator(&it.operator, id).await.unwrap();
    assert_eq!(now.role, OperatorRole::Support);
}

/// Without the row, a stolen key that was revoked would be good again, and could confirm itself.
#[tokio::test]
async fn promise_4_a_pending_revocation_that_is_taken_away_lets_nobody_in() {
    for forgery in [
        "DELETE FROM pending_revocations",
        "UPDATE pending_revocations SET kind = 'role.created'",
        "UPDATE pending_revocations SET settled_at = 1, outcome = 'done'",
        "UPDATE deployment_state SET pending_revocations = 0; DELETE FROM pending_revocations",
        "DELETE FROM deployment_state; DELETE FROM pending_revocations",
    ] {
        let it = Deployment::new().await;
        let (id, key) = second_operator(&it).await;
        let row = pending(1, Kind::KeyRevoked, &[key.into(), id.into()], json!({}));
        let it = restored(it, vec![row]).await;
        assert!(is_stranger(&it.identify(key).await), "{forgery}");
        it.identify(it.operator_key()).await.unwrap();
        it.forge(forgery).await;
        let it = it.restart().await;
        assert!(is_stranger(&it.identify(key).await), "{forgery}");
        assert!(
            is_stranger(&it.identify(it.operator_key()).await),
            "{forgery}"
        );
    }
}

#[tokio::test]
async fn it_stays_frozen_while_a_rule_forbids_a_revocation() {
    let it = Deployment::new().await;
    let id = it.active("mail", "s").await;
    let server = it.enrol("worker", "production", &["m365-sync"]).await;
    let disabled = it.enrol("gone", "production", &["m365-sync"]).await;
    let role = it.vault.roles(&it.operator, "", 10).await.unwrap().items;
    let role = role.iter().find(|it| it.name == slug("m365-sync")).unwrap();
    let about: [Subject; 2] = [id.into(), role.id.into()];
    let rows = vec![
        pending(
            1,
            Kind::WorkloadDisabled,
            &[disabled.view.id.into()],
            json!({}),
        ),
        pending(2, Kind::CredentialRoleRemoved, &about, json!({})),
        pending(
            3,
            Kind::WorkloadChanged,
            &[server.view.id.into()],
            json!({}),
        ),
    ];
    let it = restored(it, rows).await;
    let refused = thaw(&it, &it.operator).await;
    assert!(matches!(refused, Err(VaultError::Conflict(_))));
    let outcomes = |view: DeploymentView| {
        let rows = view.revocations.into_iter();
        rows.map(|row| row.outcome).collect::<Vec<_>>()
    };
    let after = view(&it).await;
    assert!(after.frozen_since.is_some());
    assert_eq!(outcomes(after), [Some("done".to_owned()), None, None]);
    let refused = it.release(&server, id, None).await;
    assert!(matches!(refused, Err(VaultError::Frozen)));

    // With another role that can open it, the rule forbids nothing.
    let other = slug("other");
    let added = it.vault.add_credential_role(&it.operator, id, None, other);
    added.await.unwrap();
    let thawed = thaw(&it, &it.operator).await.unwrap();
    assert_eq!(thawed.frozen_since, None);
    let expected = ["done", "done", "by-hand"].map(|it| Some(it.to_owned()));
    assert_eq!(outcomes(thawed), expected);
    let refused = it.release(&server, id, None).await;
    assert!(matches!(refused, Err(VaultError::NotFound)));
}

#[tokio::test]
async fn what_is_so_already_or_not_there_is_settled() {
    let it = Deployment::new().await;
    let server = it
        .enrol("worker", "production", &["m365-sync", "other"])
        .await;
    let unknown = crate::model::WorkloadId::from_bytes([7; 16]);
    let roles = it.vault.roles(&it.operator, "", 10).await.unwrap().items;
    let left = roles.iter().find(|it| it.name == slug("other")).unwrap();
    let to = PrincipalState::Disabled;
    let gone = it.enrol("gone", "production", &["other"]).await.view;
    let disabled = it.vault.set_workload_state(&it.operator, gone.id, 1, to);
    disabled.await.unwrap();
    let left: [Subject; 2] = [server.view.id.into(), left.id.into()];
    let rows = vec![
        pending(1, Kind::WorkloadDisabled, &[unknown.into()], json!({})),
        pending(2, Kind::WorkloadDisabled, &[gone.id.into()], json!({})),
        pending(3, Kind::WorkloadChanged, &left, json!({})),
    ];
    let it = restored(it, rows).await;
    let thawed = thaw(&it, &it.operator).await.unwrap();
    let outcomes = thawed.revocations.iter().map(|row| row.outcome.as_deref());
    let expected = ["not-there", "already", "done"].map(Some);
    assert_eq!(outcomes.collect::<Vec<_>>(), expected);
    let now = it.vault.workload(&it.operator, server.view.id).await;
    assert_eq!(now.unwrap().roles, [slug("other")]);
}

/// All of it is one request: its assertion is spent once.
#[tokio::test]
async fn an_operator_with_an_assertion_can_end_the_freeze() {
    let it = Deployment::new().await;
    let server = it.enrol("worker", "production", &["m365-sync"]).await;
    let about = [server.view.id.into()];
    let row = pending(1, Kind::WorkloadDisabled, &about, json!({}));
    let it = restored(it, vec![row]).await;
    let random = SystemRandom::new();
    let request = RequestId::generate(it.vault.clock().now(), &random).unwrap();
    let assertion = SpentAssertion {
        jti: [9; 32],
        forget_at: Timestamp::from_secs(1_800_001_000),
    };
    let key = it.operator_key();
    let caller = it.vault.identify(key, None, Some(assertion), request).await;
    let caller = caller.unwrap();
    thaw(&it, &caller).await.unwrap();
    let again = thaw(&it, &caller).await;
    assert!(is_stranger(&again), "the assertion was not spent");
}

fn authority(byte: u8, origin: AuthorityOrigin) -> AuthorityRow {
    AuthorityRow {
        id: AuthorityId::from_bytes([byte; 16]),
        name: format!("authority-{byte}").parse().unwrap(),
        trust_domain: format!("domain-{byte}.example"),
        certificate: vec![byte],
        origin,
        accept_from: Timestamp::from_secs(0),
        accept_until: None,
        key_generation: None,
        presented_from: None,
        lists_since: None,
        removed_at: None,
        created_at: Timestamp::from_secs(0),
        revision: 1,
        mac: Vec::new(),
    }
}

#[tokio::test]
async fn authorities_that_were_removed_or_narrowed_let_nobody_in() {
    let it = Deployment::new().await;
    let mut tx = it.vault.db.write().await.unwrap();
    let foreign = AuthorityOrigin::Foreign;
    for row in [
        authority(1, foreign),
        authority(2, foreign),
        authority(3, foreign),
        authority(4, AuthorityOrigin::Own),
    ] {
        tx.insert_authority(row).await.unwrap();
    }
    let id = |byte| AuthorityId::from_bytes([byte; 16]);
    let about = |byte| [Subject::from(id(byte))];
    let digest = format!("sha256:{}", "0".repeat(64));
    let until = json!({"accept_until": "2020-01-01T00:00:00Z"});
    let rows = [
        pending(1, Kind::AuthorityRemoved, &about(1), json!({})),
        pending(2, Kind::AuthorityChanged, &about(2), until),
        pending(
            3,
            Kind::RevocationListImported,
            &about(3),
            json!({"list": digest}),
        ),
        pending(4, Kind::AuthorityRemoved, &about(4), json!({})),
    ];
    let ends = Timestamp::from_secs(1_577_836_800);
    let (holder, key) = (it.operator.principal.id(), it.operator_key());
    let out = |barred: &Barred, byte, now| barred.keeps_out(holder, key, Some(id(byte)), now);
    let barred = Barred::by(&mut tx, &rows, Some(RESTORED)).await.unwrap();
    assert!(out(&barred, 1, ends));
    assert!(!out(&barred, 2, ends.plus_secs(-1)) && out(&barred, 2, ends));
    assert!(out(&barred, 3, ends));
    // The registry knows each key that an own one issued for.
    assert!(!out(&barred, 4, ends));
    assert!(!barred.keeps_out(holder, key, None, ends));

    // Newer lists of that authority are there, so that it is as good as before.
    tx.put_revocation_list(RevocationListRow {
        authority_id: id(3),
        scope: String::new(),
        number: vec![1],
        this_update: RESTORED,
        next_update: RESTORED,
        entries: 0,
        imported_at: RESTORED.plus_secs(60),
        list: vec![1],
        mac: Vec::new(),
    })
    .await
    .unwrap();
    let barred = Barred::by(&mut tx, &rows, Some(RESTORED)).await.unwrap();
    assert!(!out(&barred, 3, ends) && out(&barred, 1, ends));
}
