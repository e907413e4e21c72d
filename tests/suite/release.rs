//! The main path: a credential goes in over the admin API or the command line, and comes out only
//! to a workload of its role and environment.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;

use serde_json::{Value, json};

use crate::support::api::value_of;
use crate::support::cli::{cli, cli_json, cli_with_input};
use crate::support::proof::request;
use crate::support::{Admin, Backend, Client, Request, Service, id_of, items, on_both, text};

on_both!(
    store_and_release_every_kind,
    versions_live_and_end,
    bundles_filters_and_etags,
    promise_2_only_own_roles_and_environment,
    holds_receipts_and_in_use,
    promise_11_the_command_line_does_the_same,
);

fn one(client: &Client, id: &str) -> Value {
    let path = format!("/api/v1/release/{id}");
    client.get(&path).expect(200).json()
}

fn bundle(client: &Client, query: &str) -> Value {
    let path = format!("/api/v1/release{query}");
    client.get(&path).expect(200).json()
}

fn ids_of(bundle: &Value) -> BTreeSet<String> {
    assert_eq!(bundle["failed"], json!([]));
    let entries = bundle["credentials"].as_array().expect("credentials");
    let ids: BTreeSet<String> = entries.iter().map(id_of).collect();
    assert_eq!(ids.len(), entries.len(), "one entry for each credential");
    ids
}

fn keys(value: &Value) -> BTreeSet<&str> {
    value
        .as_object()
        .expect("an object")
        .keys()
        .map(String::as_str)
        .collect()
}

fn store_and_release_every_kind(backend: Backend) {
    let service = Service::dev(&backend);
    let admin = Admin::of(&service);
    let client = admin.client("acme");
    admin.create(
        &format!("/clients/{client}/contacts"),
        &json!({"name": "Bo Example", "email": "bo@acme.example", "role": "technical"}),
    );
    let google_key = json!({
        "type": "service_account", "project_id": "acme", "private_key_id": "0123456789abcdef",
        "private_key": request().0, "client_email": "sync@acme.iam.gserviceaccount.com",
        "client_id": "123456789012345678901",
        "token_uri": "https://oauth2.googleapis.com/token",
    });
    let microsoft = json!({
        "tenant_id": "01234567-89ab-4cde-8f01-23456789abcd",
        "client_id": "11234567-89ab-4cde-8f01-23456789abcd",
        "client_secret": "abc~Q8_something.that-looks-real-enough",
        "test_mailbox": "sync@acme.example",
    });
    let google = json!({
        "service_account_key": google_key.to_string(),
        "delegated_user": "sync@acme.example",
    });
    let generic = json!({"user": "ümlaut \"quoted\" \\ \u{1f511}", "token": "t\n2"});
    for (kind, fields) in [
        ("microsoft365", microsoft),
        ("google-workspace", google),
        ("generic", generic),
    ] {
        let created = admin.create(
            "/credentials",
            &json!({"client": "acme", "label": format!("{kind} sync"), "kind": kind,
                    "environment": "production", "roles": ["m365-sync"]}),
        );
        assert!(
            created["flags"]
                .as_array()
                .expect("flags")
                .contains(&json!("no-active-version"))
        );
        let id = id_of(&created);
        let versions = format!("/credentials/{id}/versions");
        let version = admin.create(
            &versions,
            &json!({"fields": fields, "expires_at": "2031-11-20"}),
        );
        assert_eq!(version["state"], "pending");
        assert_eq!(version["expires_precision"], "day");
        assert_eq!(version["expires_source"], "declared");
        assert!(version.get("fields").is_none(), "{version}");
        let worker = service.client("worker");
        let path = format!("/api/v1/release/{id}");
        worker.get(&path).expect(404);
        let shown = admin
            .act(&id, 1, "activate", &json!({"reason": "seen to work"}))
            .expect(200)
            .json();
        assert_eq!(shown["versions"][0]["state"], "active");
        assert_eq!(shown["versions"][0]["verification"], "operator");

        let answer = worker.get(&path).expect(200);
        assert_eq!(answer.header("cache-control"), Some("no-store"));
        assert_eq!(answer.header("vary"), Some("Accept"));
        assert!(answer.header("etag").expect("an ETag").starts_with("W/\""));
        assert!(answer.header("strongroom-checkpoint").is_some());
        let entry = answer.json();
        let expected = [
            "id",
            "client",
            "label",
            "kind",
            "environment",
            "role",
            "version",
            "state",
            "expires_at",
            "fields",
        ];
        assert_eq!(keys(&entry), expected.into_iter().collect());
        assert_eq!(entry["id"], id);
        assert_eq!(
            entry["client"],
            json!({"id": client, "name": "Client acme", "slug": "acme"})
        );
        assert_eq!(entry["kind"], kind);
        assert_eq!(entry["environment"], "production");
        assert_eq!(entry["role"], "m365-sync");
        assert_eq!(entry["version"], 1);
        assert_eq!(entry["state"], "active");
        assert_eq!(entry["expires_at"], "2031-11-20T00:00:00Z");
        assert_eq!(entry["fields"], fields);
        // The same entry in the bundle.
        let all = bundle(&worker, &format!("?credential={id}"));
        assert_eq!(all, json!({"credentials": [entry], "failed": []}));
    }
    let listed = admin.list("/credentials?client=acme");
    assert_eq!(listed.len(), 3);
    let listed = Value::from(listed).to_string();
    for secret in ["looks-real-enough", "PRIVATE KEY", "t\\n2"] {
        assert!(!listed.contains(secret), "the admin API shows no value");
    }
}

