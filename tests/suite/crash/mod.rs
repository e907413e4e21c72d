//! kill -9 in the middle of everything: what was acknowledged is there, what was released is in the
//! audit log, and what was not acknowledged is there as a whole or not at all.

mod check;
mod disk;
mod load;
pub mod seed;

use std::ops::Range;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tempfile::TempDir;

use self::load::{Known, Targets};
use self::seed::Plan;
use crate::support::figures::note;
use crate::support::shim::{Disk, Fault};
use crate::support::tour::STEPS;
use crate::support::{Admin, Backend, Service, on_both, pause};

on_both!(promise_1_and_7_survive_kill_9);

/// Of the rounds that every change runs. Another one may be given to `scripts/soak kills`.
const SEED: u64 = 20_261_125;

/// The rounds of the seed on each database, and those that end at a call of the C library. Together
/// they meet every change of the API.
const ON_SQLITE: Range<usize> = 0..18;
const ON_POSTGRES: Range<usize> = 18..34;
const AT_CALLS: Range<usize> = 34..if STEPS.len() > 50 { STEPS.len() } else { 50 };

fn promise_1_and_7_survive_kill_9(backend: Backend) {
    let rounds = match backend {
        Backend::Sqlite => ON_SQLITE,
        Backend::Postgres(_) => ON_POSTGRES,
    };
    kill_rounds(&backend, SEED, rounds, Means::Signal);
}

/// At a write, at half of one, at an fsync, a rename: wherever the disk is left as it was.
#[test]
fn promise_7_survives_a_kill_at_calls_that_write() {
    kill_rounds(&Backend::Sqlite, SEED, AT_CALLS, Means::Call);
}

/// Each round names a step, and does not end before a kill cut that step off.
#[test]
fn the_rounds_meet_every_change() {
    let mut met: Vec<usize> = (0..AT_CALLS.end).map(|n| Plan::new(SEED, n).step).collect();
    met.sort_unstable();
    met.dedup();
    assert_eq!(met.len(), STEPS.len());
}

/// `STRONGROOM_SOAK_ROUNDS` rounds of each sort, by `STRONGROOM_SEED`.
#[test]
#[ignore = "takes a second or two for each round; scripts/soak runs it"]
fn soak_kills() {
    let number = |name: &str, otherwise: u64| {
        let text = std::env::var(name).ok();
        text.map_or(otherwise, |text| text.parse().expect("a whole number"))
    };
    let seed = number("STRONGROOM_SEED", 1);
    let rounds = number("STRONGROOM_SOAK_ROUNDS", 50);
    let rounds = 0..usize::try_from(rounds).expect("a count");
    eprintln!("seed {seed}, {rounds:?} on each database and at calls");
    kill_rounds(&Backend::Sqlite, seed, rounds.clone(), Means::Signal);
    kill_rounds(&Backend::Sqlite, seed, rounds.clone(), Means::Call);
    if let Some(backend) = Backend::postgres() {
        kill_rounds(&backend, seed, rounds, Means::Signal);
    }
}

/// What kills.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Means {
    /// A signal, some time after a change was begun.
    Signal,
    /// The process itself, in front of a call that writes.
    Call,
}

/// How many deployments are killed side by side: most of a round is waiting, for the lease of a log to
/// end and for its head to be signed.
const SIDE_BY_SIDE: usize = 4;

/// How often a round tries to come before the answer to its step. The last tries do not wait at all.
const MOST: usize = 10;

/// How often a deployment is killed before a new one takes its place. Each time the same worker's
/// certificate may be renewed, of which one key has sixteen at most, the first one counted.
const KILLS_OF_ONE: usize = 15;

fn kill_rounds(backend: &Backend, seed: u64, rounds: Range<usize>, means: Means) {
    let share = rounds.len().div_ceil(SIDE_BY_SIDE).clamp(1, KILLS_OF_ONE);
    let shares: Vec<Range<usize>> = rounds
        .clone()
        .step_by(share)
        .map(|first| first..rounds.end.min(first + share))
        .collect();
    let next = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for _ in 0..SIDE_BY_SIDE {
            scope.spawn(|| {
                while let Some(rounds) = shares.get(next.fetch_add(1, Ordering::Relaxed)) {
                    some_rounds(backend, seed, rounds.clone(), means);
                }
            });
        }
    });
}

