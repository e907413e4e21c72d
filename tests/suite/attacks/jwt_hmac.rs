//! Assertions under HMAC with a public key for the secret: row 14.

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD, URL_SAFE, URL_SAFE_NO_PAD};
use ring::hmac;
use serde_json::{Value, json};

use super::jwt_matrix::{Attack, try_all};
use crate::support::proof::{Signer, request, unsigned};
use crate::support::{Admin, Backend, Service, id_of};

/// The encodings in which a public key could be taken for a shared secret.
fn encodings(raw: &[u8], spki: &[u8], pem: &str, jwk: &str) -> Vec<(String, Vec<u8>)> {
    let mut all = Vec::new();
    for (what, bytes) in [("raw", raw), ("SPKI", spki)] {
        all.push((what.to_owned(), bytes.to_vec()));
        all.push((format!("{what} in hex"), hex::encode(bytes).into_bytes()));
        let upper = hex::encode_upper(bytes).into_bytes();
        all.push((format!("{what} in HEX"), upper));
        for (alphabet, text) in [
            ("base64", STANDARD.encode(bytes)),
            ("base64 without padding", STANDARD_NO_PAD.encode(bytes)),
            ("base64url", URL_SAFE_NO_PAD.encode(bytes)),
            ("base64url with padding", URL_SAFE.encode(bytes)),
        ] {
            all.push((format!("{what} in {alphabet}"), text.into_bytes()));
        }
    }
    for (what, text) in [
        ("PEM", pem.to_owned()),
        ("PEM without its last line end", pem.trim_end().to_owned()),
        ("PEM with CRLF", pem.replace('\n', "\r\n")),
        ("JWK", jwk.to_owned()),
    ] {
        all.push((what.to_owned(), text.into_bytes()));
    }
    all.push(("nothing".to_owned(), Vec::new()));
    all
}

/// A token under HMAC with `secret`.
fn hmac_token(signer: &Signer, algorithm: &str, kid: &str, secret: &[u8]) -> (String, Value) {
    let function = match algorithm {
        "HS384" => hmac::HMAC_SHA384,
        "HS512" => hmac::HMAC_SHA512,
        _ => hmac::HMAC_SHA256,
    };
    let mut header = signer.header();
    header["alg"] = algorithm.into();
    header["kid"] = kid.into();
    let claims = signer.claims();
    let message = unsigned(&header, &claims);
    let tag = hmac::sign(&hmac::Key::new(function, secret), message.as_bytes());
    let token = format!("{message}.{}", URL_SAFE_NO_PAD.encode(tag.as_ref()));
    (token, claims)
}

#[test]
fn row_14_cve_2015_9235_hmac_under_each_registered_public_key() {
    let service = Service::dev(&Backend::Sqlite);
    let admin = Admin::of(&service);
    let signer = Signer::worker(&service);
    let keys = format!("/workloads/{}/keys", signer.id);
    // Besides the demonstration's Ed25519 key one of P-256, and the issued certificate's.
    let (private, _) = request();
    let p256 = strongroom::identity::assertion_key::AssertionKey::from_pem(&private);
    let p256 = p256.expect("a key").public_key().clone();
    let registered = admin.create(&keys, &json!({"public_key": p256.to_pem()}));
    let mut of_ed25519 = vec![
        0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00,
    ];
    of_ed25519.extend(signer.public());
    let pem = |der: &[u8]| {
        let text = STANDARD.encode(der);
        let lines: Vec<&str> = (0..text.len())
            .step_by(64)
            .map(|at| &text[at..text.len().min(at + 64)])
            .collect();
        let lines = lines.join("\n");
        format!("-----BEGIN PUBLIC KEY-----\n{lines}\n-----END PUBLIC KEY-----\n")
    };
    let b64 = |bytes: &[u8]| URL_SAFE_NO_PAD.encode(bytes);
    let point = p256.raw();
    let jwk_of_ed25519 =
        json!({"crv": "Ed25519", "kty": "OKP", "x": b64(&signer.public())}).to_string();
    let jwk_of_p256 = json!({"crv": "P-256", "kty": "EC", "x": b64(&point[1..33]),
                             "y": b64(&point[33..])})
    .to_string();
    let mut secrets = Vec::new();
    for (what, secret) in encodings(
        &signer.public(),
        &of_ed25519,
        &pem(&of_ed25519),
        &jwk_of_ed25519,
    ) {
        secrets.push((signer.kid.clone(), format!("Ed25519, {what}"), secret));
    }
    let p256_kid = id_of(&registered);
    for (what, secret) in encodings(point, p256.spki_der(), &p256.to_pem(), &jwk_of_p256) {
        secrets.push((p256_kid.clone(), format!("P-256, {what}"), secret));
    }
    let mut compressed = vec![2 + (point[64] & 1)];
    compressed.extend(&point[1..33]);
    secrets.push((p256_kid.clone(), "P-256, compressed".into(), compressed));
    secrets.push((p256_kid, "P-256, without 04".into(), point[1..].to_vec()));
    let certificate = service.read("worker.pem");
    secrets.push((
        signer.kid.clone(),
        "a certificate in PEM".into(),
        certificate.into_bytes(),
    ));
    let mut attacks = Vec::new();
    for (kid, what, secret) in &secrets {
        for algorithm in ["HS256", "HS384", "HS512"] {
            let (token, claims) = hmac_token(&signer, algorithm, kid, secret);
            attacks.push(Attack {
                what: format!("{algorithm} under {what}"),
                token,
                jti: claims["jti"].as_str().map(str::to_owned),
            });
        }
    }
    assert!(attacks.len() > 100, "{}", attacks.len());
    try_all(&service, &signer, &attacks);
}
