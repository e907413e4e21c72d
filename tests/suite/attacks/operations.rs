//! Every operation of the API: who may call it, and how it is called well.

use std::cell::Cell;

use serde_json::{Value, json};

use crate::support::api::Worker;
use crate::support::ca::{Ca, register};
use crate::support::proof::{Mesh, Pair, request, self_signed};
use crate::support::{Admin, Request, Service, id_of, text};

/// Who may.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Needs {
    /// Anybody, known or not: what it says is about no deployment.
    Nothing,
    /// Whoever is known.
    Proof,
    /// A workload of the right role and environment.
    Entitled,
    /// A workload; strangers to a credential see none of it.
    Workload,
    /// An operator with this permission.
    Permission(&'static str),
}
use Needs::{Entitled, Nothing, Permission, Proof, Workload};

const READ: Needs = Permission("read-metadata");
const CLIENTS: Needs = Permission("write-clients");
const CREDENTIALS: Needs = Permission("write-credentials");
const PRINCIPALS: Needs = Permission("write-principals");
const AUDIT: Needs = Permission("read-audit");
const DEPLOYMENT: Needs = Permission("operate-deployment");

/// One call that goes well for whoever may make it.
pub struct Call {
    pub needs: Needs,
    pub request: Request,
    /// The status of success.
    pub good: u16,
}

/// Makes what calls need, anew for each.
pub struct Stage {
    pub admin: Admin,
    count: Cell<u32>,
    /// A credential that the worker of `m365-sync` in production has fetched.
    pub credential: String,
}

impl Stage {
    pub fn new(service: &Service) -> Self {
        let admin = Admin::of(service);
        admin.client("acme");
        let credential = admin.credential("acme", "production", &["m365-sync"], "lent");
        Self {
            admin,
            count: Cell::new(0),
            credential,
        }
    }

    pub fn name(&self) -> String {
        self.count.set(self.count.get() + 1);
        format!("n-{}", self.count.get())
    }

    pub fn client(&self) -> String {
        self.admin.client(&self.name())
    }

    pub fn contact(&self) -> String {
        let client = self.client();
        let body = json!({"name": "Ada", "email": "ada@example.com", "role": "owner"});
        let contact = self
            .admin
            .create(&format!("/clients/{client}/contacts"), &body);
        format!("/clients/{client}/contacts/{}", id_of(&contact))
    }

    pub fn empty(&self) -> String {
        let id = self
            .admin
            .empty_credential("acme", "production", &["m365-sync"]);
        format!("/credentials/{id}")
    }

    /// A credential of Microsoft 365 with an active version.
    pub fn microsoft(&self) -> String {
        let body = json!({"client": "acme", "label": "l", "kind": "microsoft365",
                          "environment": "production", "roles": ["m365-sync"]});
        let path = format!(
            "/credentials/{}",
            id_of(&self.admin.create("/credentials", &body))
        );
        let fields = json!({"tenant_id": "11111111-2222-4333-8444-555555555555",
                            "client_id": "66666666-7777-4888-9999-aaaaaaaaaaaa",
                            "client_secret": "made up"});
        let body = json!({"fields": fields, "activate": {"reason": "r"}});
        self.admin.create(&format!("{path}/versions"), &body);
        path
    }

    /// What an invitation for a new credential is made from.
    pub fn invitation(&self) -> Value {
        let contact = self.contact();
        let (client, contact) = contact.split_once("/contacts/").expect("a contact");
        let client = client.trim_start_matches("/clients/");
        json!({"new": {"client": client, "label": "l", "kind": "generic",
                       "environment": "production", "roles": ["m365-sync"]},
               "contact": contact, "no_mail": true})
    }

    /// A credential with two versions, the second of them active or pending.
    pub fn versions(&self, active: bool) -> String {
        let path = self.empty();
        let mut body = json!({"fields": {"value": "v"}, "activate": {"reason": "r"}});
        self.admin.create(&format!("{path}/versions"), &body);
        if !active {
            body.as_object_mut().expect("an object").remove("activate");
        }
        self.admin.create(&format!("{path}/versions"), &body);
        path
    }

