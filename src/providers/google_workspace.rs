//! Google Workspace: a service account with domain-wide delegation.

mod account;
mod api;
mod token;
mod verify;

pub(super) use verify::verify;

use serde::Deserialize;

use super::fields::{FieldProblem, Fields, Rule, address, check_rules};

/// The fields whose values are secrets.
pub(super) const SECRETS: &[&str] = &["service_account_key"];

const RULES: &[Rule] = &[
    Rule {
        name: "service_account_key",
        required: true,
        check: key_file,
    },
    Rule {
        name: "delegated_user",
        required: true,
        check: address,
    },
];

/// The address of the service account, in lower case.
pub(super) fn client_email(fields: &Fields) -> Option<String> {
    let key = serde_json::from_str::<KeyFile<'_>>(fields.text("service_account_key")?).ok()?;
    Some(key.client_email.to_lowercase())
}

/// Where Google gives tokens, whatever a key file says.
const TOKEN_URI: &str = "https://oauth2.googleapis.com/token";

const KNOWN: &str =
    "has a field that this kind does not know; it knows service_account_key and delegated_user";

pub(super) fn check(fields: &Fields) -> Vec<FieldProblem> {
    check_rules(fields, RULES, KNOWN)
}

/// What is looked at in a key file. The rest is kept as it is.
#[derive(Deserialize)]
struct KeyFile<'a> {
    #[serde(rename = "type", borrow)]
    kind: std::borrow::Cow<'a, str>,
    #[serde(borrow)]
    client_email: std::borrow::Cow<'a, str>,
    #[serde(borrow)]
    private_key: std::borrow::Cow<'a, str>,
    /// Google names the key in the header of the assertion by it.
    #[serde(borrow, default)]
    private_key_id: std::borrow::Cow<'a, str>,
    #[serde(borrow)]
    token_uri: std::borrow::Cow<'a, str>,
}

fn key_file(value: &str) -> Option<&'static str> {
    let Ok(key) = serde_json::from_str::<KeyFile<'_>>(value) else {
        return Some("must be the whole JSON key file of a service account, as Google made it");
    };
    if key.kind != "service_account" {
        return Some("is a key file of another type: make a key for a service account");
    }
    if key.client_email.is_empty() || !key.private_key.contains("PRIVATE KEY") {
        return Some("lacks the service account's address or private key: download the file again");
    }
    // A key file names the host that gets a signed assertion: nothing that a client hands in may
    // choose it.
    if key.token_uri != TOKEN_URI {
        return Some("names another token_uri than https://oauth2.googleapis.com/token");
    }
    None
}

/// Whether the key file is one, but names another host for tokens.
fn names_another_host(fields: &Fields) -> bool {
    let text = fields.text("service_account_key").unwrap_or_default();
    serde_json::from_str::<KeyFile<'_>>(text).is_ok_and(|key| key.token_uri != TOKEN_URI)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rule_broken_by(key: &serde_json::Value) -> Option<&'static str> {
        key_file(&key.to_string())
    }

    #[test]
    fn a_key_file_may_not_choose_the_host() {
        let mut key = serde_json::json!({
            "type": "service_account", "client_email": "a@b.iam.gserviceaccount.com",
            "private_key": "-----BEGIN PRIVATE KEY-----\n", "private_key_id": "1",
            "token_uri": "https://oauth2.googleapis.com/token",
        });
        assert_eq!(rule_broken_by(&key), None);
        key["token_uri"] = "https://attacker.example/token".into();
        assert!(rule_broken_by(&key).is_some());
    }

    #[test]
    fn other_json_is_refused() {
        for text in ["", "{}", "[]", "{\"type\":\"authorized_user\"}"] {
            assert!(key_file(text).is_some());
        }
    }
}
