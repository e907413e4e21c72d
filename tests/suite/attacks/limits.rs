//! Limits, answers that say too much, and what callers may not choose: rows 34 to 36, 39, 43, 45 and
//! 46.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;

use serde_json::json;

use super::{Stranger, fresh_address, refused};
use crate::support::http::{Connection, Tls};
use crate::support::proof::{Signer, now, request, self_signed};
use crate::support::service::program;
use crate::support::sources;
use crate::support::{Admin, Backend, Deployment, Request, Service, id_of, text};

#[test]
fn row_34_cve_2025_6004_failures_under_many_names_are_one_count() {
    let service = Service::dev(&Backend::Sqlite);
    let signer = Signer::worker(&service);
    let tls = Tls::anonymous(&service.ca());
    let source = fresh_address();
    let open = || Connection::open_from(source, service.address(), &tls).expect("a connection");
    let mut statuses = Vec::new();
    for round in 0..20 {
        // A new connection now and then, another name each time.
        let mut connection = open();
        for spelled in [
            signer.kid.clone(),
            signer.kid.to_uppercase(),
            format!("{} ", signer.kid),
            format!("pkey_{round:026}"),
            format!("{}\u{200b}", signer.kid),
        ] {
            let forger = signer.forger();
            let token = forger.with_header(|it| it["kid"] = spelled.as_str().into());
            let request = Request::get("/api/v1/whoami").bearer(&token);
            statuses.push(connection.send(&request).expect("an answer").status);
        }
    }
    assert!(statuses[..40].iter().all(|it| *it == 401), "{statuses:?}");
    assert!(statuses[90..].iter().all(|it| *it == 429), "{statuses:?}");
    // Nobody locks out the one whose name was used: neither there nor elsewhere.
    let good = || Request::get("/api/v1/whoami").bearer(&signer.assertion());
    open().send(&good()).expect("an answer").expect(200);
    Stranger::new(&service).send(&good()).expect(200);
    service.client("worker").get("/api/v1/whoami").expect(200);
    refused(statuses.len());
}

#[test]
fn row_35_cve_2025_6011_known_and_unknown_callers_look_alike() {
    let service = Service::dev(&Backend::Sqlite);
    let admin = Admin::of(&service);
    let signer = Signer::worker(&service);
    let random = strongroom::random::SystemRandom::new();
    let registered = |revoke: &str| {
        let worker = admin.workload(&format!("w-{revoke}"), "production", &["m365-sync"]);
        let key = strongroom::pki::Ed25519Key::generate(&random).expect("a key");
        let public = json!({"public_key": key.public_key().to_pem()});
        let path = format!("/workloads/{}", worker.id);
        let kid = id_of(&admin.create(&format!("{path}/keys"), &public));
        match revoke {
            "key" => {
                let key = format!("{path}/keys/{kid}");
                admin.send("DELETE", &key, &json!({})).expect(200);
            }
            _ => {
                let disable = format!("{path}/disable");
                admin
                    .change("POST", &path, &disable, &json!({}))
                    .expect(200);
            }
        }
        Signer::with_key(&key.to_pem(), &worker.id, &kid, &signer.audience)
    };
    let (revoked, disabled) = (registered("key"), registered("owner"));
    let mut stranger = Stranger::new(&service);
    let target = "/api/v1/release";
    let model = stranger.send(&Request::get(target));
    let unknown = signer.with_header(|it| it["kid"] = format!("pkey_{}", "0".repeat(26)).into());
    for (what, token) in [
        ("an unknown key", unknown),
        ("a wrong signature", signer.forger().assertion()),
        ("a revoked key", revoked.assertion()),
        ("a revoked key, forged", revoked.forger().assertion()),
        ("a disabled owner", disabled.assertion()),
        ("a disabled owner, forged", disabled.forger().assertion()),
    ] {
        let answer = stranger.present(&token, target);
        assert_eq!(answer.comparable(), model.comparable(), "{what}");
    }
    let pair = self_signed();
    let client = service.client_with(&pair.certificate, &pair.key);
    let answer = Stranger::with(&service, client.tls).send(&Request::get(target));
    assert_eq!(answer.comparable(), model.comparable(), "a certificate");
    // The same for what is asked for: not there, or not theirs.
    admin.client("acme");
    let theirs = admin.credential("acme", "production", &["google-sync"], "lent");
    let worker = service.client("worker");
    let nowhere = worker.get(&format!("/api/v1/release/cred_{}", "0".repeat(26)));
    let not_theirs = worker.get(&format!("/api/v1/release/{theirs}"));
    assert_eq!(nowhere.comparable(), not_theirs.comparable());
    assert_eq!(nowhere.body.len(), not_theirs.body.len());
    refused(8);
}

