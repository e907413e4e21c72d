//! What is kept open, and what opens where.

use super::*;
use crate::random::SystemRandom;

const DEPLOYMENT: &str = "dev-01kaqz3m8v7d6k2n4p9r5s1t0x";
const START: Timestamp = Timestamp::from_secs(1_800_000_000);

fn keyring(limits: KeyringLimits) -> Keyring {
    Keyring::new(
        RootKey::generate(DEPLOYMENT, 1, &SystemRandom::new()).unwrap(),
        limits,
    )
}

fn kek_ref(byte: u8) -> KekRef {
    KekRef {
        id: KekId::from_bytes([byte; 16]),
        generation: 1,
        environment: EnvironmentId::from_bytes([2; 16]),
        role: RoleId::from_bytes([byte; 16]),
    }
}

fn give<'a>(blob: &'a [u8]) -> impl FnOnce() -> Result<&'a [u8], ()> {
    move || Ok(blob)
}

fn none() -> Result<&'static [u8], &'static str> {
    Err("the row was asked for")
}

#[test]
fn a_value_goes_down_through_all_layers_and_comes_back() {
    let random = SystemRandom::new();
    let ring = keyring(KeyringLimits::default());
    let blob = ring.create_kek(kek_ref(1), &random).unwrap();
    let kek = ring.kek(kek_ref(1), START, give(&blob)).unwrap();
    let payload = PayloadRef {
        environment: EnvironmentId::from_bytes([2; 16]),
        credential: CredentialId::from_bytes([3; 16]),
        version: 7,
        version_id: VersionId::from_bytes([4; 16]),
    };
    let dek = SecretKey::generate(&random).unwrap();
    let wrapped = ring
        .wrap_dek(&kek, payload.credential, 7, &dek, &random)
        .unwrap();
    let value = Secret::new(b"{\"secret\":\"x\"}".to_vec());
    let sealed = ring.seal_payload(&dek, payload, &value, &random).unwrap();

    let dek = ring
        .unwrap_dek(&kek, payload.credential, 7, &wrapped)
        .unwrap();
    let opened = ring.open_payload(&dek, payload, &sealed).unwrap();
    assert_eq!(opened.expose_secret(), value.expose_secret());

    assert!(
        ring.unwrap_dek(&kek, payload.credential, 8, &wrapped)
            .is_err()
    );
    let elsewhere = PayloadRef {
        version_id: VersionId::from_bytes([5; 16]),
        ..payload
    };
    assert!(ring.open_payload(&dek, elsewhere, &sealed).is_err());
    let other = ring.create_kek(kek_ref(9), &random).unwrap();
    let other = ring.kek(kek_ref(9), START, give(&other)).unwrap();
    assert!(
        ring.unwrap_dek(&other, payload.credential, 7, &wrapped)
            .is_err()
    );
}

#[test]
fn an_open_kek_is_not_asked_for_again_until_it_is_forgotten() {
    let limits = KeyringLimits {
        keks: 10,
        idle_secs: 60,
    };
    let ring = keyring(limits);
    let blob = ring.create_kek(kek_ref(1), &SystemRandom::new()).unwrap();
    assert!(matches!(
        ring.kek(kek_ref(1), START, none),
        Err(KekError::Fetch(_))
    ));
    ring.kek(kek_ref(1), START, give(&blob)).unwrap();
    ring.kek(kek_ref(1), START.plus_secs(60), none).unwrap();
    ring.kek(kek_ref(1), START.plus_secs(120), none).unwrap();
    // A clock that goes back does not make it look idle, nor used earlier.
    ring.kek(kek_ref(1), START, none).unwrap();
    ring.kek(kek_ref(1), START.plus_secs(180), none).unwrap();
    assert!(ring.kek(kek_ref(1), START.plus_secs(241), none).is_err());
    assert_eq!(ring.open_keks(), 0);

    ring.kek(kek_ref(1), START, give(&blob)).unwrap();
    ring.forget_idle(START.plus_secs(60));
    assert_eq!(ring.open_keks(), 1);
    ring.forget_idle(START.plus_secs(61));
    assert_eq!(ring.open_keks(), 0);

    ring.kek(kek_ref(1), START, give(&blob)).unwrap();
    ring.forget(kek_ref(1).id);
    assert!(ring.kek(kek_ref(1), START, none).is_err());
}

