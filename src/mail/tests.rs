use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpListener;

use super::*;
use crate::model::{CredentialKind, MailFault as Fault, MailId, MailKind, Timestamp};
use crate::secret::Secret;

const LINK: &str = "https://in.example.com/i/AbCdEfGhIjKlMnOpQrStUvWxYz0123456789-_AbCdE";

fn id() -> MailId {
    "mail_01kaqz3m8v7d6k2n4p9r5s1t0x".parse().unwrap()
}

fn sender() -> Sender {
    "Example Sync <access@example.com>".parse().unwrap()
}

fn addressee() -> Addressee {
    Addressee {
        name: "Ada <b> Müller".parse().ok(),
        address: "ada@client.example".parse().unwrap(),
    }
}

fn at(text: &str) -> Timestamp {
    Timestamp::parse_with_precision(text).unwrap().0
}

fn letters() -> Vec<Letter> {
    let (client, label) = ("Fisch & <i>Söhne</i>".to_owned(), "mail sync".to_owned());
    let kind = CredentialKind::Microsoft365;
    vec![
        Letter::Test,
        Letter::Invite {
            client: client.clone(),
            label: label.clone(),
            kind,
            link: LINK.to_owned(),
            expires_at: at("2028-11-20T12:34:56Z"),
            needs_code: true,
            renewal: false,
        },
        Letter::Verified {
            client: client.clone(),
            label: label.clone(),
            kind,
            expires_at: Some(at("2029-01-02")),
            ask_again_at: Some(at("2028-12-01")),
        },
        Letter::Failed {
            client,
            label,
            kind,
            attempt: 2,
            hint: "The application has no permission to read mail.".to_owned(),
            step: Some("Grant admin consent".to_owned()),
            expires_at: at("2028-11-20T12:34:56Z"),
        },
    ]
}

/// The parts of a message in clear, as a mail program shows them.
fn read(message: &Secret) -> (String, String) {
    let text = String::from_utf8(message.expose_secret().to_vec()).unwrap();
    assert!(text.is_ascii(), "any server takes it");
    for line in text.split("\r\n") {
        assert!(line.len() <= 998, "RFC 5322 section 2.1.1");
        assert!(!line.contains(['\r', '\n']), "{line:?}");
    }
    let (head, body) = text.split_once("\r\n\r\n").unwrap();
    (head.replace("\r\n ", " "), unquoted(body))
}

/// Undoes quoted-printable (RFC 2045 section 6.7).
fn unquoted(text: &str) -> String {
    let text = text.replace("=\r\n", "");
    let (mut out, mut bytes) = (Vec::new(), text.bytes());
    while let Some(byte) = bytes.next() {
        let mut rest = bytes.clone();
        let hex = (byte == b'=').then(|| [rest.next(), rest.next()]);
        let digits = hex.and_then(|it| String::from_utf8(vec![it[0]?, it[1]?]).ok());
        match digits.and_then(|digits| u8::from_str_radix(&digits, 16).ok()) {
            Some(value) => {
                out.push(value);
                bytes = rest;
            }
            None => out.push(byte),
        }
    }
    String::from_utf8(out).unwrap()
}

#[test]
fn a_message_has_what_mail_programs_and_servers_ask_for() {
    for letter in letters() {
        let thread = "<first@example.com>";
        let written = at("2028-11-06T08:00:00Z");
        let render = || {
            render(
                id(),
                &letter,
                &sender(),
                &addressee(),
                written,
                Some(thread),
            )
            .ok()
            .unwrap()
        };
        let rendered = render();
        let (head, body) = read(&rendered.message);
        for line in [
            "Message-ID: <mail_01kaqz3m8v7d6k2n4p9r5s1t0x@example.com>",
            "Auto-Submitted: auto-generated",
            "In-Reply-To: <first@example.com>",
            "References: <first@example.com>",
            "Date: Mon, 06 Nov 2028 08:00:00 +0000",
            "MIME-Version: 1.0",
        ] {
            assert!(head.lines().any(|it| it == line), "{line}\n{head}");
        }
        assert!(head.contains("multipart/alternative"), "{head}");
        assert!(head.contains("<ada@client.example>"), "{head}");
        assert_eq!(rendered.to.as_str(), "ada@client.example");
        assert!(body.contains("text/plain") && body.contains("text/html"));
        // What is sent again is the same to the last byte.
        let again = render();
        assert_eq!(
            rendered.message.expose_secret(),
            again.message.expose_secret()
        );
    }
}

