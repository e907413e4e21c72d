//! `init`: makes a new deployment.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use clap::Args;
use subtle::ConstantTimeEq as _;

use super::attendant;
use super::data_lock::{DataLock, private_directory};
use super::dev::new_deployment_id;
use super::files::NewFile;
use super::node::{on_fatal, runtime};
use super::serve::{ask_passphrase, open_database, read_identities};
use super::{Environment, error::CliError};
use crate::clock::{Clock, SystemClock};
use crate::config::{
    Database as DatabaseConfig, PluginsConfig, RootSource, TemplateRoot, TemplateValues,
    write_commented_template,
};
use crate::crypto::{Identity, Plugins, Recipient, is_plugin_name};
use crate::model::{DisplayName, Slug};
use crate::random::SystemRandom;
use crate::secret::Secret;
use crate::store::sqlite_path;
use crate::vault::{
    BackupSettings, Bootstrapped, CertificateLifetimes, Correspondence, FirstKey, Initialise, Open,
    Vault, VaultError, initialise,
};

/// What the new deployment is.
#[derive(Args, Debug)]
pub struct Arguments {
    /// Where to write the settings; must not exist
    #[arg(long, value_name = "FILE")]
    pub config: PathBuf,
    /// The data directory; must be empty or absent
    #[arg(long, value_name = "DIR")]
    pub data: PathBuf,
    /// Name of this node
    #[arg(long, default_value = "main")]
    pub node: Slug,
    /// File that holds a PostgreSQL URL; embedded database when left out
    #[arg(long, value_name = "FILE")]
    pub database_url_file: Option<PathBuf>,
    #[command(flatten)]
    pub root: Root,
    /// Recovery recipient (age1…) that can also open the root key; may be repeated
    #[arg(long = "recovery-recipient", value_name = "RECIPIENT")]
    pub recovery_recipients: Vec<String>,
    /// age plugin that identities and recipients may use, such as yubikey; may be repeated
    #[arg(long = "plugin", value_name = "NAME")]
    pub plugins: Vec<String>,
    /// The only directory that plugins are looked for in; PATH when left out
    #[arg(long, value_name = "DIR")]
    pub plugin_directory: Option<PathBuf>,
    /// Name of the first operator, who gets the role tech-ops
    #[arg(long, value_name = "NAME")]
    pub operator: DisplayName,
    #[command(flatten)]
    pub operator_key: OperatorKey,
}

/// What opens the root key at start.
#[derive(Args, Debug)]
#[group(required = true, multiple = false)]
pub struct Root {
    /// age identity file of this machine; made if it does not exist
    #[arg(long, value_name = "FILE")]
    pub identity_file: Option<PathBuf>,
    /// Name of a systemd credential that holds an age identity
    #[arg(long, value_name = "NAME")]
    pub credential: Option<String>,
    /// Ask for a passphrase on the terminal at each start
    #[arg(long)]
    pub passphrase: bool,
}

/// What the first operator is known by.
#[derive(Args, Debug)]
#[group(required = true, multiple = false)]
pub struct OperatorKey {
    /// Client certificate to pin (PEM)
    #[arg(long, value_name = "FILE")]
    pub operator_certificate: Option<PathBuf>,
    /// Public key for assertions (PEM)
    #[arg(long, value_name = "FILE")]
    pub operator_public_key: Option<PathBuf>,
    /// Certificate signing request (PEM) for the new authority to sign
    #[arg(long, value_name = "FILE")]
    pub operator_csr: Option<PathBuf>,
}

/// What can open the new root key, and how.
struct Access {
    recipients: Vec<Recipient>,
    passphrase: Option<Recipient>,
    identities: Vec<Identity>,
    template: TemplateRoot,
}

/// Makes the deployment.
///
/// # Errors
/// Something exists already, or cannot be written.
pub fn run(arguments: &Arguments, environment: &Environment) -> Result<(), CliError> {
    check_places(arguments)?;
    let operator_key = read_operator_key(&arguments.operator_key)?;
    first_key(&operator_key)
        .check(SystemClock.now())
        .map_err(|error| broken_key(&error))?;
    let access = access(arguments, environment)?;
    runtime()?.block_on(make(arguments, &operator_key, access))
}

