//! A deployment that `strongroom init` made, and what it takes to serve it.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;

use super::backend::Backend;
use super::service::program;

/// A deployment that `strongroom init` made, with its first operator's key.
pub struct Deployment {
    root: TempDir,
    /// What `init` printed.
    pub report: String,
}

impl Deployment {
    /// Makes one with an identity file, a recovery recipient and an operator by CSR.
    pub fn new(backend: &Backend, node: &str) -> Self {
        let root = tempfile::Builder::new()
            .prefix("strongroom-suite-")
            .tempdir();
        let root = root.expect("a directory");
        let home = root.path();
        let key = strongroom::pki::P256Key::generate().expect("a key");
        fs::write(home.join("operator.csr"), key.request_pem().expect("a CSR")).expect("a file");
        fs::write(home.join("operator.key"), key.to_pem().as_bytes()).expect("a file");
        let (text, recipient) = strongroom::crypto::Identity::generate();
        strongroom::crypto::Identity::write_file(&home.join("recovery"), &text).expect("a file");
        let recovery = recipient.to_text().expect("a recipient");
        fs::write(home.join("recovery.recipient"), &recovery).expect("a file");
        let mut command = program();
        command
            .arg("init")
            .arg("--config")
            .arg(home.join("strongroom.toml"))
            .arg("--data")
            .arg(home.join("data"))
            .arg("--node")
            .arg(node)
            .arg("--identity-file")
            .arg(home.join("identity"))
            .arg("--recovery-recipient")
            .arg(recovery)
            .arg("--operator")
            .arg("Ada Example")
            .arg("--operator-csr")
            .arg(home.join("operator.csr"));
        if let Some(file) = backend.url_file(home) {
            command.arg("--database-url-file").arg(file);
        }
        let output = command.output().expect("init");
        let complaint = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{complaint}");
        Self {
            report: String::from_utf8_lossy(&output.stdout).into_owned(),
            root,
        }
    }

    pub fn home(&self) -> &Path {
        self.root.path()
    }

    pub fn config(&self) -> PathBuf {
        self.home().join("strongroom.toml")
    }

    /// The recovery identity's file, and its recipient.
    pub fn recovery(&self) -> (PathBuf, String) {
        let recipient = fs::read_to_string(self.home().join("recovery.recipient"));
        (
            self.home().join("recovery"),
            recipient.expect("a recipient"),
        )
    }

    /// The configuration of the same deployment on another machine, which has an identity, a data
    /// directory and a database of its own: all that a restore begins with.
    pub fn new_machine(&self, backend: &Backend, name: &str) -> PathBuf {
        let home = self.home().join(name);
        fs::create_dir_all(&home).expect("a directory");
        for file in ["ca.pem", "operator.pem", "operator.key"] {
            fs::copy(self.home().join(file), home.join(file)).expect("a copy");
        }
        let (text, _) = strongroom::crypto::Identity::generate();
        strongroom::crypto::Identity::write_file(&home.join("identity"), &text).expect("a file");
        let deployment = self.settings();
        let deployment = deployment
            .lines()
            .find(|line| line.starts_with("deployment"));
        let database = match backend.url_file(&home) {
            Some(file) => format!("url_file = \"{}\"", file.display()),
            None => "url = \"sqlite\"".to_owned(),
        };
        let settings = format!(
            "{}\ndata = \"data\"\nnode = \"main\"\n[database]\n{database}\n[root]\n\
             identity_file = \"identity\"\n",
            deployment.expect("the deployment's id"),
        );
        let config = home.join("strongroom.toml");
        fs::write(&config, settings).expect("the settings");
        config
    }

    /// The configuration's text.
    pub fn settings(&self) -> String {
        fs::read_to_string(self.config()).expect("the settings")
    }

    /// The configuration of one more node of the same deployment, in a directory of its own.
    pub fn second_node(&self, node: &str) -> PathBuf {
        let home = self.home().join(node);
        let data = home.join("data");
        fs::create_dir_all(data.join("keys")).expect("a directory");
        for directory in [&data, &data.join("keys")] {
            let mode = std::os::unix::fs::PermissionsExt::from_mode(0o700);
            fs::set_permissions(directory, mode).expect("a mode");
        }
        for name in ["ca.pem", "operator.pem", "operator.key"] {
            fs::copy(self.home().join(name), home.join(name)).expect("a copy");
        }
        let mut settings = String::new();
        for line in self.settings().lines() {
            let line = match line.split_once(" = ").map(|(key, _)| key) {
                Some("node") => format!("node = \"{node}\""),
                Some("data") => format!("data = \"{}\"", data.display()),
                _ => line.to_owned(),
            };
            settings.push_str(&line);
            settings.push('\n');
        }
        let config = home.join("strongroom.toml");
        fs::write(&config, settings).expect("the settings");
        config
    }

    /// Tries to serve and gives what it said when it refused.
    #[track_caller]
    pub fn refusal(&self, config: &Path, variables: &[(&str, &str)]) -> String {
        let mut command = program();
        command
            .env("STRONGROOM_API_LISTEN", "127.0.0.1:0")
            .env("STRONGROOM_STATUS_LISTEN", "127.0.0.1:0")
            .arg("serve")
            .arg("--config")
            .arg(config);
        for (name, value) in variables {
            command.env(name, value);
        }
        refused(command)
    }
}

/// Runs a command that has to end by itself, with exit code 1, and gives what it said.
#[track_caller]
pub fn refused(mut command: Command) -> String {
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the program");
    let ended = Instant::now() + Duration::from_secs(40);
    while child.try_wait().expect("the process").is_none() {
        if Instant::now() > ended {
            let _ = child.kill();
            panic!("it goes on although it should refuse");
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    let output = child.wait_with_output().expect("its output");
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(1), "{said}");
    said
}
