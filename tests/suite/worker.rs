//! What runs on a worker: files and variables made from a release, a program started with them, the
//! copy that stands in while the service is down.

use std::fs;
use std::io::Write as _;
use std::net::TcpListener;
use std::path::Path;
use std::process::Command;

use serde_json::{Value, json};

use crate::support::cli::{Ended, cli, run};
use crate::support::service::program;
use crate::support::{Admin, Backend, Service, on_both, text};

on_both!(
    a_program_gets_exactly_what_was_named,
    a_fetch_writes_what_was_asked_for_or_nothing,
    nothing_is_released_when_nothing_changed,
    a_deploy_succeeds_while_the_service_is_down,
    a_copy_goes_when_the_worker_may_not_have_it_any_more,
);

const SECRET: &str = "demonstration~secret~opens~nothing";

/// The program as the demonstration's worker.
pub fn worker(service: &Service) -> Command {
    let mut command = program();
    command
        .current_dir(service.home())
        .env("STRONGROOM_URL", service.url())
        .env("STRONGROOM_CA", service.file("ca.pem"))
        .env("STRONGROOM_CERT", service.file("worker.pem"))
        .env("STRONGROOM_KEY", service.file("worker.key"));
    command
}

fn as_worker(service: &Service, arguments: &[&str]) -> Ended {
    let mut command = worker(service);
    command.args(arguments);
    run(command, b"")
}

/// The id of the demonstration's credential.
pub fn demonstration(service: &Service) -> String {
    let document = cli(service, "worker", &["fetch"]).ok().json();
    text(&document, "/credentials/0/id").to_owned()
}

fn read(path: &Path) -> String {
    fs::read_to_string(path).expect("a file")
}

fn a_program_gets_exactly_what_was_named(backend: Backend) {
    let service = Service::dev(&backend);
    let id = demonstration(&service);
    let secret = format!("APP_SECRET={id}.client_secret");
    let file = format!("APP_FILE={id}.client_secret");
    let report =
        "cat \"$APP_FILE\"; echo; env; umask; ulimit -Sc; grep NoNewPrivs /proc/self/status";
    let arguments = [
        "exec",
        "--env",
        &secret,
        "--env",
        "APP_TENANT=example-realty/mail sync.tenant_id",
        "--file",
        &file,
        "--",
        "sh",
        "-c",
        report,
    ];
    let mut command = Command::new("sh");
    // What the program was started with is what it gets: a mask and a limit of its own.
    command
        .env_clear()
        .arg("-c")
        .arg("umask 027; ulimit -Sc unlimited 2>/dev/null || ulimit -Sc \"$(ulimit -Hc)\"; ulimit -Sc >limit; exec \"$@\"")
        .arg("sh")
        .arg(crate::support::service::PROGRAM)
        .args(arguments)
        .current_dir(service.home());
    let of_worker = worker(&service);
    let variables = of_worker.get_envs();
    command.envs(variables.filter_map(|(name, value)| Some((name, value?))));
    command.env("KEPT", "from before");
    let ended = run(command, b"").ok();
    let limit = read(&service.home().join("limit"));
    let lines: Vec<&str> = ended.stdout.lines().collect();
    let has = |line: &str| lines.contains(&line);
    assert_eq!(lines[0], SECRET, "the file in memory");
    assert!(has(&format!("APP_SECRET={SECRET}")), "{}", ended.stdout);
    assert!(has("APP_TENANT=11111111-2222-4333-8444-555555555555"));
    assert!(has("KEPT=from before"));
    assert!(!ended.stdout.contains("STRONGROOM_"), "{}", ended.stdout);
    assert!(has("0027") && has(limit.trim()), "{}", ended.stdout);
    assert!(has("NoNewPrivs:\t0"), "{}", ended.stdout);
    assert!(!ended.stderr.contains(SECRET));

    // Once it has run, the service knows on which version.
    let receipts = Admin::of(&service).list(&format!("/receipts?credential={id}"));
    assert!(receipts[0]["in_use_at"].is_string(), "{receipts:?}");

    // What cannot be passed on is refused before anything starts, and no value is said.
    let touch = service.home().join("started");
    let touch = touch.to_str().expect("a path");
    for (env, what) in [
        (format!("X={id}.nothing"), "no field nothing"),
        (
            "X=example-realty/none.client_secret".to_owned(),
            "is not among",
        ),
    ] {
        let ended = as_worker(&service, &["exec", "--env", &env, "--", "touch", touch]);
        assert_eq!(ended.code, 1, "{}", ended.stderr);
        assert!(ended.stderr.contains(what), "{}", ended.stderr);
        assert!(!ended.stderr.contains(SECRET) && !Path::new(touch).exists());
    }
    let ended = as_worker(&service, &["exec", "--", "touch", touch]);
    assert_eq!(ended.code, 1);
    assert!(!Path::new(touch).exists());
    // Of another role: the same as not there, and the program does not start.
    let admin = Admin::of(&service);
    let theirs = admin.credential("example-realty", "production", &["google-sync"], "other");
    let env = format!("X={theirs}.value");
    let ended = as_worker(&service, &["exec", "--env", &env, "--", "touch", touch]);
    assert_eq!(ended.code, 2, "{}", ended.stderr);
    assert!(!Path::new(touch).exists());
}

