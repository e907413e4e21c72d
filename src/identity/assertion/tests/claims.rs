//! Every claim, in every wrong form, under a good signature.

use super::*;

#[test]
fn a_missing_doubled_or_unknown_claim_is_refused() {
    for signer in [ed25519(), p256()] {
        assert!(signer.with_claims(&claims().to_string()).is_ok());
        for name in ["iss", "sub", "aud", "iat", "nbf", "exp", "jti"] {
            let refused = |text: String, what: &str| {
                let result = signer.with_claims(&text);
                assert_eq!(result, Err(Reason::AssertionClaims), "{name} {what}");
            };
            let mut missing = claims();
            let value = missing.as_object_mut().unwrap().remove(name).unwrap();
            refused(missing.to_string(), "missing");
            let good = claims().to_string();
            refused(
                good.replacen('{', &format!("{{\"{name}\":{value},"), 1),
                "doubled",
            );
            let escaped = format!("\\u{:04x}{}", name.as_bytes()[0], &name[1..]);
            refused(
                good.replacen('{', &format!("{{\"{escaped}\":{value},"), 1),
                "doubled, escaped",
            );
            refused(
                good.replacen(&format!("\"{name}\""), &format!("\"{escaped}\""), 1),
                "escaped",
            );
            let mut upper = name.to_owned();
            upper[..1].make_ascii_uppercase();
            for variant in [
                name.to_uppercase(),
                upper,
                format!("{name} "),
                format!(" {name}"),
            ] {
                let quoted = format!("\"{variant}\"");
                refused(good.replacen(&format!("\"{name}\""), &quoted, 1), "instead");
                refused(
                    good.replacen('{', &format!("{{{quoted}:{value},"), 1),
                    "beside",
                );
            }
        }
        for extra in ["cnf", "htm", "nonce", "scope", ""] {
            let mut more = claims();
            more[extra] = json!({"x": 1});
            assert_eq!(
                signer.verify(&signer.token(&more)),
                Err(Reason::AssertionClaims)
            );
        }
    }
}

#[test]
fn a_claim_of_another_type_is_refused() {
    let signer = ed25519();
    for name in ["iat", "nbf", "exp"] {
        for text in [
            "\"1800000000\"",
            "true",
            "null",
            "1800000000.0",
            "1800000000.5",
            "1.8e9",
            "1e18",
            "1000000000000000000",
            "9223372036854775807",
            "18446744073709551615",
            "-1",
            "-0",
            "1e400",
            "[1800000000]",
            "{}",
            "-9223372036854775808",
            "99999999999999999999999",
        ] {
            let mut changed = claims();
            changed[name] = json!("@");
            let text = changed.to_string().replace("\"@\"", text);
            let result = signer.with_claims(&text);
            assert_eq!(result, Err(Reason::AssertionClaims), "{name} {text}");
        }
    }
    for name in ["iss", "sub", "aud", "jti"] {
        let good = claims()[name].clone();
        for value in [
            json!(null),
            json!(true),
            json!(1),
            json!([good]),
            json!({"a": good}),
            json!([]),
        ] {
            let mut changed = claims();
            changed[name] = value;
            let result = signer.verify(&signer.token(&changed));
            assert_eq!(result, Err(Reason::AssertionClaims), "{changed}");
        }
    }
    let values = json!([
        OWNER,
        OWNER,
        AUDIENCE,
        NOW,
        NOW,
        NOW + 300,
        "0123456789abcdef"
    ]);
    for text in [
        values.to_string(),
        "[]".into(),
        "null".into(),
        "\"x\"".into(),
        "1".into(),
        "{}".into(),
        format!(" {}", claims()),
        format!("{} x", claims()),
        format!("\u{feff}{}", claims()),
        format!("{}{}", claims(), claims()),
    ] {
        assert_eq!(
            signer.with_claims(&text),
            Err(Reason::AssertionClaims),
            "{text}"
        );
    }
}