/// Words that name secret material, or what is worked out from it.
const SECRET_WORDS: [&str; 14] = [
    "mac",
    "tag",
    "hmac",
    "commitment",
    "secret",
    "token",
    "signature",
    "etag",
    "fingerprint",
    "password",
    "passphrase",
    "check",
    "digest",
    "jti",
];

/// Comparisons with `==` that look like one of secrets and are none, with the reason.
const PUBLIC: &[(&str, &str, &str)] = &[
    (
        "vault/enrolment.rs",
        "token.principal_id != principal",
        "whose token it is; the token itself is looked up by its hash",
    ),
    (
        "cli/release.rs",
        "copy_tag.filter",
        "two entity tags that this worker holds itself",
    ),
    (
        "cli/restore.rs",
        "digest",
        "digests of the backup that is restored: whoever has it can compute them",
    ),
    (
        "vault/revoked_since.rs",
        "list.sha256()",
        "the content of a revocation list that its authority publishes",
    ),
    (
        "pki/authority.rs",
        "unused_bits",
        "the form of a signature that was received",
    ),
    (
        "providers/google_workspace.rs",
        "key.token_uri != TOKEN_URI",
        "an address that is printed in the provider's manual",
    ),
];

/// Lines that compare something secret with `==` or `!=`.
fn comparisons(text: &str) -> Vec<String> {
    let secret = |operand: &str| {
        let words = operand.split(|c: char| !c.is_ascii_alphanumeric());
        words
            .map(str::to_ascii_lowercase)
            .any(|word| SECRET_WORDS.contains(&word.as_str()))
    };
    // The last name before the sign, and the first behind it.
    let name = |c: char| c.is_ascii_alphanumeric() || "_.()[]&*:".contains(c);
    let mut lines: Vec<String> = Vec::new();
    for line in text.lines() {
        let start = line.trim_start();
        // The formatter may put the sign and what is behind it on a line of their own.
        match lines.last_mut() {
            Some(before) if start.starts_with("==") || start.starts_with("!=") => {
                before.push(' ');
                before.push_str(start);
            }
            _ if start.starts_with("//") => {}
            _ => lines.push(line.to_owned()),
        }
    }
    lines
        .into_iter()
        .filter(|line| {
            ["==", "!="].iter().any(|sign| {
                line.match_indices(sign).any(|(at, _)| {
                    let before = line[..at].trim_end();
                    let from = before.rfind(|c| !name(c)).map_or(0, |at| at + 1);
                    let behind = line[at + 2..].trim_start();
                    let to = behind.find(|c| !name(c)).unwrap_or(behind.len());
                    // What stands in the source as a text is no secret.
                    let literal = before.ends_with('"') || behind.starts_with('"');
                    !literal && (secret(&before[from..]) || secret(&behind[..to]))
                })
            })
        })
        .collect()
}

