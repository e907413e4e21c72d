use super::log::{Log, SEED, keys, origin, signer};
use crate::audit::checkpoint::key_name;
use crate::audit::note;
use crate::audit::*;
use crate::model::Timestamp;

fn sample() -> String {
    Log::new(3, &[]).note()
}

#[test]
fn a_checkpoint_has_the_form_of_a_signed_note_and_comes_back() {
    let log = Log::new(3, &[]);
    let note = log.note();
    let lines: Vec<&str> = note.split('\n').collect();
    assert_eq!(
        lines[0],
        "strongroom/dev-01kaqz3m8v7d6k2n4p9r5s1t0x/node-a/1"
    );
    assert_eq!(lines[1], "3");
    assert_eq!(lines[3], "at 1970-01-01T00:00:05Z");
    assert_eq!(lines[4], "");
    assert!(lines[5].starts_with("\u{2014} strongroom-dev-01kaqz3m8v7d6k2n4p9r5s1t0x "));
    assert_eq!(lines[6..], [""]);
    let checkpoint = Checkpoint::open(&note, &keys()).unwrap();
    assert_eq!(
        checkpoint,
        Checkpoint {
            origin: origin(),
            size: 3,
            root: log.tree.root(),
            at: Some(Timestamp::from_secs(5))
        }
    );
}

/// Key and note were made by another program (Python with the `cryptography` package).
#[test]
fn a_note_of_other_software_opens() {
    const VKEY: &str = "log.example+891bac2d+AepKbGPinFIKvvVQexMuxfmVR3auvr57kkIe6mkURtIs";
    const NOTE: &str = "one line\nand another\n\n\u{2014} log.example iRusLc5VoA3njbmiNKoQmpEl/hBe2fYOgC5D7eA+fx6V7DWjXeCTUUXF8h3pPdlZKWA/S3vFaND0IpMnby5F+4aJuQQ=\n";
    let key: VerifierKey = VKEY.parse().unwrap();
    let signer = note::NoteSigner::from_seed("log.example".to_owned(), &SEED).unwrap();
    assert_eq!(signer.verifier(), &key);
    assert_eq!(signer.sign("one line\nand another\n"), NOTE);
    assert_eq!(
        note::open(NOTE, std::slice::from_ref(&key)),
        Ok("one line\nand another\n")
    );
    assert_eq!(Checkpoint::open(NOTE, &[key]), Err(NoteError::NoCheckpoint));
}

#[test]
fn a_vkey_has_one_form() {
    let key = keys().remove(0);
    let text = key.to_string();
    assert_eq!(key.name(), key_name(&origin().deployment));
    assert_eq!(text.parse::<VerifierKey>().unwrap(), key);
    for position in 0..text.len() {
        let mut bytes = text.clone().into_bytes();
        bytes[position] ^= 1;
        if let Ok(other) = String::from_utf8(bytes) {
            assert!(other.parse::<VerifierKey>().is_err(), "{other}");
        }
    }
    for text in ["", "a", "a+b", "a+b+c", &format!("{text} "), &text[1..]] {
        assert!(text.parse::<VerifierKey>().is_err(), "{text}");
    }
}

#[test]
fn no_changed_byte_of_a_note_opens() {
    let note = sample();
    for position in 0..note.len() {
        for bit in 0..8 {
            let mut bytes = note.clone().into_bytes();
            bytes[position] ^= 1 << bit;
            if let Ok(other) = String::from_utf8(bytes) {
                assert!(Checkpoint::open(&other, &keys()).is_err(), "{other}");
            }
        }
    }
    for end in 0..note.len() {
        if let Some(cut) = note.get(..end) {
            assert!(Checkpoint::open(cut, &keys()).is_err());
        }
    }
}

