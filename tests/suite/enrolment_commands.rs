//! Enrolment as people and workers do it, with the program: a token, a key that never leaves its host,
//! and certificates that are renewed in good time.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::json;

use crate::support::cli::{Ended, cli, cli_json, run};
use crate::support::proof::Mesh;
use crate::support::service::program;
use crate::support::{Admin, Backend, Deployment, Service, items, on_both, text};

on_both!(
    from_a_token_to_the_first_fetch,
    what_goes_wrong_leaves_nothing_behind,
    a_lost_answer_is_explained,
    fetch_renews_in_good_time,
);

/// The program with a directory that `enrol` made.
fn with_profile(home: &Path, directory: &Path, arguments: &[&str]) -> Command {
    let mut command = program();
    command
        .current_dir(home)
        .env("STRONGROOM_PROFILE", directory.join("profile.json"))
        .args(arguments);
    command
}

fn names(directory: &Path) -> Vec<String> {
    let entries = fs::read_dir(directory).expect("a directory");
    let name = |entry: std::io::Result<fs::DirEntry>| entry.expect("a file").file_name();
    let mut names: Vec<String> = entries
        .map(|entry| name(entry).to_string_lossy().into_owned())
        .collect();
    names.sort();
    names
}

fn mode(path: &Path) -> u32 {
    let metadata = fs::metadata(path).expect("it is there");
    metadata.permissions().mode() & 0o777
}

fn read(path: &Path) -> String {
    fs::read_to_string(path).expect("a file")
}

fn as_text(path: &Path) -> &str {
    path.to_str().expect("a path")
}

/// `enrol` at this address, with the authority's file and the token on standard input.
fn enrol_at(service: &Service, url: &str, token: &str, directory: &Path, more: &[&str]) -> Ended {
    let mut command = program();
    command
        .current_dir(service.home())
        .args(["enrol", "--url", url, "--token-file", "-", "--dir"])
        .arg(directory)
        .args(more);
    if !more.contains(&"--ca-fingerprint") {
        command.arg("--ca").arg(service.file("ca.pem"));
    }
    run(command, format!("{token}\n").as_bytes())
}

fn enrol(service: &Service, token: &str, directory: &Path, more: &[&str]) -> Ended {
    enrol_at(service, &service.url(), token, directory, more)
}

/// A new workload of the demonstration's role, with a token: its id and the token.
fn new_workload(service: &Service, name: &str) -> (String, String) {
    let arguments = ["workload", "enrol", "--name", name, "--environment"];
    let more = ["production", "--role", "m365-sync", "--token"];
    let workload = cli_json(service, "operator", &[&arguments[..], &more].concat());
    let token = text(&workload, "/enrolment_token/token").to_owned();
    (text(&workload, "/id").to_owned(), token)
}

