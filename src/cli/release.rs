//! One way from the server to a worker, whether it writes files or starts a program:
//! get (from the server, or the offline copy), check the checkpoint, read, render, then write or run.

pub mod ask;
pub mod cache;
pub mod checkpoints;
pub mod document;
pub mod dotenv;
pub mod lock;
pub mod mapping;
pub mod template;
#[cfg(test)]
pub mod testing;

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use clap::Args;
use serde_json::json;

use self::{
    ask::Ask,
    cache::{Cache, CacheArguments, Cached, Subject},
    checkpoints::{CHECKPOINT_FILE, CheckpointArguments, Memory},
    document::{Document, unusable},
    lock::Locks,
};
use super::{
    Environment, Session,
    api::{Api, ReleaseReply, Released},
    error::{CliError, printable},
    files::directory_of,
    wiping::WipingBuffer,
};
use crate::{clock::Clock, model::Timestamp};

/// The flags that `fetch` and `exec` share.
#[derive(Args, Clone, Debug, Default)]
pub struct ReleaseArguments {
    #[command(flatten)]
    cache: CacheArguments,
    #[command(flatten)]
    checkpoints: CheckpointArguments,
}

/// Where a release came from.
pub enum Origin {
    /// From the server, now.
    Server,
    /// From the offline copy, of which the server says that it would give the same.
    Confirmed,
    /// From the offline copy.
    Copy {
        /// When it came from the server.
        fetched_at: Timestamp,
        /// When it stops being good.
        never_after: Timestamp,
        /// Why the server did not answer; nothing when it was not asked.
        outage: Option<String>,
    },
}

/// A release to work with.
pub struct Obtained {
    /// As it came.
    pub raw: WipingBuffer,
    /// What it holds.
    pub document: Arc<Document>,
    /// Its ETag.
    pub etag: Option<String>,
    /// Where it came from.
    pub origin: Origin,
    checkpoint: Option<String>,
}

/// What asking led to.
pub enum Reply {
    /// The server has nothing that is not here already.
    Unchanged,
    /// A release.
    Obtained(Box<Obtained>),
}

/// How a release is got.
pub struct Pipeline {
    ask: Ask,
    memory: Option<Memory>,
    cache: Option<Cache>,
    _locks: Locks,
}

impl Pipeline {
    /// Makes ready to ask. `place` is the directory of what will be written, if anything is: it is
    /// locked, and checkpoints are remembered there unless the arguments say where.
    ///
    /// # Errors
    /// An argument, a remembered checkpoint or a key cannot be used.
    pub fn begin(
        ask: Ask,
        arguments: &ReleaseArguments,
        place: Option<&Path>,
        session: &Session,
        environment: &Environment,
    ) -> Result<Self, CliError> {
        let subject = Subject {
            server: session.api.origin(),
            caller: session.api.caller()?,
            query: ask.to_string(),
        };
        let ReleaseArguments { cache, checkpoints } = arguments;
        let cache = Cache::open(cache, subject)?;
        let state = || {
            // systemd.exec(5): the directories of StateDirectory=, separated by colons.
            let directories = environment.get(std::ffi::OsStr::new("STATE_DIRECTORY"))?;
            std::env::split_paths(directories).next()
        };
        let beside = place
            .map(Path::to_owned)
            .or_else(|| Some(directory_of(cache.as_ref()?.path()).to_owned()))
            .or_else(state)
            .map(|directory| directory.join(CHECKPOINT_FILE));
        let remembered: Option<PathBuf> = checkpoints.checkpoints.clone().or(beside);
        let mut directories: Vec<&Path> = place.into_iter().collect();
        directories.extend(cache.as_ref().map(|cache| directory_of(cache.path())));
        directories.extend(remembered.as_deref().map(directory_of));
        let locks = Locks::take(directories)?;
        let pinned = checkpoints.audit_key.as_deref();
        let memory = match (remembered, pinned) {
            (None, None) => None,
            (path, pinned) => Some(Memory::open(path.as_deref(), pinned)?),
        };
        Ok(Self {
            ask,
            memory,
            cache,
            _locks: locks,
        })
    }

    /// Gets the release. `have` is the ETag of what is here already; a young offline copy is used
    /// without asking if `may_skip`.
    ///
    /// # Errors
    /// The server said no, or its answer cannot be used, or it cannot be reached and there is no
    /// copy that may be used.
    pub async fn obtain(
        &mut self,
        api: &Api,
        have: Option<&str>,
        may_skip: bool,
        clock: &dyn Clock,
    ) -> Result<Reply, CliError> {
        let now = clock.now();
        let cached = match &self.cache {
            None => Ok(None),
            Some(cache) => cache.read(now),
        };
        let copy = match cached {
            Ok(Some(copy)) if may_skip && copy.is_young(now) => {
                return self.use_copy(copy, None).map(Reply::Obtained);
            }
            other => other,
        };
        let copy_tag = match &copy {
            Ok(Some(copy)) => copy.etag.clone(),
            _ => None,
        };
        let condition = match (&self.cache, have) {
            (None, have) => have.map(str::to_owned),
            // Without a copy of it, there would be nothing to keep when nothing changed.
            (Some(_), Some(have)) => copy_tag.filter(|tag| tag == have),
            (Some(_), None) => copy_tag.filter(|_| may_skip),
        };
        match self.ask_twice(api, condition.as_deref()).await {
            Ok(ReleaseReply::Whole(released)) => {
                if let Err(error) = &copy {
                    eprintln!("warning: {error}; it will be replaced");
                }
                self.check(released, api).await.map(Reply::Obtained)
            }
            Ok(ReleaseReply::Unchanged { checkpoint }) => {
                if condition.is_none() {
                    return Err(unusable());
                }
                if let Some(memory) = &mut self.memory {
                    memory.check(checkpoint.as_deref(), api).await?;
                    memory.save()?;
                }
                if let (Some(cache), Ok(Some(copy))) = (&self.cache, &copy) {
                    cache.renew(copy, clock.now())?;
                }
                match copy {
                    Ok(Some(copy)) if have.is_none() => {
                        let mut obtained = self.use_copy(copy, None)?;
                        obtained.origin = Origin::Confirmed;
                        Ok(Reply::Obtained(obtained))
                    }
                    _ => Ok(Reply::Unchanged),
                }
            }
            Err(error) if error.is_outage() => self.fall_back(error, copy, clock.now()),
            Err(error) => Err(self.refused(error, &copy)),
        }
    }

