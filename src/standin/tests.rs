//! The stand-in as the providers' own clients see it: msal, exchangelib and google-auth run against it,
//! by `python3`, or the interpreter that `STRONGROOM_TEST_PYTHON` names.

use std::ffi::OsString;
use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;

use ring::digest::{SHA1_FOR_LEGACY_USE_ONLY, digest};
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;
use serde_json::{Value, json};

use super::*;
use crate::clock::SystemClock;
use crate::identity::testing::openssl;
use crate::random::SystemRandom;

const TENANT: &str = "11111111-2222-3333-4444-555555555555";
const CLIENT: &str = "aaaaaaaa-bbbb-cccc-dddd-eeeeeeeeeeee";
const SECRET: &str = "abc8Q~made.up_secret-of-a-test_0123456789";
const SERVICE_ACCOUNT: &str = "sync@project.iam.gserviceaccount.com";
const USER: &str = "admin@client.example";

fn text(bytes: Vec<u8>) -> String {
    String::from_utf8(bytes).unwrap()
}

/// Private key, public key and certificate of one RSA pair, all PEM.
fn key() -> (String, String, String) {
    let both = text(openssl(
        &[
            "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", "-", "-out", "-", "-subj",
            "/CN=test", "-days", "30",
        ],
        b"",
    ));
    let at = both.find("-----BEGIN CERTIFICATE-----").unwrap();
    let (private, certificate) = both.split_at(at);
    let public = text(openssl(&["pkey", "-pubout"], private.as_bytes()));
    (private.to_owned(), public, certificate.to_owned())
}

fn world(public_key: &str, certificate: &str) -> World {
    let mailbox = |address: &str, state| Mailbox {
        address: address.to_owned(),
        state,
    };
    let scope = |name: &str| format!("https://www.googleapis.com/auth/{name}");
    World::of(
        vec![Tenant {
            id: TENANT.to_owned(),
            mailboxes: vec![
                mailbox("test@client.example", MailboxState::Licensed),
                mailbox("denied@client.example", MailboxState::OutOfScope),
            ],
            applications: vec![Application {
                id: CLIENT.to_owned(),
                secrets: vec![AppSecret {
                    value: SECRET.to_owned(),
                    usable_from: None,
                    expires_at: SystemClock.now().plus_secs(86_400),
                }],
                certificates: vec![certificate.to_owned()],
                exchange_roles: vec!["full_access_as_app".to_owned()],
                ..Application::default()
            }],
            ..Tenant::default()
        }],
        vec![ServiceAccount {
            email: SERVICE_ACCOUNT.to_owned(),
            keys: vec![GoogleKey {
                id: "key-1".to_owned(),
                public_key: public_key.to_owned(),
                disabled: false,
            }],
            delegated_scopes: vec![scope("contacts"), scope("calendar")],
            users: vec![USER.to_owned()],
            ..ServiceAccount::default()
        }],
    )
}

