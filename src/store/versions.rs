//! Versions of credentials: their states, sealed payloads and fingerprints.

use super::error::StoreError;
use super::stored::Stored;
use super::tag::{Fields, Tagged};
use super::tx::{Tx, on, one};
use crate::model::{
    CredentialId, ExpirySource, Precision, Timestamp, Verification, VersionId, VersionState,
};

/// A version as stored. Payload and identifiers are not part of the tag: they are authenticated by their
/// sealing, and lists do not read them.
#[derive(Clone, sqlx::FromRow)]
#[expect(missing_docs, reason = "the columns of the table")]
pub struct VersionRow {
    pub id: VersionId,
    pub credential_id: CredentialId,
    pub number: i64,
    pub state: VersionState,
    pub verification: Verification,
    pub expires_at: Option<Timestamp>,
    pub expires_precision: Option<Precision>,
    pub expires_source: Option<ExpirySource>,
    pub compromised_at: Option<Timestamp>,
    pub created_at: Timestamp,
    pub state_changed_at: Timestamp,
    pub reason: Option<String>,
    pub mac: Vec<u8>,
}

impl Tagged for VersionRow {
    const TABLE: &'static str = "credential_versions";

    fn fields(&self, fields: &mut Fields) {
        fields
            .text(self.id)
            .text(self.credential_id)
            .int(self.number)
            .text(self.state)
            .text(self.verification)
            .opt_time(self.expires_at)
            .opt_text(self.expires_precision)
            .opt_text(self.expires_source)
            .opt_time(self.compromised_at)
            .time(self.created_at)
            .time(self.state_changed_at)
            .opt_text(self.reason.as_deref());
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

/// A keyed fingerprint of one secret field.
#[derive(Clone, sqlx::FromRow)]
#[expect(missing_docs, reason = "the columns of the table")]
pub struct FingerprintRow {
    pub version_id: VersionId,
    pub field: String,
    pub fingerprint: Vec<u8>,
}

macro_rules! select_versions {
    ($rest:literal) => {
        concat!(
            "SELECT id, credential_id, number, state, verification, expires_at, \
             expires_precision, expires_source, compromised_at, created_at, state_changed_at, \
             reason, mac FROM credential_versions ",
            $rest
        )
    };
}

impl Tx {
    /// Adds a version with its payload and its identifiers, both sealed.
    ///
    /// # Errors
    /// [`StoreError::Taken`] when the number exists or another version is active.
    pub async fn insert_version(
        &mut self,
        mut row: VersionRow,
        payload: &[u8],
        identifiers: &[u8],
    ) -> Result<VersionRow, StoreError> {
        const SQL: &str = "INSERT INTO credential_versions (id, credential_id, number, state,
                verification, expires_at, expires_precision, expires_source, compromised_at,
                created_at, state_changed_at, reason, payload, identifiers, mac)
            VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15)";
        self.tag(&mut row);
        on!(self, conn => {
            sqlx::query::<Db>(SQL).bind(row.id).bind(row.credential_id).bind(row.number)
                .bind(row.state).bind(row.verification).bind(row.expires_at)
                .bind(row.expires_precision).bind(row.expires_source).bind(row.compromised_at)
                .bind(row.created_at).bind(row.state_changed_at).bind(row.reason.clone())
                .bind(payload.to_vec()).bind(identifiers.to_vec()).bind(row.mac.clone()).execute(conn).await?;
        });
        Ok(row)
    }

    /// Writes everything of a version that can change, if it is still in the state `expected`.
    ///
    /// # Errors
    /// [`StoreError::Taken`] when another version is active.
    pub async fn update_version(
        &mut self,
        row: &mut VersionRow,
        expected: VersionState,
    ) -> Result<bool, StoreError> {
        const SQL: &str = "UPDATE credential_versions SET state = $1, verification = $2,
                expires_at = $3, expires_precision = $4, expires_source = $5,
                compromised_at = $6, state_changed_at = $7, reason = $8, mac = $9
            WHERE id = $10 AND state = $11";
        self.tag(row);
        let rows = on!(self, conn => {
            sqlx::query::<Db>(SQL).bind(row.state).bind(row.verification).bind(row.expires_at)
                .bind(row.expires_precision).bind(row.expires_source).bind(row.compromised_at)
                .bind(row.state_changed_at).bind(row.reason.clone()).bind(row.mac.clone())
                .bind(row.id).bind(expected).execute(conn).await?.rows_affected()
        });
        Ok(one(rows))
    }

    /// Deletes the ciphertext of a version whose DEK is destroyed, and what names its owner.
    ///
    /// # Errors
    /// The database is not available.
    pub async fn delete_payload(&mut self, version: VersionId) -> Result<(), StoreError> {
        const SQL: &str = "UPDATE credential_versions SET payload = NULL, identifiers = NULL
            WHERE id = $1";
        on!(self, conn => { sqlx::query::<Db>(SQL).bind(version).execute(conn).await?; });
        Ok(())
    }

    /// The versions of a credential, newest first.
    ///
    /// # Errors
    /// The database is not available.
    pub async fn versions(
        &mut self,
        credential: CredentialId,
    ) -> Result<Vec<VersionRow>, StoreError> {
        const SQL: &str = select_versions!("WHERE credential_id = $1 ORDER BY number DESC");
        let rows: Vec<Stored<VersionRow>> = on!(self, conn => {
            sqlx::query_as::<Db, _>(SQL).bind(credential).fetch_all(conn).await?
        });
        Ok(self.checked_all(rows))
    }

