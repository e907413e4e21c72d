//! Who can open the root key: age recipients and the identities that belong to them.
//!
//! The forms are those of c2sp.org/age: an X25519 recipient (`age1…`) with its identity
//! (`AGE-SECRET-KEY-1…`), those of an allowed plugin (`age1NAME1…`, `AGE-PLUGIN-NAME-1…`), or a
//! passphrase through scrypt, which must be the only way into its file.
//! Keys made here take their randomness from the operating system, because the age library offers
//! no other source.

use std::fs::{File, OpenOptions};
use std::io::{Read, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::Path;

use age::secrecy::{ExposeSecret, SecretString};
use zeroize::Zeroizing;

use super::plugin::{PluginError, PluginRecipient, Plugins};
use crate::secret::Secret;

/// The most work that a passphrase may cost, as the binary logarithm of scrypt's N. 2^20 with
/// age's r = 8 takes 1 GiB of memory and a few seconds; a file that asks for more is refused
/// instead of stopping the service.
pub const MAX_WORK_FACTOR: u8 = 20;

/// The largest identity file, in bytes.
const MAX_IDENTITY_FILE: u64 = 64 * 1024;

/// Permission bits of group and others.
const NOT_THE_OWNER: u32 = 0o077;

/// Somebody for whom the root key is encrypted. Not a secret, except for a passphrase.
pub struct Recipient(Form);

enum Form {
    X25519(age::x25519::Recipient),
    Plugin(PluginRecipient),
    Passphrase(age::scrypt::Recipient),
}

/// The text is not a recipient that can be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RecipientError {
    /// Not an age recipient.
    #[error("line {line} is not an age recipient (age1 followed by 58 characters)")]
    Malformed {
        /// The line, counted from 1.
        line: usize,
    },
    /// A recipient of SSH.
    #[error(
        "line {line} is a recipient of another scheme; only age X25519 recipients and those of an allowed plugin can be used"
    )]
    Unsupported {
        /// The line, counted from 1.
        line: usize,
    },
    /// A recipient of a plugin that cannot be used.
    #[error("line {line} {reason}")]
    Plugin {
        /// The line, counted from 1.
        line: usize,
        /// Why.
        reason: PluginError,
    },
    /// There is no recipient in the text.
    #[error("there is no recipient")]
    None,
    /// The passphrase is empty or not UTF-8.
    #[error("the passphrase must be text and not empty")]
    Passphrase,
    /// The work factor lies outside 1 to [`MAX_WORK_FACTOR`].
    #[error("the work factor must be between 1 and {MAX_WORK_FACTOR}")]
    WorkFactor,
}

impl Recipient {
    /// One X25519 recipient.
    ///
    /// # Errors
    /// The text is anything else. The line in the error is 1.
    pub fn parse(text: &str) -> Result<Self, RecipientError> {
        Self::parse_with(text, &Plugins::none())
    }

    /// One X25519 recipient, or one of an allowed plugin.
    ///
    /// # Errors
    /// The text is anything else. The line in the error is 1.
    pub fn parse_with(text: &str, plugins: &Plugins) -> Result<Self, RecipientError> {
        Self::parse_line(text, 1, plugins)
    }

    /// One recipient on each line; empty lines and lines that begin with `#` are skipped.
    ///
    /// # Errors
    /// A line is anything else, or there is no recipient at all.
    pub fn parse_list(text: &str) -> Result<Vec<Self>, RecipientError> {
        let recipients = entries(text)
            .map(|(number, line)| Self::parse_line(line, number, &Plugins::none()))
            .collect::<Result<Vec<_>, _>>()?;
        if recipients.is_empty() {
            Err(RecipientError::None)
        } else {
            Ok(recipients)
        }
    }

    /// Somebody who knows `passphrase`. scrypt's N is 2^`work_factor`; 18 is a good value where
    /// about a second is acceptable.
    ///
    /// # Errors
    /// The passphrase is empty or not UTF-8, or the work factor is out of range.
    pub fn passphrase(passphrase: &Secret, work_factor: u8) -> Result<Self, RecipientError> {
        if !(1..=MAX_WORK_FACTOR).contains(&work_factor) {
            return Err(RecipientError::WorkFactor);
        }
        let text = passphrase_text(passphrase).ok_or(RecipientError::Passphrase)?;
        let mut recipient = age::scrypt::Recipient::new(text);
        recipient.set_work_factor(work_factor);
        Ok(Self(Form::Passphrase(recipient)))
    }

    /// The text form; `None` for a passphrase.
    pub fn to_text(&self) -> Option<String> {
        match &self.0 {
            Form::X25519(recipient) => Some(recipient.to_string()),
            Form::Plugin(recipient) => Some(recipient.text().to_owned()),
            Form::Passphrase(_) => None,
        }
    }

