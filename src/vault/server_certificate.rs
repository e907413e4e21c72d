//! A certificate for the service's own listener, from its own authority.

use rustls_pki_types::{CertificateDer, PrivateKeyDer};

use super::{Vault, VaultError};
use crate::pki::{P256Key, ServerName, tls_key};

/// A certificate chain and its key, for a listener.
pub struct ServerCertificate {
    /// The certificate, then its authority's.
    pub chain: Vec<CertificateDer<'static>>,
    /// Its key.
    pub key: PrivateKeyDer<'static>,
}

/// How long such a certificate is valid, in seconds: ninety days. It is made anew at each start, and
/// every day while the service runs.
const LIFETIME: i64 = 90 * 24 * 60 * 60;

impl Vault {
    /// Issues a certificate for a listener that has none configured. Its key is never written.
    ///
    /// # Errors
    /// The own authority cannot be opened, or a name is malformed.
    pub async fn issue_server_certificate(
        &self,
        names: &[ServerName],
    ) -> Result<ServerCertificate, VaultError> {
        let failed = |_| VaultError::Internal("issuing the server's certificate failed");
        let issuer = self.presented_issuer().await?;
        let key = P256Key::generate().map_err(failed)?;
        let now = self.clock.now();
        let random = self.random.as_ref();
        let lifetime = LIFETIME.min(issuer.not_after().secs() - now.secs());
        let issued = issuer
            .issue_server(key.public_key(), names, lifetime, now, random)
            .map_err(failed)?;
        let chain = vec![issued.der, issuer.certificate().clone()];
        Ok(ServerCertificate {
            chain,
            key: tls_key(&key.into_pkcs8()),
        })
    }
}
