//! How the providers of credentials are asked: which hosts, and whose certificates they may show.

use std::path::PathBuf;

use super::sources::Found;
use super::{ConfigError, Settings};
use crate::model::EmailAddress;
use crate::providers::{Cloud, Hosts, Outbound, ProbePolicy, Want};

/// How the providers of credentials are asked.
#[derive(Clone, Debug)]
pub struct ProvidersConfig {
    /// Which hosts.
    pub hosts: Hosts,
    /// Authorities in PEM instead of the public ones.
    pub ca_file: Option<PathBuf>,
}

/// What verifications may do, and how many.
#[derive(Clone, Debug)]
pub struct VerificationConfig {
    /// Microsoft Graph.
    pub graph: Want,
    /// Exchange Web Services.
    pub ews: Want,
    /// Whether a message may be sent from the test address to itself.
    pub sending: bool,
    /// The test address where a credential names none.
    pub test_mailbox: Option<EmailAddress>,
    /// For how many seconds a refusal may be because what was made is new.
    pub settle_seconds: u32,
    /// How many may be under way at once.
    pub at_once: usize,
    /// Whether active credentials are verified once a day.
    pub daily: bool,
}

impl VerificationConfig {
    /// As the providers' code takes it.
    pub fn policy(&self) -> ProbePolicy {
        ProbePolicy {
            graph: self.graph,
            ews: self.ews,
            sending: self.sending,
            test_mailbox: self.test_mailbox.clone(),
            ..ProbePolicy::default()
        }
    }
}

impl ProvidersConfig {
    /// The client for all providers.
    ///
    /// # Errors
    /// The file of authorities cannot be read or is not one.
    pub fn outbound(&self) -> Result<Outbound, ConfigError> {
        let authorities = match &self.ca_file {
            None => None,
            Some(path) => Some(std::fs::read(path).map_err(|source| ConfigError::Read {
                path: path.clone(),
                source,
            })?),
        };
        Outbound::new(self.hosts.clone(), authorities.as_deref()).map_err(|_| ConfigError::Value {
            place: "providers.ca_file".to_owned(),
            rule: "must be a PEM file of one or more certificates of authorities",
        })
    }
}

impl Settings {
    pub(super) fn verification(&mut self) -> Result<VerificationConfig, ConfigError> {
        fn want(found: &Found) -> Result<Want, &'static str> {
            let rule = "must be required, reported or skipped";
            found.text.parse().map_err(|_| rule)
        }
        Ok(VerificationConfig {
            graph: self.or("verification.graph", "reported", want)?,
            ews: self.or("verification.ews", "reported", want)?,
            sending: self.or("verification.sending", "false", |found| {
                found.text.parse().map_err(|_| "must be true or false")
            })?,
            test_mailbox: self.optional("verification.test_mailbox", |found| {
                found.text.parse().map_err(|_| "must be one e-mail address")
            })?,
            settle_seconds: self.or("verification.settle_seconds", "30", |found| {
                let rule = "must be a whole number of seconds from 0 to 600";
                found.number(0, 600, rule).map(|seconds| seconds as u32)
            })?,
            at_once: self.or("verification.at_once", "1000", |found| {
                found.number(1, 10_000, "must be a whole number from 1 to 10000")
            })?,
            daily: self.or("verification.daily", "true", |found| {
                found.text.parse().map_err(|_| "must be true or false")
            })?,
        })
    }

    pub(super) fn providers(&mut self) -> Result<ProvidersConfig, ConfigError> {
        let cloud: Cloud = self.or("providers.cloud", "global", |found| {
            let rule = "must be global, us-government or china";
            found.text.parse().map_err(|_| rule)
        })?;
        let stand_in = self.optional("providers.stand_in", |found| {
            Hosts::stand_in(cloud, &found.text).map_err(|_| {
                "must be https:// and localhost or a loopback address, with a port if needed, and \
                 no path: clients' secrets are sent there"
            })
        })?;
        Ok(ProvidersConfig {
            hosts: stand_in.unwrap_or_else(|| Hosts::of(cloud)),
            ca_file: self.optional("providers.ca_file", Found::path)?,
        })
    }
}
