//! Sealed forms: vectors of the RFC's authors and of WebCrypto, and everything that must not open.

use serde::Deserialize;

use crate::crypto::{IntakeKey, OpenError, encapsulated_key, intake_info};
use crate::secret::SecretKey;

#[derive(Deserialize)]
struct Vectors {
    vectors: Vec<Vector>,
}

/// Bytes are hex.
#[derive(Deserialize)]
struct Vector {
    about: String,
    seed: String,
    public: String,
    info: String,
    aad: String,
    plaintext: String,
    sealed: String,
}

fn bytes(text: &str) -> Vec<u8> {
    hex::decode(text).unwrap()
}

fn vectors() -> Vec<Vector> {
    let text = include_str!("../../../tests/vectors/hpke.json");
    serde_json::from_str::<Vectors>(text).unwrap().vectors
}

fn key(vector: &Vector) -> IntakeKey {
    IntakeKey::derive(&SecretKey::from_slice(&bytes(&vector.seed)).unwrap())
}

fn open(vector: &Vector, info: &[u8], aad: &[u8], sealed: &[u8]) -> Result<Vec<u8>, OpenError> {
    let opened = key(vector).open(info, aad, sealed)?;
    Ok(opened.into_bytes())
}

#[test]
fn vectors_of_the_rfc_and_of_webcrypto_open() {
    let vectors = vectors();
    assert_eq!(vectors.len(), 3);
    for vector in &vectors {
        assert_eq!(hex::encode(key(vector).public()), vector.public);
        let opened = open(
            vector,
            &bytes(&vector.info),
            &bytes(&vector.aad),
            &bytes(&vector.sealed),
        );
        assert_eq!(opened, Ok(bytes(&vector.plaintext)), "{}", vector.about);
    }
}

#[test]
fn a_form_opens_in_its_own_place_alone() {
    for vector in &vectors() {
        let (info, aad, sealed) = (
            bytes(&vector.info),
            bytes(&vector.aad),
            bytes(&vector.sealed),
        );
        let other = IntakeKey::derive(&SecretKey::from_slice(&[9; 32]).unwrap());
        assert!(other.open(&info, &aad, &sealed).is_err());
        assert_eq!(open(vector, b"elsewhere", &aad, &sealed), Err(OpenError));
        assert_eq!(open(vector, &info, b"elsewhere", &sealed), Err(OpenError));
        for length in [0, 1, 64, 65, 80, sealed.len() - 1] {
            assert_eq!(
                open(vector, &info, &aad, &sealed[..length]),
                Err(OpenError),
                "{length}"
            );
        }
        for at in 0..sealed.len() {
            let mut changed = sealed.clone();
            changed[at] ^= 1;
            assert_eq!(open(vector, &info, &aad, &changed), Err(OpenError), "{at}");
        }
    }
}

/// A point has other encodings and a mirror image with the same abscissa, from which alone the
/// shared secret is computed. Neither may bring a form in a second time.
#[test]
fn an_encapsulated_key_has_one_form() {
    let vector = &vectors()[0];
    let (info, aad, sealed) = (
        bytes(&vector.info),
        bytes(&vector.aad),
        bytes(&vector.sealed),
    );
    assert_eq!(encapsulated_key(&sealed).unwrap().as_slice(), &sealed[..65]);
    assert!(encapsulated_key(&sealed[..64]).is_none());
    let mut compressed = vec![2 + (sealed[64] & 1)];
    compressed.extend_from_slice(&sealed[1..33]);
    compressed.extend_from_slice(&sealed[65..]);
    let mut hybrid = sealed.clone();
    hybrid[0] = 6 + (sealed[64] & 1);
    let mut mirrored = sealed.clone();
    mirrored[33..65].copy_from_slice(&negated(&sealed[33..65]));
    for changed in [compressed, hybrid, mirrored] {
        assert_eq!(open(vector, &info, &aad, &changed), Err(OpenError));
    }
}

/// p - y, for the prime of P-256 (NIST SP 800-186).
fn negated(y: &[u8]) -> Vec<u8> {
    let prime = bytes("ffffffff00000001000000000000000000000000ffffffffffffffffffffffff");
    let mut borrow = 0_i16;
    let mut out = vec![0; 32];
    for at in (0..32).rev() {
        let digit = i16::from(prime[at]) - i16::from(y[at]) - borrow;
        borrow = i16::from(digit < 0);
        out[at] = digit.rem_euclid(256) as u8;
    }
    out
}

#[test]
fn no_two_places_have_the_same_info() {
    let all = [
        intake_info("dev-a", "intk_b", 1),
        intake_info("dev-a", "intk_b", 2),
        intake_info("dev-ai", "ntk_b", 1),
        intake_info("dev-b", "intk_b", 1),
        intake_info("dev-a", "intk_c", 1),
    ];
    let different: std::collections::BTreeSet<_> = all.iter().collect();
    assert_eq!(different.len(), all.len());
    assert_eq!(
        hex::encode(&all[0]),
        "00147374726f6e67726f6f6d2d696e74616b652d763100056465762d610006696e746b5f62000400000001"
    );
}

/// Needs `node` 18 or newer; `scripts/test` installs it.
#[test]
fn webcrypto_seals_the_vectors_again() {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/node/seal.mjs");
    let ran = std::process::Command::new("node")
        .arg(script)
        .output()
        .expect("node can be started");
    let said = String::from_utf8_lossy(&ran.stdout);
    assert!(ran.status.success(), "{said}");
    assert_eq!(said.trim(), "3 vectors, 0 wrong");
}
