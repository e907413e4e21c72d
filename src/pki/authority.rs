//! Strongroom's own certificate authority: for clients that have none, and for its own listeners.

use std::net::IpAddr;

use rcgen::{
    BasicConstraints, Certificate, CertificateParams, CrlDistributionPoint, DistinguishedName,
    DnType, ExtendedKeyUsagePurpose, IsCa, KeyUsagePurpose, SanType, SerialNumber,
    SubjectPublicKeyInfo, string::Ia5String,
};
use rustls_pki_types::CertificateDer;
use time::OffsetDateTime;
use x509_parser::certification_request::{X509CertificationRequest, X509CertificationRequestInfo};
use x509_parser::cri_attributes::ParsedCriAttribute;
use x509_parser::extensions::{GeneralName, ParsedExtension};
use x509_parser::oid_registry::OID_X509_COMMON_NAME;
use x509_parser::prelude::FromDer as _;
use x509_parser::x509::AttributeTypeAndValue;

use super::keys::P256Key;
use crate::identity::SpkiHash;
use crate::identity::certificate::{CertificateError, CertificateFacts};
use crate::identity::pem::{self, PemError};
use crate::identity::public_key::{PublicKey, PublicKeyError};
use crate::identity::spiffe::{SpiffeId, TrustDomain};
use crate::model::{KeyForm, Timestamp};
use crate::random::{Random, RandomError};
use crate::secret::Secret;

/// How long an authority lives: ten years.
const AUTHORITY_LIFETIME_SECS: i64 = 10 * 365 * 86_400;
/// How far certificates begin in the past, for clocks that are behind.
const BACKDATE_SECS: i64 = 60;
/// Longest certificate signing request that is read.
const MAX_REQUEST_BYTES: usize = 16 * 1024;

/// A certificate cannot be issued.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PkiError {
    /// The authority's certificate is not usable.
    #[error(transparent)]
    Certificate(#[from] CertificateError),
    /// The private key is not a P-256 key in PKCS#8, or not the authority's.
    #[error("the private key is not usable or belongs to another certificate")]
    Key,
    /// The certificate would end before it begins, or after its authority.
    #[error("the certificate must end after now and not after its authority")]
    Lifetime,
    /// A name that a server certificate cannot carry, or none at all.
    #[error("a server certificate needs at least one name, each a host name or an address")]
    ServerName,
    /// The SPIFFE ID is of another trust domain than the authority.
    #[error("the SPIFFE ID is not of the authority's trust domain")]
    TrustDomain,
    /// The source of randomness failed.
    #[error(transparent)]
    Random(#[from] RandomError),
    /// The signature could not be made.
    #[error("the certificate could not be signed")]
    Signature,
}

/// A certificate signing request is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum RequestError {
    /// The PEM file is not one request.
    #[error(transparent)]
    Pem(#[from] PemError),
    /// It does not parse.
    #[error("is not a certificate signing request")]
    Malformed,
    /// Its key is of a kind that is not accepted.
    #[error(transparent)]
    Key(#[from] PublicKeyError),
    /// It is not signed by its own key, so that nothing shows that the sender holds it.
    #[error("is not signed with its own key")]
    Signature,
    /// It asks for another name than the one that its sender has.
    #[error(
        "asks for another name than the sender's own SPIFFE ID: leave subject and alternative names \
         out"
    )]
    Names,
    /// It asks for something else than a certificate for its key.
    #[error("asks for more than a certificate for its key: leave out what it asks for besides")]
    Demands,
}

/// Reads a certificate signing request (RFC 2986) in PEM and checks that it is signed with its own
/// key. Only the key counts: every name and extension that it asks for is ignored.
///
/// # Errors
/// See [`RequestError`].
pub fn read_request(text: &str) -> Result<PublicKey, RequestError> {
    read(text, None)
}

