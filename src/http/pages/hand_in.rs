//! Handing a credential in: the form opened if the browser sealed it, read, and given to the vault.

use std::{collections::BTreeMap, sync::Arc};

use axum::{extract::State, http::StatusCode, response::Response};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use ring::digest::{SHA256, digest};

use super::{
    Pages,
    answers::{not_taken, page, see, unreadable},
    arrived::Sent,
    form::Form,
    texts::ENGLISH,
    view::{self, FormError},
};
use crate::{
    crypto::encapsulated_key,
    model::Sealing,
    providers::Fields,
    secret::Secret,
    vault::{LinkView, Submitted},
};

/// `POST /i/{token}`
pub(super) async fn submit(State(pages): State<Arc<Pages>>, sent: Sent) -> Response {
    let Sent {
        token, key, link, ..
    } = &sent;
    let (form, enc_sha256) = match opened(&pages, &sent) {
        Ok(opened) => opened,
        Err(Opening::Unreadable) => return unreadable(),
        Err(Opening::Sealed) => {
            let errors = [FormError::of_all(ENGLISH.sealed_refused)];
            let text = view::form(token, link, None, &errors);
            return page(StatusCode::UNPROCESSABLE_ENTITY, text);
        }
    };
    let again = |errors: &[FormError]| {
        let text = view::form(token, link, Some(&form), errors);
        page(StatusCode::UNPROCESSABLE_ENTITY, text)
    };
    // What a scanner sends that presses every button.
    if form.is_empty() {
        return again(&[FormError::of_all(ENGLISH.form_empty)]);
    }
    let Some(submitted) = submitted(link, &form, enc_sha256) else {
        return unreadable();
    };
    match pages.links.submit(key, submitted).await {
        Ok(received) if received.odd_expiry => see(token, "?odd-date"),
        Ok(_) => see(token, ""),
        Err(error) => {
            let names = view::names_of(link.kind, link.needs_code);
            not_taken(error, token, &names, again)
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
fn opened(pages: &Pages, sent: &Sent) -> Result<(Form, Option<[u8; 32]>), Opening> {
    let names = view::names_of(sent.link.kind, sent.link.needs_code);
    if let Ok(envelope) = sent.form(&["sealed"])
        && !envelope.text("sealed").is_empty()
    {
        let sealed = URL_SAFE_NO_PAD
            .decode(envelope.text("sealed"))
            .map_err(|_| Opening::Unreadable)?;
        let enc = encapsulated_key(&sealed).ok_or(Opening::Unreadable)?;
        let mut hash = [0; 32];
        hash.copy_from_slice(digest(&SHA256, enc).as_ref());
        let opened = pages.links.open_form(&sent.link, &sealed);
        let opened = opened.ok_or(Opening::Sealed)?;
        let form = Form::read(opened.expose_secret(), &names).map_err(|_| Opening::Unreadable)?;
        return Ok((form, Some(hash)));
    }
    let form = sent.form(&names).map_err(|_| Opening::Unreadable)?;
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
        sealing: match enc_sha256 {
            Some(_) => Sealing::Browser,
            None => Sealing::Tls,
        },
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
