//! One call of every route, each of which has to go well: what is checked for "every route" walks
//! through here, and finds out by the OpenAPI document when a route is missing.

use std::collections::{BTreeMap, BTreeSet};
use std::io;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde_json::{Value, json};

use super::Service;
use super::ca::Ca;
use super::http::{Client, Connection, Request, Response};
use super::proof::{now, request, request_with};

/// An operation of the OpenAPI document.
#[derive(Clone, Debug)]
pub struct Operation {
    pub method: String,
    /// Without `/api/v1`, with its parameters: `/clients/{client}`.
    pub path: String,
    /// Names of the parameters of the query, and whether each is required.
    pub query: Vec<(String, bool)>,
    /// The names in the body, where there is one.
    pub body: Option<Vec<String>>,
}

impl Operation {
    /// `POST /clients`.
    pub fn name(&self) -> String {
        format!("{} {}", self.method, self.path)
    }
}

/// Every operation that the running service documents.
pub fn operations(service: &Service) -> Vec<Operation> {
    let document = service.anonymous().get("/api/v1/openapi.json").expect(200);
    let document = document.json();
    let mut all = Vec::new();
    for (path, methods) in document["paths"].as_object().expect("paths") {
        let path = path.strip_prefix("/api/v1").expect("a path of the API");
        for (method, operation) in methods.as_object().expect("methods") {
            let parameters = operation["parameters"].as_array();
            let query = parameters.into_iter().flatten();
            let query = query.filter(|one| one["in"] == "query").map(|one| {
                let name = one["name"].as_str().expect("a name").to_owned();
                (name, one["required"] == true)
            });
            all.push(Operation {
                method: method.to_uppercase(),
                path: path.to_owned(),
                query: query.collect(),
                body: body_names(&document, operation),
            });
        }
    }
    assert!(all.len() > 50, "{} operations", all.len());
    all
}

fn body_names(document: &Value, operation: &Value) -> Option<Vec<String>> {
    let content = operation["requestBody"]["content"].as_object()?;
    let mut schema = &content.values().next()?["schema"];
    if let Some(reference) = schema["$ref"].as_str() {
        schema = document.pointer(reference.trim_start_matches('#'))?;
    }
    let properties = schema["properties"].as_object();
    Some(properties.map_or_else(Vec::new, |all| all.keys().cloned().collect()))
}

/// Whose call it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Who {
    /// The first operator.
    Operator,
    /// The demonstration's worker.
    Worker,
}

/// One call of a route.
pub struct Step {
    /// As [`Operation::name`] gives it.
    pub operation: &'static str,
    pub who: Who,
    body: Option<fn(&Lap) -> Value>,
    /// The resource whose revision it is meant for.
    revision_of: Option<&'static str>,
    /// Under which name, and from where, an id is kept for later steps: a pointer into the body, or
    /// else the header `location`.
    keeps: Option<(&'static str, &'static str)>,
    /// What shows the effect.
    pub shows: Option<&'static str>,
    /// Whether it makes what stays for ever and costs something: not for every lap of a load.
    pub rare: bool,
}

const fn step(operation: &'static str) -> Step {
    Step {
        operation,
        who: Who::Operator,
        body: None,
        revision_of: None,
        keeps: None,
        shows: None,
        rare: false,
    }
}

impl Step {
    const fn by_worker(mut self) -> Self {
        self.who = Who::Worker;
        self
    }

    const fn body(mut self, body: fn(&Lap) -> Value) -> Self {
        self.body = Some(body);
        self
    }

    const fn of(mut self, resource: &'static str) -> Self {
        self.revision_of = Some(resource);
        self.shows(resource)
    }

    const fn keeps(mut self, name: &'static str, pointer: &'static str) -> Self {
        self.keeps = Some((name, pointer));
        self
    }

    const fn rare(mut self) -> Self {
        self.rare = true;
        self
    }

    const fn shows(mut self, resource: &'static str) -> Self {
        self.shows = Some(resource);
        self
    }
}

fn reason(_: &Lap) -> Value {
    json!({"reason": "a tour of every route"})
}