/// One deployment after the other is killed again and again.
fn some_rounds(backend: &Backend, seed: u64, rounds: Range<usize>, means: Means) {
    let mut victim = Victim::new(backend, means);
    for round in rounds {
        let mut plan = Plan::new(seed, round);
        for attempt in 1.. {
            if victim.kills == KILLS_OF_ONE {
                victim.has_worked();
                victim = Victim::new(backend, means);
            }
            // Named when a check fails, with the seed: `scripts/soak kills` can run it again.
            eprintln!("seed {seed}, round {round}, attempt {attempt}: {plan:?}");
            if victim.dies(&format!("round-{round}-{attempt}"), &plan) {
                note("changes and releases cut off by a kill", 1);
                break;
            }
            let operation = STEPS[plan.step].operation;
            assert!(attempt < MOST, "{operation} was answered before each kill");
            plan = plan.sooner();
        }
    }
    victim.has_worked();
}

/// A deployment that is killed again and again.
struct Victim {
    service: Service,
    disk: Option<Disk>,
    targets: Targets,
    known: Mutex<Known>,
    kills: usize,
    acknowledged: usize,
    /// Goes after the service.
    _home: TempDir,
}

impl Victim {
    fn new(backend: &Backend, means: Means) -> Self {
        let home = tempfile::tempdir().expect("a directory");
        let mut service = Service::dev_stopped(backend, home.path(), &[]);
        let disk = (means == Means::Call).then(|| Disk::below(&mut service));
        service.start();
        let admin = Admin::of(&service);
        admin.client("acme");
        let targets = Targets {
            renewed: admin.credential("acme", "production", &["google-sync"], "first"),
            stable: admin.credential("acme", "production", &["m365-sync"], "stays"),
        };
        Self {
            service,
            disk,
            targets,
            known: Mutex::default(),
            kills: 0,
            acknowledged: 0,
            _home: home,
        }
    }

    /// A kill before the first answer proves nothing; not all of them came so soon.
    fn has_worked(&self) {
        assert!(self.acknowledged > 0, "nothing was acknowledged");
    }

    /// Kills it as planned, starts it again and looks at everything. Gives whether the step of the plan
    /// was cut off.
    fn dies(&mut self, name: &str, plan: &Plan) -> bool {
        let kill = |service: &Service| kill(service, plan, self.disk.as_ref());
        let before = self.known.get_mut().expect("no panic").acknowledged;
        let (targets, known) = (&self.targets, &self.known);
        let met = load::until_killed(&self.service, targets, name, plan, known, kill);
        self.service.kill();
        if let Some(disk) = &self.disk {
            disk.works();
        }
        self.kills += 1;
        note("kills", 1);
        if let Some(millis) = plan.again_ms {
            self.service.start_and_kill(Duration::from_millis(millis));
            note("kills", 1);
        }
        self.service.start();
        let known = self.known.get_mut().expect("no panic");
        check::everything(&self.service, &self.targets, known);
        let acknowledged = known.acknowledged - before;
        self.acknowledged += acknowledged;
        note(
            "acknowledged before a kill and there after it",
            acknowledged,
        );
        met
    }
}

/// Kills a service while the step of the plan is under way.
fn kill(service: &Service, plan: &Plan, disk: Option<&Disk>) {
    match disk {
        None => std::thread::sleep(Duration::from_micros(plan.delay_us)),
        Some(disk) => {
            let fault = if plan.tears { Fault::Tear } else { Fault::Kill };
            disk.fails(fault, plan.call);
            // It may have come to its end with fewer calls.
            let mut waited = 0;
            while disk.hits() < plan.call && waited < 100 {
                pause(10);
                waited += 1;
            }
        }
    }
    service.signal(rustix::process::Signal::KILL);
}
