//! Sending what lies in the outbox, and showing what became of it.
//!
//! ```text
//! due ─▶ claimed ─▶ sending ─▶ sent
//!  ▲        │          ├────▶ failed     refused for good, or tried for three days
//!  └────────┴──────────┤
//!                      └────▶ unknown ─▶ claimed …   once more, under the same Message-ID
//! ```
//!
//! `sending` is durable before the server is given the message. So a process that ends before it has
//! sent nothing, and one that ends after it leaves a mail of which nobody knows (promise 8). Each step
//! names the revision that it found, so that of two nodes one goes on.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::caller::Caller;
use super::outbox::{Content, NewMail};
use super::recorder::{Changed, Draft};
use super::tasks::open_task;
use super::{Vault, VaultError};
use crate::audit::{Detail, Kind};
use crate::mail::{Addressee, Letter, NotSent, Rendered, Sender, message_id, render};
use crate::model::{
    ClientId, ContactId, EmailAddress, MailFault, MailId, MailKind, MailState, Permission,
    TaskKind, Timestamp,
};
use crate::random::Random;
use crate::secret::Secret;
use crate::store::{MailFilter, MailRow, Page};

/// How long a node may hold a mail, in seconds: longer than any attempt takes.
const HELD: i64 = 15 * 60;
/// The wait after the first attempt that came to nothing, in seconds; it doubles with each.
const FIRST_WAIT: i64 = 60;
/// The longest wait, in seconds.
const LONGEST_WAIT: i64 = 60 * 60;
/// How long a mail is tried before it is given up, in seconds: RFC 5321 section 4.5.4.1 asks for at
/// least four to five days of a relay; here somebody has to hear of it earlier.
const TRIED: i64 = 3 * 24 * 60 * 60;
/// How long to wait before a mail goes out again of which nobody knows, in seconds.
const ONCE_MORE: i64 = 5 * 60;

/// A mail, as operators see it: never what it says.
#[derive(Clone, Serialize, Deserialize, ToSchema)]
#[schema(as = Mail)]
pub struct MailView {
    /// Its id.
    pub id: MailId,
    /// The client that it is about, if it is about one.
    pub client: Option<ClientId>,
    /// The contact that it is for, if it is for one.
    pub contact: Option<ContactId>,
    /// The address that it goes to.
    pub address: String,
    /// What it is about.
    pub kind: MailKind,
    /// Where it stands.
    pub state: MailState,
    /// The first mail about the same matter.
    pub thread: Option<MailId>,
    /// Its Message-ID, from the first attempt on; the same in each.
    pub message_id: Option<String>,
    /// Attempts so far.
    pub tries: i64,
    /// Attempts of which nobody knows what came. After the first the mail is sent once more.
    pub unknowns: i64,
    /// When it is tried next; null when nothing more is sent, or it is being sent.
    pub due_at: Option<Timestamp>,
    /// When it was written.
    pub created_at: Timestamp,
    /// When it came to its end.
    pub ended_at: Option<Timestamp>,
    /// Why the last attempt came to nothing.
    pub fault: Option<MailFault>,
}

impl From<MailRow> for MailView {
    fn from(row: MailRow) -> Self {
        Self {
            id: row.id,
            client: row.client_id,
            contact: row.contact_id,
            address: row.address,
            kind: row.kind,
            state: row.state,
            thread: row.thread,
            message_id: row.message_id,
            tries: row.tries,
            unknowns: row.unknowns,
            due_at: row.due_at,
            created_at: row.created_at,
            ended_at: row.ended_at,
            fault: row.fault,
        }
    }
}

/// A mail that tries whether mail arrives.
#[derive(Deserialize, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewTestMail {
    /// Where to.
    pub to: EmailAddress,
}

/// A mail that this node holds and is to send.
pub struct MailJob {
    row: MailRow,
}

impl MailJob {
    /// Which mail it is.
    pub fn id(&self) -> MailId {
        self.row.id
    }
}

