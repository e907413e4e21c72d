//! The tables of the audit logs. What a record says and how the tree grows is `audit`'s business;
//! here are the rows, the head with its lease, and the ways to look records up.

use super::error::StoreError;
use super::tx::{RowsInsert, Tx, on, one};
use crate::model::Timestamp;

/// The head of one node's log.
#[derive(Clone, sqlx::FromRow)]
#[expect(missing_docs, reason = "the columns of the table")]
pub struct AuditLogRow {
    pub node: String,
    pub epoch: i64,
    pub size: i64,
    pub frontier: Vec<u8>,
    pub checkpoint: String,
    pub signed_size: i64,
    pub holder: Option<String>,
    pub lease_until: Timestamp,
}

/// A record to be appended.
#[expect(missing_docs, reason = "the columns of the table")]
pub struct NewAuditRow {
    pub seq: i64,
    pub at: Timestamp,
    pub kind: &'static str,
    pub actor: Option<String>,
    pub subject: Option<String>,
    pub leaf: [u8; 32],
    pub record: Vec<u8>,
}

/// A stored record.
#[derive(Clone, sqlx::FromRow)]
#[expect(missing_docs, reason = "the columns of the table")]
pub struct AuditRow {
    pub node: String,
    pub epoch: i64,
    pub seq: i64,
    pub leaf: Vec<u8>,
    pub record: Vec<u8>,
}

/// A signed head.
#[derive(Clone, sqlx::FromRow)]
#[expect(missing_docs, reason = "the columns of the table")]
pub struct CheckpointRow {
    pub size: i64,
    pub at: Timestamp,
    pub note: String,
}

/// Another process holds the log's lease, or the head moved: nothing may be appended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("another process holds the audit log of this node")]
pub struct LeaseLost;

/// Which records to list; absent means any.
#[derive(Clone, Debug, Default)]
pub struct AuditFilter {
    /// Who acted: an id.
    pub actor: Option<String>,
    /// What it was about: an id. Records about many subjects are included for the caller to look
    /// into, because their subjects are only in the record.
    pub subject: Option<String>,
    /// The kind of record.
    pub kind: Option<String>,
    /// Not before this moment.
    pub since: Option<Timestamp>,
    /// Before this moment.
    pub until: Option<Timestamp>,
}

impl Tx {
    /// Starts a log.
    ///
    /// # Errors
    /// [`StoreError::Taken`] when it exists.
    pub async fn insert_audit_log(&mut self, row: &AuditLogRow) -> Result<(), StoreError> {
        const SQL: &str = "INSERT INTO audit_logs
                (node, epoch, size, frontier, checkpoint, signed_size, holder, lease_until)
            VALUES ($1, $2, $3, $4, $5, $6, $7, $8)";
        on!(self, conn => {
            sqlx::query::<Db>(SQL).bind(row.node.clone()).bind(row.epoch).bind(row.size)
                .bind(row.frontier.clone()).bind(row.checkpoint.clone()).bind(row.signed_size)
                .bind(row.holder.clone()).bind(row.lease_until).execute(conn).await?;
        });
        Ok(())
    }

    /// The newest epoch of a node's log.
    ///
    /// # Errors
    /// The database is not available.
    pub async fn audit_log(&mut self, node: &str) -> Result<Option<AuditLogRow>, StoreError> {
        const SQL: &str = "SELECT * FROM audit_logs WHERE node = $1 ORDER BY epoch DESC LIMIT 1";
        Ok(on!(self, conn => {
            sqlx::query_as::<Db, _>(SQL).bind(node.to_owned()).fetch_optional(conn).await?
        }))
    }

    /// Every log.
    ///
    /// # Errors
    /// The database is not available.
    pub async fn audit_logs(&mut self) -> Result<Vec<AuditLogRow>, StoreError> {
        const SQL: &str = "SELECT * FROM audit_logs ORDER BY node, epoch";
        Ok(on!(self, conn => sqlx::query_as::<Db, _>(SQL).fetch_all(conn).await?))
    }