fn from_a_token_to_the_first_fetch(backend: Backend) {
    let service = Service::dev(&backend);
    let home = service.home();
    // What an operator sees is the one line that the new host needs, which does not hold the token.
    let arguments = ["workload", "enrol", "--name", "sync-9", "--environment"];
    let more = [
        "production",
        "--role",
        "m365-sync",
        "--token",
        "--token-minutes",
        "5",
    ];
    let shown = cli(&service, "operator", &[&arguments[..], &more].concat())
        .ok()
        .stdout;
    let word = |begins: &str| {
        shown
            .split_whitespace()
            .find(|word| word.starts_with(begins))
    };
    let token = word("srenrol_").expect("a token").to_owned();
    let line = shown
        .lines()
        .map(str::trim)
        .find(|line| line.starts_with("strongroom enrol "));
    let line = line.unwrap_or_else(|| panic!("{shown}"));
    assert!(
        line.contains("--ca-fingerprint ") && !line.contains(&token),
        "{line}"
    );
    let directory = home.join("worker dir");
    let mut words: Vec<&str> = line.split_whitespace().skip(1).collect();
    assert_eq!(words.pop(), Some("DIR"));
    words.push(as_text(&directory));
    let mut command = program();
    command.current_dir(home).args(words);
    let said = run(command, token.as_bytes()).ok();
    assert!(!said.stdout.contains("srenrol_") && !said.stderr.contains("srenrol_"));

    let expected = ["ca.pem", "profile.json", "worker.key", "worker.pem"];
    assert_eq!(names(&directory), expected);
    assert_eq!(mode(&directory), 0o700);
    assert_eq!(mode(&directory.join("worker.key")), 0o600);
    assert_eq!(read(&directory.join("ca.pem")), service.ca());
    // From anywhere, the profile is all that is needed; the directory may be moved.
    let moved = home.join("moved");
    fs::rename(&directory, &moved).expect("a move");
    let directory = moved;
    let ask = |arguments: &[&str]| {
        let mut all = vec!["--output", "json"];
        all.extend(arguments);
        run(with_profile(home, &directory, &all), b"")
    };
    assert_eq!(ask(&["whoami"]).ok().json()["name"], "sync-9");
    let document = ask(&["fetch"]).ok().json();
    assert_eq!(document["credentials"].as_array().expect("a list").len(), 1);

    // Not due yet, then by hand: another certificate for the same key.
    let (certificate, key) = (directory.join("worker.pem"), directory.join("worker.key"));
    let (before, same) = (read(&certificate), read(&key));
    let not_due = ask(&["renew", "--if-due"]).ok().json();
    assert_eq!(not_due["renewed"], false);
    assert_eq!(read(&certificate), before);
    // Of the trusted authorities, one that has the deployment's name and is not its own (any more)
    // goes; somebody else's stays.
    let of_worker: serde_json::Value =
        serde_json::from_str(&service.read("worker.json")).expect("JSON");
    let gone = Mesh::new(text(&of_worker, "/audience")).certificate();
    let foreign = Mesh::new("mesh.example").certificate();
    let (own, ca) = (service.ca(), directory.join("ca.pem"));
    fs::write(&ca, format!("{own}{gone}{foreign}")).expect("a file");
    let renewed = ask(&["renew"]).ok().json();
    assert_eq!(renewed["renewed"], true);
    let kept = read(&ca);
    let bodies = |pem: &str| -> Vec<String> {
        pem.split("-----")
            .skip(2)
            .step_by(4)
            .map(|body| body.split_whitespace().collect())
            .collect()
    };
    assert_eq!(bodies(&kept), bodies(&(foreign + &own)));
    assert!(read(&certificate) != before && read(&key) == same);
    assert_eq!(names(&directory), expected);
    ask(&["fetch"]).ok();

    // Another enrolment does not overwrite the key by accident; the token stays good.
    let token = cli_json(&service, "operator", &["workload", "token", "sync-9"]);
    let token = text(&token, "/token");
    let refused = enrol(&service, token, &directory, &[]);
    assert_eq!(refused.code, 1, "{}", refused.stderr);
    assert!(refused.stderr.contains("--replace"), "{}", refused.stderr);
    assert_eq!(read(&key), same);
    // On a rebuilt host, which is the same workload, the old host's files open nothing any more.
    let rebuilt = home.join("rebuilt");
    enrol(&service, token, &rebuilt, &[]).ok();
    let old = ask(&["fetch"]);
    assert_eq!(old.code, 2, "{}", old.stderr);
    run(with_profile(home, &rebuilt, &["fetch"]), b"").ok();
    // The old host may be let in again, in its place.
    let token = cli_json(&service, "operator", &["workload", "token", "sync-9"]);
    enrol(&service, text(&token, "/token"), &directory, &["--replace"]).ok();
    assert_ne!(read(&key), same);
    ask(&["fetch"]).ok();
    let old = run(with_profile(home, &rebuilt, &["renew"]), b"");
    assert_eq!(old.code, 2, "{}", old.stderr);

    // People do the same.
    let arguments = [
        "operator",
        "enrol",
        "--name",
        "Grace Example",
        "--role",
        "auditor",
        "--token",
    ];
    let operator = cli_json(&service, "operator", &arguments);
    let desk = home.join("desk");
    let token = text(&operator, "/enrolment_token/token");
    enrol(&service, token, &desk, &[]).ok();
    let expected = ["ca.pem", "operator.key", "operator.pem", "profile.json"];
    assert_eq!(names(&desk), expected);
    let list = run(with_profile(home, &desk, &["audit", "list"]), b"").ok();
    assert!(
        list.stdout.contains("enrolment-token.used"),
        "{}",
        list.stdout
    );
    let mut renew = with_profile(home, &desk, &["renew"]);
    renew.arg("--output").arg("json");
    assert_eq!(run(renew, b"").ok().json()["renewed"], true);
    run(with_profile(home, &desk, &["whoami"]), b"").ok();
}

