//! What is registered at the providers.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::answers::{Answer, Forced, Place};
use super::tokens::Tokens;
use crate::model::Timestamp;

/// Everything that there is.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct World {
    /// Directories of Microsoft Entra ID.
    pub tenants: Vec<Tenant>,
    /// Service accounts of Google.
    pub service_accounts: Vec<ServiceAccount>,
    /// Answers that come whatever is registered, in order.
    pub forced: Vec<Forced>,
    /// Messages that were sent.
    pub sent: Vec<Sent>,
    /// How often each place was called.
    pub calls: BTreeMap<Place, u64>,
    /// Access tokens that are good.
    #[serde(skip)]
    pub(super) tokens: Tokens,
}

impl World {
    /// With these directories and service accounts.
    pub fn of(tenants: Vec<Tenant>, service_accounts: Vec<ServiceAccount>) -> Self {
        Self {
            tenants,
            service_accounts,
            ..Self::default()
        }
    }

    /// Counts a call, and takes the answer that is forced, if there is one.
    pub(super) fn called(&mut self, place: Place) -> Option<Answer> {
        *self.calls.entry(place).or_default() += 1;
        let index = self.forced.iter().position(|it| it.at == place)?;
        let forced = &mut self.forced[index];
        let answer = forced.answer.clone();
        forced.times = forced.times.saturating_sub(1);
        if forced.times == 0 {
            self.forced.remove(index);
        }
        Some(answer)
    }

    /// Lets a place answer so for the next calls.
    pub fn force(&mut self, at: Place, times: u32, answer: Answer) {
        self.forced.push(Forced { at, times, answer });
    }

    /// The directory with this id or domain.
    pub fn tenant(&self, name: &str) -> Option<&Tenant> {
        let is = |text: &String| text.eq_ignore_ascii_case(name);
        self.tenants
            .iter()
            .find(|it| is(&it.id) || it.domains.iter().any(is))
    }
}

/// A directory.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Tenant {
    /// A GUID in lower case.
    pub id: String,
    /// Its verified domains.
    pub domains: Vec<String>,
    /// It belongs to another national cloud.
    pub other_cloud: bool,
    /// Conditional Access blocks applications from here.
    pub blocked: bool,
    /// It has no Exchange Online.
    pub without_exchange: bool,
    /// The organisation's switch `EWSEnabled`.
    pub ews: EwsSwitch,
    /// `EWSAllowedAppIDs`.
    pub ews_allowed: Vec<String>,
    /// Mailboxes of Exchange Online, and addresses without one.
    pub mailboxes: Vec<Mailbox>,
    /// Registered applications.
    pub applications: Vec<Application>,
}

impl Tenant {
    /// The mailbox of an address.
    pub fn mailbox(&self, address: &str) -> Option<&Mailbox> {
        self.mailboxes
            .iter()
            .find(|it| it.address.eq_ignore_ascii_case(address))
    }

    /// The application with this id.
    pub fn application(&self, id: &str) -> Option<&Application> {
        self.applications
            .iter()
            .find(|it| it.id.eq_ignore_ascii_case(id))
    }

    /// Whether Exchange Web Services answer an application, by the rules from October 2026.
    pub fn allows_ews(&self, application: &str) -> bool {
        let listed = self
            .ews_allowed
            .iter()
            .any(|it| it.eq_ignore_ascii_case(application));
        match self.ews {
            EwsSwitch::Null => true,
            EwsSwitch::On => listed,
            EwsSwitch::Off => false,
        }
    }
}

/// `EWSEnabled`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum EwsSwitch {
    /// Never set: all are allowed until Microsoft sets it.
    #[default]
    Null,
    /// True: those on the list.
    On,
    /// False: nobody.
    Off,
}

/// An address.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Mailbox {
    /// The address.
    pub address: String,
    /// What lies behind it.
    pub state: MailboxState,
}

/// What lies behind an address.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum MailboxState {
    /// A mailbox with a licence.
    #[default]
    Licensed,
    /// One with a licence that does not include Exchange Web Services.
    Kiosk,
    /// A user without a mailbox.
    WithoutMailbox,
    /// A mailbox on an own server.
    OnPremises,
    /// A mailbox outside the scope of every application.
    OutOfScope,
}

/// An application.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Application {
    /// The application (client) id, a GUID.
    pub id: String,
    /// It is switched off.
    pub disabled: bool,
    /// It is a public client.
    pub public: bool,
    /// Its client secrets.
    pub secrets: Vec<AppSecret>,
    /// Its certificates, in PEM.
    pub certificates: Vec<String>,
    /// Permissions of Microsoft Graph that were consented to.
    pub graph_roles: Vec<String>,
    /// Permissions of Exchange Online that were consented to.
    pub exchange_roles: Vec<String>,
    /// Access was granted in Exchange itself, which does not show in tokens.
    pub granted_in_exchange: bool,
}

/// A client secret that is made up.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AppSecret {
    /// Its value.
    pub value: String,
    /// From when it works: a new one does not at once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub usable_from: Option<Timestamp>,
    /// Until when.
    pub expires_at: Timestamp,
}

/// A service account.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ServiceAccount {
    /// Its address.
    pub email: String,
    /// Its keys.
    pub keys: Vec<GoogleKey>,
    /// It is switched off.
    pub disabled: bool,
    /// It was deleted.
    pub deleted: bool,
    /// The scopes that domain-wide delegation names; empty: there is none.
    pub delegated_scopes: Vec<String>,
    /// The delegation was entered with the address, or for a group.
    pub delegated_wrongly: bool,
    /// Users that it may act for.
    pub users: Vec<String>,
    /// Interfaces that are switched off in its project: `people`, `calendar`.
    pub disabled_apis: Vec<String>,
}

/// The public half of a key of a service account.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct GoogleKey {
    /// `private_key_id`.
    pub id: String,
    /// The public key in PEM (`PUBLIC KEY`).
    pub public_key: String,
    /// It was disabled, or is past its end.
    pub disabled: bool,
}

/// A message that was sent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sent {
    /// `ews` or `graph`.
    pub by: String,
    /// From which address.
    pub from: String,
    /// To which.
    pub to: String,
    /// Its subject.
    pub subject: String,
}
