//! `completions` and `man`: what a package installs beside the program, made from the commands
//! themselves, so that it cannot lag behind them.

use std::fs::Permissions;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use clap::{Args, CommandFactory, ValueEnum};
use clap_complete::Shell as Generator;

use super::{
    Cli,
    error::CliError,
    files::{NewFile, failure},
};

/// Which shell.
#[derive(Args, Debug)]
pub struct CompletionsArguments {
    /// The shell
    #[arg(value_enum)]
    pub shell: Shell,
}

/// The shells that can complete commands.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub enum Shell {
    /// GNU Bash.
    Bash,
    /// Z shell.
    Zsh,
    /// fish.
    Fish,
}

/// Where the pages go.
#[derive(Args, Debug)]
pub struct ManArguments {
    /// The directory; made if it does not exist
    #[arg(value_name = "DIR")]
    pub directory: PathBuf,
}

/// Prints the script that makes a shell complete commands.
///
/// # Errors
/// It cannot be printed.
pub fn completions(arguments: &CompletionsArguments, out: &mut dyn Write) -> Result<(), CliError> {
    let generator = match arguments.shell {
        Shell::Bash => Generator::Bash,
        Shell::Zsh => Generator::Zsh,
        Shell::Fish => Generator::Fish,
    };
    // Into memory first: a pipe that is closed early must not be a panic.
    let mut script = Vec::new();
    clap_complete::generate(generator, &mut Cli::command(), "strongroom", &mut script);
    out.write_all(&script)
        .map_err(|error| CliError::local(format!("cannot print: {error}")))
}

/// Writes one manual page for the program and one for each command, readable by everybody.
///
/// # Errors
/// The directory cannot be written.
pub fn man(arguments: &ManArguments) -> Result<(), CliError> {
    let directory = &arguments.directory;
    if !directory.exists() {
        // The process makes what is new for its owner alone; a manual is for everybody.
        std::fs::create_dir_all(directory)
            .and_then(|()| std::fs::set_permissions(directory, Permissions::from_mode(0o755)))
            .map_err(|error| failure(directory, &error))?;
    }
    let mut command = Cli::command().disable_help_subcommand(true);
    // Gives each command its full name, such as strongroom-client-add.
    command.build();
    pages(&command, directory)
}

fn pages(command: &clap::Command, directory: &Path) -> Result<(), CliError> {
    let name = command.get_display_name().unwrap_or(command.get_name());
    let mut text = Vec::new();
    // What -h leaves out for brevity belongs into a manual.
    let whole = command
        .clone()
        .mut_args(|argument| argument.hide_short_help(false));
    clap_mangen::Man::new(whole)
        .render(&mut text)
        .map_err(|error| CliError::local(format!("cannot render {name}: {error}")))?;
    let path = directory.join(format!("{name}.1"));
    let mut file = NewFile::create(&path, 0o644)?;
    file.write_all(&text)
        .map_err(|error| failure(&path, &error))?;
    file.finish()?;
    for inner in command
        .get_subcommands()
        .filter(|inner| !inner.is_hide_set())
    {
        pages(inner, directory)?;
    }
    Ok(())
}
