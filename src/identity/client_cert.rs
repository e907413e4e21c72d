//! The TLS side of the api listener: TLS 1.3, client certificates optional, nothing resumed.
//!
//! The handshake checks sizes and the possession of the key, no more. Everything that can change
//! while a connection is open (chain, dates, revocation, registry) is checked per request by
//! [`super::mtls`], where a failure is the uniform answer and not a TLS alert that says why.

use std::sync::Arc;

use rustls::client::danger::HandshakeSignatureValid;
use rustls::crypto::{CryptoProvider, WebPkiSupportedAlgorithms, ring, verify_tls13_signature};
use rustls::server::NoServerSessionStorage;
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{
    CertificateError, DigitallySignedStruct, DistinguishedName, Error, PeerIncompatible,
    ServerConfig, SignatureScheme,
};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, UnixTime};

use super::certificate::check_sizes;

/// Accepts any client certificate of bearable size whose key the client holds.
#[derive(Debug)]
pub struct PossessionVerifier {
    algorithms: WebPkiSupportedAlgorithms,
}

impl PossessionVerifier {
    /// The verifier with the signature algorithms of ring.
    pub fn new() -> Arc<Self> {
        Arc::new(Self {
            algorithms: ring::default_provider().signature_verification_algorithms,
        })
    }
}

impl ClientCertVerifier for PossessionVerifier {
    fn offer_client_auth(&self) -> bool {
        true
    }

    fn client_auth_mandatory(&self) -> bool {
        false
    }

    /// None: which authorities are trusted is not told to whoever connects, and pinned
    /// certificates have no authority at all.
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        let refused = Error::InvalidCertificate(CertificateError::BadEncoding);
        if intermediates.len() >= super::certificate::MAX_CHAIN {
            return Err(refused);
        }
        check_sizes(std::slice::from_ref(end_entity).iter()).map_err(|_| refused.clone())?;
        if !intermediates.is_empty() {
            check_sizes(intermediates.iter()).map_err(|_| refused.clone())?;
        }
        // The signature check parses the leaf as well; here it is refused before anything is
        // computed with it.
        webpki::EndEntityCert::try_from(end_entity).map_err(|_| refused)?;
        Ok(ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _cert: &CertificateDer<'_>,
        _dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        // Never called, because TLS 1.2 is not offered; refused in case that changes.
        Err(PeerIncompatible::Tls12NotOfferedOrEnabled.into())
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, cert, dss, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}

/// The TLS configuration of a listener that takes client certificates.
///
/// Sessions are never resumed: rustls would restore the client's certificate from the session
/// without asking the verifier again, and a full handshake is cheap beside what a release costs.
///
/// # Errors
/// The key does not fit the certificate, or is of an algorithm that ring does not sign with.
pub fn server_config(
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
    verifier: Arc<dyn ClientCertVerifier>,
) -> Result<ServerConfig, Error> {
    let config = ServerConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .with_client_cert_verifier(verifier)
        .with_single_cert(chain, key)?;
    Ok(without_resumption(config))
}

/// The TLS configuration of a listener that asks nobody for a certificate.
///
/// # Errors
/// As of [`server_config`].
pub fn public_config(
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
) -> Result<ServerConfig, Error> {
    let config = ServerConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .with_no_client_auth()
        .with_single_cert(chain, key)?;
    Ok(without_resumption(config))
}

fn without_resumption(mut config: ServerConfig) -> ServerConfig {
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    config.max_early_data_size = 0;
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    config
}

/// ring as rustls' source of cryptography, named explicitly so that no process-wide default
/// decides.
pub fn provider() -> Arc<CryptoProvider> {
    Arc::new(ring::default_provider())
}
