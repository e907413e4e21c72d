use base64::{Engine as _, engine::general_purpose::STANDARD};
use proptest::prelude::*;

use super::*;
use crate::identity::testing::{TestCa, now, openssl};

fn later() -> Timestamp {
    now().plus_secs(3600)
}

fn list(ca: &TestCa, revoked: &[u8]) -> RevocationList {
    RevocationList::from_der(ca.crl(revoked, later()).to_vec()).unwrap()
}

#[test]
fn a_list_says_what_it_is_in_every_encoding() {
    let ca = TestCa::new("lists");
    let der = ca.crl(&[3, 9], later()).to_vec();
    let pem = String::clone(&pem::write_one(&der, "X509 CRL"));
    for text in [
        STANDARD.encode(&der),
        pem.clone(),
        format!("# a note\n{pem}"),
    ] {
        let list = RevocationList::from_text(&text).unwrap();
        assert_eq!(list.entries, 2);
        assert_eq!(list.scope, "");
        assert_eq!(list.number[19], 1);
        assert_eq!(list.next_update, later());
        assert_eq!(list.check(&ca.certificate, now()), Ok(()));
    }
    // What OpenSSL makes of the same text.
    let said = openssl(&["crl", "-noout", "-text"], pem.as_bytes());
    assert!(
        String::from_utf8(said)
            .unwrap()
            .contains("Serial Number: 09")
    );
}

#[test]
fn a_list_counts_for_its_own_authority_and_time_only() {
    let ca = TestCa::new("lists");
    let list = list(&ca, &[3]);
    // Another name, and another key under the same name.
    let other = TestCa::new("others");
    assert_eq!(
        list.check(&other.certificate, now()),
        Err(ListError::Issuer)
    );
    let lookalike = TestCa::new("lists");
    assert_eq!(
        list.check(&lookalike.certificate, now()),
        Err(ListError::Signature)
    );
    let mut params = TestCa::params("lists");
    params.key_usages = vec![rcgen::KeyUsagePurpose::KeyCertSign];
    let no_signer = TestCa::with(params);
    assert_eq!(
        list.check(&no_signer.certificate, now()),
        Err(ListError::NoListSigner)
    );
    // Its next update is the first moment at which it is over.
    assert_eq!(
        list.check(&ca.certificate, later()),
        Err(ListError::Expired)
    );
    assert_eq!(list.check(&ca.certificate, later().plus_secs(-1)), Ok(()));
    let before = list.this_update.plus_secs(-AHEAD_SECS - 1);
    assert_eq!(
        list.check(&ca.certificate, before),
        Err(ListError::NotYetValid)
    );
}

#[test]
fn what_is_no_list_is_refused() {
    let refused = |text: &str| RevocationList::from_text(text).unwrap_err();
    assert_eq!(refused("?"), ListError::Encoding);
    assert_eq!(refused(""), ListError::Encoding);
    assert_eq!(refused(&STANDARD.encode("a list")), ListError::Malformed);
    assert_eq!(
        refused(&"A".repeat(MAX_LIST_BYTES / 2 * 3 + 1)),
        ListError::Size
    );
    let much = vec![0x30; MAX_LIST_BYTES + 1];
    assert_eq!(RevocationList::from_der(much).unwrap_err(), ListError::Size);
    let ca = TestCa::new("lists");
    let certificate = pem::write_one(&ca.certificate, "CERTIFICATE");
    assert_eq!(
        refused(&certificate),
        ListError::Pem(PemError::Kind("X509 CRL"))
    );
    assert_eq!(
        refused(&STANDARD.encode(&ca.certificate)),
        ListError::Malformed
    );
    let mut longer = ca.crl(&[3], later()).to_vec();
    longer.push(0);
    assert_eq!(
        RevocationList::from_der(longer).unwrap_err(),
        ListError::Malformed
    );
}

/// RUSTSEC-2026-0104: a parser that panics on a malformed list before its signature is checked.
#[test]
fn no_truncation_and_no_flipped_bit_makes_a_parser_panic() {
    let ca = TestCa::new("lists");
    let der = ca.crl(&[3, 9], later()).to_vec();
    for end in 0..der.len() {
        assert!(RevocationList::from_der(der[..end].to_vec()).is_err());
    }
    for at in 0..der.len() {
        for bit in 0..8 {
            let mut flipped = der.clone();
            flipped[at] ^= 1 << bit;
            let good = RevocationList::from_der(flipped)
                .and_then(|list| list.check(&ca.certificate, now()));
            assert!(good.is_err(), "byte {at} bit {bit}");
        }
    }
}

proptest! {
    #[test]
    fn no_bytes_make_a_parser_panic(bytes in prop::collection::vec(any::<u8>(), 0..512)) {
        let _ = RevocationList::from_der(bytes);
    }
}
