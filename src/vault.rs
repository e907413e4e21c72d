//! What the service does: one file per verb, the same code for HTTP, the command line and jobs.
//!
//! Every operation takes a [`Caller`] and checks its permission first; every change runs in the
//! writer's transaction together with its audit record (`vault/recorder.rs`); every release follows
//! the order that stands once, top to bottom, in `vault/release.rs`.

mod audit_log;
mod authorities;
mod authority_uses;
mod backup;
mod beginning;
mod bundle;
mod caller;
mod clients;
mod consistency;
mod correspondence;
mod credentials;
mod daily;
mod decrypt;
mod deployment;
mod enrolment;
mod erase;
mod error;
mod form;
mod forward;
mod holder;
mod holds;
mod identifiers;
mod initialise;
mod inspect;
mod intake;
mod invites;
mod issue;
mod keys;
mod link;
mod mails;
mod memory;
mod names;
mod new_version;
mod open;
mod operators;
mod outbox;
mod own_authority;
mod own_list;
mod principal_keys;
mod recipients;
mod recorder;
mod recover;
mod release;
mod renewal;
mod revocation_lists;
mod revoked_since;
mod roll;
mod scrub;
mod server_certificate;
mod submissions;
mod tasks;
#[cfg(test)]
pub(crate) mod testing;
#[cfg(test)]
mod tests;
mod trust;
mod verification_view;
mod verified;
mod verify;
mod versions;
mod watch;
mod workloads;

pub use audit_log::*;
pub use authorities::*;
pub use backup::*;
pub use bundle::{Bundle, BundleAnswer, BundleFilter};
pub use caller::{Caller, KeyName, ResolvedKey, Vouched};
pub use clients::*;
pub use consistency::Consistency;
pub use correspondence::Correspondence;
pub use credentials::*;
pub use daily::DailyChecks;
pub use deployment::*;
pub use enrolment::*;
use erase::erase_again;
pub use erase::{
    BackupBefore, Erase, ErasedCredential, ErasedKek, ErasedVersion, Erasure, ErasureCertificate,
};
pub use error::{FieldError, VaultError};
pub use form::Form;
pub use forward::Colleague;
pub use holds::*;
pub use initialise::*;
pub use inspect::*;
pub use intake::*;
pub use invites::*;
pub use keys::*;
pub use link::*;
pub use mails::{MailJob, MailView, NewTestMail};
pub use memory::Authorities;
pub use names::*;
pub use open::*;
pub use operators::*;
pub use principal_keys::*;
pub use recipients::*;
pub use recorder::LeaseError;
pub use release::{Delivery, ReleaseAnswer};
pub use renewal::Renew;
pub use revocation_lists::{NewRevocationList, RevocationListView};
pub use roll::AuthorityRoll;
pub use server_certificate::ServerCertificate;
pub use submissions::*;
pub use tasks::*;
pub use verification_view::*;
pub use verify::*;
pub use versions::*;
pub use workloads::*;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU8, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use futures_util::future::BoxFuture;

use crate::audit::{Detail, Kind, StatementSigner, Subject, VerifierKey};
use crate::clock::Clock;
use crate::crypto::{IntakeKey, Keyring, MacKey};
use crate::model::{Permission, Timestamp};
use crate::random::Random;
use crate::store::{Database, Tx};
use memory::Memory;
use recorder::{Author, ChangeReply, Changed, Draft, Presented, Recorder, Refusal};

/// How often a decision is taken again because the policy moved under it, before giving up.
const MOST_TRIES: usize = 8;

/// An open deployment.
pub struct Vault {
    db: Database,
    keyring: Arc<Keyring>,
    etag_mac: MacKey,
    fingerprint_mac: MacKey,
    /// The key pair to which clients seal what they hand in.
    intake_key: IntakeKey,
    identifiers: identifiers::Identifiers,
    outbox: Arc<outbox::Outbox>,
    memory: Arc<Memory>,
    recorder: Recorder,
    clock: Arc<dyn Clock>,
    random: Arc<dyn Random>,
    deployment: String,
    node: String,
    /// Where clients reach the API, if that is configured.
    url: Option<String>,
    /// When authorities were last used here.
    uses: authority_uses::AuthorityUses,
    /// Revocation lists of the own authorities that were served last.
    own_lists: own_list::ServedLists,
    /// How the revocation lists of foreign authorities are.
    lists: revocation_lists::ListsWatch,
    audit_key: VerifierKey,
    statements: Arc<StatementSigner>,
    /// Where root key files and the newest checkpoint lie, if anywhere.
    data: Option<PathBuf>,
    backups: BackupSettings,
    /// Held while a backup is taken: one at a time.
    backing_up: Arc<tokio::sync::Mutex<()>>,
    lifetimes: CertificateLifetimes,
    /// What the background watch of the database found last.
    reachable: AtomicBool,
    /// How far this node's clock is from the shared one, in microseconds.
    skew: AtomicI64,
    /// Held by whoever asks the database whether what is remembered still holds.
    confirming: tokio::sync::Mutex<()>,
    /// How often the database's files are still to be scrubbed.
    scrubs_due: AtomicU8,
    /// Told when a verification may be due.
    work: tokio::sync::Notify,
    on_fatal: OnFatal,
    stopping: tokio::sync::watch::Sender<bool>,
}

