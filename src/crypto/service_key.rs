//! The names of the service's own keys.

use std::fmt;
use std::str::FromStr;

use serde::Serialize;

/// What a key of the service is for. The text is bound into the sealed key, so that one can never
/// be opened in place of another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, utoipa::ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum ServiceKeyName {
    /// MACs of registry rows: 32 bytes.
    RegistryMac,
    /// MACs that are shown as ETags: 32 bytes.
    EtagMac,
    /// Keyed fingerprints of values: 32 bytes.
    FingerprintMac,
    /// MACs of list cursors: 32 bytes.
    CursorMac,
    /// The seed of the Ed25519 key that signs checkpoints of the audit log: 32 bytes (RFC 8032).
    AuditSigning,
    /// The private key of the service's own certificate authority: PKCS#8, of any length.
    Authority,
    /// The seed of the key pair to which clients seal what they hand in: 32 bytes (RFC 9180 section
    /// 7.1.3).
    Intake,
    /// Seals mails that wait to be sent: 32 bytes.
    Mail,
    /// Seals what says whose a value is, apart from the value: 32 bytes.
    Identifiers,
}

/// The text is not the name of a service key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("must be the name of a service key, such as registry-mac")]
pub struct UnknownServiceKey;

impl ServiceKeyName {
    /// Every name.
    pub const ALL: &'static [Self] = &[
        Self::RegistryMac,
        Self::EtagMac,
        Self::FingerprintMac,
        Self::CursorMac,
        Self::AuditSigning,
        Self::Authority,
        Self::Intake,
        Self::Mail,
        Self::Identifiers,
    ];

    /// The text that is stored, shown and bound. It never changes: a changed text opens nothing.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::RegistryMac => "registry-mac",
            Self::EtagMac => "etag-mac",
            Self::FingerprintMac => "fingerprint-mac",
            Self::CursorMac => "cursor-mac",
            Self::AuditSigning => "audit-signing",
            Self::Authority => "authority",
            Self::Intake => "intake",
            Self::Mail => "mail",
            Self::Identifiers => "identifiers",
        }
    }
}

impl fmt::Display for ServiceKeyName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for ServiceKeyName {
    type Err = UnknownServiceKey;

    fn from_str(text: &str) -> Result<Self, UnknownServiceKey> {
        Self::ALL
            .iter()
            .copied()
            .find(|name| name.as_str() == text)
            .ok_or(UnknownServiceKey)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_three_forms_of_a_name_agree() {
        for name in ServiceKeyName::ALL {
            assert_eq!(name.as_str().parse(), Ok(*name));
            assert_eq!(serde_json::to_value(name).unwrap(), name.as_str());
        }
        assert_eq!("Intake".parse::<ServiceKeyName>(), Err(UnknownServiceKey));
    }
}
