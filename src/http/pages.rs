//! What clients see: the pages behind the one-time links. Rendered here, working without JavaScript.
//!
//! | | |
//! |---|---|
//! | `GET /i/{token}` | the form, or how what was handed in stands; `?form` shows the form in any case |
//! | `POST /i/{token}` | hands the form in |
//! | `POST /i/{token}/check` | checks the same once more |
//! | `GET`, `POST /i/{token}/colleague` | hands the link on |
//! | `POST /i/{token}/answer` | answers in place of handing something in |
//! | `GET /i/{token}/guide`, `setup.sh`, `setup.ps1` | how it is set up at the provider |
//!
//! GET and HEAD change nothing: scanners of mail open every link. A link that never was and one that is
//! over are one answer. No path of a link is logged, here or anywhere: whoever has it can use it.

mod answers;
mod arrived;
mod assets;
mod colleague;
mod form;
mod guard;
mod guide;
mod hand_in;
mod handlers;
pub mod link;
#[cfg(test)]
mod tests;
mod texts;
mod view;

use std::sync::Arc;

use axum::{
    Router,
    extract::DefaultBodyLimit,
    middleware,
    routing::{get, post},
};

use super::request_id::{Surroundings, surround_request};
use crate::{clock::Clock, random::Random};
use guard::Rates;
use link::Links;

/// The most bytes of a form.
const MOST_BYTES: usize = 64 * 1024;

/// What every page has.
pub struct Pages {
    links: Arc<dyn Links>,
    /// Where clients reach the pages, if that is configured.
    origin: Option<String>,
    rates: Rates,
}

/// The routes of the listener `pages`, with what surrounds each request. `origin` is its public address,
/// without a trailing slash.
pub fn router(
    links: Arc<dyn Links>,
    origin: Option<String>,
    clock: Arc<dyn Clock>,
    random: Arc<dyn Random>,
) -> Router {
    let pages = Arc::new(Pages {
        links,
        origin,
        rates: Rates::new(),
    });
    Router::new()
        .route("/i/{token}", get(handlers::show).post(hand_in::submit))
        .route("/i/{token}/check", post(handlers::check_again))
        .route(
            "/i/{token}/colleague",
            get(colleague::ask).post(colleague::forward),
        )
        .route("/i/{token}/answer", post(handlers::answer))
        .route("/i/{token}/guide", get(handlers::guide))
        .route("/i/{token}/setup.sh", get(handlers::setup_sh))
        .route("/i/{token}/setup.ps1", get(handlers::setup_ps1))
        .route("/assets/{name}", get(assets::serve))
        .layer(DefaultBodyLimit::max(MOST_BYTES))
        .fallback(handlers::nothing)
        .layer(middleware::from_fn_with_state(
            Arc::new(Surroundings::new(clock, random)),
            surround_request,
        ))
        // Outside of it, so that what it answers in place of a page becomes one.
        .layer(middleware::from_fn_with_state(
            Arc::clone(&pages),
            guard::with_headers,
        ))
        .with_state(pages)
}
