//! Calls to providers: one client with bounds. Whatever comes back is handed on and never logged.

use std::collections::BTreeMap;
use std::error::Error;
use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use reqwest::header::{
    ACCEPT_ENCODING, AUTHORIZATION, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue, RETRY_AFTER,
};
use reqwest::{Method, Url};
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc2822;
use tokio::sync::{AcquireError, OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, timeout_at};

use super::hint::Hint;
use super::hosts::Hosts;
use super::verification::{Correlation, CorrelationId};
use crate::model::Timestamp;
use crate::secret::Secret;

/// How long a connection may take to come up.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// How long the provider may be silent within an answer.
const READ_TIMEOUT: Duration = Duration::from_secs(20);
/// How long a connection may be idle. Its buffers can hold what was sent last, a client's secret
/// included, until it is closed and they are wiped.
const IDLE_TIMEOUT: Duration = Duration::from_secs(5);
/// How long a call may take in all.
const TOTAL_TIMEOUT: Duration = Duration::from_secs(30);
/// The largest answer that is read, in bytes.
const LARGEST_ANSWER: usize = 256 * 1024;
/// How many calls may be under way at once; more wait, so that memory and the provider are spared.
const CALLS_AT_ONCE: usize = 64;
/// How many of them may go to one host.
const CALLS_AT_ONE_HOST: usize = 32;
/// The longest wait that a provider may ask for, in seconds.
const LONGEST_WAIT: u64 = 3600;

/// The client cannot be set up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum OutboundError {
    /// The file of authorities has none, or something that is not one.
    #[error("must be a PEM file of one or more certificates of authorities")]
    Authorities,
    /// TLS cannot be set up.
    #[error("TLS cannot be set up")]
    Tls,
}

/// No answer, or none that can be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Unanswered {
    /// No connection.
    #[error("cannot be reached")]
    Unreachable,
    /// Whoever answers has no certificate that is trusted here.
    #[error("TLS failed")]
    Tls,
    /// Nothing came in time.
    #[error("did not answer in time")]
    TimedOut,
    /// More than 256 KiB.
    #[error("answered more than is read")]
    TooLarge,
    /// The answer broke off.
    #[error("broke off its answer")]
    BrokenOff,
    /// Too many other calls were under way for too long.
    #[error("was not asked in time")]
    Crowded,
}

impl Unanswered {
    /// What is said of it.
    pub const fn hint(self) -> Hint {
        match self {
            Self::Unreachable => Hint::Unreachable,
            Self::Tls => Hint::TlsFailed,
            Self::Crowded => Hint::OutOfTime,
            Self::TimedOut | Self::TooLarge | Self::BrokenOff => Hint::ProviderUnavailable,
        }
    }
}

/// What a call carries.
pub enum Body {
    /// Nothing.
    None,
    /// `application/x-www-form-urlencoded`.
    Form(Secret),
    /// `application/json`.
    Json(Secret),
    /// `text/xml`.
    Xml(Secret),
}

/// One call.
pub struct Call<'a> {
    /// GET or POST.
    pub method: Method,
    /// From [`Hosts::url`].
    pub url: Url,
    /// The access token, if there is one yet.
    pub bearer: Option<&'a Secret>,
    /// More header lines. A value that no header can carry is left out.
    pub headers: &'a [(HeaderName, &'a str)],
    /// What it carries.
    pub body: Body,
}

/// An answer, whatever its status.
pub struct Reply {
    /// The status of HTTP.
    pub status: u16,
    headers: HeaderMap,
    body: Secret,
}

impl Reply {
    /// The body: may hold a token, so it is a secret.
    pub fn body(&self) -> &[u8] {
        self.body.expose_secret()
    }

    /// One header as text.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).and_then(|value| value.to_str().ok())
    }

    /// For how many seconds the provider asks to be left alone, if it does (RFC 9110 section 10.2.3:
    /// seconds or a date), between 1 s and an hour.
    pub fn retry_after(&self, now: Timestamp) -> Option<u64> {
        let text = self.header(RETRY_AFTER.as_str())?.trim();
        let seconds = match text.parse::<u64>() {
            Ok(seconds) => seconds,
            Err(_) => {
                let at = OffsetDateTime::parse(text, &Rfc2822).ok()?;
                u64::try_from(at.unix_timestamp().saturating_sub(now.secs())).unwrap_or(0)
            }
        };
        Some(seconds.clamp(1, LONGEST_WAIT))
    }

    /// The ids that stand in the headers.
    pub fn correlation(&self) -> Correlation {
        let id = |name| self.header(name).and_then(CorrelationId::new);
        Correlation {
            trace_id: None,
            correlation_id: id("client-request-id"),
            request_id: id("request-id").or_else(|| id("x-ms-request-id")),
        }
    }
}

/// The client for all providers.
pub struct Outbound {
    client: reqwest::Client,
    hosts: Hosts,
    places: Semaphore,
    /// The places at each host: as many as there are pinned ones.
    at_host: Mutex<BTreeMap<String, Arc<Semaphore>>>,
}

