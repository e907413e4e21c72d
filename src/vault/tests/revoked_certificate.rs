//! Promise 3 for certificates of foreign authorities: what comes between the check of a chain and the
//! durable record, or into the middle of a bundle, counts.

use std::sync::Arc;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use futures_util::StreamExt as _;
use rcgen::SerialNumber;
use rustls_pki_types::CertificateDer;

use crate::clock::Clock as _;
use crate::identity::mtls::verify_peer;
use crate::identity::testing::{TestCa, leaf_params, moment};
use crate::model::{AuthorityId, CredentialId, KeyId, PrincipalId, RequestId};
use crate::random::SystemRandom;
use crate::vault::testing::{Deployment, slug};
use crate::vault::{
    AuthorityPatch, BundleAnswer, BundleFilter, Caller, Form, NewAuthority, NewKey,
    NewRevocationList, NewWorkload, VaultError, Vouched,
};

const NAME: &str = "spiffe://mesh.example/sync";

/// A workload that shows certificates of somebody else's authority.
struct Meshed {
    it: Deployment,
    ca: TestCa,
    authority: AuthorityId,
    key: KeyId,
    credential: CredentialId,
}

impl Meshed {
    async fn new() -> Self {
        let it = Deployment::new().await;
        let mut params = TestCa::params("mesh");
        params.not_after = moment(it.clock.now().plus_secs(86_400));
        let ca = TestCa::with(params);
        let pem = crate::identity::pem::write_one(&ca.certificate, "CERTIFICATE");
        let new = NewAuthority {
            name: slug("mesh"),
            certificate: pem.to_string(),
            trust_domain: "mesh.example".to_owned(),
        };
        let added = it.vault.add_authority(&it.operator, new).await;
        let authority = added.unwrap().id;
        let new = NewWorkload {
            name: slug("meshed"),
            environment: slug("production"),
            roles: vec![slug("m365-sync")],
            age_recipient: None,
        };
        let workload = it.vault.enrol_workload(&it.operator, new).await.unwrap();
        let key = NewKey {
            spiffe_id: Some(NAME.to_owned()),
            authority: Some(authority),
            ..NewKey::default()
        };
        let owner = PrincipalId::Workload(workload.id);
        let key = it.vault.register_key(&it.operator, owner, key).await;
        let (key, credential) = (key.unwrap().id, it.active("mail", "s").await);
        Self {
            it,
            ca,
            authority,
            key,
            credential,
        }
    }

    fn leaf(&self, serial: u8) -> Arc<[CertificateDer<'static>]> {
        let mut params = leaf_params(NAME);
        params.serial_number = Some(SerialNumber::from_slice(&[serial]));
        params.not_after = moment(self.it.clock.now().plus_secs(3600));
        Arc::new([self.ca.leaf(&params)])
    }

