//! What was found, and how it is said.

use serde::Serialize;
use serde_json::json;

use crate::cli::error::{CliError, printable};
use crate::cli::table::Output;

/// How bad it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
enum Level {
    Ok,
    Warning,
    Problem,
    Skipped,
}

impl Level {
    const fn word(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Warning => "WARNING",
            Self::Problem => "PROBLEM",
            Self::Skipped => "skipped",
        }
    }
}

/// One thing that was looked at.
#[derive(Debug, Serialize)]
struct Finding {
    check: &'static str,
    level: Level,
    finding: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    advice: Option<String>,
}

/// Everything that was looked at, in order.
#[derive(Default)]
pub(super) struct Findings(Vec<Finding>);

impl Findings {
    /// It is as it should be.
    pub(super) fn ok(&mut self, check: &'static str, finding: impl Into<String>) {
        self.add(check, Level::Ok, finding.into(), None);
    }

    /// It works, but something is missing for a bad day.
    pub(super) fn warning(
        &mut self,
        check: &'static str,
        finding: impl Into<String>,
        advice: impl Into<String>,
    ) {
        self.add(check, Level::Warning, finding.into(), Some(advice.into()));
    }

    /// It does not work, or a promise does not hold.
    pub(super) fn problem(
        &mut self,
        check: &'static str,
        finding: impl Into<String>,
        advice: impl Into<String>,
    ) {
        self.add(check, Level::Problem, finding.into(), Some(advice.into()));
    }

    /// It was not looked at.
    pub(super) fn skipped(&mut self, check: &'static str, why: impl Into<String>) {
        self.add(check, Level::Skipped, why.into(), None);
    }

    fn add(&mut self, check: &'static str, level: Level, finding: String, advice: Option<String>) {
        self.0.push(Finding {
            check,
            level,
            finding,
            advice,
        });
    }

    fn count(&self, level: Level) -> usize {
        self.0
            .iter()
            .filter(|finding| finding.level == level)
            .count()
    }

    /// Prints all of it.
    ///
    /// # Errors
    /// There is a problem among it, or it cannot be printed.
    pub(super) fn report(&self, out: &mut Output) -> Result<(), CliError> {
        let (problems, warnings) = (self.count(Level::Problem), self.count(Level::Warning));
        if out.is_table() {
            for finding in &self.0 {
                let (level, check) = (finding.level.word(), finding.check);
                out.line(&format!(
                    "{level:<8} {check:<14} {}",
                    printable(&finding.finding)
                ))?;
                if let Some(advice) = &finding.advice {
                    out.line(&format!("{:24}→ {}", "", printable(advice)))?;
                }
            }
            out.line(&format!("\n{problems} problem(s), {warnings} warning(s)"))?;
        } else {
            let answer = json!({
                "findings": self.0, "problems": problems, "warnings": warnings,
            });
            out.one(&answer, &[])?;
        }
        if problems > 0 {
            return Err(CliError::local(format!(
                "{problems} problem(s) found: each says what to do"
            )));
        }
        Ok(())
    }
}
