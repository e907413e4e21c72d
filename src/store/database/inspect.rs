//! Looking at a database without changing anything: no migration, no write-ahead log, no lock.

use std::path::Path;
use std::str::FromStr;
use std::time::Duration;

use sqlx::migrate::Migrator;
use sqlx::postgres::{PgConnectOptions, PgPoolOptions};
use sqlx::sqlite::{SqliteConnectOptions, SqlitePoolOptions};

use super::{Database, OpenError, Pools, describe};
use crate::store::StoreError;

/// A migration that a database has run: its number and the hash of its text.
type Step = (i64, Vec<u8>);

/// How the schema of a database relates to this program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Schema {
    /// There is none.
    Empty,
    /// It is the one that this program writes.
    Current,
    /// The next start brings it up to date, with this many steps.
    Older(usize),
    /// A newer version wrote it.
    Newer,
    /// A step was another one than this program knows.
    Foreign,
}

/// What matters of a PostgreSQL server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerFacts {
    /// A commit waits for the disk.
    pub fsync: bool,
    /// A torn page is repaired.
    pub full_page_writes: bool,
    /// A commit waits for at least one standby.
    pub synchronous_standbys: bool,
    /// It is a standby itself, which cannot be written.
    pub standby: bool,
    /// What is said to it can be read on the way: it is on another machine, without TLS.
    pub in_clear: bool,
}

impl Database {
    /// Opens a SQLite file for looking at it.
    ///
    /// # Errors
    /// It is not there or cannot be read.
    pub async fn inspect_sqlite(path: &Path) -> Result<Self, OpenError> {
        let log = path.with_extension("db-wal");
        let options = SqliteConnectOptions::new()
            .filename(path)
            .read_only(true)
            // Without a write-ahead log nobody has it open, and SQLite would make one only to read.
            .immutable(!log.exists())
            .busy_timeout(Duration::from_secs(5))
            .pragma("query_only", "ON");
        let pool = SqlitePoolOptions::new()
            .max_connections(1)
            .acquire_timeout(Duration::from_secs(5))
            .connect_with(options)
            .await
            .map_err(|error| OpenError::Connect(describe(&error)))?;
        Ok(Self::new(Pools::Sqlite {
            writer: pool.clone(),
            readers: pool,
        }))
    }

    /// Connects to PostgreSQL for looking at it.
    ///
    /// # Errors
    /// The server cannot be reached.
    pub async fn inspect_postgres(url: &str) -> Result<Self, OpenError> {
        let options = PgConnectOptions::from_str(url)
            .map_err(|_| OpenError::Connect("the database URL is malformed".to_owned()))?
            .application_name("strongroom-doctor")
            .options([
                ("default_transaction_read_only", "on"),
                ("statement_timeout", "30s"),
            ]);
        let pool = PgPoolOptions::new()
            .max_connections(1)
            .acquire_timeout(Duration::from_secs(5))
            .connect_with(options)
            .await
            .map_err(|error| OpenError::Connect(describe(&error)))?;
        Ok(Self::new(Pools::Postgres(pool)))
    }

    /// How the schema relates to this program.
    ///
    /// # Errors
    /// The database is not available.
    pub async fn schema(&self) -> Result<Schema, StoreError> {
        const THERE: &str = "SELECT version, checksum FROM _sqlx_migrations ORDER BY version";
        let (there, known): (Result<Vec<Step>, _>, Migrator) = match &self.pools {
            Pools::Sqlite { readers, .. } => (
                sqlx::query_as(THERE).fetch_all(readers).await,
                sqlx::migrate!("migrations/sqlite"),
            ),
            Pools::Postgres(pool) => (
                sqlx::query_as(THERE).fetch_all(pool).await,
                sqlx::migrate!("migrations/postgres"),
            ),
        };
        let there = match there {
            Ok(there) => there,
            // The table itself is not there.
            Err(sqlx::Error::Database(_)) => return Ok(Schema::Empty),
            Err(error) => return Err(error.into()),
        };
        let mut older = 0;
        for step in known.iter() {
            match there.iter().find(|(version, _)| *version == step.version) {
                Some((_, checksum)) if checksum.as_slice() == step.checksum.as_ref() => {}
                Some(_) => return Ok(Schema::Foreign),
                None => older += 1,
            }
        }
        let is_known = |version: i64| known.iter().any(|step| step.version == version);
        if !there.iter().all(|(version, _)| is_known(*version)) {
            return Ok(Schema::Newer);
        }
        Ok(match older {
            0 => Schema::Current,
            _ if there.is_empty() => Schema::Empty,
            steps => Schema::Older(steps),
        })
    }

    /// What matters of the server; `None` for the embedded database.
    ///
    /// # Errors
    /// The database is not available.
    pub async fn server_facts(&self) -> Result<Option<ServerFacts>, StoreError> {
        const SQL: &str = "SELECT current_setting('fsync') = 'on',
                current_setting('full_page_writes') = 'on',
                current_setting('synchronous_standby_names') <> '',
                pg_is_in_recovery(),
                NOT coalesce((SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()), false)
                    AND inet_server_addr() IS NOT NULL
                    AND NOT inet_server_addr() <<= '127.0.0.0/8'::inet
                    AND inet_server_addr() <> '::1'::inet";
        let Pools::Postgres(pool) = &self.pools else {
            return Ok(None);
        };
        let (fsync, full_page_writes, synchronous_standbys, standby, in_clear) =
            sqlx::query_as::<_, (bool, bool, bool, bool, bool)>(SQL)
                .fetch_one(pool)
                .await?;
        Ok(Some(ServerFacts {
            fsync,
            full_page_writes,
            synchronous_standbys,
            standby,
            in_clear,
        }))
    }
}
