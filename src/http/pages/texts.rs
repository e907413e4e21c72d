//! Everything that the pages say, but for the set-up guide ([`super::guide`]) and the words for checks
//! (`providers/words.rs`). A language is one value of [`Texts`]: what a new one lacks does not compile,
//! which is why it is a struct and no file that is read at run time.

/// The sentences of the pages. A name says where it stands.
pub struct Texts {
    /// Tag of the language (RFC 5646).
    pub language: &'static str,
    pub skip: &'static str,
    pub back: &'static str,
    pub optional: &'static str,
    pub error_prefix: &'static str,
    pub errors_title: &'static str,
    pub secret_again: &'static str,

    pub form_title: &'static str,
    pub form_title_renewal: &'static str,
    pub form_for: &'static str,
    pub form_until: &'static str,
    pub form_lead: &'static str,
    pub form_button: &'static str,
    pub guide_link: &'static str,
    pub way_tls: &'static str,
    pub way_sealed: &'static str,
    pub not_sent: &'static str,
    pub other_title: &'static str,
    pub colleague_link: &'static str,
    pub answer_no_admin: &'static str,
    pub answer_free_gmail: &'static str,

    pub group_microsoft365: &'static str,
    pub group_certificate: &'static str,
    pub group_certificate_lead: &'static str,
    pub group_google_workspace: &'static str,
    pub group_generic: &'static str,
    pub group_check: &'static str,
    pub group_code: &'static str,

    pub attempt: &'static str,
    pub verifying_title: &'static str,
    pub verifying: &'static str,
    pub verified_title: &'static str,
    pub verified: &'static str,
    pub asked_again: &'static str,
    pub failed_title: &'static str,
    pub failed: &'static str,
    pub undecided_title: &'static str,
    pub undecided: &'static str,
    pub waiting_title: &'static str,
    pub waiting: &'static str,
    pub closed_title: &'static str,
    pub closed: &'static str,
    pub step_again: &'static str,
    pub stages_title: &'static str,
    pub look_again: &'static str,
    pub odd_date: &'static str,
    pub check_again_lead: &'static str,
    pub check_again: &'static str,
    pub correct_link: &'static str,

    pub colleague_title: &'static str,
    pub colleague_lead: &'static str,
    pub colleague_code: &'static str,
    pub colleague_button: &'static str,
    pub colleague_done_title: &'static str,
    pub colleague_done: &'static str,
    pub answered_title: &'static str,
    pub answered: &'static str,

    pub guide_microsoft365: &'static str,
    pub guide_google_workspace: &'static str,
    pub guide_generic: &'static str,
    pub guide_lead: &'static str,
    pub guide_generic_lead: &'static str,
    pub scripts_title: &'static str,
    pub scripts_lead: &'static str,
    pub script_sh: &'static str,
    pub script_ps1: &'static str,
    pub steps_title: &'static str,

