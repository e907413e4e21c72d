//! Any named fields: for systems that Strongroom knows nothing of.

use std::borrow::Cow;

use super::fields::{FieldProblem, Fields, common};

pub(super) fn check(fields: &Fields) -> Vec<FieldProblem> {
    let mut problems = Vec::new();
    let mut rule = |field: Cow<'static, str>, rule| problems.push(FieldProblem { field, rule });
    if fields.names().next().is_none() {
        rule("".into(), "must have at least one field");
    }
    for name in fields.names() {
        let first = name.bytes().next().is_some_and(|c| c.is_ascii_lowercase());
        let rest = name
            .bytes()
            .all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == b'_');
        if !first || !rest || name.len() > 64 {
            rule(
                "".into(),
                "has a field whose name is not 1 to 64 characters of a-z, 0-9 and _, beginning \
                 with a letter",
            );
        } else if let Some(broken) = fields.text(name).and_then(common) {
            // The name is received text as well, so it is not repeated.
            rule("*".into(), broken);
        }
    }
    problems
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_have_one_form() {
        let broken = |json: &str| check(&serde_json::from_str(json).unwrap()).len();
        assert_eq!(broken(r#"{"a":"x","b_2":"y"}"#), 0);
        assert_eq!(broken("{}"), 1);
        for json in [
            r#"{"A":"x"}"#,
            r#"{"":"x"}"#,
            r#"{"a-b":"x"}"#,
            r#"{"a":""}"#,
        ] {
            assert_eq!(broken(json), 1, "{json}");
        }
    }
}