#[test]
fn a_kek_is_not_given_for_a_row_that_says_something_else() {
    let ring = keyring(KeyringLimits::default());
    let right = kek_ref(1);
    let blob = ring.create_kek(right, &SystemRandom::new()).unwrap();
    let wrong = [
        KekRef {
            role: RoleId::from_bytes([9; 16]),
            ..right
        },
        KekRef {
            environment: EnvironmentId::from_bytes([9; 16]),
            ..right
        },
        KekRef {
            generation: 2,
            ..right
        },
    ];
    // Nor does its blob open in the row of another KEK, such as the one that replaced it.
    let other_id = KekId::from_bytes([9; 16]);
    let others = [
        KekRef {
            id: other_id,
            ..right
        },
        KekRef {
            id: other_id,
            generation: 2,
            ..right
        },
    ];
    let refused = |wrong: KekRef| {
        let opened = ring.kek(wrong, START, give(&blob));
        assert!(matches!(opened, Err(KekError::Open(_))), "{wrong:?}");
    };
    wrong.into_iter().chain(others).for_each(refused);
    assert_eq!(ring.open_keks(), 0);
    // The same once the right one is open.
    ring.kek(right, START, give(&blob)).unwrap();
    wrong.into_iter().chain(others).for_each(refused);
    assert_eq!(ring.open_keks(), 1);
}

#[test]
fn the_number_of_open_keks_is_bounded_and_the_least_used_goes() {
    let ring = keyring(KeyringLimits {
        keks: 2,
        idle_secs: 60,
    });
    let blobs = [1, 2, 3].map(|n| ring.create_kek(kek_ref(n), &SystemRandom::new()).unwrap());
    ring.kek(kek_ref(1), START, give(&blobs[0])).unwrap();
    ring.kek(kek_ref(2), START.plus_secs(1), give(&blobs[1]))
        .unwrap();
    ring.kek(kek_ref(1), START.plus_secs(2), none).unwrap();
    ring.kek(kek_ref(3), START.plus_secs(3), give(&blobs[2]))
        .unwrap();
    assert_eq!(ring.open_keks(), 2);
    ring.kek(kek_ref(1), START.plus_secs(4), none).unwrap();
    assert!(ring.kek(kek_ref(2), START.plus_secs(4), none).is_err());
}

#[test]
fn service_keys_open_under_their_own_name_and_generation_only() {
    let random = SystemRandom::new();
    let ring = keyring(KeyringLimits::default());
    for name in ServiceKeyName::ALL {
        let (key, blob) = ring.create_service_key(*name, 2, &random).unwrap();
        for other in ServiceKeyName::ALL {
            for generation in 1..=3 {
                let opened = ring.open_service_key(*other, generation, &blob);
                assert_eq!(opened.is_ok(), other == name && generation == 2);
                if let Ok(opened) = opened {
                    assert!(opened.expose_secret() == key.expose_secret());
                }
            }
        }
    }
    let name = ServiceKeyName::Authority;
    let long = [5; 138];
    let blob = ring.seal_service_key(name, 2, &long, &random).unwrap();
    let opened = ring.open_service_bytes(name, 2, &blob).unwrap();
    assert_eq!(opened.expose_secret(), long);
    assert!(ring.open_service_bytes(name, 1, &blob).is_err());
    assert!(ring.open_service_key(name, 2, &blob).is_err());
}

#[test]
fn a_change_of_the_root_key_moves_wraps_and_keeps_keys() {
    let random = SystemRandom::new();
    let old = keyring(KeyringLimits::default());
    let root = RootKey::generate(DEPLOYMENT, 2, &random).unwrap();
    let new = Keyring::new(root, KeyringLimits::default());

    let kek = old.create_kek(kek_ref(1), &random).unwrap();
    let moved = old.rewrap_kek(kek_ref(1), &kek, &new, &random).unwrap();
    let before = old.kek(kek_ref(1), START, give(&kek)).unwrap();
    let after = new.kek(kek_ref(1), START, give(&moved)).unwrap();
    assert!(before.key.expose_secret() == after.key.expose_secret());
    assert_eq!(
        new.rewrap_kek(kek_ref(1), &kek, &old, &random),
        Err(RewrapError::Open(OpenError))
    );

    let next = KekRef {
        generation: 2,
        ..kek_ref(1)
    };
    assert_eq!(
        old.rewrap_kek(next, &kek, &new, &random),
        Err(RewrapError::Open(OpenError))
    );

    let name = ServiceKeyName::RegistryMac;
    let (key, blob) = old.create_service_key(name, 3, &random).unwrap();
    let moved = old
        .rewrap_service_key(name, 3, &blob, &new, &random)
        .unwrap();
    let opened = new.open_service_key(name, 3, &moved).unwrap();
    assert!(opened.expose_secret() == key.expose_secret());
    assert!(new.open_service_key(name, 3, &blob).is_err());
    assert_eq!(
        old.rewrap_service_key(name, 4, &blob, &new, &random),
        Err(RewrapError::Open(OpenError))
    );
}
