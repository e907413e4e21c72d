//! What goes on while the service is killed: releases, alone and as bundles, versions that are replaced
//! without a pause, and a tour of every change.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Mutex;
use std::time::Duration;

use serde_json::json;

use super::seed::Plan;
use crate::support::http::Connection;
use crate::support::tour::{Lap, STEPS, Who};
use crate::support::{Request, Response, Service};

/// What was said before a kill.
#[derive(Default)]
pub struct Known {
    /// Request ids of releases whose answer had begun: from then on it can hold a value.
    pub releases: BTreeSet<String>,
    /// Request ids of changes that were acknowledged, with the route.
    pub changes: BTreeMap<String, &'static str>,
    /// What is known of resources, by path.
    pub resources: BTreeMap<String, Resource>,
    /// Version numbers of the credential that is renewed all the time.
    pub versions: BTreeSet<i64>,
    /// How many changes and releases were acknowledged.
    pub acknowledged: usize,
}

/// What has to be there.
pub enum Resource {
    /// It was read after the last change of it.
    Shown(Response),
    /// The last change of it was acknowledged, and it was not read any more.
    Changed(Response),
    /// A change of it was under way: it is there or it is not. This was known before.
    Doubtful(Option<Response>),
}

/// What the load releases: one that is renewed all the time, and one that stays.
pub struct Targets {
    pub renewed: String,
    pub stable: String,
}

/// Three workers and two who write, until their connections break. `kill` is called when the plan's
/// step was sent, and has to end the service. Gives whether that step was under way then: sent and
/// never answered.
pub fn until_killed(
    service: &Service,
    targets: &Targets,
    name: &str,
    plan: &Plan,
    known: &Mutex<Known>,
    kill: impl Fn(&Service),
) -> bool {
    std::thread::scope(|scope| {
        for (who, target) in [
            ("other", format!("/api/v1/release/{}", targets.renewed)),
            ("worker", format!("/api/v1/release/{}", targets.stable)),
            ("worker", "/api/v1/release".to_owned()),
        ] {
            scope.spawn(move || release(service, who, &target, known));
        }
        scope.spawn(|| replace_versions(service, &targets.renewed, known));
        let end = EndOfLoad(service);
        let mut met = Met::NotYet;
        tour(service, name, plan, known, &mut met, &kill);
        if met == Met::NotYet {
            kill(service);
        }
        drop(end);
        met == Met::UnderWay
    })
}

/// Ends the load also when a check in the midst of it fails: the scope waits for its threads.
struct EndOfLoad<'a>(&'a Service);

impl Drop for EndOfLoad<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.signal(rustix::process::Signal::KILL);
        }
    }
}

/// What became of the plan's step.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Met {
    /// The tour did not come that far.
    NotYet,
    /// It was sent, and the service was killed.
    UnderWay,
    /// The answer had come before.
    Answered,
}

fn open(service: &Service, who: &str) -> Option<Connection> {
    let client = service.client(who);
    // The kill may come before the first connection.
    Connection::open(client.address, &client.tls).ok()
}

fn release(service: &Service, who: &str, target: &str, known: &Mutex<Known>) -> Option<()> {
    let mut connection = open(service, who)?;
    loop {
        connection.start(&Request::get(target)).ok()?;
        let (status, headers) = connection.receive_head().ok()?;
        assert!(status == 200 || status == 503, "{status} to a release");
        let id = headers
            .iter()
            .find(|(name, _)| name == "strongroom-request-id");
        if status == 200 {
            let mut known = known.lock().expect("no panic");
            known.releases.insert(id.expect("its id").1.clone());
            known.acknowledged += 1;
        }
        connection.receive_body(status, &headers).ok()?;
    }
}

fn replace_versions(service: &Service, credential: &str, known: &Mutex<Known>) -> Option<()> {
    let mut connection = open(service, "operator")?;
    let path = format!("/api/v1/credentials/{credential}/versions");
    let body = json!({"fields": {"value": "next"}, "activate": {"reason": "load"}});
    loop {
        let answer = connection.send(&Request::post(&path, &body)).ok()?;
        if answer.status != 503 {
            let number = answer.expect(201).json()["number"].as_i64();
            let mut known = known.lock().expect("no panic");
            known.versions.insert(number.expect("a number"));
            known.acknowledged += 1;
        }
        // Each round leaves a version that is never retired: few are enough.
        std::thread::sleep(Duration::from_millis(15));
    }
}

fn tour(
    service: &Service,
    name: &str,
    plan: &Plan,
    known: &Mutex<Known>,
    met: &mut Met,
    kill: impl Fn(&Service),
) -> Option<()> {
    let mut lap = Lap::new(service, name, "of the tour");
    let mut operator = open(service, "operator")?;
    let mut worker = open(service, "worker")?;
    for (n, step) in STEPS.iter().enumerate() {
        if step.rare && n != plan.step {
            continue;
        }
        if let Some(path) = step.shows.and_then(|shows| lap.known_path(shows)) {
            let resources = &mut known.lock().expect("no panic").resources;
            let before = match resources.remove(&path) {
                Some(Resource::Shown(before)) => Some(before),
                _ => None,
            };
            resources.insert(path, Resource::Doubtful(before));
        }
        // What it may change without being asked for: a contact is shown with its client as well.
        let path = step.operation.split_once(' ').expect("a path").1;
        if let Some(path) = lap.known_path(path) {
            let resources = &mut known.lock().expect("no panic").resources;
            resources.retain(|shown, resource| {
                let whole = path.strip_prefix(shown.as_str());
                let above = whole.is_some_and(|rest| rest.starts_with('/'));
                !above || matches!(resource, Resource::Doubtful(_))
            });
        }
        let connection = match step.who {
            Who::Operator => &mut operator,
            Who::Worker => &mut worker,
        };
        let answer = lap.take_and(step, connection, || {
            if n == plan.step {
                kill(service);
                *met = Met::UnderWay;
            }
        });
        let answer = answer.ok()?;
        if n == plan.step && *met == Met::UnderWay {
            *met = Met::Answered;
        }
        if answer.status == 503 {
            // Nobody knows what of it happened; the steps that build on it would be refused.
            return None;
        }
        let text = || answer.text().chars().take(600).collect::<String>();
        assert!(
            (200..300).contains(&answer.status),
            "{}: {} {}",
            step.operation,
            answer.status,
            text()
        );
        let id = answer.header("strongroom-request-id").expect("its id");
        let id = id.to_owned();
        let mut known_now = known.lock().expect("no panic");
        known_now.acknowledged += 1;
        if step.operation.starts_with("GET") {
            known_now.releases.insert(id);
        } else {
            known_now.changes.insert(id, step.operation);
        }
        drop(known_now);
        if let Some(shows) = step.shows {
            let path = lap.path(shows);
            let shown = operator.send(&Request::get(&path));
            let ended = shown.is_err();
            let resource = match shown {
                Ok(shown) if shown.status != 503 => Resource::Shown(shown),
                _ => Resource::Changed(answer),
            };
            let resources = &mut known.lock().expect("no panic").resources;
            resources.insert(path, resource);
            if ended {
                return None;
            }
        }
    }
    None
}
