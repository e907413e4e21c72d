//! Sealing as a whole: what opens, and everything that must not.

mod constant_time;
mod hpke;
mod vectors;
mod wycheproof;

use super::*;
use crate::model::{CredentialId, EnvironmentId, KekId, RoleId};
use crate::random::{Random, RandomError, SystemRandom};
use crate::secret::SecretKey;

/// Gives the same bytes on every call, so that a blob can be made again.
struct FixedRandom(Vec<u8>);

impl Random for FixedRandom {
    fn fill(&self, out: &mut [u8]) -> Result<(), RandomError> {
        if out.len() != self.0.len() {
            return Err(RandomError);
        }
        out.copy_from_slice(&self.0);
        Ok(())
    }
}

const DEPLOYMENTS: [&str; 2] = [
    "dev-01kaqz3m8v7d6k2n4p9r5s1t0x",
    "prod-01kaqz3m8v7d6k2n4p9r5s1t0x",
];

fn key(byte: u8) -> SecretKey {
    SecretKey::from_slice(&[byte; 32]).unwrap()
}

fn key_ref() -> KeyRef {
    KeyRef {
        version: 7,
        id: [0x1d; 16],
    }
}

fn environment(byte: u8) -> EnvironmentId {
    EnvironmentId::from_bytes([byte; 16])
}

fn role(byte: u8) -> RoleId {
    RoleId::from_bytes([byte; 16])
}

fn kek(byte: u8) -> KekId {
    KekId::from_bytes([byte; 16])
}

fn credential(byte: u8) -> CredentialId {
    CredentialId::from_bytes([byte; 16])
}

/// One binding for each combination of two values of every field of every kind.
fn matrix() -> Vec<Binding<'static>> {
    let mut all = Vec::new();
    for deployment in DEPLOYMENTS {
        for name in ServiceKeyName::ALL {
            for generation in [1, 2] {
                all.push(Binding::Service {
                    deployment,
                    name: *name,
                    generation,
                });
            }
        }
        for manifest in ["mani_1", "mani_2"] {
            all.push(Binding::Backup {
                deployment,
                manifest,
            });
        }
        for environment in [environment(1), environment(2)] {
            for role in [role(1), role(2)] {
                for kek in [kek(1), kek(2)] {
                    for generation in [1, 2] {
                        all.push(Binding::Kek {
                            deployment,
                            environment,
                            role,
                            kek,
                            generation,
                        });
                    }
                }
            }
            for credential in [credential(1), credential(2)] {
                for version in [1, 2] {
                    all.push(Binding::Payload {
                        deployment,
                        environment,
                        credential,
                        version,
                    });
                    for role in [role(1), role(2)] {
                        for kek_generation in [1, 2] {
                            all.push(Binding::Dek {
                                deployment,
                                environment,
                                role,
                                credential,
                                version,
                                kek_generation,
                            });
                        }
                    }
                }
            }
        }
    }
    all
}

/// One binding of each kind.
fn one_of_each() -> [Binding<'static>; 5] {
    let deployment = DEPLOYMENTS[0];
    [
        Binding::Kek {
            deployment,
            environment: environment(1),
            role: role(2),
            kek: kek(6),
            generation: 5,
        },
        Binding::Dek {
            deployment,
            environment: environment(1),
            role: role(2),
            credential: credential(3),
            version: 4,
            kek_generation: 5,
        },
        Binding::Payload {
            deployment,
            environment: environment(1),
            credential: credential(3),
            version: 4,
        },
        Binding::Backup {
            deployment,
            manifest: "mani_1",
        },
        Binding::Service {
            deployment,
            name: ServiceKeyName::AuditSigning,
            generation: 3,
        },
    ]
}

fn sealed(binding: &Binding<'_>, plaintext: &[u8]) -> Vec<u8> {
    seal(&key(1), key_ref(), binding, plaintext, &SystemRandom::new()).unwrap()
}

#[test]
fn a_blob_opens_at_its_own_place_and_at_no_other() {
    let places = matrix();
    for (from, made) in places.iter().enumerate() {
        let blob = sealed(made, &[9; 32]);
        for (to, place) in places.iter().enumerate() {
            let opened = open(&key(1), key_ref(), place, &blob);
            assert_eq!(opened.is_ok(), from == to, "{made:?} opened at {place:?}");
            if let Ok(opened) = opened {
                assert_eq!(opened.expose_secret(), [9; 32]);
            }
        }
    }
}

/// A blob whose kind byte is rewritten to that of the place it is moved to must fail too.
#[test]
fn a_blob_does_not_change_its_kind() {
    for from in one_of_each() {
        let blob = sealed(&from, &[9; 32]);
        for to in one_of_each() {
            let mut moved = blob.clone();
            moved[4] = to.kind() as u8;
            let opened = open(&key(1), key_ref(), &to, &moved);
            assert_eq!(opened.is_ok(), from == to, "{from:?} opened at {to:?}");
        }
    }
}

