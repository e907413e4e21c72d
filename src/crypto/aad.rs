//! What a sealed blob is bound to.
//!
//! A blob opens only where it belongs: deployment, kind and place are authenticated with it (AEAD
//! associated data). Identifiers are bound, never names, so that a rename changes nothing.

use super::service_key::ServiceKeyName;
use crate::model::{CredentialId, EnvironmentId, KekId, MailId, RoleId, VersionId};

/// The first field of every binding.
const SCHEME: &[u8] = b"cv1";

/// The layer that a blob belongs to; one byte of its header.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Kind {
    /// A KEK under the root key.
    Kek = 1,
    /// A DEK under a KEK.
    Dek = 2,
    /// A value under its DEK. The only kind that is padded.
    Payload = 3,
    /// A part of a backup.
    Backup = 4,
    /// A key of the service itself under the root key.
    Service = 5,
    /// A mail that waits, under the service key `mail`.
    Mail = 6,
    /// The identifiers of a version, under the service key `identifiers`.
    Identifiers = 7,
}

/// The place that a blob is bound to. This enum is the only way to make associated data.
///
/// `deployment` is the deployment's id: a blob of one deployment opens in no other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Binding<'a> {
    /// One generation of the KEK of one role in one environment. Id and generation are bound so
    /// that an older KEK does not open in the row of a newer one
    /// (docs/decisions/0001-kek-id-and-generation-in-the-binding.md).
    Kek {
        /// Deployment id.
        deployment: &'a str,
        /// Environment.
        environment: EnvironmentId,
        /// Role.
        role: RoleId,
        /// The KEK's own id.
        kek: KekId,
        /// The KEK's generation.
        generation: u32,
    },
    /// The DEK of one version, wrapped for one role.
    Dek {
        /// Deployment id.
        deployment: &'a str,
        /// Environment of the credential.
        environment: EnvironmentId,
        /// The role whose KEK wraps it.
        role: RoleId,
        /// Credential.
        credential: CredentialId,
        /// The version's number within its credential.
        version: u64,
        /// Generation of the KEK that wraps it.
        kek_generation: u32,
    },
    /// The value of one version. Neither role nor KEK generation is bound: giving a role access and
    /// rotating a KEK leave the value alone.
    Payload {
        /// Deployment id.
        deployment: &'a str,
        /// Environment of the credential.
        environment: EnvironmentId,
        /// Credential.
        credential: CredentialId,
        /// The version's number within its credential.
        version: u64,
    },
    /// A part of a backup.
    Backup {
        /// Deployment id.
        deployment: &'a str,
        /// Id of the manifest that lists the part.
        manifest: &'a str,
    },
    /// One generation of a key of the service itself, bound for the same reason as that of a KEK.
    Service {
        /// Deployment id.
        deployment: &'a str,
        /// What the key is for.
        name: ServiceKeyName,
        /// The key's generation.
        generation: u32,
    },
    /// A mail that waits to be sent.
    Mail {
        /// Deployment id.
        deployment: &'a str,
        /// The mail.
        mail: MailId,
    },
    /// What says whose the value of a version is.
    Identifiers {
        /// Deployment id.
        deployment: &'a str,
        /// The credential.
        credential: CredentialId,
        /// The version.
        version: VersionId,
    },
}

