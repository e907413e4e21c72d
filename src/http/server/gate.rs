//! Who may do a piece of a TLS handshake now.

use std::{future::Future, pin::pin, task::Poll};

use tokio::sync::Semaphore;

/// Keeps handshakes from starving the requests of those already connected.
///
/// A handshake costs some hundred microseconds of a processor, thirty times what a request costs,
/// and after a restart the whole fleet comes at once. So of all handshakes that could go on, only a
/// few stand in the runtime's queue at a time, and each goes to its end before it takes its turn.
/// Only the work counts: a client that is being waited for holds nothing, so that silent clients
/// cannot keep the others out.
pub(super) struct Gate(Semaphore);

impl Gate {
    pub(super) fn new(steps: usize) -> Self {
        Self(Semaphore::new(steps.max(1)))
    }

    /// Runs `handshake`, each of its steps with a place in the gate.
    pub(super) async fn run<F: Future>(&self, handshake: F) -> F::Output {
        let mut handshake = pin!(handshake);
        loop {
            {
                // The semaphore is never closed; were it, handshakes would go on without a limit.
                let _place = self.0.acquire().await.ok();
                tokio::task::yield_now().await;
                let step =
                    std::future::poll_fn(|task| Poll::Ready(handshake.as_mut().poll(task))).await;
                if let Poll::Ready(output) = step {
                    return output;
                }
            }
            // The handshake has noted this task to be woken; sleep until it is.
            let mut woken = false;
            std::future::poll_fn(|_| {
                if woken {
                    Poll::Ready(())
                } else {
                    woken = true;
                    Poll::Pending
                }
            })
            .await;
        }
    }
}
