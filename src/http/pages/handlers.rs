//! One function for each page: look the link up, read what was sent, have it done, answer.

use std::{collections::BTreeMap, net::IpAddr, sync::Arc};

use axum::{
    body::Bytes,
    extract::{Extension, Path, RawQuery, State, rejection::BytesRejection},
    http::{HeaderMap, HeaderValue, StatusCode, header},
    response::{IntoResponse as _, Response},
};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use ring::digest::{SHA256, digest};

use super::{
    Pages,
    form::Form,
    guard::is_own,
    guide,
    link::{Answer, AttemptState, Colleague, LinkError, LinkView, SubmitError, Submitted, Taken},
    texts::ENGLISH,
    view::{self, FormError},
};
use crate::{
    crypto::encapsulated_key,
    http::{request_id::REQUEST_ID_HEADER, server::Connection},
    model::EmailAddress,
    providers::Fields,
    secret::Secret,
    vault::LinkToken,
};

type Shared = State<Arc<Pages>>;
type From = Extension<Arc<Connection>>;
type Body = Result<Bytes, BytesRejection>;

/// `GET /i/{token}`
pub(super) async fn show(
    State(pages): Shared,
    Extension(connection): From,
    Path(token): Path<String>,
    RawQuery(query): RawQuery,
) -> Response {
    let (_, link) = match pages.look_up(&token, connection.peer_ip()).await {
        Ok(found) => found,
        Err(answer) => return answer,
    };
    if link.answered {
        return page(
            StatusCode::OK,
            view::message(ENGLISH.answered_title, &[ENGLISH.answered], None),
        );
    }
    let wants_form = query.as_deref() == Some("form");
    match &link.attempt {
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

fn may_correct(state: AttemptState) -> bool {
    matches!(
        state,
        AttemptState::Failed | AttemptState::Undecided | AttemptState::Closed
    )
}

/// `POST /i/{token}`
pub(super) async fn submit(
    State(pages): Shared,
    Extension(connection): From,
    Path(token): Path<String>,
    headers: HeaderMap,
    body: Body,
) -> Response {
    let (key, link) = match pages.begin(&token, connection.peer_ip(), &headers).await {
        Ok(found) => found,
        Err(answer) => return answer,
    };
    let body = match readable(&headers, body) {
        Ok(body) => body,
        Err(answer) => return *answer,
    };
    let (form, enc_sha256) = match opened(&pages, &link, &body) {
        Ok(opened) => opened,
        Err(Opening::Unreadable) => return unreadable(),
        Err(Opening::Sealed) => {
            let errors = [whole_form(ENGLISH.sealed_refused)];
            let text = view::form(&token, &link, None, &errors);
            return page(StatusCode::UNPROCESSABLE_ENTITY, text);
        }
    };
    let again = |errors: &[FormError]| {
        let text = view::form(&token, &link, Some(&form), errors);
        page(StatusCode::UNPROCESSABLE_ENTITY, text)
    };
    // What a scanner sends that presses every button.
    if form.is_empty() {
        return again(&[whole_form(ENGLISH.form_empty)]);
    }
    let Some(submitted) = submitted(&link, &form, enc_sha256) else {
        return unreadable();
    };
    match pages.links.submit(&key, submitted).await {
        Ok(Taken { odd_expiry: true }) => see(&token, "?odd-date"),
        Ok(_) => see(&token, ""),
        Err(SubmitError::Barred) => again(&[whole_form(ENGLISH.barred)]),
        Err(SubmitError::Refused(broken)) => {
            let known = view::names_of(link.kind, link.needs_code);
            let errors: Vec<FormError> = broken
                .iter()
                .map(|(field, rule)| FormError {
                    anchor: known
                        .iter()
                        .find(|name| *name == field)
                        .copied()
                        .unwrap_or(""),
                    says: view::broken(field, rule),
                })
                .collect();
            again(&errors)
        }
        Err(SubmitError::Code) => again(&[FormError {
            anchor: "code",
            says: ENGLISH.code_wrong.to_owned(),
        }]),
        Err(SubmitError::TooMany) => too_many(),
        Err(SubmitError::Link(error)) => refused(error),
    }
}

/// `POST /i/{token}/check`
pub(super) async fn check_again(
    State(pages): Shared,
    Extension(connection): From,
    Path(token): Path<String>,
    headers: HeaderMap,
    body: Body,
) -> Response {
    let (key, _) = match pages.begin(&token, connection.peer_ip(), &headers).await {
        Ok(found) => found,
        Err(answer) => return answer,
    };
    if let Err(answer) = empty(&headers, body) {
        return *answer;
    }
    match pages.links.check_again(&key).await {
        // Nothing to check, or not any more: the page says how it is.
        Ok(()) | Err(SubmitError::Refused(_) | SubmitError::Barred | SubmitError::Code) => {
            see(&token, "")
        }
        Err(SubmitError::TooMany) => too_many(),
        Err(SubmitError::Link(error)) => refused(error),
    }
}

/// `GET /i/{token}/colleague`
pub(super) async fn colleague(
    State(pages): Shared,
    Extension(connection): From,
    Path(token): Path<String>,
) -> Response {
    match pages.look_up(&token, connection.peer_ip()).await {
        Ok((_, link)) if !link.may_forward => nothing().await,
        Ok(_) => page(StatusCode::OK, view::colleague(&token, None, &[])),
        Err(answer) => answer,
    }
}

/// `POST /i/{token}/colleague`
pub(super) async fn forward(
    State(pages): Shared,
    Extension(connection): From,
    Path(token): Path<String>,
    headers: HeaderMap,
    body: Body,
) -> Response {
    let (key, link) = match pages.begin(&token, connection.peer_ip(), &headers).await {
        Ok(found) => found,
        Err(answer) => return answer,
    };
    if !link.may_forward {
        return nothing().await;
    }
    let form = readable(&headers, body).map(|body| Form::read(&body, &["name", "email"]));
    let form = match form {
        Ok(Ok(form)) => form,
        Ok(Err(_)) => return unreadable(),
        Err(answer) => return *answer,
    };
    let again = |errors: &[FormError]| {
        let text = view::colleague(&token, Some(&form), errors);
        page(StatusCode::UNPROCESSABLE_ENTITY, text)
    };
    let (name, email) = (form.text("name").trim(), form.text("email").trim());
    let mut errors = Vec::new();
    let mut broken = |anchor, rule| {
        errors.push(FormError {
            anchor,
            says: view::broken(anchor, rule),
        });
    };
    if name.is_empty() || name.chars().count() > 200 {
        broken("name", ENGLISH.name_wrong);
    }
    if email.parse::<EmailAddress>().is_err() {
        broken("email", ENGLISH.address_wrong);
    }
    if !errors.is_empty() {
        return again(&errors);
    }
    let colleague = Colleague {
        name: name.to_owned(),
        email: email.to_owned(),
    };
    match pages.links.forward(&key, colleague).await {
        Ok(()) => page(
            StatusCode::OK,
            view::message(
                ENGLISH.colleague_done_title,
                &[ENGLISH.colleague_done],
                None,
            ),
        ),
        Err(SubmitError::Refused(broken)) => {
            let errors: Vec<FormError> = broken
                .iter()
                .map(|(field, rule)| FormError {
                    anchor: match field.as_str() {
                        "name" => "name",
                        "email" => "email",
                        _ => "",
                    },
                    says: view::broken(field, rule),
                })
                .collect();
            again(&errors)
        }
        Err(SubmitError::Barred | SubmitError::Code) => again(&[whole_form(ENGLISH.form_refused)]),
        Err(SubmitError::TooMany) => too_many(),
        Err(SubmitError::Link(error)) => refused(error),
    }
}

/// `POST /i/{token}/answer`
pub(super) async fn answer(
    State(pages): Shared,
    Extension(connection): From,
    Path(token): Path<String>,
    headers: HeaderMap,
    body: Body,
) -> Response {
    let (key, _) = match pages.begin(&token, connection.peer_ip(), &headers).await {
        Ok(found) => found,
        Err(answer) => return answer,
    };
    let form = readable(&headers, body).map(|body| Form::read(&body, &["answer"]));
    let answer = match form {
        Ok(Ok(form)) => match form.text("answer") {
            "no-admin-access" => Answer::NoAdminAccess,
            "free-gmail" => Answer::FreeGmail,
            _ => return unreadable(),
        },
        Ok(Err(_)) => return unreadable(),
        Err(answer) => return *answer,
    };
    match pages.links.answer(&key, answer).await {
        Ok(()) => page(
            StatusCode::OK,
            view::message(ENGLISH.answered_title, &[ENGLISH.answered], None),
        ),
        Err(SubmitError::Link(error)) => refused(error),
        Err(SubmitError::TooMany) => too_many(),
        Err(SubmitError::Refused(_) | SubmitError::Barred | SubmitError::Code) => see(&token, ""),
    }
}

/// `GET /i/{token}/guide`
pub(super) async fn guide(
    State(pages): Shared,
    Extension(connection): From,
    Path(token): Path<String>,
) -> Response {
    match pages.look_up(&token, connection.peer_ip()).await {
        Ok((_, link)) => page(StatusCode::OK, view::guide(&token, link.kind)),
        Err(answer) => answer,
    }
}

/// `GET /i/{token}/setup.sh`
pub(super) async fn setup_sh(pages: Shared, from: From, token: Path<String>) -> Response {
    script(pages, from, token, "setup.sh", guide::SETUP_SH).await
}

/// `GET /i/{token}/setup.ps1`
pub(super) async fn setup_ps1(pages: Shared, from: From, token: Path<String>) -> Response {
    script(pages, from, token, "setup.ps1", guide::SETUP_PS1).await
}

async fn script(
    State(pages): Shared,
    Extension(connection): From,
    Path(token): Path<String>,
    name: &str,
    text: &'static str,
) -> Response {
    if let Err(answer) = pages.look_up(&token, connection.peer_ip()).await {
        return answer;
    }
    let disposition = format!("attachment; filename=\"{name}\"");
    let headers = [
        (header::CONTENT_TYPE, "text/plain; charset=utf-8".to_owned()),
        (header::CONTENT_DISPOSITION, disposition),
    ];
    (headers, text).into_response()
}

/// Everything else: as little as a link that is not there.
pub(super) async fn nothing() -> Response {
    refused(LinkError::Gone)
}

impl Pages {
    /// The link, or the answer that there is none.
    async fn look_up(
        &self,
        token: &str,
        address: IpAddr,
    ) -> Result<(LinkToken, LinkView), Response> {
        // What cannot be a token is counted as a wrong one.
        let found = match LinkToken::parse(token) {
            Some(token) => self.links.link(&token).await.map(|link| (token, link)),
            None => Err(LinkError::Gone),
        };
        found.map_err(|error| match error {
            LinkError::Gone if !self.rates.guessed(address) => too_many(),
            error => refused(error),
        })
    }

    /// The same for what changes something: first whether it may come from where it comes from.
    async fn begin(
        &self,
        token: &str,
        address: IpAddr,
        headers: &HeaderMap,
    ) -> Result<(LinkToken, LinkView), Response> {
        if !is_own(headers, self.origin.as_deref()) {
            return Err(plain(
                StatusCode::FORBIDDEN,
                ENGLISH.elsewhere_title,
                ENGLISH.elsewhere,
            ));
        }
        let (key, link) = self.look_up(token, address).await?;
        match self.rates.sent(address, &key) {
            true => Ok((key, link)),
            false => Err(too_many()),
        }
    }
}

enum Opening {
    /// Nothing that a browser sends.
    Unreadable,
    /// Sealed, but not for this link, or not by our page.
    Sealed,
}

/// The form, and the hash of its encapsulated key if the browser sealed it. What was sealed is the same
/// as what is sent without sealing.
fn opened(
    pages: &Pages,
    link: &LinkView,
    body: &[u8],
) -> Result<(Form, Option<[u8; 32]>), Opening> {
    let names = view::names_of(link.kind, link.needs_code);
    if let Ok(envelope) = Form::read(body, &["sealed"])
        && !envelope.text("sealed").is_empty()
    {
        let sealed = URL_SAFE_NO_PAD
            .decode(envelope.text("sealed"))
            .map_err(|_| Opening::Unreadable)?;
        let enc = encapsulated_key(&sealed).ok_or(Opening::Unreadable)?;
        let mut hash = [0; 32];
        hash.copy_from_slice(digest(&SHA256, enc).as_ref());
        let opened = pages.links.open(link, &sealed).ok_or(Opening::Sealed)?;
        let form = Form::read(opened.expose_secret(), &names).map_err(|_| Opening::Unreadable)?;
        return Ok((form, Some(hash)));
    }
    let form = Form::read(body, &names).map_err(|_| Opening::Unreadable)?;
    Ok((form, None))
}

/// What is handed in; `None` if it has more in it than a credential may have.
fn submitted(link: &LinkView, form: &Form, enc_sha256: Option<[u8; 32]>) -> Option<Submitted> {
    let mut fields = BTreeMap::new();
    for name in view::names_of(link.kind, false) {
        let value = form.text(name);
        if name == "expires_at" || value.trim().is_empty() {
            continue;
        }
        fields.insert(name.to_owned(), Secret::new(tidy(name, value).into_bytes()));
    }
    let expires_at = Some(form.text("expires_at").trim()).filter(|text| !text.is_empty());
    let code = Some(form.text("code").trim()).filter(|text| !text.is_empty());
    Some(Submitted {
        fields: Fields::new(fields).ok()?,
        expires_at: expires_at.map(str::to_owned),
        code: code.map(|code| Secret::new(code.as_bytes().to_vec())),
        enc_sha256,
    })
}

/// A value as it was meant. Names and addresses lose the blanks that copying adds; lines of a text end as
/// they did before the browser sent them. A secret stays what it is: a blank may belong to it.
fn tidy(name: &str, value: &str) -> String {
    match name {
        "tenant_id" | "client_id" | "test_mailbox" | "delegated_user" => value.trim().to_owned(),
        "client_secret" => value.to_owned(),
        _ => value.replace("\r\n", "\n"),
    }
}

/// The body, if it is a form and not too large.
fn readable(headers: &HeaderMap, body: Body) -> Result<Bytes, Box<Response>> {
    let body = body.map_err(|rejection| {
        Box::new(match rejection.status() {
            StatusCode::PAYLOAD_TOO_LARGE => plain(
                StatusCode::PAYLOAD_TOO_LARGE,
                ENGLISH.too_large_title,
                ENGLISH.too_large,
            ),
            _ => unreadable(),
        })
    })?;
    let kind = headers
        .get(header::CONTENT_TYPE)
        .and_then(|value| value.to_str().ok())
        .unwrap_or_default()
        .to_ascii_lowercase();
    let (kind, rest) = kind.split_once(';').unwrap_or((&kind, ""));
    let is_form = kind.trim() == "application/x-www-form-urlencoded"
        && matches!(rest.trim(), "" | "charset=utf-8" | "charset=\"utf-8\"");
    match is_form {
        true => Ok(body),
        false => Err(Box::new(plain(
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            ENGLISH.unreadable_title,
            ENGLISH.unreadable,
        ))),
    }
}

/// A form of one button has nothing in it. Browsers send it without a body, with the type all the same.
fn empty(headers: &HeaderMap, body: Body) -> Result<(), Box<Response>> {
    let body = readable(headers, body)?;
    Form::read(&body, &[])
        .map(drop)
        .map_err(|_| Box::new(unreadable()))
}

fn whole_form(says: &str) -> FormError {
    FormError {
        anchor: "",
        says: says.to_owned(),
    }
}

fn page(status: StatusCode, text: String) -> Response {
    let kind = [(header::CONTENT_TYPE, "text/html; charset=utf-8")];
    (status, kind, text).into_response()
}

fn plain(status: StatusCode, title: &str, says: &str) -> Response {
    page(status, view::message(title, &[says], None))
}

/// The answer to a form that was taken: the page of the link, so that going back or reloading sends
/// nothing again.
fn see(token: &str, rest: &str) -> Response {
    let mut response = StatusCode::SEE_OTHER.into_response();
    // A token that was found is letters, digits, hyphens and underscores.
    if let Ok(location) = HeaderValue::try_from(format!("/i/{token}{rest}")) {
        response.headers_mut().insert(header::LOCATION, location);
    }
    response
}

fn refused(error: LinkError) -> Response {
    match error {
        LinkError::Gone => page(
            StatusCode::NOT_FOUND,
            view::message(ENGLISH.gone_title, &ENGLISH.gone, None),
        ),
        LinkError::Unavailable => plain(
            StatusCode::SERVICE_UNAVAILABLE,
            ENGLISH.unavailable_title,
            ENGLISH.unavailable,
        ),
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

fn too_many() -> Response {
    let mut response = plain(
        StatusCode::TOO_MANY_REQUESTS,
        ENGLISH.too_many_title,
        ENGLISH.too_many,
    );
    let minute = HeaderValue::from_static("60");
    response.headers_mut().insert(header::RETRY_AFTER, minute);
    response
}

fn unreadable() -> Response {
    plain(
        StatusCode::BAD_REQUEST,
        ENGLISH.unreadable_title,
        ENGLISH.unreadable,
    )
}
