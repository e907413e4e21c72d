//! What a worker remembers of the audit log: its key, pinned when it was first seen, and the newest
//! checkpoint of each log. So a log that is cut, changed or shown differently to different workers
//! is noticed by whoever fetches next.

use std::{
    io::Write,
    path::{Path, PathBuf},
};

use base64::{Engine, engine::general_purpose::STANDARD};
use clap::Args;
use ring::digest::{SHA256, digest};
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::{
    audit::{
        Checkpoint, Hash, Origin, VerifierKey, checkpoint::key_name, merkle::verify_consistency,
    },
    cli::{
        api::Api,
        error::{CliError, printable},
        files::NewFile,
    },
};

/// The file that keeps what is remembered beside what was fetched.
pub const CHECKPOINT_FILE: &str = ".strongroom-checkpoint";
/// The largest file that is read, in bytes.
const LARGEST: u64 = 1024 * 1024;

/// Where checkpoints are remembered, and whose are believed.
#[derive(Args, Clone, Debug, Default)]
pub struct CheckpointArguments {
    /// Where to remember the audit log's newest checkpoints. Without it: in --dir, beside --out or
    /// --cache, or in $STATE_DIRECTORY
    #[arg(
        long,
        value_name = "FILE",
        env = "STRONGROOM_CHECKPOINTS",
        hide_env_values = true,
        hide_short_help = true
    )]
    pub checkpoints: Option<PathBuf>,
    /// The audit log's public key, if it shall not be taken from the server at the first time
    #[arg(
        long,
        value_name = "FILE",
        env = "STRONGROOM_AUDIT_KEY",
        hide_env_values = true,
        hide_short_help = true
    )]
    pub audit_key: Option<PathBuf>,
}

/// The file.
#[derive(Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct Remembered {
    version: u32,
    /// The line of the public key.
    audit_key: String,
    /// Signed notes, one for each log.
    checkpoints: Vec<String>,
}

/// What is remembered.
pub struct Memory {
    path: Option<PathBuf>,
    key: Option<VerifierKey>,
    notes: Vec<(Checkpoint, String)>,
    changed: bool,
}

/// What did not fit.
struct Conflict<'a> {
    remembered: &'a str,
    offered: &'a str,
    proof: Option<Vec<String>>,
    finding: String,
}

impl Memory {
    /// Reads what is remembered at `path`, which need not exist yet; without one, nothing will be.
    /// `pinned` is the file of a key that was given beforehand.
    ///
    /// # Errors
    /// A file cannot be read or is not what it should be, or the two keys differ.
    pub fn open(path: Option<&Path>, pinned: Option<&Path>) -> Result<Self, CliError> {
        let given = pinned.map(read_key).transpose()?;
        let mut memory = Self {
            path: path.map(Path::to_owned),
            key: given.clone(),
            notes: Vec::new(),
            changed: false,
        };
        let Some(path) = path else {
            return Ok(memory);
        };
        let Some(text) = read(path)? else {
            return Ok(memory);
        };
        let damaged = || {
            CliError::local(format!(
                "{} is not what this program wrote there; look into what happened, then delete it \
                 to begin anew",
                path.display()
            ))
        };
        let kept: Remembered = serde_json::from_str(&text).map_err(|_| damaged())?;
        let key: VerifierKey = kept.audit_key.parse().map_err(|_| damaged())?;
        if kept.version != 1 {
            return Err(damaged());
        }
        if given.is_some_and(|given| given != key) {
            return Err(CliError::local(format!(
                "the key of --audit-key is not the one that {} remembers",
                path.display()
            )));
        }
        for note in kept.checkpoints {
            let checkpoint =
                Checkpoint::open(&note, std::slice::from_ref(&key)).map_err(|_| damaged())?;
            memory.notes.push((checkpoint, note));
        }
        memory.key = Some(key);
        Ok(memory)
    }

