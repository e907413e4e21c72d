//! Whether the deployment releases values, and what a restore left to be confirmed.

use super::error::StoreError;
use super::stored::Stored;
use super::tag::{Fields, Tagged, Tagger};
use super::tx::{Tx, on, one};
use crate::model::Timestamp;

/// The one row of the deployment's state.
#[derive(Clone, Debug, sqlx::FromRow)]
#[expect(missing_docs, reason = "the columns of the table")]
pub struct DeploymentStateRow {
    /// Audit logs that begin after this row was written begin with this epoch.
    pub epoch: i64,
    /// Assertions that were issued before this moment are refused.
    pub assertions_not_before: Timestamp,
    /// Since when nothing is released.
    pub frozen_since: Option<Timestamp>,
    pub restored_at: Option<Timestamp>,
    /// The moment whose state was restored.
    pub taken_at: Option<Timestamp>,
    /// SHA-256 of the manifest of the backup that was restored.
    pub manifest: Option<Vec<u8>>,
    /// How many records were known to exist and were not in the backup.
    pub lost_records: i64,
    /// How many revocations wait to be confirmed. Rows that are missing let nobody in.
    pub pending_revocations: i64,
    pub revision: i64,
    pub mac: Vec<u8>,
}

impl DeploymentStateRow {
    /// The state of a new deployment.
    pub fn new() -> Self {
        Self {
            epoch: 0,
            assertions_not_before: Timestamp::from_micros(0),
            frozen_since: None,
            restored_at: None,
            taken_at: None,
            manifest: None,
            lost_records: 0,
            pending_revocations: 0,
            revision: 1,
            mac: Vec::new(),
        }
    }
}

impl Default for DeploymentStateRow {
    fn default() -> Self {
        Self::new()
    }
}

impl Tagged for DeploymentStateRow {
    const TABLE: &'static str = "deployment_state";

    fn fields(&self, fields: &mut Fields) {
        fields
            .int(self.epoch)
            .time(self.assertions_not_before)
            .opt_time(self.frozen_since)
            .opt_time(self.restored_at)
            .opt_time(self.taken_at)
            .opt_bytes(self.manifest.as_deref())
            .int(self.lost_records)
            .int(self.pending_revocations)
            .int(self.revision);
    }

    fn mac(&self) -> &[u8] {
        &self.mac
    }

    fn set_mac(&mut self, mac: Vec<u8>) {
        self.mac = mac;
    }

    fn name(&self) -> String {
        String::new()
    }
}

/// A revocation that was made after the backup that was restored.
#[derive(Clone, Debug, sqlx::FromRow)]
#[expect(missing_docs, reason = "the columns of the table")]
pub struct PendingRevocationRow {
    pub node: String,
    pub epoch: i64,
    pub seq: i64,
    pub at: Timestamp,
    pub kind: String,
    /// Ids, separated by spaces.
    pub subjects: String,
    /// What else the record said, as a JSON object.
    pub detail: String,
    pub settled_at: Option<Timestamp>,
    pub outcome: Option<String>,
    pub mac: Vec<u8>,
}

impl Tagged for PendingRevocationRow {
    const TABLE: &'static str = "pending_revocations";

    fn fields(&self, fields: &mut Fields) {
        fields
            .text(&self.node)
            .int(self.epoch)
            .int(self.seq)
            .time(self.at)
            .text(&self.kind)
            .text(&self.subjects)
            .text(&self.detail)
            .opt_time(self.settled_at)
            .opt_text(self.outcome.as_deref());
    }

    fn mac(&self) -> &[u8] {
        &self.mac
    }

    fn set_mac(&mut self, mac: Vec<u8>) {
        self.mac = mac;
    }

    fn name(&self) -> String {
        format!("{} {} {}", self.node, self.epoch, self.seq)
    }
}

impl Tx {
    /// The same transaction with the key that makes and checks tags: for a restore, which finds the
    /// key in what it writes.
    pub fn use_tagger(&mut self, tagger: std::sync::Arc<dyn Tagger>) {
        self.tagger = tagger;
    }

