//! From a letter to the bytes of a message (RFC 5322, MIME).

use std::fmt::Write as _;
use std::str::FromStr;
use std::time::{Duration, UNIX_EPOCH};

use lettre::Message;
use lettre::message::header::{HeaderName, HeaderValue};
use lettre::message::{Mailbox, MultiPart, SinglePart};
use serde::{Deserialize, Serialize};

use super::letter::{Block, Letter};
use crate::model::{DisplayName, EmailAddress, MailId, Timestamp};
use crate::secret::Secret;

/// Whose name and address mails come from, such as `Example Sync <access@example.com>`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sender {
    /// The name, if there is one.
    pub name: Option<DisplayName>,
    /// The address; also where bounces go.
    pub address: EmailAddress,
}

/// The text names no sender.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("must be an address, or a name and an address such as Example <access@example.com>")]
pub struct SenderError;

impl FromStr for Sender {
    type Err = SenderError;

    fn from_str(text: &str) -> Result<Self, SenderError> {
        let (name, address) = match text.strip_suffix('>') {
            None => (None, text),
            Some(rest) => {
                let (name, address) = rest.rsplit_once('<').ok_or(SenderError)?;
                let name = name.trim().trim_matches('"');
                if name.contains(['<', '>', '@', '"']) {
                    return Err(SenderError);
                }
                (Some(name.parse().map_err(|_| SenderError)?), address)
            }
        };
        Ok(Self {
            name,
            address: address.parse().map_err(|_| SenderError)?,
        })
    }
}

/// Whom a mail is for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Addressee {
    /// The name, if it is known.
    pub name: Option<DisplayName>,
    /// The address.
    pub address: EmailAddress,
}

/// A message that only has to be sent.
pub struct Rendered {
    /// The envelope's sender.
    pub from: EmailAddress,
    /// The envelope's recipient.
    pub to: EmailAddress,
    /// Header and body. May hold a link that gives access.
    pub message: Secret,
}

/// The message cannot be made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the mail cannot be written: an address is not one that mail knows")]
pub struct MessageError;

/// The Message-ID of a mail: the same in every attempt, so that a receiver can tell that two
/// deliveries are one (RFC 5322 section 3.6.4).
pub fn message_id(mail: MailId, from: &Sender) -> String {
    let address = from.address.as_str();
    let domain = address.rsplit_once('@').map_or(address, |(_, it)| it);
    format!("<{mail}@{domain}>")
}

/// Writes the message. `thread` is the Message-ID of the first mail about the same matter.
///
/// # Errors
/// An address is not one that mail knows.
pub fn render(
    mail: MailId,
    letter: &Letter,
    from: &Sender,
    to: &Addressee,
    written_at: Timestamp,
    thread: Option<&str>,
) -> Result<Rendered, MessageError> {
    let seconds = u64::try_from(written_at.secs()).unwrap_or(0);
    let mut builder = Message::builder()
        .from(mailbox(from.name.as_ref(), &from.address)?)
        .to(mailbox(to.name.as_ref(), &to.address)?)
        .subject(letter.subject())
        .date(UNIX_EPOCH + Duration::from_secs(seconds))
        .message_id(Some(message_id(mail, from)))
        // So that nobody's out-of-office answers (RFC 3834 section 5), and Exchange's neither.
        .raw_header(header("Auto-Submitted", "auto-generated"))
        .raw_header(header("X-Auto-Response-Suppress", "All"));
    if let Some(thread) = thread {
        builder = builder
            .in_reply_to(thread.to_owned())
            .references(thread.to_owned());
    }
    let blocks = letter.blocks();
    let parts = MultiPart::alternative()
        // The same in every attempt; 26 characters that stand in no text of a letter.
        .boundary(format!("=_{mail}"))
        .singlepart(SinglePart::plain(plain(to, &blocks, from)))
        .singlepart(SinglePart::html(html(to, &blocks, from)));
    let message = builder.multipart(parts).map_err(|_| MessageError)?;
    Ok(Rendered {
        from: from.address.clone(),
        to: to.address.clone(),
        message: Secret::new(message.formatted()),
    })
}

fn header(name: &'static str, value: &str) -> HeaderValue {
    HeaderValue::new(HeaderName::new_from_ascii_str(name), value.to_owned())
}

fn mailbox(name: Option<&DisplayName>, address: &EmailAddress) -> Result<Mailbox, MessageError> {
    let address = address.as_str().parse().map_err(|_| MessageError)?;
    let name = name.map(|name| name.as_str().to_owned());
    Ok(Mailbox::new(name, address))
}

fn greeting(to: &Addressee) -> String {
    match &to.name {
        Some(name) => format!("Hello {},", name.as_str()),
        None => "Hello,".to_owned(),
    }
}

fn signature(from: &Sender) -> &str {
    let name = from.name.as_ref().map(DisplayName::as_str);
    name.unwrap_or(from.address.as_str())
}

fn plain(to: &Addressee, blocks: &[Block], from: &Sender) -> String {
    let mut out = greeting(to);
    for block in blocks {
        out.push_str("\n\n");
        match block {
            Block::Text(text) => out.push_str(text),
            Block::Link(link) => out.push_str(link),
            Block::Facts(facts) => {
                for (at, (name, value)) in facts.iter().enumerate() {
                    let end = if at == 0 { "" } else { "\n" };
                    let _ = write!(out, "{end}{name}: {value}");
                }
            }
        }
    }
    let _ = write!(out, "\n\n{}\n", signature(from));
    out
}

/// Without pictures, styles from elsewhere or anything else that a mail program has to fetch.
fn html(to: &Addressee, blocks: &[Block], from: &Sender) -> String {
    let mut out = String::from(
        "<!doctype html><html lang=\"en\"><head><meta charset=\"utf-8\"><title>Mail</title></head>\
         <body>",
    );
    let _ = write!(out, "<p>{}</p>", escaped(&greeting(to)));
    for block in blocks {
        match block {
            Block::Text(text) => {
                let _ = write!(out, "<p>{}</p>", escaped(text));
            }
            Block::Link(link) => {
                let link = escaped(link);
                let _ = write!(out, "<p><a href=\"{link}\">{link}</a></p>");
            }
            Block::Facts(facts) => {
                out.push_str("<table>");
                for (name, value) in facts {
                    let value = escaped(value);
                    let _ = write!(
                        out,
                        "<tr><th align=\"left\" scope=\"row\">{name}</th><td>{value}</td></tr>"
                    );
                }
                out.push_str("</table>");
            }
        }
    }
    let _ = writeln!(out, "<p>{}</p></body></html>", escaped(signature(from)));
    out
}

/// Text as it stands in HTML, also inside quotes.
fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            c => out.push(c),
        }
    }
    out
}
