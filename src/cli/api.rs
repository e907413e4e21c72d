//! The client of the HTTP API.

mod failure;

use std::{
    io::Write,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use reqwest::{
    Method, Response, StatusCode, Url,
    header::{
        ACCEPT, AUTHORIZATION, CONTENT_TYPE, HeaderMap, HeaderValue, IF_MATCH, IF_NONE_MATCH,
    },
};
use rustls::{ClientConfig, RootCertStore, client::Resumption};
use serde_json::Value;

use self::failure::causes;
use super::{
    authenticator::Authenticator,
    error::{CliError, Problem},
    trust::{self, Trust},
    wiping::WipingBuffer,
};

/// How long a connection may take to come up.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// How long the server may be silent within an answer.
const READ_TIMEOUT: Duration = Duration::from_secs(60);
/// The largest answer that is kept in memory, in bytes.
const LARGEST_ANSWER: usize = 256 * 1024 * 1024;
/// The largest problem document that is read, in bytes.
const LARGEST_PROBLEM: usize = 64 * 1024;
/// How many items a page of a list has.
const PAGE: usize = 500;

/// Pairs of a query; an absent value leaves its pair out.
pub type Query<'a> = &'a [(&'a str, Option<String>)];

/// A connection to one server, as one principal.
pub struct Api {
    client: reqwest::Client,
    base: Url,
    authenticator: Box<dyn Authenticator>,
    answered: AtomicBool,
}

/// A release as it came.
pub struct Released {
    /// The document, whole.
    pub body: WipingBuffer,
    /// Its ETag.
    pub etag: Option<String>,
    /// The checkpoint of the audit log that came with it, base64.
    pub checkpoint: Option<String>,
}

/// The answer to a request for a release.
pub enum ReleaseReply {
    /// The values.
    Whole(Released),
    /// What the condition named is still what the server would give.
    Unchanged {
        /// The checkpoint that came with the answer, base64.
        checkpoint: Option<String>,
    },
}

/// One request.
struct Request<'a> {
    method: Method,
    path: &'a [&'a str],
    query: Query<'a>,
    body: Option<Bytes>,
    revision: Option<u64>,
    accept: &'static str,
    if_none_match: Option<&'a str>,
}

impl<'a> Request<'a> {
    fn new(method: Method, path: &'a [&'a str]) -> Self {
        Self {
            method,
            path,
            query: &[],
            body: None,
            revision: None,
            accept: "application/json",
            if_none_match: None,
        }
    }
}

impl Api {
    /// A client of the server at `url` (an https origin), which must show a certificate of one of
    /// the authorities in `authorities` (PEM). No other authority, no proxy and no redirect is
    /// followed: each could see or divert what is asked for.
    ///
    /// # Errors
    /// The URL, the authorities or the caller's own certificate cannot be used.
    pub fn new(
        url: &str,
        authorities: &[u8],
        authenticator: Box<dyn Authenticator>,
    ) -> Result<Self, CliError> {
        Self::with_trust(url, Trust::Authorities(authorities), authenticator)
    }

    /// As [`Self::new`], with another way to know the server.
    ///
    /// # Errors
    /// As [`Self::new`].
    pub fn with_trust(
        url: &str,
        trust: Trust<'_>,
        authenticator: Box<dyn Authenticator>,
    ) -> Result<Self, CliError> {
        let base = crate::config::https_origin(url)
            .and_then(|origin| Url::parse(&origin).ok())
            .ok_or_else(|| {
                CliError::local(
                    "the URL must be https:// and a host, with a port if needed, and no path, \
                     such as https://strongroom.example.com:8200",
                )
            })?;
        let tls = tls_config(trust, authenticator.as_ref())?;
        let client = reqwest::Client::builder()
            .tls_backend_preconfigured(tls)
            .https_only(true)
            .no_proxy()
            .redirect(reqwest::redirect::Policy::none())
            .connect_timeout(CONNECT_TIMEOUT)
            .read_timeout(READ_TIMEOUT)
            .user_agent(concat!("strongroom/", env!("CARGO_PKG_VERSION")))
            .build()
            .map_err(|error| CliError::local(format!("cannot set up TLS: {}", causes(&error))))?;
        Ok(Self {
            client,
            base,
            authenticator,
            answered: AtomicBool::new(false),
        })
    }

