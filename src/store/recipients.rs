//! The age recipients that the root key is encrypted to.

use super::error::StoreError;
use super::stored::Stored;
use super::tag::{Fields, Tagged};
use super::tx::{Tx, on, one};
use crate::model::Timestamp;

/// A recipient as stored.
#[derive(Clone, Debug, sqlx::FromRow)]
#[expect(missing_docs, reason = "the columns of the table")]
pub struct RootRecipientRow {
    pub recipient: String,
    pub added_at: Timestamp,
    pub mac: Vec<u8>,
}

impl Tagged for RootRecipientRow {
    const TABLE: &'static str = "root_recipients";

    fn fields(&self, fields: &mut Fields) {
        fields.text(&self.recipient).time(self.added_at);
    }

    fn mac(&self) -> &[u8] {
        &self.mac
    }

    fn set_mac(&mut self, mac: Vec<u8>) {
        self.mac = mac;
    }

    fn name(&self) -> String {
        // Whoever wrote the row chose the text, so it is not repeated.
        "root recipient".to_owned()
    }
}

impl Tx {
    /// Adds a recipient.
    ///
    /// # Errors
    /// [`StoreError::Taken`] when it is there already.
    pub async fn insert_root_recipient(
        &mut self,
        mut row: RootRecipientRow,
    ) -> Result<(), StoreError> {
        const SQL: &str =
            "INSERT INTO root_recipients (recipient, added_at, mac) VALUES ($1, $2, $3)";
        self.tag(&mut row);
        on!(self, conn => {
            sqlx::query::<Db>(SQL).bind(row.recipient.clone()).bind(row.added_at)
                .bind(row.mac.clone()).execute(conn).await?;
        });
        Ok(())
    }

    /// Removes a recipient; whether it was there.
    ///
    /// # Errors
    /// The database is not available.
    pub async fn delete_root_recipient(&mut self, recipient: &str) -> Result<bool, StoreError> {
        const SQL: &str = "DELETE FROM root_recipients WHERE recipient = $1";
        let rows = on!(self, conn => {
            sqlx::query::<Db>(SQL).bind(recipient.to_owned()).execute(conn).await?.rows_affected()
        });
        Ok(one(rows))
    }

    /// Every recipient, the oldest first.
    ///
    /// # Errors
    /// The database is not available.
    pub async fn root_recipients(&mut self) -> Result<Vec<RootRecipientRow>, StoreError> {
        const SQL: &str = "SELECT * FROM root_recipients ORDER BY added_at, recipient";
        let rows: Vec<Stored<RootRecipientRow>> =
            on!(self, conn => sqlx::query_as::<Db, _>(SQL).fetch_all(conn).await?);
        Ok(self.checked_all(rows))
    }

    /// Writes the root key of `generation` as it is encrypted now, if it still is what it was.
    ///
    /// # Errors
    /// The database is not available.
    pub async fn replace_root_key(
        &mut self,
        generation: i64,
        before: &[u8],
        after: &[u8],
    ) -> Result<bool, StoreError> {
        const SQL: &str =
            "UPDATE root_keys SET wrapped = $1 WHERE generation = $2 AND wrapped = $3";
        let rows = on!(self, conn => {
            sqlx::query::<Db>(SQL).bind(after.to_vec()).bind(generation).bind(before.to_vec())
                .execute(conn).await?.rows_affected()
        });
        Ok(one(rows))
    }
}
