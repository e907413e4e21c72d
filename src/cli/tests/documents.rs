//! What the documents and the help say can be typed, read by the program's own parser.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use clap::error::{ContextKind, ContextValue, ErrorKind};

use super::*;

/// The documents of the repository.
fn documents() -> Vec<PathBuf> {
    fn collect(directory: &Path, found: &mut Vec<PathBuf>) {
        for entry in fs::read_dir(directory).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                collect(&path, found);
            } else if path.extension().is_some_and(|end| end == "md") {
                found.push(path);
            }
        }
    }
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut found = Vec::new();
    for directory in ["docs", "deploy", "keys"] {
        collect(&root.join(directory), &mut found);
    }
    for name in ["README.md", "SECURITY.md", "CHANGELOG.md"] {
        found.push(root.join(name));
    }
    found
}

/// Code in a document.
#[derive(Debug, PartialEq)]
enum Code {
    /// Lines for a shell.
    Block(String),
    /// Some words in a sentence.
    Span(String),
}

/// Everything in a document that is set as code, except blocks in another language than a shell's.
fn code(page: &str) -> Vec<Code> {
    let mut found = Vec::new();
    let mut prose = String::new();
    let mut block: Option<(bool, String)> = None;
    let mut indented = String::new();
    let mut blank = true;
    for line in page.lines().chain([""]) {
        let trimmed = line.trim_start();
        if block.is_none() && line.starts_with("    ") && blank {
            indented.push_str(trimmed);
            indented.push('\n');
            continue;
        }
        if !indented.is_empty() {
            found.push(Code::Block(std::mem::take(&mut indented)));
        }
        if let Some(language) = trimmed.strip_prefix("```") {
            block = match block.take() {
                None => Some((matches!(language, "" | "sh"), String::new())),
                Some((true, text)) => {
                    found.push(Code::Block(text));
                    None
                }
                Some((false, _)) => None,
            };
        } else if let Some((_, text)) = &mut block {
            text.push_str(trimmed);
            text.push('\n');
        } else {
            prose.push_str(trimmed);
            prose.push(if trimmed.is_empty() { '\n' } else { ' ' });
        }
        blank = trimmed.is_empty();
    }
    // A span may go on in the next line, and never in the next paragraph.
    for paragraph in prose.lines() {
        let spans = paragraph.split('`').skip(1).step_by(2);
        found.extend(spans.map(|span| Code::Span(span.to_owned())));
    }
    found
}

/// The words of the commands in a text, as a shell would split it.
fn split(text: &str) -> Vec<Vec<String>> {
    let text = text.replace("\\\n", " ");
    let mut commands = vec![Vec::new()];
    let (mut word, mut quote, mut is_file) = (None::<String>, None, false);
    let mut rest = text.chars().chain(['\n']);
    while let Some(c) = rest.next() {
        match (quote, c) {
            (Some(open), c) if c == open => quote = None,
            (Some('"') | None, '\\') => word.get_or_insert_default().extend(rest.next()),
            (Some(_), c) => word.get_or_insert_default().push(c),
            (None, '\'' | '"') => {
                quote = Some(c);
                word.get_or_insert_default();
            }
            (None, c) if c.is_whitespace() || ";|&<>#".contains(c) => {
                if c == '#' && word.is_none() {
                    rest.by_ref().find(|c| *c == '\n');
                }
                if let Some(word) = word.take()
                    && !std::mem::take(&mut is_file)
                {
                    commands.last_mut().unwrap().push(word);
                }
                match c {
                    '<' | '>' => is_file = true,
                    '\n' | ';' | '|' | '&' | '#' => commands.push(Vec::new()),
                    _ => {}
                }
            }
            (None, c) => word.get_or_insert_default().push(c),
        }
    }
    commands.retain(|words| !words.is_empty());
    commands
}

/// The words from `strongroom` on, if that is what a command starts.
fn of_ours(words: &[String]) -> Option<&[String]> {
    let is_ours = |word: &String| word == "strongroom" || word.ends_with("/strongroom");
    match words.first()?.as_str() {
        "sudo" | "systemd-run" | "docker" | "podman" | "kubectl" => {
            let at = words.iter().rposition(is_ours)?;
            (at + 1 < words.len()).then(|| &words[at..])
        }
        _ => is_ours(words.first()?).then_some(words),
    }
}

