//! The release of one value. The order of security steps stands here, once, top to bottom:
//! load, decide, record durably, then decrypt, then answer.

use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::Serialize;
use subtle::ConstantTimeEq as _;

use super::caller::Caller;
use super::decrypt::SealedParts;
use super::error::VaultError;
use super::form::{Form, Output, form_of};
use super::memory::SealedCredential;
use super::recorder::{Intent, Item, Recorded, Recorder, Refusal};
use super::{MOST_TRIES, Vault};
use crate::audit::{Kind, Subject};
use crate::model::{
    CredentialId, CredentialKind, EnvironmentId, RoleId, RoleRef, Timestamp, VersionState,
};
use crate::policy::{self, Decision};
use crate::secret::Secret;
use crate::store::{ClientRow, CredentialRow, VersionRow};

/// The answer to a request for one value.
pub enum ReleaseAnswer {
    /// The value.
    Value {
        /// The JSON entry with the value in it, in the form that was asked for.
        body: Secret,
        /// The weak ETag of what was released.
        etag: String,
        /// To be told how sending it ended.
        delivery: Delivery,
    },
    /// The caller has it already; nothing was released.
    Unchanged {
        /// The weak ETag.
        etag: String,
    },
}

/// Tells the audit log how an answer ended. Dropped without [`Delivery::sent`], it was broken off.
pub struct Delivery {
    recorder: Recorder,
    recorded: Recorded,
    sent: bool,
}

impl Delivery {
    pub(super) fn new(recorder: Recorder, recorded: Recorded) -> Self {
        Self {
            recorder,
            recorded,
            sent: false,
        }
    }

    /// The whole answer was handed to the connection.
    pub fn sent(&mut self) {
        self.sent = true;
    }
}

impl Drop for Delivery {
    fn drop(&mut self) {
        self.recorder.outcome(&self.recorded, self.sent);
    }
}

impl Vault {
    /// Releases one credential to a workload: its active version, or a `previous` one by number.
    /// `credential` is `None` when what was asked for cannot be an id; that takes the same steps.
    ///
    /// # Errors
    /// [`VaultError::NoRecipient`] when the caller cannot have the answer in this form;
    /// [`VaultError::Frozen`] when nothing is released;
    /// [`VaultError::NotFound`] when it is not there or not the caller's, without a difference;
    /// [`VaultError::Unauthenticated`] when the caller is gone or its assertion was used before;
    /// [`VaultError::Unavailable`] when it cannot be recorded: then nothing was decrypted.
    pub async fn release(
        &self,
        caller: Caller,
        credential: Option<CredentialId>,
        number: Option<i64>,
        if_none_match: Option<&str>,
        form: Form,
    ) -> Result<ReleaseAnswer, VaultError> {
        let mut caller = caller;
        for _ in 0..MOST_TRIES {
            self.check_frozen(&caller, credential).await?;
            self.check_form(&caller, form).await?;
            // Load.
            let kept = match number {
                None => credential.and_then(|id| self.memory.credential(id)),
                Some(_) => None,
            };
            let what = match &kept {
                Some(sealed) => Some(sealed.access()),
                None => Box::pin(self.read_access(credential)).await?,
            };

            // Decide.
            let what = what
                .as_ref()
                .map(|(home, readers)| (*home, readers.as_slice()));
            let role = match policy::may_have_value(&caller.principal, what) {
                Decision::Release(role) => role,
                Decision::Deny(reason) => {
                    // What is in memory takes no read; what is not there takes one. Whoever may not
                    // have it must not be able to tell the two apart.
                    if kept.is_some() {
                        Box::pin(self.read_access(credential)).await?;
                    }
                    Box::pin(self.deny_release(&caller, credential, reason.as_str())).await?;
                    return Err(VaultError::NotFound);
                }
            };
            let sealed = match kept {
                Some(sealed) => Some(sealed),
                None => Box::pin(self.load(credential, number)).await?,
            };
            let Some(sealed) = sealed else {
                Box::pin(self.deny_release(&caller, credential, "not-there")).await?;
                return Err(VaultError::NotFound);
            };
            let (workload, _, roles) = caller.workload()?;
            let etag = self.etag_of_one(&caller, form, &sealed, number);
            if if_none_match.is_some_and(|header| matches_etag(header, &etag)) {
                self.spend(&caller).await?;
                self.recorder.unchanged(workload);
                return Ok(ReleaseAnswer::Unchanged { etag });
            }

            // Record durably.
            let intent = Intent {
                workload,
                key: caller.principal.key(),
                authority: caller.authority_id(),
                request: caller.request,
                items: vec![Item {
                    credential: sealed.credential.id,
                    version: sealed.version.id,
                    number: sealed.version.number,
                }],
                assertion: caller.assertion,
                generation: caller.generation,
            };
            let recorded = match self.recorder.intent(intent).await {
                Ok(recorded) => recorded,
                Err(Refusal::Moved) => {
                    caller = Box::pin(self.identify_again(&caller)).await?;
                    continue;
                }
                Err(Refusal::Replayed) => return Err(VaultError::Unauthenticated),
                Err(Refusal::Unavailable(what)) => return Err(VaultError::Unavailable(what)),
            };
            let delivery = Delivery::new(self.recorder.clone(), recorded);

            // Then decrypt.
            let parts = SealedParts {
                credential: &sealed.credential,
                version: &sealed.version,
                payload: &sealed.payload,
                wrap: sealed
                    .wraps
                    .iter()
                    .find(|wrap| wrap.0 == role)
                    .map(|wrap| (wrap.1, &wrap.2[..])),
                role,
            };
            let fields = self.open_value(&parts).await?;

            // Then answer.
            let role = roles.iter().find(|known| known.id == role);
            let role = role.ok_or(VaultError::Internal("role"))?;
            let environment = caller.environment_name()?;
            let body = self.entry(
                &sealed.credential,
                &sealed.client,
                &sealed.version,
                role,
                environment,
                &fields,
            );
            let body = Output::begin(&caller, form)?.end(body)?;
            return Ok(ReleaseAnswer::Value {
                body: Secret::new(body),
                etag,
                delivery,
            });
        }
        Err(VaultError::Unavailable("the policy keeps changing"))
    }