fn versions_live_and_end(backend: Backend) {
    let service = Service::dev(&backend);
    let admin = Admin::of(&service);
    admin.client("acme");
    let worker = service.client("worker");
    let id = admin.credential("acme", "production", &["m365-sync"], "first");
    assert_eq!(value_of(&one(&worker, &id)), "first");
    admin.version(&id, "second");
    let entry = one(&worker, &id);
    assert_eq!((value_of(&entry), &entry["version"]), ("second", &json!(2)));
    let previous = one(&worker, &format!("{id}?version=1"));
    assert_eq!(value_of(&previous), "first");
    assert_eq!(previous["state"], "previous");
    worker
        .get(&format!("/api/v1/release/{id}?version=3"))
        .expect(404);

    // Back to the first, which is possible as long as it is not at its end.
    let back = json!({"reason": "the second does not work"});
    admin.act(&id, 1, "activate", &back).expect(200);
    assert_eq!(value_of(&one(&worker, &id)), "first");
    admin.act(&id, 2, "activate", &back).expect(200);

    // A pending one can be rejected, and only a pending one.
    let fields = json!({"fields": {"value": "third"}});
    let third = admin.create(&format!("/credentials/{id}/versions"), &fields);
    assert_eq!(third["number"], 3);
    worker
        .get(&format!("/api/v1/release/{id}?version=3"))
        .expect(404);
    let no = json!({"reason": "a wrong one"});
    assert_eq!(admin.act(&id, 2, "reject", &no).problem(409), "conflict");
    admin.act(&id, 3, "reject", &no).expect(200);
    assert_eq!(admin.act(&id, 3, "activate", &no).problem(409), "conflict");

    // The worker was given both and said nothing, so it holds both: nothing is taken from under it.
    assert_eq!(
        admin.act(&id, 1, "retire", &json!({})).problem(409),
        "conflict"
    );
    let say = Request::post(
        &format!("/api/v1/release/{id}/in-use"),
        &json!({"version": 2}),
    );
    worker.send(&say).expect(204);
    let shown = admin.act(&id, 1, "retire", &json!({})).expect(200).json();
    let state_of = |number: i64| {
        let versions = shown["versions"].as_array().expect("versions");
        let mut found = versions
            .iter()
            .filter(|version| version["number"] == number);
        found.next().map(|version| version["state"].clone())
    };
    assert_eq!(state_of(1), Some(json!("retired")));
    assert_eq!(state_of(2), Some(json!("active")));
    worker
        .get(&format!("/api/v1/release/{id}?version=1"))
        .expect(404);
    assert_eq!(admin.act(&id, 1, "activate", &no).problem(409), "conflict");
    // By an operator's override, with a reason and not without.
    let silent = json!({"override_holds": true});
    assert_eq!(admin.act(&id, 2, "retire", &silent).problem(422), "invalid");
    let loud = json!({"override_holds": true, "reason": "leaked"});
    admin.act(&id, 2, "retire", &loud).expect(200);
    worker.get(&format!("/api/v1/release/{id}")).expect(404);
    assert!(!ids_of(&bundle(&worker, "")).contains(&id));
}

