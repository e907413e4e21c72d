//! How fast the stand-in answers, and how many calls are under way.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::Response;
use axum::middleware::Next;

use super::Shared;

/// How long each answer waits, and how many calls there were at once.
#[derive(Default)]
pub(super) struct Pace {
    wait_millis: AtomicU64,
    under_way: AtomicUsize,
    most: AtomicUsize,
}

impl Pace {
    /// Lets each answer wait so long from now on, and counts the most calls anew.
    pub fn slow_down(&self, millis: u64) {
        self.wait_millis.store(millis, Ordering::Relaxed);
        self.most.store(0, Ordering::Relaxed);
    }

    /// The most calls that were under way at once.
    pub fn most(&self) -> usize {
        self.most.load(Ordering::Relaxed)
    }
}

/// A call under way; it ends when the caller goes away, too.
struct Call<'a>(&'a Pace);

impl<'a> Call<'a> {
    fn begin(pace: &'a Pace) -> Self {
        let now = pace.under_way.fetch_add(1, Ordering::Relaxed) + 1;
        pace.most.fetch_max(now, Ordering::Relaxed);
        Self(pace)
    }
}

impl Drop for Call<'_> {
    fn drop(&mut self) {
        self.0.under_way.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Counts a call and lets it wait.
pub(super) async fn keep(
    State(shared): State<Arc<Shared>>,
    request: Request,
    next: Next,
) -> Response<Body> {
    let _call = Call::begin(&shared.pace);
    let millis = shared.pace.wait_millis.load(Ordering::Relaxed);
    if millis > 0 {
        tokio::time::sleep(Duration::from_millis(millis)).await;
    }
    next.run(request).await
}
