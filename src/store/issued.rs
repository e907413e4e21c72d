//! Client certificates that an own authority issued, and the revocation lists made of them.

use super::error::StoreError;
use super::stored::Stored;
use super::tag::{Fields, Tagged};
use super::tx::{RowsInsert, Tx, on, one};
use crate::model::{AuthorityId, KeyId, PrincipalId, Timestamp, words};

words! {
    /// Why a certificate is on a revocation list (RFC 5280, 5.3.1).
    RevocationReason {
        /// Its key was revoked.
        KeyRevoked = "key-revoked",
        /// Its holder is disabled; the certificate is good again when they are not.
        Hold = "hold",
    }
}

/// An issued certificate as stored.
#[derive(Clone, Debug, sqlx::FromRow)]
#[expect(missing_docs, reason = "the columns of the table")]
pub struct IssuedRow {
    pub authority_id: AuthorityId,
    pub serial: Vec<u8>,
    pub principal_id: PrincipalId,
    pub key_id: KeyId,
    pub not_before: Timestamp,
    pub not_after: Timestamp,
    pub revoked_at: Option<Timestamp>,
    pub reason: Option<RevocationReason>,
    pub mac: Vec<u8>,
}

impl Tagged for IssuedRow {
    const TABLE: &'static str = "issued_certificates";

    fn fields(&self, fields: &mut Fields) {
        fields
            .text(self.authority_id)
            .bytes(&self.serial)
            .text(self.principal_id)
            .text(self.key_id)
            .time(self.not_before)
            .time(self.not_after)
            .opt_time(self.revoked_at)
            .opt_text(self.reason);
    }

    fn mac(&self) -> &[u8] {
        &self.mac
    }

    fn set_mac(&mut self, mac: Vec<u8>) {
        self.mac = mac;
    }

    fn name(&self) -> String {
        format!("{} {}", self.authority_id, hex::encode(&self.serial))
    }
}

/// The newest revocation list of an own authority as stored.
#[derive(Clone, Debug, sqlx::FromRow)]
#[expect(missing_docs, reason = "the columns of the table")]
pub struct OwnListRow {
    pub authority_id: AuthorityId,
    pub number: i64,
    pub this_update: Timestamp,
    pub next_update: Timestamp,
    pub entries: i64,
    /// SHA-256 over what it lists: a list is made anew when this would be another.
    pub digest: Vec<u8>,
    pub list: Vec<u8>,
    pub mac: Vec<u8>,
}

impl Tagged for OwnListRow {
    const TABLE: &'static str = "own_revocation_lists";

    fn fields(&self, fields: &mut Fields) {
        fields
            .text(self.authority_id)
            .int(self.number)
            .time(self.this_update)
            .time(self.next_update)
            .int(self.entries)
            .bytes(&self.digest)
            .bytes(&self.list);
    }

    fn mac(&self) -> &[u8] {
        &self.mac
    }

    fn set_mac(&mut self, mac: Vec<u8>) {
        self.mac = mac;
    }

    fn name(&self) -> String {
        self.authority_id.to_string()
    }
}

