//! The command line: nouns, then verbs.
//!
//! Exit codes: 0; 1 for an error on this side (usage, files, network); 2 when the server said no.

mod api;
mod assertion;
mod attendant;
mod audit;
mod audit_verify;
mod authenticator;
mod authority;
mod backup;
mod client;
mod connection;
mod contact;
mod credential;
mod data_lock;
mod deployment;
mod dev;
mod doctor;
mod enrol;
mod enrolment_token;
mod environment;
mod error;
mod exec;
mod fetch;
mod fields;
mod files;
mod in_use;
mod init;
mod intake;
mod keys;
mod mail;
mod manual;
mod named;
mod node;
mod operator;
mod principal_key;
mod receipt;
mod recipient;
mod recover;
mod release;
mod renew;
mod restore;
mod role;
mod serve;
mod stopped;
mod submission;
mod table;
mod task;
#[cfg(test)]
mod testing;
mod trust;
mod verification;
mod version;
mod whoami;
mod wiping;
mod workload;

use std::{collections::BTreeMap, ffi::OsString, io::Write};

use clap::{CommandFactory, FromArgMatches, Parser, Subcommand};
use serde_json::Value;

pub use self::{
    api::Api,
    authenticator::{
        AssertionSettings, Authenticator, MutualTls, SignedAssertion, TlsIdentity, TokenMaker,
    },
    error::{CliError, EXIT_LOCAL, EXIT_OK, EXIT_REFUSED, FieldProblem, Problem},
    wiping::{WipingBuffer, WipingJson},
};
use self::{
    connection::{Connection, ConnectionArguments, ConnectionFiles, Written},
    table::{Format, Output},
};
use crate::clock::SystemClock;

/// The environment as an argument.
pub type Environment = BTreeMap<OsString, OsString>;

/// A vault for the credentials that a company's clients lend it.
#[derive(Parser, Debug)]
#[command(
    name = "strongroom",
    version,
    max_term_width = 100,
    after_help = "Exit codes: 0 done, 1 error on this side, 2 the server said no.\n\
                  --help instead of -h also shows which server to call, and as whom.\n\
                  Try it: strongroom dev"
)]
pub struct Cli {
    /// For people or for programs
    #[arg(
        long,
        value_enum,
        global = true,
        default_value = "table",
        env = "STRONGROOM_OUTPUT",
        hide_env_values = true,
        display_order = 900
    )]
    output: Format,
    #[command(flatten)]
    connection: ConnectionArguments,
    #[command(subcommand)]
    command: Command,
}

