//! The listener's TLS configuration against a real rustls client over loopback.

use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::thread;

use rustls::client::Resumption;
use rustls::{
    ClientConfig, ClientConnection, HandshakeKind, ProtocolVersion, RootCertStore,
    ServerConnection, SupportedProtocolVersion,
};
use rustls_pki_types::CertificateDer;

use super::client_cert::{PossessionVerifier, provider, server_config};
use super::mtls::verify_peer;
use super::proof::Reason;
use super::testing::{TestCa, leaf_params, now, openssl};
use super::trust::TrustStore;
use crate::pki::{Issuer, P256Key, ServerName, create_authority, tls_key};
use crate::random::SystemRandom;
use crate::secret::Secret;

const NAME: &str = "spiffe://example.org/sync";

struct Seen {
    kind: Option<HandshakeKind>,
    version: Option<ProtocolVersion>,
    alpn: Option<Vec<u8>>,
    chain: Vec<CertificateDer<'static>>,
}

struct Listener {
    address: std::net::SocketAddr,
    roots: Arc<RootCertStore>,
    config: Arc<rustls::ServerConfig>,
    tcp: TcpListener,
}

impl Listener {
    fn new() -> Self {
        let random = SystemRandom::new();
        let domain: super::spiffe::TrustDomain = "dev-test".parse().unwrap();
        let made = create_authority(&domain, now(), &random).unwrap();
        let issuer = Issuer::open(made.certificate, made.key, domain).unwrap();
        let key = P256Key::generate().unwrap();
        let names = [ServerName::Ip("127.0.0.1".parse().unwrap())];
        let issued = issuer
            .issue_server(key.public_key(), &names, 3600, now(), &random)
            .unwrap();
        let mut roots = RootCertStore::empty();
        roots.add(issuer.certificate().clone()).unwrap();
        let config = server_config(
            vec![issued.der],
            tls_key(key.pkcs8()),
            PossessionVerifier::new(),
        )
        .unwrap();
        let tcp = TcpListener::bind("127.0.0.1:0").unwrap();
        Self {
            address: tcp.local_addr().unwrap(),
            roots: Arc::new(roots),
            config: Arc::new(config),
            tcp,
        }
    }