    /// Records that a workload was refused a value.
    async fn deny_release(
        &self,
        caller: &Caller,
        credential: Option<CredentialId>,
        reason: &'static str,
    ) -> Result<(), VaultError> {
        let subjects = credential.map(Subject::from).into_iter().collect();
        self.deny(caller, Kind::ReleaseDenied, subjects, reason)
            .await
    }

    /// Where a credential belongs and which roles may read it. The same reads are made whether it is
    /// there or not, and even when what was asked for cannot be an id.
    async fn read_access(
        &self,
        credential: Option<CredentialId>,
    ) -> Result<Option<(EnvironmentId, Vec<RoleId>)>, VaultError> {
        let id = credential.unwrap_or(CredentialId::from_bytes([0; 16]));
        let mut tx = self.db.read().await?;
        let row = tx.credential(id).await?;
        let readers = tx.credential_roles(id).await?;
        Ok(row.map(|row| (row.environment_id, readers)))
    }

    /// The sealed credential from the database, if it has a version that can be released.
    async fn load(
        &self,
        credential: Option<CredentialId>,
        number: Option<i64>,
    ) -> Result<Option<Arc<SealedCredential>>, VaultError> {
        let Some(id) = credential else {
            return Ok(None);
        };
        let generation = self.memory.generation();
        let mut tx = self.db.read().await?;
        let Some(credential) = tx.credential(id).await? else {
            return Ok(None);
        };
        let client = match self.memory.client(credential.client_id) {
            Some(client) => client,
            None => {
                let Some(client) = tx.client(credential.client_id).await? else {
                    return Ok(None);
                };
                let client = Arc::new(client);
                self.memory.keep_client(generation, &client);
                client
            }
        };
        let version = match number {
            None => tx.active_version(id).await?,
            Some(number) => tx.version(id, number).await?,
        };
        let Some(version) = version.filter(|version| version.state.is_releasable()) else {
            return Ok(None);
        };
        // A version that may be released has one. If it is gone, somebody else took it: nothing does
        // not open, which is an alarm.
        let payload = tx.payload(version.id).await?.unwrap_or_default();
        let readers = tx.credential_roles(id).await?;
        let wraps = tx.wraps(version.id).await?;
        let wraps = wraps
            .into_iter()
            .map(|wrap| (wrap.role_id, wrap.kek_id, wrap.wrapped))
            .collect();
        let sealed = Arc::new(SealedCredential {
            credential,
            client,
            readers,
            version,
            payload,
            wraps,
            complete: true,
        });
        if sealed.version.state == VersionState::Active {
            self.memory.keep_credential(generation, &sealed);
        }
        Ok(Some(sealed))
    }

