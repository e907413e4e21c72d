//! What is shown of a verification: the run, and its stages.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::model::{
    CredentialId, RunCause, RunOutcome, RunState, SubmissionId, Timestamp, VerificationId,
};
use crate::providers::{Hint, Stage, StageOutcome, StageReport, Step, Surface, words};
use crate::store::VerificationRow;

/// One stage of a run, as it is stored and shown.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[schema(as = VerificationStage)]
pub struct StageView {
    /// Which stage.
    pub stage: Stage,
    /// Through which of the provider's interfaces, where there are two.
    pub surface: Option<Surface>,
    /// What came of it.
    pub outcome: StageOutcome,
    /// When its first call began.
    pub started_at: Timestamp,
    /// How long it took, waiting between attempts included, in milliseconds.
    pub millis: u64,
    /// How many calls it took.
    pub attempts: u32,
    /// Why, as a stable word.
    pub hint: Option<Hint>,
    /// Why and what to do, in words.
    #[serde(default)]
    pub says: Option<String>,
    /// What the provider called the error.
    pub code: Option<String>,
    /// Ids by which the provider's support finds the last call.
    pub correlation: Vec<String>,
}

impl From<&StageReport> for StageView {
    fn from(report: &StageReport) -> Self {
        let ids = &report.correlation;
        let ids = [&ids.trace_id, &ids.correlation_id, &ids.request_id];
        Self {
            stage: report.stage,
            surface: report.surface,
            outcome: report.outcome,
            started_at: report.started_at,
            millis: report.millis,
            attempts: report.attempts,
            hint: report.hint,
            says: report.hint.map(|hint| words::hint(hint).to_owned()),
            code: report.code.as_ref().map(ToString::to_string),
            correlation: ids
                .into_iter()
                .flatten()
                .map(|id| id.as_str().to_owned())
                .collect(),
        }
    }
}

/// A run of a verification.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[schema(as = Verification)]
pub struct VerificationView {
    /// Its id.
    pub id: VerificationId,
    /// The credential.
    pub credential: CredentialId,
    /// The number of the version.
    pub version: i64,
    /// The submission that it is about, if it is about one.
    pub submission: Option<SubmissionId>,
    /// Why it runs.
    pub cause: RunCause,
    /// Where it stands.
    pub state: RunState,
    /// When it is tried next, or was.
    pub due_at: Timestamp,
    /// How often it was tried.
    pub tries: i64,
    /// When it was last begun.
    pub started_at: Option<Timestamp>,
    /// When it was over.
    pub finished_at: Option<Timestamp>,
    /// What it came to; of the last attempt while it is not over.
    pub outcome: Option<RunOutcome>,
    /// Why, as a stable word.
    pub hint: Option<Hint>,
    /// Why and what to do, in words.
    pub says: Option<String>,
    /// The step of the set-up guide to do again.
    pub step: Option<Step>,
    /// The stages of the last attempt, as they come.
    pub stages: Vec<StageView>,
    /// When it was asked for.
    pub created_at: Timestamp,
}

impl From<VerificationRow> for VerificationView {
    fn from(row: VerificationRow) -> Self {
        let hint: Option<Hint> = row.hint.as_deref().and_then(|hint| hint.parse().ok());
        Self {
            id: row.id,
            credential: row.credential_id,
            version: row.version_number,
            submission: row.submission_id,
            cause: row.cause,
            state: row.state,
            due_at: row.due_at,
            tries: row.tries,
            started_at: row.started_at,
            finished_at: row.finished_at,
            outcome: row.outcome,
            hint,
            says: hint.map(|hint| words::hint(hint).to_owned()),
            step: hint.map(Hint::step),
            stages: serde_json::from_str(&row.stages).unwrap_or_default(),
            created_at: row.created_at,
        }
    }
}
