//! What an operator does, as calls of the admin API that are expected to go well.

use serde_json::{Value, json};

use super::http::{Client, Request, Response};
use super::json::{id_of, items};
use super::proof::{Pair, request};
use super::service::Service;

/// An operator.
#[derive(Clone)]
pub struct Admin {
    pub client: Client,
}

impl Admin {
    /// The first operator of a service.
    pub fn of(service: &Service) -> Self {
        Self {
            client: service.client("operator"),
        }
    }

    /// `/api/v1` and this path.
    #[track_caller]
    pub fn get(&self, path: &str) -> Value {
        self.client
            .get(&format!("/api/v1{path}"))
            .expect(200)
            .json()
    }

    /// A whole list, page by page.
    #[track_caller]
    pub fn list(&self, path: &str) -> Vec<Value> {
        let mut all = Vec::new();
        let mut cursor = String::new();
        loop {
            let sign = if path.contains('?') { '&' } else { '?' };
            let page = self.get(&format!("{path}{sign}limit=500{cursor}"));
            all.extend(items(&page).clone());
            match page["next"].as_str() {
                None => return all,
                Some(next) => cursor = format!("&cursor={next}"),
            }
        }
    }

    pub fn send(&self, method: &str, path: &str, body: &Value) -> Response {
        let request = Request::new(method, &format!("/api/v1{path}")).json(body);
        self.client.send(&request)
    }

    /// Creates and gives what was created.
    #[track_caller]
    pub fn create(&self, path: &str, body: &Value) -> Value {
        self.send("POST", path, body).expect(201).json()
    }

    /// Changes a resource at its current revision.
    #[track_caller]
    pub fn change(&self, method: &str, resource: &str, target: &str, body: &Value) -> Response {
        let current = self.get(resource);
        let request = Request::new(method, &format!("/api/v1{target}")).if_match(&current);
        self.client.send(&request.json(body))
    }

    #[track_caller]
    pub fn role(&self, name: &str) -> String {
        id_of(&self.create("/roles", &json!({"name": name})))
    }

    #[track_caller]
    pub fn environment(&self, name: &str) -> String {
        id_of(&self.create("/environments", &json!({"name": name})))
    }

    #[track_caller]
    pub fn client(&self, slug: &str) -> String {
        let name = format!("Client {slug}");
        id_of(&self.create("/clients", &json!({"name": name, "slug": slug})))
    }

    /// A `generic` credential without a version.
    #[track_caller]
    pub fn empty_credential(&self, client: &str, environment: &str, roles: &[&str]) -> String {
        let body = json!({"client": client, "label": "something lent", "kind": "generic",
                          "environment": environment, "roles": roles});
        id_of(&self.create("/credentials", &body))
    }

    /// A new version with one field `value`, active at once.
    #[track_caller]
    pub fn version(&self, credential: &str, value: &str) -> Value {
        let body = json!({"fields": {"value": value}, "expires_at": "2031-01-01",
                          "activate": {"reason": "suite"}});
        self.create(&format!("/credentials/{credential}/versions"), &body)
    }

    /// A `generic` credential with an active version.
    #[track_caller]
    pub fn credential(&self, client: &str, env: &str, roles: &[&str], value: &str) -> String {
        let id = self.empty_credential(client, env, roles);
        self.version(&id, value);
        id
    }

    /// A verb on a version: activate, reject, retire.
    #[track_caller]
    pub fn act(&self, credential: &str, number: i64, verb: &str, body: &Value) -> Response {
        let resource = format!("/credentials/{credential}");
        let target = format!("{resource}/versions/{number}/{verb}");
        self.change("POST", &resource, &target, body)
    }

    /// A workload and a certificate for it.
    #[track_caller]
    pub fn workload(&self, name: &str, environment: &str, roles: &[&str]) -> Worker {
        let body = json!({"name": name, "environment": environment, "roles": roles});
        let id = id_of(&self.create("/workloads", &body));
        let (key, csr) = request();
        let registered = self.create(&format!("/workloads/{id}/keys"), &json!({"csr": csr}));
        Worker {
            id,
            key_id: id_of(&registered),
            pair: Pair {
                certificate: registered["certificate"]
                    .as_str()
                    .expect("a certificate")
                    .to_owned(),
                key,
            },
        }
    }

    /// Audit records, newest first.
    #[track_caller]
    pub fn audit(&self, query: &str) -> Vec<Value> {
        self.list(format!("/audit?{query}").trim_end_matches('?'))
    }
}

/// An enrolled workload.
pub struct Worker {
    pub id: String,
    pub key_id: String,
    pub pair: Pair,
}

impl Worker {
    pub fn client(&self, service: &Service) -> Client {
        service.client_with(&self.pair.certificate, &self.pair.key)
    }
}

/// The value of the field `value` of a released entry.
#[track_caller]
pub fn value_of(entry: &Value) -> &str {
    super::json::text(entry, "/fields/value")
}
