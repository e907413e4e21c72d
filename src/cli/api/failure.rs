//! What it means that no answer came.

use std::{error::Error, io};

use crate::cli::error::CliError;

/// A request to `origin` could not be sent, or no answer came.
///
/// That is an outage, unless TLS itself failed: then somebody answered who is not the server, or
/// who does not want to talk to us, and no copy of an earlier answer may stand in. A connection that
/// came up and then broke says neither: a server also cuts off whom it will not answer any longer.
pub fn of_sending(origin: &str, error: &reqwest::Error) -> CliError {
    let text = format!("no answer from {origin}: {}", causes(error));
    if error.is_builder() || is_of_tls(error) {
        CliError::Local(text)
    } else if error.is_connect() || error.is_timeout() {
        CliError::Unreachable(text)
    } else {
        CliError::BrokenOff(text)
    }
}

/// An answer ended before its end.
pub fn of_reading(error: &reqwest::Error) -> CliError {
    CliError::BrokenOff(format!(
        "the answer broke off before its end: {}",
        causes(error)
    ))
}

fn is_of_tls(error: &(dyn Error + 'static)) -> bool {
    if error.is::<rustls::Error>() {
        return true;
    }
    // The source of an I/O error is that of the error inside it, which would be left out.
    let inner = error
        .downcast_ref::<io::Error>()
        .and_then(io::Error::get_ref)
        .is_some_and(|inner| is_of_tls(inner));
    inner || error.source().is_some_and(is_of_tls)
}

/// The innermost cause of an error: the outer ones only say that a request failed.
pub fn causes(error: &dyn Error) -> String {
    let mut innermost = error;
    while let Some(source) = innermost.source() {
        innermost = source;
    }
    innermost.to_string()
}
