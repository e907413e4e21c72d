//! Whole tables, in a form that both databases share: what a backup holds and a restore writes.
//!
//! The tables are found in the database itself, so that one which a later migration adds cannot be
//! forgotten. The names that go into a statement always come from there, never from a backup.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use sqlx::{AssertSqlSafe, Row};

use super::database::Database;
use super::error::StoreError;
use super::tx::{Inner, Places, Tx, on};

/// Tables that are not the deployment's: those of the database and of its migrations.
const INTERNAL: &[&str] = &["_sqlx_migrations"];

/// Tables whose rows mean nothing after a restore, and would be dangerous if they did: what may be
/// used once only, of which the backup cannot know whether it was used since.
const FOR_ONCE: &[&str] = &["enrolment_tokens", "spent_assertions"];

/// What a column holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ColumnType {
    /// A signed 64-bit number.
    Integer,
    /// UTF-8.
    Text,
    /// Bytes.
    Bytes,
}

/// A column of a table.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Column {
    /// Its name.
    pub name: String,
    /// What it holds.
    pub holds: ColumnType,
}

/// A table as it is found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Table {
    /// Its name.
    pub name: String,
    /// Its columns, by name.
    pub columns: Vec<Column>,
    /// Places in `columns` of the primary key, in the key's order.
    key: Vec<usize>,
}

/// One value of a row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Value {
    /// NULL.
    Null,
    /// A number.
    Integer(i64),
    /// A text.
    Text(String),
    /// Bytes.
    Bytes(Vec<u8>),
}

impl Value {
    /// The number.
    pub fn integer(&self) -> Option<i64> {
        match self {
            Self::Integer(number) => Some(*number),
            _ => None,
        }
    }

    /// The text.
    pub fn text(&self) -> Option<&str> {
        match self {
            Self::Text(text) => Some(text),
            _ => None,
        }
    }

    /// The bytes.
    pub fn bytes(&self) -> Option<&[u8]> {
        match self {
            Self::Bytes(bytes) => Some(bytes),
            _ => None,
        }
    }
}

/// Binds the values of one row, each with the type of its column.
macro_rules! bind_all {
    ($query:expr, $values:expr) => {{
        let mut query = $query;
        for (holds, value) in $values {
            query = match (holds, value) {
                (ColumnType::Integer, value) => query.bind(value.integer()),
                (ColumnType::Text, value) => query.bind(value.text().map(str::to_owned)),
                (ColumnType::Bytes, value) => query.bind(value.bytes().map(<[u8]>::to_vec)),
            };
        }
        query
    }};
}

impl Table {
    /// The place of a column.
    pub fn place(&self, column: &str) -> Option<usize> {
        self.columns.iter().position(|it| it.name == column)
    }

    /// The key's values of a row.
    fn key_of<'a>(&'a self, row: &'a [Value]) -> Vec<(ColumnType, &'a Value)> {
        let of = |place: &usize| (self.columns[*place].holds, &row[*place]);
        self.key.iter().map(of).collect()
    }

    fn quoted<'a>(names: impl Iterator<Item = &'a str>) -> String {
        let quoted: Vec<String> = names.map(|name| format!("\"{name}\"")).collect();
        quoted.join(", ")
    }

    /// The text that reads a page: from the beginning, or behind a key.
    fn select(&self, behind: bool) -> String {
        let columns = Self::quoted(self.columns.iter().map(|it| it.name.as_str()));
        let key = Self::quoted(self.key.iter().map(|at| self.columns[*at].name.as_str()));
        let count = self.key.len();
        let places: Vec<String> = (1..=count).map(|place| format!("${place}")).collect();
        let (condition, limit) = match behind {
            true => (
                format!(" WHERE ({key}) > ({})", places.join(", ")),
                count + 1,
            ),
            false => (String::new(), 1),
        };
        let name = &self.name;
        format!("SELECT {columns} FROM \"{name}\"{condition} ORDER BY {key} LIMIT ${limit}")
    }

    /// The text that inserts `rows` rows.
    fn insert<P: Places>(&self, rows: usize) -> String {
        let columns = Self::quoted(self.columns.iter().map(|it| it.name.as_str()));
        let width = self.columns.len();
        let row = |row: usize| {
            let place = |column: usize| match P::NUMBERED {
                true => format!("${}", row * width + column + 1),
                false => "?".to_owned(),
            };
            format!("({})", (0..width).map(place).collect::<Vec<_>>().join(","))
        };
        let rows: Vec<String> = (0..rows).map(row).collect();
        format!(
            "INSERT INTO \"{}\" ({columns}) VALUES {}",
            self.name,
            rows.join(", ")
        )
    }
}

