//! The running service, as an orchestrator sees it.

use std::net::SocketAddr;
use std::time::Duration;

use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::finding::Findings;
use crate::config::Config;

/// How long the listener may take.
const PATIENCE: Duration = Duration::from_secs(5);

/// The most bytes of an answer.
const MOST: u64 = 64 * 1024;

/// The body of `/readyz`: one plain request on a connection of its own.
async fn ask(listen: SocketAddr) -> std::io::Result<Option<Value>> {
    let mut stream = TcpStream::connect(listen).await?;
    let request = format!("GET /readyz HTTP/1.1\r\nHost: {listen}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await?;
    let mut answer = Vec::new();
    stream.take(MOST).read_to_end(&mut answer).await?;
    let text = String::from_utf8_lossy(&answer);
    let body = text.split_once("\r\n\r\n").map_or("", |(_, body)| body);
    Ok(Some(serde_json::from_str(body).unwrap_or_default()))
}

/// Asks the status listener.
pub(super) async fn check(config: &Config, must_run: bool, findings: &mut Findings) {
    const CHECK: &str = "service";
    let mut listen = config.status.listen;
    if listen.ip().is_unspecified() {
        listen.set_ip(std::net::Ipv4Addr::LOCALHOST.into());
    }
    let asked = tokio::time::timeout(PATIENCE, ask(listen));
    let asked = async { asked.await.ok()?.ok()? };
    let Some(answer) = asked.await else {
        let text = format!("nothing answers on {listen}");
        if must_run {
            findings.problem(CHECK, text, "start it, or look at its log");
        } else {
            findings.skipped(CHECK, format!("{text}: it does not run"));
        }
        return;
    };
    let empty = Vec::new();
    let parts = answer["parts"].as_array().unwrap_or(&empty);
    let mut ready = !parts.is_empty();
    for part in parts.iter().filter(|part| part["ready"] != true) {
        ready = false;
        let word = |name: &str| part[name].as_str().unwrap_or("?").to_owned();
        findings.problem(
            CHECK,
            format!(
                "the service is not ready: {}: {}",
                word("name"),
                word("detail")
            ),
            "nothing has to be restarted: it becomes ready by itself when the cause is gone",
        );
    }
    if ready {
        findings.ok(CHECK, format!("the service is ready ({listen})"));
    } else if parts.is_empty() {
        findings.problem(
            CHECK,
            format!("something else than strongroom answers on {listen}"),
            "correct status.listen, or stop the other program",
        );
    }
}
