//! The traps of the TLS library that are no row of the table, and what is not TLS 1.3.

use std::process::Command;

use rcgen::{
    BasicConstraints, CertificateParams, CustomExtension, DnType, ExtendedKeyUsagePurpose, IsCa,
    Issuer, KeyPair, KeyUsagePurpose, SanType,
};
use rustls::{AlertDescription, HandshakeKind};
use serde_json::json;

use super::{Stranger, fresh_address, refused, resuming};
use crate::support::http::{Connection, Response, Tls};
use crate::support::{Admin, Backend, Request, Service, id_of};

#[test]
fn trap_1_no_session_is_resumed() {
    let service = Service::dev(&Backend::Sqlite);
    let admin = Admin::of(&service);
    let worker = admin.workload("resumed", "production", &["m365-sync"]);
    let client = resuming(worker.client(&service));
    let whoami = Request::get("/api/v1/whoami");
    for _ in 0..3 {
        let mut connection = client.connect();
        connection.send(&whoami).expect("an answer").expect(200);
        let session = connection.session();
        assert_eq!(session.handshake_kind(), Some(HandshakeKind::Full));
        assert_eq!(session.tls13_tickets_received(), 0);
    }
    let key = format!("/workloads/{}/keys/{}", worker.id, worker.key_id);
    admin.send("DELETE", &key, &json!({})).expect(200);
    let mut connection = client.connect();
    connection.send(&whoami).expect("an answer").expect(401);
    let kind = connection.session().handshake_kind();
    assert_eq!(kind, Some(HandshakeKind::Full));
    refused(1);
}

/// Tries a protocol version with OpenSSL: the session that came about, or the complaint.
fn openssl(service: &Service, arguments: &[&str]) -> Result<(), String> {
    let mut command = Command::new("openssl");
    command
        .args([
            "s_client",
            "-connect",
            &service.address().to_string(),
            "-CAfile",
        ])
        .arg(service.file("ca.pem"))
        .args(arguments)
        .stdin(std::process::Stdio::null());
    let output = command.output().expect("openssl");
    let said = String::from_utf8_lossy(&output.stdout);
    match said.contains("Cipher is TLS_") || said.contains("Cipher is ECDHE") {
        true => Ok(()),
        false => Err(String::from_utf8_lossy(&output.stderr).into_owned()),
    }
}

#[test]
fn trap_1_nothing_below_tls_1_3() {
    let service = Service::dev(&Backend::Sqlite);
    let lax = "DEFAULT:@SECLEVEL=0";
    for version in ["-tls1_2", "-tls1_1", "-tls1"] {
        assert_eq!(openssl(&service, &["-tls1_3"]), Ok(()), "TLS 1.3 works");
        let complaint = openssl(&service, &[version, "-cipher", lax]).expect_err(version);
        // The server's word, and not a failure of this side.
        assert!(complaint.contains("SSL alert number"), "{complaint}");
        refused(1);
    }
    assert_eq!(openssl(&service, &["-tls1_3"]), Ok(()), "TLS 1.3 works");
}

/// An authority with leaves of any form.
struct Authority {
    issuer: Issuer<'static, KeyPair>,
    pem: String,
}

impl Authority {
    fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).expect("parameters");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        params.distinguished_name.push(DnType::CommonName, "mesh");
        let key = KeyPair::generate().expect("a key");
        let pem = params.self_signed(&key).expect("a certificate").pem();
        Self {
            issuer: Issuer::new(params, key),
            pem,
        }
    }

    fn leaf(&self, service: &Service, change: impl FnOnce(&mut CertificateParams)) -> Tls {
        let mut params = CertificateParams::new(Vec::new()).expect("parameters");
        params.subject_alt_names = vec![uri("sync")];
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![
            ExtendedKeyUsagePurpose::ClientAuth,
            ExtendedKeyUsagePurpose::ServerAuth,
        ];
        change(&mut params);
        let key = KeyPair::generate().expect("a key");
        let leaf = params.signed_by(&key, &self.issuer).expect("a certificate");
        Tls::with_certificate(&service.ca(), &leaf.pem(), &key.serialize_pem())
    }

    /// What a leaf without a fault is answered.
    fn send_good(&self, service: &Service) -> Response {
        let good = self.leaf(service, |_| {});
        Stranger::with(service, good).send(&Request::get("/api/v1/whoami"))
    }
}

fn uri(path: &str) -> SanType {
    let uri = format!("spiffe://mesh.example/{path}");
    SanType::URI(uri.try_into().expect("ASCII"))
}

fn text_uri(text: &str) -> SanType {
    SanType::URI(text.to_owned().try_into().expect("ASCII"))
}

