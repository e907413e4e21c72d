//! `enrol`: a host or a person gets a first certificate with a one-time token.
//!
//! The key is made here, durable before anything is asked for, and never sent. The other files get
//! their names only when all of them are on the disk; the profile, which names the others, is last.

use std::io::{Read as _, Write as _};
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use clap::Args;
use rustls_pki_types::CertificateDer;
use serde::Serialize;
use serde_json::{Value, json};
use zeroize::Zeroizing;

use super::api::Api;
use super::authenticator::{Nobody, read_file};
use super::connection::Connection;
use super::error::CliError;
use super::files::{NewFile, failure, sync_directory};
use super::release::lock::Locks;
use super::table::{Column, Output, at};
use super::trust::{ByFingerprint, Fingerprint, Trust, authorities};
use super::wiping::WipingBuffer;
use crate::identity::certificate::CertificateFacts;
use crate::identity::pem;
use crate::pki::P256Key;
use crate::vault::{Enrolled, TOKEN_PREFIX};

/// What enrolment leaves behind, besides the files named after the kind of principal.
pub const CA_FILE: &str = "ca.pem";
const PROFILE_FILE: &str = "profile.json";
/// The key until it has a certificate.
const PENDING_KEY: &str = "enrolment.key";

/// With what, and where to.
#[derive(Args, Debug)]
pub struct Arguments {
    /// SHA-256 of the certificate of the server's authority, instead of --ca; may be repeated
    #[arg(long, value_name = "SHA256")]
    ca_fingerprint: Vec<Fingerprint>,
    /// The token; - reads it from standard input
    #[arg(long, value_name = "FILE")]
    token_file: PathBuf,
    /// Where key, certificate, authorities and profile go
    #[arg(long, value_name = "DIR")]
    dir: PathBuf,
    /// Replace what an earlier enrolment left there
    #[arg(long)]
    replace: bool,
}

#[derive(Serialize)]
struct Body<'a> {
    token: &'a str,
    csr: &'a str,
}

/// The key before it has a certificate; dropped before that, it is removed.
struct PendingKey {
    key: P256Key,
    path: PathBuf,
    kept: bool,
}

impl PendingKey {
    /// Makes a key that is durable.
    fn make(directory: &Path) -> Result<Self, CliError> {
        let path = directory.join(PENDING_KEY);
        let key = P256Key::generate().map_err(|error| CliError::local(error.to_string()))?;
        write(&path, 0o600, key.to_pem().as_bytes())?.finish()?;
        Ok(Self {
            key,
            path,
            kept: false,
        })
    }

    fn keep_as(mut self, path: &Path) -> Result<(), CliError> {
        std::fs::rename(&self.path, path).map_err(|error| failure(path, &error))?;
        self.kept = true;
        Ok(())
    }
}

impl Drop for PendingKey {
    fn drop(&mut self) {
        if !self.kept {
            let _ = std::fs::remove_file(&self.path);
        }
    }
}

fn write(path: &Path, mode: u32, content: &[u8]) -> Result<NewFile, CliError> {
    let mut file = NewFile::create(path, mode)?;
    let written = file.write_all(content);
    written.map_err(|error| failure(path, &error))?;
    Ok(file)
}

/// Reads the token. What is none is refused here, without being shown.
fn read_token(path: &Path) -> Result<Zeroizing<String>, CliError> {
    const MOST: u64 = 4096;
    let mut text = Zeroizing::new(String::with_capacity(4096));
    let read = if path == Path::new("-") {
        std::io::stdin().lock().take(MOST).read_to_string(&mut text)
    } else {
        std::fs::File::open(path).and_then(|file| file.take(MOST).read_to_string(&mut text))
    };
    read.map_err(|error| CliError::local(format!("cannot read {}: {error}", path.display())))?;
    let token = text.trim();
    let is_one = token.strip_prefix(TOKEN_PREFIX).is_some_and(|random| {
        let mut bytes = random.bytes();
        random.len() == 43 && bytes.all(|it| it.is_ascii_alphanumeric() || b"-_".contains(&it))
    });
    match is_one {
        true => Ok(Zeroizing::new(token.to_owned())),
        false => Err(CliError::local(format!(
            "there is no enrolment token in {}: it begins with {TOKEN_PREFIX} and has 43 characters \
             more",
            path.display()
        ))),
    }
}

