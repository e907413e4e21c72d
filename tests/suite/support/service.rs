//! A running service: the real program, started, stopped, killed and started again.

use std::fs::{self, File, OpenOptions};
use std::net::SocketAddr;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal};
use serde_json::Value;
use tempfile::TempDir;

use super::backend::Backend;
use super::http::{Client, Response, Tls, plain_get};
use super::wait::until;

/// How long a start may take. After a kill the lease of the audit log has to end first.
const START: u64 = 30;

/// The program under test.
pub const PROGRAM: &str = env!("CARGO_BIN_EXE_strongroom");

/// A command that runs the program with a clean environment: no variable of ours, no proxy.
pub fn program() -> Command {
    clean(Command::new(PROGRAM))
}

fn clean(mut command: Command) -> Command {
    command.env_clear();
    for name in ["PATH", "HOME", "TMPDIR"] {
        if let Some(value) = std::env::var_os(name) {
            command.env(name, value);
        }
    }
    command
}

/// What is started, and where it lies.
#[derive(Clone)]
enum Kind {
    Dev {
        arguments: Vec<String>,
    },
    Serve {
        config: PathBuf,
        /// What runs the program, with its arguments: a program that limits it first.
        under: Vec<String>,
    },
}

/// One running process of the service with the directory that it works in.
pub struct Service {
    /// Everything of this service; goes when it is dropped.
    root: Option<TempDir>,
    /// The directory in which it runs and logs.
    home: PathBuf,
    /// Where `ca.pem` and the demonstration's files lie.
    files: PathBuf,
    kind: Kind,
    /// Variables that it is started with.
    variables: Vec<(&'static str, PathBuf)>,
    /// More arguments of `serve`.
    more: Vec<String>,
    child: Option<Child>,
    address: SocketAddr,
    pages: Option<SocketAddr>,
    status: SocketAddr,
    starts: u32,
}

impl Service {
    /// `strongroom dev` in an empty directory.
    pub fn dev(backend: &Backend) -> Self {
        Self::dev_with(backend, &[])
    }

    /// The same with more arguments.
    pub fn dev_with(backend: &Backend, more: &[&str]) -> Self {
        let root = tempfile::Builder::new()
            .prefix("strongroom-suite-")
            .tempdir();
        let root = root.expect("a directory");
        let home = root.path().to_owned();
        let mut service = Self::dev_in(backend, &home, more);
        service.root = Some(root);
        service
    }

    /// The same in a directory that is there, which the caller removes.
    pub fn dev_in(backend: &Backend, home: &Path, more: &[&str]) -> Self {
        let mut service = Self::dev_stopped(backend, home, more);
        service.start();
        service
    }

    /// The same, not started yet.
    pub fn dev_stopped(backend: &Backend, home: &Path, more: &[&str]) -> Self {
        let mut arguments = vec!["dev".to_owned()];
        for argument in [
            "--listen",
            "127.0.0.1:0",
            "--pages-listen",
            "127.0.0.1:0",
            "--status-listen",
            "127.0.0.1:0",
        ] {
            arguments.push(argument.to_owned());
        }
        if let Some(file) = backend.url_file(home) {
            arguments.push("--database-url-file".to_owned());
            arguments.push(file.display().to_string());
        }
        arguments.extend(more.iter().map(|&argument| argument.to_owned()));
        Self::new(home, home.join("strongroom-dev"), Kind::Dev { arguments })
    }

    /// `strongroom serve` with this configuration; `ca.pem` lies beside it.
    pub fn serve(config: &Path) -> Self {
        Self::serve_under(config, Vec::new())
    }

    /// The same with more arguments.
    pub fn serve_with(config: &Path, more: &[&str]) -> Self {
        let home = config.parent().expect("a directory").to_owned();
        let kind = Kind::Serve {
            config: config.to_owned(),
            under: Vec::new(),
        };
        let mut service = Self::new(&home, home.clone(), kind);
        service.more = more.iter().map(|&argument| argument.to_owned()).collect();
        service.start();
        service
    }

    /// The same, started by the program and arguments `under`, which ends as the service itself.
    pub fn serve_under(config: &Path, under: Vec<String>) -> Self {
        let home = config.parent().expect("a directory").to_owned();
        let config = config.to_owned();
        let mut service = Self::new(&home, home.clone(), Kind::Serve { config, under });
        service.start();
        service
    }

    fn new(home: &Path, files: PathBuf, kind: Kind) -> Self {
        let nowhere = SocketAddr::from(([127, 0, 0, 1], 0));
        Self {
            root: None,
            home: home.to_owned(),
            files,
            kind,
            variables: Vec::new(),
            more: Vec::new(),
            child: None,
            address: nowhere,
            pages: None,
            status: nowhere,
            starts: 0,
        }
    }

