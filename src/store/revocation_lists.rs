//! Revocation lists of foreign authorities, and when an authority's word was last used.

use super::error::StoreError;
use super::stored::Stored;
use super::tag::{Fields, Tagged};
use super::tx::{Tx, on};
use crate::model::{AuthorityId, Timestamp};

/// A foreign authority's revocation list as stored.
#[derive(Clone, Debug, sqlx::FromRow)]
#[expect(missing_docs, reason = "the columns of the table")]
pub struct RevocationListRow {
    pub authority_id: AuthorityId,
    /// Empty for a complete list, else which part of it this is.
    pub scope: String,
    pub number: Vec<u8>,
    pub this_update: Timestamp,
    pub next_update: Timestamp,
    pub entries: i64,
    pub imported_at: Timestamp,
    pub list: Vec<u8>,
    pub mac: Vec<u8>,
}

impl Tagged for RevocationListRow {
    const TABLE: &'static str = "revocation_lists";

    fn fields(&self, fields: &mut Fields) {
        fields
            .text(self.authority_id)
            .text(&self.scope)
            .bytes(&self.number)
            .time(self.this_update)
            .time(self.next_update)
            .int(self.entries)
            .time(self.imported_at)
            .bytes(&self.list);
    }

    fn mac(&self) -> &[u8] {
        &self.mac
    }

    fn set_mac(&mut self, mac: Vec<u8>) {
        self.mac = mac;
    }

    fn name(&self) -> String {
        format!("{} {}", self.authority_id, self.scope)
    }
}

impl Tx {
    /// The revocation lists of one foreign authority, the complete one first.
    ///
    /// # Errors
    /// The database is not available.
    pub async fn revocation_lists_of(
        &mut self,
        authority: AuthorityId,
    ) -> Result<Vec<RevocationListRow>, StoreError> {
        const SQL: &str = "SELECT * FROM revocation_lists WHERE authority_id = $1 ORDER BY scope";
        let rows: Vec<Stored<RevocationListRow>> = on!(self, conn => {
            sqlx::query_as::<Db, _>(SQL).bind(authority).fetch_all(conn).await?
        });
        Ok(self.checked_all(rows))
    }

    /// Puts a list in the place of the one of the same authority and scope.
    ///
    /// # Errors
    /// [`StoreError::Missing`] when the authority is not there.
    pub async fn put_revocation_list(
        &mut self,
        mut row: RevocationListRow,
    ) -> Result<RevocationListRow, StoreError> {
        const SQL: &str = "INSERT INTO revocation_lists (authority_id, scope, number, this_update,
                next_update, entries, imported_at, list, mac)
            VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)
            ON CONFLICT (authority_id, scope) DO UPDATE SET number = EXCLUDED.number,
                this_update = EXCLUDED.this_update, next_update = EXCLUDED.next_update,
                entries = EXCLUDED.entries, imported_at = EXCLUDED.imported_at,
                list = EXCLUDED.list, mac = EXCLUDED.mac";
        self.tag(&mut row);
        on!(self, conn => {
            sqlx::query::<Db>(SQL).bind(row.authority_id).bind(row.scope.clone())
                .bind(row.number.clone()).bind(row.this_update).bind(row.next_update)
                .bind(row.entries).bind(row.imported_at).bind(row.list.clone())
                .bind(row.mac.clone()).execute(conn).await?;
        });
        Ok(row)
    }

    /// Forgets every list of an authority; gives how many there were.
    ///
    /// # Errors
    /// The database is not available.
    pub async fn delete_revocation_lists(
        &mut self,
        authority: AuthorityId,
    ) -> Result<u64, StoreError> {
        const SQL: &str = "DELETE FROM revocation_lists WHERE authority_id = $1";
        Ok(on!(self, conn => {
            sqlx::query::<Db>(SQL).bind(authority).execute(conn).await?.rows_affected()
        }))
    }

    /// Notes when this node last let somebody in on an authority's word.
    ///
    /// # Errors
    /// The database is not available.
    pub async fn note_authority_use(
        &mut self,
        authority: AuthorityId,
        node: &str,
        at: Timestamp,
    ) -> Result<(), StoreError> {
        const SQL: &str = "INSERT INTO authority_uses (authority_id, node, last_used_at)
            VALUES ($1, $2, $3)
            ON CONFLICT (authority_id, node) DO UPDATE SET last_used_at = EXCLUDED.last_used_at";
        on!(self, conn => {
            sqlx::query::<Db>(SQL).bind(authority).bind(node.to_owned()).bind(at)
                .execute(conn).await?;
        });
        Ok(())
    }

    /// When any node last noted a use of each authority.
    ///
    /// # Errors
    /// The database is not available.
    pub async fn authority_uses(&mut self) -> Result<Vec<(AuthorityId, Timestamp)>, StoreError> {
        const SQL: &str =
            "SELECT authority_id, MAX(last_used_at) FROM authority_uses GROUP BY authority_id";
        Ok(on!(self, conn => sqlx::query_as::<Db, _>(SQL).fetch_all(conn).await?))
    }
}
