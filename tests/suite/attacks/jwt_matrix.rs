//! The matrix of assertions: every header and claim missing, doubled, of every wrong type and in
//! other letters, and the known tricks with the form. Each is refused with the one uniform 401 and
//! spends nothing.

use std::collections::HashSet;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};

use super::{Stranger, refused};
use crate::support::proof::{Signer, unsigned};
use crate::support::{Backend, Request, Service, on_both};

on_both!(every_wrong_assertion_gets_the_uniform_401_and_spends_nothing);

/// One attack: what it is, and what stands behind `Bearer `. The claims' `jti`, where there is a
/// usable one, has to be good afterwards.
pub struct Attack {
    pub what: String,
    pub token: String,
    pub jti: Option<String>,
}

/// Where attacks pile up.
pub struct Arsenal<'a> {
    pub signer: &'a Signer,
    pub attacks: Vec<Attack>,
}

impl<'a> Arsenal<'a> {
    pub fn new(signer: &'a Signer) -> Self {
        Self {
            signer,
            attacks: Vec::new(),
        }
    }

    pub fn add(&mut self, what: impl Into<String>, token: String, claims: &Value) {
        let jti = claims["jti"].as_str().map(str::to_owned);
        let (what, token) = (what.into(), token);
        self.attacks.push(Attack { what, token, jti });
    }

    /// A good signature over claims that `change` made bad.
    pub fn claims(&mut self, what: impl Into<String>, change: impl FnOnce(&mut Value)) {
        let good = self.signer.claims();
        let mut claims = good.clone();
        change(&mut claims);
        let token = self.signer.sign(&self.signer.header(), &claims);
        self.add(what, token, &good);
    }

    /// The same with the text of the claims.
    pub fn claims_text(&mut self, what: impl Into<String>, change: impl FnOnce(String) -> String) {
        let good = self.signer.claims();
        let header = self.signer.header().to_string();
        let token = self.signer.sign_text(&header, &change(good.to_string()));
        self.add(what, token, &good);
    }

    /// A good signature over a header that `change` made bad.
    pub fn header(&mut self, what: impl Into<String>, change: impl FnOnce(&mut Value)) {
        let good = self.signer.claims();
        let mut header = self.signer.header();
        change(&mut header);
        self.add(what, self.signer.sign(&header, &good), &good);
    }

    /// The same with the text of the header.
    pub fn header_text(&mut self, what: impl Into<String>, change: impl FnOnce(String) -> String) {
        let good = self.signer.claims();
        let header = change(self.signer.header().to_string());
        self.add(
            what,
            self.signer.sign_text(&header, &good.to_string()),
            &good,
        );
    }

    /// A good token that `change` damages.
    pub fn token(&mut self, what: impl Into<String>, change: impl FnOnce(String) -> String) {
        let good = self.signer.claims();
        let token = change(self.signer.sign(&self.signer.header(), &good));
        self.add(what, token, &good);
    }
}

/// Values of every type that JSON has, and times that are none.
fn wrong_values() -> Vec<(&'static str, Value)> {
    vec![
        ("null", Value::Null),
        ("true", json!(true)),
        ("false", json!(false)),
        ("a number", json!(1)),
        ("zero", json!(0)),
        ("a negative number", json!(-1)),
        ("a fraction", json!(1.5)),
        ("a huge number", json!(1e18)),
        ("a number beyond all", json!(u64::MAX)),
        ("an empty text", json!("")),
        ("a text", json!("x")),
        ("an empty list", json!([])),
        ("a list of lists", json!([[]])),
        ("an object", json!({})),
    ]
}

pub const CLAIMS: [&str; 7] = ["iss", "sub", "aud", "iat", "nbf", "exp", "jti"];

/// Another spelling of a name: the letters' case, an escape, white space, look-alikes.
pub fn other_spellings(name: &str) -> Vec<(String, String)> {
    let mut title = name.to_owned();
    title[..1].make_ascii_uppercase();
    let mut last = name.to_owned();
    let at = last.len() - 1;
    last[at..].make_ascii_uppercase();
    let escaped = format!("\\u{:04x}{}", u32::from(name.as_bytes()[0]), &name[1..]);
    // Letters that look the same: Cyrillic a, e, i, s.
    let alike = name
        .replace('a', "\u{430}")
        .replace('e', "\u{435}")
        .replace('i', "\u{456}")
        .replace('s', "\u{455}")
        .replace('j', "\u{458}");
    [
        ("in capitals", name.to_uppercase()),
        ("with a capital", title),
        ("with a capital at the end", last),
        ("escaped", escaped),
        ("with a space before", format!(" {name}")),
        ("with a space behind", format!("{name} ")),
        ("with a NUL behind", format!("{name}\\u0000")),
        ("in letters that look alike", alike),
    ]
    .into_iter()
    .filter(|(_, spelled)| spelled != name)
    .map(|(what, spelled)| (what.to_owned(), spelled))
    .collect()
}

