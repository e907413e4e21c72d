//! Reading requests strictly: bodies, query strings, identifiers in paths, and revisions.
//!
//! Every rejection is a problem document that says what to do and holds none of the received text.

use std::time::Duration;

use axum::{
    body::Body,
    extract::{FromRequest, FromRequestParts, Path, Query, Request},
    http::{HeaderMap, header, request::Parts},
};
use http_body_util::BodyExt as _;
use hyper::body::Body as _;
use serde::{Deserialize, de::DeserializeOwned};
use utoipa::IntoParams;
use utoipa::openapi::path::{Parameter, ParameterBuilder, ParameterIn};
use utoipa::openapi::schema::Type;
use utoipa::openapi::{ObjectBuilder, Required};
use zeroize::Zeroizing;

use super::{
    problem::Problem,
    shape::{self, JsonError},
};

/// How many bytes a body may have unless a route says otherwise.
pub const BODY_LIMIT: usize = 256 * 1024;

/// How long a body may take to arrive.
const BODY_TIMEOUT: Duration = Duration::from_secs(30);

/// How many items a page of a list may have, and has unless asked otherwise.
const PAGE_MAX: u16 = 500;
const PAGE_DEFAULT: u16 = 100;
const CURSOR_MAX: usize = 512;

/// A JSON body of exactly the shape of `T`, of at most `LIMIT` bytes.
///
/// Refused: another media type or a content coding (415), more bytes (413, also when the length is
/// not announced), text that is not JSON, is nested too deeply or repeats a name (400), and any
/// difference from the type, an unknown field included (422).
pub struct StrictJson<T, const LIMIT: usize = BODY_LIMIT>(pub T);

impl<T, S, const LIMIT: usize> FromRequest<S> for StrictJson<T, LIMIT>
where
    T: DeserializeOwned,
    S: Send + Sync,
{
    type Rejection = Problem;

    async fn from_request(request: Request, _: &S) -> Result<Self, Problem> {
        if !is_json(request.headers()) {
            return Err(Problem::unsupported_media_type(
                "Send one JSON document with Content-Type: application/json and no content coding.",
            ));
        }
        let text = read_body(request.into_body(), LIMIT).await?;
        shape::from_json(&text)
            .map(Self)
            .map_err(|error| match error {
                JsonError::Syntax(error) => Problem::malformed(error.to_string()),
                JsonError::Shape(error) => Problem::invalid(vec![error.into_field_error("(body)")]),
            })
    }
}

fn is_json(headers: &HeaderMap) -> bool {
    let plain = headers
        .get(header::CONTENT_ENCODING)
        .is_none_or(|coding| coding == "identity");
    let mut types = headers.get_all(header::CONTENT_TYPE).iter();
    let (Some(value), None) = (types.next(), types.next()) else {
        return false;
    };
    let Ok(value) = value.to_str() else {
        return false;
    };
    let (essence, parameters) = value.split_once(';').unwrap_or((value, ""));
    // RFC 8259 section 11: JSON has no charset parameter; many clients send the only one it could
    // be, which harms nobody.
    let parameters = parameters.trim();
    plain
        && essence.trim().eq_ignore_ascii_case("application/json")
        && (parameters.is_empty() || parameters.eq_ignore_ascii_case("charset=utf-8"))
}

/// Reads a body of at most `limit` bytes into memory that is overwritten when dropped.
async fn read_body(mut body: Body, limit: usize) -> Result<Zeroizing<Vec<u8>>, Problem> {
    let announced = body.size_hint();
    if announced.lower() > limit as u64 {
        return Err(Problem::too_large(limit));
    }
    // Room for all of it at once: growing would leave copies behind that nobody overwrites.
    let room = announced.exact().map_or(limit, |exact| exact as usize);
    let mut text = Zeroizing::new(Vec::with_capacity(room));
    let reading = async {
        while let Some(frame) = body.frame().await {
            let frame = frame.map_err(|_| Problem::malformed("The body broke off."))?;
            if let Ok(data) = frame.into_data() {
                if data.len() > limit - text.len() {
                    return Err(Problem::too_large(limit));
                }
                text.extend_from_slice(&data);
            }
        }
        Ok(())
    };
    match tokio::time::timeout(BODY_TIMEOUT, reading).await {
        Ok(Ok(())) => Ok(text),
        Ok(Err(problem)) => Err(problem),
        Err(_) => Err(Problem::malformed(
            "The body did not arrive in time. Send it at once.",
        )),
    }
}

