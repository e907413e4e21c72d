//! `renew`, and what `fetch` and `exec` do of it by themselves: the next certificate for the same
//! key, in good time.

use std::io::Write as _;
use std::path::{Path, PathBuf};

use clap::Args;
use rustls_pki_types::CertificateDer;
use serde_json::json;

use super::authenticator::read_file;
use super::enrol::{CA_FILE, chain_of, merged, read_answer};
use super::error::CliError;
use super::files::{NewFile, directory_of, failure};
use super::release::lock::Locks;
use super::table::{Column, at};
use super::trust::authorities;
use super::{Session, connection::CertificateFiles};
use crate::clock::Clock;
use crate::config::is_deployment_id;
use crate::identity::certificate::{ClientLeaf, subject_common_name};
use crate::identity::pem;
use crate::model::Timestamp;
use crate::pki::P256Key;
use crate::secret::Secret;
use crate::vault::Enrolled;

/// When.
#[derive(Args, Debug)]
pub struct Arguments {
    /// Only after two thirds of the certificate's life
    #[arg(long)]
    if_due: bool,
}

/// What the certificate at hand says of its own renewal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Due {
    after: Timestamp,
    end: Timestamp,
}

/// When the first certificate of a chain is to be renewed; `None` for one that no Strongroom issued.
fn due(chain: &[u8]) -> Option<Due> {
    let leaf = ClientLeaf::read(chain)?;
    let spiffe_id = leaf.spiffe_id?;
    let of_principal = ["/workload/", "/operator/"]
        .iter()
        .any(|path| spiffe_id.path().starts_with(path));
    if !of_principal || !is_deployment_id(spiffe_id.trust_domain().as_str()) {
        return None;
    }
    let (begin, end) = (leaf.not_before.secs(), leaf.not_after.secs());
    let life = end.saturating_sub(begin);
    Some(Due {
        after: Timestamp::from_secs(end.saturating_sub(life / 3)),
        end: leaf.not_after,
    })
}

/// What came of it.
enum Outcome {
    Renewed(serde_json::Value),
    /// It is not due before this.
    NotDue(Timestamp),
}

const COLUMNS: &[Column] = &[
    at("Key", "/key/id"),
    at("Certificate", "/certificate"),
    at("Ends", "/not_after"),
    at("Renewed after", "/renew_after"),
];

/// Renews.
///
/// # Errors
/// The certificate is not one that can be renewed, the server says no, or the file cannot be written.
pub async fn run(
    arguments: &Arguments,
    session: &mut Session,
    clock: &dyn Clock,
) -> Result<(), CliError> {
    let files = session.files.identity.clone().ok_or_else(|| {
        CliError::local(
            "a renewal needs the certificate that is renewed: give --cert and --key, or the profile \
             that `enrol` wrote",
        )
    })?;
    let Some(now) = due(&read_file(&files.certificate)?) else {
        return Err(CliError::local(format!(
            "{} was not issued by Strongroom's own authority: renew it where it comes from",
            files.certificate.display()
        )));
    };
    if now.end < clock.now() {
        return Err(over(now.end));
    }
    match renew(session, &files, arguments.if_due, clock).await? {
        Outcome::Renewed(answer) => session.out.one(&answer, COLUMNS),
        Outcome::NotDue(after) => {
            let answer = json!({"renewed": false, "renew_after": after});
            session
                .out
                .done(&answer, &format!("not due before {after}"))
        }
    }
}

fn over(end: Timestamp) -> CliError {
    CliError::local(format!(
        "the client certificate ended at {end}: enrol again, with a new token from an operator \
         (`strongroom workload token NAME`, or `operator token NAME`) and `strongroom enrol --replace`"
    ))
}

/// What a worker's command does about its certificate after its own work, which waits for nothing.
pub async fn after(result: &Result<(), CliError>, session: &Session, clock: &dyn Clock) {
    match result {
        Err(CliError::Refused(problem)) if problem.status == 401 => {
            explain(result, session, clock);
        }
        // While the service is down there is nobody to ask.
        _ if session.api.was_answered() => in_passing(session, clock).await,
        _ => {}
    }
}

/// Says what to do when the server knows the caller no more because the certificate has ended.
pub fn explain(result: &Result<(), CliError>, session: &Session, clock: &dyn Clock) {
    let refused = matches!(result, Err(CliError::Refused(problem)) if problem.status == 401);
    let files = session.files.identity.as_ref().filter(|_| refused);
    let chain = files.and_then(|files| std::fs::read(&files.certificate).ok());
    if let Some(due) = chain.and_then(|chain| due(&chain))
        && due.end < clock.now()
    {
        over(due.end).report(&mut std::io::stderr().lock());
    }
}