/// How far a node's clock may be from the shared one before it is not ready.
const MOST_SKEW_MICROS: i64 = 5_000_000;

/// One thing that has to work for the node to be ready.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Part {
    /// Its name.
    pub name: &'static str,
    /// Whether it works.
    pub ready: bool,
    /// What to look at when it does not, or when it works and yet needs somebody.
    pub detail: &'static str,
}

impl Part {
    fn saying(self, detail: &'static str) -> Self {
        Self { detail, ..self }
    }
}

impl Vault {
    /// This deployment's id: the audience of assertions and the trust domain of its own authority.
    pub fn deployment(&self) -> &str {
        &self.deployment
    }

    /// This node's name.
    pub fn node(&self) -> &str {
        &self.node
    }

    /// The public key that checks audit checkpoints.
    pub fn audit_key(&self) -> &VerifierKey {
        &self.audit_key
    }

    /// What links for clients begin with; empty when nobody said so.
    pub fn pages_url(&self) -> &str {
        self.outbox.reach().pages_url.as_deref().unwrap_or_default()
    }

    /// The clock that the vault goes by.
    pub fn clock(&self) -> &Arc<dyn Clock> {
        &self.clock
    }

    /// The source of randomness that the vault uses.
    pub fn random(&self) -> &Arc<dyn Random> {
        &self.random
    }

    /// The newest checkpoint, in base64, as every release carries it.
    pub fn checkpoint(&self) -> Arc<String> {
        self.recorder.shared.checkpoint.load_full()
    }

    /// What is ready and what is not.
    pub fn readiness(&self) -> Vec<Part> {
        let part = |name, ready, detail| Part {
            name,
            ready,
            detail: if ready { "ok" } else { detail },
        };
        vec![
            part(
                "database",
                self.reachable.load(Ordering::Acquire),
                "the database does not answer",
            ),
            part(
                "audit",
                self.recorder.shared.writable.load(Ordering::Acquire),
                "the last audit records could not be written, so nothing is released",
            ),
            part(
                "clock",
                self.skew.load(Ordering::Acquire).abs() <= MOST_SKEW_MICROS,
                "this node's clock is more than 5 seconds from the database's",
            ),
            // The node itself works; others than those of one authority are not concerned.
            part("revocation-lists", true, "").saying(self.revocation_lists_detail()),
        ]
    }

    /// Stops background work, writes what is left of the audit log and signs it.
    pub async fn close(&self) {
        let _ = self.stopping.send(true);
        self.recorder.stop().await;
        self.db.close().await;
    }

    /// Spends the assertion of a request before anything else is done for it, and returns its
    /// caller without one. A release does without this: it spends the assertion together with its
    /// own record.
    ///
    /// # Errors
    /// The assertion was used before, or that cannot be known now.
    pub async fn acknowledge(&self, mut caller: Caller) -> Result<Caller, VaultError> {
        self.spend(&caller).await?;
        caller.assertion = None;
        Ok(caller)
    }

    /// Spends the assertion of a request that records nothing, before anything is answered.
    async fn spend(&self, caller: &Caller) -> Result<(), VaultError> {
        if caller.assertion.is_none() {
            return Ok(());
        }
        let outcome = self.recorder.note(Vec::new(), caller.presented(), None);
        settle(outcome.await)
    }

    /// Records that a known principal was refused something, and spends its assertion.
    async fn deny(
        &self,
        caller: &Caller,
        kind: Kind,
        subjects: Vec<Subject>,
        reason: &'static str,
    ) -> Result<(), VaultError> {
        let mut draft = caller.draft(kind);
        draft.subjects = subjects;
        draft.detail = BTreeMap::from([("reason", Detail::Word(reason))]);
        metrics::counter!("strongroom_denials_total", "kind" => kind.as_str()).increment(1);
        settle(
            self.recorder
                .note(vec![draft], caller.presented(), None)
                .await,
        )
    }

