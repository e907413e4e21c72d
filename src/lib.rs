//! Strongroom: an encrypted vault for the credentials that a company's clients lend it.
#![warn(missing_docs)]
#![deny(unsafe_code)]

pub mod audit;
pub mod cli;
pub mod clock;
pub mod config;
pub mod crypto;
pub mod http;
pub mod identity;
pub mod jobs;
pub mod mail;
pub mod memory;
pub mod model;
pub mod pki;
pub mod policy;
pub mod process;
pub mod providers;
pub mod random;
pub mod secret;
pub mod standin;
pub mod store;
pub mod telemetry;
pub mod vault;
