//! The release of everything that a workload may have, streamed in the order of credential ids.
//!
//! The same order of steps as for one value: what will be released is found and decided first, every
//! intent is durable before the first byte, and only then is anything opened, a page at a time.

mod page;

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use futures_util::Stream;

use super::caller::Caller;
use super::error::VaultError;
use super::form::{Form, Output};
use super::recorder::{Intent, Item, Refusal};
use super::release::{Delivery, matches_etag, text_of};
use super::{MOST_TRIES, Vault};
use crate::model::{ClientId, CredentialId, CredentialKind, EnvironmentId, RoleId};
use crate::secret::Secret;
use crate::store::BundleEntry;

/// Which of the caller's credentials; absent means all.
#[derive(Clone, Debug, Default)]
pub struct BundleFilter {
    /// Of this client.
    pub client: Option<ClientId>,
    /// Of this kind.
    pub kind: Option<CredentialKind>,
    /// This one alone.
    pub credential: Option<CredentialId>,
}

/// The answer to a request for a bundle.
pub enum BundleAnswer {
    /// The values.
    Values(Box<Bundle>),
    /// The caller has them already; nothing was released.
    Unchanged {
        /// The weak ETag.
        etag: String,
    },
}

/// A bundle whose intents are durable.
pub struct Bundle {
    vault: Arc<Vault>,
    caller: Caller,
    entries: Vec<(BundleEntry, RoleId)>,
    delivery: Delivery,
    form: Form,
    /// The weak ETag.
    pub etag: String,
}

/// How many credentials of a list are read at once. A row of the driver's takes kilobytes.
const LIST_PAGE: i64 = 250;

/// How many credentials are read, opened and sent at once.
const PAGE: usize = 128;

/// How many pages are opened, each on a thread of its own, while one is sent.
const PAGES_AHEAD: usize = 3;

impl Vault {
    /// Releases every active credential of the caller's roles and environment.
    ///
    /// # Errors
    /// As for a single release; a workload without credentials gets an empty bundle.
    pub async fn release_bundle(
        self: &Arc<Self>,
        caller: Caller,
        filter: &BundleFilter,
        if_none_match: Option<&str>,
        form: Form,
    ) -> Result<BundleAnswer, VaultError> {
        let mut caller = caller;
        for _ in 0..MOST_TRIES {
            let (workload, environment, roles) = match caller.workload() {
                Ok(workload) => workload,
                Err(error) => {
                    let kind = crate::audit::Kind::ReleaseDenied;
                    self.deny(&caller, kind, Vec::new(), "not-a-workload")
                        .await?;
                    return Err(error);
                }
            };
            self.check_frozen(&caller, None).await?;
            self.check_form(&caller, form).await?;
            // Load and decide: the first of the caller's roles, by name, that may read it.
            let mut entries: Vec<(BundleEntry, RoleId)> = Vec::new();
            if let [role] = roles {
                let list = self.list(environment, role.id).await?;
                let wanted = list.iter().filter(|entry| filter.matches(entry));
                entries.extend(wanted.map(|entry| (*entry, role.id)));
            } else {
                let mut found: BTreeMap<CredentialId, (BundleEntry, RoleId)> = BTreeMap::new();
                for role in roles {
                    let list = self.list(environment, role.id).await?;
                    for entry in list.iter().filter(|entry| filter.matches(entry)) {
                        found.entry(entry.credential).or_insert((*entry, role.id));
                    }
                }
                entries.extend(found.into_values());
            }

            let etag = self.etag_of_bundle(&caller, form, filter, &entries);
            if if_none_match.is_some_and(|header| matches_etag(header, &etag)) {
                self.spend(&caller).await?;
                self.recorder.unchanged(workload);
                return Ok(BundleAnswer::Unchanged { etag });
            }

            // Record durably.
            let items = entries.iter().map(|(entry, _)| Item {
                credential: entry.credential,
                version: entry.version,
                number: entry.number,
            });
            let intent = Intent {
                workload,
                key: caller.principal.key(),
                authority: caller.authority_id(),
                request: caller.request,
                items: items.collect(),
                assertion: caller.assertion,
                generation: caller.generation,
            };
            let recorded = match self.recorder.intent(intent).await {
                Ok(recorded) => recorded,
                Err(Refusal::Moved) => {
                    caller = self.identify_again(&caller).await?;
                    continue;
                }
                Err(Refusal::Replayed) => return Err(VaultError::Unauthenticated),
                Err(Refusal::Unavailable(what)) => return Err(VaultError::Unavailable(what)),
            };
            let delivery = Delivery::new(self.recorder.clone(), recorded);
            let vault = Arc::clone(self);
            return Ok(BundleAnswer::Values(Box::new(Bundle {
                vault,
                caller,
                entries,
                delivery,
                form,
                etag,
            })));
        }
        Err(VaultError::Unavailable("the policy keeps changing"))
    }

