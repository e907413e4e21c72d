//! Who can open the root key: recovery identities come and go while the root key stays.
//!
//! Only with the service stopped, on the machine: whoever could do it through the API with a stolen
//! operator's key would need nothing but an old backup to have every value.
//!
//! Order: the file is written, made durable, read back and opened; then one transaction changes the
//! row, the list and the log. The row is what counts. A crash in between leaves a file that differs
//! from it, which the next start replaces, and so does the start of every other node.

use std::path::Path;
use std::sync::Arc;

use ring::digest::{SHA256, digest};
use serde::Serialize;

use super::recorder::{Changed, Draft};
use super::{Vault, VaultError};
use crate::audit::{Detail, Kind};
use crate::crypto::{
    ExpectedRoot, Identity, Plugins, Recipient, RootError, RootFileForm, RootKey, open_root_file,
    read_root_file, replace_root_file,
};
use crate::model::Timestamp;
use crate::store::{RootKeyRow, RootRecipientRow, StoreError};

/// One that can open the root key.
#[derive(Clone, Debug, Serialize)]
pub struct RootRecipientView {
    /// The recipient, which is public.
    pub recipient: String,
    /// Whether the identity of this machine belongs to it.
    pub this_machine: bool,
    /// Since when.
    pub added_at: Timestamp,
}

/// What is to change.
pub enum RecipientChange {
    /// Somebody else can open the root key as well.
    Add(Recipient),
    /// Somebody can no longer open what is encrypted from now on.
    Remove {
        /// The recipient's text.
        recipient: String,
        /// Also if this machine can then not open the root key any more.
        lock_out: bool,
    },
}

/// With what a change is made.
pub struct RecipientTools<'a> {
    /// What opens the root key on this machine.
    pub identities: &'a [Identity],
    /// The plugins that recipients may need.
    pub plugins: &'a Plugins,
    /// Where root key files lie.
    pub keys: &'a Path,
}