fn version(lap: &Lap) -> Value {
    json!({"fields": {"value": lap.value}, "expires_at": "2031-01-01"})
}

fn csr(_: &Lap) -> Value {
    json!({"csr": request().1})
}

fn ends(_: &Lap) -> Value {
    json!({"accept_until": strongroom::model::Timestamp::from_secs(now() + 3600)})
}

fn list(lap: &Lap) -> Value {
    json!({"crl": STANDARD.encode(lap.mesh.crl(1, &[3], 3600))})
}

const CLIENT: &str = "/clients/{client}";
const CONTACT: &str = "/clients/{client}/contacts/{contact}";
const CREDENTIAL: &str = "/credentials/{credential}";
const WORKLOAD: &str = "/workloads/{workload}";
const OPERATOR: &str = "/operators/{operator}";
const AUTHORITY: &str = "/authorities/{authority}";

/// Every change that the API knows, and every release, in an order in which each can go well. A new
/// route gets its line here.
#[rustfmt::skip]
pub const STEPS: &[Step] = &[
    step("POST /clients").body(|lap| json!({"name": "A Company", "slug": lap.name}))
        .keeps("client", "/id").shows(CLIENT),
    step("PATCH /clients/{client}").body(|_| json!({"name": "A Renamed Company"})).of(CLIENT),
    step("POST /clients/{client}/contacts")
        .body(|_| json!({"name": "Ada", "email": "ada@company.example", "role": "technical"}))
        .keeps("contact", "/id").shows(CONTACT),
    step("PATCH /clients/{client}/contacts/{contact}").body(|_| json!({"name": "Ada B."})).of(CONTACT),
    step("DELETE /clients/{client}/contacts/{contact}").shows(CONTACT),
    step("POST /roles").body(|lap| json!({"name": format!("role-{}", lap.name)}))
        .keeps("role", "/id").shows("/roles/{role}"),
    step("PATCH /roles/{role}").body(|lap| json!({"name": format!("to-{}", lap.name)})).of("/roles/{role}"),
    step("POST /environments").body(|lap| json!({"name": format!("env-{}", lap.name)}))
        .keeps("environment", "/id").shows("/environments/{environment}"),
    step("PATCH /environments/{environment}").body(|lap| json!({"name": format!("at-{}", lap.name)}))
        .of("/environments/{environment}"),
    step("POST /credentials")
        .body(|lap| json!({"client": lap.name, "label": "lent", "kind": "generic",
                           "environment": "production", "roles": ["m365-sync"]}))
        .keeps("credential", "/id").shows(CREDENTIAL),
    step("PATCH /credentials/{credential}").body(|_| json!({"label": "lent twice"})).of(CREDENTIAL),
    step("POST /credentials/{credential}/versions").body(version)
        .keeps("number", "/number").shows(CREDENTIAL),
    step("POST /credentials/{credential}/versions/{number}/activate").body(reason).of(CREDENTIAL),
    step("PUT /credentials/{credential}/roles/{role}").of(CREDENTIAL),
    step("DELETE /credentials/{credential}/roles/{role}").of(CREDENTIAL),
    step("GET /release").by_worker(),
    step("GET /release/{credential}").by_worker(),
    step("POST /release/{credential}/in-use").by_worker().body(|lap| json!({"version": lap.number("number")}))
        .shows("/credentials/{credential}/holds"),
    step("POST /credentials/{credential}/versions").body(version)
        .keeps("number", "/number").shows(CREDENTIAL),
    step("POST /credentials/{credential}/versions/{number}/reject").body(reason).of(CREDENTIAL),
    step("POST /credentials/{credential}/versions").body(version)
        .keeps("number", "/number").shows(CREDENTIAL),
    step("POST /credentials/{credential}/versions/{number}/activate").body(reason).of(CREDENTIAL),
    step("GET /release/{credential}").by_worker(),
    step("POST /credentials/{credential}/versions/{number}/retire")
        .body(|_| json!({"override_holds": true, "reason": "a tour"})).of(CREDENTIAL),
    step("POST /clients/{client}/contacts")
        .body(|_| json!({"name": "Bea", "email": "bea@company.example", "role": "technical"}))
        .keeps("contact", "/id").shows(CONTACT),
    step("POST /invites")
        .body(|lap| json!({"credential": lap.ids["credential"], "contact": lap.ids["contact"],
                           "code": true, "no_mail": true}))
        .keeps("invite", "/id").shows("/invites/{invite}"),
    step("POST /invites/{invite}/revoke").shows("/invites/{invite}"),
    step("POST /workloads")
        .body(|lap| json!({"name": lap.name, "environment": "production", "roles": ["m365-sync"]}))
        .keeps("workload", "/id").shows(WORKLOAD),
    step("PATCH /workloads/{workload}").body(|lap| json!({"name": format!("w-{}", lap.name)})).of(WORKLOAD),
    step("POST /workloads/{workload}/keys").body(csr).keeps("key", "/id").shows(WORKLOAD),
    step("POST /workloads/{workload}/enrolment-tokens").body(|_| json!({"lifetime_minutes": 5}))
        .keeps("token", "/id").shows("/workloads/{workload}/enrolment-tokens"),
    step("DELETE /workloads/{workload}/enrolment-tokens/{token}")
        .shows("/workloads/{workload}/enrolment-tokens"),
    step("POST /workloads/{workload}/disable").of(WORKLOAD),
    step("POST /workloads/{workload}/enable").of(WORKLOAD),
    step("DELETE /workloads/{workload}/keys/{key}").shows("/workloads/{workload}/keys/{key}"),
    step("POST /workloads/{workload}/enrolment-tokens").body(|_| json!({}))
        .keeps("secret", "/token").shows("/workloads/{workload}/enrolment-tokens"),
    step("POST /enrol").body(|lap| json!({"token": lap.ids["secret"], "csr": request().1}))
        .keeps("key", "/key/id").shows("/workloads/{workload}/enrolment-tokens"),
    step("POST /renew").by_worker().body(|lap| json!({"csr": lap.worker_csr})),
    step("POST /operators").body(|lap| json!({"name": lap.name, "role": "support"}))
        .keeps("operator", "/id").shows(OPERATOR),
    step("PATCH /operators/{operator}").body(|_| json!({"role": "auditor"})).of(OPERATOR),
    step("POST /operators/{operator}/keys").body(csr).keeps("operator-key", "/id").shows(OPERATOR),
    step("POST /operators/{operator}/enrolment-tokens").body(|_| json!({}))
        .keeps("token", "/id").shows("/operators/{operator}/enrolment-tokens"),
    step("DELETE /operators/{operator}/enrolment-tokens/{token}")
        .shows("/operators/{operator}/enrolment-tokens"),
    step("POST /operators/{operator}/disable").of(OPERATOR),
    step("POST /operators/{operator}/enable").of(OPERATOR),
    step("DELETE /operators/{operator}/keys/{key}").shows("/operators/{operator}/keys/{key}"),
    step("POST /authorities")
        .body(|lap| json!({"name": lap.name, "certificate": lap.mesh.certificate, "trust_domain": lap.mesh.domain}))
        .keeps("authority", "/id").shows(AUTHORITY),
    step("PATCH /authorities/{authority}").body(ends).of(AUTHORITY),
    step("PUT /authorities/{authority}/crl").body(list).shows(AUTHORITY),
    step("DELETE /authorities/{authority}/crl").shows(AUTHORITY),
    step("DELETE /authorities/{authority}").of(AUTHORITY),
    step("POST /authorities/roll").body(|_| json!({})).keeps("rolled", "/id").shows("/authorities/{rolled}").rare(),
    step("POST /mails").body(|_| json!({"to": "ada@example.com"}))
        .keeps("mail", "/id").shows("/mails/{mail}"),
    step("POST /backups")
        .body(|_| json!({"recipients": [age::x25519::Identity::generate().to_public().to_string()]}))
        .keeps("backup", "location").shows("/backups/{backup}").rare(),
    // Of a client of its own: what it does to credentials is not shown by them alone.
    step("POST /clients").body(|lap| json!({"name": "To be erased", "slug": format!("e-{}", lap.name)}))
        .keeps("client", "/id").shows(CLIENT),
    step("POST /clients/{client}/erase")
        .body(|lap| json!({"confirm": format!("e-{}", lap.name)})).of(CLIENT),
];

