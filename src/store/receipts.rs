//! Which workload was given which version, and which it runs on.

use std::sync::LazyLock;

use super::error::StoreError;
use super::tx::{Inner, Page, RowsInsert, Tx, on, one};
use crate::model::{CredentialId, Timestamp, VersionId, WorkloadId};

/// One delivery, to be added to what is known.
#[derive(Clone, Debug)]
#[expect(missing_docs, reason = "named like the columns they go to")]
pub struct Receipt {
    pub workload: WorkloadId,
    pub version: VersionId,
    pub credential: CredentialId,
    pub number: i64,
    pub at: Timestamp,
}

/// First and last delivery of a version to a workload.
#[derive(Clone, Debug, sqlx::FromRow)]
#[expect(missing_docs, reason = "the columns of the table")]
pub struct ReceiptRow {
    pub workload_id: WorkloadId,
    pub version_id: VersionId,
    pub credential_id: CredentialId,
    pub number: i64,
    pub first_at: Timestamp,
    pub last_at: Timestamp,
    pub in_use_at: Option<Timestamp>,
}

impl Tx {
    /// Adds deliveries: a new pair of workload and version gets a row, a known one a new last time.
    /// No pair may occur twice in `receipts`.
    ///
    /// # Errors
    /// The database is not available.
    pub async fn record_receipts(&mut self, receipts: &[Receipt]) -> Result<(), StoreError> {
        static SQL: RowsInsert = RowsInsert::new(
            "INSERT INTO receipts
                (workload_id, version_id, credential_id, number, first_at, last_at) VALUES",
            6,
            " ON CONFLICT (workload_id, version_id) DO UPDATE SET last_at = excluded.last_at",
        );
        let again;
        let receipts = match self.inner {
            // One process writes, so rows may be locked in any order.
            Inner::Sqlite(_) => {
                again = self.repeat_receipts(receipts).await?;
                &again[..]
            }
            Inner::Postgres(_) => receipts,
        };
        on!(self, conn => {
            for (sql, chunk) in SQL.chunks::<Db, _>(receipts) {
                let mut query = sqlx::query::<Db>(sql);
                for receipt in chunk {
                    query = query.bind(receipt.workload).bind(receipt.version)
                        .bind(receipt.credential).bind(receipt.number)
                        .bind(receipt.at).bind(receipt.at);
                }
                query.execute(&mut *conn).await?;
            }
        });
        Ok(())
    }

    /// Gives known receipts of one workload their new last time, many in one statement that names
    /// each only once: that is what a bundle mostly needs. Returns those that are not known yet, or
    /// are too few for it.
    async fn repeat_receipts(&mut self, receipts: &[Receipt]) -> Result<Vec<Receipt>, StoreError> {
        const MOST: usize = 128;
        static SQL: LazyLock<String> = LazyLock::new(|| {
            let places = vec!["?"; MOST].join(",");
            format!(
                "UPDATE receipts SET last_at = ? WHERE workload_id = ? AND version_id IN ({places})"
            )
        });
        let mut others = Vec::new();
        for of_one in receipts.chunk_by(|a, b| a.workload == b.workload && a.at == b.at) {
            for chunk in of_one.chunks(MOST) {
                let first = &chunk[0];
                if chunk.len() == MOST {
                    let rows = on!(self, conn => {
                        let mut query = sqlx::query::<Db>(SQL.as_str())
                            .bind(first.at).bind(first.workload);
                        for receipt in chunk {
                            query = query.bind(receipt.version);
                        }
                        query.execute(conn).await?.rows_affected()
                    });
                    if usize::try_from(rows) == Ok(MOST) {
                        continue;
                    }
                }
                others.extend_from_slice(chunk);
            }
        }
        Ok(others)
    }

    /// Notes that a workload runs on a version now; `false` when it was never given it.
    ///
    /// # Errors
    /// The database is not available.
    pub async fn mark_in_use(
        &mut self,
        workload: WorkloadId,
        credential: CredentialId,
        number: i64,
        at: Timestamp,
    ) -> Result<bool, StoreError> {
        const SQL: &str = "UPDATE receipts SET in_use_at = $1
            WHERE workload_id = $2 AND credential_id = $3 AND number = $4";
        let rows = on!(self, conn => {
            sqlx::query::<Db>(SQL).bind(at).bind(workload).bind(credential).bind(number)
                .execute(conn).await?.rows_affected()
        });
        Ok(one(rows))
    }

    /// Receipts, of a workload or a credential or all, after the cursor, which is
    /// `<workload id> <version id>`.
    ///
    /// # Errors
    /// The database is not available.
    pub async fn receipts(
        &mut self,
        workload: Option<WorkloadId>,
        credential: Option<CredentialId>,
        after: &str,
        limit: i64,
    ) -> Result<Page<ReceiptRow>, StoreError> {
        const SQL: &str = "SELECT * FROM receipts
            WHERE ($1 IS NULL OR workload_id = $1) AND ($2 IS NULL OR credential_id = $2)
              AND (workload_id > $3 OR (workload_id = $3 AND version_id > $4))
            ORDER BY workload_id, version_id LIMIT $5";
        let (after_workload, after_version) = after.split_once(' ').unwrap_or(("", ""));
        let rows: Vec<ReceiptRow> = on!(self, conn => {
            sqlx::query_as::<Db, _>(SQL).bind(workload).bind(credential)
                .bind(after_workload.to_owned()).bind(after_version.to_owned()).bind(limit + 1)
                .fetch_all(conn).await?
        });
        Ok(Page::cut(rows, limit, |row| {
            format!("{} {}", row.workload_id, row.version_id)
        }))
    }
}