/// Why the recipients were not changed.
#[derive(Debug, thiserror::Error)]
pub enum RecipientsError {
    /// It is one already.
    #[error("this recipient can open the root key already")]
    There,
    /// It is none.
    #[error("this is no recipient of the root key; `keys recipient list` shows them")]
    NotThere,
    /// Nobody would be left.
    #[error(
        "this is the last recipient: without it nobody could open the root key. Add another first"
    )]
    Last,
    /// The machine itself would be locked out.
    #[error(
        "this machine's own identity belongs to it: the service could not start here any more. Give \
         the machine another identity first, or say --force 'lock this machine out'"
    )]
    LocksOut,
    /// The list is not what the root key is encrypted to.
    #[error(
        "the list of recipients in the database does not fit the root key: it was altered. Restore \
         the database, or encrypt anew from a backup that is sound"
    )]
    Altered,
    /// A passphrase alone, with other nodes that have nothing else.
    #[error(
        "the root key is held with a passphrase alone, and a passphrase cannot stand beside \
         recipients: other nodes of this database could not open it any more"
    )]
    PassphraseShared,
    /// The root key could not be encrypted, opened or kept.
    #[error(transparent)]
    Root(#[from] RootError),
    /// A recipient on the list needs what is not there.
    #[error("a recipient on the list cannot be used: {0}")]
    Recipient(#[from] crate::crypto::RecipientError),
    /// The vault said no.
    #[error(transparent)]
    Vault(#[from] VaultError),
}

impl From<StoreError> for RecipientsError {
    fn from(error: StoreError) -> Self {
        Self::Vault(error.into())
    }
}

/// How many X25519 recipients an age file has: the one scheme whose stanzas can be counted, because
/// a plugin may write any number.
fn x25519_stanzas(file: &[u8]) -> usize {
    let mark = b"\n-> X25519 ";
    file.windows(mark.len()).filter(|at| at == mark).count()
}

/// Whether an age file is for a passphrase.
pub(super) fn is_for_passphrase(file: &[u8]) -> bool {
    let mark = b"\n-> scrypt ";
    file.windows(mark.len()).any(|at| at == mark)
}

fn sha256(text: &str) -> Detail {
    let mut sha256 = [0; 32];
    sha256.copy_from_slice(digest(&SHA256, text.as_bytes()).as_ref());
    Detail::Digest(sha256)
}

/// The record of a recipient that came or went.
pub(super) fn recipient_record(kind: Kind, generation: i64, recipient: &str) -> Draft {
    Draft::of(kind)
        .with("generation", Detail::Number(generation))
        .with("recipient", sha256(recipient))
}

/// Whether the list of recipients is what the root key is encrypted to, as far as that can be seen.
pub(super) fn list_fits(rows: &[RootRecipientRow], wrapped: &[u8]) -> bool {
    let native = |row: &&RootRecipientRow| Recipient::parse(&row.recipient).is_ok();
    x25519_stanzas(wrapped) == rows.iter().filter(native).count()
}

impl Vault {
    /// Who can open the root key. `identities` are this machine's.
    ///
    /// # Errors
    /// The database is not available.
    pub async fn root_recipients(
        &self,
        identities: &[Identity],
    ) -> Result<Vec<RootRecipientView>, VaultError> {
        let own: Vec<String> = identities
            .iter()
            .filter_map(|identity| identity.recipient()?.to_text())
            .collect();
        let rows = self.db.read().await?.root_recipients().await?;
        let view = |row: RootRecipientRow| RootRecipientView {
            this_machine: own.contains(&row.recipient),
            recipient: row.recipient,
            added_at: row.added_at,
        };
        Ok(rows.into_iter().map(view).collect())
    }

    /// Encrypts the root key to one recipient more, or to one less.
    ///
    /// # Errors
    /// See [`RecipientsError`]. Nothing was changed.
    pub async fn change_root_recipients(
        self: &Arc<Self>,
        change: RecipientChange,
        tools: &RecipientTools<'_>,
    ) -> Result<(), RecipientsError> {
        let now = self.clock.now();
        let mut tx = self.db.read().await?;
        let row = tx.root_keys().await?.into_iter().next();
        let row = row.ok_or(VaultError::Internal("the root key's row is missing"))?;
        let mut rows = tx.root_recipients().await?;
        drop(tx);
        let passphrase = is_for_passphrase(&row.wrapped);
        if !list_fits(&rows, &row.wrapped) {
            return Err(RecipientsError::Altered);
        }
        if passphrase && self.db.is_shared() {
            return Err(RecipientsError::PassphraseShared);
        }
        let (added, removed, lock_out) = match &change {
            RecipientChange::Add(recipient) => {
                let text = recipient.to_text().ok_or(RootError::PassphraseNotAlone)?;
                if rows.iter().any(|row| row.recipient == text) {
                    return Err(RecipientsError::There);
                }
                let row = RootRecipientRow {
                    recipient: text,
                    added_at: now,
                    mac: Vec::new(),
                };
                rows.push(row.clone());
                (Some(row), None, false)
            }
            RecipientChange::Remove {
                recipient,
                lock_out,
            } => {
                let before = rows.len();
                rows.retain(|row| row.recipient != *recipient);
                if rows.len() == before {
                    return Err(RecipientsError::NotThere);
                }
                if rows.is_empty() {
                    return Err(RecipientsError::Last);
                }
                (None, Some(recipient.clone()), *lock_out)
            }
        };
        let recipients = rows
            .iter()
            .map(|row| Recipient::parse_with(&row.recipient, tools.plugins))
            .collect::<Result<Vec<_>, _>>()?;
        let wrapped = self.keyring.root().encrypt_to(&recipients)?;
        self.must_still_open(&wrapped, tools, lock_out)?;

        let generation = self.keyring.root().generation();
        let form = RootFileForm::Recipients;
        let file_before = match read_root_file(tools.keys, generation, form) {
            Ok(bytes) => Some(bytes),
            Err(RootError::NotFound) => None,
            Err(error) => return Err(error.into()),
        };
        replace_root_file(tools.keys, generation, form, &wrapped)?;
        let changed = self.write_recipients(row, wrapped, added, removed).await;
        if changed.is_err()
            && let Some(before) = file_before
        {
            // The row did not change, or it is not known whether it did: the next start looks.
            let _ = replace_root_file(tools.keys, generation, form, &before);
        }
        Ok(changed?)
    }

    /// Makes sure that this machine can open `wrapped`, or that it need not.
    fn must_still_open(
        &self,
        wrapped: &[u8],
        tools: &RecipientTools<'_>,
        lock_out: bool,
    ) -> Result<(), RecipientsError> {
        let root = self.keyring.root();
        let expected = ExpectedRoot {
            deployment: &self.deployment,
            generation: root.generation(),
            check: root.check_value(),
        };
        match RootKey::decrypt(wrapped, tools.identities) {
            Ok(opened) => Ok(opened.verify(&expected)?),
            Err(RootError::NotOpened) => {
                // A passphrase has a file of its own, which stays as it is.
                let form = RootFileForm::Passphrase;
                match open_root_file(tools.keys, form, &expected, tools.identities) {
                    Ok(_) => Ok(()),
                    Err(_) if lock_out => Ok(()),
                    Err(_) => Err(RecipientsError::LocksOut),
                }
            }
            Err(error) => Err(error.into()),
        }
    }

    async fn write_recipients(
        self: &Arc<Self>,
        row: RootKeyRow,
        wrapped: Vec<u8>,
        added: Option<RootRecipientRow>,
        removed: Option<String>,
    ) -> Result<(), VaultError> {
        self.change_by_itself(move |tx| {
            Box::pin(async move {
                let generation = row.generation;
                if !tx
                    .replace_root_key(generation, &row.wrapped, &wrapped)
                    .await?
                {
                    return Err(VaultError::Conflict(
                        "the root key was changed at the same time: look at it again",
                    ));
                }
                let mut records = Vec::new();
                let mut record =
                    |kind, text: &str| records.push(recipient_record(kind, generation, text));
                if let Some(row) = added {
                    record(Kind::RootRecipientAdded, &row.recipient);
                    tx.insert_root_recipient(row).await?;
                }
                if let Some(text) = removed {
                    record(Kind::RootRecipientRemoved, &text);
                    tx.delete_root_recipient(&text).await?;
                }
                Ok(Changed {
                    value: (),
                    records,
                    subjects: Vec::new(),
                })
            })
        })
        .await
    }
}
