//! SPIFFE IDs and trust domains (SPIFFE-ID specification, sections 2.1 to 2.4).
//!
//! There is one spelling of every id: no percent-encoding, no upper-case host, no empty or dotted
//! segment, so that comparing bytes is comparing identities.

use std::{fmt, str::FromStr};

use crate::model::PrincipalId;

const SCHEME: &str = "spiffe://";
const MAX_ID_BYTES: usize = 2048;
const MAX_TRUST_DOMAIN_BYTES: usize = 255;

/// The text is not a SPIFFE ID, or not a trust domain.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SpiffeError {
    /// Longer than the specification allows.
    #[error("must be at most 2048 bytes, its trust domain at most 255")]
    TooLong,
    /// Not of the scheme `spiffe`.
    #[error("must begin with spiffe://")]
    Scheme,
    /// The trust domain is empty or has a forbidden character.
    #[error("the trust domain must be lower-case letters, digits, dots, dashes or underscores")]
    TrustDomain,
    /// There is no path.
    #[error("must have a path that names the workload")]
    NoPath,
    /// A segment of the path is empty, a dot or two, or has a forbidden character.
    #[error(
        "each part of the path must be letters, digits, dots, dashes or underscores, and not . or .."
    )]
    Path,
}

/// The domain of one authority's names.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TrustDomain(String);

impl TrustDomain {
    /// The domain's text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for TrustDomain {
    type Err = SpiffeError;

    fn from_str(text: &str) -> Result<Self, SpiffeError> {
        if text.len() > MAX_TRUST_DOMAIN_BYTES {
            return Err(SpiffeError::TooLong);
        }
        let allowed = |byte: u8| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'.' | b'-' | b'_');
        if text.is_empty() || !text.bytes().all(allowed) {
            return Err(SpiffeError::TrustDomain);
        }
        Ok(Self(text.to_owned()))
    }
}

impl fmt::Display for TrustDomain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for TrustDomain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The name of a workload: a trust domain and a path that is not empty.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SpiffeId {
    text: String,
    domain_end: usize,
}

impl SpiffeId {
    /// The whole id.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The trust domain.
    pub fn trust_domain(&self) -> TrustDomain {
        TrustDomain(self.text[SCHEME.len()..self.domain_end].to_owned())
    }

    /// The path with its leading slash.
    pub fn path(&self) -> &str {
        &self.text[self.domain_end..]
    }

    /// The id that Strongroom's own authority gives to a principal:
    /// `spiffe://<domain>/workload/<id>` or `spiffe://<domain>/operator/<id>`.
    pub fn of_principal(domain: &TrustDomain, principal: PrincipalId) -> Self {
        let kind = match principal {
            PrincipalId::Workload(_) => "workload",
            PrincipalId::Operator(_) => "operator",
        };
        Self {
            text: format!("{SCHEME}{domain}/{kind}/{principal}"),
            domain_end: SCHEME.len() + domain.0.len(),
        }
    }
}

impl FromStr for SpiffeId {
    type Err = SpiffeError;

    fn from_str(text: &str) -> Result<Self, SpiffeError> {
        if text.len() > MAX_ID_BYTES {
            return Err(SpiffeError::TooLong);
        }
        let rest = text.strip_prefix(SCHEME).ok_or(SpiffeError::Scheme)?;
        let (domain, path) = match rest.split_once('/') {
            Some((domain, path)) => (domain, Some(path)),
            None => (rest, None),
        };
        let domain: TrustDomain = domain.parse()?;
        let path = path
            .filter(|path| !path.is_empty())
            .ok_or(SpiffeError::NoPath)?;
        let allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_');
        let good =
            |segment: &str| !matches!(segment, "" | "." | "..") && segment.bytes().all(allowed);
        if !path.split('/').all(good) {
            return Err(SpiffeError::Path);
        }
        Ok(Self {
            text: text.to_owned(),
            domain_end: SCHEME.len() + domain.0.len(),
        })
    }
}

impl fmt::Display for SpiffeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl fmt::Debug for SpiffeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_has_a_domain_and_a_path() {
        let id: SpiffeId = "spiffe://example.org/ns/Sync-1/sa_2.x".parse().unwrap();
        assert_eq!(id.trust_domain().as_str(), "example.org");
        assert_eq!(id.path(), "/ns/Sync-1/sa_2.x");
        let own = SpiffeId::of_principal(
            &"dev-01kaqz3m8v7d6k2n4p9r5s1t0x".parse().unwrap(),
            "wkld_01kaqz3m8v7d6k2n4p9r5s1t0x".parse().unwrap(),
        );
        assert_eq!(own.as_str().parse(), Ok(own.clone()));
        assert_eq!(own.path(), "/workload/wkld_01kaqz3m8v7d6k2n4p9r5s1t0x");
    }

    #[test]
    fn anything_with_a_second_spelling_is_refused() {
        use SpiffeError::{NoPath, Path, Scheme, TrustDomain as Domain};
        for (text, error) in [
            ("", Scheme),
            ("https://example.org/a", Scheme),
            ("SPIFFE://example.org/a", Scheme),
            ("spiffe:/example.org/a", Scheme),
            (" spiffe://example.org/a", Scheme),
            ("spiffe:///a", Domain),
            ("spiffe://Example.org/a", Domain),
            ("spiffe://example.org:8080/a", Domain),
            ("spiffe://user@example.org/a", Domain),
            ("spiffe://ex%61mple.org/a", Domain),
            ("spiffe://bücher.example/a", Domain),
            ("spiffe://example.org?x/a", Domain),
            ("spiffe://[::1]/a", Domain),
            ("spiffe://example.org", NoPath),
            ("spiffe://example.org/", NoPath),
            ("spiffe://example.org//a", Path),
            ("spiffe://example.org/a/", Path),
            ("spiffe://example.org/a//b", Path),
            ("spiffe://example.org/.", Path),
            ("spiffe://example.org/a/../b", Path),
            ("spiffe://example.org/%61", Path),
            ("spiffe://example.org/a?b", Path),
            ("spiffe://example.org/a#b", Path),
            ("spiffe://example.org/a b", Path),
            ("spiffe://example.org/a\0", Path),
            ("spiffe://example.org/é", Path),
        ] {
            assert_eq!(text.parse::<SpiffeId>(), Err(error), "{text}");
        }
    }

    #[test]
    fn lengths_are_bounded() {
        let domain = "a".repeat(255);
        assert!(format!("spiffe://{domain}/b").parse::<SpiffeId>().is_ok());
        assert!(format!("spiffe://{domain}a/b").parse::<SpiffeId>().is_err());
        let path = "b".repeat(2048 - "spiffe://a/".len());
        assert!(format!("spiffe://a/{path}").parse::<SpiffeId>().is_ok());
        assert!(format!("spiffe://a/{path}b").parse::<SpiffeId>().is_err());
    }
}