fn bundles_filters_and_etags(backend: Backend) {
    let service = Service::dev(&backend);
    let admin = Admin::of(&service);
    for role in ["alpha", "beta", "gamma"] {
        admin.role(role);
    }
    admin.environment("staging");
    let (acme, globex) = (admin.client("acme"), admin.client("globex"));
    let both = admin.credential("acme", "production", &["beta", "alpha"], "both");
    let beta = admin.credential("globex", "production", &["beta"], "beta");
    let gamma = admin.credential("acme", "production", &["gamma"], "gamma");
    let staging = admin.credential("acme", "staging", &["alpha"], "staging");
    let fetcher = admin.workload("ab", "production", &["beta", "alpha"]);
    let client = fetcher.client(&service);

    let all = bundle(&client, "");
    let set = |ids: &[&String]| ids.iter().map(|id| (*id).clone()).collect::<BTreeSet<_>>();
    assert_eq!(ids_of(&all), set(&[&both, &beta]));
    let role_of = |id: &str| {
        let entries = all["credentials"].as_array().expect("credentials");
        let entry = entries.iter().find(|entry| entry["id"] == id);
        entry.map(|entry| entry["role"].clone())
    };
    assert_eq!(role_of(&both), Some(json!("alpha")), "the first by name");
    assert_eq!(role_of(&beta), Some(json!("beta")));
    assert_eq!(
        ids_of(&bundle(&client, &format!("?client={globex}"))),
        set(&[&beta])
    );
    assert_eq!(
        ids_of(&bundle(&client, &format!("?client={acme}"))),
        set(&[&both])
    );
    assert_eq!(ids_of(&bundle(&client, "?kind=microsoft365")), set(&[]));
    assert_eq!(
        ids_of(&bundle(&client, "?kind=generic")),
        set(&[&both, &beta])
    );
    assert_eq!(
        ids_of(&bundle(&client, &format!("?credential={gamma}"))),
        set(&[])
    );
    assert_eq!(
        ids_of(&bundle(&client, &format!("?credential={staging}"))),
        set(&[])
    );
    client.get("/api/v1/release?role=gamma").expect(400);

    // ETags: what has not changed is not sent again, and a 304 releases nothing.
    for path in [
        "/api/v1/release".to_owned(),
        format!("/api/v1/release/{beta}"),
    ] {
        let first = client.get(&path).expect(200);
        let etag = first.header("etag").expect("an ETag").to_owned();
        let again = Request::get(&path).header("if-none-match", &etag);
        let unchanged = client.send(&again).expect(304);
        assert_eq!(unchanged.header("etag"), Some(etag.as_str()));
        assert!(unchanged.body.is_empty());
        let other = format!("W/\"x\", {etag}");
        client
            .send(&Request::get(&path).header("if-none-match", &other))
            .expect(304);
        // Somebody else's ETag for the same things is another one.
        let twin = admin.workload(
            &format!("twin-{}", path.len()),
            "production",
            &["alpha", "beta"],
        );
        let twins = twin.client(&service).send(&again).expect(200);
        assert_ne!(twins.header("etag"), Some(etag.as_str()));
        admin.version(&beta, "newer");
        let newer = client.send(&again).expect(200);
        assert_ne!(newer.header("etag"), Some(etag.as_str()));
    }
    // A role is given, and taken away.
    let path = format!("/credentials/{gamma}/roles/alpha");
    admin.send("PUT", &path, &json!({})).expect(200);
    let now = one(&client, &gamma);
    assert_eq!((value_of(&now), &now["role"]), ("gamma", &json!("alpha")));
    admin.send("DELETE", &path, &json!({})).expect(200);
    client.get(&format!("/api/v1/release/{gamma}")).expect(404);
    let last = format!("/credentials/{gamma}/roles/gamma");
    assert_eq!(
        admin.send("DELETE", &last, &json!({})).problem(409),
        "conflict"
    );
    // The workload's own roles change what it gets at once.
    let path = format!("/workloads/{}", fetcher.id);
    admin
        .change("PATCH", &path, &path, &json!({"roles": ["gamma"]}))
        .expect(200);
    assert_eq!(ids_of(&bundle(&client, "")), set(&[&gamma]));
}

