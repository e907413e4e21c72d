//! Handing an invitation on: whoever got a link names a colleague, who gets one of their own by mail.
//!
//! One transaction: link once more, how often it went on, contact found or added, the old link ended, the
//! new one made, its mail, a task for the operator, audit records. The new link is in no answer.

use super::Vault;
use super::correspondence::Pen;
use super::erase::live_client;
use super::error::VaultError;
use super::intake::SubmitError;
use super::invites::{FORM_VERSION, LinkToken, withdraw_link};
use super::link::find_invite;
use super::recorder::{Changed, Draft};
use super::tasks::open_task;
use crate::audit::{Detail, Kind};
use crate::model::{
    ClientId, ContactId, CredentialId, DisplayName, EmailAddress, InviteEnd, InviteId,
    SubmissionState, TaskKind, Timestamp,
};
use crate::store::{ContactRole, ContactRow, InviteRow, SubmissionRow, Tx};

/// The most times that an invitation goes from one colleague to the next before an operator has to
/// invite anew.
const MOST_FORWARDS: usize = 5;
/// For how long a colleague has time at least, in seconds: three days.
const LEAST_LIFETIME: i64 = 72 * 60 * 60;

/// A colleague to whom an invitation is handed on.
pub struct Colleague {
    /// Their name.
    pub name: DisplayName,
    /// Their address.
    pub email: EmailAddress,
}

/// Whether what was handed in by a link is with the provider or an operator now: then nobody else has
/// anything to do.
pub(super) const fn is_under_way(state: SubmissionState) -> bool {
    matches!(state, SubmissionState::Verifying | SubmissionState::Waiting)
}

/// Whether an invitation may go on to one more colleague.
pub(super) async fn may_go_on(tx: &mut Tx, invite: &InviteRow) -> Result<bool, VaultError> {
    let mut before = invite.forwarded_from;
    for _ in 0..MOST_FORWARDS {
        let Some(id) = before else { return Ok(true) };
        // One that is not as the service wrote it ends the chain, and this link's with it.
        let Some(row) = tx.invite(id).await? else {
            return Ok(false);
        };
        before = row.forwarded_from;
    }
    Ok(false)
}

/// The contact of a client with this address, however it is spelt, or a new one. Returns it with the
/// record of that.
async fn contact_for(
    tx: &mut Tx,
    client: ClientId,
    fresh: ContactId,
    colleague: Colleague,
    now: Timestamp,
) -> Result<(ContactRow, Option<Draft>), VaultError> {
    let Colleague { name, email } = colleague;
    let known = tx.contacts(client, "", 500).await?.items.into_iter();
    let mut same = known.filter(|row| is_same(&row.email, &email));
    if let Some(row) = same.next() {
        return Ok((row, None));
    }
    let row = ContactRow {
        id: fresh,
        client_id: client,
        name,
        email,
        role: ContactRole::Technical,
        created_at: now,
        revision: 1,
    };
    tx.insert_contact(&row).await?;
    let record = Draft::of(Kind::ContactAdded).about([fresh.into(), client.into()]);
    Ok((row, Some(record)))
}

/// Whether two addresses lead to one mailbox: what stands before the @ may differ by law (RFC 5321,
/// 2.4) and never does.
fn is_same(one: &EmailAddress, other: &EmailAddress) -> bool {
    one.as_str().eq_ignore_ascii_case(other.as_str())
}

/// Ends the invitation by which a submission came, and those that it went on as: what was asked for is
/// there.
pub(super) async fn end_as_succeeded(
    tx: &mut Tx,
    credential: CredentialId,
    invite: InviteId,
    now: Timestamp,
) -> Result<(), VaultError> {
    for mut row in tx.unended_invites_of(credential).await? {
        if row.id != invite && !came_from(tx, &row, invite).await? {
            continue;
        }
        row.ended_at = Some(now);
        row.ended_as = Some(InviteEnd::Succeeded);
        withdraw_link(tx, &row, now).await?;
        if !tx.update_invite(&mut row).await? {
            return Err(VaultError::Changed);
        }
    }
    Ok(())
}

/// Whether an invitation goes back to another one by being handed on.
async fn came_from(tx: &mut Tx, invite: &InviteRow, first: InviteId) -> Result<bool, VaultError> {
    let mut before = invite.forwarded_from;
    for _ in 0..MOST_FORWARDS {
        match before {
            Some(id) if id == first => return Ok(true),
            Some(id) => before = tx.invite(id).await?.and_then(|row| row.forwarded_from),
            None => return Ok(false),
        }
    }
    Ok(false)
}

