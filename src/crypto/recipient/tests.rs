//! What counts as a recipient or an identity.

use super::*;

const RECIPIENT: &str = "age1t7rxyev2z3rw82stdlrrepyc39nvn86l5078zqkf5uasdy86jp6svpy7pa";

fn text(text: &str) -> Secret {
    Secret::new(text.as_bytes().to_vec())
}

fn refused(line: &str) -> IdentityError {
    Identity::parse_list(&text(&format!("# comment\n{line}\n")))
        .err()
        .unwrap()
}

#[test]
fn recipients_are_read_line_by_line() {
    let list = format!("# operators\n\n{RECIPIENT}\r\n{RECIPIENT}\n");
    let recipients = Recipient::parse_list(&list).unwrap();
    assert_eq!(recipients.len(), 2);
    assert_eq!(recipients[0].to_text().as_deref(), Some(RECIPIENT));
    assert_eq!(
        Recipient::parse_list("# none\n").err(),
        Some(RecipientError::None)
    );
}

#[test]
fn what_is_no_x25519_recipient_is_refused() {
    let upper = RECIPIENT.to_uppercase();
    let changed = RECIPIENT.replace("age1t", "age1q");
    for line in [
        upper.as_str(),
        &changed,
        "age1",
        "nobody",
        " x",
        "AGE-SECRET-KEY-1",
        "",
    ] {
        let error = Recipient::parse(line).err();
        assert_eq!(error, Some(RecipientError::Malformed { line: 1 }), "{line}");
    }
    for (line, reason) in [
        (
            "age1yubikey1qwt50d05nh5vutpdzmlg5wn80xq5negm4uj9ghv0snvdd3yysf5yw3rhl3t",
            PluginError::NotAllowed("yubikey".to_owned()),
        ),
        ("age1pq1qqq", PluginError::Malformed),
        ("age1../x1q", PluginError::Malformed),
    ] {
        let error = Recipient::parse_list(&format!("#\n{line}")).err();
        let expected = RecipientError::Plugin { line: 2, reason };
        assert_eq!(error, Some(expected), "{line}");
    }
    let error = Recipient::parse_list("#\nssh-ed25519 AAAA").err();
    assert_eq!(error, Some(RecipientError::Unsupported { line: 2 }));
}

/// Bech32 of 32 bytes, to make recipients that no honest key has (BIP 173).
fn encode(point: &[u8; 32]) -> String {
    const ALPHABET: &[u8; 32] = b"qpzry9x8gf2tvdw0s3jn54khce6mua7l";
    let mut values = Vec::new();
    let (mut bits, mut count) = (0_u32, 0);
    for byte in point {
        bits = (bits << 8 | u32::from(*byte)) & 0xffff;
        count += 8;
        while count >= 5 {
            count -= 5;
            values.push((bits >> count) as u8 & 31);
        }
    }
    values.push((bits << (5 - count)) as u8 & 31);
    let human: Vec<u8> = b"age"
        .iter()
        .map(|c| c >> 5)
        .chain([0])
        .chain(b"age".iter().map(|c| c & 31))
        .collect();
    let mut check = 1_u32;
    for value in human.iter().chain(&values).chain(&[0; 6]) {
        let top = check >> 25;
        check = (check & 0x1ff_ffff) << 5 ^ u32::from(*value);
        for (bit, generator) in [
            0x3b6a_57b2,
            0x2650_8e6d,
            0x1ea1_19fa,
            0x3d42_33dd,
            0x2a14_62b3,
        ]
        .into_iter()
        .enumerate()
        {
            if top >> bit & 1 == 1 {
                check ^= generator;
            }
        }
    }
    check ^= 1;
    values.extend((0..6).map(|i| (check >> (5 * (5 - i))) as u8 & 31));
    let data: String = values
        .iter()
        .map(|v| char::from(ALPHABET[usize::from(*v)]))
        .collect();
    format!("age1{data}")
}