    /// Writes the first state.
    ///
    /// # Errors
    /// [`StoreError::Taken`] when there is one.
    pub async fn insert_deployment_state(
        &mut self,
        mut row: DeploymentStateRow,
    ) -> Result<(), StoreError> {
        const SQL: &str = "INSERT INTO deployment_state (only_row, epoch, assertions_not_before,
                frozen_since, restored_at, taken_at, manifest, lost_records, pending_revocations,
                revision, mac)
            VALUES (1, $1, $2, $3, $4, $5, $6, $7, $8, $9, $10)";
        self.tag(&mut row);
        on!(self, conn => {
            sqlx::query::<Db>(SQL).bind(row.epoch).bind(row.assertions_not_before)
                .bind(row.frozen_since).bind(row.restored_at).bind(row.taken_at)
                .bind(row.manifest.clone()).bind(row.lost_records)
                .bind(row.pending_revocations).bind(row.revision)
                .bind(row.mac.clone()).execute(conn).await?;
        });
        Ok(())
    }

    /// Replaces the state if it still has `expected` as its revision.
    ///
    /// # Errors
    /// The database is not available.
    pub async fn update_deployment_state(
        &mut self,
        row: &mut DeploymentStateRow,
        expected: i64,
    ) -> Result<bool, StoreError> {
        const SQL: &str = "UPDATE deployment_state SET epoch = $1, assertions_not_before = $2,
                frozen_since = $3, restored_at = $4, taken_at = $5, manifest = $6,
                lost_records = $7, pending_revocations = $8, revision = $9, mac = $10
            WHERE only_row = 1 AND revision = $11";
        self.tag(row);
        let rows = on!(self, conn => {
            sqlx::query::<Db>(SQL).bind(row.epoch).bind(row.assertions_not_before)
                .bind(row.frozen_since).bind(row.restored_at).bind(row.taken_at)
                .bind(row.manifest.clone()).bind(row.lost_records)
                .bind(row.pending_revocations).bind(row.revision)
                .bind(row.mac.clone()).bind(expected).execute(conn).await?.rows_affected()
        });
        Ok(one(rows))
    }

    /// The state; `None` where it is missing or was not written by the service.
    ///
    /// # Errors
    /// The database is not available.
    pub async fn deployment_state(&mut self) -> Result<Option<DeploymentStateRow>, StoreError> {
        const SQL: &str = "SELECT mac, epoch, assertions_not_before, frozen_since, restored_at,
            taken_at, manifest, lost_records, pending_revocations, revision FROM deployment_state";
        let row: Option<Stored<DeploymentStateRow>> =
            on!(self, conn => sqlx::query_as::<Db, _>(SQL).fetch_optional(conn).await?);
        Ok(row.and_then(|row| self.stored(row)))
    }

    /// Forgets the state that came with a backup.
    ///
    /// # Errors
    /// The database is not available.
    pub async fn delete_deployment_state(&mut self) -> Result<(), StoreError> {
        const SQL: &str = "DELETE FROM deployment_state";
        on!(self, conn => { sqlx::query::<Db>(SQL).execute(conn).await?; });
        Ok(())
    }

    /// Forgets a revocation that came with a backup, in a form that the service did not write or not.
    ///
    /// # Errors
    /// The database is not available.
    pub async fn delete_pending_revocation(
        &mut self,
        node: &str,
        epoch: i64,
        seq: i64,
    ) -> Result<(), StoreError> {
        const SQL: &str = "DELETE FROM pending_revocations
            WHERE node = $1 AND epoch = $2 AND seq = $3";
        on!(self, conn => {
            sqlx::query::<Db>(SQL).bind(node.to_owned()).bind(epoch).bind(seq)
                .execute(conn).await?;
        });
        Ok(())
    }

    /// Adds a revocation to be confirmed.
    ///
    /// # Errors
    /// [`StoreError::Taken`] when it is there.
    pub async fn insert_pending_revocation(
        &mut self,
        mut row: PendingRevocationRow,
    ) -> Result<(), StoreError> {
        const SQL: &str = "INSERT INTO pending_revocations
                (node, epoch, seq, at, kind, subjects, detail, settled_at, outcome, mac)
            VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)";
        self.tag(&mut row);
        on!(self, conn => {
            sqlx::query::<Db>(SQL).bind(row.node.clone()).bind(row.epoch).bind(row.seq)
                .bind(row.at).bind(row.kind.clone()).bind(row.subjects.clone())
                .bind(row.detail.clone()).bind(row.settled_at).bind(row.outcome.clone()).bind(row.mac.clone())
                .execute(conn).await?;
        });
        Ok(())
    }

    /// Notes what became of a revocation.
    ///
    /// # Errors
    /// The database is not available.
    pub async fn settle_pending_revocation(
        &mut self,
        row: &mut PendingRevocationRow,
    ) -> Result<bool, StoreError> {
        const SQL: &str = "UPDATE pending_revocations SET settled_at = $1, outcome = $2, mac = $3
            WHERE node = $4 AND epoch = $5 AND seq = $6 AND settled_at IS NULL";
        self.tag(row);
        let rows = on!(self, conn => {
            sqlx::query::<Db>(SQL).bind(row.settled_at).bind(row.outcome.clone())
                .bind(row.mac.clone()).bind(row.node.clone()).bind(row.epoch).bind(row.seq)
                .execute(conn).await?.rows_affected()
        });
        Ok(one(rows))
    }

    /// Revocations that were made after the backup, confirmed or not, in the order in which they
    /// were made.
    ///
    /// # Errors
    /// The database is not available.
    pub async fn revocations_since_backup(
        &mut self,
    ) -> Result<Vec<PendingRevocationRow>, StoreError> {
        const SQL: &str = "SELECT * FROM pending_revocations ORDER BY at, node, epoch, seq";
        let rows: Vec<Stored<PendingRevocationRow>> =
            on!(self, conn => sqlx::query_as::<Db, _>(SQL).fetch_all(conn).await?);
        Ok(self.checked_all(rows))
    }
}
