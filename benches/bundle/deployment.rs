//! One deployment that is started again and again: `strongroom dev` in a directory of its own.

use std::{
    env, fs,
    io::{Read as _, Write as _},
    net::{SocketAddr, TcpListener, TcpStream},
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use rustls::pki_types::ServerName;

use crate::{
    certificates,
    load::Peer,
    process::{self, Cores, Memory, Server, command},
};

/// How long a start may take; the first one makes keys and a database.
const PATIENCE: Duration = Duration::from_secs(60);

/// A deployment, and the process that serves it.
pub struct Deployment {
    binary: PathBuf,
    home: PathBuf,
    cores: Option<Cores>,
    address: SocketAddr,
    status: SocketAddr,
    pages: SocketAddr,
    stand_in: SocketAddr,
    server: Option<Server>,
}

impl Deployment {
    /// One that is not started yet.
    ///
    /// # Errors
    /// There is no free port.
    pub fn new(binary: &Path, cores: Option<Cores>, home: &Path) -> Result<Self, String> {
        Ok(Self {
            binary: binary.to_owned(),
            home: home.to_owned(),
            cores,
            address: free_address()?,
            status: free_address()?,
            pages: free_address()?,
            stand_in: free_address()?,
            server: None,
        })
    }

    /// Starts the service and gives the time until it says that it is ready.
    ///
    /// # Errors
    /// It does not get ready; with what it logged.
    pub async fn start(&mut self) -> Result<Duration, String> {
        let mut command = command(&self.binary, self.cores)?;
        for (name, _) in env::vars_os() {
            // The service reads these, and refuses those it does not know.
            if name.as_encoded_bytes().starts_with(b"STRONGROOM_") {
                command.env_remove(name);
            }
        }
        command.current_dir(&self.home).arg("dev").arg("--dir");
        command.arg(self.files()).arg("--log=warn");
        command.arg(format!("--listen={}", self.address));
        command.arg(format!("--pages-listen={}", self.pages));
        command.arg(format!("--stand-in-control={}", self.stand_in));
        command.arg(format!("--status-listen={}", self.status));
        let log = self.home.join("log");
        let begin = Instant::now();
        let mut server = Server::start(&mut command, &log)?;
        loop {
            if is_ready(self.status) {
                self.server = Some(server);
                return Ok(begin.elapsed());
            }
            if server.has_ended() || begin.elapsed() > PATIENCE {
                let log = fs::read_to_string(&log).unwrap_or_default();
                return Err(format!("it does not get ready; the service said:\n{log}"));
            }
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    }

    /// Ends the service in order and starts it again.
    ///
    /// # Errors
    /// As [`start`](Self::start).
    pub async fn restart(&mut self) -> Result<Duration, String> {
        if let Some(server) = self.server.take() {
            server.stop()?;
        }
        self.start().await
    }

    /// How a client's browser reaches the pages.
    ///
    /// # Errors
    /// Its files are not there.
    #[allow(dead_code, reason = "the other bench uses it")]
    pub fn browser(&self) -> Result<Peer, String> {
        Ok(Peer {
            address: self.pages,
            name: ServerName::from(self.pages.ip()),
            ..self.operator()?
        })
    }

    /// Where the stand-in for the providers is told what to do.
    #[allow(dead_code, reason = "the other bench uses it")]
    pub fn stand_in(&self) -> SocketAddr {
        self.stand_in
    }

    /// Where its metrics are.
    #[allow(dead_code, reason = "the other bench uses it")]
    pub fn status(&self) -> SocketAddr {
        self.status
    }

    fn files(&self) -> PathBuf {
        self.home.join("dev")
    }

    /// How the demonstration's worker reaches it.
    ///
    /// # Errors
    /// Its files are not there.
    pub fn worker(&self) -> Result<Peer, String> {
        self.peer("worker")
    }

    /// How its first operator reaches it.
    ///
    /// # Errors
    /// Its files are not there.
    pub fn operator(&self) -> Result<Peer, String> {
        self.peer("operator")
    }

    fn peer(&self, name: &str) -> Result<Peer, String> {
        Ok(Peer {
            address: self.address,
            name: ServerName::from(self.address.ip()),
            tls: certificates::caller_named(&self.files(), name)?,
        })
    }

    fn id(&self) -> u32 {
        self.server.as_ref().map_or(0, Server::id)
    }

    /// Its memory now, and the most since [`forget_peak`](Self::forget_peak).
    pub fn memory(&self) -> Memory {
        process::memory(self.id())
    }

    /// The processor time that all its threads used so far, by the scheduler's count: finer than that
    /// of [`processor_time`](Self::processor_time).
    #[allow(dead_code, reason = "the other bench uses it")]
    pub fn scheduled_time(&self) -> Duration {
        process::scheduled_time(self.id())
    }

    /// The processor time that it used so far.
    pub fn processor_time(&self) -> Duration {
        process::processor_time(self.id())
    }

    /// Makes the kernel count the peak anew (proc_pid_clear_refs(5)).
    ///
    /// # Errors
    /// The kernel does not want to.
    pub fn forget_peak(&self) -> Result<(), String> {
        let file = format!("/proc/{}/clear_refs", self.id());
        fs::write(&file, "5").map_err(|error| format!("{file}: {error}"))
    }
}

fn is_ready(status: SocketAddr) -> bool {
    let ask = || {
        let mut stream = TcpStream::connect(status)?;
        stream
            .write_all(b"GET /readyz HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n")?;
        let mut text = String::new();
        stream.read_to_string(&mut text)?;
        Ok::<_, std::io::Error>(text)
    };
    ask().is_ok_and(|text| text.starts_with("HTTP/1.1 200"))
}

/// An address of this machine where nobody listens.
fn free_address() -> Result<SocketAddr, String> {
    TcpListener::bind(("127.0.0.1", 0))
        .and_then(|listener| listener.local_addr())
        .map_err(|error| format!("no free port: {error}"))
}
