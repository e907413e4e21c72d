//! Signed assertions: a JWT (RFC 7519) in compact form that a principal signs with its own key.
//!
//! The rules are stricter than the library's and are therefore kept here, on the bytes; only the
//! signature goes through it. Names and values have one spelling: a backslash anywhere in header or
//! claims is refused, because nothing that belongs there needs an escape. Unknown claims are
//! refused too: one that is not understood may be a restriction that the signer relies on (RFC
//! 7800's `cnf`), and `Aud` beside `aud` must not pass for a remark.

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use jsonwebtoken::{Algorithm, DecodingKey};
use ring::digest;
use serde::{Deserialize, de::DeserializeOwned};

use super::assertion_key::install_jwt_provider;
use super::proof::{AssertionProof, JtiHash, Reason, RegisteredKey};
use crate::model::{KeyForm, KeyId, Timestamp};

/// The header's `typ`: tokens made for anything else are refused (RFC 8725, 3.11).
pub const TYPE: &str = "strongroom-auth+jwt";
/// Most bytes of a token.
pub const MAX_BYTES: usize = 8 * 1024;
/// Most seconds between `iat` and `exp`.
pub const MAX_LIFETIME_SECS: i64 = 300;
/// How far the signer's clock may be off, in seconds.
pub const LEEWAY_SECS: i64 = 5;
/// How long a `jti` may be.
pub const JTI_CHARS: std::ops::RangeInclusive<usize> = 16..=64;

/// 9999-12-31T23:59:59Z: no time beyond it is meant seriously.
const MAX_NUMERIC_DATE: i64 = 253_402_300_799;

/// Public keys whose private halves are everybody's (the base points), for
/// [`verify_in_vain`].
const ED25519_BASE: [u8; 32] = {
    let mut point = [0x66; 32];
    point[0] = 0x58;
    point
};
const P256_BASE: [u8; 65] = [
    0x04, 0x6b, 0x17, 0xd1, 0xf2, 0xe1, 0x2c, 0x42, 0x47, 0xf8, 0xbc, 0xe6, 0xe5, 0x63, 0xa4, 0x40,
    0xf2, 0x77, 0x03, 0x7d, 0x81, 0x2d, 0xeb, 0x33, 0xa0, 0xf4, 0xa1, 0x39, 0x45, 0xd8, 0x98, 0xc2,
    0x96, 0x4f, 0xe3, 0x42, 0xe2, 0xfe, 0x1a, 0x7f, 0x9b, 0x8e, 0xe7, 0xeb, 0x4a, 0x7c, 0x0f, 0x9e,
    0x16, 0x2b, 0xce, 0x33, 0x57, 0x6b, 0x31, 0x5e, 0xce, 0xcb, 0xb6, 0x40, 0x68, 0x37, 0xbf, 0x51,
    0xf5,
];

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawHeader {
    alg: String,
    kid: String,
    typ: String,
}

/// Each exactly once, each of exactly this type: serde refuses doubles, `null`, fractions and
/// numbers that do not fit.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Claims {
    iss: String,
    sub: String,
    aud: String,
    iat: i64,
    nbf: i64,
    exp: i64,
    jti: String,
}

struct Parts<'a> {
    /// Header, dot and claims: what is signed.
    signed: &'a str,
    claims: &'a str,
    signature: &'a str,
    algorithm: Algorithm,
    kid: KeyId,
}

/// The key that a token says it is signed with. Nothing is verified yet: the answer is good for
/// looking the key up and for nothing else.
///
/// # Errors
/// The token is not three base64url parts with a header of exactly `alg`, `kid` and `typ`.
pub fn parse_unverified_header(token: &str) -> Result<KeyId, Reason> {
    split(token).map(|parts| parts.kid)
}

/// Verifies a token against the key that its header names: signature first, then the claims.
///
/// `audience` is this deployment's id. The caller has to spend the proof's `jti` before it answers.
///
/// # Errors
/// The rule that does not hold.
pub fn verify(
    token: &str,
    key: &RegisteredKey,
    audience: &str,
    now: Timestamp,
) -> Result<AssertionProof, Reason> {
    let parts = split(token)?;
    if parts.kid != key.id {
        return Err(Reason::NotRegistered);
    }
    let (algorithm, decoding) = match key.public_key.form() {
        KeyForm::Ed25519 => (
            Algorithm::EdDSA,
            DecodingKey::from_ed_der(key.public_key.raw()),
        ),
        KeyForm::P256 => (
            Algorithm::ES256,
            DecodingKey::from_ec_der(key.public_key.raw()),
        ),
        _ => return Err(Reason::KeyOfOtherForm),
    };
    if parts.algorithm != algorithm {
        return Err(Reason::AssertionAlgorithm);
    }
    if !parts.signature_is_good(&decoding) {
        return Err(Reason::AssertionSignature);
    }
    let claims: Claims = json_part(parts.claims).ok_or(Reason::AssertionClaims)?;
    check_claims(&claims, key, audience, now)?;
    Ok(AssertionProof {
        key: key.id,
        principal: key.owner,
        jti: jti_hash(&claims.iss, &claims.jti),
        issued_at: Timestamp::from_secs(claims.iat),
        expires_at: Timestamp::from_secs(claims.exp),
    })
}

