//! What surrounds each request: its id, its span, its line in the log, and its metrics.

use std::{
    panic::AssertUnwindSafe,
    sync::{Arc, OnceLock},
    time::{Duration, Instant},
};

use axum::{
    extract::{MatchedPath, Request, State},
    http::{HeaderName, HeaderValue, Method, header},
    middleware::Next,
    response::{IntoResponse as _, Response},
};
use futures_util::FutureExt as _;
use tracing::Instrument as _;

use super::{meter::RouteMeter, problem::Problem};
use crate::{
    clock::Clock,
    model::{PrincipalId, RequestId},
    random::Random,
};

/// The header of every answer that names the request, as the log and the audit log know it.
pub const REQUEST_ID_HEADER: HeaderName = HeaderName::from_static("strongroom-request-id");

/// How long an answer to a request that changes nothing may take to begin, and each piece of a
/// bundle. A database that stands still keeps its connections open and answers nothing on them; who
/// waits for a statement that is under way would wait for as long as that lasts.
pub(super) const READS_WITHIN: Duration = Duration::from_secs(10);

/// The same for a change. Longer, because the caller has to find out afterwards whether it was made.
const CHANGES_WITHIN: Duration = Duration::from_secs(60);

/// What is known of one request apart from what it says. Handlers and middleware get it as the
/// extension `Arc<RequestContext>`.
#[derive(Debug)]
pub struct RequestContext {
    id: RequestId,
    principal: OnceLock<PrincipalId>,
}

impl RequestContext {
    /// The context of a request with this id.
    pub fn new(id: RequestId) -> Self {
        Self {
            id,
            principal: OnceLock::new(),
        }
    }

    /// The request's id.
    pub fn id(&self) -> RequestId {
        self.id
    }

    /// Notes who was proven to be calling, for the log. The first one counts.
    pub fn set_principal(&self, principal: PrincipalId) {
        let _ = self.principal.set(principal);
    }

    /// Who was proven to be calling, if anybody was.
    pub fn principal(&self) -> Option<PrincipalId> {
        self.principal.get().copied()
    }
}

pub(super) struct Surroundings {
    clock: Arc<dyn Clock>,
    random: Arc<dyn Random>,
    meter: RouteMeter,
}

impl Surroundings {
    pub(super) fn new(clock: Arc<dyn Clock>, random: Arc<dyn Random>) -> Self {
        Self {
            clock,
            random,
            meter: RouteMeter::default(),
        }
    }
}

pub(super) async fn surround_request(
    State(surroundings): State<Arc<Surroundings>>,
    mut request: Request,
    next: Next,
) -> Response {
    let started = Instant::now();
    let method = method_word(request.method());
    // The pattern of the route, never the path: a path may hold anything, a mistyped token included.
    let matched = request.extensions().get::<MatchedPath>().cloned();
    let route = matched.as_ref().map_or("(none)", MatchedPath::as_str);

    let id = RequestId::generate(surroundings.clock.now(), surroundings.random.as_ref());
    let Ok(id) = id else {
        tracing::error!("no randomness for a request id");
        let mut response = Problem::unavailable().into_response();
        finish_headers(&mut response);
        return response;
    };
    let context = Arc::new(RequestContext::new(id));
    request.extensions_mut().insert(Arc::clone(&context));
    let span = tracing::info_span!("request", method, route, request_id = %id);

    let reads = request.method().is_safe();
    let answering = AssertUnwindSafe(next.run(request).instrument(span.clone())).catch_unwind();
    let answered = match reads {
        true => match tokio::time::timeout(READS_WITHIN, answering).await {
            Ok(answered) => answered,
            Err(_) => {
                span.in_scope(|| tracing::warn!("gave up waiting for what the answer needs"));
                Ok(Problem::unavailable().into_response())
            }
        },
        false => match tokio::time::timeout(CHANGES_WITHIN, answering).await {
            Ok(answered) => answered,
            Err(_) => {
                span.in_scope(|| tracing::warn!("gave up waiting for a change to be recorded"));
                Ok(Problem::outcome_unknown().into_response())
            }
        },
    };
    let mut response = match answered {
        Ok(response) => response,
        // The panic hook has logged where; what the panic says may hold anything.
        Err(_) => Problem::internal().into_response(),
    };

    if let Some(mut problem) = response.extensions_mut().remove::<Problem>() {
        problem.request_id = Some(Box::new(id));
        response.headers_mut().remove(header::CONTENT_LENGTH);
        *response.body_mut() = problem.body();
    }
    if let Ok(value) = HeaderValue::try_from(id.to_string()) {
        response.headers_mut().insert(REQUEST_ID_HEADER, value);
    }
    finish_headers(&mut response);

    let duration = started.elapsed();
    let status = response.status().as_u16();
    surroundings.meter.record(route, method, status, duration);
    span.in_scope(|| log(method, route, status, duration, context.principal()));
    response
}

fn finish_headers(response: &mut Response) {
    let headers = response.headers_mut();
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(
        header::X_CONTENT_TYPE_OPTIONS,
        HeaderValue::from_static("nosniff"),
    );
}

/// One line per request: reads and releases that succeed at DEBUG, changes and refusals at INFO,
/// faults of ours at ERROR. Refused strangers are at DEBUG too, or anybody could fill the disk; they
/// are counted in the metrics.
fn log(
    method: &'static str,
    route: &str,
    status: u16,
    duration: Duration,
    principal: Option<PrincipalId>,
) {
    macro_rules! line {
        ($level:ident) => {
            tracing::$level!(
                status,
                duration_us = u64::try_from(duration.as_micros()).unwrap_or(u64::MAX),
                principal = principal.as_ref().map(tracing::field::display),
                "answered"
            )
        };
    }
    let reads = matches!(method, "GET" | "HEAD" | "OPTIONS");
    let releases = route.starts_with("/api/v1/release");
    match status {
        500.. => line!(error),
        _ if principal.is_none() => line!(debug),
        400.. => line!(info),
        _ if reads || releases => line!(debug),
        _ => line!(info),
    }
}

/// One of the methods that we know, or one word for all others: the word is a label of metrics.
fn method_word(method: &Method) -> &'static str {
    match *method {
        Method::GET => "GET",
        Method::HEAD => "HEAD",
        Method::POST => "POST",
        Method::PUT => "PUT",
        Method::PATCH => "PATCH",
        Method::DELETE => "DELETE",
        Method::OPTIONS => "OPTIONS",
        _ => "other",
    }
}
