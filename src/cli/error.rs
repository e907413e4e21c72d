//! How a command fails, in words, and with which exit code.

use std::io::Write;

use serde::Deserialize;

/// Exit code when nothing went wrong.
pub const EXIT_OK: u8 = 0;
/// Exit code of an error on this side: usage, files, network, an answer that cannot be used.
pub const EXIT_LOCAL: u8 = 1;
/// Exit code when the server understood and said no.
pub const EXIT_REFUSED: u8 = 2;

/// Why a command failed.
#[derive(Debug, thiserror::Error)]
pub enum CliError {
    /// Something on this side; the text says what, and what to do.
    #[error("{0}")]
    Local(String),
    /// The server said no.
    #[error("the server answered {}", .0.status)]
    Refused(Box<Problem>),
    /// Nobody answered: the service, or the way to it, is down.
    #[error("{0}")]
    Unreachable(String),
    /// An answer ended before its end.
    #[error("{0}")]
    BrokenOff(String),
    /// Nothing went wrong that is not said already, but the exit code is to be this one.
    #[error("exit code {0}")]
    Exit(u8),
    /// As [`Self::Local`], with an exit code of its own.
    #[error("{1}")]
    Failed(u8, String),
}

/// A problem document (RFC 9457), or what is known when the answer was none.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct Problem {
    /// The HTTP status.
    pub status: u16,
    /// What kind of problem it is, for people.
    pub title: String,
    /// What went wrong this time and what to do.
    pub detail: String,
    /// Names the request in the server's log.
    pub request_id: String,
    /// Which fields broke which rules.
    pub errors: Vec<FieldProblem>,
}

/// One field that broke a rule.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct FieldProblem {
    /// The field's path.
    pub field: String,
    /// The rule it broke.
    pub rule: String,
}

impl CliError {
    /// An error on this side.
    pub fn local(text: impl Into<String>) -> Self {
        Self::Local(text.into())
    }

    /// The exit code that goes with it.
    pub const fn exit_code(&self) -> u8 {
        match self {
            Self::Local(_) | Self::Unreachable(_) | Self::BrokenOff(_) => EXIT_LOCAL,
            Self::Refused(_) => EXIT_REFUSED,
            Self::Exit(code) | Self::Failed(code, _) => *code,
        }
    }

    /// Whether the service is down, as far as can be told: nobody answered, or it says that it
    /// cannot at the moment.
    pub fn is_outage(&self) -> bool {
        match self {
            Self::Unreachable(_) => true,
            Self::Refused(problem) => problem.status >= 500,
            _ => false,
        }
    }

    /// What an outage looks like from here.
    pub fn cause_of_outage(&self) -> String {
        match self {
            Self::Refused(problem) => {
                let what = [&problem.detail, &problem.title];
                let what = what.into_iter().find(|text| !text.is_empty());
                let what = what.map(|text| printable(text)).unwrap_or_default();
                format!("the service answered {}: {what}", problem.status)
            }
            other => other.to_string(),
        }
    }

    /// Writes it for people. A failure to write is ignored: there is nowhere left to say it.
    pub fn report(&self, out: &mut dyn Write) {
        let text = match self {
            Self::Local(text)
            | Self::Unreachable(text)
            | Self::BrokenOff(text)
            | Self::Failed(_, text) => format!("error: {}\n", printable_lines(text)),
            Self::Refused(problem) => problem.to_text(),
            Self::Exit(_) => return,
        };
        let _ = out.write_all(text.as_bytes());
    }
}

impl Problem {
    /// In words, made safe for a terminal.
    fn to_text(&self) -> String {
        let what = match (self.detail.is_empty(), self.title.is_empty()) {
            (false, _) => printable(&self.detail),
            (true, false) => printable(&self.title),
            (true, true) => "the answer says no more; is this address a Strongroom API?".into(),
        };
        let mut text = format!("the server said no ({}): {what}\n", self.status);
        for error in &self.errors {
            let line = format!(
                "  {}: {}\n",
                printable(&error.field),
                printable(&error.rule)
            );
            text.push_str(&line);
        }
        if self.status == 412 {
            text.push_str("  somebody changed it in between; look at it again, then repeat\n");
        }
        if !self.request_id.is_empty() {
            text.push_str(&format!("  request {}\n", printable(&self.request_id)));
        }
        text
    }
}

/// `text` without characters that could steer a terminal or hide what is written.
pub fn printable(text: &str) -> String {
    text.chars()
        .map(|c| if steers(c) { '\u{FFFD}' } else { c })
        .collect()
}

/// As [`printable`], but lines stay lines.
fn printable_lines(text: &str) -> String {
    text.chars()
        .map(|c| {
            if steers(c) && c != '\n' {
                '\u{FFFD}'
            } else {
                c
            }
        })
        .collect()
}

fn steers(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{200B}'..='\u{200F}' | '\u{2028}'..='\u{202E}' | '\u{2060}'..='\u{2069}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_says_what_to_do_and_cannot_steer_the_terminal() {
        let error = CliError::Refused(Box::new(Problem {
            status: 422,
            detail: "correct the fields\u{1b}[2J".into(),
            request_id: "req_01kaqz3m8v7d6k2n4p9r5s1t0x".into(),
            errors: vec![FieldProblem {
                field: "slug".into(),
                rule: "must be lower-case".into(),
            }],
            ..Problem::default()
        }));
        let mut out = Vec::new();
        error.report(&mut out);
        let text = String::from_utf8(out).unwrap();
        assert_eq!(
            text,
            "the server said no (422): correct the fields\u{FFFD}[2J\n  slug: must be lower-case\n  \
             request req_01kaqz3m8v7d6k2n4p9r5s1t0x\n"
        );
        assert_eq!(error.exit_code(), EXIT_REFUSED);
    }
}
