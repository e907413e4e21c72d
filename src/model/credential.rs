//! Credentials, their versions, and what may become of a version.

/// Declares an enum of words that are the same in JSON, SQL and messages.
macro_rules! words {
    ($($(#[$doc:meta])* $name:ident { $($(#[$vdoc:meta])* $variant:ident = $text:literal),+ $(,)? })+) => {$(
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash,
                 serde::Serialize, serde::Deserialize, utoipa::ToSchema)]
        pub enum $name {
            $($(#[$vdoc])* #[serde(rename = $text)] $variant),+
        }

        impl $name {
            /// Every word, in the order of declaration.
            pub const ALL: &'static [Self] = &[$(Self::$variant),+];

            /// The word as it is stored and shown.
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $text),+ }
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(self.as_str())
            }
        }

        impl std::str::FromStr for $name {
            type Err = $crate::model::UnknownWord;

            fn from_str(text: &str) -> Result<Self, Self::Err> {
                Self::ALL.iter().copied().find(|word| word.as_str() == text)
                    .ok_or($crate::model::UnknownWord(concat!("must be one of", $(" ", $text),+)))
            }
        }
        $crate::model::sql_text!($name);
    )+};
}
pub(crate) use words;

/// The text is none of the words; the message lists them.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct UnknownWord(pub &'static str);

words! {
    /// What system a credential opens, and so which fields it has.
    CredentialKind {
        /// An app registration in Microsoft Entra ID.
        Microsoft365 = "microsoft365",
        /// A Google service account with domain-wide delegation.
        GoogleWorkspace = "google-workspace",
        /// Any named fields.
        Generic = "generic",
    }

    /// Where a version stands.
    VersionState {
        /// Received and sealed, not released.
        Pending = "pending",
        /// The one that workers get.
        Active = "active",
        /// Replaced; still released by number, so that both work during a rotation.
        Previous = "previous",
        /// Refused by verification; its DEK is destroyed.
        Rejected = "rejected",
        /// At its end; its DEK is destroyed, the record stays.
        Retired = "retired",
    }

    /// Who vouches that a version works.
    Verification {
        /// Nobody yet.
        None = "none",
        /// An operator activated it by hand and gave a reason.
        Operator = "operator",
        /// The provider accepted it.
        Provider = "provider",
    }

    /// Who said when a version expires.
    ExpirySource {
        /// The client or an operator.
        Declared = "declared",
        /// Read from the provider.
        Provider = "provider",
    }

    /// How exactly a moment is known.
    Precision {
        /// Only the day; the moment is 00:00 UTC of it.
        Day = "day",
        /// To the second or better.
        Second = "second",
    }
}

/// The change is not one that a version's state allows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a version that is {from} cannot become {to}")]
pub struct VersionStateError {
    /// The state it has.
    pub from: VersionState,
    /// The state that was asked for.
    pub to: VersionState,
}

impl VersionState {
    /// Whether a version may go from `self` to `to`. A compromised version never becomes active
    /// again.
    ///
    /// # Errors
    /// The change is not allowed.
    pub fn change_to(self, to: Self, compromised: bool) -> Result<(), VersionStateError> {
        use VersionState::{Active, Pending, Previous, Rejected, Retired};
        let allowed = match (self, to) {
            (Pending, Active | Rejected | Retired) | (Active, Previous | Retired) => true,
            (Previous, Active) => !compromised,
            (Previous, Retired) => true,
            _ => false,
        };
        if allowed {
            Ok(())
        } else {
            Err(VersionStateError { from: self, to })
        }
    }

    /// Whether a version in this state can be released at all.
    pub const fn is_releasable(self) -> bool {
        matches!(self, Self::Active | Self::Previous)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_leaves_the_end_states() {
        for to in VersionState::ALL {
            assert!(VersionState::Retired.change_to(*to, false).is_err());
            assert!(VersionState::Rejected.change_to(*to, false).is_err());
        }
    }

    #[test]
    fn a_previous_version_may_return_unless_compromised() {
        assert!(
            VersionState::Previous
                .change_to(VersionState::Active, false)
                .is_ok()
        );
        assert!(
            VersionState::Previous
                .change_to(VersionState::Active, true)
                .is_err()
        );
    }
}
