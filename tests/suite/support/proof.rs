//! Proofs of identity, good and bad: certificates of own authorities, and assertions of which every
//! part can be chosen.

use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use ring::signature::Ed25519KeyPair;
use rustls::pki_types::{PrivatePkcs8KeyDer, pem::PemObject};
use serde_json::{Value, json};
use strongroom::clock::{Clock, SystemClock};
use strongroom::identity::spiffe::{SpiffeId, TrustDomain};
use strongroom::model::Timestamp;
use strongroom::pki::{Issuer, P256Key, create_authority};
use strongroom::random::SystemRandom;

use super::service::Service;

/// Now, in seconds.
pub fn now() -> i64 {
    SystemClock.now().secs()
}

/// A certificate and its key, both PEM.
pub struct Pair {
    pub certificate: String,
    pub key: String,
}

/// An authority of a mesh of somebody else.
pub struct Mesh {
    issuer: Issuer,
    domain: TrustDomain,
}

impl Mesh {
    pub fn new(domain: &str) -> Self {
        let domain: TrustDomain = domain.parse().expect("a trust domain");
        let random = SystemRandom::new();
        let authority = create_authority(&domain, SystemClock.now().plus_secs(-86_400), &random);
        let authority = authority.expect("an authority");
        let issuer = Issuer::open(authority.certificate, authority.key, domain.clone());
        Self {
            issuer: issuer.expect("an issuer"),
            domain,
        }
    }

    pub fn certificate(&self) -> String {
        self.issuer.certificate_pem()
    }

    pub fn spiffe_id(&self, path: &str) -> String {
        format!("spiffe://{}/{path}", self.domain.as_str())
    }

    /// A client certificate for this SPIFFE id, from `begins` (seconds) for `lifetime` seconds.
    pub fn issue(&self, spiffe_id: &str, begins: i64, lifetime: i64) -> Pair {
        let key = P256Key::generate().expect("a key");
        let id: SpiffeId = spiffe_id.parse().expect("a SPIFFE id");
        let begins = Timestamp::from_secs(begins);
        let random = SystemRandom::new();
        let issued = self
            .issuer
            .issue_client(key.public_key(), &id, lifetime, begins, &random);
        Pair {
            certificate: issued.expect("a certificate").pem,
            key: key.to_pem().to_string(),
        }
    }

    /// One that is good now.
    pub fn leaf(&self, path: &str) -> Pair {
        self.issue(&self.spiffe_id(path), now(), 3600)
    }
}

/// A certificate that nobody but its own key signed.
pub fn self_signed() -> Pair {
    let key = rcgen::KeyPair::generate().expect("a key");
    let params = rcgen::CertificateParams::new(Vec::new()).expect("parameters");
    let certificate = params.self_signed(&key).expect("a certificate");
    Pair {
        certificate: certificate.pem(),
        key: key.serialize_pem(),
    }
}

/// A new key and a request for a certificate.
pub fn request() -> (String, String) {
    let key = P256Key::generate().expect("a key");
    let request = key.request_pem().expect("a CSR");
    (key.to_pem().to_string(), request)
}

/// A request for a certificate with this key, which has no name in it.
pub fn request_with(key: &str) -> String {
    let key = rcgen::KeyPair::from_pem(key).expect("a key");
    let mut params = rcgen::CertificateParams::default();
    params.distinguished_name = rcgen::DistinguishedName::new();
    let request = params.serialize_request(&key).expect("a request");
    request.pem().expect("PEM")
}

/// A signer of assertions.
pub struct Signer {
    pair: Ed25519KeyPair,
    pub id: String,
    pub kid: String,
    pub audience: String,
}

impl Signer {
    /// The demonstration's worker.
    pub fn worker(service: &Service) -> Self {
        let profile: Value = serde_json::from_str(&service.read("worker.json")).expect("JSON");
        let text = |name: &str| profile[name].as_str().expect("a text").to_owned();
        Self {
            pair: pair(&service.read("worker.jwt.key")),
            id: text("id"),
            kid: text("kid"),
            audience: text("audience"),
        }
    }

