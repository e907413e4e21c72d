//! Names that must start nothing, and a plugin that works, or does not.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::sync::Mutex;

use super::*;
use crate::crypto::{Identity, IdentityError, Recipient, RecipientError, RootError, RootKey};
use crate::random::SystemRandom;

const TOY: &str = include_str!("../../../tests/python/age_plugin_toy.py");

/// A directory with the program `age-plugin-toy`, which says when it is started.
struct Toy {
    directory: tempfile::TempDir,
}

impl Toy {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let toy = Self { directory };
        toy.install("age-plugin-toy");
        fs::write(toy.path("TRACE"), "").unwrap();
        toy
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn install(&self, name: &str) {
        fs::write(self.path(name), TOY).unwrap();
        fs::set_permissions(self.path(name), fs::Permissions::from_mode(0o755)).unwrap();
    }

    fn mood(&self, mood: &str) {
        fs::write(self.path("mood"), mood).unwrap();
    }

    fn trace(&self) -> String {
        fs::read_to_string(self.path("TRACE")).unwrap()
    }

    fn plugins(&self) -> Plugins {
        let path = std::env::var_os("PATH");
        let allowed = ["toy".to_owned()];
        Plugins::new(allowed, Some(self.directory.path()), path.as_deref())
    }

    /// The text of an identity file, and the recipient.
    fn generate(&self, name: &str) -> (Secret, String) {
        let output = std::process::Command::new(self.path("age-plugin-toy"))
            .args(["--generate", name])
            .output()
            .unwrap();
        assert!(output.status.success(), "{output:?}");
        let text = String::from_utf8(output.stdout.clone()).unwrap();
        let recipient = text.lines().next().unwrap().rsplit(' ').next().unwrap();
        (Secret::new(output.stdout), recipient.to_owned())
    }
}

fn root() -> RootKey {
    RootKey::generate("prod-x", 1, &SystemRandom::new()).unwrap()
}

/// What opening `bytes` says; a root key has no `Debug`.
fn open(bytes: &[u8], identities: &[Identity]) -> Result<[u8; 16], RootError> {
    RootKey::decrypt(bytes, identities).map(|root| root.check_value())
}

#[test]
fn a_name_is_a_file_name_and_nothing_else() {
    for name in ["yubikey", "tpm", "se", "a.b-c+d_e", "0"] {
        assert!(is_plugin_name(name), "{name}");
    }
    let long = "x".repeat(65);
    for name in [
        "",
        ".",
        "..",
        "../x",
        "x/y",
        "/x",
        "x\\y",
        "X",
        "yubiKey",
        "x y",
        "x\0",
        "-x",
        ".x",
        "ü",
        "x\n",
        long.as_str(),
    ] {
        assert!(!is_plugin_name(name), "{name:?}");
    }
}

#[test]
fn vuln_rustsec_2024_0433_a_hostile_name_starts_nothing() {
    let toy = Toy::new();
    let (_, good) = toy.generate("toy");
    fs::write(toy.path("TRACE"), "").unwrap();
    // What a hostile name would reach.
    fs::create_dir(toy.path("age-plugin-..")).unwrap();
    fs::create_dir(toy.path("age-plugin-x")).unwrap();
    toy.install("x");
    toy.install("age-plugin-x/y");
    toy.install("age-plugin-TOY");
    toy.install("age-plugin-other");
    // Even if somebody allows them.
    let hostile = [
        "../x",
        "..",
        "x/y",
        "/x",
        "TOY",
        "Toy",
        "",
        "./toy",
        "toy/../toy",
    ];
    let mut names: Vec<String> = hostile.iter().map(|&name| name.to_owned()).collect();
    names.push("toy".to_owned());
    let path = std::env::var_os("PATH");
    let plugins = Plugins::new(names, Some(toy.directory.path()), path.as_deref());
    for name in hostile {
        for checksummed in [true, false] {
            let recipient = if checksummed {
                toy.generate(name).1
            } else {
                format!("age1{name}1qqqqqqqqqq")
            };
            let error = Recipient::parse_with(&recipient, &plugins).err();
            assert!(
                matches!(
                    error,
                    Some(RecipientError::Malformed { .. } | RecipientError::Plugin { .. })
                ),
                "{recipient}"
            );
            let line = if checksummed {
                toy.generate(name).0
            } else {
                Secret::new(format!("AGE-PLUGIN-{name}-1QQQQQQQQQQ").into_bytes())
            };
            let error = Identity::parse_list_with(&line, &plugins).err();
            let upper = name.chars().all(|c| c.is_ascii_uppercase()) && !name.is_empty();
            // `AGE-PLUGIN-TOY-1…` is how the toy's own identity is written.
            if !(upper && checksummed) {
                assert!(
                    matches!(
                        error,
                        Some(IdentityError::Malformed { .. } | IdentityError::Plugin { .. })
                    ),
                    "{name}"
                );
            }
        }
    }
    // Case: a recipient is written in lower case, an identity in upper case.
    assert!(Recipient::parse_with(&good, &plugins).is_ok());
    assert!(Recipient::parse_with(&good.to_uppercase(), &plugins).is_err());
    // A name that is well formed, has a program, and is not on the list.
    let (identity, recipient) = toy.generate("other");
    assert_eq!(
        Recipient::parse_with(&recipient, &plugins).err(),
        Some(RecipientError::Plugin {
            line: 1,
            reason: PluginError::NotAllowed("other".to_owned())
        })
    );
    assert!(matches!(
        Identity::parse_list_with(&identity, &plugins).err(),
        Some(IdentityError::Plugin {
            line: 2,
            reason: PluginError::NotAllowed(_)
        })
    ));
    // By default nothing is on the list.
    assert!(Recipient::parse(&good).is_err());
    // A changed character.
    let last = if good.ends_with('q') { "p" } else { "q" };
    let broken = format!("{}{last}", &good[..good.len() - 1]);
    assert!(Recipient::parse_with(&broken, &plugins).is_err());
    assert_eq!(toy.trace(), "", "something was started");
}

