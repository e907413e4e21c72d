//! The program: one allocator that wipes what it frees, one process that shows nothing of itself.

use std::process::ExitCode;

use strongroom::memory::ZeroOnFree;

#[global_allocator]
static ALLOCATOR: ZeroOnFree = ZeroOnFree::new();

fn main() -> ExitCode {
    strongroom::memory::limit_arenas();
    let arguments: Vec<_> = std::env::args_os().collect();
    // Before any thread starts: a flag of the process, such as no-new-privileges, is each thread's.
    let protected = if strongroom::cli::starts_programs(&arguments) {
        strongroom::process::harden_to_start_programs()
    } else {
        strongroom::process::harden()
    };
    if let Err(error) = protected {
        eprintln!("error: {error}");
        return ExitCode::FAILURE;
    }
    strongroom::telemetry::hide_what_panics_say();
    ExitCode::from(strongroom::cli::run(arguments, std::env::vars_os()))
}
