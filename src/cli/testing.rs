//! A small TLS server that stands in for Strongroom in tests.

use std::sync::{Arc, Mutex};

use axum::Router;
use rustls::{RootCertStore, ServerConfig, server::WebPkiClientVerifier};
use rustls_pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};

use super::{
    Api, Session, SignedAssertion,
    authenticator::MutualTls,
    connection::ConnectionFiles,
    table::{Format, Output},
};
use crate::secret::Secret;

/// What a command printed.
#[derive(Clone, Default)]
pub struct Printed(Arc<Mutex<Vec<u8>>>);

impl Printed {
    /// As text.
    pub fn text(&self) -> String {
        String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
    }
}

impl std::io::Write for Printed {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// A running server with an authority of its own, which demands a client certificate.
pub struct Fake {
    url: String,
    authority: rcgen::CertifiedIssuer<'static, rcgen::KeyPair>,
}

impl Fake {
    /// Serves `router` until the test's runtime ends.
    pub async fn start(router: Router) -> Self {
        let mut params = rcgen::CertificateParams::default();
        params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        let key = rcgen::KeyPair::generate().unwrap();
        let authority = rcgen::CertifiedIssuer::self_signed(params, key).unwrap();
        let (chain, key) = leaf(&authority);
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let mut roots = RootCertStore::empty();
        roots.add(authority.der().clone()).unwrap();
        let verifier = WebPkiClientVerifier::builder_with_provider(roots.into(), provider.clone())
            .allow_unauthenticated()
            .build()
            .unwrap();
        let mut config = ServerConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&rustls::version::TLS13])
            .unwrap()
            .with_client_cert_verifier(verifier)
            .with_single_cert(
                vec![chain],
                PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der())),
            )
            .unwrap();
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(config));
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!(
            "https://localhost:{}",
            listener.local_addr().unwrap().port()
        );
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (acceptor, router) = (acceptor.clone(), router.clone());
                tokio::spawn(async move {
                    let Ok(stream) = acceptor.accept(stream).await else {
                        return;
                    };
                    let certified = stream.get_ref().1.peer_certificates().is_some();
                    let router = router.layer(axum::Extension(Certified(certified)));
                    let service = hyper_util::service::TowerToHyperService::new(router);
                    let io = hyper_util::rt::TokioIo::new(stream);
                    let executor = hyper_util::rt::TokioExecutor::new();
                    let _ = hyper_util::server::conn::auto::Builder::new(executor)
                        .serve_connection(io, service)
                        .await;
                });
            }
        });
        Self { url, authority }
    }

    /// A session that calls it with a client certificate.
    pub fn session(&self, format: Format) -> (Session, Printed) {
        let directory = tempfile::tempdir().unwrap();
        let (chain, key) = leaf(&self.authority);
        let pem = |name: &str, text: String| {
            let path = directory.path().join(name);
            std::fs::write(&path, text).unwrap();
            path
        };
        let mut certificate = String::from("-----BEGIN CERTIFICATE-----\n");
        certificate.push_str(&base64::Engine::encode(
            &base64::engine::general_purpose::STANDARD,
            &chain,
        ));
        certificate.push_str("\n-----END CERTIFICATE-----\n");
        let tls =
            MutualTls::from_files(&pem("cert", certificate), &pem("key", key.serialize_pem()));
        self.open(Box::new(tls.ok().unwrap()), format)
    }

    /// A session that calls it with assertions, which are only counted.
    pub fn session_with_tokens(&self) -> (Session, Printed) {
        let counter = std::sync::atomic::AtomicU32::new(0);
        let maker = move || {
            let number = counter.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
            Ok(Secret::new(format!("token-{number}").into_bytes()))
        };
        let tokens = SignedAssertion {
            maker: Box::new(maker),
            caller: "wkld_counted".to_owned(),
        };
        self.open(Box::new(tokens), Format::Json)
    }

    fn open(
        &self,
        authenticator: Box<dyn super::Authenticator>,
        format: Format,
    ) -> (Session, Printed) {
        let api = Api::new(&self.url, self.authority.pem().as_bytes(), authenticator);
        let printed = Printed::default();
        let session = Session {
            api: api.ok().unwrap(),
            out: Output::new(format, Box::new(printed.clone())),
            files: ConnectionFiles::default(),
        };
        (session, printed)
    }

    /// Its address.
    pub fn url(&self) -> &str {
        &self.url
    }
}

/// A session that calls `url` and trusts an authority that nobody there has.
pub fn session_at(url: &str) -> Session {
    let mut params = rcgen::CertificateParams::default();
    params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    let key = rcgen::KeyPair::generate().unwrap();
    let authority = rcgen::CertifiedIssuer::self_signed(params, key).unwrap();
    let fake = Fake {
        url: url.to_owned(),
        authority,
    };
    fake.session_with_tokens().0
}

/// Whether the caller had a certificate.
#[derive(Clone, Copy)]
pub struct Certified(pub bool);

fn leaf(
    authority: &rcgen::CertifiedIssuer<'static, rcgen::KeyPair>,
) -> (rustls_pki_types::CertificateDer<'static>, rcgen::KeyPair) {
    let key = rcgen::KeyPair::generate().unwrap();
    let params = rcgen::CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
    let certificate = params.signed_by(&key, authority).unwrap();
    (certificate.der().clone(), key)
}
