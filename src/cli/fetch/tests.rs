use std::os::unix::fs::PermissionsExt;

use axum::{
    Json, Router,
    body::{Body, Bytes},
    http::HeaderMap,
    response::IntoResponse,
    routing::get,
};
use clap::Parser;
use serde_json::{Value, json};

use super::{directory::names, *};
use crate::{
    cli::{
        Cli, Command,
        files::UNFINISHED,
        release::{checkpoints::CHECKPOINT_FILE, testing::FakeLog},
        table::Format,
        testing::Fake,
    },
    clock::SystemClock,
};

const A: &str = "cred_01kaqz3m8v7d6k2n4p9r5s1t0a";
const B: &str = "cred_01kaqz3m8v7d6k2n4p9r5s1t0b";

fn entry(id: &str, slug: &str, value: &str) -> Value {
    json!({"id": id, "client": {"id": "clnt_x", "name": "Example", "slug": slug},
           "version": 1, "fields": {"client_secret": value}})
}

fn parse(words: &[&str]) -> Arguments {
    let cli = Cli::try_parse_from([&["strongroom", "fetch"], words].concat());
    match cli.unwrap_or_else(|error| panic!("{error}")).command {
        Command::Fetch(arguments) => arguments,
        _ => unreachable!("it is fetch"),
    }
}

fn arguments(directory: Option<&Path>) -> Arguments {
    match directory {
        Some(directory) => parse(&["--dir", directory.to_str().unwrap()]),
        None => parse(&[]),
    }
}

async fn call(router: Router, arguments: Arguments) -> (Result<(), CliError>, String) {
    let fake = Fake::start(router.merge(FakeLog::new("main").routes())).await;
    let (mut session, printed) = fake.session(Format::Table);
    let result = run(arguments, &mut session, &Environment::new(), &SystemClock).await;
    (result, printed.text())
}

async fn fetch(
    answer: axum::routing::MethodRouter,
    directory: Option<&Path>,
) -> (Result<(), CliError>, String) {
    call(
        Router::new().route("/api/v1/release", answer),
        arguments(directory),
    )
    .await
}

fn checkpoint() -> [(&'static str, String); 1] {
    [("strongroom-checkpoint", FakeLog::new("main").header())]
}

fn whole(credentials: &[Value], failed: &[Value]) -> axum::routing::MethodRouter {
    let document = json!({"credentials": credentials, "failed": failed});
    get(move || async move { (checkpoint(), Json(document)).into_response() })
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
    let remembered = std::fs::read_to_string(into.join(CHECKPOINT_FILE)).unwrap();
    assert!(
        remembered.contains(&FakeLog::new("main").key()),
        "{remembered}"
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
        (checkpoint(), Json(entry(A, "example", "one")))
    });
    let router = Router::new().route(&format!("/api/v1/release/{A}"), answer);
    let directory = tempfile::tempdir().unwrap();
    let into = directory.path();
    let words = [
        "--credential",
        A,
        "--version",
        "2",
        "--dir",
        into.to_str().unwrap(),
    ];
    call(router, parse(&words)).await.0.unwrap();
    let expected = [CHECKPOINT_FILE.to_owned(), format!("example.{A}.json")];
    assert_eq!(files(into), expected);
}

#[tokio::test]
async fn a_dotenv_file_holds_what_was_named_and_nothing_else() {
    let directory = tempfile::tempdir().unwrap();
    let out = directory.path().join("app.env");
    let value = "it's \"$HOME\"\n`line two`";
    let document = whole(
        &[entry(A, "example", value), entry(B, "other", "plain-1")],
        &[],
    );
    let (a, b) = (
        format!("SECRET={A}.client_secret"),
        format!("OTHER={B}.client_secret"),
    );
    // The filter makes it a bundle; without it each is asked for by its id.
    let words = [
        "--kind",
        "generic",
        "--env",
        &a,
        "--env",
        &b,
        "--out",
        out.to_str().unwrap(),
    ];
    let router = || Router::new().route("/api/v1/release", document.clone());
    let (result, printed) = call(router(), parse(&words)).await;
    result.unwrap();
    assert_eq!(printed, "");
    let mode = std::fs::metadata(&out).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let shell = std::process::Command::new("sh")
        .args(["-c", ". \"$0\"; printf '%s|%s' \"$SECRET\" \"$OTHER\""])
        .arg(&out)
        .output()
        .unwrap();
    assert_eq!(
        String::from_utf8_lossy(&shell.stdout),
        format!("{value}|plain-1")
    );
    assert!(
        std::fs::read_to_string(&out)
            .unwrap()
            .contains("\nOTHER=plain-1\n")
    );

    let before = std::fs::read(&out).unwrap();
    let docker = [&words[..], &["--dotenv-dialect", "docker"]].concat();
    let error = call(router(), parse(&docker))
        .await
        .0
        .unwrap_err()
        .to_string();
    assert!(
        error.contains("client_secret") && error.contains(A),
        "{error}"
    );
    assert!(!error.contains("line two"), "{error}");
    assert_eq!(std::fs::read(&out).unwrap(), before, "nothing was written");
}

