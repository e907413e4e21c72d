//! What a record may point at: an id, or one version of a credential by its number.

use std::{fmt, str::FromStr};

use serde::{Serialize, Serializer};

use super::record::RecordError;
use crate::model::{
    AuthorityId, BackupId, ClientId, ContactId, CredentialId, EnrolmentTokenId, EnvironmentId,
    InviteId, KekId, KeyId, MailId, OperatorId, PrincipalId, RequestId, RoleId, ServiceKeyId,
    SubmissionId, TaskId, VerificationId, VersionId, WorkloadId,
};

macro_rules! subjects {
    ($($(#[$doc:meta])* $variant:ident($id:ident),)+) => {
        /// What a record points at.
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Subject {
            $($(#[$doc])* $variant($id),)+
            /// A version of a credential by its number; written `cred_…#3`, so that the 512 of a
            /// large release fit into one record.
            Numbered(CredentialId, u64),
        }

        $(impl From<$id> for Subject {
            fn from(id: $id) -> Self {
                Self::$variant(id)
            }
        })+

        impl fmt::Display for Subject {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                match self {
                    $(Self::$variant(id) => id.fmt(f),)+
                    Self::Numbered(id, number) => write!(f, "{id}#{number}"),
                }
            }
        }

        impl FromStr for Subject {
            type Err = RecordError;

            fn from_str(text: &str) -> Result<Self, RecordError> {
                if let Some((id, number)) = text.split_once('#') {
                    return numbered(id, number).ok_or(RecordError::Malformed);
                }
                match text.split_once('_').map(|(prefix, _)| prefix) {
                    $(Some($id::PREFIX) => text.parse().ok().map(Self::$variant),)+
                    _ => None,
                }
                .ok_or(RecordError::Malformed)
            }
        }
    };
}

subjects! {
    /// A client.
    Client(ClientId),
    /// A contact.
    Contact(ContactId),
    /// A credential.
    Credential(CredentialId),
    /// A version by its id.
    Version(VersionId),
    /// A role.
    Role(RoleId),
    /// An environment.
    Environment(EnvironmentId),
    /// A workload.
    Workload(WorkloadId),
    /// An operator.
    Operator(OperatorId),
    /// A key of a principal.
    Key(KeyId),
    /// A one-time token for enrolment.
    EnrolmentToken(EnrolmentTokenId),
    /// A certificate authority.
    Authority(AuthorityId),
    /// A key-encryption key.
    Kek(KekId),
    /// A key of the service itself.
    ServiceKey(ServiceKeyId),
    /// A backup.
    Backup(BackupId),
    /// An invitation to hand in a credential.
    Invite(InviteId),
    /// What a client handed in.
    Submission(SubmissionId),
    /// A run of a verification.
    Verification(VerificationId),
    /// A task of an operator.
    Task(TaskId),
    /// A mail.
    Mail(MailId),
    /// A request.
    Request(RequestId),
}

impl From<PrincipalId> for Subject {
    fn from(id: PrincipalId) -> Self {
        match id {
            PrincipalId::Workload(id) => Self::Workload(id),
            PrincipalId::Operator(id) => Self::Operator(id),
        }
    }
}

/// One canonical form: digits without a leading zero or sign.
fn numbered(id: &str, number: &str) -> Option<Subject> {
    let id = id.parse().ok()?;
    let parsed: u64 = number.parse().ok()?;
    (parsed.to_string() == number).then_some(Subject::Numbered(id, parsed))
}

impl fmt::Debug for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Serialize for Subject {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}
