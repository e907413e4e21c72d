//! The audit log: searching it, and taking away what proves it elsewhere.

use axum::Json;
use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::HeaderValue;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use futures_util::TryStreamExt;
use serde::Deserialize;

use super::problems::{LookupProblems, ReadProblems};
use super::{List, place};
use crate::audit::Origin;
use crate::http::authenticate::{ApiState, Proven};
use crate::http::extract::{Page, Paged, StrictQuery};
use crate::http::problem::Answer;
use crate::model::Slug;
use crate::vault::{AuditEntry, AuditQuery, Consistency, VaultError};

/// Whose log.
#[derive(Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct NodeQuery {
    /// The node; the one that answers when left out.
    node: Option<Slug>,
    /// Which beginning of its log; the newest when left out.
    epoch: Option<i64>,
}

impl NodeQuery {
    fn name(&self) -> (Option<&str>, Option<i64>) {
        (self.node.as_ref().map(Slug::as_str), self.epoch)
    }
}

/// Search the audit records of all nodes, newest first
#[utoipa::path(
    get, path = "/audit", tag = "audit", params(AuditQuery, Page),
    responses((status = 200, description = "A page of records", body = List<AuditEntry>), ReadProblems)
)]
pub async fn list_audit_records(
    State(state): State<ApiState>,
    Proven(caller): Proven,
    Paged { page, filter }: Paged<AuditQuery>,
) -> Answer<Json<List<AuditEntry>>> {
    let (after, limit) = place(&page)?;
    let vault = state.vault();
    let page = vault.audit_entries(&caller, &filter, &after, limit).await?;
    Ok(Json(page.into()))
}

/// Read the newest signed head of a node's log
///
/// A signed note. Keep it elsewhere: it proves later that nothing before it was cut off or changed.
#[utoipa::path(
    get, path = "/audit/checkpoint", tag = "audit", params(NodeQuery),
    responses(
        (status = 200, description = "The signed note", content_type = "text/plain", body = String),
        ReadProblems,
    )
)]
pub async fn read_audit_checkpoint(
    State(state): State<ApiState>,
    Proven(caller): Proven,
    StrictQuery(query): StrictQuery<NodeQuery>,
) -> Answer<String> {
    let vault = state.vault();
    Ok(vault.audit_checkpoint(&caller, query.name()).await?)
}

/// Export a node's log for the offline verifier
///
/// One JSON object a line. If anything goes wrong in the middle, the connection is cut: an export
/// that has its end line is complete.
#[utoipa::path(
    get, path = "/audit/export", tag = "audit", params(NodeQuery),
    responses(
        (status = 200, description = "The lines", content_type = "application/x-ndjson",
         body = String),
        ReadProblems,
    )
)]
pub async fn export_audit_log(
    State(state): State<ApiState>,
    Proven(caller): Proven,
    StrictQuery(query): StrictQuery<NodeQuery>,
) -> Answer<Response> {
    let lines = state.vault().audit_export(&caller, query.name()).await?;
    let lines = lines.map_ok(Bytes::from).map_err(|error| {
        tracing::warn!(%error, "an audit export was cut off in the middle");
        std::io::Error::other("the export was cut off")
    });
    let mut response = Body::from_stream(lines).into_response();
    let ndjson = HeaderValue::from_static("application/x-ndjson");
    response.headers_mut().insert(CONTENT_TYPE, ndjson);
    Ok(response)
}

/// Read the public key that checks the audit logs
///
/// The verifier key of signed notes, one line. For every known caller.
#[utoipa::path(
    get, path = "/audit/key", tag = "audit",
    responses(
        (status = 200, description = "The verifier key", content_type = "text/plain", body = String),
        ReadProblems,
    )
)]
pub async fn read_audit_key(
    State(state): State<ApiState>,
    Proven(caller): Proven,
) -> Answer<String> {
    let key = state.vault().audit_public_key(&caller).await?;
    Ok(format!("{key}\n"))
}

/// Between which sizes of which log.
#[derive(Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct ConsistencyQuery {
    /// The log: the first line of its checkpoints.
    log: String,
    /// The earlier size.
    from: u64,
    /// The later size.
    to: u64,
}

/// Prove that an audit log only grew between two sizes
///
/// For whoever keeps checkpoints: two of one log that are both signed, and the proof between them,
/// show that nothing before the earlier one was changed or cut off since. Shows hashes and nothing
/// that was hashed, so it is for every known caller. Earlier logs, and those of other nodes of the
/// deployment, are answered for as well.
#[utoipa::path(
    get, path = "/audit/consistency", tag = "audit", params(ConsistencyQuery),
    responses(
        (status = 200, description = "The proof (RFC 6962, section 2.1.2)", body = Consistency),
        LookupProblems,
    )
)]
pub async fn prove_audit_consistency(
    State(state): State<ApiState>,
    Proven(caller): Proven,
    StrictQuery(query): StrictQuery<ConsistencyQuery>,
) -> Answer<Json<Consistency>> {
    let ConsistencyQuery { log, from, to } = query;
    let vault = state.vault();
    let origin = log.parse::<Origin>();
    let origin = origin.map_err(|error| VaultError::invalid("log", error.to_string()))?;
    let proof = vault.audit_consistency(&caller, &origin, from, to).await?;
    Ok(Json(proof))
}
