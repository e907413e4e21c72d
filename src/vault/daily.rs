//! The daily check of active credentials: finds those that died before their date.
//!
//! Each credential has a place in the day that follows from its id, so that checks are spread and
//! every node, and every restart, finds the same. What is missed is made up for a few at a time: the
//! bounds are counted in the database, and hold for all nodes together.

use std::collections::BTreeMap;

use ring::digest::{SHA256, digest};

use super::Vault;
use super::error::VaultError;
use super::recorder::Changed;
use super::verify::{NewRun, add_run, can_be_asked};
use crate::model::{ClientId, CredentialId, RunCause, RunState, Timestamp, VersionState};
use crate::store::{Tx, UncheckedRow, VersionRow};

/// The time in which the bounds below are counted, in seconds.
const WINDOW_SECS: i64 = 60;
/// How many daily checks all nodes together make due in a minute: 86,400 a day.
const MOST_A_MINUTE: i64 = 60;
/// How many of them may be of one client, and so mostly of one directory at the provider.
const MOST_OF_A_CLIENT: i64 = 2;
/// What was verified for another reason so many seconds before its place in the day is left alone.
const FRESH_SECS: i64 = 20 * 3600;
const DAY_SECS: i64 = 24 * 3600;
/// How many rows are read at once.
const PAGE: i64 = 1000;

/// What a look at the active credentials came to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DailyChecks {
    /// How many checks were made due.
    pub made: usize,
    /// How many credentials still wait for theirs, because of the bounds.
    pub waiting: usize,
}

/// A check that should have been made.
struct Missed {
    row: UncheckedRow,
    /// When it was looked at last, or became active.
    since: Timestamp,
}

/// How far into the day (UTC) a credential has its place.
pub(super) fn place(id: CredentialId) -> i64 {
    let hash = digest(&SHA256, format!("strongroom daily check {id}").as_bytes());
    let mut first = [0; 8];
    first.copy_from_slice(&hash.as_ref()[..8]);
    i64::try_from(u64::from_be_bytes(first) % DAY_SECS.unsigned_abs()).unwrap_or(0)
}

/// When the place of a credential came last.
fn last_turn(id: CredentialId, now: Timestamp) -> Timestamp {
    let into_day = (now.secs() - place(id)).rem_euclid(DAY_SECS);
    Timestamp::from_secs(now.secs() - into_day)
}

impl Vault {
    /// Makes the daily checks due whose time has come; the verifier takes them like any other. Nothing
    /// while the deployment is frozen.
    ///
    /// # Errors
    /// The database is not available.
    pub async fn make_daily_checks(&self) -> Result<DailyChecks, VaultError> {
        let now = self.clock.now();
        if self.state().await?.row.frozen_since.is_some() {
            return Ok(DailyChecks::default());
        }
        let mut missed = self.missed_checks(now).await?;
        if missed.is_empty() {
            return Ok(DailyChecks::default());
        }
        // Whoever waits longest comes first.
        missed.sort_unstable_by_key(|it| (it.since, it.row.credential_id));
        let found = missed.len();
        let random = self.random.clone();
        let made = self
            .change_by_itself(move |tx| {
                Box::pin(async move {
                    let chosen = choose(tx, missed, now).await?;
                    // Spread over the minute, too.
                    let apart = WINDOW_SECS * 1_000_000 / (chosen.len().max(1) as i64);
                    let mut due_at = now;
                    for version in &chosen {
                        let new = NewRun {
                            version,
                            submission: None,
                            cause: RunCause::Daily,
                        };
                        add_run(tx, new, now, due_at, random.as_ref()).await?;
                        due_at = Timestamp::from_micros(due_at.micros() + apart);
                    }
                    Ok(Changed {
                        value: chosen.len(),
                        records: Vec::new(),
                        subjects: Vec::new(),
                    })
                })
            })
            .await?;
        if made > 0 {
            self.work.notify_one();
        }
        Ok(DailyChecks {
            made,
            waiting: found.saturating_sub(made),
        })
    }

    async fn missed_checks(&self, now: Timestamp) -> Result<Vec<Missed>, VaultError> {
        let mut missed = Vec::new();
        let (mut after, since) = (None, now.plus_secs(-FRESH_SECS));
        loop {
            let mut tx = self.db.read().await?;
            let rows = tx.unchecked_versions(since, after, PAGE).await?;
            drop(tx);
            let Some(last) = rows.last() else {
                return Ok(missed);
            };
            after = Some(last.credential_id);
            missed.extend(rows.into_iter().filter_map(|row| {
                let turn = last_turn(row.credential_id, now);
                let fresh = row
                    .last_at
                    .is_some_and(|at| at >= turn.plus_secs(-FRESH_SECS));
                // What became active after its turn has the next one.
                let new = row.state_changed_at > turn;
                (can_be_asked(row.kind) && !fresh && !new).then(|| Missed {
                    since: row.last_at.unwrap_or(row.state_changed_at),
                    row,
                })
            }));
        }
    }
}

/// Which of them may be made due now: within the bounds, and not made by another node meanwhile. The
/// tags of their rows are checked here.
async fn choose(
    tx: &mut Tx,
    missed: Vec<Missed>,
    now: Timestamp,
) -> Result<Vec<VersionRow>, VaultError> {
    let made = tx.daily_checks_since(now.plus_secs(-WINDOW_SECS)).await?;
    let mut of_client: BTreeMap<ClientId, i64> = made.into_iter().collect();
    let mut room = MOST_A_MINUTE - of_client.values().sum::<i64>();
    let mut chosen = Vec::new();
    for Missed { row, .. } in missed {
        if room <= 0 {
            break;
        }
        let count = of_client.entry(row.client_id).or_default();
        if *count >= MOST_OF_A_CLIENT {
            continue;
        }
        let version = tx.version(row.credential_id, row.number).await?;
        let version = version.filter(|it| it.id == row.version_id);
        let Some(version) = version.filter(|it| it.state == VersionState::Active) else {
            continue;
        };
        let newest = tx.newest_verification_of(version.id).await?;
        let newer =
            newest.is_some_and(|it| it.state != RunState::Done || it.finished_at > row.last_at);
        if !newer {
            *count += 1;
            room -= 1;
            chosen.push(version);
        }
    }
    Ok(chosen)
}
