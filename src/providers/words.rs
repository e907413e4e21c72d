//! What people are told about a verification, in English. All of it stands here, so that it can be
//! translated; nothing else in the code says it.

use super::hint::{Hint, Step};
use super::verification::{Stage, StageOutcome, Surface};

/// The name of a stage.
pub const fn stage(stage: Stage) -> &'static str {
    match stage {
        Stage::Shape => "The form is filled in correctly",
        Stage::Tenant => "Your organisation is found",
        Stage::Token => "The sign-in works",
        Stage::Permissions => "The permissions are granted",
        Stage::Contacts => "Contacts can be read",
        Stage::Calendar => "The calendar can be read",
        Stage::Sending => "A message can be sent",
        Stage::Expiry => "The end date is known",
    }
}

/// The name of an interface.
pub const fn surface(surface: Surface) -> &'static str {
    match surface {
        Surface::Graph => "Microsoft Graph",
        Surface::Ews => "Exchange Web Services",
    }
}

/// What came of a stage.
pub const fn outcome(outcome: StageOutcome) -> &'static str {
    match outcome {
        StageOutcome::Passed => "works",
        StageOutcome::Failed => "does not work yet",
        StageOutcome::Undecided => "could not be checked yet",
        StageOutcome::Skipped => "was not checked",
    }
}

/// What happened and what to do about it.
pub const fn hint(hint: Hint) -> &'static str {
    match hint {
        Hint::SecretIdPasted => {
            "This is the secret's ID. Copy the secret's value instead: Microsoft Entra ID shows it \
             once, right after the secret was made. If it is hidden by now, make a new secret."
        }
        Hint::ShapeInvalid => "One of the fields does not have the form that is needed.",
        Hint::CertificateKeyUnusable => {
            "The private key cannot be used: it must be an unencrypted RSA key of 2048 to 4096 bits."
        }
        Hint::CertificateKeyMismatch => {
            "The certificate and the private key do not belong together."
        }
        Hint::CertificateExpired => "The certificate has expired. Make and upload a new one.",
        Hint::WrongSecret => {
            "Microsoft does not accept this secret. Make sure to copy the secret's value, not its \
             ID, and all of it. A secret that was made a minute ago may need a little longer."
        }
        Hint::SecretExpired => "This secret has expired. Make a new one.",
        Hint::UnknownApplication => {
            "Your directory has no application with this ID. Compare the application (client) ID, \
             and make sure that the directory (tenant) ID is that of the same directory."
        }
        Hint::UnknownTenant => {
            "Microsoft knows no directory with this ID or domain. Copy the directory (tenant) ID \
             from the application's overview page."
        }
        Hint::MalformedTenant => {
            "The directory (tenant) must be a GUID or a domain that is verified in your directory."
        }
        Hint::OtherCloud => {
            "Your directory belongs to another national cloud of Microsoft. Please tell us, so that \
             we check it there."
        }
        Hint::ApplicationRefused => {
            "Your directory refuses the application. Check that it is registered there, enabled, \
             and that an administrator has consented."
        }
        Hint::ApplicationDisabled => {
            "The application is disabled in your directory. Enable users to sign in on its page \
             under Enterprise applications."
        }
        Hint::PublicClient => {
            "The application is registered as a public client, which cannot have a secret. Register \
             it for the platform Web, or turn off \u{201c}Allow public client flows\u{201d}."
        }
        Hint::CertificateRejected => {
            "Microsoft does not accept the certificate. Upload exactly this certificate to the \
             application, under Certificates & secrets."
        }
        Hint::ServiceMissing => {
            "Your directory has no Exchange Online that the application may use. Add the \
             permissions for it, and check that there is a licence."
        }
        Hint::ConsentMissing => {
            "The sign-in works, but nothing is permitted yet. Add the permissions and then press \
             \u{201c}Grant admin consent\u{201d}."
        }
        Hint::PermissionMissing => {
            "The application has permissions, but not the ones that are needed. Compare them with \
             the list, and grant admin consent once more afterwards."
        }
        Hint::ImpersonationDenied => {
            "The application may not act for the test address. If access is limited to some \
             mailboxes, add this one to the scope; it can take two hours."
        }
        Hint::MailboxMissing => {
            "There is no mailbox in Exchange Online at the test address. Choose one with a licence."
        }
        Hint::MailboxOnPremises => {
            "The mailbox of the test address lies on a server of your own. Choose one that lies in \
             Exchange Online, or tell us."
        }
        Hint::EwsBlocked => {
            "The secret is not the problem: your organisation does not allow Exchange Web Services \
             for this application or mailbox. Add the application's ID to the allow list \
             (EwsAllowedAppIDs), which takes up to 24 hours, or let us use Microsoft Graph."
        }
        Hint::PolicyBlocked => {
            "The secret is not the problem: a policy of your organisation, such as Conditional \
             Access, blocks us. Exempt our addresses; we try again by ourselves."
        }
        Hint::TokenRejected => {
            "The provider did not accept its own token. This is nothing that you can mend; we try \
             again by ourselves."
        }
        Hint::NoTestMailbox => "Without a test address, access to mailboxes could not be checked.",
        Hint::Throttled => "The provider asks us to come back later. We try again by ourselves.",
        Hint::ProviderUnavailable => {
            "The provider is out of order at the moment. We try again by ourselves."
        }
        Hint::Unreachable => {
            "We cannot reach the provider at the moment. We try again by ourselves."
        }
        Hint::TlsFailed => {
            "The connection to the provider could not be trusted. This is for us to mend."
        }
        Hint::OutOfTime => "The check took too long. We try again by ourselves.",
        Hint::OurRequest | Hint::OurClock => {
            "The provider did not understand us. This is for us to mend."
        }
        Hint::Unknown => {
            "The provider refused for a reason that we do not know yet. We look into it."
        }
        Hint::ExpiryDiffers => {
            "The provider gives another end date than the one that was entered. We use the \
             provider's."
        }
        Hint::ExpiryNotReadable => {
            "We cannot read the end date from the provider, so we use the one that was entered."
        }
        Hint::KeyFileUnusable => {
            "This is not a complete key file of a service account. Download the JSON file again from \
             Google and hand it in unchanged."
        }
        Hint::TokenUriNotGoogle => {
            "The key file does not name Google's address for tokens. Download it again from Google \
             and hand it in unchanged."
        }
        Hint::DelegationMissing => {
            "Google does not let the service account act for your users yet. Set up domain-wide \
             delegation in the Admin console; it can take up to 24 hours."
        }
        Hint::DelegationWrongId => {
            "Domain-wide delegation must be entered with the service account's numeric ID (Unique \
             ID), not with its e-mail address, and the user must not be a group."
        }
        Hint::ScopeMissing => {
            "One of the scopes is missing in the domain-wide delegation. Add it in the Admin console."
        }
        Hint::DelegatedUserMissing => "There is no user with this address in your organisation.",
        Hint::KeyRejected => {
            "Google does not accept this key: it was deleted or disabled, or has expired. Make a \
             new one."
        }
        Hint::ClientDisabled => {
            "The service account is disabled. Enable it in the Google Cloud console."
        }
        Hint::ClientDeleted => {
            "The service account was deleted. It can be restored for 30 days; otherwise make a new \
             one."
        }
        Hint::ApiDisabled => {
            "The interface is not switched on in the service account's project. Enable it in the \
             Google Cloud console, under APIs & Services."
        }
    }
}

