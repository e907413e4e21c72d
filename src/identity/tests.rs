use std::collections::HashMap;

use futures_util::future::{BoxFuture, FutureExt as _, ready};

use super::assertion_key::{AssertionKey, make_assertion};
use super::mtls::verify_peer;
use super::spiffe::SpiffeId;
use super::testing::{TestCa, leaf_params, now};
use super::trust::TrustStore;
use super::*;
use crate::model::{KeyId, PrincipalId};
use crate::pki::Ed25519Key;
use crate::random::SystemRandom;

const AUDIENCE: &str = "dev-01kaqz3m8v7d6k2n4p9r5s1t0x";
const NAME: &str = "spiffe://example.org/sync";

#[derive(Default)]
struct Table {
    spki: HashMap<SpkiHash, Lookup<RegisteredCertificate>>,
    spiffe: HashMap<String, Lookup<RegisteredCertificate>>,
    keys: HashMap<KeyId, Lookup<(RegisteredKey, Principal)>>,
    down: bool,
}

impl Table {
    fn answer<T>(
        &self,
        found: Option<&Lookup<T>>,
    ) -> BoxFuture<'static, Result<Lookup<T>, RegistryError>>
    where
        T: Clone + Send + 'static,
    {
        let found = found.cloned().unwrap_or(Lookup::Unknown);
        let answer = if self.down {
            Err(RegistryError)
        } else {
            Ok(found)
        };
        ready(answer).boxed()
    }
}

impl Registry for Table {
    fn certificate_by_spki(
        &self,
        spki: SpkiHash,
    ) -> BoxFuture<'_, Result<Lookup<RegisteredCertificate>, RegistryError>> {
        self.answer(self.spki.get(&spki))
    }

    fn certificate_by_spiffe<'a>(
        &'a self,
        proof: &'a SpiffeProof,
    ) -> BoxFuture<'a, Result<Lookup<RegisteredCertificate>, RegistryError>> {
        self.answer(self.spiffe.get(proof.spiffe_id.as_str()))
    }

    fn assertion_key(
        &self,
        key: KeyId,
    ) -> BoxFuture<'_, Result<Lookup<(RegisteredKey, Principal)>, RegistryError>> {
        self.answer(self.keys.get(&key))
    }
}

fn principal(last: char) -> Principal {
    Principal::Operator {
        id: format!("oper_01kaqz3m8v7d6k2n4p9r5s1t0{last}")
            .parse()
            .unwrap(),
        name: "A".parse().unwrap(),
        role: crate::model::OperatorRole::TechOps,
        key: kid(last),
    }
}

fn kid(last: char) -> KeyId {
    format!("pkey_01kaqz3m8v7d6k2n4p9r5s1t0{last}")
        .parse()
        .unwrap()
}

fn registered(form: KeyForm, spiffe_id: Option<&str>, last: char) -> Lookup<RegisteredCertificate> {
    Lookup::Live(RegisteredCertificate {
        form,
        spiffe_id: spiffe_id.map(|text| text.parse::<SpiffeId>().unwrap()),
        principal: principal(last),
    })
}

/// A peer with a good certificate for [`NAME`].
fn peer() -> VerifiedPeer {
    let ca = TestCa::new("ca");
    let trust = TrustStore::new(1, vec![ca.authority('1', "example.org")]).unwrap();
    verify_peer(&[ca.leaf(&leaf_params(NAME))], &trust, now()).unwrap()
}

/// A peer with a certificate of nobody's.
fn stranger() -> VerifiedPeer {
    let trust = TrustStore::new(1, Vec::new()).unwrap();
    verify_peer(&[TestCa::new("x").leaf(&leaf_params(NAME))], &trust, now()).unwrap()
}

fn ask(
    table: &Table,
    peer: Option<&VerifiedPeer>,
    bearer: Option<&str>,
) -> Result<(PrincipalId, Vec<Proof>), Reason> {
    let answer = authenticate(table, peer, bearer, AUDIENCE, now());
    match answer.now_or_never().unwrap() {
        Ok(found) => Ok((found.principal.id(), found.proofs)),
        Err(AuthenticateError::Unauthenticated(refused)) => {
            assert_eq!(refused.to_string(), "authentication failed");
            Err(refused.reason())
        }
        Err(AuthenticateError::Registry(error)) => panic!("{error}"),
    }
}

/// Registers an assertion key for a principal and signs a token with it.
fn token(table: &mut Table, last: char) -> String {
    let key = Ed25519Key::generate(&SystemRandom::new()).unwrap();
    let key = AssertionKey::from_pem(&key.to_pem()).unwrap();
    let owner = principal(last).id();
    let found = RegisteredKey {
        id: kid(last),
        owner,
        public_key: key.public_key().clone(),
    };
    table
        .keys
        .insert(kid(last), Lookup::Live((found, principal(last))));
    make_assertion(
        &key,
        kid(last),
        owner,
        AUDIENCE,
        now(),
        &SystemRandom::new(),
        60,
    )
    .unwrap()
}

#[test]
fn a_pinned_key_is_known_without_its_chain() {
    let mut table = Table::default();
    let peer = stranger();
    assert_eq!(ask(&table, Some(&peer), None), Err(Reason::ChainUntrusted));
    let pinned = registered(KeyForm::PinnedCertificate, None, '1');
    table.spki.insert(peer.spki, pinned);
    let (id, proofs) = ask(&table, Some(&peer), None).unwrap();
    assert_eq!(id, principal('1').id());
    assert_eq!(proofs, [Proof::Pinned { spki: peer.spki }]);
}

