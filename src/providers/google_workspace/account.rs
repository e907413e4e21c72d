//! A service account as the client handed it in.

use super::KeyFile;
use crate::model::EmailAddress;
use crate::providers::Fields;
use crate::providers::hint::Hint;
use crate::providers::signing::{Padding, RsaSigner, Signer};

/// A service account and the user that it acts for.
pub(super) struct Account {
    pub email: String,
    pub key_id: String,
    pub user: EmailAddress,
    pub signer: Box<dyn Signer>,
}

impl Account {
    /// Reads fields that keep the rules of the kind.
    ///
    /// # Errors
    /// The private key cannot be used.
    pub(super) fn from_fields(fields: &Fields) -> Result<Self, Hint> {
        let text = fields.text("service_account_key").unwrap_or_default();
        let key: KeyFile<'_> = serde_json::from_str(text).map_err(|_| Hint::KeyFileUnusable)?;
        let signer = RsaSigner::from_pem(key.private_key.as_bytes(), Padding::Pkcs1)
            .map_err(|_| Hint::KeyFileUnusable)?;
        let user = fields.text("delegated_user").unwrap_or_default();
        Ok(Self {
            email: key.client_email.into_owned(),
            key_id: key.private_key_id.into_owned(),
            user: user.parse().map_err(|_| Hint::ShapeInvalid)?,
            signer: Box::new(signer),
        })
    }
}