/// What the clients say; panics with what to install when they are not there.
fn run(asked: &Value) -> Value {
    let program = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/python/provider_clients.py");
    let named = std::env::var_os("STRONGROOM_TEST_PYTHON");
    let candidates = match named {
        Some(interpreter) => vec![interpreter],
        // Another python3 may stand before the system's in PATH.
        None => vec!["python3".into(), "/usr/bin/python3".into()],
    };
    let has_clients = |interpreter: &OsString| {
        let mut probe = Command::new(interpreter);
        let probe = probe.args(["-c", "import msal, exchangelib, google.auth"]);
        probe.output().is_ok_and(|output| output.status.success())
    };
    let Some(interpreter) = candidates.into_iter().find(has_clients) else {
        panic!(
            "this test needs python3 with msal, exchangelib and google-auth (Debian: python3-msal \
             python3-exchangelib python3-google-auth); scripts/test installs them, and \
             STRONGROOM_TEST_PYTHON can name another interpreter"
        );
    };
    let mut child = Command::new(&interpreter)
        .arg(&program)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let input = asked.to_string();
    child
        .stdin
        .take()
        .unwrap()
        .write_all(input.as_bytes())
        .unwrap();
    let output = child.wait_with_output().unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{errors}");
    serde_json::from_slice(&output.stdout).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_providers_own_clients_take_it_for_the_providers() {
    let (private, public, certificate) = key();
    let random = Arc::new(SystemRandom::new());
    let stand_in =
        StandIn::start_anywhere(world(&public, &certificate), Arc::new(SystemClock), random)
            .await
            .unwrap();
    let folder = tempfile::tempdir().unwrap();
    let ca = folder.path().join("ca.pem");
    std::fs::write(&ca, stand_in.ca_pem()).unwrap();
    let der = CertificateDer::from_pem_slice(certificate.as_bytes()).unwrap();
    let thumbprint = hex::encode(digest(&SHA1_FOR_LEGACY_USE_ONLY, &der));
    let asked = json!({
        "url": stand_in.url(), "ca": ca, "tenant": TENANT, "client": CLIENT, "secret": SECRET,
        "private_key": private, "thumbprint": thumbprint, "mailbox": "test@client.example",
        "elsewhere": "nobody@client.example", "denied": "denied@client.example", "user": USER,
        "google": {
            "type": "service_account", "project_id": "project", "private_key_id": "key-1",
            "private_key": private, "client_email": SERVICE_ACCOUNT, "client_id": "1234567890",
            "auth_uri": "https://accounts.google.com/o/oauth2/auth",
        },
    });
    let said = tokio::task::spawn_blocking(move || run(&asked))
        .await
        .unwrap();
    let none: [u32; 0] = [];
    let expected = json!({
        "msal secret graph.microsoft.com": ["token", none],
        "msal secret outlook.office365.com": ["token", none],
        "msal wrong secret graph.microsoft.com": ["invalid_client", [7_000_215]],
        "msal wrong secret outlook.office365.com": ["invalid_client", [7_000_215]],
        "msal certificate graph.microsoft.com": ["token", none],
        "msal certificate outlook.office365.com": ["token", none],
        "msal unknown application graph.microsoft.com": ["unauthorized_client", [700_016]],
        "msal unknown application outlook.office365.com": ["unauthorized_client", [700_016]],
        "exchangelib contacts": 0,
        "exchangelib calendar": 0,
        "exchangelib send": "sent",
        "exchangelib elsewhere": "ErrorNonExistentMailbox",
        "exchangelib denied": "ErrorImpersonateUserDenied",
        "google contacts": 200,
        "google calendar": 200,
        "google wrong interface": 403,
        "google scope missing": "access_denied",
        "google unknown user": "invalid_grant",
        "google unknown key": "invalid_grant",
    });
    assert_eq!(said, expected, "{said:#}");
    let sent = stand_in.change(|world| world.sent.clone());
    assert_eq!(sent.len(), 1);
    assert_eq!(
        (sent[0].by.as_str(), sent[0].subject.as_str()),
        ("ews", "a test")
    );
}

/// What a plain HTTP/1.1 server answers.
fn plain(address: std::net::SocketAddr, method: &str, path: &str, body: &str) -> String {
    use std::io::Read as _;
    let mut stream = std::net::TcpStream::connect(address).unwrap();
    let length = body.len();
    write!(
        stream,
        "{method} {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Length: {length}\r\n\r\n{body}"
    )
    .unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

#[tokio::test(flavor = "multi_thread")]
async fn another_process_can_change_what_is_registered() {
    let random = Arc::new(SystemRandom::new());
    let anywhere = "127.0.0.1:0".parse().unwrap();
    let clock = Arc::new(SystemClock);
    let stand_in = StandIn::start(World::default(), anywhere, Some(anywhere), clock, random)
        .await
        .unwrap();
    let control = stand_in.control().unwrap();
    let answers = tokio::task::spawn_blocking(move || {
        let world = r#"{"tenants":[{"id":"t","ews":"off"}],"service_accounts":[{"email":"e"}]}"#;
        let forced = r#"{"at":"google-token","times":2,"answer":{"throttled":60}}"#;
        [
            plain(control, "PUT", "/world", world),
            plain(control, "POST", "/forced", forced),
            plain(control, "PUT", "/world", r#"{"tenant":[]}"#),
            plain(control, "POST", "/forced", r#"{"at":"nowhere"}"#),
            plain(control, "GET", "/world", ""),
        ]
    })
    .await
    .unwrap();
    for (answer, status) in answers.iter().zip(["204", "204", "400", "400", "200"]) {
        assert!(
            answer.starts_with(&format!("HTTP/1.1 {status}")),
            "{answer}"
        );
    }
    assert!(answers[4].contains(r#""throttled":60"#) && answers[4].contains(r#""ews":"off""#));
    stand_in.change(|world| {
        assert_eq!(world.tenants[0].ews, EwsSwitch::Off);
        assert_eq!(world.forced[0].times, 2);
    });
}

#[tokio::test]
async fn it_is_not_reachable_from_elsewhere() {
    let random = Arc::new(SystemRandom::new());
    let everywhere = "0.0.0.0:0".parse().unwrap();
    let clock = Arc::new(SystemClock);
    let refused = StandIn::start(World::default(), everywhere, None, clock, random).await;
    assert!(matches!(refused, Err(StandInError::NotLoopback)));
}
