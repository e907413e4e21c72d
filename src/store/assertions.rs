//! Assertions that were used: each may be used once, on all nodes together.

use super::error::StoreError;
use super::tx::{Tx, on};
use crate::model::Timestamp;

/// One use of an assertion.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct SpentAssertion {
    /// SHA-256 over issuer and `jti`.
    pub jti: [u8; 32],
    /// From when on it needs not be remembered.
    pub forget_at: Timestamp,
}

impl Tx {
    /// Spends assertions. Returns for each, in the order given, whether it was fresh. They are
    /// inserted in the order of their hashes, so that two nodes cannot wait for each other.
    ///
    /// # Errors
    /// The database is not available.
    pub async fn spend_assertions(
        &mut self,
        assertions: &[SpentAssertion],
    ) -> Result<Vec<bool>, StoreError> {
        const SQL: &str = "INSERT INTO spent_assertions (jti, expires_at) VALUES ($1, $2)
            ON CONFLICT DO NOTHING RETURNING 1";
        let mut order: Vec<usize> = (0..assertions.len()).collect();
        order.sort_unstable_by_key(|index| assertions[*index]);
        let mut fresh = vec![false; assertions.len()];
        on!(self, conn => {
            for index in order {
                let assertion = &assertions[index];
                let row: Option<i32> = sqlx::query_scalar::<Db, _>(SQL)
                    .bind(assertion.jti.to_vec()).bind(assertion.forget_at)
                    .fetch_optional(&mut *conn).await?;
                fresh[index] = row.is_some();
            }
        });
        Ok(fresh)
    }

    /// Forgets at most 10,000 assertions that could not be accepted again anyway; whether there may
    /// be more of them.
    ///
    /// # Errors
    /// The database is not available.
    pub async fn forget_assertions(&mut self, now: Timestamp) -> Result<bool, StoreError> {
        const SQL: &str = "DELETE FROM spent_assertions WHERE jti IN
            (SELECT jti FROM spent_assertions WHERE expires_at < $1 LIMIT 10000)";
        let rows = on!(self, conn => {
            sqlx::query::<Db>(SQL).bind(now).execute(conn).await?.rows_affected()
        });
        Ok(rows == 10_000)
    }
}