    /// Takes, or keeps, the right to append for the process `holder` until `until`. `false` when
    /// another process has it.
    ///
    /// # Errors
    /// The database is not available.
    pub async fn lease_audit_log(
        &mut self,
        node: &str,
        epoch: i64,
        holder: &str,
        now: Timestamp,
        until: Timestamp,
    ) -> Result<bool, StoreError> {
        const SQL: &str = "UPDATE audit_logs SET holder = $1, lease_until = $2
            WHERE node = $3 AND epoch = $4
              AND (holder IS NULL OR holder = $1 OR lease_until < $5)";
        let rows = on!(self, conn => {
            sqlx::query::<Db>(SQL).bind(holder.to_owned()).bind(until).bind(node.to_owned())
                .bind(epoch).bind(now).execute(conn).await?.rows_affected()
        });
        Ok(one(rows))
    }

    /// Gives the right to append up.
    ///
    /// # Errors
    /// The database is not available.
    pub async fn release_audit_log(&mut self, node: &str, holder: &str) -> Result<(), StoreError> {
        const SQL: &str = "UPDATE audit_logs SET holder = NULL WHERE node = $1 AND holder = $2";
        on!(self, conn => {
            sqlx::query::<Db>(SQL).bind(node.to_owned()).bind(holder.to_owned())
                .execute(conn).await?;
        });
        Ok(())
    }

    /// Appends records and moves the head from `old_size`. The head's row is the lock: a process that
    /// lost its lease, or that has another idea of the size, appends nothing.
    ///
    /// # Errors
    /// The database is not available; the inner error when the lease is lost.
    pub async fn append_audit_records(
        &mut self,
        head: &AuditLogRow,
        old_size: i64,
        rows: &[NewAuditRow],
    ) -> Result<Result<(), LeaseLost>, StoreError> {
        const HEAD: &str = "UPDATE audit_logs
            SET size = $1, frontier = $2, checkpoint = $3, signed_size = $4, lease_until = $5
            WHERE node = $6 AND epoch = $7 AND size = $8 AND holder = $9";
        let moved = on!(self, conn => {
            sqlx::query::<Db>(HEAD).bind(head.size).bind(head.frontier.clone())
                .bind(head.checkpoint.clone()).bind(head.signed_size).bind(head.lease_until)
                .bind(head.node.clone()).bind(head.epoch).bind(old_size)
                .bind(head.holder.clone()).execute(conn).await?.rows_affected()
        });
        if !one(moved) {
            return Ok(Err(LeaseLost));
        }
        static INSERT: RowsInsert = RowsInsert::new(
            "INSERT INTO audit_records
                (node, epoch, seq, at, kind, actor, subject, leaf, record) VALUES",
            9,
            "",
        );
        on!(self, conn => {
            for (sql, chunk) in INSERT.chunks::<Db, _>(rows) {
                let mut query = sqlx::query::<Db>(sql);
                for row in chunk {
                    query = query.bind(head.node.as_str()).bind(head.epoch).bind(row.seq)
                        .bind(row.at).bind(row.kind).bind(row.actor.as_deref())
                        .bind(row.subject.as_deref()).bind(&row.leaf[..]).bind(&row.record[..]);
                }
                query.execute(&mut *conn).await?;
            }
        });
        Ok(Ok(()))
    }

    /// Keeps a signed head.
    ///
    /// # Errors
    /// [`StoreError::Taken`] when this size has one.
    pub async fn insert_checkpoint(
        &mut self,
        node: &str,
        epoch: i64,
        row: &CheckpointRow,
    ) -> Result<(), StoreError> {
        const SQL: &str = "INSERT INTO audit_checkpoints (node, epoch, size, at, note)
            VALUES ($1, $2, $3, $4, $5)";
        on!(self, conn => {
            sqlx::query::<Db>(SQL).bind(node.to_owned()).bind(epoch).bind(row.size).bind(row.at)
                .bind(row.note.clone()).execute(conn).await?;
        });
        Ok(())
    }

