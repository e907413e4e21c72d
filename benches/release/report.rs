//! The tables.

use crate::measure::{Audit, Figures, Series};

/// The names that series are found by.
pub mod label {
    /// The bare server.
    pub const BARE: &str = "bare server, same bytes";
    /// A full release on SQLite.
    pub const SQLITE: &str = "release, SQLite";
    /// A full release on PostgreSQL.
    pub const POSTGRES: &str = "release, PostgreSQL";
    /// Authentication and nothing else.
    pub const WHOAMI: &str = "whoami, SQLite";
    /// A conditional request for what the worker has already.
    pub const UNCHANGED: &str = "release not changed (304), SQLite";
}

/// The main table and the costs by layer, in Markdown.
pub fn tables(all: &[Series]) -> String {
    let mut text = String::from(
        "| | requests/s | p50 ms | p99 ms | server CPU µs | PostgreSQL CPU µs | resident MiB (peak) \
         | intents per commit | throughput ÷ bare | CPU ÷ bare | servers' core | load's core |\n\
         |---|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|\n",
    );
    for name in [label::BARE, label::SQLITE, label::POSTGRES] {
        if let Some(series) = find(all, name) {
            text.push_str(&row(series));
        }
    }
    if find(all, label::WHOAMI).is_some() {
        text.push_str("\n| layer | CPU µs a request | more than the line above | requests/s |\n|---|--:|--:|--:|\n");
        let mut above = None;
        for name in [label::BARE, label::WHOAMI, label::UNCHANGED, label::SQLITE] {
            if let Some(series) = find(all, name) {
                text.push_str(&layer(series, &mut above));
            }
        }
    }
    text
}

fn row(series: &Series) -> String {
    let with_database = series.median(|f| f.database_cpu) > 0.0;
    let database = optional(
        with_database.then(|| series.median(|f| f.database_cpu)),
        |value| format!("{value:.1}"),
    );
    let intents = optional(
        median_audit(series, |audit| audit.intents_per_commit),
        |v| format!("{v:.1}"),
    );
    let compared = !series.cpu_ratios.is_empty();
    let throughput_ratio = optional(compared.then(|| series.throughput_ratio()), |v| {
        format!("{v:.2}")
    });
    let cpu_ratio = optional(compared.then(|| series.cpu_ratio()), |v| format!("{v:.2}"));
    format!(
        "| {} | {:.0} | {:.2} | {:.2} | {:.1} | {database} | {:.0} ({:.0}) | {intents} | {throughput_ratio} | {cpu_ratio} | {:.0} % | {:.0} % |\n",
        series.label,
        series.median(|f| f.throughput),
        series.median(|f| f.p50) / 1e3,
        series.median(|f| f.p99) / 1e3,
        series.median(|f| f.server_cpu),
        series.median(|f| mebibytes(f.memory.resident)),
        series.median(|f| mebibytes(f.memory.peak)),
        series.median(|f| f.servers_busy) * 100.0,
        series.median(|f| f.load_busy) * 100.0,
    )
}

fn layer(series: &Series, above: &mut Option<f64>) -> String {
    let cpu = series.median(Figures::cpu);
    let more = optional(above.map(|above| cpu - above), |v| format!("{v:+.1}"));
    *above = Some(cpu);
    format!(
        "| {} | {cpu:.1} | {more} | {:.0} |\n",
        series.label,
        series.median(|f| f.throughput)
    )
}

/// The criteria that a change must not break, and the goals beyond them. `NOISY` stands where others
/// used the machine too much to tell.
pub fn verdicts(all: &[Series]) -> String {
    let mut text = String::new();
    // Others on the two cores take throughput from both, but not in the same way: the bare server
    // wants all of its core, a release waits for the disk.
    let noisy = [label::BARE, label::SQLITE]
        .iter()
        .filter_map(|name| find(all, name))
        .any(|series| series.median(|f| f.disturbed) > 0.1);
    let mut say = |good: bool, what: &str| {
        let word = match good {
            _ if noisy && what.contains("throughput") => "NOISY",
            true => "PASS",
            false => "FAIL",
        };
        text.push_str(&format!("{word:5}  {what}\n"));
    };
    for series in all {
        if let Some(least) = least_intents_per_answer(series) {
            say(
                least >= 1.0,
                &format!(
                    "{}: every answer had its durable intent ({least:.4} for each at least)",
                    series.label
                ),
            );
        }
    }
    if let Some(sqlite) = find(all, label::SQLITE) {
        let cpu = sqlite.cpu_ratio();
        let throughput = sqlite.throughput_ratio();
        say(
            cpu <= 4.5,
            &format!("SQLite: CPU {cpu:.2} × bare (at most 4.5)"),
        );
        say(
            throughput >= 0.2,
            &format!("SQLite: throughput {throughput:.2} × bare (at least 0.2)"),
        );
        if let Some(intents) = median_audit(sqlite, |audit| audit.intents_per_commit) {
            say(
                intents >= 8.0,
                &format!("SQLite: {intents:.1} intents in a durable commit (at least 8)"),
            );
        }
        say(
            cpu <= 3.0,
            &format!("goal, SQLite: CPU {cpu:.2} × bare (at most 3)"),
        );
        say(
            throughput >= 0.3,
            &format!("goal, SQLite: throughput {throughput:.2} × bare (at least 0.3)"),
        );
    }
    for series in all {
        let disturbed = series.median(|f| f.disturbed);
        if disturbed > 0.05 {
            text.push_str(&format!(
                "NOTE   {}: others used {:.0} % of the two cores; throughput and latency mean \
                 little\n",
                series.label,
                disturbed * 100.0
            ));
        }
        if series.median(|f| f.load_busy) > 0.95 && series.median(|f| f.servers_busy) < 0.9 {
            text.push_str(&format!(
                "NOTE   {}: the load generator was the limit, so the server can do more\n",
                series.label
            ));
        }
    }
    text
}

fn least_intents_per_answer(series: &Series) -> Option<f64> {
    audits(series)
        .map(|audit| audit.intents_per_answer)
        .min_by(f64::total_cmp)
}

fn median_audit(series: &Series, figure: impl Fn(Audit) -> f64) -> Option<f64> {
    let values: Vec<f64> = audits(series).map(figure).collect();
    (!values.is_empty()).then(|| crate::measure::median(values))
}

fn audits(series: &Series) -> impl Iterator<Item = Audit> {
    series.figures.iter().filter_map(|figures| figures.audit)
}

fn find<'a>(all: &'a [Series], name: &str) -> Option<&'a Series> {
    all.iter().find(|series| series.label == name)
}

fn optional(value: Option<f64>, show: impl Fn(f64) -> String) -> String {
    value.map(show).unwrap_or_default()
}

fn mebibytes(kibibytes: u64) -> f64 {
    kibibytes as f64 / 1024.0
}
