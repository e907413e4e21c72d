//! Callers who hang up in the middle: what was begun for them ends, and nobody else is hurt by it.

use crate::support::{Backend, Request, Service, on_both, pause};

on_both!(nobody_is_hurt_by_callers_who_hang_up);

/// How many hang up: enough to meet each moment of a request, the begin of a transaction as well.
const CALLERS: u64 = 200;

fn nobody_is_hurt_by_callers_who_hang_up(backend: Backend) {
    let service = Service::dev(&backend);
    let worker = service.client("worker");
    std::thread::scope(|scope| {
        for thread in 0..4 {
            let worker = &worker;
            scope.spawn(move || {
                for n in 0..CALLERS / 4 {
                    let mut open = worker.connect();
                    open.start(&Request::get("/api/v1/release"))
                        .expect("a request");
                    pause((n + thread) % 7);
                }
            });
        }
    });
    // On every connection to the database that was in use.
    std::thread::scope(|scope| {
        for _ in 0..16 {
            scope.spawn(|| {
                let mut open = worker.connect();
                for _ in 0..10 {
                    let answer = open.send(&Request::get("/api/v1/release"));
                    answer.expect("an answer").expect(200);
                }
            });
        }
    });
    let metrics = service.status("/metrics").expect(200).text();
    assert!(
        metrics.contains("\nstrongroom_audit_failures_total 0\n"),
        "{metrics}"
    );
}