#[test]
fn forged_keys_names_and_ids_are_refused() {
    let note = sample();
    let name = keys()[0].name().to_owned();
    let (text, signatures) = note.split_at(note.rfind("\n\n").unwrap() + 2);
    let line = signatures.trim_end();

    // Another key under the same name: its id differs, so that it is simply unknown.
    let forger = Signer::from_seed(origin(), &[8; 32]).unwrap();
    let forged = forger.sign(&Log::new(3, &[]).tree, Timestamp::from_secs(5));
    assert_eq!(
        Checkpoint::open(&forged, &keys()),
        Err(NoteError::UnknownKey)
    );
    // The same under the true key's id: the signature does not fit.
    let forged_line = forged.trim_end().rsplit('\n').next().unwrap();
    let decode = |line: &str| {
        use base64::{Engine, engine::general_purpose::STANDARD};
        STANDARD.decode(line.rsplit(' ').next().unwrap()).unwrap()
    };
    let encode = |name: &str, bytes: &[u8]| {
        use base64::{Engine, engine::general_purpose::STANDARD};
        format!("\u{2014} {name} {}", STANDARD.encode(bytes))
    };
    let mut mixed = decode(line)[..4].to_vec();
    mixed.extend(&decode(forged_line)[4..]);
    let wrong = encode(&name, &mixed);
    assert_eq!(
        Checkpoint::open(&format!("{text}{wrong}\n"), &keys()),
        Err(NoteError::BadSignature)
    );
    // Beside the true signature it is refused as well, in either order.
    for both in [format!("{wrong}\n{line}"), format!("{line}\n{wrong}")] {
        assert!(Checkpoint::open(&format!("{text}{both}\n"), &keys()).is_err());
    }
    assert_eq!(
        Checkpoint::open(&format!("{text}{line}\n{line}\n"), &keys()),
        Err(NoteError::SignedTwice)
    );
    // Unknown signatures beside the true one do not matter.
    let stranger = encode("witness.example/w1", &[1, 2, 3, 4, 5]);
    for both in [
        format!("{stranger}\n{line}"),
        format!("{line}\n{forged_line}"),
    ] {
        assert!(Checkpoint::open(&format!("{text}{both}\n"), &keys()).is_ok());
    }
    // The true key's signature under another name is unknown.
    let renamed = encode("strongroom-prod", &decode(line));
    assert_eq!(
        Checkpoint::open(&format!("{text}{renamed}\n"), &keys()),
        Err(NoteError::UnknownKey)
    );
    assert_eq!(Checkpoint::open(&note, &[]), Err(NoteError::UnknownKey));
    for bad in ["", "\u{2014} a", "- a b", "\u{2014} a+b AAAAAAA="] {
        assert_eq!(
            Checkpoint::open(&format!("{text}{line}\n{bad}\n"), &keys()),
            Err(NoteError::Malformed),
            "{bad}"
        );
    }
}

#[test]
fn signed_texts_that_are_no_checkpoints_are_refused() {
    let signer = note::NoteSigner::from_seed("k".to_owned(), &SEED).unwrap();
    let keys = [signer.verifier().clone()];
    let root = "A".repeat(43) + "=";
    let origin = origin();
    let good = format!("{origin}\n3\n{root}\n");
    assert!(Checkpoint::open(&signer.sign(&good), &keys).is_ok());
    let extended = format!("{good}later words\nat 1970-01-01T00:00:05Z\n");
    let checkpoint = Checkpoint::open(&signer.sign(&extended), &keys).unwrap();
    assert_eq!(checkpoint.at, Some(Timestamp::from_secs(5)));
    for bad in [
        format!("{origin}\n3\n"),
        format!("{origin}\n03\n{root}\n"),
        format!("{origin}\n+3\n{root}\n"),
        format!("{origin}\n-3\n{root}\n"),
        format!("{origin}\n18446744073709551616\n{root}\n"),
        format!("{origin}\n3\nAAAA\n"),
        format!("{origin}\n3\n{}B=\n", "A".repeat(42)),
        format!("{origin}/2\n3\n{root}\n"),
        format!("example.com/log\n3\n{root}\n"),
        format!("strongroom/Dev/node-a/1\n3\n{root}\n"),
        format!("{good}\nat 1970-01-01T00:00:05Z\n"),
        format!("{good}at yesterday\n"),
        format!("{good}at 1970-01-01T01:00:05+01:00\n"),
    ] {
        assert_eq!(
            Checkpoint::open(&signer.sign(&bad), &keys),
            Err(NoteError::NoCheckpoint),
            "{bad}"
        );
    }
}

#[test]
fn a_signer_signs_for_its_own_log() {
    assert_eq!(signer().origin(), &origin());
    assert_eq!(sample(), sample());
    assert!(note::NoteSigner::from_seed("a b".to_owned(), &SEED).is_none());
}
