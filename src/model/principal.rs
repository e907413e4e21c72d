//! Whoever is calling, once proven, and what operators may do.

use std::{fmt, str::FromStr, sync::Arc};

use serde::{Serialize, Serializer};

use super::credential::words;
use super::ids::{EnvironmentId, IdError, KeyId, OperatorId, RoleId, WorkloadId};
use super::names::Slug;

words! {
    /// Whether a principal is a server or a person.
    PrincipalKind {
        /// A registered server.
        Workload = "workload",
        /// A person of the vendor.
        Operator = "operator",
    }

    /// What a person of the vendor is for.
    OperatorRole {
        /// Everything but values.
        TechOps = "tech-ops",
        /// Clients, contacts, notices and incident drafts.
        AccountManager = "account-manager",
        /// Reads metadata.
        Support = "support",
        /// Reads metadata and the audit log.
        Auditor = "auditor",
    }

    /// What a registered key of a principal is, and how it proves itself.
    KeyForm {
        /// A client certificate known by the SHA-256 of its SubjectPublicKeyInfo, whatever its
        /// issuer says.
        PinnedCertificate = "pinned-certificate",
        /// A certificate that Strongroom's own authority issued.
        IssuedCertificate = "issued-certificate",
        /// A SPIFFE ID in certificates of a registered authority.
        Spiffe = "spiffe",
        /// An Ed25519 public key for assertions.
        Ed25519 = "ed25519",
        /// A P-256 public key for assertions.
        P256 = "p256",
    }

    /// One thing an operator may be allowed to do.
    Permission {
        /// Read names, states and dates; never values.
        ReadMetadata = "read-metadata",
        /// Create and change clients and contacts.
        WriteClients = "write-clients",
        /// Create and change credentials, versions, roles and environments.
        WriteCredentials = "write-credentials",
        /// Enrol, change and revoke workloads, operators, keys and authorities.
        WritePrincipals = "write-principals",
        /// Read the audit log.
        ReadAudit = "read-audit",
        /// Take backups, end the freeze after a restore, erase clients.
        OperateDeployment = "operate-deployment",
    }
}

impl OperatorRole {
    /// What a person of this role may do.
    pub const fn permissions(self) -> &'static [Permission] {
        use Permission::{
            OperateDeployment, ReadAudit, ReadMetadata, WriteClients, WriteCredentials,
            WritePrincipals,
        };
        match self {
            Self::TechOps => &[
                ReadMetadata,
                WriteClients,
                WriteCredentials,
                WritePrincipals,
                ReadAudit,
                OperateDeployment,
            ],
            Self::AccountManager => &[ReadMetadata, WriteClients],
            Self::Support => &[ReadMetadata],
            Self::Auditor => &[ReadMetadata, ReadAudit],
        }
    }
}

/// The id of a workload or an operator.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum PrincipalId {
    /// A registered server.
    Workload(WorkloadId),
    /// A person of the vendor.
    Operator(OperatorId),
}

impl PrincipalId {
    /// Which of the two it is.
    pub const fn kind(self) -> PrincipalKind {
        match self {
            Self::Workload(_) => PrincipalKind::Workload,
            Self::Operator(_) => PrincipalKind::Operator,
        }
    }
}

impl fmt::Display for PrincipalId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Workload(id) => id.fmt(f),
            Self::Operator(id) => id.fmt(f),
        }
    }
}

impl fmt::Debug for PrincipalId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for PrincipalId {
    type Err = IdError;

    fn from_str(text: &str) -> Result<Self, IdError> {
        if text.starts_with(OperatorId::PREFIX) {
            text.parse().map(Self::Operator)
        } else {
            text.parse().map(Self::Workload)
        }
    }
}

super::sql_text::sql_text!(PrincipalId);

impl Serialize for PrincipalId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// A role of a workload with its name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct RoleRef {
    /// The name comes first, so that sorting is by name.
    pub name: Slug,
    /// The id, which is what is bound into wraps.
    pub id: RoleId,
}

/// Whoever is calling, as the registry knew them at `generation`.
#[derive(Clone, Debug)]
pub enum Principal {
    /// A registered server.
    Workload {
        /// Its id.
        id: WorkloadId,
        /// Its name.
        name: Slug,
        /// Where it runs.
        environment: EnvironmentId,
        /// The name of that environment.
        environment_name: Slug,
        /// What it is for, sorted by name.
        roles: Arc<[RoleRef]>,
        /// The age recipient to whom releases can be encrypted.
        age_recipient: Option<Arc<str>>,
        /// The key it proved to hold.
        key: KeyId,
    },
    /// A person of the vendor.
    Operator {
        /// Their id.
        id: OperatorId,
        /// Their name.
        name: super::names::DisplayName,
        /// What they are for.
        role: OperatorRole,
        /// The key they proved to hold.
        key: KeyId,
    },
}

impl Principal {
    /// The id of the workload or operator.
    pub const fn id(&self) -> PrincipalId {
        match self {
            Self::Workload { id, .. } => PrincipalId::Workload(*id),
            Self::Operator { id, .. } => PrincipalId::Operator(*id),
        }
    }

    /// The key it proved to hold.
    pub const fn key(&self) -> KeyId {
        match self {
            Self::Workload { key, .. } | Self::Operator { key, .. } => *key,
        }
    }
}
