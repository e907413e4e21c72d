//! Named values of a credential, held as secrets whether they are or not.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;

use serde::de::{Deserialize, Deserializer, Error, MapAccess, Visitor};

use crate::secret::Secret;

/// A field that breaks a rule. Holds nothing of its value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FieldProblem {
    /// The field's name, if it is one that the kind has; `*` or empty otherwise: a name that is not known
    /// is received text.
    pub field: Cow<'static, str>,
    /// The rule and what to do.
    pub rule: &'static str,
}

/// The fields are not something that can be kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum FieldsError {
    /// More than 32 fields, or more than 64 KiB in all.
    #[error("at most 32 fields of 64 KiB in all")]
    TooLarge,
    /// The stored form is not one that the service writes.
    #[error("the stored fields cannot be read")]
    Damaged,
}

/// The fields of one version, by name.
pub struct Fields(BTreeMap<String, Secret>);

impl Fields {
    /// The most fields.
    pub const MOST: usize = 32;
    /// The most bytes in all names and values.
    pub const MOST_BYTES: usize = 64 * 1024;

    /// From names and values.
    ///
    /// # Errors
    /// There are too many, or they are too long.
    pub fn new(fields: BTreeMap<String, Secret>) -> Result<Self, FieldsError> {
        let bytes: usize = fields
            .iter()
            .map(|(name, value)| name.len() + value.len())
            .sum();
        if fields.len() > Self::MOST || bytes > Self::MOST_BYTES {
            return Err(FieldsError::TooLarge);
        }
        Ok(Self(fields))
    }

    /// The names, sorted.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.0.keys().map(String::as_str)
    }

    /// The value of a field.
    pub fn get(&self, name: &str) -> Option<&Secret> {
        self.0.get(name)
    }

    /// The value of a field as text, for checks of its shape.
    pub(super) fn text(&self, name: &str) -> Option<&str> {
        // Values come from JSON strings, so they are UTF-8.
        self.0
            .get(name)
            .and_then(|value| std::str::from_utf8(value.expose_secret()).ok())
    }

    /// The canonical JSON of all fields: an object with sorted names and no spaces. This is what is
    /// sealed, and what a release passes on as it is.
    pub fn to_canonical_json(&self) -> Secret {
        self.canonical_json(|_| true)
    }

    /// The same without one field.
    pub fn to_canonical_json_without(&self, field: &str) -> Secret {
        self.canonical_json(|name| name != field)
    }

    fn canonical_json(&self, keep: impl Fn(&str) -> bool) -> Secret {
        // Never grows beyond this: growing would leave a copy behind.
        let most: usize = self
            .0
            .iter()
            .map(|(name, value)| name.len() + value.len() * 6 + 8)
            .sum();
        let mut json = Vec::with_capacity(most + 2);
        json.push(b'{');
        for (name, value) in self.0.iter().filter(|(name, _)| keep(name)) {
            if json.len() > 1 {
                json.push(b',');
            }
            let text = std::str::from_utf8(value.expose_secret()).unwrap_or_default();
            // Writing text to memory cannot fail.
            let _ = serde_json::to_writer(&mut json, name);
            json.push(b':');
            let _ = serde_json::to_writer(&mut json, text);
        }
        json.push(b'}');
        Secret::new(json)
    }
}

/// A value that is read straight into memory that is wiped.
struct Value(Secret);

impl<'de> Deserialize<'de> for Value {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Text;
        impl Visitor<'_> for Text {
            type Value = Value;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a string")
            }

            fn visit_str<E: Error>(self, text: &str) -> Result<Value, E> {
                Ok(Value(Secret::new(text.as_bytes().to_vec())))
            }

            fn visit_string<E: Error>(self, text: String) -> Result<Value, E> {
                Ok(Value(Secret::new(text.into_bytes())))
            }
        }
        deserializer.deserialize_string(Text)
    }
}

impl<'de> Deserialize<'de> for Fields {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Map;
        impl<'de> Visitor<'de> for Map {
            type Value = Fields;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object whose values are strings")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Fields, A::Error> {
                let mut fields = BTreeMap::new();
                while let Some((name, Value(value))) = map.next_entry::<String, Value>()? {
                    if fields.insert(name, value).is_some() {
                        return Err(A::Error::custom("a field is given twice"));
                    }
                }
                Fields::new(fields).map_err(A::Error::custom)
            }
        }
        deserializer.deserialize_map(Map)
    }
}

impl utoipa::PartialSchema for Fields {
    fn schema() -> utoipa::openapi::RefOr<utoipa::openapi::schema::Schema> {
        utoipa::openapi::ObjectBuilder::new()
            .schema_type(utoipa::openapi::schema::Type::Object)
            .additional_properties(Some(utoipa::openapi::schema::AdditionalProperties::RefOr(
                utoipa::openapi::ObjectBuilder::new()
                    .schema_type(utoipa::openapi::schema::Type::String)
                    .into(),
            )))
            .into()
    }
}

impl utoipa::ToSchema for Fields {}

/// What a kind may have: name, whether it must be there, the rule that its value has to keep.
pub(super) struct Rule {
    pub name: &'static str,
    pub required: bool,
    pub check: fn(&str) -> Option<&'static str>,
}

/// Checks fields against the rules of a kind.
pub(super) fn check_rules(
    fields: &Fields,
    rules: &[Rule],
    known: &'static str,
) -> Vec<FieldProblem> {
    let mut problems = Vec::new();
    for rule in rules {
        match fields.text(rule.name) {
            Some(value) => {
                if let Some(broken) = common(value).or_else(|| (rule.check)(value)) {
                    problems.push(FieldProblem {
                        field: rule.name.into(),
                        rule: broken,
                    });
                }
            }
            None if rule.required => {
                problems.push(FieldProblem {
                    field: rule.name.into(),
                    rule: "is required",
                });
            }
            None => {}
        }
    }
    if fields
        .names()
        .any(|name| !rules.iter().any(|rule| rule.name == name))
    {
        problems.push(FieldProblem {
            field: Cow::Borrowed(""),
            rule: known,
        });
    }
    problems
}

/// What no value may be.
pub(super) fn common(value: &str) -> Option<&'static str> {
    if value.is_empty() {
        return Some("must not be empty");
    }
    if value.contains('\0') {
        return Some("must not contain a NUL character");
    }
    None
}

/// Any value, but without white space at its ends: that is how a copied secret goes wrong.
pub(super) fn trimmed(value: &str) -> Option<&'static str> {
    (value.trim() != value)
        .then_some("has white space at its beginning or end: copy the value again without it")
}

/// A GUID in its usual form.
pub(super) fn is_guid(value: &str) -> bool {
    let lengths = [8, 4, 4, 4, 12];
    let parts: Vec<&str> = value.split('-').collect();
    parts.len() == lengths.len()
        && parts.iter().zip(lengths).all(|(part, length)| {
            part.len() == length && part.bytes().all(|c| c.is_ascii_hexdigit())
        })
}

/// An e-mail address.
pub(super) fn address(value: &str) -> Option<&'static str> {
    value
        .parse::<crate::model::EmailAddress>()
        .is_err()
        .then_some("must be one e-mail address such as name@example.com")
}