/// The directory, made if need be, for this process alone and without an earlier enrolment.
fn prepare(arguments: &Arguments) -> Result<(Locks, Locks), CliError> {
    let directory = &arguments.dir;
    std::fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(directory)
        .map_err(|error| failure(directory, &error))?;
    let locks = Locks::take([directory.as_path()])?;
    let names = ["worker.key", "worker.pem", "operator.key", "operator.pem"];
    let there = names.iter().find(|name| directory.join(name).exists());
    if let Some(name) = there
        && !arguments.replace
    {
        return Err(CliError::local(format!(
            "{} is there already: nothing was asked for. Renew a certificate with `strongroom renew`; \
             to enrol anew with another key, say --replace",
            directory.join(name).display()
        )));
    }
    // A renewal of what is replaced ends first, and none begins.
    let keys: Vec<PathBuf> = ["worker.key", "operator.key"]
        .map(|name| directory.join(name))
        .into();
    let keys = keys.iter().filter(|path| path.exists());
    let renewals = Locks::take(keys.map(PathBuf::as_path))?;
    Ok((locks, renewals))
}

const OVER: &str = "A new token comes from an operator: `strongroom workload token NAME`, or \
                    `operator token NAME`";

/// What went wrong, and what became of the token. A server that no fingerprint matched is `not_known`:
/// nothing was sent to it.
fn explain(error: CliError, not_known: bool) -> CliError {
    match error {
        CliError::Refused(problem) if problem.status == 401 => {
            eprintln!("note: the token is not good: unknown, used, expired or revoked. {OVER}");
            CliError::Refused(problem)
        }
        CliError::Refused(problem) if problem.status < 500 => {
            eprintln!("note: the token was not used");
            CliError::Refused(problem)
        }
        CliError::Refused(problem) => {
            eprintln!("note: {}", uncertain());
            CliError::Refused(problem)
        }
        CliError::Local(text) if not_known => CliError::Local(format!(
            "{text}\nThe token was not sent. If the server has a certificate of another authority \
             than --ca-fingerprint says, or does not send that authority's certificate along, give \
             --ca FILE instead"
        )),
        CliError::Unreachable(text) => CliError::Unreachable(format!("{text}\n{}", uncertain())),
        CliError::BrokenOff(text) => CliError::BrokenOff(format!("{text}\n{}", uncertain())),
        other => other,
    }
}

fn uncertain() -> String {
    format!(
        "whether the server used the token is not known; nothing was left here. Run the same \
         command again. If it then says 401, the token was used and its answer lost. {OVER}. \
         Enrolling with that one revokes the key that nobody has"
    )
}

/// What the server is known by.
fn trusted(arguments: &Arguments, connection: &Connection) -> Result<Known, CliError> {
    if arguments.ca_fingerprint.is_empty() {
        return Ok(Known::Authorities(read_file(connection.ca()?)?));
    }
    if connection.wrote_ca() {
        return Err(CliError::local(
            "--ca and --ca-fingerprint both say what the server is known by: give one of them",
        ));
    }
    let wanted = arguments.ca_fingerprint.clone();
    Ok(Known::Fingerprints(Arc::new(ByFingerprint::new(wanted))))
}

enum Known {
    Authorities(Vec<u8>),
    Fingerprints(Arc<ByFingerprint>),
}

impl Known {
    fn trust(&self) -> Trust<'_> {
        match self {
            Self::Authorities(pem) => Trust::Authorities(pem),
            Self::Fingerprints(wanted) => Trust::Fingerprints(Arc::clone(wanted)),
        }
    }

    /// The authorities by which this server was known.
    fn authorities(&self) -> Result<Vec<CertificateDer<'static>>, CliError> {
        match self {
            Self::Authorities(pem) => authorities(pem),
            Self::Fingerprints(wanted) => Ok(wanted.found().into_iter().collect()),
        }
    }
}

/// All of `known` and those of `more` that are not among them, as one PEM text.
///
/// # Errors
/// `more` is no PEM.
pub fn merged(known: Vec<CertificateDer<'static>>, more: &str) -> Result<String, CliError> {
    let mut all = known;
    for authority in authorities(more.as_bytes())? {
        if !all.contains(&authority) {
            all.push(authority);
        }
    }
    let all = all.iter();
    Ok(all
        .map(|der| String::clone(&pem::write_one(der, "CERTIFICATE")))
        .collect())
}

/// An answer whose certificate is for `key`.
///
/// # Errors
/// It is something else.
pub fn read_answer(answer: Value, key: &P256Key) -> Result<Enrolled, CliError> {
    let unusable = || CliError::local("the answer holds no certificate for this key");
    let enrolled: Enrolled = serde_json::from_value(answer).map_err(|_| unusable())?;
    let facts = CertificateFacts::of_client(&enrolled.certificate).map_err(|_| unusable())?;
    match facts.spki == key.public_key().sha256() {
        true => Ok(enrolled),
        false => Err(unusable()),
    }
}

