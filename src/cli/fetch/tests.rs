use std::os::unix::fs::PermissionsExt;

use axum::{
    Json, Router,
    body::{Body, Bytes},
    http::HeaderMap,
    response::IntoResponse,
    routing::get,
};
use serde_json::json;

use super::*;
use crate::cli::{table::Format, testing::Fake};

const A: &str = "cred_01kaqz3m8v7d6k2n4p9r5s1t0a";
const B: &str = "cred_01kaqz3m8v7d6k2n4p9r5s1t0b";

fn entry(id: &str, slug: &str, value: &str) -> Value {
    json!({"id": id, "client": {"id": "clnt_x", "name": "Example", "slug": slug},
           "version": 1, "fields": {"client_secret": value}})
}

fn arguments(directory: Option<&Path>) -> Arguments {
    Arguments {
        credential: None,
        version: None,
        client: None,
        kind: None,
        dir: directory.map(Path::to_owned),
    }
}

async fn fetch(
    answer: axum::routing::MethodRouter,
    directory: Option<&Path>,
) -> (Result<(), CliError>, String) {
    let fake = Fake::start(Router::new().route("/api/v1/release", answer)).await;
    let (mut session, printed) = fake.session(Format::Table);
    let result = run(arguments(directory), &mut session).await;
    (result, printed.text())
}

fn whole(credentials: &[Value], failed: &[Value]) -> axum::routing::MethodRouter {
    let document = json!({"credentials": credentials, "failed": failed});
    get(move || async move {
        let note = STANDARD.encode("note\n");
        ([("strongroom-checkpoint", note)], Json(document)).into_response()
    })
}

fn files(directory: &Path) -> Vec<String> {
    let mut names = names(directory).unwrap();
    names.sort();
    names
}

fn secret_in(directory: &Path, name: &str) -> String {
    let value: Value =
        serde_json::from_slice(&std::fs::read(directory.join(name)).unwrap()).unwrap();
    value["fields"]["client_secret"]
        .as_str()
        .unwrap()
        .to_owned()
}

#[tokio::test]
async fn each_credential_becomes_a_private_file() {
    let directory = tempfile::tempdir().unwrap();
    let into = directory.path().join("new/credentials");
    let answer = whole(&[entry(A, "example", "one"), entry(B, "other", "two")], &[]);
    let (result, printed) = fetch(answer, Some(&into)).await;
    result.unwrap();
    let (a, b) = (format!("example.{A}.json"), format!("other.{B}.json"));
    assert_eq!(
        files(&into),
        [CHECKPOINT_FILE.to_owned(), a.clone(), b.clone()]
    );
    assert_eq!(secret_in(&into, &a), "one");
    assert_eq!(
        std::fs::read(into.join(CHECKPOINT_FILE)).unwrap(),
        b"note\n"
    );
    assert_eq!(printed, "", "nothing is printed beside the files");
    for name in files(&into) {
        let mode = std::fs::metadata(into.join(name))
            .unwrap()
            .permissions()
            .mode();
        assert_eq!(mode & 0o777, 0o600);
    }
    let mode = std::fs::metadata(&into).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o700);
}

#[tokio::test]
async fn without_a_directory_the_release_is_printed_as_it_came() {
    let (result, printed) = fetch(whole(&[entry(A, "example", "one")], &[]), None).await;
    result.unwrap();
    let printed: Value = serde_json::from_str(&printed).unwrap();
    assert_eq!(printed["credentials"][0]["fields"]["client_secret"], "one");
}

#[tokio::test]
async fn a_stream_that_breaks_off_writes_nothing() {
    // The first ends badly for HTTP, the others well for HTTP but badly for JSON.
    let start = format!("{{\"credentials\":[{}", entry(A, "example", "one"));
    let aborted = {
        let start = start.clone();
        get(move || async move {
            let stream = futures_util::stream::iter([
                Ok(Bytes::from(start)),
                Err(std::io::Error::other("the store failed")),
            ]);
            Body::from_stream(stream).into_response()
        })
    };
    let text = |text: String| get(move || async move { text });
    for (what, answer) in [
        ("aborted", aborted),
        ("cut", text(start.clone())),
        ("no failed list", text(start.clone() + "]}")),
        (
            "more after the end",
            text(start.clone() + "],\"failed\":[]} x"),
        ),
        ("empty", text(String::new())),
    ] {
        let directory = tempfile::tempdir().unwrap();
        let (result, printed) = fetch(answer, Some(directory.path())).await;
        let error = result.unwrap_err();
        assert_eq!(error.exit_code(), 1, "{what}");
        assert!(!error.to_string().contains("one"), "{what}");
        assert_eq!(files(directory.path()), [] as [&str; 0], "{what}");
        assert_eq!(printed, "", "{what}");
    }
}