impl Vault {
    /// Has a mail sent that says nothing, to try whether mail arrives.
    ///
    /// # Errors
    /// See [`VaultError`].
    pub async fn test_mail(
        &self,
        caller: &Caller,
        new: NewTestMail,
    ) -> Result<MailView, VaultError> {
        let (now, random) = (self.clock.now(), self.random.clone());
        let (outbox, record) = (self.outbox.clone(), caller.draft(Kind::MailTested));
        self.change(caller, Permission::OperateDeployment, move |tx| {
            Box::pin(async move {
                let mail = NewMail {
                    client: None,
                    contact: None,
                    to: Addressee {
                        name: None,
                        address: new.to,
                    },
                    letter: Letter::Test,
                    thread: None,
                };
                let id = outbox.put(tx, mail, now, random.as_ref()).await?;
                let row = tx.mail(id).await?;
                let row = row.ok_or(VaultError::Internal("a new mail is missing"))?;
                Ok(Changed {
                    value: row.into(),
                    records: vec![record.about([id.into()])],
                    subjects: Vec::new(),
                })
            })
        })
        .await
    }

    /// Mails, oldest first.
    ///
    /// # Errors
    /// See [`VaultError`].
    pub async fn mails(
        &self,
        caller: &Caller,
        state: Option<MailState>,
        client: Option<ClientId>,
        after: &str,
        limit: i64,
    ) -> Result<Page<MailView>, VaultError> {
        self.authorise(caller, Permission::ReadMetadata).await?;
        let filter = MailFilter { state, client };
        let page = self.db.read().await?.mails(&filter, after, limit).await?;
        Ok(page.map(MailView::from))
    }

    /// One mail.
    ///
    /// # Errors
    /// See [`VaultError`].
    pub async fn mail(&self, caller: &Caller, id: MailId) -> Result<MailView, VaultError> {
        self.authorise(caller, Permission::ReadMetadata).await?;
        let row = self.db.read().await?.mail(id).await?;
        row.map(MailView::from).ok_or(VaultError::NotFound)
    }

    /// Takes one due mail, if there is one: from then on this node has it. The first time it is written,
    /// and what was written is kept, so that every attempt sends the same.
    ///
    /// # Errors
    /// The database is not available.
    pub async fn claim_mail(
        &self,
        from: &Sender,
    ) -> Result<Option<(MailJob, Rendered)>, VaultError> {
        if self.state().await?.row.frozen_since.is_some() {
            return Ok(None);
        }
        let now = self.lease_now().await?;
        // Most looks find nothing, and need not wait for whoever writes.
        if self.db.read().await?.due_mails(now, 1).await?.is_empty() {
            return Ok(None);
        }
        let mut unwritable = None;
        let mut tx = self.db.write().await?;
        for mut row in tx.due_mails(now, 16).await? {
            let thread = match row.thread {
                Some(first) => tx.mail(first).await?.and_then(|row| row.message_id),
                None => None,
            };
            let Some(rendered) = self.rendered(&mut row, from, thread.as_deref())? else {
                unwritable = Some(row);
                break;
            };
            row.hold(&self.node, self.new_claim()?, now.plus_secs(HELD));
            row.state = MailState::Claimed;
            row.tries += 1;
            if tx.update_mail(&mut row).await? {
                tx.commit().await?;
                return Ok(Some((MailJob { row }, rendered)));
            }
        }
        drop(tx);
        if let Some(row) = unwritable {
            let fault = Some(MailFault::Unwritable);
            self.end_mail(row, MailState::Failed, now, fault).await?;
        }
        Ok(None)
    }

    /// The message of a mail, written now or before; nothing if that cannot be.
    fn rendered(
        &self,
        row: &mut MailRow,
        from: &Sender,
        thread: Option<&str>,
    ) -> Result<Option<Rendered>, VaultError> {
        match self.outbox.open(row) {
            None => Ok(None),
            Some(Content::Message { from, to, message }) => Ok(Some(Rendered {
                from,
                to,
                message: Secret::new(message.into_bytes()),
            })),
            Some(Content::Letter { to, letter }) => {
                let Ok(rendered) = render(row.id, &letter, from, &to, row.created_at, thread)
                else {
                    return Ok(None);
                };
                let content = Content::of(&rendered)?;
                row.sealed = Some(self.outbox.seal(row.id, &content, self.random.as_ref())?);
                row.rendered = 1;
                row.message_id = Some(message_id(row.id, from));
                Ok(Some(rendered))
            }
        }
    }

