use std::os::unix::fs::PermissionsExt;

use super::*;

const DEPLOYMENT: &str = "prod-01kaqz3m8v7d6k2n4p9r5s1t0x";

fn variables(pairs: &[(&str, &str)]) -> Vec<(OsString, OsString)> {
    pairs
        .iter()
        .map(|(name, value)| (name.into(), value.into()))
        .collect()
}

fn load(toml: &str, pairs: &[(&str, &str)]) -> Result<Config, ConfigError> {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("strongroom.toml");
    std::fs::write(&file, toml).unwrap();
    Config::load(Some(&file), variables(pairs))
}

/// The error's text; panics on success ([`Config`] has no `Debug`).
fn error(result: Result<Config, ConfigError>) -> String {
    match result {
        Ok(_) => panic!("the settings were accepted"),
        Err(error) => error.to_string(),
    }
}

fn minimal() -> String {
    format!("deployment = \"{DEPLOYMENT}\"\ndata = \"data\"\n[root]\nidentity_file = \"/id\"\n")
}

#[test]
fn defaults_are_filled_in() {
    let config = load(&minimal(), &[]).ok().unwrap();
    assert_eq!(config.node.as_str(), "main");
    assert_eq!(config.api.listen.to_string(), "127.0.0.1:8200");
    assert_eq!(config.status.listen.to_string(), "127.0.0.1:8202");
    assert_eq!(config.limits.cache_mib, 32);
    assert!(
        config.data.is_absolute(),
        "relative paths begin at the file"
    );
    assert!(matches!(config.database, Database::Sqlite(path) if path.ends_with("strongroom.db")));
}

#[test]
fn an_unknown_key_is_an_error_with_its_line() {
    let text = error(load(
        &format!("{}[api]\nlisten_on = \"x\"\n", minimal()),
        &[],
    ));
    assert!(text.contains("line 6, api.listen_on"), "{text}");
    let text = error(load(&format!("nodes = \"x\"\n{}", minimal()), &[]));
    assert!(text.contains("line 1, nodes"), "{text}");
}

#[test]
fn a_wrong_value_is_never_repeated() {
    for toml in [
        "[database]\nurl = \"hunter2\"",
        "[limits]\ncache_mib = \"hunter2\"",
        "api = \"hunter2\"",
    ] {
        let whole = if toml.starts_with('[') {
            minimal() + toml
        } else {
            format!("{toml}\n{}", minimal())
        };
        let text = error(load(&whole, &[]));
        assert!(
            !text.contains("hunter2") && text.contains("line "),
            "{text}"
        );
    }
    let text = error(load("deployment = \"hunter2", &[]));
    assert!(
        !text.contains("hunter2") && text.contains("line 1"),
        "{text}"
    );
}

#[test]
fn an_unknown_variable_is_an_error() {
    let text = error(load(&minimal(), &[("STRONGROOM_API_LISTENER", "x")]));
    assert!(text.contains("STRONGROOM_API_LISTENER"), "{text}");
    let text = error(load(
        &minimal(),
        &[("STRONGROOM_ROOT_PASSPHRASE", "hunter2")],
    ));
    assert!(
        text.contains("terminal") && !text.contains("hunter2"),
        "{text}"
    );
}

#[test]
fn what_kubernetes_injects_is_no_error() {
    let injected = [
        ("STRONGROOM_SERVICE_HOST", "10.0.0.1"),
        ("STRONGROOM_SERVICE_PORT_API", "8200"),
        ("STRONGROOM_PORT", "tcp://10.0.0.1:8200"),
        ("STRONGROOM_PORT_8200_TCP_ADDR", "10.0.0.1"),
        ("STRONGROOM_URL", "https://for-clients"),
        ("PATH", "/bin"),
    ];
    assert!(load(&minimal(), &injected).is_ok());
}

#[test]
fn a_variable_wins_over_the_file() {
    let config = load(
        &minimal(),
        &[
            ("STRONGROOM_NODE", "second"),
            ("STRONGROOM_LIMITS_CACHE_MIB", "64"),
        ],
    );
    let config = config.ok().unwrap();
    assert_eq!(
        (config.node.as_str(), config.limits.cache_mib),
        ("second", 64)
    );
}

#[test]
fn a_secret_as_value_and_as_file_is_an_error() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("url");
    std::fs::write(&file, "postgres://a:hunter2@db/strongroom\n").unwrap();
    let file = file.to_str().unwrap();
    let config = load(&minimal(), &[("STRONGROOM_DATABASE_URL_FILE", file)])
        .ok()
        .unwrap();
    let Database::Postgres(url) = config.database else {
        panic!("not PostgreSQL")
    };
    assert_eq!(url.expose_secret(), b"postgres://a:hunter2@db/strongroom");

    let both = [
        ("STRONGROOM_DATABASE_URL_FILE", file),
        ("STRONGROOM_DATABASE_URL", "sqlite"),
    ];
    assert!(error(load(&minimal(), &both)).contains("already given"));
    let toml = minimal() + "[database]\nurl = \"sqlite\"\n";
    assert!(
        error(load(&toml, &[("STRONGROOM_DATABASE_URL_FILE", file)])).contains("already given")
    );
}

