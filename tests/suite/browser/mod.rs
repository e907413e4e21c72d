//! Chromium drives the pages that a client sees behind a link.

mod access;
mod failures;
mod stories;

use std::io::{Read as _, Write as _};
use std::net::TcpStream;

use serde_json::{Value, json};

use crate::intake_pages::{invite, path_of};
use crate::support::{Admin, Backend, Browser, Service};
use crate::verification::{control, force};

/// `dev` with a stand-in whose world can be changed.
fn service(backend: &Backend) -> Service {
    let more = ["--stand-in-control", "127.0.0.1:0", "--settle-seconds", "0"];
    Service::dev_with(backend, &more)
}

/// The path of a new link for a new credential.
fn link(service: &Service, admin: &Admin, label: &str) -> String {
    let invited = invite(admin, label);
    path_of(service, &invited).to_owned()
}

/// What the form asks for, for an application of the demonstration.
#[derive(Clone, Copy)]
struct Filled<'a> {
    tenant: &'a str,
    client: &'a str,
    secret: &'a str,
    mailbox: &'a str,
    ends: &'a str,
}

const WORKS: Filled<'static> = Filled {
    tenant: crate::intake_pages::TENANT,
    client: crate::intake_pages::APPLICATION,
    secret: crate::intake_pages::SECRET,
    mailbox: "sync-test@example-realty.example",
    ends: "2028-11-20",
};

/// Fills the form in and presses the button.
#[track_caller]
fn send(browser: &Browser, filled: &Filled<'_>) {
    fill(browser, filled);
    browser.press("Send and check");
}

#[track_caller]
fn fill(browser: &Browser, filled: &Filled<'_>) {
    browser.fill("tenant_id", filled.tenant);
    browser.fill("client_id", filled.client);
    browser.fill("client_secret", filled.secret);
    browser.fill("test_mailbox", filled.mailbox);
    browser.fill("expires_at", filled.ends);
}

/// What was handed in, the newest first.
fn handed_in(admin: &Admin) -> Vec<Value> {
    let mut all = admin.list("/submissions?all=true");
    all.sort_by_key(|it| std::cmp::Reverse(it["number"].as_i64()));
    all
}

/// The stand-in asks to come a little later, so that there is something to watch.
fn slow(service: &Service) {
    force(service, "token", 1, &json!({"throttled": 2}));
}

/// Changes what is registered at the stand-in.
fn world(service: &Service, change: impl FnOnce(&mut Value)) {
    let ask = |method: &str, body: &str| {
        let mut socket = TcpStream::connect(control(service)).expect("the control");
        write!(
            socket,
            "{method} /world HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\
             content-length: {}\r\n\r\n{body}",
            body.len()
        )
        .expect("a request");
        let mut answer = String::new();
        socket.read_to_string(&mut answer).expect("an answer");
        assert!(answer.starts_with("HTTP/1.1 20"), "{answer}");
        answer
    };
    let answer = ask("GET", "");
    let (_, known) = answer.split_once("\r\n\r\n").expect("a body");
    let mut known = serde_json::from_str(known).expect("JSON");
    change(&mut known);
    ask("PUT", &known.to_string());
}

/// A service with a contact to invite.
fn begin(backend: &Backend) -> (Service, Admin) {
    let service = service(backend);
    let admin = Admin::of(&service);
    (service, admin)
}
