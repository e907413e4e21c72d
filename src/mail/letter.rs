//! What the mails say: every sentence that a client reads in one, in one place.
//!
//! A letter is a few blocks, from which both forms of the message are made, so that they never say
//! different things. No letter holds a secret; only an invitation holds a link that gives access.

use serde::{Deserialize, Serialize};

use crate::model::{CredentialKind, MailKind, Timestamp};

/// One mail, before it has words.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum Letter {
    /// An operator tries whether mail arrives.
    Test,
    /// A contact is asked to hand in a credential.
    Invite {
        /// The client's name.
        client: String,
        /// What the credential is called.
        label: String,
        /// Its kind.
        kind: CredentialKind,
        /// The link with its token.
        link: String,
        /// Until when the link works.
        expires_at: Timestamp,
        /// Whether a code is asked for that comes another way.
        needs_code: bool,
        /// Whether there is an older one that it replaces.
        renewal: bool,
    },
    /// What was handed in works.
    Verified {
        /// The client's name.
        client: String,
        /// What the credential is called.
        label: String,
        /// Its kind.
        kind: CredentialKind,
        /// When it expires, if that is known.
        expires_at: Option<Timestamp>,
        /// When the contact will be asked for the next one, if that is known.
        ask_again_at: Option<Timestamp>,
    },
    /// What was handed in does not work yet.
    Failed {
        /// The client's name.
        client: String,
        /// What the credential is called.
        label: String,
        /// Its kind.
        kind: CredentialKind,
        /// Which attempt it was, counted from 1.
        attempt: i64,
        /// What is wrong, in plain words.
        hint: String,
        /// The step of the guide to do again, if it is one.
        step: Option<String>,
        /// Until when the link that the contact has works.
        expires_at: Timestamp,
    },
}

/// A piece of a letter.
#[derive(Debug, PartialEq, Eq)]
pub enum Block {
    /// A paragraph.
    Text(String),
    /// A link, alone on its line.
    Link(String),
    /// What the mail is about, by name.
    Facts(Vec<(&'static str, String)>),
}

/// The product that a kind of credential opens, as its administrators call it.
const fn product(kind: CredentialKind) -> &'static str {
    match kind {
        CredentialKind::Microsoft365 => "Microsoft 365",
        CredentialKind::GoogleWorkspace => "Google Workspace",
        CredentialKind::Generic => "another system",
    }
}

/// A moment as people read it: to the minute, with its zone.
fn moment(at: Timestamp) -> String {
    let text = at.to_string();
    match (text.get(..10), text.get(11..16)) {
        (Some(day), Some(minute)) => format!("{day} {minute} UTC"),
        _ => text,
    }
}

fn day(at: Timestamp) -> String {
    at.to_string().chars().take(10).collect()
}

fn text(words: impl Into<String>) -> Block {
    Block::Text(words.into())
}

fn facts(client: &str, label: &str, kind: CredentialKind) -> Vec<(&'static str, String)> {
    vec![
        ("For", client.to_owned()),
        ("Access", label.to_owned()),
        ("To", product(kind).to_owned()),
    ]
}

const NEVER: &str = "Never send a secret by mail, and not as an answer to this one: we will not ask \
     you for that.";

impl Letter {
    /// What it is about.
    pub const fn kind(&self) -> MailKind {
        match self {
            Self::Test => MailKind::Test,
            Self::Invite { .. } => MailKind::Invite,
            Self::Verified { .. } => MailKind::Verified,
            Self::Failed { .. } => MailKind::Failed,
        }
    }

    /// The subject line.
    pub fn subject(&self) -> String {
        match self {
            Self::Test => "Strongroom: a test of mail".to_owned(),
            Self::Invite {
                label,
                kind,
                renewal,
                ..
            } => {
                let what = if *renewal { "renew" } else { "set up" };
                format!("Please {what} our access to {}: {label}", product(*kind))
            }
            Self::Verified { label, kind, .. } => {
                format!("It works: access to {}: {label}", product(*kind))
            }
            Self::Failed { label, kind, .. } => {
                format!("One step is missing: access to {}: {label}", product(*kind))
            }
        }
    }

    /// What it says, from top to bottom, without the greeting.
    pub fn blocks(&self) -> Vec<Block> {
        match self {
            Self::Test => vec![text(
                "this mail was sent to find out whether mail from this service arrives. There is \
                 nothing to do.",
            )],
            Self::Invite {
                client,
                label,
                kind,
                link,
                expires_at,
                needs_code,
                renewal,
            } => invite(
                facts(client, label, *kind),
                product(*kind),
                link,
                *expires_at,
                *needs_code,
                *renewal,
            ),
            Self::Verified {
                client,
                label,
                kind,
                expires_at,
                ask_again_at,
            } => {
                let mut facts = facts(client, label, *kind);
                if let Some(at) = expires_at {
                    facts.push(("Expires", day(*at)));
                }
                let next = match ask_again_at {
                    Some(at) => format!("We will ask you for the next one on {}.", day(*at)),
                    None => "We will write to you when the next one is needed.".to_owned(),
                };
                vec![
                    text("thank you: what you handed in works, and is in use from now on."),
                    Block::Facts(facts),
                    text(format!("There is nothing more to do. {next}")),
                ]
            }
            Self::Failed {
                client,
                label,
                kind,
                attempt,
                hint,
                step,
                expires_at,
            } => {
                let mut facts = facts(client, label, *kind);
                facts.push(("Attempt", attempt.to_string()));
                let mut blocks = vec![
                    text("thank you for what you handed in. It does not work yet:"),
                    text(hint.clone()),
                ];
                if let Some(step) = step {
                    blocks.push(text(format!("Please do this step again: {step}")));
                }
                blocks.push(Block::Facts(facts));
                blocks.push(text(format!(
                    "Please use the link of our first mail once more; it works until {}. The page \
                     shows each step, and what was found.",
                    moment(*expires_at)
                )));
                blocks.push(text(NEVER));
                blocks
            }
        }
    }
}

fn invite(
    mut facts: Vec<(&'static str, String)>,
    product: &str,
    link: &str,
    expires_at: Timestamp,
    needs_code: bool,
    renewal: bool,
) -> Vec<Block> {
    facts.push(("Link works until", moment(expires_at)));
    let mut blocks = vec![
        text(match renewal {
            true => format!(
                "the access to {product} that you gave us comes to its end. Please make a new one, \
                 and hand it in on this page:"
            ),
            false => format!(
                "we need access to {product} to do our work for you. This page shows how to set it \
                 up, step by step, and takes what is to be handed in:"
            ),
        }),
        Block::Link(link.to_owned()),
        Block::Facts(facts),
    ];
    if needs_code {
        blocks.push(text(
            "The page asks for a code. We give it to you another way, never by mail.",
        ));
    }
    blocks.push(text(
        "The link is yours alone: whoever has it can hand something in. If somebody else does this \
         at your company, do not pass the mail on: the page has a button that sends them a link of \
         their own.",
    ));
    blocks.push(text(NEVER));
    blocks.push(text(
        "If you did not expect this mail, call us at the number that you already have of us.",
    ));
    blocks
}
