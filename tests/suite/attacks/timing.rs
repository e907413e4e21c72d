//! How much the time of an answer says. A measurement: it is printed, not judged, because the machine
//! has a part in it. `scripts/soak timing`.

#[path = "../../support/welch.rs"]
mod welch;

use std::time::Instant;

use crate::support::http::Connection;
use crate::support::proof::Signer;
use crate::support::{Admin, Backend, Request, Service};
use welch::Samples;

fn number(name: &str, otherwise: u64) -> u64 {
    let given = std::env::var(name).ok();
    given.map_or(otherwise, |it| it.parse().expect("a number"))
}

/// Which of the two comes next, from a seed: SplitMix64.
struct Coins(u64);

impl Coins {
    fn flip(&mut self) -> bool {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) & 1 == 1
    }
}

/// Asks for the two in random order, `count` times each and more, and says what differs.
fn measure(
    what: &str,
    connection: &mut Connection,
    first: impl Fn() -> Request,
    second: impl Fn() -> Request,
    allowed: &[u16],
) {
    let seed = number("STRONGROOM_SEED", 1);
    let count = usize::try_from(number("STRONGROOM_SOAK_ROUNDS", 100) * 200).expect("a number");
    let mut coins = Coins(seed);
    let mut samples = Samples::default();
    for n in 0..count * 2 + 200 {
        let heads = coins.flip();
        let request = if heads { first() } else { second() };
        let asked = Instant::now();
        let answer = connection.send(&request).expect("an answer");
        let nanos = asked.elapsed().as_nanos() as f64;
        assert!(allowed.contains(&answer.status), "{}", answer.status);
        // The first ones warm everything up.
        match (n < 200, heads) {
            (true, _) => {}
            (false, true) => samples.first.push(nanos),
            (false, false) => samples.second.push(nanos),
        }
    }
    println!("{}; seed {seed}", samples.compare().line(what));
}

#[test]
#[ignore = "a measurement that takes minutes: scripts/soak timing"]
fn soak_timing_not_there_and_not_allowed() {
    let backends = [Some(Backend::Sqlite), Backend::postgres()];
    for backend in backends.into_iter().flatten() {
        let service = Service::dev(&backend);
        let admin = Admin::of(&service);
        admin.client("acme");
        let theirs = admin.credential("acme", "production", &["google-sync"], "lent");
        let theirs = format!("/api/v1/release/{theirs}");
        service.client("other").get(&theirs).expect(200);
        let nowhere = format!("/api/v1/release/cred_{}", "0".repeat(26));
        let mut connection = service.client("worker").connect();
        let name = match backend {
            Backend::Sqlite => "SQLite",
            Backend::Postgres(_) => "PostgreSQL",
        };
        measure(
            &format!("not there, not allowed ({name})"),
            &mut connection,
            || Request::get(&nowhere),
            || Request::get(&theirs),
            &[404],
        );
    }
}

#[test]
#[ignore = "a measurement that takes minutes: scripts/soak timing"]
fn soak_timing_unknown_key_and_wrong_signature() {
    let service = Service::dev(&Backend::Sqlite);
    let signer = Signer::worker(&service);
    let forger = signer.forger();
    let unknown = format!("pkey_{}", "0".repeat(26));
    let mut connection = service.anonymous().connect();
    let target = "/api/v1/whoami";
    measure(
        "an unknown key, a wrong signature",
        &mut connection,
        || {
            let token = forger.with_header(|it| it["kid"] = unknown.as_str().into());
            Request::get(target).bearer(&token)
        },
        || Request::get(target).bearer(&forger.assertion()),
        &[401, 429],
    );
}