    /// Makes durable that the server is about to be given the message; `false` when this node does not
    /// have the mail any more.
    ///
    /// # Errors
    /// The database is not available: then nothing may be sent.
    pub async fn mail_begins(&self, job: &mut MailJob) -> Result<bool, VaultError> {
        let now = self.lease_now().await?;
        if job.row.claim_until.is_none_or(|until| until <= now) {
            return Ok(false);
        }
        job.row.state = MailState::Sending;
        job.row.claim_until = Some(now.plus_secs(HELD));
        let mut tx = self.db.write().await?;
        let ours = tx.update_mail(&mut job.row).await?;
        tx.commit().await?;
        Ok(ours)
    }

    /// Keeps what came of an attempt.
    ///
    /// # Errors
    /// The database is not available: to be tried again, or the mail counts as unknown.
    pub async fn mail_ended(
        &self,
        job: &MailJob,
        outcome: Result<(), NotSent>,
    ) -> Result<(), VaultError> {
        let now = self.lease_now().await?;
        let row = job.row.clone();
        match outcome {
            Ok(()) => self.end_mail(row, MailState::Sent, now, None).await,
            Err(NotSent::Refused(fault)) => {
                self.end_mail(row, MailState::Failed, now, Some(fault))
                    .await
            }
            Err(NotSent::Unknown(fault)) => self.mail_unknown(row, now, fault).await,
            Err(NotSent::Later(fault)) => self.mail_later(row, now, Some(fault)).await,
            Err(NotSent::Abandoned) => Ok(()),
        }
    }

    /// Looks after mails whose holder is gone: of those that were being given to the server nobody
    /// knows, the others are due again. At the start those of this node are among them, because what
    /// claimed them has ended.
    ///
    /// # Errors
    /// The database is not available.
    pub async fn settle_lapsed_mails(&self, at_start: bool) -> Result<(), VaultError> {
        let now = self.lease_now().await?;
        let node = if at_start { self.node.as_str() } else { "" };
        let lapsed = self.db.read().await?.lapsed_mails(now, node).await?;
        for row in lapsed {
            match row.state {
                MailState::Sending => {
                    self.mail_unknown(row, now, MailFault::Interrupted).await?;
                }
                _ => self.mail_again(row, now, None).await?,
            }
        }
        Ok(())
    }

    /// Says how many mails wait, and for how long.
    ///
    /// # Errors
    /// The database is not available.
    pub async fn measure_mails(&self) -> Result<(), VaultError> {
        let (count, oldest) = self.db.read().await?.waiting_mails().await?;
        let age = oldest.map_or(0, |at| self.clock.now().secs().saturating_sub(at.secs()));
        metrics::gauge!("strongroom_mails_waiting").set(count as f64);
        metrics::gauge!("strongroom_mails_oldest_waiting_seconds").set(age as f64);
        Ok(())
    }

    /// The clock that all nodes share.
    async fn lease_now(&self) -> Result<Timestamp, VaultError> {
        let shared = self.db.shared_now().await?;
        Ok(shared.unwrap_or_else(|| self.clock.now()))
    }

    fn new_claim(&self) -> Result<String, VaultError> {
        let mut bytes = [0; 16];
        self.random.fill(&mut bytes)?;
        Ok(hex::encode(bytes))
    }

    async fn mail_later(
        &self,
        row: MailRow,
        now: Timestamp,
        fault: Option<MailFault>,
    ) -> Result<(), VaultError> {
        if now >= row.created_at.plus_secs(TRIED) {
            let fault = Some(MailFault::TooOld);
            return self.end_mail(row, MailState::Failed, now, fault).await;
        }
        count("later");
        let wait = wait_after(row.tries, self.random.as_ref())?;
        self.mail_again(row, now.plus_secs(wait), fault).await
    }