#[test]
#[expect(clippy::disallowed_methods, reason = "ring's own trait is needed here")]
fn recipients_that_would_stop_the_service_are_refused() {
    use ring::agreement::{EphemeralPrivateKey, UnparsedPublicKey, X25519, agree_ephemeral};
    let random = ring::rand::SystemRandom::new();
    assert_eq!(encode(&bech32_payload(RECIPIENT).unwrap()), RECIPIENT);
    for point in SMALL_ORDER {
        for top_bit in [0, 0x80] {
            let mut point = point;
            point[31] |= top_bit;
            // ring agrees that nothing can be agreed with it.
            let ours = EphemeralPrivateKey::generate(&X25519, &random).unwrap();
            let theirs = UnparsedPublicKey::new(&X25519, point);
            assert!(agree_ephemeral(ours, &theirs, |_| ()).is_err());
            let line = encode(&point);
            assert!(line.parse::<age::x25519::Recipient>().is_ok(), "{line}");
            assert_eq!(
                Recipient::parse(&line).err(),
                Some(RecipientError::Malformed { line: 1 })
            );
        }
    }
}

#[test]
fn what_is_no_x25519_identity_is_refused_without_showing_it() {
    for line in ["AGE-PLUGIN-YUBIKEY-1QQQ", "AGE-PLUGIN-../X-1QQQ"] {
        assert!(
            matches!(
                refused(line),
                IdentityError::Plugin {
                    line: 2,
                    reason: PluginError::Malformed
                }
            ),
            "{line}"
        );
    }
    for line in [
        "AGE-SECRET-KEY-PQ-1QQQ",
        "-----BEGIN OPENSSH PRIVATE KEY-----",
    ] {
        assert!(
            matches!(refused(line), IdentityError::Unsupported { line: 2 }),
            "{line}"
        );
    }
    for line in ["AGE-SECRET-KEY-1QQQ", RECIPIENT, "hunter2"] {
        let error = refused(line);
        assert!(
            matches!(error, IdentityError::Malformed { line: 2 }),
            "{line}"
        );
        assert!(!error.to_string().contains(line));
    }
    assert!(matches!(refused(""), IdentityError::None));
    let binary = Secret::new(vec![0xff]);
    assert!(matches!(
        Identity::parse_list(&binary).err(),
        Some(IdentityError::NotText)
    ));
}

#[test]
fn an_identity_file_is_private() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("identity.txt");
    let (text, recipient) = Identity::generate();
    Identity::write_file(&path, &text).unwrap();
    assert!(matches!(
        Identity::write_file(&path, &text),
        Err(IdentityError::Io {
            action: "created",
            ..
        })
    ));
    let shown = String::from_utf8(text.expose_secret().to_vec()).unwrap();
    assert!(shown.contains(&recipient.to_text().unwrap()));

    let elsewhere = tempfile::tempdir().unwrap();
    let read = |mode: u32, credentials: Option<&Path>| {
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
        Identity::read_file(&path, credentials)
    };
    assert_eq!(read(0o600, None).unwrap().len(), 1);
    assert_eq!(read(0o400, None).unwrap().len(), 1);
    for mode in [0o640, 0o604, 0o620, 0o601] {
        assert!(matches!(
            read(mode, None).err(),
            Some(IdentityError::TooOpen)
        ));
        assert!(matches!(
            read(mode, Some(elsewhere.path())).err(),
            Some(IdentityError::TooOpen)
        ));
    }
    assert_eq!(read(0o440, Some(dir.path())).unwrap().len(), 1);

    let long = dir.path().join("long");
    Identity::write_file(&long, &Secret::new(vec![b'#'; 64 * 1024 + 1])).unwrap();
    let error = Identity::read_file(&long, None).err();
    assert!(matches!(error, Some(IdentityError::NotText)));
}

#[test]
fn a_passphrase_is_text_and_its_work_is_bounded() {
    for bytes in [vec![], vec![0xff]] {
        let phrase = Secret::new(bytes);
        assert_eq!(
            Recipient::passphrase(&phrase, 4).err(),
            Some(RecipientError::Passphrase)
        );
        assert!(matches!(
            Identity::passphrase(&phrase).err(),
            Some(IdentityError::Passphrase)
        ));
    }
    for factor in [0, 21, 64, 255] {
        let error = Recipient::passphrase(&text("x"), factor).err();
        assert_eq!(error, Some(RecipientError::WorkFactor));
    }
}