impl Outbound {
    /// A client for these hosts. `authorities` (PEM) replaces the public ones that are built in
    /// (Mozilla's list): for a proxy that opens TLS, and for a stand-in. No redirect is followed, no
    /// cookie kept, and no proxy of the environment used.
    ///
    /// # Errors
    /// The authorities are not certificates.
    pub fn new(hosts: Hosts, authorities: Option<&[u8]>) -> Result<Self, OutboundError> {
        let mut roots = RootCertStore::empty();
        match authorities {
            None => roots.extend(webpki_roots::TLS_SERVER_ROOTS.iter().cloned()),
            Some(pem) => {
                for certificate in CertificateDer::pem_slice_iter(pem) {
                    let der = certificate.map_err(|_| OutboundError::Authorities)?;
                    roots.add(der).map_err(|_| OutboundError::Authorities)?;
                }
            }
        }
        if roots.is_empty() {
            return Err(OutboundError::Authorities);
        }
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let mut tls = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&rustls::version::TLS13, &rustls::version::TLS12])
            .map_err(|_| OutboundError::Tls)?
            .with_root_certificates(roots)
            .with_no_client_auth();
        tls.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        let client = reqwest::Client::builder()
            .tls_backend_preconfigured(tls)
            .https_only(true)
            .no_proxy()
            .redirect(reqwest::redirect::Policy::none())
            .connect_timeout(CONNECT_TIMEOUT)
            .read_timeout(READ_TIMEOUT)
            .pool_idle_timeout(IDLE_TIMEOUT)
            .pool_max_idle_per_host(8)
            .user_agent(concat!("strongroom/", env!("CARGO_PKG_VERSION")))
            .build()
            .map_err(|_| OutboundError::Tls)?;
        Ok(Self {
            client,
            hosts,
            places: Semaphore::new(CALLS_AT_ONCE),
            at_host: Mutex::default(),
        })
    }

    /// The pinned hosts.
    pub const fn hosts(&self) -> &Hosts {
        &self.hosts
    }

    /// How many calls are under way.
    pub fn under_way(&self) -> usize {
        CALLS_AT_ONCE - self.places.available_permits()
    }

    /// Calls once, within this time and 30 s at most, waiting for a place included.
    ///
    /// # Errors
    /// There is no answer. Every status is an answer.
    pub async fn call(&self, call: Call<'_>, within: Duration) -> Result<Reply, Unanswered> {
        let end = Instant::now() + within.min(TOTAL_TIMEOUT);
        // Whoever waits for a host takes no place from the others. No semaphore is ever closed.
        let _at_host = timeout_at(end, self.place_at(&call.url))
            .await
            .map_err(|_| Unanswered::Crowded)?;
        let _place = timeout_at(end, self.places.acquire())
            .await
            .map_err(|_| Unanswered::Crowded)?;
        timeout_at(end, self.send(call))
            .await
            .unwrap_or(Err(Unanswered::TimedOut))
    }

    async fn place_at(&self, url: &Url) -> Result<OwnedSemaphorePermit, AcquireError> {
        let host = url.authority().to_owned();
        let places = {
            let mut hosts = self.at_host.lock().unwrap_or_else(PoisonError::into_inner);
            let places = hosts.entry(host);
            Arc::clone(places.or_insert_with(|| Arc::new(Semaphore::new(CALLS_AT_ONE_HOST))))
        };
        places.acquire_owned().await
    }

    async fn send(&self, call: Call<'_>) -> Result<Reply, Unanswered> {
        let mut request = self
            .client
            .request(call.method, call.url)
            .header(ACCEPT_ENCODING, "identity");
        if let Some(token) = call.bearer {
            request = request.header(AUTHORIZATION, bearer(token).ok_or(Unanswered::BrokenOff)?);
        }
        for (name, value) in call.headers {
            if let Ok(value) = HeaderValue::from_str(value) {
                request = request.header(name, value);
            }
        }
        request = match call.body {
            Body::None => request,
            Body::Form(body) => typed(request, "application/x-www-form-urlencoded", body),
            Body::Json(body) => typed(request, "application/json", body),
            Body::Xml(body) => typed(request, "text/xml; charset=utf-8", body),
        };
        let mut response = request.send().await.map_err(|error| unanswered(&error))?;
        let status = response.status().as_u16();
        let headers = std::mem::take(response.headers_mut());
        let mut body = Vec::with_capacity(8 * 1024);
        while let Some(piece) = response.chunk().await.map_err(|error| unanswered(&error))? {
            if body.len() + piece.len() > LARGEST_ANSWER {
                return Err(Unanswered::TooLarge);
            }
            body.extend_from_slice(&piece);
        }
        Ok(Reply {
            status,
            headers,
            body: Secret::new(body),
        })
    }
}

fn bearer(token: &Secret) -> Option<HeaderValue> {
    let text = [b"Bearer ".as_slice(), token.expose_secret()].concat();
    let mut value = HeaderValue::from_maybe_shared(bytes::Bytes::from(text)).ok()?;
    value.set_sensitive(true);
    Some(value)
}

