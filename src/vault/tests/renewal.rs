//! Another certificate for the same key.

use super::enrolment::{csr, enrol, token};
use crate::model::{KeyForm, KeyId, PrincipalId, Timestamp};
use crate::pki::P256Key;
use crate::vault::principal_keys::blank_key;
use crate::vault::testing::Deployment;
use crate::vault::{AuthorityPatch, Enrolled, NewKey, Renew, VaultError};

const HOUR: i64 = 3600;
const WEEK: i64 = 168 * HOUR;

/// A workload that enrolled with this key.
async fn enrolled(it: &Deployment, pair: &P256Key) -> (PrincipalId, Enrolled) {
    let server = it.enrol("one", "production", &["m365-sync"]).await;
    let principal = PrincipalId::Workload(server.view.id);
    let token = token(it, principal, 60).await;
    let request = pair.request_pem().unwrap();
    (principal, enrol(it, &token, &request).await.unwrap())
}

async fn renew(it: &Deployment, got: &Enrolled, csr: &str) -> Result<Enrolled, VaultError> {
    let caller = it.identify(got.key.id).await?;
    let csr = csr.to_owned();
    it.vault.renew(&caller, Renew { csr }).await
}

fn now(it: &Deployment) -> Timestamp {
    it.vault.clock().now()
}

/// CVE-2021-32923 and CVE-2020-25816: what is renewed in its last second, or at its end, must not
/// live longer than anything else.
#[tokio::test]
async fn a_renewal_never_lives_longer_than_a_new_certificate() {
    let it = Deployment::new().await;
    let pair = P256Key::generate().unwrap();
    let request = pair.request_pem().unwrap();
    let (principal, mut got) = enrolled(&it, &pair).await;
    let first_end = got.not_after;
    for after in [0, 112 * HOUR, WEEK - 1] {
        it.clock.advance(after);
        let next = renew(&it, &got, &request).await.unwrap();
        assert_eq!(next.not_after, now(&it).plus_secs(WEEK), "{after}");
        assert_eq!(next.renew_after, now(&it).plus_secs(112 * HOUR), "{after}");
        assert_eq!(next.key.id, got.key.id);
        got = next;
    }
    // The key lives on past its first end, and not past its last.
    assert!(now(&it) > first_end);
    it.identify(got.key.id).await.unwrap();
    let keys = it.vault.keys_of(&it.operator, principal).await.unwrap();
    let key = keys.iter().find(|key| key.id == got.key.id).unwrap();
    assert_eq!(key.expires_at, Some(got.not_after));
    it.clock.advance(WEEK);
    let late = renew(&it, &got, &request).await;
    assert!(matches!(late, Err(VaultError::Unauthenticated)));
    it.clock.advance(1);
    let late = renew(&it, &got, &request).await;
    assert!(matches!(late, Err(VaultError::Unauthenticated)));
}

#[tokio::test]
async fn a_renewal_keeps_the_key_and_the_name() {
    let it = Deployment::new().await;
    let pair = P256Key::generate().unwrap();
    let (principal, got) = enrolled(&it, &pair).await;
    let before = it.audit().await.len();
    let refused = |result: Result<Enrolled, VaultError>| match result {
        Err(VaultError::Invalid(errors)) => assert_eq!(errors[0].field, "csr"),
        other => panic!("{:?}", other.err()),
    };
    // Another key, new or of somebody else.
    refused(renew(&it, &got, &csr()).await);
    refused(renew(&it, &got, "none").await);
    // Another name.
    let mut params = rcgen::CertificateParams::default();
    params.distinguished_name = rcgen::DistinguishedName::new();
    let other = format!(
        "spiffe://{}/workload/wkld_01kaqz3m8v7d6k2n4p9r5s1t0x",
        it.vault.deployment()
    );
    params.subject_alt_names = vec![rcgen::SanType::URI(other.try_into().unwrap())];
    let named = params.serialize_request(&pair).unwrap().pem().unwrap();
    refused(renew(&it, &got, &named).await);
    let keys = it.vault.keys_of(&it.operator, principal).await.unwrap();
    let key = keys.iter().find(|key| key.id == got.key.id).unwrap();
    assert_eq!(key.expires_at, Some(got.not_after));
    assert_eq!(it.audit().await.len(), before, "nothing changed");

    // Whoever proved themselves otherwise.
    let key = NewKey {
        public_key: Some(P256Key::generate().unwrap().public_key().to_pem()),
        ..NewKey::default()
    };
    let key = it.vault.register_key(&it.operator, principal, key).await;
    let caller = it.identify(key.unwrap().id).await.unwrap();
    let csr = pair.request_pem().unwrap();
    let none = it.vault.renew(&caller, Renew { csr: csr.clone() }).await;
    assert!(matches!(none, Err(VaultError::NotRenewable)));

    // A caller who was looked up before the key was revoked.
    let caller = it.identify(got.key.id).await.unwrap();
    it.vault
        .revoke_key(&it.operator, principal, got.key.id)
        .await
        .unwrap();
    let none = it.vault.renew(&caller, Renew { csr }).await;
    assert!(matches!(none, Err(VaultError::Unauthenticated)));
}

