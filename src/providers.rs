//! What each kind of credential consists of: one file per kind.
//!
//! Here fields are only checked for their shape; nothing is asked of a provider.

mod fields;
mod generic;
mod google_workspace;
mod microsoft365;

pub use fields::{FieldProblem, Fields, FieldsError};

use crate::model::CredentialKind;

/// Checks the fields of a credential against its kind. Every broken rule is named at once.
pub fn check(kind: CredentialKind, fields: &Fields) -> Vec<FieldProblem> {
    match kind {
        CredentialKind::Microsoft365 => microsoft365::check(fields),
        CredentialKind::GoogleWorkspace => google_workspace::check(fields),
        CredentialKind::Generic => generic::check(fields),
    }
}

/// Whether the value of a field is a secret. Only those get a fingerprint; identifiers repeat.
pub fn is_secret(kind: CredentialKind, field: &str) -> bool {
    match kind {
        CredentialKind::Microsoft365 => microsoft365::SECRETS.contains(&field),
        CredentialKind::GoogleWorkspace => google_workspace::SECRETS.contains(&field),
        CredentialKind::Generic => true,
    }
}
