//! What an access token says about itself. For diagnosis alone: Microsoft asks clients not to depend on
//! tokens for interfaces that are not theirs, and access granted in Exchange itself does not show in
//! them. Whatever cannot be read here fails nothing.

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use serde::Deserialize;

use crate::providers::hint::Hint;
use crate::secret::Secret;

/// What is read of the claims ("Access token claims reference").
#[derive(Deserialize, Default)]
#[serde(default)]
pub(super) struct Claims {
    /// The application permissions that an administrator granted.
    roles: Vec<String>,
}

impl Claims {
    /// Of a token; `None` if it is not a JWT that can be read.
    pub(super) fn of(token: &Secret) -> Option<Self> {
        let mut parts = token.expose_secret().split(|byte| *byte == b'.');
        let claims = URL_SAFE_NO_PAD.decode(parts.nth(1)?).ok()?;
        parts.next()?;
        serde_json::from_slice(&claims).ok()
    }

    /// What seems to be missing: each need is a list of permissions of which one is enough.
    pub(super) fn missing(&self, needs: &[&[&str]]) -> Option<Hint> {
        if self.roles.is_empty() {
            return Some(Hint::ConsentMissing);
        }
        let has = |need: &&[&str]| self.roles.iter().any(|role| need.contains(&role.as_str()));
        (!needs.iter().all(has)).then_some(Hint::PermissionMissing)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn token(claims: &str) -> Secret {
        let claims = URL_SAFE_NO_PAD.encode(claims);
        Secret::new(format!("e30.{claims}.c2ln").into_bytes())
    }

    #[test]
    fn what_is_missing_is_named_and_what_cannot_be_read_is_not() {
        let needs: &[&[&str]] = &[&["Contacts.Read", "Contacts.ReadWrite"], &["Mail.Send"]];
        for (claims, missing) in [
            (r#"{"roles":["Contacts.ReadWrite","Mail.Send"]}"#, None),
            (r#"{"roles":["Mail.Send"]}"#, Some(Hint::PermissionMissing)),
            (r#"{"roles":[]}"#, Some(Hint::ConsentMissing)),
            (r#"{"aud":"x"}"#, Some(Hint::ConsentMissing)),
        ] {
            assert_eq!(Claims::of(&token(claims)).unwrap().missing(needs), missing);
        }
        for unreadable in ["", "opaque", "a.b", "a.b.c", "e30.e30"] {
            assert!(Claims::of(&Secret::new(unreadable.into())).is_none());
        }
    }

    proptest::proptest! {
        #[test]
        fn whatever_comes_is_read_or_not(bytes: Vec<u8>, claims in ".{0,80}") {
            let _ = Claims::of(&Secret::new(bytes));
            let _ = Claims::of(&token(&claims));
        }
    }
}
