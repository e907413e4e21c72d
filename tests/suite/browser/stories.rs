//! A client with a browser hands in what works.

use super::{WORKS, begin, fill, handed_in, link, send, slow};
use crate::support::browser::{PHONE, WINDOW};
use crate::support::http::Tls;
use crate::support::{Backend, Browser, Client, Request, on_both};

on_both!(a_form_is_sealed_in_the_browser_and_watched_until_it_works);

fn a_form_is_sealed_in_the_browser_and_watched_until_it_works(backend: Backend) {
    let (service, admin) = begin(&backend);
    let link = link(&service, &admin, "calendar sync");
    let mut browser = Browser::new(&service);

    // Scanners come first: one that only looks, and one that presses the button of the empty form.
    let scanner = Client::new(service.pages(), Tls::anonymous(&service.ca()));
    scanner.get(&link).expect(200);
    let mut open = scanner.connect();
    open.start(&Request::new("HEAD", &link)).expect("a request");
    assert_eq!(open.receive_head().expect("an answer").0, 200);
    browser.open(&link);
    browser.press("Send and check");
    browser.wait_for("The form is empty");
    assert!(handed_in(&admin).is_empty());

    // The person, with a phone.
    browser.open(&link);
    browser.wait_for("Your browser seals this form before it is sent");
    browser.picture("form-phone", PHONE);
    browser.picture("form", WINDOW);
    slow(&service);
    send(&browser, &WORKS);
    // It goes on by itself: nothing is pressed or loaded here.
    browser.wait_for("We are checking it");
    let page = browser.wait_for("It works");
    assert!(page.contains("Contacts can be read"), "{page}");
    assert!(!page.contains(WORKS.secret));
    browser.picture("success", WINDOW);
    browser.look_at("success");

    let handed_in = handed_in(&admin);
    assert_eq!(handed_in.len(), 1, "{handed_in:#?}");
    assert_eq!(handed_in[0]["sealing"], "browser");
    assert_eq!(handed_in[0]["state"], "verified");
    // Nothing that was typed left the browser unsealed.
    let sent = browser.sent();
    let sealed = sent.iter().filter(|(_, body)| body.starts_with("sealed="));
    assert_eq!(sealed.count(), 2, "{sent:?}");
    for typed in [WORKS.secret, WORKS.tenant, WORKS.client, "client_secret"] {
        let leaks = sent
            .iter()
            .find(|(url, body)| url.contains(typed) || body.contains(typed));
        assert!(leaks.is_none(), "{leaks:?}");
    }
    browser.finish();
}

/// Who was told that the form is sealed does not have it sent otherwise; and once is once.
#[test]
fn nothing_is_sent_that_could_not_be_sealed_and_nothing_twice() {
    let (service, admin) = begin(&Backend::Sqlite);
    let link = link(&service, &admin, "calendar sync");
    let mut browser = Browser::new(&service);
    browser.open(&link);
    browser.run("crypto.subtle.generateKey = () => Promise.reject(new Error('broken'))");
    send(&browser, &WORKS);
    let page = browser.wait_for("nothing was sent");
    assert!(
        page.contains("Your browser could not seal the form"),
        "{page}"
    );
    browser.look_at("form that was not sent");
    let forms = |sent: &[(String, String)]| sent.iter().filter(|it| !it.1.is_empty()).count();
    assert_eq!(forms(browser.sent()), 0);
    assert!(handed_in(&admin).is_empty());

    browser.again();
    browser.wait_for("Your browser seals this form");
    fill(&browser, &WORKS);
    browser.run(
        "const button = document.querySelector('form[data-key] button');
         for (let times = 0; times < 3; times++) button.click();",
    );
    browser.wait_for("It works");
    assert_eq!(forms(browser.sent()), 1);
    assert_eq!(handed_in(&admin).len(), 1);
    browser.finish();
}

/// Without scripts the same form goes over TLS alone, and says so.
#[test]
fn without_scripts_the_form_goes_over_tls_and_says_so() {
    let (service, admin) = begin(&Backend::Sqlite);
    let link = link(&service, &admin, "calendar sync");
    let mut browser = Browser::without_scripts(&service);
    browser.open(&link);
    let page = browser.wait_for("over an encrypted connection (TLS) alone");
    assert!(!page.contains("seals this form"), "{page}");
    browser.press("Send and check");
    browser.wait_for("The form is empty");
    browser.wait_for_focus("errors");
    slow(&service);
    send(&browser, &WORKS);
    browser.wait_for("We are checking it");
    browser.wait_for("It works");
    assert_eq!(handed_in(&admin)[0]["sealing"], "tls");
    let sent = browser.sent();
    assert!(
        sent.iter().all(|(url, _)| !url.ends_with(".mjs")),
        "scripts ran"
    );
    let form = sent
        .iter()
        .find(|(_, body)| body.contains("client_secret="));
    assert!(form.is_some(), "bodies are not seen");
    browser.finish();
}