    /// Signed heads of a log whose size is above `after`, smallest first.
    ///
    /// # Errors
    /// The database is not available.
    pub async fn checkpoints(
        &mut self,
        node: &str,
        epoch: i64,
        after: i64,
        limit: i64,
    ) -> Result<Vec<CheckpointRow>, StoreError> {
        const SQL: &str = "SELECT size, at, note FROM audit_checkpoints
            WHERE node = $1 AND epoch = $2 AND size > $3 ORDER BY size LIMIT $4";
        Ok(on!(self, conn => {
            sqlx::query_as::<Db, _>(SQL).bind(node.to_owned()).bind(epoch).bind(after).bind(limit)
                .fetch_all(conn).await?
        }))
    }

    /// Records of one log from `from` on, in their order.
    ///
    /// # Errors
    /// The database is not available.
    pub async fn audit_records(
        &mut self,
        node: &str,
        epoch: i64,
        from: i64,
        limit: i64,
    ) -> Result<Vec<AuditRow>, StoreError> {
        const SQL: &str = "SELECT node, epoch, seq, leaf, record FROM audit_records
            WHERE node = $1 AND epoch = $2 AND seq >= $3 ORDER BY seq LIMIT $4";
        Ok(on!(self, conn => {
            sqlx::query_as::<Db, _>(SQL).bind(node.to_owned()).bind(epoch).bind(from).bind(limit)
                .fetch_all(conn).await?
        }))
    }

    /// Records of every log, newest first, strictly before the cursor: time, node, epoch and seq of
    /// the last one seen.
    ///
    /// # Errors
    /// The database is not available.
    pub async fn find_audit_records(
        &mut self,
        filter: &AuditFilter,
        before: Option<(Timestamp, String, i64, i64)>,
        limit: i64,
    ) -> Result<Vec<(Timestamp, AuditRow)>, StoreError> {
        // One text for each way of looking, because an index is used only for a plain comparison.
        macro_rules! select {
            ($which:literal) => {
                concat!(
                    "SELECT at, node, epoch, seq, leaf, record FROM audit_records
                    WHERE at >= $1 AND at < $2 AND at <= $3
                      AND (at < $3 OR node < $4 OR (node = $4 AND epoch < $5)
                           OR (node = $4 AND epoch = $5 AND seq < $6))
                      AND ($7 IS NULL OR kind = $7) AND ",
                    $which,
                    " ORDER BY at DESC, node DESC, epoch DESC, seq DESC LIMIT $10"
                )
            };
        }
        const ALL: &str = select!("$8 IS NULL AND $9 IS NULL");
        const BY_ACTOR: &str = select!("actor = $8 AND $9 IS NULL");
        const BY_SUBJECT: &str = select!("($8 IS NULL OR actor = $8) AND subject = $9");
        const BUNDLES: &str = select!(
            "($8 IS NULL OR actor = $8) AND $9 IS NOT NULL
             AND subject IS NULL AND kind = 'release.intent'"
        );
        let texts: &[&'static str] = match (&filter.actor, &filter.subject) {
            (None, None) => &[ALL],
            (Some(_), None) => &[BY_ACTOR],
            (_, Some(_)) => &[BY_SUBJECT, BUNDLES],
        };
        #[derive(sqlx::FromRow)]
        struct Row {
            at: Timestamp,
            #[sqlx(flatten)]
            row: AuditRow,
        }
        let most = Timestamp::from_micros(i64::MAX);
        let (at, node, epoch, seq) = before.unwrap_or_else(|| (most, String::new(), 0, 0));
        let mut rows: Vec<Row> = Vec::new();
        on!(self, conn => {
            for sql in texts {
                rows.extend(
                    sqlx::query_as::<Db, Row>(*sql)
                        .bind(filter.since.unwrap_or(Timestamp::from_micros(0)))
                        .bind(filter.until.unwrap_or(most)).bind(at).bind(node.clone())
                        .bind(epoch).bind(seq).bind(filter.kind.clone())
                        .bind(filter.actor.clone()).bind(filter.subject.clone())
                        .bind(limit).fetch_all(&mut *conn).await?,
                );
            }
        });
        let place = |row: &Row| (row.at, row.row.node.clone(), row.row.epoch, row.row.seq);
        rows.sort_by_key(|row| std::cmp::Reverse(place(row)));
        rows.truncate(usize::try_from(limit).unwrap_or(0));
        Ok(rows.into_iter().map(|row| (row.at, row.row)).collect())
    }
}
