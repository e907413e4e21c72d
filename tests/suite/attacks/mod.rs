//! Known vulnerabilities of others, tried on the running service. `docs/attacks.md` has the table:
//! a row for each, with the test that tries it, or why it does not apply.

mod audit_log;
mod floods;
mod handles;
mod jwt;
mod jwt_hmac;
mod jwt_matrix;
mod limits;
mod names;
mod operations;
mod outbound;
mod replay;
mod smuggling;
mod table;
mod timing;
mod tls;

use std::io::{self, Write as _};
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use rustls::client::{ClientSessionMemoryCache, Resumption};

use crate::support::http::{Connection, Tls};
use crate::support::{Client, Request, Response, Service};

/// Notes how many attacks were tried and refused; `scripts/test` adds them up.
pub fn refused(count: usize) {
    println!("attacks tried and refused: {count}");
    let Some(file) = std::env::var_os("STRONGROOM_TEST_ATTACKS") else {
        return;
    };
    let file = std::fs::OpenOptions::new()
        .create(true)
        .append(true)
        .open(file);
    file.and_then(|mut file| file.write_all(format!("{count}\n").as_bytes()))
        .expect("the file of the count");
}

/// Whether the peer ended the connection. If it only says nothing, the time-out was ours.
pub fn by_the_peer(error: &io::Error) -> bool {
    use io::ErrorKind::{BrokenPipe, ConnectionAborted, ConnectionReset, UnexpectedEof};
    let kind = error.kind();
    matches!(
        kind,
        BrokenPipe | ConnectionAborted | ConnectionReset | UnexpectedEof
    )
}

/// An address of this machine that nobody else calls from, so that the failures of one test are not
/// those of another.
pub fn fresh_address() -> IpAddr {
    static COUNT: AtomicU32 = AtomicU32::new(1);
    let [a, b, c] = match COUNT.fetch_add(1, Ordering::Relaxed).to_be_bytes() {
        [_, rest @ ..] => rest,
    };
    // 127.0.0.x is left to everybody else.
    IpAddr::V4(Ipv4Addr::new(127, a + 1, b, c))
}

/// A caller who would resume the session of its last connection, and send with its first bytes, if the
/// server let it.
pub fn resuming(mut client: Client) -> Client {
    let store = Arc::new(ClientSessionMemoryCache::new(32));
    client.tls = client.tls.changed(|config| {
        config.resumption = Resumption::store(store);
        config.enable_early_data = true;
    });
    client
}

/// A stranger who comes from another address before the limit of failures is reached, so that each
/// answer is that to the attack and not to their number.
pub struct Stranger {
    service: std::net::SocketAddr,
    tls: Tls,
    connection: Option<(Connection, u32)>,
    pub sent: usize,
}

impl Stranger {
    /// One without a certificate.
    pub fn new(service: &Service) -> Self {
        Self::with(service, Tls::anonymous(&service.ca()))
    }

    /// One who shows this.
    pub fn with(service: &Service, tls: Tls) -> Self {
        Self {
            service: service.address(),
            tls,
            connection: None,
            sent: 0,
        }
    }

    pub fn send(&mut self, request: &Request) -> Response {
        self.try_send(request).expect("an answer")
    }

    /// The same where the answer may be that the connection is closed.
    pub fn try_send(&mut self, request: &Request) -> io::Result<Response> {
        const MOST: u32 = 40;
        let open = match self.connection.take() {
            Some((connection, used)) if used < MOST => (connection, used),
            _ => {
                let opened = Connection::open_from(fresh_address(), self.service, &self.tls);
                (opened.expect("a connection"), 0)
            }
        };
        let (mut connection, used) = open;
        let answer = connection.send(request)?;
        self.connection = Some((connection, used + 1));
        self.sent += 1;
        Ok(answer)
    }

    /// What this token is good for, asked of `target`.
    pub fn present(&mut self, token: &str, target: &str) -> Response {
        self.send(&Request::get(target).bearer(token))
    }
}
