//! The service from outside: the real program over real sockets, every story on SQLite and on
//! PostgreSQL.

#[path = "../support/postgres.rs"]
mod postgres;
mod support;

mod age_output;
mod attacks;
mod attacks_authorities;
mod audit;
mod authorities;
mod authority_roll;
mod backup;
mod bad_input;
mod browser;
mod canaries;
mod consistency;
mod crash;
mod deploy;
mod doctor;
mod documents;
mod enrolment;
mod enrolment_commands;
mod erase;
mod faults;
mod first_minutes;
mod hang_up;
mod health;
mod identity;
mod intake_pages;
mod large_bundle;
mod mail;
mod manual;
mod pages;
mod production;
mod recipients;
mod release;
mod restore;
mod restore_time;
mod server_certificate;
mod tampering;
mod verification;
mod worker;
mod worker_checkpoints;
mod worker_program;
