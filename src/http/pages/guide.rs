//! The set-up guides: for each step that a check can send somebody back to, what to do, with the names
//! that the providers' pages show today; and the scripts that do Microsoft's steps at once.

use crate::{
    model::CredentialKind,
    providers::{Step, words},
};

/// One step.
pub struct Part {
    /// The step's word, by which results link to it.
    pub anchor: &'static str,
    /// What it is called.
    pub title: &'static str,
    /// What to do.
    pub paragraphs: &'static [&'static str],
    /// What is copied from here, each by itself.
    pub copy: &'static [&'static str],
}

/// For Azure CLI.
pub const SETUP_SH: &str = include_str!("scripts/setup.sh");
/// For PowerShell.
pub const SETUP_PS1: &str = include_str!("scripts/setup.ps1");

const MICROSOFT365: &[Step] = &[
    Step::RegisterApplication,
    Step::FindTenant,
    Step::AddPermissions,
    Step::GrantConsent,
    Step::MakeSecret,
    Step::EnterExpiry,
    Step::UploadCertificate,
    Step::ChooseTestMailbox,
    Step::ScopeMailboxes,
    Step::AllowEws,
    Step::ExemptFromPolicy,
];

const GOOGLE_WORKSPACE: &[Step] = &[
    Step::EnableApis,
    Step::MakeServiceAccountKey,
    Step::DelegateDomain,
    Step::ChooseDelegatedUser,
];

/// The steps of a kind, in the order in which they are done.
pub fn parts(kind: CredentialKind) -> Vec<Part> {
    let steps = match kind {
        CredentialKind::Microsoft365 => MICROSOFT365,
        CredentialKind::GoogleWorkspace => GOOGLE_WORKSPACE,
        CredentialKind::Generic => &[],
    };
    steps.iter().map(|step| part(*step)).collect()
}

fn part(step: Step) -> Part {
    let (paragraphs, copy): (&'static [&'static str], &'static [&'static str]) = match step {
        Step::RegisterApplication => (
            &[
                "Sign in to the Microsoft Entra admin center (entra.microsoft.com) as an \
                 administrator. Open App registrations and choose New registration.",
                "Give it a name, leave \u{201c}Accounts in this organizational directory only\u{201d} \
                 as it is, enter no redirect URI, and choose Register. On the overview page, copy \
                 the Application (client) ID.",
            ],
            &[],
        ),
        Step::FindTenant => (
            &["On the same overview page, copy the Directory (tenant) ID."],
            &[],
        ),
        Step::AddPermissions => (
            &[
                "Open API permissions, choose Add a permission, Microsoft Graph, and then Application \
                 permissions (not Delegated permissions). Add these:",
                "If you were asked for Exchange Web Services as well: choose APIs my organization \
                 uses, Office 365 Exchange Online, Application permissions, and add \
                 full_access_as_app.",
            ],
            &["Contacts.ReadWrite", "Calendars.ReadWrite", "Mail.Send"],
        ),
        Step::GrantConsent => (
            &[
                "On the same page choose \u{201c}Grant admin consent\u{201d} and confirm. Each line \
               then says \u{201c}Granted\u{201d}. It may take a minute to work.",
            ],
            &[],
        ),
        Step::MakeSecret => (
            &[
                "Open Certificates & secrets, Client secrets, and choose New client secret. Choose the \
                 longest time that is offered, 24 months, and choose Add.",
                "Copy the column Value at once: it is never shown again. The column Secret ID is \
                 something else and is not needed.",
            ],
            &[],
        ),
        Step::EnterExpiry => (
            &[
                "Copy the date in the column Expires into the form, as year-month-day. We ask you for a \
               new secret in time.",
            ],
            &[],
        ),
        Step::UploadCertificate => (
            &[
                "Only if you use a certificate in place of a secret: open Certificates & secrets, \
               Certificates, choose Upload certificate, and upload exactly the one that you paste \
               into the form. Its key is RSA with 2048 to 4096 bits.",
            ],
            &[],
        ),
        Step::ChooseTestMailbox => (
            &[
                "Choose a mailbox in Exchange Online that has a licence. We read one contact and one \
               appointment there, to see that it works, and keep nothing of them.",
            ],
            &[],
        ),
        Step::ScopeMailboxes => (
            &[
                "Only if the application may act for some mailboxes alone: in Exchange Online PowerShell, \
               add the test address to the scope that you gave the application (Role Based Access \
               Control for Applications). It can take two hours to work. This command tells whether \
               it does:",
            ],
            &["Test-ServicePrincipalAuthorization -Identity APPLICATION_ID -Resource TEST_ADDRESS"],
        ),
        Step::AllowEws => (
            &[
                "Only if Exchange Web Services are switched off in your organisation: in Exchange Online \
               PowerShell, look at the list of applications that may use them, and set it with the \
               application\u{2019}s ID added. It can take 24 hours to work.",
            ],
            &[
                "Get-OrganizationConfig | Format-List EwsEnabled,EwsAllowedAppIDs",
                "Set-OrganizationConfig -EwsAllowedAppIDs \"IDS_THAT_ARE_THERE,APPLICATION_ID\"",
            ],
        ),
        Step::ExemptFromPolicy => (
            &[
                "Only if a policy blocks us: in the Microsoft Entra admin center, open Conditional \
               Access and look for policies for workload identities. Exempt the application, or our \
               addresses, which whoever sent you the link can tell you.",
            ],
            &[],
        ),
        Step::EnableApis => (
            &[
                "Sign in to the Google Cloud console (console.cloud.google.com), choose or make a \
               project, open APIs & Services, Library, and enable each of these:",
            ],
            &["People API", "Google Calendar API", "Gmail API"],
        ),
        Step::MakeServiceAccountKey => (
            &[
                "In the same project, open IAM & Admin, Service Accounts, and choose Create service \
                 account. It needs no role. Open it and copy its Unique ID, a number.",
                "Open Keys, choose Add key, Create new key, JSON. The file that is downloaded is what \
                 the form asks for.",
            ],
            &[],
        ),
        Step::DelegateDomain => (
            &[
                "Sign in to the Admin console (admin.google.com) as a super administrator. Open \
               Security, Access and data control, API controls, Manage domain-wide delegation, and \
               choose Add new. Enter the Unique ID of the service account, not its address, and \
               these scopes. It can take 24 hours to work.",
            ],
            &[
                "https://www.googleapis.com/auth/contacts",
                "https://www.googleapis.com/auth/calendar",
                "https://www.googleapis.com/auth/gmail.send",
            ],
        ),
        Step::ChooseDelegatedUser => (
            &[
                "Enter the e-mail address of a user in your organisation for whom the service account \
               acts during the check. It must be a user, not a group or an alias.",
            ],
            &[],
        ),
        Step::Nothing => (&[], &[]),
    };
    Part {
        anchor: step.as_str(),
        title: words::step(step),
        paragraphs,
        copy,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_step_that_a_check_names_is_in_a_guide() {
        let all: Vec<Step> = [MICROSOFT365, GOOGLE_WORKSPACE].concat();
        for step in Step::ALL {
            let count = all.iter().filter(|it| *it == step).count();
            assert_eq!(count, usize::from(*step != Step::Nothing), "{step}");
        }
        for step in all {
            assert!(!part(step).paragraphs.is_empty(), "{step}");
        }
    }

    #[test]
    fn scripts_and_guide_ask_for_the_same_permissions() {
        for permission in part(Step::AddPermissions).copy {
            assert!(SETUP_SH.contains(permission), "{permission}");
            assert!(SETUP_PS1.contains(permission), "{permission}");
        }
    }
}
