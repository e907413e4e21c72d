//! `docs/attacks.md` says what the tests are: each that it names is there, and each that is there is
//! named.

use std::collections::{BTreeMap, BTreeSet};

use crate::support::sources::{Tests, quoted, text, word};

/// How many known vulnerabilities the table has.
const ROWS: usize = 48;

/// Where the tests of attacks are.
const SOURCES: [&str; 2] = ["tests/suite/attacks", "tests/suite/attacks_authorities.rs"];

/// This test, which is the one there that attacks nothing.
const ITSELF: &str = "each_known_vulnerability_has_its_tests_or_a_reason";

/// The cells of a row of a Markdown table.
fn cells(line: &str) -> Vec<&str> {
    let line = line.trim().trim_start_matches('|').trim_end_matches('|');
    line.split('|').map(str::trim).collect()
}

/// What a page says of the tests, and what is wrong with it.
#[derive(Default)]
struct Page {
    /// The tests that each numbered row names.
    rows: BTreeMap<usize, BTreeSet<String>>,
    /// All that are named anywhere.
    named: BTreeSet<String>,
    /// How many lines without a number there are.
    others: usize,
    wrong: Vec<String>,
}

impl Page {
    fn read(page: &str, tests: &Tests) -> Self {
        let mut this = Self::default();
        for line in page.lines().filter(|line| line.starts_with('|')) {
            let cells = cells(line);
            // The names of the columns, and the line below them.
            if cells.last().is_some_and(|it| it.starts_with("test"))
                || cells.iter().all(|it| it.starts_with("---"))
            {
                continue;
            }
            this.line(&cells, tests);
        }
        this
    }

    fn line(&mut self, cells: &[&str], tests: &Tests) {
        let (first, last) = (cells[0], cells[cells.len() - 1]);
        let mut named = BTreeSet::new();
        let mut runs = false;
        for name in quoted(last) {
            // A command has a space or a slash in it; a test has neither.
            if name.contains([' ', '/']) {
                continue;
            }
            runs |= tests.run.contains(name);
            // `scripts/soak` runs what is marked as ignored, by the beginning of its name.
            let measured = name.starts_with("soak_") && tests.ignored.contains(name);
            if word(name) != name || !(measured || tests.run.contains(name)) {
                self.wrong.push(format!("{first}: there is no test {name}"));
            }
            named.insert(name.to_owned());
        }
        let reason = ["does not apply: ", "not yet: "];
        let reason = reason.iter().any(|it| last.starts_with(it));
        let elsewhere = cells.len() == 3 && last.is_empty() && cells[1].starts_with("rows ");
        if !(runs || reason || elsewhere) {
            self.wrong.push(format!("{first}: says nothing"));
        }
        self.named.extend(named.iter().cloned());
        match first.parse::<usize>() {
            Ok(_) if cells.len() != 4 => self.wrong.push(format!("{first}: not four cells")),
            Ok(number) if self.rows.contains_key(&number) => {
                self.wrong.push(format!("{number}: twice"));
            }
            Ok(number) => {
                self.rows.insert(number, named);
            }
            Err(_) => self.others += 1,
        }
    }

    /// Each of these tests has to be named, and one with a number in the row of that number.
    fn compare(&mut self, attacks: &BTreeSet<String>) {
        for test in attacks {
            let number = test.strip_prefix("row_").and_then(|rest| rest.get(..2));
            let there = match number.map(str::parse::<usize>) {
                Some(Ok(number)) => self.rows.get(&number).is_some_and(|it| it.contains(test)),
                _ => self.named.contains(test),
            };
            if !there {
                self.wrong.push(format!("{test} is not named"));
            }
        }
    }
}

#[test]
fn each_known_vulnerability_has_its_tests_or_a_reason() {
    finds_what_is_wrong();
    let mut page = Page::read(&text("docs/attacks.md"), &Tests::of(&["src", "tests"]));
    let mut attacks = Tests::of(&SOURCES);
    attacks.run.append(&mut attacks.ignored);
    assert!(attacks.run.remove(ITSELF));
    assert!(attacks.run.len() > 40, "{} tests", attacks.run.len());
    page.compare(&attacks.run);
    assert_eq!(page.wrong, [""; 0]);
    let rows: Vec<usize> = page.rows.keys().copied().collect();
    assert_eq!(rows, (1..=ROWS).collect::<Vec<_>>());
    assert!(page.others > 10, "{} lines beyond the rows", page.others);
}

/// A comparison that finds nothing proves nothing unless it finds what is wrong.
fn finds_what_is_wrong() {
    let mut tests = Tests::default();
    tests.read("#[test]\nfn row_01_one() {}\n#[test]\n#[ignore]\nfn soak_one() {}\nfn helper() {}");
    let head = "| row | known as | what | test, or why |\n|---|---|---|---|\n";
    let wrong = |line: &str, attacks: &str| {
        let mut page = Page::read(&format!("{head}{line}\n"), &tests);
        page.compare(&BTreeSet::from([attacks.to_owned()]));
        page.wrong.len()
    };
    assert_eq!(wrong("| 1 | x | y | `row_01_one` |", "row_01_one"), 0);
    assert_eq!(wrong("| a trap | rows 1 and 2 | |", "row_01_one"), 1);
    for line in [
        "| 1 | x | y | `row_01_one`, `helper` |",
        "| 1 | x | y | `row_01_one`; unit: `not_there` |",
        "| 1 | x | `row_01_one` |",
        "| 2 | x | y | `row_01_one` |",
        "| 1 | x | y | `row_01_one` |\n| 1 | x | y | does not apply: z |",
        "| 1 | x | y | `row_01_one` |\n| a trap | y | |",
        "| 1 | x | y | `row_01_one` |\n| a trap | y | `not_there`, `row_01_one` |",
        "| 1 | x | y | `row_01_one` |\n| beyond | measured: `soak_one` |",
        "| 1 | x | y | `row_01_one` |\n| beyond | unit: `soak_two`, `row_01_one` |",
    ] {
        assert!(wrong(line, "row_01_one") > 0, "{line}");
    }
}
