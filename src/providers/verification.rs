//! What a verification says: stages, what came of each, and what came of the whole.

use std::time::Duration;

use serde::Serialize;

use super::hint::Hint;
use crate::model::{Timestamp, words};

words! {
    /// One step of a verification. Steps come in this order; a surface is finished before the next.
    Stage {
        /// The fields have the form that the kind asks for.
        Shape = "shape",
        /// The directory (tenant) exists at the provider.
        Tenant = "tenant",
        /// The provider gives a token for the credential.
        Token = "token",
        /// What the token says that it may do. It says so for diagnosis only: what follows decides.
        Permissions = "permissions",
        /// The contacts of the test address can be read.
        Contacts = "contacts",
        /// The calendar of the test address can be read.
        Calendar = "calendar",
        /// A message can be sent from the test address to itself.
        Sending = "sending",
        /// When the credential really ends, read from the provider.
        Expiry = "expiry",
    }

    /// Through which of the provider's interfaces. Microsoft switches Exchange Web Services off
    /// tenant by tenant, so that the two are looked at and reported apart.
    Surface {
        /// Microsoft Graph.
        Graph = "graph",
        /// Exchange Web Services.
        Ews = "ews",
    }

    /// What came of a stage.
    StageOutcome {
        /// It works.
        Passed = "passed",
        /// It does not, and the client has a step to do again.
        Failed = "failed",
        /// Nobody knows: the provider does not answer, asks to come later, or a policy stands in
        /// between. Says nothing about the credential.
        Undecided = "undecided",
        /// It was not looked at.
        Skipped = "skipped",
    }
}

/// An id by which the provider finds a call again: 1 to 64 letters, digits and hyphens. What does not
/// look like one is dropped, because it is received text.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct CorrelationId(Box<str>);

impl CorrelationId {
    /// The id, if it looks like one.
    pub fn new(text: &str) -> Option<Self> {
        let fits = (1..=64).contains(&text.len())
            && text.bytes().all(|c| c.is_ascii_alphanumeric() || c == b'-');
        fits.then(|| Self(text.into()))
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// By which ids the provider's support finds the call.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Correlation {
    /// Entra's `trace_id`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub trace_id: Option<CorrelationId>,
    /// Entra's `correlation_id`, Graph's `client-request-id`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub correlation_id: Option<CorrelationId>,
    /// The header `request-id` or `x-ms-request-id`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub request_id: Option<CorrelationId>,
}

/// What the provider called the error.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(untagged)]
pub enum ProviderCode {
    /// The number behind `AADSTS`. Microsoft changes them; they choose words, and never count against
    /// the client.
    Aadsts(u32),
    /// A word such as `invalid_grant` or `ErrorAccessDenied`: 1 to 64 letters, underscores and dots.
    /// No digits, so that no secret that somebody echoes passes for one.
    Word(Box<str>),
    /// Nothing but the status of HTTP.
    Status(u16),
}

impl ProviderCode {
    /// The word, if it looks like one.
    pub fn word(text: &str) -> Option<Self> {
        let fits = (1..=64).contains(&text.len())
            && text
                .bytes()
                .all(|c| c.is_ascii_alphabetic() || c == b'_' || c == b'.');
        fits.then(|| Self::Word(text.into()))
    }
}

impl std::fmt::Display for ProviderCode {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Aadsts(number) => write!(f, "AADSTS{number}"),
            Self::Word(word) => f.write_str(word),
            Self::Status(status) => write!(f, "HTTP {status}"),
        }
    }
}

/// What came of one stage. Holds nothing that the client typed and no text of the provider.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct StageReport {
    /// Which stage.
    pub stage: Stage,
    /// Through which interface, where there are two.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub surface: Option<Surface>,
    /// What came of it.
    pub outcome: StageOutcome,
    /// When its first call began.
    pub started_at: Timestamp,
    /// How long it took, waiting between attempts included, in milliseconds.
    pub millis: u64,
    /// How many calls it took; 0 when nothing was asked.
    pub attempts: u32,
    /// Why, and what to do about it; also a remark on what passed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hint: Option<Hint>,
    /// What the provider called the error.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub code: Option<ProviderCode>,
    /// By which ids its support finds the last call.
    pub correlation: Correlation,
}

/// What came of a verification.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It works.
    Verified,
    /// It does not. [`Hint::step`] is the step of the set-up guide to do again.
    Failed(Hint),
    /// Nobody knows yet. To be tried again, and nobody is told that their secret is wrong.
    Undecided {
        /// Why.
        hint: Hint,
        /// After how long it is worth trying again.
        retry_after: Duration,
    },
    /// Nothing of this kind can be asked: an operator has to look.
    ByOperator,
}

/// What one interface came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SurfaceOutcome {
    /// Which.
    pub surface: Surface,
    /// What came of it. Never [`Outcome::ByOperator`].
    pub outcome: Outcome,
}

/// The end of a verification, with what was learnt on the way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verdict {
    /// What came of it.
    pub outcome: Outcome,
    /// Each interface that was looked at.
    pub surfaces: Vec<SurfaceOutcome>,
    /// The GUID of the directory (tenant), in lower case: also when the client gave a domain.
    pub tenant_id: Option<String>,
    /// When the credential really ends.
    pub expires_at: Option<Timestamp>,
}

impl Verdict {
    /// A verdict with nothing learnt.
    pub const fn plain(outcome: Outcome) -> Self {
        Self {
            outcome,
            surfaces: Vec::new(),
            tenant_id: None,
            expires_at: None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_provider_says_is_kept_only_if_it_looks_like_an_id_or_a_word() {
        assert!(CorrelationId::new("3fa85f64-5717-4562-b3fc-2c963f66afa6").is_some());
        assert!(CorrelationId::new("").is_none());
        assert!(CorrelationId::new("a secret").is_none());
        assert!(CorrelationId::new(&"a".repeat(65)).is_none());
        assert!(ProviderCode::word("ErrorAccessDenied").is_some());
        assert!(ProviderCode::word("invalid_grant").is_some());
        assert!(ProviderCode::word("Authorization_RequestDenied").is_some());
        assert!(ProviderCode::word("abC8Q~looksLikeASecret").is_none());
        assert!(ProviderCode::word("AADSTS7000215: Invalid").is_none());
        assert_eq!(ProviderCode::Aadsts(7_000_215).to_string(), "AADSTS7000215");
    }
}
