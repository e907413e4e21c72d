//! What contacts are written about what they hand in: invitations, and what came of it. Each mail is put
//! into the outbox in the transaction of its cause.

use super::VaultError;
use super::invites::LinkToken;
use super::outbox::{NewMail, Outbox};
use crate::mail::Letter;
use crate::model::{MailId, Timestamp};
use crate::providers::{Hint, Step, words};
use crate::random::Random;
use crate::store::{
    ClientRow, ContactRow, CredentialRow, InviteRow, SubmissionRow, Tx, VersionRow,
};

/// How the service reaches contacts.
#[derive(Clone, Debug, Default)]
pub struct Correspondence {
    /// What links for clients begin with: the address of the pages, without a slash at its end.
    pub pages_url: Option<String>,
    /// Whether something is set that sends mails. Without it none is written.
    pub sends: bool,
}

/// How long before its end a contact is asked for the next value, in seconds: 60 days.
const ASKED_BEFORE: i64 = 60 * 24 * 60 * 60;

/// What it takes to write to a contact within a transaction.
#[derive(Clone, Copy)]
pub(super) struct Pen<'a> {
    pub outbox: &'a Outbox,
    pub now: Timestamp,
    pub random: &'a dyn Random,
}

impl Pen<'_> {
    async fn put(&self, tx: &mut Tx, mail: NewMail) -> Result<MailId, VaultError> {
        self.outbox.put(tx, mail, self.now, self.random).await
    }

    /// Mails an invitation. The link is in no other mail.
    ///
    /// # Errors
    /// No mail can be sent, nobody said what links begin with, or the database failed.
    pub async fn invite(
        &self,
        tx: &mut Tx,
        invite: &InviteRow,
        (client, contact, credential): (&ClientRow, &ContactRow, &CredentialRow),
        token: &LinkToken,
    ) -> Result<MailId, VaultError> {
        let link = self.outbox.link(token)?;
        let renewal = tx.active_version(credential.id).await?.is_some();
        let letter = Letter::Invite {
            client: client.name.to_string(),
            label: credential.label.to_string(),
            kind: credential.kind,
            link,
            expires_at: invite.expires_at,
            needs_code: invite.code_tag.is_some(),
            renewal,
        };
        self.put(tx, NewMail::to_contact(contact, letter)).await
    }

    /// Thanks the contact by whose invitation a version came that is active now.
    ///
    /// # Errors
    /// The database failed.
    pub async fn verified(
        &self,
        tx: &mut Tx,
        row: &SubmissionRow,
        version: &VersionRow,
    ) -> Result<(), VaultError> {
        let expires_at = version.expires_at;
        let asked = expires_at.map(|at| at.plus_secs(-ASKED_BEFORE));
        let ask_again_at = asked.filter(|at| *at > self.now);
        self.answer(tx, row, |_, client, credential| Letter::Verified {
            client: client.name.to_string(),
            label: credential.label.to_string(),
            kind: credential.kind,
            expires_at,
            ask_again_at,
        })
        .await
    }

    /// Tells the contact which step is to be done again. Only a definite answer of the provider is told.
    ///
    /// # Errors
    /// The database failed.
    pub async fn failed(
        &self,
        tx: &mut Tx,
        row: &SubmissionRow,
        hint: Hint,
    ) -> Result<(), VaultError> {
        let step = Some(hint.step()).filter(|step| *step != Step::Nothing);
        self.answer(tx, row, |invite, client, credential| Letter::Failed {
            client: client.name.to_string(),
            label: credential.label.to_string(),
            kind: credential.kind,
            attempt: row.number,
            hint: words::hint(hint).to_owned(),
            step: step.map(|step| words::step(step).to_owned()),
            expires_at: invite.expires_at,
        })
        .await
    }

    /// Puts an answer to the mail of a submission's invitation; nothing when nobody is there to read it.
    async fn answer(
        &self,
        tx: &mut Tx,
        row: &SubmissionRow,
        letter: impl FnOnce(&InviteRow, &ClientRow, &CredentialRow) -> Letter,
    ) -> Result<(), VaultError> {
        if !self.outbox.sends() {
            return Ok(());
        }
        let (Some(invite), Some(credential)) = (
            tx.invite(row.invite_id).await?,
            tx.credential(row.credential_id).await?,
        ) else {
            return Ok(());
        };
        let Some(client) = tx.client(credential.client_id).await? else {
            return Ok(());
        };
        let Some(contact) = tx.contact(client.id, invite.contact_id).await? else {
            return Ok(());
        };
        let mail = NewMail::to_contact(&contact, letter(&invite, &client, &credential));
        self.put(tx, mail.following(invite.mail_id)).await?;
        Ok(())
    }
}
