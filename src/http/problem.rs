//! Errors as problem documents (RFC 9457): one stable `type` per code, never any received text.

use std::borrow::Cow;

use axum::{
    body::Body,
    http::{HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use serde::{Deserialize, Serialize};

use crate::model::RequestId;

/// What the `type` of every problem of this service begins with, before the code.
pub const TYPE_PREFIX: &str = "urn:strongroom:problem:";

/// The media type of a problem document.
pub const MEDIA_TYPE: &str = "application/problem+json";

macro_rules! codes {
    ($($(#[$doc:meta])* $name:ident = $code:literal, $status:ident, $title:literal;)+) => {
        /// The codes that a problem's `type` ends with.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum ProblemCode { $($(#[$doc])* $name,)+ }

        impl ProblemCode {
            /// Every code.
            pub const ALL: &'static [Self] = &[$(Self::$name),+];

            /// The code's own word.
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$name => $code,)+ }
            }

            /// The status that answers carry with it.
            pub const fn status(self) -> StatusCode {
                match self { $(Self::$name => StatusCode::$status,)+ }
            }

            /// A short sentence that is the same for every problem of this code.
            pub const fn title(self) -> &'static str {
                match self { $(Self::$name => $title,)+ }
            }

            const fn type_uri(self) -> &'static str {
                match self { $(Self::$name => concat!("urn:strongroom:problem:", $code),)+ }
            }
        }
    };
}

codes! {
    /// Nobody was proven to be calling. One body for every reason.
    Unauthenticated = "unauthenticated", UNAUTHORIZED, "Authentication is needed";
    /// The caller is known and may not do this.
    Forbidden = "forbidden", FORBIDDEN, "This is not allowed";
    /// There is nothing here, or nothing that the caller may know of.
    NotFound = "not-found", NOT_FOUND, "There is nothing here";
    /// The path exists and does not know this method.
    MethodNotAllowed = "method-not-allowed", METHOD_NOT_ALLOWED, "The path does not know this method";
    /// The request contradicts what is stored.
    Conflict = "conflict", CONFLICT, "The request contradicts what is stored";
    /// `If-Match` named another revision.
    PreconditionFailed = "precondition-failed", PRECONDITION_FAILED, "It was changed meanwhile";
    /// The body is longer than the route takes.
    TooLarge = "too-large", PAYLOAD_TOO_LARGE, "The body is too large";
    /// The body's media type is not the one that the route takes.
    UnsupportedMediaType = "unsupported-media-type", UNSUPPORTED_MEDIA_TYPE, "The media type is not supported";
    /// The request cannot be read.
    Malformed = "malformed", BAD_REQUEST, "The request cannot be read";
    /// The request can be read and breaks a rule.
    Invalid = "invalid", UNPROCESSABLE_ENTITY, "The request breaks a rule";
    /// `If-Match` is missing.
    PreconditionRequired = "precondition-required", PRECONDITION_REQUIRED, "A revision is needed";
    /// Too many failed calls from one address.
    TooManyRequests = "too-many-requests", TOO_MANY_REQUESTS, "Too many failed calls";
    /// The request's headers are longer than is taken.
    HeadersTooLarge = "headers-too-large", REQUEST_HEADER_FIELDS_TOO_LARGE, "The headers are too large";
    /// A fault of the service.
    Internal = "internal", INTERNAL_SERVER_ERROR, "The service failed";
    /// The service cannot do this now.
    Unavailable = "unavailable", SERVICE_UNAVAILABLE, "Not possible at the moment";
    /// Nothing is released after a restore until an operator says so.
    Frozen = "frozen", SERVICE_UNAVAILABLE, "Nothing is released at the moment";
    /// No representation that the route has is acceptable to the caller.
    NotAcceptable = "not-acceptable", NOT_ACCEPTABLE, "No acceptable representation";
}

/// One field of a request and the rule that it breaks.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct FieldError {
    /// The field's path, such as `contacts[2].email`. A name that the caller chose is shown as `*`.
    pub field: String,
    /// The rule, in words that follow on the field's name.
    #[schema(value_type = String)]
    pub rule: Cow<'static, str>,
}

