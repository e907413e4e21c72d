//! The kinds of audit records. Their texts are part of the format: one may be added, none may change
//! or be used again for something else.

use std::{fmt, str::FromStr};

use serde::{Serialize, Serializer};

use super::record::RecordError;

macro_rules! kinds {
    ($($(#[$doc:meta])* $variant:ident = $text:literal,)+) => {
        /// What happened.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Kind { $($(#[$doc])* $variant),+ }

        impl Kind {
            /// Every kind, in the order of declaration.
            pub const ALL: &'static [Self] = &[$(Self::$variant),+];

            /// The kind as it stands in a record.
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $text),+ }
            }
        }
    };
}

kinds! {
    /// The service began to write this log.
    ServiceStarted = "service.started",
    /// The service ended in order.
    ServiceStopped = "service.stopped",
    /// Versions are about to be opened and sent; durable before they are.
    ReleaseIntent = "release.intent",
    /// How earlier intents ended, see [`super::record::SENT`]. An intent has at most one outcome.
    ReleaseOutcome = "release.outcome",
    /// A known workload asked for what it may not have, or what is not there.
    ReleaseDenied = "release.denied",
    /// Summary of answers that said "nothing new" and released nothing.
    ReleaseUnchanged = "release.unchanged",
    /// An assertion came a second time.
    AssertionReplayed = "assertion.replayed",
    /// A known principal asked for something that it may not do.
    AccessDenied = "access.denied",
    /// A row of the registry did not carry the service's own MAC.
    RegistryRefused = "registry.refused",
    /// Somebody who can open the root key enrolled an operator while the service was stopped.
    OperatorRecovered = "operator.recovered",
    /// A client was created.
    ClientCreated = "client.created",
    /// A client was changed.
    ClientChanged = "client.changed",
    /// What was kept of a client was destroyed.
    ClientErased = "client.erased",
    /// A contact was added.
    ContactAdded = "contact.added",
    /// A contact was changed.
    ContactChanged = "contact.changed",
    /// A contact was removed.
    ContactRemoved = "contact.removed",
    /// A role was created.
    RoleCreated = "role.created",
    /// A role was changed.
    RoleChanged = "role.changed",
    /// An environment was created.
    EnvironmentCreated = "environment.created",
    /// An environment was changed.
    EnvironmentChanged = "environment.changed",
    /// A credential was created.
    CredentialCreated = "credential.created",
    /// A credential was changed.
    CredentialChanged = "credential.changed",
    /// A role may now read a credential.
    CredentialRoleAdded = "credential.role-added",
    /// A role may no longer read a credential.
    CredentialRoleRemoved = "credential.role-removed",
    /// A version was received and sealed.
    VersionAdded = "version.added",
    /// A version became the active one.
    VersionActivated = "version.activated",
    /// A pending version was refused.
    VersionRejected = "version.rejected",
    /// A version's key was destroyed.
    VersionRetired = "version.retired",
    /// A workload reported that it runs on a version.
    VersionInUse = "version.in-use",
    /// A workload was enrolled.
    WorkloadEnrolled = "workload.enrolled",
    /// A workload was changed.
    WorkloadChanged = "workload.changed",
    /// A workload was disabled.
    WorkloadDisabled = "workload.disabled",
    /// A workload was enabled again.
    WorkloadEnabled = "workload.enabled",
    /// An operator was enrolled.
    OperatorEnrolled = "operator.enrolled",
    /// An operator was changed.
    OperatorChanged = "operator.changed",
    /// An operator was disabled.
    OperatorDisabled = "operator.disabled",
    /// An operator was enabled again.
    OperatorEnabled = "operator.enabled",
    /// A principal's key was registered.
    KeyRegistered = "key.registered",
    /// A principal's key was revoked.
    KeyRevoked = "key.revoked",
    /// A certificate was issued anew for a key that had one.
    KeyRenewed = "key.renewed",
    /// A one-time token for enrolment was made.
    EnrolmentTokenIssued = "enrolment-token.issued",
    /// A token for enrolment was revoked, by hand or by a newer one.
    EnrolmentTokenRevoked = "enrolment-token.revoked",
    /// A token for enrolment was used: its holder has a key and a certificate.
    EnrolmentTokenUsed = "enrolment-token.used",
    /// A certificate authority was added.
    AuthorityAdded = "authority.added",
    /// A certificate authority was removed.
    AuthorityRemoved = "authority.removed",
    /// The times at which a certificate authority is accepted were changed.
    AuthorityChanged = "authority.changed",
    /// A new own certificate authority was made beside the old one.
    AuthorityRolled = "authority.rolled",
    /// A revocation list of a foreign authority was imported.
    RevocationListImported = "authority.crl-imported",
    /// The revocation lists of a foreign authority were given up.
    RevocationListsRemoved = "authority.crl-removed",
    /// A revocation list of an own authority was made.
    RevocationListIssued = "authority.crl-issued",
    /// A key-encryption key was made.
    KekCreated = "kek.created",
    /// A key of the service itself was made.
    ServiceKeyCreated = "service-key.created",
    /// A root key was made.
    RootCreated = "root.created",
    /// The root key was encrypted to one recipient more.
    RootRecipientAdded = "root.recipient-added",
    /// The root key was encrypted to one recipient less.
    RootRecipientRemoved = "root.recipient-removed",
    /// A backup is about to be taken; durable before its first byte is sent.
    BackupStarted = "backup.started",
    /// A backup was taken to its end.
    BackupFinished = "backup.finished",
    /// A backup broke off: what was received of it is useless.
    BackupAborted = "backup.aborted",
    /// The first record of a log after a restore: what was restored, and where the node's log before
    /// it ended.
    DeploymentRestored = "deployment.restored",
    /// The first record of a log after an operator accepted a database that was put back to an
    /// earlier state, and where the log before it ended.
    RollbackAccepted = "deployment.rollback-accepted",
    /// A revocation made after the backup that was restored was confirmed.
    RevocationConfirmed = "deployment.revocation-confirmed",
    /// Values are released again after a restore.
    DeploymentThawed = "deployment.thawed",
    /// A contact was invited to hand in a credential.
    IntakeInvited = "intake.invited",
    /// An invitation was ended by an operator or by a newer one.
    IntakeRevoked = "intake.revoked",
    /// A client handed in a value.
    IntakeSubmitted = "intake.submitted",
    /// What came by a good link was refused.
    IntakeRefused = "intake.refused",
    /// A contact handed their invitation on to a colleague.
    IntakeForwarded = "intake.forwarded",
    /// A contact answered instead of handing something in.
    IntakeAnswered = "intake.answered",
    /// An operator ended a submission.
    SubmissionClosed = "submission.closed",
    /// A value is about to be opened and shown to its provider; durable before it is.
    VerificationStarted = "verification.started",
    /// A stage of a verification is over.
    VerificationStage = "verification.stage",
    /// A verification, or one attempt of it, is over.
    VerificationFinished = "verification.finished",
    /// Something has to be looked at by an operator.
    TaskOpened = "task.opened",
    /// A task was done, by an operator or by itself.
    TaskClosed = "task.closed",
    /// An operator has a mail sent to try whether mail arrives.
    MailTested = "mail.tested",
    /// A mail server took a mail.
    MailSent = "mail.sent",
    /// A mail was handed over, and nobody knows whether the server took it.
    MailUnknown = "mail.unknown",
    /// A mail was refused for good, or given up.
    MailFailed = "mail.failed",
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl Serialize for Kind {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

impl FromStr for Kind {
    type Err = RecordError;

    fn from_str(text: &str) -> Result<Self, RecordError> {
        let found = Self::ALL.iter().find(|kind| kind.as_str() == text);
        found.copied().ok_or(RecordError::Malformed)
    }
}
