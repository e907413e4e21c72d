//! Values in wrong places: every route, with a canary wherever a caller can put text.

use std::collections::BTreeSet;
use std::io;

use serde_json::{Value, json};

use super::marks::Search;
use super::values::Numbers;
use crate::attacks::Stranger;
use crate::support::http::{Client, Connection};
use crate::support::tour::{Lap, Operation, STEPS, is_shown, no_route_is_missing, operations};
use crate::support::{Request, Response, Service};

/// A name that is no secret, in front of other names: it is in the database.
pub const NAME: &str = "canary-lap";

/// One walk through every route with a canary as the value of each version.
pub fn every_route_goes_well(service: &Service, search: &Search, numbers: &mut Numbers) -> usize {
    let operations = operations(service);
    no_route_is_missing(&operations);
    let mut lap = Lap::new(service, NAME, "");
    // Which resources were shown while they were there.
    let mut shown_well = BTreeSet::new();
    for step in STEPS {
        lap.value = numbers.text();
        let answer = lap.take_alone(step, service);
        if !step.operation.starts_with("GET /release") {
            search.none_in(step.operation, &whole(&answer));
        }
        if let Some(shows) = step.shows {
            let shown = service.client("operator").get(&lap.path(shows));
            let (name, text) = (step.operation, shown.text());
            assert!(is_shown(&answer, &shown), "{name} is not shown: {text}");
            search.none_in(shows, &whole(&shown));
            if shown.status == 200 {
                shown_well.insert(shows);
            }
        }
    }
    let reads = operations.iter().filter(|one| one.method == "GET");
    let reads: Vec<&Operation> = reads
        .filter(|one| !one.path.starts_with("/release"))
        .collect();
    for read in &reads {
        let answer = service.client("operator").send(&lap.read(read, service));
        search.none_in(&read.name(), &whole(&answer));
        let removed = STEPS
            .iter()
            .any(|it| it.operation.strip_prefix("DELETE ") == Some(&read.path));
        match answer.status {
            404 if removed => assert!(shown_well.contains(read.path.as_str()), "{}", read.name()),
            status => assert_eq!(status, 200, "{}: {}", read.name(), answer.text()),
        }
    }
    STEPS.len() + reads.len()
}

fn whole(answer: &Response) -> Vec<u8> {
    let mut all = answer.body.clone();
    all.extend(format!("{:?}", answer.headers).into_bytes());
    all
}

/// Every route is refused, by an operator, a worker and a stranger; no answer repeats anything. Gives
/// the number of calls.
pub fn every_route_is_refused(service: &Service, search: &Search, numbers: &mut Numbers) -> usize {
    let mut calls = 0;
    let mut known = ["operator", "worker"].map(|who| Kept::new(service.client(who)));
    for operation in operations(service) {
        let mut stranger = Stranger::new(service);
        let wrong = wrong(&operation, numbers);
        let last = wrong.len() - 1;
        for (n, request) in wrong.iter().enumerate() {
            let name = format!("{}, variant {n}", operation.name());
            let mut answers = vec![stranger.try_send(request)];
            answers.extend(known.iter_mut().map(|one| one.send(request)));
            for answer in answers {
                let answer = match answer {
                    Ok(answer) => answer,
                    // The service closes before it has read all of a body that is too large.
                    Err(_) if n == last => continue,
                    Err(error) => panic!("{name}: {error}"),
                };
                assert!(answer.status < 500, "{name}: {}", answer.text());
                // What is ignored does not keep the worker from what is its own.
                if operation.path != "/release" || answer.status != 200 {
                    search.none_in(&name, &whole(&answer));
                }
                calls += 1;
            }
        }
    }
    calls
}

/// A caller whose connection is used again for as long as the service keeps it.
struct Kept {
    client: Client,
    connection: Option<Connection>,
}

impl Kept {
    fn new(client: Client) -> Self {
        Self {
            client,
            connection: None,
        }
    }