#[test]
fn the_root_has_exactly_one_source() {
    let toml = minimal() + "passphrase = true\n";
    assert!(error(load(&toml, &[])).contains("already given"));
    let none = minimal().replace("identity_file = \"/id\"", "passphrase = false");
    assert!(error(load(&none, &[])).contains("root.identity_file"));
    let credential = minimal().replace("identity_file = \"/id\"", "credential = \"root\"");
    assert!(error(load(&credential, &[])).contains("CREDENTIALS_DIRECTORY"));
    let config = load(&credential, &[("CREDENTIALS_DIRECTORY", "/run/c")])
        .ok()
        .unwrap();
    assert_eq!(config.root, RootSource::Credential("/run/c/root".into()));
    let outside = credential.replace("\"root\"", "\"../root\"");
    assert!(error(load(&outside, &[("CREDENTIALS_DIRECTORY", "/run/c")])).contains("plain name"));
}

#[test]
fn the_template_is_a_valid_file() {
    for root in [
        TemplateRoot::IdentityFile("/etc/id \"x\"".into()),
        TemplateRoot::Passphrase,
    ] {
        let text = write_commented_template(&TemplateValues {
            deployment: DEPLOYMENT.into(),
            data: "/var/lib/strongroom".into(),
            node: "main".into(),
            database_url_file: None,
            root,
            plugins: vec!["yubikey".into(), "tpm".into()],
            plugin_directory: None,
            certificate: Some(("api.pem".into(), "api.key".into())),
            listen: Some("0.0.0.0:8200".into()),
            url: Some("https://strongroom.example.com:8200".into()),
        });
        let config = load(&text, &[]).map_err(|error| format!("{error}\n{text}"));
        assert_eq!(config.ok().unwrap().api.listen.port(), 8200);
        // Every comment that looks like a setting must be one, or people would uncomment an error.
        for line in text.lines() {
            let setting = line.strip_prefix("# ").filter(|rest| {
                rest.split_once(" = ")
                    .is_some_and(|(key, _)| !key.contains(' '))
            });
            if let Some(setting) = setting
                && let Err(error) = load(&text.replace(line, setting), &[])
            {
                let error = error.to_string();
                // One that needs another says which.
                let excused = [
                    "already given",
                    "cannot read",
                    "CREDENTIALS",
                    "is missing",
                    "belong together",
                ];
                assert!(excused.iter().any(|part| error.contains(part)), "{error}");
            }
        }
    }
}

/// A production set-up that is in order, in a directory of its own.
fn production() -> (tempfile::TempDir, Config) {
    let directory = tempfile::tempdir().unwrap();
    let at = |name: &str| directory.path().join(name);
    let write = |name: &str, content: &str| {
        std::fs::write(at(name), content).unwrap();
        std::fs::set_permissions(at(name), std::fs::Permissions::from_mode(0o600)).unwrap();
    };
    std::fs::create_dir_all(at("data/keys")).unwrap();
    std::fs::set_permissions(at("data"), std::fs::Permissions::from_mode(0o700)).unwrap();
    write("identity", "AGE-SECRET-KEY-1...");
    write("data/keys/root.1.age", "age-encryption.org/v1\n");
    let key = rcgen::KeyPair::generate().unwrap();
    let certificate = rcgen::CertificateParams::new(vec!["localhost".into()]).unwrap();
    write("api.pem", &certificate.self_signed(&key).unwrap().pem());
    write("api.key", &key.serialize_pem());
    write(
        "strongroom.toml",
        &format!(
            "deployment = \"{DEPLOYMENT}\"\ndata = \"data\"\n[root]\nidentity_file = \"identity\"\n\
             [api]\ncertificate = \"api.pem\"\nkey = \"api.key\"\n"
        ),
    );
    let config = Config::load(Some(&at("strongroom.toml")), []).ok().unwrap();
    (directory, config)
}

fn refusals(config: &Config) -> Vec<Refusal> {
    config
        .check_production()
        .err()
        .map(|error| error.0)
        .unwrap_or_default()
}

#[test]
fn production_accepts_what_is_in_order() {
    let (_directory, config) = production();
    assert_eq!(refusals(&config), []);
}

#[test]
fn production_refuses_a_dev_deployment() {
    let (_directory, mut config) = production();
    config.deployment = DEPLOYMENT.replace("prod", "dev");
    assert_eq!(refusals(&config), [Refusal::DevelopmentDeployment]);
}

