//! Making a deployment: root key, service keys, its own authority, and the first operator.

use std::path::Path;
use std::sync::Arc;

use super::issue::{IssuedClient, IssuingAuthority};
use super::open::{OpenError, RegistryMac};
use super::operators::name_taken;
use super::principal_keys::{blank_key, key_record, key_taken};
use super::recorder::{Changed, Draft};
use super::{Vault, VaultError};
use crate::audit::{Detail, Kind};
use crate::clock::Clock;
use crate::crypto::{
    Keyring, KeyringLimits, MacKey, Recipient, RootFileForm, RootKey, ServiceKeyName,
    write_root_file,
};
use crate::identity::certificate::CertificateFacts;
use crate::identity::public_key::PublicKey;
use crate::identity::spiffe::TrustDomain;
use crate::model::{
    AuthorityId, DisplayName, KeyForm, KeyId, OperatorId, OperatorRole, PrincipalId, ServiceKeyId,
    Timestamp,
};
use crate::pki::{self, Issuer};
use crate::random::Random;
use crate::store::{
    AuthorityOrigin, AuthorityRow, Database, DeploymentRow, DeploymentStateRow, KeyRow,
    OperatorRow, RootKeyRow, RootRecipientRow, ServiceKeyRow, Tx,
};

/// How long the first operator's certificate is valid, in seconds: a year.
const FIRST_LIFETIME: i64 = 365 * 24 * 60 * 60;

/// What it takes to make a deployment.
pub struct Initialise<'a> {
    /// The empty database.
    pub database: &'a Database,
    /// The data directory; root key files go into its `keys/`.
    pub data: &'a Path,
    /// The new deployment's id.
    pub deployment: &'a str,
    /// Who can open the root key: this machine's identity and recovery identities.
    pub recipients: &'a [Recipient],
    /// A passphrase that can open it too, in a file of its own.
    pub passphrase: Option<&'a Recipient>,
    /// The clock.
    pub clock: &'a dyn Clock,
    /// The source of randomness.
    pub random: &'a dyn Random,
}

