//! In which form a release is written, and where to.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use clap::ValueEnum;
use zeroize::Zeroizing;

use super::{Arguments, state::hash};
use crate::cli::{
    error::CliError,
    files::{NewFile, directory_of, remove_leftovers, sync_directory, unfinished},
    release::{
        document::Document,
        dotenv::{self, Dialect},
        mapping::{Mapping, check_names, resolve},
        template,
    },
    wiping::WipingBuffer,
};

/// The forms.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Form {
    /// A JSON file for each credential, in --dir.
    Files,
    /// Lines of NAME=value, as --env says.
    Dotenv,
    /// The document as it came.
    Json,
    /// A text of one's own with values put in.
    Template,
}

/// What one text is made from.
pub enum Rendering {
    /// The document as it came.
    Json,
    /// Lines of NAME=value.
    Dotenv(Vec<Mapping>, Dialect),
    /// A template: its name and text.
    Template(String, Zeroizing<String>),
}

/// What is written.
pub enum Plan {
    /// A file for each credential.
    Directory(PathBuf),
    /// Texts into files.
    Files(Vec<(PathBuf, Rendering)>),
    /// A text to standard output.
    Print(Rendering),
}

fn wrong<T>(text: &str) -> Result<T, CliError> {
    Err(CliError::local(text))
}

impl Plan {
    /// What the arguments ask for. Templates are read here, before anything is fetched.
    ///
    /// # Errors
    /// The arguments contradict each other, or a template cannot be read.
    pub fn of(arguments: &Arguments) -> Result<Self, CliError> {
        let Arguments {
            dir,
            out,
            env,
            template,
            ..
        } = arguments;
        let implied = match (dir, template.is_empty(), env.is_empty()) {
            (Some(_), true, true) => Form::Files,
            (_, false, _) => Form::Template,
            (_, true, false) => Form::Dotenv,
            (None, true, true) => Form::Json,
        };
        let form = arguments.format.unwrap_or(implied);
        if (form == Form::Files) != dir.is_some() {
            return wrong("--dir and --format files belong together; other forms go to --out");
        }
        if (form == Form::Template) == template.is_empty() {
            return wrong("--template and --format template belong together");
        }
        if (form == Form::Dotenv) == env.is_empty() {
            return wrong(
                "--env and --format dotenv belong together: --env says what is in it, nothing is \
                 implicit",
            );
        }
        check_names(env.iter())?;
        let mut renderings = Vec::new();
        match form {
            Form::Files => {}
            Form::Json => renderings.push(Rendering::Json),
            Form::Dotenv => {
                renderings.push(Rendering::Dotenv(env.clone(), arguments.dotenv_dialect));
            }
            Form::Template => {
                for path in template {
                    renderings.push(read_template(path)?);
                }
            }
        }
        if let Some(directory) = dir {
            return if out.is_empty() {
                Ok(Self::Directory(directory.clone()))
            } else {
                wrong("--dir and --out cannot be used together")
            };
        }
        match (out.len(), renderings.pop()) {
            (0, Some(one)) if renderings.is_empty() => Ok(Self::Print(one)),
            (outs, Some(last)) if outs == renderings.len() + 1 => {
                renderings.push(last);
                Ok(Self::Files(out.iter().cloned().zip(renderings).collect()))
            }
            _ => wrong("give one --out for each --template, in the same order"),
        }
    }

    /// The directory that the results lie in.
    pub fn place(&self) -> Option<&Path> {
        match self {
            Self::Directory(directory) => Some(directory),
            Self::Files(files) => files.first().map(|(path, _)| directory_of(path)),
            Self::Print(_) => None,
        }
    }

    /// What stands for the form, so that another form is not taken for the same.
    pub fn digest(&self) -> String {
        let text = match self {
            Self::Directory(_) => "files".to_owned(),
            Self::Print(rendering) => rendering.describe(),
            Self::Files(files) => files
                .iter()
                .map(|(path, rendering)| format!("{} {}", path.display(), rendering.describe()))
                .collect::<Vec<_>>()
                .join("\n"),
        };
        hash(text.as_bytes())
    }
}

fn read_template(path: &Path) -> Result<Rendering, CliError> {
    let text = std::fs::read_to_string(path)
        .map_err(|error| CliError::local(format!("cannot read {}: {error}", path.display())))?;
    Ok(Rendering::Template(
        path.display().to_string(),
        Zeroizing::new(text),
    ))
}

impl Rendering {
    fn describe(&self) -> String {
        match self {
            Self::Json => "json".to_owned(),
            Self::Dotenv(mappings, dialect) => format!("dotenv {dialect:?} {mappings:?}"),
            Self::Template(_, text) => format!("template {}", hash(text.as_bytes())),
        }
    }

    /// The text.
    ///
    /// # Errors
    /// What it needs is not in the release, or cannot be written in this form.
    pub fn render(
        &self,
        raw: &WipingBuffer,
        document: &Arc<Document>,
    ) -> Result<WipingBuffer, CliError> {
        match self {
            Self::Json => {
                let mut text = WipingBuffer::with_capacity(raw.len() + 1);
                text.extend(raw.expose_secret());
                if !raw.expose_secret().ends_with(b"\n") {
                    text.extend(b"\n");
                }
                Ok(text)
            }
            Self::Dotenv(mappings, dialect) => {
                dotenv::render(&resolve(mappings, document)?, *dialect)
            }
            Self::Template(name, source) => template::render(name, source, document),
        }
    }
}

/// Writes texts into files: all of them are durable under other names before the first is named.
///
/// # Errors
/// A file cannot be written.
pub fn write_files(texts: &[(&Path, WipingBuffer)]) -> Result<(), CliError> {
    let mut files = Vec::new();
    for (path, text) in texts {
        remove_leftovers(directory_of(path));
        files.push(unfinished(path, text.expose_secret())?);
    }
    files.iter().try_for_each(NewFile::sync)?;
    files.into_iter().try_for_each(NewFile::rename)?;
    for (path, _) in texts {
        sync_directory(directory_of(path))?;
    }
    Ok(())
}
