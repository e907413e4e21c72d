//! What opening a value costs by itself: one thread, the service's own functions.

use std::{
    hint::black_box,
    time::{Duration, Instant},
};

use strongroom::{
    clock::{Clock as _, SystemClock},
    crypto::{KekRef, Keyring, KeyringLimits, PayloadRef, RootKey},
    model::{CredentialId, EnvironmentId, KekId, RoleId, VersionId},
    random::SystemRandom,
    secret::{Secret, SecretKey},
};

/// About as long as a Microsoft 365 credential.
pub const VALUE_BYTES: usize = 300;

/// The mean time of opening a value of [`VALUE_BYTES`]: its DEK, then itself (CV1 twice).
///
/// # Errors
/// Something does not open.
pub fn value() -> Result<Duration, String> {
    let random = SystemRandom::new();
    let now = SystemClock.now();
    // As a release opens a value: the DEK from its wrap, then the payload with it.
    let kek = KekRef {
        id: plain(KekId::generate(now, &random))?,
        generation: 1,
        environment: plain(EnvironmentId::generate(now, &random))?,
        role: plain(RoleId::generate(now, &random))?,
    };
    let credential = plain(CredentialId::generate(now, &random))?;
    let payload = PayloadRef {
        environment: kek.environment,
        credential,
        version: 1,
        version_id: plain(VersionId::generate(now, &random))?,
    };
    let root = plain(RootKey::generate("dev-bench", 1, &random))?;
    let keyring = Keyring::new(root, KeyringLimits::default());
    let wrapped_kek = plain(keyring.create_kek(kek, &random))?;
    let kek = keyring
        .kek(kek, now, || Ok::<_, std::convert::Infallible>(wrapped_kek))
        .map_err(|_| "opening a KEK failed")?;
    let dek = plain(SecretKey::generate(&random))?;
    let wrapped = plain(keyring.wrap_dek(&kek, credential, 1, &dek, &random))?;
    let value = Secret::new(vec![b'x'; VALUE_BYTES]);
    let sealed = plain(keyring.seal_payload(&dek, payload, &value, &random))?;
    per_call(10_000, || {
        let dek = keyring.unwrap_dek(&kek, credential, 1, &wrapped).ok()?;
        keyring.open_payload(&dek, payload, &sealed).ok()
    })
    .ok_or_else(|| "opening a value failed".to_owned())
}

/// The mean time of a call, the first tenth left out; nothing when one failed.
pub fn per_call<T>(calls: u32, mut call: impl FnMut() -> Option<T>) -> Option<Duration> {
    for _ in 0..calls / 10 {
        black_box(call()?);
    }
    let begin = Instant::now();
    for _ in 0..calls {
        black_box(call()?);
    }
    Some(begin.elapsed() / calls)
}

/// The error as a text.
///
/// # Errors
/// As `result`.
pub fn plain<T, E: std::fmt::Display>(result: Result<T, E>) -> Result<T, String> {
    result.map_err(|error| error.to_string())
}
