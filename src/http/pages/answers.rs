//! What every page's answer is made of, and the answers that are no page of a link's own.

use axum::{
    http::{HeaderValue, StatusCode, header},
    response::{IntoResponse as _, Response},
};

use super::{
    texts::ENGLISH,
    view::{self, FormError},
};
use crate::{
    http::request_id::REQUEST_ID_HEADER,
    vault::{LinkError, SubmitError},
};

/// A page.
pub(super) fn page(status: StatusCode, text: String) -> Response {
    let kind = [(header::CONTENT_TYPE, "text/html; charset=utf-8")];
    (status, kind, text).into_response()
}

/// A few sentences.
pub(super) fn plain(status: StatusCode, title: &str, says: &str) -> Response {
    page(status, view::message(title, &[says]))
}

/// The answer to a form that was taken: the page of the link, so that going back or reloading sends
/// nothing again.
pub(super) fn see(token: &str, rest: &str) -> Response {
    let mut response = StatusCode::SEE_OTHER.into_response();
    // A token that was found is letters, digits, hyphens and underscores.
    if let Ok(location) = HeaderValue::try_from(format!("/i/{token}{rest}")) {
        response.headers_mut().insert(header::LOCATION, location);
    }
    response
}

/// The one answer to every link that is not good, and the one to every trouble of ours.
pub(super) fn refused(error: &LinkError) -> Response {
    match error {
        LinkError::Gone => page(
            StatusCode::NOT_FOUND,
            view::message(ENGLISH.gone_title, &ENGLISH.gone),
        ),
        LinkError::Unavailable => plain(
            StatusCode::SERVICE_UNAVAILABLE,
            ENGLISH.unavailable_title,
            ENGLISH.unavailable,
        ),
    }
}

/// What answers something that the vault did not take. What has to be corrected in a form goes to
/// `again`, which shows it; `names` are the fields that it has.
pub(super) fn not_taken(
    error: SubmitError,
    token: &str,
    names: &[&'static str],
    again: impl FnOnce(&[FormError]) -> Response,
) -> Response {
    match error {
        SubmitError::Invalid(broken) => {
            let errors = broken.iter().map(|error| {
                let field = error.field.strip_prefix("fields.").unwrap_or(&error.field);
                FormError {
                    anchor: names
                        .iter()
                        .find(|name| **name == field)
                        .copied()
                        .unwrap_or(""),
                    says: view::broken(field, &error.rule),
                }
            });
            again(&errors.collect::<Vec<_>>())
        }
        SubmitError::Code => again(&[FormError {
            anchor: "code",
            says: ENGLISH.code_wrong.to_owned(),
        }]),
        SubmitError::Barred => again(&[FormError::of_all(ENGLISH.barred)]),
        // It is under way or over by now: the page says how it stands.
        SubmitError::Conflict(_) => see(token, ""),
        SubmitError::TooMany => plain(
            StatusCode::TOO_MANY_REQUESTS,
            ENGLISH.used_up_title,
            ENGLISH.used_up,
        ),
        SubmitError::Gone => refused(&LinkError::Gone),
        SubmitError::Unavailable => refused(&LinkError::Unavailable),
    }
}

/// A page in place of an answer that went wrong; its id stays, for the log.
pub(super) fn out_of_order(answer: &Response) -> Response {
    let mut page = plain(
        answer.status(),
        ENGLISH.unavailable_title,
        ENGLISH.unavailable,
    );
    for name in [
        REQUEST_ID_HEADER,
        header::CACHE_CONTROL,
        header::X_CONTENT_TYPE_OPTIONS,
    ] {
        if let Some(value) = answer.headers().get(&name) {
            page.headers_mut().insert(name, value.clone());
        }
    }
    page
}

/// It came too often, from here or for this link.
pub(super) fn too_many() -> Response {
    let mut response = plain(
        StatusCode::TOO_MANY_REQUESTS,
        ENGLISH.too_many_title,
        ENGLISH.too_many,
    );
    let minute = HeaderValue::from_static("60");
    response.headers_mut().insert(header::RETRY_AFTER, minute);
    response
}

/// It is no form that a browser sends from here.
pub(super) fn unreadable() -> Response {
    plain(
        StatusCode::BAD_REQUEST,
        ENGLISH.unreadable_title,
        ENGLISH.unreadable,
    )
}