/// Every command.
#[derive(Subcommand, Debug)]
enum Command {
    /// Start everything on this machine, for trying out
    Dev(dev::Arguments),
    /// Make a new deployment
    #[command(
        after_help = "Example:\n  strongroom init --config /etc/strongroom/strongroom.toml \
        --data /var/lib/strongroom --identity-file /etc/strongroom/identity \
        --operator 'Ada Example' --operator-certificate ada.pem"
    )]
    Init(init::Arguments),
    /// Run the service
    #[command(after_help = "Example:\n  strongroom serve --config /etc/strongroom/strongroom.toml")]
    Serve(serve::Arguments),
    /// Let a new operator in when nobody can sign in any more; the service must be stopped
    #[command(
        after_help = "Example:\n  strongroom recover --config /etc/strongroom/strongroom.toml \
        --operator 'Ada Again' --operator-csr ada.csr\n\
        It needs what opens the root key. The audit log keeps that it was done."
    )]
    Recover(recover::Arguments),

    /// Say what is wrong with a configuration or a deployment; changes nothing
    #[command(
        after_help = "Example:\n  sudo -u strongroom strongroom doctor --config \
        /etc/strongroom/strongroom.toml\n\
        Exit code 1 when there is a problem, 0 with warnings only. Run it as the service's user."
    )]
    Doctor(doctor::Arguments),

    /// Get a first certificate with a one-time token, for a key that is made here
    #[command(
        after_help = "Example:\n  strongroom enrol --url https://strongroom.example.com:8200 \
        --ca ca.pem --token-file - --dir /etc/strongroom/worker\n\
        The directory gets the key (0600), the certificate, ca.pem and profile.json, with which other \
        commands are called: --profile DIR/profile.json, or STRONGROOM_PROFILE. The key is never \
        sent. Enrolling ends the keys of the same worker or operator that had a certificate of this \
        service before."
    )]
    Enrol(enrol::Arguments),
    /// Get the next certificate for the same key
    #[command(
        after_help = "Example:\n  strongroom renew --profile /etc/strongroom/worker/profile.json \
        --if-due\n\
        The certificate's file is replaced in one step; the key stays. `fetch` and `exec` do the same \
        by themselves when it is due."
    )]
    Renew(renew::Arguments),

    /// Worker: get credentials
    #[command(
        after_help = "Example:\n  strongroom fetch --dir /run/worker/credentials\n\
        Each file is CLIENT.CREDENTIAL.json with mode 0600. When the server cannot open some of \
        them, the others are written and the exit code is 1.\n\
        A template has credentials[ID or 'client-slug/label'].fields.NAME, a list `all` of entries \
        (id, label, kind, client.slug, version, fields and so on), if and for, and the filters json, \
        sh and base64. What is not there is an error, and nothing is written."
    )]
    Fetch(fetch::Arguments),
    /// Worker: run a program with credentials in its environment
    #[command(
        after_help = "Example:\n  strongroom exec --env SECRET=example-realty/mail\\ sync.client_secret \
        -- ./sync-worker --verbose\n\
        The program gets the environment without STRONGROOM_* variables, and what --env and --file \
        say. Signals are passed on and its exit code comes back, 128 and the number for a signal; \
        126 and 127 when it cannot be run or is not there. A copy (--cache) that is younger than \
        --cache-ask-after is used without asking the server."
    )]
    Exec(exec::Arguments),
    /// Worker: say which version is now in use
    #[command(after_help = "Example:\n  strongroom in-use --credential cred_01… --version 3")]
    InUse(in_use::Arguments),
    /// Worker: print a fresh signed assertion, good for one request
    #[command(
        after_help = "Example:\n  strongroom assertion --profile worker.json --jwt-key worker.jwt.key"
    )]
    Assertion,
    /// Show who the server takes you for
    Whoami,

    /// Companies whose credentials are held
    #[command(
        subcommand,
        after_help = "Example:\n  strongroom client add --name 'Example Realty' --slug example-realty"
    )]
    Client(client::Command),
    /// People at a client
    #[command(
        subcommand,
        after_help = "Example:\n  strongroom contact add example-realty --name 'Ada Example' \
        --email ada@example.com --role technical"
    )]
    Contact(contact::Command),
    /// What clients lend, without its values
    #[command(
        subcommand,
        after_help = "Examples:\n  strongroom credential list --expires-before 2028-12-01\n  \
        strongroom credential version add cred_01… --field tenant_id=T --field client_secret=@FILE"
    )]
    Credential(credential::Command),
    /// Asking clients for credentials by a link
    #[command(
        subcommand,
        after_help = "Example:\n  strongroom intake invite --client example-realty --kind microsoft365 \
        --label 'mail sync' --environment production --role m365-sync \
        --contact ada@example.com --no-mail"
    )]
    Intake(intake::Command),
    /// What clients handed in
    #[command(
        subcommand,
        after_help = "Example:\n  strongroom submission watch subm_01…"
    )]
    Submission(submission::Command),
    /// What an operator has to look at
    #[command(subcommand, after_help = "Example:\n  strongroom task list")]
    Task(task::Command),
    /// What servers are for
    #[command(subcommand, after_help = "Example:\n  strongroom role add m365-sync")]
    Role(named::Command),
    /// Where servers run
    #[command(
        subcommand,
        after_help = "Example:\n  strongroom environment add production"
    )]
    Environment(named::Command),
    /// Registered servers
    #[command(
        subcommand,
        after_help = "Examples:\n  strongroom workload enrol --name sync-1 --environment production \
        --role m365-sync --token\n  \
        strongroom workload token sync-1\n  \
        strongroom workload enrol --name sync-2 --environment production \
        --role m365-sync --csr sync-2.csr --certificate-out sync-2.pem\n\
        What the token is for is in `strongroom enrol --help`."
    )]
    Workload(workload::Command),
    /// People of the vendor
    #[command(
        subcommand,
        after_help = "Examples:\n  strongroom operator enrol --name 'Ada Example' --role auditor --token\n  \
        strongroom operator token 'Ada Example'\n  \
        strongroom operator enrol --name 'Ada Example' --role auditor --certificate ada.pem"
    )]
    Operator(operator::Command),
    /// Whose client certificates are accepted
    #[command(
        subcommand,
        after_help = "Example:\n  strongroom authority add --name mesh --certificate mesh.pem --trust-domain mesh.example.com"
    )]
    Authority(authority::Command),
    /// Who got which version, first and last
    #[command(
        subcommand,
        after_help = "Example:\n  strongroom receipt list --credential cred_01…"
    )]
    Receipt(receipt::Command),
    /// Mails to clients: what was sent, what waits, and whether mail arrives
    #[command(
        subcommand,
        after_help = "Examples:\n  strongroom mail test --to ada@example.com\n  \
        strongroom mail list --state unknown"
    )]
    Mail(mail::Command),
    /// Generations of the service's own keys
    #[command(subcommand, after_help = "Example:\n  strongroom keys list")]
    Keys(keys::Command),
    /// Put a backup into an empty database, with the service stopped
    #[command(after_help = "Example:\n  strongroom restore strongroom.backup \
        --config /etc/strongroom/strongroom.toml --backup-identity recovery.txt --accept-older\n\
        What is restored releases nothing until `strongroom deployment thaw`.")]
    Restore(restore::Arguments),
    /// The deployment as a whole: after a restore, and releasing values again
    #[command(
        subcommand,
        after_help = "Example:\n  strongroom deployment thaw --confirm prod-01… --confirm-revocations"
    )]
    Deployment(deployment::Command),
    /// Take the whole deployment away, encrypted, and check what was taken
    #[command(
        subcommand,
        after_help = "Examples:\n  strongroom backup create --out strongroom.backup --recipient age1…\n  \
        strongroom backup verify strongroom.backup --identity recovery.txt --audit-key KEY"
    )]
    Backup(backup::Command),
    /// The record of who did what
    #[command(
        subcommand,
        after_help = "Examples:\n  strongroom audit list --subject cred_01… --since 2028-01-01\n  \
        strongroom audit export log.ndjson\n  strongroom audit verify log.ndjson --public-key KEY"
    )]
    Audit(audit::Command),

    /// Print a script that makes a shell complete commands
    #[command(after_help = "Example:\n  strongroom completions bash > \
        /usr/share/bash-completion/completions/strongroom")]
    Completions(manual::CompletionsArguments),
    /// Write the manual pages into a directory
    #[command(after_help = "Example:\n  strongroom man /usr/share/man/man1")]
    Man(manual::ManArguments),
}

