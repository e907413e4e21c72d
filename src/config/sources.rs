//! Where settings come from, and which names there are.

use std::{
    collections::BTreeMap,
    ffi::{OsStr, OsString},
    fmt,
    net::SocketAddr,
    path::{Path, PathBuf},
};

use toml::de::{DeTable, DeValue};
use zeroize::Zeroizing;

use super::ConfigError;

/// What a key's value is in TOML.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Form {
    Text,
    Number,
    Switch,
    /// Texts, kept with commas between them, which none of them may hold.
    List,
}

/// Every key of the file. Each is also a variable, unless [`NOT_A_VARIABLE`] says otherwise.
const KEYS: &[(&str, Form)] = &[
    ("deployment", Form::Text),
    ("data", Form::Text),
    ("node", Form::Text),
    ("database.url", Form::Text),
    ("database.url_file", Form::Text),
    ("root.identity_file", Form::Text),
    ("root.credential", Form::Text),
    ("root.passphrase", Form::Switch),
    ("root.plugins", Form::List),
    ("root.plugin_directory", Form::Text),
    ("api.listen", Form::Text),
    ("api.certificate", Form::Text),
    ("api.key", Form::Text),
    ("api.url", Form::Text),
    ("pages.listen", Form::Text),
    ("pages.certificate", Form::Text),
    ("pages.key", Form::Text),
    ("pages.url", Form::Text),
    ("status.listen", Form::Text),
    ("log.format", Form::Text),
    ("log.filter", Form::Text),
    ("certificates.workload_hours", Form::Number),
    ("certificates.operator_hours", Form::Number),
    ("limits.connections", Form::Number),
    ("limits.cache_mib", Form::Number),
    ("backup.recipients", Form::Text),
    ("backup.keep_days", Form::Number),
    ("providers.cloud", Form::Text),
    ("providers.ca_file", Form::Text),
    ("providers.stand_in", Form::Text),
    ("verification.graph", Form::Text),
    ("verification.ews", Form::Text),
    ("verification.sending", Form::Switch),
    ("verification.test_mailbox", Form::Text),
    ("verification.settle_seconds", Form::Number),
    ("verification.at_once", Form::Number),
    ("verification.daily", Form::Switch),
    ("mail.from", Form::Text),
    ("mail.server", Form::Text),
    ("mail.port", Form::Number),
    ("mail.tls", Form::Text),
    ("mail.user", Form::Text),
    ("mail.password_file", Form::Text),
    ("mail.ca_file", Form::Text),
    ("mail.folder", Form::Text),
];

/// A variable called PASSPHRASE would invite people to put the passphrase itself into it.
const NOT_A_VARIABLE: &str = "root.passphrase";

/// The variables that only commands read which call the API.
pub const CLIENT_VARIABLES: &[&str] = &[
    "STRONGROOM_URL",
    "STRONGROOM_CA",
    "STRONGROOM_CERT",
    "STRONGROOM_KEY",
    "STRONGROOM_JWT_KEY",
    "STRONGROOM_KID",
    "STRONGROOM_ID",
    "STRONGROOM_AUDIENCE",
    "STRONGROOM_PROFILE",
    "STRONGROOM_OUTPUT",
    "STRONGROOM_CACHE",
    "STRONGROOM_CACHE_IDENTITY",
    "STRONGROOM_CACHE_ASK_AFTER",
    "STRONGROOM_CACHE_NEVER_AFTER",
    "STRONGROOM_CHECKPOINTS",
    "STRONGROOM_AUDIT_KEY",
];

/// One value and where it stood. Wiped when dropped, since it may hold a password.
pub(super) struct Found {
    pub(super) text: Zeroizing<String>,
    pub(super) origin: Origin,
}

/// Where a value stood.
#[derive(Clone)]
pub(super) enum Origin {
    File {
        path: PathBuf,
        line: usize,
        key: &'static str,
    },
    Variable(String),
    Default(&'static str),
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File { path, line, key } => {
                write!(f, "{} line {line}, {key}", path.display())
            }
            Self::Variable(name) => write!(f, "variable {name}"),
            Self::Default(key) => write!(f, "the default of {key}"),
        }
    }
}

impl Found {
    pub(super) fn path(&self) -> Result<PathBuf, &'static str> {
        if self.text.is_empty() {
            return Err("must be a path");
        }
        let path = Path::new(self.text.as_str());
        Ok(match &self.origin {
            Origin::File { path: file, .. } => {
                file.parent().unwrap_or_else(|| Path::new("")).join(path)
            }
            _ => path.to_owned(),
        })
    }

    pub(super) fn path_with_origin(&self) -> Result<(PathBuf, Origin), &'static str> {
        Ok((self.path()?, self.origin.clone()))
    }

    pub(super) fn address(&self) -> Result<SocketAddr, &'static str> {
        self.text
            .parse()
            .map_err(|_| "must be an IP address and a port, such as 127.0.0.1:8200")
    }

    /// The lifetime of a certificate: an hour to ninety days.
    pub(super) fn hours(&self) -> Result<u16, &'static str> {
        const RULE: &str = "must be a whole number of hours from 1 to 2160";
        let hours = self.number(1, 2160, RULE)?;
        u16::try_from(hours).map_err(|_| RULE)
    }

    pub(super) fn number(
        &self,
        least: usize,
        most: usize,
        rule: &'static str,
    ) -> Result<usize, &'static str> {
        match self.text.parse() {
            Ok(number) if (least..=most).contains(&number) => Ok(number),
            _ => Err(rule),
        }
    }
}