    fn client(
        &self,
        versions: &[&'static SupportedProtocolVersion],
        identity: Option<(Vec<CertificateDer<'static>>, &Secret)>,
    ) -> Arc<ClientConfig> {
        let builder = ClientConfig::builder_with_provider(provider())
            .with_protocol_versions(versions)
            .unwrap()
            .with_root_certificates(self.roots.clone());
        let mut config = match identity {
            // The resolver takes a key that does not belong to the certificate, too.
            Some((chain, key)) => {
                let key = rustls::crypto::ring::sign::any_supported_type(&tls_key(key)).unwrap();
                let certified = rustls::sign::CertifiedKey::new(chain, key);
                builder.with_client_cert_resolver(Arc::new(rustls::sign::SingleCertAndKey::from(
                    certified,
                )))
            }
            None => builder.with_no_client_auth(),
        };
        config.resumption = Resumption::in_memory_sessions(8);
        config.enable_early_data = true;
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Arc::new(config)
    }

    /// One connection with a byte each way; what the server saw, or its error, and the client's
    /// kind of handshake.
    fn connect(
        &self,
        client: &Arc<ClientConfig>,
    ) -> (Result<Seen, std::io::Error>, Option<HandshakeKind>) {
        let config = self.config.clone();
        thread::scope(|scope| {
            let server = scope.spawn(|| {
                let (mut socket, _) = self.tcp.accept()?;
                let mut connection =
                    ServerConnection::new(config).map_err(std::io::Error::other)?;
                let mut stream = rustls::Stream::new(&mut connection, &mut socket);
                let mut byte = [0];
                stream.read_exact(&mut byte)?;
                stream.write_all(&byte)?;
                Ok(Seen {
                    kind: connection.handshake_kind(),
                    version: connection.protocol_version(),
                    alpn: connection.alpn_protocol().map(<[u8]>::to_vec),
                    chain: connection
                        .peer_certificates()
                        .unwrap_or_default()
                        .iter()
                        .map(|der| der.clone().into_owned())
                        .collect(),
                })
            });
            let mut socket = TcpStream::connect(self.address).unwrap();
            let name = rustls_pki_types::ServerName::from(self.address.ip());
            let mut connection = ClientConnection::new(client.clone(), name).unwrap();
            assert!(connection.early_data().is_none());
            let mut stream = rustls::Stream::new(&mut connection, &mut socket);
            let mut byte = [7];
            let _ = stream
                .write_all(&byte)
                .and_then(|()| stream.read_exact(&mut byte));
            let kind = connection.handshake_kind();
            drop(socket);
            (server.join().unwrap(), kind)
        })
    }
}

const TLS13: &[&SupportedProtocolVersion] = &[&rustls::version::TLS13];
const TLS12: &[&SupportedProtocolVersion] = &[&rustls::version::TLS12];

#[test]
fn no_session_is_resumed_and_the_certificate_is_sent_every_time() {
    let listener = Listener::new();
    let key = P256Key::generate().unwrap();
    let leaf = TestCa::new("ca").sign(&leaf_params(NAME), &key);
    let client = listener.client(TLS13, Some((vec![leaf.clone()], key.pkcs8())));
    for _ in 0..3 {
        let (server, kind) = listener.connect(&client);
        let seen = server.unwrap();
        assert_eq!(seen.kind, Some(HandshakeKind::Full));
        assert_eq!(kind, Some(HandshakeKind::Full));
        assert_eq!(seen.version, Some(ProtocolVersion::TLSv1_3));
        assert_eq!(seen.alpn.as_deref(), Some(&b"http/1.1"[..]));
        assert_eq!(seen.chain, std::slice::from_ref(&leaf));
    }
    assert_eq!(
        listener.config.alpn_protocols,
        [b"h2".to_vec(), b"http/1.1".to_vec()]
    );
}

#[test]
fn tls_1_2_is_refused() {
    let listener = Listener::new();
    let key = P256Key::generate().unwrap();
    let leaf = TestCa::new("ca").sign(&leaf_params(NAME), &key);
    for identity in [None, Some((vec![leaf], key.pkcs8()))] {
        let (server, _) = listener.connect(&listener.client(TLS12, identity));
        assert!(server.is_err());
    }
}

#[test]
fn a_client_without_a_certificate_connects_and_presents_nothing() {
    let listener = Listener::new();
    let (server, _) = listener.connect(&listener.client(TLS13, None));
    let seen = server.unwrap();
    assert!(seen.chain.is_empty());
    let trust = TrustStore::new(1, Vec::new()).unwrap();
    assert_eq!(
        verify_peer(&seen.chain, &trust, now()).unwrap_err(),
        Reason::CertificateSize
    );
}

#[test]
fn a_certificate_without_its_key_is_refused_in_the_handshake() {
    let listener = Listener::new();
    let leaf = TestCa::new("ca").leaf(&leaf_params(NAME));
    let other = P256Key::generate().unwrap();
    let client = listener.client(TLS13, Some((vec![leaf], other.pkcs8())));
    assert!(listener.connect(&client).0.is_err());
}

#[test]
fn too_much_and_too_broken_is_refused_in_the_handshake() {
    let listener = Listener::new();
    let key = P256Key::generate().unwrap();
    let leaf = TestCa::new("ca").sign(&leaf_params(NAME), &key);
    let connect = |chain: Vec<CertificateDer<'static>>| {
        let client = listener.client(TLS13, Some((chain, key.pkcs8())));
        listener.connect(&client).0.is_ok()
    };
    assert!(connect(vec![leaf.clone(); 4]));
    assert!(!connect(vec![leaf.clone(); 5]));
    let long = |size| CertificateDer::from(vec![0x30; size]);
    assert!(connect(vec![leaf.clone(), long(16 * 1024)]));
    assert!(!connect(vec![leaf.clone(), long(16 * 1024 + 1)]));
    assert!(!connect(vec![long(100)]));
    assert!(!connect(vec![CertificateDer::from(
        leaf[..leaf.len() - 1].to_vec()
    )]));
}

/// Chain and dates are not the handshake's business: whoever holds the key gets as far as the
/// uniform answer.
#[test]
fn a_forged_child_of_a_pinned_leaf_connects_and_proves_nothing() {
    let listener = Listener::new();
    let ca = TestCa::new("ca");
    let pinned_key = P256Key::generate().unwrap();
    let pinned = ca.sign(&leaf_params(NAME), &pinned_key);
    let child_key = P256Key::generate().unwrap();
    let issuer = rcgen::Issuer::new(leaf_params(NAME), pinned_key);
    let child = leaf_params("spiffe://example.org/admin")
        .signed_by(&child_key, &issuer)
        .unwrap()
        .der()
        .clone();
    let client = listener.client(TLS13, Some((vec![child, pinned], child_key.pkcs8())));
    let seen = listener.connect(&client).0.unwrap();
    let trust = TrustStore::new(1, vec![ca.authority('1', "example.org")]).unwrap();
    let peer = verify_peer(&seen.chain, &trust, now()).unwrap();
    assert_eq!(peer.spiffe, Err(Reason::ChainUntrusted));
    assert_eq!(peer.spki, child_key.public_key().sha256());
}

#[test]
fn openssl_keys_of_other_kinds_can_open_a_connection() {
    let listener = Listener::new();
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("key.pem");
    for kind in ["rsa:2048", "ed25519"] {
        let mut args = vec![
            "req", "-x509", "-newkey", kind, "-nodes", "-subj", "/CN=a", "-keyout",
        ];
        args.push(path.to_str().unwrap());
        let text = openssl(&args, b"");
        let facts =
            super::certificate::CertificateFacts::of_client(std::str::from_utf8(&text).unwrap())
                .unwrap();
        let pem = std::fs::read_to_string(&path).unwrap();
        let der = super::pem::read_one(&pem, "PRIVATE KEY").unwrap();
        let key = Secret::new(der.to_vec());
        let client = listener.client(TLS13, Some((vec![facts.der.clone()], &key)));
        let seen = listener.connect(&client).0.unwrap();
        let trust = TrustStore::new(1, Vec::new()).unwrap();
        let peer = verify_peer(&seen.chain, &trust, now()).unwrap();
        assert_eq!(peer.spki, facts.spki, "{kind}");
    }
}
