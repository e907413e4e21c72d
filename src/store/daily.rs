//! Which active credentials a daily check has not looked at lately.

use super::error::StoreError;
use super::tx::{Tx, on};
use crate::model::{ClientId, CredentialId, CredentialKind, Timestamp, VersionId};

/// An active version that nothing has verified for some time.
#[derive(Clone, Debug, sqlx::FromRow)]
#[expect(missing_docs, reason = "the columns of the query")]
pub struct UncheckedRow {
    pub client_id: ClientId,
    pub credential_id: CredentialId,
    pub kind: CredentialKind,
    pub version_id: VersionId,
    pub number: i64,
    /// Since when it is the active one.
    pub state_changed_at: Timestamp,
    /// When a run of this version was over last.
    pub last_at: Option<Timestamp>,
}

impl Tx {
    /// Active versions of credentials after the id `after` that have no open run, and none that was
    /// over at `since` or later. Only a hint: tags are checked when a run is made, and when it is
    /// taken.
    ///
    /// # Errors
    /// The database is not available.
    pub async fn unchecked_versions(
        &mut self,
        since: Timestamp,
        after: Option<CredentialId>,
        limit: i64,
    ) -> Result<Vec<UncheckedRow>, StoreError> {
        const SQL: &str =
            "SELECT c.client_id, v.credential_id, c.kind, v.id AS version_id, v.number,
                v.state_changed_at,
                (SELECT MAX(r.finished_at) FROM verifications r
                  WHERE r.credential_id = v.credential_id AND r.version_id = v.id) AS last_at
            FROM credential_versions v JOIN credentials c ON c.id = v.credential_id
            WHERE v.state = 'active' AND v.credential_id > $1 AND c.kind <> $2
              AND NOT EXISTS (SELECT 1 FROM verifications o
                WHERE o.credential_id = v.credential_id AND o.version_id = v.id
                  AND (o.state <> 'done' OR o.finished_at >= $3))
            ORDER BY v.credential_id LIMIT $4";
        let after = after.map(|id| id.to_string()).unwrap_or_default();
        Ok(on!(self, conn => {
            sqlx::query_as::<Db, _>(SQL).bind(after).bind(CredentialKind::Generic).bind(since)
                .bind(limit).fetch_all(conn).await?
        }))
    }

    /// How many daily checks were made since then, for each client.
    ///
    /// # Errors
    /// The database is not available.
    pub async fn daily_checks_since(
        &mut self,
        since: Timestamp,
    ) -> Result<Vec<(ClientId, i64)>, StoreError> {
        const SQL: &str = "SELECT c.client_id, COUNT(*) FROM verifications r
            JOIN credentials c ON c.id = r.credential_id
            WHERE r.cause = 'daily' AND r.created_at > $1 GROUP BY c.client_id";
        Ok(on!(self, conn => {
            sqlx::query_as::<Db, (ClientId, i64)>(SQL).bind(since).fetch_all(conn).await?
        }))
    }
}
