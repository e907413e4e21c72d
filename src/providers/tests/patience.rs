//! Trying again: how often, how long, and when not.

use std::time::Duration;

use super::*;
use crate::standin::{Answer, Place};

/// How long a verification took on the clock that nobody waits for, in seconds.
async fn timed(bench: &Bench, policy: &ProbePolicy) -> (Verdict, Vec<StageReport>, i64) {
    let start = bench.clock.now().millis();
    let (verdict, reports) = bench.verify(&by_secret(), policy).await;
    (
        verdict,
        reports,
        (bench.clock.now().millis() - start) / 1000,
    )
}

#[tokio::test]
async fn a_provider_that_asks_for_time_gets_it() {
    let bench = Bench::new().await;
    bench.set(|world| world.force(Place::Token, 1, Answer::Throttled(20)));
    let (verdict, reports, took) = timed(&bench, &ProbePolicy::default()).await;
    assert_eq!(verdict.outcome, Outcome::Verified);
    assert!((20..=26).contains(&took), "{took}");
    let token = reports.iter().find(|it| it.stage == Stage::Token).unwrap();
    assert_eq!((token.attempts, token.hint), (2, None));
    assert!(token.millis >= 20_000);
    // More than there is time for: at once undecided, with the time that was asked for.
    bench.set(|world| world.force(Place::Token, 1, Answer::Throttled(60)));
    let (verdict, _, took) = timed(&bench, &ProbePolicy::default()).await;
    let retry_after = Duration::from_secs(60);
    let hint = Hint::Throttled;
    assert_eq!(verdict.outcome, Outcome::Undecided { hint, retry_after });
    assert_eq!(took, 0);
    bench.set(|world| {
        let busy = Answer::Fault("ErrorServerBusy".into(), Some(7_200));
        world.force(Place::Ews, 1, busy);
    });
    let (verdict, _, took) = timed(&bench, &only(Surface::Ews)).await;
    assert_eq!(verdict.outcome, Outcome::Verified);
    assert!((8..=11).contains(&took), "{took}");
}

#[tokio::test]
async fn trouble_is_tried_again_within_the_time_and_then_undecided() {
    let bench = Bench::new().await;
    bench.set(|world| world.force(Place::Discovery, 2, Answer::Unavailable(None)));
    let (verdict, _, took) = timed(&bench, &ProbePolicy::default()).await;
    assert_eq!(verdict.outcome, Outcome::Verified);
    assert!((6..=8).contains(&took), "{took}");
    bench.set(|world| world.force(Place::Discovery, 1000, Answer::Unavailable(None)));
    let (verdict, reports, took) = timed(&bench, &ProbePolicy::default()).await;
    assert_eq!(
        undecided_hint(verdict.outcome),
        Some(Hint::ProviderUnavailable)
    );
    assert!(took <= 55, "{took}");
    assert!(reports.last().unwrap().attempts >= 4);
}

#[tokio::test]
async fn a_new_secret_that_has_not_arrived_everywhere_is_waited_for() {
    let bench = Bench::new().await;
    let new = |seconds: i64| {
        let from = bench.clock.now().plus_secs(seconds);
        bench.set(|world| world.tenants[0].applications[0].secrets[0].usable_from = Some(from));
        ProbePolicy {
            settles_at: Some(bench.clock.now().plus_secs(120)),
            ..ProbePolicy::default()
        }
    };
    let policy = new(18);
    let (verdict, reports, _) = timed(&bench, &policy).await;
    assert_eq!(verdict.outcome, Outcome::Verified);
    let token = reports.iter().find(|it| it.stage == Stage::Token).unwrap();
    assert!(token.attempts > 2);
    // Not within this verification, but within the window: nobody says that it is wrong.
    let policy = new(90);
    let (verdict, reports, _) = timed(&bench, &policy).await;
    let Outcome::Undecided { hint, retry_after } = verdict.outcome else {
        panic!("{verdict:?}");
    };
    assert_eq!(hint, Hint::WrongSecret);
    assert!(retry_after <= Duration::from_secs(120));
    assert_eq!(
        reports
            .iter()
            .filter(|it| it.outcome == StageOutcome::Failed)
            .count(),
        0
    );
    // After the window it is.
    let policy = ProbePolicy {
        settles_at: Some(bench.clock.now()),
        ..new(90)
    };
    let (verdict, _, took) = timed(&bench, &policy).await;
    assert_eq!(verdict.outcome, Outcome::Failed(Hint::WrongSecret));
    assert_eq!(took, 0);
    // An expired one never comes right.
    let mut policy = new(0);
    bench.set(|world| {
        world.tenants[0].applications[0].secrets[0].expires_at = Timestamp::from_secs(1);
    });
    policy.settles_at = Some(bench.clock.now().plus_secs(120));
    let (verdict, _, took) = timed(&bench, &policy).await;
    assert_eq!(verdict.outcome, Outcome::Failed(Hint::SecretExpired));
    assert_eq!(took, 0);
}

