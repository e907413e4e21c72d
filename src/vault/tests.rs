//! The vault as a whole, on a real database.

mod age_output;
mod bundle;
mod forged;
mod issued;
mod principals;
mod refusals;
mod release;
mod revocation;
mod same_steps;
mod set_back;
mod swapped;
mod versions;
