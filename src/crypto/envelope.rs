//! Opening streams that are encrypted with age (c2sp.org/age): the outside of a backup, which
//! [`AgeWriter`](super::AgeWriter) makes.
//!
//! age authenticates in pieces of 64 KiB and marks the last one, so a stream that was cut off is
//! noticed, and what was read before an error is genuine but not whole.

use std::io::{self, BufRead, Read};

use super::recipient::Identity;

/// A stream cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum EnvelopeError {
    /// The bytes are not an age file.
    #[error("not a file that is encrypted with age")]
    NotAge,
    /// The file ended within its head.
    #[error("the file ends too early")]
    Truncated,
    /// None of the identities belongs to the file.
    #[error("no given identity opens the file")]
    NotOpened,
    /// The file asks for more work than [`super::MAX_WORK_FACTOR`].
    #[error("the file asks for too much work on its passphrase")]
    TooMuchWork,
    /// Its head was changed.
    #[error("the head of the file is damaged")]
    Damaged,
}

impl From<age::DecryptError> for EnvelopeError {
    fn from(error: age::DecryptError) -> Self {
        use age::DecryptError as E;
        match error {
            E::NoMatchingKeys | E::DecryptionFailed | E::KeyDecryptionFailed => Self::NotOpened,
            E::ExcessiveWork { .. } => Self::TooMuchWork,
            E::Io(error) if error.kind() == io::ErrorKind::UnexpectedEof => Self::Truncated,
            E::InvalidMac => Self::Damaged,
            // The head is not one. The enum may grow.
            _ => Self::NotAge,
        }
    }
}

/// Opens an age file with the first of `identities` that fits. A read error of the kind
/// `UnexpectedEof` or `InvalidData` later on means that the file was cut off or changed.
///
/// # Errors
/// It is no such file, or none of the identities opens it.
pub fn decrypting<R: BufRead>(
    input: R,
    identities: &[Identity],
) -> Result<impl Read + use<R>, EnvelopeError> {
    let decryptor = age::Decryptor::new_buffered(input)?;
    Ok(decryptor.decrypt(identities.iter().map(Identity::as_age))?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::crypto::{AgeWriter, Recipient};

    fn encrypted(recipient: Recipient, plain: &[u8]) -> Vec<u8> {
        let mut stream = AgeWriter::begin(&recipient).unwrap();
        let mut file = stream.write(plain).unwrap();
        file.extend(stream.finish(b"").unwrap());
        file
    }

    fn read(file: &[u8], identities: &[Identity]) -> io::Result<Vec<u8>> {
        let mut plain = Vec::new();
        let mut stream = decrypting(file, identities).map_err(io::Error::other)?;
        stream.read_to_end(&mut plain).map(|_| plain)
    }

    #[test]
    fn a_file_opens_for_its_recipient_and_only_whole() {
        let (text, recipient) = Identity::generate();
        let identities = Identity::parse_list(&text).unwrap();
        let plain: Vec<u8> = (0..200_000_u32).map(|n| n.to_le_bytes()[0]).collect();
        let file = encrypted(recipient, &plain);
        assert_eq!(read(&file, &identities).unwrap(), plain);
        for length in [0, 10, 100, file.len() / 2, file.len() - 1] {
            assert!(
                read(&file[..length], &identities).is_err(),
                "{length} bytes"
            );
        }
        let (other, _) = Identity::generate();
        let other = Identity::parse_list(&other).unwrap();
        let refused = decrypting(&file[..], &other).err();
        assert!(matches!(refused, Some(EnvelopeError::NotOpened)));
        let refused = decrypting(&b"PK\x03\x04 something else"[..], &identities).err();
        assert!(
            matches!(refused, Some(EnvelopeError::NotAge)),
            "{refused:?}"
        );
    }
}