fn check_places(arguments: &Arguments) -> Result<(), CliError> {
    let config = &arguments.config;
    let beside = ["ca.pem", "operator.pem"].map(|name| config.with_file_name(name));
    for path in std::iter::once(config).chain(&beside) {
        if path.exists() {
            return Err(CliError::local(format!(
                "{} exists: choose another place for the settings and what is written beside \
                 them, or remove it",
                path.display()
            )));
        }
    }
    let used = std::fs::read_dir(&arguments.data).is_ok_and(|mut files| files.next().is_some());
    if used {
        return Err(CliError::local(format!(
            "{} is not empty: a deployment's data directory must be new",
            arguments.data.display()
        )));
    }
    let absolute = |path: &Path| std::path::absolute(path).unwrap_or_else(|_| path.to_path_buf());
    if let Some(identity) = &arguments.root.identity_file
        && absolute(identity).starts_with(absolute(&arguments.data))
    {
        return Err(CliError::local(
            "--identity-file lies inside --data: whoever copies the data directory would have the \
             key to it as well. Choose a place outside",
        ));
    }
    Ok(())
}

pub(super) fn read_operator_key(key: &OperatorKey) -> Result<(KeyKind, String), CliError> {
    let read = |kind, path: &PathBuf| {
        let text = std::fs::read_to_string(path)
            .map_err(|error| CliError::local(format!("cannot read {}: {error}", path.display())));
        text.map(|text| (kind, text))
    };
    match (
        &key.operator_certificate,
        &key.operator_public_key,
        &key.operator_csr,
    ) {
        (Some(path), _, _) => read(KeyKind::Certificate, path),
        (_, Some(path), _) => read(KeyKind::PublicKey, path),
        (_, _, Some(path)) => read(KeyKind::Request, path),
        _ => Err(CliError::local("the first operator needs a key")),
    }
}

pub(super) fn first_key((kind, pem): &(KeyKind, String)) -> FirstKey<'_> {
    match kind {
        KeyKind::Certificate => FirstKey::Certificate(pem),
        KeyKind::PublicKey => FirstKey::PublicKey(pem),
        KeyKind::Request => FirstKey::Request(pem),
    }
}

pub(super) fn broken_key(error: &VaultError) -> CliError {
    let rule = match error {
        VaultError::Invalid(errors) => errors.first().map(|error| error.rule.to_string()),
        _ => None,
    };
    let rule = rule.unwrap_or_else(|| error.to_string());
    CliError::local(format!("the operator's key cannot be used: it {rule}"))
}

/// How the operator of tech-ops whom no other operator enrols is known.
#[derive(Clone, Copy)]
pub(super) enum KeyKind {
    Certificate,
    PublicKey,
    Request,
}

/// The plugins that the new settings will allow.
fn read_plugins(arguments: &Arguments, environment: &Environment) -> Result<Plugins, CliError> {
    if !arguments.plugins.iter().all(|name| is_plugin_name(name)) {
        return Err(CliError::local(
            "--plugin must be the name of an age plugin: a-z, 0-9, + . _ - and no path",
        ));
    }
    if arguments
        .plugin_directory
        .as_ref()
        .is_some_and(|path| path.is_relative())
    {
        return Err(CliError::local(
            "--plugin-directory must be an absolute path",
        ));
    }
    let config = PluginsConfig {
        names: arguments.plugins.clone(),
        directory: arguments.plugin_directory.clone(),
    };
    Ok(attendant::plugins(&config, environment))
}

