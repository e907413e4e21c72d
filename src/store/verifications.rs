//! Runs of the verification at the provider, and who works on them.
//!
//! Changes of several nodes happen one after the other (the recorder sees to that), so that a claim is
//! one UPDATE; the index on what runs says the same once more.

use super::error::StoreError;
use super::tx::{Tx, on, one};
use crate::model::{
    CredentialId, RunCause, RunOutcome, RunState, SubmissionId, Timestamp, VerificationId,
    VersionId,
};

/// How many runs of one credential are kept.
const KEPT: i64 = 20;

/// A run as stored.
#[derive(Clone, Debug, sqlx::FromRow)]
#[expect(missing_docs, reason = "the columns of the table")]
pub struct VerificationRow {
    pub id: VerificationId,
    pub credential_id: CredentialId,
    pub version_id: VersionId,
    pub version_number: i64,
    pub submission_id: Option<SubmissionId>,
    pub cause: RunCause,
    pub state: RunState,
    pub due_at: Timestamp,
    pub tries: i64,
    /// Random; whoever works on the run shows it with everything that they write.
    pub claim: Option<String>,
    /// The node that works on it.
    pub claimed_by: Option<String>,
    /// From when on another may take it over.
    pub claim_until: Option<Timestamp>,
    pub started_at: Option<Timestamp>,
    pub finished_at: Option<Timestamp>,
    /// Of the last attempt, until the run is done.
    pub outcome: Option<RunOutcome>,
    pub hint: Option<String>,
    /// A JSON array of what came of each stage.
    pub stages: String,
    pub created_at: Timestamp,
}

/// Who takes a run, and until when.
#[derive(Clone, Copy, Debug)]
pub struct ClaimOfRun<'a> {
    /// Random.
    pub claim: &'a str,
    /// The node.
    pub node: &'a str,
    /// When it is taken.
    pub now: Timestamp,
    /// From when on another may take it over.
    pub until: Timestamp,
}

