//! Opening a database: the settings that durability rests on, and the schema.

mod inspect;

use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use sqlx::AssertSqlSafe;
use sqlx::postgres::{PgConnectOptions, PgPool, PgPoolOptions};
use sqlx::sqlite::{
    SqliteConnectOptions, SqliteJournalMode, SqlitePool, SqlitePoolOptions, SqliteSynchronous,
};

use super::error::StoreError;
use super::tag::{Refusals, Tagger};
use super::tx::{Inner, Tx};
use crate::model::Timestamp;

pub use inspect::{Schema, ServerFacts};

/// An open database.
#[derive(Clone)]
pub struct Database {
    pools: Pools,
    tagger: Arc<dyn Tagger>,
    refusals: Arc<Refusals>,
    #[cfg(test)]
    journal: super::journal::Journal,
}

#[derive(Clone)]
enum Pools {
    /// One connection writes, so that writers queue in the process and never meet SQLITE_BUSY.
    Sqlite {
        writer: SqlitePool,
        readers: SqlitePool,
    },
    Postgres(PgPool),
}

/// Why a database cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// It cannot be reached or opened at all.
    #[error("the database cannot be opened: {0}")]
    Connect(String),
    /// Its schema is of a newer version of this program.
    #[error(
        "the database was written by a newer version of strongroom: start that version, or restore a backup"
    )]
    Newer,
    /// A migration that it has run is not the one that this program knows.
    #[error("the database's schema differs from the one this version knows")]
    Foreign,
    /// PostgreSQL runs with a setting under which an acknowledged commit can be lost.
    #[error(
        "PostgreSQL runs with {0}: acknowledged data could be lost; turn it on and start again"
    )]
    Unsafe(&'static str),
}

/// Several statements see the same state, as they do on SQLite; PostgreSQL's default is a new view for
/// each statement.
const ONE_VIEW: &str = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY";

/// Refuses everything: the database before the service's keys are open.
struct NoTagger;

impl Tagger for NoTagger {
    fn tag(&self, _message: &[u8]) -> [u8; 32] {
        [0; 32]
    }

    fn verify(&self, _message: &[u8], _tag: &[u8]) -> bool {
        false
    }
}

/// One attempt to empty the write-ahead log. A checkpoint that waits for readers holds the write lock
/// (<https://sqlite.org/c3ref/wal_checkpoint_v2.html>), so this one does not wait.
async fn scrub_once(writer: &sqlx::SqlitePool) -> Result<bool, sqlx::Error> {
    let mut connection = writer.acquire().await?;
    sqlx::query("PRAGMA busy_timeout = 0")
        .execute(&mut *connection)
        .await?;
    let done: Result<(i64, i64, i64), _> = sqlx::query_as("PRAGMA wal_checkpoint(TRUNCATE)")
        .fetch_one(&mut *connection)
        .await;
    let restored = sqlx::query(AssertSqlSafe(format!(
        "PRAGMA busy_timeout = {}",
        BUSY_TIMEOUT.as_millis()
    )));
    if let Err(error) = restored.execute(&mut *connection).await {
        // One that does not wait for others would fail where it should not.
        let _ = connection.close().await;
        return Err(error);
    }
    Ok(done?.0 == 0)
}

/// How long a statement waits for the locks of another process.
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);

impl Database {
    /// How many connections read at once from SQLite; each has a page cache of its own.
    const SQLITE_READERS: u32 = 4;
    /// How many connections one node holds to PostgreSQL.
    const POSTGRES_CONNECTIONS: u32 = 12;

    /// Opens the SQLite file at `path`, creating it when `create` is set, and brings its schema up
    /// to date. WAL with `synchronous=FULL`: a commit returns after its log is on the disk
    /// (<https://sqlite.org/pragma.html#pragma_synchronous>).
    ///
    /// # Errors
    /// The file cannot be opened, or is of a newer version.
    pub async fn open_sqlite(path: &Path, create: bool) -> Result<Self, OpenError> {
        let options = SqliteConnectOptions::new()
            .filename(path)
            .create_if_missing(create)
            .journal_mode(SqliteJournalMode::Wal)
            .synchronous(SqliteSynchronous::Full)
            .busy_timeout(BUSY_TIMEOUT)
            .foreign_keys(true)
            // Room for every text of an insert of many rows.
            .statement_cache_capacity(256)
            .pragma("secure_delete", "ON")
            .pragma("temp_store", "MEMORY")
            .pragma("cell_size_check", "ON")
            // 4 MiB of page cache for the writer.
            .pragma("cache_size", "-4096");
        let writer = SqlitePoolOptions::new()
            .max_connections(1)
            .test_before_acquire(false)
            .acquire_timeout(Duration::from_secs(5))
            .connect_with(options.clone())
            .await
            .map_err(|error| OpenError::Connect(describe(&error)))?;
        sqlx::migrate!("migrations/sqlite")
            .run(&writer)
            .await
            .map_err(|e| migration(&e))?;
        let readers = SqlitePoolOptions::new()
            .max_connections(Self::SQLITE_READERS)
            .test_before_acquire(false)
            .acquire_timeout(Duration::from_secs(5))
            .connect_lazy_with(
                options
                    .create_if_missing(false)
                    .pragma("query_only", "ON")
                    // Less for those who read: what is read often is remembered outside.
                    .pragma("cache_size", "-2048"),
            );
        Ok(Self::new(Pools::Sqlite { writer, readers }))
    }

