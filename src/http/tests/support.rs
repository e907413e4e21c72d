//! A server on loopback and clients that speak to it byte by byte.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use arc_swap::ArcSwap;
use axum::{Extension, Router, routing::get, routing::post};
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use rustls::{
    ClientConfig, RootCertStore, ServerConfig,
    crypto::ring,
    pki_types::{CertificateDer, PrivateKeyDer, ServerName},
    server::WebPkiClientVerifier,
};
use serde::Deserialize;
use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    sync::watch,
    task::JoinHandle,
};
use tokio_rustls::{TlsConnector, client::TlsStream};

use crate::{
    clock::MockClock,
    http::{
        extract::{IfMatch, Page, StrictJson, StrictPath},
        problem::Answer,
        request_id::RequestContext,
        server::{Connection, Limits, Server, TlsSource, Transport},
        surround,
    },
    model::{ClientId, Timestamp},
    random::SystemRandom,
};

/// Stands for a secret that must come back in no answer.
pub const CANARY: &str = "Kanarienvogel-7Q";

/// A certificate authority of the tests.
pub struct Ca {
    issuer: Issuer<'static, KeyPair>,
    der: CertificateDer<'static>,
}

impl Ca {
    pub fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        let der = params.self_signed(&key).unwrap().der().clone();
        Self {
            issuer: Issuer::new(params, key),
            der,
        }
    }

    fn issue(&self) -> (CertificateDer<'static>, PrivateKeyDer<'static>) {
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        (
            certificate.der().clone(),
            PrivateKeyDer::Pkcs8(key.serialize_der().into()),
        )
    }

    fn roots(&self) -> Arc<RootCertStore> {
        let mut roots = RootCertStore::empty();
        roots.add(self.der.clone()).unwrap();
        Arc::new(roots)
    }

    /// A server's configuration with a certificate of its own, and that certificate.
    pub fn server_config(&self) -> (Arc<ServerConfig>, CertificateDer<'static>) {
        let provider = Arc::new(ring::default_provider());
        let verifier =
            WebPkiClientVerifier::builder_with_provider(self.roots(), Arc::clone(&provider))
                .allow_unauthenticated()
                .build()
                .unwrap();
        let (certificate, key) = self.issue();
        let mut config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_client_cert_verifier(verifier)
            .with_single_cert(vec![certificate.clone()], key)
            .unwrap();
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        (Arc::new(config), certificate)
    }

    /// A client's configuration, with a certificate or without.
    pub fn client_config(&self, with_certificate: bool) -> ClientConfig {
        let builder = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(self.roots());
        if with_certificate {
            let (certificate, key) = self.issue();
            builder
                .with_client_auth_cert(vec![certificate], key)
                .unwrap()
        } else {
            builder.with_no_client_auth()
        }
    }
}

pub struct Running {
    pub address: SocketAddr,
    pub ca: Ca,
    pub tls: TlsSource,
    pub stop: watch::Sender<bool>,
    pub task: JoinHandle<()>,
}

#[derive(Deserialize)]
pub struct Deposit {
    pub name: String,
    pub count: u8,
}

async fn deposit(StrictJson(body): StrictJson<Deposit>) -> String {
    format!("{} {}", body.name.len(), body.count)
}

async fn who(
    Extension(connection): Extension<Arc<Connection>>,
    Extension(context): Extension<Arc<RequestContext>>,
) -> String {
    let times = connection.kept::<u32>().map_or(1, |times| *times + 1);
    connection.keep(Arc::new(times));
    format!(
        "{} {} {} {times}",
        connection.peer_ip(),
        connection.certificates().len(),
        context.id()
    )
}

async fn proven(Extension(connection): Extension<Arc<Connection>>) {
    connection.proven();
}

async fn explode() -> String {
    panic!("{CANARY}")
}

async fn slow() -> &'static str {
    tokio::time::sleep(Duration::from_millis(700)).await;
    "slow but whole"
}

async fn page(page: Page) -> String {
    format!("{} {:?}", page.limit, page.cursor)
}

async fn change(IfMatch(revision): IfMatch) -> Answer<String> {
    Ok(revision.to_string())
}

async fn client(StrictPath(id): StrictPath<ClientId>) -> String {
    id.to_string()
}

