//! The pages can be used by everybody: by keyboard, by ear, on a small phone (WCAG 2.2, level AA).

use serde_json::{Value, json};

use super::{WORKS, begin, fill, handed_in, link};
use crate::intake_pages::path_of;
use crate::support::{Admin, Backend, Browser, Service};

/// The key Tab, and the one to begin with Shift (WebDriver, section 17.4.2).
const TAB: &str = "\u{e004}";
const ENTER: &str = "\u{e007}";

fn link_of_kind(service: &Service, admin: &Admin, kind: &str, code: bool) -> String {
    let new = json!({"client": "example-realty", "label": kind, "kind": kind,
        "environment": "production", "roles": ["m365-sync"]});
    let body = json!({"new": new, "contact": "ada@example-realty.example", "no_mail": true,
        "code": code});
    let invited: Value = admin.create("/invites", &body);
    path_of(service, &invited).to_owned()
}

#[test]
fn every_page_is_accessible_on_a_desktop_and_on_a_phone() {
    let (service, admin) = begin(&Backend::Sqlite);
    let mut browser = Browser::new(&service);
    for (kind, code) in [
        ("microsoft365", true),
        ("google-workspace", false),
        ("generic", false),
    ] {
        let link = link_of_kind(&service, &admin, kind, code);
        browser.open(&link);
        browser.wait_for("Your browser seals this form");
        browser.look_at(&format!("form of {kind}"));
        browser.press("Send and check");
        browser.wait_for("Please correct this");
        browser.wait_for_focus("errors");
        browser.look_at(&format!("form of {kind} with errors"));
        browser.press("Show me how, step by step");
        browser.look_at(&format!("guide of {kind}"));
    }
    let handed_on = link(&service, &admin, "handed on");
    browser.open(&handed_on);
    browser.press("Send this to a colleague");
    browser.look_at("colleague");
    browser.press("Send the link");
    browser.wait_for_focus("errors");
    browser.look_at("colleague with errors");
    browser.fill("name", "Grace");
    browser.fill("email", "grace@example-realty.example");
    browser.press("Send the link");
    browser.wait_for("Your colleague gets a link");
    browser.look_at("handed on");
    let link = link(&service, &admin, "answered");
    browser.open(&link);
    browser.press("We will use free Gmail");
    browser.wait_for("Thank you for telling us");
    browser.look_at("answered");
    browser.open("/i/AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8");
    browser.wait_for("This link cannot be used");
    browser.look_at("gone");
    browser.finish();
}

#[test]
fn the_keyboard_alone_is_enough() {
    let (service, admin) = begin(&Backend::Sqlite);
    let link = link(&service, &admin, "calendar sync");
    let mut browser = Browser::new(&service);
    browser.open(&link);
    browser.wait_for("Your browser seals this form");
    let mut passed = Vec::new();
    while passed.last().is_none_or(|at| at != "Send and check") {
        assert!(passed.len() < 20, "{passed:?}");
        browser.keys(TAB);
        passed.push(browser.focus());
        let outline = browser.run(
            "const style = getComputedStyle(document.activeElement);
             return style.outlineStyle + ' ' + style.outlineWidth",
        );
        assert_eq!(outline, "solid 3px", "{passed:?}");
    }
    let expected = [
        "Skip to the content",
        "Show me how, step by step",
        "tenant_id",
        "client_id",
        "client_secret",
        "expires_at",
        "Instead of a secret: a certificate",
        "test_mailbox",
        "Send and check",
    ];
    assert_eq!(passed, expected);
    // Sent empty: the summary has the focus, and leads to the field.
    fill(
        &browser,
        &super::Filled {
            client: "no GUID",
            ..WORKS
        },
    );
    browser.keys(ENTER);
    browser.wait_for("Please correct this");
    browser.wait_for_focus("errors");
    browser.keys(TAB);
    browser.keys(ENTER);
    browser.wait_for_focus("client_id");
    // Enter in a field sends the form.
    fill(&browser, &WORKS);
    browser.keys(ENTER);
    browser.wait_for("It works");
    assert_eq!(handed_in(&admin)[0]["sealing"], "browser");
    browser.finish();
}

/// That the other stories could fail.
#[test]
fn what_must_not_be_on_a_page_would_be_seen() {
    let (service, _) = begin(&Backend::Sqlite);
    let mut browser = Browser::new(&service);
    browser.open("/i/none");
    browser.finish();
    let (findings, complaints) = browser.spoil();
    for rule in ["image-alt", "page-has-heading-one"] {
        assert!(findings.contains(rule), "{findings}");
    }
    for word in ["img-src", "style-src"] {
        assert!(
            complaints.iter().any(|it| it.contains(word)),
            "{complaints:?}"
        );
    }
}
