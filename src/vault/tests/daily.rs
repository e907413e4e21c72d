use std::collections::{BTreeMap, BTreeSet};

use serde_json::json;

use super::postgres;
use crate::clock::Clock as _;
use crate::model::{CredentialId, CredentialKind, RunCause, VersionState};
use crate::providers::{Hint, Outcome, Verdict};
use crate::store::Database;
use crate::vault::daily::place;
use crate::vault::testing::{Deployment, slug};
use crate::vault::{DailyChecks, NewCredential, NewVersion, Vault};

const DAY: i64 = 24 * 3600;

/// A credential of a kind that can be asked, with an active version.
async fn active(it: &Deployment, client: &str, label: &str) -> CredentialId {
    let new = NewCredential {
        client: client.to_owned(),
        label: label.parse().unwrap(),
        kind: CredentialKind::Microsoft365,
        environment: slug("production"),
        roles: vec![slug("m365-sync")],
    };
    let made = it.vault.create_credential(&it.operator, new).await.unwrap();
    version(it, made.id, true).await;
    made.id
}

async fn version(it: &Deployment, id: CredentialId, activate: bool) -> i64 {
    let mut new = json!({"fields": {"tenant_id": "11111111-2222-4333-8444-555555555555",
        "client_id": "66666666-7777-4888-9999-aaaaaaaaaaaa", "client_secret": "made~up",
        "test_mailbox": "sync@client.example"}});
    if activate {
        new["activate"] = json!({"reason": "test"});
    }
    let new: NewVersion = serde_json::from_value(new).unwrap();
    let added = it.vault.add_version(&it.operator, id, new).await;
    added.unwrap().number
}

fn secs(it: &Deployment) -> i64 {
    it.clock.now().secs()
}

/// Waits until just behind the credential's place in the day.
fn to_its_turn(it: &Deployment, id: CredentialId) {
    let now = secs(it);
    it.clock.advance((place(id) - now).rem_euclid(DAY) + 1);
}

async fn make(vault: &Vault) -> DailyChecks {
    vault.make_daily_checks().await.unwrap()
}

/// Ends what is due so, and says what it was about.
async fn end_runs(it: &Deployment, outcome: Outcome) -> Vec<CredentialId> {
    let mut about = Vec::new();
    for mut run in it.vault.claim_runs(100).await.unwrap() {
        assert!(run.take_fields().is_some());
        about.push(run.credential());
        let verdict = Verdict::plain(outcome);
        it.vault.finish_run(run, verdict).await.unwrap();
    }
    about
}

/// The notes of the open tasks.
async fn tasks(it: &Deployment) -> Vec<Option<String>> {
    let tasks = it.vault.tasks(&it.operator, Default::default(), "", 10);
    let items = tasks.await.unwrap().items.into_iter();
    items.map(|task| task.note).collect()
}

#[tokio::test]
async fn each_active_credential_is_checked_once_a_day_at_its_place() {
    const STEP: i64 = 600;
    let it = Deployment::new().await;
    it.active("generic", "nobody can be asked").await;
    let mut ids = BTreeSet::new();
    for number in 0..12 {
        let name = format!("client-{number}");
        it.client(&name, &name).await;
        ids.insert(active(&it, &name, "mail").await);
    }
    let mut checked: BTreeMap<CredentialId, Vec<i64>> = BTreeMap::new();
    let begun = secs(&it);
    let mut looked = begun;
    while secs(&it) < begun + 3 * DAY {
        looked = secs(&it);
        make(&it.vault).await;
        it.clock.advance(60);
        for id in end_runs(&it, Outcome::Verified).await {
            checked.entry(id).or_default().push(secs(&it));
        }
        it.clock.advance(STEP - 60);
    }
    assert_eq!(checked.keys().copied().collect::<BTreeSet<_>>(), ids);
    for (id, times) in checked {
        // A place may lie between the last look and the end of the third day.
        let first = begun + (place(id) - begun).rem_euclid(DAY);
        let turns = (first..=looked).step_by(DAY as usize).count();
        assert!(turns == 3 || first > begun + DAY - STEP, "{turns} turns");
        assert_eq!(times.len(), turns, "{times:?}");
        for at in times {
            let behind = (at - place(id)).rem_euclid(DAY);
            assert!(behind <= STEP + 60, "{behind} s behind its place");
        }
    }
}

#[tokio::test]
async fn what_was_missed_is_made_up_for_a_few_at_a_time_on_sqlite() {
    let it = Deployment::new().await;
    let hands = it.database().await;
    missed_is_made_up_for_by_two_nodes(it, hands).await;
}

#[tokio::test]
async fn what_was_missed_is_made_up_for_a_few_at_a_time_on_postgres() {
    if std::env::var("STRONGROOM_TEST_WITHOUT_POSTGRES").is_ok_and(|value| value == "1") {
        eprintln!("skipped: nothing was tried on PostgreSQL");
        return;
    }
    let server = postgres::Postgres::start().expect("a server");
    let url = server.create_database("daily").expect("a database");
    let it = Deployment::on(Some(Database::open_postgres(&url).await.unwrap())).await;
    let hands = Database::open_postgres(&url).await.unwrap();
    missed_is_made_up_for_by_two_nodes(it, hands).await;
}

