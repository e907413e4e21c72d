//! What `workload` and `operator` share: their keys, and being disabled.

use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use reqwest::Method;
use serde_json::{Value, json};

use super::{
    Session,
    authenticator::read_file,
    client::id_of,
    error::CliError,
    table::{Column, at, by, show},
};
use crate::model::{AuthorityId, KeyId, PrincipalId};

/// One key to register.
#[derive(Args, Debug)]
#[command(next_help_heading = "Key")]
pub struct KeyArguments {
    #[command(flatten)]
    pub source: KeySource,
    /// Authority that the SPIFFE id's certificates come from (auth_…)
    #[arg(long, value_name = "ID", requires = "spiffe_id",
          conflicts_with_all = ["certificate", "public_key", "csr"])]
    pub authority: Option<AuthorityId>,
    /// Days until the issued certificate expires
    #[arg(long, value_name = "DAYS", requires = "csr",
          conflicts_with_all = ["certificate", "public_key", "spiffe_id"],
          value_parser = clap::value_parser!(u32).range(1..))]
    pub lifetime_days: Option<u32>,
    /// Write the issued certificate and its chain here
    #[arg(long, value_name = "FILE", requires = "csr",
          conflicts_with_all = ["certificate", "public_key", "spiffe_id"])]
    pub certificate_out: Option<PathBuf>,
}

/// What the key is known by. Never a private key.
#[derive(Args, Debug)]
#[group(multiple = false)]
pub struct KeySource {
    /// Client certificate to pin (PEM)
    #[arg(long, value_name = "FILE")]
    pub certificate: Option<PathBuf>,
    /// Ed25519 or P-256 public key for assertions (PEM)
    #[arg(long, value_name = "FILE")]
    pub public_key: Option<PathBuf>,
    /// Request for a certificate of Strongroom's own authority (PEM)
    #[arg(long, value_name = "FILE")]
    pub csr: Option<PathBuf>,
    /// SPIFFE id in certificates of a registered authority
    #[arg(long, value_name = "URI", requires = "authority")]
    pub spiffe_id: Option<String>,
}

/// What can be done with keys.
#[derive(Subcommand, Debug)]
pub enum KeyCommand {
    /// Register one more key
    Add {
        /// Name or id of the owner
        owner: String,
        #[command(flatten)]
        key: KeyArguments,
    },
    /// Revoke a key; it stops working at once
    Revoke {
        /// Name or id of the owner
        owner: String,
        /// Id of the key (pkey_…)
        key: KeyId,
    },
}

/// What is shown of a key.
pub const KEY_COLUMNS: &[Column] = &[
    at("Key", "/id"),
    at("Form", "/form"),
    by("Known by", |key| {
        let spiffe = &key["spiffe_id"];
        show(if spiffe.is_null() {
            &key["fingerprint"]
        } else {
            spiffe
        })
    }),
    at("Created", "/created_at"),
    at("Expires", "/expires_at"),
    at("Revoked", "/revoked_at"),
];

impl KeyArguments {
    /// The request's body; `None` if no key was named.
    ///
    /// # Errors
    /// A file cannot be read, or holds a private key.
    pub fn body(&self) -> Result<Option<Value>, CliError> {
        let source = &self.source;
        if let Some(path) = &source.certificate {
            return Ok(Some(json!({"certificate": public_pem(path)?})));
        }
        if let Some(path) = &source.public_key {
            return Ok(Some(json!({"public_key": public_pem(path)?})));
        }
        if let Some(path) = &source.csr {
            return Ok(Some(super::members([
                ("csr", Some(json!(public_pem(path)?))),
                ("lifetime_days", self.lifetime_days.map(|days| json!(days))),
            ])));
        }
        Ok(source.spiffe_id.as_ref().map(
            |id| json!({"spiffe_id": id, "authority": self.authority.map(|id| id.to_string())}),
        ))
    }

    /// Keeps an issued certificate where `--certificate-out` says.
    fn keep_certificate(&self, key: &Value) -> Result<(), CliError> {
        let (Some(path), Some(certificate)) = (&self.certificate_out, key["certificate"].as_str())
        else {
            return Ok(());
        };
        let mut text = certificate.trim_end().to_owned() + "\n";
        text.push_str(key["chain"].as_str().unwrap_or_default());
        std::fs::write(path, text)
            .map_err(|error| CliError::local(format!("cannot write {}: {error}", path.display())))
    }
}

/// A PEM file that may leave this machine.
///
/// # Errors
/// It cannot be read, is no PEM, or holds a private key.
pub fn public_pem(path: &Path) -> Result<String, CliError> {
    let bytes = zeroize::Zeroizing::new(read_file(path)?);
    let text = std::str::from_utf8(&bytes)
        .ok()
        .filter(|text| text.contains("-----BEGIN "))
        .ok_or_else(|| CliError::local(format!("{} is not a PEM file", path.display())))?;
    if text.contains("PRIVATE KEY-----") {
        return Err(CliError::local(format!(
            "{} holds a private key: that never leaves its machine; give the public part",
            path.display()
        )));
    }
    Ok(text.to_owned())
}