impl Binding<'_> {
    /// The kind of blob that has such a binding.
    pub const fn kind(&self) -> Kind {
        match self {
            Self::Kek { .. } => Kind::Kek,
            Self::Dek { .. } => Kind::Dek,
            Self::Payload { .. } => Kind::Payload,
            Self::Backup { .. } => Kind::Backup,
            Self::Service { .. } => Kind::Service,
            Self::Mail { .. } => Kind::Mail,
            Self::Identifiers { .. } => Kind::Identifiers,
        }
    }

    /// The deployment id that is bound.
    pub const fn deployment(&self) -> &str {
        match self {
            Self::Kek { deployment, .. }
            | Self::Dek { deployment, .. }
            | Self::Payload { deployment, .. }
            | Self::Backup { deployment, .. }
            | Self::Service { deployment, .. }
            | Self::Mail { deployment, .. }
            | Self::Identifiers { deployment, .. } => deployment,
        }
    }

    /// The associated data: `"cv1"`, deployment, kind (one byte), then the fields of the kind in
    /// the order in which they are declared above. Every field stands behind its length, so that
    /// two different bindings never give the same bytes.
    pub(super) fn to_aad(self) -> Vec<u8> {
        let mut fields = Fields::default();
        fields.push(SCHEME);
        fields.push(self.deployment().as_bytes());
        fields.push(&[self.kind() as u8]);
        match self {
            Self::Kek {
                environment,
                role,
                kek,
                generation,
                ..
            } => {
                fields.push(&environment.to_bytes());
                fields.push(&role.to_bytes());
                fields.push(&kek.to_bytes());
                fields.push(&generation.to_be_bytes());
            }
            Self::Dek {
                environment,
                role,
                credential,
                version,
                kek_generation,
                ..
            } => {
                fields.push(&environment.to_bytes());
                fields.push(&role.to_bytes());
                fields.push(&credential.to_bytes());
                fields.push(&version.to_be_bytes());
                fields.push(&kek_generation.to_be_bytes());
            }
            Self::Payload {
                environment,
                credential,
                version,
                ..
            } => {
                fields.push(&environment.to_bytes());
                fields.push(&credential.to_bytes());
                fields.push(&version.to_be_bytes());
            }
            Self::Backup { manifest, .. } => fields.push(manifest.as_bytes()),
            Self::Service {
                name, generation, ..
            } => {
                fields.push(name.as_str().as_bytes());
                fields.push(&generation.to_be_bytes());
            }
            Self::Mail { mail, .. } => fields.push(&mail.to_bytes()),
            Self::Identifiers {
                credential,
                version,
                ..
            } => {
                fields.push(&credential.to_bytes());
                fields.push(&version.to_bytes());
            }
        }
        fields.into_bytes()
    }
}

/// Byte fields one after the other, each behind its length as four bytes, big endian.
#[derive(Default)]
pub(super) struct Fields(Vec<u8>);

impl Fields {
    /// Room for `bytes` bytes, so that a secret field is never copied by growth.
    pub(super) fn with_capacity(bytes: usize) -> Self {
        Self(Vec::with_capacity(bytes))
    }

    /// Appends a field.
    pub(super) fn push(&mut self, field: &[u8]) {
        // Unwrap safety: nothing here can hold a field of 4 GiB, and ending the program is better
        // than binding one under a wrong length.
        let len = u32::try_from(field.len()).expect("a field is shorter than 4 GiB");
        self.0.extend_from_slice(&len.to_be_bytes());
        self.0.extend_from_slice(field);
    }

    pub(super) fn into_bytes(self) -> Vec<u8> {
        self.0
    }
}

