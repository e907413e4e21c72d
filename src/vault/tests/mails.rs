//! The outbox: written with its cause, held by one, and never sure of what nobody can know.

use crate::audit::Kind;
use crate::mail::{Addressee, Letter, NotSent, Sender};
use crate::model::{ClientId, ContactId, CredentialKind, MailFault, MailId, MailState, Timestamp};
use crate::store::{ContactRole, ContactRow, MailRow};
use crate::vault::outbox::{NewMail, Outbox};
use crate::vault::recorder::Changed;
use crate::vault::testing::Deployment;
use crate::vault::{MailView, NewTestMail, VaultError};

const TOKEN: &str = "AbCdEfGhIjKlMnOpQrStUvWxYz0123456789-_AbCdE";

fn sender() -> Sender {
    "Example Sync <access@example.com>".parse().unwrap()
}

fn invite(expires_at: Timestamp) -> NewMail {
    NewMail {
        client: None,
        contact: None,
        to: Addressee {
            name: None,
            address: "ada@client.example".parse().unwrap(),
        },
        letter: Letter::Invite {
            client: "Example Realty".to_owned(),
            label: "mail sync".to_owned(),
            kind: CredentialKind::Microsoft365,
            link: format!("https://in.example.com/i/{TOKEN}"),
            expires_at,
            needs_code: false,
            renewal: false,
        },
        thread: None,
    }
}

impl Deployment {
    /// Puts a mail in a transaction that then goes well, or not.
    async fn put(&self, mail: NewMail, goes_well: bool) -> Result<MailId, VaultError> {
        let (outbox, random) = (self.vault.outbox.clone(), self.vault.random.clone());
        let now = self.vault.clock.now();
        self.vault
            .change_by_itself(move |tx| {
                Box::pin(async move {
                    let value = outbox.put(tx, mail, now, random.as_ref()).await?;
                    match goes_well {
                        true => Ok(Changed {
                            value,
                            records: Vec::new(),
                            subjects: Vec::new(),
                        }),
                        false => Err(VaultError::Conflict("its cause did not happen")),
                    }
                })
            })
            .await
    }

    async fn row(&self, id: MailId) -> MailRow {
        let mut tx = self.vault.db.read().await.unwrap();
        tx.mail(id).await.unwrap().unwrap()
    }

    async fn shown(&self, id: MailId) -> MailView {
        self.vault.mail(&self.operator, id).await.unwrap()
    }

    /// Claims the mail that is due and lets the attempt end so.
    async fn attempt(&self, outcome: Result<(), NotSent>) -> Vec<u8> {
        let claimed = self.vault.claim_mail(&sender()).await.unwrap();
        let (mut job, message) = claimed.expect("a mail is due");
        assert!(self.vault.mail_begins(&mut job).await.unwrap());
        self.vault.mail_ended(&job, outcome).await.unwrap();
        message.message.expose_secret().to_vec()
    }

    async fn is_due(&self) -> bool {
        let now = self.vault.clock.now();
        let mut tx = self.vault.db.read().await.unwrap();
        !tx.due_mails(now, 1).await.unwrap().is_empty()
    }

    async fn recorded(&self, kind: Kind) -> usize {
        let all = self.audit().await;
        all.iter().filter(|(it, _)| it == kind.as_str()).count()
    }
}

#[tokio::test]
async fn there_is_a_mail_if_and_only_if_there_is_its_cause() {
    let deployment = Deployment::new().await;
    let until = deployment.vault.clock.now().plus_secs(86_400);
    assert!(deployment.put(invite(until), false).await.is_err());
    assert!(!deployment.is_due().await);
    let id = deployment.put(invite(until), true).await.unwrap();
    let row = deployment.row(id).await;
    let holds = |bytes: &[u8]| memchr::memmem::find(bytes, TOKEN.as_bytes()).is_some();
    assert!(!holds(row.sealed.as_deref().unwrap()), "it is sealed");
    let message = deployment.attempt(Ok(())).await;
    assert!(holds(&message));
    let row = deployment.row(id).await;
    assert!(row.sealed.is_none(), "what was sent is not kept");
    assert_eq!((row.state, row.due_at), (MailState::Sent, None));
    assert!(!deployment.is_due().await);
    // What is shown of it has neither the link nor the words.
    let shown = serde_json::to_vec(&deployment.shown(id).await).unwrap();
    assert!(!holds(&shown));
}

