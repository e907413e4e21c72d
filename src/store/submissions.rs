//! What clients handed in by their invitations. The values themselves are versions.

use super::error::StoreError;
use super::stored::Stored;
use super::tag::{Fields, Tagged};
use super::tx::{Page, Tx, on, one};
use crate::model::{
    CredentialId, InviteId, Sealing, SubmissionId, SubmissionState, Timestamp, VersionId,
};

/// A submission as stored.
#[derive(Clone, Debug, sqlx::FromRow)]
#[expect(missing_docs, reason = "the columns of the table")]
pub struct SubmissionRow {
    pub id: SubmissionId,
    pub invite_id: InviteId,
    pub credential_id: CredentialId,
    pub version_id: VersionId,
    pub version_number: i64,
    /// Counts the attempts by one invitation.
    pub number: i64,
    pub received_at: Timestamp,
    pub sealing: Sealing,
    /// SHA-256 of the encapsulated key, which is accepted once per invitation.
    pub enc_sha256: Option<Vec<u8>>,
    /// A keyed tag of everything that the provider is shown.
    pub value_tag: Vec<u8>,
    pub state: SubmissionState,
    pub hint: Option<String>,
    /// When nothing more could become of it; until then it is open.
    pub finished_at: Option<Timestamp>,
    pub revision: i64,
    pub mac: Vec<u8>,
}

impl SubmissionRow {
    /// Whether something may still become of it.
    pub const fn is_open(&self) -> bool {
        self.finished_at.is_none()
    }
}

impl Tagged for SubmissionRow {
    const TABLE: &'static str = "submissions";

