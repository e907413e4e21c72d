//! The words of the domain as plain types: no I/O, no SQL, no HTTP.
//!
//! A value that has one of these types is already in its canonical form; parsing is the only way
//! to get one from text, so that nothing downstream has to normalise again.

mod credential;
mod ids;
mod intake;
mod mail;
mod names;
mod principal;
mod sql_text;
pub(crate) use credential::words;
pub(crate) use sql_text::sql_text;
mod timestamp;

pub use credential::{
    CredentialKind, ExpirySource, Precision, UnknownWord, Verification, VersionState,
    VersionStateError,
};
pub use ids::{
    AuthorityId, BackupId, ClientId, ContactId, CredentialId, EnrolmentTokenId, EnvironmentId,
    IdError, InviteId, KekId, KeyId, MailId, OperatorId, RequestId, RoleId, ServiceKeyId,
    SubmissionId, TaskId, VerificationId, VersionId, WorkloadId,
};
pub use intake::{
    InviteAnswer, InviteEnd, RunCause, RunOutcome, RunState, Sealing, SubmissionState, TaskKind,
};
pub use mail::{MailFault, MailKind, MailState};
pub use names::{DisplayName, EmailAddress, NameError, Slug};
pub use principal::{
    KeyForm, OperatorRole, Permission, Principal, PrincipalId, PrincipalKind, RoleRef,
};
pub use timestamp::{ParseTimestampError, Timestamp};
