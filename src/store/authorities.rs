//! Certificate authorities that client certificates may come from.

use super::error::StoreError;
use super::stored::Stored;
use super::tag::{Fields, Tagged};
use super::tx::{Page, Tx, on, one};
use crate::model::{AuthorityId, Slug, Timestamp, words};

words! {
    /// Whose authority it is.
    AuthorityOrigin {
        /// Strongroom's own: its key is a service key.
        Own = "own",
        /// Somebody else's; only its certificate is here.
        Foreign = "foreign",
    }
}

/// An authority as stored.
#[derive(Clone, Debug, sqlx::FromRow)]
#[expect(missing_docs, reason = "the columns of the table")]
pub struct AuthorityRow {
    pub id: AuthorityId,
    pub name: Slug,
    pub trust_domain: String,
    pub certificate: Vec<u8>,
    pub origin: AuthorityOrigin,
    pub accept_from: Timestamp,
    pub accept_until: Option<Timestamp>,
    /// Of an own one: the generation of its private key.
    pub key_generation: Option<i64>,
    /// Of an own one: from when on the listener shows a certificate of it.
    pub presented_from: Option<Timestamp>,
    /// Of a foreign one: since when its certificates are accepted only with a revocation list.
    pub lists_since: Option<Timestamp>,
    pub removed_at: Option<Timestamp>,
    pub created_at: Timestamp,
    pub revision: i64,
    pub mac: Vec<u8>,
}

impl AuthorityRow {
    /// Whether its certificates are accepted at this moment, as far as this row says.
    pub fn accepted_at(&self, now: Timestamp) -> bool {
        self.removed_at.is_none()
            && self.accept_from <= now
            && self.accept_until.is_none_or(|until| now < until)
    }

    /// Whether it is Strongroom's own.
    pub fn is_own(&self) -> bool {
        self.origin == AuthorityOrigin::Own
    }
}

impl Tagged for AuthorityRow {
    const TABLE: &'static str = "authorities";

    fn fields(&self, fields: &mut Fields) {
        fields
            .text(self.id)
            .text(&self.name)
            .text(&self.trust_domain)
            .bytes(&self.certificate)
            .text(self.origin)
            .time(self.accept_from)
            .opt_time(self.accept_until)
            .opt_text(self.key_generation)
            .opt_time(self.presented_from)
            .opt_time(self.lists_since)
            .opt_time(self.removed_at)
            .time(self.created_at)
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
    /// Adds an authority.
    ///
    /// # Errors
    /// [`StoreError::Taken`] when the name is in use.
    pub async fn insert_authority(
        &mut self,
        mut row: AuthorityRow,
    ) -> Result<AuthorityRow, StoreError> {
        const SQL: &str = "INSERT INTO authorities (id, name, trust_domain, certificate, origin,
                accept_from, accept_until, key_generation, presented_from, lists_since, removed_at,
                created_at, revision, mac)
            VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14)";
        self.tag(&mut row);
        on!(self, conn => {
            sqlx::query::<Db>(SQL).bind(row.id).bind(row.name.clone())
                .bind(row.trust_domain.clone()).bind(row.certificate.clone()).bind(row.origin)
                .bind(row.accept_from).bind(row.accept_until).bind(row.key_generation)
                .bind(row.presented_from).bind(row.lists_since).bind(row.removed_at)
                .bind(row.created_at).bind(row.revision).bind(row.mac.clone())
                .execute(conn).await?;
        });
        Ok(row)
    }

    /// Writes the times of acceptance and presentation, the need for lists, and removal, if the row still has `expected` as its revision.
    ///
    /// # Errors
    /// The database is not available.
    pub async fn update_authority(
        &mut self,
        row: &mut AuthorityRow,
        expected: i64,
    ) -> Result<bool, StoreError> {
        const SQL: &str = "UPDATE authorities
            SET accept_from = $1, accept_until = $2, presented_from = $3, lists_since = $4,
                removed_at = $5, revision = $6, mac = $7
            WHERE id = $8 AND revision = $9";
        self.tag(row);
        let rows = on!(self, conn => {
            sqlx::query::<Db>(SQL).bind(row.accept_from).bind(row.accept_until)
                .bind(row.presented_from).bind(row.lists_since).bind(row.removed_at)
                .bind(row.revision)
                .bind(row.mac.clone()).bind(row.id).bind(expected)
                .execute(conn).await?.rows_affected()
        });
        Ok(one(rows))
    }

    /// The authority with this id, removed or not.
    ///
    /// # Errors
    /// The database is not available.
    pub async fn authority(&mut self, id: AuthorityId) -> Result<Option<AuthorityRow>, StoreError> {
        const SQL: &str = "SELECT * FROM authorities WHERE id = $1";
        let row: Option<Stored<AuthorityRow>> =
            on!(self, conn => sqlx::query_as::<Db, _>(SQL).bind(id).fetch_optional(conn).await?);
        Ok(row.and_then(|row| self.stored(row)))
    }

    /// Every authority that was not removed, in the order of their ids.
    ///
    /// # Errors
    /// The database is not available.
    pub async fn trusted_authorities(&mut self) -> Result<Vec<AuthorityRow>, StoreError> {
        // Removed ones are read as well: one that was altered to look so is an alarm.
        const SQL: &str = "SELECT * FROM authorities ORDER BY id";
        let rows: Vec<Stored<AuthorityRow>> =
            on!(self, conn => sqlx::query_as::<Db, _>(SQL).fetch_all(conn).await?);
        let mut rows = self.checked_all(rows);
        rows.retain(|row| row.removed_at.is_none());
        Ok(rows)
    }

    /// Authorities after the id `after`, in the order of their ids, removed ones included.
    ///
    /// # Errors
    /// The database is not available.
    pub async fn authorities(
        &mut self,
        after: &str,
        limit: i64,
    ) -> Result<Page<AuthorityRow>, StoreError> {
        const SQL: &str = "SELECT * FROM authorities WHERE id > $1 ORDER BY id LIMIT $2";
        let rows: Vec<Stored<AuthorityRow>> = on!(self, conn => {
            sqlx::query_as::<Db, _>(SQL).bind(after.to_owned()).bind(limit + 1).fetch_all(conn).await?
        });
        Ok(self.page(rows, limit))
    }
}
