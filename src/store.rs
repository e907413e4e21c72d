//! The only place that knows SQL, and that there are two databases.
//!
//! One SQL text serves both: `$1` parameters, text ids, 64-bit integers for times, no booleans.
//! Everything is a method of [`Tx`]; [`Database::read`] gives one for reading,
//! [`Database::write`] one that holds the right to write.
//!
//! Rows of the registry carry a keyed tag ([`tag`]). A row whose tag does not fit is treated as
//! absent and reported ([`tag::Refusals`]); no method returns such a row.

mod assertions;
mod audit_log;
mod audit_tiles;
mod authorities;
mod backups;
mod bundle;
mod clients;
mod credentials;
mod daily;
mod database;
mod deployment;
mod deployment_state;
mod enrolment;
mod erasures;
mod error;
mod invites;
mod issued;
#[cfg(test)]
mod journal;
mod mails;
mod names;
mod policy;
mod portable;
mod principals;
mod receipts;
mod recipients;
mod revocation_lists;
mod stored;
mod submissions;
pub mod tag;
mod tasks;
mod tx;
mod verifications;
mod versions;
mod wraps;

pub use assertions::SpentAssertion;
pub use audit_log::{AuditFilter, AuditLogRow, AuditRow, CheckpointRow, LeaseLost, NewAuditRow};
pub use audit_tiles::TileRow;
pub use authorities::{AuthorityOrigin, AuthorityRow};
pub use backups::BackupRow;
pub use bundle::{BundleEntry, SealedRow};
pub use clients::{ClientRow, ContactRole, ContactRow};
pub use credentials::{CredentialFilter, CredentialRow};
pub use daily::UncheckedRow;
pub use database::{Database, OpenError, Schema, ServerFacts, sqlite_path};
pub use deployment::{DeploymentRow, RootKeyRow, ServiceKeyRow};
pub use deployment_state::{DeploymentStateRow, PendingRevocationRow};
pub use enrolment::EnrolmentTokenRow;
pub use erasures::{Destroyed, ErasureRow};
pub use error::StoreError;
pub use invites::InviteRow;
pub use issued::{IssuedRow, OwnListRow, RevocationReason};
pub use mails::{MailFilter, MailRow};
pub use names::{EnvironmentRow, RoleRow};
pub use portable::{Column, ColumnType, Table, Value};
pub use principals::{KeyRow, OperatorRow, WorkloadRow};
pub use receipts::{Receipt, ReceiptRow};
pub use recipients::RootRecipientRow;
pub use revocation_lists::RevocationListRow;
pub use submissions::SubmissionRow;
pub use tasks::TaskRow;
pub use tx::{Page, Tx};
pub use verifications::{ClaimOfRun, VerificationRow};
pub use versions::{FingerprintRow, VersionRow};
pub use wraps::{BoundWrapRow, KekRow, WrapRow};
