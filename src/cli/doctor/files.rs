//! Files of this machine: settings, data directory, identity, certificate.

use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::fs::{Access, access, statvfs};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};

use super::finding::Findings;
use crate::cli::Environment;
use crate::cli::serve::read_identities;
use crate::config::{Config, Database, RootSource};
use crate::crypto::{Identity, Plugins};
use crate::model::Timestamp;

/// Free space below which it gets tight, and below which it will soon be full, in bytes.
const TIGHT: u64 = 1024 * 1024 * 1024;
const NEARLY_FULL: u64 = 100 * 1024 * 1024;

/// When a certificate has to be looked after, in seconds before its end.
const THREE_WEEKS: i64 = 21 * 24 * 60 * 60;

/// The file of the settings, and what production refuses in them.
pub(super) fn settings(path: &Path, config: &Config, findings: &mut Findings) {
    const CHECK: &str = "settings";
    match std::fs::metadata(path).map(|metadata| metadata.permissions().mode()) {
        Ok(mode) if mode & 0o022 != 0 => findings.problem(
            CHECK,
            format!("{} can be written by its group or others", path.display()),
            "chmod go-w: whoever writes it decides which database and which keys are used",
        ),
        Ok(mode) if mode & 0o004 != 0 && matches!(config.database, Database::Postgres(_)) => {
            findings.warning(
                CHECK,
                format!("{} can be read by every user", path.display()),
                "chmod o-r, and keep the database's password in a file named by database.url_file",
            )
        }
        _ => {}
    }
    match config.check_production() {
        Ok(()) => findings.ok(
            "production",
            "nothing in the settings is for trying out only",
        ),
        Err(refused) => {
            for refusal in refused.0 {
                findings.problem(
                    "production",
                    refusal.to_string(),
                    "serve refuses to start with it",
                );
            }
        }
    }
}

/// How the providers are asked.
pub(super) fn providers(config: &Config, findings: &mut Findings) {
    const CHECK: &str = "providers";
    match config.providers.outbound() {
        Err(error) => findings.problem(
            CHECK,
            error.to_string(),
            "serve refuses to start with it: correct the file, or remove providers.ca_file",
        ),
        Ok(outbound) if outbound.hosts().is_stand_in() => findings.warning(
            CHECK,
            "a stand-in on this machine answers for all providers",
            "remove providers.stand_in: it is for trying out, and verifies nothing",
        ),
        Ok(_) => findings.ok(CHECK, "the providers' own hosts are asked"),
    }
    match config.verification.daily {
        true => findings.ok("daily-check", "active credentials are verified once a day"),
        false => findings.warning(
            "daily-check",
            "nobody notices a credential that dies before its date",
            "remove verification.daily = false",
        ),
    }
}

/// The data directory and what lies in it.
pub(super) fn data(config: &Config, findings: &mut Findings) {
    const CHECK: &str = "data";
    let data = &config.data;
    let shown = data.display();
    let Ok(metadata) = std::fs::metadata(data) else {
        return findings.problem(
            CHECK,
            format!("{shown} is not there, or this user may not look into it"),
            "run `strongroom init`, or doctor as the service's user",
        );
    };
    if metadata.permissions().mode() & 0o077 != 0 {
        findings.problem(
            CHECK,
            format!("{shown} is open to its group or others"),
            "chmod 0700",
        );
    }
    let me = rustix::process::geteuid().as_raw();
    if metadata.uid() != me && me != 0 {
        findings.problem(
            CHECK,
            format!(
                "{shown} belongs to user {} and not to this one, {me}",
                metadata.uid()
            ),
            "run doctor and the service as the same user, or chown the directory",
        );
    }
    let foreign = foreign_files(data, metadata.uid());
    if let Some(path) = foreign.first() {
        findings.problem(
            CHECK,
            format!(
                "{} and {} more belong to another user than {shown}",
                path.display(),
                foreign.len() - 1
            ),
            "a command was once run as another user, such as root: chown them to the service's user",
        );
    }
    if access(data, Access::WRITE_OK).is_err() {
        findings.problem(
            CHECK,
            format!("{shown} cannot be written"),
            "check owner, mode and mount",
        );
    }
    match statvfs(data) {
        Ok(space) => {
            let free = space.f_bavail.saturating_mul(space.f_frsize);
            let mib = free / 1024 / 1024;
            if free < NEARLY_FULL {
                findings.problem(
                    CHECK,
                    format!("{mib} MiB are free at {shown}"),
                    "make room: when it is full, nothing is released and nothing stored",
                );
            } else if free < TIGHT {
                findings.warning(CHECK, format!("{mib} MiB are free at {shown}"), "make room");
            } else {
                findings.ok(CHECK, format!("{mib} MiB are free at {shown}"));
            }
        }
        Err(error) => findings.skipped(CHECK, format!("free space cannot be read: {error}")),
    }
}

