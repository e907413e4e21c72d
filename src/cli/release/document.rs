//! What a release brought: its credentials, and how an argument names one of them.

use std::{fmt, str::FromStr};

use serde_json::Value;
use zeroize::Zeroizing;

use crate::{
    cli::{
        error::{CliError, printable},
        wiping::{WipingBuffer, WipingJson},
    },
    model::{CredentialId, Slug},
};

/// One credential of a release.
pub struct Entry {
    /// The client's slug.
    pub client: Slug,
    /// Which credential.
    pub id: CredentialId,
    /// The entry as it came.
    pub whole: WipingJson,
}

/// A release that came whole.
pub struct Document {
    /// What was released.
    pub entries: Vec<Entry>,
    /// Ids of the credentials that the server could not open.
    pub failed: Vec<String>,
}

impl Entry {
    fn from_json(whole: Value) -> Result<Self, CliError> {
        let whole = WipingJson(whole);
        let text = |pointer| whole.0.pointer(pointer).and_then(Value::as_str);
        // The two become a file name, so they must be what they claim to be.
        let client = text("/client/slug").and_then(|slug| slug.parse().ok());
        let id = text("/id").and_then(|id| id.parse().ok());
        match (client, id) {
            (Some(client), Some(id)) if whole.0["fields"].is_object() => {
                Ok(Self { client, id, whole })
            }
            _ => Err(unusable()),
        }
    }

    /// The name of the file that holds this credential alone.
    pub fn file_name(&self) -> String {
        format!("{}.{}.json", self.client, self.id)
    }

    /// What people call it.
    pub fn label(&self) -> &str {
        self.whole.0["label"].as_str().unwrap_or_default()
    }

    /// The number of the version that was released.
    pub fn version(&self) -> Option<u64> {
        self.whole.0["version"].as_u64()
    }

    /// The value of a field. What is not text is given as JSON.
    ///
    /// # Errors
    /// There is no such field.
    pub fn field(&self, name: &str) -> Result<Zeroizing<String>, CliError> {
        match &self.whole.0["fields"][name] {
            Value::Null => Err(CliError::local(self.no_field(name))),
            Value::String(text) => Ok(Zeroizing::new(text.clone())),
            other => Ok(Zeroizing::new(other.to_string())),
        }
    }

    /// Says that a field is not there, and which are.
    pub fn no_field(&self, name: &str) -> String {
        let mut names: Vec<&str> = match &self.whole.0["fields"] {
            Value::Object(fields) => fields.keys().map(String::as_str).collect(),
            _ => Vec::new(),
        };
        names.sort_unstable();
        printable(&format!(
            "{} has no field {name}; it has {}",
            self.id,
            names.join(", ")
        ))
    }
}

/// The answer does not have the form of a release.
pub fn unusable() -> CliError {
    CliError::local("the answer is not a whole release; nothing was written")
}

impl Document {
    /// Parses an answer: that of one credential if `single`, else one with both lists. Only a
    /// document that ends properly is a release.
    ///
    /// # Errors
    /// It is not one.
    pub fn parse(bytes: &WipingBuffer, single: bool) -> Result<Self, CliError> {
        // serde_json's message could quote the answer.
        let mut document =
            WipingJson(serde_json::from_slice(bytes.expose_secret()).map_err(|_| unusable())?);
        if single {
            let entry = Entry::from_json(document.0.take())?;
            return Ok(Self {
                entries: vec![entry],
                failed: Vec::new(),
            });
        }
        let (Some(Value::Array(credentials)), Some(Value::Array(failed))) = (
            document.0.get_mut("credentials").map(Value::take),
            document.0.get_mut("failed").map(Value::take),
        ) else {
            return Err(unusable());
        };
        let id_of_failed = |entry: &Value| {
            [entry, &entry["id"], &entry["credential"]]
                .into_iter()
                .find_map(Value::as_str)
                .map_or_else(|| "(no id)".to_owned(), printable)
        };
        Ok(Self {
            failed: failed.iter().map(id_of_failed).collect(),
            entries: credentials
                .into_iter()
                .map(Entry::from_json)
                .collect::<Result<_, _>>()?,
        })
    }

    /// The one entry that `selector` names.
    ///
    /// # Errors
    /// There is none, or more than one.
    pub fn find(&self, selector: &Selector) -> Result<&Entry, CliError> {
        let fitting: Vec<&Entry> = self
            .entries
            .iter()
            .filter(|entry| selector.fits(entry))
            .collect();
        match fitting.as_slice() {
            [entry] => Ok(entry),
            [] if self.failed.contains(&selector.to_string()) => Err(CliError::local(format!(
                "the server could not open {selector}; tell the operators"
            ))),
            [] => Err(CliError::local(format!(
                "{selector} is not among the credentials that this worker gets"
            ))),
            several => {
                let ids: Vec<String> = several.iter().map(|entry| entry.id.to_string()).collect();
                Err(CliError::local(format!(
                    "{selector} names more than one credential; give one of the ids {}",
                    ids.join(", ")
                )))
            }
        }
    }
}

/// How an argument names a credential: by its id, or as `client-slug/label`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Selector {
    /// The id.
    Id(CredentialId),
    /// Whose it is and what people call it.
    Named {
        /// The client's slug.
        client: Slug,
        /// The label.
        label: String,
    },
}

impl Selector {
    fn fits(&self, entry: &Entry) -> bool {
        match self {
            Self::Id(id) => entry.id == *id,
            Self::Named { client, label } => entry.client == *client && entry.label() == label,
        }
    }
}

impl FromStr for Selector {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if let Ok(id) = text.parse() {
            return Ok(Self::Id(id));
        }
        let named = text
            .split_once('/')
            .filter(|(_, label)| !label.is_empty())
            .and_then(|(client, label)| Some((client.parse().ok()?, label.to_owned())));
        let (client, label) =
            named.ok_or("must name a credential by its id (cred_…) or as client-slug/label")?;
        Ok(Self::Named { client, label })
    }
}

impl fmt::Display for Selector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Id(id) => id.fmt(f),
            Self::Named { client, label } => write!(f, "{client}/{}", printable(label)),
        }
    }
}