/// Spends the time of [`verify`] on a token whose key is not known.
pub fn verify_in_vain(token: &str) {
    if let Ok(parts) = split(token) {
        let key = if parts.algorithm == Algorithm::EdDSA {
            DecodingKey::from_ed_der(&ED25519_BASE)
        } else {
            DecodingKey::from_ec_der(&P256_BASE)
        };
        std::hint::black_box(parts.signature_is_good(&key));
    }
}

fn split(token: &str) -> Result<Parts<'_>, Reason> {
    // Length and characters before anything that allocates.
    if token.len() > MAX_BYTES {
        return Err(Reason::AssertionSize);
    }
    let in_charset = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
    if !token.bytes().all(in_charset) {
        return Err(Reason::AssertionMalformed);
    }
    let (signed, signature) = token.rsplit_once('.').ok_or(Reason::AssertionMalformed)?;
    let (header, claims) = signed.split_once('.').ok_or(Reason::AssertionMalformed)?;
    if claims.contains('.') || [header, claims, signature].contains(&"") {
        return Err(Reason::AssertionMalformed);
    }
    let header: RawHeader = json_part(header).ok_or(Reason::AssertionHeader)?;
    if header.typ != TYPE {
        return Err(Reason::AssertionType);
    }
    let algorithm = match header.alg.as_str() {
        "EdDSA" => Algorithm::EdDSA,
        "ES256" => Algorithm::ES256,
        _ => return Err(Reason::AssertionAlgorithm),
    };
    let kid = header.kid.parse().map_err(|_| Reason::AssertionHeader)?;
    Ok(Parts {
        signed,
        claims,
        signature,
        algorithm,
        kid,
    })
}

/// A part as a JSON object. serde would also fill a struct from an array, without any names.
fn json_part<T: DeserializeOwned>(part: &str) -> Option<T> {
    let bytes = URL_SAFE_NO_PAD.decode(part).ok()?;
    if bytes.first() != Some(&b'{') || bytes.contains(&b'\\') {
        return None;
    }
    serde_json::from_slice(&bytes).ok()
}

impl Parts<'_> {
    fn signature_is_good(&self, key: &DecodingKey) -> bool {
        let message = self.signed.as_bytes();
        signature_is_good(message, self.signature, key, self.algorithm)
    }
}

/// Whether `signature` (base64url without padding) over `message` is that of `key`.
fn signature_is_good(
    message: &[u8],
    signature: &str,
    key: &DecodingKey,
    algorithm: Algorithm,
) -> bool {
    install_jwt_provider();
    jsonwebtoken::crypto::verify(signature, message, key, algorithm).unwrap_or(false)
}

fn check_claims(
    claims: &Claims,
    key: &RegisteredKey,
    audience: &str,
    now: Timestamp,
) -> Result<(), Reason> {
    let owner = key.owner.to_string();
    if claims.iss != owner || claims.sub != owner {
        return Err(Reason::AssertionOwner);
    }
    // A deployment without a name would be everybody's audience.
    if audience.is_empty() || claims.aud != audience {
        return Err(Reason::AssertionAudience);
    }
    let in_range = |at: i64| (0..=MAX_NUMERIC_DATE).contains(&at);
    if ![claims.iat, claims.nbf, claims.exp]
        .into_iter()
        .all(in_range)
    {
        return Err(Reason::AssertionClaims);
    }
    if !(1..=MAX_LIFETIME_SECS).contains(&(claims.exp - claims.iat)) {
        return Err(Reason::AssertionLifetime);
    }
    let latest = now.plus_secs(LEEWAY_SECS);
    if Timestamp::from_secs(claims.iat) > latest || Timestamp::from_secs(claims.nbf) > latest {
        return Err(Reason::AssertionNotYetValid);
    }
    if Timestamp::from_secs(claims.exp).plus_secs(LEEWAY_SECS) <= now {
        return Err(Reason::AssertionExpired);
    }
    if !JTI_CHARS.contains(&claims.jti.len()) || !claims.jti.bytes().all(|b| b.is_ascii_graphic()) {
        return Err(Reason::AssertionIdentifier);
    }
    Ok(())
}

fn jti_hash(issuer: &str, jti: &str) -> JtiHash {
    let mut context = digest::Context::new(&digest::SHA256);
    for field in [issuer, jti] {
        let length = u32::try_from(field.len()).unwrap_or(u32::MAX);
        context.update(&length.to_be_bytes());
        context.update(field.as_bytes());
    }
    let mut hash = [0; 32];
    hash.copy_from_slice(context.finish().as_ref());
    JtiHash(hash)
}

#[cfg(test)]
mod tests;
