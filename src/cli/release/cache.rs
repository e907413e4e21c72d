//! The offline copy: the last release, sealed to a key of the worker's own, so that a deploy
//! succeeds while the service is down, for a while.
//!
//! The file is an age file for an identity in a file of its own. Age says nothing about who made a
//! file, so a MAC under a key derived from that identity stands inside: nobody without the identity
//! can make a copy that is believed.
//!
//! ```text
//! age( MAC 32 ‖ length of the head 4 ‖ head (JSON) ‖ the release as it came )
//! ```

use std::{
    io::Write,
    path::{Path, PathBuf},
};

use clap::Args;
use ring::hkdf;
use serde::{Deserialize, Serialize};

use crate::{
    cli::{
        error::CliError,
        files::{NewFile, directory_of, sync_directory},
        wiping::WipingBuffer,
    },
    crypto::{
        AgeFileError, Identity, IdentityError, MacKey, Recipient, decrypt_file, encrypt_file,
    },
    model::Timestamp,
    secret::{Secret, SecretKey},
};

/// The largest file, in bytes.
const LARGEST: usize = 300 * 1024 * 1024;
/// How far ahead of the clock a copy may have been made, in seconds: clocks are set now and then.
const AHEAD: i64 = 5 * 60;
/// What the tag is for.
const DOMAIN: &str = "worker-cache-1";

/// Where the offline copy lies and how long it is good.
#[derive(Args, Clone, Debug, Default)]
pub struct CacheArguments {
    /// Keep an encrypted copy here, to be used while the service cannot be reached
    #[arg(
        long,
        value_name = "FILE",
        env = "STRONGROOM_CACHE",
        hide_env_values = true,
        requires = "cache_identity"
    )]
    pub cache: Option<PathBuf>,
    /// The key of that copy (an age identity); made when it is not there. Keep it on the machine,
    /// away from where the copy lies
    #[arg(
        long,
        value_name = "FILE",
        env = "STRONGROOM_CACHE_IDENTITY",
        hide_env_values = true
    )]
    pub cache_identity: Option<PathBuf>,
    /// When a copy is older, the server is asked again (exec)
    #[arg(
        long,
        value_name = "DURATION",
        env = "STRONGROOM_CACHE_ASK_AFTER",
        hide_env_values = true,
        default_value = "1h",
        value_parser = seconds
    )]
    pub cache_ask_after: i64,
    /// When a copy is older, it is not used, whatever happens
    #[arg(
        long,
        value_name = "DURATION",
        env = "STRONGROOM_CACHE_NEVER_AFTER",
        hide_env_values = true,
        default_value = "72h",
        value_parser = seconds
    )]
    pub cache_never_after: i64,
}

/// A duration: a number and one of s, m, h, d. At most 90 days.
fn seconds(text: &str) -> Result<i64, &'static str> {
    const RULE: &str = "must be a number and s, m, h or d, such as 90m, and at most 90d";
    let unit = match text.chars().last() {
        Some('s') => 1,
        Some('m') => 60,
        Some('h') => 3600,
        Some('d') => 86_400,
        _ => return Err(RULE),
    };
    let number = &text[..text.len() - 1];
    if number.is_empty() || !number.bytes().all(|c| c.is_ascii_digit()) {
        return Err(RULE);
    }
    let number: i64 = number.parse().map_err(|_| RULE)?;
    let seconds = number.checked_mul(unit).ok_or(RULE)?;
    if seconds > 90 * 86_400 {
        return Err(RULE);
    }
    Ok(seconds)
}

/// What the copy is a copy of.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Subject {
    /// The server.
    pub server: String,
    /// Who asked.
    pub caller: String,
    /// What was asked for.
    pub query: String,
}

/// What stands before the release.
#[derive(Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct Head {
    subject: Subject,
    etag: Option<String>,
    checkpoint: Option<String>,
    fetched_at: i64,
    ask_after: i64,
    never_after: i64,
}

