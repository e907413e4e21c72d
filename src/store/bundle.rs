//! The joins behind a bundle: first what a role may get, without ciphertext, then the sealed rows
//! of a range of credentials.

use super::clients::ClientRow;
use super::credentials::CredentialRow;
use super::error::StoreError;
use super::stored::Stored;
use super::tag::Tagged as _;
use super::tx::{Page, Tx, on};
use super::versions::VersionRow;
use crate::model::{
    ClientId, CredentialId, CredentialKind, DisplayName, EnvironmentId, KekId, RoleId, Slug,
    Timestamp, VersionId,
};

/// What a bundle needs to know of one releasable credential, without its ciphertext.
#[derive(Clone, Copy, Debug)]
#[expect(missing_docs, reason = "named like the columns they come from")]
pub struct BundleEntry {
    pub credential: CredentialId,
    pub client: ClientId,
    pub kind: CredentialKind,
    pub version: VersionId,
    pub number: i64,
}

/// One credential with everything that a release of its active version to one role needs.
#[expect(missing_docs, reason = "named like the tables they come from")]
pub struct SealedRow {
    pub credential: CredentialRow,
    pub client: ClientRow,
    pub version: VersionRow,
    pub payload: Vec<u8>,
    pub kek_id: KekId,
    pub wrapped: Vec<u8>,
}

/// The columns that are checked for every entry of a bundle.
#[derive(sqlx::FromRow)]
struct EntryColumns {
    c_id: CredentialId,
    c_client_id: ClientId,
    c_label: DisplayName,
    c_kind: CredentialKind,
    c_environment_id: EnvironmentId,
    c_created_at: Timestamp,
    c_revision: i64,
    c_mac: Vec<u8>,
    r_mac: Vec<u8>,
    #[sqlx(flatten)]
    version: VersionRow,
}

#[derive(sqlx::FromRow)]
struct SealedColumns {
    #[sqlx(flatten)]
    entry: EntryColumns,
    cl_id: ClientId,
    cl_slug: Slug,
    cl_name: DisplayName,
    cl_created_at: Timestamp,
    cl_revision: i64,
    cl_mac: Vec<u8>,
    payload: Option<Vec<u8>>,
    kek_id: KekId,
    wrapped: Vec<u8>,
}

macro_rules! entry_columns {
    () => {
        "c.id AS c_id, c.client_id AS c_client_id, c.label AS c_label, c.kind AS c_kind, \
         c.environment_id AS c_environment_id, c.created_at AS c_created_at, \
         c.revision AS c_revision, c.mac AS c_mac, r.mac AS r_mac, \
         v.id, v.credential_id, v.number, v.state, v.verification, v.expires_at, \
         v.expires_precision, v.expires_source, v.compromised_at, v.created_at, \
         v.state_changed_at, v.reason, v.mac"
    };
}

impl Tx {
    /// What one role may get in one environment: credentials with an active version, after the id
    /// `after`. The tags of credential, grant and version are all checked.
    ///
    /// # Errors
    /// The database is not available.
    pub async fn bundle_entries(
        &mut self,
        environment: EnvironmentId,
        role: RoleId,
        after: &str,
        limit: i64,
    ) -> Result<Page<BundleEntry>, StoreError> {
        const SQL: &str = concat!(
            "SELECT ",
            entry_columns!(),
            " FROM credential_roles r
            JOIN credentials c ON c.id = r.credential_id
            JOIN credential_versions v ON v.credential_id = c.id AND v.state = 'active'
            WHERE r.role_id = $1 AND r.credential_id > $2 AND c.environment_id = $3
            ORDER BY r.credential_id LIMIT $4"
        );
        let rows: Vec<Stored<EntryColumns>> = on!(self, conn => {
            sqlx::query_as::<Db, _>(SQL).bind(role).bind(after.to_owned()).bind(environment)
                .bind(limit + 1).fetch_all(conn).await?
        });
        let page = Page::cut(rows, limit, |row| match row {
            Stored::Row(row) => row.c_id.to_string(),
            Stored::Damaged(id) => id.clone(),
        });
        let items = page
            .items
            .into_iter()
            .filter_map(|row| self.checked_entry(role, self.understood(row)?));
        let items = items
            .map(|(credential, version)| BundleEntry {
                credential: credential.id,
                client: credential.client_id,
                kind: credential.kind,
                version: version.id,
                number: version.number,
            })
            .collect();
        Ok(Page {
            items,
            next: page.next,
        })
    }

    /// The sealed rows that one role may get in one environment, from the credential `first` to
    /// `last`, both included. A row whose payload is gone is left out.
    ///
    /// # Errors
    /// The database is not available.
    pub async fn sealed_rows(
        &mut self,
        environment: EnvironmentId,
        role: RoleId,
        first: CredentialId,
        last: CredentialId,
    ) -> Result<Vec<SealedRow>, StoreError> {
        const SQL: &str = concat!(
            "SELECT ",
            entry_columns!(),
            ", cl.id AS cl_id, cl.slug AS cl_slug, cl.name AS cl_name,
                cl.created_at AS cl_created_at, cl.revision AS cl_revision, cl.mac AS cl_mac,
                v.payload, w.kek_id, w.wrapped
            FROM credential_roles r
            JOIN credentials c ON c.id = r.credential_id
            JOIN clients cl ON cl.id = c.client_id
            JOIN credential_versions v ON v.credential_id = c.id AND v.state = 'active'
            JOIN dek_wraps w ON w.version_id = v.id AND w.role_id = r.role_id
            WHERE r.role_id = $1 AND r.credential_id >= $2 AND r.credential_id <= $3
              AND c.environment_id = $4
            ORDER BY r.credential_id"
        );
        let rows: Vec<Stored<SealedColumns>> = on!(self, conn => {
            sqlx::query_as::<Db, _>(SQL).bind(role).bind(first).bind(last).bind(environment)
                .fetch_all(conn).await?
        });
        let mut sealed = Vec::with_capacity(rows.len());
        for row in rows {
            let Some(row) = self.understood(row) else {
                continue;
            };
            let client = ClientRow {
                id: row.cl_id,
                slug: row.cl_slug,
                name: row.cl_name,
                created_at: row.cl_created_at,
                revision: row.cl_revision,
                mac: row.cl_mac,
            };
            let Some(payload) = row.payload else { continue };
            let Some(client) = self.checked(client) else {
                continue;
            };
            let Some((credential, version)) = self.checked_entry(role, row.entry) else {
                continue;
            };
            sealed.push(SealedRow {
                credential,
                client,
                version,
                payload,
                kek_id: row.kek_id,
                wrapped: row.wrapped,
            });
        }
        Ok(sealed)
    }

    /// The joined row, if every part of it can be understood.
    fn understood<T>(&self, row: Stored<T>) -> Option<T> {
        match row {
            Stored::Row(row) => Some(row),
            Stored::Damaged(id) => {
                self.refusals.report(CredentialRow::TABLE, id);
                None
            }
        }
    }

    fn checked_entry(
        &self,
        role: RoleId,
        row: EntryColumns,
    ) -> Option<(CredentialRow, VersionRow)> {
        let credential = self.checked(CredentialRow {
            id: row.c_id,
            client_id: row.c_client_id,
            label: row.c_label,
            kind: row.c_kind,
            environment_id: row.c_environment_id,
            created_at: row.c_created_at,
            revision: row.c_revision,
            mac: row.c_mac,
        })?;
        if !self.role_grant_is_ours(credential.id, role, row.r_mac) {
            return None;
        }
        Some((credential, self.checked(row.version)?))
    }
}
