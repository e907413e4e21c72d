//! Connections: what is cut, what is kept, and what is finished.

use std::{sync::Arc, time::Duration};

use rustls::pki_types::CertificateDer;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    sync::watch,
};
use tokio_rustls::client::TlsStream;

use super::support::{Running, ask_on, closes_within, read_reply, request, router, start};
use crate::http::server::{Limits, Server, Transport};

fn short() -> Limits {
    Limits {
        handshake_timeout: Duration::from_millis(400),
        first_request_timeout: Duration::from_millis(400),
        header_timeout: Duration::from_millis(600),
        drain_timeout: Duration::from_secs(3),
        ..Limits::default()
    }
}

const SOON: Duration = Duration::from_secs(3);

#[tokio::test]
async fn a_client_that_never_ends_its_handshake_is_cut_and_holds_nobody_up() {
    // One step at a time, so that a silent client that held it would block everybody.
    let running = start(Limits {
        handshake_steps: 1,
        ..short()
    })
    .await;
    let mut silent = Vec::new();
    for n in 0..50 {
        let mut tcp = running.tcp().await;
        if n % 2 == 0 {
            // The first bytes of a record that never comes.
            tcp.write_all(&[22, 3, 1, 1]).await.unwrap();
        }
        silent.push(tcp);
    }
    let reply = running.ask(&request("GET /who", &[], "")).await;
    assert_eq!(reply.status, 200);
    for mut tcp in silent {
        assert!(closes_within(&mut tcp, SOON).await);
    }
}

#[tokio::test]
async fn a_client_that_never_ends_its_headers_is_cut() {
    let running = start(short()).await;
    let mut silent = running.connect().await;
    let mut started = running.connect().await;
    started
        .write_all(b"GET /who HTTP/1.1\r\nhost:")
        .await
        .unwrap();
    let mut second = running.connect().await;
    assert_eq!(
        ask_on(&mut second, &request("GET /who", &[], ""))
            .await
            .status,
        200
    );
    second
        .write_all(b"GET /who HTTP/1.1\r\nhost:")
        .await
        .unwrap();
    assert!(closes_within(&mut silent, SOON).await);
    assert!(closes_within(&mut started, SOON).await);
    assert!(closes_within(&mut second, SOON).await);
}

#[tokio::test]
async fn an_http2_client_that_asks_nothing_is_cut() {
    let running = start(short()).await;
    let mut config = running.ca.client_config(false);
    config.alpn_protocols = vec![b"h2".to_vec()];
    let mut silent = running.connect_with(config.clone()).await;
    let mut greeting = running.connect_with(config).await;
    greeting
        .write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0")
        .await
        .unwrap();
    assert!(closes_within(&mut silent, SOON).await);
    assert!(closes_within(&mut greeting, SOON).await);
}

#[tokio::test]
async fn http2_is_served_where_it_is_negotiated() {
    let running = start(Limits::default()).await;
    let mut config = running.ca.client_config(true);
    config.alpn_protocols = vec![b"h2".to_vec()];
    let client = reqwest::Client::builder()
        .tls_backend_preconfigured(config)
        .resolve("localhost", running.address)
        .build()
        .unwrap();
    let url = format!("https://localhost:{}/who", running.address.port());
    for times in ["1", "2"] {
        let reply = client.get(&url).send().await.unwrap();
        assert_eq!(reply.version(), reqwest::Version::HTTP_2);
        assert_eq!(reply.headers()["cache-control"], "no-store");
        let text = reply.text().await.unwrap();
        assert!(text.starts_with("127.0.0.1 1 req_"), "{text}");
        assert!(text.ends_with(&format!(" {times}")), "{text}");
    }
}

