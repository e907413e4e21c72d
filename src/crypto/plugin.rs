//! age plugins: identities and recipients that another program works with, such as a hardware key.
//!
//! The protocol is c2sp.org/age-plugin, version 1 of both state machines, as the client. The age
//! library has a client too; it is not used because it gives the plugin the whole environment (with a
//! database password, perhaps), looks for it in relative entries of `PATH`, waits for it without end,
//! and prints what is exchanged, the file key included, when `AGEDEBUG` is set.
//!
//! What starts a program here is the text of a recipient or an identity, so the name in it is
//! checked before anything else (RUSTSEC-2024-0433: a path as the name ran any program): it must be
//! on the list of allowed names, and the program is looked for as `age-plugin-NAME` in absolute
//! directories only.

mod session;

use std::collections::HashSet;
use std::ffi::OsString;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use age_core::format::{FileKey, Stanza};
use age_core::primitives::bech32_decode;
use age_core::secrecy::ExposeSecret;
use zeroize::Zeroizing;

use crate::secret::Secret;
use session::Session;

/// The longest name of a plugin.
const MAX_NAME: usize = 64;

/// How long a plugin may take where nobody can touch a key or type a PIN.
const ALONE: Duration = Duration::from_secs(60);
/// The same where somebody can.
const ATTENDED: Duration = Duration::from_secs(300);

/// The person at the terminal, whom a plugin may want to tell or ask something.
pub trait Attendant: Send + Sync {
    /// Shows what the plugin says.
    fn tell(&self, message: &str);
    /// Asks for a text; what is typed is not shown when it is `secret`.
    fn ask(&self, message: &str, secret: bool) -> Option<Secret>;
}

/// Which plugins may be started, where they lie, and what they are given.
#[derive(Clone, Default)]
pub struct Plugins {
    allowed: Vec<String>,
    directories: Vec<PathBuf>,
    environment: Vec<(OsString, OsString)>,
    attendant: Option<Arc<dyn Attendant>>,
}

/// A plugin's recipient or identity cannot be used. Nothing was started.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PluginError {
    /// The text is not one of a plugin, or its name is not one that a program can have.
    #[error("is malformed")]
    Malformed,
    /// The name is not on the list.
    #[error("belongs to the age plugin {0}, which is not allowed: add it to root.plugins")]
    NotAllowed(String),
    /// There is no such program.
    #[error("needs the program age-plugin-{0}, which is in none of the directories looked into")]
    Missing(String),
    /// The program could be exchanged by others.
    #[error("needs the program age-plugin-{0}, which its group or others may write: chmod go-w")]
    Writable(String),
}

/// Whether a text can be the name of a plugin: `[a-z0-9+._-]`, the first a letter or digit.
pub fn is_plugin_name(name: &str) -> bool {
    let allowed = |byte: u8| {
        byte.is_ascii_lowercase()
            || byte.is_ascii_digit()
            || matches!(byte, b'+' | b'.' | b'_' | b'-')
    };
    (1..=MAX_NAME).contains(&name.len())
        && name.bytes().all(allowed)
        && name.as_bytes()[0].is_ascii_alphanumeric()
}

impl Plugins {
    /// No plugin at all.
    pub fn none() -> Self {
        Self::default()
    }

    /// The plugins called `allowed`. They are looked for in `directory` only, or else in the
    /// directories of `path` (as `$PATH` is written). Entries that are not absolute do not count,
    /// names that cannot be a plugin's neither.
    pub fn new(
        allowed: impl IntoIterator<Item = String>,
        directory: Option<&Path>,
        path: Option<&std::ffi::OsStr>,
    ) -> Self {
        let path: Vec<PathBuf> = path
            .map(|path| std::env::split_paths(path).collect())
            .unwrap_or_default();
        let absolute = |paths: Vec<PathBuf>| -> Vec<PathBuf> {
            paths
                .into_iter()
                .filter(|path| path.is_absolute())
                .collect()
        };
        let path = absolute(path);
        let mut environment = Vec::new();
        if let Ok(path) = std::env::join_paths(&path) {
            environment.push(("PATH".into(), path));
        }
        let directories = match directory {
            Some(directory) => absolute(vec![directory.to_owned()]),
            None => path,
        };
        Self {
            allowed: allowed
                .into_iter()
                .filter(|name| is_plugin_name(name))
                .collect(),
            directories,
            environment,
            attendant: None,
        }
    }

    /// The same, giving the plugin this variable as well. It gets no other.
    #[must_use]
    pub fn with_variable(mut self, name: &str, value: OsString) -> Self {
        self.environment.push((name.into(), value));
        self
    }

