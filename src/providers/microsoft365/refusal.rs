//! What it means that Microsoft Entra ID refuses.
//!
//! The status of HTTP and the word `error` (RFC 6749 section 5.2) decide whether it counts against the
//! client. Microsoft asks that no code depend on the number behind `AADSTS` ("Microsoft Entra
//! authentication and authorization error codes"): it chooses what is said, and it may take the blame
//! away from the client, but never add it.

use serde::Deserialize;

use crate::model::Timestamp;
use crate::providers::hint::Hint;
use crate::providers::outbound::Reply;
use crate::providers::probe::{Cause, Reading};
use crate::providers::verification::{CorrelationId, ProviderCode};

/// The body of a refusal. The description is never read: it can repeat what was sent.
#[derive(Deserialize, Default)]
#[serde(default)]
struct Refusal {
    error: String,
    error_codes: Vec<u32>,
    trace_id: String,
    correlation_id: String,
}

/// What the numbers mean. The first column is all that decides which row applies.
const NUMBERS: &[(u32, Hint)] = &[
    (7_000_215, Hint::WrongSecret),
    (7_000_222, Hint::SecretExpired),
    (700_016, Hint::UnknownApplication),
    (90_002, Hint::UnknownTenant),
    (900_023, Hint::MalformedTenant),
    (90_038, Hint::OtherCloud),
    (900_382, Hint::OtherCloud),
    (7_000_112, Hint::ApplicationDisabled),
    (70_001, Hint::ApplicationDisabled),
    // An empty secret was sent: never by the client, whose fields are checked before.
    (7_000_216, Hint::OurRequest),
    (7_000_218, Hint::OurRequest),
    (700_025, Hint::PublicClient),
    (700_027, Hint::CertificateRejected),
    (50_012, Hint::CertificateRejected),
    (50_048, Hint::OurRequest),
    (500_133, Hint::OurClock),
    (700_030, Hint::CertificateRejected),
    (53_003, Hint::PolicyBlocked),
    (530_032, Hint::PolicyBlocked),
    (500_011, Hint::ServiceMissing),
    (650_052, Hint::ServiceMissing),
    (650_057, Hint::PermissionMissing),
    (65_001, Hint::ConsentMissing),
    (650_056, Hint::ConsentMissing),
    // Users do not sign in here, so it should not come.
    (50_034, Hint::Unknown),
    (70_011, Hint::OurRequest),
    (1_002_012, Hint::OurRequest),
    (700_022, Hint::OurRequest),
    (28_002, Hint::OurRequest),
    (90_033, Hint::ProviderUnavailable),
    (90_006, Hint::ProviderUnavailable),
    (90_024, Hint::ProviderUnavailable),
    (50_033, Hint::ProviderUnavailable),
    (90_012, Hint::ProviderUnavailable),
    (90_090, Hint::ProviderUnavailable),
    (90_055, Hint::Throttled),
    (50_196, Hint::Throttled),
];

/// How the application proved itself, for what an unknown number may mean.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Asked {
    /// Whether the directory exists.
    Tenant,
    /// For a token, by a secret.
    BySecret,
    /// For a token, by a certificate.
    ByCertificate,
}

/// Reads a reply that is not 200.
pub(super) fn read<T>(reply: &Reply, asked: Asked, now: Timestamp) -> Reading<T> {
    if let Some(trouble) = Reading::trouble(reply, now) {
        return trouble;
    }
    // A body that is not JSON, as with throttling, is one that says nothing.
    let refusal: Refusal = serde_json::from_slice(reply.body()).unwrap_or_default();
    let mut correlation = reply.correlation();
    correlation.trace_id = CorrelationId::new(&refusal.trace_id);
    correlation.correlation_id =
        CorrelationId::new(&refusal.correlation_id).or(correlation.correlation_id);
    let number = refusal.error_codes.first().copied();
    let numbered = number.and_then(|number| {
        let row = NUMBERS.iter().find(|(known, _)| *known == number);
        row.map(|(_, hint)| *hint)
    });
    let hint = by_both(by_word(&refusal.error, asked), numbered);
    let code = match number {
        Some(number) => Some(ProviderCode::Aadsts(number)),
        None => ProviderCode::word(&refusal.error).or(Some(ProviderCode::Status(reply.status))),
    };
    let cause = Cause {
        hint,
        code,
        correlation,
    };
    match hint {
        Hint::ProviderUnavailable | Hint::Throttled => {
            Reading::Later(cause, reply.retry_after(now))
        }
        _ => Reading::Refused(cause),
    }
}

/// What word and number say together.
fn by_both(word: Hint, number: Option<Hint>) -> Hint {
    let Some(number) = number else { return word };
    match word {
        // The client is to blame: for what, and whether after all not, is for the number to say.
        word if word.is_for_client() => number,
        // Nobody knows who is, or it is us: the number may say more, but not that it is the client.
        Hint::Unknown | Hint::OurRequest if !number.is_for_client() => number,
        // Trouble stays trouble, and a policy a policy.
        Hint::ProviderUnavailable if number == Hint::Throttled => number,
        word => word,
    }
}

/// What the word alone says.
fn by_word(error: &str, asked: Asked) -> Hint {
    match (error, asked) {
        ("invalid_request" | "invalid_tenant", Asked::Tenant) => Hint::UnknownTenant,
        ("invalid_client", Asked::ByCertificate) => Hint::CertificateRejected,
        ("invalid_client", _) => Hint::WrongSecret,
        // There is no grant but the application's own, so it is the application that is refused.
        ("unauthorized_client" | "invalid_grant", _) => Hint::ApplicationRefused,
        ("invalid_tenant", _) => Hint::UnknownTenant,
        ("invalid_resource", _) => Hint::ServiceMissing,
        ("access_denied" | "interaction_required", _) => Hint::PolicyBlocked,
        ("temporarily_unavailable" | "server_error", _) => Hint::ProviderUnavailable,
        ("invalid_request" | "invalid_scope" | "unsupported_grant_type", _) => Hint::OurRequest,
        _ => Hint::Unknown,
    }
}