/// A certificate that was given for longer keeps its end; the next one is of the usual length.
#[tokio::test]
async fn a_long_certificate_keeps_its_end_when_it_is_renewed() {
    let it = Deployment::new().await;
    let server = it.enrol("one", "production", &["m365-sync"]).await;
    let principal = PrincipalId::Workload(server.view.id);
    let pair = P256Key::generate().unwrap();
    let key = NewKey {
        csr: Some(pair.request_pem().unwrap()),
        lifetime_days: Some(825),
        ..NewKey::default()
    };
    let key = it.vault.register_key(&it.operator, principal, key).await;
    let key = key.unwrap();
    let caller = it.identify(key.id).await.unwrap();
    let csr = pair.request_pem().unwrap();
    let next = it.vault.renew(&caller, Renew { csr }).await.unwrap();
    assert_eq!(next.not_after, now(&it).plus_secs(WEEK));
    it.clock.advance(2 * WEEK);
    it.identify(key.id).await.unwrap();
}

/// Near the end of the authority certificates get shorter, and then there are none.
#[tokio::test]
async fn no_certificate_outlives_its_authority() {
    let it = Deployment::new().await;
    let ten_years = 10 * 365 * 24 * HOUR;
    // The operator's own certificate has ended by then.
    let key = NewKey {
        public_key: Some(P256Key::generate().unwrap().public_key().to_pem()),
        ..NewKey::default()
    };
    let me = it.operator.principal.id();
    let key = it.vault.register_key(&it.operator, me, key).await.unwrap();
    let server = it.enrol("one", "production", &["m365-sync"]).await;
    let principal = PrincipalId::Workload(server.view.id);
    it.clock.advance(ten_years - HOUR);
    let operator = it.identify(key.id).await.unwrap();
    let token = |minutes| {
        let new = crate::vault::NewEnrolmentToken {
            lifetime_minutes: Some(minutes),
        };
        it.vault.issue_enrolment_token(&operator, principal, new)
    };
    let text = |token: crate::secret::Secret| String::from_utf8(token.into_bytes()).unwrap();
    let one = text(token(60).await.unwrap().token);
    let got = enrol(&it, &one, &csr()).await.unwrap();
    assert!(got.not_after <= now(&it).plus_secs(HOUR));
    assert!(got.not_after > now(&it).plus_secs(HOUR - 5));
    it.clock.advance(HOUR - 1);
    let two = text(token(60).await.unwrap().token);
    it.clock.advance(2);
    let ended = enrol(&it, &two, &csr()).await;
    assert!(matches!(ended, Err(VaultError::Conflict(text)) if text.contains("has ended")));
}

