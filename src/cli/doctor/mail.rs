//! Mail: the settings, and whether the server takes them.

use super::finding::Findings;
use crate::config::Config;
use crate::mail::Transport;
use crate::model::MailFault as Fault;

const CHECK: &str = "mail";

/// What the settings say.
pub(super) fn settings(config: &Config, findings: &mut Findings) {
    match config.mail.transport() {
        Err(error) => findings.problem(
            CHECK,
            error.to_string(),
            "serve refuses to start with it: correct it",
        ),
        Ok(None) => findings.skipped(
            CHECK,
            "no server is set: mails to clients wait until mail.from and mail.server are",
        ),
        Ok(Some(_)) => {}
    }
}

/// Whether the server can be reached and takes user and password. Nothing is sent.
pub(super) async fn check(config: &Config, findings: &mut Findings) {
    let Ok(Some((_, Transport::Smtp(smtp)))) = config.mail.transport() else {
        return;
    };
    match smtp.check().await {
        Ok(()) => findings.ok(
            CHECK,
            "the mail server can be reached and takes our sign-in",
        ),
        Err(fault) => findings.problem(
            CHECK,
            match fault {
                Fault::Tls => {
                    "the mail server offers no TLS, or shows a certificate that is not trusted here"
                }
                Fault::SignIn => "the mail server does not take user and password",
                Fault::BrokenOff => "the mail server did not answer in time",
                _ => "the mail server cannot be reached",
            },
            match fault {
                Fault::Tls => "check mail.tls and mail.port; name its authority in mail.ca_file",
                Fault::SignIn => "check mail.user and the file that mail.password_file names",
                _ => "check mail.server, mail.port and what lies between; mails wait meanwhile",
            },
        ),
    }
}
