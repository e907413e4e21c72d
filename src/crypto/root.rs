//! The root key: what it derives, how it is held, and how one knows that it is the right one.
//!
//! It is never used as an AEAD key itself. It is held only encrypted with age (c2sp.org/age), in
//! `<data>/keys/root.<generation>.age` and as a row of the database. An age file says nothing about
//! who made it: anybody with a recipient can encrypt another root key to it. So every opened root
//! key is compared with the check value that the deployment has on record.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use ring::hkdf;
use rustix::fs::{CWD, RenameFlags};
use rustix::io::Errno;
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

use super::aad::{Fields, split_fields};
use super::recipient::{Identity, Recipient};
use super::seal::KeyRef;
use crate::random::{Random, RandomError};
use crate::secret::{Secret, SecretKey};

/// HKDF label of the check value.
const CHECK_LABEL: &[u8] = b"cv1/root-id";
/// HKDF label of the key that wraps KEKs and service keys.
const WRAP_LABEL: &[u8] = b"cv1/wrap";

/// First field of what is inside the age file.
const FILE_MAGIC: &[u8] = b"strongroom root key";
/// Second field: the version of the form.
const FILE_VERSION: &[u8] = &[1];

/// The largest root key file, in bytes: some five hundred recipients.
const MAX_FILE: usize = 64 * 1024;

/// What a key derived from the root key is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Subkey {
    /// Wrapping KEKs and service keys.
    Wrap,
}

impl Subkey {
    const fn label(self) -> &'static [u8] {
        match self {
            Self::Wrap => WRAP_LABEL,
        }
    }
}

/// The key at the top, with the deployment that it belongs to.
pub struct RootKey {
    key: SecretKey,
    generation: u32,
    deployment: String,
}

/// What is on record about a deployment's root key.
#[derive(Clone, Copy, Debug)]
pub struct ExpectedRoot<'a> {
    /// Deployment id.
    pub deployment: &'a str,
    /// Generation of the root key.
    pub generation: u32,
    /// What [`RootKey::check_value`] must give.
    pub check: [u8; 16],
}

/// The root key cannot be opened, or not be kept.
#[derive(Debug, thiserror::Error)]
pub enum RootError {
    /// None of the identities belongs to the file, or the passphrase is another.
    #[error("no given identity opens the root key")]
    NotOpened,
    /// It opened, but it is another deployment's or another generation.
    #[error("this is not the root key of this deployment")]
    WrongRoot,
    /// The bytes are not an age file with a root key, or they were changed.
    #[error("the root key file is damaged")]
    Damaged,
    /// The file asks for more work than [`super::MAX_WORK_FACTOR`].
    #[error("the root key file asks for too much work on its passphrase")]
    TooMuchWork,
    /// A plugin did not do its work.
    #[error("{0}")]
    Plugin(String),
    /// There is nobody to encrypt to.
    #[error("the root key needs at least one recipient")]
    NoRecipient,
    /// Recipients that age lets not stand beside each other, such as one of a post-quantum scheme
    /// beside others.
    #[error("these recipients cannot stand in one file: one of them is of a post-quantum scheme")]
    Incompatible,
    /// A passphrase and something else for one file.
    #[error("a passphrase must have a root key file of its own")]
    PassphraseNotAlone,
    /// The file of this generation is there already. The caller has to know whether it is in use or
    /// left over from a change that was not completed.
    #[error("there is already a root key file of this generation")]
    Exists,
    /// There is no file of this generation.
    #[error("there is no root key file of this generation")]
    NotFound,
    /// The file system said no.
    #[error("the root key file cannot be {action}")]
    Io {
        /// What was tried.
        action: &'static str,
        /// The system's reason.
        source: io::Error,
    },
}

impl RootError {
    fn io(action: &'static str) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::Io { action, source }
    }
}

impl From<age::DecryptError> for RootError {
    fn from(error: age::DecryptError) -> Self {
        use age::DecryptError as E;
        match error {
            // Both are how a passphrase that is not the right one shows.
            E::NoMatchingKeys | E::DecryptionFailed | E::KeyDecryptionFailed => Self::NotOpened,
            E::ExcessiveWork { .. } => Self::TooMuchWork,
            // The bytes lie in memory; what fails like this is a plugin.
            E::Io(error) if error.kind() == io::ErrorKind::Other => Self::Plugin(error.to_string()),
            // The remaining ones: header, MAC, format, reading. The enum may grow.
            _ => Self::Damaged,
        }
    }
}

impl RootKey {
    /// A new random root key.
    ///
    /// # Errors
    /// The source of randomness failed.
    pub fn generate(
        deployment: &str,
        generation: u32,
        random: &dyn Random,
    ) -> Result<Self, RandomError> {
        let key = SecretKey::generate(random)?;
        Ok(Self {
            key,
            generation,
            deployment: deployment.to_owned(),
        })
    }

    /// The generation, counted up by each change of the root key.
    pub fn generation(&self) -> u32 {
        self.generation
    }