#[tokio::test]
async fn what_was_written_for_one_mail_opens_in_no_other() {
    let deployment = Deployment::new().await;
    let until = deployment.vault.clock.now();
    let first = deployment.put(invite(until), true).await.unwrap();
    let second = deployment.put(invite(until), true).await.unwrap();
    let mut row = deployment.row(second).await;
    row.sealed = deployment.row(first).await.sealed;
    assert!(deployment.vault.outbox.open(&row).is_none());
    // It is given up, loudly, and the other goes on.
    let mut tx = deployment.vault.db.write().await.unwrap();
    assert!(tx.update_mail(&mut row).await.unwrap());
    tx.commit().await.unwrap();
    for _ in 0..2 {
        let claimed = deployment.vault.claim_mail(&sender()).await.unwrap();
        if let Some((job, _)) = claimed {
            assert_eq!(job.id(), first);
        }
    }
    let row = deployment.row(second).await;
    assert_eq!(row.state, MailState::Failed);
    assert_eq!(row.fault, Some(MailFault::Unwritable));
}

#[tokio::test]
async fn a_mail_is_tried_again_the_same_and_given_up_after_days() {
    let deployment = Deployment::new().await;
    let until = deployment.vault.clock.now();
    let id = deployment.put(invite(until), true).await.unwrap();
    let later = Err(NotSent::Later(MailFault::Unreachable));
    let first = deployment.attempt(later).await;
    let mut tries = 1;
    while deployment.row(id).await.due_at.is_some() {
        assert!(!deployment.is_due().await, "not at once");
        deployment.clock.advance(2 * 60 * 60);
        let again = deployment.attempt(later).await;
        assert_eq!(first, again, "to the last byte");
        tries += 1;
        assert!(tries < 100, "it has an end");
    }
    let row = deployment.row(id).await;
    assert_eq!((row.state, row.tries), (MailState::Failed, tries));
    assert_eq!(row.fault, Some(MailFault::TooOld));
    assert!(row.sealed.is_none());
    assert!(tries > 10, "{tries}");
}

#[tokio::test]
async fn of_two_who_look_one_gets_the_mail_and_who_lost_it_sends_nothing() {
    let deployment = Deployment::new().await;
    let until = deployment.vault.clock.now();
    let id = deployment.put(invite(until), true).await.unwrap();
    let vault = &deployment.vault;
    let (mut job, _) = vault.claim_mail(&sender()).await.unwrap().unwrap();
    assert!(vault.claim_mail(&sender()).await.unwrap().is_none());
    // Its time ran out, and somebody else has it.
    deployment.clock.advance(60 * 60);
    vault.settle_lapsed_mails(false).await.unwrap();
    assert_eq!(deployment.shown(id).await.unknowns, 0, "nothing was sent");
    let (mut other, _) = vault.claim_mail(&sender()).await.unwrap().unwrap();
    assert!(!vault.mail_begins(&mut job).await.unwrap());
    assert!(vault.mail_begins(&mut other).await.unwrap());
    vault.mail_ended(&other, Ok(())).await.unwrap();
    // Who comes late changes nothing.
    let refused = Err(NotSent::Refused(MailFault::Recipient));
    vault.mail_ended(&job, refused).await.unwrap();
    assert_eq!(deployment.shown(id).await.state, MailState::Sent);
}

