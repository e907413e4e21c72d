//! One-time tokens, and what they give.

use std::sync::Arc;

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, KeyPair, SanType};

use crate::identity::certificate::CertificateFacts;
use crate::model::{PrincipalId, RequestId, WorkloadId};
use crate::pki::P256Key;
use crate::random::SystemRandom;
use crate::secret::Secret;
use crate::vault::testing::Deployment;
use crate::vault::{
    Enrol, Enrolled, NewEnrolmentToken, NewKey, PrincipalState, TokenText, VaultError,
};

/// A token for a principal.
pub(super) async fn token(it: &Deployment, principal: PrincipalId, minutes: i64) -> String {
    let operator = it.identify(it.operator_key()).await.unwrap();
    let new = NewEnrolmentToken {
        lifetime_minutes: Some(minutes),
    };
    let issued = it
        .vault
        .issue_enrolment_token(&operator, principal, new)
        .await;
    String::from_utf8(issued.unwrap().token.into_bytes()).unwrap()
}

pub(super) async fn enrol(it: &Deployment, token: &str, csr: &str) -> Result<Enrolled, VaultError> {
    let random = SystemRandom::new();
    let request = RequestId::generate(it.vault.clock().now(), &random).unwrap();
    let enrol = Enrol {
        token: TokenText(Secret::new(token.as_bytes().to_vec())),
        csr: csr.to_owned(),
    };
    it.vault.enrol(enrol, request).await
}

pub(super) fn csr() -> String {
    P256Key::generate().unwrap().request_pem().unwrap()
}

async fn workload(it: &Deployment, name: &str) -> PrincipalId {
    PrincipalId::Workload(it.enrol(name, "production", &["m365-sync"]).await.view.id)
}

fn id_of(principal: PrincipalId) -> WorkloadId {
    match principal {
        PrincipalId::Workload(id) => id,
        PrincipalId::Operator(_) => unreachable!("a workload"),
    }
}

#[track_caller]
fn refused(result: Result<Enrolled, VaultError>) {
    assert!(matches!(result, Err(VaultError::Unauthenticated)));
}

#[tokio::test]
async fn a_token_gives_a_certificate_and_ends_the_key_before() {
    let it = Deployment::new().await;
    let server = it.enrol("one", "production", &["m365-sync"]).await;
    let principal = PrincipalId::Workload(server.view.id);
    // A key for assertions is none of the authority's business.
    let key = NewKey {
        public_key: Some(P256Key::generate().unwrap().public_key().to_pem()),
        ..NewKey::default()
    };
    let other = it.vault.register_key(&it.operator, principal, key).await;
    let other = other.unwrap().id;

    let text = token(&it, principal, 60).await;
    assert!(text.starts_with("srenrol_") && text.len() == 8 + 43);
    let got = enrol(&it, &text, &csr()).await.unwrap();
    let now = it.vault.clock().now();
    assert_eq!(got.principal.id, principal.to_string());
    assert_eq!(got.principal.name, "one");
    assert_eq!(got.not_after, now.plus_secs(168 * 3600));
    assert_eq!(got.renew_after, now.plus_secs(112 * 3600));
    assert_eq!(got.audience, it.vault.deployment());
    assert!(got.ca.contains(got.chain.trim()));
    let facts = CertificateFacts::of_client(&got.certificate).unwrap();
    assert_eq!(facts.not_after, got.not_after);
    // The new key and that for assertions work; the certificate before is refused at once.
    it.identify(got.key.id).await.unwrap();
    it.identify(other).await.unwrap();
    assert!(it.identify(server.key.id).await.is_err());
    // The second use, with the same key or another.
    refused(enrol(&it, &text, &csr()).await);
    let kinds: Vec<String> = it.audit().await.into_iter().map(|(kind, _)| kind).collect();
    let expected = ["key.registered", "key.revoked", "enrolment-token.used"];
    assert_eq!(kinds[..3], expected, "newest first");
}

