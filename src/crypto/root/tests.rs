//! Who opens the root key, and how a wrong one shows.

use super::*;
use crate::random::SystemRandom;

const DEPLOYMENT: &str = "dev-01kaqz3m8v7d6k2n4p9r5s1t0x";
const FORM: RootFileForm = RootFileForm::Recipients;

fn root() -> RootKey {
    RootKey::generate(DEPLOYMENT, 3, &SystemRandom::new()).unwrap()
}

fn identity() -> (Vec<Identity>, Recipient) {
    let (text, recipient) = Identity::generate();
    (Identity::parse_list(&text).unwrap(), recipient)
}

fn expected(root: &RootKey) -> ExpectedRoot<'_> {
    ExpectedRoot {
        deployment: root.deployment(),
        generation: root.generation(),
        check: root.check_value(),
    }
}

fn fails<T>(result: Result<T, RootError>) -> RootError {
    result.err().unwrap()
}

#[test]
fn each_recipient_opens_it_and_nobody_else_does() {
    let root = root();
    let (first, to_first) = identity();
    let (second, to_second) = identity();
    let (stranger, _) = identity();
    let bytes = root.encrypt_to(&[to_first, to_second]).unwrap();
    for identities in [first, second] {
        let opened = RootKey::decrypt(&bytes, &identities).unwrap();
        opened.verify(&expected(&root)).unwrap();
        assert!(opened.key.expose_secret() == root.key.expose_secret());
    }
    assert!(matches!(
        fails(RootKey::decrypt(&bytes, &stranger)),
        RootError::NotOpened
    ));
    assert!(matches!(
        fails(RootKey::decrypt(&bytes, &[])),
        RootError::NotOpened
    ));
    assert!(matches!(
        fails(root.encrypt_to(&[])),
        RootError::NoRecipient
    ));
}

#[test]
fn a_passphrase_opens_its_own_file_and_stands_alone() {
    let root = root();
    let phrase = Secret::new(b"correct horse".to_vec());
    let other = Identity::passphrase(&Secret::new(b"wrong horse".to_vec())).unwrap();
    let passphrase = || Recipient::passphrase(&phrase, 4).unwrap();
    let bytes = root.encrypt_to(&[passphrase()]).unwrap();
    let identity = Identity::passphrase(&phrase).unwrap();
    RootKey::decrypt(&bytes, &[identity])
        .unwrap()
        .verify(&expected(&root))
        .unwrap();
    assert!(matches!(
        fails(RootKey::decrypt(&bytes, &[other])),
        RootError::NotOpened
    ));
    let (_, x25519) = super::tests::identity();
    assert!(matches!(
        fails(root.encrypt_to(&[passphrase(), x25519])),
        RootError::PassphraseNotAlone
    ));
    assert!(matches!(
        fails(root.encrypt_to(&[passphrase(), passphrase()])),
        RootError::PassphraseNotAlone
    ));
}

#[test]
fn a_passphrase_file_that_asks_for_too_much_work_is_not_tried() {
    let phrase = Secret::new(b"correct horse".to_vec());
    let bytes = root()
        .encrypt_to(&[Recipient::passphrase(&phrase, 4).unwrap()])
        .unwrap();
    let header = String::from_utf8_lossy(&bytes[..80]).into_owned();
    let line = header.lines().nth(1).unwrap().to_owned();
    // Only the last word is the work factor: the salt before it is random and may begin with a 4.
    let harder = format!("{} 21", line.strip_suffix(" 4").unwrap());
    let mut changed = bytes.clone();
    let at = header.find(&line).unwrap();
    changed.splice(at..at + line.len(), harder.bytes());
    let identity = Identity::passphrase(&phrase).unwrap();
    assert!(matches!(
        fails(RootKey::decrypt(&changed, &[identity])),
        RootError::TooMuchWork
    ));
}

