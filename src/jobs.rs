//! The clockwork: what the service does by itself, through the same operations of the vault as anybody.

mod daily;
pub mod mailer;
mod verifier;

pub use daily::DailyCheck;
pub use verifier::Verifier;
