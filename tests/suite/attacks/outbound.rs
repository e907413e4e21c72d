//! The service calls providers, and is to call nobody else.

use std::io::ErrorKind;
use std::net::TcpListener;
use std::path::Path;

use serde_json::json;

use super::refused;
use crate::support::wait::pause;
use crate::support::{Admin, Backend, Service, id_of, until};

#[test]
fn row_42_no_proxy_of_the_environment_is_used() {
    let trap = TcpListener::bind("127.0.0.1:0").expect("a listener");
    trap.set_nonblocking(true).expect("a mode");
    let at = format!("http://{}", trap.local_addr().expect("an address"));
    let home = tempfile::tempdir().expect("a directory");
    let mut service = Service::dev_stopped(&Backend::Sqlite, home.path(), &[]);
    let variables = [
        "HTTP_PROXY",
        "HTTPS_PROXY",
        "ALL_PROXY",
        "http_proxy",
        "https_proxy",
        "all_proxy",
    ];
    for variable in variables {
        service.set(variable, Path::new(&at));
    }
    service.start();
    let admin = Admin::of(&service);
    let credential = id_of(&admin.list("/credentials?client=example-realty")[0]);
    let path = format!("/credentials/{credential}/versions/1/verify");
    let run = id_of(&admin.create(&path, &json!({})));
    let outcome = until("the verification", 60, || {
        let run = admin.get(&format!("/verifications/{run}"));
        (run["state"] == "done").then(|| run["outcome"].clone())
    });
    assert_eq!(outcome, "verified");
    pause(300);
    let called = trap.accept().map(|_| ()).map_err(|error| error.kind());
    assert_eq!(called, Err(ErrorKind::WouldBlock), "it was called");
    refused(variables.len());
}
