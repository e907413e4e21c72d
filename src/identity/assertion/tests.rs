use jsonwebtoken::EncodingKey;
use serde_json::{Value, json};

use super::*;
use crate::identity::assertion_key::{AssertionKey, MakeAssertionError, make_assertion};
use crate::identity::public_key::PublicKey;
use crate::identity::testing::{openssl, openssl_public_pem};
use crate::model::PrincipalId;
use crate::pki::{Ed25519Key, P256Key};
use crate::random::SystemRandom;

mod claims;
mod header;
mod signatures;

const KID: &str = "pkey_01kaqz3m8v7d6k2n4p9r5s1t0x";
const OWNER: &str = "wkld_01kaqz3m8v7d6k2n4p9r5s1t0x";
const AUDIENCE: &str = "dev-01kaqz3m8v7d6k2n4p9r5s1t0x";
const NOW: i64 = 1_800_000_000;

struct Signer {
    private_pem: String,
    key: AssertionKey,
    registered: RegisteredKey,
}

fn signer(private_pem: String) -> Signer {
    let key = AssertionKey::from_pem(&private_pem).unwrap();
    let registered = RegisteredKey {
        id: KID.parse().unwrap(),
        owner: OWNER.parse().unwrap(),
        public_key: key.public_key().clone(),
    };
    Signer {
        private_pem,
        key,
        registered,
    }
}

fn ed25519() -> Signer {
    let key = Ed25519Key::generate(&SystemRandom::new()).unwrap();
    signer(key.to_pem().to_string())
}

fn p256() -> Signer {
    signer(P256Key::generate().unwrap().to_pem().to_string())
}

fn now() -> Timestamp {
    Timestamp::from_secs(NOW)
}

fn header(alg: &str) -> String {
    json!({"alg": alg, "kid": KID, "typ": TYPE}).to_string()
}

fn claims() -> Value {
    json!({"iss": OWNER, "sub": OWNER, "aud": AUDIENCE, "iat": NOW, "nbf": NOW, "exp": NOW + 300,
           "jti": "0123456789abcdef"})
}

impl Signer {
    fn alg(&self) -> &'static str {
        if self.registered.public_key.form() == KeyForm::Ed25519 {
            "EdDSA"
        } else {
            "ES256"
        }
    }

    /// A good signature over whatever the two texts are.
    fn sign(&self, header: &str, claims: &str) -> String {
        install_jwt_provider();
        let der = crate::identity::pem::read_one(&self.private_pem, "PRIVATE KEY").unwrap();
        let (key, algorithm) = if self.alg() == "EdDSA" {
            (EncodingKey::from_ed_der(&der), Algorithm::EdDSA)
        } else {
            (EncodingKey::from_ec_der(&der), Algorithm::ES256)
        };
        let signed = format!(
            "{}.{}",
            URL_SAFE_NO_PAD.encode(header),
            URL_SAFE_NO_PAD.encode(claims)
        );
        let signature = jsonwebtoken::crypto::sign(signed.as_bytes(), &key, algorithm).unwrap();
        format!("{signed}.{signature}")
    }

    fn token(&self, claims: &Value) -> String {
        self.sign(&header(self.alg()), &claims.to_string())
    }

    fn verify(&self, token: &str) -> Result<AssertionProof, Reason> {
        verify(token, &self.registered, AUDIENCE, now())
    }

    fn with_claims(&self, claims: &str) -> Result<AssertionProof, Reason> {
        self.verify(&self.sign(&header(self.alg()), claims))
    }

    fn with_header(&self, header: &str) -> Result<AssertionProof, Reason> {
        self.verify(&self.sign(header, &claims().to_string()))
    }
}

#[test]
fn what_we_make_verifies_once_per_jti() {
    for signer in [ed25519(), p256()] {
        let principal: PrincipalId = OWNER.parse().unwrap();
        let make = |lifetime| {
            make_assertion(
                &signer.key,
                signer.registered.id,
                principal,
                AUDIENCE,
                now(),
                &SystemRandom::new(),
                lifetime,
            )
        };
        let (one, two) = (make(300).unwrap(), make(1).unwrap());
        assert_eq!(parse_unverified_header(&one), Ok(signer.registered.id));
        let (first, second) = (signer.verify(&one).unwrap(), signer.verify(&two).unwrap());
        assert_eq!(first, signer.verify(&one).unwrap());
        assert_eq!(first.principal, principal);
        assert_eq!(first.key, signer.registered.id);
        assert_eq!(first.expires_at, now().plus_secs(300));
        assert_ne!(first.jti, second.jti);
        for lifetime in [0, -1, 301, i64::MAX, i64::MIN] {
            assert_eq!(make(lifetime), Err(MakeAssertionError::Lifetime));
        }
    }
}

#[test]
fn the_jti_hash_is_over_fields_with_their_lengths() {
    // Computed apart: SHA-256 of 00000002 "ab" 00000001 "c".
    assert_eq!(
        jti_hash("ab", "c").to_string(),
        "f2939f903016e5bb29b1e4a61cdbd376220ca03a24180b39995f2d50f2e0a647"
    );
    assert_ne!(jti_hash("ab", "c"), jti_hash("a", "bc"));
}