/// Reads a certificate signing request as [`read_request`] does, and refuses one that asks for any
/// name but `own`. It may leave that out, and its subject may hold one common name, which is ignored.
///
/// # Errors
/// See [`RequestError`].
pub fn read_own_request(text: &str, own: &SpiffeId) -> Result<PublicKey, RequestError> {
    read(text, Some(own))
}

fn read(text: &str, own: Option<&SpiffeId>) -> Result<PublicKey, RequestError> {
    let der = pem::read_one(text, "CERTIFICATE REQUEST")?;
    if der.len() > MAX_REQUEST_BYTES {
        return Err(RequestError::Malformed);
    }
    let Ok(([], request)) = X509CertificationRequest::from_der(&der) else {
        return Err(RequestError::Malformed);
    };
    let info = &request.certification_request_info;
    let key = PublicKey::from_spki_der(info.subject_pki.raw)?;
    let algorithm = request.signature_algorithm.algorithm.to_id_string();
    let expected = match key.form() {
        KeyForm::Ed25519 => "1.3.101.112",
        // ecdsa-with-SHA256
        _ => "1.2.840.10045.4.3.2",
    };
    let signature = &request.signature_value;
    if algorithm != expected
        || signature.unused_bits != 0
        || !key.verify_asn1(info.raw, &signature.data)
    {
        return Err(RequestError::Signature);
    }
    if let Some(own) = own {
        check_names(info, own)?;
    }
    Ok(key)
}

/// Whether a request asks for nothing but `own`.
fn check_names(
    info: &X509CertificationRequestInfo<'_>,
    own: &SpiffeId,
) -> Result<(), RequestError> {
    let mut subject = info.subject.iter_attributes();
    let common_name = |name: &AttributeTypeAndValue<'_>| *name.attr_type() == OID_X509_COMMON_NAME;
    if !subject.next().is_none_or(common_name) || subject.next().is_some() {
        return Err(RequestError::Names);
    }
    let mut extensions = match info.attributes() {
        [] => return Ok(()),
        [attribute] => match attribute.parsed_attribute() {
            ParsedCriAttribute::ExtensionRequest(asked) => asked.extensions.iter(),
            _ => return Err(RequestError::Demands),
        },
        _ => return Err(RequestError::Demands),
    };
    let mut named = false;
    extensions.try_for_each(|extension| match extension.parsed_extension() {
        ParsedExtension::SubjectAlternativeName(names) if !named => {
            named = true;
            match names.general_names.as_slice() {
                [GeneralName::URI(uri)] if *uri == own.as_str() => Ok(()),
                _ => Err(RequestError::Names),
            }
        }
        ParsedExtension::SubjectAlternativeName(_) | ParsedExtension::IssuerAlternativeName(_) => {
            Err(RequestError::Names)
        }
        ParsedExtension::BasicConstraints(constraints) if !constraints.ca => Ok(()),
        // What common tools write by themselves; the issuer decides on both.
        ParsedExtension::KeyUsage(_)
        | ParsedExtension::ExtendedKeyUsage(_)
        | ParsedExtension::SubjectKeyIdentifier(_) => Ok(()),
        _ => Err(RequestError::Demands),
    })
}

/// A new authority: its certificate and its private key, which is to be sealed.
pub struct NewAuthority {
    /// The certificate.
    pub certificate: CertificateDer<'static>,
    /// The private key in PKCS#8 DER.
    pub key: Secret,
}

/// Makes an authority for `trust_domain` that lives ten years. It may sign leaves only (path length
/// 0) and carries no name constraints, because the verifier's library refuses those on URIs.
///
/// # Errors
/// Randomness or signing failed.
pub fn create_authority(
    trust_domain: &TrustDomain,
    now: Timestamp,
    random: &dyn Random,
) -> Result<NewAuthority, PkiError> {
    create_authority_named(trust_domain.as_str(), now, random)
}