/// Subject and text of the message that a test address sends to itself.
pub const fn probe_message() -> (&'static str, &'static str) {
    (
        "Test message of a connection check",
        "This message was sent from your test address to itself, to check that sending works. You \
         can delete it.",
    )
}

/// The title of a step of the set-up guide.
pub const fn step(step: Step) -> &'static str {
    match step {
        Step::FindTenant => "Find the directory (tenant) ID",
        Step::RegisterApplication => "Register the application",
        Step::MakeSecret => "Make a client secret",
        Step::UploadCertificate => "Upload the certificate",
        Step::AddPermissions => "Add the permissions",
        Step::GrantConsent => "Grant admin consent",
        Step::ChooseTestMailbox => "Choose a test address",
        Step::ScopeMailboxes => "Give the application access to the mailboxes",
        Step::AllowEws => "Allow Exchange Web Services for the application",
        Step::ExemptFromPolicy => "Exempt our addresses from the policy",
        Step::MakeServiceAccountKey => "Make a key for the service account",
        Step::DelegateDomain => "Set up domain-wide delegation",
        Step::ChooseDelegatedUser => "Choose the user to act for",
        Step::EnableApis => "Switch the interfaces on",
        Step::EnterExpiry => "Enter the end date",
        Step::Nothing => "Nothing to do",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn everything_that_can_be_said_has_words() {
        for said in Hint::ALL.iter().map(|it| hint(*it)) {
            assert!(said.ends_with('.'), "{said}");
        }
        let steps: BTreeSet<&str> = Step::ALL.iter().map(|it| step(*it)).collect();
        assert_eq!(steps.len(), Step::ALL.len());
        let used: BTreeSet<Step> = Hint::ALL.iter().map(|hint| hint.step()).collect();
        assert_eq!(used.len(), Step::ALL.len(), "a step that no hint leads to");
    }

    #[test]
    fn nobody_is_blamed_for_what_is_not_theirs() {
        for hint in [
            Hint::EwsBlocked,
            Hint::PolicyBlocked,
            Hint::NoTestMailbox,
            Hint::Throttled,
            Hint::Unreachable,
            Hint::OurRequest,
            Hint::OurClock,
            Hint::Unknown,
            Hint::TokenRejected,
        ] {
            assert!(!hint.is_for_client(), "{hint}");
        }
        assert!(Hint::WrongSecret.is_for_client());
    }
}