#[tokio::test]
async fn plaintext_to_the_tls_port_is_closed_without_an_http_answer() {
    let running = start(short()).await;
    let mut tcp = running.tcp().await;
    tcp.write_all(request("GET /who", &[], "").as_bytes())
        .await
        .unwrap();
    let mut answer = Vec::new();
    let _ = tokio::time::timeout(SOON, tcp.read_to_end(&mut answer))
        .await
        .unwrap();
    assert!(!answer.starts_with(b"HTTP"));
    // At most the alert that TLS itself sends.
    assert!(answer.len() <= 7, "{answer:?}");
}

#[tokio::test]
async fn requests_of_a_connection_know_its_certificate_and_share_what_is_kept() {
    let running = start(Limits::default()).await;
    let mut with = running.connect_with(running.ca.client_config(true)).await;
    let get = request("GET /who", &["X-Forwarded-For: 192.0.2.9"], "");
    for times in ["1", "2", "3"] {
        let reply = ask_on(&mut with, &get).await;
        assert!(reply.body.starts_with("127.0.0.1 1 req_"), "{}", reply.body);
        assert!(reply.body.ends_with(&format!(" {times}")), "{}", reply.body);
    }
    let reply = running.ask(&get).await;
    assert!(reply.body.starts_with("127.0.0.1 0 req_"), "{}", reply.body);
    assert!(reply.body.ends_with(" 1"), "{}", reply.body);
}

fn shown(stream: &TlsStream<TcpStream>) -> CertificateDer<'static> {
    stream.get_ref().1.peer_certificates().unwrap()[0].clone()
}

#[tokio::test]
async fn a_new_server_certificate_is_used_without_dropping_open_connections() {
    let running = start(Limits::default()).await;
    let mut open = running.connect().await;
    let get = request("GET /who", &[], "");
    assert_eq!(ask_on(&mut open, &get).await.status, 200);
    let (config, certificate) = running.ca.server_config();
    running.tls.store(config);
    let mut new = running.connect().await;
    assert_eq!(shown(&new), certificate);
    assert_ne!(shown(&open), certificate);
    assert_eq!(ask_on(&mut new, &get).await.status, 200);
    let reply = ask_on(&mut open, &get).await;
    assert!(
        reply.body.ends_with(" 2"),
        "the same connection: {}",
        reply.body
    );
}

#[tokio::test]
async fn stopping_finishes_the_request_in_flight_and_lets_nobody_in() {
    let running = start(Limits::default()).await;
    let mut idle = running.connect().await;
    assert_eq!(
        ask_on(&mut idle, &request("GET /who", &[], ""))
            .await
            .status,
        200
    );
    let mut busy = running.connect().await;
    busy.write_all(request("GET /slow", &[], "").as_bytes())
        .await
        .unwrap();
    let half_open = running.tcp().await;
    tokio::time::sleep(Duration::from_millis(200)).await;
    running.stop.send(true).unwrap();
    assert!(closes_within(&mut idle, SOON).await);
    let reply = read_reply(&mut busy, false).await.unwrap();
    assert_eq!((reply.status, reply.body.as_str()), (200, "slow but whole"));
    tokio::time::timeout(SOON, running.task)
        .await
        .unwrap()
        .unwrap();
    assert!(TcpStream::connect(running.address).await.is_err());
    drop(half_open);
}

#[tokio::test]
async fn stopping_does_not_wait_for_ever() {
    let running = start(Limits {
        drain_timeout: Duration::from_millis(100),
        ..Limits::default()
    })
    .await;
    let mut busy = running.connect().await;
    busy.write_all(request("GET /slow", &[], "").as_bytes())
        .await
        .unwrap();
    tokio::time::sleep(Duration::from_millis(100)).await;
    running.stop.send(true).unwrap();
    tokio::time::timeout(SOON, running.task)
        .await
        .unwrap()
        .unwrap();
    assert!(read_reply(&mut busy, false).await.is_none());
}