/// The same with this common name. Two authorities of one deployment must not have one name, because
/// whoever looks for a revocation list, or for an issuer, looks by the name.
///
/// # Errors
/// Randomness or signing failed.
pub fn create_authority_named(
    common_name: &str,
    now: Timestamp,
    random: &dyn Random,
) -> Result<NewAuthority, PkiError> {
    let key = P256Key::generate()?;
    let mut params = blank(now, now.plus_secs(AUTHORITY_LIFETIME_SECS), random)?;
    params
        .distinguished_name
        .push(DnType::CommonName, common_name);
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params.use_authority_key_identifier_extension = false;
    let certificate = params.self_signed(&key).map_err(|_| PkiError::Signature)?;
    Ok(NewAuthority {
        certificate: certificate.der().clone(),
        key: key.into_pkcs8(),
    })
}

/// A name that a server certificate is for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ServerName {
    /// A host name.
    Dns(String),
    /// An address.
    Ip(IpAddr),
}

/// A certificate that was issued.
#[derive(Clone, Debug)]
pub struct IssuedCertificate {
    /// The certificate.
    pub der: CertificateDer<'static>,
    /// The certificate in PEM.
    pub pem: String,
    /// Its key.
    pub spki: SpkiHash,
    /// Its serial number, big endian.
    pub serial: Vec<u8>,
    /// The first second at which it is valid.
    pub not_before: Timestamp,
    /// The last second at which it is valid.
    pub not_after: Timestamp,
}

/// An opened authority.
pub struct Issuer {
    issuer: rcgen::Issuer<'static, P256Key>,
    certificate: CertificateDer<'static>,
    trust_domain: TrustDomain,
    not_after: Timestamp,
    list_url: Option<String>,
}

impl Issuer {
    /// Opens an authority with its certificate and its private key in PKCS#8 DER.
    ///
    /// # Errors
    /// The certificate is not an authority's, or the key not its own.
    pub fn open(
        certificate: CertificateDer<'static>,
        key: Secret,
        trust_domain: TrustDomain,
    ) -> Result<Self, PkiError> {
        let facts = CertificateFacts::of_authority_der(&certificate)?;
        let key = P256Key::from_pkcs8(key)?;
        if key.public_key().sha256() != facts.spki {
            return Err(PkiError::Key);
        }
        let issuer = rcgen::Issuer::from_ca_cert_der(&certificate, key)
            .map_err(|_| PkiError::Certificate(CertificateError::Malformed))?;
        Ok(Self {
            issuer,
            certificate,
            trust_domain,
            not_after: facts.not_after,
            list_url: None,
        })
    }

    /// The same authority, naming the address of its revocation list in what it issues (RFC 5280,
    /// 4.2.1.13).
    pub fn with_list_url(self, list_url: Option<String>) -> Self {
        Self { list_url, ..self }
    }