/// What goes well only after a restore, or needs a provider or a client, and is tried there.
const ELSEWHERE: &[&str] = &[
    "POST /deployment/thaw",
    "POST /credentials/{credential}/versions/{number}/verify",
    "POST /submissions/{submission}/verify",
    "POST /submissions/{submission}/activate",
    "POST /submissions/{submission}/close",
    "POST /tasks/{task}/close",
];

/// One walk through [`STEPS`], with names of its own.
pub struct Lap {
    /// Lower-case letters, digits and hyphens; a slug that no other lap has.
    pub name: String,
    /// What its versions hold.
    pub value: String,
    ids: BTreeMap<&'static str, String>,
    mesh: Ca,
    /// A request for another certificate with the worker's key.
    worker_csr: String,
}

impl Lap {
    pub fn new(service: &Service, name: &str, value: &str) -> Self {
        Self {
            name: name.to_owned(),
            value: value.to_owned(),
            ids: BTreeMap::new(),
            mesh: Ca::new(&format!("{name}.example")),
            worker_csr: request_with(&service.read("worker.key")),
        }
    }

    fn number(&self, name: &str) -> i64 {
        self.ids[name].parse().expect("a number")
    }

    /// A path with the ids of this lap in place of its parameters; none when one is not known yet.
    pub fn known_path(&self, template: &str) -> Option<String> {
        let parts = template.split('/').skip(1).map(|part| {
            let name = part.strip_prefix('{').and_then(|it| it.strip_suffix('}'));
            match name {
                None => Some(part.to_owned()),
                // There a role goes by the name that it has by now.
                Some("role") if template.starts_with("/credentials") => {
                    Some(format!("to-{}", self.name))
                }
                Some("key") if template.starts_with("/operators") => {
                    self.ids.get("operator-key").cloned()
                }
                Some(name) => self.ids.get(name).cloned(),
            }
        });
        let parts: Vec<String> = parts.collect::<Option<_>>()?;
        Some(format!("/api/v1/{}", parts.join("/")))
    }

