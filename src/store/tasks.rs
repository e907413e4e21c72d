//! What operators have to look at.

use super::error::StoreError;
use super::tx::{Page, Tx, on, one};
use crate::model::{CredentialId, TaskId, TaskKind, Timestamp};

/// A task as stored.
#[derive(Clone, Debug, sqlx::FromRow)]
#[expect(missing_docs, reason = "the columns of the table")]
pub struct TaskRow {
    pub id: TaskId,
    pub kind: TaskKind,
    /// The id of what it is about.
    pub subject: String,
    pub credential_id: Option<CredentialId>,
    pub opened_at: Timestamp,
    pub closed_at: Option<Timestamp>,
    pub note: Option<String>,
}

impl Tx {
    /// Opens a task; `false` when one of this kind about this is open already.
    ///
    /// # Errors
    /// The database is not available.
    pub async fn open_task(&mut self, row: &TaskRow) -> Result<bool, StoreError> {
        const SQL: &str = "INSERT INTO tasks
                (id, kind, subject, credential_id, opened_at, closed_at, note)
            VALUES ($1, $2, $3, $4, $5, NULL, $6) ON CONFLICT DO NOTHING";
        let rows = on!(self, conn => {
            sqlx::query::<Db>(SQL).bind(row.id).bind(row.kind).bind(row.subject.clone())
                .bind(row.credential_id).bind(row.opened_at).bind(row.note.clone())
                .execute(conn).await?.rows_affected()
        });
        Ok(one(rows))
    }

    /// Writes why the open task of a kind about something is open.
    ///
    /// # Errors
    /// The database is not available.
    pub async fn note_task(
        &mut self,
        kind: TaskKind,
        subject: &str,
        note: Option<&str>,
    ) -> Result<(), StoreError> {
        const SQL: &str = "UPDATE tasks SET note = $1
            WHERE kind = $2 AND subject = $3 AND closed_at IS NULL";
        on!(self, conn => {
            sqlx::query::<Db>(SQL).bind(note.map(str::to_owned)).bind(kind)
                .bind(subject.to_owned()).execute(conn).await?;
        });
        Ok(())
    }

    /// Closes a task; `false` when it is closed already.
    ///
    /// # Errors
    /// The database is not available.
    pub async fn close_task(
        &mut self,
        id: TaskId,
        now: Timestamp,
        note: Option<&str>,
    ) -> Result<bool, StoreError> {
        const SQL: &str = "UPDATE tasks SET closed_at = $1, note = COALESCE($2, note)
            WHERE id = $3 AND closed_at IS NULL";
        let rows = on!(self, conn => {
            sqlx::query::<Db>(SQL).bind(now).bind(note.map(str::to_owned)).bind(id)
                .execute(conn).await?.rows_affected()
        });
        Ok(one(rows))
    }

    /// The open task of a kind about something.
    ///
    /// # Errors
    /// The database is not available.
    pub async fn open_task_about(
        &mut self,
        kind: TaskKind,
        subject: &str,
    ) -> Result<Option<TaskRow>, StoreError> {
        const SQL: &str =
            "SELECT * FROM tasks WHERE kind = $1 AND subject = $2 AND closed_at IS NULL";
        Ok(on!(self, conn => {
            sqlx::query_as::<Db, _>(SQL).bind(kind).bind(subject.to_owned())
                .fetch_optional(conn).await?
        }))
    }

    /// One task.
    ///
    /// # Errors
    /// The database is not available.
    pub async fn task(&mut self, id: TaskId) -> Result<Option<TaskRow>, StoreError> {
        const SQL: &str = "SELECT * FROM tasks WHERE id = $1";
        Ok(on!(self, conn => {
            sqlx::query_as::<Db, _>(SQL).bind(id).fetch_optional(conn).await?
        }))
    }

    /// Tasks after the id `after`: the open ones, or all.
    ///
    /// # Errors
    /// The database is not available.
    pub async fn tasks(
        &mut self,
        closed_too: bool,
        after: &str,
        limit: i64,
    ) -> Result<Page<TaskRow>, StoreError> {
        const OPEN: &str =
            "SELECT * FROM tasks WHERE closed_at IS NULL AND id > $1 ORDER BY id LIMIT $2";
        const ALL: &str = "SELECT * FROM tasks WHERE id > $1 ORDER BY id LIMIT $2";
        let sql = if closed_too { ALL } else { OPEN };
        let rows: Vec<TaskRow> = on!(self, conn => {
            sqlx::query_as::<Db, _>(sql).bind(after.to_owned()).bind(limit + 1)
                .fetch_all(conn).await?
        });
        Ok(Page::cut(rows, limit, |row| row.id.to_string()))
    }
}