/// The principal of `collection` with this name or id.
///
/// # Errors
/// As [`super::api::Api`], or there is none or several.
pub async fn find(session: &Session, collection: &str, owner: &str) -> Result<Value, CliError> {
    if owner.parse::<PrincipalId>().is_ok() {
        session.api.get(&[collection, owner], &[]).await
    } else {
        session.api.find(&[collection], "name", owner).await
    }
}

/// Creates a principal and registers its first key, if one was named.
///
/// # Errors
/// As [`super::api::Api`]. When only the key failed, the text says that the principal exists.
pub async fn enrol(
    session: &Session,
    collection: &str,
    body: &Value,
    key: &KeyArguments,
) -> Result<Value, CliError> {
    // The files are read first, so that a wrong path does not leave a principal without a key.
    let key_body = key.body()?;
    let mut principal = session.api.post(&[collection], body).await?;
    if let Some(key_body) = key_body {
        let id = id_of(&principal)?;
        let registered = session
            .api
            .post(&[collection, &id, "keys"], &key_body)
            .await;
        let registered = registered.inspect_err(|_| {
            eprintln!(
                "note: {id} was enrolled, but has no key yet; the reason follows. \
                 Register one with `key add {id}`."
            );
        })?;
        key.keep_certificate(&registered)?;
        principal["keys"] = json!([registered]);
    }
    Ok(principal)
}

/// Runs one of the key commands.
///
/// # Errors
/// As [`super::api::Api`], or a file cannot be read.
pub async fn run(
    collection: &'static str,
    command: KeyCommand,
    session: &mut Session,
) -> Result<(), CliError> {
    match command {
        KeyCommand::Add { owner, key } => {
            let body = key.body()?.ok_or_else(|| {
                CliError::local("give one of --certificate, --public-key, --csr or --spiffe-id")
            })?;
            let id = id_of(&find(session, collection, &owner).await?)?;
            let registered = session.api.post(&[collection, &id, "keys"], &body).await?;
            key.keep_certificate(&registered)?;
            session.out.one(&registered, KEY_COLUMNS)?;
            print_certificate(session, &registered)
        }
        KeyCommand::Revoke { owner, key } => {
            let id = id_of(&find(session, collection, &owner).await?)?;
            let key = key.to_string();
            let path = [collection, id.as_str(), "keys", key.as_str()];
            let answer = session.api.bare(Method::DELETE, &path).await?;
            session.out.done(&answer, &format!("revoked {key}"))
        }
    }
}

/// Disables or enables a principal.
///
/// # Errors
/// As [`super::api::Api`].
pub async fn switch(
    session: &Session,
    collection: &str,
    owner: &str,
    verb: &str,
) -> Result<Value, CliError> {
    let current = find(session, collection, owner).await?;
    let id = id_of(&current)?;
    let path = [collection, id.as_str(), verb];
    session
        .api
        .change_known(Method::POST, &current, &path, &json!({}))
        .await
}

/// Prints a principal, its keys, and a certificate that was just issued.
///
/// # Errors
/// Standard output cannot be written.
pub fn print(session: &mut Session, item: &Value, columns: &[Column]) -> Result<(), CliError> {
    session.out.one(item, columns)?;
    let keys = item["keys"].as_array().filter(|list| !list.is_empty());
    if let Some(keys) = keys
        && session.out.is_table()
    {
        session.out.line("")?;
        session.out.table(keys, KEY_COLUMNS)?;
        for key in keys {
            print_certificate(session, key)?;
        }
    }
    Ok(())
}

/// Prints an issued certificate for people; programs find it in the JSON.
fn print_certificate(session: &mut Session, key: &Value) -> Result<(), CliError> {
    match key["certificate"].as_str() {
        Some(pem) if session.out.is_table() => {
            session.out.line("")?;
            session.out.line(pem.trim_end())?;
            match key["chain"].as_str() {
                Some(chain) => session.out.line(chain.trim_end()),
                None => Ok(()),
            }
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_private_key_is_never_sent() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("key.pem");
        let key = rcgen::KeyPair::generate().unwrap();
        std::fs::write(&path, key.public_key_pem() + &key.serialize_pem()).unwrap();
        assert!(
            public_pem(&path)
                .unwrap_err()
                .to_string()
                .contains("never leaves")
        );
        std::fs::write(&path, key.public_key_pem()).unwrap();
        assert!(public_pem(&path).is_ok());
        std::fs::write(&path, "hello").unwrap();
        assert!(public_pem(&path).is_err());
    }
}