/// Whoever has one key cannot fill the registry and the revocation list with it.
#[tokio::test]
async fn one_key_has_sixteen_certificates_at_most() {
    let it = Deployment::new().await;
    let pair = P256Key::generate().unwrap();
    let request = pair.request_pem().unwrap();
    let (principal, got) = enrolled(&it, &pair).await;
    for _ in 1..16 {
        it.clock.advance(1);
        renew(&it, &got, &request).await.unwrap();
    }
    let before = it.audit().await.len();
    let refused = renew(&it, &got, &request).await;
    assert!(
        matches!(refused, Err(VaultError::Conflict(text)) if text.starts_with("this key has 16"))
    );
    assert_eq!(it.audit().await.len(), before, "nothing changed");
    // Of several at the same moment the transaction counts.
    let key = it.vault.db.read().await.unwrap().key(got.key.id).await;
    let mut key = key.unwrap().unwrap();
    let issued = it
        .vault
        .issue_client_certificate(principal, pair.public_key(), HOUR, now(&it))
        .await
        .unwrap();
    let mut tx = it.vault.db.write().await.unwrap();
    assert!(matches!(
        issued.renew(&mut tx, &mut key).await,
        Err(VaultError::Conflict(_))
    ));
    drop(tx);
    // One that ended makes room for one.
    it.clock.advance(WEEK - 14);
    renew(&it, &got, &request).await.unwrap();
    assert!(renew(&it, &got, &request).await.is_err());
    // All of them are revoked with the key, and only they.
    let other = it.enrol("two", "production", &["m365-sync"]).await;
    it.vault
        .revoke_key(&it.operator, principal, got.key.id)
        .await
        .unwrap();
    let own = it.vault.authorities().await.unwrap().rows[0].id;
    let mut tx = it.vault.db.read().await.unwrap();
    let revoked = tx.revoked_of(own, now(&it)).await.unwrap();
    let of_key = |key| revoked.iter().filter(|row| row.key_id == key).count();
    assert_eq!((of_key(got.key.id), of_key(other.key.id)), (16, 0));
}

/// An operator brought its end forward: what is issued ends with it, and after it there is nothing.
#[tokio::test]
async fn no_certificate_outlives_the_acceptance_of_its_authority() {
    let it = Deployment::new().await;
    let key = NewKey {
        public_key: Some(P256Key::generate().unwrap().public_key().to_pem()),
        ..NewKey::default()
    };
    let me = it.operator.principal.id();
    let key = it.vault.register_key(&it.operator, me, key).await.unwrap();
    let operator = it.identify(key.id).await.unwrap();
    let pair = P256Key::generate().unwrap();
    let request = pair.request_pem().unwrap();
    let (principal, got) = enrolled(&it, &pair).await;
    let own = it.vault.authorities().await.unwrap().rows[0].clone();
    // What is signed already, and recorded later.
    let late = P256Key::generate().unwrap();
    let late = it
        .vault
        .issue_client_certificate(principal, late.public_key(), WEEK, now(&it))
        .await
        .unwrap();
    let until = now(&it).plus_secs(HOUR);
    let patch = AuthorityPatch {
        accept_until: Some(until),
        ..AuthorityPatch::default()
    };
    it.vault
        .change_authority(&operator, own.id, own.revision, patch)
        .await
        .unwrap();
    let mut tx = it.vault.db.write().await.unwrap();
    let id = KeyId::generate(now(&it), it.vault.random.as_ref()).unwrap();
    let blank = blank_key(id, principal, KeyForm::IssuedCertificate, now(&it));
    let refused = late.register(&mut tx, blank).await;
    assert!(matches!(refused, Err(VaultError::Conflict(_))));
    drop(tx);

    let next = renew(&it, &got, &request).await.unwrap();
    assert!(next.not_after < until && next.not_after > now(&it).plus_secs(HOUR - 5));
    it.clock.advance(HOUR);
    let new = NewKey {
        csr: Some(csr()),
        ..NewKey::default()
    };
    let ended = it.vault.register_key(&operator, principal, new).await;
    assert!(matches!(ended, Err(VaultError::Conflict(text)) if text.contains("has ended")));
}

/// A fleet renews all the time; what chains are checked against stays as it is.
#[tokio::test]
async fn a_renewal_leaves_the_authorities_in_memory() {
    let it = Deployment::new().await;
    let pair = P256Key::generate().unwrap();
    let (principal, got) = enrolled(&it, &pair).await;
    let before = it.vault.authorities().await.unwrap();
    let request = pair.request_pem().unwrap();
    renew(&it, &got, &request).await.unwrap();
    it.vault
        .revoke_key(&it.operator, principal, got.key.id)
        .await
        .unwrap();
    let after = it.vault.authorities().await.unwrap();
    assert!(std::sync::Arc::ptr_eq(&before, &after));
    assert!(it.identify(got.key.id).await.is_err());
}
