//! Which server to call, and as whom.

use std::path::{Path, PathBuf};

use clap::{ArgMatches, Args, parser::ValueSource};
use serde::Deserialize;

use super::{
    api::Api,
    authenticator::{
        AssertionSettings, Authenticator, MutualTls, SignedAssertion, TokenMaker, read_file,
        token_maker,
    },
    error::CliError,
    files::directory_of,
};
use crate::{
    model::{KeyId, PrincipalId},
    secret::Secret,
};

/// The flags of every command that calls the API. A flag wins over its variable.
#[derive(Args, Clone, Debug, Default)]
#[command(next_help_heading = "Connection")]
pub struct ConnectionArguments {
    /// The server, such as https://localhost:8200
    #[arg(
        id = "connection_url",
        long = "url",
        value_name = "URL",
        global = true,
        env = "STRONGROOM_URL",
        hide_env_values = true,
        hide_short_help = true
    )]
    pub url: Option<String>,
    /// Authority of the server's certificate (PEM); no other is trusted
    #[arg(
        id = "connection_ca",
        long = "ca",
        value_name = "FILE",
        global = true,
        env = "STRONGROOM_CA",
        hide_env_values = true,
        hide_short_help = true
    )]
    pub ca: Option<PathBuf>,
    /// Client certificate, leaf first (PEM)
    #[arg(
        id = "connection_cert",
        long = "cert",
        value_name = "FILE",
        global = true,
        env = "STRONGROOM_CERT",
        hide_env_values = true,
        hide_short_help = true
    )]
    pub cert: Option<PathBuf>,
    /// Private key of the client certificate (PEM)
    #[arg(
        id = "connection_key",
        long = "key",
        value_name = "FILE",
        global = true,
        env = "STRONGROOM_KEY",
        hide_env_values = true,
        hide_short_help = true
    )]
    pub key: Option<PathBuf>,
    /// Private key that signs assertions (PEM, PKCS#8), instead of a certificate
    #[arg(
        id = "connection_jwt_key",
        long = "jwt-key",
        value_name = "FILE",
        global = true,
        env = "STRONGROOM_JWT_KEY",
        hide_env_values = true,
        hide_short_help = true
    )]
    pub jwt_key: Option<PathBuf>,
    /// Id of that key (pkey_…)
    #[arg(
        id = "connection_kid",
        long = "kid",
        value_name = "ID",
        global = true,
        env = "STRONGROOM_KID",
        hide_env_values = true,
        hide_short_help = true
    )]
    pub kid: Option<String>,
    /// Id of the caller (wkld_… or oper_…)
    #[arg(
        id = "connection_id",
        long = "id",
        value_name = "ID",
        global = true,
        env = "STRONGROOM_ID",
        hide_env_values = true,
        hide_short_help = true
    )]
    pub id: Option<String>,
    /// Id of the deployment, which assertions are for
    #[arg(
        id = "connection_audience",
        long = "audience",
        value_name = "ID",
        global = true,
        env = "STRONGROOM_AUDIENCE",
        hide_env_values = true,
        hide_short_help = true
    )]
    pub audience: Option<String>,
    /// JSON file with url, ca, cert and key as `enrol` writes it, or with id, kid, audience and url to
    /// go with --jwt-key
    #[arg(
        id = "connection_profile",
        long = "profile",
        value_name = "FILE",
        global = true,
        env = "STRONGROOM_PROFILE",
        hide_env_values = true,
        hide_short_help = true
    )]
    pub profile: Option<PathBuf>,
}

/// The file that `--profile` names.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Profile {
    id: Option<String>,
    kid: Option<String>,
    audience: Option<String>,
    url: Option<String>,
    /// Files, from where the profile lies.
    ca: Option<PathBuf>,
    cert: Option<PathBuf>,
    key: Option<PathBuf>,
}

/// The files of a client certificate.
#[derive(Clone, Debug)]
pub struct CertificateFiles {
    /// The certificate, leaf first.
    pub certificate: PathBuf,
    /// Its private key.
    pub key: PathBuf,
}

/// The files that a connection is made with, for those who have to look into them or change them.
#[derive(Clone, Debug, Default)]
pub struct ConnectionFiles {
    /// By what the server is known.
    pub ca: Option<PathBuf>,
    /// With what the caller is proven, if it is a certificate.
    pub identity: Option<CertificateFiles>,
}

/// Which of the flags were written on the command line, rather than taken from the environment.
#[derive(Clone, Debug, Default)]
pub struct Written(Vec<String>);

impl Written {
    /// From what was parsed.
    pub fn from_matches(matches: &ArgMatches) -> Self {
        Self(
            matches
                .ids()
                .map(|id| id.as_str().to_owned())
                .filter(|id| id.starts_with("connection_"))
                .filter(|id| matches.value_source(id) == Some(ValueSource::CommandLine))
                .collect(),
        )
    }

