//! Invitations that are handed on to a colleague.

use serde_json::json;

use super::correspondence::{mails, sent, token_in};
use super::intake::{end_runs, form, invite, submit};
use crate::audit::Kind;
use crate::model::{MailKind, SubmissionState};
use crate::providers::{Hint, Outcome};
use crate::vault::testing::Deployment;
use crate::vault::{
    Colleague, InviteView, LinkError, LinkToken, SubmitError, TaskView, VaultError,
};

fn colleague(email: &str) -> Colleague {
    Colleague {
        name: "Grace".parse().unwrap(),
        email: email.parse().unwrap(),
    }
}

async fn forward(it: &Deployment, token: &LinkToken, email: &str) -> Result<(), SubmitError> {
    // Ids of one millisecond have no order.
    it.clock.advance(1);
    it.vault.forward(token, colleague(email)).await
}

/// The token of a new invitation, mailed to its contact.
async fn invited(it: &Deployment, how: serde_json::Value) -> LinkToken {
    invite(it, None, how).await.unwrap();
    token_in(&sent(it).await)
}

async fn tasks(it: &Deployment) -> Vec<TaskView> {
    let page = it.vault.tasks(&it.operator, Default::default(), "", 50);
    page.await.unwrap().items
}

async fn invites(it: &Deployment) -> Vec<InviteView> {
    let page = it.vault.invites(&it.operator, Default::default(), "", 50);
    page.await.unwrap().items
}

#[tokio::test]
async fn a_colleague_gets_a_link_of_their_own_and_the_operator_hears_of_it() {
    let it = Deployment::new().await;
    // What is left of its time is less than a colleague needs.
    let old = invited(&it, json!({"lifetime_hours": 48})).await;
    assert!(it.vault.link(&old).await.unwrap().may_forward);
    forward(&it, &old, "grace@client.example").await.unwrap();
    assert!(matches!(it.vault.link(&old).await, Err(LinkError::Gone)));
    let late = it.vault.submit(&old, form("aa", "one")).await;
    assert!(matches!(late, Err(SubmitError::Gone)));
    let late = forward(&it, &old, "other@client.example").await;
    assert!(matches!(late, Err(SubmitError::Gone)));
    it.clock.advance(-1);

    let [first, second] = invites(&it).await.try_into().ok().unwrap();
    assert_eq!(
        (first.state.as_str(), second.state.as_str()),
        ("forwarded", "open")
    );
    assert_eq!(second.forwarded_from, Some(first.id));
    assert_eq!(second.credential, first.credential);
    assert_eq!(
        second.expires_at,
        it.vault.clock().now().plus_secs(72 * 3600)
    );
    let client = it.vault.clients(&it.operator, "", 10).await.unwrap().items[0].id;
    let contact = it.vault.contact(&it.operator, client, second.contact).await;
    let contact = contact.unwrap();
    assert_eq!(contact.email.as_str(), "grace@client.example");
    assert_eq!(serde_json::to_value(contact.role).unwrap(), "technical");
    // The task names the new contact, the record what it is about, and the link is in the mail alone.
    let [task] = tasks(&it).await.try_into().ok().unwrap();
    assert_eq!(task.kind.as_str(), "invite-forwarded");
    assert_eq!(task.subject, second.id.to_string());
    assert_eq!(task.note, Some(second.contact.to_string()));
    let records = it.audit().await;
    let record = records
        .iter()
        .find(|(kind, _)| kind == Kind::IntakeForwarded.as_str());
    for id in [
        first.id.to_string(),
        second.id.to_string(),
        second.contact.to_string(),
    ] {
        assert!(record.unwrap().1.contains(&id), "{id}");
    }
    assert!(
        records
            .iter()
            .any(|(kind, _)| kind == Kind::ContactAdded.as_str())
    );
    let mail = mails(&it).await.pop().unwrap();
    assert_eq!(
        (mail.kind, mail.address.as_str()),
        (MailKind::Invite, "grace@client.example")
    );
    assert_eq!(second.mail, Some(mail.id));
    let text = sent(&it).await;
    assert!(text.contains("Grace"), "{text}");
    let token = token_in(&text);

    // It does all that the first one did.
    submit(&it, &token, form("aa", "one")).await;
    end_runs(&it, Outcome::Verified).await;
    let [_, second] = invites(&it).await.try_into().ok().unwrap();
    assert_eq!(second.state, "succeeded");
    assert!(!it.vault.link(&token).await.unwrap().may_forward);
}