    /// A request that was let in by the chain, checked against the authorities as they are now.
    async fn let_in(&self, chain: &Arc<[CertificateDer<'static>]>) -> Result<Caller, VaultError> {
        let vault = &self.it.vault;
        let authorities = vault.authorities().await.unwrap();
        let now = vault.clock().now();
        let peer = verify_peer(chain, &authorities.trust, now).unwrap();
        let proof = peer.spiffe.map_err(|_| VaultError::Unauthenticated)?;
        let vouched = Vouched {
            authority: proof.authority,
            revision: proof.authority_revision,
            chain: Arc::clone(chain),
        };
        let request = RequestId::generate(now, &SystemRandom::new()).unwrap();
        vault.identify(self.key, Some(vouched), None, request).await
    }

    async fn release(&self, caller: Caller) -> Result<(), VaultError> {
        let id = Some(self.credential);
        let released = self.it.vault.release(caller, id, None, None, Form::Json);
        released.await.map(|_| ())
    }

    async fn import(&self, revoked: &[u8]) {
        let list = self.ca.crl(revoked, self.it.clock.now().plus_secs(3600));
        let crl = STANDARD.encode(&list);
        let (it, new) = (&self.it, NewRevocationList { crl });
        let imported = it
            .vault
            .import_revocation_list(&it.operator, self.authority, new);
        imported.await.unwrap();
    }

    async fn intents(&self) -> usize {
        let all = self.it.audit().await;
        all.iter()
            .filter(|(kind, _)| kind == "release.intent")
            .count()
    }
}

#[tokio::test]
async fn a_list_that_comes_after_the_chain_was_checked_is_heard_before_anything_is_released() {
    let it = Meshed::new().await;
    let (revoked, good) = (it.leaf(3), it.leaf(4));
    it.release(it.let_in(&revoked).await.unwrap())
        .await
        .unwrap();
    let before = (
        it.let_in(&revoked).await.unwrap(),
        it.let_in(&good).await.unwrap(),
    );
    it.import(&[3]).await;
    let intents = it.intents().await;
    let refused = it.release(before.0).await;
    assert!(
        matches!(refused, Err(VaultError::Unauthenticated)),
        "{refused:?}"
    );
    assert_eq!(it.intents().await, intents);
    // Whoever the list says nothing about is let through, in the same request.
    it.release(before.1).await.unwrap();
    assert_eq!(it.intents().await, intents + 1);
    let refused = it.let_in(&revoked).await;
    assert!(matches!(refused, Err(VaultError::Unauthenticated)));
}

#[tokio::test]
async fn an_authority_whose_time_was_ended_or_that_was_removed_vouches_for_no_request_under_way() {
    let it = Meshed::new().await;
    let chain = it.leaf(4);
    let (vault, operator) = (&it.it.vault, &it.it.operator);
    let before = it.let_in(&chain).await.unwrap();
    let view = vault.authority(operator, it.authority).await.unwrap();
    let patch = AuthorityPatch {
        accept_from: Some(view.not_before),
        accept_until: Some(it.it.clock.now()),
        presented_from: None,
    };
    let changed = vault.change_authority(operator, it.authority, view.revision, patch);
    changed.await.unwrap();
    let refused = it.release(before).await;
    assert!(matches!(refused, Err(VaultError::Unauthenticated)));

    let view = vault.authority(operator, it.authority).await.unwrap();
    let patch = AuthorityPatch {
        accept_until: Some(view.not_after),
        ..AuthorityPatch::default()
    };
    let changed = vault.change_authority(operator, it.authority, view.revision, patch);
    changed.await.unwrap();
    let before = it.let_in(&chain).await.unwrap();
    it.import(&[3]).await;
    let seen = vault.authority(operator, it.authority).await.unwrap();
    assert_eq!(
        (seen.last_used_at.is_some(), seen.revocation_lists.len()),
        (true, 1)
    );
    let removed = vault.remove_authority(operator, it.authority, None);
    let removed = removed.await.unwrap();
    // What is answered is what is shown from then on.
    let now = vault.authority(operator, it.authority).await.unwrap();
    assert!(removed.removed_at.is_some());
    assert_eq!(removed.last_used_at, seen.last_used_at);
    let text = |view| serde_json::to_string(view).unwrap();
    assert_eq!(text(&removed), text(&now));
    let list = vault.list_authorities(operator, "", 10).await.unwrap();
    let listed = list.items.iter().find(|view| view.id == it.authority);
    assert_eq!(text(listed.unwrap()), text(&now));
    let refused = it.release(before).await;
    assert!(matches!(refused, Err(VaultError::Unauthenticated)));
}

#[tokio::test]
async fn a_bundle_under_way_ends_when_a_list_revokes_its_callers_certificate() {
    let it = Meshed::new().await;
    for (serial, goes_on) in [(3, false), (4, true)] {
        let caller = it.let_in(&it.leaf(serial)).await.unwrap();
        let filter = BundleFilter::default();
        let bundle = it
            .it
            .vault
            .release_bundle(caller, &filter, None, Form::Json);
        let BundleAnswer::Values(bundle) = bundle.await.unwrap() else {
            panic!("values");
        };
        let mut stream = Box::pin(bundle.into_stream());
        stream.next().await.unwrap().unwrap();
        it.import(&[3]).await;
        let rest: Vec<_> = stream.collect().await;
        assert_eq!(rest.iter().all(Result::is_ok), goes_on, "{serial}");
        let removed = it
            .it
            .vault
            .remove_revocation_lists(&it.it.operator, it.authority);
        removed.await.unwrap();
    }
}
