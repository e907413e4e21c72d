use serde_json::json;

use crate::model::{CredentialId, InviteAnswer, Sealing, SubmissionState};
use crate::providers::{Fields, Hint, Outcome, Verdict};
use crate::vault::testing::Deployment;
use crate::vault::{
    IssuedInvite, LinkError, LinkToken, NewInvite, NewVersion, Received, SubmissionView,
    SubmitError, Submitted, VaultError,
};

const TENANT: &str = "11111111-2222-4333-8444-555555555555";

async fn invited(it: &Deployment, credential: Option<String>, code: bool) -> IssuedInvite {
    let invitation = json!({"no_mail": true, "code": code});
    invite(it, credential, invitation).await.unwrap()
}

pub(super) async fn invite(
    it: &Deployment,
    credential: Option<String>,
    mut new: serde_json::Value,
) -> Result<IssuedInvite, VaultError> {
    let client = it.vault.clients(&it.operator, "", 10).await.unwrap().items[0].id;
    if credential.is_none() {
        let contact = serde_json::from_value(
            json!({"name": "Ada", "email": "ada@client.example", "role": "technical"}),
        );
        let added = it.vault.add_contact(&it.operator, client, contact.unwrap());
        added.await.unwrap();
    }
    new["contact"] = json!("ada@client.example");
    match credential {
        Some(id) => new["credential"] = id.into(),
        None => {
            new["new"] = json!({"client": "example-realty", "label": "mail", "kind": "microsoft365",
                                "environment": "production", "roles": ["m365-sync"]});
        }
    }
    let new: NewInvite = serde_json::from_value(new).unwrap();
    it.vault.invite(&it.operator, new).await
}

pub(super) fn form(client: &str, secret: &str) -> Submitted {
    let fields: Fields = serde_json::from_value(json!({
        "tenant_id": TENANT, "client_id": format!("66666666-7777-4888-9999-aaaaaaaaaa{client}"),
        "client_secret": secret, "test_mailbox": "sync@client.example"}))
    .unwrap();
    Submitted {
        fields,
        expires_at: Some("2028-01-01".to_owned()),
        code: None,
        sealing: Sealing::Tls,
        enc_sha256: None,
    }
}

pub(super) async fn submit(it: &Deployment, token: &LinkToken, form: Submitted) -> SubmissionView {
    let Received { submission, .. } = it.vault.submit(token, form).await.unwrap();
    submission
}

/// Lets every run that is due end so.
pub(super) async fn end_runs(it: &Deployment, outcome: Outcome) -> usize {
    let runs = it.vault.claim_runs(10).await.unwrap();
    let count = runs.len();
    for mut run in runs {
        assert!(run.take_fields().is_some());
        let verdict = Verdict::plain(outcome);
        it.vault.finish_run(run, verdict).await.unwrap();
    }
    count
}

async fn latest(it: &Deployment, token: &LinkToken) -> SubmissionView {
    it.vault.link(token).await.unwrap().submission.unwrap()
}

