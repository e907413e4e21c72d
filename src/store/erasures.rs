//! Destroying what is kept of a client, and that it was destroyed.

use super::error::StoreError;
use super::stored::Stored;
use super::tag::{Fields, Tagged};
use super::tx::{Tx, on};
use crate::model::{ClientId, Timestamp};

/// That a client was erased.
#[derive(Clone, Debug, sqlx::FromRow)]
#[expect(missing_docs, reason = "the columns of the table")]
pub struct ErasureRow {
    pub client_id: ClientId,
    pub erased_at: Timestamp,
    /// The signed certificate; empty where only the audit log said that it was erased.
    pub certificate: String,
    pub mac: Vec<u8>,
}

impl Tagged for ErasureRow {
    const TABLE: &'static str = "erasures";

    fn fields(&self, fields: &mut Fields) {
        fields
            .text(self.client_id)
            .time(self.erased_at)
            .text(&self.certificate);
    }

    fn mac(&self) -> &[u8] {
        &self.mac
    }

    fn set_mac(&mut self, mac: Vec<u8>) {
        self.mac = mac;
    }

    fn name(&self) -> String {
        self.client_id.to_string()
    }
}

/// How many rows of each kind were destroyed.
#[derive(Clone, Copy, Debug, Default)]
#[expect(missing_docs, reason = "named like what was destroyed")]
pub struct Destroyed {
    pub wraps: u64,
    pub payloads: u64,
    pub fingerprints: u64,
    pub contacts: u64,
    pub receipts: u64,
    pub tasks: u64,
    pub verifications: u64,
    pub submissions: u64,
    pub invites: u64,
    pub mails: u64,
}

impl Tx {
    /// Destroys the wrapped DEKs, sealed values, fingerprints, contacts and receipts of a client, and what
    /// is known of its intake; those in rows that the service would not read included.
    ///
    /// # Errors
    /// The database is not available.
    pub async fn destroy_of_client(&mut self, client: ClientId) -> Result<Destroyed, StoreError> {
        macro_rules! of_versions {
            ($before:literal) => {
                concat!(
                    $before,
                    " (SELECT v.id FROM credential_versions AS v
                       JOIN credentials AS c ON c.id = v.credential_id WHERE c.client_id = $1)"
                )
            };
        }
        const WRAPS: &str = of_versions!("DELETE FROM dek_wraps WHERE version_id IN");
        const FINGERPRINTS: &str =
            of_versions!("DELETE FROM version_fingerprints WHERE version_id IN");
        const PAYLOADS: &str = "UPDATE credential_versions SET payload = NULL, identifiers = NULL
            WHERE payload IS NOT NULL
              AND credential_id IN (SELECT id FROM credentials WHERE client_id = $1)";
        const CONTACTS: &str = "DELETE FROM contacts WHERE client_id = $1";
        const MAILS: &str = "DELETE FROM mails WHERE client_id = $1";
        const RECEIPTS: &str = "DELETE FROM receipts
            WHERE credential_id IN (SELECT id FROM credentials WHERE client_id = $1)";
        const TASKS: &str = "DELETE FROM tasks
            WHERE credential_id IN (SELECT id FROM credentials WHERE client_id = $1)";
        const VERIFICATIONS: &str = "DELETE FROM verifications
            WHERE credential_id IN (SELECT id FROM credentials WHERE client_id = $1)";
        const SUBMISSIONS: &str = "DELETE FROM submissions
            WHERE credential_id IN (SELECT id FROM credentials WHERE client_id = $1)";
        const INVITES: &str = "DELETE FROM invites
            WHERE credential_id IN (SELECT id FROM credentials WHERE client_id = $1)";
        let mut counts = [0; 10];
        on!(self, conn => {
            let texts = [
                WRAPS, PAYLOADS, FINGERPRINTS, CONTACTS, RECEIPTS, TASKS, VERIFICATIONS,
                SUBMISSIONS, INVITES, MAILS,
            ];
            for (count, sql) in counts.iter_mut().zip(texts) {
                *count = sqlx::query::<Db>(sql).bind(client).execute(&mut *conn).await?
                    .rows_affected();
            }
        });
        let [
            wraps,
            payloads,
            fingerprints,
            contacts,
            receipts,
            tasks,
            verifications,
            submissions,
            invites,
            mails,
        ] = counts;
        Ok(Destroyed {
            wraps,
            payloads,
            fingerprints,
            contacts,
            receipts,
            tasks,
            verifications,
            submissions,
            invites,
            mails,
        })
    }

    /// Notes that a client was erased.
    ///
    /// # Errors
    /// [`StoreError::Taken`] when it was noted before.
    pub async fn insert_erasure(&mut self, mut row: ErasureRow) -> Result<(), StoreError> {
        const SQL: &str = "INSERT INTO erasures (client_id, erased_at, certificate, mac)
            VALUES ($1, $2, $3, $4)";
        self.tag(&mut row);
        on!(self, conn => {
            sqlx::query::<Db>(SQL).bind(row.client_id).bind(row.erased_at)
                .bind(row.certificate.clone()).bind(row.mac.clone()).execute(conn).await?;
        });
        Ok(())
    }

    /// That a client was erased, if it was.
    ///
    /// # Errors
    /// The database is not available.
    pub async fn erasure(&mut self, client: ClientId) -> Result<Option<ErasureRow>, StoreError> {
        const SQL: &str = "SELECT * FROM erasures WHERE client_id = $1";
        let row: Option<Stored<ErasureRow>> = on!(self, conn => {
            sqlx::query_as::<Db, _>(SQL).bind(client).fetch_optional(conn).await?
        });
        Ok(row.and_then(|row| self.stored(row)))
    }
}
