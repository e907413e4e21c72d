//! A stream encrypted to age recipients while it is being written (c2sp.org/age, binary form).
//!
//! ```text
//! begin ──▶ header, nonce │ write … write ──▶ chunks of 64 KiB, each sealed │ finish ──▶ last chunk
//! ```
//!
//! Only [`AgeWriter::finish`] writes the chunk that is marked as the last one. A file that was broken
//! off does not decrypt as a whole: a reader that releases chunks as it goes has to wait for the end
//! before it uses any of it, which the programs `age` and `rage` and the library all report.
//!
//! File key and nonce are the operating system's randomness, because the age library offers no other
//! source. The plaintext of an unfinished chunk lies in the library's buffer, which the program's
//! allocator wipes when it is freed.

use std::io::{self, Write};
use std::sync::{Arc, Mutex, PoisonError};

use super::recipient::Recipient;

/// The encryption failed. Says nothing of what was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the stream could not be encrypted to its recipients")]
pub struct AgeWriteError;

/// Encrypts to one or more recipients, piece by piece.
pub struct AgeWriter {
    file: age::stream::StreamWriter<Ready>,
    ready: Ready,
}

/// What is encrypted and was not taken yet. Shared with the library's writer, which does not give it
/// back before the end.
#[derive(Clone, Default)]
struct Ready(Arc<Mutex<Vec<u8>>>);

impl Ready {
    fn take(&self) -> Vec<u8> {
        std::mem::take(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Write for Ready {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let mut ready = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        ready.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl AgeWriter {
    /// Begins a file for `recipient`. Its header is in the first piece that is written.
    ///
    /// # Errors
    /// The library refused the recipient.
    pub fn begin(recipient: &Recipient) -> Result<Self, AgeWriteError> {
        Self::begin_for(std::slice::from_ref(recipient))
    }

    /// The same for every one of `recipients`.
    ///
    /// # Errors
    /// There is none, or the library refused them together.
    pub fn begin_for(recipients: &[Recipient]) -> Result<Self, AgeWriteError> {
        let recipients = recipients.iter().map(Recipient::as_age);
        let encryptor = age::Encryptor::with_recipients(recipients).map_err(|_| AgeWriteError)?;
        let ready = Ready::default();
        let file = encryptor
            .wrap_output(ready.clone())
            .map_err(|_| AgeWriteError)?;
        Ok(Self { file, ready })
    }

    /// Takes the next piece and gives what is encrypted by now, which may be nothing.
    ///
    /// # Errors
    /// The library failed.
    pub fn write(&mut self, plaintext: &[u8]) -> Result<Vec<u8>, AgeWriteError> {
        self.file.write_all(plaintext).map_err(|_| AgeWriteError)?;
        Ok(self.ready.take())
    }

    /// Takes the last piece and gives the end of the file.
    ///
    /// # Errors
    /// The library failed.
    pub fn finish(mut self, plaintext: &[u8]) -> Result<Vec<u8>, AgeWriteError> {
        self.file.write_all(plaintext).map_err(|_| AgeWriteError)?;
        self.file.finish().map_err(|_| AgeWriteError)?;
        Ok(self.ready.take())
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;

    use super::*;
    use crate::crypto::Identity;

    fn decrypt(identity: &Identity, file: &[u8]) -> io::Result<Vec<u8>> {
        let decryptor = age::Decryptor::new(file).map_err(io::Error::other)?;
        let identities = std::iter::once(identity.as_age());
        let mut reader = decryptor.decrypt(identities).map_err(io::Error::other)?;
        let mut plaintext = Vec::new();
        reader.read_to_end(&mut plaintext)?;
        Ok(plaintext)
    }

    /// Around the ends of chunks, in pieces that do not fall on them.
    #[test]
    fn what_was_written_in_pieces_decrypts_as_a_whole() {
        let (text, recipient) = Identity::generate();
        let identity = Identity::parse_list(&text).unwrap().remove(0);
        for size in [0, 1, 65_535, 65_536, 65_537, 131_072, 200_000] {
            let plaintext: Vec<u8> = (0..size).map(|n: u32| n.to_le_bytes()[0]).collect();
            let mut writer = AgeWriter::begin(&recipient).unwrap();
            let mut file = Vec::new();
            for piece in plaintext.chunks(9_973) {
                file.extend(writer.write(piece).unwrap());
            }
            file.extend(writer.finish(b"").unwrap());
            assert!(file.starts_with(b"age-encryption.org/v1\n"));
            assert_eq!(decrypt(&identity, &file).unwrap(), plaintext, "{size}");
            let (_, other) = Identity::generate();
            assert!(other.to_text() != recipient.to_text());
            let (text, _) = Identity::generate();
            let stranger = Identity::parse_list(&text).unwrap().remove(0);
            assert!(decrypt(&stranger, &file).is_err());
        }
    }

    #[test]
    fn what_was_not_finished_does_not_decrypt() {
        let (text, recipient) = Identity::generate();
        let identity = Identity::parse_list(&text).unwrap().remove(0);
        let mut writer = AgeWriter::begin(&recipient).unwrap();
        let mut file = writer.write(&[7; 150_000]).unwrap();
        assert!(decrypt(&identity, &file).is_err());
        file.extend(writer.write(b"}").unwrap());
        assert!(decrypt(&identity, &file).is_err());
        file.extend(writer.finish(b"").unwrap());
        assert_eq!(decrypt(&identity, &file).unwrap().len(), 150_001);
        assert!(decrypt(&identity, &file[..file.len() - 1]).is_err());
    }
}
