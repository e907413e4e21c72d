//! `NAME=<credential>.<field>`: which value goes into which variable. Nothing is implicit.

use std::{collections::BTreeSet, str::FromStr};

use zeroize::Zeroizing;

use super::document::{Document, Selector};
use crate::{cli::error::CliError, model::CredentialId};

/// One variable, and the field that becomes its value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mapping {
    /// The variable.
    pub name: String,
    /// Of which credential.
    pub credential: Selector,
    /// Which field.
    pub field: String,
}

impl FromStr for Mapping {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        const FORM: &str = "must be NAME=<credential>.<field>";
        let (name, rest) = text.split_once('=').ok_or(FORM)?;
        // A label may hold dots, the name of a field does not.
        let (credential, field) = rest.rsplit_once('.').ok_or(FORM)?;
        let begins = name
            .bytes()
            .next()
            .is_some_and(|c| c.is_ascii_alphabetic() || c == b'_');
        if !begins || !name.bytes().all(|c| c.is_ascii_alphanumeric() || c == b'_') {
            return Err("NAME must be letters, digits and _, and not begin with a digit");
        }
        if name.starts_with("STRONGROOM_") {
            return Err("NAME must not begin with STRONGROOM_, which this program reads itself");
        }
        if field.is_empty() {
            return Err(FORM);
        }
        Ok(Self {
            name: name.to_owned(),
            credential: credential.parse()?,
            field: field.to_owned(),
        })
    }
}

/// A variable with its value, and where that came from.
pub struct Resolved<'a> {
    /// What was asked for.
    pub mapping: &'a Mapping,
    /// Which credential that is.
    pub id: CredentialId,
    /// Its version.
    pub version: Option<u64>,
    /// The value of the field.
    pub value: Zeroizing<String>,
}

impl Resolved<'_> {
    /// An error that says where the value came from, never what it is.
    pub fn refuse(&self, rule: &str) -> CliError {
        let Mapping { name, field, .. } = self.mapping;
        CliError::local(format!("{name}: the field {field} of {} {rule}", self.id))
    }
}

/// Refuses a variable that is given twice.
///
/// # Errors
/// One is.
pub fn check_names<'a>(mappings: impl Iterator<Item = &'a Mapping>) -> Result<(), CliError> {
    let mut names = BTreeSet::new();
    for mapping in mappings {
        if !names.insert(&mapping.name) {
            let name = &mapping.name;
            return Err(CliError::local(format!("{name} is given twice")));
        }
    }
    Ok(())
}

/// Looks up every mapping before anything is done with one.
///
/// # Errors
/// A credential or field is not there, or a name fits more than one credential.
pub fn resolve<'a>(
    mappings: &'a [Mapping],
    document: &Document,
) -> Result<Vec<Resolved<'a>>, CliError> {
    let one = |mapping: &'a Mapping| {
        let entry = document.find(&mapping.credential)?;
        Ok(Resolved {
            mapping,
            id: entry.id,
            version: entry.version(),
            value: entry.field(&mapping.field)?,
        })
    };
    mappings.iter().map(one).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &str = "cred_01kaqz3m8v7d6k2n4p9r5s1t0a";

    #[test]
    fn a_mapping_has_one_form() {
        let mapping: Mapping = format!("SECRET={ID}.client_secret").parse().unwrap();
        assert_eq!(mapping.credential, Selector::Id(ID.parse().unwrap()));
        assert_eq!(
            (&*mapping.name, &*mapping.field),
            ("SECRET", "client_secret")
        );
        let mapping: Mapping = "_a1=example/v1.2 mail/sync.x".parse().unwrap();
        let named = Selector::Named {
            client: "example".parse().unwrap(),
            label: "v1.2 mail/sync".to_owned(),
        };
        assert_eq!(mapping.credential, named);
        for text in [
            "SECRET",
            "SECRET=",
            "=example/a.b",
            "1A=example/a.b",
            "A-B=example/a.b",
            "A=example/a",
            "A=example.b",
            "A=example/.b",
            "A=/a.b",
            "A=Example/a.b",
            "A=example/a.",
            "STRONGROOM_A=example/a.b",
        ] {
            assert!(text.parse::<Mapping>().is_err(), "{text}");
        }
    }

    #[test]
    fn a_variable_stands_once() {
        let mappings: Vec<Mapping> = ["A=a/b.c", "B=a/b.c", "A=a/b.d"]
            .iter()
            .map(|text| text.parse().unwrap())
            .collect();
        assert!(check_names(mappings[..2].iter()).is_ok());
        assert!(check_names(mappings.iter()).is_err());
    }
}
