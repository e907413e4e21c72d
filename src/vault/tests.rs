//! The vault as a whole, on a real database.

mod age_output;
mod forged;
mod issued;
mod principals;
mod release;
mod revocation;
mod set_back;
mod swapped;
mod versions;