/// Files of the data directory that belong to another user than the directory.
fn foreign_files(data: &Path, owner: u32) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for directory in [data.to_owned(), data.join("keys")] {
        let Ok(entries) = std::fs::read_dir(directory) else {
            continue;
        };
        for entry in entries.flatten() {
            if entry
                .metadata()
                .is_ok_and(|metadata| metadata.uid() != owner)
            {
                found.push(entry.path());
            }
        }
    }
    found
}

/// What opens the root key; nothing if it cannot be read.
pub(super) fn identities(
    config: &Config,
    plugins: &Plugins,
    environment: &Environment,
    findings: &mut Findings,
) -> Option<Vec<Identity>> {
    const CHECK: &str = "identity";
    match read_identities(&config.root, plugins, environment) {
        Ok(identities) => {
            let kind = match config.root {
                RootSource::Passphrase => "a passphrase",
                _ if identities.iter().any(Identity::is_plugin) => "an age plugin",
                RootSource::Credential(_) => "a credential of the service manager",
                RootSource::IdentityFile(_) => "an identity file",
            };
            findings.ok(CHECK, format!("{kind} opens the root key at start"));
            Some(identities)
        }
        Err(error) => {
            findings.problem(
                CHECK,
                error.to_string(),
                "without it the service does not start; a recovery identity opens the root key, too",
            );
            None
        }
    }
}

/// The certificate of the API's listener.
pub(super) fn certificate(config: &Config, now: Timestamp, findings: &mut Findings) {
    const CHECK: &str = "certificate";
    let Some((chain, key)) = &config.api.certificate else {
        return findings.ok(
            CHECK,
            "the own authority makes the server's certificate at each start",
        );
    };
    let read: Option<Vec<CertificateDer<'static>>> = CertificateDer::pem_file_iter(chain)
        .ok()
        .and_then(|certificates| certificates.collect::<Result<_, _>>().ok());
    let Some(certificates) = read.filter(|list| !list.is_empty()) else {
        return findings.problem(
            CHECK,
            format!("{} holds no certificate", chain.display()),
            "put the chain there, leaf first, as PEM",
        );
    };
    let leaf = certificates[0].clone();
    match PrivateKeyDer::from_pem_file(key) {
        Err(_) => findings.problem(
            CHECK,
            format!("{} holds no private key, or cannot be read", key.display()),
            "put the key of the certificate there, as PEM (PKCS#8)",
        ),
        Ok(key) if !belong_together(certificates.clone(), key.clone_key()) => findings.problem(
            CHECK,
            "api.certificate and api.key do not belong together",
            "put the key there that the certificate was requested with",
        ),
        Ok(_) => {}
    }
    let Ok((_, parsed)) = x509_parser::parse_x509_certificate(&leaf) else {
        return findings.problem(CHECK, "the certificate cannot be read", "ask for a new one");
    };
    let validity = parsed.validity();
    let left = validity.not_after.timestamp() - now.secs();
    if validity.not_before.timestamp() > now.secs() {
        findings.problem(
            CHECK,
            "the certificate is not valid yet",
            "check this machine's clock",
        );
    } else if left <= 0 {
        findings.problem(
            CHECK,
            "the certificate has expired",
            "replace it and reload (SIGHUP)",
        );
    } else if left < THREE_WEEKS {
        findings.warning(
            CHECK,
            format!("the certificate ends in {} days", left / 86_400),
            "replace it and reload (SIGHUP)",
        );
    } else {
        findings.ok(
            CHECK,
            format!("the certificate is valid for {} days more", left / 86_400),
        );
    }
    let host = config.api.url.as_deref().and_then(host_of);
    match host.and_then(|host| Some((ServerName::try_from(host.clone()).ok()?, host))) {
        None => findings.warning(
            CHECK,
            "api.url is not set, so it is not known which name clients call",
            "set it: the certificate can then be compared with it",
        ),
        Some((name, host)) => {
            let entity = webpki::EndEntityCert::try_from(&leaf);
            let fits =
                entity.is_ok_and(|entity| entity.verify_is_valid_for_subject_name(&name).is_ok());
            if !fits {
                findings.problem(
                    CHECK,
                    format!("the certificate is not for {host}, the name in api.url"),
                    "ask for one with this name, or correct api.url: every client refuses it",
                );
            }
        }
    }
}

fn host_of(url: &str) -> Option<String> {
    let host = reqwest::Url::parse(url).ok()?.host_str()?.to_owned();
    Some(host.trim_matches(['[', ']']).to_owned())
}

fn belong_together(chain: Vec<CertificateDer<'static>>, key: PrivateKeyDer<'static>) -> bool {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let Ok(key) = provider.key_provider.load_private_key(key) else {
        return false;
    };
    rustls::sign::CertifiedKey::new(chain, key)
        .keys_match()
        .is_ok()
}
