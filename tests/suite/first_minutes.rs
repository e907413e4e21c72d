//! The first five minutes: `dev` from nothing, its banner followed to the letter.

use serde_json::Value;

use crate::support::cli::{Ended, run};
use crate::support::{Admin, Backend, Service, on_both};

on_both!(first_five_minutes, dev_refuses_what_it_cannot_do);

const SECRET: &str = "demonstration~secret~opens~nothing";

/// The lines that the banner says to copy: the exports, then each command.
struct Banner {
    exports: Vec<String>,
    commands: Vec<String>,
}

impl Banner {
    fn read(service: &Service) -> Self {
        let text = service.stdout();
        let mut banner = Self {
            exports: Vec::new(),
            commands: Vec::new(),
        };
        let mut expect_command = false;
        for line in text.lines() {
            let trimmed = line.trim();
            if trimmed.starts_with("export ") {
                banner.exports.push(trimmed.to_owned());
            } else if trimmed.starts_with("curl ") || std::mem::take(&mut expect_command) {
                banner.commands.push(trimmed.to_owned());
            }
            let step = trimmed.split_once(". ").map(|(number, _)| number);
            expect_command = step.is_some_and(|number| number.parse::<u8>().is_ok());
        }
        banner
    }

    /// Runs one command in a shell into which the exports were copied.
    fn run(&self, service: &Service, command: &str) -> Ended {
        let mut shell = std::process::Command::new("sh");
        shell
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .current_dir(service.home())
            .arg("-ec")
            .arg(format!("{}\n{command}", self.exports.join("\n")));
        run(shell, b"")
    }
}

fn only_credential(document: &Value) -> &Value {
    let credentials = document["credentials"].as_array().expect("credentials");
    assert_eq!(credentials.len(), 1, "{document}");
    assert_eq!(document["failed"], serde_json::json!([]));
    assert_eq!(credentials[0]["fields"]["client_secret"], SECRET);
    &credentials[0]
}

fn first_five_minutes(backend: Backend) {
    let mut service = Service::dev(&backend);
    let banner = Banner::read(&service);
    assert_eq!(banner.exports.len(), 4, "{}", service.stdout());
    assert_eq!(banner.commands.len(), 7, "{}", service.stdout());

    let fetched = banner.run(&service, &banner.commands[0]).ok().json();
    let credential = only_credential(&fetched)["id"].clone();
    let other = banner.run(&service, &banner.commands[1]).ok();
    assert_eq!(other.json()["credentials"], serde_json::json!([]));
    assert!(!other.stdout.contains(SECRET));
    let log = banner.run(&service, &banner.commands[2]).ok();
    assert!(log.stdout.contains("release.intent"), "{}", log.stdout);
    assert!(!log.stdout.contains(SECRET));
    let verified = banner.run(&service, &banner.commands[3]).ok();
    assert!(verified.stdout.contains("verified"), "{}", verified.stdout);
    let invited = banner.run(&service, &banner.commands[4]).ok();
    let link = format!("https://{}/i/", service.pages());
    assert!(invited.stdout.contains(&link), "{}", invited.stdout);
    for curl in &banner.commands[5..] {
        let curl = curl.replacen("curl ", "curl -sS --fail ", 1);
        let answer = banner.run(&service, &curl).ok().json();
        assert_eq!(only_credential(&answer)["id"], credential);
    }

    // Started again, it goes on: the same credential, the same log, and the files still work.
    let before = Admin::of(&service).audit("kind=release.intent").len();
    assert!(before >= 3, "{before}");
    service.restart();
    assert!(service.stdout().contains("goes on"));
    let banner = Banner::read(&service);
    let fetched = banner.run(&service, &banner.commands[0]).ok().json();
    assert_eq!(only_credential(&fetched)["id"], credential);
    let by_assertion = banner.run(&service, &banner.commands[6]).ok().json();
    assert_eq!(only_credential(&by_assertion)["id"], credential);
    let after = Admin::of(&service).audit("kind=release.intent").len();
    assert_eq!(after, before + 2, "the audit log goes on");
}

fn dev_refuses_what_it_cannot_do(backend: Backend) {
    let service = Service::dev(&backend);
    // A second process on the same data.
    let mut second = crate::support::service::program();
    second.current_dir(service.home()).arg("dev");
    second.args([
        "--listen",
        "127.0.0.1:0",
        "--pages-listen",
        "127.0.0.1:0",
        "--status-listen",
        "127.0.0.1:0",
    ]);
    let said = crate::support::deployment::refused(second);
    assert!(said.contains("another process"), "{said}");
    // Not on loopback.
    let mut open = crate::support::service::program();
    open.current_dir(service.home());
    open.args(["dev", "--dir", "elsewhere", "--listen", "0.0.0.0:0"]);
    let said = crate::support::deployment::refused(open);
    assert!(said.contains("loopback"), "{said}");
    assert!(!service.home().join("elsewhere").exists());
}
