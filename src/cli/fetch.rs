//! `fetch`: a worker gets its credentials, as files or as one text.

mod directory;
mod output;
mod state;

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use clap::Args;

use self::{
    output::{Form, Plan, write_files},
    state::{STATE_FILE, What, hash},
};
use super::{
    Environment, Session,
    error::{CliError, EXIT_OK},
    files::directory_of,
    release::{
        Obtained, Origin, Pipeline, ReleaseArguments, Reply, ask::Ask, dotenv::Dialect,
        mapping::Mapping,
    },
};
use crate::{
    clock::Clock,
    model::{CredentialId, CredentialKind},
};

/// What to fetch, and where to.
#[derive(Args, Clone, Debug)]
pub struct Arguments {
    /// Only this credential; all of the caller's when left out
    #[arg(long, value_name = "ID", conflicts_with_all = ["client", "kind"])]
    credential: Option<CredentialId>,
    /// A previous version of it
    #[arg(long = "version", value_name = "N", id = "version_number", requires = "credential",
          value_parser = clap::value_parser!(u32).range(1..))]
    version: Option<u32>,
    /// Only of this client (id)
    #[arg(long)]
    client: Option<String>,
    /// Only of this kind: microsoft365, google-workspace or generic
    #[arg(long)]
    kind: Option<CredentialKind>,
    /// Write one file for each credential here, instead of printing
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
    /// In which form; follows from the other arguments when left out
    #[arg(long, value_enum)]
    format: Option<Form>,
    /// Into this file, instead of printing; once for each --template
    #[arg(long, value_name = "FILE")]
    out: Vec<PathBuf>,
    /// A line of a dotenv file: a variable, and the field that is its value. The credential is an
    /// id or client-slug/label. May be repeated; nothing else is in it
    #[arg(long, value_name = "NAME=CREDENTIAL.FIELD")]
    env: Vec<Mapping>,
    /// For whom the dotenv file is
    #[arg(long, value_enum, default_value = "sh")]
    dotenv_dialect: Dialect,
    /// A text with {{ credentials["ID or client-slug/label"].fields.NAME }} in it; may be repeated
    #[arg(long, value_name = "FILE")]
    template: Vec<PathBuf>,
    /// Do nothing if what the last such fetch wrote is still there and still right
    #[arg(long)]
    if_changed: bool,
    /// The exit code when nothing changed
    #[arg(long, value_name = "N", default_value = "0", requires = "if_changed")]
    exit_code_unchanged: u8,
    #[command(flatten)]
    release: ReleaseArguments,
}

impl Arguments {
    fn ask(&self) -> Ask {
        if let Some(id) = self.credential {
            let version = self.version;
            return Ask::One { id, version };
        }
        let filtered = Ask::All {
            client: self.client.clone(),
            kind: self.kind,
        };
        if filtered.is_everything() && self.template.is_empty() {
            // What is named by id needs nothing else.
            return Ask::for_mappings(self.env.iter()).unwrap_or(filtered);
        }
        filtered
    }
}

/// Where the state of `--if-changed` lies.
fn state_file(plan: &Plan) -> Result<PathBuf, CliError> {
    match plan {
        Plan::Directory(directory) => Ok(directory.join(STATE_FILE)),
        Plan::Files(files) => {
            let first = files.first().map(|(path, _)| path.as_path());
            let first = first.unwrap_or(Path::new(""));
            let name = first.file_name().unwrap_or_default().to_string_lossy();
            Ok(directory_of(first).join(format!("{STATE_FILE}.{name}")))
        }
        Plan::Print(_) => Err(CliError::local(
            "--if-changed needs a place to look at: give --dir or --out",
        )),
    }
}