    fn send(&mut self, request: &Request) -> io::Result<Response> {
        if let Some(mut connection) = self.connection.take()
            && let Ok(answer) = connection.send(request)
        {
            self.connection = Some(connection);
            return Ok(answer);
        }
        let mut connection = self.client.connect();
        let answer = connection.send(request)?;
        self.connection = Some(connection);
        Ok(answer)
    }
}

/// The ways to call a route wrongly. The last one has a body that is too large.
fn wrong(operation: &Operation, numbers: &mut Numbers) -> Vec<Request> {
    let filled = |id: &dyn Fn() -> String| {
        let parts = operation
            .path
            .split('/')
            .map(|part| match part.starts_with('{') {
                true => id(),
                false => part.to_owned(),
            });
        format!("/api/v1{}", parts.collect::<Vec<_>>().join("/"))
    };
    let somewhere = filled(&|| "1".to_owned());
    let method = operation.method.as_str();
    let request = |target: &str| Request::new(method, target);
    let (text, lower) = (numbers.text(), numbers.lower());
    let large = format!("{{\"{text}\":\"{}\"}}", text.repeat(10_000));
    let body = wrong_body(operation, numbers);
    let mut cut = body.to_string();
    cut.truncate(cut.len() - 1);
    let escaped = cut.replace('C', "\\u0043");
    let bytes = |request: Request, body: &str| request.bytes(body.as_bytes().to_vec());
    let media = |request: Request, media: &str| request.header("content-type", media);
    let mut all = vec![
        // Where an id belongs.
        request(&filled(&|| text.clone())),
        request(&filled(&|| lower.clone())),
        request(&filled(&|| format!("%22{lower}%2f%00"))),
        request(&format!("{somewhere}/{text}")),
        // In the query: as a name, as a value, as something that cannot be decoded.
        request(&format!("{somewhere}?{text}={text}")),
        request(&format!("{somewhere}?{text}%zz%ff")),
        // In headers that mean something, and in one that does not.
        request(&somewhere)
            .header("x-canary", &text)
            .header("cookie", &format!("session={text}"))
            .header("user-agent", &text)
            .header("referer", &text),
        request(&somewhere).header("authorization", &format!("Basic {text}")),
        request(&somewhere).bearer(&text),
        request(&somewhere).bearer(&format!("{text}.{text}.{text}")),
        request(&somewhere).header("if-match", &format!("\"{text}\"")),
        request(&somewhere).header("if-none-match", &format!("W/\"{text}\"")),
        request(&somewhere).header("accept", &format!("{text}/{text}")),
        // In bodies, of routes without one as well.
        request(&somewhere).json(&body),
        request(&somewhere).json(&json!([text])),
        media(bytes(request(&somewhere), &cut), "application/json"),
        media(bytes(request(&somewhere), &escaped), "application/json"),
        media(bytes(request(&somewhere), &cut), "text/plain"),
        media(
            bytes(request(&somewhere), &cut),
            &format!("application/{text}"),
        ),
        bytes(request(&somewhere), &cut).header("content-encoding", &text),
    ];
    for (name, _) in &operation.query {
        for value in [&text, &lower] {
            all.push(request(&format!("{somewhere}?{name}={value}")));
        }
    }
    all.push(media(
        bytes(request(&somewhere), &large),
        "application/json",
    ));
    all
}

/// Every field that the route knows, with something that no field may be, and one that it does not.
fn wrong_body(operation: &Operation, numbers: &mut Numbers) -> Value {
    let mut body = json!({numbers.text(): numbers.text()});
    for (n, name) in operation.body.iter().flatten().enumerate() {
        body[name] = match n % 3 {
            0 => json!(format!("{}\u{7}", numbers.text())),
            1 => json!({numbers.text(): numbers.text()}),
            _ => json!([numbers.text(), [numbers.text()]]),
        };
    }
    body
}
