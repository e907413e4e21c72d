//! Why an operation of the vault was not carried out. Every variant says what its caller may be told;
//! none holds received text.

use std::borrow::Cow;

use crate::model::Permission;
use crate::store::StoreError;

/// A field that breaks a rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FieldError {
    /// The path of the field in the request, such as `fields.client_secret`.
    pub field: Cow<'static, str>,
    /// The rule, and what to do.
    pub rule: Cow<'static, str>,
}

/// Why an operation was not carried out. Nothing was changed.
#[derive(Debug, thiserror::Error)]
pub enum VaultError {
    /// The proof of identity does not stand (any more).
    #[error("the proof of identity does not stand")]
    Unauthenticated,
    /// The operator is known but may not do this.
    #[error("this needs the permission {}", .0.as_str())]
    Forbidden(Permission),
    /// It is not there, or the caller may not know that it is.
    #[error("not found")]
    NotFound,
    /// Fields break rules.
    #[error("the request breaks a rule")]
    Invalid(Vec<FieldError>),
    /// The request does not fit the present state; the text says what to do.
    #[error("{0}")]
    Conflict(&'static str),
    /// An answer encrypted with age was asked for, and no recipient is registered for the caller.
    #[error("no age recipient is registered for the caller")]
    NoRecipient,
    /// A renewal was not asked for with the certificate that is to be renewed.
    #[error("a renewal needs the certificate that is to be renewed")]
    NotRenewable,
    /// The resource has another revision than the caller knew.
    #[error("the resource has changed since it was read")]
    Changed,
    /// Nothing is released until an operator ends the freeze.
    #[error("the deployment is frozen")]
    Frozen,
    /// Something that is needed is not available now; trying again later is right.
    #[error("not available: {0}")]
    Unavailable(&'static str),
    /// A defect, or data that the service cannot have written.
    #[error("internal error: {0}")]
    Internal(&'static str),
}

impl VaultError {
    /// One broken rule.
    pub fn invalid(
        field: impl Into<Cow<'static, str>>,
        rule: impl Into<Cow<'static, str>>,
    ) -> Self {
        Self::Invalid(vec![FieldError {
            field: field.into(),
            rule: rule.into(),
        }])
    }
}

impl From<StoreError> for VaultError {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Unavailable(what) => Self::Unavailable(what),
            StoreError::Disk => Self::Unavailable("disk"),
            // Callers that can be told what is taken catch this before it gets here.
            StoreError::Taken => Self::Conflict("another record has this name or value already"),
            StoreError::Missing => Self::Conflict("something that this refers to does not exist"),
            StoreError::Corrupt => Self::Internal("stored data is damaged"),
            StoreError::Defect => Self::Internal("a statement was refused"),
        }
    }
}

impl From<crate::random::RandomError> for VaultError {
    fn from(_: crate::random::RandomError) -> Self {
        Self::Unavailable("randomness")
    }
}

impl From<crate::crypto::SealError> for VaultError {
    fn from(_: crate::crypto::SealError) -> Self {
        Self::Internal("sealing failed")
    }
}

impl From<crate::crypto::OpenError> for VaultError {
    fn from(_: crate::crypto::OpenError) -> Self {
        Self::Internal("a sealed record could not be opened")
    }
}
