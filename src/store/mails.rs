//! The outbox: mails that are to be sent, and what became of them.

use super::error::StoreError;
use super::tx::{Page, Tx, on, one};
use crate::model::{ClientId, ContactId, MailFault, MailId, MailKind, MailState, Timestamp};

/// A mail as stored.
#[derive(Clone, Debug, sqlx::FromRow)]
#[expect(missing_docs, reason = "the columns of the table")]
pub struct MailRow {
    pub id: MailId,
    pub client_id: Option<ClientId>,
    pub contact_id: Option<ContactId>,
    /// For people to see; whom it goes to is sealed with what it says.
    pub address: String,
    pub kind: MailKind,
    /// The first mail about the same matter.
    pub thread: Option<MailId>,
    pub message_id: Option<String>,
    pub state: MailState,
    /// Letter or message; gone when nothing more is to be sent.
    pub sealed: Option<Vec<u8>>,
    /// 1 when `sealed` holds the message as it is sent.
    pub rendered: i64,
    pub tries: i64,
    /// Attempts of which nobody knows what came.
    pub unknowns: i64,
    pub due_at: Option<Timestamp>,
    pub claim: Option<String>,
    pub claimed_by: Option<String>,
    pub claim_until: Option<Timestamp>,
    pub created_at: Timestamp,
    pub ended_at: Option<Timestamp>,
    pub fault: Option<MailFault>,
    pub revision: i64,
}

/// Which mails are wanted; `None` means any.
#[derive(Clone, Debug, Default)]
#[expect(missing_docs, reason = "named like the columns they compare")]
pub struct MailFilter {
    pub state: Option<MailState>,
    pub client: Option<ClientId>,
}

impl MailRow {
    /// Nothing more is to be sent: nobody holds it, and what it says is gone.
    pub fn end(&mut self, state: MailState, now: Timestamp, fault: Option<MailFault>) {
        self.state = state;
        self.sealed = None;
        self.due_at = None;
        self.ended_at = Some(now);
        self.fault = fault;
        self.let_go();
    }

    /// Somebody holds it until then.
    pub fn hold(&mut self, node: &str, claim: String, until: Timestamp) {
        self.due_at = None;
        self.claim = Some(claim);
        self.claimed_by = Some(node.to_owned());
        self.claim_until = Some(until);
    }

    /// It is to be tried again then.
    pub fn due_again(&mut self, state: MailState, at: Timestamp, fault: Option<MailFault>) {
        self.state = state;
        self.due_at = Some(at);
        self.fault = fault;
        self.let_go();
    }

    fn let_go(&mut self) {
        self.claim = None;
        self.claimed_by = None;
        self.claim_until = None;
    }
}

