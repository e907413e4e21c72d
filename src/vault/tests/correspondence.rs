//! What contacts are written about what they hand in, and when they are not.

use serde_json::json;

use super::intake::{end_runs, form, invite, submit};
use crate::mail::Sender;
use crate::model::{MailKind, MailState};
use crate::providers::{Hint, Outcome};
use crate::vault::testing::Deployment;
use crate::vault::{LinkToken, MailView, VaultError};

const PAGES: &str = "https://in.example.com/i/";

pub(super) async fn mails(it: &Deployment) -> Vec<MailView> {
    let page = it.vault.mails(&it.operator, None, None, "", 50).await;
    page.unwrap().items
}

/// Sends the next mail; what it says, unwrapped.
pub(super) async fn sent(it: &Deployment) -> String {
    let sender: Sender = "Example Sync <access@example.com>".parse().unwrap();
    let claimed = it.vault.claim_mail(&sender).await.unwrap();
    let (mut job, message) = claimed.expect("a mail is due");
    assert!(it.vault.mail_begins(&mut job).await.unwrap());
    it.vault.mail_ended(&job, Ok(())).await.unwrap();
    let text = String::from_utf8(message.message.expose_secret().to_vec()).unwrap();
    text.replace("=\r\n", "").replace("\r\n", " ")
}

pub(super) fn token_in(text: &str) -> LinkToken {
    let start = text.find(PAGES).expect("a link") + PAGES.len();
    LinkToken::parse(&text[start..start + 43]).expect("a token")
}

#[tokio::test]
async fn a_contact_is_invited_told_what_to_mend_and_thanked() {
    let it = Deployment::new().await;
    let issued = invite(&it, None, json!({})).await.unwrap();
    assert!(issued.token.is_none(), "the link is in the mail alone");
    let [first] = mails(&it).await.try_into().ok().unwrap();
    assert_eq!(issued.invite.mail, Some(first.id));
    assert_eq!(
        (first.kind, first.address.as_str()),
        (MailKind::Invite, "ada@client.example")
    );
    let records = it.audit().await;
    let invited = records.iter().find(|(kind, _)| kind == "intake.invited");
    assert!(invited.unwrap().1.contains(&first.id.to_string()));
    let text = sent(&it).await;
    let token = token_in(&text);

    submit(&it, &token, form("aa", "wrong")).await;
    // While nobody knows, nobody is told.
    let undecided = Outcome::Undecided {
        hint: Hint::Unreachable,
        retry_after: std::time::Duration::from_secs(1),
    };
    end_runs(&it, undecided).await;
    assert_eq!(mails(&it).await.len(), 1);
    it.clock.advance(3600);
    end_runs(&it, Outcome::Failed(Hint::WrongSecret)).await;
    let text = sent(&it).await;
    assert!(text.contains("Make a client secret"), "{text}");
    let id = mails(&it).await[0].message_id.clone().unwrap();
    assert!(text.contains(&format!("In-Reply-To: {id}")), "{text}");
    assert!(!text.contains("/i/"), "only the invitation holds the link");

    // Ids of one millisecond have no order.
    it.clock.advance(1);
    submit(&it, &token, form("aa", "right")).await;
    end_runs(&it, Outcome::Verified).await;
    let text = sent(&it).await;
    assert!(text.contains("what you handed in works"), "{text}");
    assert!(text.contains("2028-01-01"), "{text}");
    // Sixty days before.
    assert!(
        text.contains("ask you for the next one on 2027-11-02"),
        "{text}"
    );
    let kinds: Vec<MailKind> = mails(&it).await.iter().map(|mail| mail.kind).collect();
    assert_eq!(
        kinds,
        [MailKind::Invite, MailKind::Failed, MailKind::Verified]
    );
}

#[tokio::test]
async fn a_link_that_was_revoked_is_not_mailed() {
    let it = Deployment::new().await;
    let issued = invite(&it, None, json!({})).await.unwrap();
    it.vault
        .revoke_invite(&it.operator, issued.invite.id)
        .await
        .unwrap();
    assert_eq!(mails(&it).await[0].state, MailState::Withdrawn);
    let sender: Sender = "access@example.com".parse().unwrap();
    assert!(it.vault.claim_mail(&sender).await.unwrap().is_none());
}

#[tokio::test]
async fn without_a_mail_server_only_the_link_itself_is_given_and_nothing_is_made() {
    let it = Deployment::without_mail().await;
    let refused = invite(&it, None, json!({})).await;
    assert!(matches!(refused, Err(VaultError::Conflict(why)) if why.contains("mail.server")));
    let invites = it.vault.invites(&it.operator, Default::default(), "", 10);
    assert!(invites.await.unwrap().items.is_empty());
    assert!(mails(&it).await.is_empty());
}
