use super::*;
use crate::identity::mtls::verify_peer;
use crate::identity::testing::{authority_id, leaf_params, now, openssl, openssl_public_pem};
use crate::identity::trust::{Authority, TrustStore};
use crate::random::SystemRandom;

const DAY: i64 = 86_400;

fn domain() -> TrustDomain {
    "dev-01kaqz3m8v7d6k2n4p9r5s1t0x".parse().unwrap()
}

fn issuer() -> Issuer {
    let made = create_authority(&domain(), now(), &SystemRandom::new()).unwrap();
    Issuer::open(made.certificate, made.key, domain()).unwrap()
}

fn id() -> SpiffeId {
    let workload = "wkld_01kaqz3m8v7d6k2n4p9r5s1t0x".parse().unwrap();
    SpiffeId::of_principal(&domain(), workload)
}

#[test]
fn an_issued_certificate_proves_its_name_to_our_own_verifier() {
    let random = SystemRandom::new();
    let issuer = issuer();
    for algorithm in [
        &["ed25519"][..],
        &["EC", "-pkeyopt", "ec_paramgen_curve:P-256"],
    ] {
        let (_, public) = openssl_public_pem(algorithm);
        let key = PublicKey::from_pem(&public).unwrap();
        let issued = issuer
            .issue_client(&key, &id(), DAY, now(), &random)
            .unwrap();
        let trust = TrustStore::new(
            1,
            vec![Authority {
                revision: 1,
                id: authority_id('1'),
                trust_domain: domain(),
                certificate: issuer.certificate().clone(),
                accept_from: None,
                accept_until: None,
                crls: Vec::new(),
                needs_crl: false,
            }],
        )
        .unwrap();
        let peer = verify_peer(std::slice::from_ref(&issued.der), &trust, now()).unwrap();
        let proof = peer.spiffe.unwrap();
        assert_eq!(proof.spiffe_id, id());
        assert_eq!(proof.spki, issued.spki);
        assert_eq!(proof.serial, issued.serial);
        assert_eq!(proof.not_after, issued.not_after);
    }
}

#[test]
fn openssl_accepts_the_chain_for_its_purpose() {
    let random = SystemRandom::new();
    let issuer = issuer();
    let directory = tempfile::tempdir().unwrap();
    let root = directory.path().join("root.pem");
    std::fs::write(&root, issuer.certificate_pem()).unwrap();
    let root = root.to_str().unwrap();
    let key = P256Key::generate().unwrap();
    let client = issuer
        .issue_client(key.public_key(), &id(), DAY, now(), &random)
        .unwrap();
    let names = [
        ServerName::Dns("vault.example.org".into()),
        ServerName::Ip("127.0.0.1".parse().unwrap()),
    ];
    let server = issuer
        .issue_server(key.public_key(), &names, DAY, now(), &random)
        .unwrap();
    for (certificate, purpose) in [(client, "sslclient"), (server, "sslserver")] {
        openssl(
            &[
                "verify",
                "-x509_strict",
                "-CAfile",
                root,
                "-purpose",
                purpose,
            ],
            certificate.pem.as_bytes(),
        );
    }
}

#[test]
fn a_request_gives_its_key_and_nothing_else() {
    let key = P256Key::generate().unwrap();
    assert_eq!(
        read_request(&key.request_pem().unwrap()).unwrap(),
        *key.public_key()
    );
    // Names, constraints and extensions that the sender would like to have.
    let mut greedy = leaf_params("spiffe://example.org/admin");
    greedy.serial_number = None;
    let greedy = greedy.serialize_request(&key).unwrap().pem().unwrap();
    assert_eq!(read_request(&greedy).unwrap(), *key.public_key());
    let (private, public) = openssl_public_pem(&["ed25519"]);
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("key.pem");
    std::fs::write(&path, private).unwrap();
    let request = openssl(
        &[
            "req",
            "-new",
            "-key",
            path.to_str().unwrap(),
            "-subj",
            "/CN=root",
            "-addext",
            "basicConstraints=CA:TRUE",
            "-addext",
            "1.2.3.4=ASN1:NULL",
        ],
        b"",
    );
    let read = read_request(std::str::from_utf8(&request).unwrap()).unwrap();
    assert_eq!(read.to_pem(), public);
    let issued = issuer()
        .issue_client(&read, &id(), DAY, now(), &SystemRandom::new())
        .unwrap();
    let text = openssl(&["x509", "-noout", "-text"], issued.pem.as_bytes());
    let text = String::from_utf8(text).unwrap();
    assert!(text.contains("CA:FALSE") && !text.contains("root") && !text.contains("1.2.3.4"));
    assert!(text.contains("X509v3 Key Usage: critical"));
}

#[test]
fn a_request_with_a_foreign_or_damaged_signature_is_refused() {
    let text = P256Key::generate().unwrap().request_pem().unwrap();
    let der = pem::read_one(&text, "CERTIFICATE REQUEST").unwrap();
    // All but the unsigned name of the algorithm, where the parser takes a foreign tag.
    assert_eq!(der[103..107], [0x30, 10, 6, 8]);
    for position in (0..der.len()).filter(|at| !(103..115).contains(at)) {
        let mut damaged = der.to_vec();
        damaged[position] ^= 1;
        let text = pem::write_one(&damaged, "CERTIFICATE REQUEST");
        assert!(read_request(&text).is_err(), "byte {position}");
    }
    let rsa = openssl_public_pem(&["RSA", "-pkeyopt", "rsa_keygen_bits:2048"]).0;
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("key.pem");
    std::fs::write(&path, rsa).unwrap();
    let request = openssl(
        &[
            "req",
            "-new",
            "-key",
            path.to_str().unwrap(),
            "-subj",
            "/CN=x",
        ],
        b"",
    );
    assert_eq!(
        read_request(std::str::from_utf8(&request).unwrap()),
        Err(RequestError::Key(PublicKeyError::Rsa))
    );
}

#[test]
fn what_cannot_be_issued_is_refused() {
    let random = SystemRandom::new();
    let issuer = issuer();
    let key = P256Key::generate().unwrap();
    let public = key.public_key();
    let foreign: SpiffeId = "spiffe://example.org/workload".parse().unwrap();
    let client = |id: &SpiffeId, secs| issuer.issue_client(public, id, secs, now(), &random).err();
    assert_eq!(client(&foreign, DAY), Some(PkiError::TrustDomain));
    assert_eq!(client(&id(), 0), Some(PkiError::Lifetime));
    assert_eq!(client(&id(), 11 * 365 * DAY), Some(PkiError::Lifetime));
    assert_eq!(client(&id(), i64::MAX), Some(PkiError::Lifetime));
    let server = |names: &[ServerName]| {
        issuer
            .issue_server(public, names, DAY, now(), &random)
            .err()
    };
    assert_eq!(server(&[]), Some(PkiError::ServerName));
    assert_eq!(
        server(&[ServerName::Dns("a b".into())]),
        Some(PkiError::ServerName)
    );
    let other = create_authority(&domain(), now(), &random).unwrap();
    assert_eq!(
        Issuer::open(issuer.certificate().clone(), other.key, domain()).err(),
        Some(PkiError::Key)
    );
}