/// "Not allowed" and "not there" are one answer.
fn promise_2_only_own_roles_and_environment(backend: Backend) {
    let service = Service::dev(&backend);
    let admin = Admin::of(&service);
    admin.environment("staging");
    admin.client("acme");
    let own = admin.credential("acme", "production", &["m365-sync"], "own");
    admin.version(&own, "own again");
    let other_role = admin.credential("acme", "production", &["google-sync"], "r");
    admin.version(&other_role, "r again");
    let other_environment = admin.credential("acme", "staging", &["m365-sync"], "e");
    let no_version = admin.empty_credential("acme", "production", &["m365-sync"]);
    let worker = service.client("worker");
    let unknown = format!("cred_{}", "0".repeat(26));

    let model = worker.get(&format!("/api/v1/release/{unknown}"));
    assert_eq!(model.problem(404), "not-found");
    let path = |rest: &str| format!("/api/v1/release/{rest}");
    let long = "x".repeat(300);
    for target in [
        path(&other_role),
        path(&format!("{other_role}?version=1")),
        path(&other_environment),
        path(&no_version),
        path(&format!("{own}?version=9")),
        path(&format!("{unknown}?version=1")),
        path("cred_short"),
        path("nonsense"),
        path(&long),
        path(&other_role.to_uppercase()),
        path(&own.replace("cred_", "clnt_")),
    ] {
        let answer = worker.get(&target);
        assert_eq!(answer.comparable(), model.comparable(), "{target}");
    }
    // The same of in-use: what was never received cannot be in use.
    let in_use = |id: &str, version: i64| {
        let path = format!("/api/v1/release/{id}/in-use");
        worker.send(&Request::post(&path, &json!({"version": version})))
    };
    let model = in_use(&unknown, 1);
    assert_eq!(model.problem(404), "not-found");
    for (id, version) in [
        (other_role.as_str(), 1),
        (&other_role, 2),
        (&other_environment, 1),
        (&no_version, 1),
        (&own, 1),
        (&own, 7),
        ("nonsense", 1),
    ] {
        assert_eq!(in_use(id, version).comparable(), model.comparable(), "{id}");
    }
    // Values go to workloads only, and the admin API to operators only.
    let operator = service.client("operator");
    operator.get(&path(&own)).expect(404);
    for path in ["/api/v1/credentials", "/api/v1/audit", "/api/v1/nowhere"] {
        assert_eq!(worker.get(path).problem(404), "not-found", "{path}");
    }
    // Each of them is in the audit log, with its reason.
    let denied = admin.audit("kind=release.denied");
    let reasons: BTreeSet<&str> = denied.iter().map(|it| text(it, "/detail/reason")).collect();
    for reason in [
        "no-role",
        "other-environment",
        "not-there",
        "not-a-workload",
    ] {
        assert!(reasons.contains(reason), "{reason} in {reasons:?}");
    }
    assert_eq!(
        admin
            .audit(&format!("kind=release.intent&subject={other_role}"))
            .len(),
        0
    );
}

fn holds_receipts_and_in_use(backend: Backend) {
    let service = Service::dev(&backend);
    let admin = Admin::of(&service);
    admin.client("acme");
    let id = admin.credential("acme", "production", &["m365-sync"], "one");
    let worker = service.client("worker");
    let me = worker.get("/api/v1/whoami").expect(200).json();
    assert_eq!(me["kind"], "workload");
    assert_eq!(me["roles"], json!(["m365-sync"]));
    assert_eq!(me["environment"], "production");
    let me = id_of(&me);
    one(&worker, &id);
    admin.version(&id, "two");
    one(&worker, &id);
    let holds = |path: &str| {
        let list = admin.get(path);
        let of_ours = items(&list).iter().filter(|hold| hold["credential"] == id);
        let versions: BTreeSet<(i64, bool)> = of_ours
            .map(|hold| {
                assert_eq!(hold["workload"]["id"], me);
                let version = hold["version"].as_i64().expect("a number");
                (version, hold["in_use"] == true)
            })
            .collect();
        versions
    };
    let by_credential = format!("/credentials/{id}/holds");
    let by_workload = format!("/workloads/{me}/holds");
    for path in [&by_credential, &by_workload] {
        assert_eq!(
            holds(path),
            BTreeSet::from([(1, false), (2, false)]),
            "{path}"
        );
    }
    let path = format!("/api/v1/release/{id}/in-use");
    worker
        .send(&Request::post(&path, &json!({"version": 2})))
        .expect(204);
    for path in [&by_credential, &by_workload] {
        assert_eq!(holds(path), BTreeSet::from([(2, true)]), "{path}");
    }
    let receipts = admin.list(&format!("/receipts?workload={me}&credential={id}"));
    assert_eq!(receipts.len(), 2);
    for receipt in &receipts {
        let second = receipt["version"] == 2;
        assert_eq!(receipt["in_use_at"].is_string(), second, "{receipt}");
        assert!(text(receipt, "/first_at") <= text(receipt, "/last_at"));
    }
    // A disabled workload does not count.
    let resource = format!("/workloads/{me}");
    admin
        .change(
            "POST",
            &resource,
            &format!("{resource}/disable"),
            &json!({}),
        )
        .expect(200);
    let live: Vec<Value> = items(&admin.get(&by_credential)).clone();
    assert!(live.iter().all(|hold| hold["live"] == false), "{live:?}");
    admin.act(&id, 2, "retire", &json!({})).expect(200);
}