    /// Checks the checkpoint that came with an answer (`header`, base64) against what is
    /// remembered, and remembers it. The file is not written yet.
    ///
    /// # Errors
    /// There is none, it is not signed by the log's key, or the log that it is of is not a
    /// continuation of the one that was seen before.
    pub async fn check(&mut self, header: Option<&str>, api: &Api) -> Result<(), CliError> {
        let refused = |why: &str| {
            CliError::local(format!(
                "the answer {why}, so that nobody could tell whether the audit log was changed \
                 afterwards; nothing was written"
            ))
        };
        let header = header.ok_or_else(|| refused("has no checkpoint of the audit log"))?;
        let note = STANDARD.decode(header).ok();
        let note = note.and_then(|bytes| String::from_utf8(bytes).ok());
        let note = note.ok_or_else(|| refused("has a checkpoint that is not one"))?;
        let key = match &self.key {
            Some(key) => key.clone(),
            None => {
                let text = api.get_text(&["audit", "key"], &[]).await?;
                let key = text.trim_end().parse::<VerifierKey>();
                key.map_err(|_| refused("comes from a server without a usable audit key"))?
            }
        };
        let new = Checkpoint::open(&note, std::slice::from_ref(&key)).map_err(|error| {
            refused(&format!(
                "has a checkpoint that cannot be used: it is {error}"
            ))
        })?;
        if key_name(&new.origin.deployment) != key.name() {
            return Err(refused("has a checkpoint of another deployment"));
        }
        let known = self
            .notes
            .iter()
            .position(|(old, _)| old.origin == new.origin);
        match known {
            None => {
                if !self.notes.is_empty() {
                    let origin = &new.origin;
                    eprintln!("note: {origin} is an audit log that was not seen here before");
                }
                self.notes.push((new, note));
            }
            Some(index) => {
                let (old, old_note) = &self.notes[index];
                if *old == new {
                    return Ok(());
                }
                if let Err((finding, proof)) = continues(old, &new, api).await? {
                    let conflict = Conflict {
                        remembered: old_note,
                        offered: &note,
                        proof,
                        finding,
                    };
                    return Err(self.refuse(&conflict, &new.origin, (old.size, new.size), api));
                }
                self.notes[index] = (new, note);
            }
        }
        self.key = Some(key);
        self.changed = true;
        Ok(())
    }

    /// Keeps what did not fit for the auditor, and says what it means.
    fn refuse(
        &self,
        conflict: &Conflict<'_>,
        origin: &Origin,
        (old, new): (u64, u64),
        api: &Api,
    ) -> CliError {
        let evidence = json!({
            "server": api.origin(),
            "finding": conflict.finding,
            "audit_key": self.key.as_ref().map(ToString::to_string),
            "remembered": conflict.remembered,
            "offered": conflict.offered,
            "proof": conflict.proof,
        });
        let both = [conflict.remembered, conflict.offered].concat();
        let name = hex::encode(&digest(&SHA256, both.as_bytes()).as_ref()[..4]);
        // What does not fit was remembered somewhere.
        let remembered = self.path.as_deref().unwrap_or(Path::new(CHECKPOINT_FILE));
        let mut path = remembered.as_os_str().to_owned();
        path.push(format!(".conflict-{name}.json"));
        let path = PathBuf::from(path);
        let kept = NewFile::create(&path, 0o600).and_then(|mut file| {
            let _ = writeln!(file, "{evidence:#}");
            file.finish()
        });
        let kept = match kept {
            Ok(()) => format!("Both checkpoints are in {}: give it to", path.display()),
            Err(error) => format!("They could not be kept ({error}). Tell"),
        };
        CliError::local(format!(
            "the audit log of this server is not the one that was seen before: {}\n  \
             {origin}: {old} records then, {new} now\n  \
             Somebody cut or changed it, shows different logs to different workers, or the service \
             was set back to an older state. Nothing was written, and what was there stays.\n  \
             {kept} the auditor. When it is explained, delete {} to accept the log as it is now.",
            printable(&conflict.finding),
            remembered.display()
        ))
    }