fn what_goes_wrong_leaves_nothing_behind(backend: Backend) {
    let service = Service::dev(&backend);
    let (id, token) = new_workload(&service, "sync-9");
    let directory = service.home().join("worker");
    let refused = |ended: Ended, code: i32, says: &str| {
        assert_eq!(ended.code, code, "{}", ended.stderr);
        assert!(ended.stderr.contains(says), "{says} in {}", ended.stderr);
        assert!(!ended.stderr.contains(&token) && ended.stdout.is_empty());
        assert!(!directory.exists() || names(&directory).is_empty());
    };
    // Not a token, and not the server: nothing is sent.
    for none in ["", "hello", "srenrol_AAAA", &token[..token.len() - 1]] {
        refused(
            enrol(&service, none, &directory, &[]),
            1,
            "no enrolment token",
        );
    }
    let wrong = "0".repeat(64);
    let ended = enrol(&service, &token, &directory, &["--ca-fingerprint", &wrong]);
    refused(ended, 1, "The token was not sent");
    let ended = enrol(&service, &token, &directory, &["--ca-fingerprint", "00ff"]);
    refused(ended, 1, "64 hexadecimal digits");
    let ca = service.file("ca.pem");
    let both = ["--ca-fingerprint", &wrong, "--ca", as_text(&ca)];
    let ended = enrol(&service, &token, &directory, &both);
    refused(ended, 1, "give one of them");
    // The fingerprint of the server's own certificate is not that of an authority.
    let foreign = Mesh::new("mesh.example").certificate();
    let file = service.home().join("foreign.pem");
    fs::write(&file, foreign).expect("a file");
    let mut command = program();
    command
        .args([
            "enrol",
            "--url",
            &service.url(),
            "--token-file",
            "-",
            "--dir",
        ])
        .arg(&directory)
        .arg("--ca")
        .arg(&file);
    refused(run(command, token.as_bytes()), 1, "error");
    // Nobody is there.
    let closed = TcpListener::bind("127.0.0.1:0").and_then(|it| it.local_addr());
    let nobody = format!("https://{}", closed.expect("an address"));
    let ended = enrol_at(&service, &nobody, &token, &directory, &[]);
    refused(ended, 1, "Run the same command again");

    // After all that the token is good, once.
    let elsewhere = service.home().join("elsewhere");
    enrol(&service, &token, &elsewhere, &[]).ok();
    refused(
        enrol(&service, &token, &directory, &[]),
        2,
        "the token is not good",
    );
    // What operators see of it.
    let list = cli_json(
        &service,
        "operator",
        &["workload", "token", "list", "sync-9"],
    );
    assert!(items(&list)[0]["used_at"].is_string(), "{list}");
    let next = cli_json(&service, "operator", &["workload", "token", &id]);
    let revoke = ["workload", "token", "revoke", "sync-9", text(&next, "/id")];
    cli(&service, "operator", &revoke).ok();
    let ended = enrol(&service, text(&next, "/token"), &directory, &[]);
    refused(ended, 2, "the token is not good");
    assert_eq!(cli(&service, "operator", &revoke).code, 2);
}

