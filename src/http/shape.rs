//! Reading JSON and query strings into typed values, strictly, with errors in our own words.
//!
//! The messages of serde and serde_json repeat what was received (an unknown field's name, a wrong
//! string), and what was received may be a secret. So the text is first read into a small tree, and
//! the tree into the type through a deserializer whose errors hold the path and the rule only. On
//! the way it is stricter than serde: unknown fields are refused in every struct, and no object may
//! have one name twice, whatever the type wants.

mod error;
mod read;
mod tree;

pub use error::ShapeError;
pub use read::Source;
pub use tree::{MAX_DEPTH, SyntaxError};

use serde::de::DeserializeOwned;

/// Why a JSON text was not taken.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum JsonError {
    /// It is not JSON, or not JSON as we take it.
    #[error(transparent)]
    Syntax(#[from] SyntaxError),
    /// It is JSON of another shape.
    #[error(transparent)]
    Shape(#[from] ShapeError),
}

/// Reads `text` as one JSON value of the type.
///
/// # Errors
/// The text is not JSON, is nested too deeply, repeats a name, or has another shape.
pub fn from_json<T: DeserializeOwned>(text: &[u8]) -> Result<T, JsonError> {
    let node = tree::parse(text)?;
    Ok(read::read(node, Source::Json)?)
}

/// Reads the pairs of a query string as a struct. Numbers and truth values are read from text.
///
/// # Errors
/// A parameter is not known, missing, given twice, or breaks a rule.
pub fn from_pairs<T: DeserializeOwned>(pairs: Vec<(String, String)>) -> Result<T, ShapeError> {
    let node = tree::from_pairs(pairs)
        .ok_or_else(|| ShapeError::new("has a parameter that is given twice"))?;
    read::read(node, Source::Query)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use serde::Deserialize;

    use super::*;

    /// Stands for a secret that must come back in no error.
    const CANARY: &str = "Kanarienvogel-7Q";

    #[derive(Debug, Deserialize)]
    #[expect(dead_code, reason = "only read from JSON")]
    struct Deposit {
        name: crate::model::Slug,
        count: u8,
        on: Option<bool>,
        kind: Option<crate::model::CredentialKind>,
        #[serde(default)]
        people: Vec<Person>,
        #[serde(default)]
        fields: BTreeMap<String, String>,
        shape: Option<Shape>,
    }

    #[derive(Debug, Deserialize)]
    #[expect(dead_code, reason = "only read from JSON")]
    struct Person {
        email: String,
    }

    #[derive(Debug, Deserialize)]
    #[serde(rename_all = "kebab-case")]
    #[expect(dead_code, reason = "only read from JSON")]
    enum Shape {
        Round,
        Square(u8),
        Long { by: u8 },
    }

    fn refused(text: &str) -> String {
        let error = from_json::<Deposit>(text.as_bytes()).unwrap_err();
        let shown = format!("{error} {error:?}");
        assert!(!shown.contains(CANARY), "{shown}");
        error.to_string()
    }

    #[test]
    fn a_right_shape_is_read() {
        let text = br#"{"name":"a-b","count":7,"on":null,"kind":"generic","people":[{"email":"x"}],
            "fields":{"a":"b\n\u00e9"},"shape":{"long":{"by":2}}}"#;
        let deposit: Deposit = from_json(text).unwrap();
        assert_eq!(deposit.name.as_str(), "a-b");
        assert_eq!(deposit.fields["a"], "b\né");
        assert!(matches!(deposit.shape, Some(Shape::Long { by: 2 })));
        for shape in [r#""round""#, r#"{"square":3}"#] {
            let text = format!(r#"{{"name":"a","count":1,"shape":{shape}}}"#);
            from_json::<Deposit>(text.as_bytes()).unwrap();
        }
    }

    #[test]
    fn an_error_names_the_path_and_the_rule_and_never_what_came() {
        let c = CANARY;
        let known = "known fields are: name, count, on, kind, people, fields, shape";
        for (text, expected) in [
            (
                format!(r#"{{"name":"a","count":1,"{c}":1}}"#),
                format!("it has a field that is not known; {known}"),
            ),
            (
                format!(r#"{{"name":"a","count":"{c}"}}"#),
                "count must be a whole number from 0 to 255".into(),
            ),
            (
                r#"{"name":"a","count":256}"#.into(),
                "count must be a whole number from 0 to 255".into(),
            ),
            (
                r#"{"name":"a","count":1.5}"#.into(),
                "count must be a whole number from 0 to 255".into(),
            ),
            (r#"{"name":"a"}"#.into(), "count is missing".into()),
            (
                format!(r#"{{"name":"a","count":1,"on":"{c}"}}"#),
                "on must be true or false".into(),
            ),
            (
                format!(
                    r#"{{"name":"a","count":1,"people":[{{"email":"x"}},{{"email":["{c}"]}}]}}"#
                ),
                "people[1].email must be a string".into(),
            ),
            (
                format!(r#"{{"name":"a","count":1,"people":[{{"email":"x","{c}":1}}]}}"#),
                "people[0] has a field that is not known; known fields are: email".into(),
            ),
            (
                format!(r#"{{"name":"a","count":1,"people":[{{"{c}":1}}]}}"#),
                "people[0] has a field that is not known; known fields are: email".into(),
            ),
            (
                format!(r#"{{"name":"a","count":1,"people":"{c}"}}"#),
                "people must be an array".into(),
            ),
            (
                format!(r#"{{"name":"a","count":1,"fields":{{"{c}":7}}}}"#),
                "fields.* must be a string".into(),
            ),
            (
                format!(r#"{{"name":"a","count":1,"shape":"{c}"}}"#),
                "shape must be one of: round, square, long".into(),
            ),
            (
                format!(r#"{{"name":"a","count":1,"shape":{{"long":{{"{c}":1}}}}}}"#),
                "shape.long has a field that is not known; known fields are: by".into(),
            ),
            (format!(r#""{c}""#), "it must be an object".into()),
        ] {
            assert_eq!(refused(&text), expected, "{text}");
        }
        // The words for these come from the model.
        refused(&format!(r#"{{"name":"{c}","count":1}}"#));
        refused(&format!(r#"{{"name":"a","count":1,"kind":"{c}"}}"#));
    }

    #[test]
    fn a_type_that_repeats_what_came_is_not_quoted() {
        #[derive(Debug)]
        struct Loud;
        impl<'de> Deserialize<'de> for Loud {
            fn deserialize<D: serde::Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
                let text = String::deserialize(from)?;
                Err(serde::de::Error::custom(format!("cannot use {text}")))
            }
        }
        let error = from_json::<Vec<Loud>>(format!(r#"["{CANARY}"]"#).as_bytes()).unwrap_err();
        assert_eq!(error.to_string(), "[0] is not valid");
    }

    #[test]
    fn what_is_not_json_is_said_by_place_only() {
        let c = CANARY;
        assert_eq!(
            refused(&format!("{{\n \"{c}\": {c}}}")),
            "the body is not valid JSON at line 2, column 22"
        );
        assert!(refused(&format!(r#"{{"{c}""#)).starts_with("the JSON ends too early"));
        assert!(refused("").starts_with("the JSON ends too early"));
        assert!(refused("{} {}").starts_with("the body is not valid JSON"));
        for text in [
            format!(r#"{{"name":"a","name":"{c}","count":1}}"#),
            // The same name, escaped.
            format!(r#"{{"name":"a","n\u0061me":"{c}","count":1}}"#),
            // Also where the type is a map.
            format!(r#"{{"name":"a","count":1,"fields":{{"{c}":"1","{c}":"2"}}}}"#),
        ] {
            assert!(refused(&text).starts_with("an object of the JSON has the same name twice"));
        }
    }

    #[test]
    fn nesting_ends_at_sixteen() {
        let nested = |depth: usize| format!("{}1{}", "[".repeat(depth), "]".repeat(depth));
        let read = |depth| from_json::<serde::de::IgnoredAny>(nested(depth).as_bytes());
        assert!(read(16).is_ok());
        for depth in [17, 100, 1000, 100_000] {
            let error = read(depth).unwrap_err().to_string();
            assert!(
                error.starts_with("the JSON is nested deeper than 16 levels"),
                "{error}"
            );
        }
        // Brackets inside a string are not nesting.
        assert!(from_json::<String>(format!("\"{}\"", "[".repeat(1000)).as_bytes()).is_ok());
    }

    #[test]
    fn many_names_in_one_object_take_no_time() {
        let members: Vec<String> = (0..30_000).map(|n| format!("\"{n}\":1")).collect();
        let text = format!("{{{}}}", members.join(","));
        let read: BTreeMap<String, u8> = from_json(text.as_bytes()).unwrap();
        assert_eq!(read.len(), 30_000);
    }

    #[test]
    fn a_query_is_read_as_strictly() {
        #[derive(Debug, PartialEq, Deserialize)]
        struct Filter {
            client: Option<String>,
            version: Option<i64>,
            live: Option<bool>,
        }
        let read = |pairs: &[(&str, &str)]| {
            let pairs = pairs
                .iter()
                .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
                .collect();
            from_pairs::<Filter>(pairs).map_err(|error| {
                let field = error.into_field_error("(query)");
                assert!(!format!("{field:?}").contains(CANARY));
                format!("{} {}", field.field, field.rule)
            })
        };
        assert_eq!(
            read(&[("client", "7"), ("version", "7"), ("live", "true")]).unwrap(),
            Filter {
                client: Some("7".into()),
                version: Some(7),
                live: Some(true)
            }
        );
        assert_eq!(
            read(&[(CANARY, "1")]).unwrap_err(),
            "(query) has a parameter that is not known; known parameters are: client, version, live"
        );
        assert!(
            read(&[("version", CANARY)])
                .unwrap_err()
                .starts_with("version must be a whole")
        );
        assert!(read(&[("version", "+7")]).is_err());
        assert!(read(&[("client", "a"), ("client", "b")]).is_err());
    }
}
