//! Microsoft Graph: every row of its table.

use super::*;
use crate::standin::{Answer, MailboxState, Place};

type Change = fn(&mut World);

fn refuse(world: &mut World, status: u16, code: &str) {
    world.force(Place::Graph, 100, Answer::Graph(status, code.into()));
}

const ROWS: &[(&str, Change, End)] = &[
    (
        "no roles",
        |w| w.tenants[0].applications[0].graph_roles.clear(),
        Failed(Hint::ConsentMissing),
    ),
    (
        "other roles",
        |w| w.tenants[0].applications[0].graph_roles = vec!["User.Read.All".into()],
        Failed(Hint::PermissionMissing),
    ),
    (
        "contacts only",
        |w| w.tenants[0].applications[0].graph_roles = vec!["Contacts.Read".into()],
        Failed(Hint::PermissionMissing),
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
        Failed(Hint::MailboxOnPremises),
    ),
    (
        "out of scope",
        |w| w.tenants[0].mailboxes[0].state = MailboxState::OutOfScope,
        Failed(Hint::PermissionMissing),
    ),
    (
        "wrong audience",
        |w| refuse(w, 401, "InvalidAuthenticationToken"),
        Undecided(Hint::TokenRejected),
    ),
    (
        "denied",
        |w| refuse(w, 403, "ErrorAccessDenied"),
        Failed(Hint::PermissionMissing),
    ),
    (
        "not found",
        |w| refuse(w, 404, "ResourceNotFound"),
        Failed(Hint::MailboxMissing),
    ),
    (
        "application policy",
        |w| refuse(w, 403, "extensionError"),
        Failed(Hint::MailboxOnPremises),
    ),
    (
        "OData disabled",
        |w| refuse(w, 403, "ErrorSomethingNew"),
        Undecided(Hint::PolicyBlocked),
    ),
    (
        "our request",
        |w| refuse(w, 400, "BadRequest"),
        Undecided(Hint::OurRequest),
    ),
    (
        "429",
        |w| w.force(Place::Graph, 100, Answer::Throttled(900)),
        Undecided(Hint::Throttled),
    ),
    (
        "503",
        |w| w.force(Place::Graph, 100, Answer::Unavailable(None)),
        Undecided(Hint::ProviderUnavailable),
    ),
    (
        "not JSON",
        |w| w.force(Place::Graph, 100, Answer::Raw(418, vec![], "teapot".into())),
        Undecided(Hint::Unknown),
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
        Undecided(Hint::ProviderUnavailable),
    ),
];

#[tokio::test]
async fn every_row_leads_to_its_hint() {
    let bench = Bench::new().await;
    for (what, change, expected) in ROWS {
        bench.set(change);
        let (verdict, reports) = bench.verify(&by_secret(), &only(Surface::Graph)).await;
        let told = short(&reports);
        assert_eq!(end(verdict.outcome), *expected, "{what}: {told:?}");
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
    // What the token does not say may be granted in Exchange, and nothing shows that it is not.
    let without: [(Change, &str); 3] = [
        (
            |w| w.tenants[0].applications[0].graph_roles.clear(),
            "graph permissions undecided consent-missing",
        ),
        (
            |w| w.tenants[0].applications[0].graph_roles = vec!["User.Read.All".into()],
            "graph permissions undecided permission-missing",
        ),
        (
            |w| {
                let opaque = json!({"access_token": "opaque"}).to_string();
                w.force(Place::Token, 100, Answer::Raw(200, Vec::new(), opaque));
            },
            "graph permissions undecided no-test-mailbox",
        ),
    ];
    for (change, remark) in without {
        bench.set(change);
        let (verdict, reports) = bench.verify(&fields, &policy).await;
        assert_eq!(end(verdict.outcome), Undecided(Hint::NoTestMailbox));
        let told = short(&reports);
        assert!(told.contains(&remark.to_owned()), "{told:?}");
        assert!(!told.iter().any(|it| it.contains("failed")), "{told:?}");
    }
    // The operator's own test address does as well.
    let policy = ProbePolicy {
        test_mailbox: Some(MAILBOX.parse().unwrap()),
        ..policy
    };
    bench.set(|_| {});
    let (_, reports) = bench.verify(&fields, &policy).await;
    assert!(short(&reports).contains(&"graph contacts passed".to_owned()));
}
