//! Where randomness comes from. It is an argument everywhere, so that a test can repeat itself.

use ring::rand::SecureRandom;

/// The operating system gave no random bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the source of randomness failed")]
pub struct RandomError;

/// A source of random bytes fit for keys.
pub trait Random: Send + Sync {
    /// Fills `out` with random bytes.
    ///
    /// # Errors
    /// The source failed; `out` must not be used.
    fn fill(&self, out: &mut [u8]) -> Result<(), RandomError>;
}

/// The operating system's generator, through ring.
pub struct SystemRandom(ring::rand::SystemRandom);

impl SystemRandom {
    /// The operating system's generator.
    #[expect(
        clippy::disallowed_methods,
        reason = "the one place that names the system's source"
    )]
    #[expect(
        clippy::new_without_default,
        reason = "a source of randomness is chosen, not defaulted"
    )]
    pub fn new() -> Self {
        Self(ring::rand::SystemRandom::new())
    }
}

/// The source that ring takes randomness from for ECDSA and RSA: the trait is sealed, so that no
/// other can be handed in.
#[expect(
    clippy::disallowed_methods,
    reason = "ring's ECDSA and RSA accept no other source"
)]
pub(crate) fn ring_random() -> ring::rand::SystemRandom {
    ring::rand::SystemRandom::new()
}

impl Random for SystemRandom {
    fn fill(&self, out: &mut [u8]) -> Result<(), RandomError> {
        self.0.fill(out).map_err(|_| RandomError)
    }
}