    /// The deployment id that the root key was made for.
    pub fn deployment(&self) -> &str {
        &self.deployment
    }

    /// What shows at once whether the right root key was opened. Not a secret: HKDF-SHA256 of the
    /// key under a label of its own (RFC 5869, no salt), the first 16 bytes.
    pub fn check_value(&self) -> [u8; 16] {
        let mut check = [0; 16];
        expand(&self.key, CHECK_LABEL, &mut check);
        check
    }

    /// How blobs that this root key wraps name it.
    pub fn key_ref(&self) -> KeyRef {
        KeyRef {
            version: self.generation,
            id: self.check_value(),
        }
    }

    /// A key for one use: HKDF-SHA256 of the root key under the label of that use.
    pub fn derive(&self, subkey: Subkey) -> SecretKey {
        SecretKey::filled_by(|out| expand(&self.key, subkey.label(), out))
    }

    /// The root key, encrypted to every one of `recipients`: the bytes of an age file.
    ///
    /// # Errors
    /// There is no recipient, or a passphrase is not alone.
    pub fn encrypt_to(&self, recipients: &[Recipient]) -> Result<Vec<u8>, RootError> {
        if recipients.is_empty() {
            return Err(RootError::NoRecipient);
        }
        if recipients.len() > 1 && recipients.iter().any(Recipient::is_passphrase) {
            return Err(RootError::PassphraseNotAlone);
        }
        let recipients = recipients.iter().map(Recipient::as_age);
        let encryptor =
            age::Encryptor::with_recipients(recipients).map_err(|error| match error {
                age::EncryptError::Io(error) if error.kind() == io::ErrorKind::Other => {
                    RootError::Plugin(error.to_string())
                }
                age::EncryptError::IncompatibleRecipients { .. } => RootError::Incompatible,
                other => RootError::io("encrypted")(io::Error::other(other)),
            })?;
        let write = || -> io::Result<Vec<u8>> {
            let mut writer = encryptor.wrap_output(Vec::new())?;
            writer.write_all(self.to_bytes().expose_secret())?;
            writer.finish()
        };
        write().map_err(RootError::io("encrypted"))
    }

    /// Opens the bytes of an age file with the first of `identities` that fits. The result is still
    /// unproven: see [`RootKey::verify`].
    ///
    /// # Errors
    /// No identity fits, or the file is damaged, too long, or asks for too much work.
    pub fn decrypt(bytes: &[u8], identities: &[Identity]) -> Result<Self, RootError> {
        if bytes.len() > MAX_FILE {
            return Err(RootError::Damaged);
        }
        let decryptor = age::Decryptor::new_buffered(bytes)?;
        let reader = decryptor.decrypt(identities.iter().map(Identity::as_age))?;
        let mut plaintext = Zeroizing::new(Vec::with_capacity(MAX_FILE));
        reader
            .take(MAX_FILE as u64)
            .read_to_end(&mut plaintext)
            .map_err(|_| RootError::Damaged)?;
        Self::from_bytes(&plaintext).ok_or(RootError::Damaged)
    }

    /// Whether this is the root key that is on record. The check value is compared in constant
    /// time.
    ///
    /// # Errors
    /// [`RootError::WrongRoot`].
    pub fn verify(&self, expected: &ExpectedRoot<'_>) -> Result<(), RootError> {
        let check = self.check_value().ct_eq(&expected.check);
        if bool::from(check)
            && self.generation == expected.generation
            && self.deployment == expected.deployment
        {
            Ok(())
        } else {
            Err(RootError::WrongRoot)
        }
    }

    /// What stands inside the age file: five fields, each behind its length as four bytes.
    fn to_bytes(&self) -> Secret {
        let mut fields = Fields::with_capacity(128 + self.deployment.len());
        fields.push(FILE_MAGIC);
        fields.push(FILE_VERSION);
        fields.push(self.deployment.as_bytes());
        fields.push(&self.generation.to_be_bytes());
        fields.push(self.key.expose_secret());
        Secret::new(fields.into_bytes())
    }

    fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let [magic, version, deployment, generation, key] = split_fields(bytes)?;
        if magic != FILE_MAGIC || version != FILE_VERSION {
            return None;
        }
        Some(Self {
            key: SecretKey::from_slice(key)?,
            generation: u32::from_be_bytes(generation.try_into().ok()?),
            deployment: std::str::from_utf8(deployment).ok()?.to_owned(),
        })
    }
}

struct Length(usize);

impl hkdf::KeyType for Length {
    fn len(&self) -> usize {
        self.0
    }
}

fn expand(key: &SecretKey, label: &[u8], out: &mut [u8]) {
    let prk = hkdf::Salt::new(hkdf::HKDF_SHA256, &[]).extract(key.expose_secret());
    let expanded = prk
        .expand(&[label], Length(out.len()))
        .and_then(|okm| okm.fill(out));
    // Unwrap safety: HKDF fails only for more than 255 digests of output.
    #[expect(
        clippy::expect_used,
        reason = "the output is shorter than HKDF's limit"
    )]
    expanded.expect("the output is shorter than HKDF's limit");
}

