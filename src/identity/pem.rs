//! PEM files with exactly one block (RFC 7468), read strictly and written.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use zeroize::Zeroizing;

/// Longest file that is read.
const MAX_BYTES: usize = 64 * 1024;
const BEGIN: &str = "-----BEGIN ";
const DASHES: &str = "-----";

/// The file is not one PEM block of the expected kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PemError {
    /// There is no block at all, or the file is too long.
    #[error("must be a PEM file with one block")]
    NotPem,
    /// There are several blocks.
    #[error("must hold exactly one PEM block")]
    Several,
    /// A private key where something public belongs.
    #[error("holds a private key; give the public part only")]
    PrivateKey,
    /// A private key in a form that is not read.
    #[error(
        "must be an unencrypted PKCS#8 private key (BEGIN PRIVATE KEY); convert it with openssl pkcs8 -topk8 -nocrypt"
    )]
    PrivateKeyForm,
    /// The block is of another kind.
    #[error("the PEM block must be a {0}")]
    Kind(&'static str),
    /// The text between the lines is not base64.
    #[error("the PEM block is damaged")]
    Damaged,
}

/// The contents of the one block of `text`, which must be labelled `label`. Text around the block is
/// ignored, as RFC 7468 allows.
///
/// # Errors
/// See [`PemError`]. A private key where `label` is not one is told apart, so that whoever sent it
/// learns what they have done.
pub fn read_one(text: &str, label: &'static str) -> Result<Zeroizing<Vec<u8>>, PemError> {
    read_one_within(text, label, MAX_BYTES)
}

/// The same for a text of at most `most` bytes.
///
/// # Errors
/// See [`read_one`].
pub fn read_one_within(
    text: &str,
    label: &'static str,
    most: usize,
) -> Result<Zeroizing<Vec<u8>>, PemError> {
    if text.len() > most {
        return Err(PemError::NotPem);
    }
    let wants_private = label.ends_with("PRIVATE KEY");
    let mut blocks = text.match_indices(BEGIN);
    let Some((start, _)) = blocks.next() else {
        return Err(PemError::NotPem);
    };
    if !wants_private && text.contains("PRIVATE KEY-----") {
        return Err(PemError::PrivateKey);
    }
    if wants_private
        && !text.contains("-----BEGIN PRIVATE KEY-----")
        && text.contains("PRIVATE KEY-----")
    {
        return Err(PemError::PrivateKeyForm);
    }
    if blocks.next().is_some() {
        return Err(PemError::Several);
    }
    let rest = &text[start + BEGIN.len()..];
    let (found, rest) = rest.split_once(DASHES).ok_or(PemError::NotPem)?;
    if found != label {
        return Err(PemError::Kind(label));
    }
    let (body, rest) = rest.split_once("-----END ").ok_or(PemError::Damaged)?;
    if !rest
        .strip_prefix(label)
        .is_some_and(|rest| rest.starts_with(DASHES))
    {
        return Err(PemError::Damaged);
    }
    // Sized once: growing would leave copies of a private key behind.
    let mut packed = Zeroizing::new(Vec::with_capacity(body.len()));
    packed.extend(body.bytes().filter(|byte| !byte.is_ascii_whitespace()));
    let mut bytes = Zeroizing::new(vec![0; packed.len() / 4 * 3 + 3]);
    let length = STANDARD
        .decode_slice(packed.as_slice(), &mut bytes)
        .map_err(|_| PemError::Damaged)?;
    if length == 0 {
        return Err(PemError::Damaged);
    }
    bytes.truncate(length);
    Ok(bytes)
}

/// `bytes` as one block labelled `label`, in lines of 64 characters.
pub fn write_one(bytes: &[u8], label: &str) -> Zeroizing<String> {
    let mut packed = Zeroizing::new(vec![0; bytes.len().div_ceil(3) * 4]);
    // Unwrap safety: the buffer has the exact length of the encoding.
    let length = STANDARD.encode_slice(bytes, &mut packed).unwrap();
    let mut text = Zeroizing::new(String::with_capacity(
        length + length / 64 + 2 * label.len() + 64,
    ));
    text.push_str(BEGIN);
    text.push_str(label);
    text.push_str("-----\n");
    for line in packed[..length].chunks(64) {
        // Unwrap safety: base64 is ASCII.
        text.push_str(std::str::from_utf8(line).unwrap());
        text.push('\n');
    }
    text.push_str("-----END ");
    text.push_str(label);
    text.push_str("-----\n");
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_block_comes_back() {
        for length in [1, 47, 48, 49, 1000] {
            let bytes: Vec<u8> = (0..length).map(|i| i as u8).collect();
            let text = write_one(&bytes, "PUBLIC KEY");
            assert_eq!(read_one(&text, "PUBLIC KEY").unwrap().as_slice(), bytes);
            let wrapped = format!("a comment\r\n{}\nmore", text.replace('\n', "\r\n"));
            assert_eq!(read_one(&wrapped, "PUBLIC KEY").unwrap().as_slice(), bytes);
        }
    }

    #[test]
    fn anything_else_is_refused_with_what_is_wrong() {
        let public = write_one(b"abc", "PUBLIC KEY");
        let private = write_one(b"abc", "EC PRIVATE KEY");
        let two = format!("{}{}", *public, *public);
        let mixed = format!("{}{}", *public, *private);
        for (text, label, error) in [
            ("", "PUBLIC KEY", PemError::NotPem),
            ("-----BEGIN ", "PUBLIC KEY", PemError::NotPem),
            (&two, "PUBLIC KEY", PemError::Several),
            (&mixed, "PUBLIC KEY", PemError::PrivateKey),
            (&private, "PUBLIC KEY", PemError::PrivateKey),
            (&private, "PRIVATE KEY", PemError::PrivateKeyForm),
            (&public, "CERTIFICATE", PemError::Kind("CERTIFICATE")),
            ("-----BEGIN X-----\n-----END X-----", "X", PemError::Damaged),
            (
                "-----BEGIN X-----\n!!!!\n-----END X-----",
                "X",
                PemError::Damaged,
            ),
            (
                "-----BEGIN X-----\nYWJj\n-----END Y-----",
                "X",
                PemError::Damaged,
            ),
            ("-----BEGIN X-----\nYWJj\n", "X", PemError::Damaged),
        ] {
            assert_eq!(read_one(text, label).unwrap_err(), error, "{text}");
        }
    }
}
