//! What production refuses although development allows it.

use std::{
    fmt,
    io::Read,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
};

use rustls_pki_types::{CertificateDer, pem::PemObject};
use zeroize::Zeroizing;

use super::{Config, RootSource};

/// One thing that production refuses.
#[derive(Debug, PartialEq, Eq)]
pub enum Refusal {
    /// The deployment id begins with `dev-`.
    DevelopmentDeployment,
    /// The identity that opens the root key lies beside what it opens.
    IdentityInsideData(PathBuf),
    /// A private key in clear in the data directory, other than the listener's own.
    KeyFileInsideData(PathBuf),
    /// The listener would answer with the certificate of an authority.
    AuthorityAsServer(PathBuf),
    /// Everybody on the machine can read a private file.
    ReadableByOthers(PathBuf),
    /// Everybody on the machine can read or enter the data directory.
    DataOpenToOthers(PathBuf),
    /// Mails would be written into files, links and all, and reach nobody.
    MailIntoFolder,
    /// A file or directory that could not be examined.
    Unreadable(PathBuf),
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::DevelopmentDeployment => f.write_str(
                "the deployment id begins with dev-: its keys were made for trying out; \
                 make a production deployment with `strongroom init`",
            ),
            Self::IdentityInsideData(path) => write!(
                f,
                "{} lies inside the data directory: whoever copies the directory could open it; \
                 move the identity elsewhere",
                path.display()
            ),
            Self::KeyFileInsideData(path) => write!(
                f,
                "{} is a private key in clear inside the data directory: keys of the service are \
                 kept sealed in the database; remove the file",
                path.display()
            ),
            Self::AuthorityAsServer(path) => write!(
                f,
                "{} is the certificate of an authority: give the listener a server certificate, \
                 and keep the authority's key off this machine",
                path.display()
            ),
            Self::ReadableByOthers(path) => write!(
                f,
                "{} can be read by every user of this machine: chmod o-rwx",
                path.display()
            ),
            Self::DataOpenToOthers(path) => write!(
                f,
                "{} is open to every user of this machine: chmod 0700",
                path.display()
            ),
            Self::MailIntoFolder => f.write_str(
                "mail.folder is set: mails would lie there and reach nobody; remove it, and set \
                 mail.server",
            ),
            Self::Unreadable(path) => write!(
                f,
                "{} cannot be examined: check that it exists and who may read it",
                path.display()
            ),
        }
    }
}

/// Everything that production refuses in these settings, at once.
#[derive(Debug)]
pub struct ProductionError(pub Vec<Refusal>);

impl fmt::Display for ProductionError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("refused in production:")?;
        for refusal in &self.0 {
            write!(f, "\n  - {refusal}")?;
        }
        Ok(())
    }
}

impl std::error::Error for ProductionError {}

impl Config {
    /// Refuses what only development may do.
    ///
    /// # Errors
    /// Every refusal that applies.
    pub fn check_production(&self) -> Result<(), ProductionError> {
        let mut refusals = Vec::new();
        if self.deployment.starts_with("dev-") {
            refusals.push(Refusal::DevelopmentDeployment);
        }
        let data = match self.data.canonicalize() {
            Ok(path) => {
                if mode(&path).is_none_or(|mode| mode & 0o007 != 0) {
                    refusals.push(Refusal::DataOpenToOthers(self.data.clone()));
                }
                Some(path)
            }
            Err(_) => {
                refusals.push(Refusal::Unreadable(self.data.clone()));
                None
            }
        };
        if let RootSource::IdentityFile(path) = &self.root {
            check_private(path, &mut refusals);
            // A symbolic link out of the directory is fine, one into it is not.
            if let (Some(data), Ok(real)) = (&data, path.canonicalize())
                && real.starts_with(data)
            {
                refusals.push(Refusal::IdentityInsideData(path.clone()));
            }
        }
        if self.mail.folder.is_some() {
            refusals.push(Refusal::MailIntoFolder);
        }
        if let Some(path) = self.mail.password_file() {
            check_private(path, &mut refusals);
        }
        let mut own_key = None;
        if let Some((certificate, key)) = &self.api.certificate {
            check_private(key, &mut refusals);
            own_key = key.canonicalize().ok();
            match is_authority(certificate) {
                Some(false) => {}
                Some(true) => refusals.push(Refusal::AuthorityAsServer(certificate.clone())),
                None => refusals.push(Refusal::Unreadable(certificate.clone())),
            }
        }
        if let Some(data) = &data {
            for directory in [data.clone(), data.join("keys")] {
                find_key_files(&directory, own_key.as_deref(), &mut refusals);
            }
        }
        if refusals.is_empty() {
            Ok(())
        } else {
            Err(ProductionError(refusals))
        }
    }
}

fn mode(path: &Path) -> Option<u32> {
    Some(std::fs::metadata(path).ok()?.permissions().mode())
}

fn check_private(path: &Path, refusals: &mut Vec<Refusal>) {
    match mode(path) {
        None => refusals.push(Refusal::Unreadable(path.to_owned())),
        Some(mode) if mode & 0o007 != 0 => {
            refusals.push(Refusal::ReadableByOthers(path.to_owned()));
        }
        Some(_) => {}
    }
}

/// Whether the first certificate of a PEM file is one of an authority; `None` if it cannot be read.
fn is_authority(path: &Path) -> Option<bool> {
    let certificate = CertificateDer::from_pem_file(path).ok()?;
    let (_, parsed) = x509_parser::parse_x509_certificate(&certificate).ok()?;
    Some(parsed.is_ca())
}

/// Looks through one directory for private keys and age identities in clear, by content, because a
/// name proves nothing. Key files are small, so the beginning of each small file is enough.
fn find_key_files(directory: &Path, own_key: Option<&Path>, refusals: &mut Vec<Refusal>) {
    const LARGEST: u64 = 64 * 1024;
    let entries = match std::fs::read_dir(directory) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return,
        Err(_) => return refusals.push(Refusal::Unreadable(directory.to_owned())),
    };
    for entry in entries {
        let Ok(entry) = entry else {
            return refusals.push(Refusal::Unreadable(directory.to_owned()));
        };
        let path = entry.path();
        let Ok(metadata) = std::fs::metadata(&path) else {
            continue;
        };
        let is_own = path.canonicalize().ok().as_deref() == own_key && own_key.is_some();
        if !metadata.is_file() || metadata.len() > LARGEST || is_own {
            continue;
        }
        let mut content = Zeroizing::new(Vec::with_capacity(64 * 1024));
        let read = std::fs::File::open(&path)
            .and_then(|file| file.take(LARGEST).read_to_end(&mut content));
        if read.is_err() {
            refusals.push(Refusal::Unreadable(path));
        } else if contains(&content, b"PRIVATE KEY-----") || contains(&content, b"AGE-SECRET-KEY-")
        {
            refusals.push(Refusal::KeyFileInsideData(path));
        }
    }
}

fn contains(content: &[u8], word: &[u8]) -> bool {
    content.windows(word.len()).any(|window| window == word)
}