/// The parameters of the query string as a struct: unknown, repeated or wrong ones are refused (400).
pub struct StrictQuery<T>(pub T);

impl<T, S> FromRequestParts<S> for StrictQuery<T>
where
    T: DeserializeOwned,
    S: Send + Sync,
{
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        read_pairs(pairs(parts)?).map(Self)
    }
}

fn pairs(parts: &Parts) -> Result<Vec<(String, String)>, Problem> {
    Query::try_from_uri(&parts.uri)
        .map(|Query(pairs)| pairs)
        .map_err(|_| Problem::malformed("The query string cannot be read."))
}

fn read_pairs<T: DeserializeOwned>(pairs: Vec<(String, String)>) -> Result<T, Problem> {
    shape::from_pairs(pairs).map_err(|error| {
        Problem::malformed("Correct the parameters listed under errors.")
            .with_errors(vec![error.into_field_error("(query)")])
    })
}

/// Which part of a list is wanted. As an extractor by itself it takes `limit` and `cursor` and no
/// other parameter; a list with filters uses [`Paged`].
#[derive(Debug, PartialEq, Eq, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
pub struct Page {
    /// How many items at most, 1 to 500; 100 if not given.
    #[param(required = false, minimum = 1, maximum = 500, default = 100)]
    pub limit: u16,
    /// Where to go on: the `next` of the answer before. Opaque; checked for its alphabet only.
    pub cursor: Option<String>,
}

#[derive(Deserialize)]
struct PageParameters {
    limit: Option<u16>,
    cursor: Option<String>,
}

/// A page of a list with filters: `limit` and `cursor`, and the other parameters as `T`.
pub struct Paged<T> {
    /// Which part of the list.
    pub page: Page,
    /// The filters.
    pub filter: T,
}

#[derive(Deserialize)]
struct NoFilter {}

impl<S: Send + Sync> FromRequestParts<S> for Page {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let Paged { page, filter } = Paged::<NoFilter>::from_request_parts(parts, state).await?;
        let NoFilter {} = filter;
        Ok(page)
    }
}

impl<T, S> FromRequestParts<S> for Paged<T>
where
    T: DeserializeOwned,
    S: Send + Sync,
{
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        let (page, filter): (Vec<_>, Vec<_>) = pairs(parts)?
            .into_iter()
            .partition(|(name, _)| name == "limit" || name == "cursor");
        let page: PageParameters = read_pairs(page)?;
        let limit = page.limit.unwrap_or(PAGE_DEFAULT);
        if !(1..=PAGE_MAX).contains(&limit) {
            return Err(refused_parameter("limit", "must be from 1 to 500"));
        }
        let is_ours = |cursor: &String| {
            (1..=CURSOR_MAX).contains(&cursor.len())
                && cursor
                    .bytes()
                    .all(|c| c.is_ascii_alphanumeric() || c == b'-' || c == b'_')
        };
        if !page.cursor.as_ref().is_none_or(is_ours) {
            return Err(refused_cursor());
        }
        Ok(Self {
            page: Page {
                limit,
                cursor: page.cursor,
            },
            filter: read_pairs(filter)?,
        })
    }
}

fn refused_parameter(name: &str, rule: &'static str) -> Problem {
    Problem::malformed("Correct the parameters listed under errors.")
        .with_errors(vec![super::problem::FieldError::new(name, rule)])
}

/// The 400 for a cursor that did not come from an answer of the same list.
pub fn refused_cursor() -> Problem {
    refused_parameter(
        "cursor",
        "must be the next of an earlier answer of this list",
    )
}

/// The parameters in the path. What does not parse names nothing, so the answer is the uniform 404.
pub struct StrictPath<T>(pub T);

impl<T, S> FromRequestParts<S> for StrictPath<T>
where
    T: DeserializeOwned + Send,
    S: Send + Sync,
{
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        Path::from_request_parts(parts, state)
            .await
            .map(|Path(value)| Self(value))
            .map_err(|_| Problem::not_found())
    }
}