#[test]
fn trap_3_a_leaf_that_breaks_the_rules_of_spiffe() {
    let service = Service::dev(&Backend::Sqlite);
    let admin = Admin::of(&service);
    let mesh = Authority::new();
    let body = json!({"name": "mesh", "certificate": mesh.pem, "trust_domain": "mesh.example"});
    let authority = id_of(&admin.create("/authorities", &body));
    let body = json!({"name": "meshed", "environment": "production", "roles": ["m365-sync"]});
    let workload = id_of(&admin.create("/workloads", &body));
    let key = json!({"spiffe_id": "spiffe://mesh.example/sync", "authority": authority});
    admin.create(&format!("/workloads/{workload}/keys"), &key);
    let whoami = Request::get("/api/v1/whoami");
    mesh.send_good(&service).expect(200);

    type Change = Box<dyn FnOnce(&mut CertificateParams)>;
    let names = |names: Vec<SanType>| -> Change {
        Box::new(move |it: &mut CertificateParams| it.subject_alt_names = names)
    };
    let usage = |usages: Vec<KeyUsagePurpose>| -> Change {
        Box::new(move |it: &mut CertificateParams| it.key_usages = usages)
    };
    let extended = |usages: Vec<ExtendedKeyUsagePurpose>| -> Change {
        Box::new(move |it: &mut CertificateParams| it.extended_key_usages = usages)
    };
    use KeyUsagePurpose::{CrlSign, DigitalSignature, KeyCertSign, KeyEncipherment};
    let cases: Vec<(&str, Change)> = vec![
        ("two URI names", names(vec![uri("sync"), uri("other")])),
        ("the same URI twice", names(vec![uri("sync"), uri("sync")])),
        (
            "a foreign URI first",
            names(vec![text_uri("https://x.example"), uri("sync")]),
        ),
        (
            "a foreign URI last",
            names(vec![uri("sync"), text_uri("urn:x:y")]),
        ),
        ("no name", names(Vec::new())),
        (
            "only a DNS name",
            names(vec![SanType::DnsName(
                "sync.mesh.example".try_into().expect("ASCII"),
            )]),
        ),
        (
            "another trust domain",
            names(vec![text_uri("spiffe://other.example/sync")]),
        ),
        (
            "the domain in capitals",
            names(vec![text_uri("spiffe://MESH.example/sync")]),
        ),
        (
            "the scheme in capitals",
            names(vec![text_uri("SPIFFE://mesh.example/sync")]),
        ),
        (
            "a port",
            names(vec![text_uri("spiffe://mesh.example:443/sync")]),
        ),
        (
            "a user",
            names(vec![text_uri("spiffe://x@mesh.example/sync")]),
        ),
        (
            "a query",
            names(vec![text_uri("spiffe://mesh.example/sync?x")]),
        ),
        (
            "a fragment",
            names(vec![text_uri("spiffe://mesh.example/sync#x")]),
        ),
        (
            "a percent form",
            names(vec![text_uri("spiffe://mesh.example/%73ync")]),
        ),
        (
            "a slash behind",
            names(vec![text_uri("spiffe://mesh.example/sync/")]),
        ),
        (
            "two slashes",
            names(vec![text_uri("spiffe://mesh.example//sync")]),
        ),
        (
            "a dot segment",
            names(vec![text_uri("spiffe://mesh.example/x/../sync")]),
        ),
        ("no path", names(vec![text_uri("spiffe://mesh.example")])),
        ("no key usage", usage(Vec::new())),
        ("no digital signature", usage(vec![KeyEncipherment])),
        (
            "may sign certificates",
            usage(vec![DigitalSignature, KeyCertSign]),
        ),
        ("may sign CRLs", usage(vec![DigitalSignature, CrlSign])),
        (
            "for servers only",
            extended(vec![ExtendedKeyUsagePurpose::ServerAuth]),
        ),
        ("for anything", extended(vec![ExtendedKeyUsagePurpose::Any])),
        (
            "for code",
            extended(vec![ExtendedKeyUsagePurpose::CodeSigning]),
        ),
        (
            "an authority",
            Box::new(|it: &mut CertificateParams| {
                it.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
            }),
        ),
        (
            "an authority of depth 0",
            Box::new(|it: &mut CertificateParams| {
                it.is_ca = IsCa::Ca(BasicConstraints::Constrained(0))
            }),
        ),
        (
            "an unknown critical extension",
            Box::new(|it: &mut CertificateParams| {
                let content = vec![5, 0];
                let mut extension =
                    CustomExtension::from_oid_content(&[1, 3, 6, 1, 4, 1, 99999, 1], content);
                extension.set_criticality(true);
                it.custom_extensions.push(extension);
            }),
        ),
    ];
    let model = service.anonymous().send(&whoami).expect(401);
    for (what, change) in cases {
        let tls = mesh.leaf(&service, change);
        let connection = Connection::open_from(fresh_address(), service.address(), &tls);
        let mut connection = connection.expect("a connection");
        match connection.send(&whoami) {
            Ok(answer) => assert_eq!(answer.comparable(), model.comparable(), "{what}"),
            // With what cannot be read at all nobody can prove that he has the key.
            Err(error) => {
                assert_eq!(what, "an unknown critical extension", "{error}");
                let inner = error.get_ref().and_then(|it| it.downcast_ref());
                let alert = rustls::Error::AlertReceived(AlertDescription::BadCertificate);
                assert_eq!(inner, Some(&alert), "{error}");
            }
        }
        // It was the certificate, and nobody else has to suffer for it.
        mesh.send_good(&service).expect(200);
        refused(1);
    }
}