    /// What a role may get in an environment: remembered, or read a page at a time.
    async fn list(
        &self,
        environment: EnvironmentId,
        role: RoleId,
    ) -> Result<Arc<[BundleEntry]>, VaultError> {
        self.confirm_memory().await?;
        if let Some(list) = self.memory.list(environment, role) {
            return Ok(list);
        }
        let generation = self.memory.generation();
        let mut entries: Vec<BundleEntry> = Vec::new();
        let mut after = String::new();
        let mut tx = self.db.read().await?;
        loop {
            let page = tx
                .bundle_entries(environment, role, &after, LIST_PAGE)
                .await?;
            entries.extend(page.items);
            match page.next {
                Some(next) => after = next,
                None => break,
            }
        }
        let list: Arc<[BundleEntry]> = entries.into();
        self.memory.keep_list(generation, environment, role, &list);
        Ok(list)
    }

    fn etag_of_bundle(
        &self,
        caller: &Caller,
        form: Form,
        filter: &BundleFilter,
        entries: &[(BundleEntry, RoleId)],
    ) -> String {
        let client = filter.client.map(|id| id.to_string()).unwrap_or_default();
        let kind = filter.kind.map(|kind| kind.to_string()).unwrap_or_default();
        let credential = filter
            .credential
            .map(|id| id.to_string())
            .unwrap_or_default();
        let ids: Vec<[u8; 16]> = entries
            .iter()
            .map(|(entry, _)| entry.version.to_bytes())
            .collect();
        let ids: Vec<&[u8]> = ids.iter().map(<[u8; 16]>::as_slice).collect();
        self.etag(
            caller,
            form,
            &["bundle", &client, &kind, &credential, &text_of(None)],
            &ids,
        )
    }
}

impl BundleFilter {
    fn matches(&self, entry: &BundleEntry) -> bool {
        self.client.is_none_or(|client| client == entry.client)
            && self.kind.is_none_or(|kind| kind == entry.kind)
            && self
                .credential
                .is_none_or(|credential| credential == entry.credential)
    }
}

impl Bundle {
    /// The document in pieces, in the form that was asked for. An error in the middle means that the
    /// connection has to be cut: the document must never look complete when it is not. Encrypted, it
    /// does not decrypt without its end either.
    pub fn into_stream(self) -> impl Stream<Item = Result<Vec<u8>, VaultError>> + Send {
        async_stream::try_stream! {
            let Self { vault, mut caller, entries, mut delivery, form, .. } = self;
            let decided_at = caller.generation;
            let mut output = Output::begin(&caller, form)?;
            let recipient = caller.age_recipient().map(str::to_owned);
            let mut failed: Vec<CredentialId> = Vec::new();
            let mut first = true;
            yield output.piece(Secret::new(b"{\"credentials\":[".to_vec()))?;
            let pages: Vec<_> = entries.chunks(PAGE).collect();
            let mut sent = 0;
            let mut opening = VecDeque::with_capacity(PAGES_AHEAD);
            loop {
                // Whoever lost access in the middle gets no more.
                if vault.memory.generation() != caller.generation {
                    caller = vault.identify_again(&caller).await?;
                    // Nor does a recipient that was taken away.
                    if form == Form::Age && caller.age_recipient() != recipient.as_deref() {
                        Err(VaultError::Unavailable("changed while it was released"))?;
                    }
                    // What was opened for the caller as it was is not sent to what it is now.
                    opening.clear();
                }
                if opening.len() < PAGES_AHEAD
                    && let Some(page) = pages.get(sent + opening.len())
                {
                    opening.push_back(vault.open_page(&caller, page, decided_at).await?);
                    continue;
                }
                let Some(page) = opening.pop_front() else {
                    break;
                };
                let opened = page.opened().await?;
                sent += 1;
                let mut piece = opened.entries;
                failed.extend(opened.failed);
                if !piece.is_empty() && !std::mem::take(&mut first) {
                    piece.insert(0, b',');
                }
                let piece = output.piece(Secret::new(piece))?;
                if !piece.is_empty() {
                    yield piece;
                }
            }
            let mut end = b"],\"failed\":".to_vec();
            // Ids in memory always serialise.
            end.extend(serde_json::to_vec(&failed).unwrap_or_else(|_| b"[]".to_vec()));
            end.push(b'}');
            let end = output.end(Secret::new(end))?;
            delivery.sent();
            yield end;
        }
    }
}
