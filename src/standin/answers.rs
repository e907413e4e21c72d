//! Answers in the forms that the providers give them.

use axum::body::Body;
use axum::http::{HeaderName, HeaderValue, Response, StatusCode, header};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::Shared;
use crate::providers::uuid;

/// Where a call arrives.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Place {
    /// Entra's discovery document.
    Discovery,
    /// Entra's token endpoint.
    Token,
    /// Exchange Web Services.
    Ews,
    /// Microsoft Graph.
    Graph,
    /// Google's token endpoint.
    GoogleToken,
    /// Google's People API.
    People,
    /// Google's Calendar API.
    Calendar,
}

/// An answer that comes whatever is registered.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Forced {
    /// Where.
    pub at: Place,
    /// For how many calls.
    pub times: u32,
    /// Which.
    pub answer: Answer,
}

/// An answer.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Answer {
    /// 429 with this `Retry-After`, and a body that is not JSON.
    Throttled(u64),
    /// 503, with `Retry-After` if given.
    Unavailable(Option<u64>),
    /// A refusal of Entra with this number.
    Aadsts(u32),
    /// A fault of SOAP with this code, and `BackOffMilliseconds` if given.
    Fault(String, Option<u64>),
    /// HTTP 200 with an error of this code inside ("item-level error").
    ItemError(String),
    /// An error of Graph: status and code.
    Graph(u16, String),
    /// An error of Google's token endpoint: status, error and description.
    Google(u16, String, String),
    /// An error of another interface of Google: status, `status` and reason.
    GoogleApi(u16, String, String),
    /// Anything: status, headers, body.
    Raw(u16, Vec<(String, String)>, String),
}

/// Status and `error` of Entra's refusals. Where nobody has seen them, the most likely ones.
pub(super) const fn aadsts(number: u32) -> (u16, &'static str, &'static str) {
    match number {
        7_000_215 => (
            401,
            "invalid_client",
            "Invalid client secret provided. Ensure the secret being sent in the request is the \
             client secret value, not the client secret ID.",
        ),
        7_000_222 => (
            401,
            "invalid_client",
            "The provided client secret keys are expired.",
        ),
        700_016 => (
            400,
            "unauthorized_client",
            "Application was not found in the directory.",
        ),
        90_002 => (400, "invalid_request", "Tenant not found."),
        900_023 => (
            400,
            "invalid_request",
            "Specified tenant identifier is neither a valid DNS name, nor a valid external domain.",
        ),
        90_038 | 900_382 => (400, "invalid_request", "Tenant belongs to another cloud."),
        7_000_112 | 70_001 => (400, "unauthorized_client", "Application is disabled."),
        7_000_216 => (
            400,
            "invalid_request",
            "'client_assertion', 'client_secret' or 'request' is required for the \
             'client_credentials' grant type.",
        ),
        7_000_218 => (
            401,
            "invalid_client",
            "The request body must contain 'client_assertion' or 'client_secret'.",
        ),
        700_025 => (401, "invalid_client", "Client is public."),
        700_027 => (
            401,
            "invalid_client",
            "Client assertion failed signature validation. [Reason - The key was not found.]",
        ),
        50_012 | 50_048 | 500_133 | 700_030 => {
            (401, "invalid_client", "Client assertion is not accepted.")
        }
        53_003 | 530_032 => (400, "access_denied", "Blocked by Conditional Access."),
        500_011 | 650_052 | 650_057 => (400, "invalid_resource", "Resource was not found."),
        65_001 | 650_056 => (400, "invalid_grant", "Consent is missing."),
        50_034 => (400, "invalid_grant", "User account does not exist."),
        70_011 | 1_002_012 | 700_022 | 28_002 => (400, "invalid_scope", "Scope is not valid."),
        90_033 | 90_006 | 90_024 | 50_033 | 90_012 | 90_090 => (
            400,
            "temporarily_unavailable",
            "A transient error has occurred. Please try again.",
        ),
        90_055 | 50_196 => (400, "invalid_request", "Too many requests."),
        _ => (400, "invalid_client", "Something that nobody has seen yet."),
    }
}

impl Shared {
    /// A random id of a call.
    pub(super) fn id(&self) -> String {
        uuid(self.random.as_ref()).unwrap_or_default()
    }

    pub(super) fn forced(&self, answer: Answer) -> Response<Body> {
        match answer {
            Answer::Throttled(seconds) => {
                let mut response = text(429, "text/plain", "Too Many Requests".to_owned());
                put(&mut response, "retry-after", &seconds.to_string());
                response
            }
            Answer::Unavailable(seconds) => {
                let mut response =
                    text(503, "text/html", "<h1>Service Unavailable</h1>".to_owned());
                if let Some(seconds) = seconds {
                    put(&mut response, "retry-after", &seconds.to_string());
                }
                response
            }
            Answer::Aadsts(number) => self.aadsts(number, ""),
            Answer::Fault(code, back_off) => self.fault(&code, "Refused.", back_off),
            Answer::ItemError(code) => self.item_error("FindItem", &code),
            Answer::Graph(status, code) => self.graph_error(status, &code),
            Answer::Google(status, error, description) => {
                google_error(status, &error, &description)
            }
            Answer::GoogleApi(status, word, reason) => google_api_error(status, &word, &reason),
            Answer::Raw(status, headers, body) => {
                let mut response = text(status, "text/plain", body);
                for (name, value) in headers {
                    put(&mut response, &name, &value);
                }
                response
            }
        }
    }

