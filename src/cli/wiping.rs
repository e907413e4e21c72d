//! Buffers and JSON trees that are overwritten when dropped.

use std::io;

use serde_json::Value;
use zeroize::{Zeroize, Zeroizing};

/// A growing buffer that leaves no copy of its content behind when it grows.
#[derive(Default)]
pub struct WipingBuffer(Zeroizing<Vec<u8>>);

impl WipingBuffer {
    /// An empty buffer with room for `capacity` bytes.
    pub fn with_capacity(capacity: usize) -> Self {
        Self(Zeroizing::new(Vec::with_capacity(capacity)))
    }

    /// Adds bytes at the end.
    pub fn extend(&mut self, bytes: &[u8]) {
        let needed = self.0.len() + bytes.len();
        if needed > self.0.capacity() {
            // A Vec that grows by itself frees its old memory without wiping it.
            let mut larger = Zeroizing::new(Vec::with_capacity((needed * 2).max(4096)));
            larger.extend_from_slice(&self.0);
            self.0 = larger;
        }
        self.0.extend_from_slice(bytes);
    }

    /// How many bytes there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The bytes themselves. Each use of this method is a place to review.
    pub fn expose_secret(&self) -> &[u8] {
        &self.0
    }
}

/// So that it can be the body of a request without being copied.
impl AsRef<[u8]> for WipingBuffer {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

impl io::Write for WipingBuffer {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.extend(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A JSON tree whose texts are overwritten when it is dropped. (Numbers and keys are not secret.)
pub struct WipingJson(pub Value);

impl Drop for WipingJson {
    fn drop(&mut self) {
        wipe(&mut self.0);
    }
}

fn wipe(value: &mut Value) {
    match value {
        Value::String(text) => text.zeroize(),
        Value::Array(items) => items.iter_mut().for_each(wipe),
        Value::Object(map) => map.values_mut().for_each(wipe),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_buffer_keeps_everything_while_it_grows() {
        let mut buffer = WipingBuffer::default();
        let mut expected = Vec::new();
        for n in 0..3000_u32 {
            buffer.extend(&n.to_be_bytes());
            expected.extend_from_slice(&n.to_be_bytes());
        }
        assert_eq!(buffer.expose_secret(), expected);
    }
}
