//! What the two interfaces of Microsoft 365 come to together.

use super::*;
use crate::standin::{Answer, EwsSwitch, Place};

/// The answers to the requests for a token: the first is for Graph, the others for Exchange.
fn only_graph_gets_a_token(bench: &Bench, then: Answer) {
    let token = json!({"access_token": "opaque"}).to_string();
    let contacts_and_calendar = Answer::Raw(200, Vec::new(), "{}".into());
    bench.set(|world| {
        world.force(Place::Token, 1, Answer::Raw(200, Vec::new(), token));
        world.force(Place::Token, 100, then);
        world.force(Place::Graph, 2, contacts_and_calendar);
    });
}

#[tokio::test]
async fn what_the_other_interface_says_does_not_count_against_one_that_works() {
    let bench = Bench::new().await;
    bench.set(|w| w.tenants[0].ews = EwsSwitch::Off);
    let (verdict, reports) = bench.verify(&by_secret(), &ProbePolicy::default()).await;
    assert_eq!(verdict.outcome, Outcome::Verified);
    assert_eq!(verdict.surfaces[0].outcome, Outcome::Verified);
    assert_eq!(
        undecided_hint(verdict.surfaces[1].outcome),
        Some(Hint::EwsBlocked)
    );
    assert!(short(&reports).contains(&"ews contacts undecided ews-blocked".to_owned()));
    let policy = ProbePolicy {
        ews: Want::Required,
        ..ProbePolicy::default()
    };
    let (verdict, _) = bench.verify(&by_secret(), &policy).await;
    assert_eq!(undecided_hint(verdict.outcome), Some(Hint::EwsBlocked));
}

#[tokio::test]
async fn a_token_that_one_interface_does_not_give_does_not_count_against_the_other() {
    let bench = Bench::new().await;
    for (answer, expected) in [
        (Answer::Throttled(900), Undecided(Hint::Throttled)),
        (
            Answer::Unavailable(None),
            Undecided(Hint::ProviderUnavailable),
        ),
        (Answer::Aadsts(53_003), Undecided(Hint::PolicyBlocked)),
        (Answer::Aadsts(7_000_215), Failed(Hint::WrongSecret)),
        (Answer::Aadsts(500_011), Failed(Hint::ServiceMissing)),
    ] {
        only_graph_gets_a_token(&bench, answer.clone());
        let (verdict, reports) = bench.verify(&by_secret(), &ProbePolicy::default()).await;
        let told = short(&reports);
        assert_eq!(verdict.outcome, Outcome::Verified, "{answer:?}: {told:?}");
        assert_eq!(end(verdict.surfaces[1].outcome), expected, "{answer:?}");
        // Where it must work, it decides.
        only_graph_gets_a_token(&bench, answer.clone());
        let policy = ProbePolicy {
            ews: Want::Required,
            ..ProbePolicy::default()
        };
        let (verdict, _) = bench.verify(&by_secret(), &policy).await;
        assert_eq!(end(verdict.outcome), expected, "{answer:?}");
    }
}

#[tokio::test]
async fn a_time_that_is_over_after_the_first_interface_leaves_what_it_showed() {
    let bench = Bench::new().await;
    let fields: Fields = serde_json::from_value(by_secret()).unwrap();
    let around = Surroundings {
        outbound: &bench.outbound,
        clock: bench.clock.as_ref(),
        sleep: bench.clock.as_ref(),
        random: bench.random.as_ref(),
    };
    let mut reports = Vec::new();
    let mut report = |it: StageReport| {
        if it.stage == Stage::Calendar {
            bench.clock.advance(3600);
        }
        reports.push(it);
    };
    let kind = CredentialKind::Microsoft365;
    let policy = ProbePolicy::default();
    let verdict = verify(kind, &fields, &policy, around, &mut report).await;
    let told = short(&reports);
    assert_eq!(verdict.outcome, Outcome::Verified, "{told:?}");
    let ews = end(verdict.surfaces[1].outcome);
    assert_eq!(ews, Undecided(Hint::OutOfTime));
    assert_eq!(
        told[told.len() - 2..],
        [
            "ews token undecided out-of-time",
            "expiry undecided out-of-time"
        ]
    );
}

#[tokio::test]
async fn a_directory_without_exchange_may_have_it_soon_and_graph_now() {
    let bench = Bench::new().await;
    let policy = ProbePolicy {
        settles_at: Some(bench.clock.now().plus_secs(3600)),
        ..ProbePolicy::default()
    };
    bench.set(|world| world.tenants[0].without_exchange = true);
    let (verdict, _) = bench.verify(&by_secret(), &policy).await;
    assert_eq!(verdict.outcome, Outcome::Verified);
    assert_eq!(
        end(verdict.surfaces[1].outcome),
        Undecided(Hint::ServiceMissing)
    );
    // The other way round: what Graph has not yet does not keep Exchange from being asked.
    bench.set(|world| world.force(Place::Token, 5, Answer::Aadsts(650_057)));
    let (verdict, reports) = bench.verify(&by_secret(), &policy).await;
    let told = short(&reports);
    assert_eq!(verdict.outcome, Outcome::Verified, "{told:?}");
    assert_eq!(told[2], "graph token undecided permission-missing");
}
