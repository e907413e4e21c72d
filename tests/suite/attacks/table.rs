//! `docs/attacks.md` says what the tests are: each that it names is there, and each that is there is
//! named.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// How many known vulnerabilities the table has.
const ROWS: usize = 48;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn sources(directory: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(directory).expect("a directory") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            sources(&path, found);
        } else if path.extension().is_some_and(|it| it == "rs") {
            found.push(path);
        }
    }
}

/// The names of all functions of the source files below these directories.
fn functions(directories: &[&str]) -> BTreeSet<String> {
    let mut files = Vec::new();
    for directory in directories {
        sources(&root().join(directory), &mut files);
    }
    let mut names = BTreeSet::new();
    for file in files {
        let text = fs::read_to_string(file).expect("a source file");
        for line in text.lines() {
            let line = line.trim_start();
            let line = line.strip_prefix("pub ").unwrap_or(line);
            let line = line.strip_prefix("async ").unwrap_or(line);
            if let Some(rest) = line.strip_prefix("fn ") {
                let end = rest.find(|c: char| !c.is_ascii_alphanumeric() && c != '_');
                names.insert(rest[..end.unwrap_or(rest.len())].to_owned());
            }
        }
    }
    names
}

/// The cells of a row of a Markdown table.
fn cells(line: &str) -> Vec<&str> {
    let line = line.trim().trim_start_matches('|').trim_end_matches('|');
    line.split('|').map(str::trim).collect()
}

/// What stands in back quotes.
fn quoted(text: &str) -> Vec<&str> {
    let quoted = text.split('`').skip(1).step_by(2);
    // A command has a space or a slash in it; a test has not.
    quoted.filter(|it| !it.contains([' ', '/'])).collect()
}

#[test]
fn each_known_vulnerability_has_its_tests_or_a_reason() {
    let text = fs::read_to_string(root().join("docs/attacks.md")).expect("the table");
    let there = functions(&["tests/suite", "src"]);
    let mut rows = BTreeSet::new();
    let mut named = BTreeSet::new();
    for line in text.lines().filter(|line| line.starts_with('|')) {
        let cells = cells(line);
        let Ok(number) = cells[0].parse::<usize>() else {
            named.extend(quoted(line).into_iter().map(str::to_owned));
            continue;
        };
        assert_eq!(cells.len(), 4, "{line}");
        assert!(rows.insert(number), "row {number} twice");
        let tests = quoted(cells[3]);
        let reason = ["does not apply: ", "not yet: "]
            .iter()
            .any(|it| cells[3].starts_with(it));
        assert!(reason || !tests.is_empty(), "row {number} says nothing");
        for test in tests {
            assert!(
                there.contains(test),
                "row {number}: there is no test {test}"
            );
            named.insert(test.to_owned());
        }
    }
    let expected: BTreeSet<usize> = (1..=ROWS).collect();
    assert_eq!(rows, expected);
    for test in functions(&["tests/suite/attacks"]) {
        if test.starts_with("row_") || test.starts_with("trap_") {
            assert!(named.contains(&test), "{test} is not in docs/attacks.md");
        }
    }
}
