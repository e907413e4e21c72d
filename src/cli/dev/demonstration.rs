//! The demonstration deployment: a client with one credential, two workloads, an operator, and the
//! files that belong to them. Everything goes through the same operations as over HTTP.

use std::path::Path;
use std::sync::Arc;

use serde_json::json;

use crate::cli::error::CliError;
use crate::cli::files::NewFile;
use crate::model::{CredentialKind, PrincipalId, RequestId, Slug, Timestamp};
use crate::pki::{Ed25519Key, P256Key};
use crate::standin::demonstration as standin;
use crate::store::ContactRole;
use crate::vault::{
    Caller, FirstKey, NewClient, NewContact, NewCredential, NewKey, NewName, NewVersion,
    NewWorkload, Vault,
};

/// A demonstration credential lives this many days.
const LIFETIME_DAYS: i64 = 180;

fn local(error: impl std::fmt::Display) -> CliError {
    CliError::local(error.to_string())
}

fn named<T: std::str::FromStr>(text: &str) -> Result<T, CliError>
where
    T::Err: std::fmt::Display,
{
    text.parse().map_err(local)
}

/// Makes everything.
pub(super) async fn set_up(
    vault: &Arc<Vault>,
    directory: &Path,
    url: &str,
) -> Result<(), CliError> {
    let key = P256Key::generate().map_err(local)?;
    let request = key.request_pem().map_err(local)?;
    let first = vault
        .bootstrap(
            named("Demonstration Operator")?,
            FirstKey::Request(&request),
        )
        .await
        .map_err(local)?;
    write(directory, "ca.pem", 0o644, first.authority.as_bytes())?;
    let certificate = first
        .certificate
        .ok_or_else(|| CliError::local("no certificate"))?;
    write(directory, "operator.pem", 0o644, certificate.as_bytes())?;
    write(directory, "operator.key", 0o600, key.to_pem().as_bytes())?;

    let now = vault.clock().now();
    let request = RequestId::generate(now, vault.random().as_ref()).map_err(local)?;
    let operator = vault
        .identify(first.key, None, None, request)
        .await
        .map_err(local)?;
    let operator = &operator;
    for role in ["m365-sync", "google-sync"] {
        vault
            .create_role(operator, NewName { name: named(role)? })
            .await
            .map_err(local)?;
    }
    let production = NewName {
        name: named("production")?,
    };
    vault
        .create_environment(operator, production)
        .await
        .map_err(local)?;
    credential(vault, operator, now).await?;

    let worker = workload(vault, operator, directory, "worker", "m365-sync").await?;
    workload(vault, operator, directory, "other", "google-sync").await?;

    let key = Ed25519Key::generate(vault.random().as_ref()).map_err(local)?;
    let public_key = Some(key.public_key().to_pem());
    let new = NewKey {
        public_key,
        ..NewKey::default()
    };
    let registered = vault
        .register_key(operator, worker, new)
        .await
        .map_err(local)?;
    write(directory, "worker.jwt.key", 0o600, key.to_pem().as_bytes())?;
    let profile = json!({
        "id": worker, "kid": registered.id, "audience": vault.deployment(), "url": url,
    });
    write_json(directory, &profile)
}

/// Writes the address into the worker's profile anew, because it can differ from start to start.
pub(super) fn write_profile(directory: &Path, url: &str) -> Result<(), CliError> {
    let path = directory.join("worker.json");
    let text = std::fs::read(&path).map_err(local)?;
    let mut profile: serde_json::Value = serde_json::from_slice(&text)
        .map_err(|_| CliError::local(format!("{} is not JSON any more", path.display())))?;
    if profile["url"] == url {
        return Ok(());
    }
    profile["url"] = url.into();
    write_json(directory, &profile)
}

async fn credential(vault: &Vault, operator: &Caller, now: Timestamp) -> Result<(), CliError> {
    let new = NewClient {
        name: named("Example Realty")?,
        slug: named("example-realty")?,
    };
    let client = vault.create_client(operator, new).await.map_err(local)?;
    let contact = NewContact {
        name: named("Ada Example")?,
        email: named("ada@example-realty.example")?,
        role: ContactRole::Owner,
    };
    vault
        .add_contact(operator, client.id, contact)
        .await
        .map_err(local)?;
    let new = NewCredential {
        client: client.id.to_string(),
        label: named("mail sync")?,
        kind: CredentialKind::Microsoft365,
        environment: named("production")?,
        roles: vec![named("m365-sync")?],
    };
    let credential = vault
        .create_credential(operator, new)
        .await
        .map_err(local)?;
    let expires_at = now.plus_secs(LIFETIME_DAYS * 24 * 60 * 60).to_string();
    let version: NewVersion = serde_json::from_value(json!({
        "fields": {
            "tenant_id": standin::TENANT,
            "client_id": standin::APPLICATIONS[0].id,
            "client_secret": standin::APPLICATIONS[0].secret,
            "test_mailbox": standin::MAILBOX,
        },
        "expires_at": &expires_at[..10],
        "activate": { "reason": "demonstration" },
    }))
    .map_err(local)?;
    vault
        .add_version(operator, credential.id, version)
        .await
        .map_err(local)?;
    Ok(())
}

/// Enrols a workload with a certificate of its own, written as `NAME.pem` and `NAME.key`.
async fn workload(
    vault: &Vault,
    operator: &Caller,
    directory: &Path,
    name: &str,
    role: &str,
) -> Result<PrincipalId, CliError> {
    let name_of: Slug = named(&format!("demo-{name}"))?;
    let new = NewWorkload {
        name: name_of,
        environment: named("production")?,
        roles: vec![named(role)?],
        age_recipient: None,
    };
    let enrolled = vault.enrol_workload(operator, new).await.map_err(local)?;
    let principal = PrincipalId::Workload(enrolled.id);
    let key = P256Key::generate().map_err(local)?;
    let csr = Some(key.request_pem().map_err(local)?);
    let new = NewKey {
        csr,
        lifetime_days: Some(365),
        ..NewKey::default()
    };
    let issued = vault
        .register_key(operator, principal, new)
        .await
        .map_err(local)?;
    let certificate = issued
        .certificate
        .ok_or_else(|| CliError::local("no certificate"))?;
    write(
        directory,
        &format!("{name}.pem"),
        0o644,
        certificate.as_bytes(),
    )?;
    write(
        directory,
        &format!("{name}.key"),
        0o600,
        key.to_pem().as_bytes(),
    )?;
    Ok(principal)
}

fn write_json(directory: &Path, value: &serde_json::Value) -> Result<(), CliError> {
    let mut text = serde_json::to_vec_pretty(value).map_err(local)?;
    text.push(b'\n');
    write(directory, "worker.json", 0o644, &text)
}

fn write(directory: &Path, name: &str, mode: u32, content: &[u8]) -> Result<(), CliError> {
    use std::io::Write;
    let mut file = NewFile::create(&directory.join(name), mode)?;
    file.write_all(content).map_err(local)?;
    file.finish()
}