    /// Runs a change if the caller has the permission: the change, its audit records and the new
    /// policy generation are one commit. The caller is looked up again when the policy moved since.
    async fn change<T, F>(
        &self,
        caller: &Caller,
        permission: Permission,
        change: F,
    ) -> Result<T, VaultError>
    where
        T: Send + 'static,
        F: for<'a> FnOnce(&'a mut Tx) -> BoxFuture<'a, Result<Changed<T>, VaultError>>
            + Send
            + 'static,
    {
        self.authorise(caller, permission).await?;
        self.change_if(caller, change, |caller| {
            match crate::policy::may_operate(&caller.principal, permission) {
                true => Ok(()),
                false => Err(VaultError::Forbidden(permission)),
            }
        })
        .await
    }

    /// Runs a change that nobody asked for over the API: the service itself, or whoever can open the
    /// root key.
    async fn change_by_itself<T, F>(&self, change: F) -> Result<T, VaultError>
    where
        T: Send + 'static,
        F: for<'a> FnOnce(&'a mut Tx) -> BoxFuture<'a, Result<Changed<T>, VaultError>>
            + Send
            + 'static,
    {
        let (run, left) = leaving(change);
        match self.recorder.change(run, None).await {
            ChangeReply::Done => left.take(),
            ChangeReply::Refused(error) => Err(error),
            ChangeReply::Moved(_) => Err(VaultError::Unavailable("the policy keeps changing")),
            ChangeReply::Unavailable(what) => Err(VaultError::Unavailable(what)),
        }
    }

    /// Runs a change that a workload makes about itself.
    async fn change_by_workload<T, F>(&self, caller: &Caller, change: F) -> Result<T, VaultError>
    where
        T: Send + 'static,
        F: for<'a> FnOnce(&'a mut Tx) -> BoxFuture<'a, Result<Changed<T>, VaultError>>
            + Send
            + 'static,
    {
        self.spend(caller).await?;
        self.change_if(caller, change, |_| Ok(())).await
    }

    async fn change_if<T, F>(
        &self,
        caller: &Caller,
        change: F,
        still_may: impl Fn(&Caller) -> Result<(), VaultError>,
    ) -> Result<T, VaultError>
    where
        T: Send + 'static,
        F: for<'a> FnOnce(&'a mut Tx) -> BoxFuture<'a, Result<Changed<T>, VaultError>>
            + Send
            + 'static,
    {
        let (mut run, left) = leaving(change);
        let mut caller = caller.clone();
        for _ in 0..MOST_TRIES {
            let author = Author {
                principal: caller.principal.id(),
                key: caller.principal.key(),
                authority: caller.authority_id(),
                generation: caller.generation,
            };
            match self.recorder.change(run, Some(author)).await {
                ChangeReply::Done => return left.take(),
                ChangeReply::Refused(error) => return Err(error),
                ChangeReply::Unavailable(what) => return Err(VaultError::Unavailable(what)),
                ChangeReply::Moved(back) => {
                    run = back;
                    caller = self.identify_again(&caller).await?;
                    still_may(&caller)?;
                }
            }
        }
        Err(VaultError::Unavailable("the policy keeps changing"))
    }
}

/// Where a change, which the writer runs, leaves its result.
struct Left<T>(Arc<Mutex<Option<T>>>);

impl<T> Left<T> {
    fn take(&self) -> Result<T, VaultError> {
        let mut value = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        value
            .take()
            .ok_or(VaultError::Internal("a change left no result"))
    }
}

/// A change as the writer runs it, and where it leaves its result.
fn leaving<T, F>(change: F) -> (recorder::AnyChange, Left<T>)
where
    T: Send + 'static,
    F: for<'a> FnOnce(&'a mut Tx) -> BoxFuture<'a, Result<Changed<T>, VaultError>> + Send + 'static,
{
    let left = Left(Arc::new(Mutex::new(None)));
    let slot = Arc::clone(&left.0);
    let run: recorder::AnyChange = Box::new(move |tx| {
        Box::pin(async move {
            let Changed {
                value,
                records,
                subjects,
            } = change(tx).await?;
            *slot.lock().unwrap_or_else(PoisonError::into_inner) = Some(value);
            Ok(Changed {
                value: (),
                records,
                subjects,
            })
        })
    });
    (run, left)
}

impl Caller {
    /// The assertion that this request spends.
    fn presented(&self) -> Option<Presented> {
        self.assertion.map(|assertion| Presented {
            assertion,
            replayed: self.draft(Kind::AssertionReplayed),
        })
    }

    /// A record of something that this caller did.
    fn draft(&self, kind: Kind) -> Draft {
        Draft {
            request: Some(self.request),
            actor: Some(self.principal.id()),
            key: Some(self.principal.key()),
            ..Draft::of(kind)
        }
    }
}

impl Draft {
    /// The same record about something.
    fn about(mut self, subjects: impl IntoIterator<Item = Subject>) -> Self {
        self.subjects = subjects.into_iter().collect();
        self
    }

    /// The same record with one more detail.
    fn with(mut self, name: &'static str, detail: Detail) -> Self {
        self.detail.insert(name, detail);
        self
    }
}

fn settle<T>(outcome: Result<T, Refusal>) -> Result<T, VaultError> {
    outcome.map_err(|refusal| match refusal {
        Refusal::Replayed => VaultError::Unauthenticated,
        Refusal::Moved => VaultError::Unavailable("the policy keeps changing"),
        Refusal::Unavailable(what) => VaultError::Unavailable(what),
    })
}

/// Refuses a change whose caller knew another revision.
fn same_revision(actual: i64, expected: i64) -> Result<(), VaultError> {
    if actual == expected {
        Ok(())
    } else {
        Err(VaultError::Changed)
    }
}

/// From when on a spent assertion needs not be remembered: ten minutes after its end.
pub fn forget_assertion_at(expires_at: Timestamp) -> Timestamp {
    expires_at.plus_secs(600)
}
