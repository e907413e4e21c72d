//! In which form a release is answered: JSON, or the same document encrypted to the recipient that
//! is registered for the workload.

use super::Vault;
use super::caller::Caller;
use super::error::VaultError;
use crate::crypto::{AgeWriter, Recipient};
use crate::model::Principal;
use crate::secret::Secret;

/// The form of an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// JSON, readable by whoever holds the connection.
    Json,
    /// A binary age file (c2sp.org/age) for the recipient registered for the workload.
    Age,
}

impl Caller {
    /// The age recipient registered for the workload.
    pub fn age_recipient(&self) -> Option<&str> {
        match &self.principal {
            Principal::Workload { age_recipient, .. } => age_recipient.as_deref(),
            Principal::Operator { .. } => None,
        }
    }
}

/// What stands in an ETag for the form: whoever holds JSON, or a file for another recipient, does not
/// hold this one.
pub(super) fn form_of(caller: &Caller, form: Form) -> &str {
    match form {
        Form::Json => "json",
        Form::Age => caller.age_recipient().unwrap_or_default(),
    }
}

/// Writes an answer in its form, piece by piece.
pub(super) enum Output {
    Json,
    Age(Box<AgeWriter>),
}

impl Output {
    pub fn begin(caller: &Caller, form: Form) -> Result<Self, VaultError> {
        match form {
            Form::Json => Ok(Self::Json),
            Form::Age => {
                let recipient = caller.age_recipient().ok_or(VaultError::NoRecipient)?;
                let recipient = Recipient::parse(recipient)
                    .map_err(|_| VaultError::Internal("a registered age recipient is none"))?;
                let writer = AgeWriter::begin(&recipient).map_err(failed)?;
                Ok(Self::Age(Box::new(writer)))
            }
        }
    }

    /// What of the answer is ready after this piece; may be nothing.
    pub fn piece(&mut self, plaintext: Secret) -> Result<Vec<u8>, VaultError> {
        match self {
            Self::Json => Ok(plaintext.into_bytes()),
            Self::Age(writer) => writer.write(plaintext.expose_secret()).map_err(failed),
        }
    }

    /// The end of the answer after its last piece. An age file without it does not decrypt.
    pub fn end(self, plaintext: Secret) -> Result<Vec<u8>, VaultError> {
        match self {
            Self::Json => Ok(plaintext.into_bytes()),
            Self::Age(writer) => writer.finish(plaintext.expose_secret()).map_err(failed),
        }
    }
}

fn failed(_: crate::crypto::AgeWriteError) -> VaultError {
    VaultError::Internal("an answer could not be encrypted")
}

impl Vault {
    /// Refuses a form that the caller cannot have; spends the request's assertion then.
    pub(super) async fn check_form(&self, caller: &Caller, form: Form) -> Result<(), VaultError> {
        if form == Form::Json || caller.age_recipient().is_some() {
            return Ok(());
        }
        self.spend(caller).await?;
        Err(VaultError::NoRecipient)
    }
}