    /// Connects to PostgreSQL and brings the schema up to date. Sets `synchronous_commit=on` for
    /// every connection and refuses a server with `fsync` or `full_page_writes` off.
    ///
    /// # Errors
    /// The server cannot be reached, is unsafe, or its schema is of a newer version.
    pub async fn open_postgres(url: &str) -> Result<Self, OpenError> {
        let options = PgConnectOptions::from_str(url)
            .map_err(|_| OpenError::Connect("the database URL is malformed".to_owned()))?
            .application_name("strongroom")
            .statement_cache_capacity(256)
            .options([
                ("synchronous_commit", "on"),
                ("lock_timeout", "5s"),
                ("statement_timeout", "30s"),
                ("idle_in_transaction_session_timeout", "30s"),
            ]);
        let pool = PgPoolOptions::new()
            .max_connections(Self::POSTGRES_CONNECTIONS)
            .acquire_timeout(Duration::from_secs(5))
            .connect_with(options)
            .await
            .map_err(|error| OpenError::Connect(describe(&error)))?;
        for (setting, message) in [
            ("fsync", "fsync=off"),
            ("full_page_writes", "full_page_writes=off"),
        ] {
            let value: String = sqlx::query_scalar("SELECT current_setting($1)")
                .bind(setting)
                .fetch_one(&pool)
                .await
                .map_err(|error| OpenError::Connect(describe(&error)))?;
            if value != "on" {
                return Err(OpenError::Unsafe(message));
            }
        }
        sqlx::migrate!("migrations/postgres")
            .run(&pool)
            .await
            .map_err(|e| migration(&e))?;
        Ok(Self::new(Pools::Postgres(pool)))
    }

    fn new(pools: Pools) -> Self {
        Self {
            pools,
            tagger: Arc::new(NoTagger),
            refusals: Arc::default(),
            #[cfg(test)]
            journal: super::journal::Journal::default(),
        }
    }

    /// The numbers of the migrations that this program knows.
    pub fn known_schema() -> Vec<i64> {
        let migrations = sqlx::migrate!("migrations/sqlite");
        let versions = migrations.iter().map(|migration| migration.version);
        versions.collect()
    }

    /// The same database with the key that checks registry rows. Until then none is visible.
    #[must_use]
    pub fn with_tagger(mut self, tagger: Arc<dyn Tagger>) -> Self {
        self.tagger = tagger;
        self
    }

    /// Rows that were refused.
    pub fn refusals(&self) -> &Refusals {
        &self.refusals
    }

    /// Whether several nodes can share this database.
    pub const fn is_shared(&self) -> bool {
        matches!(self.pools, Pools::Postgres(_))
    }

    /// A transaction for reading: one consistent view.
    ///
    /// # Errors
    /// The database is not available.
    pub async fn read(&self) -> Result<Tx, StoreError> {
        let inner = match &self.pools {
            Pools::Sqlite { readers, .. } => Inner::Sqlite(readers.begin().await?),
            Pools::Postgres(pool) => Inner::Postgres(begin_to_the_end(pool, ONE_VIEW).await?),
        };
        Ok(self.tx(inner))
    }

    /// A transaction for writing.
    ///
    /// # Errors
    /// The database is not available.
    pub async fn write(&self) -> Result<Tx, StoreError> {
        let inner = match &self.pools {
            Pools::Sqlite { writer, .. } => Inner::Sqlite(begin_immediate(writer).await?),
            Pools::Postgres(pool) => Inner::Postgres(begin_to_the_end(pool, "BEGIN").await?),
        };
        Ok(self.tx(inner))
    }

    /// A transaction that only reads; its view is taken with its first statement.
    pub(super) async fn begin_snapshot(&self) -> Result<Tx, StoreError> {
        let inner = match &self.pools {
            Pools::Sqlite { readers, .. } => Inner::Sqlite(readers.begin().await?),
            Pools::Postgres(pool) => Inner::Postgres(begin_to_the_end(pool, ONE_VIEW).await?),
        };
        Ok(self.tx(inner))
    }

