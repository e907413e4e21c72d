//! The database and what is in it.

use super::finding::Findings;
use crate::config::{Config, Database as DatabaseConfig};
use crate::crypto::Identity;
use crate::model::Timestamp;
use crate::store::{Database, Schema};
use crate::vault::{AuthorityFacts, Inspect, Inspected, OpenError, inspect};

/// Clocks further apart than this make a node not ready, and than this are worth a look; in
/// microseconds.
const MOST_SKEW: i64 = 5_000_000;
const SOME_SKEW: i64 = 1_000_000;

const DAY: i64 = 24 * 60 * 60;

/// A backup that is older than this many days is worth a look.
const MOST_DAYS: i64 = 7;

/// Looks at the database, and at the deployment in it as far as it opens.
pub(super) async fn check(
    config: &Config,
    identities: Option<Vec<Identity>>,
    now: Timestamp,
    findings: &mut Findings,
) {
    let Some(database) = open(config, findings).await else {
        return;
    };
    server(&database, now, findings).await;
    let usable = schema(&database, findings).await;
    match identities {
        Some(identities) if usable => {
            let what = Inspect {
                database: database.clone(),
                data: &config.data,
                deployment: &config.deployment,
                node: &config.node,
                identities: &identities,
            };
            match inspect(what, now).await {
                Ok(seen) => said(&seen, now, findings),
                Err(error) => refused(&error, findings),
            }
        }
        _ => findings.skipped("root-key", "not tried, because of what is said above"),
    }
    database.close().await;
}

async fn open(config: &Config, findings: &mut Findings) -> Option<Database> {
    let opened = match &config.database {
        DatabaseConfig::Sqlite(path) => Database::inspect_sqlite(path).await,
        DatabaseConfig::Postgres(url) => match std::str::from_utf8(url.expose_secret()) {
            Ok(url) => Database::inspect_postgres(url.trim()).await,
            Err(_) => {
                findings.problem("database", "the URL is not text", "write it anew");
                return None;
            }
        },
    };
    match opened {
        Ok(database) => Some(database),
        Err(error) => {
            findings.problem(
                "database",
                error.to_string(),
                "check that it is there and runs, its URL and password, and who may read it",
            );
            None
        }
    }
}

async fn server(database: &Database, now: Timestamp, findings: &mut Findings) {
    const CHECK: &str = "database";
    let facts = match database.server_facts().await {
        Ok(Some(facts)) => facts,
        Ok(None) => return findings.ok(CHECK, "the embedded database can be read"),
        Err(error) => {
            return findings.problem(CHECK, error.to_string(), "look at the server's log");
        }
    };
    for (holds, setting) in [
        (facts.fsync, "fsync"),
        (facts.full_page_writes, "full_page_writes"),
    ] {
        if !holds {
            findings.problem(
                CHECK,
                format!("PostgreSQL runs with {setting}=off: acknowledged data could be lost"),
                "turn it on; serve refuses to start without it",
            );
        }
    }
    if facts.standby {
        findings.problem(
            CHECK,
            "the server is a standby, which cannot be written",
            "name the primary in the URL, or promote this one",
        );
    }
    if facts.in_clear {
        findings.warning(
            CHECK,
            "the connection to PostgreSQL is not encrypted",
            "add ?sslmode=verify-full&sslrootcert=FILE to the URL",
        );
    }
    if facts.synchronous_standbys {
        findings.ok("standbys", "PostgreSQL waits for a synchronous standby");
    } else {
        findings.warning(
            "standbys",
            "there is no synchronous standby: after a failover promises 1 and 7 and the protection \
             against replay do not hold for the last moments before it",
            "set synchronous_standby_names, or know it",
        );
    }
    if let Ok(Some(shared)) = database.shared_now().await {
        let apart = (shared.micros() - now.micros()).abs();
        let seconds = apart / 1_000_000;
        if apart > MOST_SKEW {
            findings.problem(
                "clock",
                format!("this machine's clock is {seconds} s from the database's"),
                "synchronise both (NTP): a node more than 5 s off is not ready",
            );
        } else if apart > SOME_SKEW {
            findings.warning(
                "clock",
                format!("this machine's clock is {seconds} s from the database's"),
                "synchronise both (NTP)",
            );
        } else {
            findings.ok("clock", "this machine's clock agrees with the database's");
        }
    }
    findings.ok(CHECK, "PostgreSQL answers");
}

