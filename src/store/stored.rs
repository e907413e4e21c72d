//! A row that was read, whether or not it can be understood.
//!
//! Whoever can only write the database can put anything into a column. A value that the service would
//! never have written must not spoil the reading of the rows beside it: the row counts as one that the
//! service did not write (promise 4).

use sqlx::{ColumnIndex, Decode, FromRow, Row, Type};

/// A row as it was read.
pub(super) enum Stored<T> {
    /// It can be understood; its tag is not checked yet.
    Row(T),
    /// It cannot be. What its first column says, which is its id.
    Damaged(String),
}

impl<'r, R, T> FromRow<'r, R> for Stored<T>
where
    R: Row,
    T: FromRow<'r, R>,
    usize: ColumnIndex<R>,
    String: Decode<'r, R::Database> + Type<R::Database>,
{
    fn from_row(row: &'r R) -> Result<Self, sqlx::Error> {
        Ok(match T::from_row(row) {
            Ok(row) => Self::Row(row),
            Err(_) => Self::Damaged(row.try_get(0).unwrap_or_default()),
        })
    }
}