#[test]
fn row_36_ghsa_34fc_secrets_are_compared_in_constant_time() {
    // It can find what it looks for.
    for line in [
        "if mac == expected {",
        "    (found.tag != row.tag()).then(|| 1)",
        "token == self.secret",
        "assert(self.etag_mac == x)",
        "let same = row.tag()\n    == x;",
    ] {
        assert_eq!(comparisons(line).len(), 1, "{line}");
    }
    for line in [
        "if kind == other { tag(); }",
        "tag == \"word\"",
        "// mac == x",
    ] {
        assert!(comparisons(line).is_empty(), "{line}");
    }
    let mut found = Vec::new();
    let mut used = vec![false; PUBLIC.len()];
    for file in sources::files("src", "rs") {
        let name = file.display().to_string();
        if name.contains("/tests/") || name.ends_with("tests.rs") || name.ends_with("testing.rs") {
            continue;
        }
        let text = sources::text(&file);
        let mut text = text.split("#[cfg(test)]\nmod tests");
        for line in comparisons(text.next().unwrap_or_default()) {
            let mut public = false;
            for (n, (file, part, _)) in PUBLIC.iter().enumerate() {
                let here = name.ends_with(file) && line.contains(part);
                used[n] |= here;
                public |= here;
            }
            if !public {
                found.push(format!("{name}: {}", line.trim()));
            }
        }
    }
    for ((file, part, _), used) in PUBLIC.iter().zip(used) {
        if !used {
            found.push(format!("{file}: nothing needs the exemption of {part:?}"));
        }
    }
    let found = found.join("\n");
    assert!(
        found.is_empty(),
        "use subtle, or say why this is public:\n{found}"
    );
}

#[test]
fn row_39_cve_2025_6000_nobody_chooses_where_the_audit_log_goes() {
    let deployment = Deployment::new(&Backend::Sqlite, "main");
    let mark = deployment.home().join("mark");
    let path = mark.display().to_string();
    for variable in [
        "STRONGROOM_AUDIT_FILE",
        "STRONGROOM_AUDIT_PATH",
        "STRONGROOM_AUDIT_PREFIX",
    ] {
        let said = deployment.refusal(&deployment.config(), &[(variable, &path)]);
        assert!(said.contains("STRONGROOM_AUDIT"), "{said}");
    }
    let settings = deployment.settings();
    for section in ["[audit]\nfile", "[audit]\nprefix", "[audit]\nmode"] {
        let more = format!("{settings}\n{section} = \"{path}\"\n");
        fs::write(deployment.config(), more).expect("the settings");
        let said = deployment.refusal(&deployment.config(), &[]);
        assert!(said.contains("audit"), "{said}");
    }
    fs::write(deployment.config(), settings).expect("the settings");
    let service = Service::serve(&deployment.config());
    let admin = Admin::of(&service);
    for (method, route) in [
        ("POST", "/audit"),
        ("PUT", "/audit"),
        ("POST", "/audit/file"),
        ("PUT", "/sys/audit/x"),
    ] {
        let status = admin
            .send(method, route, &json!({"file_path": path, "prefix": "#!"}))
            .status;
        assert!(matches!(status, 404 | 405), "{route}: {status}");
    }
    assert!(!mark.exists());
    // What lies on the disk is its owner's alone, and nothing of it can be started.
    let mut count = 0;
    for entry in fs::read_dir(deployment.home().join("data")).expect("the data") {
        let mode = entry.expect("an entry").metadata().expect("its mode");
        let mode = mode.permissions().mode();
        assert_eq!(mode & 0o077, 0, "{mode:o}");
        count += 1;
    }
    assert!(count > 2);
    refused(10);
}

#[test]
fn row_43_cve_2023_4680_nobody_hands_in_a_nonce() {
    let service = Service::dev(&Backend::Sqlite);
    let admin = Admin::of(&service);
    admin.client("acme");
    let id = admin.empty_credential("acme", "production", &["m365-sync"]);
    let path = format!("/credentials/{id}/versions");
    let names = [
        "nonce",
        "iv",
        "salt",
        "key",
        "kek",
        "dek",
        "wrapped",
        "ciphertext",
        "payload",
        "key_version",
        "id",
        "number",
        "state",
        "mac",
        "convergent",
        "context",
    ];
    for name in names {
        let body = json!({"fields": {"value": "v"}, name: "AAAAAAAAAAAAAAAA"});
        assert_eq!(
            admin.send("POST", &path, &body).problem(422),
            "invalid",
            "{name}"
        );
    }
    assert!(admin.get(&format!("/credentials/{id}"))["active_version"].is_null());
    refused(names.len());
}