    fn has(&self, flag: &str) -> bool {
        self.0.iter().any(|id| id == flag)
    }
}

/// The flags after the profile was read.
pub struct Connection {
    arguments: ConnectionArguments,
    written: Written,
}

impl Connection {
    /// Reads the profile, if there is one, and fills in what no flag said. A profile named on the
    /// command line also wins over variables.
    ///
    /// # Errors
    /// The profile cannot be read or is not one.
    pub fn resolve(
        mut arguments: ConnectionArguments,
        mut written: Written,
    ) -> Result<Self, CliError> {
        if let Some(path) = &arguments.profile {
            let profile: Profile = serde_json::from_slice(&read_file(path)?).map_err(|_| {
                CliError::local(format!(
                    "{} is not a profile: a JSON object of id, kid, audience, url, ca, cert and key",
                    path.display()
                ))
            })?;
            let profile_first = written.has("connection_profile");
            let fill = |slot: &mut Option<String>, value: Option<String>, flag: &str| {
                if slot.is_none() || (profile_first && !written.has(flag)) {
                    *slot = value.or(slot.take());
                }
            };
            fill(&mut arguments.id, profile.id, "connection_id");
            fill(&mut arguments.kid, profile.kid, "connection_kid");
            fill(
                &mut arguments.audience,
                profile.audience,
                "connection_audience",
            );
            fill(&mut arguments.url, profile.url, "connection_url");
            let beside = |file: Option<PathBuf>| Some(directory_of(path).join(file?));
            // A certificate in a profile that was named decides how the caller is proven.
            let decides =
                profile_first && profile.cert.is_some() && !written.has("connection_jwt_key");
            let fill = |slot: &mut Option<PathBuf>, file: Option<PathBuf>, flag: &str| {
                if slot.is_none() || (profile_first && !written.has(flag)) {
                    *slot = beside(file).or(slot.take());
                }
            };
            let (mut ca, mut cert, mut key) = (
                arguments.ca.take(),
                arguments.cert.take(),
                arguments.key.take(),
            );
            fill(&mut ca, profile.ca, "connection_ca");
            fill(&mut cert, profile.cert, "connection_cert");
            fill(&mut key, profile.key, "connection_key");
            (arguments.ca, arguments.cert, arguments.key) = (ca, cert, key);
            if decides {
                written.0.push("connection_cert".to_owned());
            }
        }
        Ok(Self { arguments, written })
    }

    /// The client of the API.
    ///
    /// # Errors
    /// Something is missing, ambiguous or unreadable.
    pub fn api(&self) -> Result<Api, CliError> {
        Api::new(self.url()?, &read_file(self.ca()?)?, self.authenticator()?)
    }

    /// The server's address.
    ///
    /// # Errors
    /// It is missing.
    pub fn url(&self) -> Result<&str, CliError> {
        self.arguments.url.as_deref().ok_or_else(|| {
            missing(
                "the server's address",
                "--url or STRONGROOM_URL, such as https://localhost:8200",
            )
        })
    }

    /// The file of the server's authorities.
    ///
    /// # Errors
    /// It is missing.
    pub fn ca(&self) -> Result<&Path, CliError> {
        self.arguments.ca.as_deref().ok_or_else(|| {
            missing(
                "the authority of the server's certificate",
                "--ca or STRONGROOM_CA",
            )
        })
    }

    /// Whether `--ca` stands on the command line.
    pub fn wrote_ca(&self) -> bool {
        self.written.has("connection_ca")
    }

    /// The files that the connection is made with.
    pub fn files(&self) -> ConnectionFiles {
        let by_assertion = self.by_assertion().unwrap_or(true);
        let identity = match (&self.arguments.cert, &self.arguments.key) {
            (Some(certificate), Some(key)) if !by_assertion => Some(CertificateFiles {
                certificate: certificate.clone(),
                key: key.clone(),
            }),
            _ => None,
        };
        ConnectionFiles {
            ca: self.arguments.ca.clone(),
            identity,
        }
    }

    /// A maker of assertions, for the command that prints one.
    ///
    /// # Errors
    /// Something is missing or unreadable.
    pub fn token_maker(&self) -> Result<TokenMaker, CliError> {
        let key = self.arguments.jwt_key.as_deref().ok_or_else(|| {
            missing(
                "the key that signs assertions",
                "--jwt-key or STRONGROOM_JWT_KEY",
            )
        })?;
        let kid: KeyId = parsed(self.arguments.kid.as_deref(), "--kid", "STRONGROOM_KID")?;
        let id: PrincipalId = parsed(self.arguments.id.as_deref(), "--id", "STRONGROOM_ID")?;
        let audience = self.arguments.audience.clone().ok_or_else(|| {
            missing(
                "the deployment's id",
                "--audience, STRONGROOM_AUDIENCE or --profile",
            )
        })?;
        token_maker(AssertionSettings {
            key: Secret::new(read_file(key)?),
            kid,
            id,
            audience,
        })
    }