/// Fetches.
///
/// # Errors
/// As [`super::api::Api`]; the answer is not whole; a file cannot be written; or some credentials
/// could not be opened by the server, after the others were written.
pub async fn run(
    arguments: Arguments,
    session: &mut Session,
    environment: &Environment,
    clock: &dyn Clock,
) -> Result<(), CliError> {
    let plan = Plan::of(&arguments)?;
    if let Plan::Directory(directory) = &plan {
        directory::create(directory)?;
    }
    let ask = arguments.ask();
    let what = What {
        server: session.api.origin(),
        query: ask.to_string(),
        form: plan.digest(),
    };
    let state = match arguments.if_changed {
        true => Some(state_file(&plan)?),
        false => None,
    };
    let place = plan.place();
    let mut pipeline =
        Pipeline::begin(ask.clone(), &arguments.release, place, session, environment)?;
    let have = state
        .as_deref()
        .and_then(|path| state::etag_of(path, &what));
    let reply = pipeline.obtain(&session.api, have.as_deref(), false, clock);
    let mut obtained = match reply.await? {
        Reply::Obtained(obtained) => obtained,
        Reply::Unchanged if session.out.is_table() => {
            eprintln!("unchanged");
            return end(arguments.exit_code_unchanged);
        }
        Reply::Unchanged => {
            eprintln!(
                "{}",
                serde_json::json!({"source": "server", "changed": false})
            );
            return end(arguments.exit_code_unchanged);
        }
    };
    obtained.origin.announce(session);
    let files = write(&plan, &mut obtained, ask.is_everything(), session)?;
    pipeline.keep(&obtained, clock.now())?;
    let complete = obtained.document.failed.is_empty();
    if let (Some(path), Some(etag), Origin::Server, true) =
        (state, &obtained.etag, &obtained.origin, complete)
    {
        state::remember(&path, what, etag, files)?;
    }
    if complete {
        return Ok(());
    }
    let kept = match plan {
        Plan::Directory(_) => ", their files were left as they were",
        _ => "",
    };
    let failed = &obtained.document.failed;
    Err(CliError::local(format!(
        "the server could not open {}: {}{kept}; tell the operators",
        count(failed.len()),
        failed.join(", ")
    )))
}

fn end(code: u8) -> Result<(), CliError> {
    match code {
        EXIT_OK => Ok(()),
        code => Err(CliError::Exit(code)),
    }
}

/// Writes what was released, and returns the digests of the files.
fn write(
    plan: &Plan,
    obtained: &mut Obtained,
    is_everything: bool,
    session: &mut Session,
) -> Result<BTreeMap<PathBuf, String>, CliError> {
    let document = &obtained.document;
    match plan {
        Plan::Print(rendering) => {
            let text = rendering.render(&obtained.raw, document)?;
            session.out.bytes(text.expose_secret())?;
            Ok(BTreeMap::new())
        }
        Plan::Files(files) => {
            let mut texts = Vec::new();
            for (path, rendering) in files {
                texts.push((path.as_path(), rendering.render(&obtained.raw, document)?));
            }
            write_files(&texts)?;
            for (path, _) in &texts {
                eprintln!("wrote {}", path.display());
            }
            let digest = |(path, text): &(&Path, super::WipingBuffer)| {
                ((*path).to_owned(), hash(text.expose_secret()))
            };
            Ok(texts.iter().map(digest).collect())
        }
        Plan::Directory(directory) => {
            let written = directory::write(directory, document)?;
            let number = count(document.entries.len());
            eprintln!("wrote {number} to {}", directory.display());
            for name in written.others.iter().filter(|_| is_everything) {
                eprintln!(
                    "note: {name} is from an earlier fetch and was not released now; \
                     delete it when nothing uses it"
                );
            }
            let digest = |(name, content): &(String, super::WipingBuffer)| {
                (directory.join(name), hash(content.expose_secret()))
            };
            Ok(written.files.iter().map(digest).collect())
        }
    }
}

fn count(number: usize) -> String {
    if number == 1 {
        "1 credential".to_owned()
    } else {
        format!("{number} credentials")
    }
}

#[cfg(test)]
mod tests;
