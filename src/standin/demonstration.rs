//! A world to walk through: the directory that the credential of `dev` names, and an application for each
//! thing that often goes wrong.

use super::world::{AppSecret, Application, EwsSwitch, Mailbox, MailboxState, Tenant, World};
use crate::model::Timestamp;

/// The directory's id.
pub const TENANT: &str = "11111111-2222-4333-8444-555555555555";
/// Its domain.
pub const DOMAIN: &str = "example-realty.example";
/// An address with a mailbox.
pub const MAILBOX: &str = "sync-test@example-realty.example";
/// One without.
pub const NO_MAILBOX: &str = "nobody@example-realty.example";

/// An application of the demonstration.
#[derive(Clone, Copy, Debug)]
pub struct Demonstrated {
    /// What it shows.
    pub shows: &'static str,
    /// Its id.
    pub id: &'static str,
    /// Its secret, made up.
    pub secret: &'static str,
}

/// The applications. The first works; it is the one that the credential of `dev` names.
pub const APPLICATIONS: &[Demonstrated] = &[
    Demonstrated {
        shows: "everything works",
        id: "66666666-7777-4888-9999-aaaaaaaaaaaa",
        secret: "demonstration~secret~opens~nothing",
    },
    Demonstrated {
        shows: "admin consent is missing",
        id: "66666666-7777-4888-9999-aaaaaaaaaa02",
        secret: "demo~no-consent.made-up-0002",
    },
    Demonstrated {
        shows: "the secret has expired",
        id: "66666666-7777-4888-9999-aaaaaaaaaa03",
        secret: "demo~expired.made-up-0003",
    },
    Demonstrated {
        shows: "the application is disabled",
        id: "66666666-7777-4888-9999-aaaaaaaaaa04",
        secret: "demo~disabled.made-up-0004",
    },
    Demonstrated {
        shows: "Graph works, and EWS does not allow the application",
        id: "66666666-7777-4888-9999-aaaaaaaaaa05",
        secret: "demo~not-on-the-list.made-up-0005",
    },
    Demonstrated {
        shows: "the secret is new and works a little later",
        id: "66666666-7777-4888-9999-aaaaaaaaaa06",
        secret: "demo~new.made-up-0006",
    },
];

/// How long the new secret takes, in seconds.
const ARRIVES_AFTER_SECS: i64 = 15;
/// How long the others live, in seconds.
const LIFETIME_SECS: i64 = 365 * 86_400;

impl World {
    /// The demonstration, begun `now`.
    pub fn demonstration(now: Timestamp) -> Self {
        let words = |words: &[&str]| words.iter().map(|it| (*it).to_owned()).collect::<Vec<_>>();
        let applications = APPLICATIONS.iter().enumerate().map(|(index, shown)| {
            let consented = index != 1;
            let grant = |roles: &[&str]| match consented {
                true => words(roles),
                false => Vec::new(),
            };
            Application {
                id: shown.id.to_owned(),
                disabled: index == 3,
                secrets: vec![AppSecret {
                    value: shown.secret.to_owned(),
                    usable_from: (index == 5).then(|| now.plus_secs(ARRIVES_AFTER_SECS)),
                    expires_at: match index {
                        2 => now.plus_secs(-86_400),
                        _ => now.plus_secs(LIFETIME_SECS),
                    },
                }],
                graph_roles: grant(&[
                    "Contacts.ReadWrite",
                    "Calendars.ReadWrite",
                    "Mail.Send",
                    "Application.Read.All",
                ]),
                exchange_roles: grant(&["full_access_as_app"]),
                ..Application::default()
            }
        });
        let listed = APPLICATIONS
            .iter()
            .enumerate()
            .filter(|(index, _)| *index != 4);
        Self::of(
            vec![Tenant {
                id: TENANT.to_owned(),
                domains: words(&[DOMAIN]),
                ews: EwsSwitch::On,
                ews_allowed: listed.map(|(_, shown)| shown.id.to_owned()).collect(),
                mailboxes: vec![
                    Mailbox {
                        address: MAILBOX.to_owned(),
                        state: MailboxState::Licensed,
                    },
                    Mailbox {
                        address: NO_MAILBOX.to_owned(),
                        state: MailboxState::WithoutMailbox,
                    },
                ],
                applications: applications.collect(),
                ..Tenant::default()
            }],
            Vec::new(),
        )
    }
}
