//! An authority of somebody else that issues whatever it is told: chosen serial numbers, distribution
//! points, keys and names, and revocation lists.

use rcgen::string::Ia5String;
use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, CrlDistributionPoint,
    CrlIssuingDistributionPoint, CustomExtension, DistinguishedName, DnType,
    ExtendedKeyUsagePurpose, IsCa, Issuer, KeyIdMethod, KeyPair, KeyUsagePurpose,
    RevokedCertParams, SanType, SerialNumber,
};
use rustls::pki_types::CertificateRevocationListDer;
use serde_json::{Value, json};
use time::OffsetDateTime;

use super::api::Admin;
use super::http::Response;
use super::json::id_of;
use super::proof::{Pair, now};

fn moment(seconds: i64) -> OffsetDateTime {
    OffsetDateTime::from_unix_timestamp(seconds).expect("a moment")
}

/// What a leaf is to be.
pub struct Leaf<'a> {
    pub serial: u8,
    pub spiffe_id: String,
    pub common_name: &'a str,
    pub distribution_points: &'a [&'a str],
    pub lifetime: i64,
}

/// An authority.
pub struct Ca {
    pub domain: String,
    pub certificate: String,
    params: CertificateParams,
    key: KeyPair,
}

impl Ca {
    pub fn new(domain: &str) -> Self {
        let key = KeyPair::generate().expect("a key");
        let params = Self::params(domain);
        let certificate = params.self_signed(&key).expect("a certificate").pem();
        Self {
            domain: domain.to_owned(),
            certificate,
            params,
            key,
        }
    }

    fn params(name: &str) -> CertificateParams {
        let mut params = CertificateParams::default();
        params.distinguished_name = DistinguishedName::new();
        params.distinguished_name.push(DnType::CommonName, name);
        params.not_before = moment(now() - 86_400);
        params.not_after = moment(now() + 86_400 * 365);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        params
    }