    /// The same, with somebody at the terminal.
    #[must_use]
    pub fn with_attendant(mut self, attendant: Arc<dyn Attendant>) -> Self {
        self.attendant = Some(attendant);
        self
    }

    /// A recipient, `age1NAME1…`, in lower case.
    pub(super) fn recipient(&self, text: &str) -> Result<PluginRecipient, PluginError> {
        let name = text
            .strip_prefix("age1")
            .and_then(|rest| rest.rsplit_once('1'))
            .map(|(name, _)| name)
            .filter(|name| is_plugin_name(name))
            .ok_or(PluginError::Malformed)?;
        if text.bytes().any(|byte| byte.is_ascii_uppercase()) || !is_bech32(text) {
            return Err(PluginError::Malformed);
        }
        Ok(PluginRecipient {
            text: text.to_owned(),
            program: self.find(name)?,
        })
    }

    /// An identity, `AGE-PLUGIN-NAME-1…`, in upper case.
    pub(super) fn identity(&self, text: &str) -> Result<PluginIdentity, PluginError> {
        let name = text
            .strip_prefix("AGE-PLUGIN-")
            .and_then(|rest| rest.rsplit_once("-1"))
            .map(|(name, _)| name)
            .filter(|name| !name.bytes().any(|byte| byte.is_ascii_lowercase()))
            .map(str::to_ascii_lowercase)
            .filter(|name| is_plugin_name(name))
            .ok_or(PluginError::Malformed)?;
        if text.bytes().any(|byte| byte.is_ascii_lowercase()) || !is_bech32(text) {
            return Err(PluginError::Malformed);
        }
        Ok(PluginIdentity {
            text: Zeroizing::new(text.to_owned()),
            program: self.find(&name)?,
        })
    }

    fn find(&self, name: &str) -> Result<Program, PluginError> {
        if !self.allowed.iter().any(|allowed| allowed == name) {
            return Err(PluginError::NotAllowed(name.to_owned()));
        }
        let file = format!("age-plugin-{name}");
        for directory in &self.directories {
            let path = directory.join(&file);
            let Ok(metadata) = std::fs::metadata(&path) else {
                continue;
            };
            let mode = metadata.permissions().mode();
            if !metadata.is_file() || mode & 0o111 == 0 {
                continue;
            }
            if mode & 0o022 != 0 {
                return Err(PluginError::Writable(name.to_owned()));
            }
            return Ok(Program {
                name: name.to_owned(),
                path,
                environment: self.environment.clone(),
                attendant: self.attendant.clone(),
            });
        }
        Err(PluginError::Missing(name.to_owned()))
    }
}

/// Whether the checksum is right (BIP 173, without its limit of length).
fn is_bech32(text: &str) -> bool {
    bech32_decode(text, |_| (), |_| Ok(()), |_, _| Ok(())).is_ok()
}

/// A plugin's program that was found.
#[derive(Clone)]
struct Program {
    name: String,
    path: PathBuf,
    environment: Vec<(OsString, OsString)>,
    attendant: Option<Arc<dyn Attendant>>,
}

impl Program {
    fn start(&self, machine: &str) -> io::Result<Session> {
        let limit = if self.attendant.is_some() {
            ATTENDED
        } else {
            ALONE
        };
        Session::start(&self.path, machine, &self.environment, limit)
    }

    /// What went wrong, in words that hold nothing that the plugin said.
    fn failed(&self, what: &str) -> io::Error {
        io::Error::other(format!("the age plugin {} {what}", self.name))
    }

    /// Answers the commands that both state machines have; `None` for another one.
    fn common(&self, command: &Stanza, session: &mut Session) -> Option<io::Result<()>> {
        let words = || printable(&command.body);
        match (command.tag.as_str(), &self.attendant) {
            ("msg", attendant) => {
                if let Some(attendant) = attendant {
                    attendant.tell(&words());
                }
                Some(session.reply("ok", &[]))
            }
            (tag @ ("request-secret" | "request-public"), Some(attendant)) => {
                let typed = attendant.ask(&words(), tag == "request-secret");
                Some(match typed {
                    Some(typed) => session.reply("ok", typed.expose_secret()),
                    None => session.reply("fail", &[]),
                })
            }
            ("request-secret" | "request-public" | "confirm", _) => {
                Some(session.reply("fail", &[]))
            }
            _ => None,
        }
    }
}

/// What a plugin says, without what could steer a terminal, and not too much of it.
fn printable(text: &[u8]) -> String {
    String::from_utf8_lossy(text)
        .chars()
        .map(|character| {
            if character.is_control() {
                ' '
            } else {
                character
            }
        })
        .take(300)
        .collect()
}

