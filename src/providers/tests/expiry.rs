//! The date as the provider knows it: read where that can be, and told why where it cannot.

use super::*;
use crate::standin::{Answer, Place};

fn may_read(world: &mut World) {
    let roles = &mut world.tenants[0].applications[0].graph_roles;
    roles.push("Application.Read.All".into());
}

/// The last stage as the place answers when it comes to it: contacts and calendar come before.
async fn told_with(bench: &Bench, times: u32, answer: Answer) -> (Verdict, StageReport) {
    bench.set(|world| {
        may_read(world);
        let good = Answer::Raw(200, Vec::new(), "{}".into());
        world.force(Place::Graph, 2, good);
        world.force(Place::Graph, times, answer);
    });
    let (verdict, mut reports) = bench.verify(&by_secret(), &only(Surface::Graph)).await;
    (verdict, reports.pop().unwrap())
}

#[tokio::test]
async fn why_the_date_is_not_known_is_told_and_nothing_fails_by_it() {
    let bench = Bench::new().await;
    let raw = |status, body: &str| Answer::Raw(status, Vec::new(), body.into());
    let graph = |status, code: &str| Answer::Graph(status, code.into());
    let (skipped, undecided) = (StageOutcome::Skipped, StageOutcome::Undecided);
    for (answer, outcome, hint) in [
        (
            graph(403, "Authorization_RequestDenied"),
            skipped,
            Hint::ExpiryNotReadable,
        ),
        (
            raw(200, r#"{"value": []}"#),
            skipped,
            Hint::ExpiryNotReadable,
        ),
        (Answer::Throttled(900), undecided, Hint::Throttled),
        (
            Answer::Unavailable(None),
            undecided,
            Hint::ProviderUnavailable,
        ),
        (raw(200, "[]"), undecided, Hint::ProviderUnavailable),
        (
            graph(401, "InvalidAuthenticationToken"),
            undecided,
            Hint::TokenRejected,
        ),
        (
            graph(403, "ErrorSomethingNew"),
            undecided,
            Hint::PolicyBlocked,
        ),
        (
            graph(404, "Request_ResourceNotFound"),
            undecided,
            Hint::Unknown,
        ),
        (graph(400, "BadRequest"), undecided, Hint::OurRequest),
    ] {
        let (verdict, told) = told_with(&bench, 100, answer.clone()).await;
        assert_eq!(verdict.outcome, Outcome::Verified, "{answer:?}");
        assert_eq!(verdict.expires_at, None);
        assert_eq!(told.stage, Stage::Expiry);
        assert_eq!(
            (told.outcome, told.hint),
            (outcome, Some(hint)),
            "{answer:?}"
        );
        assert!(told.code.is_some() && told.attempts > 0, "{answer:?}");
    }
    // One that asks for time gets it here as well.
    let (verdict, told) = told_with(&bench, 1, Answer::Throttled(5)).await;
    assert_eq!(told.outcome, StageOutcome::Passed);
    assert_eq!(told.attempts, 2);
    assert!(verdict.expires_at.is_some());
}

#[tokio::test]
async fn whoever_has_a_token_for_graph_can_read_the_date() {
    let bench = Bench::new().await;
    // The mailbox is missing, Exchange gives no token: the date is known all the same.
    let changes: [fn(&mut World); 2] = [
        |world| world.tenants[0].mailboxes.clear(),
        |world| {
            world.tenants[0].without_exchange = true;
            world.tenants[0].mailboxes.clear();
        },
    ];
    for change in changes {
        bench.set(|world| {
            may_read(world);
            change(world);
        });
        let (verdict, reports) = bench.verify(&by_secret(), &ProbePolicy::default()).await;
        assert_eq!(end(verdict.outcome), Failed(Hint::MailboxMissing));
        assert!(verdict.expires_at.is_some());
        assert_eq!(short(&reports).last().unwrap(), "expiry passed");
    }
    // Without one nobody can be asked, and nobody is.
    bench.set(may_read);
    let (verdict, reports) = bench.verify(&by_secret(), &only(Surface::Ews)).await;
    assert_eq!(verdict.outcome, Outcome::Verified);
    assert_eq!(verdict.expires_at, None);
    assert_eq!(short(&reports).last().unwrap(), "expiry skipped");
    let calls = bench.stand_in.change(|world| world.calls.clone());
    assert!(!calls.contains_key(&Place::Graph));
}

#[tokio::test]
async fn a_certificate_has_its_date_and_nobody_is_asked() {
    let bench = Bench::new().await;
    let (verdict, reports) = bench.verify(&by_certificate(), &only(Surface::Ews)).await;
    assert_eq!(verdict.outcome, Outcome::Verified);
    assert!(verdict.expires_at.is_some());
    let told = reports.last().unwrap();
    assert_eq!((told.outcome, told.attempts), (StageOutcome::Passed, 0));
}