#[test]
fn every_flipped_bit_and_every_cut_is_refused() {
    for binding in one_of_each() {
        let blob = sealed(&binding, b"thirty-two bytes of key material");
        assert!(open(&key(1), key_ref(), &binding, &blob).is_ok());
        for bit in 0..blob.len() * 8 {
            let mut flipped = blob.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            let opened = open(&key(1), key_ref(), &binding, &flipped);
            assert!(opened.is_err(), "{:?}: bit {bit}", binding.kind());
        }
        for len in 0..blob.len() {
            assert!(open(&key(1), key_ref(), &binding, &blob[..len]).is_err());
        }
        assert!(
            open(
                &key(1),
                key_ref(),
                &binding,
                &[blob.as_slice(), &[0]].concat()
            )
            .is_err()
        );
    }
}

#[test]
fn every_other_value_of_the_first_bytes_is_refused() {
    for binding in one_of_each() {
        let blob = sealed(&binding, b"value");
        for at in 0..6 {
            for byte in 0..=255 {
                let mut changed = blob.clone();
                changed[at] = byte;
                let opened = open(&key(1), key_ref(), &binding, &changed);
                assert_eq!(opened.is_ok(), byte == blob[at]);
            }
        }
    }
}

#[test]
fn another_key_or_another_name_for_it_is_refused() {
    for binding in one_of_each() {
        let blob = sealed(&binding, b"value");
        assert!(open(&key(2), key_ref(), &binding, &blob).is_err());
        for wrong in [
            KeyRef {
                version: 8,
                ..key_ref()
            },
            KeyRef {
                id: [0x1e; 16],
                ..key_ref()
            },
        ] {
            assert!(open(&key(1), wrong, &binding, &blob).is_err());
            // Nor when the header is edited to match: it is authenticated.
            let mut edited = blob.clone();
            edited[6..10].copy_from_slice(&wrong.version.to_be_bytes());
            edited[10..26].copy_from_slice(&wrong.id);
            assert!(open(&key(1), wrong, &binding, &edited).is_err());
        }
    }
}

#[test]
fn two_blobs_of_one_value_have_nothing_in_common() {
    let binding = one_of_each()[2];
    let [first, second] = [sealed(&binding, b"value"), sealed(&binding, b"value")];
    assert_eq!(first[..26], second[..26]);
    for part in [26..58, 58..90, 90..first.len()] {
        assert_ne!(first[part.clone()], second[part]);
    }
}

#[test]
fn payloads_have_few_lengths_and_other_kinds_keep_theirs() {
    let [kek, _, payload, ..] = one_of_each();
    for (len, padded) in [
        (0, 32),
        (1, 32),
        (31, 32),
        (32, 64),
        (63, 64),
        (64, 128),
        (127, 128),
        (128, 256),
        (255, 256),
        (256, 512),
        (511, 512),
        (512, 768),
        (1000, 1024),
        (1024, 1280),
        (MAX_PLAINTEXT, MAX_PLAINTEXT + 256),
    ] {
        // Ends in what looks like padding.
        let mut plaintext = vec![0; len];
        plaintext
            .iter_mut()
            .take(len / 2)
            .for_each(|byte| *byte = 0x80);
        let blob = sealed(&payload, &plaintext);
        assert_eq!(blob.len(), padded + OVERHEAD, "{len}");
        let opened = open(&key(1), key_ref(), &payload, &blob).unwrap();
        assert!(opened.expose_secret() == plaintext, "{len}");
        assert_eq!(sealed(&kek, &plaintext).len(), len + OVERHEAD);
    }
}

#[test]
fn too_long_a_value_is_not_sealed_nor_too_long_a_blob_opened() {
    for binding in one_of_each() {
        let plaintext = vec![1; MAX_PLAINTEXT + 1];
        let made = seal(
            &key(1),
            key_ref(),
            &binding,
            &plaintext,
            &SystemRandom::new(),
        );
        assert_eq!(made, Err(SealError::TooLong));
        let mut blob = sealed(&binding, &[]);
        blob.resize(MAX_PLAINTEXT + 256 + OVERHEAD + 1, 0);
        assert!(open(&key(1), key_ref(), &binding, &blob).is_err());
    }
}

#[test]
fn without_randomness_nothing_is_sealed() {
    let none = FixedRandom(Vec::new());
    let made = seal(&key(1), key_ref(), &one_of_each()[0], b"value", &none);
    assert_eq!(made, Err(SealError::Failed));
}

#[test]
fn a_key_is_32_bytes() {
    let binding = one_of_each()[0];
    for len in [0, 31, 33, 64] {
        assert!(
            open_key(
                &key(1),
                key_ref(),
                &binding,
                &sealed(&binding, &vec![1; len])
            )
            .is_err()
        );
    }
    assert!(open_key(&key(1), key_ref(), &binding, &sealed(&binding, &[1; 32])).is_ok());
}