/// What a command that calls the API works with.
pub struct Session {
    /// The server.
    pub api: Api,
    /// Where results go.
    pub out: Output,
    /// The files that the connection is made with.
    pub files: ConnectionFiles,
}

/// Whether the command line starts another program, which must not inherit what this process does
/// without.
pub fn starts_programs(arguments: &[OsString]) -> bool {
    // Whatever cannot be read will not start anything.
    Cli::command()
        .try_get_matches_from(arguments)
        .is_ok_and(|matches| matches.subcommand_name() == Some("exec"))
}

/// Runs the command line `arguments` (the program's name first) in `environment`, and returns the
/// exit code. Results go to standard output, everything else to standard error.
pub fn run(
    arguments: impl IntoIterator<Item = OsString>,
    environment: impl IntoIterator<Item = (OsString, OsString)>,
) -> u8 {
    let environment: Environment = environment.into_iter().collect();
    let matches = match Cli::command().try_get_matches_from(arguments) {
        Ok(matches) => matches,
        Err(error) => {
            let _ = error.print();
            // clap would say 2, which here means that the server said no.
            return if error.use_stderr() {
                EXIT_LOCAL
            } else {
                EXIT_OK
            };
        }
    };
    let result = crate::config::check_environment(environment.keys())
        .map_err(|error| CliError::local(error.to_string()))
        .and_then(|()| {
            let cli = Cli::from_arg_matches(&matches)
                .map_err(|error| CliError::local(error.to_string()))?;
            let written = Written::from_matches(&matches);
            cli.run(written, &environment, Box::new(std::io::stdout()))
        });
    match result {
        Ok(()) => EXIT_OK,
        Err(error) => {
            error.report(&mut std::io::stderr().lock());
            error.exit_code()
        }
    }
}

