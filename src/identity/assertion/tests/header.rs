//! Every header, in every wrong form, under a good signature.

use base64::engine::general_purpose::{STANDARD, URL_SAFE};

use super::*;

#[test]
fn the_header_is_exactly_alg_kid_and_typ() {
    for signer in [ed25519(), p256()] {
        let alg = signer.alg();
        assert!(signer.with_header(&header(alg)).is_ok());
        for name in ["alg", "kid", "typ"] {
            let mut missing: Value = serde_json::from_str(&header(alg)).unwrap();
            let value = missing.as_object_mut().unwrap().remove(name).unwrap();
            assert_eq!(
                signer.with_header(&missing.to_string()),
                Err(Reason::AssertionHeader)
            );
            let doubled = header(alg).replacen('{', &format!("{{\"{name}\":{value},"), 1);
            assert_eq!(signer.with_header(&doubled), Err(Reason::AssertionHeader));
            let upper = header(alg).replacen(
                &format!("\"{name}\""),
                &format!("\"{}\"", name.to_uppercase()),
                1,
            );
            assert_eq!(signer.with_header(&upper), Err(Reason::AssertionHeader));
            for wrong in [
                json!(null),
                json!([value]),
                json!(1),
                json!(true),
                json!({}),
            ] {
                let mut changed: Value = serde_json::from_str(&header(alg)).unwrap();
                changed[name] = wrong;
                assert_eq!(
                    signer.with_header(&changed.to_string()),
                    Err(Reason::AssertionHeader)
                );
            }
        }
        for (name, value) in [
            ("crit", json!([])),
            ("crit", json!(["b64"])),
            ("b64", json!(false)),
            ("jku", json!("https://example.org/keys")),
            ("x5u", json!("https://example.org/key")),
            ("jwk", json!({"kty": "OKP"})),
            ("x5c", json!(["MA=="])),
            ("x5t#S256", json!("x")),
            ("cty", json!("JWT")),
            ("zip", json!("DEF")),
            ("enc", json!("A256GCM")),
            ("nonce", json!("x")),
            ("", json!("x")),
        ] {
            let mut more: Value = serde_json::from_str(&header(alg)).unwrap();
            more[name] = value;
            assert_eq!(
                signer.with_header(&more.to_string()),
                Err(Reason::AssertionHeader),
                "{name}"
            );
        }
        for text in [
            json!([alg, KID, TYPE]).to_string(),
            "{}".into(),
            "null".into(),
            String::from("\"x\""),
            format!("{} ", header(alg)) + "x",
            header(alg).replace("alg", "\\u0061lg"),
        ] {
            assert_eq!(
                signer.with_header(&text),
                Err(Reason::AssertionHeader),
                "{text}"
            );
        }
    }
}

#[test]
fn the_type_and_the_key_id_have_one_spelling() {
    let signer = ed25519();
    for typ in [
        "JWT",
        "jwt",
        "JOSE",
        "",
        "Strongroom-Auth+jwt",
        "strongroom-auth+JWT",
        "strongroom-auth",
        "application/strongroom-auth+jwt",
        "strongroom-auth+jwt ",
        "client-authentication+jwt",
        "dpop+jwt",
    ] {
        let text = json!({"alg": "EdDSA", "kid": KID, "typ": typ}).to_string();
        assert_eq!(
            signer.with_header(&text),
            Err(Reason::AssertionType),
            "{typ}"
        );
    }
    for kid in [
        "",
        OWNER,
        &KID.to_uppercase(),
        &format!("{KID} "),
        "pkey_",
        "../pkey",
        "%00",
        "pkey_01KAQZ3M8V7D6K2N4P9R5S1T0X",
        "' OR 1=1 --",
        "skey_01kaqz3m8v7d6k2n4p9r5s1t0x",
    ] {
        let text = json!({"alg": "EdDSA", "kid": kid, "typ": TYPE}).to_string();
        assert_eq!(
            signer.with_header(&text),
            Err(Reason::AssertionHeader),
            "{kid}"
        );
    }
    let other = json!({"alg": "EdDSA", "kid": "pkey_01kaqz3m8v7d6k2n4p9r5s1t0y", "typ": TYPE});
    assert_eq!(
        signer.with_header(&other.to_string()),
        Err(Reason::NotRegistered)
    );
}

#[test]
fn a_key_is_used_with_its_own_algorithm_only() {
    let signers = [ed25519(), p256()];
    for signer in &signers {
        for alg in [
            "none", "None", "NONE", "noNE", "nOnE", "", " ", "HS256", "hs256", "HS384", "HS512",
            "RS256", "PS256", "ES384", "ES256K", "ES512", "EdDSA ", "eddsa", "EDDSA", "Ed25519",
            "es256",
        ] {
            let good = signer.sign(&header(alg), &claims().to_string());
            assert_eq!(
                signer.verify(&good),
                Err(Reason::AssertionAlgorithm),
                "{alg}"
            );
            let (signed, _) = good.rsplit_once('.').unwrap();
            for signature in ["", "AA", "AAAA"] {
                assert!(signer.verify(&format!("{signed}.{signature}")).is_err());
            }
        }
        let other = if signer.alg() == "EdDSA" {
            "ES256"
        } else {
            "EdDSA"
        };
        assert_eq!(
            signer.with_header(&header(other)),
            Err(Reason::AssertionAlgorithm)
        );
    }
    // Even signed by the other kind of key, the header does not choose the algorithm.
    let token = signers[1].token(&claims());
    assert_eq!(signers[0].verify(&token), Err(Reason::AssertionAlgorithm));
}

#[test]
fn a_public_key_is_no_shared_secret_in_any_encoding() {
    for signer in [ed25519(), p256()] {
        let public: &PublicKey = &signer.registered.public_key;
        let mut secrets: Vec<Vec<u8>> = vec![public.raw().to_vec(), public.spki_der().to_vec()];
        for bytes in [public.raw(), public.spki_der()] {
            secrets.push(STANDARD.encode(bytes).into_bytes());
            secrets.push(URL_SAFE.encode(bytes).into_bytes());
            secrets.push(URL_SAFE_NO_PAD.encode(bytes).into_bytes());
            secrets.push(hex::encode(bytes).into_bytes());
        }
        let pem = public.to_pem();
        secrets.push(pem.trim().as_bytes().to_vec());
        secrets.push(pem.replace('\n', "\r\n").into_bytes());
        secrets.push(pem.into_bytes());
        if public.form() == KeyForm::P256 {
            secrets.push(public.raw()[1..].to_vec());
            secrets.push(public.raw()[1..33].to_vec());
        }
        for secret in secrets {
            for alg in ["HS256", "EdDSA", "ES256"] {
                let signed = format!(
                    "{}.{}",
                    URL_SAFE_NO_PAD.encode(header(alg)),
                    URL_SAFE_NO_PAD.encode(claims().to_string())
                );
                let key = ring::hmac::Key::new(ring::hmac::HMAC_SHA256, &secret);
                let tag = ring::hmac::sign(&key, signed.as_bytes());
                let token = format!("{signed}.{}", URL_SAFE_NO_PAD.encode(tag));
                let found = signer.verify(&token).unwrap_err();
                assert!(matches!(
                    found,
                    Reason::AssertionAlgorithm | Reason::AssertionSignature
                ));
            }
        }
    }
}