impl Tx {
    /// Records an issued certificate.
    ///
    /// # Errors
    /// [`StoreError::Taken`] when the authority issued this serial number before.
    pub async fn insert_issued(&mut self, mut row: IssuedRow) -> Result<(), StoreError> {
        const SQL: &str = "INSERT INTO issued_certificates (authority_id, serial, principal_id,
                key_id, not_before, not_after, revoked_at, reason, mac)
            VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)";
        self.tag(&mut row);
        on!(self, conn => {
            sqlx::query::<Db>(SQL).bind(row.authority_id).bind(row.serial).bind(row.principal_id)
                .bind(row.key_id).bind(row.not_before).bind(row.not_after).bind(row.revoked_at)
                .bind(row.reason).bind(row.mac).execute(conn).await?;
        });
        Ok(())
    }

    /// Writes whether these certificates are revoked, many in one statement: whoever changes holds up
    /// everybody else who does.
    async fn update_issued(&mut self, mut rows: Vec<IssuedRow>) -> Result<(), StoreError> {
        static SQL: RowsInsert = RowsInsert::new(
            "INSERT INTO issued_certificates (authority_id, serial, principal_id, key_id,
                not_before, not_after, revoked_at, reason, mac) VALUES",
            9,
            " ON CONFLICT (authority_id, serial) DO UPDATE
                SET revoked_at = excluded.revoked_at, reason = excluded.reason, mac = excluded.mac",
        );
        for row in &mut rows {
            self.tag(row);
        }
        on!(self, conn => {
            for (sql, chunk) in SQL.chunks::<Db, _>(&rows) {
                let mut query = sqlx::query::<Db>(sql);
                for row in chunk {
                    query = query.bind(row.authority_id).bind(&row.serial).bind(row.principal_id)
                        .bind(row.key_id).bind(row.not_before).bind(row.not_after)
                        .bind(row.revoked_at).bind(row.reason).bind(&row.mac);
                }
                query.execute(&mut *conn).await?;
            }
        });
        Ok(())
    }

    /// How many certificates of a key have not ended.
    ///
    /// # Errors
    /// The database is not available.
    pub async fn live_issued_of(&mut self, key: KeyId, now: Timestamp) -> Result<i64, StoreError> {
        const SQL: &str =
            "SELECT COUNT(*) FROM issued_certificates WHERE key_id = $1 AND not_after >= $2";
        Ok(on!(self, conn => {
            sqlx::query_scalar::<Db, i64>(SQL).bind(key).bind(now).fetch_one(conn).await?
        }))
    }

    /// Marks the certificates of a key as revoked; those that ended before need no mark.
    ///
    /// # Errors
    /// The database is not available.
    pub(super) async fn revoke_issued(
        &mut self,
        key: KeyId,
        at: Timestamp,
    ) -> Result<(), StoreError> {
        const SQL: &str = "SELECT * FROM issued_certificates WHERE key_id = $1 AND not_after >= $2";
        let rows: Vec<Stored<IssuedRow>> = on!(self, conn => {
            sqlx::query_as::<Db, _>(SQL).bind(key).bind(at).fetch_all(conn).await?
        });
        let mut rows = self.checked_all(rows);
        rows.retain(|row| row.reason != Some(RevocationReason::KeyRevoked));
        for row in &mut rows {
            row.revoked_at.get_or_insert(at);
            row.reason = Some(RevocationReason::KeyRevoked);
        }
        self.update_issued(rows).await
    }

    /// Puts the certificates of a principal on hold, or takes them off it with `None`. What was
    /// revoked for good stays revoked.
    ///
    /// # Errors
    /// The database is not available.
    pub async fn hold_issued(
        &mut self,
        principal: PrincipalId,
        since: Option<Timestamp>,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        const SQL: &str =
            "SELECT * FROM issued_certificates WHERE principal_id = $1 AND not_after >= $2";
        let rows: Vec<Stored<IssuedRow>> = on!(self, conn => {
            sqlx::query_as::<Db, _>(SQL).bind(principal).bind(now).fetch_all(conn).await?
        });
        let mut rows = self.checked_all(rows);
        rows.retain(|row| row.reason != Some(RevocationReason::KeyRevoked));
        for row in &mut rows {
            row.revoked_at = since;
            row.reason = since.map(|_| RevocationReason::Hold);
        }
        self.update_issued(rows).await
    }

    /// The revoked certificates of an authority that have not ended, in the order of their serial
    /// numbers.
    ///
    /// # Errors
    /// The database is not available.
    pub async fn revoked_of(
        &mut self,
        authority: AuthorityId,
        now: Timestamp,
    ) -> Result<Vec<IssuedRow>, StoreError> {
        const SQL: &str = "SELECT * FROM issued_certificates
            WHERE authority_id = $1 AND revoked_at IS NOT NULL AND not_after >= $2
            ORDER BY serial";
        let rows: Vec<Stored<IssuedRow>> = on!(self, conn => {
            sqlx::query_as::<Db, _>(SQL).bind(authority).bind(now).fetch_all(conn).await?
        });
        Ok(self.checked_all(rows))
    }

    /// The end of the certificate of this authority that lives longest; `None` when it issued none
    /// that is known.
    ///
    /// # Errors
    /// The database is not available.
    pub async fn last_end_of(
        &mut self,
        authority: AuthorityId,
    ) -> Result<Option<Timestamp>, StoreError> {
        const SQL: &str = "SELECT MAX(not_after) FROM issued_certificates WHERE authority_id = $1";
        Ok(on!(self, conn => {
            sqlx::query_scalar::<Db, Option<Timestamp>>(SQL).bind(authority).fetch_one(conn).await?
        }))
    }

    /// Forgets at most 1,000 certificates that ended before `end`; whether there may be more of them.
    ///
    /// # Errors
    /// The database is not available.
    pub async fn forget_issued(&mut self, end: Timestamp) -> Result<bool, StoreError> {
        const SQL: &str = "DELETE FROM issued_certificates WHERE (authority_id, serial) IN
            (SELECT authority_id, serial FROM issued_certificates WHERE not_after < $1 LIMIT 1000)";
        let rows = on!(self, conn => {
            sqlx::query::<Db>(SQL).bind(end).execute(conn).await?.rows_affected()
        });
        Ok(rows == 1_000)
    }

    /// The newest revocation list of an own authority.
    ///
    /// # Errors
    /// The database is not available.
    pub async fn own_list(
        &mut self,
        authority: AuthorityId,
    ) -> Result<Option<OwnListRow>, StoreError> {
        const SQL: &str = "SELECT * FROM own_revocation_lists WHERE authority_id = $1";
        let row: Option<Stored<OwnListRow>> = on!(self, conn => {
            sqlx::query_as::<Db, _>(SQL).bind(authority).fetch_optional(conn).await?
        });
        Ok(row.and_then(|row| self.stored(row)))
    }

    /// Puts a list in the place of the one before, unless that has this number or a higher one.
    ///
    /// # Errors
    /// The database is not available.
    pub async fn put_own_list(&mut self, mut row: OwnListRow) -> Result<bool, StoreError> {
        const SQL: &str = "INSERT INTO own_revocation_lists
                (authority_id, number, this_update, next_update, entries, digest, list, mac)
            VALUES ($1, $2, $3, $4, $5, $6, $7, $8)
            ON CONFLICT (authority_id) DO UPDATE SET number = EXCLUDED.number,
                this_update = EXCLUDED.this_update, next_update = EXCLUDED.next_update,
                entries = EXCLUDED.entries, digest = EXCLUDED.digest, list = EXCLUDED.list,
                mac = EXCLUDED.mac
            WHERE own_revocation_lists.number < EXCLUDED.number";
        self.tag(&mut row);
        let rows = on!(self, conn => {
            sqlx::query::<Db>(SQL).bind(row.authority_id).bind(row.number).bind(row.this_update)
                .bind(row.next_update).bind(row.entries).bind(row.digest).bind(row.list)
                .bind(row.mac).execute(conn).await?.rows_affected()
        });
        Ok(one(rows))
    }
}