/// The variable that sets `key`.
pub(super) fn variable(key: &str) -> String {
    format!("STRONGROOM_{}", key.replace('.', "_").to_ascii_uppercase())
}

/// Whether a variable is one that Kubernetes injects for a service called strongroom.
pub fn is_exempt(name: &str) -> bool {
    name.starts_with("STRONGROOM_SERVICE_") || name.starts_with("STRONGROOM_PORT")
}

/// Refuses `STRONGROOM_*` variables that nothing reads. Every command runs this once, with the
/// names of its whole environment.
///
/// # Errors
/// The first unknown variable.
pub fn check_environment(
    names: impl IntoIterator<Item = impl AsRef<OsStr>>,
) -> Result<(), ConfigError> {
    for name in names {
        let name = name.as_ref().to_string_lossy();
        if !name.starts_with("STRONGROOM_") || is_exempt(&name) {
            continue;
        }
        let known = CLIENT_VARIABLES.contains(&name.as_ref())
            || KEYS
                .iter()
                .any(|(key, _)| *key != NOT_A_VARIABLE && variable(key) == name);
        if !known {
            let hint = if name == variable(NOT_A_VARIABLE) {
                " (a passphrase is never taken from the environment; \
                 root.passphrase = true in the file asks for it on the terminal)"
            } else {
                ""
            };
            return Err(ConfigError::UnknownVariable {
                name: name.into_owned(),
                hint,
            });
        }
    }
    Ok(())
}

/// Lays the variables over what the file said: a variable wins over the same key of the file.
pub(super) fn read_environment(
    environment: &BTreeMap<OsString, OsString>,
    found: &mut BTreeMap<&'static str, Found>,
) -> Result<(), ConfigError> {
    for (key, _) in KEYS.iter().filter(|(key, _)| *key != NOT_A_VARIABLE) {
        let name = variable(key);
        let Some(value) = environment.get(OsStr::new(&name)) else {
            continue;
        };
        let text = value.to_str().ok_or_else(|| ConfigError::Value {
            place: format!("variable {name}"),
            rule: "must be UTF-8 text",
        })?;
        let text = Zeroizing::new(text.to_owned());
        let origin = Origin::Variable(name);
        found.insert(key, Found { text, origin });
    }
    Ok(())
}

/// The settings of a TOML text, by key.
pub(super) fn read_toml(
    path: &Path,
    text: &str,
) -> Result<BTreeMap<&'static str, Found>, ConfigError> {
    // The parser's own words for a syntax error say what it expected, never what it found.
    let table = DeTable::parse(text).map_err(|error| ConfigError::Syntax {
        path: path.to_owned(),
        line: line_at(text, error.span().map_or(0, |span| span.start)),
        rule: error.message().to_owned(),
    })?;
    let mut found = BTreeMap::new();
    collect(path, text, "", table.get_ref(), &mut found)?;
    Ok(found)
}

fn collect(
    path: &Path,
    text: &str,
    prefix: &str,
    table: &DeTable<'_>,
    found: &mut BTreeMap<&'static str, Found>,
) -> Result<(), ConfigError> {
    for (name, value) in table {
        let full = format!("{prefix}{}", name.get_ref());
        let line = line_at(text, name.span().start);
        let place = || format!("{} line {line}, {full}", path.display());
        let section = format!("{full}.");
        if KEYS.iter().any(|(key, _)| key.starts_with(&section)) {
            match value.get_ref() {
                DeValue::Table(inner) => collect(path, text, &section, inner, found)?,
                _ => {
                    return Err(ConfigError::Value {
                        place: place(),
                        rule: "is a section, written [in brackets]",
                    });
                }
            }
            continue;
        }
        let Some((key, form)) = KEYS.iter().find(|(key, _)| *key == full) else {
            return Err(ConfigError::UnknownKey { place: place() });
        };
        let value = match (form, value.get_ref()) {
            (Form::Text, DeValue::String(text)) => text.to_string(),
            (Form::Number, DeValue::Integer(number)) if number.radix() == 10 => {
                number.as_str().to_owned()
            }
            (Form::Switch, DeValue::Boolean(on)) => on.to_string(),
            (Form::List, DeValue::Array(items)) if texts(items).is_some() => {
                texts(items).unwrap_or_default()
            }
            _ => {
                return Err(ConfigError::Value {
                    place: place(),
                    rule: match form {
                        Form::Text => "must be a text in quotes",
                        Form::Number => "must be a whole decimal number, without quotes",
                        Form::Switch => "must be true or false, without quotes",
                        Form::List => "must be a list of texts, such as [\"yubikey\"]",
                    },
                });
            }
        };
        let origin = Origin::File {
            path: path.to_owned(),
            line,
            key,
        };
        let text = Zeroizing::new(value);
        found.insert(key, Found { text, origin });
    }
    Ok(())
}

/// The texts of a list with commas between them; `None` if something else is among them.
fn texts(items: &toml::de::DeArray<'_>) -> Option<String> {
    let mut list = Vec::new();
    for item in items {
        match item.get_ref() {
            DeValue::String(text) if !text.contains(',') => list.push(text.as_ref()),
            _ => return None,
        }
    }
    Some(list.join(","))
}

/// The line, counted from 1, of the byte at `offset`.
fn line_at(text: &str, offset: usize) -> usize {
    let before = text.as_bytes().get(..offset).unwrap_or(text.as_bytes());
    before.iter().filter(|byte| **byte == b'\n').count() + 1
}
