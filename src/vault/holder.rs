//! Whose a key, a certificate or a token is: a workload or an operator, as far as both are alike.

use super::error::VaultError;
use crate::model::{PrincipalId, Timestamp};
use crate::store::{StoreError, Tx};

/// A workload or an operator.
pub(super) struct Holder {
    /// The name.
    pub name: String,
    /// Since when they may do nothing.
    pub disabled_at: Option<Timestamp>,
}

impl Holder {
    /// Whether they may do what they are entitled to.
    pub const fn is_enabled(&self) -> bool {
        self.disabled_at.is_none()
    }
}

/// The holder with this id, if there is one.
///
/// # Errors
/// The database is not available.
pub(super) async fn holder(tx: &mut Tx, id: PrincipalId) -> Result<Option<Holder>, StoreError> {
    Ok(match id {
        PrincipalId::Workload(id) => tx.workload(id).await?.map(|row| Holder {
            name: row.name.to_string(),
            disabled_at: row.disabled_at,
        }),
        PrincipalId::Operator(id) => tx.operator(id).await?.map(|row| Holder {
            name: row.name.to_string(),
            disabled_at: row.disabled_at,
        }),
    })
}

/// The holder with this id, who has to be there.
///
/// # Errors
/// [`VaultError::NotFound`] when they are not.
pub(super) async fn known_holder(tx: &mut Tx, id: PrincipalId) -> Result<Holder, VaultError> {
    holder(tx, id).await?.ok_or(VaultError::NotFound)
}