    /// Whether the caller is proven by assertions, or else by a certificate.
    fn by_assertion(&self) -> Result<bool, CliError> {
        let by_certificate = self.arguments.cert.is_some() || self.arguments.key.is_some();
        let by_assertion = self.arguments.jwt_key.is_some();
        // A flag on the command line says which one is meant, when the environment has the other.
        let wrote_certificate =
            self.written.has("connection_cert") || self.written.has("connection_key");
        let wrote_assertion = self.written.has("connection_jwt_key");
        match (by_certificate, by_assertion) {
            (true, true) if wrote_certificate == wrote_assertion => Err(CliError::local(
                "both a client certificate (--cert, --key) and a key for assertions \
                     (--jwt-key) are given: name the one to use on the command line, \
                     or unset the variables of the other",
            )),
            (true, true) => Ok(wrote_assertion),
            (false, false) => Err(missing(
                "who is calling",
                "--cert and --key (STRONGROOM_CERT, STRONGROOM_KEY), or --profile, with --jwt-key \
                 if that is what it has",
            )),
            (_, by_assertion) => Ok(by_assertion),
        }
    }

    fn authenticator(&self) -> Result<Box<dyn Authenticator>, CliError> {
        if self.by_assertion()? {
            return Ok(Box::new(SignedAssertion {
                maker: self.token_maker()?,
                caller: self.arguments.id.clone().unwrap_or_default(),
            }));
        }
        match (&self.arguments.cert, &self.arguments.key) {
            (Some(cert), Some(key)) => Ok(Box::new(MutualTls::from_files(cert, key)?)),
            (None, _) => Err(missing(
                "the client certificate",
                "--cert or STRONGROOM_CERT",
            )),
            (_, None) => Err(missing(
                "the key of the client certificate",
                "--key or STRONGROOM_KEY",
            )),
        }
    }
}

fn missing(what: &str, how: &str) -> CliError {
    CliError::local(format!("{what} is missing: give {how}"))
}

fn parsed<T: std::str::FromStr<Err: std::fmt::Display>>(
    text: Option<&str>,
    flag: &str,
    variable: &str,
) -> Result<T, CliError> {
    text.ok_or_else(|| missing(flag, &format!("{flag}, {variable} or --profile")))?
        .parse()
        .map_err(|rule| CliError::local(format!("{flag} {rule}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(flags: &[&str]) -> Written {
        Written(flags.iter().map(|flag| (*flag).to_owned()).collect())
    }

    #[test]
    fn a_profile_fills_what_no_flag_said() {
        let directory = tempfile::tempdir().unwrap();
        let profile = directory.path().join("worker.json");
        std::fs::write(&profile, r#"{"id":"a","kid":"b","audience":"c","url":"d"}"#).unwrap();
        let arguments = ConnectionArguments {
            url: Some("from the environment".into()),
            kid: Some("from a flag".into()),
            profile: Some(profile.clone()),
            ..ConnectionArguments::default()
        };
        let both = written(&["connection_profile", "connection_kid"]);
        let resolved = Connection::resolve(arguments.clone(), both)
            .ok()
            .unwrap()
            .arguments;
        assert_eq!(resolved.url.as_deref(), Some("d"));
        assert_eq!(resolved.kid.as_deref(), Some("from a flag"));
        assert_eq!(resolved.audience.as_deref(), Some("c"));
        let resolved = Connection::resolve(arguments.clone(), written(&[]))
            .ok()
            .unwrap()
            .arguments;
        assert_eq!(resolved.url.as_deref(), Some("from the environment"));

        std::fs::write(&profile, r#"{"secret":"hunter2"}"#).unwrap();
        let error = Connection::resolve(arguments, written(&[])).err().unwrap();
        assert!(!error.to_string().contains("hunter2"));
    }

    #[test]
    fn a_flag_decides_between_certificate_and_assertion() {
        let connection = |flags: &[&str]| Connection {
            arguments: ConnectionArguments {
                cert: Some("/none/cert".into()),
                key: Some("/none/key".into()),
                jwt_key: Some("/none/jwt".into()),
                ..ConnectionArguments::default()
            },
            written: written(flags),
        };
        let error = |flags: &[&str]| connection(flags).authenticator().err().unwrap().to_string();
        assert!(error(&[]).contains("both"));
        assert!(error(&["connection_cert"]).contains("/none/cert"));
        assert!(error(&["connection_jwt_key"]).contains("--kid"));
    }
}
