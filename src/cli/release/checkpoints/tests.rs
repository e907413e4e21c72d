use axum::Router;

use super::*;
use crate::cli::{release::testing::FakeLog, table::Format, testing::Fake};

/// A server that shows the log `shown` and proves with it.
async fn server(shown: &FakeLog) -> crate::cli::Session {
    Fake::start(shown.routes()).await.session(Format::Table).0
}

/// Checks one answer of a server with the log `shown`, in a new process as it were.
async fn see(path: &Path, shown: &FakeLog) -> Result<(), String> {
    let session = server(shown).await;
    let mut memory = Memory::open(Some(path), None).map_err(|error| error.to_string())?;
    let checked = memory.check(Some(&shown.header()), &session.api).await;
    checked.map_err(|error| error.to_string())?;
    memory.save().map_err(|error| error.to_string())
}

fn conflicts(directory: &Path) -> Vec<PathBuf> {
    let names = std::fs::read_dir(directory).unwrap();
    let paths = names.map(|entry| entry.unwrap().path());
    paths
        .filter(|path| path.to_string_lossy().contains(".conflict-"))
        .collect()
}

#[tokio::test]
async fn a_log_that_only_grows_is_followed() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("memory");
    let log = FakeLog::new("main");
    for records in [&["a"][..], &[], &["b", "c", "d"], &["e"]] {
        log.append(records);
        see(&path, &log).await.unwrap();
    }
    // Another node has a log of its own, under the same key.
    let other = FakeLog::new("second");
    see(&path, &other).await.unwrap();
    see(&path, &log).await.unwrap();
    let text = std::fs::read_to_string(&path).unwrap();
    let kept = |node: &str| {
        let origin = format!("strongroom/dev-test/{node}/0");
        notes_in(&text, |line| line == origin).unwrap()
    };
    assert_eq!(kept("main"), [log.note()]);
    assert_eq!(kept("second"), [other.note()]);
    assert_eq!(kept("third"), [] as [String; 0]);
    assert!(conflicts(directory.path()).is_empty());
}

#[tokio::test]
async fn a_log_that_went_another_way_is_refused_and_kept_for_the_auditor() {
    let log = FakeLog::new("main");
    log.append(&["a", "b", "c"]);
    let before = log.fork();
    log.append(&["d", "e"]);
    let shorter = before.fork();
    let same_size = before.fork();
    same_size.append(&["x", "e"]);
    let longer = before.fork();
    longer.append(&["x", "e", "f", "g"]);
    for forged in [shorter, same_size, longer] {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("memory");
        see(&path, &log).await.unwrap();
        let remembered = std::fs::read(&path).unwrap();
        let said = see(&path, &forged).await.unwrap_err();
        assert!(said.contains("not the one that was seen before"), "{said}");
        let kept = conflicts(directory.path());
        assert_eq!(kept.len(), 1);
        let evidence = std::fs::read_to_string(&kept[0]).unwrap();
        let notes = notes_in(&evidence, |_| true).unwrap();
        assert_eq!(notes, [log.note(), forged.note()]);
        // Again, and nothing was forgotten.
        see(&path, &forged).await.unwrap_err();
        assert_eq!(conflicts(directory.path()), kept);
        assert_eq!(std::fs::read(&path).unwrap(), remembered);
        log.append(&["later"]);
        see(&path, &log).await.unwrap();
    }
}

#[tokio::test]
async fn a_checkpoint_without_its_proof_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("memory");
    let log = FakeLog::new("main");
    see(&path, &log).await.unwrap();
    log.append(&["a", "b", "c"]);
    // This one knows nothing of such a log.
    let ignorant = server(&FakeLog::new("second")).await;
    let mut memory = Memory::open(Some(&path), None).unwrap();
    let refused = memory.check(Some(&log.header()), &ignorant.api).await;
    assert!(refused.unwrap_err().to_string().contains("no proof"));
}

#[tokio::test]
async fn what_the_pinned_key_did_not_sign_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("memory");
    let log = FakeLog::new("main");
    let forged = FakeLog::signed_with("main", 2);
    see(&path, &log).await.unwrap();
    let said = see(&path, &forged).await.unwrap_err();
    assert!(said.contains("not signed by the key"), "{said}");
    // The same at the first time, if the key was given.
    let file = directory.path().join("key");
    std::fs::write(&file, format!("{}\n", log.key())).unwrap();
    let session = server(&forged).await;
    let mut memory = Memory::open(None, Some(&file)).unwrap();
    memory
        .check(Some(&forged.header()), &session.api)
        .await
        .unwrap_err();
    memory
        .check(Some(&log.header()), &session.api)
        .await
        .unwrap();
    std::fs::write(&file, forged.key()).unwrap();
    assert!(Memory::open(Some(&path), Some(&file)).is_err());
    for (header, what) in [
        (None, "no checkpoint"),
        (Some("%%"), "not one"),
        (Some("YQ=="), "it is not a signed note"),
    ] {
        let said = memory
            .check(header, &session.api)
            .await
            .unwrap_err()
            .to_string();
        assert!(said.contains(what), "{said}");
    }
}

#[tokio::test]
async fn a_memory_that_was_changed_is_no_memory() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("memory");
    let log = FakeLog::new("main");
    see(&path, &log).await.unwrap();
    let text = std::fs::read_to_string(&path).unwrap();
    let forged = FakeLog::signed_with("main", 2);
    let other = text.replace(&log.key(), &forged.key());
    for changed in [&other, "", "{}", &text[..text.len() - 3]] {
        std::fs::write(&path, changed).unwrap();
        assert!(Memory::open(Some(&path), None).is_err(), "{changed}");
    }
    let none = Fake::start(Router::new()).await.session(Format::Table).0;
    let mut memory = Memory::open(None, None).unwrap();
    memory
        .check(Some(&log.header()), &none.api)
        .await
        .unwrap_err();
}
