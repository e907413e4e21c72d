use rcgen::{
    BasicConstraints, CertificateParams, CustomExtension, DnType, ExtendedKeyUsagePurpose, IsCa,
    KeyUsagePurpose, SanType,
};

use super::*;
use crate::identity::certificate::CertificateFacts;
use crate::identity::pem;
use crate::identity::testing::{TestCa, leaf_params, moment, now, openssl, uri};
use crate::identity::trust::{Authority, TrustError};
use crate::pki::P256Key;

const NAME: &str = "spiffe://example.org/sync";

fn store(authorities: Vec<Authority>) -> TrustStore {
    TrustStore::new(1, authorities).unwrap()
}

fn spiffe(
    chain: &[CertificateDer<'_>],
    authorities: Vec<Authority>,
) -> Result<SpiffeProof, Reason> {
    verify_peer(chain, &store(authorities), now())?.spiffe
}

#[test]
fn a_good_leaf_names_its_workload_and_authority() {
    let ca = TestCa::new("ca");
    let authority = ca.authority('1', "example.org");
    let proof = spiffe(&[ca.leaf(&leaf_params(NAME))], vec![authority.clone()]).unwrap();
    assert_eq!(proof.spiffe_id.as_str(), NAME);
    assert_eq!(proof.authority, authority.id);
    assert_eq!(proof.serial, [7]);

    let intermediate = ca.intermediate("between");
    let leaf = intermediate.leaf(&leaf_params(NAME));
    let chain = [leaf.clone(), intermediate.certificate.clone()];
    assert!(spiffe(&chain, vec![authority.clone()]).is_ok());
    assert_eq!(
        spiffe(&[leaf], vec![authority]),
        Err(Reason::ChainUntrusted),
        "without the certificate between"
    );
}

#[test]
fn every_rule_for_a_spiffe_leaf_holds() {
    let ca = TestCa::new("ca");
    type Case = (&'static str, Reason, fn(&mut CertificateParams));
    let cases: &[Case] = &[
        ("two names", Reason::CertificateNames, |p| {
            p.subject_alt_names.push(uri("spiffe://example.org/admin"));
        }),
        ("no name", Reason::CertificateNames, |p| {
            p.subject_alt_names.clear()
        }),
        ("a host name only", Reason::CertificateNames, |p| {
            p.subject_alt_names = vec![SanType::DnsName("example.org".try_into().unwrap())];
        }),
        ("an unreadable name", Reason::CertificateNames, |p| {
            p.subject_alt_names.clear();
            // GeneralNames with a good URI and one that is no IA5String.
            let mut names = vec![0x30, (NAME.len() + 6) as u8, 0x86, NAME.len() as u8];
            names.extend_from_slice(NAME.as_bytes());
            names.extend_from_slice(&[0x86, 2, 0xff, 0xfe]);
            p.custom_extensions
                .push(CustomExtension::from_oid_content(&[2, 5, 29, 17], names));
        }),
        ("another scheme", Reason::SpiffeIdMalformed, |p| {
            p.subject_alt_names = vec![uri("https://example.org/sync")];
        }),
        ("no path", Reason::SpiffeIdMalformed, |p| {
            p.subject_alt_names = vec![uri("spiffe://example.org")];
        }),
        ("another domain", Reason::TrustDomain, |p| {
            p.subject_alt_names = vec![uri("spiffe://example.com/sync")];
        }),
        ("an authority", Reason::CertificateUsage, |p| {
            p.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        }),
        ("may sign certificates", Reason::CertificateUsage, |p| {
            p.key_usages.push(KeyUsagePurpose::KeyCertSign);
        }),
        ("may sign lists", Reason::CertificateUsage, |p| {
            p.key_usages.push(KeyUsagePurpose::CrlSign);
        }),
        ("no digital signature", Reason::CertificateUsage, |p| {
            p.key_usages = vec![KeyUsagePurpose::KeyAgreement];
        }),
        ("no key usage", Reason::CertificateUsage, |p| {
            p.key_usages.clear()
        }),
        ("key usage not critical", Reason::CertificateUsage, |p| {
            p.key_usages.clear();
            let bits = vec![3, 2, 7, 0x80];
            p.custom_extensions
                .push(CustomExtension::from_oid_content(&[2, 5, 29, 15], bits));
        }),
        ("for servers only", Reason::CertificateUsage, |p| {
            p.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        }),
        ("for anything", Reason::CertificateUsage, |p| {
            p.extended_key_usages = vec![ExtendedKeyUsagePurpose::Any];
        }),
    ];
    for (what, reason, change) in cases {
        let mut params = leaf_params(NAME);
        change(&mut params);
        let result = spiffe(&[ca.leaf(&params)], vec![ca.authority('1', "example.org")]);
        assert_eq!(result, Err(*reason), "{what}");
    }
    // Neither absent extended usage nor other kinds of names are faults.
    let mut params = leaf_params(NAME);
    params.extended_key_usages.clear();
    params
        .subject_alt_names
        .push(SanType::DnsName("sync.example.org".try_into().unwrap()));
    assert!(spiffe(&[ca.leaf(&params)], vec![ca.authority('1', "example.org")]).is_ok());
}

#[test]
fn the_leaf_counts_only_between_its_dates() {
    let ca = TestCa::new("ca");
    let trust = store(vec![ca.authority('1', "example.org")]);
    let chain = [ca.leaf(&leaf_params(NAME))];
    let end = now().plus_secs(3600);
    let peer = verify_peer(&chain, &trust, now()).unwrap();
    assert!(peer.spiffe.is_ok());
    assert!((end.plus_secs(-5)..=end.plus_secs(1)).contains(&peer.valid_until));
    assert!(peer.is_current(&trust, now()));
    assert!(!peer.is_current(&trust, peer.valid_until));
    assert!(
        !peer.is_current(&trust, now().plus_secs(-60)),
        "the clock went back"
    );
    let newer = TrustStore::new(2, Vec::new()).unwrap();
    assert!(!peer.is_current(&newer, now()));

    let last = peer.valid_until.plus_secs(-1);
    assert!(verify_peer(&chain, &trust, last).unwrap().spiffe.is_ok());
    assert_eq!(
        verify_peer(&chain, &trust, peer.valid_until).unwrap_err(),
        Reason::CertificateExpired
    );
    assert_eq!(
        verify_peer(&chain, &trust, now().plus_secs(-4000)).unwrap_err(),
        Reason::CertificateNotYetValid
    );
}

#[test]
fn an_authority_counts_only_within_its_window_and_dates() {
    let ca = TestCa::new("ca");
    let chain = [ca.leaf(&leaf_params(NAME))];
    let mut authority = ca.authority('1', "example.org");
    authority.accept_from = Some(now().plus_secs(60));
    authority.accept_until = Some(now().plus_secs(120));
    let trust = store(vec![authority]);
    let early = verify_peer(&chain, &trust, now()).unwrap();
    assert_eq!(early.spiffe, Err(Reason::ChainUntrusted));
    // The refusal, too, ends when the window opens.
    let within = early.valid_until;
    let peer = verify_peer(&chain, &trust, within).unwrap();
    assert!(peer.spiffe.is_ok());
    let late = verify_peer(&chain, &trust, peer.valid_until).unwrap();
    assert_eq!(late.spiffe, Err(Reason::ChainUntrusted));

    let mut params = TestCa::params("expired");
    params.not_after = moment(now().plus_secs(-10));
    let expired = TestCa::with(params);
    let chain = [expired.leaf(&leaf_params(NAME))];
    assert_eq!(
        spiffe(&chain, vec![expired.authority('1', "example.org")]),
        Err(Reason::ChainUntrusted),
        "the dates of the authority itself count"
    );
}

#[test]
fn two_authorities_of_one_domain_are_valid_at_once() {
    let (old, new) = (TestCa::new("ca"), TestCa::new("ca"));
    let authorities = || {
        vec![
            old.authority('1', "example.org"),
            new.authority('2', "example.org"),
        ]
    };
    let by_old = spiffe(&[old.leaf(&leaf_params(NAME))], authorities()).unwrap();
    let by_new = spiffe(&[new.leaf(&leaf_params(NAME))], authorities()).unwrap();
    assert_eq!(by_old.spiffe_id, by_new.spiffe_id);
    assert_ne!(by_old.authority, by_new.authority);
}

#[test]
fn an_authority_gives_names_of_its_own_domain_only() {
    let (ours, theirs) = (TestCa::new("ours"), TestCa::new("theirs"));
    let authorities = vec![
        ours.authority('1', "example.org"),
        theirs.authority('2', "example.com"),
    ];
    assert_eq!(
        spiffe(&[theirs.leaf(&leaf_params(NAME))], authorities),
        Err(Reason::TrustDomain)
    );
    assert_eq!(
        TrustStore::new(
            1,
            vec![
                ours.authority('1', "example.org"),
                ours.authority('2', "example.com")
            ]
        )
        .err(),
        Some(TrustError::SameKey(ours.authority('2', "x").id))
    );
}

#[test]
fn a_revoked_certificate_is_refused_and_unknown_is_denied() {
    let ca = TestCa::new("ca");
    let other = TestCa::new("other");
    let soon = now().plus_secs(600);
    let chain = [ca.leaf(&leaf_params(NAME))];
    let with = |crls| {
        let mut authority = ca.authority('1', "example.org");
        authority.crls = crls;
        spiffe(&chain, vec![authority, other.authority('2', "example.com")])
    };
    assert!(with(vec![]).is_ok());
    assert!(with(vec![ca.crl(&[8], soon)]).is_ok());
    assert_eq!(
        with(vec![ca.crl(&[7], soon)]),
        Err(Reason::CertificateRevoked)
    );
    assert_eq!(
        with(vec![ca.crl(&[8], now().plus_secs(-1))]),
        Err(Reason::RevocationListExpired)
    );
    assert_eq!(
        with(vec![other.crl(&[8], soon)]),
        Err(Reason::RevocationUnknown)
    );

    // The same serial number under another authority is another certificate.
    let mut authority = other.authority('2', "example.com");
    authority.crls = vec![other.crl(&[7], soon)];
    assert!(spiffe(&chain, vec![authority, ca.authority('1', "example.org")]).is_ok());

    // A list for the root alone says nothing of what is below the authority between.
    let between = ca.intermediate("between");
    let chain = [
        between.leaf(&leaf_params(NAME)),
        between.certificate.clone(),
    ];
    let mut authority = ca.authority('1', "example.org");
    authority.crls = vec![ca.crl(&[8], soon)];
    assert_eq!(
        spiffe(&chain, vec![authority.clone()]),
        Err(Reason::RevocationUnknown)
    );
    authority.crls.push(between.crl(&[8], soon));
    assert!(spiffe(&chain, vec![authority.clone()]).is_ok());
    authority.crls[0] = ca.crl(&[7], soon);
    assert_eq!(
        spiffe(&chain, vec![authority]),
        Err(Reason::CertificateRevoked)
    );
}

#[test]
fn a_revocation_list_ends_the_validity_of_the_answer() {
    let ca = TestCa::new("ca");
    let soon = now().plus_secs(600);
    let mut authority = ca.authority('1', "example.org");
    authority.crls = vec![ca.crl(&[8], soon)];
    let trust = store(vec![authority]);
    let chain = [ca.leaf(&leaf_params(NAME))];
    let peer = verify_peer(&chain, &trust, now()).unwrap();
    assert!(peer.spiffe.is_ok());
    assert_eq!(peer.valid_until, soon);
    let after = verify_peer(&chain, &trust, soon).unwrap();
    assert_eq!(after.spiffe, Err(Reason::RevocationListExpired));
}

#[test]
fn damaged_configuration_is_refused_without_a_panic() {
    let ca = TestCa::new("ca");
    let good = ca.crl(&[8], now().plus_secs(600));
    for end in 0..good.len() {
        let mut authority = ca.authority('1', "example.org");
        let id = authority.id;
        authority.crls = vec![good[..end].to_vec().into()];
        assert_eq!(
            TrustStore::new(1, vec![authority]).err(),
            Some(TrustError::RevocationList(id))
        );
    }
}

#[test]
fn a_leaf_never_becomes_a_root() {
    let ca = TestCa::new("ca");
    let mut authority = ca.authority('1', "example.org");
    let mut params = leaf_params(NAME);
    let mut refused = vec![ca.leaf(&params)];
    params.key_usages.push(KeyUsagePurpose::KeyCertSign);
    refused.push(ca.leaf(&params));
    params.is_ca = IsCa::NoCa;
    refused.push(ca.leaf(&params));
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    refused.push(ca.leaf(&params));
    for certificate in refused {
        authority.certificate = certificate;
        assert_eq!(
            TrustStore::new(1, vec![authority.clone()]).err(),
            Some(TrustError::NotAnAuthority(authority.id))
        );
    }
}

#[test]
fn what_a_pinned_key_signs_proves_nothing() {
    let ca = TestCa::new("ca");
    let pinned_key = P256Key::generate().unwrap();
    let pinned = ca.sign(&leaf_params(NAME), &pinned_key);
    let pinned_issuer = rcgen::Issuer::new(leaf_params(NAME), pinned_key);
    let child_key = P256Key::generate().unwrap();
    let child = leaf_params("spiffe://example.org/admin")
        .signed_by(&child_key, &pinned_issuer)
        .unwrap()
        .der()
        .clone();
    let trust = store(vec![ca.authority('1', "example.org")]);
    let peer = verify_peer(&[child, pinned.clone()], &trust, now()).unwrap();
    assert_eq!(peer.spiffe, Err(Reason::ChainUntrusted));
    assert_eq!(peer.spki, child_key.public_key().sha256());
    let own = verify_peer(&[pinned], &trust, now()).unwrap();
    assert_ne!(peer.spki, own.spki);
}

#[test]
fn a_pinned_certificate_is_known_by_its_key_whatever_else_it_says() {
    let key = P256Key::generate().unwrap();
    let trust = store(Vec::new());
    let mut hashes = Vec::new();
    for name in ["one", "two"] {
        let mut params = leaf_params("spiffe://example.org/whatever");
        params.distinguished_name.push(DnType::CommonName, name);
        let der = params.self_signed(&key).unwrap().der().clone();
        let text = pem::write_one(&der, "CERTIFICATE");
        let facts = CertificateFacts::of_client(&text).unwrap();
        let peer = verify_peer(&[der], &trust, now()).unwrap();
        assert_eq!(peer.spki, facts.spki);
        hashes.push(peer.spki);
    }
    assert_eq!(hashes[0], hashes[1]);

    let mut expired = leaf_params(NAME);
    expired.not_after = moment(now().plus_secs(-1));
    let der = expired.self_signed(&key).unwrap().der().clone();
    assert_eq!(
        verify_peer(&[der], &trust, now()).unwrap_err(),
        Reason::CertificateExpired
    );
}

#[test]
fn a_certificate_of_openssl_can_be_pinned_and_has_the_hash_that_openssl_computes() {
    let args = "req -x509 -newkey rsa:2048 -nodes -keyout /dev/null -subj /CN=sync -days 2";
    let text = openssl(&args.split(' ').collect::<Vec<_>>(), b"");
    let facts = CertificateFacts::of_client(std::str::from_utf8(&text).unwrap()).unwrap();
    let public = openssl(&["x509", "-pubkey", "-noout"], &text);
    let der = openssl(&["pkey", "-pubin", "-outform", "DER"], &public);
    assert_eq!(facts.spki, SpkiHash::of(&der));
    assert!(verify_peer(&[facts.der], &store(Vec::new()), now()).is_ok());
}

#[test]
fn sizes_are_bounded_before_anything_is_parsed() {
    let ca = TestCa::new("ca");
    let trust = store(Vec::new());
    let leaf = ca.leaf(&leaf_params(NAME));
    let size = |chain: &[CertificateDer<'_>]| verify_peer(chain, &trust, now()).err();
    assert_eq!(size(&[]), Some(Reason::CertificateSize));
    assert_eq!(size(&vec![leaf.clone(); 4]), None);
    assert_eq!(size(&vec![leaf.clone(); 5]), Some(Reason::CertificateSize));
    let long = CertificateDer::from(vec![0x30; 16 * 1024 + 1]);
    assert_eq!(size(&[leaf.clone(), long]), Some(Reason::CertificateSize));
    let trailing = CertificateDer::from([leaf.as_ref(), &[0]].concat());
    assert_eq!(size(&[trailing]), Some(Reason::CertificateMalformed));
    for end in 0..leaf.len() {
        let cut = CertificateDer::from(leaf[..end].to_vec());
        assert_eq!(size(&[cut]), Some(Reason::CertificateMalformed));
    }
}
