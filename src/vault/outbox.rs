//! Putting a mail into the outbox: in the transaction of its cause, so that there is never one without
//! the other. What it says and whom it goes to is sealed until it is sent, because an invitation holds
//! a link that gives access; then it is gone.

use serde::{Deserialize, Serialize};

use super::VaultError;
use super::correspondence::Correspondence;
use super::invites::LinkToken;
use crate::crypto::{Binding, KeyRef, open, seal};
use crate::mail::{Addressee, Letter, Rendered};
use crate::model::{ClientId, ContactId, EmailAddress, MailId, MailState, Timestamp};
use crate::random::Random;
use crate::secret::{Secret, SecretKey};
use crate::store::{ContactRow, MailRow, Tx};

/// A mail that is to be sent.
pub(super) struct NewMail {
    pub client: Option<ClientId>,
    pub contact: Option<ContactId>,
    pub to: Addressee,
    pub letter: Letter,
    /// The first mail about the same matter, so that mail programs show them together.
    pub thread: Option<MailId>,
}

impl NewMail {
    /// A mail to a contact as it is known now.
    pub fn to_contact(contact: &ContactRow, letter: Letter) -> Self {
        Self {
            client: Some(contact.client_id),
            contact: Some(contact.id),
            to: Addressee {
                name: Some(contact.name.clone()),
                address: contact.email.clone(),
            },
            letter,
            thread: None,
        }
    }

    /// The same mail as an answer to an earlier one.
    pub fn following(mut self, first: Option<MailId>) -> Self {
        self.thread = first;
        self
    }
}

/// What is sealed.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub(super) enum Content {
    /// Before the first attempt.
    Letter { to: Addressee, letter: Letter },
    /// From the first attempt on: the same bytes every time.
    Message {
        from: EmailAddress,
        to: EmailAddress,
        message: String,
    },
}

impl Content {
    /// A message as it is kept.
    pub fn of(rendered: &Rendered) -> Result<Self, VaultError> {
        let message = std::str::from_utf8(rendered.message.expose_secret());
        Ok(Self::Message {
            from: rendered.from.clone(),
            to: rendered.to.clone(),
            message: message
                .map_err(|_| VaultError::Internal("a message is not text"))?
                .to_owned(),
        })
    }
}

/// Seals mails, and puts them where they are sent from.
pub(super) struct Outbox {
    deployment: String,
    key: SecretKey,
    key_ref: KeyRef,
    reach: Correspondence,
}

impl Outbox {
    /// With the service key `mail`.
    pub fn new(deployment: &str, key: SecretKey, key_ref: KeyRef, reach: Correspondence) -> Self {
        Self {
            deployment: deployment.to_owned(),
            key,
            key_ref,
            reach,
        }
    }

    /// How contacts are reached.
    pub const fn reach(&self) -> &Correspondence {
        &self.reach
    }

    /// Whether something sends what is put here.
    pub const fn sends(&self) -> bool {
        self.reach.sends
    }

    /// Whether a mail can carry a link: it can be sent, and somebody said what links begin with.
    pub const fn sends_links(&self) -> bool {
        self.sends() && self.reach.pages_url.is_some()
    }

    /// The whole link of a token, for a mail.
    ///
    /// # Errors
    /// No mail can be sent, or nobody said what links begin with.
    pub fn link(&self, token: &LinkToken) -> Result<String, VaultError> {
        if !self.sends() {
            return Err(VaultError::Conflict(
                "no mail can be sent: set mail.server and mail.from in the settings, or ask for the link \
                 itself (`no_mail`, or `--no-mail`) and hand it over",
            ));
        }
        let Some(url) = &self.reach.pages_url else {
            return Err(VaultError::Conflict(
                "a mail needs the whole link: set pages.url in the settings",
            ));
        };
        let token = std::str::from_utf8(token.secret().expose_secret());
        let token = token.map_err(|_| VaultError::Internal("a link is not text"))?;
        Ok(format!("{url}/i/{token}"))
    }

    /// Puts a mail into the outbox, to be sent once `tx` is committed. The record of its cause names
    /// it.
    ///
    /// # Errors
    /// The database or the source of randomness failed.
    pub async fn put(
        &self,
        tx: &mut Tx,
        mail: NewMail,
        now: Timestamp,
        random: &dyn Random,
    ) -> Result<MailId, VaultError> {
        let id = MailId::generate(now, random)?;
        let NewMail {
            client,
            contact,
            to,
            letter,
            thread,
        } = mail;
        let (address, kind) = (to.address.as_str().to_owned(), letter.kind());
        let sealed = self.seal(id, &Content::Letter { to, letter }, random)?;
        tx.insert_mail(&MailRow {
            id,
            client_id: client,
            contact_id: contact,
            address,
            kind,
            thread,
            message_id: None,
            state: MailState::Due,
            sealed: Some(sealed),
            rendered: 0,
            tries: 0,
            unknowns: 0,
            due_at: Some(now),
            claim: None,
            claimed_by: None,
            claim_until: None,
            created_at: now,
            ended_at: None,
            fault: None,
            revision: 1,
        })
        .await?;
        Ok(id)
    }

    /// Takes a mail back that has become pointless, such as one whose link was revoked; `false` when it
    /// is on its way or was sent.
    ///
    /// # Errors
    /// The database is not available.
    pub async fn withdraw(tx: &mut Tx, id: MailId, now: Timestamp) -> Result<bool, VaultError> {
        match tx.mail(id).await? {
            Some(mut row) if row.due_at.is_some() => {
                row.end(MailState::Withdrawn, now, None);
                Ok(tx.update_mail(&mut row).await?)
            }
            _ => Ok(false),
        }
    }

    /// Seals what a mail says.
    ///
    /// # Errors
    /// The source of randomness failed, or it is too long.
    pub fn seal(
        &self,
        id: MailId,
        content: &Content,
        random: &dyn Random,
    ) -> Result<Vec<u8>, VaultError> {
        let text = serde_json::to_vec(content);
        let text = Secret::new(text.map_err(|_| VaultError::Internal("a mail cannot be kept"))?);
        let (key, binding) = (&self.key, self.binding(id));
        Ok(seal(
            key,
            self.key_ref,
            &binding,
            text.expose_secret(),
            random,
        )?)
    }

    /// What a mail says; nothing when it does not open.
    pub fn open(&self, row: &MailRow) -> Option<Content> {
        let sealed = row.sealed.as_deref()?;
        let text = open(&self.key, self.key_ref, &self.binding(row.id), sealed).ok()?;
        serde_json::from_slice(text.expose_secret()).ok()
    }

    fn binding(&self, mail: MailId) -> Binding<'_> {
        Binding::Mail {
            deployment: &self.deployment,
            mail,
        }
    }
}