#[tokio::test]
async fn what_is_named_by_id_is_asked_for_alone() {
    let one = |id: &'static str, slug: &'static str| {
        let answer = get(move || async move { (checkpoint(), Json(entry(id, slug, slug))) });
        (format!("/api/v1/release/{id}"), answer)
    };
    let ((a, first), (b, second)) = (one(A, "example"), one(B, "other"));
    let router = Router::new().route(&a, first).route(&b, second);
    let words = [
        "--env",
        &format!("ONE={A}.client_secret"),
        "--env",
        &format!("TWO={B}.client_secret"),
    ];
    let (result, printed) = call(router, parse(&words)).await;
    result.unwrap();
    assert_eq!(printed, "ONE=example\nTWO=other\n");
}

#[tokio::test]
async fn a_template_with_an_unknown_field_writes_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let path = |name: &str| directory.path().join(name).to_str().unwrap().to_owned();
    let good = format!("{{{{ credentials.{A}.fields.client_secret }}}}");
    std::fs::write(path("good"), &good).unwrap();
    std::fs::write(path("bad"), "a\n{{ all[0].fields.nothing }}\n").unwrap();
    let answer = whole(&[entry(A, "example", "one")], &[]);
    let router = || Router::new().route("/api/v1/release", answer.clone());
    let (good, bad, x, y) = (path("good"), path("bad"), path("x"), path("y"));
    let words = [
        "--template",
        &good,
        "--out",
        &x,
        "--template",
        &bad,
        "--out",
        &y,
    ];
    let error = call(router(), parse(&words))
        .await
        .0
        .unwrap_err()
        .to_string();
    assert!(
        error.contains("bad line 2") && error.contains("no field nothing"),
        "{error}"
    );
    assert_eq!(files(directory.path()), ["bad", "good"]);
    call(router(), parse(&words[..4])).await.0.unwrap();
    assert_eq!(std::fs::read_to_string(path("x")).unwrap(), "one");
}

#[tokio::test]
async fn a_name_must_fit_one_credential() {
    let labelled = |id: &str| {
        let mut entry = entry(id, "example", "one");
        entry["label"] = "mail sync".into();
        entry
    };
    let two = whole(&[labelled(A), labelled(B)], &[]);
    let router = Router::new().route("/api/v1/release", two);
    let words = ["--env", "X=example/mail sync.client_secret"];
    let error = call(router, parse(&words)).await.0.unwrap_err().to_string();
    assert!(error.contains(A) && error.contains(B), "{error}");
    let one = whole(&[labelled(A)], &[]);
    let router = Router::new().route("/api/v1/release", one);
    let (result, printed) = call(router, parse(&words)).await;
    result.unwrap();
    assert_eq!(printed, "X=one\n");
}

#[test]
fn forms_that_contradict_each_other_are_refused() {
    for words in [
        &["--dir", "d", "--out", "o"][..],
        &["--dir", "d", "--format", "json"],
        &["--dir", "d", "--template", "t"],
        &["--format", "template"],
        &["--format", "dotenv"],
        &["--format", "files"],
        &["--format", "json", "--env", "A=a/b.c"],
        &["--out", "o", "--out", "p"],
        &["--env", "A=a/b.c", "--env", "A=a/b.d"],
    ] {
        assert!(Plan::of(&parse(words)).is_err(), "{words:?}");
    }
}

#[tokio::test]
async fn if_changed_asks_with_the_etag_of_what_is_there() {
    let directory = tempfile::tempdir().unwrap();
    let into = directory.path().join("credentials");
    let answer = get(|headers: HeaderMap| async move {
        let tag = [("etag", "W/\"one\"")];
        if headers
            .get("if-none-match")
            .is_some_and(|it| it == "W/\"one\"")
        {
            return (axum::http::StatusCode::NOT_MODIFIED, checkpoint(), tag).into_response();
        }
        let document = json!({"credentials": [entry(A, "example", "one")], "failed": []});
        (checkpoint(), tag, Json(document)).into_response()
    });
    let log = FakeLog::new("main");
    let router = Router::new()
        .route("/api/v1/release", answer)
        .merge(log.routes());
    let fake = Fake::start(router).await;
    let again = async |more: &[&str]| {
        let (mut session, _) = fake.session(Format::Table);
        let base = [
            "--dir",
            into.to_str().unwrap(),
            "--if-changed",
            "--exit-code-unchanged",
            "9",
        ];
        let arguments = parse(&[&base, more].concat());
        let result = run(arguments, &mut session, &Environment::new(), &SystemClock).await;
        result.err().map(|error| error.exit_code())
    };
    assert_eq!(again(&[]).await, None);
    assert_eq!(again(&[]).await, Some(9));
    let file = into.join(format!("example.{A}.json"));
    std::fs::write(&file, "altered").unwrap();
    assert_eq!(again(&[]).await, None, "an altered file is fetched anew");
    assert_eq!(again(&[]).await, Some(9));
    std::fs::remove_file(&file).unwrap();
    assert_eq!(again(&[]).await, None, "a missing file is fetched anew");
    assert_eq!(
        again(&["--kind", "generic"]).await,
        None,
        "another question"
    );
}