#[test]
fn both_forms_say_the_same_and_names_stay_text() {
    for letter in letters() {
        let rendered = render(
            id(),
            &letter,
            &sender(),
            &addressee(),
            at("2028-11-06"),
            None,
        );
        let (_, body) = read(&rendered.ok().unwrap().message);
        let (plain, html) = body.split_once("<!doctype html>").unwrap();
        assert!(!html.contains("<b>") && !html.contains("<i>"), "{html}");
        for block in letter.blocks() {
            let texts = match block {
                Block::Text(text) | Block::Link(text) => vec![text],
                Block::Facts(facts) => facts.into_iter().map(|(_, value)| value).collect(),
            };
            for text in texts {
                let text = text.replace('\n', "\r\n");
                assert!(plain.contains(&text), "{text}\n{plain}");
                let quoted = text.replace('&', "&amp;").replace('<', "&lt;");
                let quoted = quoted.replace('>', "&gt;").replace('\'', "&#39;");
                assert!(html.contains(&quoted), "{quoted}\n{html}");
            }
        }
    }
}

#[test]
fn only_an_invitation_holds_its_link_and_nothing_asks_for_a_secret_by_mail() {
    for letter in letters() {
        let rendered = render(
            id(),
            &letter,
            &sender(),
            &addressee(),
            at("2028-11-06"),
            None,
        );
        let (head, body) = read(&rendered.ok().unwrap().message);
        let holds = body.matches(LINK).count();
        assert_eq!(holds > 0, letter.kind() == MailKind::Invite);
        assert!(!head.contains("AbCdEf"), "{head}");
        if matches!(letter.kind(), MailKind::Invite | MailKind::Failed) {
            assert!(body.contains("Never send a secret by mail"), "{body}");
        }
    }
}

#[test]
fn a_sender_is_an_address_with_or_without_a_name() {
    let plain: Sender = "access@example.com".parse().unwrap();
    assert!(plain.name.is_none());
    assert_eq!(sender().name.unwrap().as_str(), "Example Sync");
    for text in [
        "",
        "Example",
        "<access@example.com",
        "Example access@example.com",
        "A\r\nBcc: x@example.com <access@example.com>",
        "A <access@example.com>, B <b@example.com>",
    ] {
        assert!(text.parse::<Sender>().is_err(), "{text:?}");
    }
}

/// A mail server that answers each command as it is told, and then closes or goes on.
async fn server(answers: &'static [(&'static str, &'static str)]) -> Smtp {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        let (stream, _) = listener.accept().await.unwrap();
        let mut stream = BufReader::new(stream);
        let answer = |command: &str| {
            let found = answers.iter().find(|(it, _)| command.starts_with(it));
            match (found, command) {
                (Some((_, text)), _) => *text,
                (None, "DATA") => "354 go on",
                (None, _) => "250 ok",
            }
        };
        let greeting = format!("{}\r\n", answer("CONNECT").replace("250 ok", "220 here"));
        let _ = stream.write_all(greeting.as_bytes()).await;
        let (mut line, mut in_message) = (String::new(), false);
        while stream.read_line(&mut line).await.is_ok_and(|read| read > 0) {
            let command = line.trim_end().to_owned();
            line.clear();
            if in_message && command != "." {
                continue;
            }
            let text = answer(&command);
            if text == "CLOSE" {
                return;
            }
            in_message = text.starts_with("354");
            let _ = stream.write_all(format!("{text}\r\n").as_bytes()).await;
        }
    });
    let settings = SmtpSettings {
        server: "127.0.0.1".to_owned(),
        port: Some(port),
        tls: SmtpTls::None,
        sign_in: None,
        authorities: None,
    };
    Smtp::new(settings).ok().unwrap()
}

