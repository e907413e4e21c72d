//! The server that everything is compared with: axum, hyper and rustls as the service uses them, the
//! same bytes in answer, and nothing else. It does none of what a release is.
//!
//! It runs in a process of its own, so that what it uses can be told from what the load uses.

use std::{convert::Infallible, env, fs, path::Path, sync::Arc};

use axum::{
    Router,
    body::Body,
    extract::State,
    http::{HeaderMap, HeaderName, HeaderValue},
    response::Response,
    routing::get,
};
use bytes::Bytes;
use hyper_util::{
    rt::{TokioExecutor, TokioIo},
    server::conn::auto,
    service::TowerToHyperService,
};
use rustls::{ServerConfig, server::WebPkiClientVerifier, version::TLS13};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;

use crate::{
    answer::value_of,
    certificates,
    load::Answer,
    process::{Cores, Server, command},
};

/// The first argument that makes this program the bare server.
pub const ROLE: &str = "bare-server";

/// The route of a release.
const ROUTE: &str = "/api/v1/release/{id}";

/// A request that it answers.
pub const PATH: &str = "/api/v1/release/any";

/// Starts it with the files in `directory`; gives it and its port.
///
/// # Errors
/// It does not start.
pub fn start(directory: &Path, cores: Option<Cores>) -> Result<(Server, u16), String> {
    let own = env::current_exe().map_err(|error| format!("no file of this program: {error}"))?;
    let (server, port) = Server::start_and_listen(command(&own, cores)?.arg(ROLE).arg(directory))?;
    let port = port
        .parse()
        .map_err(|_| "the bare server says no port".to_owned())?;
    Ok((server, port))
}

/// Writes to `directory` what the bare server is to answer: the headers and the body of `answer`.
///
/// # Errors
/// A file cannot be written.
pub fn write_answer(directory: &Path, answer: &Answer) -> Result<(), String> {
    // What the server writes by itself, or what belongs to a connection.
    let own: [&[u8]; 4] = [
        b"date",
        b"content-length",
        b"transfer-encoding",
        b"connection",
    ];
    let lines: Vec<&[u8]> = answer
        .lines
        .iter()
        .skip(1)
        .filter(|line| !line.is_empty() && own.iter().all(|name| value_of(line, name).is_none()))
        .map(Vec::as_slice)
        .collect();
    fs::write(directory.join("headers"), lines.join(&b'\n'))
        .and_then(|()| fs::write(directory.join("body"), &answer.body))
        .map_err(|error| format!("{}: {error}", directory.display()))
}

/// Headers and a body as a release of one credential has them, made up: for a run without the
/// service.
pub fn made_up_answer() -> Answer {
    let lines = [
        "HTTP/1.1 200 OK",
        "content-type: application/json",
        "cache-control: no-store",
        "vary: accept",
        "etag: W/\"0123456789abcdef0123456789abcdef\"",
        "strongroom-checkpoint: ZGV2LTAxajAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwCjEyMzQ1Njc4OTAKQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQT0KCuKAlCBkZXYgQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUE9Cg==",
    ];
    Answer {
        status: 200,
        lines: lines.iter().map(|line| line.as_bytes().to_vec()).collect(),
        body: br#"{"id":"cred_01j00000000000000000000000","client":{"id":"clnt_01j00000000000000000000000","name":"Example Realty","slug":"example-realty"},"label":"mail sync","kind":"microsoft365","environment":"production","role":"m365-sync","version":1,"state":"active","expires_at":"2028-11-20T00:00:00Z","fields":{"tenant_id":"00000000-0000-0000-0000-000000000000","client_id":"00000000-0000-0000-0000-000000000000","client_secret":"0000000000000000000000000000000000000000"}}"#.to_vec(),
    }
}

/// The life of the bare server: says its port on standard output and serves until it is killed.
///
/// # Errors
/// It cannot begin.
pub fn serve(directory: &Path) -> Result<Infallible, String> {
    // One worker thread on one core, as the service has on it.
    tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(|error| error.to_string())?
        .block_on(accept(directory))
}

async fn accept(directory: &Path) -> Result<Infallible, String> {
    let acceptor = TlsAcceptor::from(Arc::new(tls(directory)?));
    let answer = Arc::new(Fixed::read(directory)?);
    let router = Router::new()
        .route(
            ROUTE,
            get(async |State(fixed): State<Arc<Fixed>>| fixed.response()),
        )
        .with_state(answer);
    let service = TowerToHyperService::new(router);
    let builder = auto::Builder::new(TokioExecutor::new());
    let listener = TcpListener::bind(("127.0.0.1", 0))
        .await
        .map_err(|error| format!("no listener: {error}"))?;
    let address = listener.local_addr().map_err(|error| error.to_string())?;
    println!("{}", address.port());
    loop {
        let Ok((stream, _)) = listener.accept().await else {
            continue;
        };
        tokio::spawn(connection(
            stream,
            acceptor.clone(),
            builder.clone(),
            service.clone(),
        ));
    }
}

async fn connection(
    stream: TcpStream,
    acceptor: TlsAcceptor,
    builder: auto::Builder<TokioExecutor>,
    service: TowerToHyperService<Router>,
) {
    // A connection that fails is noticed by who opened it.
    let _ = stream.set_nodelay(true);
    if let Ok(stream) = acceptor.accept(stream).await {
        let _ = builder
            .serve_connection(TokioIo::new(stream), service)
            .await;
    }
}

fn tls(directory: &Path) -> Result<ServerConfig, String> {
    let callers = WebPkiClientVerifier::builder_with_provider(
        Arc::new(certificates::authorities(directory)?),
        certificates::provider(),
    )
    .build()
    .map_err(|error| error.to_string())?;
    let (chain, key) = certificates::identity(directory, "server")?;
    let mut config = ServerConfig::builder_with_provider(certificates::provider())
        .with_protocol_versions(&[&TLS13])
        .map_err(|error| error.to_string())?
        .with_client_cert_verifier(callers)
        .with_single_cert(chain, key)
        .map_err(|error| error.to_string())?;
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    config.send_tls13_tickets = 0;
    Ok(config)
}

/// The one answer.
struct Fixed {
    headers: HeaderMap,
    body: Bytes,
}

impl Fixed {
    fn read(directory: &Path) -> Result<Self, String> {
        let read =
            |name| fs::read(directory.join(name)).map_err(|error| format!("{name}: {error}"));
        let mut headers = HeaderMap::new();
        for line in read("headers")?.split(|byte| *byte == b'\n') {
            let mut parts = line.splitn(2, |byte| *byte == b':');
            let name = HeaderName::from_bytes(parts.next().unwrap_or_default());
            let value = HeaderValue::from_bytes(parts.next().unwrap_or_default().trim_ascii());
            if let (Ok(name), Ok(value)) = (name, value) {
                headers.append(name, value);
            }
        }
        Ok(Self {
            headers,
            body: read("body")?.into(),
        })
    }

    fn response(&self) -> Response {
        let mut response = Response::new(Body::from(self.body.clone()));
        *response.headers_mut() = self.headers.clone();
        response
    }
}
