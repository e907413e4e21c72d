//! A real deployment for tests: SQLite in a temporary directory, a clock that stands still, the
//! system's randomness, and an operator who may do everything but read values.

use std::sync::Arc;

use sqlx::{Connection, SqliteConnection};
use tempfile::TempDir;

use super::{
    BackupSettings, CertificateLifetimes, ClientView, Correspondence, CredentialView, FirstKey,
    Form, Initialise, KeyView, NewClient, NewCredential, NewKey, NewName, NewVersion, NewWorkload,
    Open, ReleaseAnswer, Vault, VaultError, VersionView, WorkloadView, initialise,
};
use crate::clock::{Clock, MockClock};
use crate::crypto::{Identity, Recipient};
use crate::model::{CredentialId, CredentialKind, KeyId, PrincipalId, RequestId, Slug, Timestamp};
use crate::pki::P256Key;
use crate::random::SystemRandom;
use crate::secret::Secret;
use crate::store::{Database, sqlite_path};
use crate::vault::Caller;

const DEPLOYMENT: &str = "dev-01kaqz3m8v7d6k2n4p9r5s1t0x";

/// A deployment with an operator.
pub(crate) struct Deployment {
    pub vault: Arc<Vault>,
    /// The operator's request. Look it up anew with [`Deployment::identify`] after a change of them.
    pub operator: Caller,
    pub clock: Arc<MockClock>,
    data: TempDir,
    identity: Secret,
    operator_key: KeyId,
    certificate: String,
    fatal: Fatal,
}

/// The reasons for which the process would have ended.
type Fatal = Arc<std::sync::Mutex<Vec<&'static str>>>;

/// A workload and its key.
pub(crate) struct Server {
    pub view: WorkloadView,
    pub key: KeyView,
}

pub(crate) fn slug(text: &str) -> Slug {
    text.parse().unwrap()
}

impl Deployment {
    /// A new deployment with roles `m365-sync` and `other`, environments `production` and `staging`,
    /// and the client `example-realty`.
    pub async fn new() -> Self {
        Self::on(None).await
    }

    /// The same on this database, or on SQLite.
    pub async fn on(database: Option<Database>) -> Self {
        let data = TempDir::new().unwrap();
        std::fs::create_dir(data.path().join("keys")).unwrap();
        let clock = Arc::new(MockClock::at(Timestamp::from_secs(1_800_000_000)));
        let random = SystemRandom::new();
        let (identity, recipient) = Identity::generate();
        let recipients: [Recipient; 1] = [recipient];
        let database = match database {
            Some(database) => database,
            None => {
                let path = sqlite_path(data.path());
                Database::open_sqlite(&path, true).await.unwrap()
            }
        };
        let what = Initialise {
            database: &database,
            data: data.path(),
            deployment: DEPLOYMENT,
            recipients: &recipients,
            passphrase: None,
            clock: clock.as_ref(),
            random: &random,
        };
        initialise(&what).await.unwrap();
        let fatal = Fatal::default();
        let vault = open(database, &data, &identity, &clock, &fatal, reach()).await;
        let request = P256Key::generate().unwrap().request_pem().unwrap();
        let first = FirstKey::Request(&request);
        let done = vault.bootstrap("First".parse().unwrap(), first).await;
        let done = done.unwrap();
        let operator_key = done.key;
        let operator = identify(&vault, operator_key).await.unwrap();
        let this = Self {
            vault,
            operator,
            clock,
            data,
            identity,
            operator_key,
            certificate: done.certificate.unwrap(),
            fatal,
        };
        for name in ["m365-sync", "other"] {
            let new = NewName { name: slug(name) };
            this.vault.create_role(&this.operator, new).await.unwrap();
        }
        for name in ["production", "staging"] {
            let new = NewName { name: slug(name) };
            let made = this.vault.create_environment(&this.operator, new).await;
            made.unwrap();
        }
        this.client("example-realty", "Example Realty").await;
        this
    }

    /// The same deployment after a restart: nothing is in memory.
    pub async fn restart(self) -> Self {
        self.restart_reaching(reach()).await
    }

    /// A new deployment that sends no mail.
    pub async fn without_mail() -> Self {
        let reach = Correspondence::default();
        Self::new().await.restart_reaching(reach).await
    }

