//! Bytes that must not leave by accident.
//!
//! Neither type can be printed, cloned, compared with `==` or serialised; both are overwritten when
//! dropped. The one way to the bytes is a method whose name stands out in review.

use zeroize::Zeroizing;

use crate::random::{Random, RandomError};

/// A secret value of any length.
pub struct Secret(Zeroizing<Vec<u8>>);

impl Secret {
    /// Takes over `bytes`. The caller's buffer becomes the secret's, so nothing is copied.
    pub fn new(bytes: Vec<u8>) -> Self {
        Self(Zeroizing::new(bytes))
    }

    /// The bytes themselves. Each use of this method is a place to review.
    pub fn expose_secret(&self) -> &[u8] {
        &self.0
    }

    /// Gives the bytes away: to whoever sends them. From then on only the allocator wipes them.
    pub fn into_bytes(mut self) -> Vec<u8> {
        std::mem::take(&mut *self.0)
    }

    /// How many bytes there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there are no bytes.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// A 256-bit symmetric key.
pub struct SecretKey(Zeroizing<[u8; 32]>);

impl SecretKey {
    /// A new random key, filled in place so that no copy stays on the stack.
    ///
    /// # Errors
    /// The source of randomness failed.
    pub fn generate(random: &dyn Random) -> Result<Self, RandomError> {
        let mut key = Self(Zeroizing::new([0; 32]));
        random.fill(key.0.as_mut())?;
        Ok(key)
    }

    /// A key that `write` fills in place, so that no copy stays on the stack.
    pub fn filled_by(write: impl FnOnce(&mut [u8; 32])) -> Self {
        let mut key = Self(Zeroizing::new([0; 32]));
        write(&mut key.0);
        key
    }

    /// A key from exactly 32 bytes; `None` for any other length.
    pub fn from_slice(bytes: &[u8]) -> Option<Self> {
        let mut key = Self(Zeroizing::new([0; 32]));
        if bytes.len() != key.0.len() {
            return None;
        }
        key.0.copy_from_slice(bytes);
        Some(key)
    }

    /// The bytes themselves. Each use of this method is a place to review.
    pub fn expose_secret(&self) -> &[u8; 32] {
        &self.0
    }
}
