//! Exchange Web Services: every row of their table.

use super::*;
use crate::standin::{Answer, EwsSwitch, MailboxState, Place};

type Change = fn(&mut World);

fn app(world: &mut World) -> &mut Application {
    &mut world.tenants[0].applications[0]
}

fn fault(world: &mut World, code: &str) {
    world.force(Place::Ews, 100, Answer::Fault(code.into(), None));
}

const ROWS: &[(&str, Change, End)] = &[
    (
        "out of scope",
        |w| w.tenants[0].mailboxes[0].state = MailboxState::OutOfScope,
        Failed(Hint::ImpersonationDenied),
    ),
    (
        "no mailbox",
        |w| w.tenants[0].mailboxes.clear(),
        Failed(Hint::MailboxMissing),
    ),
    (
        "without licence",
        |w| w.tenants[0].mailboxes[0].state = MailboxState::WithoutMailbox,
        Failed(Hint::MailboxMissing),
    ),
    (
        "on premises",
        |w| w.tenants[0].mailboxes[0].state = MailboxState::OnPremises,
        Failed(Hint::MailboxMissing),
    ),
    (
        "kiosk",
        |w| w.tenants[0].mailboxes[0].state = MailboxState::Kiosk,
        Undecided(Hint::EwsBlocked),
    ),
    (
        "no roles",
        |w| app(w).exchange_roles.clear(),
        Failed(Hint::ConsentMissing),
    ),
    (
        "other roles",
        |w| app(w).exchange_roles = vec!["IMAP.AccessAsApp".into()],
        Failed(Hint::PermissionMissing),
    ),
    (
        "switched off",
        |w| w.tenants[0].ews = EwsSwitch::Off,
        Undecided(Hint::EwsBlocked),
    ),
    (
        "on, empty list",
        |w| w.tenants[0].ews = EwsSwitch::On,
        Undecided(Hint::EwsBlocked),
    ),
    (
        "on, others listed",
        |w| {
            w.tenants[0].ews = EwsSwitch::On;
            w.tenants[0].ews_allowed = vec![TENANT.into()];
        },
        Undecided(Hint::EwsBlocked),
    ),
    (
        "no Exchange Online",
        |w| w.tenants[0].without_exchange = true,
        Failed(Hint::ServiceMissing),
    ),
    (
        "no impersonation header",
        |w| fault(w, "ErrorMissingEmailAddress"),
        Undecided(Hint::OurRequest),
    ),
    (
        "delegated token",
        |w| fault(w, "ErrorInvalidExchangeImpersonationHeaderData"),
        Undecided(Hint::OurRequest),
    ),
    (
        "busy",
        |w| fault(w, "ErrorServerBusy"),
        Undecided(Hint::Throttled),
    ),
    (
        "denied",
        |w| fault(w, "ErrorAccessDenied"),
        Failed(Hint::PermissionMissing),
    ),
    (
        "its trouble",
        |w| fault(w, "ErrorInternalServerError"),
        Undecided(Hint::ProviderUnavailable),
    ),
    (
        "new",
        |w| fault(w, "ErrorThatNobodyKnows"),
        Undecided(Hint::Unknown),
    ),
    (
        "item: busy",
        |w| w.force(Place::Ews, 100, Answer::ItemError("ErrorServerBusy".into())),
        Undecided(Hint::Throttled),
    ),
    (
        "item: denied",
        |w| {
            w.force(
                Place::Ews,
                100,
                Answer::ItemError("ErrorAccessDenied".into()),
            )
        },
        Failed(Hint::PermissionMissing),
    ),
    (
        "503",
        |w| w.force(Place::Ews, 100, Answer::Unavailable(None)),
        Undecided(Hint::ProviderUnavailable),
    ),
    (
        "429",
        |w| w.force(Place::Ews, 100, Answer::Throttled(900)),
        Undecided(Hint::Throttled),
    ),
    (
        "500 without SOAP",
        |w| w.force(Place::Ews, 100, Answer::Raw(500, vec![], "<html>".into())),
        Undecided(Hint::ProviderUnavailable),
    ),
    (
        "200 without SOAP",
        |w| w.force(Place::Ews, 100, Answer::Raw(200, vec![], "ok".into())),
        Undecided(Hint::ProviderUnavailable),
    ),
    (
        "401 without a diagnosis",
        |w| w.force(Place::Ews, 100, Answer::Raw(401, vec![], String::new())),
        Undecided(Hint::TokenRejected),
    ),
    (
        "403 with another diagnosis",
        |w| {
            let headers = vec![(
                "x-ms-diagnostics".into(),
                "3000000;reason=\"2000008\"".into(),
            )];
            w.force(Place::Ews, 100, Answer::Raw(403, headers, String::new()));
        },
        Undecided(Hint::EwsBlocked),
    ),
    (
        "elsewhere",
        |w| {
            let headers = vec![("location".into(), "https://evil.example/".into())];
            w.force(Place::Ews, 100, Answer::Raw(302, headers, String::new()));
        },
        Undecided(Hint::Unknown),
    ),
];

#[tokio::test]
async fn every_row_leads_to_its_hint() {
    let bench = Bench::new().await;
    for (what, change, expected) in ROWS {
        bench.set(change);
        let (verdict, reports) = bench.verify(&by_secret(), &only(Surface::Ews)).await;
        let told = short(&reports);
        assert_eq!(end(verdict.outcome), *expected, "{what}: {told:?}");
    }
    println!("rows of the table of Exchange Web Services: {}", ROWS.len());
}

#[tokio::test]
async fn who_is_listed_gets_in_and_so_does_who_was_granted_it_in_exchange() {
    let bench = Bench::new().await;
    bench.set(|w| {
        w.tenants[0].ews = EwsSwitch::On;
        w.tenants[0].ews_allowed = vec![CLIENT.to_uppercase()];
    });
    let (verdict, _) = bench.verify(&by_secret(), &only(Surface::Ews)).await;
    assert_eq!(verdict.outcome, Outcome::Verified);
    bench.set(|w| {
        app(w).exchange_roles.clear();
        app(w).granted_in_exchange = true;
    });
    let (verdict, reports) = bench.verify(&by_secret(), &only(Surface::Ews)).await;
    assert_eq!(verdict.outcome, Outcome::Verified);
    let told = short(&reports);
    assert!(
        told.contains(&"ews permissions undecided consent-missing".to_owned()),
        "{told:?}"
    );
}

#[tokio::test]
async fn a_denial_that_comes_once_is_asked_again() {
    let bench = Bench::new().await;
    bench.set(|w| {
        w.force(
            Place::Ews,
            1,
            Answer::Fault("ErrorImpersonateUserDenied".into(), None),
        );
    });
    let (verdict, reports) = bench.verify(&by_secret(), &only(Surface::Ews)).await;
    assert_eq!(verdict.outcome, Outcome::Verified);
    let contacts = reports
        .iter()
        .find(|it| it.stage == Stage::Contacts)
        .unwrap();
    assert_eq!(contacts.attempts, 2);
}
