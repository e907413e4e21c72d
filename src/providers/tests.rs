//! Verification against the stand-in: what is registered or answered there, and what comes of it here.

mod entra;
mod ews;
mod expiry;
mod going_out;
mod google;
mod graph;
mod patience;
mod sending;
mod surfaces;

use std::sync::{Arc, LazyLock};

use serde_json::{Value, json};

use super::*;
use crate::clock::{Clock as _, MockClock, SystemClock};
use crate::identity::testing::openssl;
use crate::model::Timestamp;
use crate::random::SystemRandom;
use crate::standin::{AppSecret, Application, Mailbox, StandIn, Tenant, World};

const TENANT: &str = "11111111-2222-3333-4444-555555555555";
const CLIENT: &str = "aaaaaaaa-bbbb-cccc-dddd-eeeeeeeeeeee";
const SECRET: &str = "abc8Q~made.up_secret-of-a-test_0123456789";
const MAILBOX: &str = "test@client.example";

/// An RSA key with its certificate, both PEM, made once.
static CERTIFICATE: LazyLock<(String, String)> = LazyLock::new(certificate);

/// Another one.
static OTHER_CERTIFICATE: LazyLock<(String, String)> = LazyLock::new(certificate);

fn certificate() -> (String, String) {
    let made = openssl(
        &[
            "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", "-", "-out", "-", "-subj",
            "/CN=test", "-days", "30",
        ],
        b"",
    );
    let made = String::from_utf8(made).unwrap();
    let at = made.find("-----BEGIN CERTIFICATE-----").unwrap();
    (made[..at].to_owned(), made[at..].to_owned())
}

/// A world in which everything works.
fn world(now: Timestamp) -> World {
    let words = |words: &[&str]| words.iter().map(|it| (*it).to_owned()).collect();
    World::of(
        vec![Tenant {
            id: TENANT.into(),
            domains: words(&["client.example"]),
            mailboxes: vec![Mailbox {
                address: MAILBOX.into(),
                ..Mailbox::default()
            }],
            applications: vec![Application {
                id: CLIENT.into(),
                secrets: vec![AppSecret {
                    value: SECRET.into(),
                    usable_from: None,
                    expires_at: now.plus_secs(400 * 86_400),
                }],
                certificates: vec![CERTIFICATE.1.clone()],
                graph_roles: words(&["Contacts.ReadWrite", "Calendars.ReadWrite", "Mail.Send"]),
                exchange_roles: words(&["full_access_as_app"]),
                ..Application::default()
            }],
            ..Tenant::default()
        }],
        Vec::new(),
    )
}

/// A stand-in and what a verification needs, on a clock that nobody waits for.
struct Bench {
    stand_in: StandIn,
    clock: Arc<MockClock>,
    outbound: Outbound,
    random: Arc<SystemRandom>,
}

impl Bench {
    async fn new() -> Self {
        let clock = Arc::new(MockClock::at(SystemClock.now()));
        let random = Arc::new(SystemRandom::new());
        let stand_in =
            StandIn::start_anywhere(world(clock.now()), clock.clone(), random.clone()).await;
        let stand_in = stand_in.unwrap();
        let hosts = Hosts::stand_in(Cloud::Global, &stand_in.url()).unwrap();
        let outbound = Outbound::new(hosts, Some(stand_in.ca_pem().as_bytes())).unwrap();
        Self {
            stand_in,
            clock,
            outbound,
            random,
        }
    }

    /// The world as it was at the beginning, changed.
    fn set(&self, change: impl FnOnce(&mut World)) {
        let mut fresh = world(self.clock.now());
        change(&mut fresh);
        self.stand_in.change(|world| *world = fresh);
    }

    async fn verify_kind(
        &self,
        kind: CredentialKind,
        fields: &Value,
        policy: &ProbePolicy,
    ) -> (Verdict, Vec<StageReport>) {
        let fields: Fields = serde_json::from_value(fields.clone()).unwrap();
        let mut reports = Vec::new();
        let around = Surroundings {
            outbound: &self.outbound,
            clock: self.clock.as_ref(),
            sleep: self.clock.as_ref(),
            random: self.random.as_ref(),
        };
        let verdict = verify(kind, &fields, policy, around, &mut |report| {
            reports.push(report);
        })
        .await;
        // Whatever came back, nothing of what was handed in is told.
        let told = serde_json::to_string(&reports).unwrap() + &format!("{verdict:?}");
        for secret in [SECRET, "PRIVATE KEY", MAILBOX, "eyJ"] {
            assert!(!told.contains(secret), "{told}");
        }
        (verdict, reports)
    }