/// Renews the certificate of this session if it is due. It is not what was asked for: what goes wrong
/// is said on standard error and stops nothing while the certificate is good.
pub async fn in_passing(session: &Session, clock: &dyn Clock) {
    let Some(files) = &session.files.identity else {
        return;
    };
    let now = clock.now();
    let Some(due) = std::fs::read(&files.certificate)
        .ok()
        .and_then(|chain| due(&chain))
        .filter(|due| now >= due.after)
    else {
        return;
    };
    if due.end < now {
        over(due.end).report(&mut std::io::stderr().lock());
        return;
    }
    match renew(session, files, true, clock).await {
        Ok(Outcome::Renewed(answer)) => {
            let end = answer["not_after"].as_str().unwrap_or_default();
            eprintln!("renewed the client certificate: good until {end}");
        }
        Ok(Outcome::NotDue(_)) => {}
        Err(error) => {
            eprintln!(
                "warning: the client certificate could not be renewed, and ends at {}. The reason:",
                due.end
            );
            error.report(&mut std::io::stderr().lock());
        }
    }
}

async fn renew(
    session: &Session,
    files: &CertificateFiles,
    if_due: bool,
    clock: &dyn Clock,
) -> Result<Outcome, CliError> {
    // A link keeps its place; what it points to is replaced.
    let target = std::fs::canonicalize(&files.certificate)
        .map_err(|error| failure(&files.certificate, &error))?;
    // The key, which stays: the directory may be locked by what else this process does.
    let _locks = Locks::take([files.key.as_path()])?;
    // Another process may have done it while this one waited.
    if let Some(due) = due(&read_file(&target)?)
        && if_due
        && clock.now() < due.after
    {
        return Ok(Outcome::NotDue(due.after));
    }
    let key = read_key(&files.key)?;
    let csr = key
        .request_pem()
        .map_err(|error| CliError::local(error.to_string()))?;
    // Before the server is asked: whether there is room for what it answers.
    let mut file = NewFile::create(&target, mode_of(&target))?;
    let answer = session.api.post(&["renew"], &json!({"csr": csr})).await?;
    let renewed = read_answer(answer, &key)?;
    file.write_all(chain_of(&renewed).as_bytes())
        .map_err(|error| failure(&target, &error))?;
    file.finish()?;
    if let Some(ca) = beside(session, files)
        && let Err(error) = update_authorities(&ca, &renewed)
    {
        eprintln!(
            "warning: the client certificate was renewed, but {} could not be brought up to date. It \
             is tried again with the next renewal. The reason:",
            ca.display()
        );
        error.report(&mut std::io::stderr().lock());
    }
    Ok(Outcome::Renewed(json!({
        "renewed": true, "principal": renewed.principal, "key": renewed.key,
        "certificate": files.certificate.display().to_string(),
        "not_after": renewed.not_after, "renew_after": renewed.renew_after,
    })))
}

/// Brings the file of trusted authorities up to date: own ones that the service no longer names go.
fn update_authorities(ca: &Path, renewed: &Enrolled) -> Result<(), CliError> {
    let before = read_file(ca)?;
    let mut known = authorities(&before)?;
    known.retain(|der| !is_own(der, &renewed.audience));
    let all = merged(known, &renewed.ca)?;
    if all.as_bytes() == before {
        return Ok(());
    }
    let mut file = NewFile::create(ca, mode_of(ca))?;
    file.write_all(all.as_bytes())
        .map_err(|error| failure(ca, &error))?;
    file.finish()
}

/// Whether an authority is one of the deployment's own, which are named after it: the first by its id
/// alone, each that a roll made with its number.
fn is_own(authority: &CertificateDer<'_>, deployment: &str) -> bool {
    let name = subject_common_name(authority);
    let rest = name
        .as_deref()
        .and_then(|name| name.strip_prefix(deployment));
    rest.is_some_and(|rest| {
        let number = rest.strip_prefix(' ');
        rest.is_empty() || number.is_some_and(|number| number.parse::<u32>().is_ok())
    })
}

/// The file of authorities that `enrol` wrote beside the certificate, if that is what this session
/// trusts: it learns of a new authority in time. One of somebody else is left alone.
fn beside(session: &Session, files: &CertificateFiles) -> Option<PathBuf> {
    let ca = session.files.ca.as_ref()?;
    let ours = directory_of(&files.certificate).join(CA_FILE);
    (*ca == ours).then_some(ours)
}

fn mode_of(path: &Path) -> u32 {
    use std::os::unix::fs::PermissionsExt as _;
    std::fs::metadata(path).map_or(0o644, |it| it.permissions().mode() & 0o777)
}

fn read_key(path: &Path) -> Result<P256Key, CliError> {
    let bytes = Secret::new(read_file(path)?);
    let unusable = |rule: &dyn std::fmt::Display| {
        CliError::local(format!(
            "{} cannot be used for a renewal: {rule}",
            path.display()
        ))
    };
    let text = std::str::from_utf8(bytes.expose_secret()).unwrap_or_default();
    let der = pem::read_one(text, "PRIVATE KEY").map_err(|error| unusable(&error))?;
    P256Key::from_pkcs8(Secret::new(der.to_vec()))
        .map_err(|_| unusable(&"only P-256 keys in PKCS#8 are renewed by this command"))
}

#[cfg(test)]
mod tests;