    /// Reads one resource.
    ///
    /// # Errors
    /// The server said no, or the answer cannot be used.
    pub async fn get(&self, path: &[&str], query: Query<'_>) -> Result<Value, CliError> {
        let mut request = Request::new(Method::GET, path);
        request.query = query;
        json(&read_all(self.send(request).await?).await?)
    }

    /// Reads a text resource.
    ///
    /// # Errors
    /// The server said no, or the answer is not UTF-8.
    pub async fn get_text(&self, path: &[&str], query: Query<'_>) -> Result<String, CliError> {
        let mut request = Request::new(Method::GET, path);
        request.query = query;
        request.accept = "text/plain";
        let body = read_all(self.send(request).await?).await?;
        String::from_utf8(body.expose_secret().to_vec())
            .map_err(|_| CliError::local("the answer is not text"))
    }

    /// Reads a list, page after page, up to `limit` items.
    ///
    /// # Errors
    /// The server said no, or a page cannot be used.
    pub async fn list(
        &self,
        path: &[&str],
        query: Query<'_>,
        limit: Option<usize>,
    ) -> Result<Vec<Value>, CliError> {
        let limit = limit.unwrap_or(usize::MAX);
        let mut items = Vec::new();
        let mut cursor: Option<String> = None;
        while items.len() < limit {
            let page = PAGE.min(limit - items.len());
            let mut query = query.to_vec();
            query.push(("limit", Some(page.to_string())));
            query.push(("cursor", cursor.clone()));
            let mut answer = self.get(path, &query).await?;
            match answer.get_mut("items").map(Value::take) {
                Some(Value::Array(more)) => items.extend(more),
                _ => return Err(CliError::local("the answer is not a list")),
            }
            match answer.get("next").and_then(Value::as_str) {
                None => break,
                // A cursor that does not move would go round for ever.
                Some(next) if cursor.as_deref() == Some(next) => {
                    return Err(CliError::local("the list does not come to an end"));
                }
                Some(next) => cursor = Some(next.to_owned()),
            }
        }
        items.truncate(limit);
        Ok(items)
    }

    /// The one item of a list whose `id` or whose `name_field` is `wanted`.
    ///
    /// # Errors
    /// The list cannot be read, or has none or several of them.
    pub async fn find(
        &self,
        path: &[&str],
        name_field: &str,
        wanted: &str,
    ) -> Result<Value, CliError> {
        let items = self.list(path, &[], None).await?;
        let mut fitting = items
            .into_iter()
            .filter(|item| item["id"] == wanted || item[name_field] == wanted);
        match (fitting.next(), fitting.next()) {
            (Some(item), None) => Ok(item),
            (None, _) => Err(CliError::local(format!(
                "there is no {wanted}; `list` shows what there is"
            ))),
            (Some(_), Some(_)) => Err(CliError::local(format!(
                "{wanted} names more than one; give the id"
            ))),
        }
    }

    /// Sends a body to be created or acted on.
    ///
    /// # Errors
    /// The server said no, or the answer cannot be used.
    pub async fn post(&self, path: &[&str], body: &Value) -> Result<Value, CliError> {
        let mut buffer = WipingBuffer::default();
        serde_json::to_writer(&mut buffer, body)
            .map_err(|_| CliError::local("the request cannot be written as JSON"))?;
        self.post_secret(path, buffer).await
    }

    /// As [`Self::post`], with a body that holds secrets and is wiped after it was sent.
    ///
    /// # Errors
    /// The server said no, or the answer cannot be used.
    pub async fn post_secret(&self, path: &[&str], body: WipingBuffer) -> Result<Value, CliError> {
        let mut request = Request::new(Method::POST, path);
        request.body = Some(Bytes::from_owner(body));
        json(&read_all(self.send(request).await?).await?)
    }

    /// Puts a body in the place of what is there.
    ///
    /// # Errors
    /// The server said no, or the answer cannot be used.
    pub async fn put(&self, path: &[&str], body: &Value) -> Result<Value, CliError> {
        let mut request = Request::new(Method::PUT, path);
        request.body = Some(Bytes::from(body.to_string()));
        json(&read_all(self.send(request).await?).await?)
    }

    /// A request without a body: `PUT` of a membership, `DELETE`.
    ///
    /// # Errors
    /// The server said no, or the answer cannot be used.
    pub async fn bare(&self, method: Method, path: &[&str]) -> Result<Value, CliError> {
        json(&read_all(self.send(Request::new(method, path)).await?).await?)
    }

