//! The files of the repository, for tests that compare what is written with what is there.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

pub fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// A file of the repository.
#[track_caller]
pub fn text(name: impl AsRef<Path>) -> String {
    let path = root().join(name);
    match fs::read_to_string(&path) {
        Ok(text) => text,
        Err(error) => panic!("{}: {error}", path.display()),
    }
}

/// The files whose names end so, below a directory or at this very path, by their names from the root.
pub fn files(below: &str, end: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    walk(Path::new(below), end, &mut found);
    assert!(!found.is_empty(), "{below} has no file *.{end}");
    found.sort();
    found
}

fn walk(at: &Path, end: &str, found: &mut Vec<PathBuf>) {
    let path = root().join(at);
    if path.is_dir() {
        for entry in fs::read_dir(path).expect("a directory") {
            walk(&at.join(entry.expect("an entry").file_name()), end, found);
        }
    } else if at.extension().is_some_and(|it| it == end) {
        found.push(at.to_owned());
    }
}

/// The names of tests.
#[derive(Default)]
pub struct Tests {
    /// Those of every run.
    pub run: BTreeSet<String>,
    /// Those marked `#[ignore]`.
    pub ignored: BTreeSet<String>,
}

impl Tests {
    /// The tests of the sources at these places.
    pub fn of(places: &[&str]) -> Self {
        let mut tests = Self::default();
        for source in places.iter().flat_map(|place| files(place, "rs")) {
            tests.read(&text(source));
        }
        tests
    }

    /// Adds the tests of a source: marked as such, or told for both databases.
    pub fn read(&mut self, source: &str) {
        let (mut marked, mut ignored) = (false, false);
        for line in source.lines().map(str::trim_start) {
            let rest = line.strip_prefix("pub ").unwrap_or(line);
            let rest = rest.strip_prefix("async ").unwrap_or(rest);
            if line.starts_with("#[test]") || line.starts_with("#[tokio::test") {
                marked = true;
            } else if line.starts_with("#[ignore") {
                ignored = true;
            } else if let Some(rest) = rest.strip_prefix("fn ") {
                let kind = match std::mem::take(&mut ignored) {
                    true => &mut self.ignored,
                    false => &mut self.run,
                };
                if std::mem::take(&mut marked) {
                    kind.insert(word(rest).to_owned());
                }
            }
        }
        for part in source.split("\non_both!(").skip(1) {
            let stories = part.split(')').next().unwrap_or_default();
            let stories = stories.split(',').map(str::trim);
            let stories = stories.filter(|story| !story.is_empty());
            self.run.extend(stories.map(str::to_owned));
        }
    }
}

/// What stands in back quotes.
pub fn quoted(text: &str) -> impl Iterator<Item = &str> {
    text.split('`').skip(1).step_by(2)
}

/// The word that a text begins with.
pub fn word(text: &str) -> &str {
    let end = text.find(|c: char| !c.is_ascii_alphanumeric() && c != '_');
    &text[..end.unwrap_or(text.len())]
}

#[test]
fn only_what_runs_is_a_test() {
    let mut found = Tests::default();
    found.read(
        "#[test]\n/// Words\nfn one() {\n    fn inner() {}\n}\n#[test]\n#[ignore = \"slow\"]\n\
         fn two() {}\n#[tokio::test(a)]\nasync fn three() {}\non_both!(four, five,);\nfn six() {}\n\
         #[ignore]\n#[test]\nfn seven() {}\n#[test]\nfn eight() {}",
    );
    let names = |names: &BTreeSet<String>| names.iter().cloned().collect::<Vec<_>>().join(" ");
    assert_eq!(names(&found.run), "eight five four one three");
    assert_eq!(names(&found.ignored), "seven two");
}
