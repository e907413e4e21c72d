//! Every route of the API on one screen, and the OpenAPI document that is made from them.

use axum::Router;
use axum::body::Bytes;
use axum::http::header::CONTENT_TYPE;
use axum::middleware::from_fn_with_state;
use axum::routing::get;
use utoipa::OpenApi;
use utoipa::openapi::security::{HttpAuthScheme, HttpBuilder, SecurityScheme};
use utoipa::openapi::{OpenApi as Document, security::SecurityRequirement};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::authenticate::{ApiState, count_failures};
use super::operator::{
    BASE, audit, authorities, backups, clients, contacts, credentials, deployment, enrolment,
    intake, keys, mails, names, operators, principal_keys, receipts, revocation_lists,
    verifications, versions, workloads,
};
use super::{enrol, problem, workload};
use crate::model;

/// The router of the API and its OpenAPI document, which it serves to anybody: the document says
/// nothing about a deployment. Put [`super::surround`] around it.
#[rustfmt::skip]
pub fn api_router(state: ApiState) -> (Router, Document) {
    let routes = OpenApiRouter::new()
        .routes(routes!(workload::whoami))
        .routes(routes!(enrol::enrol))
        .routes(routes!(enrol::renew))
        .routes(routes!(workload::release_bundle))
        .routes(routes!(workload::release_one))
        .routes(routes!(workload::in_use))
        .routes(routes!(clients::list_clients, clients::create_client))
        .routes(routes!(clients::read_client, clients::change_client))
        .routes(routes!(contacts::list_contacts, contacts::create_contact))
        .routes(routes!(contacts::read_contact, contacts::change_contact, contacts::remove_contact))
        .routes(routes!(names::list_roles, names::create_role))
        .routes(routes!(names::read_role, names::rename_role))
        .routes(routes!(names::list_environments, names::create_environment))
        .routes(routes!(names::read_environment, names::rename_environment))
        .routes(routes!(credentials::list_credentials, credentials::create_credential))
        .routes(routes!(credentials::read_credential, credentials::change_credential))
        .routes(routes!(credentials::add_credential_role, credentials::remove_credential_role))
        .routes(routes!(credentials::list_credential_holds))
        .routes(routes!(versions::add_version))
        .routes(routes!(versions::read_version))
        .routes(routes!(versions::activate_version))
        .routes(routes!(versions::reject_version))
        .routes(routes!(versions::retire_version))
        .routes(routes!(verifications::verify_version))
        .routes(routes!(verifications::list_verifications))
        .routes(routes!(verifications::read_verification))
        .routes(routes!(intake::list_invites, intake::create_invite))
        .routes(routes!(intake::read_invite))
        .routes(routes!(intake::revoke_invite))
        .routes(routes!(intake::list_submissions))
        .routes(routes!(intake::read_submission))
        .routes(routes!(intake::verify_submission))
        .routes(routes!(intake::activate_submission))
        .routes(routes!(intake::close_submission))
        .routes(routes!(intake::list_tasks))
        .routes(routes!(intake::close_task))
        .routes(routes!(receipts::list_receipts))
        .routes(routes!(workloads::list_workloads, workloads::enrol_workload))
        .routes(routes!(workloads::read_workload, workloads::change_workload))
        .routes(routes!(workloads::disable_workload))
        .routes(routes!(workloads::enable_workload))
        .routes(routes!(workloads::list_workload_holds))
        .routes(routes!(principal_keys::list_workload_keys, principal_keys::register_workload_key))
        .routes(routes!(principal_keys::read_workload_key, principal_keys::revoke_workload_key))
        .routes(routes!(operators::list_operators, operators::enrol_operator))
        .routes(routes!(operators::read_operator, operators::change_operator))
        .routes(routes!(operators::disable_operator))
        .routes(routes!(operators::enable_operator))
        .routes(routes!(principal_keys::list_operator_keys, principal_keys::register_operator_key))
        .routes(routes!(principal_keys::read_operator_key, principal_keys::revoke_operator_key))
        .routes(routes!(enrolment::list_workload_tokens, enrolment::issue_workload_token))
        .routes(routes!(enrolment::revoke_workload_token))
        .routes(routes!(enrolment::list_operator_tokens, enrolment::issue_operator_token))
        .routes(routes!(enrolment::revoke_operator_token))
        .routes(routes!(authorities::list_authorities, authorities::add_authority))
        .routes(routes!(authorities::read_authority, authorities::change_authority, authorities::remove_authority))
        .routes(routes!(authorities::roll_authority))
        .routes(routes!(revocation_lists::read_trust_bundle))
        .routes(routes!(revocation_lists::read_revocation_list, revocation_lists::import_revocation_list, revocation_lists::remove_revocation_lists))
        .routes(routes!(keys::read_keys))
        .routes(routes!(audit::list_audit_records))
        .routes(routes!(audit::read_audit_checkpoint))
        .routes(routes!(audit::export_audit_log))
        .routes(routes!(audit::read_audit_key))
        .routes(routes!(audit::prove_audit_consistency))
        .routes(routes!(backups::list_backups, backups::take_backup))
        .routes(routes!(backups::read_backup))
        .routes(routes!(mails::list_mails, mails::test_mail))
        .routes(routes!(mails::read_mail))
        .routes(routes!(deployment::read_deployment))
        .routes(routes!(deployment::thaw_deployment))
        .routes(routes!(clients::erase_client))
        .routes(routes!(clients::read_erasure));
    let (router, document) = OpenApiRouter::with_openapi(description())
        .nest(BASE, routes)
        .layer(from_fn_with_state(state.clone(), count_failures))
        .with_state(state)
        .split_for_parts();
    // Unwrap safety: a document of strings, lists and maps with text keys always serialises; were it
    // ever to fail, an empty answer harms nobody.
    let text = Bytes::from(serde_json::to_vec(&document).unwrap_or_default());
    let answer = async move || ([(CONTENT_TYPE, "application/json")], text);
    let router = router.route(&format!("{BASE}/openapi.json"), get(answer));
    (router, document)
}