/// Stands between a client and the service, and cuts the connection instead of passing on what comes
/// from the service once `is_over`.
fn relay(service: &Service, is_over: impl Fn() -> bool + Send + 'static) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let url = format!("https://{}", listener.local_addr().expect("an address"));
    let address = service.address();
    std::thread::spawn(move || {
        let (client, _) = listener.accept().expect("a client");
        let server = TcpStream::connect(address).expect("the service");
        let (mut from, mut to) = (
            client.try_clone().expect("a socket"),
            server.try_clone().expect("a socket"),
        );
        std::thread::spawn(move || std::io::copy(&mut from, &mut to));
        let (mut server, mut client) = (server, client);
        let mut piece = [0; 16 * 1024];
        while let Ok(read @ 1..) = server.read(&mut piece) {
            if is_over() || client.write_all(&piece[..read]).is_err() {
                break;
            }
        }
        let _ = client.shutdown(Shutdown::Both);
        let _ = server.shutdown(Shutdown::Both);
    });
    url
}

/// The service answers after it has committed, so that an answer that is lost is a token that is used.
fn a_lost_answer_is_explained(backend: Backend) {
    let service = Service::dev(&backend);
    let (id, token) = new_workload(&service, "sync-9");
    let directory = service.home().join("worker");
    let admin = Admin::of(&service);
    let (watcher, path) = (admin.clone(), format!("/workloads/{id}/enrolment-tokens"));
    let url = relay(&service, move || {
        items(&watcher.get(&path))[0]["used_at"].is_string()
    });
    let lost = enrol_at(&service, &url, &token, &directory, &[]);
    assert_eq!(lost.code, 1, "{}", lost.stderr);
    assert!(lost.stderr.contains("is not known"), "{}", lost.stderr);
    assert_eq!(names(&directory), Vec::<String>::new());
    let again = enrol(&service, &token, &directory, &[]);
    assert_eq!(again.code, 2, "{}", again.stderr);
    assert!(
        again.stderr.contains("workload token NAME"),
        "{}",
        again.stderr
    );
    let token = cli_json(&service, "operator", &["workload", "token", "sync-9"]);
    enrol(&service, text(&token, "/token"), &directory, &[]).ok();
    // The key that nobody has is revoked.
    let keys = admin.get(&format!("/workloads/{id}/keys"));
    let revoked = items(&keys)
        .iter()
        .filter(|key| key["revoked_at"].is_string());
    assert_eq!((items(&keys).len(), revoked.count()), (2, 1));
}

/// A library that moves the system's clock for one process, by the seconds in `SHIFT_CLOCK_BY`.
fn clock_shifter(directory: &Path) -> PathBuf {
    let source = directory.join("shift.c");
    let library = directory.join("shift.so");
    let text = "#define _GNU_SOURCE\n#include <stdlib.h>\n#include <sys/syscall.h>\n\
        #include <time.h>\n#include <unistd.h>\n\
        int clock_gettime(clockid_t id, struct timespec *at) {\n\
        int result = (int)syscall(SYS_clock_gettime, id, at);\n\
        const char *by = getenv(\"SHIFT_CLOCK_BY\");\n\
        if (result == 0 && id == CLOCK_REALTIME && by) at->tv_sec += atol(by);\n\
        return result;\n}\n";
    fs::write(&source, text).expect("a file");
    let mut compiler = Command::new("cc");
    compiler
        .args(["-shared", "-fPIC", "-o"])
        .arg(&library)
        .arg(&source);
    let output = compiler
        .output()
        .expect("cc, which links Rust programs, too");
    assert!(output.status.success(), "{output:?}");
    library
}