fn a_fetch_writes_what_was_asked_for_or_nothing(backend: Backend) {
    let service = Service::dev(&backend);
    let id = demonstration(&service);
    let home = service.home();
    let path = |name: &str| home.join(name).to_str().expect("a path").to_owned();
    // A shell and Docker read the same value.
    let env = format!("APP_SECRET={id}.client_secret");
    let out = path("app.env");
    as_worker(&service, &["fetch", "--env", &env, "--out", &out]).ok();
    assert_eq!(
        read(&home.join("app.env")),
        format!("APP_SECRET='{SECRET}'\n")
    );
    let docker = ["fetch", "--env", &env, "--dotenv-dialect", "docker"];
    let ended = as_worker(&service, &docker).ok();
    assert_eq!(ended.stdout, format!("APP_SECRET={SECRET}\n"));

    let template = "tenant = {{ credentials['example-realty/mail sync'].fields.tenant_id|json }}\n\
                    secret = {{ all[0].fields.client_secret|json }}\n";
    fs::write(path("app.conf.in"), template).expect("a template");
    let conf = [
        "fetch",
        "--template",
        &path("app.conf.in"),
        "--out",
        &path("app.conf"),
    ];
    as_worker(&service, &conf).ok();
    let expected = "tenant = \"11111111-2222-4333-8444-555555555555\"\n\
                    secret = \"demonstration~secret~opens~nothing\"\n";
    assert_eq!(read(&home.join("app.conf")), expected);

    // A field that is not there: line and field are named, and what was there stays.
    let before = fs::metadata(path("app.conf"))
        .expect("it")
        .modified()
        .expect("a time");
    fs::write(
        path("app.conf.in"),
        template.replace("client_secret", "client_secrte"),
    )
    .expect("a template");
    let ended = as_worker(&service, &conf);
    assert_eq!(ended.code, 1);
    assert!(
        ended.stderr.contains("app.conf.in line 2"),
        "{}",
        ended.stderr
    );
    assert!(
        ended.stderr.contains("no field client_secrte"),
        "{}",
        ended.stderr
    );
    assert!(!ended.stderr.contains(SECRET));
    assert_eq!(read(&home.join("app.conf")), expected);
    let after = fs::metadata(path("app.conf"))
        .expect("it")
        .modified()
        .expect("a time");
    assert_eq!(before, after);
}

fn releases(service: &Service) -> usize {
    Admin::of(service).audit("kind=release.intent").len()
}