fn claims(arsenal: &mut Arsenal<'_>, other: &str) {
    for name in CLAIMS {
        arsenal.claims(format!("no {name}"), |it| {
            it.as_object_mut().expect("claims").remove(name);
        });
        for (what, value) in wrong_values() {
            // Long ago is a good beginning.
            let good = name == "nbf" && (value == json!(0) || value == json!(1));
            if !good {
                arsenal.claims(format!("{name} is {what}"), |it| it[name] = value);
            }
        }
        arsenal.claims(format!("{name} is in a list"), |it| {
            it[name] = json!([it[name]]);
        });
        arsenal.claims(format!("{name} is in an object"), |it| {
            it[name] = json!({"value": it[name]});
        });
        arsenal.claims(format!("{name} is of the other type"), |it| {
            it[name] = match &it[name] {
                Value::Number(number) => number.to_string().into(),
                _ => 7.into(),
            };
        });
        let good = arsenal.signer.claims();
        let value = good[name].clone();
        for (what, text) in [
            ("doubled", value.to_string()),
            ("doubled with null", "null".to_owned()),
            ("doubled with another", json!(other).to_string()),
        ] {
            arsenal.claims_text(format!("{name} {what}, first"), |it| {
                it.replacen('{', &format!("{{\"{name}\":{text},"), 1)
            });
            arsenal.claims_text(format!("{name} {what}, last"), |it| {
                format!("{},\"{name}\":{text}}}", &it[..it.len() - 1])
            });
        }
        for (what, spelled) in other_spellings(name) {
            arsenal.claims_text(format!("{name} {what}"), |it| {
                it.replacen(&format!("\"{name}\""), &format!("\"{spelled}\""), 1)
            });
            arsenal.claims_text(format!("{name} also {what}"), |it| {
                format!("{},\"{spelled}\":{value}}}", &it[..it.len() - 1])
            });
        }
    }
    for name in ["iat", "nbf", "exp"] {
        for (what, by) in [
            ("an hour", 3600),
            ("a year", 31_536_000),
            ("to the end", i64::MAX / 2),
        ] {
            arsenal.claims(format!("{name} later by {what}"), |it| {
                it[name] = it[name].as_i64().expect("a time").saturating_add(by).into();
            });
        }
        arsenal.claims(format!("{name} in milliseconds"), |it| {
            it[name] = (it[name].as_i64().expect("a time") * 1000).into();
        });
        arsenal.claims_text(format!("{name} with a fraction"), |it| {
            let good: Value = serde_json::from_str(&it).expect("claims");
            it.replacen(
                &format!("\"{name}\":{}", good[name]),
                &format!("\"{name}\":{}.0", good[name]),
                1,
            )
        });
    }
    for (what, exp) in [
        ("at once", 0_i64),
        ("before it begins", -10),
        ("301 s later", 301),
        ("at the end of time", 253_402_300_799 - 1_800_000_000),
        ("after an overflow", i64::MAX - 4_000_000_000),
    ] {
        arsenal.claims(format!("ends {what}"), |it| {
            it["exp"] = (it["iat"].as_i64().expect("a time") + exp).into();
        });
    }
    for (what, jti) in [
        ("short", "x".repeat(15)),
        ("long", "x".repeat(65)),
        ("with a space", format!("{} x", "x".repeat(20))),
        ("with a line", format!("{}\nx", "x".repeat(20))),
        ("with letters beyond ASCII", "\u{e9}".repeat(20)),
    ] {
        arsenal.claims(format!("a jti {what}"), |it| it["jti"] = jti.into());
    }
    for (name, value) in [
        ("cnf", json!({"x5t#S256": "x"})),
        ("scope", json!("admin")),
        ("roles", json!(["google-sync"])),
        ("azp", json!("x")),
        ("", json!("x")),
    ] {
        arsenal.claims(format!("one more claim, {name}"), |it| it[name] = value);
    }
}