/// Takes apart what [`Fields`] made: exactly `N` fields and nothing behind them.
pub(super) fn split_fields<const N: usize>(mut bytes: &[u8]) -> Option<[&[u8]; N]> {
    let mut fields = [&[][..]; N];
    for field in &mut fields {
        let (len, rest) = bytes.split_first_chunk::<4>()?;
        let len = usize::try_from(u32::from_be_bytes(*len)).ok()?;
        (*field, bytes) = rest.split_at_checked(len)?;
    }
    bytes.is_empty().then_some(fields)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[derive(Debug, Clone, PartialEq)]
    struct Tuple {
        kind: u8,
        texts: [String; 2],
        ids: [[u8; 16]; 4],
        version: u64,
        generation: u32,
        name: usize,
    }

    impl Tuple {
        fn binding(&self) -> Binding<'_> {
            let deployment = self.texts[0].as_str();
            let environment = EnvironmentId::from_bytes(self.ids[0]);
            let role = RoleId::from_bytes(self.ids[1]);
            let credential = CredentialId::from_bytes(self.ids[2]);
            let version = self.version;
            let kek = KekId::from_bytes(self.ids[3]);
            let generation = self.generation;
            match self.kind {
                1 => Binding::Kek {
                    deployment,
                    environment,
                    role,
                    kek,
                    generation,
                },
                2 => Binding::Dek {
                    deployment,
                    environment,
                    role,
                    credential,
                    version,
                    kek_generation: generation,
                },
                3 => Binding::Payload {
                    deployment,
                    environment,
                    credential,
                    version,
                },
                4 => Binding::Backup {
                    deployment,
                    manifest: &self.texts[1],
                },
                5 => Binding::Service {
                    deployment,
                    name: ServiceKeyName::ALL[self.name],
                    generation,
                },
                6 => Binding::Mail {
                    deployment,
                    mail: MailId::from_bytes(self.ids[0]),
                },
                _ => Binding::Identifiers {
                    deployment,
                    credential: CredentialId::from_bytes(self.ids[0]),
                    version: VersionId::from_bytes(self.ids[1]),
                },
            }
        }
    }

    fn tuple() -> impl Strategy<Value = Tuple> {
        // Few values for each field, so that pairs which differ in one field only are common.
        let id = || prop_oneof![Just([0; 16]), Just([1; 16]), any::<[u8; 16]>()];
        // Texts made of the bytes that lengths and kinds are made of.
        let text = || prop_oneof!["[\\x00-\\x05a]{0,9}", Just("dev-a".to_owned())];
        (
            1_u8..=7,
            [text(), text()],
            [id(), id(), id(), id()],
            prop_oneof![0_u64..3, any::<u64>()],
            prop_oneof![0_u32..3, any::<u32>()],
            0..ServiceKeyName::ALL.len(),
        )
            .prop_map(|(kind, texts, ids, version, generation, name)| Tuple {
                kind,
                texts,
                ids,
                version,
                generation,
                name,
            })
    }

    proptest! {
        #[test]
        fn equal_bytes_mean_equal_bindings(left in tuple(), right in tuple()) {
            let same_bytes = left.binding().to_aad() == right.binding().to_aad();
            prop_assert_eq!(same_bytes, left.binding() == right.binding());
        }

        #[test]
        fn fields_come_back(fields in any::<[Vec<u8>; 3]>(), cut in 0_usize..8) {
            let mut made = Fields::default();
            for field in &fields {
                made.push(field);
            }
            let mut bytes = made.into_bytes();
            let split = split_fields::<3>(&bytes).unwrap();
            prop_assert_eq!(split.as_slice(), fields.each_ref().map(Vec::as_slice));
            prop_assert!(split_fields::<2>(&bytes).is_none());
            prop_assert!(split_fields::<4>(&bytes).is_none());
            bytes.truncate(bytes.len() - 1 - cut);
            prop_assert!(split_fields::<3>(&bytes).is_none());
        }
    }

    #[test]
    fn the_bytes_of_a_kek_binding_are_fixed() {
        let binding = Binding::Kek {
            deployment: "dev-x",
            environment: EnvironmentId::from_bytes([0xe0; 16]),
            role: RoleId::from_bytes([0xb0; 16]),
            kek: KekId::from_bytes([0xa0; 16]),
            generation: 3,
        };
        let expected = format!(
            "00000003{}00000005{}0000000101{}{}{}{}",
            hex::encode("cv1"),
            hex::encode("dev-x"),
            format_args!("00000010{}", "e0".repeat(16)),
            format_args!("00000010{}", "b0".repeat(16)),
            format_args!("00000010{}", "a0".repeat(16)),
            "0000000400000003",
        );
        assert_eq!(hex::encode(binding.to_aad()), expected);
    }

    #[test]
    fn the_bytes_of_a_service_key_binding_are_fixed() {
        let binding = Binding::Service {
            deployment: "dev-x",
            name: ServiceKeyName::Intake,
            generation: 3,
        };
        let expected = format!(
            "00000003{}00000005{}000000010500000006{}{}",
            hex::encode("cv1"),
            hex::encode("dev-x"),
            hex::encode("intake"),
            "0000000400000003",
        );
        assert_eq!(hex::encode(binding.to_aad()), expected);
    }

    #[test]
    fn the_bytes_of_a_dek_binding_are_fixed() {
        let binding = Binding::Dek {
            deployment: "dev-x",
            environment: EnvironmentId::from_bytes([0xe0; 16]),
            role: RoleId::from_bytes([0xb0; 16]),
            credential: CredentialId::from_bytes([0xc0; 16]),
            version: 7,
            kek_generation: 3,
        };
        let expected = format!(
            "00000003{}00000005{}0000000102{}{}{}{}{}",
            hex::encode("cv1"),
            hex::encode("dev-x"),
            format_args!("00000010{}", "e0".repeat(16)),
            format_args!("00000010{}", "b0".repeat(16)),
            format_args!("00000010{}", "c0".repeat(16)),
            "000000080000000000000007",
            "0000000400000003",
        );
        assert_eq!(hex::encode(binding.to_aad()), expected);
    }
}
