//! Which calls of the store were made, for tests of what must not differ.

use std::sync::{Arc, Mutex, PoisonError};

/// The places in the source from which statements were sent, in their order.
#[derive(Clone, Default)]
pub(crate) struct Journal(Arc<Mutex<Vec<&'static str>>>);

impl Journal {
    /// Notes a call.
    pub(super) fn note(&self, place: &'static str) {
        let mut places = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        places.push(place);
    }

    /// Everything since the last time.
    pub(crate) fn take(&self) -> Vec<&'static str> {
        std::mem::take(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}
