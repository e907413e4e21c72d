//! What can go wrong in the database, sorted by what the caller has to do.

use sqlx::error::{DatabaseError, ErrorKind};

/// A failed statement or commit. No variant holds a bound value or the server's message, because
/// both can contain what a client sent.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The database is full, locked, read-only, restarting or gone. Nothing was changed, or whether
    /// it was cannot be known; trying again later is right.
    #[error("the database is not available ({0})")]
    Unavailable(&'static str),
    /// A write or fsync failed on the medium. What the database now holds is unknown, so the process
    /// has to stop: a retry would pretend that the earlier write had not happened.
    #[error("the database could not write to its disk")]
    Disk,
    /// The value is taken: a unique index refused the row.
    #[error("a row with this value exists")]
    Taken,
    /// A row that is referred to is not there.
    #[error("a referenced row does not exist")]
    Missing,
    /// Stored data does not have the form that the service writes.
    #[error("the database holds a value that the service cannot have written")]
    Corrupt,
    /// The statement is wrong for this schema: a defect of the service.
    #[error("a statement was refused by the database")]
    Defect,
}

impl From<sqlx::Error> for StoreError {
    fn from(error: sqlx::Error) -> Self {
        match &error {
            sqlx::Error::Database(database) => from_database(database.as_ref()),
            sqlx::Error::Io(_) | sqlx::Error::Tls(_) => Self::Unavailable("connection"),
            sqlx::Error::PoolTimedOut | sqlx::Error::PoolClosed => Self::Unavailable("pool"),
            sqlx::Error::WorkerCrashed => Self::Unavailable("worker"),
            sqlx::Error::ColumnDecode { .. }
            | sqlx::Error::Decode(_)
            | sqlx::Error::RowNotFound => {
                tracing::error!(error = %StoreError::Corrupt, "stored value could not be read");
                Self::Corrupt
            }
            sqlx::Error::Protocol(_) => Self::Unavailable("protocol"),
            _ => {
                // The kind of the error only: its text may hold a bound value.
                tracing::error!(kind = kind_of(&error), "statement refused");
                Self::Defect
            }
        }
    }
}

fn kind_of(error: &sqlx::Error) -> &'static str {
    match error {
        sqlx::Error::Configuration(_) => "configuration",
        sqlx::Error::ColumnNotFound(_) => "column not found",
        sqlx::Error::ColumnIndexOutOfBounds { .. } => "column index",
        sqlx::Error::TypeNotFound { .. } => "type not found",
        sqlx::Error::Encode(_) => "encode",
        _ => "other",
    }
}

fn from_database(error: &dyn DatabaseError) -> StoreError {
    match error.kind() {
        ErrorKind::UniqueViolation => return StoreError::Taken,
        ErrorKind::ForeignKeyViolation => return StoreError::Missing,
        _ => {}
    }
    let code = error.code().unwrap_or_default();
    if let Ok(code) = code.parse::<i32>()
        && error
            .try_downcast_ref::<sqlx::sqlite::SqliteError>()
            .is_some()
    {
        return from_sqlite(code);
    }
    // PostgreSQL error classes, appendix A of its manual.
    match code.get(..2).unwrap_or_default() {
        "08" => StoreError::Unavailable("connection"),
        "25" if code == "25006" => StoreError::Unavailable("read-only"),
        "40" => StoreError::Unavailable("conflict"),
        "53" => StoreError::Unavailable("resources"),
        "55" => StoreError::Unavailable("locked"),
        "57" => StoreError::Unavailable("shutting down"),
        "58" => StoreError::Unavailable("system"),
        _ => {
            tracing::error!(code = %code, "statement refused");
            StoreError::Defect
        }
    }
}

/// SQLite result codes, <https://sqlite.org/rescode.html>; the low byte is the primary code.
fn from_sqlite(code: i32) -> StoreError {
    const IOERR_FSYNC: i32 = 10 | (4 << 8);
    const IOERR_DIR_FSYNC: i32 = 10 | (5 << 8);
    const IOERR_WRITE: i32 = 10 | (3 << 8);
    const IOERR_SHMSIZE: i32 = 10 | (19 << 8);
    const IOERR_SHMMAP: i32 = 10 | (21 << 8);
    match code {
        IOERR_FSYNC | IOERR_DIR_FSYNC | IOERR_WRITE => return StoreError::Disk,
        // The index of the log could not grow: that is before anything is written.
        IOERR_SHMSIZE | IOERR_SHMMAP => return StoreError::Unavailable("full"),
        _ => {}
    }
    match code & 0xff {
        5 | 6 => StoreError::Unavailable("locked"),
        8 => StoreError::Unavailable("read-only"),
        10 => StoreError::Disk,
        13 => StoreError::Unavailable("full"),
        14 => StoreError::Unavailable("cannot open"),
        11 | 26 => StoreError::Corrupt,
        _ => {
            tracing::error!(code, "statement refused");
            StoreError::Defect
        }
    }
}