    /// The highest version number that the credential ever had; 0 before the first.
    ///
    /// # Errors
    /// The database is not available.
    pub async fn newest_version_number(
        &mut self,
        credential: CredentialId,
    ) -> Result<i64, StoreError> {
        const SQL: &str = "SELECT MAX(number) FROM credential_versions WHERE credential_id = $1";
        let number: Option<i64> = on!(self, conn => {
            sqlx::query_scalar::<Db, _>(SQL).bind(credential).fetch_one(conn).await?
        });
        Ok(number.unwrap_or(0))
    }

    /// One version by its number.
    ///
    /// # Errors
    /// The database is not available.
    pub async fn version(
        &mut self,
        credential: CredentialId,
        number: i64,
    ) -> Result<Option<VersionRow>, StoreError> {
        const SQL: &str = select_versions!("WHERE credential_id = $1 AND number = $2");
        let row: Option<Stored<VersionRow>> = on!(self, conn => {
            sqlx::query_as::<Db, _>(SQL).bind(credential).bind(number).fetch_optional(conn).await?
        });
        Ok(row.and_then(|row| self.stored(row)))
    }

    /// The active version.
    ///
    /// # Errors
    /// The database is not available.
    pub async fn active_version(
        &mut self,
        credential: CredentialId,
    ) -> Result<Option<VersionRow>, StoreError> {
        const SQL: &str = select_versions!("WHERE credential_id = $1 AND state = 'active'");
        let row: Option<Stored<VersionRow>> = on!(self, conn => {
            sqlx::query_as::<Db, _>(SQL).bind(credential).fetch_optional(conn).await?
        });
        Ok(row.and_then(|row| self.stored(row)))
    }

    /// The sealed payload of a version; `None` once it is shredded.
    ///
    /// # Errors
    /// The database is not available.
    pub async fn payload(&mut self, version: VersionId) -> Result<Option<Vec<u8>>, StoreError> {
        const SQL: &str = "SELECT payload FROM credential_versions WHERE id = $1";
        let row: Option<Option<Vec<u8>>> = on!(self, conn => {
            sqlx::query_scalar::<Db, _>(SQL).bind(version).fetch_optional(conn).await?
        });
        Ok(row.flatten())
    }

    /// The sealed identifiers of a version; `None` once its value is destroyed.
    ///
    /// # Errors
    /// The database is not available.
    pub async fn identifiers(&mut self, version: VersionId) -> Result<Option<Vec<u8>>, StoreError> {
        const SQL: &str = "SELECT identifiers FROM credential_versions WHERE id = $1";
        let row: Option<Option<Vec<u8>>> = on!(self, conn => {
            sqlx::query_scalar::<Db, _>(SQL).bind(version).fetch_optional(conn).await?
        });
        Ok(row.flatten())
    }

    /// Adds the fingerprints of a version's secret fields.
    ///
    /// # Errors
    /// The database is not available.
    pub async fn insert_fingerprints(&mut self, rows: &[FingerprintRow]) -> Result<(), StoreError> {
        const SQL: &str = "INSERT INTO version_fingerprints (version_id, field, fingerprint)
            VALUES ($1, $2, $3)";
        on!(self, conn => {
            for row in rows {
                sqlx::query::<Db>(SQL).bind(row.version_id).bind(row.field.clone())
                    .bind(row.fingerprint.clone()).execute(&mut *conn).await?;
            }
        });
        Ok(())
    }

    /// Which versions have a field with this fingerprint.
    ///
    /// # Errors
    /// The database is not available.
    pub async fn by_fingerprint(
        &mut self,
        fingerprint: &[u8],
    ) -> Result<Vec<FingerprintRow>, StoreError> {
        const SQL: &str =
            "SELECT * FROM version_fingerprints WHERE fingerprint = $1 ORDER BY version_id, field";
        Ok(on!(self, conn => {
            sqlx::query_as::<Db, _>(SQL).bind(fingerprint.to_vec()).fetch_all(conn).await?
        }))
    }

    /// How many credentials have an active version.
    ///
    /// # Errors
    /// The database is not available.
    pub async fn count_active_versions(&mut self) -> Result<i64, StoreError> {
        const SQL: &str = "SELECT count(*) FROM credential_versions WHERE state = 'active'";
        Ok(on!(self, conn => sqlx::query_scalar::<Db, i64>(SQL).fetch_one(conn).await?))
    }

    /// How many of them have no date of expiry.
    ///
    /// # Errors
    /// The database is not available.
    pub async fn count_active_versions_without_expiry(&mut self) -> Result<i64, StoreError> {
        const SQL: &str = "SELECT count(*) FROM credential_versions
            WHERE state = 'active' AND expires_at IS NULL";
        Ok(on!(self, conn => sqlx::query_scalar::<Db, i64>(SQL).fetch_one(conn).await?))
    }

    /// How many of them expire before `until`.
    ///
    /// # Errors
    /// The database is not available.
    pub async fn count_active_versions_until(
        &mut self,
        until: Timestamp,
    ) -> Result<i64, StoreError> {
        const SQL: &str = "SELECT count(*) FROM credential_versions
            WHERE state = 'active' AND expires_at < $1";
        Ok(on!(self, conn => {
            sqlx::query_scalar::<Db, i64>(SQL).bind(until).fetch_one(conn).await?
        }))
    }
}