fn fetch_renews_in_good_time(backend: Backend) {
    let deployment = Deployment::new(&backend, "node-a");
    let settings = deployment.settings();
    let settings = settings.replace("# workload_hours = 168", "workload_hours = 1");
    assert!(settings.contains("\nworkload_hours = 1\n"), "{settings}");
    fs::write(deployment.config(), settings).expect("the settings");
    let mut service = Service::serve(&deployment.config());
    let home = service.home().to_owned();
    let admin = Admin::of(&service);
    admin.role("m365-sync");
    admin.environment("production");
    admin.client("acme");
    let credential = admin.credential("acme", "production", &["m365-sync"], "lent");
    let (id, token) = new_workload(&service, "sync-9");
    let directory = home.join("worker");
    enrol(&service, &token, &directory, &[]).ok();
    let (certificate, key) = (directory.join("worker.pem"), directory.join("worker.key"));
    let shifter = clock_shifter(&home);
    let at = |minutes: i64, arguments: &[&str]| {
        let mut command = with_profile(&home, &directory, arguments);
        command
            .env("LD_PRELOAD", &shifter)
            .env("SHIFT_CLOCK_BY", (minutes * 60).to_string());
        run(command, b"")
    };
    let renewals = || admin.audit("kind=key.renewed").len();
    let (first, same) = (read(&certificate), read(&key));
    // In the first half of its life it stays, in the last third it is renewed in passing.
    let env = format!("VALUE={credential}.value");
    let file = as_text(&directory.join("out.json")).to_owned();
    at(5, &["fetch", "--out", &file]).ok();
    assert_eq!((read(&certificate), renewals()), (first.clone(), 0));
    let fetched = at(50, &["fetch", "--out", &file]).ok();
    assert!(
        fetched.stderr.contains("renewed the client certificate"),
        "{}",
        fetched.stderr
    );
    assert!(read(file.as_ref()).contains("lent"));
    let second = read(&certificate);
    assert!(second != first && read(&key) == same);
    assert_eq!(renewals(), 1);
    let ran = at(
        50,
        &["exec", "--env", &env, "--", "sh", "-c", "echo $VALUE"],
    )
    .ok();
    assert_eq!(ran.stdout.trim(), "lent");
    assert!(read(&certificate) != second && read(&key) == same);
    assert_eq!(renewals(), 2);
    // With what nothing changed, too.
    let changed = ["fetch", "--out", &file, "--if-changed"];
    at(5, &changed).ok();
    let third = read(&certificate);
    at(50, &changed).ok();
    assert!(read(&certificate) != third);
    assert_eq!(renewals(), 3);

    // A renewal that fails is a warning while the certificate is good: the fetch goes on.
    let sec1 = Command::new("openssl")
        .args(["ec", "-in"])
        .arg(&key)
        .output();
    let sec1 = sec1.expect("openssl").stdout;
    let unusual = directory.join("unusual.key");
    fs::write(&unusual, sec1).expect("a key");
    let third = read(&certificate);
    let with_it = ["fetch", "--out", &file, "--key", as_text(&unusual)];
    let warned = at(50, &with_it).ok();
    assert!(
        warned.stderr.contains("could not be renewed"),
        "{}",
        warned.stderr
    );
    assert_eq!(read(&certificate), third);
    // Too late, it says what to do. By then the server's own clock would have refused it, too.
    let disable = format!("/workloads/{id}/disable");
    admin
        .change("POST", &format!("/workloads/{id}"), &disable, &json!({}))
        .expect(200);
    let over = at(70, &["fetch", "--out", &file]);
    assert_eq!(over.code, 2, "{}", over.stderr);
    assert!(over.stderr.contains("enrol again"), "{}", over.stderr);
    let over = at(70, &["renew"]);
    assert_eq!(over.code, 1, "{}", over.stderr);
    assert!(over.stderr.contains("enrol again"), "{}", over.stderr);

    // While the service is down there is nobody to ask, and a copy is used without a word of it.
    let enable = format!("/workloads/{id}/enable");
    admin
        .change("POST", &format!("/workloads/{id}"), &enable, &json!({}))
        .expect(200);
    // The copy lies beside the certificate, and neither waits for the other's lock.
    let (copy, identity) = (directory.join("copy.age"), directory.join("copy.key"));
    let cached = [
        "fetch",
        "--cache",
        as_text(&copy),
        "--cache-identity",
        as_text(&identity),
    ];
    at(50, &cached).ok();
    assert_eq!(renewals(), 4);
    let fourth = read(&certificate);
    service.stop();
    let down = at(50, &cached).ok();
    assert!(down.stdout.contains("lent"), "{}", down.stdout);
    assert!(!down.stderr.contains("renewed"), "{}", down.stderr);
    assert_eq!(read(&certificate), fourth);
}