    pub gone_title: &'static str,
    pub gone: [&'static str; 2],
    pub unavailable_title: &'static str,
    pub unavailable: &'static str,
    pub too_many_title: &'static str,
    pub too_many: &'static str,
    pub used_up_title: &'static str,
    pub used_up: &'static str,
    pub unreadable_title: &'static str,
    pub unreadable: &'static str,
    pub too_large_title: &'static str,
    pub too_large: &'static str,
    pub elsewhere_title: &'static str,
    pub elsewhere: &'static str,

    pub code_wrong: &'static str,
    pub barred: &'static str,
    pub form_refused: &'static str,
    pub form_empty: &'static str,
    pub sealed_refused: &'static str,
    pub address_wrong: &'static str,
    pub name_wrong: &'static str,
}

/// What is said about one field, where it is asked.
#[derive(Clone, Copy)]
pub struct FieldTexts {
    /// Its name, as the provider's pages call it.
    pub label: &'static str,
    /// What it is and where it is found.
    pub help: &'static str,
}

/// English.
pub const ENGLISH: Texts = Texts {
    language: "en",
    skip: "Skip to the content",
    back: "Back",
    optional: "(optional)",
    error_prefix: "Please correct:",
    errors_title: "Please correct this",
    secret_again: "Nothing was saved. Secrets are not kept in the form: please enter them once more.",

    form_title: "Set up access",
    form_title_renewal: "Renew access",
    form_for: "For",
    form_until: "This link can be used until",
    form_lead: "It takes about ten minutes and needs an administrator of your organisation.",
    form_button: "Send and check",
    guide_link: "Show me how, step by step",
    way_tls: "Your browser sends this over an encrypted connection (TLS) alone. With JavaScript it \
        would also seal the form itself, so that nothing between you and our vault could read it.",
    way_sealed: "Your browser seals this form before it is sent. Only our vault can open it; nothing \
        between you and the vault can.",
    not_sent: "Your browser could not seal the form, so nothing was sent. Reload the page and try \
        again, or open the link in another browser.",
    other_title: "Not for you?",
    colleague_link: "Send this to a colleague",
    answer_no_admin: "My mail provider gives me no administrator\u{2019}s access",
    answer_free_gmail: "We will use free Gmail",

    group_microsoft365: "From Microsoft Entra ID",
    group_certificate: "Instead of a secret: a certificate",
    group_certificate_lead: "Only if you use a certificate. Then leave the client secret above empty.",
    group_google_workspace: "From Google",
    group_generic: "What you were asked for",
    group_check: "For the check",
    group_code: "Your code",

    attempt: "Attempt",
    verifying_title: "We are checking it",
    verifying: "This takes less than a minute, as a rule. You can leave this page and come back by \
        the same link.",
    verified_title: "It works",
    verified: "Thank you. Everything that is needed works, and you have nothing more to do. You can \
        close this page.",
    asked_again: "We will ask you for a new one before it ends, on",
    failed_title: "One step is missing",
    failed: "We have what you sent, and this is what does not work yet:",
    undecided_title: "We could not check it yet",
    undecided: "This says nothing about what you sent. We try again by ourselves and tell you; you \
        have nothing to do.",
    waiting_title: "Somebody looks at it",
    waiting: "Thank you, we have it. It is looked at by a person before it is used. We write to you \
        if something is missing.",
    closed_title: "This attempt was ended",
    closed: "It was ended by us. You can fill in the form once more.",
    step_again: "The step to do again:",
    stages_title: "What was checked",
    look_again: "Look again",
    odd_date: "The end date that you entered is unusual: far under or over what providers offer. If it is \
        wrong, tell us; as far as we may, we read it from the provider.",
    check_again_lead: "If you have done this step, we check what you sent once more. You do not have \
        to enter it again.",
    check_again: "Check again",
    correct_link: "Correct the form and send it again",

    colleague_title: "Send this to a colleague",
    colleague_lead: "Your colleague gets a link of their own by e-mail, and yours ends. We are told.",
    colleague_code: "Your colleague is asked for the code that we gave you: please tell it to them \
        yourself, but not by e-mail.",
    colleague_button: "Send the link",
    colleague_done_title: "Your colleague gets a link",
    colleague_done: "Your own link has ended. You can close this page.",
    answered_title: "Thank you for telling us",
    answered: "We get in touch with you about another way. This link has ended; you can close this \
        page.",

    guide_microsoft365: "Set up Microsoft 365",
    guide_google_workspace: "Set up Google Workspace",
    guide_generic: "What you were asked for",
    guide_lead: "The names are those that the pages of your provider show today.",
    guide_generic_lead: "There is no guide for this kind: please ask whoever sent you the link.",
    scripts_title: "All at once, by a script",
    scripts_lead: "Either script registers the application, adds the permissions, grants consent, \
        makes a secret and prints what to paste into the form. Read it before you run it.",
    script_sh: "For Azure CLI (setup.sh; runs in Azure Cloud Shell, too)",
    script_ps1: "For PowerShell (setup.ps1; needs the module Microsoft.Graph)",
    steps_title: "Step by step",

    gone_title: "This link cannot be used",
    gone: [
        "It may have been used, replaced by a newer one, or be too old. Look for a newer message from \
         us in your mailbox.",
        "If there is none, answer the message that the link came in, or ask the person who looks \
         after you. They can send you a new one.",
    ],
    unavailable_title: "Please try again in a moment",
    unavailable: "We cannot look this up at the moment. Nothing was lost or changed.",
    too_many_title: "Please wait a minute",
    too_many: "There were too many tries in a short time. Nothing was changed. Wait a minute and try \
        again.",
    used_up_title: "This link was used too often",
    used_up: "Nothing was changed. Ask the person who looks after you for a new link; they can also help \
        with what did not work.",
    unreadable_title: "The form could not be read",
    unreadable: "It did not come as your browser sends it. Nothing was changed. Open the link again \
        and fill in the form there.",
    too_large_title: "The form is too large",
    too_large: "At most 64 KiB can be sent. Nothing was changed. Check that you pasted what was asked \
        for, and nothing else.",
    elsewhere_title: "The form came from somewhere else",
    elsewhere: "Forms are taken only from our own pages. Nothing was changed. Open the link from your \
        mailbox and fill in the form there. If you did, your browser is too old to say where the form \
        came from: use a current one.",

    code_wrong: "Your code: this is not the code that we gave you. Check each character.",
    barred: "Your provider has refused exactly this before. Make a new one and enter that.",
    form_refused: "The form could not be taken as it is.",
    form_empty: "The form is empty. Fill in the fields below.",
    sealed_refused: "The form was sealed for another page or was changed on its way. Nothing was \
        saved. Please fill it in once more.",
    address_wrong: "must be one e-mail address such as name@example.com",
    name_wrong: "must be 1 to 120 characters in one line",
};

impl Texts {
    /// What is said about a field. The names are those of `providers`, and a few of the form's own.
    pub fn field(&self, name: &str) -> Option<FieldTexts> {
        let (label, help) = match name {
            "tenant_id" => (
                "Directory (tenant) ID",
                "A GUID, on the application\u{2019}s overview page. A domain that is verified in your \
                 directory does as well.",
            ),
            "client_id" => ("Application (client) ID", "A GUID, on the same page."),
            "client_secret" => (
                "Client secret: its value",
                "Shown once, right after the secret was made, in the column Value. The column Secret \
                 ID is not it.",
            ),
            "certificate" => (
                "Certificate (PEM)",
                "The one that you uploaded. It begins with -----BEGIN CERTIFICATE-----.",
            ),
            "certificate_private_key" => (
                "Its private key (PEM)",
                "Without a passphrase. It begins with -----BEGIN PRIVATE KEY-----.",
            ),
            "test_mailbox" => (
                "Test address",
                "A mailbox of your organisation in which we may try reading contacts and the calendar.",
            ),
            "service_account_key" => (
                "Key file of the service account (JSON)",
                "Open the file that Google let you download, and paste all of it.",
            ),
            "delegated_user" => (
                "User to act for",
                "The e-mail address of a user, not of a group, in your organisation.",
            ),
            "value" => ("Value", "What you were asked for, exactly."),
            "expires_at" => (
                "End date of the secret",
                "As the provider shows it, as year-month-day: 2028-11-20. Leave it empty if it does \
                 not end.",
            ),
            "code" => (
                "Code",
                "The eight characters that you were given by another way than the link.",
            ),
            "name" => ("Name", "The name of your colleague."),
            "email" => (
                "E-mail address",
                "Where the link is sent, at your organisation.",
            ),
            _ => return None,
        };
        Some(FieldTexts { label, help })
    }
}
