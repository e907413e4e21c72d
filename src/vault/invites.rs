//! Invitations: an operator asks a contact for a credential, by a link that is good until what is handed
//! in works.
//!
//! The link's token is 256 random bits, of which only the SHA-256 is kept; a second code, if there is
//! one, reaches the contact by another channel.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::digest::{SHA256, digest};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use zeroize::Zeroizing;

use super::Vault;
use super::caller::Caller;
use super::correspondence::Pen;
use super::credentials::{NewCredential, insert_new};
use super::erase::live_client;
use super::error::VaultError;
use super::outbox::Outbox;
use super::recorder::{Changed, Draft};
use crate::audit::{Detail, Kind, Subject};
use crate::crypto::MacKey;
use crate::model::{
    ClientId, ContactId, CredentialId, EmailAddress, InviteAnswer, InviteEnd, InviteId, MailId,
    Permission, Timestamp,
};
use crate::random::Random;
use crate::secret::{Secret, SecretKey};
use crate::store::{ContactRow, InviteRow, Page, Tx};

/// The form that pages show now. What was sealed for another is refused.
pub const FORM_VERSION: i64 = 1;
/// Characters of second codes: none that is easily taken for another.
const CODE_ALPHABET: &[u8; 32] = b"23456789ABCDEFGHJKLMNPQRSTUVWXYZ";
/// How long a second code is.
const CODE_LENGTH: usize = 8;

/// The token of a link: 32 random bytes as 43 characters of base64url, wiped when dropped.
pub struct LinkToken(Secret);

impl LinkToken {
    /// The token, if this looks like one.
    pub fn parse(text: &str) -> Option<Self> {
        if text.len() != 43 {
            return None;
        }
        let bytes = Zeroizing::new(URL_SAFE_NO_PAD.decode(text).ok()?);
        (bytes.len() == 32).then(|| Self(Secret::new(text.as_bytes().to_vec())))
    }

    /// A new one.
    pub(super) fn generate(random: &dyn Random) -> Result<Self, VaultError> {
        let bytes = SecretKey::generate(random)?;
        let mut text = Zeroizing::new(String::with_capacity(44));
        URL_SAFE_NO_PAD.encode_string(bytes.expose_secret(), &mut text);
        Ok(Self(Secret::new(text.as_bytes().to_vec())))
    }

    /// What is stored of it.
    pub fn sha256(&self) -> [u8; 32] {
        let mut hash = [0; 32];
        hash.copy_from_slice(digest(&SHA256, self.0.expose_secret()).as_ref());
        hash
    }

    /// The same once more, for the mail that is written within a transaction.
    fn copy(&self) -> Self {
        Self(Secret::new(self.0.expose_secret().to_vec()))
    }

    /// The text, for the one link or mail that carries it.
    pub const fn secret(&self) -> &Secret {
        &self.0
    }
}

/// An invitation to be made: for a credential that is there, or with `new` for one that is not.
#[derive(Deserialize, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewInvite {
    /// The credential whose next value is asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub credential: Option<CredentialId>,
    /// The credential to be added with its first invitation.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub new: Option<NewCredential>,
    /// A contact of the client, by id or e-mail address.
    pub contact: String,
    /// For how many hours the link is good: 1 to 2160, two weeks when left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(minimum = 1, maximum = 2160, default = 336)]
    pub lifetime_hours: Option<i64>,
    /// Whether a second code is needed, which reaches the contact by another channel than the link.
    #[serde(default)]
    pub code: bool,
    /// The language of pages and mails, such as `en`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub locale: Option<String>,
    /// Give the link in the answer, this once, instead of mailing it.
    #[serde(default)]
    pub no_mail: bool,
}

/// An invitation that was just made.
pub struct IssuedInvite {
    /// The invitation.
    pub invite: InviteView,
    /// The link's token, where no mail carries it.
    pub token: Option<LinkToken>,
    /// The second code, which is never mailed and not shown again.
    pub code: Option<Secret>,
}

/// An invitation without its token.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[schema(as = Invite)]
pub struct InviteView {
    /// Its id.
    pub id: InviteId,
    /// The credential.
    pub credential: CredentialId,
    /// Who was invited.
    pub contact: ContactId,
    /// `open`, `expired`, or how it ended.
    pub state: String,
    /// Whether a second code is needed.
    pub needs_code: bool,
    /// The language of pages and mails.
    pub locale: String,
    /// When it was made.
    pub created_at: Timestamp,
    /// From when on it cannot be used.
    pub expires_at: Timestamp,
    /// When it ended.
    pub ended_at: Option<Timestamp>,
    /// What the contact answered instead of handing something in.
    pub answer: Option<InviteAnswer>,
    /// How many submissions came by it.
    pub attempts: i64,
    /// The mail that carries the link, if one does.
    pub mail: Option<MailId>,
    /// The invitation whose contact handed it on as this one.
    pub forwarded_from: Option<InviteId>,
}

