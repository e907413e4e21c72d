//! Microsoft 365: an app registration in Microsoft Entra ID.

mod app;
mod claims;
mod ews;
mod graph;
mod refusal;
mod soap;
mod tenant;
mod token;
mod verify;

pub(super) use verify::verify;

use super::fields::{FieldProblem, Fields, Rule, address, check_rules, is_guid, trimmed};

/// The fields whose values are secrets.
pub(super) const SECRETS: &[&str] = &[
    "client_secret",
    "certificate_private_key",
    "service_account_password",
];

const RULES: &[Rule] = &[
    Rule {
        name: "tenant_id",
        required: true,
        check: tenant,
    },
    Rule {
        name: "client_id",
        required: true,
        check: client,
    },
    Rule {
        name: "client_secret",
        required: false,
        check: secret,
    },
    Rule {
        name: "certificate",
        required: false,
        check: certificate,
    },
    Rule {
        name: "certificate_private_key",
        required: false,
        check: private_key,
    },
    Rule {
        name: "service_account",
        required: false,
        check: trimmed,
    },
    Rule {
        name: "service_account_password",
        required: false,
        check: |_| None,
    },
    Rule {
        name: "test_mailbox",
        required: false,
        check: address,
    },
];

const KNOWN: &str = "has a field that this kind does not know; it knows tenant_id, client_id, \
    client_secret, certificate, certificate_private_key, service_account, \
    service_account_password and test_mailbox";

pub(super) fn check(fields: &Fields) -> Vec<FieldProblem> {
    let mut problems = check_rules(fields, RULES, KNOWN);
    let has = |name| fields.get(name).is_some();
    let mut rule = |field: &'static str, rule| {
        problems.push(FieldProblem {
            field: field.into(),
            rule,
        });
    };
    match (has("client_secret"), has("certificate_private_key")) {
        (true, false) | (false, true) => {}
        (false, false) => rule(
            "client_secret",
            "is required unless certificate and certificate_private_key are given instead",
        ),
        (true, true) => rule(
            "client_secret",
            "must not be given together with certificate_private_key: the app proves itself by one",
        ),
    }
    if has("certificate_private_key") && !has("certificate") {
        rule("certificate", "is required with certificate_private_key");
    }
    if has("service_account_password") && !has("service_account") {
        rule(
            "service_account",
            "is required with service_account_password",
        );
    }
    problems
}

fn tenant(value: &str) -> Option<&'static str> {
    let domain = value.len() <= 253
        && value.contains('.')
        && value.split('.').all(|label| {
            !label.is_empty()
                && label.len() <= 63
                && label
                    .bytes()
                    .all(|c| c.is_ascii_alphanumeric() || c == b'-')
        });
    (!is_guid(value) && !domain).then_some(
        "must be the directory (tenant) ID, a GUID shown on the app's overview page in Microsoft \
         Entra ID, or a verified domain of the tenant",
    )
}

fn client(value: &str) -> Option<&'static str> {
    (!is_guid(value)).then_some(
        "must be the application (client) ID, a GUID shown on the app's overview page in Microsoft \
         Entra ID",
    )
}

fn secret(value: &str) -> Option<&'static str> {
    if is_guid(value) {
        return Some(
            "is a GUID: that is the secret's ID. Give the secret's value, which Microsoft Entra ID \
             shows once, right after the secret was made",
        );
    }
    trimmed(value)
}

fn certificate(value: &str) -> Option<&'static str> {
    (!value
        .trim_start()
        .starts_with("-----BEGIN CERTIFICATE-----"))
    .then_some("must be a certificate in PEM form")
}

fn private_key(value: &str) -> Option<&'static str> {
    let value = value.trim_start();
    (!value.starts_with("-----BEGIN PRIVATE KEY-----")
        && !value.starts_with("-----BEGIN RSA PRIVATE KEY-----")
        && !value.starts_with("-----BEGIN EC PRIVATE KEY-----"))
    .then_some("must be an unencrypted private key in PEM form")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fields(json: &str) -> Fields {
        serde_json::from_str(json).unwrap()
    }

    fn broken(json: &str) -> Vec<String> {
        check(&fields(json))
            .iter()
            .map(|problem| problem.field.to_string())
            .collect()
    }

    const IDS: &str = r#""tenant_id":"11111111-2222-3333-4444-555555555555","client_id":"aaaaaaaa-bbbb-cccc-dddd-eeeeeeeeeeee""#;

    #[test]
    fn a_secret_or_a_certificate_but_one() {
        assert!(broken(&format!(r#"{{{IDS},"client_secret":"abc~def"}}"#)).is_empty());
        assert_eq!(broken(&format!("{{{IDS}}}")), ["client_secret"]);
        let both = format!(
            r#"{{{IDS},"client_secret":"x","certificate":"-----BEGIN CERTIFICATE-----","certificate_private_key":"-----BEGIN PRIVATE KEY-----"}}"#
        );
        assert_eq!(broken(&both), ["client_secret"]);
    }

    #[test]
    fn the_id_of_a_secret_is_not_its_value() {
        let json = format!(r#"{{{IDS},"client_secret":"99999999-2222-3333-4444-555555555555"}}"#);
        let problems = check(&fields(&json));
        assert!(problems[0].rule.contains("the secret's ID"));
    }

    #[test]
    fn an_unknown_field_is_refused_without_being_repeated() {
        let json = format!(r#"{{{IDS},"client_secret":"x","canary":"y"}}"#);
        let problems = check(&fields(&json));
        assert_eq!(problems.len(), 1);
        assert!(!format!("{problems:?}").contains("canary"));
    }
}