#[tokio::test]
async fn what_leads_nowhere_is_refused_with_words_and_changes_nothing() {
    let it = Deployment::new().await;
    let token = invited(&it, json!({})).await;
    // However it is spelt.
    let own = forward(&it, &token, "Ada@Client.example").await;
    let Err(SubmitError::Invalid(errors)) = own else {
        panic!("{own:?}");
    };
    assert_eq!(errors[0].field, "email");
    assert!(errors[0].rule.contains("somebody else"));
    // While the provider is asked, nobody has anything to do.
    submit(&it, &token, form("aa", "one")).await;
    assert!(!it.vault.link(&token).await.unwrap().may_forward);
    let busy = forward(&it, &token, "grace@client.example").await;
    assert!(matches!(busy, Err(SubmitError::Conflict(_))));
    assert_eq!(invites(&it).await.len(), 1);
    assert_eq!(mails(&it).await.len(), 1);
    assert!(tasks(&it).await.is_empty());
    end_runs(&it, Outcome::Failed(Hint::ConsentMissing)).await;
    assert!(it.vault.link(&token).await.unwrap().may_forward);

    // A contact who is known stays the one that they are.
    let _ = sent(&it).await;
    forward(&it, &token, "grace@client.example").await.unwrap();
    let grace = token_in(&sent(&it).await);
    forward(&it, &grace, "ADA@client.example").await.unwrap();
    let all = invites(&it).await;
    assert_eq!(all[0].contact, all[2].contact);
    // What was handed in stays: when it works after all, nobody is asked any more.
    let ada = token_in(&sent(&it).await);
    let open = it
        .vault
        .submissions(&it.operator, Default::default(), "", 10);
    let open = open.await.unwrap().items;
    assert_eq!(open[0].state, SubmissionState::Failed);
    it.vault
        .verify_submission(&it.operator, open[0].id)
        .await
        .unwrap();
    end_runs(&it, Outcome::Verified).await;
    let view = it.vault.link(&ada).await.unwrap();
    assert_eq!(view.ended_as.unwrap().as_str(), "succeeded");
    let states: Vec<String> = invites(&it).await.into_iter().map(|it| it.state).collect();
    assert_eq!(states, ["forwarded", "forwarded", "succeeded"]);
}

#[tokio::test]
async fn a_link_goes_on_five_times_and_an_operator_is_asked_then() {
    let it = Deployment::new().await;
    let mut token = invited(&it, json!({})).await;
    for n in 0..5 {
        assert!(it.vault.link(&token).await.unwrap().may_forward);
        forward(&it, &token, &format!("n{n}@client.example"))
            .await
            .unwrap();
        token = token_in(&sent(&it).await);
    }
    assert!(!it.vault.link(&token).await.unwrap().may_forward);
    let sixth = forward(&it, &token, "n6@client.example").await;
    assert!(matches!(sixth, Err(SubmitError::Conflict(_))));
    // The last one is as good as the first, until somebody alters the chain.
    submit(&it, &token, form("aa", "one")).await;
    it.forge("UPDATE invites SET forwarded_from = NULL").await;
    assert!(matches!(it.vault.link(&token).await, Err(LinkError::Gone)));
}

#[tokio::test]
async fn a_code_is_asked_of_the_colleague_too_and_guesses_are_not_forgotten() {
    let it = Deployment::new().await;
    let issued = invite(&it, None, json!({"code": true})).await.unwrap();
    let token = token_in(&sent(&it).await);
    for _ in 0..9 {
        let wrong = it.vault.submit(&token, form("aa", "one")).await;
        assert!(matches!(wrong, Err(SubmitError::Code)));
    }
    forward(&it, &token, "grace@client.example").await.unwrap();
    let next = token_in(&sent(&it).await);
    assert!(it.vault.link(&next).await.unwrap().needs_code);
    let mut right = form("aa", "one");
    right.code = issued.code;
    submit(&it, &next, right).await;
    let wrong = it.vault.submit(&next, form("aa", "two")).await;
    assert!(matches!(wrong, Err(SubmitError::Code)));
    assert!(matches!(it.vault.link(&next).await, Err(LinkError::Gone)));
}

#[tokio::test]
async fn without_mail_nothing_is_handed_on() {
    let it = Deployment::without_mail().await;
    let issued = invite(&it, None, json!({"no_mail": true})).await.unwrap();
    let token = issued.token.unwrap();
    assert!(!it.vault.link(&token).await.unwrap().may_forward);
    let refused = forward(&it, &token, "grace@client.example").await;
    assert!(matches!(refused, Err(SubmitError::Conflict(_))));
    assert!(it.vault.link(&token).await.is_ok());
    assert_eq!(invites(&it).await.len(), 1);
}

#[tokio::test]
async fn of_two_who_hand_on_at_once_one_wins() {
    let it = Deployment::new().await;
    let token = invited(&it, json!({})).await;
    let (one, other) = tokio::join!(
        forward(&it, &token, "grace@client.example"),
        forward(&it, &token, "edsger@client.example"),
    );
    assert!(one.is_ok() != other.is_ok(), "{one:?} {other:?}");
    assert_eq!(invites(&it).await.len(), 2);
    assert_eq!(mails(&it).await.len(), 2);
    let again = invite(
        &it,
        Some(invites(&it).await[0].credential.to_string()),
        json!({}),
    );
    let again: Result<_, VaultError> = again.await;
    assert!(again.is_ok());
}
