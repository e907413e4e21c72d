//! Taking a backup: one consistent view of the whole database while the service goes on, as one
//! stream that is encrypted to age recipients.
//!
//! The intent is durable before the first byte, the outcome before the last: whoever holds the end
//! of a backup can be sure that it is in the audit log.

mod drill;
mod format;
mod inspect;
mod manifest;
mod restore;
mod since;
mod verify;

pub use drill::{Drill, DrillError, DrillReport, drill_backup};
pub use format::{BackupError, Section};
pub use inspect::{InspectError, InspectedBackup, inspect_backup};
pub use manifest::Manifest;
pub use restore::{Restore, RestoreError, Restored, restore_backup, restored_before};
pub use since::Since;
pub use verify::{BackupReport, verify_backup};

use std::sync::Arc;
use std::time::Duration;

use futures_util::Stream;
use ring::digest::{Context, SHA256};
use serde::{Deserialize, Serialize};
use tokio::sync::{OwnedMutexGuard, mpsc};
use utoipa::ToSchema;

use super::Vault;
use super::caller::Caller;
use super::error::{FieldError, VaultError};
use super::recorder::{Changed, Draft};
use crate::audit::{Detail, Kind, Purpose};
use crate::crypto::{AgeWriteError, AgeWriter, Recipient};
use crate::model::{BackupId, KeyId, Permission, PrincipalId, RequestId, Timestamp};
use crate::store::{BackupRow, Page, Tx, Value};
use format::Writer;

/// How backups are taken unless a call says otherwise.
#[derive(Default)]
pub struct BackupSettings {
    /// Who can open them: age recipients.
    pub recipients: Vec<Recipient>,
    /// For how many days they are kept, if that is known.
    pub keep_days: Option<u32>,
}

/// A backup to be taken.
#[derive(Default, Deserialize, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewBackup {
    /// Who can open it: age recipients (`age1…`); the configured ones when left out.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub recipients: Vec<String>,
}

/// A backup that was taken.
#[derive(Clone, Serialize, Deserialize, ToSchema)]
#[schema(as = Backup)]
pub struct BackupView {
    /// Its id.
    pub id: BackupId,
    /// The moment whose state it holds.
    pub taken_at: Timestamp,
    /// Who can open it.
    pub recipients: Vec<String>,
    /// Until when it is meant to be kept, if that is known.
    pub keep_until: Option<Timestamp>,
    /// When it was complete; one without this broke off.
    pub finished_at: Option<Timestamp>,
    /// Bytes of the file.
    pub size: Option<i64>,
    /// SHA-256 of the file, in hexadecimal.
    pub sha256: Option<String>,
}

impl From<BackupRow> for BackupView {
    fn from(row: BackupRow) -> Self {
        let recipients = row.recipients.split_whitespace().map(str::to_owned);
        Self {
            id: row.id,
            taken_at: row.taken_at,
            recipients: recipients.collect(),
            keep_until: row.keep_until,
            finished_at: row.finished_at,
            size: row.size,
            sha256: row.sha256.map(hex::encode),
        }
    }
}

/// How many rows are read at once.
const PAGE: i64 = 500;
/// How much is encrypted before it is handed on, in bytes.
const PIECE: usize = 256 * 1024;
/// How many pieces may wait for whoever receives them.
const PIECES: usize = 4;
/// How long the receiver may take for one piece: the view of the database is held that long, and
/// PostgreSQL ends a transaction that is idle for 30 seconds.
const PATIENCE: Duration = Duration::from_secs(20);
/// When it is tried, in seconds after one another, to record that a backup broke off: what broke it
/// off may stand in the way of that as well.
const TRIES: [u64; 4] = [0, 1, 5, 25];
/// The most recipients of one backup.
const MOST_RECIPIENTS: usize = 64;

type Piece = Result<Vec<u8>, VaultError>;