async fn schema(database: &Database, findings: &mut Findings) -> bool {
    const CHECK: &str = "schema";
    match database.schema().await {
        Ok(Schema::Current) => {
            findings.ok(CHECK, "the schema is this version's");
            true
        }
        Ok(Schema::Older(steps)) => {
            findings.warning(
                CHECK,
                format!("the schema is {steps} step(s) behind this version"),
                "the next start brings it up to date; make a backup before",
            );
            false
        }
        Ok(Schema::Empty) => {
            findings.problem(
                CHECK,
                "the database is empty",
                "run `strongroom init` first",
            );
            false
        }
        Ok(Schema::Newer) => {
            findings.problem(
                CHECK,
                "a newer version of strongroom wrote the database",
                "start that version; there is no way back but a backup",
            );
            false
        }
        Ok(Schema::Foreign) => {
            findings.problem(
                CHECK,
                "the schema is not one that this program made",
                "check the URL: is it the right database?",
            );
            false
        }
        Err(error) => {
            findings.problem(CHECK, error.to_string(), "look at the database's log");
            false
        }
    }
}

fn refused(error: &OpenError, findings: &mut Findings) {
    let (check, advice) = match error {
        OpenError::OtherDeployment => ("deployment", "correct `deployment` or the database"),
        OpenError::NotInitialised => ("deployment", "run `strongroom init` first"),
        OpenError::Root(_) => (
            "root-key",
            "give the machine the identity that it had, or open it with a recovery identity: see \
             `We lost the identity file` in docs/operations.md",
        ),
        OpenError::ServiceKey(_) | OpenError::Damaged => (
            "root-key",
            "the database was altered or damaged: restore a backup",
        ),
        _ => ("database", "look at the database's log"),
    };
    findings.problem(check, error.to_string(), advice);
}

fn said(seen: &Inspected, now: Timestamp, findings: &mut Findings) {
    findings.ok("root-key", "it opens, and is this deployment's");
    if seen.root_file_is_current == Some(false) {
        findings.warning(
            "root-key",
            "the root key's file is not what the database holds: its recipients changed",
            "restart the service here: the start renews the file",
        );
    }
    recipients(seen, findings);
    match &seen.log {
        None => findings.warning(
            "audit-log",
            "there is no checkpoint on this machine: a database that is put back would not be noticed",
            "normal before the first start; else restore the file from a worker's or a backup's",
        ),
        Some(Ok(records)) => findings.ok(
            "audit-log",
            format!("{records} records, and the log fits the checkpoint on this machine"),
        ),
        Some(Err(error)) => findings.problem(
            "audit-log",
            error.to_string(),
            "treat it as a break-in until it is explained; keep the checkpoint file",
        ),
    }
    if seen.frozen {
        findings.warning(
            "deployment",
            "nothing is released: it was restored, or put back to an earlier state",
            "strongroom deployment show, and then strongroom deployment thaw",
        );
    }
    match seen.tech_ops {
        0 => findings.problem(
            "operators",
            "no operator of tech-ops can sign in",
            "strongroom recover, with the service stopped",
        ),
        1 => findings.warning(
            "operators",
            "only one operator of tech-ops can sign in",
            "enrol a second one before the first is ill",
        ),
        count => findings.ok("operators", format!("{count} operators of tech-ops")),
    }
    for authority in &seen.authorities {
        authority_end(authority, now, findings);
    }
    if seen.without_expiry > 0 {
        findings.warning(
            "expiry",
            format!(
                "{} of {} active credentials have no date of expiry, so nobody will be warned",
                seen.without_expiry, seen.active
            ),
            "find the dates out; `credential list` shows which",
        );
    }
    if seen.expired > 0 {
        findings.warning(
            "expiry",
            format!("{} active credentials have expired", seen.expired),
            "renew them: strongroom credential list --expires-before TODAY",
        );
    }
    if seen.without_expiry == 0 && seen.expired == 0 {
        findings.ok(
            "expiry",
            format!("{} active credentials, none past its date", seen.active),
        );
    }
    backups(seen.newest_backup, now, findings);
    for (table, row) in &seen.refused {
        findings.problem(
            "registry",
            format!("a row of {table} was not written by the service: {row}"),
            "somebody wrote the database: treat it as a break-in",
        );
    }
}