    /// The command that starts it, before its output goes to files.
    fn command(&self) -> Command {
        let mut command = program();
        command.current_dir(&self.home);
        match &self.kind {
            Kind::Dev { arguments } => command.args(arguments),
            Kind::Serve { config, under } => {
                if let Some((first, arguments)) = under.split_first() {
                    command = clean(Command::new(first));
                    command.args(arguments).arg(PROGRAM);
                    command.current_dir(&self.home);
                }
                command.env("STRONGROOM_API_LISTEN", "127.0.0.1:0");
                command.env("STRONGROOM_STATUS_LISTEN", "127.0.0.1:0");
                command
                    .arg("serve")
                    .arg("--config")
                    .arg(config)
                    .args(&self.more)
            }
        };
        command.envs(self.variables.iter().map(|(name, value)| (name, value)));
        command
    }

    /// A variable for its next starts.
    pub fn set(&mut self, name: &'static str, value: &Path) {
        self.variables.push((name, value.to_owned()));
    }

    /// Starts it and waits until it is ready.
    #[track_caller]
    pub fn start(&mut self) {
        if let Err(error) = self.try_start() {
            panic!("{error}");
        }
    }

    /// Starts it and kills it this long afterwards, ready or not.
    pub fn start_and_kill(&mut self, after: Duration) {
        self.spawn();
        std::thread::sleep(after);
        self.kill();
    }

    fn spawn(&mut self) {
        assert!(self.child.is_none(), "it runs already");
        self.starts += 1;
        // Another of these may have run here before, whose address must not be taken for this one's.
        while self.home.join(format!("stderr.{}", self.starts)).exists() {
            self.starts += 1;
        }
        let out = self.log_file("stdout");
        let err = self.log_file("stderr");
        let mut command = self.command();
        command.stdin(Stdio::null()).stdout(out).stderr(err);
        // It ends with the thread that started it, so that a test that was killed leaves nothing.
        let die = || {
            Ok(rustix::process::set_parent_process_death_signal(Some(
                Signal::KILL,
            ))?)
        };
        // SAFETY: one system call between fork and exec, and no memory is allocated.
        unsafe { command.pre_exec(die) };
        self.child = Some(command.spawn().expect("the program"));
    }