/// The revision that the caller believes to change, from `If-Match: "7"` (RFC 9110 section 13.1.1).
///
/// Exactly one strong entity tag of ours; a list, a weak one and `*` are refused (400), because each
/// would let a change go through that its author did not see. Missing is 428.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IfMatch(pub i64);

impl<S: Send + Sync> FromRequestParts<S> for IfMatch {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        let mut values = parts.headers.get_all(header::IF_MATCH).iter();
        let Some(value) = values.next() else {
            return Err(Problem::precondition_required());
        };
        let revision = match (values.next(), value.to_str()) {
            (None, Ok(value)) => parse_revision(value),
            _ => None,
        };
        revision.map(Self).ok_or_else(|| {
            Problem::malformed(
                "Send exactly one revision in If-Match, in double quotes, as in \"7\": no list, no W/ and no *.",
            )
        })
    }
}

/// The same where it may be left out: then the change applies to whatever is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OptionalIfMatch(pub Option<i64>);

impl<S: Send + Sync> FromRequestParts<S> for OptionalIfMatch {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        if !parts.headers.contains_key(header::IF_MATCH) {
            return Ok(Self(None));
        }
        let IfMatch(revision) = IfMatch::from_request_parts(parts, state).await?;
        Ok(Self(Some(revision)))
    }
}

fn if_match_parameter(required: Required) -> Vec<Parameter> {
    let text = ObjectBuilder::new()
        .schema_type(Type::String)
        .pattern(Some("^\"(0|[1-9][0-9]*)\"$"));
    let parameter = ParameterBuilder::new()
        .name("If-Match")
        .parameter_in(ParameterIn::Header)
        .required(required)
        .description(Some(
            "The revision that the change is meant for, in double quotes, as the ETag gave it",
        ))
        .schema(Some(text));
    vec![parameter.build()]
}

impl IntoParams for IfMatch {
    fn into_params(_: impl Fn() -> Option<ParameterIn>) -> Vec<Parameter> {
        if_match_parameter(Required::True)
    }
}

impl IntoParams for OptionalIfMatch {
    fn into_params(_: impl Fn() -> Option<ParameterIn>) -> Vec<Parameter> {
        if_match_parameter(Required::False)
    }
}

fn parse_revision(value: &str) -> Option<i64> {
    let digits = value.strip_prefix('"')?.strip_suffix('"')?;
    let canonical = !digits.is_empty()
        && digits.bytes().all(|c| c.is_ascii_digit())
        && (digits == "0" || !digits.starts_with('0'));
    if canonical { digits.parse().ok() } else { None }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_one_strong_revision_is_taken() {
        assert_eq!(parse_revision("\"7\""), Some(7));
        assert_eq!(parse_revision("\"0\""), Some(0));
        for value in [
            "",
            "7",
            "\"\"",
            "\"07\"",
            "\"+7\"",
            "\"-7\"",
            "W/\"7\"",
            "*",
            "\"7\",\"8\"",
            "\"7",
            "\"9223372036854775808\"",
            "\" 7\"",
        ] {
            assert_eq!(parse_revision(value), None, "{value}");
        }
    }

    #[test]
    fn json_is_one_media_type_without_coding() {
        let with = |pairs: &[(&str, &str)]| {
            let mut headers = HeaderMap::new();
            for (name, value) in pairs {
                headers.append(
                    axum::http::HeaderName::try_from(*name).unwrap(),
                    value.parse().unwrap(),
                );
            }
            is_json(&headers)
        };
        assert!(with(&[("content-type", "application/json")]));
        assert!(with(&[("content-type", "Application/JSON; charset=UTF-8")]));
        assert!(!with(&[]));
        assert!(!with(&[("content-type", "text/plain")]));
        assert!(!with(&[(
            "content-type",
            "application/json; charset=utf-16"
        )]));
        assert!(!with(&[
            ("content-type", "application/json"),
            ("content-type", "application/json")
        ]));
        assert!(!with(&[
            ("content-type", "application/json"),
            ("content-encoding", "gzip")
        ]));
    }
}
