//! One transaction on whichever database is open.

use std::sync::{Arc, OnceLock};

use sqlx::{Postgres, Sqlite, Transaction};

use super::error::StoreError;
use super::stored::Stored;
use super::tag::{Fields, Refusals, Tagged, Tagger};

/// A transaction. Dropped without [`Tx::commit`], it changes nothing.
pub struct Tx {
    pub(super) inner: Inner,
    pub(super) tagger: Arc<dyn Tagger>,
    pub(super) refusals: Arc<Refusals>,
    #[cfg(test)]
    pub(super) journal: super::journal::Journal,
}

pub(super) enum Inner {
    Sqlite(Transaction<'static, Sqlite>),
    Postgres(Transaction<'static, Postgres>),
}

/// Runs the same block against whichever database is open. The block is compiled once for each
/// concrete connection type, so no generic bounds are needed; `Db` names the database inside it.
macro_rules! on {
    ($tx:expr, $conn:ident => $body:expr) => {{
        #[cfg(test)]
        $tx.journal.note(concat!(file!(), ":", line!()));
        match &mut $tx.inner {
            $crate::store::tx::Inner::Sqlite(tx) => {
                #[allow(dead_code)]
                type Db = sqlx::Sqlite;
                let $conn = &mut **tx;
                $body
            }
            $crate::store::tx::Inner::Postgres(tx) => {
                #[allow(dead_code)]
                type Db = sqlx::Postgres;
                let $conn = &mut **tx;
                $body
            }
        }
    }};
}
pub(super) use on;

impl Tx {
    /// Makes the changes durable.
    ///
    /// # Errors
    /// The commit failed; after a lost connection its outcome is unknown.
    pub async fn commit(self) -> Result<(), StoreError> {
        #[cfg(test)]
        self.journal.note("commit");
        match self.inner {
            Inner::Sqlite(tx) => tx.commit().await?,
            Inner::Postgres(tx) => tx.commit().await?,
        }
        Ok(())
    }

    /// Marks a point that [`Tx::roll_back_to_savepoint`] returns to.
    ///
    /// # Errors
    /// The database refused.
    pub async fn savepoint(&mut self) -> Result<(), StoreError> {
        self.plain("SAVEPOINT change").await
    }

    /// Keeps what was done since the savepoint.
    ///
    /// # Errors
    /// The database refused.
    pub async fn release_savepoint(&mut self) -> Result<(), StoreError> {
        self.plain("RELEASE SAVEPOINT change").await
    }

    /// Undoes what was done since the savepoint.
    ///
    /// # Errors
    /// The database refused.
    pub async fn roll_back_to_savepoint(&mut self) -> Result<(), StoreError> {
        self.plain("ROLLBACK TO SAVEPOINT change").await?;
        self.plain("RELEASE SAVEPOINT change").await
    }

    async fn plain(&mut self, sql: &'static str) -> Result<(), StoreError> {
        on!(self, conn => { sqlx::query(sql).execute(conn).await?; });
        Ok(())
    }

    /// The row, if its tag fits; otherwise it is reported and treated as absent.
    pub(super) fn checked<T: Tagged>(&self, row: T) -> Option<T> {
        if self.tagger.verify(&Fields::message(&row), row.mac()) {
            Some(row)
        } else {
            self.refusals.report(T::TABLE, row.name());
            None
        }
    }

    /// The row that was read, if it can be understood and its tag fits.
    pub(super) fn stored<T: Tagged>(&self, row: Stored<T>) -> Option<T> {
        match row {
            Stored::Row(row) => self.checked(row),
            Stored::Damaged(id) => {
                self.refusals.report(T::TABLE, id);
                None
            }
        }
    }

    pub(super) fn checked_all<T: Tagged>(&self, rows: Vec<Stored<T>>) -> Vec<T> {
        rows.into_iter()
            .filter_map(|row| self.stored(row))
            .collect()
    }

    /// A page of at most `limit` from rows of which one more was asked for. The cursor is that of
    /// the last row read, so that a refused row cannot hide those behind it.
    pub(super) fn page<T: Tagged>(&self, rows: Vec<Stored<T>>, limit: i64) -> Page<T> {
        let page = Page::cut(rows, limit, |row| match row {
            Stored::Row(row) => row.name(),
            Stored::Damaged(id) => id.clone(),
        });
        Page {
            items: self.checked_all(page.items),
            next: page.next,
        }
    }

    /// The tag that belongs to `row` as it is now.
    pub(super) fn tag<T: Tagged>(&self, row: &mut T) {
        let mac = self.tagger.tag(&Fields::message(row));
        row.set_mac(mac.to_vec());
    }
}

/// One page of a list.
#[derive(Debug)]
pub struct Page<T> {
    /// The rows.
    pub items: Vec<T>,
    /// Where the next page begins, if there is one.
    pub next: Option<String>,
}

impl<T> Page<T> {
    /// Cuts `rows`, of which one more than `limit` was asked for, into a page.
    pub(super) fn cut(mut rows: Vec<T>, limit: i64, cursor: impl Fn(&T) -> String) -> Self {
        let limit = usize::try_from(limit).unwrap_or(0);
        let next = if rows.len() > limit {
            rows.truncate(limit);
            // A row without a readable id gives no place to go on from; the one before it does.
            rows.iter().rev().map(cursor).find(|id| !id.is_empty())
        } else {
            None
        };
        Self { items: rows, next }
    }

    /// The same page of something else.
    pub fn map<U>(self, f: impl FnMut(T) -> U) -> Page<U> {
        Page {
            items: self.items.into_iter().map(f).collect(),
            next: self.next,
        }
    }
}

/// Whether exactly one row was changed.
pub(super) fn one(rows: u64) -> bool {
    rows == 1
}

/// The most rows of one insert.
const MOST_ROWS: usize = 64;

/// The texts of an insert for 1 to 64 rows. Each is made once and lives as long as the program, so
/// that it is in every connection's cache of prepared statements: one statement for a whole batch,
/// because each statement costs a change of threads.
pub(super) struct RowsInsert {
    before: &'static str,
    columns: usize,
    after: &'static str,
    sqlite: [OnceLock<&'static str>; MOST_ROWS],
    postgres: [OnceLock<&'static str>; MOST_ROWS],
}

/// How a database marks the places of values in a statement.
pub(super) trait Places {
    /// SQLite looks numbered places up by their names, one by one, which takes the square of their
    /// number; plain `?` have no names.
    const NUMBERED: bool;
}

impl Places for Sqlite {
    const NUMBERED: bool = false;
}

impl Places for Postgres {
    const NUMBERED: bool = true;
}

impl RowsInsert {
    /// `before` ends with `VALUES`; `after` is what follows the rows.
    pub const fn new(before: &'static str, columns: usize, after: &'static str) -> Self {
        Self {
            before,
            columns,
            after,
            sqlite: [const { OnceLock::new() }; MOST_ROWS],
            postgres: [const { OnceLock::new() }; MOST_ROWS],
        }
    }

    /// The rows in runs that fit, each with its text.
    pub fn chunks<'a, P: Places, T>(
        &'a self,
        rows: &'a [T],
    ) -> impl Iterator<Item = (&'static str, &'a [T])> + use<'a, P, T> {
        rows.chunks(MOST_ROWS)
            .map(|chunk| (self.text::<P>(chunk.len()), chunk))
    }

    fn text<P: Places>(&self, rows: usize) -> &'static str {
        let texts = if P::NUMBERED {
            &self.postgres
        } else {
            &self.sqlite
        };
        texts[rows - 1].get_or_init(|| {
            let mut text = self.before.to_owned();
            for row in 0..rows {
                text.push_str(if row == 0 { " (" } else { ", (" });
                for column in 1..=self.columns {
                    if column > 1 {
                        text.push(',');
                    }
                    match P::NUMBERED {
                        true => text.push_str(&format!("${}", row * self.columns + column)),
                        false => text.push('?'),
                    }
                }
                text.push(')');
            }
            text.push_str(self.after);
            Box::leak(text.into_boxed_str())
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_insert_has_a_text_for_each_number_of_rows() {
        static INSERT: RowsInsert = RowsInsert::new("INSERT INTO t (a, b) VALUES", 2, " X");
        let rows = vec![(); 65];
        let chunks: Vec<(&str, usize)> = INSERT
            .chunks::<Postgres, _>(&rows)
            .map(|(text, rows)| (text, rows.len()))
            .collect();
        assert_eq!(chunks.iter().map(|(_, rows)| rows).sum::<usize>(), 65);
        assert_eq!(chunks[1], ("INSERT INTO t (a, b) VALUES ($1,$2) X", 1));
        assert_eq!(
            INSERT.text::<Postgres>(2),
            "INSERT INTO t (a, b) VALUES ($1,$2), ($3,$4) X"
        );
    }
}