/// How the first operator proves themselves.
pub enum FirstKey<'a> {
    /// A client certificate in PEM, to be pinned.
    Certificate(&'a str),
    /// A public key in PEM, for assertions.
    PublicKey(&'a str),
    /// A certificate signing request in PEM, for the new authority to sign.
    Request(&'a str),
}

impl FirstKey<'_> {
    /// Looks whether the key can be used, before anything is made.
    ///
    /// # Errors
    /// The field and the rule that is broken.
    pub fn check(&self, now: Timestamp) -> Result<(), VaultError> {
        self.read(now).map(|_| ())
    }

    fn read(&self, now: Timestamp) -> Result<Read, VaultError> {
        match self {
            Self::Certificate(pem) => {
                let facts = CertificateFacts::of_client(pem)
                    .map_err(|error| VaultError::invalid("certificate", error.to_string()))?;
                if facts.not_after <= now {
                    return Err(VaultError::invalid(
                        "certificate",
                        "has expired: make a new one",
                    ));
                }
                Ok(Read::Certificate(facts))
            }
            Self::PublicKey(pem) => PublicKey::from_pem(pem)
                .map(Read::PublicKey)
                .map_err(|error| VaultError::invalid("public_key", error.to_string())),
            Self::Request(pem) => pki::read_request(pem)
                .map(Read::Request)
                .map_err(|error| VaultError::invalid("csr", error.to_string())),
        }
    }
}

/// A first key, read.
enum Read {
    Certificate(CertificateFacts),
    PublicKey(PublicKey),
    Request(PublicKey),
}

/// The first operator of a deployment.
pub struct Bootstrapped {
    /// The operator.
    pub operator: OperatorId,
    /// Their key.
    pub key: KeyId,
    /// The issued certificate in PEM, if there was a request for one.
    pub certificate: Option<String>,
    /// The certificate of the deployment's own authority in PEM.
    pub authority: String,
}

/// Makes root key and service keys. The root key's file is durable before anything names it; if the
/// transaction after that fails, the file can be removed, since nothing was ever sealed under it.
///
/// # Errors
/// The database holds a deployment already, or a step failed.
pub async fn initialise(what: &Initialise<'_>) -> Result<(), OpenError> {
    let Initialise {
        database,
        data,
        deployment,
        recipients,
        passphrase,
        clock,
        random,
    } = what;
    let now = clock.now();
    let root = RootKey::generate(deployment, 1, *random).map_err(VaultError::from)?;
    let keys = data.join("keys");
    let mut wrapped = None;
    if !recipients.is_empty() {
        let bytes = root.encrypt_to(recipients)?;
        write_root_file(&keys, 1, RootFileForm::Recipients, &bytes)?;
        wrapped = Some(bytes);
    }
    if let Some(passphrase) = passphrase {
        let bytes = root.encrypt_to(std::slice::from_ref(*passphrase))?;
        write_root_file(&keys, 1, RootFileForm::Passphrase, &bytes)?;
        wrapped.get_or_insert(bytes);
    }
    let wrapped = wrapped.ok_or(crate::crypto::RootError::NoRecipient)?;

    // Before the rows, because some of them carry a tag already.
    let check_value = root.check_value().to_vec();
    let keyring = Keyring::new(root, KeyringLimits::default());
    let mut service_keys = Vec::new();
    let mut tagged = None;
    for name in ServiceKeyName::ALL {
        // The authority's key comes with its certificate.
        if *name == ServiceKeyName::Authority {
            continue;
        }
        let sealed = keyring.create_service_key(*name, 1, *random);
        let (key, wrapped) = sealed.map_err(VaultError::from)?;
        if *name == ServiceKeyName::RegistryMac {
            let tagger = Arc::new(RegistryMac(MacKey::new(&key)));
            tagged = Some((*database).clone().with_tagger(tagger));
        }
        service_keys.push(ServiceKeyRow {
            id: ServiceKeyId::generate(now, *random).map_err(VaultError::from)?,
            name: name.as_str().to_owned(),
            generation: 1,
            root_generation: 1,
            wrapped,
            created_at: now,
        });
    }
    let database = tagged.ok_or(OpenError::ServiceKey("registry-mac"))?;

    let mut tx = database.write().await?;
    tx.insert_deployment(&DeploymentRow {
        deployment_id: (*deployment).to_owned(),
        created_at: now,
    })
    .await?;
    tx.insert_root_key(&RootKeyRow {
        generation: 1,
        check_value,
        wrapped,
        created_at: now,
    })
    .await?;
    for row in &service_keys {
        tx.insert_service_key(row).await?;
    }
    for text in recipients.iter().filter_map(Recipient::to_text) {
        tx.insert_root_recipient(RootRecipientRow {
            recipient: text,
            added_at: now,
            mac: Vec::new(),
        })
        .await?;
    }
    tx.commit().await?;
    Ok(())
}

/// An operator of tech-ops with a first key, made by whoever can open the root key.
pub(super) struct NewTechOps {
    operator: OperatorRow,
    key: KeyRow,
    issued: Option<IssuedClient>,
}

impl NewTechOps {
    /// Makes the rows; nothing is written yet.
    ///
    /// # Errors
    /// The key cannot be used.
    pub fn make(
        name: DisplayName,
        key: &FirstKey<'_>,
        own: &IssuingAuthority<'_>,
        now: Timestamp,
        random: &dyn Random,
    ) -> Result<Self, VaultError> {
        let operator = OperatorRow {
            id: OperatorId::generate(now, random)?,
            name,
            role: OperatorRole::TechOps,
            disabled_at: None,
            created_at: now,
            revision: 1,
            mac: Vec::new(),
        };
        let principal = PrincipalId::Operator(operator.id);
        let key_id = KeyId::generate(now, random)?;
        let mut row = blank_key(key_id, principal, KeyForm::Ed25519, now);
        let mut issued = None;
        match key.read(now)? {
            Read::Certificate(facts) => {
                row.form = KeyForm::PinnedCertificate;
                row.spki_sha256 = Some(facts.spki.0.to_vec());
                row.expires_at = Some(facts.not_after);
            }
            Read::PublicKey(key) => {
                row.form = key.form();
                row.spki_sha256 = Some(key.sha256().0.to_vec());
                row.public_key = Some(key.spki_der().to_vec());
            }
            Read::Request(key) => {
                row.form = KeyForm::IssuedCertificate;
                issued = Some(own.issue(principal, &key, FIRST_LIFETIME, now, random)?);
            }
        }
        Ok(Self {
            operator,
            key: row,
            issued,
        })
    }

    /// What the new operator has to know.
    pub fn known_by(&self, issuer: &Issuer) -> Bootstrapped {
        let issued = self.issued.as_ref();
        Bootstrapped {
            operator: self.operator.id,
            key: self.key.id,
            certificate: issued.map(|issued| issued.certificate.pem.clone()),
            authority: issuer.certificate_pem(),
        }
    }

    /// The records that belong to it; `kind` says why there is a new operator.
    pub fn records(&self, kind: Kind) -> [Draft; 2] {
        [
            Draft::of(kind)
                .about([self.operator.id.into()])
                .with("role", Detail::Word(self.operator.role.as_str())),
            key_record(Draft::of(Kind::KeyRegistered), &self.key),
        ]
    }

    /// Writes the rows.
    ///
    /// # Errors
    /// The name or the key is registered; see [`VaultError`].
    pub async fn insert(self, tx: &mut Tx) -> Result<(), VaultError> {
        tx.insert_operator(self.operator)
            .await
            .map_err(name_taken)?;
        match &self.issued {
            Some(issued) => issued.register(tx, self.key).await?,
            None => tx.insert_key(self.key).await.map_err(key_taken)?,
        };
        Ok(())
    }
}

impl Vault {
    /// Makes the deployment's own authority and enrols its first operator, once.
    ///
    /// # Errors
    /// There are operators already, or the key cannot be used; see [`VaultError`].
    pub async fn bootstrap(
        self: &Arc<Self>,
        name: DisplayName,
        key: FirstKey<'_>,
    ) -> Result<Bootstrapped, VaultError> {
        let now = self.clock.now();
        let random = self.random.as_ref();
        let domain: TrustDomain = self
            .deployment
            .parse()
            .map_err(|_| VaultError::Internal("the deployment's id is no trust domain"))?;
        let failed = |_| VaultError::Internal("making the authority failed");
        let new = pki::create_authority(&domain, now, random).map_err(failed)?;
        let facts = CertificateFacts::of_authority_der(&new.certificate)
            .map_err(|_| VaultError::Internal("making the authority failed"))?;
        let service_key = ServiceKeyRow {
            id: ServiceKeyId::generate(now, random)?,
            name: ServiceKeyName::Authority.as_str().to_owned(),
            generation: 1,
            root_generation: i64::from(self.keyring.root().generation()),
            wrapped: self.keyring.seal_service_key(
                ServiceKeyName::Authority,
                1,
                new.key.expose_secret(),
                random,
            )?,
            created_at: now,
        };
        let authority = AuthorityRow {
            id: AuthorityId::generate(now, random)?,
            name: "strongroom"
                .parse()
                .map_err(|_| VaultError::Internal("authority name"))?,
            trust_domain: self.deployment.clone(),
            certificate: new.certificate.to_vec(),
            origin: AuthorityOrigin::Own,
            accept_from: facts.not_before,
            accept_until: Some(facts.not_after.plus_secs(1)),
            key_generation: Some(1),
            presented_from: Some(facts.not_before),
            lists_since: None,
            removed_at: None,
            created_at: now,
            revision: 1,
            mac: Vec::new(),
        };
        let issuer = Issuer::open(new.certificate, new.key, domain).map_err(failed)?;

        let own = IssuingAuthority {
            id: authority.id,
            accept_until: authority.accept_until,
            issuer: &issuer,
        };
        let first = NewTechOps::make(name, &key, &own, now, random)?;
        let done = first.known_by(&issuer);
        self.change_by_itself(move |tx| {
            Box::pin(async move {
                if !tx.operators("", 1).await?.items.is_empty() {
                    return Err(VaultError::Conflict(
                        "this deployment has operators already",
                    ));
                }
                let mut records = vec![
                    Draft::of(Kind::RootCreated).with("generation", Detail::Number(1)),
                    Draft::of(Kind::AuthorityAdded).about([authority.id.into()]),
                ];
                records.extend(first.records(Kind::OperatorEnrolled));
                tx.insert_service_key(&service_key).await?;
                for row in tx.service_keys().await? {
                    records.push(Draft::of(Kind::ServiceKeyCreated).about([row.id.into()]));
                }
                tx.insert_deployment_state(DeploymentStateRow::new())
                    .await?;
                tx.insert_authority(authority).await?;
                first.insert(tx).await?;
                let subjects = vec![super::memory::EVERYTHING.to_owned()];
                Ok(Changed {
                    value: (),
                    records,
                    subjects,
                })
            })
        })
        .await?;
        Ok(done)
    }
}