#[test]
fn only_the_compact_form_of_three_parts_is_a_token() {
    let signer = ed25519();
    let good = signer.token(&claims());
    let (signed, signature) = good.rsplit_once('.').unwrap();
    let (head, body) = signed.split_once('.').unwrap();
    let refused = [
        String::new(),
        ".".into(),
        "..".into(),
        "...".into(),
        head.into(),
        signed.into(),
        format!("{signed}."),
        format!(".{body}.{signature}"),
        format!("{head}..{signature}"),
        format!("{good}."),
        format!(".{good}"),
        format!("{good}.{signature}"),
        format!("{head}.{body}.{body}.{body}.{signature}"),
        format!("{good} "),
        format!(" {good}"),
        format!("{good}\n"),
        format!("{good}="),
        format!("{good}\0"),
        good.replacen('.', ". ", 1),
        json!({"protected": head, "payload": body, "signature": signature}).to_string(),
        json!({"payload": body, "signatures": [{"protected": head, "signature": signature}]})
            .to_string(),
    ];
    for token in refused {
        assert_eq!(
            signer.verify(&token),
            Err(Reason::AssertionMalformed),
            "{token}"
        );
        assert!(parse_unverified_header(&token).is_err());
        verify_in_vain(&token);
    }
    assert_eq!(
        signer.verify(&".".repeat(1_000_000)),
        Err(Reason::AssertionSize)
    );
    assert_eq!(
        signer.verify(&".".repeat(MAX_BYTES)),
        Err(Reason::AssertionMalformed)
    );
    assert_eq!(
        signer.verify(&"a".repeat(MAX_BYTES + 1)),
        Err(Reason::AssertionSize)
    );
    let deep = format!("{}{}", "[".repeat(4000), "]".repeat(4000));
    let claims = claims()
        .to_string()
        .replacen('{', &format!("{{\"x\":{deep},"), 1);
    assert_eq!(signer.with_claims(&claims), Err(Reason::AssertionSize));
    let deep = format!("{}{}", "[".repeat(2000), "]".repeat(2000));
    let claims =
        self::claims()
            .to_string()
            .replacen("\"aud\":", &format!("\"aud\":{deep},\"x\":"), 1);
    assert_eq!(signer.with_claims(&claims), Err(Reason::AssertionClaims));
}

#[test]
fn every_changed_character_breaks_the_token() {
    for signer in [ed25519(), p256()] {
        let good = signer.token(&claims());
        let stranger = if signer.alg() == "EdDSA" {
            ed25519()
        } else {
            p256()
        };
        assert_eq!(stranger.verify(&good), Err(Reason::AssertionSignature));
        for position in 0..good.len() {
            let mut bytes = good.clone().into_bytes();
            bytes[position] = if bytes[position] == b'A' { b'B' } else { b'A' };
            let changed = String::from_utf8(bytes).unwrap();
            assert!(signer.verify(&changed).is_err(), "character {position}");
            // The last character of a part has bits that decode to nothing; they must be zero.
            assert!(signer.verify(&good[..position]).is_err());
        }
    }
}

#[test]
fn a_forged_expired_token_is_forged_first() {
    let signer = p256();
    let mut old = claims();
    for name in ["iat", "nbf", "exp"] {
        old[name] = json!(NOW - 100_000);
    }
    let stranger = p256();
    assert_eq!(
        signer.verify(&stranger.token(&old)),
        Err(Reason::AssertionSignature)
    );
}

#[test]
fn tokens_signed_by_openssl_verify() {
    let directory = tempfile::tempdir().unwrap();
    let (key_path, message_path) = (
        directory.path().join("key"),
        directory.path().join("message"),
    );
    for algorithm in [
        &["ed25519"][..],
        &["EC", "-pkeyopt", "ec_paramgen_curve:P-256"],
    ] {
        let (private, _) = openssl_public_pem(algorithm);
        std::fs::write(&key_path, &private).unwrap();
        let signer = signer(private);
        let signed = format!(
            "{}.{}",
            URL_SAFE_NO_PAD.encode(header(signer.alg())),
            URL_SAFE_NO_PAD.encode(claims().to_string())
        );
        std::fs::write(&message_path, &signed).unwrap();
        let key = key_path.to_str().unwrap();
        let message = message_path.to_str().unwrap();
        let signature = if signer.alg() == "EdDSA" {
            openssl(
                &["pkeyutl", "-sign", "-rawin", "-inkey", key, "-in", message],
                b"",
            )
        } else {
            let der = openssl(&["dgst", "-sha256", "-sign", key, message], b"");
            fixed(&der)
        };
        let token = format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature));
        assert!(signer.verify(&token).is_ok(), "{algorithm:?}");
    }
}

/// An ECDSA signature in ASN.1 as the 64 bytes of JWS (RFC 7518, 3.4).
fn fixed(der: &[u8]) -> Vec<u8> {
    let mut out = vec![0; 64];
    let mut rest = &der[2..];
    for half in 0..2 {
        let length = usize::from(rest[1]);
        let number = &rest[2..2 + length];
        let number = &number[number.len().saturating_sub(32)..];
        let end = 32 * (half + 1);
        out[end - number.len()..end].copy_from_slice(number);
        rest = &rest[2 + length..];
    }
    out
}

#[test]
fn the_vain_verification_uses_points_that_ring_accepts() {
    // If they were no points of the curve, the time would give unknown keys away. The generator
    // is the public key of the private key one; it can be made by importing that key.
    let mut one = [0_u8; 32];
    one[31] = 1;
    let pair = ring::signature::EcdsaKeyPair::from_private_key_and_public_key(
        &ring::signature::ECDSA_P256_SHA256_FIXED_SIGNING,
        &one,
        &P256_BASE,
        &crate::random::ring_random(),
    );
    assert!(pair.is_ok());
    let form = PublicKey::from_ed25519(&ED25519_BASE).unwrap().form();
    assert_eq!(form, KeyForm::Ed25519);
}
