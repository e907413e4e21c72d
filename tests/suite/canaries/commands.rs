//! Every command with canaries in whatever it reads: files, standard input, keys. What it prints,
//! and what others can see of its process, holds none.

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use clap::error::{ContextKind, ErrorKind};
use clap::{Arg, CommandFactory as _};
use serde_json::json;

use super::marks::Search;
use super::values::Numbers;
use crate::support::cli::Ended;
use crate::support::service::program;
use crate::support::{Admin, Service, pause};

/// Commands that run until they are stopped: they are the service, which the rest of this story is about.
const SERVICES: &[&str] = &["dev", "serve"];

/// Where commands run and what they read.
struct Bench<'a> {
    service: &'a Service,
    search: &'a Search,
    directory: PathBuf,
    /// A file with a canary.
    file: String,
    credential: String,
    runs: usize,
}

/// Runs every command in several ways; gives how many runs there were.
pub fn every_command(service: &Service, search: &Search, numbers: &mut Numbers) -> usize {
    let directory = service.home().join("commands");
    fs::create_dir(&directory).expect("a directory");
    let file = directory.join("canary.json");
    let content = json!({"value": numbers.text(), "key": numbers.text()});
    fs::write(&file, content.to_string()).expect("a file");
    let admin = Admin::of(service);
    let credential = admin.empty_credential("canary", "production", &["m365-sync"]);
    let mut bench = Bench {
        service,
        search,
        directory,
        file: file.display().to_string(),
        credential,
        runs: 0,
    };
    bench.values_go_in_and_come_out(numbers);
    bench.every_leaf(numbers);
    bench.keys_that_are_none();
    bench.runs
}

