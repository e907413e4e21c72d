//! Who waits for a batch, and what they are told.

use std::collections::BTreeMap;

use tokio::sync::oneshot;

use super::{AnyChange, Author, ChangeReply, Draft, Intent, Job, Presented, Recorded, Refusal};
use crate::audit::Kind;
use crate::model::PrincipalId;

/// An answer, and who waits for it.
pub(super) type Due<T> = (oneshot::Sender<T>, T);

/// What a batch will answer once it is durable.
#[derive(Default)]
pub(super) struct Answers {
    pub intents: Vec<Due<Result<Recorded, Refusal>>>,
    pub notes: Vec<Due<Result<(), Refusal>>>,
    pub changes: Vec<Due<ChangeReply>>,
    /// Refusals that were counted instead of recorded.
    pub counted: BTreeMap<(PrincipalId, Kind), i64>,
}

/// A job's parts that a failure has to answer.
pub(super) struct WaitingNote {
    pub drafts: Vec<Draft>,
    pub assertion: Option<Presented>,
    pub generation: Option<i64>,
    pub reply: oneshot::Sender<Result<(), Refusal>>,
}

#[derive(Default)]
pub(super) struct Waiting {
    pub intents: Vec<(Intent, oneshot::Sender<Result<Recorded, Refusal>>)>,
    pub notes: Vec<WaitingNote>,
    pub changes: Vec<(AnyChange, Option<Author>, oneshot::Sender<ChangeReply>)>,
}

impl Waiting {
    pub(super) fn sort(jobs: Vec<Job>) -> Self {
        let mut waiting = Self::default();
        for job in jobs {
            match job {
                Job::Intent(intent, reply) => waiting.intents.push((intent, reply)),
                Job::Note {
                    drafts,
                    assertion,
                    generation,
                    reply,
                } => {
                    waiting.notes.push(WaitingNote {
                        drafts,
                        assertion,
                        generation,
                        reply,
                    });
                }
                Job::Change { run, author, reply } => {
                    waiting.changes.push((run, author, reply));
                }
            }
        }
        waiting
    }

    /// Tells those that were not reached. The others' senders were dropped with the answers, which
    /// their receivers take for "not available" as well.
    pub(super) fn fail(self, why: &'static str) {
        for (_, reply) in self.intents {
            let _ = reply.send(Err(Refusal::Unavailable(why)));
        }
        for note in self.notes {
            let _ = note.reply.send(Err(Refusal::Unavailable(why)));
        }
        for (_, _, reply) in self.changes {
            let _ = reply.send(ChangeReply::Unavailable(why));
        }
    }
}

impl Answers {
    pub(super) fn send(self) {
        for (reply, answer) in self.intents {
            let _ = reply.send(answer);
        }
        for (reply, answer) in self.notes {
            let _ = reply.send(answer);
        }
        for (reply, answer) in self.changes {
            let _ = reply.send(answer);
        }
    }
}