/// What stands for something that a reader has: `FILE`, `age1…`, `cred_01…`.
fn is_placeholder(word: &str) -> bool {
    let bare = word.trim_end_matches('…');
    word.ends_with('…')
        || (!bare.is_empty()
            && bare
                .bytes()
                .all(|b| b.is_ascii_uppercase() || matches!(b, b'_' | b'-' | b'.' | b'=')))
}

/// What could be meant by a placeholder.
fn candidates(placeholder: &str) -> Vec<String> {
    const ULID: &str = "01kaqz3m8v7d6k2n4p9r5s1t0x";
    let mut found = Vec::new();
    if let Some((prefix, _)) = placeholder.split_once('_') {
        found.push(format!("{prefix}_{ULID}"));
    }
    for prefix in ["clnt", "cred", "wkld", "oper", "auth", "pkey", "enrt"] {
        found.push(format!("{prefix}_{ULID}"));
    }
    let others = ["name", "1", "2028-12-01", "1h", "a=b.c", "a=@b"];
    found.extend(others.map(str::to_owned));
    found
}

/// Whether the program would take these words (its name first). With `partial`, what has to be there
/// besides may be missing.
fn takes(words: &[String], partial: bool) -> Result<(), String> {
    let mut words: Vec<String> = words.iter().filter(|word| *word != "…").cloned().collect();
    for _ in 0..=words.len() {
        let read = Cli::command()
            .try_get_matches_from(&words)
            .and_then(|matches| Cli::from_arg_matches(&matches).map(|_| ()));
        let Err(error) = read else { return Ok(()) };
        match error.kind() {
            ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => return Ok(()),
            ErrorKind::MissingRequiredArgument
            | ErrorKind::MissingSubcommand
            | ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand
                if partial =>
            {
                return Ok(());
            }
            ErrorKind::ValueValidation | ErrorKind::InvalidValue => {
                let Some(ContextValue::String(value)) = error.get(ContextKind::InvalidValue) else {
                    return Err(error.to_string());
                };
                if value.is_empty() && partial {
                    return Ok(());
                }
                let at = words.iter().position(|word| word == value);
                let Some(at) = at.filter(|_| is_placeholder(value)) else {
                    return Err(error.to_string());
                };
                let fits = candidates(value).into_iter().find(|candidate| {
                    let mut words = words.clone();
                    words[at].clone_from(candidate);
                    !complains_about(&words, candidate)
                });
                words[at] = fits.ok_or_else(|| error.to_string())?;
            }
            _ => return Err(error.to_string()),
        }
    }
    Err("no value could be found".to_owned())
}

fn complains_about(words: &[String], value: &str) -> bool {
    let Err(error) = Cli::command().try_get_matches_from(words) else {
        return false;
    };
    matches!(error.get(ContextKind::InvalidValue), Some(ContextValue::String(it)) if it == value)
}

/// Whether the words after `strongroom` only name a command, or leave something out.
fn is_mention(words: &[String]) -> bool {
    let mut command = &Cli::command();
    for word in &words[1..] {
        if word == "…" {
            return true;
        }
        match command.find_subcommand(word) {
            Some(inner) => command = inner,
            None => return false,
        }
    }
    true
}

/// What is wrong with the commands in a document, and how many there are.
fn check(page: &str) -> (usize, Vec<String>) {
    let (mut tried, mut wrong) = (0, Vec::new());
    let top = Cli::command();
    for code in code(page) {
        match code {
            Code::Block(text) => {
                for words in split(&text) {
                    let Some(words) = of_ours(&words) else {
                        continue;
                    };
                    tried += 1;
                    if let Err(error) = takes(words, false) {
                        wrong.push(format!("{}: {error}", words.join(" ")));
                    }
                }
            }
            Code::Span(text) => {
                for words in split(&text) {
                    // "audit verify" and the like are named without the program, too.
                    let named = words.len() > 1
                        && top.find_subcommand(&words[0]).is_some()
                        && words[1].starts_with(|c: char| c.is_ascii_lowercase() || c == '-');
                    let words = match of_ours(&words) {
                        Some(words) => words.to_vec(),
                        None if named => [vec!["strongroom".to_owned()], words].concat(),
                        None => continue,
                    };
                    tried += 1;
                    let partial = named || words.contains(&"…".to_owned()) || is_mention(&words);
                    if let Err(error) = takes(&words, partial) {
                        wrong.push(format!("{text}: {error}"));
                    }
                }
            }
        }
    }
    (tried, wrong)
}

