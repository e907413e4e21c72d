//! Telling the server which versions the program runs on, once it runs.

use std::time::Duration;

use serde_json::json;

use crate::{
    cli::{api::Api, error::CliError},
    model::CredentialId,
};

/// How long the program must have lived to count as running.
const SETTLED: Duration = Duration::from_secs(1);
/// How long the end of the program waits for the last report.
const LAST_TRY: Duration = Duration::from_secs(5);
/// The longest pause between two tries.
const LONGEST_PAUSE: Duration = Duration::from_secs(300);

/// What is still to be reported.
pub struct Reporter {
    left: Vec<(CredentialId, u64)>,
    settled: bool,
    warned: bool,
}

impl Reporter {
    /// Will report `used`, each once, unless it is not wanted.
    pub fn new(used: impl Iterator<Item = (CredentialId, u64)>, wanted: bool) -> Self {
        let mut left: Vec<_> = used.filter(|_| wanted).collect();
        left.sort_unstable();
        left.dedup();
        Self {
            left,
            settled: false,
            warned: false,
        }
    }

    /// Reports while the program runs, until everything is reported. To be dropped when it ends.
    pub async fn while_running(&mut self, api: &Api) {
        tokio::time::sleep(SETTLED).await;
        self.settled = true;
        let mut pause = Duration::from_secs(1);
        while !self.left.is_empty() {
            self.report(api).await;
            if !self.left.is_empty() {
                tokio::time::sleep(pause).await;
                pause = (pause * 2).min(LONGEST_PAUSE);
            }
        }
    }

    /// The program has ended: reports what is left, if it did run, but not for long.
    pub async fn finish(&mut self, api: &Api, code: u8) {
        if self.left.is_empty() || !(self.settled || code == 0) {
            return;
        }
        let _ = tokio::time::timeout(LAST_TRY, self.report(api)).await;
        for (id, number) in &self.left {
            eprintln!("warning: the server does not know that {id} version {number} was in use");
        }
    }

    /// Tries each once, and leaves what can be tried again.
    async fn report(&mut self, api: &Api) {
        for one in self.left.clone() {
            let (id, number) = (one.0.to_string(), one.1);
            let path = ["release", id.as_str(), "in-use"];
            let error = match api.post(&path, &json!({"version": number})).await {
                Ok(_) => {
                    self.left.retain(|other| *other != one);
                    continue;
                }
                Err(error) => error,
            };
            let again = match &error {
                CliError::Refused(problem) => problem.status >= 500 || problem.status == 429,
                CliError::Unreachable(_) | CliError::BrokenOff(_) => true,
                _ => false,
            };
            if !again {
                self.left.retain(|other| *other != one);
            }
            if !again || !self.warned {
                self.warned = true;
                let then = if again { "; trying again" } else { "" };
                eprintln!("warning: cannot report {id} version {number} as in use: {error}{then}");
            }
        }
    }
}
