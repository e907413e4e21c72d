//! Identifiers: a prefix that says what is named, and a 26-character lower-case ULID.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use ulid::Ulid;

use super::timestamp::Timestamp;
use crate::random::{Random, RandomError};

/// The text is not an identifier of the expected kind in canonical form.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("must be {prefix}_ followed by 26 lower-case characters")]
pub struct IdError {
    prefix: &'static str,
}

fn new_ulid(now: Timestamp, random: &dyn Random) -> Result<Ulid, RandomError> {
    let mut entropy = [0_u8; 16];
    random.fill(&mut entropy[..10])?;
    let mut bits = 0_u128;
    for byte in &entropy[..10] {
        bits = (bits << 8) | u128::from(*byte);
    }
    let millis = u64::try_from(now.millis()).unwrap_or(0);
    Ok(Ulid::from_parts(millis, bits))
}

macro_rules! ids {
    ($($(#[$doc:meta])* $name:ident = $prefix:literal;)+) => {$(
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(Ulid);

        impl $name {
            /// What the text form begins with, before the underscore.
            pub const PREFIX: &'static str = $prefix;

            /// A new identifier: 48 bits of time, 80 bits of randomness.
            ///
            /// # Errors
            /// The source of randomness failed.
            pub fn generate(now: Timestamp, random: &dyn Random) -> Result<Self, RandomError> {
                new_ulid(now, random).map(Self)
            }

            /// The 16 bytes of the ULID, big endian, as they are bound into sealed blobs.
            pub fn to_bytes(self) -> [u8; 16] {
                self.0.to_bytes()
            }

            /// From the 16 bytes of a ULID.
            pub fn from_bytes(bytes: [u8; 16]) -> Self {
                Self(Ulid::from_bytes(bytes))
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                let mut buffer = [0_u8; ulid::ULID_LEN];
                let text = self.0.array_to_str(&mut buffer);
                text.make_ascii_lowercase();
                write!(f, concat!($prefix, "_{}"), text)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(self, f)
            }
        }

        impl FromStr for $name {
            type Err = IdError;

            fn from_str(text: &str) -> Result<Self, IdError> {
                let error = IdError { prefix: $prefix };
                let Some(rest) = text.strip_prefix(concat!($prefix, "_")) else {
                    return Err(error);
                };
                // One canonical form only: ULID text is case-insensitive and has aliases (I, L, O),
                // so the parsed value must print as exactly what was given.
                match Ulid::from_string(rest) {
                    Ok(ulid) if Self(ulid).to_string() == text => Ok(Self(ulid)),
                    _ => Err(error),
                }
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
            }
        }

        impl utoipa::PartialSchema for $name {
            fn schema() -> utoipa::openapi::RefOr<utoipa::openapi::schema::Schema> {
                utoipa::openapi::ObjectBuilder::new()
                    .schema_type(utoipa::openapi::schema::Type::String)
                    .pattern(Some(concat!("^", $prefix, "_[0-9a-hjkmnp-tv-z]{26}$")))
                    .into()
            }
        }

        impl utoipa::ToSchema for $name {}

        super::sql_text::sql_text!($name);
    )+};
}

ids! {
    /// A client: the company whose credentials are held.
    ClientId = "clnt";
    /// A person at a client.
    ContactId = "cont";
    /// One integration credential of one client.
    CredentialId = "cred";
    /// One value of a credential.
    VersionId = "vers";
    /// What a server is for.
    RoleId = "role";
    /// Where a server runs.
    EnvironmentId = "envt";
    /// A registered server.
    WorkloadId = "wkld";
    /// A person of the vendor.
    OperatorId = "oper";
    /// A registered key of a workload or operator; the `kid` of its assertions.
    KeyId = "pkey";
    /// A one-time token for enrolment.
    EnrolmentTokenId = "enrt";
    /// A certificate authority that client certificates may come from.
    AuthorityId = "auth";
    /// An invitation to a contact to hand in a credential.
    InviteId = "intk";
    /// What a client handed in by an invitation.
    SubmissionId = "subm";
    /// One run of a verification at the provider.
    VerificationId = "verf";
    /// Something that an operator has to look at.
    TaskId = "task";
    /// A key-encryption key of one role, environment and generation.
    KekId = "kek";
    /// A key of the service itself.
    ServiceKeyId = "skey";
    /// A backup.
    BackupId = "bkup";
    /// A mail.
    MailId = "mail";
    /// One request to the service.
    RequestId = "req";
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_canonical_form_is_an_id() {
        let id: CredentialId = "cred_01kaqz3m8v7d6k2n4p9r5s1t0x".parse().unwrap();
        assert_eq!(id.to_string(), "cred_01kaqz3m8v7d6k2n4p9r5s1t0x");
        for text in [
            "cred_01KAQZ3M8V7D6K2N4P9R5S1T0X",
            "clnt_01kaqz3m8v7d6k2n4p9r5s1t0x",
            "cred_o1kaqz3m8v7d6k2n4p9r5s1t0x",
            "cred_01kaqz3m8v7d6k2n4p9r5s1t0",
            "cred_01kaqz3m8v7d6k2n4p9r5s1t0x ",
            "cred_81kaqz3m8v7d6k2n4p9r5s1t0x",
            "cred_",
            "",
        ] {
            assert!(text.parse::<CredentialId>().is_err(), "{text}");
        }
    }
}