#[tokio::test]
async fn a_token_that_is_not_good_is_nobody() {
    let it = Deployment::new().await;
    let principal = workload(&it, "one").await;
    for unknown in ["", "srenrol_", "srenrol_AAAA", &"x".repeat(100_000)] {
        refused(enrol(&it, unknown, &csr()).await);
    }
    // A newer one ends an older one.
    let older = token(&it, principal, 60).await;
    let newer = token(&it, principal, 1).await;
    refused(enrol(&it, &older, &csr()).await);
    // At its end it is over, to the second.
    it.clock.advance(60);
    refused(enrol(&it, &newer, &csr()).await);
    it.clock.advance(-1);
    // One whose holder is disabled.
    let view = it.vault.workload(&it.operator, id_of(principal)).await;
    let revision = view.unwrap().revision;
    let state = |revision, to| {
        it.vault
            .set_workload_state(&it.operator, id_of(principal), revision, to)
    };
    state(revision, PrincipalState::Disabled).await.unwrap();
    refused(enrol(&it, &newer, &csr()).await);
    let new = NewEnrolmentToken::default();
    let none = it.vault.issue_enrolment_token(&it.operator, principal, new);
    assert!(matches!(none.await, Err(VaultError::Conflict(_))));
    state(revision + 1, PrincipalState::Enabled).await.unwrap();
    // One that was revoked, by its own principal's path only.
    let tokens = it.vault.enrolment_tokens(&it.operator, principal).await;
    let mut tokens = tokens.unwrap().into_iter();
    let id = tokens.find(|it| it.revoked_at.is_none()).unwrap().id;
    let other = workload(&it, "two").await;
    let foreign = it.vault.revoke_enrolment_token(&it.operator, other, id);
    assert!(matches!(foreign.await, Err(VaultError::NotFound)));
    let revoke = || it.vault.revoke_enrolment_token(&it.operator, principal, id);
    assert!(revoke().await.unwrap().revoked_at.is_some());
    assert!(matches!(revoke().await, Err(VaultError::Conflict(_))));
    refused(enrol(&it, &newer, &csr()).await);
    // None of it registered a key.
    let keys = it.vault.keys_of(&it.operator, principal).await.unwrap();
    assert_eq!(keys.len(), 1);
    for minutes in [0, -1, 10_081, i64::MAX, i64::MIN] {
        let new = NewEnrolmentToken {
            lifetime_minutes: Some(minutes),
        };
        let none = it.vault.issue_enrolment_token(&it.operator, principal, new);
        assert!(matches!(none.await, Err(VaultError::Invalid(_))));
    }
}

/// Somebody who can only write the database makes a token of their own, or opens a used one again.
#[tokio::test]
async fn a_forged_token_is_absent_and_raises_an_alarm() {
    let it = Deployment::new().await;
    let one = workload(&it, "one").await;
    let two = workload(&it, "two").await;
    let used = token(&it, one, 60).await;
    enrol(&it, &used, &csr()).await.unwrap();
    let id = it.vault.enrolment_tokens(&it.operator, one).await.unwrap()[0].id;
    it.forge("UPDATE enrolment_tokens SET used_at = NULL").await;
    refused(enrol(&it, &used, &csr()).await);
    it.refused(&id.to_string()).await;
    // A token of one turned into one of another.
    let open = token(&it, one, 60).await;
    let turn = format!("UPDATE enrolment_tokens SET principal_id = '{two}' WHERE used_at IS NULL");
    it.forge(&turn).await;
    refused(enrol(&it, &open, &csr()).await);
}

