//! Mail: what a letter says, how it becomes a message, and how a message gets to a server.
//!
//! Nothing here knows when a mail is due or whether it was sent before: that is the outbox's business
//! (`vault/outbox.rs`). A message is rendered once and then sent byte for byte, however often that
//! takes, so that two deliveries of it can be told to be one.

mod letter;
mod message;
mod smtp;
mod transport;

pub use letter::{Block, Letter};
pub use message::{Addressee, MessageError, Rendered, Sender, message_id, render};
pub use smtp::{Smtp, SmtpError, SmtpSettings, SmtpTls};
pub use transport::{NotSent, Transport};

#[cfg(test)]
mod tests;
