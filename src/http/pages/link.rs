//! What the pages know of a link, and what they ask to be done with it. The trait stands between them
//! and the vault, so that every page can be shown in a test without one.

use std::{future::Future, pin::Pin};

use crate::{
    model::{CredentialKind, Timestamp},
    providers::{Fields, Hint, Stage, StageOutcome, Surface},
    secret::Secret,
    vault::LinkToken,
};

/// What a link leads to.
pub struct LinkView {
    /// The client's name.
    pub client: String,
    /// What the credential is called.
    pub label: String,
    /// Its kind.
    pub kind: CredentialKind,
    /// Where it is used.
    pub environment: String,
    /// Until when the link can be used.
    pub expires_at: Timestamp,
    /// Fields of the active version that are no secrets, for a renewal.
    pub known: Vec<(String, String)>,
    /// Whether the code is asked for that was given by another way.
    pub needs_code: bool,
    /// To what the form is sealed: the public key, an uncompressed point of P-256.
    pub key: [u8; 65],
    /// What it is bound to (`info` of RFC 9180).
    pub info: Vec<u8>,
    /// Which set of fields it has (`aad`).
    pub aad: Vec<u8>,
    /// Whether something was answered in place of handing a credential in.
    pub answered: bool,
    /// Whether it can be handed on to a colleague.
    pub may_forward: bool,
    /// What was handed in last by this link.
    pub attempt: Option<Attempt>,
}

/// Something that was handed in, and how far its check is.
pub struct Attempt {
    /// Counted from 1.
    pub number: i64,
    /// Where it stands.
    pub state: AttemptState,
    /// Why, if there is anything to say.
    pub hint: Option<Hint>,
    /// The stages that are over.
    pub stages: Vec<StageLine>,
    /// Whether the same value can be checked once more.
    pub may_check_again: bool,
    /// When the credential ends, once it is verified.
    pub ends_at: Option<Timestamp>,
}

/// Where something that was handed in stands, as far as its sender has to know.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AttemptState {
    /// It is being checked.
    Verifying,
    /// It works.
    Verified,
    /// It does not, and there is something to do.
    Failed,
    /// Nobody could find out; somebody looks at it.
    Undecided,
    /// Somebody has to look before it is used.
    Waiting,
    /// It was ended by the vendor.
    Closed,
}

/// One stage of a check.
pub struct StageLine {
    /// Which.
    pub stage: Stage,
    /// Through which interface.
    pub surface: Option<Surface>,
    /// What came of it.
    pub outcome: StageOutcome,
    /// Why.
    pub hint: Option<Hint>,
}

/// A filled-in form.
pub struct Submitted {
    /// The fields of the credential.
    pub fields: Fields,
    /// The date that was entered, as it was entered.
    pub expires_at: Option<String>,
    /// The code that was given by another way.
    pub code: Option<Secret>,
    /// SHA-256 of the encapsulated key, if the form was sealed in the browser.
    pub enc_sha256: Option<[u8; 32]>,
}

/// A colleague to whom a link is handed on.
pub struct Colleague {
    /// The name.
    pub name: String,
    /// The address.
    pub email: String,
}

/// What can be answered in place of a credential.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// Their mail provider gives them no administrator's access.
    NoAdminAccess,
    /// They will use free Gmail.
    FreeGmail,
}

/// What is said about a form that was taken.
#[derive(Clone, Copy, Debug, Default)]
pub struct Taken {
    /// The end date is far under or over what providers allow.
    pub odd_expiry: bool,
}

/// Why a link does nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LinkError {
    /// There is none, or it is over: one answer.
    Gone,
    /// It cannot be looked up now.
    Unavailable,
}

/// Why something was not taken.
pub enum SubmitError {
    /// See [`LinkError`].
    Link(LinkError),
    /// Fields break rules: the name of each, empty for the form as a whole, and the rule. A rule never
    /// repeats what was received.
    Refused(Vec<(String, String)>),
    /// The provider refused exactly this value before.
    Barred,
    /// The code is wrong or missing.
    Code,
    /// It came too often.
    TooMany,
}

impl From<LinkError> for SubmitError {
    fn from(error: LinkError) -> Self {
        Self::Link(error)
    }
}

/// A call that is under way.
pub type Asked<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// What can be done by a link. [`Links::link`] and [`Links::open`] change nothing.
pub trait Links: Send + Sync {
    /// Looks a link up.
    fn link<'a>(&'a self, token: &'a LinkToken) -> Asked<'a, Result<LinkView, LinkError>>;
    /// Opens a form that was sealed for this link; `None` if it does not open.
    fn open(&self, link: &LinkView, sealed: &[u8]) -> Option<Secret>;
    /// Takes a form in.
    fn submit<'a>(
        &'a self,
        token: &'a LinkToken,
        form: Submitted,
    ) -> Asked<'a, Result<Taken, SubmitError>>;
    /// Has what was handed in last checked once more.
    fn check_again<'a>(&'a self, token: &'a LinkToken) -> Asked<'a, Result<(), SubmitError>>;
    /// Makes a link for a colleague and ends this one.
    fn forward<'a>(
        &'a self,
        token: &'a LinkToken,
        colleague: Colleague,
    ) -> Asked<'a, Result<(), SubmitError>>;
    /// Takes an answer and ends the link.
    fn answer<'a>(
        &'a self,
        token: &'a LinkToken,
        answer: Answer,
    ) -> Asked<'a, Result<(), SubmitError>>;
}