fn headers(arsenal: &mut Arsenal<'_>) {
    for name in ["alg", "kid", "typ"] {
        arsenal.header(format!("no {name}"), |it| {
            it.as_object_mut().expect("a header").remove(name);
        });
        for (what, value) in wrong_values() {
            arsenal.header(format!("{name} is {what}"), |it| it[name] = value);
        }
        arsenal.header(format!("{name} is in a list"), |it| {
            it[name] = json!([it[name]]);
        });
        let value = arsenal.signer.header()[name].clone();
        for text in [value.to_string(), "null".to_owned(), "\"x\"".to_owned()] {
            arsenal.header_text(format!("{name} doubled, first"), |it| {
                it.replacen('{', &format!("{{\"{name}\":{text},"), 1)
            });
            arsenal.header_text(format!("{name} doubled, last"), |it| {
                format!("{},\"{name}\":{text}}}", &it[..it.len() - 1])
            });
        }
        for (what, spelled) in other_spellings(name) {
            arsenal.header_text(format!("{name} {what}"), |it| {
                it.replacen(&format!("\"{name}\""), &format!("\"{spelled}\""), 1)
            });
        }
    }
    for alg in [
        "none",
        "noNE",
        "NONE",
        "None",
        "nOnE",
        "eddsa",
        "EDDSA",
        "Ed25519",
        "es256",
        "ES256",
        "ES384",
        "ES512",
        "ES256K",
        "RS256",
        "PS256",
        "HS256",
        "HS384",
        "HS512",
        "dir",
        "A256KW",
        "ECDH-ES",
        "EdDSA ",
        " EdDSA",
        "EdDSA,none",
    ] {
        arsenal.header(format!("alg {alg:?}"), |it| it["alg"] = alg.into());
    }
    for typ in [
        "JWT",
        "jwt",
        "JOSE",
        "at+jwt",
        "dpop+jwt",
        "client-authentication+jwt",
        "cv-auth+jwt",
        "STRONGROOM-AUTH+JWT",
        "application/strongroom-auth+jwt",
        "strongroom-auth+jwt ",
        "strongroom-auth",
    ] {
        arsenal.header(format!("typ {typ:?}"), |it| it["typ"] = typ.into());
    }
    let kid = arsenal.signer.kid.clone();
    for (what, kid) in [
        ("of nobody", format!("pkey_{}", "0".repeat(26))),
        ("in capitals", kid.to_uppercase()),
        ("with a space", format!("{kid} ")),
        ("of a file", "/dev/null".to_owned()),
        ("above", "../../../../dev/null".to_owned()),
        ("with SQL", format!("{kid}' OR '1'='1")),
        ("of another kind", kid.replacen("pkey_", "wkld_", 1)),
    ] {
        arsenal.header(format!("a kid {what}"), |it| it["kid"] = kid.into());
    }
    for (name, value) in [
        ("crit", json!([])),
        ("crit", json!(["exp"])),
        ("crit", json!(["b64"])),
        ("b64", json!(false)),
        ("jku", json!("https://127.0.0.1:1/keys")),
        ("jwk", json!({"kty": "OKP", "crv": "Ed25519", "x": "AA"})),
        ("x5u", json!("https://127.0.0.1:1/key")),
        ("x5c", json!(["MA=="])),
        ("x5t", json!("AA")),
        ("x5t#S256", json!("AA")),
        ("cty", json!("JWT")),
        ("zip", json!("DEF")),
        ("enc", json!("A256GCM")),
        ("epk", json!({})),
        ("p2c", json!(1_000_000_000)),
        ("p2s", json!("AA")),
        ("iv", json!("AA")),
        ("tag", json!("AA")),
        ("nonce", json!("AA")),
        ("", json!("AA")),
    ] {
        arsenal.header(format!("one more header, {name}: {value}"), |it| {
            it[name] = value;
        });
    }
}

