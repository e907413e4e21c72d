//! The way back in when no operator of tech-ops can prove who they are any more.
//!
//! Whoever can open the root key can read everything anyway; so that key, and nothing less, is what
//! this rests on.

use std::sync::Arc;

use super::Vault;
use super::error::VaultError;
use super::initialise::{Bootstrapped, FirstKey, NewTechOps};
use super::issue::IssuingAuthority;
use super::memory::EVERYTHING;
use super::recorder::Changed;
use crate::audit::Kind;
use crate::model::DisplayName;

impl Vault {
    /// Enrols one more operator of tech-ops with a first key, and records that it was done in this
    /// way. Nobody else is touched: whose key was lost is disabled afterwards, by the new operator.
    ///
    /// # Errors
    /// The key cannot be used, or the name or the key is registered; see [`VaultError`].
    pub async fn recover_operator(
        self: &Arc<Self>,
        name: DisplayName,
        key: FirstKey<'_>,
    ) -> Result<Bootstrapped, VaultError> {
        let now = self.clock.now();
        let (row, issuer) = self.own_issuer().await?;
        let own = IssuingAuthority {
            id: row.id,
            accept_until: row.accept_until,
            issuer: &issuer,
        };
        let operator = NewTechOps::make(name, &key, &own, now, self.random.as_ref())?;
        let done = operator.known_by(&issuer);
        self.change_by_itself(move |tx| {
            Box::pin(async move {
                let records = operator.records(Kind::OperatorRecovered).into();
                operator.insert(tx).await?;
                Ok(Changed {
                    value: (),
                    records,
                    subjects: vec![EVERYTHING.to_owned()],
                })
            })
        })
        .await?;
        Ok(done)
    }
}