impl Vault {
    /// Takes a backup. The stream gives the file; it is whole only if it ends without an error.
    ///
    /// # Errors
    /// There is no recipient, or another backup is being taken; see [`VaultError`].
    pub async fn take_backup(
        self: &Arc<Self>,
        caller: &Caller,
        new: NewBackup,
    ) -> Result<(BackupId, impl Stream<Item = Piece> + Send + use<>), VaultError> {
        self.authorise_quietly(caller, Permission::OperateDeployment)
            .await?;
        let (recipients, names) = self.backup_recipients(&new.recipients)?;
        let encrypting = AgeWriter::begin_for(&recipients)
            .map_err(|_| VaultError::invalid("recipients", "cannot stand together"))?;
        let alone = Arc::clone(&self.backing_up).try_lock_owned();
        let alone = alone.map_err(|_| {
            VaultError::Conflict("a backup is being taken by this node: wait until it has ended")
        })?;
        let now = self.clock.now();
        let id = BackupId::generate(now, self.random.as_ref())?;
        let keep_days = self.backups.keep_days.map(i64::from);
        let row = BackupRow {
            id,
            taken_at: now,
            recipients: names,
            keep_until: keep_days.map(|days| now.plus_secs(days * 24 * 60 * 60)),
            finished_at: None,
            size: None,
            sha256: None,
            mac: Vec::new(),
        };
        let count = i64::try_from(recipients.len()).unwrap_or(i64::MAX);
        let record = caller
            .draft(Kind::BackupStarted)
            .about([id.into()])
            .with("recipients", Detail::Number(count));
        let begun = row.clone();
        self.change(caller, Permission::OperateDeployment, move |tx| {
            Box::pin(async move {
                tx.insert_backup(begun).await?;
                Ok(Changed {
                    value: (),
                    records: vec![record],
                    subjects: Vec::new(),
                })
            })
        })
        .await?;
        let (send, mut receive) = mpsc::channel(PIECES);
        let job = Job {
            by: By::of(caller),
            vault: Arc::clone(self),
            row,
            send,
            alone,
        };
        let tx = match self.db.snapshot().await {
            Ok(tx) => tx,
            Err(error) => {
                tokio::spawn(job.broke_off());
                return Err(error.into());
            }
        };
        tokio::spawn(job.run(tx, encrypting));
        let stream = async_stream::stream! {
            while let Some(piece) = receive.recv().await {
                yield piece;
            }
        };
        Ok((id, stream))
    }

    /// Who a backup is for, and their names in one line.
    fn backup_recipients(&self, given: &[String]) -> Result<(Vec<Recipient>, String), VaultError> {
        let mut recipients = Vec::new();
        if given.len() > MOST_RECIPIENTS {
            let rule = "must be at most 64";
            return Err(VaultError::invalid("recipients", rule));
        }
        let mut errors = Vec::new();
        let mut names: Vec<String> = Vec::new();
        for (at, text) in given.iter().enumerate() {
            match Recipient::parse(text) {
                Ok(recipient) => recipients.push(recipient),
                Err(_) => errors.push(FieldError {
                    field: format!("recipients[{at}]").into(),
                    rule: "must be an age recipient (age1 followed by 58 characters)".into(),
                }),
            }
        }
        if !errors.is_empty() {
            return Err(VaultError::Invalid(errors));
        }
        if recipients.is_empty() {
            for recipient in &self.backups.recipients {
                let text = recipient.to_text().unwrap_or_default();
                recipients.extend(Recipient::parse(&text));
            }
        }
        if recipients.is_empty() {
            let rule = "is needed, because backup.recipients is not configured: give at least one \
                        age recipient (age1…)";
            return Err(VaultError::invalid("recipients", rule));
        }
        for recipient in &recipients {
            names.extend(recipient.to_text());
        }
        Ok((recipients, names.join(" ")))
    }

    /// A page of the backups that were taken, oldest first.
    ///
    /// # Errors
    /// See [`VaultError`].
    pub async fn backups(
        &self,
        caller: &Caller,
        after: &str,
        limit: i64,
    ) -> Result<Page<BackupView>, VaultError> {
        self.authorise(caller, Permission::ReadMetadata).await?;
        let page = self.db.read().await?.backups(after, limit).await?;
        Ok(page.map(BackupView::from))
    }

    /// One backup that was taken.
    ///
    /// # Errors
    /// It is not there; see [`VaultError`].
    pub async fn backup(&self, caller: &Caller, id: BackupId) -> Result<BackupView, VaultError> {
        self.authorise(caller, Permission::ReadMetadata).await?;
        let row = self.db.read().await?.backup(id).await?;
        row.map(BackupView::from).ok_or(VaultError::NotFound)
    }
}

/// Who asked for it.
#[derive(Clone, Copy)]
struct By {
    request: RequestId,
    actor: PrincipalId,
    key: KeyId,
}

impl By {
    fn of(caller: &Caller) -> Self {
        Self {
            request: caller.request,
            actor: caller.principal.id(),
            key: caller.principal.key(),
        }
    }

    fn draft(self, kind: Kind) -> Draft {
        Draft {
            request: Some(self.request),
            actor: Some(self.actor),
            key: Some(self.key),
            ..Draft::of(kind)
        }
    }
}

/// One backup under way.
struct Job {
    vault: Arc<Vault>,
    by: By,
    row: BackupRow,
    send: mpsc::Sender<Piece>,
    /// Held until it has ended: each backup holds a view of the database for as long as it takes.
    alone: OwnedMutexGuard<()>,
}

/// What has been made of the file so far.
struct Output {
    encrypting: AgeWriter,
    hash: Context,
    size: i64,
    plain: Vec<u8>,
}

impl Job {
    async fn run(self, tx: Tx, encrypting: AgeWriter) {
        if let Err(error) = self.write(tx, encrypting).await {
            tracing::warn!(%error, backup = %self.row.id, "a backup broke off");
            let _ = self.send.try_send(Err(error));
            self.broke_off().await;
        }
    }