    /// Changes a resource: reads its revision at `resource`, then sends `body` to `target` on the
    /// condition that nobody changed it in between.
    ///
    /// # Errors
    /// The server said no, or an answer cannot be used.
    pub async fn change(
        &self,
        method: Method,
        resource: &[&str],
        target: &[&str],
        body: &Value,
    ) -> Result<Value, CliError> {
        let current = self.get(resource, &[]).await?;
        self.change_known(method, &current, target, body).await
    }

    /// As [`Self::change`], for a resource that was just read.
    ///
    /// # Errors
    /// The server said no, or an answer cannot be used.
    pub async fn change_known(
        &self,
        method: Method,
        current: &Value,
        target: &[&str],
        body: &Value,
    ) -> Result<Value, CliError> {
        let revision = current["revision"]
            .as_u64()
            .ok_or_else(|| CliError::local("the answer has no revision"))?;
        let mut request = Request::new(method, target);
        request.body = Some(Bytes::from(body.to_string()));
        request.revision = Some(revision);
        json(&read_all(self.send(request).await?).await?)
    }

    /// Reads a release, on the condition that it is not the one that an ETag names.
    ///
    /// # Errors
    /// The server said no, or the answer ended before its end.
    pub async fn release(
        &self,
        path: &[&str],
        query: Query<'_>,
        if_none_match: Option<&str>,
    ) -> Result<ReleaseReply, CliError> {
        let mut request = Request::new(Method::GET, path);
        request.query = query;
        request.if_none_match = if_none_match;
        let response = self.send(request).await?;
        let checkpoint = header_text(response.headers(), "strongroom-checkpoint");
        if response.status() == StatusCode::NOT_MODIFIED {
            return Ok(ReleaseReply::Unchanged { checkpoint });
        }
        Ok(ReleaseReply::Whole(Released {
            etag: header_text(response.headers(), "etag"),
            checkpoint,
            body: read_all(response).await?,
        }))
    }

    /// The server's address.
    pub fn origin(&self) -> String {
        self.base.origin().ascii_serialization()
    }

    /// Whether the server answered a request, other than that it cannot.
    pub fn was_answered(&self) -> bool {
        self.answered.load(Ordering::Relaxed)
    }

    /// Who is calling, as far as that can be told on this side: see [`Authenticator::caller`].
    ///
    /// # Errors
    /// The certificate cannot be read.
    pub fn caller(&self) -> Result<String, CliError> {
        self.authenticator.caller()
    }

    /// Copies an answer of any length to `out`, and returns how many bytes it had.
    ///
    /// # Errors
    /// The server said no, the answer ended before its end, or `out` cannot be written.
    pub async fn download(
        &self,
        path: &[&str],
        query: Query<'_>,
        accept: &'static str,
        out: &mut dyn Write,
    ) -> Result<u64, CliError> {
        let mut request = Request::new(Method::GET, path);
        request.query = query;
        request.accept = accept;
        self.copy(request, out).await.map(|(bytes, _)| bytes)
    }

    /// The same for the answer to a body that is sent; returns the place of what was made as well,
    /// from the header `Location`.
    ///
    /// # Errors
    /// As [`Self::download`].
    pub async fn download_made(
        &self,
        path: &[&str],
        body: &Value,
        accept: &'static str,
        out: &mut dyn Write,
    ) -> Result<(u64, Option<String>), CliError> {
        let mut request = Request::new(Method::POST, path);
        request.body = Some(Bytes::from(body.to_string()));
        request.accept = accept;
        self.copy(request, out).await
    }

    async fn copy(
        &self,
        request: Request<'_>,
        out: &mut dyn Write,
    ) -> Result<(u64, Option<String>), CliError> {
        let mut response = self.send(request).await?;
        let location = header_text(response.headers(), "location");
        let mut total = 0;
        while let Some(chunk) = response
            .chunk()
            .await
            .map_err(|error| failure::of_reading(&error))?
        {
            out.write_all(&chunk)
                .map_err(|error| CliError::local(format!("cannot write: {error}")))?;
            total += chunk.len() as u64;
        }
        Ok((total, location))
    }

