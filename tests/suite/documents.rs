//! What the documents name is there: tests, links, routes, metrics, alerts. Commands and options are
//! tried in `src/cli/tests/documents.rs`, by the parser itself.

use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;

use serde_json::Value;

use crate::support::sources::{Tests, files, quoted, root, text, word};

/// Every document, by name.
fn documents() -> Vec<(String, String)> {
    let mut found: Vec<PathBuf> = ["README.md", "SECURITY.md", "CHANGELOG.md"]
        .map(PathBuf::from)
        .into();
    for directory in ["docs", "deploy", "keys"] {
        found.extend(files(directory, "md"));
    }
    let named = |path: PathBuf| {
        let name = path.to_string_lossy().into_owned();
        let page = text(&name);
        (name, page)
    };
    found.into_iter().map(named).collect()
}

#[test]
fn every_test_that_the_threat_model_names_exists() {
    let known = Tests::of(&["src", "tests"]).run;
    let page = text("docs/threat-model.md");
    let mut named = BTreeSet::new();
    for line in page.lines().filter(|line| line.starts_with('|')) {
        // The last column holds the tests.
        let column = line.trim_end_matches(['|', ' ']).rsplit('|').next();
        let names = column.into_iter().flat_map(quoted);
        for name in names.filter(|name| word(name) == *name && name.contains('_')) {
            assert!(known.contains(name), "there is no test {name}");
            named.insert(name);
        }
    }
    assert!(named.len() >= 60, "only {} tests are named", named.len());
    for test in known.iter().filter(|it| it.starts_with("promise_")) {
        assert!(
            named.contains(test.as_str()),
            "{test} is not in the threat model"
        );
    }
    for promise in 1..=12 {
        let there = page.contains(&format!("| **{promise}** "));
        assert!(there, "promise {promise}");
    }
}

#[test]
fn links_between_documents_lead_somewhere() {
    let mut followed = 0;
    for (name, page) in documents() {
        for link in page.split("](").skip(1) {
            let link = link.split(')').next().unwrap_or_default();
            if link.starts_with("https://") {
                continue;
            }
            let (file, anchor) = link.split_once('#').unwrap_or((link, ""));
            let here = root().join(&name);
            let target = match file {
                "" => here,
                file => here.parent().expect("a directory").join(file),
            };
            assert!(target.exists(), "{name} links to {link}");
            followed += 1;
            if !anchor.is_empty() {
                let target = fs::read_to_string(&target).expect("a document");
                let found = target
                    .lines()
                    .filter_map(heading)
                    .any(|known| known == anchor);
                assert!(found, "{name} links to {link}");
            }
        }
    }
    assert!(followed >= 60, "only {followed} links were found");
}

/// The anchor of a heading, as common renderers make it.
fn heading(line: &str) -> Option<String> {
    let title = line.strip_prefix('#')?.trim_start_matches('#').trim();
    let title = title.to_lowercase();
    let anchor = title.chars().filter_map(|c| match c {
        ' ' => Some('-'),
        c if c.is_alphanumeric() || c == '-' || c == '_' => Some(c),
        _ => None,
    });
    Some(anchor.collect())
}

#[test]
fn every_route_that_the_documents_name_exists() {
    let api: Value = serde_json::from_str(&text("docs/openapi.json")).expect("the API's document");
    let paths = api["paths"].as_object().expect("paths");
    let mut known: Vec<(String, String)> = Vec::new();
    for (path, methods) in paths {
        for method in methods.as_object().expect("methods").keys() {
            known.push((method.to_uppercase(), path.clone()));
        }
    }
    known.push(("GET".to_owned(), "/api/v1/openapi.json".to_owned()));
    let same = |named: &str, path: &str| {
        let (named, path): (Vec<&str>, Vec<&str>) =
            (named.split('/').collect(), path.split('/').collect());
        let fits = |(a, b): (&&str, &&str)| a == b || (a.starts_with('{') && b.starts_with('{'));
        named.len() == path.len() && named.iter().zip(&path).all(fits)
    };
    let mut tried = 0;
    for (name, page) in documents() {
        for span in quoted(&page).filter(|span| span.contains("/api/v1/") && span.len() < 200) {
            let (method, path) = span.rsplit_once(' ').unwrap_or(("", span));
            let path = path.split('?').next().unwrap_or_default();
            let method = method.trim();
            let there = known
                .iter()
                .any(|(m, p)| (method.is_empty() || method == m) && same(path, p));
            assert!(there, "{name}: there is no route {span}");
            tried += 1;
        }
    }
    assert!(tried >= 5, "only {tried} routes were found");
}

#[test]
fn every_metric_and_alert_that_the_documents_name_exists() {
    let metrics = text("src/http/described.rs");
    let alerts = text("deploy/prometheus/alerts.yaml");
    let mut tried = 0;
    for (name, page) in documents() {
        for span in quoted(&page).filter(|span| span.starts_with("strongroom_")) {
            let there = metrics.contains(&format!("\"{}\"", word(span)));
            assert!(there, "{name}: there is no metric {span}");
            tried += 1;
        }
    }
    assert!(tried >= 15, "only {tried} metrics were found");
    // In both directions: whoever is woken has to find what to do.
    let alerts: BTreeSet<&str> = alerts
        .lines()
        .filter_map(|line| line.trim().strip_prefix("- alert: "))
        .collect();
    let page = text("docs/operations.md");
    let rows = page.lines().filter(|line| line.starts_with("| Strongroom"));
    let explained: BTreeSet<&str> = rows
        .flat_map(|line| line.split('|').nth(1).unwrap_or_default().split(','))
        .map(str::trim)
        .collect();
    assert_eq!(explained, alerts);
}

#[test]
fn every_setting_that_the_documents_name_exists() {
    let settings = text("src/config.rs");
    let kinds = text("src/audit/kind.rs");
    // Every setting and every kind of record stands in the source by its full name.
    let names = |source: &'_ str| -> BTreeSet<String> {
        let dotted = |it: &&str| {
            it.split_once('.')
                .is_some_and(|(a, b)| word(a) == a && word(b) == b)
        };
        source
            .split('"')
            .filter(dotted)
            .map(str::to_owned)
            .collect()
    };
    let (known, kinds) = (names(&settings), names(&kinds));
    let sections = known.iter().filter_map(|it| it.split('.').next());
    // That one is a file.
    let sections: BTreeSet<&str> = sections.filter(|it| *it != "strongroom").collect();
    let mut tried = 0;
    for (name, page) in documents() {
        for span in quoted(&page) {
            let setting = span.split([' ', '=']).next().unwrap_or_default();
            let Some((section, key)) = setting.split_once('.') else {
                continue;
            };
            if sections.contains(section) && word(key) == key {
                let there = known.contains(setting) || kinds.contains(setting);
                assert!(there, "{name}: there is no setting {setting}");
                tried += 1;
            }
        }
    }
    assert!(tried >= 8, "only {tried} settings were found");
}
