//! Whether a directory exists, and what its id is.

use reqwest::Method;
use serde::Deserialize;

use super::refusal::{self, Asked};
use crate::providers::fields::is_guid;
use crate::providers::hint::Hint;
use crate::providers::hosts::Endpoint;
use crate::providers::outbound::{Body, Call};
use crate::providers::probe::{Asking, Cause, Reading};
use crate::providers::verification::ProviderCode;

/// What is read of the discovery document (OpenID Connect Discovery 1.0 section 3).
#[derive(Deserialize)]
struct Discovery {
    issuer: String,
}

/// Asks for the discovery document of a GUID or domain. The good answer is the directory's GUID, in
/// lower case, or nothing if the document does not name it: that must not fail a check.
pub(super) async fn find(around: Asking<'_>, tenant: &str) -> Reading<Option<String>> {
    let path = [tenant, "v2.0", ".well-known", "openid-configuration"];
    let call = Call {
        method: Method::GET,
        url: around.outbound.hosts().url(Endpoint::Login, &path),
        bearer: None,
        headers: &[],
        body: Body::None,
    };
    let reply = match around.call(call).await {
        Ok(reply) => reply,
        Err(error) => return Reading::unanswered(error),
    };
    match reply.status {
        200 => {
            let discovery: Option<Discovery> = serde_json::from_slice(reply.body()).ok();
            Reading::Good(discovery.and_then(|it| id_in(&it.issuer)))
        }
        // An address that is not there at all is a directory that is not there.
        404 => Reading::Refused(Cause {
            hint: Hint::UnknownTenant,
            code: Some(ProviderCode::Status(404)),
            correlation: reply.correlation(),
        }),
        _ => refusal::read(&reply, Asked::Tenant, around.now()),
    }
}

/// The GUID in an issuer such as `https://login.microsoftonline.com/<GUID>/v2.0`.
fn id_in(issuer: &str) -> Option<String> {
    let id = issuer.split('/').find(|part| is_guid(part))?;
    Some(id.to_ascii_lowercase())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_id_stands_in_the_issuer() {
        let id = "11111111-2222-3333-4444-555555555abc";
        for (issuer, found) in [
            (
                format!(
                    "https://login.microsoftonline.com/{}/v2.0",
                    id.to_uppercase()
                ),
                Some(id),
            ),
            (format!("https://sts.windows.net/{id}/"), Some(id)),
            (
                "https://login.microsoftonline.com/common/v2.0".to_owned(),
                None,
            ),
            (String::new(), None),
        ] {
            assert_eq!(id_in(&issuer).as_deref(), found);
        }
    }
}
