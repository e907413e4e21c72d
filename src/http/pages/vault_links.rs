//! Links as the vault knows them.

use std::sync::Arc;

use super::link::{
    Answer, Asked, Attempt, AttemptState, Colleague, LinkError, LinkView, Links, StageLine,
    SubmitError, Submitted, Taken,
};
use crate::{
    crypto::intake_info,
    model::{InviteAnswer, InviteEnd, Sealing, SubmissionState},
    secret::Secret,
    vault::{self, LinkToken, Vault},
};

/// What can be done by a link, done by the vault.
pub struct VaultLinks(pub Arc<Vault>);

impl Links for VaultLinks {
    fn link<'a>(&'a self, key: &'a LinkToken) -> Asked<'a, Result<LinkView, LinkError>> {
        Box::pin(async move {
            let found = self.0.link(key).await?;
            let version = u32::try_from(found.form_version).unwrap_or(u32::MAX);
            Ok(LinkView {
                info: intake_info(self.0.deployment(), &found.invite.to_string(), version),
                aad: found.kind.as_str().as_bytes().to_vec(),
                key: *self.0.intake_key().public(),
                client: found.client,
                label: found.label,
                kind: found.kind,
                environment: found.environment,
                expires_at: found.expires_at,
                known: found
                    .known
                    .into_iter()
                    .map(|(name, value)| (name.to_owned(), value))
                    .collect(),
                needs_code: found.needs_code,
                answered: found.ended_as == Some(InviteEnd::Answered),
                may_forward: false,
                attempt: found.submission.map(attempt),
            })
        })
    }

    fn open(&self, link: &LinkView, sealed: &[u8]) -> Option<Secret> {
        self.0.intake_key().open(&link.info, &link.aad, sealed).ok()
    }

    fn submit<'a>(
        &'a self,
        key: &'a LinkToken,
        form: Submitted,
    ) -> Asked<'a, Result<Taken, SubmitError>> {
        Box::pin(async move {
            let form = vault::Submitted {
                fields: form.fields,
                expires_at: form.expires_at,
                code: form.code,
                sealing: match form.enc_sha256 {
                    Some(_) => Sealing::Browser,
                    None => Sealing::Tls,
                },
                enc_sha256: form.enc_sha256,
            };
            let taken = self.0.submit(key, form).await?;
            Ok(Taken {
                odd_expiry: taken.odd_expiry,
            })
        })
    }

    fn check_again<'a>(&'a self, key: &'a LinkToken) -> Asked<'a, Result<(), SubmitError>> {
        Box::pin(async move {
            self.0.check_again(key).await?;
            Ok(())
        })
    }

    fn forward<'a>(&'a self, _: &'a LinkToken, _: Colleague) -> Asked<'a, Result<(), SubmitError>> {
        // Offered by no link: see `may_forward` above.
        Box::pin(async { Err(LinkError::Gone.into()) })
    }

    fn answer<'a>(
        &'a self,
        key: &'a LinkToken,
        answer: Answer,
    ) -> Asked<'a, Result<(), SubmitError>> {
        Box::pin(async move {
            let answer = match answer {
                Answer::NoAdminAccess => InviteAnswer::NoAdminAccess,
                Answer::FreeGmail => InviteAnswer::FreeGmail,
            };
            Ok(self.0.answer(key, answer).await?)
        })
    }
}

fn attempt(submission: vault::SubmissionView) -> Attempt {
    let stages = submission.verification.map(|run| run.stages);
    Attempt {
        number: submission.number,
        state: match submission.state {
            SubmissionState::Verifying => AttemptState::Verifying,
            SubmissionState::Verified => AttemptState::Verified,
            SubmissionState::Failed => AttemptState::Failed,
            SubmissionState::Undecided => AttemptState::Undecided,
            SubmissionState::Waiting => AttemptState::Waiting,
            SubmissionState::Superseded | SubmissionState::Closed => AttemptState::Closed,
        },
        hint: submission.hint,
        stages: stages
            .unwrap_or_default()
            .into_iter()
            .map(|stage| StageLine {
                stage: stage.stage,
                surface: stage.surface,
                outcome: stage.outcome,
                hint: stage.hint,
            })
            .collect(),
        may_check_again: submission.can_check_again,
        ends_at: None,
    }
}

impl From<vault::LinkError> for LinkError {
    fn from(error: vault::LinkError) -> Self {
        match error {
            vault::LinkError::Gone => Self::Gone,
            vault::LinkError::Unavailable => Self::Unavailable,
        }
    }
}

impl From<vault::SubmitError> for SubmitError {
    fn from(error: vault::SubmitError) -> Self {
        use vault::SubmitError as Theirs;
        match error {
            Theirs::Gone => Self::Link(LinkError::Gone),
            Theirs::Unavailable => Self::Link(LinkError::Unavailable),
            Theirs::Code => Self::Code,
            Theirs::Barred => Self::Barred,
            Theirs::TooMany => Self::TooMany,
            Theirs::Invalid(errors) => {
                let errors = errors.into_iter().map(|error| {
                    let field = error.field.strip_prefix("fields.").unwrap_or(&error.field);
                    (field.to_owned(), error.rule.into_owned())
                });
                Self::Refused(errors.collect())
            }
            // It is under way or over by now: the page says how it stands.
            Theirs::Conflict(_) => Self::Refused(Vec::new()),
        }
    }
}
