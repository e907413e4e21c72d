//! Stores credentials through the API, many at once, so that they share commits.

use std::{
    ops::Range,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use serde_json::{Value, json};
use tokio::task::JoinSet;

use crate::{
    deployment::Deployment,
    load::{Connection, Peer},
    open::VALUE_BYTES,
};

/// How many connections store at once.
const CONNECTIONS: usize = 64;

/// How many clients lend them.
const CLIENTS: usize = 100;

/// Stores the credentials with these numbers, each with an active version whose payload has about
/// [`VALUE_BYTES`].
///
/// # Errors
/// One cannot be stored.
pub async fn credentials(deployment: &Deployment, numbers: Range<usize>) -> Result<(), String> {
    let peer = deployment.operator()?;
    if numbers.start == 0 {
        let mut connection = Connection::open(&peer).await?;
        for n in 0..CLIENTS {
            let body =
                json!({"name": format!("Example Realty {n}"), "slug": format!("client-{n}")});
            create(&mut connection, &peer, "/api/v1/clients", &body).await?;
        }
    }
    let next = Arc::new(AtomicUsize::new(numbers.start));
    let mut tasks = JoinSet::new();
    for _ in 0..CONNECTIONS {
        let (peer, next) = (peer.clone(), Arc::clone(&next));
        tasks.spawn(async move {
            let mut connection = Connection::open(&peer).await?;
            let mut sent = 0;
            loop {
                let n = next.fetch_add(1, Ordering::Relaxed);
                if n >= numbers.end {
                    return Ok::<_, String>(());
                }
                store(&mut connection, &peer, n).await?;
                sent += 1;
                // The service ends a connection after ten minutes.
                if sent % 1000 == 0 {
                    connection = Connection::open(&peer).await?;
                }
            }
        });
    }
    while let Some(done) = tasks.join_next().await {
        done.map_err(|_| "a task panicked")??;
    }
    Ok(())
}

async fn store(connection: &mut Connection, peer: &Peer, n: usize) -> Result<(), String> {
    let body = json!({"client": format!("client-{}", n % CLIENTS), "label": format!("mail {n}"),
                      "kind": "generic", "environment": "production", "roles": ["m365-sync"]});
    let credential = create(connection, peer, "/api/v1/credentials", &body).await?;
    let id = credential["id"].as_str().unwrap_or_default();
    let value = format!("{n:08}{}", "v".repeat(VALUE_BYTES - 20));
    let body = json!({"fields": {"value": value}, "expires_at": "2031-01-01",
                      "activate": {"reason": "bench"}});
    let versions = format!("/api/v1/credentials/{id}/versions");
    create(connection, peer, &versions, &body).await?;
    Ok(())
}

async fn create(
    connection: &mut Connection,
    peer: &Peer,
    path: &str,
    body: &Value,
) -> Result<Value, String> {
    let body = body.to_string();
    let request = format!(
        "POST {path} HTTP/1.1\r\nhost: {}\r\ncontent-type: application/json\r\n\
         content-length: {}\r\n\r\n{body}",
        peer.address,
        body.len()
    );
    let (head, end) = connection.exchange(request.as_bytes()).await?;
    let answer = head.content(&connection.received[..end])?;
    if head.status != 201 {
        let answer = String::from_utf8_lossy(&answer).into_owned();
        return Err(format!("{path} answers {}: {answer}", head.status));
    }
    serde_json::from_slice(&answer).map_err(|_| format!("{path} does not answer JSON"))
}
