//! What a client does by a link: hand in, check again, answer.
//!
//! The order of steps of a submission, top to bottom:
//!
//! ```text
//! link by its SHA-256 (one answer for never, expired, revoked, ended) -> the link's limit
//!   -> second code -> shape and dates -> one transaction: link once more, the same form twice,
//!   barred values, version sealed as pending, submission, verification due, audit record -> answer
//! ```
//!
//! What a link leads to is in `link.rs`, and how one is handed on in `forward.rs`.

use subtle::ConstantTimeEq as _;

use super::Vault;
use super::error::{FieldError, VaultError};
use super::invites::{LinkToken, code_tag};
use super::link::{LinkError, find_invite};
use super::new_version::{check_value, insert_pending};
use super::recorder::{Changed, Draft};
use super::submissions::{
    SubmissionView, first_state, nothing, submission_view, supersede_open, write,
};
use super::tasks::open_task;
use super::verify::{NewRun, due_run};
use crate::audit::{Detail, Kind};
use crate::model::{
    CredentialKind, InviteAnswer, InviteEnd, RunCause, Sealing, SubmissionId, SubmissionState,
    TaskKind,
};
use crate::providers::{self, Fields};
use crate::secret::Secret;
use crate::store::{InviteRow, SubmissionRow};

/// The most submissions by one link.
const MOST_ATTEMPTS: i64 = 50;
/// The most wrong codes by one link; then it ends.
const MOST_CODE_FAILURES: i64 = 10;
/// Beyond how many days a declared end is odd for a secret: Microsoft allows two years.
const ODD_AFTER_DAYS: i64 = 740;
/// Below how many days it is odd.
const ODD_BEFORE_DAYS: i64 = 30;

/// Why nothing was handed in. Nothing was changed.
#[derive(Debug, thiserror::Error)]
pub enum SubmitError {
    /// The link is not good.
    #[error("this link is not good")]
    Gone,
    /// The second code is missing or wrong.
    #[error("the code is not right")]
    Code,
    /// Fields break rules.
    #[error("the form breaks a rule")]
    Invalid(Vec<FieldError>),
    /// The provider refused exactly this before.
    #[error("the provider refused exactly this before: make a new secret and hand that in")]
    Barred,
    /// Too many attempts came by this link.
    #[error("too many attempts: ask for a new link")]
    TooMany,
    /// It does not fit what the submission is now; the text says what to do.
    #[error("{0}")]
    Conflict(&'static str),
    /// Something that is needed is not available now.
    #[error("not available")]
    Unavailable,
}

impl From<VaultError> for SubmitError {
    fn from(error: VaultError) -> Self {
        match error {
            VaultError::NotFound | VaultError::Unauthenticated => Self::Gone,
            VaultError::Invalid(errors) => Self::Invalid(errors),
            VaultError::Conflict(what) => Self::Conflict(what),
            _ => Self::Unavailable,
        }
    }
}

impl From<LinkError> for SubmitError {
    fn from(error: LinkError) -> Self {
        match error {
            LinkError::Gone => Self::Gone,
            LinkError::Unavailable => Self::Unavailable,
        }
    }
}

/// What a form carries.
pub struct Submitted {
    /// The fields of the kind; the test address too, where the kind has one.
    pub fields: Fields,
    /// When it ends: a date or a time.
    pub expires_at: Option<String>,
    /// The second code as it was typed.
    pub code: Option<Secret>,
    /// How the fields were protected.
    pub sealing: Sealing,
    /// SHA-256 of the encapsulated key, where they were sealed in the browser.
    pub enc_sha256: Option<[u8; 32]>,
}

/// What became of a form.
#[derive(Debug)]
pub struct Received {
    /// The submission: this one, or the same that came before.
    pub submission: SubmissionView,
    /// That the declared end is far under or over what providers allow: worth asking about.
    pub odd_expiry: bool,
}

impl Vault {
    /// A keyed tag of everything that a provider is shown: the same form twice has one.
    fn value_tag(&self, kind: CredentialKind, fields: &Fields) -> Vec<u8> {
        let json = fields.to_canonical_json_without("test_mailbox");
        let parts = [kind.as_str().as_bytes(), json.expose_secret()];
        self.fingerprint_mac.tag("intake-value", &parts).to_vec()
    }

