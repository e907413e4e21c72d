//! `exec`: a program runs with credentials in its environment, and nothing of them anywhere else.

mod child;
mod in_use;
mod values;

use std::{ffi::OsString, pin::pin, process::Command};

use clap::Args;

use self::{child::Child, in_use::Reporter, values::Files};
use super::{
    Environment, Session,
    error::{CliError, printable},
    release::{
        Pipeline, ReleaseArguments, Reply,
        ask::Ask,
        mapping::{Mapping, check_names, resolve},
    },
    renew,
};
use crate::{clock::Clock, model::CredentialKind};

/// What to run, and with what.
#[derive(Args, Clone, Debug)]
pub struct Arguments {
    /// A variable, and the field that is its value. The credential is an id or client-slug/label.
    /// May be repeated; nothing else is passed on
    #[arg(long, value_name = "NAME=CREDENTIAL.FIELD")]
    env: Vec<Mapping>,
    /// The same, but the variable is the path of a file in memory that holds the value
    #[arg(long, value_name = "NAME=CREDENTIAL.FIELD")]
    file: Vec<Mapping>,
    /// Only of this client (id)
    #[arg(long)]
    client: Option<String>,
    /// Only of this kind: microsoft365, google-workspace or generic
    #[arg(long)]
    kind: Option<CredentialKind>,
    /// Do not tell the server that the versions are in use
    #[arg(long)]
    no_in_use: bool,
    #[command(flatten)]
    release: ReleaseArguments,
    /// The program and its arguments, after --
    #[arg(last = true, required = true, value_name = "COMMAND")]
    command: Vec<OsString>,
}

impl Arguments {
    fn ask(&self) -> Ask {
        let filtered = Ask::All {
            client: self.client.clone(),
            kind: self.kind,
        };
        if filtered.is_everything() {
            // What is named by id needs nothing else.
            return Ask::for_mappings(self.env.iter().chain(&self.file)).unwrap_or(filtered);
        }
        filtered
    }
}

/// Runs the program and waits for its end.
///
/// # Errors
/// As [`super::api::Api`]; a value is not there; the program cannot be started; or the exit code of
/// the program, as [`CliError::Exit`].
pub async fn run(
    arguments: Arguments,
    session: &mut Session,
    environment: &Environment,
    clock: &dyn Clock,
) -> Result<(), CliError> {
    if arguments.env.is_empty() && arguments.file.is_empty() {
        return Err(CliError::local(
            "nothing is passed on: give --env or --file, since nothing is implicit",
        ));
    }
    check_names(arguments.env.iter().chain(&arguments.file))?;
    let ask = arguments.ask();
    let mut pipeline = Pipeline::begin(ask, &arguments.release, None, session, environment)?;
    let reply = pipeline.obtain(&session.api, None, true, clock).await?;
    let Reply::Obtained(obtained) = reply else {
        return Err(CliError::local("the server said that nothing changed"));
    };
    obtained.origin.announce(session);
    if session.api.was_answered() {
        renew::in_passing(session, clock).await;
    }
    let variables = resolve(&arguments.env, &obtained.document)?;
    let in_files = resolve(&arguments.file, &obtained.document)?;
    let [program, rest @ ..] = arguments.command.as_slice() else {
        return Err(CliError::local("there is no program to run"));
    };
    let mut command = Command::new(program);
    command.args(rest).env_clear();
    let is_ours = |name: &OsString| name.to_string_lossy().starts_with("STRONGROOM_");
    command.envs(environment.iter().filter(|(name, _)| !is_ours(name)));
    for variable in &variables {
        command.env(&variable.mapping.name, values::text(variable)?);
    }
    let files = Files::make(&in_files)?;
    for (name, path) in files.paths() {
        command.env(name, path);
    }
    let used = variables.iter().chain(&in_files);
    let used = used.filter_map(|one| Some((one.id, one.version?)));
    let mut reporter = Reporter::new(used, !arguments.no_in_use);
    // The service must start even if the disk for the copy is full.
    if let Err(error) = pipeline.keep(&obtained, clock.now()) {
        eprintln!("warning: {error}");
    }
    let child = Child::spawn(command);
    // From here on the values are the program's alone.
    drop((variables, in_files, files, obtained, pipeline));
    let name = printable(&program.to_string_lossy());
    let mut child = child.map_err(|error| child::cannot_run(&name, &error))?;
    let code = {
        let mut end = pin!(child.wait());
        tokio::select! {
            code = &mut end => code?,
            () = reporter.while_running(&session.api) => end.await?,
        }
    };
    reporter.finish(&session.api, code).await;
    match code {
        0 => Ok(()),
        code => Err(CliError::Exit(code)),
    }
}
