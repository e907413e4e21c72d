//! What the status listener answers: does the process live, is it ready, and its metrics.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use axum::{
    Json, Router,
    http::{StatusCode, header},
    response::{IntoResponse as _, Response},
    routing::get,
};
use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};
use serde::Serialize;

/// Whether one part of the service is ready.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Part {
    /// What it is: a fixed word.
    pub name: &'static str,
    /// Whether it does its work.
    pub ready: bool,
    /// How it is, or what is missing: fixed words, never received text.
    pub detail: &'static str,
}

/// Knows which parts of the service are ready. Asked for each probe, so it must answer at once,
/// from what its parts last reported.
pub trait Readiness: Send + Sync {
    /// Every part, ready or not.
    fn parts(&self) -> Vec<Part>;
}

#[derive(Serialize)]
struct ReadinessAnswer {
    ready: bool,
    parts: Vec<Part>,
}

/// The recorder of metrics cannot be put in place, because another one is there already.
#[derive(Debug, thiserror::Error)]
#[error("another recorder of metrics is already installed")]
pub struct MetricsError;

/// What the metrics are read from.
#[derive(Clone)]
pub struct Metrics(PrometheusHandle);

static INSTALLED: Mutex<Option<Metrics>> = Mutex::new(None);

/// How often samples are folded into their histograms. They would pile up in memory if nobody ever
/// asked for the metrics.
const UPKEEP_EVERY: Duration = Duration::from_secs(5);

/// Buckets of all other histograms, in seconds: from 100 µs, because a release takes little more.
const BUCKETS: [f64; 16] = [
    0.000_1, 0.000_25, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5,
    5.0, 10.0,
];

/// Of verifications, which ask others: they may take a minute.
const VERIFICATION_BUCKETS: [f64; 10] = [0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 20.0, 40.0, 60.0];

impl Metrics {
    /// Puts the process's recorder in place; later calls give the same one.
    ///
    /// # Errors
    /// Something else has installed a recorder before.
    pub fn install() -> Result<Self, MetricsError> {
        let mut installed = INSTALLED.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(metrics) = installed.as_ref() {
            return Ok(metrics.clone());
        }
        let verification = Matcher::Full("strongroom_verification_duration_seconds".to_owned());
        let handle = PrometheusBuilder::new()
            .set_buckets(&BUCKETS)
            .and_then(|it| it.set_buckets_for_metric(verification, &VERIFICATION_BUCKETS))
            .and_then(PrometheusBuilder::install_recorder)
            .map_err(|_| MetricsError)?;
        super::described::describe();
        Ok(installed.insert(Self(handle)).clone())
    }

    /// All metrics in Prometheus' text format.
    pub fn render(&self) -> String {
        self.0.render()
    }

    /// Keeps the recorder's memory bounded for as long as it is polled. The service runs it as a
    /// task of its own.
    pub async fn upkeep(self) {
        loop {
            tokio::time::sleep(UPKEEP_EVERY).await;
            self.0.run_upkeep();
        }
    }
}

/// `/healthz`, `/readyz` and `/metrics`.
pub fn router(readiness: Arc<dyn Readiness>, metrics: Metrics) -> Router {
    Router::new()
        .route("/healthz", get(async || "ok\n"))
        .route(
            "/readyz",
            get(async move || readiness_answer(readiness.as_ref())),
        )
        .route(
            "/metrics",
            get(async move || {
                (
                    [(header::CONTENT_TYPE, "text/plain; version=0.0.4")],
                    metrics.render(),
                )
            }),
        )
}

fn readiness_answer(readiness: &dyn Readiness) -> Response {
    let parts = readiness.parts();
    let ready = parts.iter().all(|part| part.ready);
    let status = if ready {
        StatusCode::OK
    } else {
        StatusCode::SERVICE_UNAVAILABLE
    };
    (status, Json(ReadinessAnswer { ready, parts })).into_response()
}
