//! Forms as browsers send them: `application/x-www-form-urlencoded` (URL standard, section 5.1), read
//! strictly. Nothing is guessed: what is not UTF-8, cut short, or there twice is refused.

use std::collections::BTreeMap;

use zeroize::Zeroizing;

/// Why a form cannot be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FormError;

/// The most fields that a form may have.
const MOST_FIELDS: usize = 32;

/// The fields of a form. They may hold secrets: no `Debug`, overwritten when dropped.
pub struct Form(BTreeMap<String, Zeroizing<String>>);

impl Form {
    /// Reads a form that has no other fields than `known`.
    ///
    /// # Errors
    /// It has others, one twice or too many, or is not in the form that browsers send.
    pub fn read(body: &[u8], known: &[&str]) -> Result<Self, FormError> {
        let mut fields = BTreeMap::new();
        for pair in body.split(|byte| *byte == b'&') {
            if pair.is_empty() {
                continue;
            }
            let (name, value) = match pair.iter().position(|byte| *byte == b'=') {
                Some(at) => (&pair[..at], &pair[at + 1..]),
                None => (pair, &[][..]),
            };
            let (name, value) = (decode(name)?, decode(value)?);
            let is_new = known.contains(&name.as_str())
                && fields.len() < MOST_FIELDS
                && !fields.contains_key(name.as_str());
            if !is_new {
                return Err(FormError);
            }
            fields.insert(name.to_string(), value);
        }
        Ok(Self(fields))
    }

    /// A field, as it came; empty if it did not.
    pub fn text(&self, name: &str) -> &str {
        self.0.get(name).map_or("", |value| value.as_str())
    }

    /// Whether it came with nothing in it.
    pub fn is_empty(&self) -> bool {
        self.0.values().all(|value| value.trim().is_empty())
    }
}

fn decode(text: &[u8]) -> Result<Zeroizing<String>, FormError> {
    // Decoding never makes it longer, so that it does not grow and leave a copy behind.
    let mut out = Zeroizing::new(Vec::with_capacity(text.len()));
    let mut bytes = text.iter();
    while let Some(byte) = bytes.next() {
        out.push(match byte {
            b'+' => b' ',
            b'%' => {
                let mut digit = || bytes.next().and_then(|it| char::from(*it).to_digit(16));
                let (high, low) = (digit().ok_or(FormError)?, digit().ok_or(FormError)?);
                u8::try_from(high * 16 + low).map_err(|_| FormError)?
            }
            other => *other,
        });
    }
    String::from_utf8(std::mem::take(&mut *out))
        .map(Zeroizing::new)
        .map_err(|error| {
            drop(Zeroizing::new(error.into_bytes()));
            FormError
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_browsers_send_is_read() {
        let form = Form::read(b"a=x+%2B%C3%A9&b=&c=1%3D2%26", &["a", "b", "c"]).ok();
        let form = form.expect("a form");
        assert_eq!(form.text("a"), "x +\u{e9}");
        assert_eq!(form.text("b"), "");
        assert_eq!(form.text("c"), "1=2&");
        assert_eq!(form.text("d"), "");
        assert!(!form.is_empty());
        assert!(Form::read(b"a=+&b=", &["a", "b"]).is_ok_and(|form| form.is_empty()));
        assert!(Form::read(b"", &[]).is_ok_and(|form| form.is_empty()));
    }

    #[test]
    fn what_they_never_send_is_refused() {
        for body in [
            &b"a=1&a=2"[..],
            b"z=1",
            b"a=%",
            b"a=%4",
            b"a=%zz",
            b"a=%ff",
            b"a=\xff",
            b"=1",
            b"a=%+1",
            b"%41=1",
            b"\xef\xbb\xbfa=1",
        ] {
            assert!(Form::read(body, &["a"]).is_err(), "{body:?}");
        }
    }
}