impl InviteView {
    pub(super) fn of(row: InviteRow, now: Timestamp) -> Self {
        let state = match row.ended_as {
            Some(end) => end.as_str(),
            None if row.is_open(now) => "open",
            None => "expired",
        };
        Self {
            id: row.id,
            credential: row.credential_id,
            contact: row.contact_id,
            state: state.to_owned(),
            needs_code: row.code_tag.is_some(),
            locale: row.locale,
            created_at: row.created_at,
            expires_at: row.expires_at,
            ended_at: row.ended_at,
            answer: row.answer,
            attempts: row.attempts,
            mail: row.mail_id,
            forwarded_from: row.forwarded_from,
        }
    }
}

/// Which invitations to list.
#[derive(Clone, Copy, Debug, Default, Deserialize, Serialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct InviteQuery {
    /// Only for this credential.
    pub credential: Option<CredentialId>,
}

/// The keyed tag of a second code. Codes are short, so that a plain hash could be searched.
pub(super) fn code_tag(mac: &MacKey, credential: CredentialId, code: &[u8]) -> [u8; 32] {
    mac.tag("intake-code", &[&credential.to_bytes(), code])
}

fn new_code(random: &dyn Random) -> Result<Secret, VaultError> {
    let mut bytes = Zeroizing::new([0_u8; CODE_LENGTH]);
    random.fill(bytes.as_mut_slice())?;
    let text = bytes
        .iter()
        .map(|byte| CODE_ALPHABET[usize::from(byte % 32)]);
    Ok(Secret::new(text.collect()))
}

/// The contact of a client that a request named by id or address.
pub(super) async fn contact_named(
    tx: &mut Tx,
    client: ClientId,
    text: &str,
) -> Result<Option<ContactRow>, VaultError> {
    if let Ok(id) = text.parse::<ContactId>() {
        return Ok(tx.contact(client, id).await?);
    }
    let Ok(email) = text.parse::<EmailAddress>() else {
        return Ok(None);
    };
    let contacts = tx.contacts(client, "", 500).await?.items;
    Ok(contacts.into_iter().find(|row| row.email == email))
}

/// Takes the mail back that carries the link of an invitation that has ended, if it was not sent yet.
pub(super) async fn withdraw_link(
    tx: &mut Tx,
    invite: &InviteRow,
    now: Timestamp,
) -> Result<(), VaultError> {
    if let Some(mail) = invite.mail_id {
        Outbox::withdraw(tx, mail, now).await?;
    }
    Ok(())
}

/// Ends the open invitations for a credential.
pub(super) async fn end_open_invites(
    tx: &mut Tx,
    credential: CredentialId,
    how: InviteEnd,
    now: Timestamp,
    record: &Draft,
) -> Result<Vec<Draft>, VaultError> {
    let mut records = Vec::new();
    for mut row in tx.unended_invites_of(credential).await? {
        row.ended_at = Some(now);
        row.ended_as = Some(how);
        withdraw_link(tx, &row, now).await?;
        if !tx.update_invite(&mut row).await? {
            return Err(VaultError::Changed);
        }
        let draft = record.clone().about([row.id.into(), credential.into()]);
        records.push(draft.with("ended_as", Detail::Word(how.as_str())));
    }
    Ok(records)
}

