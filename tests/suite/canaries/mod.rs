//! Promise 5: values that were stored, released or sent where they do not belong are in no log, error,
//! metric, audit record, database, argument list or file; and once the connections are closed, nowhere
//! in the memory of the service.

mod commands;
mod intake;
mod marks;
mod memory;
mod places;
mod values;

use std::fs;
use std::path::Path;

use serde_json::json;

use self::marks::Search;
use self::values::Numbers;
use crate::audit::export;
use crate::support::figures::note;
use crate::support::sql::postgres_each;
use crate::support::{Admin, Backend, Request, Service, on_both, until};

on_both!(promise_5_a_value_stays_where_it_belongs);

fn promise_5_a_value_stays_where_it_belongs(backend: Backend) {
    let mut service = Service::dev_with(&backend, &["--log", "trace"]);
    let search = Search::new();
    let mut numbers = Numbers::default();
    let looks = memory::may_look(service.pid());
    if looks {
        the_search_of_memory_finds_what_is_there(&service, &search);
    }
    values::store_and_release(&service, &search, &mut numbers);
    if looks {
        nothing_in_memory(&service, &search, "stores and releases");
    }
    let well = places::every_route_goes_well(&service, &search, &mut numbers);
    let refused = places::every_route_is_refused(&service, &search, &mut numbers);
    let commands = commands::every_command(&service, &search, &mut numbers);
    if looks {
        nothing_in_memory(&service, &search, "wrong calls");
    }
    note("canaries sent through the service", numbers.count());
    note("calls with canaries", well + refused);
    note("commands with canaries", commands);

    let metrics = service.status("/metrics").expect(200).text();
    search.none_in("the metrics", metrics.as_bytes());
    let log = fs::read(export(&service, "exported.ndjson")).expect("the export");
    search.none_in("the audit log", &log);
    assert!(log.len() > 10_000);
    let arguments = fs::read(format!("/proc/{}/cmdline", service.pid())).expect("arguments");
    search.none_in("the arguments", &arguments);
    let environment = fs::read(format!("/proc/{}/environ", service.pid()));
    search.none_in("the environment", &environment.unwrap_or_default());
    let output = service.all_output();
    assert!(output.len() > 10_000, "it logged");
    search.none_in("what it logged", &output);
    let mut looked_at = look_into_files(&service.data(), &search);
    if let Backend::Postgres(server) = &backend {
        let url = fs::read_to_string(service.home().join("database-url")).expect("a URL");
        // What was written is then in the tables' files as well as in the write-ahead log.
        postgres_each(&url, &["CHECKPOINT"]);
        looked_at += look_into_files(server.directory(), &search);
    }
    assert!(looked_at > 0, "nothing of the database was found");
    // An orderly end writes what was still in memory.
    service.stop();
    look_into_files(&service.data(), &search);
    let output = service.all_output();
    search.none_in("what it logged", &output);
    for key in ["PRIVATE KEY-----", "AGE-SECRET-KEY-", "postgres://"] {
        let mut places = output.windows(key.len());
        assert!(!places.any(|at| at == key.as_bytes()), "{key} in the log");
    }
}

/// Looks into every file below a directory. Gives in how many of them a name stands that is no secret:
/// the right place was searched, and it can be read.
fn look_into_files(directory: &Path, search: &Search) -> usize {
    let name = memchr::memmem::Finder::new(places::NAME);
    let mut looked_at = 0;
    for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
        let path = entry.path();
        if path.is_dir() {
            looked_at += look_into_files(&path, search);
        } else if path.is_file() {
            // A database may remove a file at any time.
            let bytes = fs::read(&path).unwrap_or_default();
            looked_at += usize::from(name.find(&bytes).is_some());
            search.none_in(&path.display().to_string(), &bytes);
        }
    }
    looked_at
}

/// Values that are where they should not be are found there.
#[test]
fn a_value_in_a_file_is_found() {
    let home = tempfile::tempdir().expect("a directory");
    let inner = home.path().join("inner");
    fs::create_dir(&inner).expect("a directory");
    let search = Search::new();
    fs::write(inner.join("page"), places::NAME).expect("a file");
    assert_eq!(look_into_files(home.path(), &search), 1);
    let page = [&[0; 4000], marks::text(5).as_bytes(), &[0; 96]].concat();
    fs::write(inner.join("page"), page).expect("a file");
    let looked = std::panic::catch_unwind(|| look_into_files(home.path(), &search));
    assert!(looked.is_err());
}

/// All connections are closed, which the service may take a moment to notice. The allocator
/// overwrites what is freed; this finds what is not freed, and what lies on the stacks.
fn nothing_in_memory(service: &Service, search: &Search, after: &str) {
    let end = std::time::Instant::now() + std::time::Duration::from_secs(20);
    loop {
        let looked = memory::look_into(service.pid(), search).expect("its memory");
        assert!(looked.bytes > 1 << 20, "{} bytes of memory", looked.bytes);
        if looked.found.is_empty() {
            note("mebibytes of memory searched", looked.bytes >> 20);
            return;
        }
        let late = std::time::Instant::now() > end;
        assert!(!late, "after {after}, the memory holds {:#?}", looked.found);
        crate::support::pause(200);
    }
}

/// While half a request has come, what came is in memory; and it goes with the connection.
fn the_search_of_memory_finds_what_is_there(service: &Service, search: &Search) {
    let id = Admin::of(service).list("/credentials")[0]["id"].clone();
    let path = format!(
        "/api/v1/credentials/{}/versions",
        id.as_str().expect("an id")
    );
    let body = json!({"fields": {"value": marks::text(0)}, "rest": "r".repeat(1000)});
    let mut open = service.client("operator").connect();
    let whole = Request::post(&path, &body).to_bytes();
    open.write(&whole[..whole.len() - 100]).expect("a write");
    until("what a request under way holds", 20, || {
        let looked = memory::look_into(service.pid(), search).expect("its memory");
        (!looked.found.is_empty()).then_some(())
    });
    drop(open);
    nothing_in_memory(service, search, "half a request");
}
