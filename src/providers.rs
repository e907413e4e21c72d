//! What each kind of credential consists of, and whether it works: one module per kind.
//!
//! [`check`] looks at the shape of fields alone; [`verify`] asks the provider, stage by stage. Calls go
//! out through one client with bounds ([`Outbound`]), to hosts that the settings pin ([`Hosts`]).

mod fields;
mod generic;
mod google_workspace;
mod hint;
mod hosts;
mod microsoft365;
mod outbound;
mod probe;
mod signing;
#[cfg(test)]
mod tests;
mod verification;
pub mod words;

pub use fields::{FieldProblem, Fields, FieldsError};
pub use hint::{Hint, Step};
pub use hosts::{Cloud, Endpoint, Hosts, NotLoopback};
pub use outbound::{Outbound, OutboundError};
pub use probe::{ProbePolicy, Surroundings, Want};
pub use signing::{KeyError, Padding, RsaSigner, Signer, SigningError, jwt, uuid};
pub use verification::{
    Correlation, CorrelationId, Outcome, ProviderCode, Stage, StageOutcome, StageReport, Surface,
    SurfaceOutcome, Verdict,
};

use probe::Run;

use crate::model::CredentialKind;

/// Checks the fields of a credential against its kind. Every broken rule is named at once.
pub fn check(kind: CredentialKind, fields: &Fields) -> Vec<FieldProblem> {
    match kind {
        CredentialKind::Microsoft365 => microsoft365::check(fields),
        CredentialKind::GoogleWorkspace => google_workspace::check(fields),
        CredentialKind::Generic => generic::check(fields),
    }
}

/// Whether the value of a field is a secret. Only those get a fingerprint; identifiers repeat.
pub fn is_secret(kind: CredentialKind, field: &str) -> bool {
    match kind {
        CredentialKind::Microsoft365 => microsoft365::SECRETS.contains(&field),
        CredentialKind::GoogleWorkspace => google_workspace::SECRETS.contains(&field),
        CredentialKind::Generic => true,
    }
}

/// What names the owner of a credential, and where it is tried, as it was handed in. None of it is a
/// secret: it is kept where it can be read without the secret.
pub fn identifiers(kind: CredentialKind, fields: &Fields) -> Vec<(&'static str, String)> {
    let names: &[&str] = match kind {
        CredentialKind::Microsoft365 => &["tenant_id", "client_id", "test_mailbox"],
        CredentialKind::GoogleWorkspace => &["delegated_user"],
        CredentialKind::Generic => &[],
    };
    let known = names.iter();
    let mut found: Vec<(&'static str, String)> = known
        .filter_map(|name| Some((*name, fields.text(name)?.to_owned())))
        .collect();
    if kind == CredentialKind::GoogleWorkspace
        && let Some(email) = google_workspace::client_email(fields)
    {
        found.push(("client_email", email));
    }
    found
}

/// Whether two credentials are of one owner and application, by their identifiers. Where they are tried
/// may differ, and letters that are large or small.
pub fn is_same_owner(
    one: &[(impl AsRef<str>, String)],
    other: &[(impl AsRef<str>, String)],
) -> bool {
    const OWNER: [&str; 4] = ["tenant_id", "client_id", "delegated_user", "client_email"];
    fn of<'a>(all: &'a [(impl AsRef<str>, String)], name: &str) -> Option<&'a str> {
        let mut found = all.iter().filter(|(known, _)| known.as_ref() == name);
        found.next().map(|(_, text)| text.as_str())
    }
    OWNER
        .iter()
        .all(|name| match (of(one, name), of(other, name)) {
            (Some(one), Some(other)) => one.to_lowercase() == other.to_lowercase(),
            (None, None) => true,
            _ => false,
        })
}

/// Asks the provider whether a credential works. Each stage is reported once, when it is over. Bounded
/// by the policy's time; never fails for the provider's trouble, a policy of the organisation or a
/// fault of ours: that is [`Outcome::Undecided`]. The caller sees to it that no two run at once for one
/// credential.
pub async fn verify(
    kind: CredentialKind,
    fields: &Fields,
    policy: &ProbePolicy,
    around: Surroundings<'_>,
    report: &mut (dyn FnMut(StageReport) + Send),
) -> Verdict {
    let mut run = Run::new(around, policy, report);
    match kind {
        CredentialKind::Microsoft365 => microsoft365::verify(fields, &mut run).await,
        CredentialKind::GoogleWorkspace => google_workspace::verify(fields, &mut run).await,
        CredentialKind::Generic => Verdict::plain(Outcome::ByOperator),
    }
}
