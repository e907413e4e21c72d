//! The commented file that `strongroom init` leaves behind.

use std::path::PathBuf;

/// What is known when the file is written; everything else stands there as a comment with its
/// default.
#[derive(Clone, Debug)]
pub struct TemplateValues {
    /// The new deployment's id.
    pub deployment: String,
    /// The data directory.
    pub data: PathBuf,
    /// The name of this node.
    pub node: String,
    /// `None`: embedded. `Some`: the file that holds the PostgreSQL URL.
    pub database_url_file: Option<PathBuf>,
    /// What opens the root key.
    pub root: TemplateRoot,
    /// age plugins that may be started.
    pub plugins: Vec<String>,
    /// Where their programs lie.
    pub plugin_directory: Option<PathBuf>,
    /// Certificate chain and key of the API listener.
    pub certificate: Option<(PathBuf, PathBuf)>,
    /// Address of the API listener, if not the default.
    pub listen: Option<String>,
    /// How clients reach the API.
    pub url: Option<String>,
}

/// What opens the root key, as it is written in the file.
#[derive(Clone, Debug)]
pub enum TemplateRoot {
    /// A file with an age identity.
    IdentityFile(PathBuf),
    /// The name of a systemd credential.
    Credential(String),
    /// A passphrase asked for on the terminal.
    Passphrase,
}