impl FieldError {
    /// The field at `field` breaks `rule`. Neither may hold received text.
    pub fn new(field: impl Into<String>, rule: impl Into<Cow<'static, str>>) -> Self {
        Self {
            field: field.into(),
            rule: rule.into(),
        }
    }
}

/// A problem document (RFC 9457). Its texts are ours: none may hold received text or a secret.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Problem {
    /// `urn:strongroom:problem:` and the code: what a program should look at.
    #[serde(rename = "type")]
    #[schema(value_type = String, example = "urn:strongroom:problem:not-found")]
    pub kind: Cow<'static, str>,
    /// A short sentence, the same for every problem of this type.
    #[schema(value_type = String)]
    pub title: Cow<'static, str>,
    /// The HTTP status, once more.
    pub status: u16,
    /// What to do about this one.
    #[schema(value_type = String)]
    pub detail: Cow<'static, str>,
    /// The request that it happened in, as the log knows it. Boxed to keep results small.
    #[schema(value_type = Option<RequestId>)]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request_id: Option<Box<RequestId>>,
    /// The fields that break a rule, where fields are the problem.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub errors: Vec<FieldError>,
}

/// A result whose error is answered as a problem document.
pub type Answer<T> = Result<T, Problem>;

impl Problem {
    /// A problem of `code`; `detail` says what to do and holds no received text.
    pub fn new(code: ProblemCode, detail: impl Into<Cow<'static, str>>) -> Self {
        Self {
            kind: Cow::Borrowed(code.type_uri()),
            title: Cow::Borrowed(code.title()),
            status: code.status().as_u16(),
            detail: detail.into(),
            request_id: None,
            errors: Vec::new(),
        }
    }

    /// The code, or `None` for a type that this version does not know.
    pub fn code(&self) -> Option<ProblemCode> {
        let word = self.kind.strip_prefix(TYPE_PREFIX)?;
        ProblemCode::ALL
            .iter()
            .copied()
            .find(|code| code.as_str() == word)
    }

    /// The same problem with these fields named.
    #[must_use]
    pub fn with_errors(mut self, errors: Vec<FieldError>) -> Self {
        self.errors = errors;
        self
    }

    /// 401. Takes nothing, so that every reason gives the same body.
    pub fn unauthenticated() -> Self {
        Self::new(
            ProblemCode::Unauthenticated,
            "Prove who you are, with a client certificate or a fresh assertion signed by a registered key.",
        )
    }

    /// 403 for a known caller.
    pub fn forbidden(detail: impl Into<Cow<'static, str>>) -> Self {
        Self::new(ProblemCode::Forbidden, detail)
    }

    /// 503 while the deployment is frozen.
    pub fn frozen() -> Self {
        Self::new(
            ProblemCode::Frozen,
            "The deployment was restored, or put back to an earlier state. Go on with what you have; \
             an operator of tech-ops ends this with `strongroom deployment thaw`.",
        )
    }

    /// 404, the same for "not there" and "not for you".
    pub fn not_found() -> Self {
        Self::new(
            ProblemCode::NotFound,
            "Check the path and the identifiers in it, and that your roles and environment reach it.",
        )
    }

    /// 405.
    pub fn method_not_allowed() -> Self {
        Self::new(
            ProblemCode::MethodNotAllowed,
            "Use one of the methods that the Allow header lists.",
        )
    }

    /// 409.
    pub fn conflict(detail: impl Into<Cow<'static, str>>) -> Self {
        Self::new(ProblemCode::Conflict, detail)
    }

    /// 412.
    pub fn precondition_failed() -> Self {
        Self::new(
            ProblemCode::PreconditionFailed,
            "Read it again, decide anew, and send its current revision in If-Match.",
        )
    }

    /// 413 for a body of more than `limit` bytes.
    pub fn too_large(limit: usize) -> Self {
        Self::new(
            ProblemCode::TooLarge,
            format!("Send at most {limit} bytes."),
        )
    }

    /// 415.
    pub fn unsupported_media_type(detail: impl Into<Cow<'static, str>>) -> Self {
        Self::new(ProblemCode::UnsupportedMediaType, detail)
    }

