//! What the tests of this part share: OpenSSL as a second implementation, and authorities that
//! issue certificates which ours would not.

use std::io::Write as _;
use std::process::{Command, Stdio};

use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, DistinguishedName,
    DnType, ExtendedKeyUsagePurpose, IsCa, KeyIdMethod, KeyUsagePurpose, RevokedCertParams,
    SanType, SerialNumber, string::Ia5String,
};
use rustls_pki_types::{CertificateDer, CertificateRevocationListDer};
use time::OffsetDateTime;

use super::trust::Authority;
use crate::clock::{Clock as _, SystemClock};
use crate::model::{AuthorityId, Timestamp};
use crate::pki::P256Key;

/// What `openssl` prints for `input`; panics when it fails.
pub(crate) fn openssl(args: &[&str], input: &[u8]) -> Vec<u8> {
    let mut child = Command::new("openssl")
        .args(args)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(input).unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    output.stdout
}

/// A new key of OpenSSL: private and public PEM. The first word is the algorithm.
pub(crate) fn openssl_public_pem(algorithm: &[&str]) -> (String, String) {
    let args = [&["genpkey", "-algorithm"], algorithm].concat();
    let private = openssl(&args, b"");
    let public = openssl(&["pkey", "-pubout"], &private);
    (
        String::from_utf8(private).unwrap(),
        String::from_utf8(public).unwrap(),
    )
}

pub(crate) fn now() -> Timestamp {
    Timestamp::from_secs(SystemClock.now().secs())
}

pub(crate) fn authority_id(last: char) -> AuthorityId {
    format!("auth_01kaqz3m8v7d6k2n4p9r5s1t0{last}")
        .parse()
        .unwrap()
}

pub(crate) fn moment(at: Timestamp) -> OffsetDateTime {
    OffsetDateTime::from_unix_timestamp(at.secs()).unwrap()
}

pub(crate) fn uri(text: &str) -> SanType {
    SanType::URI(Ia5String::try_from(text).unwrap())
}

/// Parameters of a leaf that keeps every rule, for `name`, valid for an hour around now.
pub(crate) fn leaf_params(name: &str) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.not_before = moment(now().plus_secs(-3600));
    params.not_after = moment(now().plus_secs(3600));
    params.serial_number = Some(SerialNumber::from_slice(&[7]));
    params.is_ca = IsCa::ExplicitNoCa;
    params.subject_alt_names = vec![uri(name)];
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![
        ExtendedKeyUsagePurpose::ClientAuth,
        ExtendedKeyUsagePurpose::ServerAuth,
    ];
    params
}

/// An authority that issues whatever it is told.
pub(crate) struct TestCa {
    pub(crate) certificate: CertificateDer<'static>,
    pub(crate) issuer: rcgen::Issuer<'static, P256Key>,
}

impl TestCa {
    pub(crate) fn params(name: &str) -> CertificateParams {
        let mut params = leaf_params("spiffe://unused/x");
        params.subject_alt_names.clear();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        params.extended_key_usages.clear();
        params.not_before = moment(now().plus_secs(-7200));
        params.not_after = moment(now().plus_secs(7200));
        params
    }

    pub(crate) fn new(name: &str) -> Self {
        Self::with(Self::params(name))
    }

    pub(crate) fn with(params: CertificateParams) -> Self {
        let key = P256Key::generate().unwrap();
        let certificate = params.self_signed(&key).unwrap().der().clone();
        Self {
            certificate,
            issuer: rcgen::Issuer::new(params, key),
        }
    }

    /// An authority that this one has signed.
    pub(crate) fn intermediate(&self, name: &str) -> Self {
        let params = Self::params(name);
        let key = P256Key::generate().unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap().der().clone();
        Self {
            certificate,
            issuer: rcgen::Issuer::new(params, key),
        }
    }

    pub(crate) fn sign(
        &self,
        params: &CertificateParams,
        key: &P256Key,
    ) -> CertificateDer<'static> {
        params.signed_by(key, &self.issuer).unwrap().der().clone()
    }

    pub(crate) fn leaf(&self, params: &CertificateParams) -> CertificateDer<'static> {
        self.sign(params, &P256Key::generate().unwrap())
    }

    pub(crate) fn crl(
        &self,
        revoked: &[u8],
        next_update: Timestamp,
    ) -> CertificateRevocationListDer<'static> {
        let params = CertificateRevocationListParams {
            this_update: moment(now().plus_secs(-3600)),
            next_update: moment(next_update),
            crl_number: SerialNumber::from_slice(&[1]),
            issuing_distribution_point: None,
            revoked_certs: revoked
                .iter()
                .map(|serial| RevokedCertParams {
                    serial_number: SerialNumber::from_slice(&[*serial]),
                    revocation_time: moment(now().plus_secs(-60)),
                    reason_code: None,
                    invalidity_date: None,
                })
                .collect(),
            key_identifier_method: KeyIdMethod::Sha256,
        };
        params.signed_by(&self.issuer).unwrap().der().clone()
    }

    pub(crate) fn authority(&self, last: char, trust_domain: &str) -> Authority {
        Authority {
            id: authority_id(last),
            revision: 1,
            trust_domain: trust_domain.parse().unwrap(),
            certificate: self.certificate.clone(),
            accept_from: None,
            accept_until: None,
            crls: Vec::new(),
            needs_crl: false,
        }
    }
}
