//! What is wrong with a value's shape: a path and a rule, in our own words.

use std::{borrow::Cow, fmt};

use serde::de;

use crate::http::problem::FieldError;

/// One step of a path.
pub(super) enum Segment {
    Field(&'static str),
    Index(usize),
    /// A name that the caller chose, which must not be repeated.
    Chosen,
}

/// A value has another shape than is wanted. Holds no received text.
pub struct ShapeError {
    /// From the inside out.
    path: Vec<Segment>,
    rule: Cow<'static, str>,
    /// Whether the rule's words come from a type outside this module.
    foreign: bool,
}

impl ShapeError {
    pub(super) fn new(rule: impl Into<Cow<'static, str>>) -> Self {
        Self {
            path: Vec::new(),
            rule: rule.into(),
            foreign: false,
        }
    }

    pub(super) fn under(mut self, segment: Segment) -> Self {
        self.path.push(segment);
        self
    }

    /// Replaces a foreign rule that repeats `text`: the types of the model do not, and one that is
    /// added later must not get the chance.
    pub(super) fn without(mut self, text: &str) -> Self {
        if self.foreign && self.path.is_empty() && text.len() > 5 && self.rule.contains(text) {
            self.rule = Cow::Borrowed("is not valid");
        }
        self
    }

    /// The path of the field, such as `contacts[2].email`; `root` if it is the whole.
    pub fn path(&self, root: &str) -> String {
        if self.path.is_empty() {
            return root.to_owned();
        }
        let mut path = String::new();
        for segment in self.path.iter().rev() {
            if !matches!(segment, Segment::Index(_)) && !path.is_empty() {
                path.push('.');
            }
            match segment {
                Segment::Field(name) => path.push_str(name),
                Segment::Index(index) => path.push_str(&format!("[{index}]")),
                Segment::Chosen => path.push('*'),
            }
        }
        path
    }

    /// As one entry of a problem's `errors`.
    pub fn into_field_error(self, root: &str) -> FieldError {
        FieldError::new(self.path(root), self.rule)
    }
}

impl fmt::Display for ShapeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.path("it"), self.rule)
    }
}

impl fmt::Debug for ShapeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl PartialEq for ShapeError {
    fn eq(&self, other: &Self) -> bool {
        self.rule == other.rule && self.path("") == other.path("")
    }
}

impl Eq for ShapeError {}

impl std::error::Error for ShapeError {}

/// Words of ours, as a list.
pub(super) fn listed(words: &'static [&'static str]) -> String {
    if words.is_empty() {
        "(none)".to_owned()
    } else {
        words.join(", ")
    }
}

impl de::Error for ShapeError {
    fn custom<M: fmt::Display>(message: M) -> Self {
        Self {
            foreign: true,
            ..Self::new(message.to_string())
        }
    }

    fn invalid_type(_: de::Unexpected<'_>, expected: &dyn de::Expected) -> Self {
        Self::new(format!("must be {expected}"))
    }

    fn invalid_value(_: de::Unexpected<'_>, expected: &dyn de::Expected) -> Self {
        Self::new(format!("must be {expected}"))
    }

    fn invalid_length(_: usize, expected: &dyn de::Expected) -> Self {
        Self::new(format!("must be {expected}"))
    }

    fn unknown_variant(_: &str, expected: &'static [&'static str]) -> Self {
        Self::new(format!("must be one of: {}", listed(expected)))
    }

    fn unknown_field(_: &str, expected: &'static [&'static str]) -> Self {
        Self::new(format!(
            "has a field that is not known; known fields are: {}",
            listed(expected)
        ))
    }

    fn missing_field(field: &'static str) -> Self {
        Self::new("is missing").under(Segment::Field(field))
    }

    fn duplicate_field(field: &'static str) -> Self {
        Self::new("is given twice").under(Segment::Field(field))
    }
}
