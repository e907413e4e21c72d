use rcgen::{CertificateParams, DistinguishedName, DnType, KeyPair, KeyUsagePurpose, SanType};
use time::OffsetDateTime;

use super::*;

const DEPLOYMENT: &str = "prod-01kaqz3m8v7d6k2n4p9r5s1t0x";

fn certificate(name: Option<&str>, begin: i64, end: i64) -> String {
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.not_before = OffsetDateTime::from_unix_timestamp(begin).unwrap();
    params.not_after = OffsetDateTime::from_unix_timestamp(end).unwrap();
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    let uri = |name: &str| SanType::URI(name.try_into().unwrap());
    params.subject_alt_names = name.into_iter().map(uri).collect();
    let key = KeyPair::generate().unwrap();
    params.self_signed(&key).unwrap().pem()
}

#[test]
fn a_certificate_is_due_after_two_thirds_of_its_life() {
    let name = format!("spiffe://{DEPLOYMENT}/workload/wkld_01kaqz3m8v7d6k2n4p9r5s1t0x");
    let of = |begin, end| due(certificate(Some(&name), begin, end).as_bytes()).unwrap();
    let secs = |due: Due| (due.after.secs(), due.end.secs());
    assert_eq!(secs(of(3_000, 6_000)), (5_000, 6_000));
    assert_eq!(secs(of(3_000, 3_001)), (3_001, 3_001));
    // One that ends before it begins is due, and over.
    assert!(of(6_000, 3_000).after.secs() >= 3_000);
    // The chain is no part of it.
    let chain = certificate(Some(&name), 3_000, 6_000) + &certificate(None, 0, 9_000);
    assert_eq!(secs(due(chain.as_bytes()).unwrap()), (5_000, 6_000));
}

#[test]
fn what_no_strongroom_issued_is_left_alone() {
    for name in [
        None,
        Some("spiffe://mesh.example.com/workload/sync-1".to_owned()),
        Some(format!("spiffe://{DEPLOYMENT}/ns/default")),
        Some(format!("https://{DEPLOYMENT}/workload/x")),
    ] {
        let pem = certificate(name.as_deref(), 3_000, 6_000);
        assert_eq!(due(pem.as_bytes()), None, "{name:?}");
    }
    assert_eq!(due(b""), None);
    assert_eq!(due(b"hello"), None);
}

#[test]
fn own_authorities_are_known_by_their_names() {
    let authority = |name: &str| {
        let mut params = CertificateParams::default();
        params.distinguished_name = DistinguishedName::new();
        params.distinguished_name.push(DnType::CommonName, name);
        let key = KeyPair::generate().unwrap();
        params.self_signed(&key).unwrap().der().clone()
    };
    for own in [DEPLOYMENT.to_owned(), format!("{DEPLOYMENT} 2")] {
        assert!(is_own(&authority(&own), DEPLOYMENT), "{own}");
    }
    for other in [
        "Example Public Root".to_owned(),
        format!("{DEPLOYMENT} two"),
        format!("{DEPLOYMENT}2"),
        format!("{DEPLOYMENT} "),
        format!("x{DEPLOYMENT}"),
    ] {
        assert!(!is_own(&authority(&other), DEPLOYMENT), "{other}");
    }
}
