//! The backups that were taken.

use super::error::StoreError;
use super::stored::Stored;
use super::tag::{Fields, Tagged};
use super::tx::{Inner, Page, Tx, on, one};
use crate::model::{BackupId, Timestamp};

/// A backup as stored.
#[derive(Clone, Debug, sqlx::FromRow)]
#[expect(missing_docs, reason = "the columns of the table")]
pub struct BackupRow {
    pub id: BackupId,
    pub taken_at: Timestamp,
    pub recipients: String,
    pub keep_until: Option<Timestamp>,
    pub finished_at: Option<Timestamp>,
    pub size: Option<i64>,
    pub sha256: Option<Vec<u8>>,
    pub mac: Vec<u8>,
}

impl Tagged for BackupRow {
    const TABLE: &'static str = "backups";

    fn fields(&self, fields: &mut Fields) {
        fields
            .text(self.id)
            .time(self.taken_at)
            .text(&self.recipients)
            .opt_time(self.keep_until)
            .opt_time(self.finished_at)
            .opt_text(self.size)
            .opt_bytes(self.sha256.as_deref());
    }

    fn mac(&self) -> &[u8] {
        &self.mac
    }

    fn set_mac(&mut self, mac: Vec<u8>) {
        self.mac = mac;
    }

    fn name(&self) -> String {
        self.id.to_string()
    }
}

impl Tx {
    /// Lets PostgreSQL look at what was just written. Without statistics it plans the first bundles of a
    /// large deployment as if the tables were small, until autovacuum has been there. SQLite plans by
    /// its indexes alone.
    ///
    /// # Errors
    /// The database is not available.
    pub async fn gather_statistics(&mut self) -> Result<(), StoreError> {
        if let Inner::Postgres(tx) = &mut self.inner {
            sqlx::query("ANALYZE").execute(&mut **tx).await?;
        }
        Ok(())
    }

    /// Adds a backup that is about to be taken.
    ///
    /// # Errors
    /// The database is not available.
    pub async fn insert_backup(&mut self, mut row: BackupRow) -> Result<BackupRow, StoreError> {
        const SQL: &str = "INSERT INTO backups
                (id, taken_at, recipients, keep_until, finished_at, size, sha256, mac)
            VALUES ($1, $2, $3, $4, $5, $6, $7, $8)";
        self.tag(&mut row);
        on!(self, conn => {
            sqlx::query::<Db>(SQL).bind(row.id).bind(row.taken_at).bind(row.recipients.clone())
                .bind(row.keep_until).bind(row.finished_at).bind(row.size)
                .bind(row.sha256.clone()).bind(row.mac.clone()).execute(conn).await?;
        });
        Ok(row)
    }

    /// Notes that a backup was taken to its end; `false` when it is not there or was finished.
    ///
    /// # Errors
    /// The database is not available.
    pub async fn finish_backup(&mut self, row: &mut BackupRow) -> Result<bool, StoreError> {
        const SQL: &str = "UPDATE backups SET finished_at = $1, size = $2, sha256 = $3, mac = $4
            WHERE id = $5 AND finished_at IS NULL";
        self.tag(row);
        let rows = on!(self, conn => {
            sqlx::query::<Db>(SQL).bind(row.finished_at).bind(row.size).bind(row.sha256.clone())
                .bind(row.mac.clone()).bind(row.id).execute(conn).await?.rows_affected()
        });
        Ok(one(rows))
    }

    /// The backup with this id.
    ///
    /// # Errors
    /// The database is not available.
    pub async fn backup(&mut self, id: BackupId) -> Result<Option<BackupRow>, StoreError> {
        const SQL: &str = "SELECT * FROM backups WHERE id = $1";
        let row: Option<Stored<BackupRow>> =
            on!(self, conn => sqlx::query_as::<Db, _>(SQL).bind(id).fetch_optional(conn).await?);
        Ok(row.and_then(|row| self.stored(row)))
    }

    /// Backups after the id `after`, in the order of their ids, which is that of their times.
    ///
    /// # Errors
    /// The database is not available.
    pub async fn backups(
        &mut self,
        after: &str,
        limit: i64,
    ) -> Result<Page<BackupRow>, StoreError> {
        const SQL: &str = "SELECT * FROM backups WHERE id > $1 ORDER BY id LIMIT $2";
        let rows: Vec<Stored<BackupRow>> = on!(self, conn => {
            sqlx::query_as::<Db, _>(SQL).bind(after.to_owned()).bind(limit + 1)
                .fetch_all(conn).await?
        });
        Ok(self.page(rows, limit))
    }
}
