//! What a consistency proof is made from: the leaves of a log, and the subtrees that are kept.

use super::audit_log::AuditLogRow;
use super::error::StoreError;
use super::tx::{RowsInsert, Tx, on};

/// The root of a complete subtree of `256^level` leaves.
#[expect(missing_docs, reason = "the columns of the table")]
pub struct TileRow {
    pub level: i64,
    pub idx: i64,
    pub hash: [u8; 32],
}

impl Tx {
    /// Keeps the subtrees that the records of this transaction complete. What stands there already
    /// cannot be of this log's head, so it is overwritten.
    ///
    /// # Errors
    /// The database is not available.
    pub async fn keep_audit_tiles(
        &mut self,
        node: &str,
        epoch: i64,
        rows: &[TileRow],
    ) -> Result<(), StoreError> {
        static INSERT: RowsInsert = RowsInsert::new(
            "INSERT INTO audit_tiles (node, epoch, level, idx, hash) VALUES",
            5,
            " ON CONFLICT (node, epoch, level, idx) DO UPDATE SET hash = excluded.hash",
        );
        on!(self, conn => {
            for (sql, chunk) in INSERT.chunks::<Db, _>(rows) {
                let mut query = sqlx::query::<Db>(sql);
                for row in chunk {
                    query = query.bind(node).bind(epoch).bind(row.level).bind(row.idx)
                        .bind(&row.hash[..]);
                }
                query.execute(&mut *conn).await?;
            }
        });
        Ok(())
    }

    /// One log of a node, the newest or an earlier one.
    ///
    /// # Errors
    /// The database is not available.
    pub async fn audit_log_at(
        &mut self,
        node: &str,
        epoch: i64,
    ) -> Result<Option<AuditLogRow>, StoreError> {
        const SQL: &str = "SELECT * FROM audit_logs WHERE node = $1 AND epoch = $2";
        Ok(on!(self, conn => {
            sqlx::query_as::<Db, _>(SQL).bind(node.to_owned()).bind(epoch)
                .fetch_optional(conn).await?
        }))
    }

    /// The hashes of `count` leaves from `first` on, each with its place.
    ///
    /// # Errors
    /// The database is not available.
    pub async fn audit_leaves(
        &mut self,
        node: &str,
        epoch: i64,
        first: i64,
        count: i64,
    ) -> Result<Vec<(i64, Vec<u8>)>, StoreError> {
        const SQL: &str = "SELECT seq, leaf FROM audit_records
            WHERE node = $1 AND epoch = $2 AND seq >= $3 AND seq < $4 ORDER BY seq";
        Ok(on!(self, conn => {
            sqlx::query_as::<Db, _>(SQL).bind(node.to_owned()).bind(epoch).bind(first)
                .bind(first + count).fetch_all(conn).await?
        }))
    }

    /// The roots of `count` subtrees of one level from `first` on, each with its place.
    ///
    /// # Errors
    /// The database is not available.
    pub async fn audit_tiles(
        &mut self,
        node: &str,
        epoch: i64,
        level: u32,
        first: i64,
        count: i64,
    ) -> Result<Vec<(i64, Vec<u8>)>, StoreError> {
        const SQL: &str = "SELECT idx, hash FROM audit_tiles
            WHERE node = $1 AND epoch = $2 AND level = $3 AND idx >= $4 AND idx < $5 ORDER BY idx";
        Ok(on!(self, conn => {
            sqlx::query_as::<Db, _>(SQL).bind(node.to_owned()).bind(epoch).bind(i64::from(level))
                .bind(first).bind(first + count).fetch_all(conn).await?
        }))
    }
}
