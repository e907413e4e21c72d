//! One-time tokens for enrolment.

use super::error::StoreError;
use super::stored::Stored;
use super::tag::{Fields, Tagged};
use super::tx::{Tx, on, one};
use crate::model::{EnrolmentTokenId, PrincipalId, Timestamp};

/// A token as stored: never the token itself.
#[derive(Clone, Debug, sqlx::FromRow)]
#[expect(missing_docs, reason = "the columns of the table")]
pub struct EnrolmentTokenRow {
    pub id: EnrolmentTokenId,
    pub principal_id: PrincipalId,
    pub token_sha256: Vec<u8>,
    pub created_at: Timestamp,
    pub expires_at: Timestamp,
    pub used_at: Option<Timestamp>,
    pub revoked_at: Option<Timestamp>,
    pub mac: Vec<u8>,
}

impl EnrolmentTokenRow {
    /// Whether it can still be used.
    pub fn is_open(&self, now: Timestamp) -> bool {
        self.used_at.is_none() && self.revoked_at.is_none() && now < self.expires_at
    }
}

impl Tagged for EnrolmentTokenRow {
    const TABLE: &'static str = "enrolment_tokens";

    fn fields(&self, fields: &mut Fields) {
        fields
            .text(self.id)
            .text(self.principal_id)
            .bytes(&self.token_sha256)
            .time(self.created_at)
            .time(self.expires_at)
            .opt_time(self.used_at)
            .opt_time(self.revoked_at);
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
    /// Adds a token.
    ///
    /// # Errors
    /// The database is not available.
    pub async fn insert_enrolment_token(
        &mut self,
        mut row: EnrolmentTokenRow,
    ) -> Result<EnrolmentTokenRow, StoreError> {
        const SQL: &str =
            "INSERT INTO enrolment_tokens (id, principal_id, token_sha256, created_at,
                expires_at, used_at, revoked_at, mac)
            VALUES ($1, $2, $3, $4, $5, $6, $7, $8)";
        self.tag(&mut row);
        on!(self, conn => {
            sqlx::query::<Db>(SQL).bind(row.id).bind(row.principal_id)
                .bind(row.token_sha256.clone()).bind(row.created_at).bind(row.expires_at)
                .bind(row.used_at).bind(row.revoked_at).bind(row.mac.clone())
                .execute(conn).await?;
        });
        Ok(row)
    }

    /// Writes that a token was used or revoked; `false` when one of the two had happened before.
    ///
    /// # Errors
    /// The database is not available.
    pub async fn close_enrolment_token(
        &mut self,
        row: &mut EnrolmentTokenRow,
    ) -> Result<bool, StoreError> {
        const SQL: &str = "UPDATE enrolment_tokens SET used_at = $1, revoked_at = $2, mac = $3
            WHERE id = $4 AND used_at IS NULL AND revoked_at IS NULL";
        self.tag(row);
        let rows = on!(self, conn => {
            sqlx::query::<Db>(SQL).bind(row.used_at).bind(row.revoked_at).bind(row.mac.clone())
                .bind(row.id).execute(conn).await?.rows_affected()
        });
        Ok(one(rows))
    }

    /// The token with this SHA-256, whatever became of it.
    ///
    /// # Errors
    /// The database is not available.
    pub async fn enrolment_token_by_hash(
        &mut self,
        sha256: &[u8; 32],
    ) -> Result<Option<EnrolmentTokenRow>, StoreError> {
        const SQL: &str = "SELECT * FROM enrolment_tokens WHERE token_sha256 = $1";
        let row: Option<Stored<EnrolmentTokenRow>> = on!(self, conn => {
            sqlx::query_as::<Db, _>(SQL).bind(sha256.to_vec()).fetch_optional(conn).await?
        });
        Ok(row.and_then(|row| self.stored(row)))
    }

    /// The tokens of a principal, used and revoked ones included, oldest first.
    ///
    /// # Errors
    /// The database is not available.
    pub async fn enrolment_tokens_of(
        &mut self,
        principal: PrincipalId,
    ) -> Result<Vec<EnrolmentTokenRow>, StoreError> {
        const SQL: &str = "SELECT * FROM enrolment_tokens WHERE principal_id = $1 ORDER BY id";
        let rows: Vec<Stored<EnrolmentTokenRow>> = on!(self, conn => {
            sqlx::query_as::<Db, _>(SQL).bind(principal).fetch_all(conn).await?
        });
        Ok(self.checked_all(rows))
    }

    /// Forgets at most 1,000 tokens that nobody can use since `end`; whether there may be more of them.
    /// What became of them stands in the audit log.
    ///
    /// # Errors
    /// The database is not available.
    pub async fn forget_enrolment_tokens(&mut self, end: Timestamp) -> Result<bool, StoreError> {
        const SQL: &str = "DELETE FROM enrolment_tokens WHERE id IN
            (SELECT id FROM enrolment_tokens WHERE expires_at < $1 LIMIT 1000)";
        let rows = on!(self, conn => {
            sqlx::query::<Db>(SQL).bind(end).execute(conn).await?.rows_affected()
        });
        Ok(rows == 1_000)
    }
}
