//! What each metric means: the `# HELP` lines of the status listener.

use metrics::{counter, describe_counter, describe_gauge, describe_histogram};

/// What a metric is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Form {
    Counter,
    Gauge,
    Histogram,
}
use Form::{Counter, Gauge, Histogram};

/// Every metric of the service.
const METRICS: &[(Form, &str, &str)] = &[
    (
        Counter,
        "strongroom_http_requests_total",
        "Requests answered, by the pattern of the route, method and status.",
    ),
    (
        Histogram,
        "strongroom_http_request_duration_seconds",
        "Time until the head of the answer was ready; of a stream not the rest.",
    ),
    (
        Gauge,
        "strongroom_connections",
        "Open connections of all listeners.",
    ),
    (
        Counter,
        "strongroom_connections_refused_total",
        "Connections closed at once: their address held its share without proving who it is.",
    ),
    (
        Counter,
        "strongroom_tls_handshakes_total",
        "TLS handshakes by outcome: done, failed, timed-out.",
    ),
    (
        Counter,
        "strongroom_unauthenticated_total",
        "Requests refused with 401 or 429, by what was wrong.",
    ),
    (
        Counter,
        "strongroom_denials_total",
        "Known principals refused, by kind of audit record.",
    ),
    (
        Counter,
        "strongroom_audit_commits_total",
        "Batches of audit records committed.",
    ),
    (
        Counter,
        "strongroom_audit_intents_total",
        "Release intents recorded.",
    ),
    (
        Counter,
        "strongroom_audit_records_total",
        "Audit records of every kind.",
    ),
    (
        Counter,
        "strongroom_audit_failures_total",
        "Batches of audit records that could not be written. Alarm when it rises.",
    ),
    (
        Gauge,
        "strongroom_audit_writable",
        "1 when the last batch of audit records could be written, else 0. Alarm at 0.",
    ),
    (
        Gauge,
        "strongroom_database_up",
        "1 when the database answered the last look, else 0. Alarm at 0.",
    ),
    (
        Counter,
        "strongroom_policy_went_back_total",
        "Times the policy generation in the database was older than the one known: it was put back. Alarm at any.",
    ),
    (
        Counter,
        "strongroom_unopenable_total",
        "Sealed credentials that did not open: altered, or put in another's place. Alarm at any.",
    ),
    (
        Counter,
        "strongroom_registry_rows_refused_total",
        "Reads of registry rows that the service did not write, by table. Alarm at any.",
    ),
    (
        Counter,
        "strongroom_mails_total",
        "Attempts to send a mail, by outcome: sent, later, unknown, failed.",
    ),
    (
        Gauge,
        "strongroom_mails_waiting",
        "Mails that are still to be sent.",
    ),
    (
        Gauge,
        "strongroom_mails_oldest_waiting_seconds",
        "How long the oldest mail that is still to be sent has waited.",
    ),
    (
        Gauge,
        "strongroom_authority_last_used_timestamp_seconds",
        "When this node last let somebody in on the word of an authority, in seconds since 1970.",
    ),
    (
        Gauge,
        "strongroom_revocation_list_remaining_seconds",
        "Seconds until a revocation list of a foreign authority ends; then whoever it is about is refused. Alarm below six hours.",
    ),
    (
        Gauge,
        "strongroom_server_certificate_current",
        "1 when the API shows the certificate that is configured, 0 when the files changed and cannot be used. Alarm at 0.",
    ),
    (
        Gauge,
        "strongroom_server_certificate_not_after_timestamp_seconds",
        "When the certificate that the API shows ends, in seconds since 1970.",
    ),
    (
        Counter,
        "strongroom_verifications_total",
        "Attempts to verify a value, by provider and outcome: verified, failed, undecided, by-operator.",
    ),
    (
        Histogram,
        "strongroom_verification_duration_seconds",
        "Time that an attempt took, by provider.",
    ),
    (
        Gauge,
        "strongroom_verifications_due",
        "Verifications of the deployment whose time has come and which nobody has taken.",
    ),
    (
        Gauge,
        "strongroom_verifications_running",
        "Verifications of the deployment that are under way.",
    ),
    (
        Gauge,
        "strongroom_verification_oldest_due_seconds",
        "For how many seconds the oldest verification that nobody has taken has been due. Alarm above ten minutes.",
    ),
    (
        Gauge,
        "strongroom_daily_checks_waiting",
        "Active credentials whose daily check is late, because only some are made due in a minute.",
    ),
    (
        Gauge,
        "strongroom_daily_checks_timestamp_seconds",
        "When this node last looked for daily checks to make, in seconds since 1970. Alarm when it is hours ago.",
    ),
];

/// Those whose labels are only known when something happens.
const LABELLED: &[&str] = &[
    "strongroom_http_requests_total",
    "strongroom_tls_handshakes_total",
    "strongroom_unauthenticated_total",
    "strongroom_denials_total",
    "strongroom_registry_rows_refused_total",
    "strongroom_verifications_total",
    "strongroom_mails_total",
];

/// Gives every metric its text. Called once, when the recorder is in place.
pub(super) fn describe() {
    for (form, name, help) in METRICS {
        match form {
            Counter => {
                describe_counter!(*name, *help);
                // There from the start, so that the first event is a rise that an alert sees. One
                // with labels appears with its first event.
                if !LABELLED.contains(name) {
                    counter!(*name).increment(0);
                }
            }
            Gauge => describe_gauge!(*name, *help),
            Histogram => describe_histogram!(*name, *help),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::path::Path;

    use super::METRICS;

    /// The names that stand behind `counter!(` and its like in the sources.
    fn used(directory: &Path, found: &mut BTreeSet<String>) {
        for entry in std::fs::read_dir(directory).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                used(&path, found);
            } else if path.extension().is_some_and(|end| end == "rs") {
                let text = std::fs::read_to_string(&path).unwrap();
                for word in ["counter!(", "gauge!(", "histogram!("] {
                    for rest in text.split(word).skip(1) {
                        let rest = rest.trim_start();
                        if let Some(name) = rest.strip_prefix("\"strongroom_") {
                            let name = name.split('"').next().unwrap();
                            found.insert(format!("strongroom_{name}"));
                        }
                    }
                }
            }
        }
    }

    #[test]
    fn every_metric_is_explained_and_every_explanation_has_a_metric() {
        let mut found = BTreeSet::new();
        used(
            &Path::new(env!("CARGO_MANIFEST_DIR")).join("src"),
            &mut found,
        );
        let known: BTreeSet<String> = METRICS
            .iter()
            .map(|(_, name, _)| (*name).to_owned())
            .collect();
        assert_eq!(found, known);
        assert_eq!(METRICS.len(), known.len(), "one is explained twice");
    }

    #[test]
    fn the_manual_explains_them_too() {
        let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/architecture.md");
        let page = std::fs::read_to_string(page).unwrap();
        for (_, name, _) in METRICS {
            assert!(page.contains(name), "{name}");
        }
    }
}