impl Bench<'_> {
    fn command(&self) -> Command {
        let mut command = program();
        let service = self.service;
        command
            .current_dir(&self.directory)
            .env("STRONGROOM_URL", service.url())
            .env("STRONGROOM_CA", service.file("ca.pem"))
            .env("STRONGROOM_CERT", service.file("operator.pem"))
            .env("STRONGROOM_KEY", service.file("operator.key"));
        command
    }

    /// Runs a command; what it prints and what is seen of it while it reads holds no canary.
    #[track_caller]
    fn run(&mut self, mut command: Command, input: &str) -> Ended {
        self.runs += 1;
        let name = format!("{command:?}");
        let name = name.rsplit("strongroom\"").next().unwrap_or_default();
        command.stdin(Stdio::piped());
        let out = self.directory.join(format!("out.{}", self.runs));
        let err = self.directory.join(format!("err.{}", self.runs));
        command.stdout(fs::File::create(&out).expect("a file"));
        command.stderr(fs::File::create(&err).expect("a file"));
        let mut child = command.spawn().expect("the program");
        let mut stdin = child.stdin.take().expect("its input");
        let _ = stdin.write_all(input.as_bytes());
        for file in ["cmdline", "environ"] {
            // It has ended, perhaps; otherwise root may look.
            let seen = fs::read(format!("/proc/{}/{file}", child.id())).unwrap_or_default();
            self.search.none_in(&format!("{file} of{name}"), &seen);
        }
        drop(stdin);
        let end = Instant::now() + Duration::from_secs(60);
        let status = loop {
            if let Some(status) = child.try_wait().expect("the process") {
                break status;
            }
            if Instant::now() > end {
                let _ = child.kill();
                panic!("{name} does not end");
            }
            pause(5);
        };
        let read =
            |path: &Path| String::from_utf8_lossy(&fs::read(path).expect("a file")).into_owned();
        let ended = Ended {
            code: status.code().unwrap_or(-1),
            stdout: read(&out),
            stderr: read(&err),
        };
        self.search
            .none_in(&format!("what{name} printed"), ended.stdout.as_bytes());
        self.search
            .none_in(&format!("what{name} complained"), ended.stderr.as_bytes());
        ended
    }

    /// A version from a file and one from standard input, released to files.
    fn values_go_in_and_come_out(&mut self, numbers: &mut Numbers) {
        let credential = self.credential.clone();
        let file = self.directory.join("value");
        fs::write(&file, numbers.text()).expect("a file");
        let from_file = format!("value=@{}", file.display());
        let fields = self.file.clone();
        let sources = [
            vec!["--field", &from_file, "--field", "other=-"],
            vec!["--fields", "-"],
            vec!["--fields", &fields],
        ];
        for source in sources {
            let json = source == ["--fields", "-"];
            let input = match json {
                true => json!({"value": numbers.text()}).to_string(),
                false => numbers.text(),
            };
            let mut command = self.command();
            command.args(["credential", "version", "add", &credential]);
            command
                .args(["--activate", "--reason", "canary"])
                .args(source);
            self.run(command, &input).ok();
        }
        let worker = |mut command: Command, service: &Service| {
            command
                .env("STRONGROOM_CERT", service.file("worker.pem"))
                .env("STRONGROOM_KEY", service.file("worker.key"));
            command
        };
        let mut fetch = worker(self.command(), self.service);
        fetch.args(["fetch", "--dir", "fetched"]);
        self.run(fetch, "").ok();
        let mut fetched = fs::read_dir(self.directory.join("fetched")).expect("files");
        assert!(
            fetched.any(|file| self
                .search
                .is_in(&fs::read(file.expect("a file").path()).expect("bytes"))),
            "what was fetched is in the files"
        );
        let mut exec = worker(self.command(), self.service);
        exec.args(["exec", "--env", &format!("VALUE={credential}.value"), "--"]);
        exec.args(["/bin/sh", "-c", "test -n \"$VALUE\""]);
        self.run(exec, "").ok();
        // A value that somebody does write into the arguments is not repeated.
        let mut refused = program();
        refused.args(["credential", "version", "add", &credential]);
        refused.args(["--field", &format!("client_secret={}", numbers.text())]);
        let output = refused.output().expect("the program");
        assert_eq!(output.status.code(), Some(1));
        self.search
            .none_in("the complaint", &[output.stdout, output.stderr].concat());
    }

    /// Each command with all that it requires, and then once more with each of its options.
    fn every_leaf(&mut self, numbers: &mut Numbers) {
        let mut leaves = Vec::new();
        let mut root = strongroom::cli::Cli::command();
        root.build();
        collect(&root, &mut Vec::new(), &mut leaves);
        assert!(leaves.len() > 40, "{} commands", leaves.len());
        let input = format!("{{\"value\": \"{}\", {}", numbers.text(), numbers.text());
        for (names, leaf) in leaves {
            if SERVICES.contains(&names[0].as_str()) {
                continue;
            }
            let required: Vec<&Arg> = leaf
                .get_arguments()
                .filter(|arg| arg.is_required_set())
                .collect();
            let optional = leaf.get_arguments().filter(|arg| {
                !arg.is_required_set() && !arg.is_global_set() && arg.get_action().takes_values()
            });
            let tries = std::iter::once(None).chain(optional.map(Some));
            for more in tries.collect::<Vec<_>>() {
                let wanted = required.iter().copied().chain(more).collect();
                let mut command = self.command();
                command.args(self.arguments(&root, &names, &leaf, wanted));
                self.run(command, &input);
            }
        }
    }

    /// What has to be typed for a command with these of its arguments to be understood: with others
    /// that they need, and values of the right form.
    fn arguments(
        &self,
        root: &clap::Command,
        names: &[String],
        leaf: &clap::Command,
        wanted: Vec<&Arg>,
    ) -> Vec<String> {
        let mut wanted: Vec<(Arg, usize)> = wanted.into_iter().map(|it| (it.clone(), 0)).collect();
        for _ in 0..100 {
            // Options, what stands in its place, and what is last.
            wanted.sort_by_key(|(arg, _)| (arg.is_last_set(), arg.get_index()));
            let mut typed = names.to_vec();
            for (arg, n) in &wanted {
                self.type_argument(&mut typed, arg, *n);
            }
            let words = std::iter::once("strongroom").chain(typed.iter().map(String::as_str));
            let Err(error) = root.clone().try_get_matches_from(words) else {
                return typed;
            };
            // What is missing or wrong stands there as the help shows it: `--kind <KIND>`.
            let about = error.get(ContextKind::InvalidArg).map(ToString::to_string);
            let about = about.unwrap_or_default();
            let wrong = |(arg, _): &&mut (Arg, usize)| about == arg.to_string();
            let missing = |arg: &&Arg| match arg.get_long() {
                Some(long) => {
                    let mut words = about.split([' ', '|', '<', '>', ',']);
                    words.any(|word| word.strip_prefix("--") == Some(long))
                }
                // An optional one stands in other brackets than where it is missed.
                None => about.contains(arg.to_string().trim_matches(['[', ']', '<', '>', '.'])),
            };
            match error.kind() {
                ErrorKind::ValueValidation | ErrorKind::InvalidValue => {
                    wanted.iter_mut().find(wrong).expect("an argument").1 += 1;
                }
                ErrorKind::MissingRequiredArgument => {
                    let missing = leaf.get_arguments().find(missing);
                    let missing = missing.unwrap_or_else(|| panic!("{names:?}: {about}"));
                    wanted.push((missing.clone(), 0));
                }
                _ => panic!("{typed:?}: {error}"),
            }
        }
        panic!("{names:?} cannot be typed with {wanted:?}");
    }

    /// Adds an argument with a value of its kind; a file is one with a canary. `n` says how many values
    /// were not of the right form.
    fn type_argument(&self, typed: &mut Vec<String>, arg: &Arg, n: usize) {
        let kind = arg.get_value_names().and_then(|names| names.first());
        let kind = kind.map_or("", |name| name.as_str());
        let id = arg.get_id().as_str();
        let choices = arg.get_possible_values();
        let value = match kind {
            _ if !choices.is_empty() => choices[0].get_name().to_owned(),
            "NAME=SOURCE" => format!("value=@{}", self.file),
            "NAME=CREDENTIAL.FIELD" => format!("NAME={}.value", self.credential),
            "DIR" => "a-directory".to_owned(),
            "DATE" => "2031-01-01".to_owned(),
            "N" | "VERSION" | "DAYS" => "1".to_owned(),
            "DURATION" => "1h".to_owned(),
            "URL" => "https://localhost:1".to_owned(),
            "ADDRESS" => "127.0.0.1:0".to_owned(),
            "STATE" => "sent".to_owned(),
            "COMMAND" => "true".to_owned(),
            // What is written to must not destroy what the others read.
            _ if id.contains("out") => format!("out-of-{}", self.runs),
            _ if kind.contains("FILE") => self.file.clone(),
            _ if id.contains("credential") => self.credential.clone(),
            _ if id == "client" => "canary".to_owned(),
            _ => "something".to_owned(),
        };
        let id = |prefix: &str| format!("{prefix}_{}", "0".repeat(26));
        let others = ["generic", "tech-ops", "1", "ada@company.example"].map(str::to_owned);
        let ids = [
            "clnt", "cont", "auth", "pkey", "enrt", "wkld", "intk", "subm", "verf", "task", "mail",
        ];
        let last = 5 + ids.len();
        let ids = ids.map(id);
        let mut values = std::iter::once(value).chain(others).chain(ids);
        let value = values
            .nth(n)
            .or_else(|| (n == last).then(|| "0".repeat(64)));
        let value = value.unwrap_or_else(|| panic!("say here what {arg} may be"));
        match arg.get_long() {
            Some(long) if arg.get_action().takes_values() => {
                typed.push(format!("--{long}={value}"))
            }
            Some(long) => typed.push(format!("--{long}")),
            None if arg.is_last_set() => typed.extend(["--".to_owned(), value]),
            None => typed.push(value),
        }
    }

    /// Something else in place of keys and certificates.
    fn keys_that_are_none(&mut self) {
        for variable in [
            "STRONGROOM_CA",
            "STRONGROOM_CERT",
            "STRONGROOM_KEY",
            "STRONGROOM_JWT_KEY",
        ] {
            let mut command = self.command();
            command.env(variable, self.file.clone()).arg("whoami");
            let ended = self.run(command, "");
            assert_ne!(ended.code, 0, "{variable}");
        }
    }
}

/// The commands that do something, with their names.
fn collect(
    command: &clap::Command,
    names: &mut Vec<String>,
    leaves: &mut Vec<(Vec<String>, clap::Command)>,
) {
    if command.has_subcommands() {
        for inner in command
            .get_subcommands()
            .filter(|inner| inner.get_name() != "help")
        {
            names.push(inner.get_name().to_owned());
            collect(inner, names, leaves);
            names.pop();
        }
    } else {
        leaves.push((names.clone(), command.clone()));
    }
}