#[tokio::test]
async fn what_works_becomes_the_active_version_and_ends_the_invitation() {
    let it = Deployment::new().await;
    let issued = invited(&it, None, false).await;
    let (token, credential) = (issued.token.unwrap(), issued.invite.credential);
    let view = it.vault.link(&token).await.unwrap();
    assert!(view.known.is_empty() && view.submission.is_none());
    let first = submit(&it, &token, form("aa", "secret-1")).await;
    assert_eq!((first.state, first.number), (SubmissionState::Verifying, 1));
    // The same form twice: one wins, and both get its page.
    let again = submit(&it, &token, form("aa", "secret-1")).await;
    assert_eq!(again.id, first.id);
    assert_eq!(end_runs(&it, Outcome::Verified).await, 1);
    assert_eq!(latest(&it, &token).await.state, SubmissionState::Verified);
    let shown = it.vault.credential(&it.operator, credential).await.unwrap();
    assert_eq!(shown.versions.len(), 1);
    assert_eq!(shown.versions[0].state.as_str(), "active");
    assert_eq!(shown.versions[0].verification.as_str(), "provider");
    let late = it.vault.submit(&token, form("aa", "secret-2")).await;
    assert!(matches!(late, Err(SubmitError::Gone)));

    // A renewal of another application waits for an operator, who looks and activates it.
    let issued = invited(&it, Some(credential.to_string()), false).await;
    let token = issued.token.unwrap();
    let known = it.vault.link(&token).await.unwrap().known;
    let names: Vec<&str> = known.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(names, ["client_id", "tenant_id", "test_mailbox"]);
    let other = submit(&it, &token, form("bb", "secret-3")).await;
    assert_eq!(other.state, SubmissionState::Waiting);
    assert_eq!(end_runs(&it, Outcome::Verified).await, 0);
    it.vault
        .verify_submission(&it.operator, other.id)
        .await
        .unwrap();
    assert_eq!(end_runs(&it, Outcome::Verified).await, 1);
    assert_eq!(latest(&it, &token).await.state, SubmissionState::Waiting);
    let tasks = it.vault.tasks(&it.operator, Default::default(), "", 10);
    assert_eq!(tasks.await.unwrap().items.len(), 1);
    let why = serde_json::from_value(json!({"reason": "they moved"})).unwrap();
    it.vault
        .activate_submission(&it.operator, other.id, why)
        .await
        .unwrap();
    let tasks = it.vault.tasks(&it.operator, Default::default(), "", 10);
    assert!(tasks.await.unwrap().items.is_empty());
    let shown = it.vault.credential(&it.operator, credential).await.unwrap();
    let states: Vec<&str> = shown.versions.iter().map(|it| it.state.as_str()).collect();
    assert_eq!(states, ["active", "previous"]);
}

#[tokio::test]
async fn a_wrong_value_is_shredded_and_barred_and_a_missing_step_is_checked_again() {
    let it = Deployment::new().await;
    let issued = invited(&it, None, false).await;
    let (token, credential) = (issued.token.unwrap(), issued.invite.credential);
    submit(&it, &token, form("aa", "wrong")).await;
    end_runs(&it, Outcome::Failed(Hint::WrongSecret)).await;
    let failed = latest(&it, &token).await;
    assert_eq!(
        (failed.state, failed.hint),
        (SubmissionState::Failed, Some(Hint::WrongSecret))
    );
    assert!(!failed.can_check_again);
    let shown = it.vault.credential(&it.operator, credential).await.unwrap();
    assert_eq!(shown.versions[0].state.as_str(), "rejected");
    let barred = it.vault.submit(&token, form("aa", "wrong")).await;
    assert!(matches!(barred, Err(SubmitError::Barred)));
    // The same secret for the right application is another value.
    submit(&it, &token, form("bb", "wrong")).await;
    end_runs(&it, Outcome::Failed(Hint::ConsentMissing)).await;
    let failed = latest(&it, &token).await;
    assert!(failed.can_check_again);
    assert_eq!(failed.number, 2);
    // A provider that is out of order blames nobody.
    it.vault.check_again(&token).await.unwrap();
    let hint = Hint::ProviderUnavailable;
    let retry_after = std::time::Duration::from_secs(10);
    end_runs(&it, Outcome::Undecided { hint, retry_after }).await;
    assert_eq!(latest(&it, &token).await.state, SubmissionState::Verifying);
    it.clock.advance(3600);
    end_runs(&it, Outcome::Verified).await;
    assert_eq!(latest(&it, &token).await.state, SubmissionState::Verified);
    let shown = it.vault.credential(&it.operator, credential).await.unwrap();
    assert_eq!(shown.versions[0].state.as_str(), "active");
}

#[tokio::test]
async fn a_newer_submission_takes_the_place_of_one_that_runs() {
    let it = Deployment::new().await;
    let token = invited(&it, None, false).await.token.unwrap();
    submit(&it, &token, form("aa", "old")).await;
    let mut runs = it.vault.claim_runs(10).await.unwrap();
    let newer = submit(&it, &token, form("aa", "new")).await;
    // Never two at once for one credential; the old one's end changes nothing any more.
    assert_eq!(end_runs(&it, Outcome::Verified).await, 0);
    let old = runs.pop().unwrap();
    let verified = Verdict::plain(Outcome::Verified);
    it.vault.finish_run(old, verified).await.unwrap();
    assert_eq!(latest(&it, &token).await.state, SubmissionState::Verifying);
    assert_eq!(end_runs(&it, Outcome::Verified).await, 1);
    let done = latest(&it, &token).await;
    assert_eq!((done.id, done.state), (newer.id, SubmissionState::Verified));
}