#[test]
fn every_command_in_the_documents_can_be_typed() {
    let mut tried = 0;
    let mut wrong = Vec::new();
    for path in documents() {
        let (here, mistakes) = check(&fs::read_to_string(&path).unwrap());
        tried += here;
        wrong.extend(
            mistakes
                .iter()
                .map(|it| format!("{}: {it}", path.display())),
        );
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(tried >= 100, "only {tried} commands were found");
}

#[test]
fn a_command_that_cannot_be_typed_is_found() {
    for page in [
        "`strongroom nonsense`",
        "`strongroom client nonsense`",
        "`client nonsense`",
        "`keys rotate --root`",
        "`strongroom keys recipient add age1… --confg F`",
        "`strongroom audit verify log.ndjson`",
        "`strongroom credential list --expires-before tomorrow`",
        "over two\nlines `strongroom keys\nrecipient drop`",
        "```sh\nstrongroom serve\n```",
        "```sh\nstrongroom serve \\\n    --config a --nonsense\n```",
        "1. in a list\n   ```sh\n   cd /x && sudo -u strongroom strongroom doctor --nonsense | less\n   ```",
        "\n\n    strongroom init --config /etc/strongroom/strongroom.toml\n",
    ] {
        let (tried, wrong) = check(page);
        assert_eq!((tried, wrong.len()), (1, 1), "{page}: {wrong:?}");
    }
    for page in [
        "`strongroom keys recipient add`",
        "`strongroom keys recipient add age1… --config FILE`",
        "`credential version add … --field client_secret=@FILE`",
        "`strongroom credential list --expires-before DATE`",
        "`strongroom credential show cred_01…`",
        "```sh\nsudo -u strongroom strongroom doctor --config F # strongroom nonsense\n```",
        "```sh\nstrongroom completions bash > strongroom\n```",
    ] {
        let (tried, wrong) = check(page);
        assert_eq!((tried, wrong.len()), (1, 0), "{page}: {wrong:?}");
    }
    let (tried, _) = check("```toml\nstrongroom nonsense\n```\n`systemctl reload strongroom`");
    assert_eq!(tried, 0);
}

#[test]
fn every_option_in_the_documents_exists() {
    fn collect(command: &clap::Command, found: &mut BTreeSet<String>) {
        let long = command.get_arguments().filter_map(clap::Arg::get_long);
        found.extend(long.map(str::to_owned));
        for inner in command.get_subcommands() {
            collect(inner, found);
        }
    }
    let mut known: BTreeSet<String> = ["help", "version"].map(str::to_owned).into();
    collect(&Cli::command(), &mut known);
    for path in documents() {
        for code in code(&fs::read_to_string(&path).unwrap()) {
            let Code::Span(text) = code else { continue };
            let name = text.strip_prefix("--").unwrap_or_default();
            let name = name.split([' ', '=']).next().unwrap_or_default();
            let there = name.is_empty() || known.contains(name);
            assert!(there, "{}: no command has --{name}", path.display());
        }
    }
}

#[test]
fn what_the_units_start_can_be_typed() {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy");
    let mut tried = 0;
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|end| end == "service") {
            for line in fs::read_to_string(&path).unwrap().lines() {
                for words in split(line.strip_prefix("ExecStart=").unwrap_or_default()) {
                    takes(&words, false).unwrap();
                    tried += 1;
                }
            }
        }
    }
    assert!(tried >= 2, "only {tried} units were found");
}

#[test]
fn the_examples_in_the_help_can_be_typed() {
    fn collect(command: &clap::Command, found: &mut Vec<String>) {
        let help = [command.get_after_help(), command.get_after_long_help()];
        found.extend(help.into_iter().flatten().map(ToString::to_string));
        for inner in command.get_subcommands() {
            collect(inner, found);
        }
    }
    let mut texts = Vec::new();
    collect(&Cli::command(), &mut texts);
    let mut tried = 0;
    for line in texts.iter().flat_map(|text| text.lines()) {
        for words in split(line.strip_prefix("  ").unwrap_or_default()) {
            if let Some(words) = of_ours(&words) {
                tried += 1;
                if let Err(error) = takes(words, false) {
                    panic!("{line}: {error}");
                }
            }
        }
    }
    assert!(tried >= 20, "only {tried} examples were found");
}