#[tokio::test]
async fn a_request_for_anything_else_leaves_the_token_as_it_was() {
    let it = Deployment::new().await;
    let one = workload(&it, "one").await;
    let two = workload(&it, "two").await;
    let text = token(&it, one, 60).await;
    let deployment = it.vault.deployment();
    let uri = |id: PrincipalId| {
        SanType::URI(
            format!("spiffe://{deployment}/workload/{id}")
                .try_into()
                .unwrap(),
        )
    };
    let dns = || SanType::DnsName("localhost".try_into().unwrap());
    let request = |change: &dyn Fn(&mut CertificateParams)| {
        let mut params = CertificateParams::default();
        params.distinguished_name = rcgen::DistinguishedName::new();
        change(&mut params);
        let key = KeyPair::generate().unwrap();
        params.serialize_request(&key).unwrap().pem().unwrap()
    };
    let whole = csr();
    let weak = KeyPair::generate_for(&rcgen::PKCS_ECDSA_P384_SHA384).unwrap();
    let weak = CertificateParams::default().serialize_request(&weak);
    let mut broken = crate::identity::pem::read_one(&whole, "CERTIFICATE REQUEST")
        .unwrap()
        .to_vec();
    *broken.last_mut().unwrap() ^= 1;
    let broken = crate::identity::pem::write_one(&broken, "CERTIFICATE REQUEST");
    let bad = [
        String::new(),
        "hello".to_owned(),
        whole.replace("CERTIFICATE REQUEST", "CERTIFICATE"),
        format!("{whole}{whole}"),
        whole[..whole.len() / 2].to_owned(),
        broken.to_string(),
        weak.unwrap().pem().unwrap(),
        request(&|it| it.subject_alt_names = vec![uri(two)]),
        request(&|it| it.subject_alt_names = vec![uri(one), uri(two)]),
        request(&|it| it.subject_alt_names = vec![uri(one), dns()]),
        request(&|it| it.subject_alt_names = vec![dns()]),
        request(&|it| it.distinguished_name.push(DnType::OrganizationName, "x")),
        request(&|it| {
            it.distinguished_name.push(DnType::CommonName, "x");
            it.distinguished_name.push(DnType::OrganizationName, "x");
        }),
        request(&|it| it.is_ca = IsCa::Ca(BasicConstraints::Unconstrained)),
    ];
    for (index, bad) in bad.iter().enumerate() {
        match enrol(&it, &text, bad).await {
            Err(VaultError::Invalid(errors)) => assert_eq!(errors[0].field, "csr", "{index}"),
            other => panic!("{index}: {:?}", other.err()),
        }
    }
    // A key that is, or was, somebody's.
    let pair = P256Key::generate().unwrap();
    let key = NewKey {
        public_key: Some(pair.public_key().to_pem()),
        ..NewKey::default()
    };
    let key = it.vault.register_key(&it.operator, two, key).await.unwrap();
    let taken = pair.request_pem().unwrap();
    for round in 0..2 {
        let refused = enrol(&it, &text, &taken).await;
        assert!(matches!(refused, Err(VaultError::Conflict(_))), "{round}");
        if round == 0 {
            it.vault
                .revoke_key(&it.operator, two, key.id)
                .await
                .unwrap();
        }
    }
    // After all that the token is as good as new, and the sender's own name is no other name.
    let good = request(&|it| {
        it.subject_alt_names = vec![uri(one)];
        it.distinguished_name.push(DnType::CommonName, "ignored");
    });
    let got = enrol(&it, &text, &good).await.unwrap();
    assert_eq!(
        got.spiffe_id,
        format!("spiffe://{deployment}/workload/{one}")
    );
}

#[tokio::test]
async fn of_sixteen_with_one_token_one_wins() {
    let it = Arc::new(Deployment::new().await);
    let principal = workload(&it, "one").await;
    let text = token(&it, principal, 60).await;
    let tries = (0..16).map(|_| {
        let (it, text) = (Arc::clone(&it), text.clone());
        tokio::spawn(async move { enrol(&it, &text, &csr()).await })
    });
    let mut won = 0;
    for one in futures_util::future::join_all(tries).await {
        match one.unwrap() {
            Ok(_) => won += 1,
            Err(error) => assert!(matches!(error, VaultError::Unauthenticated)),
        }
    }
    assert_eq!(won, 1);
    let keys = it.vault.keys_of(&it.operator, principal).await.unwrap();
    let live = keys.iter().filter(|key| key.revoked_at.is_none());
    assert_eq!(live.count(), 1);
}

#[tokio::test]
async fn the_last_operator_of_tech_ops_gets_a_new_key_in_the_same_way() {
    let it = Deployment::new().await;
    let me = it.operator.principal.id();
    let text = token(&it, me, 60).await;
    let got = enrol(&it, &text, &csr()).await.unwrap();
    let now = it.vault.clock().now();
    assert_eq!(got.not_after, now.plus_secs(720 * 3600));
    assert_eq!(got.principal.kind, crate::model::PrincipalKind::Operator);
    assert!(it.identify(it.operator_key()).await.is_err());
    let again = it.identify(got.key.id).await.unwrap();
    it.vault.workloads(&again, "", 1).await.unwrap();
}

#[tokio::test]
async fn only_tech_ops_makes_tokens_and_none_is_stored() {
    let it = Deployment::new().await;
    let server = it.enrol("one", "production", &["m365-sync"]).await;
    let principal = PrincipalId::Workload(server.view.id);
    let caller = it.call(&server).await;
    let new = NewEnrolmentToken::default();
    let refused = it
        .vault
        .issue_enrolment_token(&caller, principal, new)
        .await;
    assert!(matches!(refused.err(), Some(VaultError::NotFound)));
    let text = token(&it, principal, 60).await;
    let random = text.strip_prefix("srenrol_").unwrap();
    for file in it.files() {
        let content = std::fs::read(&file).unwrap();
        let found = content
            .windows(random.len())
            .any(|window| window == random.as_bytes());
        assert!(!found, "{}", file.display());
    }
}