impl Tx {
    /// Adds a mail.
    ///
    /// # Errors
    /// The database is not available.
    pub async fn insert_mail(&mut self, row: &MailRow) -> Result<(), StoreError> {
        const SQL: &str = "INSERT INTO mails (id, client_id, contact_id, address, kind, thread,
                message_id, state, sealed, rendered, tries, unknowns, due_at, claim, claimed_by,
                claim_until, created_at, ended_at, fault, revision)
            VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17,
                $18, $19, $20)";
        on!(self, conn => {
            sqlx::query::<Db>(SQL).bind(row.id).bind(row.client_id).bind(row.contact_id)
                .bind(row.address.clone()).bind(row.kind).bind(row.thread)
                .bind(row.message_id.clone()).bind(row.state).bind(row.sealed.clone())
                .bind(row.rendered).bind(row.tries).bind(row.unknowns).bind(row.due_at)
                .bind(row.claim.clone()).bind(row.claimed_by.clone()).bind(row.claim_until)
                .bind(row.created_at).bind(row.ended_at).bind(row.fault).bind(row.revision)
                .execute(conn).await?;
        });
        Ok(())
    }

    /// Writes what became of a mail that still has the revision `row.revision`, which is counted up;
    /// `false` when somebody else changed it.
    ///
    /// # Errors
    /// The database is not available.
    pub async fn update_mail(&mut self, row: &mut MailRow) -> Result<bool, StoreError> {
        const SQL: &str =
            "UPDATE mails SET message_id = $1, state = $2, sealed = $3, rendered = $4,
                tries = $5, unknowns = $6, due_at = $7, claim = $8, claimed_by = $9,
                claim_until = $10, ended_at = $11, fault = $12, revision = revision + 1
            WHERE id = $13 AND revision = $14";
        let rows = on!(self, conn => {
            sqlx::query::<Db>(SQL).bind(row.message_id.clone()).bind(row.state)
                .bind(row.sealed.clone()).bind(row.rendered).bind(row.tries).bind(row.unknowns)
                .bind(row.due_at).bind(row.claim.clone()).bind(row.claimed_by.clone())
                .bind(row.claim_until).bind(row.ended_at).bind(row.fault).bind(row.id)
                .bind(row.revision).execute(conn).await?.rows_affected()
        });
        row.revision += 1;
        Ok(one(rows))
    }

    /// One mail.
    ///
    /// # Errors
    /// The database is not available.
    pub async fn mail(&mut self, id: MailId) -> Result<Option<MailRow>, StoreError> {
        const SQL: &str = "SELECT * FROM mails WHERE id = $1";
        Ok(on!(self, conn => {
            sqlx::query_as::<Db, _>(SQL).bind(id).fetch_optional(conn).await?
        }))
    }

    /// Mails after the id `after`, in the order of their ids, which is that of their times.
    ///
    /// # Errors
    /// The database is not available.
    pub async fn mails(
        &mut self,
        filter: &MailFilter,
        after: &str,
        limit: i64,
    ) -> Result<Page<MailRow>, StoreError> {
        // An empty text stands for any, so that each parameter has one type.
        const SQL: &str = "SELECT * FROM mails WHERE id > $1
              AND ($2 = '' OR state = $2) AND ($3 = '' OR client_id = $3)
            ORDER BY id LIMIT $4";
        let state = filter.state.map_or_else(String::new, |it| it.to_string());
        let client = filter.client.map_or_else(String::new, |it| it.to_string());
        let rows: Vec<MailRow> = on!(self, conn => {
            sqlx::query_as::<Db, _>(SQL).bind(after.to_owned()).bind(state).bind(client)
                .bind(limit + 1).fetch_all(conn).await?
        });
        Ok(Page::cut(rows, limit, |row| row.id.to_string()))
    }

    /// At most `limit` mails that are due, the longest due first.
    ///
    /// # Errors
    /// The database is not available.
    pub async fn due_mails(
        &mut self,
        now: Timestamp,
        limit: i64,
    ) -> Result<Vec<MailRow>, StoreError> {
        const SQL: &str = "SELECT * FROM mails WHERE due_at IS NOT NULL AND due_at <= $1 ORDER BY due_at LIMIT $2";
        Ok(on!(self, conn => {
            sqlx::query_as::<Db, _>(SQL).bind(now).bind(limit).fetch_all(conn).await?
        }))
    }

    /// Claimed mails whose claim has run out, and those that `node` claimed.
    ///
    /// # Errors
    /// The database is not available.
    pub async fn lapsed_mails(
        &mut self,
        now: Timestamp,
        node: &str,
    ) -> Result<Vec<MailRow>, StoreError> {
        const SQL: &str = "SELECT * FROM mails WHERE claim_until IS NOT NULL
              AND (claim_until <= $1 OR claimed_by = $2) ORDER BY id LIMIT 500";
        Ok(on!(self, conn => {
            sqlx::query_as::<Db, _>(SQL).bind(now).bind(node.to_owned()).fetch_all(conn).await?
        }))
    }

    /// How many mails are still to be sent, and since when the oldest of them waits.
    ///
    /// # Errors
    /// The database is not available.
    pub async fn waiting_mails(&mut self) -> Result<(i64, Option<Timestamp>), StoreError> {
        const SQL: &str = "SELECT COUNT(*), MIN(created_at) FROM mails WHERE due_at IS NOT NULL";
        Ok(on!(self, conn => sqlx::query_as::<Db, _>(SQL).fetch_one(conn).await?))
    }
}