    /// A refusal of Entra. `echo` is what the description repeats, as the real one has been seen to do.
    pub(super) fn aadsts(&self, number: u32, echo: &str) -> Response<Body> {
        let (status, error, words) = aadsts(number);
        let (trace, correlation) = (self.id(), self.id());
        let now = self.clock.now();
        json_of(
            status,
            &json!({
                "error": error,
                "error_description": format!(
                    "AADSTS{number}: {words} {echo}\r\nTrace ID: {trace}\r\n\
                     Correlation ID: {correlation}\r\nTimestamp: {now}"
                ),
                "error_codes": [number],
                "timestamp": now.to_string(),
                "trace_id": trace,
                "correlation_id": correlation,
                "error_uri": format!("https://login.microsoftonline.com/error?code={number}"),
            }),
        )
    }

    /// A fault of SOAP: HTTP 500.
    pub(super) fn fault(&self, code: &str, words: &str, back_off: Option<u64>) -> Response<Body> {
        let details = back_off.map_or_else(String::new, |millis| {
            format!(
                r#"<t:MessageXml xmlns:t="http://schemas.microsoft.com/exchange/services/2006/types"><t:Value Name="BackOffMilliseconds">{millis}</t:Value></t:MessageXml>"#
            )
        });
        let body = format!(
            r#"<?xml version="1.0" encoding="utf-8"?><s:Envelope xmlns:s="http://schemas.xmlsoap.org/soap/envelope/"><s:Body><s:Fault><faultcode xmlns:a="http://schemas.microsoft.com/exchange/services/2006/types">a:{code}</faultcode><faultstring xml:lang="en-US">{words}</faultstring><detail><e:ResponseCode xmlns:e="http://schemas.microsoft.com/exchange/services/2006/errors">{code}</e:ResponseCode><e:Message xmlns:e="http://schemas.microsoft.com/exchange/services/2006/errors">{words}</e:Message>{details}</detail></s:Fault></s:Body></s:Envelope>"#
        );
        self.soap(500, body)
    }

    /// An error inside an answer of HTTP 200.
    pub(super) fn item_error(&self, operation: &str, code: &str) -> Response<Body> {
        self.soap(
            200,
            envelope(&format!(
                r#"<m:{operation}Response><m:ResponseMessages><m:{operation}ResponseMessage ResponseClass="Error"><m:MessageText>Refused.</m:MessageText><m:ResponseCode>{code}</m:ResponseCode><m:DescriptiveLinkKey>0</m:DescriptiveLinkKey></m:{operation}ResponseMessage></m:ResponseMessages></m:{operation}Response>"#
            )),
        )
    }

    pub(super) fn soap(&self, status: u16, body: String) -> Response<Body> {
        let mut response = text(status, "text/xml; charset=utf-8", body);
        put(&mut response, "request-id", &self.id());
        response
    }

    pub(super) fn graph_error(&self, status: u16, code: &str) -> Response<Body> {
        let id = self.id();
        let mut response = json_of(
            status,
            &json!({"error": {
                "code": code,
                "message": "Refused.",
                "innerError": {"date": self.clock.now().to_string(), "request-id": id, "client-request-id": id},
            }}),
        );
        put(&mut response, "request-id", &id);
        response
    }
}

/// An envelope with the header that Exchange sends.
pub(super) fn envelope(body: &str) -> String {
    format!(
        r#"<?xml version="1.0" encoding="utf-8"?><s:Envelope xmlns:s="http://schemas.xmlsoap.org/soap/envelope/"><s:Header><h:ServerVersionInfo MajorVersion="15" MinorVersion="20" MajorBuildNumber="9000" MinorBuildNumber="10" Version="V2018_01_08" xmlns:h="http://schemas.microsoft.com/exchange/services/2006/types"/></s:Header><s:Body xmlns:m="http://schemas.microsoft.com/exchange/services/2006/messages" xmlns:t="http://schemas.microsoft.com/exchange/services/2006/types">{body}</s:Body></s:Envelope>"#
    )
}

/// An error of Google's token endpoint.
pub(super) fn google_error(status: u16, error: &str, description: &str) -> Response<Body> {
    json_of(
        status,
        &json!({"error": error, "error_description": description}),
    )
}

/// An error of another interface of Google.
pub(super) fn google_api_error(status: u16, word: &str, reason: &str) -> Response<Body> {
    json_of(
        status,
        &json!({"error": {
            "code": status,
            "message": "Refused.",
            "status": word,
            "errors": [{"domain": "global", "reason": reason, "message": "Refused."}],
            "details": [{"@type": "type.googleapis.com/google.rpc.ErrorInfo", "reason": reason}],
        }}),
    )
}

pub(super) fn json_of(status: u16, body: &Value) -> Response<Body> {
    text(status, "application/json; charset=utf-8", body.to_string())
}

pub(super) fn text(status: u16, media: &'static str, body: String) -> Response<Body> {
    let mut response = Response::new(Body::from(body));
    *response.status_mut() = StatusCode::from_u16(status).unwrap_or(StatusCode::OK);
    let media = HeaderValue::from_static(media);
    response.headers_mut().insert(header::CONTENT_TYPE, media);
    response
}

/// Adds a header; one that cannot be is left out.
pub(super) fn put(response: &mut Response<Body>, name: &str, value: &str) {
    if let (Ok(name), Ok(value)) = (name.parse::<HeaderName>(), HeaderValue::from_str(value)) {
        response.headers_mut().insert(name, value);
    }
}