impl Cli {
    fn run(
        self,
        written: Written,
        environment: &Environment,
        stdout: Box<dyn Write + Send>,
    ) -> Result<(), CliError> {
        match &self.command {
            Command::Dev(arguments) => return dev::run(arguments, environment),
            Command::Init(arguments) => return init::run(arguments, environment),
            Command::Serve(arguments) => return serve::run(arguments, environment),
            Command::Recover(arguments) => return recover::run(arguments, environment),
            Command::Doctor(arguments) => {
                let mut out = Output::new(self.output, stdout);
                return doctor::run(arguments, environment, &mut out);
            }
            Command::Completions(arguments) => {
                let mut stdout = stdout;
                return manual::completions(arguments, &mut stdout);
            }
            Command::Man(arguments) => return manual::man(arguments),
            Command::Keys(keys::Command::Recipient(command)) => {
                let mut out = Output::new(self.output, stdout);
                return recipient::run(command, environment, &mut out);
            }
            Command::Audit(audit::Command::Verify(arguments)) => {
                let mut out = Output::new(self.output, stdout);
                return audit_verify::run(arguments, self.output, &mut out);
            }
            Command::Restore(arguments) => {
                let mut out = Output::new(self.output, stdout);
                return restore::run(arguments, environment, &mut out);
            }
            Command::Backup(backup::Command::Drill(arguments)) => {
                let mut out = Output::new(self.output, stdout);
                return backup::drill(arguments, self.output, &mut out);
            }
            Command::Backup(backup::Command::Verify(arguments)) => {
                let mut out = Output::new(self.output, stdout);
                return backup::verify(arguments, self.output, &mut out);
            }
            _ => {}
        }
        let connection = Connection::resolve(self.connection, written)?;
        let mut out = Output::new(self.output, stdout);
        if matches!(self.command, Command::Assertion) {
            return assertion::run(&connection, &mut out);
        }
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(|error| CliError::local(format!("cannot start: {error}")))?;
        if let Command::Enrol(arguments) = &self.command {
            return runtime.block_on(enrol::run(arguments, &connection, &mut out));
        }
        let mut session = Session {
            api: connection.api()?,
            out,
            files: connection.files(),
        };
        runtime.block_on(self.command.call(&mut session, environment))
    }
}

impl Command {
    /// Runs a command that calls the API.
    async fn call(self, session: &mut Session, environment: &Environment) -> Result<(), CliError> {
        match self {
            Self::Fetch(arguments) => {
                let result = fetch::run(arguments, session, environment, &SystemClock).await;
                renew::after(&result, session, &SystemClock).await;
                result
            }
            Self::Exec(arguments) => {
                let result = exec::run(arguments, session, environment, &SystemClock).await;
                renew::explain(&result, session, &SystemClock);
                result
            }
            Self::Renew(arguments) => renew::run(&arguments, session, &SystemClock).await,
            Self::InUse(arguments) => in_use::run(arguments, session).await,
            Self::Whoami => whoami::run(session).await,
            Self::Client(command) => client::run(command, session).await,
            Self::Contact(command) => contact::run(command, session).await,
            Self::Credential(command) => credential::run(command, session).await,
            Self::Intake(command) => intake::run(command, session).await,
            Self::Submission(command) => submission::run(command, session).await,
            Self::Task(command) => task::run(command, session).await,
            Self::Role(command) => role::run(command, session).await,
            Self::Environment(command) => environment::run(command, session).await,
            Self::Workload(command) => workload::run(command, session).await,
            Self::Operator(command) => operator::run(command, session).await,
            Self::Authority(command) => authority::run(command, session).await,
            Self::Mail(command) => mail::run(command, session).await,
            Self::Receipt(command) => receipt::run(command, session).await,
            Self::Keys(command) => keys::run(command, session).await,
            Self::Audit(command) => audit::run(command, session).await,
            Self::Backup(command) => backup::run(command, session).await,
            Self::Deployment(command) => deployment::run(command, session).await,
            Self::Dev(_)
            | Self::Init(_)
            | Self::Serve(_)
            | Self::Restore(_)
            | Self::Recover(_)
            | Self::Doctor(_)
            | Self::Enrol(_)
            | Self::Completions(_)
            | Self::Man(_)
            | Self::Assertion => Err(CliError::local("this command does not call the API")),
        }
    }
}

/// A JSON object of those members that have a value.
fn members<const N: usize>(members: [(&str, Option<Value>); N]) -> Value {
    members
        .into_iter()
        .filter_map(|(name, value)| Some((name.to_owned(), value?)))
        .collect()
}

#[cfg(test)]
mod tests;