fn nothing_is_released_when_nothing_changed(backend: Backend) {
    let service = Service::dev(&backend);
    let id = demonstration(&service);
    let into = service.home().join("credentials");
    let arguments = [
        "fetch",
        "--dir",
        into.to_str().expect("a path"),
        "--if-changed",
        "--exit-code-unchanged",
        "3",
    ];
    let start = releases(&service);
    assert_eq!(as_worker(&service, &arguments).code, 0);
    let ended = as_worker(&service, &arguments);
    assert_eq!((ended.code, ended.stderr.as_str()), (3, "unchanged\n"));
    assert_eq!(releases(&service), start + 1, "the second released nothing");
    // Something new, and something that is gone.
    let admin = Admin::of(&service);
    let fields = json!({"tenant_id": "11111111-2222-4333-8444-555555555555",
                        "client_id": "66666666-7777-4888-9999-aaaaaaaaaaaa",
                        "client_secret": "another~secret"});
    let body = json!({"fields": fields, "expires_at": "2031-01-01",
                      "activate": {"reason": "suite"}});
    admin.create(&format!("/credentials/{id}/versions"), &body);
    assert_eq!(as_worker(&service, &arguments).code, 0);
    let file = into.join(format!("example-realty.{id}.json"));
    let written: Value = serde_json::from_str(&read(&file)).expect("JSON");
    assert_eq!(written["fields"]["client_secret"], "another~secret");
    assert_eq!(as_worker(&service, &arguments).code, 3);
    fs::remove_file(&file).expect("it");
    assert_eq!(as_worker(&service, &arguments).code, 0);
    assert!(file.exists());
}

/// The flags of a cache beside a service.
fn cache_flags(service: &Service, query: &[&str], limits: &[&str]) -> Vec<String> {
    let path = |name: &str| {
        service
            .home()
            .join(name)
            .to_str()
            .expect("a path")
            .to_owned()
    };
    let mut flags = vec![
        "--cache".to_owned(),
        path("copy.age"),
        "--cache-identity".to_owned(),
        path("copy.key"),
    ];
    flags.extend(query.iter().chain(limits).map(|&flag| flag.to_owned()));
    flags
}

fn with(first: &[&str], flags: &[String], last: &[&str]) -> Vec<String> {
    let owned = |words: &[&str]| {
        words
            .iter()
            .map(|&word| word.to_owned())
            .collect::<Vec<_>>()
    };
    [owned(first), flags.to_vec(), owned(last)].concat()
}

fn go(service: &Service, arguments: &[String]) -> Ended {
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    as_worker(service, &arguments)
}

fn a_deploy_succeeds_while_the_service_is_down(backend: Backend) {
    let mut service = Service::dev(&backend);
    let id = demonstration(&service);
    let (url, address) = (service.url(), service.address());
    let env = ["--env", &format!("APP_SECRET={id}.client_secret")].map(str::to_owned);
    let print = ["--", "sh", "-c", "printf %s \"$APP_SECRET\""];
    let exec = |service: &Service, limits: &[&str]| {
        let flags = cache_flags(service, &[], limits);
        go(
            service,
            &with(&["exec"], &[&env[..], &flags].concat(), &print),
        )
    };
    let ask = ["--cache-ask-after", "0s"];
    assert_eq!(exec(&service, &[]).ok().stdout, SECRET);
    let copy = service.home().join("copy.age");
    let sealed = fs::read(&copy).expect("a copy");
    assert!(
        !sealed
            .windows(SECRET.len())
            .any(|at| at == SECRET.as_bytes())
    );

    // While it is young nobody asks.
    let before = releases(&service);
    let ended = exec(&service, &[]).ok();
    assert_eq!(ended.stdout, SECRET);
    assert!(ended.stderr.contains("without asking"), "{}", ended.stderr);
    assert_eq!(releases(&service), before);

    // The service is down: what is there is used, and that is said.
    service.stop();
    let down = |service: &Service, limits: &[&str]| {
        let flags = cache_flags(service, &[], limits);
        let mut command = worker(service);
        command.env("STRONGROOM_URL", &url);
        command.args(with(&["exec"], &[&env[..], &flags].concat(), &print));
        run(command, b"")
    };
    let ended = down(&service, &ask).ok();
    assert_eq!(ended.stdout, SECRET);
    assert!(
        ended
            .stderr
            .contains("service not reachable: using what was fetched at"),
        "{}",
        ended.stderr
    );
    assert!(ended.stderr.contains("never after"), "{}", ended.stderr);
    let ended = down(&service, &["--cache-ask-after", "0s", "--output", "json"]).ok();
    let line: Value =
        serde_json::from_str(ended.stderr.lines().next().expect("a line")).expect("JSON");
    assert_eq!(line["source"], "cache");
    assert!(line["never_after"].is_string() && line["outage"].is_string());

    // Never after its limit, never for something else, never when it was changed.
    let refused = |ended: Ended, what: &str| {
        assert_eq!(ended.code, 1, "{}", ended.stderr);
        assert_eq!(ended.stdout, "");
        assert!(ended.stderr.contains(what), "{}", ended.stderr);
    };
    let over = ["--cache-ask-after", "0s", "--cache-never-after", "0s"];
    refused(down(&service, &over), "not used any more");
    refused(
        down(
            &service,
            &["--kind", "microsoft365", "--cache-ask-after", "0s"],
        ),
        "of another request",
    );
    let other = [
        ("STRONGROOM_CERT", service.file("other.pem")),
        ("STRONGROOM_KEY", service.file("other.key")),
    ];
    let mut command = worker(&service);
    command.env("STRONGROOM_URL", &url).envs(other);
    let flags = cache_flags(&service, &[], &ask);
    command.args(with(&["exec"], &[&env[..], &flags].concat(), &print));
    refused(run(command, b""), "of another caller");
    let mut changed = sealed.clone();
    *changed.last_mut().expect("a byte") ^= 1;
    fs::write(&copy, changed).expect("a file");
    refused(down(&service, &ask), "was changed or cut");
    fs::write(&copy, &sealed).expect("a file");

    // Somebody else answers in its place: that is no outage.
    let listener = TcpListener::bind(address).expect("the service's port");
    let stranger = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().expect("a caller");
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}");
        let _ = std::io::Read::read(&mut stream, &mut [0; 16]);
    });
    let ended = down(&service, &ask);
    stranger.join().expect("the stranger");
    assert_eq!(ended.code, 1, "{}", ended.stderr);
    assert!(
        !ended.stderr.contains("using what was fetched"),
        "{}",
        ended.stderr
    );
    assert_eq!(
        down(&service, &ask).ok().stdout,
        SECRET,
        "the copy is still there"
    );
}

