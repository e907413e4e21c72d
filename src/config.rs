//! The settings of the service: a TOML file, `STRONGROOM_*` variables on top of it.
//!
//! The environment is an argument and is never read here. A key or variable that nobody knows is
//! an error, because a misspelt setting that is silently ignored is a setting that is not in
//! force.

mod mail;
mod production;
mod providers;
mod sources;
mod template;

use std::{
    collections::BTreeMap,
    ffi::OsString,
    net::SocketAddr,
    path::{Path, PathBuf},
};

use zeroize::Zeroizing;

use crate::{model::Slug, secret::Secret};
pub use mail::{MailConfig, MailServer};
pub use production::{ProductionError, Refusal};
pub use providers::{ProvidersConfig, VerificationConfig};
pub use sources::{CLIENT_VARIABLES, check_environment, is_exempt};
pub use template::{TemplateRoot, TemplateValues, write_commented_template};

use sources::{Found, Origin};

/// Everything `strongroom serve` must know before it starts. Has no `Debug`, because the database
/// URL may hold a password.
pub struct Config {
    /// `dev-` or `prod-` and 26 characters: JWT audience and SPIFFE trust domain.
    pub deployment: String,
    /// The data directory.
    pub data: PathBuf,
    /// The name of this node in audit logs and leases.
    pub node: Slug,
    /// Where records are kept.
    pub database: Database,
    /// What opens the root key.
    pub root: RootSource,
    /// Which age plugins may be started.
    pub plugins: PluginsConfig,
    /// The API listener.
    pub api: ApiConfig,
    /// The pages for clients, if there are any.
    pub pages: Option<PagesConfig>,
    /// Health, readiness and metrics.
    pub status: StatusConfig,
    /// What is logged, and how.
    pub log: LogConfig,
    /// How long certificates live.
    pub certificates: CertificatesConfig,
    /// Bounds of what one process takes on.
    pub limits: LimitsConfig,
    /// How backups are taken.
    pub backup: BackupConfig,
    /// How the providers of credentials are asked.
    pub providers: ProvidersConfig,
    /// What verifications may do.
    pub verification: VerificationConfig,
    /// How mail is sent.
    pub mail: MailConfig,
}

/// Which of the two databases.
pub enum Database {
    /// The embedded one, in this file.
    Sqlite(PathBuf),
    /// A PostgreSQL server; the URL may hold a password.
    Postgres(Secret),
}

/// What opens the age-encrypted root key at start.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RootSource {
    /// A file with an age identity.
    IdentityFile(PathBuf),
    /// An age identity handed over by the service manager, as this file in its credentials
    /// directory.
    Credential(PathBuf),
    /// A passphrase, asked for on the terminal.
    Passphrase,
}

/// Which age plugins may be started for identities and recipients of the root key.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PluginsConfig {
    /// Their names; none by default.
    pub names: Vec<String>,
    /// The only directory that their programs are looked for in; `$PATH` when there is none.
    pub directory: Option<PathBuf>,
}

/// The API listener.
#[derive(Clone, Debug)]
pub struct ApiConfig {
    /// Address and port.
    pub listen: SocketAddr,
    /// Certificate chain (PEM) and its private key (PEM, PKCS#8); both or neither.
    pub certificate: Option<(PathBuf, PathBuf)>,
    /// How clients reach it, when that is not the address itself. Without a trailing slash.
    pub url: Option<String>,
}

/// The listener of the pages that clients see.
#[derive(Clone, Debug)]
pub struct PagesConfig {
    /// Address and port.
    pub listen: SocketAddr,
    /// Certificate chain (PEM) and its private key (PEM, PKCS#8); both or neither.
    pub certificate: Option<(PathBuf, PathBuf)>,
    /// How clients reach it: what links begin with. Without a trailing slash.
    pub url: Option<String>,
}

/// The listener for health, readiness and metrics.
#[derive(Clone, Debug)]
pub struct StatusConfig {
    /// Address and port.
    pub listen: SocketAddr,
}

/// What is logged, and how.
#[derive(Clone, Debug)]
pub struct LogConfig {
    /// Lines for people or for programs.
    pub format: LogFormat,
    /// Directives such as `info` or `info,strongroom::http=debug`.
    pub filter: String,
}

/// How a log line looks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

/// How long the certificates live that enrolment and renewal give, in hours.
#[derive(Clone, Copy, Debug)]
pub struct CertificatesConfig {
    /// Those of workloads.
    pub workload_hours: u16,
    /// Those of operators.
    pub operator_hours: u16,
}

/// Bounds of what one process takes on.
#[derive(Clone, Copy, Debug)]
pub struct LimitsConfig {
    /// Open connections on the API listener.
    pub connections: usize,
    /// MiB of sealed rows kept in memory.
    pub cache_mib: usize,
}

