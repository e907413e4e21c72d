//! Why a verification came out as it did: one stable word for each thing that can be wrong.
//!
//! A hint chooses what is said. Only in one direction does it also bear on the outcome: what is not
//! the client's doing ([`Hint::is_for_client`]) never counts as failed, whatever else the provider
//! said.

use crate::model::words;

words! {
    /// Why. The words are stable: they are stored, counted and translated.
    Hint {
        /// The secret is a GUID: the secret's id was copied instead of its value.
        SecretIdPasted = "secret-id-pasted",
        /// A field breaks a rule of its shape.
        ShapeInvalid = "shape-invalid",
        /// The private key is not an RSA key of 2048 to 4096 bits that can be read.
        CertificateKeyUnusable = "certificate-key-unusable",
        /// Certificate and private key are of two pairs.
        CertificateKeyMismatch = "certificate-key-mismatch",
        /// The certificate is past its end.
        CertificateExpired = "certificate-expired",
        /// The provider does not know this secret.
        WrongSecret = "wrong-secret",
        /// The secret is past its end.
        SecretExpired = "secret-expired",
        /// There is no such application in this directory.
        UnknownApplication = "unknown-application",
        /// There is no such directory.
        UnknownTenant = "unknown-tenant",
        /// What was given is neither a directory's id nor one of its domains.
        MalformedTenant = "malformed-tenant",
        /// The directory belongs to another national cloud.
        OtherCloud = "other-cloud",
        /// The directory refuses the application, for a reason that has no number here.
        ApplicationRefused = "application-refused",
        /// The application is switched off in the directory.
        ApplicationDisabled = "application-disabled",
        /// The application is registered as a public client, which has no secrets.
        PublicClient = "public-client",
        /// The certificate is not the one that is uploaded, or is not accepted.
        CertificateRejected = "certificate-rejected",
        /// The directory has no Exchange Online, or the application asks for none of it.
        ServiceMissing = "service-missing",
        /// An administrator has not consented to the application's permissions, or it has none.
        ConsentMissing = "consent-missing",
        /// The application has permissions, but not the ones that are needed.
        PermissionMissing = "permission-missing",
        /// The application may not act for the test address.
        ImpersonationDenied = "impersonation-denied",
        /// There is no mailbox at the test address.
        MailboxMissing = "mailbox-missing",
        /// The mailbox lies on an own server, out of reach of the interface.
        MailboxOnPremises = "mailbox-on-premises",
        /// Exchange Web Services are blocked for the directory, the application or the mailbox.
        EwsBlocked = "ews-blocked",
        /// A policy of the directory stands in between: Conditional Access, an application policy.
        PolicyBlocked = "policy-blocked",
        /// The provider refuses the token although it has just made it.
        TokenRejected = "token-rejected",
        /// There is no test address, so only the token could be looked at.
        NoTestMailbox = "no-test-mailbox",
        /// The provider asks to come later.
        Throttled = "throttled",
        /// The provider is out of order.
        ProviderUnavailable = "provider-unavailable",
        /// The provider cannot be reached from here.
        Unreachable = "unreachable",
        /// Whoever answers is not the provider: TLS failed.
        TlsFailed = "tls-failed",
        /// The time for one verification was over.
        OutOfTime = "out-of-time",
        /// The provider did not understand us: a fault of this service.
        OurRequest = "our-request",
        /// The clock of this service is wrong, says the provider.
        OurClock = "our-clock",
        /// Something that nobody has described yet. The provider's code is kept.
        Unknown = "unknown",
        /// The date that the provider gives is not the one that was declared.
        ExpiryDiffers = "expiry-differs",
        /// When the credential ends cannot be read at the provider: nobody consented to it, or nothing
        /// is listed there that looks like it.
        ExpiryNotReadable = "expiry-not-readable",
        /// The key file is not one of a service account, or incomplete.
        KeyFileUnusable = "key-file-unusable",
        /// The key file names another token address than Google's.
        TokenUriNotGoogle = "token-uri-not-google",
        /// Domain-wide delegation is not set up for the service account.
        DelegationMissing = "delegation-missing",
        /// Domain-wide delegation was entered with the address, not the numeric id, or for a group.
        DelegationWrongId = "delegation-wrong-id",
        /// A scope is not among those that the delegation names.
        ScopeMissing = "scope-missing",
        /// There is no such user to act for.
        DelegatedUserMissing = "delegated-user-missing",
        /// The key was deleted, disabled or has expired, or belongs to another account.
        KeyRejected = "key-rejected",
        /// The service account is switched off.
        ClientDisabled = "client-disabled",
        /// The service account was deleted; it can be restored for 30 days.
        ClientDeleted = "client-deleted",
        /// The interface is not switched on in the service account's project.
        ApiDisabled = "api-disabled",
    }

    /// The step of the set-up guide that has to be done again.
    Step {
        /// Find the directory's id.
        FindTenant = "find-tenant",
        /// Register the application and copy its id.
        RegisterApplication = "register-application",
        /// Make a client secret and copy its value.
        MakeSecret = "make-secret",
        /// Upload the certificate.
        UploadCertificate = "upload-certificate",
        /// Add the permissions.
        AddPermissions = "add-permissions",
        /// Grant admin consent.
        GrantConsent = "grant-consent",
        /// Choose a test address that has a mailbox.
        ChooseTestMailbox = "choose-test-mailbox",
        /// Let the application act for the mailboxes.
        ScopeMailboxes = "scope-mailboxes",
        /// Allow Exchange Web Services for the application.
        AllowEws = "allow-ews",
        /// Exempt the vendor's addresses from the policy.
        ExemptFromPolicy = "exempt-from-policy",
        /// Make a key for the service account.
        MakeServiceAccountKey = "make-service-account-key",
        /// Set up domain-wide delegation.
        DelegateDomain = "delegate-domain",
        /// Choose the user to act for.
        ChooseDelegatedUser = "choose-delegated-user",
        /// Switch the interfaces on in the project.
        EnableApis = "enable-apis",
        /// Enter the date.
        EnterExpiry = "enter-expiry",
        /// Nothing: it is for the vendor, or for time, to mend.
        Nothing = "nothing",
    }
}

