//! The HTTP surface: what every listener and every route have in common.
//!
//! Resources live in files of their own; this one only knows how a connection is accepted, how a
//! request is read strictly, how an error is told, and what surrounds each request.

mod accept;
mod api;
mod authenticate;
mod described;
pub mod enrol;
pub mod extract;
pub mod limits;
mod meter;
pub mod operator;
pub mod pages;
pub mod problem;
mod registry;
pub mod request_id;
pub mod server;
pub mod shape;
pub mod status;
#[cfg(test)]
mod tests;
pub mod workload;

pub use api::api_router;
pub use authenticate::{ApiState, Authentic, Proven};

use std::sync::Arc;

use axum::{Router, middleware};

use crate::{clock::Clock, random::Random};
use problem::Problem;
use request_id::Surroundings;

/// Puts around `router` what every answer has: a request id, a span and a line in the log, metrics,
/// the same 404 and 405 everywhere, a 500 in place of a panic, and the headers against caching and
/// sniffing. Call it last: routes added afterwards are not surrounded.
pub fn surround(router: Router, clock: Arc<dyn Clock>, random: Arc<dyn Random>) -> Router {
    let surroundings = Arc::new(Surroundings::new(clock, random));
    router
        .fallback(async || Problem::not_found())
        // axum adds the Allow header to this answer from the methods that the path does have.
        .method_not_allowed_fallback(async || Problem::method_not_allowed())
        .layer(middleware::from_fn_with_state(
            surroundings,
            request_id::surround_request,
        ))
}