/// The command line does what the API does, from an empty deployment to files of mode 0600.
fn promise_11_the_command_line_does_the_same(backend: Backend) {
    let service = Service::dev(&backend);
    let operator = |arguments: &[&str]| cli_json(&service, "operator", arguments);
    operator(&["role", "add", "reports"]);
    operator(&["environment", "add", "test"]);
    operator(&["client", "add", "--name", "Initech Öl", "--slug", "initech"]);
    operator(&[
        "contact",
        "add",
        "initech",
        "--name",
        "Cy Example",
        "--email",
        "cy@initech.example",
        "--role",
        "owner",
    ]);
    let credential = operator(&[
        "credential",
        "add",
        "--client",
        "initech",
        "--label",
        "reporting",
        "--kind",
        "generic",
        "--environment",
        "test",
        "--role",
        "reports",
    ]);
    let id = id_of(&credential);
    // The value goes in by standard input or a file, never by an argument.
    let add = [
        "credential",
        "version",
        "add",
        &id,
        "--fields",
        "-",
        "--expires-at",
        "2032-02-29",
        "--activate",
        "--reason",
        "tried by hand",
    ];
    cli_with_input(&service, "operator", &add, br#"{"password":"from stdin"}"#).ok();
    let argument = format!("credential version add {id} --field password=oops");
    let argument: Vec<&str> = argument.split(' ').collect();
    let refused = cli(&service, "operator", &argument);
    assert_eq!(refused.code, 1);
    assert!(!refused.stderr.contains("oops"), "{}", refused.stderr);

    let (key, csr) = request();
    fs::write(service.file("reporter.csr"), csr).expect("a CSR");
    fs::write(service.file("reporter.key"), key).expect("a key");
    let (csr, certificate) = (service.file("reporter.csr"), service.file("reporter.pem"));
    operator(&[
        "workload",
        "enrol",
        "--name",
        "reporter",
        "--environment",
        "test",
        "--role",
        "reports",
        "--csr",
        csr.to_str().expect("a path"),
        "--certificate-out",
        certificate.to_str().expect("a path"),
    ]);
    let whoami = cli_json(&service, "reporter", &["whoami"]);
    assert_eq!(whoami["name"], "reporter");

    let printed = cli(&service, "reporter", &["fetch"]).ok().json();
    assert_eq!(
        printed["credentials"][0]["fields"],
        json!({"password": "from stdin"})
    );
    let directory = service.home().join("fetched");
    let to = directory.to_str().expect("a path");
    cli(&service, "reporter", &["fetch", "--dir", to]).ok();
    let file = directory.join(format!("initech.{id}.json"));
    let mode = |path: &std::path::Path| fs::metadata(path).expect("it").permissions().mode();
    assert_eq!(mode(&file) & 0o777, 0o600);
    assert_eq!(mode(&directory) & 0o777, 0o700);
    let entry: Value = serde_json::from_slice(&fs::read(&file).expect("it")).expect("JSON");
    assert_eq!(entry, printed["credentials"][0]);
    let names = fs::read_dir(&directory).expect("it").count();
    assert_eq!(names, 2, "the credential and the checkpoint");
    cli(
        &service,
        "reporter",
        &["in-use", "--credential", &id, "--version", "1"],
    )
    .ok();
    let holds = operator(&["credential", "holds", &id]);
    assert_eq!(items(&holds)[0]["in_use"], true, "{holds}");

    // The server said no: 2, with nothing on standard output.
    let nothing = cli(&service, "other", &["fetch", "--credential", &id]);
    assert_eq!((nothing.code, nothing.stdout.as_str()), (2, ""));
    assert!(nothing.stderr.contains("404"), "{}", nothing.stderr);
    let forbidden = cli(&service, "reporter", &["client", "list"]);
    assert_eq!((forbidden.code, forbidden.stdout.as_str()), (2, ""));
    // Both tables and JSON know the same.
    let table = cli(
        &service,
        "operator",
        &["credential", "list", "--client", "initech"],
    )
    .ok();
    assert!(
        table.stdout.contains(&id) && table.stdout.contains("2032-02-29"),
        "{}",
        table.stdout
    );
    operator(&["workload", "disable", "reporter"]);
    assert_eq!(cli(&service, "reporter", &["fetch"]).code, 2);
}
