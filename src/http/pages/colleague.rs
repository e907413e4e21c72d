//! Handing the link on to a colleague.

use std::sync::Arc;

use axum::{extract::State, http::StatusCode, response::Response};
use unicode_normalization::UnicodeNormalization as _;

use super::{
    Pages,
    answers::{not_taken, page},
    arrived::{Opened, Sent},
    handlers::nothing,
    texts::ENGLISH,
    view::{self, FormError},
};
use crate::{
    model::{DisplayName, EmailAddress},
    vault::Colleague,
};

const NAMES: [&str; 2] = ["name", "email"];

/// `GET /i/{token}/colleague`
pub(super) async fn ask(Opened { token, link, .. }: Opened) -> Response {
    match link.may_forward {
        true => page(
            StatusCode::OK,
            view::colleague(&token, link.needs_code, None, &[]),
        ),
        false => nothing().await,
    }
}

/// `POST /i/{token}/colleague`
pub(super) async fn forward(State(pages): State<Arc<Pages>>, sent: Sent) -> Response {
    if !sent.link.may_forward {
        return nothing().await;
    }
    let form = match sent.form(&NAMES) {
        Ok(form) => form,
        Err(answer) => return *answer,
    };
    let again = |errors: &[FormError]| {
        let text = view::colleague(&sent.token, sent.link.needs_code, Some(&form), errors);
        page(StatusCode::UNPROCESSABLE_ENTITY, text)
    };
    // Composed, as the browser of one colleague and the record of another may spell it differently.
    let name: String = form.text("name").trim().nfc().collect();
    let (name, email) = (
        name.parse::<DisplayName>(),
        form.text("email").trim().parse::<EmailAddress>(),
    );
    let colleague = match (name, email) {
        (Ok(name), Ok(email)) => Colleague { name, email },
        (name, email) => {
            let rules = [
                ("name", ENGLISH.name_wrong, name.is_err()),
                ("email", ENGLISH.address_wrong, email.is_err()),
            ];
            let broken = rules.iter().filter(|(.., broken)| *broken);
            let errors = broken.map(|(anchor, rule, _)| FormError {
                anchor,
                says: view::broken(anchor, rule),
            });
            return again(&errors.collect::<Vec<_>>());
        }
    };
    match pages.links.forward(&sent.key, colleague).await {
        Ok(()) => {
            let (title, says) = (ENGLISH.colleague_done_title, ENGLISH.colleague_done);
            page(StatusCode::OK, view::message(title, &[says]))
        }
        Err(error) => not_taken(error, &sent.token, &NAMES, again),
    }
}