#[test]
fn only_absolute_directories_are_looked_into() {
    let toy = Toy::new();
    let (_, recipient) = toy.generate("toy");
    let allowed = || ["toy".to_owned()];
    let relative = std::ffi::OsStr::new("bin:.::../bin");
    assert!(
        Plugins::new(allowed(), None, Some(relative))
            .directories
            .is_empty()
    );
    let missing = Plugins::new(allowed(), Some(Path::new(".")), None);
    assert_eq!(
        Recipient::parse_with(&recipient, &missing).err(),
        Some(RecipientError::Plugin {
            line: 1,
            reason: PluginError::Missing("toy".to_owned())
        })
    );
    // One that others may exchange.
    fs::set_permissions(
        toy.path("age-plugin-toy"),
        fs::Permissions::from_mode(0o775),
    )
    .unwrap();
    assert_eq!(
        Recipient::parse_with(&recipient, &toy.plugins()).err(),
        Some(RecipientError::Plugin {
            line: 1,
            reason: PluginError::Writable("toy".to_owned())
        })
    );
}

struct Heard(Mutex<Vec<String>>);

impl Attendant for Heard {
    fn tell(&self, message: &str) {
        self.0.lock().unwrap().push(message.to_owned());
    }

    fn ask(&self, _: &str, _: bool) -> Option<Secret> {
        None
    }
}

#[test]
fn a_plugin_opens_the_root_key_and_is_given_nothing_else() {
    let toy = Toy::new();
    assert!(std::env::vars_os().any(|(name, _)| name.to_string_lossy().starts_with("CARGO")));
    let heard = Arc::new(Heard(Mutex::default()));
    let plugins = toy
        .plugins()
        .with_variable("HOME", "/nowhere".into())
        .with_attendant(Arc::clone(&heard) as Arc<dyn Attendant>);
    let (text, _) = toy.generate("toy");
    let identities = Identity::parse_list_with(&text, &plugins).unwrap();
    assert!(identities[0].is_plugin());
    let machine = identities[0].recipient().unwrap();
    let (other, recovery) = Identity::generate();
    let root = root();
    let bytes = root.encrypt_to(&[machine, recovery]).unwrap();
    // Either of the two opens it.
    assert_eq!(open(&bytes, &identities).unwrap(), root.check_value());
    let other = Identity::parse_list(&other).unwrap();
    assert_eq!(open(&bytes, &other).unwrap(), root.check_value());
    // An identity of the plugin that is not this one.
    let (another, _) = toy.generate("toy");
    let another = Identity::parse_list_with(&another, &plugins).unwrap();
    assert!(open(&bytes, &another).is_err());
    let trace = toy.trace();
    let starts: Vec<serde_json::Value> = trace
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert!(
        starts
            .iter()
            .any(|start| start["machine"] == "recipient-v1")
    );
    for start in &starts {
        // What the interpreter adds by itself does not matter; what this process has does.
        let given = start["environment"].as_object().unwrap();
        assert_eq!(given["HOME"], "/nowhere");
        assert!(given.keys().all(|name| !name.starts_with("CARGO")));
    }
    let heard = heard.0.lock().unwrap();
    assert_eq!(
        heard[0], "touch the toy [2J",
        "nothing that steers a terminal"
    );
}

#[test]
fn a_plugin_that_misbehaves_is_an_error_in_words() {
    let toy = Toy::new();
    let plugins = toy.plugins();
    let (text, _) = toy.generate("toy");
    let identities = Identity::parse_list_with(&text, &plugins).unwrap();
    let machine = || vec![identities[0].recipient().unwrap()];
    let bytes = root().encrypt_to(&machine()).unwrap();
    for mood in ["dies", "nonsense", "error", "endless"] {
        toy.mood(mood);
        let error = open(&bytes, &identities).unwrap_err();
        let said = error.to_string();
        assert!(matches!(error, RootError::Plugin(_)), "{mood}: {said}");
        assert!(said.contains("plugin toy"), "{mood}: {said}");
        assert!(!said.contains("drawer"), "{said}");
        assert!(matches!(
            root().encrypt_to(&machine()),
            Err(RootError::Plugin(_))
        ));
    }
    toy.mood("other");
    assert!(matches!(
        open(&bytes, &identities),
        Err(RootError::NotOpened)
    ));
    // One that never answers is ended.
    toy.mood("silent");
    let program = Program {
        name: "toy".to_owned(),
        path: toy.path("age-plugin-toy"),
        environment: plugins.environment.clone(),
        attendant: None,
    };
    let mut session = Session::start(
        &program.path,
        "identity-v1",
        &program.environment,
        Duration::from_millis(300),
    )
    .unwrap();
    session.send("done", &[], &[]).unwrap();
    assert!(session.receive().is_err());
}