    fn fields(&self, fields: &mut Fields) {
        fields
            .text(self.id)
            .text(self.invite_id)
            .text(self.credential_id)
            .text(self.version_id)
            .int(self.version_number)
            .int(self.number)
            .time(self.received_at)
            .text(self.sealing)
            .opt_bytes(self.enc_sha256.as_deref())
            .bytes(&self.value_tag)
            .text(self.state)
            .opt_text(self.hint.as_deref())
            .opt_time(self.finished_at)
            .int(self.revision);
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
    /// Adds a submission.
    ///
    /// # Errors
    /// [`StoreError::Taken`] when its encapsulated key came by the same invitation before.
    pub async fn insert_submission(
        &mut self,
        mut row: SubmissionRow,
    ) -> Result<SubmissionRow, StoreError> {
        const SQL: &str = "INSERT INTO submissions (id, invite_id, credential_id, version_id,
                version_number, number, received_at, sealing, enc_sha256, value_tag, state, hint,
                finished_at, revision, mac)
            VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15)";
        self.tag(&mut row);
        on!(self, conn => {
            sqlx::query::<Db>(SQL).bind(row.id).bind(row.invite_id).bind(row.credential_id)
                .bind(row.version_id).bind(row.version_number).bind(row.number)
                .bind(row.received_at).bind(row.sealing).bind(row.enc_sha256.clone())
                .bind(row.value_tag.clone()).bind(row.state).bind(row.hint.clone())
                .bind(row.finished_at).bind(row.revision).bind(row.mac.clone())
                .execute(conn).await?;
        });
        Ok(row)
    }

    /// Writes state, hint and end of a submission, and counts its revision up; `false` when it was
    /// changed since it was read.
    ///
    /// # Errors
    /// The database is not available.
    pub async fn update_submission(&mut self, row: &mut SubmissionRow) -> Result<bool, StoreError> {
        const SQL: &str = "UPDATE submissions SET state = $1, hint = $2, finished_at = $3,
                revision = $4, mac = $5
            WHERE id = $6 AND revision = $7";
        let known = row.revision;
        row.revision += 1;
        self.tag(row);
        let rows = on!(self, conn => {
            sqlx::query::<Db>(SQL).bind(row.state).bind(row.hint.clone()).bind(row.finished_at)
                .bind(row.revision).bind(row.mac.clone()).bind(row.id).bind(known)
                .execute(conn).await?.rows_affected()
        });
        Ok(one(rows))
    }

    /// One submission.
    ///
    /// # Errors
    /// The database is not available.
    pub async fn submission(
        &mut self,
        id: SubmissionId,
    ) -> Result<Option<SubmissionRow>, StoreError> {
        const SQL: &str = "SELECT * FROM submissions WHERE id = $1";
        let row: Option<Stored<SubmissionRow>> = on!(self, conn => {
            sqlx::query_as::<Db, _>(SQL).bind(id).fetch_optional(conn).await?
        });
        Ok(row.and_then(|row| self.stored(row)))
    }

    /// The submission of a version, if it is still open.
    ///
    /// # Errors
    /// The database is not available.
    pub async fn open_submission_of(
        &mut self,
        version: VersionId,
    ) -> Result<Option<SubmissionRow>, StoreError> {
        const SQL: &str = "SELECT * FROM submissions WHERE version_id = $1 AND finished_at IS NULL";
        let row: Option<Stored<SubmissionRow>> = on!(self, conn => {
            sqlx::query_as::<Db, _>(SQL).bind(version).fetch_optional(conn).await?
        });
        Ok(row.and_then(|row| self.stored(row)))
    }

    /// The open submissions for a credential, oldest first.
    ///
    /// # Errors
    /// The database is not available.
    pub async fn open_submissions_for(
        &mut self,
        credential: CredentialId,
    ) -> Result<Vec<SubmissionRow>, StoreError> {
        const SQL: &str = "SELECT * FROM submissions
            WHERE credential_id = $1 AND finished_at IS NULL ORDER BY id";
        let rows: Vec<Stored<SubmissionRow>> = on!(self, conn => {
            sqlx::query_as::<Db, _>(SQL).bind(credential).fetch_all(conn).await?
        });
        Ok(self.checked_all(rows))
    }

    /// The newest submission by an invitation.
    ///
    /// # Errors
    /// The database is not available.
    pub async fn newest_submission_by(
        &mut self,
        invite: InviteId,
    ) -> Result<Option<SubmissionRow>, StoreError> {
        const SQL: &str =
            "SELECT * FROM submissions WHERE invite_id = $1 ORDER BY number DESC LIMIT 1";
        let row: Option<Stored<SubmissionRow>> = on!(self, conn => {
            sqlx::query_as::<Db, _>(SQL).bind(invite).fetch_optional(conn).await?
        });
        Ok(row.and_then(|row| self.stored(row)))
    }

    /// Whether this value was handed in for this credential before, and its provider refused it.
    ///
    /// # Errors
    /// The database is not available.
    pub async fn is_barred(
        &mut self,
        credential: CredentialId,
        value_tag: &[u8],
    ) -> Result<bool, StoreError> {
        const SQL: &str = "SELECT * FROM submissions WHERE credential_id = $1 AND value_tag = $2
              AND state = 'failed' AND finished_at IS NOT NULL LIMIT 1";
        let row: Option<Stored<SubmissionRow>> = on!(self, conn => {
            sqlx::query_as::<Db, _>(SQL).bind(credential).bind(value_tag.to_vec())
                .fetch_optional(conn).await?
        });
        Ok(row.and_then(|row| self.stored(row)).is_some())
    }

    /// Submissions after the id `after`: the open ones, or all.
    ///
    /// # Errors
    /// The database is not available.
    pub async fn submissions(
        &mut self,
        open_only: bool,
        after: &str,
        limit: i64,
    ) -> Result<Page<SubmissionRow>, StoreError> {
        const ALL: &str = "SELECT * FROM submissions WHERE id > $1 ORDER BY id LIMIT $2";
        const OPEN: &str = "SELECT * FROM submissions
            WHERE id > $1 AND finished_at IS NULL ORDER BY id LIMIT $2";
        let sql = if open_only { OPEN } else { ALL };
        let rows: Vec<Stored<SubmissionRow>> = on!(self, conn => {
            sqlx::query_as::<Db, _>(sql).bind(after.to_owned()).bind(limit + 1)
                .fetch_all(conn).await?
        });
        Ok(self.page(rows, limit))
    }
}