#[tokio::test]
async fn a_consent_that_comes_in_between_is_seen_with_a_new_token() {
    let bench = Bench::new().await;
    bench.set(|world| {
        let denied = Answer::Graph(403, "ErrorAccessDenied".into());
        world.force(Place::Graph, 1, denied);
    });
    let policy = ProbePolicy {
        settles_at: Some(bench.clock.now().plus_secs(120)),
        ..only(Surface::Graph)
    };
    let (verdict, _, _) = timed(&bench, &policy).await;
    assert_eq!(verdict.outcome, Outcome::Verified);
    let calls = bench.stand_in.change(|world| world.calls.clone());
    assert_eq!(calls[&Place::Token], 2);
}

#[tokio::test]
async fn who_cannot_be_reached_or_is_somebody_else_leaves_it_undecided() {
    let bench = Bench::new().await;
    let hosts = || Hosts::stand_in(Cloud::Global, &bench.stand_in.url()).unwrap();
    let fields: Fields = serde_json::from_value(by_secret()).unwrap();
    // A port that is kept for something that nobody runs.
    let closed_at = "https://127.0.0.1:1";
    let nobody = Hosts::stand_in(Cloud::Global, closed_at).unwrap();
    let ca = bench.stand_in.ca_pem().as_bytes();
    for (outbound, hint) in [
        (Outbound::new(nobody, Some(ca)), Hint::Unreachable),
        (Outbound::new(hosts(), None), Hint::TlsFailed),
    ] {
        let outbound = outbound.unwrap();
        let around = Surroundings {
            outbound: &outbound,
            clock: bench.clock.as_ref(),
            sleep: bench.clock.as_ref(),
            random: bench.random.as_ref(),
        };
        let policy = ProbePolicy::default();
        let kind = CredentialKind::Microsoft365;
        let verdict = verify(kind, &fields, &policy, around, &mut |_| {}).await;
        assert_eq!(undecided_hint(verdict.outcome), Some(hint));
    }
}

#[tokio::test]
async fn without_time_nothing_is_asked() {
    let bench = Bench::new().await;
    let policy = ProbePolicy {
        total: Duration::ZERO,
        ..ProbePolicy::default()
    };
    let (verdict, _, _) = timed(&bench, &policy).await;
    assert_eq!(undecided_hint(verdict.outcome), Some(Hint::OutOfTime));
    assert!(bench.stand_in.change(|world| world.calls.is_empty()));
}

#[tokio::test(flavor = "multi_thread")]
async fn many_at_once_wait_for_each_other_and_all_come_through() {
    const MANY: usize = 1000;
    let bench = Arc::new(Bench::new().await);
    let most = Arc::new(std::sync::atomic::AtomicUsize::new(0));
    let tasks: Vec<_> = (0..MANY)
        .map(|_| {
            let (bench, most) = (Arc::clone(&bench), Arc::clone(&most));
            tokio::spawn(async move {
                let fields: Fields = serde_json::from_value(by_secret()).unwrap();
                let around = Surroundings {
                    outbound: &bench.outbound,
                    clock: bench.clock.as_ref(),
                    sleep: bench.clock.as_ref(),
                    random: bench.random.as_ref(),
                };
                let policy = ProbePolicy {
                    total: Duration::from_secs(3000),
                    ..ProbePolicy::default()
                };
                let mut report = |_| {
                    let now = bench.outbound.under_way();
                    most.fetch_max(now, std::sync::atomic::Ordering::Relaxed);
                };
                let kind = CredentialKind::Microsoft365;
                verify(kind, &fields, &policy, around, &mut report).await
            })
        })
        .collect();
    let mut verified = 0;
    for task in tasks {
        let verdict = task.await.unwrap();
        // A loaded machine may not answer everybody in time; nobody is refused for it.
        match verdict.outcome {
            Outcome::Verified => verified += 1,
            outcome => assert!(undecided_hint(outcome).is_some(), "{outcome:?}"),
        }
    }
    let most = most.load(std::sync::atomic::Ordering::Relaxed);
    println!("{verified} of {MANY} at once verified, at most {most} calls under way");
    assert!(verified >= MANY * 9 / 10, "{verified}");
    // All of them go to one host, which is spared.
    assert!((16..=32).contains(&most), "{most}");
    assert_eq!(bench.outbound.under_way(), 0);
}

#[tokio::test]
async fn a_provider_that_says_nothing_takes_no_longer_than_there_is_time() {
    let bench = Bench::new().await;
    // Takes connections and never answers.
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let at = format!("https://{}", silent.local_addr().unwrap());
    let hosts = Hosts::stand_in(Cloud::Global, &at).unwrap();
    let ca = bench.stand_in.ca_pem().as_bytes();
    let outbound = Outbound::new(hosts, Some(ca)).unwrap();
    let around = Surroundings {
        outbound: &outbound,
        clock: &SystemClock,
        sleep: &SystemClock,
        random: bench.random.as_ref(),
    };
    let policy = ProbePolicy {
        total: Duration::from_secs(1),
        ..ProbePolicy::default()
    };
    let fields: Fields = serde_json::from_value(by_secret()).unwrap();
    let kind = CredentialKind::Microsoft365;
    let mut reports = Vec::new();
    let mut report = |it| reports.push(it);
    let verdict = verify(kind, &fields, &policy, around, &mut report).await;
    assert_eq!(
        undecided_hint(verdict.outcome),
        Some(Hint::ProviderUnavailable)
    );
    assert_eq!(reports.last().unwrap().attempts, 1);
    drop(silent);
}