#[test]
fn another_root_key_for_the_same_recipient_is_noticed() {
    let (identities, recipient) = identity();
    let [ours, other] = [root(), root()];
    let bytes = other.encrypt_to(&[recipient]).unwrap();
    let opened = RootKey::decrypt(&bytes, &identities).unwrap();
    opened.verify(&expected(&other)).unwrap();
    assert!(matches!(
        fails(opened.verify(&expected(&ours))),
        RootError::WrongRoot
    ));
    for changed in [
        ExpectedRoot {
            generation: 4,
            ..expected(&other)
        },
        ExpectedRoot {
            deployment: "dev-other",
            ..expected(&other)
        },
    ] {
        assert!(matches!(
            fails(opened.verify(&changed)),
            RootError::WrongRoot
        ));
    }
    for bit in 0..128 {
        let mut changed = expected(&other);
        changed.check[bit / 8] ^= 1 << (bit % 8);
        assert!(matches!(
            fails(opened.verify(&changed)),
            RootError::WrongRoot
        ));
    }
}

#[test]
fn every_changed_byte_and_every_cut_of_the_file_is_refused() {
    let (identities, recipient) = identity();
    let bytes = root().encrypt_to(&[recipient]).unwrap();
    for at in 0..bytes.len() {
        let mut changed = bytes.clone();
        changed[at] ^= 1;
        assert!(
            RootKey::decrypt(&changed, &identities).is_err(),
            "byte {at}"
        );
        assert!(
            RootKey::decrypt(&bytes[..at], &identities).is_err(),
            "cut at {at}"
        );
    }
    let longer = [bytes.as_slice(), b"x"].concat();
    assert!(RootKey::decrypt(&longer, &identities).is_err());
}

#[test]
fn what_is_inside_is_read_strictly() {
    let root = root();
    let bytes = root.to_bytes();
    let bytes = bytes.expose_secret();
    assert!(RootKey::from_bytes(bytes).is_some());
    for cut in 0..bytes.len() {
        assert!(RootKey::from_bytes(&bytes[..cut]).is_none());
    }
    assert!(RootKey::from_bytes(&[bytes, b"x"].concat()).is_none());
    let made = |version: &[u8], generation: &[u8], key: &[u8]| {
        let mut fields = Fields::default();
        for field in [FILE_MAGIC, version, b"dev-x", generation, key] {
            fields.push(field);
        }
        fields.into_bytes()
    };
    assert!(RootKey::from_bytes(&made(&[1], &[0; 4], &[0; 32])).is_some());
    for (version, generation, key) in [
        (&[2][..], &[0; 4][..], &[0; 32][..]),
        (&[1], &[0; 3], &[0; 32]),
        (&[1], &[0; 4], &[0; 31]),
    ] {
        assert!(RootKey::from_bytes(&made(version, generation, key)).is_none());
    }
}

#[test]
fn a_file_is_new_private_and_opens_again() {
    use std::os::unix::fs::PermissionsExt;
    let dir = tempfile::tempdir().unwrap();
    let (identities, recipient) = identity();
    let root = root();
    let bytes = root.encrypt_to(&[recipient]).unwrap();
    // Left over from an attempt that a crash ended.
    fs::write(dir.path().join(".root.3.age.new"), b"half").unwrap();
    write_root_file(dir.path(), 3, FORM, &bytes).unwrap();

    let names: Vec<_> = fs::read_dir(dir.path())
        .unwrap()
        .map(|entry| entry.unwrap().file_name())
        .collect();
    assert_eq!(names, ["root.3.age"]);
    let mode = fs::metadata(dir.path().join("root.3.age"))
        .unwrap()
        .permissions()
        .mode();
    assert_eq!(mode & 0o777, 0o600);
    open_root_file(dir.path(), FORM, &expected(&root), &identities).unwrap();

    assert!(matches!(
        fails(write_root_file(dir.path(), 3, FORM, b"other")),
        RootError::Exists
    ));
    assert_eq!(fs::read(dir.path().join("root.3.age")).unwrap(), bytes);
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    write_root_file(dir.path(), 3, RootFileForm::Passphrase, &bytes).unwrap();
    assert!(dir.path().join("root.3.passphrase.age").exists());

    let missing = ExpectedRoot {
        generation: 4,
        ..expected(&root)
    };
    assert!(matches!(
        fails(open_root_file(dir.path(), FORM, &missing, &identities)),
        RootError::NotFound
    ));
    // A file under another generation's name.
    fs::copy(dir.path().join("root.3.age"), dir.path().join("root.4.age")).unwrap();
    assert!(matches!(
        fails(open_root_file(dir.path(), FORM, &missing, &identities)),
        RootError::WrongRoot
    ));
}
