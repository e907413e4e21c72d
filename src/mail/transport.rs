//! How a message gets to a mail server: SMTP (`smtp.rs`), or a folder for trying out.

use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;

use super::message::Rendered;
use super::smtp::Smtp;
use crate::model::{MailFault as Fault, MailId};

/// Why a message was not delivered, as far as anybody knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NotSent {
    /// It was not delivered, and may be later.
    Later(Fault),
    /// It was refused for good.
    Refused(Fault),
    /// The message was handed over, and no answer came.
    Unknown(Fault),
    /// The attempt was given up before the message was handed over, because somebody else has it.
    Abandoned,
}

/// Where messages go.
pub enum Transport {
    /// To a mail server.
    Smtp(Box<Smtp>),
    /// Into files of this directory, one `.eml` for each: for trying out.
    Folder(PathBuf),
}

impl Transport {
    /// Sends a message. `begin` is called when the server is ready to take it, and has to make durable
    /// that nobody will know for sure from then on; when it says no, nothing is sent.
    ///
    /// # Errors
    /// See [`NotSent`].
    pub async fn send(
        &self,
        mail: MailId,
        rendered: &Rendered,
        begin: impl AsyncFnOnce() -> bool,
    ) -> Result<(), NotSent> {
        match self {
            Self::Smtp(smtp) => smtp.send(rendered, begin).await,
            Self::Folder(folder) => match begin().await {
                false => Err(NotSent::Abandoned),
                true => write_file(folder, mail, rendered)
                    .map_err(|_| NotSent::Later(Fault::Unreachable)),
            },
        }
    }
}

/// Writes the message whole or not at all; a second time it takes the place of the first.
fn write_file(folder: &std::path::Path, mail: MailId, rendered: &Rendered) -> std::io::Result<()> {
    std::fs::create_dir_all(folder)?;
    let (path, new) = (
        folder.join(format!("{mail}.eml")),
        folder.join(format!(".{mail}.new")),
    );
    let mut file = std::fs::OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(&new)?;
    file.write_all(rendered.message.expose_secret())?;
    drop(file);
    std::fs::rename(new, path)
}
