//! Waiting for something that another process does.

use std::time::{Duration, Instant};

/// Waits until `done` gives something, or says what it waited for and fails after `seconds`.
pub fn until<T>(what: &str, seconds: u64, mut done: impl FnMut() -> Option<T>) -> T {
    let end = Instant::now() + Duration::from_secs(seconds);
    loop {
        if let Some(value) = done() {
            return value;
        }
        assert!(
            Instant::now() < end,
            "waited {seconds} seconds in vain for: {what}"
        );
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// A pause, where there is nothing that could be waited for.
pub fn pause(millis: u64) {
    std::thread::sleep(Duration::from_millis(millis));
}
