//! `assertion`: prints a fresh signed assertion, good for one request.

use super::{connection::Connection, error::CliError, table::Output};

/// Makes and prints it. The assertion is a short-lived proof, printed because it was asked for.
///
/// # Errors
/// The key or a name is missing or cannot be used.
pub fn run(connection: &Connection, out: &mut Output) -> Result<(), CliError> {
    let token = connection.token_maker()?()?;
    out.bytes(token.expose_secret())?;
    out.bytes(b"\n")
}