#[tokio::test]
async fn what_the_server_could_not_open_keeps_its_old_file() {
    let directory = tempfile::tempdir().unwrap();
    let into = directory.path();
    let both = whole(&[entry(A, "example", "one"), entry(B, "other", "two")], &[]);
    fetch(both, Some(into)).await.0.unwrap();
    let partly = whole(&[entry(A, "example", "three")], &[json!({"id": B})]);
    let error = fetch(partly, Some(into)).await.0.unwrap_err();
    assert_eq!(error.exit_code(), 1);
    assert!(error.to_string().contains(B));
    assert_eq!(secret_in(into, &format!("example.{A}.json")), "three");
    assert_eq!(secret_in(into, &format!("other.{B}.json")), "two");
}

#[tokio::test]
async fn a_renamed_client_leaves_no_second_file_and_killed_fetches_no_leftovers() {
    let directory = tempfile::tempdir().unwrap();
    let into = directory.path();
    let foreign = format!("notes.{A}.txt");
    std::fs::write(into.join(&foreign), "").unwrap();
    std::fs::write(into.join(format!("{UNFINISHED}1-1")), "half a secret").unwrap();
    fetch(whole(&[entry(A, "example", "one")], &[]), Some(into))
        .await
        .0
        .unwrap();
    fetch(whole(&[entry(A, "renamed", "two")], &[]), Some(into))
        .await
        .0
        .unwrap();
    assert_eq!(
        files(into),
        [
            CHECKPOINT_FILE.to_owned(),
            foreign,
            format!("renamed.{A}.json")
        ]
    );
}

#[tokio::test]
async fn an_answer_cannot_name_a_file_elsewhere() {
    for (id, slug) in [
        (A, "../../etc"),
        ("cred_../../x", "example"),
        (A, ".hidden"),
    ] {
        let directory = tempfile::tempdir().unwrap();
        let answer = whole(&[entry(B, "good", "one"), entry(id, slug, "two")], &[]);
        fetch(answer, Some(directory.path())).await.0.unwrap_err();
        assert_eq!(files(directory.path()), [] as [&str; 0]);
    }
}

#[tokio::test]
async fn a_failed_write_leaves_everything_as_it_was() {
    let directory = tempfile::tempdir().unwrap();
    let into = directory.path();
    // A directory in the place of the second file: its rename fails.
    fetch(whole(&[entry(A, "example", "one")], &[]), Some(into))
        .await
        .0
        .unwrap();
    std::fs::create_dir(into.join(format!("other.{B}.json"))).unwrap();
    let answer = whole(
        &[entry(B, "other", "two"), entry(A, "example", "three")],
        &[],
    );
    fetch(answer, Some(into)).await.0.unwrap_err();
    assert_eq!(secret_in(into, &format!("example.{A}.json")), "one");
    assert!(files(into).iter().all(|name| !name.starts_with(UNFINISHED)));
}

#[tokio::test]
async fn one_credential_and_a_version_are_asked_for_by_path() {
    let answer = get(|uri: axum::http::Uri, headers: HeaderMap| async move {
        assert_eq!(uri.query(), Some("version=2"));
        assert_eq!(headers["accept"], "application/json");
        Json(entry(A, "example", "one"))
    });
    let router = Router::new().route(&format!("/api/v1/release/{A}"), answer);
    let fake = Fake::start(router).await;
    let (mut session, _) = fake.session(Format::Table);
    let directory = tempfile::tempdir().unwrap();
    let arguments = Arguments {
        credential: Some(A.parse().unwrap()),
        version: Some(2),
        ..arguments(Some(directory.path()))
    };
    run(arguments, &mut session).await.unwrap();
    assert_eq!(files(directory.path()), [format!("example.{A}.json")]);
}
