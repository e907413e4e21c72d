//! What stands on each page: the templates with what they show. Nothing is decided here but words.

use askama::Template;
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};

use super::{
    form::Form,
    guide,
    texts::{ENGLISH, Texts},
};
use crate::{
    model::{CredentialKind, SubmissionState, Timestamp},
    providers::{self, StageOutcome, Step, words},
    vault::{LinkView, StageView, SubmissionView},
};

/// Something that has to be corrected.
pub struct FormError {
    /// The field's name; empty for the form as a whole.
    pub anchor: &'static str,
    /// What, in a sentence.
    pub says: String,
}

impl FormError {
    /// One of the form as a whole.
    pub fn of_all(says: &str) -> Self {
        Self {
            anchor: "",
            says: says.to_owned(),
        }
    }
}

/// One field of a form.
struct Field {
    name: &'static str,
    label: &'static str,
    help: &'static str,
    /// `type` of the input.
    input: &'static str,
    /// Whether it has several lines.
    long: bool,
    required: bool,
    /// Whether it is said that it may be left empty.
    optional: bool,
    value: String,
    error: String,
    /// Ids of what describes it.
    described: String,
}

struct Group {
    legend: &'static str,
    lead: &'static str,
    fields: Vec<Field>,
    /// Whether it is folded up, because few need it.
    folded: bool,
    /// Whether it is unfolded all the same: something in it is to be seen.
    open: bool,
}

#[derive(Template)]
#[template(path = "form.html")]
struct FormPage<'a> {
    t: &'a Texts,
    token: &'a str,
    link: &'a LinkView,
    heading: &'a str,
    until: String,
    errors: &'a [FormError],
    groups: Vec<Group>,
    key: String,
    info: String,
    aad: String,
    can_answer: bool,
}

struct Line {
    class: &'static str,
    name: &'static str,
    surface: &'static str,
    outcome: &'static str,
    hint: &'static str,
}

#[derive(Template)]
#[template(path = "state.html")]
struct StatePage<'a> {
    t: &'a Texts,
    token: &'a str,
    link: &'a LinkView,
    attempt: &'a SubmissionView,
    title: &'a str,
    tone: &'a str,
    says: &'a str,
    hint: &'a str,
    step: &'a str,
    step_anchor: &'a str,
    again: String,
    stages: Vec<Line>,
    waits: bool,
    may_correct: bool,
    odd_date: bool,
}

#[derive(Template)]
#[template(path = "message.html")]
struct MessagePage<'a> {
    t: &'a Texts,
    title: &'a str,
    paragraphs: &'a [&'a str],
}

#[derive(Template)]
#[template(path = "colleague.html")]
struct ColleaguePage<'a> {
    t: &'a Texts,
    token: &'a str,
    needs_code: bool,
    errors: &'a [FormError],
    fields: Vec<Field>,
}

#[derive(Template)]
#[template(path = "guide.html")]
struct GuidePage<'a> {
    t: &'a Texts,
    token: &'a str,
    title: &'a str,
    lead: &'a str,
    scripts: bool,
    parts: Vec<guide::Part>,
}

/// The language of the pages. There is one so far.
pub const TEXTS: &Texts = &ENGLISH;

/// What the form of a kind asks for, without the code: name, whether it has several lines, whether it
/// has to be filled in.
type Asked = (&'static str, bool, bool);

const MICROSOFT365: &[Asked] = &[
    ("tenant_id", false, true),
    ("client_id", false, true),
    ("client_secret", false, false),
    ("expires_at", false, false),
];
const CERTIFICATE: &[Asked] = &[
    ("certificate", true, false),
    ("certificate_private_key", true, false),
];
const GOOGLE_WORKSPACE: &[Asked] = &[
    ("service_account_key", true, true),
    ("delegated_user", false, true),
];
const GENERIC: &[Asked] = &[("value", true, true), ("expires_at", false, false)];
const CHECK: &[Asked] = &[("test_mailbox", false, false)];
const CODE: &[Asked] = &[("code", false, true)];

/// What is asked for, group by group.
fn groups_of(
    kind: CredentialKind,
    needs_code: bool,
) -> Vec<(&'static str, &'static str, &'static [Asked])> {
    let t = TEXTS;
    let mut groups = match kind {
        CredentialKind::Microsoft365 => vec![
            (t.group_microsoft365, "", MICROSOFT365),
            (t.group_certificate, t.group_certificate_lead, CERTIFICATE),
            (t.group_check, "", CHECK),
        ],
        CredentialKind::GoogleWorkspace => vec![(t.group_google_workspace, "", GOOGLE_WORKSPACE)],
        CredentialKind::Generic => vec![(t.group_generic, "", GENERIC)],
    };
    if needs_code {
        groups.push((t.group_code, "", CODE));
    }
    groups
}

/// The names of the fields of a form.
pub fn names_of(kind: CredentialKind, needs_code: bool) -> Vec<&'static str> {
    let groups = groups_of(kind, needs_code);
    let fields = groups.iter().flat_map(|(_, _, fields)| fields.iter());
    fields.map(|(name, ..)| *name).collect()
}