    pub(super) const fn inner(&self) -> &rcgen::Issuer<'static, P256Key> {
        &self.issuer
    }

    /// The authority's certificate.
    pub const fn certificate(&self) -> &CertificateDer<'static> {
        &self.certificate
    }

    /// The trust domain that it vouches for.
    pub const fn trust_domain(&self) -> &TrustDomain {
        &self.trust_domain
    }

    /// The last second at which the authority's certificate is valid.
    pub const fn not_after(&self) -> Timestamp {
        self.not_after
    }

    /// The authority's certificate in PEM.
    pub fn certificate_pem(&self) -> String {
        String::clone(&pem::write_one(&self.certificate, "CERTIFICATE"))
    }

    /// Issues a client certificate: one SPIFFE ID and no other name that counts, until
    /// `now + lifetime_secs`.
    ///
    /// # Errors
    /// See [`PkiError`].
    pub fn issue_client(
        &self,
        key: &PublicKey,
        id: &SpiffeId,
        lifetime_secs: i64,
        now: Timestamp,
        random: &dyn Random,
    ) -> Result<IssuedCertificate, PkiError> {
        if id.trust_domain() != self.trust_domain {
            return Err(PkiError::TrustDomain);
        }
        let mut params = self.leaf(lifetime_secs, now, random)?;
        let uri = Ia5String::try_from(id.as_str()).map_err(|_| PkiError::Signature)?;
        params.subject_alt_names = vec![SanType::URI(uri)];
        self.sign(params, key)
    }

    /// Issues a server certificate for names and addresses, until `now + lifetime_secs`.
    ///
    /// # Errors
    /// See [`PkiError`].
    pub fn issue_server(
        &self,
        key: &PublicKey,
        names: &[ServerName],
        lifetime_secs: i64,
        now: Timestamp,
        random: &dyn Random,
    ) -> Result<IssuedCertificate, PkiError> {
        let mut params = self.leaf(lifetime_secs, now, random)?;
        for name in names {
            params.subject_alt_names.push(match name {
                ServerName::Ip(address) => SanType::IpAddress(*address),
                ServerName::Dns(name) => {
                    rustls_pki_types::DnsName::try_from(name.as_str())
                        .map_err(|_| PkiError::ServerName)?;
                    let name = Ia5String::try_from(name.as_str());
                    SanType::DnsName(name.map_err(|_| PkiError::ServerName)?)
                }
            });
        }
        if names.is_empty() {
            return Err(PkiError::ServerName);
        }
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        self.sign(params, key)
    }

    fn leaf(
        &self,
        lifetime_secs: i64,
        now: Timestamp,
        random: &dyn Random,
    ) -> Result<CertificateParams, PkiError> {
        let end = now.plus_secs(lifetime_secs);
        if end <= now || end > self.not_after {
            return Err(PkiError::Lifetime);
        }
        let mut params = blank(now, end, random)?;
        // The subject stays empty, so that the alternative name is critical and the only name.
        params.is_ca = IsCa::ExplicitNoCa;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        // X.509-SVID, 4.4: an extended key usage names both.
        params.extended_key_usages = vec![
            ExtendedKeyUsagePurpose::ClientAuth,
            ExtendedKeyUsagePurpose::ServerAuth,
        ];
        params.use_authority_key_identifier_extension = true;
        if let Some(url) = &self.list_url {
            params.crl_distribution_points = vec![CrlDistributionPoint {
                uris: vec![url.clone()],
            }];
        }
        Ok(params)
    }

    fn sign(
        &self,
        params: CertificateParams,
        key: &PublicKey,
    ) -> Result<IssuedCertificate, PkiError> {
        let subject = SubjectPublicKeyInfo::from_der(key.spki_der()).map_err(|_| PkiError::Key)?;
        let serial = params.serial_number.as_ref().map(SerialNumber::to_bytes);
        let not_before = Timestamp::from_secs(params.not_before.unix_timestamp());
        let not_after = Timestamp::from_secs(params.not_after.unix_timestamp());
        let certificate: Certificate = params
            .signed_by(&subject, &self.issuer)
            .map_err(|_| PkiError::Signature)?;
        Ok(IssuedCertificate {
            der: certificate.der().clone(),
            pem: String::clone(&pem::write_one(certificate.der(), "CERTIFICATE")),
            spki: key.sha256(),
            serial: serial.unwrap_or_default(),
            not_before,
            not_after,
        })
    }
}

/// Parameters with dates and a serial number with 126 random bits, positive and never zero (RFC 5280,
/// 4.1.2.2), and with nothing that rcgen would fill in.
fn blank(
    now: Timestamp,
    not_after: Timestamp,
    random: &dyn Random,
) -> Result<CertificateParams, PkiError> {
    let moment = |at: Timestamp| {
        OffsetDateTime::from_unix_timestamp(at.secs()).map_err(|_| PkiError::Lifetime)
    };
    let mut serial = [0_u8; 16];
    random.fill(&mut serial)?;
    serial[0] = (serial[0] & 0x7f) | 0x40;
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.not_before = moment(now.plus_secs(-BACKDATE_SECS))?;
    params.not_after = moment(not_after)?;
    params.serial_number = Some(SerialNumber::from_slice(&serial));
    Ok(params)
}

#[cfg(test)]
mod tests;