/// The most rows of one insert.
const INSERTED_AT_ONCE: usize = 64;

impl Database {
    /// A transaction that only reads and sees one moment, however long it takes and whatever is
    /// written meanwhile.
    ///
    /// # Errors
    /// The database is not available.
    pub async fn snapshot(&self) -> Result<Tx, StoreError> {
        let mut tx = self.begin_snapshot().await?;
        // SQLite takes its view with the first read.
        tx.policy_generation().await?;
        Ok(tx)
    }
}

impl Tx {
    /// Which of the two databases this is.
    pub fn database_name(&self) -> &'static str {
        match self.inner {
            Inner::Sqlite(_) => "sqlite",
            Inner::Postgres(_) => "postgresql",
        }
    }

    /// The numbers of the migrations that made the schema.
    ///
    /// # Errors
    /// The database is not available.
    pub async fn schema(&mut self) -> Result<Vec<i64>, StoreError> {
        const SQL: &str = "SELECT version FROM _sqlx_migrations ORDER BY version";
        Ok(on!(self, conn => sqlx::query_scalar::<Db, _>(SQL).fetch_all(conn).await?))
    }

    /// Every table that belongs into a backup, those first that others refer to.
    ///
    /// # Errors
    /// The database is not available, or has a table that no backup can hold.
    pub async fn tables(&mut self) -> Result<Vec<Table>, StoreError> {
        // One line for each column: table, column, type, and its place in the primary key from 1.
        const SQLITE: &str = "SELECT t.name, c.name, lower(c.type), c.pk
            FROM sqlite_master AS t, pragma_table_info(t.name) AS c
            WHERE t.type = 'table' AND t.name NOT LIKE 'sqlite\\_%' ESCAPE '\\'";
        const POSTGRES: &str = "SELECT c.table_name::text, c.column_name::text, c.data_type::text,
                COALESCE(k.ordinal_position, 0)::bigint
            FROM information_schema.columns AS c
            JOIN information_schema.tables AS t
              ON t.table_schema = c.table_schema AND t.table_name = c.table_name
             AND t.table_type = 'BASE TABLE'
            LEFT JOIN information_schema.table_constraints AS p
              ON p.table_schema = c.table_schema AND p.table_name = c.table_name
             AND p.constraint_type = 'PRIMARY KEY'
            LEFT JOIN information_schema.key_column_usage AS k
              ON k.constraint_schema = p.constraint_schema
             AND k.constraint_name = p.constraint_name AND k.table_name = c.table_name
             AND k.column_name = c.column_name
            WHERE c.table_schema = current_schema()";
        const SQLITE_REFERENCES: &str = "SELECT t.name, r.\"table\"
            FROM sqlite_master AS t, pragma_foreign_key_list(t.name) AS r WHERE t.type = 'table'";
        const POSTGRES_REFERENCES: &str = "SELECT a.relname::text, b.relname::text
            FROM pg_constraint AS c JOIN pg_class AS a ON a.oid = c.conrelid
            JOIN pg_class AS b ON b.oid = c.confrelid JOIN pg_namespace AS n ON n.oid = a.relnamespace
            WHERE c.contype = 'f' AND n.nspname = current_schema()";
        type Columns = Vec<(String, String, String, i64)>;
        let (columns, references): (Columns, Vec<(String, String)>) = match &mut self.inner {
            Inner::Sqlite(tx) => (
                sqlx::query_as(SQLITE).fetch_all(&mut **tx).await?,
                sqlx::query_as(SQLITE_REFERENCES)
                    .fetch_all(&mut **tx)
                    .await?,
            ),
            Inner::Postgres(tx) => (
                sqlx::query_as(POSTGRES).fetch_all(&mut **tx).await?,
                sqlx::query_as(POSTGRES_REFERENCES)
                    .fetch_all(&mut **tx)
                    .await?,
            ),
        };
        // Databases sort texts differently; both have to give one order.
        let mut columns = columns;
        columns.sort_unstable();
        let mut tables: BTreeMap<String, (Table, BTreeMap<i64, usize>)> = BTreeMap::new();
        for (name, column, holds, place) in columns {
            if INTERNAL.contains(&name.as_str()) || FOR_ONCE.contains(&name.as_str()) {
                continue;
            }
            let holds = match holds.as_str() {
                "integer" | "bigint" => ColumnType::Integer,
                "text" => ColumnType::Text,
                "blob" | "bytea" => ColumnType::Bytes,
                _ => {
                    tracing::error!(table = name, column, "no backup can hold this column");
                    return Err(StoreError::Defect);
                }
            };
            let (table, key) = tables.entry(name.clone()).or_insert_with(|| {
                let (columns, key) = (Vec::new(), Vec::new());
                (Table { name, columns, key }, BTreeMap::new())
            });
            if place > 0 {
                key.insert(place, table.columns.len());
            }
            table.columns.push(Column {
                name: column,
                holds,
            });
        }
        let mut found = BTreeMap::new();
        for (name, (mut table, key)) in tables {
            table.key = key.into_values().collect();
            if table.key.is_empty() {
                tracing::error!(
                    table = name,
                    "a table without a primary key cannot be backed up"
                );
                return Err(StoreError::Defect);
            }
            found.insert(name, table);
        }
        in_order(found, &references)
    }

    /// At most `limit` rows of a table, in the order of its key, behind the row `after`.
    ///
    /// # Errors
    /// The database is not available.
    pub async fn rows_after(
        &mut self,
        table: &Table,
        after: Option<&[Value]>,
        limit: i64,
    ) -> Result<Vec<Vec<Value>>, StoreError> {
        let text = table.select(after.is_some());
        let key = after.map(|row| table.key_of(row)).unwrap_or_default();
        let mut found = Vec::new();
        on!(self, conn => {
            let query = bind_all!(sqlx::query::<Db>(AssertSqlSafe(text)), key).bind(limit);
            for row in query.fetch_all(conn).await? {
                let mut values = Vec::with_capacity(table.columns.len());
                for (at, column) in table.columns.iter().enumerate() {
                    let value = match column.holds {
                        ColumnType::Integer => row.try_get::<Option<i64>, _>(at)?.map(Value::Integer),
                        ColumnType::Text => row.try_get::<Option<String>, _>(at)?.map(Value::Text),
                        ColumnType::Bytes => row.try_get::<Option<Vec<u8>>, _>(at)?.map(Value::Bytes),
                    };
                    values.push(value.unwrap_or(Value::Null));
                }
                found.push(values);
            }
        });
        Ok(found)
    }

    /// How many rows a table has.
    ///
    /// # Errors
    /// The database is not available.
    pub async fn count_rows(&mut self, table: &Table) -> Result<u64, StoreError> {
        let text = format!("SELECT COUNT(*) FROM \"{}\"", table.name);
        let count: i64 = on!(self, conn => {
            sqlx::query_scalar::<Db, _>(AssertSqlSafe(text)).fetch_one(conn).await?
        });
        Ok(u64::try_from(count).unwrap_or(0))
    }

    /// How many versions have a sealed value.
    ///
    /// # Errors
    /// The database is not available.
    pub async fn count_sealed_values(&mut self) -> Result<u64, StoreError> {
        const SQL: &str = "SELECT COUNT(*) FROM credential_versions WHERE payload IS NOT NULL";
        let count: i64 = on!(self, conn => sqlx::query_scalar::<Db, _>(SQL).fetch_one(conn).await?);
        Ok(u64::try_from(count).unwrap_or(0))
    }

    /// Adds rows to a table as they are, tags and all.
    ///
    /// # Errors
    /// The database is not available, or a rule of the schema refuses a row.
    pub async fn insert_rows(
        &mut self,
        table: &Table,
        rows: &[Vec<Value>],
    ) -> Result<(), StoreError> {
        for chunk in rows.chunks(INSERTED_AT_ONCE) {
            let values = chunk.iter().flat_map(|row| {
                let holds = table.columns.iter().map(|column| column.holds);
                holds.zip(row)
            });
            on!(self, conn => {
                let text = table.insert::<Db>(chunk.len());
                bind_all!(sqlx::query::<Db>(AssertSqlSafe(text)), values).execute(conn).await?;
            });
        }
        Ok(())
    }
}