    pub fn workload(&self) -> Worker {
        self.admin
            .workload(&self.name(), "production", &["m365-sync"])
    }

    pub fn operator(&self, role: &str) -> (String, Pair, String) {
        let body = json!({"name": self.name(), "role": role});
        let id = id_of(&self.admin.create("/operators", &body));
        let (key, csr) = request();
        let keys = format!("/operators/{id}/keys");
        let registered = self.admin.create(&keys, &json!({"csr": csr}));
        let certificate = text(&registered, "/certificate").to_owned();
        (id, Pair { certificate, key }, id_of(&registered))
    }

    pub fn authority(&self) -> Value {
        let domain = format!("{}.example", self.name());
        let mesh = Mesh::new(&domain);
        json!({"name": self.name(), "certificate": mesh.certificate(), "trust_domain": domain})
    }

    /// A registered authority, and a list of its own to be imported.
    fn listed(&self) -> (String, Value) {
        use base64::{Engine as _, engine::general_purpose::STANDARD};
        let ca = Ca::new(&format!("{}.example", self.name()));
        let id = register(&self.admin, &self.name(), &ca);
        (id, json!({"crl": STANDARD.encode(ca.crl(1, &[3], 3600))}))
    }

    pub fn disabled(&self, path: &str) -> String {
        let answer = self
            .admin
            .change("POST", path, &format!("{path}/disable"), &json!({}));
        answer.expect(200);
        path.to_owned()
    }