    /// The same where all are known.
    pub fn path(&self, template: &str) -> String {
        let path = self.known_path(template);
        path.unwrap_or_else(|| panic!("no step of tests/suite/support/tour.rs makes a {template}"))
    }

    /// Takes one step: asks for the revision if it needs one, sends, and keeps what came.
    ///
    /// # Errors
    /// The connection breaks; whether the change happened is not known then.
    pub fn take(&mut self, step: &Step, connection: &mut Connection) -> io::Result<Response> {
        self.take_and(step, connection, || {})
    }

    /// The same, with something that is done when it is sent and not answered yet.
    ///
    /// # Errors
    /// As for [`take`](Self::take).
    pub fn take_and(
        &mut self,
        step: &Step,
        connection: &mut Connection,
        meanwhile: impl FnOnce(),
    ) -> io::Result<Response> {
        let (method, template) = step.operation.split_once(' ').expect("a method and a path");
        let mut request = Request::new(method, &self.path(template));
        if let Some(resource) = step.revision_of {
            let shown = connection.send(&Request::get(&self.path(resource)))?;
            if shown.status != 200 {
                return Ok(shown);
            }
            request = request.if_match(&shown.json());
        }
        if let Some(body) = step.body {
            request = request.json(&body(self));
        }
        connection.start(&request)?;
        meanwhile();
        let answer = connection.receive()?;
        if let Some((name, pointer)) = step.keeps
            && answer.status == 201
        {
            let id = if pointer.starts_with('/') {
                let body = answer.json();
                let id = body.pointer(pointer).expect("an id");
                id.as_str().map_or_else(|| id.to_string(), str::to_owned)
            } else {
                let location = answer.header(pointer).expect("a header");
                location.rsplit('/').next().expect("an id").to_owned()
            };
            self.ids.insert(name, id);
        }
        Ok(answer)
    }

