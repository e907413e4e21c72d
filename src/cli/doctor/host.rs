//! What the machine itself does with memory and files.

use std::fs::read_to_string;

use rustix::process::{Resource, getrlimit};

use super::finding::Findings;
use crate::config::Config;

/// Files beside one for each connection: database, logs, listeners.
const OTHER_FILES: u64 = 256;

/// Looks at core files, swap, tracing and the limit of open files.
pub(super) fn check(config: &Config, findings: &mut Findings) {
    memory(&read_to_string("/proc/swaps").unwrap_or_default(), findings);
    let scope = read_to_string("/proc/sys/kernel/yama/ptrace_scope").ok();
    tracing(scope.as_deref(), findings);
    // The limit that the service was started with; it may be another for the one who asks.
    let files = getrlimit(Resource::Nofile).current;
    let needed = config.limits.connections as u64 + OTHER_FILES;
    match files {
        Some(files) if files < needed => findings.warning(
            "limits",
            format!("{files} files may be open here; limits.connections needs {needed}"),
            "set LimitNOFILE= in the unit, or lower limits.connections; seen from this shell",
        ),
        _ => findings.ok("limits", "enough files may be open for every connection"),
    }
}

fn memory(swaps: &str, findings: &mut Findings) {
    // The first line is a heading.
    if swaps.lines().count() > 1 {
        findings.warning(
            "swap",
            "memory can go to the disk on this machine",
            "turn swap off, encrypt it, or keep MemorySwapMax=0 in the unit: keys lie in memory",
        );
    } else {
        findings.ok("swap", "memory does not go to the disk");
    }
}

fn tracing(scope: Option<&str>, findings: &mut Findings) {
    match scope.map(str::trim) {
        Some("0") => findings.warning(
            "tracing",
            "any process may trace others of the same user (kernel.yama.ptrace_scope = 0)",
            "sysctl kernel.yama.ptrace_scope=1; the service itself refuses to be traced",
        ),
        Some(_) => findings.ok("tracing", "processes do not trace each other"),
        None => findings.ok(
            "tracing",
            "the service refuses to be traced and to write core files",
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::table::{Format, Output};
    use crate::cli::testing::Printed;

    fn said(check: impl FnOnce(&mut Findings)) -> String {
        let mut findings = Findings::default();
        check(&mut findings);
        let printed = Printed::default();
        let _ = findings.report(&mut Output::new(Format::Json, Box::new(printed.clone())));
        printed.text()
    }

    #[test]
    fn swap_and_tracing_are_warnings() {
        let heading = "Filename Type Size Used Priority\n";
        assert!(said(|it| memory(heading, it)).contains("\"ok\""));
        let swap = format!("{heading}/swapfile file 1 0 -2\n");
        assert!(said(|it| memory(&swap, it)).contains("\"warning\""));
        assert!(said(|it| tracing(Some("0\n"), it)).contains("\"warning\""));
        assert!(said(|it| tracing(Some("1\n"), it)).contains("\"ok\""));
        assert!(said(|it| tracing(None, it)).contains("\"ok\""));
    }
}
