//! What the pages ask to be done by a link. The trait stands between them and the vault, so that every
//! page can be shown in a test without one; what goes through it is the vault's own.

use std::{future::Future, pin::Pin};

use crate::{
    model::InviteAnswer,
    secret::Secret,
    vault::{
        Colleague, LinkError, LinkToken, LinkView, Received, SubmissionView, SubmitError,
        Submitted, Vault,
    },
};

/// A call that is under way.
pub type Asked<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// What can be done by a link: see the methods of [`Vault`] with these names. [`Links::link`] and
/// [`Links::open_form`] change nothing.
pub trait Links: Send + Sync {
    /// Looks a link up.
    fn link<'a>(&'a self, token: &'a LinkToken) -> Asked<'a, Result<LinkView, LinkError>>;
    /// Opens a form that was sealed for this link; `None` if it does not open.
    fn open_form(&self, link: &LinkView, sealed: &[u8]) -> Option<Secret>;
    /// Takes a form in.
    fn submit<'a>(
        &'a self,
        token: &'a LinkToken,
        form: Submitted,
    ) -> Asked<'a, Result<Received, SubmitError>>;
    /// Has what was handed in last checked once more.
    fn check_again<'a>(
        &'a self,
        token: &'a LinkToken,
    ) -> Asked<'a, Result<SubmissionView, SubmitError>>;
    /// Makes a link for a colleague and ends this one.
    fn forward<'a>(
        &'a self,
        token: &'a LinkToken,
        colleague: Colleague,
    ) -> Asked<'a, Result<(), SubmitError>>;
    /// Takes an answer in place of a credential, and ends the link.
    fn answer<'a>(
        &'a self,
        token: &'a LinkToken,
        answer: InviteAnswer,
    ) -> Asked<'a, Result<(), SubmitError>>;
}

impl Links for Vault {
    fn link<'a>(&'a self, token: &'a LinkToken) -> Asked<'a, Result<LinkView, LinkError>> {
        Box::pin(self.link(token))
    }

    fn open_form(&self, link: &LinkView, sealed: &[u8]) -> Option<Secret> {
        self.open_form(link, sealed)
    }

    fn submit<'a>(
        &'a self,
        token: &'a LinkToken,
        form: Submitted,
    ) -> Asked<'a, Result<Received, SubmitError>> {
        Box::pin(self.submit(token, form))
    }

    fn check_again<'a>(
        &'a self,
        token: &'a LinkToken,
    ) -> Asked<'a, Result<SubmissionView, SubmitError>> {
        Box::pin(self.check_again(token))
    }

    fn forward<'a>(
        &'a self,
        token: &'a LinkToken,
        colleague: Colleague,
    ) -> Asked<'a, Result<(), SubmitError>> {
        Box::pin(self.forward(token, colleague))
    }

    fn answer<'a>(
        &'a self,
        token: &'a LinkToken,
        answer: InviteAnswer,
    ) -> Asked<'a, Result<(), SubmitError>> {
        Box::pin(self.answer(token, answer))
    }
}
