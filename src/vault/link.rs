//! What a link leads to. Looking writes nothing, so that what opens links to scan them changes nothing,
//! and opens no value.

use subtle::ConstantTimeEq as _;

use super::Vault;
use super::error::VaultError;
use super::forward::{is_under_way, may_go_on};
use super::invites::LinkToken;
use super::submissions::{SubmissionView, submission_view};
use crate::crypto::{POINT, intake_info};
use crate::model::{CredentialKind, InviteAnswer, InviteEnd, InviteId, SubmissionState, Timestamp};
use crate::secret::Secret;
use crate::store::{InviteRow, Tx};

/// Why a link leads nowhere.
#[derive(Debug, thiserror::Error)]
pub enum LinkError {
    /// It never existed, has expired, was revoked or has ended: which is not said.
    #[error("this link is not good")]
    Gone,
    /// Something that is needed is not available now.
    #[error("not available")]
    Unavailable,
}

impl From<VaultError> for LinkError {
    fn from(error: VaultError) -> Self {
        match error {
            VaultError::NotFound | VaultError::Unauthenticated => Self::Gone,
            _ => Self::Unavailable,
        }
    }
}

/// What a page shows of a link.
#[derive(Clone, Debug)]
pub struct LinkView {
    /// The invitation.
    pub invite: InviteId,
    /// The client's name.
    pub client: String,
    /// What the credential is called.
    pub label: String,
    /// What system it opens, and so what is asked for.
    pub kind: CredentialKind,
    /// Where it is used.
    pub environment: String,
    /// Who was invited; empty once they are no contact any more.
    pub contact: String,
    /// Their language.
    pub locale: String,
    /// From when on the link cannot be used.
    pub expires_at: Timestamp,
    /// How the invitation ended, where the page still shows that: success and an answer.
    pub ended_as: Option<InviteEnd>,
    /// What was answered.
    pub answer: Option<InviteAnswer>,
    /// Of a renewal: what says whose the active version is, by field. No secret.
    pub known: Vec<(String, String)>,
    /// Whether the second code is asked for.
    pub needs_code: bool,
    /// Whether it can be handed on to a colleague.
    pub may_forward: bool,
    /// To what a form is sealed.
    pub seal_to: SealTo,
    /// The newest submission by this link, with its stages.
    pub submission: Option<SubmissionView>,
    /// When that ends, once it is verified and if anybody knows.
    pub ends_at: Option<Timestamp>,
}

/// What a browser seals a form to: see `crypto/hpke.rs`.
#[derive(Clone, Debug)]
pub struct SealTo {
    /// The public key, an uncompressed point of P-256.
    pub key: [u8; POINT],
    /// What it is bound to: deployment, invitation, version of the form (`info` of RFC 9180).
    pub info: Vec<u8>,
    /// Which set of fields it has (`aad`).
    pub aad: Vec<u8>,
}

/// The open invitation of a token, or one that ended in a way that its page still shows.
pub(super) async fn find_invite(
    tx: &mut Tx,
    token: &LinkToken,
    now: Timestamp,
    not_before: Option<Timestamp>,
    shown_after_end: bool,
) -> Result<InviteRow, VaultError> {
    let hash = token.sha256();
    let row = tx.invite_by_hash(&hash).await?;
    let row = row.filter(|row| bool::from(row.token_sha256.ct_eq(&hash)));
    let row = row.ok_or(VaultError::NotFound)?;
    // What a restore brought back may have been used or revoked since the backup.
    let restored = not_before.is_some_and(|at| row.created_at < at);
    let shown = shown_after_end
        && now < row.expires_at
        && matches!(
            row.ended_as,
            Some(InviteEnd::Succeeded | InviteEnd::Answered)
        );
    match (row.is_open(now) || shown) && !restored {
        true => Ok(row),
        false => Err(VaultError::NotFound),
    }
}

impl Vault {
    pub(super) async fn links_not_before(&self) -> Result<Option<Timestamp>, VaultError> {
        Ok(self.state().await?.row.restored_at)
    }

    /// What a link leads to. Changes nothing, however often it is opened.
    ///
    /// # Errors
    /// The link is not good, or that cannot be known now.
    pub async fn link(&self, token: &LinkToken) -> Result<LinkView, LinkError> {
        Ok(self.look_up(token).await?)
    }

    async fn look_up(&self, token: &LinkToken) -> Result<LinkView, VaultError> {
        let not_before = self.links_not_before().await?;
        let now = self.clock.now();
        let mut tx = self.db.read().await?;
        let invite = find_invite(&mut tx, token, now, not_before, true).await?;
        let credential = tx.credential(invite.credential_id).await?;
        let credential = credential.ok_or(VaultError::NotFound)?;
        let client = tx.client(credential.client_id).await?;
        let client = client.ok_or(VaultError::NotFound)?;
        let environment = tx.environment(credential.environment_id).await?;
        let environment = environment.ok_or(VaultError::NotFound)?;
        let contact = tx.contact(client.id, invite.contact_id).await?;
        let submission = match tx.newest_submission_by(invite.id).await? {
            Some(row) => Some(submission_view(&mut tx, row).await?),
            None => None,
        };
        let under_way = submission.as_ref().is_some_and(|it| is_under_way(it.state));
        let may_forward = self.outbox.sends_links()
            && invite.is_open(now)
            && !under_way
            && may_go_on(&mut tx, &invite).await?;
        let ends_at = match &submission {
            Some(done) if done.state == SubmissionState::Verified => {
                let version = tx.version(credential.id, done.version).await?;
                version.and_then(|version| version.expires_at)
            }
            _ => None,
        };
        drop(tx);
        let known = self.owner_of_active(&credential).await?.shown();
        Ok(LinkView {
            seal_to: self.seal_to(&invite, credential.kind),
            invite: invite.id,
            client: client.name.to_string(),
            label: credential.label.to_string(),
            kind: credential.kind,
            environment: environment.name.to_string(),
            contact: contact.map_or_else(String::new, |row| row.name.to_string()),
            locale: invite.locale,
            expires_at: invite.expires_at,
            ended_as: invite.ended_as,
            answer: invite.answer,
            known,
            needs_code: invite.code_tag.is_some(),
            may_forward,
            submission,
            ends_at,
        })
    }

    fn seal_to(&self, invite: &InviteRow, kind: CredentialKind) -> SealTo {
        let version = u32::try_from(invite.form_version).unwrap_or(u32::MAX);
        SealTo {
            key: *self.intake_key.public(),
            info: intake_info(&self.deployment, &invite.id.to_string(), version),
            aad: kind.as_str().as_bytes().to_vec(),
        }
    }

    /// Opens a form that a browser sealed for this link; `None` if it was sealed for another, or changed
    /// on its way.
    pub fn open_form(&self, link: &LinkView, sealed: &[u8]) -> Option<Secret> {
        let SealTo { info, aad, .. } = &link.seal_to;
        self.intake_key.open(info, aad, sealed).ok()
    }
}