/// Whether a field keeps what was typed when the form is shown again. Secrets do not: they would lie in
/// the browser's memory of the page.
fn is_kept(kind: CredentialKind, name: &str) -> bool {
    name != "code" && !providers::is_secret(kind, name) || matches!(name, "expires_at") // Never a secret, whatever the kind.
}

/// What to say about a rule that a field breaks.
pub fn broken(name: &str, rule: &str) -> String {
    match TEXTS.field(name) {
        Some(field) => format!("{}: {rule}.", field.label),
        None => TEXTS.form_refused.to_owned(),
    }
}

/// The form. `filled` is what was sent, if it is shown again.
pub fn form(token: &str, link: &LinkView, filled: Option<&Form>, errors: &[FormError]) -> String {
    let known = |name: &str| {
        let found = link.known.iter().find(|(known, _)| known == name);
        found.map_or("", |(_, value)| value.as_str())
    };
    let value = |name: &str| match filled {
        Some(form) if is_kept(link.kind, name) => form.text(name).to_owned(),
        Some(_) => String::new(),
        None => known(name).to_owned(),
    };
    let groups = groups_of(link.kind, link.needs_code);
    let t = TEXTS;
    let groups = groups.into_iter().map(|(legend, lead, asked)| {
        let fields = asked
            .iter()
            .map(|asked| field(*asked, value(asked.0), errors));
        let fields: Vec<Field> = fields.collect();
        let is_used = |field: &Field| !field.value.is_empty() || !field.error.is_empty();
        Group {
            legend,
            lead,
            folded: legend == t.group_certificate,
            open: fields.iter().any(is_used),
            fields,
        }
    });
    render(&FormPage {
        t,
        token,
        link,
        heading: match link.known.is_empty() {
            true => t.form_title,
            false => t.form_title_renewal,
        },
        until: day(link.expires_at),
        errors,
        groups: groups.collect(),
        key: URL_SAFE_NO_PAD.encode(link.seal_to.key),
        info: URL_SAFE_NO_PAD.encode(&link.seal_to.info),
        aad: URL_SAFE_NO_PAD.encode(&link.seal_to.aad),
        can_answer: link.kind != CredentialKind::Generic,
    })
}

fn field((name, long, required): Asked, value: String, errors: &[FormError]) -> Field {
    let texts = TEXTS.field(name).unwrap_or(super::texts::FieldTexts {
        label: name,
        help: "",
    });
    let error = errors.iter().find(|error| error.anchor == name);
    Field {
        name,
        label: texts.label,
        help: texts.help,
        input: match name {
            "test_mailbox" | "delegated_user" | "email" => "email",
            "client_secret" => "password",
            _ => "text",
        },
        long,
        required,
        // A secret or a certificate is needed; the help says which may be left out.
        optional: !required && name != "client_secret",
        value,
        error: error.map_or_else(String::new, |error| error.says.clone()),
        described: match error {
            Some(_) => format!("{name}-help {name}-error"),
            None => format!("{name}-help"),
        },
    }
}