    async fn verify(&self, fields: &Value, policy: &ProbePolicy) -> (Verdict, Vec<StageReport>) {
        self.verify_kind(CredentialKind::Microsoft365, fields, policy)
            .await
    }
}

fn by_secret() -> Value {
    json!({"tenant_id": TENANT, "client_id": CLIENT, "client_secret": SECRET, "test_mailbox": MAILBOX})
}

fn by_certificate() -> Value {
    json!({
        "tenant_id": TENANT, "client_id": CLIENT, "test_mailbox": MAILBOX,
        "certificate": CERTIFICATE.1, "certificate_private_key": CERTIFICATE.0,
    })
}

/// A policy that looks at one interface alone.
fn only(surface: Surface) -> ProbePolicy {
    let want = |it| match it == surface {
        true => Want::Required,
        false => Want::Skipped,
    };
    ProbePolicy {
        graph: want(Surface::Graph),
        ews: want(Surface::Ews),
        ..ProbePolicy::default()
    }
}

/// What a report says in short.
fn short(reports: &[StageReport]) -> Vec<String> {
    reports
        .iter()
        .map(|it| {
            let surface = it.surface.map_or_else(String::new, |it| format!("{it} "));
            let hint = it.hint.map_or_else(String::new, |it| format!(" {it}"));
            format!("{surface}{} {}{hint}", it.stage, it.outcome)
        })
        .collect()
}

fn undecided_hint(outcome: Outcome) -> Option<Hint> {
    match outcome {
        Outcome::Undecided { hint, .. } => Some(hint),
        _ => None,
    }
}

/// What came of it, without the time to come back: what the tables' rows say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    Verified,
    Failed(Hint),
    Undecided(Hint),
    ByOperator,
}

use End::{Failed, Undecided};

fn end(outcome: Outcome) -> End {
    match outcome {
        Outcome::Verified => End::Verified,
        Outcome::Failed(hint) => Failed(hint),
        Outcome::Undecided { hint, .. } => Undecided(hint),
        Outcome::ByOperator => End::ByOperator,
    }
}

#[tokio::test]
async fn everything_works_by_secret_and_by_certificate() {
    let bench = Bench::new().await;
    let policy = ProbePolicy {
        sending: true,
        declared_expiry: Some(bench.clock.now().plus_secs(400 * 86_400)),
        ..ProbePolicy::default()
    };
    bench.set(|world| {
        let roles = &mut world.tenants[0].applications[0].graph_roles;
        roles.push("Application.Read.All".into());
    });
    let (verdict, reports) = bench.verify(&by_secret(), &policy).await;
    assert_eq!(verdict.outcome, Outcome::Verified);
    assert_eq!(verdict.tenant_id.as_deref(), Some(TENANT));
    let end = verdict.expires_at.unwrap().secs();
    assert!((end - bench.clock.now().secs() - 400 * 86_400).abs() < 60);
    let stages = [
        "shape passed",
        "tenant passed",
        "graph token passed",
        "graph permissions passed",
        "graph contacts passed",
        "graph calendar passed",
        "graph sending passed",
        "ews token passed",
        "ews permissions passed",
        "ews contacts passed",
        "ews calendar passed",
        "ews sending passed",
        "expiry passed",
    ];
    assert_eq!(short(&reports), stages);
    let sent = bench.stand_in.change(|world| world.sent.clone());
    assert_eq!(sent.len(), 2);
    assert!(sent.iter().all(|it| it.from == MAILBOX && it.to == MAILBOX));

    let (verdict, reports) = bench.verify(&by_certificate(), &policy).await;
    assert_eq!(verdict.outcome, Outcome::Verified, "{:?}", short(&reports));
    assert_eq!(
        short(&reports).last().unwrap(),
        "expiry passed expiry-differs"
    );
    let end = verdict.expires_at.unwrap().secs() - bench.clock.now().secs();
    assert!((29 * 86_400..=30 * 86_400).contains(&end), "{end}");
}

