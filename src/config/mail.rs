//! How mail is sent: from whom, and by which server.

use std::path::{Path, PathBuf};

use super::sources::Found;
use super::{ConfigError, Settings, sources};
use crate::mail::{Sender, Smtp, SmtpError, SmtpSettings, SmtpTls, Transport};
use crate::secret::Secret;

/// How mail is sent. Without a server mails wait.
#[derive(Clone, Debug, Default)]
pub struct MailConfig {
    /// Whose name and address they bear.
    pub from: Option<Sender>,
    /// The server.
    pub server: Option<MailServer>,
    /// A directory that they are written into instead; only for trying out.
    pub folder: Option<PathBuf>,
}

/// The mail server.
#[derive(Clone, Debug)]
pub struct MailServer {
    /// Its name or address.
    pub name: String,
    /// Its port, if not the usual one.
    pub port: Option<u16>,
    /// How the connection is protected.
    pub tls: SmtpTls,
    /// The user that signs in, and the file that holds the password.
    pub sign_in: Option<(String, PathBuf)>,
    /// Authorities in PEM instead of the public ones.
    pub ca_file: Option<PathBuf>,
}

impl MailConfig {
    /// The file with the password, if there is one.
    pub fn password_file(&self) -> Option<&Path> {
        let sign_in = self.server.as_ref()?.sign_in.as_ref()?;
        Some(&sign_in.1)
    }

    /// Where mails go; nowhere yet when no server is set.
    ///
    /// # Errors
    /// A file cannot be read, or cannot be used.
    pub fn transport(&self) -> Result<Option<(Sender, Transport)>, ConfigError> {
        let Some(from) = &self.from else {
            return Ok(None);
        };
        if let Some(folder) = &self.folder {
            return Ok(Some((from.clone(), Transport::Folder(folder.clone()))));
        }
        let Some(server) = &self.server else {
            return Ok(None);
        };
        let smtp = Box::new(server.connect()?);
        Ok(Some((from.clone(), Transport::Smtp(smtp))))
    }
}

impl MailServer {
    fn connect(&self) -> Result<Smtp, ConfigError> {
        let read = |path: &PathBuf| {
            std::fs::read(path).map_err(|source| ConfigError::Read {
                path: path.clone(),
                source,
            })
        };
        let sign_in = match &self.sign_in {
            None => None,
            Some((user, path)) => Some((user.clone(), password(read(path)?))),
        };
        let settings = SmtpSettings {
            server: self.name.clone(),
            port: self.port,
            tls: self.tls,
            sign_in,
            authorities: self.ca_file.as_ref().map(read).transpose()?,
        };
        Smtp::new(settings).map_err(|error| {
            let (place, rule) = match error {
                SmtpError::Authorities => (
                    "mail.ca_file",
                    "must be a PEM file of one or more certificates of authorities",
                ),
                SmtpError::Unprotected => (
                    "mail.tls",
                    "must be starttls or implicit: without TLS only a relay on this machine is called",
                ),
                SmtpError::Password => ("mail.password_file", "must hold text"),
                SmtpError::Name => ("mail.server", "must be a server's name or address"),
            };
            ConfigError::Value {
                place: place.to_owned(),
                rule,
            }
        })
    }
}

/// The content of a password file without the end of its line.
fn password(bytes: Vec<u8>) -> Secret {
    let bytes = Secret::new(bytes);
    let text = bytes.expose_secret();
    let end = text.iter().rposition(|byte| !b"\r\n".contains(byte));
    Secret::new(text[..end.map_or(0, |at| at + 1)].to_vec())
}

impl Settings {
    pub(super) fn mail(&mut self) -> Result<MailConfig, ConfigError> {
        let from = self.optional("mail.from", |found| {
            let rule = "must be an address, or a name and an address such as \
                        Example <access@example.com>";
            found.text.parse().map_err(|_| rule)
        })?;
        let folder = self.optional("mail.folder", Found::path)?;
        let name = self.optional("mail.server", |found| {
            let known = |c: char| c.is_ascii_alphanumeric() || ".:-".contains(c);
            let ok = !found.text.is_empty() && found.text.chars().all(known);
            let rule = "must be a server's name or address, without a port";
            ok.then(|| found.text.to_string()).ok_or(rule)
        })?;
        let port = self.optional("mail.port", |found| {
            let rule = "must be a whole number from 1 to 65535";
            let port = found.number(1, 65_535, rule)?;
            u16::try_from(port).map_err(|_| rule)
        })?;
        let tls = self.or("mail.tls", "starttls", |found| match found.text.as_str() {
            "starttls" => Ok(SmtpTls::StartTls),
            "implicit" => Ok(SmtpTls::Implicit),
            "none" => Ok(SmtpTls::None),
            _ => Err("must be starttls, implicit or none"),
        })?;
        let user = self.optional("mail.user", |found| {
            let ok = !found.text.is_empty() && !found.text.chars().any(char::is_control);
            ok.then(|| found.text.to_string())
                .ok_or("must be a user's name")
        })?;
        let password_file = self.optional("mail.password_file", Found::path)?;
        let ca_file = self.optional("mail.ca_file", Found::path)?;
        let missing = |key, what| {
            Err(ConfigError::Missing {
                key,
                what,
                variable: sources::variable(key),
            })
        };
        let sign_in = match (user, password_file) {
            (Some(user), Some(file)) => Some((user, file)),
            (None, None) => None,
            (None, Some(_)) => return missing("mail.user", "user and password belong together"),
            (Some(_), None) => {
                return missing("mail.password_file", "user and password belong together");
            }
        };
        if from.is_none() && (name.is_some() || folder.is_some()) {
            return missing("mail.from", "whose name and address mails bear");
        }
        Ok(MailConfig {
            from,
            server: name.map(|name| MailServer {
                name,
                port,
                tls,
                sign_in,
                ca_file,
            }),
            folder,
        })
    }
}
