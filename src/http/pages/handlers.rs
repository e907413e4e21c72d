//! One function for each page: have it done, answer. What comes before is told in `arrived.rs`; handing
//! in and handing on have files of their own.

use axum::{
    extract::{RawQuery, State},
    http::{StatusCode, header},
    response::{IntoResponse as _, Response},
};
use std::sync::Arc;

use super::{
    Pages,
    answers::{not_taken, page, refused, see, unreadable},
    arrived::{Opened, Sent},
    guide,
    texts::ENGLISH,
    view,
};
use crate::{
    model::{InviteAnswer, InviteEnd, SubmissionState},
    vault::LinkError,
};

/// `GET /i/{token}`
pub(super) async fn show(opened: Opened, RawQuery(query): RawQuery) -> Response {
    let Opened { token, link, .. } = opened;
    if link.ended_as == Some(InviteEnd::Answered) {
        return answered();
    }
    let wants_form = query.as_deref() == Some("form");
    match &link.submission {
        // What is under way or done is not corrected.
        Some(attempt) if !wants_form || !may_correct(attempt.state) => {
            let odd_date = query.as_deref() == Some("odd-date");
            page(
                StatusCode::OK,
                view::state(&token, &link, attempt, odd_date),
            )
        }
        _ => page(StatusCode::OK, view::form(&token, &link, None, &[])),
    }
}

fn may_correct(state: SubmissionState) -> bool {
    matches!(
        state,
        SubmissionState::Failed
            | SubmissionState::Undecided
            | SubmissionState::Superseded
            | SubmissionState::Closed
    )
}

fn answered() -> Response {
    let text = view::message(ENGLISH.answered_title, &[ENGLISH.answered]);
    page(StatusCode::OK, text)
}

/// `POST /i/{token}/check`
pub(super) async fn check_again(State(pages): State<Arc<Pages>>, sent: Sent) -> Response {
    // A form of one button has nothing in it. Browsers send it without a body, with the type all the
    // same.
    if let Err(answer) = sent.form(&[]) {
        return *answer;
    }
    match pages.links.check_again(&sent.key).await {
        Ok(_) => see(&sent.token, ""),
        // Nothing to check, or not any more: the page says how it is.
        Err(error) => not_taken(error, &sent.token, &[], |_| see(&sent.token, "")),
    }
}

/// `POST /i/{token}/answer`
pub(super) async fn answer(State(pages): State<Arc<Pages>>, sent: Sent) -> Response {
    let form = match sent.form(&["answer"]) {
        Ok(form) => form,
        Err(answer) => return *answer,
    };
    let Ok(answer) = form.text("answer").parse::<InviteAnswer>() else {
        return unreadable();
    };
    match pages.links.answer(&sent.key, answer).await {
        Ok(()) => answered(),
        Err(error) => not_taken(error, &sent.token, &[], |_| see(&sent.token, "")),
    }
}

/// `GET /i/{token}/guide`
pub(super) async fn guide(Opened { token, link, .. }: Opened) -> Response {
    page(StatusCode::OK, view::guide(&token, link.kind))
}

/// `GET /i/{token}/setup.sh`
pub(super) async fn setup_sh(_: Opened) -> Response {
    script("setup.sh", guide::SETUP_SH)
}

/// `GET /i/{token}/setup.ps1`
pub(super) async fn setup_ps1(_: Opened) -> Response {
    script("setup.ps1", guide::SETUP_PS1)
}

fn script(name: &str, text: &'static str) -> Response {
    let disposition = format!("attachment; filename=\"{name}\"");
    let headers = [
        (header::CONTENT_TYPE, "text/plain; charset=utf-8".to_owned()),
        (header::CONTENT_DISPOSITION, disposition),
    ];
    (headers, text).into_response()
}

/// Everything else: as little as a link that is not there.
pub(super) async fn nothing() -> Response {
    refused(&LinkError::Gone)
}
