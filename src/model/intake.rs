//! Words of intake: invitations, what came by them, and how it was verified.

use super::credential::words;

words! {
    /// How an invitation ended before its time.
    InviteEnd {
        /// What was handed in works.
        Succeeded = "succeeded",
        /// An operator ended it.
        Revoked = "revoked",
        /// It was handed on to a colleague, who has an invitation of their own.
        Forwarded = "forwarded",
        /// A newer invitation for the same credential was made.
        Superseded = "superseded",
        /// The contact gave an answer instead of a credential.
        Answered = "answered",
    }

    /// What a contact can answer instead of handing something in.
    InviteAnswer {
        /// Their mail provider gives them no administrator's access.
        NoAdminAccess = "no-admin-access",
        /// They will use free Gmail.
        FreeGmail = "free-gmail",
    }

    /// How what was handed in was protected on its way.
    Sealing {
        /// Sealed in the browser to the intake key (RFC 9180), inside TLS.
        Browser = "browser",
        /// By TLS alone.
        Tls = "tls",
    }

    /// Where a submission stands.
    SubmissionState {
        /// The provider is being asked.
        Verifying = "verifying",
        /// It works, and is the active version.
        Verified = "verified",
        /// It does not work; the client has a step to do again.
        Failed = "failed",
        /// The provider could not be asked for so long that an operator has to look.
        Undecided = "undecided",
        /// It is not asked by itself: an operator has to look first.
        Waiting = "waiting",
        /// A newer one of the same credential took its place.
        Superseded = "superseded",
        /// An operator ended it.
        Closed = "closed",
    }

    /// Why a verification runs.
    RunCause {
        /// A client handed something in.
        Submission = "submission",
        /// An operator asked for it.
        Operator = "operator",
        /// The daily check of active credentials.
        Daily = "daily",
    }

    /// Where a run stands.
    RunState {
        /// It waits for its time.
        Due = "due",
        /// A node works on it.
        Running = "running",
        /// It is over.
        Done = "done",
    }

    /// What a run, or its last attempt, came to.
    RunOutcome {
        /// It works.
        Verified = "verified",
        /// It does not.
        Failed = "failed",
        /// Nobody knows.
        Undecided = "undecided",
        /// Nothing of this kind can be asked: an operator has to look.
        ByOperator = "by-operator",
        /// The version ended, or could not be opened, before the provider was asked.
        Abandoned = "abandoned",
    }

    /// What a task is about.
    TaskKind {
        /// An active credential does not work any more.
        CredentialFailed = "credential-failed",
        /// What a client handed in waits for an operator.
        SubmissionWaiting = "submission-waiting",
        /// The provider could not be asked about what a client handed in.
        SubmissionUndecided = "submission-undecided",
        /// A contact answered instead of handing something in.
        InviteAnswered = "invite-answered",
        /// A contact handed their invitation on to a colleague.
        InviteForwarded = "invite-forwarded",
        /// A mail could not be delivered, so that somebody does not know what they should.
        MailFailed = "mail-failed",
    }
}

impl SubmissionState {
    /// Whether something may still become of it.
    pub const fn is_open(self) -> bool {
        matches!(
            self,
            Self::Verifying | Self::Failed | Self::Undecided | Self::Waiting
        )
    }
}