fn access(arguments: &Arguments, environment: &Environment) -> Result<Access, CliError> {
    let plugins = read_plugins(arguments, environment)?;
    let mut recipients = Vec::new();
    for text in &arguments.recovery_recipients {
        recipients.push(
            Recipient::parse_with(text, &plugins)
                .map_err(|error| CliError::local(format!("--recovery-recipient: {error}")))?,
        );
    }
    let root = &arguments.root;
    if root.passphrase {
        let passphrase = ask_passphrase("New passphrase of the root key: ")?;
        let again = ask_passphrase("The same again: ")?;
        let same = passphrase.expose_secret().ct_eq(again.expose_secret());
        if !bool::from(same) {
            return Err(CliError::local("the two passphrases differ"));
        }
        if passphrase.len() < 12 {
            return Err(CliError::local(
                "the passphrase must have at least 12 characters",
            ));
        }
        let failed = |error: &dyn std::fmt::Display| CliError::local(error.to_string());
        let recipient = Recipient::passphrase(&passphrase, PASSPHRASE_WORK_FACTOR)
            .map_err(|error| failed(&error))?;
        let identity = Identity::passphrase(&passphrase).map_err(|error| failed(&error))?;
        return Ok(Access {
            recipients,
            passphrase: Some(recipient),
            identities: vec![identity],
            template: TemplateRoot::Passphrase,
        });
    }
    let (source, template) = match (&root.identity_file, &root.credential) {
        (Some(path), _) => {
            if !path.exists() {
                let (text, _) = Identity::generate();
                Identity::write_file(path, &text)
                    .map_err(|error| CliError::local(format!("{}: {error}", path.display())))?;
            }
            let path = std::path::absolute(path).unwrap_or_else(|_| path.clone());
            (
                RootSource::IdentityFile(path.clone()),
                TemplateRoot::IdentityFile(path),
            )
        }
        (None, Some(name)) => {
            let directory = environment.get(std::ffi::OsStr::new("CREDENTIALS_DIRECTORY"));
            let directory = directory.ok_or_else(|| {
                CliError::local(
                    "--credential needs CREDENTIALS_DIRECTORY, which systemd sets: run init under \
                     `systemd-run -p LoadCredential=…`, or use --identity-file",
                )
            })?;
            let path = Path::new(directory).join(name);
            (
                RootSource::Credential(path),
                TemplateRoot::Credential(name.clone()),
            )
        }
        (None, None) => return Err(CliError::local("say what opens the root key at start")),
    };
    let identities = read_identities(&source, &plugins, environment)?;
    if identities
        .iter()
        .any(|identity| identity.recipient().is_none())
    {
        return Err(CliError::local(
            "the identity of a plugin has no recipient: write the line `# Recipient: age1…` before \
             it, as the plugin's own tools do",
        ));
    }
    recipients.extend(identities.iter().filter_map(Identity::recipient));
    Ok(Access {
        recipients,
        passphrase: None,
        identities,
        template,
    })
}

/// scrypt's work factor for a passphrase: about a second on a server of today, 256 MiB.
const PASSPHRASE_WORK_FACTOR: u8 = 18;

