use std::os::unix::fs::PermissionsExt;

use super::*;

const RELEASE: &[u8] = br#"{"credentials":[{"fields":{"client_secret":"hunter2"}}],"failed":[]}"#;

fn subject() -> Subject {
    Subject {
        server: "https://localhost:8200".to_owned(),
        caller: "spiffe://dev/workload/1".to_owned(),
        query: "all".to_owned(),
    }
}

fn arguments(directory: &Path) -> CacheArguments {
    CacheArguments {
        cache: Some(directory.join("copy")),
        cache_identity: Some(directory.join("identity")),
        cache_ask_after: 60,
        cache_never_after: 3600,
    }
}

fn open(arguments: &CacheArguments, subject: Subject) -> Cache {
    Cache::open(arguments, subject).ok().flatten().unwrap()
}

fn error(cache: &Cache, now: Timestamp) -> String {
    cache.read(now).err().unwrap().to_string()
}

const NOW: Timestamp = Timestamp::from_secs(1_800_000_000);

#[test]
fn what_was_written_is_read_within_its_limits() {
    let directory = tempfile::tempdir().unwrap();
    let arguments = arguments(directory.path());
    let cache = open(&arguments, subject());
    assert!(cache.read(NOW).unwrap().is_none());
    cache
        .write(RELEASE, Some("W/\"a\""), Some("bm90ZQ=="), NOW)
        .unwrap();
    let file = std::fs::read(directory.path().join("copy")).unwrap();
    assert!(!file.windows(7).any(|window| window == b"hunter2"));
    for name in ["copy", "identity"] {
        let mode = std::fs::metadata(directory.path().join(name)).unwrap();
        assert_eq!(mode.permissions().mode() & 0o777, 0o600, "{name}");
    }
    // In the next process, with the same key.
    let cache = open(&arguments, subject());
    let copy = cache.read(NOW).unwrap().unwrap();
    assert_eq!(copy.body.expose_secret(), RELEASE);
    assert_eq!(
        (copy.etag.as_deref(), copy.fetched_at),
        (Some("W/\"a\""), NOW)
    );
    for (after, young, usable) in [
        (0, true, true),
        (59, true, true),
        (60, false, true),
        (3599, false, true),
        (3600, false, false),
    ] {
        let now = NOW.plus_secs(after);
        assert_eq!(
            (copy.is_young(now), copy.is_usable(now)),
            (young, usable),
            "{after}"
        );
    }
    cache.renew(&copy, NOW.plus_secs(1000)).unwrap();
    let copy = cache.read(NOW.plus_secs(1000)).unwrap().unwrap();
    assert!(copy.is_young(NOW.plus_secs(1059)));
    cache.wipe().unwrap();
    assert!(cache.read(NOW).unwrap().is_none());
    cache.wipe().unwrap();
}

#[test]
fn the_stricter_limits_count() {
    let directory = tempfile::tempdir().unwrap();
    let mut arguments = arguments(directory.path());
    open(&arguments, subject())
        .write(RELEASE, None, None, NOW)
        .unwrap();
    arguments.cache_never_after = 7200;
    arguments.cache_ask_after = 7200;
    let copy = open(&arguments, subject()).read(NOW).unwrap().unwrap();
    assert!(!copy.is_young(NOW.plus_secs(60)) && !copy.is_usable(NOW.plus_secs(3600)));
    arguments.cache_never_after = 10;
    arguments.cache_ask_after = 5;
    let copy = open(&arguments, subject()).read(NOW).unwrap().unwrap();
    assert!(!copy.is_young(NOW.plus_secs(5)) && !copy.is_usable(NOW.plus_secs(10)));
    arguments.cache_ask_after = 11;
    assert!(Cache::open(&arguments, subject()).is_err());
}

#[test]
fn a_copy_of_something_else_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let arguments = arguments(directory.path());
    open(&arguments, subject())
        .write(RELEASE, None, None, NOW)
        .unwrap();
    let others = [
        (
            "server",
            Subject {
                server: "https://other:8200".to_owned(),
                ..subject()
            },
        ),
        (
            "caller",
            Subject {
                caller: "spiffe://dev/workload/2".to_owned(),
                ..subject()
            },
        ),
        (
            "request",
            Subject {
                query: "all kind=generic".to_owned(),
                ..subject()
            },
        ),
    ];
    for (what, other) in others {
        let said = error(&open(&arguments, other), NOW);
        assert!(said.contains(&format!("another {what}")), "{said}");
    }
    // A clock that was set back would make it young for ever.
    let cache = open(&arguments, subject());
    assert!(cache.read(NOW.plus_secs(-AHEAD)).is_ok());
    let said = error(&cache, NOW.plus_secs(-AHEAD - 1));
    assert!(said.contains("in the future"), "{said}");
}

#[test]
fn a_copy_that_was_changed_or_made_by_others_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let arguments = arguments(directory.path());
    let cache = open(&arguments, subject());
    cache.write(RELEASE, None, None, NOW).unwrap();
    let path = directory.path().join("copy");
    let good = std::fs::read(&path).unwrap();
    for at in [0, 30, 100, good.len() / 2, good.len() - 1] {
        let mut bad = good.clone();
        bad[at] ^= 1;
        std::fs::write(&path, bad).unwrap();
        error(&cache, NOW);
        std::fs::write(&path, &good[..at]).unwrap();
        error(&cache, NOW);
    }
    // Somebody who knows the recipient can encrypt to it, but not make what is inside.
    let plain = decrypt_file(&good, &cache.identities, LARGEST).unwrap();
    let mut forged = plain.expose_secret().to_vec();
    let at = forged
        .windows(7)
        .position(|window| window == b"hunter2")
        .unwrap();
    forged[at] = b'H';
    std::fs::write(&path, encrypt_file(&forged, &cache.recipient).unwrap()).unwrap();
    assert!(error(&cache, NOW).contains("not made with the key"));
    for short in [&b""[..], &[0; 32], &[0xff; 40]] {
        std::fs::write(&path, encrypt_file(short, &cache.recipient).unwrap()).unwrap();
        assert!(error(&cache, NOW).contains("not made with the key"));
    }
    std::fs::write(&path, &good).unwrap();
    assert!(cache.read(NOW).is_ok());
    std::fs::remove_file(directory.path().join("identity")).unwrap();
    let said = error(&open(&arguments, subject()), NOW);
    assert!(said.contains("not for the key"), "{said}");
    // A key that others can read is none.
    let mode = std::fs::Permissions::from_mode(0o644);
    std::fs::set_permissions(directory.path().join("identity"), mode).unwrap();
    assert!(Cache::open(&arguments, subject()).is_err());
}

#[test]
fn a_duration_has_one_form() {
    for (text, expected) in [
        ("90s", 90),
        ("15m", 900),
        ("1h", 3600),
        ("90d", 7_776_000),
        ("0s", 0),
    ] {
        assert_eq!(seconds(text), Ok(expected));
    }
    for text in [
        "",
        "1",
        "h",
        "1 h",
        "-1h",
        "+1h",
        "1w",
        "91d",
        "99999999999999999999d",
        "1é",
    ] {
        assert!(seconds(text).is_err(), "{text}");
    }
}
