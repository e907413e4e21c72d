//! Roles and environments: names that people give to the ids that are bound into wraps.

use super::error::StoreError;
use super::stored::Stored;
use super::tag::{Fields, Tagged};
use super::tx::{Page, Tx, on, one};
use crate::model::{EnvironmentId, RoleId, Slug, Timestamp};

/// The two tables have the same columns, and the same statements but for their names.
macro_rules! named {
    (
        $(#[$doc:meta])* $row:ident, $id:ident, $table:literal,
        $insert:ident, $update:ident, $get:ident, $by_name:ident, $list:ident
    ) => {
        $(#[$doc])*
        #[derive(Clone, Debug, sqlx::FromRow)]
        #[expect(missing_docs, reason = "the columns of the table")]
        pub struct $row {
            pub id: $id,
            pub name: Slug,
            pub created_at: Timestamp,
            pub revision: i64,
            pub mac: Vec<u8>,
        }

        impl Tagged for $row {
            const TABLE: &'static str = $table;

            fn fields(&self, fields: &mut Fields) {
                fields.text(self.id).text(&self.name).time(self.created_at).int(self.revision);
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
            /// Adds a row.
            ///
            /// # Errors
            /// [`StoreError::Taken`] when the name is in use.
            pub async fn $insert(&mut self, mut row: $row) -> Result<$row, StoreError> {
                const SQL: &str = concat!("INSERT INTO ", $table,
                    " (id, name, created_at, revision, mac) VALUES ($1, $2, $3, $4, $5)");
                self.tag(&mut row);
                on!(self, conn => {
                    sqlx::query::<Db>(SQL).bind(row.id).bind(row.name.clone())
                        .bind(row.created_at).bind(row.revision).bind(row.mac.clone())
                        .execute(conn).await?;
                });
                Ok(row)
            }

            /// Writes the name if the row still has `expected` as its revision.
            ///
            /// # Errors
            /// [`StoreError::Taken`] when the name is in use.
            pub async fn $update(&mut self, row: &mut $row, expected: i64) -> Result<bool, StoreError> {
                const SQL: &str = concat!("UPDATE ", $table,
                    " SET name = $1, revision = $2, mac = $3 WHERE id = $4 AND revision = $5");
                self.tag(row);
                let rows = on!(self, conn => {
                    sqlx::query::<Db>(SQL).bind(row.name.clone()).bind(row.revision)
                        .bind(row.mac.clone()).bind(row.id).bind(expected)
                        .execute(conn).await?.rows_affected()
                });
                Ok(one(rows))
            }

            /// The row with this id.
            ///
            /// # Errors
            /// The database is not available.
            pub async fn $get(&mut self, id: $id) -> Result<Option<$row>, StoreError> {
                const SQL: &str = concat!("SELECT * FROM ", $table, " WHERE id = $1");
                let row: Option<Stored<$row>> = on!(self, conn => {
                    sqlx::query_as::<Db, _>(SQL).bind(id).fetch_optional(conn).await?
                });
                Ok(row.and_then(|row| self.stored(row)))
            }

            /// The row with this name.
            ///
            /// # Errors
            /// The database is not available.
            pub async fn $by_name(&mut self, name: &Slug) -> Result<Option<$row>, StoreError> {
                const SQL: &str = concat!("SELECT * FROM ", $table, " WHERE name = $1");
                let row: Option<Stored<$row>> = on!(self, conn => {
                    sqlx::query_as::<Db, _>(SQL).bind(name.clone()).fetch_optional(conn).await?
                });
                Ok(row.and_then(|row| self.stored(row)))
            }

            /// Rows after the id `after`, in the order of their ids.
            ///
            /// # Errors
            /// The database is not available.
            pub async fn $list(&mut self, after: &str, limit: i64) -> Result<Page<$row>, StoreError> {
                const SQL: &str = concat!("SELECT * FROM ", $table,
                    " WHERE id > $1 ORDER BY id LIMIT $2");
                let rows: Vec<Stored<$row>> = on!(self, conn => {
                    sqlx::query_as::<Db, _>(SQL).bind(after.to_owned()).bind(limit + 1)
                        .fetch_all(conn).await?
                });
                Ok(self.page(rows, limit))
            }
        }
    };
}

named! {
    /// What servers are for.
    RoleRow, RoleId, "roles", insert_role, update_role, role, role_by_name, roles
}

named! {
    /// Where servers run.
    EnvironmentRow, EnvironmentId, "environments",
    insert_environment, update_environment, environment, environment_by_name, environments
}