    /// Writes the file, if there is something new.
    ///
    /// # Errors
    /// The disk or directory did not take it.
    pub fn save(&mut self) -> Result<(), CliError> {
        let (Some(key), Some(path), true) = (&self.key, &self.path, self.changed) else {
            return Ok(());
        };
        let kept = Remembered {
            version: 1,
            audit_key: key.to_string(),
            checkpoints: self.notes.iter().map(|(_, note)| note.clone()).collect(),
        };
        let mut file = NewFile::create(path, 0o600)?;
        serde_json::to_writer_pretty(&mut file, &kept)
            .map_err(|error| CliError::local(format!("cannot write: {error}")))?;
        file.finish()?;
        self.changed = false;
        Ok(())
    }
}

/// The notes of one log in a file of [`Memory`] or of a conflict; nothing if it is another file.
pub fn notes_in(text: &str, is_wanted: impl Fn(&str) -> bool) -> Option<Vec<String>> {
    let file: serde_json::Value = serde_json::from_str(text).ok()?;
    let mut notes: Vec<&serde_json::Value> = Vec::new();
    notes.extend(file["checkpoints"].as_array().into_iter().flatten());
    notes.extend([&file["remembered"], &file["offered"]]);
    let notes = notes.into_iter().filter_map(serde_json::Value::as_str);
    let wanted = notes.filter(|note| note.lines().next().is_some_and(&is_wanted));
    Some(wanted.map(str::to_owned).collect())
}

type Unproven = (String, Option<Vec<String>>);

/// Whether `new` only continues `old`, by the server's proof. What the server says in place of a
/// proof is as good as none.
async fn continues(
    old: &Checkpoint,
    new: &Checkpoint,
    api: &Api,
) -> Result<Result<(), Unproven>, CliError> {
    let mut texts = None;
    let mut proof: Vec<Hash> = Vec::new();
    if 0 < old.size && old.size < new.size {
        let query = [
            ("log", Some(new.origin.to_string())),
            ("from", Some(old.size.to_string())),
            ("to", Some(new.size.to_string())),
        ];
        let answer = match api.get(&["audit", "consistency"], &query).await {
            Ok(answer) => answer,
            Err(CliError::Refused(problem)) if matches!(problem.status, 404 | 422) => {
                let said = "the server has no proof that the later log continues the earlier one";
                return Ok(Err((said.to_owned(), None)));
            }
            Err(error) => return Err(error),
        };
        let list = answer["proof"].as_array().cloned().unwrap_or_default();
        let list: Vec<String> = list
            .iter()
            .map(|hash| hash.as_str().unwrap_or_default().to_owned())
            .collect();
        let hashes = list
            .iter()
            .map(|hash| STANDARD.decode(hash).ok()?.try_into().ok());
        let hashes: Option<Vec<Hash>> = hashes.collect();
        texts = Some(list);
        match hashes {
            Some(hashes) => proof = hashes,
            None => return Ok(Err(("the proof is not one".to_owned(), texts))),
        }
    }
    let shown = verify_consistency(old.size, new.size, &old.root, &new.root, &proof);
    Ok(shown.map_err(|error| (error.to_string(), texts)))
}

fn read_key(path: &Path) -> Result<VerifierKey, CliError> {
    let text = read(path)?.unwrap_or_default();
    text.trim().parse().map_err(|_| {
        CliError::local(format!(
            "{} holds no public key of an audit log; `strongroom audit public-key` prints it",
            path.display()
        ))
    })
}

/// A small file of text; nothing if it is not there.
fn read(path: &Path) -> Result<Option<String>, CliError> {
    let fail = |why: &dyn std::fmt::Display| {
        CliError::local(format!("cannot read {}: {why}", path.display()))
    };
    let length = match std::fs::metadata(path) {
        Ok(metadata) => metadata.len(),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(fail(&error)),
    };
    if length > LARGEST {
        return Err(fail(&"it is larger than 1 MiB"));
    }
    std::fs::read_to_string(path)
        .map(Some)
        .map_err(|error| fail(&error))
}

#[cfg(test)]
mod tests;
