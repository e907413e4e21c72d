//! Changing the world from another process: a listener of its own, without TLS, on loopback.

use std::sync::Arc;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::Response;
use axum::routing::{get, post, put};

use super::Shared;
use super::answers::{Forced, json_of, text};
use super::world::World;

/// `GET /world` and `PUT /world` read and replace what is registered; `POST /forced` adds an answer.
/// `PUT /pace` takes the milliseconds that each answer waits, and `GET /pace` gives how many calls were
/// under way at most since then.
pub(super) fn router(shared: Arc<Shared>) -> Router {
    Router::new()
        .route("/world", get(read).merge(put(replace)))
        .route("/forced", post(force))
        .route("/pace", get(pace).merge(put(slow_down)))
        .with_state(shared)
}

async fn read(State(shared): State<Arc<Shared>>) -> Response<Body> {
    let world = serde_json::to_value(&*shared.world()).unwrap_or_default();
    json_of(200, &world)
}

async fn replace(State(shared): State<Arc<Shared>>, body: Bytes) -> Response<Body> {
    match serde_json::from_slice::<World>(&body) {
        Ok(world) => {
            *shared.world() = world;
            text(204, "text/plain", String::new())
        }
        Err(error) => text(400, "text/plain", error.to_string()),
    }
}

async fn pace(State(shared): State<Arc<Shared>>) -> Response<Body> {
    text(200, "text/plain", shared.pace.most().to_string())
}

async fn slow_down(State(shared): State<Arc<Shared>>, body: Bytes) -> Response<Body> {
    let millis = std::str::from_utf8(&body)
        .ok()
        .and_then(|text| text.parse().ok());
    match millis {
        Some(millis) => {
            shared.pace.slow_down(millis);
            text(204, "text/plain", String::new())
        }
        None => text(400, "text/plain", "milliseconds".to_owned()),
    }
}

async fn force(State(shared): State<Arc<Shared>>, body: Bytes) -> Response<Body> {
    match serde_json::from_slice::<Forced>(&body) {
        Ok(forced) => {
            shared.world().forced.push(forced);
            text(204, "text/plain", String::new())
        }
        Err(error) => text(400, "text/plain", error.to_string()),
    }
}
