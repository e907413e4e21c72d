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

/// What says whose a credential is: none of it is a secret. Texts are in lower case.
pub fn identity(kind: CredentialKind, fields: &Fields) -> Vec<(&'static str, String)> {
    let text = |name| fields.text(name).map(str::to_lowercase);
    let found = match kind {
        CredentialKind::Microsoft365 => {
            vec![
                ("tenant_id", text("tenant_id")),
                ("client_id", text("client_id")),
            ]
        }
        CredentialKind::GoogleWorkspace => vec![
            ("delegated_user", text("delegated_user")),
            ("client_email", google_workspace::client_email(fields)),
        ],
        CredentialKind::Generic => Vec::new(),
    };
    found
        .into_iter()
        .filter_map(|(name, text)| Some((name, text?)))
        .collect()
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
