//! HMAC-SHA256 over fields (RFC 2104, FIPS 198-1).

use ring::hmac;

use crate::secret::SecretKey;

/// A key for authenticating rows, cursors, ETags and fingerprints.
///
/// No `Debug` and no `Clone`, like every secret here.
pub struct MacKey(hmac::Key);

impl MacKey {
    /// A MAC key from 32 bytes, which is the length RFC 2104 section 3 asks for at least.
    pub fn new(key: &SecretKey) -> Self {
        Self(hmac::Key::new(hmac::HMAC_SHA256, key.expose_secret()))
    }

    /// The tag over `domain` and `fields`.
    ///
    /// `domain` says what the fields are (for example `workload-row`), so that a tag made for one
    /// thing never fits another. Domain and fields each go in behind their length, so that two
    /// different lists never give the same input.
    pub fn tag(&self, domain: &'static str, fields: &[&[u8]]) -> [u8; 32] {
        let tag = self.context(domain, fields).sign();
        let mut out = [0; 32];
        out.copy_from_slice(tag.as_ref());
        out
    }

    /// Whether `tag` is the tag over `domain` and `fields`, compared in constant time.
    #[must_use]
    pub fn verify(&self, domain: &'static str, fields: &[&[u8]], tag: &[u8]) -> bool {
        let expected = self.tag(domain, fields);
        bool::from(subtle::ConstantTimeEq::ct_eq(expected.as_slice(), tag))
    }

    fn context(&self, domain: &'static str, fields: &[&[u8]]) -> hmac::Context {
        let mut context = hmac::Context::with_key(&self.0);
        for field in std::iter::once(&domain.as_bytes()).chain(fields) {
            // Eight bytes: a length that always fits, whatever a field holds.
            context.update(&(field.len() as u64).to_be_bytes());
            context.update(field);
        }
        context
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(byte: u8) -> MacKey {
        MacKey::new(&SecretKey::from_slice(&[byte; 32]).unwrap())
    }

    #[test]
    fn only_the_same_key_domain_and_fields_verify() {
        let tag = key(1).tag("row", &[b"ab", b"c"]);
        assert!(key(1).verify("row", &[b"ab", b"c"], &tag));
        assert!(!key(2).verify("row", &[b"ab", b"c"], &tag));
        assert!(!key(1).verify("cursor", &[b"ab", b"c"], &tag));
        for fields in [
            &[b"a".as_slice(), b"bc"][..],
            &[b"abc"],
            &[b"ab", b"c", b""],
            &[b"", b"ab", b"c"],
            &[],
        ] {
            assert!(!key(1).verify("row", fields, &tag));
        }
        assert!(!key(1).verify("row", &[b"ab", b"c"], &tag[..31]));
        assert!(!key(1).verify("row", &[b"ab", b"c"], &[]));
        for bit in 0..256 {
            let mut changed = tag;
            changed[bit / 8] ^= 1 << (bit % 8);
            assert!(!key(1).verify("row", &[b"ab", b"c"], &changed));
        }
    }

    /// Computed with Python: hmac.new(bytes([7])*32, (3).to_bytes(8,"big")+b"row"+(1).to_bytes(8,"big")+b"x", "sha256")
    #[test]
    fn the_bytes_are_those_that_the_comment_says() {
        let tag = key(7).tag("row", &[b"x"]);
        assert_eq!(
            hex::encode(tag),
            "58350df712a546b7e328673b4c2c7f22ce225935c1370729e3a872e38c24bb42"
        );
    }
}
