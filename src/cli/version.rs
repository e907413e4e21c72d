//! `credential version`: the values of a credential. They go in; none ever comes out here.

use clap::{Args, Subcommand};
use reqwest::Method;
use serde_json::{Value, json};

use super::{
    Session, credential,
    error::CliError,
    fields::{FieldArguments, Stdin, version_body},
    table::{Column, at, by, show},
};
use crate::model::{CredentialId, Timestamp};

/// What can be done with versions.
#[derive(Subcommand, Debug)]
pub enum Command {
    /// Hand in a new value; it is pending until it is activated
    Add {
        /// Id of the credential
        credential: CredentialId,
        #[command(flatten)]
        fields: FieldArguments,
        /// When it expires: a date or a time
        #[arg(long, value_name = "DATE", value_parser = moment)]
        expires_at: Option<String>,
        /// Activate it at once, unverified; needs --reason
        #[arg(long, requires = "reason")]
        activate: bool,
        /// Why it is activated without verification
        #[arg(long, value_name = "TEXT", requires = "activate")]
        reason: Option<String>,
    },
    /// Make a pending or previous version the one that workers get
    Activate(Decision),
    /// Refuse a pending version; its key is destroyed
    Reject(Decision),
    /// End a version; its key is destroyed
    Retire {
        #[command(flatten)]
        which: Which,
        /// Why, in words
        #[arg(long, value_name = "TEXT")]
        reason: Option<String>,
        /// Even if live workloads hold it; needs --reason
        #[arg(long, requires = "reason")]
        override_holds: bool,
    },
}

/// One version of one credential.
#[derive(Args, Debug)]
pub struct Which {
    /// Id of the credential
    credential: CredentialId,
    /// Number of the version
    #[arg(value_name = "VERSION", value_parser = clap::value_parser!(u32).range(1..))]
    number: u32,
}

/// A decision about one version, which needs a reason.
#[derive(Args, Debug)]
pub struct Decision {
    #[command(flatten)]
    which: Which,
    /// Why, in words
    #[arg(long, value_name = "TEXT")]
    reason: String,
}

/// What is shown of a version.
pub const COLUMNS: &[Column] = &[
    at("Version", "/number"),
    at("State", "/state"),
    at("Verified by", "/verification"),
    by("Expires", expiry),
    at("Compromised", "/compromised_at"),
    at("Created", "/created_at"),
    at("State since", "/state_changed_at"),
    at("Reason", "/reason"),
];

/// When a version expires: a day stays a day, and "never" is said only when it is known.
pub fn expiry(version: &Value) -> String {
    match version["expires_at"].as_str() {
        None if version["no_expiry"] == true => "never".into(),
        None => "unknown".into(),
        Some(time) if version["expires_precision"] == "day" => {
            time.get(..10).unwrap_or(time).to_owned()
        }
        Some(_) => show(&version["expires_at"]),
    }
}

/// Checks a date or time and keeps it as written, because a date alone keeps its precision.
///
/// # Errors
/// The text is neither.
pub fn moment(text: &str) -> Result<String, crate::model::ParseTimestampError> {
    Timestamp::parse_with_precision(text).map(|_| text.to_owned())
}

/// Runs one of the commands.
///
/// # Errors
/// As [`super::api::Api`], or the fields cannot be read.
pub async fn run(command: Command, session: &mut Session) -> Result<(), CliError> {
    match command {
        Command::Add {
            credential,
            fields,
            expires_at,
            activate: _,
            reason,
        } => {
            let mut members = Vec::new();
            members.extend(expires_at.map(|time| ("expires_at", json!(time))));
            members.extend(reason.map(|reason| ("activate", json!({"reason": reason}))));
            let body = version_body(&fields, &mut Stdin, &members)?;
            let credential = credential.to_string();
            let path = ["credentials", credential.as_str(), "versions"];
            let version = session.api.post_secret(&path, body).await?;
            session.out.one(&version, COLUMNS)
        }
        Command::Activate(Decision { which, reason }) => {
            act(session, &which, "activate", &json!({"reason": reason})).await
        }
        Command::Reject(Decision { which, reason }) => {
            act(session, &which, "reject", &json!({"reason": reason})).await
        }
        Command::Retire {
            which,
            reason,
            override_holds,
        } => {
            let body = super::members([
                ("reason", reason.map(|reason| json!(reason))),
                ("override_holds", Some(json!(override_holds))),
            ]);
            act(session, &which, "retire", &body).await
        }
    }
}

async fn act(
    session: &mut Session,
    which: &Which,
    verb: &str,
    body: &Value,
) -> Result<(), CliError> {
    let id = which.credential.to_string();
    let number = which.number.to_string();
    let resource = ["credentials", id.as_str()];
    let target = [
        "credentials",
        id.as_str(),
        "versions",
        number.as_str(),
        verb,
    ];
    let changed = session
        .api
        .change(Method::POST, &resource, &target, body)
        .await?;
    credential::print(session, &changed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn never_and_unknown_are_not_the_same() {
        assert_eq!(
            expiry(&json!({"expires_at": null, "no_expiry": true})),
            "never"
        );
        assert_eq!(
            expiry(&json!({"expires_at": null, "no_expiry": false})),
            "unknown"
        );
        let day = json!({"expires_at": "2028-11-20T00:00:00Z", "expires_precision": "day"});
        assert_eq!(expiry(&day), "2028-11-20");
    }
}
