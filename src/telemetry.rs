//! Logs of the process: to stderr, as text for people or as JSON for machines.

use std::{
    io::{self, IsTerminal as _, Write as _},
    panic::{Location, PanicHookInfo},
    str::FromStr,
};

use tracing::{Level, Metadata};
use tracing_subscriber::{
    EnvFilter, Layer as _, filter::filter_fn, fmt, layer::SubscriberExt as _,
    util::SubscriberInitExt as _,
};

/// How the log is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum LogFormat {
    /// Lines for people.
    #[default]
    Text,
    /// One JSON object per line.
    Json,
}

/// The logs cannot be set up.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum TelemetryError {
    /// Neither `text` nor `json`.
    #[error("the log format must be text or json")]
    Format,
    /// The filter cannot be parsed.
    #[error("the log filter must be like info or strongroom=debug,warn")]
    Filter,
    /// Something has set up the logs before.
    #[error("the log is already set up")]
    Twice,
}

impl FromStr for LogFormat {
    type Err = TelemetryError;

    fn from_str(text: &str) -> Result<Self, TelemetryError> {
        match text {
            "text" => Ok(Self::Text),
            "json" => Ok(Self::Json),
            _ => Err(TelemetryError::Format),
        }
    }
}

/// From now on a panic is reported by its place alone. For every command, and before it reads anything:
/// those that handle values on the worker have no log.
pub fn hide_what_panics_say() {
    std::panic::set_hook(Box::new(report_panic));
}

/// Sets up the log of the process.
///
/// `filter` is in the form that the variable `RUST_LOG` has in other programs.
///
/// # Errors
/// The filter cannot be parsed, or the log is already set up.
pub fn init(format: LogFormat, filter: &str) -> Result<(), TelemetryError> {
    let filter = EnvFilter::try_new(filter).map_err(|_| TelemetryError::Filter)?;
    let lines = match format {
        LogFormat::Text => fmt::layer()
            .with_writer(io::stderr)
            .with_ansi(io::stderr().is_terminal())
            .boxed(),
        LogFormat::Json => fmt::layer()
            .with_writer(io::stderr)
            .json()
            .flatten_event(true)
            .with_current_span(true)
            .with_span_list(false)
            .boxed(),
    };
    tracing_subscriber::registry()
        .with(filter_fn(is_safe))
        .with(filter)
        .with(lines)
        .try_init()
        .map_err(|_| TelemetryError::Twice)?;
    Ok(())
}

/// Whatever the filter says: of other people's code only warnings. Libraries of HTTP, TLS and SQL
/// print headers, frames and statements when asked for details, and those hold what must not be
/// written down.
fn is_safe(metadata: &Metadata<'_>) -> bool {
    let target = metadata.target();
    *metadata.level() <= Level::WARN || target == "strongroom" || target.starts_with("strongroom::")
}

/// Says where a panic was, never what it says: a message may hold the value that was being handled.
fn report_panic(panic: &PanicHookInfo<'_>) {
    let place = place(panic.location());
    if tracing::dispatcher::has_been_set() {
        tracing::error!(place, "a part of the program panicked");
    } else {
        let _ = writeln!(io::stderr(), "a part of the program panicked at {place}");
    }
}

fn place(location: Option<&Location<'_>>) -> String {
    location.map_or_else(
        || "an unknown place".to_owned(),
        |location| format!("{}:{}", location.file(), location.line()),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_format_has_two_words() {
        assert_eq!("json".parse(), Ok(LogFormat::Json));
        assert_eq!("JSON".parse::<LogFormat>(), Err(TelemetryError::Format));
    }

    #[test]
    fn a_place_is_a_file_and_a_line() {
        let text = place(Some(Location::caller()));
        assert!(text.contains("telemetry.rs:"), "{text}");
    }

    #[test]
    fn a_bad_filter_is_refused_before_anything_is_set_up() {
        assert_eq!(
            init(LogFormat::Text, "strongroom=loudest"),
            Err(TelemetryError::Filter)
        );
    }
}
