//! A PostgreSQL server of its own, for tests and benches: made in a temporary directory, started,
//! and gone when the value is dropped or the process that made it ends, however it ends.
//!
//! It is an ordinary server with `fsync` on, reachable on loopback with a password. This file is
//! included by path, so it stands alone: nothing but the standard library.
#![allow(dead_code)] // Not every program that includes it uses all of it.

use std::{
    env, fs,
    io::Read as _,
    net::TcpListener,
    os::unix::{fs::PermissionsExt as _, process::CommandExt as _},
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
    sync::atomic::{AtomicU32, Ordering},
};

/// The database's superuser, whom the URLs name.
const USER: &str = "strongroom";

/// The account that runs the server when this process runs as root, which PostgreSQL refuses to be.
const ACCOUNT: &str = "postgres";

/// Waits until the pipe from the process that started it closes, then ends the server and removes
/// its directory. Signals for the terminal's group never reach it, and it ignores polite ones, so
/// that it outlives who it watches.
const WATCHDOG: &str = r#"
trap '' INT TERM HUP
cat >/dev/null
"$1/pg_ctl" stop -D "$2/data" -m immediate -w >/dev/null 2>&1
rm -rf "$2"
"#;

/// A running server.
pub struct Postgres {
    programs: PathBuf,
    account: Option<Account>,
    directory: PathBuf,
    port: u16,
    password: String,
    watchdog: Child,
}

/// An account of the operating system.
#[derive(Clone, Copy)]
struct Account {
    uid: u32,
    gid: u32,
}

impl Postgres {
    /// Makes and starts a server under the directory for temporary files.
    ///
    /// # Errors
    /// A sentence for people: PostgreSQL is not installed, there is no account to run it as, or it
    /// did not start, with what it said.
    pub fn start() -> Result<Self, String> {
        Self::start_under(&env::temp_dir())
    }

    /// The same, with its data under `parent`, which the account `postgres` must be able to reach
    /// when this process runs as root.
    ///
    /// # Errors
    /// As [`start`](Self::start).
    pub fn start_under(parent: &Path) -> Result<Self, String> {
        let programs = find_programs()?;
        let account = account_to_switch_to()?;
        let directory = make_directory(parent, account)?;
        let watchdog = command("/bin/sh", account, &directory)
            .args(["-c", WATCHDOG, "watchdog"])
            .arg(&programs)
            .arg(&directory)
            .process_group(0)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .map_err(|error| format!("/bin/sh cannot be started: {error}"))?;
        let mut server = Self {
            programs,
            account,
            directory,
            port: 0,
            password: random_password()?,
            watchdog,
        };
        server.initialise()?;
        server.start_on_a_free_port()?;
        Ok(server)
    }

    /// Makes an empty database and gives the URL to reach it by. `name`: lower-case letters, digits
    /// and underscores.
    ///
    /// # Errors
    /// The name is not such a one or is taken, or the server is not there.
    pub fn create_database(&self, name: &str) -> Result<String, String> {
        let plain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_';
        if name.is_empty() || !name.bytes().all(plain) {
            return Err("a database's name is lower-case letters, digits and underscores".into());
        }
        self.sql(&format!("CREATE DATABASE \"{name}\""))?;
        Ok(self.url(name))
    }

    /// The URL of the database `name`.
    pub fn url(&self, name: &str) -> String {
        let Self { port, password, .. } = self;
        format!("postgres://{USER}:{password}@127.0.0.1:{port}/{name}")
    }

    /// The process all others of the server are children of.
    ///
    /// # Errors
    /// The server does not run.
    pub fn main_process(&self) -> Result<u32, String> {
        let file = self.directory.join("data/postmaster.pid");
        fs::read_to_string(&file)
            .ok()
            .and_then(|text| text.lines().next()?.trim().parse().ok())
            .ok_or_else(|| "the PostgreSQL server does not run".to_owned())
    }

    /// Its version, as the server writes it.
    ///
    /// # Errors
    /// The server is not there.
    pub fn version(&self) -> Result<String, String> {
        self.sql("SHOW server_version")
    }

    /// Ends the server as a crash would, keeping its data and port. What it had acknowledged is
    /// there again after [`resume`](Self::resume).
    ///
    /// # Errors
    /// It does not run, or does not end.
    pub fn halt(&self) -> Result<(), String> {
        self.control(&["stop", "-m", "immediate", "-w"])
    }