    /// Sends a request and turns everything but success into an error.
    async fn send(&self, request: Request<'_>) -> Result<Response, CliError> {
        let mut url = self.base.clone();
        if let Ok(mut segments) = url.path_segments_mut() {
            segments.extend(["api", "v1"]).extend(request.path);
        }
        let pairs: Vec<(&str, &str)> = request
            .query
            .iter()
            .filter_map(|(name, value)| Some((*name, value.as_deref()?)))
            .collect();
        if !pairs.is_empty() {
            url.query_pairs_mut().extend_pairs(pairs);
        }
        let mut builder = self
            .client
            .request(request.method, url)
            .header(ACCEPT, request.accept);
        if let Some(value) = self.authenticator.authorization()? {
            builder = builder.header(AUTHORIZATION, value);
        }
        if let Some(revision) = request.revision {
            builder = builder.header(IF_MATCH, format!("\"{revision}\""));
        }
        if let Some(etag) = request.if_none_match {
            builder = builder.header(IF_NONE_MATCH, etag);
        }
        if let Some(body) = request.body {
            let json = HeaderValue::from_static("application/json");
            builder = builder.header(CONTENT_TYPE, json).body(body);
        }
        let unchanged = request.if_none_match.is_some();
        let response = builder.send().await;
        let response = response.map_err(|error| failure::of_sending(&self.origin(), &error))?;
        let status = response.status();
        if status < StatusCode::INTERNAL_SERVER_ERROR {
            self.answered.store(true, Ordering::Relaxed);
        }
        if status.is_success() || (unchanged && status == StatusCode::NOT_MODIFIED) {
            Ok(response)
        } else {
            Err(refusal(response).await)
        }
    }
}

fn tls_config(
    trust: Trust<'_>,
    authenticator: &dyn Authenticator,
) -> Result<ClientConfig, CliError> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])
        .map_err(|_| CliError::local("TLS 1.3 is not available"))?;
    let builder = match trust {
        Trust::Authorities(pem) => {
            let mut roots = RootCertStore::empty();
            for authority in trust::authorities(pem)? {
                roots
                    .add(authority)
                    .map_err(|_| CliError::local("--ca is not a PEM file of certificates"))?;
            }
            builder.with_root_certificates(roots)
        }
        Trust::Fingerprints(wanted) => builder.dangerous().with_custom_certificate_verifier(wanted),
    };
    let mut config = match authenticator.tls_identity()? {
        Some((chain, key)) => builder.with_client_auth_cert(chain, key).map_err(|_| {
            CliError::local("the client certificate and its key do not fit, or are of a kind that cannot be used")
        })?,
        None => builder.with_no_client_auth(),
    };
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    config.resumption = Resumption::disabled();
    Ok(config)
}

/// What the server said instead of yes.
async fn refusal(mut response: Response) -> CliError {
    let status = response.status();
    let is_problem = header_text(response.headers(), CONTENT_TYPE.as_str())
        .is_some_and(|kind| kind.starts_with("application/problem+json"));
    let mut body = Vec::new();
    while let Ok(Some(chunk)) = response.chunk().await {
        body.extend_from_slice(&chunk);
        if body.len() > LARGEST_PROBLEM {
            break;
        }
    }
    let mut problem: Problem = is_problem
        .then(|| serde_json::from_slice(&body).ok())
        .flatten()
        .unwrap_or_default();
    problem.status = status.as_u16();
    if problem.title.is_empty() {
        problem.title = status.canonical_reason().unwrap_or_default().to_owned();
    }
    CliError::Refused(Box::new(problem))
}

/// The whole body of an answer. An answer that breaks off is an error, never a short answer.
async fn read_all(mut response: Response) -> Result<WipingBuffer, CliError> {
    let mut body = WipingBuffer::with_capacity(16 * 1024);
    if response.status() == StatusCode::NO_CONTENT {
        return Ok(body);
    }
    while let Some(chunk) = response
        .chunk()
        .await
        .map_err(|error| failure::of_reading(&error))?
    {
        if body.len() + chunk.len() > LARGEST_ANSWER {
            return Err(CliError::local("the answer is too large"));
        }
        body.extend(&chunk);
    }
    Ok(body)
}

/// A body as JSON; no body is `null`. The parser's message could quote the answer, so it is not
/// shown.
fn json(body: &WipingBuffer) -> Result<Value, CliError> {
    if body.is_empty() {
        return Ok(Value::Null);
    }
    serde_json::from_slice(body.expose_secret())
        .map_err(|_| CliError::local("the answer is not JSON"))
}

fn header_text(headers: &HeaderMap, name: &str) -> Option<String> {
    Some(headers.get(name)?.to_str().ok()?.to_owned())
}

#[cfg(test)]
mod tests;
