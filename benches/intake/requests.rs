//! Requests with a body, and those of the listeners without TLS.

use std::{
    io::{Read as _, Write as _},
    net::{SocketAddr, TcpStream},
};

use serde_json::Value;

use crate::load::{Connection, Peer};

/// Sends a body; the status and the answer.
///
/// # Errors
/// The connection broke.
pub async fn post(
    connection: &mut Connection,
    peer: &Peer,
    path: &str,
    kind: &str,
    body: &str,
) -> Result<(u16, Vec<u8>), String> {
    let request = format!(
        "POST {path} HTTP/1.1\r\nhost: {}\r\ncontent-type: {kind}\r\ncontent-length: {}\r\n\r\n{body}",
        peer.address,
        body.len()
    );
    let (head, end) = connection.exchange(request.as_bytes()).await?;
    let answer = head.content(&connection.received[..end])?;
    Ok((head.status, answer.to_vec()))
}

/// Sends JSON to the API, which must say that it went well; what it answers.
///
/// # Errors
/// It did not.
pub async fn tell(
    connection: &mut Connection,
    peer: &Peer,
    path: &str,
    body: &Value,
) -> Result<Value, String> {
    let path = format!("/api/v1{path}");
    let kind = "application/json";
    let (status, answer) = post(connection, peer, &path, kind, &body.to_string()).await?;
    if !(200..300).contains(&status) {
        let answer = String::from_utf8_lossy(&answer).into_owned();
        return Err(format!("{path} answers {status}: {answer}"));
    }
    serde_json::from_slice(&answer).map_err(|_| format!("{path} does not answer JSON"))
}

/// One request to a listener without TLS; the body of the answer.
///
/// # Errors
/// There is no answer.
pub fn plain(address: SocketAddr, method: &str, path: &str, body: &str) -> Result<String, String> {
    let lost = |error| format!("{path}: {error}");
    let mut stream = TcpStream::connect(address).map_err(lost)?;
    let head = format!(
        "{method} {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\ncontent-length: {}\r\n\r\n",
        body.len()
    );
    stream.write_all(head.as_bytes()).map_err(lost)?;
    stream.write_all(body.as_bytes()).map_err(lost)?;
    let mut text = String::new();
    stream.read_to_string(&mut text).map_err(lost)?;
    let status = text.split_whitespace().nth(1).unwrap_or_default();
    match (status.starts_with('2'), text.split_once("\r\n\r\n")) {
        (true, Some((_, body))) => Ok(body.to_owned()),
        _ => Err(format!("{path} answers {status}")),
    }
}

/// The sum of a metric over its labels, of those lines that have `part` in them.
pub fn metric(text: &str, name: &str, part: &str) -> f64 {
    text.lines()
        .filter_map(|line| line.strip_prefix(name))
        .filter(|rest| rest.starts_with([' ', '{']) && rest.contains(part))
        .filter_map(|rest| rest.rsplit(' ').next()?.parse::<f64>().ok())
        .fold(0.0, |sum, value| sum + value)
}