    /// Starts a halted server again, on the same port.
    ///
    /// # Errors
    /// It does not start.
    pub fn resume(&self) -> Result<(), String> {
        self.control(&["start", "-w", "-t", "60"])
    }

    /// Where it keeps everything.
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// What the server logged.
    pub fn log(&self) -> String {
        fs::read_to_string(self.directory.join("log")).unwrap_or_default()
    }

    fn initialise(&self) -> Result<(), String> {
        let password_file = self.directory.join("password");
        fs::write(&password_file, &self.password)
            .map_err(|error| format!("{} cannot be written: {error}", password_file.display()))?;
        give(&password_file, 0o600, self.account)?;
        Self::run(
            self.program("initdb")
                .arg("--pgdata=data")
                .arg(format!("--username={USER}"))
                .args(["--auth=scram-sha-256", "--pwfile=password"])
                // A fixed locale: the same order of text everywhere.
                .args(["--encoding=UTF8", "--locale=C", "--no-sync"]),
        )?;
        Ok(())
    }

    /// Another program may take the port between the look and the start, so it tries a few.
    fn start_on_a_free_port(&mut self) -> Result<(), String> {
        let mut last = String::new();
        for _ in 0..3 {
            self.port = free_port()?;
            let settings = self.directory.join("data/postgresql.auto.conf");
            let text = format!(
                "listen_addresses = '127.0.0.1'\nport = {}\nunix_socket_directories = ''\n\
                 max_connections = 300\nfsync = on\nfull_page_writes = on\n\
                 synchronous_commit = on\ntimezone = 'UTC'\n",
                self.port
            );
            fs::write(&settings, text)
                .map_err(|error| format!("{} cannot be written: {error}", settings.display()))?;
            match self.control(&["start", "-w", "-t", "60"]) {
                Ok(()) => return Ok(()),
                Err(error) => last = error,
            }
        }
        Err(format!("{last}\n{}", self.log()))
    }

    /// One statement; the first column of its answer.
    fn sql(&self, statement: &str) -> Result<String, String> {
        Self::run(
            self.program("psql")
                .args(["--no-psqlrc", "--quiet", "--tuples-only", "--no-align"])
                .args(["--host=127.0.0.1", "--dbname=postgres"])
                .arg(format!("--port={}", self.port))
                .arg(format!("--username={USER}"))
                .args(["--set=ON_ERROR_STOP=1", "--command", statement])
                .env("PGPASSWORD", &self.password),
        )
    }

    fn control(&self, arguments: &[&str]) -> Result<(), String> {
        Self::run(
            self.program("pg_ctl")
                .args(arguments)
                .args(["-D", "data", "-l", "log"]),
        )?;
        Ok(())
    }

    fn program(&self, name: &str) -> Command {
        command(self.programs.join(name), self.account, &self.directory)
    }

    fn run(command: &mut Command) -> Result<String, String> {
        let name = PathBuf::from(command.get_program());
        let name = name.file_name().unwrap_or_default().to_string_lossy();
        let Output {
            status,
            stdout,
            stderr,
        } = command
            .stdin(Stdio::null())
            .output()
            .map_err(|error| format!("{name} cannot be started: {error}"))?;
        let said = String::from_utf8_lossy(&stdout).trim().to_owned();
        if status.success() {
            Ok(said)
        } else {
            let complaint = String::from_utf8_lossy(&stderr);
            Err(format!("{name} failed: {} {said}", complaint.trim()))
        }
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        // The closed pipe is the sign; the rest is the watchdog's, which also does it when this
        // process ends without getting here.
        drop(self.watchdog.stdin.take());
        let _ = self.watchdog.wait();
    }
}

/// A command in `directory`, as `account`, that speaks English.
fn command(program: impl AsRef<Path>, account: Option<Account>, directory: &Path) -> Command {
    let mut command = Command::new(program.as_ref());
    command.current_dir(directory).env("LC_ALL", "C");
    for (name, _) in env::vars_os() {
        // PGHOST, PGDATA and their like would point the programs somewhere else.
        if name.as_encoded_bytes().starts_with(b"PG") {
            command.env_remove(name);
        }
    }
    if let Some(Account { uid, gid }) = account {
        command.uid(uid).gid(gid);
    }
    command
}