impl Hint {
    /// The step of the guide to do again.
    pub const fn step(self) -> Step {
        match self {
            Self::SecretIdPasted | Self::WrongSecret | Self::SecretExpired => Step::MakeSecret,
            Self::CertificateKeyUnusable
            | Self::CertificateKeyMismatch
            | Self::CertificateExpired
            | Self::CertificateRejected => Step::UploadCertificate,
            Self::UnknownTenant | Self::MalformedTenant | Self::OtherCloud => Step::FindTenant,
            Self::ShapeInvalid
            | Self::UnknownApplication
            | Self::ApplicationRefused
            | Self::ApplicationDisabled
            | Self::PublicClient => Step::RegisterApplication,
            Self::ServiceMissing | Self::PermissionMissing => Step::AddPermissions,
            Self::ConsentMissing => Step::GrantConsent,
            Self::ImpersonationDenied => Step::ScopeMailboxes,
            Self::MailboxMissing | Self::MailboxOnPremises | Self::NoTestMailbox => {
                Step::ChooseTestMailbox
            }
            Self::EwsBlocked => Step::AllowEws,
            Self::PolicyBlocked => Step::ExemptFromPolicy,
            Self::ExpiryDiffers => Step::EnterExpiry,
            Self::KeyFileUnusable
            | Self::TokenUriNotGoogle
            | Self::KeyRejected
            | Self::ClientDisabled
            | Self::ClientDeleted => Step::MakeServiceAccountKey,
            Self::DelegationMissing | Self::DelegationWrongId | Self::ScopeMissing => {
                Step::DelegateDomain
            }
            Self::DelegatedUserMissing => Step::ChooseDelegatedUser,
            Self::ApiDisabled => Step::EnableApis,
            Self::TokenRejected
            | Self::Throttled
            | Self::ProviderUnavailable
            | Self::Unreachable
            | Self::TlsFailed
            | Self::OutOfTime
            | Self::OurRequest
            | Self::OurClock
            | Self::Unknown
            | Self::ExpiryNotReadable => Step::Nothing,
        }
    }

    /// Whether time alone may mend it shortly after something was made or granted: a new secret was
    /// seen to be refused for 4 to 18 seconds, and a new application or consent likewise.
    pub const fn may_settle(self) -> bool {
        matches!(
            self,
            Self::WrongSecret
                | Self::CertificateRejected
                | Self::UnknownApplication
                | Self::ServiceMissing
                | Self::ConsentMissing
                | Self::PermissionMissing
                | Self::DelegationMissing
                | Self::DelegationWrongId
                | Self::ScopeMissing
        )
    }

    /// Whether it may count against what the client handed in. Everything else leaves a verification
    /// undecided: the provider's trouble, ours, a policy's, and what nobody understands.
    pub const fn is_for_client(self) -> bool {
        !matches!(
            self,
            Self::EwsBlocked | Self::PolicyBlocked | Self::NoTestMailbox | Self::ExpiryDiffers
        ) && !matches!(self.step(), Step::Nothing)
    }
}