    fn issuer(&self) -> Issuer<'_, &KeyPair> {
        Issuer::from_params(&self.params, &self.key)
    }

    /// An authority below this one, and its certificate. `host`: the only host of whose URIs it may
    /// speak (RFC 5280, 4.2.1.10).
    pub fn below(&self, name: &str, host: Option<&str>) -> Self {
        let key = KeyPair::generate().expect("a key");
        let mut params = Self::params(name);
        if let Some(host) = host {
            // NameConstraints with one permitted subtree: a URI.
            let wrap = |tag: u8, content: &[u8]| {
                let length = u8::try_from(content.len()).expect("a short name");
                [&[tag, length], content].concat()
            };
            let subtree = wrap(0x30, &wrap(0x86, host.as_bytes()));
            let constraints = wrap(0x30, &wrap(0xa0, &subtree));
            let mut extension = CustomExtension::from_oid_content(&[2, 5, 29, 30], constraints);
            extension.set_criticality(true);
            params.custom_extensions.push(extension);
        }
        let certificate = params
            .signed_by(&key, &self.issuer())
            .expect("signed")
            .pem();
        Self {
            domain: self.domain.clone(),
            certificate,
            params,
            key,
        }
    }

    /// A certificate that the key of a leaf signed, as if that leaf were an authority.
    pub fn signed_by_leaf(&self, signer: &KeyPair, leaf: &Leaf<'_>) -> Pair {
        let mut params = Self::params("unused");
        params.distinguished_name = DistinguishedName::new();
        let false_authority = Self {
            domain: self.domain.clone(),
            certificate: String::new(),
            params,
            key: KeyPair::from_pem(&signer.serialize_pem()).expect("a key"),
        };
        false_authority.issue(leaf)
    }

    /// An ordinary leaf for a path of the trust domain.
    pub fn leaf(&self, path: &str, serial: u8) -> Pair {
        self.issue(&Leaf {
            serial,
            spiffe_id: format!("spiffe://{}/{path}", self.domain),
            common_name: "",
            distribution_points: &[],
            lifetime: 3600,
        })
    }

    pub fn issue(&self, leaf: &Leaf<'_>) -> Pair {
        let key = KeyPair::generate().expect("a key");
        let certificate = self.issue_for(leaf, &key);
        Pair {
            certificate,
            key: key.serialize_pem(),
        }
    }

    /// The same for a key that is there already.
    pub fn issue_for(&self, leaf: &Leaf<'_>, key: &KeyPair) -> String {
        let mut params = CertificateParams::default();
        params.distinguished_name = DistinguishedName::new();
        if !leaf.common_name.is_empty() {
            let name = leaf.common_name;
            params.distinguished_name.push(DnType::CommonName, name);
        }
        params.not_before = moment(now() - 300);
        params.not_after = moment(now() + leaf.lifetime);
        params.serial_number = Some(SerialNumber::from_slice(&[leaf.serial]));
        params.is_ca = IsCa::ExplicitNoCa;
        let uri = Ia5String::try_from(leaf.spiffe_id.as_str()).expect("a URI");
        params.subject_alt_names = vec![SanType::URI(uri)];
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![
            ExtendedKeyUsagePurpose::ClientAuth,
            ExtendedKeyUsagePurpose::ServerAuth,
        ];
        let points = leaf.distribution_points.iter();
        params.crl_distribution_points = points
            .map(|uri| CrlDistributionPoint {
                uris: vec![(*uri).to_owned()],
            })
            .collect();
        let certificate = params.signed_by(key, &self.issuer());
        certificate.expect("a certificate").pem()
    }

    /// A complete list with this number, good for `lifetime` seconds.
    pub fn crl(&self, number: u64, revoked: &[u8], lifetime: i64) -> Vec<u8> {
        self.crl_of(number, revoked, now() - 60, lifetime + 60, None)
            .to_vec()
    }

    /// A list about one distribution point.
    pub fn crl_part(&self, number: u64, revoked: &[u8], point: &str) -> Vec<u8> {
        self.crl_of(number, revoked, now() - 60, 3600, Some(point))
            .to_vec()
    }

    pub fn crl_of(
        &self,
        number: u64,
        revoked: &[u8],
        begins: i64,
        lifetime: i64,
        point: Option<&str>,
    ) -> CertificateRevocationListDer<'static> {
        let params = CertificateRevocationListParams {
            this_update: moment(begins),
            next_update: moment(begins + lifetime),
            crl_number: SerialNumber::from(number),
            issuing_distribution_point: point.map(|uri| CrlIssuingDistributionPoint {
                distribution_point: CrlDistributionPoint {
                    uris: vec![uri.to_owned()],
                },
                scope: None,
            }),
            revoked_certs: revoked
                .iter()
                .map(|serial| RevokedCertParams {
                    serial_number: SerialNumber::from_slice(&[*serial]),
                    revocation_time: moment(begins),
                    reason_code: None,
                    invalidity_date: None,
                })
                .collect(),
            key_identifier_method: KeyIdMethod::Sha256,
        };
        let list = params.signed_by(&self.issuer()).expect("a list");
        list.der().clone()
    }
}

/// Registers an authority and gives its id.
#[track_caller]
pub fn register(admin: &Admin, name: &str, ca: &Ca) -> String {
    let body = json!({"name": name, "certificate": ca.certificate, "trust_domain": ca.domain});
    id_of(&admin.create("/authorities", &body))
}

/// Enrols a workload that is known by a SPIFFE id of an authority.
#[track_caller]
pub fn workload(admin: &Admin, name: &str, ca: &Ca, authority: &str, path: &str) -> String {
    let body = json!({"name": name, "environment": "production", "roles": ["m365-sync"]});
    let workload = id_of(&admin.create("/workloads", &body));
    let id = format!("spiffe://{}/{path}", ca.domain);
    let key = json!({"spiffe_id": id, "authority": authority});
    admin.create(&format!("/workloads/{workload}/keys"), &key);
    workload
}

/// Imports a list.
pub fn import(admin: &Admin, authority: &str, der: &[u8]) -> Response {
    use base64::{Engine as _, engine::general_purpose::STANDARD};
    let body: Value = json!({"crl": STANDARD.encode(der)});
    admin.send("PUT", &format!("/authorities/{authority}/crl"), &body)
}