/// How something that was handed in stands.
pub fn state(token: &str, link: &LinkView, attempt: &SubmissionView, odd_date: bool) -> String {
    let t = TEXTS;
    let (title, tone, says) = match attempt.state {
        SubmissionState::Verifying => (t.verifying_title, "", t.verifying),
        SubmissionState::Verified => (t.verified_title, "good", t.verified),
        SubmissionState::Failed => (t.failed_title, "bad", t.failed),
        SubmissionState::Undecided => (t.undecided_title, "", t.undecided),
        SubmissionState::Waiting => (t.waiting_title, "", t.waiting),
        SubmissionState::Superseded | SubmissionState::Closed => (t.closed_title, "", t.closed),
    };
    // What is wrong is said when it is sure; what is unknown only if it says something.
    let hint = match attempt.state {
        SubmissionState::Failed | SubmissionState::Undecided => attempt.hint,
        _ => None,
    };
    let step = hint
        .filter(|_| attempt.state == SubmissionState::Failed)
        .map(|hint| hint.step());
    let step = step.filter(|step| *step != Step::Nothing);
    render(&StatePage {
        t,
        token,
        link,
        attempt,
        title,
        tone,
        says,
        hint: hint.map_or("", words::hint),
        step: step.map_or("", words::step),
        step_anchor: step.map_or("", |step| step.as_str()),
        again: match attempt.state {
            SubmissionState::Verified => link.ends_at.map_or_else(String::new, day),
            _ => String::new(),
        },
        stages: lines(
            attempt.verification.as_ref().map_or(&[], |run| &run.stages),
            hint.map_or("", words::hint),
        ),
        waits: matches!(
            attempt.state,
            SubmissionState::Verifying | SubmissionState::Undecided
        ),
        may_correct: matches!(
            attempt.state,
            SubmissionState::Failed
                | SubmissionState::Undecided
                | SubmissionState::Superseded
                | SubmissionState::Closed
        ),
        odd_date,
    })
}

/// A line for each stage. What has been said above is not said again.
fn lines(stages: &[StageView], above: &'static str) -> Vec<Line> {
    let mut told = vec![above];
    stages
        .iter()
        .map(|stage| {
            let mut line = line(stage);
            match told.contains(&line.hint) {
                true => line.hint = "",
                false => told.push(line.hint),
            }
            line
        })
        .collect()
}

fn line(stage: &StageView) -> Line {
    Line {
        class: match stage.outcome {
            StageOutcome::Passed => "good",
            StageOutcome::Failed => "bad",
            StageOutcome::Undecided | StageOutcome::Skipped => "open",
        },
        name: words::stage(stage.stage),
        surface: stage.surface.map_or("", words::surface),
        outcome: words::outcome(stage.outcome),
        hint: stage.hint.map_or("", words::hint),
    }
}

/// A few sentences.
pub fn message(title: &str, paragraphs: &[&str]) -> String {
    render(&MessagePage {
        t: TEXTS,
        title,
        paragraphs,
    })
}

/// Whom to hand the link on to.
pub fn colleague(
    token: &str,
    needs_code: bool,
    filled: Option<&Form>,
    errors: &[FormError],
) -> String {
    let value = |name| filled.map_or_else(String::new, |form| form.text(name).to_owned());
    let fields = ["name", "email"].map(|name| field((name, false, true), value(name), errors));
    render(&ColleaguePage {
        t: TEXTS,
        token,
        needs_code,
        errors,
        fields: fields.into(),
    })
}

/// The set-up guide.
pub fn guide(token: &str, kind: CredentialKind) -> String {
    let t = TEXTS;
    let (title, lead) = match kind {
        CredentialKind::Microsoft365 => (t.guide_microsoft365, t.guide_lead),
        CredentialKind::GoogleWorkspace => (t.guide_google_workspace, t.guide_lead),
        CredentialKind::Generic => (t.guide_generic, t.guide_generic_lead),
    };
    render(&GuidePage {
        t,
        token,
        title,
        lead,
        scripts: kind == CredentialKind::Microsoft365,
        parts: guide::parts(kind),
    })
}

/// The day of a moment, in UTC.
fn day(at: Timestamp) -> String {
    at.to_string().chars().take(10).collect()
}

/// Writing into a string does not fail; a page that could not be made would be empty, and a test says
/// that none is.
fn render(page: &impl Template) -> String {
    page.render().unwrap_or_default()
}