    /// The same with a connection of its own, which has to go well.
    #[track_caller]
    pub fn take_alone(&mut self, step: &Step, service: &Service) -> Response {
        let mut connection = who(service, step.who).connect();
        let answer = self.take(step, &mut connection).expect("an answer");
        let text = || answer.text().chars().take(600).collect::<String>();
        assert!(
            (200..300).contains(&answer.status),
            "{}: {}",
            step.operation,
            text()
        );
        answer
    }

    /// What a read of `operation` asks for, once the steps are done.
    pub fn read(&self, operation: &Operation, service: &Service) -> Request {
        let mut path = self.path(match operation.path.as_str() {
            // Only the own authorities have lists of ours.
            "/authorities/{authority}/crl" => "/authorities/{rolled}/crl",
            // There is none: the steps hand nothing in, and ask no provider.
            "/verifications/{verification}" => "/credentials/{credential}/verifications",
            "/submissions/{submission}" => "/submissions",
            other => other,
        });
        for (name, _) in operation.query.iter().filter(|(_, required)| *required) {
            let value = match name.as_str() {
                "from" => "1".to_owned(),
                "to" => "2".to_owned(),
                "log" => log_name(service),
                _ => panic!(
                    "say in tests/suite/support/tour.rs what {name} is for {}",
                    operation.path
                ),
            };
            path.push(if path.contains('?') { '&' } else { '?' });
            path.push_str(&format!("{name}={value}"));
        }
        Request::get(&path)
    }
}

/// The log of the service's only node, as checkpoints name it.
fn log_name(service: &Service) -> String {
    let path = "/api/v1/audit/checkpoint";
    let note = service.client("operator").get(path).expect(200).text();
    note.lines().next().expect("a line").to_owned()
}

pub fn who(service: &Service, who: Who) -> Client {
    service.client(match who {
        Who::Operator => "operator",
        Who::Worker => "worker",
    })
}

/// Whether what was answered to a change is to be seen in what is shown afterwards.
pub fn is_shown(answer: &Response, shown: &Response) -> bool {
    let wanted = serde_json::from_slice::<Value>(&answer.body);
    match wanted {
        Ok(wanted) if wanted["id"].is_string() => {
            shown.status == 200 && holds(&at_rest(shown.json()), &at_rest(wanted))
        }
        // A file, or nothing.
        _ => true,
    }
}

/// What the service changes of a mail by itself while it sends it.
const SENDING: [&str; 7] = [
    "state",
    "message_id",
    "tries",
    "unknowns",
    "due_at",
    "ended_at",
    "fault",
];

/// A mail without what changes by itself; anything else as it is.
pub fn at_rest(mut shown: Value) -> Value {
    if let Value::Object(fields) = &mut shown
        && fields.contains_key("message_id")
    {
        fields.retain(|name, _| !SENDING.contains(&name.as_str()));
    }
    shown
}

/// Whether `wanted` is this or within it: whatever both say is the same. The answer to a creation says
/// more than is shown later, and that to a change may leave out what it did not change.
fn holds(shown: &Value, wanted: &Value) -> bool {
    match shown {
        Value::Object(fields) => {
            let same = |(name, value): (&String, &Value)| {
                wanted.get(name).is_none_or(|wanted| wanted == value)
            };
            (fields.get("id") == wanted.get("id") && fields.iter().all(same))
                || fields.values().any(|inner| holds(inner, wanted))
        }
        Value::Array(items) => items.iter().any(|inner| holds(inner, wanted)),
        _ => false,
    }
}

/// Fails for an operation that changes or releases something and that no step takes.
pub fn no_route_is_missing(operations: &[Operation]) {
    let taken: BTreeSet<&str> = STEPS.iter().map(|step| step.operation).collect();
    let missing: Vec<String> = operations
        .iter()
        .filter(|operation| operation.method != "GET")
        .map(Operation::name)
        .filter(|name| !taken.contains(name.as_str()) && !ELSEWHERE.contains(&name.as_str()))
        .collect();
    assert!(
        missing.is_empty(),
        "give these a step in tests/suite/support/tour.rs, so that they are tried too: {missing:?}"
    );
}
