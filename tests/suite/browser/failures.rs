//! What does not work is told, and put right on the same link.

use serde_json::json;

use super::{Filled, WORKS, begin, handed_in, link, send, world};
use crate::support::browser::WINDOW;
use crate::support::{Backend, Browser, Service};
use crate::verification::force;

const PERMITTED_LESS: &str = "66666666-7777-4888-9999-cccccccccc01";
const PUBLIC: &str = "66666666-7777-4888-9999-cccccccccc02";
const ELSEWHERE: &str = "22222222-2222-4333-8444-555555555555";

/// What the demonstration lacks.
fn more_of_the_world(service: &Service) {
    world(service, |world| {
        world["tenants"]
            .as_array_mut()
            .expect("directories")
            .push(json!({"id": ELSEWHERE, "other_cloud": true}));
        let tenant = &mut world["tenants"][0];
        let mailboxes = tenant["mailboxes"].as_array_mut().expect("mailboxes");
        mailboxes.push(json!({"address": "cellar@example-realty.example",
            "state": "on-premises"}));
        let applications = tenant["applications"].as_array_mut();
        let applications = applications.expect("applications");
        let secret = |value: &str| {
            let mut secret = applications[0]["secrets"][0].clone();
            secret["value"] = json!(value);
            json!([secret])
        };
        let less = json!({"id": PERMITTED_LESS, "graph_roles": ["User.Read.All"],
            "exchange_roles": ["Mail.Read"], "secrets": secret("demo~permitted-less.made-up")});
        let public =
            json!({"id": PUBLIC, "public": true, "secrets": secret("demo~public.made-up")});
        applications.extend([less, public]);
        // Otherwise Exchange Web Services refuse them for another reason.
        let listed = tenant["ews_allowed"].as_array_mut().expect("a list");
        listed.extend([json!(PERMITTED_LESS), json!(PUBLIC)]);
    });
}