    /// The mail is due again at `at`.
    async fn mail_again(
        &self,
        mut row: MailRow,
        at: Timestamp,
        fault: Option<MailFault>,
    ) -> Result<(), VaultError> {
        let state = match row.unknowns {
            0 => MailState::Due,
            _ => MailState::Unknown,
        };
        let fault = fault.or(row.fault);
        row.due_again(state, at, fault);
        let mut tx = self.db.write().await?;
        tx.update_mail(&mut row).await?;
        Ok(tx.commit().await?)
    }

    /// Nobody knows: it is shown, and sent once more; after that it stays so.
    async fn mail_unknown(
        &self,
        mut row: MailRow,
        now: Timestamp,
        fault: MailFault,
    ) -> Result<(), VaultError> {
        row.unknowns += 1;
        match row.unknowns {
            1 => row.due_again(MailState::Unknown, now.plus_secs(ONCE_MORE), Some(fault)),
            _ => row.end(MailState::Unknown, now, Some(fault)),
        }
        self.record_mail(row, Kind::MailUnknown).await
    }

    async fn end_mail(
        &self,
        mut row: MailRow,
        state: MailState,
        now: Timestamp,
        fault: Option<MailFault>,
    ) -> Result<(), VaultError> {
        row.end(state, now, fault);
        let kind = match state {
            MailState::Sent => Kind::MailSent,
            _ => Kind::MailFailed,
        };
        self.record_mail(row, kind).await
    }

    /// Writes the row and its record in one commit, unless somebody else has changed the mail.
    async fn record_mail(&self, row: MailRow, kind: Kind) -> Result<(), VaultError> {
        let (id, fault, over) = (row.id, row.fault, row.due_at.is_none());
        let mut record = Draft::of(kind)
            .about([id.into()])
            .with("tries", Detail::Number(row.tries));
        if let Some(client) = row.client_id {
            record.subjects.push(client.into());
        }
        if let Some(fault) = fault {
            record = record.with("fault", Detail::Word(fault.as_str()));
        }
        let (now, random) = (self.clock.now(), self.random.clone());
        let ours = self
            .change_by_itself(move |tx| {
                Box::pin(async move {
                    let mut row = row;
                    let ours = tx.update_mail(&mut row).await?;
                    let mut records = Vec::new();
                    if ours {
                        records.push(record);
                    }
                    if ours && kind == Kind::MailFailed {
                        let word = row.fault.map(MailFault::as_str);
                        let (about, now) = (row.id.into(), row.ended_at.unwrap_or(now));
                        let task = TaskKind::MailFailed;
                        let opened = open_task(tx, task, about, None, word, now, random.as_ref());
                        records.extend(opened.await?);
                    }
                    Ok(Changed {
                        value: ours,
                        records,
                        subjects: Vec::new(),
                    })
                })
            })
            .await?;
        if !ours {
            return Ok(());
        }
        let word = fault.map_or("none", MailFault::as_str);
        match kind {
            Kind::MailSent => count("sent"),
            Kind::MailUnknown => {
                count("unknown");
                tracing::warn!(mail = %id, fault = word, over, "nobody knows whether a mail was taken");
            }
            _ => {
                count("failed");
                tracing::error!(mail = %id, fault = word, "a mail was not delivered and is given up");
            }
        }
        Ok(())
    }
}

fn count(outcome: &'static str) {
    metrics::counter!("strongroom_mails_total", "outcome" => outcome).increment(1);
}

/// How long to wait after that many attempts, in seconds: doubled each time, and up to a quarter more
/// or less, so that not all mails come back at once.
fn wait_after(tries: i64, random: &dyn Random) -> Result<i64, VaultError> {
    let doublings = u32::try_from(tries - 1).unwrap_or(0).min(16);
    let wait = (FIRST_WAIT << doublings).min(LONGEST_WAIT);
    let mut byte = [0];
    random.fill(&mut byte)?;
    Ok(wait * 3 / 4 + wait * i64::from(byte[0]) / 512)
}