    /// 400.
    pub fn malformed(detail: impl Into<Cow<'static, str>>) -> Self {
        Self::new(ProblemCode::Malformed, detail)
    }

    /// 422 with the fields that break a rule.
    pub fn invalid(errors: Vec<FieldError>) -> Self {
        Self::new(
            ProblemCode::Invalid,
            "Correct the fields listed under errors and send the request again.",
        )
        .with_errors(errors)
    }

    /// 428.
    pub fn precondition_required() -> Self {
        Self::new(
            ProblemCode::PreconditionRequired,
            "Read it first and send its revision, as in If-Match: \"7\".",
        )
    }

    /// 429.
    pub fn too_many_requests() -> Self {
        Self::new(
            ProblemCode::TooManyRequests,
            "Wait, then call again with valid authentication.",
        )
    }

    /// 431.
    pub fn headers_too_large() -> Self {
        Self::new(
            ProblemCode::HeadersTooLarge,
            "Send fewer or shorter headers.",
        )
    }

    /// 500. Takes nothing: what went wrong is for the log, under the request id.
    pub fn internal() -> Self {
        Self::new(
            ProblemCode::Internal,
            "Nothing was released. Give the request id to whoever runs the service.",
        )
    }

    /// 503.
    pub fn unavailable() -> Self {
        Self::new(
            ProblemCode::Unavailable,
            "The service cannot do this safely now. Call again later.",
        )
    }

    /// 503, after a change was handed on.
    pub fn outcome_unknown() -> Self {
        Self::new(
            ProblemCode::Unavailable,
            "The database does not answer, so it is not known whether this was done. Read what is \
             there before trying again.",
        )
    }

    /// 406.
    pub fn not_acceptable(detail: impl Into<Cow<'static, str>>) -> Self {
        Self::new(ProblemCode::NotAcceptable, detail)
    }

    pub(super) fn body(&self) -> Body {
        // Unwrap safety: strings, numbers and lists of strings always serialise; were it ever to
        // fail, an empty body under the right status is still a correct answer.
        Body::from(serde_json::to_vec(self).unwrap_or_default())
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let status = StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let mut response = Response::new(self.body());
        *response.status_mut() = status;
        let headers = response.headers_mut();
        headers.insert(
            header::CONTENT_TYPE,
            HeaderValue::from_static("application/problem+json"),
        );
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        match status {
            StatusCode::UNAUTHORIZED => {
                headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
            }
            StatusCode::SERVICE_UNAVAILABLE | StatusCode::TOO_MANY_REQUESTS => {
                headers.insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
            }
            _ => {}
        }
        // Whatever surrounds the request adds its id and renders once more.
        response.extensions_mut().insert(self);
        response
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_problem_reads_back_as_it_was_written() {
        for code in ProblemCode::ALL {
            let problem =
                Problem::new(*code, "detail").with_errors(vec![FieldError::new("a[1].b", "rule")]);
            let text = serde_json::to_string(&problem).unwrap();
            let back: Problem = serde_json::from_str(&text).unwrap();
            assert_eq!(back, problem);
            assert_eq!(back.code(), Some(*code));
            assert!(code.type_uri().starts_with(TYPE_PREFIX));
            assert!(code.type_uri().ends_with(code.as_str()));
        }
    }

    #[test]
    fn a_type_from_a_later_version_is_still_readable() {
        let text = r#"{"type":"urn:strongroom:problem:later","title":"t","status":418,"detail":"d","more":1}"#;
        let problem: Problem = serde_json::from_str(text).unwrap();
        assert_eq!(problem.code(), None);
        assert_eq!(problem.status, 418);
    }

    #[test]
    fn answers_carry_the_headers_of_their_status() {
        let response = Problem::unauthenticated().into_response();
        assert_eq!(response.headers()[header::WWW_AUTHENTICATE], "Bearer");
        assert_eq!(response.headers()[header::CACHE_CONTROL], "no-store");
        let response = Problem::unavailable().into_response();
        assert_eq!(response.headers()[header::RETRY_AFTER], "1");
    }
}