    /// Hands in a value by a link.
    ///
    /// # Errors
    /// See [`SubmitError`]; nothing was changed but the count of wrong codes.
    pub async fn submit(
        &self,
        token: &LinkToken,
        form: Submitted,
    ) -> Result<Received, SubmitError> {
        // Look up the link.
        let not_before = self.links_not_before().await?;
        let now = self.clock.now();
        let mut tx = self.db.read().await.map_err(VaultError::from)?;
        let invite = find_invite(&mut tx, token, now, not_before, false).await?;
        let credential = tx.credential(invite.credential_id).await;
        let credential = credential.map_err(VaultError::from)?;
        let credential = credential.ok_or(SubmitError::Gone)?;
        drop(tx);

        // Count against its limit, and look at the second code.
        if invite.attempts >= MOST_ATTEMPTS {
            return Err(SubmitError::TooMany);
        }
        self.check_code(&invite, form.code.as_ref()).await?;

        // Shape and dates.
        let expiry = check_value(credential.kind, &form.fields, form.expires_at.as_deref())?;
        if expiry.is_some_and(|(at, _)| at <= now) {
            return Err(VaultError::invalid("expires_at", "must be in the future").into());
        }
        let odd_expiry = expiry.is_some_and(|(at, _)| {
            at > now.plus_secs(ODD_AFTER_DAYS * 86_400)
                || at < now.plus_secs(ODD_BEFORE_DAYS * 86_400)
        });

        // What is made before others have to wait for it.
        let value_tag = self.value_tag(credential.kind, &form.fields);
        let owner = self.owner_of_active(&credential).await?;
        let same = owner.may_be(&providers::identifiers(credential.kind, &form.fields));
        let value = self.seal_later(&credential, &form.fields, expiry, now)?;
        let (keyring, random) = (self.keyring.clone(), self.random.clone());
        let id = SubmissionId::generate(now, random.as_ref()).map_err(VaultError::from)?;
        let enc_sha256 = form.enc_sha256.map(|hash| hash.to_vec());
        let (hash, sealing) = (token.sha256(), form.sealing);
        let (kind, tag) = (credential.kind, value_tag);

        let change = self.change_by_itself(move |tx| {
            Box::pin(async move {
                let invite = tx.invite_by_hash(&hash).await?;
                let invite = invite.filter(|row| row.is_open(now));
                let mut invite = invite.ok_or(VaultError::NotFound)?;
                let credential = invite.credential_id;
                // The same form twice: one wins, and both get its page.
                if let Some(newest) = tx.newest_submission_by(invite.id).await? {
                    let replayed = enc_sha256.is_some() && newest.enc_sha256 == enc_sha256;
                    let again = newest.is_open() && newest.state == SubmissionState::Verifying;
                    let same = bool::from(newest.value_tag.ct_eq(&tag));
                    if same && (again || replayed) {
                        return Ok(Changed {
                            value: Ok(submission_view(tx, newest).await?),
                            records: Vec::new(),
                            subjects: Vec::new(),
                        });
                    }
                }
                if tx.is_barred(credential, &tag).await? {
                    let refused = Draft::of(Kind::IntakeRefused)
                        .about([invite.id.into(), credential.into()])
                        .with("reason", Detail::Word("barred"));
                    return Ok(Changed {
                        value: Err(SubmitError::Barred),
                        records: vec![refused],
                        subjects: Vec::new(),
                    });
                }
                let mut changed = nothing();
                supersede_open(tx, credential, now, &mut changed).await?;
                let added = Draft::of(Kind::VersionAdded);
                let inserted =
                    insert_pending(tx, credential, value, added, &keyring, random.as_ref());
                let (version, records) = inserted.await?;
                changed.records.extend(records);
                invite.attempts += 1;
                let number = invite.attempts;
                if !tx.update_invite(&mut invite).await? {
                    return Err(VaultError::Changed);
                }
                let row = SubmissionRow {
                    id,
                    invite_id: invite.id,
                    credential_id: credential,
                    version_id: version.id,
                    version_number: version.number,
                    number,
                    received_at: now,
                    sealing,
                    enc_sha256,
                    value_tag: tag,
                    state: first_state(kind, same),
                    hint: None,
                    finished_at: None,
                    revision: 1,
                    mac: Vec::new(),
                };
                let row = match tx.insert_submission(row).await {
                    Err(crate::store::StoreError::Taken) => {
                        return Err(VaultError::Conflict(
                            "this form was sent before: open the link again",
                        ));
                    }
                    other => other?,
                };
                let record = Draft::of(Kind::IntakeSubmitted)
                    .about([
                        id.into(),
                        invite.id.into(),
                        credential.into(),
                        version.id.into(),
                    ])
                    .with("number", Detail::Number(number))
                    .with("sealing", Detail::Word(sealing.as_str()));
                changed.records.push(record);
                if row.state == SubmissionState::Waiting {
                    let why = if same { "kind" } else { "other-identity" };
                    let (about, of) = (id.into(), Some(credential));
                    let task = TaskKind::SubmissionWaiting;
                    let task = open_task(tx, task, about, of, Some(why), now, random.as_ref());
                    changed.records.extend(task.await?);
                } else {
                    let run = NewRun {
                        version: &version,
                        submission: Some(id),
                        cause: RunCause::Submission,
                    };
                    due_run(tx, run, now, random.as_ref()).await?;
                }
                let view = submission_view(tx, row).await?;
                Ok(Changed {
                    value: Ok(view),
                    records: changed.records,
                    subjects: changed.subjects,
                })
            })
        });
        let submission = self.destroying(change).await??;
        self.work.notify_one();
        Ok(Received {
            submission,
            odd_expiry,
        })
    }