pub fn router() -> Router {
    let router = Router::new()
        .route("/who", get(who))
        .route("/deposit", post(deposit))
        .route("/proven", get(proven))
        .route("/explode", get(explode))
        .route("/slow", get(slow))
        .route("/page", get(page))
        .route("/change", post(change))
        .route("/clients/{id}", get(client));
    let clock = Arc::new(MockClock::at(Timestamp::from_secs(1_800_000_000)));
    surround(router, clock, Arc::new(SystemRandom::new()))
}

pub async fn start(limits: Limits) -> Running {
    let ca = Ca::new();
    let tls = Arc::new(ArcSwap::new(ca.server_config().0));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (stop, stopping) = watch::channel(false);
    let server = Server {
        listener,
        transport: Transport::Tls(Arc::clone(&tls)),
        router: router(),
        limits,
    };
    Running {
        address,
        ca,
        tls,
        stop,
        task: tokio::spawn(server.run(stopping)),
    }
}

impl Running {
    pub async fn tcp(&self) -> TcpStream {
        TcpStream::connect(self.address).await.unwrap()
    }

    pub async fn connect_with(&self, config: ClientConfig) -> TlsStream<TcpStream> {
        let name = ServerName::try_from("localhost").unwrap();
        let tcp = self.tcp().await;
        TlsConnector::from(Arc::new(config))
            .connect(name, tcp)
            .await
            .unwrap()
    }

    pub async fn connect(&self) -> TlsStream<TcpStream> {
        self.connect_with(self.ca.client_config(false)).await
    }

    /// One request on a connection of its own.
    pub async fn ask(&self, request: &str) -> Reply {
        let mut stream = self.connect().await;
        ask_on(&mut stream, request).await
    }
}

/// An answer as it came over the wire.
#[derive(Debug)]
pub struct Reply {
    pub status: u16,
    pub head: String,
    pub body: String,
}

impl Reply {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.head.lines().find_map(|line| {
            let (key, value) = line.split_once(": ")?;
            key.eq_ignore_ascii_case(name).then_some(value)
        })
    }
}

/// `GET path` or `POST path` and the rest of the head, as one request.
pub fn request(first: &str, headers: &[&str], body: &str) -> String {
    let mut text = format!("{first} HTTP/1.1\r\nhost: localhost\r\n");
    for header in headers {
        text.push_str(header);
        text.push_str("\r\n");
    }
    if !body.is_empty() {
        text.push_str(&format!("content-length: {}\r\n", body.len()));
    }
    text.push_str("\r\n");
    text.push_str(body);
    text
}

pub async fn ask_on<S: AsyncRead + AsyncWrite + Unpin>(stream: &mut S, request: &str) -> Reply {
    // A server that refuses a body early may close before all of it is written.
    let _ = stream.write_all(request.as_bytes()).await;
    let _ = stream.flush().await;
    let head_only = request.starts_with("HEAD");
    read_reply(stream, head_only).await.expect("an answer")
}

/// One answer, or `None` if the connection ends before it is whole.
pub async fn read_reply<S: AsyncRead + Unpin>(stream: &mut S, head_only: bool) -> Option<Reply> {
    let reading = async {
        let mut bytes = Vec::new();
        let end = loop {
            if let Some(at) = bytes.windows(4).position(|four| four == b"\r\n\r\n") {
                break at;
            }
            bytes.push(stream.read_u8().await.ok()?);
        };
        let head = String::from_utf8(bytes[..end].to_vec()).ok()?;
        let status = head.split(' ').nth(1)?.parse().ok()?;
        let mut reply = Reply {
            status,
            head,
            body: String::new(),
        };
        let length = reply
            .header("content-length")
            .map_or(0, |n| n.parse().unwrap());
        if !head_only {
            let mut body = vec![0; length];
            stream.read_exact(&mut body).await.ok()?;
            reply.body = String::from_utf8(body).ok()?;
        }
        Some(reply)
    };
    tokio::time::timeout(Duration::from_secs(10), reading)
        .await
        .expect("an answer in time")
}

/// Whether the peer closes the connection within `limit`, whatever it says before.
pub async fn closes_within<S: AsyncRead + Unpin>(stream: &mut S, limit: Duration) -> bool {
    let mut bytes = [0; 1024];
    let reading = async { while matches!(stream.read(&mut bytes).await, Ok(n) if n > 0) {} };
    tokio::time::timeout(limit, reading).await.is_ok()
}
