//! What is asked for, and how the server is asked.

use std::fmt;

use super::document::{Document, Selector};
use crate::{
    cli::{
        api::{Api, ReleaseReply, Released},
        error::CliError,
        release::mapping::Mapping,
        wiping::WipingBuffer,
    },
    model::{CredentialId, CredentialKind},
};

/// What is asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ask {
    /// Everything that the caller may have, filtered.
    All {
        /// Only of this client (id).
        client: Option<String>,
        /// Only of this kind.
        kind: Option<CredentialKind>,
    },
    /// One credential.
    One {
        /// Which.
        id: CredentialId,
        /// A previous version of it.
        version: Option<u32>,
    },
    /// Several, and no others: what is not asked for is not released.
    Each(Vec<CredentialId>),
}

/// The form is compared with that of an earlier request, so it stands for what was asked.
impl fmt::Display for Ask {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::All { client, kind } => {
                f.write_str("all")?;
                if let Some(client) = client {
                    write!(f, " client={client}")?;
                }
                if let Some(kind) = kind {
                    write!(f, " kind={kind}")?;
                }
                Ok(())
            }
            Self::One { id, version } => {
                write!(f, "one {id}")?;
                version.map_or(Ok(()), |version| write!(f, " version={version}"))
            }
            Self::Each(ids) => {
                f.write_str("each")?;
                ids.iter().try_for_each(|id| write!(f, " {id}"))
            }
        }
    }
}

impl Ask {
    /// What these mappings need: the named credentials alone, if all are named by id.
    pub fn for_mappings<'a>(mappings: impl Iterator<Item = &'a Mapping>) -> Option<Self> {
        let mut ids = Vec::new();
        for mapping in mappings {
            match &mapping.credential {
                Selector::Id(id) => ids.push(*id),
                Selector::Named { .. } => return None,
            }
        }
        ids.sort_unstable();
        ids.dedup();
        match ids.as_slice() {
            [] => None,
            [id] => Some(Self::One {
                id: *id,
                version: None,
            }),
            _ => Some(Self::Each(ids)),
        }
    }

    /// Whether the answer is a single entry.
    pub fn is_single(&self) -> bool {
        matches!(self, Self::One { .. })
    }

    /// Whether nothing is left out.
    pub fn is_everything(&self) -> bool {
        matches!(
            self,
            Self::All {
                client: None,
                kind: None
            }
        )
    }

    /// Asks once, on the condition that it is not what the ETag names.
    ///
    /// # Errors
    /// As [`Api::release`], or an answer is not whole.
    pub async fn send(
        &self,
        api: &Api,
        if_none_match: Option<&str>,
    ) -> Result<ReleaseReply, CliError> {
        match self {
            Self::All { client, kind } => {
                let query = [
                    ("client", client.clone()),
                    ("kind", kind.map(|kind| kind.to_string())),
                ];
                api.release(&["release"], &query, if_none_match).await
            }
            Self::One { id, version } => {
                let id = id.to_string();
                let query = [("version", version.map(|number| number.to_string()))];
                api.release(&["release", &id], &query, if_none_match).await
            }
            Self::Each(ids) => {
                let mut body = WipingBuffer::with_capacity(64 * 1024);
                let mut newest = None;
                body.extend(b"{\"credentials\":[");
                for (number, id) in ids.iter().enumerate() {
                    let id = id.to_string();
                    let reply = api.release(&["release", &id], &[], None).await?;
                    let ReleaseReply::Whole(one) = reply else {
                        return Err(super::document::unusable());
                    };
                    // Pieces are put together only when each is whole.
                    Document::parse(&one.body, true)?;
                    if number > 0 {
                        body.extend(b",");
                    }
                    body.extend(one.body.expose_secret());
                    newest = one.checkpoint;
                }
                body.extend(b"],\"failed\":[]}");
                Ok(ReleaseReply::Whole(Released {
                    body,
                    etag: None,
                    checkpoint: newest,
                }))
            }
        }
    }
}
