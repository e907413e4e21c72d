//! The clockwork: what the service does by itself, through the same operations of the vault as anybody.

pub mod mailer;
mod verifier;

pub use verifier::Verifier;