#[tokio::test]
async fn a_claim_that_ran_out_is_taken_over_and_the_old_one_writes_nothing() {
    let it = Deployment::new().await;
    let token = invited(&it, None, false).await.token.unwrap();
    submit(&it, &token, form("aa", "one")).await;
    let old = it.vault.claim_runs(10).await.unwrap().pop().unwrap();
    assert!(it.vault.claim_runs(10).await.unwrap().is_empty());
    it.clock.advance(121);
    let new = it.vault.claim_runs(10).await.unwrap().pop().unwrap();
    let wrong = Verdict::plain(Outcome::Failed(Hint::WrongSecret));
    it.vault.finish_run(old, wrong).await.unwrap();
    assert_eq!(latest(&it, &token).await.state, SubmissionState::Verifying);
    let verified = Verdict::plain(Outcome::Verified);
    it.vault.finish_run(new, verified).await.unwrap();
    assert_eq!(latest(&it, &token).await.state, SubmissionState::Verified);
}

#[tokio::test]
async fn a_link_that_is_not_good_leads_nowhere_and_a_wrong_code_is_counted() {
    let it = Deployment::new().await;
    let issued = invited(&it, None, true).await;
    let (token, code) = (issued.token.unwrap(), issued.code.unwrap());
    for text in ["", "short", &"A".repeat(44), &"?".repeat(43)] {
        assert!(LinkToken::parse(text).is_none());
    }
    let guessed = LinkToken::parse(&"A".repeat(43)).unwrap();
    assert!(matches!(
        it.vault.link(&guessed).await,
        Err(LinkError::Gone)
    ));
    let without = it.vault.submit(&token, form("aa", "one")).await;
    assert!(matches!(without, Err(SubmitError::Code)));
    let mut right = form("aa", "one");
    right.code = Some(crate::secret::Secret::new(
        code.expose_secret().to_ascii_lowercase(),
    ));
    right.expires_at = Some("2020-01-01".to_owned());
    let past = it.vault.submit(&token, right).await;
    assert!(matches!(past, Err(SubmitError::Invalid(_))));
    for _ in 0..9 {
        let _ = it.vault.submit(&token, form("aa", "one")).await;
    }
    let ended = it.vault.link(&token).await;
    assert!(
        matches!(ended, Err(LinkError::Gone)),
        "ten wrong codes end it"
    );
    let ended = it.vault.invite_view(&it.operator, issued.invite.id).await;
    assert_eq!(ended.unwrap().state, "revoked");
}

#[tokio::test]
async fn an_answer_ends_the_invitation_and_opens_a_task() {
    let it = Deployment::new().await;
    let issued = invited(&it, None, false).await;
    let token = issued.token.unwrap();
    it.vault
        .answer(&token, InviteAnswer::FreeGmail)
        .await
        .unwrap();
    let view = it.vault.link(&token).await.unwrap();
    assert_eq!(view.answer, Some(InviteAnswer::FreeGmail));
    let gone = it.vault.submit(&token, form("aa", "one")).await;
    assert!(matches!(gone, Err(SubmitError::Gone)));
    let tasks = it.vault.tasks(&it.operator, Default::default(), "", 10);
    let tasks = tasks.await.unwrap().items;
    assert_eq!(tasks[0].kind.as_str(), "invite-answered");
    // Expired, revoked and never made are one answer.
    let issued = invited(&it, Some(issued.invite.credential.to_string()), false).await;
    let token = issued.token.unwrap();
    it.clock.advance(337 * 3600);
    assert!(matches!(it.vault.link(&token).await, Err(LinkError::Gone)));
}