    /// Whether it is an X25519 recipient, which needs nothing but this program to encrypt to.
    pub fn is_x25519(&self) -> bool {
        matches!(self.0, Form::X25519(_))
    }

    /// Whether it is a passphrase, which must stand alone in its file.
    pub fn is_passphrase(&self) -> bool {
        matches!(self.0, Form::Passphrase(_))
    }

    pub(super) fn as_age(&self) -> &dyn age::Recipient {
        match &self.0 {
            Form::X25519(recipient) => recipient,
            Form::Plugin(recipient) => recipient,
            Form::Passphrase(recipient) => recipient,
        }
    }

    fn parse_line(line: &str, number: usize, plugins: &Plugins) -> Result<Self, RecipientError> {
        if line.starts_with("ssh-") {
            return Err(RecipientError::Unsupported { line: number });
        }
        // Bech32 has no `1` in its data part, so a second one belongs to the name of a plugin.
        let data = line.strip_prefix("age1");
        if data.is_some_and(|data| data.contains('1')) {
            let recipient = plugins.recipient(line);
            return recipient
                .map(|recipient| Self(Form::Plugin(recipient)))
                .map_err(|reason| RecipientError::Plugin {
                    line: number,
                    reason,
                });
        }
        let malformed = RecipientError::Malformed { line: number };
        let recipient: age::x25519::Recipient = line.parse().map_err(|_| malformed.clone())?;
        // One text for one key: Bech32 also allows all upper case.
        if recipient.to_string() != line || is_of_small_order(line) {
            return Err(malformed);
        }
        Ok(Self(Form::X25519(recipient)))
    }
}

/// A private key or passphrase that may open the root key. A secret: no `Debug`, no `Clone`.
pub struct Identity {
    key: Box<dyn age::Identity + Send + Sync>,
    recipient: Option<Recipient>,
    plugin: bool,
}

/// The identity file cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum IdentityError {
    /// A line is not an identity.
    #[error("line {line} of the identity file is not an age identity (AGE-SECRET-KEY-1…)")]
    Malformed {
        /// The line, counted from 1.
        line: usize,
    },
    /// A line is the identity of another scheme.
    #[error(
        "line {line} of the identity file belongs to another scheme; only age X25519 identities and those of an allowed plugin can be used"
    )]
    Unsupported {
        /// The line, counted from 1.
        line: usize,
    },
    /// A line is the identity of a plugin that cannot be used.
    #[error("line {line} of the identity file {reason}")]
    Plugin {
        /// The line, counted from 1.
        line: usize,
        /// Why.
        reason: PluginError,
    },
    /// The file holds comments at most.
    #[error("there is no identity in the identity file")]
    None,
    /// Others than the owner may read or change the file.
    #[error(
        "the identity file may be accessed by its group or others; allow its owner only (chmod 600)"
    )]
    TooOpen,
    /// The file is longer than an identity file can be, or is not text.
    #[error("the identity file is too long or not text")]
    NotText,
    /// The passphrase is empty or not UTF-8.
    #[error("the passphrase must be text and not empty")]
    Passphrase,
    /// The file system said no.
    #[error("the identity file cannot be {action}")]
    Io {
        /// What was tried.
        action: &'static str,
        /// The system's reason.
        source: std::io::Error,
    },
}

impl IdentityError {
    fn io(action: &'static str) -> impl FnOnce(std::io::Error) -> Self {
        move |source| Self::Io { action, source }
    }
}

impl Identity {
    /// The identities in the text of an identity file: one on each line; empty lines and lines that
    /// begin with `#` are skipped.
    ///
    /// # Errors
    /// A line is anything else, or there is no identity at all.
    pub fn parse_list(text: &Secret) -> Result<Vec<Self>, IdentityError> {
        Self::parse_list_with(text, &Plugins::none())
    }

    /// The same, also of allowed plugins. Such an identity has a recipient when a comment before it
    /// says so, as plugins write it: `# Recipient: age1NAME1…`.
    ///
    /// # Errors
    /// As [`Identity::parse_list`].
    pub fn parse_list_with(text: &Secret, plugins: &Plugins) -> Result<Vec<Self>, IdentityError> {
        let text = std::str::from_utf8(text.expose_secret()).map_err(|_| IdentityError::NotText)?;
        let mut noted = None;
        let mut identities = Vec::new();
        for (number, line) in (1..).zip(text.lines()) {
            if let Some(comment) = line.strip_prefix('#') {
                noted = recipient_in(comment, plugins).or(noted);
            } else if !line.trim().is_empty() {
                let mut identity = Self::parse_line(line, number, plugins)?;
                if identity.plugin {
                    identity.recipient = noted.take();
                }
                noted = None;
                identities.push(identity);
            }
        }
        if identities.is_empty() {
            Err(IdentityError::None)
        } else {
            Ok(identities)
        }
    }