async fn make(
    arguments: &Arguments,
    operator_key: &(KeyKind, String),
    access: Access,
) -> Result<(), CliError> {
    let local = |error: &dyn std::fmt::Display| CliError::local(error.to_string());
    let data = std::path::absolute(&arguments.data).unwrap_or_else(|_| arguments.data.clone());
    private_directory(&data.join("keys"))?;
    let _lock = DataLock::take(&data)?;
    let clock = SystemClock;
    let random = SystemRandom::new();
    let deployment = new_deployment_id("prod", &clock, &random)?;
    let url_file = arguments.database_url_file.as_ref();
    let url_file = url_file.map(|file| std::path::absolute(file).unwrap_or_else(|_| file.clone()));
    let database = match &url_file {
        None => DatabaseConfig::Sqlite(sqlite_path(&data)),
        Some(file) => {
            DatabaseConfig::Postgres(Secret::new(std::fs::read(file).map_err(|error| {
                CliError::local(format!("cannot read {}: {error}", file.display()))
            })?))
        }
    };
    let database = open_database(&database, true).await?;
    {
        let mut tx = database.read().await.map_err(|error| local(&error))?;
        if tx
            .deployment()
            .await
            .map_err(|error| local(&error))?
            .is_some()
        {
            return Err(CliError::local(
                "the database holds a deployment already: add a node with a copy of its settings, \
                 or give the new deployment a database of its own",
            ));
        }
    }
    initialise(&Initialise {
        database: &database,
        data: &data,
        deployment: &deployment,
        recipients: &access.recipients,
        passphrase: access.passphrase.as_ref(),
        clock: &clock,
        random: &random,
    })
    .await
    .map_err(|error| local(&error))?;
    let vault = Vault::open(Open {
        database,
        data: Some(data.clone()),
        deployment: Some(deployment.clone()),
        node: arguments.node.clone(),
        identities: access.identities,
        url: None,
        cache_bytes: 1024 * 1024,
        correspondence: Correspondence::default(),
        backups: BackupSettings::default(),
        lifetimes: CertificateLifetimes::default(),
        accept_rollback: false,
        clock: Arc::new(clock),
        random: Arc::new(random),
        on_fatal: Arc::new(on_fatal),
    })
    .await
    .map_err(|error| local(&error))?;
    let first = first_key(operator_key);
    let first = vault.bootstrap(arguments.operator.clone(), first).await;
    let first = first.map_err(|error| local(&error))?;
    let audit_key = vault.audit_key().to_string();
    vault.close().await;

    let settings = write_commented_template(&TemplateValues {
        deployment: deployment.clone(),
        data: data.clone(),
        node: arguments.node.to_string(),
        database_url_file: url_file,
        root: access.template,
        plugins: arguments.plugins.clone(),
        plugin_directory: arguments.plugin_directory.clone(),
        certificate: None,
        listen: None,
        url: None,
    });
    write(&arguments.config, 0o600, settings.as_bytes())?;
    let ca = arguments.config.with_file_name("ca.pem");
    write(&ca, 0o644, first.authority.as_bytes())?;
    if let Some(certificate) = &first.certificate {
        write(
            &arguments.config.with_file_name("operator.pem"),
            0o644,
            certificate.as_bytes(),
        )?;
    }
    report(arguments, &deployment, &first, &audit_key, &ca, &data)
}

fn write(path: &Path, mode: u32, content: &[u8]) -> Result<(), CliError> {
    let mut file = NewFile::create(path, mode)?;
    file.write_all(content)
        .map_err(|error| CliError::local(format!("cannot write {}: {error}", path.display())))?;
    file.finish()
}

fn report(
    arguments: &Arguments,
    deployment: &str,
    first: &Bootstrapped,
    audit_key: &str,
    ca: &Path,
    data: &Path,
) -> Result<(), CliError> {
    let opener = match (&arguments.root.identity_file, &arguments.root.credential) {
        (Some(path), _) => format!(
            "{}\n      opens the root key. Keep it off backups of the data directory; better still, \
             hand it over\n      with systemd's LoadCredential and set root.credential instead",
            path.display()
        ),
        (_, Some(name)) => format!("the systemd credential {name} opens the root key"),
        _ => "the passphrase opens the root key; it is asked for at each start".to_owned(),
    };
    let recovery = match arguments.recovery_recipients.len() {
        0 => {
            "There is no recovery recipient: if what opens the root key is lost, every credential \
              is lost.\n      Start again with --recovery-recipient age1… before real data goes in."
                .to_owned()
        }
        count => format!(
            "{count} recovery recipient(s) can open the root key too. Keep their identities on paper \
             or offline,\n      away from this machine, and never use them as API keys."
        ),
    };
    let text = format!(
        "Made the deployment {deployment}.\n\n\
         What lies where, and what to keep:\n\n\
         \x20  settings   {config}\n\
         \x20  data       {data}\n      back it up together with the database; it is useless without a key\n\
         \x20  keys       {opener}\n\
         \x20  recovery   {recovery}\n\
         \x20  {ca}\n      the deployment's own authority: clients need it to know this server\n\
         \x20  audit key  {audit_key}\n      give it to your auditors: it checks exported audit logs\n\n\
         First operator: {operator}, role tech-ops, key {key}\n\n\
         Next:\n  strongroom serve --config {config}\n",
        config = arguments.config.display(),
        data = data.display(),
        ca = ca.display(),
        operator = first.operator,
        key = first.key,
    );
    std::io::stdout()
        .write_all(text.as_bytes())
        .map_err(|error| CliError::local(format!("cannot write the report: {error}")))
}