    fn tx(&self, inner: Inner) -> Tx {
        #[cfg(test)]
        self.journal.note("begin");
        Tx {
            inner,
            tagger: Arc::clone(&self.tagger),
            refusals: Arc::clone(&self.refusals),
            #[cfg(test)]
            journal: self.journal.clone(),
        }
    }

    /// Where calls of the store are noted.
    #[cfg(test)]
    pub(crate) fn journal(&self) -> &super::journal::Journal {
        &self.journal
    }

    /// The clock that all nodes share: PostgreSQL's; `None` where there is one node and its own
    /// clock is the only one.
    ///
    /// # Errors
    /// The database is not available.
    pub async fn shared_now(&self) -> Result<Option<Timestamp>, StoreError> {
        match &self.pools {
            Pools::Sqlite { .. } => Ok(None),
            Pools::Postgres(pool) => {
                let micros: i64 = sqlx::query_scalar(
                    "SELECT (extract(epoch FROM clock_timestamp()) * 1000000)::bigint",
                )
                .fetch_one(pool)
                .await?;
                Ok(Some(Timestamp::from_micros(micros)))
            }
        }
    }

    /// Overwrites what was deleted: moves SQLite's write-ahead log into the file, in which freed
    /// places are zeroed (`secure_delete`), and cuts it off. PostgreSQL has no such thing.
    ///
    /// A reader can stand in the way, such as a backup. Then it is tried again for a second, without
    /// keeping anybody from writing meanwhile. `false` when that was not enough.
    pub async fn scrub(&self) -> bool {
        let Pools::Sqlite { writer, .. } = &self.pools else {
            return true;
        };
        for _ in 0..20 {
            if matches!(scrub_once(writer).await, Ok(true)) {
                return true;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        tracing::warn!("deleted rows still stand in the write-ahead log: readers are in the way");
        false
    }

    /// Folds SQLite's write-ahead log into the file and closes every connection.
    pub async fn close(&self) {
        match &self.pools {
            Pools::Sqlite { writer, readers } => {
                readers.close().await;
                writer.close().await;
            }
            Pools::Postgres(pool) => pool.close().await,
        }
    }
}

/// Begins a transaction in a task of its own, which goes on when the caller hangs up. Given up between
/// the statement and its answer, sqlx 0.9 would return a connection to the pool on which a
/// transaction is open that it does not count and so never ends: the next user of that connection
/// would be inside it, and could not write.
async fn begin_to_the_end(
    pool: &PgPool,
    statement: &'static str,
) -> Result<sqlx::Transaction<'static, sqlx::Postgres>, sqlx::Error> {
    let pool = pool.clone();
    let begun = tokio::spawn(async move { pool.begin_with(statement).await }).await;
    begun.unwrap_or(Err(sqlx::Error::WorkerCrashed))
}

/// Begins a transaction that holds the right to write: a deferred one that reads first and then writes
/// fails under contention.
async fn begin_immediate(
    writer: &SqlitePool,
) -> Result<sqlx::Transaction<'static, sqlx::Sqlite>, sqlx::Error> {
    match writer.begin_with("BEGIN IMMEDIATE").await {
        // When the disk is full, SQLite ends the transaction by itself; the connection then counts
        // one that is not there, and never begins another. A new connection does.
        Err(sqlx::Error::InvalidSavePointStatement | sqlx::Error::BeginFailed) => {
            tracing::warn!("a connection to the database lost count of its transaction: replaced");
            let _ = writer.acquire().await?.close().await;
            writer.begin_with("BEGIN IMMEDIATE").await
        }
        begun => begun,
    }
}

/// The path of the embedded database within a data directory.
pub fn sqlite_path(data: &Path) -> PathBuf {
    data.join("strongroom.db")
}

fn describe(error: &sqlx::Error) -> String {
    match error {
        sqlx::Error::Database(error) => error.message().to_owned(),
        sqlx::Error::Io(error) => error.to_string(),
        sqlx::Error::PoolTimedOut => "no connection within five seconds".to_owned(),
        other => other.to_string(),
    }
}

fn migration(error: &sqlx::migrate::MigrateError) -> OpenError {
    use sqlx::migrate::MigrateError;
    match error {
        MigrateError::VersionMissing(_) | MigrateError::VersionTooNew(..) => OpenError::Newer,
        MigrateError::VersionMismatch(_) | MigrateError::Dirty(_) => OpenError::Foreign,
        other => OpenError::Connect(other.to_string()),
    }
}