#[test]
fn a_pinned_key_stays_itself_whatever_its_certificate_is_called() {
    let mut table = Table::default();
    let peer = peer();
    table
        .spki
        .insert(peer.spki, registered(KeyForm::PinnedCertificate, None, '1'));
    table
        .spiffe
        .insert(NAME.into(), registered(KeyForm::Spiffe, Some(NAME), '2'));
    assert_eq!(
        ask(&table, Some(&peer), None).unwrap().0,
        principal('1').id()
    );
    table.spki.insert(peer.spki, Lookup::Revoked);
    assert_eq!(ask(&table, Some(&peer), None), Err(Reason::KeyRevoked));
    table.spki.clear();
    assert_eq!(
        ask(&table, Some(&peer), None).unwrap().0,
        principal('2').id()
    );
}

#[test]
fn a_spiffe_id_has_to_be_registered_as_such() {
    let mut table = Table::default();
    let peer = peer();
    assert_eq!(ask(&table, Some(&peer), None), Err(Reason::NotRegistered));
    for form in [
        KeyForm::PinnedCertificate,
        KeyForm::IssuedCertificate,
        KeyForm::P256,
    ] {
        table
            .spiffe
            .insert(NAME.into(), registered(form, Some(NAME), '1'));
        assert_eq!(ask(&table, Some(&peer), None), Err(Reason::KeyOfOtherForm));
    }
    table.spiffe.insert(NAME.into(), Lookup::Revoked);
    assert_eq!(ask(&table, Some(&peer), None), Err(Reason::KeyRevoked));
}

#[test]
fn an_issued_certificate_needs_its_key_its_chain_and_its_name() {
    let mut table = Table::default();
    let (good, bad) = (peer(), stranger());
    for (peer, name, result) in [
        (&good, Some(NAME), Ok(principal('1').id())),
        (
            &good,
            Some("spiffe://example.org/other"),
            Err(Reason::NotRegistered),
        ),
        (&good, None, Err(Reason::NotRegistered)),
        (&bad, Some(NAME), Err(Reason::ChainUntrusted)),
    ] {
        table
            .spki
            .insert(peer.spki, registered(KeyForm::IssuedCertificate, name, '1'));
        assert_eq!(ask(&table, Some(peer), None).map(|found| found.0), result);
    }
}

#[test]
fn a_key_for_assertions_opens_no_connection() {
    let mut table = Table::default();
    let peer = peer();
    table
        .spiffe
        .insert(NAME.into(), registered(KeyForm::Spiffe, Some(NAME), '1'));
    for form in [KeyForm::Ed25519, KeyForm::P256, KeyForm::Spiffe] {
        table.spki.insert(peer.spki, registered(form, None, '1'));
        assert_eq!(ask(&table, Some(&peer), None), Err(Reason::KeyOfOtherForm));
    }
}

#[test]
fn an_assertion_proves_its_owner_and_a_revoked_or_unknown_key_nobody() {
    let mut table = Table::default();
    let token = token(&mut table, '1');
    let (id, proofs) = ask(&table, None, Some(&token)).unwrap();
    assert_eq!(id, principal('1').id());
    assert!(matches!(proofs.as_slice(), [Proof::Assertion(_)]));
    table.keys.insert(kid('1'), Lookup::Revoked);
    assert_eq!(ask(&table, None, Some(&token)), Err(Reason::KeyRevoked));
    table.keys.clear();
    assert_eq!(ask(&table, None, Some(&token)), Err(Reason::NotRegistered));
    assert_eq!(ask(&table, None, Some("")), Err(Reason::AssertionMalformed));
}

#[test]
fn certificate_and_assertion_name_the_same_principal_or_nobody() {
    let mut table = Table::default();
    let peer = peer();
    table
        .spki
        .insert(peer.spki, registered(KeyForm::PinnedCertificate, None, '1'));
    let (same, other) = (token(&mut table, '1'), token(&mut table, '2'));
    let (_, proofs) = ask(&table, Some(&peer), Some(&same)).unwrap();
    assert_eq!(proofs.len(), 2);
    assert_eq!(
        ask(&table, Some(&peer), Some(&other)),
        Err(Reason::PrincipalsDiffer)
    );
    assert_eq!(
        ask(&table, Some(&peer), Some("x.y.z")),
        Err(Reason::AssertionHeader)
    );
    assert_eq!(
        ask(&table, Some(&stranger()), Some(&same)),
        Err(Reason::ChainUntrusted)
    );
    assert_eq!(ask(&table, None, None), Err(Reason::NothingPresented));
}

#[test]
fn a_registry_that_mixes_up_an_owner_authenticates_nobody() {
    let mut table = Table::default();
    let token = token(&mut table, '1');
    if let Some(Lookup::Live((_, owner))) = table.keys.get_mut(&kid('1')) {
        *owner = principal('2');
    }
    assert_eq!(
        ask(&table, None, Some(&token)),
        Err(Reason::PrincipalsDiffer)
    );
}

#[test]
fn a_registry_that_is_down_is_not_a_refusal() {
    let mut table = Table::default();
    let token = token(&mut table, '1');
    table.down = true;
    let peer = peer();
    for (peer, bearer) in [(Some(&peer), None), (None, Some(token.as_str()))] {
        let answer = authenticate(&table, peer, bearer, AUDIENCE, now());
        let answer = answer.now_or_never().unwrap();
        assert!(matches!(answer, Err(AuthenticateError::Registry(_))));
    }
}
