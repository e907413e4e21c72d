//! The one counter that says whether what a node remembers may still be used.

use super::error::StoreError;
use super::tx::{Inner, Tx, on};

impl Tx {
    /// Counts one change and says which subjects (ids) it touched. On PostgreSQL the updated row is
    /// locked until the commit, so generations are committed in their order.
    ///
    /// # Errors
    /// The database is not available.
    pub async fn bump_policy(&mut self, subjects: &[String]) -> Result<i64, StoreError> {
        const BUMP: &str = "UPDATE policy_generation SET generation = generation + 1
            WHERE only_row = 1 RETURNING generation";
        // A counter that was put back meets what it listed before.
        const CHANGE: &str = "INSERT INTO policy_changes (generation, subject) VALUES ($1, $2)
            ON CONFLICT DO NOTHING";
        on!(self, conn => {
            let generation: i64 = sqlx::query_scalar::<Db, _>(BUMP).fetch_one(&mut *conn).await?;
            for subject in subjects {
                sqlx::query::<Db>(CHANGE).bind(generation).bind(subject.clone())
                    .execute(&mut *conn).await?;
            }
            Ok(generation)
        })
    }

    /// Keeps other nodes from changing anything until this transaction ends.
    ///
    /// # Errors
    /// The database is not available.
    pub async fn lock_policy(&mut self) -> Result<(), StoreError> {
        const SQL: &str = "UPDATE policy_generation SET generation = generation WHERE only_row = 1";
        on!(self, conn => { sqlx::query::<Db>(SQL).execute(conn).await?; });
        Ok(())
    }

    /// Keeps other nodes from changing anything until this transaction ends, but not from releasing.
    /// On SQLite there is no other node.
    ///
    /// # Errors
    /// The database is not available.
    pub async fn hold_policy(&mut self) -> Result<(), StoreError> {
        const SQL: &str = "SELECT generation FROM policy_generation WHERE only_row = 1 FOR SHARE";
        if let Inner::Postgres(tx) = &mut self.inner {
            sqlx::query(SQL).execute(&mut **tx).await?;
        }
        Ok(())
    }

    /// The current generation.
    ///
    /// # Errors
    /// The database is not available.
    pub async fn policy_generation(&mut self) -> Result<i64, StoreError> {
        const SQL: &str = "SELECT generation FROM policy_generation WHERE only_row = 1";
        Ok(on!(self, conn => sqlx::query_scalar::<Db, _>(SQL).fetch_one(conn).await?))
    }

    /// The subjects changed after generation `after`, or `None` when they are too many, or too long
    /// ago to be still listed: then everything has to be forgotten.
    ///
    /// # Errors
    /// The database is not available.
    pub async fn policy_changes_since(
        &mut self,
        after: i64,
    ) -> Result<Option<Vec<String>>, StoreError> {
        const MOST: usize = 4096;
        const SQL: &str = "SELECT generation, subject FROM policy_changes
            WHERE generation > $1 ORDER BY generation LIMIT $2";
        const OLDEST: &str = "SELECT MIN(generation) FROM policy_changes";
        let limit = i64::try_from(MOST + 1).unwrap_or(i64::MAX);
        let (oldest, rows): (Option<i64>, Vec<(i64, String)>) = on!(self, conn => (
            sqlx::query_scalar::<Db, _>(OLDEST).fetch_one(&mut *conn).await?,
            sqlx::query_as::<Db, _>(SQL).bind(after).bind(limit).fetch_all(&mut *conn).await?,
        ));
        let complete = oldest.is_some_and(|oldest| oldest <= after + 1) && rows.len() <= MOST;
        Ok(complete.then(|| rows.into_iter().map(|(_, subject)| subject).collect()))
    }

    /// Forgets the list of changes up to `generation`.
    ///
    /// # Errors
    /// The database is not available.
    pub async fn prune_policy_changes(&mut self, generation: i64) -> Result<u64, StoreError> {
        const SQL: &str = "DELETE FROM policy_changes WHERE generation <= $1";
        Ok(on!(self, conn => {
            sqlx::query::<Db>(SQL).bind(generation).execute(conn).await?.rows_affected()
        }))
    }
}