impl Tx {
    /// Adds a run that is due, and forgets the oldest of its credential that are over.
    ///
    /// # Errors
    /// [`StoreError::Taken`] when the version has a run that is not over.
    pub async fn insert_verification(&mut self, row: &VerificationRow) -> Result<(), StoreError> {
        const SQL: &str = "INSERT INTO verifications (id, credential_id, version_id,
                version_number, submission_id, cause, state, due_at, tries, claim, claimed_by,
                claim_until, started_at, finished_at, outcome, hint, stages, created_at)
            VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18)";
        const FORGET: &str = "DELETE FROM verifications
            WHERE credential_id = $1 AND state = 'done' AND id NOT IN
              (SELECT id FROM verifications WHERE credential_id = $1 ORDER BY id DESC LIMIT $2)";
        on!(self, conn => {
            sqlx::query::<Db>(SQL).bind(row.id).bind(row.credential_id).bind(row.version_id)
                .bind(row.version_number).bind(row.submission_id).bind(row.cause).bind(row.state)
                .bind(row.due_at).bind(row.tries).bind(row.claim.clone())
                .bind(row.claimed_by.clone()).bind(row.claim_until).bind(row.started_at)
                .bind(row.finished_at).bind(row.outcome).bind(row.hint.clone())
                .bind(row.stages.clone()).bind(row.created_at).execute(&mut *conn).await?;
            sqlx::query::<Db>(FORGET).bind(row.credential_id).bind(KEPT).execute(conn).await?;
        });
        Ok(())
    }

    /// One run.
    ///
    /// # Errors
    /// The database is not available.
    pub async fn verification(
        &mut self,
        id: VerificationId,
    ) -> Result<Option<VerificationRow>, StoreError> {
        const SQL: &str = "SELECT * FROM verifications WHERE id = $1";
        Ok(on!(self, conn => {
            sqlx::query_as::<Db, _>(SQL).bind(id).fetch_optional(conn).await?
        }))
    }

    /// The runs of a credential, newest first.
    ///
    /// # Errors
    /// The database is not available.
    pub async fn verifications_of(
        &mut self,
        credential: CredentialId,
    ) -> Result<Vec<VerificationRow>, StoreError> {
        const SQL: &str = "SELECT * FROM verifications WHERE credential_id = $1
            ORDER BY id DESC LIMIT 100";
        Ok(on!(self, conn => {
            sqlx::query_as::<Db, _>(SQL).bind(credential).fetch_all(conn).await?
        }))
    }

    /// The newest run of a version.
    ///
    /// # Errors
    /// The database is not available.
    pub async fn newest_verification_of(
        &mut self,
        version: VersionId,
    ) -> Result<Option<VerificationRow>, StoreError> {
        const SQL: &str = "SELECT * FROM verifications WHERE version_id = $1
            ORDER BY created_at DESC, id DESC LIMIT 1";
        Ok(on!(self, conn => {
            sqlx::query_as::<Db, _>(SQL).bind(version).fetch_optional(conn).await?
        }))
    }

    /// Runs that somebody may take now: due ones of credentials of which none runs, and those whose
    /// worker let the time pass. Oldest first.
    ///
    /// # Errors
    /// The database is not available.
    pub async fn claimable_verifications(
        &mut self,
        now: Timestamp,
        limit: i64,
    ) -> Result<Vec<VerificationRow>, StoreError> {
        const SQL: &str = "SELECT v.* FROM verifications v
            WHERE (v.state = 'running' AND v.claim_until < $1)
               OR (v.state = 'due' AND v.due_at <= $1 AND NOT EXISTS
                    (SELECT 1 FROM verifications o
                      WHERE o.credential_id = v.credential_id AND o.state = 'running'))
            ORDER BY v.due_at, v.id LIMIT $2";
        Ok(on!(self, conn => {
            sqlx::query_as::<Db, _>(SQL).bind(now).bind(limit).fetch_all(conn).await?
        }))
    }

    /// How many runs are due, and how many run, each with when the oldest of them was due.
    ///
    /// # Errors
    /// The database is not available.
    pub async fn open_verifications(
        &mut self,
        now: Timestamp,
    ) -> Result<Vec<(RunState, i64, Timestamp)>, StoreError> {
        const SQL: &str = "SELECT state, COUNT(*), MIN(due_at) FROM verifications
            WHERE state <> 'done' AND due_at <= $1 GROUP BY state";
        Ok(on!(self, conn => {
            sqlx::query_as::<Db, (RunState, i64, Timestamp)>(SQL).bind(now).fetch_all(conn).await?
        }))
    }

    /// Takes a run; `false` when somebody else has it, or another of its credential.
    ///
    /// # Errors
    /// The database is not available.
    pub async fn claim_verification(
        &mut self,
        id: VerificationId,
        by: ClaimOfRun<'_>,
    ) -> Result<bool, StoreError> {
        const SQL: &str = "UPDATE verifications SET state = 'running', tries = tries + 1,
                claim = $1, claimed_by = $2, claim_until = $3, started_at = $4, stages = '[]'
            WHERE id = $5 AND (state = 'due' OR (state = 'running' AND claim_until < $4))
              AND NOT EXISTS (SELECT 1 FROM verifications o WHERE o.id <> verifications.id
                AND o.credential_id = verifications.credential_id AND o.state = 'running')";
        let rows = on!(self, conn => {
            sqlx::query::<Db>(SQL).bind(by.claim.to_owned()).bind(by.node.to_owned())
                .bind(by.until).bind(by.now).bind(id).execute(conn).await?.rows_affected()
        });
        Ok(one(rows))
    }

    /// Gives back what a node has taken: it is not working on it any more.
    ///
    /// # Errors
    /// The database is not available.
    pub async fn release_claims_of(&mut self, node: &str) -> Result<u64, StoreError> {
        const SQL: &str = "UPDATE verifications SET state = 'due', claim = NULL,
                claimed_by = NULL, claim_until = NULL
            WHERE state = 'running' AND claimed_by = $1";
        Ok(on!(self, conn => {
            sqlx::query::<Db>(SQL).bind(node.to_owned()).execute(conn).await?.rows_affected()
        }))
    }

    /// Makes a run that waits due earlier.
    ///
    /// # Errors
    /// The database is not available.
    pub async fn hasten_verification(
        &mut self,
        id: VerificationId,
        due_at: Timestamp,
    ) -> Result<bool, StoreError> {
        const SQL: &str = "UPDATE verifications SET due_at = $1, tries = 0
            WHERE id = $2 AND state = 'due'";
        let rows = on!(self, conn => {
            sqlx::query::<Db>(SQL).bind(due_at).bind(id).execute(conn).await?.rows_affected()
        });
        Ok(one(rows))
    }

    /// Writes what came of the stages so far; `false` when the claim was lost.
    ///
    /// # Errors
    /// The database is not available.
    pub async fn write_stages(
        &mut self,
        id: VerificationId,
        claim: &str,
        stages: &str,
    ) -> Result<bool, StoreError> {
        const SQL: &str = "UPDATE verifications SET stages = $1
            WHERE id = $2 AND state = 'running' AND claim = $3";
        let rows = on!(self, conn => {
            sqlx::query::<Db>(SQL).bind(stages.to_owned()).bind(id).bind(claim.to_owned())
                .execute(conn).await?.rows_affected()
        });
        Ok(one(rows))
    }

    /// Ends an attempt with the state, outcome, hint, `due_at` and `finished_at` of `row`, and its claim
    /// with it; `false` when the claim was lost.
    ///
    /// # Errors
    /// The database is not available.
    pub async fn end_attempt(
        &mut self,
        row: &VerificationRow,
        claim: &str,
    ) -> Result<bool, StoreError> {
        const SQL: &str = "UPDATE verifications SET state = $1, outcome = $2, hint = $3,
                due_at = $4, finished_at = $5, claim = NULL, claimed_by = NULL, claim_until = NULL
            WHERE id = $6 AND state = 'running' AND claim = $7";
        let rows = on!(self, conn => {
            sqlx::query::<Db>(SQL).bind(row.state).bind(row.outcome).bind(row.hint.clone())
                .bind(row.due_at).bind(row.finished_at).bind(row.id).bind(claim.to_owned())
                .execute(conn).await?.rows_affected()
        });
        Ok(one(rows))
    }

    /// Ends the run of a version that waits; one that runs is left to whoever works on it.
    ///
    /// # Errors
    /// The database is not available.
    pub async fn abandon_verification(
        &mut self,
        version: VersionId,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        const SQL: &str = "UPDATE verifications SET state = 'done', outcome = 'abandoned',
                finished_at = $1 WHERE version_id = $2 AND state = 'due'";
        on!(self, conn => {
            sqlx::query::<Db>(SQL).bind(now).bind(version).execute(conn).await?;
        });
        Ok(())
    }
}