fn forms(arsenal: &mut Arsenal<'_>) {
    type Change = fn(String) -> String;
    let changes: [(&str, Change); 21] = [
        ("nothing behind the last dot", |it| {
            it[..=it.rfind('.').expect("a dot")].to_owned()
        }),
        ("no signature", |it| {
            it[..it.rfind('.').expect("a dot")].to_owned()
        }),
        ("only a header", |it| {
            it[..it.find('.').expect("a dot")].to_owned()
        }),
        ("no header", |it| {
            it[it.find('.').expect("a dot")..].to_owned()
        }),
        ("four parts", |it| it + ".AA"),
        ("five parts", |it| it + ".AA.AA"),
        ("an empty part in front", |it| format!(".{it}")),
        ("a dot behind", |it| it + "."),
        ("padding", |it| it + "=="),
        ("a comma and another", |it| format!("{it},{it}")),
        ("a quote around", |it| format!("\"{it}\"")),
        ("a space within", |it| it.replacen('.', ". ", 1)),
        ("a tab behind the word", |it| format!("\t{it}")),
        ("two spaces before", |it| format!(" {it}")),
        ("the other alphabet", |it| {
            it.replace('-', "+").replace('_', "/") + "+"
        }),
        ("percent for a dot", |it| it.replacen('.', "%2E", 1)),
        ("a letter of the signature changed", |it| {
            let at = it.rfind('.').expect("a dot") + 5;
            let other = if &it[at..=at] == "A" { "B" } else { "A" };
            format!("{}{other}{}", &it[..at], &it[at + 1..])
        }),
        ("a signature that is too short", |it| {
            it[..it.len() - 4].to_owned()
        }),
        ("a signature that is too long", |it| it + "AAAA"),
        ("a signature of zeroes", |it| {
            let at = it.rfind('.').expect("a dot") + 1;
            format!("{}{}", &it[..at], "A".repeat(86))
        }),
        ("unused bits at the end", |it| {
            // The last letter of 64 bytes carries four bits that mean nothing: another letter gives
            // the same bytes, and a second name for one token.
            let last = it.chars().last().expect("a letter");
            let alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
            let at = alphabet.find(last).expect("a letter of base64");
            let other = &alphabet[at + 1..at + 2];
            format!("{}{other}", &it[..it.len() - 1])
        }),
    ];
    for (what, change) in changes {
        arsenal.token(what, change);
    }
    // JSON serialisation (RFC 7515, 7.2), flattened and general.
    for flattened in [true, false] {
        let what = format!("as JSON, flattened: {flattened}");
        arsenal.token(what, |it| {
            let parts: Vec<&str> = it.split('.').collect();
            match flattened {
                true => json!({"protected": parts[0], "payload": parts[1], "signature": parts[2]}),
                false => json!({"payload": parts[1], "signatures":
                    [{"protected": parts[0], "signature": parts[2]}]}),
            }
            .to_string()
        });
    }
    arsenal.token("as JSON in base64url", |it| {
        let parts: Vec<&str> = it.split('.').collect();
        let json = json!({"protected": parts[0], "payload": parts[1], "signature": parts[2]});
        URL_SAFE_NO_PAD.encode(json.to_string())
    });
    for (what, text) in [
        ("an array", "[\"EdDSA\",\"x\",\"y\"]"),
        ("a text", "\"x\""),
        ("nothing", ""),
        ("null", "null"),
        ("an empty object", "{}"),
        ("two objects", "{}{}"),
        ("text behind", "{} x"),
        ("a byte order mark", "\u{feff}{}"),
    ] {
        arsenal.header_text(format!("the header is {what}"), |_| text.to_owned());
        arsenal.claims_text(format!("the claims are {what}"), |_| text.to_owned());
    }
    // A forged signature that is also expired: the one must not hide the other.
    let forger = arsenal.signer.forger();
    let mut expired = forger.claims();
    for name in ["iat", "nbf", "exp"] {
        expired[name] = (expired[name].as_i64().expect("a time") - 4000).into();
    }
    let token = forger.sign(&forger.header(), &expired);
    arsenal.add("forged and expired", token, &expired);
    let good = forger.claims();
    arsenal.add("forged", forger.sign(&forger.header(), &good), &good);
    // The signature of another token of the same signer.
    let (one, two) = (arsenal.signer.claims(), arsenal.signer.claims());
    let signature = arsenal.signer.sign(&arsenal.signer.header(), &two);
    let message = unsigned(&arsenal.signer.header(), &one);
    let at = signature.rfind('.').expect("a dot");
    arsenal.add(
        "another token's signature",
        message + &signature[at..],
        &one,
    );
}

/// Tries every attack and asserts that it gets the model's answer; then that nothing was spent.
pub fn try_all(service: &Service, signer: &Signer, attacks: &[Attack]) {
    let mut stranger = Stranger::new(service);
    let model = stranger.send(&Request::get("/api/v1/whoami"));
    assert_eq!(model.problem(401), "unauthenticated");
    let good = signer.assertion();
    stranger.present(&good, "/api/v1/whoami").expect(200);
    for Attack { what, token, .. } in attacks {
        let answer = stranger.present(token, "/api/v1/whoami");
        assert_eq!(answer.comparable(), model.comparable(), "{what}: {token}");
    }
    // The identifiers are as good as new.
    let mut tried = HashSet::new();
    for Attack { what, jti, .. } in attacks {
        let Some(jti) = jti.as_ref().filter(|it| tried.insert(*it)) else {
            continue;
        };
        let token = signer.with_claims(|it| it["jti"] = jti.as_str().into());
        let answer = stranger.present(&token, "/api/v1/whoami");
        assert_eq!(answer.status, 200, "{what}: its jti was spent");
    }
    refused(attacks.len());
}

fn every_wrong_assertion_gets_the_uniform_401_and_spends_nothing(backend: Backend) {
    let service = Service::dev(&backend);
    let signer = Signer::worker(&service);
    let other = service.client("other").get("/api/v1/whoami").expect(200);
    let other = other.json()["id"].as_str().expect("an id").to_owned();
    let mut arsenal = Arsenal::new(&signer);
    claims(&mut arsenal, &other);
    headers(&mut arsenal);
    forms(&mut arsenal);
    assert!(arsenal.attacks.len() >= 500, "{}", arsenal.attacks.len());
    try_all(&service, &signer, &arsenal.attacks);
}
