//! Probes through Exchange Web Services.
//!
//! Nothing that comes back here says that a secret is wrong: the secret was good for the token. A 403
//! without the code 2000008 is a block by the organisation, of which Microsoft documents no more than the
//! status.

use reqwest::Method;
use reqwest::header::HeaderName;

use super::soap;
use crate::model::{EmailAddress, Timestamp};
use crate::providers::hint::Hint;
use crate::providers::hosts::Endpoint;
use crate::providers::outbound::{Body, Call, Reply};
use crate::providers::probe::{Asking, Cause, Reading};
use crate::providers::verification::ProviderCode;
use crate::secret::Secret;

/// Reads at most one id of a folder.
pub(super) async fn find(
    around: Asking<'_>,
    token: &Secret,
    mailbox: &EmailAddress,
    folder: &str,
) -> Reading<()> {
    call(around, token, mailbox, &soap::find_item(folder)).await
}

/// Sends a message from the mailbox to itself.
pub(super) async fn send(
    around: Asking<'_>,
    token: &Secret,
    mailbox: &EmailAddress,
    subject: &str,
    text: &str,
) -> Reading<()> {
    let operation = soap::send_message(mailbox.as_str(), subject, text);
    call(around, token, mailbox, &operation).await
}

async fn call(
    around: Asking<'_>,
    token: &Secret,
    mailbox: &EmailAddress,
    operation: &str,
) -> Reading<()> {
    let url = around
        .outbound
        .hosts()
        .url(Endpoint::Exchange, &["EWS", "Exchange.asmx"]);
    let envelope = soap::envelope(mailbox.as_str(), operation);
    let call = Call {
        method: Method::POST,
        url,
        bearer: Some(token),
        // Without it, calls that impersonate end in 500 or 503 now and then.
        headers: &[(HeaderName::from_static("x-anchormailbox"), mailbox.as_str())],
        body: Body::Xml(Secret::new(envelope.into_bytes())),
    };
    match around.call(call).await {
        Ok(reply) => read(&reply, around.now()),
        Err(error) => Reading::unanswered(error),
    }
}

/// Reads a reply.
fn read(reply: &Reply, now: Timestamp) -> Reading<()> {
    let cause = |hint, code| Cause {
        hint,
        code: Some(code),
        correlation: reply.correlation(),
    };
    let status = ProviderCode::Status(reply.status);
    // Faults of SOAP come with 500, and say more than it.
    if reply.status != 500
        && let Some(trouble) = Reading::trouble(reply, now)
    {
        return trouble;
    }
    match reply.status {
        401 | 403 => {
            // The number of the diagnosis, not its text.
            let diagnosed = reply
                .header("x-ms-diagnostics")
                .is_some_and(|text| text.trim_start().starts_with("2000008"));
            let hint = match (diagnosed, reply.status) {
                (true, 401) => Hint::ConsentMissing,
                (true, _) => Hint::PermissionMissing,
                (false, 401) => Hint::TokenRejected,
                (false, _) => Hint::EwsBlocked,
            };
            Reading::Refused(cause(hint, status))
        }
        200 | 500 => {
            let Some(said) = soap::read(reply.body()) else {
                return Reading::Later(cause(Hint::ProviderUnavailable, status), None);
            };
            let Some(code) = said.code else {
                return Reading::Later(cause(Hint::ProviderUnavailable, status), None);
            };
            if code == "NoError" && reply.status == 200 {
                return Reading::Good(());
            }
            let word = ProviderCode::word(&code).unwrap_or(status);
            match code.as_str() {
                "ErrorServerBusy" => {
                    let seconds = said.back_off_millis.map(|millis| millis.div_ceil(1000));
                    let seconds = seconds.map(|it| it.clamp(1, 3600));
                    Reading::Later(
                        cause(Hint::Throttled, word),
                        seconds.or_else(|| reply.retry_after(now)),
                    )
                }
                // Also reported to come by mistake.
                "ErrorImpersonateUserDenied" => {
                    Reading::Sporadic(cause(Hint::ImpersonationDenied, word))
                }
                "ErrorNonExistentMailbox" => Reading::Refused(cause(Hint::MailboxMissing, word)),
                "ErrorAccessDenied" => Reading::Refused(cause(Hint::PermissionMissing, word)),
                "ErrorMissingEmailAddress" | "ErrorInvalidExchangeImpersonationHeaderData" => {
                    Reading::Refused(cause(Hint::OurRequest, word))
                }
                "ErrorInternalServerError"
                | "ErrorInternalServerTransientError"
                | "ErrorMailboxStoreUnavailable"
                | "ErrorTimeoutExpired" => {
                    Reading::Later(cause(Hint::ProviderUnavailable, word), None)
                }
                _ => Reading::Refused(cause(Hint::Unknown, word)),
            }
        }
        _ => Reading::Refused(cause(Hint::Unknown, status)),
    }
}
