//! The message to the test address: never twice where nobody knows what became of the first.

use super::*;
use crate::standin::{Answer, Place};

/// What Exchange says when it did what it was asked to.
fn done() -> Answer {
    let soap = "<Envelope><Body><ResponseCode>NoError</ResponseCode></Body></Envelope>";
    Answer::Raw(200, Vec::new(), soap.into())
}

async fn sent_with(surface: Surface, first: Answer) -> (End, StageReport, usize) {
    let bench = Bench::new().await;
    let (place, read) = match surface {
        Surface::Graph => (Place::Graph, Answer::Raw(200, Vec::new(), "{}".into())),
        Surface::Ews => (Place::Ews, done()),
    };
    bench.set(|world| {
        // Contacts and calendar.
        world.force(place, 2, read);
        world.force(place, 1, first);
    });
    let policy = ProbePolicy {
        sending: true,
        ..only(surface)
    };
    let (verdict, reports) = bench.verify(&by_secret(), &policy).await;
    let sending = reports.into_iter().find(|it| it.stage == Stage::Sending);
    let sent = bench.stand_in.change(|world| world.sent.len());
    (end(verdict.outcome), sending.unwrap(), sent)
}

#[tokio::test]
async fn nothing_is_sent_again_where_it_may_have_been_sent() {
    let raw = |status, body: &str| Answer::Raw(status, Vec::new(), body.into());
    let fault = |code: &str| Answer::Fault(code.into(), None);
    for (surface, first) in [
        (Surface::Graph, Answer::Unavailable(None)),
        (Surface::Graph, Answer::Unavailable(Some(1))),
        (Surface::Graph, raw(500, "")),
        (Surface::Graph, raw(504, "")),
        // More than is read: the answer breaks off here.
        (Surface::Graph, raw(202, &"x".repeat(300 * 1024))),
        (Surface::Ews, Answer::Unavailable(None)),
        (Surface::Ews, raw(200, "ok")),
        (Surface::Ews, fault("ErrorTimeoutExpired")),
        (Surface::Ews, fault("ErrorInternalServerError")),
    ] {
        let what = format!("{surface} {first:?}")
            .chars()
            .take(60)
            .collect::<String>();
        let (came, sending, sent) = sent_with(surface, first).await;
        assert_eq!(came, Undecided(Hint::ProviderUnavailable), "{what}");
        assert_eq!(sending.outcome, StageOutcome::Undecided, "{what}");
        assert_eq!((sending.attempts, sent), (1, 0), "{what}");
    }
}

#[tokio::test]
async fn who_asks_for_time_has_sent_nothing_and_is_asked_again() {
    let busy = Answer::Fault("ErrorServerBusy".into(), Some(1000));
    for (surface, first) in [
        (Surface::Graph, Answer::Throttled(5)),
        (Surface::Ews, Answer::Throttled(5)),
        (Surface::Ews, busy),
    ] {
        let (came, sending, sent) = sent_with(surface, first).await;
        assert_eq!(came, End::Verified);
        assert_eq!((sending.attempts, sent), (2, 1));
    }
}