/// Which of a generation's two files: age lets no passphrase stand beside other recipients.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RootFileForm {
    /// For recipients with a key.
    Recipients,
    /// For one passphrase.
    Passphrase,
}

/// The name of a root key file: `root.<generation>.age` or `root.<generation>.passphrase.age`.
pub fn root_file_name(generation: u32, form: RootFileForm) -> String {
    match form {
        RootFileForm::Recipients => format!("root.{generation}.age"),
        RootFileForm::Passphrase => format!("root.{generation}.passphrase.age"),
    }
}

/// Writes a root key file, durably and in one step, and reads it back. The caller opens it once
/// more before anything is wrapped under it, and holds the lock of the data directory.
///
/// The file gets its name only when its bytes are on disk, and never replaces another one.
///
/// # Errors
/// There is already such a file, or it cannot be written or does not read back the same.
pub fn write_root_file(
    dir: &Path,
    generation: u32,
    form: RootFileForm,
    bytes: &[u8],
) -> Result<(), RootError> {
    write_file(dir, generation, form, bytes, Writing::New)
}

/// Writes a root key file like [`write_root_file`], but in place of the one of this generation and
/// form: the same root key, encrypted to others. At each moment one of the two is there whole.
///
/// # Errors
/// It cannot be written or does not read back the same.
pub fn replace_root_file(
    dir: &Path,
    generation: u32,
    form: RootFileForm,
    bytes: &[u8],
) -> Result<(), RootError> {
    write_file(dir, generation, form, bytes, Writing::InPlace)
}

#[derive(Clone, Copy)]
enum Writing {
    New,
    InPlace,
}

fn write_file(
    dir: &Path,
    generation: u32,
    form: RootFileForm,
    bytes: &[u8],
    writing: Writing,
) -> Result<(), RootError> {
    let name = root_file_name(generation, form);
    let path = dir.join(&name);
    let temporary = dir.join(format!(".{name}.new"));
    // What is left of an attempt that a crash ended. Nobody can be writing it: the caller has the lock.
    match fs::remove_file(&temporary) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            return Err(RootError::Io {
                action: "prepared",
                source: error,
            });
        }
        _ => {}
    }
    let written = (|| {
        let mut file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&temporary)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        match writing {
            Writing::New => rename_to_new(&temporary, &path),
            Writing::InPlace => fs::rename(&temporary, &path),
        }
    })();
    if let Err(source) = written {
        // The reason above matters more than whether this succeeds: the next attempt does it too.
        let _ = fs::remove_file(&temporary);
        return Err(match source.kind() {
            io::ErrorKind::AlreadyExists => RootError::Exists,
            _ => RootError::Io {
                action: "written",
                source,
            },
        });
    }
    File::open(dir)
        .and_then(|dir| dir.sync_all())
        .map_err(RootError::io("made durable"))?;
    if read_root_file(dir, generation, form)? == bytes {
        Ok(())
    } else {
        Err(RootError::Damaged)
    }
}

/// Opens a root key file and makes sure that it is the one on record.
///
/// # Errors
/// There is no such file, it does not open, or it holds another root key.
pub fn open_root_file(
    dir: &Path,
    form: RootFileForm,
    expected: &ExpectedRoot<'_>,
    identities: &[Identity],
) -> Result<RootKey, RootError> {
    let bytes = read_root_file(dir, expected.generation, form)?;
    let root = RootKey::decrypt(&bytes, identities)?;
    root.verify(expected)?;
    Ok(root)
}

/// Renames, but fails when the new name is taken.
fn rename_to_new(from: &Path, to: &Path) -> io::Result<()> {
    match rustix::fs::renameat_with(CWD, from, CWD, to, RenameFlags::NOREPLACE) {
        // A file system that cannot do this can mostly make a link, which never replaces anything.
        Err(Errno::INVAL | Errno::NOSYS) => {
            fs::hard_link(from, to)?;
            fs::remove_file(from)
        }
        other => Ok(other?),
    }
}

/// The bytes of a root key file.
///
/// # Errors
/// There is no such file, it is too long, or it cannot be read.
pub fn read_root_file(
    dir: &Path,
    generation: u32,
    form: RootFileForm,
) -> Result<Vec<u8>, RootError> {
    let file = match File::open(dir.join(root_file_name(generation, form))) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Err(RootError::NotFound),
        other => other.map_err(RootError::io("opened"))?,
    };
    let mut bytes = Vec::new();
    file.take(MAX_FILE as u64 + 1)
        .read_to_end(&mut bytes)
        .map_err(RootError::io("read"))?;
    if bytes.len() > MAX_FILE {
        Err(RootError::Damaged)
    } else {
        Ok(bytes)
    }
}

#[cfg(test)]
mod tests;