#[test]
fn row_45_rustsec_2024_0433_a_recipient_that_names_a_program() {
    let root = tempfile::tempdir().expect("a directory");
    let home = root.path();
    // A program of every name that could be looked for, which says that it was started.
    let mark = home.join("started");
    let bin = home.join("bin");
    fs::create_dir(&bin).expect("a directory");
    for name in [
        "age-plugin-x",
        "x",
        "age-plugin-",
        "age-plugin-..",
        "age-plugin-se",
    ] {
        let file = bin.join(name);
        let script = format!("#!/bin/sh\ntouch {}\n", mark.display());
        fs::write(&file, script).expect("a program");
        fs::set_permissions(&file, fs::Permissions::from_mode(0o755)).expect("a mode");
    }
    let recipients = [
        "age1../x1qqqqqqqq",
        "age1/bin/x1qqqq",
        "age1..1qqqq",
        "age1x/../x1qqqq",
        "AGE1X1QQQQ",
        "age1 x1qqqq",
        "age-plugin-x",
        "AGE-PLUGIN-../X-1QQQQ",
        "AGE-PLUGIN-X-1QQQQ",
        "ssh-rsa AAAAB3NzaC1yc2E",
        "age1",
        "",
        "-",
    ];
    let (_, csr) = request();
    let csr_file = home.join("operator.csr");
    fs::write(&csr_file, csr).expect("a CSR");
    let init = |n: usize, recipient: &str| {
        let data = home.join(format!("data-{n}"));
        let mut command = program();
        command
            .env("PATH", &bin)
            .arg("init")
            .arg("--config")
            .arg(home.join(format!("config-{n}.toml")))
            .arg("--data")
            .arg(&data)
            .arg("--identity-file")
            .arg(home.join(format!("identity-{n}")))
            .arg(format!("--recovery-recipient={recipient}"))
            .args(["--node", "main", "--operator", "Ada", "--operator-csr"])
            .arg(&csr_file);
        let output = command.output().expect("the program");
        (output.status.success(), data)
    };
    let (_, good) = strongroom::crypto::Identity::generate();
    let (done, data) = init(99, &good.to_text().expect("a recipient"));
    assert!(
        done && data.join("strongroom.db").exists(),
        "a good recipient"
    );
    for (n, recipient) in recipients.iter().enumerate() {
        let (done, data) = init(n, recipient);
        assert!(!done, "{recipient:?}");
        assert!(!mark.exists(), "{recipient:?} started a program");
        assert!(!data.join("strongroom.db").exists(), "{recipient:?}");
    }
    refused(recipients.len());
}

#[test]
fn row_46_cve_2021_32923_nothing_outlives_what_it_rests_on() {
    let service = Service::dev(&Backend::Sqlite);
    let admin = Admin::of(&service);
    let signer = Signer::worker(&service);
    let mut stranger = Stranger::new(&service);
    // An assertion of one second is one: past its end and the five seconds for clocks it is nothing.
    let short = |from: i64| {
        signer.with_claims(|it| {
            it["iat"] = (now() + from).into();
            it["nbf"] = it["iat"].clone();
            it["exp"] = (now() + from + 1).into();
        })
    };
    stranger.present(&short(0), "/api/v1/whoami").expect(200);
    stranger.present(&short(-8), "/api/v1/whoami").expect(401);
    stranger
        .present(&short(-3600), "/api/v1/whoami")
        .expect(401);
    // The lifetime of a certificate: nothing below a day or above the most, nothing that overflows.
    let worker = admin.workload("w", "production", &["m365-sync"]);
    let keys = format!("/workloads/{}/keys", worker.id);
    for days in [
        json!(0),
        json!(-1),
        json!(826),
        json!(i64::MAX),
        json!(i64::MIN),
        json!(1.5),
        json!("1"),
        json!(true),
        json!(1e30),
        json!(u64::MAX),
    ] {
        let (_, csr) = request();
        let answer = admin.send("POST", &keys, &json!({"csr": csr, "lifetime_days": days}));
        assert_eq!(answer.problem(422), "invalid", "{days}");
    }
    let own = admin.list("/authorities");
    let own = own
        .iter()
        .find(|it| it["own"] == true)
        .expect("the own authority");
    let end = text(own, "/not_after").to_owned();
    for days in [1, 825] {
        let (_, csr) = request();
        let key = admin.create(&keys, &json!({"csr": csr, "lifetime_days": days}));
        // Times of one form compare as texts.
        assert!(text(&key, "/expires_at") <= end.as_str(), "{days}: {key}");
    }
    refused(12);
}