    /// Asks, and once more if the answer breaks off: the second time shows whether the service is
    /// down, or does not want to go on.
    async fn ask_twice(
        &self,
        api: &Api,
        condition: Option<&str>,
    ) -> Result<ReleaseReply, CliError> {
        match self.ask.send(api, condition).await {
            Err(CliError::BrokenOff(_)) => self.ask.send(api, condition).await,
            other => other,
        }
    }

    async fn check(&mut self, released: Released, api: &Api) -> Result<Box<Obtained>, CliError> {
        let document = Document::parse(&released.body, self.ask.is_single())?;
        if let Some(memory) = &mut self.memory {
            memory.check(released.checkpoint.as_deref(), api).await?;
        }
        Ok(Box::new(Obtained {
            raw: released.body,
            document: Arc::new(document),
            etag: released.etag,
            origin: Origin::Server,
            checkpoint: released.checkpoint,
        }))
    }

    fn use_copy(&self, copy: Cached, outage: Option<String>) -> Result<Box<Obtained>, CliError> {
        Ok(Box::new(Obtained {
            document: Arc::new(Document::parse(&copy.body, self.ask.is_single())?),
            etag: copy.etag,
            origin: Origin::Copy {
                fetched_at: copy.fetched_at,
                never_after: copy.never_after,
                outage,
            },
            raw: copy.body,
            checkpoint: None,
        }))
    }

    /// The copy in place of an answer, if it may be used.
    fn fall_back(
        &self,
        error: CliError,
        copy: Result<Option<Cached>, CliError>,
        now: Timestamp,
    ) -> Result<Reply, CliError> {
        let why = error.cause_of_outage();
        match copy {
            Ok(Some(copy)) if copy.is_usable(now) => {
                self.use_copy(copy, Some(why)).map(Reply::Obtained)
            }
            Ok(Some(copy)) => Err(CliError::Unreachable(format!(
                "{why}\n  The copy of {} was good until {} and is not used any more",
                copy.fetched_at, copy.never_after
            ))),
            Ok(None) if self.cache.is_some() => Err(CliError::Unreachable(format!(
                "{why}\n  There is no copy yet that could be used instead"
            ))),
            Ok(None) => Err(error),
            Err(refused) => Err(CliError::Unreachable(format!(
                "{why}\n  The copy is not used instead: {refused}"
            ))),
        }
    }

    /// The server knows the caller no more, or has not what was asked for: the copy goes.
    fn refused(&self, error: CliError, copy: &Result<Option<Cached>, CliError>) -> CliError {
        let is_over = matches!(&error, CliError::Refused(it) if matches!(it.status, 401 | 404));
        if let (true, Some(cache), Ok(Some(_))) = (is_over, &self.cache, copy) {
            match cache.wipe() {
                Ok(()) => eprintln!("the copy in {} was deleted", cache.path().display()),
                Err(error) => eprintln!("warning: {error}; delete it by hand"),
            }
        }
        error
    }

    /// Keeps what was learned, after what was released could be used: the copy and the checkpoint.
    ///
    /// # Errors
    /// The disk or a directory did not take it.
    pub fn keep(&mut self, obtained: &Obtained, now: Timestamp) -> Result<(), CliError> {
        if let Some(memory) = &mut self.memory {
            memory.save()?;
        }
        // Half a release is no copy to start from: the last whole one stays.
        if let (Some(cache), Origin::Server, true) = (
            &self.cache,
            &obtained.origin,
            obtained.document.failed.is_empty(),
        ) {
            let (etag, checkpoint) = (obtained.etag.as_deref(), obtained.checkpoint.as_deref());
            cache.write(obtained.raw.expose_secret(), etag, checkpoint, now)?;
        }
        Ok(())
    }
}

impl Origin {
    /// Says on standard error that a copy is used, and why.
    pub fn announce(&self, session: &Session) {
        let Self::Copy {
            fetched_at,
            never_after,
            outage,
        } = self
        else {
            return;
        };
        if !session.out.is_table() {
            let line = json!({"source": "cache", "fetched_at": fetched_at,
                              "never_after": never_after, "outage": outage});
            eprintln!("{line}");
            return;
        }
        match outage {
            Some(why) => eprintln!(
                "warning: service not reachable: using what was fetched at {fetched_at}, never \
                 after {never_after}\n  {}",
                printable(why)
            ),
            None => eprintln!("using what was fetched at {fetched_at}, without asking"),
        }
    }
}

#[cfg(test)]
mod tests;
