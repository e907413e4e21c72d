//! The program: one allocator that wipes what it frees, one process that shows nothing of itself.

use std::process::ExitCode;

use strongroom::memory::ZeroOnFree;

#[global_allocator]
static ALLOCATOR: ZeroOnFree = ZeroOnFree::new();

fn main() -> ExitCode {
    // Before any thread starts: a flag of the process, such as no-new-privileges, is each thread's.
    if let Err(error) = strongroom::process::harden() {
        eprintln!("error: {error}");
        return ExitCode::FAILURE;
    }
    ExitCode::from(strongroom::cli::run(
        std::env::args_os(),
        std::env::vars_os(),
    ))
}