/// A configuration file with every setting, those without a value as comments.
pub fn write_commented_template(values: &TemplateValues) -> String {
    let path = |path: &PathBuf| quoted(&path.to_string_lossy());
    let mut out = String::new();
    let mut line = |text: &str| {
        out.push_str(text);
        out.push('\n');
    };
    line(&format!(
        "# Settings of one Strongroom node. Each can also be a variable: STRONGROOM_ and the path\n\
         # of the key in capitals, so api.listen is STRONGROOM_API_LISTEN; a variable wins over\n\
         # this file. An unknown key or variable stops the start. Relative paths begin here.\n\n\
         # Names this deployment in every key and certificate. Never change it.\n\
         deployment = {}\n\n\
         # Keys, checkpoints and the embedded database. For the service alone (mode 0700).\n\
         data = {}\n\n\
         # Names this node in the audit log. Two nodes never share a name.\n\
         node = {}\n\n[database]",
        quoted(&values.deployment),
        path(&values.data),
        quoted(&values.node),
    ));
    match &values.database_url_file {
        None => line(
            "# \"sqlite\" keeps one file in the data directory. For several nodes, write a URL such\n\
             # as postgres://strongroom:PASSWORD@db.example.com/strongroom into a file of mode 0600\n\
             # and name that file here; url and url_file exclude each other.\n\
             url = \"sqlite\"\n# url_file = \"database-url\"",
        ),
        Some(file) => line(&format!(
            "# The file that holds the PostgreSQL URL with its password (mode 0600).\n\
             # url = \"sqlite\" would keep one file in the data directory instead.\n\
             url_file = {}",
            path(file)
        )),
    }
    line(
        "\n[root]\n# What opens the root key: exactly one of these three. The identity file must lie\n\
         # outside the data directory; credential is a name in systemd's credentials directory.",
    );
    let (identity, credential, passphrase) = match &values.root {
        TemplateRoot::IdentityFile(file) => (Some(path(file)), None, false),
        TemplateRoot::Credential(name) => (None, Some(quoted(name)), false),
        TemplateRoot::Passphrase => (None, None, true),
    };
    line(&setting(
        "identity_file",
        identity.as_deref(),
        "\"/etc/strongroom/identity\"",
    ));
    line(&setting(
        "credential",
        credential.as_deref(),
        "\"root-identity\"",
    ));
    line(&setting("passphrase", passphrase.then_some("true"), "true"));
    line(
        "# age plugins that identities and recipients of the root key may use, and the one directory\n\
         # that their programs are looked for in; without it, the absolute entries of PATH.",
    );
    let plugins = (!values.plugins.is_empty()).then(|| {
        let names: Vec<String> = values.plugins.iter().map(|name| quoted(name)).collect();
        format!("[{}]", names.join(", "))
    });
    line(&setting("plugins", plugins.as_deref(), "[\"yubikey\"]"));
    let directory = values.plugin_directory.as_ref().map(path);
    line(&setting(
        "plugin_directory",
        directory.as_deref(),
        "\"/usr/local/bin\"",
    ));
    line("\n[api]\n# Address and port of the API.");
    let listen = values.listen.as_deref().map(quoted);
    line(&setting("listen", listen.as_deref(), "\"127.0.0.1:8200\""));
    line("# The server's certificate chain and private key, both PEM; the key is PKCS#8.");
    let certificate = values.certificate.as_ref().map(|(file, _)| path(file));
    let key = values.certificate.as_ref().map(|(_, file)| path(file));
    line(&setting(
        "certificate",
        certificate.as_deref(),
        "\"api.pem\"",
    ));
    line(&setting("key", key.as_deref(), "\"api.key\""));
    line("# How clients reach the API, if not by the address above.");
    let url = values.url.as_deref().map(quoted);
    line(&setting(
        "url",
        url.as_deref(),
        "\"https://strongroom.example.com:8200\"",
    ));
    line(
        "\n[pages]\n# Where clients hand credentials in, by links that begin with url. Without listen there are no\n\
         # pages. The certificate is one that browsers trust; without it, one of the own authority.\n\
         # listen = \"0.0.0.0:8201\"\n# url = \"https://intake.example.com\"\n\
         # certificate = \"pages.pem\"\n# key = \"pages.key\"\n\n\
         [status]\n# Health, readiness and metrics, without TLS or authentication.\n\
         # listen = \"127.0.0.1:8202\"\n\n\
         [log]\n# text for people, json for programs.\n# format = \"text\"\n\
         # Which messages: a level, or levels by module.\n# filter = \"info\"\n\n\
         [certificates]\n# Hours that the certificates of enrolled workloads and operators live; they are\n\
         # renewed after two thirds.\n# workload_hours = 168\n# operator_hours = 720\n\n\
         [limits]\n# Connections that may be open at the same time.\n\
         # connections = 10000\n\
         # MiB of sealed rows kept in memory.\n# cache_mib = 32\n\n\
         [backup]\n# Who can open backups: age recipients, separated by spaces. Better not this machine's.\n\
         # It is written as recipients, an equals sign, and age1… in quotes.\n\
         # For how many days your backups are kept: what an erasure tells its client.\n\
         # keep_days = 90\n\n\
         [providers]\n# Which of Microsoft's clouds the clients are in: global, us-government or china.\n\
         # cloud = \"global\"\n\
         # Authorities (PEM) instead of the public ones, for a proxy that opens TLS.\n\
         # ca_file = \"proxy-ca.pem\"\n\
         # Only for trying out: a stand-in on this machine that answers for all providers.\n\
         # stand_in = \"https://localhost:8203\"\n\n\
         [verification]\n# Microsoft's two interfaces: required, reported (one that works is enough) or skipped.\n\
         # graph = \"reported\"\n# ews = \"reported\"\n\
         # Whether a message may be sent from the test address to itself.\n# sending = false\n\
         # The test address where a credential names none.\n# test_mailbox = \"sync-test@example.com\"\n\
         # For how many seconds a refusal may be because what was made is new.\n\
         # settle_seconds = 30\n# How many verifications may be under way at once.\n# at_once = 1000\n\
         # Whether each active credential is verified once a day.\n# daily = true\n\n\
         [mail]\n# Whose name and address mails to clients come from.\n\
         # from = \"Example Sync <access@example.com>\"\n\
         # The mail server, and how the connection to it is protected: starttls (port 587), implicit\n\
         # (port 465), or none for a relay on this machine (port 25).\n\
         # server = \"smtp.example.com\"\n# tls = \"starttls\"\n# port = 587\n\
         # The user that signs in, and the file that holds the password (mode 0600).\n\
         # user = \"access@example.com\"\n# password_file = \"mail-password\"\n\
         # Authorities (PEM) of the server's certificate instead of the public ones.\n\
         # ca_file = \"mail-ca.pem\"\n\
         # Only for trying out: a directory that mails are written into instead.\n\
         # folder = \"mail\"",
    );
    out
}

/// `key = value`, or a comment with an example when there is no value.
fn setting(key: &str, value: Option<&str>, example: &str) -> String {
    match value {
        Some(value) => format!("{key} = {value}"),
        None => format!("# {key} = {example}"),
    }
}

/// A TOML text in quotes, escaped.
fn quoted(text: &str) -> String {
    toml::Value::String(text.to_owned()).to_string()
}
