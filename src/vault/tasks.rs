//! Tasks: what operators have to look at, opened and closed with the audit record of their cause.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::Vault;
use super::caller::Caller;
use super::error::VaultError;
use super::recorder::{Changed, Draft};
use super::versions::Reason;
use crate::audit::{Detail, Kind, Subject};
use crate::model::{CredentialId, Permission, TaskId, TaskKind, Timestamp};
use crate::random::Random;
use crate::store::{Page, TaskRow, Tx};

/// Something that an operator has to look at.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[schema(as = Task)]
pub struct TaskView {
    /// Its id.
    pub id: TaskId,
    /// What it is about.
    pub kind: TaskKind,
    /// The id of what it is about.
    pub subject: String,
    /// The credential, if it is about one.
    pub credential: Option<CredentialId>,
    /// When it was opened.
    pub opened_at: Timestamp,
    /// When it was done.
    pub closed_at: Option<Timestamp>,
    /// Why it is open, as a word, or what an operator said when they closed it.
    pub note: Option<String>,
}

impl From<TaskRow> for TaskView {
    fn from(row: TaskRow) -> Self {
        Self {
            id: row.id,
            kind: row.kind,
            subject: row.subject,
            credential: row.credential_id,
            opened_at: row.opened_at,
            closed_at: row.closed_at,
            note: row.note,
        }
    }
}

/// Which tasks to list.
#[derive(Clone, Copy, Debug, Default, Deserialize, Serialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct TaskQuery {
    /// Those that are done too.
    #[serde(default)]
    pub all: bool,
}

/// Opens a task; the record of that. If one of this kind about this is open, only its note is new.
pub(super) async fn open_task(
    tx: &mut Tx,
    kind: TaskKind,
    about: Subject,
    credential: Option<CredentialId>,
    note: Option<&str>,
    now: Timestamp,
    random: &dyn Random,
) -> Result<Option<Draft>, VaultError> {
    let id = TaskId::generate(now, random)?;
    let row = TaskRow {
        id,
        kind,
        subject: about.to_string(),
        credential_id: credential,
        opened_at: now,
        closed_at: None,
        note: note.map(str::to_owned),
    };
    let opened = tx.open_task(&row).await?;
    if !opened {
        tx.note_task(kind, &row.subject, note).await?;
    }
    Ok(opened.then(|| record(Draft::of(Kind::TaskOpened), id, about, kind)))
}

/// Closes the task of this kind about this, if one is open; the record of that.
pub(super) async fn close_task_about(
    tx: &mut Tx,
    kind: TaskKind,
    about: Subject,
    now: Timestamp,
) -> Result<Option<Draft>, VaultError> {
    let Some(row) = tx.open_task_about(kind, &about.to_string()).await? else {
        return Ok(None);
    };
    let closed = tx.close_task(row.id, now, None).await?;
    Ok(closed.then(|| record(Draft::of(Kind::TaskClosed), row.id, about, kind)))
}

fn record(draft: Draft, id: TaskId, about: Subject, kind: TaskKind) -> Draft {
    draft
        .about([id.into(), about])
        .with("task", Detail::Word(kind.as_str()))
}

impl Vault {
    /// A page of tasks, oldest first.
    ///
    /// # Errors
    /// See [`VaultError`].
    pub async fn tasks(
        &self,
        caller: &Caller,
        query: TaskQuery,
        after: &str,
        limit: i64,
    ) -> Result<Page<TaskView>, VaultError> {
        self.authorise(caller, Permission::ReadMetadata).await?;
        let mut tx = self.db.read().await?;
        let page = tx.tasks(query.all, after, limit).await?;
        Ok(page.map(TaskView::from))
    }

    /// Closes a task by hand.
    ///
    /// # Errors
    /// It is not there, or closed already; see [`VaultError`].
    pub async fn close_task(
        &self,
        caller: &Caller,
        id: TaskId,
        why: Reason,
    ) -> Result<TaskView, VaultError> {
        let now = self.clock.now();
        let closed = caller.draft(Kind::TaskClosed);
        self.change(caller, Permission::WriteCredentials, move |tx| {
            Box::pin(async move {
                let row = tx.task(id).await?.ok_or(VaultError::NotFound)?;
                if !tx.close_task(id, now, Some(why.reason.as_str())).await? {
                    return Err(VaultError::Conflict("this task is closed already"));
                }
                let mut draft = closed.about([id.into()]);
                draft.subjects.extend(row.subject.parse::<Subject>().ok());
                let draft = draft.with("task", Detail::Word(row.kind.as_str()));
                let row = tx.task(id).await?;
                Ok(Changed {
                    value: row.ok_or(VaultError::Internal("a task vanished"))?.into(),
                    records: vec![draft],
                    subjects: Vec::new(),
                })
            })
        })
        .await
    }
}