fn backups(newest: Option<Timestamp>, now: Timestamp, findings: &mut Findings) {
    const CHECK: &str = "backups";
    let Some(newest) = newest else {
        return findings.warning(
            CHECK,
            "no backup was ever taken to its end",
            "strongroom backup create, to a recovery identity, and verify it on another machine",
        );
    };
    let days = (now.secs() - newest.secs()).div_euclid(DAY);
    if days > MOST_DAYS {
        findings.warning(
            CHECK,
            format!("the newest backup is {days} days old"),
            "strongroom backup create: what came since would be lost with the database",
        );
    } else {
        findings.ok(
            CHECK,
            format!("the newest backup is {days} days old; where it lies is not known here"),
        );
    }
}

fn recipients(seen: &Inspected, findings: &mut Findings) {
    const CHECK: &str = "recipients";
    if !seen.recipients_fit {
        findings.problem(
            CHECK,
            "the list of recipients does not fit the root key: it was altered",
            "restore the database from a backup that is sound",
        );
    }
    match seen.recipients {
        0 => findings.warning(
            CHECK,
            "a passphrase alone opens the root key",
            "strongroom keys recipient add, for a recovery identity",
        ),
        1 => findings.warning(
            CHECK,
            "one identity alone opens the root key: if it is lost, everything is",
            "strongroom keys recipient add, for a recovery identity kept off this machine",
        ),
        count => findings.ok(CHECK, format!("{count} identities open the root key")),
    }
}

fn authority_end(authority: &AuthorityFacts, now: Timestamp, findings: &mut Findings) {
    const CHECK: &str = "authorities";
    let days = |until: Timestamp| (until.secs() - now.secs()).div_euclid(DAY);
    let (name, left) = (&authority.name, days(authority.until));
    let early = if authority.own { 90 } else { 30 };
    if left < 0 {
        findings.problem(
            CHECK,
            format!("the authority {name} has ended"),
            "no certificate of it is accepted: add its successor",
        );
    } else if left < early {
        findings.warning(
            CHECK,
            format!("the authority {name} ends in {left} days"),
            "roll it while both can be accepted",
        );
    } else {
        findings.ok(CHECK, format!("{name} is accepted for {left} days more"));
    }
    if let Some(until) = authority.list_until {
        let left = days(until);
        if left < 0 {
            findings.problem(
                CHECK,
                format!(
                    "a revocation list of {name} has expired: all its certificates are refused"
                ),
                "import the newest list",
            );
        } else if left < 2 {
            findings.warning(
                CHECK,
                format!("a revocation list of {name} ends in {left} days"),
                "import the newest list",
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::table::{Format, Output};
    use crate::cli::testing::Printed;

    #[test]
    fn a_backup_is_old_after_a_week() {
        let now = Timestamp::from_secs(2_000_000_000);
        for (newest, level) in [
            (None, "warning"),
            (Some(0), "ok"),
            (Some(8 * DAY - 1), "ok"),
            (Some(8 * DAY), "warning"),
        ] {
            let mut findings = Findings::default();
            let newest = newest.map(|ago| Timestamp::from_secs(now.secs() - ago));
            backups(newest, now, &mut findings);
            let printed = Printed::default();
            let _ = findings.report(&mut Output::new(Format::Json, Box::new(printed.clone())));
            let text = printed.text();
            assert!(text.contains(&format!("\"{level}\"")), "{newest:?}: {text}");
        }
    }
}