#[tokio::test]
async fn what_nobody_knows_is_shown_and_sent_once_more() {
    let deployment = Deployment::new().await;
    let until = deployment.vault.clock.now();
    let id = deployment.put(invite(until), true).await.unwrap();
    let (mut job, first) = {
        let claimed = deployment.vault.claim_mail(&sender()).await.unwrap();
        claimed.unwrap()
    };
    assert!(deployment.vault.mail_begins(&mut job).await.unwrap());
    // The process ends here.
    let deployment = deployment.restart().await;
    deployment.vault.settle_lapsed_mails(true).await.unwrap();
    let shown = deployment.shown(id).await;
    assert_eq!((shown.state, shown.unknowns), (MailState::Unknown, 1));
    assert_eq!(shown.fault, Some(MailFault::Interrupted));
    assert_eq!(deployment.recorded(Kind::MailUnknown).await, 1);
    assert!(shown.due_at.is_some());

    deployment.clock.advance(60 * 60);
    let broken = Err(NotSent::Unknown(MailFault::BrokenOff));
    let again = deployment.attempt(broken).await;
    assert_eq!(again, first.message.expose_secret(), "the same Message-ID");
    let shown = deployment.shown(id).await;
    assert_eq!((shown.state, shown.unknowns), (MailState::Unknown, 2));
    assert!(shown.due_at.is_none(), "not a third time");
    assert_eq!(deployment.recorded(Kind::MailUnknown).await, 2);
    deployment.clock.advance(60 * 60);
    assert!(!deployment.is_due().await);
}

#[tokio::test]
async fn a_refused_mail_is_not_tried_again_and_a_withdrawn_one_never_goes() {
    let deployment = Deployment::new().await;
    let now = deployment.vault.clock.now();
    let refused = deployment.put(invite(now), true).await.unwrap();
    let outcome = Err(NotSent::Refused(MailFault::Recipient));
    deployment.attempt(outcome).await;
    let shown = deployment.shown(refused).await;
    assert_eq!(shown.state, MailState::Failed);
    assert_eq!(shown.fault, Some(MailFault::Recipient));
    assert_eq!(deployment.recorded(Kind::MailFailed).await, 1);

    let taken_back = deployment.put(invite(now), true).await.unwrap();
    let mut tx = deployment.vault.db.write().await.unwrap();
    assert!(Outbox::withdraw(&mut tx, taken_back, now).await.unwrap());
    assert!(!Outbox::withdraw(&mut tx, refused, now).await.unwrap());
    tx.commit().await.unwrap();
    assert!(!deployment.is_due().await);
    assert!(deployment.row(taken_back).await.sealed.is_none());
}

#[tokio::test]
async fn a_test_mail_is_a_mail_like_others() {
    let deployment = Deployment::new().await;
    let to = "ops@vendor.example".parse().unwrap();
    let mail = deployment
        .vault
        .test_mail(&deployment.operator, NewTestMail { to })
        .await
        .unwrap();
    assert_eq!(deployment.recorded(Kind::MailTested).await, 1);
    deployment.attempt(Ok(())).await;
    let shown = deployment.shown(mail.id).await;
    assert_eq!(shown.state, MailState::Sent);
    assert!(shown.message_id.unwrap().ends_with("@example.com>"));
    assert_eq!(deployment.recorded(Kind::MailSent).await, 1);
}

#[tokio::test]
async fn a_mail_to_a_contact_answers_the_first_about_the_matter() {
    let deployment = Deployment::new().await;
    let (now, random) = (deployment.vault.clock.now(), &deployment.vault.random);
    let contact = ContactRow {
        id: ContactId::generate(now, random.as_ref()).unwrap(),
        client_id: ClientId::generate(now, random.as_ref()).unwrap(),
        name: "Ada Example".parse().unwrap(),
        email: "ada@client.example".parse().unwrap(),
        role: ContactRole::ALL[0],
        created_at: now,
        revision: 1,
    };
    let first = NewMail::to_contact(&contact, invite(now).letter);
    let first = deployment.put(first, true).await.unwrap();
    deployment.attempt(Ok(())).await;
    let message_id = deployment.shown(first).await.message_id.unwrap();
    let next = NewMail::to_contact(&contact, Letter::Test).following(Some(first));
    let next = deployment.put(next, true).await.unwrap();
    let text = String::from_utf8(deployment.attempt(Ok(())).await).unwrap();
    assert!(
        text.contains(&format!("In-Reply-To: {message_id}")),
        "{text}"
    );
    assert!(text.contains("ada@client.example") && text.contains("Hello Ada Example,"));
    let shown = deployment.shown(next).await;
    assert_eq!(
        (shown.contact, shown.thread),
        (Some(contact.id), Some(first))
    );
}
