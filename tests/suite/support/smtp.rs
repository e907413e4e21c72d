//! A mail server: `tests/python/smtp_server.py`, which keeps what it is given and misbehaves when told.

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Child, ChildStdin, Command, Stdio};

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};
use serde_json::{Value, json};
use tempfile::TempDir;

/// The user that it takes.
pub const USER: &str = "access@company.example";
/// That user's password.
pub const PASSWORD: &str = "canary-password-of-mail-4a7f";

/// A server that runs until it is dropped.
pub struct MailServer {
    folder: TempDir,
    child: Child,
    /// It ends when this is closed.
    _input: ChildStdin,
    port: u16,
    authority: String,
}

impl MailServer {
    /// One that takes everything.
    pub fn start() -> Self {
        let folder = tempfile::Builder::new()
            .prefix("strongroom-mail-")
            .tempdir();
        let folder = folder.expect("a directory");
        let authority = certificates(folder.path());
        let program = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/python/smtp_server.py");
        keep_control(folder.path(), &json!({}));
        let complaints = fs::File::create(folder.path().join("stderr")).expect("a file");
        let mut child = Command::new(interpreter())
            .arg(program)
            .arg(folder.path())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(complaints)
            .spawn()
            .expect("the mail server");
        let mut line = String::new();
        let output = child.stdout.take().expect("its output");
        BufReader::new(output).read_line(&mut line).expect("a port");
        let complaints = fs::read_to_string(folder.path().join("stderr")).unwrap_or_default();
        let port = line.trim().parse();
        Self {
            port: port.unwrap_or_else(|_| panic!("the mail server does not start: {complaints}")),
            _input: child.stdin.take().expect("its input"),
            folder,
            child,
            authority,
        }
    }

    /// The section `mail` of a service that sends by it; files that they name go into `home`.
    pub fn settings(&self, home: &Path) -> String {
        fs::write(home.join("mail-ca.pem"), &self.authority).expect("a file");
        let password = home.join("mail-password");
        fs::write(&password, format!("{PASSWORD}\n")).expect("a file");
        let mode = std::os::unix::fs::PermissionsExt::from_mode(0o600);
        fs::set_permissions(&password, mode).expect("a mode");
        format!(
            "from = \"Example Sync <{USER}>\"\nserver = \"localhost\"\nport = {}\n\
             user = \"{USER}\"\npassword_file = \"mail-password\"\nca_file = \"mail-ca.pem\"\n",
            self.port
        )
    }

    /// From now on it behaves so; see the program.
    pub fn behave(&self, control: &Value) {
        keep_control(self.folder.path(), control);
    }

    /// The messages that it was given, in the order in which they came.
    pub fn messages(&self) -> Vec<Value> {
        let read = |number: usize| {
            let path = self.folder.path().join(format!("{number}.json"));
            fs::read(path).ok()
        };
        let texts = (1..).map_while(read);
        texts
            .map(|text| serde_json::from_slice(&text).expect("JSON"))
            .collect()
    }

    /// Those for one address.
    pub fn messages_to(&self, address: &str) -> Vec<Value> {
        let mut all = self.messages();
        all.retain(|message| message["to"] == json!([address]));
        all
    }

    /// What it was told without TLS.
    pub fn heard_without_tls(&self) -> String {
        fs::read_to_string(self.folder.path().join("plain")).unwrap_or_default()
    }
}

impl Drop for MailServer {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            let said = fs::read_to_string(self.folder.path().join("stderr"));
            eprintln!("the mail server said:\n{}", said.unwrap_or_default());
        }
    }
}

/// Adds user and password, and replaces the file in one step.
fn keep_control(folder: &Path, control: &Value) {
    let mut whole = json!({"user": USER, "password": PASSWORD});
    for (name, value) in control.as_object().into_iter().flatten() {
        whole[name] = value.clone();
    }
    let new = folder.join("control.new");
    fs::write(&new, whole.to_string()).expect("a file");
    fs::rename(new, folder.join("control.json")).expect("a file in its place");
}

/// Certificates for `localhost` and for another name, in files; gives the authority's.
fn certificates(folder: &Path) -> String {
    let authority_key = KeyPair::generate().expect("a key");
    let mut params = CertificateParams::default();
    params
        .distinguished_name
        .push(DnType::CommonName, "mail authority");
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let authority = params.self_signed(&authority_key).expect("a certificate");
    let issuer = Issuer::from_params(&params, &authority_key);
    for (file, name) in [("server", "localhost"), ("other", "elsewhere.example")] {
        let key = KeyPair::generate().expect("a key");
        let leaf = CertificateParams::new(vec![name.to_owned()]).expect("a name");
        let leaf = leaf.signed_by(&key, &issuer).expect("a certificate");
        fs::write(folder.join(format!("{file}.pem")), leaf.pem()).expect("a file");
        fs::write(folder.join(format!("{file}.key")), key.serialize_pem()).expect("a file");
    }
    authority.pem()
}

/// An interpreter that has the server's module.
fn interpreter() -> std::ffi::OsString {
    let candidates = match std::env::var_os("STRONGROOM_TEST_PYTHON") {
        Some(interpreter) => vec![interpreter],
        // Another python3 may stand before the system's in PATH.
        None => vec!["python3".into(), "/usr/bin/python3".into()],
    };
    let has_module = |interpreter: &std::ffi::OsString| {
        let mut probe = Command::new(interpreter);
        let probe = probe.args(["-c", "import aiosmtpd"]).output();
        probe.is_ok_and(|output| output.status.success())
    };
    candidates.into_iter().find(has_module).expect(
        "python3 with aiosmtpd (Debian: python3-aiosmtpd); scripts/test installs it, and \
         STRONGROOM_TEST_PYTHON can name another interpreter",
    )
}