#[tokio::test]
async fn a_forged_invitation_or_submission_counts_as_absent() {
    let it = Deployment::new().await;
    let issued = invited(&it, None, false).await;
    let token = issued.token.unwrap();
    let row = submit(&it, &token, form("aa", "one")).await;
    it.forge("UPDATE submissions SET state = 'waiting'").await;
    let seen = it.vault.submission(&it.operator, row.id).await;
    assert!(seen.is_err());
    it.forge("UPDATE invites SET expires_at = expires_at + 1")
        .await;
    assert!(matches!(it.vault.link(&token).await, Err(LinkError::Gone)));
    it.refused(&issued.invite.id.to_string()).await;
}

/// An invitation to renew a credential that is in use.
async fn renewal(it: &Deployment) -> (CredentialId, LinkToken) {
    let issued = invited(it, None, false).await;
    let credential = issued.invite.credential;
    submit(it, &issued.token.unwrap(), form("aa", "first")).await;
    end_runs(it, Outcome::Verified).await;
    let issued = invited(it, Some(credential.to_string()), false).await;
    (credential, issued.token.unwrap())
}

/// Promise 1: whoever opens a link sees whose the credential is, and no value is decrypted for it, since
/// nothing is recorded then.
#[tokio::test]
async fn promise_1_a_link_that_is_opened_opens_no_value() {
    let it = Deployment::new().await;
    let (_, token) = renewal(&it).await;
    // Without its wraps no value can be opened by anybody.
    it.forge("DELETE FROM dek_wraps").await;
    let it = it.restart().await;
    let started = it.audit().await.len();
    let known = it.vault.link(&token).await.unwrap().known;
    let tenant = ("tenant_id".to_owned(), TENANT.to_owned());
    assert!(known.contains(&tenant), "{known:?}");
    assert!(!known.iter().any(|(name, _)| name.contains("secret")));
    // The same owner's next value, in other letters, is not held up either.
    let mut form = form("aa", "second");
    form.fields = serde_json::from_value(json!({
        "tenant_id": TENANT.to_uppercase(), "client_secret": "second",
        "client_id": "66666666-7777-4888-9999-AAAAAAAAAAAA"}))
    .unwrap();
    let next = submit(&it, &token, form).await;
    assert_eq!(next.state, SubmissionState::Verifying);
    let records = it.audit().await;
    let new = records[..records.len() - started].iter();
    let kinds: Vec<&str> = new.rev().map(|(kind, _)| kind.as_str()).collect();
    assert_eq!(kinds, ["version.added", "intake.submitted"]);
}

#[tokio::test]
async fn identifiers_that_were_taken_or_swapped_make_a_renewal_wait() {
    for sql in [
        "UPDATE credential_versions SET identifiers = NULL",
        "UPDATE credential_versions SET identifiers = payload",
        // Those of another version.
        "UPDATE credential_versions SET identifiers = (SELECT identifiers FROM credential_versions
            WHERE state = 'pending') WHERE state = 'active'",
    ] {
        let it = Deployment::new().await;
        let (credential, token) = renewal(&it).await;
        let fields = json!({"fields": {"tenant_id": TENANT, "client_secret": "other",
            "client_id": "66666666-7777-4888-9999-aaaaaaaaaabb"}});
        let other: NewVersion = serde_json::from_value(fields).unwrap();
        let added = it.vault.add_version(&it.operator, credential, other).await;
        added.unwrap();
        it.forge(sql).await;
        assert!(it.vault.link(&token).await.unwrap().known.is_empty());
        let next = submit(&it, &token, form("aa", "second")).await;
        assert_eq!(next.state, SubmissionState::Waiting, "{sql}");
    }
}

#[tokio::test]
async fn identifiers_go_with_the_value() {
    let it = Deployment::new().await;
    let (credential, token) = renewal(&it).await;
    submit(&it, &token, form("aa", "wrong")).await;
    end_runs(&it, Outcome::Failed(Hint::WrongSecret)).await;
    let versions = it.vault.credential(&it.operator, credential).await;
    let mut tx = it.vault.db.read().await.unwrap();
    for version in versions.unwrap().versions {
        let kept = tx.identifiers(version.id).await.unwrap();
        assert_eq!(kept.is_some(), version.state.as_str() == "active");
    }
}