    /// Starts it and waits until it is ready or has ended.
    pub fn try_start(&mut self) -> Result<(), String> {
        self.spawn();
        let end = Instant::now() + Duration::from_secs(START);
        loop {
            if let Some(status) = self.poll() {
                self.child = None;
                return Err(format!("it ended with {status}: {}", self.last_stderr()));
            }
            if self.read_addresses()
                && plain_get(self.status, "/readyz").is_ok_and(|answer| answer.status == 200)
            {
                return Ok(());
            }
            if Instant::now() > end {
                self.kill();
                return Err(format!("it does not get ready: {}", self.last_stderr()));
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Finds out where it listens, from what it says of itself.
    fn read_addresses(&mut self) -> bool {
        let (api, pages, status) = match self.kind {
            Kind::Dev { .. } => {
                let out = self.stdout();
                let api = word_after(&out, "  API      https://").and_then(|it| it.parse().ok());
                let pages = word_after(&out, "  pages    https://").and_then(|it| it.parse().ok());
                let status = word_after(&out, "  status   http://");
                let status = status.and_then(|it| it.split('/').next()?.parse().ok());
                (api, pages, status)
            }
            Kind::Serve { .. } => {
                let log = self.last_stderr();
                let line = log.lines().find(|line| line.contains("serving"));
                let line = line.unwrap_or_default().replace('"', "");
                let find = |name: &str| {
                    let word = word_after(&line, name)?;
                    word.trim_end_matches(['}', ',']).parse().ok()
                };
                (find("listen="), find("pages="), find("status="))
            }
        };
        match (api, status) {
            (Some(api), Some(status)) => {
                (self.address, self.pages, self.status) = (api, pages, status);
                true
            }
            _ => false,
        }
    }

    /// Where its pages are.
    pub fn pages(&self) -> SocketAddr {
        self.pages.expect("it has pages")
    }

    fn log_file(&self, stream: &str) -> File {
        let path = self.home.join(format!("{stream}.{}", self.starts));
        OpenOptions::new()
            .create(true)
            .append(true)
            .open(path)
            .expect("a log file")
    }

    /// Everything that it wrote to standard output since its last start.
    pub fn stdout(&self) -> String {
        let path = self.home.join(format!("stdout.{}", self.starts));
        fs::read_to_string(path).unwrap_or_default()
    }

    /// Everything that it logged since its last start.
    pub fn last_stderr(&self) -> String {
        let path = self.home.join(format!("stderr.{}", self.starts));
        fs::read_to_string(path).unwrap_or_default()
    }

    /// Everything that it ever wrote.
    pub fn all_output(&self) -> Vec<u8> {
        let mut all = Vec::new();
        for start in 1..=self.starts {
            for stream in ["stdout", "stderr"] {
                let path = self.home.join(format!("{stream}.{start}"));
                all.extend(fs::read(path).unwrap_or_default());
            }
        }
        all
    }

    /// The status with which it ended, if it has.
    pub fn poll(&mut self) -> Option<ExitStatus> {
        self.child.as_mut()?.try_wait().expect("the process")
    }

    pub fn pid(&self) -> u32 {
        self.child.as_ref().expect("it runs").id()
    }

    /// Sends a signal.
    pub fn signal(&self, signal: Signal) {
        let pid = Pid::from_raw(i32::try_from(self.pid()).expect("a pid")).expect("a pid");
        rustix::process::kill_process(pid, signal).expect("the signal");
    }

    /// Ends it as a crash would.
    pub fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }

    /// Ends it in order.
    #[track_caller]
    pub fn stop(&mut self) {
        self.signal(Signal::TERM);
        let status = until("its orderly end", 40, || self.poll());
        self.child = None;
        assert!(status.success(), "{status}: {}", self.last_stderr());
    }

    /// Stops it in order and starts it on the same data.
    #[track_caller]
    pub fn restart(&mut self) {
        self.stop();
        self.start();
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    pub fn status_address(&self) -> SocketAddr {
        self.status
    }

    pub fn url(&self) -> String {
        format!("https://{}", self.address)
    }

    pub fn home(&self) -> &Path {
        &self.home
    }

    /// A file of the demonstration, or beside the configuration.
    pub fn file(&self, name: &str) -> PathBuf {
        self.files.join(name)
    }

    /// The data directory of a `dev` deployment.
    pub fn data(&self) -> PathBuf {
        self.files.join("data")
    }

    pub fn read(&self, name: &str) -> String {
        fs::read_to_string(self.file(name)).expect("a file of the deployment")
    }

    pub fn ca(&self) -> String {
        self.read("ca.pem")
    }

    /// A caller who shows the certificate `NAME.pem`.
    pub fn client(&self, name: &str) -> Client {
        let tls = Tls::from_files(
            &self.file("ca.pem"),
            &self.file(&format!("{name}.pem")),
            &self.file(&format!("{name}.key")),
        );
        Client::new(self.address, tls)
    }

    /// A caller who shows nothing.
    pub fn anonymous(&self) -> Client {
        Client::new(self.address, Tls::anonymous(&self.ca()))
    }

    /// A caller with a certificate of its own.
    pub fn client_with(&self, chain: &str, key: &str) -> Client {
        Client::new(self.address, Tls::with_certificate(&self.ca(), chain, key))
    }

    pub fn status(&self, target: &str) -> Response {
        plain_get(self.status, target).expect("the status listener")
    }

    /// Whether it says that it is ready.
    pub fn is_ready(&self) -> bool {
        self.status("/readyz").status == 200
    }

    /// The parts that it says are not ready.
    pub fn parts_not_ready(&self) -> Vec<String> {
        let answer: Value = self.status("/readyz").json();
        let parts = answer["parts"].as_array().expect("parts");
        parts
            .iter()
            .filter(|part| part["ready"] == false)
            .map(|part| part["name"].as_str().expect("a name").to_owned())
            .collect()
    }

    /// Resident memory in KiB.
    pub fn resident(&self) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.pid()));
        let status = status.expect("the process's status");
        let line = status.lines().find(|line| line.starts_with("VmRSS:"));
        let number = line.and_then(|line| line.split_whitespace().nth(1));
        number
            .and_then(|number| number.parse().ok())
            .expect("VmRSS")
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        self.kill();
        if std::thread::panicking() {
            let log = self.last_stderr();
            let from = log.len().saturating_sub(4000);
            let from = (from..log.len()).find(|at| log.is_char_boundary(*at));
            eprintln!("end of the service's log:\n{}", &log[from.unwrap_or(0)..]);
        }
    }
}

/// What stands after `before` up to the next white space.
fn word_after<'a>(text: &'a str, before: &str) -> Option<&'a str> {
    text.split_once(before)?.1.split_whitespace().next()
}