fn typed(
    request: reqwest::RequestBuilder,
    media: &'static str,
    body: Secret,
) -> reqwest::RequestBuilder {
    request.header(CONTENT_TYPE, media).body(body.into_bytes())
}

fn unanswered(error: &reqwest::Error) -> Unanswered {
    if is_of_tls(error) {
        Unanswered::Tls
    } else if error.is_timeout() {
        Unanswered::TimedOut
    } else if error.is_connect() {
        Unanswered::Unreachable
    } else {
        Unanswered::BrokenOff
    }
}

fn is_of_tls(error: &(dyn Error + 'static)) -> bool {
    if error.is::<rustls::Error>() {
        return true;
    }
    // The source of an I/O error is that of the error inside it, which would be left out.
    let inner = error
        .downcast_ref::<io::Error>()
        .and_then(io::Error::get_ref)
        .is_some_and(|inner| is_of_tls(inner));
    inner || error.source().is_some_and(is_of_tls)
}

/// A form body, in memory that is sized once: growing would leave copies of a secret behind.
pub(super) fn form(pairs: &[(&str, &[u8])]) -> Secret {
    const HEX: &[u8; 16] = b"0123456789ABCDEF";
    let most: usize = pairs
        .iter()
        .map(|(name, value)| name.len() + 3 * value.len() + 2)
        .sum();
    let mut body = Vec::with_capacity(most);
    for (name, value) in pairs {
        if !body.is_empty() {
            body.push(b'&');
        }
        body.extend_from_slice(name.as_bytes());
        body.push(b'=');
        for byte in *value {
            if byte.is_ascii_alphanumeric() || b"-._*".contains(byte) {
                body.push(*byte);
            } else {
                let (high, low) = (usize::from(byte >> 4), usize::from(byte & 15));
                body.extend_from_slice(&[b'%', HEX[high], HEX[low]]);
            }
        }
    }
    Secret::new(body)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reply(retry_after: &str) -> Reply {
        let mut headers = HeaderMap::new();
        headers.insert(RETRY_AFTER, HeaderValue::from_str(retry_after).unwrap());
        headers.insert("request-id", HeaderValue::from_static("abc-1"));
        headers.insert("client-request-id", HeaderValue::from_static("not an id"));
        Reply {
            status: 429,
            headers,
            body: Secret::new(Vec::new()),
        }
    }

    #[test]
    fn a_wait_is_seconds_or_a_date_and_bounded() {
        let now: Timestamp = "2026-11-22T10:00:00Z".parse().unwrap();
        for (text, seconds) in [
            ("60", Some(60)),
            (" 7 ", Some(7)),
            ("0", Some(1)),
            ("999999", Some(3600)),
            ("Sun, 22 Nov 2026 10:02:00 GMT", Some(120)),
            ("Sun, 22 Nov 2026 09:00:00 GMT", Some(1)),
            ("soon", None),
            ("-1", None),
        ] {
            assert_eq!(reply(text).retry_after(now), seconds, "{text}");
        }
    }

    #[test]
    fn ids_come_from_the_headers_if_they_look_like_ids() {
        let correlation = reply("1").correlation();
        assert_eq!(correlation.request_id, CorrelationId::new("abc-1"));
        assert_eq!(correlation.correlation_id, None);
    }

    #[test]
    fn a_form_is_escaped() {
        let body = form(&[
            ("client_secret", "a~b+c d&e=\u{e4}%".as_bytes()),
            ("x", b"1"),
        ]);
        assert_eq!(
            body.expose_secret(),
            b"client_secret=a%7Eb%2Bc%20d%26e%3D%C3%A4%25&x=1"
        );
    }

    #[tokio::test]
    async fn a_host_that_is_full_leaves_the_others_their_places() {
        let hosts = Hosts::of(super::super::hosts::Cloud::Global);
        let outbound = Outbound::new(hosts, None).unwrap();
        let full: Url = "https://graph.microsoft.com/a".parse().unwrap();
        let mut places = Vec::new();
        for _ in 0..CALLS_AT_ONE_HOST {
            places.push(outbound.place_at(&full).await.unwrap());
        }
        let now = Duration::from_millis(1);
        let more = tokio::time::timeout(now, outbound.place_at(&full)).await;
        assert!(more.is_err(), "one more than there may be");
        assert_eq!(
            outbound.under_way(),
            0,
            "who waits there takes no place here"
        );
        let other: Url = "https://oauth2.googleapis.com/token".parse().unwrap();
        assert!(outbound.place_at(&other).await.is_ok());
        places.pop();
        assert!(outbound.place_at(&full).await.is_ok());
    }

    #[test]
    fn authorities_must_be_certificates() {
        let hosts = || Hosts::of(super::super::hosts::Cloud::Global);
        assert!(Outbound::new(hosts(), None).is_ok());
        for pem in [
            &b""[..],
            b"nonsense",
            b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
        ] {
            assert!(Outbound::new(hosts(), Some(pem)).is_err());
        }
    }
}
