//! Tests of the audit log's data, one file for each subject.

mod checkpoint;
mod export;
mod log;
mod merkle;
mod python;
mod record;
mod tiles;
mod verify;
