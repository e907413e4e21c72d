//! `whoami`: who the server takes the caller for.

use super::{
    Session,
    error::CliError,
    table::{Column, at, by, show},
};

const COLUMNS: &[Column] = &[
    at("Id", "/id"),
    at("Kind", "/kind"),
    at("Name", "/name"),
    at("Environment", "/environment"),
    by("Roles", |caller| {
        show(
            caller
                .get("roles")
                .or_else(|| caller.get("role"))
                .unwrap_or_default(),
        )
    }),
    at("Key", "/key"),
    at("May", "/permissions"),
];

/// Asks the server.
///
/// # Errors
/// As [`super::api::Api`].
pub async fn run(session: &mut Session) -> Result<(), CliError> {
    let caller = session.api.get(&["whoami"], &[]).await?;
    session.out.one(&caller, COLUMNS)
}
