//! Requests whose length can be read in two ways: row 47.

use super::{by_the_peer, refused};
use crate::support::{Backend, Service};

/// Two lengths, or a length and chunks: no two readers may see two requests.
#[test]
fn row_47_two_readings_of_one_request() {
    let service = Service::dev(&Backend::Sqlite);
    let operator = service.client("operator");
    // What is sent, and the statuses of the answers up to the end of the connection.
    let statuses = |headers: &str, body: &str| {
        let head = "POST /api/v1/roles HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n";
        let hidden = "GET /api/v1/whoami HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n";
        let mut connection = operator.connect();
        let whole = format!("{head}{headers}\r\n\r\n{body}{hidden}");
        connection.write(whole.as_bytes()).expect("a write");
        let mut statuses = Vec::new();
        loop {
            match connection.receive() {
                Ok(answer) => statuses.push(answer.status),
                Err(error) if by_the_peer(&error) => return statuses,
                Err(error) => panic!("{headers:?}: it does not end the connection: {error}"),
            }
        }
    };
    // Of two requests both are answered: a hidden one would be seen.
    assert_eq!(statuses("content-length: 4", "null"), [422, 200]);
    assert_eq!(
        statuses("transfer-encoding: chunked", "4\r\nnull\r\n0\r\n\r\n"),
        [422, 200]
    );
    for (headers, body) in [
        // Read as chunks, and the connection ends (RFC 9112, 6.1).
        (
            "content-length: 4\r\ntransfer-encoding: chunked",
            "0\r\n\r\n",
        ),
        (
            "transfer-encoding: chunked\r\ncontent-length: 4",
            "0\r\n\r\n",
        ),
        ("content-length: 4\r\ncontent-length: 5", "nullx"),
        ("content-length: 4, 5", "nullx"),
        ("content-length: +4", "null"),
        ("content-length: -4", "null"),
        ("content-length: 0x4", "null"),
        ("content-length: 18446744073709551620", "null"),
        ("content-length : 4", "null"),
        ("content-length: 4\r\n content-length: 0", "null"),
        ("transfer-encoding: chunked, identity", "0\r\n\r\n"),
        ("transfer-encoding: xchunked", "0\r\n\r\n"),
        ("transfer-encoding : chunked", "0\r\n\r\n"),
        ("transfer-encoding: chunked", "0x0\r\n\r\n"),
        ("transfer-encoding: chunked", "-1\r\n\r\n"),
        ("transfer-encoding: chunked", "10000000000000000\r\n\r\n"),
    ] {
        let statuses = statuses(headers, body);
        let one = statuses.len() <= 1 && statuses.iter().all(|it| (400..500).contains(it));
        assert!(one, "{headers:?} {body:?}: {statuses:?}");
        refused(1);
    }
}