    /// Records that it broke off. Another one may begin meanwhile.
    async fn broke_off(self) {
        let Self {
            vault,
            by,
            row,
            send,
            alone,
        } = self;
        drop((send, alone));
        for wait in TRIES {
            tokio::time::sleep(Duration::from_secs(wait)).await;
            let aborted = by.draft(Kind::BackupAborted).about([row.id.into()]);
            match vault.recorder.note(vec![aborted], None, None).await {
                Ok(()) => return,
                Err(_) => tracing::warn!(backup = %row.id, "that it broke off is not recorded yet"),
            }
        }
    }

    async fn write(&self, mut tx: Tx, encrypting: AgeWriter) -> Result<(), VaultError> {
        let vault = &self.vault;
        let mut output = Output {
            encrypting,
            hash: Context::new(&SHA256),
            size: 0,
            plain: format::first_line(&vault.deployment),
        };
        let mut writer = Writer::default();
        let mut erasures = 0;
        let mut checkpoints = Vec::new();
        let (schema, database) = (tx.schema().await?, tx.database_name().to_owned());
        for table in tx.tables().await? {
            writer.table(&table.name, &table.columns, &mut output.plain);
            let mut last: Option<Vec<Value>> = None;
            loop {
                let rows = tx.rows_after(&table, last.as_deref(), PAGE).await?;
                for row in &rows {
                    writer.row(row, &mut output.plain);
                    if table.name == "audit_logs"
                        && let Some(at) = table.place("checkpoint")
                        && let Some(note) = row[at].text()
                    {
                        checkpoints.push(note.to_owned());
                    }
                    erasures += u64::from(table.name == "erasures");
                    if output.plain.len() >= PIECE {
                        self.hand_on(&mut output).await?;
                    }
                }
                match rows.into_iter().next_back() {
                    Some(row) => last = Some(row),
                    None => break,
                }
            }
        }
        drop(tx);
        for (name, content) in vault.root_files()? {
            writer.file(&name, &content, &mut output.plain);
        }
        let sections = std::mem::take(&mut writer.sections).finish();
        let manifest = Manifest {
            format: format::VERSION,
            program: env!("CARGO_PKG_VERSION").to_owned(),
            schema,
            deployment: vault.deployment.clone(),
            id: self.row.id,
            taken_at: self.row.taken_at,
            database,
            keep_until: self.row.keep_until,
            erasures,
            checkpoints,
            sections,
        };
        let json = serde_json::to_string(&manifest)
            .map_err(|_| VaultError::Internal("a manifest cannot be written"))?;
        let note = vault.statements.sign(Purpose::BackupManifest, &json);
        writer.finish(&note, &mut output.plain);
        self.hand_on(&mut output).await?;

        let Output {
            encrypting,
            mut hash,
            size,
            ..
        } = output;
        let end = encrypting.finish(b"").map_err(too_long)?;
        hash.update(&end);
        let size = size + i64::try_from(end.len()).unwrap_or(0);
        let mut sha256 = [0; 32];
        sha256.copy_from_slice(hash.finish().as_ref());
        self.finished(size, sha256, manifest::digest_of(&note))
            .await?;
        self.send(end).await
    }

    /// Encrypts what has piled up and hands it on.
    async fn hand_on(&self, output: &mut Output) -> Result<(), VaultError> {
        let piece = output.encrypting.write(&output.plain).map_err(too_long)?;
        output.plain.clear();
        output.hash.update(&piece);
        output.size += i64::try_from(piece.len()).unwrap_or(0);
        self.send(piece).await
    }

    async fn send(&self, piece: Vec<u8>) -> Result<(), VaultError> {
        match tokio::time::timeout(PATIENCE, self.send.send(Ok(piece))).await {
            Ok(Ok(())) => Ok(()),
            _ => Err(VaultError::Unavailable("the receiver of the backup")),
        }
    }

    /// Notes that it is whole.
    async fn finished(
        &self,
        size: i64,
        sha256: [u8; 32],
        manifest: [u8; 32],
    ) -> Result<(), VaultError> {
        let mut row = self.row.clone();
        row.finished_at = Some(self.vault.clock.now());
        row.size = Some(size);
        row.sha256 = Some(sha256.to_vec());
        let record = self
            .by
            .draft(Kind::BackupFinished)
            .about([row.id.into()])
            .with("sha256", Detail::Digest(sha256))
            .with("manifest", Detail::Digest(manifest))
            .with("size", Detail::Number(size));
        self.vault
            .change_by_itself(move |tx| {
                Box::pin(async move {
                    if !tx.finish_backup(&mut row).await? {
                        return Err(VaultError::Internal("a backup lost its row"));
                    }
                    Ok(Changed {
                        value: (),
                        records: vec![record],
                        subjects: Vec::new(),
                    })
                })
            })
            .await
    }
}

fn too_long(_: AgeWriteError) -> VaultError {
    VaultError::Internal("a backup is too long for age")
}
