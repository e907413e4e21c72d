//! What stands in front of every page: headers, where a form may come from, and how often.

use std::{
    net::{IpAddr, Ipv6Addr},
    sync::Arc,
    time::Duration,
};

use axum::{
    extract::{Request, State},
    http::{HeaderMap, HeaderName, HeaderValue, header},
    middleware::Next,
    response::Response,
};

use super::Pages;
use crate::http::limits::FailureLimit;
use crate::vault::LinkToken;

/// Nothing but our own files, no script that writes markup, and nobody frames it (CSP level 3,
/// Trusted Types).
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; \
    form-action 'self'; base-uri 'none'; frame-ancestors 'none'; \
    require-trusted-types-for 'script'; trusted-types 'none'";

const HEADERS: [(HeaderName, HeaderValue); 7] = [
    (
        header::CONTENT_SECURITY_POLICY,
        HeaderValue::from_static(POLICY),
    ),
    // The address of a page is what opens it.
    (
        header::REFERRER_POLICY,
        HeaderValue::from_static("no-referrer"),
    ),
    (
        HeaderName::from_static("cross-origin-opener-policy"),
        HeaderValue::from_static("same-origin"),
    ),
    (
        HeaderName::from_static("cross-origin-resource-policy"),
        HeaderValue::from_static("same-origin"),
    ),
    (
        HeaderName::from_static("permissions-policy"),
        HeaderValue::from_static(
            "camera=(), display-capture=(), geolocation=(), microphone=(), payment=(), usb=()",
        ),
    ),
    (
        HeaderName::from_static("x-robots-tag"),
        HeaderValue::from_static("noindex, nofollow"),
    ),
    (header::X_FRAME_OPTIONS, HeaderValue::from_static("DENY")),
];

/// Puts the headers on every answer of the listener.
pub(super) async fn with_headers(
    State(pages): State<Arc<Pages>>,
    request: Request,
    next: Next,
) -> Response {
    let mut response = next.run(request).await;
    let kind = response.headers().get(header::CONTENT_TYPE);
    // What went wrong around a page is told in the API's form.
    if kind.is_some_and(|kind| kind.as_bytes().starts_with(b"application/problem+json")) {
        response = super::answers::out_of_order(&response);
    }
    let headers = response.headers_mut();
    for (name, value) in HEADERS {
        headers.insert(name, value);
    }
    // Only for a name of our own: on `localhost` it would bind every other service as well.
    if pages.origin.is_some() {
        headers.insert(
            header::STRICT_TRANSPORT_SECURITY,
            HeaderValue::from_static("max-age=31536000"),
        );
    }
    response
}

/// Whether a form comes from one of our own pages, as the browser tells it. Who has no such headers is
/// no browser that somebody else's page could make send something. `Origin: null` alone says nothing: our
/// own referrer policy leads to it (Fetch standard, section 3.2), and so does a page that hides where it
/// is. Browsers say more since 2023 at the latest (Safari 16.4), so that it is refused.
pub(super) fn is_own(headers: &HeaderMap, origin: Option<&str>) -> bool {
    let text = |name: HeaderName| headers.get(name).map(|value| value.to_str().unwrap_or("?"));
    if let Some(site) = text(HeaderName::from_static("sec-fetch-site")) {
        return site == "same-origin";
    }
    match (text(header::ORIGIN), origin, text(header::HOST)) {
        (None, ..) => true,
        (Some(from), Some(origin), _) => from == origin,
        (Some(from), None, Some(host)) => from.strip_prefix("https://") == Some(host),
        (Some(_), None, None) => false,
    }
}

/// How often pages may be asked for what costs something.
pub(super) struct Rates {
    /// Links that are not there, per address.
    guesses: FailureLimit,
    /// Forms, per address: an office may have one address.
    senders: FailureLimit,
    /// Forms, per link.
    links: FailureLimit,
}

impl Rates {
    pub(super) fn new() -> Self {
        Self {
            guesses: FailureLimit::default(),
            senders: FailureLimit::new(60, Duration::from_secs(2)),
            links: FailureLimit::new(20, Duration::from_secs(15)),
        }
    }

    /// Counts a link that is not there; whether there may be more.
    pub(super) fn guessed(&self, address: IpAddr) -> bool {
        let allowed = self.guesses.allowed(address);
        self.guesses.failed(address);
        allowed
    }

    /// Counts a form; whether it may be looked at.
    pub(super) fn sent(&self, address: IpAddr, token: &LinkToken) -> bool {
        let link = place_of(token);
        let allowed = self.senders.allowed(address) && self.links.allowed(link);
        if allowed {
            self.senders.failed(address);
            self.links.failed(link);
        }
        allowed
    }
}

/// A link in a table that counts by network: half of its hash, as the half of an address that counts.
fn place_of(token: &LinkToken) -> IpAddr {
    let mut octets = [0; 16];
    octets[..8].copy_from_slice(&token.sha256()[..8]);
    IpAddr::V6(Ipv6Addr::from(octets))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn own(pairs: &[(&'static str, &'static str)], origin: Option<&str>) -> bool {
        let mut headers = HeaderMap::new();
        for (name, value) in pairs {
            headers.insert(*name, HeaderValue::from_static(value));
        }
        is_own(&headers, origin)
    }

    #[test]
    fn a_form_from_elsewhere_is_seen() {
        let host = ("host", "pages.example:8201");
        assert!(own(&[host], None));
        assert!(own(&[host, ("origin", "https://pages.example:8201")], None));
        assert!(own(
            &[host, ("sec-fetch-site", "same-origin"), ("origin", "null")],
            None
        ));
        for site in ["cross-site", "same-site", "none", "other"] {
            assert!(!own(&[host, ("sec-fetch-site", site)], None), "{site}");
        }
        for from in [
            "https://evil.example",
            "http://pages.example:8201",
            "null",
            "",
        ] {
            assert!(!own(&[host, ("origin", from)], None), "{from}");
        }
        // Behind a proxy the host may be another; the configured address counts.
        let configured = Some("https://intake.example");
        assert!(own(
            &[host, ("origin", "https://intake.example")],
            configured
        ));
        assert!(!own(
            &[host, ("origin", "https://pages.example:8201")],
            configured
        ));
    }

    #[test]
    fn a_link_and_an_address_have_limits_of_their_own() {
        let rates = Rates::new();
        let token = |last: char| {
            let text = format!("AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh{last}");
            LinkToken::parse(&text).expect("a token")
        };
        let (one, other) = (token('8'), token('A'));
        let address = |n: u8| IpAddr::from([192, 0, 2, n]);
        // From many addresses, one link.
        let taken = (0..40).filter(|n| rates.sent(address(*n), &one)).count();
        assert!((20..25).contains(&taken), "{taken}");
        assert!(rates.sent(address(200), &other));
        // Guesses of one address.
        let taken = (0..100).filter(|_| rates.guessed(address(1))).count();
        assert!((60..70).contains(&taken), "{taken}");
        assert!(rates.guessed(address(2)));
    }
}
