//! Names in their one canonical form.

use std::{fmt, str::FromStr, sync::Arc};

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use unicode_normalization::UnicodeNormalization;

/// Which rule of a name was broken. Says the rule, never the text that was given.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    #[error(
        "must be 1 to 64 characters: lower-case letters, digits and single hyphens, \
         beginning and ending with a letter or digit"
    )]
    /// Not a [`Slug`].
    Slug,
    #[error("must be 1 to 120 characters, NFC, without control characters or outer spaces")]
    /// Not a [`DisplayName`].
    Display,
    #[error("must be one e-mail address such as name@example.com, at most 254 characters")]
    /// Not an [`EmailAddress`].
    Email,
}

macro_rules! text_type {
    ($($(#[$doc:meta])* $name:ident, max = $max:literal;)+) => {$(
        $(#[$doc])*
        /// Cheap to clone: principals and cached rows hold names and are cloned for each request.
        #[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(Arc<str>);

        impl $name {
            /// The canonical text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(&self.0)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
            }
        }

        impl utoipa::PartialSchema for $name {
            fn schema() -> utoipa::openapi::RefOr<utoipa::openapi::schema::Schema> {
                utoipa::openapi::ObjectBuilder::new()
                    .schema_type(utoipa::openapi::schema::Type::String)
                    .min_length(Some(1))
                    .max_length(Some($max))
                    .into()
            }
        }

        impl utoipa::ToSchema for $name {}
        super::sql_text::sql_text!($name);
    )+};
}

text_type! {
    /// A name that programs use: roles, environments, workloads, the short name of a client.
    Slug, max = 64;
    /// A name that people read.
    DisplayName, max = 120;
    /// An e-mail address: one mailbox, no display name, no line break, so that it can stand in a
    /// header and an envelope as it is.
    EmailAddress, max = 254;
}

impl FromStr for Slug {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        let allowed = |c: u8| c.is_ascii_lowercase() || c.is_ascii_digit() || c == b'-';
        let ok = (1..=64).contains(&text.len())
            && text.bytes().all(allowed)
            && !text.starts_with('-')
            && !text.ends_with('-')
            && !text.contains("--");
        if ok {
            Ok(Self(text.into()))
        } else {
            Err(NameError::Slug)
        }
    }
}

impl FromStr for DisplayName {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        let hidden = |c: char| {
            c.is_control()
                // Invisible and direction-changing characters make two names look the same.
                || matches!(c, '\u{00AD}' | '\u{061C}' | '\u{200B}'..='\u{200F}'
                    | '\u{2028}'..='\u{202E}' | '\u{2060}'..='\u{206F}' | '\u{FEFF}')
        };
        let ok = !text.is_empty()
            && text.chars().count() <= 120
            && text.trim() == text
            && !text.chars().any(hidden)
            && text.nfc().eq(text.chars());
        if ok {
            Ok(Self(text.into()))
        } else {
            Err(NameError::Display)
        }
    }
}

impl FromStr for EmailAddress {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        // The dot-atom form of RFC 5322 3.4.1 only: quoted local parts and literals are refused,
        // because they are where header injection hides and no client has needed one.
        let atom = |c: u8| c.is_ascii_alphanumeric() || b"!#$%&'*+-/=?^_`{|}~".contains(&c);
        let ok = text.len() <= 254
            && text.rsplit_once('@').is_some_and(|(local, domain)| {
                let local_ok = (1..=64).contains(&local.len())
                    && local
                        .split('.')
                        .all(|part| !part.is_empty() && part.bytes().all(atom));
                let label_ok = |label: &str| {
                    (1..=63).contains(&label.len())
                        && label
                            .bytes()
                            .all(|c| c.is_ascii_alphanumeric() || c == b'-')
                        && !label.starts_with('-')
                        && !label.ends_with('-')
                };
                local_ok && domain.contains('.') && domain.split('.').all(label_ok)
            });
        if ok {
            Ok(Self(text.into()))
        } else {
            Err(NameError::Email)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slug_has_one_form() {
        for text in ["production", "m365-sync", "a", "0", "a1-b2"] {
            assert_eq!(text.parse::<Slug>().unwrap().as_str(), text);
        }
        let long = "a".repeat(65);
        for text in [
            "", "PROD", " prod", "prod ", "a--b", "-a", "a-", "a_b", "a/b", "..", "é", &long,
        ] {
            assert_eq!(text.parse::<Slug>(), Err(NameError::Slug), "{text}");
        }
    }

    #[test]
    fn a_display_name_hides_nothing() {
        for text in ["Example Realty", "Müller & Söhne", "株式会社"] {
            assert!(text.parse::<DisplayName>().is_ok(), "{text}");
        }
        let long = "a".repeat(121);
        // The sixth is a decomposed "é": not NFC.
        for text in [
            "",
            " a",
            "a ",
            "a\nb",
            "a\u{202E}b",
            "e\u{0301}",
            "a\u{200B}",
            &long,
        ] {
            assert_eq!(
                text.parse::<DisplayName>(),
                Err(NameError::Display),
                "{text:?}"
            );
        }
    }

    #[test]
    fn an_address_cannot_carry_a_header() {
        for text in ["it@example.com", "a.b+c@sub.example.co.uk"] {
            assert!(text.parse::<EmailAddress>().is_ok(), "{text}");
        }
        for text in [
            "",
            "it",
            "it@",
            "@example.com",
            "it@example",
            "it@example.com\r\nBcc: x@y.z",
            "\"a b\"@example.com",
            "it@[127.0.0.1]",
            ".a@example.com",
            "a..b@example.com",
            "it@-example.com",
            "<it@example.com>",
            "it@example.com,x@example.com",
        ] {
            assert_eq!(
                text.parse::<EmailAddress>(),
                Err(NameError::Email),
                "{text:?}"
            );
        }
    }
}