/// The newest installation: what `POSTGRES_BIN` names, what the search path has, and where
/// distributions put the programs that they keep out of the search path.
fn find_programs() -> Result<PathBuf, String> {
    if let Some(named) = env::var_os("POSTGRES_BIN") {
        let named = PathBuf::from(named);
        return if named.join("initdb").is_file() {
            Ok(named)
        } else {
            Err(format!("POSTGRES_BIN: no initdb in {}", named.display()))
        };
    }
    let mut found: Vec<(u32, PathBuf)> = Vec::new();
    for (parent, prefix) in [
        ("/usr/lib/postgresql", ""),
        ("/usr", "pgsql-"),
        ("/opt/homebrew/opt", "postgresql@"),
    ] {
        for entry in fs::read_dir(parent).into_iter().flatten().flatten() {
            let name = entry.file_name();
            let version = name.to_str().and_then(|name| name.strip_prefix(prefix));
            let version = version.and_then(|version| version.parse::<u32>().ok());
            let programs = entry.path().join("bin");
            if let Some(version) = version.filter(|_| programs.join("initdb").is_file()) {
                found.push((version, programs));
            }
        }
    }
    if let Some((_, programs)) = found.into_iter().max() {
        return Ok(programs);
    }
    env::split_paths(&env::var_os("PATH").unwrap_or_default())
        .find(|directory| directory.join("initdb").is_file())
        .ok_or_else(|| {
            "PostgreSQL is not installed: no initdb under /usr/lib/postgresql/*/bin, \
             /usr/pgsql-*/bin or the search path. Install it, or name its directory of programs \
             in POSTGRES_BIN"
                .to_owned()
        })
}

/// Nobody else for an ordinary user; for root the account that the installation made.
fn account_to_switch_to() -> Result<Option<Account>, String> {
    if number_from_id(&["-u"])? != 0 {
        return Ok(None);
    }
    match (
        number_from_id(&["-u", ACCOUNT]),
        number_from_id(&["-g", ACCOUNT]),
    ) {
        (Ok(uid), Ok(gid)) => Ok(Some(Account { uid, gid })),
        _ => Err(format!(
            "PostgreSQL does not run as root, and there is no account `{ACCOUNT}` to run it as"
        )),
    }
}

fn number_from_id(arguments: &[&str]) -> Result<u32, String> {
    let output = Command::new("id")
        .args(arguments)
        .stdin(Stdio::null())
        .output()
        .map_err(|error| format!("id cannot be started: {error}"))?;
    String::from_utf8_lossy(&output.stdout)
        .trim()
        .parse()
        .map_err(|_| "id does not say a number".to_owned())
}

/// A new directory that is the server's alone.
fn make_directory(parent: &Path, account: Option<Account>) -> Result<PathBuf, String> {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let count = COUNT.fetch_add(1, Ordering::Relaxed);
    let directory = parent.join(format!(
        "strongroom-postgres-{}-{count}-{}",
        std::process::id(),
        &random_password()?[..8]
    ));
    fs::create_dir(&directory)
        .map_err(|error| format!("{} cannot be made: {error}", directory.display()))?;
    give(&directory, 0o700, account)?;
    Ok(directory)
}

fn give(path: &Path, mode: u32, account: Option<Account>) -> Result<(), String> {
    let result = fs::set_permissions(path, fs::Permissions::from_mode(mode)).and_then(|()| {
        account.map_or(Ok(()), |Account { uid, gid }| {
            std::os::unix::fs::chown(path, Some(uid), Some(gid))
        })
    });
    result.map_err(|error| format!("{} cannot be given away: {error}", path.display()))
}

/// 32 hexadecimal digits.
fn random_password() -> Result<String, String> {
    let mut bytes = [0; 16];
    fs::File::open("/dev/urandom")
        .and_then(|mut file| file.read_exact(&mut bytes))
        .map_err(|error| format!("/dev/urandom cannot be read: {error}"))?;
    Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}

fn free_port() -> Result<u16, String> {
    TcpListener::bind(("127.0.0.1", 0))
        .and_then(|listener| listener.local_addr())
        .map(|address| address.port())
        .map_err(|error| format!("no free port: {error}"))
}
