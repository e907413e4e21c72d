//! The metrics of requests.

use std::{
    collections::HashMap,
    sync::{PoisonError, RwLock},
    time::Duration,
};

use metrics::{Counter, Histogram};

/// The handles of one (route, method, status), looked up once and then kept: building the key of a
/// metric anew for each request costs more than all else that surrounds a request.
struct Handles {
    method: &'static str,
    status: u16,
    requests: Counter,
    duration: Histogram,
}

/// Counts requests by route, method and status. The number of entries is bounded, because the route
/// is the pattern, never the path, and unknown methods are one word.
#[derive(Default)]
pub(super) struct RouteMeter {
    routes: RwLock<HashMap<String, Vec<Handles>>>,
}

impl RouteMeter {
    pub(super) fn record(
        &self,
        route: &str,
        method: &'static str,
        status: u16,
        duration: Duration,
    ) {
        {
            let routes = self.routes.read().unwrap_or_else(PoisonError::into_inner);
            let known = routes.get(route).and_then(|handles| {
                handles
                    .iter()
                    .find(|handle| handle.status == status && handle.method == method)
            });
            if let Some(handles) = known {
                handles.requests.increment(1);
                handles.duration.record(duration.as_secs_f64());
                return;
            }
        }
        let handles = Handles {
            method,
            status,
            requests: metrics::counter!("strongroom_http_requests_total",
                "route" => route.to_owned(), "method" => method, "status" => status.to_string()),
            duration: metrics::histogram!("strongroom_http_request_duration_seconds",
                "route" => route.to_owned(), "method" => method),
        };
        handles.requests.increment(1);
        handles.duration.record(duration.as_secs_f64());
        let mut routes = self.routes.write().unwrap_or_else(PoisonError::into_inner);
        // Two requests may come here at once; a second entry for the same metric does no harm.
        routes.entry(route.to_owned()).or_default().push(handles);
    }
}
