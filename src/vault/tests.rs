//! The vault as a whole, on a real database.

mod age_output;
mod backups;
mod bundle;
mod contacts;
mod correspondence;
mod daily;
mod enrolment;
mod erased;
mod forged;
mod forward;
mod intake;
mod issued;
mod mails;
#[path = "../../tests/support/postgres.rs"]
mod postgres;
mod principals;
mod refusals;
mod release;
mod renewal;
mod revocation;
mod revoked_certificate;
mod same_steps;
mod set_back;
mod swapped;
mod thaw;
mod versions;