    async fn restart_reaching(mut self, reach: Correspondence) -> Self {
        self.vault.close().await;
        let database = Database::open_sqlite(&sqlite_path(self.data.path()), false).await;
        let database = database.unwrap();
        let (data, fatal) = (&self.data, &self.fatal);
        self.vault = open(database, data, &self.identity, &self.clock, fatal, reach).await;
        // Whoever forged the operator's row has no operator any more.
        if let Ok(operator) = identify(&self.vault, self.operator_key).await {
            self.operator = operator;
        }
        self
    }

    /// Another node, with its own pair of hands on the same database.
    pub async fn another_node(&self, name: &str, database: Database) -> Arc<Vault> {
        let (data, fatal) = (&self.data, &self.fatal);
        open_as(
            name,
            database,
            data,
            &self.identity,
            &self.clock,
            fatal,
            reach(),
        )
        .await
    }

    /// The reasons for which the process would have ended.
    pub fn fatal(&self) -> Vec<&'static str> {
        self.fatal.lock().unwrap().clone()
    }

    /// Another pair of hands on the same database.
    pub async fn database(&self) -> Database {
        let path = sqlite_path(self.data.path());
        Database::open_sqlite(&path, false).await.unwrap()
    }

    /// The files of the database, its journal included.
    pub fn files(&self) -> Vec<std::path::PathBuf> {
        let entries = std::fs::read_dir(self.data.path()).unwrap();
        let files = entries.map(|entry| entry.unwrap().path());
        files.filter(|path| path.is_file()).collect()
    }

    /// Whoever holds a key, as the registry knows them now.
    pub async fn identify(&self, key: KeyId) -> Result<Caller, VaultError> {
        identify(&self.vault, key).await
    }

    /// The operator's key.
    pub fn operator_key(&self) -> KeyId {
        self.operator_key
    }

    /// The operator's certificate in PEM.
    pub fn operator_certificate(&self) -> &str {
        &self.certificate
    }

    /// Runs SQL in the database behind the service's back.
    pub async fn forge(&self, sql: &str) {
        let path = sqlite_path(self.data.path());
        let url = format!("sqlite://{}", path.display());
        let mut connection = SqliteConnection::connect(&url).await.unwrap();
        let done = sqlx::raw_sql(sqlx::AssertSqlSafe(sql.to_owned()))
            .execute(&mut connection)
            .await
            .unwrap();
        assert!(done.rows_affected() > 0, "nothing was forged: {sql}");
        connection.close().await.unwrap();
    }

    pub async fn client(&self, slug: &str, name: &str) -> ClientView {
        let new = NewClient {
            name: name.parse().unwrap(),
            slug: slug.parse().unwrap(),
        };
        self.vault.create_client(&self.operator, new).await.unwrap()
    }

    /// Enrols a workload with a key.
    pub async fn enrol(&self, name: &str, environment: &str, roles: &[&str]) -> Server {
        let new = NewWorkload {
            name: slug(name),
            environment: slug(environment),
            roles: roles.iter().map(|role| slug(role)).collect(),
            age_recipient: None,
        };
        let enrolled = self.vault.enrol_workload(&self.operator, new).await;
        let view = enrolled.unwrap();
        let key = NewKey {
            csr: Some(P256Key::generate().unwrap().request_pem().unwrap()),
            ..NewKey::default()
        };
        let owner = PrincipalId::Workload(view.id);
        let key = self.vault.register_key(&self.operator, owner, key).await;
        Server {
            view,
            key: key.unwrap(),
        }
    }

    /// A request of a workload.
    pub async fn call(&self, server: &Server) -> Caller {
        self.identify(server.key.id).await.unwrap()
    }

    /// A generic credential of `example-realty` in `production`, without a version.
    pub async fn credential(&self, label: &str, roles: &[&str]) -> CredentialView {
        let new = NewCredential {
            client: "example-realty".to_owned(),
            label: label.parse().unwrap(),
            kind: CredentialKind::Generic,
            environment: slug("production"),
            roles: roles.iter().map(|role| slug(role)).collect(),
        };
        let made = self.vault.create_credential(&self.operator, new).await;
        made.unwrap()
    }

    /// Adds a version `{"password": value}`, activated at once or pending.
    pub async fn version(&self, id: CredentialId, value: &str, activate: bool) -> VersionView {
        let mut new = serde_json::json!({"fields": {"password": value}});
        if activate {
            new["activate"] = serde_json::json!({"reason": "test"});
        }
        let new: NewVersion = serde_json::from_value(new).unwrap();
        let added = self.vault.add_version(&self.operator, id, new).await;
        added.unwrap()
    }

    /// A credential for `m365-sync` with an active version.
    pub async fn active(&self, label: &str, value: &str) -> CredentialId {
        let id = self.credential(label, &["m365-sync"]).await.id;
        self.version(id, value, true).await;
        id
    }

    /// The credential's revision.
    pub async fn revision(&self, id: CredentialId) -> i64 {
        let view = self.vault.credential(&self.operator, id).await;
        view.unwrap().revision
    }

    /// Releases one value as JSON.
    pub async fn release(
        &self,
        server: &Server,
        id: CredentialId,
        number: Option<i64>,
    ) -> Result<serde_json::Value, VaultError> {
        let caller = self.identify(server.key.id).await?;
        match self
            .vault
            .release(caller, Some(id), number, None, Form::Json)
            .await?
        {
            ReleaseAnswer::Value {
                body, mut delivery, ..
            } => {
                delivery.sent();
                Ok(serde_json::from_slice(body.expose_secret()).unwrap())
            }
            ReleaseAnswer::Unchanged { .. } => unreachable!("no ETag was sent"),
        }
    }

    /// The kinds of all audit records, newest first, each with its subjects.
    pub async fn audit(&self) -> Vec<(String, Vec<String>)> {
        let query = super::AuditQuery::default();
        let page = self
            .vault
            .audit_entries(&self.operator, &query, "", 500)
            .await
            .unwrap();
        let entries = page.items.into_iter();
        entries.map(|entry| (entry.kind, entry.subjects)).collect()
    }

    /// Waits until the refusal of a row is in the audit log.
    pub async fn refused(&self, what: &str) {
        for _ in 0..100 {
            let found = self.audit().await.into_iter().any(|(kind, subjects)| {
                kind == "registry.refused" && subjects.iter().any(|subject| subject == what)
            });
            if found {
                return;
            }
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
        panic!("no alarm about {what}: {:?}", self.audit().await);
    }
}