/// What the document says besides the routes.
#[derive(OpenApi)]
#[openapi(
    info(
        title = "Strongroom",
        description = "Keeps the credentials that a company's clients lend it, and hands each only \
            to the servers entitled to it.\n\nEvery call proves who makes it: with a client \
            certificate, or with a fresh assertion signed by a registered key, or both for the same \
            principal. Bodies are JSON and read strictly: a field that is not known is refused. \
            Errors are problem documents (RFC 9457) whose `type` is stable. Lists come in pages: \
            call again with `cursor` set to the `next` of the answer. A change of something that \
            exists carries the revision that it is meant for in `If-Match`, as the ETag gave it."
    ),
    tags(
        (name = "workload", description = "What servers call"),
        (name = "enrolment", description = "A first certificate, and the next one"),
        (name = "clients", description = "Clients and their contacts"),
        (name = "roles", description = "What servers are for"),
        (name = "environments", description = "Where servers run"),
        (name = "credentials", description = "Credentials and their versions; values go in only"),
        (name = "intake", description = "Asking clients for credentials, and what they handed in"),
        (name = "tasks", description = "What an operator has to look at"),
        (name = "receipts", description = "Who was given what"),
        (name = "workloads", description = "Registered servers and their keys"),
        (name = "operators", description = "The vendor's people and their keys"),
        (name = "authorities", description = "Whose client certificates are accepted"),
        (name = "keys", description = "The deployment's own keys"),
        (name = "audit", description = "Who did what, and how to prove it"),
        (name = "mails", description = "Mails to clients, and what became of them"),
        (name = "deployment", description = "The deployment as a whole"),
        (name = "backups", description = "Taking the whole deployment away, encrypted"),
    ),
    components(schemas(
        problem::Problem, model::ClientId, model::ContactId, model::CredentialId, model::RoleId,
        model::EnvironmentId, model::WorkloadId, model::OperatorId, model::KeyId,
        model::AuthorityId, model::BackupId, model::Slug, model::CredentialKind, model::Timestamp,
    )),
)]
struct Description;

fn description() -> Document {
    let mut document = Description::openapi();
    // Which program answers is nothing that a caller should rely on; the API's version is its path's.
    document.info.version = "1".to_owned();
    document.info.license = None;
    document.info.contact = None;
    let components = document.components.get_or_insert_default();
    components.add_security_scheme(
        "certificate",
        SecurityScheme::MutualTls {
            description: Some(
                "A client certificate of a registered authority or a pinned one".to_owned(),
            ),
            deprecated: None,
            extensions: None,
        },
    );
    let bearer = HttpBuilder::new()
        .scheme(HttpAuthScheme::Bearer)
        .bearer_format("JWT")
        .description(Some(
            "An assertion (typ strongroom-auth+jwt, EdDSA or ES256) that the caller signs with a \
             registered key. Its kid is the key's id, iss and sub are the caller's id, aud is the \
             deployment's id, exp at most 300 seconds after iat, and each jti works once.",
        ));
    components.add_security_scheme("assertion", SecurityScheme::Http(bearer.build()));
    let none: [String; 0] = [];
    document.security = Some(vec![
        SecurityRequirement::new("certificate", none.clone()),
        SecurityRequirement::new("assertion", none),
    ]);
    document
}