/// Somebody for whom a plugin encrypts.
#[derive(Clone)]
pub(super) struct PluginRecipient {
    text: String,
    program: Program,
}

impl PluginRecipient {
    pub(super) fn text(&self) -> &str {
        &self.text
    }

    fn wrap(&self, file_key: &FileKey) -> io::Result<(Vec<Stanza>, HashSet<String>)> {
        let program = &self.program;
        let mut session = program
            .start("recipient-v1")
            .map_err(|_| program.failed("cannot be started"))?;
        let told = (|| {
            session.send("add-recipient", &[&self.text], &[])?;
            session.send("extension-labels", &[], &[])?;
            session.send("wrap-file-key", &[], file_key.expose_secret())?;
            session.send("done", &[], &[])
        })();
        told.map_err(|_| program.failed("ended too early"))?;
        let (mut stanzas, mut labels) = (Vec::new(), HashSet::new());
        let mut failed = false;
        loop {
            let command = session.receive().map_err(|_| {
                program.failed("broke off, took too long or does not keep to the protocol")
            })?;
            let answered = match command.tag.as_str() {
                "done" => break,
                "recipient-stanza" if command.args.len() >= 2 && command.args[0] == "0" => {
                    stanzas.push(Stanza {
                        tag: command.args[1].clone(),
                        args: command.args[2..].to_vec(),
                        body: command.body,
                    });
                    session.reply("ok", &[])
                }
                "labels" => {
                    labels.extend(command.args);
                    session.reply("ok", &[])
                }
                "error" => {
                    failed = true;
                    session.reply("ok", &[])
                }
                _ => match program.common(&command, &mut session) {
                    Some(answered) => answered,
                    None => session.reply("unsupported", &[]),
                },
            };
            answered.map_err(|_| program.failed("ended too early"))?;
        }
        if failed || stanzas.is_empty() {
            return Err(program.failed("could not encrypt to its recipient"));
        }
        Ok((stanzas, labels))
    }
}

impl age::Recipient for PluginRecipient {
    fn wrap_file_key(
        &self,
        file_key: &FileKey,
    ) -> Result<(Vec<Stanza>, HashSet<String>), age::EncryptError> {
        self.wrap(file_key).map_err(age::EncryptError::Io)
    }
}

/// An identity that only its plugin can use.
pub(super) struct PluginIdentity {
    text: Zeroizing<String>,
    program: Program,
}

impl PluginIdentity {
    fn unwrap(&self, stanzas: &[Stanza]) -> io::Result<Option<FileKey>> {
        let program = &self.program;
        let mut session = program
            .start("identity-v1")
            .map_err(|_| program.failed("cannot be started"))?;
        let told = (|| {
            session.send("add-identity", &[&self.text], &[])?;
            for stanza in stanzas {
                let mut arguments = vec!["0", stanza.tag.as_str()];
                arguments.extend(stanza.args.iter().map(String::as_str));
                session.send("recipient-stanza", &arguments, &stanza.body)?;
            }
            session.send("done", &[], &[])
        })();
        told.map_err(|_| program.failed("ended too early"))?;
        let (mut key, mut failed) = (None, false);
        loop {
            let command = session.receive().map_err(|_| {
                program.failed("broke off, took too long or does not keep to the protocol")
            })?;
            let answered = match command.tag.as_str() {
                "done" => break,
                "file-key" => {
                    let body: Option<&[u8; 16]> = command.body.as_slice().try_into().ok();
                    match body {
                        Some(body) if command.args == ["0"] && key.is_none() => {
                            key = Some(FileKey::init_with_mut(|key| key.copy_from_slice(body)));
                            session.reply("ok", &[])
                        }
                        _ => session.reply("fail", &[]),
                    }
                }
                "error" => {
                    failed = true;
                    session.reply("ok", &[])
                }
                _ => match program.common(&command, &mut session) {
                    Some(answered) => answered,
                    None => session.reply("unsupported", &[]),
                },
            };
            answered.map_err(|_| program.failed("ended too early"))?;
        }
        match (key, failed) {
            (Some(key), _) => Ok(Some(key)),
            (None, true) => Err(program.failed("could not use its identity")),
            (None, false) => Ok(None),
        }
    }
}

impl age::Identity for PluginIdentity {
    fn unwrap_stanza(&self, stanza: &Stanza) -> Option<Result<FileKey, age::DecryptError>> {
        self.unwrap_stanzas(std::slice::from_ref(stanza))
    }

    fn unwrap_stanzas(&self, stanzas: &[Stanza]) -> Option<Result<FileKey, age::DecryptError>> {
        self.unwrap(stanzas)
            .map_err(age::DecryptError::Io)
            .transpose()
    }
}

#[cfg(test)]
mod tests;