#[test]
fn issuer_subject_and_audience_are_exactly_those() {
    let signer = p256();
    let other = "wkld_01kaqz3m8v7d6k2n4p9r5s1t0y";
    for (name, values, reason) in [
        (
            "iss",
            [other, "", &OWNER.to_uppercase(), &format!("{OWNER} ")],
            Reason::AssertionOwner,
        ),
        (
            "sub",
            [other, "", &OWNER.to_uppercase(), &format!(" {OWNER}")],
            Reason::AssertionOwner,
        ),
        (
            "aud",
            [
                "",
                "https://vault.example.org/token",
                &AUDIENCE.to_uppercase(),
                "prod-01kaqz3m8v7d6k2n4p9r5s1t0x",
            ],
            Reason::AssertionAudience,
        ),
    ] {
        for value in values {
            let mut changed = claims();
            changed[name] = json!(value);
            assert_eq!(
                signer.verify(&signer.token(&changed)),
                Err(reason),
                "{changed}"
            );
        }
    }
    for audience in [json!([AUDIENCE]), json!([AUDIENCE, "other"])] {
        let mut changed = claims();
        changed["aud"] = audience;
        assert_eq!(
            signer.verify(&signer.token(&changed)),
            Err(Reason::AssertionClaims)
        );
    }
    let mut nobody = claims();
    nobody["aud"] = json!("");
    let token = signer.token(&nobody);
    assert_eq!(
        verify(&token, &signer.registered, "", now()),
        Err(Reason::AssertionAudience),
        "a deployment without a name is nobody's audience"
    );
}

#[test]
fn times_are_kept_to_the_second() {
    let signer = ed25519();
    for (iat, nbf, exp, result) in [
        (0, 0, 300, None),
        (5, 5, 305, None),
        (-304, -304, -4, None),
        (0, -100_000, 1, None),
        (0, 0, 301, Some(Reason::AssertionLifetime)),
        (0, 0, 0, Some(Reason::AssertionLifetime)),
        (0, 0, -1, Some(Reason::AssertionLifetime)),
        (0, 0, 100 * 365 * 86_400, Some(Reason::AssertionLifetime)),
        (-305, -305, -5, Some(Reason::AssertionExpired)),
        (-3600, -3600, -3500, Some(Reason::AssertionExpired)),
        (6, 0, 300, Some(Reason::AssertionNotYetValid)),
        (0, 6, 300, Some(Reason::AssertionNotYetValid)),
        (0, 3600, 300, Some(Reason::AssertionNotYetValid)),
    ] {
        let mut changed = claims();
        changed["iat"] = json!(NOW + iat);
        changed["nbf"] = json!(NOW + nbf);
        changed["exp"] = json!(NOW + exp);
        let found = signer.verify(&signer.token(&changed)).err();
        assert_eq!(found, result, "{iat} {nbf} {exp}");
    }
}

#[test]
fn a_jti_has_sixteen_to_sixty_four_visible_characters() {
    let signer = ed25519();
    for (jti, good) in [
        ("a".repeat(16), true),
        ("a".repeat(64), true),
        ("AZaz09-_.~+/=:{}|!".to_owned(), true),
        ("a".repeat(15), false),
        ("a".repeat(65), false),
        (String::new(), false),
        (format!("{} ", "a".repeat(16)), false),
        ("é".repeat(16), false),
        (format!("{}\u{7f}", "a".repeat(16)), false),
        ("\u{200b}".repeat(16), false),
    ] {
        let mut changed = claims();
        changed["jti"] = json!(jti);
        // serde_json escapes 0x7f not at all, so that the rule itself is what refuses it.
        let result = signer.verify(&signer.token(&changed));
        assert_eq!(result.is_ok(), good, "{jti}: {result:?}");
    }
    let mut escaped = claims();
    escaped["jti"] = json!("aaaaaaaaaaaaaaaa\n");
    assert_eq!(
        signer.verify(&signer.token(&escaped)),
        Err(Reason::AssertionClaims)
    );
}
