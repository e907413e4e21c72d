//! How the providers of credentials are asked: which hosts, and whose certificates they may show.

use std::path::PathBuf;

use super::sources::Found;
use super::{ConfigError, Settings};
use crate::providers::{Cloud, Hosts, Outbound};

/// How the providers of credentials are asked.
#[derive(Clone, Debug)]
pub struct ProvidersConfig {
    /// Which hosts.
    pub hosts: Hosts,
    /// Authorities in PEM instead of the public ones.
    pub ca_file: Option<PathBuf>,
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
