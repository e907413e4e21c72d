//! Certificates for the bare server and who calls it, and the TLS side of any caller.

use std::{fs, path::Path, sync::Arc};

use rcgen::{
    BasicConstraints, CertificateParams, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose,
};
use rustls::{
    ClientConfig, RootCertStore,
    client::Resumption,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _},
};

/// Writes `ca.pem`, and `server` and `worker` as `.pem` and `.key`, to `directory`: P-256, as the
/// service's own are, all of one authority.
///
/// # Errors
/// A file cannot be written.
pub fn write(directory: &Path) -> Result<(), String> {
    let made = |error: rcgen::Error| format!("no certificate: {error}");
    let key = KeyPair::generate().map_err(made)?;
    let mut authority = CertificateParams::default();
    authority.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    authority.key_usages = vec![KeyUsagePurpose::KeyCertSign];
    let certificate = authority.self_signed(&key).map_err(made)?;
    save(directory, "ca.pem", &certificate.pem())?;
    let issuer = Issuer::new(authority, key);
    for (name, use_for) in [
        ("server", ExtendedKeyUsagePurpose::ServerAuth),
        ("worker", ExtendedKeyUsagePurpose::ClientAuth),
    ] {
        let key = KeyPair::generate().map_err(made)?;
        let names = vec!["localhost".to_owned(), "127.0.0.1".to_owned()];
        let mut end_entity = CertificateParams::new(names).map_err(made)?;
        end_entity.extended_key_usages = vec![use_for];
        let certificate = end_entity.signed_by(&key, &issuer).map_err(made)?;
        save(directory, &format!("{name}.pem"), &certificate.pem())?;
        save(directory, &format!("{name}.key"), &key.serialize_pem())?;
    }
    Ok(())
}

/// A caller that trusts `ca.pem` of `directory` and shows `worker.pem`.
///
/// # Errors
/// A file is missing or unreadable.
pub fn caller(directory: &Path) -> Result<Arc<ClientConfig>, String> {
    caller_named(directory, "worker")
}

/// The same with another certificate of `directory`.
///
/// # Errors
/// A file is missing or unreadable.
pub fn caller_named(directory: &Path, name: &str) -> Result<Arc<ClientConfig>, String> {
    let (chain, key) = identity(directory, name)?;
    let mut config = ClientConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&rustls::version::TLS13])
        .map_err(|error| error.to_string())?
        .with_root_certificates(authorities(directory)?)
        .with_client_auth_cert(chain, key)
        .map_err(|error| error.to_string())?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    config.resumption = Resumption::disabled();
    Ok(Arc::new(config))
}

/// What does the cryptography of TLS, here as in the service.
pub fn provider() -> Arc<rustls::crypto::CryptoProvider> {
    Arc::new(rustls::crypto::ring::default_provider())
}

/// The authorities in `ca.pem`.
///
/// # Errors
/// The file is missing or unreadable.
pub fn authorities(directory: &Path) -> Result<RootCertStore, String> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates(&directory.join("ca.pem"))? {
        roots.add(certificate).map_err(|error| error.to_string())?;
    }
    Ok(roots)
}

/// The certificates and the key of `name`.
///
/// # Errors
/// A file is missing or unreadable.
pub fn identity(
    directory: &Path,
    name: &str,
) -> Result<(Vec<CertificateDer<'static>>, PrivateKeyDer<'static>), String> {
    let file = directory.join(format!("{name}.key"));
    let key = PrivateKeyDer::from_pem_file(&file)
        .map_err(|error| format!("{}: {error}", file.display()))?;
    let chain = certificates(&directory.join(format!("{name}.pem")))?;
    Ok((chain, key))
}

fn certificates(file: &Path) -> Result<Vec<CertificateDer<'static>>, String> {
    CertificateDer::pem_file_iter(file)
        .and_then(Iterator::collect)
        .map_err(|error| format!("{}: {error}", file.display()))
}

fn save(directory: &Path, name: &str, text: &str) -> Result<(), String> {
    let file = directory.join(name);
    fs::write(&file, text).map_err(|error| format!("{}: {error}", file.display()))
}