#[tokio::test]
async fn what_came_of_an_attempt_is_known_or_said_to_be_unknown() {
    use Fault::{BrokenOff, Message, Recipient, Sender, Unreachable};
    use NotSent::{Later, Refused, Unknown};
    type Case = (
        &'static [(&'static str, &'static str)],
        Result<(), NotSent>,
        bool,
    );
    // What the server answers, what that means, and whether the message was about to be sent.
    let cases: &[Case] = &[
        (&[], Ok(()), true),
        (&[("CONNECT", "421 busy")], Err(Later(Unreachable)), false),
        (&[("EHLO", "CLOSE")], Err(Later(BrokenOff)), false),
        (&[("MAIL", "550 not you")], Err(Later(Sender)), false),
        (&[("RCPT", "550 nobody")], Err(Refused(Recipient)), false),
        (&[("RCPT", "451 later")], Err(Later(Recipient)), false),
        (&[("RCPT", "CLOSE")], Err(Later(BrokenOff)), false),
        (&[("DATA", "554 no")], Err(Refused(Message)), true),
        (&[("DATA", "451 later")], Err(Later(Message)), true),
        (&[("DATA", "CLOSE")], Err(Later(BrokenOff)), true),
        (&[(".", "554 spam")], Err(Refused(Message)), true),
        (&[(".", "452 full")], Err(Later(Message)), true),
        (&[(".", "CLOSE")], Err(Unknown(BrokenOff)), true),
    ];
    let rendered = render(
        id(),
        &letters()[1],
        &sender(),
        &addressee(),
        at("2028-11-06"),
        None,
    );
    let rendered = rendered.ok().unwrap();
    for (answers, expected, begins) in cases {
        let transport = Transport::Smtp(Box::new(server(answers).await));
        let began = Arc::new(AtomicBool::new(false));
        let sent = transport
            .send(id(), &rendered, async || {
                began.store(true, Ordering::Release);
                true
            })
            .await;
        assert_eq!(&sent, expected, "{answers:?}");
        assert_eq!(began.load(Ordering::Acquire), *begins, "{answers:?}");
    }
    let transport = Transport::Smtp(Box::new(server(&[("DATA", "CLOSE")]).await));
    let sent = transport.send(id(), &rendered, async || false).await;
    assert_eq!(sent, Err(NotSent::Abandoned), "nothing is sent after a no");
}

#[tokio::test]
async fn without_tls_nothing_is_said() {
    let smtp = |server: &str, port, tls| {
        Smtp::new(SmtpSettings {
            server: server.to_owned(),
            port,
            tls,
            sign_in: Some(("user".to_owned(), Secret::new(b"password".to_vec()))),
            authorities: None,
        })
    };
    let far = smtp("smtp.example.com", None, SmtpTls::None);
    assert_eq!(far.err(), Some(SmtpError::Unprotected));
    // A server that offers no STARTTLS, as one does from whose answer somebody took it out.
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let heard = tokio::spawn(async move {
        let (stream, _) = listener.accept().await.unwrap();
        let mut stream = BufReader::new(stream);
        let _ = stream.write_all(b"220 here\r\n").await;
        let (mut line, mut heard) = (String::new(), String::new());
        while stream.read_line(&mut line).await.is_ok_and(|read| read > 0) {
            heard.push_str(&line);
            line.clear();
            let _ = stream.write_all(b"250 ok\r\n").await;
        }
        heard
    });
    let smtp = smtp("127.0.0.1", Some(port), SmtpTls::StartTls)
        .ok()
        .unwrap();
    assert_eq!(smtp.check().await, Err(Fault::Tls));
    drop(smtp);
    let heard = heard.await.unwrap();
    assert!(
        heard.starts_with("EHLO") && !heard.contains("AUTH"),
        "{heard}"
    );
}

#[tokio::test]
async fn a_server_that_does_not_stop_is_not_listened_to_for_ever() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let said = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut said = 0;
        while stream.write_all(&[b'2'; 4096]).await.is_ok() {
            said += 4096;
        }
        said
    });
    let smtp = Smtp::new(SmtpSettings {
        server: "127.0.0.1".to_owned(),
        port: Some(port),
        tls: SmtpTls::None,
        sign_in: None,
        authorities: None,
    });
    assert_eq!(smtp.ok().unwrap().check().await, Err(Fault::BrokenOff));
    assert!(said.await.unwrap() > 64 * 1024);
}