#[tokio::test]
async fn nothing_is_sent_unless_the_policy_allows_it_and_a_domain_becomes_an_id() {
    let bench = Bench::new().await;
    let mut fields = by_secret();
    fields["tenant_id"] = "Client.example".into();
    let (verdict, reports) = bench.verify(&fields, &ProbePolicy::default()).await;
    assert_eq!(verdict.outcome, Outcome::Verified);
    assert_eq!(verdict.tenant_id.as_deref(), Some(TENANT));
    assert_eq!(verdict.expires_at, None, "not consented to");
    let told = short(&reports);
    assert!(told.contains(&"graph sending skipped".to_owned()));
    assert!(told.contains(&"ews sending skipped".to_owned()));
    assert!(told.contains(&"expiry skipped expiry-not-readable".to_owned()));
    assert!(bench.stand_in.change(|world| world.sent.is_empty()));
}

#[tokio::test]
async fn other_kinds_are_for_an_operator() {
    let bench = Bench::new().await;
    let fields = json!({"password": "x"});
    let policy = ProbePolicy::default();
    let (verdict, reports) = bench
        .verify_kind(CredentialKind::Generic, &fields, &policy)
        .await;
    assert_eq!(verdict.outcome, Outcome::ByOperator);
    assert!(reports.is_empty());
}

#[tokio::test]
async fn the_demonstration_shows_what_it_says() {
    use crate::standin::demonstration::{APPLICATIONS, DOMAIN, MAILBOX, NO_MAILBOX, TENANT};
    let bench = Bench::new().await;
    let expected = [
        Outcome::Verified,
        Outcome::Failed(Hint::ConsentMissing),
        Outcome::Failed(Hint::SecretExpired),
        Outcome::Failed(Hint::ApplicationDisabled),
        Outcome::Verified,
        Outcome::Verified,
    ];
    assert_eq!(APPLICATIONS.len(), expected.len());
    for (shown, expected) in APPLICATIONS.iter().zip(expected) {
        let now = bench.clock.now();
        bench.set(|world| *world = World::demonstration(now));
        let fields = json!({
            "tenant_id": DOMAIN, "client_id": shown.id, "client_secret": shown.secret,
            "test_mailbox": MAILBOX,
        });
        let policy = ProbePolicy {
            settles_at: Some(now.plus_secs(60)),
            ..ProbePolicy::default()
        };
        let (verdict, reports) = bench.verify(&fields, &policy).await;
        // A consent may still be on its way for as long as something may.
        let outcome = match verdict.outcome {
            Outcome::Undecided { hint, .. } if hint.may_settle() => Outcome::Failed(hint),
            outcome => outcome,
        };
        assert_eq!(outcome, expected, "{}: {:?}", shown.shows, short(&reports));
        assert_eq!(verdict.tenant_id.as_deref(), Some(TENANT));
        let told = short(&reports).join(", ");
        assert_eq!(
            told.contains("ews-blocked"),
            shown.shows.contains("EWS"),
            "{told}"
        );
    }
    let mut fields = by_secret();
    fields["tenant_id"] = TENANT.into();
    fields["client_id"] = APPLICATIONS[0].id.into();
    fields["client_secret"] = APPLICATIONS[0].secret.into();
    fields["test_mailbox"] = NO_MAILBOX.into();
    let (verdict, _) = bench.verify(&fields, &ProbePolicy::default()).await;
    assert_eq!(verdict.outcome, Outcome::Failed(Hint::MailboxMissing));
}

#[tokio::test]
async fn a_verification_can_be_spawned() {
    fn spawnable<T: Send>(it: T) -> T {
        it
    }
    let bench = Bench::new().await;
    let fields: Fields = serde_json::from_value(by_secret()).unwrap();
    let around = Surroundings {
        outbound: &bench.outbound,
        clock: bench.clock.as_ref(),
        sleep: bench.clock.as_ref(),
        random: bench.random.as_ref(),
    };
    let policy = only(Surface::Graph);
    let kind = CredentialKind::Microsoft365;
    let mut report = |_| {};
    let verdict = spawnable(verify(kind, &fields, &policy, around, &mut report)).await;
    assert_eq!(verdict.outcome, Outcome::Verified);
}