/// How backups are taken unless a call says otherwise.
#[derive(Clone, Debug, Default)]
pub struct BackupConfig {
    /// Who can open them: age recipients.
    pub recipients: Vec<String>,
    /// For how many days they are kept, if that is known.
    pub keep_days: Option<u32>,
}

/// Why the settings cannot be used. The texts name places and rules, never a value.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file, or a `_FILE` that a setting names, cannot be read.
    #[error("cannot read {}: {source}; check the path and who may read it", path.display())]
    Read {
        /// Which file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// The file is not TOML.
    #[error("{} line {line}: not valid TOML: {rule}", path.display())]
    Syntax {
        /// Which file.
        path: PathBuf,
        /// Counted from 1.
        line: usize,
        /// What the parser expected.
        rule: String,
    },
    /// The file has a key that means nothing.
    #[error("{place}: there is no such setting; correct the spelling or remove it")]
    UnknownKey {
        /// File, line and key.
        place: String,
    },
    /// The environment has a variable that means nothing.
    #[error("variable {name}: there is no such setting; correct the spelling or unset it{hint}")]
    UnknownVariable {
        /// The variable's name.
        name: String,
        /// More to say about a few well-meant names.
        hint: &'static str,
    },
    /// One setting in two forms that exclude each other.
    #[error("{second}: already given as {first}; remove one of them")]
    Twice {
        /// One place.
        first: String,
        /// The other place.
        second: String,
    },
    /// A value that breaks a rule.
    #[error("{place}: {rule}")]
    Value {
        /// File, line and key, or the variable.
        place: String,
        /// What it must be.
        rule: &'static str,
    },
    /// A setting without a default.
    #[error("{key} is missing: {what}; set it in the file or as {variable}")]
    Missing {
        /// The key.
        key: &'static str,
        /// What belongs there.
        what: &'static str,
        /// The variable that also sets it.
        variable: String,
    },
}

/// Whether `text` is a deployment id: `dev-` or `prod-`, then a lower-case ULID.
pub fn is_deployment_id(text: &str) -> bool {
    text.strip_prefix("dev-")
        .or_else(|| text.strip_prefix("prod-"))
        .is_some_and(|rest| {
            format!("req_{rest}")
                .parse::<crate::model::RequestId>()
                .is_ok()
        })
}

impl Config {
    /// Reads `file` (when there is one) and lays `environment` over it. Relative paths in the file
    /// are relative to the file's directory, those in variables to the working directory.
    ///
    /// # Errors
    /// Anything unreadable, unknown, given twice, missing or out of range; the first one found.
    pub fn load(
        file: Option<&Path>,
        environment: impl IntoIterator<Item = (OsString, OsString)>,
    ) -> Result<Self, ConfigError> {
        let environment: BTreeMap<OsString, OsString> = environment.into_iter().collect();
        check_environment(environment.keys())?;
        let mut found = match file {
            Some(path) => {
                let text = Zeroizing::new(std::fs::read_to_string(path).map_err(|source| {
                    ConfigError::Read {
                        path: path.to_owned(),
                        source,
                    }
                })?);
                sources::read_toml(path, &text)?
            }
            None => BTreeMap::new(),
        };
        sources::read_environment(&environment, &mut found)?;
        let credentials = environment.get(&OsString::from("CREDENTIALS_DIRECTORY"));
        Settings(found).build(credentials.map(Path::new))
    }
}