/// The certificate with that of its authority, as the file of a client's certificate has them.
pub fn chain_of(enrolled: &Enrolled) -> String {
    enrolled.certificate.trim_end().to_owned() + "\n" + &enrolled.chain
}

const COLUMNS: &[Column] = &[
    at("Name", "/principal/name"),
    at("Id", "/principal/id"),
    at("Key", "/key/id"),
    at("Certificate", "/files/certificate"),
    at("Private key", "/files/key"),
    at("Authorities", "/files/ca"),
    at("Profile", "/files/profile"),
    at("Ends", "/not_after"),
    at("Renewed after", "/renew_after"),
];

/// Enrols.
///
/// # Errors
/// There is no token, the server says no, or a file cannot be written; the text says what became of
/// the token.
pub async fn run(
    arguments: &Arguments,
    connection: &Connection,
    out: &mut Output,
) -> Result<(), CliError> {
    let known = trusted(arguments, connection)?;
    let url = connection.url()?;
    let api = Api::with_trust(url, known.trust(), Box::new(Nobody))?;
    let token = read_token(&arguments.token_file)?;
    let _locks = prepare(arguments)?;
    let pending = PendingKey::make(&arguments.dir)?;
    let csr = pending.key.request_pem();
    let csr = csr.map_err(|error| CliError::local(error.to_string()))?;
    let mut body = WipingBuffer::with_capacity(4096);
    let request = Body {
        token: &token,
        csr: &csr,
    };
    serde_json::to_writer(&mut body, &request)
        .map_err(|_| CliError::local("the request cannot be written as JSON"))?;
    let answer = api.post_secret(&["enrol"], body).await;
    let not_known = matches!(&known, Known::Fingerprints(wanted) if wanted.found().is_none());
    let answer = answer.map_err(|error| explain(error, not_known))?;
    let kept = read_answer(answer, &pending.key).and_then(|enrolled| {
        let ca = merged(known.authorities()?, &enrolled.ca)?;
        let files = keep(&arguments.dir, pending, &enrolled, &ca, url)?;
        Ok((enrolled, files))
    });
    let (enrolled, files) = kept.inspect_err(|_| {
        eprintln!(
            "note: the token was used, but its certificate is lost; the reason follows. {OVER}"
        );
    })?;
    let shown = json!({
        "principal": enrolled.principal, "key": enrolled.key, "spiffe_id": enrolled.spiffe_id,
        "not_after": enrolled.not_after, "renew_after": enrolled.renew_after,
        "audience": enrolled.audience, "files": files,
    });
    out.one(&shown, COLUMNS)?;
    if out.is_table() {
        let profile = files["profile"].as_str().unwrap_or_default();
        out.line(&format!(
            "\nTry it:\n  strongroom whoami --profile {profile}"
        ))?;
    }
    Ok(())
}

/// Writes everything, and says what lies where.
fn keep(
    directory: &Path,
    pending: PendingKey,
    enrolled: &Enrolled,
    ca: &str,
    url: &str,
) -> Result<Value, CliError> {
    let name = match enrolled.principal.kind {
        crate::model::PrincipalKind::Workload => "worker",
        crate::model::PrincipalKind::Operator => "operator",
    };
    let (certificate, key) = (format!("{name}.pem"), format!("{name}.key"));
    // Its paths begin where it lies, so that the directory can be moved.
    let profile = json!({
        "id": enrolled.principal.id, "audience": enrolled.audience, "url": url,
        "ca": CA_FILE, "cert": certificate, "key": key,
    });
    let path = |name: &str| directory.join(name);
    let files = [
        write(&path(CA_FILE), 0o644, ca.as_bytes())?,
        write(&path(&certificate), 0o644, chain_of(enrolled).as_bytes())?,
        write(
            &path(PROFILE_FILE),
            0o644,
            format!("{profile:#}\n").as_bytes(),
        )?,
    ];
    files.iter().try_for_each(NewFile::sync)?;
    pending.keep_as(&path(&key))?;
    files.into_iter().try_for_each(NewFile::rename)?;
    sync_directory(directory)?;
    let shown = |name: &str| path(name).display().to_string();
    Ok(json!({
        "certificate": shown(&certificate), "key": shown(&key),
        "ca": shown(CA_FILE), "profile": shown(PROFILE_FILE),
    }))
}