impl Vault {
    /// Invites a contact to hand in a credential. Earlier open invitations for it end.
    ///
    /// # Errors
    /// Credential, client or contact are not there, or a field breaks a rule; see [`VaultError`].
    pub async fn invite(
        &self,
        caller: &Caller,
        new: NewInvite,
    ) -> Result<IssuedInvite, VaultError> {
        self.authorise_quietly(caller, Permission::WriteCredentials)
            .await?;
        let hours = new.lifetime_hours.unwrap_or(336);
        if !(1..=2160).contains(&hours) {
            return Err(VaultError::invalid("lifetime_hours", "must be 1 to 2160"));
        }
        let locale = new.locale.unwrap_or_else(|| "en".to_owned());
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-';
        if !(2..=35).contains(&locale.len()) || !locale.bytes().all(plain) {
            let rule = "must be a language tag such as en or de-AT";
            return Err(VaultError::invalid("locale", rule));
        }
        if new.credential.is_some() == new.new.is_some() {
            let rule = "give either the credential whose next value is asked for, or new";
            return Err(VaultError::invalid("credential", rule));
        }
        let now = self.clock.now();
        let random = self.random.clone();
        let token = LinkToken::generate(random.as_ref())?;
        let code = new.code.then(|| new_code(random.as_ref())).transpose()?;
        let token_sha256 = token.sha256().to_vec();
        // Said before anything is made.
        let mailed = match new.no_mail {
            true => None,
            false => {
                self.outbox.link(&token)?;
                Some(token.copy())
            }
        };
        let token = mailed.is_none().then_some(token);
        let id = InviteId::generate(now, random.as_ref())?;
        let expires_at = now.plus_secs(hours * 3600);
        let created = caller.draft(Kind::CredentialCreated);
        let invited = caller.draft(Kind::IntakeInvited);
        let revoked = caller.draft(Kind::IntakeRevoked);
        let fresh = CredentialId::generate(now, random.as_ref())?;
        let outbox = self.outbox.clone();
        let (credential, added, contact) = (new.credential, new.new, new.contact);
        let code_tag = code.as_ref().map(|code| {
            let of = credential.unwrap_or(fresh);
            code_tag(&self.fingerprint_mac, of, code.expose_secret()).to_vec()
        });
        let invite = self
            .change(caller, Permission::WriteCredentials, move |tx| {
                Box::pin(async move {
                    let mut records = Vec::new();
                    let credential = match added {
                        Some(added) => {
                            let made = insert_new(tx, fresh, added, created, now).await?;
                            records.push(made.1);
                            made.0
                        }
                        None => {
                            let id = credential.ok_or(VaultError::NotFound)?;
                            let row = tx.credential(id).await?;
                            row.ok_or_else(|| VaultError::invalid("credential", "does not exist"))?
                        }
                    };
                    let client = live_client(tx, credential.client_id).await?;
                    let found = contact_named(tx, credential.client_id, &contact).await?;
                    let contact = found.ok_or_else(|| {
                        VaultError::invalid(
                            "contact",
                            "must be the id or e-mail address of a contact of this client: add it \
                             with `contact add`",
                        )
                    })?;
                    let how = InviteEnd::Superseded;
                    records.extend(end_open_invites(tx, credential.id, how, now, &revoked).await?);
                    let mut row = InviteRow {
                        id,
                        credential_id: credential.id,
                        contact_id: contact.id,
                        token_sha256,
                        code_tag,
                        locale,
                        created_at: now,
                        expires_at,
                        ended_at: None,
                        ended_as: None,
                        answer: None,
                        attempts: 0,
                        code_failures: 0,
                        mail_id: None,
                        forwarded_from: None,
                        form_version: FORM_VERSION,
                        revision: 1,
                        mac: Vec::new(),
                    };
                    if let Some(token) = &mailed {
                        let pen = Pen {
                            outbox: &outbox,
                            now,
                            random: random.as_ref(),
                        };
                        let about = (&client, &contact, &credential);
                        row.mail_id = Some(pen.invite(tx, &row, about, token).await?);
                    }
                    let row = tx.insert_invite(row).await?;
                    let mut invited = invited
                        .about([id.into(), credential.id.into(), contact.id.into()])
                        .with("expires_at", Detail::Time(expires_at));
                    invited.subjects.extend(row.mail_id.map(Subject::from));
                    records.push(invited);
                    Ok(Changed {
                        value: InviteView::of(row, now),
                        records,
                        subjects: Vec::new(),
                    })
                })
            })
            .await?;
        Ok(IssuedInvite {
            invite,
            token,
            code,
        })
    }

    /// A page of invitations, oldest first.
    ///
    /// # Errors
    /// See [`VaultError`].
    pub async fn invites(
        &self,
        caller: &Caller,
        query: InviteQuery,
        after: &str,
        limit: i64,
    ) -> Result<Page<InviteView>, VaultError> {
        self.authorise(caller, Permission::ReadMetadata).await?;
        let mut tx = self.db.read().await?;
        let page = tx.invites(query.credential, after, limit).await?;
        let now = self.clock.now();
        Ok(page.map(|row| InviteView::of(row, now)))
    }

    /// One invitation.
    ///
    /// # Errors
    /// It is not there; see [`VaultError`].
    pub async fn invite_view(
        &self,
        caller: &Caller,
        id: InviteId,
    ) -> Result<InviteView, VaultError> {
        self.authorise(caller, Permission::ReadMetadata).await?;
        let row = self.db.read().await?.invite(id).await?;
        let row = row.ok_or(VaultError::NotFound)?;
        Ok(InviteView::of(row, self.clock.now()))
    }

    /// Ends an invitation: its link is good for nothing any more. What was handed in by it stays.
    ///
    /// # Errors
    /// It is not there, or ended already; see [`VaultError`].
    pub async fn revoke_invite(
        &self,
        caller: &Caller,
        id: InviteId,
    ) -> Result<InviteView, VaultError> {
        let now = self.clock.now();
        let record = caller.draft(Kind::IntakeRevoked);
        self.change(caller, Permission::WriteCredentials, move |tx| {
            Box::pin(async move {
                let mut row = tx.invite(id).await?.ok_or(VaultError::NotFound)?;
                if row.ended_at.is_some() {
                    return Err(VaultError::Conflict("this invitation has ended already"));
                }
                row.ended_at = Some(now);
                row.ended_as = Some(InviteEnd::Revoked);
                withdraw_link(tx, &row, now).await?;
                if !tx.update_invite(&mut row).await? {
                    return Err(VaultError::Changed);
                }
                let record = record.about([id.into(), row.credential_id.into()]);
                Ok(Changed {
                    value: InviteView::of(row, now),
                    records: vec![record],
                    subjects: Vec::new(),
                })
            })
        })
        .await
    }
}