    /// Reads an identity file.
    ///
    /// A file that its group or others may access is refused, because it is then no secret. The
    /// exception is a file inside `credentials_directory`, the place that systemd gives a service
    /// in `$CREDENTIALS_DIRECTORY`: it grants the service's user access through an ACL, which shows
    /// as group permissions, and lets nobody else into the directory.
    ///
    /// # Errors
    /// As [`Identity::parse_list`], or the file is too open or cannot be read.
    pub fn read_file(
        path: &Path,
        credentials_directory: Option<&Path>,
    ) -> Result<Vec<Self>, IdentityError> {
        Self::read_file_with(path, credentials_directory, &Plugins::none())
    }

    /// The same, also of allowed plugins.
    ///
    /// # Errors
    /// As [`Identity::read_file`].
    pub fn read_file_with(
        path: &Path,
        credentials_directory: Option<&Path>,
        plugins: &Plugins,
    ) -> Result<Vec<Self>, IdentityError> {
        let file = File::open(path).map_err(IdentityError::io("opened"))?;
        // Of the file that is open, not of whatever has the name by now.
        let metadata = file.metadata().map_err(IdentityError::io("examined"))?;
        if metadata.permissions().mode() & NOT_THE_OWNER != 0
            && !credentials_directory.is_some_and(|directory| is_inside(path, directory))
        {
            return Err(IdentityError::TooOpen);
        }
        // Room for one byte more than is allowed, so that nothing is copied by growth.
        let mut text = Zeroizing::new(Vec::with_capacity(MAX_IDENTITY_FILE as usize + 1));
        file.take(MAX_IDENTITY_FILE + 1)
            .read_to_end(&mut text)
            .map_err(IdentityError::io("read"))?;
        if text.len() as u64 > MAX_IDENTITY_FILE {
            return Err(IdentityError::NotText);
        }
        Self::parse_list_with(&Secret::new(std::mem::take(&mut *text)), plugins)
    }

    /// Somebody who knows `passphrase`. A file that asks for more than [`MAX_WORK_FACTOR`] is not
    /// tried.
    ///
    /// # Errors
    /// The passphrase is empty or not UTF-8.
    pub fn passphrase(passphrase: &Secret) -> Result<Self, IdentityError> {
        let text = passphrase_text(passphrase).ok_or(IdentityError::Passphrase)?;
        let mut identity = age::scrypt::Identity::new(text);
        identity.set_max_work_factor(MAX_WORK_FACTOR);
        Ok(Self {
            key: Box::new(identity),
            recipient: None,
            plugin: false,
        })
    }

    /// Who this identity opens files for; `None` for a passphrase, and for a plugin's identity
    /// without a comment that says so.
    pub fn recipient(&self) -> Option<Recipient> {
        match &self.recipient.as_ref()?.0 {
            Form::X25519(recipient) => Some(Recipient(Form::X25519(recipient.clone()))),
            Form::Plugin(recipient) => Some(Recipient(Form::Plugin(recipient.clone()))),
            Form::Passphrase(_) => None,
        }
    }

    /// Whether a plugin works with it.
    pub fn is_plugin(&self) -> bool {
        self.plugin
    }

    /// A new X25519 identity: the text of its identity file, with the recipient in a comment, and
    /// the recipient.
    pub fn generate() -> (Secret, Recipient) {
        let identity = age::x25519::Identity::generate();
        let recipient = identity.to_public();
        let secret = identity.to_string();
        let public = recipient.to_string();
        let lines = [
            "# recipient: ",
            public.as_str(),
            "\n",
            secret.expose_secret(),
            "\n",
        ]
        .map(str::as_bytes);
        (
            Secret::new(lines.concat()),
            Recipient(Form::X25519(recipient)),
        )
    }

    /// Writes the text of an identity file into a new file that only its owner may access, durably.
    ///
    /// # Errors
    /// The file exists, or cannot be written.
    pub fn write_file(path: &Path, text: &Secret) -> Result<(), IdentityError> {
        let mut file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(path)
            .map_err(IdentityError::io("created"))?;
        file.write_all(text.expose_secret())
            .and_then(|()| file.sync_all())
            .map_err(IdentityError::io("written"))
    }

    pub(super) fn as_age(&self) -> &dyn age::Identity {
        self.key.as_ref()
    }