impl Vault {
    /// Makes a link for a colleague, which is mailed to them, and ends this one. What was handed in by
    /// this one stays until the colleague hands something in.
    ///
    /// # Errors
    /// The link is not good or went on too often, the address is its own, something that was handed in is
    /// under way, or no mail can be sent; see [`SubmitError`].
    pub async fn forward(
        &self,
        token: &LinkToken,
        colleague: Colleague,
    ) -> Result<(), SubmitError> {
        let not_before = self.links_not_before().await?;
        let (now, hash) = (self.clock.now(), token.sha256());
        {
            let mut tx = self.db.read().await.map_err(VaultError::from)?;
            find_invite(&mut tx, token, now, not_before, false).await?;
        }
        let random = self.random.clone();
        let next = LinkToken::generate(random.as_ref())?;
        // Said before anything is made.
        self.outbox.link(&next)?;
        let id = InviteId::generate(now, random.as_ref()).map_err(VaultError::from)?;
        let fresh = ContactId::generate(now, random.as_ref()).map_err(VaultError::from)?;
        let outbox = self.outbox.clone();
        self.change_by_itself(move |tx| {
            Box::pin(async move {
                let old = tx.invite_by_hash(&hash).await?;
                let old = old.filter(|row| row.is_open(now));
                let mut old = old.ok_or(VaultError::NotFound)?;
                if !may_go_on(tx, &old).await? {
                    return Err(VaultError::Conflict(
                        "this link was handed on too often: ask for a new one",
                    ));
                }
                let newest = tx.newest_submission_by(old.id).await?;
                let newest = newest.filter(SubmissionRow::is_open);
                if newest.is_some_and(|row| is_under_way(row.state)) {
                    return Err(VaultError::Conflict("what was handed in is under way"));
                }
                let credential = tx.credential(old.credential_id).await?;
                let credential = credential.ok_or(VaultError::NotFound)?;
                let client = live_client(tx, credential.client_id).await?;
                let sender = tx.contact(client.id, old.contact_id).await?;
                if sender.is_some_and(|row| is_same(&row.email, &colleague.email)) {
                    return Err(VaultError::invalid(
                        "email",
                        "this link was sent to this address: give the address of somebody else",
                    ));
                }
                let (contact, added) = contact_for(tx, client.id, fresh, colleague, now).await?;

                old.ended_at = Some(now);
                old.ended_as = Some(InviteEnd::Forwarded);
                withdraw_link(tx, &old, now).await?;
                if !tx.update_invite(&mut old).await? {
                    return Err(VaultError::Changed);
                }
                let mut row = InviteRow {
                    id,
                    credential_id: credential.id,
                    contact_id: contact.id,
                    token_sha256: next.sha256().to_vec(),
                    // The same code, which colleagues tell each other, and no more guesses at it.
                    code_tag: old.code_tag,
                    code_failures: old.code_failures,
                    locale: old.locale,
                    created_at: now,
                    expires_at: old.expires_at.max(now.plus_secs(LEAST_LIFETIME)),
                    ended_at: None,
                    ended_as: None,
                    answer: None,
                    attempts: 0,
                    mail_id: None,
                    forwarded_from: Some(old.id),
                    form_version: FORM_VERSION,
                    revision: 1,
                    mac: Vec::new(),
                };
                let pen = Pen {
                    outbox: &outbox,
                    now,
                    random: random.as_ref(),
                };
                let about = (&client, &contact, &credential);
                let mail = pen.invite(tx, &row, about, &next).await?;
                row.mail_id = Some(mail);
                let row = tx.insert_invite(row).await?;

                let mut records: Vec<Draft> = added.into_iter().collect();
                let record = Draft::of(Kind::IntakeForwarded)
                    .about([
                        old.id.into(),
                        id.into(),
                        credential.id.into(),
                        contact.id.into(),
                        mail.into(),
                    ])
                    .with("expires_at", Detail::Time(row.expires_at));
                records.push(record);
                let (kind, note) = (TaskKind::InviteForwarded, contact.id.to_string());
                let of = Some(credential.id);
                let task = open_task(tx, kind, id.into(), of, Some(&note), now, random.as_ref());
                records.extend(task.await?);
                Ok(Changed {
                    value: (),
                    records,
                    subjects: Vec::new(),
                })
            })
        })
        .await?;
        Ok(())
    }
}