    fn etag_of_one(
        &self,
        caller: &Caller,
        form: Form,
        sealed: &SealedCredential,
        number: Option<i64>,
    ) -> String {
        self.etag(
            caller,
            form,
            &["one", &sealed.credential.id.to_string(), &text_of(number)],
            &[&sealed.version.id.to_bytes()],
        )
    }

    /// A weak ETag: a MAC over principal, form, filters and the ids of what is released, never over
    /// values (RFC 9110, 8.8.1).
    pub(super) fn etag(
        &self,
        caller: &Caller,
        form: Form,
        filters: &[&str],
        versions: &[&[u8]],
    ) -> String {
        let principal = caller.principal.id().to_string();
        let mut fields = vec![principal.as_bytes(), form_of(caller, form).as_bytes()];
        let count = (filters.len() as u64).to_be_bytes();
        fields.push(&count);
        fields.extend(filters.iter().map(|filter| filter.as_bytes()));
        fields.extend(versions);
        let mac = self.etag_mac.tag("release", &fields);
        format!("W/\"{}\"", URL_SAFE_NO_PAD.encode(&mac[..16]))
    }

    /// One entry of a release: what is known of the credential, and its fields as they were sealed.
    pub(super) fn entry(
        &self,
        credential: &CredentialRow,
        client: &ClientRow,
        version: &VersionRow,
        role: &RoleRef,
        environment: &str,
        fields: &Secret,
    ) -> Secret {
        let mut flags = Vec::new();
        if version
            .expires_at
            .is_some_and(|expires_at| expires_at <= self.clock.now())
        {
            flags.push("expired");
        }
        if version.compromised_at.is_some() {
            flags.push("compromised");
        }
        let head = EntryHead {
            id: credential.id,
            client: EntryClient {
                id: client.id,
                name: client.name.as_str(),
                slug: client.slug.as_str(),
            },
            label: credential.label.as_str(),
            kind: credential.kind,
            environment,
            role: role.name.as_str(),
            version: version.number,
            state: version.state,
            expires_at: version.expires_at,
            flags,
        };
        // Long enough for the head, so that the value is written once and never moved.
        let mut body = Vec::with_capacity(fields.len() + 1536);
        // Writing to memory cannot fail.
        let _ = serde_json::to_writer(&mut body, &head);
        body.pop();
        body.extend_from_slice(b",\"fields\":");
        body.extend_from_slice(fields.expose_secret());
        body.push(b'}');
        Secret::new(body)
    }
}

#[derive(Serialize)]
struct EntryHead<'a> {
    id: CredentialId,
    client: EntryClient<'a>,
    label: &'a str,
    kind: CredentialKind,
    environment: &'a str,
    role: &'a str,
    version: i64,
    state: VersionState,
    expires_at: Option<Timestamp>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    flags: Vec<&'static str>,
}

#[derive(Serialize)]
struct EntryClient<'a> {
    id: crate::model::ClientId,
    name: &'a str,
    slug: &'a str,
}

pub(super) fn text_of(number: Option<i64>) -> String {
    number.map(|number| number.to_string()).unwrap_or_default()
}

/// Whether `If-None-Match` names this ETag, by weak comparison, or names whatever there is with `*`
/// (RFC 9110, 13.1.2). In constant time: the tag is a MAC.
pub(super) fn matches_etag(header: &str, etag: &str) -> bool {
    fn opaque(tag: &str) -> &[u8] {
        let tag = tag.trim();
        tag.strip_prefix("W/").unwrap_or(tag).as_bytes()
    }
    header.trim() == "*"
        || header
            .split(',')
            .any(|tag| bool::from(opaque(tag).ct_eq(opaque(etag))))
}

#[cfg(test)]
mod tests {
    use super::matches_etag;

    #[test]
    fn any_of_the_tags_or_a_star_matches() {
        let etag = "W/\"abc\"";
        for header in [
            "W/\"abc\"",
            "\"abc\"",
            "\"x\", W/\"abc\"",
            "W/\"abc\",\"y\"",
            "*",
            " * ",
        ] {
            assert!(matches_etag(header, etag), "{header}");
        }
        for header in [
            "",
            "abc",
            "W/abc",
            "\"ABC\"",
            "\"*\"",
            "*,*",
            "W/W/\"abc\"",
            "\"abc\"x",
        ] {
            assert!(!matches_etag(header, etag), "{header}");
        }
    }
}
