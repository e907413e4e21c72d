//! Invitations by which contacts hand in credentials.

use super::error::StoreError;
use super::stored::Stored;
use super::tag::{Fields, Tagged};
use super::tx::{Page, Tx, on, one};
use crate::model::{ContactId, CredentialId, InviteAnswer, InviteEnd, InviteId, MailId, Timestamp};

/// An invitation as stored: never the token of its link.
#[derive(Clone, Debug, sqlx::FromRow)]
#[expect(missing_docs, reason = "the columns of the table")]
pub struct InviteRow {
    pub id: InviteId,
    pub credential_id: CredentialId,
    pub contact_id: ContactId,
    pub token_sha256: Vec<u8>,
    /// A keyed tag of the second code, if there is one.
    pub code_tag: Option<Vec<u8>>,
    pub locale: String,
    pub created_at: Timestamp,
    pub expires_at: Timestamp,
    pub ended_at: Option<Timestamp>,
    pub ended_as: Option<InviteEnd>,
    pub answer: Option<InviteAnswer>,
    /// How many submissions came by it.
    pub attempts: i64,
    /// How often a wrong code came by it.
    pub code_failures: i64,
    /// The mail that carries the link, if one does.
    pub mail_id: Option<MailId>,
    /// The invitation that was handed on as this one.
    pub forwarded_from: Option<InviteId>,
    pub form_version: i64,
    pub revision: i64,
    pub mac: Vec<u8>,
}

impl InviteRow {
    /// Whether something can still be handed in by it.
    pub fn is_open(&self, now: Timestamp) -> bool {
        self.ended_at.is_none() && now < self.expires_at
    }
}

impl Tagged for InviteRow {
    const TABLE: &'static str = "invites";

    fn fields(&self, fields: &mut Fields) {
        fields
            .text(self.id)
            .text(self.credential_id)
            .text(self.contact_id)
            .bytes(&self.token_sha256)
            .opt_bytes(self.code_tag.as_deref())
            .text(&self.locale)
            .time(self.created_at)
            .time(self.expires_at)
            .opt_time(self.ended_at)
            .opt_text(self.ended_as)
            .opt_text(self.answer)
            .int(self.attempts)
            .int(self.code_failures)
            .opt_text(self.mail_id)
            .opt_text(self.forwarded_from)
            .int(self.form_version)
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
    /// Adds an invitation.
    ///
    /// # Errors
    /// The database is not available.
    pub async fn insert_invite(&mut self, mut row: InviteRow) -> Result<InviteRow, StoreError> {
        const SQL: &str = "INSERT INTO invites (id, credential_id, contact_id, token_sha256,
                code_tag, locale, created_at, expires_at, ended_at, ended_as, answer, attempts,
                code_failures, mail_id, forwarded_from, form_version, revision, mac)
            VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18)";
        self.tag(&mut row);
        on!(self, conn => {
            sqlx::query::<Db>(SQL).bind(row.id).bind(row.credential_id).bind(row.contact_id)
                .bind(row.token_sha256.clone()).bind(row.code_tag.clone())
                .bind(row.locale.clone()).bind(row.created_at).bind(row.expires_at)
                .bind(row.ended_at).bind(row.ended_as).bind(row.answer).bind(row.attempts)
                .bind(row.code_failures).bind(row.mail_id).bind(row.forwarded_from)
                .bind(row.form_version).bind(row.revision)
                .bind(row.mac.clone()).execute(conn).await?;
        });
        Ok(row)
    }

    /// Writes what can change of an invitation, and counts its revision up; `false` when it was changed
    /// since it was read.
    ///
    /// # Errors
    /// The database is not available.
    pub async fn update_invite(&mut self, row: &mut InviteRow) -> Result<bool, StoreError> {
        const SQL: &str = "UPDATE invites SET ended_at = $1, ended_as = $2, answer = $3,
                attempts = $4, code_failures = $5, mail_id = $6, revision = $7, mac = $8
            WHERE id = $9 AND revision = $10";
        let known = row.revision;
        row.revision += 1;
        self.tag(row);
        let rows = on!(self, conn => {
            sqlx::query::<Db>(SQL).bind(row.ended_at).bind(row.ended_as).bind(row.answer)
                .bind(row.attempts).bind(row.code_failures).bind(row.mail_id).bind(row.revision)
                .bind(row.mac.clone()).bind(row.id).bind(known)
                .execute(conn).await?.rows_affected()
        });
        Ok(one(rows))
    }

    /// The invitation whose token has this SHA-256, whatever became of it.
    ///
    /// # Errors
    /// The database is not available.
    pub async fn invite_by_hash(
        &mut self,
        sha256: &[u8; 32],
    ) -> Result<Option<InviteRow>, StoreError> {
        const SQL: &str = "SELECT * FROM invites WHERE token_sha256 = $1";
        let row: Option<Stored<InviteRow>> = on!(self, conn => {
            sqlx::query_as::<Db, _>(SQL).bind(sha256.to_vec()).fetch_optional(conn).await?
        });
        Ok(row.and_then(|row| self.stored(row)))
    }

    /// One invitation.
    ///
    /// # Errors
    /// The database is not available.
    pub async fn invite(&mut self, id: InviteId) -> Result<Option<InviteRow>, StoreError> {
        const SQL: &str = "SELECT * FROM invites WHERE id = $1";
        let row: Option<Stored<InviteRow>> = on!(self, conn => {
            sqlx::query_as::<Db, _>(SQL).bind(id).fetch_optional(conn).await?
        });
        Ok(row.and_then(|row| self.stored(row)))
    }

    /// The invitations for a credential that have not been ended, oldest first.
    ///
    /// # Errors
    /// The database is not available.
    pub async fn unended_invites_of(
        &mut self,
        credential: CredentialId,
    ) -> Result<Vec<InviteRow>, StoreError> {
        const SQL: &str =
            "SELECT * FROM invites WHERE credential_id = $1 AND ended_at IS NULL ORDER BY id";
        let rows: Vec<Stored<InviteRow>> = on!(self, conn => {
            sqlx::query_as::<Db, _>(SQL).bind(credential).fetch_all(conn).await?
        });
        Ok(self.checked_all(rows))
    }

    /// Invitations after the id `after`.
    ///
    /// # Errors
    /// The database is not available.
    pub async fn invites(
        &mut self,
        credential: Option<CredentialId>,
        after: &str,
        limit: i64,
    ) -> Result<Page<InviteRow>, StoreError> {
        const ALL: &str = "SELECT * FROM invites WHERE id > $1 ORDER BY id LIMIT $2";
        const OF_ONE: &str =
            "SELECT * FROM invites WHERE id > $1 AND credential_id = $3 ORDER BY id LIMIT $2";
        let rows: Vec<Stored<InviteRow>> = on!(self, conn => match credential {
            None => sqlx::query_as::<Db, _>(ALL).bind(after.to_owned()).bind(limit + 1)
                .fetch_all(conn).await?,
            Some(id) => sqlx::query_as::<Db, _>(OF_ONE).bind(after.to_owned()).bind(limit + 1)
                .bind(id).fetch_all(conn).await?,
        });
        Ok(self.page(rows, limit))
    }
}