/// The place of the copy, with its key.
pub struct Cache {
    path: PathBuf,
    identities: Vec<Identity>,
    recipient: Recipient,
    mac: MacKey,
    subject: Subject,
    ask_after: i64,
    never_after: i64,
}

/// A copy that is what it should be.
pub struct Cached {
    /// The release as it came.
    pub body: WipingBuffer,
    /// Its ETag.
    pub etag: Option<String>,
    /// When it came.
    pub fetched_at: Timestamp,
    /// When it stops being good.
    pub never_after: Timestamp,
    checkpoint: Option<String>,
    ask_after: i64,
}

impl Cached {
    /// Whether it may be used without asking.
    pub fn is_young(&self, now: Timestamp) -> bool {
        now < self.fetched_at.plus_secs(self.ask_after) && now < self.never_after
    }

    /// Whether it may be used at all.
    pub fn is_usable(&self, now: Timestamp) -> bool {
        now < self.never_after
    }
}

impl Cache {
    /// The cache that the arguments name, for this subject; none when there is none. Makes the key
    /// if it is not there.
    ///
    /// # Errors
    /// The key cannot be read or made, or the limits contradict each other.
    pub fn open(arguments: &CacheArguments, subject: Subject) -> Result<Option<Self>, CliError> {
        let (Some(path), Some(key)) = (&arguments.cache, &arguments.cache_identity) else {
            return Ok(None);
        };
        if arguments.cache_never_after < arguments.cache_ask_after {
            return Err(CliError::local(
                "--cache-never-after must not be shorter than --cache-ask-after",
            ));
        }
        let fail = |error: IdentityError| {
            CliError::local(format!("--cache-identity {}: {error}", key.display()))
        };
        if !key.exists() {
            let (text, _) = Identity::generate();
            Identity::write_file(key, &text).map_err(fail)?;
            sync_directory(directory_of(key))?;
        }
        let identities = Identity::read_file(key, None).map_err(fail)?;
        let text =
            Secret::new(std::fs::read(key).map_err(|error| {
                CliError::local(format!("cannot read {}: {error}", key.display()))
            })?);
        let recipient = identities.first().and_then(Identity::recipient);
        let recipient = recipient.ok_or_else(|| fail(IdentityError::None))?;
        Ok(Some(Self {
            path: path.clone(),
            identities,
            recipient,
            mac: mac_key(&text)?,
            subject,
            ask_after: arguments.cache_ask_after,
            never_after: arguments.cache_never_after,
        }))
    }

    /// Where it lies.
    pub fn path(&self) -> &Path {
        &self.path
    }

    fn refuse(&self, why: &str) -> CliError {
        CliError::local(format!("the copy in {} {why}", self.path.display()))
    }

