//! Small files that are encrypted with age (c2sp.org/age) and held in memory whole.

use std::io::{Read, Write};

use super::recipient::{Identity, Recipient};
use crate::secret::Secret;

/// The file cannot be made or opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AgeFileError {
    /// None of the identities belongs to it.
    #[error("no given identity opens the file")]
    NotOpened,
    /// It is not an age file, was changed or cut, or is longer than allowed.
    #[error("the file is damaged")]
    Damaged,
    /// There is nobody to encrypt to, or the library refused.
    #[error("the file cannot be encrypted")]
    NotEncrypted,
}

/// `plaintext` for `recipient`.
///
/// Whoever knows the recipient can make such a file, so that it says nothing about who did.
///
/// # Errors
/// The library refused.
pub fn encrypt_file(plaintext: &[u8], recipient: &Recipient) -> Result<Vec<u8>, AgeFileError> {
    let write = || {
        let recipients = std::iter::once(recipient.as_age());
        let encryptor = age::Encryptor::with_recipients(recipients).ok()?;
        let mut writer = encryptor.wrap_output(Vec::new()).ok()?;
        writer.write_all(plaintext).ok()?;
        writer.finish().ok()
    };
    write().ok_or(AgeFileError::NotEncrypted)
}

/// What is in the age file `bytes`, with the first of `identities` that fits; at most `most` bytes.
///
/// # Errors
/// No identity fits, or the file is not whole.
pub fn decrypt_file(
    bytes: &[u8],
    identities: &[Identity],
    most: usize,
) -> Result<Secret, AgeFileError> {
    let decryptor = age::Decryptor::new_buffered(bytes).map_err(|_| AgeFileError::Damaged)?;
    let reader = decryptor.decrypt(identities.iter().map(Identity::as_age));
    let reader = reader.map_err(|error| match error {
        age::DecryptError::NoMatchingKeys => AgeFileError::NotOpened,
        _ => AgeFileError::Damaged,
    })?;
    // What is inside is shorter than the file, so that nothing is copied by growth.
    let mut plaintext = zeroize::Zeroizing::new(Vec::with_capacity(bytes.len().min(most + 1)));
    reader
        .take(most as u64 + 1)
        .read_to_end(&mut plaintext)
        .map_err(|_| AgeFileError::Damaged)?;
    if plaintext.len() > most {
        return Err(AgeFileError::Damaged);
    }
    Ok(Secret::new(std::mem::take(&mut *plaintext)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_recipient_opens_it_and_only_whole() {
        let (text, recipient) = Identity::generate();
        let mine = Identity::parse_list(&text).unwrap_or_default();
        let (text, _) = Identity::generate();
        let theirs = Identity::parse_list(&text).unwrap_or_default();
        let file = encrypt_file(b"what was said", &recipient).unwrap();
        let opened = decrypt_file(&file, &mine, 100).ok().unwrap();
        assert_eq!(opened.expose_secret(), b"what was said");
        let error = |bytes: &[u8], identities: &[Identity], most| {
            decrypt_file(bytes, identities, most).err()
        };
        assert_eq!(error(&file, &theirs, 100), Some(AgeFileError::NotOpened));
        assert_eq!(error(&file, &mine, 5), Some(AgeFileError::Damaged));
        for length in [0, 10, file.len() - 1] {
            assert_eq!(
                error(&file[..length], &mine, 100),
                Some(AgeFileError::Damaged)
            );
        }
        let mut changed = file.clone();
        *changed.last_mut().unwrap() ^= 1;
        assert_eq!(error(&changed, &mine, 100), Some(AgeFileError::Damaged));
    }
}