async fn missed_is_made_up_for_by_two_nodes(it: Deployment, hands: Database) {
    let mut clients = BTreeMap::new();
    for number in 0..35 {
        let name = format!("client-{number}");
        it.client(&name, &name).await;
        // One has more than its share of a minute.
        for label in 0..if number == 0 { 5 } else { 2 } {
            let id = active(&it, &name, &format!("mail {label}")).await;
            clients.insert(id, name.clone());
        }
    }
    it.clock.advance(3 * DAY);
    let other = it.another_node("node-b", hands).await;
    let (here, there) = tokio::join!(make(&it.vault), make(&other));
    assert_eq!(here.made + there.made, 60, "{here:?} {there:?}");
    assert!(here.waiting.max(there.waiting) >= 13);
    assert_eq!(make(&other).await.made, 0, "in the same minute");
    it.clock.advance(61);
    let first = end_runs(&it, Outcome::Verified).await;
    assert_eq!(first.len(), 60);
    assert!(first.iter().filter(|id| clients[id] == "client-0").count() <= 2);
    // The rest, but for what is more than one client's share.
    let mut all: BTreeSet<CredentialId> = first.into_iter().collect();
    for minute in 0..3 {
        let made = make(&other).await.made;
        it.clock.advance(61);
        let ended = end_runs(&it, Outcome::Verified).await;
        assert_eq!(ended.len(), made, "minute {minute}");
        assert!(ended.iter().filter(|id| clients[id] == "client-0").count() <= 2);
        assert!(
            ended.iter().all(|id| all.insert(*id)),
            "one was checked twice"
        );
    }
    assert_eq!(all.len(), clients.len());
    other.close().await;
}

#[tokio::test]
async fn what_was_verified_lately_or_became_active_just_now_waits_for_its_next_turn() {
    let it = Deployment::new().await;
    let id = active(&it, "example-realty", "mail").await;
    assert_eq!(make(&it.vault).await, DailyChecks::default());
    to_its_turn(&it, id);
    it.clock.advance(DAY - 3 * 3600);
    make(&it.vault).await;
    end_runs(&it, Outcome::Verified).await;
    // An operator looked three hours before its turn.
    it.clock.advance(60);
    it.vault.verify_version(&it.operator, id, 1).await.unwrap();
    assert_eq!(end_runs(&it, Outcome::Verified).await, [id]);
    it.clock.advance(4 * 3600);
    assert_eq!(make(&it.vault).await, DailyChecks::default());
    // The next turn counts again, and only once.
    it.clock.advance(DAY);
    assert_eq!(make(&it.vault).await.made, 1);
    assert_eq!(make(&it.vault).await, DailyChecks::default(), "one is due");
    // What nobody has worked on for days is not made twice.
    it.clock.advance(3 * DAY);
    assert_eq!(make(&it.vault).await, DailyChecks::default());
    let runs = it.vault.verifications(&it.operator, id).await.unwrap();
    assert_eq!(runs[0].cause, RunCause::Daily);
}

#[tokio::test]
async fn a_failure_is_a_task_with_its_newest_reason_until_the_active_one_works() {
    let it = Deployment::new().await;
    let id = active(&it, "example-realty", "mail").await;
    let pending = version(&it, id, false).await;
    let day = async |outcome| {
        to_its_turn(&it, id);
        make(&it.vault).await;
        assert_eq!(end_runs(&it, outcome).await, [id]);
        it.clock.advance(3600);
        tasks(&it).await
    };
    let hint = |hint: Hint| vec![Some(hint.as_str().to_owned())];
    let undecided = Outcome::Undecided {
        hint: Hint::ProviderUnavailable,
        retry_after: std::time::Duration::from_secs(60),
    };
    assert!(day(undecided).await.is_empty(), "an outage blames nobody");
    // It is tried again, and works.
    assert_eq!(end_runs(&it, Outcome::Verified).await, [id]);
    let failed = day(Outcome::Failed(Hint::SecretExpired)).await;
    assert_eq!(failed, hint(Hint::SecretExpired));
    let failed = day(Outcome::Failed(Hint::ConsentMissing)).await;
    assert_eq!(failed, hint(Hint::ConsentMissing));
    // Another version that works does not mend the active one.
    it.vault
        .verify_version(&it.operator, id, pending)
        .await
        .unwrap();
    assert_eq!(end_runs(&it, Outcome::Verified).await, [id]);
    assert_eq!(tasks(&it).await.len(), 1);
    assert!(day(Outcome::Verified).await.is_empty());
    let shown = it.vault.credential(&it.operator, id).await.unwrap();
    let states: Vec<VersionState> = shown.versions.iter().map(|it| it.state).collect();
    assert!(states.contains(&VersionState::Active), "{states:?}");
}

#[tokio::test]
async fn the_newest_runs_of_a_credential_are_kept_and_a_frozen_deployment_makes_none() {
    let it = Deployment::new().await;
    let id = active(&it, "example-realty", "mail").await;
    for _ in 0..25 {
        to_its_turn(&it, id);
        assert_eq!(make(&it.vault).await.made, 1);
        assert_eq!(end_runs(&it, Outcome::Verified).await, [id]);
    }
    let runs = it.vault.verifications(&it.operator, id).await.unwrap();
    assert_eq!(runs.len(), 20);
    let newest = runs[0].created_at;
    assert!(newest.plus_secs(-20 * DAY) < runs[19].created_at);
    let mut tx = it.vault.db.write().await.unwrap();
    let mut state = tx.deployment_state().await.unwrap().unwrap();
    state.frozen_since = Some(newest);
    assert!(tx.update_deployment_state(&mut state, 1).await.unwrap());
    tx.commit().await.unwrap();
    let it = it.restart().await;
    to_its_turn(&it, id);
    assert_eq!(make(&it.vault).await, DailyChecks::default());
}
