//! The admin API: what operators call, from a browser, the command line or a program.
//!
//! Every handler proves the caller, reads strictly, calls one operation of the vault and shows what
//! it returns. What is allowed is the vault's business.

pub mod audit;
pub mod authorities;
pub mod backups;
pub mod clients;
pub mod contacts;
pub mod credentials;
pub mod deployment;
pub mod enrolment;
pub mod intake;
pub mod keys;
pub mod mails;
pub mod names;
pub mod operators;
pub mod principal_keys;
pub mod problems;
pub mod receipts;
pub mod revocation_lists;
pub mod verifications;
pub mod versions;
pub mod workloads;

use axum::Json;
use axum::http::header::{ETAG, LOCATION};
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::extract::{self, refused_cursor};
use super::problem::Answer;
use crate::store;

/// Where the API begins.
pub const BASE: &str = "/api/v1";

/// One page of a list.
#[derive(Serialize, Deserialize, ToSchema)]
pub struct List<T> {
    /// The items.
    pub items: Vec<T>,
    /// The `cursor` of the next page; null at the end. A page can be short, or even empty, and still
    /// have another behind it.
    pub next: Option<String>,
}

impl<T> From<store::Page<T>> for List<T> {
    fn from(page: store::Page<T>) -> Self {
        Self {
            items: page.items,
            next: page.next.map(|next| URL_SAFE_NO_PAD.encode(next)),
        }
    }
}

/// A list that is always whole.
fn whole<T>(items: Vec<T>) -> List<T> {
    List { items, next: None }
}

/// What a request for a page means to the vault: after which place, and how many at most.
fn place(page: &extract::Page) -> Answer<(String, i64)> {
    let after = match &page.cursor {
        None => String::new(),
        Some(cursor) => URL_SAFE_NO_PAD
            .decode(cursor)
            .ok()
            .and_then(|bytes| String::from_utf8(bytes).ok())
            // What the store gives is plain text; PostgreSQL takes no NUL at all.
            .filter(|text| text.bytes().all(|byte| matches!(byte, b' '..=b'~')))
            .ok_or_else(refused_cursor)?,
    };
    Ok((after, i64::from(page.limit)))
}

/// One resource with its revision as a strong ETag, which `If-Match` takes back.
fn single<T: Serialize>(revision: i64, value: T) -> Response {
    let mut response = Json(value).into_response();
    // Digits in quotes are always valid in a header.
    if let Ok(etag) = HeaderValue::try_from(format!("\"{revision}\"")) {
        response.headers_mut().insert(ETAG, etag);
    }
    response
}

/// The 201 for a resource at `path`, below the API's base.
fn created(path: &str, response: impl IntoResponse) -> Response {
    let mut response = response.into_response();
    *response.status_mut() = StatusCode::CREATED;
    // Paths consist of words and ids, so they are always valid in a header.
    if let Ok(location) = HeaderValue::try_from(format!("{BASE}{path}")) {
        response.headers_mut().insert(LOCATION, location);
    }
    response
}