    /// Looks at the second code, if the invitation has one, and counts a wrong one.
    async fn check_code(
        &self,
        invite: &InviteRow,
        code: Option<&Secret>,
    ) -> Result<(), SubmitError> {
        let Some(expected) = &invite.code_tag else {
            return Ok(());
        };
        let typed: Secret = Secret::new(code.map_or_else(Vec::new, |code| {
            let typed = code.expose_secret().iter();
            let typed = typed.filter(|byte| byte.is_ascii_alphanumeric());
            typed.map(u8::to_ascii_uppercase).collect()
        }));
        let tag = code_tag(
            &self.fingerprint_mac,
            invite.credential_id,
            typed.expose_secret(),
        );
        if bool::from(tag.as_slice().ct_eq(expected)) {
            return Ok(());
        }
        let (id, now) = (invite.id, self.clock.now());
        self.change_by_itself(move |tx| {
            Box::pin(async move {
                let mut row = tx.invite(id).await?.ok_or(VaultError::NotFound)?;
                row.code_failures += 1;
                if row.code_failures >= MOST_CODE_FAILURES && row.ended_at.is_none() {
                    row.ended_at = Some(now);
                    row.ended_as = Some(InviteEnd::Revoked);
                }
                let record = Draft::of(Kind::IntakeRefused)
                    .about([id.into(), row.credential_id.into()])
                    .with("reason", Detail::Word("code"));
                if !tx.update_invite(&mut row).await? {
                    return Err(VaultError::Changed);
                }
                Ok(Changed {
                    value: (),
                    records: vec![record],
                    subjects: Vec::new(),
                })
            })
        })
        .await?;
        Err(SubmitError::Code)
    }

    /// Checks what was handed in once more, after a step of the set-up was done again.
    ///
    /// # Errors
    /// The link is not good, or there is nothing that can be checked again; see [`SubmitError`].
    pub async fn check_again(&self, token: &LinkToken) -> Result<SubmissionView, SubmitError> {
        let not_before = self.links_not_before().await?;
        let (now, hash) = (self.clock.now(), token.sha256());
        {
            let mut tx = self.db.read().await.map_err(VaultError::from)?;
            find_invite(&mut tx, token, now, not_before, false).await?;
        }
        let random = self.random.clone();
        let view = self
            .change_by_itself(move |tx| {
                Box::pin(async move {
                    let invite = tx.invite_by_hash(&hash).await?;
                    let invite = invite.filter(|row| row.is_open(now));
                    let invite = invite.ok_or(VaultError::NotFound)?;
                    let row = tx.newest_submission_by(invite.id).await?;
                    let row = row.filter(SubmissionRow::is_open);
                    let mut row = row.ok_or(VaultError::Conflict(
                        "there is nothing to check again: fill in the form",
                    ))?;
                    match row.state {
                        SubmissionState::Failed => {}
                        // Twice at once: the first has it under way.
                        SubmissionState::Verifying => {
                            return Ok(Changed {
                                value: submission_view(tx, row).await?,
                                records: Vec::new(),
                                subjects: Vec::new(),
                            });
                        }
                        _ => {
                            return Err(VaultError::Conflict(
                                "somebody of ours has to look at it first",
                            ));
                        }
                    }
                    let version = tx.version(row.credential_id, row.version_number).await?;
                    let version = version.ok_or(VaultError::NotFound)?;
                    row.state = SubmissionState::Verifying;
                    row.hint = None;
                    write(tx, &mut row).await?;
                    let run = NewRun {
                        version: &version,
                        submission: Some(row.id),
                        cause: RunCause::Submission,
                    };
                    due_run(tx, run, now, random.as_ref()).await?;
                    Ok(Changed {
                        value: submission_view(tx, row).await?,
                        records: Vec::new(),
                        subjects: Vec::new(),
                    })
                })
            })
            .await?;
        self.work.notify_one();
        Ok(view)
    }

    /// Notes an answer instead of a credential. The invitation ends, and an operator has to look.
    ///
    /// # Errors
    /// The link is not good; see [`SubmitError`].
    pub async fn answer(&self, token: &LinkToken, answer: InviteAnswer) -> Result<(), SubmitError> {
        let not_before = self.links_not_before().await?;
        let (now, hash) = (self.clock.now(), token.sha256());
        {
            let mut tx = self.db.read().await.map_err(VaultError::from)?;
            find_invite(&mut tx, token, now, not_before, false).await?;
        }
        let random = self.random.clone();
        self.change_by_itself(move |tx| {
            Box::pin(async move {
                let invite = tx.invite_by_hash(&hash).await?;
                let invite = invite.filter(|row| row.is_open(now));
                let mut row = invite.ok_or(VaultError::NotFound)?;
                row.ended_at = Some(now);
                row.ended_as = Some(InviteEnd::Answered);
                row.answer = Some(answer);
                let (id, credential) = (row.id, row.credential_id);
                if !tx.update_invite(&mut row).await? {
                    return Err(VaultError::Changed);
                }
                let record = Draft::of(Kind::IntakeAnswered)
                    .about([id.into(), credential.into()])
                    .with("answer", Detail::Word(answer.as_str()));
                let (kind, note) = (TaskKind::InviteAnswered, Some(answer.as_str()));
                let of = Some(credential);
                let task = open_task(tx, kind, id.into(), of, note, now, random.as_ref());
                let mut records = vec![record];
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