fn a_copy_goes_when_the_worker_may_not_have_it_any_more(backend: Backend) {
    let service = Service::dev(&backend);
    let admin = Admin::of(&service);
    let id = demonstration(&service);
    let ask = ["--cache-ask-after", "0s"];
    let env = ["--env".to_owned(), format!("APP_SECRET={id}.client_secret")];
    let flags = cache_flags(&service, &[], &ask);
    let arguments = with(&["exec"], &[&env[..], &flags].concat(), &["--", "true"]);
    let copy = service.home().join("copy.age");
    go(&service, &arguments).ok();
    assert!(copy.exists());

    // A server under another authority is not the server.
    let mut foreign = worker(&service);
    let pair = crate::support::proof::Mesh::new("elsewhere.example");
    let ca = service.home().join("other-ca.pem");
    fs::write(&ca, pair.certificate()).expect("a file");
    foreign.env("STRONGROOM_CA", &ca).args(&arguments);
    let ended = run(foreign, b"");
    assert_eq!(ended.code, 1, "{}", ended.stderr);
    assert!(
        !ended.stderr.contains("using what was fetched"),
        "{}",
        ended.stderr
    );
    assert!(copy.exists());

    // Not there any more: 404.
    let resource = format!("/credentials/{id}");
    let change = |method: &str, role: &str| {
        let role = format!("{resource}/roles/{role}");
        let answer = admin.change(method, &resource, &role, &json!({}));
        assert!((200..300).contains(&answer.status), "{}", answer.text());
    };
    change("PUT", "google-sync");
    change("DELETE", "m365-sync");
    let ended = go(&service, &arguments);
    assert_eq!(ended.code, 2, "{}", ended.stderr);
    assert!(ended.stderr.contains("was deleted"), "{}", ended.stderr);
    assert!(!copy.exists());

    // Nobody any more: 401.
    change("PUT", "m365-sync");
    go(&service, &arguments).ok();
    assert!(copy.exists());
    let whoami = service
        .client("worker")
        .get("/api/v1/whoami")
        .expect(200)
        .json();
    let workload = format!("/workloads/{}", text(&whoami, "/id"));
    let disable = admin.change(
        "POST",
        &workload,
        &format!("{workload}/disable"),
        &json!({}),
    );
    disable.expect(200);
    let ended = go(&service, &arguments);
    assert_eq!(ended.code, 2, "{}", ended.stderr);
    assert!(!copy.exists());
}