    /// The holder of this key, in PKCS#8 as PEM.
    pub fn with_key(pem: &str, id: &str, kid: &str, audience: &str) -> Self {
        Self {
            pair: pair(pem),
            id: id.to_owned(),
            kid: kid.to_owned(),
            audience: audience.to_owned(),
        }
    }

    /// The same claims, signed with another key.
    pub fn forger(&self) -> Self {
        let random = SystemRandom::new();
        let key = strongroom::pki::Ed25519Key::generate(&random).expect("a key");
        Self {
            pair: pair(&key.to_pem()),
            id: self.id.clone(),
            kid: self.kid.clone(),
            audience: self.audience.clone(),
        }
    }

    pub fn header(&self) -> Value {
        json!({"alg": "EdDSA", "kid": self.kid, "typ": "strongroom-auth+jwt"})
    }

    pub fn claims(&self) -> Value {
        static COUNT: AtomicU64 = AtomicU64::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let (now, process) = (now(), std::process::id());
        json!({"iss": self.id, "sub": self.id, "aud": self.audience, "iat": now, "nbf": now,
               "exp": now + 120, "jti": format!("suite-{process:010}-{count:010}")})
    }

    /// A good assertion.
    pub fn assertion(&self) -> String {
        self.sign(&self.header(), &self.claims())
    }

    /// A good assertion but for what `change` does to its claims.
    pub fn with_claims(&self, change: impl FnOnce(&mut Value)) -> String {
        let mut claims = self.claims();
        change(&mut claims);
        self.sign(&self.header(), &claims)
    }

    /// A good assertion but for what `change` does to its header.
    pub fn with_header(&self, change: impl FnOnce(&mut Value)) -> String {
        let mut header = self.header();
        change(&mut header);
        self.sign(&header, &self.claims())
    }

    pub fn sign(&self, header: &Value, claims: &Value) -> String {
        self.sign_message(&unsigned(header, claims))
    }

    /// A good signature over header and claims as they are written here.
    pub fn sign_text(&self, header: &str, claims: &str) -> String {
        let part = |text: &str| URL_SAFE_NO_PAD.encode(text);
        self.sign_message(&format!("{}.{}", part(header), part(claims)))
    }

    /// The public key.
    pub fn public(&self) -> Vec<u8> {
        use ring::signature::KeyPair as _;
        self.pair.public_key().as_ref().to_vec()
    }

    /// `message` with a good signature over it behind a dot.
    pub fn sign_message(&self, message: &str) -> String {
        let signature = self.pair.sign(message.as_bytes());
        format!("{message}.{}", URL_SAFE_NO_PAD.encode(signature.as_ref()))
    }

    /// An assertion under HMAC with the public key as the secret, the classical confusion.
    pub fn confused(&self) -> String {
        use ring::signature::KeyPair as _;
        let mut header = self.header();
        header["alg"] = "HS256".into();
        let message = unsigned(&header, &self.claims());
        let key = ring::hmac::Key::new(ring::hmac::HMAC_SHA256, self.pair.public_key().as_ref());
        let tag = ring::hmac::sign(&key, message.as_bytes());
        format!("{message}.{}", URL_SAFE_NO_PAD.encode(tag.as_ref()))
    }

    /// An assertion that says it needs no signature.
    pub fn without_signature(&self) -> String {
        let mut header = self.header();
        header["alg"] = "none".into();
        unsigned(&header, &self.claims()) + "."
    }
}

pub fn unsigned(header: &Value, claims: &Value) -> String {
    let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
    format!("{}.{}", part(header), part(claims))
}

fn pair(pem: &str) -> Ed25519KeyPair {
    let der = PrivatePkcs8KeyDer::from_pem_slice(pem.as_bytes()).expect("PEM");
    Ed25519KeyPair::from_pkcs8_maybe_unchecked(der.secret_pkcs8_der()).expect("Ed25519")
}

/// Writes a pair as `NAME.pem` and `NAME.key` beside the other files of a service.
pub fn save(service: &Service, name: &str, certificate: &str, key: &str) -> (PathBuf, PathBuf) {
    let files = (
        service.file(&format!("{name}.pem")),
        service.file(&format!("{name}.key")),
    );
    std::fs::write(&files.0, certificate).expect("a certificate");
    std::fs::write(&files.1, key).expect("a key");
    files
}