    fn parse_line(line: &str, number: usize, plugins: &Plugins) -> Result<Self, IdentityError> {
        const OTHER_SCHEMES: [&str; 2] = ["AGE-SECRET-KEY-PQ-", "-----BEGIN"];
        if OTHER_SCHEMES.iter().any(|scheme| line.starts_with(scheme)) {
            return Err(IdentityError::Unsupported { line: number });
        }
        if line.starts_with("AGE-PLUGIN-") {
            let identity = plugins
                .identity(line)
                .map_err(|reason| IdentityError::Plugin {
                    line: number,
                    reason,
                })?;
            return Ok(Self {
                key: Box::new(identity),
                recipient: None,
                plugin: true,
            });
        }
        match line.parse::<age::x25519::Identity>() {
            Ok(identity) => {
                let recipient = Some(Recipient(Form::X25519(identity.to_public())));
                Ok(Self {
                    key: Box::new(identity),
                    recipient,
                    plugin: false,
                })
            }
            Err(_) => Err(IdentityError::Malformed { line: number }),
        }
    }
}

/// The recipient in a comment such as `#    Recipient: age1yubikey1…`.
fn recipient_in(comment: &str, plugins: &Plugins) -> Option<Recipient> {
    let (word, text) = comment.trim().split_once(':')?;
    let named = ["recipient", "public key"]
        .iter()
        .any(|name| word.trim().eq_ignore_ascii_case(name));
    Recipient::parse_with(text.trim(), plugins)
        .ok()
        .filter(|_| named)
}

/// The lines that mean something, with their numbers from 1.
fn entries(text: &str) -> impl Iterator<Item = (usize, &str)> {
    (1..)
        .zip(text.lines())
        .filter(|(_, line)| !line.trim().is_empty() && !line.starts_with('#'))
}

fn passphrase_text(passphrase: &Secret) -> Option<SecretString> {
    let text = std::str::from_utf8(passphrase.expose_secret()).ok()?;
    (!text.is_empty()).then(|| SecretString::from(text))
}

fn is_inside(path: &Path, directory: &Path) -> bool {
    match (path.canonicalize(), directory.canonicalize()) {
        (Ok(path), Ok(directory)) => path.starts_with(directory),
        _ => false,
    }
}

/// The u-coordinates that give an all-zero shared secret with every key (RFC 7748 section 6.1),
/// little endian: the points of order 1, 2, 4 and 8 and the encodings of them that are not reduced.
/// The age library panics on such a recipient, so it must not get that far.
const SMALL_ORDER: [[u8; 32]; 7] = [
    [0; 32],
    first_byte_then(1, 0, 0),
    [
        0xe0, 0xeb, 0x7a, 0x7c, 0x3b, 0x41, 0xb8, 0xae, 0x16, 0x56, 0xe3, 0xfa, 0xf1, 0x9f, 0xc4,
        0x6a, 0xda, 0x09, 0x8d, 0xeb, 0x9c, 0x32, 0xb1, 0xfd, 0x86, 0x62, 0x05, 0x16, 0x5f, 0x49,
        0xb8, 0x00,
    ],
    [
        0x5f, 0x9c, 0x95, 0xbc, 0xa3, 0x50, 0x8c, 0x24, 0xb1, 0xd0, 0xb1, 0x55, 0x9c, 0x83, 0xef,
        0x5b, 0x04, 0x44, 0x5c, 0xc4, 0x58, 0x1c, 0x8e, 0x86, 0xd8, 0x22, 0x4e, 0xdd, 0xd0, 0x9f,
        0x11, 0x57,
    ],
    first_byte_then(0xec, 0xff, 0x7f),
    first_byte_then(0xed, 0xff, 0x7f),
    first_byte_then(0xee, 0xff, 0x7f),
];

const fn first_byte_then(first: u8, middle: u8, last: u8) -> [u8; 32] {
    let mut bytes = [middle; 32];
    bytes[0] = first;
    bytes[31] = last;
    bytes
}

/// Whether the recipient, a text that has already been parsed, is one of [`SMALL_ORDER`].
fn is_of_small_order(text: &str) -> bool {
    let Some(mut point) = bech32_payload(text) else {
        return true;
    };
    // The top bit is not part of the coordinate (RFC 7748 section 5).
    point[31] &= 0x7f;
    SMALL_ORDER.contains(&point)
}

/// The 32 bytes inside `age1…`, whose checksum has already been verified (BIP 173).
fn bech32_payload(text: &str) -> Option<[u8; 32]> {
    const ALPHABET: &str = "qpzry9x8gf2tvdw0s3jn54khce6mua7l";
    const CHECKSUM_LEN: usize = 6;
    let data = text.strip_prefix("age1")?;
    let data = data.get(..data.len().checked_sub(CHECKSUM_LEN)?)?;
    let mut bytes = Vec::with_capacity(32);
    let (mut bits, mut count) = (0_u32, 0);
    for character in data.chars() {
        bits = (bits << 5 | u32::try_from(ALPHABET.find(character)?).ok()?) & 0xfff;
        count += 5;
        if count >= 8 {
            count -= 8;
            bytes.push(u8::try_from((bits >> count) & 0xff).ok()?);
        }
    }
    bytes.try_into().ok()
}

#[cfg(test)]
mod tests;