    /// Reads the copy; none when there is none.
    ///
    /// # Errors
    /// It was changed or cut, is not for this key, is of another server, caller or request, or was
    /// made in the future.
    pub fn read(&self, now: Timestamp) -> Result<Option<Cached>, CliError> {
        let bytes = match std::fs::metadata(&self.path) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Ok(metadata) if metadata.len() > LARGEST as u64 => {
                return Err(self.refuse("is too large to be one"));
            }
            _ => std::fs::read(&self.path)
                .map_err(|error| self.refuse(&format!("cannot be read: {error}")))?,
        };
        let plain = decrypt_file(&bytes, &self.identities, LARGEST).map_err(|error| {
            self.refuse(match error {
                AgeFileError::NotOpened => "is not for the key of --cache-identity",
                _ => "was changed or cut",
            })
        })?;
        let plain = plain.expose_secret();
        let changed = || self.refuse("was not made with the key of --cache-identity");
        let (tag, rest) = plain.split_at_checked(32).ok_or_else(changed)?;
        let (length, rest) = rest.split_first_chunk::<4>().ok_or_else(changed)?;
        let length = u32::from_be_bytes(*length) as usize;
        let (head, release) = rest.split_at_checked(length).ok_or_else(changed)?;
        if !self.mac.verify(DOMAIN, &[head, release], tag) {
            return Err(changed());
        }
        let head: Head = serde_json::from_slice(head)
            .map_err(|_| self.refuse("was made by another version of this program"))?;
        let Subject {
            server,
            caller,
            query,
        } = &head.subject;
        for (is_same, what) in [
            (*server == self.subject.server, "server"),
            (*caller == self.subject.caller, "caller"),
            (*query == self.subject.query, "request"),
        ] {
            if !is_same {
                return Err(self.refuse(&format!("is of another {what}")));
            }
        }
        let fetched_at = Timestamp::from_micros(head.fetched_at);
        if fetched_at > now.plus_secs(AHEAD) {
            return Err(self.refuse(&format!(
                "was made at {fetched_at}, which is in the future: was the clock set back?"
            )));
        }
        let mut body = WipingBuffer::with_capacity(release.len());
        body.extend(release);
        Ok(Some(Cached {
            body,
            etag: head.etag,
            fetched_at,
            // What was promised when it was made holds, and what is asked for now.
            never_after: fetched_at.plus_secs(head.never_after.min(self.never_after)),
            checkpoint: head.checkpoint,
            ask_after: head.ask_after.min(self.ask_after),
        }))
    }

    /// Writes a copy of what came now.
    ///
    /// # Errors
    /// The disk or directory did not take it.
    pub fn write(
        &self,
        release: &[u8],
        etag: Option<&str>,
        checkpoint: Option<&str>,
        now: Timestamp,
    ) -> Result<(), CliError> {
        let head = Head {
            subject: self.subject.clone(),
            etag: etag.map(str::to_owned),
            checkpoint: checkpoint.map(str::to_owned),
            fetched_at: now.micros(),
            ask_after: self.ask_after,
            never_after: self.never_after,
        };
        let unusable = || self.refuse("cannot be made");
        let head = serde_json::to_vec(&head).map_err(|_| unusable())?;
        let length = u32::try_from(head.len()).map_err(|_| unusable())?;
        let mut plain = WipingBuffer::with_capacity(64 + head.len() + release.len());
        plain.extend(&self.mac.tag(DOMAIN, &[&head, release]));
        plain.extend(&length.to_be_bytes());
        plain.extend(&head);
        plain.extend(release);
        let sealed =
            encrypt_file(plain.expose_secret(), &self.recipient).map_err(|_| unusable())?;
        let mut file = NewFile::create(&self.path, 0o600)?;
        file.write_all(&sealed)
            .map_err(|error| self.refuse(&format!("cannot be written: {error}")))?;
        file.finish()
    }

    /// The server said that the copy is still what it would give: from now on it counts as new.
    ///
    /// # Errors
    /// As [`Self::write`].
    pub fn renew(&self, cached: &Cached, now: Timestamp) -> Result<(), CliError> {
        let (etag, checkpoint) = (cached.etag.as_deref(), cached.checkpoint.as_deref());
        self.write(cached.body.expose_secret(), etag, checkpoint, now)
    }

    /// Deletes the copy: the server says that it may not be used any more.
    ///
    /// # Errors
    /// The directory cannot be written.
    pub fn wipe(&self) -> Result<(), CliError> {
        match std::fs::remove_file(&self.path) {
            Ok(()) => sync_directory(directory_of(&self.path)),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
            Err(error) => Err(self.refuse(&format!("cannot be deleted: {error}"))),
        }
    }
}

/// HKDF-SHA256 (RFC 5869) of the identity's text.
fn mac_key(identity: &Secret) -> Result<MacKey, CliError> {
    let failed = || CliError::local("no key can be derived from --cache-identity");
    let mut result = Err(failed());
    let key = SecretKey::filled_by(|out| {
        let salt = hkdf::Salt::new(hkdf::HKDF_SHA256, b"strongroom worker cache");
        let secret = salt.extract(identity.expose_secret());
        result = secret
            .expand(&[b"mac"], hkdf::HKDF_SHA256)
            .and_then(|okm| okm.fill(out))
            .map_err(|_| failed());
    });
    result.map(|()| MacKey::new(&key))
}

#[cfg(test)]
mod tests;