#[test]
fn production_refuses_an_identity_inside_the_data_directory() {
    let (directory, mut config) = production();
    let inside = directory.path().join("data/innocent");
    std::fs::rename(directory.path().join("identity"), &inside).unwrap();
    // By another name, too: a link from outside into the directory.
    let link = directory.path().join("link");
    std::os::unix::fs::symlink(&inside, &link).unwrap();
    config.root = RootSource::IdentityFile(link.clone());
    let found = refusals(&config);
    assert!(
        found.contains(&Refusal::IdentityInsideData(link)),
        "{found:?}"
    );
    assert!(found.contains(&Refusal::KeyFileInsideData(
        config.data.canonicalize().unwrap().join("innocent")
    )));
}

#[test]
fn production_refuses_key_files_in_the_data_directory_but_the_listeners_own() {
    let (directory, mut config) = production();
    let inside = directory.path().join("data/keys/ca.key");
    std::fs::copy(directory.path().join("api.key"), &inside).unwrap();
    assert_eq!(
        refusals(&config),
        [Refusal::KeyFileInsideData(inside.canonicalize().unwrap())]
    );
    config.api.certificate = Some((directory.path().join("api.pem"), inside));
    assert_eq!(refusals(&config), []);
}

#[test]
fn production_refuses_an_authority_as_server() {
    let (directory, config) = production();
    let key = rcgen::KeyPair::generate().unwrap();
    let mut params = rcgen::CertificateParams::new(vec!["localhost".into()]).unwrap();
    params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    let path = directory.path().join("api.pem");
    std::fs::write(&path, params.self_signed(&key).unwrap().pem()).unwrap();
    assert_eq!(refusals(&config), [Refusal::AuthorityAsServer(path)]);
}

#[test]
fn production_refuses_private_files_that_everybody_reads() {
    let (directory, config) = production();
    let open = |name: &str, mode| {
        let path = directory.path().join(name);
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
        path
    };
    let data = open("data", 0o755);
    let identity = open("identity", 0o644);
    assert_eq!(
        refusals(&config),
        [
            Refusal::DataOpenToOthers(data),
            Refusal::ReadableByOthers(identity)
        ]
    );
}

#[test]
fn only_a_bare_https_origin_is_a_url() {
    assert_eq!(
        https_origin("https://a.example:8200/").as_deref(),
        Some("https://a.example:8200")
    );
    for text in [
        "http://a",
        "https://u:p@a",
        "https://a/b",
        "https://a?b",
        "a:8200",
        "",
    ] {
        assert_eq!(https_origin(text), None, "{text}");
    }
}

#[test]
fn plugins_are_a_list_of_names_and_none_by_default() {
    assert!(load(&minimal(), &[]).ok().unwrap().plugins.names.is_empty());
    let list = |text: &str| load(&format!("{}plugins = {text}\n", minimal()), &[]);
    let names = |config: Result<Config, ConfigError>| config.ok().unwrap().plugins.names;
    assert_eq!(names(list("[\"yubikey\", \"tpm\"]")), ["yubikey", "tpm"]);
    let variable = [("STRONGROOM_ROOT_PLUGINS", "se,tpm")];
    assert_eq!(names(load(&minimal(), &variable)), ["se", "tpm"]);
    for wrong in [
        "\"yubikey\"",
        "[1]",
        "[\"a,b\"]",
        "[\"../x\"]",
        "[\"A\"]",
        "[[\"a\"]]",
    ] {
        let text = error(list(wrong));
        assert!(text.contains("root.plugins"), "{wrong}: {text}");
    }
    let relative = format!("{}plugin_directory = \"bin\"\n", minimal());
    assert!(error(load(&relative, &[])).contains("absolute"));
}

#[test]
fn providers_are_the_real_ones_or_a_stand_in_on_this_machine() {
    let loaded = |providers: &str| {
        let text = format!(
            "deployment = \"{DEPLOYMENT}\"\ndata = \"data\"\n[root]\npassphrase = true\n\
             [providers]\n{providers}"
        );
        load(&text, &[])
    };
    let config = loaded("cloud = \"us-government\"").ok().unwrap();
    assert!(!config.providers.hosts.is_stand_in());
    assert!(config.providers.outbound().is_ok());
    let config = loaded("stand_in = \"https://127.0.0.1:8203\"")
        .ok()
        .unwrap();
    assert!(config.providers.hosts.is_stand_in());
    let config = loaded("ca_file = \"there is none\"").ok().unwrap();
    assert!(config.providers.outbound().is_err());
    for wrong in [
        "cloud = \"mars\"",
        "stand_in = \"https://stand-in.example\"",
        "stand_in = \"http://127.0.0.1:8203\"",
    ] {
        assert!(loaded(wrong).is_err(), "{wrong}");
    }
}