#[tokio::test]
async fn an_old_connection_ends_after_its_request() {
    let running = start(Limits {
        connection_age: Duration::from_millis(300),
        ..Limits::default()
    })
    .await;
    let mut stream = running.connect().await;
    let reply = ask_on(&mut stream, &request("GET /slow", &[], "")).await;
    assert_eq!(reply.body, "slow but whole");
    assert!(closes_within(&mut stream, SOON).await);
}

#[tokio::test]
async fn more_connections_than_allowed_wait_their_turn() {
    let running = Arc::new(
        start(Limits {
            connections: 2,
            ..Limits::default()
        })
        .await,
    );
    let get = request("GET /who", &[], "");
    let mut first = running.connect().await;
    let mut second = running.connect().await;
    assert_eq!(ask_on(&mut first, &get).await.status, 200);
    assert_eq!(ask_on(&mut second, &get).await.status, 200);
    let waiting = {
        let running: Arc<Running> = Arc::clone(&running);
        let get = get.clone();
        tokio::spawn(async move { running.ask(&get).await.status })
    };
    tokio::time::sleep(Duration::from_millis(200)).await;
    assert!(!waiting.is_finished());
    drop(first);
    assert_eq!(waiting.await.unwrap(), 200);
    assert_eq!(ask_on(&mut second, &get).await.status, 200);
}

#[tokio::test]
async fn strangers_of_one_address_have_a_share_of_the_places() {
    // A quarter of 64.
    let running = start(Limits {
        connections: 64,
        ..Limits::default()
    })
    .await;
    let mut strangers = Vec::new();
    for _ in 0..16 {
        strangers.push(running.connect().await);
    }
    let mut late = running.tcp().await;
    assert!(closes_within(&mut late, SOON).await);
    // Another address has a share of its own.
    let socket = tokio::net::TcpSocket::new_v4().unwrap();
    socket.bind("127.0.0.2:0".parse().unwrap()).unwrap();
    let mut elsewhere = socket.connect(running.address).await.unwrap();
    assert!(!closes_within(&mut elsewhere, Duration::from_millis(300)).await);
    // Whoever proves who they are is no stranger, and leaves a place to the next.
    let proven = request("GET /proven", &[], "");
    assert_eq!(ask_on(&mut strangers[0], &proven).await.status, 200);
    let mut next = running.connect().await;
    // So is whoever goes.
    drop(strangers.pop());
    let get = request("GET /who", &[], "");
    tokio::time::timeout(SOON, async {
        loop {
            let mut tcp = running.tcp().await;
            if !closes_within(&mut tcp, Duration::from_millis(100)).await {
                break;
            }
        }
    })
    .await
    .unwrap();
    for stream in [&mut strangers[0], &mut next] {
        assert_eq!(ask_on(stream, &get).await.status, 200);
    }
}

#[tokio::test]
async fn many_handshakes_at_once_all_succeed() {
    let running = Arc::new(
        start(Limits {
            handshake_steps: 1,
            ..Limits::default()
        })
        .await,
    );
    let tasks: Vec<_> = (0..60)
        .map(|_| {
            let running = Arc::clone(&running);
            tokio::spawn(async move { running.ask(&request("GET /who", &[], "")).await.status })
        })
        .collect();
    for task in tasks {
        assert_eq!(task.await.unwrap(), 200);
    }
}

#[tokio::test]
async fn the_status_listener_speaks_plainly() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (stop, stopping) = watch::channel(false);
    let server = Server {
        listener,
        transport: Transport::Plain,
        router: router(),
        limits: short(),
    };
    let task = tokio::spawn(server.run(stopping));
    let mut tcp = TcpStream::connect(address).await.unwrap();
    let reply = ask_on(&mut tcp, &request("GET /who", &[], "")).await;
    assert_eq!(reply.status, 200);
    let mut silent = TcpStream::connect(address).await.unwrap();
    assert!(closes_within(&mut silent, SOON).await);
    // The sender's end is a stop, too.
    drop(stop);
    tokio::time::timeout(SOON, task).await.unwrap().unwrap();
}