    /// A good call of an operation, on things of its own.
    #[rustfmt::skip]
    pub fn call(&self, operation: &str) -> Call {
        let api = |path: &str| format!("/api/v1{path}");
        let get = |needs, path: &str| Call { needs, request: Request::get(&api(path)), good: 200 };
        let post = |needs, path: &str, body: Value| Call {
            needs, request: Request::post(&api(path), &body), good: 201,
        };
        // With the revision of `resource`, and a body if there is one.
        let change = |needs, method: &str, resource: &str, target: &str, body: Option<Value>| {
            let request = Request::new(method, &api(target)).if_match(&self.admin.get(resource));
            let request = match body { Some(body) => request.json(&body), None => request };
            Call { needs, request, good: 200 }
        };
        let delete = |needs, path: &str, good| Call {
            needs, request: Request::new("DELETE", &api(path)), good,
        };
        let reason = || Some(json!({"reason": "r"}));
        let act = |verb: &str, number: i64, active: bool, body| {
            let path = self.versions(active);
            change(CREDENTIALS, "POST", &path, &format!("{path}/versions/{number}/{verb}"), body)
        };
        let self_key = || json!({"certificate": self_signed().certificate});
        match operation {
            "GET /openapi.json" => get(Nothing, "/openapi.json"),
            "GET /whoami" => get(Proof, "/whoami"),
            "GET /release" => get(Workload, "/release"),
            "GET /release/{credential}" => get(Entitled, &format!("/release/{}", self.credential)),
            "POST /release/{credential}/in-use" => Call {
                good: 204,
                ..post(Entitled, &format!("/release/{}/in-use", self.credential), json!({"version": 1}))
            },
            "GET /clients" => get(READ, "/clients"),
            "POST /clients" => post(CLIENTS, "/clients", json!({"name": "N", "slug": self.name()})),
            "GET /clients/{client}" => get(READ, &format!("/clients/{}", self.client())),
            "PATCH /clients/{client}" => {
                let path = format!("/clients/{}", self.client());
                change(CLIENTS, "PATCH", &path, &path, Some(json!({"name": "M"})))
            }
            "GET /clients/{client}/contacts" => get(READ, &format!("/clients/{}/contacts", self.client())),
            "POST /clients/{client}/contacts" => post(CLIENTS, &format!("/clients/{}/contacts", self.client()),
                json!({"name": "Ada", "email": "ada@example.com", "role": "owner"})),
            "GET /clients/{client}/contacts/{contact}" => get(READ, &self.contact()),
            "PATCH /clients/{client}/contacts/{contact}" => {
                let path = self.contact();
                change(CLIENTS, "PATCH", &path, &path, Some(json!({"name": "Bea"})))
            }
            "DELETE /clients/{client}/contacts/{contact}" => delete(CLIENTS, &self.contact(), 204),
            "GET /roles" => get(READ, "/roles"),
            "POST /roles" => post(CREDENTIALS, "/roles", json!({"name": self.name()})),
            "GET /roles/{role}" => get(READ, &format!("/roles/{}", self.admin.role(&self.name()))),
            "PATCH /roles/{role}" => {
                let path = format!("/roles/{}", self.admin.role(&self.name()));
                change(CREDENTIALS, "PATCH", &path, &path, Some(json!({"name": self.name()})))
            }
            "GET /environments" => get(READ, "/environments"),
            "POST /environments" => post(CREDENTIALS, "/environments", json!({"name": self.name()})),
            "GET /environments/{environment}" =>
                get(READ, &format!("/environments/{}", self.admin.environment(&self.name()))),
            "PATCH /environments/{environment}" => {
                let path = format!("/environments/{}", self.admin.environment(&self.name()));
                change(CREDENTIALS, "PATCH", &path, &path, Some(json!({"name": self.name()})))
            }
            "GET /credentials" => get(READ, "/credentials"),
            "POST /credentials" => post(CREDENTIALS, "/credentials", json!({"client": "acme", "label": "l",
                "kind": "generic", "environment": "production", "roles": ["m365-sync"]})),
            "GET /credentials/{credential}" => get(READ, &self.empty()),
            "PATCH /credentials/{credential}" => {
                let path = self.empty();
                change(CREDENTIALS, "PATCH", &path, &path, Some(json!({"label": "m"})))
            }
            "GET /credentials/{credential}/holds" => get(READ, &format!("{}/holds", self.empty())),
            "PUT /credentials/{credential}/roles/{role}" => {
                let path = self.empty();
                change(CREDENTIALS, "PUT", &path, &format!("{path}/roles/google-sync"), None)
            }
            "DELETE /credentials/{credential}/roles/{role}" => {
                let path = self.empty();
                let more = format!("{path}/roles/google-sync");
                self.admin.change("PUT", &path, &more, &json!({})).expect(200);
                delete(CREDENTIALS, &more, 200)
            }
            "POST /credentials/{credential}/versions" =>
                post(CREDENTIALS, &format!("{}/versions", self.empty()), json!({"fields": {"value": "v"}})),
            "GET /credentials/{credential}/versions/{number}" =>
                get(READ, &format!("{}/versions/1", self.versions(true))),
            "POST /credentials/{credential}/versions/{number}/activate" => act("activate", 2, false, reason()),
            "POST /credentials/{credential}/versions/{number}/reject" => act("reject", 2, false, reason()),
            "POST /credentials/{credential}/versions/{number}/retire" => act("retire", 1, true, Some(json!({}))),
            "POST /credentials/{credential}/versions/{number}/verify" => {
                let path = self.microsoft();
                post(CREDENTIALS, &format!("{path}/versions/1/verify"), json!({}))
            }
            "GET /credentials/{credential}/verifications" => get(READ, &format!("{}/verifications", self.empty())),
            "GET /verifications/{verification}" => {
                let path = format!("{}/versions/1/verify", self.microsoft());
                let run = id_of(&self.admin.create(&path, &json!({})));
                get(READ, &format!("/verifications/{run}"))
            }
            "GET /invites" => get(READ, "/invites"),
            "POST /invites" => post(CREDENTIALS, "/invites", self.invitation()),
            "GET /invites/{invite}" => {
                let invite = id_of(&self.admin.create("/invites", &self.invitation()));
                get(READ, &format!("/invites/{invite}"))
            }
            "POST /invites/{invite}/revoke" => {
                let invite = id_of(&self.admin.create("/invites", &self.invitation()));
                Call { good: 200, ..post(CREDENTIALS, &format!("/invites/{invite}/revoke"), json!({})) }
            }
            // Submissions come over the pages, and tasks follow from what clients and providers do: who
            // may, is told that this one is not there.
            "GET /submissions" => get(READ, "/submissions"),
            "GET /submissions/{submission}" => Call {
                good: 404, ..get(READ, "/submissions/subm_01kaqz3m8v7d6k2n4p9r5s1t0x")
            },
            "POST /submissions/{submission}/verify" => Call {
                good: 404, ..post(CREDENTIALS, "/submissions/subm_01kaqz3m8v7d6k2n4p9r5s1t0x/verify", json!({}))
            },
            "POST /submissions/{submission}/activate" => Call {
                good: 404,
                ..post(CREDENTIALS, "/submissions/subm_01kaqz3m8v7d6k2n4p9r5s1t0x/activate", json!({"reason": "r"}))
            },
            "POST /submissions/{submission}/close" => Call {
                good: 404,
                ..post(CREDENTIALS, "/submissions/subm_01kaqz3m8v7d6k2n4p9r5s1t0x/close", json!({"reason": "r"}))
            },
            "GET /tasks" => get(READ, "/tasks"),
            "POST /tasks/{task}/close" => Call {
                good: 404,
                ..post(CREDENTIALS, "/tasks/task_01kaqz3m8v7d6k2n4p9r5s1t0x/close", json!({"reason": "r"}))
            },
            "GET /receipts" => get(READ, "/receipts"),
            "GET /workloads" => get(READ, "/workloads"),
            "POST /workloads" => post(PRINCIPALS, "/workloads",
                json!({"name": self.name(), "environment": "production", "roles": ["m365-sync"]})),
            "GET /workloads/{workload}" => get(READ, &format!("/workloads/{}", self.workload().id)),
            "PATCH /workloads/{workload}" => {
                let path = format!("/workloads/{}", self.workload().id);
                change(PRINCIPALS, "PATCH", &path, &path, Some(json!({"name": self.name()})))
            }
            "POST /workloads/{workload}/disable" => {
                let path = format!("/workloads/{}", self.workload().id);
                change(PRINCIPALS, "POST", &path, &format!("{path}/disable"), None)
            }
            "POST /workloads/{workload}/enable" => {
                let path = self.disabled(&format!("/workloads/{}", self.workload().id));
                change(PRINCIPALS, "POST", &path, &format!("{path}/enable"), None)
            }
            "GET /workloads/{workload}/holds" => get(READ, &format!("/workloads/{}/holds", self.workload().id)),
            "GET /workloads/{workload}/keys" => get(READ, &format!("/workloads/{}/keys", self.workload().id)),
            "POST /workloads/{workload}/keys" =>
                post(PRINCIPALS, &format!("/workloads/{}/keys", self.workload().id), self_key()),
            "GET /workloads/{workload}/keys/{key}" => {
                let worker = self.workload();
                get(READ, &format!("/workloads/{}/keys/{}", worker.id, worker.key_id))
            }
            "DELETE /workloads/{workload}/keys/{key}" => {
                let worker = self.workload();
                delete(PRINCIPALS, &format!("/workloads/{}/keys/{}", worker.id, worker.key_id), 200)
            }
            "GET /operators" => get(READ, "/operators"),
            "POST /operators" => post(PRINCIPALS, "/operators", json!({"name": self.name(), "role": "support"})),
            "GET /operators/{operator}" => get(READ, &format!("/operators/{}", self.operator("support").0)),
            "PATCH /operators/{operator}" => {
                let path = format!("/operators/{}", self.operator("support").0);
                change(PRINCIPALS, "PATCH", &path, &path, Some(json!({"role": "auditor"})))
            }
            "POST /operators/{operator}/disable" => {
                let path = format!("/operators/{}", self.operator("support").0);
                change(PRINCIPALS, "POST", &path, &format!("{path}/disable"), None)
            }
            "POST /operators/{operator}/enable" => {
                let path = self.disabled(&format!("/operators/{}", self.operator("support").0));
                change(PRINCIPALS, "POST", &path, &format!("{path}/enable"), None)
            }
            "GET /operators/{operator}/keys" => get(READ, &format!("/operators/{}/keys", self.operator("support").0)),
            "POST /operators/{operator}/keys" =>
                post(PRINCIPALS, &format!("/operators/{}/keys", self.operator("support").0), self_key()),
            "GET /operators/{operator}/keys/{key}" => {
                let (id, _, key) = self.operator("support");
                get(READ, &format!("/operators/{id}/keys/{key}"))
            }
            "DELETE /operators/{operator}/keys/{key}" => {
                let (id, _, key) = self.operator("support");
                delete(PRINCIPALS, &format!("/operators/{id}/keys/{key}"), 200)
            }
            "POST /enrol" => {
                let path = format!("/workloads/{}/enrolment-tokens", self.workload().id);
                let token = self.admin.create(&path, &json!({}));
                post(Nothing, "/enrol", json!({"token": token["token"], "csr": request().1}))
            }
            // Whoever is known is told that the request is none; who may renew is in enrolment.rs.
            "POST /renew" => Call { good: 422, ..post(Proof, "/renew", json!({"csr": "none"})) },
            "GET /workloads/{workload}/enrolment-tokens" =>
                get(READ, &format!("/workloads/{}/enrolment-tokens", self.workload().id)),
            "POST /workloads/{workload}/enrolment-tokens" =>
                post(PRINCIPALS, &format!("/workloads/{}/enrolment-tokens", self.workload().id), json!({})),
            "DELETE /workloads/{workload}/enrolment-tokens/{token}" => {
                let path = format!("/workloads/{}/enrolment-tokens", self.workload().id);
                let token = id_of(&self.admin.create(&path, &json!({})));
                delete(PRINCIPALS, &format!("{path}/{token}"), 200)
            }
            "GET /operators/{operator}/enrolment-tokens" =>
                get(READ, &format!("/operators/{}/enrolment-tokens", self.operator("support").0)),
            "POST /operators/{operator}/enrolment-tokens" =>
                post(PRINCIPALS, &format!("/operators/{}/enrolment-tokens", self.operator("support").0), json!({})),
            "DELETE /operators/{operator}/enrolment-tokens/{token}" => {
                let path = format!("/operators/{}/enrolment-tokens", self.operator("support").0);
                let token = id_of(&self.admin.create(&path, &json!({})));
                delete(PRINCIPALS, &format!("{path}/{token}"), 200)
            }
            "GET /authorities" => get(READ, "/authorities"),
            "POST /authorities" => post(PRINCIPALS, "/authorities", self.authority()),
            "GET /authorities/{authority}" => {
                let id = id_of(&self.admin.create("/authorities", &self.authority()));
                get(READ, &format!("/authorities/{id}"))
            }
            "DELETE /authorities/{authority}" => {
                let id = id_of(&self.admin.create("/authorities", &self.authority()));
                delete(PRINCIPALS, &format!("/authorities/{id}"), 200)
            }
            "PATCH /authorities/{authority}" => {
                let id = id_of(&self.admin.create("/authorities", &self.authority()));
                let path = format!("/authorities/{id}");
                change(PRINCIPALS, "PATCH", &path, &path, Some(json!({"accept_until": "2031-01-01"})))
            }
            "POST /authorities/roll" => post(PRINCIPALS, "/authorities/roll", json!({"name": self.name()})),
            "GET /authorities/trust-bundle" => get(Nothing, "/authorities/trust-bundle"),
            "GET /authorities/{authority}/crl" =>
                get(Nothing, &format!("/authorities/{}/crl", crate::authorities::own(&self.admin))),
            "PUT /authorities/{authority}/crl" => {
                let (id, list) = self.listed();
                let target = api(&format!("/authorities/{id}/crl"));
                Call { needs: PRINCIPALS, request: Request::new("PUT", &target).json(&list), good: 200 }
            }
            "DELETE /authorities/{authority}/crl" => {
                let (id, list) = self.listed();
                self.admin.send("PUT", &format!("/authorities/{id}/crl"), &list).expect(200);
                delete(PRINCIPALS, &format!("/authorities/{id}/crl"), 204)
            }
            "GET /keys" => get(READ, "/keys"),
            "GET /audit" => get(AUDIT, "/audit"),
            "GET /audit/consistency" => {
                let checkpoint = self.admin.client.get("/api/v1/audit/checkpoint").expect(200).text();
                let origin = checkpoint.lines().next().expect("an origin");
                get(Proof, &format!("/audit/consistency?log={origin}&from=1&to=1"))
            }
            "GET /audit/checkpoint" => get(AUDIT, "/audit/checkpoint"),
            "GET /audit/export" => get(AUDIT, "/audit/export"),
            "GET /audit/key" => get(Proof, "/audit/key"),
            "POST /clients/{client}/erase" => {
                let path = format!("/clients/{}", self.client());
                let slug = text(&self.admin.get(&path), "/slug").to_owned();
                change(DEPLOYMENT, "POST", &path, &format!("{path}/erase"), Some(json!({"confirm": slug})))
            }
            "GET /clients/{client}/erasure" => {
                let path = format!("/clients/{}", self.client());
                let slug = text(&self.admin.get(&path), "/slug").to_owned();
                let body = json!({"confirm": slug});
                self.admin.change("POST", &path, &format!("{path}/erase"), &body).expect(200);
                get(READ, &format!("{path}/erasure"))
            }
            "GET /deployment" => get(READ, "/deployment"),
            // Nothing is frozen, so whoever may is told that.
            "POST /deployment/thaw" => {
                let id = text(&self.admin.get("/deployment"), "/id").to_owned();
                let body = Some(json!({"confirm": id}));
                Call { good: 409, ..change(DEPLOYMENT, "POST", "/deployment", "/deployment/thaw", body) }
            }
            "GET /mails" => get(READ, "/mails"),
            "POST /mails" => post(DEPLOYMENT, "/mails", json!({"to": "ada@example.com"})),
            "GET /mails/{mail}" => {
                let mail = self.admin.create("/mails", &json!({"to": "ada@example.com"}));
                get(READ, &format!("/mails/{}", id_of(&mail)))
            }
            "GET /backups" => get(READ, "/backups"),
            "POST /backups" => post(DEPLOYMENT, "/backups", backup_body()),
            "GET /backups/{backup}" => {
                let taken = self.admin.send("POST", "/backups", &backup_body()).expect(201);
                let place = taken.header("location").expect("its place").to_owned();
                get(READ, place.strip_prefix("/api/v1").expect("our base"))
            }
            other => panic!(
                "{other} is in the API and not in this table: say here who may call it, and how it is called well"
            ),
        }
    }
}

/// A backup for somebody.
fn backup_body() -> Value {
    let (_, recipient) = strongroom::crypto::Identity::generate();
    json!({"recipients": [recipient.to_text()]})
}

/// Every operation of the API's own document, and the document itself.
pub fn operations(service: &Service) -> Vec<String> {
    let document = service
        .anonymous()
        .get("/api/v1/openapi.json")
        .expect(200)
        .json();
    let mut all = vec!["GET /openapi.json".to_owned()];
    for (path, methods) in document["paths"].as_object().expect("paths") {
        let path = path.strip_prefix("/api/v1").expect("our base");
        for method in methods.as_object().expect("methods").keys() {
            if method != "parameters" {
                all.push(format!("{} {path}", method.to_uppercase()));
            }
        }
    }
    assert!(all.len() > 50, "{all:?}");
    all
}
