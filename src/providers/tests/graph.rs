//! Microsoft Graph: every row of its table.

use super::*;
use crate::standin::{Answer, MailboxState, Place};

type Change = fn(&mut World);

fn refuse(world: &mut World, status: u16, code: &str) {
    world.force(Place::Graph, 100, Answer::Graph(status, code.into()));
}

const ROWS: &[(&str, Change, Hint)] = &[
    (
        "no roles",
        |w| w.tenants[0].applications[0].graph_roles.clear(),
        Hint::ConsentMissing,
    ),
    (
        "other roles",
        |w| w.tenants[0].applications[0].graph_roles = vec!["User.Read.All".into()],
        Hint::PermissionMissing,
    ),
    (
        "contacts only",
        |w| w.tenants[0].applications[0].graph_roles = vec!["Contacts.Read".into()],
        Hint::PermissionMissing,
    ),
    (
        "no mailbox",
        |w| w.tenants[0].mailboxes.clear(),
        Hint::MailboxMissing,
    ),
    (
        "without licence",
        |w| w.tenants[0].mailboxes[0].state = MailboxState::WithoutMailbox,
        Hint::MailboxMissing,
    ),
    (
        "on premises",
        |w| w.tenants[0].mailboxes[0].state = MailboxState::OnPremises,
        Hint::MailboxOnPremises,
    ),
    (
        "out of scope",
        |w| w.tenants[0].mailboxes[0].state = MailboxState::OutOfScope,
        Hint::PermissionMissing,
    ),
    (
        "wrong audience",
        |w| refuse(w, 401, "InvalidAuthenticationToken"),
        Hint::TokenRejected,
    ),
    (
        "denied",
        |w| refuse(w, 403, "ErrorAccessDenied"),
        Hint::PermissionMissing,
    ),
    (
        "not found",
        |w| refuse(w, 404, "ResourceNotFound"),
        Hint::MailboxMissing,
    ),
    (
        "application policy",
        |w| refuse(w, 403, "extensionError"),
        Hint::MailboxOnPremises,
    ),
    (
        "OData disabled",
        |w| refuse(w, 403, "ErrorSomethingNew"),
        Hint::PolicyBlocked,
    ),
    (
        "our request",
        |w| refuse(w, 400, "BadRequest"),
        Hint::OurRequest,
    ),
    (
        "429",
        |w| w.force(Place::Graph, 100, Answer::Throttled(900)),
        Hint::Throttled,
    ),
    (
        "503",
        |w| w.force(Place::Graph, 100, Answer::Unavailable(None)),
        Hint::ProviderUnavailable,
    ),
    (
        "not JSON",
        |w| w.force(Place::Graph, 100, Answer::Raw(418, vec![], "teapot".into())),
        Hint::Unknown,
    ),
    (
        "too much",
        |w| {
            w.force(
                Place::Graph,
                100,
                Answer::Raw(200, vec![], "x".repeat(300 * 1024)),
            )
        },
        Hint::ProviderUnavailable,
    ),
];

#[tokio::test]
async fn every_row_leads_to_its_hint() {
    let bench = Bench::new().await;
    for (what, change, hint) in ROWS {
        bench.set(change);
        let (verdict, reports) = bench.verify(&by_secret(), &only(Surface::Graph)).await;
        assert!(
            expected(*hint, verdict.outcome),
            "{what}: {:?} {:?}",
            verdict,
            short(&reports)
        );
    }
    println!("rows of Graph's table: {}", ROWS.len());
}

#[tokio::test]
async fn each_stage_says_which_permission_is_missing() {
    let bench = Bench::new().await;
    bench.set(|w| w.tenants[0].applications[0].graph_roles = vec!["Calendars.Read".into()]);
    let policy = ProbePolicy {
        sending: true,
        ..only(Surface::Graph)
    };
    let (verdict, reports) = bench.verify(&by_secret(), &policy).await;
    assert_eq!(verdict.outcome, Outcome::Failed(Hint::PermissionMissing));
    assert_eq!(
        short(&reports)[3..7],
        [
            "graph permissions undecided permission-missing",
            "graph contacts failed permission-missing",
            "graph calendar passed",
            "graph sending failed permission-missing",
        ]
    );
    let contacts = &reports[4];
    assert_eq!(contacts.code, ProviderCode::word("ErrorAccessDenied"));
    assert!(contacts.correlation.request_id.is_some());
}

#[tokio::test]
async fn without_a_test_address_the_token_is_all_there_is() {
    let bench = Bench::new().await;
    let mut fields = by_secret();
    fields.as_object_mut().unwrap().remove("test_mailbox");
    let policy = only(Surface::Graph);
    let (verdict, reports) = bench.verify(&fields, &policy).await;
    assert_eq!(verdict.outcome, Outcome::Verified);
    assert!(short(&reports).contains(&"graph contacts skipped no-test-mailbox".to_owned()));
    bench.set(|w| w.tenants[0].applications[0].graph_roles.clear());
    let (verdict, _) = bench.verify(&fields, &policy).await;
    assert_eq!(verdict.outcome, Outcome::Failed(Hint::ConsentMissing));
    // The operator's own test address does as well.
    let policy = ProbePolicy {
        test_mailbox: Some(MAILBOX.parse().unwrap()),
        ..policy
    };
    bench.set(|_| {});
    let (_, reports) = bench.verify(&fields, &policy).await;
    assert!(short(&reports).contains(&"graph contacts passed".to_owned()));
}