/// What was found, by key, while it is turned into a [`Config`].
struct Settings(BTreeMap<&'static str, Found>);

impl Settings {
    fn build(mut self, credentials: Option<&Path>) -> Result<Config, ConfigError> {
        let deployment = self.required(
            "deployment",
            "the id that `strongroom init` made",
            |found| {
                is_deployment_id(&found.text)
                    .then(|| found.text.to_string())
                    .ok_or("must be dev- or prod- and 26 lower-case characters, as `init` wrote it")
            },
        )?;
        let data = self.required("data", "the data directory", Found::path)?;
        let database = self.database(&data)?;
        Ok(Config {
            deployment,
            node: self.or("node", "main", |found| {
                found
                    .text
                    .parse()
                    .map_err(|_| "must be 1 to 64 lower-case letters, digits and single hyphens")
            })?,
            data,
            database,
            root: self.root(credentials)?,
            plugins: self.plugins()?,
            api: ApiConfig {
                listen: self.or("api.listen", "127.0.0.1:8200", Found::address)?,
                certificate: self.certificate("api.certificate", "api.key")?,
                url: self.optional("api.url", |found| {
                    https_origin(&found.text)
                        .ok_or("must be https:// and a host, with a port if needed, and no path")
                })?,
            },
            pages: self.pages()?,
            status: StatusConfig {
                listen: self.or("status.listen", "127.0.0.1:8202", Found::address)?,
            },
            log: LogConfig {
                format: self.or("log.format", "text", |found| match found.text.as_str() {
                    "text" => Ok(LogFormat::Text),
                    "json" => Ok(LogFormat::Json),
                    _ => Err("must be text or json"),
                })?,
                filter: self.or("log.filter", "info", |found| {
                    tracing_subscriber::EnvFilter::try_new(found.text.as_str())
                        .map(|_| found.text.to_string())
                        .map_err(|_| "must be log directives such as info,strongroom::http=debug")
                })?,
            },
            certificates: CertificatesConfig {
                workload_hours: self.or("certificates.workload_hours", "168", Found::hours)?,
                operator_hours: self.or("certificates.operator_hours", "720", Found::hours)?,
            },
            limits: LimitsConfig {
                connections: self.or("limits.connections", "10000", |found| {
                    found.number(1, 1_000_000, "must be a whole number from 1 to 1000000")
                })?,
                cache_mib: self.or("limits.cache_mib", "32", |found| {
                    found.number(1, 65_536, "must be a whole number of MiB from 1 to 65536")
                })?,
            },
            backup: BackupConfig {
                recipients: self
                    .optional("backup.recipients", recipients)?
                    .unwrap_or_default(),
                keep_days: self.optional("backup.keep_days", |found| {
                    let rule = "must be a whole number of days from 1 to 36500";
                    found.number(1, 36_500, rule).map(|days| days as u32)
                })?,
            },
            providers: self.providers()?,
            verification: self.verification()?,
            mail: self.mail()?,
        })
    }

    fn database(&mut self, data: &Path) -> Result<Database, ConfigError> {
        self.exclusive(&["database.url", "database.url_file"])?;
        let from_file = self.optional("database.url_file", Found::path_with_origin)?;
        if let Some((path, origin)) = from_file {
            let text = std::fs::read_to_string(&path).map_err(|source| ConfigError::Read {
                path: path.clone(),
                source,
            })?;
            let text = Zeroizing::new(text);
            let text = Zeroizing::new(text.trim_end_matches(['\r', '\n']).to_owned());
            self.0.insert("database.url", Found { text, origin });
        }
        self.or("database.url", "sqlite", |found| {
            match found.text.as_str() {
                "sqlite" => Ok(Database::Sqlite(data.join("strongroom.db"))),
                url if url.starts_with("postgres://") || url.starts_with("postgresql://") => {
                    Ok(Database::Postgres(Secret::new(url.as_bytes().to_vec())))
                }
                _ => Err("must be sqlite, or a URL that begins with postgres://"),
            }
        })
    }

    fn root(&mut self, credentials: Option<&Path>) -> Result<RootSource, ConfigError> {
        if self
            .0
            .get("root.passphrase")
            .is_some_and(|found| found.text.as_str() == "false")
        {
            self.0.remove("root.passphrase");
        }
        self.exclusive(&["root.identity_file", "root.credential", "root.passphrase"])?;
        if let Some(path) = self.optional("root.identity_file", Found::path)? {
            return Ok(RootSource::IdentityFile(path));
        }
        let credential = self.optional("root.credential", |found| {
            let name = found.text.as_str();
            let plain = !name.is_empty() && !name.contains(['/', '\0']) && !name.starts_with('.');
            match credentials {
                _ if !plain => Err("must be the plain name of one file"),
                None => Err("needs $CREDENTIALS_DIRECTORY, which systemd sets for \
                     LoadCredential= and LoadCredentialEncrypted="),
                Some(directory) => Ok(directory.join(name)),
            }
        })?;
        if let Some(path) = credential {
            return Ok(RootSource::Credential(path));
        }
        if self.0.remove("root.passphrase").is_some() {
            return Ok(RootSource::Passphrase);
        }
        Err(ConfigError::Missing {
            key: "root.identity_file",
            what: "what opens the root key; or else root.credential, or root.passphrase = true",
            variable: sources::variable("root.identity_file"),
        })
    }

    fn plugins(&mut self) -> Result<PluginsConfig, ConfigError> {
        let names = self.or("root.plugins", "", |found| {
            let names: Vec<String> = found
                .text
                .split(',')
                .map(|name| name.trim().to_owned())
                .filter(|name| !name.is_empty())
                .collect();
            names
                .iter()
                .all(|name| crate::crypto::is_plugin_name(name))
                .then_some(names)
                .ok_or("must be names of age plugins: a-z, 0-9, + . _ - and no path")
        })?;
        let directory = self.optional("root.plugin_directory", |found| {
            Some(PathBuf::from(found.text.as_str()))
                .filter(|path| path.is_absolute())
                .ok_or("must be an absolute path")
        })?;
        Ok(PluginsConfig { names, directory })
    }

    fn pages(&mut self) -> Result<Option<PagesConfig>, ConfigError> {
        let listen = self.optional("pages.listen", Found::address)?;
        let certificate = self.certificate("pages.certificate", "pages.key")?;
        let url = self.optional("pages.url", |found| {
            https_origin(&found.text)
                .ok_or("must be https:// and a host, with a port if needed, and no path")
        })?;
        match listen {
            Some(listen) => Ok(Some(PagesConfig {
                listen,
                certificate,
                url,
            })),
            None if certificate.is_none() && url.is_none() => Ok(None),
            // They would be in force nowhere.
            None => Err(ConfigError::Missing {
                key: "pages.listen",
                what: "without it there are no pages",
                variable: sources::variable("pages.listen"),
            }),
        }
    }

    fn certificate(
        &mut self,
        certificate_key: &'static str,
        key_key: &'static str,
    ) -> Result<Option<(PathBuf, PathBuf)>, ConfigError> {
        let certificate = self.optional(certificate_key, Found::path)?;
        let key = self.optional(key_key, Found::path)?;
        let missing = |key| ConfigError::Missing {
            key,
            what: "certificate and key belong together",
            variable: sources::variable(key),
        };
        match (certificate, key) {
            (Some(certificate), Some(key)) => Ok(Some((certificate, key))),
            (None, None) => Ok(None),
            (Some(_), None) => Err(missing(key_key)),
            (None, Some(_)) => Err(missing(certificate_key)),
        }
    }

    /// At most one of `keys` may be given.
    fn exclusive(&self, keys: &[&str]) -> Result<(), ConfigError> {
        let mut given = keys.iter().filter_map(|key| self.0.get(key));
        match (given.next(), given.next()) {
            (Some(first), Some(second)) => Err(ConfigError::Twice {
                first: first.origin.to_string(),
                second: second.origin.to_string(),
            }),
            _ => Ok(()),
        }
    }

    fn optional<T>(
        &mut self,
        key: &'static str,
        read: impl FnOnce(&Found) -> Result<T, &'static str>,
    ) -> Result<Option<T>, ConfigError> {
        let Some(found) = self.0.remove(key) else {
            return Ok(None);
        };
        let value = read(&found).map_err(|rule| ConfigError::Value {
            place: found.origin.to_string(),
            rule,
        })?;
        Ok(Some(value))
    }

    fn or<T>(
        &mut self,
        key: &'static str,
        default: &str,
        read: impl FnOnce(&Found) -> Result<T, &'static str>,
    ) -> Result<T, ConfigError> {
        let found = self.0.remove(key).unwrap_or_else(|| Found {
            text: Zeroizing::new(default.to_owned()),
            origin: Origin::Default(key),
        });
        read(&found).map_err(|rule| ConfigError::Value {
            place: found.origin.to_string(),
            rule,
        })
    }

    fn required<T>(
        &mut self,
        key: &'static str,
        what: &'static str,
        read: impl FnOnce(&Found) -> Result<T, &'static str>,
    ) -> Result<T, ConfigError> {
        self.optional(key, read)?
            .ok_or_else(|| ConfigError::Missing {
                key,
                what,
                variable: sources::variable(key),
            })
    }
}

/// age recipients, separated by spaces or commas.
fn recipients(found: &Found) -> Result<Vec<String>, &'static str> {
    let rule = "must be age recipients (age1 followed by 58 characters), separated by spaces";
    let separate = |c: char| c == ',' || c.is_whitespace();
    let mut recipients = Vec::new();
    for text in found.text.split(separate).filter(|text| !text.is_empty()) {
        crate::crypto::Recipient::parse(text).map_err(|_| rule)?;
        recipients.push(text.to_owned());
    }
    match recipients.is_empty() {
        true => Err(rule),
        false => Ok(recipients),
    }
}

/// The URL without a trailing slash, if it is https, a host and perhaps a port, and nothing more.
pub fn https_origin(text: &str) -> Option<String> {
    let url = reqwest::Url::parse(text).ok()?;
    let bare = url.scheme() == "https"
        && url.has_host()
        && url.username().is_empty()
        && url.password().is_none()
        && url.path() == "/"
        && url.query().is_none()
        && url.fragment().is_none();
    bare.then(|| url.as_str().trim_end_matches('/').to_owned())
}

#[cfg(test)]
mod tests;