/// What is wrong, the page that tells it, and the step of the guide that it leads to.
const FAILURES: &[(&str, Filled<'static>, &str, &str)] = &[
    (
        "the directory is unknown",
        Filled {
            tenant: "99999999-2222-4333-8444-555555555555",
            ..WORKS
        },
        "Microsoft knows no directory with this ID",
        "Find the directory (tenant) ID",
    ),
    (
        "the application is unknown",
        Filled {
            client: "66666666-7777-4888-9999-bbbbbbbbbbbb",
            ..WORKS
        },
        "Your directory has no application with this ID",
        "Register the application",
    ),
    (
        "the secret is wrong",
        Filled {
            secret: "demonstration~secret~made~up~and~wrong",
            ..WORKS
        },
        "Microsoft does not accept this secret",
        "Make a client secret",
    ),
    (
        "the secret has expired",
        Filled {
            client: "66666666-7777-4888-9999-aaaaaaaaaa03",
            secret: "demo~expired.made-up-0003",
            ..WORKS
        },
        "This secret has expired",
        "Make a client secret",
    ),
    (
        "the application is disabled",
        Filled {
            client: "66666666-7777-4888-9999-aaaaaaaaaa04",
            secret: "demo~disabled.made-up-0004",
            ..WORKS
        },
        "The application is disabled",
        "",
    ),
    (
        "a permission is missing",
        Filled {
            client: PERMITTED_LESS,
            secret: "demo~permitted-less.made-up",
            ..WORKS
        },
        "but not the ones that are needed",
        "Add the permissions",
    ),
    (
        "the application is a public client",
        Filled {
            client: PUBLIC,
            secret: "demo~public.made-up",
            ..WORKS
        },
        "The application is registered as a public client",
        "",
    ),
    (
        "the directory is in another cloud",
        Filled {
            tenant: ELSEWHERE,
            ..WORKS
        },
        "another national cloud",
        "",
    ),
    (
        "the mailbox is on an own server",
        Filled {
            mailbox: "cellar@example-realty.example",
            ..WORKS
        },
        "lies on a server of your own",
        "Choose a test address",
    ),
    (
        "consent is missing",
        Filled {
            client: "66666666-7777-4888-9999-aaaaaaaaaa02",
            secret: "demo~no-consent.made-up-0002",
            ..WORKS
        },
        "but nothing is permitted yet",
        "Grant admin consent",
    ),
    (
        "there is no mailbox",
        Filled {
            mailbox: "nobody@example-realty.example",
            ..WORKS
        },
        "There is no mailbox in Exchange Online",
        "Choose a test address",
    ),
];

#[test]
fn each_failure_names_the_step_and_is_put_right_on_the_same_link() {
    let (service, admin) = begin(&Backend::Sqlite);
    more_of_the_world(&service);
    let link = link(&service, &admin, "calendar sync");
    let mut browser = Browser::new(&service);
    browser.open(&link);

    // What is seen at once changes nothing.
    let id_pasted = Filled {
        secret: WORKS.client,
        ..WORKS
    };
    send(&browser, &id_pasted);
    let page = browser.wait_for("Please correct this");
    assert!(page.contains("Secrets are not kept in the form"), "{page}");
    assert_eq!(browser.value("client_secret"), "");
    assert_eq!(browser.value("tenant_id"), WORKS.tenant);
    send(
        &browser,
        &Filled {
            ends: "2020-11-20",
            ..WORKS
        },
    );
    browser.wait_for("End date of the secret:");
    assert!(handed_in(&admin).is_empty());

    for (at, (what, filled, says, step)) in FAILURES.iter().enumerate() {
        send(&browser, filled);
        let page = browser.wait_settled();
        assert!(page.contains("One step is missing"), "{what}: {page}");
        assert!(page.contains(says), "{what}: {page}");
        assert!(
            page.contains(&format!("Attempt {}.", at + 1)),
            "{what}: {page}"
        );
        assert!(!page.contains(filled.secret), "{what}");
        assert_eq!(handed_in(&admin)[0]["state"], "failed", "{what}");
        if *what == "consent is missing" {
            browser.picture("failure", WINDOW);
        }
        if !step.is_empty() {
            // The step's words lead to what to do.
            browser.press(step);
            browser.wait_for("Step by step");
            let at = browser
                .run("const at = document.querySelector(':target'); return at && at.textContent");
            assert!(
                at.as_str().is_some_and(|at| at.contains(step)),
                "{what}: {at}"
            );
            browser.press("Back");
        }
        browser.press("Correct the form and send it again");
        browser.wait_for("Send and check");
    }

    // What the provider has refused for good is not taken again.
    send(&browser, &FAILURES[2].1);
    browser.wait_for("Your provider has refused exactly this before");
    browser.open(&format!("{link}?form"));

    // Back and send again is an attempt like any other.
    let no_consent = FAILURES.iter().find(|it| it.0 == "consent is missing");
    let no_consent = &no_consent.expect("it is in the table").1;
    send(&browser, no_consent);
    browser.wait_settled();
    browser.back();
    browser.wait_for("Send and check");
    send(&browser, no_consent);
    let last = format!("Attempt {}.", FAILURES.len() + 2);
    browser.wait_for(&last);
    browser.wait_settled();
    browser.look_at("failure");

    // The step is done, and what was sent is checked once more without typing it again.
    world(&service, |world| {
        let applications = world["tenants"][0]["applications"].as_array_mut();
        let application = applications
            .expect("applications")
            .iter_mut()
            .find(|it| it["id"] == no_consent.client);
        let roles = ["Contacts.ReadWrite", "Calendars.ReadWrite", "Mail.Send"];
        let application = application.expect("the application");
        application["graph_roles"] = json!(roles);
        application["exchange_roles"] = json!(["full_access_as_app"]);
    });
    browser.press("Check again");
    // The page that it is pressed on is settled, too.
    browser.wait_for("It works");
    let page = browser.page();
    assert!(page.contains(&last), "{page}");
    // What is done is not done twice.
    browser.back();
    browser.open(&format!("{link}?form"));
    let page = browser.page();
    assert!(
        page.contains("It works") && !page.contains("Send and check"),
        "{page}"
    );
    assert_eq!(handed_in(&admin).len(), FAILURES.len() + 2);
    browser.finish();
}

#[test]
fn an_outage_of_the_provider_blames_nobody() {
    let (service, admin) = begin(&Backend::Sqlite);
    let link = link(&service, &admin, "calendar sync");
    let mut browser = Browser::new(&service);
    force(&service, "token", 50, &json!({"throttled": 3600}));
    browser.open(&link);
    send(&browser, &WORKS);
    let page = browser.wait_for("The provider asks us to come back later");
    assert!(page.contains("We are checking it"), "{page}");
    assert!(!page.contains("does not work yet"), "{page}");
    browser.hold();
    browser.look_at("progress");
    browser.finish();
}
