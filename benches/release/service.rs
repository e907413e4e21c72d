//! The real service: `strongroom dev` in a directory of its own, as anybody would start it.

use std::{
    env, fs,
    io::{Read as _, Write as _},
    net::{SocketAddr, TcpListener, TcpStream},
    path::Path,
    time::{Duration, Instant},
};

use rustls::pki_types::ServerName;

use crate::{
    certificates,
    load::{Answer, Peer, get, once},
    process::{Cores, Server, command},
};

/// How long the service may take until it answers; it makes keys and a database first.
const PATIENCE: Duration = Duration::from_secs(60);

/// Between two looks whether it does.
const PAUSE: Duration = Duration::from_millis(100);

/// A running service with its demonstration data.
pub struct Service {
    server: Server,
    /// How its demonstration workload reaches it.
    pub peer: Peer,
    /// The path of a release of one credential.
    pub path: String,
    /// What that release answers.
    pub release: Answer,
    status: SocketAddr,
}

/// The service's own counters of durable records.
#[derive(Clone, Copy, Default)]
pub struct Counters {
    /// Intents recorded.
    pub intents: f64,
    /// Durable commits that recorded something.
    pub commits: f64,
}

impl Service {
    /// Starts it under `directory`, on SQLite or on the PostgreSQL database that `database_url`
    /// names, and waits for its first release.
    ///
    /// # Errors
    /// It does not start or does not release; with the end of what it logged.
    pub async fn start(
        binary: &Path,
        directory: &Path,
        database_url: Option<&str>,
        cores: Option<Cores>,
    ) -> Result<Self, String> {
        fs::create_dir_all(directory)
            .map_err(|error| format!("{}: {error}", directory.display()))?;
        let files = directory.join("dev");
        let log = directory.join("log");
        let address = free_address()?;
        let status = free_address()?;
        let mut command = command(binary, cores)?;
        for (name, _) in env::vars_os() {
            // The service reads these, and refuses those it does not know.
            if name.as_encoded_bytes().starts_with(b"STRONGROOM_") {
                command.env_remove(name);
            }
        }
        command.current_dir(directory).arg("dev");
        command.arg("--dir").arg(&files);
        command.arg(format!("--listen={address}"));
        command.arg("--pages-listen=127.0.0.1:0");
        command.arg(format!("--status-listen={status}"));
        if let Some(url) = database_url {
            let file = directory.join("database-url");
            fs::write(&file, url).map_err(|error| format!("{}: {error}", file.display()))?;
            command.arg("--database-url-file").arg(file);
        }
        let mut server = Server::start(&mut command, &log)?;
        let begin = Instant::now();
        loop {
            let error = match first_release(&files, address).await {
                Ok((peer, path, release)) => {
                    return Ok(Self {
                        server,
                        peer,
                        path,
                        release,
                        status,
                    });
                }
                Err(error) => error,
            };
            if server.has_ended() || begin.elapsed() > PATIENCE {
                return Err(format!("{error}; the service said:\n{}", tail(&log)));
            }
            tokio::time::sleep(PAUSE).await;
        }
    }

    /// The number of its process.
    pub fn process(&self) -> u32 {
        self.server.id()
    }

    /// Where it tells its counters.
    pub fn status(&self) -> SocketAddr {
        self.status
    }
}

/// Finds the demonstration credential as its worker would, and fetches it.
async fn first_release(
    files: &Path,
    address: SocketAddr,
) -> Result<(Peer, String, Answer), String> {
    let peer = Peer {
        address,
        name: server_name(&files.join("worker.json"))?,
        tls: certificates::caller(files)?,
    };
    let everything = once(&peer, &get(&peer, "/api/v1/release", "")).await?;
    if everything.status != 200 {
        return Err(format!("a release answers {}", everything.status));
    }
    let everything: serde_json::Value =
        serde_json::from_slice(&everything.body).map_err(|_| "a release is not JSON")?;
    let id = everything["credentials"][0]["id"]
        .as_str()
        .ok_or("a release without a credential")?;
    let path = format!("/api/v1/release/{id}");
    let release = once(&peer, &get(&peer, &path, "")).await?;
    if release.status != 200 {
        return Err(format!("a release of one answers {}", release.status));
    }
    Ok((peer, path, release))
}

/// The host of the URL that the service gave its worker.
fn server_name(file: &Path) -> Result<ServerName<'static>, String> {
    let text = fs::read_to_string(file).map_err(|error| format!("{}: {error}", file.display()))?;
    let worker: serde_json::Value =
        serde_json::from_str(&text).map_err(|_| format!("{} is not JSON", file.display()))?;
    let host = worker["url"]
        .as_str()
        .and_then(|url| url.strip_prefix("https://"))
        .and_then(|rest| rest.split(['/', ':']).next())
        .ok_or_else(|| format!("{}: no https URL", file.display()))?;
    ServerName::try_from(host.to_owned()).map_err(|_| format!("{}: no host", file.display()))
}

impl Counters {
    /// Asks the service's status listener.
    ///
    /// # Errors
    /// There is no answer, or the counters are not in it.
    pub fn read(status: SocketAddr) -> Result<Self, String> {
        let mut text = String::new();
        TcpStream::connect(status)
            .and_then(|mut stream| {
                stream.write_all(
                    b"GET /metrics HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n",
                )?;
                stream.read_to_string(&mut text)
            })
            .map_err(|error| format!("no metrics: {error}"))?;
        let sum = |name: &str| -> Result<f64, String> {
            let values: Vec<f64> = text
                .lines()
                .filter_map(|line| line.strip_prefix(name))
                .filter(|rest| rest.starts_with([' ', '{']))
                .filter_map(|rest| rest.rsplit(' ').next()?.parse().ok())
                .collect();
            if values.is_empty() {
                return Err(format!("no {name} among the metrics"));
            }
            Ok(values.iter().sum())
        };
        Ok(Self {
            intents: sum("strongroom_audit_intents_total")?,
            commits: sum("strongroom_audit_commits_total")?,
        })
    }

    /// What was added since `before`.
    pub fn since(self, before: Self) -> Self {
        Self {
            intents: self.intents - before.intents,
            commits: self.commits - before.commits,
        }
    }
}

fn tail(log: &Path) -> String {
    let text = fs::read_to_string(log).unwrap_or_default();
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(20)..].join("\n")
}

fn free_address() -> Result<SocketAddr, String> {
    TcpListener::bind(("127.0.0.1", 0))
        .and_then(|listener| listener.local_addr())
        .map_err(|error| format!("no free port: {error}"))
}
