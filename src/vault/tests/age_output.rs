//! An encrypted bundle that is broken off in the middle.

use futures_util::StreamExt as _;

use crate::crypto::Identity;
use crate::vault::testing::Deployment;
use crate::vault::{BundleAnswer, BundleFilter, Form, VaultError, WorkloadPatch};

fn recipient(text: Option<String>) -> WorkloadPatch {
    WorkloadPatch {
        name: None,
        roles: None,
        age_recipient: Some(text),
    }
}

/// A recipient that is taken away, or replaced, while a bundle is under way gets no more of it, and
/// what it got does not decrypt.
#[tokio::test]
async fn a_bundle_ends_when_its_recipient_is_taken_away() {
    let it = Deployment::new().await;
    let server = it.enrol("worker", "production", &["m365-sync"]).await;
    let (text, to) = Identity::generate();
    let (_, other) = Identity::generate();
    for n in 0..260 {
        // Long enough that each page fills chunks of the file.
        it.active(&format!("mail {n}"), &"s".repeat(600)).await;
    }
    let mut revision = 1;
    let mut change = async |to: Option<String>| {
        let id = server.view.id;
        let changed = it
            .vault
            .change_workload(&it.operator, id, revision, recipient(to));
        changed.await.unwrap();
        revision += 1;
    };
    for after in [None, other.to_text()] {
        change(to.to_text()).await;
        let filter = BundleFilter::default();
        let begin = async || {
            let caller = it.identify(server.key.id).await.unwrap();
            let bundle = it.vault.release_bundle(caller, &filter, None, Form::Age);
            match bundle.await.unwrap() {
                BundleAnswer::Values(bundle) => Box::pin(bundle.into_stream()),
                BundleAnswer::Unchanged { .. } => panic!("values"),
            }
        };
        let mut whole = begin().await;
        let mut file = Vec::new();
        while let Some(piece) = whole.next().await {
            file.extend(piece.unwrap());
        }
        assert!(opens(&text, &file));
        let mut stream = begin().await;
        let mut file = Vec::new();
        for _ in 0..2 {
            file.extend(stream.next().await.unwrap().unwrap());
        }
        change(after).await;
        let end = loop {
            match stream.next().await.expect("it must not end well") {
                Ok(piece) => file.extend(piece),
                Err(error) => break error,
            }
        };
        assert!(matches!(end, VaultError::Unavailable(_)), "{end}");
        assert!(stream.next().await.is_none());
        assert!(!file.is_empty() && !opens(&text, &file));
    }
}

fn opens(identity: &crate::secret::Secret, file: &[u8]) -> bool {
    let text = std::str::from_utf8(identity.expose_secret()).unwrap();
    let key = text.lines().last().unwrap();
    let key: age::x25519::Identity = key.parse().unwrap();
    let decryptor = age::Decryptor::new(file).unwrap();
    let identities = std::iter::once(&key as &dyn age::Identity);
    let mut reader = decryptor.decrypt(identities).unwrap();
    std::io::copy(&mut reader, &mut std::io::sink()).is_ok()
}