/// How contacts are reached in tests.
fn reach() -> Correspondence {
    Correspondence {
        pages_url: Some("https://in.example.com".to_owned()),
        sends: true,
    }
}

async fn open(
    database: Database,
    data: &TempDir,
    identity: &Secret,
    clock: &Arc<MockClock>,
    fatal: &Fatal,
    correspondence: Correspondence,
) -> Arc<Vault> {
    let (name, reach) = ("node-a", correspondence);
    open_as(name, database, data, identity, clock, fatal, reach).await
}

async fn open_as(
    node: &str,
    database: Database,
    data: &TempDir,
    identity: &Secret,
    clock: &Arc<MockClock>,
    fatal: &Fatal,
    correspondence: Correspondence,
) -> Arc<Vault> {
    let fatal = Arc::clone(fatal);
    let open = Open {
        database,
        data: Some(data.path().to_owned()),
        deployment: Some(DEPLOYMENT.to_owned()),
        node: slug(node),
        identities: Identity::parse_list(identity).unwrap(),
        url: Some("https://vault.example".to_owned()),
        cache_bytes: 1 << 20,
        correspondence,
        backups: BackupSettings::default(),
        lifetimes: CertificateLifetimes::default(),
        accept_rollback: false,
        clock: Arc::clone(clock) as Arc<dyn Clock>,
        random: Arc::new(SystemRandom::new()),
        on_fatal: Arc::new(move |why| fatal.lock().unwrap().push(why)),
    };
    Vault::open(open).await.unwrap()
}

async fn identify(vault: &Vault, key: KeyId) -> Result<Caller, VaultError> {
    let random = SystemRandom::new();
    let request = RequestId::generate(vault.clock().now(), &random).unwrap();
    vault.identify(key, None, None, request).await
}