/// Sorts tables so that none stands before one that it refers to; by name where that is free.
fn in_order(
    mut tables: BTreeMap<String, Table>,
    references: &[(String, String)],
) -> Result<Vec<Table>, StoreError> {
    let mut placed: BTreeSet<String> = BTreeSet::new();
    let mut ordered = Vec::with_capacity(tables.len());
    while !tables.is_empty() {
        let free = |name: &String| {
            references
                .iter()
                .filter(|(from, to)| from == name && to != name)
                .all(|(_, to)| placed.contains(to))
        };
        let Some(name) = tables.keys().find(|name| free(name)).cloned() else {
            tracing::error!("tables refer to each other in a circle");
            return Err(StoreError::Defect);
        };
        ordered.extend(tables.remove(&name));
        placed.insert(name);
    }
    Ok(ordered)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(name: &str) -> (String, Table) {
        let column = |name: &str, holds| Column {
            name: name.to_owned(),
            holds,
        };
        let columns = vec![
            column("id", ColumnType::Text),
            column("n", ColumnType::Integer),
        ];
        let table = Table {
            name: name.to_owned(),
            columns,
            key: vec![0, 1],
        };
        (name.to_owned(), table)
    }

    #[test]
    fn what_is_referred_to_comes_first() {
        let tables = || ["a", "b", "c"].into_iter().map(table).collect();
        let refers = |pairs: &[(&str, &str)]| -> Vec<(String, String)> {
            let own = |(a, b): &(&str, &str)| ((*a).to_owned(), (*b).to_owned());
            pairs.iter().map(own).collect()
        };
        let names = |references: &[(&str, &str)]| -> Option<Vec<String>> {
            let ordered = in_order(tables(), &refers(references)).ok()?;
            Some(ordered.into_iter().map(|table| table.name).collect())
        };
        assert_eq!(names(&[]).unwrap(), ["a", "b", "c"]);
        assert_eq!(
            names(&[("a", "c"), ("c", "b"), ("b", "b")]).unwrap(),
            ["b", "c", "a"]
        );
        assert!(names(&[("a", "b"), ("b", "a")]).is_none());
    }

    #[test]
    fn the_texts_are_those_of_each_database() {
        let (_, table) = table("t");
        assert_eq!(
            table.select(false),
            "SELECT \"id\", \"n\" FROM \"t\" ORDER BY \"id\", \"n\" LIMIT $1"
        );
        assert!(
            table
                .select(true)
                .contains("WHERE (\"id\", \"n\") > ($1, $2) ORDER")
        );
        assert!(
            table
                .insert::<sqlx::Sqlite>(2)
                .ends_with("VALUES (?,?), (?,?)")
        );
        assert!(
            table
                .insert::<sqlx::Postgres>(2)
                .ends_with("VALUES ($1,$2), ($3,$4)")
        );
    }
}
